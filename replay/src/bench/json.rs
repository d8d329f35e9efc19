//! JSON lines for programs: an object per figure, per change since a baseline and per gap, the summary last.
//! `schema/bench.schema.json` says what is in them.

use serde::Serialize;

use super::baseline::Comparison;
use super::result::{Figure, Guest, Machine, Missing, Results};
use super::stats::{Interval, Ratio};
use super::view::{self, Table};

/// The version of the format: a field that is there keeps its name, type and meaning.
const VERSION: u8 = 1;

#[derive(Serialize)]
struct Line<T> {
    v: u8,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten)]
    content: T,
}

#[derive(Serialize)]
struct FigureLine<'a> {
    #[serde(flatten)]
    figure: &'a Figure,
    median: f64,
    min: f64,
    max: f64,
    ratio: Option<RatioPart>,
}

#[derive(Serialize)]
struct RatioPart {
    value: f64,
    low: f64,
    high: f64,
    by: &'static str,
    rounds: usize,
}

#[derive(Serialize)]
struct ChangeLine<'a> {
    baseline: &'a str,
    #[serde(flatten)]
    setting: Setting<'a>,
    percent: f64,
    low: f64,
    high: f64,
    by: &'static str,
    verdict: &'static str,
}

#[derive(Serialize)]
struct Setting<'a> {
    measure: &'static str,
    path: &'a str,
    hook: &'a str,
    subject: &'static str,
    services: u32,
    flows: u32,
}

#[derive(Serialize)]
struct Summary<'a> {
    complete: bool,
    figures: usize,
    missing: usize,
    result: String,
    machine: &'a Machine,
    #[serde(skip_serializing_if = "Option::is_none")]
    guest: Option<GuestPart<'a>>,
    command: &'a str,
    began: u64,
    took: f64,
    regression: Option<bool>,
    twinpath: &'static str,
}

#[derive(Serialize)]
struct GuestPart<'a> {
    kernel: &'a str,
    programs: &'a str,
}

impl From<Ratio> for RatioPart {
    fn from(ratio: Ratio) -> Self {
        let Ratio { value, interval: Interval { low, high, by }, rounds } = ratio;
        Self { value, low, high, by: by.name(), rounds }
    }
}

/// All lines.
pub fn lines(results: &Results, comparison: Option<&Comparison<'_>>) -> String {
    let tables = view::tables(&results.figures);
    let mut text = figures(&results.figures, &tables);
    if let Some(guest) = &results.guest {
        text += &figures(&guest.figures, &view::tables(&guest.figures));
    }
    for one in comparison.iter().flat_map(|comparison| &comparison.figures) {
        let now = one.now;
        let Interval { low, high, by } = one.change.interval;
        let setting = Setting {
            measure: now.measure.name(),
            path: &now.path,
            hook: &now.hook,
            subject: now.subject.name(),
            services: now.services,
            flows: now.flows,
        };
        let baseline = comparison.map_or("", |comparison| comparison.name);
        let (percent, verdict) = (one.change.percent, one.change.verdict.words());
        let change = ChangeLine { baseline, setting, percent, low, high, by: by.name(), verdict };
        text += &line("change", change);
    }
    for Missing { what, why } in &results.missing {
        text += &line("missing", Missing { what: what.clone(), why: why.clone() });
    }
    let summary = Summary {
        complete: results.complete,
        figures: results.figures.len()
            + results.guest.as_ref().map_or(0, |guest| guest.figures.len()),
        missing: results.missing.len(),
        result: view::headline(results, &tables),
        machine: &results.machine,
        guest: results
            .guest
            .as_ref()
            .map(|Guest { kernel, programs, .. }| GuestPart { kernel, programs }),
        command: &results.command,
        began: results.began,
        took: results.took,
        regression: comparison.map(Comparison::is_regression),
        twinpath: env!("CARGO_PKG_VERSION"),
    };
    text + &line("summary", summary)
}

/// A line each.
fn figures(figures: &[Figure], tables: &[Table<'_>]) -> String {
    let mut text = String::new();
    for figure in figures {
        let Some(spread) = super::stats::spread(&figure.samples) else { continue };
        // A figure that is beside several of ours has the ratio to the first.
        let cells =
            tables.iter().flat_map(|table| &table.rows).flat_map(|row| &row.cells).flatten();
        let cell = cells.into_iter().find(|cell| std::ptr::eq(cell.figure, figure));
        let ratio = cell.and_then(|cell| cell.ratio).map(RatioPart::from);
        let (median, min, max) = (spread.median, spread.min, spread.max);
        text += &line("figure", FigureLine { figure, median, min, max, ratio });
    }
    text
}

fn line(kind: &'static str, content: impl Serialize) -> String {
    // Neither maps with other keys than text nor anything else that JSON lacks is in them.
    let text = serde_json::to_string(&Line { v: VERSION, kind, content });
    text.unwrap_or_default() + "\n"
}

#[cfg(test)]
#[path = "json/tests.rs"]
mod tests;
