use super::build::{ethernet, ipv4, ipv6, of, of_udp, tcp, udp, v4_tcp, v6_tcp};
use super::*;
use crate::bytes::Be16;
use crate::wire::tcp::ACK;

/// Both families of a packet and of what it is read as.
fn both(protocol: u8, payload: &[u8], flags: u8) -> [(Vec<u8>, Parsed); 2] {
    [
        (ethernet(0x0800, &ipv4(protocol, payload)), v4_tcp(flags)),
        (ethernet(0x86dd, &ipv6(protocol, payload)), v6_tcp(flags)),
    ]
}

const INVALID: Result<Option<Parsed>, DropReason> = Err(DropReason::InvalidTransportHeader);

#[test]
fn flags_of_tcp() {
    // All 64 combinations: of those without URG and PSH, which are free, six are sent by a TCP.
    let sent = ["S", "SA", "R", "RA", "A", "FA"];
    for flags in 0..64_u8 {
        let letters: String = [(0x01, 'F'), (0x02, 'S'), (0x04, 'R'), (0x10, 'A')]
            .into_iter()
            .filter_map(|(bit, letter)| (flags & bit != 0).then_some(letter))
            .collect();
        for (frame, parsed) in both(wire::TCP, &tcp(0x50, flags), flags) {
            let expected =
                if sent.contains(&letters.as_str()) { Ok(Some(parsed)) } else { INVALID };
            assert_eq!(parse(&Frame(frame)), expected, "{flags:06b}");
        }
    }
    for (frame, parsed) in both(wire::TCP, &tcp(0x5f, 0xc2), 0xc2) {
        // Explicit congestion notification in a SYN (RFC 3168), and bits that are reserved.
        assert_eq!(parse(&Frame(frame)), Ok(Some(parsed)));
    }
}

#[test]
fn data_offset_of_tcp() {
    // Four bytes follow the header: there is room for five words and for six.
    for words in 0..16_u8 {
        for (frame, parsed) in both(wire::TCP, &tcp(words << 4, ACK), ACK) {
            let expected = if matches!(words, 5 | 6) { Ok(Some(parsed)) } else { INVALID };
            assert_eq!(parse(&Frame(frame)), expected, "{words} words");
        }
    }
}

#[test]
fn length_of_udp() {
    // The IP payload has twelve bytes.
    for length in [0, 1, 7, 8, 9, 11, 12, 13, 20, 0xffff] {
        let mut payload = udp();
        payload[4..6].copy_from_slice(&u16::to_be_bytes(length));
        for (frame, parsed) in both(wire::UDP, &payload, 0) {
            let expected =
                if matches!(length, 8..=12) { Ok(Some(of_udp(parsed))) } else { INVALID };
            assert_eq!(parse(&Frame(frame)), expected, "length {length}");
        }
    }
}

#[test]
fn headers_that_are_cut() {
    for (protocol, header, whole) in
        [(wire::TCP, tcp(0x50, ACK), 20), (wire::UDP, udp(), 8), (wire::SCTP, vec![0; 12], 12)]
    {
        for length in 0..whole {
            for (frame, _) in both(protocol, &header[..length], 0) {
                // What lies behind the packet in the frame is none of it.
                let padded = [frame.as_slice(), &header[length..], &[0; 20]].concat();
                assert_eq!(parse(&Frame(frame)), INVALID, "{protocol} cut at {length}");
                let mut first = padded.clone();
                assert_eq!(parse(&Frame(padded)), INVALID, "{protocol} cut at {length}, padded");
                if first[12] == 0x08 {
                    first[20] = 0x20; // more fragments
                    assert_eq!(parse(&Frame(first)), INVALID, "{protocol} cut at {length}, first");
                }
            }
        }
    }
}

#[test]
fn a_length_of_zero_is_for_what_is_longer_than_its_field() {
    // The frame counts, Ethernet header and all: only segmentation offload makes such.
    for (length, is_valid) in [(0xffff, false), (0x1_0000, true)] {
        for (mut frame, parsed) in both(wire::TCP, &tcp(0x50, ACK), ACK) {
            let field = if frame[12] == 0x08 { 16..18 } else { 18..20 };
            frame[field].fill(0);
            frame.resize(length, 0);
            let read = parse(&Frame(frame));
            assert_eq!(read.is_ok(), is_valid, "{length} bytes");
            if is_valid {
                assert_eq!(read, Ok(Some(parsed)));
            }
        }
    }
}

#[test]
fn ports_of_sctp() {
    let header = [&[0x9c, 0x40, 0, 80][..], &[0; 8]].concat();
    for (frame, parsed) in both(wire::SCTP, &header, 0) {
        let mut expected = Parsed { transport: Transport::Sctp, ..parsed };
        expected.tuple.protocol = wire::SCTP;
        assert_eq!(parse(&Frame(frame)), Ok(Some(expected)));
    }
}

#[test]
fn messages_of_icmp() {
    // Types of both families; an identifier is where the asker's port would be.
    use Transport::{Echo, Icmp, IcmpError};
    let cases: [(u8, [Transport; 2], [u16; 2]); 9] = [
        (0, [Echo, Icmp], [0, 0x1234]),
        (8, [Echo, Icmp], [0x1234, 0]),
        (3, [IcmpError, IcmpError], [0, 0]),
        (11, [IcmpError, Icmp], [0, 0]),
        (12, [IcmpError, Icmp], [0, 0]),
        (128, [Icmp, Echo], [0x1234, 0]),
        (129, [Icmp, Echo], [0, 0x1234]),
        (135, [Icmp, Icmp], [0, 0]), // a neighbour is looked for
        (5, [Icmp, Icmp], [0, 0]),   // a redirect
    ];
    for (kind, transports, [source, destination]) in cases {
        let message = [kind, 0, 0, 0, 0x12, 0x34, 0, 1];
        let [v4, _] = both(wire::ICMP, &message, 0);
        let [_, v6] = both(wire::ICMPV6, &message, 0);
        for ((frame, parsed), (transport, protocol)) in
            [v4, v6].into_iter().zip(transports.into_iter().zip([wire::ICMP, wire::ICMPV6]))
        {
            let mut expected = of(parsed, protocol, transport);
            if matches!(transport, Echo) {
                expected.tuple.source_port = Be16::new(source);
                expected.tuple.destination_port = Be16::new(destination);
            }
            assert_eq!(parse(&Frame(frame.clone())), Ok(Some(expected)), "type {kind}");
            for length in 0..8 {
                let v4 = protocol == wire::ICMP;
                let cut = if v4 {
                    ipv4(protocol, &message[..length])
                } else {
                    ipv6(protocol, &message[..length])
                };
                let cut = ethernet(if v4 { 0x0800 } else { 0x86dd }, &cut);
                let padded = [&cut[..], &message[length..]].concat();
                assert_eq!(parse(&Frame(cut)), INVALID, "type {kind} cut at {length}");
                assert_eq!(parse(&Frame(padded)), INVALID, "type {kind} cut at {length}, padded");
            }
        }
    }
}
