//! What the cluster of one side says of packets and backends.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use twinpath_control::model::{PortName, State};
use twinpath_control::tables::BackendName;
use twinpath_core::tuple::Tuple;

use crate::cluster::Cluster;
use crate::replay::flows::Role;

/// Frontends and backends of a cluster and of all that becomes of it.
pub struct Known {
    frontends: HashMap<(IpAddr, u16, u8), PortName>,
    /// Those that take packets.
    backends: HashMap<PortName, BTreeSet<SocketAddr>>,
}

impl Known {
    /// Of a cluster.
    pub fn new(cluster: &Cluster) -> Self {
        let mut known = Self { frontends: HashMap::new(), backends: HashMap::new() };
        known.learn(&cluster.state);
        for change in &cluster.changes {
            known.learn(&change.state);
        }
        known
    }

    fn learn(&mut self, state: &State) {
        for (name, port) in &state.services {
            let protocol = name.protocol.number();
            for frontend in &port.frontends {
                let key = (frontend.address, frontend.port, protocol);
                self.frontends.entry(key).or_insert_with(|| name.clone());
            }
            let alive = port.endpoints.iter().filter(|one| one.ready || one.is_draining());
            let backends = self.backends.entry(name.clone()).or_default();
            backends.extend(alive.map(|one| SocketAddr::new(one.address, one.port)));
        }
    }

    /// The service that a packet goes to or comes from.
    pub fn service(&self, tuple: &Tuple, role: Option<Role>) -> Option<&PortName> {
        let (address, port) = match role? {
            Role::Request => (tuple.destination, tuple.destination_port),
            Role::Reply | Role::Orphan => (tuple.source, tuple.source_port),
            Role::Plain => return None,
        };
        let any: IpAddr =
            if tuple.is_v4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let at = |address| self.frontends.get(&(address, port.get(), tuple.protocol));
        at(address.into()).or_else(|| at(any))
    }

    /// Whether a service has this backend, and it takes packets.
    pub fn has(&self, service: &PortName, backend: &BackendName) -> bool {
        let backends = self.backends.get(service);
        backends.is_some_and(|all| all.contains(&SocketAddr::new(backend.address, backend.port)))
    }

    /// The backends of a service that take packets.
    pub fn backends(&self, service: &PortName) -> Option<&BTreeSet<SocketAddr>> {
        self.backends.get(service)
    }
}
