//! The encodings, byte by byte.

use super::*;
use crate::bytes::Pod;
use crate::checksum::sum;

fn address(text: &str) -> Address {
    Address::from(text.parse::<core::net::IpAddr>().unwrap())
}

/// Bytes are valid as long as those at `fixed` are not changed, whatever is at others.
fn hold<T: Pod>(bytes: &[u8], fixed: &[usize], is_valid: impl Fn(&T) -> bool) {
    for at in 0..bytes.len() {
        for change in [0x01, 0x10, 0x80, 0xff] {
            let mut changed = bytes.to_vec();
            changed[at] ^= change;
            let value = T::read_from(&changed).unwrap();
            assert_eq!(is_valid(&value), !fixed.contains(&at), "byte {at}, changed by {change:#x}");
        }
    }
}

/// In network byte order, as an option should be. (Other load balancers' option of this type has address
/// and port the other way round; the two do not talk to each other.)
#[test]
fn the_ipv4_option() {
    let option = Option4::new(&address("10.0.10.1"), Be16::new(80));
    let expected = [
        0x9a, 8, // type, length
        0x00, 0x50, // port 80
        10, 0, 10, 1, // address
    ];
    assert_eq!(option.as_bytes(), expected);
    assert!(option.is_valid());
    hold(&expected, &[0, 1], Option4::is_valid);
    assert_eq!(option.sum().0, sum(&expected));
    assert_eq!(Address::v4(option.address.to_ne_bytes()), address("10.0.10.1"));
}

#[test]
fn the_ipv6_destination_option() {
    let option = Option6::new(wire::TCP, &address("2001:db8::80"), Be16::new(8443));
    let expected = [
        6, 2, // TCP follows; 24 bytes
        0x1b, 20, // option type, length of its data
        0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, // address
        0x20, 0xfb, // port 8443
        0, 0,
    ];
    assert_eq!(option.as_bytes(), expected);
    assert!(option.is_valid());
    hold(&expected, &[1, 2, 3], Option6::is_valid);
    assert_eq!(Address::from_words(option.address), address("2001:db8::80"));
}

#[test]
fn geneve() {
    let outer = Outer::new(source_port(0x1234_5678), 12, 12 + 14 + 60);
    let expected = [
        0xd6, 0x78, // source port: 14 bits of the hash
        0x17, 0xc1, // destination port 6081
        0, 102, // length: 16 of these headers, 12 of the option, 14, 60
        0, 0, // no checksum
        3, 0x40, // version 0, three words of options; critical
        0x65, 0x58, // Ethernet
        0, 0, 0, 0, // network 0
    ];
    assert_eq!(outer.as_bytes(), expected);
    assert!(outer.is_valid(12) && !outer.is_valid(24));

    let option = Geneve4::new(&address("10.0.10.1"), Be16::new(80), wire::TCP);
    let expected = [
        0xff, 0x54, 0x81, 2, // class, critical type, two words
        10, 0, 10, 1, // address
        0x00, 0x50, 6, 0, // port, protocol
    ];
    assert_eq!(option.as_bytes(), expected);
    assert!(option.is_valid());
    hold(&expected, &[0, 1, 2, 3], Geneve4::is_valid);

    let option = Geneve6::new(&address("2001:db8::80"), Be16::new(53), wire::UDP);
    let expected = [
        0xff, 0x54, 0x81, 5, // class, critical type, five words
        0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, // address
        0x00, 0x35, 17, 0, // port, protocol
    ];
    assert_eq!(option.as_bytes(), expected);
    assert!(option.is_valid());
    hold(&expected, &[0, 1, 2, 3], Geneve6::is_valid);
}

#[test]
fn outer_headers() {
    let mut inner = ipv4::Header::zeroed();
    inner.tos = 0x2e;
    let (from, to) = (address("192.168.0.11"), address("10.244.2.11"));
    let outer = outer4(&inner, wire::IPV4, 60, &from, &to);
    let expected = [
        0x45, 0x2e, 0, 80, // no options, type of service of the packet within, length
        0, 0, 0x40, 0, // identification, DF
        64, 4, 0x6c, 0xca, // time to live, IPv4, checksum
        192, 168, 0, 11, //
        10, 244, 2, 11,
    ];
    assert_eq!(outer.as_bytes(), expected);
    assert_eq!(sum(&expected), 0xffff);

    let mut inner = ipv6::Header::zeroed();
    inner.version_and_flow = [0x62, 0xe1, 0x23, 0x45];
    let (from, to) = (address("fd00::11"), address("fd00:244::11"));
    let outer = outer6(&inner, wire::IPV6, 100, &from, &to);
    let expected = [
        0x62, 0xe1, 0x23, 0x45, // class and flow of the packet within
        0, 100, 41, 64, // length, IPv6, hop limit
        0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x11, //
        0xfd, 0, 0x02, 0x44, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x11,
    ];
    assert_eq!(outer.as_bytes(), expected);
}

#[test]
fn lengths() {
    use Forwarding::{DsrGeneve, DsrIpip, DsrOption, Snat};
    let all =
        [Snat, DsrOption, DsrIpip, DsrGeneve].map(|w| [overhead(w, true), overhead(w, false)]);
    assert_eq!(all, [[0, 0], [8, 24], [20, 40], [62, 94]]);
    assert!(has_place(52, 0, true) && !has_place(56, 0, true) && !has_place(60, 0, true));
    assert!(has_place(40, wire::TCP, false) && !has_place(40, ipv6::HOP_BY_HOP, false));
}
