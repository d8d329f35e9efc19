//! Datagrams in fragments, whose ports only the first one has.

use super::script::{LOCAL, Piece, REMOTE, SECOND, World, both, build, with_ttl};
use crate::drop_reason::DropReason;
use crate::seam::{Metric, option};
use crate::service::Scope;
use crate::verdict::{Decision, Verdict};

const LOST: &str = "FIRST_LOGICAL_DATAGRAM_FRAGMENT_NOT_FOUND";

#[test]
fn in_order() {
    // C-11. Ports and checksum are rewritten in the first one only; `send` sees that no other byte is.
    both(|world| {
        for (i, p) in [("1", "udp"), ("2", "tcp")] {
            let a = if p == "tcp" { " A" } else { "" };
            let to = format!("pod 10: {p} client:{i} > vip:80{a}");
            let back = format!("pod 11: {p} local:8080 > client:{i}{a}");
            world.play(&[
                (
                    &format!("{to} first 7"),
                    &format!("pod 11: {p} client:{i} > local:8080, NEW of 7"),
                ),
                (
                    &format!("{to} middle 7"),
                    &format!("pod 11: {p} client:0 > local:0, ESTABLISHED of 7"),
                ),
                (
                    &format!("{to} last 7"),
                    &format!("pod 11: {p} client:0 > local:0, ESTABLISHED of 7"),
                ),
                (
                    &format!("{back} first 9"),
                    &format!("pod 10: {p} vip:80 > client:{i}, REPLY of 7"),
                ),
                (&format!("{back} last 9"), &format!("pod 10: {p} vip:0 > client:0, REPLY of 7")),
                (&format!("{back} middle 9"), &format!("pod 10: {p} vip:0 > client:0, REPLY of 7")),
            ]);
        }
        assert_eq!(world.entries(), 4);
    });
}

#[test]
fn out_of_order() {
    both(|world| {
        for later in ["middle 7", "last 7"] {
            for (way, to) in [
                ("pod 10", "client:1 > vip:80"),
                ("pod 10", "client:1 > local:8080"),
                ("netdev", "far:1 > local:8080"),
            ] {
                world.play(&[(&format!("{way}: udp {to} {later}"), LOST)]);
            }
        }
        assert_eq!(world.counted(Metric::drop(DropReason::FragmentNotFound)), 6);
        // To this node it may go: the stack puts the datagram together.
        world.play(&[
            ("netdev: udp far:1 > node:53 last 7", "stack: udp far:0 > node:0, UNTRACKED"),
            ("pod 10: udp client:1 > node:53 middle 7", "stack: udp client:0 > node:0, UNTRACKED"),
            ("netdev: udp far:1 > node2:53 last 7", LOST),
        ]);
        assert_eq!(world.entries(), 0);
    });
}

#[test]
fn never_to_a_wrong_backend() {
    // Two datagrams of one client and one identification that differ in what tells them apart.
    both(|world| {
        world.serve("vip2", 8, &["remote"]);
        world.play_drawing(
            &[LOCAL],
            &[
                (
                    "pod 10: udp client:1 > vip:80 first 7",
                    "pod 11: udp client:1 > local:8080, NEW of 7",
                ),
                ("pod 10: udp client:1 > vip:80 last 8", LOST), // another identification
                ("pod 10: tcp client:1 > vip:80 A last 7", LOST), // another protocol
                ("pod 10: udp client:1 > vip2:80 last 7", LOST), // another destination
                ("pod 11: udp local:1 > vip:80 last 7", LOST),  // another source
                (
                    "pod 10: udp client:1 > vip2:80 first 7",
                    "netdev: udp client:1 > remote:8080, NEW of 8",
                ),
                (
                    "pod 10: udp client:1 > vip2:80 last 7",
                    "netdev: udp client:0 > remote:0, ESTABLISHED of 8",
                ),
                (
                    "pod 10: udp client:1 > vip:80 last 7",
                    "pod 11: udp client:0 > local:0, ESTABLISHED of 7",
                ),
            ],
        );
    });
}

#[test]
fn an_identification_that_is_used_again() {
    both(|world| {
        world.play_drawing(
            &[LOCAL, REMOTE],
            &[
                (
                    "pod 10: udp client:1 > vip:80 first 7",
                    "pod 11: udp client:1 > local:8080, NEW of 7",
                ),
                (
                    "pod 10: udp client:2 > vip:80 first 7",
                    "netdev: udp client:2 > remote:8080, NEW of 7",
                ),
                (
                    "pod 10: udp client:2 > vip:80 last 7",
                    "netdev: udp client:0 > remote:0, ESTABLISHED of 7",
                ),
            ],
        );
    });
}

#[test]
fn for_half_a_minute() {
    for (idle, expected) in
        [(30 * SECOND - 1, "pod 11: udp client:0 > local:0, ESTABLISHED of 7"), (30 * SECOND, LOST)]
    {
        both(|world| {
            world.send("pod 10: udp client:1 > vip:80 first 7");
            world.wait(idle);
            world.play(&[("pod 10: udp client:1 > vip:80 last 7", expected)]);
        });
    }
}

#[test]
fn where_there_is_no_room_the_datagram_is_not_completed() {
    both(|world| {
        world.node.fragments.room = 0;
        world.play(&[
            (
                "pod 10: udp client:1 > vip:80 first 7",
                "pod 11: udp client:1 > local:8080, NEW of 7",
            ),
            ("pod 10: udp client:1 > vip:80 last 7", LOST),
        ]);
    });
}

#[test]
fn from_outside_to_a_remote_backend() {
    both(|world| {
        world.expose(("lb", 80), Scope::External, 9, &["remote"], |_| {});
        world.play(&[
            (
                "netdev: udp outside:5 > lb:80 first 7",
                "netdev: udp node:?a > remote:8080, NEW of 9",
            ),
            (
                "netdev: udp outside:5 > lb:80 last 7",
                "netdev: udp node:0 > remote:0, ESTABLISHED of 9",
            ),
            (
                "netdev: udp remote:8080 > node:?a first 8",
                "netdev: udp lb:80 > outside:5, REPLY of 9",
            ),
            (
                "netdev: udp remote:8080 > node:?a last 8",
                "netdev: udp lb:0 > outside:0, REPLY of 9",
            ),
        ]);
    });
}

#[test]
fn of_echoes_and_sctp() {
    both(|world| {
        for p in ["echo", "sctp"] {
            let to = if p == "echo" { "local:0" } else { "local:9" };
            world.play(&[
                (
                    &format!("pod 10: {p} client:7 > {to} first 7"),
                    &format!("pod 11: {p} client:7 > {to}, NEW"),
                ),
                (
                    &format!("pod 10: {p} client:7 > {to} last 7"),
                    &format!("pod 11: {p} client:0 > local:0, ESTABLISHED"),
                ),
            ]);
        }
    });
}

#[test]
fn a_first_one_too_short_for_its_header() {
    // RFC 1858: what cannot be judged does not travel.
    both(|world: &mut World| {
        let mut frame = crate::testing::frame(&world.family.spell("tcp client:1 > vip:80"), 16);
        if world.family.v4 {
            frame.0.truncate(34 + 8);
            frame.0[17] = 28;
            frame.0[20] = 0x20;
        } else {
            frame.0.truncate(54 + 8);
            frame.0[19] = 16;
            frame.0[20] = 44;
            frame.0.splice(54..54, [6, 0, 0, 1, 0, 0, 0, 7]);
        }
        let reason = DropReason::InvalidTransportHeader;
        assert_eq!(world.hand("pod 10", &mut frame).reason(), Some(reason));
        assert!(world.node.fragments.entries.is_empty());
    });
}

#[test]
fn of_what_has_no_connection() {
    // RFC 2784, whose packets have no ports: all of them leave as they came, masqueraded or not.
    both(|world| {
        world.node.config.options |= option::MASQUERADE;
        for piece in [Piece::First, Piece::Middle, Piece::Last] {
            let text = world.family.spell("udp client:1 > far:2");
            let mut sent = build(&text, 0, Some((piece, 7)));
            sent.0[if world.family.v4 { 23 } else { 54 }] = 47;
            let mut left = with_ttl(&sent, 64);
            let sent = left.clone();
            let decision = world.hand("pod 10", &mut left);
            assert_eq!(decision, Decision::untracked(Verdict::Pass));
            assert_eq!(left, sent);
        }
        assert_eq!(world.entries(), 0);
    });
}

#[test]
fn a_fragment_of_sctp_does_not_open_what_its_first_could_not() {
    both(|world| {
        world.expose(("lb", 80), Scope::Internal, 8, &["local"], |_| {});
        let cannot = "ERROR_WHILE_CORRECTING_L4_CHECKSUM";
        world.play(&[
            ("pod 10: sctp client:1 > lb:80 first 7", cannot),
            ("pod 10: sctp client:1 > lb:80 last 7", cannot),
        ]);
        assert_eq!(world.entries(), 0);
    });
}
