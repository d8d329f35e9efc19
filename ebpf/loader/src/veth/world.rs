//! The world of attached programs.

use std::panic::resume_unwind;
use std::time::{Duration, Instant};

use aya::programs::XdpMode;
use twinpath_control::diff::Target;
use twinpath_control::model::State;
use twinpath_control::tables::{self, Names};
use twinpath_core::conntrack::Flow;
use twinpath_core::hash;
use twinpath_core::hook::Hook;
use twinpath_core::seam::Nanos;
use twinpath_core::tuple::Tuple;
use twinpath_sim::cluster::{Fate, Place};
use twinpath_sim::engine::{NodeIndex, node_seed};
use twinpath_sim::frame::Frame;
use twinpath_sim::node::Limits;
use twinpath_sim::topology::{ClientIndex, Neighbour, PodIndex, Topology};
use twinpath_sim::world::{Plan, Sender, Trace, World, WorldError};

use crate::attach::{AttachError, Attachment, Method};
use crate::load::Programs;
use crate::load::{self, LoadError, load};
use crate::tables::{KernelTables, TableError};
use crate::veth::devices::{Namespaces, Stacks, UPLINK_NAME};
use crate::veth::netns::Namespace;
use crate::veth::send::{Senders, is_refusal};
use crate::veth::watch::{Sighting, Watchers, is_housekeeping};

/// What clock and dice the programs have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Time {
    /// Virtual time, which stands still until it is set, and dice from this seed, as in the simulator.
    /// Good for traffic on [one CPU](crate::veth::cpu).
    Virtual(u64),
    /// The kernel's own.
    Real,
}

/// What a world is made with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Sizes of the tables.
    pub limits: Limits,
    /// What the state of the cluster does not say.
    pub tables: tables::Options,
    /// Whether the stacks of pods and nodes take part.
    pub stacks: Stacks,
    /// The programs' clock and dice.
    pub time: Time,
    /// How programs are attached; `None` for the best way that the kernel has.
    pub method: Option<Method>,
    /// How long a packet that has not arrived is waited for.
    pub grace: Duration,
}

impl Default for Options {
    /// For packets that are sent one by one: virtual time from seed 0, stacks that do not answer.
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            tables: tables::Options::default(),
            stacks: Stacks::Silent,
            time: Time::Virtual(0),
            method: None,
            grace: Duration::from_millis(20),
        }
    }
}

/// One loaded set of programs and maps, and where they are attached.
struct Node {
    // Before the programs: a field's drop comes in this order.
    attachments: Vec<Attachment>,
    ebpf: Programs,
    tables: KernelTables,
}

/// Nodes and pods in network namespaces, programs attached, a socket at every device.
pub struct VethWorld {
    topology: Topology,
    plan: Plan,
    options: Options,
    now: Nanos,
    nodes: Vec<Node>,
    senders: Senders,
    watchers: Watchers,
    namespaces: Namespaces,
}

impl VethWorld {
    /// Makes the namespaces and devices of a cluster, loads the programs once per node and attaches
    /// them. Tables are empty until [`World::apply`].
    pub fn new(topology: Topology, options: &Options) -> Result<Self, WorldError> {
        let method = options.method.unwrap_or_else(Method::of_this_kernel);
        let load_options = load::Options {
            limits: options.limits,
            verified: matches!(options.time, Time::Virtual(_)),
            attached: true,
        };
        // On a thread per node: to check a program takes the kernel a second or more.
        let loaded = std::thread::scope(|scope| {
            let load_node = || {
                let mut ebpf = load(&load_options)?;
                let tables = KernelTables::new(&mut ebpf, &options.limits)?;
                Ok((ebpf, tables))
            };
            let threads: Vec<_> = topology.nodes.iter().map(|_| scope.spawn(load_node)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
                .collect::<Result<Vec<_>, LoadError>>()
        })
        .map_err(of_load)?;
        let namespaces = Namespaces::new(&topology, options.stacks)?;
        let mut nodes = Vec::new();
        for (index, (mut ebpf, tables)) in loaded.into_iter().enumerate() {
            let namespace = node_of(&namespaces, index)?;
            let attachments = namespace
                .run(|| attach_node(&mut ebpf, &topology, index, method))?
                .map_err(failed)?;
            nodes.push(Node { attachments, ebpf, tables });
        }
        let senders = Senders::new(&namespaces)?;
        let watchers = Watchers::new(&namespaces)?;
        let plan = Plan::new(options.tables.clone());
        let options = options.clone();
        let mut world =
            Self { topology, plan, options, now: 0, nodes, senders, watchers, namespaces };
        world.start_clock()?;
        Ok(world)
    }

    /// The namespace of a node.
    pub fn node(&self, node: NodeIndex) -> Option<&Namespace> {
        self.namespaces.nodes.get(node)
    }

    /// The namespace of a pod. A thread that enters it opens the pod's sockets.
    pub fn pod(&self, pod: PodIndex) -> Option<&Namespace> {
        self.namespaces.pods.get(pod)
    }

    /// The counters of a node, by [`Metric`](twinpath_core::seam::Metric).
    pub fn metrics(&self, node: NodeIndex) -> Result<Vec<u64>, WorldError> {
        let node = self.nodes.get(node).ok_or_else(|| no_node(node))?;
        node.tables.metrics().map_err(failed)
    }

    /// The namespace of a client outside. A thread that enters it opens the client's sockets.
    pub fn client(&self, client: ClientIndex) -> Option<&Namespace> {
        self.namespaces.clients.get(client)
    }

    /// Where the XDP program of a node runs, if it has one.
    pub fn xdp_mode(&self, node: NodeIndex) -> Option<XdpMode> {
        self.nodes.get(node)?.attachments.iter().find_map(Attachment::xdp_mode)
    }

    /// How often the program of a node's hook has run while the kernel kept count; see
    /// [`aya::sys::enable_stats`].
    pub fn runs(&self, node: NodeIndex, hook: Hook) -> Result<u64, WorldError> {
        let node = self.nodes.get(node).ok_or_else(|| no_node(node))?;
        let program = node.ebpf.program(hook.program());
        let program = program.ok_or_else(|| failed(hook.program()))?;
        Ok(program.info().map_err(failed)?.run_count())
    }

    /// Takes all frames that were seen anywhere since this or [`World::send`] was called last, by time.
    /// Fails where a socket's backlog was full and frames are missing.
    pub fn take_frames(&mut self) -> Result<Vec<Sighting>, WorldError> {
        let mut all = Vec::new();
        let Self { watchers, topology, .. } = self;
        watchers
            .take(topology, |sighting| {
                if !is_housekeeping(&sighting.frame) {
                    all.push(sighting);
                }
            })
            .map_err(failed)?;
        match self.watchers.lost().map_err(failed)? {
            0 => {}
            lost => return Err(failed(format!("{lost} frames came faster than they were read"))),
        }
        all.sort_by_key(|sighting| sighting.time);
        Ok(all)
    }

    /// Loads the programs of all nodes again, on the same maps, and puts them in the place of those that
    /// are attached. There is no moment without a program.
    pub fn replace_programs(&mut self) -> Result<(), WorldError> {
        for (index, node) in self.nodes.iter_mut().enumerate() {
            let Node { attachments, ebpf, .. } = node;
            ebpf.replace_stages().map_err(of_load)?;
            for hook in Hook::ALL {
                load::reload(ebpf, hook).map_err(of_load)?;
            }
            let old = std::mem::take(attachments);
            *attachments = node_of(&self.namespaces, index)?
                .run(|| {
                    old.into_iter()
                        .map(|attachment| attachment.replace(ebpf))
                        .collect::<Result<Vec<_>, _>>()
                })?
                .map_err(failed)?;
        }
        Ok(())
    }

    /// Sets the time and the number of the packet that comes next, from 1, by which the dice start anew. The
    /// kernel's clock and dice let it pass.
    pub fn turn(&mut self, now: Nanos, packet: u64) -> Result<(), WorldError> {
        let Time::Virtual(seed) = self.options.time else { return Ok(()) };
        self.now = now;
        for (index, node) in self.nodes.iter_mut().enumerate() {
            let seed = hash::seed_of(node_seed(seed, index), packet);
            node.tables.set_clock(now, seed, 0).map_err(failed)?;
        }
        Ok(())
    }

    fn start_clock(&mut self) -> Result<(), WorldError> {
        let Time::Virtual(seed) = self.options.time else { return Ok(()) };
        for (index, node) in self.nodes.iter_mut().enumerate() {
            node.tables.set_clock(0, node_seed(seed, index), 0).map_err(failed)?;
        }
        Ok(())
    }

    /// Collects what is seen of a packet, until it has arrived or the grace is over.
    fn follow(&mut self, sender: Sender, sent: &Frame) -> Result<Vec<(Place, Frame)>, WorldError> {
        let until = Instant::now() + self.options.grace;
        let foreign = !is_housekeeping(sent);
        let mut seen: Vec<(u64, Place, Frame)> = Vec::new();
        loop {
            let Self { watchers, topology, .. } = self;
            watchers
                .take(topology, |Sighting { time, place, frame }| {
                    if !(foreign && is_housekeeping(&frame)) {
                        seen.push((time, place, frame));
                    }
                })
                .map_err(failed)?;
            let arrived = seen.iter().any(|(_, place, _)| place.is_end());
            if arrived || !self.watchers.wait(until).map_err(failed)? {
                break;
            }
        }
        // Sockets are read one after the other; a packet's way is out, across, in.
        seen.sort_by_key(|(time, place, _)| match place {
            Place::PodOut(_) | Place::ClientOut(_) => (0, 0),
            place if place.is_end() => (2, 0),
            _ => (1, *time),
        });
        let seen = seen.into_iter().map(|(_, place, frame)| (place, frame)).collect();
        Ok(chain(&self.topology, sender, seen))
    }
}

impl World for VethWorld {
    fn name(&self) -> &'static str {
        "veth"
    }

    fn apply(&mut self, state: &State) -> Result<(), WorldError> {
        let Self { plan, topology, nodes, .. } = self;
        for (info, node) in topology.nodes.iter().zip(nodes) {
            for write in plan.writes(state, &info.name, topology) {
                node.tables.write(&write).map_err(failed)?;
            }
        }
        Ok(())
    }

    fn names(&mut self, state: &State) -> Names {
        self.plan.names(state)
    }

    fn topology(&self) -> &Topology {
        &self.topology
    }

    fn set_time(&mut self, now: Nanos) -> Result<(), WorldError> {
        let Time::Virtual(seed) = self.options.time else { return Ok(()) };
        if now == self.now {
            return Ok(());
        }
        self.now = now;
        for (index, node) in self.nodes.iter_mut().enumerate() {
            let drawn = node.tables.drawn().map_err(failed)?;
            node.tables.set_clock(now, node_seed(seed, index), drawn).map_err(failed)?;
        }
        Ok(())
    }

    /// Nothing is seen of a frame that is shorter than its link header, longer than the devices take, or
    /// sent by somebody who is not there: no device takes it. Of what a node sends, nothing is seen before
    /// it is on the link or in a pod. Made for [`Stacks::Silent`]; stacks that answer are seen, too.
    fn send_from(&mut self, sender: Sender, frame: &Frame) -> Result<Trace, WorldError> {
        let mut trace = Trace::default();
        self.watchers.take(&self.topology, |_| {}).map_err(failed)?;
        match self.senders.send(&self.topology, sender, frame) {
            None => return Ok(trace),
            Some(Ok(())) => {}
            Some(Err(error)) if is_refusal(&error) => return Ok(trace),
            Some(Err(error)) => return Err(failed(error)),
        }
        trace.seen = self.follow(sender, frame)?;
        trace.fate = trace
            .seen
            .last()
            .filter(|(place, _)| place.is_end())
            .map(|(place, _)| Fate::Arrived(*place));
        Ok(trace)
    }

    fn evict(&mut self, node: NodeIndex, key: &Tuple) -> Result<bool, WorldError> {
        let node = self.nodes.get_mut(node).ok_or_else(|| no_node(node))?;
        node.tables.remove(key).map_err(failed)
    }

    fn conntrack(&mut self, node: NodeIndex) -> Result<Vec<(Tuple, Flow)>, WorldError> {
        let node = self.nodes.get_mut(node).ok_or_else(|| no_node(node))?;
        node.tables.conntrack().map_err(|error: TableError| failed(error))
    }
}

/// Attaches a node's programs, on a thread in its namespace.
fn attach_node(
    ebpf: &mut Programs,
    topology: &Topology,
    node: NodeIndex,
    method: Method,
) -> Result<Vec<Attachment>, AttachError> {
    let mut all = vec![Attachment::new(ebpf, Hook::FromNetdev, UPLINK_NAME, method)?];
    if topology.attached.xdp {
        all.push(Attachment::new(ebpf, Hook::Xdp, UPLINK_NAME, method)?);
    }
    if topology.attached.to_netdev {
        all.push(Attachment::new(ebpf, Hook::ToNetdev, UPLINK_NAME, method)?);
    }
    for pod in topology.pods.iter().filter(|pod| pod.node == node) {
        let device = format!("pod{}", pod.device);
        for hook in [Hook::FromPod, Hook::ToPod] {
            all.push(Attachment::new(ebpf, hook, &device, method)?);
        }
    }
    Ok(all)
}

/// Puts frames between nodes in the order of the packet's way: each begins where the last one ended. Times
/// alone do not tell, since the kernel notes some of them only when a frame is read.
fn chain(
    topology: &Topology,
    sender: Sender,
    mut seen: Vec<(Place, Frame)>,
) -> Vec<(Place, Frame)> {
    let mut here = match sender {
        Sender::Pod(pod) => topology.pods.get(pod).map(|info| Neighbour::Node(info.node)),
        Sender::Node(node) => Some(Neighbour::Node(node)),
        Sender::Client(_) => Some(Neighbour::Router),
    };
    let between = |place: &Place| matches!(place, Place::Wire(_) | Place::FromRouter(_));
    let first = seen.iter().position(|(place, _)| between(place)).unwrap_or(0);
    let count = seen.iter().filter(|(place, _)| between(place)).count();
    let link = |frame: &Frame| {
        let mac = |bytes: Option<&[u8]>| topology.neighbour(*bytes?.first_chunk::<6>()?);
        (mac(frame.bytes.get(..6)), mac(frame.bytes.get(6..12)))
    };
    let Some(part) = seen.get_mut(first..first + count) else { return seen };
    for place in 0..part.len() {
        let rest = part.get_mut(place..).unwrap_or_default();
        let next = rest.iter().position(|(_, frame)| link(frame).1 == here).unwrap_or(0);
        if let Some(run) = rest.get_mut(..=next) {
            run.rotate_right(1);
        }
        here = rest.first().and_then(|(_, frame)| link(frame).0);
    }
    seen
}

fn node_of(namespaces: &Namespaces, node: NodeIndex) -> Result<&Namespace, WorldError> {
    namespaces.nodes.get(node).ok_or_else(|| no_node(node))
}

fn no_node(node: NodeIndex) -> WorldError {
    WorldError::Failed(format!("node {node} does not exist"))
}

fn failed(error: impl std::fmt::Display) -> WorldError {
    WorldError::Failed(error.to_string())
}

fn of_load(error: LoadError) -> WorldError {
    match error {
        LoadError::NoObject | LoadError::NotPermitted => WorldError::Environment(error.to_string()),
        error => failed(error),
    }
}

#[cfg(test)]
mod tests {
    use twinpath_sim::topology::Mac;

    use super::*;

    /// What was read in the wrong order is put right by link addresses.
    #[test]
    fn frames_between_nodes_are_in_the_order_of_the_way() {
        let mut state = State::default();
        for name in ["a", "b"] {
            state.nodes.insert(name.into(), twinpath_control::model::Node::default());
        }
        let mut topology = Topology::new(&state);
        let router = topology.add_router(Vec::new()).mac;
        let nodes: Vec<Mac> = topology.nodes.iter().map(|node| node.mac).collect();
        let frame = |to: Mac, from: Mac| Frame::new([to, from].concat());
        let way = vec![
            (Place::Wire(1), frame(nodes[0], nodes[1])),
            (Place::Wire(0), frame(router, nodes[0])),
            (Place::FromRouter(1), frame(nodes[1], router)),
            (Place::Host(1), frame(nodes[1], router)),
        ];
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut seen: Vec<_> = order.into_iter().map(|i: usize| way[i].clone()).collect();
            seen.push(way[3].clone());
            assert_eq!(chain(&topology, Sender::Node(1), seen), way, "{order:?}");
        }
    }
}
