//! Hashes that every world computes alike.

use crate::address::Address;
use crate::bytes::Be16;
use crate::tuple::Tuple;

/// A hash of the tuple's sender and protocol and of the destination, for Maglev and other choices
/// that all nodes must make alike. `draw` numbers independent hashes of one tuple.
#[inline(always)]
pub fn tuple(tuple: &Tuple, seed: u32, draw: u32) -> u32 {
    let [a, b, c, d] = tuple.source.words();
    let [e, f, g, h] = tuple.destination.words();
    let ports = pair(u32::from(tuple.source_port.raw()), u32::from(tuple.destination_port.raw()));
    let mut state = mix(pair(seed, draw) ^ u64::from(tuple.protocol));
    state = mix(state ^ pair(a ^ e, b ^ f));
    state = mix(state ^ pair(c, d));
    state = mix(state ^ pair(g, h));
    state = mix(state ^ ports);
    (state >> 32) as u32
}

/// The hash by which a connection's backend is chosen from a Maglev table, the same on all nodes: of
/// the client, the frontend's address and port, and the protocol. `by_address` leaves the client's port
/// out.
#[inline(always)]
pub fn choice(of: &Tuple, frontend: &Address, by_address: bool, seed: u32) -> u32 {
    let port = if by_address { Be16::new(0) } else { of.source_port };
    let mut of = of.to(*frontend, of.destination_port);
    of.source_port = port;
    tuple(&of, seed, 0)
}

/// The `counter`-th number of the random sequence with this seed: the randomness of a verified run,
/// in the simulator and in the kernel.
#[inline(always)]
pub const fn random(seed: u64, counter: u64) -> u32 {
    (mix(seed ^ mix(counter)) >> 32) as u32
}

/// The seed of the numbers that a packet draws, by its number in a run, so that they do not depend on
/// what others drew. 0 is no packet's number: that of the run as a whole, which keeps its seed.
#[inline]
pub const fn seed_of(seed: u64, packet: u64) -> u64 {
    if packet == 0 { seed } else { mix(mix(seed).wrapping_add(packet)) }
}

/// Maps 32 random bits to `0..bound` without a division (Lemire, 2019: multiply and shift); 0 where
/// `bound` is 0.
#[inline(always)]
pub const fn scale(bits: u32, bound: u32) -> u32 {
    ((bits as u64).wrapping_mul(bound as u64) >> 32) as u32
}

#[inline(always)]
const fn pair(high: u32, low: u32) -> u64 {
    ((high as u64) << 32) | low as u64
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, 2014) behind its increment.
#[inline(always)]
const fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::tuple as parse;

    #[test]
    fn a_run_as_a_whole_keeps_its_seed_and_packets_have_seeds_of_their_own() {
        let seeds = |seed| [0, 1, 2].map(|packet| seed_of(seed, packet));
        let ([a, b, c], [_, d, e]) = (seeds(7), seeds(8));
        assert_eq!(a, 7);
        for (i, one) in [a, b, c, d, e].iter().enumerate() {
            assert!([a, b, c, d, e].iter().skip(i + 1).all(|other| one != other));
        }
    }

    #[test]
    fn draws_are_spread_evenly() {
        // 16 bins, 64,000 draws: the chi-square statistic stays below the 99.9 % point (37.7, 15 degrees).
        let base = parse("tcp 10.0.0.1:0 > 10.96.0.1:80");
        let chi_square = |draw: &dyn Fn(u32) -> u32| {
            let mut bins = [0_u32; 16];
            for i in 0..64_000 {
                bins[scale(draw(i), 16) as usize] += 1;
            }
            bins.iter().map(|n| (f64::from(*n) - 4000.0).powi(2) / 4000.0).sum::<f64>()
        };
        assert!(chi_square(&|i| random(7, u64::from(i))) < 37.7);
        assert!(chi_square(&|i| random(seed_of(7, u64::from(i) + 1), 0)) < 37.7);
        assert!(chi_square(&|i| tuple(&base, 0, i)) < 37.7);
        assert!(
            chi_square(&|i| {
                let mut other = base;
                other.source_port = crate::bytes::Be16::new((i & 0xffff) as u16);
                tuple(&other, 0, 0)
            }) < 37.7
        );
    }

    #[test]
    fn every_part_of_the_tuple_counts() {
        let base = parse("tcp 10.0.0.1:1 > 10.96.0.1:80");
        let others = [
            "tcp 10.0.0.2:1 > 10.96.0.1:80",
            "tcp 10.0.0.1:2 > 10.96.0.1:80",
            "tcp 10.0.0.1:1 > 10.96.0.2:80",
            "tcp 10.0.0.1:1 > 10.96.0.1:81",
            "udp 10.0.0.1:1 > 10.96.0.1:80",
        ];
        for other in others {
            assert_ne!(tuple(&base, 0, 0), tuple(&parse(other), 0, 0), "{other}");
        }
        assert_ne!(tuple(&base, 0, 0), tuple(&base, 1, 0));
    }

    #[test]
    fn the_same_in_every_version() {
        // Nodes of one cluster may have different versions and must choose alike, and a seed must give the
        // same run again. The values are from another implementation, on whole numbers of any size.
        let cases = [
            ("tcp 10.244.1.10:40000 > 10.96.0.80:80", 0, 0, 0xe65e_9235),
            ("udp 203.0.113.7:1 > 192.168.0.11:30080", 0x1234_5678, 3, 0x24d4_1693),
            ("tcp [fd00:244:1::10]:40000 > [fd00:96::80]:80", 0, 0, 0xf8e5_7cb4),
            (
                "udp [2001:db8:7:1::7:1]:1 > [2001:db8:83:1:2:3:4:80]:53",
                0x1234_5678,
                3,
                0x50ed_3a79,
            ),
        ];
        for (text, seed, draw, expected) in cases {
            assert_eq!(tuple(&parse(text), seed, draw), expected, "{text}");
        }
        assert_eq!([random(1, 0), random(1, 1)], [0x08b4_fda8, 0xe9fd_6049]);
        assert_eq!(random(0xfedc_ba98_7654_3210, 77), 0x041d_546c);
    }

    #[test]
    fn scale_stays_below_its_bound() {
        assert_eq!(scale(u32::MAX, 3), 2);
        assert_eq!(scale(0, 3), 0);
        assert_eq!(scale(u32::MAX, 0), 0);
    }
}
