//! Packets sent one by one: what is seen at each place, and what is remembered, is what the simulator
//! says, byte for byte.

use std::net::IpAddr;

use twinpath_core::wire::{ipv6, tcp};
use twinpath_kernel::veth::{Options, Time};
use twinpath_sim::cluster::{Fate, Place};
use twinpath_sim::frame::Frame;
use twinpath_sim::topology::PodIndex;
use twinpath_sim::world::Trace;

use crate::packets::{
    Ends, answer, as_fragment, with_extension, with_header_checksum, with_options, with_tag,
};
use crate::support::{SEED, Twins, address, limits, pod};

const SECOND: u64 = 1_000_000_000;

/// Where services are reached: web on TCP 80, echo on UDP 7.
const WEB: [&str; 2] = ["10.96.0.80", "fd00:10:96::80"];
const ECHO: [&str; 2] = ["10.96.0.7", "fd00:10:96::7"];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn injected_packets_arrive_as_in_the_simulator() {
    let options = Options { limits: limits(), time: Time::Virtual(SEED), ..Options::default() };
    let Some(mut twins) = Twins::new(&options) else { return };
    for world in twins.each() {
        world.set_time(5 * SECOND).unwrap();
    }
    for v6 in [false, true] {
        for partial in [false, true] {
            tcp_connections(&mut twins, v6, partial);
            datagrams(&mut twins, v6, partial);
            between_pods(&mut twins, v6, partial);
            to_nobody(&mut twins, v6, partial);
            tagged(&mut twins, v6, partial);
        }
        hops(&mut twins, v6);
        echoes(&mut twins, v6);
        hairpin(&mut twins, v6);
    }
    ipv4_headers(&mut twins);
    ipv6_headers(&mut twins);
    malformed(&mut twins);
    fewer_endpoints(&mut twins);
    assert!(twins.packets > 600, "{} packets", twins.packets);
    assert!(twins.frames > 1500, "{} frames", twins.frames);
    eprintln!("{} packets, {} frames equal", twins.packets, twins.frames);
}

/// The ends of the client's packets to an address.
fn from_client(twins: &Twins, v6: bool, partial: bool, port: u16, to: (IpAddr, u16)) -> Ends {
    let topology = twins.topology();
    let client = address(topology, pod(topology, "client"), v6);
    Ends { from: (client, port), to, ttl: 64, partial }
}

/// Which pod a packet has reached, and as what.
fn arrived(trace: &Trace) -> (PodIndex, Frame) {
    match (trace.fate, trace.seen.last()) {
        (Some(Fate::Arrived(Place::PodIn(pod))), Some((_, frame))) => (pod, frame.clone()),
        other => panic!("{other:?}"),
    }
}

fn tcp_connections(twins: &mut Twins, v6: bool, partial: bool) {
    let client = pod(twins.topology(), "client");
    let mut hit = std::collections::BTreeSet::new();
    for port in 20_000..20_008 {
        let ends = from_client(twins, v6, partial, port, (ip(WEB[usize::from(v6)]), 80));
        let what = format!("tcp {ends:?}");
        let (backend, first) = arrived(&twins.send(&what, client, &ends.tcp(tcp::SYN, b"")));
        hit.insert(backend);
        let back = answer(&first);
        twins.send(&what, backend, &back.tcp(tcp::SYN | tcp::ACK, b""));
        twins.send(&what, client, &ends.tcp(tcp::ACK, b""));
        for size in [1, 2, 536, 1448, 1449, 9_000, 60_000] {
            let payload: Vec<u8> = (0..size).map(|i: u32| (i * 7) as u8).collect();
            let trace = twins.send(&what, client, &ends.tcp(tcp::ACK, &payload));
            assert_eq!(arrived(&trace).0, backend);
            let trace = twins.send(&what, backend, &back.tcp(tcp::ACK, &payload));
            assert_eq!(arrived(&trace).0, client);
        }
        if port % 2 == 0 {
            twins.send(&what, client, &ends.tcp(tcp::FIN | tcp::ACK, b""));
            twins.send(&what, backend, &back.tcp(tcp::FIN | tcp::ACK, b""));
            twins.send(&what, client, &ends.tcp(tcp::ACK, b""));
        } else {
            twins.send(&what, backend, &back.tcp(tcp::RST | tcp::ACK, b""));
        }
        // Once more with the same ports, then a reset by the client.
        let (_, first) = arrived(&twins.send(&what, client, &ends.tcp(tcp::SYN, b"")));
        let backend = arrived(&twins.send(&what, client, &ends.tcp(tcp::RST, b""))).0;
        twins.send(&what, backend, &answer(&first).tcp(tcp::SYN | tcp::ACK, b""));
    }
    assert_eq!(hit.len(), 2, "both backends of {v6} {partial}");
    // A reset without a connection.
    let ends = from_client(twins, v6, partial, 20_100, (ip(WEB[usize::from(v6)]), 80));
    let trace = twins.send("reset", client, &ends.tcp(tcp::RST, b""));
    assert!(matches!(trace.fate, Some(Fate::Dropped(..))), "{:?}", trace.fate);
}

fn datagrams(twins: &mut Twins, v6: bool, partial: bool) {
    let client = pod(twins.topology(), "client");
    let mut hit = std::collections::BTreeSet::new();
    for (port, size) in (21_000..).zip([0, 1, 2, 18, 511, 512, 1_200, 1_452, 1_472, 9_000, 65_000])
    {
        let ends = from_client(twins, v6, partial, port, (ip(ECHO[usize::from(v6)]), 7));
        let what = format!("udp {size} {ends:?}");
        let payload: Vec<u8> = (0..size).map(|i: u32| (i * 13) as u8).collect();
        for _ in 0..2 {
            let trace = twins.send(&what, client, &ends.udp(&payload));
            let (backend, received) = arrived(&trace);
            hit.insert(backend);
            let trace = twins.send(&what, backend, &answer(&received).udp(&payload));
            assert_eq!(arrived(&trace).0, client);
        }
    }
    assert_eq!(hit.len(), 2, "both backends of {v6} {partial}");
    // Without a checksum, and with a wrong one, which stays wrong.
    let ends = from_client(twins, v6, false, 21_100, (ip(ECHO[usize::from(v6)]), 7));
    for field in [[0, 0], [0xff, 0xff], [0x12, 0x34]] {
        let mut frame = ends.udp(b"checksum");
        let at = if v6 { 60 } else { 40 };
        frame.bytes[at..at + 2].copy_from_slice(&field);
        twins.send("checksum", client, &frame);
    }
}

/// Straight to a pod's address, on the same node and on another.
fn between_pods(twins: &mut Twins, v6: bool, partial: bool) {
    let topology = twins.topology();
    let client = pod(topology, "client");
    let others = ["web-a", "web-b"].map(|name| address(topology, pod(topology, name), v6));
    for other in others {
        let ends = from_client(twins, v6, partial, 22_000, (other, 8080));
        let (backend, first) = arrived(&twins.send("pods tcp", client, &ends.tcp(tcp::SYN, b"")));
        let back = answer(&first);
        twins.send("pods tcp", backend, &back.tcp(tcp::SYN | tcp::ACK, b""));
        twins.send("pods tcp", client, &ends.tcp(tcp::ACK, b"data"));
        twins.send("pods tcp", backend, &back.tcp(tcp::RST | tcp::ACK, b""));
        let ends = from_client(twins, v6, partial, 22_001, (other, 5353));
        let (backend, first) = arrived(&twins.send("pods udp", client, &ends.udp(b"question")));
        twins.send("pods udp", backend, &answer(&first).udp(b"answer"));
        // The other end speaks first.
        let ends = from_client(twins, v6, partial, 22_002, (other, 5354)).turned();
        twins.send("pods udp", backend, &ends.udp(b"unasked"));
    }
}

/// To a frontend's other ports, to addresses that nobody has, to the nodes themselves.
fn to_nobody(twins: &mut Twins, v6: bool, partial: bool) {
    let client = pod(twins.topology(), "client");
    let i = usize::from(v6);
    let web = ip(WEB[i]);
    for (to, port) in [
        (web, 81),
        (web, 8080),
        (ip(["198.51.100.9", "2001:db8::9"][i]), 80),
        (ip(["10.244.1.99", "fd00:10:244:1::99"][i]), 80),
        (ip(["224.0.0.251", "ff02::fb"][i]), 5353),
        (ip(["192.168.0.1", "fd00:192:168::1"][i]), 22),
        (ip(["192.168.0.2", "fd00:192:168::2"][i]), 22),
    ] {
        let ends = from_client(twins, v6, partial, 23_000, (to, port));
        let what = format!("{ends:?}");
        twins.send(&what, client, &ends.udp(b"anybody?"));
        twins.send(&what, client, &ends.tcp(tcp::SYN, b""));
        twins.send(&what, client, &ends.tcp(tcp::RST, b""));
    }
}

/// Frames of virtual networks, 802.1Q and 802.1ad. The kernel takes the first tag off before the hooks, and
/// puts it on again behind them. By a neighbour's address it sends only what has no second one, so frames
/// with two are for pods of the same node.
fn tagged(twins: &mut Twins, v6: bool, partial: bool) {
    const Q: u16 = 0x8100;
    const AD: u16 = 0x88a8;
    let topology = twins.topology();
    let client = pod(topology, "client");
    let near = |name| address(topology, pod(topology, name), v6);
    let services = [(ip(WEB[usize::from(v6)]), 80), (ip(ECHO[usize::from(v6)]), 7)];
    let pods = [(near("web-a"), 8080), (near("echo-a"), 7007)];
    let all: [&[(u16, u16)]; 5] =
        [&[(Q, 5)], &[(Q, 0x6fff)], &[(AD, 9)], &[(Q, 7), (Q, 8)], &[(Q, 7), (AD, 8)]];
    for (port, tags) in (29_000..).zip(all) {
        let [web, echo] = if tags.len() == 1 { services } else { pods };
        let on =
            |frame: Frame| tags.iter().fold(frame, |f, (kind, vlan)| with_tag(&f, *kind, *vlan));
        let what = format!("{tags:x?}");
        let ends = from_client(twins, v6, partial, port, web);
        let (backend, first) = arrived(&twins.send(&what, client, &on(ends.tcp(tcp::SYN, b""))));
        let back = answer(&first);
        twins.send(&what, backend, &on(back.tcp(tcp::SYN | tcp::ACK, b"")));
        twins.send(&what, client, &on(ends.tcp(tcp::ACK, b"a request")));
        let trace = twins.send(&what, backend, &on(back.tcp(tcp::ACK, b"its answer")));
        assert_eq!(arrived(&trace).0, client);
        let ends = from_client(twins, v6, partial, port, echo);
        let (backend, first) = arrived(&twins.send(&what, client, &on(ends.udp(b"question"))));
        twins.send(&what, backend, &on(answer(&first).udp(b"answer")));
    }
}

/// Packets with few hops left, to every kind of destination.
fn hops(twins: &mut Twins, v6: bool) {
    let topology = twins.topology();
    let client = pod(topology, "client");
    let i = usize::from(v6);
    let near = address(topology, pod(topology, "echo-a"), v6);
    let far = address(topology, pod(topology, "echo-b"), v6);
    let nodes =
        [ip(["192.168.0.1", "fd00:192:168::1"][i]), ip(["192.168.0.2", "fd00:192:168::2"][i])];
    for ttl in [0, 1, 2, 3, 255] {
        for to in [near, far, ip(ECHO[i]), ip(ECHO[i]), ip(ECHO[i]), nodes[0], nodes[1]] {
            let port = if to == ip(ECHO[i]) { 7 } else { 7007 };
            let ends = from_client(twins, v6, false, 24_000 + u16::from(ttl), (to, port));
            let ends = Ends { ttl, ..ends };
            twins.send(&format!("hops {ends:?}"), client, &ends.udp(b"how far"));
            twins.send(&format!("hops {ends:?}"), client, &ends.echo());
        }
    }
}

/// ICMP, and protocols that are not tracked.
fn echoes(twins: &mut Twins, v6: bool) {
    let topology = twins.topology();
    let client = pod(topology, "client");
    let i = usize::from(v6);
    for to in [
        address(topology, pod(topology, "web-a"), v6),
        address(topology, pod(topology, "web-b"), v6),
        address(topology, client, v6),
        ip(WEB[i]),
        ip(["192.168.0.1", "fd00:192:168::1"][i]),
        ip(["192.168.0.2", "fd00:192:168::2"][i]),
        ip(["198.51.100.9", "2001:db8::9"][i]),
    ] {
        let ends = from_client(twins, v6, false, 0, (to, 0));
        twins.send(&format!("echo {ends:?}"), client, &ends.echo());
        let about = ends.turned().udp(b"what was not heard");
        twins.send(&format!("error {ends:?}"), client, &ends.unreachable(&about));
        twins.send(&format!("sctp {ends:?}"), client, &ends.other(132));
    }
}

/// A backend that is given its own service's connection.
fn hairpin(twins: &mut Twins, v6: bool) {
    let topology = twins.topology();
    let backend = pod(topology, "echo-a");
    let own = address(topology, backend, v6);
    let mut came_back = 0;
    for port in 25_000..25_008 {
        let to = (ip(ECHO[usize::from(v6)]), 7);
        let ends = Ends { from: (own, port), to, ttl: 64, partial: true };
        let trace = twins.send("hairpin", backend, &ends.udp(b"me?"));
        let (hit, received) = arrived(&trace);
        came_back += usize::from(hit == backend);
        twins.send("hairpin", hit, &answer(&received).udp(b"you."));
    }
    assert!(came_back > 0);
}

fn ipv4_headers(twins: &mut Twins) {
    let topology = twins.topology();
    let client = pod(topology, "client");
    let near = address(topology, pod(topology, "echo-a"), false);
    let far = address(topology, pod(topology, "echo-b"), false);
    for (port, to) in
        (26_000..).zip([near, far, ip(ECHO[0]), ip(ECHO[0]), ip(ECHO[0]), ip(ECHO[0])])
    {
        let ends =
            from_client(twins, false, false, port, (to, if to == ip(ECHO[0]) { 7 } else { 7007 }));
        let plain = ends.udp(b"sixteen bytes are");
        let what = format!("{ends:?}");
        // No operation, end of list; a stream identifier.
        twins.send(&what, client, &with_options(&plain, &[1, 1, 1, 0]));
        twins.send(&what, client, &with_options(&plain, &[0x88, 4, 1, 2, 1, 1, 1, 1]));
        twins.send(&what, client, &as_fragment(&plain, 0, true));
        twins.send(&what, client, &as_fragment(&plain, 3, false));
        let mut marked = plain.clone();
        marked.bytes[15] = 0xb9; // traffic class and congestion mark
        marked.bytes[20] = 0x40; // do not fragment
        twins.send(&what, client, &with_header_checksum(marked));
        let mut padded = plain.clone();
        padded.bytes.resize(plain.bytes.len() + 11, 0xaa);
        twins.send(&what, client, &padded);
        let mut wrong = plain.clone();
        wrong.bytes[25] ^= 1;
        twins.send(&what, client, &wrong);
    }
}

fn ipv6_headers(twins: &mut Twins) {
    let topology = twins.topology();
    let client = pod(topology, "client");
    let near = address(topology, pod(topology, "echo-a"), true);
    let far = address(topology, pod(topology, "echo-b"), true);
    for (port, to) in
        (27_000..).zip([near, far, ip(ECHO[1]), ip(ECHO[1]), ip(ECHO[1]), ip(ECHO[1])])
    {
        let ends =
            from_client(twins, true, false, port, (to, if to == ip(ECHO[1]) { 7 } else { 7007 }));
        let plain = ends.udp(b"sixteen bytes are");
        let what = format!("{ends:?}");
        let padding = [0, 0, 1, 4, 0, 0, 0, 0]; // PadN
        twins.send(&what, client, &with_extension(&plain, ipv6::DESTINATION, &padding));
        twins.send(&what, client, &with_extension(&plain, ipv6::HOP_BY_HOP, &padding));
        let first = [0, 0, 0, 1, 0, 0, 0, 9];
        let later = [0, 0, 0, 24, 0, 0, 0, 9];
        let atomic = [0, 0, 0, 0, 0, 0, 0, 9];
        for fragment in [first, later, atomic] {
            twins.send(&what, client, &with_extension(&plain, ipv6::FRAGMENT, &fragment));
        }
        let mut padded = plain.clone();
        padded.bytes.resize(plain.bytes.len() + 11, 0xaa);
        twins.send(&what, client, &padded);
    }
}

/// What no stack sends.
fn malformed(twins: &mut Twins) {
    let topology = twins.topology();
    let client = pod(topology, "client");
    let far = address(topology, pod(topology, "echo-b"), false);
    for (to, port) in [(ip(ECHO[0]), 7), (ip(WEB[0]), 80), (far, 7007)] {
        let ends = from_client(twins, false, false, 28_000, (to, port));
        let cases: [(&str, usize, &[u8]); 6] = [
            ("version 5", 14, &[0x55]),
            ("a header of 16 bytes", 14, &[0x44]),
            ("a header beyond the end", 14, &[0x4f]),
            ("longer than the frame", 16, &[0x7f, 0xff]),
            ("shorter than the header", 16, &[0, 10]),
            ("another protocol's frame", 12, &[0x88, 0xb5]),
        ];
        for (what, at, bytes) in cases {
            for frame in [ends.udp(b"some data"), ends.tcp(tcp::SYN, b"")] {
                let mut frame = frame;
                frame.bytes[at..at + bytes.len()].copy_from_slice(bytes);
                twins.send(what, client, &frame);
            }
        }
        let mut frame = ends.udp(b"some data");
        frame.bytes[38..40].copy_from_slice(&[0, 7]);
        twins.send("a UDP length of 7", client, &frame);
        let mut frame = ends.tcp(tcp::SYN | tcp::FIN, b"");
        twins.send("SYN and FIN", client, &frame);
        frame = ends.tcp(tcp::SYN, b"");
        frame.bytes[46] = 0x40;
        twins.send("a TCP header of 16 bytes", client, &frame);
        for length in [14, 15, 33, 34, 41] {
            let mut frame = ends.udp(b"some data");
            frame.bytes.truncate(length);
            twins.send("cut", client, &frame);
        }
    }
}

/// An endpoint goes while datagrams flow, and time passes.
fn fewer_endpoints(twins: &mut Twins) {
    let client = pod(twins.topology(), "client");
    let backend = pod(twins.topology(), "echo-b");
    let mut state = crate::support::cluster();
    let name = twins.topology().pods[backend].name.clone();
    for port in state.services.values_mut() {
        port.endpoints.retain(|endpoint| endpoint.pod.as_ref() != Some(&name));
    }
    let ends: Vec<Ends> = (29_000..29_010)
        .map(|port| from_client(twins, false, false, port, (ip(ECHO[0]), 7)))
        .collect();
    for ends in &ends {
        twins.send("before", client, &ends.udp(b"anyone"));
    }
    for world in twins.each() {
        world.apply(&state).unwrap();
    }
    for ends in &ends {
        let trace = twins.send("after", client, &ends.udp(b"anyone"));
        assert_ne!(arrived(&trace).0, backend);
    }
    for seconds in [6, 40, 100_000] {
        for world in twins.each() {
            world.set_time(seconds * SECOND).unwrap();
        }
        for ends in &ends {
            twins.send("later", client, &ends.udp(b"anyone"));
        }
    }
}

/// Three nodes, on a bridge: a frame reaches the node that it is for, and no other.
#[test]
fn three_nodes_are_joined() {
    let mut state = crate::support::cluster();
    let mut third = state.nodes["node-b"].clone();
    third.addresses = vec![ip("192.168.0.3"), ip("fd00:192:168::3")];
    state.nodes.insert("node-c".to_owned(), third);
    for moved in state.pods.values_mut().filter(|pod| pod.name.name.starts_with("echo-b")) {
        moved.node = "node-c".to_owned();
    }
    let options = Options { limits: limits(), time: Time::Virtual(SEED), ..Options::default() };
    let Some(mut twins) = Twins::of(&state, &options) else { return };
    let topology = twins.topology();
    let (client, moved) = (pod(topology, "client"), pod(topology, "echo-b"));
    assert_eq!(topology.pods[moved].node, 2);
    for v6 in [false, true] {
        let mut hit = std::collections::BTreeSet::new();
        for port in 30_000..30_008 {
            let ends = from_client(&twins, v6, true, port, (ip(ECHO[usize::from(v6)]), 7));
            let (backend, received) = arrived(&twins.send("udp", client, &ends.udp(b"where")));
            hit.insert(backend);
            twins.send("udp", backend, &answer(&received).udp(b"here"));
        }
        assert!(hit.contains(&moved));
        // Another pod of the second node, and from there to the third.
        let (near, far) = (pod(twins.topology(), "web-b"), address(twins.topology(), moved, v6));
        let own = address(twins.topology(), near, v6);
        let ends = from_client(&twins, v6, false, 31_000, (own, 8080));
        twins.send("tcp", client, &ends.tcp(tcp::SYN, b""));
        let ends = Ends { from: (own, 31_001), to: (far, 7007), ttl: 64, partial: false };
        assert_eq!(arrived(&twins.send("udp", near, &ends.udp(b"next door"))).0, moved);
    }
}
