//! What has no connection: other protocols, and what opens none.

use super::script::{Family, LOCAL, World, both, with_ttl};
use crate::drop_reason::DropReason;
use crate::testing::{Frame, frame};
use crate::verdict::{Decision, Status, Verdict};
use crate::wire::tcp;

#[test]
fn an_unknown_port_of_a_frontend() {
    both(|world| {
        world.play(&[
            ("pod 10: tcp client:1 > vip:81 S", "SERVICE_PORT_NOT_FOUND"),
            ("pod 10: udp client:1 > vip:53", "SERVICE_PORT_NOT_FOUND"),
            ("pod 10: tcp client:1 > vip:81 A", "SERVICE_PORT_NOT_FOUND"),
            ("pod 10: tcp client:1 > vip:81 R", "SERVICE_PORT_NOT_FOUND"),
        ]);
    });
}

#[test]
fn a_reset_of_nothing() {
    both(|world| {
        world.play(&[
            ("pod 10: tcp client:1 > vip:80 R", "CT_CANNOT_CREATE_ENTRY_FROM_PACKET"),
            ("pod 10: tcp client:1 > vip:80 RA", "CT_CANNOT_CREATE_ENTRY_FROM_PACKET"),
            ("pod 10: tcp client:1 > local:8080 R", "pod 11: tcp client:1 > local:8080, UNTRACKED"),
            ("pod 10: tcp client:1 > far:80 RA", "stack: tcp client:1 > far:80, UNTRACKED"),
            ("netdev: tcp far:1 > client:80 RA", "pod 10: tcp far:1 > client:80, UNTRACKED"),
            ("stack: tcp host:1 > client:80 RA", "stack: tcp host:1 > client:80, UNTRACKED"),
        ]);
        assert_eq!(world.entries(), 0);
    });
}

#[test]
fn groups_and_neighbours() {
    both(|world| {
        world.play(&[
            (
                "pod 10: udp client:5353 > group:5353",
                "stack: udp client:5353 > group:5353, UNTRACKED",
            ),
            ("netdev: udp far:5353 > group:5353", "stack: udp far:5353 > group:5353, UNTRACKED"),
            (
                "pod 10: udp client:5353 > group:5353 ttl 1",
                "stack: udp client:5353 > group:5353, UNTRACKED",
            ),
        ]);
        assert_eq!(world.entries(), 0);
    });
}

/// A packet of a protocol that has no ports here (RFC 2784), its header as of the text's tuple.
fn other(family: &Family, text: &str) -> Frame {
    let mut frame = frame(&family.spell(text), 0);
    frame.0[if family.v4 { 23 } else { 20 }] = 47;
    with_ttl(&frame, 64)
}

#[test]
fn other_protocols() {
    let reason = DropReason::ServicePortNotFound;
    for (way, text, expected, hops) in [
        ("pod 10", "udp client:1 > vip:80", Verdict::Drop(reason), 0),
        ("pod 10", "udp client:1 > local:80", Verdict::Deliver(11), 1),
        ("pod 10", "tcp client:1 > far:80", Verdict::Pass, 0),
        ("netdev", "tcp far:1 > local:80", Verdict::Deliver(11), 1),
        ("netdev", "udp far:1 > vip:80", Verdict::Drop(reason), 0),
        ("stack", "udp host:1 > client:80", Verdict::Pass, 0),
    ] {
        both(|world| {
            let sent = other(world.family, text);
            let mut left = sent.clone();
            let decision = world.hand(way, &mut left);
            assert_eq!(decision, Decision::untracked(expected), "{way}: {text}");
            assert_eq!(left, with_ttl(&sent, 64 - hops), "{way}: {text}");
            assert_eq!(world.entries(), 0);
        });
    }
}

#[test]
fn no_hop_left_for_what_is_not_tracked() {
    both(|world| {
        let mut sent = with_ttl(&other(world.family, "udp client:1 > local:80"), 1);
        let drop = Decision::untracked(Verdict::Drop(DropReason::TtlExceeded));
        assert_eq!(world.hand("pod 10", &mut sent), drop);
    });
}

#[test]
fn invalid_and_foreign_frames() {
    // K-5: what cannot be judged does not travel; what is not IP is none of ours.
    both(|world| {
        let sent = frame(&world.family.spell("tcp client:1 > vip:80"), tcp::SYN | tcp::FIN);
        let drop = Verdict::Drop(DropReason::InvalidTransportHeader);
        for way in ["pod 10", "stack", "netdev"] {
            let mut invalid = sent.clone();
            assert_eq!(world.hand(way, &mut invalid), Decision::untracked(drop));
            assert_eq!(invalid, sent);
            let mut arp = sent.clone();
            arp.0[12..14].copy_from_slice(&[0x08, 0x06]);
            let before = arp.clone();
            assert_eq!(world.hand(way, &mut arp), Decision::untracked(Verdict::Pass));
            assert_eq!(arp, before);
        }
    });
}

#[test]
fn a_middle_without_a_beginning_is_given_a_backend() {
    // After a restart or an eviction of both halves: the backend it is given answers with a reset.
    both(|world| {
        world.play_drawing(
            &[LOCAL],
            &[
                ("pod 10: tcp client:1 > vip:80 A", "pod 11: tcp client:1 > local:8080, NEW of 7"),
                (
                    "pod 11: tcp local:8080 > client:1 R",
                    "pod 10: tcp vip:80 > client:1, REPLY of 7",
                ),
            ],
        );
        assert_eq!(
            world
                .hand("pod 10", &mut frame(&world.family.spell("tcp client:1 > vip:80"), tcp::ACK))
                .status(),
            Status::Established
        );
    });
}

/// Every hook drops a packet for one reason only and counts it once.
#[test]
fn drops_are_counted() {
    both(|world: &mut World| {
        world.play(&[
            ("pod 10: tcp client:1 > vip:81 S", "SERVICE_PORT_NOT_FOUND"),
            ("pod 10: tcp client:1 > vip:80 R", "CT_CANNOT_CREATE_ENTRY_FROM_PACKET"),
            ("pod 10: tcp client:1 > local:80 S ttl 1", "TTL_EXCEEDED"),
        ]);
        let mut counts: Vec<_> = world.node.host.counts.clone().into_iter().collect();
        counts.retain(|(slot, _)| *slot < 256);
        counts.sort_unstable();
        assert_eq!(counts, [(1, 1), (138, 1), (196, 1)]);
    });
}
