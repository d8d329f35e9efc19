//! Bytes of packets, and what they are read as.

use crate::bytes::Be16;
use crate::parse::{Parsed, Part, Transport};
use crate::seam::At;
use crate::testing::tuple;
use crate::tuple::Tuple;
use crate::wire;

/// An Ethernet frame.
pub(super) fn ethernet(ethertype: u16, packet: &[u8]) -> Vec<u8> {
    let mut bytes = vec![2, 0, 10, 244, 1, 11, 2, 0, 10, 244, 1, 10];
    bytes.extend(ethertype.to_be_bytes());
    bytes.extend(packet);
    bytes
}

/// An Ethernet frame with tags: each its EtherType and its number.
pub(super) fn tags(tags: &[[u8; 4]], ethertype: u16, packet: &[u8]) -> Vec<u8> {
    let mut bytes = ethernet(ethertype, packet);
    bytes.splice(12..12, tags.concat());
    bytes
}

/// A packet with bytes changed, in a frame of its family.
pub(super) fn changed(packet: &[u8], changes: &[(usize, u8)]) -> Vec<u8> {
    let ethertype = if packet[0] >> 4 == 4 { 0x0800 } else { 0x86dd };
    let mut packet = packet.to_vec();
    for (at, byte) in changes {
        packet[*at] = *byte;
    }
    ethernet(ethertype, &packet)
}

/// An IPv4 packet from 10.244.1.10 to 10.96.0.80, TTL 64, header checksum abcd.
pub(super) fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    #[rustfmt::skip]
    let mut bytes = vec![
        0x45, 0, 0, 0,
        0x12, 0x34, 0x40, 0x00,
        64, protocol, 0xab, 0xcd,
        10, 244, 1, 10,
        10, 96, 0, 80,
    ];
    bytes.extend(payload);
    let length = bytes.len() as u16;
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
    bytes
}

/// An IPv6 packet from fd00:244:1::10 to fd00:96::80, hop limit 64.
pub(super) fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let [high, low] = (payload.len() as u16).to_be_bytes();
    #[rustfmt::skip]
    let mut bytes = vec![
        0x60, 0, 0, 0,
        high, low, next, 64,
        0xfd, 0, 0x02, 0x44, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        0xfd, 0, 0, 0x96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80,
    ];
    bytes.extend(payload);
    bytes
}

/// An IPv6 packet with extension headers of 8 bytes each in front of its payload.
pub(super) fn chain(headers: &[u8], last: u8, payload: &[u8]) -> Vec<u8> {
    let nexts = headers.iter().skip(1).chain([&last]);
    let mut bytes: Vec<u8> =
        nexts.take(headers.len()).flat_map(|next| [*next, 0, 0, 0, 0, 0, 0, 0]).collect();
    bytes.extend(payload);
    ipv6(*headers.first().unwrap_or(&last), &bytes)
}

/// A TCP header from port 40000 to port 80 with this offset byte, and 4 bytes of payload.
pub(super) fn tcp(offset: u8, flags: u8) -> Vec<u8> {
    #[rustfmt::skip]
    let bytes = vec![
        0x9c, 0x40, 0, 80,
        0, 0, 0, 1,
        0, 0, 0, 2,
        offset, flags, 0x04, 0x00,
        0xbe, 0xef, 0, 0,
        b'd', b'a', b't', b'a',
    ];
    bytes
}

/// A UDP header from port 40000 to port 80, and 4 bytes of payload.
pub(super) fn udp() -> Vec<u8> {
    vec![0x9c, 0x40, 0, 80, 0, 12, 0xbe, 0xef, b'd', b'a', b't', b'a']
}

/// What a packet of [`ipv4`] with TCP is read as.
pub(super) fn v4_tcp(flags: u8) -> Parsed {
    let checksum = Be16::new(0xabcd);
    let tuple = tuple("tcp 10.244.1.10:40000 > 10.96.0.80:80");
    let (l3, l4, transport) = (At(14), At(34), Transport::Tcp);
    Parsed { tuple, l3, l4, transport, flags, ttl: 64, checksum, ..Parsed::default() }
}

/// What a packet of [`ipv6`] with TCP is read as.
pub(super) fn v6_tcp(flags: u8) -> Parsed {
    let checksum = Be16::new(0);
    let tuple = tuple("tcp [fd00:244:1::10]:40000 > [fd00:96::80]:80");
    let (l3, l4, transport) = (At(14), At(54), Transport::Tcp);
    Parsed { tuple, l3, l4, transport, flags, ttl: 64, checksum, ..Parsed::default() }
}

/// The same with UDP.
pub(super) fn of_udp(parsed: Parsed) -> Parsed {
    let mut tuple = parsed.tuple;
    tuple.protocol = wire::UDP;
    Parsed { tuple, transport: Transport::Udp, flags: 0, ..parsed }
}

/// The same of another protocol, which has no ports.
pub(super) fn of(parsed: Parsed, protocol: u8, transport: Transport) -> Parsed {
    let none = Be16::new(0);
    let Tuple { source, destination, .. } = parsed.tuple;
    let tuple = Tuple::new(protocol, source, none, destination, none);
    Parsed { tuple, transport, flags: 0, ..parsed }
}

/// The same as a part of a datagram with this identification, in network order.
pub(super) fn part_of(parsed: Parsed, part: Part, id: [u8; 4]) -> Parsed {
    Parsed { part, id: u32::from_ne_bytes(id), ..parsed }
}

/// The same, so many bytes of tags further back.
pub(super) fn further(parsed: Parsed, bytes: usize) -> Parsed {
    Parsed { l3: parsed.l3.plus(bytes), l4: parsed.l4.plus(bytes), ..parsed }
}

/// The same with the transport header so many bytes further back.
pub(super) fn behind(parsed: Parsed, bytes: usize) -> Parsed {
    Parsed { l4: parsed.l4.plus(bytes), ..parsed }
}
