//! Nodes and pods.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::parse::{Report, address, range};
use super::{Endpoint, Node, Pod, State};
use crate::objects::{self, ObjectName};
use crate::problem::Problem;
use crate::read::{Object, Objects};

/// The label of a Node that names its zone.
const ZONE: &str = "topology.kubernetes.io/zone";

pub(super) fn nodes(objects: &Objects, state: &mut State, problems: &mut Vec<Problem>) {
    for (name, object) in &objects.nodes {
        let mut report = Report::new(problems, &object.file, "Node", name);
        let zone = object.value.metadata.labels.get(ZONE).filter(|zone| !zone.is_empty());
        let mut node = Node { zone: zone.cloned(), ..Node::default() };
        for entry in &object.value.status.addresses {
            let text = entry.address.as_deref().unwrap_or_default();
            match entry.r#type.as_deref() {
                Some("InternalIP") => {
                    node.addresses.extend(report.check("InternalIP", address(text)));
                }
                Some("ExternalIP") => {
                    node.external_addresses.extend(report.check("ExternalIP", address(text)));
                }
                _ => {}
            }
        }
        if node.addresses.is_empty() {
            report.warning("has no InternalIP in status.addresses; packets to it go by the stack");
        }
        let spec = &object.value.spec;
        let single = spec.pod_cidr.iter().filter(|_| spec.pod_cidrs.is_empty());
        for text in spec.pod_cidrs.iter().chain(single) {
            node.pod_ranges.extend(report.check("podCIDRs", range(text)));
        }
        state.nodes.insert(name.name.clone(), node);
    }
}

pub(super) fn pods(objects: &Objects, state: &mut State, problems: &mut Vec<Problem>) {
    for (name, object) in &objects.pods {
        state.pods.extend(pod(name, object, problems).map(|pod| (name.clone(), pod)));
    }
}

/// A pod that runs and has addresses.
pub(crate) fn pod(
    name: &ObjectName,
    object: &Object<objects::Pod>,
    problems: &mut Vec<Problem>,
) -> Option<Pod> {
    let mut report = Report::new(problems, &object.file, "Pod", name);
    let (spec, status) = (&object.value.spec, &object.value.status);
    // The addresses of a finished pod belong to others, or will.
    if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return None;
    }
    let single = status.pod_ip.as_deref().filter(|_| status.pod_ips.is_empty());
    let texts = status.pod_ips.iter().filter_map(|ip| ip.ip.as_deref()).chain(single);
    let mut addresses = Vec::new();
    for text in texts.filter(|text| !text.is_empty()) {
        addresses.extend(report.check("podIPs", address(text)));
    }
    let node = spec.node_name.clone().unwrap_or_default();
    // Waiting for a node or for its addresses.
    if node.is_empty() || addresses.is_empty() {
        return None;
    }
    Some(Pod { name: name.clone(), addresses, node, host_network: spec.host_network })
}

pub(super) fn service_ranges(objects: &Objects, state: &mut State, problems: &mut Vec<Problem>) {
    for (name, object) in &objects.service_cidrs {
        let mut report = Report::new(problems, &object.file, "ServiceCIDR", name);
        if object.value.spec.cidrs.is_empty() {
            report.error("has no ranges; add them under spec.cidrs");
        }
        for text in &object.value.spec.cidrs {
            state.service_ranges.extend(report.check("cidrs", range(text)));
        }
    }
}

/// Adds the pods and nodes that only endpoints and pods mention: a dump may have been taken without.
pub(super) fn mentioned(objects: &Objects, state: &mut State) {
    let own: BTreeSet<IpAddr> = state.nodes.values().flat_map(Node::all_addresses).collect();
    let State { services, nodes, pods, .. } = state;
    for endpoint in services.values().flat_map(|port| &port.endpoints) {
        let Some(node) = &endpoint.node else { continue };
        if !nodes.contains_key(node) {
            nodes.insert(node.clone(), Node::default());
        }
        let Some(name) = &endpoint.pod else { continue };
        // Of one that was given and left out, the endpoint is out of date.
        if objects.pods.contains_key(name) {
            continue;
        }
        match pods.get_mut(name) {
            Some(pod) => also_at(pod, endpoint.address),
            None => pods.extend(mention(None, endpoint, &own).map(|pod| (name.clone(), pod))),
        }
    }
    for pod in pods.values() {
        if !nodes.contains_key(&pod.node) {
            nodes.insert(pod.node.clone(), Node::default());
        }
    }
}

/// A pod of which nothing was given, or only what other endpoints say, and an endpoint which says that it is
/// one of its addresses. The first says where it runs; `nodes` are the addresses of all nodes.
pub(crate) fn mention(
    known: Option<Pod>,
    endpoint: &Endpoint,
    nodes: &BTreeSet<IpAddr>,
) -> Option<Pod> {
    let (Some(node), Some(name)) = (&endpoint.node, &endpoint.pod) else { return known };
    let mut pod = known.unwrap_or_else(|| Pod {
        name: name.clone(),
        addresses: Vec::new(),
        node: node.clone(),
        host_network: nodes.contains(&endpoint.address),
    });
    also_at(&mut pod, endpoint.address);
    Some(pod)
}

fn also_at(pod: &mut Pod, address: IpAddr) {
    if !pod.addresses.contains(&address) {
        pod.addresses.push(address);
    }
}
