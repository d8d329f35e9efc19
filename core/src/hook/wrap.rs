//! The stage that tells a backend's node of the frontend: see [`crate::dsr`].
//!
//! IP in IP is around every packet. The other ways are for packets that open a connection, for datagrams,
//! of which any may be the first to arrive, and for what a TCP connection sends when its entry is brought
//! up to date: that is once a second, so a backend's node that has lost its state has it back soon. Later
//! fragments tell nothing; they follow the first.

use super::always_wrapped;
use super::stage::{Answer, Stage, Work};
use crate::bytes::Be16;
use crate::checksum::Delta;
use crate::conntrack::{Flow, is_syn};
use crate::drop_reason::DropReason;
use crate::dsr::{self, Geneve4, Geneve6, Option4, Option6, Outer};
use crate::hash;
use crate::parse::{Part, Transport};
use crate::seam::{At, Gap, Maps, Node, Packet, Tunnel};
use crate::service::Forwarding;
use crate::snat;
use crate::state::Direction;
use crate::verdict::Status;
use crate::wire::{self, ethernet, ipv4, ipv6, tcp, udp};

/// How a packet tells of the frontend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Telling {
    /// In this way; with [`Forwarding::Snat`] it does not.
    wrap: Forwarding,
    /// It goes no further where it cannot.
    must: bool,
}

/// Whether and how a packet on the slow road tells of the frontend, being of this half of its connection.
#[inline(always)]
pub(super) fn telling(flow: &Flow, work: &Work) -> Telling {
    let Work { parsed, status, .. } = work;
    let wrap = flow.wrap();
    let follows = matches!(parsed.part, Part::Later) && !matches!(wrap, Forwarding::DsrIpip);
    if follows || matches!(flow.direction(), Direction::Reply) {
        return Telling { wrap: Forwarding::Snat, must: false };
    }
    let opens = matches!(status, Status::New | Status::Reopened) || is_syn(parsed);
    Telling { wrap, must: opens || always_wrapped(flow, parsed) }
}

/// Finds out how long a packet is: see [`Work::size`]. At every hook, since any of them may meet a packet of a
/// connection that tells.
#[inline(never)]
pub(super) fn measure<P: Packet>(packet: &P, work: &mut Work) -> Result<(), DropReason> {
    let (l3, l4, is_v4) = (work.parsed.l3, work.parsed.l4, work.parsed.tuple.is_v4());
    let headers = l4.0.wrapping_sub(l3.0);
    let (said, next) = if is_v4 {
        let header: ipv4::Header = packet.load(l3)?;
        (usize::from(header.total_length.get()), header.protocol)
    } else {
        let header: ipv6::Header = packet.load(l3)?;
        match usize::from(header.payload_length.get()) {
            0 => (0, header.next),
            payload => (payload.wrapping_add(ipv6::LENGTH), header.next),
        }
    };
    // Zero stands for what is too long for the field.
    let total = if said == 0 { packet.length().wrapping_sub(l3.0) } else { said };
    let size = match packet.segment() {
        0 => total,
        payload => {
            let transport = if matches!(work.parsed.transport, Transport::Tcp) {
                let offset: u8 = packet.load(l4.plus(tcp::DATA_OFFSET))?;
                usize::from(offset >> 4) << 2
            } else {
                udp::LENGTH
            };
            headers.wrapping_add(transport).wrapping_add(payload)
        }
    };
    (work.size, work.total) = (size as u32, total as u32);
    work.crammed = !dsr::has_place(headers, next, is_v4);
    Ok(())
}

impl Work {
    /// Whether the packet can tell of the frontend in this way: not in a frame with tags, whose length the
    /// kernel does not change, and by an option only where it finds a place.
    #[inline(always)]
    pub(crate) fn can_tell(&self, wrap: Forwarding) -> bool {
        self.parsed.l3 == At(ethernet::LENGTH)
            && !(self.crammed && matches!(wrap, Forwarding::DsrOption))
    }
}

/// Whether a packet is to be wrapped. One that must be and has no room is refused, whether or not it may be
/// fragmented: each fragment would have to be told of anew, and the client can send smaller ones.
#[inline(never)]
pub(super) fn check<M: Maps>(
    node: &Node<M>,
    work: &mut Work,
    telling: Telling,
) -> Result<bool, DropReason> {
    let Telling { wrap, must } = telling;
    if matches!(wrap, Forwarding::Snat) {
        return Ok(false);
    }
    if !work.can_tell(wrap) {
        return if must { Err(DropReason::InvalidPacket) } else { Ok(false) };
    }
    let is_v4 = work.parsed.tuple.is_v4();
    if must && matches!(wrap, Forwarding::DsrIpip | Forwarding::DsrGeneve) {
        snat::source(node, is_v4)?;
    }
    let overhead = dsr::overhead(wrap, is_v4) as u32;
    let limit = if node.config.mtu == 0 { MAX_LENGTH } else { node.config.mtu };
    if work.size.wrapping_add(overhead) > limit {
        if !must {
            return Ok(false);
        }
        work.mtu = limit.saturating_sub(overhead);
        return Err(work.refuse(Answer::TooBig, DropReason::FragmentationNeeded));
    }
    // What will be cut into pieces can be too long for its length field where no piece is.
    let fits = work.total.wrapping_add(overhead) <= MAX_LENGTH;
    if must && !fits { Err(DropReason::FragmentationNeeded) } else { Ok(fits) }
}

/// The longest IP packet that an IPv4 length field can say. That of IPv6 does not count the fixed header, but
/// no link is so long that it would matter.
const MAX_LENGTH: u32 = 0xffff;

/// The stage.
#[inline(always)]
pub(super) fn wrap<P: Packet, M: Maps>(
    packet: &mut P,
    node: &mut Node<M>,
    work: &mut Work,
) -> Result<Stage, DropReason> {
    match (work.half.wrap(), work.parsed.tuple.is_v4()) {
        (Forwarding::Snat, _) => {}
        (Forwarding::DsrOption, true) => add_option4(packet, work)?,
        (Forwarding::DsrOption, false) => add_option6(packet, work)?,
        (wrap, true) => tunnel4(packet, node, work, matches!(wrap, Forwarding::DsrGeneve))?,
        (wrap, false) => tunnel6(packet, node, work, matches!(wrap, Forwarding::DsrGeneve))?,
    }
    Ok(Stage::Done)
}

#[inline(never)]
fn add_option4<P: Packet>(packet: &mut P, work: &Work) -> Result<(), DropReason> {
    let (l3, tuple) = (work.parsed.l3, &work.parsed.tuple);
    let option = Option4::new(&tuple.destination, tuple.destination_port);
    packet.grow(Gap::Network, size_of::<Option4>())?;
    packet.store(l3.plus(ipv4::MIN_LENGTH), option)?;
    lengthen4(packet, l3, size_of::<Option4>() as u16, Delta::NONE.of_word(0, option.sum().0))
}

/// Makes the IPv4 header say that it is so many bytes longer, which is negative in two's complement where
/// it is shorter. `sum` is what comes to the sum of the header, or goes.
#[inline(always)]
pub(super) fn lengthen4<P: Packet>(
    packet: &mut P,
    l3: At,
    bytes: u16,
    sum: Delta,
) -> Result<(), DropReason> {
    let mut header: ipv4::Header = packet.load(l3)?;
    let (first, total) = (header.version_and_length, header.total_length);
    let words = ((bytes >> 2) & 0xff) as u8;
    header.version_and_length = (first & 0xf0) | (first.wrapping_add(words) & 0x0f);
    header.total_length = Be16::new(total.get().wrapping_add(bytes));
    let change = sum
        .of_word(
            u16::from_ne_bytes([first, header.tos]),
            u16::from_ne_bytes([header.version_and_length, header.tos]),
        )
        .of_port(total, header.total_length);
    header.checksum = Be16::from_raw(change.apply(header.checksum.raw()));
    packet.store(l3, header)
}

#[inline(never)]
fn add_option6<P: Packet>(packet: &mut P, work: &Work) -> Result<(), DropReason> {
    let (l3, tuple) = (work.parsed.l3, &work.parsed.tuple);
    let length: Be16 = packet.load(l3.plus(ipv6::PAYLOAD_LENGTH))?;
    let next: u8 = packet.load(l3.plus(ipv6::NEXT))?;
    let option = Option6::new(next, &tuple.destination, tuple.destination_port);
    let bytes = size_of::<Option6>();
    packet.grow(Gap::Network, bytes)?;
    packet
        .store(l3.plus(ipv6::PAYLOAD_LENGTH), Be16::new(length.get().wrapping_add(bytes as u16)))?;
    packet.store(l3.plus(ipv6::NEXT), ipv6::DESTINATION)?;
    packet.store(l3.plus(ipv6::LENGTH), option)
}

/// The UDP source port of a tunnel.
#[inline(always)]
fn source_port<M: Maps>(node: &Node<M>, work: &Work) -> Be16 {
    dsr::source_port(hash::tuple(&work.parsed.tuple, node.config.hash_seed, 0))
}

#[inline(never)]
fn tunnel4<P: Packet, M: Maps>(
    packet: &mut P,
    node: &Node<M>,
    work: &Work,
    is_udp: bool,
) -> Result<(), DropReason> {
    let (l3, tuple, to) = (work.parsed.l3, &work.parsed.tuple, &work.half.to.destination);
    let source = snat::source(node, true)?;
    let inner: ipv4::Header = packet.load(l3)?;
    let bytes = usize::from(inner.total_length.get());
    if !is_udp {
        packet.encapsulate(Tunnel { is_v4: true, is_udp }, ipv4::MIN_LENGTH)?;
        return packet.store(l3, dsr::outer4(&inner, wire::IPV4, bytes, &source, to));
    }
    let link: Link = packet.load(At(0))?;
    let bytes = bytes.wrapping_add(ethernet::LENGTH);
    let option = size_of::<Geneve4>();
    let outer = Outer::new(source_port(node, work), option, option.wrapping_add(bytes));
    let datagram = usize::from(outer.length.get());
    packet
        .encapsulate(Tunnel { is_v4: true, is_udp }, dsr::overhead(Forwarding::DsrGeneve, true))?;
    packet.store(l3, dsr::outer4(&inner, wire::UDP, datagram, &source, to))?;
    let at = l3.plus(ipv4::MIN_LENGTH);
    packet.store(at, outer)?;
    let at = at.plus(size_of::<Outer>());
    packet.store(at, Geneve4::new(&tuple.destination, tuple.destination_port, tuple.protocol))?;
    packet.store(at.plus(option), link)
}

#[inline(never)]
fn tunnel6<P: Packet, M: Maps>(
    packet: &mut P,
    node: &Node<M>,
    work: &Work,
    is_udp: bool,
) -> Result<(), DropReason> {
    let (l3, tuple, to) = (work.parsed.l3, &work.parsed.tuple, &work.half.to.destination);
    let source = snat::source(node, false)?;
    let inner: ipv6::Header = packet.load(l3)?;
    let bytes = usize::from(inner.payload_length.get()).wrapping_add(ipv6::LENGTH);
    if !is_udp {
        packet.encapsulate(Tunnel { is_v4: false, is_udp }, ipv6::LENGTH)?;
        return packet.store(l3, dsr::outer6(&inner, wire::IPV6, bytes, &source, to));
    }
    let link: Link = packet.load(At(0))?;
    let bytes = bytes.wrapping_add(ethernet::LENGTH);
    let option = size_of::<Geneve6>();
    let outer = Outer::new(source_port(node, work), option, option.wrapping_add(bytes));
    let datagram = usize::from(outer.length.get());
    packet.encapsulate(
        Tunnel { is_v4: false, is_udp },
        dsr::overhead(Forwarding::DsrGeneve, false),
    )?;
    packet.store(l3, dsr::outer6(&inner, wire::UDP, datagram, &source, to))?;
    let at = l3.plus(ipv6::LENGTH);
    packet.store(at, outer)?;
    let at = at.plus(size_of::<Outer>());
    packet.store(at, Geneve6::new(&tuple.destination, tuple.destination_port, tuple.protocol))?;
    packet.store(at.plus(option), link)
}

/// An Ethernet header in words: the inner one is the outer one as it came, and nobody reads it.
type Link = [u16; ethernet::LENGTH / 2];
