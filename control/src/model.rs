//! The state of a cluster, checked and simplified: all that tables are made from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use twinpath_core::wire;

use crate::objects::ObjectName;
use crate::problem::Problem;
use crate::read::Objects;

mod claims;
mod eligible;
mod endpoints;
mod health;
mod host_ports;
mod infrastructure;
mod parse;
mod port;
mod services;

pub(crate) use claims::{Claim, Claims, unspecified};
pub use eligible::{Client, Eligible, Place};
pub(crate) use endpoints::{group, service_of};
pub use health::HealthCheck;
pub(crate) use infrastructure::{mention, pod};
pub(crate) use parse::address;
pub use port::{
    Distribution, ForwardingMode, Frontend, FrontendKind, ServiceKind, ServicePort, Target,
    TrafficPolicy,
};
pub(crate) use services::{Given, service};

/// The annotation of a Service that names its [`Algorithm`](twinpath_core::service::Algorithm):
/// `random` or `maglev`.
pub const ALGORITHM_ANNOTATION: &str = "twinpath.dev/algorithm";

/// The annotation of a Service that names its [`ForwardingMode`]: `snat` or `dsr`.
pub const FORWARDING_ANNOTATION: &str = "twinpath.dev/forwarding-mode";

/// A cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// What is served, the host ports of pods included. No two of them share a frontend on a node.
    pub services: BTreeMap<PortName, ServicePort>,
    /// The nodes by name. Those that only a pod or an endpoint mentions are here without addresses.
    pub nodes: BTreeMap<String, Node>,
    /// The pods that run on a node and have addresses. Those that only an endpoint mentions are here
    /// with the addresses that it gives.
    pub pods: BTreeMap<ObjectName, Pod>,
    /// Where cluster addresses come from, each range once; empty where the objects do not say.
    pub service_ranges: BTreeSet<Range>,
}

impl State {
    /// Checks objects. What cannot be used is left out and named among the problems: those of nodes,
    /// pods and ranges, then those of endpoints, of services, and of host ports, each by name.
    pub fn new(objects: &Objects) -> (Self, Vec<Problem>) {
        let (state, _, problems) = Self::with_claims(objects);
        (state, problems)
    }

    /// The same, with who claimed which frontend.
    pub(crate) fn with_claims(objects: &Objects) -> (Self, Claims, Vec<Problem>) {
        let mut problems = Vec::new();
        let mut state = Self::default();
        infrastructure::nodes(objects, &mut state, &mut problems);
        infrastructure::pods(objects, &mut state, &mut problems);
        infrastructure::service_ranges(objects, &mut state, &mut problems);
        let groups = endpoints::groups(objects, &mut problems);
        let mut claims = Claims::default();
        services::services(objects, &groups, &mut state, &mut claims, &mut problems);
        host_ports::host_ports(objects, &mut state, &mut claims, &mut problems);
        infrastructure::mentioned(objects, &mut state);
        (state, claims, problems)
    }
}

/// What names a port of a service for as long as it exists, or the host port of a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortName {
    /// The service; of a host port, the pod.
    pub service: ObjectName,
    /// The port's name; may be empty where the service has one port. Of a host port, `hostPort 8080` or
    /// `hostPort 192.168.0.1:8080`, which is the name of no service's port since it has a space.
    pub port: String,
    /// Its protocol.
    pub protocol: Protocol,
}

impl fmt::Display for PortName {
    /// `default/web:http/TCP`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.service)?;
        if !self.port.is_empty() {
            write!(f, ":{}", self.port)?;
        }
        write!(f, "/{}", self.protocol)
    }
}

/// A transport protocol that services are served on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP. Its ports cannot be rewritten, only its addresses.
    Sctp,
}

impl Protocol {
    /// The protocol number of IANA.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => wire::TCP,
            Self::Udp => wire::UDP,
            Self::Sctp => wire::SCTP,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}

/// What serves a service's port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address.
    pub address: IpAddr,
    /// Its port, host order.
    pub port: u16,
    /// Takes connections.
    pub ready: bool,
    /// Answers, be it terminating or not.
    pub serving: bool,
    /// Is being shut down.
    pub terminating: bool,
    /// Where it runs, if that is known.
    pub node: Option<String>,
    /// Its pod, if it is one.
    pub pod: Option<ObjectName>,
    /// The zone in which it runs, if that is known.
    pub zone: Option<String>,
    /// The zones for whose clients it is meant; empty where nothing is said.
    pub for_zones: Vec<String>,
    /// The nodes for whose clients it is meant; empty where nothing is said.
    pub for_nodes: Vec<String>,
}

impl Endpoint {
    /// One that is ready, and of which nothing else is known.
    pub const fn new(address: IpAddr, port: u16) -> Self {
        Self {
            address,
            port,
            ready: true,
            serving: true,
            terminating: false,
            node: None,
            pod: None,
            zone: None,
            for_zones: Vec::new(),
            for_nodes: Vec::new(),
        }
    }

    /// Whether it is known to run on this node.
    pub fn is_on(&self, node: &str) -> bool {
        self.node.as_deref() == Some(node)
    }

    /// Whether it takes connections only where nobody else does, and keeps those that it has.
    pub const fn is_draining(&self) -> bool {
        !self.ready && self.serving && self.terminating
    }
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its internal addresses, of both families.
    pub addresses: Vec<IpAddr>,
    /// Its external addresses, of both families.
    pub external_addresses: Vec<IpAddr>,
    /// Its zone, if it says so.
    pub zone: Option<String>,
    /// The ranges of its pods' addresses.
    pub pod_ranges: Vec<Range>,
}

impl Node {
    /// All its addresses: the internal ones, then the external ones.
    pub fn all_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses.iter().chain(&self.external_addresses).copied()
    }
}

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range {
    /// An address in it.
    pub address: IpAddr,
    /// How many leading bits its addresses share.
    pub length: u8,
}

impl Range {
    /// The range of one address.
    pub const fn of(address: IpAddr) -> Self {
        Self { address, length: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// Its first address.
    pub fn first(&self) -> IpAddr {
        let shift = |bits: u32| bits.saturating_sub(u32::from(self.length));
        match self.address {
            IpAddr::V4(ip) => {
                let mask = u32::MAX.checked_shl(shift(32)).unwrap_or(0);
                Ipv4Addr::from_bits(ip.to_bits() & mask).into()
            }
            IpAddr::V6(ip) => {
                let mask = u128::MAX.checked_shl(shift(128)).unwrap_or(0);
                Ipv6Addr::from_bits(ip.to_bits() & mask).into()
            }
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: ObjectName,
    /// Its addresses, of both families.
    pub addresses: Vec<IpAddr>,
    /// Where it runs.
    pub node: String,
    /// Whether its addresses are the node's own.
    pub host_network: bool,
}

#[cfg(test)]
mod tests;
