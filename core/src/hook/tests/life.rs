//! The life of connections from outside: backends that go, tuples used again, halves that are lost.

use super::script::{LOCAL, REMOTE, SECOND, World, both};
use crate::seam::Metric;
use crate::service::{Algorithm, Scope};

type Played = (&'static str, &'static str);

const SYN: Played =
    ("netdev: tcp outside:50000 > lb:80 S", "netdev: tcp node:50000 > remote:8080, NEW of 9");
const SYN_ACK: Played =
    ("netdev: tcp remote:8080 > node:50000 SA", "netdev: tcp lb:80 > outside:50000, REPLY of 9");
const ACK: Played = (
    "netdev: tcp outside:50000 > lb:80 A",
    "netdev: tcp node:50000 > remote:8080, ESTABLISHED of 9",
);
const DATA: Played =
    ("netdev: tcp remote:8080 > node:50000 A", "netdev: tcp lb:80 > outside:50000, REPLY of 9");

const FORWARD_KEY: &str = "tcp outside:50000 > lb:80";
const REPLY_KEY: &str = "tcp remote:8080 > node:50000";

/// A connection to the remote backend of two.
fn established(world: &mut World) {
    world.expose(("lb", 80), Scope::External, 9, &["local", "remote"], |_| {});
    world.play_drawing(&[REMOTE], &[SYN, SYN_ACK, ACK]);
    world.wait(SECOND);
}

#[test]
fn a_backend_that_is_going_drains() {
    for gone in [World::terminate, World::remove] {
        both(|world| {
            established(world);
            world.play_drawing(
                &[REMOTE],
                &[(
                    "netdev: udp outside:50000 > lb:80",
                    "netdev: udp node:50000 > remote:8080, NEW of 9",
                )],
            );
            gone(world, "remote");
            world.expose(("lb", 80), Scope::External, 9, &["local"], |_| {});
            world.play(&[
                ACK,
                DATA,
                (
                    "netdev: udp outside:50000 > lb:80",
                    "pod 11: udp outside:50000 > local:8080, REOPENED of 9",
                ),
                (
                    "netdev: tcp outside:50001 > lb:80 S",
                    "pod 11: tcp outside:50001 > local:8080, NEW of 9",
                ),
            ]);
        });
    }
}

#[test]
fn a_closed_tuple_is_used_again() {
    // To either backend; the old connection goes with both halves.
    for (draw, expected) in [
        (REMOTE, "netdev: tcp node:50000 > remote:8080, REOPENED of 9"),
        (LOCAL, "pod 11: tcp outside:50000 > local:8080, REOPENED of 9"),
    ] {
        both(|world| {
            established(world);
            world.play(&[(
                "netdev: tcp remote:8080 > node:50000 RA",
                "netdev: tcp lb:80 > outside:50000, REPLY of 9",
            )]);
            world.play_drawing(&[draw], &[(SYN.0, expected)]);
            assert_eq!(world.entries(), 2);
        });
    }
}

#[test]
fn an_expired_port_is_free_again() {
    both(|world| {
        established(world);
        world.wait(124 * 60 * SECOND + SECOND);
        world.play_drawing(
            &[REMOTE],
            &[(
                "netdev: tcp far:50000 > lb:80 S",
                "netdev: tcp node:50000 > remote:8080, NEW of 9",
            )],
        );
        assert_eq!(world.entries(), 2, "the old one is gone");
    });
}

#[test]
fn a_lost_half_is_restored_by_the_other() {
    for (lost, first, second) in [(REPLY_KEY, ACK, DATA), (FORWARD_KEY, DATA, ACK)] {
        both(|world| {
            established(world);
            world.evict(lost);
            world.play(&[first, second]);
            assert_eq!((world.counted(Metric::RESTORED), world.entries()), (1, 2));
            // And it leaves by the device as it did, also in front of the stack.
            let express =
                |(packet, expected): Played| (packet.replace("netdev:", "xdp:"), expected);
            for (packet, expected) in [express(first), express(second)] {
                world.play(&[(&packet, expected)]);
            }
        });
    }
}

#[test]
fn a_reply_half_that_another_connection_has_is_not_shared() {
    // The forward half is lost, and the client is sent elsewhere: the backend's late packets go nowhere
    // near the new connection.
    both(|world| {
        established(world);
        world.evict(FORWARD_KEY);
        world
            .play_drawing(&[LOCAL], &[(SYN.0, "pod 11: tcp outside:50000 > local:8080, NEW of 9")]);
        world.play(&[
            (
                "netdev: tcp remote:8080 > node:50000 A",
                "stack: tcp remote:8080 > node:50000, REOPENED",
            ),
            (
                "pod 11: tcp local:8080 > outside:50000 SA",
                "netdev: tcp lb:80 > outside:50000, REPLY of 9",
            ),
        ]);
        assert_eq!(world.counted(Metric::REAPED), 1);
    });
}

#[test]
fn an_evicted_connection_goes_on_by_maglev() {
    // Both halves lost in the middle: this node, or another one, gives the client the same backend.
    both(|world| {
        let ids = ["local", "remote", "remote2"].map(|name| world.backend(name));
        world.node.maglev.entries.extend((0..7).map(|i| (i, ids[i as usize % 3])));
        world.expose(("lb", 80), Scope::External, 9, &["local", "remote", "remote2"], |master| {
            master.algorithm = Algorithm::Maglev as u8;
        });
        let mut seen = std::collections::HashSet::new();
        for port in 50_000..50_030 {
            let opened = world.send(&format!("netdev: tcp outside:{port} > lb:80 S"));
            world.node.conntrack.entries.clear();
            world.node.host.draws = vec![port, !port];
            for flags in ["A", "FA", "R"] {
                let again = world.send(&format!("netdev: tcp outside:{port} > lb:80 {flags}"));
                assert_eq!(again, opened, "{flags}");
                world.node.conntrack.entries.clear();
            }
            seen.insert(opened.split("> ").nth(1).unwrap().to_string());
        }
        assert_eq!(seen.len(), 3, "{seen:?}");
    });
}

#[test]
fn a_reset_of_nothing_is_not_guessed_a_backend() {
    both(|world| {
        world.expose(("lb", 80), Scope::External, 9, &["local", "remote"], |_| {});
        world
            .play(&[("netdev: tcp outside:50000 > lb:80 R", "CT_CANNOT_CREATE_ENTRY_FROM_PACKET")]);
    });
}

#[test]
fn full() {
    // U-11: at the first half or at the second, nothing is left and what is there goes on.
    for room in [2, 3] {
        both(|world| {
            established(world);
            world.node.conntrack.room = room;
            world.play_drawing(
                &[REMOTE],
                &[("netdev: tcp outside:50001 > lb:80 S", "CT_MAP_INSERTION_FAILED"), ACK, DATA],
            );
            assert_eq!(world.entries(), 2);
        });
    }
}
