//! Where in the core's sources packets are dropped.
//!
//! `sites.txt` is made from the sources by a test of this module, and is part of the crate, since the
//! sources need not be at hand where it is built.

use std::fmt;

use twinpath_core::drop_reason::DropReason;
use twinpath_core::endpoint::Kind;
use twinpath_core::hook::{Answer, Hook, Stage};
use twinpath_core::wire;

use super::log::{Entry, Event};

const SITES: &str = include_str!("sites.txt");

/// A line of the core's sources that gives a packet up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// The file, from the root of the repository.
    pub file: &'static str,
    /// The line, from 1.
    pub line: u32,
    /// The function.
    pub function: &'static str,
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} ({})", self.file, self.line, self.function)
    }
}

/// The sites of a reason.
fn of_reason(reason: DropReason) -> impl Iterator<Item = Site> {
    let name = format!("{reason:?}");
    SITES.lines().filter_map(move |line| {
        let mut words = line.split_whitespace();
        let (file, number, function) = (words.next()?, words.next()?, words.next()?);
        let site = Site { file, line: number.parse().ok()?, function };
        (words.next()? == name).then_some(site)
    })
}

/// The files that a stage's code is in, behind `core/src/`. No stage: the fast road.
const fn files(stage: Option<Stage>) -> &'static [&'static str] {
    match stage {
        None => &["hook.rs", "translate.rs"],
        Some(Stage::Classify) => &["parse.rs", "hook/classify.rs", "translate.rs"],
        Some(Stage::Connect | Stage::Send) => &["parse.rs", "hook/wrap.rs", "translate.rs"],
        Some(Stage::Related) => {
            &["parse.rs", "hook/related.rs", "quote.rs", "hook/classify.rs", "translate.rs"]
        }
        Some(Stage::Unwrap) => &["parse.rs", "hook/unwrap.rs", "hook/classify.rs", "translate.rs"],
        Some(Stage::Wrap) => &["hook/wrap.rs", "snat.rs"],
        Some(Stage::Open | Stage::Plain) => &[
            "select.rs",
            "hook/open.rs",
            "translate.rs",
            "hook/wrap.rs",
            "snat.rs",
            "hook/classify.rs",
        ],
        Some(Stage::Reserve) => &["snat.rs", "hook/classify.rs", "translate.rs"],
        Some(Stage::Commit) => &["hook/open.rs", "hook/wrap.rs", "translate.rs", "snat.rs"],
        Some(Stage::Answer | Stage::Done) => &["hook/stage.rs", "hook/answer.rs"],
    }
}

/// What is known of a drop.
#[derive(Clone, Copy, Debug)]
pub struct Drop<'a> {
    /// The hook where.
    pub hook: Hook,
    /// The stage that gave up; `None` for the fast road.
    pub stage: Option<Stage>,
    /// Why.
    pub reason: DropReason,
    /// What the sender is to be told.
    pub answer: Answer,
    /// Whether the frame says that it has IPv4 in it; `None` where it says neither that nor IPv6.
    pub v4: Option<bool>,
    /// The protocol that the IP header names, if it can be read.
    pub protocol: Option<u8>,
    /// What happened at the hook.
    pub events: &'a [Event],
}

impl Drop<'_> {
    /// The lines that can have given the packet up: nearly always one.
    pub fn sites(&self) -> Vec<Site> {
        let all: Vec<Site> = of_reason(self.reason).collect();
        let here = |site: &&Site| {
            let file = site.file.strip_prefix("core/src/").unwrap_or(site.file);
            files(self.stage).contains(&file)
        };
        let mut found: Vec<Site> = all.iter().filter(here).copied().collect();
        if found.is_empty() {
            found = all;
        }
        let other = match self.v4 {
            Some(true) => "ipv6",
            Some(false) => "ipv4",
            None => "-",
        };
        found.retain(|site| !site.function.ends_with(other));
        let Some((function, which)) = self.refine() else { return found };
        let of: Vec<Site> =
            found.iter().filter(|site| site.function == function).copied().collect();
        match which.and_then(|which| of.get(which)) {
            Some(site) => vec![*site],
            None if !of.is_empty() => of,
            None => found,
        }
    }

    /// What happened tells in which function it was, and at which of its sites, from 0.
    fn refine(&self) -> Option<(&'static str, Option<usize>)> {
        let last = self.events.iter().rev().find_map(|event| match event {
            Event::Looked(entry) if !matches!(entry, Entry::Range(..)) => Some(entry),
            _ => None,
        });
        Some(match (self.reason, self.stage?) {
            (DropReason::ServiceBackendNotFound, _) => match last? {
                // The count, the choice, the backend.
                Entry::Service(key, Some(_)) if key.slot == 0 => ("serve", Some(0)),
                Entry::Backend(_, None) => ("serve", Some(2)),
                _ => ("serve", Some(1)),
            },
            (DropReason::NoHairpinAddress, _) => {
                let leaving = matches!(self.hook, Hook::ToNetdev)
                    && matches!(last?, Entry::Endpoint(_, Some(end)) if end.kind() == Kind::Host);
                ("serve", Some(usize::from(!leaving)))
            }
            (DropReason::NoMappingForNat, _) => {
                let drawn = self.events.iter().any(|event| matches!(event, Event::Drawn(_)));
                if drawn { ("search", None) } else { ("source", None) }
            }
            (DropReason::ServicePortNotFound, Stage::Open | Stage::Plain) => ("plain", None),
            (DropReason::ServicePortNotFound, _) if self.answer == Answer::Echo => ("sort", None),
            (DropReason::ServicePortNotFound, _) => ("pass_on", None),
            (DropReason::FragmentationNeeded, _) => {
                ("check", Some(usize::from(self.answer != Answer::TooBig)))
            }
            (DropReason::InvalidTransportHeader, _) => match self.protocol? {
                wire::TCP => ("load_tcp", None),
                wire::UDP => ("load_udp", None),
                wire::SCTP => ("load_sctp", None),
                _ => ("load_icmp", None),
            },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests;
