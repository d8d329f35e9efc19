//! `twinpath replay`.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ColorChoice, ValueEnum};
use twinpath_control::model::State;
use twinpath_control::tables::{Names, Options};
use twinpath_core::service::Algorithm;
use twinpath_sim::frame::Frame;
use twinpath_sim::world::{World, WorldError};

use crate::capture::LinkError;
use crate::cluster::{Cluster, derive::derive, load::load};
use crate::failure::{Ending, Failure};
use crate::replay::feed::Inputs;
use crate::replay::{At, Replay};
use crate::report::json::Json;
use crate::report::progress::Progress;
use crate::report::recorder::Recorder;
use crate::report::stages::Stages;
use crate::report::table::Table;
use crate::report::{Context, Report, Run, Seen};
use crate::worlds::veth::{VethStage, add_clients};
use crate::worlds::{self, Kind, Stage};

const EXAMPLES: &str = "\
Examples:
  twinpath replay incident.pcap
      What would a service datapath do with these packets? With no -f, every server that the
      capture shows becomes a service with three backends.

  kubectl get services,endpointslices,nodes,pods -A -o yaml > cluster.yaml
  twinpath replay incident.pcap -f cluster.yaml
      The same with the services of your cluster.

  twinpath replay client.pcap -f cluster.yaml -w stages.pcapng -q
  tshark -r stages.pcapng -Y 'frame.packet_id==5'
      Every stage of packet 5 on its way through the cluster.

  tcpdump -i any -w - port 80 | twinpath replay - -f cluster.yaml
  twinpath replay client.pcap -o json | jq -r 'select(.verdict==\"DROPPED\").drop_reason_desc'

Exit codes: 0 fine; 1 a reply did not arrive as captured; 2 wrong usage or unreadable input;
3 this machine or build lacks the world that was asked for; 4 no packet was replayed; 70 a bug.";

/// Replay captures through a service datapath and say what becomes of every packet
///
/// Packets to a service are sent by their client's pod. Packets from a service are replies: they are
/// sent by the backend that their connection was given, and what arrives at the client must equal what
/// was captured, byte for byte from the IP header on.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// Captures, pcap or pcapng, `-` for standard input; several are merged by time
    #[arg(required = true, value_name = "CAPTURE")]
    captures: Vec<PathBuf>,
    /// Cluster dump of kubectl, YAML or JSON, `-` for standard input; may be repeated
    ///
    /// Needs services and endpointslices (or endpoints); nodes and pods make it exact. Without any, a
    /// cluster is derived from the capture.
    #[arg(short = 'f', long = "filename", value_name = "STATE")]
    states: Vec<PathBuf>,
    /// Where packets of sources that the cluster does not know are sent from: a node, or a pod on it
    #[arg(long, value_name = "NODE[/POD]")]
    at: Option<String>,
    /// What to send the packets through
    #[arg(long, value_enum, default_value_t = Kind::Sim)]
    world: Kind,
    /// Write every stage of every packet to this pcapng, `-` for standard output
    #[arg(short = 'w', long = "write", value_name = "OUT.pcapng")]
    write: Option<PathBuf>,
    /// Form of the output
    #[arg(short = 'o', long, value_enum, default_value_t = Form::Table)]
    output: Form,
    /// The summary only
    #[arg(short, long)]
    quiet: bool,
    /// Stop after so many packets
    #[arg(short = 'c', long, value_name = "N")]
    count: Option<u64>,
    /// Seed of all that is random: the same input and seed give the same output
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How backends are chosen where a service does not say
    #[arg(long, value_enum, default_value_t = Choice::Random)]
    algorithm: Choice,
    /// Colour in the table
    #[arg(long, value_enum, default_value_t = ColorChoice::Auto, value_name = "WHEN")]
    color: ColorChoice,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// A line per packet, for people.
    Table,
    /// The same with nodes, backends, lengths and numbers.
    Wide,
    /// JSON lines, for programs; the last one is the summary.
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Choice {
    /// Any, all equally likely.
    Random,
    /// By a consistent hash.
    Maglev,
}

/// Replays.
pub fn run(arguments: &Arguments) -> Result<Ending, Failure> {
    check(arguments)?;
    let derived = arguments.states.is_empty();
    let twice = derived || arguments.world == Kind::Veth;
    let inputs = Inputs::new(&arguments.captures, twice)?;
    let mut cluster = if derived { derive(&mut inputs.open()?)? } else { load(&arguments.states)? };
    for note in &cluster.notes {
        say(note);
    }
    let algorithm = match arguments.algorithm {
        Choice::Random => Algorithm::Random,
        Choice::Maglev => Algorithm::Maglev,
    };
    let hash_seed = (arguments.seed ^ (arguments.seed >> 32)) as u32;
    let options = Options { algorithm, hash_seed, ..Options::default() };
    if arguments.world == Kind::Veth {
        let at = arguments.at.as_deref().map(|at| at.split('/').next().unwrap_or(at));
        let first = cluster.state.nodes.keys().next().cloned().unwrap_or_default();
        let node = at.map_or(first, str::to_owned);
        add_clients(&mut cluster.state, &node, &mut inputs.open()?)?;
    }
    let (state, seed) = (&cluster.state, arguments.seed);
    let refused = |error| too_large(error, &cluster);
    match arguments.world {
        Kind::Sim => {
            let mut world = worlds::simulator(state, options, seed).map_err(refused)?;
            let names = world.names(state);
            through(arguments, &inputs, &cluster, names, world)
        }
        Kind::TestRun => {
            let mut world = worlds::test_runs(state, options, seed).map_err(refused)?;
            let names = world.names(state);
            through(arguments, &inputs, &cluster, names, world)
        }
        Kind::Veth => {
            let mut world = VethStage::new(state, options, seed).map_err(refused)?;
            let names = world.names(state);
            through(arguments, &inputs, &cluster, names, world)
        }
    }
}

/// Arguments that exclude each other.
fn check(arguments: &Arguments) -> Result<(), Failure> {
    let stdin = |paths: &[PathBuf]| paths.iter().any(|path| path == "-");
    if stdin(&arguments.captures) && stdin(&arguments.states) {
        return Err(Failure::Usage(
            "standard input is named both as capture and with -f; give a file for one of them"
                .into(),
        ));
    }
    let stdout = arguments.write.as_ref().is_some_and(|path| path == "-");
    if stdout && !arguments.quiet {
        return Err(Failure::Usage(
            "-w - and the output of packets both go to standard output; add -q, or give -w a file"
                .into(),
        ));
    }
    Ok(())
}

fn too_large(error: WorldError, cluster: &Cluster) -> Failure {
    match error {
        WorldError::Failed(text) => Failure::Usage(format!(
            "{}: the cluster does not fit the tables of the datapath: {text}; give fewer services to -f",
            cluster.source
        )),
        other => other.into(),
    }
}

/// One line to the user.
fn say(line: &str) {
    // There is nobody to tell that nobody can be told.
    let _ = writeln!(io::stderr(), "twinpath: {line}");
}

fn at(text: Option<&str>, state: &State, stage: &impl Stage) -> Result<At, Failure> {
    let Some(text) = text else { return Ok(At::default()) };
    let topology = stage.topology();
    let (node_name, pod_name) = match text.split_once('/') {
        Some((node, pod)) => (node, Some(pod)),
        None => (text, None),
    };
    let Some(node) = topology.node(node_name) else {
        let known: Vec<&str> = state.nodes.keys().take(8).map(String::as_str).collect();
        return Err(Failure::Usage(format!(
            "--at {text}: there is no node {node_name}; the nodes are: {}",
            known.join(", ")
        )));
    };
    let Some(pod_name) = pod_name else { return Ok(At { node, pod: None }) };
    let matches = |name: &twinpath_control::objects::ObjectName| {
        name.name == pod_name || name.to_string() == pod_name
    };
    let pod = topology.pods.iter().position(|pod| pod.node == node && matches(&pod.name));
    match pod {
        Some(pod) => Ok(At { node, pod: Some(pod) }),
        None => Err(Failure::Usage(format!(
            "--at {text}: there is no pod {pod_name} with a device of its own on {node_name}; \
             see `kubectl get pods -A -o wide`"
        ))),
    }
}

/// Replays through a world.
fn through<S: Stage>(
    arguments: &Arguments,
    inputs: &Inputs,
    cluster: &Cluster,
    names: Names,
    stage: S,
) -> Result<Ending, Failure> {
    let at = at(arguments.at.as_deref(), &cluster.state, &stage)?;
    let mut feed = inputs.open()?;
    let exclusive = !arguments.states.is_empty();
    let mut replay = Replay::new(stage, &cluster.state, at, exclusive);
    let context = Context {
        names,
        state: &cluster.state,
        source: &cluster.source,
        seed: arguments.seed,
        world: arguments.world.name(),
    };
    let mut report = reporter(arguments);
    let mut stages = match &arguments.write {
        Some(path) => Some((path, stages(path, &context)?)),
        None => None,
    };
    let mut progress = Progress::new(&feed, arguments.quiet);
    let mut frame = Frame::default();
    let mut recorder = Recorder::default();
    let looking = !arguments.quiet || stages.is_some();
    let limit = arguments.count.unwrap_or(u64::MAX);
    let mut broken: Option<LinkError> = None;
    let ended = loop {
        if replay.totals.packets >= limit {
            break Ok(());
        }
        // Borrowed and not moved out, so that the packet need not be copied.
        let next = feed.next();
        let packet = match &next {
            Ok(Some(packet)) => packet,
            Ok(None) => break Ok(()),
            Err(_) => break next.map(drop),
        };
        if !looking {
            if let Some(cause) = packet.broken {
                broken = broken.or(Some(*cause));
            }
            replay.packet(packet, &mut frame, &mut ())?;
            progress.step(replay.totals.packets, &feed);
            continue;
        }
        recorder.clear();
        replay.packet(packet, &mut frame, &mut recorder)?;
        broken = broken.or(packet.broken.copied());
        let seen = Seen {
            topology: replay.stage.topology(),
            number: replay.totals.packets,
            packet,
            outcome: &replay.outcome,
            recorder: &recorder,
        };
        if !arguments.quiet {
            report.packet(&context, &seen).map_err(Failure::Output)?;
        }
        if let Some((path, stages)) = &mut stages {
            stages.packet(&context, &seen).map_err(|cause| writing(path, cause))?;
        }
        progress.step(replay.totals.packets, &feed);
    };
    progress.end();
    if let Some((path, stages)) = stages {
        stages.finish().map_err(|cause| writing(path, cause))?;
    }
    for warning in feed.captures().flat_map(crate::capture::Capture::warnings) {
        say(&format!("warning: {warning}"));
    }
    let totals = &replay.totals;
    if let Some(cause) = broken {
        if totals.packets == totals.broken {
            let name = inputs.paths().first().map(|path| path.display().to_string());
            return Err(Failure::Link { name: name.unwrap_or_default(), cause });
        }
        say(&format!("warning: {} packets were not replayed; the first: {cause}", totals.broken));
    }
    for (number, difference) in &totals.differences {
        say(&format!("packet {number}: reply: {difference}"));
    }
    let run = Run { totals, flows: replay.flows(), complete: ended.is_ok(), paths: inputs.paths() };
    report.summary(&context, &run).map_err(Failure::Output)?;
    ended?;
    Ok(match (totals.packets, totals.different) {
        (0, _) => Ending::Nothing,
        (_, 0) => Ending::Fine,
        _ => Ending::Different,
    })
}

fn reporter(arguments: &Arguments) -> Box<dyn Report> {
    let colour = match arguments.color {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => {
            anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never
        }
    };
    let output: Box<dyn Write> = if arguments.write.as_ref().is_some_and(|path| path == "-") {
        Box::new(io::stderr())
    } else if io::stdout().is_terminal() {
        Box::new(io::stdout())
    } else {
        Box::new(BufWriter::with_capacity(64 * 1024, io::stdout()))
    };
    match arguments.output {
        Form::Table => Box::new(Table::new(output, false, colour)),
        Form::Wide => Box::new(Table::new(output, true, colour)),
        Form::Json => Box::new(Json::new(output)),
    }
}

fn stages(path: &Path, context: &Context<'_>) -> Result<Stages, Failure> {
    let output: Box<dyn Write> = if path == "-" {
        Box::new(io::stdout())
    } else {
        Box::new(File::create(path).map_err(|cause| writing(path, cause))?)
    };
    Stages::new(Box::new(BufWriter::new(output)), context).map_err(|cause| writing(path, cause))
}

fn writing(path: &Path, cause: io::Error) -> Failure {
    if path == "-" {
        return Failure::Output(cause);
    }
    Failure::File {
        name: path.display().to_string(),
        cause,
        advice: "give -w a file that can be written",
    }
}
