//! A packet's layers and checksums in words, and what of it two moments differ in.

use std::fmt::Write as _;
use std::net::SocketAddr;

use twinpath_core::address::Address;
use twinpath_core::bytes::Be16;
use twinpath_core::checksum::sum;
use twinpath_core::drop_reason::DropReason;
use twinpath_core::parse::{Parsed, Part, Transport, parse};
use twinpath_core::seam::{At, Packet};
use twinpath_core::wire::{ipv4, ipv6};
use twinpath_sim::frame::Frame;

/// What a checksum is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// As it should be.
    Right,
    /// Not so.
    Wrong,
    /// To be completed by the device (offload): only the pseudo-header is in it.
    Partial,
    /// UDP over IPv4 may do without.
    None,
    /// It cannot be told: the packet is cut, or is a fragment, or has none.
    Unknown,
}

impl Checksum {
    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::Wrong => "wrong",
            Self::Partial => "left to the device (offload)",
            Self::None => "none",
            Self::Unknown => "not checked",
        }
    }
}

/// The IP packet, without what stands behind it in its frame.
fn bytes<'a>(frame: &'a Frame, parsed: &Parsed) -> Option<&'a [u8]> {
    let length = if parsed.tuple.is_v4() {
        let header: ipv4::Header = frame.load(parsed.l3).ok()?;
        usize::from(header.total_length.get())
    } else {
        let header: ipv6::Header = frame.load(parsed.l3).ok()?;
        usize::from(header.payload_length.get()).checked_add(ipv6::LENGTH)?
    };
    frame.bytes.get(parsed.l3.0..parsed.l3.0.checked_add(length)?)
}

/// The checksum of the IPv4 header; IPv6 has none.
pub fn header_checksum(frame: &Frame, parsed: &Parsed) -> Checksum {
    if !parsed.tuple.is_v4() {
        return Checksum::None;
    }
    let Ok(header) = frame.load::<ipv4::Header>(parsed.l3) else { return Checksum::Unknown };
    let end = parsed.l3.0.saturating_add(usize::from(header.version_and_length & 15) * 4);
    match frame.bytes.get(parsed.l3.0..end).map(sum) {
        Some(0xffff) => Checksum::Right,
        Some(_) => Checksum::Wrong,
        None => Checksum::Unknown,
    }
}

/// The checksum of the transport. `whole` says that no byte of the packet was cut off by a capture.
pub fn transport_checksum(frame: &Frame, parsed: &Parsed, whole: bool) -> Checksum {
    if frame.partial {
        return Checksum::Partial;
    }
    let v4 = parsed.tuple.is_v4();
    let (field, pseudo) = match parsed.transport {
        Transport::Tcp => (16, true),
        Transport::Udp => (6, true),
        Transport::Echo | Transport::IcmpError | Transport::Icmp => (2, !v4),
        Transport::Sctp | Transport::Fragment | Transport::Other => return Checksum::Unknown,
    };
    if !matches!(parsed.part, Part::Whole) || !whole {
        return Checksum::Unknown;
    }
    let start = parsed.l4.0.saturating_sub(parsed.l3.0);
    let Some(segment) = bytes(frame, parsed).and_then(|packet| packet.get(start..)) else {
        return Checksum::Unknown;
    };
    if matches!(parsed.transport, Transport::Udp) && segment.get(field..field + 2) == Some(&[0, 0])
    {
        return Checksum::None;
    }
    let mut covered = Vec::new();
    if pseudo {
        for address in [parsed.tuple.source, parsed.tuple.destination] {
            let octets = address.octets();
            covered.extend_from_slice(if v4 { &octets[12..] } else { &octets });
        }
        covered.extend((segment.len() as u32).to_be_bytes());
        covered.extend([0, 0, 0, parsed.tuple.protocol]);
    }
    covered.extend_from_slice(segment);
    if sum(&covered) == 0xffff { Checksum::Right } else { Checksum::Wrong }
}

/// The layers: `ethernet, 802.1Q, IPv4, TCP`.
pub fn layers(parsed: &Parsed) -> String {
    let mut text = String::from("Ethernet");
    for _ in 0..parsed.l3.0.saturating_sub(14) / 4 {
        text.push_str(", 802.1Q");
    }
    let v4 = parsed.tuple.is_v4();
    text.push_str(if v4 { ", IPv4" } else { ", IPv6" });
    let plain = if v4 { ipv4::MIN_LENGTH } else { ipv6::LENGTH };
    let more = parsed.l4.0.saturating_sub(parsed.l3.0.saturating_add(plain));
    if more > 0 {
        let what = if v4 { "options" } else { "extension headers" };
        let _ = write!(text, " with {more} bytes of {what}");
    }
    match parsed.transport {
        Transport::Tcp => text.push_str(", TCP"),
        Transport::Udp => text.push_str(", UDP"),
        Transport::Sctp => text.push_str(", SCTP"),
        Transport::Echo => text.push_str(", ICMP echo"),
        Transport::IcmpError => text.push_str(", ICMP error"),
        Transport::Icmp => text.push_str(", ICMP"),
        Transport::Fragment => text.push_str(", later fragment"),
        Transport::Other => {
            let _ = write!(text, ", protocol {}", parsed.tuple.protocol);
        }
    }
    if matches!(parsed.part, Part::First) {
        text.push_str(" (first fragment)");
    }
    text
}

/// What the parser finds, in words. `captured` is how many bytes of the frame the capture has.
pub fn parsed_text(frame: &Frame, captured: usize) -> String {
    match parse(frame) {
        Ok(Some(parsed)) => {
            let whole = captured >= frame.bytes.len();
            let length = frame.bytes.len().saturating_sub(parsed.l3.0);
            let mut text = format!("{}; {length} bytes, ttl {}", layers(&parsed), parsed.ttl);
            let header = header_checksum(frame, &parsed);
            let transport = transport_checksum(frame, &parsed, whole);
            if header == Checksum::Wrong {
                text.push_str("; IP checksum wrong");
            }
            match transport {
                Checksum::Right if header == Checksum::Right => text.push_str("; checksums right"),
                Checksum::Unknown if header == Checksum::Right => {
                    text.push_str("; IP checksum right");
                }
                Checksum::Unknown => {}
                other => {
                    let _ = write!(text, "; checksum {}", other.name());
                }
            }
            if !whole {
                let _ = write!(text, "; the capture has {captured} of {} bytes", frame.bytes.len());
            }
            text
        }
        Ok(None) => match frame.bytes.get(12..14) {
            Some([a, b]) => format!("Ethernet, no IP (ethertype 0x{a:02x}{b:02x})"),
            _ => "too short for an Ethernet header".into(),
        },
        Err(reason) => format!("{} ({})", broken(reason), reason.name()),
    }
}

/// What is wrong with a packet that cannot be parsed.
pub const fn broken(reason: DropReason) -> &'static str {
    match reason {
        DropReason::InvalidTransportHeader => {
            "the transport header is cut, or its length, flags or ports make no sense"
        }
        DropReason::InvalidExtensionHeader => {
            "an IPv6 extension header is cut, or there are too many, or the packet is source-routed"
        }
        _ => "the IP header is cut or contradicts itself",
    }
}

/// An address and port as people write them; ports only where the packet has some.
fn end(address: Address, port: Be16, parsed: &Parsed) -> String {
    match parsed.transport {
        Transport::Tcp | Transport::Udp | Transport::Sctp => {
            SocketAddr::new(address.into(), port.get()).to_string()
        }
        _ => address.to_string(),
    }
}

/// What of a packet is not as it was before, each `what before -> after`. Link addresses do not count.
pub fn changes(before: &Frame, after: &Frame) -> Vec<String> {
    let mut changes = Vec::new();
    let (Ok(Some(old)), Ok(Some(new))) = (parse(before), parse(after)) else {
        if before.bytes.get(12..) != after.bytes.get(12..) {
            changes.push(format!("{} bytes -> {} bytes", before.bytes.len(), after.bytes.len()));
        }
        return changes;
    };
    let (a, b) = (&old.tuple, &new.tuple);
    if a.protocol != b.protocol {
        changes.push(format!("protocol {} -> {}", a.protocol, b.protocol));
    }
    if (a.source, a.source_port) != (b.source, b.source_port) {
        let from = end(a.source, a.source_port, &old);
        changes.push(format!("src {from} -> {}", end(b.source, b.source_port, &new)));
    }
    if (a.destination, a.destination_port) != (b.destination, b.destination_port) {
        let from = end(a.destination, a.destination_port, &old);
        let to = end(b.destination, b.destination_port, &new);
        changes.push(format!("dst {from} -> {to}"));
    }
    if old.ttl != new.ttl {
        changes.push(format!("ttl {} -> {}", old.ttl, new.ttl));
    }
    let checksum = |frame: &Frame, parsed: &Parsed| -> Option<u16> {
        let at = match parsed.transport {
            Transport::Tcp => 16,
            Transport::Udp => 6,
            Transport::Echo | Transport::IcmpError | Transport::Icmp => 2,
            _ => return None,
        };
        frame.load::<[u8; 2]>(At(parsed.l4.0.checked_add(at)?)).ok().map(u16::from_be_bytes)
    };
    if a.is_v4() && b.is_v4() && old.checksum != new.checksum {
        changes.push(format!(
            "ip checksum {:04x} -> {:04x}",
            old.checksum.get(),
            new.checksum.get()
        ));
    }
    match (checksum(before, &old), checksum(after, &new)) {
        (Some(x), Some(y)) if x != y && a.protocol == b.protocol => {
            changes.push(format!("checksum {x:04x} -> {y:04x}"));
        }
        _ => {}
    }
    if before.bytes.len() != after.bytes.len() {
        changes.push(format!("{} bytes -> {} bytes", before.bytes.len(), after.bytes.len()));
    }
    if changes.is_empty() && before.bytes.get(14..) != after.bytes.get(14..) {
        changes.push("the packet that it quotes, or its options".into());
    }
    changes
}
