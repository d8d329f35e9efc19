//! The service table: frontend and slot to backend.

use crate::address::Address;
use crate::backend::BackendId;
use crate::bytes::{Be16, pod};
use crate::tuple::Tuple;

/// The number that the control plane gave a service port; 0 is none.
pub type ServiceId = u32;

pod! {
    /// Key of the service table, 24 bytes. Slot 0 is the master entry of a frontend in a scope; slots 1
    /// to [`Service::count`] name its backends. Port 0 with protocol 0 is the entry of an address that
    /// has services on some port. A node port is under the unspecified address of its family, and is
    /// looked up there for every address of a node.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
    pub struct ServiceKey {
        /// Frontend address.
        pub address: Address,
        /// Frontend port.
        pub port: Be16,
        /// Slot, in host order.
        pub slot: u16,
        /// Protocol number of IANA.
        pub protocol: u8,
        /// A [`Scope`]; 0 in the entry of an address.
        pub scope: u8,
        pad: [u8; 2],
    }
}

/// Whose packets a frontend's entry is for. The traffic policies of a service make the two differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Scope {
    /// Those of pods and nodes of the cluster.
    #[default]
    Internal = 0,
    /// Those of clients outside.
    External = 1,
}

impl Scope {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Internal, Self::External];

    /// Its bit in the value of the member table.
    #[inline(always)]
    pub const fn bit(self) -> u32 {
        1 << self as u8
    }
}

impl ServiceKey {
    /// The key of a frontend's master entry for clients in the cluster.
    #[inline(always)]
    pub const fn frontend(address: Address, port: Be16, protocol: u8) -> Self {
        Self { address, port, slot: 0, protocol, scope: Scope::Internal as u8, pad: [0; 2] }
    }

    /// The key of the master entry of the frontend that a packet with this tuple goes to.
    #[inline(always)]
    pub const fn of(tuple: &Tuple, scope: Scope) -> Self {
        Self::frontend(tuple.destination, tuple.destination_port, tuple.protocol).seen_from(scope)
    }

    /// The same for another scope.
    #[inline(always)]
    pub const fn seen_from(&self, scope: Scope) -> Self {
        Self { scope: scope as u8, ..*self }
    }

    /// Whose packets it is for.
    #[inline(always)]
    pub const fn scope(&self) -> Scope {
        if self.scope == Scope::External as u8 { Scope::External } else { Scope::Internal }
    }

    /// The key of the entry that says: this address is a frontend, on whatever port.
    #[inline(always)]
    pub const fn address(address: Address) -> Self {
        Self::frontend(address, Be16::new(0), 0)
    }

    /// The key of a slot of the same frontend.
    #[inline(always)]
    pub const fn slot(&self, slot: u16) -> Self {
        Self { slot, ..*self }
    }
}

pod! {
    /// Value of the service table, 24 bytes. In slots above 0 only `backend` is set, in the entry of an
    /// address nothing.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Service {
        /// The number of the service port.
        pub id: ServiceId,
        /// In a slot: its backend.
        pub backend: BackendId,
        /// In the master entry: which slice of the Maglev table is this frontend's.
        pub maglev: u32,
        /// In the master entry: for how many seconds a client that is idle keeps its backend
        /// (`sessionAffinity: ClientIP`); 0 for no affinity.
        pub affinity: u32,
        /// In the master entry: how many backends may take new connections.
        pub count: u16,
        /// In the master entry: bits of [`flag`].
        pub flags: u16,
        /// In the master entry: an [`Algorithm`].
        pub algorithm: u8,
        /// In the master entry: a [`Forwarding`].
        pub forwarding: u8,
        pad: [u8; 2],
    }
}

/// Bits of [`Service::flags`].
pub mod flag {
    /// Only sources in the service's ranges may come (`loadBalancerSourceRanges`).
    pub const SOURCE_RANGES: u16 = 1;
    /// There is no backend for this scope, though there is one on another node: a traffic policy is
    /// `Local`. Packets are dropped without an answer, as kube-proxy does.
    pub const ELSEWHERE: u16 = 2;
    /// The traffic policy here is `Local`.
    pub const LOCAL: u16 = 4;
}

impl Service {
    /// A master entry, without affinity and flags.
    pub const fn master(id: ServiceId, count: u16, algorithm: Algorithm, maglev: u32) -> Self {
        Self {
            id,
            backend: 0,
            maglev,
            affinity: 0,
            count,
            flags: 0,
            algorithm: algorithm as u8,
            forwarding: Forwarding::Snat as u8,
            pad: [0; 2],
        }
    }

    /// A slot.
    pub const fn slot(backend: BackendId) -> Self {
        Self { backend, ..Self::master(0, 0, Algorithm::Random, 0) }
    }

    /// Whether a [`flag`] is set.
    #[inline(always)]
    pub const fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// The bits that the value of the member table has for backends which may get new connections
    /// here, of a scope.
    #[inline(always)]
    pub const fn members(&self, scope: Scope) -> u32 {
        scope.bit() | if self.has(flag::LOCAL) { Member::LOCAL } else { Member::CLUSTER }
    }
}

/// How packets of a client outside reach a backend on another node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Forwarding {
    /// From this node's address, so that the answer comes back this way.
    #[default]
    Snat = 0,
    /// From the client's own address; the backend's node answers the client (direct server return). It
    /// is told the frontend by an IPv4 option or an IPv6 destination option.
    DsrOption = 1,
    /// The same, in IPv4 or IPv6 tunnels (RFC 2003, RFC 2473) with the packet as the client sent it.
    DsrIpip = 2,
    /// The same, told by an option of a Geneve tunnel (RFC 8926).
    DsrGeneve = 3,
}

impl Forwarding {
    /// From the value of [`Service::forwarding`].
    #[inline(always)]
    pub const fn of(service: &Service) -> Self {
        Self::from_byte(service.forwarding)
    }

    /// From its number; SNAT for what is none.
    #[inline(always)]
    pub const fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::DsrOption,
            2 => Self::DsrIpip,
            3 => Self::DsrGeneve,
            _ => Self::Snat,
        }
    }
}

pod! {
    /// Key of the member table, 8 bytes: a service and one of its backends. The value has the
    /// [`Scope::bit`]s of the scopes in which the backend has a slot, and of [`Member::CLUSTER`] and
    /// [`Member::LOCAL`] those of the traffic policies under which it has.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
    pub struct Member {
        /// The service.
        pub service: ServiceId,
        /// The backend.
        pub backend: BackendId,
    }
}

impl Member {
    /// In the value: it may get new connections where the traffic policy is `Cluster`.
    pub const CLUSTER: u32 = 4;
    /// In the value: it may get new connections where the traffic policy is `Local`.
    pub const LOCAL: u32 = 8;
}

/// How a service chooses a backend for a new connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum Algorithm {
    /// Any backend, all equally likely.
    #[default]
    Random = 0,
    /// By a consistent hash of the tuple (Maglev, NSDI 2016): every node and every restart chooses
    /// the same.
    Maglev = 1,
}
