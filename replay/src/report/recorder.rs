//! Keeps what is seen of one packet, in memory that is used again for the next.

use twinpath_core::hook::Hook;
use twinpath_core::verdict::Decision;
use twinpath_sim::cluster::{Place, Watch};
use twinpath_sim::engine::NodeIndex;
use twinpath_sim::frame::Frame;

/// Where a packet was seen, what it looked like there, and what was decided about it.
#[derive(Debug, Default)]
pub struct Recorder {
    seen: Vec<(Place, Frame)>,
    used: usize,
    decisions: Vec<(NodeIndex, Hook, Decision)>,
}

impl Recorder {
    /// Forgets the packet.
    pub fn clear(&mut self) {
        self.used = 0;
        self.decisions.clear();
    }

    /// Where it was seen, in order.
    pub fn seen(&self) -> &[(Place, Frame)] {
        self.seen.get(..self.used).unwrap_or_default()
    }

    /// What the hooks decided, in order.
    pub fn decisions(&self) -> &[(NodeIndex, Hook, Decision)] {
        &self.decisions
    }
}

impl Watch for Recorder {
    fn at(&mut self, place: Place, frame: &Frame) {
        match self.seen.get_mut(self.used) {
            Some((old_place, old)) => {
                *old_place = place;
                old.set(&frame.bytes);
                old.partial = frame.partial;
            }
            None => self.seen.push((place, frame.clone())),
        }
        self.used = self.used.saturating_add(1);
    }

    fn decided(&mut self, node: NodeIndex, hook: Hook, decision: &Decision) {
        self.decisions.push((node, hook, *decision));
    }
}
