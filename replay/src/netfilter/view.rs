//! Packets as they are compared: decoded apart from the datapath's own code, with what was free to choose
//! replaced, and checksums as how far they are from right.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::craft::{crc32c, octets, sum};

/// An IP packet, taken apart. It may be cut off anywhere behind its IP header, as quoted ones are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Its source; port 0 where it has none.
    pub source: SocketAddr,
    /// Its destination; port 0 where it has none.
    pub destination: SocketAddr,
    /// The number of its transport protocol.
    pub protocol: u8,
    /// Where the transport header is, from the IP header on.
    pub l4: usize,
    /// Whether the transport header is here: not so in later fragments.
    pub is_first: bool,
    /// Identification, offset in bytes and whether more follows, of fragments.
    pub fragment: Option<(u32, u16, bool)>,
    /// The whole packet.
    pub bytes: Vec<u8>,
}

impl View {
    /// Takes a packet apart; `None` where it is no IP packet.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        match bytes.first()? >> 4 {
            4 => Self::v4(bytes),
            6 => Self::v6(bytes),
            _ => None,
        }
    }

    fn v4(bytes: &[u8]) -> Option<Self> {
        let header: &[u8; 20] = bytes.first_chunk()?;
        let word = u16::from_be_bytes([header[6], header[7]]);
        let (offset, more) = ((word & 0x1fff) * 8, word & 0x2000 != 0);
        let identification = u32::from(u16::from_be_bytes([header[4], header[5]]));
        let fragment = (more || offset > 0).then_some((identification, offset, more));
        let address = |at: usize| -> Option<IpAddr> {
            Some(Ipv4Addr::from(*header.get(at..at + 4)?.first_chunk::<4>()?).into())
        };
        let l4 = usize::from(header[0] & 15) * 4;
        Self::with(bytes, address(12)?, address(16)?, header[9], l4, fragment)
    }

    fn v6(bytes: &[u8]) -> Option<Self> {
        let header: &[u8; 40] = bytes.first_chunk()?;
        let address = |at: usize| -> Option<IpAddr> {
            Some(Ipv6Addr::from(*header.get(at..at + 16)?.first_chunk::<16>()?).into())
        };
        let (mut next, mut at, mut fragment) = (header[6], 40, None);
        while let 0 | 43 | 44 | 60 = next {
            let Some(extension) = bytes.get(at..at + 8) else { break };
            if next == 44 {
                let word = u16::from_be_bytes([extension[2], extension[3]]);
                let identification = extension.get(4..8)?.first_chunk()?;
                let identification = u32::from_be_bytes(*identification);
                fragment = Some((identification, word & 0xfff8, word & 1 != 0));
                at += 8;
            } else {
                at += (usize::from(extension[1]) + 1) * 8;
            }
            next = extension[0];
            if fragment.is_some_and(|(_, offset, _)| offset > 0) {
                break;
            }
        }
        Self::with(bytes, address(8)?, address(24)?, next, at, fragment)
    }

    fn with(
        bytes: &[u8],
        source: IpAddr,
        destination: IpAddr,
        protocol: u8,
        l4: usize,
        fragment: Option<(u32, u16, bool)>,
    ) -> Option<Self> {
        let is_first = fragment.is_none_or(|(_, offset, _)| offset == 0);
        let has_ports = is_first && matches!(protocol, 6 | 17 | 132);
        let port = |at: usize| {
            let word = bytes.get(l4 + at..l4 + at + 2).filter(|_| has_ports)?;
            Some(u16::from_be_bytes(*word.first_chunk()?))
        };
        Some(Self {
            source: SocketAddr::new(source, port(0).unwrap_or(0)),
            destination: SocketAddr::new(destination, port(2).unwrap_or(0)),
            protocol,
            l4,
            is_first,
            fragment,
            bytes: bytes.to_vec(),
        })
    }

    /// The flags of TCP.
    pub fn flags(&self) -> Option<u8> {
        let is_tcp = self.protocol == 6 && self.is_first;
        self.bytes.get(self.l4 + 13).copied().filter(|_| is_tcp)
    }

    /// How long the packet is by its header.
    pub fn said(&self) -> Option<usize> {
        let at = if self.source.is_ipv4() { 2 } else { 4 };
        let word = u16::from_be_bytes(*self.bytes.get(at..at + 2)?.first_chunk()?);
        Some(usize::from(word) + if self.source.is_ipv4() { 0 } else { 40 })
    }

    /// Of an ICMP error, type, code and the quoted packet's bytes.
    pub fn quote(&self) -> Option<(u8, u8, &[u8])> {
        let (kind, code) = (*self.bytes.get(self.l4)?, *self.bytes.get(self.l4 + 1)?);
        let is_error = match self.protocol {
            1 => matches!(kind, 3 | 4 | 5 | 11 | 12),
            58 => kind < 128,
            _ => false,
        };
        let quoted = self.bytes.get(self.l4 + 8..)?;
        (is_error && self.is_first).then_some((kind, code, quoted))
    }

    /// Where the transport checksum is, if it is here.
    pub(super) fn checksum(&self) -> Option<usize> {
        let at = match self.protocol {
            6 => 16,
            17 => 6,
            1 | 58 => 2,
            132 => 8,
            _ => return None,
        };
        (self.is_first && self.bytes.len() >= self.l4 + at + 2).then_some(self.l4 + at)
    }

    /// What the transport checksum, over what is here of the packet, comes to: 0xffff where it is right
    /// and all is here, and otherwise how far it is from that; `None` without one.
    pub(super) fn transport_sum(&self) -> Option<u16> {
        let field = self.checksum()?;
        let all = self.bytes.get(self.l4..).unwrap_or_default();
        if self.protocol == 132 {
            let mut bytes = all.to_vec();
            let found = all.get(8..12)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))?;
            bytes.get_mut(8..12)?.fill(0);
            // It has no distance, but ports are under it, and addresses are not.
            return Some(if crc32c(&bytes) == found { 0xffff } else { 0 });
        }
        if self.protocol == 17 && self.bytes.get(field..field + 2) == Some(&[0, 0]) {
            return None;
        }
        if self.protocol == 1 {
            return Some(sum(all));
        }
        let mut bytes = [octets(self.source.ip()), octets(self.destination.ip())].concat();
        // The length of the whole datagram is the same on both sides, so that of this will do.
        bytes.extend(u32::try_from(all.len()).unwrap_or(0).to_be_bytes());
        bytes.extend([0, 0, 0, self.protocol]);
        bytes.extend(all);
        Some(sum(&bytes))
    }

    /// Whether its checksums, those of them that are here and whole, are right.
    pub fn is_right(&self) -> bool {
        let header = self.bytes.get(..self.header()).unwrap_or_default();
        let header = !self.source.is_ipv4() || sum(header) == 0xffff;
        let transport =
            self.fragment.is_some() || self.transport_sum().is_none_or(|sum| sum == 0xffff);
        header && transport
    }

    const fn header(&self) -> usize {
        if self.source.is_ipv4() { self.l4 } else { 40 }
    }

    /// What is compared: all bytes, with addresses and ports replaced, hops and checksums left out; and the hops
    /// and the checksums' distances from right, those of a quoted packet included.
    pub fn normal(&self, names: &Names) -> (Vec<u8>, Vec<Option<u16>>) {
        let mut sums = Vec::new();
        let mut bytes = self.bytes.clone();
        let (source, destination) = (names.of(self.source), names.of(self.destination));
        let (addresses, ttl) = if self.source.is_ipv4() { (12, 8) } else { (8, 7) };
        let mut put = |at: usize, value: &[u8]| {
            if let Some(place) = bytes.get_mut(at..at + value.len()) {
                place.copy_from_slice(value);
            }
        };
        let pair = [octets(source.ip()), octets(destination.ip())].concat();
        put(addresses, &pair);
        sums.push(self.bytes.get(ttl).map(|ttl| u16::from(*ttl)));
        put(ttl, &[0]);
        if let (false, Some(_)) = (self.source.is_ipv4(), self.fragment) {
            put(self.l4.saturating_sub(4), &[0; 4]);
        }
        if self.source.is_ipv4() {
            sums.push(Some(sum(self.bytes.get(..self.l4).unwrap_or_default())));
            put(10, &[0, 0]);
        }
        if self.source.port() != 0 || self.destination.port() != 0 {
            put(self.l4, &source.port().to_be_bytes());
            put(self.l4 + 2, &destination.port().to_be_bytes());
        }
        sums.push(self.transport_sum());
        if let Some(at) = self.checksum() {
            put(at, if self.protocol == 132 { &[0; 4] } else { &[0; 2] });
        }
        if let Some((_, _, quoted)) = self.quote()
            && let Some(inner) = Self::new(quoted)
        {
            let (inside, more) = inner.normal(names);
            put(self.l4 + 8, &inside);
            sums.extend(more);
        }
        (bytes, sums)
    }

    /// For people.
    pub fn text(&self) -> String {
        let number = self.protocol.to_string();
        let name = match self.protocol {
            6 => "tcp",
            17 => "udp",
            132 => "sctp",
            1 => "icmp",
            58 => "icmpv6",
            _ => &number,
        };
        let (source, destination) = (self.source, self.destination);
        let ttl = self.bytes.get(if source.is_ipv4() { 8 } else { 7 }).copied().unwrap_or(0);
        let mut text = format!("{name} {source} > {destination} ttl {ttl}");
        if self.protocol == 6
            && let Some(flags) = self.bytes.get(self.l4 + 13)
        {
            text += &format!(" flags {flags:#04x}");
        }
        if let Some((id, offset, more)) = self.fragment {
            text +=
                &format!(" fragment {id:#x} at {offset}{}", if more { " and more" } else { "" });
        }
        text += &format!(" len {}", self.bytes.len());
        if !self.is_right() {
            text += " WRONG CHECKSUM";
        }
        if let Some((kind, code, quoted)) = self.quote() {
            let inner = Self::new(quoted).map_or("nothing".to_owned(), |inner| inner.text());
            text += &format!(" type {kind} code {code} about [{inner}]");
        }
        text
    }
}

/// What one world calls what the other calls otherwise, for one connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Pairs: as netfilter has it, as twinpath has it.
    pub pairs: Vec<(SocketAddr, SocketAddr)>,
}

impl Names {
    /// Whether both worlds have the same names.
    pub fn is_identity(&self) -> bool {
        self.pairs.iter().all(|(a, b)| a == b)
    }

    /// The name in twinpath's world. Where there is no port the address decides.
    fn of(&self, end: SocketAddr) -> SocketAddr {
        let exact = self.pairs.iter().find(|(a, _)| *a == end);
        if let Some((_, there)) = exact {
            return *there;
        }
        let address = self.pairs.iter().find(|(a, _)| end.port() == 0 && a.ip() == end.ip());
        address.map_or(end, |(_, there)| SocketAddr::new(there.ip(), end.port()))
    }
}
