//! ICMP (RFC 792) and ICMPv6 (RFC 4443).

use crate::bytes::{Be16, pod};

pod! {
    /// The eight bytes that every message begins with.
    #[derive(Clone, Copy, Debug)]
    pub struct Header {
        /// Type of the message.
        pub kind: u8,
        /// Code within the type.
        pub code: u8,
        /// Checksum of the message; in ICMPv6 with a pseudo-header.
        pub checksum: Be16,
        /// What the type makes of it: echo identifier and sequence, MTU, ...
        pub rest: [u8; 4],
    }
}

/// Length of the header.
pub const LENGTH: usize = 8;
