use super::*;

const IPV4: &[u8] = &[0x45, 0, 0, 20];
const IPV6: &[u8] = &[0x60, 0, 0, 0];
const MAC: [u8; 6] = [0xaa, 0xbb, 0xcc, 0, 1, 2];

fn record(link: u32, data: &[u8]) -> Record<'_> {
    let link = LinkType(link);
    // 100 bytes more on the wire than captured.
    let original_len = data.len() as u32 + 100;
    Record {
        number: 1,
        timestamp: 0,
        interface: 0,
        interface_name: "",
        link,
        data,
        original_len,
        comment: None,
    }
}

fn sll(kind: u8, hardware: u16, length: u8, protocol: u16) -> Vec<u8> {
    let [[h0, h1], [p0, p1]] = [hardware.to_be_bytes(), protocol.to_be_bytes()];
    [&[0, kind, h0, h1, 0, length][..], &MAC, &[0, 0, p0, p1], IPV4].concat()
}

fn sll2(kind: u8, hardware: u16, length: u8, protocol: u16) -> Vec<u8> {
    let [[h0, h1], [p0, p1]] = [hardware.to_be_bytes(), protocol.to_be_bytes()];
    [&[p0, p1, 0, 0, 0, 0, 1, 2, h0, h1, kind, length][..], &MAC, &[0, 0], IPV4].concat()
}

#[test]
fn frames() {
    use Direction::{Inbound, Outbound};
    let (v4, v6) = (ETHERTYPE_IPV4, ETHERTYPE_IPV6);
    let group = [1, 0, 0x5e, 0, 0, 1];
    // Name, link type, bytes, then of the frame: destination, source, Ethernet type, payload, direction, ifindex.
    type Row<'a> =
        (&'a str, u32, Vec<u8>, [u8; 6], [u8; 6], u16, &'a [u8], Option<Direction>, Option<u32>);
    let table: Vec<Row<'_>> = vec![
        ("raw IPv4", 101, IPV4.to_vec(), RECEIVER, SENDER, v4, IPV4, None, None),
        ("raw IPv6", 101, IPV6.to_vec(), RECEIVER, SENDER, v6, IPV6, None, None),
        ("raw as BSD numbers it", 12, IPV6.to_vec(), RECEIVER, SENDER, v6, IPV6, None, None),
        ("raw as OpenBSD numbers it", 14, IPV4.to_vec(), RECEIVER, SENDER, v4, IPV4, None, None),
        ("IPv4 only", 228, IPV4.to_vec(), RECEIVER, SENDER, v4, IPV4, None, None),
        ("IPv6 only", 229, IPV6.to_vec(), RECEIVER, SENDER, v6, IPV6, None, None),
        (
            "null, little-endian",
            0,
            [&[2, 0, 0, 0], IPV4].concat(),
            RECEIVER,
            SENDER,
            v4,
            IPV4,
            None,
            None,
        ),
        (
            "null, big-endian",
            0,
            [&[0, 0, 0, 2], IPV4].concat(),
            RECEIVER,
            SENDER,
            v4,
            IPV4,
            None,
            None,
        ),
        (
            "null of Darwin",
            0,
            [&[30, 0, 0, 0], IPV6].concat(),
            RECEIVER,
            SENDER,
            v6,
            IPV6,
            None,
            None,
        ),
        ("loop", 108, [&[0, 0, 0, 24], IPV6].concat(), RECEIVER, SENDER, v6, IPV6, None, None),
        ("cooked, to us", 113, sll(0, 1, 6, v4), RECEIVER, MAC, v4, IPV4, Some(Inbound), None),
        ("cooked, from us", 113, sll(4, 1, 6, v4), RECEIVER, MAC, v4, IPV4, Some(Outbound), None),
        (
            "cooked, no address",
            113,
            sll(4, 65_534, 0, v4),
            RECEIVER,
            SENDER,
            v4,
            IPV4,
            Some(Outbound),
            None,
        ),
        (
            "cooked, broadcast ARP",
            113,
            sll(1, 1, 6, 0x0806),
            BROADCAST,
            MAC,
            0x0806,
            IPV4,
            Some(Inbound),
            None,
        ),
        ("cooked, multicast", 113, sll(2, 1, 6, v4), group, MAC, v4, IPV4, Some(Inbound), None),
        ("cooked, others' packet", 113, sll(3, 1, 6, v4), RECEIVER, MAC, v4, IPV4, None, None),
        (
            "cooked v2, to us",
            276,
            sll2(0, 1, 6, v4),
            RECEIVER,
            MAC,
            v4,
            IPV4,
            Some(Inbound),
            Some(258),
        ),
        (
            "cooked v2, from us",
            276,
            sll2(4, 772, 6, v4),
            RECEIVER,
            MAC,
            v4,
            IPV4,
            Some(Outbound),
            Some(258),
        ),
    ];
    // One buffer for all, full of what was before.
    let mut buffer = vec![0xee; 64];
    for (name, link, bytes, destination, source, ethertype, payload, direction, ifindex) in table {
        let data = [&destination[..], &source, &ethertype.to_be_bytes(), payload].concat();
        let original_len = data.len() as u32 + 100;
        let expected = Frame { data: &data, original_len, direction, ifindex };
        assert_eq!(to_ethernet(&record(link, &bytes), &mut buffer), Ok(expected), "{name}");
    }
}

#[test]
fn ethernet_is_not_copied() {
    let (data, mut buffer) = ([1, 2, 3], Vec::new());
    let frame = to_ethernet(&record(1, &data), &mut buffer).unwrap();
    assert_eq!((frame.data.as_ptr(), frame.original_len), (data.as_ptr(), 103));
}

#[test]
fn refused() {
    let unknown = "which has no Ethernet type; skip the packet";
    let table: Vec<(&str, u32, Vec<u8>, String)> = vec![
        (
            "radiotap",
            127,
            vec![0; 40],
            "link type 127 (802.11 with radiotap) cannot be replayed; these can: Ethernet (1), Linux cooked (113, 276), \
             raw IP (101, 12, 14, 228, 229), loopback (0, 108)"
                .into(),
        ),
        ("a number without a name", 4_242, vec![], "link type 4242 cannot be replayed; these can: Ethernet (1)".into()),
        (
            "short cooked",
            113,
            vec![0; 15],
            "15 bytes captured, but the header of link type 113 (Linux cooked) has 16; skip the packet".into(),
        ),
        ("short cooked v2", 276, vec![0; 19], "19 bytes captured, but the header of link type 276".into()),
        ("short loopback", 0, vec![0; 3], "3 bytes captured, but the header of link type 0 (BSD loopback) has 4".into()),
        ("empty raw", 101, vec![], "0 bytes captured, but the header of link type 101 (raw IP) has 1".into()),
        ("raw of neither version", 12, vec![0x50], format!("type 12 (raw IP) carries protocol 0x0050, {unknown}")),
        ("loopback of AppleTalk", 108, vec![0, 0, 0, 16], format!("carries protocol 0x0010, {unknown}")),
        ("loop has one byte order", 108, vec![2, 0, 0, 0], format!("carries protocol 0x2000000, {unknown}")),
        ("cooked 802.2", 113, sll(0, 1, 6, 4), format!("carries protocol 0x0004, {unknown}")),
        ("cooked netlink", 113, sll(0, 824, 0, 0x0800), format!("carries protocol 0x0800, {unknown}")),
        ("cooked v2 of radiotap", 276, sll2(0, 803, 6, 0x0800), format!("carries protocol 0x0800, {unknown}")),
    ];
    for (name, link, bytes, expected) in table {
        let error = to_ethernet(&record(link, &bytes), &mut Vec::new()).unwrap_err().to_string();
        assert!(error.contains(&expected), "{name}: {error}");
    }
}
