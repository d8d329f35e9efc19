//! A cluster's state as Kubernetes objects: what [`read`] and [`State::new`] turn into the
//! same state again.
//!
//! | of a state | becomes |
//! |---|---|
//! | ports of a service, by the service's name | a Service, and EndpointSlices by family |
//! | host ports | `hostPort` of a container of their pod |
//! | nodes, pods | Nodes, and Pods that run |
//! | a pod that endpoints name and that does not run | a Pod that has failed |
//! | ranges of cluster addresses | a ServiceCIDR |
//!
//! Not every state can be said so: see [`unsaid`].

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::model::{Node, Pod, PortName, ServiceKind, ServicePort, State};
use crate::objects::ObjectName;
use crate::read::read;

mod service;
mod slices;
mod yaml;

/// A state as YAML: one `kind: List`, as `kubectl get -o yaml` prints it.
pub fn yaml(state: &State) -> String {
    let mut text = String::from("apiVersion: v1\nkind: List\n");
    let mut items = items(state).peekable();
    if items.peek().is_none() {
        text.push_str("items: []\n");
        return text;
    }
    text.push_str("items:\n");
    for item in items {
        yaml::item(&mut text, &item);
    }
    text
}

/// A state as JSON: one `kind: List`, as `kubectl get -o json` prints it.
pub fn json(state: &State) -> String {
    let list =
        json!({"apiVersion": "v1", "items": items(state).collect::<Vec<_>>(), "kind": "List"});
    let mut text = format!("{list:#}");
    text.push('\n');
    text
}

/// What of a state is not said by the objects that it is written as, one line each, empty for any state that
/// was made from objects in which nothing was wrong:
///
/// * a port that differs from the others of its service in what a Service says of all of them: its type,
///   addresses, policies, affinity, source ranges;
/// * a port that is not served at an address of its family, which a Service does not have without;
/// * a node that is not there though a pod or an endpoint names it.
pub fn unsaid(state: &State) -> Vec<String> {
    // Read many times faster than YAML, which has the same objects.
    let objects = match read("", json(state).as_bytes()) {
        Ok(objects) => objects,
        Err(error) => return vec![error.to_string()],
    };
    let (said, _) = State::new(&objects);
    let mut lines = Vec::new();
    differences(&mut lines, "port", &state.services, &said.services);
    differences(&mut lines, "node", &state.nodes, &said.nodes);
    differences(&mut lines, "pod", &state.pods, &said.pods);
    if state.service_ranges != said.service_ranges {
        lines.push("the ranges of cluster addresses are read as others".into());
    }
    lines
}

fn differences<K: Ord + std::fmt::Display, V: PartialEq>(
    lines: &mut Vec<String>,
    what: &str,
    state: &BTreeMap<K, V>,
    said: &BTreeMap<K, V>,
) {
    for (name, value) in state {
        match said.get(name) {
            Some(other) if other == value => {}
            Some(_) => lines.push(format!("{what} {name} is read as another one")),
            None => lines.push(format!("{what} {name} is not read again")),
        }
    }
    let more = said.keys().filter(|name| !state.contains_key(name));
    lines.extend(more.map(|name| format!("{what} {name} is read and is not there")));
}

/// The objects, one after the other: those that others depend on first.
fn items(state: &State) -> impl Iterator<Item = Value> {
    let mut services: BTreeMap<&ObjectName, Vec<(&PortName, &ServicePort)>> = BTreeMap::new();
    let mut host_ports = services.clone();
    for (name, port) in &state.services {
        let kind = if port.kind == ServiceKind::HostPort { &mut host_ports } else { &mut services };
        kind.entry(&name.service).or_default().push((name, port));
    }
    let gone: BTreeSet<(&ObjectName, &str)> = state
        .services
        .values()
        .flat_map(|port| &port.endpoints)
        .filter_map(|endpoint| Some((endpoint.pod.as_ref()?, endpoint.node.as_deref()?)))
        .filter(|(pod, _)| !state.pods.contains_key(pod))
        .collect();
    // One object for each, whatever the endpoints say of where it ran.
    let gone: BTreeMap<_, _> = gone.into_iter().collect();
    let ranges = (!state.service_ranges.is_empty()).then(|| ranges(state));
    let nodes = state.nodes.iter().map(|(name, node)| self::node(name, node));
    let pods = state.pods.iter().map(move |(name, pod)| {
        let ports = host_ports.get(name).map(Vec::as_slice).unwrap_or_default();
        self::pod(name, pod, ports)
    });
    let gone = gone.into_iter().map(|(name, node)| gone_pod(name, node));
    let services = services.into_iter().flat_map(|(name, ports)| {
        let slices = slices::slices(name, &ports);
        std::iter::once(service::service(name, &ports)).chain(slices)
    });
    ranges.into_iter().chain(nodes).chain(pods).chain(gone).chain(services)
}

fn ranges(state: &State) -> Value {
    let cidrs: Vec<_> = state.service_ranges.iter().map(ToString::to_string).collect();
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": "kubernetes"},
        "spec": {"cidrs": cidrs},
    })
}

fn node(name: &str, node: &Node) -> Value {
    let mut metadata = json!({"name": name});
    if let Some(zone) = &node.zone {
        metadata["labels"] = json!({"topology.kubernetes.io/zone": zone});
    }
    let address = |kind: &str, address: &std::net::IpAddr| json!({"address": address.to_string(), "type": kind});
    let internal = node.addresses.iter().map(|ip| address("InternalIP", ip));
    let external = node.external_addresses.iter().map(|ip| address("ExternalIP", ip));
    let addresses: Vec<_> = internal.chain(external).collect();
    let ranges: Vec<_> = node.pod_ranges.iter().map(ToString::to_string).collect();
    let mut spec = json!({});
    if let Some(first) = ranges.first() {
        spec["podCIDR"] = json!(first);
        spec["podCIDRs"] = json!(ranges);
    }
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": metadata,
        "spec": spec,
        "status": {"addresses": addresses},
    })
}

fn pod(name: &ObjectName, pod: &Pod, host_ports: &[(&PortName, &ServicePort)]) -> Value {
    let mut spec = json!({"nodeName": pod.node});
    if pod.host_network {
        spec["hostNetwork"] = json!(true);
    }
    if !host_ports.is_empty() {
        let ports: Vec<_> =
            host_ports.iter().map(|(name, port)| service::host_port(name, port)).collect();
        spec["containers"] = json!([{"name": "main", "ports": ports}]);
    }
    let addresses: Vec<_> = pod.addresses.iter().map(|ip| json!({"ip": ip.to_string()})).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name.name, "namespace": name.namespace},
        "spec": spec,
        "status": {
            "phase": "Running",
            "podIP": pod.addresses.first().map(ToString::to_string),
            "podIPs": addresses,
        },
    })
}

/// A pod that endpoints still name, so that it is not taken for one that was not dumped.
fn gone_pod(name: &ObjectName, node: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name.name, "namespace": name.namespace},
        "spec": {"nodeName": node},
        "status": {"phase": "Failed"},
    })
}

#[cfg(test)]
pub(crate) mod tests;
