//! Whether a captured checksum is partial: the work of a device that a capture comes before.

use twinpath_core::bytes::Be16;
use twinpath_core::checksum::{fold, sum};
use twinpath_core::parse::{Parsed, Transport};
use twinpath_core::wire::{ipv6, tcp, udp};

/// The sum of the addresses and the protocol, in memory order: the part of the pseudo-header that
/// all packets of a direction of a connection have in common.
#[inline]
pub fn pseudo(parsed: &Parsed) -> u16 {
    let tuple = &parsed.tuple;
    let protocol = Be16::new(u16::from(tuple.protocol)).raw();
    let mut total = u32::from(protocol);
    let words = [tuple.source.words(), tuple.destination.words()];
    for word in words.as_flattened() {
        total = total.wrapping_add(word & 0xffff).wrapping_add(word >> 16);
    }
    // The mapped form has 0xffff twice, which is zero in one's complement.
    fold(total)
}

/// Whether the field holds the sum of the pseudo-header and not the complement of the whole sum.
/// `pseudo` is that of [`pseudo`]; `frame` from the Ethernet header on, `captured` bytes of it real.
#[inline]
pub fn is_partial(frame: &[u8], captured: usize, parsed: &Parsed, pseudo: u16) -> bool {
    let at = match parsed.transport {
        Transport::Tcp => tcp::CHECKSUM,
        Transport::Udp => udp::CHECKSUM,
        _ => return false,
    };
    let Some(field) = word(frame, parsed.l4.0.wrapping_add(at)) else { return false };
    let Some(length) = length(frame, parsed) else { return false };
    // RFC 768: zero is no checksum at all. It is never a sum of a pseudo-header either.
    if field == 0 {
        return false;
    }
    let long = u32::try_from(length).unwrap_or(u32::MAX);
    let length_sum = (u32::from(Be16::new((long >> 16) as u16).raw()))
        .wrapping_add(u32::from(Be16::new((long & 0xffff) as u16).raw()));
    if fold(u32::from(pseudo).wrapping_add(length_sum)) != field {
        return false;
    }
    let end = parsed.l4.0.wrapping_add(length);
    // Of a packet that was cut, the whole sum is not known.
    let Some(whole) = frame.get(parsed.l4.0..end).filter(|_| end <= captured) else { return true };
    // A complete checksum makes the whole come to minus zero.
    fold(u32::from(sum(whole)).wrapping_add(u32::from(pseudo)).wrapping_add(length_sum)) != 0xffff
}

/// Bytes from the transport header to the end of the packet.
#[inline]
fn length(frame: &[u8], parsed: &Parsed) -> Option<usize> {
    let l3 = parsed.l3.0;
    let (said, behind) = if parsed.tuple.is_v4() {
        (word(frame, l3.wrapping_add(2))?, 0)
    } else {
        (word(frame, l3.wrapping_add(4))?, ipv6::LENGTH)
    };
    let said = usize::from(Be16::from_raw(said).get());
    // Super-packets of segmentation offload have no length.
    let end = if said == 0 { frame.len() } else { l3.wrapping_add(said).wrapping_add(behind) };
    end.checked_sub(parsed.l4.0)
}

#[inline]
fn word(frame: &[u8], at: usize) -> Option<u16> {
    frame.get(at..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests;
