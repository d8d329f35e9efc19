//! A table that can be told to fail.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};

use twinpath_core::bytes::Pod;
use twinpath_core::fault::{Fault, Operation};
use twinpath_core::seam::{InsertError, Lookup, Put, Table};

/// A table whose operations go wrong as [`Fault`]s say, while it is [armed](Self::arm).
pub struct Faulty<K, T> {
    table: T,
    armed: bool,
    /// By [`Operation`].
    faults: [Cell<Fault>; 3],
    /// What a lookup found evicted. It goes before the next write: until then others may hold it.
    gone: Cell<Option<K>>,
}

impl<K, T> Faulty<K, T> {
    /// This table, without faults.
    pub const fn new(table: T) -> Self {
        let none = Fault::NONE;
        let faults = [Cell::new(none), Cell::new(none), Cell::new(none)];
        Self { table, armed: false, faults, gone: Cell::new(None) }
    }

    /// The fault that is to come of an operation.
    pub const fn fault(&self, operation: Operation) -> &Cell<Fault> {
        let [lookup, insert, remove] = &self.faults;
        match operation {
            Operation::Lookup => lookup,
            Operation::Insert => insert,
            Operation::Remove => remove,
        }
    }

    fn strikes(&self, operation: Operation) -> bool {
        let mut fault = self.fault(operation).get();
        let strikes = fault.strikes();
        self.fault(operation).set(fault);
        strikes
    }
}

impl<K: Pod + Eq + Copy, T> Faulty<K, T> {
    /// From now on operations count, or no more.
    pub fn arm<V: Pod>(&mut self, armed: bool)
    where
        T: Table<K, V>,
    {
        self.settle();
        self.armed = armed;
    }

    fn settle<V: Pod>(&mut self)
    where
        T: Table<K, V>,
    {
        if let Some(key) = self.gone.take() {
            self.table.remove(&key);
        }
    }

    #[cold]
    fn misses(&self, key: &K) -> bool {
        if self.strikes(Operation::Lookup) {
            self.gone.set(Some(*key));
        }
        self.gone.get().is_some_and(|gone| gone == *key)
    }
}

impl<K, T> Deref for Faulty<K, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        &self.table
    }
}

impl<K, T> DerefMut for Faulty<K, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.table
    }
}

impl<K: Pod + Eq + Copy, V: Pod, T: Lookup<K, V>> Lookup<K, V> for Faulty<K, T> {
    #[inline(always)]
    fn get(&self, key: &K) -> Option<&V> {
        if self.armed && self.misses(key) {
            return None;
        }
        self.table.get(key)
    }
}

impl<K: Pod + Eq + Copy, V: Pod, T: Table<K, V>> Table<K, V> for Faulty<K, T> {
    fn insert(&mut self, key: &K, value: &V, put: Put) -> Result<(), InsertError> {
        if self.armed {
            self.settle();
            let mut fault = self.fault(Operation::Insert).get();
            let refused = fault.refuses(put);
            self.fault(Operation::Insert).set(fault);
            if let Some(error) = refused {
                return Err(error);
            }
        }
        self.table.insert(key, value, put)
    }

    fn remove(&mut self, key: &K) -> bool {
        if self.armed {
            self.settle();
            if self.strikes(Operation::Remove) {
                return false;
            }
        }
        self.table.remove(key)
    }
}
