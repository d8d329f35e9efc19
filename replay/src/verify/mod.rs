//! Verification: the same script through two engines, which must agree on everything.
//!
//! A [`Scenario`] is a list of packets, waits, endpoint changes and evictions on one node. It is drawn
//! at random ([`strategy`]), or read from a file that an earlier failure left behind. [`Twin`] runs it
//! on the simulator and on another engine and compares after every packet: the decision, every byte of
//! the packet, and every entry of the conntrack table; and the counters at the end.

mod cluster;
mod packet;
mod random;
mod scenario;
pub mod strategy;
mod twin;

pub use cluster::{POD_COUNT, SERVICE_COUNT};
pub use packet::{Damage, Ends, PacketSpec, Protocol, Target};
pub use random::{Failure, Outcome, Random};
pub use scenario::{HookName, Scenario, ScenarioError, Step};
pub use twin::{Coverage, Difference, Twin, TwinError};
