//! What a packet is, and which way it goes: the first stage of the slow road.

use super::connect::check_hop;
use super::stage::{Answer, Stage, Work};
use super::unwrap;
use crate::drop_reason::DropReason;
use crate::fragment::{Datagram, Ports};
use crate::parse::{Parsed, Part, Transport};
use crate::seam::{Lookup, Maps, Node, Packet, Put, Table};
use crate::select::{exit_to, is_frontend_address};
use crate::translate::hop;
use crate::verdict::{Decision, Status};

/// The stage.
///
/// The packet is parsed again, since keeping what the fast road parsed would cost that road's packets
/// more.
#[inline(always)]
pub(super) fn classify<P: Packet, M: Maps>(
    packet: &mut P,
    node: &mut Node<M>,
    work: &mut Work,
) -> Result<Stage, DropReason> {
    work.begin();
    if !parse_again(packet, work)? {
        return Ok(Stage::Done);
    }
    if work.parsed.tuple.destination.is_link_scope() {
        return Ok(Stage::Done);
    }
    if work.arrival.hook.is_outside() && unwrap::may_be_wrapped(&work.parsed) {
        return Ok(Stage::Unwrap);
    }
    sort(packet, node, work)
}

/// Where a packet goes that is wrapped in nothing.
#[inline(always)]
pub(super) fn sort<P: Packet, M: Maps>(
    packet: &mut P,
    node: &mut Node<M>,
    work: &mut Work,
) -> Result<Stage, DropReason> {
    let followed = match work.parsed.part {
        Part::Whole => true,
        Part::First => remember(node, work),
        Part::Later => follow(node, work)?,
    };
    if is_echo_to_frontend(node, work) {
        work.reason = DropReason::ServicePortNotFound;
        work.answer = Answer::Echo;
        return Ok(Stage::Answer);
    }
    match work.parsed.transport {
        Transport::Tcp | Transport::Udp | Transport::Sctp | Transport::Echo => Ok(Stage::Connect),
        Transport::IcmpError => Ok(Stage::Related),
        Transport::Fragment if followed => Ok(Stage::Connect),
        _ => pass_on(packet, node, work),
    }
}

/// Whether the packet asks a frontend's address for an echo, which is nobody else's to give.
#[inline(never)]
fn is_echo_to_frontend<M: Maps>(node: &Node<M>, work: &Work) -> bool {
    let Parsed { tuple, transport, part, .. } = &work.parsed;
    matches!((transport, part), (Transport::Echo, Part::Whole))
        && tuple.destination_port.raw() == 0 // a request
        && is_frontend_address(node, &tuple.destination)
}

/// Parses the packet into `work`; `false` where it is no IP.
#[inline(always)]
pub(super) fn parse_again<P: Packet>(packet: &P, work: &mut Work) -> Result<bool, DropReason> {
    packet.parse(work)
}

/// Remembers the ports of a datagram of which this is the first fragment. Where there is no room the
/// fragments behind it will be dropped, and the datagram comes again.
#[inline(never)]
fn remember<M: Maps>(node: &mut Node<M>, work: &Work) -> bool {
    let Parsed { tuple, transport, .. } = &work.parsed;
    let datagram = Datagram::new(tuple.source, tuple.destination, work.parsed.id, tuple.protocol);
    let tracked =
        matches!(transport, Transport::Tcp | Transport::Udp | Transport::Sctp | Transport::Echo);
    let (source, destination) = (tuple.source_port, tuple.destination_port);
    let ports = Ports::new(source, destination, work.arrival.now, tracked);
    node.fragments.insert(&datagram, &ports, Put::Any).is_ok()
}

/// Gives a later fragment the ports of the first one; whether it is of a connection. One that comes before it cannot be told apart
/// from one of another connection, and goes nowhere: never to a wrong backend. To the node itself it
/// may go, since a frontend's datagram is not completed there.
#[inline(never)]
fn follow<M: Maps>(node: &Node<M>, work: &mut Work) -> Result<bool, DropReason> {
    let tuple = &mut work.parsed.tuple;
    let datagram = Datagram::new(tuple.source, tuple.destination, work.parsed.id, tuple.protocol);
    if let Some(ports) = node.fragments.get(&datagram)
        && ports.is_current(work.arrival.now)
    {
        (tuple.source_port, tuple.destination_port) = (ports.source, ports.destination);
        return Ok(ports.is_tracked());
    }
    match node.endpoints.get(&tuple.destination) {
        Some(endpoint) if endpoint.is_here() && endpoint.device == 0 => Ok(false),
        _ => Err(DropReason::FragmentNotFound),
    }
}

/// Sends a packet on without a connection: ICMP that is no echo, other protocols.
#[inline(never)]
pub(super) fn pass_on<P: Packet, M: Maps>(
    packet: &mut P,
    node: &Node<M>,
    work: &mut Work,
) -> Result<Stage, DropReason> {
    let destination = &work.parsed.tuple.destination;
    if is_frontend_address(node, destination) {
        return Err(DropReason::ServicePortNotFound);
    }
    let exit = exit_to(node, destination, 0);
    check_hop(work, exit)?;
    let exit = work.exit(exit);
    hop(packet, &work.parsed, exit)?;
    work.decision = Decision::leaving(exit, Status::Untracked, 0, 0);
    Ok(Stage::Done)
}
