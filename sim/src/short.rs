//! The short form of IPv4 tuples as keys of maps in userspace.

use twinpath_core::address::Address;
use twinpath_core::bytes::Be16;
use twinpath_core::tuple::Tuple;

/// An IPv4 tuple in two words: the bytes of [`Tuple4`](twinpath_core::tuple::Tuple4), in memory order.
///
/// Words and not fields, because a key is hashed by words: a processor that has just written parts of
/// a word waits for them before it can read the whole.
pub type Short = [u64; 2];

/// The short form of an IPv4 tuple; of another, something without meaning.
#[inline(always)]
pub const fn short(tuple: &Tuple) -> Short {
    let ports = [tuple.source_port.raw(), tuple.destination_port.raw()];
    [words(tuple.source.low(), tuple.destination.low()), words(halves(ports), protocol(tuple))]
}

/// The tuple of a short form.
pub fn long(short: &Short) -> Tuple {
    let [[source, destination], [ports, protocol]] = short.map(split);
    let address = |word: u32| Address::v4(word.to_ne_bytes());
    let [a, b, c, d] = ports.to_ne_bytes();
    let port = |bytes| Be16::from_raw(u16::from_ne_bytes(bytes));
    let protocol = (protocol & 0xff) as u8;
    Tuple::new(protocol, address(source), port([a, b]), address(destination), port([c, d]))
}

#[inline(always)]
const fn protocol(tuple: &Tuple) -> u32 {
    tuple.protocol as u32
}

/// Two words that lie one behind the other in memory, as one.
#[inline(always)]
const fn words(first: u32, second: u32) -> u64 {
    let ([a, b, c, d], [e, f, g, h]) = (first.to_ne_bytes(), second.to_ne_bytes());
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

#[inline(always)]
const fn halves([first, second]: [u16; 2]) -> u32 {
    let ([a, b], [c, d]) = (first.to_ne_bytes(), second.to_ne_bytes());
    u32::from_ne_bytes([a, b, c, d])
}

const fn split(word: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = word.to_ne_bytes();
    [u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h])]
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinpath_core::bytes::Pod;
    use twinpath_core::tuple::Tuple4;

    #[test]
    fn the_short_form_holds_all_and_lies_in_memory_as_the_kernels() {
        let ends = [
            (6, [10, 0, 0, 1], 1, [10, 96, 0, 1], 80),
            (17, [255, 1, 2, 3], 65_535, [1, 0, 0, 0], 0),
        ];
        for (protocol, source, from, destination, to) in ends {
            let tuple = Tuple::new(
                protocol,
                Address::v4(source),
                Be16::new(from),
                Address::v4(destination),
                Be16::new(to),
            );
            assert_eq!(long(&short(&tuple)), tuple);
            assert_eq!(short(&tuple).as_bytes(), Tuple4::from(&tuple).as_bytes());
        }
    }
}
