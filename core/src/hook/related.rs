//! The stage that translates ICMP errors, with the packet that they quote.
//!
//! An error goes against the packet that it is about, as the answers to that packet do. So the half of the
//! connection that is for those answers says all:
//!
//! ```text
//!                      quoted                        the half's key: reversed
//!   as it came here    node:q   > backend:8080       backend:8080 > node:q
//!   as it leaves       client:p > vip:80             vip:80 > client:p, the half's `to`
//! ```
//!
//! Where another node has translated the quoted packet (DSR), the half says so and the error stays as it is.
//!
//! An error tells a connection nothing: no half is refreshed, none is closed (RFC 5508, REQ-6; RFC 5927).

use super::classify::pass_on;
use super::stage::{Stage, Work};
use super::{decision, status};
use crate::address::Address;
use crate::bytes::Be16;
use crate::checksum::{Delta, Fix};
use crate::conntrack::find;
use crate::drop_reason::DropReason;
use crate::endpoint::Kind;
use crate::parse::{Part, Transport};
use crate::quote::{self, Quote};
use crate::seam::{Host, Lookup, Maps, Metric, Node, Packet};
use crate::translate::{store_addresses, ttl_after};
use crate::wire::{icmp, ipv4, ipv6, udp};

/// The stage. An error about no connection that this node knows goes on as it is, as does one in fragments,
/// whose checksum is over what is not at hand.
#[inline(always)]
pub(super) fn related<P: Packet, M: Maps>(
    packet: &mut P,
    node: &mut Node<M>,
    work: &mut Work,
) -> Result<Stage, DropReason> {
    if !matches!(work.parsed.part, Part::Whole) {
        return pass_on(packet, node, work);
    }
    let Some(quote) = quote::parse(packet, &work.parsed, &mut work.twin_key)? else {
        return pass_on(packet, node, work);
    };
    if !has_half(node, work) {
        return pass_on(packet, node, work);
    }
    // Whom the error is for is who sent what it quotes.
    if work.parsed.tuple.destination != work.twin_key.source {
        return Err(DropReason::InvalidPacket);
    }
    work.status = status(&work.half);
    if !work.half.translates() {
        return Ok(Stage::Send); // as it is, or in the tunnel that such packets go through
    }
    let exit = work.exit(work.half.exit());
    let ttl = ttl_after(&work.parsed, exit)?;
    let from = source(node, work);
    let quoted = rewrite_quote(packet, work, &quote)?;
    rewrite_outer(packet, work, &from, quoted, ttl)?;
    node.host.count(Metric::RELATED);
    work.decision = decision(&work.half, work.status, exit);
    Ok(Stage::Done)
}

/// Leaves in `work.half` the half for answers to the packet whose tuple is in `work.twin_key`; whether it
/// is there and alive.
#[inline(never)]
fn has_half<M: Maps>(node: &Node<M>, work: &mut Work) -> bool {
    let key = work.twin_key.reverse();
    match find(&node.conntrack, &key) {
        Some(flow) if work.arrival.now < flow.expires() => {
            work.half = flow.clone();
            true
        }
        _ => false,
    }
}

/// The address that the error is to come from. The end of the connection is known by another one to whom
/// the error is for, and so is a pod of this node: nobody else may see its own. A router stays who it is.
#[inline(never)]
fn source<M: Maps>(node: &Node<M>, work: &Work) -> Address {
    let source = work.parsed.tuple.source;
    let of_end = source == work.twin_key.destination;
    let of_pod =
        || node.endpoints.get(&source).is_some_and(|found| matches!(found.kind(), Kind::Pod));
    if of_end || of_pod() { work.half.to.source } else { source }
}

/// Gives the quoted packet the tuple that it was sent with. What changed comes out.
#[inline(never)]
fn rewrite_quote<P: Packet>(
    packet: &mut P,
    work: &Work,
    quote: &Quote,
) -> Result<Delta, DropReason> {
    let to = &work.half.to;
    let Quote { l3, l4, transport, .. } = *quote;
    // Sums do not see which address is the source and which the destination.
    let fix = work.half.fix;
    let mut changed = fix.addresses.and(fix.ports);
    if to.is_v4() {
        let old = quote.checksum.raw();
        let new = if fix.addresses == Delta::NONE { old } else { fix.addresses.apply(old) };
        changed = changed.of_word(old, new);
        let protocol = work.twin_key.protocol;
        let header = ipv4::Translated {
            ttl: quote.ttl,
            protocol,
            checksum: Be16::from_raw(new),
            source: to.destination.low(),
            destination: to.source.low(),
        };
        packet.store(l3.plus(ipv4::TTL), header)?;
    } else {
        let addresses = ipv6::Addresses { source: to.destination, destination: to.source };
        packet.store(l3.plus(ipv6::ADDRESSES), addresses)?;
    }
    if matches!(transport, Transport::Echo) {
        let id = if quote.asks { to.destination_port } else { to.source_port };
        packet.store(l4.plus(icmp::ID), id)?;
    } else {
        let ports = udp::Ports { source: to.destination_port, destination: to.source_port };
        packet.store(l4, ports)?;
    }
    let Some(at) = quote.checksum_at() else { return Ok(changed) };
    let addresses = match transport {
        Transport::Echo if to.is_v4() => Delta::NONE, // RFC 792 has no pseudo-header
        _ => fix.addresses,
    };
    let old: u16 = packet.load(at)?;
    let udp = matches!(transport, Transport::Udp);
    let new = Fix { addresses, ports: fix.ports, udp }.apply(old);
    packet.store(at, new)?;
    Ok(changed.of_word(old, new))
}

/// Gives the error its own addresses, and its checksum what has changed.
#[inline(never)]
fn rewrite_outer<P: Packet>(
    packet: &mut P,
    work: &mut Work,
    from: &Address,
    quoted: Delta,
    ttl: u8,
) -> Result<(), DropReason> {
    let parsed = &work.parsed;
    let to = &mut work.twin_key;
    *to = parsed.tuple;
    to.source = *from;
    to.destination = work.half.to.destination;
    let addresses = Delta::NONE
        .of_address(&parsed.tuple.source, &to.source)
        .of_address(&parsed.tuple.destination, &to.destination);
    store_addresses(packet, parsed, to, ttl, addresses)?;
    let addresses = if to.is_v4() { Delta::NONE } else { addresses };
    let fix = Fix { addresses, ports: quoted, udp: false };
    packet.mend(parsed.l4.plus(icmp::CHECKSUM), fix)
}
