//! What became of packets: of one, and of all.

use std::collections::BTreeMap;

use twinpath_core::backend::BackendId;
use twinpath_core::drop_reason::DropReason;
use twinpath_core::hook::Hook;
use twinpath_core::service::ServiceId;
use twinpath_core::tuple::Tuple;
use twinpath_core::verdict::Decision;
use twinpath_sim::cluster::{Fate, Place, Watch};
use twinpath_sim::engine::NodeIndex;
use twinpath_sim::frame::Frame;

use super::flows::Role;
use super::reply::Difference;
use crate::worlds::Sender;

/// What became of a packet, in a word; those that Hubble has are Hubble's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Its addresses were changed and it arrived.
    Translated,
    /// It arrived as it was.
    Forwarded,
    /// It did not arrive.
    Dropped,
    /// A reply whose request is not known, so that no backend could send it.
    Unmatched,
}

impl Verdict {
    /// All of them, in the order of summaries.
    pub const ALL: [Self; 4] = [Self::Translated, Self::Forwarded, Self::Dropped, Self::Unmatched];

    /// The word for tables and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Translated => "TRANSLATED",
            Self::Forwarded => "FORWARDED",
            Self::Dropped => "DROPPED",
            Self::Unmatched => "UNMATCHED",
        }
    }
}

/// The decision that a packet's outcome hangs on, and where it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// By which node.
    pub node: NodeIndex,
    /// At which hook.
    pub hook: Hook,
    /// The decision.
    pub decision: Decision,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// In a word.
    pub verdict: Verdict,
    /// What the packet is; `None` where it is no IP packet that could be read.
    pub role: Option<Role>,
    /// Why it was dropped.
    pub reason: Option<DropReason>,
    /// Who sent it; `None` where nobody could.
    pub sender: Option<Sender>,
    /// The decision that translated it, or else the first.
    pub made: Option<Made>,
    /// For a reply, what of it was not as captured. Of other packets, and of replies that are as
    /// captured, `None`.
    pub difference: Option<Difference>,
}

impl Default for Outcome {
    fn default() -> Self {
        Self::unsent(Verdict::Forwarded, None)
    }
}

impl Outcome {
    /// Of a packet that was sent through no world.
    pub(super) const fn unsent(verdict: Verdict, role: Option<Role>) -> Self {
        Self { verdict, role, reason: None, sender: None, made: None, difference: None }
    }

    /// Makes this the outcome of one that was sent and glanced at. In place: it is large, and packets
    /// are many.
    #[inline(always)]
    pub(super) fn sent(&mut self, fate: Option<Fate>, role: Option<Role>, sender: Sender) {
        // Apart from the others, since most arrive.
        self.reason = match fate {
            // What arrived may be the answer that its sender was given instead.
            Some(Fate::Arrived(_)) | None => {
                self.made.as_ref().and_then(|made| made.decision.reason())
            }
            Some(fate) => reason(fate),
        };
        let translated = self.made.as_ref().is_some_and(|made| made.decision.service != 0);
        self.verdict = match self.reason {
            Some(_) => Verdict::Dropped,
            None if translated => Verdict::Translated,
            None => Verdict::Forwarded,
        };
        self.role = role;
        self.sender = Some(sender);
        self.difference = None;
    }

    /// Notes in `made` the decision that matters, and lets another look. What stands there already is
    /// forgotten.
    #[inline(always)]
    pub(super) fn glance<'a, W>(&'a mut self, watch: &'a mut W) -> Glance<'a, W> {
        self.made = None;
        Glance { made: &mut self.made, watch }
    }
}

/// Why a packet did not arrive.
#[cold]
const fn reason(fate: Fate) -> Option<DropReason> {
    match fate {
        Fate::Dropped(_, _, reason) => Some(reason),
        Fate::Expired(_) => Some(DropReason::TtlExceeded),
        Fate::Refused(_) => Some(DropReason::InvalidPacket),
        Fate::TooBig(_) => Some(DropReason::FragmentationNeeded),
        Fate::Looped(_) => Some(DropReason::TtlExceeded),
        Fate::Arrived(_) | Fate::NoRoute(_) => None,
    }
}

/// How many differences are kept to be shown.
const SHOWN: usize = 10;
/// How many moves are kept to be shown.
const MOVES: usize = 1_000;

/// A connection was given another backend while it lasted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// The number of the packet that was sent elsewhere.
    pub packet: u64,
    /// From the client to the frontend.
    pub tuple: Tuple,
    /// The service.
    pub service: ServiceId,
    /// Which backend it had.
    pub from: BackendId,
    /// Which one it has now.
    pub to: BackendId,
}

/// What became of all packets.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Packets.
    pub packets: u64,
    /// By [`Verdict`], in the order of [`Verdict::ALL`].
    pub verdicts: [u64; 4],
    /// Drops by reason.
    pub drops: BTreeMap<DropReason, u64>,
    /// Replies that were sent by their backend and compared.
    pub checked: u64,
    /// Those of them that were not as captured.
    pub different: u64,
    /// The first of these, with their packet numbers.
    pub differences: Vec<(u64, Difference)>,
    /// Connections that were given to a backend of a service.
    pub shares: BTreeMap<(ServiceId, BackendId), u64>,
    /// Connections that were given another backend while they lasted.
    pub moved: u64,
    /// The first of these.
    pub moves: Vec<Move>,
    /// Packets without an Ethernet form, which no world has seen.
    pub broken: u64,
}

impl Totals {
    /// Counts one more packet.
    #[inline]
    pub(super) fn count(&mut self, outcome: &Outcome) {
        self.packets = self.packets.wrapping_add(1);
        if let Some(count) = self.verdicts.get_mut(outcome.verdict as usize) {
            *count = count.wrapping_add(1);
        }
        if let Some(reason) = outcome.reason {
            *self.drops.entry(reason).or_default() += 1;
        }
        if matches!(outcome.role, Some(Role::Reply)) && outcome.sender.is_some() {
            self.checked = self.checked.wrapping_add(1);
            if let Some(difference) = outcome.difference {
                self.different = self.different.wrapping_add(1);
                if self.differences.len() < SHOWN {
                    self.differences.push((self.packets, difference));
                }
            }
        }
    }

    /// Notes that a connection goes on elsewhere.
    pub(super) fn move_on(&mut self, to: Move) {
        self.moved = self.moved.wrapping_add(1);
        if self.moves.len() < MOVES {
            self.moves.push(to);
        }
    }

    /// How many packets had this verdict.
    pub fn with(&self, verdict: Verdict) -> u64 {
        self.verdicts.get(verdict as usize).copied().unwrap_or_default()
    }
}

/// See [`Outcome::glance`].
pub(super) struct Glance<'a, W> {
    made: &'a mut Option<Made>,
    watch: &'a mut W,
}

impl<W: Watch> Watch for Glance<'_, W> {
    #[inline(always)]
    fn at(&mut self, place: Place, frame: &Frame) {
        self.watch.at(place, frame);
    }

    #[inline(always)]
    fn decided(&mut self, node: NodeIndex, hook: Hook, decision: &Decision) {
        let settles = |decision: &Decision| decision.service != 0 || decision.reason().is_some();
        if self.made.is_none()
            || (settles(decision)
                && !self.made.as_ref().is_some_and(|made| settles(&made.decision)))
        {
            *self.made = Some(Made { node, hook, decision: *decision });
        }
        self.watch.decided(node, hook, decision);
    }
}
