//! What two packets can differ in: by name, with the bytes of headers in Wireshark's words.

use std::ops::Range;

use twinpath_core::parse::{Parsed, Transport};
use twinpath_sim::frame::Frame;

use crate::failure::Failure;

/// The name of a field.
pub type Field = &'static str;

/// All fields, those first that others follow from.
pub const FIELDS: &[Field] = &[
    "verdict",
    "drop_reason",
    "service",
    "backend",
    "node",
    "place",
    "src",
    "dst",
    "length",
    "ip.version",
    "ip.dsfield",
    "ip.len",
    "ip.id",
    "ip.flags",
    "ip.ttl",
    "ip.proto",
    "ip.options",
    "ip.checksum",
    "ipv6.head",
    "ipv6.plen",
    "ipv6.nxt",
    "ipv6.hlim",
    "ipv6.extensions",
    "tcp.seq",
    "tcp.ack",
    "tcp.flags",
    "tcp.window_size",
    "tcp.checksum",
    "tcp.urgent_pointer",
    "tcp.options",
    "udp.length",
    "udp.checksum",
    "icmp.type",
    "icmp.checksum",
    "payload",
    "ct",
];

/// The field of a name as given by a user: `ip.id`, `ipv4.id`, `bytes:ip.id`.
pub fn named(name: &str) -> Result<Field, Failure> {
    let plain = name.strip_prefix("bytes:").unwrap_or(name);
    let plain = match plain.strip_prefix("ipv4.") {
        Some(rest) => format!("ip.{rest}"),
        None => plain.to_owned(),
    };
    FIELDS.iter().find(|field| **field == plain).copied().ok_or_else(|| {
        Failure::Usage(format!("--ignore {name}: no such field; there are: {}", FIELDS.join(", ")))
    })
}

/// Whether a field holds a sum of others, and so differs wherever they do.
pub fn is_sum(field: Field) -> bool {
    field.ends_with(".checksum")
}

/// The header fields of a packet but its addresses and ports, and where they are in the frame.
pub fn fields(frame: &Frame, parsed: &Parsed) -> Vec<(Field, Range<usize>)> {
    let (l3, l4) = (parsed.l3.0, parsed.l4.0);
    let mut fields = Vec::with_capacity(20);
    let mut put = |base: usize, from: usize, to: usize, name: Field| {
        fields.push((name, base.saturating_add(from)..base.saturating_add(to)));
    };
    if parsed.tuple.is_v4() {
        put(l3, 0, 1, "ip.version");
        put(l3, 1, 2, "ip.dsfield");
        put(l3, 2, 4, "ip.len");
        put(l3, 4, 6, "ip.id");
        put(l3, 6, 8, "ip.flags");
        put(l3, 8, 9, "ip.ttl");
        put(l3, 9, 10, "ip.proto");
        put(l3, 10, 12, "ip.checksum");
        put(0, l3.saturating_add(20), l4, "ip.options");
    } else {
        put(l3, 0, 4, "ipv6.head");
        put(l3, 4, 6, "ipv6.plen");
        put(l3, 6, 7, "ipv6.nxt");
        put(l3, 7, 8, "ipv6.hlim");
        put(0, l3.saturating_add(40), l4, "ipv6.extensions");
    }
    let rest = match parsed.transport {
        Transport::Tcp => {
            let words = frame.bytes.get(l4.saturating_add(12)).map_or(5, |byte| byte >> 4);
            let length = usize::from(words).saturating_mul(4).max(20);
            put(l4, 4, 8, "tcp.seq");
            put(l4, 8, 12, "tcp.ack");
            put(l4, 12, 14, "tcp.flags");
            put(l4, 14, 16, "tcp.window_size");
            put(l4, 16, 18, "tcp.checksum");
            put(l4, 18, 20, "tcp.urgent_pointer");
            put(l4, 20, length, "tcp.options");
            length
        }
        Transport::Udp => {
            put(l4, 4, 6, "udp.length");
            put(l4, 6, 8, "udp.checksum");
            8
        }
        Transport::Echo | Transport::IcmpError | Transport::Icmp => {
            put(l4, 0, 2, "icmp.type");
            put(l4, 2, 4, "icmp.checksum");
            4
        }
        Transport::Sctp => 4, // behind the ports
        Transport::Fragment | Transport::Other => 0,
    };
    let end = frame.bytes.len();
    put(0, l4.saturating_add(rest).min(end), end, "payload");
    fields
}

/// The bytes of a field: a number of one byte, or in hex, at most eight bytes of it.
pub fn value(field: Field, bytes: &[u8]) -> String {
    if let ("ip.ttl" | "ipv6.hlim", [byte]) = (field, bytes) {
        return byte.to_string();
    }
    if bytes.is_empty() {
        return "-".into();
    }
    let shown: String = bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    if bytes.len() > 8 {
        format!("0x{shown}... ({} bytes)", bytes.len())
    } else {
        format!("0x{shown}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_several_names() {
        for name in ["ip.id", "ipv4.id", "bytes:ip.id", "bytes:ipv4.id"] {
            assert_eq!(named(name).unwrap(), "ip.id");
        }
        for name in ["", "ip", "ipv4.", "IP.ID"] {
            assert!(named(name).is_err(), "{name}");
        }
    }

    #[test]
    fn values_are_short() {
        assert_eq!(value("ip.ttl", &[63]), "63");
        assert_eq!(value("ip.id", &[0, 255]), "0x00ff");
        assert_eq!(value("payload", &[1; 9]), "0x0101010101010101... (9 bytes)");
        assert_eq!(value("ip.options", &[]), "-");
    }
}
