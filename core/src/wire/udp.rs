//! UDP (RFC 768).

use crate::bytes::{Be16, pod};

/// Length of the header.
pub const LENGTH: usize = 8;
/// Offset of the checksum.
pub const CHECKSUM: usize = 6;

pod! {
    /// The header without its checksum.
    #[derive(Clone, Copy, Debug)]
    pub struct Header {
        /// Source port.
        pub source_port: Be16,
        /// Destination port.
        pub destination_port: Be16,
        /// Length of header and payload.
        pub length: Be16,
    }
}

pod! {
    /// Both ports, which TCP and UDP have in the same place.
    #[derive(Clone, Copy, Debug)]
    pub struct Ports {
        /// Source port.
        pub source: Be16,
        /// Destination port.
        pub destination: Be16,
    }
}
