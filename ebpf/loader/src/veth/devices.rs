//! The devices of a cluster: a namespace per node and per pod, pairs of devices between them.
//!
//! ```text
//!   pod           node                           node           pod
//!   eth0 ──── pod10       eth0 ──────────── eth0       pod10 ──── eth0
//!             pod11 …      2                  2         10
//! ```
//!
//! Numbers and link addresses are those of the [`Topology`]. More than two nodes, or one, are joined by
//! a bridge in a namespace of its own, and so are nodes with a router. The router has a namespace, too,
//! and a pair of devices per client outside, `client0` and on, whose other ends are `eth0` of the clients'
//! namespaces. Every neighbour is entered beforehand, so that there is no
//! packet that is not part of the traffic, and none is lost to a lookup.

use std::ffi::CStr;
use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use twinpath_core::verdict::IfIndex;
use twinpath_sim::topology::{Mac, Topology, UPLINK};

use crate::veth::driver::{complete_checksums, pass_all};
use crate::veth::netns::{Namespace, NamespaceError};

/// The device of a node that faces the others.
pub const UPLINK_NAME: &str = "eth0";

/// The pods' next hops, which their node's side of the pair answers for.
const GATEWAYS: [&str; 2] = ["169.254.1.1", "fe80::1"];

/// Whether the stacks of pods and nodes take part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stacks {
    /// They answer nothing, so that a packet that is sent is the only one there is. Pods and nodes have
    /// no addresses, ICMP errors are withheld, and devices carry frames of up to 64 KiB.
    Silent,
    /// They have their addresses, for real sockets.
    Answering,
}

impl Stacks {
    /// The largest IP packet on every device, in bytes.
    pub const fn mtu(self) -> u32 {
        match self {
            Self::Silent => 65_535,
            Self::Answering => 1_500,
        }
    }
}

/// The namespaces of a run.
#[derive(Debug)]
pub struct Namespaces {
    /// By node.
    pub nodes: Vec<Namespace>,
    /// By pod.
    pub pods: Vec<Namespace>,
    /// By client outside.
    pub clients: Vec<Namespace>,
    /// The router, if there is one.
    pub router: Option<Namespace>,
    /// With the bridge, if there is one.
    pub bridge: Option<Namespace>,
    /// Programs that do nothing, where XDP at the other end of a pair needs them.
    _passes: Vec<OwnedFd>,
}

/// Parameters of every namespace: no packets of the kernel's own making.
const EVERYWHERE: [(&str, &str); 8] = [
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/all/accept_ra", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/all/router_solicitations", "0"),
    ("ipv6/conf/default/router_solicitations", "0"),
    ("ipv6/conf/all/addr_gen_mode", "1"),
    ("ipv6/conf/default/addr_gen_mode", "1"),
];

/// Parameters of a node: it forwards, whatever the source.
const NODE: [(&str, &str); 7] = [
    ("ipv4/ip_forward", "1"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv6/conf/default/forwarding", "1"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
];

/// Parameters of a silent node: one ICMP error in eleven days.
const SILENT: [(&str, &str); 2] =
    [("ipv4/icmp_ratelimit", "1000000000"), ("ipv6/icmp/ratelimit", "1000000000")];

impl Namespaces {
    /// Makes all namespaces and devices of a cluster.
    pub fn new(topology: &Topology, stacks: Stacks) -> Result<Self, NamespaceError> {
        let mut nodes = Vec::new();
        for _ in &topology.nodes {
            let node = Namespace::new()?;
            if let Some(name) = node.run(|| device_name(UPLINK))? {
                return Err(NamespaceError::Occupied(name));
            }
            node.set(&EVERYWHERE)?;
            node.set(&NODE)?;
            if stacks == Stacks::Silent {
                node.set(&SILENT)?;
            }
            nodes.push(node);
        }
        let mut pods = Vec::new();
        for _ in &topology.pods {
            let pod = Namespace::new()?;
            pod.set(&EVERYWHERE)?;
            pods.push(pod);
        }
        let mut clients = Vec::new();
        for _ in &topology.clients {
            let client = Namespace::new()?;
            client.set(&EVERYWHERE)?;
            clients.push(client);
        }
        let router = match topology.router {
            Some(_) => {
                let router = Namespace::new()?;
                router.set(&EVERYWHERE)?;
                router.set(&NODE)?;
                Some(router)
            }
            None => None,
        };
        let mut all = Self { nodes, pods, clients, router, bridge: None, _passes: Vec::new() };
        all.bridge = all.join_nodes(topology, stacks)?;
        for (index, node) in all.nodes.iter().enumerate() {
            node.ip(&all.node_commands(topology, index, stacks))?;
        }
        for (info, pod) in topology.pods.iter().zip(&all.pods) {
            pod.ip(&pod_commands(&info.addresses, info.gateway, stacks))?;
        }
        if let Some(router) = &all.router {
            router.ip(&all.router_commands(topology, stacks))?;
        }
        for (info, client) in topology.clients.iter().zip(&all.clients) {
            client.ip(&pod_commands(&info.addresses, info.gateway, stacks))?;
        }
        if topology.attached.xdp {
            all._passes = all.make_ready_for_xdp()?;
        }
        Ok(all)
    }

    /// Makes the devices what XDP at the nodes' uplinks needs. A program there takes every frame for one
    /// from a wire, with its checksum complete, so senders complete it. And what it sends back arrives only
    /// where the other end of the pair has a program, too.
    fn make_ready_for_xdp(&self) -> Result<Vec<OwnedFd>, NamespaceError> {
        let all = self.nodes.iter().chain(&self.pods).chain(&self.clients).chain(&self.router);
        for namespace in all {
            let done = namespace.run(|| complete_checksums(UPLINK_NAME))?;
            done.map_err(NamespaceError::Namespace)?;
        }
        let Some(bridge) = &self.bridge else { return Ok(Vec::new()) };
        let nodes = 0..self.nodes.len();
        let attach = || nodes.map(|node| pass_all(&port_name(node))).collect::<io::Result<_>>();
        bridge.run(attach)?.map_err(NamespaceError::Namespace)
    }

    /// Makes the nodes' uplinks.
    fn join_nodes(
        &self,
        topology: &Topology,
        stacks: Stacks,
    ) -> Result<Option<Namespace>, NamespaceError> {
        let mtu = uplink_mtu(topology, stacks);
        let end =
            |mac: Mac| format!("name {UPLINK_NAME} index {UPLINK} address {} mtu {mtu}", text(mac));
        if let ([a, b], [here, there], None) =
            (topology.nodes.as_slice(), self.nodes.as_slice(), &self.router)
        {
            let (a, b) = (end(a.mac), end(b.mac));
            here.ip(&format!("link add {a} type veth peer {b} netns {}\n", there.path()))?;
            return Ok(None);
        }
        let bridge = Namespace::new()?;
        bridge.set(&EVERYWHERE)?;
        let mut links = format!("link add name join mtu {mtu} type bridge\nlink set join up\n");
        let mut addresses = String::new();
        let nodes = topology.nodes.iter().map(|info| info.mac).zip(&self.nodes).enumerate();
        let nodes = nodes.map(|(index, (mac, node))| (port_name(index), mac, node));
        let router = topology.router.iter().map(|info| info.mac).zip(&self.router);
        let router = router.map(|(mac, router)| ("router".to_owned(), mac, router));
        for (port, mac, namespace) in nodes.chain(router) {
            // Nothing is learnt or flooded: a frame reaches the one that it is for, and no other.
            let _ = writeln!(
                links,
                "link add name {port} mtu {mtu} type veth peer {} netns {}\n\
                 link set {port} master join up\n\
                 link set {port} type bridge_slave learning off flood off mcast_flood off",
                end(mac),
                namespace.path(),
            );
            let _ = writeln!(addresses, "fdb add {} dev {port} master static", text(mac));
        }
        bridge.ip(&links)?;
        bridge.bridge(&addresses)?;
        Ok(Some(bridge))
    }

    /// The commands that give a node its devices, addresses, routes and neighbours.
    fn node_commands(&self, topology: &Topology, node: usize, stacks: Stacks) -> String {
        let mut commands = format!("link set lo up\nlink set {UPLINK_NAME} up\n");
        let mtu = stacks.mtu();
        for (index, info) in topology.nodes.iter().enumerate() {
            for address in &info.addresses {
                let _ = if index != node {
                    neighbour(&mut commands, address, info.mac, UPLINK_NAME)
                } else if stacks == Stacks::Silent {
                    writeln!(commands, "route add blackhole {}", host(address))
                } else {
                    writeln!(
                        commands,
                        "addr add {} dev {UPLINK_NAME} {}",
                        host(address),
                        nodad(address)
                    )
                };
            }
        }
        for (info, pod) in topology.pods.iter().zip(&self.pods) {
            let device = if info.node == node {
                let device = format!("pod{}", info.device);
                let _ = writeln!(
                    commands,
                    "link add name {device} index {} address {} mtu {mtu} type veth \
                     peer name eth0 address {} mtu {mtu} netns {}\n\
                     link set {device} up\n\
                     addr add {}/64 dev {device} nodad",
                    info.device,
                    text(info.gateway),
                    text(info.mac),
                    pod.path(),
                    GATEWAYS[1],
                );
                device
            } else {
                UPLINK_NAME.to_owned()
            };
            let mac = match topology.nodes.get(info.node) {
                Some(other) if info.node != node => other.mac,
                _ => info.mac,
            };
            for address in &info.addresses {
                let _ = neighbour(&mut commands, address, mac, &device);
            }
        }
        if let Some(router) = &topology.router {
            for address in &router.addresses {
                let _ = neighbour(&mut commands, address, router.mac, UPLINK_NAME);
                let _ =
                    writeln!(commands, "route add default via {address} dev {UPLINK_NAME} onlink");
            }
        }
        commands
    }

    /// The commands that give the router its devices, addresses, routes and neighbours. It is silent
    /// about what it knows no way to.
    fn router_commands(&self, topology: &Topology, stacks: Stacks) -> String {
        let mut commands = format!("link set lo up\nlink set {UPLINK_NAME} up\n");
        let Some(router) = &topology.router else { return commands };
        for address in &router.addresses {
            let _ = writeln!(
                commands,
                "addr add {} dev {UPLINK_NAME} {}",
                host(address),
                nodad(address)
            );
        }
        let _ = writeln!(commands, "route add blackhole 0.0.0.0/0\nroute add blackhole ::/0");
        let known = topology.pods.iter().filter(|_| router.knows_pods);
        let pods = known.flat_map(|info| info.addresses.iter().map(|ip| (*ip, info.node)));
        let routes = router.routes.iter().map(|(address, node)| (IpAddr::from(*address), *node));
        let nodes = topology.nodes.iter().enumerate();
        let nodes = nodes.flat_map(|(node, info)| info.addresses.iter().map(move |ip| (*ip, node)));
        for (address, node) in nodes.chain(pods).chain(routes) {
            if let Some(info) = topology.nodes.get(node) {
                let _ = neighbour(&mut commands, &address, info.mac, UPLINK_NAME);
            }
        }
        for (index, (info, client)) in topology.clients.iter().zip(&self.clients).enumerate() {
            let mtu = if info.mtu == 0 { stacks.mtu() } else { info.mtu };
            let _ = writeln!(
                commands,
                "link add name client{index} address {} mtu {mtu} type veth \
                 peer name eth0 address {} mtu {mtu} netns {}\n\
                 link set client{index} up",
                text(info.gateway),
                text(info.mac),
                client.path(),
            );
            for address in &info.addresses {
                let _ = neighbour(&mut commands, address, info.mac, &format!("client{index}"));
            }
        }
        commands
    }
}

/// The name of the bridge's port of a node.
pub fn port_name(node: usize) -> String {
    format!("node{node}")
}

/// The largest IP packet between the nodes, in bytes.
fn uplink_mtu(topology: &Topology, stacks: Stacks) -> u32 {
    if topology.mtu == 0 { stacks.mtu() } else { topology.mtu }
}

/// The commands that make a pod's device ready, and an answering pod's addresses and routes.
fn pod_commands(addresses: &[IpAddr], gateway: Mac, stacks: Stacks) -> String {
    let mut commands = "link set lo up\nlink set eth0 up\n".to_owned();
    if stacks == Stacks::Silent {
        return commands;
    }
    for address in addresses {
        let _ = writeln!(commands, "addr add {} dev eth0 {}", host(address), nodad(address));
    }
    for (family, next) in GATEWAYS.into_iter().enumerate() {
        let _ =
            writeln!(commands, "neigh add {next} lladdr {} dev eth0 nud permanent", text(gateway));
        if addresses.iter().any(|address| address.is_ipv6() == (family == 1)) {
            let _ = writeln!(commands, "route add default via {next} dev eth0 onlink");
        }
    }
    commands
}

/// A neighbour, and the way to it.
fn neighbour(
    commands: &mut String,
    address: &IpAddr,
    mac: Mac,
    device: &str,
) -> Result<(), std::fmt::Error> {
    writeln!(
        commands,
        "neigh add {address} lladdr {} dev {device} nud permanent\nroute add {} dev {device}",
        text(mac),
        host(address),
    )
}

/// The name of a device of the calling thread's namespace; `None` where there is none.
fn device_name(device: IfIndex) -> Option<String> {
    let mut name = [0_u8; libc::IF_NAMESIZE];
    // SAFETY: the buffer has the size that the function asks for.
    let found = unsafe { libc::if_indextoname(device, name.as_mut_ptr().cast()) };
    let name = CStr::from_bytes_until_nul(&name).ok()?;
    (!found.is_null()).then(|| name.to_string_lossy().into_owned())
}

/// An address as a range of one.
fn host(address: &IpAddr) -> String {
    format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 })
}

/// IPv6 addresses are used at once.
const fn nodad(address: &IpAddr) -> &'static str {
    if address.is_ipv6() { "nodad" } else { "" }
}

fn text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
