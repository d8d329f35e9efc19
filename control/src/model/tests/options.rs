//! What else a service says.

use super::*;

/// The only port of `web` with these parts of its metadata and spec, and what is said of it.
fn port(metadata: &str, spec: &str) -> (Option<ServicePort>, String) {
    let text = format!(
        "kind: Service\nmetadata: {{name: web, {metadata}}}\n\
         spec: {{clusterIP: 10.96.0.1, {spec}, ports: [{{port: 80, nodePort: 30080}}]}}\n\
         status: {{loadBalancer: {{ingress: [{{ip: 192.0.2.1}}]}}}}\n---\n\
         kind: Endpoints\nmetadata: {{name: web}}\n"
    );
    let (mut state, problems) = state(&text);
    let prefix = " f: Service default/web";
    let said: Vec<String> = problems.iter().map(|p| p.replace(prefix, "")).collect();
    (state.services.pop_first().map(|(_, port)| port), said.join("\n"))
}

/// The only port of a service of this kind with these parts of its spec.
fn quiet(kind: &str, spec: &str) -> ServicePort {
    let (port, said) = port("", &format!("type: {kind}, {spec}"));
    assert_eq!(said, "", "{spec}");
    port.unwrap()
}

#[test]
fn affinity() {
    let seconds = |n: i64| {
        format!(
            "sessionAffinity: ClientIP, sessionAffinityConfig: {{clientIP: {{timeoutSeconds: {n}}}}}"
        )
    };
    let affinity = |spec: &str| quiet("NodePort", spec).affinity;
    assert_eq!(affinity("sessionAffinity: None"), None);
    assert_eq!(affinity("sessionAffinity: ClientIP"), Some(10_800));
    assert_eq!(affinity("sessionAffinity: ClientIP, sessionAffinityConfig: null"), Some(10_800));
    assert_eq!(affinity(&seconds(1)), Some(1));
    assert_eq!(affinity(&seconds(86_400)), Some(86_400));
    for number in [0, -1, 86_401, 1 << 40] {
        let (port, said) = port("", &format!("type: NodePort, {}", seconds(number)));
        assert_eq!(
            said,
            format!(
                "error: sessionAffinityConfig: timeoutSeconds {number} is out of 1..86400; 10800 is used"
            )
        );
        assert_eq!(port.unwrap().affinity, Some(10_800));
    }
    let (port, said) = port("", "type: NodePort, sessionAffinity: Cookie");
    assert_eq!(said, "error: sessionAffinity is \"Cookie\"; it may be None or ClientIP");
    assert_eq!(port.unwrap().affinity, None);
}

#[test]
fn policies() {
    use TrafficPolicy::{Cluster, Local};
    for (spec, external, internal) in [
        ("externalTrafficPolicy: Cluster, internalTrafficPolicy: Cluster", Cluster, Cluster),
        ("externalTrafficPolicy: Local", Local, Cluster),
        ("internalTrafficPolicy: Local", Cluster, Local),
    ] {
        let port = quiet("NodePort", spec);
        assert_eq!((port.external_policy, port.internal_policy), (external, internal), "{spec}");
    }
    let (_, said) = port("", "type: NodePort, externalTrafficPolicy: Here");
    assert_eq!(said, "error: externalTrafficPolicy is \"Here\"; it may be Cluster or Local");
}

#[test]
fn source_ranges() {
    let ranges = |port: &ServicePort| -> Vec<String> {
        port.source_ranges.iter().map(ToString::to_string).collect()
    };
    let annotated = |text: &str| {
        format!("annotations: {{service.beta.kubernetes.io/load-balancer-source-ranges: '{text}'}}")
    };
    let field = "loadBalancerSourceRanges: [192.0.2.0/24, ' 10.0.0.0/8 ', 192.0.2.0/24]";
    assert_eq!(ranges(&quiet("LoadBalancer", field)), ["192.0.2.0/24", "10.0.0.0/8"]);
    assert_eq!(ranges(&quiet("NodePort", field)), [""; 0]);

    let (found, said) = port(&annotated("172.16.0.0/12, fd00::/8,"), "type: LoadBalancer");
    assert_eq!(
        (ranges(&found.unwrap()), said.as_str()),
        (vec!["172.16.0.0/12".into(), "fd00::/8".into()], "")
    );
    let (found, _) = port(&annotated("172.16.0.0/12"), &format!("type: LoadBalancer, {field}"));
    assert_eq!(ranges(&found.unwrap()), ["192.0.2.0/24", "10.0.0.0/8"]);

    // Rather nobody than everybody.
    let (found, said) = port("", "type: LoadBalancer, loadBalancerSourceRanges: [10.0.0.0]");
    assert!(said.ends_with(
        "\nerror: no range of clients is left, so its load balancer's addresses are left out"
    ));
    let kinds: Vec<_> = found.unwrap().frontends.iter().map(|f| f.kind).collect();
    assert_eq!(kinds, [FrontendKind::ClusterIp, FrontendKind::NodePort]);
    let (found, _) =
        port("", "type: LoadBalancer, loadBalancerSourceRanges: [10.0.0.0, 10.0.0.0/8]");
    assert_eq!(found.unwrap().frontends.len(), 3);
}

#[test]
fn preferences() {
    let port = |metadata: &str, spec: &str| {
        let (port, said) = port(metadata, &format!("type: NodePort, {spec}"));
        (port.unwrap().distribution, said)
    };
    let auto = "annotations: {service.kubernetes.io/topology-mode: Auto}";
    for (metadata, spec, expected) in [
        ("", "trafficDistribution: null", Distribution::Anywhere),
        ("", "trafficDistribution: PreferClose", Distribution::SameZone),
        ("", "trafficDistribution: PreferSameZone", Distribution::SameZone),
        ("", "trafficDistribution: PreferSameNode", Distribution::SameNode),
        (auto, "trafficDistribution: PreferClose", Distribution::Auto),
    ] {
        assert_eq!(port(metadata, spec), (expected, String::new()), "{spec}");
    }
    let (found, said) = port("", "trafficDistribution: Far");
    assert_eq!(found, Distribution::Anywhere);
    assert!(said.starts_with("warning: trafficDistribution \"Far\" is none of"), "{said}");

    let spec = "clusterIP: 10.96.0.1, trafficDistribution: PreferClose, ports: [{port: 80}]";
    for (hints, said) in
        [("", 1), (", hints: {forZones: [{name: a}]}", 0), (", hints: {forNodes: [{name: a}]}", 0)]
    {
        let endpoint = format!("{{addresses: [10.0.0.1]{hints}}}");
        let (_, problems) = state(&(service(spec) + &slice("web-1", &endpoint, "{port: 80}")));
        assert_eq!(problems.len(), said, "{problems:?}");
        let text = "note f: Service default/web: its EndpointSlices have no hints, so no endpoint is preferred";
        assert!(problems.iter().all(|problem| problem == text), "{problems:?}");
    }
}

#[test]
fn forwarding() {
    let port = |mode: &str| {
        let (port, said) = port(
            &format!("annotations: {{twinpath.dev/forwarding-mode: {mode}}}"),
            "type: NodePort",
        );
        (port.unwrap().forwarding, said)
    };
    assert_eq!(port("snat"), (Some(ForwardingMode::Snat), String::new()));
    assert_eq!(port("dsr"), (Some(ForwardingMode::Dsr), String::new()));
    let said = "error: annotation twinpath.dev/forwarding-mode is \"DSR\"; it may be snat or dsr";
    assert_eq!(port("DSR"), (None, said.to_owned()));
}

#[test]
fn services_of_others() {
    for (label, said) in [
        (
            "service.kubernetes.io/service-proxy-name: mesh",
            "note: left out: its label service.kubernetes.io/service-proxy-name gives it to \"mesh\"",
        ),
        (
            "service.kubernetes.io/headless: ''",
            "note: left out: its label service.kubernetes.io/headless keeps proxies from it",
        ),
    ] {
        assert_eq!(
            port(&format!("labels: {{{label}}}"), "type: NodePort"),
            (None, said.to_owned())
        );
    }
}

#[test]
fn addresses_that_are_not_ready_may_be_published() {
    let spec = "clusterIP: 10.96.0.1, publishNotReadyAddresses: true, ports: [{port: 80}]";
    let slice = slice("web-1", "{addresses: [10.0.0.1], conditions: {ready: false}}", "{port: 80}");
    let (published, _) = state(&(service(spec) + &slice));
    assert_eq!(endpoints(&published), ["10.0.0.1:80 ready"]);
    let (other, _) = state(&(service("clusterIP: 10.96.0.1, ports: [{port: 80}]") + &slice));
    assert_eq!(endpoints(&other), ["10.0.0.1:80"]);
}

#[test]
fn health_checks() {
    let spec = |name: &str, port: u16| {
        format!(
            "kind: Service\nmetadata: {{name: {name}}}\nspec: {{type: LoadBalancer, \
             externalTrafficPolicy: Local, healthCheckNodePort: {port}, clusterIP: 10.96.0.{port}, \
             ports: [{{name: a, port: 1}}, {{name: b, port: 2}}]}}\n\
             status: {{loadBalancer: {{ingress: [{{ip: 192.0.2.{port}}}]}}}}\n---\n"
        )
    };
    let text = spec("web", 31)
        + &slice(
            "web-1",
            "{addresses: [10.0.0.1], nodeName: a}, \
             {addresses: [10.0.0.2], nodeName: a}, \
             {addresses: [10.0.0.3], nodeName: a, conditions: {ready: false}}, \
             {addresses: [10.0.0.4], nodeName: b, conditions: {ready: false, serving: true, terminating: true}}",
            "{name: a, port: 1}, {name: b, port: 2}",
        )
        + &spec("xx", 32)
        + "kind: Endpoints\nmetadata: {name: xx}\n---\n";
    let (state, problems) = super::state(&text);
    assert_eq!(problems, [""; 0]);
    let told = |node: &str| -> Vec<String> {
        let told = state.health_checks(node).into_iter();
        told.map(|(port, c)| format!("{port} {} {} {}", c.service, c.local_ready, c.status()))
            .collect()
    };
    assert_eq!(told("a"), ["31 default/web 2 200", "32 default/xx 0 503"]);
    // One that is going is served, and not told of.
    assert_eq!(told("b"), ["31 default/web 0 503", "32 default/xx 0 503"]);

    // Only load balancers that must know ask for it, and one service has a number.
    assert_eq!(
        quiet("NodePort", "externalTrafficPolicy: Local, healthCheckNodePort: 31")
            .health_check_port,
        None
    );
    assert_eq!(quiet("LoadBalancer", "healthCheckNodePort: 31").health_check_port, None);
    let same = text.replace("healthCheckNodePort: 32", "healthCheckNodePort: 31");
    let (state, problems) = super::state(&same);
    assert_eq!(
        problems,
        [
            "error f: Service default/xx: healthCheckNodePort 31 on TCP is that of default/web:healthCheckNodePort/TCP already"
        ]
    );
    assert_eq!(state.health_checks("a").len(), 1);
}
