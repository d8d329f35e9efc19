//! Packets as the reference reads them: headers byte by byte, from the RFCs, and checksums in full.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use twinpath_core::tuple::Tuple;

/// TCP, UDP, SCTP and so on, by their numbers of IANA.
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const SCTP: u8 = 132;

/// An address and a port. The identifier of an echo is the port of the one who asked.
pub(super) type End = (IpAddr, u16);

/// Protocol and ends of a packet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Five {
    pub(super) protocol: u8,
    pub(super) source: End,
    pub(super) destination: End,
}

impl Five {
    pub(super) const fn reverse(self) -> Self {
        Self { protocol: self.protocol, source: self.destination, destination: self.source }
    }

    pub(super) const fn is_v4(&self) -> bool {
        self.source.0.is_ipv4()
    }
}

impl From<&Tuple> for Five {
    fn from(tuple: &Tuple) -> Self {
        Self {
            protocol: tuple.protocol,
            source: (tuple.source.into(), tuple.source_port.get()),
            destination: (tuple.destination.into(), tuple.destination_port.get()),
        }
    }
}

/// What an IP packet carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// TCP with these flags.
    Tcp(u8),
    Udp,
    Sctp,
    /// An echo request, or a reply.
    Echo(bool),
    /// An ICMP error.
    Error,
    /// Another ICMP message.
    Icmp,
    /// The rest of a datagram in fragments.
    Later,
    Other,
}

/// Which part of a datagram a packet is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    Whole,
    First,
    Later,
}

/// A packet that is all right.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    /// 802.1Q tags in front of it.
    pub(super) tags: usize,
    /// Where its IP header begins, where its transport header, and where it ends.
    pub(super) l3: usize,
    pub(super) l4: usize,
    pub(super) end: usize,
    pub(super) five: Five,
    pub(super) kind: Kind,
    pub(super) part: Part,
    /// Identification of its datagram.
    pub(super) id: u32,
    pub(super) ttl: u8,
}

/// What a frame is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Read {
    /// No IP.
    Foreign,
    /// Not to be sent on, since this is wrong with it.
    Bad(&'static str),
    /// An IP packet.
    Ip(View),
}

pub(super) fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(super) fn address(bytes: &[u8], at: usize, v4: bool) -> Option<IpAddr> {
    if v4 {
        let octets: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
        return Some(Ipv4Addr::from(octets).into());
    }
    let octets: [u8; 16] = bytes.get(at..at + 16)?.try_into().ok()?;
    Some(Ipv6Addr::from(octets).into())
}

pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// Writes over a frame; what lies beyond its end is left out.
pub(super) fn put(frame: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = frame.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// Reads a frame from the Ethernet header on.
pub(super) fn read(frame: &[u8]) -> Read {
    let Some(mut ethertype) = word(frame, 12) else { return Read::Bad("a cut link header") };
    let (mut l3, mut tags) = (14, 0);
    while tags < 2 && (ethertype == 0x8100 || ethertype == 0x88a8) {
        let Some(next) = word(frame, l3 + 2) else { return Read::Bad("a cut tag") };
        (ethertype, l3, tags) = (next, l3 + 4, tags + 1);
    }
    let found = match ethertype {
        0x0800 => read4(frame, l3),
        0x86dd => read6(frame, l3),
        _ => return Read::Foreign,
    };
    match found {
        Ok(view) => Read::Ip(View { tags, ..view }),
        Err(why) => Read::Bad(why),
    }
}

/// RFC 791.
fn read4(frame: &[u8], l3: usize) -> Result<View, &'static str> {
    let header = frame.get(l3..l3 + 20).ok_or("a cut IPv4 header")?;
    let length = usize::from(header[0] & 15) * 4;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[0] >> 4 != 4 || length < 20 || total < length || l3 + total > frame.len() {
        return Err("an IPv4 header that cannot be");
    }
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    let (source, destination) = (address(header, 12, true), address(header, 16, true));
    let (Some(source), Some(destination)) = (source, destination) else { return Err("cut") };
    let view = View {
        tags: 0,
        l3,
        l4: l3 + length,
        end: l3 + total,
        five: Five { protocol: header[9], source: (source, 0), destination: (destination, 0) },
        kind: Kind::Other,
        part: part(fragment & 0x1fff, fragment & 0x2000 != 0),
        id: u32::from(u16::from_be_bytes([header[4], header[5]])),
        ttl: header[8],
    };
    transport(frame, view)
}

const fn part(offset: u16, more: bool) -> Part {
    match (offset, more) {
        (0, false) => Part::Whole,
        (0, true) => Part::First,
        _ => Part::Later,
    }
}

/// RFC 8200: extension headers up to a fragment or a route that is not at its end.
fn read6(frame: &[u8], l3: usize) -> Result<View, &'static str> {
    let header = frame.get(l3..l3 + 40).ok_or("a cut IPv6 header")?;
    let payload = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let end = l3 + 40 + payload;
    let (source, destination) = (address(header, 8, false), address(header, 24, false));
    let (Some(source), Some(destination)) = (source, destination) else { return Err("cut") };
    let mapped = |a: IpAddr| matches!(a, IpAddr::V6(a) if a.to_ipv4_mapped().is_some());
    if header[0] >> 4 != 6 || end > frame.len() || mapped(source) || mapped(destination) {
        return Err("an IPv6 header that cannot be");
    }
    let five = Five { protocol: header[6], source: (source, 0), destination: (destination, 0) };
    let mut view = View {
        tags: 0,
        l3,
        l4: l3 + 40,
        end,
        five,
        kind: Kind::Other,
        part: Part::Whole,
        id: 0,
        ttl: header[7],
    };
    for _ in 0..8 {
        let number = view.five.protocol;
        if !is_extension(number) {
            return transport(frame, view);
        }
        let extension = frame.get(view.l4..view.l4 + 8).ok_or("a cut extension")?;
        let units = usize::from(extension[1]);
        let length = match number {
            44 => 8,
            51 => (units + 2) * 4,
            _ => (units + 1) * 8,
        };
        if view.l4 + length > end {
            return Err("a cut extension");
        }
        view.l4 += length;
        view.five.protocol = extension[0];
        if number == 44 {
            let bits = u16::from_be_bytes([extension[2], extension[3]]);
            view.part = part(bits >> 3, bits & 1 != 0);
            let id = [extension[4], extension[5], extension[6], extension[7]];
            view.id = u32::from_be_bytes(id);
            if view.part != Part::Whole {
                return transport(frame, view);
            }
        }
        if number == 43 && extension[3] != 0 {
            return Ok(view); // another hop's, whatever it carries
        }
    }
    if is_extension(view.five.protocol) {
        return Err("too many extensions");
    }
    transport(frame, view)
}

const fn is_extension(number: u8) -> bool {
    matches!(number, 0 | 43 | 44 | 51 | 60 | 135)
}

/// What stands behind the IP headers.
fn transport(frame: &[u8], mut view: View) -> Result<View, &'static str> {
    if view.part == Part::Later {
        view.kind = Kind::Later;
        return Ok(view);
    }
    let (v4, whole) = (view.five.is_v4(), view.part == Part::Whole);
    let rest = frame.get(view.l4..view.end).unwrap_or_default();
    let ports = |view: &mut View| {
        view.five.source.1 = word(rest, 0).unwrap_or(0);
        view.five.destination.1 = word(rest, 2).unwrap_or(0);
    };
    match view.five.protocol {
        TCP => {
            let header = rest.get(..20).ok_or("a cut TCP header")?;
            let length = usize::from(header[12] >> 4) * 4;
            if length < 20 || (whole && length > rest.len()) {
                return Err("a TCP header that cannot be");
            }
            // FIN 1, SYN 2, RST 4, ACK 16; what RFC 9293 knows.
            if !matches!(header[13] & 0x17, 2 | 0x12 | 4 | 0x14 | 0x10 | 0x11) {
                return Err("TCP flags that no TCP sends");
            }
            ports(&mut view);
            view.kind = Kind::Tcp(header[13]);
        }
        UDP => {
            let length =
                usize::from(word(rest.get(..8).ok_or("a cut UDP header")?, 4).unwrap_or(0));
            if length < 8 || (whole && length > rest.len()) {
                return Err("a UDP header that cannot be");
            }
            ports(&mut view);
            view.kind = Kind::Udp;
        }
        SCTP => {
            rest.get(..12).ok_or("a cut SCTP header")?;
            ports(&mut view);
            view.kind = Kind::Sctp;
        }
        1 | 58 if v4 == (view.five.protocol == 1) => {
            let header = rest.get(..8).ok_or("a cut ICMP header")?;
            let id = u16::from_be_bytes([header[4], header[5]]);
            view.kind = match (v4, header[0]) {
                (true, 8) | (false, 128) => Kind::Echo(true),
                (true, 0) | (false, 129) => Kind::Echo(false),
                (true, 3 | 11 | 12) | (false, 1..=4) => Kind::Error,
                _ => Kind::Icmp,
            };
            match view.kind {
                Kind::Echo(true) => view.five.source.1 = id,
                Kind::Echo(false) => view.five.destination.1 = id,
                _ => {}
            }
        }
        _ => {}
    }
    Ok(view)
}

impl View {
    pub(super) fn flags(&self) -> u8 {
        if let Kind::Tcp(flags) = self.kind { flags } else { 0 }
    }

    /// A SYN and no ACK.
    pub(super) fn opens(&self) -> bool {
        self.flags() & 0x12 == 2
    }

    /// Whether there are options or extension headers.
    pub(super) const fn has_options(&self) -> bool {
        self.l4 - self.l3 != if self.five.is_v4() { 20 } else { 40 }
    }

    /// Where the transport checksum is, if this packet has one that covers a pseudo-header or an echo.
    pub(super) fn checksum_at(&self) -> Option<usize> {
        match self.kind {
            Kind::Tcp(_) => Some(self.l4 + 16),
            Kind::Udp => Some(self.l4 + 6),
            Kind::Echo(_) | Kind::Error | Kind::Icmp => Some(self.l4 + 2),
            _ => None,
        }
    }
}

/// The sum of 16-bit words modulo 65535: 0 for what has a right checksum in it (RFC 1071).
pub(super) fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks(2).map(|pair| match pair {
        [a, b] => u64::from(u16::from_be_bytes([*a, *b])),
        [a] => u64::from(*a) << 8,
        _ => 0,
    });
    words.sum::<u64>() % 65_535
}

/// How wrong the IPv4 header checksum is; 0 where it is right or there is none.
pub(super) fn header_error(frame: &[u8], view: &View) -> u64 {
    if !view.five.is_v4() {
        return 0;
    }
    let length = usize::from(frame.get(view.l3).map_or(0, |byte| byte & 15)) * 4;
    sum(frame.get(view.l3..view.l3 + length).unwrap_or_default())
}

/// How wrong the transport checksum is, as far as this part of the datagram shows.
pub(super) fn transport_error(frame: &[u8], view: &View) -> u64 {
    let said = match view.kind {
        Kind::Udp => usize::from(word(frame, view.l4 + 4).unwrap_or(0)),
        _ => usize::MAX,
    };
    let end = view.end.min(view.l4.saturating_add(said));
    let segment = frame.get(view.l4..end).unwrap_or_default();
    let mut pseudo = Vec::new();
    let icmp = matches!(view.kind, Kind::Echo(_) | Kind::Error | Kind::Icmp);
    if !(icmp && view.five.is_v4()) {
        pseudo.extend(octets(view.five.source.0));
        pseudo.extend(octets(view.five.destination.0));
        pseudo.extend([0, view.five.protocol]);
        pseudo.extend((segment.len() as u16).to_be_bytes());
    }
    (sum(segment) + sum(&pseudo)) % 65_535
}

/// The checksum that makes bytes, in which it stands as zero, as wrong as this.
pub(super) fn checksum(bytes: &[u8], error: u64) -> u16 {
    let field = (65_535 + error - sum(bytes)) % 65_535;
    field as u16
}

/// Gives an IPv4 header a checksum that is as wrong as this.
pub(super) fn seal4(frame: &mut [u8], l3: usize, error: u64) {
    put(frame, l3 + 10, &[0, 0]);
    let length = usize::from(frame.get(l3).map_or(0, |byte| byte & 15)) * 4;
    let field = checksum(frame.get(l3..l3 + length).unwrap_or_default(), error);
    put(frame, l3 + 10, &field.to_be_bytes());
}
