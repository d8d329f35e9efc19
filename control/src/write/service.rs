//! Services, and host ports.

use std::net::IpAddr;

use serde_json::{Map, Value, json};
use twinpath_core::service::Algorithm;

use crate::model::{
    ALGORITHM_ANNOTATION, Distribution, FORWARDING_ANNOTATION, ForwardingMode, FrontendKind,
    PortName, ServiceKind, ServicePort, Target, TrafficPolicy,
};
use crate::objects::ObjectName;

/// The annotation that asks for hints.
const TOPOLOGY_MODE: &str = "service.kubernetes.io/topology-mode";

/// A Service with these ports. What a Service says of all its ports is that of the first.
pub(super) fn service(name: &ObjectName, ports: &[(&PortName, &ServicePort)]) -> Value {
    let default = ServicePort::default();
    let common = ports.first().map_or(&default, |(_, port)| port);
    let addresses = |kind: FrontendKind| {
        let mut found: Vec<IpAddr> = Vec::new();
        for frontend in ports.iter().flat_map(|(_, port)| &port.frontends) {
            if frontend.kind == kind && !found.contains(&frontend.address) {
                found.push(frontend.address);
            }
        }
        found.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let mut metadata = json!({"name": name.name, "namespace": name.namespace});
    let annotations = annotations(common);
    if !annotations.is_empty() {
        metadata["annotations"] = Value::Object(annotations);
    }
    let cluster = addresses(FrontendKind::ClusterIp);
    let mut spec = Map::new();
    let mut set = |key: &str, value: Value| {
        spec.insert(key.to_owned(), value);
    };
    set("type", json!(common.kind.name()));
    set("clusterIP", json!(cluster.first()));
    set("clusterIPs", json!(cluster));
    let external = addresses(FrontendKind::ExternalIp);
    if !external.is_empty() {
        set("externalIPs", json!(external));
    }
    if common.internal_policy == TrafficPolicy::Local {
        set("internalTrafficPolicy", json!("Local"));
    }
    if common.external_policy == TrafficPolicy::Local {
        set("externalTrafficPolicy", json!("Local"));
    }
    if let Some(number) = ports.iter().find_map(|(_, port)| port.health_check_port) {
        set("healthCheckNodePort", json!(number));
    }
    if !common.source_ranges.is_empty() {
        let ranges: Vec<_> = common.source_ranges.iter().map(ToString::to_string).collect();
        set("loadBalancerSourceRanges", json!(ranges));
    }
    if let Some(seconds) = common.affinity {
        set("sessionAffinity", json!("ClientIP"));
        set("sessionAffinityConfig", json!({"clientIP": {"timeoutSeconds": seconds}}));
    }
    match common.distribution {
        Distribution::Anywhere | Distribution::Auto => {}
        Distribution::SameZone => set("trafficDistribution", json!("PreferSameZone")),
        Distribution::SameNode => set("trafficDistribution", json!("PreferSameNode")),
    }
    if common.publish_not_ready {
        set("publishNotReadyAddresses", json!(true));
    }
    set("ports", ports.iter().map(|(name, port)| service_port(name, port)).collect());
    let mut service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": spec,
    });
    let balanced = addresses(FrontendKind::LoadBalancer);
    if !balanced.is_empty() {
        let ingress: Vec<_> = balanced.iter().map(|ip| json!({"ip": ip})).collect();
        service["status"] = json!({"loadBalancer": {"ingress": ingress}});
    }
    service
}

fn annotations(port: &ServicePort) -> Map<String, Value> {
    let mut annotations = Map::new();
    if let Some(algorithm) = port.algorithm {
        let word = match algorithm {
            Algorithm::Random => "random",
            Algorithm::Maglev => "maglev",
        };
        annotations.insert(ALGORITHM_ANNOTATION.to_owned(), json!(word));
    }
    if let Some(mode) = port.forwarding {
        let word = match mode {
            ForwardingMode::Snat => "snat",
            ForwardingMode::Dsr => "dsr",
        };
        annotations.insert(FORWARDING_ANNOTATION.to_owned(), json!(word));
    }
    if port.distribution == Distribution::Auto {
        annotations.insert(TOPOLOGY_MODE.to_owned(), json!("Auto"));
    }
    annotations
}

fn service_port(name: &PortName, port: &ServicePort) -> Value {
    let mut entry = json!({"port": port.port, "protocol": name.protocol.to_string()});
    if !name.port.is_empty() {
        entry["name"] = json!(name.port);
    }
    entry["targetPort"] = match &port.target {
        Target::Number(number) => json!(number),
        Target::Name(name) => json!(name),
    };
    if let Some(number) = port.node_port.filter(|_| port.kind != ServiceKind::ClusterIp) {
        entry["nodePort"] = json!(number);
    }
    entry
}

/// A port of a container that is reached on the addresses of the node.
pub(super) fn host_port(name: &PortName, port: &ServicePort) -> Value {
    let mut entry = json!({"hostPort": port.port, "protocol": name.protocol.to_string()});
    if let Target::Number(number) = port.target {
        entry["containerPort"] = json!(number);
    }
    // The name says whether an address was given; a frontend has one in any case.
    let address = port.frontends.first().map(|frontend| frontend.address);
    if let (Some(address), false) = (address, is_everywhere(name, port)) {
        entry["hostIP"] = json!(address.to_string());
    }
    entry
}

fn is_everywhere(name: &PortName, port: &ServicePort) -> bool {
    name.port == format!("hostPort {}", port.port)
}
