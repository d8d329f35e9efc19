//! One address type for both families.

use crate::bytes::{Pod, pod};

pod! {
    /// An IPv6 address, or an IPv4 address in its IPv4-mapped form (RFC 4291, 2.5.5.2). In network
    /// byte order, 16 bytes, aligned to 8 so that keys are copied and compared in two steps.
    ///
    /// A mapped address never appears in an IPv6 header on the wire (the parser drops it), so the form
    /// is unambiguous.
    #[derive(Clone, Copy, PartialEq, Eq, Hash)]
    pub struct Address {
        first: u64,
        second: u64,
    }
}

/// Bytes 8 to 11 of an IPv4-mapped address.
const MAPPED: [u8; 4] = [0, 0, 0xff, 0xff];

impl Address {
    /// All 16 bytes zero: the unspecified IPv6 address.
    pub const UNSPECIFIED: Self = Self { first: 0, second: 0 };

    /// The unspecified address of a family: `0.0.0.0` in mapped form, or `::`.
    #[inline(always)]
    pub const fn any(is_v4: bool) -> Self {
        if is_v4 { Self::v4([0; 4]) } else { Self::UNSPECIFIED }
    }

    /// From the four bytes of an IPv4 address.
    #[inline(always)]
    pub const fn v4(octets: [u8; 4]) -> Self {
        let [a, b, c, d] = octets;
        let [m, n, o, p] = MAPPED;
        Self { first: 0, second: u64::from_ne_bytes([m, n, o, p, a, b, c, d]) }
    }

    /// From the sixteen bytes of an IPv6 address, or of an IPv4-mapped one.
    #[inline(always)]
    pub fn from_octets(octets: [u8; 16]) -> Self {
        Self::read_from(&octets).unwrap_or(Self::UNSPECIFIED)
    }

    /// The sixteen bytes, IPv4 in mapped form.
    #[inline(always)]
    pub fn octets(&self) -> [u8; 16] {
        <[u8; 16]>::read_from(self.as_bytes()).unwrap_or_default()
    }

    /// Whether this is an IPv4 address.
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        let [_, _, c, _] = self.words();
        self.first == 0 && c == u32::from_ne_bytes(MAPPED)
    }

    /// The four bytes of the IPv4 address as they lie in memory; the last four of an IPv6 address.
    #[inline(always)]
    pub const fn low(&self) -> u32 {
        let [_, _, _, d] = self.words();
        d
    }

    /// From the four words as they lie in memory.
    #[inline(always)]
    pub const fn from_words(words: [u32; 4]) -> Self {
        let [a, b, c, d] = words;
        Self { first: join(a, b), second: join(c, d) }
    }

    /// The four words as they lie in memory.
    #[inline(always)]
    pub const fn words(&self) -> [u32; 4] {
        let [a, b] = split(self.first);
        let [c, d] = split(self.second);
        [a, b, c, d]
    }

    /// Whether a router has no business translating this destination: multicast, broadcast,
    /// link-local IPv6 and the unspecified address.
    #[inline(always)]
    pub const fn is_link_scope(&self) -> bool {
        if self.is_v4() {
            let [first, ..] = self.low().to_ne_bytes();
            first >= 224 || first == 0
        } else {
            let [first, second, ..] = self.first.to_ne_bytes();
            first == 0xff
                || (first == 0xfe && (second & 0xc0) == 0x80)
                || (self.first | self.second) == 0
        }
    }
}

/// The reverse of [`split`].
#[inline(always)]
const fn join(first: u32, second: u32) -> u64 {
    let ([a, b, c, d], [e, f, g, h]) = (first.to_ne_bytes(), second.to_ne_bytes());
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

/// Two words as they lie in memory.
#[inline(always)]
const fn split(half: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = half.to_ne_bytes();
    [u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h])]
}

impl Address {
    /// Whether only a node itself has this address, or none has: loopback, multicast, unspecified, ...
    /// Nothing that comes from such a source is answered.
    #[inline(always)]
    pub const fn is_no_sender(&self) -> bool {
        let loopback = if self.is_v4() {
            let [first, ..] = self.low().to_ne_bytes();
            first == 127
        } else {
            self.first == 0 && self.second == 1_u64.to_be()
        };
        loopback || self.is_link_scope()
    }
}

impl Ord for Address {
    /// By the bytes in network order.
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl PartialOrd for Address {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl From<core::net::IpAddr> for Address {
    fn from(ip: core::net::IpAddr) -> Self {
        match ip {
            core::net::IpAddr::V4(v4) => Self::v4(v4.octets()),
            core::net::IpAddr::V6(v6) => Self::from_octets(v6.octets()),
        }
    }
}

impl From<Address> for core::net::IpAddr {
    fn from(address: Address) -> Self {
        if address.is_v4() {
            Self::from(address.low().to_ne_bytes())
        } else {
            Self::from(address.octets())
        }
    }
}

impl core::fmt::Display for Address {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::net::IpAddr::from(*self).fmt(f)
    }
}

impl core::fmt::Debug for Address {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::IpAddr;

    #[test]
    fn both_families_survive_the_way_there_and_back() {
        for text in ["0.0.0.0", "10.96.0.10", "255.255.255.255", "::", "::1", "fd00:10:96::a"] {
            let ip: IpAddr = text.parse().unwrap();
            assert_eq!(IpAddr::from(Address::from(ip)), ip);
            assert_eq!(Address::from(ip).is_v4(), ip.is_ipv4(), "{text}");
            assert_eq!(Address::from(ip).to_string(), text);
        }
    }

    #[test]
    fn link_scope() {
        let scope = |text: &str| Address::from(text.parse::<IpAddr>().unwrap()).is_link_scope();
        for text in ["224.0.0.1", "255.255.255.255", "0.0.0.0", "ff02::1", "fe80::1", "::"] {
            assert!(scope(text), "{text}");
        }
        // The last one's halves are alike, which must not be taken for both of them being zero.
        let others = [
            "10.0.0.1",
            "223.255.255.255",
            "fd00::1",
            "2001:db8::1",
            "fec0::1",
            "fd00::fd00:0:0:0",
        ];
        for text in others {
            assert!(!scope(text), "{text}");
        }
    }

    #[test]
    fn ordered_as_they_are_read() {
        let addresses = ["::", "::1", "0.0.0.0", "10.0.0.2", "10.0.1.1", "fd00::2", "fd00:0:1::1"];
        let addresses = addresses.map(|text| Address::from(text.parse::<IpAddr>().unwrap()));
        for pair in addresses.windows(2) {
            assert!(pair[0] < pair[1], "{pair:?}");
        }
    }

    #[test]
    fn senders() {
        let none = |text: &str| Address::from(text.parse::<IpAddr>().unwrap()).is_no_sender();
        for text in ["127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::", "224.0.0.1", "ff02::1"] {
            assert!(none(text), "{text}");
        }
        for text in ["126.0.0.1", "128.0.0.1", "fd00::1", "::2", "::1:0:0:0"] {
            assert!(!none(text), "{text}");
        }
    }
}
