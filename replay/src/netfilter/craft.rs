//! Packets, built and summed apart from the datapath's own code.

use std::net::{IpAddr, SocketAddr};

use twinpath_sim::frame::Frame;

use super::view::View;

/// A packet.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Who sends it.
    pub source: SocketAddr,
    /// Whom it is for.
    pub destination: SocketAddr,
    /// What it carries.
    pub body: Body,
    /// Bytes behind the transport header.
    pub payload: usize,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// Identification of the datagram.
    pub identification: u16,
    /// What stands in the checksum's place.
    pub checksum: Checksum,
    /// IPv4: words of options that say nothing. IPv6: a destination options header that says nothing.
    pub options: bool,
}

/// What a packet carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Flags, sequence number, acknowledgement.
    Tcp(u8, u32, u32),
    /// UDP.
    Udp,
    /// Verification tag, type of the chunk, initiate tag (RFC 9260, 3).
    Sctp(u32, u8, u32),
    /// An ICMP or ICMPv6 error: type, code, the word that follows, and the quoted packet.
    Error(u8, u8, u32, Vec<u8>),
}

/// What stands in a checksum's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Checksum {
    /// The right one.
    #[default]
    Right,
    /// None: zero, as UDP allows.
    Zero,
    /// Another one.
    Wrong,
}

impl Packet {
    /// One with nothing odd about it.
    pub const fn new(source: SocketAddr, destination: SocketAddr, body: Body) -> Self {
        Self {
            source,
            destination,
            body,
            payload: 0,
            ttl: 64,
            identification: 0x1234,
            checksum: Checksum::Right,
            options: false,
        }
    }

    /// The protocol number.
    const fn protocol(&self) -> u8 {
        match self.body {
            Body::Tcp(..) => 6,
            Body::Udp => 17,
            Body::Sctp(..) => 132,
            Body::Error(..) if self.source.is_ipv4() => 1,
            Body::Error(..) => 58,
        }
    }

    /// What is behind the IP header.
    fn segment(&self) -> Vec<u8> {
        let ports = [self.source.port().to_be_bytes(), self.destination.port().to_be_bytes()];
        let mut bytes = ports.concat();
        let payload = (0..self.payload).map(|i| (i as u8).wrapping_mul(11).wrapping_add(3));
        let at = match &self.body {
            Body::Tcp(flags, sequence, acknowledgement) => {
                bytes.extend(sequence.to_be_bytes());
                bytes.extend(acknowledgement.to_be_bytes());
                bytes.extend([0x50, *flags, 0x40, 0, 0, 0, 0, 0]);
                bytes.extend(payload);
                16
            }
            Body::Udp => {
                bytes.extend(u16::try_from(8 + self.payload).unwrap_or(0).to_be_bytes());
                bytes.extend([0, 0]);
                bytes.extend(payload);
                6
            }
            Body::Sctp(tag, kind, own) => {
                bytes.extend(tag.to_be_bytes());
                bytes.extend([0, 0, 0, 0, *kind, 0, 0, 20]);
                bytes.extend(own.to_be_bytes());
                bytes.extend([0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
                let checksum = match self.checksum {
                    Checksum::Right => crc32c(&bytes),
                    Checksum::Zero => 0,
                    Checksum::Wrong => crc32c(&bytes) ^ 0x5555,
                };
                bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
                return bytes;
            }
            Body::Error(kind, code, word, quote) => {
                bytes = vec![*kind, *code, 0, 0];
                bytes.extend(word.to_be_bytes());
                bytes.extend(quote);
                2
            }
        };
        let all = if self.protocol() == 1 { sum(&bytes) } else { self.with_pseudo(&bytes) };
        let right = if all == 0xffff && self.protocol() == 17 { 0xffff } else { !all };
        let checksum = match self.checksum {
            Checksum::Right => right,
            Checksum::Zero => 0,
            Checksum::Wrong => right ^ 0x0101,
        };
        bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    fn with_pseudo(&self, segment: &[u8]) -> u16 {
        let length = u32::try_from(segment.len()).unwrap_or(0).to_be_bytes();
        let parts = [
            octets(self.source.ip()),
            octets(self.destination.ip()),
            length.to_vec(),
            vec![0, 0, 0, self.protocol()],
            segment.to_vec(),
        ];
        sum(&parts.concat())
    }

    /// An IP header in front of a part of a datagram: its offset in units of 8 bytes, and whether more
    /// follows; `None` for a whole one.
    fn network(&self, part: &[u8], fragment: Option<(u16, bool)>) -> Vec<u8> {
        if self.source.is_ipv4() {
            let options: &[u8] = if self.options { &[1, 1, 1, 0] } else { &[] };
            let length = u16::try_from(20 + options.len() + part.len()).unwrap_or(0);
            let flags = fragment.map_or(0x4000, |(offset, more)| offset | u16::from(more) << 13);
            let mut header = vec![0x45 + u8::from(self.options), 0];
            header.extend(length.to_be_bytes());
            header.extend(self.identification.to_be_bytes());
            header.extend(flags.to_be_bytes());
            header.extend([self.ttl, self.protocol(), 0, 0]);
            header.extend(octets(self.source.ip()));
            header.extend(octets(self.destination.ip()));
            header.extend(options);
            let checksum = !sum(&header);
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
            return [&header, part].concat();
        }
        let (mut extensions, mut next) = (Vec::new(), self.protocol());
        if let Some((offset, more)) = fragment {
            extensions = vec![next, 0];
            extensions.extend((offset << 3 | u16::from(more)).to_be_bytes());
            extensions.extend(u32::from(self.identification).to_be_bytes());
            next = 44;
        }
        if self.options {
            extensions.splice(0..0, [next, 0, 1, 4, 0, 0, 0, 0]);
            next = 60;
        }
        let length = u16::try_from(extensions.len() + part.len()).unwrap_or(0);
        let mut header = vec![0x60, 0, 0, 0];
        header.extend(length.to_be_bytes());
        header.extend([next, self.ttl]);
        header.extend(octets(self.source.ip()));
        header.extend(octets(self.destination.ip()));
        [&header, &extensions, part].concat()
    }

    /// The frame. Its link addresses are those that the sender's device writes.
    pub fn frame(&self) -> Frame {
        self.linked(&self.network(&self.segment(), None))
    }

    /// The datagram in fragments with so many bytes each, a multiple of 8.
    pub fn fragments(&self, size: usize) -> Vec<Frame> {
        let segment = self.segment();
        let parts: Vec<&[u8]> = segment.chunks(size.max(8)).collect();
        let last = parts.len().saturating_sub(1);
        let fragment = |(index, part): (usize, &&[u8])| {
            let offset = u16::try_from(index * size / 8).unwrap_or(0);
            self.linked(&self.network(part, Some((offset, index < last))))
        };
        parts.iter().enumerate().map(fragment).collect()
    }

    fn linked(&self, packet: &[u8]) -> Frame {
        let ethertype: [u8; 2] = if self.source.is_ipv4() { [0x08, 0x00] } else { [0x86, 0xdd] };
        Frame::new([[0; 12].as_slice(), &ethertype, packet].concat())
    }
}

/// The bytes of an address.
pub fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// The ones' complement sum of bytes as 16-bit words (RFC 1071), not complemented.
pub fn sum(bytes: &[u8]) -> u16 {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let words = pairs.iter().map(|pair| u64::from(u16::from_be_bytes(*pair)));
    let odd = rest.first().map_or(0, |byte| u64::from(*byte) << 8);
    let total: u64 = words.sum::<u64>() + odd;
    // Modulo 2^16 - 1, where only nothing at all comes to 0.
    if total == 0 { 0 } else { u16::try_from((total - 1) % 0xffff + 1).unwrap_or(0xffff) }
}

/// The checksum of SCTP (RFC 9260, appendix A), which goes on the wire with its low byte first.
pub fn crc32c(bytes: &[u8]) -> u32 {
    /// The polynomial, lowest bit first.
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
        }
    }
    !crc
}

/// A packet with other ends. Checksums stay as right or wrong as they are; that of SCTP is made right.
pub fn moved(packet: &[u8], source: SocketAddr, destination: SocketAddr) -> Option<Frame> {
    let view = View::new(packet)?;
    let mut bytes = packet.to_vec();
    let v4 = source.is_ipv4();
    let put = |bytes: &mut Vec<u8>, at: usize, value: &[u8]| {
        if let Some(place) = bytes.get_mut(at..at + value.len()) {
            place.copy_from_slice(value);
        }
    };
    let addresses = [octets(source.ip()), octets(destination.ip())].concat();
    put(&mut bytes, if v4 { 12 } else { 8 }, &addresses);
    put(&mut bytes, view.l4, &source.port().to_be_bytes());
    put(&mut bytes, view.l4 + 2, &destination.port().to_be_bytes());
    // A field that comes with the sum of the rest to what it came to before.
    let mend = |bytes: &mut Vec<u8>, at: usize, wanted: u16, found: u16| {
        let field = bytes.get(at..at + 2).and_then(|field| field.first_chunk().copied());
        let field = u16::from_be_bytes(field.unwrap_or_default());
        let parts = [field.to_be_bytes(), wanted.to_be_bytes(), (!found).to_be_bytes()];
        put(bytes, at, &sum(&parts.concat()).to_be_bytes());
    };
    if v4 {
        let (before, after) = (packet.get(..view.l4)?, bytes.get(..view.l4)?.to_vec());
        mend(&mut bytes, 10, sum(before), sum(&after));
    }
    match view.protocol {
        132 if bytes.len() >= view.l4 + 12 => {
            put(&mut bytes, view.l4 + 8, &[0; 4]);
            let checksum = crc32c(bytes.get(view.l4..)?).to_le_bytes();
            put(&mut bytes, view.l4 + 8, &checksum);
        }
        _ => {
            if let (Some(wanted), Some(at)) = (view.transport_sum(), view.checksum()) {
                let found = View::new(&bytes)?.transport_sum().unwrap_or(0xffff);
                mend(&mut bytes, at, wanted, found);
            }
        }
    }
    let ethertype: [u8; 2] = if v4 { [0x08, 0x00] } else { [0x86, 0xdd] };
    Some(Frame::new([[0; 12].as_slice(), &ethertype, &bytes].concat()))
}
