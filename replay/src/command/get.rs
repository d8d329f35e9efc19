//! `twinpath get`.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;
use twinpath_control::model::State;
use twinpath_control::objects::ObjectName;
use twinpath_sim::frame::Frame;
use twinpath_sim::world::WorldError;

use super::captures::CaptureArguments;
use super::setup::{ClusterArguments, Setup, say};
use crate::failure::{Ending, Failure};
use crate::get::print::{self, Row};
use crate::get::{Filter, NodeView, View, connections, lb, maglev, rest, services};
use crate::worlds::Kind;

const EXAMPLES: &str = "\
Examples:
  twinpath get services -f cluster.yaml
  twinpath get lb -f cluster.yaml --node worker-1
      Frontends and backends as a node's maps hold them; the second in the form of
      `cilium-dbg bpf lb list`.

  twinpath get maglev -f cluster.yaml --service default/web --algorithm maglev
      Each backend's share of the table, and how many slots would move if it went.

  twinpath get conntrack incident.pcap -f cluster.yaml
  twinpath get conntrack incident.pcap -f cluster.yaml -o conntrack | awk '{print $3}'
      The connections that are left after the capture; the second token by token as `conntrack -L`.

  twinpath get services -f cluster.yaml -o ipvs
      As `ipvsadm -Sn` would print the same services.

conntrack, nat, affinity and fragments are written by the datapath itself, so they have entries only
after captures. Nothing attaches the datapath to a real node yet, so there are no live maps to read:
without -f and captures the command ends with 3.

Exit codes: 0 fine; 2 wrong usage or unreadable input; 3 nothing to read the tables of; 4 no row; 70 a bug.";

/// Show the tables of a node: those made from a cluster dump, and those left by a capture's packets
///
/// Static tables are of one node, the first or that of --node; what packets leave behind is shown of all
/// nodes, or of that one.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// Which table
    #[arg(value_enum, value_name = "TABLE")]
    table: Table,
    /// Captures to send through the simulator first, `-` for standard input; `NODE=FILE` says on which
    /// node one was taken
    #[arg(value_name = "[NODE=]CAPTURE")]
    captures: Vec<PathBuf>,
    #[command(flatten)]
    reading: CaptureArguments,
    #[command(flatten)]
    cluster: ClusterArguments,
    /// Of this node
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// Rows of services of this namespace only
    #[arg(short = 'n', long, value_name = "NAMESPACE", conflicts_with = "all_namespaces")]
    namespace: Option<String>,
    /// Rows of services of all namespaces: as without it
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Rows of this service only
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = object_name)]
    service: Option<ObjectName>,
    /// Form of the output
    #[arg(short = 'o', long, value_enum, default_value_t = Form::Table)]
    output: Form,
    /// No line with the names of columns
    #[arg(long)]
    no_headers: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Table {
    /// Frontends with their backends.
    #[value(alias = "svc", alias = "service")]
    Services,
    /// Backends by number.
    #[value(alias = "backend")]
    Backends,
    /// The entries of the service table, one by one.
    Lb,
    /// Each backend's slots in the Maglev tables.
    Maglev,
    /// Halves of connections.
    #[value(alias = "ct")]
    Conntrack,
    /// What connections translate.
    Nat,
    /// Clients that keep their backend.
    #[value(alias = "affinities")]
    Affinity,
    /// Traffic policies, and how many endpoints they leave here.
    #[value(alias = "policies")]
    Policy,
    /// Ports of datagrams in fragments.
    #[value(alias = "fragment")]
    Fragments,
    /// Addresses of pods and nodes.
    #[value(alias = "ep", alias = "endpoint")]
    Endpoints,
}

impl Table {
    /// Whether the datapath writes it itself.
    const fn is_dynamic(self) -> bool {
        matches!(self, Self::Conntrack | Self::Nat | Self::Affinity | Self::Fragments)
    }

    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Columns, for people.
    Table,
    /// The same with more columns.
    Wide,
    /// JSON lines, for programs; the last one is the summary.
    Json,
    /// Names alone, of what Kubernetes has a name of: services, backends, policy.
    Name,
    /// `ipvsadm -Sn`: services.
    Ipvs,
    /// `conntrack -L`: conntrack.
    Conntrack,
}

fn object_name(text: &str) -> Result<ObjectName, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
            Ok(ObjectName::new(namespace, name))
        }
        _ => Err("give NAMESPACE/NAME, such as default/web".into()),
    }
}

/// Shows.
pub fn run(arguments: &Arguments) -> Result<Ending, Failure> {
    let Arguments { table, output, captures, cluster, .. } = arguments;
    let fits = match output {
        Form::Table | Form::Wide | Form::Json => true,
        Form::Name => matches!(table, Table::Services | Table::Backends | Table::Policy),
        Form::Ipvs => *table == Table::Services,
        Form::Conntrack => *table == Table::Conntrack,
    };
    if !fits {
        return Err(Failure::Usage(format!(
            "-o {}: there is no such form of {}; use table, wide or json",
            output.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default(),
            table.name()
        )));
    }
    if captures.is_empty() && cluster.states.is_empty() {
        return Err(Failure::World(WorldError::Environment(
            "no datapath runs on this machine that tables could be read of; \
             give a cluster dump with -f, a capture, or both"
                .into(),
        )));
    }
    if captures.is_empty() && !cluster.then.is_empty() {
        return Err(Failure::Usage(
            "--then is a time of a capture; give the later dump to -f alone, or a capture".into(),
        ));
    }
    let setup = Setup::new(cluster, captures, &arguments.reading, Kind::Sim)?;
    let (view, packets) = view(arguments, &setup)?;
    show(arguments, &setup, &view, packets)
}

/// Sends the packets, if any, and takes the tables as they are then.
fn view(arguments: &Arguments, setup: &Setup) -> Result<(View, u64), Failure> {
    let mut replay = setup.simulate()?;
    let (mut first, mut now) = (None, 0);
    if !arguments.captures.is_empty() {
        let mut feed = setup.inputs.open()?;
        let mut frame = Frame::default();
        while let Some(packet) = feed.next()? {
            first.get_or_insert(packet.timestamp);
            now = now.max(packet.timestamp);
            replay.packet(&packet, &mut frame, &mut ())?;
        }
        for note in feed.notes() {
            say(&note);
        }
        for warning in feed.captures().flat_map(crate::capture::Capture::warnings) {
            say(&format!("warning: {warning}"));
        }
    }
    let state = last_state(setup, first.unwrap_or(0), now);
    let topology = replay.stage.cluster.topology.clone();
    let wanted = match &arguments.node {
        Some(name) => {
            if topology.node(name).is_none() {
                let known: Vec<&str> =
                    topology.nodes.iter().take(8).map(|node| node.name.as_str()).collect();
                return Err(Failure::Usage(format!(
                    "--node {name}: there is no such node; the nodes are: {}",
                    known.join(", ")
                )));
            }
            Some(name.clone())
        }
        None if arguments.table.is_dynamic() => None,
        None => {
            let first = topology.nodes.first().map(|node| node.name.clone()).unwrap_or_default();
            if topology.nodes.len() > 1 {
                say(&format!("tables of {first}; --node shows another's"));
            }
            Some(first)
        }
    };
    let view = View::new(&mut replay.stage, state, now, |name| {
        wanted.as_ref().is_none_or(|wanted| wanted == name)
    })?;
    Ok((view, replay.totals.packets))
}

/// The state of the cluster at the end.
fn last_state(setup: &Setup, first: u64, now: u64) -> &State {
    let cluster = &setup.cluster;
    let came = cluster.changes.iter().map(|change| (change.at.nanoseconds(first), &change.state));
    let last = came.filter(|(time, _)| *time <= now).max_by_key(|(time, _)| *time);
    last.map_or(&cluster.state, |(_, state)| state)
}

fn show(
    arguments: &Arguments,
    setup: &Setup,
    view: &View,
    packets: u64,
) -> Result<Ending, Failure> {
    let mut output = BufWriter::new(io::stdout().lock());
    let filter =
        Filter { namespace: arguments.namespace.clone(), service: arguments.service.clone() };
    let mut shown = Shown { arguments, view, filter: &filter, output: &mut output, rows: 0 };
    match arguments.table {
        Table::Services if arguments.output == Form::Ipvs => shown.ipvs(),
        Table::Conntrack if arguments.output == Form::Conntrack => shown.conntrack(),
        Table::Services => shown.all(services::rows),
        Table::Backends => shown.all(rest::backends),
        Table::Lb => shown.all(lb::rows),
        Table::Maglev => shown.all(maglev::rows),
        Table::Conntrack => shown.all(connections::rows),
        Table::Nat => shown.all(connections::nat),
        Table::Affinity => shown.all(rest::affinities),
        Table::Policy => shown.all(rest::policies),
        Table::Fragments => shown.all(rest::fragments),
        Table::Endpoints => shown.all(rest::endpoints),
    }
    .map_err(Failure::Output)?;
    let rows = shown.rows;
    if arguments.output == Form::Json {
        let nodes: Vec<&str> = view.nodes.iter().map(|node| node.name.as_str()).collect();
        let summary = Summary {
            v: 1,
            r#type: "summary",
            table: arguments.table.name(),
            rows,
            nodes,
            packets,
            cluster: &setup.cluster.source,
            seed: setup.seed,
            twinpath: env!("CARGO_PKG_VERSION"),
        };
        let summary =
            serde_json::to_string(&summary).map_err(|error| Failure::Output(error.into()))?;
        writeln!(output, "{summary}").map_err(Failure::Output)?;
    }
    output.flush().map_err(Failure::Output)?;
    if rows > 0 {
        return Ok(Ending::Fine);
    }
    if arguments.table.is_dynamic() && arguments.captures.is_empty() {
        say(&format!(
            "{} has no entries before packets come; give a capture",
            arguments.table.name()
        ));
    } else if arguments.table == Table::Maglev && filter.is_open() {
        say("no service chooses by Maglev; --algorithm maglev makes all of them");
    } else {
        say(&format!("no {} found", arguments.table.name()));
    }
    Ok(Ending::Nothing)
}

/// The last line of JSON.
#[derive(Serialize)]
struct Summary<'a> {
    v: u8,
    r#type: &'static str,
    table: String,
    rows: usize,
    nodes: Vec<&'a str>,
    packets: u64,
    cluster: &'a str,
    seed: u64,
    twinpath: &'static str,
}

/// What is shown, and how many rows it has.
struct Shown<'a, W> {
    arguments: &'a Arguments,
    view: &'a View,
    filter: &'a Filter,
    output: &'a mut W,
    rows: usize,
}

impl<W: Write> Shown<'_, W> {
    fn all<R: Row>(
        &mut self,
        rows: impl Fn(&View, &NodeView, &Filter) -> Vec<R>,
    ) -> io::Result<()> {
        let nodes = self.view.nodes.iter();
        let rows: Vec<R> = nodes.flat_map(|node| rows(self.view, node, self.filter)).collect();
        self.rows = rows.len();
        match self.arguments.output {
            Form::Json => print::json(self.output, &rows),
            Form::Name => print::names(self.output, &rows),
            _ if rows.is_empty() => Ok(()),
            form => {
                print::columns(self.output, &rows, form == Form::Wide, !self.arguments.no_headers)
            }
        }
    }

    fn ipvs(&mut self) -> io::Result<()> {
        let nodes = self.view.nodes.iter();
        let rows: Vec<_> =
            nodes.flat_map(|node| services::rows(self.view, node, self.filter)).collect();
        self.rows = rows.len();
        services::ipvs(self.output, self.view, &rows)
    }

    fn conntrack(&mut self) -> io::Result<()> {
        let nodes = self.view.nodes.iter();
        self.rows = nodes.map(|node| connections::rows(self.view, node, self.filter).len()).sum();
        connections::conntrack(self.output, self.view, self.filter)
    }
}
