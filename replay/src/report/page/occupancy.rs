//! How full the tables were that the datapath itself writes to.

use super::gather::MAX_NODES;
use super::line::TABLES;
use super::timeline::height;
use super::{Page, paragraph, words};
use crate::bench::quantity::digits;
use crate::report::html::chart::{Axis, Lines, Point, Scale, Series};
use crate::report::html::escape;

/// Most lines of a chart.
const LINES: usize = 5;
/// Below this part of the room, the limit is too far up to be drawn.
const NEAR: f64 = 0.2;

const NAMES: [&str; TABLES] =
    ["IPv4 conntrack", "IPv6 conntrack", "client affinities", "datagrams in fragments"];

pub(super) fn content(page: &Page<'_>) -> String {
    let tables = &page.gather.tables;
    if !tables.known {
        return paragraph(&format!(
            "The world {} does not tell how full its tables are.",
            page.context.world
        ));
    }
    let mut figures = String::new();
    let mut empty = Vec::new();
    for (table, name) in NAMES.iter().enumerate() {
        match figure(page, table, name) {
            Some(figure) => figures += &figure,
            None => empty.push((*name).to_owned()),
        }
    }
    let mut text = String::new();
    if !figures.is_empty() {
        text += &format!("<div class=\"charts\">\n{figures}</div>\n");
    }
    if !empty.is_empty() {
        text += &paragraph(&format!("Empty on all nodes, all the time: {}.", empty.join(", ")));
    }
    text += &paragraph(&match tables.evicted {
        0 => "No entry had to make room for another.".to_owned(),
        n => format!(
            "{} had to make room for others: what they were about is forgotten, live connections \
             included.",
            if n == 1 { "One entry".into() } else { format!("{} entries", words::grouped(n)) }
        ),
    });
    let unwatched = tables.most.len().saturating_sub(tables.watched.len());
    if unwatched > 0 {
        text += &paragraph(&format!(
            "The first {MAX_NODES} nodes with entries are watched all the time, {} more at samples alone.",
            words::grouped(unwatched as u64)
        ));
    }
    text + "<p class=\"soft\">Sampled when a column of time begins, and at the end. A connection has two \
            entries on each node that it meets; those that have run out stay until they are met \
            again or make room, as in the kernel.</p>\n"
}

/// The chart of a table; `None` where it was empty.
fn figure(page: &Page<'_>, table: usize, name: &str) -> Option<String> {
    let tables = &page.gather.tables;
    let of = |fill: &[usize; TABLES]| fill.get(table).copied().unwrap_or_default();
    let mut nodes: Vec<(usize, usize)> = tables
        .most
        .iter()
        .map(|(node, most)| (of(most), *node))
        .filter(|(most, _)| *most > 0)
        .collect();
    nodes.sort_by_key(|(most, node)| (std::cmp::Reverse(*most), *node));
    let (most, fullest) = *nodes.first()?;
    let limit = of(&tables.limits);
    let line = page.gather.line.to_show(super::timeline::COLUMNS);
    let spans = line.dense();
    let (size, unit) = super::timeline::unit(line.width().saturating_mul(line.reach()));
    let time = |n: usize| line.width() as f64 * n as f64 / size;
    let shown: Vec<(&str, usize)> = nodes
        .iter()
        .filter(|(_, node)| tables.watched.contains(node))
        .take(LINES)
        .map(|(_, node)| (page.gather.nodes.get(*node).map_or("-", String::as_str), *node))
        .collect();
    let names: Vec<String> = shown.iter().map(|(name, _)| cut(name)).collect();
    let series = shown.iter().zip(&names).enumerate().map(|(class, ((_, node), name))| {
        let mut last = 0;
        let mut points: Vec<Point> = Vec::new();
        for (n, span) in spans.iter().enumerate() {
            // A span without packets has no sample: nothing has changed.
            last = span.fill.get(node).map_or(last, of);
            let y = last as f64;
            points.push(Point { x: time(n), y, range: None });
            points.push(Point { x: time(n + 1), y, range: None });
        }
        Series { name, class, points }
    });
    let part = most as f64 / limit.max(1) as f64;
    let room = format!(
        "{} of {} entries at most ({})",
        words::grouped(most as u64),
        words::grouped(limit as u64),
        percent(part)
    );
    let lines = Lines {
        id: format!("table{}", table + 1),
        title: format!("{name}, entries per node"),
        description: format!(
            "{room}, on {}.",
            page.gather.nodes.get(fullest).map_or("-", String::as_str)
        ),
        x: Axis { scale: Scale::Linear, label: unit, shown: &plain },
        y: Axis { scale: Scale::Linear, label: "", shown: &height },
        series: series.collect(),
        marked: false,
        limit: (part >= NEAR)
            .then(|| (limit as f64, format!("limit {}", words::grouped(limit as u64)))),
    };
    let far = if part < NEAR { "; the limit is far above this chart" } else { "" };
    let hidden = nodes.len().saturating_sub(shown.len());
    let hidden = match hidden {
        0 => String::new(),
        n => format!("; {} with fewer are not drawn", words::count(n as u64, "node")),
    };
    Some(format!(
        "<figure>\n<figcaption><b>{}</b>{}{far}{hidden}</figcaption>\n{}</figure>\n",
        escape(&lines.title),
        escape(&room),
        lines.svg()
    ))
}

/// Of a part of a whole.
fn percent(part: f64) -> String {
    if part < 0.000_1 { "less than 0.01 %".into() } else { format!("{} %", digits(part * 100.0)) }
}

/// As an axis has it.
fn plain(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A name that has room at the end of a line.
fn cut(name: &str) -> String {
    const LETTERS: usize = 15;
    if name.chars().count() <= LETTERS {
        return name.to_owned();
    }
    // Names of nodes differ at their ends as often as at their beginnings.
    let end: Vec<char> = name.chars().rev().take(LETTERS / 2).collect();
    name.chars().take(LETTERS / 2).chain(['\u{2026}']).chain(end.into_iter().rev()).collect()
}
