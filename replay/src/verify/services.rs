//! The services of the little cluster, and what a scenario can change about them.

use std::net::IpAddr;

use twinpath_control::model::{
    ForwardingMode, Frontend, FrontendKind, PortName, Protocol, Range, ServiceKind, ServicePort,
    Target, TrafficPolicy,
};
use twinpath_control::objects::ObjectName;
use twinpath_core::service::Algorithm;

use super::cluster::{NODE, node_address};

/// What is fixed about a service port.
pub(super) struct Fixed {
    name: &'static str,
    kind: ServiceKind,
    /// On the cluster address, and on those of a load balancer.
    port: u16,
    protocol: Protocol,
    target: u16,
    algorithm: Algorithm,
    node_port: Option<u16>,
    /// Whether it has an external address.
    is_external: bool,
    /// The pods that can serve it.
    pub(super) pods: [u8; 4],
    /// Its [`policy`] when a scenario begins.
    pub(super) policy: u8,
}

/// What a scenario can change about a service port, bit by bit.
pub mod policy {
    /// Clients outside get endpoints of the node alone.
    pub const EXTERNAL_LOCAL: u8 = 1;
    /// Clients in the cluster get endpoints of the node alone.
    pub const INTERNAL_LOCAL: u8 = 2;
    /// A client keeps its backend.
    pub const AFFINITY: u8 = 4;
    /// Its load balancer is for some clients outside.
    pub const SOURCE_RANGES: u8 = 8;
    /// Its packets reach other nodes by direct server return,
    pub const DSR: u8 = 16;
    /// or with this node's address, whatever the cluster does.
    pub const SNAT: u8 = 32;
    /// It is not there.
    pub const GONE: u8 = 64;
}
use policy::{AFFINITY, EXTERNAL_LOCAL, INTERNAL_LOCAL, SOURCE_RANGES};

/// For how many seconds a client keeps its backend.
const AFFINITY_SECONDS: u32 = 10;

const PODS: [u8; 4] = [2, 3, 4, 5];
/// Pods on the network of their nodes, and two others.
const HOSTS: [u8; 4] = [6, 7, 3, 4];

const fn fixed(
    name: &'static str,
    port: u16,
    protocol: Protocol,
    target: u16,
    algorithm: Algorithm,
) -> Fixed {
    Fixed {
        name,
        kind: ServiceKind::ClusterIp,
        port,
        protocol,
        target,
        algorithm,
        node_port: None,
        is_external: false,
        pods: PODS,
        policy: 0,
    }
}

impl Fixed {
    const fn on_nodes(self, port: u16) -> Self {
        Self { kind: ServiceKind::NodePort, node_port: Some(port), ..self }
    }

    const fn balanced(self, node_port: u16) -> Self {
        Self { kind: ServiceKind::LoadBalancer, node_port: Some(node_port), ..self }
    }

    const fn external(self) -> Self {
        Self { is_external: true, ..self }
    }

    const fn served_by(self, pods: [u8; 4]) -> Self {
        Self { pods, ..self }
    }

    const fn with(self, policy: u8) -> Self {
        Self { policy, ..self }
    }
}

/// How many service ports there are.
pub const SERVICE_COUNT: u8 = 17;

use Algorithm::{Maglev, Random};
use Protocol::{Sctp, Tcp, Udp};

/// In the order of their numbers in scenario files: new ones go to the end.
pub(super) const SERVICES: [Fixed; SERVICE_COUNT as usize] = [
    fixed("web", 80, Tcp, 8080, Random),
    fixed("dns", 53, Udp, 53, Random),
    fixed("dns", 53, Tcp, 53, Maglev),
    fixed("ring", 9000, Udp, 9000, Maglev),
    // Shares the backends of `web`: one client port to both meets the same reply tuple.
    fixed("ring", 9000, Tcp, 8080, Random),
    fixed("shop", 80, Tcp, 8080, Random).on_nodes(30_080),
    fixed("shop", 8053, Udp, 53, Maglev).on_nodes(30_053),
    fixed("gate", 443, Tcp, 8443, Maglev).balanced(30_443).with(EXTERNAL_LOCAL),
    fixed("gate", 443, Udp, 8443, Random).balanced(30_443),
    fixed("guard", 8000, Tcp, 8080, Random).balanced(30_800).external().with(SOURCE_RANGES),
    fixed("named", 9100, Udp, 53, Random).external().with(AFFINITY),
    fixed("keen", 9200, Tcp, 8080, Maglev).on_nodes(30_920).with(AFFINITY | INTERNAL_LOCAL),
    fixed("assoc", 3868, Sctp, 3868, Random).balanced(30_868),
    // Its ports would have to change, which the checksum does not allow.
    fixed("moved", 3869, Sctp, 3870, Maglev).balanced(30_869),
    fixed("host", 7000, Tcp, 7000, Random).on_nodes(30_700).served_by(HOSTS),
    fixed("host", 7000, Udp, 7000, Maglev).balanced(30_701).external().served_by(HOSTS),
    Fixed { kind: ServiceKind::HostPort, ..fixed("own", 8081, Tcp, 8080, Random) },
];

/// A service port by its number, whatever it is.
pub(super) fn service(number: u8) -> &'static Fixed {
    let [first, ..] = &SERVICES;
    SERVICES.get(usize::from(number % SERVICE_COUNT)).unwrap_or(first)
}

/// The last part of its addresses: the same for all ports of a service.
fn place(service: &Fixed) -> u8 {
    SERVICES.iter().position(|other| other.name == service.name).unwrap_or(0) as u8
}

/// An address of the range that cluster addresses come from.
pub(super) fn cluster_address(host: u8, family: u8) -> IpAddr {
    if family == 4 {
        [10, 96, 0, host].into()
    } else {
        [0xfd00, 0x10, 0x96, 0, 0, 0, 0, u16::from(host)].into()
    }
}

/// An address that clients outside reach, and no node has.
fn outside_address(host: u8, family: u8) -> IpAddr {
    if family == 4 {
        [203, 0, 113, host].into()
    } else {
        [0x2001, 0xdb8, 0x113, 0, 0, 0, 0, u16::from(host)].into()
    }
}

/// The frontends of a service port in one family.
fn frontends(service: &Fixed, family: u8) -> Vec<Frontend> {
    let place = place(service);
    let any: IpAddr = if family == 4 { [0; 4].into() } else { [0_u16; 8].into() };
    let new = |kind, address, port| Frontend { kind, address, port };
    if service.kind == ServiceKind::HostPort {
        return vec![new(FrontendKind::HostPort, any, service.port)];
    }
    let address = cluster_address(1 + place, family);
    let mut all = vec![new(FrontendKind::ClusterIp, address, service.port)];
    if service.kind == ServiceKind::LoadBalancer {
        let address = outside_address(100 + place, family);
        all.push(new(FrontendKind::LoadBalancer, address, service.port));
    }
    if service.is_external {
        let address = outside_address(150 + place, family);
        all.push(new(FrontendKind::ExternalIp, address, service.port));
    }
    all.extend(service.node_port.map(|port| new(FrontendKind::NodePort, any, port)));
    all
}

/// The address and port of the n-th frontend of a service port, modulo their number. One on the nodes
/// counts once for each of their addresses.
pub(super) fn frontend_address(number: u8, n: u8, family: u8) -> (IpAddr, u16) {
    let mut all = Vec::new();
    for frontend in frontends(service(number), family) {
        match frontend.address.is_unspecified() {
            true => all.extend((0..3).map(|node| (node_address(node, family), frontend.port))),
            false => all.push((frontend.address, frontend.port)),
        }
    }
    let n = usize::from(n).checked_rem(all.len()).unwrap_or(0);
    all.get(n).copied().unwrap_or((cluster_address(0, family), 0))
}

/// The name of a service port.
fn name(number: u8, service: &Fixed) -> PortName {
    let port = match service.kind {
        ServiceKind::HostPort => format!("hostPort {}", service.port),
        _ => format!("port-{number}"),
    };
    PortName {
        service: ObjectName { namespace: "default".into(), name: service.name.into() },
        port,
        protocol: service.protocol,
    }
}

/// A service port without endpoints, with this [`policy`]; nothing where it is gone.
pub(super) fn port(number: u8, policy: u8) -> Option<(PortName, ServicePort)> {
    let service = service(number);
    let has = |bit| policy & bit != 0;
    if has(policy::GONE) {
        return None;
    }
    let local = |bit| if has(bit) { TrafficPolicy::Local } else { TrafficPolicy::Cluster };
    let ranges = [([198, 51, 100, 0].into(), 25), ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0].into(), 121)];
    let ranges = ranges.map(|(address, length)| Range { address, length });
    let is_host_port = service.kind == ServiceKind::HostPort;
    let port = ServicePort {
        kind: service.kind,
        port: service.port,
        target: Target::Number(service.target),
        node_port: service.node_port,
        frontends: [4, 6].into_iter().flat_map(|family| frontends(service, family)).collect(),
        algorithm: Some(service.algorithm),
        forwarding: match (has(policy::DSR), has(policy::SNAT)) {
            (true, _) => Some(ForwardingMode::Dsr),
            (_, true) => Some(ForwardingMode::Snat),
            _ => None,
        },
        external_policy: local(EXTERNAL_LOCAL),
        internal_policy: local(INTERNAL_LOCAL),
        affinity: has(AFFINITY).then_some(AFFINITY_SECONDS),
        source_ranges: if has(SOURCE_RANGES) { ranges.to_vec() } else { Vec::new() },
        node: is_host_port.then(|| NODE.to_owned()),
        ..ServicePort::default()
    };
    Some((name(number, service), port))
}

/// The number on which a pod serves a service port.
pub(super) const fn target(service: &Fixed) -> u16 {
    service.target
}

/// What is served by a service port, as a packet carries it.
pub(super) const fn protocol(number: u8, flags: u8) -> super::Protocol {
    match SERVICES[(number % SERVICE_COUNT) as usize].protocol {
        Protocol::Tcp => super::Protocol::Tcp(flags),
        Protocol::Udp => super::Protocol::Udp(true),
        Protocol::Sctp => super::Protocol::Sctp,
    }
}

/// Where a pod serves a service port.
pub(super) const fn served(number: u8, pod: u8) -> super::Target {
    super::Target::Pod(pod, SERVICES[(number % SERVICE_COUNT) as usize].target)
}
