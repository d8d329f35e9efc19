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

/// Offset of the checksum.
pub const CHECKSUM: usize = 2;
/// Offset of the identifier of an echo message.
pub const ID: usize = 4;

/// Types of ICMP.
pub mod v4 {
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 0;
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 3;
    /// Its code: port unreachable.
    pub const PORT: u8 = 3;
    /// Its code: fragmentation needed and forbidden.
    pub const FRAGMENTATION_NEEDED: u8 = 4;
    /// Echo request.
    pub const ECHO_REQUEST: u8 = 8;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 11;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 12;
}

/// Types of ICMPv6.
pub mod v6 {
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 1;
    /// Its code: port unreachable.
    pub const PORT: u8 = 4;
    /// Packet too big.
    pub const TOO_BIG: u8 = 2;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 3;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 4;
    /// Echo request.
    pub const ECHO_REQUEST: u8 = 128;
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 129;
}

/// What a message is for, as far as translation cares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// An echo request.
    Request,
    /// An echo reply.
    Reply,
    /// An error, with the packet that it is about behind its header.
    Error,
    /// Anything else.
    Other,
}

impl Class {
    /// The class of a type.
    #[inline(always)]
    pub const fn of(kind: u8, is_v4: bool) -> Self {
        if is_v4 {
            match kind {
                v4::ECHO_REQUEST => Self::Request,
                v4::ECHO_REPLY => Self::Reply,
                v4::UNREACHABLE | v4::TIME_EXCEEDED | v4::PARAMETER_PROBLEM => Self::Error,
                _ => Self::Other,
            }
        } else {
            match kind {
                v6::ECHO_REQUEST => Self::Request,
                v6::ECHO_REPLY => Self::Reply,
                v6::UNREACHABLE | v6::TOO_BIG | v6::TIME_EXCEEDED | v6::PARAMETER_PROBLEM => {
                    Self::Error
                }
                _ => Self::Other,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::Pod;

    #[test]
    fn every_type_has_its_class() {
        // RFC 792 and RFC 4443: errors are those that quote a packet; a redirect is for the link alone.
        for (is_v4, request, reply, errors) in
            [(true, 8, 0, &[3, 11, 12][..]), (false, 128, 129, &[1, 2, 3, 4])]
        {
            for kind in 0..=255 {
                let expected = match kind {
                    kind if kind == request => Class::Request,
                    kind if kind == reply => Class::Reply,
                    kind if errors.contains(&kind) => Class::Error,
                    _ => Class::Other,
                };
                assert_eq!(Class::of(kind, is_v4), expected, "type {kind}, IPv4: {is_v4}");
            }
        }
    }

    #[test]
    fn the_header_lies_as_on_the_wire() {
        let bytes = [3, 4, 0xab, 0xcd, 0, 0, 5, 0xdc];
        let header = Header::read_from(&bytes).unwrap();
        assert_eq!((header.kind, header.code, header.checksum.get()), (3, 4, 0xabcd));
        assert_eq!(header.rest, [0, 0, 5, 0xdc]);
        assert_eq!((size_of::<Header>(), bytes[CHECKSUM], bytes[ID]), (LENGTH, 0xab, 0));
    }
}
