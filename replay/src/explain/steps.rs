//! The notes in words, step by step.

use std::collections::HashSet;

use twinpath_control::model::Endpoint;
use twinpath_core::hook::{Answer, Hook, Stage};
use twinpath_core::seam::{InsertError, Metric};
use twinpath_core::service::{Algorithm, Service};
use twinpath_core::verdict::{Decision, Status, Verdict};
use twinpath_sim::cluster::{Fate, Place};
use twinpath_sim::engine::NodeIndex;
use twinpath_sim::frame::Frame;

use super::endpoints::{self, Standing, judge};
use super::entry;
use super::log::{Entry, Event};
use super::packet;
use super::story::Story;
use crate::replay::flows::Role;

/// One step.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// What it is about, in a word.
    pub what: &'static str,
    /// What happened.
    pub text: String,
    /// The node and the hook, where it happened at one.
    pub at: Option<(NodeIndex, Hook)>,
    /// The stage of the slow road.
    pub stage: Option<&'static str>,
    /// The table.
    pub map: Option<&'static str>,
    /// What was done to it: `lookup`, `insert`, `remove`.
    pub operation: Option<&'static str>,
    /// The key.
    pub key: Option<String>,
    /// The key's bytes.
    pub key_bytes: Option<Vec<u8>>,
    /// The value that was found or written.
    pub value: Option<String>,
    /// Lines below it.
    pub details: Vec<String>,
    /// People can do without it.
    pub minor: bool,
}

/// What a stage of the slow road is for.
const fn purpose(stage: Stage) -> &'static str {
    match stage {
        Stage::Classify => "what kind of packet is it, and where does it go next",
        Stage::Connect => "find its connection, and bring it up to date",
        Stage::Send => "send it on with the connection that was found",
        Stage::Related => "translate an ICMP error and what it quotes",
        Stage::Unwrap => "take off what another node has wrapped it in",
        Stage::Wrap => "tell the backend's node of the frontend",
        Stage::Answer => "make it the answer to itself",
        Stage::Open => "choose where a new connection goes",
        Stage::Reserve => "find a source port whose reply tuple is free",
        Stage::Commit => "write the connection, and send the packet on",
        Stage::Plain => "a plain packet of no connection: choose where it goes",
        Stage::Done => "done",
    }
}

/// What is told to a sender.
pub const fn answer(answer: Answer) -> &'static str {
    match answer {
        Answer::None => "nothing",
        Answer::PortUnreachable => "ICMP port unreachable",
        Answer::TimeExceeded => "ICMP time exceeded",
        Answer::TooBig => "ICMP fragmentation needed (packet too big)",
        Answer::Echo => "an echo reply",
    }
}

/// All steps of a packet.
pub fn steps(story: &Story<'_>) -> Vec<Step> {
    let mut teller = Teller {
        story,
        steps: Vec::new(),
        at: None,
        stage: None,
        met: HashSet::new(),
        frame: None,
        master: None,
        judged: false,
    };
    if let Some(why) = &story.broken {
        teller.step("link", format!("no Ethernet frame: {why}"));
        return teller.steps;
    }
    for (i, event) in story.events.iter().enumerate() {
        teller.tell(event, story.events.get(i.saturating_add(1)..).unwrap_or_default());
    }
    if teller.frame.is_none() {
        let have = story.have.min(story.captured.bytes.len());
        teller.step("parse", packet::parsed_text(&story.captured, have));
    }
    teller.steps
}

struct Teller<'a, 'b> {
    story: &'a Story<'b>,
    steps: Vec<Step>,
    at: Option<(NodeIndex, Hook)>,
    stage: Option<&'static str>,
    /// What was looked up at this hook already.
    met: HashSet<(&'static str, String, bool)>,
    /// The packet as it was last.
    frame: Option<Frame>,
    /// The master entry that was found last.
    master: Option<Service>,
    /// Whether the endpoints were told of.
    judged: bool,
}

impl Teller<'_, '_> {
    fn step(&mut self, what: &'static str, text: String) -> &mut Step {
        let step = Step { what, text, at: self.at, stage: self.stage, ..Step::default() };
        self.steps.push(step);
        let last = self.steps.len().saturating_sub(1);
        // It was just put there.
        &mut self.steps[last]
    }

    fn tell(&mut self, event: &Event, next: &[Event]) {
        match event {
            Event::Seen(place, frame) => self.seen(*place, frame),
            Event::Hook(node, hook, device, frame) => {
                self.moved("stack", frame);
                (self.at, self.stage) = (Some((*node, *hook)), None);
                self.met.clear();
                let text =
                    format!("{} of {}, device {device}", hook.name(), self.story.node(*node));
                self.step("hook", text).minor = true;
            }
            Event::Stage(stage) => {
                self.stage = Some(stage.program());
                let text = format!("{}: {}", stage.program(), purpose(*stage));
                self.step("stage", text);
            }
            Event::Looked(entry) => self.looked(entry),
            Event::Inserted(entry, _, result) => {
                self.met.clear();
                let text = match result {
                    Ok(()) => "written".to_owned(),
                    Err(InsertError::Exists) => "not written: the key is taken".into(),
                    Err(InsertError::Full) => "not written: there is no room".into(),
                };
                let what = self.label(entry);
                self.entry(what, text, entry, "insert");
            }
            Event::Removed(entry, removed) => {
                self.met.clear();
                let text = if *removed { "removed" } else { "nothing to remove" };
                let what = self.label(entry);
                self.entry(what, text.into(), entry, "remove");
            }
            Event::Drawn(number) => self.drawn(*number, next),
            Event::Counted(metric) => {
                let name = Metric::name(*metric).unwrap_or("?");
                let step = self.step("count", name.to_owned());
                step.minor = true;
                step.map = Some("METRICS");
                step.operation = Some("add");
                step.key = Some(metric.0.to_string());
            }
            Event::Refused(told, reason) => {
                let text = format!("{}: its sender gets {}", reason.name(), answer(*told));
                self.step("answer", text);
            }
            Event::Left(frame) => self.moved("rewrite", frame),
            Event::Decided(node, hook, decision) => {
                let text = self.decided(decision);
                self.at = Some((*node, *hook));
                self.step("decide", text);
                if decision.reason().is_some() {
                    self.site();
                }
                (self.at, self.stage) = (None, None);
            }
            Event::Ended(fate) => self.ended(*fate),
        }
    }

    fn seen(&mut self, place: Place, frame: &Frame) {
        let first = self.frame.is_none();
        self.moved("stack", frame);
        self.frame = Some(frame.clone());
        (self.at, self.stage) = (None, None);
        let what = match place {
            Place::PodOut(_) | Place::ClientOut(_) => "send",
            Place::Host(_) if first => "send",
            Place::Wire(_) | Place::FromRouter(_) | Place::Router => "link",
            _ => "arrive",
        };
        let mut text =
            format!("{}: {}", self.story.place(place), crate::scenario::packet_text(&frame.bytes));
        if first && self.story.outcome.role == Some(Role::Reply) {
            text.push_str(" (a reply: captured where it arrived)");
        }
        self.step(what, text);
        if first {
            let cut = self.story.captured.bytes.len().saturating_sub(self.story.have);
            let have = frame.bytes.len().saturating_sub(cut);
            self.step("parse", packet::parsed_text(frame, have));
        }
    }

    /// Says what of the packet is not as it was last.
    fn moved(&mut self, what: &'static str, frame: &Frame) {
        if let Some(before) = &self.frame {
            let changes = packet::changes(before, frame);
            if !changes.is_empty() {
                self.step(what, changes.join(", "));
            }
            self.frame = Some(frame.clone());
        }
    }

    const fn label(&self, entry: &Entry) -> &'static str {
        match entry {
            Entry::Service(key, _) if key.protocol == 0 => "address",
            Entry::Service(key, _) if key.slot == 0 => "service",
            Entry::Service(..) => "slot",
            Entry::Backend(..) => "backend",
            Entry::Maglev(..) => "maglev",
            Entry::Member(..) => "member",
            Entry::Endpoint(..) => "route",
            Entry::Range(..) => "ranges",
            Entry::Termination(..) => "tunnel",
            Entry::Reserved(..) => "port",
            Entry::Limit(..) => "limit",
            Entry::Flow(..) => "conntrack",
            Entry::Affinity(..) => "affinity",
            Entry::Fragment(..) => "fragments",
        }
    }

    fn entry(
        &mut self,
        what: &'static str,
        text: String,
        entry: &Entry,
        operation: &'static str,
    ) -> &mut Step {
        let value = entry::value(entry, self.story.names, self.story.now);
        let (map, key, bytes) = (entry.map(), entry::key(entry), entry.key_bytes());
        let step = self.step(what, text);
        step.map = Some(map);
        step.operation = Some(operation);
        step.key = Some(key);
        step.key_bytes = Some(bytes);
        step.value = value;
        step
    }

    fn looked(&mut self, looked: &Entry) {
        let again = !self.met.insert((looked.map(), entry::key(looked), looked.is_there()));
        let what = self.label(looked);
        let value = entry::value(looked, self.story.names, self.story.now);
        let text = match (looked, value) {
            (Entry::Flow(..), None) => "miss: no connection has this tuple".into(),
            (Entry::Flow(..), Some(value)) => format!("hit: {value}"),
            (Entry::Service(key, _), None) if key.protocol == 0 => {
                format!("no service lives on {}", key.address)
            }
            (Entry::Service(key, _), Some(_)) if key.protocol == 0 => {
                format!("services live on {}, on other ports", key.address)
            }
            (Entry::Service(key, _), None) => format!("{} is no frontend", entry::frontend(key)),
            (Entry::Service(key, value), Some(text)) if key.slot == 0 => {
                self.master = *value;
                text
            }
            (Entry::Range(key, _), value) => range(key, value.is_some()),
            (Entry::Endpoint(address, _), value) => {
                let unknown = "of no pod of this node, and of no node";
                format!("{address} is {}", value.as_deref().unwrap_or(unknown))
            }
            (Entry::Member(..), Some(value)) => format!("the backend is in: {value}"),
            (Entry::Member(..), None) => "the backend is no longer one of the service's".into(),
            (Entry::Affinity(..), None) => "the client has no backend yet".into(),
            (Entry::Affinity(..), Some(value)) => format!("the client had {value}"),
            (Entry::Fragment(..), None) => "the first fragment has not been seen".into(),
            (Entry::Fragment(..), Some(value)) => format!("the first fragment had {value}"),
            (Entry::Maglev(index, _), Some(value)) => {
                let size = self.story.maglev_size.max(1);
                format!("entry {} of {size}: {value}", index % size)
            }
            (Entry::Reserved(..), value) => match value.as_deref() {
                Some("0x0000000000000000") => "none of these ports is reserved".into(),
                Some(_) => "some of these ports are reserved".into(),
                None => "no port is reserved".into(),
            },
            (Entry::Limit(..), Some(_)) => "a token for the answer is asked for".into(),
            (_, Some(value)) => value,
            (_, None) => "nothing".into(),
        };
        self.entry(what, text, looked, "lookup").minor =
            again || matches!(looked, Entry::Reserved(..));
        if let Entry::Service(key, Some(value)) = looked
            && (key.slot, key.protocol != 0) == (0, true)
            && !self.judged
        {
            self.judged = true;
            self.backends(value);
        }
    }

    /// Tells which endpoints take new connections, and why others do not.
    fn backends(&mut self, value: &Service) {
        let Some(used) = self.story.used() else { return };
        let Some(policy) = used.policy() else { return };
        let place = self.story.state.place(self.story.node(used.node));
        let all = judge(used.port, policy, used.v4, &place);
        let eligible = all.iter().filter(|(_, standing)| standing.is_eligible()).count();
        let (of_family, others): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(_, standing)| *standing != Standing::OtherFamily);
        let family = if used.v4 { "IPv4" } else { "IPv6" };
        let mut text = format!(
            "{eligible} of {} {family} endpoints take new connections here",
            of_family.len()
        );
        if !others.is_empty() {
            text.push_str(&format!("; {} are of the other family", others.len()));
        }
        if usize::from(value.count) != eligible {
            text.push_str(&format!("; the table has {}", value.count));
        }
        let details = details(&of_family, &place);
        self.step("endpoints", text).details = details;
    }

    fn drawn(&mut self, number: u32, next: &[Event]) {
        let slot = next.iter().take(1).find_map(|event| match event {
            Event::Looked(Entry::Service(key, _)) if key.slot > 0 => Some(key.slot),
            _ => None,
        });
        let text = match (slot, self.master) {
            (Some(slot), Some(master)) if master.algorithm == Algorithm::Random as u8 => {
                format!("{number} of 2^32, scaled to slots 1 to {}: slot {slot}", master.count)
            }
            _ => format!("{number}: the source ports that are tried follow from it"),
        };
        self.step("dice", text);
    }

    fn decided(&self, decision: &Decision) -> String {
        let story = self.story;
        let mut text = match decision.verdict() {
            Verdict::Pass => "PASS to the node's stack".to_owned(),
            Verdict::Drop(reason) => format!("DROP {}", reason.name()),
            Verdict::Deliver(device) => format!("DELIVER to the pod behind device {device}"),
            Verdict::Forward(device) => format!("FORWARD by device {device}"),
            Verdict::Reject(reason) => format!("REJECT {}", reason.name()),
            Verdict::Answer => "ANSWER".to_owned(),
        };
        if decision.status() != Status::Untracked {
            text.push_str(&format!(", ct {}", decision.status().name()));
        }
        if decision.service != 0 {
            text.push_str(&format!(", {}", entry::service(story.names, decision.service)));
        }
        if decision.backend != 0 {
            text.push_str(&format!(", backend {}", entry::backend(story.names, decision.backend)));
        }
        text
    }

    fn site(&mut self) {
        let Some(dropped) = self.story.dropped() else { return };
        let mut sites = dropped.sites.iter().map(ToString::to_string);
        let first = sites.next().unwrap_or_else(|| "the platform".into());
        let more: Vec<String> = sites.map(|site| format!("or {site}")).collect();
        self.step("drop", first).details = more;
    }

    fn ended(&mut self, fate: Fate) {
        let story = self.story;
        let at = |place| match place {
            Place::Host(node) | Place::Wire(node) | Place::FromRouter(node) => {
                story.node(node).to_owned()
            }
            Place::Router => "the router".to_owned(),
            other => story.place(other),
        };
        let text = match fate {
            Fate::Arrived(_) | Fate::Dropped(..) => return,
            Fate::Expired(place) => format!("dropped by the stack of {}: no hop left", at(place)),
            Fate::Refused(place) => {
                format!("dropped by the stack of {}: the IP header's checksum is wrong", at(place))
            }
            Fate::TooBig(place) => {
                format!(
                    "dropped at {}: longer than the next link takes, and not answered",
                    at(place)
                )
            }
            Fate::NoRoute(place) => {
                format!("dropped at {}: no route to its destination", at(place))
            }
            Fate::Looped(node) => {
                format!("given up: it goes round in circles by {}", story.node(node))
            }
        };
        self.step("end", text);
    }
}

fn range(key: &twinpath_core::range::RangeKey, within: bool) -> String {
    use twinpath_core::range::{NOT_MASQUERADED, SERVICE_RANGE};
    let (address, is) = (key.address, if within { "is" } else { "is not" });
    match key.owner {
        NOT_MASQUERADED => format!("{address} {is} among the addresses that are not masqueraded"),
        SERVICE_RANGE => format!("{address} {is} in a range of service addresses"),
        _ => format!("source {address} {is} in a source range of the service"),
    }
}

/// Most endpoints that are told of one by one.
const SHOWN: usize = 12;

/// The endpoints, those that are not eligible first where there are both.
fn details(
    all: &[(&Endpoint, Standing)],
    place: &twinpath_control::model::Place<'_>,
) -> Vec<String> {
    let mut sorted: Vec<_> = all.to_vec();
    if sorted.len() > SHOWN {
        sorted.sort_by_key(|(_, standing)| standing.is_eligible());
    }
    let width = sorted.iter().take(SHOWN).map(|(e, _)| endpoints::title(e).chars().count()).max();
    let width = width.unwrap_or_default();
    let mut lines: Vec<String> = sorted
        .iter()
        .take(SHOWN)
        .map(|(endpoint, standing)| {
            let words = endpoints::words(endpoint, *standing, place);
            format!("{:<width$}  {words}", endpoints::title(endpoint))
        })
        .collect();
    if let Some(more) = sorted.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        lines.push(format!("and {more} more"));
    }
    lines
}
