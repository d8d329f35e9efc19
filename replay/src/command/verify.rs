//! `twinpath verify`.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use twinpath_kernel::eviction::{self, Pinned};
use twinpath_kernel::test_run::TestRunEngine;
use twinpath_sim::engine::SimEngine;
use twinpath_sim::map::Eviction;
use twinpath_sim::node::Limits;
use twinpath_sim::world::WorldError;

use crate::failure::{Ending, Failure};
use crate::scenario::COPY;
use crate::verify::{self, SCRIPT, Scenario, Twin};
use crate::worlds::Kind;

mod checks;
mod random;
mod scenario;

use checks::{Checks, End, grouped};
use random::{Ask, broken};

const EXAMPLES: &str = "\
Examples:
  twinpath verify
      Random scripts through the simulator and the programs in this kernel, 200,000 packets of them;
      the first that differs is made as small as it will go, and saved with its packets.

  twinpath verify failures/twin-00000000000004d2
      A saved script once more.

  twinpath verify fixtures/scenarios/nodeport-remote-snat.yaml -v
      A scenario of a whole cluster in every world that this machine has: every packet at every place.

Exit codes: 0 no difference; 1 a difference, or something that was not expected; 2 wrong usage or an
unreadable script; 3 this machine lacks what was asked for; 4 nothing ran; 70 a bug.";

/// Room for connections: more than a script opens. Where tables should evict there is
/// [`small`](crate::verify::small).
pub const LIMITS: Limits = Limits {
    services: 4_096,
    backends: 1_024,
    maglev: 16_384,
    endpoints: 64,
    ranges: 256,
    affinities: 1_024,
    fragments: 1_024,
    conntrack: 1_024,
    eviction: Eviction::KERNEL,
};

/// Run scripts through the simulator and the kernel's programs and compare after every packet
///
/// A script is packets, waits, changes of services and evictions on one node. Compared are the decision,
/// every byte of the packet, every entry that the datapath writes, and the counters. Needs root and the
/// programs.
///
/// A scenario is a YAML file with a cluster, clients outside it, and packets. Compared are its expectations,
/// every packet at every place that a world can see, and every conntrack entry at the end.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// Scenarios, saved scripts, or folders that failures left behind; without any, random scripts are run
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<PathBuf>,
    /// Run scenarios in this world alone, beside the simulator; otherwise in every one that there is here
    #[arg(long, value_name = "WORLD", value_enum)]
    world: Option<Kind>,
    /// Packets to compare at least, in random scripts
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    cases: u64,
    /// What random scripts are drawn from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Where a failure is saved: a folder with script or scenario, packets, tables, and the command
    #[arg(long, value_name = "FOLDER", default_value = "failures")]
    save: PathBuf,
    /// Write what was checked as JUnit's XML
    #[arg(long, value_name = "FILE")]
    junit_file: Option<PathBuf>,
    /// Say also what the packets met, and in scenarios where each was seen
    #[arg(short, long)]
    verbose: bool,
}

type Engines = Twin<SimEngine, TestRunEngine>;

/// Verifies.
pub fn run(arguments: &Arguments) -> Result<Ending, Failure> {
    let mut checks = Checks::default();
    let ran = all(arguments, &mut checks);
    // What was checked until something broke is told, too.
    if let Some(path) = &arguments.junit_file {
        checks.write_junit(path)?;
    }
    ran?;
    checks.finish(arguments.seed)
}

fn all(arguments: &Arguments, checks: &mut Checks) -> Result<(), Failure> {
    if arguments.scenarios.is_empty() {
        let ask = Ask {
            packets: arguments.cases,
            seed: arguments.seed,
            save: &arguments.save,
            verbose: arguments.verbose,
        };
        let twin = ("twin", "test-run");
        checks.run(twin, "random scripts", true, || random::twin(&ask, false))?;
        let ask = Ask { packets: ask.packets / 4, ..ask };
        return checks.run(twin, "random scripts, small tables", true, || random::twin(&ask, true));
    }
    let (scripts, scenarios) = sort(&arguments.scenarios)?;
    for (name, script) in &scripts {
        checks.run(("twin", "test-run"), name, true, || saved(script))?;
    }
    for (name, found) in &scenarios {
        scenario::run(checks, (name, found), arguments)?;
    }
    Ok(())
}

/// Runs a saved script.
fn saved(script: &Scenario) -> Result<End, Failure> {
    let (mut twin, _pinned) = engines(script.setup.small)?;
    Ok(match twin.run(script).map_err(broken)? {
        Some(difference) => End::Failed(vec![difference.to_string()], None),
        None if twin.packets == 0 => End::Skipped("it has no packet that both can be given".into()),
        None => End::Passed(format!("{} packets", grouped(twin.packets))),
    })
}

type Files<T> = Vec<(String, T)>;

/// Reads all files. What begins with a brace is a script, since scripts are saved as JSON.
fn sort(paths: &[PathBuf]) -> Result<(Files<Scenario>, Files<crate::scenario::Scenario>), Failure> {
    let (mut scripts, mut scenarios) = (Vec::new(), Vec::new());
    for path in paths {
        // The folder that a failure left behind.
        let path = &match (path.join(SCRIPT), path.join(COPY)) {
            (script, _) if script.is_file() => script,
            (_, copy) if copy.is_file() => copy,
            _ => path.clone(),
        };
        let name = path.display().to_string();
        let text =
            std::fs::read(path).map_err(|error| Failure::Usage(format!("{name}: {error}")))?;
        if text.trim_ascii_start().first() == Some(&b'{') {
            let script = Scenario::read(path).map_err(|error| Failure::Usage(error.to_string()))?;
            scripts.push((name, script));
        } else {
            let scenario = crate::scenario::Scenario::read(path)
                .map_err(|error| Failure::Usage(error.to_string()))?;
            scenarios.push((name, scenario));
        }
    }
    Ok((scripts, scenarios))
}

/// The engines, with tables that evict or not. For the former this thread stays on its CPU.
fn engines(small: bool) -> Result<(Engines, Option<Pinned>), Failure> {
    let lacks = |error: &dyn std::fmt::Display| WorldError::Environment(format!("verify: {error}"));
    let (limits, pinned) = if small {
        let eviction = eviction::measure().map_err(|error| lacks(&error))?;
        (verify::small(eviction), Some(Pinned::here().map_err(|error| lacks(&error))?))
    } else {
        (LIMITS, None)
    };
    let programs = TestRunEngine::new(1, &limits, 0).map_err(|error| lacks(&error))?;
    let mut twin = Twin::new(SimEngine::new(1, &limits, 0), programs);
    twin.small = small;
    Ok((twin, pinned))
}

fn print(text: &str) -> Result<(), Failure> {
    io::stdout().write_all(text.as_bytes()).map_err(Failure::Output)
}
