//! Packets as tests write them, and their bytes. Headers and checksums are etherparse's, so that a mistake of
//! the core is not made twice; only what etherparse has no words for is spelled out here.

use std::net::IpAddr;

use etherparse::checksum::Sum16BitWords;
use etherparse::{
    IcmpEchoHeader, Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpFragOffset, IpNumber,
    Ipv4Header, Ipv4Options, Ipv6FlowLabel, Ipv6Header, TcpHeader, UdpHeader,
};

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

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const SYN_ACK: u8 = SYN | ACK;
pub(crate) const FIN_ACK: u8 = FIN | ACK;
pub(crate) const RST_ACK: u8 = RST | ACK;

impl Proto {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Tcp => "TCP",
            Udp => "UDP",
            Sctp => "SCTP",
            Echo => "ICMP",
        }
    }

    /// The number of IANA.
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

/// What stands in the checksum field of the transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sum {
    /// What belongs there.
    Right,
    /// Zero: in UDP, that there is none.
    Zero,
    /// What belongs there, and this added in one's complement.
    Off(u16),
}

/// Something that has an IP header in front.
pub(crate) trait Ip {
    /// The bytes from the IP header on, with this time to live.
    fn ip(&self, ttl: u8) -> Vec<u8>;

    /// The frame as its sender makes it.
    fn frame(&self) -> Vec<u8> {
        frame(&self.ip(64))
    }
}

impl Ip for Vec<u8> {
    /// Bytes as they are, with another time to live and the header checksum that goes with it.
    fn ip(&self, ttl: u8) -> Vec<u8> {
        let mut bytes = self.clone();
        if bytes[0] >> 4 == 4 {
            bytes[8] = ttl;
            let mut header = Ipv4Header::from_slice(&bytes).expect("a header").0;
            header.header_checksum = header.calc_header_checksum();
            bytes[10..12].copy_from_slice(&header.header_checksum.to_be_bytes());
        } else {
            bytes[7] = ttl;
        }
        bytes
    }
}

/// An Ethernet frame around an IP packet. Link addresses are the world's to write.
pub(crate) fn frame(ip: &[u8]) -> Vec<u8> {
    let kind = if ip[0] >> 4 == 4 { [0x08, 0x00] } else { [0x86, 0xdd] };
    [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1], &kind[..], ip].concat()
}

/// A packet.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub proto: Proto,
    pub from: End,
    pub to: End,
    pub flags: u8,
    pub sequence: u32,
    pub payload: Vec<u8>,
    pub id: u16,
    /// IPv4: may be cut on the way.
    pub may_cut: bool,
    /// IPv4 options, a multiple of four bytes.
    pub options: Vec<u8>,
    /// IPv6 extension headers: their numbers, and their bytes but for the first.
    pub extensions: Vec<(u8, Vec<u8>)>,
    pub sum: Sum,
}

impl Packet {
    pub(crate) fn new(proto: Proto, from: End, to: End, flags: u8) -> Self {
        Self {
            proto,
            from,
            to,
            flags,
            sequence: 0x0102_0304,
            payload: (0..24_u8).map(|i| i.wrapping_mul(37)).collect(),
            id: 0x4321,
            may_cut: false,
            options: Vec::new(),
            extensions: Vec::new(),
            sum: Sum::Right,
        }
    }

    pub(crate) const fn v4(&self) -> bool {
        self.from.0.is_ipv4()
    }

    pub(crate) fn length(mut self, payload: usize) -> Self {
        self.payload = (0..payload).map(|i| (i % 251) as u8).collect();
        self
    }

    pub(crate) fn with(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    /// The same with other ends.
    pub(crate) fn between(&self, from: End, to: End) -> Self {
        Self { from, to, ..self.clone() }
    }

    /// Transport header and payload, with their checksum.
    pub(crate) fn segment(&self) -> Vec<u8> {
        let (mut bytes, at) = match self.proto {
            Tcp => {
                let mut header = TcpHeader::new(self.from.1, self.to.1, self.sequence, 0x2000);
                header.acknowledgment_number = if self.flags & ACK == 0 { 0 } else { 0x0506_0708 };
                header.fin = self.flags & FIN != 0;
                header.syn = self.flags & SYN != 0;
                header.rst = self.flags & RST != 0;
                header.ack = self.flags & ACK != 0;
                let sum = match (self.from.0, self.to.0) {
                    (IpAddr::V4(from), IpAddr::V4(to)) => {
                        header.calc_checksum_ipv4_raw(from.octets(), to.octets(), &self.payload)
                    }
                    (IpAddr::V6(from), IpAddr::V6(to)) => {
                        header.calc_checksum_ipv6_raw(from.octets(), to.octets(), &self.payload)
                    }
                    _ => panic!("one family"),
                };
                header.checksum = sum.expect("a length");
                (header.to_bytes().to_vec(), 16)
            }
            Udp => {
                let length = (UdpHeader::LEN + self.payload.len()) as u16;
                let (source_port, destination_port) = (self.from.1, self.to.1);
                let mut header = UdpHeader { source_port, destination_port, length, checksum: 0 };
                let sum = match (self.from.0, self.to.0) {
                    (IpAddr::V4(from), IpAddr::V4(to)) => {
                        header.calc_checksum_ipv4_raw(from.octets(), to.octets(), &self.payload)
                    }
                    (IpAddr::V6(from), IpAddr::V6(to)) => {
                        header.calc_checksum_ipv6_raw(from.octets(), to.octets(), &self.payload)
                    }
                    _ => panic!("one family"),
                };
                header.checksum = sum.expect("a length");
                (header.to_bytes().to_vec(), 6)
            }
            Sctp => {
                // A chunk of data, as long as it says.
                let mut bytes = [self.from.1.to_be_bytes(), self.to.1.to_be_bytes()].concat();
                bytes.extend([0, 0, 0, 7, 0, 0, 0, 0, 0, 3]);
                bytes.extend((4 + self.payload.len() as u16).to_be_bytes());
                let sum = crc32c(&[&bytes[..], &self.payload].concat());
                bytes[8..12].copy_from_slice(&sum.to_le_bytes());
                (bytes, 8)
            }
            Echo => {
                let (id, asks) =
                    if self.to.1 == 0 { (self.from.1, true) } else { (self.to.1, false) };
                let echo = IcmpEchoHeader { id, seq: 1 };
                let bytes = match (self.from.0, self.to.0) {
                    (IpAddr::V4(_), IpAddr::V4(_)) => {
                        let kind = if asks {
                            Icmpv4Type::EchoRequest(echo)
                        } else {
                            Icmpv4Type::EchoReply(echo)
                        };
                        Icmpv4Header::with_checksum(kind, &self.payload).to_bytes().to_vec()
                    }
                    (IpAddr::V6(from), IpAddr::V6(to)) => {
                        let kind = if asks {
                            Icmpv6Type::EchoRequest(echo)
                        } else {
                            Icmpv6Type::EchoReply(echo)
                        };
                        let header = Icmpv6Header::with_checksum(
                            kind,
                            from.octets(),
                            to.octets(),
                            &self.payload,
                        );
                        header.expect("a length").to_bytes().to_vec()
                    }
                    _ => panic!("one family"),
                };
                (bytes, 2)
            }
        };
        let right = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let field = match self.sum {
            Sum::Right => right,
            Sum::Zero => 0,
            Sum::Off(by) => plus(right, by),
        };
        bytes[at..at + 2].copy_from_slice(&field.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }

    /// The datagram in two fragments, cut behind so many bytes of the segment, from the IP header on.
    pub(crate) fn fragments(&self, cut: usize) -> [Vec<u8>; 2] {
        let segment = self.segment();
        assert!(cut.is_multiple_of(8) && cut < segment.len());
        let (first, rest) = segment.split_at(cut);
        [self.piece(first, Some((0, true)), 64), self.piece(rest, Some((cut, false)), 64)]
    }

    /// A part of a segment behind an IP header.
    pub(crate) fn piece(
        &self,
        segment: &[u8],
        fragment: Option<(usize, bool)>,
        ttl: u8,
    ) -> Vec<u8> {
        let number = self.proto.number(self.v4());
        let place = fragment.unwrap_or((0, false));
        if let (IpAddr::V4(from), IpAddr::V4(to)) = (self.from.0, self.to.0) {
            let options = Ipv4Options::try_from(&self.options[..]).expect("options");
            let mut header = Ipv4Header::new(
                (options.len() + segment.len()) as u16,
                ttl,
                IpNumber(number),
                from.octets(),
                to.octets(),
            )
            .expect("a length");
            header.options = options;
            header.total_len = (20 + self.options.len() + segment.len()) as u16;
            header.identification = self.id;
            header.dont_fragment = fragment.is_none() && !self.may_cut;
            header.fragment_offset =
                IpFragOffset::try_new((place.0 / 8) as u16).expect("an offset");
            header.more_fragments = place.1;
            header.header_checksum = header.calc_header_checksum();
            return [&header.to_bytes()[..], segment].concat();
        }
        let (IpAddr::V6(from), IpAddr::V6(to)) = (self.from.0, self.to.0) else {
            panic!("one family")
        };
        let mut chain = self.extensions.clone();
        if fragment.is_some() {
            let mut body = vec![0];
            body.extend((place.0 as u16 | u16::from(place.1)).to_be_bytes());
            body.extend(u32::from(self.id).to_be_bytes());
            chain.push((44, body));
        }
        let next = |index: usize| chain.get(index).map_or(number, |(number, _)| *number);
        let mut body = Vec::new();
        for (index, (_, bytes)) in chain.iter().enumerate() {
            body.push(next(index + 1));
            body.extend(bytes);
        }
        body.extend(segment);
        let header = Ipv6Header {
            traffic_class: 0,
            flow_label: Ipv6FlowLabel::ZERO,
            payload_length: body.len() as u16,
            next_header: IpNumber(next(0)),
            hop_limit: ttl,
            source: from.octets(),
            destination: to.octets(),
        };
        [&header.to_bytes()[..], &body].concat()
    }
}

impl Ip for Packet {
    fn ip(&self, ttl: u8) -> Vec<u8> {
        self.piece(&self.segment(), None, ttl)
    }
}

/// An ICMP message that is no echo.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub from: IpAddr,
    pub to: IpAddr,
    pub kind: u8,
    pub code: u8,
    pub rest: [u8; 4],
    pub body: Vec<u8>,
    /// Added to its checksum.
    pub off: u16,
}

/// Type and code of errors: in IPv4, in IPv6.
pub(crate) const TOO_BIG: [(u8, u8); 2] = [(3, 4), (2, 0)];
pub(crate) const PORT: [(u8, u8); 2] = [(3, 3), (1, 4)];
pub(crate) const TIME: [(u8, u8); 2] = [(11, 0), (3, 0)];

impl Message {
    /// An error of this kind about what is quoted from its IP header on.
    pub(crate) fn error(kind: [(u8, u8); 2], from: IpAddr, to: IpAddr, quoted: &[u8]) -> Self {
        let (type_, code) = kind[usize::from(!from.is_ipv4())];
        let rest = if kind == TOO_BIG { [0, 0, 5, 0x14] } else { [0; 4] };
        Self { from, to, kind: type_, code, rest, body: quoted.to_vec(), off: 0 }
    }
}

impl Ip for Message {
    fn ip(&self, ttl: u8) -> Vec<u8> {
        let (type_u8, code_u8, bytes5to8) = (self.kind, self.code, self.rest);
        let mut message = match (self.from, self.to) {
            (IpAddr::V4(_), IpAddr::V4(_)) => {
                let kind = Icmpv4Type::Unknown { type_u8, code_u8, bytes5to8 };
                Icmpv4Header::with_checksum(kind, &self.body).to_bytes().to_vec()
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let kind = Icmpv6Type::Unknown { type_u8, code_u8, bytes5to8 };
                let header =
                    Icmpv6Header::with_checksum(kind, from.octets(), to.octets(), &self.body);
                header.expect("a length").to_bytes().to_vec()
            }
            _ => panic!("one family"),
        };
        let right = u16::from_be_bytes([message[2], message[3]]);
        message[2..4].copy_from_slice(&plus(right, self.off).to_be_bytes());
        message.extend(&self.body);
        let mut packet = Packet::new(Echo, (self.from, 0), (self.to, 0), 0);
        packet.id = 0;
        packet.may_cut = true;
        packet.piece(&message, None, ttl)
    }
}

/// One's complement addition.
pub(crate) const fn plus(a: u16, b: u16) -> u16 {
    match a.overflowing_add(b) {
        (sum, false) => sum,
        (sum, true) => sum + 1,
    }
}

/// What belongs into the checksum field of a segment in which it is zero.
pub(crate) fn full_sum(number: u8, from: IpAddr, to: IpAddr, segment: &[u8]) -> u16 {
    let mut sum = Sum16BitWords::new();
    if number != 1 {
        for address in [from, to] {
            sum = match address {
                IpAddr::V4(address) => sum.add_4bytes(address.octets()),
                IpAddr::V6(address) => sum.add_16bytes(address.octets()),
            };
        }
        sum = sum.add_4bytes((segment.len() as u32).to_be_bytes()).add_2bytes([0, number]);
    }
    sum.add_slice(segment).ones_complement().to_be()
}

/// RFC 9260, appendix A.
fn crc32c(bytes: &[u8]) -> u32 {
    let byte = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 }
        })
    };
    !bytes.iter().fold(u32::MAX, byte)
}
