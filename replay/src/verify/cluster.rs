//! The little cluster that scenarios run on: one node under test, another elsewhere.

use std::net::IpAddr;

use twinpath_control::model::{Endpoint, Node, Pod, Range, State};
use twinpath_control::objects::ObjectName;
use twinpath_control::tables::Devices;
use twinpath_core::verdict::IfIndex;
use twinpath_sim::topology::{FIRST_POD_DEVICE, Topology, UPLINK};

use super::services::{self, SERVICE_COUNT, SERVICES, cluster_address};
use super::setup::Setup;

/// The node under test.
pub(super) const NODE: &str = "node-a";
const OTHER: &str = "node-b";

/// How many pods there are. The first four are on the node under test, the next two elsewhere; then one
/// each on the network of either node. Pods 2 to 5 serve most services.
pub const POD_COUNT: u8 = 8;

/// How many pods of the node under test have devices.
pub(super) const LOCAL_PODS: u8 = 4;

const fn node_of(pod: u8) -> &'static str {
    if pod < LOCAL_PODS || pod == 6 { NODE } else { OTHER }
}

/// The address of a pod.
pub(super) fn pod_address(pod: u8, family: u8) -> IpAddr {
    if pod >= 6 {
        return node_address(if pod == 6 { 0 } else { 2 }, family);
    }
    let (node, host) = (if pod < LOCAL_PODS { 1 } else { 2 }, 10 + u16::from(pod));
    if family == 4 {
        [10, 244, node, host as u8].into()
    } else {
        [0xfd00, 0x10, 0x244, u16::from(node), 0, 0, 0, host].into()
    }
}

/// An address of a node: 0 and 1 of the one under test, inside and outside, 2 of the other.
pub(super) fn node_address(number: u8, family: u8) -> IpAddr {
    match (number % 3, family) {
        (1, 4) => [203, 0, 113, 1].into(),
        (1, _) => [0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 1].into(),
        (n, 4) => [192, 168, 0, if n == 0 { 1 } else { 2 }].into(),
        (n, _) => [0xfd00, 0x192, 0x168, 0, 0, 0, 0, if n == 0 { 1 } else { 2 }].into(),
    }
}

/// The address of a client outside the cluster. The first two of four are in the ranges of services that
/// have some.
pub(super) fn client_address(client: u8, family: u8) -> IpAddr {
    let host = 7 + 64 * (client % 4);
    if family == 4 {
        [198, 51, 100, host].into()
    } else {
        [0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(host)].into()
    }
}

/// The device of a pod of the node under test that has this address.
pub(super) fn device_of(address: IpAddr) -> Option<IfIndex> {
    let family = if address.is_ipv4() { 4 } else { 6 };
    let pod = (0..LOCAL_PODS).find(|pod| pod_address(*pod, family) == address)?;
    Some(FIRST_POD_DEVICE + IfIndex::from(pod))
}

/// What a scenario can change about a service port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Knobs {
    /// For each of the pods that can serve it, two bits: 0 none, 1 ready, 2 terminating and serving, 3
    /// not ready.
    pub(super) endpoints: u8,
    /// Bits of [`policy`](super::services::policy).
    pub(super) policy: u8,
}

/// Those of all service ports.
pub(super) type AllKnobs = [Knobs; SERVICE_COUNT as usize];

/// Endpoints at the start of every scenario: all pods serve everything.
const ALL_READY: u8 = 0b0101_0101;

/// As at the start of every scenario.
pub(super) fn first_knobs() -> AllKnobs {
    std::array::from_fn(|i| Knobs { endpoints: ALL_READY, policy: SERVICES[i].policy })
}

/// The cluster with these services.
pub(super) fn state(knobs: &AllKnobs) -> State {
    let mut state = State::default();
    let families = [4_u8, 6];
    for (name, number, pods) in [(NODE, 0, 1_u8), (OTHER, 2, 2)] {
        let of = |number| families.map(|family| node_address(number, family)).to_vec();
        let pod_ranges = vec![
            Range { address: [10, 244, pods, 0].into(), length: 24 },
            Range {
                address: [0xfd00, 0x10, 0x244, u16::from(pods), 0, 0, 0, 0].into(),
                length: 64,
            },
        ];
        let external_addresses = if number == 0 { of(1) } else { Vec::new() };
        let node = Node { addresses: of(number), external_addresses, zone: None, pod_ranges };
        state.nodes.insert(name.to_owned(), node);
    }
    let pod_name = |pod: u8| ObjectName { namespace: "default".into(), name: format!("pod-{pod}") };
    for pod in 0..POD_COUNT {
        let addresses = families.map(|family| pod_address(pod, family)).to_vec();
        let (name, node) = (pod_name(pod), node_of(pod).to_owned());
        let pod = Pod { name: name.clone(), addresses, node, host_network: pod >= 6 };
        state.pods.insert(name, pod);
    }
    for (family, length) in [(4, 24), (6, 120)] {
        state.service_ranges.insert(Range { address: cluster_address(0, family), length });
    }
    for (number, knobs) in (0..SERVICE_COUNT).zip(knobs) {
        let Some((name, mut port)) = services::port(number, knobs.policy) else { continue };
        let service = services::service(number);
        for (place, pod) in service.pods.into_iter().enumerate() {
            let bits = knobs.endpoints >> (2 * place) & 3;
            for family in families.into_iter().filter(|_| bits != 0) {
                port.endpoints.push(Endpoint {
                    ready: bits == 1,
                    serving: bits != 3,
                    terminating: bits == 2,
                    node: Some(node_of(pod).to_owned()),
                    pod: Some(pod_name(pod)),
                    ..Endpoint::new(pod_address(pod, family), services::target(service))
                });
            }
        }
        port.endpoints.sort_by_key(|endpoint| (endpoint.address, endpoint.port));
        state.services.insert(name, port);
    }
    state
}

/// The devices of the node under test, as a scenario's setup has them.
pub(super) struct Wires<'a> {
    pub(super) topology: &'a Topology,
    pub(super) setup: &'a Setup,
}

impl Devices for Wires<'_> {
    fn pod(&self, node: &str, pod: &Pod) -> Option<IfIndex> {
        Devices::pod(self.topology, node, pod)
    }

    fn uplink(&self, _: &str) -> IfIndex {
        if self.setup.no_uplink { 0 } else { UPLINK }
    }

    fn mtu(&self, _: &str) -> u32 {
        self.setup.mtu
    }
}
