//! Which endpoints of a service take new connections at a place, and why the others do not.

use twinpath_control::model::{Endpoint, Place, ServicePort, TrafficPolicy};

/// What an endpoint is to a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may be given it.
    Eligible,
    /// It may, though it is terminating: there is no other.
    LastResort,
    /// Its address is of the other family.
    OtherFamily,
    /// It is not ready.
    NotReady,
    /// It is terminating, and no longer serves.
    Gone,
    /// It is terminating and still serves: only while no other is ready.
    Draining,
    /// The traffic policy is `Local`, and it is on another node,
    OtherNode,
    /// or nobody says on which node it is.
    UnknownNode,
    /// It is meant for clients on other nodes (a hint).
    HintNode,
    /// It is meant for clients in other zones (a hint).
    HintZone,
}

impl Standing {
    /// Whether it may be given the connection.
    pub const fn is_eligible(self) -> bool {
        matches!(self, Self::Eligible | Self::LastResort)
    }

    /// In a word, for programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Eligible => "eligible",
            Self::LastResort => "last-resort",
            Self::OtherFamily => "other-family",
            Self::NotReady => "not-ready",
            Self::Gone => "terminating",
            Self::Draining => "draining",
            Self::OtherNode => "other-node",
            Self::UnknownNode => "unknown-node",
            Self::HintNode => "hint-for-other-nodes",
            Self::HintZone => "hint-for-other-zones",
        }
    }
}

/// All endpoints of a port, those of the frontend's family first.
pub fn judge<'a>(
    port: &'a ServicePort,
    policy: TrafficPolicy,
    v4: bool,
    place: &Place<'_>,
) -> Vec<(&'a Endpoint, Standing)> {
    let eligible = port.eligible(policy, v4, place).endpoints;
    let judged = |endpoint: &'a Endpoint| {
        let chosen = eligible.iter().any(|other| std::ptr::eq(*other, endpoint));
        let away = policy == TrafficPolicy::Local && !endpoint.is_on(place.node);
        let standing = if endpoint.address.is_ipv4() != v4 {
            Standing::OtherFamily
        } else if chosen {
            if endpoint.ready { Standing::Eligible } else { Standing::LastResort }
        } else if !endpoint.ready && !endpoint.terminating {
            Standing::NotReady
        } else if !endpoint.ready && !endpoint.serving {
            Standing::Gone
        } else if away && endpoint.node.is_none() {
            Standing::UnknownNode
        } else if away {
            Standing::OtherNode
        } else if !endpoint.ready {
            Standing::Draining
        } else if eligible.iter().any(|e| e.for_nodes.iter().any(|node| node == place.node)) {
            Standing::HintNode
        } else {
            Standing::HintZone
        };
        (endpoint, standing)
    };
    let mut all: Vec<_> = port.endpoints.iter().map(judged).collect();
    all.sort_by_key(|(_, standing)| *standing == Standing::OtherFamily);
    all
}

/// Why an endpoint stands as it does, at a place.
pub fn words(endpoint: &Endpoint, standing: Standing, place: &Place<'_>) -> String {
    let list = |words: &[String]| words.join(", ");
    match standing {
        Standing::Eligible => "eligible".into(),
        Standing::LastResort => "terminating, still serving: used since no other is ready".into(),
        Standing::OtherFamily => {
            let family = if endpoint.address.is_ipv4() { "IPv4" } else { "IPv6" };
            format!("{family}, and the frontend is not")
        }
        Standing::NotReady => "not ready".into(),
        Standing::Gone => "terminating, not serving".into(),
        Standing::Draining => "terminating: keeps its connections, gets no new ones".into(),
        Standing::OtherNode => format!(
            "on {}, and the traffic policy is Local",
            endpoint.node.as_deref().unwrap_or("another node")
        ),
        Standing::UnknownNode => "on a node that is not known; the traffic policy is Local".into(),
        Standing::HintNode => {
            format!("meant for clients on {} (hint), not {}", list(&endpoint.for_nodes), place.node)
        }
        Standing::HintZone => format!(
            "meant for zone {} (topology hint), not {}",
            list(&endpoint.for_zones),
            place.zone.unwrap_or("this one")
        ),
    }
}

/// An endpoint by address, and its pod: `10.244.1.11:8080 default/web-a`.
pub fn title(endpoint: &Endpoint) -> String {
    let end = std::net::SocketAddr::new(endpoint.address, endpoint.port);
    match &endpoint.pod {
        Some(pod) => format!("{end}  {pod}"),
        None => format!("{end}  (no pod)"),
    }
}

#[cfg(test)]
mod tests;
