//! The core on the host: parsing, conntrack, and a whole hook, with one flow and with 50,000.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use twinpath_benches::{CLIENT_DEVICE, Family, fill, packet};
use twinpath_core::hook::{self, Hook, Work};
use twinpath_core::parse::parse;
use twinpath_core::seam::{Lookup, Table};
use twinpath_core::tuple::Tuple;
use twinpath_core::wire::tcp;
use twinpath_sim::frame::Frame;
use twinpath_sim::node::{Limits, SimNode};

/// A node with the service, and its connections opened.
fn node(family: Family, flows: u32) -> SimNode {
    let mut node = SimNode::new(&Limits::default(), 1);
    fill(&mut node).expect("the tables have room");
    let mut work = Work::default();
    for flow in 0..flows {
        let mut frame = Frame::new(packet(family, flow, tcp::SYN));
        hook::handle(&mut frame, &mut node.0, &mut work, Hook::FromPod, CLIENT_DEVICE);
    }
    node
}

fn packets(family: Family, flows: u32, flags: u8) -> Vec<Vec<u8>> {
    (0..flows).map(|flow| packet(family, flow, flags)).collect()
}

fn parsing(c: &mut Criterion) {
    let mut group = c.benchmark_group("parse");
    group.throughput(Throughput::Elements(1));
    for family in Family::ALL {
        let frame = Frame::new(packet(family, 0, tcp::ACK));
        group.bench_function(family.name(), |b| b.iter(|| parse(black_box(&frame))));
    }
}

fn conntrack(c: &mut Criterion) {
    let mut group = c.benchmark_group("conntrack");
    group.throughput(Throughput::Elements(1));
    for family in Family::ALL {
        let mut node = node(family, 50_000);
        let key = |flow: u32| -> Tuple {
            let parsed = parse(&Frame::new(packet(family, flow, tcp::ACK)));
            parsed
                .ok()
                .flatten()
                .map_or_else(|| unreachable!("a whole packet"), |parsed| parsed.tuple)
        };
        let hits: Vec<Tuple> = (0..50_000).map(key).collect();
        let misses: Vec<Tuple> = (50_000..60_000).map(key).collect();
        let mut i = 0;
        group.bench_function(format!("hit/{}", family.name()), |b| {
            b.iter(|| {
                i = (i + 1) % hits.len();
                node.0.conntrack.get(black_box(&hits[i])).is_some()
            });
        });
        let mut i = 0;
        group.bench_function(format!("miss/{}", family.name()), |b| {
            b.iter(|| {
                i = (i + 1) % misses.len();
                node.0.conntrack.get(black_box(&misses[i])).is_some()
            });
        });
        let flow = node.0.conntrack.get(&hits[0]).expect("an open flow").clone();
        group.bench_function(format!("insert and remove/{}", family.name()), |b| {
            b.iter(|| {
                let inserted =
                    node.0.conntrack.insert(&misses[0], &flow, twinpath_core::seam::Put::New);
                (inserted, node.0.conntrack.remove(&misses[0]))
            });
        });
    }
}

fn from_pod(c: &mut Criterion) {
    let mut group = c.benchmark_group("from-pod");
    group.throughput(Throughput::Elements(1));
    for family in Family::ALL {
        for flows in [1, 50_000] {
            let mut node = node(family, flows);
            let packets = packets(family, flows, tcp::ACK);
            let (mut frame, mut work, mut i) = (Frame::default(), Work::default(), 0);
            group.bench_function(format!("hit/{}/{flows} flows", family.name()), |b| {
                b.iter(|| {
                    i += 1;
                    if i >= packets.len() {
                        i = 0;
                    }
                    frame.set(&packets[i]);
                    hook::handle(&mut frame, &mut node.0, &mut work, Hook::FromPod, CLIENT_DEVICE)
                });
            });
        }
        ahead(&mut group, family);
        let syns = packets(family, 50_000, tcp::SYN);
        group.throughput(Throughput::Elements(syns.len() as u64));
        group.bench_function(format!("miss/{}/50000 flows", family.name()), |b| {
            b.iter_batched(
                || (node(family, 0), Frame::default(), Work::default()),
                |(mut node, mut frame, mut work)| {
                    for syn in &syns {
                        frame.set(syn);
                        hook::handle(
                            &mut frame,
                            &mut node.0,
                            &mut work,
                            Hook::FromPod,
                            CLIENT_DEVICE,
                        );
                    }
                    node
                },
                BatchSize::LargeInput,
            );
        });
        group.throughput(Throughput::Elements(1));
    }
}

/// A batch of packets is looked up before the first of it is handled. Fifty thousand connections do not
/// fit the cache, one packet's work is longer than a processor looks ahead, and so each packet waits for
/// memory by itself unless the waits are made to overlap.
fn ahead(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    family: Family,
) {
    const BATCH: usize = 16;
    let mut node = node(family, 50_000);
    let packets = packets(family, 50_000, tcp::ACK);
    let mut frames = vec![Frame::default(); BATCH];
    let (mut work, mut i) = (Work::default(), 0);
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function(
        format!("hit/{}/50000 flows, {BATCH} looked up ahead", family.name()),
        |b| {
            b.iter(|| {
                for (frame, packet) in frames.iter_mut().zip(&packets[i..i + BATCH]) {
                    frame.set(packet);
                    if let Ok(Some(parsed)) = parse(frame) {
                        black_box(node.0.conntrack.get(&parsed.tuple).is_some());
                    }
                }
                for frame in &mut frames {
                    black_box(hook::handle(
                        frame,
                        &mut node.0,
                        &mut work,
                        Hook::FromPod,
                        CLIENT_DEVICE,
                    ));
                }
                i = (i + BATCH) % packets.len();
            });
        },
    );
    group.throughput(Throughput::Elements(1));
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30).measurement_time(std::time::Duration::from_secs(2))
        .warm_up_time(std::time::Duration::from_secs(1));
    targets = parsing, conntrack, from_pod
}
criterion_main!(benches);
