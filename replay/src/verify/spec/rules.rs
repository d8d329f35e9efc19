//! What Kubernetes says of a cluster: who has an address, what is served where, and by whom.
//!
//! Read off the cluster's objects anew for each packet, with no table in between.

use std::net::IpAddr;

use twinpath_control::model::{
    Endpoint, ForwardingMode, Frontend, FrontendKind, PortName, Range, ServicePort, State,
    TrafficPolicy,
};
use twinpath_control::tables::{Dispatch, Mode, Options};
use twinpath_core::service::Algorithm;
use twinpath_core::verdict::IfIndex;

use super::wire::{End, Five, TCP};
use crate::verify::cluster::{NODE, device_of};
use crate::verify::setup::Setup;

/// The cluster as it stands, seen from the node under test.
pub(super) struct Rules {
    pub(super) state: State,
    pub(super) options: Options,
    /// The device that faces other nodes; 0 where the way there is left to the stack.
    pub(super) uplink: IfIndex,
    /// The longest IP packet that it takes; 0 for no limit.
    pub(super) mtu: u32,
    /// Moves with every change of the cluster.
    pub(super) version: u64,
}

/// Who has an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// A pod behind this device.
    Pod(IfIndex),
    /// The node under test.
    Host,
    /// Another node.
    Node,
    /// Somebody else.
    Elsewhere,
}

/// How clients outside reach a backend on another node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    Snat,
    Option,
    Ipip,
    Geneve,
}

/// A frontend.
#[derive(Clone, Copy, Debug)]
pub(super) struct Front<'a> {
    pub(super) name: &'a PortName,
    pub(super) port: &'a ServicePort,
    pub(super) frontend: &'a Frontend,
}

/// Who may get new connections.
#[derive(Clone, Debug, Default)]
pub(super) struct Eligible {
    pub(super) backends: Vec<End>,
    /// There are none here, but others that the policy does not allow.
    pub(super) elsewhere: bool,
}

pub(super) fn contains(range: &Range, address: IpAddr) -> bool {
    range.address.is_ipv4() == address.is_ipv4()
        && Range { address, length: range.length }.first() == range.first()
}

impl Rules {
    pub(super) fn new(state: State, setup: &Setup, uplink: IfIndex, version: u64) -> Self {
        let uplink = if setup.no_uplink { 0 } else { uplink };
        Self { state, options: setup.options(), uplink, mtu: setup.mtu, version }
    }

    pub(super) fn place(&self, address: IpAddr) -> Place {
        if let Some(device) = device_of(address) {
            return Place::Pod(device);
        }
        let owner = self.state.nodes.iter().find(|(_, n)| n.all_addresses().any(|a| a == address));
        match owner {
            Some((name, _)) if name == NODE => Place::Host,
            Some(_) => Place::Node,
            None => Place::Elsewhere,
        }
    }

    pub(super) fn is_here(&self, address: IpAddr) -> bool {
        matches!(self.place(address), Place::Pod(_) | Place::Host)
    }

    /// The address that the node sends from.
    pub(super) fn own(&self, v4: bool) -> Option<IpAddr> {
        let node = self.state.nodes.get(NODE)?;
        node.addresses.iter().copied().find(|address| address.is_ipv4() == v4)
    }

    fn fronts(&self) -> impl Iterator<Item = Front<'_>> {
        self.state.services.iter().flat_map(|(name, port)| {
            port.frontends.iter().map(move |frontend| Front { name, port, frontend })
        })
    }

    /// The frontend that a packet goes to; a node port is one on other nodes, too, where `everywhere`.
    pub(super) fn front(&self, five: &Five, external: bool, everywhere: bool) -> Option<Front<'_>> {
        let (address, port) = five.destination;
        let place = self.place(address);
        let fits = |front: &Front<'_>| {
            front.name.protocol.number() == five.protocol
                && front.frontend.port == port
                && front.frontend.address.is_ipv4() == address.is_ipv4()
                && !(external && front.frontend.kind == FrontendKind::ClusterIp)
        };
        let exact = |front: &Front<'_>| match front.frontend.kind {
            FrontendKind::HostPort if front.frontend.address.is_unspecified() => {
                place == Place::Host
            }
            FrontendKind::NodePort => false,
            _ => front.frontend.address == address,
        };
        let on_nodes = |front: &Front<'_>| {
            front.frontend.kind == FrontendKind::NodePort
                && (place == Place::Host || (place == Place::Node && everywhere))
        };
        let exact = self.fronts().find(|front| fits(front) && exact(front));
        exact.or_else(|| self.fronts().find(|front| fits(front) && on_nodes(front)))
    }

    /// Whether services live on an address, on whatever port.
    pub(super) fn has_services(&self, address: IpAddr) -> bool {
        self.fronts().any(|front| {
            front.frontend.address == address && self.place(address) == Place::Elsewhere
        })
    }

    /// Whether cluster addresses come from a range with this one.
    pub(super) fn is_of_services(&self, address: IpAddr) -> bool {
        self.state.service_ranges.iter().any(|range| contains(range, address))
    }

    /// Whether a pod keeps its own address towards this one.
    pub(super) fn is_near(&self, address: IpAddr) -> bool {
        let mut ranges = self.state.nodes.values().flat_map(|node| &node.pod_ranges);
        self.place(address) != Place::Elsewhere || ranges.any(|range| contains(range, address))
    }

    /// Who may get a new connection to a frontend: who is ready, or, where nobody is, who still answers
    /// while going; of those on this node alone where the policy says so.
    pub(super) fn eligible(&self, front: &Front<'_>, external: bool, v4: bool) -> Eligible {
        let port = front.port;
        let local = match front.frontend.kind {
            FrontendKind::ClusterIp => port.internal_policy == TrafficPolicy::Local,
            FrontendKind::HostPort => false,
            // A client in the cluster is not turned down at an address for those outside.
            _ => external && port.external_policy == TrafficPolicy::Local,
        };
        let draining = |e: &Endpoint| !e.ready && e.serving && e.terminating;
        let family: Vec<&Endpoint> =
            port.endpoints.iter().filter(|e| e.address.is_ipv4() == v4).collect();
        let pick = |usable: &dyn Fn(&Endpoint) -> bool| -> Vec<End> {
            let here = |e: &&&Endpoint| !local || e.node.as_deref() == Some(NODE);
            let found = family.iter().filter(|e| usable(e)).filter(here);
            found.map(|e| (e.address, e.port)).collect()
        };
        let mut backends = pick(&|e| e.ready);
        if backends.is_empty() {
            backends = pick(&draining);
        }
        let elsewhere = backends.is_empty() && family.iter().any(|e| e.ready || draining(e));
        Eligible { backends, elsewhere }
    }

    /// Who is eligible at some frontend of a service, for clients in the cluster or those outside: who has a
    /// connection keeps it when a policy for new ones changes (K-1).
    pub(super) fn members(&self, front: &Front<'_>, external: bool, v4: bool) -> Vec<End> {
        let all = front.port.frontends.iter().map(|frontend| Front { frontend, ..*front });
        let served = all.filter(|f| !external || f.frontend.kind != FrontendKind::ClusterIp);
        served.flat_map(|front| self.eligible(&front, external, v4).backends).collect()
    }

    /// Whether some service still has this backend, be it going.
    pub(super) fn answers(&self, protocol: u8, backend: End) -> bool {
        let ports = self.state.services.iter();
        let mut ports = ports.filter(|(name, _)| name.protocol.number() == protocol);
        ports.any(|(_, port)| {
            port.endpoints.iter().any(|e| {
                (e.address, e.port) == backend && (e.ready || (e.serving && e.terminating))
            })
        })
    }

    /// The backend on this node that a tunnel which ends at `end` is for.
    pub(super) fn tunnelled(&self, front: &Front<'_>, end: IpAddr) -> Option<End> {
        let here = || {
            let all = front.port.endpoints.iter();
            all.filter(|e| e.node.as_deref() == Some(NODE) && e.address == end)
        };
        let ready = here().find(|e| e.ready);
        let found = ready.or_else(|| here().find(|e| e.serving && e.terminating))?;
        Some((found.address, found.port))
    }

    /// How clients outside reach backends of a frontend on other nodes.
    pub(super) fn way(&self, front: &Front<'_>) -> Way {
        if matches!(front.frontend.kind, FrontendKind::HostPort | FrontendKind::ClusterIp) {
            return Way::Snat;
        }
        let direct = match (front.port.forwarding, self.options.mode) {
            (Some(mode), _) => mode == ForwardingMode::Dsr,
            (None, Mode::Snat) => false,
            (None, Mode::Dsr) => true,
            (None, Mode::Hybrid) => front.name.protocol.number() == TCP,
        };
        match self.options.dispatch {
            _ if !direct => Way::Snat,
            Dispatch::Option => Way::Option,
            Dispatch::Ipip => Way::Ipip,
            Dispatch::Geneve => Way::Geneve,
        }
    }

    /// Whether every node chooses the same backend.
    pub(super) fn is_consistent(front: &Front<'_>) -> bool {
        front.frontend.kind != FrontendKind::HostPort
            && front.port.algorithm == Some(Algorithm::Maglev)
    }

    /// Whether a client is turned away by `loadBalancerSourceRanges`.
    pub(super) fn is_out_of_range(front: &Front<'_>, client: IpAddr) -> bool {
        let ranges = &front.port.source_ranges;
        front.frontend.kind == FrontendKind::LoadBalancer
            && !ranges.is_empty()
            && !ranges.iter().any(|range| contains(range, client))
    }

    /// Whether a port is the node's own, which no connection through it gets.
    pub(super) fn is_reserved(&self, port: u16) -> bool {
        self.options.reserved_ports.iter().any(|range| range.contains(&port))
            || self.fronts().any(|front| {
                let own = match front.frontend.kind {
                    FrontendKind::NodePort | FrontendKind::HostPort => true,
                    _ => self.place(front.frontend.address) == Place::Host,
                };
                own && front.frontend.port == port
            })
    }

    /// The address under which a pod sees itself.
    pub(super) fn hairpin(&self, v4: bool) -> Option<IpAddr> {
        let address: IpAddr =
            if v4 { self.options.hairpin4.into() } else { self.options.hairpin6.into() };
        (!address.is_unspecified()).then_some(address)
    }
}

/// Whether an address means several, or one of a link, or none at all: such packets are the stack's.
pub(super) fn is_of_link(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => a.octets()[0] >= 224 || a.octets()[0] == 0,
        IpAddr::V6(a) => a.is_multicast() || a.is_unicast_link_local() || a.is_unspecified(),
    }
}
