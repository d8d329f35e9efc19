//! Models of the kernel's maps.
//!
//! They have the kernel's limits and the kernel's errors (`kernel/bpf/hashtab.c`): a hash map that is
//! full refuses a new key, an LRU map evicts. Iteration order never shows: dumps are sorted.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hash, Hasher};

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use hashbrown::hash_table;
use twinpath_core::bytes::Pod;
use twinpath_core::hash;
use twinpath_core::range::RangeKey;
use twinpath_core::seam::{InsertError, Lookup, Put, Table};

/// A map with a quick hash and the same order in every run.
pub type WordMap<K, V> = hashbrown::HashMap<K, V, FixedState>;

/// A set of the same kind.
pub type WordSet<K> = hashbrown::HashSet<K, FixedState>;

/// The hash of a key: of its bytes, as the kernel has it.
#[inline(always)]
fn hash_of<K: Pod>(key: &K) -> u64 {
    let mut hasher = FixedState::with_seed(0).build_hasher();
    let (words, rest) = key.as_bytes().as_chunks::<8>();
    for word in words {
        hasher.write_u64(u64::from_ne_bytes(*word));
    }
    if !rest.is_empty() {
        hasher.write(rest);
    }
    hasher.finish()
}

/// `BPF_MAP_TYPE_HASH`: full is full.
#[derive(Clone)]
pub struct HashModel<K, V> {
    entries: WordMap<K, V>,
    max_entries: usize,
}

impl<K: Pod + Eq + Hash + Copy + Ord, V: Pod + Clone> HashModel<K, V> {
    /// An empty map with room for so many entries.
    pub fn new(max_entries: usize) -> Self {
        Self { entries: WordMap::default(), max_entries }
    }

    /// Puts a value in; fails with [`InsertError::Full`] (`-E2BIG`) where there is no room.
    pub fn put(&mut self, key: &K, value: V) -> Result<(), InsertError> {
        if self.entries.len() >= self.max_entries && !self.entries.contains_key(key) {
            return Err(InsertError::Full);
        }
        self.entries.insert(*key, value);
        Ok(())
    }

    /// Takes a value out; whether it was there.
    pub fn take(&mut self, key: &K) -> bool {
        self.entries.remove(key).is_some()
    }

    /// All entries, by key.
    pub fn dump(&self) -> Vec<(K, V)> {
        sorted(self.entries.iter().map(|(key, value)| (*key, value.clone())).collect())
    }
}

impl<K: Pod + Eq + Hash, V: Pod> Lookup<K, V> for HashModel<K, V> {
    #[inline(always)]
    fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key)
    }
}

/// `BPF_MAP_TYPE_ARRAY`: every index below the size is there, zero at first.
#[derive(Clone)]
pub struct ArrayModel<V>(Vec<V>);

impl<V: Pod + Clone> ArrayModel<V> {
    /// An array of so many zeroes.
    pub fn new(max_entries: usize) -> Self {
        Self(vec![V::zeroed(); max_entries])
    }

    /// Puts a value in; fails with [`InsertError::Full`] (`-E2BIG`) beyond the end.
    pub fn put(&mut self, index: u32, value: V) -> Result<(), InsertError> {
        let place = usize::try_from(index).ok().and_then(|i| self.0.get_mut(i));
        *place.ok_or(InsertError::Full)? = value;
        Ok(())
    }
}

impl<V: Pod> Lookup<u32, V> for ArrayModel<V> {
    #[inline(always)]
    fn get(&self, index: &u32) -> Option<&V> {
        self.0.get(usize::try_from(*index).ok()?)
    }
}

/// `BPF_MAP_TYPE_LPM_TRIE`: the value of the longest range that has an address.
#[derive(Clone)]
pub struct RangeModel {
    /// Longest first.
    ranges: BTreeMap<(Reverse<u32>, RangeKey), u32>,
    max_entries: usize,
}

impl RangeModel {
    /// An empty map with room for so many ranges.
    pub const fn new(max_entries: usize) -> Self {
        Self { ranges: BTreeMap::new(), max_entries }
    }

    /// Puts a range in; fails with [`InsertError::Full`] (`-ENOSPC`) where there is no room.
    pub fn put(&mut self, key: &RangeKey, value: u32) -> Result<(), InsertError> {
        let place = (Reverse(key.bits()), *key);
        if self.ranges.len() >= self.max_entries && !self.ranges.contains_key(&place) {
            return Err(InsertError::Full);
        }
        self.ranges.insert(place, value);
        Ok(())
    }

    /// Takes a range out; whether it was there.
    pub fn take(&mut self, key: &RangeKey) -> bool {
        self.ranges.remove(&(Reverse(key.bits()), *key)).is_some()
    }
}

impl Lookup<RangeKey, u32> for RangeModel {
    fn get(&self, key: &RangeKey) -> Option<&u32> {
        self.ranges.iter().find(|((_, range), _)| range.contains(key)).map(|(_, value)| value)
    }
}

/// Which entries an LRU map gives up when a new one finds no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// The one that was used longest ago. Looks at every entry: for small maps.
    Exact,
    /// As the kernel's map with a common list does on one CPU: a batch of those used longest ago, so
    /// that the next inserts find room at once.
    Batch(usize),
    /// Any, as a random sequence with this seed says.
    Adversary(u64),
}

impl Eviction {
    /// The kernel's batch for a map of this size (`LOCAL_FREE_TARGET` of `bpf_lru_list.c`).
    pub const KERNEL: Self = Self::Batch(128);
}

#[derive(Clone)]
#[repr(C)]
struct Slot<K, V> {
    key: K,
    value: V,
    used: Cell<u64>,
}

/// `BPF_MAP_TYPE_LRU_HASH`: an insert into a full map evicts.
///
/// A lookup counts as a use, in the kernel by a reference bit. Here the entry takes the number of the
/// last insert, so that lookups between two inserts cost one write at most.
#[derive(Clone)]
pub struct LruModel<K, V> {
    entries: HashTable<Slot<K, V>>,
    max_entries: usize,
    eviction: Eviction,
    inserts: u64,
    evicted: u64,
}

impl<K: Pod + Eq + Copy, V: Pod + Clone> LruModel<K, V> {
    /// An empty map with room for so many entries.
    pub fn new(max_entries: usize, eviction: Eviction) -> Self {
        Self { entries: HashTable::new(), max_entries, eviction, inserts: 0, evicted: 0 }
    }

    /// All entries, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|slot| (&slot.key, &slot.value))
    }

    /// All entries, by key.
    pub fn dump(&self) -> Vec<(K, V)>
    where
        K: Ord,
    {
        sorted(self.iter().map(|(key, value)| (*key, value.clone())).collect())
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many entries were evicted so far.
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Removes every entry.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    fn evict(&mut self) {
        // Among equals by the bytes of the key, so that every run gives up the same.
        let mut order: Vec<(u64, K)> =
            self.entries.iter().map(|slot| (slot.used.get(), slot.key)).collect();
        let by_key = |a: &(u64, K), b: &(u64, K)| a.1.as_bytes().cmp(b.1.as_bytes());
        let by_use = |a: &(u64, K), b: &(u64, K)| a.0.cmp(&b.0).then_with(|| by_key(a, b));
        let chosen = match self.eviction {
            Eviction::Adversary(seed) => {
                order.sort_unstable_by(by_key);
                let draw = hash::random(seed, self.evicted);
                let bound = u32::try_from(order.len()).unwrap_or(u32::MAX);
                let index = hash::scale(draw, bound) as usize;
                index..(index + 1).min(order.len())
            }
            Eviction::Exact => self.oldest(&mut order, 1, by_use),
            Eviction::Batch(count) => self.oldest(&mut order, count, by_use),
        };
        for (_, key) in order.get(chosen).unwrap_or_default() {
            self.evicted += u64::from(self.remove(key));
        }
    }

    /// Brings the `count` first of the order to the front.
    fn oldest(
        &self,
        order: &mut [(u64, K)],
        count: usize,
        by_use: impl Fn(&(u64, K), &(u64, K)) -> std::cmp::Ordering,
    ) -> std::ops::Range<usize> {
        let count = count.clamp(1, self.max_entries.max(1)).min(order.len());
        if count < order.len() && count > 0 {
            order.select_nth_unstable_by(count - 1, by_use);
        }
        0..count
    }
}

impl<K: Pod + Eq + Copy, V: Pod + Clone> Lookup<K, V> for LruModel<K, V> {
    #[inline(always)]
    fn get(&self, key: &K) -> Option<&V> {
        let slot = self.entries.find(hash_of(key), |slot| slot.key == *key)?;
        if slot.used.get() != self.inserts {
            slot.used.set(self.inserts);
        }
        Some(&slot.value)
    }
}

impl<K: Pod + Eq + Copy, V: Pod + Clone> Table<K, V> for LruModel<K, V> {
    fn insert(&mut self, key: &K, value: &V, put: Put) -> Result<(), InsertError> {
        if self.max_entries == 0 {
            return Err(InsertError::Full);
        }
        let hash = hash_of(key);
        self.inserts += 1;
        let new = Slot { key: *key, value: value.clone(), used: Cell::new(self.inserts) };
        if let Some(slot) = self.entries.find_mut(hash, |slot| slot.key == *key) {
            return match put {
                Put::New => Err(InsertError::Exists),
                Put::Any => {
                    *slot = new;
                    Ok(())
                }
            };
        }
        if self.entries.len() >= self.max_entries {
            self.evict();
        }
        self.entries.insert_unique(hash, new, |slot| hash_of(&slot.key));
        Ok(())
    }

    fn remove(&mut self, key: &K) -> bool {
        match self.entries.find_entry(hash_of(key), |slot| slot.key == *key) {
            Ok(entry) => {
                hash_table::OccupiedEntry::remove(entry);
                true
            }
            Err(_) => false,
        }
    }
}

fn sorted<K: Ord, V>(mut entries: Vec<(K, V)>) -> Vec<(K, V)> {
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_hash_refuses_new_keys_and_takes_known_ones() {
        let mut map = HashModel::new(2);
        assert_eq!(map.put(&1_u32, 10_u32), Ok(()));
        assert_eq!(map.put(&2, 20), Ok(()));
        assert_eq!(map.put(&3, 30), Err(InsertError::Full));
        assert_eq!(map.put(&2, 21), Ok(()));
        assert!(map.take(&1));
        assert!(!map.take(&1));
        assert_eq!(map.put(&3, 30), Ok(()));
        assert_eq!(map.dump(), [(2, 21), (3, 30)]);
    }

    #[test]
    fn an_array_has_every_index_and_no_other() {
        let mut array = ArrayModel::new(2);
        assert_eq!(array.get(&1), Some(&0_u32));
        assert_eq!(array.put(1, 7), Ok(()));
        assert_eq!(array.get(&1), Some(&7));
        assert_eq!(array.put(2, 7), Err(InsertError::Full));
        assert_eq!(array.get(&2), None);
    }

    fn filled(max_entries: u32, eviction: Eviction, inserts: u32) -> LruModel<u32, u32> {
        let mut map = LruModel::new(max_entries as usize, eviction);
        for key in 0..inserts {
            map.insert(&key, &key, Put::New).unwrap();
        }
        map
    }

    #[test]
    fn lru_evicts_what_was_used_longest_ago() {
        let mut map = filled(3, Eviction::Exact, 3);
        assert_eq!(map.get(&0), Some(&0)); // a use
        map.insert(&3, &3, Put::New).unwrap();
        assert_eq!(map.dump(), [(0, 0), (2, 2), (3, 3)]);
        assert_eq!(map.insert(&3, &4, Put::New), Err(InsertError::Exists));
        assert_eq!(map.insert(&3, &4, Put::Any), Ok(()));
        assert_eq!(map.evicted(), 1);
    }

    #[test]
    fn batches_as_measured_on_a_kernel() {
        // On 6.18 a map of 1024 filled from one CPU evicts 128 at insert 1025, the oldest, and the
        // next 128 at insert 1153.
        let map = filled(1024, Eviction::KERNEL, 1024);
        assert_eq!((map.len(), map.evicted()), (1024, 0));
        let map = filled(1024, Eviction::KERNEL, 1025);
        assert_eq!((map.len(), map.evicted()), (1024 - 128 + 1, 128));
        assert_eq!(map.dump().first(), Some(&(128, 128)));
        assert_eq!(filled(1024, Eviction::KERNEL, 1152).evicted(), 128);
        assert_eq!(filled(1024, Eviction::KERNEL, 1153).evicted(), 256);
    }

    #[test]
    fn an_adversary_is_repeatable_and_not_lru() {
        let one = filled(16, Eviction::Adversary(7), 64).dump();
        assert_eq!(one, filled(16, Eviction::Adversary(7), 64).dump());
        assert_ne!(one, filled(16, Eviction::Adversary(8), 64).dump());
        assert_ne!(one, filled(16, Eviction::Exact, 64).dump());
        assert_eq!(one.len(), 16);
    }
}
