//! Two engines side by side.

use std::collections::BTreeMap;
use std::fmt;

use twinpath_control::diff::Write;
use twinpath_control::tables::Options;
use twinpath_core::conntrack::Flow;
use twinpath_core::hook::Hook;
use twinpath_core::seam::{Metric, Nanos};
use twinpath_core::tuple::Tuple;
use twinpath_core::verdict::{Decision, IfIndex, Verdict};
use twinpath_sim::engine::Engine;
use twinpath_sim::frame::Frame;
use twinpath_sim::topology::Topology;
use twinpath_sim::world::Plan;

use super::cluster::{NODE, SERVICE_COUNT, state};
use super::packet::{Ends, Target};
use super::scenario::{Scenario, Step};

/// How often each interesting thing happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage(BTreeMap<String, u64>);

impl Coverage {
    fn saw(&mut self, what: impl Into<String>) {
        *self.0.entry(what.into()).or_default() += 1;
    }

    /// How often this happened.
    pub fn count(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in &self.0 {
            writeln!(f, "{count:>10}  {what}")?;
        }
        Ok(())
    }
}

/// Where two engines disagreed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The number of the step, from 1.
    pub step: usize,
    /// What differs, and how.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {}: {}", self.step, self.what)
    }
}

/// Why a run came to no end.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TwinError(String);

impl TwinError {
    /// A scenario failed once and not again: an engine keeps something across a reset.
    pub(super) fn unsteady() -> Self {
        Self(
            "a scenario gave a difference once and not again: an engine is not reset as it should"
                .into(),
        )
    }
}

fn failed(error: impl fmt::Display) -> TwinError {
    TwinError(error.to_string())
}

/// Two engines with one node each.
pub struct Twin<A, B> {
    one: A,
    other: B,
    topology: Topology,
    plan: Plan,
    /// Packets compared so far.
    pub packets: u64,
    /// What happened so far.
    pub coverage: Coverage,
    /// The packets of the last run, as they went in.
    pub sent: Vec<Vec<u8>>,
}

/// Endpoints at the start of every scenario: all pods serve everything.
const ALL_READY: u8 = 0b0101_0101;

/// When scenarios begin. Not zero, so that time differences can go wrong.
const START: Nanos = 1_000_000_000_000;

impl<A: Engine, B: Engine> Twin<A, B> {
    /// Two engines with empty tables. Packets that one of them cannot be given are left out.
    pub fn new(one: A, other: B) -> Self {
        Self {
            one,
            other,
            topology: Topology::new(&state(&[ALL_READY; SERVICE_COUNT as usize])),
            plan: Plan::new(Options::default()),
            packets: 0,
            coverage: Coverage::default(),
            sent: Vec::new(),
        }
    }

    /// Runs a scenario from fresh connections. `Ok(Some)` is the first difference.
    pub fn run(&mut self, scenario: &Scenario) -> Result<Option<Difference>, TwinError> {
        self.sent.clear();
        self.one.reset(scenario.seed).map_err(failed)?;
        self.other.reset(scenario.seed).map_err(failed)?;
        let mut endpoints = [ALL_READY; SERVICE_COUNT as usize];
        self.apply(&endpoints)?;
        let mut now = START;
        self.set_time(now)?;
        let mut table = Vec::new();
        for (number, step) in scenario.steps.iter().enumerate() {
            let found = match step {
                Step::Packet(hook, device, spec) => {
                    let ends = match spec.to {
                        Target::Entry(n) => pick(&table, n).map(|key| ends_of(&key)),
                        _ => spec.ends(),
                    };
                    let Some(ends) = ends else { continue };
                    let mut spec = spec.clone();
                    if ends.source.0.is_ipv4() != (spec.family == 4) {
                        spec.family = if ends.source.0.is_ipv4() { 4 } else { 6 };
                    }
                    self.packet((*hook).into(), *device, spec.bytes(&ends), &mut table)?
                }
                Step::Wait(milliseconds) => {
                    now = now.saturating_add(milliseconds.saturating_mul(1_000_000));
                    self.set_time(now)?;
                    None
                }
                Step::Endpoints(service, bits) => {
                    if let Some(place) = endpoints.get_mut(usize::from(*service)) {
                        *place = *bits;
                    }
                    self.apply(&endpoints)?;
                    None
                }
                Step::Evict(n) => match pick(&table, *n) {
                    Some(key) => self.evict(&key, &mut table)?,
                    None => None,
                },
            };
            if let Some(what) = found {
                return Ok(Some(Difference { step: number + 1, what }));
            }
        }
        let (a, b) = (self.one.metrics(0).map_err(failed)?, self.other.metrics(0).map_err(failed)?);
        for (slot, (a, b)) in a.iter().zip(&b).enumerate() {
            let name = Metric(slot as u32).name().map_or_else(|| slot.to_string(), str::to_owned);
            if a != b {
                let what = format!("counter {name}: {a} and {b}");
                return Ok(Some(Difference { step: scenario.steps.len(), what }));
            }
            if *a > 0 {
                *self.coverage.0.entry(name).or_default() += a;
            }
        }
        Ok(None)
    }

    /// One packet through a hook of both; what differs.
    fn packet(
        &mut self,
        hook: Hook,
        device: IfIndex,
        bytes: Vec<u8>,
        table: &mut Vec<(Tuple, Flow)>,
    ) -> Result<Option<String>, TwinError> {
        let mut one = Frame::new(bytes);
        if !self.one.takes(&one) || !self.other.takes(&one) {
            return Ok(None);
        }
        let mut other = one.clone();
        self.sent.push(one.bytes.clone());
        let a = self.one.run(0, hook, device, &mut one).map_err(failed)?;
        let b = self.other.run(0, hook, device, &mut other).map_err(failed)?;
        self.packets += 1;
        if a != b {
            return Ok(Some(format!("decision at {}: {a:?} and {b:?}", hook.name())));
        }
        if one != other {
            return Ok(Some(format!(
                "bytes after {}: {}",
                hook.name(),
                first_difference(&one, &other)
            )));
        }
        self.see(hook, &a);
        self.compare_tables(table)
    }

    fn see(&mut self, hook: Hook, decision: &Decision) {
        let verdict = match decision.verdict() {
            Verdict::Pass => "PASS",
            Verdict::Deliver(_) => "DELIVER",
            Verdict::Forward(_) => "FORWARD",
            Verdict::Reject(_) => "REJECT",
            Verdict::Answer => "ANSWER",
            Verdict::Drop(reason) => reason.name(),
        };
        let service = if decision.service == 0 { "plain" } else { "service" };
        self.coverage.saw(format!(
            "{} {} {} {}",
            hook.name(),
            verdict,
            decision.status().name(),
            service
        ));
    }

    fn compare_tables(
        &mut self,
        table: &mut Vec<(Tuple, Flow)>,
    ) -> Result<Option<String>, TwinError> {
        let (a, b) =
            (self.one.conntrack(0).map_err(failed)?, self.other.conntrack(0).map_err(failed)?);
        if a != b {
            let differs = |x: &[(Tuple, Flow)], y: &[(Tuple, Flow)]| {
                x.iter()
                    .filter(|entry| !y.contains(entry))
                    .map(|e| format!("\n    {e:?}"))
                    .collect::<String>()
            };
            return Ok(Some(format!(
                "conntrack: only one has{}\n  only other has{}",
                differs(&a, &b),
                differs(&b, &a)
            )));
        }
        *table = a;
        Ok(None)
    }

    fn evict(
        &mut self,
        key: &Tuple,
        table: &mut Vec<(Tuple, Flow)>,
    ) -> Result<Option<String>, TwinError> {
        let a = self.one.evict(0, key).map_err(failed)?;
        let b = self.other.evict(0, key).map_err(failed)?;
        if a != b {
            return Ok(Some(format!("eviction of {key}: {a} and {b}")));
        }
        self.compare_tables(table)
    }

    fn set_time(&mut self, now: Nanos) -> Result<(), TwinError> {
        self.one.set_time(now).map_err(failed)?;
        self.other.set_time(now).map_err(failed)
    }

    fn apply(&mut self, endpoints: &[u8; SERVICE_COUNT as usize]) -> Result<(), TwinError> {
        let writes: Vec<Write> = self.plan.writes(&state(endpoints), NODE, &self.topology);
        for write in writes {
            self.one.write(0, &write).map_err(failed)?;
            self.other.write(0, &write).map_err(failed)?;
        }
        Ok(())
    }
}

fn pick(table: &[(Tuple, Flow)], n: u16) -> Option<Tuple> {
    let index = usize::from(n).checked_rem(table.len())?;
    table.get(index).map(|(key, _)| *key)
}

fn ends_of(key: &Tuple) -> Ends {
    Ends {
        source: (key.source.into(), key.source_port.get()),
        destination: (key.destination.into(), key.destination_port.get()),
    }
}

fn first_difference(one: &Frame, other: &Frame) -> String {
    let lengths = (one.bytes.len(), other.bytes.len());
    match one.bytes.iter().zip(&other.bytes).position(|(a, b)| a != b) {
        Some(at) => format!(
            "at offset {at}: {:02x?} and {:02x?}",
            around(&one.bytes, at),
            around(&other.bytes, at)
        ),
        None => format!("lengths {} and {}", lengths.0, lengths.1),
    }
}

fn around(bytes: &[u8], at: usize) -> &[u8] {
    bytes.get(at.saturating_sub(4)..bytes.len().min(at + 8)).unwrap_or_default()
}
