//! Which endpoints take new connections: the rules of kube-proxy.

use super::{Endpoint, FrontendKind, ServicePort, State, TrafficPolicy};

/// Where a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Client {
    /// In the cluster: a pod, or a node.
    Internal,
    /// Outside of it.
    External,
}

/// Where a connection comes to be balanced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The node.
    pub node: &'a str,
    /// Its zone, if that is known.
    pub zone: Option<&'a str>,
}

/// The endpoints that take new connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Eligible<'a> {
    /// They, by address and port. Of one family.
    pub endpoints: Vec<&'a Endpoint>,
    /// Whether there are none, but some on other nodes, which the policy does not allow: then packets
    /// are dropped without an answer, since other nodes do serve. If there are none anywhere, they are
    /// rejected.
    pub only_elsewhere: bool,
}

impl State {
    /// A node as the place where connections are balanced.
    pub fn place<'a>(&'a self, node: &'a str) -> Place<'a> {
        Place { node, zone: self.nodes.get(node).and_then(|node| node.zone.as_deref()) }
    }
}

impl ServicePort {
    /// Which policy holds for these clients at frontends of this kind; `None` where they are not served.
    ///
    /// The internal policy is for the cluster addresses, and the external one for clients outside. A
    /// client in the cluster that uses an address meant for those outside need not come from there, so
    /// it is spared the way through a node that would turn it down: it gets all endpoints, whatever the
    /// policies say.
    pub const fn policy(&self, kind: FrontendKind, client: Client) -> Option<TrafficPolicy> {
        match (kind, client) {
            (FrontendKind::ClusterIp, Client::Internal) => Some(self.internal_policy),
            (FrontendKind::ClusterIp, Client::External) => None,
            (FrontendKind::HostPort, _) | (_, Client::Internal) => Some(TrafficPolicy::Cluster),
            (_, Client::External) => Some(self.external_policy),
        }
    }

    /// Which endpoints of one family take new connections under this policy.
    ///
    /// They are the ready ones; where no endpoint is, those that are going and still answer. Under
    /// [`TrafficPolicy::Local`] only those on the node count. Under [`TrafficPolicy::Cluster`] the ready
    /// ones are narrowed down to those meant for the node, or else to those meant for its zone. But
    /// hints say something only where every ready endpoint has one, and some endpoint is for this place.
    pub fn eligible(
        &self,
        policy: TrafficPolicy,
        is_ipv4: bool,
        place: &Place<'_>,
    ) -> Eligible<'_> {
        let family = || self.endpoints.iter().filter(move |e| e.address.is_ipv4() == is_ipv4);
        let counts = |e: &&Endpoint| policy == TrafficPolicy::Cluster || e.is_on(place.node);
        let mut endpoints: Vec<&Endpoint> = family().filter(|e| e.ready).filter(counts).collect();
        if policy == TrafficPolicy::Cluster {
            endpoints = preferred(endpoints, place);
        }
        if endpoints.is_empty() {
            endpoints = family().filter(|e| e.is_draining()).filter(counts).collect();
        }
        let only_elsewhere = endpoints.is_empty() && family().any(|e| e.ready || e.is_draining());
        Eligible { endpoints, only_elsewhere }
    }
}

/// Those of the ready endpoints that are meant for this place; all of them where hints say nothing.
fn preferred<'a>(ready: Vec<&'a Endpoint>, place: &Place<'_>) -> Vec<&'a Endpoint> {
    let narrowed = |hints: fn(&Endpoint) -> &[String], own: Option<&str>| {
        if ready.iter().any(|e| hints(e).is_empty()) {
            return None;
        }
        let meant = |e: &&&Endpoint| hints(e).iter().any(|hint| Some(hint.as_str()) == own);
        let meant: Vec<&Endpoint> = ready.iter().filter(meant).copied().collect();
        (!meant.is_empty()).then_some(meant)
    };
    narrowed(|e| &e.for_nodes, Some(place.node))
        .or_else(|| narrowed(|e| &e.for_zones, place.zone))
        .unwrap_or(ready)
}

#[cfg(test)]
mod tests;
