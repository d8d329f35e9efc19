//! Where services are reached.

use super::*;

/// The frontends of a service's ports, `port: kind address:port`.
fn frontends(state: &State) -> Vec<String> {
    let mut shown = Vec::new();
    for (name, port) in &state.services {
        for Frontend { kind, address, port } in &port.frontends {
            let end = std::net::SocketAddr::new(*address, *port);
            shown.push(format!("{}/{} {kind:?} {end}", name.port, name.protocol));
        }
    }
    shown
}

/// A service with all kinds of addresses.
const ALL: &str = "
kind: Service
metadata: {name: web}
spec:
  type: LoadBalancer
  clusterIPs: [10.96.0.1, 'fd00:96::1']
  ipFamilies: [IPv4, IPv6]
  externalIPs: [198.51.100.1, 192.0.2.2]
  loadBalancerIP: 192.0.2.99
  ports: [{name: http, port: 80, nodePort: 30080}]
status:
  loadBalancer:
    ingress: [{ip: 192.0.2.1}, {ip: 192.0.2.2, ipMode: VIP}, {ip: '2001:db8::1'}, {ip: 192.0.2.3, ipMode: Proxy}, {hostname: lb.example.com}]
---
kind: Endpoints
metadata: {name: web}
---
";

#[test]
fn all_kinds() {
    let (state, problems) = state(ALL);
    assert_eq!(
        frontends(&state),
        [
            "http/TCP ClusterIp 10.96.0.1:80",
            "http/TCP ClusterIp [fd00:96::1]:80",
            "http/TCP LoadBalancer 192.0.2.1:80",
            // An external address, too: the source ranges decide.
            "http/TCP LoadBalancer 192.0.2.2:80",
            "http/TCP LoadBalancer [2001:db8::1]:80",
            "http/TCP ExternalIp 198.51.100.1:80",
            "http/TCP NodePort 0.0.0.0:30080",
            "http/TCP NodePort [::]:30080",
        ]
    );
    assert_eq!(
        problems,
        [
            "note f: Service default/web: load balancer 192.0.2.3 left out: its ipMode is Proxy, so packets to it do not come here",
            "note f: Service default/web: load balancer \"lb.example.com\" left out: it has a name only, and sends to the node ports",
        ]
    );
}

#[test]
fn one_number_under_three_protocols() {
    let ports = ["TCP", "UDP", "SCTP"]
        .map(|p| {
            format!("{{name: {}, port: 53, protocol: {p}, nodePort: 30053}}", p.to_lowercase())
        })
        .join(", ");
    let spec = format!("type: NodePort, clusterIP: 10.96.0.1, ports: [{ports}]");
    let ports = "{name: tcp, port: 53}, {name: udp, port: 53, protocol: UDP}, \
                 {name: sctp, port: 53, protocol: SCTP}";
    let text = service(&spec) + &slice("web-1", "{addresses: [10.0.0.1]}", ports);
    let (state, problems) = state(&text);
    assert_eq!(
        frontends(&state),
        [
            "sctp/SCTP ClusterIp 10.96.0.1:53",
            "sctp/SCTP NodePort 0.0.0.0:30053",
            "tcp/TCP ClusterIp 10.96.0.1:53",
            "tcp/TCP NodePort 0.0.0.0:30053",
            "udp/UDP ClusterIp 10.96.0.1:53",
            "udp/UDP NodePort 0.0.0.0:30053",
        ]
    );
    assert!(state.services.values().all(|port| port.endpoints.len() == 1));
    assert_eq!(
        problems,
        [
            "warning f: Service default/web: default/web:sctp/SCTP: nodePort 30053 is not the port of the pods, \
          and ports of SCTP cannot be rewritten; its packets are dropped"
        ]
    );
    assert_eq!(Protocol::Sctp.number(), 132);
}

#[test]
fn ports_of_sctp_must_be_those_of_the_pods() {
    // Each: the port, what the pods listen on, whether that is told.
    for (port, listens, told) in [
        ("port: 7", 7, false),
        ("port: 7, targetPort: 8", 8, true),
        ("port: 7, targetPort: sigtran", 7, false),
        ("port: 7, targetPort: sigtran", 8, true),
    ] {
        let spec = format!("clusterIP: 10.96.0.1, ports: [{{{port}, protocol: SCTP}}]");
        let listens = format!("{{port: {listens}, protocol: SCTP}}");
        let (state, problems) =
            state(&(service(&spec) + &slice("web-1", "{addresses: [10.0.0.1]}", &listens)));
        assert_eq!(state.services.len(), 1);
        assert_eq!(problems.len(), usize::from(told), "{port}: {problems:?}");
        assert!(problems.iter().all(|text| text.contains("SCTP: port 7 is not")), "{problems:?}");
    }
}

#[test]
fn a_frontend_is_that_of_one_port() {
    // Each: the spec of a second service, what is said, its frontends.
    let cases: &[(&str, &str, &[&str])] = &[
        ("clusterIP: 10.96.0.1, ports: [{port: 80}]", "10.96.0.1:80 on TCP is that of", &[]),
        (
            "clusterIP: 10.96.0.1, ports: [{port: 80, protocol: UDP}]",
            "",
            &["/UDP ClusterIp 10.96.0.1:80"],
        ),
        (
            "clusterIP: 10.96.0.2, externalIPs: [192.0.2.1], ports: [{port: 80}]",
            "192.0.2.1:80 on TCP is that of",
            &["/TCP ClusterIp 10.96.0.2:80"],
        ),
        // Load balancers may share an address.
        (
            "clusterIP: 10.96.0.2, externalIPs: [192.0.2.1], ports: [{port: 81}]",
            "",
            &["/TCP ClusterIp 10.96.0.2:81", "/TCP ExternalIp 192.0.2.1:81"],
        ),
        (
            "type: NodePort, clusterIP: 10.96.0.2, ports: [{port: 80, nodePort: 30080}]",
            "nodePort 30080 on TCP is that of",
            &["/TCP ClusterIp 10.96.0.2:80"],
        ),
        // An address of a node is one thing, all of them another: the one decides.
        (
            "clusterIP: 10.96.0.2, externalIPs: [192.168.0.1], ports: [{port: 30080}]",
            "",
            &["/TCP ClusterIp 10.96.0.2:30080", "/TCP ExternalIp 192.168.0.1:30080"],
        ),
    ];
    for (spec, expected, found) in cases {
        let second = format!("kind: Service\nmetadata: {{name: xx}}\nspec: {{{spec}}}\n---\n");
        let endpoints = "kind: Endpoints\nmetadata: {name: xx}\n";
        let (mut state, problems) = state(&format!("{ALL}{second}{endpoints}"));
        let own: Vec<_> = problems.iter().filter(|p| p.contains("default/xx")).collect();
        if expected.is_empty() {
            assert_eq!(own, [""; 0], "{spec}");
        } else {
            let text =
                format!("error f: Service default/xx: {expected} default/web:http/TCP already");
            assert_eq!(own, [&text], "{spec}");
        }
        state.services.retain(|name, _| name.service.name == "xx");
        assert_eq!(frontends(&state), *found, "{spec}");
    }
}

#[test]
fn problems_with_addresses() {
    let v4 = "clusterIP: 10.96.0.1, ports: [{port: 80}]";
    let cases: &[(&str, &str)] = &[
        ("externalIPs: [no]", "error f: Service default/web: externalIPs: \"no\" is no IP address"),
        (
            "externalIPs: ['fd00::1']",
            "warning f: Service default/web: fd00::1 left out: the service has no IPv6 address among its clusterIPs",
        ),
        (
            "ipFamilies: [IPv4, IPv6]",
            "warning f: Service default/web: ipFamilies has IPv6 and clusterIPs has no IPv6 address, so it is not served in IPv6",
        ),
        (
            "type: LoadBalancer",
            "note f: Service default/web: status.loadBalancer is empty, so it has no external address",
        ),
        (
            "type: LoadBalancer, loadBalancerIP: 192.0.2.9",
            "note f: Service default/web: status.loadBalancer is empty, so it has no external address, though loadBalancerIP asks for 192.0.2.9",
        ),
        (
            "type: NodePort",
            "warning f: Service default/web: port has no nodePort; give what `kubectl get` prints, where the cluster has set it",
        ),
    ];
    for (spec, expected) in cases {
        let (state, problems) = state(
            &(service(&format!("{spec}, {v4}")) + "kind: Endpoints\nmetadata: {name: web}\n"),
        );
        assert_eq!(problems, [*expected], "{spec}");
        assert_eq!(frontends(&state), ["/TCP ClusterIp 10.96.0.1:80"], "{spec}");
    }
}

#[test]
fn numbers_of_node_ports() {
    // Each: type and node port, what is said, whether there is one.
    let cases: &[(&str, i64, &str, bool)] = &[
        ("NodePort", 30_000, "", true),
        ("NodePort", 32_767, "", true),
        (
            "NodePort",
            32_768,
            "warning f: Service default/web: port: nodePort 32768 is out of 30000..32767, where clusters take \
             them from; it must not be the port of a server of the nodes",
            true,
        ),
        (
            "NodePort",
            70_000,
            "error f: Service default/web: port: nodePort: 70000 is out of 1..65535",
            false,
        ),
        (
            "ClusterIP",
            30_000,
            "warning f: Service default/web: port: nodePort 30000 left out: its type is ClusterIP",
            false,
        ),
    ];
    for (kind, number, expected, served) in cases {
        let spec = format!(
            "type: {kind}, clusterIP: 10.96.0.1, ports: [{{port: 80, nodePort: {number}}}]"
        );
        let (state, problems) =
            state(&(service(&spec) + "kind: Endpoints\nmetadata: {name: web}\n"));
        assert_eq!(problems.join("\n"), *expected);
        assert_eq!(frontends(&state).len(), 1 + usize::from(*served), "{kind} {number}");
    }
}

#[test]
fn ranges_of_services() {
    let text = "
kind: List
items:
- {kind: ServiceCIDR, apiVersion: networking.k8s.io/v1, metadata: {name: a}, spec: {cidrs: [10.96.0.0/12, 'fd00:96::/108']}}
- {kind: ServiceCIDR, apiVersion: networking.k8s.io/v1, metadata: {name: b}, spec: {cidrs: [10.96.0.0/12, 10.200.0.0/33]}}
- {kind: ServiceCIDR, apiVersion: networking.k8s.io/v1, metadata: {name: c}}
";
    let (state, problems) = state(text);
    let ranges: Vec<String> = state.service_ranges.iter().map(ToString::to_string).collect();
    assert_eq!(ranges, ["10.96.0.0/12", "fd00:96::/108"]);
    assert_eq!(
        problems,
        [
            "error f: ServiceCIDR b: cidrs: \"10.200.0.0/33\" is no address range such as 10.244.0.0/24",
            "error f: ServiceCIDR c: has no ranges; add them under spec.cidrs",
        ]
    );
}
