//! Packets as a scenario describes them, and their bytes.
//!
//! Built by hand and not with the core's own headers, so that a mistake there is not made twice.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use twinpath_core::checksum;

use super::cluster::{pod_address, service_address};

/// A packet: who sends what to whom, and what is odd about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacketSpec {
    /// 4 or 6.
    pub family: u8,
    /// The sending pod.
    pub from: u8,
    /// Where it goes.
    pub to: Target,
    /// What it carries.
    pub protocol: Protocol,
    /// The sender's port.
    pub port: u16,
    /// Length of the payload in bytes.
    pub payload: u16,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// 802.1Q tags.
    #[serde(default)]
    pub tags: u8,
    /// IPv4: option words. IPv6: the protocol numbers of extension headers, one bit each (see
    /// `EXTENSIONS`).
    #[serde(default)]
    pub options: u8,
    /// The fragment offset in units of 8 bytes, and whether more follow.
    #[serde(default)]
    pub fragment: Option<(u16, bool)>,
    /// What is broken about the bytes.
    #[serde(default)]
    pub damage: Vec<Damage>,
}

/// The destination of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// A service port.
    Service(u8),
    /// The address of a service, and this port.
    ServiceAddress(u8, u16),
    /// A pod, and this port.
    Pod(u8, u16),
    /// The other end of an entry of the conntrack table: the packet that the entry is for, whatever
    /// `from`, `port` and `family` say.
    Entry(u16),
    /// Somewhere outside the cluster.
    Outside,
    /// A group.
    Multicast,
}

/// The transport of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// TCP with these flags.
    Tcp(u8),
    /// UDP, with or without a checksum.
    Udp(bool),
    /// ICMP or ICMPv6 of this type.
    Icmp(u8),
    /// Another protocol.
    Other(u8),
}

/// A way to break a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Damage {
    /// Cut to this length.
    Cut(u16),
    /// Another byte at this offset.
    Byte(u16, u8),
    /// Bytes appended behind the packet.
    Padding(u8),
}

/// IPv6 extension headers in the order in which they are put in, bit 0 first.
const EXTENSIONS: [u8; 6] = [0, 60, 43, 51, 135, 60];

/// Both ends, as they stand in the packet.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// Source address and port.
    pub source: (IpAddr, u16),
    /// Destination address and port.
    pub destination: (IpAddr, u16),
}

impl PacketSpec {
    /// The ends, where they do not depend on the conntrack table.
    pub fn ends(&self) -> Option<Ends> {
        let destination = match self.to {
            Target::Service(service) => service_address(service, self.family),
            Target::ServiceAddress(service, port) => {
                (service_address(service, self.family).0, port)
            }
            Target::Pod(pod, port) => (pod_address(pod, self.family), port),
            Target::Entry(_) => return None,
            Target::Outside if self.family == 4 => ([198, 51, 100, 7].into(), 443),
            Target::Outside => ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 7].into(), 443),
            Target::Multicast if self.family == 4 => ([224, 0, 0, 251].into(), 5353),
            Target::Multicast => ([0xff02, 0, 0, 0, 0, 0, 0, 0xfb].into(), 5353),
        };
        Some(Ends { source: (pod_address(self.from, self.family), self.port), destination })
    }

    /// The bytes of the packet with these ends.
    pub fn bytes(&self, ends: &Ends) -> Vec<u8> {
        let mut bytes = vec![0x02, 0x74, 2, 0, 0, 1, 0x02, 0x74, 1, 0, 0, 1];
        for tag in 0..self.tags {
            let outer = if tag + 1 < self.tags { 0x88a8_u16 } else { 0x8100 };
            bytes.extend(outer.to_be_bytes());
            bytes.extend([0, tag + 1]);
        }
        let mut segment = self.segment(ends);
        if let Some((0, _)) | None = self.fragment {
            self.fill_checksum(&mut segment, ends);
        }
        match (ends.source.0, ends.destination.0) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                bytes.extend([0x08, 0x00]);
                let options = usize::from(self.options.min(10)) * 4;
                let mut header = vec![0_u8; 20 + options];
                header[0] = 0x40 | (5 + self.options.min(10));
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
                header[20..].fill(1); // no operation
                let sum = !checksum::sum(&header);
                header[10..12].copy_from_slice(&sum.to_ne_bytes());
                bytes.extend(header);
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
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
        self.break_it(&mut bytes);
        bytes
    }

    fn protocol_number(&self) -> u8 {
        match self.protocol {
            Protocol::Tcp(_) => 6,
            Protocol::Udp(_) => 17,
            Protocol::Icmp(_) if self.family == 4 => 1,
            Protocol::Icmp(_) => 58,
            Protocol::Other(number) => number,
        }
    }

    /// The first header behind the fixed one, and all extension headers.
    fn extensions(&self) -> (u8, Vec<u8>) {
        let mut chain: Vec<u8> = EXTENSIONS
            .iter()
            .enumerate()
            .filter(|(i, _)| self.options >> i & 1 == 1)
            .map(|(_, n)| *n)
            .collect();
        if self.fragment.is_some() {
            chain.push(44);
        }
        let nexts = chain.iter().skip(1).copied().chain([self.protocol_number()]);
        let mut bytes = Vec::new();
        for (header, next) in chain.iter().zip(nexts) {
            match header {
                44 => {
                    let (offset, more) = self.fragment.unwrap_or((0, false));
                    bytes.extend([next, 0]);
                    bytes.extend((offset << 3 | u16::from(more)).to_be_bytes());
                    bytes.extend(u32::from(self.port).to_be_bytes());
                }
                51 => bytes.extend([
                    next, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
                ]),
                // Routing: type 0, with segments left where the high bit of the options says so.
                43 => bytes.extend([next, 0, 0, self.options >> 7, 0, 0, 0, 0]),
                _ => bytes.extend([next, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            }
        }
        (chain.first().copied().unwrap_or(self.protocol_number()), bytes)
    }

    /// The transport header and the payload, without a checksum.
    fn segment(&self, ends: &Ends) -> Vec<u8> {
        let mut bytes = Vec::new();
        let ports = [ends.source.1.to_be_bytes(), ends.destination.1.to_be_bytes()].concat();
        let payload = (0..self.payload).map(|i| (i as u8).wrapping_mul(7));
        match self.protocol {
            Protocol::Tcp(flags) => {
                bytes.extend(ports);
                bytes.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 4, 0, 0, 0, 0, 0]);
            }
            Protocol::Udp(_) => {
                bytes.extend(ports);
                bytes.extend((8 + self.payload).to_be_bytes());
                bytes.extend([0, 0]);
            }
            Protocol::Icmp(kind) => bytes.extend([kind, 0, 0, 0, 0, 1, 0, 1]),
            Protocol::Other(_) => {}
        }
        bytes.extend(payload);
        bytes
    }

    fn fill_checksum(&self, segment: &mut [u8], ends: &Ends) {
        let place = match self.protocol {
            Protocol::Tcp(_) => 16,
            Protocol::Udp(true) => 6,
            Protocol::Icmp(_) => 2,
            Protocol::Udp(false) | Protocol::Other(_) => return,
        };
        let mut sums = vec![checksum::sum(segment)];
        if !(matches!(self.protocol, Protocol::Icmp(_)) && self.family == 4) {
            for address in [ends.source.0, ends.destination.0] {
                sums.push(match address {
                    IpAddr::V4(v4) => checksum::sum(&v4.octets()),
                    IpAddr::V6(v6) => checksum::sum(&v6.octets()),
                });
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
