//! kube-proxy's packet flows as rows: who sends what where, and what becomes of it, in every world.
//!
//! Every row says what kube-proxy does. Where that is something else here, it names the deviation. A row
//! whose packets arrive is a whole exchange: the endpoint's answer reaches the sender as the frontend's,
//! and what the sender sends next reaches the same endpoint.

mod cluster;
mod matrix;
mod row;
mod rows;
mod run;

use std::path::Path;

use twinpath::scenario::world;
use twinpath::worlds::Kind;
use twinpath_kernel::testing::skip;
use twinpath_sim::world::{World, WorldError};

use self::row::Row;
use self::run::{Bench, TRIES};

/// The worlds of these kinds; `None` where this machine lacks what one needs.
fn worlds(kinds: &[Kind], xdp: bool) -> Option<Vec<Box<dyn World>>> {
    let scenario = cluster::scenario(xdp);
    let mut worlds = Vec::new();
    for kind in kinds {
        match world(*kind, &scenario) {
            Ok(world) => worlds.push(world),
            Err(WorldError::Environment(why)) => {
                skip(&format!("kube-proxy's rows in {}", kind.name()), &why);
                return None;
            }
            Err(error) => panic!("{}: {error}", kind.name()),
        }
    }
    Some(worlds)
}

/// Rows in these worlds at once, which must agree on everything.
fn run(rows: &[Row], kinds: &[Kind], xdp: bool, families: &[u8], tries: usize) {
    let Some(worlds) = worlds(kinds, xdp) else { return };
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
    let mut bench = Bench::new(worlds, tries);
    let (mut count, mut failures) = (0, Vec::new());
    for row in rows {
        for family in families {
            count += 1;
            if let Err(what) = bench.check(row, *family) {
                failures
                    .push(format!("IPv{family}, {}: {} > {}: {what}", row.name, row.from, row.to));
            }
        }
    }
    println!("{count} rows in {} (xdp: {xdp}), {} failures", names.join(" and "), failures.len());
    assert!(failures.is_empty(), "{} of {count}:\n{}", failures.len(), failures.join("\n"));
}

fn all() -> Vec<Row> {
    [rows::rows(), matrix::rows()].concat()
}

#[test]
fn the_simulator() {
    run(&all(), &[Kind::Sim], false, &[4, 6], TRIES);
}

#[test]
fn the_simulator_with_xdp() {
    run(&all(), &[Kind::Sim], true, &[4, 6], TRIES);
}

#[test]
fn test_runs_with_the_simulator() {
    run(&all(), &[Kind::Sim, Kind::TestRun], false, &[4, 6], TRIES);
}

#[test]
fn test_runs_with_the_simulator_and_xdp() {
    run(&all(), &[Kind::Sim, Kind::TestRun], true, &[4, 6], TRIES);
}

/// Left out: a node's external address, which namespaces do not have, and what a node sends to its own
/// address, which never leaves its stack.
#[test]
fn namespaces_with_the_simulator() {
    let is_shown =
        |row: &Row| !row.to.contains(if row.from == "node-a" { "node-a" } else { "node-a.ext" });
    let all = all();
    let shown: Vec<Row> = all.iter().filter(|row| is_shown(row)).cloned().collect();
    run(&shown, &[Kind::Sim, Kind::Veth], false, &[4, 6], 6);
    println!("{} of {} rows left out", all.len() - shown.len(), all.len());
}

#[test]
fn every_difference_is_a_deviation() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/deviations.md");
    let text = std::fs::read_to_string(path).unwrap();
    for row in all() {
        let Some((number, here)) = &row.differs else { continue };
        assert_ne!(*here, row.kube_proxy, "{}", row.name);
        let line = text.lines().find(|line| line.starts_with(&format!("| {number} |")));
        let line = line.unwrap_or_else(|| panic!("{}: no deviation {number}", row.name));
        assert!(line.contains("kube-proxy") && line.contains("kube_proxy/"), "{line}");
    }
}
