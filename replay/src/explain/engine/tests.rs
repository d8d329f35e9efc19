//! Watched, the simulator does what it does otherwise.

use std::path::PathBuf;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use twinpath_control::tables::Options;
use twinpath_sim::engine::Engine;

use super::*;
use crate::cluster::load::load;
use crate::command::verify::LIMITS;
use crate::explain::stage::SpyStage;
use crate::replay::feed::{Inputs, Reading};
use crate::replay::{At, Replay};
use crate::verify::strategy::scenario;
use crate::verify::{Step, Twin};

/// Decisions, bytes, tables, dice and counters of random scripts: what the twin oracle compares.
#[test]
fn random_scripts_end_alike() {
    let mut spy = SpyEngine::new(1, &LIMITS, 0);
    spy.spying = true;
    let log = spy.log.clone();
    let mut twin = Twin::new(SimEngine::new(1, &LIMITS, 0), spy);
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let scripts = scenario(30);
    let mut noted = 0;
    for _ in 0..150 {
        let mut script = scripts.new_tree(&mut runner).unwrap().current();
        // Faults strike on the slow road alone, which a watched hook does not tell apart.
        script.steps.retain(|step| !matches!(step, Step::Fault(..)));
        let difference = twin.run(&script).unwrap();
        assert!(difference.is_none(), "{difference:?}\n{script:?}");
        noted += log.take().len();
    }
    assert!(noted > 10_000, "only {noted} notes");
}

fn fixture(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(path)
}

/// Every packet of the captures, through the whole cluster.
#[test]
fn captures_end_alike() {
    let cluster = load(&[fixture("clusters/two-nodes.yaml")]).unwrap();
    let state = &cluster.state;
    for name in ["clusterip-small.pcapng", "dns.pcap", "offload.pcap"] {
        let inputs =
            Inputs::new(&[fixture("captures").join(name)], &Reading::default(), false).unwrap();
        let replay = |spying| {
            let topology = twinpath_sim::topology::Topology::new(state);
            let mut stage = SpyStage::new(topology, state, Options::default(), 1).unwrap();
            stage.spy(spying);
            Replay::new(stage, &cluster, At::default())
        };
        let (mut plain, mut watched) = (replay(false), replay(true));
        let mut feed = inputs.open().unwrap();
        let (mut one, mut other) = (Frame::default(), Frame::default());
        while let Some(packet) = feed.next().unwrap() {
            plain.packet(&packet, &mut one, &mut ()).unwrap();
            watched.packet(&packet, &mut other, &mut ()).unwrap();
            assert_eq!(one, other, "{name}, packet {}", plain.totals.packets);
            assert_eq!(format!("{:?}", plain.outcome), format!("{:?}", watched.outcome));
            let notes = watched.stage.log().take();
            assert!(matches!(notes.last(), Some(Event::Ended(_)) | None), "{name}");
        }
        assert!(plain.totals.packets > 5, "{name}");
        for node in 0..2 {
            let table =
                |replay: &mut Replay<SpyStage>| replay.stage.engine().conntrack(node).unwrap();
            assert_eq!(table(&mut plain), table(&mut watched), "{name}");
        }
    }
}
