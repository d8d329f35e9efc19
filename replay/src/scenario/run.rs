//! Running a scenario in a world.

use std::fmt::Write as _;

use twinpath_control::tables::Names;
use twinpath_core::parse::parse;
use twinpath_core::seam::Nanos;
use twinpath_sim::cluster::{Fate, Place};
use twinpath_sim::frame::Frame;
use twinpath_sim::topology::{Owner, Topology};
use twinpath_sim::world::{Sender, Trace, World, WorldError};

use super::MILLISECOND;
use super::file::{Action, Expect, Scenario};
use super::packet::{Packet, Transport, Words};
use super::show::{decision_text, fate_text, name, packet_text, place_text};
use crate::verify::Ends;

/// How much a world can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Frames, decisions, and what became of packets.
    Everything,
    /// Frames at devices: nothing of what goes on in a node.
    Frames,
}

/// What a scenario came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Every packet at every place.
    pub text: String,
    /// The expectations that were not met.
    pub unmet: Vec<String>,
    /// The packets that were sent, as they were.
    pub sent: Vec<Vec<u8>>,
}

/// Runs a scenario in a world that its cluster was applied to.
pub fn run(
    scenario: &Scenario,
    world: &mut dyn World,
    detail: Detail,
) -> Result<Report, WorldError> {
    let names = world.names(&scenario.state);
    let mut runner = Runner { world, names, detail, now: 0, last: None, report: Report::default() };
    for (number, step) in scenario.steps.iter().enumerate() {
        runner.step(number + 1, &step.action, step.expect.as_ref())?;
    }
    Ok(runner.report)
}

struct Runner<'a> {
    world: &'a mut dyn World,
    names: Names,
    detail: Detail,
    now: Nanos,
    /// Who received the last packet that arrived, and the packet.
    last: Option<(Sender, Frame)>,
    report: Report,
}

impl Runner<'_> {
    fn step(
        &mut self,
        number: usize,
        action: &Action,
        expect: Option<&Expect>,
    ) -> Result<(), WorldError> {
        match action {
            Action::Send(from, packet) => {
                let frame = packet.frame();
                match from.or_else(|| owner(self.world.topology(), &frame)) {
                    Some(sender) => self.packet(number, "sends", sender, &frame, expect),
                    None => {
                        self.unmet(number, "nobody has this address: say who sends with `from`")
                    }
                }
            }
            Action::Reply(words) => match self.last.take() {
                Some((sender, received)) => match reply(&received, *words) {
                    Some(packet) => self.packet(number, "answers", sender, &packet.frame(), expect),
                    None => self.unmet(number, "what arrived last cannot be answered"),
                },
                None => self.unmet(number, "nothing has arrived that could be answered"),
            },
            Action::Wait(time) => {
                self.now = self.now.saturating_add(time.saturating_mul(MILLISECOND));
                self.line(format_args!("{number}  {time} ms pass\n"));
                self.world.set_time(self.now)
            }
            Action::Apply(state) => {
                self.line(format_args!("{number}  the cluster changes\n"));
                self.world.apply(state)?;
                self.names = self.world.names(state);
                Ok(())
            }
            Action::Evict(node, packet) => {
                self.line(format_args!("{number}  a connection is evicted\n"));
                let frame = packet.frame();
                let there = match parse(&frame) {
                    Ok(Some(parsed)) => self.world.evict(*node, &parsed.tuple)?,
                    _ => false,
                };
                if there { Ok(()) } else { self.unmet(number, "there is no such connection") }
            }
        }
    }

    /// Sends a packet and writes down what is seen of it.
    fn packet(
        &mut self,
        number: usize,
        what: &str,
        sender: Sender,
        frame: &Frame,
        expect: Option<&Expect>,
    ) -> Result<(), WorldError> {
        let trace = self.world.send_from(sender, frame)?;
        let who = match sender {
            Sender::Pod(pod) => Place::PodOut(pod),
            Sender::Node(node) => Place::Host(node),
            Sender::Client(client) => Place::ClientOut(client),
        };
        let who = name(self.world.topology(), who);
        self.report.sent.push(frame.bytes.clone());
        self.line(format_args!("{number}  {who} {what}\n"));
        self.describe(sender, &trace);
        let arrived = match (&trace.fate, trace.seen.last()) {
            (Some(Fate::Arrived(place)), Some((seen, frame))) if place == seen => {
                Some((*place, frame.clone()))
            }
            _ => None,
        };
        if let Some(expect) = expect {
            self.check(number, expect, &trace, arrived.as_ref())?;
        }
        if let Some((place, frame)) = arrived
            && let Some(receiver) = receiver(place)
        {
            self.last = Some((receiver, frame));
        }
        Ok(())
    }

    fn describe(&mut self, sender: Sender, trace: &Trace) {
        let Self { world, names, detail, report, .. } = self;
        let topology = world.topology();
        let mut decisions = trace.decisions.iter().zip(&trace.decided_after).peekable();
        let mut decided = |text: &mut String, seen: usize| {
            while let Some(((node, hook, decision), _)) =
                decisions.next_if(|(_, after)| **after <= seen)
            {
                let node = super::show::node(topology, *node);
                let decision = decision_text(names, decision);
                let _ = writeln!(text, "     {:<22} {decision}", format!("{node} {}", hook.name()));
            }
        };
        for (index, (place, frame)) in trace.seen.iter().enumerate() {
            if *detail == Detail::Everything {
                decided(&mut report.text, index);
            } else if index == 0 && matches!((sender, place), (Sender::Node(_), Place::Host(_))) {
                continue; // a node's own packet is seen when it has left the node
            }
            let place = place_text(topology, *place, frame);
            let packet = packet_text(&frame.bytes);
            let _ = writeln!(report.text, "   {place:<24} {packet}");
        }
        if *detail == Detail::Everything {
            decided(&mut report.text, usize::MAX);
            if let Some(fate) = trace.fate.and_then(|fate| fate_text(topology, fate)) {
                let _ = writeln!(report.text, "   {fate}");
            }
        }
    }

    fn check(
        &mut self,
        number: usize,
        expect: &Expect,
        trace: &Trace,
        arrived: Option<&(Place, Frame)>,
    ) -> Result<(), WorldError> {
        if let Some(wanted) = &expect.at {
            let topology = self.world.topology();
            let at = arrived.map(|(place, _)| name(topology, *place));
            let wanted_place = super::file::sender(topology, wanted).ok();
            let right = match arrived.map(|(place, _)| *place) {
                Some(place) => receiver(place).is_some_and(|at| Some(at) == wanted_place),
                None => false,
            } || at.as_deref() == Some(wanted);
            if !right {
                let at = at.unwrap_or_else(|| "nowhere".into());
                self.unmet(number, &format!("arrives at {at} and not at {wanted}"))?;
            }
        }
        if let Some(wanted) = &expect.packet {
            let packet = arrived.map(|(_, frame)| packet_text(&frame.bytes)).unwrap_or_default();
            if !packet.starts_with(wanted.as_str()) {
                self.unmet(number, &format!("arrives as {packet:?} and not as {wanted:?}"))?;
            }
        }
        if let Some(wanted) = &expect.drop
            && self.detail == Detail::Everything
        {
            let reason = trace.decisions.iter().find_map(|(_, _, decision)| decision.reason());
            let reason = reason.map_or("none", twinpath_core::drop_reason::DropReason::name);
            if reason != wanted {
                self.unmet(number, &format!("drop reason {reason} and not {wanted}"))?;
            }
        }
        Ok(())
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        let _ = self.report.text.write_fmt(line);
    }

    /// Never fails: the result is that of a step.
    fn unmet(&mut self, number: usize, what: &str) -> Result<(), WorldError> {
        self.report.unmet.push(format!("step {number}: {what}"));
        Ok(())
    }
}

/// Who answers what arrives at a place.
const fn receiver(place: Place) -> Option<Sender> {
    match place {
        Place::PodIn(pod) => Some(Sender::Pod(pod)),
        Place::Host(node) => Some(Sender::Node(node)),
        Place::ClientIn(client) => Some(Sender::Client(client)),
        _ => None,
    }
}

/// Who has the source address of a packet.
fn owner(topology: &Topology, frame: &Frame) -> Option<Sender> {
    match topology.owner(&parse(frame).ok()??.tuple.source)? {
        Owner::Pod(pod) => Some(Sender::Pod(pod)),
        Owner::Node(node) => Some(Sender::Node(node)),
        Owner::Client(client) => Some(Sender::Client(client)),
        Owner::Router => None,
    }
}

/// The answer to a packet, its ends turned round.
fn reply(received: &Frame, words: Words) -> Option<Packet> {
    let parsed = parse(received).ok()??;
    let tuple = parsed.tuple.reverse();
    let protocol = match tuple.protocol {
        6 => Transport::Tcp,
        17 => Transport::Udp,
        _ => return None,
    };
    let ends = Ends {
        source: (tuple.source.into(), tuple.source_port.get()),
        destination: (tuple.destination.into(), tuple.destination_port.get()),
    };
    Some(Packet::Built { protocol, ends, words })
}
