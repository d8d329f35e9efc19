//! Models of the kernel's maps.
//!
//! They have the kernel's limits and the kernel's errors (`kernel/bpf/hashtab.c`): a hash map that is
//! full refuses a new key, an LRU map evicts. Iteration order never shows: dumps are sorted.

mod faulty;
mod lists;
mod lru;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hash, Hasher};

use foldhash::fast::FixedState;
use twinpath_core::bytes::Pod;
use twinpath_core::range::RangeKey;
use twinpath_core::seam::{InsertError, Lookup};

pub use faulty::Faulty;
pub use lru::{Eviction, LruModel};

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
}
