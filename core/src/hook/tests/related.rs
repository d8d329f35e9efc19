//! ICMP errors through every translation.
//!
//! The measure is the packet that the error is about: whatever was done to it on its way here, its sender
//! must be quoted what it sent, but for the hops that it has taken, and as much of it as was quoted.

use proptest::prelude::*;

use super::errors::{Kind, error, mend_header, with_options};
use super::script::{Family, REMOTE, V4, V6, World, both};
use crate::address::Address;
use crate::bytes::Pod;
use crate::checksum::sum;
use crate::conntrack;
use crate::conntrack::Flow;
use crate::drop_reason::DropReason;
use crate::parse::{Transport, parse};
use crate::seam::{Metric, option};
use crate::service::Scope;
use crate::state::Phase;
use crate::testing::{Frame, frame_with, tuple, work};
use crate::verdict::{Exit, Status, Verdict};
use crate::wire::tcp;

/// A connection's packets in both directions, and where errors about them may come from.
struct Case {
    /// The way and the tuple of the packet that opens the connection.
    opener: (&'static str, &'static str),
    /// The same of the answer.
    answer: (&'static str, &'static str),
    /// Sees to it that the opener's packet is translated as it should be.
    prepare: fn(&mut World),
}

/// `?` is the port that the node has drawn.
const CASES: [Case; 9] = [
    Case {
        opener: ("pod 10", "tcp client:1000 > vip:80"),
        answer: ("pod 11", "tcp local:8080 > client:1000"),
        prepare: |_| {},
    },
    Case {
        opener: ("pod 10", "udp client:1000 > vip:80"),
        answer: ("netdev", "udp remote:8080 > client:1000"),
        prepare: |world| world.node.host.draws = vec![REMOTE],
    },
    // SNAT and DNAT at once.
    Case {
        opener: ("netdev", "tcp outside:1000 > lb:80"),
        answer: ("netdev", "tcp remote:8080 > node:?"),
        prepare: |world| world.expose(("lb", 80), Scope::External, 9, &["remote"], |_| {}),
    },
    Case {
        opener: ("netdev", "udp outside:1000 > lb:80"),
        answer: ("netdev", "udp remote:8080 > node:?"),
        prepare: |world| world.expose(("lb", 80), Scope::External, 9, &["remote"], |_| {}),
    },
    // SNAT alone.
    Case {
        opener: ("pod 10", "udp client:1000 > far:53"),
        answer: ("netdev", "udp far:53 > node:?"),
        prepare: masquerade,
    },
    Case {
        opener: ("pod 10", "echo client:1000 > far:0"),
        answer: ("netdev", "echo far:0 > node:?"),
        prepare: masquerade,
    },
    Case {
        opener: ("pod 10", "sctp client:1000 > far:53"),
        answer: ("netdev", "sctp far:53 > node:?"),
        prepare: masquerade,
    },
    // A pod that is given itself.
    Case {
        opener: ("pod 11", "tcp local:1000 > vip:80"),
        answer: ("pod 11", "tcp local:8080 > hairpin:?"),
        prepare: |world| {
            world.node.config.hairpin4 = V4.end("hairpin", 0).ip().into();
            world.node.config.hairpin6 = V6.end("hairpin", 0).ip().into();
        },
    },
    // No translation at all.
    Case {
        opener: ("pod 10", "udp client:1000 > local:53"),
        answer: ("pod 11", "udp local:53 > client:1000"),
        prepare: |_| {},
    },
];

fn masquerade(world: &mut World) {
    world.node.config.options |= option::MASQUERADE;
}

/// A packet as its sender sent it, and as it left here; the ways by which an error about it comes from the
/// end that it went to.
struct Passed {
    sent: Frame,
    left: Frame,
    /// How the error comes from the packet's destination, and where it must go.
    from_end: &'static str,
    to: Verdict,
}

/// Opens the case's connection and sends a packet of each direction with so much payload and so many
/// options.
fn pass(world: &mut World, case: &Case, payload: usize, options: u8) -> [Passed; 2] {
    (case.prepare)(world);
    let data: Vec<u8> = (0..payload).map(|i| (i * 7 + 3) as u8).collect();
    let mut port = String::new();
    let mut send = |world: &mut World, (way, text): (&'static str, &str), options, flags| {
        let text = world.family.spell(&text.replace('?', &port));
        let sent = with_options(&frame_with(&text, flags, &data), options);
        let mut left = sent.clone();
        let verdict = world.hand(way, &mut left).verdict();
        assert!(!matches!(verdict, Verdict::Drop(_) | Verdict::Reject(_)), "{text}: {verdict:?}");
        let tuple = parse(&left).unwrap().unwrap().tuple;
        // An echo's identifier stays on its side.
        let drawn = tuple.source_port.get();
        if port.is_empty() {
            port = drawn.to_string();
        }
        (sent, left, verdict)
    };
    let (.., to_answerer) = send(world, case.opener, 0, tcp::SYN);
    let (.., to_opener) = send(world, case.answer, 0, tcp::SYN | tcp::ACK);
    let (sent, left, _) = send(world, case.opener, options, tcp::ACK);
    let (back_sent, back_left, _) = send(world, case.answer, options, tcp::ACK);
    [
        Passed { sent, left, from_end: case.answer.0, to: to_opener },
        Passed { sent: back_sent, left: back_left, from_end: case.opener.0, to: to_answerer },
    ]
}

/// Every kind of error that is translated.
fn kinds(family: &Family) -> Vec<Kind> {
    if family.v4 {
        vec![(3, 1, [0; 4]), (3, 4, [0, 0, 5, 0x78]), (11, 0, [0; 4]), (12, 0, [20, 0, 0, 0])]
    } else {
        vec![(1, 4, [0; 4]), (2, 0, [0, 0, 5, 0x78]), (3, 0, [0; 4]), (4, 1, [0, 0, 0, 40])]
    }
}

/// The quote with the hops of another.
fn with_hops(quote: &[u8], other: &[u8]) -> Vec<u8> {
    let mut quote = quote.to_vec();
    if quote[0] >> 4 == 4 {
        quote[8] = other[8];
        let length = usize::from(quote[0] & 15) * 4;
        mend_header(&mut quote[..length]);
    } else {
        quote[7] = other[7];
    }
    quote
}

/// The least that is quoted: an IP header with all that stands in front of the ports, and eight bytes.
fn least(frame: &Frame) -> usize {
    parse(frame).unwrap().unwrap().l4.0 - 14 + 8
}

/// The addresses of the packet's ends.
fn ends(frame: &Frame) -> (Address, Address) {
    if frame.0[12] == 0x08 {
        let at = |at: usize| Address::v4(frame.0[at..at + 4].try_into().unwrap());
        (at(26), at(30))
    } else {
        let at = |at: usize| Address::from_octets(frame.0[at..at + 16].try_into().unwrap());
        (at(22), at(38))
    }
}

/// Gives `world` an error about a packet, quoting so much of it, from its destination or from a router,
/// and checks what becomes of it.
fn check(world: &mut World, passed: &Passed, kind: Kind, length: usize, router: bool, tail: &[u8]) {
    let before: Vec<(_, Flow)> =
        world.node.conntrack.entries.iter().map(|(k, v)| (*k, v.clone())).collect();
    let (from, destination) = ends(&passed.left);
    let (sent_from, sent_to) = ends(&passed.sent);
    let reporter = if router { world.address("host") } else { destination };
    let mut quote = passed.left.0[14..14 + length].to_vec();
    let mut expected = with_hops(&passed.sent.0[14..14 + length], &quote);
    // Half of a checksum cannot follow.
    let checksum = match parse(&passed.sent) {
        Ok(Some(parsed)) if parsed.transport == Transport::Tcp => parsed.l4.0 + 16,
        Ok(Some(parsed)) if parsed.transport == Transport::Udp => parsed.l4.0 + 6,
        _ => usize::MAX,
    };
    if 14 + length == checksum.saturating_add(1) {
        expected[length - 1] = quote[length - 1];
    }
    quote.extend(tail);
    expected.extend(tail);
    let mut frame = error((reporter, from), kind, &quote);
    let decision = world.hand(passed.from_end, &mut frame);
    assert_eq!(decision.verdict(), passed.to, "quoting {length}");
    let l3_of_reporter = if router && reporter != destination { reporter } else { sent_to };
    let mut built = error((l3_of_reporter, sent_from), kind, &expected);
    if !matches!(passed.to, Verdict::Pass) {
        built = super::script::with_ttl(&built, 63);
    }
    assert_eq!(frame, built, "quoting {length} of {:?}, router {router}", passed.sent);
    frame.checked();
    assert!(matches!(decision.status(), Status::Established | Status::Reply));
    // An error tells a connection nothing.
    assert_eq!(world.node.conntrack.entries.len(), before.len());
    for (key, flow) in before {
        assert_eq!(world.node.conntrack.entries[&key], flow);
    }
}

#[test]
fn errors_quote_what_the_sender_sent() {
    for case in &CASES {
        both(|world: &mut World| {
            println!("{:?}", case.opener);
            for passed in pass(world, case, 20, 0) {
                for kind in kinds(world.family) {
                    for router in [false, true] {
                        let whole = passed.left.0.len() - 14;
                        // Ports say all that is needed; of an echo the identifier comes later.
                        let is_echo = case.opener.1.starts_with("echo");
                        let first = least(&passed.left) - if is_echo { 0 } else { 4 };
                        for length in first..=whole {
                            check(world, &passed, kind, length, router, &[]);
                        }
                    }
                }
            }
        });
    }
}

#[test]
fn options_in_what_is_quoted_are_skipped() {
    for case in &CASES {
        both(|world: &mut World| {
            for options in [1, 2, if world.family.v4 { 10 } else { 7 }] {
                let mut world = World::new(world.family);
                for passed in pass(&mut world, case, 20, options) {
                    let kind = kinds(world.family)[0];
                    for length in least(&passed.left)..passed.left.0.len() - 14 {
                        check(&mut world, &passed, kind, length, true, &[]);
                    }
                }
            }
        });
    }
}

/// The error itself may have options or extension headers, too, whatever the room that it quotes from.
#[test]
fn options_of_the_error_itself_are_skipped() {
    both(|world: &mut World| {
        let [passed, _] = pass(world, &CASES[0], 20, 0);
        let ((from, destination), (sent_from, sent_to)) = (ends(&passed.left), ends(&passed.sent));
        let kind = kinds(world.family)[0];
        let quote = passed.left.0[14..].to_vec();
        let built = error((sent_to, sent_from), kind, &with_hops(&passed.sent.0[14..], &quote));
        for words in [1, 2, if world.family.v4 { 10 } else { 7 }] {
            let mut frame = with_options(&error((destination, from), kind, &quote), words);
            assert_eq!(world.hand(passed.from_end, &mut frame).verdict(), passed.to);
            let expected = with_options(&super::script::with_ttl(&built, 63), words);
            assert_eq!(frame, expected, "{words} words");
        }
    });
}

/// The quoted packet with an extension header of eight bytes behind its fixed header.
fn extended(passed: &Passed, kind: u8, word: [u8; 2]) -> Passed {
    let [sent, left] = [&passed.sent, &passed.left].map(|frame| {
        let mut bytes = frame.0.clone();
        let next = std::mem::replace(&mut bytes[20], kind);
        bytes[19] += 8;
        bytes.splice(54..54, [next, 0, word[0], word[1], 0, 0, 0, 7]);
        Frame(bytes)
    });
    Passed { sent, left, ..*passed }
}

#[test]
fn extension_headers_in_what_is_quoted() {
    let mut world = World::new(&V6);
    let [passed, _] = pass(&mut world, &CASES[0], 20, 0);
    let kind = kinds(&V6)[0];
    let (fragment, routing, destination) = (44, 43, 60);
    for (name, header, word) in [
        ("a first fragment", fragment, [0, 1]),
        ("a packet that says it is its own only fragment", fragment, [0, 0]),
        ("bits of no meaning", fragment, [0, 6]),
        ("a route that has come to its end", routing, [4, 0]),
        ("a route of the oldest type", routing, [0, 0]),
    ] {
        println!("{name}");
        let passed = extended(&passed, header, word);
        for length in [56, 58, 68, passed.left.0.len() - 14] {
            check(&mut world, &passed, kind, length, false, &[]);
        }
    }
    // One on its way by others, or cut in front of the ports, belongs to no connection that is known here.
    for (header, word, length) in [
        (routing, [4, 1], 80),
        (routing, [0, 3], 56),
        (destination, [1, 4], 40),
        (destination, [1, 4], 41),
        (destination, [1, 4], 47),
        (destination, [1, 4], 48),
        (destination, [1, 4], 51),
    ] {
        let left = extended(&passed, header, word).left.0;
        let (from, to) = ends(&passed.left);
        let sent = error((to, from), kind, &left[14..14 + length]);
        let mut frame = sent.clone();
        assert_eq!(world.hand("pod 11", &mut frame).verdict(), Verdict::Deliver(10));
        assert_eq!(frame, super::script::with_ttl(&sent, 63), "{header} {word:?} {length}");
    }
}

/// RFC 4884: what stands behind the quoted packet is none of it, even where a checksum would be.
#[test]
fn extensions_are_left_alone() {
    both(|world: &mut World| {
        let [passed, _] = pass(world, &CASES[0], 200, 0);
        let (kind, words) = if world.family.v4 {
            ((11, 0, [0, 32, 0, 0]), 128)
        } else {
            ((3, 0, [16, 0, 0, 0]), 128)
        };
        let extension = [0x20, 0, 0x12, 0x34, 0, 8, 1, 1, 9, 8, 7, 6];
        check(world, &passed, kind, words, false, &extension);
        // A quote that is padded to that length.
        let mut short = World::new(world.family);
        let [passed, _] = pass(&mut short, &CASES[1], 1, 0);
        let whole = passed.left.0.len() - 14;
        let padding = vec![0; 128 - whole];
        check(&mut short, &passed, kind, whole, false, &[&padding[..], &extension].concat());
    });
    // With 72 bytes of options behind the IPv6 header TCP's checksum is where extensions begin.
    let mut world = World::new(&V6);
    let [mut passed, _] = pass(&mut world, &CASES[0], 60, 0);
    for frame in [&mut passed.sent, &mut passed.left] {
        let next = std::mem::replace(&mut frame.0[20], 60);
        let mut options = [0; 72];
        options[..4].copy_from_slice(&[next, 8, 1, 68]);
        frame.0.splice(54..54, options);
        frame.0[19] += 72;
    }
    let tail = passed.left.0[14 + 128..][..8].to_vec();
    check(&mut world, &passed, (1, 4, [16, 0, 0, 0]), 128, false, &tail);
    // A first fragment too short to have the checksum, and what it is filled up with.
    both(|world: &mut World| {
        let [mut passed, _] = pass(world, &CASES[0], 20, 0);
        let (header, kind) = if world.family.v4 {
            (20, (11, 0, [0, 32, 0, 0]))
        } else {
            (40, (3, 0, [16, 0, 0, 0]))
        };
        for frame in [&mut passed.sent, &mut passed.left] {
            frame.0.truncate(14 + header + 8);
            if header == 20 {
                frame.0[17] = 28;
                frame.0[20] = 0x20;
                mend_header(&mut frame.0[14..34]);
            } else {
                frame.0[19] = 8;
            }
        }
        check(world, &passed, kind, header + 8, false, &[0x11; 120]);
    });
}

#[test]
fn a_udp_checksum_of_none_stays_none() {
    let mut world = World::new(&V4);
    let [mut passed, _] = pass(&mut world, &CASES[1], 20, 0);
    passed.sent.0[40..42].fill(0);
    passed.left.0[40..42].fill(0);
    check(&mut world, &passed, (3, 1, [0; 4]), 48, false, &[]);
}

#[test]
fn a_wrong_checksum_leaves_as_wrong_as_it_came() {
    both(|world: &mut World| {
        for index in [0, 3, 4] {
            let mut world = World::new(world.family);
            for passed in pass(&mut world, &CASES[index], 20, 0) {
                let l4 = if world.family.v4 { 34 } else { 54 };
                let (from, destination) = ends(&passed.left);
                let quote = &passed.left.0[14..];
                let right = error((destination, from), kinds(world.family)[0], quote);
                let mut wrong = right.clone();
                wrong.0[l4 + 2] ^= 0x5a;
                let (mut right_left, mut wrong_left) = (right.clone(), wrong.clone());
                world.hand(passed.from_end, &mut right_left);
                world.hand(passed.from_end, &mut wrong_left);
                let field = |frame: &Frame| [!frame.0[l4 + 2], !frame.0[l4 + 3]];
                let sums = |a: &Frame, b: &Frame| {
                    sum(&[field(a), b.0[l4 + 2..l4 + 4].try_into().unwrap()].concat())
                };
                assert_eq!(sums(&right, &wrong), sums(&right_left, &wrong_left));
                assert_ne!(right_left.0[l4 + 2..l4 + 4], wrong_left.0[l4 + 2..l4 + 4]);
            }
        }
    });
}

#[test]
fn what_no_host_sends_is_dropped() {
    both(|world: &mut World| {
        let [passed, _] = pass(world, &CASES[0], 20, 0);
        let (from, destination) = ends(&passed.left);
        let kind = kinds(world.family)[0];
        let quote = passed.left.0[14..].to_vec();
        let v4 = world.family.v4;
        let put = |at: usize, byte: u8| {
            let mut quote = quote.clone();
            quote[at] = byte;
            quote
        };
        let other = if v4 { V6.end("vip", 1) } else { V4.end("vip", 1) };
        let other = frame_with(&format!("udp {other} > {other}"), 0, b"payload").0[14..].to_vec();
        let mut cases = vec![
            ("another family", other),
            ("no packet", vec![]),
            ("a header that is cut", quote[..if v4 { 19 } else { 39 }].to_vec()),
            ("another version", put(0, if v4 { 0x65 } else { 0x40 })),
        ];
        if v4 {
            let mut later = put(7, 3);
            mend_header(&mut later[..20]);
            let mut short = put(0, 0x44);
            mend_header(&mut short[..16]);
            let mut long = put(0, 0x46)[..22].to_vec();
            long[2..4].copy_from_slice(&[0, 22]);
            cases.extend([
                ("a damaged header", put(8, 99)),
                ("a later fragment", later),
                ("a header too short", short),
                ("options that are cut", long),
            ]);
        } else {
            let mut later = put(6, 44);
            later.splice(40..40, [6, 0, 1, 0, 0, 0, 0, 1]);
            let mapped = Address::v4([10, 0, 0, 1]).octets();
            let mut of_v4 = quote.clone();
            of_v4[8..24].copy_from_slice(&mapped);
            cases.extend([("a later fragment", later), ("a mapped address", of_v4)]);
        }
        for (what, quote) in cases {
            let mut frame = error((destination, from), kind, &quote);
            let decision = world.hand("pod 11", &mut frame);
            assert_eq!(decision.reason(), Some(DropReason::InvalidPacket), "{what}");
        }
        // One that is not for whoever sent what it quotes.
        let mut frame = error((destination, world.address("far")), kind, &quote);
        let decision = world.hand("pod 11", &mut frame);
        assert_eq!(decision.reason(), Some(DropReason::InvalidPacket));
    });
}

/// About no connection, of another protocol, cut in front of the ports, in fragments: on as they are, but
/// not to a frontend.
#[test]
fn what_is_not_known_goes_on_as_it_is() {
    both(|world: &mut World| {
        let kind = kinds(world.family)[0];
        let udp = frame_with(&world.family.spell("udp client:5 > far:9"), 0, b"payload").0;
        let whole = udp[14..].to_vec();
        let header = if world.family.v4 { 20 } else { 40 };
        let mut esp = whole.clone();
        esp[if world.family.v4 { 9 } else { 6 }] = 50;
        if world.family.v4 {
            mend_header(&mut esp[..20]);
        }
        for quote in [&whole[..], &esp, &whole[..header + 3], &whole[..header]] {
            for (to, verdict) in [("client", Verdict::Deliver(10)), ("host", Verdict::Pass)] {
                let sent = error((world.address("far"), world.address(to)), kind, quote);
                let mut frame = sent.clone();
                assert_eq!(world.hand("netdev", &mut frame).verdict(), verdict);
                let hops = u8::from(verdict != Verdict::Pass);
                assert_eq!(frame, super::script::with_ttl(&sent, 64 - hops));
            }
            let mut frame = error((world.address("far"), world.address("vip")), kind, quote);
            let decision = world.hand("netdev", &mut frame);
            assert_eq!(decision.reason(), Some(DropReason::ServicePortNotFound));
        }
        assert_eq!(world.counted(Metric::RELATED), 0);
    });
}

#[test]
fn a_connection_that_is_over_is_not_known() {
    both(|world: &mut World| {
        let [passed, _] = pass(world, &CASES[1], 20, 0);
        // To the nanosecond: two minutes of a datagram's connection, and a second's staleness of the record.
        let idle = Phase::Datagrams.timeout() + conntrack::REFRESH;
        world.wait(idle - 1);
        check(world, &passed, kinds(world.family)[0], 40 + 8, false, &[]);
        world.wait(1);
        let (from, destination) = ends(&passed.left);
        let sent = error((destination, from), kinds(world.family)[0], &passed.left.0[14..]);
        let mut frame = sent.clone();
        assert_eq!(world.hand("netdev", &mut frame).verdict(), Verdict::Deliver(10));
        assert_eq!(frame, super::script::with_ttl(&sent, 63));
    });
}

#[test]
fn no_hop_is_left_and_nobody_is_told() {
    both(|world: &mut World| {
        let [passed, _] = pass(world, &CASES[0], 20, 0);
        let (from, destination) = ends(&passed.left);
        let sent = error((destination, from), kinds(world.family)[0], &passed.left.0[14..]);
        let sent = super::script::with_ttl(&sent, 1);
        let mut frame = sent.clone();
        let decision = world.hand("pod 11", &mut frame);
        assert_eq!(decision.verdict(), Verdict::Drop(DropReason::TtlExceeded));
        assert_eq!(frame, sent);
    });
}

/// A pod in the middle, that has seen the packet but is not its end, is not known to the client either.
#[test]
fn no_pod_shows_its_own_address() {
    both(|world: &mut World| {
        world.expose(("lb", 80), Scope::External, 9, &["local"], |_| {});
        let opener = world.family.spell("udp outside:1000 > lb:80");
        let mut left = frame_with(&opener, 0, b"payload");
        assert_eq!(world.hand("netdev", &mut left).verdict(), Verdict::Deliver(11));
        let (from, _) = ends(&left);
        let mut frame =
            error((world.address("client"), from), kinds(world.family)[0], &left.0[14..]);
        world.hand("pod 10", &mut frame);
        assert_eq!(ends(&frame), (world.address("lb"), world.address("outside")));
        frame.checked();
    });
}

/// A backend whose node answers clients directly: its errors are the frontend's, and errors about its own
/// packets, which the node that chose it has translated, are for it as they are.
#[test]
fn direct_connections() {
    both(|world: &mut World| {
        for protocol in ["tcp", "udp"] {
            let key = tuple(&world.family.spell(&format!("{protocol} outside:1000 > local:8080")));
            let frontend = tuple(&world.family.spell(&format!("{protocol} outside:1000 > vip:80")));
            let sent = |text: &str, flags| frame_with(&world.family.spell(text), flags, &[7; 20]);
            let came = sent(&format!("{protocol} outside:1000 > local:8080"), tcp::SYN);
            let said = sent(&format!("{protocol} outside:1000 > vip:80"), tcp::SYN);
            let mut work = work(parse(&came).unwrap().unwrap(), world.node.host.now);
            work.arrival.back = Exit::device(2);
            work.half = Flow::zeroed();
            let now = world.node.host.now;
            work.half.begin(&work.parsed, Exit::pod(11), now, world.node.config.epoch);
            work.half.direct(&key, 9, &frontend.destination, frontend.destination_port);
            conntrack::open(&mut world.node.conntrack, &mut work).unwrap();
            let passed = Passed {
                sent: said,
                left: came.clone(),
                from_end: "pod 11",
                to: Verdict::Forward(2),
            };
            let whole = came.0.len() - 14;
            let kind = kinds(world.family)[0];
            for length in least(&came)..=whole {
                check(world, &passed, kind, length, false, &[]);
            }
            let sent = |text: &str| frame_with(&world.family.spell(text), tcp::ACK, &[7; 20]);
            let back = sent(&format!("{protocol} local:8080 > outside:1000"));
            let passed = Passed {
                sent: back.clone(),
                left: back,
                from_end: "netdev",
                to: Verdict::Deliver(11),
            };
            for router in [false, true] {
                check(world, &passed, kind, whole, router, &[]);
            }
        }
    });
}

proptest! {
    /// Any case, any length, with anything behind the quoted packet's ports: never a panic, and what goes
    /// on is right.
    #[test]
    fn random_errors(
        v4: bool, case in 0..CASES.len(), options in 0_u8..8, payload in 0_usize..600, cut in 0_usize..700,
        kind in 0_usize..4, router: bool, back: bool,
    ) {
        let mut world = World::new(if v4 { &V4 } else { &V6 });
        let passed = &pass(&mut world, &CASES[case], payload, options)[usize::from(back)];
        let whole = passed.left.0.len() - 14;
        let length = (least(&passed.left) + cut).min(whole);
        let kind = kinds(world.family)[kind];
        check(&mut world, passed, kind, length, router, &[]);
    }

    /// Random bytes in place of a quote.
    #[test]
    fn random_quotes(v4: bool, bytes in proptest::collection::vec(any::<u8>(), 0..120), at in 0_usize..120, cut in 0_usize..90) {
        let mut world = World::new(if v4 { &V4 } else { &V6 });
        let [passed, _] = pass(&mut world, &CASES[0], 20, 2);
        let (from, destination) = ends(&passed.left);
        let mut quote = passed.left.0[14..].to_vec();
        quote.truncate(cut);
        for (i, byte) in bytes.iter().take(3).enumerate() {
            let at = (at + i * i * 13) % quote.len().max(1);
            if let Some(place) = quote.get_mut(at) {
                *place = *byte;
            }
        }
        for quote in [quote, bytes] {
            let mut frame = error((destination, from), kinds(world.family)[0], &quote);
            let sum = |frame: &Frame| { frame.checked(); };
            if !matches!(world.hand("pod 11", &mut frame).verdict(), Verdict::Drop(_)) {
                sum(&frame);
            }
        }
    }
}
