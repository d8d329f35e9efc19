//! Conditions by flags, with the names and the habits of `hubble observe`: several of one flag are
//! alternatives, different flags must all hold, and `--not` turns the flag behind it into an exclusion.

mod arguments;
mod facts;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use twinpath_control::model::Range;
use twinpath_control::objects::ObjectName;
use twinpath_core::drop_reason::DropReason;

use crate::replay::outcome::Verdict;
use crate::report::{Context, Seen};
pub use arguments::HEADING;
use facts::Facts;

/// All conditions of a command line.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    /// By flag: one of each must hold.
    wanted: Vec<Vec<Condition>>,
    /// None of them may.
    unwanted: Vec<Condition>,
}

/// Which end of a packet a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Source,
    Destination,
    Either,
}

/// One value of one flag.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    Address(End, Range),
    /// A namespace, and what the name begins with.
    Pod(End, ObjectName),
    /// A namespace, and the name; every service of the namespace if that is empty.
    Service(End, ObjectName),
    Port(End, u16),
    /// One of these protocol numbers.
    Protocol(Vec<u8>),
    Verdict(Verdict),
    Reason(DropReason),
    Node(String),
}

impl Conditions {
    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.wanted.is_empty() && self.unwanted.is_empty()
    }

    /// Whether they hold for a packet and what became of it.
    pub fn hold(&self, context: &Context<'_>, seen: &Seen<'_>) -> bool {
        let facts = Facts::new(context, seen);
        self.wanted.iter().all(|choices| choices.iter().any(|one| one.holds(&facts)))
            && !self.unwanted.iter().any(|one| one.holds(&facts))
    }
}

impl End {
    /// Asks about the source (`false`), the destination (`true`), or one after the other.
    fn any(self, ask: impl Fn(bool) -> bool) -> bool {
        match self {
            Self::Source => ask(false),
            Self::Destination => ask(true),
            Self::Either => ask(false) || ask(true),
        }
    }
}

impl Condition {
    fn holds(&self, facts: &Facts<'_>) -> bool {
        match self {
            Self::Address(end, range) => end.any(|destination| {
                facts.addresses(destination).any(|address| contains(range, address))
            }),
            Self::Port(end, port) => {
                end.any(|destination| facts.ports(destination).any(|found| found == *port))
            }
            Self::Pod(end, wanted) => end.any(|destination| {
                facts.pods(destination).any(|pod| {
                    pod.namespace == wanted.namespace && pod.name.starts_with(&wanted.name)
                })
            }),
            Self::Service(end, wanted) => end.any(|destination| {
                facts.service(destination).is_some_and(|service| {
                    service.namespace == wanted.namespace
                        && (wanted.name.is_empty() || service.name == wanted.name)
                })
            }),
            Self::Protocol(numbers) => {
                facts.protocol().is_some_and(|number| numbers.contains(&number))
            }
            Self::Verdict(verdict) => facts.seen.outcome.verdict == *verdict,
            Self::Reason(reason) => facts.seen.outcome.reason == Some(*reason),
            Self::Node(name) => facts.nodes().any(|node| node == name),
        }
    }
}

fn contains(range: &Range, address: IpAddr) -> bool {
    address.is_ipv4() == range.address.is_ipv4()
        && Range { address, length: range.length }.first() == range.first()
}
