//! Frontends with their backends.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::Serialize;
use twinpath_control::model::{FrontendKind, PortName, Protocol, ServicePort};
use twinpath_core::backend::BackendId;
use twinpath_core::bytes::Be16;
use twinpath_core::service::{Algorithm, Forwarding, Scope, Service, ServiceKey, flag};

use super::print::{Row, or_none};
use super::{Filter, NodeView, View, protocol, socket};

/// A frontend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServiceRow {
    /// Whose tables it is in.
    pub node: String,
    /// The number of the service port.
    pub id: u32,
    /// The service's namespace.
    pub namespace: String,
    /// The service's name; of a host port, the pod's.
    pub name: String,
    /// The port's name.
    pub port: String,
    /// Address and port. The unspecified address stands for all addresses of the node.
    pub frontend: SocketAddr,
    /// Its protocol.
    pub proto: String,
    /// What makes it a frontend: `ClusterIP`, `NodePort`, ...
    pub kind: &'static str,
    /// Whose packets it is for: `internal`, `external`, or `both`, where they are treated alike.
    pub scope: &'static str,
    /// `random` or `maglev`.
    pub algorithm: &'static str,
    /// How packets from outside reach backends on other nodes.
    pub forwarding: &'static str,
    /// For how many seconds an idle client keeps its backend; 0 for none.
    pub affinity: u32,
    /// `local`, `elsewhere`, `source-ranges`.
    pub flags: Vec<&'static str>,
    /// Those in slots, by slot, then those without.
    pub backends: Vec<ServiceBackend>,
}

/// A backend of a frontend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServiceBackend {
    /// Its slot, from 1; `None` where it takes no new connections.
    pub slot: Option<u16>,
    /// Its number; `None` where the datapath does not know it.
    pub id: Option<BackendId>,
    /// Where it listens.
    pub address: SocketAddr,
    /// `active`; `terminating`: keeps connections and takes no new ones; `elsewhere`: takes new ones at
    /// other places only, by policies and hints; `not-ready`: in no table.
    pub state: &'static str,
    /// Its pod.
    pub pod: Option<String>,
    /// Where it runs.
    pub node: Option<String>,
}

/// All of a node, by service number, frontend and scope.
pub fn rows(view: &View, node: &NodeView, filter: &Filter) -> Vec<ServiceRow> {
    let numbers = numbers(view, node);
    let mut rows: Vec<ServiceRow> = Vec::new();
    // Where the rows of a frontend are: two at most, one per scope.
    let mut places: BTreeMap<(u32, SocketAddr), Vec<usize>> = BTreeMap::new();
    for (key, master) in masters(node) {
        let Some((name, port)) = view.port(master.id) else { continue };
        if !filter.takes(&name.service) {
            continue;
        }
        let row = row(view, node, &numbers, (key, master), (name, port));
        let others = places.entry((row.id, row.frontend)).or_default();
        // A scope that is treated as the other one is no row of its own.
        let alike = others.iter().copied().find(|place| {
            rows.get(*place)
                .is_some_and(|other| *other == ServiceRow { scope: other.scope, ..row.clone() })
        });
        match alike.and_then(|place| rows.get_mut(place)) {
            Some(other) => other.scope = "both",
            None => {
                others.push(rows.len());
                rows.push(row);
            }
        }
    }
    rows.sort_by(|a, b| (a.id, a.frontend, a.scope).cmp(&(b.id, b.frontend, b.scope)));
    rows
}

/// The master entries of frontends, without those that stand for an address.
pub(super) fn masters(node: &NodeView) -> impl Iterator<Item = (&ServiceKey, &Service)> {
    node.tables.services.iter().filter(|(key, _)| key.slot == 0 && key.protocol != 0)
}

/// The backends in the slots of a frontend.
pub(super) fn slots<'a>(
    node: &'a NodeView,
    key: &'a ServiceKey,
    master: &Service,
) -> impl Iterator<Item = (u16, BackendId)> + 'a {
    (1..=master.count)
        .filter_map(move |slot| Some((slot, node.tables.services.get(&key.slot(slot))?.backend)))
}

/// Why this is a frontend of the port.
pub(super) fn kind(port: &ServicePort, key: &ServiceKey) -> FrontendKind {
    let address = IpAddr::from(key.address);
    let at = |host: IpAddr| {
        port.frontends
            .iter()
            .find(move |frontend| frontend.address == host && Be16::new(frontend.port) == key.port)
    };
    // A host port at all of a node's addresses has an entry for each of them.
    let all = match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let of_host = at(all).filter(|frontend| frontend.kind == FrontendKind::HostPort);
    at(address).or(of_host).map_or(FrontendKind::NodePort, |frontend| frontend.kind)
}

/// The name of a kind.
pub(super) const fn kind_name(kind: FrontendKind) -> &'static str {
    match kind {
        FrontendKind::ClusterIp => "ClusterIP",
        FrontendKind::LoadBalancer => "LoadBalancer",
        FrontendKind::ExternalIp => "ExternalIPs",
        FrontendKind::NodePort => "NodePort",
        FrontendKind::HostPort => "HostPort",
    }
}

/// The bits of [`flag`] by name.
pub(super) fn flags(master: &Service) -> Vec<&'static str> {
    let names = [
        (flag::SOURCE_RANGES, "source-ranges"),
        (flag::LOCAL, "local"),
        (flag::ELSEWHERE, "elsewhere"),
    ];
    names.into_iter().filter(|(bit, _)| master.has(*bit)).map(|(_, name)| name).collect()
}

const fn forwarding(master: &Service) -> &'static str {
    match Forwarding::of(master) {
        Forwarding::Snat => "snat",
        Forwarding::DsrOption => "dsr-opt",
        Forwarding::DsrIpip => "dsr-ipip",
        Forwarding::DsrGeneve => "dsr-geneve",
    }
}

/// Backends by protocol and address.
type Numbers = BTreeMap<(Protocol, SocketAddr), BackendId>;

/// Those that the datapath of a node knows.
fn numbers(view: &View, node: &NodeView) -> Numbers {
    let all = view.names.backends.iter();
    all.filter(|(id, _)| node.tables.backends.contains_key(*id))
        .map(|(id, info)| ((info.protocol, SocketAddr::new(info.address, info.port)), *id))
        .collect()
}

fn row(
    view: &View,
    node: &NodeView,
    numbers: &Numbers,
    (key, master): (&ServiceKey, &Service),
    (name, port): (&PortName, &ServicePort),
) -> ServiceRow {
    let taken: Vec<(u16, BackendId)> = slots(node, key, master).collect();
    let known = |slot: Option<u16>, id: BackendId, state: &'static str| {
        let address = node.tables.backends.get(&id).map(|b| socket(b.address, b.port));
        let info = view.backend_name(id);
        ServiceBackend {
            slot,
            id: Some(id),
            address: address.unwrap_or(SocketAddr::new([0, 0, 0, 0].into(), 0)),
            state,
            pod: info.and_then(|info| info.pod.as_ref()).map(ToString::to_string),
            node: info.and_then(|info| info.node.clone()),
        }
    };
    let mut backends: Vec<ServiceBackend> =
        taken.iter().map(|(slot, id)| known(Some(*slot), *id, "active")).collect();
    let in_slots: BTreeSet<SocketAddr> = backends.iter().map(|backend| backend.address).collect();
    let is_v4 = key.address.is_v4();
    for endpoint in port.endpoints.iter().filter(|endpoint| endpoint.address.is_ipv4() == is_v4) {
        let address = SocketAddr::new(endpoint.address, endpoint.port);
        if in_slots.contains(&address) {
            continue;
        }
        let state = match (endpoint.ready, endpoint.is_draining()) {
            (true, _) => "elsewhere",
            (_, true) => "terminating",
            _ => "not-ready",
        };
        backends.push(ServiceBackend {
            slot: None,
            id: numbers.get(&(name.protocol, address)).copied().filter(|_| state != "not-ready"),
            address,
            state,
            pod: endpoint.pod.as_ref().map(ToString::to_string),
            node: endpoint.node.clone(),
        });
    }
    ServiceRow {
        node: node.name.clone(),
        id: master.id,
        namespace: name.service.namespace.clone(),
        name: name.service.name.clone(),
        port: name.port.clone(),
        frontend: socket(key.address, key.port),
        proto: protocol(key.protocol),
        kind: kind_name(kind(port, key)),
        scope: if key.scope() == Scope::Internal { "internal" } else { "external" },
        algorithm: if master.algorithm == Algorithm::Maglev as u8 { "maglev" } else { "random" },
        forwarding: forwarding(master),
        affinity: master.affinity,
        flags: flags(master),
        backends,
    }
}

impl ServiceRow {
    /// `10.96.0.80:80/TCP`, with `/i` where clients in the cluster are treated apart from those outside.
    fn frontend_words(&self) -> String {
        let scope = if self.scope == "internal" && self.kind != "ClusterIP" { "/i" } else { "" };
        format!("{}/{}{scope}", self.frontend, self.proto)
    }
}

impl Row for ServiceRow {
    const TYPE: &'static str = "service";
    const HEAD: &'static [(&'static str, bool)] = &[
        ("ID", false),
        ("FRONTEND", false),
        ("TYPE", false),
        ("NAME", true),
        ("ALGORITHM", true),
        ("FORWARDING", true),
        ("AFFINITY", true),
        ("FLAGS", true),
        ("BACKEND", false),
        ("POD", true),
        ("NODE", true),
    ];

    fn lines(&self) -> Vec<Vec<String>> {
        let port = if self.port.is_empty() { String::new() } else { format!(":{}", self.port) };
        let affinity =
            if self.affinity == 0 { String::new() } else { format!("{}s", self.affinity) };
        let mut first = vec![
            self.id.to_string(),
            self.frontend_words(),
            self.kind.to_owned(),
            format!("{}/{}{port}", self.namespace, self.name),
            self.algorithm.to_owned(),
            self.forwarding.to_owned(),
            or_none(affinity),
            or_none(self.flags.join(",")),
        ];
        if self.backends.is_empty() {
            first.extend([or_none(String::new())]);
            return vec![first];
        }
        let of = |backend: &ServiceBackend| {
            let slot = backend.slot.map_or_else(|| "-".to_owned(), |slot| slot.to_string());
            vec![
                format!("{slot} => {}/{} ({})", backend.address, self.proto, backend.state),
                or_none(backend.pod.clone().unwrap_or_default()),
                or_none(backend.node.clone().unwrap_or_default()),
            ]
        };
        let mut lines: Vec<Vec<String>> = Vec::new();
        for backend in &self.backends {
            let mut line = std::mem::replace(&mut first, vec![String::new(); 8]);
            line.extend(of(backend));
            lines.push(line);
        }
        lines
    }

    fn name(&self) -> Option<String> {
        Some(format!("service/{}/{}", self.namespace, self.name))
    }
}

/// As `ipvsadm -Sn` would print the same services. Node ports are at every address of their node; what is
/// balanced at random is said to be round robin, and Maglev is `mh`.
pub fn ipvs(output: &mut impl Write, view: &View, rows: &[ServiceRow]) -> io::Result<()> {
    let mut servers: BTreeMap<(String, SocketAddr), &ServiceRow> = BTreeMap::new();
    for row in rows {
        let addresses: Vec<IpAddr> = if row.frontend.ip().is_unspecified() {
            let node = view.topology.nodes.iter().find(|node| node.name == row.node);
            let own = node.map(|node| node.addresses.clone()).unwrap_or_default();
            own.into_iter().filter(|ip| ip.is_ipv4() == row.frontend.is_ipv4()).collect()
        } else {
            vec![row.frontend.ip()]
        };
        for address in addresses {
            let at = (row.proto.clone(), SocketAddr::new(address, row.frontend.port()));
            // Where clients outside are treated apart, theirs is what kube-proxy's IPVS would hold.
            let internal = servers.get(&at).is_none_or(|other| other.scope == "internal");
            if internal {
                servers.insert(at, row);
            }
        }
    }
    for ((proto, at), row) in servers {
        let server = match proto.as_str() {
            "TCP" => format!("-t {at}"),
            "UDP" => format!("-u {at}"),
            _ => format!("--sctp-service {at}"),
        };
        let scheduler = if row.algorithm == "maglev" { "mh" } else { "rr" };
        let keep = if row.affinity == 0 { String::new() } else { format!(" -p {}", row.affinity) };
        writeln!(output, "-A {server} -s {scheduler}{keep}")?;
        for backend in &row.backends {
            let weight = match (backend.slot, backend.state) {
                (Some(_), _) => 1,
                (None, "terminating") => 0,
                _ => continue,
            };
            writeln!(output, "-a {server} -r {} -m -w {weight}", backend.address)?;
        }
    }
    Ok(())
}
