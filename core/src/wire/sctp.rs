//! SCTP (RFC 9260).

/// Length of the common header: two ports, verification tag, checksum.
pub const LENGTH: usize = 12;
