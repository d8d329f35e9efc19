//! The whole pipeline with its state: scripts of packets, waits, changes and evictions on one node.

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use twinpath::command::verify::LIMITS;
use twinpath::verify::{Scenario, Twin, strategy};
use twinpath_sim::engine::SimEngine;
use twinpath_sim::map::Eviction;
use twinpath_sim::node::Limits;

use super::code::{self, Code, Reader, Writer};
use super::heap;
use super::laws::Lawful;

/// Tables so small that scripts fill them, and that give up any entry.
fn small(seed: u64) -> Limits {
    Limits {
        conntrack: 12,
        affinities: 3,
        fragments: 3,
        eviction: Eviction::Adversary(seed),
        ..LIMITS
    }
}

/// What a script may take: the tables, the packets, and what is kept for a report.
const MEMORY: usize = 24 << 20;

/// A script: the size of the tables, then as [`code`] has it. The laws hold for each packet (see
/// [`Lawful`]), and two nodes with the same script and dice do the same.
pub fn run(data: &[u8]) {
    let mut reader = Reader(data);
    let is_small = reader.flag(false);
    let scenario = code::read(&mut reader);
    let limits = if is_small { small(scenario.seed) } else { LIMITS };
    heap::capped(MEMORY, || {
        let node = || SimEngine::new(1, &limits, 0);
        let mut twin = Twin::new(Lawful::new(node(), limits), node());
        let found = twin.run(&scenario).unwrap_or_else(|error| panic!("{error}\n{scenario:?}"));
        assert_eq!(found, None, "the same twice: {scenario:?}");
    });
}

/// Scripts as the random tests draw them.
pub(super) fn scripts() -> Vec<Scenario> {
    let mut runner = TestRunner::deterministic();
    let mut draw = |steps| {
        let tree = strategy::scenario(steps).new_tree(&mut runner).expect("a script");
        tree.current()
    };
    (0..200).map(|n| draw(1 + n / 8)).collect()
}

/// Those, for tables of both sizes.
pub fn seeds() -> Vec<Vec<u8>> {
    let bytes = |(number, scenario): (usize, Scenario)| {
        let mut writer = Writer::default();
        writer.flag(number % 2 == 1);
        code::write(&mut writer, &scenario);
        writer.0
    };
    scripts().into_iter().enumerate().map(bytes).collect()
}

/// The packets that some of the scripts send.
pub fn packets() -> Vec<Vec<u8>> {
    let node = || SimEngine::new(1, &LIMITS, 0);
    let mut twin = Twin::new(node(), node());
    let mut packets = Vec::new();
    for scenario in scripts().iter().step_by(4) {
        assert_eq!(twin.run(scenario).expect("a run"), None);
        packets.extend(
            twin.sent.iter().take(8).map(|packet| packet.iter().take(256).copied().collect()),
        );
    }
    packets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for (mut scenario, seed) in scripts().into_iter().zip(seeds()) {
            scenario.seed &= 0xffff;
            scenario.steps.truncate(96);
            let mut reader = Reader(&seed);
            reader.byte(0);
            assert_eq!(code::read(&mut reader), scenario);
        }
    }
}
