//! The hooks: what happens to a packet at each place where the node meets it.
//!
//! All hooks take the same road. A packet of a known connection that tells nothing new is translated
//! and sent on: one lookup. Anything else takes the slow road, where services and backends are
//! consulted and the connection's entries are written.

use crate::bytes::Pod;
use crate::conntrack::{self, Flow, Twin, find, is_syn};
use crate::drop_reason::DropReason;
use crate::parse::{Parsed, Transport, parse};
use crate::seam::{Host, InsertError, Lookup, Maps, Metric, Nanos, Node, Packet, Room, Table};
use crate::select::{Selected, exit_to, is_fit, is_frontend_address, select};
use crate::state::Direction;
use crate::translate::{hop, translate, ttl_after};
use crate::tuple::Tuple;
use crate::verdict::{Decision, Exit, IfIndex, Status, Verdict};
use crate::wire::tcp;

/// Where a packet is met.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hook {
    /// It comes from a pod: tc ingress of the pod's host-side device.
    FromPod,
    /// It goes to a pod by way of the node's stack: tc egress of that device.
    ToPod,
    /// It comes from another node: tc ingress of the node's device.
    FromNetdev,
}

impl Hook {
    /// Every hook.
    pub const ALL: [Self; 3] = [Self::FromPod, Self::ToPod, Self::FromNetdev];

    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FromPod => "from-pod",
            Self::ToPod => "to-pod",
            Self::FromNetdev => "from-netdev",
        }
    }

    /// The name of the program that is this hook in the kernel.
    pub const fn program(self) -> &'static str {
        match self {
            Self::FromPod => "from_pod",
            Self::ToPod => "to_pod",
            Self::FromNetdev => "from_netdev",
        }
    }
}

/// A packet has come from the pod behind `device`.
#[inline(always)]
pub fn from_pod<P: Packet, M: Maps>(
    packet: &mut P,
    node: &mut Node<M>,
    room: &mut impl Room,
    device: IfIndex,
) -> Decision {
    run(packet, node, room, Hook::FromPod, Exit::Pod(device))
}

/// A packet is about to reach a pod by way of the stack.
#[inline(always)]
pub fn to_pod<P: Packet, M: Maps>(
    packet: &mut P,
    node: &mut Node<M>,
    room: &mut impl Room,
) -> Decision {
    run(packet, node, room, Hook::ToPod, Exit::Stack)
}

/// A packet has come from another node by `device`.
#[inline(always)]
pub fn from_netdev<P: Packet, M: Maps>(
    packet: &mut P,
    node: &mut Node<M>,
    room: &mut impl Room,
    device: IfIndex,
) -> Decision {
    run(packet, node, room, Hook::FromNetdev, Exit::Device(device))
}

/// How a packet got here.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Where it is met.
    pub hook: Hook,
    /// How an answer leaves: by the way this packet came.
    pub back: Exit,
    /// When.
    pub now: Nanos,
}

/// What the slow road works on. A kernel program has 512 bytes of stack for all its frames, so there
/// this lies in a per-CPU map element.
pub struct Work {
    /// The packet.
    pub parsed: Parsed,
    /// How it got here.
    pub arrival: Arrival,
    /// The half of its connection.
    pub half: Flow,
    /// The key of the other half.
    pub twin_key: Tuple,
    /// What conntrack knew of it.
    pub status: Status,
    /// What came of it.
    pub decision: Decision,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            parsed: Parsed::default(),
            arrival: Arrival { hook: Hook::FromPod, back: Exit::Stack, now: 0 },
            half: Flow::zeroed(),
            twin_key: Tuple::zeroed(),
            status: Status::Untracked,
            decision: Decision::untracked(Verdict::Pass),
        }
    }
}

impl Room for Work {
    #[inline(always)]
    fn work(&mut self) -> Option<&mut Work> {
        Some(self)
    }
}

impl Work {
    #[inline(always)]
    fn exit(&self, exit: Exit) -> Exit {
        settled(self.arrival.hook, exit)
    }
}

/// What is left to choose of an exit at a hook: behind the stack, the way is settled.
#[inline(always)]
fn settled(hook: Hook, exit: Exit) -> Exit {
    if matches!(hook, Hook::ToPod) { Exit::Stack } else { exit }
}

#[inline(always)]
fn run<P: Packet, M: Maps>(
    packet: &mut P,
    node: &mut Node<M>,
    room: &mut impl Room,
    hook: Hook,
    back: Exit,
) -> Decision {
    let parsed = match parse(packet) {
        Ok(Some(parsed)) => parsed,
        Ok(None) => return Decision::untracked(Verdict::Pass),
        Err(reason) => return dropped(node, reason),
    };
    let now = node.host.now();
    if matches!(parsed.transport, Transport::Tcp | Transport::Udp)
        && let Some(flow) = node.conntrack.get(&parsed.tuple)
        && flow.is_current(&parsed, now, node.config.epoch)
    {
        let exit = settled(hook, flow.exit());
        let decision = decision(flow, status(flow), exit);
        return match translate(packet, &parsed, flow, exit) {
            Ok(()) => decision,
            Err(reason) => dropped(node, reason),
        };
    }
    let Some(work) = room.work() else { return Decision::untracked(Verdict::Pass) };
    work.arrival = Arrival { hook, back, now };
    match slow(packet, node, work) {
        Ok(()) => work.decision,
        Err(reason) => dropped(node, reason),
    }
}

/// A packet that opens a connection, tells something new about one, or has none.
///
/// It is parsed again, since keeping what the fast road parsed would cost that road's packets more.
#[inline(never)]
fn slow<P: Packet, M: Maps>(
    packet: &mut P,
    node: &mut Node<M>,
    work: &mut Work,
) -> Result<(), DropReason> {
    parse_again(packet, work)?;
    work.decision = Decision::untracked(Verdict::Pass);
    if work.parsed.tuple.destination.is_link_scope() {
        return Ok(());
    }
    let tracked = matches!(work.parsed.transport, Transport::Tcp | Transport::Udp);
    if !tracked || !connect(node, work)? {
        return pass_on(packet, node, work);
    }
    send(packet, work)
}

/// Sends a packet on with the half of its connection that is in `work`.
#[inline(never)]
fn send<P: Packet>(packet: &mut P, work: &mut Work) -> Result<(), DropReason> {
    let exit = work.exit(work.half.exit());
    translate(packet, &work.parsed, &work.half, exit)?;
    work.decision = decision(&work.half, work.status, exit);
    Ok(())
}

#[inline(never)]
fn parse_again<P: Packet>(packet: &P, work: &mut Work) -> Result<(), DropReason> {
    work.parsed = parse(packet)?.ok_or(DropReason::InvalidPacket)?;
    Ok(())
}

/// Leaves in `work.half` the half of the packet's connection, brought up to date or opened; `false`
/// where the packet goes on without one.
#[inline(always)]
fn connect<M: Maps>(node: &mut Node<M>, work: &mut Work) -> Result<bool, DropReason> {
    let mut opened = Status::New;
    if let Some(flow) = find(&node.conntrack, &work.parsed.tuple) {
        if stays(node, work, flow) {
            work.status = status(flow);
            let twin = go_on(node, work)?;
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
        opened = Status::Reopened;
    }
    work.status = opened;
    open(node, work)
}

/// Whether a connection goes on with this packet as it is, and is not to be opened anew.
#[inline(always)]
fn stays<M: Maps>(node: &Node<M>, work: &Work, flow: &Flow) -> bool {
    let Work { parsed, arrival, .. } = work;
    if flow.is_over(parsed, arrival.now) {
        return false;
    }
    // Only the opener's packets can choose again, and only those that may open a connection: the
    // middle of a TCP connection means nothing to another backend. A SYN asks whatever the epoch,
    // since the packets in the middle note it without asking.
    let syn = is_syn(parsed);
    let may_choose = syn || flow.service == 0 || matches!(parsed.transport, Transport::Udp);
    let original = matches!(flow.direction(), Direction::Original);
    let unchanged = !syn && flow.epoch() == node.config.epoch;
    !original || !may_choose || unchanged || is_fit(node, arrival.hook, parsed, flow)
}

/// Brings a connection up to date, or ends it where it turns out to be half a connection whose other
/// half now belongs to another.
#[inline(never)]
fn go_on<M: Maps>(node: &mut Node<M>, work: &mut Work) -> Result<Twin, DropReason> {
    let Some(flow) = find(&node.conntrack, &work.parsed.tuple) else { return Ok(Twin::Lost) };
    // First, since a packet that is dropped must not refresh what it belongs to.
    ttl_after(&work.parsed, work.exit(flow.exit()))?;
    let twin = conntrack::refresh(&mut node.conntrack, work, node.config.epoch);
    if matches!(twin, Twin::Lost) {
        node.conntrack.remove(&work.parsed.tuple);
        node.host.count(Metric::REAPED);
    }
    Ok(twin)
}

/// Opens a connection; `false` where the packet goes on without one.
#[inline(never)]
fn open<M: Maps>(node: &mut Node<M>, work: &mut Work) -> Result<bool, DropReason> {
    let reset = work.parsed.flags & tcp::RST != 0;
    let mut attempt = 0;
    loop {
        let selected = select(node, work, attempt)?;
        match selected {
            // A reset ends what is not there. One to a frontend would have to guess a backend; others
            // go on, since the ends may know more than this node does.
            Selected::Backend if reset => return Err(DropReason::CannotCreateFromPacket),
            Selected::Plain if reset => return Ok(false),
            Selected::Backend | Selected::Plain => {}
        }
        ttl_after(&work.parsed, work.exit(work.half.exit()))?;
        match conntrack::open(&mut node.conntrack, work) {
            Ok(()) => {
                node.host.count(Metric::OPENED);
                return Ok(true);
            }
            Err(InsertError::Full) => return Err(DropReason::ConntrackInsertionFailed),
            // The packet was translated here already and has come round by the stack.
            Err(InsertError::Exists) if !matches!(work.arrival.hook, Hook::FromPod) => {
                return Ok(false);
            }
            Err(InsertError::Exists) => {}
        }
        attempt = attempt.wrapping_add(1);
        if matches!(selected, Selected::Plain) || attempt >= ATTEMPTS {
            return Err(DropReason::ConntrackTupleConflict);
        }
    }
}

/// Sends a packet on without a connection: ICMP, fragments, other protocols.
#[inline(never)]
fn pass_on<P: Packet, M: Maps>(
    packet: &mut P,
    node: &Node<M>,
    work: &mut Work,
) -> Result<(), DropReason> {
    let destination = &work.parsed.tuple.destination;
    if is_frontend_address(node, work.arrival.hook, destination) {
        return Err(match work.parsed.transport {
            Transport::Fragment => DropReason::FragmentationNotSupported,
            _ => DropReason::ServicePortNotFound,
        });
    }
    let exit = work.exit(exit_to(node, destination, 0));
    hop(packet, &work.parsed, exit)?;
    work.decision = Decision::untracked(exit.verdict());
    Ok(())
}

/// How many backends are tried for one connection when their reply tuples are taken.
const ATTEMPTS: u32 = 4;

#[inline(always)]
fn status(flow: &Flow) -> Status {
    match flow.direction() {
        Direction::Original => Status::Established,
        Direction::Reply => Status::Reply,
    }
}

#[inline(always)]
fn decision(flow: &Flow, status: Status, exit: Exit) -> Decision {
    Decision::new(exit.verdict(), status, flow.service, flow.backend)
}

#[inline(always)]
fn dropped<M: Maps>(node: &mut Node<M>, reason: DropReason) -> Decision {
    node.host.count(Metric::drop(reason));
    Decision::untracked(Verdict::Drop(reason))
}

#[cfg(test)]
mod tests;
