//! Ports of pods on the addresses of their nodes.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::claims::{Claimed, Claims, unspecified};
use super::parse::{Report, address, port, protocol};
use super::{
    Endpoint, Frontend, FrontendKind, Pod, PortName, ServiceKind, ServicePort, State, Target,
};
use crate::objects::{ContainerPort, PodSpec};
use crate::problem::Problem;
use crate::read::Objects;

/// Adds the host ports of pods that run. Pods on the host's network need none.
pub(super) fn host_ports(
    objects: &Objects,
    state: &mut State,
    claims: &mut Claims,
    problems: &mut Vec<Problem>,
) {
    for (name, pod) in state.pods.iter().filter(|(_, pod)| !pod.host_network) {
        let Some(object) = objects.pods.get(name) else { continue };
        let mut report = Report::new(problems, &object.file, "Pod", name);
        for entry in ports(&object.value.spec) {
            let Some((name, mut found)) = host_port(pod, entry, &mut report) else { continue };
            // Of a port that two containers name, the first counts.
            if state.services.contains_key(&name) {
                continue;
            }
            let node = (pod.node.as_str(), state.nodes.get(&pod.node));
            let mut other = BTreeSet::new();
            found.frontends.retain(|frontend| {
                match claims.on_node(&name, node, frontend.address, frontend.port) {
                    Claimed::Now => true,
                    Claimed::Before => false,
                    Claimed::By(owner) => {
                        other.insert(owner);
                        false
                    }
                }
            });
            for owner in other {
                let text = &name.port;
                report.error(format_args!("{text}/{} is that of {owner} already", name.protocol));
            }
            if !found.frontends.is_empty() {
                state.services.insert(name, found);
            }
        }
    }
}

/// The ports of all containers that stay.
fn ports(spec: &PodSpec) -> impl Iterator<Item = &ContainerPort> {
    let beside = |container: &&_| {
        let container: &crate::objects::Container = container;
        container.restart_policy.as_deref() == Some("Always")
    };
    let stay = spec.containers.iter().chain(spec.init_containers.iter().filter(beside));
    let ports = stay.flat_map(|container| &container.ports);
    ports.filter(|port| port.host_port.is_some_and(|number| number != 0))
}

fn host_port(
    pod: &Pod,
    entry: &ContainerPort,
    report: &mut Report<'_>,
) -> Option<(PortName, ServicePort)> {
    let number = report.check("hostPort", port(entry.host_port?))?;
    let what = format!("hostPort {number}");
    let protocol = report.check(&what, protocol(entry.protocol.as_deref()))?;
    let Some(target) = entry.container_port else {
        report.error(format_args!("{what} has no containerPort"));
        return None;
    };
    let target = report.check(&format!("{what}: containerPort"), port(target))?;
    let host: Option<IpAddr> = match entry.host_ip.as_deref() {
        None | Some("") => None,
        Some(text) => Some(report.check(&format!("{what}: hostIP"), address(text))?),
    };
    let families = [true, false].into_iter().filter(|is_ipv4| {
        pod.addresses.iter().any(|address| address.is_ipv4() == *is_ipv4)
            && host.is_none_or(|host| host.is_ipv4() == *is_ipv4)
    });
    let frontends: Vec<Frontend> = families
        .map(|is_ipv4| Frontend {
            kind: FrontendKind::HostPort,
            address: host.unwrap_or(unspecified(is_ipv4)),
            port: number,
        })
        .collect();
    if frontends.is_empty() {
        report.warning(format_args!("{what} left out: the pod has no address of hostIP's family"));
        return None;
    }
    let endpoints = pod.addresses.iter().map(|address| Endpoint {
        node: Some(pod.node.clone()),
        pod: Some(pod.name.clone()),
        ..Endpoint::new(*address, target)
    });
    let port = match host {
        None => what,
        Some(host) => format!("hostPort {}", SocketAddr::new(host, number)),
    };
    let found = ServicePort {
        kind: ServiceKind::HostPort,
        port: number,
        target: Target::Number(target),
        frontends,
        node: Some(pod.node.clone()),
        endpoints: endpoints.collect(),
        ..ServicePort::default()
    };
    Some((PortName { service: pod.name.clone(), port, protocol }, found))
}
