//! A row of the ledger.

use super::lab::{Check, Lab};

/// A test. It may tell what it measured, in a word or two.
pub(crate) type Run = fn(&mut Lab<'_>) -> Check<String>;

/// How a row stands to the requirement.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Differs {
    /// It is met.
    No,
    /// It is met; what other implementations do differently is in `docs/deviations.md` under this number.
    Beside(u32, &'static str),
    /// It is not met, or not all of it: the number in `docs/deviations.md`, and what happens instead.
    Instead(u32, &'static str),
    /// It is about something that is not there: what.
    NotApplicable(&'static str),
}

/// A row.
pub(crate) struct Entry {
    pub id: &'static str,
    /// What must hold, in a sentence.
    pub statement: &'static str,
    pub differs: Differs,
    pub tests: &'static [(&'static str, Run)],
}

/// Tests and their names.
macro_rules! tests {
    ($($test:ident),* $(,)?) => {
        &[$((stringify!($test), $test)),*]
    };
}

pub(crate) use tests;
