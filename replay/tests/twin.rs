//! O1, the twin oracle: the simulator and the loaded programs agree on random scenarios.
//!
//! `TWINPATH_PACKETS` (200,000) and `TWINPATH_SEED` (1) set how much is run and on what.

use std::env;
use std::path::Path;

use twinpath::command::verify::LIMITS;
use twinpath::verify::{Random, Twin};
use twinpath_kernel::test_run::TestRunEngine;
use twinpath_sim::engine::SimEngine;

fn number(name: &str, default: u64) -> u64 {
    env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|e| panic!("{name}={text}: {e}")))
}

/// The programs, or why they cannot run here. With `CI=true` as root that is a failure.
fn programs() -> Option<TestRunEngine> {
    match TestRunEngine::new(1, &LIMITS, 0) {
        Ok(engine) => Some(engine),
        Err(error) => {
            twinpath_kernel::testing::skip("test-run", &error.to_string());
            None
        }
    }
}

#[test]
fn the_simulator_and_the_programs_agree() {
    let Some(programs) = programs() else { return };
    let mut twin = Twin::new(SimEngine::new(1, &LIMITS, 0), programs);
    let random = Random {
        packets: number("TWINPATH_PACKETS", 200_000),
        steps: 120,
        seed: number("TWINPATH_SEED", 1),
    };
    let outcome = random.run(&mut twin, |_| {}).unwrap();
    if let Some(failure) = outcome.failure {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("failures");
        let path = failure.save(&folder).unwrap();
        panic!(
            "after {} packets: {}\nreplay it with: twinpath verify {}",
            outcome.packets,
            failure.difference,
            path.display()
        );
    }
    println!("{} packets, no difference; what they met:\n{}", outcome.packets, outcome.coverage);
    // A property that never reached its case holds nothing.
    let expected = [
        "from-pod DELIVER NEW service",
        "from-pod DELIVER ESTABLISHED service",
        "from-pod DELIVER REPLY service",
        "from-pod DELIVER REOPENED service",
        "from-pod FORWARD NEW service",
        "from-pod FORWARD ESTABLISHED service",
        "from-pod DELIVER NEW plain",
        "from-pod PASS NEW plain",
        "from-pod PASS UNTRACKED plain",
        "from-netdev DELIVER NEW plain",
        "from-netdev DELIVER REPLY service",
        "from-netdev PASS UNTRACKED plain",
        "to-pod PASS NEW plain",
        "to-pod PASS REPLY service",
        "SERVICE_PORT_NOT_FOUND",
        "INVALID_PACKET_DROPPED",
        "CT_TRUNCATED_OR_INVALID_HEADER",
        "CT_CANNOT_CREATE_ENTRY_FROM_PACKET",
        "INVALID_IPV6_EXTENSION_HEADER",
        "FIRST_LOGICAL_DATAGRAM_FRAGMENT_NOT_FOUND",
        "SERVICE_BACKEND_NOT_FOUND",
        "TTL_EXCEEDED",
        "CT_OPENED",
        "CT_RESTORED",
        "CT_REAPED",
    ];
    let missed: Vec<&str> =
        expected.into_iter().filter(|what| outcome.coverage.count(what) == 0).collect();
    assert!(missed.is_empty(), "never reached: {missed:?}");
}
