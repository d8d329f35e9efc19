//! Which service is at an address and port: for packets whose decision does not say.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use twinpath_control::model::{Node, PortName};
use twinpath_control::tables::Names;

use crate::cluster::Cluster;

/// Services by where they are reached, and by name. Dumps have tens of thousands, and packets are many.
#[derive(Debug, Default)]
pub struct Serving {
    frontends: HashMap<(IpAddr, u16, u8), u32>,
    nodes: HashSet<IpAddr>,
    ids: HashMap<PortName, u32>,
}

impl Serving {
    /// Of a cluster and what becomes of it. Of two services at one place, the earlier counts.
    pub fn new(cluster: &Cluster, names: &Names) -> Self {
        let ids: HashMap<PortName, u32> =
            names.services.iter().map(|(id, name)| (name.clone(), *id)).collect();
        let (mut frontends, mut nodes) = (HashMap::new(), HashSet::new());
        let later = cluster.changes.iter().map(|change| &change.state);
        let states = || std::iter::once(&cluster.state).chain(later.clone());
        for state in states() {
            nodes.extend(state.nodes.values().flat_map(Node::all_addresses));
        }
        for (name, port) in states().flat_map(|state| &state.services) {
            let Some(id) = ids.get(name) else { continue };
            for frontend in &port.frontends {
                let key = (frontend.address, frontend.port, name.protocol.number());
                frontends.entry(key).or_insert(*id);
            }
        }
        Self { frontends, nodes, ids }
    }

    /// The number of the service at an address and port, host order: one of its own, or a node's.
    pub fn at(&self, address: IpAddr, port: u16, protocol: u8) -> Option<u32> {
        let own = self.frontends.get(&(address, port, protocol));
        let found = own.or_else(|| {
            let any: IpAddr = match address {
                IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            let here = self.nodes.contains(&address);
            here.then(|| self.frontends.get(&(any, port, protocol)))?
        });
        found.copied()
    }

    /// The number of a service by name.
    pub fn id(&self, name: &PortName) -> Option<u32> {
        self.ids.get(name).copied()
    }
}
