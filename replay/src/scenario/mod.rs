//! Scenarios of a whole cluster: who sends what to whom, and what every packet goes through.
//!
//! A scenario is a YAML file ([`mod@file`]): the cluster, the clients outside, and steps. Run in a world
//! ([`run`]), it gives a text that shows each packet at every place where it was seen, and says
//! which expectations were not met. The text is the same in every world that sees what the simulator
//! sees.

pub mod file;
mod packet;
mod run;
mod show;

pub use file::{COPY, Scenario, ScenarioError};
pub use packet::Packet;
pub use run::{Detail, Report, run};
pub use show::packet_text;

use twinpath_control::tables;
use twinpath_core::seam::Nanos;
use twinpath_kernel::test_run::TestRunEngine;
use twinpath_kernel::veth::{self, Time, VethWorld};
use twinpath_sim::engine::SimEngine;
use twinpath_sim::node::Limits;
use twinpath_sim::world::{ModelWorld, World, WorldError};

use crate::command::verify::LIMITS;
use crate::worlds::Kind;

/// Nanoseconds in a millisecond.
const MILLISECOND: Nanos = 1_000_000;

/// A world for a scenario, its cluster applied.
pub fn world(kind: Kind, scenario: &Scenario) -> Result<Box<dyn World>, WorldError> {
    let (topology, options) = (scenario.topology(), scenario.tables());
    let (nodes, seed, name) = (topology.nodes.len(), scenario.seed, kind.name());
    let limits = Limits { maglev: tables_of(&options), ..LIMITS };
    let mut world: Box<dyn World> = match kind {
        Kind::Sim => {
            let engine = SimEngine::new(nodes, &limits, seed);
            Box::new(ModelWorld::new(name, topology, engine, options))
        }
        Kind::TestRun => {
            let engine = TestRunEngine::new(nodes, &limits, seed)
                .map_err(|error| WorldError::Environment(format!("--world test-run: {error}")))?;
            Box::new(ModelWorld::new(name, topology, engine, options))
        }
        Kind::Veth => {
            veth::cpu::stay_on_one().map_err(|error| WorldError::Failed(error.to_string()))?;
            let options = veth::Options {
                limits,
                tables: options,
                time: Time::Virtual(seed),
                ..veth::Options::default()
            };
            Box::new(VethWorld::new(topology, &options)?)
        }
    };
    world.apply(&scenario.state)?;
    Ok(world)
}

/// Room for this many Maglev entries: some slices.
fn tables_of(options: &tables::Options) -> usize {
    (options.maglev_size.get() as usize).saturating_mul(16)
}
