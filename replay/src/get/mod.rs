//! The tables of a node, as the datapath's maps hold them: those that the control plane writes, and those
//! that the datapath itself writes while packets go through the simulator.
//!
//! | for | see |
//! |---|---|
//! | frontends with their backends, `ipvsadm`'s form | [`services`] |
//! | the entries of the service table, one by one | [`lb`] |
//! | who has which share of a Maglev table, and what moves when one goes | [`maglev`] |
//! | connections, `conntrack`'s form, and what they translate | [`connections`] |
//! | backends, policies, addresses, affinity, fragments | [`rest`] |
//! | columns, JSON lines | [`mod@print`] |

pub mod connections;
pub mod lb;
pub mod maglev;
pub mod print;
pub mod rest;
pub mod services;

use std::net::{IpAddr, SocketAddr};

use twinpath_control::model::{PortName, ServicePort, State};
use twinpath_control::objects::ObjectName;
use twinpath_control::tables::{BackendName, Desired, Names};
use twinpath_core::address::Address;
use twinpath_core::affinity::{Affinity, Client};
use twinpath_core::backend::BackendId;
use twinpath_core::bytes::Be16;
use twinpath_core::conntrack::Flow;
use twinpath_core::fragment::{Datagram, Ports};
use twinpath_core::seam::Nanos;
use twinpath_core::service::ServiceId;
use twinpath_core::tuple::Tuple;
use twinpath_core::wire;
use twinpath_sim::engine::{Engine, SimEngine};
use twinpath_sim::topology::Topology;
use twinpath_sim::world::{ModelWorld, WorldError};

/// The tables of some nodes at one moment.
#[derive(Debug)]
pub struct View {
    /// The cluster that they were made from.
    pub state: State,
    /// What the numbers in them stand for.
    pub names: Names,
    /// Who is where.
    pub topology: Topology,
    /// The time, in nanoseconds since 1970.
    pub now: Nanos,
    /// The nodes that were asked for.
    pub nodes: Vec<NodeView>,
}

/// The tables of one node.
#[derive(Debug)]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// What the control plane wrote.
    pub tables: Desired,
    /// Halves of connections, by key.
    pub conntrack: Vec<(Tuple, Flow)>,
    /// Who is given which backend again, by key.
    pub affinities: Vec<(Client, Affinity)>,
    /// Ports of datagrams in fragments, by key.
    pub fragments: Vec<(Datagram, Ports)>,
}

impl View {
    /// The tables of these nodes of a world that holds this state.
    pub fn new(
        world: &mut ModelWorld<SimEngine>,
        state: &State,
        now: Nanos,
        mut wanted: impl FnMut(&str) -> bool,
    ) -> Result<Self, WorldError> {
        let failed = |error: twinpath_sim::engine::SimError| WorldError::Failed(error.to_string());
        let names = world.plan.names(state);
        let topology = world.cluster.topology.clone();
        let mut nodes = Vec::new();
        for (index, info) in topology.nodes.iter().enumerate() {
            if !wanted(&info.name) {
                continue;
            }
            let engine = &mut world.cluster.engine;
            nodes.push(NodeView {
                name: info.name.clone(),
                tables: world.plan.tables(&info.name).cloned().unwrap_or_default(),
                conntrack: engine.conntrack(index).map_err(failed)?,
                affinities: engine.affinities(index).map_err(failed)?,
                fragments: engine.fragments(index).map_err(failed)?,
            });
        }
        Ok(Self { state: state.clone(), names, topology, now, nodes })
    }

    /// A service port by its number.
    fn port(&self, id: ServiceId) -> Option<(&PortName, &ServicePort)> {
        let name = self.names.services.get(&id)?;
        Some((name, self.state.services.get(name)?))
    }

    /// `default/web:http/TCP`; empty for no service, the number for one that is gone.
    fn service(&self, id: ServiceId) -> String {
        match self.names.services.get(&id) {
            Some(name) => name.to_string(),
            None if id == 0 => String::new(),
            None => format!("#{id}"),
        }
    }

    /// `10.244.1.11:8080`; empty for no backend, the number for one that is gone.
    fn backend(&self, id: BackendId) -> String {
        match self.names.backends.get(&id) {
            Some(name) => SocketAddr::new(name.address, name.port).to_string(),
            None if id == 0 => String::new(),
            None => format!("#{id}"),
        }
    }

    fn backend_name(&self, id: BackendId) -> Option<&BackendName> {
        self.names.backends.get(&id)
    }
}

/// Which rows are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Those of services of this namespace.
    pub namespace: Option<String>,
    /// Those of this service.
    pub service: Option<ObjectName>,
}

impl Filter {
    /// Whether rows of a service are.
    pub fn takes(&self, service: &ObjectName) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| *namespace == service.namespace)
            && self.service.as_ref().is_none_or(|wanted| wanted == service)
    }

    /// Whether all rows are.
    pub const fn is_open(&self) -> bool {
        self.namespace.is_none() && self.service.is_none()
    }

    /// Whether rows of the service of this number are; rows of none are where all are.
    fn takes_id(&self, view: &View, id: ServiceId) -> bool {
        match view.names.services.get(&id) {
            Some(name) => self.takes(&name.service),
            None => self.is_open(),
        }
    }
}

/// `10.96.0.80:80`, `[fd00::1]:80`.
fn socket(address: Address, port: Be16) -> SocketAddr {
    SocketAddr::new(IpAddr::from(address), port.get())
}

/// The name of a protocol, or its number.
fn protocol(number: u8) -> String {
    match number {
        wire::TCP => "TCP".into(),
        wire::UDP => "UDP".into(),
        wire::SCTP => "SCTP".into(),
        wire::ICMP => "ICMP".into(),
        wire::ICMPV6 => "ICMPv6".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
