//! ICMP errors built by other means than those under test.

use etherparse::{IpHeaders, Ipv4Header, Ipv6Header, PacketBuilder};

use crate::address::Address;
use crate::checksum;
use crate::testing::Frame;

/// Type, code and the four bytes behind the checksum.
pub(super) type Kind = (u8, u8, [u8; 4]);

/// An ICMP error of either family about `quote`, with right checksums.
pub(super) fn error(
    (source, destination): (Address, Address),
    (kind, code, rest): Kind,
    quote: &[u8],
) -> Frame {
    let builder = PacketBuilder::ethernet2([4; 6], [2; 6]);
    let mut bytes = Vec::new();
    if source.is_v4() {
        let mut header = Ipv4Header {
            time_to_live: 64,
            source: source.low().to_ne_bytes(),
            destination: destination.low().to_ne_bytes(),
            ..Ipv4Header::default()
        };
        header.dont_fragment = false;
        let builder = builder.ip(IpHeaders::Ipv4(header, Default::default()));
        builder.icmpv4_raw(kind, code, rest).write(&mut bytes, quote).unwrap();
    } else {
        let header = Ipv6Header {
            hop_limit: 64,
            source: source.octets(),
            destination: destination.octets(),
            ..Ipv6Header::default()
        };
        let builder = builder.ip(IpHeaders::Ipv6(header, Default::default()));
        builder.icmpv6_raw(kind, code, rest).write(&mut bytes, quote).unwrap();
    }
    Frame(bytes)
}

/// The frame with `words` words of four bytes of IPv4 options, or as many destination options headers of
/// eight bytes.
pub(super) fn with_options(frame: &Frame, words: u8) -> Frame {
    let mut bytes = frame.0.clone();
    if words == 0 {
        return frame.clone();
    }
    if bytes[12] == 0x08 {
        bytes.splice(34..34, std::iter::repeat_n(1, usize::from(words) * 4)); // no operation
        bytes[14] += words;
        let total = (bytes.len() - 14) as u16;
        bytes[16..18].copy_from_slice(&total.to_be_bytes());
        mend_header(&mut bytes[14..34 + usize::from(words) * 4]);
    } else {
        for _ in 0..words {
            let next = std::mem::replace(&mut bytes[20], 60);
            bytes.splice(54..54, [next, 0, 1, 4, 0, 0, 0, 0]);
        }
        let payload = (bytes.len() - 54) as u16;
        bytes[18..20].copy_from_slice(&payload.to_be_bytes());
    }
    Frame(bytes)
}

/// Makes the checksum of an IPv4 header anew.
pub(super) fn mend_header(header: &mut [u8]) {
    header[10..12].fill(0);
    let sum = !checksum::sum(header);
    header[10..12].copy_from_slice(&sum.to_ne_bytes());
}
