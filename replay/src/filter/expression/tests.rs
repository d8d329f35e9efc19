use proptest::prelude::*;
use twinpath_control::model::Range;

use super::*;

fn read(text: &str) -> Expression {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// An IPv4 packet from 10.0.0.1 to 10.96.0.10.
fn ip4(protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0];
    frame.push(20 + payload.len() as u8);
    frame.extend([0, 1, (fragment >> 8) as u8, fragment as u8, 64, protocol, 0, 0]);
    frame.extend([10, 0, 0, 1, 10, 96, 0, 10]);
    frame.extend(payload);
    frame
}

/// An IPv6 packet from 2001:db8::1 to 2001:db8::2.
fn ip6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x86, 0xdd, 0x60, 0, 0, 0, 0];
    frame.extend([payload.len() as u8, next, 64]);
    for last in [1, 2] {
        frame.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    }
    frame.extend(payload);
    frame
}

/// Ports 40000 to 80, and what follows them.
fn tcp(flags: u8) -> Vec<u8> {
    [&[0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags][..], &[0; 6]].concat()
}

fn tagged(frame: &[u8], ids: &[u16]) -> Vec<u8> {
    let mut result = frame[..12].to_vec();
    for id in ids {
        result.extend([0x81, 0, (id >> 8) as u8, *id as u8]);
    }
    result.extend(&frame[12..]);
    result
}

fn arp() -> Vec<u8> {
    let mut frame = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]].concat();
    frame.extend([2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 9]);
    frame
}

/// Frames by the names that the table has.
fn frame(name: &str) -> Vec<u8> {
    match name {
        "syn" => ip4(6, 0, &tcp(2)),
        "ack" => ip4(6, 0, &tcp(16)),
        "fragment" => ip4(6, 5, &tcp(2)),
        "udp" => ip4(17, 0, &[0, 53, 0x30, 0x39, 0, 12, 0, 0, 1, 2, 3, 4]),
        "sctp" => ip4(132, 0, &[0x9c, 0x40, 0, 80, 0, 0, 0, 0]),
        "echo" => ip4(1, 0, &[8, 0, 0, 0, 0, 1, 0, 1]),
        "syn6" => ip6(6, &tcp(2)),
        "part6" => ip6(44, &[&[6, 0, 0, 1, 0, 0, 0, 1][..], &tcp(2)].concat()),
        "echo6" => ip6(58, &[128, 0, 0, 0, 0, 1, 0, 1]),
        "vlan" => tagged(&ip4(6, 0, &tcp(2)), &[300]),
        "double" => tagged(&ip4(6, 0, &tcp(2)), &[300, 200]),
        "arp" => arp(),
        "cut" => ip4(6, 0, &tcp(2))[..20].to_vec(),
        "none" => Vec::new(),
        other => panic!("{other}"),
    }
}

const FRAMES: [&str; 14] = [
    "syn", "ack", "fragment", "udp", "sctp", "echo", "syn6", "part6", "echo6", "vlan", "double",
    "arp", "cut", "none",
];

/// An expression, and the frames that it matches; those after `vlan` as the manual says.
const TABLE: [(&str, &str); 66] = [
    ("ip", "syn ack fragment udp sctp echo cut"),
    ("ip6", "syn6 part6 echo6"),
    ("arp", "arp"),
    ("not ip", "syn6 part6 echo6 vlan double arp"),
    ("tcp", "syn ack fragment syn6 part6"),
    ("udp", "udp"),
    ("sctp", "sctp"),
    ("icmp", "echo"),
    ("icmp6", "echo6"),
    ("ip proto 6", "syn ack fragment"),
    (r"ip proto \tcp", "syn ack fragment"),
    ("ip6 proto tcp", "syn6 part6"),
    ("proto 17", "udp"),
    ("ether proto 0x806", "arp"),
    (r"ether proto \arp", "arp"),
    ("host 10.0.0.1", "syn ack fragment udp sctp echo arp"),
    ("dst host 10.0.0.1", ""),
    ("dst 10.96.0.10", "syn ack fragment udp sctp echo"),
    ("src 10.0.0.1 and not arp", "syn ack fragment udp sctp echo"),
    ("src or dst host 10.0.0.9", "arp"),
    ("src and dst net 10.0.0.0/8", "syn ack fragment udp sctp echo arp"),
    ("dst and src host 10.0.0.1", ""),
    ("ip host 10.0.0.1", "syn ack fragment udp sctp echo"),
    ("arp host 10.0.0.1", "arp"),
    ("host 2001:db8::2", "syn6 part6 echo6"),
    ("ip6 src host 2001:db8::2", ""),
    ("net 2001:db8::/32", "syn6 part6 echo6"),
    ("net 2001:db8:8000::/33", ""),
    ("net 10.96", "syn ack fragment udp sctp echo"),
    ("net 10.96.0.0 mask 255.255.0.0", "syn ack fragment udp sctp echo"),
    ("net 11", ""),
    ("net 0.0.0.0/0 and icmp", "echo"),
    ("ether host 2:0:0:0:0:1 and arp", "arp"),
    ("ether src 02:00:00:00:00:01 and arp", "arp"),
    ("ether dst host 02-00-00-00-00-01", ""),
    ("port 80", "syn ack sctp syn6"),
    ("port http", "syn ack sctp syn6"),
    ("tcp port 80", "syn ack syn6"),
    ("tcp src port 80", ""),
    ("src port 53", "udp"),
    ("port 80 or 53", "syn ack udp sctp syn6"),
    ("port (80 or 53) and not tcp", "udp sctp"),
    ("tcp dst port 443 or 80", "syn ack syn6"),
    ("portrange 50-60", "udp"),
    ("dst portrange 90-79", "syn ack sctp syn6"),
    ("not port 80", "fragment udp echo part6 echo6 vlan double arp"),
    ("less 50", "sctp echo udp arp cut none"),
    ("greater 74", "syn6 part6"),
    ("len = 42", "sctp echo arp"),
    ("len > 0x2a and len < 054", ""),
    ("tcp[tcpflags] & (tcp-syn|tcp-ack) != 0", "syn ack"),
    ("tcp[13] == 2", "syn"),
    ("not tcp[13] = 2", "ack fragment udp sctp echo syn6 part6 echo6 vlan double arp"),
    ("ip[0] & 0xf = 5 and (ip[9:1] + 2 * 2) / 7 = 3", "udp"),
    ("ip[2:2] - ((ip[0] & 0xf) << 2) = 8", "sctp echo"),
    ("icmp[icmptype] = icmp-echo", "echo"),
    ("icmp6[icmp6type] == icmp6-echo", "echo6"),
    ("ip6[6] = 58 || arp[7] = 1", "echo6 arp"),
    ("ether[0] & 1 = 1", "arp"),
    ("ether multicast", "arp"),
    ("vlan", "vlan double"),
    ("vlan 200", ""),
    ("vlan 300 and vlan 200", "double"),
    ("vlan and tcp dst port 80", "vlan"),
    ("tcp or (vlan and tcp[13] = 2)", "syn ack fragment syn6 part6 vlan"),
    ("vlan and vlan and host 10.0.0.1", "double"),
];

#[test]
fn expressions_match_what_the_manual_says() {
    for (text, expected) in TABLE {
        let expression = read(text);
        let mut expected: Vec<&str> = expected.split(' ').filter(|name| !name.is_empty()).collect();
        expected.sort_unstable();
        let matches = |name: &&str| {
            let data = frame(name);
            expression.matches(&data, data.len() as u32)
        };
        let mut found: Vec<&str> = FRAMES.into_iter().filter(matches).collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{text} ({expression})");
    }
}

#[test]
fn what_was_not_captured_matches_nothing_and_the_length_is_that_on_the_wire() {
    let (whole, cut) = (frame("syn"), frame("cut"));
    for text in ["host 10.0.0.1", "not host 10.0.0.1", "port 80", "not port 80", "ip[19] >= 0"] {
        assert!(!read(text).matches(&cut, whole.len() as u32), "{text}");
    }
    assert!(read("len = 54 and ip").matches(&cut, whole.len() as u32));
    // What decides before is enough.
    assert!(read("ip or host 10.0.0.1").matches(&cut, 54));
    assert!(!read("ip[0] / (len - len) = 0").matches(&whole, 54));
}

#[test]
fn and_or_bind_equally_and_from_the_left() {
    for (text, same) in [
        ("ip or tcp and udp", "(ip or tcp) and udp"),
        ("not ip and tcp", "(not ip) and tcp"),
        ("! ip || tcp && udp", "(not ip or tcp) and udp"),
    ] {
        for name in FRAMES {
            let data = frame(name);
            let matches = |text| read(text).matches(&data, data.len() as u32);
            assert_eq!(matches(text), matches(same), "{text}, {name}");
        }
    }
    for (arithmetic, value) in [
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("7 - 2 - 1", 4),
        ("1 | 2 ^ 3 & 1", 3),
        ("1 << 2 + 1", 8),
        ("0 - 1 >> 31", 1),
        ("17 % 5 * 2", 4),
        ("- 2 + 3", 1),
    ] {
        let text = format!("{arithmetic} = {value}");
        assert!(read(&text).matches(&[], 0), "{text}");
    }
}

#[test]
fn errors_say_where_and_what() {
    for (text, at, words) in [
        ("", 1, "expected a test, found the end"),
        ("tcp prot 80", 5, "expected `and`, `or` or the end, found `prot`"),
        ("port", 5, "expected a number, found the end"),
        ("port 70000", 6, "70000 is over 65535"),
        ("port htp", 6, "expected a port, found `htp`"),
        ("host web.example", 6, "names are not looked up"),
        ("host 10.0.0.256", 6, "`10.0.0.256` is no address"),
        ("10.0.0.1", 1, "expected a test such as `host` or `port` before"),
        ("tcp or 80", 8, "expected a test such as `host` or `port` before"),
        ("ip host ::1", 9, "`ip` has no addresses of this family"),
        ("tcp host 10.0.0.1", 10, "`tcp` has no addresses"),
        ("ip port 80", 9, "`ip` has no ports"),
        ("net 10.0.0.1/8", 5, "10.0.0.1/8 has bits behind the prefix; is it 10.0.0.0/8?"),
        ("net 10.0.0.0/33", 14, "33 is over 32"),
        ("net 10.0.0.0 mask 255.0.255.0", 19, "a mask has its ones at the front"),
        ("vlan 5000", 6, "5000 is over 4095"),
        ("tcp[0:3] = 1", 8, "a size is 1, 2 or 4"),
        ("tcp[0 = 1", 7, "expected `]`"),
        ("(tcp and udp", 13, "expected `)`"),
        ("(tcp[0] + 1 = 2", 16, "expected `)`"),
        ("len", 4, "expected a comparison"),
        ("1 / 0 = 1", 7, "division by zero"),
        ("1 << 32 = 1", 9, "a shift by more than 31 bits"),
        ("ether", 6, "expected `host`"),
        ("ether host 10.0.0.1", 12, "a link address"),
        ("ether proto 5", 14, "the field is a length"),
        ("gateway x", 1, "`gateway` is not supported"),
        ("ip broadcast", 4, "needs the network's mask"),
        ("tcp # x", 5, "`#` is no part of filter expressions"),
        ("ü", 1, "is no part"),
        ("tcp port 99999999999", 10, "is no number of 32 bits"),
        ("tcp and", 8, "expected a test, found the end"),
        ("(port 80) or 443", 14, "expected a test such as"),
    ] {
        let error = text.parse::<Expression>().unwrap_err();
        assert!(error.at == at && error.problem.contains(words), "{text}: {error}");
        assert!(!error.to_string().contains('\n'));
    }
    for deep in ["(".repeat(5_000), "not ".repeat(1_000), "- ".repeat(1_000), "(".repeat(900)] {
        assert!(deep.parse::<Expression>().is_err());
    }
    let long = format!("len {} = 1", "+ 1 ".repeat(900));
    assert!(long.parse::<Expression>().is_ok());
}

fn any_over() -> impl Strategy<Value = Over> {
    (0..words::PROTOCOLS.len()).prop_map(|i| words::PROTOCOLS[i].1)
}

fn any_arithmetic() -> impl Strategy<Value = Arithmetic> {
    let leaf = prop_oneof![
        (1..100_u32).prop_map(Arithmetic::Number),
        any::<u32>().prop_map(Arithmetic::Number),
        Just(Arithmetic::Length),
    ];
    leaf.prop_recursive(4, 12, 2, |inner| {
        prop_oneof![
            (any_over(), inner.clone(), 0..3_u8).prop_map(|(over, offset, size)| {
                Arithmetic::Load(over, Box::new(offset), 1 << size, 0)
            }),
            inner.clone().prop_map(|inner| Arithmetic::Negative(Box::new(inner))),
            (inner.clone(), 0..tree::OPERATORS.len(), inner).prop_filter_map(
                "of constants that make no sense",
                |(left, operator, right)| {
                    if matches!(right, Arithmetic::Number(by) if by == 0 || by > 31) {
                        return None;
                    }
                    let operator = tree::OPERATORS[operator].0;
                    Some(Arithmetic::Binary(Box::new(left), operator, Box::new(right)))
                }
            ),
        ]
    })
}

fn any_test() -> impl Strategy<Value = Test> {
    let direction = prop_oneof![
        Just(Direction::Source),
        Just(Direction::Destination),
        Just(Direction::Either),
        Just(Direction::Both),
    ];
    let family = prop_oneof![Just(None), Just(Some(Family::V4)), Just(Some(Family::V6))];
    let range = (any::<std::net::IpAddr>(), any::<u8>()).prop_map(|(address, length)| {
        let length = length % if address.is_ipv4() { 33 } else { 129 };
        let range = Range { address, length };
        Range { address: range.first(), length }
    });
    let over = prop_oneof![Just(None), Just(Some(Over::Ip)), Just(Some(Over::Rarp))];
    let ported = prop_oneof![Just(None), Just(Some(6)), Just(Some(132))];
    prop_oneof![
        (1_501..=u16::MAX).prop_map(Test::Ethertype),
        (family, any::<u8>()).prop_map(|(family, number)| Test::Protocol(family, number)),
        (over, direction.clone(), range).prop_map(|(over, direction, range)| {
            let over = over.filter(|_| range.address.is_ipv4());
            Test::Network(over, direction, range)
        }),
        (ported, direction.clone(), any::<u16>(), any::<u16>())
            .prop_map(|(over, end, a, b)| Test::Port(over, end, a.min(b), a.max(b))),
        (direction, any::<[u8; 6]>()).prop_map(|(end, mac)| Test::Link(end, mac)),
        proptest::option::of(0..4_096_u16).prop_map(Test::Vlan),
    ]
}

fn any_expression() -> impl Strategy<Value = Expression> {
    let relation = (0..tree::RELATIONS.len()).prop_map(|i| tree::RELATIONS[i].0);
    let leaf = prop_oneof![
        any_test().prop_map(|test| Expression::Test(test, 0)),
        (any_arithmetic(), relation, any_arithmetic())
            .prop_map(|(left, relation, right)| Expression::Compare(left, relation, right)),
    ];
    let join = prop_oneof![Just(Join::And), Just(Join::Or)];
    let any = leaf.prop_recursive(4, 16, 3, move |inner| {
        prop_oneof![
            inner.clone().prop_map(|inner| Expression::Not(Box::new(inner))),
            (inner.clone(), proptest::collection::vec((join.clone(), inner), 1..3))
                .prop_map(|(first, rest)| Expression::Chain(Box::new(first), rest)),
        ]
    });
    any.prop_map(|mut expression| {
        settle(&mut expression, &mut 0);
        expression
    })
}

/// Counts the tags as the parser does: in the order of the text.
fn settle(expression: &mut Expression, before: &mut u16) {
    match expression {
        Expression::Test(test, tags) => {
            *tags = *before;
            *before += u16::from(matches!(test, Test::Vlan(_)));
        }
        Expression::Compare(left, _, right) => {
            settle_numbers(left, *before);
            settle_numbers(right, *before);
        }
        Expression::Not(inner) => settle(inner, before),
        Expression::Chain(first, rest) => {
            settle(first, before);
            for (_, next) in rest {
                settle(next, before);
            }
        }
    }
}

fn settle_numbers(arithmetic: &mut Arithmetic, before: u16) {
    match arithmetic {
        Arithmetic::Number(_) | Arithmetic::Length => {}
        Arithmetic::Load(_, offset, _, tags) => {
            *tags = before;
            settle_numbers(offset, before);
        }
        Arithmetic::Negative(inner) => settle_numbers(inner, before),
        Arithmetic::Binary(left, _, right) => {
            settle_numbers(left, before);
            settle_numbers(right, before);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn what_is_printed_is_read_back(expression in any_expression()) {
        let text = expression.to_string();
        let again: Expression = text.parse().map_err(|e| TestCaseError::fail(format!("{text}: {e}")))?;
        prop_assert_eq!(&again, &expression, "{}", text);
        prop_assert_eq!(again.to_string(), text);
    }

    #[test]
    fn no_text_makes_it_panic(
        text in prop_oneof![
            any::<String>(),
            "([a-z0-9.:/() !&|<>=\\[\\]\\\\+*-]|tcp|port|host|vlan|not|or|and|src|10\\.0\\.0\\.1){0,40}",
        ],
        data in proptest::collection::vec(any::<u8>(), 0..80),
    ) {
        if let Ok(expression) = text.parse::<Expression>() {
            expression.matches(&data, 100);
            prop_assert_eq!(expression.to_string().parse(), Ok(expression));
        }
    }

    #[test]
    fn no_frame_makes_it_panic(
        expression in any_expression(),
        data in proptest::collection::vec(any::<u8>(), 0..80),
        name in 0..FRAMES.len(),
    ) {
        expression.matches(&data, 80);
        let frame = frame(FRAMES[name]);
        for end in 0..frame.len() {
            expression.matches(&frame[..end], 80);
        }
    }
}
