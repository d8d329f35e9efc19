//! Services and backends that change under a connection.

use super::script::{LOCAL, REMOTE, SECOND, World, both};
use crate::hook::Answer;

/// A TCP connection and a UDP one to each backend: ports 1 for local, 2 for remote.
fn connected(world: &mut World) {
    world.play_drawing(
        &[LOCAL, REMOTE, LOCAL, REMOTE],
        &[
            ("pod 10: tcp client:1 > vip:80 S", "pod 11: tcp client:1 > local:8080, NEW of 7"),
            ("pod 10: tcp client:2 > vip:80 S", "netdev: tcp client:2 > remote:8080, NEW of 7"),
            ("pod 10: udp client:1 > vip:80", "pod 11: udp client:1 > local:8080, NEW of 7"),
            ("pod 10: udp client:2 > vip:80", "netdev: udp client:2 > remote:8080, NEW of 7"),
        ],
    );
}

/// Everything that [`connected`] opened goes on: what keeps its backend is not moved.
fn all_stay(world: &mut World) {
    world.node.host.draws = vec![REMOTE, LOCAL, REMOTE, LOCAL];
    world.play(&[
        ("pod 10: tcp client:1 > vip:80 A", "pod 11: tcp client:1 > local:8080, ESTABLISHED of 7"),
        ("pod 10: tcp client:2 > vip:80 S", "netdev: tcp client:2 > remote:8080, ESTABLISHED of 7"),
        ("pod 10: udp client:1 > vip:80", "pod 11: udp client:1 > local:8080, ESTABLISHED of 7"),
        ("pod 10: udp client:2 > vip:80", "netdev: udp client:2 > remote:8080, ESTABLISHED of 7"),
    ]);
}

#[test]
fn a_backend_that_stays_is_kept() {
    // K-1.
    both(|world| {
        connected(world);
        world.serve("vip", 7, &["remote", "local"]);
        all_stay(world);
        world.serve("vip2", 8, &["local"]);
        all_stay(world);
        world.wait(2 * SECOND);
        all_stay(world);
    });
}

#[test]
fn a_backend_that_only_another_service_still_has_is_left() {
    both(|world| {
        world.serve("vip2", 8, &["local", "remote"]);
        connected(world);
        world.serve("vip", 7, &["remote"]);
        world.play(&[(
            "pod 10: udp client:1 > vip:80",
            "netdev: udp client:1 > remote:8080, REOPENED of 7",
        )]);
    });
}

#[test]
fn a_backend_that_is_gone_or_going_is_left() {
    // K-2: datagrams and the opening of a connection move at once, the middle of one stays.
    for gone in [World::remove, World::terminate] {
        both(|world| {
            connected(world);
            gone(world, "local");
            world.serve("vip", 7, &["remote"]);
            world.play(&[
                (
                    "pod 10: tcp client:1 > vip:80 A",
                    "pod 11: tcp client:1 > local:8080, ESTABLISHED of 7",
                ),
                (
                    "pod 11: tcp local:8080 > client:1 A",
                    "pod 10: tcp vip:80 > client:1, REPLY of 7",
                ),
                (
                    "pod 10: tcp client:1 > vip:80 FA",
                    "pod 11: tcp client:1 > local:8080, ESTABLISHED of 7",
                ),
                (
                    "pod 10: tcp client:2 > vip:80 S",
                    "netdev: tcp client:2 > remote:8080, ESTABLISHED of 7",
                ),
                (
                    "pod 10: udp client:1 > vip:80",
                    "netdev: udp client:1 > remote:8080, REOPENED of 7",
                ),
                (
                    "pod 10: udp client:2 > vip:80",
                    "netdev: udp client:2 > remote:8080, ESTABLISHED of 7",
                ),
                (
                    "pod 10: udp client:1 > vip:80",
                    "netdev: udp client:1 > remote:8080, ESTABLISHED of 7",
                ),
                // The old backend speaks for itself from now on.
                ("pod 11: udp local:8080 > client:1", "pod 10: udp local:8080 > client:1, NEW"),
            ]);
        });
    }
}

#[test]
fn a_syn_leaves_a_backend_that_is_gone() {
    // K-2: also where the epoch was already noted by the connection's other packets.
    let cases: [&[&str]; 3] = [
        &[],
        &["pod 10: tcp client:1 > vip:80 A"],
        &["pod 11: tcp local:8080 > client:1 SA", "pod 10: tcp client:1 > vip:80 A"],
    ];
    for before in cases {
        both(|world| {
            connected(world);
            world.remove("local");
            world.serve("vip", 7, &["remote"]);
            for packet in before {
                world.send(packet);
            }
            world.play(&[(
                "pod 10: tcp client:1 > vip:80 S",
                "netdev: tcp client:1 > remote:8080, REOPENED of 7",
            )]);
        });
    }
}

#[test]
fn a_late_answer_does_not_hold_datagrams_at_a_backend_that_is_gone() {
    // K-2: an answer says nothing about the backend's fitness.
    both(|world| {
        connected(world);
        world.terminate("local");
        world.serve("vip", 7, &["remote"]);
        world.play(&[
            ("pod 11: udp local:8080 > client:1", "pod 10: udp vip:80 > client:1, REPLY of 7"),
            ("pod 10: udp client:1 > vip:80", "netdev: udp client:1 > remote:8080, REOPENED of 7"),
        ]);
    });
}

#[test]
fn a_half_restored_by_a_late_answer_is_not_held_either() {
    both(|world| {
        connected(world);
        world.terminate("local");
        world.serve("vip", 7, &["remote"]);
        world.evict("udp client:1 > vip:80");
        world.play(&[
            ("pod 11: udp local:8080 > client:1", "pod 10: udp vip:80 > client:1, REPLY of 7"),
            ("pod 10: udp client:1 > vip:80", "netdev: udp client:1 > remote:8080, REOPENED of 7"),
        ]);
    });
}

#[test]
fn one_that_is_going_is_kept_while_there_is_no_other() {
    both(|world| {
        connected(world);
        world.terminate("local");
        world.serve("vip", 7, &[]);
        world.play(&[
            (
                "pod 10: udp client:1 > vip:80",
                "pod 11: udp client:1 > local:8080, ESTABLISHED of 7",
            ),
            ("pod 10: udp client:9 > vip:80", "SERVICE_BACKEND_NOT_FOUND"),
            (
                "pod 10: tcp client:1 > vip:80 A",
                "pod 11: tcp client:1 > local:8080, ESTABLISHED of 7",
            ),
            ("pod 10: tcp client:1 > vip:80 S", "SERVICE_BACKEND_NOT_FOUND"),
        ]);
        world.remove("local");
        world.play(&[("pod 10: udp client:1 > vip:80", "SERVICE_BACKEND_NOT_FOUND")]);
    });
}

#[test]
fn a_service_without_backends() {
    // Not a blackhole that lasts: as soon as there is a backend, packets go there.
    both(|world| {
        world.serve("vip", 7, &[]);
        world.play(&[
            ("pod 10: tcp client:1 > vip:80 S", "SERVICE_BACKEND_NOT_FOUND"),
            ("pod 10: udp client:1 > vip:80", "SERVICE_BACKEND_NOT_FOUND"),
        ]);
        assert_eq!(world.answer(), Answer::PortUnreachable);
        world.serve("vip", 7, &["remote"]);
        world.play(&[
            ("pod 10: tcp client:1 > vip:80 S", "netdev: tcp client:1 > remote:8080, NEW of 7"),
            ("pod 10: udp client:1 > vip:80", "netdev: udp client:1 > remote:8080, NEW of 7"),
        ]);
    });
}

#[test]
fn tables_that_contradict_each_other() {
    // A slot without its backend, a count without its slots.
    both(|world| {
        world.remove("local");
        world.play_drawing(
            &[LOCAL],
            &[("pod 10: tcp client:1 > vip:80 S", "SERVICE_BACKEND_NOT_FOUND")],
        );
        world.node.services.entries.retain(|key, _| key.slot == 0);
        world.play_drawing(
            &[REMOTE],
            &[("pod 10: tcp client:1 > vip:80 S", "SERVICE_BACKEND_NOT_FOUND")],
        );
    });
}

#[test]
fn a_service_that_is_gone() {
    both(|world| {
        connected(world);
        world.withdraw("vip");
        world.play(&[
            (
                "pod 10: tcp client:1 > vip:80 A",
                "pod 11: tcp client:1 > local:8080, ESTABLISHED of 7",
            ),
            ("pod 10: udp client:1 > vip:80", "stack: udp client:1 > vip:80, REOPENED"),
        ]);
    });
}

#[test]
fn a_port_of_a_frontend_that_is_gone() {
    both(|world| {
        connected(world);
        world.node.services.entries.retain(|key, _| key.port.get() != 80);
        world.node.config.epoch += 1;
        world.play(&[
            ("pod 10: udp client:1 > vip:80", "SERVICE_PORT_NOT_FOUND"),
            ("pod 10: tcp client:1 > vip:80 S", "SERVICE_PORT_NOT_FOUND"),
        ]);
    });
}

#[test]
fn a_service_that_comes_to_an_address_in_use() {
    // K-2, K-3: what was sent to the address before it was a frontend does not keep it plain.
    both(|world| {
        world.play(&[
            ("pod 10: udp client:1 > vip2:80", "stack: udp client:1 > vip2:80, NEW"),
            ("pod 10: udp client:1 > vip2:90", "stack: udp client:1 > vip2:90, NEW"),
            ("pod 10: tcp client:1 > vip2:80 S", "stack: tcp client:1 > vip2:80, NEW"),
            ("pod 10: tcp client:2 > vip2:80 A", "stack: tcp client:2 > vip2:80, NEW"),
        ]);
        world.serve("vip2", 8, &["remote"]);
        world.play(&[
            ("pod 10: udp client:1 > vip2:80", "netdev: udp client:1 > remote:8080, REOPENED of 8"),
            ("pod 10: udp client:1 > vip2:90", "SERVICE_PORT_NOT_FOUND"),
            (
                "pod 10: tcp client:1 > vip2:80 S",
                "netdev: tcp client:1 > remote:8080, REOPENED of 8",
            ),
            (
                "pod 10: tcp client:2 > vip2:80 A",
                "netdev: tcp client:2 > remote:8080, REOPENED of 8",
            ),
        ]);
    });
}

#[test]
fn plain_connections_outlive_changes() {
    both(|world| {
        world.play(&[
            ("pod 10: udp client:1 > far:53", "stack: udp client:1 > far:53, NEW"),
            ("pod 10: tcp client:1 > local:9 S", "pod 11: tcp client:1 > local:9, NEW"),
        ]);
        world.serve("vip2", 8, &["remote"]);
        world.play(&[
            ("pod 10: udp client:1 > far:53", "stack: udp client:1 > far:53, ESTABLISHED"),
            ("pod 10: tcp client:1 > local:9 A", "pod 11: tcp client:1 > local:9, ESTABLISHED"),
            ("pod 11: tcp local:9 > client:1 SA", "pod 10: tcp local:9 > client:1, REPLY"),
        ]);
    });
}
