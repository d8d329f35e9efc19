//! Packets to inject.

use std::net::IpAddr;

use etherparse::{IpHeaders, IpNumber, PacketBuilder, TcpHeader};
use twinpath_core::checksum::{fold, sum};
use twinpath_core::parse::{Parsed, Transport, parse};
use twinpath_core::wire::{tcp, udp};
use twinpath_sim::frame::Frame;

/// Two ends, as the sender of a packet sees them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) from: (IpAddr, u16),
    pub(crate) to: (IpAddr, u16),
    pub(crate) ttl: u8,
    pub(crate) partial: bool,
}

impl Ends {
    /// The other way.
    pub(crate) fn turned(self) -> Self {
        Self { from: self.to, to: self.from, ..self }
    }

    fn ip(self) -> etherparse::PacketBuilderStep<IpHeaders> {
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6]);
        let headers = match (self.from.0, self.to.0) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let mut header = etherparse::Ipv4Header::new(
                    0,
                    self.ttl,
                    IpNumber::UDP,
                    from.octets(),
                    to.octets(),
                )
                .unwrap();
                header.identification = 0x1234;
                header.dont_fragment = false;
                IpHeaders::Ipv4(header, etherparse::Ipv4Extensions::default())
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let header = etherparse::Ipv6Header {
                    hop_limit: self.ttl,
                    source: from.octets(),
                    destination: to.octets(),
                    ..etherparse::Ipv6Header::default()
                };
                IpHeaders::Ipv6(header, etherparse::Ipv6Extensions::default())
            }
            other => panic!("{other:?}"),
        };
        builder.ip(headers)
    }

    /// A UDP datagram.
    pub(crate) fn udp(self, payload: &[u8]) -> Frame {
        let mut bytes = Vec::new();
        self.ip().udp(self.from.1, self.to.1).write(&mut bytes, payload).unwrap();
        finish(bytes, self.partial)
    }

    /// A TCP segment with flags as in [`tcp`].
    pub(crate) fn tcp(self, flags: u8, payload: &[u8]) -> Frame {
        let mut header = TcpHeader::new(self.from.1, self.to.1, 1000, 65_000);
        header.syn = flags & tcp::SYN != 0;
        header.ack = flags & tcp::ACK != 0;
        header.fin = flags & tcp::FIN != 0;
        header.rst = flags & tcp::RST != 0;
        header.psh = !payload.is_empty();
        header.acknowledgment_number = if header.ack { 2000 } else { 0 };
        let mut bytes = Vec::new();
        self.ip().tcp_header(header).write(&mut bytes, payload).unwrap();
        finish(bytes, self.partial)
    }

    /// An ICMP or ICMPv6 echo request.
    pub(crate) fn echo(self) -> Frame {
        let mut bytes = Vec::new();
        match self.to.0 {
            IpAddr::V4(_) => {
                self.ip().icmpv4_echo_request(7, 1).write(&mut bytes, b"echo").unwrap();
            }
            IpAddr::V6(_) => {
                self.ip().icmpv6_echo_request(7, 1).write(&mut bytes, b"echo").unwrap();
            }
        }
        Frame::new(bytes)
    }

    /// A packet of another protocol.
    pub(crate) fn other(self, protocol: u8) -> Frame {
        let mut bytes = Vec::new();
        self.ip().write(&mut bytes, IpNumber(protocol), b"some bytes of it").unwrap();
        Frame::new(bytes)
    }

    /// An ICMP error, port unreachable, about a packet.
    pub(crate) fn unreachable(self, about: &Frame) -> Frame {
        let mut bytes = Vec::new();
        let quoted = &about.bytes[14..about.bytes.len().min(14 + 128)];
        match self.to.0 {
            IpAddr::V4(_) => self.ip().icmpv4_raw(3, 3, [0; 4]).write(&mut bytes, quoted).unwrap(),
            IpAddr::V6(_) => self.ip().icmpv6_raw(1, 4, [0; 4]).write(&mut bytes, quoted).unwrap(),
        }
        Frame::new(bytes)
    }
}

/// The ends of a packet that goes the other way, as its receiver answers it.
pub(crate) fn answer(received: &Frame) -> Ends {
    let parsed = parse(received).unwrap().unwrap();
    let tuple = parsed.tuple;
    Ends {
        from: (tuple.destination.into(), tuple.destination_port.get()),
        to: (tuple.source.into(), tuple.source_port.get()),
        ttl: 64,
        partial: received.partial,
    }
}

/// Where the transport checksum is, and whether zero stands for none there.
fn checksum_at(parsed: &Parsed) -> Option<usize> {
    match parsed.transport {
        Transport::Tcp => Some(parsed.l4.0 + tcp::CHECKSUM),
        Transport::Udp => Some(parsed.l4.0 + udp::CHECKSUM),
        _ => None,
    }
}

/// Makes the checksum partial if so wanted: the sum of the pseudo-header, not complemented.
pub(crate) fn finish(bytes: Vec<u8>, partial: bool) -> Frame {
    let mut frame = Frame { bytes, partial };
    if partial
        && let Ok(Some(parsed)) = parse(&frame)
        && let Some(at) = checksum_at(&parsed)
    {
        let length = (frame.bytes.len() - parsed.l4.0) as u32;
        let addresses = if parsed.tuple.is_v4() {
            &frame.bytes[parsed.l3.0 + 12..parsed.l3.0 + 20]
        } else {
            &frame.bytes[parsed.l3.0 + 8..parsed.l3.0 + 40]
        };
        let mut pseudo = addresses.to_vec();
        pseudo.extend(length.to_be_bytes());
        pseudo.extend([0, 0, 0, parsed.tuple.protocol]);
        let field = fold(u32::from(sum(&pseudo)));
        frame.bytes[at..at + 2].copy_from_slice(&field.to_ne_bytes());
    }
    frame
}

/// The frame with the IPv4 header checksum right again.
pub(crate) fn with_header_checksum(mut frame: Frame) -> Frame {
    let length = usize::from(frame.bytes[14] & 0x0f) * 4;
    frame.bytes[24..26].fill(0);
    let field = !sum(&frame.bytes[14..14 + length]);
    frame.bytes[24..26].copy_from_slice(&field.to_ne_bytes());
    frame
}

/// The frame with IPv4 options.
pub(crate) fn with_options(frame: &Frame, options: &[u8]) -> Frame {
    assert!(options.len().is_multiple_of(4));
    let mut frame = frame.clone();
    frame.bytes.splice(34..34, options.iter().copied());
    frame.bytes[14] += (options.len() / 4) as u8;
    let total = (frame.bytes.len() - 14) as u16;
    frame.bytes[16..18].copy_from_slice(&total.to_be_bytes());
    with_header_checksum(frame)
}

/// The frame with an IPv6 extension header in front of what follows the IPv6 header. Its first byte,
/// the next header, is filled in.
pub(crate) fn with_extension(frame: &Frame, kind: u8, extension: &[u8]) -> Frame {
    let mut frame = frame.clone();
    let mut extension = extension.to_vec();
    extension[0] = frame.bytes[20];
    frame.bytes[20] = kind;
    frame.bytes.splice(54..54, extension);
    let length = (frame.bytes.len() - 54) as u16;
    frame.bytes[18..20].copy_from_slice(&length.to_be_bytes());
    frame
}

/// The frame as an IPv4 fragment: offset in units of 8 bytes, and whether more follow.
pub(crate) fn as_fragment(frame: &Frame, offset: u16, more: bool) -> Frame {
    let mut frame = frame.clone();
    let field = offset | if more { 0x2000 } else { 0 };
    frame.bytes[20..22].copy_from_slice(&field.to_be_bytes());
    with_header_checksum(frame)
}

/// The frame with a tag of 802.1Q, or of 802.1ad in front of those that it has.
pub(crate) fn with_tag(frame: &Frame, kind: u16, vlan: u16) -> Frame {
    let mut frame = frame.clone();
    let tag = [kind.to_be_bytes(), vlan.to_be_bytes()].concat();
    frame.bytes.splice(12..12, tag);
    frame
}
