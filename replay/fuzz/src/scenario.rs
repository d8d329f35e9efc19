//! Scenario files and saved scripts.

use std::io;
use std::sync::LazyLock;

use twinpath::command::verify::LIMITS;
use twinpath::scenario::{self, Detail};
use twinpath::verify::{Scenario as Script, Step, Twin};
use twinpath::worlds::Kind;
use twinpath_sim::engine::SimEngine;

use super::heap;
use super::laws::Lawful;

/// What a file may take: the packets of every place are kept as text.
const MEMORY: usize = 512 << 20;
/// Steps of what is run, not only read.
const MOST_STEPS: usize = 24;

/// A file, tried as either. No panic; an error is one line; what reads as a script or as a scenario runs
/// in the simulator, a script under the laws of the pipeline.
pub fn run(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    heap::capped(MEMORY, || {
        match Script::parse("fuzz", data) {
            Ok(script) => play(&script),
            Err(error) => told(&error.to_string()),
        }
        match scenario::Scenario::parse_with("fuzz", text, dump) {
            Ok(scenario) => show(&scenario),
            Err(error) => told(&error.to_string()),
        }
    });
}

/// The only dump that there is, whatever a file asks for.
fn dump(path: &str) -> (String, io::Result<Vec<u8>>) {
    static TALK: LazyLock<Vec<u8>> = LazyLock::new(|| {
        std::fs::read(super::fixtures().join("clusters/talk.yaml")).expect("a fixture")
    });
    let found = path.ends_with("talk.yaml").then(|| TALK.clone());
    ("fuzz".into(), found.ok_or_else(|| io::ErrorKind::NotFound.into()))
}

fn told(text: &str) {
    assert!(!text.is_empty() && !text.contains('\n'), "{text:?}");
}

fn play(script: &Script) {
    let packets = script.steps.iter().filter(|step| matches!(step, Step::Packet(..))).count();
    if packets > MOST_STEPS || script.steps.len() > 4 * MOST_STEPS {
        return;
    }
    let node = || SimEngine::new(1, &LIMITS, 0);
    let mut twin = Twin::new(Lawful::new(node(), LIMITS), node());
    // Tables may be too small for what a file asks for, which is an error; a difference is not.
    if let Ok(found) = twin.run(script) {
        assert_eq!(found, None);
    }
}

fn show(scenario: &scenario::Scenario) {
    if scenario.steps.len() > MOST_STEPS {
        return;
    }
    if let Ok(mut world) = scenario::world(Kind::Sim, scenario) {
        let _ = scenario::run(scenario, world.as_mut(), Detail::Everything);
    }
}

/// The scenarios, and some scripts.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = super::files("scenarios", &[".yaml"]);
    for (number, script) in super::pipeline::scripts().iter().enumerate().take(60) {
        let name = format!("twinpath-fuzz-{}-{number}.json", std::process::id());
        let path = std::env::temp_dir().join(name);
        script.write(&path).expect("a file");
        seeds.push(std::fs::read(&path).expect("a file"));
        std::fs::remove_file(&path).expect("a file");
    }
    seeds
}
