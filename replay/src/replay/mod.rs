//! A capture's packets through a world.
//!
//! A capture taken at a client shows both directions. Packets to a frontend are sent by the pod that
//! has their source address. Packets from a frontend are replies: they are sent by the backend that
//! their flow was given, as that backend must have sent them, and what arrives at the client must be
//! what was captured. All other packets are sent by their source as they are.

pub mod feed;
pub mod flows;
pub mod outcome;
pub mod partial;
pub mod reply;

use twinpath_control::model::State;
use twinpath_core::address::Address;
use twinpath_core::bytes::Be16;
use twinpath_core::checksum::Deltas;
use twinpath_core::parse::{Parsed, Transport, parse};
use twinpath_core::service::ServiceKey;
use twinpath_core::verdict::Status;
use twinpath_sim::cluster::{Fate, Place, Watch};
use twinpath_sim::engine::NodeIndex;
use twinpath_sim::frame::Frame;
use twinpath_sim::map::{WordMap, WordSet};
use twinpath_sim::topology::{Owner, PodIndex};
use twinpath_sim::world::WorldError;

use crate::worlds::{Sender, Stage};
use feed::Captured;
use flows::{Entry, Flows, Role};
use outcome::{Outcome, Totals, Verdict};
use partial::{is_partial, pseudo};
use reply::{Difference, Given, compare, rebuild};

/// Most clients that get a pod of their own; those beyond share the last one.
const MAX_CLIENTS: usize = 2_048;

/// Where packets of sources that the cluster does not know are sent from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct At {
    /// The node.
    pub node: NodeIndex,
    /// The pod; a new one for each source where it is `None`.
    pub pod: Option<PodIndex>,
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
    /// Every port of a frontend's address is the service's.
    exclusive: bool,
    at: At,
    now: u64,
    strangers: WordMap<NodeIndex, PodIndex>,
    clients: usize,
    last_client: Option<PodIndex>,
}

impl<S: Stage> Replay<S> {
    /// A replay through a world to which `state` was applied. `exclusive` says that a frontend's
    /// address has no other life than as a frontend, so that all that comes from it is a reply.
    pub fn new(stage: S, state: &State, at: At, exclusive: bool) -> Self {
        let mut frontends = WordSet::default();
        let mut addresses = WordSet::default();
        for (name, port) in &state.services {
            for frontend in &port.frontends {
                let address = Address::from(frontend.address);
                let protocol = name.protocol.number();
                frontends.insert(ServiceKey::frontend(address, Be16::new(frontend.port), protocol));
                addresses.insert(address);
            }
        }
        Self {
            stage,
            outcome: Outcome::unsent(Verdict::Forwarded, None),
            totals: Totals::default(),
            flows: Flows::default(),
            frontends,
            addresses,
            exclusive,
            at,
            now: 0,
            strangers: WordMap::default(),
            clients: 0,
            last_client: None,
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
        if captured.timestamp > self.now {
            self.now = captured.timestamp;
            self.stage.set_time(self.now)?;
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
        let Ok(Some(parsed)) = &result else { return self.unreadable(frame, watch) };
        let entry = match self.flows.get(&parsed.tuple) {
            Some(entry) => entry,
            None => self.open(parsed)?,
        };
        frame.partial = is_partial(&frame.bytes, captured.len(), parsed, entry.pseudo);
        match entry.role {
            Role::Plain | Role::Request => self.forward(&entry, parsed, frame, watch),
            Role::Reply => self.reply(&entry, parsed, captured, frame, watch),
            Role::Orphan => self.unmatched(Role::Orphan),
        }
    }

    #[cold]
    fn unmatched(&mut self, role: Role) -> Result<(), WorldError> {
        self.outcome = Outcome::unsent(Verdict::Unmatched, Some(role));
        Ok(())
    }

    /// No IP packet, or one with headers that cannot be read: nobody knows whose it is.
    #[cold]
    fn unreadable<W: Watch>(&mut self, frame: &mut Frame, watch: &mut W) -> Result<(), WorldError> {
        let sender = Sender::Pod(self.stranger(self.at.node)?);
        let mut glance = self.outcome.glance(watch);
        let fate = self.stage.send(sender, frame, &mut glance)?;
        self.outcome.sent(fate, None, sender);
        Ok(())
    }

    #[inline]
    fn forward<W: Watch>(
        &mut self,
        entry: &Entry,
        parsed: &Parsed,
        frame: &mut Frame,
        watch: &mut W,
    ) -> Result<(), WorldError> {
        let mut glance = self.outcome.glance(watch);
        let fate = self.stage.send(entry.sender, frame, &mut glance)?;
        self.outcome.sent(fate, Some(entry.role), entry.sender);
        // A world that cannot tell what it decided may have decided anew.
        let opened =
            self.outcome.made.as_ref().is_none_or(|made| {
                matches!(made.decision.status(), Status::New | Status::Reopened)
            });
        if opened && entry.role == Role::Request && self.outcome.verdict != Verdict::Dropped {
            self.learn(entry, parsed, frame, fate);
        }
        Ok(())
    }

    /// Notes which backend a flow was given: the one that the request has just arrived at.
    #[cold]
    fn learn(&mut self, entry: &Entry, parsed: &Parsed, frame: &Frame, fate: Option<Fate>) {
        if let Some(made) = self.outcome.made.filter(|made| made.decision.service != 0) {
            let key = (made.decision.service, made.decision.backend);
            *self.totals.shares.entry(key).or_default() += 1;
        }
        let Sender::Pod(client) = entry.sender else { return };
        let pods = &self.stage.topology().pods;
        let client_node = pods.get(client).map(|pod| pod.node);
        let place = match fate {
            Some(Fate::Arrived(Place::PodIn(pod))) => {
                let node = pods.get(pod).map(|pod| pod.node);
                Some((Sender::Pod(pod), if node == client_node { 1 } else { 2 }))
            }
            Some(Fate::Arrived(Place::Host(node))) => {
                Some((Sender::Node(node), u8::from(Some(node) != client_node)))
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
        if let Some(flow) = self.flows.flow_mut(entry.flow) {
            flow.client = Some(client);
            flow.given = given;
        }
    }

    #[inline]
    fn reply<W: Watch>(
        &mut self,
        entry: &Entry,
        parsed: &Parsed,
        captured: &[u8],
        frame: &mut Frame,
        watch: &mut W,
    ) -> Result<(), WorldError> {
        let Some(flow) = self.flows.flow(entry.flow) else { return self.unmatched(Role::Reply) };
        let (Some(client), Some(given)) = (flow.client, &flow.given) else {
            return self.unmatched(Role::Reply);
        };
        let (length, sender) = (frame.bytes.len(), given.sender);
        if rebuild(frame, parsed, given).is_err() {
            return self.unmatched(Role::Reply);
        }
        let mut glance = self.outcome.glance(watch);
        let fate = self.stage.send(sender, frame, &mut glance)?;
        self.outcome.sent(fate, Some(Role::Reply), sender);
        self.outcome.difference = match (self.outcome.reason, fate) {
            (Some(reason), _) => Some(Difference::Dropped(reason)),
            (None, Some(Fate::Arrived(Place::PodIn(pod)))) if pod == client => {
                compare(captured, frame, parsed, length)
            }
            (None, _) => Some(Difference::Elsewhere),
        };
        Ok(())
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
        let frontend = |tuple: &twinpath_core::tuple::Tuple| {
            ServiceKey::frontend(tuple.destination, tuple.destination_port, tuple.protocol)
        };
        if tracked && self.frontends.contains(&frontend(tuple)) {
            return Role::Request;
        }
        let reply = if tracked && !self.exclusive {
            self.frontends.contains(&frontend(&tuple.reverse()))
        } else {
            self.addresses.contains(&tuple.source) && !tuple.destination.is_link_scope()
        };
        if reply { Role::Orphan } else { Role::Plain }
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
        let address = (*address).into();
        let shared = if self.clients >= MAX_CLIENTS { self.last_client } else { None };
        if let Some(pod) = self.at.pod.or(shared) {
            self.stage.add_address(pod, address)?;
            return Ok(Sender::Pod(pod));
        }
        let pod = self.stage.add_client(self.at.node, Some(address))?;
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
