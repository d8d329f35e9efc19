//! Services.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use twinpath_core::service::Algorithm;

use super::endpoints::Group;
use super::parse::{Report, address, port, protocol};
use super::{
    ALGORITHM_ANNOTATION, Endpoint, Frontend, FrontendKind, PortName, Protocol, ServiceKind,
    ServicePort, State, Target,
};
use crate::objects::{self, NumberOrName, ObjectName};
use crate::problem::{Problem, Severity};
use crate::read::Objects;

/// Which port of which service has a frontend already.
type Taken = HashMap<(IpAddr, u16, Protocol), PortName>;

pub(super) fn services(
    objects: &Objects,
    groups: &HashMap<ObjectName, Group>,
    state: &mut State,
    problems: &mut Vec<Problem>,
) {
    let mut taken = Taken::new();
    let no_slices = objects.slices.is_empty() && objects.endpoints.is_empty();
    for (name, object) in &objects.services {
        let mut report = Report::new(problems, &object.file, "Service", name);
        let Some(common) = common(&object.value, &mut report) else { continue };
        let group = groups.get(name);
        if group.is_none() && !no_slices {
            report.warning(
                "has no EndpointSlice, so its connections are refused; \
                 give `kubectl get endpointslices -A` too",
            );
        }
        for entry in &object.value.spec.ports {
            let Some((port_name, mut port)) = service_port(name, entry, &common, &mut report)
            else {
                continue;
            };
            if state.services.contains_key(&port_name) {
                let shown = if port_name.port.is_empty() { "no name" } else { &port_name.port };
                report.error(format_args!("two of its ports have the same name ({shown})"));
                continue;
            }
            if let Some(group) = group {
                port.endpoints = endpoints(&port_name, &port.target, group, &mut report);
            }
            port.frontends = claim(&port_name, port.port, &common, &mut taken, &mut report);
            if !port.frontends.is_empty() {
                state.services.insert(port_name, port);
            }
        }
    }
    if no_slices && !state.services.is_empty() {
        problems.push(Problem {
            severity: Severity::Warning,
            file: Arc::from(""),
            kind: "EndpointSlice",
            object: ObjectName::default(),
            text: "there are Services and no EndpointSlices, so all connections are refused; \
                   give `kubectl get endpointslices -A` too"
                .to_owned(),
        });
    }
}

/// What the ports of a service have in common.
struct Common {
    kind: ServiceKind,
    addresses: Vec<IpAddr>,
    algorithm: Option<Algorithm>,
}

/// `None` for a service that the datapath has nothing to do with.
fn common(service: &objects::Service, report: &mut Report<'_>) -> Option<Common> {
    let spec = &service.spec;
    let kind = match spec.r#type.as_deref() {
        None | Some("" | "ClusterIP") => ServiceKind::ClusterIp,
        Some("NodePort") => ServiceKind::NodePort,
        Some("LoadBalancer") => ServiceKind::LoadBalancer,
        Some("ExternalName") => {
            report.note("left out: ExternalName is for the DNS server alone");
            return None;
        }
        Some(other) => {
            report.error(format_args!(
                "type {other:?} is none of ClusterIP, NodePort, LoadBalancer and ExternalName"
            ));
            return None;
        }
    };
    let single = spec.cluster_ip.iter().filter(|_| spec.cluster_ips.is_empty());
    let texts: Vec<&str> = spec
        .cluster_ips
        .iter()
        .chain(single)
        .map(String::as_str)
        .filter(|text| !text.is_empty())
        .collect();
    if texts.contains(&"None") {
        report.note("left out: headless, so clients connect to its endpoints themselves");
        return None;
    }
    if texts.is_empty() {
        report.error(
            "has no clusterIP; give what `kubectl get` prints, where the cluster has set it",
        );
        return None;
    }
    let mut addresses = Vec::new();
    for text in texts {
        let address = report.check("clusterIP", address(text));
        addresses.extend(address.filter(|address| !addresses.contains(address)));
    }
    if addresses.is_empty() {
        return None;
    }
    if spec.ports.is_empty() {
        report.error("has no ports; add them under spec.ports");
        return None;
    }
    if spec.session_affinity.as_deref() == Some("ClientIP") {
        report.warning("sessionAffinity ClientIP is not served yet: a client may change backends");
    }
    if spec.internal_traffic_policy.as_deref() == Some("Local") {
        report
            .warning("internalTrafficPolicy Local is not served yet: all nodes' backends are used");
    }
    let algorithm = match service.metadata.annotations.get(ALGORITHM_ANNOTATION) {
        None => None,
        Some(text) => match text.as_str() {
            "random" => Some(Algorithm::Random),
            "maglev" => Some(Algorithm::Maglev),
            other => {
                report.error(format_args!(
                    "annotation {ALGORITHM_ANNOTATION} is {other:?}; it may be random or maglev"
                ));
                None
            }
        },
    };
    Some(Common { kind, addresses, algorithm })
}

/// A port, as yet without frontends and endpoints.
fn service_port(
    service: &ObjectName,
    entry: &objects::ServicePort,
    common: &Common,
    report: &mut Report<'_>,
) -> Option<(PortName, ServicePort)> {
    let name = entry.name.clone().unwrap_or_default();
    let what = if name.is_empty() { "port".to_owned() } else { format!("port {name}") };
    let Some(number) = entry.port else {
        report.error(format_args!("{what} has no number; add it as `port:`"));
        return None;
    };
    let number = report.check(&what, port(number))?;
    let Some(protocol) = report.check(&what, protocol(entry.protocol.as_deref()))? else {
        report.warning(format_args!("{what} left out: SCTP is not served yet"));
        return None;
    };
    let target = match &entry.target_port {
        None => Target::Number(number),
        // Kubernetes has 0 and an empty name for a target that was not given.
        Some(NumberOrName::Number(0)) => Target::Number(number),
        Some(NumberOrName::Name(name)) if name.is_empty() => Target::Number(number),
        Some(NumberOrName::Name(name)) => Target::Name(name.clone()),
        Some(NumberOrName::Number(target)) => {
            Target::Number(report.check(&format!("{what}: targetPort"), port(*target))?)
        }
    };
    let name = PortName { service: service.clone(), port: name, protocol };
    let port = ServicePort {
        kind: common.kind,
        port: number,
        target,
        frontends: Vec::new(),
        algorithm: common.algorithm,
        endpoints: Vec::new(),
    };
    Some((name, port))
}

/// What serves a port. Endpoints go by the name of the service's port, whatever its target is; their
/// own numbers are the ones that the target stands for.
fn endpoints(
    name: &PortName,
    target: &Target,
    group: &Group,
    report: &mut Report<'_>,
) -> Vec<Endpoint> {
    if let Some(endpoints) = group.port(&name.port, name.protocol) {
        return endpoints;
    }
    if group.has_endpoints {
        let shown = if name.port.is_empty() { "without a name" } else { &name.port };
        let known: Vec<String> = group.port_names().collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        report.warning(format_args!(
            "port {shown} ({}, targetPort {target}) is in none of its EndpointSlices, so its \
             connections are refused; ports that they have: {known}",
            name.protocol
        ));
    }
    Vec::new()
}

/// The frontends of a port, without those that another has.
fn claim(
    name: &PortName,
    port: u16,
    common: &Common,
    taken: &mut Taken,
    report: &mut Report<'_>,
) -> Vec<Frontend> {
    let mut frontends = Vec::new();
    for &address in &common.addresses {
        match taken.entry((address, port, name.protocol)) {
            Entry::Vacant(entry) => {
                entry.insert(name.clone());
                frontends.push(Frontend { kind: FrontendKind::ClusterIp, address, port });
            }
            Entry::Occupied(entry) => report.error(format_args!(
                "{} on {} is that of {} already",
                SocketAddr::new(address, port),
                name.protocol,
                entry.get()
            )),
        }
    }
    frontends
}
