//! The datapath in userspace: the same core over models of the kernel's maps, on nodes with pods and
//! links, in virtual time.
//!
//! | for | see |
//! |---|---|
//! | models of the kernel's maps, their limits and eviction | [`map`] |
//! | a packet, with the state of its checksum | [`frame`] |
//! | one node's tables, clock and dice | [`node`] |
//! | what runs a hook: the simulator here, loaded programs elsewhere | [`engine`] |
//! | nodes, pods and what lies between | [`topology`] |
//! | a packet's way through a cluster | [`cluster`] |
//! | the router outside, and its ICMP errors | [`outside`] |
//! | worlds behind one trait | [`world`] |
#![deny(unsafe_code)]
#![deny(missing_docs)]

pub mod cluster;
pub mod engine;
pub mod frame;
pub mod map;
pub mod node;
pub mod outside;
pub mod topology;
pub mod world;
