//! Link types, and the Ethernet frame made of each: the datapath knows no other link.

use std::fmt;

use thiserror::Error;

use super::Record;

/// Link type by its number in the files (<https://www.tcpdump.org/linktypes.html>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkType(pub u32);

impl LinkType {
    /// BSD loopback: the address family in the byte order of the machine that captured.
    pub const NULL: Self = Self(0);
    /// Ethernet.
    pub const ETHERNET: Self = Self(1);
    /// IPv4 or IPv6 with no link header.
    pub const RAW: Self = Self(101);
    /// OpenBSD loopback: the address family in network byte order.
    pub const LOOP: Self = Self(108);
    /// Linux "cooked" capture, of `tcpdump -i any` before version 4.99.
    pub const LINUX_SLL: Self = Self(113);
    /// IPv4 with no link header.
    pub const IPV4: Self = Self(228);
    /// IPv6 with no link header.
    pub const IPV6: Self = Self(229);
    /// Linux "cooked" capture, version 2.
    pub const LINUX_SLL2: Self = Self(276);
    /// What some systems write for [`RAW`](Self::RAW).
    const RAW_BSD: Self = Self(12);
    const RAW_OPENBSD: Self = Self(14);

    /// A name people know, for the types that turn up.
    pub fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            0 => "BSD loopback",
            1 => "Ethernet",
            6 => "Token Ring",
            7 => "ARCNET",
            8 => "SLIP",
            9 => "PPP",
            10 => "FDDI",
            12 | 14 | 101 => "raw IP",
            50 => "PPP in HDLC",
            51 => "PPPoE",
            104 => "Cisco HDLC",
            105 => "802.11",
            108 => "OpenBSD loopback",
            113 => "Linux cooked",
            117 => "OpenBSD pflog",
            119 => "802.11 with Prism header",
            127 => "802.11 with radiotap",
            147..=162 => "private use",
            187 | 201 => "Bluetooth HCI",
            189 | 220 => "Linux USB",
            192 => "per-packet information",
            195 | 230 | 283 => "802.15.4",
            197 => "ERF",
            227 => "CAN",
            228 => "raw IPv4",
            229 => "raw IPv6",
            239 => "Linux nflog",
            249 => "USBPcap",
            252 => "Wireshark upper PDU",
            253 => "Linux netlink",
            276 => "Linux cooked v2",
            _ => return None,
        })
    }
}

impl fmt::Display for LinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{} ({name})", self.0),
            None => write!(f, "{}", self.0),
        }
    }
}

/// Which way a packet went at the interface where it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Received by the host.
    Inbound,
    /// Sent by the host.
    Outbound,
}

/// A record as an Ethernet frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The captured bytes, from the Ethernet header on.
    pub data: &'a [u8],
    /// Length of the whole frame in bytes, at least `data.len()`.
    pub original_len: u32,
    /// Which way it went, where the link type tells (Linux cooked).
    pub direction: Option<Direction>,
    /// Number of the interface in the kernel, where the link type tells (Linux cooked v2).
    pub ifindex: Option<u32>,
}

/// Why a packet has no Ethernet form. The capture goes on with the next one.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum LinkError {
    /// No conversion from this link type.
    #[error(
        "link type {0} cannot be replayed; these can: Ethernet (1), Linux cooked (113, 276), \
         raw IP (101, 12, 14, 228, 229), loopback (0, 108)"
    )]
    Unsupported(LinkType),
    /// The bytes end inside the link header.
    #[error(
        "{have} bytes captured, but the header of link type {link} has {need}; skip the packet"
    )]
    Short {
        /// Link type of the packet.
        link: LinkType,
        /// Bytes captured.
        have: usize,
        /// Bytes of the link header.
        need: usize,
    },
    /// The payload is something that Ethernet has no type for.
    #[error(
        "link type {link} carries protocol {protocol:#06x}, which has no Ethernet type; skip the packet"
    )]
    Protocol {
        /// Link type of the packet.
        link: LinkType,
        /// The link header's protocol, address family, or first payload byte.
        protocol: u32,
    },
}

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// Bytes of an Ethernet header.
const ETHERNET_HEADER: usize = 14;
/// Made-up addresses, locally administered, where the link has none.
const SENDER: [u8; 6] = [2, 0, 0, 0, 0, 1];
const RECEIVER: [u8; 6] = [2, 0, 0, 0, 0, 2];
const BROADCAST: [u8; 6] = [0xff; 6];

/// What a link header says.
struct Link {
    ethertype: u16,
    source: [u8; 6],
    destination: [u8; 6],
    direction: Option<Direction>,
    ifindex: Option<u32>,
}

impl Link {
    fn plain(ethertype: u16) -> Self {
        Self { ethertype, source: SENDER, destination: RECEIVER, direction: None, ifindex: None }
    }
}

/// The record as an Ethernet frame. Ethernet passes as it is; other link types get a header with made-up addresses in
/// `buffer`, which is reused from call to call.
#[inline]
pub fn to_ethernet<'a>(
    record: &Record<'a>,
    buffer: &'a mut Vec<u8>,
) -> Result<Frame<'a>, LinkError> {
    let (data, original_len) = (record.data, record.original_len);
    if record.link == LinkType::ETHERNET {
        return Ok(Frame { data, original_len, direction: None, ifindex: None });
    }
    made_up(record, buffer)
}

fn made_up<'a>(record: &Record<'a>, buffer: &'a mut Vec<u8>) -> Result<Frame<'a>, LinkError> {
    let (link, payload) = match record.link {
        LinkType::NULL | LinkType::LOOP => loopback(record)?,
        LinkType::RAW | LinkType::RAW_BSD | LinkType::RAW_OPENBSD => (raw(record)?, record.data),
        LinkType::IPV4 => (Link::plain(ETHERTYPE_IPV4), record.data),
        LinkType::IPV6 => (Link::plain(ETHERTYPE_IPV6), record.data),
        LinkType::LINUX_SLL => cooked(record)?,
        LinkType::LINUX_SLL2 => cooked2(record)?,
        other => return Err(LinkError::Unsupported(other)),
    };
    buffer.clear();
    buffer.extend_from_slice(&link.destination);
    buffer.extend_from_slice(&link.source);
    buffer.extend_from_slice(&link.ethertype.to_be_bytes());
    buffer.extend_from_slice(payload);
    let header = (record.data.len() - payload.len()) as u32;
    let original_len =
        record.original_len.saturating_sub(header).saturating_add(ETHERNET_HEADER as u32);
    Ok(Frame { data: buffer, original_len, direction: link.direction, ifindex: link.ifindex })
}

/// The link header of `N` bytes, and the payload.
fn header<'a, const N: usize>(record: &Record<'a>) -> Result<(&'a [u8; N], &'a [u8]), LinkError> {
    let short = LinkError::Short { link: record.link, have: record.data.len(), need: N };
    record.data.split_first_chunk().ok_or(short)
}

fn raw(record: &Record<'_>) -> Result<Link, LinkError> {
    let ([first], _) = header::<1>(record)?;
    match first >> 4 {
        4 => Ok(Link::plain(ETHERTYPE_IPV4)),
        6 => Ok(Link::plain(ETHERTYPE_IPV6)),
        _ => Err(LinkError::Protocol { link: record.link, protocol: u32::from(*first) }),
    }
}

fn loopback<'a>(record: &Record<'a>) -> Result<(Link, &'a [u8]), LinkError> {
    let (family, payload) = header::<4>(record)?;
    let family = u32::from_be_bytes(*family);
    // Families are small numbers, so the byte order of link type 0 shows in the number itself.
    let family =
        if family > 0xffff && record.link == LinkType::NULL { family.swap_bytes() } else { family };
    match family {
        2 => Ok((Link::plain(ETHERTYPE_IPV4), payload)),
        // AF_INET6 of Linux, NetBSD and OpenBSD, FreeBSD, Darwin.
        10 | 24 | 28 | 30 => Ok((Link::plain(ETHERTYPE_IPV6), payload)),
        protocol => Err(LinkError::Protocol { link: record.link, protocol }),
    }
}

/// packet type, hardware type, address length: 16 bits each; address: 8 bytes; protocol: 16 bits, big-endian.
fn cooked<'a>(record: &Record<'a>) -> Result<(Link, &'a [u8]), LinkError> {
    let (&[t0, t1, h0, h1, l0, l1, ref address @ .., _, _, p0, p1], payload) =
        header::<16>(record)?;
    let (kind, hardware) = (u16::from_be_bytes([t0, t1]), u16::from_be_bytes([h0, h1]));
    let length = u16::from_be_bytes([l0, l1]);
    let link = linux(record.link, kind, hardware, length, *address, u16::from_be_bytes([p0, p1]))?;
    Ok((link, payload))
}

/// protocol: 16 bits; reserved: 16; interface: 32; hardware type: 16; packet type, address length: 8; address: 8 bytes.
fn cooked2<'a>(record: &Record<'a>) -> Result<(Link, &'a [u8]), LinkError> {
    let (&[p0, p1, _, _, i0, i1, i2, i3, h0, h1, kind, length, ref address @ .., _, _], payload) =
        header::<20>(record)?;
    let (hardware, protocol) = (u16::from_be_bytes([h0, h1]), u16::from_be_bytes([p0, p1]));
    let link = linux(record.link, kind.into(), hardware, length.into(), *address, protocol)?;
    Ok((Link { ifindex: Some(u32::from_be_bytes([i0, i1, i2, i3])), ..link }, payload))
}

/// What the two cooked headers have in common. The address is the sender's.
fn linux(
    link: LinkType,
    kind: u16,
    hardware: u16,
    length: u16,
    address: [u8; 6],
    protocol: u16,
) -> Result<Link, LinkError> {
    // ARPHRD values whose protocol field is not an Ethernet type: FRAD, 802.11 (three kinds), netlink.
    let foreign = matches!(hardware, 770 | 801..=803 | 824);
    // Below 0x600 are the kernel's own numbers, such as 4 for 802.2 frames.
    if foreign || protocol < 0x600 {
        return Err(LinkError::Protocol { link, protocol: protocol.into() });
    }
    let (destination, direction) = match kind {
        0 => (RECEIVER, Some(Direction::Inbound)),
        1 => (BROADCAST, Some(Direction::Inbound)),
        // Any multicast address says as much.
        2 => ([1, 0, 0x5e, 0, 0, 1], Some(Direction::Inbound)),
        4 => (RECEIVER, Some(Direction::Outbound)),
        // Between other hosts.
        _ => (RECEIVER, None),
    };
    let source = if length == 6 { address } else { SENDER };
    Ok(Link { ethertype: protocol, source, destination, direction, ifindex: None })
}

#[cfg(test)]
mod tests;
