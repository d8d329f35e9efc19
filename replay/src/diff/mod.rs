//! The same packets through two worlds, or through two clusters or configurations of one.
//!
//! Both sides go in step, packet by packet, each a replay of its own: clients, replies and time are as
//! [`replay`](crate::replay) has them. What differs is grouped by [cause], since ten thousand equal
//! differences are one fact; packets that only go on as their flow began belong to the cause of that.

pub mod cause;
pub mod compare;
pub mod field;
pub mod json;
mod known;
pub mod minimize;
pub mod side;
pub mod stages;
pub mod states;
pub mod table;
pub mod tally;

use twinpath_core::parse::{Parsed, parse};
use twinpath_core::tuple::Tuple;
use twinpath_core::verdict::Status;
use twinpath_core::wire::tcp;
use twinpath_sim::frame::Frame;
use twinpath_sim::world::WorldError;

use crate::command::setup::Setup;
use crate::replay::feed::Captured;
use crate::replay::outcome::Verdict;
use crate::report::Seen;
use crate::report::table::packet_words;
use cause::{Case, Causes, Example, Found};
use compare::{Difference, Judge};
use field::Field;
use known::Known;
use side::{Side, View};
use tally::Tally;

/// A comparison that is going on.
pub struct Comparison {
    judge: Judge,
    /// What differed so far, by cause.
    pub causes: Causes,
    /// Flows that moved, drops gained and lost.
    pub tally: Tally,
    /// Packets so far.
    pub packets: u64,
    /// The differences of the last packet.
    pub differences: Vec<Difference>,
    frame: Frame,
}

impl Comparison {
    /// Of two sides that have seen no packet.
    pub fn new(left: &Setup, right: &Setup, ignored: &[Field]) -> Self {
        let (left, right) = (Known::new(&left.cluster), Known::new(&right.cluster));
        Self {
            judge: Judge { left, right, ignored: ignored.to_vec() },
            causes: Causes::default(),
            tally: Tally::default(),
            packets: 0,
            differences: Vec::new(),
            frame: Frame::default(),
        }
    }

    /// Sends a packet through both sides and compares what became of it. The cause of what differs, if
    /// anything does.
    pub fn packet(
        &mut self,
        packet: &Captured<'_>,
        left: &mut dyn Side,
        right: &mut dyn Side,
    ) -> Result<Option<Found>, WorldError> {
        left.step(packet)?;
        right.step(packet)?;
        self.packets = self.packets.wrapping_add(1);
        let (left, right) = (left.view(), right.view());
        self.tally.count(&left, &right);
        self.differences.clear();
        if packet.broken.is_some() {
            return Ok(None);
        }
        packet.fill(&mut self.frame);
        let sent = parse(&self.frame).ok().flatten();
        let differences = self.judge.compare(sent.as_ref(), &left, &right);
        if differences.is_empty() {
            return Ok(None);
        }
        self.differences.clone_from(&differences);
        let case = Case {
            number: self.packets,
            tuple: sent.as_ref().map(|parsed| &parsed.tuple),
            opens: opens(sent.as_ref(), &left, &right),
            service: self.judge.service(sent.as_ref(), &left, &right),
            differences,
        };
        let number = self.packets;
        Ok(self.causes.add(case, |differences| Example {
            number,
            words: words(packet, sent.as_ref(), &left, number),
            left: line(&left, &differences, |one| &one.left),
            right: line(&right, &differences, |one| &one.right),
            differences,
        }))
    }

    /// Services whose flows moved, with the fewest that had to.
    pub fn moved(&self) -> Vec<tally::Moved<'_>> {
        self.tally.moved(&self.judge)
    }
}

/// Whether a packet begins a connection on either side, so that it is decided anew.
fn opens(sent: Option<&Parsed>, left: &View<'_>, right: &View<'_>) -> bool {
    let anew = |view: &View<'_>| {
        let status = view.outcome.made.map(|made| made.decision.status());
        matches!(status, Some(Status::New | Status::Reopened))
    };
    let syn = sent.is_some_and(|parsed| parsed.flags & (tcp::SYN | tcp::ACK) == tcp::SYN);
    syn && anew(left) && anew(right)
}

fn words(packet: &Captured<'_>, sent: Option<&Parsed>, view: &View<'_>, number: u64) -> String {
    let (topology, outcome, recorder) = (view.topology, view.outcome, view.recorder);
    packet_words(sent, &Seen { topology, number, packet, outcome, recorder })
}

/// `TRANSLATED  backend 10.244.1.11:8080 (default/web-a on node-a)  to node-a`, and what differs.
fn line(
    view: &View<'_>,
    differences: &[Difference],
    side: impl Fn(&Difference) -> &String,
) -> String {
    let mut parts = vec![view.outcome.verdict.name().to_owned()];
    parts.extend(view.outcome.reason.map(|reason| reason.name().to_owned()));
    if let Some(backend) = view.backend() {
        let socket = std::net::SocketAddr::new(backend.address, backend.port);
        let mut text = format!("backend {socket}");
        match (&backend.pod, &backend.node) {
            (Some(pod), Some(node)) => text.push_str(&format!(" ({pod} on {node})")),
            (Some(pod), None) => text.push_str(&format!(" ({pod})")),
            (None, Some(node)) => text.push_str(&format!(" (on {node})")),
            (None, None) => {}
        }
        parts.push(text);
    }
    let told = ["verdict", "drop_reason", "backend"];
    let more = differences.iter().filter(|one| !told.contains(&one.field));
    parts.extend(more.map(|one| format!("{} {}", one.field, side(one))));
    if view.outcome.verdict == Verdict::Dropped
        && let Some(made) = view.outcome.made
        && let Some(node) = view.topology.nodes.get(made.node)
    {
        parts.push(format!("at {} of {}", made.hook.name(), node.name));
    }
    parts.join("  ")
}

/// A flow's name, whichever way a packet of it goes.
fn flow_of(tuple: &Tuple) -> Tuple {
    (*tuple).min(tuple.reverse())
}
