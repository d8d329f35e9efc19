//! The local end: system calls on sockets of its namespace.

use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, accept, bind, connect, listen,
    setsockopt, socket, sockopt,
};
use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// How long a call that may wait is waited for.
const PATIENCE: Duration = Duration::from_secs(3);

/// The sockets, by the script's descriptors.
pub(crate) struct Local {
    sockets: BTreeMap<String, OwnedFd>,
    listens: SocketAddr,
    connects: SocketAddr,
}

impl Local {
    /// Sockets of the calling thread's namespace, which listen and connect here.
    pub(crate) const fn new(listens: SocketAddr, connects: SocketAddr) -> Self {
        Self { sockets: BTreeMap::new(), listens, connects }
    }

    /// Makes a call; fails where it does not return what it should.
    pub(crate) fn call(
        &mut self,
        name: &str,
        arguments: &[String],
        result: i64,
    ) -> Result<(), String> {
        let returned = match self.make(name, arguments, result)? {
            Ok(value) => value,
            Err(error) if result == -1 => {
                let in_progress = error.raw_os_error() == Some(libc::EINPROGRESS);
                return if in_progress { Ok(()) } else { Err(error.to_string()) };
            }
            Err(error) => return Err(error.to_string()),
        };
        if returned == result { Ok(()) } else { Err(format!("returned {returned}")) }
    }

    fn make(
        &mut self,
        name: &str,
        arguments: &[String],
        result: i64,
    ) -> Result<io::Result<i64>, String> {
        let first = arguments.first().map(String::as_str).unwrap_or_default();
        if name == "socket" {
            let family = match self.connects {
                SocketAddr::V4(_) => AddressFamily::Inet,
                SocketAddr::V6(_) => AddressFamily::Inet6,
            };
            let made = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None);
            return Ok(made.map_err(io::Error::from).map(|file| {
                self.sockets.insert(result.to_string(), file);
                result
            }));
        }
        if name == "close" {
            return Ok(self.sockets.remove(first).map(|_| 0).ok_or_else(bad));
        }
        let Some(file) = self.sockets.get(first) else { return Ok(Err(bad())) };
        let zero = |done: nix::Result<()>| done.map(|()| 0).map_err(io::Error::from);
        Ok(match name {
            "setsockopt" if arguments.get(2).is_some_and(|option| option == "SO_REUSEADDR") => {
                zero(setsockopt(file, sockopt::ReuseAddr, &true))
            }
            "fcntl" if arguments.get(2).is_some_and(|flags| flags.contains("O_NONBLOCK")) => {
                set_nonblocking(file).map(|()| 0)
            }
            "bind" => zero(bind(file.as_raw_fd(), &SockaddrStorage::from(self.listens))),
            "listen" => zero(listen(file, Backlog::new(10).unwrap_or(Backlog::MAXCONN))),
            "connect" => zero(connect(file.as_raw_fd(), &SockaddrStorage::from(self.connects))),
            "accept" => set_nonblocking(file)
                .and_then(|()| patiently(|| Ok(accept(file.as_raw_fd())?)))
                .map(|new: RawFd| {
                    // SAFETY: the descriptor is new and nobody else's.
                    let new = unsafe { OwnedFd::from_raw_fd(new) };
                    self.sockets.insert(result.to_string(), new);
                    result
                }),
            "read" => {
                let mut buffer = vec![0_u8; length(arguments)?];
                set_nonblocking(file)
                    .and_then(|()| patiently(|| Ok(nix::unistd::read(file, &mut buffer)?)))
                    .map(|read| read as i64)
            }
            "write" => {
                let buffer = vec![0_u8; length(arguments)?];
                patiently(|| Ok(nix::unistd::write(file, &buffer)?)).map(|sent| sent as i64)
            }
            _ => return Err("this call is not known".to_owned()),
        })
    }
}

/// Tries again as long as the call would have to wait, for some time.
fn patiently<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let until = Instant::now() + PATIENCE;
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(5));
            }
            other => return other,
        }
    }
}

fn set_nonblocking(file: &OwnedFd) -> io::Result<()> {
    let flags = nix::fcntl::OFlag::O_RDWR | nix::fcntl::OFlag::O_NONBLOCK;
    nix::fcntl::fcntl(file, nix::fcntl::FcntlArg::F_SETFL(flags))?;
    Ok(())
}

fn length(arguments: &[String]) -> Result<usize, String> {
    arguments.get(2).and_then(|text| text.parse().ok()).ok_or_else(|| "no length".to_owned())
}

fn bad() -> io::Error {
    io::Error::from_raw_os_error(libc::EBADF)
}
