//! Which endpoints kube-proxy gives new connections, worked out from the state of the cluster once more
//! and apart from the control plane.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;

use crate::model::{
    Endpoint, FrontendKind, PortName, Protocol, Range, ServiceKind, ServicePort, State,
    TrafficPolicy,
};

/// A port of a service in one family, as the rules of one node see it.
#[derive(Debug)]
pub struct Served<'a> {
    /// `default/web:http`, or `default/web` of a port without a name. What would mean something to those who
    /// read rules is replaced.
    pub name: String,
    /// Its name, in full.
    pub key: &'a PortName,
    /// As rules have it: `tcp`.
    pub protocol: &'static str,
    /// The port.
    pub port: &'a ServicePort,
    /// Those of the whole cluster that take connections.
    pub cluster: Vec<&'a Endpoint>,
    /// Those of the node.
    pub local: Vec<&'a Endpoint>,
}

impl<'a> Served<'a> {
    /// The ports that a node's rules of a family have. Host ports are not kube-proxy's.
    pub fn all(state: &'a State, node: &str, v4: bool) -> Vec<Self> {
        let ports = state.services.iter().filter(|(_, port)| port.kind != ServiceKind::HostPort);
        ports.map(|(name, port)| Self::new(name, port, node, v4)).collect()
    }

    fn new(name: &'a PortName, port: &'a ServicePort, node: &str, v4: bool) -> Self {
        let usable = |is_here: &dyn Fn(&Endpoint) -> bool| {
            let all = || port.endpoints.iter().filter(|e| e.address.is_ipv4() == v4 && is_here(e));
            let ready: Vec<_> = all().filter(|e| e.ready).collect();
            if ready.is_empty() {
                all().filter(|e| e.serving && e.terminating).collect()
            } else {
                ready
            }
        };
        Self {
            name: title(name),
            key: name,
            protocol: match name.protocol {
                Protocol::Tcp => "tcp",
                Protocol::Udp => "udp",
                Protocol::Sctp => "sctp",
            },
            port,
            cluster: usable(&|_| true),
            local: usable(&|e| e.is_on(node)),
        }
    }

    /// Those that the external policy gives clients outside.
    pub fn external(&self) -> &[&'a Endpoint] {
        self.of(self.port.external_policy)
    }

    /// Those that the internal policy gives at cluster addresses.
    pub fn internal(&self) -> &[&'a Endpoint] {
        self.of(self.port.internal_policy)
    }

    fn of(&self, policy: TrafficPolicy) -> &[&'a Endpoint] {
        match policy {
            TrafficPolicy::Cluster => &self.cluster,
            TrafficPolicy::Local => &self.local,
        }
    }

    /// Whether external connections are kept to the node.
    pub fn is_local(&self) -> bool {
        self.port.external_policy == TrafficPolicy::Local
    }

    /// Whether rules choose among the endpoints of the whole cluster: also for the node's own connections
    /// where those from outside are kept to the node.
    pub fn uses_cluster(&self) -> bool {
        self.port.internal_policy == TrafficPolicy::Cluster || self.is_external()
    }

    /// Whether rules choose among the endpoints of the node.
    pub fn uses_local(&self) -> bool {
        self.port.internal_policy == TrafficPolicy::Local || (self.is_external() && self.is_local())
    }

    /// The endpoints that some rule sends to, each once.
    pub fn used(&self) -> Vec<&'a Endpoint> {
        let mut used = if self.uses_cluster() { self.cluster.clone() } else { Vec::new() };
        if self.uses_local() {
            for endpoint in &self.local {
                let end = (endpoint.address, endpoint.port);
                if !used.iter().any(|other| (other.address, other.port) == end) {
                    used.push(endpoint);
                }
            }
        }
        used
    }

    /// Whether it is reached from outside.
    pub fn is_external(&self) -> bool {
        self.port.node_port.is_some()
            || self.port.frontends.iter().any(|frontend| frontend.kind.is_external())
    }

    /// Whether nothing serves it anywhere: then it is refused, and otherwise dropped where a policy leaves
    /// nothing.
    pub const fn is_dead(&self) -> bool {
        self.cluster.is_empty()
    }

    /// Its addresses of a kind and a family.
    pub fn addresses(&self, kind: FrontendKind, v4: bool) -> impl Iterator<Item = IpAddr> {
        let of_kind = self.port.frontends.iter().filter(move |frontend| frontend.kind == kind);
        of_kind.map(|frontend| frontend.address).filter(move |address| address.is_ipv4() == v4)
    }

    /// The source ranges of a family.
    pub fn ranges(&self, v4: bool) -> Vec<Range> {
        let ranges = self.port.source_ranges.iter();
        ranges.filter(|range| range.address.is_ipv4() == v4).copied().collect()
    }
}

/// What names a port in rules. Names come from dumps, which nobody has checked, and rules are read as root.
fn title(name: &PortName) -> String {
    let text = if name.port.is_empty() {
        name.service.to_string()
    } else {
        format!("{}:{}", name.service, name.port)
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:".contains(c);
    text.chars().map(|c| if plain(c) { c } else { '_' }).collect()
}

/// A number by which things of one kind are told apart in names of chains.
pub(super) fn digest(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// The ports of services that rules of `new` and of `old` differ in. All of them, if the nodes do.
pub fn changed<'a>(old: &'a State, new: &'a State) -> BTreeSet<&'a PortName> {
    let all = old.services.keys().chain(new.services.keys());
    if old.nodes != new.nodes || old.service_ranges != new.service_ranges {
        return all.collect();
    }
    all.filter(|name| old.services.get(name) != new.services.get(name)).collect()
}

/// The smallest range with all pods of a family, which kube-proxy is told as `--cluster-cidr`.
pub fn pod_range(state: &State, v4: bool) -> Option<Range> {
    let mut all = state
        .nodes
        .values()
        .flat_map(|node| &node.pod_ranges)
        .filter(|range| range.address.is_ipv4() == v4);
    let first = *all.next()?;
    Some(all.fold(first, |range, next| {
        let (a, b) = (bits(range.first()), bits(next.first()));
        let unused = if v4 { 96 } else { 0 };
        let same = (a ^ b).leading_zeros().saturating_sub(unused);
        let length = u32::from(range.length.min(next.length)).min(same);
        let range = Range { address: range.address, length: u8::try_from(length).unwrap_or(0) };
        Range { address: range.first(), length: range.length }
    }))
}

/// Whether an address is in a range.
pub fn contains(range: &Range, address: IpAddr) -> bool {
    let of = |address| Range { address, length: range.length }.first();
    range.address.is_ipv4() == address.is_ipv4() && of(address) == range.first()
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(ip) => ip.to_bits().into(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}
