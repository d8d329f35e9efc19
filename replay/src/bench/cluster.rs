//! The cluster that is measured: any number of services with two endpoints each, and behind them all the
//! one that packets are sent to.

use std::net::{Ipv4Addr, SocketAddrV4};

use twinpath_control::model::{
    Endpoint, ForwardingMode, Frontend, FrontendKind, Node, Pod, PortName, Protocol, Range,
    ServiceKind, ServicePort, State, Target,
};
use twinpath_control::objects::ObjectName;

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

    /// At the service's address.
    pub const fn cluster(self) -> SocketAddrV4 {
        SocketAddrV4::new(SERVICE_ADDRESS, 80 + self as u16)
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

/// The cluster with so many services (1 to 1,000,000), the measured one among them and the last by name.
pub fn state(services: u32) -> State {
    let mut state = State::default();
    let range = |(address, length): (Ipv4Addr, u8)| Range { address: address.into(), length };
    for (name, address, ranges) in [
        (NODE, NODE_ADDRESS, vec![range((Ipv4Addr::new(10, 244, 1, 0), 24))]),
        (FAR, FAR_ADDRESS, FAR_RANGES.map(range).to_vec()),
    ] {
        let node = Node { addresses: vec![address.into()], pod_ranges: ranges, ..Node::default() };
        state.nodes.insert(name.to_owned(), node);
    }
    let pods = [
        ("client", CLIENT, NODE),
        ("local-1", LOCAL[0], NODE),
        ("local-2", LOCAL[1], NODE),
        ("remote-1", REMOTE[0], FAR),
        ("remote-2", REMOTE[1], FAR),
    ];
    for (name, address, node) in pods {
        let name = ObjectName::new("bench", name);
        let pod = Pod {
            name: name.clone(),
            addresses: vec![address.into()],
            node: node.to_owned(),
            host_network: false,
        };
        state.pods.insert(name, pod);
    }
    state.service_ranges.insert(range((Ipv4Addr::new(10, 96, 0, 0), 12)));
    state.services.extend((1..services).map(other));
    for port in Port::ALL {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            state.services.insert(port_name("tested", port.name(), protocol), measured(port));
        }
    }
    state
}

/// A service (1 to 1,000,000) that no packets are sent to: TCP, two endpoints on the other node. Those
/// with numbers beyond [`state`]'s are not in it, and can be added.
pub fn other(number: u32) -> (PortName, ServicePort) {
    let address = |first: [u8; 4], number| Ipv4Addr::from_bits(u32::from_be_bytes(first) + number);
    let endpoints = [0, 1].map(|place| address([10, 128, 0, 0], 2 * number + place));
    let name = port_name(&format!("s{number:07}"), "", Protocol::Tcp);
    (name, port(address([10, 96, 0, 0], number), 80, None, endpoints, FAR))
}

fn measured(which: Port) -> ServicePort {
    let node = if which == Port::Local { NODE } else { FAR };
    let number = which.cluster().port();
    let mut port =
        port(SERVICE_ADDRESS, number, Some(which.node().port()), which.served_by(), node);
    port.forwarding = (which == Port::Direct).then_some(ForwardingMode::Dsr);
    port
}

fn port_name(service: &str, port: &str, protocol: Protocol) -> PortName {
    let service = ObjectName::new("bench", service);
    // Two protocols may have one number, but no two ports of a service one name.
    let is_second = matches!(protocol, Protocol::Udp);
    PortName { service, port: format!("{port}{}", if is_second { "-udp" } else { "" }), protocol }
}

fn port(
    address: Ipv4Addr,
    number: u16,
    node_port: Option<u16>,
    endpoints: [Ipv4Addr; 2],
    node: &str,
) -> ServicePort {
    let cluster = Frontend { kind: FrontendKind::ClusterIp, address: address.into(), port: number };
    let nodes = node_port.map(|port| Frontend {
        kind: FrontendKind::NodePort,
        address: Ipv4Addr::UNSPECIFIED.into(),
        port,
    });
    let endpoints = endpoints.map(|address| Endpoint {
        node: Some(node.to_owned()),
        ..Endpoint::new(address.into(), POD_PORT)
    });
    ServicePort {
        kind: if nodes.is_some() { ServiceKind::NodePort } else { ServiceKind::ClusterIp },
        port: number,
        target: Target::Number(POD_PORT),
        node_port,
        frontends: [cluster].into_iter().chain(nodes).collect(),
        endpoints: endpoints.to_vec(),
        ..ServicePort::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_measured_service_is_the_last_of_many() {
        let state = state(1_000);
        let services: std::collections::BTreeSet<_> =
            state.services.keys().map(|name| &name.service).collect();
        assert_eq!(services.len(), 1_000);
        assert_eq!(services.last().map(|name| name.name.as_str()), Some("tested"));
        let mut frontends = std::collections::BTreeSet::new();
        for (name, port) in &state.services {
            assert_eq!(port.endpoints.len(), 2, "{name}");
            for frontend in &port.frontends {
                assert!(frontends.insert((name.protocol, *frontend)), "{name} {frontend:?}");
            }
        }
    }
}
