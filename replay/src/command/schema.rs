//! `twinpath schema`.

use std::io::{self, Write};

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Args, ValueHint};

use crate::failure::{Ending, Failure};
use crate::schema::{ALL, find};

const EXAMPLES: &str = "\
Examples:
  twinpath schema
      Which schemas there are.

  twinpath schema replay > replay.schema.json
      That of the lines of `twinpath replay -o json`, for a validator.

Exit codes: 0 fine; 2 wrong usage; 70 a bug.";

/// Print the JSON Schema of a verb's output
///
/// Fields are only ever added to what a version (`"v":1`) prints, never changed or taken away.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// Whose; without it, all are listed
    #[arg(value_name = "VERB", value_parser = names(), value_hint = ValueHint::Other)]
    name: Option<String>,
}

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(
        ALL.iter().map(|schema| PossibleValue::new(schema.name).aliases(schema.alias)),
    )
}

/// Prints.
pub fn run(arguments: &Arguments) -> Result<Ending, Failure> {
    let mut text = String::new();
    match arguments.name.as_deref().and_then(find) {
        Some(schema) => text.push_str(schema.text),
        None => {
            for schema in ALL {
                let value: serde_json::Value =
                    serde_json::from_str(schema.text).unwrap_or_default();
                let title = value.get("title").and_then(serde_json::Value::as_str);
                text.push_str(&format!("{:<10}{}\n", schema.name, title.unwrap_or_default()));
            }
        }
    }
    io::stdout().write_all(text.as_bytes()).map_err(Failure::Output)?;
    Ok(Ending::Fine)
}
