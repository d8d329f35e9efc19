//! The stages that open a connection: one chooses where it goes, the next makes its tuples its own, the
//! last writes it down. Most connections are begun by a plain packet, whose own tuple nobody has: for them
//! there is a shorter way.

use super::classify::pass_on;
use super::connect::{check_hop, send};
use super::stage::{Stage, Work};
use super::wrap;
use crate::conntrack::{self, Opened, is_syn};
use crate::drop_reason::DropReason;
use crate::parse::{Quick, quick};
use crate::seam::{Host, InsertError, Maps, Metric, Node, Packet};
use crate::select::{Selected, remember, select};
use crate::snat::{self, Search};
use crate::verdict::Status;
use crate::wire::tcp;

/// The stage of a plain packet that the fast road knows no connection of. Another CPU may have opened one
/// since, which is found out when this one is written.
#[inline(always)]
pub(super) fn plain<P: Packet, M: Maps>(
    packet: &mut P,
    node: &mut Node<M>,
    work: &mut Work,
) -> Result<Stage, DropReason> {
    let Quick::Plain(parsed) = quick(packet) else { return Ok(Stage::FIRST) };
    work.begin();
    work.parsed = parsed;
    if work.parsed.tuple.destination.is_link_scope() {
        return Ok(Stage::Done);
    }
    // What is not a beginning may go on with half a connection.
    if !is_syn(&work.parsed) {
        work.twin_key = work.parsed.tuple.reverse();
        if conntrack::find(&node.conntrack, &work.twin_key).is_some() {
            return Ok(Stage::Connect);
        }
    }
    work.status = Status::New;
    wrap::measure(packet, work)?;
    open(packet, node, work)
}

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
    if snat::presume(node, work) { Ok(Stage::Commit) } else { Ok(Stage::Reserve) }
}

/// How often a tuple may be taken that was presumed to be free, or that another CPU takes.
const RACES: u32 = 3;

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
