//! What the tables say of the node itself.

use twinpath_core::endpoint::Endpoint;
use twinpath_core::range::{NOT_MASQUERADED, SERVICE_RANGE};
use twinpath_core::seam::option;

use super::*;
use crate::model::Range;

const CLUSTER: &str = "
kind: List
items:
- {kind: Node, metadata: {name: a}, spec: {podCIDR: 10.0.0.0/30}, status: {addresses: [{type: InternalIP, address: 192.168.0.1}, {type: ExternalIP, address: 203.0.113.1}, {type: InternalIP, address: 'fd00:192::1'}]}}
- {kind: Node, metadata: {name: b}, status: {addresses: [{type: InternalIP, address: 192.168.0.2}]}}
- {kind: Pod, metadata: {name: A}, spec: {nodeName: a}, status: {podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]}}
- {kind: Pod, metadata: {name: B}, spec: {nodeName: b}, status: {podIPs: [{ip: 10.0.0.2}]}}
- {kind: Pod, metadata: {name: x}, spec: {nodeName: a}, status: {podIPs: [{ip: 10.0.0.3}]}}
- {kind: Pod, metadata: {name: h}, spec: {nodeName: a, hostNetwork: true}, status: {podIPs: [{ip: 192.168.0.9}]}}
";

fn plan(text: &str, node: &str, options: &Options) -> Desired {
    let (state, _) = State::new(&read("f", text.as_bytes()).unwrap());
    Planner::default().plan(&state, node, &ByName, options)
}

#[test]
fn endpoints() {
    let endpoints = |node: &str| {
        let desired = plan(CLUSTER, node, &Options::default());
        (desired.config.uplink, desired.endpoints)
    };
    let a = [
        (address("10.0.0.1"), Endpoint::pod(65)),
        (address("fd00::1"), Endpoint::pod(65)),
        (address("192.168.0.1"), Endpoint::HOST),
        (address("203.0.113.1"), Endpoint::HOST),
        (address("fd00:192::1"), Endpoint::HOST),
        (address("192.168.0.9"), Endpoint::HOST),
        (address("192.168.0.2"), Endpoint::NODE),
    ];
    assert_eq!(endpoints("a"), (2, a.into()));
    let nodes = ["192.168.0.1", "203.0.113.1", "fd00:192::1", "192.168.0.9"];
    let mut b: BTreeMap<Address, Endpoint> =
        nodes.into_iter().map(|text| (address(text), Endpoint::NODE)).collect();
    let unknown = b.clone();
    b.insert(address("10.0.0.2"), Endpoint::pod(66));
    b.insert(address("192.168.0.2"), Endpoint::HOST);
    assert_eq!(endpoints("b"), (3, b));
    let mut all = unknown;
    all.insert(address("192.168.0.2"), Endpoint::NODE);
    assert_eq!(endpoints("unknown"), (3, all));
}

#[test]
fn configuration() {
    struct Large;
    impl Devices for Large {
        fn pod(&self, _: &str, _: &Pod) -> Option<IfIndex> {
            None
        }
        fn uplink(&self, _: &str) -> IfIndex {
            9
        }
        fn mtu(&self, node: &str) -> u32 {
            if node == "a" { 9000 } else { 1500 }
        }
    }
    let (state, _) = State::new(&read("f", CLUSTER.as_bytes()).unwrap());
    let options = Options {
        masquerade: true,
        mark: 5,
        snat_ports: 40_000..=50_000,
        hairpin6: std::net::Ipv6Addr::UNSPECIFIED,
        hash_seed: 3,
        ..Options::default()
    };
    let config = |node| Planner::default().plan(&state, node, &Large, &options).config;
    let expected = Config {
        epoch: 0,
        maglev_size: 1021,
        hash_seed: 3,
        uplink: 9,
        address4: address("192.168.0.1"),
        address6: address("fd00:192::1"),
        hairpin4: address("169.254.42.1"),
        hairpin6: Address::UNSPECIFIED,
        ports_first: 40_000,
        ports_last: 50_000,
        mtu: 9000,
        options: option::MASQUERADE,
        mark: 5,
    };
    assert_eq!(config("a"), expected);
    let (address4, address6) = (address("192.168.0.2"), Address::UNSPECIFIED);
    assert_eq!(config("b"), Config { address4, address6, mtu: 1500, ..expected });
}

#[test]
fn ranges() {
    let text = CLUSTER.to_owned()
        + "- {kind: ServiceCIDR, metadata: {name: s}, spec: {cidrs: [10.96.1.0/12, 'fd00:96::/108']}}\n";
    let range = |text: &str, length| Range { address: text.parse().unwrap(), length };
    let non_masquerade = vec![range("172.16.9.9", 12), range("fd00:192::1", 128)];
    let options = Options { non_masquerade, masquerade: true, ..Options::default() };
    // Bits behind the range are 0, so that a range has one key.
    let key = |owner, text: &str, length| (RangeKey::range(owner, address(text), length), 1);
    let expected = [
        key(NOT_MASQUERADED, "10.0.0.0", 30),
        key(NOT_MASQUERADED, "172.16.0.0", 12),
        key(NOT_MASQUERADED, "192.168.0.1", 32),
        key(NOT_MASQUERADED, "203.0.113.1", 32),
        key(NOT_MASQUERADED, "192.168.0.2", 32),
        key(NOT_MASQUERADED, "fd00:192::1", 128),
        // Of pods whose nodes have no range that has them.
        key(NOT_MASQUERADED, "10.0.0.2", 32),
        key(NOT_MASQUERADED, "fd00::1", 128),
        key(SERVICE_RANGE, "10.96.0.0", 12),
        key(SERVICE_RANGE, "fd00:96::", 108),
    ];
    let expected = BTreeMap::from(expected);
    assert_eq!(plan(&text, "a", &options).ranges, expected);
    let options = Options { masquerade: false, ..options };
    assert_eq!(plan(&text, "a", &options).ranges.len(), expected.len() - 2);
}

#[test]
fn reserved_ports() {
    let text = CLUSTER.to_owned()
        + "
- kind: Service
  metadata: {name: w}
  spec: {type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 40001, clusterIP: 10.96.0.1, externalIPs: [192.168.0.1, 198.51.100.1], ports: [{port: 40002, nodePort: 40003}]}
  status: {loadBalancer: {ingress: [{ip: 203.0.113.1}]}}
- {kind: Pod, metadata: {name: P}, spec: {nodeName: a, containers: [{ports: [{containerPort: 1, hostPort: 40005}]}]}, status: {podIP: 10.0.0.1}}
- {kind: Pod, metadata: {name: Q}, spec: {nodeName: b, containers: [{ports: [{containerPort: 1, hostPort: 40006}]}]}, status: {podIP: 10.0.0.2}}
";
    let ports = |node: &str, options: &Options| -> Vec<usize> {
        let reserved = plan(&text, node, options).reserved;
        assert!(reserved.last().is_none_or(|word| *word != 0));
        (0..reserved.len() * 64)
            .filter(|port| reserved[port / 64] >> (port % 64) & 1 != 0)
            .collect()
    };
    // On b, port 40002 is that of addresses of others.
    assert_eq!(ports("a", &Options::default()), [40_001, 40_002, 40_003, 40_005]);
    assert_eq!(ports("b", &Options::default()), [40_001, 40_003, 40_006]);
    let options = Options { reserved_ports: vec![63..=64, 65_535..=65_535], ..Options::default() };
    assert_eq!(ports("b", &options), [63, 64, 40_001, 40_003, 40_006, 65_535]);
}
