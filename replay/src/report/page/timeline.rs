//! Packets over time, and when the cluster changed.

use super::line::Line;
use super::{Page, words};
use crate::bench::quantity::digits;
use crate::replay::outcome::Verdict;
use crate::report::html::chart::{Columns, Layer, Moment};
use crate::report::html::{escape, list};

/// Most columns.
pub(super) const COLUMNS: u64 = 120;

/// What a verdict looks like, from the lowest layer up.
const LOOKS: [(Verdict, usize); 4] = [
    (Verdict::Forwarded, 1),
    (Verdict::Translated, 5),
    (Verdict::Unmatched, 6),
    (Verdict::Dropped, 3),
];

/// A unit in which a length of time has few digits, in nanoseconds, and its name.
pub(super) fn unit(nanos: u64) -> (f64, &'static str) {
    match nanos {
        0..2_000_000 => (1e3, "microseconds"),
        2_000_000..2_000_000_000 => (1e6, "milliseconds"),
        2_000_000_000..300_000_000_000 => (1e9, "seconds"),
        300_000_000_000..10_800_000_000_000 => (6e10, "minutes"),
        _ => (3.6e12, "hours"),
    }
}

/// A length of time: `1.05 s`.
fn time(nanos: u64) -> String {
    crate::bench::quantity::shown(crate::bench::result::Unit::Nanoseconds, nanos as f64)
        .replace("us", "\u{b5}s")
}

pub(super) fn content(page: &Page<'_>) -> String {
    let gather = page.gather;
    let line = gather.line.to_show(COLUMNS);
    let spans = line.dense();
    if spans.is_empty() {
        return super::paragraph("No packet was replayed.");
    }
    let width = line.width();
    // A rate says nothing of spans that few packets are in.
    let is_rate = width >= 10_000_000 && page.run.totals.packets >= 100;
    let per = if is_rate { 1e9 / width as f64 } else { 1.0 };
    let layers = LOOKS.map(|(verdict, class)| Layer {
        class,
        heights: spans
            .iter()
            .map(|span| {
                span.verdicts.get(verdict as usize).copied().unwrap_or_default() as f64 * per
            })
            .collect(),
    });
    let keys: String = LOOKS
        .iter()
        .rev()
        .filter(|(verdict, _)| page.run.totals.with(*verdict) > 0)
        .map(|(verdict, class)| {
            let count = words::grouped(page.run.totals.with(*verdict));
            format!("<li class=\"s{class}\">{} {count}</li>\n", verdict.name())
        })
        .collect();
    let length = width.saturating_mul(line.reach());
    let (size, name) = unit(length);
    let before = gather.first.unwrap_or_default().saturating_sub(line.start());
    let what = if is_rate { "packets per second" } else { "packets" };
    let chart = Columns {
        id: "time-line".into(),
        title: format!("{what} over time, by verdict"),
        description: spoken(page, &line),
        label: format!("{name} since the first packet"),
        span: length as f64 / size,
        before: before as f64 / size,
        shown: &height,
        layers: layers.into(),
        marks: spans.iter().map(|span| span.dropped() > 0).collect(),
        mark: "drops",
        moments: moments(page, &line),
    };
    let caption = format!("a column is {}", time(width));
    format!(
        "<ul class=\"keys\">\n{keys}</ul>\n<figure class=\"wide\">\n<figcaption><b>{}</b>{}</figcaption>\n{}</figure>\n",
        escape(&chart.title),
        escape(&caption),
        chart.svg()
    ) + &changes(page)
}

/// A number of packets as an axis has it.
pub(super) fn height(value: f64) -> String {
    let text = digits(value);
    if text.contains('.') {
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    text
}

fn spoken(page: &Page<'_>, line: &Line) -> String {
    let spans = line.dense();
    let dropping = spans.iter().filter(|span| span.dropped() > 0).count();
    let most = spans.iter().map(super::line::Span::packets).max().unwrap_or_default();
    format!(
        "{} in {} of {} each; at most {} in one. Packets were dropped in {} of them.",
        words::count(page.run.totals.packets, "packet"),
        words::count(spans.len() as u64, "column"),
        time(line.width()),
        words::grouped(most),
        words::grouped(dropping as u64)
    )
}

/// Where the cluster changed, in columns.
fn moments(page: &Page<'_>, line: &Line) -> Vec<Moment> {
    let came = page.gather.moments.iter().take(page.gather.epoch);
    let at = |time: u64| time.saturating_sub(line.start()) as f64 / line.width() as f64;
    came.enumerate()
        .map(|(n, moment)| Moment { at: at(moment.time), name: (n + 1).to_string() })
        .collect()
}

fn changes(page: &Page<'_>) -> String {
    let gather = page.gather;
    list(gather.moments.iter().enumerate().map(|(n, moment)| {
        if n < gather.epoch {
            format!("{}: the cluster changes (--then {})", n + 1, moment.words)
        } else {
            format!("--then {} lies behind the last packet and did not take place", moment.words)
        }
    }))
}
