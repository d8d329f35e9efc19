//! The stage that translates ICMP errors, with the packet that they quote.

use super::classify::pass_on;
use super::stage::{Stage, Work};
use crate::drop_reason::DropReason;
use crate::seam::{Maps, Node, Packet};

/// The stage.
#[inline(always)]
pub(super) fn related<P: Packet, M: Maps>(
    packet: &mut P,
    node: &mut Node<M>,
    work: &mut Work,
) -> Result<Stage, DropReason> {
    pass_on(packet, node, work)
}
