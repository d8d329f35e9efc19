//! What must hold after every run: K-1, K-2, K-3, K-5, K-7, K-8 and U-3 of the ledger.

use std::collections::BTreeMap;

use twinpath_core::conntrack::Flow;
use twinpath_core::state::Direction;
use twinpath_core::tuple::Tuple;
use twinpath_core::verdict::Verdict;

use crate::lab::{Lab, Seen};
use crate::node::Cpu;
use crate::packet::Piece;

/// How long after its last refresh a connection is looked at again, and a bit.
const REFRESH: u64 = 1_500_000_000;

/// The CPU of the packets that come afterwards.
const AFTERWARDS: usize = 99;

/// How much is asked of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Faith {
    /// Nothing was taken away: no connection may falter.
    Strict,
    /// Entries were taken away or the tables changed: a connection may have been opened anew and an
    /// answer may have found nothing, until the connection's next packets.
    Mends,
}

/// Plays the packets that come afterwards, one at a time, and checks everything.
pub(crate) fn check(lab: &Lab, flows: &[&str], faith: Faith) {
    lab.points.set_quiet(true);
    outputs(lab);
    if faith == Faith::Strict {
        steady(lab, &lab.log());
    }
    let mut cpu = lab.cpu(AFTERWARDS, &[]);
    let mut kept = BTreeMap::new();
    for round in 0..3 {
        for text in flows {
            let strict = round > 0 || faith == Faith::Strict;
            if let Some(left) = there_and_back(lab, &mut cpu, text, strict)
                && round > 0
            {
                let first = *kept.entry(*text).or_insert(left);
                assert_eq!(first, left, "K-1: {text} goes on as it did\n{}", lab.tell());
            }
        }
        mend(lab, &mut cpu);
        lab.tables.pass(REFRESH);
    }
    pairs(lab);
    outputs(lab);
    counted(lab);
}

/// A packet of the connection and the answer to it. With which tuple the packet left comes out.
fn there_and_back(lab: &Lab, cpu: &mut Cpu, text: &str, strict: bool) -> Option<Tuple> {
    let sent = lab.family.tuple(text);
    let there = lab.send(AFTERWARDS, cpu, &sent, "A", Piece::Whole);
    let Some(left) = there.left else {
        assert!(!strict, "K-8: {text} goes on\n{}", lab.tell());
        return None;
    };
    let back = lab.send(AFTERWARDS, cpu, &left.reverse(), "A", Piece::Whole);
    if strict {
        let right = Some(sent.reverse());
        assert_eq!(back.left, right, "the answer to {text} goes to its client\n{}", lab.tell());
    }
    Some(left)
}

/// A packet for each half that is alone: it must bring the other one back, or end it.
fn mend(lab: &Lab, cpu: &mut Cpu) {
    for (key, half) in lab.halves() {
        if !lab.is_paired(&key, &half) {
            lab.points.note("alone");
            // As long after that it is not taken for one that tells nothing new.
            lab.tables.pass(REFRESH);
            lab.send(AFTERWARDS, cpu, &key, "A", Piece::Whole);
        }
    }
}

/// K-7: halves pair up. U-3: no connection is answered from two places.
fn pairs(lab: &Lab) {
    let mut answers: BTreeMap<Tuple, Tuple> = BTreeMap::new();
    for (key, half) in lab.halves() {
        let name = || lab.family.spell(&key);
        assert!(lab.is_paired(&key, &half), "K-7: the half {} is alone\n{}", name(), lab.tell());
        if is_answer(&half) {
            let other = answers.insert(half.to, key);
            assert_eq!(other, None, "U-3: {} is not the only one\n{}", name(), lab.tell());
        }
    }
}

fn is_answer(half: &Flow) -> bool {
    half.direction() == Direction::Reply
}

/// K-3 and K-5: where each packet went and what it looked like.
fn outputs(lab: &Lab) {
    let log = lab.log();
    for seen in &log {
        let Some(left) = seen.left else { continue };
        let name = || lab.family.spell(&seen.sent);
        let family = lab.family;
        let to_frontend = family.is_frontend(&left.destination);
        assert!(!to_frontend, "K-3: {} leaves as it came\n{}", name(), lab.tell());
        let shown = family.is_pod(&left.source) && family.is_outside(&left.destination);
        assert!(!shown, "K-3: {} shows a pod's address\n{}", name(), lab.tell());
        if let Verdict::Deliver(device) | Verdict::Forward(device) = seen.decision.verdict() {
            let right = family.device_to(&left.destination);
            assert_eq!(device, right, "{} leaves by its device\n{}", name(), lab.tell());
        }
        // An answer in a frontend's name is that to a packet which was sent there. It may still be on its
        // way when an answer to one before it, of another connection, takes its half.
        if family.is_frontend(&left.source) {
            let asked = log.iter().any(|before| is_answered_by(before, seen, &left));
            assert!(asked, "{} answers nothing\n{}", name(), lab.tell());
        }
    }
}

fn is_answered_by(before: &Seen, seen: &Seen, left: &Tuple) -> bool {
    before.whole
        && before.sent == left.reverse()
        && before.left.is_some_and(|left| left == seen.sent.reverse())
}

/// K-1: a connection's packets all leave with one tuple, and answers come back from it.
fn steady(lab: &Lab, log: &[Seen]) {
    let mut translations: BTreeMap<Tuple, Tuple> = BTreeMap::new();
    for seen in log.iter().filter(|seen| seen.whole) {
        let Some(left) = seen.left else { continue };
        let name = || lab.family.spell(&seen.sent);
        let first = *translations.entry(seen.sent).or_insert(left);
        assert_eq!(first, left, "K-1: {} has two translations\n{}", name(), lab.tell());
        let asked = log.iter().find(|before| before.left == Some(seen.sent.reverse()));
        if let Some(asked) = asked {
            assert_eq!(left, asked.sent.reverse(), "{} is answered\n{}", name(), lab.tell());
        }
    }
}

/// Each drop is counted under its reason.
fn counted(lab: &Lab) {
    let mut drops: BTreeMap<&str, u64> = BTreeMap::new();
    for reason in lab.log().iter().filter_map(|seen| seen.decision.reason()) {
        *drops.entry(reason.name()).or_default() += 1;
    }
    let counts = lab.points.counts();
    for (reason, drops) in drops {
        assert_eq!(counts.get(reason), Some(&drops), "{reason} is counted\n{}", lab.tell());
    }
}
