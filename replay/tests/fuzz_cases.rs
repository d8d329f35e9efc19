//! The fuzz targets (`replay/fuzz`) on stable: over the cases that fuzzing found once, over their seeds, and
//! over seeds with changes, so many for each target as `TWINPATH_FUZZ_CASES` says (300).
//!
//! `fixtures/fuzz/README.md` says what a case looks like.

use std::panic;
use std::path::{Path, PathBuf};

use fuzz::{TARGETS, Target};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

#[allow(unreachable_pub, dead_code)]
#[path = "../fuzz/src/lib.rs"]
mod fuzz;

#[global_allocator]
static HEAP: fuzz::heap::Counted = fuzz::heap::Counted;

fn target(name: &str) -> Target {
    TARGETS.into_iter().find(|target| target.name == name).expect("a target of this name")
}

/// The target and the bytes of a case.
fn case(path: &Path) -> (Target, Vec<u8>) {
    let file = std::fs::read_to_string(path).expect("a case in text");
    assert!(file.starts_with("# "), "{}: says nothing", path.display());
    let mut rest = file.as_str();
    let mut line = || {
        let (line, behind) = rest.split_once('\n').expect("a case");
        rest = behind;
        line
    };
    let name = loop {
        let line = line();
        if let Some(name) = line.strip_prefix("target ") {
            break name;
        }
        assert!(line.starts_with('#'), "{}: {line}", path.display());
    };
    let digit = |c: char| c.to_digit(16).expect("a digit") as u8;
    let bytes = match rest.strip_prefix("text\n") {
        Some(text) => text.as_bytes().to_vec(),
        None => {
            let digits: Vec<u8> = rest.chars().filter(|c| !c.is_whitespace()).map(digit).collect();
            digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
        }
    };
    (target(name), bytes)
}

#[test]
fn what_was_found_once() {
    let folder = fuzz::fixtures().join("fuzz");
    let entries = std::fs::read_dir(folder).expect("the folder of the cases");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "case"));
    paths.sort();
    for path in paths {
        let (target, bytes) = case(&path);
        let result = panic::catch_unwind(|| (target.run)(&bytes));
        assert!(result.is_ok(), "{}", path.display());
    }
}

/// A change of a seed.
#[derive(Clone, Debug)]
enum Change {
    Set(Index, u8),
    Flip(Index, u8),
    Remove(Index, usize),
    Insert(Index, Vec<u8>),
    /// What is at one place goes to the other.
    Copy(Index, Index, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let place = any::<Index>;
    prop_oneof![
        (place(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (place(), 0..8_u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        (place(), 1..16_usize).prop_map(|(at, length)| Change::Remove(at, length)),
        (place(), vec(any::<u8>(), 1..8)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (place(), place(), 1..48_usize)
            .prop_map(|(from, to, length)| Change::Copy(from, to, length)),
    ]
}

fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        if bytes.is_empty() {
            break;
        }
        let length = bytes.len();
        match change {
            Change::Set(at, byte) => bytes[at.index(length)] = *byte,
            Change::Flip(at, bit) => bytes[at.index(length)] ^= 1 << bit,
            Change::Remove(at, count) => {
                let at = at.index(length);
                bytes.drain(at..length.min(at + count));
            }
            Change::Insert(at, more) => {
                let at = at.index(length);
                bytes.splice(at..at, more.iter().copied());
            }
            Change::Copy(from, to, count) => {
                let (from, to) = (from.index(length), to.index(length));
                let piece = bytes[from..length.min(from + count)].to_vec();
                bytes.splice(to..to, piece);
            }
        }
    }
    bytes
}

/// A target over its seeds, and over changed ones.
fn runs(name: &str) {
    let target = target(name);
    let seeds = (target.seeds)();
    assert!(!seeds.is_empty());
    for seed in &seeds {
        (target.run)(seed);
    }
    let cases = std::env::var("TWINPATH_FUZZ_CASES").map_or(300, |text| text.parse().unwrap());
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let strategy = (any::<Index>(), vec(change(), 1..5))
        .prop_map(|(index, changes)| changed(index.get(&seeds).clone(), &changes));
    let result = TestRunner::new(config).run(&strategy, |bytes| {
        (target.run)(&bytes);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn parse() {
    runs("parse");
}

#[test]
fn pipeline() {
    runs("pipeline");
}

#[test]
fn capture() {
    runs("capture");
}

#[test]
fn kubernetes() {
    runs("kubernetes");
}

#[test]
fn scenario() {
    runs("scenario");
}
