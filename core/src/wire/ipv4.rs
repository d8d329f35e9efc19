//! IPv4 (RFC 791).

use crate::bytes::{Be16, pod};

/// Length of a header without options.
pub const MIN_LENGTH: usize = 20;
/// Offset of the time to live; protocol, checksum, source and destination follow.
pub const TTL: usize = 8;
/// Bit of the fragment word that says: do not fragment.
pub const DONT_FRAGMENT: u16 = 0x4000;
/// Offset of the checksum.
pub const CHECKSUM: usize = 10;
/// Bit of the fragment word that says: more fragments follow.
pub const MORE_FRAGMENTS: u16 = 0x2000;
/// Bits of the fragment word with the offset, in units of 8 bytes.
pub const OFFSET_BITS: u16 = 0x1fff;

pod! {
    /// The header without its options. Words of 2 bytes, so that a copy needs no more alignment.
    #[derive(Clone, Copy, Debug)]
    pub struct Header {
        /// Version in the upper, header length in words in the lower half.
        pub version_and_length: u8,
        /// Type of service.
        pub tos: u8,
        /// Length of header and payload in bytes.
        pub total_length: Be16,
        /// Identification of the datagram.
        pub id: Be16,
        /// Flags and fragment offset.
        pub fragment: Be16,
        /// Hops left.
        pub ttl: u8,
        /// Protocol of the payload.
        pub protocol: u8,
        /// Checksum of the header.
        pub checksum: Be16,
        /// Source address.
        pub source: [u8; 4],
        /// Destination address.
        pub destination: [u8; 4],
    }
}

pod! {
    /// The part of the header that a translation rewrites, at offset [`TTL`].
    #[derive(Clone, Copy, Debug)]
    pub struct Translated {
        /// Hops left.
        pub ttl: u8,
        /// Protocol of the payload.
        pub protocol: u8,
        /// Checksum of the header.
        pub checksum: Be16,
        /// Source address, as it lies in memory.
        pub source: u32,
        /// Destination address, as it lies in memory.
        pub destination: u32,
    }
}
