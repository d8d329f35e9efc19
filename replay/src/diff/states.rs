//! In what two clusters differ.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;

use twinpath_control::model::{Endpoint, Node, Pod, ServicePort, State};

/// A line each: what only one of them has, and what they say differently.
pub fn differences(left: &State, right: &State) -> Vec<String> {
    let mut lines = Vec::new();
    both(&mut lines, "service", &left.services, &right.services, |lines, name, left, right| {
        service(lines, &format!("service {name}"), left, right);
    });
    both(&mut lines, "node", &left.nodes, &right.nodes, |lines, name, left, right| {
        node(lines, name, left, right);
    });
    both(&mut lines, "pod", &left.pods, &right.pods, |lines, name, left, right| {
        pod(lines, &name.to_string(), left, right);
    });
    if left.service_ranges != right.service_ranges {
        lines.push("the ranges of cluster addresses".into());
    }
    lines
}

fn both<K: Ord + Display, V: PartialEq>(
    lines: &mut Vec<String>,
    what: &str,
    left: &BTreeMap<K, V>,
    right: &BTreeMap<K, V>,
    mut each: impl FnMut(&mut Vec<String>, &K, &V, &V),
) {
    for (name, value) in left {
        match right.get(name) {
            None => lines.push(format!("{what} {name}: only left")),
            Some(other) if other != value => each(lines, name, value, other),
            Some(_) => {}
        }
    }
    let more = right.keys().filter(|name| !left.contains_key(name));
    lines.extend(more.map(|name| format!("{what} {name}: only right")));
}

fn service(lines: &mut Vec<String>, name: &str, left: &ServicePort, right: &ServicePort) {
    let before = lines.len();
    let ends = |port: &ServicePort| -> BTreeMap<SocketAddr, Endpoint> {
        let ends = port.endpoints.iter();
        ends.map(|end| (SocketAddr::new(end.address, end.port), end.clone())).collect()
    };
    let (a, b) = (ends(left), ends(right));
    for (socket, end) in &a {
        match b.get(socket) {
            None => lines.push(format!("{name}: endpoint {socket}{} only left", of(end))),
            Some(other) if other != end => {
                let (a, b) = (condition(end), condition(other));
                let what = if a == b {
                    "differs in its place or hints".into()
                } else {
                    format!("is {a} left, {b} right")
                };
                lines.push(format!("{name}: endpoint {socket}{} {what}", of(end)));
            }
            Some(_) => {}
        }
    }
    let more = b.iter().filter(|(socket, _)| !a.contains_key(socket));
    lines.extend(
        more.map(|(socket, end)| format!("{name}: endpoint {socket}{} only right", of(end))),
    );
    for frontend in &left.frontends {
        if !right.frontends.contains(frontend) {
            let socket = SocketAddr::new(frontend.address, frontend.port);
            lines.push(format!("{name}: address {socket} only left"));
        }
    }
    for frontend in &right.frontends {
        if !left.frontends.contains(frontend) {
            let socket = SocketAddr::new(frontend.address, frontend.port);
            lines.push(format!("{name}: address {socket} only right"));
        }
    }
    let settings = [
        ("type", left.kind != right.kind),
        ("externalTrafficPolicy", left.external_policy != right.external_policy),
        ("internalTrafficPolicy", left.internal_policy != right.internal_policy),
        ("sessionAffinity", left.affinity != right.affinity),
        ("loadBalancerSourceRanges", left.source_ranges != right.source_ranges),
        ("algorithm", left.algorithm != right.algorithm),
        ("forwarding mode", left.forwarding != right.forwarding),
        ("trafficDistribution", left.distribution != right.distribution),
        ("publishNotReadyAddresses", left.publish_not_ready != right.publish_not_ready),
    ];
    for (setting, _) in settings.iter().filter(|(_, differs)| *differs) {
        lines.push(format!("{name}: {setting}"));
    }
    if lines.len() == before {
        lines.push(format!("{name}: other settings, or the order of endpoints"));
    }
}

/// ` (default/web-a on node-a)`.
fn of(end: &Endpoint) -> String {
    match (&end.pod, &end.node) {
        (Some(pod), Some(node)) => format!(" ({pod} on {node})"),
        (Some(pod), None) => format!(" ({pod})"),
        (None, Some(node)) => format!(" (on {node})"),
        (None, None) => String::new(),
    }
}

fn condition(end: &Endpoint) -> &'static str {
    match (end.ready, end.is_draining()) {
        (true, _) => "ready",
        (false, true) => "terminating and serving",
        (false, false) => "not ready",
    }
}

fn node(lines: &mut Vec<String>, name: &str, left: &Node, right: &Node) {
    let what = if left.addresses != right.addresses
        || left.external_addresses != right.external_addresses
    {
        "addresses"
    } else if left.zone != right.zone {
        "zone"
    } else {
        "pod ranges"
    };
    lines.push(format!("node {name}: {what}"));
}

fn pod(lines: &mut Vec<String>, name: &str, left: &Pod, right: &Pod) {
    if left.node == right.node {
        lines.push(format!("pod {name}: addresses"));
    } else {
        lines.push(format!("pod {name}: on {} left, on {} right", left.node, right.node));
    }
}

#[cfg(test)]
mod tests;
