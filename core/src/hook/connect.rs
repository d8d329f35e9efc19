//! The stage that finds a packet's connection and sends the packet on.

use super::classify::parse_again;
use super::stage::{Answer, Stage, Work};
use super::{Hook, decision, status, wrap};
use crate::address::Address;
use crate::conntrack::{self, Flow, Twin, find, is_syn};
use crate::drop_reason::DropReason;
use crate::parse::Transport;
use crate::seam::{Host, Maps, Metric, Node, Packet, Put, Table};
use crate::select::{exit_to, is_fit};
use crate::state::Direction;
use crate::translate::{translate_any, ttl_after};
use crate::verdict::{Exit, Status};

/// The stage.
#[inline(always)]
pub(super) fn connect<P: Packet, M: Maps>(
    packet: &mut P,
    node: &mut Node<M>,
    work: &mut Work,
) -> Result<Stage, DropReason> {
    wrap::measure(packet, work)?;
    if find_half(node, work)? { send(packet, node, work) } else { Ok(Stage::Open) }
}

/// The stage that sends a packet on with the half of its connection that the fast road found.
#[inline(always)]
pub(super) fn resume<P: Packet, M: Maps>(
    packet: &mut P,
    node: &Node<M>,
    work: &mut Work,
) -> Result<Stage, DropReason> {
    parse_again(packet, work)?;
    work.answer = Answer::None;
    work.frontend = Address::UNSPECIFIED; // another packet's
    wrap::measure(packet, work)?;
    send(packet, node, work)
}

/// Sends a packet on with the half of its connection that is in `work`.
#[inline(never)]
pub(super) fn send<P: Packet, M: Maps>(
    packet: &mut P,
    node: &Node<M>,
    work: &mut Work,
) -> Result<Stage, DropReason> {
    let exit = work.exit(work.half.exit());
    let wraps = wrap::check(node, work, wrap::telling(&work.half, work))?;
    translate_any(packet, &work.parsed, &work.half, exit)?;
    work.decision = decision(&work.half, work.status, exit);
    Ok(if wraps { Stage::Wrap } else { Stage::Done })
}

/// Leaves in `work.half` the half of the packet's connection, brought up to date; `false` where one is to
/// be opened.
#[inline(always)]
fn find_half<M: Maps>(node: &mut Node<M>, work: &mut Work) -> Result<bool, DropReason> {
    work.status = Status::New;
    // Read before the tables are, which may change meanwhile: what a connection notes is what it was
    // checked against.
    let epoch = node.config.epoch;
    if let Some(flow) = find(&node.conntrack, &work.parsed.tuple) {
        if stays(node, work, flow, epoch) {
            work.status = status(flow);
            let twin = go_on(node, work, epoch)?;
            if matches!(twin, Twin::Missing) {
                node.host.count(match conntrack::restore(&mut node.conntrack, work) {
                    Ok(()) => Metric::RESTORED,
                    Err(_) => Metric::RESTORE_FAILED,
                });
            }
            if !matches!(twin, Twin::Lost) {
                return Ok(true);
            }
        } else {
            conntrack::close(&mut node.conntrack, &work.parsed.tuple);
        }
        work.status = Status::Reopened;
    } else if adopt(node, work) {
        node.host.count(Metric::RESTORED);
        work.status = status(&work.half);
        return Ok(true);
    }
    Ok(false)
}

/// Restores the half under the packet's tuple where it follows from its twin.
#[inline(always)]
fn adopt<M: Maps>(node: &mut Node<M>, work: &mut Work) -> bool {
    if !conntrack::adopt(&node.conntrack, work, node.config.epoch) {
        return false;
    }
    work.half.leave_by(exit_to(node, &work.parsed.tuple.destination, node.config.uplink));
    // Without room the packet still goes the right way, and so will the next.
    let _ = node.conntrack.insert(&work.parsed.tuple, &work.half, Put::New);
    true
}

/// Whether a connection goes on with this packet as it is, and is not to be opened anew.
#[inline(always)]
fn stays<M: Maps>(node: &Node<M>, work: &Work, flow: &Flow, epoch: u32) -> bool {
    let Work { parsed, arrival, .. } = work;
    if flow.is_over(parsed, arrival.now) {
        return false;
    }
    // What the node that chose the backend says comes first.
    if work.chosen != 0 {
        return flow.backend == work.chosen;
    }
    if work.frontend != Address::UNSPECIFIED {
        let same =
            flow.to.destination == work.frontend && flow.to.destination_port == work.frontend_port;
        return flow.is_direct() && (same || !is_syn(parsed));
    }
    // Only the opener's packets can choose again, and only those that may open a connection: the
    // middle of a TCP connection means nothing to another backend. A SYN asks whatever the epoch,
    // since the packets in the middle note it without asking.
    let syn = is_syn(parsed);
    let datagram = matches!(parsed.transport, Transport::Udp | Transport::Echo);
    let may_choose = syn || flow.service == 0 || datagram;
    let original = matches!(flow.direction(), Direction::Original);
    let unchanged = !syn && flow.epoch() == epoch;
    !original || !may_choose || unchanged || is_fit(node, work, flow)
}

/// Brings a connection up to date, or ends it where it turns out to be half a connection whose other
/// half now belongs to another.
#[inline(never)]
fn go_on<M: Maps>(node: &mut Node<M>, work: &mut Work, epoch: u32) -> Result<Twin, DropReason> {
    let Some(flow) = find(&node.conntrack, &work.parsed.tuple) else { return Ok(Twin::Lost) };
    // First, since a packet that is dropped must not refresh what it belongs to.
    let telling = wrap::telling(flow, work);
    check_hop(work, flow.exit())?;
    wrap::check(node, work, telling)?;
    let twin = conntrack::refresh(&mut node.conntrack, work, epoch);
    if matches!(twin, Twin::Lost) {
        node.conntrack.remove(&work.parsed.tuple);
        node.host.count(Metric::REAPED);
    }
    Ok(twin)
}

/// Whether the packet has a hop left to leave by this exit.
#[inline(always)]
pub(super) fn check_hop(work: &mut Work, exit: Exit) -> Result<(), DropReason> {
    match ttl_after(&work.parsed, work.exit(exit)) {
        Ok(_) => Ok(()),
        Err(reason) if matches!(work.arrival.hook, Hook::ToNetdev | Hook::ToPod) => Err(reason),
        Err(reason) => Err(work.refuse(Answer::TimeExceeded, reason)),
    }
}
