//! Endpoints, by the service that they serve.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::parse::{Report, address, port, protocol};
use super::{Endpoint, Protocol};
use crate::objects::{
    EndpointAddress, EndpointPort, EndpointSlice, Endpoints, Named, ObjectName, Reference,
    SliceEndpoint,
};
use crate::problem::Problem;
use crate::read::Objects;

/// The label of an EndpointSlice that names its service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// All that serves one service: its slices, merged.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// Endpoints by the name of the port, as they were met; empty for the port without a name. A list, since
    /// most services have few.
    ports: BTreeMap<(String, Protocol), Vec<Endpoint>>,
    /// Whether it has endpoints at all, on whatever port.
    pub(super) has_endpoints: bool,
}

impl Group {
    /// The endpoints of a port, by address and port; `None` where no slice has such a port.
    pub(super) fn port(&self, name: &str, protocol: Protocol) -> Option<Vec<Endpoint>> {
        let mut found = self.ports.get(&(name.to_owned(), protocol))?.clone();
        // While an endpoint moves from one slice to another it is in both. The first of the most hopeful
        // reports counts.
        found.sort_by_key(|endpoint| (endpoint.address, endpoint.port, Reverse(rank(endpoint))));
        found.dedup_by_key(|endpoint| (endpoint.address, endpoint.port));
        Some(found)
    }

    /// The names of the ports that there are.
    pub(super) fn port_names(&self) -> impl Iterator<Item = String> {
        self.ports.keys().map(|(name, protocol)| format!("{name}/{protocol}"))
    }

    fn add(&mut self, ports: &[(String, Protocol, u16)], endpoint: Endpoint) {
        let Some(((name, protocol, number), others)) = ports.split_last() else { return };
        for (name, protocol, number) in others {
            let port = self.ports.entry((name.clone(), *protocol)).or_default();
            port.push(Endpoint { port: *number, ..endpoint.clone() });
        }
        let port = self.ports.entry((name.clone(), *protocol)).or_default();
        port.push(Endpoint { port: *number, ..endpoint });
    }
}

/// Of two reports of one endpoint, the more hopeful one counts.
const fn rank(endpoint: &Endpoint) -> u8 {
    if endpoint.ready {
        2
    } else if endpoint.is_draining() {
        1
    } else {
        0
    }
}

/// The endpoints of every service. Where a service has slices, its Endpoints are not looked at.
pub(super) fn groups(objects: &Objects, problems: &mut Vec<Problem>) -> HashMap<ObjectName, Group> {
    let mut groups: HashMap<ObjectName, Group> = HashMap::new();
    for (name, object) in &objects.slices {
        let mut report = Report::new(problems, &object.file, "EndpointSlice", name);
        let Some(service) = service_of(name, &object.value) else {
            report.note(format_args!("has no label {SERVICE_NAME} and so serves no Service"));
            continue;
        };
        let group = groups.entry(service).or_default();
        slice(group, &object.value, &name.namespace, &mut report);
    }
    for (name, object) in &objects.endpoints {
        if let Entry::Vacant(entry) = groups.entry(name.clone()) {
            let mut report = Report::new(problems, &object.file, "Endpoints", name);
            subsets(entry.insert(Group::default()), &object.value, &name.namespace, &mut report);
        }
    }
    groups
}

/// Whose endpoints a slice has.
pub(crate) fn service_of(name: &ObjectName, slice: &EndpointSlice) -> Option<ObjectName> {
    let service = slice.metadata.labels.get(SERVICE_NAME)?;
    Some(ObjectName::new(&name.namespace, service))
}

/// The endpoints of one service, of which these are the slices, in order of their names.
pub(crate) fn group<'a>(
    objects: &Objects,
    service: &ObjectName,
    slices: impl Iterator<Item = &'a ObjectName>,
    problems: &mut Vec<Problem>,
) -> Option<Group> {
    let mut found = None;
    for (name, object) in slices.filter_map(|name| objects.slices.get_key_value(name)) {
        let mut report = Report::new(problems, &object.file, "EndpointSlice", name);
        slice(found.get_or_insert_default(), &object.value, &name.namespace, &mut report);
    }
    if found.is_none() {
        let (name, object) = objects.endpoints.get_key_value(service)?;
        let mut report = Report::new(problems, &object.file, "Endpoints", name);
        subsets(found.get_or_insert_default(), &object.value, &name.namespace, &mut report);
    }
    found
}

fn slice(group: &mut Group, slice: &EndpointSlice, namespace: &str, report: &mut Report<'_>) {
    let is_ipv4 = match slice.address_type.as_deref() {
        Some("IPv4") => Some(true),
        Some("IPv6") => Some(false),
        None | Some("") => None,
        Some("FQDN") => {
            return report.warning("has endpoints with names (FQDN), which are not served");
        }
        Some(other) => {
            return report.error(format_args!("addressType {other:?} is not IPv4 or IPv6"));
        }
    };
    let ports = ports(&slice.ports, report);
    for endpoint in &slice.endpoints {
        let Some(text) = endpoint.addresses.first() else {
            report.error("an endpoint has no addresses");
            continue;
        };
        let Some(address) = report.check("addresses", address(text)) else { continue };
        if is_ipv4.is_some_and(|is_ipv4| address.is_ipv4() != is_ipv4) {
            report.error(format_args!("{address} is not of the slice's addressType"));
            continue;
        }
        group.has_endpoints = true;
        group.add(&ports, from_slice(endpoint, address, namespace));
    }
    register(group, ports);
}

fn subsets(group: &mut Group, endpoints: &Endpoints, namespace: &str, report: &mut Report<'_>) {
    for subset in &endpoints.subsets {
        let ports = ports(&subset.ports, report);
        let ready = subset.addresses.iter().map(|address| (address, true));
        let not_ready = subset.not_ready_addresses.iter().map(|address| (address, false));
        for (entry, ready) in ready.chain(not_ready) {
            let text = entry.ip.as_deref().unwrap_or_default();
            if let Some(address) = report.check("ip", address(text)) {
                group.has_endpoints = true;
                group.add(&ports, from_address(entry, address, ready, namespace));
            }
        }
        register(group, ports);
    }
}

/// A port is known even where nothing listens on it.
fn register(group: &mut Group, ports: Vec<(String, Protocol, u16)>) {
    for (name, protocol, _) in ports {
        group.ports.entry((name, protocol)).or_default();
    }
}

fn ports(ports: &[EndpointPort], report: &mut Report<'_>) -> Vec<(String, Protocol, u16)> {
    let mut valid = Vec::new();
    for entry in ports {
        let name = entry.name.clone().unwrap_or_default();
        let what = if name.is_empty() { "port".to_owned() } else { format!("port {name}") };
        let Some(protocol) = report.check(&what, protocol(entry.protocol.as_deref())) else {
            continue;
        };
        // A port without a number stands for all of them, which only a headless service can use.
        if let Some(number) = entry.port {
            let number = report.check(&what, port(number));
            valid.extend(number.map(|number| (name, protocol, number)));
        }
    }
    valid
}

fn from_slice(endpoint: &SliceEndpoint, address: IpAddr, namespace: &str) -> Endpoint {
    let conditions = &endpoint.conditions;
    let ready = conditions.ready.unwrap_or(true);
    let names = |hints: &[Named]| {
        hints.iter().map(|hint| hint.name.clone()).filter(|name| !name.is_empty()).collect()
    };
    Endpoint {
        ready,
        serving: conditions.serving.unwrap_or(ready),
        terminating: conditions.terminating.unwrap_or(false),
        node: endpoint.node_name.clone().filter(|name| !name.is_empty()),
        pod: pod(endpoint.target_ref.as_ref(), namespace),
        zone: endpoint.zone.clone().filter(|zone| !zone.is_empty()),
        for_zones: names(&endpoint.hints.for_zones),
        for_nodes: names(&endpoint.hints.for_nodes),
        ..Endpoint::new(address, 0)
    }
}

fn from_address(
    entry: &EndpointAddress,
    address: IpAddr,
    ready: bool,
    namespace: &str,
) -> Endpoint {
    Endpoint {
        ready,
        serving: ready,
        node: entry.node_name.clone().filter(|name| !name.is_empty()),
        pod: pod(entry.target_ref.as_ref(), namespace),
        ..Endpoint::new(address, 0)
    }
}

fn pod(reference: Option<&Reference>, namespace: &str) -> Option<ObjectName> {
    let reference = reference.filter(|reference| reference.kind.as_deref() == Some("Pod"))?;
    let namespace = reference.namespace.as_deref().unwrap_or(namespace);
    Some(ObjectName::new(namespace, reference.name.as_deref()?))
}
