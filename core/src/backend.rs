//! The backend table.

use crate::address::Address;
use crate::bytes::{Be16, pod};

/// The number that the control plane gave a backend; 0 is none.
pub type BackendId = u32;

pod! {
    /// Value of the backend table, 24 bytes. Services share backends through their number.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
    pub struct Backend {
        /// Where it listens.
        pub address: Address,
        /// On which port.
        pub port: Be16,
        /// Protocol number of IANA.
        pub protocol: u8,
        /// A [`BackendState`].
        pub state: u8,
        pad: [u8; 4],
    }
}

/// Whether a backend takes connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum BackendState {
    /// It does.
    Active = 0,
    /// It is going: it keeps the connections it has and takes no new one.
    Terminating = 1,
}

impl Backend {
    /// A backend.
    #[inline(always)]
    pub const fn new(address: Address, port: Be16, protocol: u8, state: BackendState) -> Self {
        Self { address, port, protocol, state: state as u8, pad: [0; 4] }
    }

    /// Whether it takes new connections.
    #[inline(always)]
    pub const fn is_active(&self) -> bool {
        self.state == BackendState::Active as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_going_is_not_active() {
        let backend = |state| Backend::new(Address::UNSPECIFIED, Be16::new(80), 6, state);
        assert!(backend(BackendState::Active).is_active());
        assert!(!backend(BackendState::Terminating).is_active());
    }
}
