//! Sources that the cluster does not know: which of them are outside, and where the others are.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use twinpath_control::model::{Client, FrontendKind, Range, ServicePort, State, TrafficPolicy};
use twinpath_core::address::Address;
use twinpath_sim::engine::NodeIndex;
use twinpath_sim::topology::{Owner, Topology};

use super::At;

/// What tells a client outside from a pod that the dump does not have.
#[derive(Debug, Default)]
pub struct Outside {
    /// Addresses meant for clients outside, and the node to which the network brings their packets.
    frontends: BTreeMap<IpAddr, NodeIndex>,
    /// Where the addresses of pods come from.
    ranges: Vec<(Range, NodeIndex)>,
    /// Every unknown source is where the user has said.
    said: bool,
}

impl Outside {
    /// For a state of the cluster.
    pub fn new(state: &State, topology: &Topology, at: At) -> Self {
        let mut frontends = BTreeMap::new();
        for port in state.services.values() {
            for frontend in &port.frontends {
                if matches!(frontend.kind, FrontendKind::LoadBalancer | FrontendKind::ExternalIp) {
                    let node = attractor(state, topology, port, frontend.kind, frontend.address);
                    frontends.entry(frontend.address).or_insert(node.unwrap_or(at.node));
                }
            }
        }
        let ranges = state.nodes.iter().filter_map(|(name, node)| {
            let index = topology.node(name)?;
            Some(node.pod_ranges.iter().map(move |range| (*range, index)))
        });
        Self { frontends, ranges: ranges.flatten().collect(), said: at.said }
    }

    /// By which node the packets of an unknown source come in, if it is outside.
    pub fn of(
        &self,
        topology: &Topology,
        source: IpAddr,
        destination: &Address,
    ) -> Option<NodeIndex> {
        if self.said || self.node_of(source).is_some() {
            return None;
        }
        match topology.owner(destination) {
            Some(Owner::Node(node)) => Some(node),
            _ => self.frontends.get(&IpAddr::from(*destination)).copied(),
        }
    }

    /// The node whose pods have addresses like this.
    pub fn node_of(&self, address: IpAddr) -> Option<NodeIndex> {
        let found = self.ranges.iter().find(|(range, _)| contains(range, address));
        found.filter(|_| !self.said).map(|(_, node)| *node)
    }
}

/// The first node that a load balancer would send to: under the policy `Local`, one with an endpoint.
fn attractor(
    state: &State,
    topology: &Topology,
    port: &ServicePort,
    kind: FrontendKind,
    address: IpAddr,
) -> Option<NodeIndex> {
    let policy = port.policy(kind, Client::External)?;
    if policy == TrafficPolicy::Cluster {
        return None;
    }
    let serves = |node: &str| {
        !port.eligible(policy, address.is_ipv4(), &state.place(node)).endpoints.is_empty()
    };
    topology.nodes.iter().position(|node| serves(&node.name))
}

fn contains(range: &Range, address: IpAddr) -> bool {
    range.address.is_ipv4() == address.is_ipv4()
        && Range { address, length: range.length }.first() == range.first()
}

/// The address under which ports of nodes are served.
pub fn unspecified(is_v4: bool) -> Address {
    if is_v4 { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) }.into()
}
