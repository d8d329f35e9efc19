//! Replay captures through a Kubernetes service datapath, in a simulator or in the kernel.
//!
//! | for | see |
//! |---|---|
//! | the comparison with iptables, nftables and IPVS | [`mod@bench`] |
//! | reading and writing captures | [`capture`] |
//! | which packets are shown | [`filter`] |
//! | the cluster: from dumps, or derived from a capture | [`cluster`] |
//! | worlds to send packets through | [`worlds`] |
//! | a capture's packets through a world | [`replay`] |
//! | two worlds or clusters on the same packets | [`mod@diff`] |
//! | what this machine can run | [`doctor`] |
//! | the tables of a node | [`get`] |
//! | Linux netfilter as an oracle | [`netfilter`] |
//! | why one packet fared as it did | [`explain`] |
//! | tables, JSON lines, pcapng, pages | [`report`] |
//! | JSON Schemas of what is printed | [`schema`] |
//! | scenarios of a whole cluster, in any world | [`scenario`] |
//! | random and saved scripts through two engines | [`verify`] |
//! | points in time as they are typed | [`moment`] |
//! | the command line | [`command`], [`failure`] |
#![deny(unsafe_code)]

pub mod bench;
pub mod capture;
pub mod cluster;
pub mod command;
pub mod diff;
pub mod doctor;
pub mod explain;
pub mod failure;
pub mod filter;
pub mod get;
pub mod moment;
pub mod netfilter;
pub mod replay;
pub mod report;
pub mod scenario;
pub mod schema;
pub mod verify;
pub mod worlds;
