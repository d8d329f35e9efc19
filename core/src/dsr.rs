//! Direct server return: how a packet tells the backend's node which frontend it was sent to.
//!
//! The node that chose the backend does not take the client's address away, so the backend's node can
//! answer the client itself, under the name of the frontend, which it has to be told. There are three
//! ways, all of them for a network between the nodes that nobody else writes to: who can send a pod a
//! packet that is wrapped like this chooses the name under which it is answered, of those that are
//! frontends of this kind here.
//!
//! | [`Forwarding`] | IPv4 | IPv6 | bytes more |
//! |---|---|---|---|
//! | option | option [`Option4`] directly behind the fixed header | destination options [`Option6`] directly behind it | 8, 24 |
//! | IP in IP | RFC 2003 | RFC 2473, without an encapsulation limit | 20, 40 |
//! | Geneve | RFC 8926 with one [`Geneve4`] | with one [`Geneve6`] | 62, 94 |
//!
//! An option and Geneve carry the packet as the backend shall see it; IP in IP carries it as the client
//! sent it, so the end of the tunnel makes the translation. Both tunnels end at the backend's own
//! address: it is routed to the backend's node, which takes the outer headers off before they reach the
//! backend, and no table of nodes is needed. The outer header has DF set (so its identification may be
//! zero, RFC 6864), time to live 64 and the type of service of the packet within. What congestion marks
//! the outer header gets on the way are lost with it.

use crate::address::Address;
use crate::bytes::{Be16, pod};
use crate::checksum::Delta;
use crate::service::Forwarding;
use crate::wire::{self, ethernet, ipv4, ipv6};

/// Type of the IPv4 option: copied into all fragments, class control, number 26.
pub const OPTION4: u8 = 0x9a;
/// Type of the IPv6 destination option: to be skipped by who does not know it, does not change on the way.
pub const OPTION6: u8 = 0x1b;

pod! {
    /// The IPv4 option, 8 bytes.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Option4 {
        /// [`OPTION4`].
        pub kind: u8,
        /// Length of the option: 8.
        pub length: u8,
        /// Port of the frontend.
        pub port: Be16,
        /// Address of the frontend, as it lies in memory.
        pub address: u32,
    }
}

impl Option4 {
    /// The option that tells of a frontend.
    #[inline(always)]
    pub const fn new(address: &Address, port: Be16) -> Self {
        Self { kind: OPTION4, length: 8, port, address: address.low() }
    }

    /// Whether these bytes are such an option.
    #[inline(always)]
    pub const fn is_valid(&self) -> bool {
        self.kind == OPTION4 && self.length == 8
    }

    /// Its part of the header checksum.
    #[inline(always)]
    pub fn sum(&self) -> Delta {
        Delta::NONE
            .of_word(0, u16::from_ne_bytes([self.kind, self.length]))
            .of_word(0, self.port.raw())
            .of_long(0, self.address)
    }
}

pod! {
    /// The IPv6 destination options header with one option in it, 24 bytes.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Option6 {
        /// What follows.
        pub next: u8,
        /// Length of the header in words of 8 bytes, not counting the first: 2.
        pub length: u8,
        /// [`OPTION6`].
        pub kind: u8,
        /// Length of the option's data: 20.
        pub option_length: u8,
        /// Address of the frontend, as it lies in memory.
        pub address: [u32; 4],
        /// Port of the frontend.
        pub port: Be16,
        pad: [u8; 2],
    }
}

impl Option6 {
    /// The header that tells of a frontend, in front of `next`.
    #[inline(always)]
    pub const fn new(next: u8, address: &Address, port: Be16) -> Self {
        Self {
            next,
            length: 2,
            kind: OPTION6,
            option_length: 20,
            address: address.words(),
            port,
            pad: [0; 2],
        }
    }

    /// Whether these bytes are such a header.
    #[inline(always)]
    pub const fn is_valid(&self) -> bool {
        self.length == 2 && self.kind == OPTION6 && self.option_length == 20
    }
}

/// The UDP port of Geneve.
pub const GENEVE_PORT: Be16 = Be16::new(6081);
/// Option class of Geneve: one of those for experiments (RFC 8926, 7.1).
pub const GENEVE_CLASS: Be16 = Be16::new(0xff54);
/// Option type: critical, so that who does not know it drops the packet. Answering it would be wrong.
pub const GENEVE_TYPE: u8 = 0x81;
/// Protocol of what is within: Ethernet frames.
const BRIDGING: Be16 = Be16::new(0x6558);
/// Flag: there are critical options.
const CRITICAL: u8 = 0x40;

pod! {
    /// The Geneve header and the one in front of it, 16 bytes.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Outer {
        /// UDP source port: a hash of the packet within, so that ways of equal cost are all used.
        pub source_port: Be16,
        /// [`GENEVE_PORT`].
        pub destination_port: Be16,
        /// Length of the UDP datagram.
        pub length: Be16,
        /// Zero: none, in IPv6, too (RFC 6935).
        pub checksum: Be16,
        /// Version 0 and length of the options in words of 4 bytes.
        pub words: u8,
        /// Critical options present.
        pub flags: u8,
        /// Ethernet.
        pub protocol: Be16,
        /// Virtual network 0, and a reserved byte.
        pub network: [u8; 4],
    }
}

impl Outer {
    /// The headers in front of an option and a frame of so many bytes together.
    #[inline(always)]
    pub const fn new(source_port: Be16, option: usize, payload: usize) -> Self {
        let length = payload.wrapping_add(size_of::<Self>()) & 0xffff;
        Self {
            source_port,
            destination_port: GENEVE_PORT,
            length: Be16::new(length as u16),
            checksum: Be16::new(0),
            words: ((option >> 2) & 0x3f) as u8,
            flags: CRITICAL,
            protocol: BRIDGING,
            network: [0; 4],
        }
    }

    /// Whether such headers can be in front of an option of so many bytes and nothing but it.
    #[inline(always)]
    pub fn is_valid(&self, option: usize) -> bool {
        usize::from(self.words) == option >> 2
            && self.flags == CRITICAL
            && self.protocol == BRIDGING
            && self.network == [0; 4]
    }
}

pod! {
    /// What a Geneve option says behind the frontend's address.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Told {
        /// Port of the frontend.
        pub port: Be16,
        /// Protocol number of the packet within.
        pub protocol: u8,
        pad: u8,
    }
}

pod! {
    /// What a Geneve option begins with.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct OptionHeader {
        /// [`GENEVE_CLASS`].
        pub class: Be16,
        /// [`GENEVE_TYPE`].
        pub kind: u8,
        /// Length of what follows, in words of 4 bytes.
        pub length: u8,
    }
}

impl OptionHeader {
    const fn new(bytes: usize) -> Self {
        let words = (bytes >> 2).wrapping_sub(1) & 0x1f;
        Self { class: GENEVE_CLASS, kind: GENEVE_TYPE, length: words as u8 }
    }
}

pod! {
    /// The Geneve option for IPv4, 12 bytes.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Geneve4 {
        header: OptionHeader,
        /// Address of the frontend, as it lies in memory.
        pub address: u32,
        /// Its port.
        pub told: Told,
    }
}

pod! {
    /// The Geneve option for IPv6, 24 bytes.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Geneve6 {
        header: OptionHeader,
        /// Address of the frontend, as it lies in memory.
        pub address: [u32; 4],
        /// Its port.
        pub told: Told,
    }
}

impl Geneve4 {
    /// The option that tells of a frontend.
    #[inline(always)]
    pub const fn new(address: &Address, port: Be16, protocol: u8) -> Self {
        let told = Told { port, protocol, pad: 0 };
        Self { header: OptionHeader::new(size_of::<Self>()), address: address.low(), told }
    }

    /// Whether these bytes are such an option.
    #[inline(always)]
    pub fn is_valid(&self) -> bool {
        self.header == OptionHeader::new(size_of::<Self>())
    }
}

impl Geneve6 {
    /// The option that tells of a frontend.
    #[inline(always)]
    pub const fn new(address: &Address, port: Be16, protocol: u8) -> Self {
        let told = Told { port, protocol, pad: 0 };
        Self { header: OptionHeader::new(size_of::<Self>()), address: address.words(), told }
    }

    /// Whether these bytes are such an option.
    #[inline(always)]
    pub fn is_valid(&self) -> bool {
        self.header == OptionHeader::new(size_of::<Self>())
    }
}

/// How many bytes longer an IP packet gets.
#[inline(always)]
pub const fn overhead(forwarding: Forwarding, is_v4: bool) -> usize {
    match (forwarding, is_v4) {
        (Forwarding::Snat, _) => 0,
        (Forwarding::DsrOption, true) => size_of::<Option4>(),
        (Forwarding::DsrOption, false) => size_of::<Option6>(),
        (Forwarding::DsrIpip, true) => ipv4::MIN_LENGTH,
        (Forwarding::DsrIpip, false) => ipv6::LENGTH,
        (Forwarding::DsrGeneve, true) => GENEVE4,
        (Forwarding::DsrGeneve, false) => GENEVE6,
    }
}

const GENEVE4: usize =
    ipv4::MIN_LENGTH + size_of::<Outer>() + size_of::<Geneve4>() + ethernet::LENGTH;
const GENEVE6: usize = ipv6::LENGTH + size_of::<Outer>() + size_of::<Geneve6>() + ethernet::LENGTH;

/// The longest IPv4 header.
const MAX_HEADER4: usize = 60;

/// Whether an option finds a place in an IP header that is so long and, in IPv6, is followed by `next`.
/// Hop-by-hop options must stay directly behind the fixed header (RFC 8200, 4.1).
#[inline(always)]
pub const fn has_place(header: usize, next: u8, is_v4: bool) -> bool {
    if is_v4 {
        header.wrapping_add(size_of::<Option4>()) <= MAX_HEADER4
    } else {
        next != ipv6::HOP_BY_HOP
    }
}

/// The outer IPv4 header of a tunnel around `bytes` bytes: those of an IP packet, or of UDP and so on.
#[inline(always)]
pub fn outer4(
    inner: &ipv4::Header,
    protocol: u8,
    bytes: usize,
    source: &Address,
    destination: &Address,
) -> ipv4::Header {
    let length = bytes.wrapping_add(ipv4::MIN_LENGTH) & 0xffff;
    let (version_and_length, fragment) = (0x45, Be16::new(ipv4::DONT_FRAGMENT));
    let total_length = Be16::new(length as u16);
    let sum = Delta::NONE
        .of_word(0, u16::from_ne_bytes([version_and_length, inner.tos]))
        .of_word(0, total_length.raw())
        .of_word(0, fragment.raw())
        .of_word(0, u16::from_ne_bytes([TTL, protocol]))
        .of_long(0, source.low())
        .of_long(0, destination.low());
    ipv4::Header {
        version_and_length,
        tos: inner.tos,
        total_length,
        id: Be16::new(0),
        fragment,
        ttl: TTL,
        protocol,
        checksum: Be16::from_raw(!sum.0),
        source: source.low().to_ne_bytes(),
        destination: destination.low().to_ne_bytes(),
    }
}

/// The outer IPv6 header of a tunnel around `bytes` bytes.
#[inline(always)]
pub const fn outer6(
    inner: &ipv6::Header,
    next: u8,
    bytes: usize,
    source: &Address,
    destination: &Address,
) -> ipv6::Header {
    ipv6::Header {
        version_and_flow: inner.version_and_flow,
        payload_length: Be16::new((bytes & 0xffff) as u16),
        next,
        hop_limit: TTL,
        source: *source,
        destination: *destination,
    }
}

/// Time to live of an outer header.
const TTL: u8 = 64;

/// Protocol number of a packet in a tunnel of IP in IP.
#[inline(always)]
pub const fn inner_protocol(is_v4: bool) -> u8 {
    if is_v4 { wire::IPV4 } else { wire::IPV6 }
}

/// The source port of a tunnel, from a hash of what is in it: one of those for such use (RFC 6335, 6).
#[inline(always)]
pub const fn source_port(hash: u32) -> Be16 {
    Be16::new((hash & 0x3fff) as u16 | 0xc000)
}

#[cfg(test)]
mod tests;
