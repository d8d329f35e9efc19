use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice, VlanId};
use proptest::prelude::*;
use std::net::IpAddr;

use super::build::{chain, ethernet, ipv4, ipv6, tcp, udp};
use super::*;
use crate::bytes::Be16;
use crate::parse::{Quick, quick};
use crate::tuple::Tuple;

proptest! {
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..128)) {
        let _ = parse(&Frame(bytes));
    }

    /// Bytes that are nearly a packet.
    #[test]
    fn any_bytes_in_a_packet(
        start in 0..4_usize,
        changes in prop::collection::vec((14..100_usize, any::<u8>()), 0..6),
        tail in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut bytes = match start {
            0 => ethernet(0x0800, &ipv4(wire::TCP, &tcp(0x50, 0x10))),
            1 => ethernet(0x0800, &ipv4(wire::UDP, &udp())),
            2 => ethernet(0x86dd, &chain(&[0, 60, 43], wire::UDP, &[udp(), tail.clone()].concat())),
            _ => ethernet(0x86dd, &ipv6(wire::TCP, &tcp(0x50, 0x02))),
        };
        bytes.extend(tail);
        for (at, byte) in changes {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        let length = bytes.len();
        let frame = Frame(bytes);
        match quick(&frame) {
            Quick::Plain(parsed) => prop_assert_eq!(parse(&frame), Ok(Some(parsed))),
            Quick::Foreign => prop_assert_eq!(parse(&frame), Ok(None)),
            Quick::Other => {}
        }
        if let Ok(Some(parsed)) = parse(&frame) {
            let header = match parsed.transport {
                Transport::Tcp => 20,
                Transport::Udp => 8,
                _ => 0,
            };
            prop_assert!(parsed.l4.0 + header <= length);
            prop_assert_eq!(parsed.tuple.source.is_v4(), parsed.tuple.destination.is_v4());
        }
    }

    /// A parser that is not ours reads the same from packets that are not ours.
    #[test]
    fn as_etherparse_reads_it(
        ends: ([u8; 16], [u8; 16]),
        ports: (u16, u16),
        ttl: u8,
        v4: bool,
        udp: bool,
        tagged: bool,
        payload in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let bytes = built(ends, ports, ttl, (v4, udp, tagged), &payload);
        let read = SlicedPacket::from_ethernet(&bytes).unwrap();
        let (source, destination, hops): (IpAddr, IpAddr, u8) = match read.net.unwrap() {
            NetSlice::Ipv4(ip) => {
                let header = ip.header();
                (header.source_addr().into(), header.destination_addr().into(), header.ttl())
            }
            NetSlice::Ipv6(ip) => {
                let header = ip.header();
                (header.source_addr().into(), header.destination_addr().into(), header.hop_limit())
            }
            other => panic!("{other:?}"),
        };
        let (protocol, from, to) = match read.transport.unwrap() {
            TransportSlice::Tcp(tcp) => (wire::TCP, tcp.source_port(), tcp.destination_port()),
            TransportSlice::Udp(udp) => (wire::UDP, udp.source_port(), udp.destination_port()),
            other => panic!("{other:?}"),
        };
        let (from, to) = (Be16::new(from), Be16::new(to));
        let parsed = parse(&Frame(bytes.clone())).unwrap().unwrap();
        prop_assert_eq!(
            (parsed.tuple, parsed.ttl),
            (Tuple::new(protocol, source.into(), from, destination.into(), to), hops)
        );
    }
}

/// A packet that etherparse builds.
fn built(
    (source, destination): ([u8; 16], [u8; 16]),
    (from, to): (u16, u16),
    ttl: u8,
    (v4, udp, tagged): (bool, bool, bool),
    payload: &[u8],
) -> Vec<u8> {
    let four = |[a, b, c, d, ..]: [u8; 16]| [a, b, c, d];
    let mut bytes = Vec::new();
    let ethernet = PacketBuilder::ethernet2([2; 6], [4; 6]);
    let vlan = VlanId::try_new(100).unwrap();
    let ip = match (v4, tagged) {
        (true, false) => ethernet.ipv4(four(source), four(destination), ttl),
        (false, false) => ethernet.ipv6(source, destination, ttl),
        (true, true) => ethernet.single_vlan(vlan).ipv4(four(source), four(destination), ttl),
        (false, true) => ethernet.single_vlan(vlan).ipv6(source, destination, ttl),
    };
    if udp {
        ip.udp(from, to).write(&mut bytes, payload).unwrap();
    } else {
        ip.tcp(from, to, 7, 99).ack(8).write(&mut bytes, payload).unwrap();
    }
    bytes
}
