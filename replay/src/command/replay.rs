//! `twinpath replay`.

mod hint;
mod pass;
mod show;

use std::path::PathBuf;

use clap::{Args, ColorChoice, ValueEnum};

use super::captures::CaptureArguments;
use super::interrupt::on_signals;
use super::setup::{ClusterArguments, Setup, keep_inputs};
use crate::failure::{Ending, Failure};
use crate::filter::conditions::Conditions;
use crate::filter::{Filter, positional};
use crate::report::save;
use crate::worlds::Kind;
use show::Show;

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

  twinpath replay node-a.pcap node-b.pcap -f cluster.yaml 'tcp port 80 and host 10.0.0.1'
  twinpath replay client.pcap -f cluster.yaml --to-service default/web --verdict dropped
      Only some packets, by a filter of tcpdump's or by flags of hubble's.

  twinpath replay client.pcap -f cluster.yaml -q --services --flows
      Sums of each service, with the share of each backend, and of each flow.

  twinpath replay incident.pcap -f cluster.yaml --report incident.html -q
      A page for whoever was not there: verdicts over time, drops, shares, full tables.

  tcpdump -i any -w - port 80 | twinpath replay - -f cluster.yaml
  twinpath replay client.pcap -o json | jq -r 'select(.verdict==\"DROPPED\").drop_reason_desc'

Filters choose what is shown, written with -w, and summed up by --flows and --services. All packets
are replayed all the same, since what becomes of one depends on those before it; with --only, those
that the filter expression does not match are left out altogether. The expression is about packets as
captured. Flags that name addresses and ports match a packet if they do before or after its
translation: --ip 10.244.1.11 finds the packets that a service sent to this backend. Several of one
flag are alternatives, different flags must all hold, --not turns the one flag behind it around.

Exit codes: 0 fine; 1 a reply did not arrive as captured, or --fail-on; 2 wrong usage or unreadable
input; 3 this machine or build lacks the world that was asked for; 4 no packet was replayed or none is
shown; 70 a bug; 130 Ctrl-C.";

/// Replay captures through a service datapath and say what becomes of every packet
///
/// Packets to a service are sent by their client's pod. Packets from a service are replies: they are
/// sent by the backend that their connection was given, and what arrives at the client must equal what
/// was captured, byte for byte from the IP header on.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// Captures, pcap or pcapng, plain or in gzip or zstd, `-` for standard input; several are merged by time. Behind
    /// them, a filter expression as tcpdump takes it: only packets that it matches are shown
    ///
    /// `node1=FILE` says on which node a capture was taken.
    #[arg(required = true, value_name = "[NODE=]CAPTURE|EXPRESSION")]
    words: Vec<String>,
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
    /// Write a page of one file, with charts: what happened when, and why; of all packets, shown or not
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Form of the output
    #[arg(short = 'o', long, value_enum, default_value_t = Form::Table)]
    output: Form,
    /// The summary only
    #[arg(short, long)]
    quiet: bool,
    /// Sums of each flow, behind the packets or, with -q, instead of them
    #[arg(long)]
    flows: bool,
    /// Sums of each service and of its backends, behind the packets or, with -q, instead of them
    #[arg(long)]
    services: bool,
    /// No names of columns in tables
    #[arg(long)]
    no_headers: bool,
    /// End with exit code 1 if this happened to a packet that is shown; may be repeated. A reply that
    /// does not arrive as captured always does
    #[arg(long, value_enum, value_name = "WHAT")]
    fail_on: Vec<FailOn>,
    #[command(flatten)]
    conditions: Conditions,
    /// The first N of them
    #[arg(long, value_name = "N", help_heading = SHOWN)]
    first: Option<u64>,
    /// The last N of them, at most a million
    #[arg(long, value_name = "N", help_heading = SHOWN, conflicts_with = "first",
        value_parser = clap::value_parser!(u64).range(..=1_000_000))]
    last: Option<u64>,
    /// Replay only packets that the filter expression matches, as if there were no others
    #[arg(long, help_heading = SHOWN)]
    only: bool,
    /// Stop after so many packets
    #[arg(short = 'c', long, value_name = "N")]
    count: Option<u64>,
    /// Threads that make the lines of packets; the output is the same for any number
    ///
    /// Packets are replayed in order by one more. With -q there are no lines, and no use for it.
    #[arg(short = 'j', long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
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
    /// JSON lines that `hubble observe --input-file` takes; the summary goes to standard error.
    Hubble,
}

/// What ends the command with exit code 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// A packet is dropped.
    Drop,
    /// A reply has no request before it.
    Unmatched,
    /// A reply does not arrive as captured.
    Difference,
}

/// Above the options about which packets are shown.
const SHOWN: &str = crate::filter::conditions::HEADING;

/// Replays.
pub fn run(arguments: &Arguments) -> Result<Ending, Failure> {
    let usage = |text: &str| Err(Failure::Usage(text.into()));
    if arguments.write.as_ref().is_some_and(|path| path == "-") && !arguments.quiet {
        return usage(
            "-w - and the output of packets both go to standard output; add -q, or give -w a file",
        );
    }
    if arguments.write.is_some() && arguments.write == arguments.report {
        return usage("-w and --report name the same file; give two");
    }
    if arguments.output == Form::Hubble && (arguments.flows || arguments.services) {
        return usage(
            "-o hubble has lines of packets alone; --flows and --services go with the others",
        );
    }
    let (captures, expression) = positional::split(&arguments.words)?;
    if arguments.only && expression.is_none() {
        return usage("--only is about a filter expression; give one behind the captures");
    }
    if let Some(path) = &arguments.report {
        save::check(path).map_err(|cause| show::saving(path, cause))?;
    }
    let setup = Setup::new(&arguments.cluster, &captures, &arguments.reading, arguments.world)?;
    let inputs = [setup.inputs.paths(), &arguments.cluster.files()].concat();
    for (option, output) in [("-w", &arguments.write), ("--report", &arguments.report)] {
        output.as_ref().map_or(Ok(()), |output| keep_inputs(option, output, &inputs))?;
    }
    let filter = Filter { expression, conditions: arguments.conditions.clone() };
    let stop = on_signals("replay")?;
    setup.run(Show { arguments, setup: &setup, captures: &captures, filter, stop: &stop })
}
