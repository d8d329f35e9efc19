//! Verification: random scripts through the datapath, and oracles that say what is wrong.
//!
//! A [`Scenario`] is a list of packets, waits, changes of endpoints and policies, evictions and faults on one
//! node. It is drawn at random ([`strategy`]), or read from a file that an earlier failure left behind.
//! [`Twin`] runs it on the simulator and on another engine and compares after every packet: the decision,
//! every byte of the packet, every entry of the tables that the datapath writes (conntrack, affinities,
//! fragments, rate limits), and how often the dice were thrown; and the counters at the end. [`SpecRun`]
//! runs it on one engine, and judges each packet by a reference of what a service load balancer owes.

mod bundle;
mod cluster;
mod packet;
mod random;
mod runner;
mod scenario;
mod services;
mod setup;
mod spec;
pub mod strategy;
mod twin;

pub use bundle::{SCRIPT, write_packets};
pub use cluster::POD_COUNT;
pub use packet::{Damage, Ends, PacketSpec, Protocol, Quote, Sender, Target, Wrap};
pub use random::{Failure, Outcome, Random};
pub use runner::Runner;
pub use scenario::{FaultName, HookName, Scenario, ScenarioError, Step, TableName};
pub use services::{SERVICE_COUNT, policy};
pub use setup::{Setup, Way, small};
pub use spec::SpecRun;
pub use twin::{Coverage, Difference, Twin, TwinError};
