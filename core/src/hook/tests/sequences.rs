//! Laws that hold whatever happens: random packets, waits, changes of the tables and evictions, on
//! tables some of which are so small that they are full now and then.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::script::{SECOND, V4, V6, World};
use crate::conntrack::{Flow, is_pair};
use crate::parse::parse;
use crate::seam::{Metric, option};
use crate::service::{Scope, ServiceId, ServiceKey};
use crate::state::Direction;
use crate::testing::{UPLINK, frame};
use crate::tuple::Tuple;
use crate::verdict::{Status, Verdict};
use crate::wire::tcp;

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// A client sends to a frontend, or straight to a backend or a server.
    Ask { udp: bool, from: &'static str, port: u16, to: &'static str, flags: u8, draw: u32 },
    /// A backend sends to the client, whether it has heard of it or not.
    Speak { udp: bool, port: u16, from: &'static str, flags: u8 },
    /// One of those who were sent something answers.
    Answer { which: usize, flags: u8 },
    /// Nothing, for so long.
    Wait(u64),
    /// All frontends have services with these backends from now on.
    Serve(&'static [&'static str]),
    /// A backend is going.
    Terminate(&'static str),
    /// A frontend goes.
    Withdraw(&'static str),
    /// One entry of the connection table goes.
    Evict(usize),
}

/// Each frontend's address and port, its service, and the scopes that it is for.
const FRONTENDS: [(&str, u16, ServiceId, &[Scope]); 5] = [
    ("vip", 80, 7, &[Scope::Internal]),
    ("vip2", 80, 8, &[Scope::Internal]),
    ("lb", 80, 9, &Scope::ALL),
    ("lb2", 80, 11, &[Scope::External]),
    ("any", 30080, 10, &Scope::ALL),
];

/// The range of source ports.
const PORTS: std::ops::RangeInclusive<u16> = 40_000..=40_003;

fn steps(evictions: bool) -> impl Strategy<Value = Vec<Step>> {
    let (syn, ack) = (tcp::SYN, tcp::ACK);
    let flags = prop::sample::select(vec![syn, syn, ack, ack, syn | ack, tcp::FIN | ack, tcp::RST]);
    let ends = prop::sample::select(vec![
        ("client", "vip:80"),
        ("client", "vip:80"),
        ("client", "vip2:80"),
        ("client", "vip:81"),
        ("client", "local:8080"),
        ("client", "lb:80"),
        ("client", "node2:30080"),
        ("client", "far:443"),
        ("local", "far:443"),
        ("outside", "lb:80"),
        ("outside", "lb2:80"),
        ("outside", "node:30080"),
        ("outside", "vip:80"),
        ("outside", "local:8080"),
        ("node", "vip:80"),
        ("node", "far:443"),
    ]);
    let from = prop::sample::select(vec!["local", "remote"]);
    let port = prop::sample::select(vec![1_u16, 2, 40_000, 40_001]);
    let seconds = prop::sample::select(vec![0, 1, 60, 121, 241, 7441]);
    let backends: Vec<&'static [&'static str]> =
        vec![&["local", "remote"], &["local"], &["remote"], &["remote"], &[]];
    let frontends = prop::sample::select(vec!["vip", "vip2", "lb", "any"]);
    let step = prop_oneof![
        50 => (any::<bool>(), ends, port.clone(), flags.clone(), any::<u32>()).prop_map(
            |(udp, (from, to), port, flags, draw)| Step::Ask { udp, from, port, to, flags, draw }
        ),
        10 => (any::<bool>(), port, from.clone(), flags.clone())
            .prop_map(|(udp, port, from, flags)| Step::Speak { udp, port, from, flags }),
        40 => (any::<usize>(), flags).prop_map(|(which, flags)| Step::Answer { which, flags }),
        10 => seconds.prop_map(|n| Step::Wait(n * SECOND + SECOND / 2)),
        4 => prop::sample::select(backends).prop_map(Step::Serve),
        2 => from.prop_map(Step::Terminate),
        1 => frontends.prop_map(Step::Withdraw),
        if evictions { 8 } else { 0 } => any::<usize>().prop_map(Step::Evict),
    ];
    prop::collection::vec(step, 1..160)
}

/// What the laws remember of the past.
#[derive(Default)]
struct Past {
    /// Per tuple that somebody got: the tuples it was sent as, the last one last.
    sent: BTreeMap<Tuple, Vec<Tuple>>,
}

/// The hook at which what this address sends is met.
fn way(name: &str) -> &'static str {
    match name {
        "client" => "pod 10",
        "local" => "pod 11",
        "node" => "node",
        _ => "netdev",
    }
}

/// Takes a step; a packet is held against the laws. Says which interesting case it was.
fn take(world: &mut World, past: &mut Past, step: &Step, evictions: bool) -> &'static str {
    let protocol = |udp: bool| if udp { "udp" } else { "tcp" };
    match *step {
        Step::Ask { udp, from, port, to, flags, draw } => {
            world.node.host.draws = vec![draw, draw.rotate_left(7), draw.rotate_left(13), !draw];
            let text = format!("{} {from}:{port} > {to}", protocol(udp));
            return meet(world, past, way(from), &text, flags, evictions);
        }
        Step::Speak { udp, port, from, flags } => {
            let text = format!("{} {from}:8080 > client:{port}", protocol(udp));
            return meet(world, past, way(from), &text, flags, evictions);
        }
        Step::Answer { which, flags } => {
            let heard = past.sent.keys().nth(which % past.sent.len().max(1));
            if let Some(answer) = heard.map(Tuple::reverse) {
                let text = world.family.name(&answer);
                let name = text.split([' ', ':']).nth(1).unwrap();
                return meet(world, past, way(name), &text, flags, evictions);
            }
        }
        Step::Wait(nanos) => world.wait(nanos),
        Step::Serve(backends) => {
            // A backend that was going is replaced by one that takes connections.
            for name in backends {
                let id = world.backend(name);
                world.node.backends.entries.get_mut(&id).unwrap().state = 0;
            }
            serve(world, backends);
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

fn serve(world: &mut World, backends: &[&str]) {
    for (name, port, service, scopes) in FRONTENDS {
        for scope in scopes {
            world.expose((name, port), *scope, service, backends, |_| {});
        }
    }
}

/// A packet is met.
fn meet(
    world: &mut World,
    past: &mut Past,
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
    let decision = world.hand(way, &mut frame); // which sees that a drop adds no entry
    if let Some(reason) = decision.reason() {
        assert!(!known || evictions, "K-8: {text} was dropped: {reason:?}");
        return reason.name();
    }
    assert!(!known || evictions || decision.status() == Status::Reply, "{text} is a reply");
    let left = frame.checked(); // checksums are right
    match decision.status() {
        Status::Reply => {
            // U-3: to one that its sender has heard of; to the last, if no half was lost.
            let original = left.reverse();
            let as_sent = &past.sent[&parsed.tuple.reverse()];
            assert!(as_sent.contains(&original), "{text} went back as to {original:?}");
            assert!(evictions || as_sent.last() == Some(&original), "{text}: {as_sent:?}");
            let to = |name| left.destination == world.address(name);
            let expected = match (to("client"), to("local"), to("node")) {
                (true, ..) => Verdict::Deliver(10),
                (_, true, _) => Verdict::Deliver(11),
                (.., true) => Verdict::Pass,
                _ => Verdict::Forward(UPLINK),
            };
            assert_eq!(decision.verdict(), expected, "{text}");
        }
        Status::Untracked => {}
        _ => {
            original(world, way, &parsed.tuple, &left);
            let as_sent = past.sent.entry(left).or_default();
            as_sent.retain(|before| *before != parsed.tuple);
            as_sent.push(parsed.tuple);
        }
    }
    decision.status().name()
}

/// What an opener's packet owes that was sent as the one tuple and left as the other.
fn original(world: &World, way: &str, sent: &Tuple, left: &Tuple) {
    let backends = ["local", "remote"].map(|name| world.family.end(name, 8080));
    let to = SocketAddr::new(left.destination.into(), left.destination_port.get());
    let services = &world.node.services.entries;
    if services.contains_key(&ServiceKey::address(sent.destination)) {
        // K-3.
        assert!(backends.contains(&to), "{sent:?} left as {left:?}");
    }
    let node = world.address("node");
    let to_remote = left.destination == world.address("remote");
    if way == "netdev" && left.destination != sent.destination && to_remote {
        assert_eq!(left.source, node, "{sent:?} left as {left:?}: its answer would not come back");
    }
    let renamed = left.source != sent.source;
    assert!(!renamed || left.source == node, "{sent:?} left as {left:?}");
    if renamed || left.source_port != sent.source_port {
        let port = left.source_port.get();
        assert!(PORTS.contains(&port), "{sent:?} left as {left:?}");
        assert!(!renamed || port != RESERVED, "{sent:?} left by a port of the node's own");
    }
}

/// A port that the node needs for itself.
const RESERVED: u16 = 40_003;

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
        let room = prop::sample::select(vec![5, 8, 60, 60]);
        let result = runner.run(&(room, steps(evictions)), |(room, steps)| {
            let mut world = World::new(family);
            serve(&mut world, &["local", "remote"]);
            (world.node.config.ports_first, world.node.config.ports_last) =
                (*PORTS.start(), *PORTS.end());
            let word = (u32::from(RESERVED) / 64, 1 << (RESERVED % 64));
            world.node.reserved.entries.extend([word]);
            world.node.config.options = option::MASQUERADE;
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
    println!("{reached:?}");
    for case in cases {
        assert!(reached.get(case).is_some_and(|n| *n > 0), "{case} was not reached: {reached:?}");
    }
}

const USUAL: [&str; 10] = [
    "NEW",
    "ESTABLISHED",
    "REPLY",
    "REOPENED",
    "CT_MAP_INSERTION_FAILED",
    "NO_MAPPING_FOR_NAT_MASQUERADE",
    "IS_CLUSTER_IP",
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
