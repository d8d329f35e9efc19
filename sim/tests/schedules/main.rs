//! Schedules and faults: the core on tables that several CPUs share, each operation on which is a point
//! where another CPU may come first; and on tables whose operations fail, one by one.
//!
//! What is explored, and what is assumed of the kernel, is in `docs/schedules.md`.

mod changes;
mod closing;
mod cluster;
mod explore;
mod faults;
mod lab;
mod laws;
mod node;
mod opening;
mod others;
mod packet;
mod points;
mod tables;
