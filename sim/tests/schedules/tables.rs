//! Tables that several CPUs share, with the kernel's rules for who sees what, and a point before each
//! operation where another CPU may come first or where something fails.
//!
//! A lookup gives the entry itself: what another CPU stores in place is seen through it. An update puts
//! a new element in the old one's place, so who holds the old one goes on with that, and what it stores
//! there is lost. Elements stay where they are until the tables go.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;

use twinpath_core::bytes::Pod;
use twinpath_core::range::RangeKey;
use twinpath_core::seam::{Config, InsertError, Lookup, Put, Table};

use crate::points::{Fault, Op, Points};

/// A handle to a shared table: each CPU has its own.
pub(crate) struct Map<K, V>(Arc<Inner<K, V>>);

struct Inner<K, V> {
    points: Arc<Points>,
    /// Whether a lookup is a point even where no control plane runs.
    written: bool,
    live: RefCell<BTreeMap<K, NonNull<V>>>,
    all: RefCell<Vec<NonNull<V>>>,
    /// For how many times over a removed element is not there any more.
    removed: Cell<usize>,
}

// SAFETY: the scheduler runs one CPU at a time, on one thread of the host; a table never leaves its run.
unsafe impl<K, V> Send for Inner<K, V> {}
// SAFETY: as above.
unsafe impl<K, V> Sync for Inner<K, V> {}

impl<K, V> Clone for Map<K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K, V> Drop for Inner<K, V> {
    fn drop(&mut self) {
        for element in self.all.get_mut().drain(..) {
            // SAFETY: it came from `Box::into_raw`, is in the list once, and no handle is left.
            drop(unsafe { Box::from_raw(element.as_ptr()) });
        }
    }
}

impl<K: Ord + Copy, V> Map<K, V> {
    /// An empty table that the datapath only reads.
    pub(crate) fn read(points: &Arc<Points>) -> Self {
        Self::new(points, false)
    }

    /// An empty table that the datapath writes, too.
    pub(crate) fn written(points: &Arc<Points>) -> Self {
        Self::new(points, true)
    }

    fn new(points: &Arc<Points>, written: bool) -> Self {
        Self(Arc::new(Inner {
            points: points.clone(),
            written,
            live: RefCell::default(),
            all: RefCell::default(),
            removed: Cell::new(0),
        }))
    }

    /// Puts a value in, as the control plane or the test does: no point.
    pub(crate) fn put(&self, key: K, value: V) {
        let element = NonNull::from(Box::leak(Box::new(value)));
        self.0.all.borrow_mut().push(element);
        self.0.live.borrow_mut().insert(key, element);
    }

    /// Takes a value out: no point.
    pub(crate) fn take(&self, key: &K) -> bool {
        let taken = self.0.live.borrow_mut().remove(key).is_some();
        self.0.removed.set(self.0.removed.get() + usize::from(taken));
        taken
    }

    /// The value: no point.
    pub(crate) fn peek(&self, key: &K) -> Option<&V> {
        let element = self.0.live.borrow().get(key).copied()?;
        // SAFETY: elements are freed with the last handle, and this one outlives the reference.
        Some(unsafe { element.as_ref() })
    }

    /// The keys, in their order.
    pub(crate) fn keys(&self) -> Vec<K> {
        self.0.live.borrow().keys().copied().collect()
    }

    /// What fails before an operation on this key.
    fn point(&self, op: Op, key: &K) -> Option<Fault> {
        let fault = self.0.points.at(op);
        match fault {
            Some(Fault::Evict) => {
                self.0.points.evicted(self.take(key));
            }
            Some(Fault::EvictOther(number)) => {
                let other = self.keys().into_iter().filter(|other| other != key).nth(number);
                self.0.points.evicted(other.is_some_and(|other| self.take(&other)));
            }
            _ => {}
        }
        fault
    }
}

impl<K: Pod + Ord + Copy, V: Pod> Lookup<K, V> for Map<K, V> {
    fn get(&self, key: &K) -> Option<&V> {
        if self.0.written {
            self.point(Op::Get, key);
        } else {
            self.0.points.at(Op::Read);
        }
        self.peek(key)
    }
}

impl<K: Pod + Ord + Copy, V: Pod + Clone> Table<K, V> for Map<K, V> {
    fn insert(&mut self, key: &K, value: &V, put: Put) -> Result<(), InsertError> {
        let op = if put == Put::New { Op::InsertNew } else { Op::InsertAny };
        let fault = self.point(op, key);
        let result = match fault {
            Some(Fault::Full) => Err(InsertError::Full),
            Some(Fault::Exists) if put == Put::New => Err(InsertError::Exists),
            _ if put == Put::New && self.peek(key).is_some() => Err(InsertError::Exists),
            _ => Ok(()),
        };
        match result {
            Ok(()) => self.put(*key, value.clone()),
            Err(InsertError::Exists) => self.0.points.note("exists"),
            Err(InsertError::Full) => self.0.points.note("full"),
        }
        result
    }

    fn remove(&mut self, key: &K) -> bool {
        self.point(Op::Remove, key);
        self.take(key)
    }
}

/// No ranges: nothing here has any.
pub(crate) struct NoRanges;

impl Lookup<RangeKey, u32> for NoRanges {
    fn get(&self, _: &RangeKey) -> Option<&u32> {
        None
    }
}

/// The configuration, each field read anew.
pub(crate) struct SharedConfig(pub(crate) Map<u32, Config>);

impl Deref for SharedConfig {
    type Target = Config;

    fn deref(&self) -> &Config {
        self.0.get(&0).expect("written before the first packet")
    }
}
