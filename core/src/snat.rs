//! Source ports: what keeps two connections from having one reply tuple.
//!
//! A connection's reply tuple is the key of its reply half, so it can belong to one connection only.
//! Usually the opener's own port does. Where it does not, or where it may not stay, another one is
//! drawn: each draw is independent, because a search that steps on from a taken port runs into the
//! same crowded places again and again.

use crate::address::Address;
use crate::bytes::Be16;
use crate::conntrack::{find, gives_way, is_pair};
use crate::drop_reason::DropReason;
use crate::endpoint::Kind;
use crate::hash;
use crate::hook::{Hook, Work};
use crate::parse::Transport;
use crate::seam::{Host, Lookup, Maps, Node};
use crate::service::Forwarding;
use crate::wire;

/// How many ports are tried.
pub const TRIES: u32 = 96;

/// How many of them in one go. The kernel's verifier follows each try of a loop, that of Linux 6.1 each way
/// through all of them, so the search goes on in another run of the stage. A packet may go through 33.
const BATCH: u32 = 4;

/// What came of a search for a source port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Search {
    /// The connection in `work.half` has a reply tuple of its own.
    Settled,
    /// The packet needs no connection: it was translated here and has come round by the stack.
    CameRound,
    /// Nothing was found yet.
    GoesOn,
}

/// Settles the source port of the connection in `work.half`, so that its reply tuple is its own. A
/// search begins where [`Work::tries`] is 0.
#[inline(never)]
pub fn reserve<M: Maps>(node: &mut Node<M>, work: &mut Work) -> Result<Search, DropReason> {
    if work.tries == 0 {
        let port = work.parsed.tuple.source_port;
        if !leaves(node, work) || may_keep(node, work, port) {
            try_port(work, port);
            if is_free(node, work) {
                return settle(work);
            }
            if came_round(node, work) {
                return Ok(Search::CameRound);
            }
            if work.half.is_direct() || is_echo_reply(work) {
                return Err(DropReason::ConntrackTupleConflict);
            }
            if share(node, work)? && may_keep(node, work, port) {
                try_port(work, port);
                if is_free(node, work) {
                    return settle(work);
                }
            }
        }
        work.draw = node.host.random();
        work.tries = 1;
    }
    search(node, work)
}

/// Presumes that the reply tuple of the TCP or UDP connection in `work.half` is its own with the port that
/// the opener has, as it nearly always is; whether it may. To write the connection down finds out.
#[inline(always)]
pub fn presume<M: Maps>(node: &Node<M>, work: &mut Work) -> bool {
    let port = work.parsed.tuple.source_port;
    if work.races != 0
        || work.half.is_direct()
        || matches!(work.arrival.hook, Hook::ToPod | Hook::ToNetdev)
        || !matches!(work.parsed.transport, Transport::Tcp | Transport::Udp)
        || (leaves(node, work) && !may_keep(node, work, port))
    {
        return false;
    }
    try_port(work, port);
    work.half.settle(&work.parsed.tuple);
    true
}

/// Tries drawn ports.
#[inline(never)]
fn search<M: Maps>(node: &Node<M>, work: &mut Work) -> Result<Search, DropReason> {
    let ours = is_ours(node, work);
    for _ in 0..BATCH {
        if work.tries >= TRIES {
            return Err(DropReason::NoMappingForNat);
        }
        let port = draw(node, work, work.draw, work.tries);
        work.tries = work.tries.wrapping_add(1);
        try_port(work, port);
        if !(ours && is_reserved(node, port)) && is_free(node, work) {
            return settle(work);
        }
    }
    Ok(Search::GoesOn)
}

#[inline(always)]
fn try_port(work: &mut Work, port: Be16) {
    work.half.to.source_port = port;
    work.twin_key = work.half.twin_key(&work.parsed.tuple);
}

#[inline(always)]
fn settle(work: &mut Work) -> Result<Search, DropReason> {
    // By the protocol, since a later fragment is SCTP, too, and its connection would be the whole packets'.
    if work.parsed.tuple.protocol == wire::SCTP && changes_port(work) {
        return Err(DropReason::ChecksumCannotFollow);
    }
    if !work.half.is_direct() {
        work.half.settle(&work.parsed.tuple);
    }
    Ok(Search::Settled)
}

/// Whether the stack has the packet from this node, whose reply tuple it then is that is taken. Not so
/// where the node itself sends it out.
#[inline(always)]
fn came_round<M: Maps>(node: &Node<M>, work: &Work) -> bool {
    match work.arrival.hook {
        Hook::ToPod => true,
        Hook::ToNetdev => match node.endpoints.get(&work.parsed.tuple.source) {
            Some(endpoint) => !matches!(endpoint.kind(), Kind::Host),
            None => true,
        },
        _ => false,
    }
}

/// Where the client's own tuple is taken and the backend's node would answer the client directly, the
/// answer has to come back this way after all; whether that is so.
#[inline(always)]
fn share<M: Maps>(node: &Node<M>, work: &mut Work) -> Result<bool, DropReason> {
    if matches!(work.half.wrap(), Forwarding::Snat) {
        return Ok(false);
    }
    work.half.wrap_by(Forwarding::Snat);
    work.half.to.source = source(node, work.half.to.is_v4())?;
    Ok(true)
}

/// The address under which this node sends on what it translates.
#[inline(always)]
pub fn source<M: Maps>(node: &Node<M>, is_v4: bool) -> Result<Address, DropReason> {
    let address = if is_v4 { node.config.address4 } else { node.config.address6 };
    if address == Address::UNSPECIFIED { Err(DropReason::NoMappingForNat) } else { Ok(address) }
}

/// Whether the connection leaves with this node's address instead of the opener's.
#[inline(always)]
fn leaves<M: Maps>(node: &Node<M>, work: &Work) -> bool {
    is_ours(node, work) && work.half.to.source != work.parsed.tuple.source
}

/// Whether the connection leaves with this node's address, whose ports the node itself uses, too.
#[inline(always)]
fn is_ours<M: Maps>(node: &Node<M>, work: &Work) -> bool {
    work.half.to.source == node.config.address4 || work.half.to.source == node.config.address6
}

/// Whether a port has to change, be it only in the answers (DSR).
#[inline(always)]
fn changes_port(work: &Work) -> bool {
    let (to, key) = (&work.half.to, &work.parsed.tuple);
    to.source_port != key.source_port || to.destination_port != key.destination_port
}

/// Whether the opener's own port cannot change, as it has none: the identifier is the asker's.
#[inline(always)]
fn is_echo_reply(work: &Work) -> bool {
    matches!(work.parsed.transport, Transport::Echo)
        && work.parsed.tuple.destination_port.get() != 0
}

/// Whether the opener's own port may stay in front of the node's address. An echo's identifier may, and
/// so may SCTP's port, which cannot change.
#[inline(always)]
fn may_keep<M: Maps>(node: &Node<M>, work: &Work, port: Be16) -> bool {
    match work.parsed.transport {
        Transport::Echo | Transport::Sctp => true,
        _ => {
            let number = port.get();
            number >= node.config.ports_first
                && number <= node.config.ports_last
                && !is_reserved(node, port)
        }
    }
}

/// The port of a try, from 1 on.
#[inline(always)]
fn draw<M: Maps>(node: &Node<M>, work: &Work, key: u32, tries: u32) -> Be16 {
    let (first, last) = (u32::from(node.config.ports_first), u32::from(node.config.ports_last));
    let ports = last.wrapping_sub(first).wrapping_add(1);
    let drawn = hash::scale(hash::tuple(&work.parsed.tuple, key, tries), ports);
    Be16::new((first.wrapping_add(drawn) & 0xffff) as u16)
}

/// Whether the node needs the port for itself.
#[inline(always)]
fn is_reserved<M: Maps>(node: &Node<M>, port: Be16) -> bool {
    let number = u32::from(port.get());
    match node.reserved.get(&(number >> 6)) {
        Some(word) => word.wrapping_shr(number & 63) & 1 != 0,
        None => false,
    }
}

/// Whether no other connection has the reply tuple in `work.twin_key`.
#[inline(never)]
fn is_free<M: Maps>(node: &Node<M>, work: &Work) -> bool {
    match find(&node.conntrack, &work.twin_key) {
        None => true,
        Some(owner) => {
            is_pair(owner, &work.twin_key, &work.half, &work.parsed.tuple)
                || gives_way(owner, &work.parsed, work.arrival.now)
        }
    }
}
