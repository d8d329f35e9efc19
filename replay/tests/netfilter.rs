//! Linux netfilter as an oracle.

use std::path::{Path, PathBuf};

use twinpath::netfilter::capture;
use twinpath::netfilter::deviations::{ALL, Deviation};
use twinpath::netfilter::inject;
use twinpath::netfilter::run::{self, Options, Report};
use twinpath::netfilter::world::Rules;
use twinpath_kernel::testing::skip;
use twinpath_sim::world::WorldError;

/// One row in how many.
fn one_in(default: usize) -> usize {
    let text = std::env::var("TWINPATH_NETFILTER_ONE_IN");
    text.map_or(default, |text| text.parse().unwrap())
}

fn options(rules: Rules) -> Options {
    let whole = std::env::var_os("TWINPATH_NETFILTER_ALL").is_some();
    Options { rules, whole, one_in: one_in(1), seed: 1 }
}

/// Runs a comparison and says what it has found.
fn check(name: &str, rules: Rules, what: fn(&Options) -> Result<Report, WorldError>) {
    let options = options(rules);
    let report = match what(&options) {
        Ok(report) => report,
        Err(WorldError::Environment(why)) => return skip(name, &why),
        Err(error) => panic!("{name}: {error}"),
    };
    println!("{name}: {} rows, {} packets", report.rows, report.packets);
    for (number, count) in &report.accepted {
        println!("deviation {number}: {count} rows");
    }
    let some: Vec<_> = report.failures.iter().take(400).map(String::as_str).collect();
    let (count, unused) = (report.failures.len(), &report.unused);
    assert!(report.is_fine(), "{count} failures, unused {unused:?}\n{}", some.join("\n"));
}

#[test]
fn iptables() {
    check("netfilter, iptables", Rules::Iptables, run::rows);
}

#[test]
fn nftables() {
    check("netfilter, nftables", Rules::Nftables, run::rows);
}

#[test]
fn decisions() {
    check("netfilter, decisions as rules", Rules::Nftables, inject::rows);
}

/// Captures of this project and, where they are, others.
fn captured(rules: Rules) {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/captures");
    let mut flows = capture::folder(&own, 400).unwrap();
    let other = std::env::var_os("TWINPATH_CAPTURES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures"),
        PathBuf::from,
    );
    let name = format!("netfilter, captures, {}", rules.name());
    if other.is_dir() {
        flows.extend(capture::folder(&other, 400).unwrap());
    } else {
        skip(&format!("{name}: those of others"), "the folder is absent");
    }
    assert!(flows.len() > 20);
    let report = match run::captured(&options(rules), &flows) {
        Ok(report) => report,
        Err(WorldError::Environment(why)) => return skip(&name, &why),
        Err(error) => panic!("{name}: {error}"),
    };
    println!("{name}: {} connections, {} packets", report.rows, report.packets);
    for (number, count) in &report.accepted {
        println!("deviation {number}: {count} connections");
    }
    let count = report.failures.len();
    assert!(report.is_fine(), "{count} failures\n{}", report.failures.join("\n"));
}

#[test]
fn captures_by_iptables() {
    captured(Rules::Iptables);
}

#[test]
fn captures_by_nftables() {
    captured(Rules::Nftables);
}

#[test]
fn every_difference_is_a_deviation() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/deviations.md");
    let text = std::fs::read_to_string(path).unwrap();
    for Deviation { number, what, .. } in ALL {
        let line = text.lines().find(|line| line.starts_with(&format!("| {number} |")));
        let line = line.unwrap_or_else(|| panic!("{number}: {what}: not documented"));
        assert!(line.contains("kube-proxy") || line.contains("netfilter"), "{line}");
    }
}
