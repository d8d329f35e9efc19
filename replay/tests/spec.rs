//! O3, the spec oracle: what the simulator does is what a service load balancer owes.
//!
//! `TWINPATH_SPEC_PACKETS` (60,000) and `TWINPATH_SEED` (1) set how much is run and on what.

use std::env;
use std::path::Path;

use twinpath::command::verify::LIMITS;
use twinpath::verify::{Random, SpecRun};
use twinpath_sim::engine::SimEngine;

fn number(name: &str, default: u64) -> u64 {
    env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|e| panic!("{name}={text}: {e}")))
}

#[test]
fn the_simulator_does_what_it_owes() {
    let mut spec = SpecRun::new(SimEngine::new(1, &LIMITS, 0));
    let random = Random {
        packets: number("TWINPATH_SPEC_PACKETS", 60_000),
        steps: 120,
        seed: number("TWINPATH_SEED", 1),
    };
    let outcome = random.run(&mut spec, |_| {}).unwrap();
    if let Some(failure) = outcome.failure {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("failures");
        let path = failure.save(&folder).unwrap();
        panic!(
            "after {} packets: {}\nsaved in {}",
            outcome.packets,
            failure.difference,
            path.display()
        );
    }
    println!(
        "{} packets are as they ought to be; what they met:\n{}",
        outcome.packets, outcome.coverage
    );
}
