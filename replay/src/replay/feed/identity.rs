//! What makes two captured packets the same packet.

use std::hash::{DefaultHasher, Hasher};

use twinpath_core::parse::{Transport, parse};
use twinpath_core::tuple::Tuple;
use twinpath_sim::frame::Frame;

use super::Captured;

/// Offset of the identification in an IPv4 header.
const IPV4_ID: usize = 4;
/// Bytes of sequence and acknowledgement numbers in a TCP header, and where the length of the header is.
const TCP_NUMBERS: std::ops::Range<usize> = 4..12;
const TCP_OFFSET: usize = 12;
/// Bytes of a UDP header.
const UDP_HEADER: usize = 8;

/// A packet's tuple, IP identification, TCP numbers, length and payload: what does not change on its way while nobody
/// translates it. Checksums are left out, since devices complete them, and so are link header and hop limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    addresses: [[u32; 4]; 2],
    ports: [u16; 2],
    id: [u8; 2],
    numbers: [u8; 8],
    length: u32,
    payload: u64,
}

impl Identity {
    /// That of an IP packet that can be read; `frame` is room for it.
    pub(super) fn of(packet: &Captured<'_>, frame: &mut Frame) -> Option<(Self, Tuple)> {
        packet.fill(frame);
        let parsed = parse(frame).ok()??;
        let (tuple, l3, l4) = (parsed.tuple, parsed.l3.0, parsed.l4.0);
        let bytes = &frame.bytes;
        let at = |start: usize| bytes.get(start..)?.first_chunk::<2>();
        let id = if tuple.is_v4() { *at(l3.wrapping_add(IPV4_ID))? } else { [0; 2] };
        let (mut numbers, mut start) = ([0; 8], l4);
        match parsed.transport {
            Transport::Tcp => {
                let header = bytes.get(l4..)?;
                numbers.copy_from_slice(header.get(TCP_NUMBERS)?);
                start = l4.wrapping_add(usize::from(header.get(TCP_OFFSET)? >> 4) << 2);
            }
            Transport::Udp => start = l4.wrapping_add(UDP_HEADER),
            _ => {}
        }
        // Zeroes that stand for what was cut off say nothing; behind the IP packet may be padding of the link.
        let end = end(bytes, l3, tuple.is_v4())?;
        let mut hasher = DefaultHasher::new();
        hasher.write(bytes.get(start..end.min(packet.data.len())).unwrap_or_default());
        hasher.write_u8(tuple.protocol);
        hasher.write_u8(parsed.flags);
        let identity = Self {
            addresses: [tuple.source.words(), tuple.destination.words()],
            ports: [tuple.source_port.get(), tuple.destination_port.get()],
            id,
            numbers,
            length: u32::try_from(end.saturating_sub(l3)).unwrap_or(u32::MAX),
            payload: hasher.finish(),
        };
        Some((identity, tuple))
    }
}

/// Where the IP packet ends. Super-packets of segmentation offload have no length of their own.
fn end(bytes: &[u8], l3: usize, is_v4: bool) -> Option<usize> {
    let (at, behind) = if is_v4 { (2, 0) } else { (4, 40) };
    let said = bytes.get(l3.wrapping_add(at)..)?.first_chunk()?;
    Some(match usize::from(u16::from_be_bytes(*said)) {
        0 => bytes.len(),
        said => l3.wrapping_add(said).wrapping_add(behind).min(bytes.len()),
    })
}
