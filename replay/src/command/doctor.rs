//! `twinpath doctor`.

use std::io::{self, Write};

use clap::{Args, ValueEnum};
use serde::Serialize;
use twinpath_sim::world::WorldError;

use crate::doctor::engines::{Name, Trial, trials};
use crate::doctor::machine::facts;
use crate::failure::{Ending, Failure};
use crate::get::print::{self, Row};

const EXAMPLES: &str = "\
Examples:
  twinpath doctor
      What works here, what does not, and what to do about it.

  twinpath doctor --need test-run --need netfilter && twinpath verify
      For a script: go on only where these work.

  twinpath doctor -o json | jq -r 'select(.usable==true).engine'

Exit codes: 0 fine: what is needed works; 2 wrong usage; 3 something that --need names does not work here;
70 a bug.";

/// Try what this machine can run, and say what it lacks
///
/// Each engine is tried, not guessed: programs are loaded and run, devices and rules are made in network
/// namespaces of the trial. Nothing is left behind, and no module is loaded. Without root the simulator
/// works, and the rest says what it lacks.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// End with 3 where this does not work; may be repeated
    #[arg(long, value_name = "ENGINE", value_enum)]
    need: Vec<Name>,
    /// Try nothing but what --need names
    #[arg(long, requires = "need")]
    only: bool,
    /// Form of the output
    #[arg(short = 'o', long, value_enum, default_value_t = Form::Table)]
    output: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Columns, for people.
    Table,
    /// JSON lines, for programs; the last one is the summary.
    Json,
}

impl Row for Trial {
    const TYPE: &'static str = "engine";
    const HEAD: &'static [(&'static str, bool)] =
        &[("ENGINE", false), ("USABLE", false), ("FOR", false), ("WHY NOT", false), ("FIX", false)];

    fn lines(&self) -> Vec<Vec<String>> {
        let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let usable = match (self.usable, &self.note) {
            (true, Some(note)) => format!("yes ({note})"),
            (true, None) => "yes".to_owned(),
            (false, _) => "no".to_owned(),
        };
        vec![vec![
            self.engine.to_owned(),
            usable,
            self.purpose.to_owned(),
            or(&self.why_not),
            or(&self.fix),
        ]]
    }
}

#[derive(Serialize)]
struct FactLine<'a> {
    v: u8,
    r#type: &'static str,
    name: &'a str,
    value: &'a str,
}

#[derive(Serialize)]
struct Summary<'a> {
    v: u8,
    r#type: &'static str,
    usable: Vec<&'a str>,
    twinpath: &'static str,
}

/// Tries.
pub fn run(arguments: &Arguments) -> Result<Ending, Failure> {
    let mut names: Vec<Name> = Name::ALL.to_vec();
    if arguments.only {
        names.retain(|name| arguments.need.contains(name));
    }
    let trials = trials(&names);
    let mut output = io::stdout().lock();
    match arguments.output {
        Form::Table => table(&mut output, &trials),
        Form::Json => json(&mut output, &trials),
    }
    .map_err(Failure::Output)?;
    let missing: Vec<&str> = arguments
        .need
        .iter()
        .map(|name| name.text())
        .filter(|name| trials.iter().any(|trial| trial.engine == *name && !trial.usable))
        .collect();
    if missing.is_empty() {
        return Ok(Ending::Fine);
    }
    Err(Failure::World(WorldError::Environment(format!(
        "--need: {} cannot be used here; the table says what to do",
        missing.join(", ")
    ))))
}

fn table(output: &mut impl Write, trials: &[Trial]) -> io::Result<()> {
    print::columns(output, trials, false, true)?;
    writeln!(output)?;
    for fact in facts() {
        writeln!(output, "{:<18}{}", fact.name, fact.value)?;
    }
    Ok(())
}

fn json(output: &mut impl Write, trials: &[Trial]) -> io::Result<()> {
    print::json(output, trials)?;
    for fact in facts() {
        let line = FactLine { v: 1, r#type: "fact", name: fact.name, value: &fact.value };
        writeln!(output, "{}", serde_json::to_string(&line)?)?;
    }
    let usable: Vec<&str> =
        trials.iter().filter(|trial| trial.usable).map(|trial| trial.engine).collect();
    let (v, twinpath) = (1, env!("CARGO_PKG_VERSION"));
    let summary = Summary { v, r#type: "summary", usable, twinpath };
    writeln!(output, "{}", serde_json::to_string(&summary)?)
}
