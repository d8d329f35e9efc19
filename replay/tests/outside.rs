//! Captures of clients outside the cluster: they come by the router, not from a pod.

mod common;

use common::{capture, fixture, replay, tcp};
use serde_json::Value;
use tempfile::tempdir;

const CLIENT: [u8; 4] = [198, 51, 100, 7];
const NODE_A: [u8; 4] = [192, 168, 0, 1];
const BALANCER: [u8; 4] = [203, 0, 113, 80];
const POD: [u8; 4] = [1, 1, 3, 9];
const CLUSTER_IP: [u8; 4] = [3, 3, 3, 3];
const S: u8 = 2;
const SA: u8 = 18;
const A: u8 = 16;

fn service(policy: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: nginx, namespace: default}}
spec:
  type: LoadBalancer
  externalTrafficPolicy: {policy}
  clusterIP: 3.3.3.3
  clusterIPs: [3.3.3.3]
  ports: [{{name: http, protocol: TCP, port: 80, targetPort: 80, nodePort: 31000}}]
status: {{loadBalancer: {{ingress: [{{ip: 203.0.113.80}}]}}}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: nginx-1, namespace: default, labels: {{kubernetes.io/service-name: nginx}}}}
addressType: IPv4
ports: [{{name: http, protocol: TCP, port: 80}}]
endpoints:
- addresses: [1.1.1.1]
  conditions: {{ready: true, serving: true, terminating: false}}
  nodeName: node-b
  targetRef: {{kind: Pod, namespace: default, name: nginx}}
"
    )
}

/// The lines of a replay of these packets through nodes a and b, the only endpoint being on b.
fn lines(policy: &str, packets: &[Vec<u8>], more: &[&str]) -> Vec<Value> {
    let folder = tempdir().unwrap();
    let file = capture(folder.path(), "outside.pcap", packets);
    let state = folder.path().join("service.yaml");
    std::fs::write(&state, service(policy)).unwrap();
    let nodes = fixture("clusters/talk.yaml");
    let state = state.display().to_string();
    let arguments = [&[file.as_str(), "-f", &nodes, "-f", &state, "-o", "json"], more].concat();
    let ran = replay(&arguments);
    let hint = |line: &str| line.starts_with("twinpath: next: twinpath explain ");
    assert!(ran.code == 0 && ran.stderr.lines().all(hint), "{}{}", ran.stderr, ran.text());
    ran.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A handshake with a frontend as the client outside sees it, some hops from the node.
fn handshake(frontend: ([u8; 4], u16)) -> Vec<Vec<u8>> {
    vec![
        tcp((CLIENT, 40_000), frontend, 58, S),
        tcp(frontend, (CLIENT, 40_000), 51, SA),
        tcp((CLIENT, 40_000), frontend, 58, A),
    ]
}

#[test]
fn a_client_of_a_node_port_is_outside() {
    for (mode, source) in [("snat", "192.168.0.1:40000"), ("dsr-opt", "198.51.100.7:40000")] {
        let lines = lines("Cluster", &handshake((NODE_A, 31_000)), &["--mode", mode]);
        let (first, reply) = (&lines[0], &lines[1]);
        assert_eq!(first["verdict"], "TRANSLATED", "{first}");
        assert_eq!((&first["node"], &first["hook"]), (&"node-a".into(), &"from-netdev".into()));
        assert_eq!(first["out"]["src"], source, "{mode}");
        assert_eq!(first["out"]["dst"], "1.1.1.1:80");
        assert_eq!(reply["reply"]["equal"], true, "{mode}: {reply}");
        assert_eq!(reply["out"]["dst"], "198.51.100.7:40000");
        assert_eq!(lines[2]["ct"]["status"], "ESTABLISHED");
    }
}

#[test]
fn a_load_balancer_brings_packets_to_a_node_that_serves_them() {
    for (policy, node) in [("Cluster", "node-a"), ("Local", "node-b")] {
        let lines = lines(policy, &handshake((BALANCER, 80)), &[]);
        assert_eq!((&lines[0]["verdict"], &lines[0]["node"]), (&"TRANSLATED".into(), &node.into()));
        assert_eq!(lines[1]["reply"]["equal"], true, "{}", lines[1]);
    }
}

#[test]
fn under_the_policy_local_a_node_without_an_endpoint_drops() {
    let lines = lines("Local", &handshake((NODE_A, 31_000))[..1], &[]);
    assert_eq!(lines[0]["drop_reason_desc"], "SERVICE_BACKEND_NOT_FOUND", "{}", lines[0]);
}

#[test]
fn whose_address_is_in_the_pod_range_of_a_node_is_a_pod_there() {
    let lines = lines("Cluster", &[tcp((POD, 40_000), (CLUSTER_IP, 80), 64, S)], &[]);
    assert_eq!((&lines[0]["node"], &lines[0]["hook"]), (&"node-a".into(), &"from-pod".into()));
}

#[test]
fn the_user_knows_better() {
    let packets = &handshake((NODE_A, 31_000))[..1];
    let lines = lines("Cluster", packets, &["--at", "node-b"]);
    assert_eq!((&lines[0]["node"], &lines[0]["hook"]), (&"node-b".into(), &"from-pod".into()));
}
