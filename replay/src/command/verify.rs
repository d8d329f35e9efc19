//! `twinpath verify`.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use twinpath_kernel::test_run::TestRunEngine;
use twinpath_sim::engine::SimEngine;
use twinpath_sim::map::Eviction;
use twinpath_sim::node::Limits;
use twinpath_sim::world::WorldError;

use crate::failure::{Ending, Failure};
use crate::verify::{Outcome, Random, Scenario, Twin, TwinError};
use crate::worlds::Kind;

mod scenario;

const EXAMPLES: &str = "\
Examples:
  twinpath verify
      Random scripts through the simulator and the programs in this kernel, 200,000 packets of them;
      the first that differs is made as small as it will go, and saved with its packets.

  twinpath verify failures/twin-00000000000004d2.json
      A saved script once more.

  twinpath verify fixtures/scenarios/nodeport-remote-snat.yaml -v
      A scenario of a whole cluster in every world that this machine has: every packet at every place.

Exit codes: 0 no difference; 1 a difference, or something that was not expected; 2 wrong usage or an unreadable script; 3 no programs here;
4 nothing ran; 70 a bug.";

/// Room for connections: far more than a scenario opens, since the kernel's choice of what to evict is not
/// the simulator's.
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
    /// Saved scripts and scenarios; without any, random scripts are run
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
    /// Where a failing script is saved
    #[arg(long, value_name = "FOLDER", default_value = "failures")]
    save: PathBuf,
    /// Say also what the packets met, and in scenarios where each was seen
    #[arg(short, long)]
    verbose: bool,
}

type Engines = Twin<SimEngine, TestRunEngine>;

/// Verifies.
pub fn run(arguments: &Arguments) -> Result<Ending, Failure> {
    if arguments.scenarios.is_empty() {
        return random(arguments, &mut engines()?);
    }
    let mut ending = Ending::Nothing;
    let mut worse = |one: Ending| {
        ending = match (ending, one) {
            (Ending::Different, _) | (_, Ending::Different) => Ending::Different,
            (Ending::Fine, _) | (_, Ending::Fine) => Ending::Fine,
            _ => Ending::Nothing,
        };
    };
    let (scripts, scenarios) = sort(&arguments.scenarios)?;
    if !scripts.is_empty() {
        worse(saved(&scripts)?);
    }
    if !scenarios.is_empty() {
        worse(scenario::run(&scenarios, arguments.world, arguments.verbose)?);
    }
    Ok(ending)
}

type Files<T> = Vec<(String, T)>;

/// Reads all files. What begins with a brace is a script, since scripts are saved as JSON.
fn sort(paths: &[PathBuf]) -> Result<(Files<Scenario>, Files<crate::scenario::Scenario>), Failure> {
    let (mut scripts, mut scenarios) = (Vec::new(), Vec::new());
    for path in paths {
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

fn engines() -> Result<Engines, Failure> {
    let programs = TestRunEngine::new(1, &LIMITS, 0)
        .map_err(|error| WorldError::Environment(format!("verify: {error}")))?;
    Ok(Twin::new(SimEngine::new(1, &LIMITS, 0), programs))
}

/// Runs saved scripts.
fn saved(scripts: &[(String, Scenario)]) -> Result<Ending, Failure> {
    let mut twin = engines()?;
    let mut different = 0;
    for (name, scenario) in scripts {
        match twin.run(scenario).map_err(broken)? {
            None => print(&format!("{name}: no difference in {} steps\n", scenario.steps.len()))?,
            Some(difference) => {
                different += 1;
                print(&format!("{name}: {difference}\n"))?;
            }
        }
    }
    print(&format!(
        "{} packets, {} scripts, {different} with a difference\n",
        twin.packets,
        scripts.len()
    ))?;
    Ok(match (twin.packets, different) {
        (0, 0) => Ending::Nothing,
        (_, 0) => Ending::Fine,
        _ => Ending::Different,
    })
}

fn random(arguments: &Arguments, twin: &mut Engines) -> Result<Ending, Failure> {
    let random = Random { packets: arguments.cases, steps: 120, seed: arguments.seed };
    let bar = progress(arguments.cases);
    let outcome: Outcome = random.run(twin, |packets| bar.set_position(packets)).map_err(broken)?;
    bar.finish_and_clear();
    if arguments.verbose {
        print(&outcome.coverage.to_string())?;
    }
    let Some(failure) = &outcome.failure else {
        print(&format!("{} packets, seed {}: no difference\n", outcome.packets, arguments.seed))?;
        return Ok(if outcome.packets == 0 { Ending::Nothing } else { Ending::Fine });
    };
    print(&format!(
        "after {} packets, seed {}: {}\n",
        outcome.packets, arguments.seed, failure.difference
    ))?;
    let path = failure.save(&arguments.save).map_err(|cause| Failure::File {
        name: arguments.save.display().to_string(),
        cause,
        advice: "give --save a folder that can be written",
    })?;
    print(&format!("the smallest script that differs: twinpath verify {}\n", path.display()))?;
    Ok(Ending::Different)
}

fn progress(packets: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} packets, {eta} left");
    ProgressBar::new(packets).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn print(text: &str) -> Result<(), Failure> {
    io::stdout().write_all(text.as_bytes()).map_err(Failure::Output)
}

fn broken(error: TwinError) -> Failure {
    Failure::World(WorldError::Failed(error.to_string()))
}
