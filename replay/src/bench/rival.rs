//! What twinpath is compared with: kube-proxy's rules, loaded into a namespace by the tools that kube-proxy
//! runs.
//!
//! A [`Job`] is made beforehand and then run: what is timed is the tool and the kernel, not how the text came
//! to be, which kube-proxy has to do as well.

use std::process::Command;
use std::time::{Duration, Instant};

use twinpath_control::model::State;
use twinpath_control::rules::{iptables, ipvs, nftables};
use twinpath_kernel::veth::netns::{Namespace, NamespaceError};

use super::result::Missing;
use super::subject::Subject;

/// The longest that one tool may take for what is measured, if nothing else is said: a run is to end.
pub const LONGEST: Duration = Duration::from_secs(60);
/// The longest that one tool may take to set a lab up.
const SET_UP: Duration = Duration::from_secs(300);

/// How many ports of services a transaction of nftables has when a lab is made: the kernel takes time that
/// grows with the square of a transaction's chains.
const STEP: usize = 1000;

/// One of kube-proxy's ways on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rival {
    subject: Subject,
    longest: Duration,
}

/// One run of one tool.
#[derive(Clone, Debug)]
struct Step {
    program: &'static str,
    package: &'static str,
    arguments: Vec<&'static str>,
    input: String,
}

/// Something to do in a node's namespace.
#[derive(Clone, Debug)]
pub struct Job {
    parameters: &'static [(&'static str, &'static str)],
    steps: Vec<Step>,
    longest: Duration,
}

impl Job {
    /// Does it; how long it took.
    pub fn run(&self, node: &Namespace) -> Result<Duration, NamespaceError> {
        let begun = Instant::now();
        node.set(self.parameters)?;
        for step in &self.steps {
            let Step { program, package, arguments, input } = step;
            node.feed_within(self.longest, program, package, arguments, input)?;
        }
        Ok(begun.elapsed())
    }

    /// The bytes that the tools are given.
    pub fn size(&self) -> usize {
        self.steps.iter().map(|step| step.input.len()).sum()
    }

    /// A tool with its input; nothing where the input is empty.
    fn feed(&mut self, program: &'static str, arguments: &[&'static str], input: String) {
        if !input.is_empty() {
            self.call(program, arguments, input);
        }
    }

    fn call(&mut self, program: &'static str, arguments: &[&'static str], input: String) {
        let package = match program {
            "ip" => "iproute2",
            "nft" => "nftables",
            "ipset" | "ipvsadm" => program,
            _ => "iptables",
        };
        self.steps.push(Step { program, package, arguments: arguments.to_vec(), input });
    }
}

impl Rival {
    /// A way, if this machine has it: a trial with little in a namespace that is gone afterwards.
    pub fn new(subject: Subject) -> Result<Self, Missing> {
        let missing = |why: String| Missing { what: subject.name().to_owned(), why };
        if !Subject::RIVALS.contains(&subject) {
            return Err(missing("no rules of kube-proxy".to_owned()));
        }
        let rival = Self { subject, longest: LONGEST };
        if subject == Subject::Ipvs && !kernel_has_ipvs() {
            return Err(missing("this kernel has no IPVS (CONFIG_IP_VS, module ip_vs)".to_owned()));
        }
        let empty = State::default();
        let trial = Namespace::new().and_then(|node| rival.load(&empty, "").run(&node));
        trial.map_err(|error| {
            missing(match error {
                NamespaceError::Refused { program, message, .. } => {
                    format!("`{program}`: {message}")
                }
                error => error.to_string(),
            })
        })?;
        Ok(rival)
    }

    /// The same, with so much time for each of its tools.
    pub const fn within(self, longest: Duration) -> Self {
        Self { longest, ..self }
    }

    const fn job(self) -> Job {
        Job { parameters: &[], steps: Vec::new(), longest: self.longest }
    }

    /// Who it is.
    pub const fn subject(self) -> Subject {
        self.subject
    }

    /// Its tools and their versions.
    pub fn versions(self) -> Vec<(String, String)> {
        let tools: &[&str] = match self.subject {
            Subject::IptablesLegacy => &["iptables-legacy"],
            Subject::IptablesNft => &["iptables-nft"],
            Subject::Nftables => &["nft"],
            _ => &["ipvsadm", "ipset"],
        };
        let version = |tool: &&str| {
            let output = Command::new(tool).arg("--version").output().ok()?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            Some(((*tool).to_owned(), text.lines().next()?.trim().to_owned()))
        };
        tools.iter().filter_map(version).collect()
    }

    /// All rules of a state into a node that has none, as kube-proxy loads them.
    pub fn load(self, state: &State, node: &str) -> Job {
        let mut job = self.job();
        match self.subject {
            Subject::Nftables => job.feed("nft", &["-f", "-"], nftables::rules(state, node)),
            Subject::Ipvs => {
                job.parameters = &ipvs::PARAMETERS;
                for v4 in families(state) {
                    job.ipvs(ipvs::rules(state, node, v4), v4);
                }
            }
            _ => {
                for v4 in families(state) {
                    job.feed(self.restore(v4), &[], iptables::rules(state, node, v4));
                }
            }
        }
        job
    }

    /// The same rules in the least time: where a lab is made for other measurements.
    pub fn set_up(mut self, state: &State, node: &str) -> Job {
        self.longest = self.longest.max(SET_UP);
        if self.subject != Subject::Nftables {
            return self.load(state, node);
        }
        let mut job = self.job();
        for step in nftables::in_steps(state, node, STEP) {
            job.feed("nft", &["-f", "-"], step);
        }
        job
    }

    /// From the rules of one state to those of another, as kube-proxy does it when it knows what has changed.
    pub fn update(self, old: &State, new: &State, node: &str) -> Job {
        let mut job = self.job();
        match self.subject {
            Subject::Nftables => job.feed("nft", &["-f", "-"], nftables::update(old, new, node)),
            Subject::Ipvs => {
                for v4 in families(new) {
                    job.ipvs(ipvs::update(old, new, node, v4), v4);
                }
            }
            _ => {
                for v4 in families(new) {
                    let text = iptables::update(old, new, node, v4);
                    job.feed(self.restore(v4), &KEEP, text);
                }
            }
        }
        job
    }

    /// What kube-proxy clears away some time after an update.
    pub fn sweep(self, old: &State, new: &State, node: &str) -> Job {
        let mut job = self.job();
        match self.subject {
            Subject::Nftables => job.feed("nft", &["-f", "-"], nftables::sweep(old, new, node)),
            Subject::Ipvs => {}
            _ => {
                for v4 in families(new) {
                    let text = iptables::sweep(old, new, node, v4);
                    job.feed(self.restore(v4), &KEEP, text);
                }
            }
        }
        job
    }

    /// Everything once more over what is there. That kube-proxy first reads what is there is not in it, but
    /// for IPVS, where reading is all that is done for the servers.
    pub fn resync(self, state: &State, node: &str) -> Job {
        let mut job = self.job();
        match self.subject {
            Subject::Nftables => job.feed("nft", &["-f", "-"], nftables::resync(state, node)),
            Subject::Ipvs => {
                job.call("ipvsadm", &["--save", "-n"], String::new());
                for v4 in families(state) {
                    job.ipvs(ipvs::resync(state, node, v4), v4);
                }
            }
            _ => {
                for v4 in families(state) {
                    job.feed(self.restore(v4), &KEEP, iptables::resync(state, node, v4));
                }
            }
        }
        job
    }

    /// Takes everything out.
    pub fn clear(self) -> Job {
        let mut job = self.job();
        let empty = "*filter\n:INPUT ACCEPT\n:FORWARD ACCEPT\n:OUTPUT ACCEPT\nCOMMIT\n*nat\n\
            :PREROUTING ACCEPT\n:INPUT ACCEPT\n:OUTPUT ACCEPT\n:POSTROUTING ACCEPT\nCOMMIT\n";
        match self.subject {
            Subject::Nftables => {
                let text = ["ip", "ip6"].map(|family| {
                    format!("add table {family} kube-proxy\ndelete table {family} kube-proxy\n")
                });
                job.feed("nft", &["-f", "-"], text.concat());
            }
            Subject::Ipvs => {
                job.call("ipvsadm", &["-C"], String::new());
                for v4 in [true, false] {
                    job.feed(self.restore(v4), &[], empty.to_owned());
                }
                job.call("ipset", &["destroy"], String::new());
                let devices = format!("link del {}\n", ipvs::DEVICE);
                job.feed("ip", &["-force", "-batch", "-"], devices);
            }
            _ => {
                for v4 in [true, false] {
                    job.feed(self.restore(v4), &[], empty.to_owned());
                }
            }
        }
        job
    }

    const fn restore(self, v4: bool) -> &'static str {
        match (self.subject, v4) {
            (Subject::IptablesNft, true) => "iptables-nft-restore",
            (Subject::IptablesNft, false) => "ip6tables-nft-restore",
            (Subject::IptablesLegacy, true) => "iptables-legacy-restore",
            (Subject::IptablesLegacy, false) => "ip6tables-legacy-restore",
            (_, true) => "iptables-restore",
            (_, false) => "ip6tables-restore",
        }
    }
}

/// How kube-proxy has its restore leave alone what it does not name.
const KEEP: [&str; 2] = ["--noflush", "--counters"];

impl Job {
    /// Sets before the rules that name them, and addresses before the servers.
    fn ipvs(&mut self, texts: ipvs::Texts, v4: bool) {
        self.feed("ip", &["-batch", "-"], texts.addresses);
        self.feed("ipset", &["-exist", "restore"], texts.sets);
        let program = if v4 { "iptables-restore" } else { "ip6tables-restore" };
        self.feed(program, &KEEP, texts.rules);
        self.feed("ipvsadm", &["-R"], texts.servers);
    }
}

/// The families of a cluster: IPv4, and IPv6 if any service has an address of it.
fn families(state: &State) -> impl Iterator<Item = bool> {
    let frontends = state.services.values().flat_map(|port| &port.frontends);
    let has_v6 = frontends.into_iter().any(|frontend| frontend.address.is_ipv6());
    [true, false].into_iter().filter(move |v4| *v4 || has_v6)
}

/// Whether the kernel has IPVS, if need be after loading it. The parameters are a namespace's from then on.
fn kernel_has_ipvs() -> bool {
    let is_there = || std::path::Path::new("/proc/net/ip_vs").exists();
    is_there() || {
        for module in ["ip_vs", "ip_vs_rr"] {
            let _ = Command::new("modprobe").args(["--quiet", module]).output();
        }
        is_there()
    }
}
