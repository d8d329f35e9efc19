//! The cluster that is measured: any number of services with two endpoints each, and behind them all the
//! one that packets are sent to.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use twinpath_control::model::{FORWARDING_ANNOTATION, State};
use twinpath_control::objects::{
    self, EndpointPort, EndpointSlice, Metadata, NodeAddress, NodeSpec, NodeStatus, NumberOrName,
    ObjectName, PodIp, PodSpec, PodStatus, Service, ServiceCidr, ServiceCidrSpec, ServiceSpec,
    SliceEndpoint,
};
use twinpath_control::read::{Found, Object, Objects};

/// The node that is measured, by name.
pub const NODE: &str = "node";
/// The other node.
pub const FAR: &str = "remote";
/// The measured node's address.
pub const NODE_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 1);
/// The other node's.
pub const FAR_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 2);
/// The router's, on the nodes' link.
pub const ROUTER_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 254);
/// A client outside the cluster, behind the router.
pub const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// The client among the pods of the measured node.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 10);
/// The pods of the measured node that serve.
pub const LOCAL: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 244, 1, 11), Ipv4Addr::new(10, 244, 1, 12)];
/// Those of the other node.
pub const REMOTE: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 244, 2, 11), Ipv4Addr::new(10, 244, 2, 12)];
/// The address of the measured service.
pub const SERVICE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 111, 0, 1);
/// That of the service with DSR.
const DIRECT_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 111, 0, 2);
/// The port on which pods serve, TCP and UDP.
pub const POD_PORT: u16 = 8_080;

/// The ranges of the other node's pods: those of [`REMOTE`], and those that serve all other services.
pub const FAR_RANGES: [(Ipv4Addr, u8); 2] =
    [(Ipv4Addr::new(10, 244, 2, 0), 24), (Ipv4Addr::new(10, 128, 0, 0), 11)];

/// The ports of the measured service, each TCP and UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Port {
    /// Served by [`LOCAL`].
    Local,
    /// Served by [`REMOTE`].
    Remote,
    /// Served by [`REMOTE`], which answer clients outside themselves (DSR).
    Direct,
}

impl Port {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Local, Self::Remote, Self::Direct];

    const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Remote => "remote",
            Self::Direct => "direct",
        }
    }

    /// At its service's address.
    pub const fn cluster(self) -> SocketAddrV4 {
        let address = match self {
            Self::Local | Self::Remote => SERVICE_ADDRESS,
            Self::Direct => DIRECT_ADDRESS,
        };
        SocketAddrV4::new(address, 80 + self as u16)
    }

    /// At the node's.
    pub const fn node(self) -> SocketAddrV4 {
        SocketAddrV4::new(NODE_ADDRESS, 30_080 + self as u16)
    }

    /// The addresses of the pods that serve it.
    pub const fn served_by(self) -> [Ipv4Addr; 2] {
        match self {
            Self::Local => LOCAL,
            Self::Remote | Self::Direct => REMOTE,
        }
    }
}

/// The cluster's objects with so many services (1 to 1,000,000), the measured one among them and the last
/// by name, but for that one's port with DSR, which is a service of its own.
pub fn objects(services: u32) -> Objects {
    let mut objects = Objects::default();
    for (name, address, ranges) in [
        (NODE, NODE_ADDRESS, vec!["10.244.1.0/24".to_owned()]),
        (FAR, FAR_ADDRESS, FAR_RANGES.map(|(first, length)| format!("{first}/{length}")).to_vec()),
    ] {
        let address =
            NodeAddress { r#type: Some("InternalIP".into()), address: Some(address.to_string()) };
        let node = objects::Node {
            spec: NodeSpec { pod_cidrs: ranges, ..NodeSpec::default() },
            status: NodeStatus { addresses: vec![address] },
            ..objects::Node::default()
        };
        put(&mut objects.nodes, ObjectName::new("", name), node);
    }
    let pods = [
        ("client", CLIENT, NODE),
        ("local-1", LOCAL[0], NODE),
        ("local-2", LOCAL[1], NODE),
        ("remote-1", REMOTE[0], FAR),
        ("remote-2", REMOTE[1], FAR),
    ];
    for (name, address, node) in pods {
        let pod = objects::Pod {
            spec: PodSpec { node_name: Some(node.to_owned()), ..PodSpec::default() },
            status: PodStatus {
                pod_ips: vec![PodIp { ip: Some(address.to_string()) }],
                ..PodStatus::default()
            },
            ..objects::Pod::default()
        };
        put(&mut objects.pods, ObjectName::new("bench", name), pod);
    }
    let range = ServiceCidr {
        spec: ServiceCidrSpec { cidrs: vec!["10.96.0.0/12".to_owned()] },
        ..ServiceCidr::default()
    };
    put(&mut objects.service_cidrs, ObjectName::new("", "kubernetes"), range);
    for number in 1..services.saturating_sub(1) {
        objects.merge(other(number));
    }
    measured(&mut objects);
    objects
}

/// What [`objects()`] say.
pub fn state(services: u32) -> State {
    State::new(&objects(services)).0
}

/// A service (1 to 1,000,000) that no packets are sent to: TCP, two endpoints on the other node. Those
/// with numbers beyond that of services, less two, are not in [`objects()`], and can be added.
pub fn other(number: u32) -> Objects {
    let after = |first: Ipv4Addr, number| Ipv4Addr::from_bits(first.to_bits() + number);
    let address = after(Ipv4Addr::new(10, 96, 0, 0), number);
    let endpoints = [0, 1].map(|place| after(Ipv4Addr::new(10, 128, 0, 0), 2 * number + place));
    let mut objects = Objects::default();
    let name = ObjectName::new("bench", &format!("s{number:07}"));
    put_slice(&mut objects, &name, None, &endpoints, FAR);
    put(&mut objects.services, name, service(address, vec![service_port(80, None, None, "TCP")]));
    objects
}

/// One slice of the [`objects()`] of so many services as it is, and with another endpoint, of no other
/// service, in the place of the first.
pub fn moved(services: u32) -> [Objects; 2] {
    let mut before = objects(services.min(3));
    let name = if services > 2 {
        before.merge(other(services - 2));
        format!("s{:07}", services - 2)
    } else {
        "tested-direct-direct".to_owned()
    };
    let mut slices = before.slices;
    slices.retain(|slice, _| slice.name == name);
    let before = Objects { slices, ..Objects::default() };
    let mut after = before.clone();
    let endpoints = after.slices.values_mut().flat_map(|slice| slice.value.endpoints.first_mut());
    for endpoint in endpoints {
        endpoint.addresses = vec!["10.159.255.254".to_owned()];
    }
    [before, after]
}

/// The slice of [`Port::Local`] with these endpoints, in the place of the one in [`objects()`].
pub fn local_served_by(endpoints: &[Ipv4Addr]) -> Objects {
    let mut objects = Objects::default();
    let name = ObjectName::new("bench", "tested");
    put_slice(&mut objects, &name, Some(Port::Local), endpoints, NODE);
    objects
}

/// The services that packets are sent to.
fn measured(objects: &mut Objects) {
    for (name, address, ports) in [
        ("tested", SERVICE_ADDRESS, &[Port::Local, Port::Remote][..]),
        ("tested-direct", DIRECT_ADDRESS, &[Port::Direct]),
    ] {
        let name = ObjectName::new("bench", name);
        let mut all = Vec::new();
        for port in ports {
            for protocol in ["TCP", "UDP"] {
                let number = port.cluster().port();
                all.push(service_port(number, Some(port.node().port()), Some(*port), protocol));
            }
            let node = if *port == Port::Local { NODE } else { FAR };
            put_slice(objects, &name, Some(*port), &port.served_by(), node);
        }
        let mut service = service(address, all);
        service.spec.r#type = Some("NodePort".to_owned());
        if ports.contains(&Port::Direct) {
            let mode = (FORWARDING_ANNOTATION.to_owned(), "dsr".to_owned());
            service.metadata.annotations.extend([mode]);
        }
        put(&mut objects.services, name, service);
    }
}

fn service(address: Ipv4Addr, ports: Vec<objects::ServicePort>) -> Service {
    let spec =
        ServiceSpec { cluster_ip: Some(address.to_string()), ports, ..ServiceSpec::default() };
    Service { spec, ..Service::default() }
}

fn service_port(
    number: u16,
    node_port: Option<u16>,
    which: Option<Port>,
    protocol: &str,
) -> objects::ServicePort {
    objects::ServicePort {
        name: which.map(|which| port_name(which, protocol)),
        protocol: Some(protocol.to_owned()),
        port: Some(number.into()),
        target_port: Some(NumberOrName::Number(POD_PORT.into())),
        node_port: node_port.map(Into::into),
    }
}

/// Two protocols may have one number, but no two ports of a service one name.
fn port_name(which: Port, protocol: &str) -> String {
    format!("{}{}", which.name(), if protocol == "UDP" { "-udp" } else { "" })
}

/// A slice for both protocols of a measured port, or for the TCP port of another service.
fn put_slice(
    objects: &mut Objects,
    service: &ObjectName,
    which: Option<Port>,
    endpoints: &[Ipv4Addr],
    node: &str,
) {
    let protocols: &[&str] = if which.is_some() { &["TCP", "UDP"] } else { &["TCP"] };
    let ports = protocols.iter().map(|protocol| EndpointPort {
        name: which.map(|which| port_name(which, protocol)),
        protocol: Some((*protocol).to_owned()),
        port: Some(POD_PORT.into()),
    });
    let endpoints = endpoints.iter().map(|address| SliceEndpoint {
        addresses: vec![address.to_string()],
        node_name: Some(node.to_owned()),
        ..SliceEndpoint::default()
    });
    let label = ("kubernetes.io/service-name".to_owned(), service.name.clone());
    let slice = EndpointSlice {
        metadata: Metadata { labels: [label].into(), ..Metadata::default() },
        address_type: Some("IPv4".to_owned()),
        endpoints: endpoints.collect(),
        ports: ports.collect(),
    };
    let name = match which {
        Some(which) => format!("{}-{}", service.name, which.name()),
        None => service.name.clone(),
    };
    put(&mut objects.slices, ObjectName::new(&service.namespace, &name), slice);
}

fn put<T>(found: &mut Found<T>, name: ObjectName, value: T) {
    found.insert(name, Object { file: Arc::from("bench"), value });
}

#[cfg(test)]
mod tests {
    use twinpath_control::model::ForwardingMode;

    use super::*;

    #[test]
    fn the_measured_services_are_the_last_of_many() {
        let (state, problems) = State::new(&objects(1_000));
        assert_eq!(problems, []);
        let services: std::collections::BTreeSet<_> =
            state.services.keys().map(|name| &name.service).collect();
        assert_eq!(services.len(), 1_000);
        assert_eq!(services.last().map(|name| name.name.as_str()), Some("tested-direct"));
        let direct =
            state.services.values().filter(|port| port.forwarding == Some(ForwardingMode::Dsr));
        assert_eq!(direct.count(), 2);
        let mut frontends = std::collections::BTreeSet::new();
        for (name, port) in &state.services {
            assert_eq!(port.endpoints.len(), 2, "{name}");
            for frontend in &port.frontends {
                assert!(frontends.insert((name.protocol, *frontend)), "{name} {frontend:?}");
            }
        }
    }
}
