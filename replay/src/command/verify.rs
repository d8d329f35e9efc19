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
mod netfilter;
mod random;
mod scenario;

use checks::Checks;
use random::Ask;

const EXAMPLES: &str = "\
Examples:
  twinpath verify
      Every oracle that this machine can ask: 200,000 packets of random scripts through the simulator and the
      programs in this kernel, judged by a reference of what is owed, and kube-proxy's rules in namespaces.
      The first script that goes wrong is made as small as it will go, and saved with its packets.

  twinpath verify --oracle twin --cases 1000000 --seed 7 --junit-file verify.xml
      A long run for CI, of one oracle, which must be there.

  twinpath verify failures/twin-00000000000004d2
      A failure once more.

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

/// Ask oracles whether the datapath does what it should
///
/// A script is packets, waits, changes of services, evictions and failing writes on one node. The twin runs it
/// in the simulator and through the programs in this kernel (root), and compares the decision, every byte,
/// every entry that the datapath writes, and the counters. The spec judges every packet of it by a reference
/// that was written apart from the datapath.
///
/// Netfilter gets the same connections by kube-proxy's rules for iptables and nftables, in namespaces (root);
/// what differs must be one of the deviations that are listed.
///
/// A scenario is a YAML file with a cluster, clients outside it, and packets. Compared are its expectations,
/// every packet at every place that a world can see, and every conntrack entry at the end.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// Scenarios, saved scripts, folders that failures left behind, or captures, whose connections are sent
    /// through netfilter, too; without any, random scripts and rows are run
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<PathBuf>,
    /// Ask this oracle alone; otherwise every one that this machine can ask
    #[arg(long, value_name = "ORACLE", value_enum)]
    oracle: Option<Oracle>,
    /// Look at this world alone; otherwise at every one that there is here
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
    let mut checks = Checks::new(io::stdout());
    let ran = all(arguments, &mut checks);
    // What was checked until something broke is told, too.
    if let Some(path) = &arguments.junit_file {
        checks.write_junit(path)?;
    }
    ran?;
    checks.finish(arguments.seed)
}

/// What says whether the datapath does what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Oracle {
    /// The simulator and the programs in this kernel agree, bit by bit
    Twin,
    /// Every packet is treated as a reference of what a service load balancer owes allows
    Spec,
    /// Linux netfilter with kube-proxy's rules does the same, but for the deviations that are listed
    Netfilter,
    /// All of them, and none may be left out
    All,
}

impl Arguments {
    /// Whether an oracle is to be asked; and whether it has to be there.
    fn asks(&self, oracle: Oracle) -> (bool, bool) {
        match self.oracle {
            None => (true, false),
            Some(Oracle::All) => (true, true),
            Some(named) => (named == oracle, true),
        }
    }

    /// The worlds among those that an oracle knows that are to be looked at.
    fn worlds(&self, known: &[Kind]) -> Vec<Kind> {
        known.iter().copied().filter(|kind| self.world.is_none_or(|only| only == *kind)).collect()
    }

    /// What is asked of random scripts.
    fn ask(&self) -> Ask<'_> {
        Ask { packets: self.cases, seed: self.seed, save: &self.save, verbose: self.verbose }
    }
}

fn all(arguments: &Arguments, checks: &mut Checks<impl Write>) -> Result<(), Failure> {
    let Inputs { scripts, scenarios, captures } = sort(&arguments.scenarios)?;
    for (name, script) in &scripts {
        saved(checks, name, script, arguments)?;
    }
    for (name, found) in &scenarios {
        scenario::run(checks, (name, found), arguments)?;
    }
    if !captures.is_empty() {
        netfilter::captures(checks, &captures, arguments)?;
    }
    if !arguments.scenarios.is_empty() {
        return Ok(());
    }
    let (twin, must) = arguments.asks(Oracle::Twin);
    for kind in arguments.worlds(&[Kind::TestRun]).into_iter().filter(|_| twin) {
        let ask = arguments.ask();
        let place = ("twin", kind.name());
        checks.run(place, "random scripts", must, || random::twin(&ask, false))?;
        let ask = Ask { packets: ask.packets / 4, ..ask };
        checks.run(place, "random scripts, small tables", must, || random::twin(&ask, true))?;
    }
    let (spec, must) = arguments.asks(Oracle::Spec);
    for kind in arguments.worlds(&[Kind::Sim, Kind::TestRun]).into_iter().filter(|_| spec) {
        let ask = arguments.ask();
        checks.run(("spec", kind.name()), "random scripts", must, || random::spec(&ask, kind))?;
    }
    let (netfilter, must) = arguments.asks(Oracle::Netfilter);
    if netfilter && !arguments.worlds(&[Kind::Sim]).is_empty() {
        netfilter::rows(checks, must, arguments)?;
    }
    Ok(())
}

/// Runs a saved script, by both oracles that know such, unless one was named.
fn saved(
    checks: &mut Checks<impl Write>,
    name: &str,
    script: &Scenario,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let (twin, must) = arguments.asks(Oracle::Twin);
    for kind in arguments.worlds(&[Kind::TestRun]).into_iter().filter(|_| twin) {
        let check = || {
            let (mut twin, _pinned) = engines(script.setup.small)?;
            random::again(&mut twin, script)
        };
        checks.run(("twin", kind.name()), name, must, check)?;
    }
    let (spec, must) = arguments.asks(Oracle::Spec);
    for kind in arguments.worlds(&[Kind::Sim, Kind::TestRun]).into_iter().filter(|_| spec) {
        let check = || random::in_world(kind, random::Again(script));
        checks.run(("spec", kind.name()), name, must, check)?;
    }
    Ok(())
}

type Files<T> = Vec<(String, T)>;

/// What was given to be run.
#[derive(Default)]
struct Inputs {
    scripts: Files<Scenario>,
    scenarios: Files<crate::scenario::Scenario>,
    captures: Vec<PathBuf>,
}

/// Reads all files but captures. What begins with a brace is a script, since scripts are saved as JSON.
fn sort(paths: &[PathBuf]) -> Result<Inputs, Failure> {
    let mut inputs = Inputs::default();
    for path in paths {
        // The folder that a failure left behind.
        let path = &match (path.join(SCRIPT), path.join(COPY)) {
            (script, _) if script.is_file() => script,
            (_, copy) if copy.is_file() => copy,
            _ => path.clone(),
        };
        let name = path.display().to_string();
        let kind = path.extension().and_then(|kind| kind.to_str());
        if matches!(kind, Some("pcap" | "pcapng" | "cap")) {
            inputs.captures.push(path.clone());
            continue;
        }
        let text =
            std::fs::read(path).map_err(|error| Failure::Usage(format!("{name}: {error}")))?;
        if text.trim_ascii_start().first() == Some(&b'{') {
            let script = Scenario::read(path).map_err(|error| Failure::Usage(error.to_string()))?;
            inputs.scripts.push((name, script));
        } else {
            let scenario = crate::scenario::Scenario::read(path)
                .map_err(|error| Failure::Usage(error.to_string()))?;
            inputs.scenarios.push((name, scenario));
        }
    }
    Ok(inputs)
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
