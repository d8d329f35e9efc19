//! Packets a second through the simulator: whole ways through a cluster of two nodes, from the sender to
//! where the packet arrives, on one thread.
//!
//! `cargo bench --bench sim`.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use twinpath_benches::{Ends, Family, packet_between};
use twinpath_control::model::State;
use twinpath_control::read::read;
use twinpath_control::tables::Options;
use twinpath_core::wire::tcp;
use twinpath_sim::cluster::{Cluster, Fate, Place};
use twinpath_sim::engine::{Engine, SimEngine};
use twinpath_sim::frame::Frame;
use twinpath_sim::node::Limits;
use twinpath_sim::topology::Topology;
use twinpath_sim::world::{Plan, Sender};

/// A client's pod and a backend's on two nodes, and a service with a cluster address and a node port.
const CLUSTER: &str = "
kind: Node
metadata: {name: n1}
status: {addresses: [{type: InternalIP, address: 192.168.0.1}]}
---
kind: Node
metadata: {name: n2}
status: {addresses: [{type: InternalIP, address: 192.168.0.2}]}
---
kind: Pod
metadata: {name: client}
spec: {nodeName: n1}
status: {podIPs: [{ip: 10.244.1.10}]}
---
kind: Pod
metadata: {name: backend}
spec: {nodeName: n2}
status: {podIPs: [{ip: 10.244.2.10}]}
---
kind: Service
metadata: {name: web}
spec: {type: NodePort, clusterIP: 10.96.0.80, ports: [{port: 80, nodePort: 30080}]}
---
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
ports: [{port: 8080}]
endpoints: [{addresses: [10.244.2.10], nodeName: n2, targetRef: {kind: Pod, name: backend}}]
";

const POD: [u8; 4] = [10, 244, 1, 10];
const OUTSIDE: [u8; 4] = [203, 0, 113, 9];
const CLUSTER_IP: [u8; 4] = [10, 96, 0, 80];
const NODE: [u8; 4] = [192, 168, 0, 1];

/// The cluster, with a client outside.
fn cluster() -> Cluster<SimEngine> {
    let objects = read("cluster", CLUSTER.as_bytes()).expect("objects");
    let (state, _) = State::new(&objects);
    let mut topology = Topology::new(&state);
    topology.add_router(vec!["192.168.0.254".parse().expect("an address")]);
    topology.add_client("c".to_owned(), vec![OUTSIDE.into()], 0);
    let mut plan = Plan::new(Options::default());
    let mut engine = SimEngine::new(topology.nodes.len(), &Limits::default(), 1);
    for (index, node) in topology.nodes.iter().enumerate() {
        for write in plan.writes(&state, &node.name, &topology) {
            engine.write(index, &write).expect("the tables have room");
        }
    }
    Cluster { topology, engine }
}

fn packets(from: [u8; 4], to: ([u8; 4], u16), flows: u16, flags: u8) -> Vec<Vec<u8>> {
    let ends = |flow| Ends::new(from, 5_000 + flow, to.0, to.1);
    (0..flows).map(|flow| packet_between(Family::V4, &ends(flow), flags)).collect()
}

fn send(cluster: &mut Cluster<SimEngine>, sender: Sender, frame: &mut Frame) -> Fate {
    cluster.send_from(sender, frame, &mut ()).expect("the simulator does not fail")
}

fn all(cluster: &mut Cluster<SimEngine>, sender: Sender, packets: &[Vec<u8>]) {
    let mut frame = Frame::default();
    for packet in packets {
        frame.set(packet);
        let fate = black_box(send(cluster, sender, &mut frame));
        assert!(matches!(fate, Fate::Arrived(Place::PodIn(_))), "{fate:?}");
    }
}

fn through(c: &mut Criterion) {
    let is_test = twinpath_benches::is_test();
    let pod = cluster().topology.pod("client").expect("a pod");
    // Towards one backend a node has 32,768 ports of its own.
    let cases = [
        ("ClusterIP", Sender::Pod(pod), POD, (CLUSTER_IP, 80), 50_000),
        ("NodePort with SNAT", Sender::Client(0), OUTSIDE, (NODE, 30_080), 20_000),
    ];
    let mut group = c.benchmark_group("sim");
    for (name, sender, from, to, many) in cases {
        let many = if is_test { 100 } else { many };
        group.throughput(Throughput::Elements(1));
        for flows in [1, many] {
            let mut cluster = cluster();
            all(&mut cluster, sender, &packets(from, to, flows, tcp::SYN));
            let packets = packets(from, to, flows, tcp::ACK);
            let (mut frame, mut next) = (Frame::default(), packets.iter().cycle());
            group.bench_function(format!("established/{name}/{flows} flows"), |b| {
                b.iter(|| {
                    if let Some(packet) = next.next() {
                        frame.set(packet);
                    }
                    send(&mut cluster, sender, &mut frame)
                });
            });
        }
        let syns = packets(from, to, many, tcp::SYN);
        group.throughput(Throughput::Elements(u64::from(many)));
        group.bench_function(format!("new/{name}"), |b| {
            b.iter_batched(
                cluster,
                |mut cluster| {
                    all(&mut cluster, sender, &syns);
                    cluster
                },
                BatchSize::LargeInput,
            );
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(std::time::Duration::from_secs(3))
        .warm_up_time(std::time::Duration::from_millis(500));
    targets = through
}
criterion_main!(benches);
