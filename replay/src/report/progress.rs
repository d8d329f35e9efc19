//! A bar on the terminal while nothing else is written there.

use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressStyle};

use crate::replay::feed::Feed;

/// Packets between two looks at how far the input is read.
const EVERY: u64 = 1 << 14;

/// How much of the input was read, if that is to be shown.
pub struct Progress(Option<ProgressBar>);

impl Progress {
    /// Shown where standard error is a terminal that no packets are listed on, and the length of the
    /// input is known.
    pub fn new(feed: &Feed, quiet: bool) -> Self {
        let shown = io::stderr().is_terminal() && (quiet || !io::stdout().is_terminal());
        if !shown {
            return Self(None);
        }
        let lengths: Option<Vec<u64>> =
            feed.captures().map(crate::capture::Capture::length).collect();
        let Some(length) = lengths.map(|lengths| lengths.iter().sum()) else { return Self(None) };
        let bar = ProgressBar::new(length);
        if let Ok(style) =
            ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes}  {bytes_per_sec}  {eta}")
        {
            bar.set_style(style);
        }
        Self(Some(bar))
    }

    /// So many packets were replayed.
    #[inline]
    pub fn step(&mut self, packets: u64, feed: &Feed) {
        if packets & (EVERY - 1) == 0
            && let Some(bar) = &self.0
        {
            bar.set_position(feed.captures().map(crate::capture::Capture::bytes_read).sum());
        }
    }

    /// Takes the bar away.
    pub fn end(&mut self) {
        if let Some(bar) = self.0.take() {
            bar.finish_and_clear();
        }
    }
}
