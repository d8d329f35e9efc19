//! Faults: what a verifier makes go wrong with an operation on a table.
//!
//! Kernel and simulator count the operations of the slow road alike, so a fault meets the same one in both.
//! The core itself knows nothing of it: the tables of a platform ask here. What the fast road looks up is not
//! counted: an entry that is gone there is one that was gone before.

use crate::bytes::pod;
use crate::seam::{InsertError, Put};

/// A table that the datapath writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    /// Both maps of connections.
    Conntrack = 0,
    /// Clients.
    Affinities = 1,
    /// Datagrams in fragments.
    Fragments = 2,
}

/// What is done to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// A lookup.
    Lookup = 0,
    /// An insert.
    Insert = 1,
    /// A removal.
    Remove = 2,
}

/// How it goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// An insert: there is no room.
    Full = 1,
    /// An insert of a new key: it is taken. What may replace an entry is not counted.
    Exists = 2,
    /// A lookup: the entry was evicted a moment ago.
    Evicted = 3,
    /// A removal: the kernel does not do it (`-EBUSY`), and the entry stays.
    Stays = 4,
}

impl Kind {
    /// What this goes wrong with.
    pub const fn operation(self) -> Operation {
        match self {
            Self::Full | Self::Exists => Operation::Insert,
            Self::Evicted => Operation::Lookup,
            Self::Stays => Operation::Remove,
        }
    }
}

/// Faults that there can be at a time: one for each operation on each table.
pub const SLOTS: u32 = 9;

impl Which {
    /// The slot for the faults of an operation on this table.
    #[inline(always)]
    pub const fn slot(self, operation: Operation) -> u32 {
        (self as u32).wrapping_mul(3).wrapping_add(operation as u32)
    }
}

pod! {
    /// One operation that will go wrong, 8 bytes. All zeroes: none will.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Fault {
        /// How many go well before.
        after: u32,
        /// A [`Kind`], or 0.
        kind: u32,
    }
}

impl Fault {
    /// No fault.
    pub const NONE: Self = Self { after: 0, kind: 0 };

    /// A fault after so many operations that go well.
    pub const fn new(kind: Kind, after: u32) -> Self {
        Self { after, kind: kind as u32 }
    }

    /// Whether there is one still to come.
    #[inline(always)]
    pub const fn is_set(&self) -> bool {
        self.kind != 0
    }

    /// How the operation will go wrong.
    pub const fn kind(&self) -> Option<Kind> {
        match self.kind {
            1 => Some(Kind::Full),
            2 => Some(Kind::Exists),
            3 => Some(Kind::Evicted),
            4 => Some(Kind::Stays),
            _ => None,
        }
    }

    /// Counts an operation; whether it is the one that goes wrong.
    #[inline(always)]
    pub const fn strikes(&mut self) -> bool {
        if self.kind == 0 {
            return false;
        }
        if self.after != 0 {
            self.after = self.after.wrapping_sub(1);
            return false;
        }
        self.kind = 0;
        true
    }

    /// Counts an insert; how it goes wrong.
    #[inline(always)]
    pub const fn refuses(&mut self, put: Put) -> Option<InsertError> {
        let exists = self.kind == Kind::Exists as u32;
        if exists && matches!(put, Put::Any) {
            return None;
        }
        match (self.strikes(), exists) {
            (false, _) => None,
            (true, true) => Some(InsertError::Exists),
            (true, false) => Some(InsertError::Full),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operation_after_so_many_goes_wrong_and_no_other() {
        let mut fault = Fault::new(Kind::Full, 2);
        let seen: Vec<_> = (0..4).map(|_| fault.refuses(Put::Any)).collect();
        assert_eq!(seen, [None, None, Some(InsertError::Full), None]);
        let mut fault = Fault::new(Kind::Exists, 0);
        assert_eq!(fault.refuses(Put::Any), None);
        assert_eq!(fault.refuses(Put::New), Some(InsertError::Exists));
        assert!(!fault.is_set());
    }

    #[test]
    fn every_operation_has_a_slot_of_its_own() {
        let mut slots: Vec<u32> = [Which::Conntrack, Which::Affinities, Which::Fragments]
            .into_iter()
            .flat_map(|which| {
                [Operation::Lookup, Operation::Insert, Operation::Remove].map(|o| which.slot(o))
            })
            .collect();
        slots.sort_unstable();
        assert_eq!(slots, (0..SLOTS).collect::<Vec<_>>());
    }
}
