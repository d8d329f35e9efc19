//! Rate limits for packets that the datapath makes itself (RFC 1812, 4.3.2.8; RFC 4443, 2.4 f).

use crate::bytes::{Racy, pod};
use crate::seam::Nanos;

pod! {
    /// A token bucket, 16 bytes. Shared by all CPUs without a lock: a lost update lets a packet too many
    /// through, now and then.
    #[derive(Clone, PartialEq, Debug)]
    pub struct Bucket {
        /// When it was full, had it never been emptied: time is what the bucket holds.
        full: Racy<u64>,
        pad: [u8; 8],
    }
}

/// Tokens a second.
const RATE: Nanos = 100;
/// Tokens in a full bucket.
pub const BURST: Nanos = 1_000;
/// What a token costs.
const TOKEN: Nanos = 1_000_000_000 / RATE;

impl Bucket {
    /// Takes a token, if there is one: a hundred a second, and a thousand at once after a rest.
    #[inline(always)]
    pub fn take(&self, now: Nanos) -> bool {
        let full = self.full.get();
        // The time at which the bucket would be full again lies ahead by a token for each one taken.
        let full = if full < now { now } else { full };
        if full.wrapping_sub(now) > (BURST - 1) * TOKEN {
            return false;
        }
        self.full.set(full.wrapping_add(TOKEN));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::Pod;

    #[test]
    fn a_token_comes_back_when_its_time_has_passed() {
        let bucket = Bucket::zeroed();
        let now = 5_000_000_000;
        while bucket.take(now) {}
        assert!(!bucket.take(now + TOKEN - 1));
        assert!(bucket.take(now + TOKEN));
        assert!(!bucket.take(now + TOKEN));
        // A clock that is behind takes none and gives none.
        assert!(!bucket.take(now));
        assert!(bucket.take(now + 2 * TOKEN));
    }

    #[test]
    fn never_more_than_a_full_one() {
        let bucket = Bucket::zeroed();
        for rest in [1, 9, 10, 11, 1_000_000] {
            let now = rest * 1_000_000_000_000;
            assert_eq!((0..3_000).filter(|_| bucket.take(now)).count(), 1_000, "after {rest}");
        }
    }

    #[test]
    fn a_burst_then_a_trickle() {
        let bucket = Bucket::zeroed();
        let mut now = 5_000_000_000;
        assert_eq!((0..2_000).filter(|_| bucket.take(now)).count(), 1_000);
        now += 1_000_000_000;
        assert_eq!((0..2_000).filter(|_| bucket.take(now)).count(), 100);
        now += 60_000_000_000;
        assert_eq!((0..2_000).filter(|_| bucket.take(now)).count(), 1_000);
    }
}
