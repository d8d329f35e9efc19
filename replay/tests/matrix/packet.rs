//! Packets as rows write them, and their bytes. Made and read without the core's headers, so that a mistake
//! there is not made twice.

use std::net::IpAddr;

/// What a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Proto {
    Tcp,
    Udp,
    Sctp,
    /// An ICMP echo: the asker's port is its identifier, the other one 0.
    Echo,
}

use Proto::{Echo, Sctp, Tcp, Udp};

pub(crate) const SYN: u8 = 0x02;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const SYN_ACK: u8 = 0x12;
pub(crate) const FIN_ACK: u8 = 0x11;
pub(crate) const RST: u8 = 0x04;

impl Proto {
    pub(crate) const ALL: [Self; 4] = [Tcp, Udp, Sctp, Echo];
    /// Those that services are for.
    pub(crate) const SERVED: [Self; 3] = [Tcp, Udp, Sctp];
    /// Those whose ports can change.
    pub(crate) const PORTS: [Self; 2] = [Tcp, Udp];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Tcp => "TCP",
            Udp => "UDP",
            Sctp => "SCTP",
            Echo => "ICMP",
        }
    }

    pub(crate) const fn number(self, v4: bool) -> u8 {
        match self {
            Tcp => 6,
            Udp => 17,
            Sctp => 132,
            Echo if v4 => 1,
            Echo => 58,
        }
    }

    /// The flags of a packet that opens a connection, answers it, and goes on.
    pub(crate) const fn flags(self) -> [u8; 3] {
        match self {
            Tcp => [SYN, SYN_ACK, ACK],
            _ => [0; 3],
        }
    }
}

/// Address and port.
pub(crate) type End = (IpAddr, u16);

/// A packet.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub proto: Proto,
    pub from: End,
    pub to: End,
    pub flags: u8,
    pub ttl: u8,
    pub payload: Vec<u8>,
    /// IPv4 options or IPv6 destination options that mean nothing.
    pub options: bool,
    /// An 802.1Q tag.
    pub vlan: Option<u16>,
    /// UDP: without a checksum.
    pub unsummed: bool,
    /// IPv4: may be cut on the way.
    pub may_cut: bool,
    pub id: u16,
}

impl Packet {
    pub(crate) fn new(proto: Proto, from: End, to: End, flags: u8) -> Self {
        let payload = (0..24_u8).map(|i| i.wrapping_mul(37)).collect();
        Self {
            proto,
            from,
            to,
            flags,
            ttl: 64,
            payload,
            options: false,
            vlan: None,
            unsummed: false,
            may_cut: false,
            id: 0x4321,
        }
    }

    pub(crate) fn v4(&self) -> bool {
        self.from.0.is_ipv4()
    }

    pub(crate) fn length(mut self, payload: usize) -> Self {
        self.payload = (0..payload).map(|i| (i % 251) as u8).collect();
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.frame(&self.segment(), None)
    }

    /// Transport header and payload, with their checksum.
    fn segment(&self) -> Vec<u8> {
        let mut bytes = [self.from.1.to_be_bytes(), self.to.1.to_be_bytes()].concat();
        let at = match self.proto {
            Tcp => {
                bytes.extend([0, 0, 1, 0, 0, 0, 2, 0, 0x50, self.flags, 0x20, 0, 0, 0, 0, 0]);
                16
            }
            Udp => {
                bytes.extend((8 + self.payload.len() as u16).to_be_bytes());
                bytes.extend([0, 0]);
                6
            }
            // A chunk of data, as long as it says.
            Sctp => {
                bytes.extend([0, 0, 0, 7, 0, 0, 0, 0, 0, 3]);
                bytes.extend((4 + self.payload.len() as u16).to_be_bytes());
                8
            }
            Echo => {
                let (id, ask) = match self.to.1 {
                    0 => (self.from.1, true),
                    id => (id, false),
                };
                let kind = match (self.v4(), ask) {
                    (true, true) => 8,
                    (true, false) => 0,
                    (false, true) => 128,
                    (false, false) => 129,
                };
                bytes = vec![kind, 0, 0, 0];
                bytes.extend(id.to_be_bytes());
                bytes.extend([0, 1]);
                2
            }
        };
        bytes.extend(&self.payload);
        let number = self.proto.number(self.v4());
        match self.proto {
            Sctp => {
                let sum = crc32c(&bytes);
                bytes[at..at + 4].copy_from_slice(&sum.to_le_bytes());
            }
            Udp if self.unsummed => {}
            _ => {
                let sum = transport_sum(number, self.from.0, self.to.0, &bytes);
                let sum = if sum == 0 && self.proto == Udp { 0xffff } else { sum };
                bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
            }
        }
        bytes
    }

    /// The datagram in two fragments, cut behind so many bytes of the segment.
    pub(crate) fn fragments(&self, cut: usize) -> [Vec<u8>; 2] {
        let segment = self.segment();
        assert!(cut.is_multiple_of(8) && cut < segment.len());
        let (first, rest) = segment.split_at(cut);
        [self.frame(first, Some((0, true))), self.frame(rest, Some((cut as u16, false)))]
    }

    fn frame(&self, segment: &[u8], fragment: Option<(u16, bool)>) -> Vec<u8> {
        let mut bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
        if let Some(tag) = self.vlan {
            bytes.extend([0x81, 0x00]);
            bytes.extend(tag.to_be_bytes());
        }
        let number = self.proto.number(self.v4());
        let (mut chain, mut next) = (Vec::new(), number);
        if self.v4() {
            chain.extend(if self.options { &[1; 8][..] } else { &[] });
        } else {
            if let Some((offset, more)) = fragment {
                chain.extend([next, 0]);
                chain.extend((offset | u16::from(more)).to_be_bytes());
                chain.extend(u32::from(self.id).to_be_bytes());
                next = 44;
            }
            if self.options {
                chain.splice(0..0, [next, 0, 1, 4, 0, 0, 0, 0]);
                next = 60;
            }
        }
        let flags = match fragment {
            Some((offset, more)) => (offset / 8) | (u16::from(more) << 13),
            None if self.may_cut => 0,
            None => 0x4000,
        };
        bytes.extend(ip_header(
            self.from.0,
            self.to.0,
            next,
            self.ttl,
            &chain,
            segment.len(),
            (self.id, flags),
        ));
        bytes.extend(segment);
        bytes
    }
}

/// What an ICMP error says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Complaint {
    TooBig(u16),
    PortUnreachable,
    TimeExceeded,
}

impl Complaint {
    pub(crate) const ALL: [Self; 3] =
        [Self::TooBig(1300), Self::PortUnreachable, Self::TimeExceeded];

    pub(crate) const fn code(self, v4: bool) -> (u8, u8) {
        match (self, v4) {
            (Self::TooBig(_), true) => (3, 4),
            (Self::TooBig(_), false) => (2, 0),
            (Self::PortUnreachable, true) => (3, 3),
            (Self::PortUnreachable, false) => (1, 4),
            (Self::TimeExceeded, true) => (11, 0),
            (Self::TimeExceeded, false) => (3, 0),
        }
    }

    /// The error about a packet, quoted from its IP header on.
    pub(crate) fn bytes(self, from: IpAddr, to: IpAddr, quoted: &[u8]) -> Vec<u8> {
        let v4 = from.is_ipv4();
        let (kind, code) = self.code(v4);
        let mut message = vec![kind, code, 0, 0, 0, 0];
        message.extend(if let Self::TooBig(mtu) = self { mtu } else { 0 }.to_be_bytes());
        message.extend(quoted);
        let number = Echo.number(v4);
        let sum = transport_sum(number, from, to, &message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let mut bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
        bytes.extend(ip_header(from, to, number, 64, &[], message.len(), (0, 0)));
        bytes.extend(message);
        bytes
    }
}

/// EtherType, IP header and what is in `chain` behind its fixed part.
fn ip_header(
    from: IpAddr,
    to: IpAddr,
    next: u8,
    ttl: u8,
    chain: &[u8],
    length: usize,
    (id, flags): (u16, u16),
) -> Vec<u8> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let words = 5 + chain.len() as u8 / 4;
            let mut bytes = vec![0x08, 0x00, 0x40 | words, 0];
            bytes.extend((usize::from(words) * 4 + length).to_be_bytes()[6..].iter());
            bytes.extend(id.to_be_bytes());
            bytes.extend(flags.to_be_bytes());
            bytes.extend([ttl, next, 0, 0]);
            bytes.extend(from.octets());
            bytes.extend(to.octets());
            bytes.extend(chain);
            let sum = !fold(&bytes[2..]);
            bytes[12..14].copy_from_slice(&sum.to_be_bytes());
            bytes
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let mut bytes = vec![0x86, 0xdd, 0x60, 0, 0, 0];
            bytes.extend((chain.len() + length).to_be_bytes()[6..].iter());
            bytes.extend([next, ttl]);
            bytes.extend(from.octets());
            bytes.extend(to.octets());
            bytes.extend(chain);
            bytes
        }
        _ => panic!("one family"),
    }
}

/// The sum of RFC 1071, in host order.
pub(crate) fn fold(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|w| u64::from(w[0]) << 8 | u64::from(*w.get(1).unwrap_or(&0)));
    let mut sum: u64 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The checksum of a transport, whose field is in the bytes as it stands; 0 where it is right.
pub(crate) fn transport_sum(number: u8, from: IpAddr, to: IpAddr, segment: &[u8]) -> u16 {
    let mut all = Vec::new();
    if number != 1 {
        for address in [from, to] {
            match address {
                IpAddr::V4(address) => all.extend(address.octets()),
                IpAddr::V6(address) => all.extend(address.octets()),
            }
        }
        all.extend((segment.len() as u32).to_be_bytes());
        all.extend([0, 0, 0, number]);
    }
    all.extend(segment);
    !fold(&all)
}

/// RFC 9260, appendix A.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    let byte = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 }
        })
    };
    !bytes.iter().fold(u32::MAX, byte)
}
