//! The stage that makes a packet the answer to itself: an ICMP error, or an echo reply.

use super::stage::{Stage, Work};
use crate::drop_reason::DropReason;
use crate::seam::{Maps, Node, Packet};

/// The stage. What may not be answered is dropped for the reason that it has.
#[inline(always)]
pub(super) fn answer<P: Packet, M: Maps>(
    _: &mut P,
    _: &mut Node<M>,
    work: &mut Work,
) -> Result<Stage, DropReason> {
    Err(work.reason)
}
