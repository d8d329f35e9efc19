//! `twinpath diff`.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use clap::{Args, ValueEnum};
use twinpath_control::tables::Options;

use super::captures::CaptureArguments;
use super::interrupt::on_signals;
use super::setup::{self, Choice, ClusterArguments, Forwarding, Setup, say};
use super::shell::value;
use crate::cluster::load::load;
use crate::diff::cause::Cause;
use crate::diff::field::{Field, named};
use crate::diff::json::{self, Json, SideOf};
use crate::diff::minimize::{self, Minimal, Names, Task, minimize, possible};
use crate::diff::side::{Side, both};
use crate::diff::stages::Stages;
use crate::diff::table::{self, Words};
use crate::diff::{Comparison, states};
use crate::failure::{Ending, Failure};
use crate::replay::feed::Inputs;
use crate::replay::feed::source::Source;
use crate::replay::hints::Hints;
use crate::replay::outcome::Totals;
use crate::worlds::Kind;
use crate::worlds::veth::add_clients;
use words::{algorithm, mode, words};

mod words;

const EXAMPLES: &str = "\
Examples:
  twinpath diff incident.pcap -f before.yaml --against after.yaml
      Before and after a rollout: whose packets go elsewhere, and which are dropped.

  twinpath diff client.pcap -f cluster.yaml --against-algorithm maglev
  twinpath diff client.pcap -f cluster.yaml --mode snat --against-mode dsr-ipip
      Two configurations of one cluster.

  twinpath diff client.pcap -f cluster.yaml --worlds sim,test-run
      The simulator and the programs in this kernel, which do the same or there is a bug.

  twinpath diff client.pcap -f a.yaml --against b.yaml --minimize min --cause B
      The smallest capture and clusters that still show cause B: min.pcap, min.yaml,
      min-against.yaml.

  twinpath diff client.pcap -f a.yaml --against b.yaml -o json |
    jq -r 'select(.type==\"cause\") | [.cause, .packets, .says] | @tsv'

Exit codes: 0 no difference; 1 differences; 2 wrong usage or unreadable input, all as of kubectl diff;
3 this machine or build lacks a world that was asked for; 4 no packet was compared; 70 a bug;
130 Ctrl-C, with what was compared until then.";

/// Send captures through two worlds, clusters or configurations, and say what differs and why
///
/// The left side is what the arguments of `replay` say. The right side is the same but for what
/// --worlds and --against... say. Differences are grouped by cause; packets that only go on as their
/// flow began belong to the cause of that. What follows from a difference, such as the address and the
/// checksums from another backend, is none of its own.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// Captures, pcap or pcapng, plain or in gzip or zstd, `-` for standard input; several are merged by time
    ///
    /// `node1=FILE` says on which node a capture was taken.
    #[arg(required = true, value_name = "[NODE=]CAPTURE")]
    captures: Vec<PathBuf>,
    #[command(flatten)]
    reading: CaptureArguments,
    #[command(flatten)]
    cluster: ClusterArguments,
    /// The worlds of both sides, or one for both; sim,test-run where nothing else differs
    #[arg(long, value_enum, value_name = "LEFT,RIGHT", value_delimiter = ',')]
    worlds: Vec<Kind>,
    /// The cluster of the right side; may be repeated, as -f. What --then says is the left side's
    #[arg(long, value_name = "STATE", requires = "states")]
    against: Vec<PathBuf>,
    /// How the right side chooses backends where a service does not say
    #[arg(long, value_enum, value_name = "ALGORITHM")]
    against_algorithm: Option<Choice>,
    /// How packets from outside reach backends on other nodes on the right side
    #[arg(long, value_enum, value_name = "MODE")]
    against_mode: Option<Forwarding>,
    /// The seed of the right side
    #[arg(long, value_name = "N")]
    against_seed: Option<u64>,
    /// The longest IP packet that links of the right side take, in bytes; 0 for any
    #[arg(long, value_name = "BYTES")]
    against_mtu: Option<u32>,
    /// Leave out differences in this field, such as ip.id or backend; may be repeated
    #[arg(long, value_name = "FIELD")]
    ignore: Vec<String>,
    /// Form of the output
    #[arg(short = 'o', long, value_enum, default_value_t = Form::Table)]
    output: Form,
    /// Write both ways of every packet that differs to this pcapng
    #[arg(short = 'w', long = "write", value_name = "OUT.pcapng")]
    write: Option<PathBuf>,
    /// Stop after so many packets
    #[arg(short = 'c', long, value_name = "N")]
    count: Option<u64>,
    /// Write the smallest capture and clusters that show a cause: OUT.pcap, OUT.yaml, ...
    #[arg(long, value_name = "OUT")]
    minimize: Option<PathBuf>,
    /// The cause that --minimize keeps
    #[arg(long, value_name = "LETTER", default_value = "A", requires = "minimize")]
    cause: String,
    /// Most runs of --minimize
    #[arg(long, value_name = "N", default_value_t = 1_000, requires = "minimize")]
    probes: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Causes, for people.
    Table,
    /// JSON lines, for programs: packets that differ, causes, and the summary.
    Json,
}

/// Compares.
pub fn run(arguments: &Arguments) -> Result<Ending, Failure> {
    let ignored: Vec<Field> =
        arguments.ignore.iter().map(|name| named(name)).collect::<Result<_, _>>()?;
    let of = [arguments.cluster.clone(), arguments.right()];
    let [mut left, mut right] = arguments.setups(&of)?;
    let inputs =
        [left.inputs.paths(), &arguments.cluster.files(), arguments.against.as_slice()].concat();
    if let Some(path) = &arguments.write {
        setup::keep_inputs("-w", path, &inputs)?;
    }
    if let Some(out) = &arguments.minimize {
        for path in possible(out, arguments.cluster.then.len()) {
            setup::keep_inputs("--minimize", &path, &inputs)?;
        }
    }
    let words = [words(arguments, &left, &of[0]), words(arguments, &right, &of[1])];
    let mut output = BufWriter::with_capacity(64 * 1024, io::stdout());
    let worlds = [left.world.name(), right.world.name()];
    let mut json = (arguments.output == Form::Json).then(|| Json::new(&mut output, worlds));
    let met = meet(arguments, [&left, &right], &ignored, json.as_mut())?;
    let mut minimal = None;
    if let Some(out) = arguments.minimize.as_ref().filter(|_| !met.stopped) {
        let cause = chosen(arguments, met.comparison.causes.all())?;
        if let Some(cause) = cause {
            minimal = Some(smallest(arguments, [&mut left, &mut right], cause, &ignored, out)?);
        } else {
            say("nothing differs, so --minimize writes nothing");
        }
    }
    let packets = met.comparison.packets;
    let different = met.comparison.causes.packets > 0;
    let complete = met.ended.is_ok() && !met.stopped;
    match json {
        Some(mut json) => {
            let [l, r] = &met.totals;
            json.end(&json::End {
                comparison: &met.comparison,
                sides: [side_of(&left, l, &words[0]), side_of(&right, r, &words[1])],
                flows: met.flows,
                complete,
                minimal: minimal.as_ref(),
                inputs: arguments.captures.iter().map(|path| path.display().to_string()).collect(),
            })
            .map_err(Failure::Output)?;
        }
        None => {
            let states = states::differences(&left.cluster.state, &right.cluster.state);
            table::write(
                &mut output,
                &table::End {
                    comparison: &met.comparison,
                    flows: met.flows,
                    sides: [&words[0], &words[1]],
                    states: &states,
                    complete,
                    minimal: minimal.as_ref(),
                },
            )
            .map_err(Failure::Output)?;
        }
    }
    met.ended?;
    if met.stopped {
        return Ok(Ending::Interrupted);
    }
    Ok(match (packets, different) {
        (0, _) => Ending::Nothing,
        (_, true) => Ending::Different,
        (_, false) => Ending::Fine,
    })
}

/// What came of both replays.
struct Met {
    comparison: Comparison,
    /// Of left and right.
    totals: [Totals; 2],
    flows: usize,
    /// Whether Ctrl-C came.
    stopped: bool,
    /// Whether the input could be read to its end.
    ended: Result<(), Failure>,
}

/// Sends all packets through both sides.
fn meet(
    arguments: &Arguments,
    [left, right]: [&Setup; 2],
    ignored: &[Field],
    mut json: Option<&mut Json<impl Write>>,
) -> Result<Met, Failure> {
    let mut feed = left.inputs.open()?;
    let mut comparison = Comparison::new(left, right, ignored);
    let mut stages = match &arguments.write {
        Some(path) => Some((path, stages(path, left, right)?)),
        None => None,
    };
    let limit = arguments.count.unwrap_or(u64::MAX);
    let state = &left.cluster.state;
    let stop = on_signals("diff")?;
    both(left, right, stages.is_some(), |left: &mut dyn Side, right: &mut dyn Side| {
        let mut broken = None;
        let mut hints = Hints::new(state);
        let ended = loop {
            if comparison.packets >= limit || stop.load(Ordering::Relaxed) {
                break Ok(());
            }
            let next = feed.next();
            let packet = match &next {
                Ok(Some(packet)) => packet,
                Ok(None) => break Ok(()),
                Err(_) => break next.map(drop),
            };
            broken = broken.or(packet.broken.copied());
            let found = comparison.packet(packet, left, right)?;
            hints.packet(packet, left.view().flows);
            let Some(found) = found else { continue };
            let Some(cause) = comparison.causes.all().get(found.cause) else { continue };
            let (number, differences) = (comparison.packets, &comparison.differences);
            if let Some(json) = &mut json {
                json.packet(number, found, cause, differences).map_err(Failure::Output)?;
            }
            if let Some((path, stages)) = &mut stages {
                let sides = [&left.view(), &right.view()];
                stages
                    .packet(number, packet, (&cause.name, found), differences, sides)
                    .map_err(|cause| writing(path, cause))?;
            }
        };
        if let Some((path, stages)) = stages {
            stages.finish().map_err(|cause| writing(path, cause))?;
        }
        let totals = [left.view().totals.clone(), right.view().totals.clone()];
        let flows = left.view().flows;
        if let Some(cause) = broken {
            let [Totals { packets, broken: count, .. }, _] = &totals;
            if packets == count {
                let name = arguments.captures.first().map(|path| path.display().to_string());
                return Err(Failure::Link { name: name.unwrap_or_default(), cause });
            }
            say(&format!("warning: {count} packets were not replayed; the first: {cause}"));
        }
        for note in feed.notes().iter().chain(&hints.notes()) {
            say(note);
        }
        // From here on the next signal ends the process.
        let stopped = stop.swap(true, Ordering::Relaxed);
        if stopped {
            say(&format!("stopped by a signal after {} packets", comparison.packets));
        }
        Ok(Met { comparison, totals, flows, stopped, ended: ended.map_err(Failure::from) })
    })
}

fn stages(path: &Path, left: &Setup, right: &Setup) -> Result<Stages, Failure> {
    let comment = format!(
        "twinpath {} diff, left: world {}, cluster {}; right: world {}, cluster {}",
        env!("CARGO_PKG_VERSION"),
        left.world.name(),
        left.cluster.source,
        right.world.name(),
        right.cluster.source
    );
    let file = File::create(path).map_err(|cause| writing(path, cause))?;
    Stages::new(Box::new(BufWriter::new(file)), &comment).map_err(|cause| writing(path, cause))
}

fn writing(path: &Path, cause: io::Error) -> Failure {
    setup::writing(path, cause, "give -w a file that can be written")
}

impl Arguments {
    /// How the right side is configured.
    fn right(&self) -> ClusterArguments {
        let mut right = self.cluster.clone();
        if !self.against.is_empty() {
            right.states.clone_from(&self.against);
            right.then.clear();
        }
        right.algorithm = self.against_algorithm.or(right.algorithm);
        right.mode = self.against_mode.or(right.mode);
        right.seed = self.against_seed.unwrap_or(right.seed);
        right.mtu = self.against_mtu.unwrap_or(right.mtu);
        right
    }

    fn worlds(&self) -> Result<[Kind; 2], Failure> {
        let same = self.against.is_empty()
            && self.against_algorithm.is_none()
            && self.against_mode.is_none()
            && self.against_seed.is_none()
            && self.against_mtu.is_none();
        match self.worlds.as_slice() {
            [] if same => Ok([Kind::Sim, Kind::TestRun]),
            [] => Ok([Kind::Sim; 2]),
            [both] if same => Err(Failure::Usage(format!(
                "--worlds {0}: there is nothing to compare it with; name two, such as {0},test-run, \
                 or say with --against... what is different on the right side",
                both.name()
            ))),
            [both] => Ok([*both; 2]),
            [left, right] => Ok([*left, *right]),
            _ => Err(Failure::Usage("--worlds: name two, LEFT,RIGHT, or one for both".into())),
        }
    }

    /// Both sides.
    fn setups(&self, [of_left, of_right]: &[ClusterArguments; 2]) -> Result<[Setup; 2], Failure> {
        if self.write.as_ref().is_some_and(|path| path == "-") {
            return Err(Failure::Usage(
                "-w - and what differs both go to standard output; give -w a file".into(),
            ));
        }
        let stdin = |paths: &[PathBuf]| paths.iter().any(|path| Source::new(path).is_stdin());
        if self.minimize.is_some() && stdin(&self.captures) {
            return Err(Failure::Usage(
                "--minimize reads the capture again; give a file instead of standard input".into(),
            ));
        }
        if stdin(&self.against) && (stdin(&self.captures) || stdin(&of_left.states)) {
            return Err(Failure::Usage(
                "standard input is named by --against and once more; give a file for one of them"
                    .into(),
            ));
        }
        let [left_world, right_world] = self.worlds()?;
        // Where there are namespaces, the clients that they need are pods on both sides.
        let veth = [left_world, right_world].contains(&Kind::Veth);
        let first = if veth { Kind::Veth } else { left_world };
        let mut left = Setup::new(of_left, &self.captures, &self.reading, first)?;
        left.world = left_world;
        let mut cluster = left.cluster.clone();
        let mut strangers = left.strangers.clone();
        if !self.against.is_empty() {
            cluster = load(&self.against)?;
            for note in &cluster.notes {
                say(note);
            }
            if veth {
                let at = left.at.as_deref().and_then(|at| at.split('/').next());
                strangers = add_clients(&mut cluster.state, at, &mut left.inputs.open()?)?;
            }
        }
        let options = of_right.options(&cluster.options);
        let right = Setup {
            inputs: Inputs::new(&[], &self.reading.reading(), false)?,
            cluster,
            options,
            seed: of_right.seed,
            world: right_world,
            at: left.at.clone(),
            mtu: of_right.mtu,
            strangers,
        };
        Ok([left, right])
    }
}

/// The cause that is to be kept; `None` if there are none.
fn chosen<'a>(arguments: &Arguments, causes: &'a [Cause]) -> Result<Option<&'a Cause>, Failure> {
    let Some(last) = causes.last() else { return Ok(None) };
    let wanted = arguments.cause.to_ascii_uppercase();
    let found = causes.iter().find(|cause| cause.name == wanted);
    found.map(Some).ok_or_else(|| {
        Failure::Usage(format!("--cause {wanted}: the causes are A to {}", last.name))
    })
}

/// Finds the smallest reproduction, writes it, and sees whether the files show the difference.
fn smallest(
    arguments: &Arguments,
    [left, right]: [&mut Setup; 2],
    cause: &Cause,
    ignored: &[Field],
    out: &Path,
) -> Result<Minimal, Failure> {
    let whole = [left.cluster.clone(), right.cluster.clone()];
    let limit = arguments.probes;
    let reduced = minimize(Task { left: &mut *left, right: &mut *right, cause, ignored, limit });
    [left.cluster, right.cluster] = whole;
    let reduced = reduced?;
    let one_cluster = arguments.against.is_empty();
    let names = minimize::write(&reduced, out, one_cluster)?;
    let again = arguments.again(&names, [&left.options, &right.options]);
    let command = again.command();
    let setups = again.setups(&[again.cluster.clone(), again.right()])?;
    let met = meet(&again, [&setups[0], &setups[1]], ignored, None::<&mut Json<io::Sink>>)?;
    if !met.comparison.causes.all().iter().any(|found| found.key == cause.key) {
        return Err(Failure::Usage(format!(
            "--minimize: {} were written, but do not show cause {} when they are read again: the \
             cluster cannot be said in full as Kubernetes objects; please report it with the input at \
             {}/issues",
            names.all().join(", "),
            cause.name,
            env!("CARGO_PKG_REPOSITORY")
        )));
    }
    Ok(reduced.minimal(&cause.name, &names, command))
}

impl Arguments {
    /// The same of what was written, which does not have the configuration that a sysdump has.
    fn again(&self, names: &Names, [left_options, right_options]: [&Options; 2]) -> Self {
        let mut cluster = self.cluster.clone();
        let algorithms = [left_options, right_options].map(algorithm);
        let modes = [left_options, right_options].map(mode);
        cluster.algorithm = Some(algorithms[0]).filter(|one| *one != Choice::Random);
        cluster.mode = Some(modes[0]).filter(|one| *one != Forwarding::Snat);
        let [left, right] = &names.states;
        let [then, _] = &names.then;
        let times = self.cluster.then.iter().map(|text| text.split('=').next().unwrap_or(text));
        let times: Vec<&str> = times.collect();
        cluster.states = vec![left.clone()];
        cluster.then = then
            .iter()
            .filter_map(|(number, path)| {
                Some(format!("{}={}", times.get(*number)?, path.display()))
            })
            .collect();
        Self {
            captures: vec![names.capture.clone()],
            reading: CaptureArguments::default(),
            cluster,
            worlds: self.worlds.clone(),
            against: if self.against.is_empty() { Vec::new() } else { vec![right.clone()] },
            against_algorithm: Some(algorithms[1]).filter(|one| *one != algorithms[0]),
            against_mode: Some(modes[1]).filter(|one| *one != modes[0]),
            against_seed: self.against_seed,
            against_mtu: self.against_mtu,
            ignore: self.ignore.clone(),
            output: self.output,
            write: None,
            count: None,
            minimize: None,
            cause: self.cause.clone(),
            probes: self.probes,
        }
    }
}

fn side_of<'a>(setup: &'a Setup, totals: &'a Totals, words: &'a Words) -> SideOf<'a> {
    SideOf {
        setup,
        algorithm: value(algorithm(&setup.options)),
        mode: value(mode(&setup.options)),
        totals,
        explain: &words.explain,
    }
}
