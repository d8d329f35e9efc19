//! IPv6 and its extension headers (RFC 8200).

use crate::address::Address;
use crate::bytes::{Be16, pod};

/// Length of the fixed header.
pub const LENGTH: usize = 40;
/// Offset of the payload length.
pub const PAYLOAD_LENGTH: usize = 4;
/// Offset of the number of what follows.
pub const NEXT: usize = 6;
/// Offset of the hop limit; source and destination follow.
pub const HOP_LIMIT: usize = 7;
/// Offset of the addresses.
pub const ADDRESSES: usize = 8;

/// Hop-by-hop options.
pub const HOP_BY_HOP: u8 = 0;
/// Routing.
pub const ROUTING: u8 = 43;
/// Fragment.
pub const FRAGMENT: u8 = 44;
/// Authentication (RFC 4302), whose length is in words of 4 bytes.
pub const AUTHENTICATION: u8 = 51;
/// Destination options.
pub const DESTINATION: u8 = 60;
/// Mobility (RFC 6275).
pub const MOBILITY: u8 = 135;
/// Bits of the fragment word with the offset.
pub const OFFSET_BITS: u16 = 0xfff8;

pod! {
    /// The fixed header.
    #[derive(Clone, Copy, Debug)]
    pub struct Header {
        /// Version, traffic class and flow label, as they lie in memory.
        pub version_and_flow: [u8; 4],
        /// Length of what follows the fixed header, in bytes.
        pub payload_length: Be16,
        /// What follows.
        pub next: u8,
        /// Hops left.
        pub hop_limit: u8,
        /// Source address.
        pub source: Address,
        /// Destination address.
        pub destination: Address,
    }
}

pod! {
    /// The first eight bytes that every extension header has.
    #[derive(Clone, Copy, Debug)]
    pub struct Extension {
        /// What follows.
        pub next: u8,
        /// Length in words of 8 bytes, not counting the first.
        pub length: u8,
        /// Routing: type and segments left. Fragment: offset and the more-fragments bit.
        pub word: [u8; 2],
        /// Fragment: the identification.
        pub rest: [u8; 4],
    }
}

pod! {
    /// Both addresses.
    #[derive(Clone, Copy, Debug)]
    pub struct Addresses {
        /// Source.
        pub source: Address,
        /// Destination.
        pub destination: Address,
    }
}
