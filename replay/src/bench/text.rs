//! The terminal's report.

use std::fmt::Write as _;

use super::baseline::Comparison;
use super::quantity::{grouped, shown};
use super::result::{Results, Unit};
use super::stats::Verdict;
use super::view::{self, Row, Table};

/// Greatest length of a line of words, in characters. Tables are as wide as they need to be.
const WIDTH: usize = 110;

/// The whole report: the result in words, a table per measure, where nothing is gained, how it was measured,
/// what is missing. The same results give the same text.
pub fn report(results: &Results, comparison: Option<&Comparison<'_>>) -> String {
    let tables = view::tables(&results.figures);
    let mut text = wrapped(&view::headline(results, &tables), "");
    if let Some(comparison) = comparison {
        text += &since(comparison);
    }
    for one in &tables {
        text += &table(one);
    }
    if let Some(guest) = &results.guest {
        let words = wrapped(&guest.words(), "  ");
        text += &format!("\ninstructions per packet, in an emulated guest\n{words}");
        text.extend(view::tables(&guest.figures).iter().map(table));
    }
    text += &nothing(&tables);
    text += "\nhow it was measured\n";
    for line in view::method(results) {
        text += &wrapped(&line, "  ");
    }
    if !results.missing.is_empty() {
        text += "\nwhat is missing\n";
        for gap in &results.missing {
            text += &wrapped(&format!("{}: {}", gap.what, gap.why), "  ");
        }
    }
    text + &format!("\n{}\n", foot(results))
}

/// What changed since the baseline; what did not is a number alone.
fn since(comparison: &Comparison<'_>) -> String {
    let mut text = format!("\n{}", wrapped(&comparison.sum(), ""));
    for one in &comparison.figures {
        if one.change.verdict != Verdict::Same {
            let (title, subject) = (one.now.measure.title(), one.now.subject);
            let line = format!("{title}: {}: {subject}: {}", one.setting(), one.change.words());
            text += &wrapped(&line, "  ");
        }
    }
    for doubt in &comparison.doubts {
        text += &wrapped(&format!("mind: {doubt}"), "  ");
    }
    text
}

/// `Made-up CPU, 2 processors, kernel 6.18.44, 251 s`.
fn foot(results: &Results) -> String {
    let machine = &results.machine;
    let mut parts = Vec::new();
    if !machine.processor.is_empty() {
        parts.push(machine.processor.clone());
    }
    if machine.processors > 0 {
        parts.push(view::count(machine.processors, "processor"));
    }
    if !machine.kernel.is_empty() {
        parts.push(format!("kernel {}", machine.kernel));
    }
    parts.push(format!("{} s", grouped(results.took)));
    parts.join(", ")
}

/// A measure's table: a row per setting, a column per subject.
fn table(table: &Table<'_>) -> String {
    let row_heads = [
        ("PATH", table.rows.iter().map(|row| row.path.to_owned()).collect::<Vec<_>>()),
        ("HOOK", table.rows.iter().map(|row| row.hook.to_owned()).collect()),
        ("FLOWS", table.rows.iter().map(|row| number(row.flows)).collect()),
        ("SERVICES", table.rows.iter().map(|row| number(row.services)).collect()),
    ];
    let mut columns: Vec<(String, Vec<String>)> = row_heads
        .into_iter()
        .filter(|(_, cells)| cells.iter().any(|cell| !cell.is_empty()))
        .map(|(head, cells)| (head.to_owned(), cells))
        .collect();
    for (place, subject) in table.subjects.iter().enumerate() {
        let cells = table.rows.iter().map(|row| cell(table, row, place)).collect();
        columns.push((subject.name().to_uppercase(), cells));
    }
    let better = match table.unit {
        Unit::Instructions => ", in instructions",
        unit if unit.is_rate() => " (more is better)",
        _ => "",
    };
    let mut text = format!("\n{}{better}\n", table.measure.title());
    let heads = columns.iter().map(|(head, _)| head.as_str()).collect::<Vec<_>>();
    let widths: Vec<usize> = columns
        .iter()
        .map(|(head, cells)| cells.iter().map(String::len).max().unwrap_or(0).max(head.len()))
        .collect();
    let mut line = |cells: &[&str]| {
        let mut line = String::from("  ");
        for (cell, width) in cells.iter().zip(&widths) {
            let _ = write!(line, "{cell:<width$}  "); // writing to a string does not fail
        }
        text += line.trim_end();
        text.push('\n');
    };
    line(&heads);
    for place in 0..table.rows.len() {
        let cells: Vec<&str> =
            columns.iter().map(|(_, cells)| cells.get(place).map_or("", String::as_str)).collect();
        line(&cells);
    }
    text
}

fn number(number: u32) -> String {
    if number == 0 { String::new() } else { grouped(f64::from(number)) }
}

/// `1.20 us  2.86x (2.81 to 2.90)`.
fn cell(table: &Table<'_>, row: &Row<'_>, place: usize) -> String {
    let Some(cell) = row.cells.get(place).and_then(Option::as_ref) else { return "-".into() };
    let value = match table.unit {
        Unit::Instructions => grouped(cell.spread.median),
        unit => shown(unit, cell.spread.median),
    };
    match &cell.ratio {
        // Of one round there is no range.
        Some(ratio) if ratio.rounds == 1 => format!("{value}  {}", ratio.short()),
        Some(ratio) => format!("{value}  {} ({})", ratio.short(), ratio.range()),
        None => value,
    }
}

/// The comparisons that twinpath does not win.
fn nothing(tables: &[Table<'_>]) -> String {
    let gains = view::gains(tables);
    let mut text = format!("\nwhere it gains nothing\n{}", wrapped(&gains.words(), "  "));
    for view::Nothing { what, rival, ratio } in gains.nothing {
        let (short, range, rounds) = (ratio.short(), ratio.range(), ratio.rounds);
        text += &wrapped(&format!("{what}: {rival} {short} ({range}) of {rounds} rounds"), "  ");
    }
    text
}

/// Words in lines; all but the first line of a paragraph go two further in.
fn wrapped(words: &str, indent: &str) -> String {
    let (mut text, mut line) = (String::new(), indent.to_owned());
    let mut empty = true;
    for word in words.split_whitespace() {
        if !empty && line.len() + 1 + word.len() > WIDTH {
            text += &line;
            text.push('\n');
            line = if indent.is_empty() { String::new() } else { format!("{indent}  ") };
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line += word;
        empty = false;
    }
    text + &line + "\n"
}

#[cfg(test)]
#[path = "text/tests.rs"]
mod tests;
