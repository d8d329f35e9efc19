//! The stage that takes off what another node has wrapped a packet in.

use super::classify::sort;
use super::has_options;
use super::stage::{Stage, Work};
use crate::drop_reason::DropReason;
use crate::parse::Parsed;
use crate::seam::{Maps, Node, Packet};

/// Whether a packet from outside is worth a look.
#[inline(always)]
pub(super) fn may_be_wrapped(parsed: &Parsed) -> bool {
    has_options(parsed)
}

/// The stage.
#[inline(always)]
pub(super) fn unwrap<P: Packet, M: Maps>(
    packet: &mut P,
    node: &mut Node<M>,
    work: &mut Work,
) -> Result<Stage, DropReason> {
    sort(packet, node, work)
}
