//! Network namespaces without names.
//!
//! A namespace here is a file descriptor and nothing else, so it is gone with the process, however that
//! ends, and its devices with it: nothing is left to clean up, and nothing else can be hit.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};
use twinpath_sim::world::WorldError;

/// A network namespace of this process.
#[derive(Debug)]
pub struct Namespace {
    file: OwnedFd,
}

/// What went wrong in or about a namespace.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// A namespace cannot be made or entered.
    #[error("network namespaces need root (CAP_SYS_ADMIN) and a kernel with CONFIG_NET_NS: {0}")]
    Namespace(io::Error),
    /// The kernel has put a device into the new namespace, where another is to be.
    #[error(
        "new network namespaces come with a device {0}: \
         run `sysctl net.core.fb_tunnels_only_for_init_net=1`"
    )]
    Occupied(String),
    /// A program is missing.
    #[error("`{program}` cannot be run: {error}; install the package {package}")]
    Missing {
        /// The program.
        program: &'static str,
        /// Debian's package with it.
        package: &'static str,
        /// What the kernel said.
        error: io::Error,
    },
    /// A program refused its input.
    #[error("`{program}`: {message}\nwith the input\n{input}")]
    Refused {
        /// The program.
        program: &'static str,
        /// What it said.
        message: String,
        /// What it was given.
        input: String,
    },
    /// A program took too long, and was ended.
    #[error("`{program}` took longer than {} s and was ended", .longest.as_secs_f64())]
    TooLong {
        /// The program.
        program: &'static str,
        /// How long it was given.
        longest: Duration,
    },
    /// A kernel parameter could not be set.
    #[error("{path} cannot be set to {value}: {error}")]
    Parameter {
        /// Its file.
        path: String,
        /// The value.
        value: String,
        /// What the kernel said.
        error: io::Error,
    },
}

/// What a program refused is a bug; for all else the machine lacks something, be it speed.
impl From<NamespaceError> for WorldError {
    fn from(error: NamespaceError) -> Self {
        match error {
            NamespaceError::Refused { .. } => Self::Failed(error.to_string()),
            error => Self::Environment(error.to_string()),
        }
    }
}

impl Namespace {
    /// A new namespace with an idle loopback device.
    pub fn new() -> Result<Self, NamespaceError> {
        // In a thread of its own, since a namespace is a thread's.
        let file = on_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        });
        Ok(Self { file: file.map_err(NamespaceError::Namespace)?.into() })
    }

    /// The same namespace once more, for another owner.
    pub fn try_clone(&self) -> Result<Self, NamespaceError> {
        let file = self.file.try_clone().map_err(NamespaceError::Namespace)?;
        Ok(Self { file })
    }

    /// Moves the calling thread into the namespace, for good.
    pub fn enter(&self) -> Result<(), NamespaceError> {
        setns(&self.file, CloneFlags::CLONE_NEWNET)
            .map_err(|error| NamespaceError::Namespace(error.into()))
    }

    /// Runs something in the namespace, on a thread of its own. What it opens stays of the namespace.
    pub fn run<T: Send>(&self, job: impl FnOnce() -> T + Send) -> Result<T, NamespaceError> {
        on_thread(|| self.enter().map(|()| job()))
    }

    /// A path that names the namespace to other processes, as long as this object lives.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// Runs `ip` with these commands, one per line.
    pub fn ip(&self, commands: &str) -> Result<(), NamespaceError> {
        self.feed("ip", "iproute2", &["-batch", "-"], commands)
    }

    /// Runs `bridge` with these commands, one per line.
    pub fn bridge(&self, commands: &str) -> Result<(), NamespaceError> {
        self.feed("bridge", "iproute2", &["-batch", "-"], commands)
    }

    /// Sets parameters: paths under `/proc/sys/net`, and values.
    pub fn set(&self, parameters: &[(&str, &str)]) -> Result<(), NamespaceError> {
        self.run(|| {
            for (name, value) in parameters {
                let path = format!("/proc/sys/net/{name}");
                std::fs::write(&path, value).map_err(|error| NamespaceError::Parameter {
                    path: path.clone(),
                    value: (*value).to_owned(),
                    error,
                })?;
            }
            Ok(())
        })?
    }

    /// Runs a program of a Debian package in the namespace, with this on its standard input.
    pub fn feed(
        &self,
        program: &'static str,
        package: &'static str,
        arguments: &[&str],
        input: &str,
    ) -> Result<(), NamespaceError> {
        self.feed_within(Duration::MAX, program, package, arguments, input)
    }

    /// The same, and the program is killed when it takes longer than this.
    pub fn feed_within(
        &self,
        longest: Duration,
        program: &'static str,
        package: &'static str,
        arguments: &[&str],
        input: &str,
    ) -> Result<(), NamespaceError> {
        let missing = |error| NamespaceError::Missing { program, package, error };
        let ended = self.run(|| -> io::Result<_> {
            let mut child = Command::new(program)
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()?;
            let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    // A program that gives up early says why on its standard error.
                    stdin.map(|mut stdin| stdin.write_all(input.as_bytes()))
                });
                let (end, ended) = mpsc::channel::<()>();
                let said = scope.spawn(move || {
                    let mut said = Vec::new();
                    let read = stderr.map(|mut stderr| stderr.read_to_end(&mut said));
                    drop(end);
                    read.transpose().map(|_| said)
                });
                // It ends with its program, which holds the other end.
                let is_late = ended.recv_timeout(longest) == Err(mpsc::RecvTimeoutError::Timeout);
                if is_late {
                    child.kill()?;
                }
                let said = said.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                Ok((child.wait()?, said?, is_late))
            })
        })?;
        let (status, said, is_late) = ended.map_err(missing)?;
        if status.success() {
            return Ok(());
        }
        if is_late {
            return Err(NamespaceError::TooLong { program, longest });
        }
        let message = String::from_utf8_lossy(&said).trim().to_owned();
        Err(NamespaceError::Refused { program, message, input: input.to_owned() })
    }
}

/// Runs something on a thread of its own and waits for it. A panic there goes on here.
fn on_thread<T: Send>(job: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| match scope.spawn(job).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
