//! Scenarios through one engine, judged.

use twinpath_control::diff::diff;
use twinpath_control::tables::{Desired, Planner};
use twinpath_core::conntrack::Flow;
use twinpath_core::tuple::Tuple;
use twinpath_sim::engine::Engine;
use twinpath_sim::frame::Frame;
use twinpath_sim::topology::{Topology, UPLINK};

use super::Model;
use super::judge::Seen;
use super::rules::Rules;
use super::wire::Five;
use crate::verify::cluster::{AllKnobs, NODE, Wires, first_knobs, state};
use crate::verify::packet::{Met, pick};
use crate::verify::scenario::{Scenario, Step};
use crate::verify::setup::Setup;
use crate::verify::twin::{START, failed, written};
use crate::verify::{Coverage, Difference, Runner, TwinError};

/// An engine with one node, and the reference that judges it.
pub struct SpecRun<E> {
    engine: E,
    topology: Topology,
    planner: Planner,
    current: Desired,
    packets: u64,
    coverage: Coverage,
    sent: Vec<Vec<u8>>,
}

impl<E: Engine> SpecRun<E> {
    /// An engine with empty tables. Packets that it cannot be given are left out.
    pub fn new(engine: E) -> Self {
        let state = state(&first_knobs());
        let topology = Topology::new(&state);
        let mut planner = Planner::default();
        planner.names(&state);
        Self {
            engine,
            topology,
            planner,
            current: Desired::default(),
            packets: 0,
            coverage: Coverage::default(),
            sent: Vec::new(),
        }
    }

    /// Brings the tables to these services.
    fn apply(&mut self, knobs: &AllKnobs, setup: &Setup) -> Result<(), TwinError> {
        let wires = Wires { topology: &self.topology, setup };
        let mut desired = self.planner.plan(&state(knobs), NODE, &wires, &setup.options());
        let writes = diff(&self.current, &desired);
        for write in &writes {
            self.engine.write(0, write).map_err(failed)?;
        }
        let epoch = self.current.config.epoch;
        desired.config.epoch = epoch.wrapping_add(u32::from(!writes.is_empty()));
        self.current = desired;
        Ok(())
    }

    /// One packet through a hook; what is wrong with what came of it.
    fn packet(
        &mut self,
        met: Met,
        table: &mut Vec<(Tuple, Flow)>,
        model: &mut Model,
    ) -> Result<Option<String>, TwinError> {
        let Met { hook, device, marked, bytes } = met;
        let mut frame = Frame::new(bytes.clone());
        if !self.engine.takes(&frame) {
            return Ok(None);
        }
        self.sent.push(bytes.clone());
        let decision = match marked {
            true => self.engine.run_marked(0, hook, device, &mut frame),
            false => self.engine.run(0, hook, device, &mut frame),
        };
        let decision = decision.map_err(failed)?;
        self.packets += 1;
        let new = self.engine.conntrack(0).map_err(failed)?;
        let seen = Seen {
            hook,
            device,
            marked,
            now: model.now,
            before: &bytes,
            after: &frame.bytes,
            decision,
            old: table,
            new: &new,
        };
        let found = model.judge(&seen);
        *table = new;
        Ok(found.err().map(|why| format!("at {}: {why}", hook.name())))
    }
}

impl<E: Engine> Runner for SpecRun<E> {
    const NAME: &'static str = "spec";

    fn run(&mut self, scenario: &Scenario) -> Result<Option<Difference>, TwinError> {
        self.sent.clear();
        self.engine.reset(scenario.seed).map_err(failed)?;
        let setup = &scenario.setup;
        let mut knobs = first_knobs();
        self.apply(&knobs, setup)?;
        self.engine.set_time(START).map_err(failed)?;
        let version = u64::from(self.current.config.epoch);
        let mut model = Model::new(Rules::new(state(&knobs), setup, UPLINK, version), START);
        let mut table = Vec::new();
        for (number, step) in scenario.steps.iter().enumerate() {
            let found = match step {
                Step::Packet(hook, device, spec) => {
                    match spec.meet((*hook).into(), *device, &table) {
                        Some(met) => self.packet(met, &mut table, &mut model)?,
                        None => None,
                    }
                }
                Step::Wait(milliseconds) => {
                    let passed = milliseconds.saturating_mul(1_000_000);
                    model.now = model.now.saturating_add(passed);
                    self.engine.set_time(model.now).map_err(failed)?;
                    None
                }
                Step::Endpoints(service, bits) => {
                    if let Some(place) = knobs.get_mut(usize::from(*service)) {
                        place.endpoints = *bits;
                    }
                    self.change(&knobs, setup, &mut model)?;
                    None
                }
                Step::Policy(service, bits) => {
                    if let Some(place) = knobs.get_mut(usize::from(*service)) {
                        place.policy = *bits;
                    }
                    self.change(&knobs, setup, &mut model)?;
                    None
                }
                Step::Evict(n) => {
                    if let Some(&(key, _)) = pick(&table, *n) {
                        self.engine.evict(0, &key).map_err(failed)?;
                        table = self.engine.conntrack(0).map_err(failed)?;
                        model.flows.evict(&Five::from(&key));
                    }
                    None
                }
                // What a fault costs is for the twin to compare, and for the invariants of its own tests.
                Step::Fault(..) => None,
            };
            if let Some(what) = found {
                self.coverage.add(&model.coverage);
                return Ok(Some(Difference { step: number + 1, what }));
            }
        }
        self.coverage.add(&model.coverage);
        Ok(None)
    }

    fn tables(&mut self) -> Result<String, TwinError> {
        written(&mut self.engine)
    }

    fn packets(&self) -> u64 {
        self.packets
    }

    fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    fn sent(&self) -> &[Vec<u8>] {
        &self.sent
    }
}

impl<E: Engine> SpecRun<E> {
    /// Another cluster, for the engine and for the model; both connections and time stay.
    fn change(
        &mut self,
        knobs: &AllKnobs,
        setup: &Setup,
        model: &mut Model,
    ) -> Result<(), TwinError> {
        self.apply(knobs, setup)?;
        let version = u64::from(self.current.config.epoch);
        model.rules = Rules::new(state(knobs), setup, UPLINK, version);
        Ok(())
    }
}
