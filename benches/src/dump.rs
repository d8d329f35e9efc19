//! What `kubectl get nodes,services,endpointslices -A` prints of a cluster with so many services.

use std::fmt::Write;

/// The nodes that the endpoints of a [dump](json) run on.
const NODES: usize = 50;

/// In JSON.
pub fn json(services: usize) -> String {
    let mut text = String::from("{\"apiVersion\": \"v1\", \"items\": [");
    for node in 0..NODES {
        let (address, range) = (node_address(node), node_range(node));
        let _ = write!(
            text,
            r#"{{"apiVersion": "v1", "kind": "Node",
    "metadata": {{"name": "node-{node}", "labels": {{"kubernetes.io/os": "linux"}}}},
    "spec": {{"podCIDR": "{range}", "podCIDRs": ["{range}"]}},
    "status": {{"addresses": [{{"address": "{address}", "type": "InternalIP"}}], "capacity": {{"pods": "110"}}}}}},
"#
        );
    }
    for number in 0..services {
        let separator = if number + 1 == services { "" } else { "," };
        let _ = writeln!(text, "{},\n{}{separator}", service(number), slice(number, 2));
    }
    text.push_str("], \"kind\": \"List\", \"metadata\": {\"resourceVersion\": \"\"}}\n");
    text
}

/// In YAML, in the block style that `-o yaml` has.
pub fn yaml(services: usize) -> String {
    let mut text = String::from("apiVersion: v1\nitems:\n");
    for node in 0..NODES {
        let (address, range) = (node_address(node), node_range(node));
        let _ = write!(
            text,
            r#"- apiVersion: v1
  kind: Node
  metadata:
    labels:
      kubernetes.io/os: linux
    name: node-{node}
  spec:
    podCIDR: {range}
    podCIDRs:
    - {range}
  status:
    addresses:
    - address: {address}
      type: InternalIP
    capacity:
      pods: "110"
"#
        );
    }
    for number in 0..services {
        let address = cluster_address(number);
        let _ = write!(
            text,
            r#"- apiVersion: v1
  kind: Service
  metadata:
    creationTimestamp: "2026-05-04T09:12:33Z"
    labels:
      app: s{number}
    name: s{number}
    namespace: shop
    resourceVersion: "{number}"
    uid: 5f6c7a10-0000-4000-8000-{number:012}
  spec:
    clusterIP: {address}
    clusterIPs:
    - {address}
    internalTrafficPolicy: Cluster
    ipFamilies:
    - IPv4
    ipFamilyPolicy: SingleStack
    ports:
    - name: http
      port: 80
      protocol: TCP
      targetPort: 8080
    selector:
      app: s{number}
    sessionAffinity: None
    type: ClusterIP
  status:
    loadBalancer: {{}}
- addressType: IPv4
  apiVersion: discovery.k8s.io/v1
  endpoints:
"#
        );
        for which in 0..2 {
            let (address, node) = (pod_address(number, which), pod_node(number, which));
            let _ = write!(
                text,
                r#"  - addresses:
    - {address}
    conditions:
      ready: true
      serving: true
      terminating: false
    nodeName: node-{node}
    targetRef:
      kind: Pod
      name: s{number}-{which}
      namespace: shop
      uid: 7b1e9c20-0000-4000-8000-{number:012}
"#
            );
        }
        let _ = write!(
            text,
            r#"  kind: EndpointSlice
  metadata:
    labels:
      endpointslice.kubernetes.io/managed-by: endpointslice-controller.k8s.io
      kubernetes.io/service-name: s{number}
    name: s{number}-x7k2p
    namespace: shop
    resourceVersion: "{number}"
    uid: 3a8d5e30-0000-4000-8000-{number:012}
  ports:
  - name: http
    port: 8080
    protocol: TCP
"#
        );
    }
    text.push_str("kind: List\nmetadata:\n  resourceVersion: \"\"\n");
    text
}

/// One Service, in JSON.
pub fn service(number: usize) -> String {
    let address = cluster_address(number);
    format!(
        r#"{{"apiVersion": "v1", "kind": "Service",
    "metadata": {{"creationTimestamp": "2026-05-04T09:12:33Z", "labels": {{"app": "s{number}"}}, "name": "s{number}",
        "namespace": "shop", "resourceVersion": "{number}", "uid": "5f6c7a10-0000-4000-8000-{number:012}"}},
    "spec": {{"clusterIP": "{address}", "clusterIPs": ["{address}"], "internalTrafficPolicy": "Cluster",
        "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
        "ports": [{{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}}],
        "selector": {{"app": "s{number}"}}, "sessionAffinity": "None", "type": "ClusterIP"}},
    "status": {{"loadBalancer": {{}}}}}}"#
    )
}

/// Its EndpointSlice with so many endpoints, in JSON.
pub fn slice(number: usize, endpoints: usize) -> String {
    let endpoint = |which| {
        let (address, node) = (pod_address(number, which), pod_node(number, which));
        format!(
            r#"{{"addresses": ["{address}"], "conditions": {{"ready": true, "serving": true, "terminating": false}},
        "nodeName": "node-{node}", "targetRef": {{"kind": "Pod", "name": "s{number}-{which}", "namespace": "shop",
            "uid": "7b1e9c20-0000-4000-8000-{number:012}"}}}}"#
        )
    };
    let endpoints: Vec<String> = (0..endpoints).map(endpoint).collect();
    format!(
        r#"{{"addressType": "IPv4", "apiVersion": "discovery.k8s.io/v1", "endpoints": [{}], "kind": "EndpointSlice",
    "metadata": {{"labels": {{"endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        "kubernetes.io/service-name": "s{number}"}}, "name": "s{number}-x7k2p", "namespace": "shop",
        "resourceVersion": "{number}", "uid": "3a8d5e30-0000-4000-8000-{number:012}"}},
    "ports": [{{"name": "http", "port": 8080, "protocol": "TCP"}}]}}"#,
        endpoints.join(", ")
    )
}

fn cluster_address(number: usize) -> String {
    let [_, high, middle, low] = (number as u32 + 10).to_be_bytes();
    format!("10.{}.{middle}.{low}", 96 + high)
}

fn pod_node(number: usize, which: usize) -> usize {
    (number * 3 + which * 7) % NODES
}

fn pod_address(number: usize, which: usize) -> String {
    let [_, high, middle, low] = ((number * 4 + which) as u32).to_be_bytes();
    format!("10.{}.{middle}.{low}", 128 + high)
}

fn node_address(node: usize) -> String {
    format!("192.168.0.{}", node + 1)
}

fn node_range(node: usize) -> String {
    format!("10.244.{node}.0/24")
}
