//! What is fuzzed, and what must hold whatever the bytes are.
//!
//! Each target is a function of bytes that panics where a law is broken. `fuzz_targets/` hands them to
//! libFuzzer, which needs a nightly compiler (`run.sh`); `replay/tests/fuzz_cases.rs` compiles the same
//! files on stable and runs them over the seeds, over changed seeds and over `fixtures/fuzz/`.

use std::fs;
use std::path::{Path, PathBuf};

pub mod capture;
mod code;
pub mod heap;
pub mod kubernetes;
mod laws;
pub mod parse;
pub mod pipeline;
pub mod scenario;

/// Something to fuzz.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: that of the binary, and in the cases.
    pub name: &'static str,
    /// Runs it on these bytes; panics where something is wrong.
    pub run: fn(&[u8]),
    /// Bytes to begin with, made from the fixtures.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: [Target; 5] = [
    Target { name: "parse", run: parse::run, seeds: parse::seeds },
    Target { name: "pipeline", run: pipeline::run, seeds: pipeline::seeds },
    Target { name: "capture", run: capture::run, seeds: capture::seeds },
    Target { name: "kubernetes", run: kubernetes::run, seeds: kubernetes::seeds },
    Target { name: "scenario", run: scenario::run, seeds: scenario::seeds },
];

/// Writes the seeds of a target into the folder that `TWINPATH_FUZZ_SEEDS` names, if it does.
pub fn write_seeds(name: &str) {
    let Some(folder) = std::env::var_os("TWINPATH_FUZZ_SEEDS").map(PathBuf::from) else { return };
    let target = TARGETS.into_iter().find(|target| target.name == name).expect("a target");
    fs::create_dir_all(&folder).expect("a folder for seeds");
    for (number, seed) in (target.seeds)().into_iter().enumerate() {
        fs::write(folder.join(format!("seed-{number:04}")), seed).expect("a seed");
    }
}

/// The folder of the fixtures.
pub fn fixtures() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.ancestors().find(|folder| folder.join("fixtures").is_dir());
    root.expect("the repository").join("fixtures")
}

/// The files of a folder of the fixtures that end so, by name.
fn files(folder: &str, endings: &[&str]) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(fixtures().join(folder)).expect("a folder of the fixtures");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| endings.iter().any(|ending| path.to_string_lossy().ends_with(ending)));
    paths.sort();
    paths.into_iter().map(|path| fs::read(path).expect("a fixture")).collect()
}
