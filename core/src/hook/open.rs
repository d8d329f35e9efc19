//! The stages that open a connection: one chooses where it goes, the next makes its tuples its own, the
//! last writes it down.

use super::classify::pass_on;
use super::connect::{check_hop, send};
use super::stage::{Stage, Work};
use super::wrap;
use crate::conntrack::{self, Opened};
use crate::drop_reason::DropReason;
use crate::seam::{Host, InsertError, Maps, Metric, Node, Packet};
use crate::select::{Selected, remember, select};
use crate::snat::{self, Search};
use crate::wire::tcp;

/// The stage that chooses.
#[inline(always)]
pub(super) fn open<P: Packet, M: Maps>(
    packet: &mut P,
    node: &mut Node<M>,
    work: &mut Work,
) -> Result<Stage, DropReason> {
    let selected = select(node, work)?;
    if work.parsed.flags & tcp::RST != 0 {
        match selected {
            // A reset ends what is not there. One to a frontend would have to guess a backend, unless
            // every node guesses alike; others go on, since the ends may know more than this node does.
            Selected::Backend => return Err(DropReason::CannotCreateFromPacket),
            Selected::Plain => return pass_on(packet, node, work),
            Selected::Consistent => {}
        }
    }
    check_hop(work, work.half.exit())?;
    work.tries = 0;
    Ok(Stage::Reserve)
}

/// How often another CPU may take a tuple that was free a moment ago.
const RACES: u32 = 2;

/// The stage that settles the tuples. What follows is another one, or the kernel's verifier would follow it
/// from each try.
#[inline(always)]
pub(super) fn reserve<P: Packet, M: Maps>(
    packet: &mut P,
    node: &mut Node<M>,
    work: &mut Work,
) -> Result<Stage, DropReason> {
    match snat::reserve(node, work)? {
        Search::Settled => Ok(Stage::Commit),
        Search::CameRound => pass_on(packet, node, work),
        Search::GoesOn => Ok(Stage::Reserve),
    }
}

/// The stage that writes the connection and sends the packet on.
#[inline(always)]
pub(super) fn commit<P: Packet, M: Maps>(
    packet: &mut P,
    node: &mut Node<M>,
    work: &mut Work,
) -> Result<Stage, DropReason> {
    wrap::check(node, work, wrap::telling(&work.half, work))?;
    match conntrack::open(&mut node.conntrack, work) {
        Ok(Opened::Here) => {
            node.host.count(Metric::OPENED);
            remember(node, work);
            send(packet, node, work)
        }
        Err(InsertError::Full) => Err(DropReason::ConntrackInsertionFailed),
        _ if work.races >= RACES => Err(DropReason::ConntrackTupleConflict),
        Ok(Opened::Elsewhere) => {
            work.races = work.races.wrapping_add(1);
            Ok(Stage::Connect)
        }
        Err(InsertError::Exists) => {
            work.races = work.races.wrapping_add(1);
            work.tries = 0;
            Ok(Stage::Reserve)
        }
    }
}
