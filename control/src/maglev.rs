//! The Maglev table of a service (Eisenbud et al., NSDI 2016, section 3.4).
//!
//! Each backend has a permutation of the table's entries, made from its name alone; in turns, each
//! takes the first entry of its permutation that is still free. Every node that knows the same
//! backends builds the same table, and when a backend comes or goes few entries change hands.

use thiserror::Error;

/// Entries of a table: a prime number, so that every step visits every entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(u32);

/// This is no [`Size`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{0} is no prime number from {min} to {max}; 251, 1021, 4093, 16381 and 65521 are", min = Size::MIN, max = Size::MAX)]
pub struct SizeError(pub u32);

impl Size {
    /// The smallest.
    pub const MIN: u32 = 3;
    /// The largest: 512 KiB of numbers for each service.
    pub const MAX: u32 = 131_071;

    /// A size, if it is a prime number in range.
    pub const fn new(size: u32) -> Result<Self, SizeError> {
        if size < Self::MIN || size > Self::MAX || size.is_multiple_of(2) {
            return Err(SizeError(size));
        }
        let mut divisor = 3;
        while divisor * divisor <= size {
            if size.is_multiple_of(divisor) {
                return Err(SizeError(size));
            }
            divisor += 2;
        }
        Ok(Self(size))
    }

    /// The number of entries.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl Default for Size {
    /// 1021: 4 KiB for each service, and shares within a hundredth of each other up to ten backends.
    fn default() -> Self {
        Self(1021)
    }
}

/// The table: for each entry, the index in `names` of the backend that has it; empty where there are
/// no names. The names must differ. Their order does not matter, but for which index stands for whom.
/// Of more names than entries, some get none.
pub fn table<N: AsRef<[u8]> + Ord>(names: &[N], size: Size, seed: u32) -> Vec<usize> {
    fill(names.iter().map(|name| (name, 1)), size, seed)
}

/// The same where backends have weights, which are the shares that they get of the table. One of
/// weight 0 gets nothing; the others have turns in proportion to their weights.
///
/// A share is right to within an entry for each backend of that weight or more: where a backend should
/// get less than one entry, it may get none.
pub fn weighted<N: AsRef<[u8]> + Ord>(names: &[(N, u32)], size: Size, seed: u32) -> Vec<usize> {
    fill(names.iter().map(|(name, weight)| (name, *weight)), size, seed)
}

fn fill<'a, N: AsRef<[u8]> + Ord + 'a>(
    names: impl Iterator<Item = (&'a N, u32)>,
    size: Size,
    seed: u32,
) -> Vec<usize> {
    let size = size.get();
    let mut order: Vec<(usize, (&N, u32))> = names.enumerate().collect();
    order.retain(|(_, (_, weight))| *weight > 0);
    // Turns are taken in the order of names.
    order.sort_unstable_by_key(|(_, (name, _))| *name);
    let heaviest = order.iter().map(|(_, (_, weight))| *weight).max().unwrap_or(0);
    let mut turns: Vec<Turn> = order
        .into_iter()
        .map(|(index, (name, weight))| Turn::new(index, name.as_ref(), weight, size, seed))
        .collect();
    if turns.is_empty() {
        return Vec::new();
    }
    let mut table = vec![None; size as usize];
    let mut free = size;
    'fill: loop {
        for turn in turns.iter_mut().filter_map(|turn| turn.is_due(heaviest).then_some(turn)) {
            if free == 0 {
                break 'fill;
            }
            // Ends, since the step is prime to the size and an entry is free.
            while let Some(entry) = table.get_mut(turn.next as usize) {
                turn.next = (turn.next + turn.step) % size;
                if entry.is_none() {
                    *entry = Some(turn.index);
                    free -= 1;
                    break;
                }
            }
        }
    }
    table.into_iter().flatten().collect()
}

/// A backend's way through the table.
struct Turn {
    index: usize,
    next: u32,
    step: u32,
    weight: u32,
    /// What it has of its next turn; the heaviest weight is a whole one.
    saved: u64,
}

impl Turn {
    fn new(index: usize, name: &[u8], weight: u32, size: u32, seed: u32) -> Self {
        let next = hash(name, seed, 1) % u64::from(size);
        let step = hash(name, seed, 2) % u64::from(size - 1) + 1;
        // Both are below the size.
        Self { index, next: next as u32, step: step as u32, weight, saved: 0 }
    }

    /// Whether it has a turn in this round.
    fn is_due(&mut self, heaviest: u32) -> bool {
        self.saved += u64::from(self.weight);
        let whole = u64::from(heaviest);
        let is_due = self.saved >= whole;
        if is_due {
            self.saved -= whole;
        }
        is_due
    }
}

/// FNV-1a over the name, and the finaliser of SplitMix64 to spread what differs in the last bytes.
fn hash(name: &[u8], seed: u32, which: u8) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325_u64;
    let bytes = seed.to_be_bytes().into_iter().chain([which]).chain(name.iter().copied());
    let folded = bytes.fold(start, |h, byte| (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let x = (folded ^ (folded >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|i| format!("10.244.{}.{}:8080/TCP", i / 250, i % 250 + 1)).collect()
    }

    fn owners(names: &[String], size: u32, seed: u32) -> Vec<String> {
        let table = table(names, Size::new(size).unwrap(), seed);
        table.into_iter().map(|index| names[index].clone()).collect()
    }

    #[test]
    fn sizes_are_primes_in_range() {
        for size in [3, 5, 251, 1021, 4093, 16381, 65521, 131_071, Size::default().get()] {
            assert_eq!(Size::new(size).map(Size::get), Ok(size));
        }
        for size in [0, 1, 2, 4, 9, 25, 121, 1024, 4087, 16383, 131_101, u32::MAX] {
            assert_eq!(Size::new(size), Err(SizeError(size)));
        }
        assert!(SizeError(9).to_string().starts_with("9 is no prime number from 3 to 131071"));
    }

    #[test]
    fn every_entry_is_taken() {
        for (count, size) in [(1, 3), (2, 3), (3, 3), (7, 251), (100, 251), (300, 251)] {
            let table = table(&names(count), Size::new(size).unwrap(), 1);
            assert_eq!(table.len(), size as usize, "{count} of {size}");
            assert!(table.iter().all(|index| *index < count), "{count} of {size}");
        }
        assert_eq!(table::<String>(&[], Size::default(), 1), Vec::<usize>::new());
    }

    #[test]
    fn the_order_of_names_does_not_matter() {
        let forward = names(9);
        let backward: Vec<String> = forward.iter().rev().cloned().collect();
        assert_eq!(owners(&forward, 1021, 5), owners(&backward, 1021, 5));
    }

    #[test]
    fn the_seed_matters() {
        assert_ne!(owners(&names(9), 1021, 5), owners(&names(9), 1021, 6));
    }

    #[test]
    fn shares_are_equal() {
        // All take as many turns, but for the last one: shares differ by one entry at most, which is
        // within 1 % of a share from 100 entries for each backend on.
        for (count, size) in [(2, 251), (10, 1021), (40, 4093), (163, 16381)] {
            let mut shares = vec![0_u32; count];
            for index in table(&names(count), Size::new(size).unwrap(), 3) {
                shares[index] += 1;
            }
            let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
            assert!(most - least <= 1, "{count} of {size}: {least} to {most}");
        }
    }

    #[test]
    fn shares_are_in_proportion_to_weights() {
        // Each share is within 2 % of what it should be, from 100 entries for the lightest on.
        let cases: &[(&[u32], u32)] = &[
            (&[1, 1, 1], 1021),
            (&[1, 2, 3], 1021),
            (&[100, 1], 16_381),
            (&[7, 3, 3, 1, 50], 16_381),
            (&[u32::MAX, 1 << 31, 1 << 30], 1021),
            (&[1000, 999, 998, 997], 4093),
        ];
        for (weights, size) in cases {
            let weighed: Vec<(String, u32)> =
                std::iter::zip(names(weights.len()), weights.iter().copied()).collect();
            let mut shares = vec![0.0; weights.len()];
            for index in weighted(&weighed, Size::new(*size).unwrap(), 3) {
                shares[index] += 1.0;
            }
            let all: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
            for (weight, share) in std::iter::zip(*weights, &shares) {
                let wanted = f64::from(*weight) / all * f64::from(*size);
                assert!((share / wanted - 1.0).abs() < 0.02, "{weights:?}: {shares:?}");
            }
        }
    }

    #[test]
    fn weights_that_say_nothing() {
        let (names, size) = (names(5), Size::new(251).unwrap());
        let weighed = |weight: fn(usize) -> u32| -> Vec<usize> {
            let weighed: Vec<_> = names
                .iter()
                .enumerate()
                .map(|(index, name)| (name.clone(), weight(index)))
                .collect();
            weighted(&weighed, size, 3)
        };
        assert_eq!(weighed(|_| 17), table(&names, size, 3));
        assert_eq!(weighed(|_| 0), Vec::<usize>::new());
        let without = table(&names[1..], size, 3);
        let shifted: Vec<usize> = without.iter().map(|index| index + 1).collect();
        assert_eq!(weighed(|index| u32::from(index > 0)), shifted);
    }

    /// Removes each backend by itself. Of the entries that others have, which share moves: on average,
    /// and at most.
    fn moved(count: usize, size: u32) -> (f64, f64) {
        let before = names(count);
        let old = owners(&before, size, 9);
        let shares: Vec<f64> = (0..count)
            .map(|gone| {
                let mut after = before.clone();
                let gone = after.remove(gone);
                let new = owners(&after, size, 9);
                let pairs: Vec<_> =
                    std::iter::zip(&old, &new).filter(|(old, _)| **old != gone).collect();
                let moved = pairs.iter().filter(|(old, new)| old != new).count();
                moved as f64 / pairs.len() as f64
            })
            .collect();
        let average = shares.iter().sum::<f64>() / count as f64;
        (average, shares.into_iter().fold(0.0, f64::max))
    }

    #[test]
    fn few_entries_move_when_a_backend_goes() {
        // Beyond the entries of the one that went, which have to move, these shares of all others may,
        // in percent: measured, and rounded up. With 100 entries for each backend some 2 % move, with
        // 800 fewer than 1 %.
        for (count, size, average, most) in [
            (5, 1021, 1.1, 1.6),
            (10, 1021, 2.6, 3.3),
            (20, 4093, 1.9, 2.4),
            (40, 4093, 2.4, 2.9),
            (5, 4093, 0.9, 1.3),
            (20, 16_381, 0.8, 0.9),
        ] {
            let found = moved(count, size);
            let (average, most) = (average / 100.0, most / 100.0);
            assert!(found.0 < average && found.1 < most, "{count} of {size}: {found:?}");
        }
    }
}
