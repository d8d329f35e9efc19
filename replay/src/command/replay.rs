//! `twinpath replay`.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ColorChoice, ValueEnum};
use twinpath_control::tables::Names;
use twinpath_sim::frame::Frame;

use super::captures::CaptureArguments;
use super::setup::{self, ClusterArguments, Job, Setup, say};
use crate::capture::LinkError;
use crate::failure::{Ending, Failure};
use crate::replay::Replay;
use crate::replay::hints::Hints;
use crate::report::json::Json;
use crate::report::progress::Progress;
use crate::report::recorder::Recorder;
use crate::report::stages::Stages;
use crate::report::table::Table;
use crate::report::{Context, Report, Run, Seen};
use crate::worlds::{Kind, Stage};

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

  twinpath replay node1=a.pcap.gz node2=b.pcap.zst --dedup --offset node2=-3.1ms -f cluster.yaml
      Captures of two nodes by one clock, each packet once.

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
    /// Captures, pcap or pcapng, plain or in gzip or zstd, `-` for standard input; several are merged by time
    ///
    /// `node1=FILE` says on which node a capture was taken.
    #[arg(required = true, value_name = "[NODE=]CAPTURE")]
    captures: Vec<PathBuf>,
    #[command(flatten)]
    reading: CaptureArguments,
    #[command(flatten)]
    cluster: ClusterArguments,
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

/// Replays.
pub fn run(arguments: &Arguments) -> Result<Ending, Failure> {
    if arguments.write.as_ref().is_some_and(|path| path == "-") && !arguments.quiet {
        return Err(Failure::Usage(
            "-w - and the output of packets both go to standard output; add -q, or give -w a file"
                .into(),
        ));
    }
    let setup =
        Setup::new(&arguments.cluster, &arguments.captures, &arguments.reading, arguments.world)?;
    setup.run(Show { arguments, setup: &setup })
}

/// Sends all packets and says what became of them.
struct Show<'a> {
    arguments: &'a Arguments,
    setup: &'a Setup,
}

impl Job for Show<'_> {
    type Output = Ending;

    fn run<S: Stage>(self, mut replay: Replay<S>, names: Names) -> Result<Ending, Failure> {
        let Self { arguments, setup } = self;
        let mut feed = setup.inputs.open()?;
        let context = Context {
            names,
            state: &setup.cluster.state,
            source: &setup.cluster.source,
            seed: setup.seed,
            world: setup.world.name(),
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
        let mut hints = Hints::new(&setup.cluster.state);
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
                hints.packet(packet, replay.flows());
                progress.step(replay.totals.packets, &feed);
                continue;
            }
            recorder.clear();
            replay.packet(packet, &mut frame, &mut recorder)?;
            hints.packet(packet, replay.flows());
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
        for note in feed.notes().iter().chain(&hints.notes()) {
            say(note);
        }
        let totals = &replay.totals;
        if let Some(cause) = broken {
            if totals.packets == totals.broken {
                let name = setup.inputs.paths().first().map(|path| path.display().to_string());
                return Err(Failure::Link { name: name.unwrap_or_default(), cause });
            }
            say(&format!(
                "warning: {} packets were not replayed; the first: {cause}",
                totals.broken
            ));
        }
        for (number, difference) in &totals.differences {
            say(&format!("packet {number}: reply: {difference}"));
        }
        let run = Run {
            totals,
            flows: replay.flows(),
            complete: ended.is_ok(),
            paths: setup.inputs.paths(),
        };
        report.summary(&context, &run).map_err(Failure::Output)?;
        ended?;
        Ok(match (totals.packets, totals.different) {
            (0, _) => Ending::Nothing,
            (_, 0) => Ending::Fine,
            _ => Ending::Different,
        })
    }
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
    setup::writing(path, cause, "give -w a file that can be written")
}
