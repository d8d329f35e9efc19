//! The service table: frontend and slot to backend.

use crate::address::Address;
use crate::backend::BackendId;
use crate::bytes::{Be16, pod};
use crate::tuple::Tuple;

/// The number that the control plane gave a service port; 0 is none.
pub type ServiceId = u32;

pod! {
    /// Key of the service table, 24 bytes. Slot 0 is the master entry of a frontend; slots 1 to
    /// [`Service::count`] name its backends. Port 0 with protocol 0 is the entry of an address that
    /// has services on some port.
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
        pad: [u8; 3],
    }
}

impl ServiceKey {
    /// The key of a frontend's master entry.
    #[inline(always)]
    pub const fn frontend(address: Address, port: Be16, protocol: u8) -> Self {
        Self { address, port, slot: 0, protocol, pad: [0; 3] }
    }

    /// The key of the master entry of the frontend that a packet with this tuple goes to.
    #[inline(always)]
    pub const fn of(tuple: &Tuple) -> Self {
        Self::frontend(tuple.destination, tuple.destination_port, tuple.protocol)
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
    /// Value of the service table, 16 bytes. In slots above 0 only `backend` is set.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Service {
        /// The number of the service port.
        pub id: ServiceId,
        /// In a slot: its backend.
        pub backend: BackendId,
        /// In the master entry: which slice of the Maglev table is this service's.
        pub maglev: u32,
        /// In the master entry: how many backends may take new connections.
        pub count: u16,
        /// In the master entry: an [`Algorithm`].
        pub algorithm: u8,
        pad: u8,
    }
}

impl Service {
    /// A master entry.
    pub const fn master(id: ServiceId, count: u16, algorithm: Algorithm, maglev: u32) -> Self {
        Self { id, backend: 0, maglev, count, algorithm: algorithm as u8, pad: 0 }
    }

    /// A slot.
    pub const fn slot(backend: BackendId) -> Self {
        Self { id: 0, backend, maglev: 0, count: 0, algorithm: 0, pad: 0 }
    }
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
