//! Source ports: whose reply tuple is whose, and what happens when they run out.

use std::collections::{HashMap, HashSet};

use super::script::{V4, V6, World, both};
use crate::bytes::Be16;
use crate::drop_reason::DropReason;
use crate::hash;
use crate::hook::{Hook, Work, handle};
use crate::seam::Metric;
use crate::service::Scope;
use crate::snat::TRIES;
use crate::testing::{UPLINK, frame, tuple};
use crate::tuple::Tuple;
use crate::verdict::Verdict;

/// `lb` and `lb2` from outside, each a service with these backends.
fn expose(world: &mut World, backends: &[&str]) {
    world.expose(("lb", 80), Scope::External, 9, backends, |_| {});
    world.expose(("lb2", 80), Scope::External, 8, backends, |_| {});
}

/// Marks a port as the node's own.
fn reserve(world: &mut World, port: u16) {
    let words = &mut world.node.reserved.entries;
    *words.entry(u32::from(port) / 64).or_insert(0) |= 1 << (port % 64);
}

#[test]
fn the_client_s_own_where_it_may_stay() {
    both(|world| {
        expose(world, &["remote"]);
        reserve(world, 50_001);
        reserve(world, 32_769);
        for (port, stays) in [
            (50_000, true),
            (32_768, true),
            (65_535, true),
            (32_767, false),
            (1, false),
            (50_001, false),
            (50_002, true),
            (32_769, false),
        ] {
            let name = if stays { port.to_string() } else { "?a".to_string() };
            world.forget_ports();
            world.play(&[
                (
                    &format!("netdev: udp outside:{port} > lb:80"),
                    &format!("netdev: udp node:{name} > remote:8080, NEW of 9"),
                ),
                (
                    &format!("netdev: udp remote:8080 > node:{name}"),
                    &format!("netdev: udp lb:80 > outside:{port}, REPLY of 9"),
                ),
            ]);
            assert!(stays || world.port('a') != port, "{port}");
        }
    });
    both(|world| {
        expose(world, &["remote"]);
        (world.node.config.ports_first, world.node.config.ports_last) = (40_000, 40_003);
        world.play(&[
            ("netdev: udp outside:40003 > lb:80", "netdev: udp node:40003 > remote:8080, NEW of 9"),
            ("netdev: udp outside:40004 > lb:80", "netdev: udp node:?a > remote:8080, NEW of 9"),
        ]);
    });
}

#[test]
fn by_two_frontends_to_one_backend() {
    // From outside, with the client's address and with this node's.
    for (backend, source, out) in [("local", "outside", "pod 11"), ("remote", "node", "netdev")] {
        both(|world| {
            expose(world, &[backend]);
            let to = |name| format!("netdev: tcp outside:50000 > {name}:80 S");
            let there = |port| format!("{out}: tcp {source}:{port} > {backend}:8080, NEW of");
            let back = |port| format!("{out}: tcp {backend}:8080 > {source}:{port} SA");
            let again = |name| format!("netdev: tcp {name}:80 > outside:50000, REPLY of");
            world.play(&[
                (&to("lb"), &format!("{} 9", there("50000"))),
                (&to("lb2"), &format!("{} 8", there("?a"))),
                (&back("50000"), &format!("{} 9", again("lb"))),
                (&back("?a"), &format!("{} 8", again("lb2"))),
            ]);
            assert_ne!(world.port('a'), 50_000);
        });
    }
}

#[test]
fn by_a_frontend_and_directly() {
    // A pod, a remote backend; either way first.
    let by_vip = "pod 10: udp client:1 > vip:80";
    let direct = "pod 10: udp client:1 > remote:8080";
    both(|world| {
        world.serve("vip", 7, &["remote"]);
        world.play(&[
            (by_vip, "netdev: udp client:1 > remote:8080, NEW of 7"),
            (direct, "stack: udp client:?a > remote:8080, NEW"),
            ("netdev: udp remote:8080 > client:1", "pod 10: udp vip:80 > client:1, REPLY of 7"),
            ("netdev: udp remote:8080 > client:?a", "pod 10: udp remote:8080 > client:1, REPLY"),
        ]);
    });
    both(|world| {
        world.serve("vip", 7, &["remote"]);
        world.play(&[
            (direct, "stack: udp client:1 > remote:8080, NEW"),
            (by_vip, "netdev: udp client:?a > remote:8080, NEW of 7"),
            ("netdev: udp remote:8080 > client:1", "pod 10: udp remote:8080 > client:1, REPLY"),
            ("netdev: udp remote:8080 > client:?a", "pod 10: udp vip:80 > client:1, REPLY of 7"),
        ]);
    });
}

#[test]
fn never_reserved_and_never_outside() {
    both(|world| {
        expose(world, &["remote"]);
        (world.node.config.ports_first, world.node.config.ports_last) = (40_000, 40_127);
        for port in (40_000..40_128).filter(|port: &u16| !port.is_multiple_of(3)) {
            reserve(world, port);
        }
        let mut ports = HashSet::new();
        for client in 1..=40_u32 {
            world.node.host.draws = vec![0, client * 77];
            let mut sent = frame(&world.family.spell(&format!("udp outside:{client} > lb:80")), 0);
            world.hand("netdev", &mut sent);
            let port = sent.checked().source_port.get();
            assert!((40_000..=40_127).contains(&port) && port.is_multiple_of(3), "{port}");
            assert!(ports.insert(port), "{port} twice");
        }
    });
}

#[test]
fn exhausted() {
    // U-11: what is established goes on, and other servers have ports of their own.
    both(|world| {
        world.expose(("lb", 80), Scope::External, 9, &["remote", "remote2"], |_| {});
        (world.node.config.ports_first, world.node.config.ports_last) = (40_000, 40_003);
        for (client, name) in [(1, "?a"), (2, "?b"), (3, "?c"), (4, "?d")] {
            world.play_drawing(
                &[0, client],
                &[(
                    &format!("netdev: tcp outside:{client} > lb:80 S"),
                    &format!("netdev: tcp node:{name} > remote:8080, NEW of 9"),
                )],
            );
        }
        let drop = Metric::drop(DropReason::NoMappingForNat);
        for port in [5, 40_000] {
            world.play_drawing(
                &[0, 5],
                &[(
                    &format!("netdev: tcp outside:{port} > lb:80 S"),
                    "NO_MAPPING_FOR_NAT_MASQUERADE",
                )],
            );
        }
        assert_eq!((world.counted(drop), world.entries()), (2, 8));
        world.play(&[
            ("netdev: tcp remote:8080 > node:?a SA", "netdev: tcp lb:80 > outside:1, REPLY of 9"),
            ("netdev: tcp remote:8080 > node:?d SA", "netdev: tcp lb:80 > outside:4, REPLY of 9"),
            (
                "netdev: tcp outside:4 > lb:80 A",
                "netdev: tcp node:?d > remote:8080, ESTABLISHED of 9",
            ),
            // Another protocol's ports are others.
            ("netdev: udp outside:5 > lb:80", "netdev: udp node:?e > remote:8080, NEW of 9"),
        ]);
        world.play_drawing(
            &[u32::MAX, 5],
            &[("netdev: tcp outside:5 > lb:80 S", "netdev: tcp node:?f > remote2:8080, NEW of 9")],
        );
        // A connection that is over yields its port.
        world.play(&[
            ("netdev: tcp remote:8080 > node:?b RA", "netdev: tcp lb:80 > outside:2, REPLY of 9"),
            ("netdev: tcp outside:6 > lb:80 S", "netdev: tcp node:?b > remote:8080, NEW of 9"),
        ]);
    });
}

/// Ports in the range of the tests below.
const RANGE: u32 = 4096;
const FIRST: u16 = 61_440;
/// How full the range is, in percent, and of the flows that came since the last line, how many of a
/// million may fail: those of independent draws, 32 to a flow.
const LEVELS: [(u32, u64); 5] = [(70, 5), (75, 600), (80, 1_000), (90, 10_000), (95, 100_000)];

/// The port of a flow: the first of so many draws that is free.
fn drawn(tuple: &Tuple, key: u32, tries: u32, taken: &HashSet<u16>) -> Option<u16> {
    (1..=tries)
        .map(|n| FIRST + hash::scale(hash::tuple(tuple, key, n), RANGE) as u16)
        .find(|port| !taken.contains(port))
}

/// Fills the range with flows, each by `open`, which says whether the flow got a port; per level, how
/// many flows came and how many failed.
fn fill(mut open: impl FnMut(u32) -> bool) -> [(u64, u64); 5] {
    let (mut flow, mut open_flows) = (0, 0);
    LEVELS.map(|(percent, _)| {
        let (mut came, mut failed) = (0, 0);
        while open_flows * 100 < RANGE * percent {
            flow += 1;
            came += 1;
            if open(flow) { open_flows += 1 } else { failed += 1 }
        }
        (came, failed)
    })
}

/// Sums over seeds, printed, and held against [`LEVELS`].
fn hold(name: &str, runs: impl Iterator<Item = [(u64, u64); 5]>) {
    let mut sums = [(0, 0); 5];
    for run in runs {
        for (sum, (came, failed)) in sums.iter_mut().zip(run) {
            *sum = (sum.0 + came, sum.1 + failed);
        }
    }
    for ((percent, most), (came, failed)) in LEVELS.into_iter().zip(sums) {
        let fraction = failed as f64 / came as f64;
        println!("{name}: up to {percent} %: {failed} of {came} failed, {:.4} %", fraction * 100.0);
        assert!(failed * 1_000_000 <= came * most, "{name}, {percent} %");
    }
}

/// The tuple of the first flow.
fn first_tuple(world: &World) -> Tuple {
    tuple(&world.family.spell("udp outside:1 > lb:80"))
}

/// The tuple of a flow, each from a client of its own.
fn tuple_of(mut tuple: Tuple, flow: u32) -> Tuple {
    let mut octets = tuple.source.octets();
    octets[13..].copy_from_slice(&flow.to_be_bytes()[1..]);
    tuple.source = crate::address::Address::from_octets(octets);
    tuple
}

#[test]
fn a_full_range_with_a_quarter_of_the_tries() {
    for family in [&V4, &V6] {
        let first = first_tuple(&World::new(family));
        hold(
            "32 tries",
            (0..100).map(|seed| {
                let mut taken = HashSet::new();
                fill(|flow| {
                    let key = hash::random(seed, u64::from(flow));
                    match drawn(&tuple_of(first, flow), key, 32, &taken) {
                        Some(port) => taken.insert(port),
                        None => false,
                    }
                })
            }),
        );
    }
}

#[test]
fn a_full_range() {
    // B.14: one remote tuple, and flows whose own port may not stay.
    for family in [&V4, &V6] {
        hold("as it is", (0..6).map(|seed| fill_node(family, seed)));
    }
}

/// Fills the range of a node, packet by packet.
fn fill_node(family: &'static super::script::Family, seed: u64) -> [(u64, u64); 5] {
    let mut world = World::new(family);
    world.expose(("lb", 80), Scope::External, 9, &["remote"], |_| {});
    (world.node.config.ports_first, world.node.config.ports_last) = (FIRST, u16::MAX);
    world.node.conntrack.room = 1 << 16;
    let first = first_tuple(&world);
    let mut work = Work::default();
    let mut owners: HashMap<u16, u32> = HashMap::new();
    let mut taken = HashSet::new();
    fill(|flow| {
        let key = hash::random(seed, u64::from(flow));
        let tuple = tuple_of(first, flow);
        let mut sent = frame(&format!("{tuple:?}"), 0);
        world.node.host.draws = vec![0, key];
        let decision = handle(&mut sent, &mut world.node, &mut work, Hook::FromNetdev, UPLINK);
        let expected = drawn(&tuple, key, TRIES - 1, &taken);
        match decision.verdict() {
            Verdict::Drop(reason) => {
                assert_eq!((reason, expected), (DropReason::NoMappingForNat, None));
                false
            }
            _ => {
                let port = sent.checked().source_port;
                assert_eq!(Some(port), expected.map(Be16::new));
                assert_eq!(owners.insert(port.get(), flow), None, "two flows share a port");
                taken.insert(port.get())
            }
        }
    })
}
