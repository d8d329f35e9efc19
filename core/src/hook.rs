//! The hooks: what happens to a packet at each place where the node meets it.
//!
//! All hooks take the same road. A packet of a known connection that tells nothing new is translated
//! and sent on: one lookup, here. Anything else takes the slow road, a chain of [`Stage`]s, where
//! services and backends are consulted and the connection's entries are written.

use crate::conntrack::Flow;
use crate::drop_reason::DropReason;
use crate::parse::{Parsed, Quick, Transport, quick, quick_apart};
use crate::seam::{Host, Lookup, Maps, Metric, Node, Packet, Room};
use crate::service::{Forwarding, Scope};
use crate::state::Direction;
use crate::translate::translate;
use crate::verdict::{Decision, Exit, IfIndex, Status, Verdict};
use crate::wire::{ipv4, ipv6};

mod answer;
mod classify;
mod connect;
mod open;
mod related;
mod stage;
mod unwrap;
mod wrap;

pub use stage::{Answer, Arrival, Stage, Work, finish, run};

/// Where a packet is met.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Hook {
    /// It comes from a pod: tc ingress of the pod's host-side device.
    FromPod = 0,
    /// It goes to a pod by way of the node's stack: tc egress of that device.
    ToPod = 1,
    /// It comes from outside the node: tc ingress of the node's device.
    FromNetdev = 2,
    /// It leaves the node by way of its stack: tc egress of the node's device.
    ToNetdev = 3,
    /// It comes from outside the node, and is met before the kernel makes a packet of it: XDP at the
    /// node's device. What this hook lets pass, the one at tc meets.
    Xdp = 4,
}

impl Hook {
    /// Every hook.
    pub const ALL: [Self; 5] =
        [Self::FromPod, Self::ToPod, Self::FromNetdev, Self::ToNetdev, Self::Xdp];

    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FromPod => "from-pod",
            Self::ToPod => "to-pod",
            Self::FromNetdev => "from-netdev",
            Self::ToNetdev => "to-netdev",
            Self::Xdp => "xdp",
        }
    }

    /// The name of the program that is this hook in the kernel.
    pub const fn program(self) -> &'static str {
        match self {
            Self::FromPod => "from_pod",
            Self::ToPod => "to_pod",
            Self::FromNetdev => "from_netdev",
            Self::ToNetdev => "to_netdev",
            Self::Xdp => "xdp_from_netdev",
        }
    }

    /// Whose packets are met here: those of clients in the cluster or of those outside.
    #[inline(always)]
    pub const fn scope(self) -> Scope {
        match self {
            Self::FromPod | Self::ToPod | Self::ToNetdev => Scope::Internal,
            Self::FromNetdev | Self::Xdp => Scope::External,
        }
    }

    /// How an answer leaves: by the way the packet came, which was this device.
    #[inline(always)]
    const fn back(self, device: IfIndex) -> Exit {
        match self {
            Self::FromPod => Exit::pod(device),
            Self::FromNetdev | Self::Xdp => Exit::device(device),
            Self::ToPod | Self::ToNetdev => Exit::STACK,
        }
    }

    /// What is left to choose of an exit: at a pod's device, the way is settled. At the node's, it is that
    /// to where the packet went before it was given a backend, so it is chosen again.
    #[inline(always)]
    const fn settled(self, exit: Exit) -> Exit {
        match self {
            Self::ToPod => Exit::STACK,
            Self::ToNetdev => exit.of_own(),
            _ => exit,
        }
    }

    /// Whether packets come from outside, where another node may have told something by options or a
    /// tunnel.
    #[inline(always)]
    const fn is_outside(self) -> bool {
        matches!(self, Self::FromNetdev | Self::Xdp)
    }
}

/// A packet at a hook, from beginning to end: for platforms that need not leave one program for
/// another. `device` is where it came in or, going to a pod, will go out.
#[inline(always)]
pub fn handle<P: Packet, M: Maps>(
    packet: &mut P,
    node: &mut Node<M>,
    work: &mut Work,
    hook: Hook,
    device: IfIndex,
) -> Decision {
    if matches!(hook, Hook::Xdp) {
        return express(packet, node);
    }
    let decision = start(packet, node, work, hook, device);
    if decision.is_undecided() { stage::finish(packet, node, work) } else { decision }
}

/// The fast road. A decision that is not taken is for [`Stage::FIRST`] to take, for which all is in
/// `room`; or for another stage, where the packet's connection is known already.
#[inline(always)]
pub fn start<P: Packet, M: Maps>(
    packet: &mut P,
    node: &mut Node<M>,
    room: &mut impl Room,
    hook: Hook,
    device: IfIndex,
) -> Decision {
    let now = node.host.now();
    let arrival = Arrival { hook, back: hook.back(device), now };
    let parsed = match quick(packet) {
        Quick::Plain(parsed) if hook.is_outside() && unwrap::is_geneve(&parsed) => {
            return later(room, arrival, Stage::FIRST);
        }
        Quick::Plain(parsed) => parsed,
        Quick::Foreign => return Decision::untracked(Verdict::Pass),
        Quick::Other => return later(room, arrival, Stage::FIRST),
    };
    let Some(flow) = node.conntrack.get(&parsed.tuple) else {
        return later(room, arrival, Stage::Plain);
    };
    let exit = hook.settled(flow.exit());
    if !flow.is_current(&parsed, now, node.config.epoch) || (exit.is_hop() && parsed.ttl <= 1) {
        return later(room, arrival, Stage::FIRST);
    }
    if always_wrapped(flow, &parsed) {
        if let Some(work) = room.work() {
            work.half = flow.clone();
            work.status = status(flow);
        }
        return later(room, arrival, Stage::Send);
    }
    let decision = decision(flow, status(flow), exit);
    match translate(packet, &parsed, flow, exit) {
        Ok(()) => decision,
        Err(reason) => dropped(node, reason),
    }
}

/// Leaves the decision to the slow road, from this stage on.
#[inline(always)]
fn later(room: &mut impl Room, arrival: Arrival, first: Stage) -> Decision {
    if let Some(work) = room.work() {
        work.arrival = arrival;
        work.next = first as u32;
    }
    Decision::undecided()
}

/// The XDP hook: packets of known connections that leave by a device, and nothing else. What it lets
/// pass it has not touched.
#[inline(always)]
pub fn express<P: Packet, M: Maps>(packet: &mut P, node: &mut Node<M>) -> Decision {
    match quick_apart(
        packet,
        #[inline(always)]
        |packet, parsed| express_plain(packet, node, &parsed),
    ) {
        Some(decision) => decision,
        None => Decision::untracked(Verdict::Pass),
    }
}

#[inline(always)]
fn express_plain<P: Packet, M: Maps>(
    packet: &mut P,
    node: &mut Node<M>,
    parsed: &Parsed,
) -> Decision {
    let pass = Decision::untracked(Verdict::Pass);
    if unwrap::is_geneve(parsed) {
        return pass;
    }
    let now = node.host.now();
    let Some(flow) = node.conntrack.get(&parsed.tuple) else { return pass };
    let exit = flow.exit();
    if !exit.is_device()
        || parsed.ttl <= 1
        || always_wrapped(flow, parsed)
        || !flow.is_current(parsed, now, node.config.epoch)
        || !packet.route(exit.device_number(), &flow.to, flow.link())
    {
        return pass;
    }
    let decision = decision(flow, status(flow), exit);
    match translate(packet, parsed, flow, exit) {
        Ok(()) => decision,
        Err(reason) => dropped(node, reason),
    }
}

/// Whether there is more between IP header and transport header than nothing.
#[inline(always)]
fn has_options(parsed: &Parsed) -> bool {
    let plain = if parsed.tuple.is_v4() { ipv4::MIN_LENGTH } else { ipv6::LENGTH };
    parsed.l4 != parsed.l3.plus(plain)
}

/// Whether each packet of the connection tells the backend's node of the frontend, and not only the one
/// that opens it: a datagram, since the first may be lost and nobody would know.
#[inline(always)]
fn always_wrapped(flow: &Flow, parsed: &Parsed) -> bool {
    match flow.wrap() {
        Forwarding::Snat => false,
        Forwarding::DsrIpip => matches!(flow.direction(), Direction::Original),
        Forwarding::DsrOption | Forwarding::DsrGeneve => {
            !matches!(parsed.transport, Transport::Tcp)
                && matches!(flow.direction(), Direction::Original)
        }
    }
}

#[inline(always)]
const fn status(flow: &Flow) -> Status {
    match flow.direction() {
        Direction::Original => Status::Established,
        Direction::Reply => Status::Reply,
    }
}

#[inline(always)]
const fn decision(flow: &Flow, status: Status, exit: Exit) -> Decision {
    Decision::leaving(exit, status, flow.service, flow.backend)
}

#[inline(always)]
fn dropped<M: Maps>(node: &mut Node<M>, reason: DropReason) -> Decision {
    node.host.count(Metric::drop(reason));
    Decision::untracked(Verdict::Drop(reason))
}

#[cfg(test)]
mod tests;
