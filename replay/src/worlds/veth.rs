//! Replaying through network namespaces.
//!
//! The namespaces show frames, not decisions. So what a hook decided is read off the conntrack tables
//! after the packet, and why a packet did not arrive off the counters.

use std::collections::BTreeSet;
use std::net::IpAddr;

use twinpath_control::model::{Pod, State};
use twinpath_control::objects::ObjectName;
use twinpath_control::tables::{Names, Options};
use twinpath_core::address::Address;
use twinpath_core::drop_reason::DropReason;
use twinpath_core::hook::Hook;
use twinpath_core::parse::parse;
use twinpath_core::seam::Nanos;
use twinpath_core::state::Direction;
use twinpath_core::tuple::Tuple;
use twinpath_core::verdict::{Decision, Status, Verdict};
use twinpath_kernel::veth::{self, Time, VethWorld};
use twinpath_sim::cluster::{Fate, Place, Watch};
use twinpath_sim::engine::NodeIndex;
use twinpath_sim::frame::Frame;
use twinpath_sim::topology::{ClientIndex, Owner, PodIndex, Topology};
use twinpath_sim::world::{World, WorldError};

use super::{Sender, Stage};
use crate::failure::Failure;
use crate::replay::At;
use crate::replay::feed::Feed;
use crate::replay::outside::Outside;

/// Most pods: each is a namespace with devices.
const MAX_PODS: usize = 96;

/// The programs attached in namespaces, with a cluster's state applied.
pub struct VethStage {
    world: VethWorld,
    /// The counters of drops when a packet was last missed.
    drops: Vec<Vec<u64>>,
}

impl VethStage {
    /// Makes the namespaces and attaches the programs. What can send must be in the state already.
    pub fn new(
        topology: Topology,
        state: &State,
        options: Options,
        seed: u64,
    ) -> Result<Self, WorldError> {
        let pods = topology.pods.len();
        if pods > MAX_PODS {
            return Err(WorldError::Environment(format!(
                "--world veth: {pods} pods and clients, each a namespace; it makes at most {MAX_PODS}: \
                 give -f a smaller cluster, or use --world sim"
            )));
        }
        veth::cpu::stay_on_one().map_err(super::failed)?;
        let options = veth::Options {
            tables: options,
            time: Time::Virtual(seed),
            ..veth::Options::default()
        };
        let mut world = VethWorld::new(topology, &options)?;
        world.apply(state)?;
        let drops = drops(&world)?;
        Ok(Self { world, drops })
    }

    /// The half of a connection under a packet's tuple, as a decision of a hook.
    fn decision(
        &mut self,
        node: NodeIndex,
        key: &Tuple,
        known: bool,
    ) -> Result<Decision, WorldError> {
        let table = self.world.conntrack(node)?;
        Ok(match table.into_iter().find(|(tuple, _)| tuple == key) {
            Some((_, flow)) => {
                let status = match flow.direction() {
                    Direction::Original if !known => Status::New,
                    Direction::Original => Status::Established,
                    Direction::Reply => Status::Reply,
                };
                Decision::new(flow.exit().verdict(), status, flow.service, flow.backend)
            }
            None => Decision::untracked(Verdict::Pass),
        })
    }

    /// The node to which the router sends a frame.
    fn entry(&self, frame: &Frame) -> Option<NodeIndex> {
        let destination = parse(frame).ok()??.tuple.destination;
        let topology = self.world.topology();
        match topology.owner(&destination) {
            Some(Owner::Node(node)) => Some(node),
            _ => topology.router.as_ref()?.routes.get(&destination).copied(),
        }
    }

    /// What a hook says of a frame at a place: the node that meets it next, and the hook.
    fn next_hook(&self, place: Place, frame: &Frame) -> Option<(NodeIndex, Hook, Tuple)> {
        let tuple = parse(frame).ok()??.tuple;
        let topology = self.world.topology();
        match place {
            Place::PodOut(pod) => Some((topology.pods.get(pod)?.node, Hook::FromPod, tuple)),
            Place::FromRouter(node) => Some((node, Hook::FromNetdev, tuple)),
            Place::Wire(_) => match topology.owner(&tuple.destination)? {
                Owner::Pod(pod) => Some((topology.pods.get(pod)?.node, Hook::FromNetdev, tuple)),
                Owner::Node(node) => Some((node, Hook::FromNetdev, tuple)),
                Owner::Client(_) | Owner::Router => None,
            },
            _ => None,
        }
    }
}

/// The counters of drops of all nodes: those below 256, by reason.
fn drops(world: &VethWorld) -> Result<Vec<Vec<u64>>, WorldError> {
    let drops = |node| Ok(world.metrics(node)?.into_iter().take(256).collect());
    (0..world.topology().nodes.len()).map(drops).collect()
}

impl Stage for VethStage {
    fn name(&self) -> &'static str {
        World::name(&self.world)
    }

    fn topology(&self) -> &Topology {
        self.world.topology()
    }

    fn names(&mut self, state: &State) -> Names {
        self.world.names(state)
    }

    fn apply(&mut self, state: &State) -> Result<(), WorldError> {
        self.world.apply(state)
    }

    fn add_client(&mut self, _: NodeIndex, _: Option<IpAddr>) -> Result<PodIndex, WorldError> {
        Err(WorldError::Environment(
            "--world veth: a packet of nobody that the cluster knows; use --world sim".into(),
        ))
    }

    /// The namespaces are made before the first packet, that of the client too: see [`add_clients`].
    fn add_outside(
        &mut self,
        client: IpAddr,
        _: IpAddr,
        _: NodeIndex,
    ) -> Result<Option<ClientIndex>, WorldError> {
        Ok(match self.world.topology().owner(&Address::from(client)) {
            Some(Owner::Client(index)) => Some(index),
            _ => None,
        })
    }

    fn add_address(&mut self, pod: PodIndex, _: IpAddr) -> Result<(), WorldError> {
        self.add_client(pod, None).map(|_| ())
    }

    fn turn(&mut self, now: Nanos, packet: u64) -> Result<(), WorldError> {
        self.world.turn(now, packet)
    }

    fn send<W: Watch>(
        &mut self,
        sender: Sender,
        frame: &mut Frame,
        watch: &mut W,
    ) -> Result<Option<Fate>, WorldError> {
        let first = match sender {
            Sender::Pod(pod) => self.next_hook(Place::PodOut(pod), frame),
            Sender::Client(_) => {
                self.entry(frame).and_then(|node| self.next_hook(Place::FromRouter(node), frame))
            }
            Sender::Node(_) => None,
        };
        let known = match first {
            Some((node, _, key)) => {
                self.world.conntrack(node)?.iter().any(|(tuple, _)| *tuple == key)
            }
            None => false,
        };
        let trace = self.world.send_from(sender, frame)?;
        let mut last = None;
        for (place, seen) in &trace.seen {
            watch.at(*place, seen);
            last = self.next_hook(*place, seen);
            if let Some((node, hook, key)) = last {
                let decision = self.decision(node, &key, known)?;
                watch.decided(node, hook, &decision);
            }
        }
        if let Some((_, seen)) = trace.seen.last() {
            frame.clone_from(seen);
        }
        if let Some((place, _)) = trace.seen.last()
            && place.is_end()
        {
            return Ok(Some(Fate::Arrived(*place)));
        }
        let Some((node, hook, _)) = last else { return Ok(trace.fate) };
        let after = drops(&self.world)?;
        let before = std::mem::replace(&mut self.drops, after);
        let grown = |(place, (a, b)): (usize, (&u64, &u64))| (a < b).then_some(place);
        let reason = before.iter().zip(&self.drops).find_map(|(before, after)| {
            let slot = before.iter().zip(after).enumerate().find_map(grown)?;
            DropReason::from_number(u8::try_from(slot).ok()?)
        });
        Ok(reason.map(|reason| Fate::Dropped(node, hook, reason)).or(trace.fate))
    }
}

/// A client outside, what it talks to, and the node by which that is reached.
pub type Stranger = (IpAddr, IpAddr, NodeIndex);

/// Gives every source of a capture that the cluster does not know a pod on a node, since namespaces are
/// made beforehand, and returns those that are outside instead. Frontends send nothing themselves.
pub fn add_clients(
    state: &mut State,
    at: Option<&str>,
    feed: &mut Feed,
) -> Result<Vec<Stranger>, Failure> {
    let topology = Topology::new(state);
    let place = At {
        node: at.and_then(|node| topology.node(node)).unwrap_or_default(),
        pod: None,
        said: at.is_some(),
    };
    let outside = Outside::new(state, &topology, place);
    let mut known: BTreeSet<IpAddr> =
        state.pods.values().flat_map(|pod| pod.addresses.clone()).collect();
    known.extend(state.nodes.values().flat_map(|node| node.addresses.clone()));
    known.extend(state.services.values().flat_map(|port| port.frontends.iter().map(|f| f.address)));
    known.extend(state.services.values().flat_map(|port| port.endpoints.iter().map(|e| e.address)));
    let (mut frame, mut strangers) = (Frame::default(), Vec::new());
    while let Ok(Some(packet)) = feed.next() {
        packet.fill(&mut frame);
        let Ok(Some(parsed)) = parse(&frame) else { continue };
        let (source, to) = (IpAddr::from(parsed.tuple.source), &parsed.tuple.destination);
        if !known.insert(source) {
            continue;
        }
        if let Some(node) = outside.of(&topology, source, to) {
            strangers.push((source, IpAddr::from(*to), node));
            continue;
        }
        let node = outside.node_of(source).unwrap_or(place.node);
        let Some(node) = topology.nodes.get(node) else { continue };
        let name = ObjectName::new("capture", &format!("client-{source}"));
        let pod = Pod {
            name: name.clone(),
            addresses: vec![source],
            node: node.name.clone(),
            host_network: false,
        };
        state.pods.insert(name, pod);
    }
    Ok(strangers)
}
