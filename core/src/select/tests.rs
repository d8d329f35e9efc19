use std::net::IpAddr;

use super::*;
use crate::conntrack::Flow;
use crate::seam::Node;
use crate::service::Service;
use crate::testing::{TestMaps, UPLINK, node, packet, tuple, work};
use crate::wire::{TCP, tcp};

const V4: &str = "tcp 10.244.1.10:1 > 10.96.0.80:80";
const V6: &str = "udp [fd00:244:1::10]:1 > [fd00:96::80]:80";

/// What is selected for a packet, and the half that is written.
fn selected(node: &mut Node<TestMaps>, text: &str) -> (Result<Selected, DropReason>, Flow) {
    let mut work = work(packet(text, tcp::SYN), 5);
    let result = select(node, &mut work);
    work.half.settle(&work.parsed.tuple);
    (result, work.half)
}

fn frontend(text: &str) -> ServiceKey {
    let tuple = tuple(text);
    ServiceKey::frontend(tuple.destination, tuple.destination_port, tuple.protocol)
}

#[test]
fn each_slot() {
    for (text, draw, to, backend, exit) in [
        (V4, 0, "tcp 10.244.1.10:1 > 10.244.1.11:8080", 1, Exit::pod(11)),
        (V4, 0x7fff_ffff, "tcp 10.244.1.10:1 > 10.244.1.11:8080", 1, Exit::pod(11)),
        (V4, 0x8000_0000, "tcp 10.244.1.10:1 > 10.244.2.11:8080", 2, Exit::device(UPLINK)),
        (V4, u32::MAX, "tcp 10.244.1.10:1 > 10.244.2.11:8080", 2, Exit::device(UPLINK)),
        (V6, 0, "udp [fd00:244:1::10]:1 > [fd00:244:1::11]:8080", 3, Exit::pod(11)),
        (V6, u32::MAX, "udp [fd00:244:1::10]:1 > [fd00:244:2::11]:8080", 4, Exit::device(UPLINK)),
    ] {
        let mut node = node();
        node.host.draws = vec![draw];
        let (result, half) = selected(&mut node, text);
        assert_eq!(result, Ok(Selected::Backend));
        assert_eq!(
            (half.to, half.service, half.backend, half.exit(), half.translates()),
            (tuple(to), 7, backend, exit, true)
        );
    }
}

#[test]
fn random_is_even() {
    // Ten slots and 50,000 draws: chi-square below the 99.9 % point of 9 degrees of freedom, 27.9.
    let mut node = node();
    let key = frontend(V4);
    node.services.entries.insert(key, Service::master(7, 10, Algorithm::Random, 0));
    for slot in 1..=10 {
        let id = 100 + u32::from(slot);
        node.services.entries.insert(key.slot(slot), Service::slot(id));
        let backend = node.backends.entries[&1];
        node.backends.entries.insert(id, backend);
    }
    let mut bins = [0_u32; 10];
    for i in 0..50_000 {
        node.host.draws = vec![hash::random(1, i)];
        bins[selected(&mut node, V4).1.backend as usize - 101] += 1;
    }
    let chi_square: f64 = bins.iter().map(|n| (f64::from(*n) - 5000.0).powi(2) / 5000.0).sum();
    assert!(chi_square < 27.9, "{bins:?}");
}

/// The node, its service by Maglev with the second slice of the table, seven entries.
fn maglev() -> Node<TestMaps> {
    let mut node = node();
    for text in [V4, V6] {
        node.services.entries.insert(frontend(text), Service::master(7, 2, Algorithm::Maglev, 1));
    }
    let slices = [[9; 7], [1, 2, 1, 2, 1, 2, 1]].concat();
    node.maglev.entries.extend((0..).zip(slices));
    node
}

#[test]
fn maglev_chooses_by_the_tuple() {
    let mut node = maglev();
    for port in 1..200 {
        let text = format!("tcp 10.244.1.10:{port} > 10.96.0.80:80");
        let index = hash::scale(hash::tuple(&tuple(&text), 0, 0), 7);
        let expected = [1, 2, 1, 2, 1, 2, 1][index as usize];
        node.host.draws = vec![port]; // not looked at
        let (result, half) = selected(&mut node, &text);
        assert_eq!((result, half.backend), (Ok(Selected::Consistent), expected), "{text}");
        assert_eq!(node.host.draws, [port]);
    }
}

#[test]
fn maglev_by_seed() {
    let mut node = maglev();
    let mut choices = |seed| {
        node.config.hash_seed = seed;
        let text = |port| format!("tcp 10.244.1.10:{port} > 10.96.0.80:80");
        (1..17).map(|port| selected(&mut node, &text(port)).1.backend).collect::<Vec<_>>()
    };
    let first = choices(0);
    assert!(first.contains(&1) && first.contains(&2), "{first:?}");
    assert_eq!(choices(0), first);
    assert_ne!(choices(1), first);
}

#[test]
fn no_backend() {
    type Change = fn(&mut Node<TestMaps>);
    let cases: [(&str, Change); 5] = [
        ("none to choose from", |node| {
            let master = Service::master(7, 0, Algorithm::Random, 0);
            node.services.entries.insert(frontend(V4), master);
        }),
        ("the slot is missing", |node| {
            node.services.entries.remove(&frontend(V4).slot(1));
        }),
        ("the backend is missing", |node| {
            node.backends.entries.remove(&1);
        }),
        ("the Maglev table is missing", |node| {
            let master = Service::master(7, 2, Algorithm::Maglev, 0);
            node.services.entries.insert(frontend(V4), master);
        }),
        ("the Maglev table is not filled", |node| {
            *node = maglev();
            for id in node.maglev.entries.values_mut() {
                *id = 0;
            }
        }),
    ];
    for (name, change) in cases {
        let mut node = node();
        change(&mut node);
        let result = selected(&mut node, V4).0;
        assert_eq!(result, Err(DropReason::ServiceBackendNotFound), "{name}");
    }
}

#[test]
fn no_service() {
    for (text, expected, exit) in [
        ("tcp 10.244.1.10:1 > 10.244.1.11:8080", Ok(Selected::Plain), Exit::pod(11)),
        ("tcp 10.244.1.10:1 > 10.244.2.11:8080", Ok(Selected::Plain), Exit::STACK),
        ("tcp 10.244.1.10:1 > 10.96.0.80:81", Err(DropReason::ServicePortNotFound), Exit::STACK),
        ("tcp 10.244.1.10:1 > 10.96.0.81:80", Ok(Selected::Plain), Exit::STACK),
    ] {
        let (result, half) = selected(&mut node(), text);
        assert_eq!((result, half.exit(), half.translates()), (expected, exit, false), "{text}");
        assert_eq!((half.to, half.service, half.backend), (tuple(text), 0, 0));
    }
    // A service on TCP is none on UDP.
    let mut node = node();
    node.services.entries.retain(|key, _| key.protocol != TCP);
    assert_eq!(selected(&mut node, V4).0, Err(DropReason::ServicePortNotFound));
}

#[test]
fn ways_out() {
    let node = node();
    let address = |text: &str| Address::from(text.parse::<IpAddr>().unwrap());
    assert_eq!(exit_to(&node, &address("10.244.1.11"), UPLINK), Exit::pod(11));
    assert_eq!(exit_to(&node, &address("fd00:244:1::10"), 0), Exit::pod(10));
    assert_eq!(exit_to(&node, &address("10.244.2.11"), UPLINK), Exit::device(UPLINK));
    assert_eq!(exit_to(&node, &address("10.244.2.11"), 0), Exit::STACK);
    let mut node = node;
    node.endpoints.entries.insert(address("192.168.0.1"), crate::endpoint::Endpoint::HOST);
    assert_eq!(exit_to(&node, &address("192.168.0.1"), UPLINK), Exit::STACK);
}

#[test]
fn addresses_of_frontends() {
    let node = node();
    let (vip, other) = (tuple(V4).destination, tuple(V4).source);
    assert!(is_frontend_address(&node, &vip));
    assert!(!is_frontend_address(&node, &other));
}
