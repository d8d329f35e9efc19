//! Whether a dump says enough for traffic policies, which go by where endpoints run.

use std::collections::BTreeSet;

use twinpath_control::model::{Endpoint, PortName, ServiceKind, ServicePort, State, TrafficPolicy};

use crate::failure::Failure;

/// How many names a line has.
const SHOWN: usize = 8;

/// Lines about what is missing, if something is that a Local policy depends on; an error where it is all that
/// the policy depends on. `has_nodes` is whether there are Nodes in the dump.
pub(super) fn check(source: &str, state: &State, has_nodes: bool) -> Result<Vec<String>, Failure> {
    let mut notes = Vec::new();
    let (mut local, mut homeless, mut nodes) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (name, port) in &state.services {
        let Some(field) = field(port) else { continue };
        let served = || port.endpoints.iter().filter(|e| e.ready || e.is_draining());
        if served().next().is_none() {
            continue;
        }
        local.insert(format!("{}: {field}: Local", name.service));
        nodes.extend(served().filter_map(|endpoint| endpoint.node.clone()));
        let lost = served().filter(|endpoint| endpoint.node.is_none());
        homeless.extend(lost.map(|endpoint| end(name, endpoint)));
    }
    if local.is_empty() {
        return Ok(notes);
    }
    if !has_nodes && nodes.is_empty() {
        return Err(Failure::Usage(format!(
            "{source}: where endpoints run is not said, which decides here ({}): missing are the nodeName of \
             endpoints ({}) and all Nodes; dump them with: kubectl get endpointslices,nodes -A -o yaml",
            some(&local),
            some(&homeless)
        )));
    }
    if !homeless.is_empty() {
        notes.push(format!(
            "warning: {source}: endpoints without nodeName count as being on no node, and so get nothing by a \
             Local policy: {}; dump them with: kubectl get endpointslices -A -o yaml",
            some(&homeless)
        ));
    }
    if !has_nodes {
        notes.push(format!(
            "warning: {source}: no Nodes, which decide here ({}): missing are the addresses of {}, and all nodes \
             without endpoints; dump them with: kubectl get nodes -o yaml",
            some(&local),
            some(&nodes)
        ));
    }
    Ok(notes)
}

/// The field that says Local of a policy that is in use.
fn field(port: &ServicePort) -> Option<&'static str> {
    if port.kind == ServiceKind::HostPort {
        return None;
    }
    let is_external = port.frontends.iter().any(|frontend| frontend.kind.is_external());
    if is_external && port.external_policy == TrafficPolicy::Local {
        Some("externalTrafficPolicy")
    } else if port.internal_policy == TrafficPolicy::Local {
        Some("internalTrafficPolicy")
    } else {
        None
    }
}

fn end(name: &PortName, endpoint: &Endpoint) -> String {
    let socket = std::net::SocketAddr::new(endpoint.address, endpoint.port);
    format!("{socket} of {}", name.service)
}

fn some(names: &BTreeSet<String>) -> String {
    let first: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}
