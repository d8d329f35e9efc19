//! Fragments: the ports that only the first one of a datagram has.

use crate::address::Address;
use crate::bytes::{Be16, pod};
use crate::seam::Nanos;

pod! {
    /// Key of the fragment table, 40 bytes: what all fragments of a datagram share (RFC 791, 3.2; RFC
    /// 8200, 4.5).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
    pub struct Datagram {
        /// Source address.
        pub source: Address,
        /// Destination address.
        pub destination: Address,
        /// Identification, as it lies in memory; 16 bits of it in IPv4.
        pub id: u32,
        /// Protocol number of IANA.
        pub protocol: u8,
        pad: [u8; 3],
    }
}

impl Datagram {
    /// A datagram.
    #[inline(always)]
    pub const fn new(source: Address, destination: Address, id: u32, protocol: u8) -> Self {
        Self { source, destination, id, protocol, pad: [0; 3] }
    }
}

pod! {
    /// Value of the fragment table, 16 bytes.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Ports {
        /// When the first fragment came.
        pub seen: Nanos,
        /// Source port.
        pub source: Be16,
        /// Destination port.
        pub destination: Be16,
        tracked: u8,
        pad: [u8; 3],
    }
}

impl Ports {
    /// For how long later fragments follow the first: that of Linux's reassembly
    /// (`net.ipv4.ipfrag_time`), after which the identification may mean another datagram.
    pub const TIMEOUT: Nanos = 30_000_000_000;

    /// The ports of a datagram whose first fragment comes now. `tracked` says whether it is of a
    /// connection: those of a protocol without ports, and ICMP but echoes, are not, nor is what follows them.
    #[inline(always)]
    pub const fn new(source: Be16, destination: Be16, now: Nanos, tracked: bool) -> Self {
        Self { seen: now, source, destination, tracked: tracked as u8, pad: [0; 3] }
    }

    /// Whether the datagram is of a connection.
    #[inline(always)]
    pub const fn is_tracked(&self) -> bool {
        self.tracked != 0
    }

    /// Whether a fragment that comes now may still belong to it.
    #[inline(always)]
    pub const fn is_current(&self, now: Nanos) -> bool {
        now.wrapping_sub(self.seen) < Self::TIMEOUT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn for_half_a_minute() {
        let ports = Ports::new(Be16::new(1), Be16::new(2), 7, true);
        assert!(ports.is_current(7));
        assert!(ports.is_current(6 + Ports::TIMEOUT));
        assert!(!ports.is_current(7 + Ports::TIMEOUT));
        assert_eq!((ports.source.get(), ports.destination.get()), (1, 2));
    }
}
