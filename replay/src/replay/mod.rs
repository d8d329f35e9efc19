//! A capture's packets through a world.
//!
//! A capture taken at a client shows both directions. Packets to a frontend are sent by the pod that
//! has their source address. Packets from a frontend are replies: they are sent by the backend that
//! their flow was given, as that backend must have sent them, and what arrives at the client must be
//! what was captured. All other packets are sent by their source as they are. Sources that the cluster
//! does not know are pods, or clients outside where they talk to what is there for clients outside.

pub mod feed;
pub mod flows;
pub mod foresee;
pub mod hints;
pub mod outcome;
pub mod outside;
pub mod partial;
pub mod reply;

use twinpath_control::model::State;
use twinpath_core::address::Address;
use twinpath_core::bytes::Be16;
use twinpath_core::checksum::Deltas;
use twinpath_core::parse::{Parsed, Transport, parse};
use twinpath_core::service::ServiceKey;
use twinpath_core::tuple::Tuple;
use twinpath_core::verdict::Status;
use twinpath_core::wire::tcp;
use twinpath_sim::cluster::{Fate, Place, Watch};
use twinpath_sim::engine::NodeIndex;
use twinpath_sim::frame::Frame;
use twinpath_sim::map::{WordMap, WordSet};
use twinpath_sim::topology::{Owner, PodIndex};
use twinpath_sim::world::WorldError;

use crate::cluster::{Change, Cluster};
use crate::worlds::{Sender, Stage};
use feed::Captured;
use flows::{Entry, FlowIndex, Flows, Role};
use outcome::{Move, Outcome, Totals, Verdict};
use outside::{Outside, unspecified};
use partial::{is_partial, pseudo};
use reply::{Difference, Given, compare, is_same, rebuild, settle};

/// Most clients that get a pod of their own; those beyond share the last one.
const MAX_CLIENTS: usize = 2_048;

/// Where packets of sources that the cluster does not know are sent from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct At {
    /// The node.
    pub node: NodeIndex,
    /// The pod; a new one for each source where it is `None`.
    pub pod: Option<PodIndex>,
    /// Whether the user has said so: else sources that talk to a node port, or to an address meant for
    /// clients outside, are outside.
    pub said: bool,
}

/// A replay that is going on.
#[derive(Debug)]
pub struct Replay<S> {
    /// The world.
    pub stage: S,
    /// What became of the last packet.
    pub outcome: Outcome,
    /// What became of the packets so far.
    pub totals: Totals,
    flows: Flows,
    frontends: WordSet<ServiceKey>,
    addresses: WordSet<Address>,
    outside: Outside,
    /// What the cluster will yet become.
    changes: Vec<Change>,
    /// When it next does; 0 before the first packet.
    next_change: u64,
    /// Time of the first packet.
    first: Option<u64>,
    /// Every port of a frontend's address is the service's.
    exclusive: bool,
    at: At,
    /// The flow of the packet that is being sent.
    flow: FlowIndex,
    now: u64,
    strangers: WordMap<NodeIndex, PodIndex>,
    clients: usize,
    last_client: Option<PodIndex>,
}

impl<S: Stage> Replay<S> {
    /// A replay through a world to which the cluster's state was applied.
    pub fn new(stage: S, cluster: &Cluster, at: At) -> Self {
        let outside = Outside::new(&cluster.state, stage.topology(), at);
        let mut replay = Self {
            stage,
            outside,
            changes: cluster.changes.clone(),
            next_change: if cluster.changes.is_empty() { u64::MAX } else { 0 },
            first: None,
            outcome: Outcome::unsent(Verdict::Forwarded, None),
            totals: Totals::default(),
            flows: Flows::default(),
            frontends: WordSet::default(),
            addresses: WordSet::default(),
            exclusive: !cluster.derived,
            at,
            flow: 0,
            now: 0,
            strangers: WordMap::default(),
            clients: 0,
            last_client: None,
        };
        replay.serve(&cluster.state);
        replay
    }

    /// Learns the frontends of a state. Those of earlier ones stay known: who talks to them is a client.
    fn serve(&mut self, state: &State) {
        for (name, port) in &state.services {
            for frontend in &port.frontends {
                let address = Address::from(frontend.address);
                let (port, protocol) = (Be16::new(frontend.port), name.protocol.number());
                self.frontends.insert(ServiceKey::frontend(address, port, protocol));
                self.addresses.insert(address);
            }
        }
    }

    /// Changes the cluster, where the time has come, and notes when it next will.
    #[cold]
    fn change(&mut self, now: u64) -> Result<(), WorldError> {
        let first = *self.first.get_or_insert(now);
        loop {
            let times = self.changes.iter().map(|change| change.at.nanoseconds(first)).enumerate();
            let Some((next, time)) = times.min_by_key(|(_, time)| *time) else {
                self.next_change = u64::MAX;
                return Ok(());
            };
            self.next_change = time;
            if time > now {
                return Ok(());
            }
            let change = self.changes.remove(next);
            self.stage.apply(&change.state)?;
            self.outside = Outside::new(&change.state, self.stage.topology(), self.at);
            self.serve(&change.state);
        }
    }

    /// How many flows were seen.
    pub fn flows(&self) -> usize {
        self.flows.len()
    }

    /// Replays a packet; what became of it is in `outcome`. `frame` is room for it, used again and
    /// again; afterwards it holds the packet as it was at its end.
    #[inline]
    pub fn packet<W: Watch>(
        &mut self,
        captured: &Captured<'_>,
        frame: &mut Frame,
        watch: &mut W,
    ) -> Result<(), WorldError> {
        captured.fill(frame);
        self.now = self.now.max(captured.timestamp);
        self.stage.turn(self.now, self.totals.packets.wrapping_add(1))?;
        if captured.timestamp >= self.next_change {
            self.change(captured.timestamp)?;
        }
        if captured.broken.is_some() {
            self.totals.broken = self.totals.broken.wrapping_add(1);
            self.outcome = Outcome::unsent(Verdict::Forwarded, None);
        } else {
            self.send(captured.data, frame, watch)?;
        }
        self.totals.count(&self.outcome);
        Ok(())
    }

    #[inline]
    fn send<W: Watch>(
        &mut self,
        captured: &[u8],
        frame: &mut Frame,
        watch: &mut W,
    ) -> Result<(), WorldError> {
        // Borrowed and not moved out: a copy of fields just written costs more than parsing.
        let result = parse(frame);
        let parsed = result.as_ref().ok().and_then(Option::as_ref);
        let (role, sender) = match parsed {
            // No IP packet, or one with headers that cannot be read: nobody knows whose it is.
            None => (None, Sender::Pod(self.stranger(self.at.node)?)),
            Some(parsed) => {
                let entry = match self.flows.get(&parsed.tuple) {
                    Some(entry) => entry,
                    None => self.open(parsed)?,
                };
                self.flow = entry.flow;
                frame.partial = is_partial(&frame.bytes, captured.len(), parsed, entry.pseudo);
                let sender = match entry.role {
                    Role::Plain | Role::Request => Some(entry.sender),
                    Role::Reply => self.rebuild(parsed, frame),
                    Role::Orphan => None,
                };
                let Some(sender) = sender else { return self.unmatched(entry.role) };
                (Some(entry.role), sender)
            }
        };
        // The only place where packets are sent: a world that is part of it keeps fates in registers.
        let length = frame.bytes.len();
        let mut glance = self.outcome.glance(watch);
        let fate = self.stage.send(sender, frame, &mut glance)?;
        self.outcome.sent(fate, role, sender);
        match (role, parsed) {
            (Some(Role::Request), Some(parsed)) => self.follow(parsed, frame, fate),
            (Some(Role::Reply), Some(parsed)) => self.check(parsed, captured, length, frame, fate),
            _ => {}
        }
        Ok(())
    }

    #[cold]
    fn unmatched(&mut self, role: Role) -> Result<(), WorldError> {
        self.outcome = Outcome::unsent(Verdict::Unmatched, Some(role));
        Ok(())
    }

    /// A request was sent.
    #[inline(always)]
    fn follow(&mut self, parsed: &Parsed, frame: &Frame, fate: Option<Fate>) {
        // A world that cannot tell what it decided may have decided anew.
        let opened =
            self.outcome.made.as_ref().is_none_or(|made| {
                matches!(made.decision.status(), Status::New | Status::Reopened)
            });
        if opened && self.outcome.verdict != Verdict::Dropped {
            self.learn(parsed, frame, fate);
        }
    }

    /// Notes which backend a flow was given: the one that the request has just arrived at.
    #[cold]
    fn learn(&mut self, parsed: &Parsed, frame: &Frame, fate: Option<Fate>) {
        let Some(client) = self.outcome.sender else { return };
        if let Some(made) = self.outcome.made.filter(|made| made.decision.service != 0) {
            let key = (made.decision.service, made.decision.backend);
            *self.totals.shares.entry(key).or_default() += 1;
        }
        let pods = &self.stage.topology().pods;
        let client_node = match client {
            Sender::Pod(client) => pods.get(client).map(|pod| pod.node),
            Sender::Client(_) => None,
            Sender::Node(_) => return,
        };
        let hops = |same: u8, other: u8, node| {
            client_node.map(|client| if node == Some(client) { same } else { other })
        };
        let place = match fate {
            Some(Fate::Arrived(Place::PodIn(pod))) => {
                let node = pods.get(pod).map(|pod| pod.node);
                Some((Sender::Pod(pod), hops(1, 2, node)))
            }
            Some(Fate::Arrived(Place::Host(node))) => {
                Some((Sender::Node(node), hops(0, 1, Some(node))))
            }
            _ => None,
        };
        let given = match (place, parse(frame)) {
            (Some((sender, hops)), Ok(Some(arrived))) => {
                let tuple = arrived.tuple.reverse();
                let fix = Deltas::between(&parsed.tuple.reverse(), &tuple);
                Some(Given { tuple, fix, sender, hops })
            }
            _ => None,
        };
        let (service, backend) =
            self.outcome.made.map_or((0, 0), |made| (made.decision.service, made.decision.backend));
        let Some(flow) = self.flows.flow_mut(self.flow) else { return };
        let from = std::mem::replace(&mut flow.backend, backend);
        flow.client = Some(client);
        flow.given = given;
        // A handshake is a connection of its own, though the client's port is the same.
        if from != 0 && backend != 0 && from != backend && parsed.flags & tcp::SYN == 0 {
            let packet = self.totals.packets.wrapping_add(1);
            self.totals.move_on(Move { packet, tuple: parsed.tuple, service, from, to: backend });
        }
    }

    /// Turns a reply into the one that the flow's backend sent; who that is, if it is known.
    #[inline(always)]
    fn rebuild(&self, parsed: &Parsed, frame: &mut Frame) -> Option<Sender> {
        let given = self.flows.flow(self.flow)?.given.as_ref()?;
        rebuild(frame, parsed, given).ok()?;
        Some(given.sender)
    }

    /// Compares a reply as it arrived with what was captured.
    #[inline(always)]
    fn check(
        &mut self,
        parsed: &Parsed,
        captured: &[u8],
        length: usize,
        frame: &mut Frame,
        fate: Option<Fate>,
    ) {
        let Some(flow) = self.flows.flow(self.flow) else { return };
        let at = match fate {
            Some(Fate::Arrived(Place::PodIn(pod))) => Some(Sender::Pod(pod)),
            Some(Fate::Arrived(Place::ClientIn(client))) => Some(Sender::Client(client)),
            _ => None,
        };
        let hops = flow.given.as_ref().and_then(|given| given.hops);
        if self.outcome.reason.is_none() && at.is_some() && at == flow.client {
            let settled = hops.is_some() || settle(frame, parsed).is_ok();
            if settled && is_same(captured, frame, parsed, length) {
                return;
            }
        }
        let arrived = at.is_some() && at == flow.client;
        self.outcome.difference = match self.outcome.reason {
            Some(reason) => Some(Difference::Dropped(reason)),
            None if arrived => compare(captured, frame, parsed, length),
            None => Some(Difference::Elsewhere),
        };
    }

    /// The first packet of a direction of a flow.
    #[cold]
    fn open(&mut self, parsed: &Parsed) -> Result<Entry, WorldError> {
        let tuple = &parsed.tuple;
        let role = self.role(parsed);
        let sender = match role {
            Role::Plain => self.sender(parsed, false)?,
            Role::Request => self.sender(parsed, true)?,
            Role::Reply | Role::Orphan => Sender::Node(self.at.node),
        };
        let entry = Entry { role, pseudo: pseudo(parsed), flow: self.flows.number(tuple), sender };
        self.flows.put(*tuple, entry);
        if role == Role::Request {
            self.flows.put(tuple.reverse(), Entry { role: Role::Reply, ..entry });
        }
        Ok(entry)
    }

    fn role(&self, parsed: &Parsed) -> Role {
        let tuple = &parsed.tuple;
        let tracked = matches!(parsed.transport, Transport::Tcp | Transport::Udp);
        if tracked && self.is_frontend(tuple) {
            return Role::Request;
        }
        let reply = if tracked && (!self.exclusive || self.is_node(&tuple.source)) {
            self.is_frontend(&tuple.reverse())
        } else {
            self.addresses.contains(&tuple.source) && !tuple.destination.is_link_scope()
        };
        if reply { Role::Orphan } else { Role::Plain }
    }

    /// Whether somebody serves what a tuple goes to, at an address of its own or as a node's port.
    fn is_frontend(&self, tuple: &Tuple) -> bool {
        let (port, protocol) = (tuple.destination_port, tuple.protocol);
        let at = |address| self.frontends.contains(&ServiceKey::frontend(address, port, protocol));
        at(tuple.destination)
            || (self.is_node(&tuple.destination) && at(unspecified(tuple.is_v4())))
    }

    fn is_node(&self, address: &Address) -> bool {
        matches!(self.stage.topology().owner(address), Some(Owner::Node(_)))
    }

    /// Who sends the packets of a source. A node's own packets meet no service, so what it sends to
    /// one is sent by a pod of it.
    fn sender(&mut self, parsed: &Parsed, to_service: bool) -> Result<Sender, WorldError> {
        let address = &parsed.tuple.source;
        match self.stage.topology().owner(address) {
            Some(Owner::Pod(pod)) => return Ok(Sender::Pod(pod)),
            Some(Owner::Node(node)) if to_service => return self.stranger(node).map(Sender::Pod),
            Some(Owner::Node(node)) => return Ok(Sender::Node(node)),
            Some(Owner::Client(client)) => return Ok(Sender::Client(client)),
            Some(Owner::Router) | None if address.is_link_scope() => {
                return self.stranger(self.at.node).map(Sender::Pod);
            }
            Some(Owner::Router) | None => {}
        }
        let (address, to) = ((*address).into(), &parsed.tuple.destination);
        if let Some(node) = self.outside.of(self.stage.topology(), address, to)
            && self.clients < MAX_CLIENTS
            && let Some(client) = self.stage.add_outside(address, (*to).into(), node)?
        {
            self.clients = self.clients.wrapping_add(1);
            return Ok(Sender::Client(client));
        }
        let shared = if self.clients >= MAX_CLIENTS { self.last_client } else { None };
        if let Some(pod) = self.at.pod.or(shared) {
            self.stage.add_address(pod, address)?;
            return Ok(Sender::Pod(pod));
        }
        let node = self.outside.node_of(address).unwrap_or(self.at.node);
        let pod = self.stage.add_client(node, Some(address))?;
        self.clients = self.clients.wrapping_add(1);
        self.last_client = Some(pod);
        Ok(Sender::Pod(pod))
    }

    /// The pod that sends what nobody is known to send.
    fn stranger(&mut self, node: NodeIndex) -> Result<PodIndex, WorldError> {
        if let Some(pod) = self.at.pod.filter(|_| node == self.at.node) {
            return Ok(pod);
        }
        if let Some(pod) = self.strangers.get(&node) {
            return Ok(*pod);
        }
        let pod = self.stage.add_client(node, None)?;
        self.strangers.insert(node, pod);
        Ok(pod)
    }
}
