//! One node's tables as they should be.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::net::IpAddr;

use twinpath_core::address::Address;
use twinpath_core::backend::{Backend, BackendId, BackendState};
use twinpath_core::bytes::Be16;
use twinpath_core::endpoint::Endpoint;
use twinpath_core::range::RangeKey;
use twinpath_core::seam::Config;
use twinpath_core::service::{Member, Service, ServiceId, ServiceKey};
use twinpath_core::tuple::Tuple;
use twinpath_core::verdict::IfIndex;

use self::part::{Sum, reserve};
use self::slices::Slices;
use crate::model::{self, Node, Place, Pod, PortName, Protocol, ServicePort, State};
use crate::objects::ObjectName;

mod frontends;
mod infrastructure;
mod options;
mod part;
mod slices;

pub(crate) use infrastructure::{node_endpoints, node_ranges, pod_endpoint, pod_ranges};
pub use options::{Dispatch, Mode, Options};
pub(crate) use part::{Part, address_entry, place};
pub(crate) use slices::SliceOwner;

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
    /// Which backends have slots in which service, as bits of scopes and policies.
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
    /// The largest IP packet that this device takes, in bytes; 0 where that is not known.
    fn mtu(&self, _node: &str) -> u32 {
        0
    }
}

/// Makes tables and gives out the numbers in them.
///
/// The nodes of a cluster share one planner, so that a number means the same on all of them. Numbers
/// start at 1 and belong to one name for the planner's whole life; one that is gone and comes back has
/// its old number. So a planner grows with the number of different names that it has seen, and a
/// connection never mistakes one backend for another.
#[derive(Clone, Debug, Default)]
pub struct Planner {
    services: HashMap<PortName, ServiceId>,
    backends: HashMap<BackendKey, BackendId>,
    slices: Slices,
}

/// Address, port and protocol: what makes two backends the same.
type BackendKey = (IpAddr, u16, Protocol);

impl Planner {
    /// The tables of one node.
    ///
    /// Every backend that is ready is in the table and active, and has slots where it takes new connections
    /// from this node: see [`ServicePort::eligible`]. One that drains is in the table, so that it keeps its
    /// connections, and in no slot, unless there is nobody else: then it takes new ones, too, and is
    /// active. A service with more than 65,535 backends is given the first ones of them.
    ///
    /// A node port is under the unspecified address. Every other frontend address has an entry of its own,
    /// which says that packets to its other ports go nowhere, unless it is an address of a node.
    pub fn plan<D: Devices + ?Sized>(
        &mut self,
        state: &State,
        node: &str,
        devices: &D,
        options: &Options,
    ) -> Desired {
        self.plan_with(state, node, devices, options, |_| {})
    }

    /// The same; `each` is given what each port adds to the tables.
    pub(crate) fn plan_with<D: Devices + ?Sized>(
        &mut self,
        state: &State,
        node: &str,
        devices: &D,
        options: &Options,
        mut each: impl FnMut(&Part),
    ) -> Desired {
        let addresses = NodeAddresses::new(state, node);
        let site = Site::new(state, node, &addresses, options);
        let mut desired = Desired {
            config: infrastructure::config(state, node, devices, options),
            endpoints: infrastructure::endpoints(state, node, devices),
            ranges: infrastructure::ranges(state, options),
            ..Desired::default()
        };
        let mut live: BTreeSet<SliceOwner> = BTreeSet::new();
        for (name, port) in &state.services {
            live.extend(self.owners(name, port, options));
        }
        self.slices.retain(&live);
        for range in &options.reserved_ports {
            range.clone().for_each(|port| reserve(&mut desired.reserved, port));
        }
        let (mut part, mut sum) = (Part::default(), Sum::default());
        for (name, port) in state.services.iter().filter(|(_, port)| site.serves(port)) {
            self.part(&mut part, &site, name, port);
            sum.add(&part, &mut desired.reserved);
            for owner in &part.slices {
                if let Some(slice) = self.slices.get(owner) {
                    slice.copy_to(&mut desired.maglev, options.maglev_size);
                }
            }
            each(&part);
        }
        sum.put_into(&mut desired);
        desired
    }

    /// The slices of the Maglev table that a port has on some node.
    pub(crate) fn owners(
        &mut self,
        name: &PortName,
        port: &ServicePort,
        options: &Options,
    ) -> Vec<SliceOwner> {
        let mut slices = frontends::slices(0, port, options).peekable();
        if slices.peek().is_none() {
            return Vec::new();
        }
        let id = number(&mut self.services, name);
        slices.map(|(_, is_ipv4, policy)| (id, is_ipv4, policy)).collect()
    }

    /// Frees a slice of the Maglev table.
    pub(crate) fn release(&mut self, owner: &SliceOwner) {
        self.slices.release(owner);
    }

    /// Which slice of the Maglev table this is, and its entries: none, or as many as a slice has.
    pub(crate) fn slice(&self, owner: &SliceOwner) -> Option<(u32, &[BackendId])> {
        self.slices.get(owner).map(|slice| (slice.index, slice.entries.as_slice()))
    }

    /// What the numbers stand for: those of a plan of the same state, made before or after.
    pub fn names(&mut self, state: &State) -> Names {
        let mut names = Names::default();
        for (name, port) in &state.services {
            names.services.insert(number(&mut self.services, name), name.clone());
            let planned = |endpoint: &&model::Endpoint| {
                let is_ipv4 = endpoint.address.is_ipv4();
                (endpoint.ready || endpoint.is_draining())
                    && port.frontends.iter().any(|f| f.address.is_ipv4() == is_ipv4)
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
}

/// The addresses of nodes, as one node sees them.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeAddresses {
    /// Its own.
    pub(crate) own: BTreeSet<IpAddr>,
    /// Those of all nodes.
    pub(crate) nodes: BTreeSet<IpAddr>,
}

impl NodeAddresses {
    pub(crate) fn new(state: &State, node: &str) -> Self {
        Self {
            own: state.nodes.get(node).into_iter().flat_map(Node::all_addresses).collect(),
            nodes: state.nodes.values().flat_map(Node::all_addresses).collect(),
        }
    }
}

/// The node that tables are made for.
pub(crate) struct Site<'a> {
    node: &'a str,
    place: Place<'a>,
    options: &'a Options,
    addresses: &'a NodeAddresses,
}

impl<'a> Site<'a> {
    pub(crate) fn new(
        state: &'a State,
        node: &'a str,
        addresses: &'a NodeAddresses,
        options: &'a Options,
    ) -> Self {
        Self { node, place: state.place(node), options, addresses }
    }

    /// Whether this node serves a port: others do not serve the host ports of its pods.
    pub(crate) fn serves(&self, port: &ServicePort) -> bool {
        port.node.as_deref().is_none_or(|node| node == self.node)
    }
}

/// The number of a name, a new one for a new name.
fn number<K: Clone + Eq + Hash>(numbers: &mut HashMap<K, u32>, name: &K) -> u32 {
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

#[cfg(test)]
mod tests;
