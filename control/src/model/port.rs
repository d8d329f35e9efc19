//! A port of a service.

use std::fmt;
use std::net::IpAddr;

use twinpath_core::service::Algorithm;

use super::{Endpoint, Range};

/// A port of a service, or the host port of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServicePort {
    /// The type of its service.
    pub kind: ServiceKind,
    /// The number on which clients reach it, host order.
    pub port: u16,
    /// What the service says about the port of the pods. The endpoints have the numbers.
    pub target: Target,
    /// The number on which it is reached at the nodes' addresses, host order.
    pub node_port: Option<u16>,
    /// Where it is reached.
    pub frontends: Vec<Frontend>,
    /// How a backend is chosen, where the service says so itself.
    pub algorithm: Option<Algorithm>,
    /// How packets get to a backend on another node, where the service says so itself.
    pub forwarding: Option<ForwardingMode>,
    /// Which endpoints clients outside the cluster get at frontends that they can reach.
    pub external_policy: TrafficPolicy,
    /// Which endpoints clients in the cluster get at the cluster address.
    pub internal_policy: TrafficPolicy,
    /// For how many seconds a client keeps its backend; `None` for no longer than a connection.
    pub affinity: Option<u32>,
    /// From where clients may use the load balancer's addresses; empty for everywhere.
    pub source_ranges: Vec<Range>,
    /// The port on which a node tells the load balancer whether it has endpoints, host order.
    pub health_check_port: Option<u16>,
    /// Which endpoints are preferred. The datapath goes by the hints of the endpoints, which the cluster
    /// makes from this.
    pub distribution: Distribution,
    /// Whether endpoints count as ready in any case. Those of this port do so already.
    pub publish_not_ready: bool,
    /// The only node that serves it; `None` for all of them.
    pub node: Option<String>,
    /// What serves it: both families, by address and port, each pair once.
    pub endpoints: Vec<Endpoint>,
}

/// The `spec.type` of a Service that has an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServiceKind {
    /// Reached within the cluster.
    #[default]
    ClusterIp,
    /// Reached on every node's addresses, too.
    NodePort,
    /// Reached on addresses from outside, too.
    LoadBalancer,
    /// No service: a port of a pod that is reached on the addresses of its node.
    HostPort,
}

impl ServiceKind {
    /// As in `spec.type`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClusterIp => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::LoadBalancer => "LoadBalancer",
            Self::HostPort => "HostPort",
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

impl Default for Target {
    fn default() -> Self {
        Self::Number(0)
    }
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
    /// The address. Of a node port, and of a host port, the unspecified one stands for all addresses of
    /// the node that are of its family.
    pub address: IpAddr,
    /// The port, host order.
    pub port: u16,
}

/// What makes an address a frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FrontendKind {
    /// It is one of the service's cluster addresses.
    ClusterIp,
    /// The load balancer gave it.
    LoadBalancer,
    /// It is one of the service's `externalIPs`.
    ExternalIp,
    /// It is a node's, and the port that of the service on all nodes.
    NodePort,
    /// It is a node's, and the port that of a pod on this node.
    HostPort,
}

impl FrontendKind {
    /// Whether clients outside the cluster reach it, too.
    pub const fn is_external(self) -> bool {
        !matches!(self, Self::ClusterIp)
    }
}

/// Which endpoints take the connections that come to a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrafficPolicy {
    /// Those of the whole cluster.
    #[default]
    Cluster,
    /// Those on the node.
    Local,
}

/// Which endpoints of a cluster are preferred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Distribution {
    /// None.
    #[default]
    Anywhere,
    /// As many to each zone as it has clients (`service.kubernetes.io/topology-mode: Auto`).
    Auto,
    /// Those of the client's zone (`PreferSameZone`, and `PreferClose`, its older name).
    SameZone,
    /// Those of the client's node (`PreferSameNode`).
    SameNode,
}

/// How packets from outside get to a backend on another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardingMode {
    /// With the source address of the node, so that replies come back through it.
    Snat,
    /// With their own; the backend's node answers the client itself (direct server return).
    Dsr,
}
