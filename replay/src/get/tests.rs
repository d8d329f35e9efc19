//! A small cluster of everything that tables tell apart.

use twinpath_control::read::read;
use twinpath_control::tables::Options;
use twinpath_core::service::Algorithm;

use super::print::columns;
use super::*;
use crate::worlds::simulator;

const CLUSTER: &str = "\
kind: List
items:
- {kind: Node, metadata: {name: a}, status: {addresses: [{type: InternalIP, address: 192.168.0.1}]}}
- {kind: Node, metadata: {name: b}, status: {addresses: [{type: InternalIP, address: 192.168.0.2}]}}
- kind: Service
  metadata: {name: web, namespace: default}
  spec:
    type: NodePort
    clusterIP: 10.96.0.80
    externalTrafficPolicy: Local
    sessionAffinity: ClientIP
    sessionAffinityConfig: {clientIP: {timeoutSeconds: 600}}
    ports: [{name: http, port: 80, targetPort: 8080, nodePort: 30080}]
- kind: Service
  metadata: {name: dns, namespace: kube-system}
  spec: {clusterIP: 10.96.0.10, ports: [{name: dns, port: 53, protocol: UDP}]}
- kind: EndpointSlice
  metadata: {name: web-1, namespace: default, labels: {kubernetes.io/service-name: web}}
  addressType: IPv4
  ports: [{name: http, port: 8080}]
  endpoints:
  - {addresses: [10.244.1.1], nodeName: a, conditions: {ready: true}}
  - {addresses: [10.244.2.1], nodeName: b, conditions: {ready: true}}
  - {addresses: [10.244.2.2], nodeName: b, conditions: {ready: false, serving: true, terminating: true}}
  - {addresses: [10.244.2.3], nodeName: b, conditions: {ready: false}}
";

fn view(algorithm: Algorithm) -> View {
    view_of(CLUSTER, algorithm)
}

fn view_of(dump: &str, algorithm: Algorithm) -> View {
    let (state, _) = State::new(&read("cluster", dump.as_bytes()).unwrap());
    let options = Options { algorithm, ..Options::default() };
    let mut world = simulator(Topology::new(&state), &state, options, 1).unwrap();
    View::new(&mut world, &state, 0, |node| node == "a").unwrap()
}

fn text<R: print::Row>(rows: &[R]) -> String {
    let mut output = Vec::new();
    columns(&mut output, rows, false, true).unwrap();
    String::from_utf8(output).unwrap()
}

#[test]
fn services_with_every_state_of_backends() {
    let view = view(Algorithm::Random);
    let node = &view.nodes[0];
    insta::assert_snapshot!(text(&services::rows(&view, node, &Filter::default())), @r"
ID   FRONTEND              TYPE        BACKEND
1    0.0.0.0:30080/TCP     NodePort    1 => 10.244.1.1:8080/TCP (active)
                                       - => 10.244.2.1:8080/TCP (elsewhere)
                                       - => 10.244.2.2:8080/TCP (terminating)
                                       - => 10.244.2.3:8080/TCP (not-ready)
1    0.0.0.0:30080/TCP/i   NodePort    1 => 10.244.1.1:8080/TCP (active)
                                       2 => 10.244.2.1:8080/TCP (active)
                                       - => 10.244.2.2:8080/TCP (terminating)
                                       - => 10.244.2.3:8080/TCP (not-ready)
1    10.96.0.80:80/TCP     ClusterIP   1 => 10.244.1.1:8080/TCP (active)
                                       2 => 10.244.2.1:8080/TCP (active)
                                       - => 10.244.2.2:8080/TCP (terminating)
                                       - => 10.244.2.3:8080/TCP (not-ready)
2    10.96.0.10:53/UDP     ClusterIP   <none>
");
    let dns = Filter { namespace: Some("kube-system".into()), service: None };
    let rows = services::rows(&view, node, &dns);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].backends, []);
    let mut ipvs = Vec::new();
    let web = Filter { namespace: None, service: Some(ObjectName::new("default", "web")) };
    services::ipvs(&mut ipvs, &view, &services::rows(&view, node, &web)).unwrap();
    insta::assert_snapshot!(String::from_utf8(ipvs).unwrap(), @r"
-A -t 10.96.0.80:80 -s rr -p 600
-a -t 10.96.0.80:80 -r 10.244.1.1:8080 -m -w 1
-a -t 10.96.0.80:80 -r 10.244.2.1:8080 -m -w 1
-a -t 10.96.0.80:80 -r 10.244.2.2:8080 -m -w 0
-A -t 192.168.0.1:30080 -s mh -p 600
-a -t 192.168.0.1:30080 -r 10.244.1.1:8080 -m -w 1
-a -t 192.168.0.1:30080 -r 10.244.2.2:8080 -m -w 0
");
}

#[test]
fn entries_of_the_service_table() {
    let view = view(Algorithm::Random);
    insta::assert_snapshot!(text(&lb::rows(&view, &view.nodes[0], &Filter::default())), @r"
SERVICE ADDRESS           BACKEND ADDRESS (REVNAT_ID) (SLOT)
0.0.0.0:30080/TCP/i (0)   0.0.0.0:0 (1) (0) [NodePort, sessionAffinity, maglev]
0.0.0.0:30080/TCP/i (1)   10.244.1.1:8080/TCP (1) (1)
0.0.0.0:30080/TCP/i (2)   10.244.2.1:8080/TCP (1) (2)
0.0.0.0:30080/TCP (0)     0.0.0.0:0 (1) (0) [NodePort, local, sessionAffinity, maglev]
0.0.0.0:30080/TCP (1)     10.244.1.1:8080/TCP (1) (1)
10.96.0.10:53/UDP (0)     0.0.0.0:0 (2) (0) [ClusterIP, non-routable]
10.96.0.80:80/TCP (0)     0.0.0.0:0 (1) (0) [ClusterIP, non-routable, sessionAffinity]
10.96.0.80:80/TCP (1)     10.244.1.1:8080/TCP (1) (1)
10.96.0.80:80/TCP (2)     10.244.2.1:8080/TCP (1) (2)
");
}

#[test]
fn policies_leave_endpoints_here() {
    let view = view(Algorithm::Random);
    insta::assert_snapshot!(text(&rest::policies(&view, &view.nodes[0], &Filter::default())), @r"
NAMESPACE     NAME   PORT       TYPE        INTERNAL           EXTERNAL         ENDPOINTS   AFFINITY   SOURCE-RANGES
default       web    http/TCP   NodePort    Cluster (2 here)   Local (1 here)   4           600s       <none>
kube-system   dns    dns/UDP    ClusterIP   Cluster (0 here)   -                0           <none>     <none>
");
}

#[test]
fn what_moves_when_a_backend_goes() {
    let view = view(Algorithm::Maglev);
    let filter = Filter { namespace: None, service: Some(ObjectName::new("default", "web")) };
    let rows = maglev::rows(&view, &view.nodes[0], &filter);
    // One slice of both backends, one of the backend here, for clients outside.
    assert_eq!(rows.len(), 3, "{rows:?}");
    for slice in [rows[0].slice, rows[2].slice] {
        let slots: u32 = rows.iter().filter(|row| row.slice == slice).map(|row| row.slots).sum();
        assert_eq!(slots, rows[0].size);
    }
    for row in &rows {
        let moves = row.moves.unwrap();
        assert_eq!(moves.own, row.slots);
        // Of two, what the other has cannot move anywhere else.
        assert_eq!(moves.others, 0);
    }
    let open = maglev::rows(&view, &view.nodes[0], &Filter::default());
    assert!(open.iter().all(|row| row.moves.is_none()));
}

/// A host port without an address of its own is at each address of its node, and no node port.
#[test]
fn host_ports_by_their_name() {
    let pod = "{kind: Pod, metadata: {name: p, namespace: default}, spec: {nodeName: a, containers: \
               [{name: c, ports: [{containerPort: 80, hostPort: 8888}, \
               {containerPort: 53, hostPort: 5353, hostIP: 192.168.0.1, protocol: UDP}]}]}, \
               status: {phase: Running, podIP: 10.244.1.1, podIPs: [{ip: 10.244.1.1}]}}";
    let view = view_of(&format!("{CLUSTER}- {pod}\n"), Algorithm::Random);
    let rows = services::rows(&view, &view.nodes[0], &Filter::default());
    let kinds: Vec<_> = rows.iter().map(|row| (row.frontend.port(), row.kind)).collect();
    for port in [8888, 5353] {
        assert!(kinds.contains(&(port, "HostPort")), "{kinds:?}");
    }
    assert!(kinds.contains(&(30_080, "NodePort")), "{kinds:?}");
}

/// Rows are found by what they are of, not by looking through all: with 2,000 services of three endpoints each
/// a debug build took half a minute.
#[test]
fn services_of_a_large_cluster_in_seconds() {
    use std::fmt::Write as _;
    let mut dump = String::from("kind: List\nitems:\n");
    for i in 0..2_000_u32 {
        let (high, low) = (i / 250, i % 250 + 1);
        write!(
            dump,
            "- {{kind: Service, metadata: {{name: s{i}, namespace: default}}, \
             spec: {{clusterIP: 10.96.{high}.{low}, ports: [{{port: 80}}]}}}}\n\
             - {{kind: EndpointSlice, addressType: IPv4, metadata: {{name: s{i}-1, namespace: default, \
             labels: {{kubernetes.io/service-name: s{i}}}}}, ports: [{{port: 80}}], endpoints: [\
             {{addresses: [10.1.{high}.{low}]}}, {{addresses: [10.2.{high}.{low}]}}, \
             {{addresses: [10.3.{high}.{low}]}}]}}\n"
        )
        .unwrap();
    }
    dump.push_str(
        "- {kind: Node, metadata: {name: a}, \
         status: {addresses: [{type: InternalIP, address: 192.168.0.1}]}}\n",
    );
    let (state, _) = State::new(&read("cluster", dump.as_bytes()).unwrap());
    let options = Options::default();
    let mut world = simulator(Topology::new(&state), &state, options, 1).unwrap();
    let view = View::new(&mut world, &state, 0, |_| true).unwrap();
    let start = std::time::Instant::now();
    let rows = services::rows(&view, &view.nodes[0], &Filter::default());
    assert!(start.elapsed() < std::time::Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!(rows.len(), 2_000);
    assert!(rows.iter().all(|row| row.backends.len() == 3), "{:?}", rows.first());
}
