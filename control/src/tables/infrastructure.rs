//! What a node's tables say of nodes, pods and ranges.

use std::collections::BTreeMap;
use std::net::IpAddr;

use twinpath_core::address::Address;
use twinpath_core::endpoint::Endpoint;
use twinpath_core::range::{NOT_MASQUERADED, RangeKey, SERVICE_RANGE};
use twinpath_core::seam::{Config, option};

use super::{Devices, Options};
use crate::model::{Node, Pod, Range, State};

pub(super) fn config<D: Devices + ?Sized>(
    state: &State,
    node: &str,
    devices: &D,
    options: &Options,
) -> Config {
    let address = |is_ipv4| {
        let own = state.nodes.get(node).into_iter().flat_map(|node| &node.addresses);
        let first = own.copied().find(|address| address.is_ipv4() == is_ipv4);
        first.map_or(Address::UNSPECIFIED, Address::from)
    };
    let hairpin = |address: IpAddr| match address.is_unspecified() {
        true => Address::UNSPECIFIED,
        false => Address::from(address),
    };
    Config {
        epoch: 0,
        maglev_size: options.maglev_size.get(),
        hash_seed: options.hash_seed,
        uplink: devices.uplink(node),
        address4: address(true),
        address6: address(false),
        hairpin4: hairpin(options.hairpin4.into()),
        hairpin6: hairpin(options.hairpin6.into()),
        ports_first: *options.snat_ports.start(),
        ports_last: *options.snat_ports.end(),
        mtu: devices.mtu(node),
        options: if options.masquerade { option::MASQUERADE } else { 0 },
        mark: options.mark,
    }
}

/// The pods of this node, and the addresses of all nodes.
pub(super) fn endpoints<D: Devices + ?Sized>(
    state: &State,
    node: &str,
    devices: &D,
) -> BTreeMap<Address, Endpoint> {
    let mut endpoints = BTreeMap::new();
    for pod in state.pods.values() {
        if let Some(endpoint) = pod_endpoint(pod, node, devices) {
            endpoints.extend(pod.addresses.iter().map(|ip| (Address::from(*ip), endpoint)));
        }
    }
    endpoints.extend(node_endpoints(state, node));
    endpoints
}

/// What the addresses of a pod are to a node, if anything.
pub(crate) fn pod_endpoint<D: Devices + ?Sized>(
    pod: &Pod,
    node: &str,
    devices: &D,
) -> Option<Endpoint> {
    match (pod.node == node, pod.host_network) {
        (true, true) => Some(Endpoint::HOST),
        (true, false) => devices.pod(node, pod).map(Endpoint::pod),
        (false, true) => Some(Endpoint::NODE),
        (false, false) => None,
    }
}

/// What the addresses of nodes are to a node: of those that are several nodes', its own.
pub(crate) fn node_endpoints(state: &State, node: &str) -> BTreeMap<Address, Endpoint> {
    let (own, others): (Vec<_>, Vec<_>) = state.nodes.iter().partition(|(name, _)| *name == node);
    let entries = |nodes: Vec<(&String, &Node)>, endpoint: Endpoint| {
        let addresses = nodes.into_iter().flat_map(|(_, node)| node.all_addresses());
        addresses.map(|ip| (Address::from(ip), endpoint)).collect::<Vec<_>>()
    };
    entries(others, Endpoint::NODE).into_iter().chain(entries(own, Endpoint::HOST)).collect()
}

/// The ranges that are not those of a service.
pub(super) fn ranges(state: &State, options: &Options) -> BTreeMap<RangeKey, u32> {
    let mut ranges = node_ranges(state, options);
    let pods = state.pods.values().flat_map(|pod| pod_ranges(pod, state, options));
    ranges.extend(pods.map(|range| (range, 1)));
    ranges
}

/// Those of them that are not a pod's.
pub(crate) fn node_ranges(state: &State, options: &Options) -> BTreeMap<RangeKey, u32> {
    let pod_ranges = state.nodes.values().flat_map(|node| &node.pod_ranges).copied();
    let nodes = state.nodes.values().flat_map(Node::all_addresses).map(Range::of);
    let near = pod_ranges.chain(nodes).chain(options.non_masquerade.iter().copied());
    let mut ranges: BTreeMap<RangeKey, u32> =
        near.map(|range| (key(NOT_MASQUERADED, &range), 1)).collect();
    ranges.extend(state.service_ranges.iter().map(|range| (key(SERVICE_RANGE, range), 1)));
    ranges
}

/// Where masquerading matters, those of a pod that is out of its node's ranges, or whose node has none.
pub(crate) fn pod_ranges(
    pod: &Pod,
    state: &State,
    options: &Options,
) -> impl Iterator<Item = RangeKey> {
    let known = state.nodes.get(&pod.node).map(|node| node.pod_ranges.as_slice());
    let known = known.unwrap_or_default();
    let is_alone = move |address: &&IpAddr| {
        let address = RangeKey::of(NOT_MASQUERADED, Address::from(**address));
        !known.iter().any(|range| key(NOT_MASQUERADED, range).contains(&address))
    };
    let addresses: &[IpAddr] =
        if options.masquerade && !pod.host_network { &pod.addresses } else { &[] };
    addresses.iter().filter(is_alone).map(|address| key(NOT_MASQUERADED, &Range::of(*address)))
}

/// The key of a range, all bits 0 that do not count, so that one range has one key.
pub(super) fn key(owner: u32, range: &Range) -> RangeKey {
    RangeKey::range(owner, Address::from(range.first()), range.length)
}
