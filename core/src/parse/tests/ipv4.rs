use super::build::{behind, changed, ethernet, ipv4, of, of_udp, tcp, udp, v4_tcp};
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
    let fragment = Ok(Some(of(v4_tcp(0), wire::UDP, Transport::Fragment)));
    let whole = Ok(Some(of_udp(v4_tcp(0))));
    let tiny = ipv4(wire::TCP, &tcp(0x50, SYN)[..8]);
    let tiny_fragment = Ok(Some(of(v4_tcp(0), wire::TCP, Transport::Fragment)));
    hold(vec![
        ("not to be fragmented", changed(&packet, &[(6, 0x40)]), whole),
        ("no flag", changed(&packet, &[(6, 0)]), whole),
        ("the reserved flag", changed(&packet, &[(6, 0x80)]), whole),
        ("first", changed(&packet, &[(6, 0x20)]), fragment),
        ("middle", changed(&packet, &[(6, 0x20), (7, 185)]), fragment),
        ("last", changed(&packet, &[(6, 0), (7, 1)]), fragment),
        ("last, far away", changed(&packet, &[(6, 0x1f), (7, 0xff)]), fragment),
        ("C-11: first, cut in the TCP header", changed(&tiny, &[(6, 0x20)]), tiny_fragment),
    ]);
}

#[test]
fn protocols() {
    let cases = [
        ("ICMP", wire::ICMP, Transport::Icmp),
        ("ICMPv6, which has no place here", wire::ICMPV6, Transport::Icmp),
        ("SCTP", 132, Transport::Other),
        ("GRE", 47, Transport::Other),
        ("an IPv6 fragment header", 44, Transport::Other),
        ("nothing known", 255, Transport::Other),
    ];
    for (name, protocol, transport) in cases {
        for payload in [vec![], vec![0; 8]] {
            let frame = ethernet(0x0800, &ipv4(protocol, &payload));
            hold(vec![(name, frame, Ok(Some(of(v4_tcp(0), protocol, transport))))]);
        }
    }
}
