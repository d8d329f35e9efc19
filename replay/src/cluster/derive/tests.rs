use twinpath_core::bytes::Be16;

use super::*;

fn parsed(text: (&str, u16, &str, u16), udp: bool, flags: u8) -> Parsed {
    let address = |text: &str| Address::from(text.parse::<IpAddr>().unwrap());
    let (source, from, destination, to) = text;
    let protocol = if udp { 17 } else { 6 };
    Parsed {
        tuple: Tuple::new(
            protocol,
            address(source),
            Be16::new(from),
            address(destination),
            Be16::new(to),
        ),
        transport: if udp { Transport::Udp } else { Transport::Tcp },
        flags,
        ..Parsed::default()
    }
}

/// The serving ports of flows with these packets.
fn served(packets: &[Parsed]) -> Vec<u16> {
    let (mut flows, mut order) = (WordMap::default(), Vec::new());
    for packet in packets {
        note(&mut flows, &mut order, packet);
    }
    order
        .iter()
        .map(|tuple| {
            if flows[tuple].destination { tuple.destination_port } else { tuple.source_port }.get()
        })
        .collect()
}

#[test]
fn who_serves() {
    const SYN_ACK: u8 = tcp::SYN | tcp::ACK;
    let (a, b) = ("10.0.0.1", "10.0.0.2");
    let tcp = |from, to, flags| parsed((a, from, b, to), false, flags);
    let back = |from, to, flags| parsed((b, from, a, to), false, flags);
    let udp = |from, to| parsed((a, from, b, to), true, 0);
    let table: &[(&str, &[Parsed], u16)] = &[
        ("a SYN goes to it, whatever its port", &[tcp(80, 40_000, tcp::SYN)], 40_000),
        ("a SYN-ACK comes from it", &[tcp(40_000, 80, SYN_ACK)], 40_000),
        (
            "a handshake later in the capture",
            &[tcp(80, 40_000, tcp::ACK), back(40_000, 80, SYN_ACK)],
            40_000,
        ),
        ("the only low port", &[tcp(443, 40_000, tcp::ACK)], 443),
        ("the lower of two low ports", &[tcp(80, 22, tcp::ACK)], 22),
        ("the lower of two high ports", &[tcp(8_080, 40_000, tcp::ACK)], 8_080),
        ("UDP: the only low port", &[udp(53, 40_000)], 53),
        ("UDP: sent to first", &[udp(5_060, 40_000)], 40_000),
        ("UDP: sent to first, both low", &[udp(53, 123)], 123),
    ];
    for (name, packets, port) in table {
        assert_eq!(served(packets), [*port], "{name}");
    }
}

#[test]
fn made_up_addresses_are_nobodys() {
    let address = |text: &str| Address::from(text.parse::<IpAddr>().unwrap());
    let used = ["198.18.3.4", "198.19.255.255", "2001:db8:7477::1"].map(address);
    let ranges = Ranges::free_of(&used.into_iter().collect());
    assert_eq!(ranges.address(true, 0, 0), "100.127.0.1".parse::<IpAddr>().unwrap());
    assert_eq!(ranges.address(false, 2, 1), "2001:2::22".parse::<IpAddr>().unwrap());
    // All that there can be differ.
    let all: BTreeSet<IpAddr> = (0..MAX_SERVERS)
        .flat_map(|place| (0..NODES).map(move |node| (place, node)))
        .map(|(place, node)| ranges.address(true, place, node))
        .collect();
    assert_eq!(all.len(), MAX_SERVERS * NODES);
}

#[test]
fn what_does_not_fit_is_plain_traffic_and_said() {
    let server = |n: u32| (IpAddr::from(n.to_be_bytes()), Protocol::Udp, 53);
    let servers: Vec<Server> = (0..1_030).map(|n| server(0x0a00_0000 + n)).collect();
    let cluster = cluster(&servers, &BTreeSet::new());
    assert_eq!(cluster.state.services.len(), MAX_SERVERS);
    assert_eq!(cluster.state.pods.len(), MAX_SERVERS * NODES);
    assert!(cluster.notes[0].contains("(6 more servers were left out"), "{}", cluster.notes[0]);
}
