//! Backends, policies, addresses, affinity, fragments.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;
use twinpath_control::model::{Client, FrontendKind, TrafficPolicy};
use twinpath_core::endpoint::Kind;
use twinpath_core::seam::Nanos;
use twinpath_sim::topology::Owner;

use super::print::{Row, or_none};
use super::{Filter, NodeView, View, protocol, socket};

const SECOND: Nanos = 1_000_000_000;

/// A backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackendRow {
    /// Whose table.
    pub node: String,
    /// Its number.
    pub id: u32,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its protocol.
    pub proto: String,
    /// `active` or `terminating`.
    pub state: &'static str,
    /// Its pod.
    pub pod: Option<String>,
    /// Where it runs.
    pub on: Option<String>,
    /// The services that give it new connections.
    pub services: Vec<String>,
}

/// All of a node, by number.
pub fn backends(view: &View, node: &NodeView, filter: &Filter) -> Vec<BackendRow> {
    let mut users: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
    let mut taken: BTreeSet<u32> = BTreeSet::new();
    for member in node.tables.members.keys() {
        users.entry(member.backend).or_default().insert(view.service(member.service));
        if filter.takes_id(view, member.service) {
            taken.insert(member.backend);
        }
    }
    let shown =
        node.tables.backends.iter().filter(|(id, _)| filter.is_open() || taken.contains(*id));
    let row = |(id, backend): (&u32, &twinpath_core::backend::Backend)| {
        let name = view.backend_name(*id);
        BackendRow {
            node: node.name.clone(),
            id: *id,
            address: socket(backend.address, backend.port),
            proto: protocol(backend.protocol),
            state: if backend.is_active() { "active" } else { "terminating" },
            pod: name.and_then(|name| name.pod.as_ref()).map(ToString::to_string),
            on: name.and_then(|name| name.node.clone()),
            services: users
                .get(id)
                .map(|names| names.iter().cloned().collect())
                .unwrap_or_default(),
        }
    };
    shown.map(row).collect()
}

impl Row for BackendRow {
    const TYPE: &'static str = "backend";
    const HEAD: &'static [(&'static str, bool)] = &[
        ("ID", false),
        ("BACKEND", false),
        ("STATE", false),
        ("POD", false),
        ("NODE", false),
        ("SERVICES", true),
    ];

    fn lines(&self) -> Vec<Vec<String>> {
        vec![vec![
            self.id.to_string(),
            format!("{}/{}", self.address, self.proto),
            self.state.to_owned(),
            or_none(self.pod.clone().unwrap_or_default()),
            or_none(self.on.clone().unwrap_or_default()),
            or_none(self.services.join(",")),
        ]]
    }

    fn name(&self) -> Option<String> {
        self.pod.as_ref().map(|pod| format!("pod/{pod}"))
    }
}

/// Who is served by whom, at a service port and from a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyRow {
    /// For whom new connections come in here.
    pub node: String,
    /// The service's namespace.
    pub namespace: String,
    /// The service's name.
    pub name: String,
    /// The port's name.
    pub port: String,
    /// The protocol.
    pub proto: String,
    /// The service's type.
    pub kind: &'static str,
    /// The policy for clients in the cluster, at cluster addresses.
    pub internal: Option<&'static str>,
    /// The policy for clients outside.
    pub external: Option<&'static str>,
    /// How many endpoints take new connections of clients in the cluster here.
    pub internal_endpoints: usize,
    /// How many take those of clients outside.
    pub external_endpoints: usize,
    /// How many endpoints there are.
    pub endpoints: usize,
    /// For how many seconds a client keeps its backend; 0 for no affinity.
    pub affinity: u32,
    /// From where clients may use the load balancer's addresses; empty for everywhere.
    pub source_ranges: Vec<String>,
    /// Where a load balancer asks whether the node has endpoints.
    pub health_check_port: Option<u16>,
}

const fn policy_name(policy: TrafficPolicy) -> &'static str {
    match policy {
        TrafficPolicy::Cluster => "Cluster",
        TrafficPolicy::Local => "Local",
    }
}

/// All service ports, by name.
pub fn policies(view: &View, node: &NodeView, filter: &Filter) -> Vec<PolicyRow> {
    let place = view.state.place(&node.name);
    let mut rows = Vec::new();
    for (name, port) in view.state.services.iter().filter(|(name, _)| filter.takes(&name.service)) {
        if port.node.as_ref().is_some_and(|only| *only != node.name) {
            continue;
        }
        let of = |client| {
            let kinds = port.frontends.iter().map(|frontend| frontend.kind);
            // Where a client in the cluster uses another address, it is spared the policy.
            let kinds =
                kinds.filter(|kind| client == Client::External || *kind == FrontendKind::ClusterIp);
            kinds.filter_map(|kind| port.policy(kind, client)).max()
        };
        let families: BTreeSet<bool> =
            port.frontends.iter().map(|frontend| frontend.address.is_ipv4()).collect();
        let count = |policy: Option<TrafficPolicy>| {
            let each = |v4: &bool| {
                policy.map_or(0, |policy| port.eligible(policy, *v4, &place).endpoints.len())
            };
            families.iter().map(each).sum()
        };
        let (internal, external) = (of(Client::Internal), of(Client::External));
        rows.push(PolicyRow {
            node: node.name.clone(),
            namespace: name.service.namespace.clone(),
            name: name.service.name.clone(),
            port: name.port.clone(),
            proto: name.protocol.to_string(),
            kind: port.kind.name(),
            internal: internal.map(policy_name),
            external: external.map(policy_name),
            internal_endpoints: count(internal),
            external_endpoints: count(external),
            endpoints: port.endpoints.len(),
            affinity: port.affinity.unwrap_or(0),
            source_ranges: port.source_ranges.iter().map(ToString::to_string).collect(),
            health_check_port: port.health_check_port,
        });
    }
    rows
}

impl Row for PolicyRow {
    const TYPE: &'static str = "policy";
    const HEAD: &'static [(&'static str, bool)] = &[
        ("NAMESPACE", false),
        ("NAME", false),
        ("PORT", false),
        ("TYPE", false),
        ("INTERNAL", false),
        ("EXTERNAL", false),
        ("ENDPOINTS", false),
        ("AFFINITY", false),
        ("SOURCE-RANGES", false),
        ("HEALTH-CHECK", true),
    ];

    fn lines(&self) -> Vec<Vec<String>> {
        let policy = |name: Option<&str>, count: usize| {
            name.map_or_else(|| "-".to_owned(), |name| format!("{name} ({count} here)"))
        };
        let port = if self.port.is_empty() {
            &self.proto
        } else {
            &format!("{}/{}", self.port, self.proto)
        };
        let affinity =
            if self.affinity == 0 { String::new() } else { format!("{}s", self.affinity) };
        let health = self.health_check_port.map(|port| port.to_string());
        vec![vec![
            self.namespace.clone(),
            self.name.clone(),
            port.clone(),
            self.kind.to_owned(),
            policy(self.internal, self.internal_endpoints),
            policy(self.external, self.external_endpoints),
            self.endpoints.to_string(),
            or_none(affinity),
            or_none(self.source_ranges.join(",")),
            or_none(health.unwrap_or_default()),
        ]]
    }

    fn name(&self) -> Option<String> {
        Some(format!("service/{}/{}", self.namespace, self.name))
    }
}

/// An address that a node knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EndpointRow {
    /// Whose table.
    pub node: String,
    /// The address.
    pub address: IpAddr,
    /// `pod`: of a pod on this node; `host`: of this node; `node`: of another node.
    pub kind: &'static str,
    /// The pod's device.
    pub device: Option<u32>,
    /// Whose address it is.
    pub owner: Option<String>,
}

/// All of a node, by address.
pub fn endpoints(view: &View, node: &NodeView, filter: &Filter) -> Vec<EndpointRow> {
    let pod = |index: usize| view.topology.pods.get(index);
    let of = |owner: Owner| match owner {
        Owner::Pod(index) => pod(index).map(|pod| pod.name.to_string()),
        Owner::Node(index) => view.topology.nodes.get(index).map(|node| node.name.clone()),
        _ => None,
    };
    // A service's endpoints are pods; nobody else's address has a namespace.
    let served: BTreeSet<IpAddr> = view
        .state
        .services
        .iter()
        .filter(|(name, _)| filter.takes(&name.service))
        .flat_map(|(_, port)| port.endpoints.iter().map(|endpoint| endpoint.address))
        .collect();
    let shown = node
        .tables
        .endpoints
        .iter()
        .filter(|(address, _)| filter.is_open() || served.contains(&IpAddr::from(**address)));
    shown
        .map(|(address, endpoint)| EndpointRow {
            node: node.name.clone(),
            address: IpAddr::from(*address),
            kind: match endpoint.kind() {
                Kind::Pod => "pod",
                Kind::Host => "host",
                Kind::Node => "node",
            },
            device: (endpoint.kind() == Kind::Pod).then_some(endpoint.device),
            owner: view.topology.owner(address).and_then(of),
        })
        .collect()
}

impl Row for EndpointRow {
    const TYPE: &'static str = "endpoint";
    const HEAD: &'static [(&'static str, bool)] =
        &[("ADDRESS", false), ("KIND", false), ("DEVICE", false), ("OWNER", false)];

    fn lines(&self) -> Vec<Vec<String>> {
        vec![vec![
            self.address.to_string(),
            self.kind.to_owned(),
            self.device.map_or_else(|| "-".to_owned(), |device| device.to_string()),
            or_none(self.owner.clone().unwrap_or_default()),
        ]]
    }
}

/// A client that is given the same backend again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AffinityRow {
    /// Whose table.
    pub node: String,
    /// The client.
    pub client: IpAddr,
    /// The service port.
    pub service: String,
    /// The backend that it was given last.
    pub backend: String,
    /// For how many seconds it was idle.
    pub idle: u64,
    /// For how many seconds it keeps the backend if it stays so; 0 where that is over.
    pub expires: u64,
}

/// All of a node, by key.
pub fn affinities(view: &View, node: &NodeView, filter: &Filter) -> Vec<AffinityRow> {
    let shown = node.affinities.iter().filter(|(key, _)| filter.takes_id(view, key.service));
    shown
        .map(|(key, affinity)| {
            let seconds = view.port(key.service).and_then(|(_, port)| port.affinity).unwrap_or(0);
            let until = affinity.used().saturating_add(Nanos::from(seconds).saturating_mul(SECOND));
            AffinityRow {
                node: node.name.clone(),
                client: IpAddr::from(key.address),
                service: view.service(key.service),
                backend: view.backend(affinity.last()),
                idle: view.now.saturating_sub(affinity.used()) / SECOND,
                expires: until.saturating_sub(view.now) / SECOND,
            }
        })
        .collect()
}

impl Row for AffinityRow {
    const TYPE: &'static str = "affinity";
    const HEAD: &'static [(&'static str, bool)] = &[
        ("NODE", false),
        ("CLIENT", false),
        ("SERVICE", false),
        ("BACKEND", false),
        ("IDLE", false),
        ("EXPIRES", false),
    ];

    fn lines(&self) -> Vec<Vec<String>> {
        vec![vec![
            self.node.clone(),
            self.client.to_string(),
            self.service.clone(),
            self.backend.clone(),
            format!("{}s", self.idle),
            format!("{}s", self.expires),
        ]]
    }
}

/// The ports of a datagram in fragments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FragmentRow {
    /// Whose table.
    pub node: String,
    /// The protocol.
    pub proto: String,
    /// Where it comes from.
    pub src: SocketAddr,
    /// Where it goes.
    pub dst: SocketAddr,
    /// Its identification.
    pub id: u32,
    /// Whether it is of a connection.
    pub tracked: bool,
    /// For how many seconds its later fragments may come; 0 where that is over.
    pub expires: u64,
}

/// All of a node, by key. They belong to no service, so a filter leaves none.
pub fn fragments(view: &View, node: &NodeView, filter: &Filter) -> Vec<FragmentRow> {
    let shown = node.fragments.iter().filter(|_| filter.is_open());
    shown
        .map(|(key, ports)| {
            let id = if key.source.is_v4() {
                // Its 16 bits lie in memory as in the header.
                u32::from(u16::from_be(key.id as u16))
            } else {
                u32::from_be(key.id)
            };
            let until = ports.seen.saturating_add(twinpath_core::fragment::Ports::TIMEOUT);
            FragmentRow {
                node: node.name.clone(),
                proto: protocol(key.protocol),
                src: socket(key.source, ports.source),
                dst: socket(key.destination, ports.destination),
                id,
                tracked: ports.is_tracked(),
                expires: until.saturating_sub(view.now) / SECOND,
            }
        })
        .collect()
}

impl Row for FragmentRow {
    const TYPE: &'static str = "fragment";
    const HEAD: &'static [(&'static str, bool)] = &[
        ("NODE", false),
        ("PROTO", false),
        ("DATAGRAM", false),
        ("ID", false),
        ("TRACKED", false),
        ("EXPIRES", false),
    ];

    fn lines(&self) -> Vec<Vec<String>> {
        vec![vec![
            self.node.clone(),
            self.proto.clone(),
            format!("{} > {}", self.src, self.dst),
            format!("{:#06x}", self.id),
            if self.tracked { "yes" } else { "no" }.to_owned(),
            format!("{}s", self.expires),
        ]]
    }
}
