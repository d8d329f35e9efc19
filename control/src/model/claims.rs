//! Which service has which frontend.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Node, PortName, Protocol};
use crate::objects::ObjectName;

/// The frontends that are taken, and by whom.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    everywhere: HashMap<Claim, PortName>,
    /// Host ports, each with its address, by node.
    nodes: HashMap<String, HostPorts>,
    /// What somebody claimed in vain.
    contested: HashSet<Claim>,
}

/// A frontend: address, port in host order, protocol.
pub(crate) type Claim = (IpAddr, u16, Protocol);

type HostPorts = HashMap<(u16, Protocol), Vec<(IpAddr, PortName)>>;

/// The outcome of a claim.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Claimed {
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
        let claim = (address, port, name.protocol);
        match self.everywhere.entry(claim) {
            Entry::Vacant(entry) => {
                entry.insert(name.clone());
                Claimed::Now
            }
            Entry::Occupied(entry) if entry.get() == name => Claimed::Before,
            Entry::Occupied(entry) => {
                self.contested.insert(claim);
                Claimed::By(entry.get().clone())
            }
        }
    }

    /// What only one of the two claims.
    pub(crate) fn differences<'a>(&'a self, other: &'a Self) -> Vec<&'a Claim> {
        let only = |one: &'a Self, other: &'a Self| {
            one.everywhere.keys().filter(|claim| !other.everywhere.contains_key(claim))
        };
        only(self, other).chain(only(other, self)).collect()
    }

    /// Whether others have claims that these would fight with, or have lost to them.
    pub(crate) fn clash(&self, name: &ObjectName, other: &Self) -> bool {
        !other.contested.is_empty()
            || other.everywhere.keys().any(|claim| {
                self.contested.contains(claim)
                    || self.everywhere.get(claim).is_some_and(|owner| owner.service != *name)
            })
    }

    /// Forgets these claims.
    pub(crate) fn release(&mut self, other: &Self) {
        for claim in other.everywhere.keys() {
            self.everywhere.remove(claim);
        }
    }

    /// Takes these over, which do not clash.
    pub(crate) fn take(&mut self, other: Self) {
        self.everywhere.extend(other.everywhere);
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
