//! Frames of real bytes and what they are read as.

mod build;
mod ipv4;
mod ipv6;
mod random;
mod transport;

use super::{Parsed, Part, Transport, parse};
use crate::drop_reason::DropReason;
use crate::testing::Frame;
use crate::wire;
use build::{ethernet, further, ipv4, ipv6, tags, tcp, udp, v4_tcp};

/// A frame with a name, and what it is read as.
type Case = (&'static str, Vec<u8>, Result<Option<Parsed>, DropReason>);

#[track_caller]
fn hold(cases: Vec<Case>) {
    for (name, bytes, expected) in cases {
        assert_eq!(parse(&Frame(bytes)), expected, "{name}");
    }
}

#[test]
fn link_layer() {
    let packet = ipv4(wire::TCP, &tcp(0x50, wire::tcp::SYN));
    let parsed = v4_tcp(wire::tcp::SYN);
    let vlan = [0x81, 0x00, 0x00, 0x64];
    let provider = [0x88, 0xa8, 0x20, 0x01];
    hold(vec![
        ("no tag", ethernet(0x0800, &packet), Ok(Some(parsed))),
        ("one tag", tags(&[vlan], 0x0800, &packet), Ok(Some(further(parsed, 4)))),
        ("two tags", tags(&[provider, vlan], 0x0800, &packet), Ok(Some(further(parsed, 8)))),
        ("the same tag twice", tags(&[vlan, vlan], 0x0800, &packet), Ok(Some(further(parsed, 8)))),
        ("three tags", tags(&[provider, vlan, vlan], 0x0800, &packet), Ok(None)),
        ("a tag that is cut", ethernet(0x8100, &[0, 0x64, 0x08]), Err(DropReason::InvalidPacket)),
        ("ARP", ethernet(0x0806, &[0; 28]), Ok(None)),
        ("ARP in a tag", tags(&[vlan], 0x0806, &[0; 28]), Ok(None)),
        ("a length of 802.3", ethernet(0x0026, &[0; 38]), Ok(None)),
        (
            "IPv6 by its number, IPv4 by its version",
            ethernet(0x86dd, &packet),
            Err(DropReason::InvalidPacket),
        ),
        (
            "IPv4 by its number, IPv6 by its version",
            ethernet(0x0800, &ipv6(wire::UDP, &udp())),
            Err(DropReason::InvalidPacket),
        ),
        ("nothing", vec![], Err(DropReason::InvalidPacket)),
    ]);
}

#[test]
fn cut_anywhere() {
    // Cut at every offset: an error until the whole packet is there, then the packet.
    let extended = build::chain(&[0, 43, 51, 60], wire::TCP, &tcp(0x50, wire::tcp::ACK));
    let frames = [
        ethernet(0x0800, &ipv4(wire::TCP, &tcp(0x50, wire::tcp::ACK))),
        ethernet(0x0800, &ipv4(wire::UDP, &udp())),
        tags(&[[0x81, 0, 0, 1]], 0x0800, &ipv4(wire::ICMP, &[8, 0, 0, 0, 0, 0, 0, 0])),
        ethernet(0x86dd, &ipv6(wire::TCP, &tcp(0x50, wire::tcp::ACK))),
        ethernet(0x86dd, &ipv6(wire::UDP, &udp())),
        ethernet(0x86dd, &extended),
    ];
    for bytes in frames {
        for end in 0..bytes.len() {
            let cut = parse(&Frame(bytes[..end].to_vec()));
            assert_eq!(cut, Err(DropReason::InvalidPacket), "cut at {end} of {bytes:02x?}");
        }
        assert!(parse(&Frame(bytes.clone())).is_ok_and(|parsed| parsed.is_some()), "{bytes:02x?}");
    }
}

#[test]
fn padding_behind_the_packet() {
    for (ethertype, packet) in
        [(0x0800, ipv4(wire::UDP, &udp())), (0x86dd, ipv6(wire::UDP, &udp()))]
    {
        let whole = parse(&Frame(ethernet(ethertype, &packet)));
        let padded = [packet.clone(), vec![0xff; 40]].concat();
        assert_eq!(parse(&Frame(ethernet(ethertype, &padded))), whole);
    }
    // A header that is in the padding is not there.
    let short = ipv4(wire::TCP, &tcp(0x50, wire::tcp::ACK)[..19]);
    let padded = [short, vec![0; 27]].concat();
    hold(vec![("TCP", ethernet(0x0800, &padded), Err(DropReason::InvalidTransportHeader))]);
    let short = ipv6(wire::UDP, &udp()[..7]);
    let padded = [short, vec![0; 27]].concat();
    hold(vec![("UDP", ethernet(0x86dd, &padded), Err(DropReason::InvalidTransportHeader))]);
}
