//! The command line: arguments, and which verb does the work.

use clap::{Parser, Subcommand};

use crate::failure::{Ending, Failure};

pub mod bench;
pub mod captures;
pub mod diff;
pub mod explain;
pub mod import;
pub mod interrupt;
pub mod replay;
pub mod setup;
pub mod shell;
pub mod verify;

/// Kubernetes services on your captures, packet by packet.
#[derive(Debug, Parser)]
#[command(name = "twinpath", version, about, disable_help_subcommand = true)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Replay(replay::Arguments),
    Explain(explain::Arguments),
    Diff(diff::Arguments),
    Verify(verify::Arguments),
    Bench(bench::Arguments),
    Import(import::Arguments),
}

/// Does what the arguments say.
pub fn run(arguments: Arguments) -> Result<Ending, Failure> {
    match arguments.verb {
        Verb::Replay(arguments) => replay::run(&arguments),
        Verb::Explain(arguments) => explain::run(&arguments),
        Verb::Diff(arguments) => diff::run(&arguments),
        Verb::Verify(arguments) => verify::run(&arguments),
        Verb::Bench(arguments) => bench::run(&arguments),
        Verb::Import(arguments) => import::run(&arguments),
    }
}
