//! What happened when: counts in spans of time that become wider as the capture becomes longer.

use std::collections::BTreeMap;

use twinpath_sim::engine::NodeIndex;

use crate::replay::outcome::Verdict;

/// Most spans; with more, pairs of them become one.
const MAX_SPANS: u64 = 240;
/// Width of a span at first, in nanoseconds.
const NARROW: u64 = 1_000;

/// The tables of a node that fill up: IPv4 and IPv6 conntrack, affinities, fragments.
pub(super) const TABLES: usize = 4;

/// What happened in a span of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    /// Packets by [`Verdict`].
    pub verdicts: [u64; 4],
    /// How full the tables of nodes were, at most.
    pub fill: BTreeMap<NodeIndex, [usize; TABLES]>,
}

impl Span {
    pub(super) fn packets(&self) -> u64 {
        self.verdicts.iter().fold(0, |sum, count| sum.wrapping_add(*count))
    }

    pub(super) fn dropped(&self) -> u64 {
        self.verdicts.get(Verdict::Dropped as usize).copied().unwrap_or_default()
    }

    pub(super) fn note(&mut self, node: NodeIndex, fill: [usize; TABLES]) {
        let most = self.fill.entry(node).or_default();
        for (most, now) in most.iter_mut().zip(fill) {
            *most = now.max(*most);
        }
    }

    fn add(&mut self, other: &Self) {
        for (sum, count) in self.verdicts.iter_mut().zip(other.verdicts) {
            *sum = sum.wrapping_add(count);
        }
        for (node, fill) in &other.fill {
            self.note(*node, *fill);
        }
    }
}

/// Spans of equal width. The memory that they take does not depend on how long the capture is, nor on
/// whether its times are in order.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// Of a span, in nanoseconds.
    width: u64,
    /// By their place: a span begins at its place times the width. Those without packets are missing.
    spans: BTreeMap<u64, Span>,
}

impl Default for Line {
    fn default() -> Self {
        Self { width: NARROW, spans: BTreeMap::new() }
    }
}

impl Line {
    /// Counts a packet; whether it is the first of its span.
    pub(super) fn count(&mut self, time: u64, verdict: Verdict) -> bool {
        let place = time / self.width;
        let is_first = !self.spans.contains_key(&place);
        let span = self.spans.entry(place).or_default();
        if let Some(count) = span.verdicts.get_mut(verdict as usize) {
            *count = count.wrapping_add(1);
        }
        if is_first {
            while self.reach() > MAX_SPANS {
                *self = self.halved();
            }
        }
        is_first
    }

    /// The span of a time, if a packet was counted there.
    pub(super) fn span_mut(&mut self, time: u64) -> Option<&mut Span> {
        self.spans.get_mut(&(time / self.width))
    }

    /// Of a span, in nanoseconds.
    pub(super) const fn width(&self) -> u64 {
        self.width
    }

    /// When the first span begins.
    pub(super) fn start(&self) -> u64 {
        self.spans.keys().next().map_or(0, |place| place.saturating_mul(self.width))
    }

    /// From the first span to the last, in spans.
    pub(super) fn reach(&self) -> u64 {
        match (self.spans.keys().next(), self.spans.keys().next_back()) {
            (Some(first), Some(last)) => last.saturating_sub(*first).saturating_add(1),
            _ => 0,
        }
    }

    /// All spans from the first to the last; those without packets are empty.
    pub(super) fn dense(&self) -> Vec<Span> {
        let Some(first) = self.spans.keys().next() else { return Vec::new() };
        let place = |n: u64| first.saturating_add(n);
        (0..self.reach()).map(|n| self.spans.get(&place(n)).cloned().unwrap_or_default()).collect()
    }

    /// With spans that are wide enough to be shown: no more than `most`, and fewer of few packets.
    pub(super) fn to_show(&self, most: u64) -> Self {
        let packets: u64 = self.spans.values().map(Span::packets).sum();
        let few = (packets / 4).max(24);
        let mut line = self.clone();
        while line.reach() > most.min(few) {
            line = line.halved();
        }
        line
    }

    /// With spans of twice the width.
    fn halved(&self) -> Self {
        let mut line = Self { width: self.width.saturating_mul(2), spans: BTreeMap::new() };
        for (place, span) in &self.spans {
            line.spans.entry(place / 2).or_default().add(span);
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_spans_has_a_bound_and_no_packet_is_lost() {
        let mut line = Line::default();
        let times = [0, 1, 999, 1_000, 5_000_000_000, 3, u64::MAX, 1_700_000_000_000_000_000];
        for time in times.into_iter().chain((0..10_000).map(|n| n * 77_777)) {
            line.count(time, Verdict::Forwarded);
            assert!(line.reach() <= MAX_SPANS);
        }
        let sum: u64 = line.dense().iter().map(Span::packets).sum();
        assert_eq!(sum, 10_008);
    }

    #[test]
    fn spans_are_as_narrow_as_their_number_allows() {
        let mut line = Line::default();
        assert!(line.count(5_000, Verdict::Dropped));
        assert!(!line.count(5_999, Verdict::Dropped));
        assert!(line.count(5_000 + 1_000 * 239, Verdict::Translated));
        assert_eq!((line.width(), line.reach(), line.start()), (1_000, 240, 5_000));
        assert!(line.count(5_000 + 1_000 * 240, Verdict::Translated), "one too many");
        assert_eq!((line.width(), line.reach(), line.start()), (2_000, 121, 4_000));
        let dense = line.dense();
        assert_eq!((dense[0].dropped(), dense[0].packets(), dense[1].packets()), (2, 2, 0));
    }

    #[test]
    fn wider_spans_keep_what_was_fullest() {
        let mut line = Line::default();
        line.count(0, Verdict::Forwarded);
        line.count(1_000, Verdict::Forwarded);
        line.span_mut(0).unwrap().note(3, [5, 0, 1, 0]);
        line.span_mut(1_000).unwrap().note(3, [4, 2, 1, 0]);
        assert_eq!(line.halved().dense()[0].fill[&3], [5, 2, 1, 0]);
    }

    #[test]
    fn few_packets_are_shown_in_few_spans() {
        let mut line = Line::default();
        (0..10).for_each(|n| {
            line.count(n * 20_000, Verdict::Forwarded);
        });
        assert!(line.reach() > 100);
        assert!(line.to_show(120).reach() <= 24);
        assert_eq!(Line::default().to_show(120).dense(), []);
    }
}
