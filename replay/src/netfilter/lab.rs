//! The cluster of the comparison: two nodes with pods, two clients behind a router, and a service for every
//! combination of policies and endpoints.

use std::net::{IpAddr, SocketAddr};

use twinpath_control::model::State;
use twinpath_control::tables::Options;
use twinpath_core::service::Algorithm;
use twinpath_sim::engine::SimEngine;
use twinpath_sim::map::Eviction;
use twinpath_sim::node::Limits;
use twinpath_sim::topology::Topology;
use twinpath_sim::world::{ModelWorld, Sender, World, WorldError};

use crate::scenario::Scenario;

/// The pods, and the number of their node. `p` serves nothing.
const PODS: [(&str, u8); 6] = [("pa", 1), ("a1", 1), ("a2", 1), ("pb", 2), ("b1", 2), ("b2", 2)];

/// Endpoints of services: `!` terminates and serves.
pub const ENDPOINTS: [&[&str]; 6] =
    [&["a1", "b1"], &["b1"], &["a1"], &[], &["a1!", "b1!"], &["a1!", "b1"]];

/// Ports of a service: protocol, its own, that of the pods. SCTP's is the same, so that it can be served at all.
pub const PORTS: [(&str, u16, u16); 3] =
    [("tcp", 80, 8080), ("udp", 53, 5353), ("sctp", 9090, 9090)];

/// A service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Which, from 1.
    pub number: u16,
    /// Whether `externalTrafficPolicy` is Local.
    pub external_local: bool,
    /// Whether `internalTrafficPolicy` is Local.
    pub internal_local: bool,
    /// Its endpoints.
    pub endpoints: &'static [&'static str],
    /// Whether a client keeps its endpoint.
    pub affinity: bool,
    /// Who may use its load balancer; everybody where it is empty.
    pub ranges: &'static [&'static str],
}

impl Service {
    /// All of them.
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for external_local in [false, true] {
            for internal_local in [false, true] {
                for endpoints in ENDPOINTS {
                    all.push(Self {
                        number: 0,
                        external_local,
                        internal_local,
                        endpoints,
                        affinity: false,
                        ranges: &[],
                    });
                }
            }
        }
        let plain = all.first().cloned();
        all.extend(plain.clone().map(|service| Self { affinity: true, ..service }));
        all.extend(plain.map(|service| Self { ranges: &["client", "pa"], ..service }));
        for (service, number) in all.iter_mut().zip(1..) {
            service.number = number;
        }
        all
    }

    /// Its node port of a protocol.
    pub fn node_port(&self, protocol: &str) -> u16 {
        let place = PORTS.iter().position(|port| port.0 == protocol).unwrap_or(0);
        30_000 + self.number * 4 + u16::try_from(place).unwrap_or(0)
    }
}

/// An address at which a service is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Front {
    /// The cluster address.
    Cluster,
    /// The node port of `node-a`.
    NodeA,
    /// The node port of `node-b`.
    NodeB,
    /// An external address, which the router sends to `node-a`.
    External,
    /// The load balancer's, which goes there, too.
    Balancer,
    /// None: the endpoint `a1` itself.
    Direct,
}

impl Front {
    /// All that are a service's.
    pub const ALL: [Self; 5] =
        [Self::Cluster, Self::NodeA, Self::NodeB, Self::External, Self::Balancer];

    /// Where a service is reached.
    pub fn end(self, service: &Service, protocol: &str, v4: bool) -> SocketAddr {
        let port = PORTS.iter().find(|port| port.0 == protocol).map_or(0, |port| port.1);
        let number = service.number;
        match self {
            Self::Cluster => SocketAddr::new(numbered(1, number, v4), port),
            Self::External => SocketAddr::new(numbered(2, number, v4), port),
            Self::Balancer => SocketAddr::new(numbered(3, number, v4), port),
            Self::Direct => {
                let target = PORTS.iter().find(|port| port.0 == protocol).map_or(0, |port| port.2);
                SocketAddr::new(address("a1", v4), target)
            }
            Self::NodeA => SocketAddr::new(address("node-a", v4), service.node_port(protocol)),
            Self::NodeB => SocketAddr::new(address("node-b", v4), service.node_port(protocol)),
        }
    }
}

/// The address of a service: 1 its cluster address, 2 an external one, 3 its load balancer's.
fn numbered(kind: u8, number: u16, v4: bool) -> IpAddr {
    let low = u8::try_from(number).unwrap_or(0);
    match (kind, v4) {
        (1, true) => [10, 96, 0, low].into(),
        (2, true) => [198, 51, 100, low].into(),
        (_, true) => [198, 51, 101, low].into(),
        (1, false) => [0xfd00, 0x10, 0x96, 0, 0, 0, 0, number].into(),
        (kind, false) => [0x2001, 0xdb8, 1, 0, 0, 0, u16::from(kind), number].into(),
    }
}

/// The address of a node, a pod or a client. Unspecified where nobody has the name.
pub fn address(name: &str, v4: bool) -> IpAddr {
    let place = PODS.iter().position(|pod| pod.0 == name);
    let v6 = |a, b, c, d| IpAddr::from([a, b, c, d, 0, 0, 0, 1]);
    if let Some((place, node)) = place.and_then(|place| Some((place, PODS.get(place)?.1))) {
        let low = u8::try_from(place + 10).unwrap_or(0);
        return if v4 {
            [10, 244, node, low].into()
        } else {
            [0xfd00, 0x10, 0x244, node.into(), 0, 0, 0, low.into()].into()
        };
    }
    match (name, v4) {
        ("node-a", true) => [192, 168, 0, 1].into(),
        ("node-b", true) => [192, 168, 0, 2].into(),
        ("node-a", false) => v6(0xfd00, 0x192, 0x168, 1),
        ("node-b", false) => v6(0xfd00, 0x192, 0x168, 2),
        ("client", true) => [100, 64, 1, 1].into(),
        ("stranger", true) => [100, 64, 2, 1].into(),
        ("client", false) => v6(0x2001, 0xdb8, 3, 0),
        ("stranger", false) => v6(0x2001, 0xdb8, 4, 0),
        (_, true) => [0; 4].into(),
        (_, false) => [0_u16; 8].into(),
    }
}

fn both(name: &str) -> String {
    format!("'{}', '{}'", address(name, true), address(name, false))
}

/// The cluster as Kubernetes objects.
pub fn objects(services: &[Service]) -> String {
    let mut text = "apiVersion: networking.k8s.io/v1\nkind: ServiceCIDR\n\
        metadata: {name: kubernetes}\nspec: {cidrs: [10.96.0.0/16, 'fd00:10:96::/112']}\n"
        .to_owned();
    for (n, node) in [(1, "node-a"), (2, "node-b")] {
        text += &format!(
            "---\napiVersion: v1\nkind: Node\nmetadata: {{name: {node}}}\n\
             spec: {{podCIDRs: [10.244.{n}.0/24, 'fd00:10:244:{n}::/64']}}\n\
             status: {{addresses: [{{type: InternalIP, address: '{}'}}, \
             {{type: InternalIP, address: '{}'}}]}}\n",
            address(node, true),
            address(node, false)
        );
    }
    for (name, node) in PODS {
        let node = if node == 1 { "node-a" } else { "node-b" };
        text += &format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: default}}\n\
             spec: {{nodeName: {node}}}\nstatus: {{phase: Running, podIPs: [{{ip: '{}'}}, {{ip: '{}'}}]}}\n",
            address(name, true),
            address(name, false)
        );
    }
    services.iter().fold(text, |text, service| text + &object(service))
}

fn object(service: &Service) -> String {
    let number = service.number;
    let policy = |local| if local { "Local" } else { "Cluster" };
    let (mut ports, mut targets) = (Vec::new(), Vec::new());
    for (protocol, port, target) in PORTS {
        let (upper, node_port) = (protocol.to_uppercase(), service.node_port(protocol));
        ports.push(format!(
            "{{name: {protocol}, protocol: {upper}, port: {port}, targetPort: {target}, \
             nodePort: {node_port}}}"
        ));
        targets.push(format!("{{name: {protocol}, protocol: {upper}, port: {target}}}"));
    }
    let two = |kind| [true, false].map(|v4| numbered(kind, number, v4));
    let ranges: Vec<String> = service
        .ranges
        .iter()
        .flat_map(|name| {
            [true, false].map(|v4| format!("'{}/{}'", address(name, v4), if v4 { 32 } else { 128 }))
        })
        .collect();
    let [lb4, lb6] = two(3);
    let mut text = format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{number}, namespace: default}}\n\
         spec:\n  type: LoadBalancer\n  clusterIPs: ['{}', '{}']\n  ipFamilies: [IPv4, IPv6]\n  \
         externalIPs: ['{}', '{}']\n  loadBalancerSourceRanges: [{}]\n  \
         sessionAffinity: {}\n  externalTrafficPolicy: {}\n  internalTrafficPolicy: {}\n  ports: [{}]\n\
         status: {{loadBalancer: {{ingress: [{{ip: '{lb4}'}}, {{ip: '{lb6}'}}]}}}}\n",
        two(1)[0],
        two(1)[1],
        two(2)[0],
        two(2)[1],
        ranges.join(", "),
        if service.affinity { "ClientIP" } else { "None" },
        policy(service.external_local),
        policy(service.internal_local),
        ports.join(", "),
    );
    for v4 in [true, false] {
        let family = if v4 { 4 } else { 6 };
        let endpoints: Vec<String> = service
            .endpoints
            .iter()
            .map(|endpoint| {
                let name = endpoint.trim_end_matches('!');
                let terminates = name.len() < endpoint.len();
                format!(
                    "{{addresses: ['{}'], conditions: {{ready: {}, serving: true, \
                     terminating: {terminates}}}, nodeName: node-{}, \
                     targetRef: {{kind: Pod, namespace: default, name: {name}}}}}",
                    address(name, v4),
                    !terminates,
                    name.get(..1).unwrap_or_default(),
                )
            })
            .collect();
        text += &format!(
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  \
             name: s{number}-{family}\n  namespace: default\n  \
             labels: {{kubernetes.io/service-name: s{number}}}\naddressType: IPv{family}\n\
             ports: [{}]\nendpoints: [{}]\n",
            targets.join(", "),
            endpoints.join(", ")
        );
    }
    text
}

/// The cluster: its state, and who is where.
pub struct Lab {
    /// The services.
    pub services: Vec<Service>,
    /// The cluster's state.
    pub state: State,
    /// Who is where.
    pub topology: Topology,
    options: Options,
}

impl Lab {
    /// The cluster with all services.
    pub fn new() -> Result<Self, WorldError> {
        let services = Service::all();
        let mut routes = Vec::new();
        for service in &services {
            for (kind, v4) in [(1, true), (1, false), (2, true), (2, false), (3, true), (3, false)]
            {
                routes.push(format!("'{}': node-a", numbered(kind, service.number, v4)));
            }
        }
        let text = format!(
            "scenario: netfilter\nclients:\n  client: {{addresses: [{}]}}\n  \
             stranger: {{addresses: [{}]}}\nrouter: {{routes: {{{}}}}}\nsteps: []\nobjects: |\n  {}\n",
            both("client"),
            both("stranger"),
            routes.join(", "),
            objects(&services).replace('\n', "\n  "),
        );
        let scenario = Scenario::parse("netfilter", &text, ".".as_ref());
        let scenario = scenario.map_err(|error| WorldError::Failed(error.to_string()))?;
        let topology = scenario.topology();
        let options = Options { external_algorithm: Algorithm::Random, ..scenario.tables() };
        Ok(Self { services, state: scenario.state, topology, options })
    }

    /// The simulator with this cluster.
    pub fn simulator(&self, seed: u64) -> Result<ModelWorld<SimEngine>, WorldError> {
        let limits = Limits {
            services: 16_384,
            backends: 1_024,
            maglev: 64,
            endpoints: 256,
            ranges: 256,
            affinities: 1_024,
            fragments: 1_024,
            conntrack: 262_144,
            eviction: Eviction::KERNEL,
        };
        let engine = SimEngine::new(self.topology.nodes.len(), &limits, seed);
        let mut world = ModelWorld::new("sim", self.topology.clone(), engine, self.options.clone());
        world.apply(&self.state)?;
        Ok(world)
    }

    /// Who has a name.
    pub fn sender(&self, name: &str) -> Option<Sender> {
        let topology = &self.topology;
        let pod = || topology.pod(name).map(Sender::Pod);
        let node = || topology.node(name).map(Sender::Node);
        topology.client(name).map(Sender::Client).or_else(node).or_else(pod)
    }
}
