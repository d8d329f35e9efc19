//! What the core sees of the world: a packet, tables, and a host. Nothing else.
//!
//! Each trait has at least two implementations: the kernel's (package `twinpath-ebpf`) and the
//! simulator's (`twinpath-sim`). The sources of difference between the two are all behind these
//! traits, so a verifier can drive them: time, randomness, eviction and failing writes.

use crate::address::Address;
use crate::backend::{Backend, BackendId};
use crate::bytes::{Pod, pod};
use crate::checksum::Fix;
use crate::conntrack::Flow;
use crate::drop_reason::DropReason;
use crate::endpoint::Endpoint;
use crate::hook::Work;
use crate::service::{Service, ServiceKey};
use crate::tuple::Tuple;
use crate::verdict::IfIndex;

/// An offset into a packet, in bytes from the Ethernet header.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct At(pub usize);

impl At {
    /// No header that the parser accepts ends at or beyond this offset, so the kernel's verifier may be
    /// told so with a mask.
    pub const LIMIT: usize = 1 << 12;

    /// This offset and so many bytes more.
    #[inline(always)]
    pub const fn plus(self, bytes: usize) -> Self {
        Self(self.0.wrapping_add(bytes))
    }
}

/// The bytes of one packet at one hook, from the Ethernet header on.
///
/// Loads and stores copy: a view of the bytes would not survive the kernel's helpers.
pub trait Packet {
    /// The full length, in bytes, whether or not all of it is at hand.
    fn length(&self) -> usize;
    /// Copies a value out. Fails with [`DropReason::InvalidPacket`] beyond the end.
    fn load<T: Pod>(&self, at: At) -> Result<T, DropReason>;
    /// Copies a value in.
    fn store<T: Pod>(&mut self, at: At, value: T) -> Result<(), DropReason>;
    /// Mends the transport checksum at this offset after addresses or ports have changed.
    ///
    /// An operation and not arithmetic of the core, because a packet whose checksum is still partial
    /// (`CHECKSUM_PARTIAL`: only the sum of the pseudo-header stands in the field) takes the change
    /// of addresses and not that of ports, and only the platform knows. Called last: in the kernel it
    /// makes earlier packet pointers void.
    fn mend(&mut self, checksum: At, fix: Fix) -> Result<(), DropReason>;
}

/// A table that the datapath reads.
pub trait Lookup<K: Pod, V: Pod> {
    /// The value under this key. It may be changed or recycled by others at any time; what must be
    /// consistent is copied out at once.
    fn get(&self, key: &K) -> Option<&V>;
}

/// A table that the datapath also writes.
pub trait Table<K: Pod, V: Pod>: Lookup<K, V> {
    /// Puts a value in.
    fn insert(&mut self, key: &K, value: &V, put: Put) -> Result<(), InsertError>;
    /// Takes a value out; whether it was there.
    fn remove(&mut self, key: &K) -> bool;
}

/// What [`Table::insert`] does where the key is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Put {
    /// Fail with [`InsertError::Exists`].
    New,
    /// Replace the value.
    Any,
}

/// Why a table did not take a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InsertError {
    /// The key is taken.
    Exists,
    /// There is no room, or the kernel refused for a reason of its own.
    Full,
}

/// Nanoseconds of a monotonic clock.
pub type Nanos = u64;

/// What the platform knows.
pub trait Host {
    /// The time. Read once per packet.
    fn now(&self) -> Nanos;
    /// 32 random bits.
    fn random(&mut self) -> u32;
    /// Counts an event. Never called for a packet of an established connection.
    fn count(&mut self, metric: Metric);
}

/// What is counted, each a slot of a per-CPU array: a drop under the number of its reason, the rest
/// from 256 up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Metric(pub u32);

impl Metric {
    /// Slots that a table of metrics needs.
    pub const SLOTS: u32 = 264;
    /// A connection was opened.
    pub const OPENED: Self = Self(256);
    /// A missing half of a connection was put back.
    pub const RESTORED: Self = Self(257);
    /// A missing half of a connection could not be put back; its other half goes on alone.
    pub const RESTORE_FAILED: Self = Self(258);
    /// An orphaned half was removed, because its twin's key belongs to another connection now.
    pub const REAPED: Self = Self(259);

    /// A drop for this reason.
    #[inline(always)]
    pub const fn drop(reason: DropReason) -> Self {
        Self(reason as u32)
    }

    /// The name of a slot, for tables and JSON; `None` where it is not used.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::OPENED => Some("CT_OPENED"),
            Self::RESTORED => Some("CT_RESTORED"),
            Self::RESTORE_FAILED => Some("CT_RESTORE_FAILED"),
            Self::REAPED => Some("CT_REAPED"),
            Self(n) => Some(DropReason::from_number(u8::try_from(n).ok()?)?.name()),
        }
    }
}

pod! {
    /// What the control plane tells the datapath beside its tables. 16 bytes, host order.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Config {
        /// Goes up with every change of the tables. A connection checks its backend again when it
        /// meets a new epoch.
        pub epoch: u32,
        /// Entries in one service's slice of the Maglev table: a prime.
        pub maglev_size: u32,
        /// Seed of the hash that indexes the slice; the same on all nodes.
        pub hash_seed: u32,
        /// The device that faces the other nodes; 0 to leave the way there to the stack.
        pub uplink: IfIndex,
    }
}

/// A platform's room for [`Work`].
pub trait Room {
    /// The room; `None` never happens, but the kernel's verifier wants to see it handled.
    fn work(&mut self) -> Option<&mut Work>;
}

/// Names the concrete types of a platform, nothing else.
pub trait Maps {
    /// Frontend and slot to service.
    type Services: Lookup<ServiceKey, Service>;
    /// Number to backend.
    type Backends: Lookup<BackendId, Backend>;
    /// Slices of backend numbers, one behind the other.
    type Maglev: Lookup<u32, BackendId>;
    /// Addresses of this node.
    type Endpoints: Lookup<Address, Endpoint>;
    /// Both directions of every connection.
    type Conntrack: Table<Tuple, Flow>;
    /// Clock, randomness, counters.
    type Host: Host;
}

/// A node's tables. The fields are public so that an entry of one can be held while another is
/// written.
pub struct Node<M: Maps> {
    /// See [`Maps::Services`].
    pub services: M::Services,
    /// See [`Maps::Backends`].
    pub backends: M::Backends,
    /// See [`Maps::Maglev`].
    pub maglev: M::Maglev,
    /// See [`Maps::Endpoints`].
    pub endpoints: M::Endpoints,
    /// See [`Maps::Conntrack`].
    pub conntrack: M::Conntrack,
    /// See [`Maps::Host`].
    pub host: M::Host,
    /// Read once per packet.
    pub config: Config,
}
