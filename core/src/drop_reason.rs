//! Why a packet was dropped: one numbered reason each.

/// A reason. Numbers from 130 up and the names are Hubble's, so that tools and eyes that know them
/// read ours; numbers below 100 are twinpath's own. Numbers are never used again for another reason (157, of early versions: fragments).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
#[repr(u8)]
pub enum DropReason {
    /// A frontend address, but no service on this port and protocol.
    ServicePortNotFound = 1,
    /// Every backend tried would give this connection a reply tuple that another live one owns.
    ConntrackTupleConflict = 2,
    /// A client outside came to a frontend that is for the cluster alone.
    IsClusterIp = 3,
    /// An address of the service range that no service has.
    ServiceAddressNotFound = 4,
    /// A pod was given itself as backend and has no address to see itself under; or a node, whose packet
    /// is on its way out by then.
    NoHairpinAddress = 5,
    /// A header is malformed or cut.
    InvalidPacket = 134,
    /// The transport header is cut or contradicts itself.
    InvalidTransportHeader = 135,
    /// The packet is too big for where it has to go.
    FragmentationNeeded = 136,
    /// A packet that cannot open a connection (a TCP reset) came to a frontend without one.
    CannotCreateFromPacket = 138,
    /// A program of the slow road is missing.
    MissedTailCall = 140,
    /// The packet could not be written to.
    WriteError = 141,
    /// A port would have to change in a packet whose checksum cannot follow (SCTP's CRC32c).
    ChecksumCannotFollow = 154,
    /// The conntrack table did not take the entry.
    ConntrackInsertionFailed = 155,
    /// An IPv6 extension header is cut, or there are too many, or the packet is source-routed.
    InvalidExtensionHeader = 156,
    /// The service has no backend that may take this packet.
    ServiceBackendNotFound = 158,
    /// No source port is left under which the packet could be sent on.
    NoMappingForNat = 167,
    /// A later fragment of a datagram whose first one did not come before it.
    FragmentNotFound = 175,
    /// The source is in none of the service's ranges.
    NotInSourceRange = 177,
    /// Time to live or hop limit ran out here.
    TtlExceeded = 196,
}

impl DropReason {
    /// Every reason, in the order of the numbers.
    pub const ALL: [Self; 19] = [
        Self::ServicePortNotFound,
        Self::ConntrackTupleConflict,
        Self::IsClusterIp,
        Self::ServiceAddressNotFound,
        Self::NoHairpinAddress,
        Self::InvalidPacket,
        Self::InvalidTransportHeader,
        Self::FragmentationNeeded,
        Self::CannotCreateFromPacket,
        Self::MissedTailCall,
        Self::WriteError,
        Self::ChecksumCannotFollow,
        Self::ConntrackInsertionFailed,
        Self::InvalidExtensionHeader,
        Self::ServiceBackendNotFound,
        Self::NoMappingForNat,
        Self::FragmentNotFound,
        Self::NotInSourceRange,
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
            Self::IsClusterIp => "IS_CLUSTER_IP",
            Self::ServiceAddressNotFound => "SERVICE_ADDRESS_NOT_FOUND",
            Self::NoHairpinAddress => "NO_HAIRPIN_ADDRESS",
            Self::InvalidPacket => "INVALID_PACKET_DROPPED",
            Self::InvalidTransportHeader => "CT_TRUNCATED_OR_INVALID_HEADER",
            Self::FragmentationNeeded => "FRAGMENTATION_NEEDED",
            Self::CannotCreateFromPacket => "CT_CANNOT_CREATE_ENTRY_FROM_PACKET",
            Self::MissedTailCall => "MISSED_TAIL_CALL",
            Self::WriteError => "ERROR_WRITING_TO_PACKET",
            Self::ChecksumCannotFollow => "ERROR_WHILE_CORRECTING_L4_CHECKSUM",
            Self::ConntrackInsertionFailed => "CT_MAP_INSERTION_FAILED",
            Self::InvalidExtensionHeader => "INVALID_IPV6_EXTENSION_HEADER",
            Self::ServiceBackendNotFound => "SERVICE_BACKEND_NOT_FOUND",
            Self::NoMappingForNat => "NO_MAPPING_FOR_NAT_MASQUERADE",
            Self::FragmentNotFound => "FIRST_LOGICAL_DATAGRAM_FRAGMENT_NOT_FOUND",
            Self::NotInSourceRange => "DENIED_BY_LB_SRC_RANGE_CHECK",
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
