//! Frontends of all kinds in both scopes.

use std::fmt::Write as _;

use twinpath_core::range::RangeKey;
use twinpath_core::service::{Forwarding, Scope, flag};

use super::*;
use crate::model::Protocol;

/// Nodes a and b in zones of their own, pods 1 and 2 on a, 3 on b.
const NODES: &str = "
kind: List
items:
- {kind: Node, metadata: {name: a, labels: {topology.kubernetes.io/zone: east}}, spec: {podCIDR: 10.0.0.0/30}, status: {addresses: [{type: InternalIP, address: 192.168.0.1}, {type: ExternalIP, address: 203.0.113.1}]}}
- {kind: Node, metadata: {name: b, labels: {topology.kubernetes.io/zone: west}}, spec: {podCIDR: 10.0.0.4/30}, status: {addresses: [{type: InternalIP, address: 192.168.0.2}]}}
---
";

/// A service of type LoadBalancer with this beside its ports, and with endpoints, each the last byte of
/// its address, its node, `r`eady or `d`raining.
fn service(annotation: &str, spec: &str, endpoints: &[&str]) -> String {
    let mut text = format!(
        "kind: Service\nmetadata: {{name: w, annotations: {{{annotation}}}}}\n\
         spec: {{type: LoadBalancer, clusterIP: 10.96.0.1, externalIPs: [198.51.100.1], {spec}, \
         ports: [{{port: 80, nodePort: 30080}}]}}\n\
         status: {{loadBalancer: {{ingress: [{{ip: 192.0.2.1}}]}}}}\n---\n\
         kind: EndpointSlice\nmetadata: {{name: w, labels: {{kubernetes.io/service-name: w}}}}\n\
         ports: [{{port: 8080}}]\nendpoints:\n"
    );
    for endpoint in endpoints {
        let words: Vec<&str> = endpoint.split(' ').collect();
        let is_ready = words[2] == "r";
        writeln!(
            text,
            "- {{addresses: [10.0.0.{}], nodeName: {}, conditions: {{ready: {is_ready}, serving: true, terminating: {}}}}}",
            words[0], words[1], !is_ready
        )
        .unwrap();
    }
    format!("{NODES}{text}---\n")
}

fn planned(text: &str, node: &str, options: &Options) -> Desired {
    let (state, problems) = State::new(&read("f", text.as_bytes()).unwrap());
    assert_eq!(problems, []);
    Planner::default().plan(&state, node, &ByName, options)
}

/// The frontends as `address:port scope: last bytes of the backends' addresses`, and what else there is.
fn shown(desired: &Desired) -> Vec<String> {
    let mut lines = Vec::new();
    for (key, master) in desired.services.iter().filter(|(key, _)| key.slot == 0) {
        if key.protocol == 0 {
            lines.push(format!("{} has services", key.address));
            continue;
        }
        let scope = if key.scope == Scope::External as u8 { "ext" } else { "int" };
        let mut line = format!("{}:{} {scope}:", key.address, key.port.get());
        for id in slots(desired, *key) {
            let text = desired.backends[&id].address.to_string();
            line += &format!(" {}", text.rsplit('.').next().unwrap());
        }
        if master.has(flag::ELSEWHERE) {
            line += " elsewhere";
        }
        if master.has(flag::SOURCE_RANGES) {
            line += " ranges";
        }
        if master.has(flag::LOCAL) {
            line += " local";
        }
        lines.push(line);
    }
    lines
}

#[test]
fn both_scopes_of_all_kinds() {
    let text = service("", "sessionAffinity: ClientIP", &["1 a r", "5 b r"]);
    let desired = planned(&text, "a", &Options::default());
    assert_eq!(
        shown(&desired),
        [
            "0.0.0.0:30080 int: 1 5",
            "0.0.0.0:30080 ext: 1 5",
            "10.96.0.1 has services",
            "10.96.0.1:80 int: 1 5",
            "192.0.2.1 has services",
            "192.0.2.1:80 int: 1 5",
            "192.0.2.1:80 ext: 1 5",
            "198.51.100.1 has services",
            "198.51.100.1:80 int: 1 5",
            "198.51.100.1:80 ext: 1 5",
        ]
    );
    for (key, master) in desired.services.iter().filter(|(key, _)| key.slot == 0) {
        let is_cluster = key.address == address("10.96.0.1");
        if key.protocol != 0 {
            assert_eq!((master.id, master.affinity, master.maglev), (1, 10_800, 0));
            assert_eq!(master.algorithm == Algorithm::Random as u8, is_cluster, "{key:?}");
        }
    }
    // One list, one slice.
    assert_eq!(desired.maglev.len(), 1021);
    let both = Scope::Internal.bit() | Scope::External.bit();
    let member = |backend| (Member { service: 1, backend }, both | Member::CLUSTER);
    assert_eq!(desired.members, [member(1), member(2)].into());
}

#[test]
fn policies() {
    // Each: external and internal policy, endpoints; on node a: what clients in the cluster get at the
    // cluster address and at the node port, and what those outside get there.
    let cases: &[(&str, &str, &[&str], [&str; 3])] = &[
        ("Cluster", "Cluster", &["1 a r", "5 b r"], ["1 5", "1 5", "1 5"]),
        ("Local", "Cluster", &["1 a r", "5 b r"], ["1 5", "1 5", "1"]),
        ("Cluster", "Local", &["1 a r", "5 b r"], ["1", "1 5", "1 5"]),
        ("Local", "Local", &["1 a r", "5 b r"], ["1", "1 5", "1"]),
        ("Local", "Local", &["5 b r"], ["elsewhere", "5", "elsewhere"]),
        ("Local", "Cluster", &["5 b r"], ["5", "5", "elsewhere"]),
        ("Cluster", "Local", &["5 b r"], ["elsewhere", "5", "5"]),
        ("Local", "Local", &["1 a d", "5 b r"], ["1", "5", "1"]),
        ("Local", "Local", &["5 b d"], ["elsewhere", "5", "elsewhere"]),
        ("Local", "Local", &[], ["", "", ""]),
    ];
    for (external, internal, endpoints, expected) in cases {
        let spec = format!("externalTrafficPolicy: {external}, internalTrafficPolicy: {internal}");
        let desired = planned(&service("", &spec, endpoints), "a", &Options::default());
        let lines = shown(&desired);
        let starts = ["10.96.0.1:80 int:", "0.0.0.0:30080 int:", "0.0.0.0:30080 ext:"];
        let policies = [internal, &"Cluster", external];
        for ((start, policy), expected) in starts.iter().zip(policies).zip(expected) {
            let list = format!("{start} {expected}");
            let local = if *policy == "Local" { " local" } else { "" };
            let line = format!("{}{local}", list.trim_end());
            assert!(lines.contains(&line), "{spec}: {line}: {lines:?}");
        }
        // Members are those of the slots, in each scope and under each policy.
        let mut members: BTreeMap<Member, u32> = BTreeMap::new();
        for (key, master) in desired.services.iter().filter(|(key, _)| key.protocol != 0) {
            if key.slot == 0 {
                for backend in slots(&desired, *key) {
                    *members.entry(Member { service: master.id, backend }).or_default() |=
                        master.members(key.scope());
                }
            }
        }
        assert_eq!(desired.members, members, "{spec}");
    }
}

#[test]
fn a_list_of_its_own_has_a_slice_of_its_own() {
    let options = Options { maglev_size: Size::new(11).unwrap(), ..Options::default() };
    let slices = |endpoints: &[&str], annotation: &str, policy: &str| {
        let spec = format!("externalTrafficPolicy: {policy}");
        let desired = planned(&service(annotation, &spec, endpoints), "a", &options);
        let master = |text: &str, scope| desired.services[&frontend(text, 80).seen_from(scope)];
        let found = [
            master("10.96.0.1", Scope::Internal),
            master("192.0.2.1", Scope::Internal),
            master("192.0.2.1", Scope::External),
        ];
        let slice = |master: Service| {
            let start = master.maglev as usize * 11;
            let is_maglev = master.algorithm == Algorithm::Maglev as u8;
            is_maglev.then(|| desired.maglev[start..start + 11].iter().copied().collect())
        };
        (desired.maglev.len() / 11, found.map(slice))
    };
    let some = |ids: &[u32]| Some(ids.iter().copied().collect::<BTreeSet<u32>>());
    let (both, one) = (some(&[1, 2]), some(&[1]));
    let all = &["1 a r", "5 b r"];
    assert_eq!(slices(all, "", "Cluster"), (1, [None, both.clone(), both.clone()]));
    assert_eq!(slices(all, "", "Local"), (2, [None, both.clone(), one.clone()]));
    let maglev = "twinpath.dev/algorithm: maglev";
    assert_eq!(slices(all, maglev, "Local"), (2, [both.clone(), both, one.clone()]));
    assert_eq!(slices(&["1 a r"], maglev, "Local"), (1, [one.clone(), one.clone(), one]));
    assert_eq!(slices(all, "twinpath.dev/algorithm: random", "Local"), (0, [None, None, None]));
}

#[test]
fn hints_hold_on_the_node_that_they_name() {
    let slice = "kind: EndpointSlice\nmetadata: {name: w, labels: {kubernetes.io/service-name: w}}\n\
                 ports: [{port: 8080}]\nendpoints:\n\
                 - {addresses: [10.0.0.1], nodeName: a, hints: {forZones: [{name: east}]}}\n\
                 - {addresses: [10.0.0.5], nodeName: b, hints: {forZones: [{name: west}]}}\n";
    let text = format!(
        "{NODES}kind: Service\nmetadata: {{name: w}}\nspec: {{clusterIP: 10.96.0.1, ports: [{{port: 80}}]}}\n---\n{slice}"
    );
    for (node, expected) in [("a", "1"), ("b", "5"), ("c", "1 5")] {
        let desired = planned(&text, node, &Options::default());
        assert_eq!(shown(&desired)[1], format!("10.96.0.1:80 int: {expected}"), "{node}");
        // The other one is there, for connections that it has.
        assert!(desired.backends.len() == 2 && desired.backends.values().all(Backend::is_active));
    }
}

#[test]
fn source_ranges_are_for_the_load_balancer() {
    let text = service("", "loadBalancerSourceRanges: [172.16.1.1/12]", &["1 a r"]);
    let desired = planned(&text, "a", &Options::default());
    let restricted: Vec<String> =
        shown(&desired).into_iter().filter(|line| line.contains("ranges")).collect();
    assert_eq!(restricted, ["192.0.2.1:80 int: 1 ranges", "192.0.2.1:80 ext: 1 ranges"]);
    let own: Vec<_> = desired.ranges.keys().filter(|range| range.owner == 1).collect();
    assert_eq!(own, [&RangeKey::range(1, address("172.16.0.0"), 12)]);
}

#[test]
fn source_ranges_of_one_family_close_the_other() {
    let text = service("", "loadBalancerSourceRanges: [172.16.0.0/12]", &["1 a r"])
        .replace("clusterIP: 10.96.0.1", "clusterIPs: [10.96.0.1, 'fd00:96::1']")
        .replace("[{ip: 192.0.2.1}]", "[{ip: 192.0.2.1}, {ip: '2001:db8::1'}]");
    let desired = planned(&text, "a", &Options::default());
    for ip in ["192.0.2.1", "2001:db8::1"] {
        for scope in Scope::ALL {
            let master = desired.services[&frontend(ip, 80).seen_from(scope)];
            assert!(master.has(flag::SOURCE_RANGES), "{ip}");
        }
    }
}

#[test]
fn host_ports() {
    let pod = |name: &str, ports: &str| {
        format!(
            "kind: Pod\nmetadata: {{name: {name}}}\nspec: {{nodeName: a, containers: [{{ports: [{ports}]}}]}}\n\
             status: {{podIP: 10.0.0.1}}\n---\n"
        )
    };
    let text = NODES.to_owned()
        + &pod("A", "{containerPort: 80, hostPort: 8080}")
        + &pod("B", "{containerPort: 53, hostPort: 53, hostIP: 192.168.0.1}")
        + &pod("C", "{containerPort: 53, hostPort: 53, hostIP: 127.0.0.1}");
    let desired = planned(&text, "a", &Options { mode: Mode::Dsr, ..Options::default() });
    assert_eq!(
        shown(&desired),
        [
            "127.0.0.1:53 int: 1",
            "127.0.0.1:53 ext: 1",
            "192.168.0.1:53 int: 1",
            "192.168.0.1:53 ext: 1",
            "192.168.0.1:8080 int: 1",
            "192.168.0.1:8080 ext: 1",
            "203.0.113.1:8080 int: 1",
            "203.0.113.1:8080 ext: 1",
        ]
    );
    // Its only backend is here: nothing to choose, nothing to forward.
    let plain = |master: &Service| master.algorithm == 0 && master.forwarding == 0;
    assert!(desired.services.values().all(plain));
    assert!(desired.maglev.is_empty());
    assert_eq!(shown(&planned(&text, "b", &Options::default())), [""; 0]);
}

#[test]
fn an_address_of_a_node_has_no_entry() {
    let text = service("", "internalTrafficPolicy: Cluster", &[]);
    let of_a_node = text.replace("198.51.100.1", "192.168.0.2");
    let has = |text: &str, ip: &str| {
        let desired = planned(text, "a", &Options::default());
        assert!(desired.services.contains_key(&frontend(ip, 80).seen_from(Scope::External)));
        desired.services.contains_key(&ServiceKey::address(address(ip)))
    };
    assert!(has(&text, "198.51.100.1"));
    assert!(!has(&of_a_node, "192.168.0.2"));
}

#[test]
fn forwarding() {
    use Forwarding::{DsrGeneve, DsrIpip, DsrOption, Snat};
    // Each: mode, dispatch, the service's own mode, protocol, what comes of it.
    let cases = [
        (Mode::Snat, Dispatch::Option, "", Protocol::Tcp, Snat),
        (Mode::Dsr, Dispatch::Option, "", Protocol::Tcp, DsrOption),
        (Mode::Dsr, Dispatch::Ipip, "", Protocol::Udp, DsrIpip),
        (Mode::Dsr, Dispatch::Geneve, "", Protocol::Sctp, DsrGeneve),
        (Mode::Hybrid, Dispatch::Ipip, "", Protocol::Tcp, DsrIpip),
        (Mode::Hybrid, Dispatch::Ipip, "", Protocol::Udp, Snat),
        (Mode::Hybrid, Dispatch::Ipip, "", Protocol::Sctp, Snat),
        (Mode::Snat, Dispatch::Geneve, "dsr", Protocol::Udp, DsrGeneve),
        (Mode::Dsr, Dispatch::Option, "snat", Protocol::Tcp, Snat),
        (Mode::Hybrid, Dispatch::Option, "dsr", Protocol::Udp, DsrOption),
    ];
    for (mode, dispatch, own, protocol, expected) in cases {
        let annotation = match own {
            "" => String::new(),
            own => format!("twinpath.dev/forwarding-mode: {own}"),
        };
        // The number of the pods' port is the service's, for SCTP.
        let text = service(&annotation, "externalTrafficPolicy: Cluster", &["1 a r", "5 b r"])
            .replace("nodePort: 30080", &format!("nodePort: 30080, protocol: {protocol}"))
            .replace("[{port: 8080}]", &format!("[{{port: 80, protocol: {protocol}}}]"));
        let (state, _) = State::new(&read("f", text.as_bytes()).unwrap());
        let options = Options { mode, dispatch, ..Options::default() };
        let desired = Planner::default().plan(&state, "a", &ByName, &options);
        for (key, master) in desired.services.iter().filter(|(key, _)| key.protocol != 0) {
            let is_external = key.slot == 0 && key.scope == Scope::External as u8;
            let expected = if is_external { expected } else { Snat };
            assert_eq!(master.forwarding, expected as u8, "{mode:?} {own} {protocol} {key:?}");
        }
    }
}

#[test]
fn tunnels_end_at_the_backends_of_the_node() {
    let text = service("", "externalTrafficPolicy: Cluster", &["1 a r", "2 a d", "5 b r"]);
    let ends = |node: &str, dispatch| {
        let options = Options { mode: Mode::Dsr, dispatch, ..Options::default() };
        let desired = planned(&text, node, &options);
        let shown = |(tuple, id): (&Tuple, &u32)| {
            assert_eq!((tuple.source_port.get(), tuple.protocol), (0, 6));
            assert_eq!(tuple.source, desired.backends[id].address);
            format!("{} for {}:{}", tuple.source, tuple.destination, tuple.destination_port.get())
        };
        desired.terminations.iter().map(shown).collect::<BTreeSet<String>>()
    };
    let expected = |last: &[u8]| -> BTreeSet<String> {
        let frontends = ["192.0.2.1:80", "198.51.100.1:80", "0.0.0.0:30080"];
        let pairs =
            last.iter().flat_map(|last| frontends.map(|f| format!("10.0.0.{last} for {f}")));
        pairs.collect()
    };
    assert_eq!(ends("a", Dispatch::Ipip), expected(&[1, 2]));
    assert_eq!(ends("b", Dispatch::Ipip), expected(&[5]));
    assert_eq!(ends("a", Dispatch::Option), BTreeSet::new());
    assert_eq!(ends("c", Dispatch::Ipip), BTreeSet::new());
}
