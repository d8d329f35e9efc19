//! `twinpath man`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use clap_mangen::Man;

use super::command;
use crate::failure::{Ending, Failure};

const EXAMPLES: &str = "\
Examples:
  twinpath man replay | man -l -
      The page of a verb.

  twinpath man -o ~/.local/share/man/man1
      All pages, where `man twinpath-replay` finds them.

Exit codes: 0 fine; 2 wrong usage, or a page cannot be written; 70 a bug.";

/// Print the manual page of a verb, or write all pages to a folder
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// The verb; without it, the page of the whole command is printed
    #[arg(value_name = "VERB", conflicts_with = "output")]
    verb: Option<String>,
    /// Write a page for the command and each verb to this folder, which is made where it is not there
    #[arg(short = 'o', long, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// Prints or writes.
pub fn run(arguments: &Arguments) -> Result<Ending, Failure> {
    // Building gives verbs their full names, `twinpath-replay`.
    let mut all = command();
    all.build();
    if let Some(folder) = &arguments.output {
        write(folder, all)?;
        return Ok(Ending::Fine);
    }
    let one = match &arguments.verb {
        None => all,
        Some(verb) => match all.find_subcommand(verb) {
            Some(found) => full_name(found.clone()),
            None => {
                let known: Vec<&str> = all.get_subcommands().map(clap::Command::get_name).collect();
                return Err(Failure::Usage(format!(
                    "man: there is no verb {verb}; the verbs are: {}",
                    known.join(", ")
                )));
            }
        },
    };
    let mut page = Vec::new();
    Man::new(one).render(&mut page).map_err(Failure::Output)?;
    io::stdout().write_all(&page).map_err(Failure::Output)?;
    Ok(Ending::Fine)
}

fn full_name(verb: clap::Command) -> clap::Command {
    let name = verb.get_display_name().unwrap_or_else(|| verb.get_name()).to_owned();
    verb.name(name)
}

fn write(folder: &Path, all: clap::Command) -> Result<(), Failure> {
    let failed = |name: &Path| {
        let name = name.display().to_string();
        move |cause| Failure::File { name, cause, advice: "give -o a folder that can be written" }
    };
    std::fs::create_dir_all(folder).map_err(failed(folder))?;
    let verbs: Vec<clap::Command> = all.get_subcommands().cloned().map(full_name).collect();
    for one in std::iter::once(all).chain(verbs) {
        let path = folder.join(format!("{}.1", one.get_name()));
        let mut page = Vec::new();
        Man::new(one).render(&mut page).map_err(Failure::Output)?;
        std::fs::write(&path, page).map_err(failed(&path))?;
    }
    Ok(())
}
