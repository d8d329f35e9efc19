//! The little cluster that scenarios run on: one node under test, another elsewhere.

use std::net::IpAddr;

use twinpath_control::model::{
    Endpoint, Frontend, FrontendKind, Node, Pod, PortName, Protocol, ServiceKind, ServicePort,
    State, Target,
};
use twinpath_control::objects::ObjectName;
use twinpath_core::service::Algorithm;

/// The node under test.
pub(super) const NODE: &str = "node-a";

/// How many pods there are. The first four are on the node under test; pods 2 to 5 serve.
pub const POD_COUNT: u8 = 6;

/// How many service ports there are: `web` 80/TCP by random choice, `dns` 53/UDP by random choice,
/// `dns` 53/TCP and `ring` 9000/UDP and 9000/TCP by Maglev.
pub const SERVICE_COUNT: u8 = 5;

const SERVICES: [(&str, u16, Protocol, u16, Algorithm); SERVICE_COUNT as usize] = [
    ("web", 80, Protocol::Tcp, 8080, Algorithm::Random),
    ("dns", 53, Protocol::Udp, 53, Algorithm::Random),
    ("dns", 53, Protocol::Tcp, 53, Algorithm::Maglev),
    ("ring", 9000, Protocol::Udp, 9000, Algorithm::Maglev),
    // Shares the backends of `web`: one client port to both meets the same reply tuple.
    ("ring", 9000, Protocol::Tcp, 8080, Algorithm::Random),
];

/// The address of a pod.
pub(super) fn pod_address(pod: u8, family: u8) -> IpAddr {
    let (node, host) = (if pod < 4 { 1 } else { 2 }, 10 + u16::from(pod));
    if family == 4 {
        [10, 244, node, host as u8].into()
    } else {
        [0xfd00, 0x10, 0x244, u16::from(node), 0, 0, 0, host].into()
    }
}

/// The address and port of a service.
pub(super) fn service_address(service: u8, family: u8) -> (IpAddr, u16) {
    let (name, port, ..) = SERVICES[usize::from(service % SERVICE_COUNT)];
    let host = 1 + SERVICES.iter().position(|s| s.0 == name).unwrap_or(0) as u16;
    let address = if family == 4 {
        [10, 96, 0, host as u8].into()
    } else {
        [0xfd00, 0x10, 0x96, 0, 0, 0, 0, host].into()
    };
    (address, port)
}

/// The cluster with these endpoints: for each service port, for each of the pods 2 to 5, two bits:
/// 0 none, 1 ready, 2 terminating and serving, 3 not ready.
pub(super) fn state(endpoints: &[u8; SERVICE_COUNT as usize]) -> State {
    let mut state = State::default();
    for (name, last) in [(NODE, 1), ("node-b", 2)] {
        let addresses = vec![
            [192, 168, 0, last].into(),
            [0xfd00, 0x192, 0x168, 0, 0, 0, 0, u16::from(last)].into(),
        ];
        state.nodes.insert(name.to_owned(), Node { addresses, ..Node::default() });
    }
    let pod_name = |pod: u8| ObjectName { namespace: "default".into(), name: format!("pod-{pod}") };
    let node_of = |pod: u8| if pod < 4 { NODE } else { "node-b" }.to_owned();
    for pod in 0..POD_COUNT {
        let addresses = vec![pod_address(pod, 4), pod_address(pod, 6)];
        let name = pod_name(pod);
        state
            .pods
            .insert(name.clone(), Pod { name, addresses, node: node_of(pod), host_network: false });
    }
    for (index, (name, port, protocol, target, algorithm)) in SERVICES.into_iter().enumerate() {
        let mut serving = Vec::new();
        for (place, pod) in (2..POD_COUNT).enumerate() {
            let bits = endpoints[index] >> (2 * place) & 3;
            for family in [4, 6].into_iter().filter(|_| bits != 0) {
                serving.push(Endpoint {
                    ready: bits == 1,
                    serving: bits != 3,
                    terminating: bits == 2,
                    node: Some(node_of(pod)),
                    pod: Some(pod_name(pod)),
                    ..Endpoint::new(pod_address(pod, family), target)
                });
            }
        }
        let frontend = |family| {
            let (address, port) = service_address(index as u8, family);
            Frontend { kind: FrontendKind::ClusterIp, address, port }
        };
        state.services.insert(
            PortName {
                service: ObjectName { namespace: "default".into(), name: name.into() },
                port: format!("port-{index}"),
                protocol,
            },
            ServicePort {
                kind: ServiceKind::ClusterIp,
                port,
                target: Target::Number(target),
                frontends: vec![frontend(4), frontend(6)],
                algorithm: Some(algorithm),
                endpoints: serving,
                ..ServicePort::default()
            },
        );
    }
    state
}
