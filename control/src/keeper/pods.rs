//! What pods add to the tables: addresses of the node, and ranges that are not masqueraded.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use twinpath_core::address::Address;
use twinpath_core::endpoint::Endpoint;
use twinpath_core::range::RangeKey;

use crate::model::{Pod, PortName, ServicePort, State, mention};
use crate::objects::ObjectName;
use crate::tables::{
    Desired, Devices, Options, node_endpoints, node_ranges, pod_endpoint, pod_ranges,
};

/// What pods add to the tables, beside what nodes do.
#[derive(Debug, Default)]
pub(super) struct Pods {
    /// What an address is to the node because of a pod; of several, the last one's word counts.
    entries: BTreeMap<(Address, ObjectName), Endpoint>,
    /// The same because of nodes, whose word counts more.
    nodes: BTreeMap<Address, Endpoint>,
    /// How many pods add a range.
    ranges: HashMap<RangeKey, u32>,
    /// Those that are there anyway.
    node_ranges: BTreeMap<RangeKey, u32>,
    /// Which ports have endpoints that say whose addresses they are.
    mentions: HashMap<ObjectName, BTreeSet<PortName>>,
}

/// What of the tables may be another.
#[derive(Default)]
pub(super) struct Places {
    addresses: BTreeSet<Address>,
    ranges: BTreeSet<RangeKey>,
}

impl Pods {
    pub(super) fn new<D: Devices + ?Sized>(
        state: &State,
        node: &str,
        devices: &D,
        options: &Options,
    ) -> Self {
        let mut pods = Self {
            nodes: node_endpoints(state, node),
            node_ranges: node_ranges(state, options),
            ..Self::default()
        };
        let mut places = Places::default();
        for pod in state.pods.values() {
            pods.add(pod, pod_endpoint(pod, node, devices), state, options, &mut places);
        }
        for (name, port) in &state.services {
            pods.hear(name, port);
        }
        pods
    }

    /// Notes whose addresses the endpoints of a port are.
    pub(super) fn hear(&mut self, name: &PortName, port: &ServicePort) {
        for (pod, ..) in mentioned(port) {
            match self.mentions.get_mut(pod) {
                Some(ports) => drop(ports.insert(name.clone())),
                None => drop(self.mentions.insert(pod.clone(), [name.clone()].into())),
            }
        }
    }

    /// Forgets what a port has said.
    pub(super) fn forget(&mut self, name: &PortName, port: &ServicePort) {
        for (pod, ..) in mentioned(port) {
            if let Some(ports) = self.mentions.get_mut(pod) {
                ports.remove(name);
                if ports.is_empty() {
                    self.mentions.remove(pod);
                }
            }
        }
    }

    /// A pod that is known from endpoints alone.
    pub(super) fn mentioned_pod(
        &self,
        name: &ObjectName,
        state: &State,
        nodes: &BTreeSet<IpAddr>,
    ) -> Option<Pod> {
        let ports = self.mentions.get(name)?.iter().filter_map(|port| state.services.get(port));
        let endpoints = ports.flat_map(|port| &port.endpoints);
        let own = endpoints.filter(|endpoint| endpoint.pod.as_ref() == Some(name));
        own.fold(None, |pod, endpoint| mention(pod, endpoint, nodes))
    }

    pub(super) fn add(
        &mut self,
        pod: &Pod,
        endpoint: Option<Endpoint>,
        state: &State,
        options: &Options,
        places: &mut Places,
    ) {
        for address in pod.addresses.iter().map(|address| Address::from(*address)) {
            places.addresses.insert(address);
            let entry = endpoint.map(|endpoint| ((address, pod.name.clone()), endpoint));
            self.entries.extend(entry);
        }
        for range in pod_ranges(pod, state, options) {
            places.ranges.insert(range);
            *self.ranges.entry(range).or_default() += 1;
        }
    }

    pub(super) fn remove(
        &mut self,
        pod: &Pod,
        state: &State,
        options: &Options,
        places: &mut Places,
    ) {
        for address in pod.addresses.iter().map(|address| Address::from(*address)) {
            places.addresses.insert(address);
            self.entries.remove(&(address, pod.name.clone()));
        }
        for range in pod_ranges(pod, state, options) {
            places.ranges.insert(range);
            if let Some(count) = self.ranges.get_mut(&range) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.ranges.remove(&range);
                }
            }
        }
    }

    /// What may be another: as it is in the tables, and as it shall be.
    pub(super) fn compare(
        &self,
        places: &Places,
        tables: &Desired,
        from: &mut Desired,
        to: &mut Desired,
    ) {
        for address in &places.addresses {
            from.endpoints.extend(tables.endpoints.get(address).map(|old| (*address, *old)));
            let said = self.entries.range((*address, ObjectName::default())..);
            let said = said.take_while(|((other, _), _)| other == address).last();
            let new = self.nodes.get(address).or(said.map(|(_, endpoint)| endpoint));
            to.endpoints.extend(new.map(|new| (*address, *new)));
        }
        for range in &places.ranges {
            from.ranges.extend(tables.ranges.get(range).map(|old| (*range, *old)));
            let is_there = self.ranges.contains_key(range) || self.node_ranges.contains_key(range);
            to.ranges.extend(is_there.then_some((*range, 1)));
        }
    }
}

/// What the endpoints of a port say of pods: name, node, address and port.
pub(super) fn mentioned(
    port: &ServicePort,
) -> impl Iterator<Item = (&ObjectName, &str, IpAddr, u16)> {
    port.endpoints.iter().filter_map(|endpoint| {
        let (pod, node) = (endpoint.pod.as_ref()?, endpoint.node.as_deref()?);
        Some((pod, node, endpoint.address, endpoint.port))
    })
}
