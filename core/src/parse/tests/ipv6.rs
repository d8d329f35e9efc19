use super::build::{behind, chain, changed, ethernet, ipv6, of, of_udp, part_of, tcp, udp, v6_tcp};
use super::*;
use crate::parse::{Quick, quick};
use crate::wire::tcp::{ACK, SYN};

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;
const MOBILITY: u8 = 135;

#[test]
fn header() {
    let packet = ipv6(wire::TCP, &tcp(0x50, ACK));
    let invalid = Err(DropReason::InvalidPacket);
    let cut = Err(DropReason::InvalidTransportHeader);
    let mapped = |at: usize| {
        let address = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 96, 0, 80];
        address.into_iter().enumerate().map(|(i, b)| (at + i, b)).collect::<Vec<_>>()
    };
    let fine = Ok(Some(v6_tcp(ACK)));
    let empty = Ok(Some(of(v6_tcp(0), 59, Transport::Other)));
    hold(vec![
        ("class and flow", changed(&packet, &[(0, 0x6f), (1, 0xff), (2, 0xff)]), fine),
        ("longer than the frame", changed(&packet, &[(5, 25)]), invalid),
        ("shorter than the frame", changed(&packet, &[(5, 20)]), fine),
        ("shorter than the TCP header", changed(&packet, &[(5, 19)]), cut),
        ("length 0", changed(&packet, &[(5, 0)]), cut),
        ("no hop left", changed(&packet, &[(7, 0)]), Ok(Some(Parsed { ttl: 0, ..v6_tcp(ACK) }))),
        ("from a mapped address", changed(&packet, &mapped(8)), invalid),
        ("to a mapped address", changed(&packet, &mapped(24)), invalid),
        ("nothing behind it", changed(&ipv6(59, &[]), &[]), empty),
    ]);
}

#[test]
fn length_0_of_a_super_packet() {
    // With the hop-by-hop header of a jumbogram (RFC 2675) and without.
    let jumbo = Ok(Some(behind(v6_tcp(ACK), 8)));
    for (headers, expected) in [(&[][..], Ok(Some(v6_tcp(ACK)))), (&[HOP_BY_HOP][..], jumbo)] {
        let mut packet = chain(headers, wire::TCP, &tcp(0x50, ACK));
        packet.resize(0x1_0100, 0);
        hold(vec![("whole", changed(&packet, &[(4, 0), (5, 0)]), expected)]);
    }
}

#[test]
fn extension_headers() {
    for kind in [HOP_BY_HOP, ROUTING, AUTHENTICATION, DESTINATION, MOBILITY, FRAGMENT] {
        let frame = ethernet(0x86dd, &chain(&[kind], wire::TCP, &tcp(0x50, SYN)));
        assert_eq!(parse(&Frame(frame)), Ok(Some(behind(v6_tcp(SYN), 8))), "{kind}");
        let frame = ethernet(0x86dd, &chain(&[DESTINATION, kind], wire::UDP, &udp()));
        assert_eq!(parse(&Frame(frame)), Ok(Some(behind(of_udp(v6_tcp(0)), 16))), "{kind}");
    }
}

#[test]
fn lengths_of_extension_headers() {
    // In words of 8 bytes beyond the first; those of authentication in words of 4, beyond the second.
    for (kind, length, bytes) in [
        (DESTINATION, 0, 8),
        (DESTINATION, 1, 16),
        (HOP_BY_HOP, 255, 2048),
        (ROUTING, 4, 40),
        (MOBILITY, 2, 24),
        (AUTHENTICATION, 0, 8),
        (AUTHENTICATION, 1, 12),
        (AUTHENTICATION, 4, 24),
        (AUTHENTICATION, 255, 1028),
        (FRAGMENT, 7, 8), // reserved there
    ] {
        let mut header = vec![0; bytes];
        (header[0], header[1]) = (wire::TCP, length);
        let packet = ipv6(kind, &[header, tcp(0x50, SYN)].concat());
        let expected = Ok(Some(behind(v6_tcp(SYN), bytes)));
        assert_eq!(parse(&Frame(changed(&packet, &[]))), expected, "{kind} of length {length}");
    }
}

#[test]
fn extension_headers_that_end_early() {
    let invalid = Err(DropReason::InvalidExtensionHeader);
    let cut = Err(DropReason::InvalidTransportHeader);
    let syn = tcp(0x50, SYN);
    let none = changed(&ipv6(DESTINATION, &[]), &[]);
    let beyond = changed(&chain(&[DESTINATION], wire::TCP, &syn), &[(41, 4)]);
    let jumbo = changed(&chain(&[HOP_BY_HOP], wire::TCP, &syn), &[(5, 0)]);
    hold(vec![
        ("nothing there", none.clone(), invalid),
        ("in the padding", [none, vec![0; 16]].concat(), invalid),
        ("cut", changed(&ipv6(DESTINATION, &[6, 0, 0, 0, 0, 0, 0]), &[]), invalid),
        ("it ends beyond the packet", beyond, invalid),
        ("a jumbogram that is none", jumbo, invalid),
        ("nothing behind it", changed(&chain(&[DESTINATION], wire::TCP, &[]), &[]), cut),
    ]);
}

#[test]
fn chains() {
    let frame = |headers: &[u8]| ethernet(0x86dd, &chain(headers, wire::TCP, &tcp(0x50, SYN)));
    let eight = Ok(Some(behind(v6_tcp(SYN), 64)));
    let too_many = Err(DropReason::InvalidExtensionHeader);
    hold(vec![
        ("eight", frame(&[DESTINATION; 8]), eight),
        ("eight, of all kinds", frame(&[0, 60, 43, 44, 51, 60, 135, 60]), eight),
        ("nine", frame(&[DESTINATION; 9]), too_many),
        ("twenty", frame(&[AUTHENTICATION; 20]), too_many),
    ]);
    // Two of the longest reach beyond what a program looks at.
    let mut long = vec![0; 2048];
    (long[0], long[1]) = (DESTINATION, 255);
    let mut last = long.clone();
    last[0] = wire::TCP;
    let packet = ipv6(DESTINATION, &[long, last, tcp(0x50, SYN)].concat());
    hold(vec![("too long", changed(&packet, &[]), Err(DropReason::InvalidExtensionHeader))]);
}

#[test]
fn fragments() {
    let packet =
        changed(&chain(&[FRAGMENT], wire::UDP, &udp()), &[(44, 9), (47, 7)])[14..].to_vec();
    let id = [9, 0, 0, 7];
    let atomic = Ok(Some(behind(of_udp(v6_tcp(0)), 8)));
    let first = Ok(Some(behind(part_of(of_udp(v6_tcp(0)), Part::First, id), 8)));
    let fragment = of(v6_tcp(0), wire::UDP, Transport::Fragment);
    let later = Ok(Some(behind(part_of(fragment, Part::Later, id), 8)));
    let options = chain(&[FRAGMENT, DESTINATION], wire::UDP, &udp());
    let tail = chain(&[FRAGMENT], DESTINATION, &[1]);
    let with_options = of(v6_tcp(0), DESTINATION, Transport::Other);
    let with_options = Ok(Some(behind(part_of(with_options, Part::First, [0; 4]), 8)));
    let of_options = of(v6_tcp(0), DESTINATION, Transport::Fragment);
    let of_options = Ok(Some(behind(part_of(of_options, Part::Later, [0; 4]), 8)));
    hold(vec![
        ("atomic (RFC 6946)", changed(&packet, &[]), atomic),
        ("atomic, reserved bits", changed(&packet, &[(43, 6)]), atomic),
        ("first", changed(&packet, &[(43, 1)]), first),
        ("middle", changed(&packet, &[(42, 5), (43, 0xa9)]), later),
        ("last", changed(&packet, &[(43, 8)]), later),
        ("first, options in it", changed(&options, &[(43, 1)]), with_options),
        ("later, no header in it", changed(&tail, &[(43, 8)]), of_options),
    ]);
}

#[test]
fn source_routes() {
    // C-12: while segments are left, the destination is not the one in the checksum.
    let packet = chain(&[ROUTING], wire::TCP, &tcp(0x50, SYN));
    let routed = Ok(Some(behind(of(v6_tcp(0), wire::TCP, Transport::Other), 8)));
    let fragment = chain(&[ROUTING, FRAGMENT], wire::TCP, &tcp(0x50, SYN));
    let routed_fragment = Ok(Some(behind(of(v6_tcp(0), FRAGMENT, Transport::Other), 8)));
    hold(vec![
        ("at its end", changed(&packet, &[]), Ok(Some(behind(v6_tcp(SYN), 8)))),
        ("one segment left", changed(&packet, &[(43, 1)]), routed),
        ("of another type", changed(&packet, &[(42, 4), (43, 2)]), routed),
        ("in fragments", changed(&fragment, &[(43, 1), (51, 1)]), routed_fragment),
    ]);
}

#[test]
fn protocols() {
    for protocol in [wire::ICMP, 50, 59] {
        let frame = ethernet(0x86dd, &ipv6(protocol, &[0; 8]));
        let expected = Ok(Some(of(v6_tcp(0), protocol, Transport::Other)));
        assert_eq!(parse(&Frame(frame)), expected, "{protocol}");
    }
}

#[test]
fn what_is_not_plain_is_left_to_the_parser_that_judges() {
    // Which refuses mapped addresses, and knows how long a packet is that has no length.
    let plain = ethernet(0x86dd, &ipv6(wire::TCP, &tcp(0x50, SYN)));
    assert!(matches!(quick(&Frame(plain.clone())), Quick::Plain(_)));
    let mapped = crate::address::Address::v4([10, 0, 0, 1]).octets();
    for place in [22..38, 38..54] {
        let mut frame = plain.clone();
        frame[place].copy_from_slice(&mapped);
        assert!(matches!(quick(&Frame(frame)), Quick::Other));
    }
    let mut long = plain;
    long[18..20].fill(0);
    long.resize(70_000, 0);
    assert!(matches!(quick(&Frame(long)), Quick::Other));
}
