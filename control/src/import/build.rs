//! Kubernetes objects from what rules say, piece by piece.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use super::{OTHERS, count, some};
use crate::model::{Protocol, Range};
use crate::objects::{
    AffinityConfig, ClientIpConfig, Conditions, EndpointPort, EndpointSlice, Ingress,
    LoadBalancerStatus, Metadata, Node, NodeAddress, NodeSpec, NodeStatus, NumberOrName,
    ObjectName, Service as ServiceObject, ServicePort, ServiceSpec, ServiceStatus, SliceEndpoint,
};
use crate::read::{Found, Object, Objects};

/// A cluster, while it is found out.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    pub(super) services: BTreeMap<ObjectName, Service>,
    /// Where addresses are, if rules say so.
    pub(super) here: BTreeSet<IpAddr>,
    pub(super) elsewhere: BTreeSet<IpAddr>,
    /// Addresses of the node.
    pub(super) node_addresses: BTreeSet<IpAddr>,
    /// Addresses of pods, as the proxy was told them.
    pub(super) pod_ranges: BTreeSet<Range>,
}

/// A service.
#[derive(Debug, Default)]
pub(super) struct Service {
    pub(super) cluster: Vec<IpAddr>,
    pub(super) external: Vec<IpAddr>,
    pub(super) balanced: Vec<IpAddr>,
    pub(super) ranges: Vec<Range>,
    pub(super) affinity: Option<u32>,
    pub(super) internal_local: bool,
    pub(super) external_local: bool,
    pub(super) health_check: Option<u16>,
    pub(super) ports: BTreeMap<(String, Protocol), Port>,
}

/// A port of a service.
#[derive(Debug, Default)]
pub(super) struct Port {
    pub(super) number: Option<u16>,
    pub(super) node_port: Option<u16>,
    /// Endpoints, and whether they take new connections.
    pub(super) endpoints: BTreeMap<SocketAddr, bool>,
    /// The families, as [`IpAddr::is_ipv6`], of which there are endpoints of which nothing is said but that they
    /// are on other nodes.
    pub(super) only_elsewhere: BTreeSet<bool>,
    /// Whether it is of IPv6, where no address says so.
    pub(super) is_ipv6: bool,
}

impl Port {
    fn has_family(&self, is_ipv4: bool) -> bool {
        self.has_endpoint(is_ipv4)
            || self.only_elsewhere.contains(&!is_ipv4)
            || (self.endpoints.is_empty() && self.node_port.is_some() && self.is_ipv6 != is_ipv4)
    }

    fn has_endpoint(&self, is_ipv4: bool) -> bool {
        self.endpoints.keys().any(|end| end.is_ipv4() == is_ipv4)
    }
}

/// A port of a slice: number, name, protocol.
type SlicePort<'a> = (u16, &'a String, Protocol);

/// Adds what is not there yet.
pub(super) fn add<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

/// Addresses for what must have one and of which none is known: of the ranges for benchmarks (RFC 2544,
/// RFC 5180), which no cluster has.
#[derive(Default)]
struct MadeUp {
    v4: u16,
    v6: u16,
}

impl MadeUp {
    fn next(&mut self, is_ipv4: bool) -> IpAddr {
        if is_ipv4 {
            self.v4 = self.v4.saturating_add(1);
            let [high, low] = self.v4.to_be_bytes();
            Ipv4Addr::new(198, 18, high, low).into()
        } else {
            self.v6 = self.v6.saturating_add(1);
            Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, self.v6).into()
        }
    }
}

impl Cluster {
    /// Counts for messages: services, their ports, and endpoints, each address and port once.
    pub(super) fn counts(&self) -> String {
        let ports = self.services.values().flat_map(|service| service.ports.values());
        let ends: BTreeSet<_> = ports.clone().flat_map(|port| port.endpoints.keys()).collect();
        let dead = self.services.values();
        let dead = dead.filter(|s| s.ports.values().all(|port| port.endpoints.is_empty())).count();
        format!(
            "{} with {}, {}; {} without endpoints",
            count(self.services.len(), "service"),
            count(ports.count(), "port"),
            count(ends.len(), "endpoint"),
            count(dead, "service"),
        )
    }

    /// The objects; what was made up for them is added to the notes.
    pub(super) fn objects(mut self, file: &str, node: &str, notes: &mut Vec<String>) -> Objects {
        let file: Arc<str> = file.into();
        let mut objects = Objects::default();
        self.make_up(notes);
        let is_elsewhere = !self.elsewhere.is_empty();
        for (name, service) in &self.services {
            self.slices(&mut objects.slices, &file, node, name, service);
            insert(&mut objects.services, &file, name, service.object(name));
        }
        let own = Node {
            metadata: Metadata { name: node.to_owned(), ..Metadata::default() },
            spec: NodeSpec {
                pod_cidrs: self.pod_ranges.iter().map(ToString::to_string).collect(),
                ..NodeSpec::default()
            },
            status: NodeStatus {
                addresses: self
                    .node_addresses
                    .iter()
                    .map(|ip| NodeAddress {
                        r#type: Some("InternalIP".into()),
                        address: Some(ip.to_string()),
                    })
                    .collect(),
            },
        };
        insert(&mut objects.nodes, &file, &ObjectName::new("", node), own);
        if is_elsewhere {
            let metadata = Metadata { name: OTHERS.into(), ..Metadata::default() };
            let others = Node { metadata, ..Node::default() };
            insert(&mut objects.nodes, &file, &ObjectName::new("", OTHERS), others);
        }
        objects
    }

    /// Gives every service what a Service must have.
    fn make_up(&mut self, notes: &mut Vec<String>) {
        let mut made_up = MadeUp::default();
        let (mut addresses, mut endpoints, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
        for (name, service) in &mut self.services {
            for is_ipv4 in [true, false] {
                let of = |ip: &IpAddr| ip.is_ipv4() == is_ipv4;
                let known = service.cluster.iter().any(of);
                let outside = service.external.iter().chain(&service.balanced).any(of);
                let needs = outside || service.ports.values().any(|port| port.has_family(is_ipv4));
                if needs && !known {
                    service.cluster.push(made_up.next(is_ipv4));
                    add(&mut addresses, name.to_string());
                }
            }
            for ((port_name, _), port) in &mut service.ports {
                for is_ipv6 in std::mem::take(&mut port.only_elsewhere) {
                    if port.has_endpoint(!is_ipv6) {
                        continue;
                    }
                    let address = made_up.next(!is_ipv6);
                    self.elsewhere.insert(address);
                    let number = port.number.or(port.node_port).unwrap_or(1);
                    port.endpoints.insert(SocketAddr::new(address, number), true);
                    endpoints.push(format!("{name}:{port_name}"));
                }
                if port.number.is_none() {
                    port.number = port.node_port.or(Some(1));
                    numbers.push(format!("{name}:{port_name}"));
                }
            }
        }
        for (names, text) in [
            (
                addresses,
                "the cluster address is made up (198.18.0.0/15, 2001:2::/48): there is no rule for it",
            ),
            (
                endpoints,
                "an endpoint on other nodes is made up: the rules say that there is one, not where",
            ),
            (numbers, "the service's port is taken from its node port: there is no rule for it"),
        ] {
            if !names.is_empty() {
                notes.push(format!("{}: {text}", some(&names)));
            }
        }
    }

    /// One slice for each port, family and number, and one for all ports that nothing listens on.
    fn slices(
        &self,
        slices: &mut Found<EndpointSlice>,
        file: &Arc<str>,
        node: &str,
        name: &ObjectName,
        service: &Service,
    ) {
        let mut found: BTreeMap<(bool, Option<SlicePort<'_>>), Vec<_>> = BTreeMap::new();
        let mut silent = Vec::new();
        for ((port_name, protocol), port) in &service.ports {
            for (end, ready) in &port.endpoints {
                let key = (end.is_ipv6(), Some((end.port(), port_name, *protocol)));
                found.entry(key).or_default().push((end.ip(), *ready));
            }
            if port.endpoints.is_empty() {
                silent.push(slice_port(port_name, *protocol, port.number.unwrap_or(1)));
            }
        }
        if !silent.is_empty() {
            let is_ipv6 = service.cluster.first().is_some_and(IpAddr::is_ipv6);
            found.entry((is_ipv6, None)).or_default();
        }
        for (number, ((is_ipv6, port), ends)) in found.into_iter().enumerate() {
            let ports = match port {
                Some((number, name, protocol)) => vec![slice_port(name, protocol, number)],
                None => std::mem::take(&mut silent),
            };
            let slice_name = ObjectName::new(
                &name.namespace,
                &format!("{}-{}", name.name, number.saturating_add(1)),
            );
            let mut metadata = metadata(&slice_name);
            metadata.labels.insert("kubernetes.io/service-name".into(), name.name.clone());
            let slice = EndpointSlice {
                metadata,
                address_type: Some(if is_ipv6 { "IPv6" } else { "IPv4" }.into()),
                endpoints: ends
                    .iter()
                    .map(|(ip, ready)| self.endpoint(*ip, *ready, node))
                    .collect(),
                ports,
            };
            insert(slices, file, &slice_name, slice);
        }
    }

    fn endpoint(&self, address: IpAddr, ready: bool, node: &str) -> SliceEndpoint {
        let at = if self.here.contains(&address) || self.node_addresses.contains(&address) {
            Some(node)
        } else if self.elsewhere.contains(&address) {
            Some(OTHERS)
        } else {
            None
        };
        let conditions =
            Conditions { ready: Some(ready), serving: Some(true), terminating: Some(!ready) };
        SliceEndpoint {
            addresses: vec![address.to_string()],
            conditions,
            node_name: at.map(str::to_owned),
            ..SliceEndpoint::default()
        }
    }
}

impl Service {
    fn object(&self, name: &ObjectName) -> ServiceObject {
        let texts = |list: &[IpAddr]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let is_balanced =
            !self.balanced.is_empty() || self.health_check.is_some() || !self.ranges.is_empty();
        let kind = if is_balanced {
            "LoadBalancer"
        } else if self.ports.values().any(|port| port.node_port.is_some()) {
            "NodePort"
        } else {
            "ClusterIP"
        };
        let policy = |is_local: bool| is_local.then(|| "Local".to_owned());
        let seconds = self.affinity.map(i64::from);
        let spec = ServiceSpec {
            r#type: Some(kind.into()),
            cluster_ips: texts(&self.cluster),
            external_ips: texts(&self.external),
            load_balancer_source_ranges: self.ranges.iter().map(ToString::to_string).collect(),
            session_affinity: seconds.map(|_| "ClientIP".into()),
            session_affinity_config: AffinityConfig {
                client_ip: ClientIpConfig { timeout_seconds: seconds },
            },
            internal_traffic_policy: policy(self.internal_local),
            external_traffic_policy: policy(self.external_local),
            health_check_node_port: self.health_check.map(i64::from),
            ports: self
                .ports
                .iter()
                .map(|((name, protocol), port)| port.object(name, *protocol))
                .collect(),
            ..ServiceSpec::default()
        };
        let ingress = texts(&self.balanced);
        let ingress = ingress.into_iter().map(|ip| Ingress { ip: Some(ip), ..Ingress::default() });
        ServiceObject {
            metadata: metadata(name),
            spec,
            status: ServiceStatus {
                load_balancer: LoadBalancerStatus { ingress: ingress.collect() },
            },
        }
    }
}

impl Port {
    fn object(&self, name: &str, protocol: Protocol) -> ServicePort {
        let mut numbers = self.endpoints.keys().map(SocketAddr::port);
        let first = numbers.next();
        let target = first.filter(|first| numbers.all(|number| number == *first));
        ServicePort {
            name: Some(name.to_owned()),
            protocol: Some(protocol.to_string()),
            port: self.number.map(i64::from),
            target_port: target.map(|number| NumberOrName::Number(number.into())),
            node_port: self.node_port.map(i64::from),
        }
    }
}

fn slice_port(name: &str, protocol: Protocol, number: u16) -> EndpointPort {
    EndpointPort {
        name: Some(name.to_owned()),
        protocol: Some(protocol.to_string()),
        port: Some(number.into()),
    }
}

fn metadata(name: &ObjectName) -> Metadata {
    Metadata {
        name: name.name.clone(),
        namespace: Some(name.namespace.clone()),
        ..Metadata::default()
    }
}

fn insert<T>(found: &mut Found<T>, file: &Arc<str>, name: &ObjectName, value: T) {
    found.insert(name.clone(), Object { file: file.clone(), value });
}
