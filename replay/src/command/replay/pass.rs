//! One pass over the packets: what is noted of every one, shown or not.

use std::sync::atomic::{AtomicBool, Ordering};

use twinpath_sim::frame::Frame;

use crate::capture::{CaptureError, LinkError};
use crate::failure::Failure;
use crate::replay::Replay;
use crate::replay::feed::{Captured, Feed};
use crate::replay::foresee::Foresight;
use crate::replay::hints::Hints;
use crate::replay::outcome::Verdict;
use crate::report::page::Gather;
use crate::report::progress::Progress;
use crate::worlds::Stage;

/// How a feed ended: at its end, or with what is wrong with a capture.
pub(super) type Ended = Result<(), CaptureError>;

/// What is noted on the way.
pub(super) struct Pass<'a> {
    /// Packets so far.
    pub(super) number: u64,
    /// After how many it ends.
    pub(super) limit: u64,
    /// Set by Ctrl-C.
    pub(super) stop: &'a AtomicBool,
    /// The first packet that was dropped.
    pub(super) first_drop: Option<u64>,
    /// Why the first packet that was not replayed was not.
    pub(super) broken: Option<LinkError>,
    /// What is odd about the captures.
    pub(super) hints: Hints,
    /// For the page.
    pub(super) gather: Option<Gather<'a>>,
    /// The bar.
    pub(super) progress: Progress,
    /// Room for a packet.
    pub(super) frame: Frame,
    /// What comes next.
    pub(super) foresight: Foresight,
}

impl Pass<'_> {
    /// Whether it ends here.
    #[inline(always)]
    pub(super) fn is_over(&self) -> bool {
        self.number >= self.limit || self.stop.load(Ordering::Relaxed)
    }

    /// Replays all packets without a look at any of them: a loop of its own, since everything in it counts.
    #[inline(never)]
    pub(super) fn quietly<S: Stage>(
        &mut self,
        replay: &mut Replay<S>,
        feed: &mut Feed,
    ) -> Result<Ended, Failure> {
        while !self.is_over() {
            self.foresight.step(replay, || feed.ahead());
            // Borrowed and not moved out, so that the packet need not be copied.
            let next = feed.next();
            let packet = match &next {
                Ok(Some(packet)) => packet,
                Ok(None) => break,
                Err(_) => return Ok(next.map(drop)),
            };
            self.unseen(replay, packet)?;
            if replay.outcome.verdict == Verdict::Dropped {
                self.first_drop = self.first_drop.or(Some(self.number));
            }
            self.progress.step(self.number, feed);
        }
        Ok(Ok(()))
    }

    /// Replays a packet that nobody looks at.
    #[inline(always)]
    pub(super) fn unseen<S: Stage>(
        &mut self,
        replay: &mut Replay<S>,
        packet: &Captured<'_>,
    ) -> Result<(), Failure> {
        replay.packet(packet, &mut self.frame, &mut ())?;
        self.note(replay, packet);
        Ok(())
    }

    /// Notes what counts of a packet that was replayed.
    #[inline(always)]
    pub(super) fn note<S: Stage>(&mut self, replay: &Replay<S>, packet: &Captured<'_>) {
        self.number = self.number.wrapping_add(1);
        if let Some(cause) = packet.broken {
            self.broken = self.broken.or(Some(*cause));
        }
        self.hints.packet(packet, replay.flows());
        if let Some(gather) = &mut self.gather {
            gather.packet(replay, self.number, packet);
        }
    }
}
