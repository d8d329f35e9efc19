//! The Internet checksum and its incremental change.
//!
//! RFC 1071 for the sum, RFC 1624 equation 3 for the change (`HC' = ~(~HC + ~m + m')`), RFC 768 for
//! the two meanings of zero in UDP. Sums are taken over 16-bit words as they lie in memory: one's
//! complement addition commutes with swapping the bytes of every word, so no conversion is needed.
//!
//! A [`Delta`] is `~m + m'` of all words that changed. Applying one is what the kernel's
//! `csum_replace_by_diff` does (`include/net/checksum.h`), to the bit, so that a program that calls
//! the kernel's helper and one that calls [`Delta::apply`] write the same bytes.

use crate::address::Address;
use crate::bytes::{Be16, pod};
use crate::drop_reason::DropReason;
use crate::seam::{At, Packet};
use crate::tuple::Tuple;

/// The change of a one's complement sum, folded to 16 bits; zero where nothing changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct Delta(pub u16);

#[allow(unsafe_code)]
// SAFETY: transparent over `u16`.
unsafe impl crate::bytes::Pod for Delta {}

pod! {
    /// The two changes that a translation makes, as a conntrack entry keeps them.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Deltas {
        /// The change of the addresses, which are part of the pseudo-header.
        pub addresses: Delta,
        /// The change of the ports, which are part of the header itself.
        pub ports: Delta,
    }
}

impl Deltas {
    /// The change from one tuple to another.
    #[inline(always)]
    pub fn between(from: &Tuple, to: &Tuple) -> Self {
        Self {
            addresses: Delta::NONE
                .of_address(&from.source, &to.source)
                .of_address(&from.destination, &to.destination),
            ports: Delta::NONE
                .of_port(from.source_port, to.source_port)
                .of_port(from.destination_port, to.destination_port),
        }
    }

    /// The change back.
    #[inline(always)]
    pub const fn inverse(self) -> Self {
        Self { addresses: self.addresses.inverse(), ports: self.ports.inverse() }
    }

    /// What these changes do to the checksum of a UDP header, or of a TCP one.
    #[inline(always)]
    pub const fn with(self, udp: bool) -> Fix {
        Fix { addresses: self.addresses, ports: self.ports, udp }
    }
}

impl Delta {
    /// Nothing changed.
    pub const NONE: Self = Self(0);

    /// The change back.
    #[inline(always)]
    pub const fn inverse(self) -> Self {
        if self.0 == 0 { self } else { Self(!self.0) }
    }

    /// The change from one port to another.
    #[inline(always)]
    pub const fn of_port(self, from: Be16, to: Be16) -> Self {
        self.of_word(from.raw(), to.raw())
    }

    /// The change from one address to another.
    #[inline(always)]
    pub fn of_address(self, from: &Address, to: &Address) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (from.words(), to.words());
        self.of_long(a, e).of_long(b, f).of_long(c, g).of_long(d, h)
    }

    /// The change of one 32-bit word, added to this.
    #[inline(always)]
    pub const fn of_long(self, from: u32, to: u32) -> Self {
        self.of_word(low(from), low(to)).of_word(high(from), high(to))
    }

    /// Both changes.
    #[inline(always)]
    pub const fn and(self, other: Self) -> Self {
        // Nothing and nothing is nothing; else the sum does not come to zero.
        Self(fold((self.0 as u32).wrapping_add(other.0 as u32)))
    }

    /// The change of one 16-bit word, added to this.
    #[inline(always)]
    pub const fn of_word(self, from: u16, to: u16) -> Self {
        if from == to {
            return self; // keeps "nothing changed" at the zero that is not minus zero
        }
        Self(fold((self.0 as u32).wrapping_add(!from as u32).wrapping_add(to as u32)))
    }

    /// The checksum field after the change.
    #[inline(always)]
    pub const fn apply(self, field: u16) -> u16 {
        // The complement is taken in 32 bits and the carry goes round, as the kernel does it: the
        // result differs from a 16-bit complement in which of the two zeros comes out.
        let complement = !(field as u32);
        let (sum, carry) = complement.overflowing_add(self.0 as u32);
        !fold(sum.wrapping_add(carry as u32))
    }
}

/// What a translation does to the checksum of a TCP or UDP header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fix {
    /// The change of the addresses, which are part of the pseudo-header.
    pub addresses: Delta,
    /// The change of the ports, which are part of the header itself.
    pub ports: Delta,
    /// Whether zero means "no checksum": true for UDP.
    pub udp: bool,
}

impl Fix {
    /// The field of a complete checksum after the translation.
    #[inline(always)]
    pub const fn apply(&self, field: u16) -> u16 {
        let field = self.step(field, self.addresses);
        self.step(field, self.ports)
    }

    /// The field of a partial checksum after the translation. It holds the sum of the pseudo-header,
    /// not complemented; the ports come in when the device, or the kernel, completes the checksum.
    #[inline(always)]
    pub const fn apply_partial(&self, field: u16) -> u16 {
        if self.addresses.0 == 0 || (self.udp && field == 0) {
            return field;
        }
        // `~csum_fold(csum_add(diff, csum_unfold(*sum)))` in `inet_proto_csum_replace_by_diff`.
        let sum = fold((field as u32).wrapping_add(self.addresses.0 as u32));
        if self.udp && sum == 0 { 0xffff } else { sum }
    }

    #[inline(always)]
    const fn step(&self, field: u16, delta: Delta) -> u16 {
        if delta.0 == 0 || (self.udp && field == 0) {
            return field; // RFC 768: a UDP checksum of zero says that there is none, and stays
        }
        let field = delta.apply(field);
        // RFC 768: a UDP checksum that comes to zero is sent as all ones.
        if self.udp && field == 0 { 0xffff } else { field }
    }
}

/// A 32-bit sum of 16-bit words folded to 16 bits, carries going round until there are none.
#[inline(always)]
pub const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff).wrapping_add(sum >> 16);
    let sum = (sum & 0xffff).wrapping_add(sum >> 16);
    low(sum)
}

/// The sum of bytes as 16-bit words in memory order, the last odd byte padded with zero.
pub fn sum(bytes: &[u8]) -> u16 {
    let mut total = 0_u32;
    for pair in bytes.chunks(2) {
        let word = match *pair {
            [a, b] => u16::from_ne_bytes([a, b]),
            [a] => u16::from_ne_bytes([a, 0]),
            _ => 0,
        };
        total = u32::from(fold(total.wrapping_add(u32::from(word))));
    }
    fold(total)
}

/// The longest run of bytes in a packet that is summed: an IPv6 packet that every link takes (RFC 8200,
/// 5).
pub const MAX_SUM: usize = 1280;

/// The sum of the bytes of a packet from one offset to another, at most [`MAX_SUM`] of them.
///
/// Where the rest of a piece begins is computed from `end` and not counted: so the kernel's verifier
/// finds the same state on each way out of the loop, and follows one of them.
#[inline(never)]
pub fn of_packet<P: Packet>(packet: &P, start: At, end: At) -> Result<u16, DropReason> {
    let length = end.0.wrapping_sub(start.0) & 0xfff;
    let pieces = length >> 6;
    let mut total = 0_u64;
    let mut at = start;
    for piece in 0..MAX_SUM >> 6 {
        if piece >= pieces {
            break;
        }
        let words: [u64; 8] = packet.load(at)?;
        for word in words {
            total = total.wrapping_add(halves(word));
        }
        at = at.plus(64);
    }
    // Each offset from the length itself, not from the one before.
    if length & 32 != 0 {
        let words: [u64; 4] = packet.load(start.plus(length & !63))?;
        for word in words {
            total = total.wrapping_add(halves(word));
        }
    }
    if length & 16 != 0 {
        let words: [u64; 2] = packet.load(start.plus(length & !31))?;
        for word in words {
            total = total.wrapping_add(halves(word));
        }
    }
    if length & 8 != 0 {
        total = total.wrapping_add(halves(packet.load(start.plus(length & !15))?));
    }
    if length & 4 != 0 {
        let word: u32 = packet.load(start.plus(length & !7))?;
        total = total.wrapping_add(u64::from(word));
    }
    if length & 2 != 0 {
        let word: u16 = packet.load(start.plus(length & !3))?;
        total = total.wrapping_add(u64::from(word));
    }
    if length & 1 != 0 {
        // With the byte before it, since a single byte cannot be loaded where a packet ends.
        let [_, last]: [u8; 2] = packet.load(start.plus(length.wrapping_sub(2)))?;
        total = total.wrapping_add(u64::from(u16::from_ne_bytes([last, 0])));
    }
    Ok(fold_long(total))
}

/// A 64-bit sum of 16-bit words folded to 16 bits.
#[inline(always)]
pub const fn fold_long(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff).wrapping_add(sum >> 32);
    let sum = (sum & 0xffff_ffff).wrapping_add(sum >> 32);
    let sum = (sum & 0xffff).wrapping_add(sum >> 16);
    fold((sum & 0xffff_ffff) as u32)
}

/// The halves of a word of 64 bits, as one number to add.
#[inline(always)]
pub const fn halves(word: u64) -> u64 {
    (word & 0xffff_ffff).wrapping_add(word >> 32)
}

#[inline(always)]
const fn low(word: u32) -> u16 {
    (word & 0xffff) as u16
}

#[inline(always)]
const fn high(word: u32) -> u16 {
    (word >> 16) as u16
}

#[cfg(test)]
mod tests;
