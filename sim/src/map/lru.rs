//! The map that evicts.

use std::cell::Cell;

use hashbrown::HashTable;
use hashbrown::hash_table;
use twinpath_core::bytes::Pod;
use twinpath_core::hash;
use twinpath_core::seam::{InsertError, Lookup, Put, Table};

use super::lists::{self, Entries, Lists};
use super::{hash_of, sorted};

/// Which entries an LRU map gives up when a new one finds no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// The one that was used longest ago. Looks at every entry: for small maps.
    Exact,
    /// Those that the kernel's map gives up, one for one, where all inserts are made on one CPU.
    Kernel {
        /// How many CPUs the machine can have (`/sys/devices/system/cpu/possible`); 0 for a kernel that does
        /// not ask (before Linux 6.16, and what was ported back of it).
        cpus: u32,
    },
    /// Any, as a random sequence with this seed says.
    Adversary(u64),
}

impl Eviction {
    /// That of the kernel, which is the same on any machine where a map has room for 256 entries per CPU.
    pub const KERNEL: Self = Self::Kernel { cpus: 1 };

    /// How many entries at most a map of this size gives up at once.
    pub fn batch(self, max_entries: usize) -> usize {
        match self {
            Self::Kernel { cpus } => lists::batch(max_entries, cpus).min(max_entries),
            Self::Exact | Self::Adversary(_) => 1,
        }
    }
}

#[derive(Clone)]
#[repr(C)]
struct Slot<K, V> {
    key: K,
    value: V,
    /// As in the kernel: whether the entry was used since it last changed its place. Else: the number of
    /// the last insert before it was used.
    used: Cell<u64>,
    /// As in the kernel: where it is on the lists.
    node: u32,
}

/// `BPF_MAP_TYPE_LRU_HASH`: an insert into a full map evicts, and one under a key that is taken may, too,
/// since the kernel takes a node for the new value before it looks for the old one.
///
/// A lookup counts as a use, in the kernel by a reference bit. Here the entry takes the number of the
/// last insert, so that lookups between two inserts cost one write at most.
#[derive(Clone)]
pub struct LruModel<K, V> {
    entries: Slots<K, V>,
    max_entries: usize,
    eviction: Eviction,
    lists: Lists,
    inserts: u64,
}

#[derive(Clone)]
struct Slots<K, V> {
    table: HashTable<Slot<K, V>>,
    evicted: u64,
}

impl<K: Pod + Eq, V: Pod> Slots<K, V> {
    fn remove(&mut self, hash: u64, is: impl Fn(&Slot<K, V>) -> bool) -> Option<u32> {
        let entry = self.table.find_entry(hash, is).ok()?;
        Some(hash_table::OccupiedEntry::remove(entry).0.node)
    }
}

impl<K: Pod + Eq, V: Pod> Entries for Slots<K, V> {
    fn take_use(&self, hash: u64, node: u32) -> bool {
        let slot = self.table.find(hash, |slot| slot.node == node);
        slot.is_some_and(|slot| slot.used.replace(0) != 0)
    }

    fn evict(&mut self, hash: u64, node: u32) {
        self.evicted += u64::from(self.remove(hash, |slot| slot.node == node).is_some());
    }
}

impl<K: Pod + Eq + Copy, V: Pod + Clone> LruModel<K, V> {
    /// An empty map with room for so many entries.
    pub fn new(max_entries: usize, eviction: Eviction) -> Self {
        let entries = Slots { table: HashTable::new(), evicted: 0 };
        let lists = empty(max_entries, eviction);
        Self { entries, max_entries, eviction, lists, inserts: 0 }
    }

    /// All entries, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.table.iter().map(|slot| (&slot.key, &slot.value))
    }

    /// All entries, by key.
    pub fn dump(&self) -> Vec<(K, V)>
    where
        K: Ord,
    {
        sorted(self.iter().map(|(key, value)| (*key, value.clone())).collect())
    }

    /// The value under a key, as user space asks for it: no use.
    pub fn peek(&self, key: &K) -> Option<&V> {
        let slot = self.entries.table.find(hash_of(key), |slot| slot.key == *key)?;
        Some(&slot.value)
    }

    /// Brings an entry into the cache: its first bytes and its last. No use.
    #[inline(always)]
    pub fn foresee(&self, key: &K) {
        let slot = self.entries.table.find(hash_of(key), |slot| slot.key == *key);
        std::hint::black_box(slot.map(|slot| slot.node));
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.table.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.table.is_empty()
    }

    /// How many entries there is room for.
    pub const fn max_entries(&self) -> usize {
        self.max_entries
    }

    /// How many entries were evicted so far.
    pub const fn evicted(&self) -> u64 {
        self.entries.evicted
    }

    /// Makes the map as it was when new. To remove every entry is not the same in a kernel, where the CPU
    /// that made them keeps some of the free nodes.
    pub fn clear(&mut self) {
        self.entries.table.clear();
        self.lists = empty(self.max_entries, self.eviction);
    }

    /// An insert as the kernel does it.
    fn insert_by_lists(&mut self, key: &K, value: &V, put: Put) -> Result<(), InsertError> {
        let hash = hash_of(key);
        let node = self.lists.take(&mut self.entries, hash).ok_or(InsertError::Full)?;
        // Only now, since the entry itself may have had to go.
        let Some(old) = self.entries.table.find_mut(hash, |slot| slot.key == *key) else {
            let new = Slot { key: *key, value: value.clone(), used: Cell::new(0), node };
            self.entries.table.insert_unique(hash, new, |slot| hash_of(&slot.key));
            return Ok(());
        };
        match put {
            Put::New => {
                self.lists.give_back(node);
                Err(InsertError::Exists)
            }
            Put::Any => {
                self.lists.give_back(old.node);
                *old = Slot { key: *key, value: value.clone(), used: Cell::new(1), node };
                Ok(())
            }
        }
    }

    /// Gives up the entry that an order by use, or the dice, say.
    fn evict(&mut self) {
        // Among equals by the bytes of the key, so that every run gives up the same.
        let mut order: Vec<(u64, K)> =
            self.entries.table.iter().map(|slot| (slot.used.get(), slot.key)).collect();
        let by_key = |a: &(u64, K), b: &(u64, K)| a.1.as_bytes().cmp(b.1.as_bytes());
        let chosen = if let Eviction::Adversary(seed) = self.eviction {
            order.sort_unstable_by(by_key);
            let draw = hash::random(seed, self.entries.evicted);
            let bound = u32::try_from(order.len()).unwrap_or(u32::MAX);
            order.get(hash::scale(draw, bound) as usize)
        } else {
            order.iter().min_by(|a, b| a.0.cmp(&b.0).then_with(|| by_key(a, b)))
        };
        if let Some((_, key)) = chosen {
            let found = self.entries.remove(hash_of(key), |slot| slot.key == *key);
            self.entries.evicted += u64::from(found.is_some());
        }
    }
}

/// The lists of an empty map; without use where the policy is another than the kernel's.
fn empty(max_entries: usize, eviction: Eviction) -> Lists {
    match eviction {
        Eviction::Kernel { cpus } => Lists::new(max_entries, cpus),
        Eviction::Exact | Eviction::Adversary(_) => Lists::new(0, 0),
    }
}

impl<K: Pod + Eq + Copy, V: Pod + Clone> Lookup<K, V> for LruModel<K, V> {
    #[inline(always)]
    fn get(&self, key: &K) -> Option<&V> {
        let slot = self.entries.table.find(hash_of(key), |slot| slot.key == *key)?;
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
        self.inserts += 1;
        if let Eviction::Kernel { .. } = self.eviction {
            return self.insert_by_lists(key, value, put);
        }
        let hash = hash_of(key);
        let new = Slot { key: *key, value: value.clone(), used: Cell::new(self.inserts), node: 0 };
        if let Some(slot) = self.entries.table.find_mut(hash, |slot| slot.key == *key) {
            return match put {
                Put::New => Err(InsertError::Exists),
                Put::Any => {
                    *slot = new;
                    Ok(())
                }
            };
        }
        if self.entries.table.len() >= self.max_entries {
            self.evict();
        }
        self.entries.table.insert_unique(hash, new, |slot| hash_of(&slot.key));
        Ok(())
    }

    fn remove(&mut self, key: &K) -> bool {
        let Some(node) = self.entries.remove(hash_of(key), |slot| slot.key == *key) else {
            return false;
        };
        if let Eviction::Kernel { .. } = self.eviction {
            self.lists.give_back(node);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEASURED: Eviction = Eviction::Kernel { cpus: 2 };

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
        assert_eq!(map.peek(&1), Some(&1)); // none
        map.insert(&3, &3, Put::New).unwrap();
        assert_eq!(map.dump(), [(0, 0), (2, 2), (3, 3)]);
        assert_eq!(map.insert(&3, &4, Put::New), Err(InsertError::Exists));
        assert_eq!(map.insert(&3, &4, Put::Any), Ok(()));
        assert_eq!(map.evicted(), 1);
    }

    #[test]
    fn batches_as_measured_on_a_kernel() {
        // On 6.18 with two CPUs a map of 1024 filled from one of them evicts 128 at insert 1025, the oldest,
        // and the next 128 at insert 1153; one of 256 has 208 entries after 400 inserts.
        let map = filled(1024, MEASURED, 1024);
        assert_eq!((map.len(), map.evicted()), (1024, 0));
        let map = filled(1024, MEASURED, 1025);
        assert_eq!((map.len(), map.evicted()), (1024 - 128 + 1, 128));
        assert_eq!(map.dump().first(), Some(&(128, 128)));
        assert_eq!(filled(1024, MEASURED, 1152).evicted(), 128);
        assert_eq!(filled(1024, MEASURED, 1153).evicted(), 256);
        assert_eq!(filled(256, MEASURED, 400).len(), 208);
    }

    #[test]
    fn what_a_program_has_looked_up_outlives_what_user_space_has() {
        let mut map = filled(16, MEASURED, 16);
        for key in 0..4 {
            assert!(map.get(&key).is_some());
            assert!(map.peek(&(key + 4)).is_some());
            map.foresee(&(key + 4));
        }
        map.insert(&16, &16, Put::New).unwrap();
        let left: Vec<u32> = map.dump().iter().map(|(key, _)| *key).collect();
        assert_eq!(left, [0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
    }

    #[test]
    fn to_replace_a_value_takes_a_free_node() {
        // The batch is one, so the first replacement in a full map evicts; here, what it would replace.
        let mut map = filled(2, MEASURED, 2);
        assert_eq!(map.insert(&0, &7, Put::Any), Ok(()));
        assert_eq!((map.dump(), map.evicted()), (vec![(0, 7), (1, 1)], 1));
        // And the key that is taken is free by then.
        assert_eq!(map.insert(&1, &8, Put::New), Ok(()));
        assert_eq!((map.dump(), map.evicted()), (vec![(0, 7), (1, 8)], 2));
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
