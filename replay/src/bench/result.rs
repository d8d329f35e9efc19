//! What was measured, as data: what `-o json` writes, a baseline is, and a report is made from.

use serde::{Deserialize, Serialize};

use super::subject::Subject;

/// The layout of [`Results`] as JSON.
pub const VERSION: u32 = 1;

/// A whole run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// The layout: [`VERSION`].
    pub v: u32,
    /// Where it was measured.
    pub machine: Machine,
    /// The command line that does it again.
    pub command: String,
    /// When the run began, in seconds since 1970.
    pub began: u64,
    /// How long it took, in seconds.
    pub took: f64,
    /// Whether all that was asked for was measured: false after Ctrl-C.
    pub complete: bool,
    /// The figures, in the order of measuring.
    pub figures: Vec<Figure>,
    /// What was counted elsewhere, where this machine cannot measure it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest: Option<Guest>,
    /// What was asked for and not measured, and why.
    pub missing: Vec<Missing>,
}

/// Instructions per packet, counted in an emulated guest before: of no round of this run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Guest {
    /// The guest's kernel.
    pub kernel: String,
    /// What the programs were built with.
    pub programs: String,
    /// A sample each, in instructions.
    pub figures: Vec<Figure>,
}

/// A machine, as far as figures depend on it. What cannot be found out is empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's model.
    pub processor: String,
    /// How many of them the system uses.
    pub processors: u32,
    /// `performance`, `powersave`, ...: the frequency governor.
    pub governor: String,
    /// The kernel's release.
    pub kernel: String,
    /// What the kernel does against flaws of the processor, those in force.
    pub mitigations: Vec<String>,
    /// Name and version of each tool that took part: `iptables`, `nft`, `twinpath`, ...
    pub versions: Vec<(String, String)>,
    /// Anything else that a reader must know: a virtual machine, the compiler of the programs, ...
    pub notes: Vec<String>,
}

/// One quantity of one subject in one setting, once per round. Figures with the same setting were
/// measured in turns, so that equal places in their samples are of the same round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What is measured: see [`Measure`].
    pub measure: Measure,
    /// Which way packets go: `clusterip-local`, `clusterip-remote`, `nodeport-snat`, `dsr`, ...; empty where
    /// no packets go.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Where translation is done: `tc`, `xdp`, `socket`; empty where it is the subject's only place.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hook: String,
    /// Whose figure it is.
    pub subject: Subject,
    /// The services that are there; 0 where that is not known.
    pub services: u32,
    /// The flows among which packets are spread; 0 where that says nothing.
    #[serde(default)]
    pub flows: u32,
    /// The unit of the samples.
    pub unit: Unit,
    /// One value per round.
    pub samples: Vec<f64>,
    /// Of quantities that are distributions (latencies): quantiles of all rounds together, as pairs of
    /// quantile (0 to 1) and value, rising.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quantiles: Vec<(f64, f64)>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// A packet of a connection that is there, from device to device.
    Established,
    /// The first packet of a connection, from device to device.
    NewFlow,
    /// Time in programs alone, as the kernel counts it (`bpf_stats`), per packet.
    ProgramTime,
    /// From a process's `send` of a connection's first datagram until the call returns: the whole way is
    /// gone in it.
    FirstPacket,
    /// `connect` of TCP, from a port that was not used before.
    Connect,
    /// Connections a second, opened and closed one after the other.
    ConnectRate,
    /// A request and its answer over an open TCP connection.
    RoundTrip,
    /// Bytes through one TCP connection.
    Throughput,
    /// Established packets while services change all the time.
    Churn,
    /// To load all services into a node that has none.
    Load,
    /// To add one service to those that are there.
    AddService,
    /// To change one endpoint of one service.
    ChangeEndpoint,
    /// From the change of an object until a first packet reaches the new endpoint.
    UntilFirstPacket,
    /// To bring everything up to date when nothing is known of what changed.
    Resync,
    /// The kernel's memory per service.
    MemoryPerService,
    /// The kernel's memory per connection.
    MemoryPerConnection,
}

/// Of what samples are numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Nanoseconds.
    Nanoseconds,
    /// Instructions, counted by an emulated processor.
    Instructions,
    /// Events a second.
    PerSecond,
    /// Bits a second.
    BitsPerSecond,
    /// Bytes.
    Bytes,
}

impl Unit {
    /// Whether more is better.
    pub const fn is_rate(self) -> bool {
        matches!(self, Self::PerSecond | Self::BitsPerSecond)
    }
}

/// A gap in the figures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// What is not there: `ipvs`, `nftables at 10000 services`.
    pub what: String,
    /// Why, and what to do about it.
    pub why: String,
}
