//! What is left out of the clusters of both sides alike.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use twinpath_control::model::{PortName, ServiceKind, State};
use twinpath_control::objects::ObjectName;

use crate::cluster::Cluster;

/// A part of clusters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Item {
    /// A later state of one side.
    Change(usize, usize),
    /// A port of a service.
    Service(PortName),
    /// One endpoint of it.
    Endpoint(PortName, SocketAddr),
    /// A pod.
    Pod(ObjectName),
    /// A node.
    Node(String),
    /// The ranges of cluster addresses.
    Ranges,
}

/// What a pass looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Changes,
    Services,
    Endpoints,
    Pods,
    Nodes,
    Ranges,
}

impl Kind {
    /// All, those first with which others go.
    pub(super) const ALL: [Self; 6] =
        [Self::Changes, Self::Services, Self::Endpoints, Self::Pods, Self::Nodes, Self::Ranges];
}

/// What is left out.
#[derive(Clone, Debug, Default)]
pub(super) struct Cut(BTreeSet<Item>);

impl Cut {
    /// This, and more.
    pub(super) fn and(&self, more: impl IntoIterator<Item = Item>) -> Self {
        let mut all = self.0.clone();
        all.extend(more);
        Self(all)
    }

    /// What is left of a cluster; `side` is its number.
    pub(super) fn of(&self, side: usize, cluster: &Cluster) -> Cluster {
        let mut left = cluster.clone();
        self.trim(&mut left.state);
        let mut index = 0;
        left.changes.retain_mut(|change| {
            let kept = !self.0.contains(&Item::Change(side, index));
            index += 1;
            if kept {
                self.trim(&mut change.state);
            }
            kept
        });
        left
    }

    /// Whether a later state of a side is left in.
    pub(super) fn keeps(&self, side: usize, change: usize) -> bool {
        !self.0.contains(&Item::Change(side, change))
    }

    fn trim(&self, state: &mut State) {
        for item in &self.0 {
            match item {
                Item::Service(name) => drop(state.services.remove(name)),
                Item::Endpoint(name, socket) => {
                    if let Some(port) = state.services.get_mut(name) {
                        port.endpoints
                            .retain(|end| (end.address, end.port) != (socket.ip(), socket.port()));
                    }
                }
                Item::Pod(name) => drop(state.pods.remove(name)),
                Item::Node(name) => drop(state.nodes.remove(name)),
                Item::Ranges => state.service_ranges.clear(),
                Item::Change(..) => {}
            }
        }
    }
}

/// What could be left out of clusters, of one kind, without leaving something that names it.
pub(super) fn candidates(kind: Kind, clusters: [&Cluster; 2]) -> Vec<Item> {
    let mut items = BTreeSet::new();
    let states = || {
        clusters.into_iter().flat_map(|cluster| {
            std::iter::once(&cluster.state).chain(cluster.changes.iter().map(|one| &one.state))
        })
    };
    match kind {
        Kind::Changes => {
            for (side, cluster) in clusters.into_iter().enumerate() {
                items.extend((0..cluster.changes.len()).map(|change| Item::Change(side, change)));
            }
        }
        Kind::Services => {
            items.extend(states().flat_map(|one| one.services.keys().cloned().map(Item::Service)));
        }
        Kind::Endpoints => items.extend(states().flat_map(|state| {
            state.services.iter().flat_map(|(name, port)| {
                let sockets =
                    port.endpoints.iter().map(|end| SocketAddr::new(end.address, end.port));
                sockets.map(|socket| Item::Endpoint(name.clone(), socket))
            })
        })),
        Kind::Pods => {
            let serving: BTreeSet<IpAddr> = states()
                .flat_map(|state| state.services.values().flat_map(|port| &port.endpoints))
                .map(|end| end.address)
                .collect();
            let named: BTreeSet<&ObjectName> = states().flat_map(named_pods).collect();
            let pods = states().flat_map(|state| state.pods.values());
            let free = pods.filter(|pod| {
                !named.contains(&pod.name) && !pod.addresses.iter().any(|ip| serving.contains(ip))
            });
            items.extend(free.map(|pod| Item::Pod(pod.name.clone())));
        }
        Kind::Nodes => {
            let named: BTreeSet<&str> = states().flat_map(named_nodes).collect();
            let nodes = states().flat_map(|state| state.nodes.keys());
            let free = nodes.filter(|name| !named.contains(name.as_str()));
            items.extend(free.cloned().map(Item::Node));
        }
        Kind::Ranges => items
            .extend(states().any(|state| !state.service_ranges.is_empty()).then_some(Item::Ranges)),
    }
    items.into_iter().collect()
}

/// Pods that endpoints or host ports name.
fn named_pods(state: &State) -> impl Iterator<Item = &ObjectName> {
    let ends = state.services.values().flat_map(|port| &port.endpoints);
    let ports = state.services.iter().filter(|(_, port)| port.kind == ServiceKind::HostPort);
    ends.filter_map(|end| end.pod.as_ref()).chain(ports.map(|(name, _)| &name.service))
}

/// Nodes that pods, endpoints or host ports name.
fn named_nodes(state: &State) -> impl Iterator<Item = &str> {
    let pods = state.pods.values().map(|pod| pod.node.as_str());
    let ends = state.services.values().flat_map(|port| &port.endpoints);
    let ends = ends.filter_map(|end| end.node.as_deref());
    pods.chain(ends).chain(state.services.values().filter_map(|port| port.node.as_deref()))
}
