//! How far the clocks of several captures are apart, by packets that are in two of them.

use std::collections::{BTreeMap, HashMap};

use twinpath_sim::frame::Frame;

use super::Captured;
use super::identity::Identity;

/// Most packets that are remembered, to be found again in another capture.
const MAX_PACKETS: usize = 65_536;
/// Packets in common that are enough to tell, and how many it takes at least.
const ENOUGH: usize = 1_001;
const LEAST: usize = 3;
/// Offsets below this many nanoseconds are not worth a word.
const WORTH: i64 = 100_000;
/// What a packet may take from one node to another, in nanoseconds, where nothing is known of the way back.
const ONE_WAY: i64 = 1_000_000;

/// Differences in nanoseconds, by the direction of the packets: their order in the two captures differs by twice the
/// time that a packet takes.
type Differences = [Vec<i64>; 2];

/// Watches for packets that are in two captures.
#[derive(Debug)]
pub(super) struct Clocks {
    captures: usize,
    /// The capture and time of a packet; no capture once it was seen twice in the same one.
    seen: HashMap<Identity, (Option<u32>, u64)>,
    pairs: BTreeMap<(u32, u32), Differences>,
    frame: Frame,
}

impl Clocks {
    pub(super) fn new(captures: usize) -> Self {
        Self { captures, seen: HashMap::new(), pairs: BTreeMap::new(), frame: Frame::default() }
    }

    /// Looks at a packet; its time is that of the capture, with what `--offset` adds.
    pub(super) fn look(&mut self, packet: &Captured<'_>) {
        let Some((identity, tuple)) = Identity::of(packet, &mut self.frame) else { return };
        let capture = packet.place.capture;
        let Some((known, time)) = self.seen.get_mut(&identity) else {
            if self.seen.len() < MAX_PACKETS {
                self.seen.insert(identity, (Some(capture), packet.timestamp));
            }
            return;
        };
        let (Some(first), before) = (*known, *time) else { return };
        *known = None;
        if first == capture {
            return;
        }
        let (pair, gap) = if first < capture {
            ((first, capture), difference(packet.timestamp, before))
        } else {
            ((capture, first), difference(before, packet.timestamp))
        };
        let [there, back] = self.pairs.entry(pair).or_default();
        let differences =
            if tuple.source.words() < tuple.destination.words() { there } else { back };
        if differences.len() < ENOUGH {
            differences.push(gap);
        }
    }

    /// How late each capture's times are against those of the first one, in nanoseconds, with the packets that tell;
    /// `None` where nothing tells.
    pub(super) fn late(&self) -> Vec<Option<(i64, usize)>> {
        let mut late: Vec<Option<(i64, usize)>> = vec![None; self.captures];
        let mut known: Vec<Option<i64>> = vec![None; self.captures];
        if let Some(first) = known.first_mut() {
            *first = Some(0);
        }
        // A capture that has no packet in common with the first one may have some with another that has.
        for _ in 1..self.captures {
            for ((a, b), differences) in &self.pairs {
                let (a, b) = (*a as usize, *b as usize);
                let Some((gap, packets)) = between(differences) else { continue };
                let (Some(of_a), Some(of_b)) = (known.get(a), known.get(b)) else { continue };
                let (at, value) = match (*of_a, *of_b) {
                    (Some(of_a), None) => (b, of_a.saturating_add(gap)),
                    (None, Some(of_b)) => (a, of_b.saturating_sub(gap)),
                    _ => continue,
                };
                known[at] = Some(value);
                late[at] = (value.abs() >= WORTH).then_some((value, packets));
            }
        }
        late
    }
}

fn difference(later: u64, earlier: u64) -> i64 {
    let size = i64::try_from(later.abs_diff(earlier)).unwrap_or(i64::MAX);
    if later < earlier { -size } else { size }
}

/// The offset of the second clock and the packets that tell it. Zero where the way that packets take explains the
/// differences.
fn between(differences: &Differences) -> Option<(i64, usize)> {
    let packets = differences.iter().map(Vec::len).sum();
    if packets < LEAST {
        return None;
    }
    let [there, back] = differences;
    let (offset, way) = match (median(there), median(back)) {
        (Some(there), Some(back)) => {
            // Each is the offset, plus the way in one case and minus it in the other.
            (there / 2 + back / 2, (there / 2 - back / 2).abs())
        }
        (Some(only), None) | (None, Some(only)) => (only, ONE_WAY),
        (None, None) => return None,
    };
    Some((if offset.abs() > way { offset } else { 0 }, packets))
}

fn median(values: &[i64]) -> Option<i64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_is_no_offset() {
        let ms = 1_000_000;
        for (there, back, expected) in [
            // Of two clocks 3 ms apart, with a way of 0.2 ms.
            (vec![3_200_000; 5], vec![2_800_000; 5], Some((3 * ms, 10))),
            // Equal clocks, a way of 40 ms.
            (vec![40 * ms; 5], vec![-40 * ms; 5], Some((0, 10))),
            (vec![ms / 2; 5], vec![], Some((0, 5))),
            (vec![], vec![-5 * ms; 3], Some((-5 * ms, 3))),
            // A few that are far out do not matter.
            (vec![ms, 7 * ms, 7 * ms, 7 * ms, 900 * ms], vec![7 * ms; 3], Some((7 * ms, 8))),
            (vec![7 * ms], vec![7 * ms], None),
        ] {
            assert_eq!(between(&[there, back]), expected);
        }
    }

    #[test]
    fn captures_in_a_chain() {
        let mut clocks = Clocks::new(4);
        clocks.pairs.insert((0, 2), [vec![5_000_000; 4], vec![5_000_000; 4]]);
        clocks.pairs.insert((1, 2), [vec![-2_000_000; 4], vec![-2_000_000; 4]]);
        assert_eq!(clocks.late(), [None, Some((7_000_000, 8)), Some((5_000_000, 8)), None]);
    }
}
