//! SCTP (RFC 9260).

/// Length of the common header: two ports, verification tag, checksum.
pub const LENGTH: usize = 12;

/// Length of the ports, with which it begins.
pub const PORTS: usize = 4;
