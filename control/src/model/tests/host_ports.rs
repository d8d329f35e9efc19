//! Ports of pods on the addresses of their nodes.

use super::*;

const NODES: &str = "
kind: Node
metadata: {name: a}
status: {addresses: [{type: InternalIP, address: 192.168.0.1}, {type: ExternalIP, address: 203.0.113.1}]}
---
kind: Node
metadata: {name: b}
status: {addresses: [{type: InternalIP, address: 192.168.0.2}]}
---
";

/// A pod on a node with ports of its only container.
fn pod(name: &str, node: &str, ports: &str) -> String {
    let last = name.bytes().map(u32::from).sum::<u32>() % 250;
    format!(
        "kind: Pod\nmetadata: {{name: {name}}}\nspec: {{nodeName: {node}, containers: [{{ports: [{ports}]}}]}}\n\
         status: {{phase: Running, podIPs: [{{ip: 10.244.0.{last}}}, {{ip: 'fd00:244::{last}'}}]}}\n---\n"
    )
}

/// Each port as `name node frontends: endpoints`.
fn ports(state: &State) -> Vec<String> {
    let end = |address, port| std::net::SocketAddr::new(address, port).to_string();
    let shown = |(name, port): (&PortName, &ServicePort)| {
        let at: Vec<String> = port.frontends.iter().map(|f| end(f.address, f.port)).collect();
        let to: Vec<String> = port.endpoints.iter().map(|e| end(e.address, e.port)).collect();
        let node = port.node.as_deref().unwrap_or("-");
        format!("{name} on {node} at {}: {}", at.join(" "), to.join(" "))
    };
    state.services.iter().map(shown).collect()
}

#[test]
fn all_forms() {
    let (state, problems) = state(
        &(NODES.to_owned()
            + &pod(
                "p",
                "a",
                "{containerPort: 80, hostPort: 8080}, {containerPort: 81}, {containerPort: 82, hostPort: 0}, \
             {containerPort: 53, hostPort: 53, protocol: UDP, hostIP: 0.0.0.0}, \
             {containerPort: 53, hostPort: 53, protocol: TCP, hostIP: 192.168.0.1}, \
             {containerPort: 9, hostPort: 9, protocol: SCTP, hostIP: '::'}",
            )),
    );
    assert_eq!(problems, [""; 0]);
    assert_eq!(
        ports(&state),
        [
            "default/p:hostPort 0.0.0.0:53/UDP on a at 0.0.0.0:53: 10.244.0.112:53 [fd00:244::112]:53",
            "default/p:hostPort 192.168.0.1:53/TCP on a at 192.168.0.1:53: 10.244.0.112:53 [fd00:244::112]:53",
            "default/p:hostPort 8080/TCP on a at 0.0.0.0:8080 [::]:8080: 10.244.0.112:80 [fd00:244::112]:80",
            "default/p:hostPort [::]:9/SCTP on a at [::]:9: 10.244.0.112:9 [fd00:244::112]:9",
        ]
    );
    let port = state.services.values().next().unwrap();
    assert_eq!((port.kind.name(), port.frontends[0].kind), ("HostPort", FrontendKind::HostPort));
    assert!(port.endpoints.iter().all(|e| e.is_on("a") && e.ready));
}

#[test]
fn which_pods_have_them() {
    let text = "
kind: Pod
metadata: {name: host}
spec: {nodeName: a, hostNetwork: true, containers: [{ports: [{containerPort: 80, hostPort: 80}]}]}
status: {podIP: 192.168.0.1}
---
kind: Pod
metadata: {name: done}
spec: {nodeName: a, containers: [{ports: [{containerPort: 81, hostPort: 81}]}]}
status: {phase: Succeeded, podIP: 10.244.0.8}
---
kind: Pod
metadata: {name: inits}
spec:
  nodeName: a
  initContainers: [{ports: [{containerPort: 82, hostPort: 82}]}, {restartPolicy: Always, ports: [{containerPort: 83, hostPort: 83}]}]
status: {podIP: 10.244.0.9}
";
    let (state, problems) = state(text);
    assert_eq!(problems, [""; 0]);
    assert_eq!(ports(&state), ["default/inits:hostPort 83/TCP on a at 0.0.0.0:83: 10.244.0.9:83"]);
}

#[test]
fn who_is_in_whose_way() {
    let at = |ip: &str, protocol: &str| {
        let ip = if ip.is_empty() { String::new() } else { format!(", hostIP: '{ip}'") };
        format!("{{containerPort: 80, hostPort: 8080, protocol: {protocol}{ip}}}")
    };
    // Each: where pod p is and its port, the same of pod q, how many of q's frontends are left.
    let cases = [
        (("a", "127.0.0.1", "TCP"), ("a", "192.168.0.1", "TCP"), 1),
        (("a", "192.168.0.1", "TCP"), ("a", "192.168.0.1", "UDP"), 1),
        (("a", "192.168.0.1", "TCP"), ("a", "192.168.0.1", "TCP"), 0),
        (("a", "", "TCP"), ("b", "", "TCP"), 2),
        (("a", "", "TCP"), ("a", "", "TCP"), 0),
        (("a", "", "TCP"), ("a", "192.168.0.1", "TCP"), 0),
        (("a", "192.168.0.1", "TCP"), ("a", "", "TCP"), 1),
        (("a", "0.0.0.0", "TCP"), ("a", "::", "TCP"), 1),
    ];
    for (p, q, left) in cases {
        let text =
            format!("{NODES}{}{}", pod("p", p.0, &at(p.1, p.2)), pod("q", q.0, &at(q.1, q.2)));
        let (state, problems) = state(&text);
        let of_q: usize = state
            .services
            .iter()
            .filter(|(name, _)| name.service.name == "q")
            .map(|(_, port)| port.frontends.len())
            .sum();
        assert_eq!(of_q, left, "{p:?} {q:?}");
        let conflict = problems.iter().any(|text| {
            text.starts_with("error f: Pod default/q: hostPort ")
                && text.contains("is that of default/p:hostPort ")
        });
        let wanted = if q.1.is_empty() { 2 } else { 1 };
        assert_eq!(conflict, left < wanted, "{p:?} {q:?}: {problems:?}");
    }
}

#[test]
fn services_come_first() {
    // Each: the spec of a service, whether a host port 8080 at all addresses is in its way on node a.
    for (spec, free) in [
        ("type: NodePort, clusterIP: 10.96.0.1, ports: [{port: 80, nodePort: 30080}]", true),
        ("type: NodePort, clusterIP: 10.96.0.1, ports: [{port: 80, nodePort: 8080}]", false),
        (
            "type: NodePort, clusterIP: 10.96.0.1, ports: [{port: 80, protocol: UDP, nodePort: 8080}]",
            true,
        ),
        ("clusterIP: 10.96.0.1, externalIPs: [203.0.113.1], ports: [{port: 8080}]", false),
        ("clusterIP: 10.96.0.1, externalIPs: [192.168.0.2], ports: [{port: 8080}]", true),
    ] {
        let text = NODES.to_owned()
            + &service(spec)
            + "kind: Endpoints\nmetadata: {name: web}\n---\n"
            + &pod("p", "a", "{containerPort: 80, hostPort: 8080, hostIP: 0.0.0.0}");
        let (state, _) = state(&text);
        assert_eq!(state.services.len(), 1 + usize::from(free), "{spec}");
    }
}

#[test]
fn problems() {
    for (port, said) in [
        ("{hostPort: 80}", "error f: Pod default/p: hostPort 80 has no containerPort"),
        ("{hostPort: 70000}", "error f: Pod default/p: hostPort: 70000 is out of 1..65535"),
        (
            "{hostPort: 80, containerPort: 80, hostIP: here}",
            "error f: Pod default/p: hostPort 80: hostIP: \"here\" is no IP address",
        ),
        (
            "{hostPort: 80, containerPort: 80, protocol: ICMP}",
            "error f: Pod default/p: hostPort 80: \"ICMP\" is no protocol; TCP, UDP and SCTP are served",
        ),
    ] {
        let (state, problems) = state(&(NODES.to_owned() + &pod("p", "a", port)));
        assert_eq!(problems, [said]);
        assert!(state.services.is_empty());
    }
    let v4 = pod("p", "a", "{containerPort: 80, hostPort: 80, hostIP: '::1'}");
    let (_, problems) = state(&(NODES.to_owned() + &v4.replace(", {ip: 'fd00:244::112'}", "")));
    assert_eq!(
        problems,
        [
            "warning f: Pod default/p: hostPort 80 left out: the pod has no address of hostIP's family"
        ]
    );
}
