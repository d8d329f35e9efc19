//! Worlds: one interface to the simulator, to test runs of the loaded programs, and to attached ones.
//!
//! The simulator and the test runs share the model of what lies between the hooks ([`Cluster`]) and
//! differ in the [`Engine`]. A world of network namespaces has real stacks and links instead.

use std::collections::BTreeMap;

use twinpath_control::diff::diff;
use twinpath_control::model::State;
use twinpath_control::tables::{Desired, Names, Options, Planner};
use twinpath_core::conntrack::Flow;
use twinpath_core::hook::Hook;
use twinpath_core::seam::Nanos;
use twinpath_core::tuple::Tuple;
use twinpath_core::verdict::Decision;

use crate::cluster::{Cluster, Fate, Place, Watch};
use crate::engine::{Engine, NodeIndex};
use crate::frame::Frame;
use crate::topology::{ClientIndex, PodIndex, Topology};

/// Who sends a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// A pod, by its device.
    Pod(PodIndex),
    /// A node itself.
    Node(NodeIndex),
    /// A client outside the cluster.
    Client(ClientIndex),
}

/// What a packet went through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// Where it was seen and what it looked like, in order.
    pub seen: Vec<(Place, Frame)>,
    /// What the hooks decided, in order; empty where a world cannot tell.
    pub decisions: Vec<(NodeIndex, Hook, Decision)>,
    /// For each decision, how many places had seen the packet before.
    pub decided_after: Vec<usize>,
    /// What became of it; `None` where a world cannot tell.
    pub fate: Option<Fate>,
}

impl Watch for Trace {
    fn at(&mut self, place: Place, frame: &Frame) {
        self.seen.push((place, frame.clone()));
    }

    fn decided(&mut self, node: NodeIndex, hook: Hook, decision: &Decision) {
        self.decisions.push((node, hook, *decision));
        self.decided_after.push(self.seen.len());
    }
}

/// A world that packets can be sent through.
pub trait World {
    /// Its name on the command line.
    fn name(&self) -> &'static str;
    /// Brings the tables of all nodes to a state of the cluster. Pods and nodes that were not there
    /// when the world was made get tables and no devices.
    fn apply(&mut self, state: &State) -> Result<(), WorldError>;
    /// What the numbers in decisions stand for.
    fn names(&mut self, state: &State) -> Names;
    /// Who is where.
    fn topology(&self) -> &Topology;
    /// Sets the time. A world of real time lets it pass.
    fn set_time(&mut self, now: Nanos) -> Result<(), WorldError>;
    /// Somebody sends a packet.
    fn send_from(&mut self, sender: Sender, frame: &Frame) -> Result<Trace, WorldError>;
    /// A pod sends a packet.
    fn send(&mut self, pod: PodIndex, frame: &Frame) -> Result<Trace, WorldError> {
        self.send_from(Sender::Pod(pod), frame)
    }
    /// The conntrack table of a node, by key, IPv4 first.
    fn conntrack(&mut self, node: NodeIndex) -> Result<Vec<(Tuple, Flow)>, WorldError>;
    /// Removes one conntrack half of a node, as an eviction would; whether it was there.
    fn evict(&mut self, node: NodeIndex, key: &Tuple) -> Result<bool, WorldError>;
}

/// What went wrong with a world itself.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// The machine lacks what the world needs: which, and what to do.
    #[error("{0}")]
    Environment(String),
    /// Something failed that should not.
    #[error("{0}")]
    Failed(String),
}

/// The control plane of a world: what the tables of each node should hold, and do.
#[derive(Debug)]
pub struct Plan {
    planner: Planner,
    options: Options,
    current: BTreeMap<String, Desired>,
}

impl Plan {
    /// A plan for nodes with empty tables.
    pub fn new(options: Options) -> Self {
        Self { planner: Planner::default(), options, current: BTreeMap::new() }
    }

    /// The writes that bring a node from what it holds to the state. They count as made.
    pub fn writes(
        &mut self,
        state: &State,
        node: &str,
        topology: &Topology,
    ) -> Vec<twinpath_control::diff::Write> {
        let mut desired = self.planner.plan(state, node, topology, &self.options);
        let current = self.current.entry(node.to_owned()).or_default();
        let writes = diff(current, &desired);
        desired.config.epoch = current.config.epoch.wrapping_add(u32::from(!writes.is_empty()));
        *current = desired;
        writes
    }

    /// What the tables of a node hold, by the writes so far.
    pub fn tables(&self, node: &str) -> Option<&Desired> {
        self.current.get(node)
    }

    /// What the numbers in the tables stand for.
    pub fn names(&mut self, state: &State) -> Names {
        self.planner.names(state)
    }
}

/// A world made of a cluster model and an engine.
pub struct ModelWorld<E> {
    name: &'static str,
    /// The cluster.
    pub cluster: Cluster<E>,
    /// Its control plane.
    pub plan: Plan,
}

impl<E: Engine> Cluster<E> {
    /// Somebody sends a packet.
    pub fn send_from<W: Watch>(
        &mut self,
        sender: Sender,
        frame: &mut Frame,
        watch: &mut W,
    ) -> Result<Fate, E::Error> {
        match sender {
            Sender::Pod(pod) => self.send(pod, frame, watch),
            Sender::Node(node) => self.send_from_node(node, frame, watch),
            Sender::Client(client) => self.send_from_client(client, frame, watch),
        }
    }
}

impl<E: Engine> ModelWorld<E> {
    /// A world with this name on the command line.
    pub fn new(name: &'static str, topology: Topology, engine: E, options: Options) -> Self {
        Self { name, cluster: Cluster { topology, engine }, plan: Plan::new(options) }
    }
}

fn failed(error: impl std::fmt::Display) -> WorldError {
    WorldError::Failed(error.to_string())
}

impl<E: Engine> World for ModelWorld<E> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn apply(&mut self, state: &State) -> Result<(), WorldError> {
        let Cluster { topology, engine } = &mut self.cluster;
        for (index, node) in topology.nodes.iter().enumerate() {
            for write in self.plan.writes(state, &node.name, topology) {
                engine.write(index, &write).map_err(failed)?;
            }
        }
        Ok(())
    }

    fn names(&mut self, state: &State) -> Names {
        self.plan.names(state)
    }

    fn topology(&self) -> &Topology {
        &self.cluster.topology
    }

    fn set_time(&mut self, now: Nanos) -> Result<(), WorldError> {
        self.cluster.engine.set_time(now).map_err(failed)
    }

    fn send_from(&mut self, sender: Sender, frame: &Frame) -> Result<Trace, WorldError> {
        let (mut trace, mut frame) = (Trace::default(), frame.clone());
        let fate = self.cluster.send_from(sender, &mut frame, &mut trace).map_err(failed)?;
        trace.fate = Some(fate);
        Ok(trace)
    }

    fn evict(&mut self, node: NodeIndex, key: &Tuple) -> Result<bool, WorldError> {
        self.cluster.engine.evict(node, key).map_err(failed)
    }

    fn conntrack(&mut self, node: NodeIndex) -> Result<Vec<(Tuple, Flow)>, WorldError> {
        self.cluster.engine.conntrack(node).map_err(failed)
    }
}
