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

use twinpath::netfilter::world::{NetfilterWorld, Rules};
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

/// Rows about which rules in namespaces cannot be asked: under which rules, which, and why not.
type Unasked = (Option<Rules>, fn(&Row) -> bool, &'static str);

const UNASKED: [Unasked; 6] = [
    (None, |row| row.to.contains("node-a.ext"), "namespaces have no external address"),
    (None, |row| row.from == "node-a@lb1", "no device of the node has the balancer's address"),
    (
        None,
        |row| row.to == "tcp lb1:443",
        "it goes between router and node until its hops are used",
    ),
    (
        None,
        |row| row.from == "pa" && row.to == "tcp node-b:30080" && is_answered_past_its_node(row),
        "the answer does not pass the node that has translated",
    ),
    (
        Some(Rules::Iptables),
        is_unknown_port,
        "in this mode ports without service pass, and come to nobody",
    ),
    (
        Some(Rules::Iptables),
        |row| row.kube_proxy == "REJECT" && row.from == "node-a" && !row.to.contains("svc"),
        "in this mode they pass on their way out, and come to nobody",
    ),
];

/// Whether a pod's packet to the other node's port goes on to a pod of its own node, without a change of its
/// source.
fn is_answered_past_its_node(row: &Row) -> bool {
    row.kube_proxy.split(' ').any(|endpoint| endpoint == "a1:8080")
}

/// Whether the row is about a port that no service has at a cluster address.
fn is_unknown_port(row: &Row) -> bool {
    ["udp svc3:80", "tcp svc1:443", "tcp svc2:8443", "tcp svc1:30080"].contains(&row.to.as_str())
}

/// What the rows say that kube-proxy does, asked of its rules.
fn netfilter(rules: Rules) {
    let name = format!("kube-proxy's rows by {}", rules.name());
    let scenario = cluster::scenario(false);
    let world: Box<dyn World> = match NetfilterWorld::new(scenario.topology(), rules) {
        Ok(world) => Box::new(world),
        Err(WorldError::Environment(why)) => return skip(&name, &why),
        Err(error) => panic!("{name}: {error}"),
    };
    let mut bench = Bench::new(vec![world], 1);
    bench.node_refuses = true;
    let (mut count, mut failures, mut unasked) = (0, Vec::new(), [0; UNASKED.len()]);
    let mut rows = all();
    rows.sort_by(|a, b| a.services.cmp(&b.services)); // rules are loaded once for all rows of a cluster
    for row in rows {
        let applies =
            |(mode, is_it, _): &Unasked| mode.is_none_or(|mode| mode == rules) && is_it(&row);
        if let Some(place) = UNASKED.iter().position(applies) {
            unasked[place] += 2;
            continue;
        }
        let asked = Row { differs: None, ..row };
        for family in [4, 6] {
            count += 1;
            if let Err(what) = bench.check(&asked, family) {
                let (name, from, to) = (&asked.name, asked.from, &asked.to);
                failures.push(format!("IPv{family}, {name}: {from} > {to}: {what}"));
            }
        }
    }
    println!("{count} rows by {}, {} failures", rules.name(), failures.len());
    for ((mode, _, why), left_out) in UNASKED.iter().zip(unasked) {
        println!("{left_out} rows left out: {why}");
        assert!(left_out > 0 || mode.is_some_and(|mode| mode != rules), "no row: {why}");
    }
    assert!(failures.is_empty(), "{} of {count}:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn nftables_rules() {
    netfilter(Rules::Nftables);
}

#[test]
fn iptables_rules() {
    netfilter(Rules::Iptables);
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
