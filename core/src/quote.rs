//! The packet that an ICMP error quotes: what of it is there, and what it says.
//!
//! A quote may end anywhere (RFC 792 asks for eight bytes behind the IP header), so each field is looked
//! at only where all of it lies within. Behind it there may be extensions (RFC 4884), which are none of it.

use crate::address::Address;
use crate::bytes::Be16;
use crate::checksum;
use crate::drop_reason::DropReason;
use crate::parse::{MAX_EXTENSIONS, MAX_HEADER, Parsed, Transport, extension_length, is_extension};
use crate::seam::{At, Packet};
use crate::tuple::Tuple;
use crate::wire::{self, icmp, ipv4, ipv6, sctp, tcp, udp};

/// A quoted packet with ports, or with the identifier of an echo.
#[derive(Clone, Copy, Debug)]
pub struct Quote {
    /// Offset of its IP header.
    pub l3: At,
    /// Offset of its transport header.
    pub l4: At,
    /// Where it ends.
    pub end: At,
    /// What stands at `l4`: TCP, UDP, SCTP or an echo.
    pub transport: Transport,
    /// Of an echo: whether it is the request.
    pub asks: bool,
    /// Time to live; zero in IPv6.
    pub ttl: u8,
    /// The IPv4 header checksum, which is right; zero in IPv6.
    pub checksum: Be16,
}

impl Quote {
    /// Offset of the transport checksum, where there is one that follows a translation.
    #[inline(always)]
    pub fn checksum_at(&self) -> Option<At> {
        let at = self.l4.plus(match self.transport {
            Transport::Tcp => tcp::CHECKSUM,
            Transport::Udp => udp::CHECKSUM,
            Transport::Echo => icmp::CHECKSUM,
            _ => return None, // SCTP's covers neither addresses nor, as long as they stay, ports
        });
        (at.plus(2) <= self.end).then_some(at)
    }
}

/// Where the quote stops to be one packet's beginning.
struct Found {
    l3: At,
    l4: At,
    end: At,
    protocol: u8,
    ttl: u8,
    checksum: Be16,
}

/// Finds out what an ICMP error quotes, and leaves its tuple in `tuple`. `None` where it has no ports: it
/// is of another protocol, or too short.
///
/// What no host sends is an error: a quote without an IP header of the same family, one whose IPv4 header
/// is damaged (RFC 5508, REQ-3 a), and one of a later fragment, about which there are no errors (RFC 1122,
/// 3.2.2) and which nobody could assign to a connection.
#[inline(always)]
pub fn parse<P: Packet>(
    packet: &P,
    parsed: &Parsed,
    tuple: &mut Tuple,
) -> Result<Option<Quote>, DropReason> {
    let l3 = parsed.l4.plus(icmp::LENGTH);
    if l3.0 >= At::LIMIT - MAX_HEADER {
        return Err(DropReason::InvalidPacket);
    }
    let end = end_of_quote(packet, parsed, l3)?;
    if parsed.tuple.is_v4() {
        parse_ipv4(packet, l3, end, tuple)
    } else {
        parse_ipv6(packet, l3, end, tuple)
    }
}

/// Where the quote ends: with the packet, or where extensions begin.
#[inline(always)]
fn end_of_quote<P: Packet>(packet: &P, parsed: &Parsed, l3: At) -> Result<At, DropReason> {
    let message: icmp::Header = packet.load(parsed.l4)?;
    let [first, second, ..] = message.rest;
    let (end, words) = if parsed.tuple.is_v4() {
        let outer: ipv4::Header = packet.load(parsed.l3)?;
        let end = parsed.l3.plus(usize::from(outer.total_length.get()));
        (end, usize::from(second) << 2)
    } else {
        let outer: ipv6::Header = packet.load(parsed.l3)?;
        let end = parsed.l3.plus(ipv6::LENGTH).plus(usize::from(outer.payload_length.get()));
        let counts = matches!(message.kind, icmp::v6::UNREACHABLE | icmp::v6::TIME_EXCEEDED);
        (end, if counts { usize::from(first) << 3 } else { 0 })
    };
    // RFC 4884, 5: a length stands there only where at least 128 bytes are quoted.
    let said = l3.plus(words);
    Ok(if words >= 128 && said < end { said } else { end })
}

#[inline(always)]
fn parse_ipv4<P: Packet>(
    packet: &P,
    l3: At,
    end: At,
    tuple: &mut Tuple,
) -> Result<Option<Quote>, DropReason> {
    let invalid = DropReason::InvalidPacket;
    if l3.plus(ipv4::MIN_LENGTH) > end {
        return Err(invalid);
    }
    let header: ipv4::Header = packet.load(l3)?;
    let header_length = usize::from(header.version_and_length & 0x0f) << 2;
    let l4 = l3.plus(header_length);
    if header.version_and_length >> 4 != 4
        || header_length < ipv4::MIN_LENGTH
        || l4 > end
        || header.fragment.get() & ipv4::OFFSET_BITS != 0
        || checksum::of_packet(packet, l3, l4)? != 0xffff
    {
        return Err(invalid);
    }
    let (source, destination) = (Address::v4(header.source), Address::v4(header.destination));
    *tuple = Tuple::new(header.protocol, source, Be16::new(0), destination, Be16::new(0));
    let said = l3.plus(usize::from(header.total_length.get()));
    let found = Found {
        l3,
        l4,
        end: if said < end { said } else { end },
        protocol: header.protocol,
        ttl: header.ttl,
        checksum: header.checksum,
    };
    parse_ports(packet, &found, tuple)
}

#[inline(always)]
fn parse_ipv6<P: Packet>(
    packet: &P,
    l3: At,
    end: At,
    tuple: &mut Tuple,
) -> Result<Option<Quote>, DropReason> {
    let invalid = DropReason::InvalidPacket;
    if l3.plus(ipv6::LENGTH) > end {
        return Err(invalid);
    }
    let header: ipv6::Header = packet.load(l3)?;
    let [first, ..] = header.version_and_flow;
    if first >> 4 != 6 || header.source.is_v4() || header.destination.is_v4() {
        return Err(invalid);
    }
    let (source, destination) = (header.source, header.destination);
    *tuple = Tuple::new(header.next, source, Be16::new(0), destination, Be16::new(0));
    let said = l3.plus(ipv6::LENGTH).plus(usize::from(header.payload_length.get()));
    let mut found = Found {
        l3,
        l4: l3.plus(ipv6::LENGTH),
        end: if header.payload_length.raw() != 0 && said < end { said } else { end },
        protocol: header.next,
        ttl: 0,
        checksum: Be16::new(0),
    };
    for _ in 0..MAX_EXTENSIONS {
        if !is_extension(found.protocol) {
            tuple.protocol = found.protocol;
            return parse_ports(packet, &found, tuple);
        }
        if found.l4.plus(size_of::<ipv6::Extension>()) > found.end {
            return Ok(None);
        }
        let extension: ipv6::Extension = packet.load(found.l4)?;
        let [a, b] = extension.word;
        match found.protocol {
            ipv6::FRAGMENT if u16::from_be_bytes([a, b]) & ipv6::OFFSET_BITS != 0 => {
                return Err(invalid);
            }
            // Not at its destination yet: no connection of this node has such packets.
            ipv6::ROUTING if b != 0 => return Ok(None),
            _ => {}
        }
        let next = found.l4.plus(extension_length(found.protocol, extension.length));
        if next > found.end || next.0 >= At::LIMIT - MAX_HEADER {
            return Ok(None);
        }
        found.protocol = extension.next;
        found.l4 = next;
    }
    Ok(None)
}

#[inline(always)]
fn parse_ports<P: Packet>(
    packet: &P,
    found: &Found,
    tuple: &mut Tuple,
) -> Result<Option<Quote>, DropReason> {
    let Found { l3, l4, end, protocol, ttl, checksum } = *found;
    if l4.0 >= At::LIMIT - MAX_HEADER {
        return Ok(None);
    }
    let transport = match protocol {
        wire::TCP => Transport::Tcp,
        wire::UDP => Transport::Udp,
        wire::SCTP => Transport::Sctp,
        wire::ICMP if tuple.is_v4() => Transport::Echo,
        wire::ICMPV6 if !tuple.is_v4() => Transport::Echo,
        _ => return Ok(None),
    };
    let mut quote = Quote { l3, l4, end, transport, asks: false, ttl, checksum };
    if !matches!(transport, Transport::Echo) {
        if l4.plus(sctp::PORTS) > end {
            return Ok(None);
        }
        let ports: udp::Ports = packet.load(l4)?;
        (tuple.source_port, tuple.destination_port) = (ports.source, ports.destination);
        return Ok(Some(quote));
    }
    if l4.plus(icmp::LENGTH) > end {
        return Ok(None);
    }
    let header: icmp::Header = packet.load(l4)?;
    let [first, second, ..] = header.rest;
    let id = Be16::from_raw(u16::from_ne_bytes([first, second]));
    match icmp::Class::of(header.kind, tuple.is_v4()) {
        icmp::Class::Request => {
            tuple.source_port = id;
            quote.asks = true;
        }
        icmp::Class::Reply => tuple.destination_port = id,
        _ => return Ok(None),
    }
    Ok(Some(quote))
}
