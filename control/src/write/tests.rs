use std::fmt::Write as _;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use serde_json::{Value, json};

use super::*;
use crate::problem::Severity;

/// Choices, from bytes.
pub(crate) struct Dice<'a>(std::slice::Iter<'a, u8>);

impl Dice<'_> {
    fn below(&mut self, n: u8) -> u8 {
        self.0.next().map_or(0, |byte| byte % n)
    }

    fn one_in(&mut self, n: u8) -> bool {
        self.below(n) == 1
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[usize::from(self.below(of.len() as u8))].clone()
    }

    fn some<T: Clone>(&mut self, of: &[T]) -> Vec<T> {
        let (first, second) = (self.pick(of), self.pick(of));
        match self.below(3) {
            0 => vec![],
            1 => vec![first],
            _ => vec![first, second],
        }
    }
}

const NODES: [&str; 3] = ["a", "no", "1.5"];

/// A small cluster. With `plain`, only with names that rules can say.
pub(crate) fn small(bytes: &[u8], plain: bool) -> State {
    let mut dice = Dice(bytes.iter());
    let mut items = Vec::new();
    let names: &[&str] = if plain {
        &["web", "dns", "x-1", "x"]
    } else {
        &["web", "null", "1e3", "a b: {\"", "\u{85}\u{feff}é\u{1f600}\t", "- x", "#"]
    };
    for (i, node) in NODES.iter().enumerate().take(dice.below(4).into()) {
        items.push(json!({
            "kind": "Node", "metadata": {"name": node, "labels": {
                "topology.kubernetes.io/zone": dice.pick(&["", "east", "true"])}},
            "spec": {"podCIDRs": [format!("10.{i}.0.0/16"), format!("fd00:{i}::/64")]},
            "status": {"addresses": [
                {"type": "InternalIP", "address": format!("192.168.0.{i}")},
                {"type": "ExternalIP", "address": format!("2001:db8::{i}")}]},
        }));
    }
    for i in 0..dice.below(4) {
        items.push(json!({
            "kind": "Pod", "metadata": {"name": format!("p{i}")},
            "spec": {"nodeName": dice.pick(&NODES), "hostNetwork": dice.one_in(4), "containers": [
                {"ports": [{"containerPort": 80, "hostPort": dice.pick(&[0, 0, 8080, 8081]),
                    "hostIP": dice.pick(&["", "192.168.0.1", "0.0.0.0"])}]}]},
            "status": {"phase": dice.pick(&["Running", "Running", "Failed"]),
                "podIPs": [{"ip": format!("10.0.0.{i}")}, {"ip": format!("fd00::{i}")}]},
        }));
    }
    if dice.one_in(3) {
        items.push(json!({"kind": "ServiceCIDR", "metadata": {"name": "k"},
            "spec": {"cidrs": ["10.96.0.0/12", "fd00:96::/108"]}}));
    }
    let (mut node_port, ports) = (30_000, ["", "http", "y", "0x10"]);
    for i in 0..dice.below(4) {
        let name = names[usize::from(i + dice.below(2)) % names.len()];
        let v4 = (!dice.one_in(4)).then(|| format!("10.96.0.{i}"));
        let v6 = (v4.is_none() || dice.one_in(3)).then(|| format!("fd00:96::{i}"));
        let number = 80 + u16::from(dice.below(3));
        let mut entries = Vec::new();
        for port in 0..=u16::from(dice.below(3)) {
            node_port += 1;
            entries.push(json!({"name": ports[usize::from(port)], "port": number + port,
                "protocol": dice.pick(&["TCP", "UDP"]), "nodePort": node_port,
                "targetPort": dice.pick(&[json!(8080), json!("web"), json!("80"), json!(0)])}));
        }
        items.push(json!({
            "kind": "Service",
            "metadata": {"name": name, "namespace": dice.pick(&["default", "kube-system"]), "annotations": {
                "service.kubernetes.io/topology-mode": dice.pick(&["", "Auto"])}},
            "spec": {
                "type": dice.pick(&["ClusterIP", "NodePort", "LoadBalancer"]),
                "clusterIPs": v4.iter().chain(&v6).collect::<Vec<_>>(),
                "externalIPs": dice.some(&[format!("198.51.100.{i}"), format!("2001:db8:1::{i}")]),
                "loadBalancerSourceRanges": dice.some(&["203.0.113.0/24", "10.0.0.1/32", "2001:db8::/32"]),
                "internalTrafficPolicy": dice.pick(&["Cluster", "Local"]),
                "externalTrafficPolicy": dice.pick(&["Cluster", "Local"]),
                "healthCheckNodePort": 31_000 + u16::from(i),
                "sessionAffinity": dice.pick(&["None", "ClientIP"]),
                "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 1 + dice.below(200)}},
                "trafficDistribution": dice.pick(&["", "PreferClose", "PreferSameNode"]),
                "publishNotReadyAddresses": dice.one_in(5),
                "ports": entries,
            },
            "status": {"loadBalancer": {"ingress": dice.some(
                &[json!({"ip": format!("198.51.101.{i}")}), json!({"ip": format!("2001:db8:2::{i}")})])}},
        }));
        for namespace in ["default", "kube-system"] {
            for slice in 0..dice.below(4) {
                items.push(self::slice(&mut dice, (namespace, name), slice, &entries, plain));
            }
        }
    }
    let text = json!({"kind": "List", "items": items}).to_string();
    let (state, problems) = State::new(&read("small", text.as_bytes()).unwrap());
    // Of two that fight for a frontend, one has less than its Service says.
    if problems.iter().any(|problem| problem.severity == Severity::Error) {
        return State::default();
    }
    state
}

fn slice(
    dice: &mut Dice<'_>,
    service: (&str, &str),
    number: u8,
    entries: &[Value],
    plain: bool,
) -> Value {
    let v6 = dice.one_in(3);
    let mut endpoints = Vec::new();
    for i in 0..dice.below(4) {
        let address = if v6 { format!("fd00::{i}") } else { format!("10.0.0.{i}") };
        // An address is on one node, whoever has it.
        let nodes = if plain {
            &["a", "no", "1.5", ""][usize::from(i)..][..1]
        } else {
            &["", "a", "no", "1.5"]
        };
        endpoints.push(json!({
            "addresses": [address],
            "conditions": {"ready": !dice.one_in(4), "serving": !dice.one_in(4), "terminating": dice.one_in(4)},
            "nodeName": dice.pick(nodes),
            "zone": dice.pick(&["", "east"]),
            "hints": {"forZones": dice.some(&[json!({"name": "east"}), json!({"name": "yes"})]),
                "forNodes": dice.some(&[json!({"name": "a"})])},
            "targetRef": dice.pick(&[json!(null), json!({"kind": "Pod", "name": format!("p{i}")})]),
        }));
    }
    let target = 8080 + u16::from(dice.below(2));
    let ports: Vec<_> = entries
        .iter()
        .filter(|_| dice.below(4) != 3)
        .map(|e| json!({"name": e["name"], "port": target, "protocol": e["protocol"]}))
        .collect();
    json!({
        "kind": "EndpointSlice", "addressType": if v6 { "IPv6" } else { "IPv4" },
        "metadata": {"name": format!("{}-s{number}", service.1), "namespace": service.0,
            "labels": {"kubernetes.io/service-name": service.1}},
        "endpoints": endpoints, "ports": ports,
    })
}

fn round_trip(state: &State) {
    for text in [yaml(state), json(state)] {
        let objects = read("written", text.as_bytes()).unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert_eq!(State::new(&objects).0, *state, "{text}");
    }
    assert_eq!(unsaid(state), [""; 0]);
}

proptest! {
    #[test]
    fn a_state_is_read_back(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        round_trip(&small(&bytes, false));
    }

    #[test]
    fn strings_are_read_back(name in "\\PC{1,8}|[a-zA-Z0-9.:/_~#&*! -]{1,6}|[ \n\t\"'\\\\\u{0}\u{7f}\u{85}\u{2028}\u{feff}a]{1,4}") {
        // What orders a terminal about is read as letters.
        let name = crate::plain::plain(&name).into_owned();
        let node = Node { zone: Some(name.clone()), ..Node::default() };
        let state = State { nodes: [(name, node)].into(), ..State::default() };
        round_trip(&state);
    }
}

#[test]
fn states_are_not_all_empty() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = proptest::collection::vec(any::<u8>(), 0..600);
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..200 {
        let bytes = strategy.new_tree(&mut runner).unwrap().current();
        for port in small(&bytes, false).services.values() {
            *kinds.entry(format!("{:?}", port.kind)).or_default() += 1;
            *kinds.entry(format!("served: {}", !port.endpoints.is_empty())).or_default() += 1;
        }
    }
    let mut shown = String::new();
    for (kind, count) in &kinds {
        let _ = writeln!(shown, "{kind}: {count}");
    }
    assert!(kinds.len() == 6 && kinds.values().all(|count| *count > 20), "{shown}");
}

#[test]
fn the_shape() {
    let text = "
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  clusterIPs: [10.96.0.10]
  ports: [{name: http, port: 80, nodePort: 30080}, {name: admin, port: 81, nodePort: 30081}]
---
kind: EndpointSlice
metadata: {name: web, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}, {name: admin, port: 8081}]
endpoints:
- {addresses: [10.244.1.11], nodeName: node-a, targetRef: {kind: Pod, name: web-x}}
- {addresses: [10.244.2.11], conditions: {ready: false, serving: true, terminating: true}}
";
    let (state, _) = State::new(&read("f", text.as_bytes()).unwrap());
    let text = yaml(&state);
    let expected = "\
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Node
  metadata:
    name: node-a
  spec: {}
  status:
    addresses: []
- apiVersion: v1
  kind: Pod
  metadata:
    name: web-x
    namespace: default
  spec:
    nodeName: node-a
  status:
    phase: Running
    podIP: 10.244.1.11
    podIPs:
    - ip: 10.244.1.11
- apiVersion: v1
  kind: Service
  metadata:
    name: web
    namespace: default
  spec:
    clusterIP: 10.96.0.10
    clusterIPs:
    - 10.96.0.10
    ports:
    - name: admin
      nodePort: 30081
      port: 81
      protocol: TCP
      targetPort: 81
    - name: http
      nodePort: 30080
      port: 80
      protocol: TCP
      targetPort: 80
    type: NodePort
- addressType: IPv4
  apiVersion: discovery.k8s.io/v1
  endpoints:
  - addresses:
    - 10.244.1.11
    conditions:
      ready: true
    nodeName: node-a
    targetRef:
      kind: Pod
      name: web-x
      namespace: default
  - addresses:
    - 10.244.2.11
    conditions:
      ready: false
      serving: true
      terminating: true
  kind: EndpointSlice
  metadata:
    labels:
      kubernetes.io/service-name: web
    name: web-1
    namespace: default
  ports:
  - name: admin
    port: 8081
    protocol: TCP
  - name: http
    port: 8080
    protocol: TCP
";
    assert_eq!(text, expected);
    assert_eq!(yaml(&State::default()), "apiVersion: v1\nkind: List\nitems: []\n");
}

#[test]
fn what_objects_cannot_say() {
    let mut state = small(&[], false);
    let mut port = ServicePort {
        port: 80,
        target: crate::model::Target::Number(80),
        ..ServicePort::default()
    };
    let name = PortName {
        service: ObjectName::new("default", "web"),
        port: String::new(),
        protocol: crate::model::Protocol::Tcp,
    };
    state.services.insert(name.clone(), port.clone());
    assert_eq!(unsaid(&state), ["port default/web/TCP is not read again"], "no cluster address");
    let kind = crate::model::FrontendKind::ClusterIp;
    let frontend = crate::model::Frontend { kind, address: [10, 96, 0, 1].into(), port: 80 };
    port.frontends = vec![frontend];
    let endpoint = crate::model::Endpoint::new([10, 0, 0, 1].into(), 80);
    port.endpoints = vec![crate::model::Endpoint { node: Some("a".into()), ..endpoint }];
    state.services.insert(name, port);
    assert_eq!(unsaid(&state), ["node a is read and is not there"]);
}
