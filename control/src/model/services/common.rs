//! What the ports of a service have in common.

use std::net::IpAddr;

use twinpath_core::service::Algorithm;

use crate::model::parse::{Report, address, port, range};
use crate::model::{
    ALGORITHM_ANNOTATION, Distribution, FORWARDING_ANNOTATION, ForwardingMode, FrontendKind, Range,
    ServiceKind, ServicePort, TrafficPolicy,
};
use crate::objects::{Service, ServiceSpec};

/// The label of a service that some other proxy serves.
const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
/// The label of a service that no proxy serves.
const HEADLESS: &str = "service.kubernetes.io/headless";
/// The annotation that asks for hints.
const TOPOLOGY_MODE: &str = "service.kubernetes.io/topology-mode";
/// The annotation that had the source ranges before there was a field.
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";

/// The affinity of clients where the service does not say how long, in seconds.
const AFFINITY: u32 = 10_800;
/// The longest affinity, in seconds.
const MAX_AFFINITY: i64 = 86_400;

/// What the ports of a service have in common.
pub(super) struct Common {
    /// The addresses, those that decide in doubt first.
    pub(super) addresses: Vec<(FrontendKind, IpAddr)>,
    /// A port with all that is the same for every port.
    pub(super) port: ServicePort,
}

impl Common {
    /// Whether it has a cluster address of this family, and so is served in it at all.
    pub(super) fn has_family(&self, is_ipv4: bool) -> bool {
        has_family(&self.addresses, is_ipv4)
    }
}

fn has_family(addresses: &[(FrontendKind, IpAddr)], is_ipv4: bool) -> bool {
    let is_cluster = |kind| kind == FrontendKind::ClusterIp;
    addresses.iter().any(|(kind, address)| is_cluster(*kind) && address.is_ipv4() == is_ipv4)
}

/// `None` for a service that the datapath has nothing to do with.
pub(super) fn common(service: &Service, report: &mut Report<'_>) -> Option<Common> {
    let spec = &service.spec;
    let kind = kind(service, report)?;
    let mut addresses = cluster_addresses(spec, report)?;
    if spec.ports.is_empty() {
        report.error("has no ports; add them under spec.ports");
        return None;
    }
    let source_ranges = match kind {
        ServiceKind::LoadBalancer => source_ranges(service, report),
        _ => Some(Vec::new()),
    };
    if kind == ServiceKind::LoadBalancer {
        let given = balancer_addresses(service, report);
        if source_ranges.is_some() {
            add(&mut addresses, FrontendKind::LoadBalancer, given, report);
        }
    }
    let mut external = Vec::new();
    for text in spec.external_ips.iter().filter(|text| !text.is_empty()) {
        external.extend(report.check("externalIPs", address(text)));
    }
    add(&mut addresses, FrontendKind::ExternalIp, external, report);

    let external_policy =
        policy("externalTrafficPolicy", spec.external_traffic_policy.as_deref(), report);
    let listens = kind == ServiceKind::LoadBalancer && external_policy == TrafficPolicy::Local;
    let health_check = spec.health_check_node_port.filter(|number| listens && *number != 0);
    let port = ServicePort {
        kind,
        algorithm: choice(
            service,
            ALGORITHM_ANNOTATION,
            [("random", Algorithm::Random), ("maglev", Algorithm::Maglev)],
            report,
        ),
        forwarding: choice(
            service,
            FORWARDING_ANNOTATION,
            [("snat", ForwardingMode::Snat), ("dsr", ForwardingMode::Dsr)],
            report,
        ),
        external_policy,
        internal_policy: policy(
            "internalTrafficPolicy",
            spec.internal_traffic_policy.as_deref(),
            report,
        ),
        affinity: affinity(spec, report),
        source_ranges: source_ranges.unwrap_or_default(),
        health_check_port: health_check
            .and_then(|number| report.check("healthCheckNodePort", port(number))),
        distribution: distribution(service, report),
        publish_not_ready: spec.publish_not_ready_addresses,
        ..ServicePort::default()
    };
    Some(Common { addresses, port })
}

fn kind(service: &Service, report: &mut Report<'_>) -> Option<ServiceKind> {
    if let Some(name) = service.metadata.labels.get(PROXY_NAME) {
        report.note(format_args!("left out: its label {PROXY_NAME} gives it to {name:?}"));
        return None;
    }
    if service.metadata.labels.contains_key(HEADLESS) {
        report.note(format_args!("left out: its label {HEADLESS} keeps proxies from it"));
        return None;
    }
    match service.spec.r#type.as_deref() {
        None | Some("" | "ClusterIP") => Some(ServiceKind::ClusterIp),
        Some("NodePort") => Some(ServiceKind::NodePort),
        Some("LoadBalancer") => Some(ServiceKind::LoadBalancer),
        Some("ExternalName") => {
            report.note("left out: ExternalName is for the DNS server alone");
            None
        }
        Some(other) => {
            report.error(format_args!(
                "type {other:?} is none of ClusterIP, NodePort, LoadBalancer and ExternalName"
            ));
            None
        }
    }
}

fn cluster_addresses(
    spec: &ServiceSpec,
    report: &mut Report<'_>,
) -> Option<Vec<(FrontendKind, IpAddr)>> {
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
    let mut addresses: Vec<(FrontendKind, IpAddr)> = Vec::new();
    for text in texts {
        let address = report.check("clusterIP", address(text));
        let new = address.filter(|address| !addresses.iter().any(|(_, other)| other == address));
        addresses.extend(new.map(|address| (FrontendKind::ClusterIp, address)));
    }
    if addresses.is_empty() {
        return None;
    }
    for (name, is_ipv4) in [("IPv4", true), ("IPv6", false)] {
        if spec.ip_families.iter().any(|family| family == name) && !has_family(&addresses, is_ipv4)
        {
            report.warning(format_args!(
                "ipFamilies has {name} and clusterIPs has no {name} address, so it is not served in {name}"
            ));
        }
    }
    Some(addresses)
}

/// Adds addresses of the families that the service has. As in kube-proxy, what has no cluster address is
/// not served.
fn add(
    addresses: &mut Vec<(FrontendKind, IpAddr)>,
    kind: FrontendKind,
    new: Vec<IpAddr>,
    report: &mut Report<'_>,
) {
    for address in new {
        if has_family(addresses, address.is_ipv4()) {
            addresses.push((kind, address));
        } else {
            let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
            report.warning(format_args!(
                "{address} left out: the service has no {family} address among its clusterIPs"
            ));
        }
    }
}

/// What the load balancer has given. What was asked of it does not count.
fn balancer_addresses(service: &Service, report: &mut Report<'_>) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    let given = &service.status.load_balancer.ingress;
    for ingress in given {
        let Some(text) = ingress.ip.as_deref().filter(|text| !text.is_empty()) else {
            let name = ingress.hostname.as_deref().unwrap_or_default();
            report.note(format_args!(
                "load balancer {name:?} left out: it has a name only, and sends to the node ports"
            ));
            continue;
        };
        if ingress.ip_mode.as_deref() == Some("Proxy") {
            report.note(format_args!(
                "load balancer {text} left out: its ipMode is Proxy, so packets to it do not come here"
            ));
            continue;
        }
        addresses.extend(report.check("status.loadBalancer", address(text)));
    }
    let asked = service.spec.load_balancer_ip.as_deref().filter(|text| !text.is_empty());
    match asked {
        _ if !given.is_empty() => {}
        None => report.note("status.loadBalancer is empty, so it has no external address"),
        Some(text) => report.note(format_args!(
            "status.loadBalancer is empty, so it has no external address, though loadBalancerIP asks for {text}"
        )),
    }
    addresses
}

/// `None` where there should be some and all are wrong: rather nobody than everybody.
fn source_ranges(service: &Service, report: &mut Report<'_>) -> Option<Vec<Range>> {
    let field = &service.spec.load_balancer_source_ranges;
    let annotation = service.metadata.annotations.get(SOURCE_RANGES).filter(|_| field.is_empty());
    let listed = annotation.iter().flat_map(|text| text.split(','));
    let texts = field.iter().map(String::as_str).chain(listed).map(str::trim);
    let texts: Vec<&str> = texts.filter(|text| !text.is_empty()).collect();
    let mut ranges = Vec::new();
    for text in &texts {
        let range = report.check("loadBalancerSourceRanges", range(text));
        ranges.extend(range.filter(|range| !ranges.contains(range)));
    }
    if ranges.is_empty() && !texts.is_empty() {
        report.error("no range of clients is left, so its load balancer's addresses are left out");
        return None;
    }
    Some(ranges)
}

fn policy(what: &str, text: Option<&str>, report: &mut Report<'_>) -> TrafficPolicy {
    match text {
        None | Some("" | "Cluster") => TrafficPolicy::Cluster,
        Some("Local") => TrafficPolicy::Local,
        Some(other) => {
            report.error(format_args!("{what} is {other:?}; it may be Cluster or Local"));
            TrafficPolicy::Cluster
        }
    }
}

fn affinity(spec: &ServiceSpec, report: &mut Report<'_>) -> Option<u32> {
    match spec.session_affinity.as_deref() {
        None | Some("" | "None") => return None,
        Some("ClientIP") => {}
        Some(other) => {
            report.error(format_args!("sessionAffinity is {other:?}; it may be None or ClientIP"));
            return None;
        }
    }
    let Some(seconds) = spec.session_affinity_config.client_ip.timeout_seconds else {
        return Some(AFFINITY);
    };
    let valid = u32::try_from(seconds).ok().filter(|_| (1..=MAX_AFFINITY).contains(&seconds));
    if valid.is_none() {
        report.error(format_args!(
            "sessionAffinityConfig: timeoutSeconds {seconds} is out of 1..{MAX_AFFINITY}; \
             {AFFINITY} is used"
        ));
    }
    Some(valid.unwrap_or(AFFINITY))
}

fn distribution(service: &Service, report: &mut Report<'_>) -> Distribution {
    let annotation = service.metadata.annotations.get(TOPOLOGY_MODE).map(String::as_str);
    if matches!(annotation, Some("Auto" | "auto")) {
        return Distribution::Auto;
    }
    match service.spec.traffic_distribution.as_deref() {
        None | Some("") => Distribution::Anywhere,
        Some("PreferClose" | "PreferSameZone") => Distribution::SameZone,
        Some("PreferSameNode") => Distribution::SameNode,
        Some(other) => {
            report.warning(format_args!(
                "trafficDistribution {other:?} is none of PreferClose, PreferSameZone and \
                 PreferSameNode; the hints of its endpoints are used as they are"
            ));
            Distribution::Anywhere
        }
    }
}

/// One of two words in an annotation.
fn choice<T: Copy>(
    service: &Service,
    annotation: &str,
    choices: [(&str, T); 2],
    report: &mut Report<'_>,
) -> Option<T> {
    let text = service.metadata.annotations.get(annotation)?;
    let found = choices.iter().find(|(word, _)| text == word);
    if found.is_none() {
        let [(one, _), (other, _)] = choices;
        report
            .error(format_args!("annotation {annotation} is {text:?}; it may be {one} or {other}"));
    }
    found.map(|(_, choice)| *choice)
}
