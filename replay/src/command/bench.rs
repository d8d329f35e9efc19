//! `twinpath bench`.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use twinpath_kernel::object;
use twinpath_sim::world::WorldError;

use super::interrupt::on_signals;
use super::shell::typed;
use crate::bench::baseline::{self, Comparison};
use crate::bench::exchange::Exchange;
use crate::bench::lab::{Hook, Lab};
use crate::bench::packets::Packets;
use crate::bench::result::{Guest, Measure, Missing, Results, VERSION};
use crate::bench::rival::{self, Rival};
use crate::bench::run::{self, At, Experiment, Stop};
use crate::bench::sockets::Sockets;
use crate::bench::subject::Subject;
use crate::bench::updates::Updates;
use crate::bench::{gauge, json, machine, page, text, view};
use crate::failure::{Ending, Failure};

const EXAMPLES: &str = "\
Examples:
  sudo twinpath bench
      What would we gain? twinpath beside every kind of rules that this machine can load, with 1, 100 and 1,000
      services: the result in words, tables with ratios, where nothing is gained, how it was measured. About
      ten minutes on two processors, a minute with --quick.

  sudo twinpath bench --against iptables-legacy --services 10,10000 --report out.html
      One rival, which must be there, and a page to show to others.

  sudo twinpath bench --services 100000
      twinpath alone: rules of more than 10,000 services are not loaded. (10,000 in one transaction take nftables
      a minute and a half; --longest 300 waits for it.)

  sudo twinpath bench --save-baseline before
  sudo twinpath bench --baseline before --fail-on regression
      What changed since: exit 1 where one of twinpath's own figures became worse.

  sudo twinpath bench --quick -o json | jq -r 'select(.ratio)|[.measure,.services,.subject,.ratio.value]|@tsv'

Everything runs in network namespaces of its own, which are gone afterwards, also after Ctrl-C: the first one
ends the run with what was measured until then, a second one at once.

Exit codes: 0 fine; 1 a measurement failed, or a regression that --fail-on asks for; 2 wrong usage or an
unreadable baseline; 3 this machine or build lacks what was asked for; 4 nothing ran; 70 a bug; 130 Ctrl-C.";

/// Rounds by default: so many that intervals are drawn by resampling.
const ROUNDS: u32 = 8;
const QUICK_ROUNDS: u32 = 3;
/// Frames that make a sample: some tenths of a second.
const FRAMES: u32 = 200_000;
const QUICK_FRAMES: u32 = 50_000;
const SERVICES: [u32; 3] = [1, 100, 1_000];
const QUICK_SERVICES: [u32; 2] = [1, 100];

/// Compare with iptables, nftables and IPVS on this machine (root)
///
/// A cluster with so many services of two endpoints each is made in network namespaces, once for every
/// subject: twinpath, kube-proxy's rules of each kind, plain forwarding and bare programs as yardsticks. Rounds
/// take the subjects in turn with the same packets; ratios are made round by round, and above 1 twinpath is
/// better.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// With whom to compare: iptables-legacy, iptables-nft, nftables, ipvs; otherwise all that this machine has
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    against: Vec<Subject>,
    /// Numbers of services, 1 to 100,000 [default: 1,100,1000]
    #[arg(long, value_name = "LIST", value_delimiter = ',',
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    services: Vec<u32>,
    /// Measure these alone, by their names in JSON: established, new-flow, ...
    #[arg(long, value_name = "MEASURE", value_delimiter = ',')]
    only: Vec<Measure>,
    /// Rounds, each with a sample of everything [default: 8, or 3 with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: Option<u32>,
    /// The longest that a rival's tool may take for an operation: where it takes longer, that is said in the
    /// place of a figure
    #[arg(long, value_name = "SECONDS", default_value_t = rival::LONGEST.as_secs(),
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    longest: u64,
    /// A first look: fewer services, paths, rounds and packets
    #[arg(long)]
    quick: bool,
    /// Write a page of one file, with charts
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Form of the output
    #[arg(short = 'o', long, value_enum, default_value_t = Form::Table)]
    output: Form,
    /// Keep the run under a name, or in a file where there is a '/' or '.json' in it
    #[arg(long, value_name = "NAME")]
    save_baseline: Option<String>,
    /// Compare with a run that was kept
    #[arg(long, value_name = "NAME")]
    baseline: Option<String>,
    /// Exit with 1 where one of twinpath's own figures is worse than the baseline's
    #[arg(long, value_name = "WHAT", value_enum, requires = "baseline")]
    fail_on: Option<FailOn>,
    /// No bar, and no notes while measuring
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,
    /// Say on standard error what is measured, a line each
    #[arg(short, long)]
    verbose: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Words and tables, for people
    Table,
    /// JSON lines, for programs; the last one is the summary
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// A figure of twinpath's own is worse than the baseline's
    Regression,
}

/// Compares.
pub fn run(arguments: &Arguments) -> Result<Ending, Failure> {
    // What would be found wrong after minutes of measuring is found before.
    let before = arguments.baseline.as_deref().map(baseline::load).transpose().map_err(usage)?;
    if let Some(name) = &arguments.save_baseline {
        baseline::path(name).map_err(usage)?;
    }
    if let Some(path) = &arguments.report {
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .map_err(|cause| file(path, cause))?;
    }
    if object::bytes().is_none() || object::bare().is_none() {
        return Err(WorldError::Environment(format!("bench: {}", object::MISSING)).into());
    }
    let stop = Stop::new(on_signals("bench")?);
    let began = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let machine = machine::card();
    let (rivals, mut missing) = rivals(arguments, &stop)?;
    let measures =
        if arguments.only.is_empty() { Measure::ALL.to_vec() } else { arguments.only.clone() };
    missing.extend(beyond(&services(arguments), &rivals));
    let guest = guest(&measures, &mut missing);
    let experiments = experiments(arguments, &rivals, &measures);
    let rounds = arguments.rounds.unwrap_or(if arguments.quick { QUICK_ROUNDS } else { ROUNDS });
    let mut progress = Progress::new(arguments);
    let measured = run::run(experiments, rounds as usize, &stop, |at| progress.tell(at));
    progress.end();
    missing.extend(measured.missing);
    let results = Results {
        v: VERSION,
        machine,
        command: typed(),
        began,
        took: measured.took,
        complete: measured.complete && !stop.is_set(),
        figures: measured.figures,
        guest,
        missing,
    };
    let comparison = before.as_ref().zip(arguments.baseline.as_deref());
    let comparison = comparison.map(|(before, name)| baseline::compare(name, before, &results));
    tell(arguments, &results, comparison.as_ref())?;
    let regression =
        arguments.fail_on.is_some() && comparison.as_ref().is_some_and(Comparison::is_regression);
    Ok(match () {
        () if stop.is_set() => Ending::Interrupted,
        () if measured.broken || regression => Ending::Different,
        () if results.figures.is_empty() => Ending::Nothing,
        () => Ending::Fine,
    })
}

/// Prints, and writes the files that were asked for.
fn tell(
    arguments: &Arguments,
    results: &Results,
    comparison: Option<&Comparison<'_>>,
) -> Result<(), Failure> {
    // Files first: standard output may be closed.
    if let Some(path) = &arguments.report {
        let page = page::page(results, comparison);
        std::fs::write(path, page).map_err(|cause| file(path, cause))?;
    }
    if let Some(name) = &arguments.save_baseline {
        if results.complete {
            let path = baseline::save(name, results).map_err(usage)?;
            say(arguments, &format!("kept as {}", path.display()));
        } else {
            say(arguments, &format!("not kept as {name}: the run is incomplete"));
        }
    }
    let shown = match arguments.output {
        Form::Table => text::report(results, comparison),
        Form::Json => json::lines(results, comparison),
    };
    let mut output = io::stdout().lock();
    output.write_all(shown.as_bytes()).and_then(|()| output.flush()).map_err(Failure::Output)
}

/// The rivals that there are; those that there are not, unless they were asked for by name: then it is an
/// error.
fn rivals(arguments: &Arguments, stop: &Stop) -> Result<(Vec<Subject>, Vec<Missing>), Failure> {
    // Ours first: without namespaces and programs there is nothing to ask the others for.
    drop(Lab::new(Subject::Twinpath, Hook::Tc, 1)?);
    let named = &arguments.against;
    let (mut there, mut missing) = (Vec::new(), Vec::new());
    for rival in Subject::RIVALS {
        if stop.is_set() || !(named.is_empty() || named.contains(&rival)) {
            continue;
        }
        match Rival::new(rival) {
            Ok(_) => there.push(rival),
            // A tool that a signal ends is not missing.
            Err(_) if stop.is_set() => {}
            Err(gap) if named.is_empty() => missing.push(gap),
            Err(Missing { why, .. }) => {
                return Err(WorldError::Environment(format!("--against {rival}: {why}")).into());
            }
        }
    }
    Ok((there, missing))
}

/// The most services that rivals are loaded with. Time that grows with their number, or its square, makes
/// more of them hours.
const MOST: u32 = 10_000;

/// The numbers of services.
fn services(arguments: &Arguments) -> Vec<u32> {
    let mut services = arguments.services.clone();
    if services.is_empty() {
        services = if arguments.quick { QUICK_SERVICES.into() } else { SERVICES.into() };
    }
    services.sort_unstable();
    services.dedup();
    services
}

/// Rivals that are not loaded, since there are too many services.
fn beyond(services: &[u32], rivals: &[Subject]) -> Vec<Missing> {
    let many = services.iter().filter(|services| **services > MOST);
    let gap = |services: u32, rival: &Subject| Missing {
        what: format!("{rival} at {}", view::count(services, "service")),
        why: format!(
            "rules of more than {} are not loaded: the time for it grows faster than their number",
            view::count(MOST, "service")
        ),
    };
    many.flat_map(|services| rivals.iter().map(move |rival| gap(*services, rival))).collect()
}

/// What a guest has counted, where this machine's kernel has no IPVS.
fn guest(measures: &[Measure], missing: &mut [Missing]) -> Option<Guest> {
    let ipvs = missing.iter_mut().find(|gap| gap.what == Subject::Ipvs.name())?;
    let guest = gauge::guest(object::gauge(), measures)?;
    if guest.has(Subject::Ipvs) {
        ipvs.why += "; instructions per packet were counted in a guest that has it";
    }
    Some(guest)
}

/// All experiments that there are for these measures, small ones first.
fn experiments(
    arguments: &Arguments,
    rivals: &[Subject],
    measures: &[Measure],
) -> Vec<Box<dyn Experiment>> {
    let longest = Duration::from_secs(arguments.longest);
    let frames = if arguments.quick { QUICK_FRAMES } else { FRAMES };
    let mut experiments: Vec<Box<dyn Experiment>> = Vec::new();
    for services in services(arguments) {
        let rivals = if services > MOST { &[] } else { rivals };
        let packets = Packets::new(services, rivals, measures, frames, arguments.quick);
        experiments.extend(packets.map(|packets| Box::new(packets) as Box<dyn Experiment>));
        let updates = Updates::new(services, rivals, measures, longest);
        experiments.extend(updates.map(|updates| Box::new(updates) as Box<dyn Experiment>));
        let exchange = Exchange::new(services, rivals, measures, longest);
        experiments.extend(exchange.map(|exchange| Box::new(exchange) as Box<dyn Experiment>));
        let sockets = Sockets::new(services, rivals, measures, arguments.quick);
        experiments.extend(sockets.map(|sockets| Box::new(sockets) as Box<dyn Experiment>));
    }
    experiments
}

fn usage(error: impl std::fmt::Display) -> Failure {
    Failure::Usage(error.to_string())
}

fn file(path: &std::path::Path, cause: io::Error) -> Failure {
    let name = path.display().to_string();
    Failure::File { name, cause, advice: "give --report a file that can be written" }
}

fn say(arguments: &Arguments, what: &str) {
    if !arguments.quiet {
        // Nobody to tell where this fails too.
        let _ = writeln!(io::stderr(), "twinpath: {what}");
    }
}

/// How far it is: a bar where standard error is a terminal, a line per experiment where asked for.
struct Progress {
    bar: Option<ProgressBar>,
    lines: bool,
    last: String,
}

impl Progress {
    fn new(arguments: &Arguments) -> Self {
        let shown = io::stderr().is_terminal() && !arguments.quiet && !arguments.verbose;
        let bar = shown.then(|| ProgressBar::new(0));
        let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} rounds  {msg}  {eta}");
        if let (Some(bar), Ok(style)) = (&bar, style) {
            bar.set_style(style);
        }
        Self { bar, lines: arguments.verbose, last: String::new() }
    }

    fn tell(&mut self, at: At<'_>) {
        if let Some(bar) = &self.bar {
            bar.set_length(at.of as u64);
            bar.set_position(at.done as u64);
            bar.set_message(at.experiment.to_owned());
        }
        if self.lines && self.last != at.experiment {
            at.experiment.clone_into(&mut self.last);
            // Nobody to tell where this fails too.
            let _ = writeln!(
                io::stderr(),
                "twinpath: {} ({} of {} rounds)",
                at.experiment,
                at.done,
                at.of
            );
        }
    }

    fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{exchange, packets, sockets, updates};

    #[test]
    fn every_measure_is_of_one_experiment() {
        let all =
            [&packets::MEASURES[..], &updates::MEASURES, &exchange::MEASURES, &sockets::MEASURES];
        let all = all.concat();
        for measure in Measure::ALL {
            assert_eq!(all.iter().filter(|known| **known == measure).count(), 1, "{measure:?}");
        }
    }

    #[test]
    fn rivals_that_are_not_loaded_are_named() {
        let gaps = beyond(&[1, 10_000, 100_000], &[Subject::IptablesLegacy, Subject::Nftables]);
        let what: Vec<&str> = gaps.iter().map(|gap| gap.what.as_str()).collect();
        assert_eq!(what, ["iptables-legacy at 100,000 services", "nftables at 100,000 services"]);
    }
}
