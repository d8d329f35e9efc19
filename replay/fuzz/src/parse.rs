//! Parsers on arbitrary frames.

use std::net::IpAddr;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use twinpath::capture::{Capture, to_ethernet};
use twinpath_core::parse::{Parsed, Quick, Transport, parse, quick, quick_apart};
use twinpath_core::quote;
use twinpath_core::tuple::Tuple;
use twinpath_sim::frame::Frame;

/// A frame. No panic; the quick parsers agree with the full one where they answer, and another's parser
/// does where both find a header; and what is found lies within the frame.
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

/// The packets of the captures, and some that the random scripts are made of.
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
    seeds
}
