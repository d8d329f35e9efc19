//! Conversations with a fault at each operation, and with two at some of each two; at all of them with
//! `TWINPATH_SCHEDULES=41`.

use std::sync::Mutex;

use crate::cluster::Family;
use crate::explore::times;
use crate::lab::Do::{self, Fragment, Packet, Pass, Reply};
use crate::lab::Lab;
use crate::laws::{self, Faith};
use crate::packet::Piece::{First, Last};
use crate::points::{Counts, Fault, Op, Points};

/// A conversation and the connections of it that have to go on afterwards.
struct Conversation {
    name: &'static str,
    says: &'static [Do],
    flows: &'static [&'static str],
    /// What is asked of it where nothing fails.
    faith: Faith,
}

const INSIDE: &str = "tcp client:1 > vip:80";
const SAME: &str = "tcp client:1 > vip2:80";
const DATAGRAMS: &str = "udp client:1 > vip:81";
const OUTSIDE: &str = "tcp outside:40000 > lb:80";
const OTHER: &str = "tcp outside2:40000 > lb2:80";
const LOCAL: &str = "tcp outside:7 > lb:81";
const STICKY: &str = "udp client:2 > vip:82";

const ALL: [Conversation; 7] = [
    Conversation {
        name: "a connection to a pod",
        says: &[Packet(INSIDE, "S"), Reply(INSIDE, "SA"), Packet(INSIDE, "A"), Reply(INSIDE, "A")],
        flows: &[INSIDE],
        faith: Faith::Strict,
    },
    Conversation {
        name: "two connections with one reply tuple",
        says: &[
            Packet(INSIDE, "S"),
            Packet(SAME, "S"),
            Reply(INSIDE, "SA"),
            Reply(SAME, "SA"),
            Pass(2),
            Packet(INSIDE, "A"),
            Packet(SAME, "A"),
            Reply(SAME, "A"),
        ],
        flows: &[INSIDE, SAME],
        faith: Faith::Strict,
    },
    Conversation {
        name: "two clients outside with one source port",
        says: &[
            Packet(OUTSIDE, "S"),
            Packet(OTHER, "S"),
            Reply(OUTSIDE, "SA"),
            Reply(OTHER, "SA"),
            Pass(2),
            Packet(OUTSIDE, "A"),
            Packet(OTHER, "A"),
        ],
        flows: &[OUTSIDE, OTHER],
        faith: Faith::Strict,
    },
    Conversation {
        name: "a client outside and a pod of this node",
        says: &[
            Packet(LOCAL, "S"),
            Reply(LOCAL, "SA"),
            Packet(LOCAL, "A"),
            Pass(2),
            Reply(LOCAL, "A"),
            Packet(LOCAL, "A"),
        ],
        flows: &[LOCAL],
        faith: Faith::Strict,
    },
    Conversation {
        name: "a connection that ends and comes again",
        says: &[
            Packet(INSIDE, "S"),
            Reply(INSIDE, "SA"),
            Packet(INSIDE, "FA"),
            Reply(INSIDE, "FA"),
            Packet(INSIDE, "S"),
            Reply(INSIDE, "SA"),
            Packet(INSIDE, "A"),
        ],
        flows: &[INSIDE],
        faith: Faith::Mends,
    },
    Conversation {
        name: "datagrams with pauses",
        says: &[
            Packet(DATAGRAMS, ""),
            Reply(DATAGRAMS, ""),
            Pass(2),
            Packet(DATAGRAMS, ""),
            Pass(118),
            Reply(DATAGRAMS, ""),
            Pass(121),
            Packet(DATAGRAMS, ""),
        ],
        flows: &[DATAGRAMS],
        faith: Faith::Strict,
    },
    Conversation {
        name: "parts of a datagram, with affinity",
        says: &[
            Fragment(STICKY, First),
            Fragment(STICKY, Last),
            Packet(STICKY, ""),
            Reply(STICKY, ""),
        ],
        flows: &[STICKY],
        faith: Faith::Strict,
    },
];

/// Faults that are tried at every operation which they can strike. The clock jumps by a refresh, by a
/// datagram's timeout, and by that of an established connection.
const FAULTS: [Fault; 9] = [
    Fault::Full,
    Fault::Exists,
    Fault::Evict,
    Fault::EvictOther(0),
    Fault::EvictOther(1),
    Fault::EvictOther(2),
    Fault::Jump(1),
    Fault::Jump(121),
    Fault::Jump(7_442),
];

/// Of so many pairs of faults, one is tried by default.
const PAIRS: usize = 41;

#[derive(Default)]
struct Total {
    runs: usize,
    struck: usize,
    counts: Counts,
}

/// Plays a conversation with these faults, checks the laws, and gives the operations.
fn play(
    talk: &Conversation,
    family: Family,
    faults: &[(usize, Fault)],
    total: &mut Total,
) -> Vec<Op> {
    let lab = Lab::new(family, Points::faulty(faults));
    let mut cpu = lab.cpu(1, &[0, 0x8000_0000]);
    lab.points.set_quiet(false);
    for action in talk.says {
        lab.act(1, &mut cpu, action);
    }
    lab.points.set_quiet(true);
    let faith = if faults.is_empty() { talk.faith } else { Faith::Mends };
    laws::check(&lab, talk.flows, faith);
    total.runs += 1;
    total.struck += lab.points.struck();
    for (what, count) in lab.points.counts() {
        *total.counts.entry(what).or_default() += count;
    }
    lab.points.passed()
}

/// The faults at operations from this one on.
fn strikes(operations: &[Op], from: usize) -> impl Iterator<Item = (usize, Fault)> {
    let behind = operations.iter().enumerate().skip(from);
    behind.flat_map(|(at, op)| {
        FAULTS.into_iter().filter(|fault| fault.strikes(*op)).map(move |fault| (at, fault))
    })
}

fn explore(talk: &Conversation, family: Family, total: &mut Total) {
    let tell = Mutex::new(Vec::new());
    let attempt = |faults: &[(usize, Fault)], total: &mut Total| {
        *tell.lock().unwrap() = faults.to_vec();
        play(talk, family, faults, total)
    };
    let told = Told { talk: talk.name, family, faults: &tell };
    // All pairs where `TWINPATH_SCHEDULES` is as much as this.
    let (stride, mut pairs) = ((PAIRS / times()).max(1), 0);
    let operations = attempt(&[], total);
    for first in strikes(&operations, 0) {
        // What comes after the fault may be other operations than before.
        let operations = attempt(&[first], total);
        for second in strikes(&operations, first.0 + 1) {
            pairs += 1;
            if pairs % stride == 0 {
                attempt(&[first, second], total);
            }
        }
    }
    std::mem::forget(told);
}

/// Says, when a run fails, which.
struct Told<'a> {
    talk: &'static str,
    family: Family,
    faults: &'a Mutex<Vec<(usize, Fault)>>,
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        let faults = self.faults.lock().unwrap();
        eprintln!("in {:?} over {:?}, with these faults: {faults:?}", self.talk, self.family);
    }
}

fn explored(family: Family) {
    let mut total = Total::default();
    for talk in &ALL {
        let before = (total.runs, total.struck);
        explore(talk, family, &mut total);
        let (runs, struck) = (total.runs - before.0, total.struck - before.1);
        println!("{} ({family:?}): {runs} runs, {struck} faults", talk.name);
    }
    println!("{:?}", total.counts);
    let reach = [
        "full",
        "exists",
        "evicted",
        "alone",
        "REOPENED",
        "CT_RESTORED",
        "CT_RESTORE_FAILED",
        "CT_REAPED",
        "CT_MAP_INSERTION_FAILED",
        "FIRST_LOGICAL_DATAGRAM_FRAGMENT_NOT_FOUND",
    ];
    for what in reach {
        assert!(total.counts.contains_key(what), "never reached {what:?}; {:?}", total.counts);
    }
}

#[test]
fn one_and_two_at_a_time() {
    explored(Family::V4);
}

#[test]
fn in_ipv6() {
    explored(Family::V6);
}
