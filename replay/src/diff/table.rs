//! What differs, for people.

use std::io::{self, Write};

use super::Comparison;
use super::cause::Cause;
use super::minimize::Minimal;
use super::tally::Moved;
use crate::report::table::{grouped, plural};

/// Most causes that are shown, and of a cause, most values.
const CAUSES: usize = 40;
const PAIRS: usize = 4;
/// Most lines about the clusters, and most services whose flows moved.
const LINES: usize = 12;

/// What one side is, in words.
#[derive(Clone, Debug)]
pub struct Words {
    /// `sim, cluster a.yaml, random, snat, seed 1`.
    pub side: String,
    /// The command that explains a packet, without its number.
    pub explain: String,
}

/// All that is known at the end.
pub struct End<'a> {
    /// What was found.
    pub comparison: &'a Comparison,
    /// How many flows there were.
    pub flows: usize,
    /// Left and right.
    pub sides: [&'a Words; 2],
    /// In what the clusters differ.
    pub states: &'a [String],
    /// Whether the whole input was read.
    pub complete: bool,
    /// The smallest reproduction, where one was asked for and there is a difference.
    pub minimal: Option<&'a Minimal>,
}

/// Writes it.
pub fn write(output: &mut dyn Write, end: &End<'_>) -> io::Result<()> {
    let Comparison { causes, packets, .. } = end.comparison;
    let all = causes.all();
    let flows = plural(end.flows as u64, "flow");
    let cut = if end.complete { "" } else { ", INCOMPLETE" };
    if all.is_empty() {
        writeln!(output, "no difference in {}, {flows}{cut}", plural(*packets, "packet"))?;
    } else {
        writeln!(
            output,
            "{}: {} of {} differ, in {} of {flows}{cut}",
            plural(all.len() as u64, "cause"),
            grouped(causes.packets),
            plural(*packets, "packet"),
            grouped(causes.flows() as u64),
        )?;
    }
    let [left, right] = end.sides;
    writeln!(output, "  - left   {}", left.side)?;
    writeln!(output, "  + right  {}", right.side)?;
    lines(output, "the clusters differ in:", end.states)?;
    for cause in all.iter().take(CAUSES) {
        self::cause(output, cause, end)?;
    }
    if all.len() > CAUSES {
        writeln!(
            output,
            "\nand {} more causes: see -o json",
            grouped((all.len() - CAUSES) as u64)
        )?;
    }
    totals(output, end.comparison)?;
    if let Some(minimal) = end.minimal {
        writeln!(output, "\n{}", minimal.says())?;
        writeln!(output, "  see: {}", minimal.command)?;
    }
    output.flush()
}

fn lines(output: &mut dyn Write, head: &str, lines: &[String]) -> io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(output, "{head}")?;
    for line in lines.iter().take(LINES) {
        writeln!(output, "  {line}")?;
    }
    if lines.len() > LINES {
        writeln!(output, "  and {} more", grouped((lines.len() - LINES) as u64))?;
    }
    Ok(())
}

fn cause(output: &mut dyn Write, cause: &Cause, end: &End<'_>) -> io::Result<()> {
    let mut count = plural(cause.packets, "packet");
    if cause.flows > 0 {
        count.push_str(&format!(" of {}", plural(cause.flows, "flow")));
    }
    if cause.follows > 0 {
        let verb = if cause.follows == 1 { "follows" } else { "follow" };
        count.push_str(&format!(" ({} {verb} from others)", grouped(cause.follows)));
    }
    writeln!(output, "\n[{}] {count}: {}", cause.name, cause.title())?;
    if let Some(service) = &cause.service {
        writeln!(output, "    service {service}")?;
    }
    let first = &cause.first;
    writeln!(output, "    first: packet {}  {}", first.number, first.words)?;
    writeln!(output, "      - {}", first.left)?;
    writeln!(output, "      + {}", first.right)?;
    let field = cause.fields.first().copied().unwrap_or_default();
    if cause.pairs.len() > 1 && matches!(field, "service" | "backend" | "node" | "place") {
        let mut pairs: Vec<_> = cause.pairs.iter().collect();
        pairs.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for ((left, right), count) in pairs.iter().take(PAIRS) {
            writeln!(output, "    {}x  {field} {left} -> {right}", grouped(**count))?;
        }
        if pairs.len() > PAIRS {
            writeln!(output, "    and {} more pairs", grouped((pairs.len() - PAIRS) as u64))?;
        }
    }
    let [left, right] = end.sides;
    writeln!(output, "    see: {} --packet {}", left.explain, first.number)?;
    if right.explain != left.explain {
        writeln!(output, "         {} --packet {}", right.explain, first.number)?;
    }
    let bytes = cause.fields.iter().filter(|field| field.contains('.'));
    let bytes: Vec<String> = bytes.map(|field| format!("--ignore {field}")).collect();
    if bytes.len() == cause.fields.len() {
        writeln!(output, "    to leave it out: {}", bytes.join(" "))?;
    }
    Ok(())
}

fn totals(output: &mut dyn Write, comparison: &Comparison) -> io::Result<()> {
    let moved: Vec<_> = comparison.moved().into_iter().filter(|one| one.moved > 0).collect();
    let texts: Vec<String> = moved.iter().map(of).collect();
    if !texts.is_empty() {
        writeln!(output)?;
    }
    lines(output, "flows on another backend:", &texts)?;
    let tally = &comparison.tally;
    for (what, drops) in [("only right", &tally.gained), ("only left", &tally.lost)] {
        if !drops.is_empty() {
            let texts: Vec<String> = drops
                .iter()
                .map(|(reason, count)| format!("{} {}", grouped(*count), reason.name()))
                .collect();
            let all: u64 = drops.values().sum();
            let all = plural(all, "packet");
            writeln!(output, "{all} dropped {what}: {}", texts.join(", "))?;
        }
    }
    Ok(())
}

fn of(moved: &Moved<'_>) -> String {
    format!(
        "{}  {} of {}, {} at least",
        moved.service,
        grouped(moved.moved),
        grouped(moved.flows),
        grouped(moved.least)
    )
}
