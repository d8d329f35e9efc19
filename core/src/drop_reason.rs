//! Why a packet was dropped: one numbered reason each.

/// A reason. Numbers from 130 up and the names are Hubble's, so that tools and eyes that know them
/// read ours; numbers below 100 are twinpath's own. Numbers are never used again for another reason.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
#[repr(u8)]
pub enum DropReason {
    /// A frontend address, but no service on this port and protocol.
    ServicePortNotFound = 1,
    /// Every backend tried would give this connection a reply tuple that another live one owns.
    ConntrackTupleConflict = 2,
    /// A header is malformed or cut.
    InvalidPacket = 134,
    /// The transport header is cut or contradicts itself.
    InvalidTransportHeader = 135,
    /// A packet that cannot open a connection (a TCP reset) came to a frontend without one.
    CannotCreateFromPacket = 138,
    /// The packet could not be written to.
    WriteError = 141,
    /// The conntrack table did not take the entry.
    ConntrackInsertionFailed = 155,
    /// An IPv6 extension header is cut, or there are too many, or the packet is source-routed.
    InvalidExtensionHeader = 156,
    /// A fragment of a packet to a frontend.
    FragmentationNotSupported = 157,
    /// The service has no backend that may take this packet.
    ServiceBackendNotFound = 158,
    /// Time to live or hop limit ran out here.
    TtlExceeded = 196,
}

impl DropReason {
    /// Every reason, in the order of the numbers.
    pub const ALL: [Self; 11] = [
        Self::ServicePortNotFound,
        Self::ConntrackTupleConflict,
        Self::InvalidPacket,
        Self::InvalidTransportHeader,
        Self::CannotCreateFromPacket,
        Self::WriteError,
        Self::ConntrackInsertionFailed,
        Self::InvalidExtensionHeader,
        Self::FragmentationNotSupported,
        Self::ServiceBackendNotFound,
        Self::TtlExceeded,
    ];

    /// The reason with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| *reason as u8 == number)
    }

    /// The name as tables, JSON, metrics and docs write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ServicePortNotFound => "SERVICE_PORT_NOT_FOUND",
            Self::ConntrackTupleConflict => "CT_TUPLE_CONFLICT",
            Self::InvalidPacket => "INVALID_PACKET_DROPPED",
            Self::InvalidTransportHeader => "CT_TRUNCATED_OR_INVALID_HEADER",
            Self::CannotCreateFromPacket => "CT_CANNOT_CREATE_ENTRY_FROM_PACKET",
            Self::WriteError => "ERROR_WRITING_TO_PACKET",
            Self::ConntrackInsertionFailed => "CT_MAP_INSERTION_FAILED",
            Self::InvalidExtensionHeader => "INVALID_IPV6_EXTENSION_HEADER",
            Self::FragmentationNotSupported => "IP_FRAGMENTATION_NOT_SUPPORTED",
            Self::ServiceBackendNotFound => "SERVICE_BACKEND_NOT_FOUND",
            Self::TtlExceeded => "TTL_EXCEEDED",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_ordered_unique_and_found_again() {
        for pair in DropReason::ALL.windows(2) {
            assert!(pair[0] < pair[1]);
        }
        for reason in DropReason::ALL {
            assert_eq!(DropReason::from_number(reason as u8), Some(reason));
        }
        assert_eq!(DropReason::from_number(0), None);
    }
}
