//! Tunnels of node networks taken off: VXLAN (RFC 7348), Geneve (RFC 8926), IP in IP (RFC 2003, 4213, 2473).

/// Bytes of headers.
const ETHERNET: usize = 14;
const TAG: usize = 4;
const IPV6: usize = 40;
const UDP: usize = 8;
const VXLAN: usize = 8;
const GENEVE: usize = 8;
/// Destination ports: VXLAN's and the one Linux, and with it flannel, had before there was a standard; Geneve's.
const VXLAN_PORTS: [u16; 2] = [4789, 8472];
const GENEVE_PORT: u16 = 6081;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// A frame in Geneve.
const BRIDGED: u16 = 0x6558;

/// What is in a tunnel: a frame that starts at this byte, or a packet with its Ethernet type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inner {
    Frame(usize),
    Packet(usize, u16),
}

/// Takes one tunnel header off a frame, if it has any. A packet without a link header keeps that of its tunnel.
pub(super) fn take_off(frame: &mut Vec<u8>, original_len: &mut u32) {
    let Some(inner) = inner(frame) else { return };
    let start = match inner {
        Inner::Frame(start) => start,
        Inner::Packet(at, ethertype) => {
            let Some(start) = at.checked_sub(ETHERNET) else { return };
            frame.copy_within(..ETHERNET, start);
            if let Some(field) = frame.get_mut(at.wrapping_sub(2)..at) {
                field.copy_from_slice(&ethertype.to_be_bytes());
            }
            start
        }
    };
    frame.drain(..start);
    *original_len = original_len.saturating_sub(start as u32);
}

/// Whether a frame carries another's.
pub(crate) fn is_tunnel(frame: &[u8]) -> bool {
    inner(frame).is_some()
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|word| u16::from_be_bytes(*word))
}

fn inner(frame: &[u8]) -> Option<Inner> {
    let (mut ethertype, mut l3) = (word(frame, 12)?, ETHERNET);
    for _ in 0..2 {
        if matches!(ethertype, 0x8100 | 0x88a8) {
            ethertype = word(frame, l3 + 2)?;
            l3 += TAG;
        }
    }
    let (protocol, l4) = match ethertype {
        ETHERTYPE_IPV4 => {
            let first = *frame.get(l3)?;
            let later_part = word(frame, l3 + 6)? & 0x1fff != 0;
            let length = usize::from(first & 0xf) * 4;
            if first >> 4 != 4 || length < 20 || later_part {
                return None;
            }
            (*frame.get(l3 + 9)?, l3 + length)
        }
        ETHERTYPE_IPV6 => (*frame.get(l3 + 6)?, l3 + IPV6),
        _ => return None,
    };
    let first = |at: usize| frame.get(at).map(|byte| byte >> 4);
    let inner = match protocol {
        4 if first(l4)? == 4 => Inner::Packet(l4, ETHERTYPE_IPV4),
        41 if first(l4)? == 6 => Inner::Packet(l4, ETHERTYPE_IPV6),
        17 => {
            let (port, header) = (word(frame, l4 + 2)?, l4 + UDP);
            // The flag that says that there is a network number must be set.
            if VXLAN_PORTS.contains(&port) && frame.get(header)? & 0x08 != 0 {
                Inner::Frame(header + VXLAN)
            } else if port == GENEVE_PORT && first(header)? >> 2 == 0 {
                let start = header + GENEVE + usize::from(frame.get(header)? & 0x3f) * 4;
                match word(frame, header + 2)? {
                    BRIDGED => Inner::Frame(start),
                    kind @ (ETHERTYPE_IPV4 | ETHERTYPE_IPV6) => Inner::Packet(start, kind),
                    _ => return None,
                }
            } else {
                return None;
            }
        }
        _ => return None,
    };
    let (Inner::Frame(start) | Inner::Packet(start, _)) = inner;
    // A frame needs its link header, a packet at least its first byte, as seen above.
    let least = if matches!(inner, Inner::Frame(_)) { ETHERNET } else { 1 };
    (start + least <= frame.len()).then_some(inner)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Ethernet with addresses of 1, and an IP header of this protocol.
    fn outer(version: u8, protocol: u8) -> Vec<u8> {
        let mut frame = vec![1; 12];
        if version == 4 {
            frame.extend([8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol]);
            frame.extend([0; 10]);
        } else {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, protocol, 64]);
            frame.extend([0; 32]);
        }
        frame
    }

    fn udp(port: u16, behind: &[u8]) -> Vec<u8> {
        [&[0, 9][..], &port.to_be_bytes(), &[0, 0, 0, 0], behind].concat()
    }

    #[test]
    fn tunnels() {
        let frame = [&[7; 12][..], &[8, 0, 0x45], &[9; 30]].concat();
        let ip4 = [&[0x45][..], &[9; 30]].concat();
        let ip6 = [&[0x60][..], &[9; 50]].concat();
        let vxlan = [8, 0, 0, 0, 0, 0, 5, 0];
        let geneve = |options: u8, kind: u16| {
            let [a, b] = kind.to_be_bytes();
            [&[options, 0, a, b, 0, 0, 5, 0][..], &vec![3; usize::from(options) * 4]].concat()
        };
        let under = |ethertype: u16, packet: &[u8]| {
            [&[1; 12][..], &ethertype.to_be_bytes(), packet].concat()
        };
        for version in [4, 6] {
            for (name, protocol, rest, expected) in [
                ("vxlan", 17, [udp(4789, &vxlan), frame.clone()].concat(), Some(frame.clone())),
                ("flannel", 17, [udp(8472, &vxlan), frame.clone()].concat(), Some(frame.clone())),
                ("no network number", 17, [udp(4789, &[0; 8]), frame.clone()].concat(), None),
                ("another port", 17, [udp(53, &vxlan), frame.clone()].concat(), None),
                (
                    "geneve",
                    17,
                    [udp(6081, &geneve(0, 0x6558)), frame.clone()].concat(),
                    Some(frame.clone()),
                ),
                (
                    "geneve, options",
                    17,
                    [udp(6081, &geneve(3, 0x6558)), frame.clone()].concat(),
                    Some(frame.clone()),
                ),
                (
                    "geneve, IPv4",
                    17,
                    [udp(6081, &geneve(1, 0x800)), ip4.clone()].concat(),
                    Some(under(0x800, &ip4)),
                ),
                ("geneve, else", 17, [udp(6081, &geneve(0, 0x806)), ip4.clone()].concat(), None),
                ("ipip", 4, ip4.clone(), Some(under(0x800, &ip4))),
                ("sit", 41, ip6.clone(), Some(under(0x86dd, &ip6))),
                ("not IPv4", 4, ip6.clone(), None),
                ("cut", 17, [udp(4789, &vxlan), vec![7; 13]].concat(), None),
                ("nothing", 4, vec![], None),
            ] {
                let whole = [outer(version, protocol), rest].concat();
                let (mut found, mut length) = (whole.clone(), whole.len() as u32 + 100);
                take_off(&mut found, &mut length);
                let expected = expected.unwrap_or(whole);
                assert_eq!(found, expected, "{name} in IPv{version}");
                assert_eq!(length as usize, expected.len() + 100, "{name} in IPv{version}");
            }
        }
        let mut tagged = [outer(4, 4), ip4.clone()].concat();
        tagged.splice(12..12, [0x81, 0, 0, 5]);
        let mut length = tagged.len() as u32;
        take_off(&mut tagged, &mut length);
        assert_eq!(tagged, under(0x800, &ip4));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_000) })]

        #[test]
        fn any_bytes(version in 4..7_u8, protocol in prop_oneof![Just(4), Just(17), Just(41), any::<u8>()],
            port in prop_oneof![Just(4789), Just(6081), any::<u16>()],
            rest in prop::collection::vec(any::<u8>(), 0..60), cut in 0..120_usize) {
            let mut frame = [outer(version, protocol), udp(port, &rest)].concat();
            frame.truncate(cut);
            let (before, mut length) = (frame.len(), cut as u32);
            take_off(&mut frame, &mut length);
            prop_assert!(frame.len() <= before);
        }
    }
}
