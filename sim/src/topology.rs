//! Nodes, pods, and the devices and link addresses that connect them.
//!
//! Every node has one device that faces the others, all on one link, and a pair of devices per pod.
//! Where there is a router, it is on that link, too, and clients outside the cluster are behind it.
//! Numbers and link addresses follow from the order of nodes, pods and clients, so that a run can be
//! repeated and a world of real devices can be given the same ones.

use std::collections::BTreeMap;
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

/// The number of a client outside, in the order of a topology's clients.
pub type ClientIndex = usize;

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

/// A client outside the cluster.
#[derive(Clone, Debug)]
pub struct ClientInfo {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// The link address of its device.
    pub mac: Mac,
    /// The link address of the router's device towards it.
    pub gateway: Mac,
    /// The largest IP packet that the router can send it, in bytes; 0 for no limit.
    pub mtu: u32,
}

/// The way out of the cluster. It knows the nodes, the clients, and where it was told.
#[derive(Clone, Debug)]
pub struct Router {
    /// Its addresses, from which its ICMP errors come: one per family at most.
    pub addresses: Vec<IpAddr>,
    /// The link address of its device towards the nodes.
    pub mac: Mac,
    /// Whether it also knows on which node each pod is.
    pub knows_pods: bool,
    /// Addresses that are a node's for the network alone, such as those of load balancers.
    pub routes: BTreeMap<Address, NodeIndex>,
}

/// Which hooks there are beside those that every node has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Attached {
    /// [`Hook::Xdp`](twinpath_core::hook::Hook::Xdp) at uplinks.
    pub xdp: bool,
    /// [`Hook::ToNetdev`](twinpath_core::hook::Hook::ToNetdev) at uplinks. Only where a node's
    /// configuration has a mark: without one, it would look again at what other hooks are done with.
    pub to_netdev: bool,
}

/// What an address belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// A pod.
    Pod(PodIndex),
    /// A node itself.
    Node(NodeIndex),
    /// A client outside the cluster.
    Client(ClientIndex),
    /// The router.
    Router,
}

/// Who is on the link between the nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Neighbour {
    /// A node.
    Node(NodeIndex),
    /// The router.
    Router,
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
    /// The clients outside the cluster.
    pub clients: Vec<ClientInfo>,
    /// The way out of the cluster; without one, what leaves it is gone.
    pub router: Option<Router>,
    /// The largest IP packet on the link between the nodes, in bytes; 0 for no limit.
    pub mtu: u32,
    /// The hooks that not every node has.
    pub attached: Attached,
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
            let mac = mac(NODES, index);
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

    /// Puts a router with these addresses on the link between the nodes.
    pub fn add_router(&mut self, addresses: Vec<IpAddr>) -> &mut Router {
        for address in &addresses {
            self.owners.insert((*address).into(), Owner::Router);
        }
        self.router.insert(Router {
            addresses,
            mac: mac(ROUTER, 0),
            knows_pods: false,
            routes: BTreeMap::new(),
        })
    }

    /// Adds a client behind the router, over a link that takes IP packets of so many bytes; 0 for no
    /// limit.
    pub fn add_client(&mut self, name: String, addresses: Vec<IpAddr>, mtu: u32) -> ClientIndex {
        let index = self.clients.len();
        for address in &addresses {
            self.owners.insert((*address).into(), Owner::Client(index));
        }
        let (mac, gateway) = (mac(5, index), mac(6, index));
        self.clients.push(ClientInfo { name, addresses, mac, gateway, mtu });
        index
    }

    /// Who has a link address on the link between the nodes.
    pub fn neighbour(&self, address: Mac) -> Option<Neighbour> {
        let [0x02, 0x74, kind, a, b, c] = address else { return None };
        let index = u32::from_be_bytes([0, a, b, c]) as usize;
        match kind {
            NODES if index < self.nodes.len() => Some(Neighbour::Node(index)),
            ROUTER if self.router.is_some() => Some(Neighbour::Router),
            _ => None,
        }
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

    /// The number of a pod by `namespace/name`, or by its name alone where no other pod has it.
    pub fn pod(&self, name: &str) -> Option<PodIndex> {
        let full = self.pods.iter().position(|pod| pod.name.to_string() == name);
        full.or_else(|| {
            let mut same = self.pods.iter().enumerate().filter(|(_, pod)| pod.name.name == name);
            same.next().filter(|_| same.next().is_none()).map(|(index, _)| index)
        })
    }

    /// The number of a client by name.
    pub fn client(&self, name: &str) -> Option<ClientIndex> {
        self.clients.iter().position(|client| client.name == name)
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
            Owner::Node(_) | Owner::Client(_) | Owner::Router => None,
        }
    }

    fn uplink(&self, _node: &str) -> IfIndex {
        UPLINK
    }

    fn mtu(&self, _node: &str) -> u32 {
        self.mtu
    }
}

/// The third byte of link addresses of nodes, and of the router, on the link between them.
const NODES: u8 = 3;
const ROUTER: u8 = 4;

/// A locally administered address (IEEE 802, bit 1 of the first byte) for the `index`-th of a kind.
const fn mac(kind: u8, index: usize) -> Mac {
    let [.., a, b, c] = index.to_be_bytes();
    [0x02, 0x74, kind, a, b, c]
}
