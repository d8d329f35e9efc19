//! The stage that makes a packet the answer to itself: an ICMP error, or an echo reply.
//!
//! An error quotes the packet as it came, since nothing has translated it yet: as much as fits into 576
//! bytes in IPv4 (RFC 1812, 4.3.2.3), into 1280 in IPv6 (RFC 4443, 2.4 c). It comes from the address that
//! the packet was sent to, but that a node says itself where a time to live ended.

use super::stage::{Answer, Stage, Work};
use crate::address::Address;
use crate::bytes::Be16;
use crate::checksum::{self, Delta, Fix, fold_long};
use crate::drop_reason::DropReason;
use crate::parse::{Parsed, Part, Transport};
use crate::seam::{At, Gap, Host, Lookup, Maps, Metric, Node, Packet, option};
use crate::snat;
use crate::verdict::{Decision, Verdict};
use crate::wire::{self, ethernet, icmp, ipv4, ipv6, tcp, udp};

/// Hops that an answer may take.
const TTL: u8 = 64;
/// The longest errors, from the IP header on.
const MAX_V4: usize = 576;
const MAX_V6: usize = 1280;
/// Where the IP header is; frames with tags are not answered.
const L3: At = At(ethernet::LENGTH);

/// The stage. What may not be answered is dropped for the reason that it has.
#[inline(always)]
pub(super) fn answer<P: Packet, M: Maps>(
    packet: &mut P,
    node: &mut Node<M>,
    work: &mut Work,
) -> Result<Stage, DropReason> {
    if !may_answer(packet, node, work) {
        return Err(work.reason);
    }
    if !has_token(node, work) {
        node.host.count(Metric::ANSWER_LIMITED);
        return Err(work.reason);
    }
    let echo = matches!(work.answer, Answer::Echo);
    let made = if echo { echo_back(packet, work) } else { quote(packet, node, work) };
    if made.is_err() {
        return Err(work.reason);
    }
    node.host.count(Metric::ANSWERED);
    let verdict = if echo {
        Verdict::Answer
    } else {
        node.host.count(Metric::drop(work.reason));
        Verdict::Reject(work.reason)
    };
    work.decision = Decision::untracked(verdict);
    Ok(Stage::Done)
}

/// Whether the packet is one that may be answered (RFC 1122, 3.2.2; RFC 4443, 2.4 e): not an error, not a
/// later fragment, not sent to many, and from one sender.
///
/// What another node has translated is not, either: its sender would not know it again.
#[inline(never)]
fn may_answer<P: Packet, M: Maps>(packet: &P, node: &Node<M>, work: &Work) -> bool {
    let parsed = &work.parsed;
    let Ok(link) = packet.load::<[u8; 2]>(At(0)) else { return false };
    let [first, _] = link;
    node.config.options & option::SILENT == 0
        && parsed.l3 == L3
        && work.frontend == Address::UNSPECIFIED
        && !matches!(parsed.transport, Transport::IcmpError | Transport::Icmp)
        && !matches!(parsed.part, Part::Later)
        && first & 1 == 0
        && !parsed.tuple.source.is_no_sender()
        && !parsed.tuple.destination.is_link_scope()
}

/// Takes a token for an answer of this kind (RFC 1812, 4.3.2.8; RFC 4443, 2.4 f).
#[inline(never)]
fn has_token<M: Maps>(node: &Node<M>, work: &Work) -> bool {
    let slot = match work.answer {
        Answer::None | Answer::PortUnreachable => 0,
        Answer::TimeExceeded => 1,
        Answer::TooBig => 2,
        Answer::Echo => 3,
    };
    node.limits.get(&slot).is_some_and(|bucket| bucket.take(work.arrival.now))
}

/// Makes an echo request its reply, in place. One with options or extension headers is not answered:
/// they might want to be answered, too. Nor is what only looks like a request: with an identifier of zero,
/// the tuple of a reply is the same.
#[inline(never)]
fn echo_back<P: Packet>(packet: &mut P, work: &Work) -> Result<(), DropReason> {
    let tuple = &work.parsed.tuple;
    let l4 = if tuple.is_v4() { L3.plus(ipv4::MIN_LENGTH) } else { L3.plus(ipv6::LENGTH) };
    let [kind, _]: [u8; 2] = packet.load(l4)?;
    let request = if tuple.is_v4() { icmp::v4::ECHO_REQUEST } else { icmp::v6::ECHO_REQUEST };
    if work.parsed.l4 != l4 || kind != request {
        return Err(work.reason);
    }
    swap_link(packet)?;
    let (from, to) = if tuple.is_v4() {
        let (protocol, ttl) = (tuple.protocol, work.parsed.ttl);
        let change = Delta::NONE
            .of_word(u16::from_ne_bytes([ttl, protocol]), u16::from_ne_bytes([TTL, protocol]));
        let old = work.parsed.checksum.raw();
        // The checksum does not see that the addresses have changed places.
        let checksum = if change == Delta::NONE { old } else { change.apply(old) };
        let header = ipv4::Translated {
            ttl: TTL,
            protocol,
            checksum: Be16::from_raw(checksum),
            source: tuple.destination.low(),
            destination: tuple.source.low(),
        };
        packet.store(L3.plus(ipv4::TTL), header)?;
        (icmp::v4::ECHO_REQUEST, icmp::v4::ECHO_REPLY)
    } else {
        packet.store(L3.plus(ipv6::HOP_LIMIT), TTL)?;
        let addresses = ipv6::Addresses { source: tuple.destination, destination: tuple.source };
        packet.store(L3.plus(ipv6::ADDRESSES), addresses)?;
        (icmp::v6::ECHO_REQUEST, icmp::v6::ECHO_REPLY)
    };
    packet.store(l4, to)?;
    let ports = Delta::NONE.of_word(u16::from_ne_bytes([from, 0]), u16::from_ne_bytes([to, 0]));
    packet.mend(l4.plus(icmp::CHECKSUM), Fix { addresses: Delta::NONE, ports, udp: false })
}

/// Puts an ICMP error in front of the packet.
#[inline(always)]
fn quote<P: Packet, M: Maps>(
    packet: &mut P,
    node: &Node<M>,
    work: &Work,
) -> Result<(), DropReason> {
    let is_v4 = work.parsed.tuple.is_v4();
    let source = match work.answer {
        Answer::TimeExceeded => snat::source(node, is_v4).unwrap_or(work.parsed.tuple.destination),
        _ => work.parsed.tuple.destination,
    };
    // First, because this also makes one packet of what segmentation offload keeps together.
    let length = quoted_length(packet, &work.parsed)?;
    packet.trim(L3.0.wrapping_add(length))?;
    let header = if is_v4 { ipv4::MIN_LENGTH } else { ipv6::LENGTH };
    packet.grow(Gap::Link, header.wrapping_add(icmp::LENGTH))?;
    swap_link(packet)?;
    let (kind, code) = match (work.answer, is_v4) {
        (Answer::TimeExceeded, true) => (icmp::v4::TIME_EXCEEDED, 0),
        (Answer::TimeExceeded, false) => (icmp::v6::TIME_EXCEEDED, 0),
        (Answer::TooBig, true) => (icmp::v4::UNREACHABLE, icmp::v4::FRAGMENTATION_NEEDED),
        (Answer::TooBig, false) => (icmp::v6::TOO_BIG, 0),
        (_, true) => (icmp::v4::UNREACHABLE, icmp::v4::PORT),
        (_, false) => (icmp::v6::UNREACHABLE, icmp::v6::PORT),
    };
    let mtu = match (work.answer, is_v4) {
        (Answer::TooBig, true) if work.mtu > 0xffff => 0xffff,
        (Answer::TooBig, _) => work.mtu,
        _ => 0,
    };
    let rest = mtu.to_be_bytes();
    let message = icmp::Header { kind, code, checksum: Be16::new(0), rest };
    packet.store(L3.plus(header), message)?;
    let total = length.wrapping_add(icmp::LENGTH);
    let pseudo = if is_v4 {
        store_ipv4(packet, &source, &work.parsed, total)?;
        0
    } else {
        store_ipv6(packet, &source, &work.parsed, total)?
    };
    finish(packet, &work.parsed, L3.plus(header), total, pseudo)
}

/// How much of the packet is quoted, from its IP header on.
#[inline(always)]
fn quoted_length<P: Packet>(packet: &P, parsed: &Parsed) -> Result<usize, DropReason> {
    let (said, most) = if parsed.tuple.is_v4() {
        let header: ipv4::Header = packet.load(L3)?;
        let most = MAX_V4 - ipv4::MIN_LENGTH - icmp::LENGTH;
        (usize::from(header.total_length.get()), most)
    } else {
        let header: ipv6::Header = packet.load(L3)?;
        let most = MAX_V6 - ipv6::LENGTH - icmp::LENGTH;
        (usize::from(header.payload_length.get()).wrapping_add(ipv6::LENGTH), most)
    };
    // A packet that is too long for its length field says zero.
    Ok(if said > most || packet.length() > 0xffff { most } else { said })
}

#[inline(always)]
fn store_ipv4<P: Packet>(
    packet: &mut P,
    source: &Address,
    parsed: &Parsed,
    length: usize,
) -> Result<(), DropReason> {
    let header = ipv4::Header {
        version_and_length: 0x45,
        tos: 0,
        total_length: Be16::new((length.wrapping_add(ipv4::MIN_LENGTH) & 0xffff) as u16),
        id: Be16::new(0),
        fragment: Be16::new(0),
        ttl: TTL,
        protocol: wire::ICMP,
        checksum: Be16::new(0),
        source: source.low().to_ne_bytes(),
        destination: parsed.tuple.source.low().to_ne_bytes(),
    };
    packet.store(L3, header)?;
    let sum = checksum::of_packet(packet, L3, L3.plus(ipv4::MIN_LENGTH))?;
    packet.store(L3.plus(ipv4::CHECKSUM), !sum)
}

/// The sum of the pseudo-header (RFC 8200, 8.1) comes out.
#[inline(always)]
fn store_ipv6<P: Packet>(
    packet: &mut P,
    source: &Address,
    parsed: &Parsed,
    length: usize,
) -> Result<u64, DropReason> {
    let header = ipv6::Header {
        version_and_flow: [0x60, 0, 0, 0],
        payload_length: Be16::new((length & 0xffff) as u16),
        next: wire::ICMPV6,
        hop_limit: TTL,
        source: *source,
        destination: parsed.tuple.source,
    };
    let mut pseudo = u64::from(header.payload_length.raw())
        .wrapping_add(u64::from(u16::from_ne_bytes([0, wire::ICMPV6])));
    for address in [&header.source, &header.destination] {
        for word in address.words() {
            pseudo = pseudo.wrapping_add(u64::from(word));
        }
    }
    packet.store(L3, header)?;
    Ok(pseudo)
}

/// Writes the checksum of the ICMP message, `length` bytes from `message` on.
///
/// The quoted packet's own checksum may be partial, and stays so: to the kernel the packet is one whose
/// checksum is to be completed from the quoted transport header on. Its receiver on this host takes it as
/// it is. A device that completes it changes what is quoted, but to a sum that is known now: all from the
/// transport header on then adds up to the complement of the partial sum. So the message gets the checksum
/// that is right for the completed quote. (The other way, a quote completed here, would be spoilt by the
/// device, as the kernel has no helper that calls a checksum complete.)
#[inline(always)]
fn finish<P: Packet>(
    packet: &mut P,
    parsed: &Parsed,
    message: At,
    length: usize,
    pseudo: u64,
) -> Result<(), DropReason> {
    let field = message.plus(icmp::CHECKSUM);
    let mut end = message.plus(length);
    let mut total = pseudo;
    let offset = match (parsed.transport, parsed.part) {
        (Transport::Tcp, Part::Whole) => tcp::CHECKSUM,
        (Transport::Udp, Part::Whole) => udp::CHECKSUM,
        _ => 0,
    };
    if offset != 0 && is_partial(packet, field)? {
        // The quote begins behind the message's header, as far from there as from the IP header before.
        let l4 = message.plus(icmp::LENGTH).plus(parsed.l4.0.wrapping_sub(L3.0));
        let partial: u16 = packet.load(l4.plus(offset))?;
        total = total.wrapping_add(u64::from(!partial));
        end = l4;
    }
    let sum = checksum::of_packet(packet, message, end)?;
    packet.store(field, !fold_long(total.wrapping_add(u64::from(sum))))
}

/// Whether the platform holds the packet's checksum for partial: then a change behind the pseudo-header
/// does not change the field. Leaves the field, whichever it is, zero.
#[inline(always)]
fn is_partial<P: Packet>(packet: &mut P, field: At) -> Result<bool, DropReason> {
    packet.mend(field, Fix { addresses: Delta::NONE, ports: Delta(1), udp: false })?;
    let after: u16 = packet.load(field)?;
    packet.store(field, 0_u16)?;
    Ok(after == 0)
}

/// Sends the frame back to where it came from.
#[inline(always)]
fn swap_link<P: Packet>(packet: &mut P) -> Result<(), DropReason> {
    let [a, b, c, d, e, f]: [u16; 6] = packet.load(At(0))?;
    packet.store(At(0), [d, e, f, a, b, c])
}
