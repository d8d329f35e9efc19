//! The bytes of packets. Built by hand and not with the core's own headers, so that a mistake there is not
//! made twice.

use std::net::IpAddr;

use twinpath_core::checksum;

use super::{Damage, Ends, PacketSpec, Protocol, Wrap};
use crate::verify::cluster::{node_address, pod_address};
use crate::verify::services::frontend_address;

/// IPv6 extension headers in the order in which they are put in, bit 0 first.
const EXTENSIONS: [u8; 6] = [0, 60, 43, 51, 135, 60];

impl PacketSpec {
    /// The frame with these ends and this payload.
    pub(super) fn frame(&self, ends: &Ends, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x02, 0x74, 2, 0, 0, 1, 0x02, 0x74, 1, 0, 0, 1];
        for tag in 0..self.tags {
            let outer = if tag + 1 < self.tags { 0x88a8_u16 } else { 0x8100 };
            bytes.extend(outer.to_be_bytes());
            bytes.extend([0, tag + 1]);
        }
        bytes.extend(ethertype(ends));
        bytes.extend(self.tunnelled(ends, self.network(ends, &self.segment(ends, payload))));
        self.break_it(&mut bytes);
        bytes
    }

    /// An IP packet in what another node might have put around it.
    fn tunnelled(&self, ends: &Ends, packet: Vec<u8>) -> Vec<u8> {
        let (pod, tunnel) = match self.wrap {
            None | Some(Wrap::Option(..)) => return packet,
            Some(Wrap::Ipip(pod)) => (pod, None),
            Some(Wrap::Geneve(pod, service, n)) => (pod, Some((service, n))),
        };
        let family = ends.family();
        let (from, to) = (node_address(2, family), pod_address(pod, family));
        let mut outer = Self {
            family,
            ttl: 64,
            options: 0,
            fragment: None,
            wrap: None,
            protocol: Protocol::Other(if family == 4 { 4 } else { 41 }),
            ..self.clone()
        };
        let mut body = Vec::new();
        if let Some((service, n)) = tunnel {
            outer.protocol = Protocol::Udp(false);
            let (address, port) = frontend_address(service, n, family);
            let address = octets(address);
            let words = (8 + address.len() / 4 * 4) / 4;
            // Critical options present, Ethernet within, network 0; then one option.
            body.extend([words as u8, 0x40, 0x65, 0x58, 0, 0, 0, 0]);
            body.extend([0xff, 0x54, 0x81, words as u8 - 1]);
            body.extend(address);
            body.extend(port.to_be_bytes());
            body.extend([self.protocol_number(), 0]);
            body.extend([0x02, 0x74, 9, 0, 0, 1, 0x02, 0x74, 9, 0, 0, 2]);
            body.extend(ethertype(ends));
        }
        body.extend(packet);
        let ends = Ends { source: (from, self.port), destination: (to, 6081) };
        outer.network(&ends, &outer.segment(&ends, &body))
    }

    /// The IP packet with this behind its headers.
    pub(super) fn network(&self, ends: &Ends, segment: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        match (ends.source.0, ends.destination.0) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut header = vec![0_u8; 20];
                header.extend(self.options_v4());
                header[0] = 0x40 | (header.len() / 4) as u8;
                let total = (header.len() + segment.len()) as u16;
                header[2..4].copy_from_slice(&total.to_be_bytes());
                header[4..6].copy_from_slice(&self.port.to_be_bytes());
                let word = self
                    .fragment
                    .map_or(0x4000, |(offset, more)| offset & 0x1fff | u16::from(more) << 13);
                header[6..8].copy_from_slice(&word.to_be_bytes());
                header[8] = self.ttl;
                header[9] = self.protocol_number();
                header[12..16].copy_from_slice(&source.octets());
                header[16..20].copy_from_slice(&destination.octets());
                let sum = !checksum::sum(&header);
                header[10..12].copy_from_slice(&sum.to_ne_bytes());
                bytes.extend(header);
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                bytes.extend([0x60, 0, 0, 0]);
                let (first, extensions) = self.extensions();
                bytes.extend(((extensions.len() + segment.len()) as u16).to_be_bytes());
                bytes.extend([first, self.ttl]);
                bytes.extend(source.octets());
                bytes.extend(destination.octets());
                bytes.extend(extensions);
            }
            _ => {}
        }
        bytes.extend(segment);
        bytes
    }

    /// The length of what is in front of the transport header.
    pub(super) fn header_length(&self, ends: &Ends) -> usize {
        match ends.source.0 {
            IpAddr::V4(_) => 20 + self.options_v4().len(),
            IpAddr::V6(_) => 40 + self.extensions().1.len(),
        }
    }

    const fn protocol_number(&self) -> u8 {
        match self.protocol {
            Protocol::Tcp(_) => 6,
            Protocol::Udp(_) => 17,
            Protocol::Sctp => 132,
            Protocol::Icmp(_) | Protocol::Echo(_) | Protocol::Error(_) if self.family == 4 => 1,
            Protocol::Icmp(_) | Protocol::Echo(_) | Protocol::Error(_) => 58,
            Protocol::Other(number) => number,
        }
    }

    /// IPv4: that which names a frontend, and words of no operation.
    fn options_v4(&self) -> Vec<u8> {
        let mut options = Vec::new();
        if let Some(Wrap::Option(service, n)) = self.wrap {
            let (address, port) = frontend_address(service, n, 4);
            options.extend([0x9a, 8]);
            options.extend(port.to_be_bytes());
            options.extend(octets(address));
        }
        let words =
            self.options.min(10) - (options.len() / 4).min(self.options.min(10).into()) as u8;
        options.extend(std::iter::repeat_n(1, 4 * usize::from(words)));
        options
    }

    /// The number of the first header behind the fixed one, and all extension headers.
    fn extensions(&self) -> (u8, Vec<u8>) {
        let mut chain: Vec<(u8, Vec<u8>)> = Vec::new();
        if let Some(Wrap::Option(service, n)) = self.wrap {
            let (address, port) = frontend_address(service, n, 6);
            let mut header = vec![0, 2, 0x1b, 20];
            header.extend(octets(address));
            header.extend(port.to_be_bytes());
            header.extend([0, 0]);
            chain.push((60, header));
        }
        for number in
            (0..).zip(EXTENSIONS).filter(|(i, _)| self.options >> i & 1 == 1).map(|(_, n)| n)
        {
            chain.push((
                number,
                match number {
                    51 => vec![
                        0, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
                    ],
                    // Routing: type 0, with segments left where the high bit of the options says so.
                    43 => vec![0, 0, 0, self.options >> 7, 0, 0, 0, 0],
                    _ => vec![0, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                },
            ));
        }
        if let Some((offset, more)) = self.fragment {
            let mut header = vec![0, 0];
            header.extend((offset << 3 | u16::from(more)).to_be_bytes());
            header.extend(u32::from(self.port).to_be_bytes());
            chain.push((44, header));
        }
        let mut next = self.protocol_number();
        let mut bytes = Vec::new();
        for (number, mut header) in chain.into_iter().rev() {
            header[0] = next;
            next = number;
            header.extend(bytes);
            bytes = header;
        }
        (next, bytes)
    }

    /// The transport header and the payload, with the checksum where it is this fragment's.
    pub(super) fn segment(&self, ends: &Ends, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let ports = [ends.source.1.to_be_bytes(), ends.destination.1.to_be_bytes()].concat();
        let v4 = self.family == 4;
        match self.protocol {
            Protocol::Tcp(flags) => {
                bytes.extend(ports);
                bytes.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 4, 0, 0, 0, 0, 0]);
            }
            Protocol::Udp(_) => {
                bytes.extend(ports);
                bytes.extend((8 + payload.len() as u16).to_be_bytes());
                bytes.extend([0, 0]);
            }
            Protocol::Sctp => {
                bytes.extend(ports);
                bytes.extend([0, 0, 0, 7, 1, 2, 3, 4, 0, 3, 0, 4]);
            }
            Protocol::Echo(asks) => {
                let kind = match (asks, v4) {
                    (true, true) => 8,
                    (false, true) => 0,
                    (true, false) => 128,
                    (false, false) => 129,
                };
                let id = if asks { ends.source.1 } else { ends.destination.1 };
                bytes.extend([kind, 0, 0, 0]);
                bytes.extend(id.to_be_bytes());
                bytes.extend([0, 1]);
            }
            Protocol::Error(kind) => bytes.extend(match (kind % 4, v4) {
                (0, true) => [3, 3, 0, 0, 0, 0, 0, 0],
                (1, true) => [11, 0, 0, 0, 0, 0, 0, 0],
                (2, true) => [3, 4, 0, 0, 0, 0, 5, 0],
                (_, true) => [12, 0, 0, 0, 20, 0, 0, 0],
                (0, false) => [1, 4, 0, 0, 0, 0, 0, 0],
                (1, false) => [3, 0, 0, 0, 0, 0, 0, 0],
                (2, false) => [2, 0, 0, 0, 0, 0, 5, 0],
                (_, false) => [4, 0, 0, 0, 0, 0, 0, 40],
            }),
            Protocol::Icmp(kind) => bytes.extend([kind, 0, 0, 0, 0, 1, 0, 1]),
            Protocol::Other(_) => {}
        }
        bytes.extend(payload);
        if let Some((0, _)) | None = self.fragment {
            self.fill_checksum(&mut bytes, ends);
        }
        bytes
    }

    fn fill_checksum(&self, segment: &mut [u8], ends: &Ends) {
        let (place, is_icmp) = match self.protocol {
            Protocol::Tcp(_) => (16, false),
            Protocol::Udp(true) => (6, false),
            Protocol::Icmp(_) | Protocol::Echo(_) | Protocol::Error(_) => (2, true),
            Protocol::Udp(false) | Protocol::Sctp | Protocol::Other(_) => return,
        };
        let mut sums = vec![checksum::sum(segment)];
        if !(is_icmp && self.family == 4) {
            for address in [ends.source.0, ends.destination.0] {
                sums.push(checksum::sum(&octets(address)));
            }
            sums.push(u16::from(self.protocol_number()).to_be());
            sums.push((segment.len() as u16).to_be());
        }
        let bytes: Vec<u8> = sums.iter().flat_map(|sum| sum.to_ne_bytes()).collect();
        let mut field = !checksum::sum(&bytes);
        if field == 0 && matches!(self.protocol, Protocol::Udp(_)) {
            field = 0xffff;
        }
        segment[place..place + 2].copy_from_slice(&field.to_ne_bytes());
    }

    fn break_it(&self, bytes: &mut Vec<u8>) {
        for damage in &self.damage {
            match *damage {
                Damage::Cut(length) => bytes.truncate(usize::from(length)),
                Damage::Byte(at, to) => {
                    let length = bytes.len().max(1);
                    if let Some(byte) = bytes.get_mut(usize::from(at) % length) {
                        *byte = to;
                    }
                }
                Damage::Padding(count) => {
                    bytes.extend(std::iter::repeat_n(0xee, usize::from(count)));
                }
            }
        }
    }
}

const fn ethertype(ends: &Ends) -> [u8; 2] {
    if ends.source.0.is_ipv4() { [0x08, 0x00] } else { [0x86, 0xdd] }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}
