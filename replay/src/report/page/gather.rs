//! Collects, packet by packet, what the page shows. The memory that it takes depends on the cluster and
//! not on the capture.

use std::collections::{BTreeMap, HashMap};

use twinpath_control::model::{Client, FrontendKind, PortName, State};
use twinpath_control::tables::{Names, Options};
use twinpath_core::address::Address;
use twinpath_core::bytes::Be16;
use twinpath_core::drop_reason::DropReason;
use twinpath_core::parse::Parsed;
use twinpath_core::service::{ServiceId, ServiceKey};
use twinpath_core::tuple::Tuple;
use twinpath_core::verdict::Status;
use twinpath_sim::engine::NodeIndex;
use twinpath_sim::map::WordMap;
use twinpath_sim::node::Fill;
use twinpath_sim::topology::{Owner, Topology};

use super::line::{Line, TABLES};
use crate::capture::LinkError;
use crate::cluster::Cluster;
use crate::moment;
use crate::replay::Replay;
use crate::replay::feed::Captured;
use crate::replay::flows::Role;
use crate::replay::outcome::{Outcome, Verdict};
use crate::replay::outside::unspecified;
use crate::report::Seen;
use crate::report::recorder::Recorder;
use crate::report::table::packet_words;
use crate::worlds::{Sender, Stage};

/// Most pairs of a drop reason and a service that are told apart.
const MAX_CELLS: usize = 4_096;
/// Most groups of connections with the same backends to choose from.
const MAX_GROUPS: usize = 65_536;
/// Most nodes whose tables are watched all the time.
pub(super) const MAX_NODES: usize = 32;
/// Most kinds of packets that are no IP.
const MAX_ETHERTYPES: usize = 64;

/// Packets of one kind, and the first of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Kind {
    /// How many.
    pub count: u64,
    /// The number of the first.
    pub first: u64,
    /// The first in words.
    pub words: String,
}

impl Kind {
    fn add(&mut self, number: u64, words: impl FnOnce() -> String) {
        if self.count == 0 {
            (self.first, self.words) = (number, words());
        }
        self.count = self.count.wrapping_add(1);
    }
}

/// Connections that have the same backends to choose from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Group {
    /// Of which service.
    pub service: ServiceId,
    /// How often the cluster had changed.
    pub epoch: usize,
    /// On which node the backend was chosen.
    pub node: NodeIndex,
    /// By what kind of frontend.
    pub frontend: FrontendKind,
    /// For a client where.
    pub client: Client,
    /// Of which family.
    pub is_ipv4: bool,
}

/// What cannot be known of some packets, or was not looked at.
#[derive(Clone, Debug, Default)]
pub(super) struct Unknown {
    /// The capture has not all of their bytes.
    pub truncated: Kind,
    /// Headers that contradict themselves or are cut.
    pub unreadable: Kind,
    /// Replies whose request is not known.
    pub unmatched: Kind,
    /// No IP, by ethertype; those beyond the most are under 0.
    pub not_ip: BTreeMap<u16, Kind>,
    /// No Ethernet form.
    pub broken: Kind,
    /// Earlier than a packet before them.
    pub early: Kind,
}

/// How full tables were.
#[derive(Clone, Debug, Default)]
pub(super) struct Tables {
    /// Whether the world says how full its tables are.
    pub known: bool,
    /// Room in each.
    pub limits: [usize; TABLES],
    /// The most that each node had.
    pub most: BTreeMap<NodeIndex, [usize; TABLES]>,
    /// Nodes that are watched, in the order in which they first had an entry.
    pub watched: Vec<NodeIndex>,
    /// Entries that made room for others, on all nodes.
    pub evicted: u64,
}

/// A change of the cluster.
#[derive(Clone, Debug)]
pub(super) struct Moment {
    at: moment::Moment,
    /// When, in nanoseconds; known with the first packet.
    pub time: u64,
    /// As the user wrote it.
    pub words: String,
    state: usize,
}

/// What the page shows, as far as it depends on packets.
pub struct Gather<'a> {
    pub(super) options: Options,
    pub(super) names: &'a Names,
    /// The names of nodes, by number.
    pub(super) nodes: Vec<String>,
    pub(super) line: Line,
    pub(super) first: Option<u64>,
    pub(super) last: u64,
    pub(super) moments: Vec<Moment>,
    pub(super) epoch: usize,
    pub(super) drops: BTreeMap<(DropReason, Option<ServiceId>), Kind>,
    pub(super) groups: BTreeMap<Group, u64>,
    /// Connections that no group could be told of.
    pub(super) ungrouped: u64,
    pub(super) unknown: Unknown,
    pub(super) tables: Tables,
    /// The cluster's states: at first, then after each change as given.
    states: Vec<&'a State>,
    frontends: Vec<Frontends>,
}

/// Who serves what, and as what.
type Frontends = WordMap<ServiceKey, (ServiceId, FrontendKind)>;

impl<'a> Gather<'a> {
    /// Nothing yet. `names` are those of all states of the cluster, and `moments` are its changes in the
    /// user's words.
    pub fn new(
        cluster: &'a Cluster,
        names: &'a Names,
        options: &Options,
        moments: &[String],
    ) -> Self {
        let changes = cluster.changes.iter().map(|change| &change.state);
        let states: Vec<&State> = std::iter::once(&cluster.state).chain(changes).collect();
        let ids: HashMap<&PortName, ServiceId> =
            names.services.iter().map(|(id, name)| (name, *id)).collect();
        let frontends = states.iter().map(|state| frontends(state, &ids)).collect();
        let words = moments.iter().cloned().chain(std::iter::repeat(String::new()));
        let moments = cluster.changes.iter().zip(words).enumerate().map(|(n, (change, words))| {
            let words = if words.is_empty() { change.at.to_string() } else { words };
            Moment { at: change.at, time: 0, words, state: n.saturating_add(1) }
        });
        Self {
            options: options.clone(),
            names,
            nodes: Vec::new(),
            line: Line::default(),
            first: None,
            last: 0,
            moments: moments.collect(),
            epoch: 0,
            drops: BTreeMap::new(),
            groups: BTreeMap::new(),
            ungrouped: 0,
            unknown: Unknown::default(),
            tables: Tables::default(),
            states,
            frontends,
        }
    }

    /// The state of the cluster after so many changes.
    pub(super) fn state(&self, epoch: usize) -> Option<&'a State> {
        let place = match epoch.checked_sub(1) {
            Some(last) => self.moments.get(last)?.state,
            None => 0,
        };
        self.states.get(place).copied()
    }

    /// Notes what became of the packet that was just replayed, the one of this number.
    pub fn packet<S: Stage>(&mut self, replay: &Replay<S>, number: u64, captured: &Captured<'_>) {
        let (outcome, time) = (&replay.outcome, captured.timestamp);
        let seen = Seen {
            topology: replay.stage.topology(),
            number,
            packet: captured,
            outcome,
            // Packets are shown as they were captured.
            recorder: &Recorder::default(),
        };
        self.clock(&seen);
        if self.line.count(time, outcome.verdict) {
            self.sample(&replay.stage, time);
        }
        self.unknown(&seen);
        if let (Verdict::Dropped, Some(reason)) = (outcome.verdict, outcome.reason) {
            self.dropped(reason, &seen);
        }
        if opened(outcome) {
            self.opened(&seen);
        }
    }

    /// The last packet is through: looks at the tables once more.
    pub fn end<S: Stage>(&mut self, replay: &Replay<S>) {
        let nodes = replay.stage.topology().nodes.iter();
        self.nodes = nodes.map(|node| node.name.clone()).collect();
        if self.first.is_some() {
            self.sample(&replay.stage, self.last);
        }
    }

    fn clock(&mut self, seen: &Seen<'_>) {
        let time = seen.packet.timestamp;
        if self.first.is_none() {
            self.first = Some(time);
            for moment in &mut self.moments {
                moment.time = moment.at.nanoseconds(time);
            }
            // Of equal ones, those given first come first.
            self.moments.sort_by_key(|moment| moment.time);
        }
        if time < self.last {
            self.unknown.early.add(seen.number, String::new);
        }
        self.last = self.last.max(time);
        while self.moments.get(self.epoch).is_some_and(|moment| moment.time <= self.last) {
            self.epoch = self.epoch.saturating_add(1);
        }
    }

    fn sample<S: Stage>(&mut self, stage: &S, time: u64) {
        let (mut evicted, tables) = (0_u64, &mut self.tables);
        let Some(span) = self.line.span_mut(time) else { return };
        for node in 0..stage.topology().nodes.len() {
            let Some(fill) = stage.fill(node) else { return };
            tables.known = true;
            evicted = evicted.saturating_add(fill.evicted);
            let (now, limits) =
                (fill_of(&fill, |used| used.entries), fill_of(&fill, |used| used.limit));
            tables.limits = limits;
            let is_watched = tables.watched.contains(&node);
            if now == [0; TABLES] && !is_watched {
                continue;
            }
            let most = tables.most.entry(node).or_default();
            for (most, now) in most.iter_mut().zip(now) {
                *most = now.max(*most);
            }
            if !is_watched && tables.watched.len() < MAX_NODES {
                tables.watched.push(node);
            }
            if tables.watched.contains(&node) {
                span.note(node, now);
            }
        }
        tables.evicted = evicted;
    }

    fn unknown(&mut self, seen: &Seen<'_>) {
        let (number, packet) = (seen.number, seen.packet);
        let unknown = &mut self.unknown;
        if packet.broken.is_some() {
            let words = || packet.broken.map(LinkError::to_string).unwrap_or_default();
            return unknown.broken.add(number, words);
        }
        let words = || packet_words(seen.sent().as_ref(), seen);
        if packet.data.len() < packet.original_len as usize {
            unknown.truncated.add(number, words);
        }
        match (seen.outcome.role, seen.outcome.reason) {
            (None, None) => {
                let ethertype = packet.data.get(12..14).and_then(|bytes| bytes.first_chunk());
                let ethertype = ethertype.map_or(0, |bytes| u16::from_be_bytes(*bytes));
                let full = unknown.not_ip.len() >= MAX_ETHERTYPES;
                let known = !full || unknown.not_ip.contains_key(&ethertype);
                let kind = unknown.not_ip.entry(if known { ethertype } else { 0 }).or_default();
                kind.add(number, words);
            }
            (None, Some(_)) => unknown.unreadable.add(number, words),
            _ if seen.outcome.verdict == Verdict::Unmatched => {
                unknown.unmatched.add(number, words);
            }
            _ => {}
        }
    }

    #[cold]
    fn dropped(&mut self, reason: DropReason, seen: &Seen<'_>) {
        let made = seen.outcome.made.map(|made| made.decision.service).filter(|id| *id != 0);
        let sent = seen.sent();
        let service = made.or_else(|| self.service(seen, sent.as_ref()).map(|(id, _)| id));
        let cell = (reason, service);
        let full = self.drops.len() >= MAX_CELLS && !self.drops.contains_key(&cell);
        let cell = if full { (reason, None) } else { cell };
        self.drops.entry(cell).or_default().add(seen.number, || packet_words(sent.as_ref(), seen));
    }

    /// The service that a packet goes to, or comes from.
    fn service(&self, seen: &Seen<'_>, sent: Option<&Parsed>) -> Option<(ServiceId, FrontendKind)> {
        let tuple = match seen.outcome.role? {
            Role::Request => sent?.tuple,
            Role::Reply | Role::Orphan => sent?.tuple.reverse(),
            Role::Plain => return None,
        };
        self.served(&tuple, seen.topology)
    }

    /// Who serves what a tuple goes to: at an address of its own, or at a node's.
    fn served(&self, tuple: &Tuple, topology: &Topology) -> Option<(ServiceId, FrontendKind)> {
        let state = self.epoch.checked_sub(1).and_then(|n| self.moments.get(n));
        let frontends = self.frontends.get(state.map_or(0, |moment| moment.state))?;
        let (port, protocol) = (tuple.destination_port, tuple.protocol);
        let at = |address| frontends.get(&ServiceKey::frontend(address, port, protocol)).copied();
        at(tuple.destination).or_else(|| {
            let is_node = matches!(topology.owner(&tuple.destination), Some(Owner::Node(_)));
            is_node.then(|| at(unspecified(tuple.is_v4()))).flatten()
        })
    }

    #[cold]
    fn opened(&mut self, seen: &Seen<'_>) {
        let group = self
            .group(seen)
            .filter(|group| self.groups.len() < MAX_GROUPS || self.groups.contains_key(group));
        match group {
            Some(group) => *self.groups.entry(group).or_default() += 1,
            None => self.ungrouped = self.ungrouped.wrapping_add(1),
        }
    }

    fn group(&self, seen: &Seen<'_>) -> Option<Group> {
        let made = seen.outcome.made?;
        let tuple = seen.sent()?.tuple;
        let (service, frontend) = self.served(&tuple, seen.topology)?;
        let client = match seen.outcome.sender? {
            Sender::Pod(_) | Sender::Node(_) => Client::Internal,
            Sender::Client(_) => Client::External,
        };
        (service == made.decision.service).then_some(Group {
            service,
            epoch: self.epoch,
            node: made.node,
            frontend,
            client,
            is_ipv4: tuple.is_v4(),
        })
    }
}

/// Whether a packet was given to a backend as the first of its connection.
fn opened(outcome: &Outcome) -> bool {
    outcome.role == Some(Role::Request)
        && outcome.verdict != Verdict::Dropped
        && outcome.made.as_ref().is_some_and(|made| {
            made.decision.service != 0
                && matches!(made.decision.status(), Status::New | Status::Reopened)
        })
}

fn fill_of(fill: &Fill, of: impl Fn(&twinpath_sim::node::Used) -> usize) -> [usize; TABLES] {
    let Fill { conntrack4, conntrack6, affinities, fragments, .. } = fill;
    [of(conntrack4), of(conntrack6), of(affinities), of(fragments)]
}

fn frontends(state: &State, ids: &HashMap<&PortName, ServiceId>) -> Frontends {
    let mut all = Frontends::default();
    for (name, port) in &state.services {
        let Some(id) = ids.get(name) else { continue };
        for frontend in &port.frontends {
            let address = Address::from(frontend.address);
            let (number, protocol) = (Be16::new(frontend.port), name.protocol.number());
            let key = ServiceKey::frontend(address, number, protocol);
            all.entry(key).or_insert((*id, frontend.kind));
        }
    }
    all
}
