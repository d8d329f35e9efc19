//! What runs a hook on a packet.

use std::convert::Infallible;
use std::fmt;

use twinpath_control::diff::{Target, Write};
use twinpath_core::affinity::{Affinity, Client};
use twinpath_core::conntrack::Flow;
use twinpath_core::fault::{Fault, Kind, Operation, SLOTS, Which};
use twinpath_core::fragment::{Datagram, Ports};
use twinpath_core::hook::{self, Hook, Work};
use twinpath_core::limit::Bucket;
use twinpath_core::seam::{InsertError, LIMITS, Lookup, Nanos};
use twinpath_core::tuple::{Tuple, Tuple4};
use twinpath_core::verdict::{Decision, IfIndex, Verdict};

use crate::frame::Frame;
use crate::map::ArrayModel;
use crate::node::{Fill, Limits, SimNode};

/// A node's number, in the order of a topology's nodes.
pub type NodeIndex = usize;

/// The hooks of one or more nodes, and their tables: in the simulator, or loaded into the kernel.
pub trait Engine {
    /// What can go wrong, beside what a decision says.
    type Error: fmt::Display + fmt::Debug;

    /// How many nodes there are.
    fn nodes(&self) -> usize;
    /// Sets the time on all nodes.
    fn set_time(&mut self, now: Nanos) -> Result<(), Self::Error>;
    /// Sets the time and the number of the packet that comes next, from 1: all nodes' dice start anew, from a
    /// seed of that packet. So what it draws does not depend on the packets before it.
    fn turn(&mut self, now: Nanos, packet: u64) -> Result<(), Self::Error>;
    /// Makes one change to a node's tables.
    fn write(&mut self, node: NodeIndex, write: &Write) -> Result<(), Self::Error>;
    /// Looks where a hook of a node will look for a packet's connection, so that memory is there by then.
    /// Nothing changes.
    #[inline]
    fn foresee(&self, _: NodeIndex, _: &Tuple4) {}
    /// Whether [`Self::run`] can be given such a packet: all of them, unless an engine says otherwise.
    #[inline]
    fn takes(&self, _: &Frame) -> bool {
        true
    }
    /// Runs a hook on a packet that has come by `device`, and leaves the packet as the hook did.
    fn run(
        &mut self,
        node: NodeIndex,
        hook: Hook,
        device: IfIndex,
        frame: &mut Frame,
    ) -> Result<Decision, Self::Error>;
    /// The same for a packet that carries the node's mark, since another hook is done with it.
    fn run_marked(
        &mut self,
        node: NodeIndex,
        hook: Hook,
        device: IfIndex,
        frame: &mut Frame,
    ) -> Result<Decision, Self::Error>;
    /// A node's conntrack table, by key, IPv4 first.
    fn conntrack(&mut self, node: NodeIndex) -> Result<Vec<(Tuple, Flow)>, Self::Error>;
    /// Who is given which backend again on a node, by key.
    fn affinities(&mut self, node: NodeIndex) -> Result<Vec<(Client, Affinity)>, Self::Error>;
    /// The ports of datagrams in fragments that a node has seen, by key.
    fn fragments(&mut self, node: NodeIndex) -> Result<Vec<(Datagram, Ports)>, Self::Error>;
    /// A node's rate limits, by the number of what is limited.
    fn limits(&mut self, node: NodeIndex) -> Result<Vec<Bucket>, Self::Error>;
    /// How many numbers a node's dice have given since the last reset, or the last [turn](Self::turn).
    fn drawn(&mut self, node: NodeIndex) -> Result<u64, Self::Error>;
    /// A node's counters, by [`Metric`](twinpath_core::seam::Metric).
    fn metrics(&mut self, node: NodeIndex) -> Result<Vec<u64>, Self::Error>;
    /// How many entries a node's tables have evicted, where the engine knows.
    fn evicted(&mut self, _: NodeIndex) -> Result<Option<u64>, Self::Error> {
        Ok(None)
    }
    /// How full a node's tables are, where the engine knows without counting.
    fn fill(&self, _: NodeIndex) -> Option<Fill> {
        None
    }
    /// Removes one conntrack half, as an eviction would; whether it was there.
    fn evict(&mut self, node: NodeIndex, key: &Tuple) -> Result<bool, Self::Error>;
    /// Makes an operation of a node's datapath on a table go wrong: on the slow road, after so many of the
    /// kind that go well. One that is still to come is forgotten.
    fn fault(
        &mut self,
        node: NodeIndex,
        which: Which,
        kind: Kind,
        after: u32,
    ) -> Result<(), Self::Error>;
    /// A node's faults that are still to come, by [slot](Which::slot).
    fn faults(&mut self, node: NodeIndex) -> Result<Vec<Fault>, Self::Error>;
    /// Forgets all faults, connections and counts, sets the time to zero and starts the dice from a seed. What is
    /// evicted from then on does not depend on what was there before.
    fn reset(&mut self, seed: u64) -> Result<(), Self::Error>;
}

/// The simulator's engine: the core on models of the kernel's maps.
pub struct SimEngine {
    nodes: Vec<SimNode>,
    work: Work,
    /// The time, which a node's clock is set to when a hook of it runs: packets are many, and so may
    /// nodes be.
    now: Nanos,
    /// The packet whose turn it is, likewise; 0 where there are no turns.
    packet: u64,
    /// Whether there was a fault since the last reset.
    faulty: bool,
}

impl SimEngine {
    /// So many nodes with empty tables. Each node's dice have a seed of their own, made from `seed`.
    pub fn new(nodes: usize, limits: &Limits, seed: u64) -> Self {
        let nodes = (0..nodes).map(|i| SimNode::new(limits, node_seed(seed, i))).collect();
        Self { nodes, work: Work::default(), now: 0, packet: 0, faulty: false }
    }

    /// A node, to look into.
    pub fn node(&self, node: NodeIndex) -> Option<&SimNode> {
        self.nodes.get(node)
    }

    fn known(&self, node: NodeIndex) -> Result<&SimNode, SimError> {
        self.nodes.get(node).ok_or(SimError::NoNode(node))
    }

    /// A node, to change.
    pub fn node_mut(&mut self, node: NodeIndex) -> Option<&mut SimNode> {
        self.nodes.get_mut(node)
    }
}

/// The seed of a node's dice.
pub const fn node_seed(seed: u64, node: NodeIndex) -> u64 {
    seed.wrapping_add((node as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Why the simulator refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SimError {
    /// There is no such node.
    #[error("node {0} does not exist")]
    NoNode(NodeIndex),
    /// A table did not take an entry.
    #[error("the table {1} of node {0}, counted from 0, has no more room")]
    Full(NodeIndex, &'static str),
}

impl From<Infallible> for SimError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl Engine for SimEngine {
    type Error = SimError;

    fn nodes(&self) -> usize {
        self.nodes.len()
    }

    #[inline]
    fn set_time(&mut self, now: Nanos) -> Result<(), SimError> {
        self.now = now;
        Ok(())
    }

    #[inline]
    fn turn(&mut self, now: Nanos, packet: u64) -> Result<(), SimError> {
        self.now = now;
        self.packet = packet;
        Ok(())
    }

    fn write(&mut self, node: NodeIndex, write: &Write) -> Result<(), SimError> {
        let sim = self.nodes.get_mut(node).ok_or(SimError::NoNode(node))?;
        sim.write(write).map_err(|_: InsertError| SimError::Full(node, write.table()))
    }

    #[inline(always)]
    fn foresee(&self, node: NodeIndex, tuple: &Tuple4) {
        if let Some(node) = self.nodes.get(node) {
            node.0.conntrack.foresee(tuple);
        }
    }

    #[inline(always)]
    fn run(
        &mut self,
        node: NodeIndex,
        hook: Hook,
        device: IfIndex,
        frame: &mut Frame,
    ) -> Result<Decision, SimError> {
        let sim = self.nodes.get_mut(node).ok_or(SimError::NoNode(node))?;
        sim.0.host.now = self.now;
        sim.0.host.packet = self.packet;
        if self.faulty {
            return Ok(with_faults(sim, &mut self.work, hook, device, frame));
        }
        Ok(hook::handle(frame, &mut sim.0, &mut self.work, hook, device))
    }

    /// What carries the mark passes where packets leave by way of the stack; elsewhere none does.
    fn run_marked(
        &mut self,
        node: NodeIndex,
        hook: Hook,
        device: IfIndex,
        frame: &mut Frame,
    ) -> Result<Decision, SimError> {
        let mark = self.known(node)?.0.config.mark;
        if mark != 0 && matches!(hook, Hook::ToPod | Hook::ToNetdev) {
            return Ok(Decision::untracked(Verdict::Pass));
        }
        self.run(node, hook, device, frame)
    }

    fn conntrack(&mut self, node: NodeIndex) -> Result<Vec<(Tuple, Flow)>, SimError> {
        Ok(self.known(node)?.0.conntrack.dump())
    }

    fn affinities(&mut self, node: NodeIndex) -> Result<Vec<(Client, Affinity)>, SimError> {
        Ok(self.known(node)?.0.affinities.dump())
    }

    fn fragments(&mut self, node: NodeIndex) -> Result<Vec<(Datagram, Ports)>, SimError> {
        Ok(self.known(node)?.0.fragments.dump())
    }

    fn limits(&mut self, node: NodeIndex) -> Result<Vec<Bucket>, SimError> {
        let limits = &self.known(node)?.0.limits;
        Ok((0..LIMITS as u32).filter_map(|slot| limits.get(&slot).cloned()).collect())
    }

    fn drawn(&mut self, node: NodeIndex) -> Result<u64, SimError> {
        Ok(self.known(node)?.0.host.drawn_for(self.packet))
    }

    fn metrics(&mut self, node: NodeIndex) -> Result<Vec<u64>, SimError> {
        Ok(self.known(node)?.0.host.metrics.clone())
    }

    fn evicted(&mut self, node: NodeIndex) -> Result<Option<u64>, SimError> {
        Ok(Some(self.known(node)?.fill().evicted))
    }

    fn fill(&self, node: NodeIndex) -> Option<Fill> {
        self.node(node).map(SimNode::fill)
    }

    fn evict(&mut self, node: NodeIndex, key: &Tuple) -> Result<bool, SimError> {
        use twinpath_core::seam::Table;
        Ok(self.nodes.get_mut(node).ok_or(SimError::NoNode(node))?.0.conntrack.remove(key))
    }

    fn fault(
        &mut self,
        node: NodeIndex,
        which: Which,
        kind: Kind,
        after: u32,
    ) -> Result<(), SimError> {
        self.faulty = true;
        self.known(node)?.fault(which, kind.operation()).set(Fault::new(kind, after));
        Ok(())
    }

    fn faults(&mut self, node: NodeIndex) -> Result<Vec<Fault>, SimError> {
        let node = self.known(node)?;
        let mut faults = vec![Fault::NONE; SLOTS as usize];
        for (which, operation) in every_fault() {
            if let Some(place) = faults.get_mut(which.slot(operation) as usize) {
                *place = node.fault(which, operation).get();
            }
        }
        Ok(faults)
    }

    fn reset(&mut self, seed: u64) -> Result<(), SimError> {
        self.now = 0;
        self.packet = 0;
        self.faulty = false;
        for (i, node) in self.nodes.iter_mut().enumerate() {
            for (which, operation) in every_fault() {
                node.fault(which, operation).set(Fault::NONE);
            }
            node.0.conntrack.clear();
            node.0.affinities.clear();
            node.0.fragments.clear();
            node.0.limits = ArrayModel::new(LIMITS);
            node.0.host.metrics.fill(0);
            node.0.host.now = 0;
            node.0.host.seed = node_seed(seed, i);
            node.0.host.restart();
        }
        Ok(())
    }
}

fn every_fault() -> impl Iterator<Item = (Which, Operation)> {
    [Which::Conntrack, Which::Affinities, Which::Fragments].into_iter().flat_map(|which| {
        [Operation::Lookup, Operation::Insert, Operation::Remove]
            .map(|operation| (which, operation))
    })
}

/// A hook whose slow road meets faults.
#[cold]
fn with_faults(
    sim: &mut SimNode,
    work: &mut Work,
    hook: Hook,
    device: IfIndex,
    frame: &mut Frame,
) -> Decision {
    if matches!(hook, Hook::Xdp) {
        return hook::express(frame, &mut sim.0);
    }
    let decision = hook::start(frame, &mut sim.0, work, hook, device);
    if !decision.is_undecided() {
        return decision;
    }
    sim.arm(true);
    let decision = hook::finish(frame, &mut sim.0, work);
    sim.arm(false);
    decision
}
