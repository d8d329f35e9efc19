//! Nodes, pods, and the devices and link addresses that connect them.
//!
//! Every node has one device that faces the others, all on one link, and a pair of devices per pod.
//! Numbers and link addresses follow from the order of nodes and pods, so that a run can be repeated
//! and a world of real devices can be given the same ones.

use std::net::IpAddr;

use twinpath_control::model::{Pod, State};
use twinpath_control::objects::ObjectName;
use twinpath_control::tables::Devices;
use twinpath_core::address::Address;
use twinpath_core::verdict::IfIndex;

use crate::engine::NodeIndex;
use crate::map::WordMap;

/// A pod's number, in the order of a topology's pods.
pub type PodIndex = usize;

/// A link address.
pub type Mac = [u8; 6];

/// The device of a node that faces the other nodes.
pub const UPLINK: IfIndex = 2;

/// The first host-side device of a pod; the others of the node follow.
pub const FIRST_POD_DEVICE: IfIndex = 10;

/// A node.
#[derive(Clone, Debug)]
pub struct NodeInfo {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// The link address of its device.
    pub mac: Mac,
}

/// A pod with devices of its own.
#[derive(Clone, Debug)]
pub struct PodInfo {
    /// Its name.
    pub name: ObjectName,
    /// Where it runs.
    pub node: NodeIndex,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// The number of the device on the node's side.
    pub device: IfIndex,
    /// The link address of the device on the pod's side.
    pub mac: Mac,
    /// The link address of the device on the node's side: the pod's gateway.
    pub gateway: Mac,
}

/// What an address belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// A pod.
    Pod(PodIndex),
    /// A node itself.
    Node(NodeIndex),
}

/// Owners by address. IPv4 has a map of its own, since every packet between nodes is looked up and
/// four bytes are hashed and compared in less time.
#[derive(Clone, Debug, Default)]
struct Owners {
    v4: WordMap<u32, Owner>,
    v6: WordMap<Address, Owner>,
}

impl Owners {
    fn insert(&mut self, address: Address, owner: Owner) {
        if address.is_v4() {
            self.v4.insert(address.low(), owner);
        } else {
            self.v6.insert(address, owner);
        }
    }

    #[inline]
    fn get(&self, address: &Address) -> Option<Owner> {
        if address.is_v4() { self.v4.get(&address.low()) } else { self.v6.get(address) }.copied()
    }
}

/// The cluster as the simulator knows it.
#[derive(Clone, Debug, Default)]
pub struct Topology {
    /// The nodes, by name.
    pub nodes: Vec<NodeInfo>,
    /// The pods, by node and name.
    pub pods: Vec<PodInfo>,
    owners: Owners,
    devices: Vec<Vec<PodIndex>>,
}

impl Topology {
    /// The topology of a cluster. Pods on the host's network have no devices of their own; pods on an
    /// unknown node are left out.
    pub fn new(state: &State) -> Self {
        let mut topology = Self::default();
        for (name, node) in &state.nodes {
            let index = topology.nodes.len();
            for address in node.all_addresses() {
                topology.owners.insert(address.into(), Owner::Node(index));
            }
            let mac = mac(3, index);
            topology.nodes.push(NodeInfo {
                name: name.clone(),
                addresses: node.addresses.clone(),
                mac,
            });
            topology.devices.push(Vec::new());
        }
        for pod in state.pods.values().filter(|pod| !pod.host_network) {
            if let Some(node) = topology.node(&pod.node) {
                topology.add_pod(pod.name.clone(), node, pod.addresses.clone());
            }
        }
        topology
    }

    /// Adds a pod, as a new one or one that only a capture knows.
    pub fn add_pod(
        &mut self,
        name: ObjectName,
        node: NodeIndex,
        addresses: Vec<IpAddr>,
    ) -> PodIndex {
        let index = self.pods.len();
        for address in &addresses {
            self.owners.insert((*address).into(), Owner::Pod(index));
        }
        let mut device = FIRST_POD_DEVICE;
        if let Some(pods) = self.devices.get_mut(node) {
            device += pods.len() as IfIndex;
            pods.push(index);
        }
        let (mac, gateway) = (mac(1, index), mac(2, index));
        self.pods.push(PodInfo { name, node, addresses, device, mac, gateway });
        index
    }

    /// Gives a pod one more address.
    pub fn add_address(&mut self, pod: PodIndex, address: IpAddr) {
        if let Some(info) = self.pods.get_mut(pod) {
            info.addresses.push(address);
            self.owners.insert(address.into(), Owner::Pod(pod));
        }
    }

    /// What an address belongs to.
    #[inline]
    pub fn owner(&self, address: &Address) -> Option<Owner> {
        self.owners.get(address)
    }

    /// The pod behind a host-side device of a node.
    #[inline]
    pub fn pod_behind(&self, node: NodeIndex, device: IfIndex) -> Option<PodIndex> {
        let place = device.checked_sub(FIRST_POD_DEVICE)?;
        self.devices.get(node)?.get(place as usize).copied()
    }

    /// The number of a node by name.
    pub fn node(&self, name: &str) -> Option<NodeIndex> {
        self.nodes.iter().position(|node| node.name == name)
    }
}

impl Devices for Topology {
    fn pod(&self, node: &str, pod: &Pod) -> Option<IfIndex> {
        let first = pod.addresses.first()?;
        match self.owner(&(*first).into())? {
            Owner::Pod(index) => {
                let info = self.pods.get(index)?;
                (self.nodes.get(info.node)?.name == node).then_some(info.device)
            }
            Owner::Node(_) => None,
        }
    }

    fn uplink(&self, _node: &str) -> IfIndex {
        UPLINK
    }
}

/// A locally administered address (IEEE 802, bit 1 of the first byte) for the `index`-th of a kind.
const fn mac(kind: u8, index: usize) -> Mac {
    let [.., a, b, c] = index.to_be_bytes();
    [0x02, 0x74, kind, a, b, c]
}
