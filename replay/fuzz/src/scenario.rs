//! Scenario files and saved scripts.

use std::collections::BTreeSet;
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

/// The files with a number left out or too large: once for every form of a word with numbers, such as `30s`
/// and `60s`, and each number in it.
fn other_numbers(files: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let is_digit = |c: char| c.is_ascii_digit();
    let mut seen = BTreeSet::new();
    let mut others = Vec::new();
    for file in files {
        let text = str::from_utf8(file).expect("text");
        let mut at = 0;
        for word in text.split_inclusive(char::is_whitespace) {
            let form = word.trim_end().replace(is_digit, "");
            let (mut rest, mut skipped) = (word, 0);
            while let Some(start) = rest.find(is_digit) {
                let tail = rest[start..].trim_start_matches(is_digit);
                let (start, end) = (at + skipped + start, at + word.len() - tail.len());
                if seen.insert((form.clone(), tail.trim_end().replace(is_digit, "").len())) {
                    for number in ["", "98765432109876543210"] {
                        others.push([&text[..start], number, &text[end..]].concat().into_bytes());
                    }
                }
                (rest, skipped) = (tail, word.len() - tail.len());
            }
            at += word.len();
        }
    }
    others
}

/// The scenarios, those with other numbers, and some scripts.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = super::files("scenarios", &[".yaml"]);
    seeds.extend(EXTRAS.iter().map(|text| text.as_bytes().to_vec()));
    seeds.extend(other_numbers(&seeds));
    for (number, script) in super::pipeline::scripts().iter().enumerate().take(60) {
        let name = format!("twinpath-fuzz-{}-{number}.json", std::process::id());
        let path = std::env::temp_dir().join(name);
        script.write(&path).expect("a file");
        seeds.push(std::fs::read(&path).expect("a file"));
        std::fs::remove_file(&path).expect("a file");
    }
    seeds
}

/// Steps and options that the fixtures do not have, and names of two lines.
const EXTRAS: [&str; 4] = [
    "scenario: a\ncluster: [talk.yaml]\nclients: {c: {addresses: [198.51.100.7], mtu: 1400}}\nrouter: \
     {addresses: [203.0.113.1], routes: {3.3.3.3: node-a}, knows-pods: true}\noptions: {seed: 7, mode: \
     hybrid, dispatch: geneve, algorithm: maglev, masquerade: true, xdp: true, mtu: 1500}\nsteps:\n- \
     send: udp 198.51.100.7:9 > 3.3.3.3:80 ttl 9 len 100\n  from: c\n  expect: {drop: SERVICE_BACKEND_NOT_FOUND}\n- wait: 250ms\n- wait: 30s\n- wait: 5m\n- evict: node-a tcp \
     1.1.1.1:50000 > 3.3.3.3:80\n- send: tcp 1.1.1.1:50000 > 3.3.3.3:80 S\n- reply: SA len 7\n- hex: \
     020202020202\n- send: icmp 192.168.0.1 > 192.168.0.2 ttl 3\n- apply: |\n    kind: Node\n    \
     metadata: {name: n}\n",
    "scenario: a\ncluster: [talk.yaml]\nsteps:\n- send: tcp 1.1.1.1:50000 > 3.3.3.3:80 S\n  from: \"a\\nb\"\n",
    "scenario: a\ncluster: [talk.yaml]\nsteps:\n- evict: \"a\\nb tcp 1.1.1.1:50000 > 3.3.3.3:80\"\n",
    "scenario: a\ncluster: [talk.yaml]\nrouter: {routes: {3.3.3.3: \"a\\nb\"}}\nsteps: []\n",
];
