//! What a node's tables say of nodes, pods and ranges.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use twinpath_core::address::Address;
use twinpath_core::endpoint::Endpoint;
use twinpath_core::range::{NOT_MASQUERADED, RangeKey, SERVICE_RANGE};
use twinpath_core::seam::{Config, option};

use super::{Devices, Options, Site};
use crate::model::{FrontendKind, Node, Range, State};

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
        let endpoint = match (pod.node == node, pod.host_network) {
            (true, true) => Some(Endpoint::HOST),
            (true, false) => devices.pod(node, pod).map(Endpoint::pod),
            (false, true) => Some(Endpoint::NODE),
            (false, false) => None,
        };
        if let Some(endpoint) = endpoint {
            endpoints.extend(pod.addresses.iter().map(|ip| (Address::from(*ip), endpoint)));
        }
    }
    let others = state.nodes.iter().filter(|(name, _)| *name != node);
    for (_, other) in others {
        endpoints.extend(other.all_addresses().map(|ip| (Address::from(ip), Endpoint::NODE)));
    }
    let own = state.nodes.get(node).into_iter().flat_map(Node::all_addresses);
    endpoints.extend(own.map(|ip| (Address::from(ip), Endpoint::HOST)));
    endpoints
}

/// The ranges that are not those of a service.
pub(super) fn ranges(state: &State, options: &Options) -> BTreeMap<RangeKey, u32> {
    let pod_ranges = state.nodes.values().flat_map(|node| &node.pod_ranges).copied();
    // Pods out of their node's ranges, or of one that has none: each by itself, where that matters.
    let pods = state.pods.values().filter(|pod| options.masquerade && !pod.host_network);
    let alone = pods.flat_map(|pod| {
        let known = state.nodes.get(&pod.node).map(|node| node.pod_ranges.as_slice());
        let is_alone = move |address: &&IpAddr| {
            let address = RangeKey::of(NOT_MASQUERADED, Address::from(**address));
            let known = known.unwrap_or_default();
            !known.iter().any(|range| key(NOT_MASQUERADED, range).contains(&address))
        };
        pod.addresses.iter().filter(is_alone).map(|address| Range::of(*address))
    });
    let nodes = state.nodes.values().flat_map(Node::all_addresses).map(Range::of);
    let near = pod_ranges.chain(alone).chain(nodes);
    let near = near.chain(options.non_masquerade.iter().copied());
    let mut ranges: BTreeMap<RangeKey, u32> =
        near.map(|range| (key(NOT_MASQUERADED, &range), 1)).collect();
    ranges.extend(state.service_ranges.iter().map(|range| (key(SERVICE_RANGE, range), 1)));
    ranges
}

/// The key of a range, all bits 0 that do not count, so that one range has one key.
pub(super) fn key(owner: u32, range: &Range) -> RangeKey {
    RangeKey::range(owner, Address::from(range.first()), range.length)
}

/// The ports that no source port is changed to: those of the options, and those on which this node is
/// reached.
pub(super) fn reserved(site: &Site<'_>) -> Vec<u64> {
    let mut ports: BTreeSet<u16> = BTreeSet::new();
    for range in &site.options.reserved_ports {
        ports.extend(range.clone());
    }
    for port in site.state.services.values().filter(|port| site.serves(port)) {
        ports.extend(port.health_check_port);
        for frontend in &port.frontends {
            let is_own = match frontend.kind {
                FrontendKind::NodePort | FrontendKind::HostPort => true,
                _ => site.own.contains(&frontend.address),
            };
            ports.extend(is_own.then_some(frontend.port));
        }
    }
    let mut words = Vec::new();
    for port in ports {
        let index = usize::from(port / 64);
        words.resize(words.len().max(index + 1), 0);
        if let Some(word) = words.get_mut(index) {
            *word |= 1_u64 << (port % 64);
        }
    }
    words
}
