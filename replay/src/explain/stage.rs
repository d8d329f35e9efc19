//! The simulator as a stage for a replay, whose packets can be watched.

use std::net::IpAddr;

use twinpath_control::model::State;
use twinpath_control::tables::{Names, Options};
use twinpath_core::hook::Hook;
use twinpath_core::seam::Nanos;
use twinpath_core::verdict::Decision;
use twinpath_sim::cluster::{Fate, Place, Watch};
use twinpath_sim::engine::NodeIndex;
use twinpath_sim::frame::Frame;
use twinpath_sim::node::Limits;
use twinpath_sim::topology::{ClientIndex, PodIndex, Topology};
use twinpath_sim::world::{ModelWorld, WorldError};

use super::engine::SpyEngine;
use super::log::{Event, Log};
use crate::worlds::{Kind, Sender, Stage};

/// The simulator with a cluster's state applied.
pub struct SpyStage {
    world: ModelWorld<SpyEngine>,
    /// The state that was applied last.
    state: State,
}

impl SpyStage {
    /// The simulator that `replay` has, in all but the notes.
    pub fn new(
        topology: Topology,
        state: &State,
        options: Options,
        seed: u64,
    ) -> Result<Self, WorldError> {
        let engine = SpyEngine::new(topology.nodes.len(), &Limits::default(), seed);
        let world = ModelWorld::new(Kind::Sim.name(), topology, engine, options);
        let mut stage = Self { world, state: State::default() };
        stage.apply(state)?;
        Ok(stage)
    }

    /// The state of the cluster at this time.
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// From now on notes are taken, or no more.
    pub const fn spy(&mut self, spying: bool) {
        self.world.cluster.engine.spying = spying;
    }

    /// The notes.
    pub fn log(&self) -> Log {
        self.world.cluster.engine.log.clone()
    }

    /// The time.
    pub const fn now(&self) -> Nanos {
        self.world.cluster.engine.now()
    }

    /// The engine, to look into.
    pub const fn engine(&mut self) -> &mut SpyEngine {
        &mut self.world.cluster.engine
    }
}

impl Stage for SpyStage {
    fn name(&self) -> &'static str {
        Stage::name(&self.world)
    }

    fn topology(&self) -> &Topology {
        Stage::topology(&self.world)
    }

    fn names(&mut self, state: &State) -> Names {
        Stage::names(&mut self.world, state)
    }

    fn apply(&mut self, state: &State) -> Result<(), WorldError> {
        self.state.clone_from(state);
        Stage::apply(&mut self.world, state)
    }

    fn add_outside(
        &mut self,
        client: IpAddr,
        frontend: IpAddr,
        node: NodeIndex,
    ) -> Result<Option<ClientIndex>, WorldError> {
        self.world.add_outside(client, frontend, node)
    }

    fn add_client(
        &mut self,
        node: NodeIndex,
        address: Option<IpAddr>,
    ) -> Result<PodIndex, WorldError> {
        self.world.add_client(node, address)
    }

    fn add_address(&mut self, pod: PodIndex, address: IpAddr) -> Result<(), WorldError> {
        self.world.add_address(pod, address)
    }

    fn turn(&mut self, now: Nanos, packet: u64) -> Result<(), WorldError> {
        Stage::turn(&mut self.world, now, packet)
    }

    fn send<W: Watch>(
        &mut self,
        sender: Sender,
        frame: &mut Frame,
        watch: &mut W,
    ) -> Result<Option<Fate>, WorldError> {
        let fate = Stage::send(&mut self.world, sender, frame, watch)?;
        let engine = &self.world.cluster.engine;
        if let Some(fate) = fate.filter(|_| engine.spying) {
            engine.log.note(Event::Ended(fate));
        }
        Ok(fate)
    }
}

/// Notes where a packet was seen and what was decided among all else.
impl Watch for Log {
    fn at(&mut self, place: Place, frame: &Frame) {
        self.note(Event::Seen(place, frame.clone()));
    }

    fn decided(&mut self, node: NodeIndex, hook: Hook, decision: &Decision) {
        self.note(Event::Decided(node, hook, *decision));
    }
}
