//! The tuple: what names one direction of a connection.

use crate::address::Address;
use crate::bytes::{Be16, pod};

pod! {
    /// Source, destination and protocol of a packet, in packet order. 40 bytes, no padding.
    ///
    /// One type for both families, with IPv4 addresses in mapped form, so that the core has one code
    /// path. The kernel's conntrack maps are split by family behind the seam, with a 16-byte key for
    /// IPv4: `docs/decisions.md` has the measurement.
    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub struct Tuple {
        /// Source address.
        pub source: Address,
        /// Destination address.
        pub destination: Address,
        /// Source port.
        pub source_port: Be16,
        /// Destination port.
        pub destination_port: Be16,
        /// Protocol number of IANA: 6 for TCP, 17 for UDP.
        pub protocol: u8,
        /// 4 or 6: says again what the addresses say, in one byte.
        pub family: u8,
        pad: [u8; 2],
    }
}

impl core::hash::Hash for Tuple {
    /// In five words, where the derived one would take nine steps.
    #[inline]
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        self.source.hash(state);
        self.destination.hash(state);
        let ports =
            u64::from(self.source_port.raw()) << 16 | u64::from(self.destination_port.raw());
        state.write_u64(u64::from(self.protocol) << 32 | ports); // the family is in the addresses
    }
}

impl Tuple {
    /// A tuple; the family is that of the source address.
    #[inline(always)]
    pub const fn new(
        protocol: u8,
        source: Address,
        source_port: Be16,
        destination: Address,
        destination_port: Be16,
    ) -> Self {
        let family = if source.is_v4() { 4 } else { 6 };
        Self { source, destination, source_port, destination_port, protocol, family, pad: [0; 2] }
    }

    /// The tuple of a packet that answers this one.
    #[inline(always)]
    pub const fn reverse(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            ..*self
        }
    }

    /// Whether a packet with this tuple answers one with the other.
    #[inline(always)]
    pub fn is_reverse_of(&self, other: &Self) -> bool {
        self.source == other.destination
            && self.destination == other.source
            && self.source_port == other.destination_port
            && self.destination_port == other.source_port
            && self.protocol == other.protocol
    }

    /// The same tuple with another destination.
    #[inline(always)]
    pub const fn to(&self, destination: Address, destination_port: Be16) -> Self {
        Self { destination, destination_port, ..*self }
    }

    /// Whether this is an IPv4 tuple.
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        self.family == 4
    }
}

pod! {
    /// An IPv4 [`Tuple`] in 16 bytes: the key of IPv4 conntrack maps, which hash and compare it in less
    /// time. In memory: source and destination address, source and destination port, protocol, zeroes.
    ///
    /// Whole words and not fields, because keys are hashed and compared by words: a processor that has
    /// just written parts of a word waits for them before it reads the whole.
    #[derive(Clone, Copy, PartialEq, Eq, Hash)]
    pub struct Tuple4 {
        addresses: u64,
        ports_and_protocol: u64,
    }
}

impl From<&Tuple> for Tuple4 {
    /// Of an IPv4 tuple; of another, something without meaning.
    #[inline(always)]
    fn from(tuple: &Tuple) -> Self {
        let ([a, b], [c, d]) = (bytes_of(tuple.source_port), bytes_of(tuple.destination_port));
        let ports = u32::from_ne_bytes([a, b, c, d]);
        Self {
            addresses: join(tuple.source.low(), tuple.destination.low()),
            ports_and_protocol: join(ports, u32::from_ne_bytes([tuple.protocol, 0, 0, 0])),
        }
    }
}

impl From<&Tuple4> for Tuple {
    fn from(short: &Tuple4) -> Self {
        let [a, b, c, d, e, f, g, h] = short.addresses.to_ne_bytes();
        let [i, j, k, l, protocol, ..] = short.ports_and_protocol.to_ne_bytes();
        let port = |bytes| Be16::from_raw(u16::from_ne_bytes(bytes));
        let (source, destination) = (Address::v4([a, b, c, d]), Address::v4([e, f, g, h]));
        Self::new(protocol, source, port([i, j]), destination, port([k, l]))
    }
}

impl core::fmt::Debug for Tuple4 {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Debug::fmt(&Tuple::from(self), f)
    }
}

/// Two words that lie one behind the other in memory, as one.
#[inline(always)]
const fn join(first: u32, second: u32) -> u64 {
    let ([a, b, c, d], [e, f, g, h]) = (first.to_ne_bytes(), second.to_ne_bytes());
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

#[inline(always)]
const fn bytes_of(port: Be16) -> [u8; 2] {
    port.raw().to_ne_bytes()
}

impl core::fmt::Debug for Tuple {
    /// `tcp 10.0.0.1:40000 > 10.96.0.10:80`, as tcpdump writes it.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.protocol {
            crate::wire::TCP => f.write_str("tcp ")?,
            crate::wire::UDP => f.write_str("udp ")?,
            other => write!(f, "proto {other} ")?,
        }
        let ends = [(self.source, self.source_port), (self.destination, self.destination_port)];
        for (i, (address, port)) in ends.into_iter().enumerate() {
            if i == 1 {
                f.write_str(" > ")?;
            }
            core::net::SocketAddr::new(address.into(), port.get()).fmt(f)?;
        }
        Ok(())
    }
}

impl core::fmt::Display for Tuple {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::tuple;

    #[test]
    fn the_short_form_holds_all() {
        for text in ["tcp 10.0.0.1:1 > 10.96.0.1:80", "udp 255.1.2.3:65535 > 1.0.0.0:0"] {
            assert_eq!(Tuple::from(&Tuple4::from(&tuple(text))), tuple(text));
        }
    }

    #[test]
    fn every_part_is_hashed_and_shown() {
        let texts = [
            "tcp 10.0.0.1:1 > 10.96.0.1:80",
            "tcp 10.0.0.2:1 > 10.96.0.1:80",
            "tcp 10.0.0.1:2 > 10.96.0.1:80",
            "tcp 10.0.0.1:1 > 10.96.0.2:80",
            "tcp 10.0.0.1:1 > 10.96.0.1:81",
            "tcp 10.0.0.1:80 > 10.96.0.1:1",
            "udp 10.0.0.1:1 > 10.96.0.1:80",
            "tcp [fd00::1]:1 > [fd00::2]:80",
        ];
        let hash = |text| {
            use core::hash::{BuildHasher, BuildHasherDefault};
            BuildHasherDefault::<std::hash::DefaultHasher>::default().hash_one(tuple(text))
        };
        for (i, text) in texts.iter().enumerate() {
            assert_eq!(tuple(text).to_string(), *text);
            for other in &texts[..i] {
                assert_ne!(hash(text), hash(other), "{text} and {other}");
            }
        }
    }

    #[test]
    fn reverse() {
        let there = tuple("tcp [fd00::1]:1 > [fd00::2]:2");
        assert_eq!(there.reverse(), tuple("tcp [fd00::2]:2 > [fd00::1]:1"));
        assert!(there.reverse().is_reverse_of(&there) && !there.is_reverse_of(&there));
    }
}
