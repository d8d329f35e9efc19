//! One node's tables as they should be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use twinpath_core::address::Address;
use twinpath_core::backend::{Backend, BackendId, BackendState};
use twinpath_core::bytes::Be16;
use twinpath_core::endpoint::Endpoint;
use twinpath_core::range::RangeKey;
use twinpath_core::seam::Config;
use twinpath_core::service::{Algorithm, Member, Scope, Service, ServiceId, ServiceKey};
use twinpath_core::tuple::Tuple;
use twinpath_core::verdict::IfIndex;

use crate::maglev::Size;
use crate::model::{self, Frontend, FrontendKind, Pod, PortName, Protocol, ServicePort, State};
use crate::objects::ObjectName;
use crate::tables::slices::{SliceOwner, Slices};

mod slices;

/// The contents of a node's tables. Conntrack is not among them: the datapath writes it itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Frontends, their slots, and one entry for each frontend address.
    pub services: BTreeMap<ServiceKey, Service>,
    /// Backends by number.
    pub backends: BTreeMap<BackendId, Backend>,
    /// Slices of `config.maglev_size` entries, one behind the other; 0 where there is none. Ends with
    /// the last entry that is not 0.
    pub maglev: Vec<BackendId>,
    /// Which backends have slots in which service, as bits of scopes.
    pub members: BTreeMap<Member, u32>,
    /// The addresses of all nodes and of this node's pods.
    pub endpoints: BTreeMap<Address, Endpoint>,
    /// Sets of address ranges.
    pub ranges: BTreeMap<RangeKey, u32>,
    /// Backends of this node by the address that a tunnel ends at and the frontend.
    pub terminations: BTreeMap<Tuple, BackendId>,
    /// Ports that no source port is changed to, in words of 64 bits. Ends with the last that is not 0.
    pub reserved: Vec<u64>,
    /// The rest. The epoch is 0 in a plan; [`crate::diff::diff`] sets it.
    pub config: Config,
}

/// What the numbers in the tables stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The services.
    pub services: BTreeMap<ServiceId, PortName>,
    /// The backends.
    pub backends: BTreeMap<BackendId, BackendName>,
}

/// What a backend's number stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendName {
    /// Where it listens.
    pub address: IpAddr,
    /// On which port, host order.
    pub port: u16,
    /// Of which protocol.
    pub protocol: Protocol,
    /// Its pod, if it is one.
    pub pod: Option<ObjectName>,
    /// Where it runs, if that is known.
    pub node: Option<String>,
}

/// What is known of the devices of nodes, simulated or real.
pub trait Devices {
    /// The host-side device of a pod on this node; `None` while it has none. Not asked for pods on the
    /// host's network.
    fn pod(&self, node: &str, pod: &Pod) -> Option<IfIndex>;
    /// The device that faces the other nodes; 0 to leave the way there to the node's stack.
    fn uplink(&self, node: &str) -> IfIndex;
}

/// What the state of the cluster does not say. The same on all nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// How a backend is chosen where the service does not say.
    pub algorithm: Algorithm,
    /// Entries of a service's slice of the Maglev table.
    pub maglev_size: Size,
    /// Seed of the Maglev tables and of the hash that indexes them.
    pub hash_seed: u32,
}

/// Makes tables and gives out the numbers in them.
///
/// The nodes of a cluster share one planner, so that a number means the same on all of them. Numbers
/// start at 1 and belong to one name for the planner's whole life; one that is gone and comes back has
/// its old number. So a planner grows with the number of different names that it has seen, and a
/// connection never mistakes one backend for another.
#[derive(Clone, Debug, Default)]
pub struct Planner {
    services: BTreeMap<PortName, ServiceId>,
    backends: BTreeMap<BackendKey, BackendId>,
    slices: Slices,
}

/// Address, port and protocol: what makes two backends the same.
type BackendKey = (IpAddr, u16, Protocol);

impl Planner {
    /// The tables of one node.
    ///
    /// A backend is active where a slot names it. One that drains is in the table, so that it keeps its
    /// connections, and in no slot, unless its service has nobody else: then it takes new ones, too. A
    /// service with more than 65,535 backends is given the first ones of them.
    pub fn plan<D: Devices + ?Sized>(
        &mut self,
        state: &State,
        node: &str,
        devices: &D,
        options: &Options,
    ) -> Desired {
        let mut desired = Desired {
            config: Config {
                epoch: 0,
                maglev_size: options.maglev_size.get(),
                hash_seed: options.hash_seed,
                uplink: devices.uplink(node),
                ..Config::default()
            },
            endpoints: endpoints(state, node, devices),
            ..Desired::default()
        };
        let live: BTreeSet<SliceOwner> = state
            .services
            .iter()
            .filter(|(_, port)| port.algorithm.unwrap_or(options.algorithm) == Algorithm::Maglev)
            .flat_map(|(name, port)| {
                let id = number(&mut self.services, name);
                port.frontends.iter().map(move |f| (id, f.address.is_ipv4()))
            })
            .collect();
        self.slices.retain(&live);
        for (name, port) in &state.services {
            for is_ipv4 in [true, false] {
                self.service(&mut desired, name, port, is_ipv4, options);
            }
        }
        desired
    }

    /// What the numbers stand for: those of a plan of the same state, made before or after.
    pub fn names(&mut self, state: &State) -> Names {
        let mut names = Names::default();
        for (name, port) in &state.services {
            names.services.insert(number(&mut self.services, name), name.clone());
            let planned = |endpoint: &&model::Endpoint| {
                let is_ipv4 = endpoint.address.is_ipv4();
                (endpoint.ready || endpoint.is_draining())
                    && port.frontends.iter().any(|f| {
                        f.kind == FrontendKind::ClusterIp && f.address.is_ipv4() == is_ipv4
                    })
            };
            for endpoint in port.endpoints.iter().filter(planned) {
                let id = number(&mut self.backends, &key(endpoint, name.protocol));
                names.backends.entry(id).or_insert_with(|| BackendName {
                    address: endpoint.address,
                    port: endpoint.port,
                    protocol: name.protocol,
                    pod: endpoint.pod.clone(),
                    node: endpoint.node.clone(),
                });
            }
        }
        names
    }

    /// One port of a service, in one address family.
    fn service(
        &mut self,
        desired: &mut Desired,
        name: &PortName,
        port: &ServicePort,
        is_ipv4: bool,
        options: &Options,
    ) {
        let served =
            |f: &&Frontend| f.kind == FrontendKind::ClusterIp && f.address.is_ipv4() == is_ipv4;
        let mut frontends = port.frontends.iter().filter(served).peekable();
        if frontends.peek().is_none() {
            return;
        }
        let id = number(&mut self.services, name);
        let family = || port.endpoints.iter().filter(|e| e.address.is_ipv4() == is_ipv4);
        let nobody_else = !family().any(|e| e.ready);
        let mut slots = Vec::new();
        for endpoint in family() {
            let takes_new = endpoint.ready || (nobody_else && endpoint.is_draining());
            if !takes_new && !endpoint.is_draining() {
                continue;
            }
            let key = key(endpoint, name.protocol);
            let backend = number(&mut self.backends, &key);
            if takes_new && slots.len() < usize::from(u16::MAX) {
                slots.push((backend, key));
                desired.backends.insert(backend, entry(&key, BackendState::Active));
            } else {
                // Another service may give it new connections.
                desired
                    .backends
                    .entry(backend)
                    .or_insert_with(|| entry(&key, BackendState::Terminating));
            }
        }

        let algorithm = port.algorithm.unwrap_or(options.algorithm);
        let slice = match algorithm {
            Algorithm::Random => 0,
            Algorithm::Maglev => {
                let slice = self.slices.fill((id, is_ipv4), &slots, options);
                slice.copy_to(&mut desired.maglev, options.maglev_size);
                slice.index
            }
        };
        let count = (0..=u16::MAX).nth(slots.len()).unwrap_or(u16::MAX);
        for frontend in frontends {
            let address = Address::from(frontend.address);
            let number = name.protocol.number();
            let key = ServiceKey::frontend(address, Be16::new(frontend.port), number);
            desired.services.insert(key, Service::master(id, count, algorithm, slice));
            for (slot, (backend, _)) in (1..=u16::MAX).zip(&slots) {
                desired.services.insert(key.slot(slot), Service::slot(*backend));
                let member = Member { service: id, backend: *backend };
                *desired.members.entry(member).or_default() |= Scope::Internal.bit();
            }
            desired
                .services
                .insert(ServiceKey::address(address), Service::master(0, 0, Algorithm::Random, 0));
        }
    }
}

/// The number of a name, a new one for a new name.
fn number<K: Clone + Ord>(numbers: &mut BTreeMap<K, u32>, name: &K) -> u32 {
    if let Some(number) = numbers.get(name) {
        return *number;
    }
    // Names fit in memory, so there are far fewer of them than numbers.
    let number = (numbers.len() as u32).wrapping_add(1);
    numbers.insert(name.clone(), number);
    number
}

fn key(endpoint: &model::Endpoint, protocol: Protocol) -> BackendKey {
    (endpoint.address, endpoint.port, protocol)
}

fn entry((address, port, protocol): &BackendKey, state: BackendState) -> Backend {
    Backend::new(Address::from(*address), Be16::new(*port), protocol.number(), state)
}

/// The addresses that are on this node.
fn endpoints<D: Devices + ?Sized>(
    state: &State,
    node: &str,
    devices: &D,
) -> BTreeMap<Address, Endpoint> {
    let mut endpoints = BTreeMap::new();
    for pod in state.pods.values().filter(|pod| pod.node == node) {
        let endpoint = if pod.host_network {
            Some(Endpoint::HOST)
        } else {
            devices.pod(node, pod).map(Endpoint::pod)
        };
        if let Some(endpoint) = endpoint {
            endpoints.extend(pod.addresses.iter().map(|ip| (Address::from(*ip), endpoint)));
        }
    }
    if let Some(node) = state.nodes.get(node) {
        endpoints.extend(node.addresses.iter().map(|ip| (Address::from(*ip), Endpoint::HOST)));
    }
    endpoints
}

#[cfg(test)]
mod tests;
