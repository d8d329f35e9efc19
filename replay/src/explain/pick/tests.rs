//! What people write.

use super::*;
use crate::explain::packet::{Checksum, header_checksum, transport_checksum};

#[test]
fn flows_in_both_directions() {
    for (text, packet, inside) in [
        ("10.0.0.1:40000-10.96.0.10:80/tcp", "tcp 10.0.0.1:40000 > 10.96.0.10:80", true),
        ("10.0.0.1:40000-10.96.0.10:80/tcp", "tcp 10.96.0.10:80 > 10.0.0.1:40000 SA", true),
        ("10.0.0.1:40000-10.96.0.10:80/tcp", "tcp 10.0.0.1:40001 > 10.96.0.10:80", false),
        ("10.0.0.1:40000-10.96.0.10:80/tcp", "udp 10.0.0.1:40000 > 10.96.0.10:80", false),
        ("[fd00::1]:1-[fd00::2]:53/udp", "udp [fd00::1]:1 > [fd00::2]:53", true),
        ("10.0.0.1-10.0.0.2/icmp", "icmp 10.0.0.1 > 10.0.0.2", true),
        ("fd00::1-[fd00::2]/icmp", "icmp [fd00::2] > fd00::1", true),
    ] {
        let parsed = parse(&typed(packet).unwrap()).unwrap().unwrap();
        assert_eq!(Ends::parse(text).unwrap().has(&parsed.tuple), inside, "{text}, {packet}");
    }
}

#[test]
fn flows_that_are_none_say_where() {
    for (text, what) in [
        ("10.0.0.1:40000-10.96.0.10:80", "protocol is missing"),
        ("10.0.0.1:40000 10.96.0.10:80/tcp", "no `-`"),
        ("10.0.0.1:40000-10.96.0.10:80/gre", "\"gre\" is no protocol"),
        ("10.0.0.1-10.96.0.10:80/tcp", "\"10.0.0.1\" is no address and port"),
        ("10.0.0.1:1-10.96.0.10:80/icmp", "\"10.0.0.1:1\" is no address;"),
        ("10.0.0.1:1-[fd00::1]:80/tcp", "two families"),
    ] {
        let error = Ends::parse(text).unwrap_err();
        assert!(error.contains(what), "{text}: {error}");
    }
}

#[test]
fn a_typed_packet_is_whole() {
    for (text, again) in [
        ("tcp 10.0.0.1:1 > 10.0.0.2:80", "tcp 10.0.0.1:1 > 10.0.0.2:80 S ttl 64"),
        (
            "tcp 10.0.0.1:1 > 10.0.0.2:80 ttl 3 SA len 9",
            "tcp 10.0.0.1:1 > 10.0.0.2:80 SA ttl 3 len 9",
        ),
        ("udp [fd00::1]:1 > [fd00::2]:80 df", "udp [fd00::1]:1 > [fd00::2]:80 ttl 64"),
        (
            "icmp 10.0.0.1 > 10.0.0.2 echo request ttl 9",
            "icmp 10.0.0.1 > 10.0.0.2 echo request ttl 9",
        ),
    ] {
        for text in [text.to_owned(), format!("{text} df")] {
            let frame = typed(&text).unwrap();
            assert_eq!(crate::scenario::packet_text(&frame.bytes), again);
            let parsed = parse(&frame).unwrap().unwrap();
            assert_ne!(header_checksum(&frame, &parsed), Checksum::Wrong, "{text}");
            assert_eq!(transport_checksum(&frame, &parsed, true), Checksum::Right, "{text}");
            if parsed.tuple.is_v4() {
                let forbidden = frame.bytes.get(20).unwrap() & 0x40 != 0;
                assert_eq!(forbidden, text.contains("df"), "{text}");
            }
        }
    }
}

#[test]
fn what_is_a_packet_and_what_a_file() {
    for (text, packet) in [
        ("tcp 10.0.0.1:1 > 10.0.0.2:80 S", true),
        ("gre 10.0.0.1 > 10.0.0.2", true),
        ("incident.pcap", false),
        ("my captures/tcp.pcap", false),
        ("-", false),
    ] {
        assert_eq!(is_packet(text), packet, "{text}");
    }
}
