//! Commands over a socket: one line per connection, answered, and closed.
//!
//! | command | does | answers |
//! |---|---|---|
//! | `apply` | reads the files again and writes what has changed | how many entries were written |
//! | `conntrack` | | a line per half of a connection: direction, phase, the bits of [`State`], the packet as it comes and as it leaves |
//! | `flush` | forgets all connections | nothing |
//! | `drops` | | a line per reason for which packets were dropped, with their number |
//!
//! The last line of an answer is `ok`, or `failed: ` and why.
//!
//! [`State`]: twinpath_core::state::State

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Problem;
use crate::node::Gateway;

/// How long a command that was begun is waited for: nobody else is served meanwhile.
const PATIENCE: Duration = Duration::from_secs(1);

/// The socket; its file is gone when this is.
pub(crate) struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    pub(crate) fn new(path: &Path) -> Result<Self, Problem> {
        let listener = UnixListener::bind(path)
            .map_err(|error| Problem::Input(format!("{}: {error}", path.display())))?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Answers whoever has connected. One that goes away before it is answered is not missed.
    pub(crate) fn answer(&self, gateway: &mut Gateway) {
        if let Ok((stream, _)) = self.listener.accept() {
            let _ = exchange(stream, gateway);
        }
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn exchange(stream: UnixStream, gateway: &mut Gateway) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    let mut stream = BufReader::new(stream);
    stream.read_line(&mut line)?;
    let answer = match line.trim() {
        "apply" => gateway.apply().map(|writes| format!("{writes} written\n")),
        "conntrack" => gateway.conntrack(),
        "flush" => gateway.flush().map(|()| String::new()),
        "drops" => gateway.drops(),
        other => Err(Problem::Input(format!("there is no command {other:?}"))),
    };
    let answer = match answer {
        Ok(lines) => format!("{lines}ok\n"),
        Err(Problem::Input(why) | Problem::Environment(why) | Problem::Kernel(why)) => {
            format!("failed: {why}\n")
        }
    };
    stream.get_mut().write_all(answer.as_bytes())
}
