//! Frames from tuples, and what a frame says once all its checksums have been found right.

use etherparse::PacketBuilder;
use twinpath_core::address::Address;
use twinpath_core::checksum::sum;
use twinpath_core::parse::{Parsed, Part, parse};
use twinpath_core::tuple::Tuple;
use twinpath_core::wire::{TCP, UDP};
use twinpath_sim::frame::Frame;

/// Which part of a datagram a packet is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Piece {
    /// All of it.
    Whole,
    /// The first part.
    First,
    /// The rest.
    Last,
}

/// A frame with this tuple and right checksums. Flags are letters.
pub(crate) fn frame(tuple: &Tuple, flags: &str, piece: Piece) -> Frame {
    let (source, destination) = (octets(&tuple.source), octets(&tuple.destination));
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]);
    let builder = match (source, destination) {
        (std::net::IpAddr::V4(s), std::net::IpAddr::V4(d)) => {
            builder.ipv4(s.octets(), d.octets(), 64)
        }
        (std::net::IpAddr::V6(s), std::net::IpAddr::V6(d)) => {
            builder.ipv6(s.octets(), d.octets(), 64)
        }
        _ => panic!("mixed families"),
    };
    let (sport, dport) = (tuple.source_port.get(), tuple.destination_port.get());
    let payload = [7; 56];
    let mut bytes = Vec::new();
    if tuple.protocol == TCP {
        let mut step = builder.tcp(sport, dport, 1, 1024);
        for flag in flags.chars() {
            step = match flag {
                'S' => step.syn(),
                'A' => step.ack(2),
                'F' => step.fin(),
                'R' => step.rst(),
                other => panic!("flag {other}"),
            };
        }
        step.write(&mut bytes, &payload).unwrap();
    } else {
        builder.udp(sport, dport).write(&mut bytes, &payload).unwrap();
    }
    if piece != Piece::Whole {
        cut(&mut bytes, tuple.is_v4(), piece == Piece::First);
    }
    Frame::new(bytes)
}

fn octets(address: &Address) -> std::net::IpAddr {
    (*address).into()
}

/// Makes a packet a fragment: the first 32 bytes behind the IP header, or the other 32.
fn cut(bytes: &mut Vec<u8>, v4: bool, first: bool) {
    const HALF: usize = 32;
    let l4 = if v4 { 34 } else { 54 };
    let gone = if first { l4 + HALF..bytes.len() } else { l4..l4 + HALF };
    bytes.drain(gone);
    let offset = if first { 0 } else { HALF as u16 };
    let more = u16::from(first);
    if v4 {
        let length = (bytes.len() - 14) as u16;
        bytes[16..18].copy_from_slice(&length.to_be_bytes());
        bytes[18..20].copy_from_slice(&7_u16.to_be_bytes());
        bytes[20..22].copy_from_slice(&((offset / 8) | (more << 13)).to_be_bytes());
        bytes[24..26].fill(0);
        let checksum = !sum(&bytes[14..34]);
        bytes[24..26].copy_from_slice(&checksum.to_ne_bytes());
    } else {
        let mut header = vec![UDP, 0];
        header.extend((offset | more).to_be_bytes());
        header.extend(7_u32.to_be_bytes());
        bytes.splice(54..54, header);
        bytes[20] = 44;
        let length = (bytes.len() - 54) as u16;
        bytes[18..20].copy_from_slice(&length.to_be_bytes());
    }
}

/// What a frame says, once its checksums have been found right by full recomputation.
pub(crate) fn checked(frame: &Frame) -> Parsed {
    let parsed = parse(frame).expect("it parses").expect("it is IP");
    let bytes = &frame.bytes;
    if parsed.tuple.is_v4() {
        assert_eq!(sum(&bytes[14..34]), 0xffff, "IPv4 header checksum of {:?}", parsed.tuple);
    }
    if parsed.part == Part::Whole && matches!(parsed.tuple.protocol, TCP | UDP) {
        let mut all = bytes[if parsed.tuple.is_v4() { 26..34 } else { 22..54 }].to_vec();
        all.extend(((bytes.len() - parsed.l4.0) as u32).to_be_bytes());
        all.extend([0, 0, 0, parsed.tuple.protocol]);
        all.extend(&bytes[parsed.l4.0..]);
        assert_eq!(sum(&all), 0xffff, "transport checksum of {:?}", parsed.tuple);
    }
    parsed
}
