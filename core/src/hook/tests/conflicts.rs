//! Connections that would share a reply tuple, and tables that are full.

use super::script::{LOCAL, REMOTE, World, both};
use crate::drop_reason::DropReason;
use crate::hook::{Stage, run};
use crate::parse::parse;
use crate::seam::Metric;
use crate::testing::{frame, work};
use crate::wire::tcp::SYN;

const FIRST: (&str, &str) =
    ("pod 10: tcp client:1 > vip:80 S", "pod 11: tcp client:1 > local:8080, NEW of 7");

/// The connection of [`FIRST`] goes on in both directions.
#[track_caller]
fn first_goes_on(world: &mut World) {
    world.play(&[
        ("pod 11: tcp local:8080 > client:1 SA", "pod 10: tcp vip:80 > client:1, REPLY of 7"),
        ("pod 10: tcp client:1 > vip:80 A", "pod 11: tcp client:1 > local:8080, ESTABLISHED of 7"),
        ("pod 11: tcp local:8080 > client:1 A", "pod 10: tcp vip:80 > client:1, REPLY of 7"),
    ]);
}

#[test]
fn two_frontends_one_backend_one_port() {
    // U-3: the second one gets another port, and keeps it.
    both(|world| {
        world.serve("vip2", 8, &["local"]);
        world.play_drawing(&[LOCAL], &[FIRST]);
        world.play(&[
            ("pod 10: tcp client:1 > vip2:80 S", "pod 11: tcp client:?a > local:8080, NEW of 8"),
            ("pod 11: tcp local:8080 > client:?a SA", "pod 10: tcp vip2:80 > client:1, REPLY of 8"),
            (
                "pod 10: tcp client:1 > vip2:80 A",
                "pod 11: tcp client:?a > local:8080, ESTABLISHED of 8",
            ),
        ]);
        assert_ne!(world.port('a'), 1);
        first_goes_on(world);
        world.play(&[
            ("pod 10: tcp client:2 > vip2:80 S", "pod 11: tcp client:2 > local:8080, NEW of 8"),
            ("pod 10: udp client:1 > vip2:80", "pod 11: udp client:1 > local:8080, NEW of 8"),
        ]);
        assert_eq!(world.entries(), 8);
    });
}

/// Where the reply tuple was presumed to be free, or another CPU takes it between the search for it and the
/// write, a search begins, but not for ever.
#[test]
fn a_reply_tuple_may_be_lost_three_times() {
    both(|world| {
        world.serve("vip2", 8, &["local"]);
        world.play_drawing(&[LOCAL], &[FIRST]);
        let mut packet = frame(&world.family.spell("tcp client:1 > vip2:80"), SYN);
        let mut work = work(parse(&packet).unwrap().unwrap(), world.node.host.now);
        let node = &mut world.node;
        // This leaves it as the search would have done a moment before the first connection was there.
        assert_eq!(run(&mut packet, node, &mut work, Stage::Open), Stage::Commit);
        for races in 1..=3 {
            assert_eq!(run(&mut packet, node, &mut work, Stage::Commit), Stage::Reserve);
            assert_eq!(work.races, races);
        }
        assert_eq!(run(&mut packet, node, &mut work, Stage::Commit), Stage::Done);
        assert_eq!(work.decision.reason(), Some(DropReason::ConntrackTupleConflict));
        assert_eq!(world.entries(), 2);
        first_goes_on(world);
    });
}

#[test]
fn no_other_backend_is_taken_where_a_port_will_do() {
    // U-3, and K-1 for what was chosen.
    both(|world| {
        world.serve("vip2", 8, &["local", "remote"]);
        world.play_drawing(&[LOCAL], &[FIRST]);
        world.play_drawing(
            &[LOCAL, 7],
            &[
                (
                    "pod 10: tcp client:1 > vip2:80 S",
                    "pod 11: tcp client:?a > local:8080, NEW of 8",
                ),
                (
                    "pod 10: tcp client:1 > vip2:80 S",
                    "pod 11: tcp client:?a > local:8080, ESTABLISHED of 8",
                ),
                (
                    "pod 11: tcp local:8080 > client:?a SA",
                    "pod 10: tcp vip2:80 > client:1, REPLY of 8",
                ),
            ],
        );
        first_goes_on(world);
    });
}

#[test]
fn by_the_frontend_and_directly() {
    both(|world| {
        world.play_drawing(&[LOCAL], &[FIRST]);
        world.play(&[
            ("pod 10: tcp client:1 > local:8080 S", "pod 11: tcp client:?a > local:8080, NEW"),
            ("pod 11: tcp local:8080 > client:?a SA", "pod 10: tcp local:8080 > client:1, REPLY"),
        ]);
        first_goes_on(world);
    });
    both(|world| {
        world.play(&[(
            "pod 10: tcp client:1 > local:8080 S",
            "pod 11: tcp client:1 > local:8080, NEW",
        )]);
        world.play_drawing(
            &[LOCAL, 7],
            &[
                ("pod 10: tcp client:1 > vip:80 S", "pod 11: tcp client:?a > local:8080, NEW of 7"),
                (
                    "pod 11: tcp local:8080 > client:1 SA",
                    "pod 10: tcp local:8080 > client:1, REPLY",
                ),
                (
                    "pod 11: tcp local:8080 > client:?a SA",
                    "pod 10: tcp vip:80 > client:1, REPLY of 7",
                ),
            ],
        );
    });
}

#[test]
fn a_connection_that_is_over_yields() {
    both(|world| {
        world.serve("vip2", 8, &["local"]);
        world.play_drawing(
            &[LOCAL],
            &[
                FIRST,
                (
                    "pod 11: tcp local:8080 > client:1 RA",
                    "pod 10: tcp vip:80 > client:1, REPLY of 7",
                ),
                ("pod 10: tcp client:1 > vip2:80 S", "pod 11: tcp client:1 > local:8080, NEW of 8"),
                (
                    "pod 11: tcp local:8080 > client:1 SA",
                    "pod 10: tcp vip2:80 > client:1, REPLY of 8",
                ),
            ],
        );
        assert_eq!(world.entries(), 2);
    });
}

#[test]
fn full() {
    // K-8, U-11: what is established goes on, what is new fails, at the first half or at the second.
    for room in [2, 3] {
        both(|world| {
            world.play_drawing(&[LOCAL], &[FIRST]);
            world.node.conntrack.room = room;
            world.play(&[
                ("pod 10: tcp client:2 > vip:80 S", "CT_MAP_INSERTION_FAILED"),
                ("pod 10: udp client:1 > far:53", "CT_MAP_INSERTION_FAILED"),
            ]);
            assert_eq!(world.entries(), 2, "no half is left behind");
            assert_eq!(world.counted(Metric::drop(DropReason::ConntrackInsertionFailed)), 2);
            first_goes_on(world);
        });
    }
}

#[test]
fn full_but_for_what_is_replaced() {
    both(|world| {
        world.play_drawing(
            &[LOCAL],
            &[
                FIRST,
                (
                    "pod 11: tcp local:8080 > client:1 RA",
                    "pod 10: tcp vip:80 > client:1, REPLY of 7",
                ),
            ],
        );
        world.node.conntrack.room = 2;
        world.play_drawing(
            &[REMOTE],
            &[(
                "pod 10: tcp client:1 > vip:80 S",
                "netdev: tcp client:1 > remote:8080, REOPENED of 7",
            )],
        );
    });
}
