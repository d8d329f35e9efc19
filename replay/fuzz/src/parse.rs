//! Parsers on arbitrary frames.

use std::net::IpAddr;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use twinpath::capture::{Capture, to_ethernet};
use twinpath_core::parse::{Parsed, Part, Quick, Transport, parse, quick, quick_apart};
use twinpath_core::quote;
use twinpath_core::tuple::Tuple;
use twinpath_sim::frame::Frame;

/// The length of an Ethernet header.
const LINK: usize = 14;

/// A frame. No panic; the quick parsers take exactly the frames of the plainest form, and agree with the
/// full one; another's parser does where both find a header; and what is found lies within the frame.
pub fn run(data: &[u8]) {
    let mut frame = Frame::new(data.to_vec());
    let full = parse(&frame);
    let plain = match quick(&frame) {
        Quick::Plain(parsed) => {
            assert_eq!(full, Ok(Some(parsed)), "quick and full");
            Some(parsed)
        }
        Quick::Foreign => {
            assert_eq!(full, Ok(None), "quick and full");
            None
        }
        Quick::Other => None,
    };
    let expected = full.ok().flatten().filter(|parsed| is_plain(data, parsed));
    assert_eq!(plain, expected, "plain: {full:?}");
    assert_eq!(quick_apart(&mut frame, |_, parsed| parsed), plain, "quick and apart");
    assert_eq!(frame.bytes, data, "parsing writes");
    if let Ok(Some(parsed)) = full {
        within(&frame, &parsed);
        as_another_reads_it(data, &parsed);
        if parsed.transport == Transport::IcmpError {
            quoted(&frame, &parsed);
        }
    }
}

/// Whether these headers have their plainest form: no tags, no options or extensions, no fragment, and a
/// length that is there.
fn is_plain(data: &[u8], parsed: &Parsed) -> bool {
    let has_plain_header = match data.get(LINK) {
        Some(0x45) => parsed.l4.0 == LINK + 20,
        Some(0x60..=0x6f) => parsed.l4.0 == LINK + 40 && data.get(18..20) != Some(&[0, 0]),
        _ => false,
    };
    let is_of_a_flow = matches!(parsed.transport, Transport::Tcp | Transport::Udp);
    has_plain_header && is_of_a_flow && parsed.l3.0 == LINK && parsed.part == Part::Whole
}

fn within(frame: &Frame, parsed: &Parsed) {
    let header = match parsed.transport {
        Transport::Tcp => 20,
        Transport::Udp | Transport::Echo | Transport::IcmpError | Transport::Icmp => 8,
        Transport::Sctp => 12,
        Transport::Fragment | Transport::Other => 0,
    };
    assert!(parsed.l3.0 >= 14 && parsed.l3.0 + 20 <= parsed.l4.0, "{parsed:?}");
    assert!(parsed.l4.0 + header <= frame.bytes.len(), "{parsed:?}");
    assert_eq!(parsed.tuple.source.is_v4(), parsed.tuple.destination.is_v4());
}

fn quoted(frame: &Frame, parsed: &Parsed) {
    let mut tuple = parsed.tuple;
    let Ok(Some(quote)) = quote::parse(frame, parsed, &mut tuple) else { return };
    assert!(parsed.l4.0 + 8 == quote.l3.0 && quote.l3.0 + 20 <= quote.l4.0, "{quote:?}");
    assert!(quote.l4.0 + 4 <= quote.end.0 && quote.end.0 <= frame.bytes.len(), "{quote:?}");
    assert!(quote.checksum_at().is_none_or(|at| at.0 + 2 <= quote.end.0), "{quote:?}");
    assert_eq!(tuple.is_v4(), parsed.tuple.is_v4());
}

fn as_another_reads_it(data: &[u8], parsed: &Parsed) {
    let Ok(read) = SlicedPacket::from_ethernet(data) else { return };
    let ends: (IpAddr, IpAddr) = match read.net {
        Some(NetSlice::Ipv4(ip)) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        Some(NetSlice::Ipv6(ip)) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        _ => return,
    };
    let (transport, source, destination) = match read.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            (Transport::Tcp, tcp.source_port(), tcp.destination_port())
        }
        Some(TransportSlice::Udp(udp)) => {
            (Transport::Udp, udp.source_port(), udp.destination_port())
        }
        _ => return,
    };
    let Tuple { source: from, destination: to, source_port, destination_port, .. } = parsed.tuple;
    assert_eq!((IpAddr::from(from), IpAddr::from(to)), ends);
    if parsed.transport == transport {
        assert_eq!((source_port.get(), destination_port.get()), (source, destination));
    }
}

const UDP: [u8; 8] = [0x80, 1, 0, 53, 0, 8, 0, 0];
const TCP: [u8; 20] = [0x80, 1, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0];

/// An IPv4 frame with these options.
fn v4(protocol: u8, options: &[u8], transport: &[u8]) -> Vec<u8> {
    let mut frame = vec![2; 12];
    let length = 20 + options.len();
    frame.extend([8, 0, 0x40 | (length / 4) as u8, 0, 0, (length + transport.len()) as u8]);
    frame.extend([0, 9, 0x40, 0, 64, protocol, 0, 0, 10, 244, 1, 2, 10, 96, 0, 10]);
    [&frame, options, transport].concat()
}

/// An IPv6 frame between these addresses.
fn v6(next: u8, source: [u8; 16], destination: [u8; 16], behind: &[u8]) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, behind.len() as u8, next, 64]);
    [&frame, &source[..], &destination, behind].concat()
}

/// Plain frames, those that differ by one bit of a header, and those that are plain but for one thing. A
/// quick parser that overlooks it finds another transport header than the full one, or one too many.
fn nearly_plain() -> Vec<Vec<u8>> {
    let (from, to) = ([0xfd; 16], [0xfe; 16]);
    let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 244, 1, 2];
    let mut frames = Vec::new();
    for (protocol, transport) in [(6, &TCP[..]), (17, &UDP[..])] {
        for plain in [v4(protocol, &[], transport), v6(protocol, from, to, transport)] {
            for bit in 12 * 8..plain.len() * 8 {
                let mut frame = plain.clone();
                frame[bit / 8] ^= 1 << (bit % 8);
                frames.push(frame);
            }
            frames.push([&plain[..12], &[0x81, 0, 0, 7], &plain[12..]].concat());
            frames.push(plain);
        }
        // Options and extensions that would do as a transport header as well.
        frames.push(v4(protocol, transport, transport));
        for next in [0, 43, 44, 51, 60] {
            let word = [protocol, 0, 0, 0, 0, 8, 0, 0];
            frames.push(v6(next, from, to, &[&word, transport].concat()));
        }
        frames.push(v6(protocol, mapped, to, transport));
        frames.push(v6(protocol, from, mapped, transport));
    }
    frames
}

/// The packets of the captures, some that the random scripts are made of, and nearly plain ones.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for file in super::files("captures", &["dns.pcap", "offload.pcap", "small.pcapng"]) {
        let source = Box::new(std::io::Cursor::new(file));
        let mut capture = Capture::new("fixture", source).expect("a capture");
        let mut buffer = Vec::new();
        while let Ok(Some(record)) = capture.next()
            && record.number <= 40
        {
            let frame = to_ethernet(&record, &mut buffer).expect("an Ethernet frame");
            seeds.push(frame.data.iter().copied().take(256).collect());
        }
    }
    seeds.extend(super::pipeline::packets());
    seeds.extend(nearly_plain());
    seeds
}
