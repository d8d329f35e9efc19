//! The range table: sets of address ranges, found by longest prefix.

use crate::address::Address;
use crate::bytes::pod;

pod! {
    /// Key of the range table, 24 bytes, as `BPF_MAP_TYPE_LPM_TRIE` wants it: how many bits count, then
    /// the bits. The value says nothing; being there is what counts.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
    pub struct RangeKey {
        /// Leading bits of the owner and the address that count, host order.
        length: u32,
        /// Whose range it is: the number of a service, or one of the sets below.
        pub owner: u32,
        /// The address, IPv4 in mapped form.
        pub address: Address,
    }
}

/// Where pods keep their own address: packets there are not masqueraded.
pub const NOT_MASQUERADED: u32 = u32::MAX;
/// Where service addresses are given out: one that no service has is nobody's.
pub const SERVICE_RANGE: u32 = u32::MAX - 1;

const OWNER_BITS: u32 = 32;
const ADDRESS_BITS: u32 = 128;
/// Bits in front of the IPv4 address in its mapped form.
const MAPPED_BITS: u32 = 96;

impl RangeKey {
    /// The key of a range: `length` leading bits of the address, at most 32 for IPv4 and 128 for IPv6.
    /// Bits behind them do not count.
    pub const fn range(owner: u32, address: Address, length: u8) -> Self {
        let bits = if address.is_v4() { MAPPED_BITS } else { 0 };
        let bits = bits.saturating_add(length as u32);
        let bits = if bits > ADDRESS_BITS { ADDRESS_BITS } else { bits };
        Self { length: OWNER_BITS.saturating_add(bits), owner, address }
    }

    /// The key to look an address up with.
    #[inline(always)]
    pub const fn of(owner: u32, address: Address) -> Self {
        Self { length: OWNER_BITS + ADDRESS_BITS, owner, address }
    }

    /// How many leading bits of owner and address count.
    pub const fn bits(&self) -> u32 {
        self.length
    }

    /// Whether the range of this key has the address of the other.
    pub fn contains(&self, other: &Self) -> bool {
        let (own, others) = (self.address.octets(), other.address.octets());
        let mut equal = 0_u32;
        for (a, b) in own.into_iter().zip(others) {
            let bits = (a ^ b).leading_zeros();
            equal = equal.saturating_add(bits);
            if bits != 8 {
                break;
            }
        }
        self.owner == other.owner && equal >= self.length.saturating_sub(OWNER_BITS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse::<core::net::IpAddr>().unwrap().into()
    }

    #[test]
    fn a_range_has_its_addresses_and_no_other() {
        let range = RangeKey::range(7, address("10.1.128.0"), 17);
        for (text, inside) in [
            ("10.1.128.0", true),
            ("10.1.255.255", true),
            ("10.1.127.255", false),
            ("11.1.128.0", false),
        ] {
            assert_eq!(range.contains(&RangeKey::of(7, address(text))), inside, "{text}");
        }
        assert!(!range.contains(&RangeKey::of(8, address("10.1.128.0"))));
        assert!(
            !RangeKey::range(7, address("10.0.0.0"), 0)
                .contains(&RangeKey::of(7, address("fd00::1")))
        );
        assert!(
            RangeKey::range(7, address("::"), 0).contains(&RangeKey::of(7, address("10.0.0.1")))
        );
        assert!(
            RangeKey::range(7, address("fd00::1"), 128)
                .contains(&RangeKey::of(7, address("fd00::1")))
        );
        assert!(
            !RangeKey::range(7, address("fd00::1"), 128)
                .contains(&RangeKey::of(7, address("fd00::2")))
        );
    }

    #[test]
    fn every_length_of_both_families() {
        for (text, bits) in [("10.1.2.3", 32_u8), ("2001:db8::3", 128)] {
            for length in 0..=bits {
                let range = RangeKey::range(7, address(text), length);
                let front = u32::from(128 - bits) + 32;
                assert_eq!(range.bits(), front + u32::from(length));
                // The bit behind the prefix does not count, the last of it does.
                for (bit, inside) in [(length.checked_sub(1), false), (Some(length), true)] {
                    let Some(bit) = bit.filter(|bit| *bit < bits) else { continue };
                    let mut octets = address(text).octets();
                    let at = usize::from(128 - bits + bit);
                    octets[at / 8] ^= 0x80 >> (at % 8);
                    let other = RangeKey::of(7, Address::from_octets(octets));
                    assert_eq!(range.contains(&other), inside, "{text}/{length}, bit {bit}");
                }
            }
            let longer = RangeKey::range(7, address(text), 200);
            assert_eq!(longer, RangeKey::of(7, address(text)), "cut to what there is");
        }
    }
}
