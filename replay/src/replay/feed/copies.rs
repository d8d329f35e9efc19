//! The same packet at several places: `tcpdump -i any` sees it at the pod's device, at the bridge and at the uplink,
//! and captures of two nodes see it at both.

use std::collections::{HashMap, VecDeque};

use twinpath_sim::frame::Frame;

use super::identity::Identity;
use super::{Captured, Place};

/// Copies come within so many nanoseconds.
const WINDOW: u64 = 10_000_000;
/// Most packets that are remembered. At a million packets a second the window holds 10,000.
const MAX_PACKETS: usize = 65_536;
/// Packets that are looked at to see whether a capture has copies.
const SAMPLE: u64 = 10_000;

/// Recognises copies of packets seen a moment ago.
#[derive(Debug, Default)]
pub(super) struct Copies {
    seen: HashMap<Identity, (u64, Place)>,
    /// In the order of arrival.
    order: VecDeque<(u64, Identity)>,
    frame: Frame,
    /// Copies found.
    pub(super) found: u64,
}

impl Copies {
    /// Whether the packet was seen at another place within the last 10 ms. Where neither place is known, as in the
    /// first cooked format, a packet that is the same in all else is a copy.
    pub(super) fn is_copy(&mut self, packet: &Captured<'_>) -> bool {
        let now = packet.timestamp;
        while let Some((time, identity)) = self.order.front()
            && (self.order.len() >= MAX_PACKETS || time.saturating_add(WINDOW) < now)
        {
            if self.seen.get(identity).is_some_and(|(seen, _)| seen == time) {
                self.seen.remove(identity);
            }
            self.order.pop_front();
        }
        let Some((identity, _)) = Identity::of(packet, &mut self.frame) else { return false };
        let place = packet.place;
        match self.seen.get(&identity) {
            Some((time, first)) if now.abs_diff(*time) <= WINDOW => {
                let copy = *first != place || !place.is_known;
                self.found += u64::from(copy);
                copy
            }
            _ => {
                self.seen.insert(identity, (now, place));
                self.order.push_back((now, identity));
                false
            }
        }
    }
}

/// Looks for copies among the first packets of captures that may hold some.
#[derive(Debug, Default)]
pub(super) struct Sample {
    copies: Copies,
    packets: u64,
    done: bool,
}

impl Sample {
    #[inline]
    pub(super) fn look(&mut self, packet: &Captured<'_>) {
        if !self.done {
            self.look_at(packet);
        }
    }

    fn look_at(&mut self, packet: &Captured<'_>) {
        self.packets += 1;
        self.copies.is_copy(packet);
        if self.packets >= SAMPLE {
            self.done = true;
            // What was remembered is needed no more, the count is.
            self.copies = Copies { found: self.copies.found, ..Copies::default() };
        }
    }

    /// A line for the user, if one packet in twenty is a copy.
    pub(super) fn note(&self) -> Option<String> {
        let (found, packets) = (self.copies.found, self.packets);
        (found > 0 && found.saturating_mul(20) >= packets).then(|| {
            let of = if self.done { "of the first " } else { "of " };
            format!(
                "note: {found} {of}{packets} packets are copies of others at another interface or capture, \
                 as `tcpdump -i any` takes them; --dedup drops them"
            )
        })
    }
}
