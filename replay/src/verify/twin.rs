//! Two engines side by side.

use std::collections::BTreeMap;
use std::fmt;

use twinpath_control::diff::diff;
use twinpath_control::tables::{Desired, Planner};
use twinpath_core::bytes::Pod;
use twinpath_core::conntrack::Flow;
use twinpath_core::drop_reason::DropReason;
use twinpath_core::fault::{Fault, Kind, Which};
use twinpath_core::hook::Hook;
use twinpath_core::limit::Bucket;
use twinpath_core::seam::{Metric, Nanos};
use twinpath_core::tuple::Tuple;
use twinpath_core::verdict::{Decision, Verdict};
use twinpath_sim::engine::Engine;
use twinpath_sim::frame::Frame;
use twinpath_sim::topology::Topology;

use super::cluster::{AllKnobs, NODE, Wires, first_knobs, state};
use super::packet::{Met, pick};
use super::scenario::{Scenario, Step};
use super::setup::Setup;

/// How often each interesting thing happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage(BTreeMap<String, u64>);

impl Coverage {
    fn saw(&mut self, what: impl Into<String>) {
        *self.0.entry(what.into()).or_default() += 1;
    }

    pub(super) fn count_if(&mut self, happened: bool, what: &str) {
        if !happened {
            return;
        }
        match self.0.get_mut(what) {
            Some(count) => *count += 1,
            None => self.saw(what),
        }
    }

    /// Adds what happened elsewhere.
    pub(super) fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what.clone()).or_default() += count;
        }
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

pub(super) fn failed(error: impl fmt::Display) -> TwinError {
    TwinError(error.to_string())
}

/// Two engines with one node each.
pub struct Twin<A, B> {
    one: A,
    other: B,
    topology: Topology,
    planner: Planner,
    /// What is in the tables of both.
    current: Desired,
    /// Packets compared so far.
    pub packets: u64,
    /// What happened so far.
    pub coverage: Coverage,
    /// Whether both have [small](super::small) tables: then they run scenarios for such, and no others.
    pub small: bool,
    /// The faults of this run that are still to come, by slot; empty where there was none.
    faults: Vec<Fault>,
    /// The packets of the last run, as they went in.
    pub sent: Vec<Vec<u8>>,
}

/// When scenarios begin. Not zero, so that time differences can go wrong.
pub(super) const START: Nanos = 1_000_000_000_000;

impl<A: Engine, B: Engine> Twin<A, B> {
    /// Two engines with empty tables. Packets that one of them cannot be given are left out.
    pub fn new(one: A, other: B) -> Self {
        let state = state(&first_knobs());
        let topology = Topology::new(&state);
        let mut planner = Planner::default();
        // So that all numbers are the same whatever scenarios were run before.
        planner.names(&state);
        Self {
            one,
            other,
            topology,
            planner,
            current: Desired::default(),
            packets: 0,
            coverage: Coverage::default(),
            small: false,
            faults: Vec::new(),
            sent: Vec::new(),
        }
    }

    /// Runs a scenario from empty connections; the first difference, if there is one.
    pub fn run(&mut self, scenario: &Scenario) -> Result<Option<Difference>, TwinError> {
        if scenario.setup.small != self.small {
            return Err(TwinError("the scenario is for tables of another size".into()));
        }
        self.sent.clear();
        self.faults.clear();
        self.one.reset(scenario.seed).map_err(failed)?;
        self.other.reset(scenario.seed).map_err(failed)?;
        let setup = &scenario.setup;
        let mut knobs = first_knobs();
        self.apply(&knobs, setup)?;
        let mut now = START;
        self.set_time(now)?;
        let mut table = Vec::new();
        for (number, step) in scenario.steps.iter().enumerate() {
            let found = match step {
                Step::Packet(hook, device, spec) => {
                    match spec.meet((*hook).into(), *device, &table) {
                        Some(met) => self.packet(met, &mut table)?,
                        None => None,
                    }
                }
                Step::Wait(milliseconds) => {
                    now = now.saturating_add(milliseconds.saturating_mul(1_000_000));
                    self.set_time(now)?;
                    None
                }
                Step::Endpoints(service, bits) => {
                    if let Some(place) = knobs.get_mut(usize::from(*service)) {
                        place.endpoints = *bits;
                    }
                    self.apply(&knobs, setup)?;
                    None
                }
                Step::Policy(service, bits) => {
                    if let Some(place) = knobs.get_mut(usize::from(*service)) {
                        place.policy = *bits;
                    }
                    self.apply(&knobs, setup)?;
                    None
                }
                Step::Fault(table, kind, after) => {
                    self.fault((*table).into(), (*kind).into(), (*after).into())?;
                    None
                }
                Step::Evict(n) => match pick(&table, *n) {
                    Some(&(key, _)) => self.evict(&key, &mut table)?,
                    None => None,
                },
            };
            if let Some(what) = found {
                return Ok(Some(Difference { step: number + 1, what }));
            }
        }
        let found = self.compare_counters()?;
        Ok(found.map(|what| Difference { step: scenario.steps.len(), what }))
    }

    /// What is in the tables now, for people: those of the control plane, then what either engine has
    /// written.
    pub fn tables(&mut self) -> Result<String, TwinError> {
        let mut text = String::from("written by the control plane:\n");
        for write in diff(&Desired::default(), &self.current) {
            text += &format!("  {write:?}\n");
        }
        text += &format!("\none:\n{}", written(&mut self.one)?);
        text += &format!("\nother:\n{}", written(&mut self.other)?);
        Ok(text)
    }

    fn compare_counters(&mut self) -> Result<Option<String>, TwinError> {
        let (a, b) = (self.one.metrics(0).map_err(failed)?, self.other.metrics(0).map_err(failed)?);
        for (slot, (a, b)) in a.iter().zip(&b).enumerate() {
            if *a == 0 && *b == 0 {
                continue;
            }
            let name = Metric(slot as u32).name().map_or_else(|| slot.to_string(), str::to_owned);
            if a != b {
                return Ok(Some(format!("counter {name}: {a} and {b}")));
            }
            *self.coverage.0.entry(name).or_default() += a;
        }
        Ok(None)
    }

    /// One packet through a hook of both; what differs.
    fn packet(
        &mut self,
        met: Met,
        table: &mut Vec<(Tuple, Flow)>,
    ) -> Result<Option<String>, TwinError> {
        let Met { hook, device, marked, bytes } = met;
        let mut one = Frame::new(bytes);
        if !self.one.takes(&one) || !self.other.takes(&one) {
            return Ok(None);
        }
        let mut other = one.clone();
        self.sent.push(one.bytes.clone());
        let before = self.one.evicted(0).map_err(failed)?;
        let (a, b) = if marked {
            (
                self.one.run_marked(0, hook, device, &mut one).map_err(|e| e.to_string()),
                self.other.run_marked(0, hook, device, &mut other).map_err(|e| e.to_string()),
            )
        } else {
            (
                self.one.run(0, hook, device, &mut one).map_err(|e| e.to_string()),
                self.other.run(0, hook, device, &mut other).map_err(|e| e.to_string()),
            )
        };
        self.packets += 1;
        let decision = match (a, b) {
            (Ok(a), Ok(b)) if a == b => a,
            (a, b) => {
                return Ok(Some(format!("decision at {}: {a:?} and {b:?}", hook.name())));
            }
        };
        if one != other {
            return Ok(Some(format!(
                "bytes after {}: {}",
                hook.name(),
                first_difference(&one, &other)
            )));
        }
        let evicts = before != self.one.evicted(0).map_err(failed)?;
        self.see(hook, &decision, evicts);
        if let Some(found) = self.compare_faults(hook, &decision)? {
            return Ok(Some(found));
        }
        self.compare_tables(table)
    }

    fn fault(&mut self, which: Which, kind: Kind, after: u32) -> Result<(), TwinError> {
        self.one.fault(0, which, kind, after).map_err(failed)?;
        self.other.fault(0, which, kind, after).map_err(failed)?;
        self.faults = self.one.faults(0).map_err(failed)?;
        Ok(())
    }

    /// Compares which faults have struck, and how many operations those have counted that have not.
    fn compare_faults(
        &mut self,
        hook: Hook,
        decision: &Decision,
    ) -> Result<Option<String>, TwinError> {
        if self.faults.is_empty() {
            return Ok(None);
        }
        let (a, b) = (self.one.faults(0).map_err(failed)?, self.other.faults(0).map_err(failed)?);
        if a != b {
            return Ok(Some(format!("faults: {a:?} and {b:?}")));
        }
        let struck: Vec<String> = self
            .faults
            .iter()
            .zip(&a)
            .enumerate()
            .filter(|(_, (before, now))| before.is_set() && !now.is_set())
            .map(|(slot, (before, _))| fault_name(slot, *before))
            .collect();
        self.coverage.count_if(!struck.is_empty(), "packets with faults");
        for name in struck {
            let verdict = verdict_name(decision);
            self.coverage.saw(format!("fault: {name}: {} {verdict}", hook.name()));
        }
        self.faults = a;
        Ok(None)
    }

    fn see(&mut self, hook: Hook, decision: &Decision, evicts: bool) {
        let verdict = verdict_name(decision);
        let reason = decision.reason().map_or("", DropReason::name);
        let service = if decision.service == 0 { "plain" } else { "service" };
        let space = if reason.is_empty() { "" } else { " " };
        let what = format!(
            "{} {verdict}{space}{reason} {} {service}",
            hook.name(),
            decision.status().name(),
        );
        self.coverage.count_if(evicts, "packets that evict");
        if evicts {
            self.coverage.saw(format!("evicts: {what}"));
        }
        self.coverage.saw(what);
    }

    /// Compares all that the datapath has written, and leaves the conntrack table in `table`.
    fn compare_tables(
        &mut self,
        table: &mut Vec<(Tuple, Flow)>,
    ) -> Result<Option<String>, TwinError> {
        let (one, other) = (&mut self.one, &mut self.other);
        let (a, b) = (one.conntrack(0).map_err(failed)?, other.conntrack(0).map_err(failed)?);
        if a != b {
            return Ok(Some(differing("conntrack", &a, &b)));
        }
        *table = a;
        let (a, b) = (one.affinities(0).map_err(failed)?, other.affinities(0).map_err(failed)?);
        if a != b {
            return Ok(Some(differing("affinities", &a, &b)));
        }
        self.coverage.count_if(!a.is_empty(), "affinities");
        let (a, b) = (one.fragments(0).map_err(failed)?, other.fragments(0).map_err(failed)?);
        if a != b {
            return Ok(Some(differing("fragments", &a, &b)));
        }
        self.coverage.count_if(!a.is_empty(), "fragments");
        let (a, b) = (one.limits(0).map_err(failed)?, other.limits(0).map_err(failed)?);
        if a != b {
            return Ok(Some(differing("rate limits", &a, &b)));
        }
        self.coverage.count_if(a.iter().any(|b| *b != Bucket::zeroed()), "rate limits");
        let (a, b) = (one.drawn(0).map_err(failed)?, other.drawn(0).map_err(failed)?);
        self.coverage.count_if(a > 0, "dice");
        Ok((a != b).then(|| format!("numbers drawn: {a} and {b}")))
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

    /// Brings the tables of both to these services.
    fn apply(&mut self, knobs: &AllKnobs, setup: &Setup) -> Result<(), TwinError> {
        let wires = Wires { topology: &self.topology, setup };
        let mut desired = self.planner.plan(&state(knobs), NODE, &wires, &setup.options());
        let writes = diff(&self.current, &desired);
        for write in &writes {
            self.one.write(0, write).map_err(failed)?;
            self.other.write(0, write).map_err(failed)?;
        }
        let epoch = self.current.config.epoch;
        desired.config.epoch = epoch.wrapping_add(u32::from(!writes.is_empty()));
        self.current = desired;
        Ok(())
    }
}

fn verdict_name(decision: &Decision) -> &'static str {
    match decision.verdict() {
        Verdict::Pass => "PASS",
        Verdict::Deliver(_) => "DELIVER",
        Verdict::Forward(_) => "FORWARD",
        Verdict::Reject(_) => "REJECT",
        Verdict::Answer => "ANSWER",
        Verdict::Drop(_) => "DROP",
    }
}

/// `conntrack full`: what struck, from its slot.
fn fault_name(slot: usize, fault: Fault) -> String {
    let table = ["conntrack", "affinities", "fragments"].get(slot / 3).copied().unwrap_or("?");
    let kind = match fault.kind() {
        Some(Kind::Full) => "full",
        Some(Kind::Exists) => "exists",
        Some(Kind::Evicted) => "evicted",
        Some(Kind::Stays) => "stays",
        None => "none",
    };
    format!("{table} {kind}")
}

/// What an engine has written, an entry a line.
pub(super) fn written(engine: &mut impl Engine) -> Result<String, TwinError> {
    let mut text = String::new();
    for (key, flow) in engine.conntrack(0).map_err(failed)? {
        text += &format!("  conntrack {key}: {flow:?}\n");
    }
    for entry in engine.affinities(0).map_err(failed)? {
        text += &format!("  affinity {entry:?}\n");
    }
    for entry in engine.fragments(0).map_err(failed)? {
        text += &format!("  fragment {entry:?}\n");
    }
    Ok(text)
}

/// What only one of two tables has.
fn differing<T: PartialEq + fmt::Debug>(name: &str, a: &[T], b: &[T]) -> String {
    let only = |x: &[T], y: &[T]| {
        x.iter()
            .filter(|entry| !y.contains(entry))
            .map(|e| format!("\n    {e:?}"))
            .collect::<String>()
    };
    format!("{name}: only one has{}\n  only other has{}", only(a, b), only(b, a))
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
