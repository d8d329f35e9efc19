//! The points before operations on tables: where the scheduler chooses which CPU goes on, or where a
//! fault strikes.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Mutex;

use shuttle::sync::atomic::{AtomicUsize, Ordering};

/// What is about to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Op {
    /// A lookup in a table that the datapath writes.
    Get,
    /// An insert that fails where the key is taken.
    InsertNew,
    /// An insert that replaces.
    InsertAny,
    /// A removal.
    Remove,
    /// A lookup in a table that the control plane writes.
    Read,
    /// A look at the clock.
    Clock,
}

/// What strikes at a point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// The entry that is about to be looked at has gone a moment before.
    Evict,
    /// So has another one: the one of this number, the others being counted in the order of their keys.
    EvictOther(usize),
    /// The insert finds no room.
    Full,
    /// The insert finds the key taken, by an entry that is gone when somebody looks.
    Exists,
    /// The clock moves on by so many seconds.
    Jump(u64),
}

impl Fault {
    /// Whether the fault can strike there.
    pub(crate) const fn strikes(self, op: Op) -> bool {
        match self {
            Self::Evict | Self::EvictOther(_) => !matches!(op, Op::Read | Op::Clock),
            Self::Full => matches!(op, Op::InsertNew | Op::InsertAny),
            Self::Exists => matches!(op, Op::InsertNew),
            Self::Jump(_) => matches!(op, Op::Clock),
        }
    }
}

/// How often what was seen.
pub(crate) type Counts = BTreeMap<String, u64>;

/// What drives the points of one run.
pub(crate) struct Points {
    /// The point itself, as the scheduler sees it; none where there is no scheduler.
    switch: Option<AtomicUsize>,
    /// Whether lookups in the control plane's tables are points.
    reads: bool,
    /// Whether looks at the clock are points.
    clock: bool,
    /// Points passed, and where which fault strikes.
    passed: RefCell<Vec<Op>>,
    faults: Vec<(usize, Fault)>,
    struck: Cell<usize>,
    jumped: Cell<u64>,
    full: Cell<bool>,
    quiet: Cell<bool>,
    counts: Mutex<Counts>,
}

// SAFETY: the scheduler runs one CPU at a time, on one thread of the host.
unsafe impl Send for Points {}
// SAFETY: as above.
unsafe impl Sync for Points {}

impl Points {
    /// Points at which the scheduler chooses, quiet at first; whether lookups in the control plane's
    /// tables are points, and looks at the clock.
    pub(crate) fn scheduled(reads: bool, clock: bool) -> Self {
        Self { switch: Some(AtomicUsize::new(0)), reads, clock, ..Self::faulty(&[]) }
    }

    /// Points at which these faults strike, each by the number of its point; quiet at first.
    pub(crate) fn faulty(faults: &[(usize, Fault)]) -> Self {
        Self {
            switch: None,
            reads: false,
            clock: true,
            passed: RefCell::default(),
            faults: faults.to_vec(),
            struck: Cell::new(0),
            jumped: Cell::new(0),
            full: Cell::new(false),
            quiet: Cell::new(true),
            counts: Mutex::default(),
        }
    }

    /// Nothing happens at points any more, or again.
    pub(crate) fn set_quiet(&self, quiet: bool) {
        self.quiet.set(quiet);
    }

    /// No insert finds room any more, or each does.
    pub(crate) fn set_full(&self, full: bool) {
        self.full.set(full);
    }

    /// A point.
    pub(crate) fn at(&self, op: Op) -> Option<Fault> {
        if (op == Op::Read && !self.reads) || (op == Op::Clock && !self.clock) {
            return None;
        }
        if self.full.get() && Fault::Full.strikes(op) {
            self.switch();
            return Some(Fault::Full);
        }
        if self.quiet.get() {
            return None;
        }
        let number = self.passed.borrow().len();
        self.passed.borrow_mut().push(op);
        self.switch();
        let (_, fault) = self.faults.iter().find(|(at, _)| *at == number)?;
        self.struck.set(self.struck.get() + 1);
        if let Fault::Jump(seconds) = fault {
            self.jumped.set(self.jumped.get() + seconds * 1_000_000_000);
        }
        Some(*fault)
    }

    /// Lets the scheduler choose.
    pub(crate) fn switch(&self) {
        if let Some(switch) = &self.switch
            && !self.quiet.get()
        {
            switch.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// The operations so far.
    pub(crate) fn passed(&self) -> Vec<Op> {
        self.passed.borrow().clone()
    }

    /// How far jumps have moved the clock, in nanoseconds.
    pub(crate) fn jumped(&self) -> u64 {
        self.jumped.get()
    }

    /// How many faults have struck.
    pub(crate) fn struck(&self) -> usize {
        self.struck.get()
    }

    /// Counts something seen.
    pub(crate) fn note(&self, what: &str) {
        let mut counts = self.counts.lock().unwrap();
        match counts.get_mut(what) {
            Some(count) => *count += 1,
            None => {
                counts.insert(what.to_owned(), 1);
            }
        }
    }

    /// Counts an eviction, if there was something to evict.
    pub(crate) fn evicted(&self, was_there: bool) {
        self.note(if was_there { "evicted" } else { "nothing to evict" });
    }

    /// What was seen, how often.
    pub(crate) fn counts(&self) -> Counts {
        self.counts.lock().unwrap().clone()
    }
}
