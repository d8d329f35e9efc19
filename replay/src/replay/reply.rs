//! Replies: from the packet that a client received back to the one that a backend sent, and the
//! comparison of what arrives with what was captured.

use std::fmt;

use twinpath_core::bytes::Be16;
use twinpath_core::checksum::{Delta, Deltas};
use twinpath_core::drop_reason::DropReason;
use twinpath_core::parse::{Parsed, Transport, parse};
use twinpath_core::seam::Packet;
use twinpath_core::tuple::Tuple;
use twinpath_core::wire::{ipv4, ipv6, tcp, udp};
use twinpath_sim::frame::Frame;

use crate::worlds::Sender;

/// The backend that a flow was given.
#[derive(Clone, Copy, Debug)]
pub struct Given {
    /// The tuple of its replies, as it sends them.
    pub tuple: Tuple,
    /// What it does to the checksums to go from the captured reply to that.
    pub fix: Deltas,
    /// Who sends them.
    pub sender: Sender,
    /// How much the time to live falls on the way to the client; unknown of clients outside, since the
    /// capture may have been taken anywhere on the way.
    pub hops: Option<u8>,
}

/// Hops that a reply has to spare where it is not known how many it takes.
const SPARE: u8 = 16;

/// Turns a reply as captured into the one that the backend sent: the inverse of what the datapath
/// will do.
#[inline]
pub fn rebuild(frame: &mut Frame, parsed: &Parsed, given: &Given) -> Result<(), DropReason> {
    let ttl = parsed.ttl.saturating_add(given.hops.unwrap_or(SPARE));
    let to = &given.tuple;
    if to.is_v4() {
        let protocol = to.protocol;
        let change = given.fix.addresses.of_word(
            u16::from_ne_bytes([parsed.ttl, protocol]),
            u16::from_ne_bytes([ttl, protocol]),
        );
        let field = parsed.checksum.raw();
        let field = if change == Delta::NONE { field } else { change.apply(field) };
        let header = ipv4::Translated {
            ttl,
            protocol,
            checksum: Be16::from_raw(field),
            source: to.source.low(),
            destination: to.destination.low(),
        };
        frame.store(parsed.l3.plus(ipv4::TTL), header)?;
    } else {
        frame.store(parsed.l3.plus(ipv6::HOP_LIMIT), ttl)?;
        let addresses = ipv6::Addresses { source: to.source, destination: to.destination };
        frame.store(parsed.l3.plus(ipv6::ADDRESSES), addresses)?;
    }
    let ports = udp::Ports { source: to.source_port, destination: to.destination_port };
    frame.store(parsed.l4, ports)?;
    let udp = matches!(parsed.transport, Transport::Udp);
    let checksum = if udp { udp::CHECKSUM } else { tcp::CHECKSUM };
    frame.mend(parsed.l4.plus(checksum), given.fix.with(udp))
}

/// Gives what arrived the time to live of what was captured, where it is not known how many hops lay
/// between.
pub fn settle(frame: &mut Frame, captured: &Parsed) -> Result<(), DropReason> {
    let Ok(Some(arrived)) = parse(frame) else { return Ok(()) };
    let (from, to) = (arrived.ttl, captured.ttl);
    if !captured.tuple.is_v4() {
        return frame.store(arrived.l3.plus(ipv6::HOP_LIMIT), to);
    }
    let protocol = arrived.tuple.protocol;
    let word = |ttl| u16::from_ne_bytes([ttl, protocol]);
    let field = Delta::NONE.of_word(word(from), word(to)).apply(arrived.checksum.raw());
    // Zero can be written in two ways, and that of the capture is as right.
    let is_zero = |field: u16| matches!(field, 0 | 0xffff);
    let told = captured.checksum.raw();
    let field = if is_zero(field) && is_zero(told) { told } else { field };
    frame.store(arrived.l3.plus(ipv4::TTL), to)?;
    frame.store(arrived.l3.plus(ipv4::CHECKSUM), Be16::from_raw(field))
}

/// How what arrived differs from what was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Nothing arrived: it was dropped.
    Dropped(DropReason),
    /// It went somewhere else.
    Elsewhere,
    /// Its length is another, in bytes from the IP header on.
    Length {
        /// That of the captured packet.
        captured: usize,
        /// That of what arrived.
        arrived: usize,
    },
    /// A byte is another.
    Byte {
        /// The name of the first header field that differs.
        field: &'static str,
        /// Bytes from the IP header to the first that differs.
        offset: usize,
        /// As captured.
        captured: u8,
        /// As it arrived.
        arrived: u8,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dropped(reason) => {
                write!(f, "the client received it, but here it is dropped: {}", reason.name())
            }
            Self::Elsewhere => f.write_str("it does not arrive at the client"),
            Self::Length { captured, arrived } => {
                write!(
                    f,
                    "captured with {captured} bytes from the IP header on, arrives with {arrived}"
                )
            }
            Self::Byte { field, offset, captured, arrived } => write!(
                f,
                "{field}, byte {offset} from the IP header on: captured {captured:#04x}, arrives as {arrived:#04x}"
            ),
        }
    }
}

/// Whether [`compare`] would find nothing.
#[inline(always)]
pub fn is_same(captured: &[u8], arrived: &Frame, parsed: &Parsed, length: usize) -> bool {
    let l3 = parsed.l3.0;
    arrived.bytes.len() == length
        && captured.get(l3..).is_some_and(|expected| {
            arrived.bytes.get(l3..l3.wrapping_add(expected.len())) == Some(expected)
        })
}

/// Compares from the IP header on. `captured` may be cut; what is missing of it counts as equal.
#[inline]
pub fn compare(
    captured: &[u8],
    arrived: &Frame,
    parsed: &Parsed,
    length: usize,
) -> Option<Difference> {
    let l3 = parsed.l3.0;
    let (expected, all) = (captured.get(l3..)?, arrived.bytes.get(l3..).unwrap_or_default());
    let whole = length.saturating_sub(l3);
    if all.len() != whole {
        return Some(Difference::Length { captured: whole, arrived: all.len() });
    }
    let here = all.get(..expected.len()).unwrap_or(all);
    if here == expected { None } else { first_difference(expected, here, parsed) }
}

#[cold]
fn first_difference(expected: &[u8], arrived: &[u8], parsed: &Parsed) -> Option<Difference> {
    let offset = expected.iter().zip(arrived).position(|(a, b)| a != b)?;
    let (captured, arrived) = (*expected.get(offset)?, *arrived.get(offset)?);
    Some(Difference::Byte { field: field(parsed, offset), offset, captured, arrived })
}

/// The name of the header field at an offset from the IP header, in Wireshark's words.
fn field(parsed: &Parsed, offset: usize) -> &'static str {
    let transport = parsed.l4.0.saturating_sub(parsed.l3.0);
    if let Some(at) = offset.checked_sub(transport) {
        return match (parsed.transport, at) {
            (Transport::Tcp, 0..2) => "tcp.srcport",
            (Transport::Tcp, 2..4) => "tcp.dstport",
            (Transport::Tcp, 16..18) => "tcp.checksum",
            (Transport::Udp, 0..2) => "udp.srcport",
            (Transport::Udp, 2..4) => "udp.dstport",
            (Transport::Udp, 6..8) => "udp.checksum",
            (Transport::Tcp, 0..20) => "tcp header",
            _ => "payload",
        };
    }
    match (parsed.tuple.is_v4(), offset) {
        (true, 8) => "ip.ttl",
        (true, 10..12) => "ip.checksum",
        (true, 12..16) => "ip.src",
        (true, 16..20) => "ip.dst",
        (true, _) => "ip header",
        (false, 7) => "ipv6.hlim",
        (false, 8..24) => "ipv6.src",
        (false, 24..40) => "ipv6.dst",
        (false, _) => "ipv6 header",
    }
}

#[cfg(test)]
mod tests;
