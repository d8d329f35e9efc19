//! The command line: arguments, and which verb does the work.

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use sha2::{Digest, Sha256};

use crate::failure::{Ending, Failure};

pub mod bench;
pub mod captures;
pub mod completions;
pub mod diff;
pub mod doctor;
pub mod explain;
pub mod get;
pub mod import;
pub mod interrupt;
pub mod man;
pub mod replay;
pub mod schema;
pub mod setup;
pub mod shell;
pub mod verify;

const EXIT_CODES: &str = "\
Exit codes: 0 fine; 1 differences; 2 wrong usage or unreadable input; 3 this machine or build lacks what
was asked for; 4 nothing ran; 70 a bug; 130 Ctrl-C. What each means to a verb, its own help says.";

/// Kubernetes services on your captures, packet by packet.
#[derive(Debug, Parser)]
#[command(
    name = "twinpath",
    version,
    about,
    disable_help_subcommand = true,
    after_long_help = EXIT_CODES
)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Replay(replay::Arguments),
    Explain(explain::Arguments),
    Diff(diff::Arguments),
    Get(get::Arguments),
    Verify(verify::Arguments),
    Bench(bench::Arguments),
    Import(import::Arguments),
    Doctor(doctor::Arguments),
    Schema(schema::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
}

/// The whole command line.
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Reads the arguments, or ends the process with what there is to say about them. Whoever calls the
/// program `kubectl-twinpath`, as kubectl does with its plugins, reads `kubectl twinpath` in help texts.
pub fn parse(words: impl IntoIterator<Item = std::ffi::OsString>) -> Arguments {
    let words: Vec<std::ffi::OsString> = words.into_iter().collect();
    let mut command = command();
    let called = words.first().map(std::path::Path::new).and_then(std::path::Path::file_stem);
    if called.is_some_and(|name| name == "kubectl-twinpath") {
        command = as_plugin(command);
    }
    // Hashing the programs takes a moment, which only who asks for it should wait.
    if words.iter().any(|word| word == "--version") {
        command = command.long_version(long_version());
    }
    let matches = command.clone().get_matches_from(words);
    match Arguments::from_arg_matches(&matches) {
        Ok(arguments) => arguments,
        Err(error) => error.format(&mut command).exit(),
    }
}

fn as_plugin(command: clap::Command) -> clap::Command {
    let verbs: Vec<String> =
        command.get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
    verbs.into_iter().fold(command.bin_name("kubectl twinpath"), |command, name| {
        command.mut_subcommand(name, |verb| match verb.get_after_long_help() {
            Some(text) => {
                let text = text.to_string().replace("twinpath ", "kubectl twinpath ");
                verb.after_long_help(text)
            }
            None => verb,
        })
    })
}

/// The version, the commit where the build was told, and which kernel programs are inside.
fn long_version() -> String {
    let programs = match twinpath_kernel::object::bytes() {
        Some(object) => {
            let hash: String =
                Sha256::digest(object).iter().map(|byte| format!("{byte:02x}")).collect();
            format!("sha256 {hash}")
        }
        None => "none in this build (ebpf/build.sh)".to_owned(),
    };
    let commit = option_env!("TWINPATH_COMMIT").filter(|commit| !commit.is_empty());
    format!(
        "{}\ncommit           {}\nkernel programs  {programs}",
        env!("CARGO_PKG_VERSION"),
        commit.unwrap_or("not known to this build")
    )
}

/// Does what the arguments say.
pub fn run(arguments: Arguments) -> Result<Ending, Failure> {
    match arguments.verb {
        Verb::Replay(arguments) => replay::run(&arguments),
        Verb::Explain(arguments) => explain::run(&arguments),
        Verb::Diff(arguments) => diff::run(&arguments),
        Verb::Get(arguments) => get::run(&arguments),
        Verb::Verify(arguments) => verify::run(&arguments),
        Verb::Bench(arguments) => bench::run(&arguments),
        Verb::Import(arguments) => import::run(&arguments),
        Verb::Doctor(arguments) => doctor::run(&arguments),
        Verb::Schema(arguments) => schema::run(&arguments),
        Verb::Completions(arguments) => completions::run(&arguments),
        Verb::Man(arguments) => man::run(&arguments),
    }
}
