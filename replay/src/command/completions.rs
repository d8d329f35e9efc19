//! `twinpath completions`.

use std::io::{self, Write};

use clap::Args;
use clap_complete::Shell;

use super::command;
use crate::failure::{Ending, Failure};

const EXAMPLES: &str = "\
Examples:
  source <(twinpath completions bash)
      For this shell.

  twinpath completions zsh > \"${fpath[1]}/_twinpath\"
  twinpath completions fish > ~/.config/fish/completions/twinpath.fish
      For every shell from now on.

Exit codes: 0 fine; 2 wrong usage; 70 a bug.";

/// Print a script by which a shell completes verbs and options
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints.
pub fn run(arguments: &Arguments) -> Result<Ending, Failure> {
    // Into memory first: the generator panics where it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command(), "twinpath", &mut script);
    io::stdout().write_all(&script).map_err(Failure::Output)?;
    Ok(Ending::Fine)
}
