//! Rewriting a packet.
//!
//! A conntrack entry holds the tuple that its packets leave with, and what that does to the
//! checksums. So a translation is a copy of addresses and ports over those of the packet, whatever
//! kind of NAT it is, plus one hop of time to live where the packet crosses the node as through a
//! router.

use crate::bytes::Be16;
use crate::checksum::{Delta, Deltas};
use crate::conntrack::Flow;
use crate::drop_reason::DropReason;
use crate::parse::{Parsed, Transport};
use crate::seam::Packet;
use crate::tuple::Tuple;
use crate::verdict::Exit;
use crate::wire::{icmp, ipv4, ipv6, tcp, udp};

/// Gives a packet the tuple of its connection's entry and takes a hop where it leaves by one.
#[inline(always)]
pub fn translate<P: Packet>(
    packet: &mut P,
    parsed: &Parsed,
    flow: &Flow,
    exit: Exit,
) -> Result<(), DropReason> {
    if !flow.translates() {
        return hop(packet, parsed, exit);
    }
    let to = &flow.to;
    let ttl = ttl_after(parsed, exit)?;
    store_addresses(packet, parsed, to, ttl, flow.fix.addresses)?;
    packet.store(
        parsed.l4,
        udp::Ports { source: to.source_port, destination: to.destination_port },
    )?;
    let checksum = match parsed.transport {
        Transport::Tcp => parsed.l4.plus(tcp::CHECKSUM),
        _ => parsed.l4.plus(udp::CHECKSUM),
    };
    packet.mend(checksum, flow.fix.with(matches!(parsed.transport, Transport::Udp)))
}

/// The same for every kind of packet that has a connection.
#[inline(always)]
pub fn translate_any<P: Packet>(
    packet: &mut P,
    parsed: &Parsed,
    flow: &Flow,
    exit: Exit,
) -> Result<(), DropReason> {
    let to = &flow.to;
    match parsed.transport {
        _ if !flow.translates() => hop(packet, parsed, exit),
        Transport::Tcp | Transport::Udp => translate(packet, parsed, flow, exit),
        Transport::Echo => {
            let ttl = ttl_after(parsed, exit)?;
            store_addresses(packet, parsed, to, ttl, flow.fix.addresses)?;
            // The identifier stands where the asker's port would be; the other side is zero. It may be
            // zero itself.
            let id = to.source_port.raw() | to.destination_port.raw();
            packet.store(parsed.l4.plus(icmp::ID), id)?;
            // RFC 792 has no pseudo-header, RFC 4443 has one.
            let addresses = if to.is_v4() { Delta::NONE } else { flow.fix.addresses };
            let fix = Deltas { addresses, ports: flow.fix.ports }.with(false);
            packet.mend(parsed.l4.plus(icmp::CHECKSUM), fix)
        }
        // A later fragment has no ports and no checksum; SCTP's does not cover the addresses and its
        // ports stay.
        _ => {
            let ttl = ttl_after(parsed, exit)?;
            store_addresses(packet, parsed, to, ttl, flow.fix.addresses)
        }
    }
}

/// Takes a hop off a packet that is not translated, where it leaves by an exit that is one.
#[inline(always)]
pub fn hop<P: Packet>(packet: &mut P, parsed: &Parsed, exit: Exit) -> Result<(), DropReason> {
    if !exit.is_hop() {
        return Ok(());
    }
    let ttl = ttl_after(parsed, exit)?;
    store_addresses(packet, parsed, &parsed.tuple, ttl, Delta::NONE)
}

/// RFC 791 and RFC 8200: a router that would forward a packet with no hop left discards it.
#[inline(always)]
pub fn ttl_after(parsed: &Parsed, exit: Exit) -> Result<u8, DropReason> {
    if !exit.is_hop() {
        return Ok(parsed.ttl);
    }
    if parsed.ttl <= 1 {
        return Err(DropReason::TtlExceeded);
    }
    Ok(parsed.ttl.wrapping_sub(1))
}

/// Gives the IP header the addresses of `to`, whose difference from what it has is `addresses`.
#[inline(always)]
pub(crate) fn store_addresses<P: Packet>(
    packet: &mut P,
    parsed: &Parsed,
    to: &Tuple,
    ttl: u8,
    addresses: Delta,
) -> Result<(), DropReason> {
    if to.is_v4() {
        let protocol = to.protocol;
        let change = addresses.of_word(
            u16::from_ne_bytes([parsed.ttl, protocol]),
            u16::from_ne_bytes([ttl, protocol]),
        );
        let checksum = if change.0 == 0 {
            parsed.checksum
        } else {
            Be16::from_raw(change.apply(parsed.checksum.raw()))
        };
        let header = ipv4::Translated {
            ttl,
            protocol,
            checksum,
            source: to.source.low(),
            destination: to.destination.low(),
        };
        packet.store(parsed.l3.plus(ipv4::TTL), header)
    } else {
        packet.store(parsed.l3.plus(ipv6::HOP_LIMIT), ttl)?;
        let addresses = ipv6::Addresses { source: to.source, destination: to.destination };
        packet.store(parsed.l3.plus(ipv6::ADDRESSES), addresses)
    }
}

#[cfg(test)]
mod tests;
