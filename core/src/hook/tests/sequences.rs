//! Laws that hold whatever happens: random packets, waits, changes of the tables and evictions, on
//! tables some of which are so small that they are full now and then.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::script::{SECOND, V4, V6, World};
use crate::conntrack::{Flow, is_pair};
use crate::parse::parse;
use crate::seam::Metric;
use crate::service::ServiceKey;
use crate::state::Direction;
use crate::testing::frame;
use crate::tuple::Tuple;
use crate::verdict::{Status, Verdict};
use crate::wire::tcp;

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// The client sends to a frontend, or straight to a backend.
    Ask { udp: bool, port: u16, to: &'static str, flags: u8, draw: u32 },
    /// A backend answers, or speaks first.
    Answer { udp: bool, port: u16, from: &'static str, flags: u8 },
    /// Nothing, for so long.
    Wait(u64),
    /// Both frontends have services with these backends from now on.
    Serve(&'static [&'static str]),
    /// A backend is going.
    Terminate(&'static str),
    /// A frontend goes.
    Withdraw(&'static str),
    /// One entry of the connection table goes.
    Evict(usize),
}

fn steps(evictions: bool) -> impl Strategy<Value = Vec<Step>> {
    let (syn, ack) = (tcp::SYN, tcp::ACK);
    let flags = prop::sample::select(vec![syn, syn, ack, ack, syn | ack, tcp::FIN | ack, tcp::RST]);
    let to = prop::sample::select(vec!["vip:80", "vip:80", "vip2:80", "vip:81", "local:8080"]);
    let from = prop::sample::select(vec!["local", "remote"]);
    let seconds = prop::sample::select(vec![0, 1, 60, 121, 241, 7441]);
    let backends: Vec<&'static [&'static str]> =
        vec![&["local", "remote"], &["local"], &["remote"], &[]];
    let step = prop_oneof![
        40 => (any::<bool>(), 1..3_u16, to, flags.clone(), any::<u32>())
            .prop_map(|(udp, port, to, flags, draw)| Step::Ask { udp, port, to, flags, draw }),
        40 => (any::<bool>(), 1..3_u16, from.clone(), flags)
            .prop_map(|(udp, port, from, flags)| Step::Answer { udp, port, from, flags }),
        10 => seconds.prop_map(|n| Step::Wait(n * SECOND + SECOND / 2)),
        4 => prop::sample::select(backends).prop_map(Step::Serve),
        2 => from.prop_map(Step::Terminate),
        1 => prop::sample::select(vec!["vip", "vip2"]).prop_map(Step::Withdraw),
        if evictions { 8 } else { 0 } => any::<usize>().prop_map(Step::Evict),
    ];
    prop::collection::vec(step, 1..120)
}

/// What the laws remember of the past.
#[derive(Default)]
struct Past {
    /// Per tuple that a backend got: the tuples it was sent as, the last one last.
    sent: HashMap<Tuple, Vec<Tuple>>,
}

/// Takes a step; a packet is held against the laws. Says which interesting case it was.
fn take(world: &mut World, past: &mut Past, step: &Step, evictions: bool) -> &'static str {
    let protocol = |udp: bool| if udp { "udp" } else { "tcp" };
    match *step {
        Step::Ask { udp, port, to, flags, draw } => {
            world.node.host.draws = vec![draw, draw.rotate_left(7), draw.rotate_left(13), !draw];
            let text = format!("{} client:{port} > {to}", protocol(udp));
            return ask(world, past, &text, flags);
        }
        Step::Answer { udp, port, from, flags } => {
            let text = format!("{} {from}:8080 > client:{port}", protocol(udp));
            let way = if from == "local" { "pod 11" } else { "netdev" };
            return answer(world, past, way, &text, flags, evictions);
        }
        Step::Wait(nanos) => world.wait(nanos),
        Step::Serve(backends) => {
            // A backend that was going is replaced by one that takes connections.
            for name in backends {
                let id = world.backend(name);
                world.node.backends.entries.get_mut(&id).unwrap().state = 0;
            }
            world.serve("vip", 7, backends);
            world.serve("vip2", 8, backends);
        }
        Step::Terminate(name) => world.terminate(name),
        Step::Withdraw(name) => world.withdraw(name),
        Step::Evict(n) => {
            let mut keys: Vec<Tuple> = world.node.conntrack.entries.keys().copied().collect();
            keys.sort_unstable();
            if let Some(key) = keys.get(n % keys.len().max(1)) {
                world.node.conntrack.entries.remove(key);
            }
        }
    }
    "no packet"
}

/// The client sends.
fn ask(world: &mut World, past: &mut Past, text: &str, flags: u8) -> &'static str {
    let mut frame = frame(&world.family.spell(text), flags);
    let sent = frame.checked();
    let decision = world.hand("pod 10", &mut frame); // which sees that a drop adds no entry
    if let Verdict::Drop(reason) = decision.verdict() {
        return reason.name();
    }
    let left = frame.checked(); // checksums are right
    let frontend = ServiceKey::address(sent.destination);
    if world.node.services.entries.contains_key(&frontend) {
        // K-3.
        let backends = ["local", "remote"].map(|name| world.family.end(name, 8080));
        let to = SocketAddr::new(left.destination.into(), left.destination_port.get());
        assert!(backends.contains(&to), "{text} left as {left:?}");
    }
    assert_eq!(left.source, sent.source);
    if left.source_port != sent.source_port {
        assert!(left.source_port.get() >= 32_768, "{text} left as {left:?}");
    }
    if !matches!(decision.status(), Status::Untracked | Status::Reply) {
        let as_sent = past.sent.entry(left).or_default();
        as_sent.retain(|before| *before != sent);
        as_sent.push(sent);
    }
    decision.status().name()
}

/// A backend sends.
fn answer(
    world: &mut World,
    past: &Past,
    way: &str,
    text: &str,
    flags: u8,
    evictions: bool,
) -> &'static str {
    let mut frame = frame(&world.family.spell(text), flags);
    let parsed = parse(&frame).unwrap().unwrap();
    let now = world.node.host.now;
    let is_reply =
        |flow: &Flow| flow.direction() == Direction::Reply && !flow.is_over(&parsed, now);
    let known = world.node.conntrack.entries.get(&parsed.tuple).is_some_and(is_reply);
    let decision = world.hand(way, &mut frame);
    if let Verdict::Drop(reason) = decision.verdict() {
        assert!(!known || evictions, "K-8: {text} was dropped: {reason:?}");
        return reason.name();
    }
    assert_eq!(decision.verdict(), Verdict::Deliver(10));
    assert!(!known || evictions || decision.status() == Status::Reply, "{text} is a reply");
    if decision.status() == Status::Reply {
        // U-3: to one that the backend has heard of; to the last, if no half was lost.
        let original = frame.checked().reverse();
        let as_sent = &past.sent[&parsed.tuple.reverse()];
        assert!(as_sent.contains(&original), "{text} went back as to {original:?}");
        assert!(evictions || as_sent.last() == Some(&original), "{text}: {as_sent:?}");
    }
    decision.status().name()
}

/// What the table owes between any two packets if nothing was evicted.
fn table_is_whole(world: &World) {
    let entries = &world.node.conntrack.entries;
    let mut replies = HashMap::new();
    for (key, flow) in entries {
        // K-7.
        let twin_key = flow.twin_key(key);
        let twin = entries.get(&twin_key);
        assert!(
            twin.is_some_and(|twin| is_pair(twin, &twin_key, flow, key)),
            "{key:?} has no twin"
        );
        // U-3: no two originals wait for the same reply.
        if flow.direction() == Direction::Original {
            assert_eq!(replies.insert(twin_key, key), None);
        }
    }
}

/// Runs sequences and sees that every case was reached.
fn laws(evictions: bool, cases: &[&str]) {
    let reached = RefCell::new(HashMap::<&str, u32>::new());
    for family in [&V4, &V6] {
        let mut runner = TestRunner::new(ProptestConfig::default());
        let room = prop::sample::select(vec![5, 8, 30, 30]);
        let result = runner.run(&(room, steps(evictions)), |(room, steps)| {
            let mut world = World::new(family);
            world.serve("vip2", 8, &["local", "remote"]);
            world.node.conntrack.room = room;
            let mut past = Past::default();
            for step in &steps {
                let case = take(&mut world, &mut past, step, evictions);
                *reached.borrow_mut().entry(case).or_default() += 1;
                if !evictions {
                    table_is_whole(&world);
                }
            }
            for metric in [Metric::RESTORED, Metric::RESTORE_FAILED, Metric::REAPED] {
                let count = world.counted(metric);
                *reached.borrow_mut().entry(metric.name().unwrap()).or_default() += count;
            }
            Ok(())
        });
        if let Err(error) = result {
            panic!("{error}");
        }
    }
    let reached = reached.into_inner();
    for case in cases {
        assert!(reached.get(case).is_some_and(|n| *n > 0), "{case} was not reached: {reached:?}");
    }
}

const USUAL: [&str; 8] = [
    "NEW",
    "ESTABLISHED",
    "REPLY",
    "REOPENED",
    "CT_MAP_INSERTION_FAILED",
    "SERVICE_BACKEND_NOT_FOUND",
    "SERVICE_PORT_NOT_FOUND",
    "CT_CANNOT_CREATE_ENTRY_FROM_PACKET",
];

#[test]
fn laws_of_whole_connections() {
    laws(false, &USUAL);
}

#[test]
fn laws_when_halves_are_evicted() {
    laws(true, &[&USUAL[..], &["CT_RESTORED", "CT_REAPED"]].concat());
}
