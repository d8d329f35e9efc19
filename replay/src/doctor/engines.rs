//! Each engine, tried: the programs are loaded and run, devices are made in namespaces of the trial, rules
//! are written into them. All of it is gone when the trial is over.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use serde::Serialize;
use twinpath_control::model::State;
use twinpath_control::read::read;
use twinpath_core::hook::Hook;
use twinpath_kernel::attach::XdpMode;
use twinpath_kernel::live::Generator;
use twinpath_kernel::load;
use twinpath_kernel::object;
use twinpath_kernel::test_run::TestRunEngine;
use twinpath_kernel::veth::{Options, VethWorld};
use twinpath_sim::engine::{Engine, SimEngine};
use twinpath_sim::frame::Frame;
use twinpath_sim::map::Eviction;
use twinpath_sim::node::Limits;
use twinpath_sim::topology::Topology;
use twinpath_sim::world::{World, WorldError};

use super::machine::version;
use crate::bench::rival::Rival;
use crate::bench::subject::Subject;
use crate::netfilter::world::{NetfilterWorld, Rules};

/// Something that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Name {
    /// The simulator.
    Sim,
    /// The programs through test runs.
    TestRun,
    /// The programs, attached in namespaces.
    Veth,
    /// The program at XDP, attached in a namespace.
    Xdp,
    /// The oracle of `verify`: kube-proxy's rules with the machine's own tools.
    Netfilter,
    /// The measurement with live frames.
    Bench,
    /// A rival of it: iptables with the kernel's older tables.
    IptablesLegacy,
    /// A rival of it: the iptables that writes to nf_tables.
    IptablesNft,
    /// A rival of it: nftables.
    Nftables,
    /// A rival of it: IPVS.
    Ipvs,
}

impl Name {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 10] = [
        Self::Sim,
        Self::TestRun,
        Self::Veth,
        Self::Xdp,
        Self::Netfilter,
        Self::Bench,
        Self::IptablesLegacy,
        Self::IptablesNft,
        Self::Nftables,
        Self::Ipvs,
    ];

    /// As on the command line.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Sim => "sim",
            Self::TestRun => "test-run",
            Self::Veth => "veth",
            Self::Xdp => "xdp",
            Self::Netfilter => "netfilter",
            Self::Bench => "bench",
            Self::IptablesLegacy => "iptables-legacy",
            Self::IptablesNft => "iptables-nft",
            Self::Nftables => "nftables",
            Self::Ipvs => "ipvs",
        }
    }

    /// What it is for.
    pub const fn purpose(self) -> &'static str {
        match self {
            Self::Sim => "replay, explain, diff, get",
            Self::TestRun => "--world test-run, verify",
            Self::Veth => "--world veth, verify",
            Self::Xdp => "--world veth, verify, bench",
            Self::Netfilter => "verify --oracle netfilter",
            Self::Bench => "bench",
            Self::IptablesLegacy | Self::IptablesNft | Self::Nftables | Self::Ipvs => {
                "bench --against"
            }
        }
    }
}

/// How a trial ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trial {
    /// What was tried.
    pub engine: &'static str,
    /// What it is for.
    pub purpose: &'static str,
    /// Whether it works here.
    pub usable: bool,
    /// How it works, where that is worth a word.
    pub note: Option<String>,
    /// Why not.
    pub why_not: Option<String>,
    /// What to do about it.
    pub fix: Option<String>,
}

/// What a trial ends with: a note, or why not and what to do about it.
type Tried = Result<Option<String>, (String, String)>;

/// A cluster of one node with one pod and one service.
const CLUSTER: &str = "\
kind: List
items:
- {kind: Node, metadata: {name: node}, status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}}
- kind: Pod
  metadata: {name: pod, namespace: default}
  spec: {nodeName: node}
  status: {phase: Running, podIP: 10.0.0.2, podIPs: [{ip: 10.0.0.2}]}
- {kind: Service, metadata: {name: web, namespace: default}, spec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}}
";

const LIMITS: Limits = Limits {
    services: 64,
    backends: 64,
    maglev: 4_096,
    endpoints: 64,
    ranges: 64,
    affinities: 64,
    fragments: 64,
    conntrack: 64,
    eviction: Eviction::KERNEL,
};

/// Tries these, in their order.
pub fn trials(names: &[Name]) -> Vec<Trial> {
    // Attaching shows how the programs get to devices and to XDP: one trial for both, where both work.
    let needs_veth = names.iter().any(|name| matches!(name, Name::Veth | Name::Xdp));
    let xdp = needs_veth.then(|| apart(xdp));
    let trial = |name: &Name| {
        let tried = match (name, &xdp) {
            (Name::Veth, Some(Ok(_))) => Ok(None),
            (Name::Veth, _) => apart(veth),
            (Name::Xdp, Some(tried)) => tried.clone(),
            (Name::Sim, _) => sim(),
            (Name::TestRun, _) => test_run(),
            (Name::Netfilter, _) => apart(netfilter),
            (Name::Bench, _) => bench(),
            (Name::IptablesLegacy, _) => rival(Subject::IptablesLegacy),
            (Name::IptablesNft, _) => rival(Subject::IptablesNft),
            (Name::Nftables, _) => rival(Subject::Nftables),
            (Name::Ipvs, _) => ipvs(),
            (Name::Xdp, None) => apart(self::xdp),
        };
        let (usable, note, why_not, fix) = match tried {
            Ok(note) => (true, note, None, None),
            Err((why, fix)) => (false, None, Some(why), Some(fix)),
        };
        let (engine, purpose) = (name.text(), name.purpose());
        Trial { engine, purpose, usable, note, why_not, fix }
    };
    names.iter().map(trial).collect()
}

/// On a thread of its own, since a world stays on one CPU with the thread that made it.
fn apart(trial: fn() -> Tried) -> Tried {
    let ended = thread::spawn(trial).join();
    ended.unwrap_or_else(|_| Err(("the trial panicked".into(), "report it as a bug".into())))
}

fn cluster() -> Result<(State, Topology), (String, String)> {
    let objects = read("the trial's cluster", CLUSTER.as_bytes());
    let (state, _) = State::new(&objects.map_err(|error| advice(&error.to_string()))?);
    let topology = Topology::new(&state);
    Ok((state, topology))
}

/// A packet through an engine.
fn packet<E: Engine>(mut engine: E) -> Tried {
    let mut frame = Frame::new(vec![0; 60]);
    let device = twinpath_sim::topology::FIRST_POD_DEVICE;
    match engine.run(0, Hook::FromPod, device, &mut frame) {
        Ok(_) => Ok(None),
        Err(error) => Err(advice(&error.to_string())),
    }
}

fn sim() -> Tried {
    packet(SimEngine::new(1, &LIMITS, 1))
}

fn test_run() -> Tried {
    object_there()?;
    packet(TestRunEngine::new(1, &LIMITS, 1).map_err(|error| advice(&error.to_string()))?)
}

fn veth() -> Tried {
    attach(false)
}

fn xdp() -> Tried {
    attach(true)
}

fn attach(xdp: bool) -> Tried {
    object_there()?;
    let (state, mut topology) = cluster()?;
    topology.attached.xdp = xdp;
    topology.mtu = 1_500; // drivers take no XDP program where packets may be longer than a page
    let options = Options { limits: LIMITS, ..Options::default() };
    let mut world = VethWorld::new(topology, &options).map_err(|error| world_advice(&error))?;
    world.apply(&state).map_err(|error| world_advice(&error))?;
    Ok(world.xdp_mode(0).map(|mode| match mode {
        XdpMode::Driver => "native".to_owned(),
        _ => "generic".to_owned(),
    }))
}

fn netfilter() -> Tried {
    let (state, topology) = cluster()?;
    for rules in Rules::ALL {
        let world = NetfilterWorld::new(topology.clone(), rules);
        world.and_then(|mut world| world.apply(&state)).map_err(|error| world_advice(&error))?;
    }
    Ok(None)
}

fn bench() -> Tried {
    object_there()?;
    let options = load::Options { limits: LIMITS, ..load::Options::default() };
    load::open(&options).map_err(|error| advice(&error.to_string()))?;
    Generator::new().map(|_| None).map_err(|error| advice(&error.to_string()))
}

fn rival(subject: Subject) -> Tried {
    match Rival::new(subject) {
        Ok(_) => Ok(None),
        Err(missing) => Err(advice(&missing.why)),
    }
}

/// Loading a module would stay behind, so a module that is not loaded is only looked for.
fn ipvs() -> Tried {
    if Path::new("/proc/net/ip_vs").exists() {
        return rival(Subject::Ipvs);
    }
    let dry = Command::new("modprobe")
        .args(["--dry-run", "--quiet", "ip_vs"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !dry.is_ok_and(|status| status.success()) {
        return Err((
            "no IPVS in this kernel (CONFIG_IP_VS), and no module ip_vs".into(),
            "another kernel; figures counted in a guest are in docs/gauge.md".into(),
        ));
    }
    if version("ipvsadm").is_empty() {
        return Err(("ipvsadm not found".into(), "install the package ipvsadm".into()));
    }
    Ok(Some("the module ip_vs is loaded at the first use".into()))
}

fn object_there() -> Result<(), (String, String)> {
    match object::bytes() {
        Some(_) => Ok(()),
        None => Err((
            "built without the kernel programs".into(),
            "run ebpf/build.sh and build again, or take a released binary".into(),
        )),
    }
}

fn world_advice(error: &WorldError) -> (String, String) {
    advice(&error.to_string())
}

/// Errors say what to do behind what is wrong: taken apart for two columns. One line of each.
fn advice(text: &str) -> (String, String) {
    let line =
        text.lines().find(|line| !line.trim().is_empty()).unwrap_or("no reason given").trim();
    for (word, lead) in [("; ", "install"), (": ", "run"), ("; ", "use"), (": ", "build")] {
        let cut = line.rfind(&format!("{word}{lead} ")).and_then(|at| line.split_at_checked(at));
        if let Some((why, fix)) = cut {
            return (why.to_owned(), fix.trim_start_matches([';', ':', ' ']).to_owned());
        }
    }
    let fix = if line.contains("root") || line.contains("ermission") || line.contains("ermitted") {
        "run as root, or with CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON and CAP_SYS_ADMIN"
    } else {
        "see docs/kernels.md for kernels that are known to work"
    };
    (line.to_owned(), fix.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_taken_apart() {
        for (text, why, fix) in [
            (
                "loading programs needs root (CAP_BPF): run as root",
                "loading programs needs root (CAP_BPF)",
                "run as root",
            ),
            (
                "`ip` cannot be run: No such file; install the package iproute2",
                "`ip` cannot be run: No such file",
                "install the package iproute2",
            ),
            (
                "\nthe kernel did not take it: EINVAL\nlog",
                "the kernel did not take it: EINVAL",
                "see docs/kernels.md for kernels that are known to work",
            ),
            (
                "network namespaces need root (CAP_SYS_ADMIN): EPERM",
                "network namespaces need root (CAP_SYS_ADMIN): EPERM",
                "run as root, or with CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON and CAP_SYS_ADMIN",
            ),
        ] {
            assert_eq!(advice(text), (why.to_owned(), fix.to_owned()));
        }
    }

    #[test]
    fn the_simulator_works_everywhere() {
        let [trial] = &trials(&[Name::Sim])[..] else { panic!("one for one") };
        assert!(trial.usable, "{trial:?}");
        assert_eq!((trial.engine, &trial.why_not, &trial.fix), ("sim", &None, &None));
    }

    #[test]
    fn names_are_those_of_the_command_line() {
        use clap::ValueEnum;
        for name in Name::ALL {
            let value = name.to_possible_value().unwrap();
            assert_eq!(value.get_name(), name.text());
        }
        assert_eq!(Name::value_variants().len(), Name::ALL.len());
    }

    #[test]
    fn the_cluster_of_trials_is_one() {
        let (state, topology) = cluster().unwrap();
        assert_eq!((state.services.len(), topology.nodes.len(), topology.pods.len()), (1, 1, 1));
    }
}
