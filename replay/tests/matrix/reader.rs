//! What a frame says, checksums included.

use std::net::IpAddr;

use super::packet::{End, crc32c, fold, transport_sum};

/// A frame as read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub vlan: Option<u16>,
    pub from: Option<IpAddr>,
    pub to: Option<IpAddr>,
    pub number: u8,
    pub ports: (u16, u16),
    pub flags: u8,
    pub ttl: u8,
    /// IPv4 options, or IPv6 extension headers but that of fragments.
    pub options: Vec<u8>,
    /// Offset in bytes, and whether more follow.
    pub fragment: Option<(u16, bool)>,
    /// Behind the transport header.
    pub payload: Vec<u8>,
    /// Behind the IP header, options included.
    pub segment: Vec<u8>,
    /// UDP: it has no checksum.
    pub unsummed: bool,
    /// What is within, of a tunnel.
    pub inner: Option<Box<Self>>,
    /// Type, code and MTU of an ICMP error, and the packet that it quotes.
    pub error: Option<((u8, u8), u16, Vec<u8>)>,
    /// From the IP header on.
    pub packet: Vec<u8>,
}

impl Seen {
    pub(crate) fn ends(&self) -> Option<(End, End)> {
        Some(((self.from?, self.ports.0), (self.to?, self.ports.1)))
    }

    pub(crate) fn text(&self) -> String {
        let end = |address: Option<IpAddr>, port| match address {
            Some(address) => format!("{address}#{port}"),
            None => "?".into(),
        };
        let mut text = format!(
            "{} {} > {} ttl {}",
            self.number,
            end(self.from, self.ports.0),
            end(self.to, self.ports.1),
            self.ttl
        );
        if let Some((kind, mtu, _)) = &self.error {
            text += &format!(" error {kind:?} mtu {mtu}");
        }
        if let Some(inner) = &self.inner {
            text += &format!(" [{}]", inner.text());
        }
        text
    }
}

fn number(bytes: &[u8], at: usize) -> Result<u16, String> {
    match bytes.get(at..at + 2) {
        Some(word) => Ok(u16::from_be_bytes([word[0], word[1]])),
        None => Err(format!("cut at {at}")),
    }
}

fn check(right: bool, what: &str) -> Result<(), String> {
    if right { Ok(()) } else { Err(what.into()) }
}

/// Reads a frame. Every checksum in it has to be right.
pub(crate) fn read(frame: &[u8]) -> Result<Seen, String> {
    let (mut at, mut vlan) = (12, None);
    if number(frame, at)? == 0x8100 {
        vlan = Some(number(frame, 14)?);
        at += 4;
    }
    let packet = frame.get(at + 2..).ok_or("no packet")?;
    let mut seen = match number(frame, at)? {
        0x0800 => read_packet(packet, 4, false)?,
        0x86dd => read_packet(packet, 6, false)?,
        other => return Err(format!("EtherType {other:#x}")),
    };
    seen.vlan = vlan;
    Ok(seen)
}

/// Reads the packet that an error quotes: cut anywhere, with a transport checksum that cannot be told.
pub(crate) fn read_quote(packet: &[u8]) -> Result<Seen, String> {
    read_packet(packet, packet.first().map_or(0, |first| first >> 4), true)
}

fn read_packet(packet: &[u8], version: u8, quoted: bool) -> Result<Seen, String> {
    let mut seen = Seen::default();
    check(packet.first().is_some_and(|first| first >> 4 == version), "IP version")?;
    let header = if version == 4 {
        let header = usize::from(packet[0] & 15) * 4;
        let bytes = packet.get(..header).ok_or("cut IP header")?;
        check(header >= 20 && fold(bytes) == 0xffff, "IPv4 header checksum")?;
        (seen.ttl, seen.number) = (bytes[8], bytes[9]);
        let address = |at: usize| -> IpAddr {
            [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]].into()
        };
        (seen.from, seen.to) = (Some(address(12)), Some(address(16)));
        seen.options = bytes[20..].to_vec();
        let word = number(bytes, 6)?;
        if word & 0x3fff != 0 {
            seen.fragment = Some(((word & 0x1fff) * 8, word & 0x2000 != 0));
        }
        header
    } else {
        let bytes = packet.get(..40).ok_or("cut IP header")?;
        seen.ttl = bytes[7];
        let address = |at: usize| -> IpAddr {
            <[u8; 16]>::try_from(&bytes[at..at + 16]).unwrap_or_default().into()
        };
        (seen.from, seen.to) = (Some(address(8)), Some(address(24)));
        let (mut next, mut at) = (bytes[6], 40);
        while let 0 | 43 | 44 | 60 = next {
            let length =
                if next == 44 { 8 } else { 8 + usize::from(*packet.get(at + 1).ok_or("cut")?) * 8 };
            let extension = packet.get(at..at + length).ok_or("cut extension header")?;
            if next == 44 {
                let word = number(extension, 2)?;
                seen.fragment = Some((word & 0xfff8, word & 1 == 1));
            } else {
                seen.options.extend(extension);
            }
            (next, at) = (extension[0], at + length);
        }
        seen.number = next;
        at
    };
    let said = usize::from(number(packet, if version == 4 { 2 } else { 4 })?);
    let total = if version == 4 { said } else { said + 40 };
    check(quoted || total <= packet.len(), "longer than its frame")?;
    seen.packet = packet[..total.min(packet.len())].to_vec();
    seen.segment = seen.packet.get(header..).ok_or("header longer than packet")?.to_vec();
    transport(&mut seen, quoted)?;
    Ok(seen)
}

fn transport(seen: &mut Seen, quoted: bool) -> Result<(), String> {
    let segment = seen.segment.clone();
    let (from, to) = (seen.from.ok_or("no source")?, seen.to.ok_or("no destination")?);
    if let 4 | 41 = seen.number {
        check(!quoted, "a tunnel is quoted")?;
        let version = if seen.number == 4 { 4 } else { 6 };
        seen.inner = Some(Box::new(read_packet(&segment, version, false)?));
        return Ok(());
    }
    if seen.fragment.is_some_and(|(offset, _)| offset != 0) {
        return Ok(());
    }
    let whole = !quoted && seen.fragment.is_none();
    if let 6 | 17 | 132 = seen.number {
        seen.ports = (number(&segment, 0)?, number(&segment, 2)?);
    }
    let header = match seen.number {
        6 => {
            seen.flags = segment.get(13).copied().unwrap_or(0);
            usize::from(segment.get(12).copied().unwrap_or(0x50) >> 4) * 4
        }
        17 => {
            seen.unsummed = number(&segment, 6)? == 0;
            check(!whole || usize::from(number(&segment, 4)?) == segment.len(), "UDP length")?;
            8
        }
        132 => 12,
        1 | 58 => {
            let kind =
                (segment.first().copied().unwrap_or(0), segment.get(1).copied().unwrap_or(0));
            let is_v4 = seen.number == 1;
            match kind.0 {
                8 | 128 if (kind.0 == 8) == is_v4 => seen.ports = (number(&segment, 4)?, 0),
                0 | 129 if (kind.0 == 0) == is_v4 => seen.ports = (0, number(&segment, 4)?),
                _ => {
                    let quote = segment.get(8..).unwrap_or_default().to_vec();
                    seen.error = Some((kind, number(&segment, 6)?, quote));
                }
            }
            8
        }
        other => return Err(format!("protocol {other}")),
    };
    seen.payload = segment.get(header..).unwrap_or_default().to_vec();
    if !whole {
        return Ok(());
    }
    let tunnel = seen.number == 17 && seen.ports.1 == 6081;
    match seen.number {
        132 => {
            let mut zeroed = segment.clone();
            zeroed[8..12].fill(0);
            check(crc32c(&zeroed).to_le_bytes() == segment[8..12], "SCTP checksum")?;
        }
        17 if seen.unsummed => check(to.is_ipv4() || tunnel, "IPv6 UDP without checksum")?,
        _ => check(transport_sum(seen.number, from, to, &segment) == 0, "transport checksum")?,
    }
    if tunnel {
        let options = usize::from(seen.payload.first().ok_or("cut Geneve")? & 0x3f) * 4;
        let frame = seen.payload.get(8 + options..).ok_or("cut Geneve")?;
        seen.inner = Some(Box::new(read(frame)?));
    }
    Ok(())
}
