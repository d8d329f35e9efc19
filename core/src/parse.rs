//! From bytes to a tuple, judging every header on the way.
//!
//! `Ok(None)` is "not ours" (no IP), an error is a packet that must not travel on. Lengths are checked
//! against what the headers say, not only against the end of the buffer, since a frame may carry
//! padding behind the packet.

use crate::address::Address;
use crate::bytes::{Be16, Pod};
use crate::drop_reason::DropReason;
use crate::seam::{At, Packet};
use crate::tuple::Tuple;
use crate::wire::icmp::Class;
use crate::wire::{self, ethernet, icmp, ipv4, ipv6, sctp, tcp, udp};

mod quick;

pub use quick::{Quick, quick, quick_apart};

/// Where the headers are and what they say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parsed {
    /// Addresses, ports and protocol. The ports are zero unless `transport` is TCP, UDP or SCTP; an echo
    /// message has its identifier on the side of the one who asked, as a port.
    pub tuple: Tuple,
    /// Offset of the IP header.
    pub l3: At,
    /// Offset of the transport header.
    pub l4: At,
    /// What stands at `l4`.
    pub transport: Transport,
    /// Which part of a datagram this is.
    pub part: Part,
    /// Identification of the datagram of a fragment, as it lies in memory; else zero.
    pub id: u32,
    /// The TCP flags; zero for all else.
    pub flags: u8,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// The IPv4 header checksum; zero in IPv6.
    pub checksum: Be16,
}

impl Default for Parsed {
    fn default() -> Self {
        Self {
            tuple: Tuple::zeroed(),
            l3: At(0),
            l4: At(0),
            transport: Transport::Other,
            part: Part::Whole,
            id: 0,
            flags: 0,
            ttl: 0,
            checksum: Be16::new(0),
        }
    }
}

/// What the IP packet carries, as far as translation cares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// A TCP header, whole and with flags that make sense.
    Tcp,
    /// A UDP header.
    Udp,
    /// An SCTP header.
    Sctp,
    /// An echo request or reply of ICMP or ICMPv6.
    Echo,
    /// An error of ICMP or ICMPv6, its header whole.
    IcmpError,
    /// Another message of ICMP or ICMPv6.
    Icmp,
    /// No header, but the rest of a fragmented datagram, of whatever protocol.
    Fragment,
    /// Another protocol, or a source-routed packet that is not at its destination yet.
    Other,
}

/// Which part of a datagram a packet is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// All of it.
    Whole,
    /// Its beginning.
    First,
    /// A part behind the first.
    Later,
}

/// Most 802.1Q tags in front of an IP header.
const MAX_TAGS: usize = 2;
/// Most IPv6 extension headers in front of a transport header.
pub(crate) const MAX_EXTENSIONS: usize = 8;
/// The longest fixed header that is loaded at `l4`.
pub(crate) const MAX_HEADER: usize = 64;

/// Parses a frame from the Ethernet header on.
#[inline(always)]
pub fn parse<P: Packet>(packet: &P) -> Result<Option<Parsed>, DropReason> {
    let mut l3 = At(ethernet::LENGTH);
    let mut ethertype: Be16 = packet.load(At(ethernet::ETHERTYPE))?;
    for _ in 0..MAX_TAGS {
        if ethertype != ethernet::VLAN && ethertype != ethernet::PROVIDER_VLAN {
            break;
        }
        let tag: ethernet::Tag = packet.load(l3)?;
        ethertype = tag.ethertype;
        l3 = l3.plus(ethernet::TAG_LENGTH);
    }
    match ethertype {
        ethernet::IPV4 => parse_ipv4(packet, l3).map(Some),
        ethernet::IPV6 => parse_ipv6(packet, l3).map(Some),
        _ => Ok(None),
    }
}

#[inline(always)]
fn parse_ipv4<P: Packet>(packet: &P, l3: At) -> Result<Parsed, DropReason> {
    let header: ipv4::Header = packet.load(l3)?;
    let header_length = usize::from(header.version_and_length & 0x0f) << 2;
    if header.version_and_length >> 4 != 4 || header_length < ipv4::MIN_LENGTH {
        return Err(DropReason::InvalidPacket);
    }
    let end = end_of(packet, l3, usize::from(header.total_length.get()))?;
    let l4 = l3.plus(header_length);
    if l4 > end {
        return Err(DropReason::InvalidPacket);
    }
    let found = Found {
        source: Address::v4(header.source),
        destination: Address::v4(header.destination),
        protocol: header.protocol,
        part: part(
            header.fragment.get() & ipv4::OFFSET_BITS,
            header.fragment.get() & ipv4::MORE_FRAGMENTS,
        ),
        id: header.id.raw() as u32,
        routed: false,
        l3,
        l4,
        end,
        ttl: header.ttl,
        checksum: header.checksum,
    };
    parse_transport(packet, &found)
}

#[inline(always)]
fn parse_ipv6<P: Packet>(packet: &P, l3: At) -> Result<Parsed, DropReason> {
    let header: ipv6::Header = packet.load(l3)?;
    let [first, ..] = header.version_and_flow;
    // RFC 4291, 2.5.5.2: a mapped address stands for an IPv4 node and is not sent in IPv6 headers.
    if first >> 4 != 6 || header.source.is_v4() || header.destination.is_v4() {
        return Err(DropReason::InvalidPacket);
    }
    let length = match usize::from(header.payload_length.get()) {
        0 => 0, // a jumbogram (RFC 2675) or a super-packet of segmentation offload
        payload => payload.wrapping_add(ipv6::LENGTH),
    };
    let end = end_of(packet, l3, length)?;
    let mut found = Found {
        source: header.source,
        destination: header.destination,
        protocol: header.next,
        part: Part::Whole,
        id: 0,
        routed: false,
        l3,
        l4: l3.plus(ipv6::LENGTH),
        end,
        ttl: header.hop_limit,
        checksum: Be16::new(0),
    };
    for _ in 0..MAX_EXTENSIONS {
        if !is_extension(found.protocol) {
            return parse_transport(packet, &found);
        }
        let extension: ipv6::Extension =
            packet.load(found.l4).map_err(|_| DropReason::InvalidExtensionHeader)?;
        let [first, second] = extension.word;
        match found.protocol {
            ipv6::FRAGMENT => {
                let word = u16::from_be_bytes([first, second]);
                // Offset zero and nothing to follow is an atomic fragment (RFC 6946): a whole packet.
                found.part = part(word & ipv6::OFFSET_BITS, word & 1);
                found.id = u32::from_ne_bytes(extension.rest);
            }
            // Segments left: the packet is not at its destination yet.
            ipv6::ROUTING => found.routed = second != 0,
            _ => {}
        }
        let next = found.l4.plus(extension_length(found.protocol, extension.length));
        if next > found.end || next.0 >= At::LIMIT - MAX_HEADER {
            return Err(DropReason::InvalidExtensionHeader);
        }
        found.protocol = extension.next;
        found.l4 = next;
        // Nothing that stays open from one turn to the next but protocol and offset: each flag would double
        // the paths that the kernel's verifier walks.
        if found.routed || !matches!(found.part, Part::Whole) {
            return parse_transport(packet, &found);
        }
    }
    if is_extension(found.protocol) {
        return Err(DropReason::InvalidExtensionHeader);
    }
    parse_transport(packet, &found)
}

#[inline(always)]
const fn part(offset: u16, more: u16) -> Part {
    match (offset, more) {
        (0, 0) => Part::Whole,
        (0, _) => Part::First,
        _ => Part::Later,
    }
}

/// The length of an extension header that says `words`.
#[inline(always)]
pub(crate) fn extension_length(protocol: u8, words: u8) -> usize {
    let words = usize::from(words);
    match protocol {
        ipv6::FRAGMENT => 8,
        ipv6::AUTHENTICATION => words.wrapping_add(2) << 2,
        _ => words.wrapping_add(1) << 3,
    }
}

/// What both families know before the transport header.
struct Found {
    source: Address,
    destination: Address,
    protocol: u8,
    part: Part,
    id: u32,
    routed: bool,
    l3: At,
    l4: At,
    end: At,
    ttl: u8,
    checksum: Be16,
}

#[inline(always)]
fn parse_transport<P: Packet>(packet: &P, found: &Found) -> Result<Parsed, DropReason> {
    let none = Be16::new(0);
    let (transport, flags, source_port, destination_port) = if matches!(found.part, Part::Later) {
        (Transport::Fragment, 0, none, none)
    } else if found.routed {
        (Transport::Other, 0, none, none)
    } else {
        match found.protocol {
            wire::TCP => {
                let header = load_tcp(packet, found)?;
                (Transport::Tcp, header.flags, header.source_port, header.destination_port)
            }
            wire::UDP => {
                let header = load_udp(packet, found)?;
                (Transport::Udp, 0, header.source_port, header.destination_port)
            }
            wire::SCTP => {
                let ports = load_sctp(packet, found)?;
                (Transport::Sctp, 0, ports.source, ports.destination)
            }
            wire::ICMP if found.source.is_v4() => load_icmp(packet, found)?,
            wire::ICMPV6 if !found.source.is_v4() => load_icmp(packet, found)?,
            _ => (Transport::Other, 0, none, none),
        }
    };
    Ok(Parsed {
        tuple: Tuple::new(
            found.protocol,
            found.source,
            source_port,
            found.destination,
            destination_port,
        ),
        l3: found.l3,
        l4: found.l4,
        transport,
        part: found.part,
        id: if matches!(found.part, Part::Whole) { 0 } else { found.id },
        flags,
        ttl: found.ttl,
        checksum: found.checksum,
    })
}

#[inline(always)]
fn load_tcp<P: Packet>(packet: &P, found: &Found) -> Result<tcp::Header, DropReason> {
    let invalid = DropReason::InvalidTransportHeader;
    if found.l4.plus(tcp::MIN_LENGTH) > found.end || found.l4.0 >= At::LIMIT - MAX_HEADER {
        return Err(invalid);
    }
    let header: tcp::Header = packet.load(found.l4).map_err(|_| invalid)?;
    let length = usize::from(header.data_offset >> 4) << 2;
    if length < tcp::MIN_LENGTH
        || (found.l4.plus(length) > found.end && matches!(found.part, Part::Whole))
    {
        return Err(invalid);
    }
    // The combinations that a TCP sends (RFC 9293, 3.10); the rest is for probing and confusing.
    match header.flags & (tcp::FIN | tcp::SYN | tcp::RST | tcp::ACK) {
        SYN | SYN_ACK | RST | RST_ACK | ACK | FIN_ACK => Ok(header),
        _ => Err(invalid),
    }
}

const SYN: u8 = tcp::SYN;
const SYN_ACK: u8 = tcp::SYN | tcp::ACK;
const RST: u8 = tcp::RST;
const RST_ACK: u8 = tcp::RST | tcp::ACK;
const ACK: u8 = tcp::ACK;
const FIN_ACK: u8 = tcp::FIN | tcp::ACK;

#[inline(always)]
fn load_udp<P: Packet>(packet: &P, found: &Found) -> Result<udp::Header, DropReason> {
    let invalid = DropReason::InvalidTransportHeader;
    if found.l4.plus(udp::LENGTH) > found.end || found.l4.0 >= At::LIMIT - MAX_HEADER {
        return Err(invalid);
    }
    let header: udp::Header = packet.load(found.l4).map_err(|_| invalid)?;
    let length = usize::from(header.length.get());
    // A first fragment has the length of the whole datagram.
    if length < udp::LENGTH
        || (found.l4.plus(length) > found.end && matches!(found.part, Part::Whole))
    {
        return Err(invalid);
    }
    Ok(header)
}

#[inline(always)]
fn load_sctp<P: Packet>(packet: &P, found: &Found) -> Result<udp::Ports, DropReason> {
    let invalid = DropReason::InvalidTransportHeader;
    if found.l4.plus(sctp::LENGTH) > found.end || found.l4.0 >= At::LIMIT - MAX_HEADER {
        return Err(invalid);
    }
    packet.load(found.l4).map_err(|_| invalid)
}

/// What an ICMP message is and, of an echo, the identifier where the asker's port would be.
#[inline(always)]
fn load_icmp<P: Packet>(
    packet: &P,
    found: &Found,
) -> Result<(Transport, u8, Be16, Be16), DropReason> {
    let invalid = DropReason::InvalidTransportHeader;
    if found.l4.plus(icmp::LENGTH) > found.end || found.l4.0 >= At::LIMIT - MAX_HEADER {
        return Err(invalid);
    }
    let header: icmp::Header = packet.load(found.l4).map_err(|_| invalid)?;
    let [first, second, ..] = header.rest;
    let (id, none) = (Be16::from_raw(u16::from_ne_bytes([first, second])), Be16::new(0));
    Ok(match Class::of(header.kind, found.source.is_v4()) {
        Class::Request => (Transport::Echo, 0, id, none),
        Class::Reply => (Transport::Echo, 0, none, id),
        Class::Error => (Transport::IcmpError, 0, none, none),
        Class::Other => (Transport::Icmp, 0, none, none),
    })
}

/// Where an IP packet of this length ends, which is not beyond the end of the frame. Length 0 stands
/// for a packet too long for its length field, which only segmentation offload makes.
#[inline(always)]
fn end_of<P: Packet>(packet: &P, l3: At, length: usize) -> Result<At, DropReason> {
    let end = At(packet.length());
    if length == 0 && end.0 > 0xffff {
        return Ok(end);
    }
    let said = l3.plus(length);
    if said > end { Err(DropReason::InvalidPacket) } else { Ok(said) }
}

/// Whether this is the number of an IPv6 extension header.
#[inline(always)]
pub(crate) const fn is_extension(protocol: u8) -> bool {
    matches!(
        protocol,
        ipv6::HOP_BY_HOP
            | ipv6::ROUTING
            | ipv6::FRAGMENT
            | ipv6::AUTHENTICATION
            | ipv6::DESTINATION
            | ipv6::MOBILITY
    )
}

#[cfg(test)]
mod tests;
