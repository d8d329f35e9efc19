//! The state of a cluster, checked and simplified: all that tables are made from.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use twinpath_core::service::Algorithm;
use twinpath_core::wire;

use crate::objects::ObjectName;
use crate::problem::Problem;
use crate::read::Objects;

mod endpoints;
mod infrastructure;
mod parse;
mod services;

/// The annotation of a Service that names its [`Algorithm`]: `random` or `maglev`.
pub const ALGORITHM_ANNOTATION: &str = "twinpath.dev/algorithm";

/// A cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// What is served. No two of them share a frontend.
    pub services: BTreeMap<PortName, ServicePort>,
    /// The nodes by name. Those that only a pod or an endpoint mentions are here without addresses.
    pub nodes: BTreeMap<String, Node>,
    /// The pods that run on a node and have addresses. Those that only an endpoint mentions are here
    /// with the addresses that it gives.
    pub pods: BTreeMap<ObjectName, Pod>,
}

impl State {
    /// Checks objects. What cannot be used is left out and named among the problems: those of nodes and
    /// pods, then those of endpoints, then those of services, each by name.
    pub fn new(objects: &Objects) -> (Self, Vec<Problem>) {
        let mut problems = Vec::new();
        let mut state = Self::default();
        infrastructure::nodes(objects, &mut state, &mut problems);
        infrastructure::pods(objects, &mut state, &mut problems);
        let groups = endpoints::groups(objects, &mut problems);
        services::services(objects, &groups, &mut state, &mut problems);
        infrastructure::mentioned(objects, &mut state);
        (state, problems)
    }
}

/// What names a port of a service for as long as it exists.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortName {
    /// The service.
    pub service: ObjectName,
    /// The port's name; may be empty where the service has one port.
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
}

impl Protocol {
    /// The protocol number of IANA.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => wire::TCP,
            Self::Udp => wire::UDP,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// A port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// The type of its service.
    pub kind: ServiceKind,
    /// The number on which clients reach it, host order.
    pub port: u16,
    /// What the service says about the port of the pods. The endpoints have the numbers.
    pub target: Target,
    /// Where it is reached.
    pub frontends: Vec<Frontend>,
    /// How a backend is chosen, where the service says so itself.
    pub algorithm: Option<Algorithm>,
    /// What serves it: both families, by address and port, each pair once.
    pub endpoints: Vec<Endpoint>,
}

/// The `spec.type` of a Service that has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceKind {
    /// Reached within the cluster.
    ClusterIp,
    /// Reached on every node's addresses, too.
    NodePort,
    /// Reached on addresses from outside, too.
    LoadBalancer,
}

impl ServiceKind {
    /// As in `spec.type`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClusterIp => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::LoadBalancer => "LoadBalancer",
        }
    }
}

/// The `targetPort` of a service's port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A number, host order.
    Number(u16),
    /// The name that a container gives its port; a number per pod.
    Name(String),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// An address and port on which a service is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frontend {
    /// Why it is one.
    pub kind: FrontendKind,
    /// The address.
    pub address: IpAddr,
    /// The port, host order.
    pub port: u16,
}

/// What makes an address a frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FrontendKind {
    /// It is one of the service's cluster addresses.
    ClusterIp,
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
}

impl Endpoint {
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
    /// The ranges of its pods' addresses.
    pub pod_ranges: Vec<Range>,
}

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range {
    /// An address in it.
    pub address: IpAddr,
    /// How many leading bits its addresses share.
    pub length: u8,
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
