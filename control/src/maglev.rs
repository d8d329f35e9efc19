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
    let size = size.get();
    let mut order: Vec<(usize, &N)> = names.iter().enumerate().collect();
    // Turns are taken in the order of names.
    order.sort_unstable_by_key(|(_, name)| *name);
    let mut turns: Vec<Turn> = order
        .into_iter()
        .map(|(index, name)| Turn::new(index, name.as_ref(), size, seed))
        .collect();
    if turns.is_empty() {
        return Vec::new();
    }
    let mut table = vec![None; size as usize];
    let mut free = size;
    'fill: loop {
        for turn in &mut turns {
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
}

impl Turn {
    fn new(index: usize, name: &[u8], size: u32, seed: u32) -> Self {
        let next = hash(name, seed, 1) % u64::from(size);
        let step = hash(name, seed, 2) % u64::from(size - 1) + 1;
        // Both are below the size.
        Self { index, next: next as u32, step: step as u32 }
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
