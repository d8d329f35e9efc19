//! The simulator's engine, and the same with tables that note what they are asked.

use twinpath_control::diff::Write;
use twinpath_core::affinity::{Affinity, Client};
use twinpath_core::conntrack::Flow;
use twinpath_core::fault::{Fault, Kind, Which};
use twinpath_core::fragment::{Datagram, Ports};
use twinpath_core::hook::{self, Answer, Hook, Stage, Work};
use twinpath_core::limit::Bucket;
use twinpath_core::seam::Nanos;
use twinpath_core::tuple::Tuple;
use twinpath_core::verdict::{Decision, IfIndex};
use twinpath_sim::engine::{Engine, NodeIndex, SimEngine, SimError};
use twinpath_sim::frame::Frame;
use twinpath_sim::node::{Limits, SimNode};

use super::log::{Event, Log};
use super::spy::spied;

/// The simulator's engine. While it is told to, it runs hooks stage by stage on tables that take notes,
/// and decides as it does otherwise.
pub struct SpyEngine {
    engine: SimEngine,
    work: Work,
    now: Nanos,
    packet: u64,
    /// Whether notes are taken.
    pub spying: bool,
    /// The notes.
    pub log: Log,
}

impl SpyEngine {
    /// So many nodes with empty tables, as [`SimEngine::new`] makes them.
    pub fn new(nodes: usize, limits: &Limits, seed: u64) -> Self {
        Self {
            engine: SimEngine::new(nodes, limits, seed),
            work: Work::default(),
            now: 0,
            packet: 0,
            spying: false,
            log: Log::default(),
        }
    }

    /// The time.
    pub const fn now(&self) -> Nanos {
        self.now
    }
}

/// More stages than any packet goes through; the hooks have the same bound.
const MAX_STAGES: usize = 64;

fn run(
    sim: &mut SimNode,
    work: &mut Work,
    hook: Hook,
    device: IfIndex,
    frame: &mut Frame,
    log: &Log,
) -> Decision {
    let mut node = spied(sim, log);
    if matches!(hook, Hook::Xdp) {
        return hook::express(frame, &mut node);
    }
    let decision = hook::start(frame, &mut node, work, hook, device);
    if !decision.is_undecided() {
        return decision;
    }
    let mut stage = Stage::from_number(work.next);
    for _ in 0..MAX_STAGES {
        if stage == Stage::Done {
            return work.decision;
        }
        log.note(Event::Stage(stage));
        let next = hook::run(frame, &mut node, work, stage);
        if next == Stage::Answer && work.answer != Answer::None {
            log.note(Event::Refused(work.answer, work.reason));
        }
        stage = next;
    }
    // Where the loop above has an end, so have the hooks.
    work.next = stage as u32;
    hook::finish(frame, &mut node, work)
}

impl Engine for SpyEngine {
    type Error = SimError;

    fn nodes(&self) -> usize {
        self.engine.nodes()
    }

    #[inline]
    fn set_time(&mut self, now: Nanos) -> Result<(), SimError> {
        self.now = now;
        self.engine.set_time(now)
    }

    #[inline]
    fn turn(&mut self, now: Nanos, packet: u64) -> Result<(), SimError> {
        (self.now, self.packet) = (now, packet);
        self.engine.turn(now, packet)
    }

    fn write(&mut self, node: NodeIndex, write: &Write) -> Result<(), SimError> {
        self.engine.write(node, write)
    }

    #[inline]
    fn run(
        &mut self,
        node: NodeIndex,
        hook: Hook,
        device: IfIndex,
        frame: &mut Frame,
    ) -> Result<Decision, SimError> {
        if !self.spying {
            return self.engine.run(node, hook, device, frame);
        }
        let sim = self.engine.node_mut(node).ok_or(SimError::NoNode(node))?;
        sim.0.host.now = self.now;
        sim.0.host.packet = self.packet;
        self.log.note(Event::Hook(node, hook, device, frame.clone()));
        let decision = run(sim, &mut self.work, hook, device, frame, &self.log);
        self.log.note(Event::Left(frame.clone()));
        Ok(decision)
    }

    fn run_marked(
        &mut self,
        node: NodeIndex,
        hook: Hook,
        device: IfIndex,
        frame: &mut Frame,
    ) -> Result<Decision, SimError> {
        self.engine.run_marked(node, hook, device, frame)
    }

    fn conntrack(&mut self, node: NodeIndex) -> Result<Vec<(Tuple, Flow)>, SimError> {
        self.engine.conntrack(node)
    }

    fn affinities(&mut self, node: NodeIndex) -> Result<Vec<(Client, Affinity)>, SimError> {
        self.engine.affinities(node)
    }

    fn fragments(&mut self, node: NodeIndex) -> Result<Vec<(Datagram, Ports)>, SimError> {
        self.engine.fragments(node)
    }

    fn limits(&mut self, node: NodeIndex) -> Result<Vec<Bucket>, SimError> {
        self.engine.limits(node)
    }

    fn drawn(&mut self, node: NodeIndex) -> Result<u64, SimError> {
        self.engine.drawn(node)
    }

    fn metrics(&mut self, node: NodeIndex) -> Result<Vec<u64>, SimError> {
        self.engine.metrics(node)
    }

    fn evicted(&mut self, node: NodeIndex) -> Result<Option<u64>, SimError> {
        self.engine.evicted(node)
    }

    fn evict(&mut self, node: NodeIndex, key: &Tuple) -> Result<bool, SimError> {
        self.engine.evict(node, key)
    }

    fn fault(
        &mut self,
        node: NodeIndex,
        which: Which,
        kind: Kind,
        after: u32,
    ) -> Result<(), SimError> {
        self.engine.fault(node, which, kind, after)
    }

    fn faults(&mut self, node: NodeIndex) -> Result<Vec<Fault>, SimError> {
        self.engine.faults(node)
    }

    fn reset(&mut self, seed: u64) -> Result<(), SimError> {
        (self.now, self.packet) = (0, 0);
        self.engine.reset(seed)
    }
}

#[cfg(test)]
mod tests;
