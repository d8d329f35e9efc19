//! What `replay` and its relatives have in common: a cluster, captures, and a world in which they meet.

use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use twinpath_control::model::State;
use twinpath_control::plain::plain;
use twinpath_control::tables::{Dispatch, Mode, Names, Options};
use twinpath_core::service::Algorithm;
use twinpath_sim::engine::SimEngine;
use twinpath_sim::topology::Topology;
use twinpath_sim::world::{ModelWorld, WorldError};

use super::captures::CaptureArguments;
use super::shell;
use crate::cluster::{Cluster, derive::derive, load::load};
use crate::failure::Failure;
use crate::replay::feed::Inputs;
use crate::replay::feed::source::Source;
use crate::replay::{At, Replay};
use crate::report::save::overwritten;
use crate::worlds::veth::{Stranger, VethStage, add_clients};
use crate::worlds::{self, Kind, Stage};

/// Which cluster, and how it is configured.
#[derive(Clone, Debug, Args)]
pub struct ClusterArguments {
    /// Cluster dump: of kubectl in YAML or JSON, a sysdump of Cilium (zip), iptables-save, ipvsadm -Sn, a
    /// folder of them, `-` for standard input; may be gzip or zstd, and may be repeated
    ///
    /// Needs services and endpointslices (or endpoints); nodes and pods make it exact. Without any, a
    /// cluster is derived from the capture.
    #[arg(short = 'f', long = "filename", value_name = "STATE")]
    pub states: Vec<PathBuf>,
    /// From this time of the capture on, the cluster is that of another dump; may be repeated
    ///
    /// TIME is in seconds since the first packet (2.5, 300ms), or 2026-11-22T10:00:00.5Z. The dump is the
    /// whole cluster and not a change of it.
    #[arg(long, value_name = "TIME=STATE", requires = "states")]
    pub then: Vec<String>,
    /// Where packets of sources that the cluster does not know are sent from: a node, or a pod on it
    ///
    /// Without it, sources that talk to a node port, an external address or a load balancer's are
    /// clients outside the cluster, those in the pod range of a node are pods there, and all others are
    /// pods of the first node.
    #[arg(long, value_name = "NODE[/POD]")]
    pub at: Option<String>,
    /// Seed of all that is random: the same input and seed give the same output
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// How backends are chosen where a service does not say [default: as a sysdump says, or random]
    #[arg(long, value_enum)]
    pub algorithm: Option<Choice>,
    /// How packets from outside reach backends on other nodes, where a service does not say [default: as
    /// a sysdump says, or snat]
    #[arg(long, value_enum)]
    pub mode: Option<Forwarding>,
    /// The ports of a node that the source ports of others are changed to
    #[arg(long, value_name = "FIRST-LAST", value_parser = ports)]
    pub snat_ports: Option<RangeInclusive<u16>>,
    /// The longest IP packet, in bytes, that the links between nodes and to clients take; 0 for any
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub mtu: u32,
}

/// How packets from outside reach backends on other nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Forwarding {
    /// With the source address of the node.
    Snat,
    /// With their own, the frontend in an IP option (direct server return).
    DsrOpt,
    /// With their own, in an IP tunnel.
    DsrIpip,
    /// With their own, in a Geneve tunnel.
    DsrGeneve,
    /// TCP as `dsr-opt`, all else as `snat`.
    Hybrid,
}

/// How backends are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Choice {
    /// Any, all equally likely.
    Random,
    /// By a consistent hash.
    Maglev,
}

impl ClusterArguments {
    /// These arguments as they are typed, but for those that are as they are without.
    pub fn typed(&self) -> Vec<String> {
        let mut words = Vec::new();
        let mut option = |name: &str, value: Option<String>| {
            words.extend(value.map(|value| format!("{name} {value}")));
        };
        for state in &self.states {
            option("-f", Some(shell::path(state)));
        }
        for change in &self.then {
            option("--then", Some(shell::quoted(change)));
        }
        option("--at", self.at.as_deref().map(shell::quoted));
        option("--seed", (self.seed != 1).then(|| self.seed.to_string()));
        option("--algorithm", self.algorithm.map(shell::value));
        option("--mode", self.mode.map(shell::value));
        let ports = self.snat_ports.as_ref();
        option("--snat-ports", ports.map(|ports| format!("{}-{}", ports.start(), ports.end())));
        option("--mtu", (self.mtu != 0).then(|| self.mtu.to_string()));
        words
    }

    /// What the control plane is told: `base`, but for what the arguments say.
    pub fn options(&self, base: &Options) -> Options {
        let algorithm = match self.algorithm {
            None => base.algorithm,
            Some(Choice::Random) => Algorithm::Random,
            Some(Choice::Maglev) => Algorithm::Maglev,
        };
        let hash_seed = (self.seed ^ (self.seed >> 32)) as u32;
        let (mode, dispatch) = match self.mode {
            None => (base.mode, base.dispatch),
            Some(Forwarding::Snat) => (Mode::Snat, Dispatch::Option),
            Some(Forwarding::DsrOpt) => (Mode::Dsr, Dispatch::Option),
            Some(Forwarding::DsrIpip) => (Mode::Dsr, Dispatch::Ipip),
            Some(Forwarding::DsrGeneve) => (Mode::Dsr, Dispatch::Geneve),
            Some(Forwarding::Hybrid) => (Mode::Hybrid, Dispatch::Option),
        };
        let mut options = Options { algorithm, hash_seed, mode, dispatch, ..base.clone() };
        if let Some(ports) = &self.snat_ports {
            options.snat_ports = ports.clone();
        }
        options
    }
}

impl ClusterArguments {
    /// The files that they name: of the cluster at first, then of what it becomes.
    pub fn files(&self) -> Vec<PathBuf> {
        let later = self.then.iter().filter_map(|change| change.split_once('='));
        self.states.iter().cloned().chain(later.map(|(_, path)| path.into())).collect()
    }
}

fn ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let ends = text.split_once('-').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    match ends {
        Some((first, last)) if 0 < first && first <= last => Ok(first..=last),
        _ => Err("give two ports of 1 to 65535, such as 32768-65535".into()),
    }
}

/// All that a world is made of, and the packets for it.
#[derive(Debug)]
pub struct Setup {
    /// The captures.
    pub inputs: Inputs,
    /// The cluster.
    pub cluster: Cluster,
    /// How it is configured.
    pub options: Options,
    /// The seed.
    pub seed: u64,
    /// The world's kind.
    pub world: Kind,
    /// See [`ClusterArguments::at`].
    pub at: Option<String>,
    /// See [`ClusterArguments::mtu`].
    pub mtu: u32,
    /// Clients outside, where the world must know them beforehand.
    pub strangers: Vec<Stranger>,
}

/// Something to do in a world, whichever it is.
pub trait Job {
    /// What comes of it.
    type Output;
    /// Does it. `names` says what the numbers in decisions stand for.
    fn run<S: Stage>(self, replay: Replay<S>, names: Names) -> Result<Self::Output, Failure>;
}

impl Setup {
    /// Reads the cluster, or derives it from the captures. What there is to say of it goes to standard
    /// error.
    pub fn new(
        arguments: &ClusterArguments,
        captures: &[PathBuf],
        reading: &CaptureArguments,
        world: Kind,
    ) -> Result<Self, Failure> {
        let stdin = captures.iter().any(|name| Source::new(name).is_stdin());
        if stdin && arguments.states.iter().any(|path| path == "-") {
            return Err(Failure::Usage(
                "standard input is named both as capture and with -f; give a file for one of them"
                    .into(),
            ));
        }
        let derived = arguments.states.is_empty();
        let inputs = Inputs::new(captures, &reading.reading(), derived || world == Kind::Veth)?;
        let mut cluster =
            if derived { derive(&mut inputs.open()?)? } else { load(&arguments.states)? };
        for change in &arguments.then {
            cluster.then(change)?;
        }
        for note in &cluster.notes {
            say(note);
        }
        let at = arguments.at.clone();
        let mut strangers = Vec::new();
        if world == Kind::Veth {
            let node = at.as_deref().map(|at| at.split('/').next().unwrap_or(at));
            strangers = add_clients(&mut cluster.state, node, &mut inputs.open()?)?;
        }
        let ClusterArguments { seed, mtu, .. } = *arguments;
        let options = arguments.options(&cluster.options);
        Ok(Self { inputs, cluster, options, seed, world, at, mtu, strangers })
    }

    /// Makes the world and does a job in it.
    pub fn run<J: Job>(&self, job: J) -> Result<J::Output, Failure> {
        let (state, options, seed) = (&self.cluster.state, self.options.clone(), self.seed);
        let topology = self.topology();
        let refused = |error| self.refused(error);
        match self.world {
            Kind::Sim => {
                let world = worlds::simulator(topology, state, options, seed).map_err(refused)?;
                self.start(job, world)
            }
            Kind::TestRun => {
                let world = worlds::test_runs(topology, state, options, seed).map_err(refused)?;
                self.start(job, world)
            }
            Kind::Veth => {
                let world = VethStage::new(topology, state, options, seed).map_err(refused)?;
                self.start(job, world)
            }
        }
    }

    /// A replay through the simulator, for who looks into its tables.
    pub fn simulate(&self) -> Result<Replay<ModelWorld<SimEngine>>, Failure> {
        let (state, options) = (&self.cluster.state, self.options.clone());
        let world = worlds::simulator(self.topology(), state, options, self.seed)
            .map_err(|error| self.refused(error))?;
        Ok(self.replay(world)?.0)
    }

    fn start<J: Job, S: Stage>(&self, job: J, stage: S) -> Result<J::Output, Failure> {
        let (replay, names) = self.replay(stage)?;
        job.run(replay, names)
    }

    /// Who is where.
    pub fn topology(&self) -> Topology {
        let mut topology = Topology::new(&self.cluster.everything());
        topology.mtu = self.mtu;
        for (client, frontend, node) in &self.strangers {
            worlds::add_outside(&mut topology, *client, *frontend, *node);
        }
        topology
    }

    /// What is wrong where the cluster cannot be applied to a world.
    pub fn refused(&self, error: WorldError) -> Failure {
        too_large(error, &self.cluster)
    }

    /// A replay through a world that the cluster was applied to, and what the numbers in decisions stand for.
    pub fn replay<S: Stage>(&self, mut stage: S) -> Result<(Replay<S>, Names), Failure> {
        let at = at(self.at.as_deref(), &self.cluster.state, &stage)?;
        let mut names = stage.names(&self.cluster.state);
        for change in &self.cluster.changes {
            let later = stage.names(&change.state);
            names.services.extend(later.services);
            names.backends.extend(later.backends);
        }
        Ok((Replay::new(stage, &self.cluster, at), names))
    }
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

/// Refuses to write a file over one that is read.
pub fn keep_inputs<P: AsRef<Path>>(
    option: &str,
    output: &Path,
    inputs: &[P],
) -> Result<(), Failure> {
    match overwritten(output, inputs) {
        Some(input) => Err(Failure::Usage(format!(
            "{option} {}: it would be written over the input {}; give another name",
            output.display(),
            input.display()
        ))),
        None => Ok(()),
    }
}

/// One line to the user.
pub fn say(line: &str) {
    // There is nobody to tell that nobody can be told.
    let _ = writeln!(io::stderr(), "twinpath: {}", plain(line));
}

/// What went wrong with a file that is written; standard output for `-`.
pub fn writing(path: &Path, cause: io::Error, advice: &'static str) -> Failure {
    if path == "-" {
        return Failure::Output(cause);
    }
    Failure::File { name: path.display().to_string(), cause, advice }
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
    let Some(pod_name) = pod_name else { return Ok(At { node, pod: None, said: true }) };
    let matches = |name: &twinpath_control::objects::ObjectName| {
        name.name == pod_name || name.to_string() == pod_name
    };
    let pod = topology.pods.iter().position(|pod| pod.node == node && matches(&pod.name));
    match pod {
        Some(pod) => Ok(At { node, pod: Some(pod), said: true }),
        None => Err(Failure::Usage(format!(
            "--at {text}: there is no pod {pod_name} with a device of its own on {node_name}; \
             see `kubectl get pods -A -o wide`"
        ))),
    }
}
