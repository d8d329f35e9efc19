//! The control plane: what `kubectl` prints to objects, to tables, to writes; and one object that changes.
//!
//! `cargo bench --bench control`; as a test (`cargo test`) with small clusters.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use twinpath_benches::dump;
use twinpath_control::diff::{self, Target, Write};
use twinpath_control::keeper::{Change, Keeper};
use twinpath_control::model::{Pod, State};
use twinpath_control::read::{Objects, read};
use twinpath_control::tables::{Desired, Devices, Options, Planner};
use twinpath_sim::node::{Limits, SimNode};

const NODE: &str = "node-1";

struct OneDevice;

impl Devices for OneDevice {
    fn pod(&self, _node: &str, _pod: &Pod) -> Option<u32> {
        Some(7)
    }

    fn uplink(&self, _node: &str) -> u32 {
        2
    }
}

/// How many services there are; few where it is only seen that the benches run.
fn sizes() -> [usize; 2] {
    let is_test = twinpath_benches::is_test();
    if is_test { [10, 20] } else { [10_000, 100_000] }
}

fn objects(text: &str) -> Objects {
    read("dump", text.as_bytes()).unwrap_or_else(|error| unreachable!("{error}"))
}

fn plan(planner: &mut Planner, objects: &Objects) -> Desired {
    planner.plan(&State::new(objects).0, NODE, &OneDevice, &Options::default())
}

fn limits(services: usize) -> Limits {
    Limits { services: services * 5, backends: services * 3, ..Limits::default() }
}

/// Bytes to objects.
fn parse(c: &mut Criterion) {
    let mut group = c.benchmark_group("parse");
    for services in sizes() {
        for (name, make) in [("json", dump::json as fn(usize) -> String), ("yaml", dump::yaml)] {
            let mut text = String::new();
            group.throughput(Throughput::Elements(services as u64));
            group.bench_function(format!("{name}/{services}"), |b| {
                if text.is_empty() {
                    text = make(services);
                }
                b.iter(|| objects(black_box(&text)));
            });
        }
    }
}

/// Objects to tables to writes, as a whole.
fn whole(c: &mut Criterion) {
    let mut group = c.benchmark_group("whole");
    for services in sizes() {
        group.throughput(Throughput::Elements(services as u64));
        let objects = objects(&dump::json(services));
        group.bench_function(format!("state/{services}"), |b| {
            b.iter(|| State::new(black_box(&objects)));
        });
        let (state, _) = State::new(&objects);
        group.bench_function(format!("plan/{services}"), |b| {
            b.iter_batched(
                Planner::default,
                |mut planner| planner.plan(&state, NODE, &OneDevice, &Options::default()),
                BatchSize::PerIteration,
            );
        });
        let mut planner = Planner::default();
        let tables = plan(&mut planner, &objects);
        let mut later = objects.clone();
        later.merge(self::objects(&dump::slice(services / 2, 1)));
        let after = plan(&mut planner, &later);
        group.bench_function(format!("diff from nothing/{services}"), |b| {
            b.iter(|| diff::diff(&Desired::default(), black_box(&tables)));
        });
        group.bench_function(format!("diff of one endpoint/{services}"), |b| {
            b.iter(|| diff::diff(black_box(&tables), black_box(&after)));
        });
        let writes = diff::diff(&Desired::default(), &tables);
        group.bench_function(format!("apply to tables/{services}"), |b| {
            b.iter_batched(
                Desired::default,
                |mut target| diff::apply(&mut target, &writes).map(|()| target),
                BatchSize::PerIteration,
            );
        });
        group.bench_function(format!("apply to the simulator/{services}"), |b| {
            b.iter_batched(
                || SimNode::new(&limits(services), 1),
                |mut target| diff::apply(&mut target, &writes).map(|()| target),
                BatchSize::PerIteration,
            );
        });
    }
}

/// One object that changes, to the list of writes: what a keeper takes.
fn change(c: &mut Criterion) {
    let mut group = c.benchmark_group("change");
    for services in sizes() {
        let mut keeper = Keeper::new(NODE, Options::default());
        apply(&mut keeper, None, services);
        let mut added = objects(&dump::service(services));
        added.merge(objects(&dump::slice(services, 2)));
        let (one, two) =
            (objects(&dump::slice(services / 2, 1)), objects(&dump::slice(services / 2, 2)));
        let mut measure = |keeper: &mut Keeper, name: &str, there: &[Change], back: &[Change]| {
            group.bench_function(format!("{name}/{services}"), |b| {
                b.iter_custom(|times| {
                    let mut took = std::time::Duration::ZERO;
                    for _ in 0..times {
                        let changes = there.to_vec();
                        let start = std::time::Instant::now();
                        black_box(apply(keeper, Some(changes), services));
                        took += start.elapsed();
                        apply(keeper, Some(back.to_vec()), services);
                    }
                    took
                });
            });
        };
        let (add, remove) = (Change::all(added.clone()), Change::none(&added));
        measure(&mut keeper, "add a service", &add, &remove);
        measure(&mut keeper, "change an endpoint", &Change::all(one), &Change::all(two));
        apply(&mut keeper, Some(add.clone()), services);
        measure(&mut keeper, "remove a service", &remove, &add);
    }
}

/// Changes, or all of the dump.
fn apply(keeper: &mut Keeper, changes: Option<Vec<Change>>, services: usize) -> Vec<Write> {
    let mut writes = Vec::new();
    let Ok(_) = match changes {
        Some(changes) => keeper.change(changes, &OneDevice, &mut writes),
        None => keeper.load(objects(&dump::json(services)), &OneDevice, &mut writes),
    };
    writes
}

/// Fails where the simulator has no room for the dump, or where the dumps are not of the same objects.
fn fits(_: &mut Criterion) {
    let services = sizes()[0];
    let tables = plan(&mut Planner::default(), &objects(&dump::json(services)));
    let writes = diff::diff(&Desired::default(), &tables);
    let mut node = SimNode::new(&limits(services), 1);
    assert!(node.write_all(&writes).is_ok(), "the simulator's tables are too small");
    assert!(
        objects(&dump::yaml(services)) == objects(&dump::json(services)),
        "JSON is not as YAML"
    );
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(std::time::Duration::from_secs(3))
        .warm_up_time(std::time::Duration::from_millis(500));
    targets = fits, parse, whole, change
}
criterion_main!(benches);
