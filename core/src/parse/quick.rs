//! The parser of the fast road: packets whose headers all have their plainest form.

use super::{Found, Parsed, Part, end_of, parse_transport};
use crate::address::Address;
use crate::bytes::Be16;
use crate::seam::{At, Packet};
use crate::wire::{TCP, UDP, ethernet, ipv4, ipv6};

const L3: At = At(ethernet::LENGTH);

/// What [`quick`] makes of a frame.
pub enum Quick {
    /// A whole TCP or UDP packet without tags, options and extension headers, all right.
    Plain(Parsed),
    /// An IP packet that the other parser must judge.
    Other,
    /// No IP.
    Foreign,
}

/// As [`quick`], but leaves what is found to be done once for each family and transport, so that a compiler
/// knows where in the packet everything is. `None` for what is not plain.
#[inline(always)]
pub fn quick_apart<P: Packet, T>(
    packet: &mut P,
    then: impl FnOnce(&mut P, Parsed) -> T,
) -> Option<T> {
    match packet.load::<Be16>(At(ethernet::ETHERTYPE)).ok()? {
        ethernet::IPV4 => {
            let found = quick_ipv4(packet)?;
            apart(packet, found, then)
        }
        ethernet::IPV6 => {
            let found = quick_ipv6(packet)?;
            apart(packet, found, then)
        }
        _ => None,
    }
}

#[inline(always)]
fn apart<P: Packet, T>(
    packet: &mut P,
    found: Found,
    then: impl FnOnce(&mut P, Parsed) -> T,
) -> Option<T> {
    if found.protocol == TCP {
        let parsed = parse_transport(packet, &Found { protocol: TCP, ..found }).ok()?;
        return Some(then(packet, parsed));
    }
    let parsed = parse_transport(packet, &Found { protocol: UDP, ..found }).ok()?;
    Some(then(packet, parsed))
}

/// Parses a frame of the plainest form. What it takes, [`super::parse`] takes, with the same result.
#[inline(always)]
pub fn quick<P: Packet>(packet: &P) -> Quick {
    let Ok(ethertype) = packet.load::<Be16>(At(ethernet::ETHERTYPE)) else { return Quick::Other };
    let found = match ethertype {
        ethernet::IPV4 => quick_ipv4(packet),
        ethernet::IPV6 => quick_ipv6(packet),
        ethernet::VLAN | ethernet::PROVIDER_VLAN => None,
        _ => return Quick::Foreign,
    };
    match found.map(|found| parse_transport(packet, &found)) {
        Some(Ok(parsed)) => Quick::Plain(parsed),
        _ => Quick::Other,
    }
}

#[inline(always)]
fn quick_ipv4<P: Packet>(packet: &P) -> Option<Found> {
    let header: ipv4::Header = packet.load(L3).ok()?;
    let is_whole = header.fragment.get() & (ipv4::OFFSET_BITS | ipv4::MORE_FRAGMENTS) == 0;
    if header.version_and_length != 0x45 || !is_whole || !is_plain(header.protocol) {
        return None;
    }
    Some(Found {
        source: Address::v4(header.source),
        destination: Address::v4(header.destination),
        protocol: header.protocol,
        part: Part::Whole,
        id: 0,
        routed: false,
        l3: L3,
        l4: L3.plus(ipv4::MIN_LENGTH),
        end: end_of(packet, L3, usize::from(header.total_length.get())).ok()?,
        ttl: header.ttl,
        checksum: header.checksum,
    })
}

#[inline(always)]
fn quick_ipv6<P: Packet>(packet: &P) -> Option<Found> {
    let header: ipv6::Header = packet.load(L3).ok()?;
    let [first, ..] = header.version_and_flow;
    let payload = usize::from(header.payload_length.get());
    if first >> 4 != 6
        || !is_plain(header.next)
        || payload == 0
        || header.source.is_v4()
        || header.destination.is_v4()
    {
        return None;
    }
    Some(Found {
        source: header.source,
        destination: header.destination,
        protocol: header.next,
        part: Part::Whole,
        id: 0,
        routed: false,
        l3: L3,
        l4: L3.plus(ipv6::LENGTH),
        end: end_of(packet, L3, payload.wrapping_add(ipv6::LENGTH)).ok()?,
        ttl: header.hop_limit,
        checksum: Be16::new(0),
    })
}

const fn is_plain(protocol: u8) -> bool {
    matches!(protocol, TCP | UDP)
}
