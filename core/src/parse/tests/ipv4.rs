use super::build::{behind, changed, ethernet, ipv4, of, of_udp, part_of, tcp, udp, v4_tcp};
use super::*;
use crate::wire::tcp::{ACK, SYN};

#[test]
fn options() {
    // Every header length: 5 to 15 words are 0 to 10 words of options.
    for words in 0..=10_u8 {
        let mut packet = ipv4(wire::TCP, &tcp(0x50, SYN));
        packet.splice(20..20, vec![1; usize::from(words) * 4]);
        let length = packet.len() as u8;
        let frame = changed(&packet, &[(0, 0x45 + words), (3, length)]);
        let expected = behind(v4_tcp(SYN), usize::from(words) * 4);
        assert_eq!(parse(&Frame(frame)), Ok(Some(expected)), "{words} words of options");
    }
}

#[test]
fn header() {
    let packet = ipv4(wire::TCP, &tcp(0x50, ACK));
    let length = packet.len() as u8;
    let invalid = Err(DropReason::InvalidPacket);
    let cut = Err(DropReason::InvalidTransportHeader);
    let fine = Ok(Some(v4_tcp(ACK)));
    hold(vec![
        ("header of 4 words", changed(&packet, &[(0, 0x44)]), invalid),
        ("header of 0 words", changed(&packet, &[(0, 0x40)]), invalid),
        ("longer than the frame", changed(&packet, &[(3, length + 1)]), invalid),
        ("much longer than the frame", changed(&packet, &[(2, 0xff)]), invalid),
        ("shorter than the frame", changed(&packet, &[(3, length - 4)]), fine),
        ("shorter than the TCP header", changed(&packet, &[(3, 39)]), cut),
        ("shorter than the IP header", changed(&packet, &[(3, 19)]), invalid),
        ("shorter than its options", changed(&packet, &[(0, 0x46), (3, 23)]), invalid),
        ("length 0", changed(&packet, &[(3, 0)]), invalid),
        ("no hop left", changed(&packet, &[(8, 0)]), Ok(Some(Parsed { ttl: 0, ..v4_tcp(ACK) }))),
        ("type of service", changed(&packet, &[(1, 0xff)]), fine),
    ]);
}

#[test]
fn length_0_of_a_super_packet() {
    // Segmentation offload makes packets that are too long for their length field.
    let mut packet = ipv4(wire::TCP, &tcp(0x50, ACK));
    packet.resize(0x1_0000, 0);
    hold(vec![("whole", changed(&packet, &[(2, 0), (3, 0)]), Ok(Some(v4_tcp(ACK))))]);
}

#[test]
fn fragments() {
    let packet = ipv4(wire::UDP, &udp());
    let id = [0x12, 0x34, 0, 0];
    let first = Ok(Some(part_of(of_udp(v4_tcp(0)), Part::First, id)));
    let later = Ok(Some(part_of(of(v4_tcp(0), wire::UDP, Transport::Fragment), Part::Later, id)));
    let whole = Ok(Some(of_udp(v4_tcp(0))));
    let tiny = ipv4(wire::TCP, &tcp(0x50, SYN)[..8]);
    let cut = Err(DropReason::InvalidTransportHeader);
    hold(vec![
        ("not to be fragmented", changed(&packet, &[(6, 0x40)]), whole),
        ("no flag", changed(&packet, &[(6, 0)]), whole),
        ("the reserved flag", changed(&packet, &[(6, 0x80)]), whole),
        ("first", changed(&packet, &[(6, 0x20)]), first),
        ("first, of a longer datagram", changed(&packet, &[(6, 0x20), (24, 1)]), first),
        ("whole, and shorter than it says", changed(&packet, &[(24, 1)]), cut),
        ("middle", changed(&packet, &[(6, 0x20), (7, 185)]), later),
        ("last", changed(&packet, &[(6, 0), (7, 1)]), later),
        ("last, far away", changed(&packet, &[(6, 0x1f), (7, 0xff)]), later),
        ("C-11: first, cut in the TCP header", changed(&tiny, &[(6, 0x20)]), cut),
    ]);
}

#[test]
fn first_fragments_cut_in_the_options_of_tcp() {
    // Ports and flags are there; the rest is for the one who puts the datagram together.
    let packet = ipv4(wire::TCP, &tcp(0xf0, SYN));
    let first = part_of(v4_tcp(SYN), Part::First, [0x12, 0x34, 0, 0]);
    let cut = Err(DropReason::InvalidTransportHeader);
    hold(vec![
        ("first", changed(&packet, &[(6, 0x20)]), Ok(Some(first))),
        ("whole", changed(&packet, &[]), cut),
    ]);
}

#[test]
fn protocols() {
    let cases = [
        ("ICMPv6, which has no place here", wire::ICMPV6),
        ("GRE", 47),
        ("an IPv6 fragment header", 44),
        ("nothing known", 255),
    ];
    for (name, protocol) in cases {
        for payload in [vec![], vec![0; 8]] {
            let frame = ethernet(0x0800, &ipv4(protocol, &payload));
            hold(vec![(name, frame, Ok(Some(of(v4_tcp(0), protocol, Transport::Other))))]);
        }
    }
}
