//! Which service has which frontend.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Node, PortName, Protocol};

/// The frontends that are taken, and by whom.
#[derive(Debug, Default)]
pub(super) struct Claims {
    everywhere: HashMap<(IpAddr, u16, Protocol), PortName>,
    /// Host ports, each with its address, by node.
    nodes: HashMap<String, HostPorts>,
}

type HostPorts = HashMap<(u16, Protocol), Vec<(IpAddr, PortName)>>;

/// The outcome of a claim.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Claimed {
    /// It is this one's now.
    Now,
    /// It was this one's already.
    Before,
    /// It is another one's.
    By(PortName),
}

impl Claims {
    /// Claims a frontend on all nodes.
    pub(super) fn everywhere(&mut self, name: &PortName, address: IpAddr, port: u16) -> Claimed {
        match self.everywhere.entry((address, port, name.protocol)) {
            Entry::Vacant(entry) => {
                entry.insert(name.clone());
                Claimed::Now
            }
            Entry::Occupied(entry) if entry.get() == name => Claimed::Before,
            Entry::Occupied(entry) => Claimed::By(entry.get().clone()),
        }
    }

    /// Claims a frontend on one node, after those on all nodes have been. The unspecified address stands
    /// for all of the node's.
    pub(super) fn on_node(
        &mut self,
        name: &PortName,
        node: (&str, Option<&Node>),
        address: IpAddr,
        port: u16,
    ) -> Claimed {
        let mut meant = vec![address, unspecified(address.is_ipv4())];
        if address.is_unspecified() {
            meant.extend(node.1.into_iter().flat_map(Node::all_addresses));
        }
        let meant = meant.into_iter().filter(|other| other.is_ipv4() == address.is_ipv4());
        for address in meant {
            if let Some(other) = self.everywhere.get(&(address, port, name.protocol)) {
                return Claimed::By(other.clone());
            }
        }
        let ports = self.nodes.entry(node.0.to_owned()).or_default();
        let taken = ports.entry((port, name.protocol)).or_default();
        let overlaps = |other: &IpAddr| {
            other.is_ipv4() == address.is_ipv4()
                && (*other == address || other.is_unspecified() || address.is_unspecified())
        };
        match taken.iter().find(|(other, _)| overlaps(other)) {
            Some((_, other)) if other == name => Claimed::Before,
            Some((_, other)) => Claimed::By(other.clone()),
            None => {
                taken.push((address, name.clone()));
                Claimed::Now
            }
        }
    }
}

/// The unspecified address of a family.
pub(crate) const fn unspecified(is_ipv4: bool) -> IpAddr {
    if is_ipv4 { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) }
}
