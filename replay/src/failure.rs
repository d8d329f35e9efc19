//! How the command ends: exit codes, and errors of one line each.

use std::io;
use std::process::ExitCode;

use thiserror::Error;
use twinpath_control::read::ReadError;
use twinpath_sim::world::WorldError;

use crate::capture::{CaptureError, LinkError};

/// How a command ended when nothing went wrong with the command itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Fine.
    Fine,
    /// It ran, and found differences.
    Different,
    /// There was nothing to do.
    Nothing,
    /// Ctrl-C ended it: what was done until then is told.
    Interrupted,
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> Self {
        Self::from(match ending {
            Ending::Fine => 0,
            Ending::Different => 1,
            Ending::Nothing => 4,
            Ending::Interrupted => 130,
        })
    }
}

/// The exit code for a bug: sysexits' `EX_SOFTWARE`.
pub const BUG: u8 = 70;

/// Why a command could not do its work. One line: what, where, and what to do.
#[derive(Debug, Error)]
pub enum Failure {
    /// A capture cannot be read.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// No packet of a capture can be replayed.
    #[error("{name}: {cause}")]
    Link {
        /// The capture.
        name: String,
        /// Why.
        cause: LinkError,
    },
    /// A cluster dump cannot be read.
    #[error(transparent)]
    Cluster(#[from] ReadError),
    /// The input or the arguments make no sense.
    #[error("{0}")]
    Usage(String),
    /// A file other than a capture cannot be read or written.
    #[error("{name}: {cause}; {advice}")]
    File {
        /// Its name.
        name: String,
        /// What the system said.
        cause: io::Error,
        /// What to do.
        advice: &'static str,
    },
    /// The data could not be written to standard output.
    #[error("standard output: {0}")]
    Output(io::Error),
    /// A world could not be made, or broke.
    #[error(transparent)]
    World(#[from] WorldError),
}

impl Failure {
    /// Whether the reader of the output has seen enough, as `head` has: no failure at all.
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(cause) if cause.kind() == io::ErrorKind::BrokenPipe)
    }

    /// The exit code.
    pub fn code(&self) -> ExitCode {
        match self {
            _ if self.is_closed_pipe() => ExitCode::SUCCESS,
            Self::World(WorldError::Environment(_)) => ExitCode::from(3),
            Self::World(WorldError::Failed(_)) => ExitCode::from(BUG),
            _ => ExitCode::from(2),
        }
    }
}
