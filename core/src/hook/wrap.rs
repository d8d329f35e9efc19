//! The stage that tells a backend's node of the frontend.

use super::stage::{Stage, Work};
use crate::drop_reason::DropReason;
use crate::seam::{Maps, Node, Packet};

/// The stage.
#[inline(always)]
pub(super) fn wrap<P: Packet, M: Maps>(
    _: &mut P,
    _: &mut Node<M>,
    _: &mut Work,
) -> Result<Stage, DropReason> {
    Ok(Stage::Done)
}
