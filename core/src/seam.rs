//! What the core sees of the world: a packet, tables, and a host. Nothing else.
//!
//! Each trait has at least two implementations: the kernel's (package `twinpath-ebpf`) and the
//! simulator's (`twinpath-sim`). The sources of difference between the two are all behind these
//! traits, so a verifier can drive them: time, randomness, eviction and failing writes.

use core::ops::Deref;

use crate::address::Address;
use crate::affinity::{Affinity, Client};
use crate::backend::{Backend, BackendId};
use crate::bytes::{Pod, pod};
use crate::checksum::Fix;
use crate::conntrack::{Flow, LinkCache};
use crate::drop_reason::DropReason;
use crate::endpoint::Endpoint;
use crate::fragment::{Datagram, Ports};
use crate::hook::Work;
use crate::limit::Bucket;
use crate::range::RangeKey;
use crate::service::{Member, Service, ServiceKey};
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
pub trait Packet: Sized {
    /// The full length, in bytes, whether or not all of it is at hand.
    fn length(&self) -> usize;
    /// Copies a value out. Fails with [`DropReason::InvalidPacket`] beyond the end.
    fn load<T: Pod>(&self, at: At) -> Result<T, DropReason>;
    /// Whether the packet can leave by this device once it has this tuple. A platform that has to know
    /// the neighbour now writes its link addresses, and may note them for the connection's next packet.
    fn route(&mut self, device: IfIndex, to: &Tuple, link: &LinkCache) -> bool;
    /// Makes room, filled with zeroes, for so many bytes more. Fails with [`DropReason::WriteError`].
    fn grow(&mut self, gap: Gap, bytes: usize) -> Result<(), DropReason>;
    /// Makes room for the headers of a tunnel in front of the IP header, as [`Self::grow`] does, and notes
    /// for the hardware what the room is for.
    fn encapsulate(&mut self, tunnel: Tunnel, bytes: usize) -> Result<(), DropReason> {
        let _ = tunnel;
        self.grow(Gap::Link, bytes)
    }
    /// Of a packet that will be cut into several on its way out (segmentation offload), how many bytes
    /// behind the transport header each of them gets; 0 for any other packet.
    fn segment(&self) -> usize {
        0
    }
    /// Takes so many bytes out.
    fn shrink(&mut self, gap: Gap, bytes: usize) -> Result<(), DropReason>;
    /// Cuts the packet off behind so many bytes.
    fn trim(&mut self, length: usize) -> Result<(), DropReason>;
    /// Parses the packet into [`Work::parsed`]; `false` where it is no IP. Here, so that a platform can
    /// keep it apart: it is what the kernel's verifier takes longest for.
    #[inline(always)]
    fn parse(&self, work: &mut Work) -> Result<bool, DropReason> {
        let Some(parsed) = crate::parse::parse(self)? else { return Ok(false) };
        work.parsed = parsed;
        Ok(true)
    }
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

/// Where the length of a packet can change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gap {
    /// In front of the IP header.
    Link,
    /// Behind the fixed part of the IP header: 20 bytes in IPv4, 40 in IPv6.
    Network,
}

/// A kind of tunnel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tunnel {
    /// Whether the outer IP header is IPv4 or IPv6; the packet within is of the same family.
    pub is_v4: bool,
    /// Whether there is UDP in front of an Ethernet frame, or nothing in front of an IP header.
    pub is_udp: bool,
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
    /// A packet was answered: refused with an ICMP error, or an echo.
    pub const ANSWERED: Self = Self(260);
    /// A packet was not answered because there had been too many.
    pub const ANSWER_LIMITED: Self = Self(261);
    /// An ICMP error was translated with the packet that it quotes.
    pub const RELATED: Self = Self(262);

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
            Self::ANSWERED => Some("ANSWERED"),
            Self::ANSWER_LIMITED => Some("ANSWER_LIMITED"),
            Self::RELATED => Some("RELATED"),
            Self(n) => Some(DropReason::from_number(u8::try_from(n).ok()?)?.name()),
        }
    }
}

pod! {
    /// What the control plane tells the datapath beside its tables. 96 bytes, host order.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
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
        /// This node's IPv4 address, under which it sends on what it translates; unspecified for none.
        pub address4: Address,
        /// The same in IPv6.
        pub address6: Address,
        /// The IPv4 address under which a pod sees itself, where its service sends it back to it;
        /// unspecified to drop such connections.
        pub hairpin4: Address,
        /// The same in IPv6.
        pub hairpin6: Address,
        /// The ports that a source port is changed to: from this one on,
        pub ports_first: u16,
        /// to this one.
        pub ports_last: u16,
        /// The largest IP packet that the device takes that faces the other nodes, in bytes; 0 for no
        /// limit.
        pub mtu: u32,
        /// Bits of [`option`].
        pub options: u32,
        /// The mark of packets that are done with, which hooks further on let pass; 0 for none.
        pub mark: u32,
    }
}

/// Bits of [`Config::options`].
pub mod option {
    /// What pods send out of the cluster leaves with the node's address.
    pub const MASQUERADE: u32 = 1;
    /// Packets that go no further are dropped without an answer (RFC 5508, REQ-9 and 10).
    pub const SILENT: u32 = 0x100;
}

impl Default for Config {
    fn default() -> Self {
        Self {
            epoch: 0,
            maglev_size: 0,
            hash_seed: 0,
            uplink: 0,
            address4: Address::UNSPECIFIED,
            address6: Address::UNSPECIFIED,
            hairpin4: Address::UNSPECIFIED,
            hairpin6: Address::UNSPECIFIED,
            ports_first: 32_768,
            ports_last: 65_535,
            mtu: 0,
            options: 0,
            mark: 0,
        }
    }
}

/// Words of 64 bits that the table of reserved ports has.
pub const RESERVED_WORDS: usize = 65_536 / 64;

/// What is limited in rate, each a slot of the table of limits: see [`crate::limit`].
pub const LIMITS: usize = 4;

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
    /// Which backends belong to which service, as bits of scopes.
    type Members: Lookup<Member, u32>;
    /// Pods of this node, and all nodes.
    type Endpoints: Lookup<Address, Endpoint>;
    /// Sets of address ranges.
    type Ranges: Lookup<RangeKey, u32>;
    /// Which backend a tunnelled packet is for: from the address that the tunnel ends at (source, port
    /// 0) and the frontend (destination), as the tuple of a packet would have them.
    type Terminations: Lookup<Tuple, BackendId>;
    /// Ports that no source port is changed to, one bit each, in words of 64.
    type Reserved: Lookup<u32, u64>;
    /// Rate limits, by the number of what is limited.
    type Limits: Lookup<u32, Bucket>;
    /// Both directions of every connection.
    type Conntrack: Table<Tuple, Flow>;
    /// Who is given which backend again.
    type Affinities: Table<Client, Affinity>;
    /// Ports of datagrams in fragments.
    type Fragments: Table<Datagram, Ports>;
    /// The configuration, wherever it lies.
    type Config: Deref<Target = Config>;
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
    /// See [`Maps::Members`].
    pub members: M::Members,
    /// See [`Maps::Endpoints`].
    pub endpoints: M::Endpoints,
    /// See [`Maps::Ranges`].
    pub ranges: M::Ranges,
    /// See [`Maps::Terminations`].
    pub terminations: M::Terminations,
    /// See [`Maps::Reserved`].
    pub reserved: M::Reserved,
    /// See [`Maps::Limits`].
    pub limits: M::Limits,
    /// See [`Maps::Conntrack`].
    pub conntrack: M::Conntrack,
    /// See [`Maps::Affinities`].
    pub affinities: M::Affinities,
    /// See [`Maps::Fragments`].
    pub fragments: M::Fragments,
    /// See [`Maps::Host`].
    pub host: M::Host,
    /// See [`Maps::Config`].
    pub config: M::Config,
}
