//! The cluster that rows run on: three nodes with pods, two clients behind a router, and services as
//! Kubernetes objects.

use std::net::IpAddr;

use twinpath_control::maglev::Size;
use twinpath_control::model::State;
use twinpath_control::read::read;
use twinpath_control::tables::Options;
use twinpath_sim::topology::{Attached, Topology};

use super::packet::{End, Proto};

/// The pods: name, node, last part of the addresses. `s` serves, `c` does not.
pub(crate) const PODS: [(&str, u8, u8); 8] = [
    ("ca", 1, 10),
    ("sa", 1, 20),
    ("sa2", 1, 21),
    ("cb", 2, 10),
    ("sb", 2, 20),
    ("sb2", 2, 21),
    ("cc", 3, 10),
    ("sc", 3, 20),
];

/// The mark that says that a packet is done with.
const MARK: u32 = 0x7400;

fn v6(a: u16, b: u16, c: u16, last: u16) -> IpAddr {
    [0xfd00, a, b, c, 0, 0, 0, last].into()
}

pub(crate) fn node(number: u8, v4: bool) -> IpAddr {
    if v4 { [192, 168, 0, number].into() } else { v6(0x192, 0x168, 0, number.into()) }
}

pub(crate) fn pod(name: &str, v4: bool) -> IpAddr {
    let (_, node, last) = *PODS.iter().find(|(pod, ..)| *pod == name).expect("a pod");
    if v4 { [10, 244, node, last].into() } else { v6(0x10, 0x244, node.into(), last.into()) }
}

/// The address of a client outside, `x` or `y`.
pub(crate) fn client(name: &str, v4: bool) -> IpAddr {
    let last = if name == "x" { 10 } else { 20 };
    if v4 {
        [203, 0, 113, last].into()
    } else {
        [0x2001, 0xdb8, 0x113, 0, 0, 0, 0, last.into()].into()
    }
}

pub(crate) fn router(v4: bool) -> IpAddr {
    if v4 { [203, 0, 113, 1].into() } else { [0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 1].into() }
}

/// A cluster address; services are numbered.
pub(crate) fn cluster_ip(service: u8, v4: bool) -> IpAddr {
    if v4 { [10, 96, 0, service].into() } else { v6(0x96, 0, 0, service.into()) }
}

pub(crate) fn external_ip(v4: bool) -> IpAddr {
    if v4 { [198, 18, 0, 20].into() } else { v6(0x198, 0x18, 0, 20) }
}

pub(crate) fn balancer(v4: bool) -> IpAddr {
    if v4 { [198, 18, 0, 10].into() } else { v6(0x198, 0x18, 0, 10) }
}

pub(crate) fn hairpin(v4: bool) -> IpAddr {
    if v4 { [169, 254, 42, 1].into() } else { [0xfd2a, 0x5dc8, 0x7e31, 0, 0, 0, 0, 0x2a01].into() }
}

/// Whether an address is one that must not be seen between nodes.
pub(crate) fn is_cluster_ip(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets()[..2] == [10, 96],
        IpAddr::V6(address) => address.segments()[..2] == [0xfd00, 0x96],
    }
}

/// Whether an address is a pod's.
pub(crate) fn is_pod(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets()[..2] == [10, 244],
        IpAddr::V6(address) => address.segments()[..3] == [0xfd00, 0x10, 0x244],
    }
}

/// How a backend is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Health {
    Ready,
    Terminating,
}

/// A service with one port.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub number: u8,
    pub proto: Proto,
    /// Its port at its own addresses, at nodes, and at its pods.
    pub port: u16,
    pub node_port: u16,
    pub target: u16,
    pub backends: Vec<(&'static str, Health)>,
    /// More of its spec, in YAML.
    pub spec: String,
}

impl Service {
    /// Of all kinds at once, with these pods behind it.
    pub(crate) fn new(proto: Proto, backends: &[&'static str]) -> Self {
        // The ports of SCTP cannot change.
        let (port, node_port, target) =
            if proto == Proto::Sctp { (30132, 30132, 30132) } else { (80, 30080, 8080) };
        Self {
            number: 1,
            proto,
            port,
            node_port,
            target,
            backends: backends.iter().map(|pod| (*pod, Health::Ready)).collect(),
            spec: String::new(),
        }
    }

    pub(crate) fn cluster(&self, v4: bool) -> End {
        (cluster_ip(self.number, v4), self.port)
    }

    pub(crate) fn at_node(&self, number: u8, v4: bool) -> End {
        (node(number, v4), self.node_port)
    }

    pub(crate) fn external(&self, v4: bool) -> End {
        (external_ip(v4), self.port)
    }

    pub(crate) fn balancer(&self, v4: bool) -> End {
        (balancer(v4), self.port)
    }

    pub(crate) fn target(&self, name: &str, v4: bool) -> End {
        (pod(name, v4), self.target)
    }

    fn yaml(&self) -> String {
        let Self { number, port, node_port, target, spec, .. } = self;
        let (name, protocol) = (format!("s{number}"), self.proto.name());
        let (a, b) = (cluster_ip(*number, true), cluster_ip(*number, false));
        let kind = if *number == 1 { "LoadBalancer" } else { "NodePort" };
        let shared = if *number == 1 {
            let ([e4, e6], [l4, l6]) =
                ([true, false].map(external_ip), [true, false].map(balancer));
            (format!("externalIPs: [{e4}, '{e6}'], "), format!("[{{ip: {l4}}}, {{ip: '{l6}'}}]"))
        } else {
            (String::new(), "[]".into())
        };
        let mut text = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: default}}\n\
             spec: {{type: {kind}, clusterIP: {a}, clusterIPs: [{a}, '{b}'], {}{spec} \
             ports: [{{name: p, protocol: {protocol}, port: {port}, targetPort: {target}, nodePort: {node_port}}}]}}\n\
             status: {{loadBalancer: {{ingress: {}}}}}\n---\n",
            shared.0, shared.1
        );
        for v4 in [true, false] {
            let family = if v4 { "IPv4" } else { "IPv6" };
            text += &format!(
                "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
                 metadata: {{name: {name}-{}, namespace: default, labels: {{kubernetes.io/service-name: {name}}}}}\n\
                 addressType: {family}\nports: [{{name: p, protocol: {protocol}, port: {target}}}]\nendpoints:\n",
                family.to_lowercase()
            );
            for (backend, health) in &self.backends {
                let (_, node, _) = PODS.iter().find(|(pod, ..)| pod == backend).expect("a pod");
                let ready = *health == Health::Ready;
                text += &format!(
                    "- {{addresses: ['{}'], conditions: {{ready: {ready}, serving: true, terminating: {}}}, \
                     nodeName: n{node}, targetRef: {{kind: Pod, namespace: default, name: {backend}}}}}\n",
                    pod(backend, v4),
                    !ready
                );
            }
            if self.backends.is_empty() {
                text = text.trim_end_matches("endpoints:\n").to_owned() + "endpoints: []\n";
            }
            text += "---\n";
        }
        text
    }
}

/// The state of the cluster with these services.
pub(crate) fn state(services: &[Service]) -> State {
    let mut text = String::new();
    for number in 1..=3_u8 {
        text += &format!(
            "apiVersion: v1\nkind: Node\nmetadata: {{name: n{number}}}\n\
             spec: {{podCIDR: 10.244.{number}.0/24, podCIDRs: [10.244.{number}.0/24, 'fd00:10:244:{number}::/64']}}\n\
             status: {{addresses: [{{type: InternalIP, address: {}}}, {{type: InternalIP, address: '{}'}}]}}\n---\n",
            node(number, true),
            node(number, false)
        );
    }
    for (name, number, _) in PODS {
        let (a, b) = (pod(name, true), pod(name, false));
        text += &format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: default}}\nspec: {{nodeName: n{number}}}\n\
             status: {{phase: Running, podIP: {a}, podIPs: [{{ip: {a}}}, {{ip: '{b}'}}]}}\n---\n"
        );
    }
    text += "apiVersion: networking.k8s.io/v1\nkind: ServiceCIDR\nmetadata: {name: a}\n\
             spec: {cidrs: [10.96.0.0/16, 'fd00:96::/64']}\n---\n";
    for service in services {
        text += &service.yaml();
    }
    let (state, problems) = State::new(&read("matrix", text.as_bytes()).expect("objects"));
    // A row asks for what it is told cannot be had.
    let problems: Vec<_> = problems
        .iter()
        .filter(|problem| !problem.text.contains("SCTP cannot be rewritten"))
        .collect();
    assert!(problems.is_empty(), "{problems:?}\n{text}");
    state
}

/// What a row needs of its world.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Setup {
    pub options: Options,
    /// Of the link between the nodes, and of those to the clients.
    pub mtu: u32,
    pub client_mtu: u32,
    /// To which node the router sends what is for addresses that no node has, such as a load balancer's.
    pub entry: usize,
    /// Whether packets from outside meet the hook at XDP first.
    pub xdp: bool,
    /// Of the dice.
    pub seed: u64,
}

impl Default for Setup {
    fn default() -> Self {
        let options = Options {
            mark: MARK,
            maglev_size: Size::new(MAGLEV).expect("a prime"),
            ..Options::default()
        };
        Self { options, mtu: 1500, client_mtu: 0, entry: 0, xdp: false, seed: 7 }
    }
}

/// Entries of a slice of the Maglev table: few, so that many rows take little time.
const MAGLEV: u32 = 251;

impl Setup {
    pub(crate) fn topology(&self) -> Topology {
        let mut topology = Topology::new(&state(&[]));
        topology.mtu = self.mtu;
        topology.attached = Attached { xdp: self.xdp, to_netdev: true };
        let router = topology.add_router(vec![router(true), router(false)]);
        for v4 in [true, false] {
            for address in [external_ip(v4), balancer(v4), cluster_ip(1, v4), cluster_ip(99, v4)] {
                router.routes.insert(address.into(), self.entry);
            }
        }
        for name in ["x", "y"] {
            let addresses = vec![client(name, true), client(name, false)];
            topology.add_client(name.into(), addresses, self.client_mtu);
        }
        topology
    }
}
