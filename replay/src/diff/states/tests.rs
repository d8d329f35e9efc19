use twinpath_control::read::read;

use super::*;

const CLUSTER: &str = "
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Node, metadata: {name: n1}, spec: {}, status: {addresses: [{type: InternalIP, address: 192.168.0.1}]}}
- apiVersion: v1
  kind: Service
  metadata: {name: web, namespace: shop}
  spec: {type: ClusterIP, clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1], internalTrafficPolicy: Cluster, sessionAffinity: None, ports: [{name: http, port: 80, protocol: TCP, targetPort: 8080}]}
- apiVersion: discovery.k8s.io/v1
  kind: EndpointSlice
  metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
  addressType: IPv4
  ports: [{name: http, port: 8080, protocol: TCP}]
  endpoints:
  - {addresses: [10.244.1.1], nodeName: n1, targetRef: {kind: Pod, name: web-a, namespace: shop}, conditions: {ready: true}}
";

fn state(text: &str) -> State {
    State::new(&read("", text.as_bytes()).unwrap()).0
}

/// What differs where something of the cluster is another on the right.
fn lines(from: &str, to: &str) -> Vec<String> {
    let other = CLUSTER.replace(from, to);
    assert_ne!(other, CLUSTER);
    differences(&state(CLUSTER), &state(&other))
}

#[test]
fn each_kind_of_difference_is_named() {
    assert_eq!(differences(&state(CLUSTER), &state(CLUSTER)), Vec::<String>::new());
    let port = "service shop/web:http/TCP";
    assert_eq!(
        lines("conditions: {ready: true}", "conditions: {ready: false}"),
        [format!(
            "{port}: endpoint 10.244.1.1:8080 (shop/web-a on n1) is ready left, not ready right"
        )]
    );
    assert_eq!(
        lines("sessionAffinity: None", "sessionAffinity: ClientIP"),
        [format!("{port}: sessionAffinity")]
    );
    assert_eq!(
        lines("internalTrafficPolicy: Cluster", "internalTrafficPolicy: Local"),
        [format!("{port}: internalTrafficPolicy")]
    );
    assert_eq!(
        lines("10.96.0.1", "10.96.0.2"),
        [
            format!("{port}: address 10.96.0.1:80 only left"),
            format!("{port}: address 10.96.0.2:80 only right")
        ]
    );
    assert_eq!(lines("192.168.0.1", "192.168.0.9"), ["node n1: addresses"]);
    let renamed = lines("name: http", "name: www");
    assert!(renamed.contains(&format!("{port}: only left")), "{renamed:?}");
    assert!(renamed.contains(&"service shop/web:www/TCP: only right".into()), "{renamed:?}");
}
