//! Scenario files.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use twinpath_control::model::State;
use twinpath_control::problem::Severity;
use twinpath_control::read::{Objects, read};
use twinpath_control::tables::{self, Dispatch, Mode};
use twinpath_core::address::Address;
use twinpath_core::service::Algorithm;
use twinpath_sim::topology::{Attached, Topology};
use twinpath_sim::world::Sender;

use super::packet::{Packet, Words};

/// The mark of packets that a hook is done with.
const MARK: u32 = 0x0200_0000;

/// A scenario.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it shows, in a sentence.
    pub title: String,
    /// The seed of the nodes' dice.
    pub seed: u64,
    /// The cluster at the beginning.
    pub state: State,
    /// What happens, in order.
    pub steps: Vec<Step>,
    clients: BTreeMap<String, Client>,
    router: Router,
    options: Options,
}

/// What happens, and what is expected of it.
#[derive(Clone, Debug)]
pub struct Step {
    /// What happens.
    pub action: Action,
    /// What is expected.
    pub expect: Option<Expect>,
}

/// What happens.
#[derive(Clone, Debug)]
pub enum Action {
    /// Somebody sends a packet; nobody in particular where the address says who.
    Send(Option<Sender>, Packet),
    /// The receiver of the last packet that arrived answers it.
    Reply(Words),
    /// So many milliseconds pass.
    Wait(u64),
    /// The cluster is now this.
    Apply(State),
    /// The half of a connection that a node has under the tuple of this packet is gone.
    Evict(usize, Packet),
}

/// What is expected of a packet.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Expect {
    /// Where it arrives: a pod, a client, a node or `router`.
    pub at: Option<String>,
    /// How the text of the packet begins that arrives.
    pub packet: Option<String>,
    /// The reason for which it is dropped or rejected.
    pub drop: Option<String>,
}

/// Why a scenario file cannot be used. One line, which starts with the name of the file.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// It cannot be read.
    #[error("{0}: {1}")]
    Read(String, std::io::Error),
    /// It is not a scenario.
    #[error("{0}: {1}")]
    Form(String, String),
}

impl ScenarioError {
    /// In one line, whatever names it quotes from the file.
    fn form(name: &str, what: &str) -> Self {
        Self::Form(name.to_owned(), what.replace(['\n', '\r'], " "))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    scenario: String,
    #[serde(default)]
    cluster: Vec<String>,
    #[serde(default)]
    objects: String,
    #[serde(default)]
    clients: BTreeMap<String, Client>,
    #[serde(default)]
    router: Router,
    #[serde(default)]
    options: Options,
    steps: Vec<RawStep>,
}

/// A client outside, its addresses, and the MTU of its link.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Client {
    addresses: Vec<IpAddr>,
    #[serde(default)]
    mtu: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Router {
    addresses: Vec<IpAddr>,
    /// Addresses and the nodes that they are routed to.
    routes: BTreeMap<IpAddr, String>,
    knows_pods: bool,
}

impl Default for Router {
    /// Addresses of the networks for documentation (RFC 5737, RFC 3849).
    fn default() -> Self {
        Self {
            addresses: vec![[203, 0, 113, 1].into(), [0x2001, 0xdb8, 0, 0xffff, 0, 0, 0, 1].into()],
            routes: BTreeMap::new(),
            knows_pods: false,
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Options {
    seed: u64,
    mode: ModeName,
    dispatch: DispatchName,
    algorithm: Option<AlgorithmName>,
    masquerade: bool,
    xdp: bool,
    /// Of the nodes' uplinks.
    mtu: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            mode: ModeName::Snat,
            dispatch: DispatchName::Option,
            algorithm: None,
            masquerade: false,
            xdp: false,
            mtu: 1_500,
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ModeName {
    Snat,
    Dsr,
    Hybrid,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum DispatchName {
    Option,
    Ipip,
    Geneve,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum AlgorithmName {
    Random,
    Maglev,
}

/// A step as it stands in a file: exactly one of `send`, `reply`, `wait`, `apply` and `evict`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawStep {
    send: Option<String>,
    from: Option<String>,
    hex: Option<String>,
    reply: Option<String>,
    wait: Option<String>,
    apply: Option<String>,
    evict: Option<String>,
    expect: Option<Expect>,
}

/// The name of a [copy](Scenario::copy).
pub const COPY: &str = "scenario.yaml";

impl Scenario {
    /// Reads one from a file. Paths in it are relative to its folder.
    pub fn read(path: &Path) -> Result<Self, ScenarioError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| ScenarioError::Read(name.clone(), error))?;
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        Self::parse(&name, &text, folder)
    }

    /// Reads one from text.
    pub fn parse(name: &str, text: &str, folder: &Path) -> Result<Self, ScenarioError> {
        Self::parse_with(name, text, |path| {
            let path = folder.join(path);
            (path.display().to_string(), std::fs::read(&path))
        })
    }

    /// Reads one from text, and what it names through `dump`: what a path is called, and what is there.
    pub fn parse_with(
        name: &str,
        text: &str,
        dump: impl Fn(&str) -> (String, io::Result<Vec<u8>>),
    ) -> Result<Self, ScenarioError> {
        let form = |what: String| ScenarioError::form(name, &what);
        let file: File = serde_saphyr::from_str(text).map_err(|error| {
            let error = error.to_string();
            form(format!("not a scenario: {}", error.lines().next().unwrap_or_default()))
        })?;
        let mut objects = Objects::default();
        for path in &file.cluster {
            let (shown, bytes) = dump(path);
            let bytes = bytes.map_err(|error| ScenarioError::Read(shown.clone(), error))?;
            objects.merge(read(&shown, &bytes).map_err(|error| form(error.to_string()))?);
        }
        let mut scenario = Self {
            title: file.scenario,
            seed: file.options.seed,
            state: State::default(),
            steps: Vec::new(),
            clients: file.clients,
            router: file.router,
            options: file.options,
        };
        scenario.state = merge(name, &mut objects, &file.objects)?;
        let topology = scenario.topology();
        for (number, raw) in file.steps.into_iter().enumerate() {
            let step = number + 1;
            let form = |what: String| form(format!("step {step}: {what}"));
            let expect = raw.expect.clone();
            let action = match &raw.apply {
                Some(text) if raw.is_single() => Action::Apply(merge(name, &mut objects, text)?),
                _ => raw.action(&topology).map_err(form)?,
            };
            scenario.steps.push(Step { action, expect });
        }
        for node in scenario.router.routes.values() {
            if topology.node(node).is_none() {
                return Err(form(format!("router: no node {node}")));
            }
        }
        Ok(scenario)
    }

    /// Copies a scenario's file, and those of its cluster, into a folder; the copy, which stands alone.
    pub fn copy(path: &Path, folder: &Path) -> std::io::Result<PathBuf> {
        let mut text = std::fs::read_to_string(path)?;
        let file: File = serde_saphyr::from_str(&text).map_err(std::io::Error::other)?;
        let beside = path.parent().unwrap_or_else(|| Path::new(""));
        for (number, cluster) in file.cluster.iter().enumerate() {
            let name = match Path::new(cluster).file_name() {
                Some(name) => format!("{number}-{}", name.to_string_lossy()),
                None => continue,
            };
            std::fs::copy(beside.join(cluster), folder.join(&name))?;
            text = text.replacen(cluster, &name, 1);
        }
        let copy = folder.join(COPY);
        std::fs::write(&copy, text)?;
        Ok(copy)
    }

    /// Who is where.
    pub fn topology(&self) -> Topology {
        let mut topology = Topology::new(&self.state);
        topology.mtu = self.options.mtu;
        topology.attached = Attached { xdp: self.options.xdp, to_netdev: true };
        let routes = self
            .router
            .routes
            .iter()
            .filter_map(|(address, node)| Some((Address::from(*address), topology.node(node)?)))
            .collect();
        let router = topology.add_router(self.router.addresses.clone());
        router.knows_pods = self.router.knows_pods;
        router.routes = routes;
        for (name, client) in &self.clients {
            topology.add_client(name.clone(), client.addresses.clone(), client.mtu);
        }
        topology
    }

    /// What the tables of nodes are made with.
    pub fn tables(&self) -> tables::Options {
        let mut options = tables::Options {
            masquerade: self.options.masquerade,
            mark: MARK,
            mode: match self.options.mode {
                ModeName::Snat => Mode::Snat,
                ModeName::Dsr => Mode::Dsr,
                ModeName::Hybrid => Mode::Hybrid,
            },
            dispatch: match self.options.dispatch {
                DispatchName::Option => Dispatch::Option,
                DispatchName::Ipip => Dispatch::Ipip,
                DispatchName::Geneve => Dispatch::Geneve,
            },
            ..tables::Options::default()
        };
        if let Some(algorithm) = self.options.algorithm {
            let algorithm = match algorithm {
                AlgorithmName::Random => Algorithm::Random,
                AlgorithmName::Maglev => Algorithm::Maglev,
            };
            (options.algorithm, options.external_algorithm) = (algorithm, algorithm);
        }
        options
    }
}

/// Adds or replaces objects; the state of the cluster with them.
fn merge(name: &str, objects: &mut Objects, text: &str) -> Result<State, ScenarioError> {
    let form = |what: String| ScenarioError::form(name, &what);
    if !text.trim().is_empty() {
        let more = read("objects", text.as_bytes()).map_err(|error| form(error.to_string()))?;
        objects.merge(more);
    }
    let (state, problems) = State::new(objects);
    match problems.iter().find(|problem| problem.severity == Severity::Error) {
        Some(problem) => Err(form(problem.to_string())),
        None => Ok(state),
    }
}

impl RawStep {
    fn is_single(&self) -> bool {
        let given = [&self.send, &self.hex, &self.reply, &self.wait, &self.apply, &self.evict];
        given.into_iter().flatten().count() == 1
    }

    fn action(&self, topology: &Topology) -> Result<Action, String> {
        if !self.is_single() {
            return Err("give one of send, hex, reply, wait, apply and evict".into());
        }
        let from = self.from.as_deref().map(|name| sender(topology, name)).transpose()?;
        if let Some(text) = &self.send {
            return Ok(Action::Send(from, Packet::parse(text)?));
        }
        if let Some(text) = &self.hex {
            return Ok(Action::Send(from, Packet::from_hex(text)?));
        }
        if let Some(text) = &self.reply {
            return Ok(Action::Reply(Words::parse(text.split_whitespace())?));
        }
        if let Some(text) = &self.wait {
            return Ok(Action::Wait(milliseconds(text)?));
        }
        let text = self.evict.as_deref().unwrap_or_default();
        let (node, packet) =
            text.split_once(' ').ok_or("evict: give a node and the tuple of a packet")?;
        let node = topology.node(node).ok_or_else(|| format!("no node {node}"))?;
        Ok(Action::Evict(node, Packet::parse(packet)?))
    }
}

/// Who has this name: a client, a node, or a pod.
pub(super) fn sender(topology: &Topology, name: &str) -> Result<Sender, String> {
    let client = topology.client(name).map(Sender::Client);
    client
        .or_else(|| topology.node(name).map(Sender::Node))
        .or_else(|| topology.pod(name).map(Sender::Pod))
        .ok_or_else(|| format!("no client, node or pod {name}"))
}

/// `250ms`, `30s`, `5m`.
fn milliseconds(text: &str) -> Result<u64, String> {
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000)];
    units
        .into_iter()
        .find_map(|(unit, factor)| {
            let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
            number.checked_mul(factor)
        })
        .ok_or_else(|| format!("wait: {text:?} is no time; give 250ms, 30s or 5m"))
}
