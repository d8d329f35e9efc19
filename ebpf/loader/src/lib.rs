//! The programs in the kernel: loading, filling their maps, running them.
//!
//! | for | see |
//! |---|---|
//! | the compiled programs, and what to do when there are none | [`object`] |
//! | loading, with limits and, for a verifier, virtual time | [`load`] |
//! | live frames: made, counted, and translated by bare programs | [`live`] |
//! | a node's tables in kernel maps | [`tables`] |
//! | what maps take of the kernel's memory | [`memory`] |
//! | system calls that the loader library lacks | [`sys`] |
//! | attaching to devices | [`attach`] |
//! | translation at the sockets of a control group | [`cgroup`] |
//! | a world of network namespaces | [`veth`] |
//! | how the kernel's LRU maps evict | [`eviction`] |
//! | hooks as test runs (`BPF_PROG_TEST_RUN`) | [`test_run`] |
#![deny(missing_docs)]

pub mod attach;
pub mod cgroup;
pub mod eviction;
pub mod live;
pub mod load;
pub mod memory;
pub mod object;
pub mod sys;
pub mod tables;
pub mod test_run;
pub mod testing;
pub mod veth;
