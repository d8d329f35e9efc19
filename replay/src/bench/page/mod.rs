//! The report as a page: one file, to be sent to whoever was not there.

mod charts;

use super::baseline::Comparison;
use super::quantity::{grouped, shown};
use super::result::{Guest, Measure, Results, Unit};
use super::stats::quantile;
use super::view::{self, Table};
use crate::report::html::{self, details, escape, list, section, terms};

/// Quantities as a page shows them.
fn nice(unit: Unit, value: f64) -> String {
    shown(unit, value).replace(" us", " \u{b5}s")
}

/// The whole page. The same results give the same page.
pub fn page(results: &Results, comparison: Option<&Comparison<'_>>) -> String {
    let tables = view::tables(&results.figures);
    let of = |measures: &[Measure]| -> Vec<&Table<'_>> {
        tables.iter().filter(|table| measures.contains(&table.measure)).collect()
    };
    let mut charts = charts::Charts::default();
    let mut body = banner(results, &tables);
    body += &section("machine", "The machine", &machine(results));
    body += &section("baseline", "Since the baseline", &comparison.map_or_else(String::new, since));
    let latencies = of(&[Measure::FirstPacket, Measure::Connect, Measure::RoundTrip]);
    body += &section("latency", "Latency", &(charts.latency(&latencies) + &quantiles(&latencies)));
    let packets = of(&[Measure::Established]);
    let bytes = of(&[Measure::Throughput]);
    let rates = charts.rates(&packets) + &charts.against_services(&bytes);
    body += &section("throughput", "Throughput and the number of services", &rates);
    let costs = of(&[Measure::Established, Measure::NewFlow, Measure::ProgramTime, Measure::Churn]);
    let cost = charts.most(&costs, false) + &charts.against_services(&costs);
    body += &section("cost", "What a packet costs", &cost);
    let programming = of(&[
        Measure::Load,
        Measure::AddService,
        Measure::ChangeEndpoint,
        Measure::UntilFirstPacket,
        Measure::Resync,
    ]);
    let programming = charts.most(&programming, true) + &charts.against_services(&programming);
    body += &section(
        "programming",
        "Programming rules, and the first packet after a change",
        &programming,
    );
    let memory = of(&[Measure::MemoryPerService, Measure::MemoryPerConnection]);
    body += &section("memory", "Memory", &charts.most(&memory, false));
    let connections = of(&[Measure::ConnectRate]);
    body += &section("connections", "New connections a second", &charts.most(&connections, false));
    body += &section(
        "instructions",
        "Instructions per packet, in an emulated guest",
        &results.guest.as_ref().map_or_else(String::new, |guest| instructions(guest, &mut charts)),
    );
    body += &section("nothing", "Where it gains nothing", &nothing(&tables));
    body += &section("missing", "What is missing", &missing(results));
    body += &section("figures", "All figures", &figures(&tables));
    let method = list(view::method(results));
    let again = format!("<p>To do it again: <code>{}</code></p>\n", escape(&results.command));
    body += &section("method", "How it was measured", &(method + &again));
    body += &section("limits", "Limits", &list(LIMITS.map(str::to_owned)));
    body += "<p class=\"soft\">The numbers of this page, every round of them, are in the element \
             <code>data</code> of its source, as JSON.</p>\n";
    html::page("twinpath: the comparison", &body, results)
}

const LIMITS: [&str; 5] = [
    "Devices are veth pairs: there is no network card, no driver and no wire. What a card's XDP adds is not in these figures, and veth's packet rates say nothing about a card's.",
    "It is one machine: clients, node and backends share its processors and caches, and whatever else runs there is noise.",
    "Packets are made and counted in the kernel, on one processor: rates are those of one processor, and do not multiply with their number.",
    "Services have two endpoints each, and the one that packets go to is the last in every table, which is the worst place of a list and as good as any of a map.",
    "Cycles are not counted: in many virtual machines the kernel has no counter of them. Instructions are counted apart, in an emulated processor.",
];

fn instructions(guest: &Guest, charts: &mut charts::Charts) -> String {
    let tables = view::tables(&guest.figures);
    let all: Vec<&Table<'_>> = tables.iter().collect();
    let words = format!("<p>{}</p>\n", escape(&guest.words()));
    words + &charts.most(&all, false) + &figures(&tables)
}

fn banner(results: &Results, tables: &[Table<'_>]) -> String {
    let mut text = format!(
        "<h1>twinpath beside kube-proxy's rules</h1>\n<p class=\"lead\">{}</p>\n",
        escape(&view::headline(results, tables))
    );
    if !results.complete {
        text += "<p class=\"warn\">The run ended before all that was asked for was measured.</p>\n";
    }
    if !results.missing.is_empty() {
        let what: Vec<&str> = results.missing.iter().map(|gap| gap.what.as_str()).collect();
        text += &format!(
            "<p class=\"soft\">Not measured: {}; <a href=\"#missing\">why</a>.</p>\n",
            escape(&what.join(", "))
        );
    }
    text
}

fn machine(results: &Results) -> String {
    let machine = &results.machine;
    let versions = machine.versions.iter().map(|(name, version)| format!("{name} {version}"));
    terms(&[
        ("Processor", machine.processor.clone()),
        ("Processors", if machine.processors == 0 { String::new() } else { machine.processors.to_string() }),
        ("Governor", or_unknown(&machine.governor)),
        ("Kernel", machine.kernel.clone()),
        ("Mitigations", or_unknown(&machine.mitigations.join("; "))),
        ("Devices", "veth pairs between network namespaces, no network card; packets are made and counted by programs in the kernel".into()),
        ("Versions", versions.collect::<Vec<_>>().join(", ")),
        ("Notes", machine.notes.join("; ")),
        ("Began", date(results.began)),
        ("Took", format!("{} s", grouped(results.took))),
    ])
}

fn or_unknown(text: &str) -> String {
    if text.is_empty() { "not known".into() } else { text.to_owned() }
}

fn date(seconds: u64) -> String {
    let text = crate::report::json::rfc3339(seconds.saturating_mul(1_000_000_000));
    text.get(..16).map_or_else(String::new, |day| day.replace('T', " ") + " UTC")
}

fn since(comparison: &Comparison<'_>) -> String {
    let mut text = format!("<p>{}</p>\n", escape(&comparison.sum()));
    for doubt in &comparison.doubts {
        text += &format!("<p class=\"warn\">{}</p>\n", escape(doubt));
    }
    let rows = comparison.figures.iter().map(|one| {
        let percent = |value: f64| format!("{value:+.1} %");
        let interval = one.change.interval;
        vec![
            one.now.measure.title().to_owned(),
            one.setting(),
            one.now.subject.to_string(),
            percent(one.change.percent),
            format!("{} to {}", percent(interval.low), percent(interval.high)),
            one.change.verdict.words().to_owned(),
        ]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let heads = ["Measure", "Setting", "Subject", "Change", "Interval", "Verdict"];
    text + &details("Figure by figure", &html::table(&heads, 3, &rows))
}

/// P50, P99 and P99.9 of all that has a distribution.
fn quantiles(tables: &[&Table<'_>]) -> String {
    let mut rows = Vec::new();
    for table in tables {
        for row in &table.rows {
            for cell in row.cells.iter().flatten() {
                let of = |q: f64| {
                    let known =
                        cell.figure.quantiles.iter().find(|(known, _)| (known - q).abs() < 1e-9);
                    // The median of rounds is near enough the median of all; nothing else is.
                    let median = || quantile(&cell.figure.samples, 0.5).filter(|_| q == 0.5);
                    let value = known.map(|(_, value)| *value).or_else(median);
                    value.map_or_else(|| "-".into(), |value| nice(table.unit, value))
                };
                rows.push(vec![
                    table.measure.title().to_owned(),
                    row.setting(),
                    cell.figure.subject.to_string(),
                    of(0.5),
                    of(0.99),
                    of(0.999),
                ]);
            }
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    let heads = ["Measure", "Setting", "Subject", "P50", "P99", "P99.9"];
    details("Quantiles", &html::table(&heads, 3, &rows))
}

fn nothing(tables: &[Table<'_>]) -> String {
    let gains = view::gains(tables);
    let words = format!("<p>{}</p>\n", escape(&gains.words()));
    let rows: Vec<Vec<String>> = gains
        .nothing
        .into_iter()
        .map(|view::Nothing { what, rival, ratio }| {
            let rounds = ratio.rounds.to_string();
            vec![what, rival.to_string(), ratio.short(), ratio.range(), rounds]
        })
        .collect();
    if rows.is_empty() {
        return words;
    }
    words + &html::table(&["What", "Beside", "Ratio", "Range", "Rounds"], 2, &rows)
}

fn missing(results: &Results) -> String {
    list(results.missing.iter().map(|gap| format!("{}: {}", gap.what, gap.why)))
}

/// Every figure: medians, least to greatest, ratios.
fn figures(tables: &[Table<'_>]) -> String {
    let mut text = String::new();
    for table in tables {
        let mut heads = vec!["Setting".to_owned()];
        heads.extend(table.subjects.iter().map(ToString::to_string));
        let rows: Vec<Vec<String>> = table
            .rows
            .iter()
            .map(|row| {
                let cells = row.cells.iter().map(|cell| match cell {
                    None => "-".into(),
                    Some(cell) => {
                        let spread = cell.spread;
                        let value = nice(table.unit, spread.median);
                        let [min, max] = [spread.min, spread.max].map(|end| nice(table.unit, end));
                        match cell.ratio {
                            None => format!("{value}\n{min} to {max}"),
                            Some(ratio) => format!(
                                "{value}\n{min} to {max}; {} ({})",
                                ratio.short(),
                                ratio.range()
                            ),
                        }
                    }
                });
                std::iter::once(row.setting()).chain(cells).collect()
            })
            .collect();
        let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
        let title = format!("{} ({} settings)", table.measure.title(), rows.len());
        text += &details(&title, &html::table(&heads, 1, &rows));
    }
    text
}

#[cfg(test)]
mod tests;
