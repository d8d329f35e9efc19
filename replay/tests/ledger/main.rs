//! The ledger: what a NAT owes the RFCs, and a service load balancer its users, each with a test that sends
//! packets through a whole cluster and compares every byte of what comes out. All of it runs in the simulator
//! and through the loaded programs; `docs/compliance.md` is written from the results.

#[path = "../matrix/cluster.rs"]
#[allow(dead_code)] // shared with the matrix, which needs more of it
mod cluster;

mod arithmetic;
mod entry;
mod generated;
mod icmp;
mod ids;
mod lab;
mod packet;
mod page;
mod rfc7857;
mod service;
mod tcp;
mod udp;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use twinpath::command::verify::LIMITS;
use twinpath_kernel::test_run::TestRunEngine;
use twinpath_kernel::testing::skip;
use twinpath_sim::engine::{Engine, SimEngine};
use twinpath_sim::world::ModelWorld;

use cluster::Setup;
use entry::{Differs, Entry};
use lab::{Check, Lab};

/// A section of the page: its title, the file of its tests, its rows.
pub(crate) const SECTIONS: &[(&str, &str, &[Entry])] = &[
    ("UDP: RFC 4787", "udp.rs", udp::ROWS),
    ("TCP: RFC 5382", "tcp.rs", tcp::ROWS),
    ("ICMP: RFC 5508", "icmp.rs", icmp::ROWS),
    ("Updates: RFC 7857", "rfc7857.rs", rfc7857::ROWS),
    (
        "Header arithmetic: RFC 768, 1071, 1122, 1624, 3022, 6935, 8200",
        "arithmetic.rs",
        arithmetic::ROWS,
    ),
    ("ICMP that nodes make: RFC 792, 1122, 1812, 4443, 4884", "generated.rs", generated::ROWS),
    ("NAT64: RFC 6146, 7915", "generated.rs", generated::NAT64),
    ("What services owe", "service.rs", service::ROWS),
];

pub(crate) fn rows() -> impl Iterator<Item = &'static Entry> {
    SECTIONS.iter().flat_map(|(_, _, rows)| rows.iter())
}

/// What a test came to in a world: what it measured or why it failed, and a digest of all that was seen.
#[derive(Clone, Debug, PartialEq)]
struct Outcome {
    result: Check<String>,
    digest: u64,
}

/// By row and test.
type Outcomes = BTreeMap<(&'static str, &'static str), Outcome>;

/// What came of all tests.
pub(crate) struct Results {
    sim: Outcomes,
    /// `None` where the programs cannot be loaded here: why.
    programs: Result<Outcomes, String>,
}

impl Results {
    /// Why a row does not hold, and what its tests have measured.
    pub(crate) fn of(&self, row: &Entry) -> Check<Vec<String>> {
        let mut measured = Vec::new();
        for (name, _) in row.tests {
            let key = (row.id, *name);
            let sim = &self.sim[&key];
            let text = sim.result.clone().map_err(|why| format!("{name}, sim: {why}"))?;
            if let Ok(programs) = &self.programs {
                let outcome = &programs[&key];
                if let Err(why) = &outcome.result {
                    return Err(format!("{name}, test-run: {why}"));
                }
                if outcome != sim {
                    return Err(format!(
                        "{name}: sim and test-run differ, in bytes or in what is measured"
                    ));
                }
            }
            measured.extend((!text.is_empty()).then_some(text));
        }
        Ok(measured)
    }
}

fn run_all<E: Engine>(mut world: ModelWorld<E>) -> Outcomes {
    let (mut outcomes, mut begun) = (Outcomes::new(), None);
    for row in rows() {
        for (name, run) in row.tests {
            let start = std::time::Instant::now();
            let mut lab = Lab::new(&mut world, begun.take());
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&mut lab)));
            let result = result.unwrap_or_else(|_| Err("the test itself failed".into()));
            let (digest, holds) = lab.end();
            begun = holds.filter(|_| result.is_ok());
            let outcome = Outcome { result, digest };
            outcomes.insert((row.id, *name), outcome);
            if std::env::var_os("TWINPATH_LEDGER_TIMES").is_some() {
                println!("{:>8.1} ms {} {name}", start.elapsed().as_secs_f64() * 1e3, row.id);
            }
        }
    }
    outcomes
}

/// All tests in all worlds, once.
pub(crate) fn results() -> &'static Results {
    static RESULTS: OnceLock<Results> = OnceLock::new();
    RESULTS.get_or_init(|| {
        let (topology, options) = (Setup::default().topology(), Setup::default().options);
        std::thread::scope(|scope| {
            let sim = scope.spawn(|| {
                let engine = SimEngine::new(3, &LIMITS, 0);
                run_all(ModelWorld::new("sim", topology.clone(), engine, options.clone()))
            });
            let programs = TestRunEngine::new(3, &LIMITS, 0)
                .map(|engine| {
                    run_all(ModelWorld::new("test-run", topology.clone(), engine, options.clone()))
                })
                .map_err(|error| error.to_string());
            Results { sim: sim.join().expect("the simulator runs"), programs }
        })
    })
}

/// Fails where a requirement does not hold.
fn holds(id: &str) {
    let row = rows().find(|row| row.id == id).expect("a row for every requirement");
    if let Err(why) = results().of(row) {
        panic!("{id}: {}\n  {why}", row.statement);
    }
}

#[test]
fn worlds_ran() {
    if let Err(why) = &results().programs {
        skip("the ledger in test-run", why);
    }
}

#[test]
fn rows_are_those_of_the_ledger() {
    let ids: Vec<&str> = ids::IDS.iter().map(|(id, _)| *id).collect();
    let found: Vec<&str> = rows().map(|row| row.id).collect();
    assert_eq!(found, ids, "a row for each id, in order");
    let names: BTreeSet<_> =
        rows().flat_map(|row| row.tests.iter().map(|(name, _)| *name)).collect();
    let tests = rows().map(|row| row.tests.len()).sum::<usize>();
    assert!(names.len() == tests, "a test that two rows name is no test of its own for either");
    for (row, (_, scope)) in rows().zip(ids::IDS) {
        let applies = scope.contains(['A', 'S']);
        let told = !matches!(row.differs, Differs::NotApplicable(_));
        assert_eq!(applies, told, "{}: {scope}", row.id);
        assert_eq!(applies, !row.tests.is_empty(), "{} and its tests", row.id);
        if scope.contains('D') {
            let cited = matches!(row.differs, Differs::Beside(..) | Differs::Instead(..));
            assert!(cited, "{} says what is done instead", row.id);
        }
    }
}

#[test]
fn deviations_that_rows_cite_exist() {
    let text = std::fs::read_to_string(page::docs("deviations.md")).expect("docs/deviations.md");
    let numbers: Vec<u32> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(' ').next()?.parse().ok())
        .collect();
    assert!(
        numbers.windows(2).all(|two| two[0] < two[1]),
        "each number once, in order: {numbers:?}"
    );
    for row in rows() {
        if let Differs::Beside(number, _) | Differs::Instead(number, _) = row.differs {
            assert!(numbers.contains(&number), "{} cites {number}", row.id);
        }
    }
}

#[test]
fn page_is_what_the_results_say() {
    let results = results();
    let page = page::text(results);
    let path = page::docs("compliance.md");
    if std::env::var_os("TWINPATH_BLESS").is_some_and(|bless| bless == "1") {
        assert!(results.programs.is_ok(), "the page is written where both worlds run");
        std::fs::write(&path, &page).expect("docs/compliance.md");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    if let Some((line, (now, then))) = page
        .lines()
        .zip(written.lines().chain(std::iter::repeat("")))
        .enumerate()
        .find(|(_, (a, b))| a != b)
    {
        panic!(
            "docs/compliance.md is stale, from line {} on:\n  it says  {then}\n  and is   {now}\n\
             TWINPATH_BLESS=1 cargo test -p twinpath --test ledger writes it",
            line + 1
        );
    }
    assert!(page == written, "docs/compliance.md says more than the results");
}
