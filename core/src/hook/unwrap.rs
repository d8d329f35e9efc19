//! The stage that takes off what another node has wrapped a packet in: see [`crate::dsr`].
//!
//! What is not for an address of this node, or names no frontend that is reached in this way here, is left
//! as it is: it may be another's. Who can write to the network between the nodes is trusted.

use super::classify::{parse_again, sort};
use super::has_options;
use super::stage::{Stage, Work};
use super::wrap::lengthen4;
use crate::address::Address;
use crate::bytes::{Be16, Pod};
use crate::checksum::Delta;
use crate::drop_reason::DropReason;
use crate::dsr::{self, GENEVE_PORT, Geneve4, Geneve6, Option4, Option6, Outer, Told};
use crate::fragment::Datagram;
use crate::parse::{Parsed, Part, Transport};
use crate::quote;
use crate::seam::{Gap, Lookup, Maps, Node, Packet};
use crate::select::{frontend_anywhere, is_frontend_address, is_here};
use crate::service::Forwarding;
use crate::tuple::Tuple;
use crate::wire::{ethernet, ipv4, ipv6};

/// Whether a packet from outside is worth a look.
#[inline(always)]
pub(super) fn may_be_wrapped(parsed: &Parsed) -> bool {
    has_options(parsed) || is_geneve(parsed) || is_ipip(parsed)
}

/// Whether a packet may be in a Geneve tunnel. Then it does not take the fast road, even where it was left
/// as it was before and so has a connection.
#[inline(always)]
pub(super) fn is_geneve(parsed: &Parsed) -> bool {
    matches!(parsed.transport, Transport::Udp) && parsed.tuple.destination_port == GENEVE_PORT
}

#[inline(always)]
fn is_ipip(parsed: &Parsed) -> bool {
    matches!(parsed.transport, Transport::Other)
        && parsed.tuple.protocol == dsr::inner_protocol(parsed.tuple.is_v4())
}

/// The stage.
#[inline(always)]
pub(super) fn unwrap<P: Packet, M: Maps>(
    packet: &mut P,
    node: &mut Node<M>,
    work: &mut Work,
) -> Result<Stage, DropReason> {
    if is_here(node, &work.parsed.tuple.destination) {
        let (plain, is_v4) = (!has_options(&work.parsed), work.parsed.tuple.is_v4());
        let whole = matches!(work.parsed.part, Part::Whole);
        if !plain {
            if is_v4 {
                take_option4(packet, node, work)?;
            } else {
                take_option6(packet, node, work)?;
            }
        } else if whole && is_geneve(&work.parsed) {
            if is_v4 {
                leave_geneve4(packet, node, work)?;
            } else {
                leave_geneve6(packet, node, work)?;
            }
        } else if whole && is_ipip(&work.parsed) {
            if is_v4 {
                leave_ipip::<P, M, ipv4::Header>(packet, node, work)?;
            } else {
                leave_ipip::<P, M, ipv6::Header>(packet, node, work)?;
            }
        }
    }
    sort(packet, node, work)
}

/// Notes the frontend that a packet was sent to; whether it is one that is told of in this way.
#[inline(never)]
fn note<M: Maps>(node: &Node<M>, work: &mut Work, told: &Tuple, way: Forwarding) -> bool {
    let Some((_, service)) = frontend_anywhere(node, told) else { return false };
    if Forwarding::of(service) != way {
        return false;
    }
    work.frontend_service = service.id;
    work.frontend = told.destination;
    work.frontend_port = told.destination_port;
    true
}

#[inline(never)]
fn take_option4<P: Packet, M: Maps>(
    packet: &mut P,
    node: &Node<M>,
    work: &mut Work,
) -> Result<(), DropReason> {
    let l3 = work.parsed.l3;
    if work.parsed.l4 < l3.plus(ipv4::MIN_LENGTH).plus(size_of::<Option4>()) {
        return Ok(());
    }
    let option: Option4 = packet.load(l3.plus(ipv4::MIN_LENGTH))?;
    let told = work.parsed.tuple.to(Address::v4(option.address.to_ne_bytes()), option.port);
    if !option.is_valid() || !note(node, work, &told, Forwarding::DsrOption) {
        return Ok(());
    }
    packet.shrink(Gap::Network, size_of::<Option4>())?;
    let bytes = (size_of::<Option4>() as u16).wrapping_neg();
    lengthen4(packet, l3, bytes, Delta::NONE.of_word(option.sum().0, 0))?;
    parse_again(packet, work).map(|_| ())
}

#[inline(never)]
fn take_option6<P: Packet, M: Maps>(
    packet: &mut P,
    node: &Node<M>,
    work: &mut Work,
) -> Result<(), DropReason> {
    let l3 = work.parsed.l3;
    let next: u8 = packet.load(l3.plus(ipv6::NEXT))?;
    if next != ipv6::DESTINATION
        || work.parsed.l4 < l3.plus(ipv6::LENGTH).plus(size_of::<Option6>())
    {
        return Ok(());
    }
    let option: Option6 = packet.load(l3.plus(ipv6::LENGTH))?;
    let told = work.parsed.tuple.to(Address::from_words(option.address), option.port);
    if !option.is_valid() || !note(node, work, &told, Forwarding::DsrOption) {
        return Ok(());
    }
    let length: Be16 = packet.load(l3.plus(ipv6::PAYLOAD_LENGTH))?;
    let bytes = size_of::<Option6>();
    packet.shrink(Gap::Network, bytes)?;
    // Zero, of a packet too long for the field, stays.
    let length = length.get().saturating_sub(bytes as u16);
    packet.store(l3.plus(ipv6::PAYLOAD_LENGTH), Be16::new(length))?;
    packet.store(l3.plus(ipv6::NEXT), option.next)?;
    parse_again(packet, work).map(|_| ())
}

#[inline(never)]
fn leave_geneve4<P: Packet, M: Maps>(
    packet: &mut P,
    node: &Node<M>,
    work: &mut Work,
) -> Result<(), DropReason> {
    let Ok(outer) = packet.load::<Outer>(work.parsed.l4) else { return Ok(()) };
    let Ok(option) = packet.load::<Geneve4>(work.parsed.l4.plus(size_of::<Outer>())) else {
        return Ok(());
    };
    if !outer.is_valid(size_of::<Geneve4>()) || !option.is_valid() {
        return Ok(());
    }
    leave_geneve(packet, node, work, &Address::v4(option.address.to_ne_bytes()), option.told)
}

#[inline(never)]
fn leave_geneve6<P: Packet, M: Maps>(
    packet: &mut P,
    node: &Node<M>,
    work: &mut Work,
) -> Result<(), DropReason> {
    let Ok(outer) = packet.load::<Outer>(work.parsed.l4) else { return Ok(()) };
    let Ok(option) = packet.load::<Geneve6>(work.parsed.l4.plus(size_of::<Outer>())) else {
        return Ok(());
    };
    if !outer.is_valid(size_of::<Geneve6>()) || !option.is_valid() {
        return Ok(());
    }
    leave_geneve(packet, node, work, &Address::from_words(option.address), option.told)
}

/// Takes a packet out of a Geneve tunnel that ends here. What is within must be what the outer headers say,
/// or the packet goes no further.
#[inline(always)]
fn leave_geneve<P: Packet, M: Maps>(
    packet: &mut P,
    node: &Node<M>,
    work: &mut Work,
    frontend: &Address,
    said: Told,
) -> Result<(), DropReason> {
    let end = work.parsed.tuple.destination;
    let mut told = work.parsed.tuple.to(*frontend, said.port);
    told.protocol = said.protocol;
    if !note(node, work, &told, Forwarding::DsrGeneve) {
        return Ok(());
    }
    let (l3, is_v4) = (work.parsed.l3, end.is_v4());
    let overhead = dsr::overhead(Forwarding::DsrGeneve, is_v4);
    let inner = l3.plus(overhead);
    let ethertype: Be16 =
        packet.load(l3.plus(overhead.wrapping_sub(ethernet::LENGTH)).plus(ethernet::ETHERTYPE))?;
    let (expected, fixed) =
        if is_v4 { (ethernet::IPV4, ipv4::MIN_LENGTH) } else { (ethernet::IPV6, ipv6::LENGTH) };
    if ethertype != expected || inner.plus(fixed).0 > packet.length() {
        return Err(DropReason::InvalidPacket);
    }
    packet.shrink(Gap::Link, overhead)?;
    parse_again(packet, work)?;
    let tuple = &work.parsed.tuple;
    if tuple.destination != end || tuple.protocol != said.protocol {
        return Err(DropReason::InvalidPacket);
    }
    Ok(())
}

/// Takes a packet out of a tunnel of IP in IP that ends here, `H` being the header of both: which backend it
/// is for follows from the frontend and from where the tunnel ends. What turns out to be another's is put
/// back.
#[inline(never)]
fn leave_ipip<P: Packet, M: Maps, H: Pod>(
    packet: &mut P,
    node: &Node<M>,
    work: &mut Work,
) -> Result<(), DropReason> {
    let (l3, l4, end) = (work.parsed.l3, work.parsed.l4, work.parsed.tuple.destination);
    let outer: H = packet.load(l3)?;
    // The kernel leaves no less than a header.
    if packet.load::<H>(l4).is_err() || packet.shrink(Gap::Link, size_of::<H>()).is_err() {
        return Ok(());
    }
    if parse_again(packet, work) == Ok(true)
        && work.parsed.tuple.is_v4() == end.is_v4()
        && sent_as(packet, work)
    {
        work.chosen = terminate(node, work, &end)?;
        if work.chosen != 0 {
            return Ok(());
        }
    }
    packet.grow(Gap::Link, size_of::<H>())?;
    packet.store(l3, outer)?;
    parse_again(packet, work).map(|_| ())
}

/// Leaves in `work.twin_key` the tuple of what the client sends in the tunnelled packet's connection: its
/// own, or that of which the packet that an ICMP error quotes is the answer; whether there is one.
#[inline(never)]
fn sent_as<P: Packet>(packet: &P, work: &mut Work) -> bool {
    let Work { parsed, twin_key, .. } = work;
    *twin_key = parsed.tuple;
    if !matches!((parsed.transport, parsed.part), (Transport::IcmpError, Part::Whole)) {
        return true;
    }
    let quoted = matches!(quote::parse(packet, parsed, twin_key), Ok(Some(_)));
    *twin_key = twin_key.reverse();
    quoted
}

/// The backend that a packet is for which came to a frontend by a tunnel that ends at this address; 0 for
/// none. A node port's key has the unspecified address. Of a later fragment the first one's ports are
/// taken.
#[inline(never)]
fn terminate<M: Maps>(node: &Node<M>, work: &Work, end: &Address) -> Result<u32, DropReason> {
    let Work { parsed, arrival, .. } = work;
    let mut tuple = work.twin_key;
    if matches!(parsed.part, Part::Later) {
        let datagram = Datagram::new(tuple.source, tuple.destination, parsed.id, tuple.protocol);
        match node.fragments.get(&datagram) {
            Some(ports) if ports.is_current(arrival.now) => {
                tuple.destination_port = ports.destination;
            }
            _ if may_be_frontend(node, &tuple.destination) => {
                return Err(DropReason::FragmentNotFound);
            }
            _ => return Ok(0),
        }
    }
    let Some((key, service)) = frontend_anywhere(node, &tuple) else { return Ok(0) };
    if Forwarding::of(service) != Forwarding::DsrIpip {
        return Ok(0);
    }
    let key = Tuple::new(key.protocol, *end, Be16::new(0), key.address, key.port);
    Ok(node.terminations.get(&key).copied().unwrap_or(0))
}

/// Whether services may be reached on this address: their own, or a node's.
#[inline(always)]
fn may_be_frontend<M: Maps>(node: &Node<M>, address: &Address) -> bool {
    is_frontend_address(node, address)
        || node.endpoints.get(address).is_some_and(|endpoint| endpoint.device == 0)
}
