//! The charts of the page.

use super::super::result::Unit;
use super::super::view::{Cell, Row, Table, count};
use super::nice;
use crate::bench::quantity::{digits, grouped};
use crate::bench::subject::Subject;
use crate::report::html::chart::{Axis, Bar, Lines, Point, Scale, Series, bars, legend};
use crate::report::html::escape;

/// Beyond this factor between the least and the greatest, a logarithm shows more than a proportion.
const FAR: f64 = 12.0;

/// Charts, each with an identifier of its own.
#[derive(Default)]
pub(super) struct Charts {
    made: usize,
}

/// The rows of a table that differ in the number of services alone, but for those with one yardstick and
/// nothing beside it: they are in tables.
struct Group<'a> {
    setting: String,
    rows: Vec<&'a Row<'a>>,
}

fn groups<'a>(table: &'a Table<'a>) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    let is_alone = |row: &Row<'_>| {
        let mut all = cells(row).map(|cell| cell.figure.subject);
        matches!((all.next(), all.next()), (Some(Subject::Bare | Subject::Forward), None))
    };
    for row in table.rows.iter().filter(|row| !is_alone(row)) {
        let mut parts = vec![row.path.to_owned(), row.hook.to_owned()];
        if row.flows > 0 {
            parts.push(count(row.flows, "flow"));
        }
        parts.retain(|part| !part.is_empty());
        let setting = parts.join(", ");
        match groups.iter_mut().find(|group| group.setting == setting) {
            Some(group) => group.rows.push(row),
            None => groups.push(Group { setting, rows: vec![row] }),
        }
    }
    groups
}

/// A number without what does not count: `1 us`, `0.5 s`, `20 ns`.
fn tick(unit: Unit, value: f64) -> String {
    let text = nice(unit, value);
    let Some((number, name)) = text.split_once(' ') else { return text };
    let number = if number.contains('.') {
        number.trim_end_matches('0').trim_end_matches('.')
    } else {
        number
    };
    format!("{number} {name}")
}

/// Services as an axis has them: `1`, `100`, `10k`.
fn services(value: f64) -> String {
    if value >= 10_000.0 { format!("{}k", grouped(value / 1_000.0)) } else { grouped(value) }
}

impl Charts {
    fn id(&mut self) -> String {
        self.made += 1;
        format!("chart{}", self.made)
    }

    /// How many of a measure's events took how long, a chart per way of packets, at the most services.
    pub(super) fn latency(&mut self, tables: &[&Table<'_>]) -> String {
        let mut figures = String::new();
        for table in tables {
            for group in groups(table) {
                let known =
                    |row: &&&Row<'_>| cells(row).any(|cell| cell.figure.quantiles.len() > 1);
                let Some(row) = group.rows.iter().filter(known).max_by_key(|row| row.services)
                else {
                    continue;
                };
                let series: Vec<Series<'_>> = cells(row)
                    .filter(|cell| cell.figure.quantiles.len() > 1)
                    .map(|cell| Series {
                        name: cell.figure.subject.name(),
                        class: class(cell.figure.subject),
                        points: cell
                            .figure
                            .quantiles
                            .iter()
                            .map(|(part, value)| Point { x: *value, y: *part, range: None })
                            .collect(),
                    })
                    .collect();
                let key = legend(series.iter().map(|series| (series.name, series.class)));
                let lines = Lines {
                    id: self.id(),
                    title: format!("{}: {}", table.measure.title(), row.setting()),
                    description: spoken(table, row),
                    x: Axis {
                        scale: Scale::Log,
                        label: "latency",
                        shown: &|value| tick(table.unit, value),
                    },
                    y: Axis {
                        scale: Scale::Nines,
                        label: "",
                        shown: &|part| format!("{} %", part * 100.0),
                    },
                    series,
                    marked: true,
                    limit: None,
                };
                let caption = "how many of them took no longer; each nine is as far from the next";
                figures += &figure(
                    table.measure.title(),
                    &format!("{}; {caption}", row.setting()),
                    &(key + &lines.svg()),
                );
            }
        }
        grid(&figures)
    }

    /// A figure's value by the number of services, with whiskers from the least to the greatest round.
    pub(super) fn against_services(&mut self, tables: &[&Table<'_>]) -> String {
        let mut figures = String::new();
        for table in tables {
            for group in groups(table) {
                let shown = |value| tick(table.unit, value);
                figures += &self.lines(table, &group, table.measure.title(), &shown, |cell| {
                    let spread = cell.spread;
                    (spread.median, spread.min, spread.max)
                });
            }
        }
        grid(&figures)
    }

    /// What a packet costs as packets a second, of one processor.
    pub(super) fn rates(&mut self, tables: &[&Table<'_>]) -> String {
        let mut figures = String::new();
        for table in tables.iter().filter(|table| table.unit == Unit::Nanoseconds) {
            for group in groups(table) {
                let shown = |value: f64| {
                    let text = digits(value);
                    let text = if text.contains('.') { text.trim_end_matches('0') } else { &text };
                    format!("{} M/s", text.trim_end_matches('.'))
                };
                let title = "packets a second of established connections, on one processor";
                figures += &self.lines(table, &group, title, &shown, |cell| {
                    let rate = |nanoseconds: f64| 1e3 / nanoseconds.max(f64::MIN_POSITIVE);
                    let spread = cell.spread;
                    (rate(spread.median), rate(spread.max), rate(spread.min))
                });
            }
        }
        grid(&figures)
    }

    fn lines(
        &mut self,
        table: &Table<'_>,
        group: &Group<'_>,
        title: &str,
        shown: &dyn Fn(f64) -> String,
        of: impl Fn(&Cell<'_>) -> (f64, f64, f64),
    ) -> String {
        // One number of services is no line: it is among the bars.
        if group.rows.len() < 2 {
            return String::new();
        }
        let mut series: Vec<Series<'_>> = Vec::new();
        for subject in &table.subjects {
            let points: Vec<Point> = group
                .rows
                .iter()
                .filter_map(|row| {
                    let cell = cells(row).find(|cell| cell.figure.subject == *subject)?;
                    let (y, low, high) = of(cell);
                    Some(Point { x: f64::from(row.services.max(1)), y, range: Some((low, high)) })
                })
                .collect();
            if !points.is_empty() {
                series.push(Series { name: subject.name(), class: class(*subject), points });
            }
        }
        let values = || series.iter().flat_map(|series| series.points.iter().map(|point| point.y));
        let (least, most) =
            values().fold((f64::INFINITY, 0.0_f64), |(l, m), v| (l.min(v), m.max(v)));
        let scale = if most > least * FAR { Scale::Log } else { Scale::Linear };
        let setting = &group.setting;
        let lines = Lines {
            id: self.id(),
            title: format!("{title} against the number of services: {setting}"),
            description: group.rows.last().map_or_else(String::new, |row| spoken(table, row)),
            x: Axis { scale: Scale::Log, label: "services", shown: &services },
            y: Axis { scale, label: "", shown },
            series,
            marked: true,
            limit: None,
        };
        let axis = if scale == Scale::Log { "logarithmic; " } else { "" };
        let caption = format!(
            "{setting}{}{axis}whiskers: least and greatest round",
            if setting.is_empty() { "" } else { "; " }
        );
        figure(title, &caption, &lines.svg())
    }

    /// Bars of each way of packets, at the most services; markers on a logarithmic axis where values are far
    /// apart or `far` says so.
    pub(super) fn most(&mut self, tables: &[&Table<'_>], far: bool) -> String {
        let mut figures = String::new();
        for table in tables {
            for group in groups(table) {
                let Some(row) = group.rows.iter().max_by_key(|row| row.services) else { continue };
                let shown = |cell: &Cell<'_>| {
                    let value = nice(table.unit, cell.spread.median);
                    match cell.ratio {
                        Some(ratio) => format!("{value}, {}", ratio.short()),
                        None => value,
                    }
                };
                let all: Vec<Bar<'_>> = cells(row)
                    .map(|cell| Bar {
                        name: cell.figure.subject.name(),
                        class: class(cell.figure.subject),
                        value: cell.spread.median,
                        range: (cell.spread.min, cell.spread.max),
                        shown: shown(cell),
                    })
                    .collect();
                let values = || all.iter().map(|bar| bar.value);
                let (least, most) =
                    (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
                let scale = if far || most > least * FAR { Scale::Log } else { Scale::Linear };
                let title = table.measure.title();
                let head = format!("{title}: {}", row.setting());
                let axis = if scale == Scale::Log { "; logarithmic" } else { "" };
                let better = if table.unit.is_rate() { "; more is better" } else { "" };
                let caption = format!("{}{axis}{better}", row.setting());
                figures += &figure(
                    title,
                    &caption,
                    &bars(&self.id(), &head, &spoken(table, row), scale, &all),
                );
            }
        }
        grid(&figures)
    }
}

fn cells<'a>(row: &'a Row<'a>) -> impl Iterator<Item = &'a Cell<'a>> {
    row.cells.iter().flatten()
}

/// The class of a subject, which is its look.
fn class(subject: Subject) -> usize {
    Subject::ALL.iter().position(|one| *one == subject).unwrap_or(0)
}

/// A row in words, for whoever cannot see its chart.
fn spoken(table: &Table<'_>, row: &Row<'_>) -> String {
    let words = cells(row).map(|cell| {
        let value = nice(table.unit, cell.spread.median);
        let ratio =
            cell.ratio.map_or_else(String::new, |ratio| format!(", ratio {}", ratio.short()));
        format!("{} {value}{ratio}", cell.figure.subject)
    });
    format!("At {}: {}.", row.setting(), words.collect::<Vec<_>>().join("; "))
}

fn figure(title: &str, caption: &str, content: &str) -> String {
    let (title, caption) = (escape(title), escape(caption));
    format!("<figure>\n<figcaption><b>{title}</b>{caption}</figcaption>\n{content}</figure>\n")
}

fn grid(figures: &str) -> String {
    if figures.is_empty() {
        String::new()
    } else {
        format!("<div class=\"charts\">\n{figures}</div>\n")
    }
}
