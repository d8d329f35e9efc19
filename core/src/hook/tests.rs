//! The hooks, one subject per file. `script` holds what makes the tests read as scripts.

mod affinity;
mod answers;
mod changes;
mod conflicts;
mod connections;
mod dsr;
mod echo;
mod errors;
mod express;
mod fragments;
mod hairpin;
mod halves;
mod life;
mod masquerade;
mod names;
mod north_south;
mod partial;
mod ports;
mod related;
mod script;
mod sctp;
mod sequences;
mod time;
mod untracked;
