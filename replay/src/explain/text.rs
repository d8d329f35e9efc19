//! The explanation for people.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use super::kube_proxy::kube_proxy;
use super::steps::{Step, steps};
use super::story::Story;
use super::why::{see, why};
use crate::replay::outcome::Verdict;

/// How it is shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    /// With colours.
    pub colour: bool,
    /// With the steps that people can do without, and the values of entries.
    pub verbose: bool,
}

/// Widths of the number and of the word of a step, in characters.
const NUMBER: usize = 4;
const WHAT: usize = 10;

/// Steps of the search for a source port that are shown one by one.
const PORTS: usize = 4;

/// Whether it is one of those, and the port is taken.
fn is_taken(step: &Step) -> bool {
    step.stage == Some("reserve")
        && (step.what == "stage" || (step.what == "conntrack" && step.text.starts_with("hit")))
}

struct Paint {
    on: String,
    off: String,
}

impl Paint {
    fn new(style: Style, colour: bool) -> Self {
        if !colour {
            return Self { on: String::new(), off: String::new() };
        }
        Self { on: style.render().to_string(), off: style.render_reset().to_string() }
    }

    fn paint(&self, text: &str) -> String {
        format!("{}{text}{}", self.on, self.off)
    }
}

fn verdict(verdict: Verdict) -> Style {
    let colour = match verdict {
        Verdict::Translated => AnsiColor::Green,
        Verdict::Forwarded => AnsiColor::Cyan,
        Verdict::Dropped => AnsiColor::Red,
        Verdict::Unmatched => AnsiColor::Yellow,
    };
    Style::new().bold().fg_color(Some(colour.into()))
}

/// The head of an explanation: what the packet is and what became of it.
pub fn head(story: &Story<'_>) -> String {
    let packet = match &story.broken {
        Some(_) => format!("{} bytes", story.have),
        None => crate::scenario::packet_text(&story.captured.bytes),
    };
    match story.number {
        Some(number) => format!("packet {number}   {packet}"),
        None => packet,
    }
}

/// Writes an explanation.
pub fn write(output: &mut dyn Write, story: &Story<'_>, look: Look) -> io::Result<()> {
    let bold = Paint::new(verdict(story.outcome.verdict), look.colour);
    let dim = Paint::new(Style::new().dimmed(), look.colour);
    let word = Paint::new(Style::new().bold(), look.colour);
    let mut result = story.outcome.verdict.name().to_owned();
    if story.broken.is_some() {
        result = "NOT REPLAYED".into();
    }
    if let Some(reason) = story.outcome.reason {
        result.push_str(&format!("  {} ({})", reason.name(), reason as u8));
    }
    writeln!(output, "{}   {}", head(story), bold.paint(&result))?;
    let (mut number, mut at, mut tried) = (0_usize, None, 0_usize);
    let steps = steps(story);
    let mut shown = steps.iter().filter(|step| look.verbose || !step.minor).peekable();
    while let Some(step) = shown.next() {
        let taken = !look.verbose && is_taken(step);
        tried = if taken { tried.saturating_add(1) } else { 0 };
        if taken && tried > PORTS {
            if !shown.peek().is_some_and(|next| is_taken(next)) {
                let more = tried.saturating_sub(PORTS);
                number = number.saturating_add(more);
                let text =
                    format!("{more} more steps: source ports that are taken (-v shows them)");
                writeln!(output, "{number:>NUMBER$} {:<WHAT$} {text}", "...")?;
            }
            continue;
        }
        if step.at != at {
            at = step.at;
            if let Some((node, hook)) = at {
                let place = format!("{} {}", story.node(node), hook.name());
                writeln!(output, "{}", word.paint(&place))?;
            }
        }
        number = number.saturating_add(1);
        line(output, number, step, &dim, look)?;
    }
    writeln!(output, "{}  {}", word.paint("why:"), why(story))?;
    if let Some(other) = kube_proxy(story) {
        write!(output, "{}  {}", word.paint("kube-proxy:"), other.text)?;
        match other.deviations.as_slice() {
            [] => writeln!(output)?,
            rows => {
                let rows: Vec<String> = rows.iter().map(ToString::to_string).collect();
                let s = if rows.len() == 1 { "" } else { "s" };
                writeln!(output, " (docs/deviations.md, row{s} {})", rows.join(", "))?;
            }
        }
    }
    for command in see(story) {
        writeln!(output, "{}  {command}", word.paint("see:"))?;
    }
    Ok(())
}

fn line(
    output: &mut dyn Write,
    number: usize,
    step: &Step,
    dim: &Paint,
    look: Look,
) -> io::Result<()> {
    write!(output, "{number:>NUMBER$} {:<WHAT$} {}", step.what, step.text)?;
    if let (Some(map), Some(key)) = (step.map, &step.key) {
        write!(output, "  {}", dim.paint(&format!("{map}[{key}]")))?;
        let written = step.operation.is_some_and(|operation| operation != "lookup");
        if let Some(value) = step.value.as_ref().filter(|_| look.verbose || written) {
            write!(output, " {}", dim.paint(&format!("= {value}")))?;
        }
    }
    writeln!(output)?;
    for detail in &step.details {
        writeln!(output, "{:indent$}{detail}", "", indent = NUMBER + WHAT + 4)?;
    }
    Ok(())
}
