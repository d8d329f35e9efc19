//! Answers that the datapath makes: which packets get one, and what it says.

use super::errors::{Kind, error};
use super::script::{Family, V4, World, both, with_ttl};
use crate::bytes::{Be16, Pod};
use crate::hook::{Answer, Stage, Work, run};
use crate::limit::{BURST, Bucket};
use crate::parse::parse;
use crate::seam::{LIMITS, Metric, option};
use crate::testing::{Frame, frame_with, work};
use crate::verdict::Verdict;
use crate::wire::tcp;

const ANSWERS: [Answer; 3] = [Answer::PortUnreachable, Answer::TimeExceeded, Answer::TooBig];

/// A world whose limits have room.
fn fill(world: &mut World) {
    for slot in 0..LIMITS as u32 {
        world.node.limits.entries.insert(slot, Bucket::zeroed());
    }
}

fn kind(answer: Answer, family: &Family) -> Kind {
    match (answer, family.v4) {
        (Answer::TimeExceeded, true) => (11, 0, [0; 4]),
        (Answer::TimeExceeded, false) => (3, 0, [0; 4]),
        (Answer::TooBig, true) => (3, 4, [0, 0, 0x05, 0x78]),
        (Answer::TooBig, false) => (2, 0, [0, 0, 0x05, 0x78]),
        (_, true) => (3, 3, [0; 4]),
        (_, false) => (1, 4, [0; 4]),
    }
}

/// A packet with so many bytes of payload, its link addresses telling the two ends apart.
fn packet(world: &World, text: &str, payload: usize) -> Frame {
    let payload: Vec<u8> = (0..payload).map(|i| (i * 7 + 3) as u8).collect();
    let flags = if text.starts_with("tcp") { tcp::SYN } else { 0 };
    frame_with(&world.family.spell(text), flags, &payload)
}

/// What is quoted of a frame, frames being without tags.
fn quoted(family: &Family, frame: &Frame) -> Vec<u8> {
    let most = if family.v4 { 576 - 28 } else { 1280 - 48 };
    frame.0[14..].iter().take(most).copied().collect()
}

/// Runs the stage that answers on a packet which could not go on.
fn answer(world: &mut World, frame: &mut Frame, answer: Answer) -> Verdict {
    let parsed = parse(frame).unwrap().unwrap();
    let reason = crate::drop_reason::DropReason::ServicePortNotFound;
    let mut work = Work { answer, reason, mtu: 1400, ..work(parsed, world.node.host.now) };
    let next = run(frame, &mut world.node, &mut work, Stage::Answer);
    assert_eq!(next, Stage::Done);
    work.decision.verdict()
}

#[test]
fn what_is_refused_is_answered_by_the_address_that_it_was_sent_to() {
    both(|world: &mut World| {
        fill(world);
        for protocol in ["tcp", "udp", "sctp"] {
            let sent = packet(world, &format!("{protocol} client:1000 > vip:81"), 30);
            let mut frame = sent.clone();
            let decision = world.hand("pod 10", &mut frame);
            let ends = (world.address("vip"), world.address("client"));
            let quote = quoted(world.family, &sent);
            assert_eq!(
                frame,
                error(ends, kind(Answer::PortUnreachable, world.family), &quote),
                "{protocol}"
            );
            assert_eq!(decision.verdict().name(), "SERVICE_PORT_NOT_FOUND");
            frame.checked();
        }
        assert_eq!(world.counted(Metric::ANSWERED), 3);
        assert_eq!(world.counted(Metric(1)), 3, "as a drop, too");
        assert_eq!(world.entries(), 0);
    });
}

impl Verdict {
    /// The reason of a packet that was refused.
    fn name(self) -> &'static str {
        match self {
            Self::Reject(reason) => reason.name(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_time_to_live_ends_at_the_node_if_it_has_an_address() {
    both(|world: &mut World| {
        fill(world);
        for own in [true, false] {
            if !own {
                world.node.config.address4 = crate::address::Address::UNSPECIFIED;
                world.node.config.address6 = crate::address::Address::UNSPECIFIED;
            }
            let sent = with_ttl(&packet(world, "udp client:1000 > vip:80", 30), 1);
            let mut frame = sent.clone();
            let decision = world.hand("pod 10", &mut frame);
            let from = world.address(if own { "node" } else { "vip" });
            let ends = (from, world.address("client"));
            let quote = quoted(world.family, &sent);
            let expected = error(ends, kind(Answer::TimeExceeded, world.family), &quote);
            assert_eq!(frame, expected, "own {own}");
            assert_eq!(decision.verdict().name(), "TTL_EXCEEDED");
        }
        // What has no connection, too, but what the stack takes a hop off.
        let mut frame = with_ttl(&packet(world, "udp client:1000 > local:9", 30), 1);
        assert!(matches!(world.hand("pod 10", &mut frame).verdict(), Verdict::Reject(_)));
        let mut frame = with_ttl(&packet(world, "udp client:1000 > far:9", 30), 1);
        assert_eq!(world.hand("pod 10", &mut frame).verdict(), Verdict::Pass);
    });
}

/// Every length up to what no error can hold, with padding behind it.
#[test]
fn as_much_is_quoted_as_fits() {
    both(|world: &mut World| {
        fill(world);
        for (i, payload) in (0..1_500).enumerate() {
            let sent = packet(world, "udp client:1000 > vip:81", payload);
            let mut frame = sent.clone();
            frame.0.extend(vec![0xee; i % 5]);
            let kind_of = ANSWERS[i % 3];
            let ends = match kind_of {
                Answer::TimeExceeded => (world.address("node"), world.address("client")),
                _ => (world.address("vip"), world.address("client")),
            };
            assert!(matches!(answer(world, &mut frame, kind_of), Verdict::Reject(_)));
            let expected = error(ends, kind(kind_of, world.family), &quoted(world.family, &sent));
            assert_eq!(frame, expected, "{payload}");
            frame.checked();
            assert!(frame.0.len() <= 14 + if world.family.v4 { 576 } else { 1280 });
        }
    });
}

/// Of a packet that segmentation offload keeps together, and whose length field says zero.
#[test]
fn as_much_is_quoted_of_one_that_is_longer_than_its_field() {
    both(|world: &mut World| {
        fill(world);
        for length in [0x1_0000, 0x1_0001, 90_000] {
            let mut sent = packet(world, "tcp client:1000 > vip:81", 30);
            sent.0.resize(length, 0x5a);
            if world.family.v4 {
                sent.0[16..18].fill(0);
                super::errors::mend_header(&mut sent.0[14..34]);
            } else {
                sent.0[18..20].fill(0);
            }
            let mut frame = sent.clone();
            let verdict = answer(world, &mut frame, Answer::PortUnreachable);
            assert!(matches!(verdict, Verdict::Reject(_)));
            let ends = (world.address("vip"), world.address("client"));
            let about = quoted(world.family, &sent);
            let expected = error(ends, kind(Answer::PortUnreachable, world.family), &about);
            assert_eq!(frame, expected, "{length}");
        }
    });
}

#[test]
fn an_mtu_that_does_not_fit_its_field_is_the_largest_that_does() {
    let mut world = World::new(&V4);
    fill(&mut world);
    let mut frame = packet(&world, "udp client:1000 > vip:81", 8);
    let parsed = parse(&frame).unwrap().unwrap();
    let mut work =
        Work { answer: Answer::TooBig, mtu: 70_000, ..work(parsed, world.node.host.now) };
    run(&mut frame, &mut world.node, &mut work, Stage::Answer);
    assert_eq!(frame.0[38..42], [0, 0, 0xff, 0xff]);
}

#[test]
fn what_may_not_be_answered_is_dropped_and_left_alone() {
    both(|world: &mut World| {
        fill(world);
        let l4 = if world.family.v4 { 34 } else { 54 };
        let base = packet(world, "udp client:1000 > vip:81", 30);
        let plain = || base.clone();
        let loopback: &[u8] = if world.family.v4 { &[127, 0, 0, 1] } else { &1_u128.to_be_bytes() };
        let group = world.address("group").octets();
        let group = if world.family.v4 { &group[12..] } else { &group[..] };
        let nobody = &[0; 16][..group.len()];
        let (source, destination) = if world.family.v4 { (26, 30) } else { (22, 38) };
        let put = |at: usize, bytes: &[u8]| {
            let mut frame = plain();
            frame.0[at..at + bytes.len()].copy_from_slice(bytes);
            frame
        };
        let mut fragment = plain();
        let mut tagged = plain();
        tagged.0.splice(12..12, [0x81, 0x00, 0x00, 0x05]);
        if world.family.v4 {
            fragment.0[21] = 9;
        } else {
            fragment.0[20] = 44;
            fragment.0[l4..l4 + 8].copy_from_slice(&[17, 0, 0, 0x48, 0, 0, 0, 7]);
        }
        let ends = (world.address("client"), world.address("vip"));
        let about = quoted(world.family, &plain());
        let cases = [
            ("an error", error(ends, kind(Answer::PortUnreachable, world.family), &about)),
            (
                "a redirect",
                error(
                    ends,
                    if world.family.v4 { (5, 1, [0; 4]) } else { (137, 0, [0; 4]) },
                    &about,
                ),
            ),
            ("a later fragment", fragment),
            ("a tag", tagged),
            ("broadcast on the link", put(0, &[0xff; 6])),
            ("multicast on the link", put(0, &[1, 0, 0x5e])),
            ("from many", put(source, group)),
            ("from nobody", put(source, nobody)),
            ("from itself", put(source, loopback)),
            ("to many", put(destination, group)),
        ];
        for (what, sent) in cases {
            for kind_of in
                [Answer::PortUnreachable, Answer::TimeExceeded, Answer::TooBig, Answer::Echo]
            {
                let mut frame = sent.clone();
                let verdict = answer(world, &mut frame, kind_of);
                assert!(matches!(verdict, Verdict::Drop(_)), "{what}: {verdict:?}");
                assert_eq!(frame, sent, "{what}");
            }
        }
        assert_eq!(world.counted(Metric::ANSWERED), 0);
        assert_eq!(world.counted(Metric::ANSWER_LIMITED), 0);
        // Nor what another node has translated, nor anything where the configuration says so.
        let mut frame = plain();
        let parsed = parse(&frame).unwrap().unwrap();
        let mut told = work(parsed, world.node.host.now);
        (told.answer, told.frontend) = (Answer::TimeExceeded, world.address("lb"));
        run(&mut frame, &mut world.node, &mut told, Stage::Answer);
        assert!(matches!(told.decision.verdict(), Verdict::Drop(_)));
        world.node.config.options |= option::SILENT;
        assert!(matches!(answer(world, &mut frame, Answer::TooBig), Verdict::Drop(_)));
        assert_eq!(frame, packet(world, "udp client:1000 > vip:81", 30));
    });
}

#[test]
fn answers_are_limited_in_rate_each_kind_for_itself() {
    both(|world: &mut World| {
        fill(world);
        let sent = packet(world, "udp client:1000 > vip:81", 30);
        for kind_of in ANSWERS {
            let before = (world.counted(Metric::ANSWERED), world.counted(Metric::ANSWER_LIMITED));
            for i in 0..BURST + 5 {
                let mut frame = sent.clone();
                let verdict = answer(world, &mut frame, kind_of);
                assert_eq!(matches!(verdict, Verdict::Reject(_)), i < BURST, "{i}");
                assert_eq!(frame == sent, i >= BURST, "{i}");
            }
            assert_eq!(world.counted(Metric::ANSWERED) - before.0, BURST as u32);
            assert_eq!(world.counted(Metric::ANSWER_LIMITED) - before.1, 5);
        }
        // A drop for its reason in any case.
        assert_eq!(world.counted(Metric(1)), 3 * (BURST as u32 + 5));
        world.wait(1_000_000_000);
        assert!(matches!(answer(world, &mut sent.clone(), Answer::TooBig), Verdict::Reject(_)));
    });
}

#[test]
fn a_frontend_answers_echo_requests() {
    both(|world: &mut World| {
        fill(world);
        for payload in [0, 1, 56, 1400] {
            let mut frame = with_ttl(&packet(world, "echo client:77 > vip:0", payload), 3);
            let decision = world.hand("pod 10", &mut frame);
            assert_eq!(decision.verdict(), Verdict::Answer);
            let mut expected = packet(world, "echo vip:0 > client:77", payload);
            expected.0[..12].rotate_left(6);
            assert_eq!(frame, expected, "{payload}");
            frame.checked();
        }
        assert_eq!(world.counted(Metric::ANSWERED), 4);
        assert_eq!(world.node.host.counts.len(), 1, "no drop");
        // Not what is no frontend's, no replies, no fragments, no options.
        let mut frame = packet(world, "echo client:77 > far:0", 8);
        assert_eq!(world.hand("pod 10", &mut frame).verdict(), Verdict::Pass);
        let mut frame = packet(world, "echo client:0 > vip:77", 8);
        assert!(matches!(world.hand("pod 10", &mut frame).verdict(), Verdict::Reject(_)));
        // Of a reply with the identifier zero only the type says that it is one.
        let mut frame = packet(world, "echo client:0 > vip:0", 8);
        assert!(matches!(world.hand("pod 10", &mut frame).verdict(), Verdict::Drop(_)));
        let mut frame = super::errors::with_options(&packet(world, "echo client:7 > vip:0", 8), 1);
        assert!(matches!(world.hand("pod 10", &mut frame).verdict(), Verdict::Drop(_)));
    });
}

#[test]
fn an_echo_request_with_a_wrong_checksum_gets_as_wrong_a_reply() {
    both(|world: &mut World| {
        fill(world);
        let l4 = if world.family.v4 { 34 } else { 54 };
        let sum =
            |frame: &Frame| Be16::from_raw(u16::from_ne_bytes([frame.0[l4 + 2], frame.0[l4 + 3]]));
        let mut right = packet(world, "echo client:77 > vip:0", 56);
        let mut wrong = right.clone();
        wrong.0[l4 + 20] ^= 0x04;
        world.hand("pod 10", &mut right);
        world.hand("pod 10", &mut wrong);
        assert_eq!(sum(&right), sum(&wrong));
    });
}

#[test]
fn an_address_that_becomes_a_frontend_answers_from_then_on() {
    both(|world: &mut World| {
        fill(world);
        let sent = packet(world, "echo client:77 > vip2:0", 8);
        assert_eq!(world.hand("pod 10", &mut sent.clone()).verdict(), Verdict::Pass);
        world.serve("vip2", 8, &["local"]);
        assert_eq!(world.hand("pod 10", &mut sent.clone()).verdict(), Verdict::Answer);
    });
}

#[test]
fn every_hook_where_a_client_is_met_answers() {
    both(|world: &mut World| {
        fill(world);
        for way in ["pod 10", "netdev", "node"] {
            let mut frame = packet(world, "udp host:1 > vip:81", 8);
            let decision = world.hand(way, &mut frame);
            assert!(matches!(decision.verdict(), Verdict::Reject(_)), "{way}");
        }
    });
}
