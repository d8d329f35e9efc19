//! Measurements with real sockets: what a process sees of its way to a service.
//!
//! One thread on one CPU has the sockets of client and server, and nobody waits at them: what a call starts
//! is carried through both stacks and everything in between before the call returns. So figures are the
//! work of both ends and of the way, and not how soon a scheduler wakes somebody up, which is the same for
//! all and far larger. Client ports are never used twice in a lab, since a port that was used meets the
//! connection that is remembered of it.
//!
//! A round's value is the median of its parts, which are datagrams, connections, round trips, or 1 MiB of a
//! stream: what else runs on the machine and interrupts is left out there, and is in the quantiles. Rates are
//! what fits in a second at that pace.
//!
//! Translation at sockets is measured beside all others in the same rounds, as [`Subject::Bare`] at the hook
//! `socket`: bare programs at `connect` and `sendmsg`, then plain forwarding.

use std::time::Duration;

use super::live::Path;
use super::result::{Measure, Unit};
use super::subject::Subject;

pub use self::client::Seen;
pub use self::collected::Collected;
pub use self::experiment::Sockets;
pub use self::stage::Stage;

mod client;
mod collected;
mod experiment;
mod ports;
mod server;
mod stage;
mod translated;

/// The measures that this is about.
pub const MEASURES: [Measure; 5] = [
    Measure::FirstPacket,
    Measure::Connect,
    Measure::ConnectRate,
    Measure::RoundTrip,
    Measure::Throughput,
];

/// What is measured in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// [`Measure::FirstPacket`], [`Measure::Connect`], [`Measure::ConnectRate`], [`Measure::RoundTrip`] or
    /// [`Measure::Throughput`].
    pub measure: Measure,
    /// Which way packets go.
    pub path: Path,
    /// How many connections are opened, or first datagrams sent, each from a port of its own. A lab has
    /// 61,744 ports for each protocol and client.
    pub connections: u16,
    /// How long a connection is used, where one is.
    pub time: Duration,
}

impl Setting {
    /// A round of a twentieth of a second or less.
    pub const fn new(measure: Measure, path: Path) -> Self {
        Self { measure, path, connections: 500, time: Duration::from_millis(50) }
    }

    const fn unit(&self) -> Unit {
        match self.measure {
            Measure::ConnectRate => Unit::PerSecond,
            Measure::Throughput => Unit::BitsPerSecond,
            _ => Unit::Nanoseconds,
        }
    }

    /// Whether this can be measured of a subject. From outside there is no way without a service, since one
    /// namespace is all that is beyond the node; and nobody there who answers directly.
    fn is_of(&self, stage: &Stage) -> bool {
        let bare = matches!(stage.subject, Subject::Forward | Subject::Bare);
        let path = match self.path {
            Path::ClusterLocal | Path::ClusterRemote => true,
            Path::NodePort => !bare,
            Path::Direct => false,
        };
        path && MEASURES.contains(&self.measure)
    }
}
