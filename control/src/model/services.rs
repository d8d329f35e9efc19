//! Services.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use self::common::{Common, common};
use super::claims::{Claimed, Claims, unspecified};
use super::endpoints::Group;
use super::parse::{Report, port, protocol};
use super::{
    Distribution, Endpoint, Frontend, FrontendKind, PortName, Protocol, ServiceKind, ServicePort,
    State, Target,
};
use crate::objects::{self, NumberOrName, ObjectName};
use crate::problem::{Problem, Severity};
use crate::read::{Object, Objects};

mod common;

/// Where a cluster takes its node ports from unless it was told otherwise.
const NODE_PORTS: std::ops::RangeInclusive<u16> = 30_000..=32_767;

pub(super) fn services(
    objects: &Objects,
    groups: &HashMap<ObjectName, Group>,
    state: &mut State,
    claims: &mut Claims,
    problems: &mut Vec<Problem>,
) {
    let no_slices = objects.slices.is_empty() && objects.endpoints.is_empty();
    for (name, object) in &objects.services {
        let given = Given { name, object, group: groups.get(name), no_slices };
        state.services.extend(service(&given, claims, problems));
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

/// A Service, and what belongs to it.
pub(crate) struct Given<'a> {
    pub(crate) name: &'a ObjectName,
    pub(crate) object: &'a Object<objects::Service>,
    pub(crate) group: Option<&'a Group>,
    /// Whether no service has endpoints, of which one problem tells.
    pub(crate) no_slices: bool,
}

/// The ports of one service.
pub(crate) fn service(
    given: &Given<'_>,
    claims: &mut Claims,
    problems: &mut Vec<Problem>,
) -> BTreeMap<PortName, ServicePort> {
    let Given { name, object, group, no_slices } = *given;
    let mut ports = BTreeMap::new();
    let mut report = Report::new(problems, &object.file, "Service", name);
    let Some(mut common) = common(&object.value, &mut report) else { return ports };
    if group.is_none() && !no_slices {
        report.warning(
            "has no EndpointSlice, so its connections are refused; \
             give `kubectl get endpointslices -A` too",
        );
    }
    health_check(name, &mut common, claims, &mut report);
    let mut has_hints = common.port.distribution == Distribution::Anywhere;
    for entry in &object.value.spec.ports {
        let Some((port_name, mut port)) = service_port(name, entry, &common, &mut report) else {
            continue;
        };
        if ports.contains_key(&port_name) {
            let shown = if port_name.port.is_empty() { "no name" } else { &port_name.port };
            report.error(format_args!("two of its ports have the same name ({shown})"));
            continue;
        }
        if let Some(group) = group {
            port.endpoints = endpoints(&port_name, &port, group, &mut report);
        }
        has_hints |= port.endpoints.iter().any(is_hinted);
        if port_name.protocol == Protocol::Sctp {
            check_sctp(&port_name, &port, &mut report);
        }
        port.frontends = claim(&port_name, &port, &common, claims, &mut report);
        if !port.frontends.is_empty() {
            ports.insert(port_name, port);
        }
    }
    if !has_hints && group.is_some_and(|group| group.has_endpoints) {
        report.note("its EndpointSlices have no hints, so no endpoint is preferred");
    }
    ports
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
    let protocol = report.check(&what, protocol(entry.protocol.as_deref()))?;
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
    let port = ServicePort {
        port: number,
        target,
        node_port: node_port(&what, entry, common.port.kind, report),
        ..common.port.clone()
    };
    Some((PortName { service: service.clone(), port: name, protocol }, port))
}

fn node_port(
    what: &str,
    entry: &objects::ServicePort,
    kind: ServiceKind,
    report: &mut Report<'_>,
) -> Option<u16> {
    let Some(number) = entry.node_port.filter(|number| *number != 0) else {
        if kind == ServiceKind::NodePort {
            report.warning(format_args!(
                "{what} has no nodePort; give what `kubectl get` prints, where the cluster has set it"
            ));
        }
        return None;
    };
    if kind == ServiceKind::ClusterIp {
        report.warning(format_args!("{what}: nodePort {number} left out: its type is ClusterIP"));
        return None;
    }
    let number = report.check(&format!("{what}: nodePort"), port(number))?;
    if !NODE_PORTS.contains(&number) {
        report.warning(format_args!(
            "{what}: nodePort {number} is out of {}..{}, where clusters take them from; \
             it must not be the port of a server of the nodes",
            NODE_PORTS.start(),
            NODE_PORTS.end()
        ));
    }
    Some(number)
}

/// The port of the health checks, if nobody else has it.
fn health_check(
    service: &ObjectName,
    common: &mut Common,
    claims: &mut Claims,
    report: &mut Report<'_>,
) {
    let Some(number) = common.port.health_check_port else { return };
    let port = "healthCheckNodePort".to_owned();
    let name = PortName { service: service.clone(), port, protocol: Protocol::Tcp };
    for is_ipv4 in [true, false] {
        if let Claimed::By(other) = claims.everywhere(&name, unspecified(is_ipv4), number) {
            report.error(format_args!(
                "healthCheckNodePort {number} on TCP is that of {other} already"
            ));
            common.port.health_check_port = None;
            return;
        }
    }
}

/// What serves a port. Endpoints go by the name of the service's port, whatever its target is; their
/// own numbers are the ones that the target stands for.
fn endpoints(
    name: &PortName,
    port: &ServicePort,
    group: &Group,
    report: &mut Report<'_>,
) -> Vec<Endpoint> {
    if let Some(mut endpoints) = group.port(&name.port, name.protocol) {
        if port.publish_not_ready {
            endpoints.iter_mut().for_each(|endpoint| endpoint.ready = true);
        }
        return endpoints;
    }
    if group.has_endpoints {
        let shown = if name.port.is_empty() { "without a name" } else { &name.port };
        let known: Vec<String> = group.port_names().collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        report.warning(format_args!(
            "port {shown} ({}, targetPort {}) is in none of its EndpointSlices, so its \
             connections are refused; ports that they have: {known}",
            name.protocol, port.target
        ));
    }
    Vec::new()
}

fn is_hinted(endpoint: &Endpoint) -> bool {
    !endpoint.for_zones.is_empty() || !endpoint.for_nodes.is_empty()
}

/// The transport checksum of SCTP is over all bytes, so its ports cannot be rewritten on the way.
fn check_sctp(name: &PortName, port: &ServicePort, report: &mut Report<'_>) {
    let target = match port.target {
        Target::Number(number) => Some(number),
        Target::Name(_) => None,
    };
    let listens = |number: u16| {
        target.is_none_or(|target| target == number)
            && port.endpoints.iter().all(|endpoint| endpoint.port == number)
    };
    for (what, number) in [("port", Some(port.port)), ("nodePort", port.node_port)] {
        if let Some(number) = number.filter(|number| !listens(*number)) {
            report.warning(format_args!(
                "{name}: {what} {number} is not the port of the pods, and ports of SCTP cannot be \
                 rewritten; its packets are dropped"
            ));
        }
    }
}

/// The frontends of a port, without those that another has.
fn claim(
    name: &PortName,
    port: &ServicePort,
    common: &Common,
    claims: &mut Claims,
    report: &mut Report<'_>,
) -> Vec<Frontend> {
    let node_port = [true, false]
        .into_iter()
        .filter(|is_ipv4| common.has_family(*is_ipv4))
        .filter_map(|is_ipv4| Some((unspecified(is_ipv4), port.node_port?)));
    let fixed = common.addresses.iter().map(|(kind, address)| (*kind, *address, port.port));
    let on_nodes = node_port.map(|(address, number)| (FrontendKind::NodePort, address, number));
    let mut frontends = Vec::new();
    for (kind, address, port) in fixed.chain(on_nodes) {
        match claims.everywhere(name, address, port) {
            Claimed::Now => frontends.push(Frontend { kind, address, port }),
            Claimed::Before => {}
            Claimed::By(other) => report.error(format_args!(
                "{} on {} is that of {other} already",
                shown(kind, address, port),
                name.protocol,
            )),
        }
    }
    frontends
}

fn shown(kind: FrontendKind, address: IpAddr, port: u16) -> String {
    match kind {
        FrontendKind::NodePort => format!("nodePort {port}"),
        _ => SocketAddr::new(address, port).to_string(),
    }
}
