//! The hooks: what happens to a packet at each place where the node meets it.
//!
//! All hooks take the same road. A packet of a known connection that tells nothing new is translated
//! and sent on: one lookup. Anything else takes the slow road, where services and backends are
//! consulted and the connection's entries are written.

use crate::conntrack::{self, Flow, Opening, Twin, is_syn};
use crate::drop_reason::DropReason;
use crate::parse::{Parsed, Transport, parse};
use crate::seam::{Host, InsertError, Lookup, Maps, Metric, Nanos, Node, Packet, Table};
use crate::select::{Selected, fitness, select};
use crate::state::Direction;
use crate::translate::{hop, translate, ttl_after};
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

    /// The name, which is also that of the program.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FromPod => "from-pod",
            Self::ToPod => "to-pod",
            Self::FromNetdev => "from-netdev",
        }
    }
}

/// A packet has come from the pod behind `device`.
#[inline(always)]
pub fn from_pod<P: Packet, M: Maps>(
    packet: &mut P,
    node: &mut Node<M>,
    device: IfIndex,
) -> Decision {
    run(packet, node, Hook::FromPod, Exit::Pod(device))
}

/// A packet is about to reach a pod by way of the stack.
#[inline(always)]
pub fn to_pod<P: Packet, M: Maps>(packet: &mut P, node: &mut Node<M>) -> Decision {
    run(packet, node, Hook::ToPod, Exit::Stack)
}

/// A packet has come from another node by `device`.
#[inline(always)]
pub fn from_netdev<P: Packet, M: Maps>(
    packet: &mut P,
    node: &mut Node<M>,
    device: IfIndex,
) -> Decision {
    run(packet, node, Hook::FromNetdev, Exit::Device(device))
}

/// How a packet got here.
#[derive(Clone, Copy)]
struct Arrival {
    hook: Hook,
    /// How an answer leaves: by the way this packet came.
    back: Exit,
    now: Nanos,
}

impl Arrival {
    /// What is left to choose of an exit at this hook: behind the stack, the way is settled.
    #[inline(always)]
    fn exit(&self, exit: Exit) -> Exit {
        if matches!(self.hook, Hook::ToPod) { Exit::Stack } else { exit }
    }
}

#[inline(always)]
fn run<P: Packet, M: Maps>(packet: &mut P, node: &mut Node<M>, hook: Hook, back: Exit) -> Decision {
    let parsed = match parse(packet) {
        Ok(Some(parsed)) => parsed,
        Ok(None) => return Decision::untracked(Verdict::Pass),
        Err(reason) => return dropped(node, reason),
    };
    let arrival = Arrival { hook, back, now: node.host.now() };
    if !matches!(parsed.transport, Transport::Tcp | Transport::Udp) {
        return match untracked(packet, node, &parsed, &arrival) {
            Ok(verdict) => Decision::untracked(verdict),
            Err(reason) => dropped(node, reason),
        };
    }
    if let Some(flow) = node.conntrack.get(&parsed.tuple)
        && flow.is_current(&parsed, arrival.now, node.config.epoch)
    {
        let exit = arrival.exit(flow.exit());
        let decision = decision(flow, status(flow), exit);
        return match translate(packet, &parsed, flow, exit) {
            Ok(()) => decision,
            Err(reason) => dropped(node, reason),
        };
    }
    match slow(packet, node, &parsed, &arrival) {
        Ok(decision) => decision,
        Err(reason) => dropped(node, reason),
    }
}

/// A packet that no connection is kept for: ICMP, fragments, other protocols.
#[inline(always)]
fn untracked<P: Packet, M: Maps>(
    packet: &mut P,
    node: &Node<M>,
    parsed: &Parsed,
    arrival: &Arrival,
) -> Result<Verdict, DropReason> {
    if parsed.tuple.destination.is_link_scope() {
        return Ok(Verdict::Pass);
    }
    if crate::select::is_frontend_address(node, arrival.hook, &parsed.tuple.destination) {
        return Err(match parsed.transport {
            Transport::Fragment => DropReason::FragmentationNotSupported,
            _ => DropReason::ServicePortNotFound,
        });
    }
    let exit = arrival.exit(exit_to_plain(node, parsed));
    hop(packet, parsed, exit)?;
    Ok(exit.verdict())
}

/// A packet that opens a connection, or tells something new about one.
#[inline(never)]
fn slow<P: Packet, M: Maps>(
    packet: &mut P,
    node: &mut Node<M>,
    parsed: &Parsed,
    arrival: &Arrival,
) -> Result<Decision, DropReason> {
    if parsed.tuple.destination.is_link_scope() {
        return Ok(Decision::untracked(Verdict::Pass));
    }
    let known = node.conntrack.get(&parsed.tuple).cloned();
    let mut opened = Status::New;
    if let Some(flow) = known {
        if stays(node, parsed, &flow, arrival) {
            let exit = arrival.exit(flow.exit());
            // First, since a packet that is dropped must not refresh what it belongs to.
            ttl_after(parsed, exit)?;
            let epoch = node.config.epoch;
            match conntrack::refresh(
                &mut node.conntrack,
                parsed,
                &flow,
                arrival.back,
                arrival.now,
                epoch,
            ) {
                Twin::Lost => {
                    node.conntrack.remove(&parsed.tuple);
                    node.host.count(Metric::REAPED);
                }
                twin => {
                    match twin {
                        Twin::Restored => node.host.count(Metric::RESTORED),
                        Twin::Missing => node.host.count(Metric::RESTORE_FAILED),
                        Twin::Found | Twin::Lost => {}
                    }
                    translate(packet, parsed, &flow, exit)?;
                    return Ok(decision(&flow, status(&flow), exit));
                }
            }
        } else {
            conntrack::close(&mut node.conntrack, &parsed.tuple, &flow);
        }
        opened = Status::Reopened;
    }
    let flow = match open(node, parsed, arrival)? {
        Some(flow) => flow,
        None => return untracked(packet, node, parsed, arrival).map(Decision::untracked),
    };
    node.host.count(Metric::OPENED);
    let exit = arrival.exit(flow.exit());
    translate(packet, parsed, &flow, exit)?;
    Ok(decision(&flow, opened, exit))
}

/// Whether a connection goes on with this packet as it is, and is not to be opened anew.
#[inline(always)]
fn stays<M: Maps>(node: &mut Node<M>, parsed: &Parsed, flow: &Flow, arrival: &Arrival) -> bool {
    if flow.is_over(parsed, arrival.now) {
        return false;
    }
    // Only the opener's packets can choose again, and only those that may open a connection: the
    // middle of a TCP connection means nothing to another backend.
    let may_choose = matches!(parsed.transport, Transport::Udp) || is_syn(parsed);
    let original = matches!(flow.direction(), Direction::Original);
    if flow.service == 0 || !original || !may_choose || flow.epoch() == node.config.epoch {
        return true;
    }
    let fit = fitness(node, parsed, flow);
    if !fit {
        node.host.count(Metric::MOVED);
    }
    fit
}

/// Opens a connection; `None` where the packet goes on without one.
#[inline(always)]
fn open<M: Maps>(
    node: &mut Node<M>,
    parsed: &Parsed,
    arrival: &Arrival,
) -> Result<Option<Flow>, DropReason> {
    let reset = parsed.flags & tcp::RST != 0;
    let mut attempt = 0;
    loop {
        let opening = match select(node, arrival.hook, &parsed.tuple, attempt)? {
            // A reset ends what is not there. Plain ones go on, since the ends may know more than
            // this node does; those to a frontend would have to guess a backend.
            Selected::Backend { .. } if reset => return Err(DropReason::CannotCreateFromPacket),
            Selected::Plain if reset => return Ok(None),
            Selected::Plain => Opening {
                to: parsed.tuple,
                service: 0,
                backend: 0,
                exit: exit_to_plain(node, parsed),
                back: arrival.back,
            },
            Selected::Backend { service, id, backend } => Opening {
                to: parsed.tuple.to(backend.address, backend.port),
                service,
                backend: id,
                exit: exit_to_backend(node, &backend.address),
                back: arrival.back,
            },
        };
        ttl_after(parsed, arrival.exit(opening.exit))?;
        let epoch = node.config.epoch;
        match conntrack::open(&mut node.conntrack, parsed, &opening, arrival.now, epoch) {
            Ok(flow) => return Ok(Some(flow)),
            Err(InsertError::Full) => return Err(DropReason::ConntrackInsertionFailed),
            // The packet was translated here already and has come round by the stack.
            Err(InsertError::Exists) if !matches!(arrival.hook, Hook::FromPod) => return Ok(None),
            Err(InsertError::Exists) => {}
        }
        attempt = attempt.wrapping_add(1);
        if opening.backend == 0 || attempt >= ATTEMPTS {
            return Err(DropReason::ConntrackTupleConflict);
        }
    }
}

/// How many backends are tried for one connection when their reply tuples are taken.
const ATTEMPTS: u32 = 4;

/// The way of a packet that is not translated: to the pod if it is here, else as the stack knows.
#[inline(always)]
fn exit_to_plain<M: Maps>(node: &Node<M>, parsed: &Parsed) -> Exit {
    match node.endpoints.get(&parsed.tuple.destination) {
        Some(endpoint) => endpoint.exit(),
        None => Exit::Stack,
    }
}

/// The way to a backend: to the pod if it is here, else by the device that faces the other nodes.
#[inline(always)]
fn exit_to_backend<M: Maps>(node: &Node<M>, address: &crate::address::Address) -> Exit {
    match node.endpoints.get(address) {
        Some(endpoint) => endpoint.exit(),
        None if node.config.uplink != 0 => Exit::Device(node.config.uplink),
        None => Exit::Stack,
    }
}

#[inline(always)]
fn status(flow: &Flow) -> Status {
    match flow.direction() {
        Direction::Original => Status::Established,
        Direction::Reply => Status::Reply,
    }
}

#[inline(always)]
fn decision(flow: &Flow, status: Status, exit: Exit) -> Decision {
    Decision { verdict: exit.verdict(), status, service: flow.service, backend: flow.backend }
}

#[inline(always)]
fn dropped<M: Maps>(node: &mut Node<M>, reason: DropReason) -> Decision {
    node.host.count(Metric::drop(reason));
    Decision::untracked(Verdict::Drop(reason))
}

#[cfg(test)]
mod tests;
