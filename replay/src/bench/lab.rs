//! The place where one subject is measured: namespaces of this process, which vanish with it.
//!
//! ```text
//!   client   eth0 ──── pod10 ┐
//!             10        10   │
//!   pod      eth0 ──── pod11 ┤ node   eth0 ──────── eth0   router
//!             11        11   │         2             2
//!   pod      eth0 ──── pod12 ┘
//!             12        12
//! ```
//!
//! The router's namespace stands for all that is beyond the node: it has the addresses of the other
//! node's pods and of a client outside. Every neighbour is entered beforehand, since what counts frames
//! would eat the answers of those that are asked for.

use std::fmt::Write as _;
use std::sync::Arc;

use twinpath_kernel::live::Sinks;
use twinpath_kernel::veth::driver::put_together;
use twinpath_kernel::veth::netns::Namespace;
use twinpath_sim::topology::{Mac, PodInfo, Topology};
use twinpath_sim::world::WorldError;

use super::cluster::{
    self, FAR_ADDRESS, FAR_RANGES, NODE, NODE_ADDRESS, OUTSIDE, REMOTE, ROUTER_ADDRESS,
};
use super::datapath::Datapath;
use super::live::Opened;
use super::result::Measure;
use super::subject::Subject;

/// The device of the node and of the router towards each other.
pub const UPLINK: &str = "eth0";
/// The pods' next hop, which their node's side of the pair answers for.
const GATEWAY: &str = "169.254.1.1";

/// Where packets from outside are translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// At tc, or in the stack.
    Tc,
    /// At XDP of the node's device, as far as the subject has something there.
    Xdp,
}

impl Hook {
    /// The name in figures.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tc => "tc",
            Self::Xdp => "xdp",
        }
    }
}

/// One subject with a number of services, ready for packets.
pub struct Lab {
    /// Whose it is.
    pub subject: Subject,
    /// Where it translates.
    pub hook: Hook,
    /// How many services there are.
    pub services: u32,
    /// What could not be measured here, and why.
    pub given_up: Vec<(Measure, String)>,
    /// The cluster's devices and link addresses.
    pub topology: Topology,
    pub(super) sinks: Option<Sinks>,
    /// What of the subject there is connected to live frames.
    pub(super) opened: Option<Opened>,
    /// What carries packets: before the namespaces, so that it leaves them while they are there.
    pub datapath: Datapath,
    /// The node. Shared, so that a thread can change it while another sends.
    pub node: Arc<Namespace>,
    /// The pod that asks.
    pub client: Namespace,
    /// The pods of the node that serve: those of [`cluster::LOCAL`].
    pub backends: [Namespace; 2],
    /// All that is beyond the node.
    pub router: Namespace,
}

/// Parameters of every namespace: no packets of the kernel's own making.
const EVERYWHERE: [(&str, &str); 4] = [
    ("ipv6/conf/all/disable_ipv6", "1"),
    ("ipv6/conf/default/disable_ipv6", "1"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
];

/// Parameters of the node.
const FORWARDS: [(&str, &str); 3] = [
    ("ipv4/ip_forward", "1"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
];

impl Lab {
    /// Makes the namespaces and gives the node what the subject has. With 100,000 services that takes
    /// seconds; with rules for 10,000, a minute or more.
    pub fn new(subject: Subject, hook: Hook, services: u32) -> Result<Self, WorldError> {
        let state = cluster::state(services);
        let mut topology = Topology::new(&state);
        topology.add_router(vec![ROUTER_ADDRESS.into()]);
        let new = |parameters: &[(&str, &str)]| -> Result<Namespace, WorldError> {
            let namespace = Namespace::new()?;
            namespace.set(&EVERYWHERE)?;
            namespace.set(parameters)?;
            Ok(namespace)
        };
        let node = new(&FORWARDS)?;
        let (client, router) = (new(&[])?, new(&[])?);
        let backends = [new(&[])?, new(&[])?];
        node.ip(&node_commands(&topology, &router)?)?;
        let pods = topology.pods.iter().filter(|pod| is_here(&topology, pod));
        let namespaces = [&client, &backends[0], &backends[1]];
        for (pod, namespace) in pods.zip(namespaces) {
            let path = namespace.path();
            node.ip(&pod_device(pod, &path))?;
            namespace.ip(&pod_commands(pod))?;
        }
        router.ip(&router_commands(&topology)?)?;
        node.run(|| put_together(UPLINK))?.map_err(failed)?;
        let datapath = Datapath::new(subject, hook, &state, &topology, &node)?;
        if !matches!(datapath, Datapath::Bare(_) | Datapath::Twinpath(_))
            && subject != Subject::Forward
        {
            // As behind a device that has checked them.
            node.set(&[("netfilter/nf_conntrack_checksum", "0")])?;
        }
        Ok(Self {
            subject,
            hook,
            services,
            given_up: Vec::new(),
            topology,
            sinks: None,
            opened: None,
            datapath,
            node: Arc::new(node),
            client,
            backends,
            router,
        })
    }

    /// Whether it is one of those that twinpath is compared with.
    pub fn is_rival(&self) -> bool {
        Subject::RIVALS.contains(&self.subject)
    }

    /// Takes off what live measurements have put there, so that sockets get packets again.
    pub fn rest(&mut self) {
        self.sinks = None;
        self.opened = None;
    }

    /// The link address of the node's device, of the other node, and of the router.
    pub fn link(&self) -> Result<(Mac, Mac, Mac), WorldError> {
        link(&self.topology)
    }

    /// A pod of the node by its address.
    pub fn pod(&self, address: std::net::Ipv4Addr) -> Result<&PodInfo, WorldError> {
        let mut pods = self.topology.pods.iter();
        let pod = pods.find(|pod| pod.addresses.contains(&address.into()));
        pod.ok_or_else(|| failed(format!("no pod has {address}")))
    }
}

fn is_here(topology: &Topology, pod: &PodInfo) -> bool {
    topology.node(NODE) == Some(pod.node)
}

fn link(topology: &Topology) -> Result<(Mac, Mac, Mac), WorldError> {
    let mac = |name| Some(topology.nodes.get(topology.node(name)?)?.mac);
    let all = || Some((mac(NODE)?, mac(cluster::FAR)?, topology.router.as_ref()?.mac));
    all().ok_or_else(|| failed("a cluster without nodes"))
}

fn node_commands(topology: &Topology, router: &Namespace) -> Result<String, WorldError> {
    let (own, far, outside) = link(topology)?;
    let [own, far, outside] = [own, far, outside].map(text);
    let mut commands = format!(
        "link add name {UPLINK} index 2 address {own} type veth \
         peer name {UPLINK} index 2 address {outside} netns {}\n\
         link set lo up\nlink set {UPLINK} up\n\
         addr add {NODE_ADDRESS}/24 dev {UPLINK}\n\
         neigh add {FAR_ADDRESS} lladdr {far} dev {UPLINK} nud permanent\n\
         neigh add {ROUTER_ADDRESS} lladdr {outside} dev {UPLINK} nud permanent\n\
         route add default via {ROUTER_ADDRESS}\n",
        router.path()
    );
    for (range, length) in FAR_RANGES {
        let _ = writeln!(commands, "route add {range}/{length} via {FAR_ADDRESS}");
    }
    Ok(commands)
}

fn pod_device(pod: &PodInfo, path: &str) -> String {
    let (number, gateway, mac) = (pod.device, text(pod.gateway), text(pod.mac));
    let mut commands = format!(
        "link add name pod{number} index {number} address {gateway} type veth \
         peer name eth0 index {number} address {mac} netns {path}\n\
         link set pod{number} up\n"
    );
    for address in &pod.addresses {
        let _ = writeln!(
            commands,
            "neigh add {address} lladdr {mac} dev pod{number} nud permanent\n\
             route add {address}/32 dev pod{number} src {NODE_ADDRESS}"
        );
    }
    commands
}

fn pod_commands(pod: &PodInfo) -> String {
    let mut commands = "link set lo up\nlink set eth0 up\n".to_owned();
    for address in &pod.addresses {
        let _ = writeln!(commands, "addr add {address}/32 dev eth0");
    }
    let _ = writeln!(
        commands,
        "neigh add {GATEWAY} lladdr {} dev eth0 nud permanent\n\
         route add default via {GATEWAY} dev eth0 onlink",
        text(pod.gateway)
    );
    commands
}

fn router_commands(topology: &Topology) -> Result<String, WorldError> {
    let own = text(link(topology)?.0);
    let mut commands = format!(
        "link set lo up\nlink set {UPLINK} up\n\
         addr add {ROUTER_ADDRESS}/24 dev {UPLINK}\n\
         addr add {OUTSIDE}/32 dev lo\n\
         neigh add {NODE_ADDRESS} lladdr {own} dev {UPLINK} nud permanent\n\
         route add default via {NODE_ADDRESS} dev {UPLINK}\n"
    );
    for address in REMOTE {
        let _ = writeln!(commands, "addr add {address}/32 dev lo");
    }
    Ok(commands)
}

fn text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

pub(super) fn failed(error: impl std::fmt::Display) -> WorldError {
    WorldError::Failed(error.to_string())
}
