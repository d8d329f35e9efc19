//! EndpointSlices.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::model::{Endpoint, PortName, Protocol, ServicePort};
use crate::objects::ObjectName;

/// A port of a slice: name, protocol, number.
type Port<'a> = (&'a str, Protocol, u16);

/// The slices of a service: for each family one for each set of ports that endpoints have.
pub(super) fn slices(name: &ObjectName, ports: &[(&PortName, &ServicePort)]) -> Vec<Value> {
    let mut endpoints: Vec<(Endpoint, Vec<Port<'_>>)> = Vec::new();
    let mut index: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (name, port) in ports {
        for endpoint in &port.endpoints {
            let number = (name.port.as_str(), name.protocol, endpoint.port);
            let same = Endpoint { port: 0, ..endpoint.clone() };
            let known = index.entry(endpoint.address).or_default();
            // Conditions and hints are per endpoint: where they differ by port, there are two.
            let found = known
                .iter()
                .find_map(|i| endpoints.get(*i).filter(|(other, _)| *other == same).map(|_| *i));
            match found.and_then(|i| endpoints.get_mut(i)) {
                Some((_, ports)) => ports.push(number),
                None => {
                    known.push(endpoints.len());
                    endpoints.push((same, vec![number]));
                }
            }
        }
    }
    let mut slices: BTreeMap<(bool, Vec<Port<'_>>), Vec<&Endpoint>> = BTreeMap::new();
    for (endpoint, ports) in &endpoints {
        slices.entry((endpoint.address.is_ipv6(), ports.clone())).or_default().push(endpoint);
    }
    // A port that nothing listens on is said to be there, or it would look forgotten.
    let listens = |name: &PortName| {
        let of = |port: &Port<'_>| port.0 == name.port && port.1 == name.protocol;
        slices.keys().any(|(_, ports)| ports.iter().any(of))
    };
    let silent: Vec<Port<'_>> = ports
        .iter()
        .filter(|(name, _)| !listens(name))
        .map(|(name, port)| (name.port.as_str(), name.protocol, port.port))
        .collect();
    if !silent.is_empty() {
        let is_ipv6 = ports
            .iter()
            .flat_map(|(_, port)| &port.frontends)
            .next()
            .is_some_and(|frontend| frontend.address.is_ipv6());
        slices.entry((is_ipv6, silent)).or_default();
    }
    let slices = slices.into_iter().enumerate();
    slices
        .map(|(i, ((is_ipv6, ports), endpoints))| slice(name, i, is_ipv6, &ports, &endpoints))
        .collect()
}

fn slice(
    name: &ObjectName,
    number: usize,
    is_ipv6: bool,
    ports: &[Port<'_>],
    endpoints: &[&Endpoint],
) -> Value {
    let port = |(name, protocol, number): &Port<'_>| json!({"name": name, "port": number, "protocol": protocol.to_string()});
    json!({
        "addressType": if is_ipv6 { "IPv6" } else { "IPv4" },
        "apiVersion": "discovery.k8s.io/v1",
        "endpoints": endpoints.iter().map(|e| self::endpoint(e)).collect::<Vec<_>>(),
        "kind": "EndpointSlice",
        "metadata": {
            "labels": {"kubernetes.io/service-name": name.name},
            "name": format!("{}-{}", name.name, number.saturating_add(1)),
            "namespace": name.namespace,
        },
        "ports": ports.iter().map(port).collect::<Vec<_>>(),
    })
}

fn endpoint(endpoint: &Endpoint) -> Value {
    let mut conditions = json!({"ready": endpoint.ready});
    if endpoint.serving != endpoint.ready {
        conditions["serving"] = json!(endpoint.serving);
    }
    if endpoint.terminating {
        conditions["terminating"] = json!(true);
    }
    let mut entry = json!({"addresses": [endpoint.address.to_string()], "conditions": conditions});
    if let Some(node) = &endpoint.node {
        entry["nodeName"] = json!(node);
    }
    if let Some(pod) = &endpoint.pod {
        entry["targetRef"] = json!({"kind": "Pod", "name": pod.name, "namespace": pod.namespace});
    }
    if let Some(zone) = &endpoint.zone {
        entry["zone"] = json!(zone);
    }
    let names = |names: &[String]| names.iter().map(|n| json!({"name": n})).collect::<Vec<_>>();
    let mut hints = json!({});
    if !endpoint.for_zones.is_empty() {
        hints["forZones"] = json!(names(&endpoint.for_zones));
    }
    if !endpoint.for_nodes.is_empty() {
        hints["forNodes"] = json!(names(&endpoint.for_nodes));
    }
    if hints != json!({}) {
        entry["hints"] = hints;
    }
    entry
}
