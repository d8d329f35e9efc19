//! What differs, as JSON lines: an object per packet that differs, one per cause, and the summary last.
//! `schema/diff.schema.json` says what is in them.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use super::cause::{Cause, Found};
use super::compare::Difference;
use super::minimize::Minimal;
use super::tally::Moved;
use super::{Comparison, states};
use crate::command::setup::Setup;
use crate::replay::outcome::{Totals, Verdict};

/// The version of the format: a field that is there keeps its name, type and meaning.
const VERSION: u8 = 1;

/// JSON lines.
pub struct Json<W> {
    output: W,
    worlds: [&'static str; 2],
}

#[derive(Serialize)]
struct DiffLine<'a> {
    v: u8,
    #[serde(rename = "type")]
    kind: &'static str,
    n: u64,
    cause: &'a str,
    follows: Option<u64>,
    service: Option<String>,
    field: &'a str,
    left: Value<'a>,
    right: Value<'a>,
    fields: Vec<FieldValue<'a>>,
}

#[derive(Serialize)]
struct Value<'a> {
    world: &'static str,
    value: &'a str,
}

#[derive(Serialize)]
struct FieldValue<'a> {
    field: &'a str,
    left: &'a str,
    right: &'a str,
}

#[derive(Serialize)]
struct CauseLine<'a> {
    v: u8,
    #[serde(rename = "type")]
    kind: &'static str,
    cause: &'a str,
    says: String,
    service: Option<String>,
    fields: &'a [&'static str],
    packets: u64,
    follows: u64,
    flows: u64,
    first: First<'a>,
    values: Vec<Count<'a>>,
    explain: [String; 2],
}

#[derive(Serialize)]
struct First<'a> {
    n: u64,
    packet: &'a str,
    left: &'a str,
    right: &'a str,
}

#[derive(Serialize)]
struct Count<'a> {
    left: &'a str,
    right: &'a str,
    count: u64,
}

#[derive(Serialize)]
struct SummaryLine<'a> {
    v: u8,
    #[serde(rename = "type")]
    kind: &'static str,
    complete: bool,
    packets: u64,
    flows: usize,
    different: u64,
    different_flows: usize,
    causes: usize,
    left: SideLine<'a>,
    right: SideLine<'a>,
    clusters_differ: Vec<String>,
    moved: Vec<MovedLine>,
    drops_only_left: BTreeMap<&'static str, u64>,
    drops_only_right: BTreeMap<&'static str, u64>,
    minimal: Option<MinimalLine<'a>>,
    inputs: Vec<String>,
    twinpath: &'static str,
}

#[derive(Serialize)]
struct SideLine<'a> {
    world: &'static str,
    cluster: &'a str,
    seed: u64,
    algorithm: &'a str,
    mode: &'a str,
    verdicts: BTreeMap<&'static str, u64>,
    drops: BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
struct MovedLine {
    service: String,
    flows: u64,
    moved: u64,
    least: u64,
}

#[derive(Serialize)]
struct MinimalLine<'a> {
    cause: &'a str,
    packets: usize,
    services: usize,
    endpoints: usize,
    files: &'a [String],
    command: &'a str,
    probes: u32,
}

/// What one side is.
pub struct SideOf<'a> {
    /// Its world and cluster.
    pub setup: &'a Setup,
    /// How backends are chosen.
    pub algorithm: String,
    /// How packets are forwarded.
    pub mode: String,
    /// What became of the packets.
    pub totals: &'a Totals,
    /// See [`super::table::Words`].
    pub explain: &'a str,
}

/// The end of a run.
pub struct End<'a> {
    /// What was found.
    pub comparison: &'a Comparison,
    /// Left and right.
    pub sides: [SideOf<'a>; 2],
    /// How many flows there were.
    pub flows: usize,
    /// Whether the whole input was read.
    pub complete: bool,
    /// See [`super::table::End`].
    pub minimal: Option<&'a Minimal>,
    /// The captures.
    pub inputs: Vec<String>,
}

impl<W: Write> Json<W> {
    /// Lines on `output`, of these worlds.
    pub fn new(output: W, worlds: [&'static str; 2]) -> Self {
        Self { output, worlds }
    }

    fn line(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.output, value)?;
        self.output.write_all(b"\n")
    }

    /// The line of a packet that differs.
    pub fn packet(
        &mut self,
        number: u64,
        found: Found,
        cause: &Cause,
        differences: &[Difference],
    ) -> io::Result<()> {
        let Some(first) = differences.first() else { return Ok(()) };
        let [left, right] = self.worlds;
        let fields = differences.iter().map(|one| FieldValue {
            field: one.field,
            left: &one.left,
            right: &one.right,
        });
        self.line(&DiffLine {
            v: VERSION,
            kind: "diff",
            n: number,
            cause: &cause.name,
            follows: found.follows,
            service: cause.service.as_ref().map(ToString::to_string),
            field: first.field,
            left: Value { world: left, value: &first.left },
            right: Value { world: right, value: &first.right },
            fields: fields.collect(),
        })
    }

    /// The lines of the causes, and the summary.
    pub fn end(&mut self, end: &End<'_>) -> io::Result<()> {
        let [left, right] = &end.sides;
        for cause in end.comparison.causes.all() {
            let explain = [left, right]
                .map(|side| format!("{} --packet {}", side.explain, cause.first.number));
            self.cause(cause, explain)?;
        }
        let causes = &end.comparison.causes;
        let tally = &end.comparison.tally;
        let drops = |drops: &BTreeMap<twinpath_core::drop_reason::DropReason, u64>| {
            drops.iter().map(|(reason, count)| (reason.name(), *count)).collect()
        };
        self.line(&SummaryLine {
            v: VERSION,
            kind: "summary",
            complete: end.complete,
            packets: end.comparison.packets,
            flows: end.flows,
            different: causes.packets,
            different_flows: causes.flows(),
            causes: causes.all().len(),
            left: side(left),
            right: side(right),
            clusters_differ: states::differences(
                &left.setup.cluster.state,
                &right.setup.cluster.state,
            ),
            moved: end.comparison.moved().iter().map(moved).collect(),
            drops_only_left: drops(&tally.lost),
            drops_only_right: drops(&tally.gained),
            minimal: end.minimal.map(minimal),
            inputs: end.inputs.clone(),
            twinpath: env!("CARGO_PKG_VERSION"),
        })?;
        self.output.flush()
    }

    fn cause(&mut self, cause: &Cause, explain: [String; 2]) -> io::Result<()> {
        let values =
            cause.pairs.iter().map(|((left, right), count)| Count { left, right, count: *count });
        let first = &cause.first;
        self.line(&CauseLine {
            v: VERSION,
            kind: "cause",
            cause: &cause.name,
            says: cause.title(),
            service: cause.service.as_ref().map(ToString::to_string),
            fields: &cause.fields,
            packets: cause.packets,
            follows: cause.follows,
            flows: cause.flows,
            first: First {
                n: first.number,
                packet: &first.words,
                left: &first.left,
                right: &first.right,
            },
            values: values.collect(),
            explain,
        })
    }
}

fn side<'a>(side: &'a SideOf<'_>) -> SideLine<'a> {
    let SideOf { setup, algorithm, mode, totals, .. } = side;
    SideLine {
        world: setup.world.name(),
        cluster: &setup.cluster.source,
        seed: setup.seed,
        algorithm,
        mode,
        verdicts: Verdict::ALL.iter().map(|v| (v.name(), totals.with(*v))).collect(),
        drops: totals.drops.iter().map(|(reason, n)| (reason.name(), *n)).collect(),
    }
}

fn moved(moved: &Moved<'_>) -> MovedLine {
    let Moved { service, flows, moved, least } = *moved;
    MovedLine { service: service.to_string(), flows, moved, least }
}

fn minimal(minimal: &Minimal) -> MinimalLine<'_> {
    MinimalLine {
        cause: &minimal.cause,
        packets: minimal.packets,
        services: minimal.services,
        endpoints: minimal.endpoints,
        files: &minimal.files,
        command: &minimal.command,
        probes: minimal.probes,
    }
}
