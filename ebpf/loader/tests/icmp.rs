//! ICMP in the simulator and in the loaded programs: the same answers and the same translated errors, to
//! the byte, and the same tables and counts.
//!
//! `TWINPATH_PACKETS` (30,000) and `TWINPATH_SEED` (1) set how much is run and on what.

use std::env;
use std::net::IpAddr;

use etherparse::PacketBuilder;
use twinpath_control::diff::Write;
use twinpath_core::address::Address;
use twinpath_core::backend::{Backend, BackendState};
use twinpath_core::bytes::Be16;
use twinpath_core::endpoint::Endpoint;
use twinpath_core::hash;
use twinpath_core::hook::Hook;
use twinpath_core::parse::parse;
use twinpath_core::seam::{Config, Metric, option};
use twinpath_core::service::{Algorithm, Member, Scope, Service, ServiceKey};
use twinpath_core::verdict::Verdict;
use twinpath_core::wire;
use twinpath_kernel::test_run::TestRunEngine;
use twinpath_kernel::testing::skip;
use twinpath_sim::engine::{Engine, SimEngine};
use twinpath_sim::frame::Frame;
use twinpath_sim::node::Limits;

/// Addresses of both families: client, backend here, backend elsewhere, frontends with both backends for
/// clients in and out of the cluster and with none, this node, someone outside, a router.
const NAMES: [[&str; 2]; 8] = [
    ["10.244.1.10", "fd00:244:1::10"],
    ["10.244.1.11", "fd00:244:1::11"],
    ["10.244.2.11", "fd00:244:2::11"],
    ["10.96.0.80", "fd00:96::80"],
    ["10.96.0.81", "fd00:96::81"],
    ["192.168.0.11", "fd00:192:168::11"],
    ["203.0.113.7", "2001:db8::7"],
    ["192.168.0.1", "fd00:192:168::1"],
];
const CLIENT: usize = 0;
const LOCAL: usize = 1;
const REMOTE: usize = 2;
const VIP: usize = 3;
const EMPTY: usize = 4;
const NODE: usize = 5;
const OUTSIDE: usize = 6;
const ROUTER: usize = 7;

const UPLINK: u32 = 2;

fn ip(name: usize, v6: bool) -> IpAddr {
    NAMES[name][usize::from(v6)].parse().expect("an address")
}

fn address(name: usize, v6: bool) -> Address {
    ip(name, v6).into()
}

fn tables() -> Vec<Write> {
    let mut writes = Vec::new();
    for v6 in [false, true] {
        for (device, name) in [(10, CLIENT), (11, LOCAL)] {
            writes.push(Write::Endpoint(address(name, v6), Some(Endpoint::pod(device))));
        }
        writes.push(Write::Endpoint(address(NODE, v6), Some(Endpoint::HOST)));
        let first = 1 + 10 * u32::from(v6);
        for (id, name) in (first..).zip([LOCAL, REMOTE]) {
            let active = BackendState::Active;
            let backend = Backend::new(address(name, v6), Be16::new(8080), wire::TCP, active);
            writes.push(Write::Backend(id, Some(backend)));
            let both = Scope::ALL.into_iter().fold(0, |bits, scope| bits | scope.bit());
            writes.push(Write::Member(Member { service: 7, backend: id }, Some(both)));
        }
        for (name, count) in [(VIP, 2), (EMPTY, 0)] {
            for (protocol, scope) in [wire::TCP, wire::UDP]
                .into_iter()
                .flat_map(|protocol| Scope::ALL.map(|scope| (protocol, scope)))
            {
                let key = ServiceKey::frontend(address(name, v6), Be16::new(80), protocol);
                let key = key.seen_from(scope);
                let master = Service::master(7, count, Algorithm::Random, 0);
                writes.push(Write::Service(key, Some(master)));
                for slot in 1..=count {
                    let backend = Service::slot(first + u32::from(slot) - 1);
                    writes.push(Write::Service(key.slot(slot), Some(backend)));
                }
            }
            let entry = Service::master(0, 0, Algorithm::Random, 0);
            writes.push(Write::Service(ServiceKey::address(address(name, v6)), Some(entry)));
        }
    }
    writes.push(Write::Config(Config {
        epoch: 1,
        maglev_size: 7,
        uplink: UPLINK,
        address4: address(NODE, false),
        address6: address(NODE, true),
        hairpin4: "169.254.42.1".parse::<IpAddr>().expect("an address").into(),
        hairpin6: "fd00:42::1".parse::<IpAddr>().expect("an address").into(),
        options: option::MASQUERADE,
        ..Config::default()
    }));
    writes
}

struct Dice(u64, u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.1 += 1;
        hash::random(self.0, self.1) as usize % limit
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }
}

/// Ends of a packet as addresses.
fn link(ends: (IpAddr, IpAddr), hops: u8) -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    use etherparse::{IpHeaders, Ipv4Header, Ipv6Header};
    let headers = match ends {
        (IpAddr::V4(s), IpAddr::V4(d)) => IpHeaders::Ipv4(
            Ipv4Header {
                time_to_live: hops,
                source: s.octets(),
                destination: d.octets(),
                ..Default::default()
            },
            Default::default(),
        ),
        (IpAddr::V6(s), IpAddr::V6(d)) => IpHeaders::Ipv6(
            Ipv6Header {
                hop_limit: hops,
                source: s.octets(),
                destination: d.octets(),
                ..Default::default()
            },
            Default::default(),
        ),
        other => panic!("{other:?}"),
    };
    PacketBuilder::ethernet2([4; 6], [2; 6]).ip(headers)
}

/// A packet that is no error, on its way to a hook.
fn plain(dice: &mut Dice) -> (Hook, u32, Frame) {
    let v6 = dice.one_in(2);
    let from = dice.of(&[CLIENT, CLIENT, LOCAL, OUTSIDE, REMOTE]);
    let to = dice.of(&[VIP, VIP, VIP, EMPTY, OUTSIDE, CLIENT, LOCAL, REMOTE, NODE]);
    let (hook, device) = match from {
        CLIENT => (Hook::FromPod, 10),
        LOCAL => (Hook::FromPod, 11),
        _ => (Hook::FromNetdev, UPLINK),
    };
    let hops = dice.of(&[1, 2, 64, 64, 64, 64]);
    let builder = link((ip(from, v6), ip(to, v6)), hops);
    let length = if dice.one_in(3) { dice.below(1_600) } else { dice.below(40) };
    let payload: Vec<u8> = (0..length).map(|i| (i * 7 + dice.below(3)) as u8).collect();
    let (source, destination) =
        (1_000 + dice.below(8) as u16, dice.of(&[80, 80, 80, 80, 81, 53, 8080]));
    let mut bytes = Vec::new();
    let written = match dice.below(5) {
        0 | 1 => builder.tcp(source, destination, 1, 1_024).syn().write(&mut bytes, &payload),
        2 | 3 => builder.udp(source, destination).write(&mut bytes, &payload),
        _ if v6 => builder.icmpv6_echo_request(source, 1).write(&mut bytes, &payload),
        _ => builder.icmpv4_echo_request(source, 1).write(&mut bytes, &payload),
    };
    written.expect("a packet");
    if dice.one_in(8) {
        bytes.extend(vec![0xee; dice.below(20)]);
    }
    if dice.one_in(8) {
        bytes.splice(12..12, [0x81, 0, 0, 5]);
    }
    if dice.one_in(12) {
        let at = dice.below(bytes.len().min(80));
        bytes[at] ^= 1 << dice.below(8);
    }
    (hook, device, Frame::new(bytes))
}

/// An error about a packet that has left, or about what is none.
fn error(dice: &mut Dice, left: &Frame, to: Verdict) -> Option<(Hook, u32, Frame)> {
    let parsed = parse(left).ok()??;
    let v6 = !parsed.tuple.is_v4();
    let source = IpAddr::from(parsed.tuple.destination);
    let destination = IpAddr::from(parsed.tuple.source);
    let (hook, device) = match to {
        Verdict::Deliver(device) => (Hook::FromPod, device),
        _ => (Hook::FromNetdev, UPLINK),
    };
    let (hook, device) = if dice.one_in(10) { (Hook::ToPod, 10) } else { (hook, device) };
    let reporter = if dice.one_in(3) { ip(dice.of(&[ROUTER, LOCAL]), v6) } else { source };
    let mut quote = left.bytes.get(parsed.l3.0..)?.to_vec();
    match dice.below(4) {
        0 => quote.truncate(parsed.l4.0 - parsed.l3.0 + 8),
        1 => quote.truncate(dice.below(quote.len() + 1)),
        _ => {}
    }
    if dice.one_in(6) && quote.len() >= 40 {
        // Options, or an extension header.
        if v6 {
            let next = std::mem::replace(&mut quote[6], 60);
            quote.splice(40..40, [next, 0, 1, 4, 0, 0, 0, 0]);
        } else {
            quote.splice(20..20, [1; 8]);
            quote[0] += 2;
            quote[10..12].fill(0);
            let sum = !twinpath_core::checksum::sum(&quote[..28]);
            quote[10..12].copy_from_slice(&sum.to_ne_bytes());
        }
    }
    if dice.one_in(8) && !quote.is_empty() {
        let at = dice.below(quote.len().min(70));
        quote[at] ^= 1 << dice.below(8);
    }
    let builder = link((reporter, destination), dice.of(&[1, 2, 64, 64, 64]));
    let rest = [0, dice.of(&[0, 0, 32, 40]), 5, 0x78];
    let mut bytes = Vec::new();
    let written = if v6 {
        let rest = [rest[1] / 2, 0, 5, 0x78];
        builder.icmpv6_raw(dice.of(&[1, 2, 3, 4]), 0, rest).write(&mut bytes, &quote)
    } else {
        builder.icmpv4_raw(dice.of(&[3, 11, 12]), 4, rest).write(&mut bytes, &quote)
    };
    written.expect("a packet");
    if dice.one_in(8) {
        bytes.splice(12..12, [0x81, 0, 0, 5]);
    }
    Some((hook, device, Frame::new(bytes)))
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|e| panic!("{name}={text}: {e}")))
}

#[test]
fn the_simulator_and_the_programs_agree_on_icmp() {
    let limits = Limits { conntrack: 4_096, ..Limits::default() };
    let mut programs = match TestRunEngine::new(1, &limits, 0) {
        Ok(programs) => programs,
        Err(error) => return skip("icmp", &error.to_string()),
    };
    let mut sim = SimEngine::new(1, &limits, 0);
    for write in tables() {
        sim.write(0, &write).expect("room");
        programs.write(0, &write).expect("room");
    }
    let seed = number("TWINPATH_SEED", 1);
    let mut dice = Dice(seed, 0);
    let mut counts = vec![0; Metric::SLOTS as usize];
    let mut left: Vec<(Frame, Verdict)> = Vec::new();
    let mut now = 1_000_000_000;
    for i in 0..number("TWINPATH_PACKETS", 30_000) {
        if i % 3_000 == 0 {
            sim.reset(seed + i).expect("a reset");
            programs.reset(seed + i).expect("a reset");
            left.clear();
        }
        if dice.one_in(200) {
            now += 100_000_000 * dice.below(30) as u64;
        }
        sim.set_time(now).expect("a clock");
        programs.set_time(now).expect("a clock");
        let about = if left.is_empty() || dice.one_in(3) {
            None
        } else {
            let (frame, to) = left[dice.below(left.len())].clone();
            error(&mut dice, &frame, to)
        };
        let (hook, device, frame) = match about {
            Some(error) => error,
            None => plain(&mut dice),
        };
        if !programs.takes(&frame) {
            continue;
        }
        let (mut one, mut other) = (frame.clone(), frame.clone());
        let decided = sim.run(0, hook, device, &mut one).expect("a decision");
        let again = programs.run(0, hook, device, &mut other).expect("a decision");
        assert_eq!(decided, again, "{i}: {hook:?} {frame:02x?}");
        assert_eq!(one, other, "{i}: {hook:?} {decided:?} {frame:02x?}");
        if matches!(decided.verdict(), Verdict::Deliver(_) | Verdict::Forward(_)) {
            if left.len() > 60 {
                left.remove(0);
            }
            left.push((one, decided.verdict()));
        }
        if i % 100 == 99 {
            let (ours, theirs) = (sim.metrics(0), programs.metrics(0));
            assert_eq!(ours.as_ref().ok(), theirs.as_ref().ok(), "{i}");
            assert_eq!(sim.conntrack(0).ok(), programs.conntrack(0).ok(), "{i}");
        }
        if i % 3_000 == 2_999 {
            for (total, count) in counts.iter_mut().zip(sim.metrics(0).expect("counts")) {
                *total += count;
            }
        }
    }
    // More at once than there are tokens.
    for port in 0..1_100 {
        let mut bytes = Vec::new();
        let builder = link((ip(CLIENT, true), ip(EMPTY, true)), 64);
        builder.udp(port, 80).write(&mut bytes, b"payload").expect("a packet");
        let (mut one, mut other) = (Frame::new(bytes.clone()), Frame::new(bytes));
        let decided = sim.run(0, Hook::FromPod, 10, &mut one).expect("a decision");
        let again = programs.run(0, Hook::FromPod, 10, &mut other).expect("a decision");
        assert_eq!((decided, one), (again, other), "{port}");
    }
    counts[Metric::ANSWER_LIMITED.0 as usize] +=
        sim.metrics(0).expect("counts")[Metric::ANSWER_LIMITED.0 as usize];
    assert_eq!(sim.metrics(0).ok(), programs.metrics(0).ok());
    for (slot, count) in counts.iter().enumerate().filter(|(_, count)| **count != 0) {
        println!("{:>8} {}", count, Metric(slot as u32).name().unwrap_or("?"));
    }
    for metric in [Metric::ANSWERED, Metric::ANSWER_LIMITED, Metric::RELATED] {
        assert_ne!(counts[metric.0 as usize], 0, "never reached: {:?}", metric.name());
    }
}
