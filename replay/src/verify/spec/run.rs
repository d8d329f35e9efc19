//! Scenarios through one engine, judged.

use twinpath_control::diff::diff;
use twinpath_control::tables::{Desired, Planner};
use twinpath_core::conntrack::Flow;
use twinpath_core::tuple::Tuple;
use twinpath_core::verdict::{Decision, Status};
use twinpath_sim::engine::Engine;
use twinpath_sim::frame::Frame;
use twinpath_sim::topology::{Topology, UPLINK};

use super::Model;
use super::judge::Seen;
use super::laws::{Probe, Written, back, forth, is_identity};
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

/// What came of a packet.
#[derive(Default)]
struct Judged {
    /// What is wrong with it.
    wrong: Option<String>,
    /// What left; nothing where the engine cannot be given the packet.
    left: Option<(Decision, Vec<u8>)>,
}

impl From<&Probe> for Met {
    fn from(probe: &Probe) -> Self {
        let Probe { hook, device, ref bytes } = *probe;
        Self { hook, device, marked: false, bytes: bytes.clone() }
    }
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
    ) -> Result<Judged, TwinError> {
        let Met { hook, device, marked, bytes } = met;
        let mut frame = Frame::new(bytes.clone());
        if !self.engine.takes(&frame) {
            return Ok(Judged::default());
        }
        let was = Written::of(&mut self.engine)?;
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
        let is = Written::of(&mut self.engine)?;
        let found = found.and_then(|()| is.law(&was, &bytes, &decision));
        let wrong = found.err().map(|why| format!("at {}: {why}", hook.name()));
        Ok(Judged { wrong, left: Some((decision, frame.bytes)) })
    }

    /// Forth and back over some of the connections that are there.
    fn round_trips(
        &mut self,
        table: &mut Vec<(Tuple, Flow)>,
        model: &mut Model,
    ) -> Result<Option<String>, TwinError> {
        for flow in model.to_probe() {
            let probe = forth(&flow);
            let there = self.packet(Met::from(&probe), table, model)?;
            let (wrong, Some((decision, bytes))) = (there.wrong, there.left) else { continue };
            if wrong.is_some() {
                return Ok(wrong);
            }
            let Some(reply) = back(&bytes).filter(|_| decision.status() == Status::Established)
            else {
                continue;
            };
            let returned = self.packet(Met::from(&reply), table, model)?;
            if returned.wrong.is_some() {
                return Ok(returned.wrong);
            }
            if let Some((decision, bytes)) = returned.left
                && decision.status() == Status::Reply
            {
                model.saw("C-14 there and back");
                if let Err(why) = is_identity(&probe.bytes, &bytes) {
                    return Ok(Some(why));
                }
            }
        }
        Ok(None)
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
                        Some(met) => self.packet(met, &mut table, &mut model)?.wrong,
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
        let found = self.round_trips(&mut table, &mut model)?;
        self.coverage.add(&model.coverage);
        Ok(found.map(|what| Difference { step: scenario.steps.len(), what }))
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
