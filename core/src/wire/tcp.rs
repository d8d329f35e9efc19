//! TCP (RFC 9293).

use crate::bytes::{Be16, pod};

/// Length of a header without options.
pub const MIN_LENGTH: usize = 20;
/// Offset of the byte with the header's length.
pub const DATA_OFFSET: usize = 12;
/// Offset of the checksum.
pub const CHECKSUM: usize = 16;

/// Flag: no more data from the sender.
pub const FIN: u8 = 0x01;
/// Flag: synchronise sequence numbers.
pub const SYN: u8 = 0x02;
/// Flag: reset the connection.
pub const RST: u8 = 0x04;
/// Flag: the acknowledgement field counts.
pub const ACK: u8 = 0x10;

pod! {
    /// The first fourteen bytes: up to the flags.
    #[derive(Clone, Copy, Debug)]
    pub struct Header {
        /// Source port.
        pub source_port: Be16,
        /// Destination port.
        pub destination_port: Be16,
        /// Sequence number.
        pub sequence: [u8; 4],
        /// Acknowledgement number.
        pub acknowledgement: [u8; 4],
        /// Header length in words of 4 bytes, in the upper half.
        pub data_offset: u8,
        /// Flags.
        pub flags: u8,
    }
}
