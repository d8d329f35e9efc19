//! The hooks, one subject per file. `script` holds what makes the tests read as scripts.

mod changes;
mod conflicts;
mod connections;
mod halves;
mod script;
mod sequences;
mod time;
mod untracked;
