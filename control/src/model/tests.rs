use twinpath_core::service::Algorithm;

use super::*;
use crate::read::read;

mod frontends;
mod host_ports;
mod options;

fn state(text: &str) -> (State, Vec<String>) {
    let (state, problems) = State::new(&read("f", text.as_bytes()).unwrap());
    let shown = problems.iter().map(|p| format!("{} {p}", p.severity.name())).collect();
    (state, shown)
}

/// A service `web` with these parts of its spec.
fn service(spec: &str) -> String {
    format!("kind: Service\nmetadata: {{name: web}}\nspec: {{{spec}}}\n---\n")
}

/// A slice of `web` with these endpoints and ports.
fn slice(name: &str, endpoints: &str, ports: &str) -> String {
    format!(
        "kind: EndpointSlice\nmetadata: {{name: {name}, labels: {{kubernetes.io/service-name: web}}}}\n\
         addressType: IPv4\nendpoints: [{endpoints}]\nports: [{ports}]\n---\n"
    )
}

/// The endpoints of the only service port, as `address:port` and the conditions that hold.
fn endpoints(state: &State) -> Vec<String> {
    let port = state.services.values().next().unwrap();
    let shown = |e: &Endpoint| {
        let conditions =
            [(e.ready, " ready"), (e.serving, " serving"), (e.terminating, " terminating")];
        let conditions: String = conditions.iter().filter(|(is, _)| *is).map(|(_, c)| *c).collect();
        format!("{}:{}{conditions}", e.address, e.port)
    };
    port.endpoints.iter().map(shown).collect()
}

#[test]
fn a_service_with_all_its_parts() {
    let text = "
kind: List
items:
- kind: Service
  metadata: {name: web, namespace: shop, annotations: {twinpath.dev/algorithm: maglev}}
  spec:
    type: NodePort
    clusterIP: 10.96.0.10
    clusterIPs: [10.96.0.10, 'fd00:96::a']
    ports:
    - {name: http, port: 80, targetPort: web, nodePort: 30080}
    - {name: dns, port: 53, protocol: UDP, targetPort: 5353, nodePort: 30053}
- kind: EndpointSlice
  metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
  addressType: IPv4
  endpoints:
  - addresses: [10.244.1.5]
    conditions: {ready: true, serving: true, terminating: false}
    nodeName: a
    zone: east
    hints: {forZones: [{name: east}, {name: west}], forNodes: [{name: a}]}
    targetRef: {kind: Pod, name: web-x, namespace: shop}
  ports: [{name: http, port: 8080, protocol: TCP}, {name: dns, port: 5353, protocol: UDP}]
- kind: EndpointSlice
  metadata: {name: web-2, namespace: shop, labels: {kubernetes.io/service-name: web}}
  addressType: IPv6
  endpoints:
  - addresses: ['fd00:244::5']
  ports: [{name: http, port: 8081, protocol: TCP}]
";
    let (state, problems) = state(text);
    assert_eq!(problems, [""; 0]);
    let name = |port: &str, protocol| PortName {
        service: ObjectName::new("shop", "web"),
        port: port.to_owned(),
        protocol,
    };
    let frontends = |port, node_port| {
        let frontend = |kind, ip: &str, port| Frontend { kind, address: ip.parse().unwrap(), port };
        vec![
            frontend(FrontendKind::ClusterIp, "10.96.0.10", port),
            frontend(FrontendKind::ClusterIp, "fd00:96::a", port),
            frontend(FrontendKind::NodePort, "0.0.0.0", node_port),
            frontend(FrontendKind::NodePort, "::", node_port),
        ]
    };
    let v4 = |port| Endpoint {
        node: Some("a".to_owned()),
        pod: Some(ObjectName::new("shop", "web-x")),
        zone: Some("east".to_owned()),
        for_zones: vec!["east".to_owned(), "west".to_owned()],
        for_nodes: vec!["a".to_owned()],
        ..Endpoint::new("10.244.1.5".parse().unwrap(), port)
    };
    let v6 = Endpoint::new("fd00:244::5".parse().unwrap(), 8081);
    let http = ServicePort {
        kind: ServiceKind::NodePort,
        port: 80,
        target: Target::Name("web".to_owned()),
        node_port: Some(30_080),
        frontends: frontends(80, 30_080),
        algorithm: Some(Algorithm::Maglev),
        endpoints: vec![v4(8080), v6],
        ..ServicePort::default()
    };
    let dns = ServicePort {
        port: 53,
        target: Target::Number(5353),
        node_port: Some(30_053),
        frontends: frontends(53, 30_053),
        endpoints: vec![v4(5353)],
        ..http.clone()
    };
    let expected = [(name("http", Protocol::Tcp), http), (name("dns", Protocol::Udp), dns)];
    assert_eq!(state.services, expected.into_iter().collect());
    assert_eq!(name("http", Protocol::Tcp).to_string(), "shop/web:http/TCP");
}

#[test]
fn conditions_and_merged_slices() {
    let service = service("clusterIP: 10.96.0.1, ports: [{port: 80}]");
    // Each: its name, slices with their endpoints and port, the endpoints that come of them.
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str]);
    let cases: &[Case<'_>] = &[
        ("nothing said", &[("{addresses: [10.0.0.1]}", "")], &["10.0.0.1:8080 ready serving"]),
        (
            "null",
            &[("{addresses: [10.0.0.1], conditions: {ready: null, serving: null}}", "")],
            &["10.0.0.1:8080 ready serving"],
        ),
        (
            "not ready",
            &[("{addresses: [10.0.0.1], conditions: {ready: false}}", "")],
            &["10.0.0.1:8080"],
        ),
        (
            "terminating",
            &[(
                "{addresses: [10.0.0.1], conditions: {ready: false, serving: true, terminating: true}}",
                "",
            )],
            &["10.0.0.1:8080 serving terminating"],
        ),
        (
            "one endpoint in two slices, ready in one",
            &[
                (
                    "{addresses: [10.0.0.1], conditions: {ready: false}}, {addresses: [10.0.0.2]}",
                    "",
                ),
                (
                    "{addresses: [10.0.0.1]}, {addresses: [10.0.0.2], conditions: {ready: false}}",
                    "",
                ),
            ],
            &["10.0.0.1:8080 ready serving", "10.0.0.2:8080 ready serving"],
        ),
        (
            "one address on two ports",
            &[("{addresses: [10.0.0.1]}", ""), ("{addresses: [10.0.0.1]}", "port: 9090")],
            &["10.0.0.1:8080 ready serving", "10.0.0.1:9090 ready serving"],
        ),
        (
            "by address, not by text",
            &[("{addresses: [10.0.0.10]}, {addresses: [10.0.0.9, 10.0.0.8]}", "")],
            &["10.0.0.9:8080 ready serving", "10.0.0.10:8080 ready serving"],
        ),
        ("no endpoints", &[("", "")], &[]),
    ];
    for (case, slices, expected) in cases {
        let mut text = service.clone();
        for (index, (endpoints, port)) in slices.iter().enumerate() {
            let port = if port.is_empty() { "port: 8080" } else { port };
            text += &slice(&format!("web-{index}"), endpoints, &format!("{{{port}}}"));
        }
        let (state, problems) = state(&text);
        assert_eq!(endpoints(&state), *expected, "{case}");
        assert_eq!(problems, [""; 0], "{case}");
    }
}

#[test]
fn endpoints_of_the_old_kind_count_where_there_is_no_slice() {
    let old = "kind: Endpoints\nmetadata: {name: web}\nsubsets:\n\
               - {addresses: [{ip: 10.0.0.1, nodeName: a}], notReadyAddresses: [{ip: 10.0.0.2}], \
               ports: [{port: 8080}]}\n---\n";
    let service = service("clusterIP: 10.96.0.1, ports: [{port: 80}]");
    let (without, problems) = state(&format!("{service}{old}"));
    assert_eq!(endpoints(&without), ["10.0.0.1:8080 ready serving", "10.0.0.2:8080"]);
    assert_eq!(problems, [""; 0]);
    let slice = slice("web-1", "{addresses: [10.0.0.7]}", "{port: 8080}");
    let (with, _) = state(&format!("{service}{old}{slice}"));
    assert_eq!(endpoints(&with), ["10.0.0.7:8080 ready serving"]);
}

#[test]
fn nodes_and_pods() {
    let text = "
kind: List
items:
- kind: Node
  metadata: {name: a, labels: {topology.kubernetes.io/zone: east}}
  spec: {podCIDR: 10.244.1.0/24, podCIDRs: [10.244.1.0/24, 'fd00:244:1::/64']}
  status:
    addresses:
    - {type: InternalIP, address: 192.168.0.1}
    - {type: InternalIP, address: 'fd00::1'}
    - {type: ExternalIP, address: 203.0.113.1}
    - {type: Hostname, address: a}
- {kind: Node, metadata: {name: b}, spec: {podCIDR: 10.244.2.0/24}}
- kind: Pod
  metadata: {name: runs}
  spec: {nodeName: a}
  status: {phase: Running, podIP: 10.244.1.5, podIPs: [{ip: 10.244.1.5}, {ip: 'fd00:244:1::5'}]}
- kind: Pod
  metadata: {name: host}
  spec: {nodeName: c, hostNetwork: true}
  status: {phase: Running, podIP: 192.168.0.3}
- {kind: Pod, metadata: {name: waits}, status: {phase: Pending}}
- {kind: Pod, metadata: {name: starts}, spec: {nodeName: a}, status: {phase: Pending}}
- {kind: Pod, metadata: {name: done}, spec: {nodeName: a}, status: {phase: Succeeded, podIP: 10.244.1.6}}
- {kind: Pod, metadata: {name: failed}, spec: {nodeName: a}, status: {phase: Failed, podIP: 10.244.1.7}}
";
    let (state, problems) = state(text);
    let shown: Vec<String> = state
        .nodes
        .iter()
        .map(|(name, node)| {
            let ranges: Vec<String> = node.pod_ranges.iter().map(ToString::to_string).collect();
            let (own, external) = (&node.addresses, &node.external_addresses);
            format!("{name} {:?} {own:?} {external:?} {ranges:?}", node.zone)
        })
        .collect();
    assert_eq!(
        shown,
        [
            r#"a Some("east") [192.168.0.1, fd00::1] [203.0.113.1] ["10.244.1.0/24", "fd00:244:1::/64"]"#,
            r#"b None [] [] ["10.244.2.0/24"]"#,
            "c None [] [] []",
        ]
    );
    let shown: Vec<String> = state
        .pods
        .values()
        .map(|pod| format!("{} {:?} {} {}", pod.name, pod.addresses, pod.node, pod.host_network))
        .collect();
    assert_eq!(
        shown,
        ["default/host [192.168.0.3] c true", "default/runs [10.244.1.5, fd00:244:1::5] a false",]
    );
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with("warning f: Node b: has no InternalIP"), "{problems:?}");
}

#[test]
fn pods_and_nodes_that_only_endpoints_mention() {
    let text = service("clusterIP: 10.96.0.1, ports: [{port: 80}]")
        + &slice(
            "web-1",
            "{addresses: [10.244.1.5], nodeName: a, targetRef: {kind: Pod, name: p}}, \
             {addresses: [192.168.0.2], nodeName: b, targetRef: {kind: Pod, name: h}}, \
             {addresses: [10.244.1.6], nodeName: a, targetRef: {kind: Pod, name: done}}, \
             {addresses: [10.244.1.7], targetRef: {kind: Pod, name: nowhere}}",
            "{port: 8080}",
        )
        + "kind: Pod\nmetadata: {name: done}\nspec: {nodeName: a}\nstatus: {phase: Failed}\n---\n\
           kind: Node\nmetadata: {name: b}\n\
           status: {addresses: [{type: InternalIP, address: 192.168.0.2}]}\n";
    let (state, problems) = state(&text);
    assert_eq!(problems, [""; 0]);
    assert_eq!(state.nodes.keys().collect::<Vec<_>>(), ["a", "b"]);
    let shown: Vec<String> = state
        .pods
        .values()
        .map(|pod| format!("{} {:?} {} {}", pod.name, pod.addresses, pod.node, pod.host_network))
        .collect();
    assert_eq!(shown, ["default/h [192.168.0.2] b true", "default/p [10.244.1.5] a false"]);
}

#[test]
fn problems_say_what_to_do() {
    let slice = slice("web-1", "{addresses: [10.0.0.1]}", "{name: http, port: 8080}");
    // Each: the spec of a service, what is said, how many ports are served nevertheless.
    let cases: &[(&str, &str, usize)] = &[
        (
            "clusterIP: None, ports: [{port: 80}]",
            "note f: Service default/web: left out: headless, so clients connect to its endpoints themselves",
            0,
        ),
        (
            "type: ExternalName, externalName: example.com",
            "note f: Service default/web: left out: ExternalName is for the DNS server alone",
            0,
        ),
        (
            "type: Other, ports: [{port: 80}]",
            "error f: Service default/web: type \"Other\" is none of ClusterIP, NodePort, LoadBalancer and ExternalName",
            0,
        ),
        (
            "ports: [{port: 80}]",
            "error f: Service default/web: has no clusterIP; give what `kubectl get` prints, where the cluster has set it",
            0,
        ),
        (
            "clusterIP: 10.96.0, ports: [{port: 80}]",
            "error f: Service default/web: clusterIP: \"10.96.0\" is no IP address",
            0,
        ),
        (
            "clusterIP: 10.96.0.1",
            "error f: Service default/web: has no ports; add them under spec.ports",
            0,
        ),
        (
            "clusterIP: 10.96.0.1, ports: [{name: http}]",
            "error f: Service default/web: port http has no number; add it as `port:`",
            0,
        ),
        (
            "clusterIP: 10.96.0.1, ports: [{name: http, port: 65536}]",
            "error f: Service default/web: port http: 65536 is out of 1..65535",
            0,
        ),
        (
            "clusterIP: 10.96.0.1, ports: [{name: http, port: 80, targetPort: -1}]",
            "error f: Service default/web: port http: targetPort: -1 is out of 1..65535",
            0,
        ),
        (
            "clusterIP: 10.96.0.1, ports: [{name: http, port: 80, protocol: tcp}]",
            "error f: Service default/web: port http: \"tcp\" is no protocol; TCP, UDP and SCTP are served",
            0,
        ),
        (
            "clusterIP: 10.96.0.1, ports: [{name: http, port: 80}, {name: http, port: 81}]",
            "error f: Service default/web: two of its ports have the same name (http)",
            1,
        ),
        (
            "clusterIP: 10.96.0.1, ports: [{name: http, port: 80}, {name: web, port: 81, targetPort: w}]",
            "warning f: Service default/web: port web (TCP, targetPort w) is in none of its EndpointSlices, \
             so its connections are refused; ports that they have: http/TCP",
            2,
        ),
        (
            "clusterIP: 10.96.0.9, ports: [{name: http, port: 7}]",
            "error f: Service default/web: 10.96.0.9:7 on TCP is that of a/first:x/TCP already",
            0,
        ),
        ("clusterIP: 10.96.0.1, ports: [{name: http, port: 80, targetPort: 0}]", "", 1),
    ];
    let first = "kind: Service\nmetadata: {name: first, namespace: a}\n\
                 spec: {clusterIP: 10.96.0.9, ports: [{name: x, port: 7}]}\n---\n\
                 kind: Endpoints\nmetadata: {name: first, namespace: a}\n---\n";
    for (spec, expected, served) in cases {
        let (state, problems) = state(&format!("{first}{}{slice}", service(spec)));
        assert_eq!(problems.join("\n"), *expected, "{spec}");
        assert_eq!(state.services.len(), served + 1, "{spec}");
    }
}

#[test]
fn problems_with_slices() {
    let web = service("clusterIP: 10.96.0.1, ports: [{port: 80}]");
    let labels = "labels: {kubernetes.io/service-name: web}";
    let cases: &[(&str, &str)] = &[
        (
            "",
            "warning there are Services and no EndpointSlices, so all connections are refused; \
             give `kubectl get endpointslices -A` too",
        ),
        (
            "kind: EndpointSlice\nmetadata: {name: s}",
            "note f: EndpointSlice default/s: has no label kubernetes.io/service-name and so serves no Service\n\
             warning f: Service default/web: has no EndpointSlice, so its connections are refused; \
             give `kubectl get endpointslices -A` too",
        ),
        (
            "addressType: FQDN",
            "warning f: EndpointSlice default/s: has endpoints with names (FQDN), which are not served",
        ),
        (
            "addressType: IPX",
            "error f: EndpointSlice default/s: addressType \"IPX\" is not IPv4 or IPv6",
        ),
        (
            "addressType: IPv6\nendpoints: [{addresses: [10.0.0.1]}]",
            "error f: EndpointSlice default/s: 10.0.0.1 is not of the slice's addressType",
        ),
        ("endpoints: [{}]", "error f: EndpointSlice default/s: an endpoint has no addresses"),
        (
            "endpoints: [{addresses: [nowhere]}]",
            "error f: EndpointSlice default/s: addresses: \"nowhere\" is no IP address",
        ),
        (
            "ports: [{name: '', port: 0}]",
            "error f: EndpointSlice default/s: port: 0 is out of 1..65535",
        ),
        ("ports: [{port: null}, {port: 90, protocol: SCTP, name: s}]", ""),
    ];
    for (text, expected) in cases {
        let text = match *text {
            "" => String::new(),
            text if text.starts_with("kind") => text.to_owned(),
            text => format!("kind: EndpointSlice\nmetadata: {{name: s, {labels}}}\n{text}\n"),
        };
        let (_, problems) = state(&format!("{web}{text}"));
        assert_eq!(problems.join("\n"), *expected, "{text}");
    }
}
