//! The service datapath of twinpath.
//!
//! A packet and a node's tables go in; a verdict comes out, and the packet and the tables are changed.
//! There is no clock, no global, no allocation and no panic in here, so the same functions run as
//! programs in the kernel and in a simulator.
//!
//! # Where to look
//!
//! | for | see |
//! |---|---|
//! | what happens to a packet, from top to bottom | [`hook`], and its stages in `hook/` |
//! | what the core needs from a platform | [`seam`] |
//! | bytes to tuple | [`parse`], [`quote`] in ICMP errors, [`wire`] |
//! | connections | [`conntrack`], [`state`], [`mod@tuple`] |
//! | service to backend | [`select`], [`service`], [`backend`], [`affinity`], [`range`], [`hash`] |
//! | source ports | [`snat`] |
//! | fragments, rate limits | [`fragment`], [`limit`] |
//! | rewriting | [`translate`], [`checksum`] |
//! | telling another node of the frontend | [`dsr`] |
//! | the outcome | [`verdict`], [`drop_reason`] |
//!
//! # Words
//!
//! - **tuple**: source, destination, ports and protocol of a packet; **original** as the opener sends
//!   it, **reply** as the answer arrives.
//! - **frontend**: address, port and protocol on which a service is reached; **backend**: an endpoint
//!   that serves it; **slot**: a backend's place in a service's list.
//! - **flow**: a connection's entry for one direction, its **half**; the other is its **twin**.
//! - **verdict**: what is done with a packet; **drop reason**: why it is dropped.
//! - **exit**: how packets leave the node; **hop**: leaving as through a router.
//! - **epoch**: the number of the tables' last change.
//!
//! # Rules for code that runs in the kernel
//!
//! No indexing, no division by an unknown, no `unwrap`: a panic path that is left over makes the
//! program fail to load. No packet slices, no 128-bit numbers, no formatting, no recursion. Loops have
//! constant bounds. All frames on a call chain share 512 bytes of stack. Keys and values have no padding.
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]
#![deny(missing_docs)]
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

pub mod address;
pub mod affinity;
pub mod backend;
#[allow(unsafe_code)]
pub mod bytes;
pub mod checksum;
pub mod conntrack;
pub mod drop_reason;
pub mod dsr;
pub mod endpoint;
pub mod fault;
pub mod fragment;
pub mod hash;
pub mod hook;
pub mod limit;
pub mod parse;
pub mod quote;
pub mod range;
pub mod seam;
pub mod select;
pub mod service;
pub mod snat;
pub mod state;
#[cfg(test)]
mod testing;
pub mod translate;
pub mod tuple;
pub mod verdict;
pub mod wire;
