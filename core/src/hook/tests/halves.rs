//! Halves of connections whose other half was evicted (K-7).

use super::script::{LOCAL, REMOTE, SECOND, World, both};
use crate::conntrack::Flow;
use crate::seam::Metric;
use crate::tuple::Tuple;

const SYN: (&str, &str) =
    ("pod 10: tcp client:1 > vip:80 S", "pod 11: tcp client:1 > local:8080, NEW of 7");
const SYN_ACK: (&str, &str) =
    ("pod 11: tcp local:8080 > client:1 SA", "pod 10: tcp vip:80 > client:1, REPLY of 7");
const ACK: (&str, &str) =
    ("pod 10: tcp client:1 > vip:80 A", "pod 11: tcp client:1 > local:8080, ESTABLISHED of 7");
const DATA: (&str, &str) =
    ("pod 11: tcp local:8080 > client:1 A", "pod 10: tcp vip:80 > client:1, REPLY of 7");

fn established(world: &mut World) {
    world.play_drawing(&[LOCAL], &[SYN, SYN_ACK, ACK]);
    world.wait(SECOND);
}

/// What of the entries a restored half must have again: all but time and epoch.
fn essence(world: &World) -> Vec<(Tuple, Tuple, u32, u32, String)> {
    let what = |(key, flow): (&Tuple, &Flow)| {
        let how = format!("{:?} {:?} {:?}", flow.exit(), flow.direction(), flow.state());
        (*key, flow.to, flow.service, flow.backend, how)
    };
    let mut entries: Vec<_> = world.node.conntrack.entries.iter().map(what).collect();
    entries.sort();
    entries
}

#[test]
fn a_lost_half_is_restored_by_the_other() {
    for (lost, packets) in
        [("tcp local:8080 > client:1", [ACK, DATA]), ("tcp client:1 > vip:80", [DATA, ACK])]
    {
        both(|world| {
            established(world);
            let whole = essence(world);
            world.evict(lost);
            world.play(&packets);
            assert_eq!(essence(world), whole);
            assert_eq!(world.counted(Metric::RESTORED), 1);
            world.wait(SECOND);
            world.play(&packets);
            assert_eq!(world.counted(Metric::RESTORED), 1);
        });
    }
}

#[test]
fn a_lost_half_of_a_remote_connection_is_restored() {
    let there =
        ("pod 10: udp client:1 > vip:80", "netdev: udp client:1 > remote:8080, ESTABLISHED of 7");
    let back = ("netdev: udp remote:8080 > client:1", "pod 10: udp vip:80 > client:1, REPLY of 7");
    for (lost, packets) in
        [("udp remote:8080 > client:1", [there, back]), ("udp client:1 > vip:80", [back, there])]
    {
        both(|world| {
            world.play_drawing(
                &[REMOTE],
                &[(there.0, "netdev: udp client:1 > remote:8080, NEW of 7"), back, there],
            );
            world.wait(SECOND);
            let whole = essence(world);
            world.evict(lost);
            world.play(&packets);
            assert_eq!(essence(world), whole);
        });
    }
}

#[test]
fn where_there_is_no_room_the_half_that_is_left_goes_on() {
    // K-8.
    both(|world| {
        established(world);
        world.evict("tcp local:8080 > client:1");
        world.node.conntrack.room = 1;
        world.play(&[ACK]);
        assert_eq!(world.counted(Metric::RESTORE_FAILED), 1);
        assert_eq!(world.entries(), 1);
        world.node.conntrack.room = 2;
        world.wait(SECOND);
        world.play(&[ACK, DATA]);
    });
}

#[test]
fn what_came_while_a_half_was_lost_gives_its_key_back() {
    // The backend's packet comes before the client's. It finds no half, and opens a connection of its own
    // under the key that was lost; nobody answers that one.
    both(|world| {
        established(world);
        let whole = essence(world);
        world.evict("tcp local:8080 > client:1");
        let lost =
            ("pod 11: tcp local:8080 > client:1 A", "pod 10: tcp local:8080 > client:1, NEW");
        world.play(&[lost, ACK, DATA]);
        assert_eq!(essence(world), whole);
        assert_eq!(world.counted(Metric::REAPED), 0);
    });
}

#[test]
fn a_half_whose_twin_s_key_is_taken_is_reaped() {
    // The reply half is lost, and its key goes to a connection by another frontend.
    both(|world| {
        world.serve("vip2", 8, &["local"]);
        established(world);
        world.evict("tcp local:8080 > client:1");
        let other =
            ("pod 11: tcp local:8080 > client:1 A", "pod 10: tcp vip2:80 > client:1, REPLY of 8");
        world.play(&[
            ("pod 10: tcp client:1 > vip2:80 S", "pod 11: tcp client:1 > local:8080, NEW of 8"),
            other,
        ]);
        world.play_drawing(
            &[REMOTE],
            &[
                (
                    "pod 10: tcp client:1 > vip:80 A",
                    "netdev: tcp client:1 > remote:8080, REOPENED of 7",
                ),
                other,
                (
                    "netdev: tcp remote:8080 > client:1 A",
                    "pod 10: tcp vip:80 > client:1, REPLY of 7",
                ),
            ],
        );
        assert_eq!(world.counted(Metric::REAPED), 1);
        assert_eq!(world.entries(), 4);
    });
}

#[test]
fn an_orphaned_reply_half_is_reaped() {
    // The original half is lost, and the client's next packet chose another backend.
    both(|world| {
        established(world);
        world.evict("tcp client:1 > vip:80");
        world.play_drawing(
            &[REMOTE],
            &[("pod 10: tcp client:1 > vip:80 A", "netdev: tcp client:1 > remote:8080, NEW of 7")],
        );
        world.play(&[(
            "pod 11: tcp local:8080 > client:1 A",
            "pod 10: tcp local:8080 > client:1, REOPENED",
        )]);
        assert_eq!(world.counted(Metric::REAPED), 1);
        world.play(&[(
            "netdev: tcp remote:8080 > client:1 A",
            "pod 10: tcp vip:80 > client:1, REPLY of 7",
        )]);
    });
}

#[test]
fn an_orphaned_reply_half_is_adopted_by_the_same_choice() {
    both(|world| {
        established(world);
        world.evict("tcp client:1 > vip:80");
        world.play_drawing(
            &[LOCAL],
            &[
                ("pod 10: tcp client:1 > vip:80 A", "pod 11: tcp client:1 > local:8080, NEW of 7"),
                DATA,
            ],
        );
        assert_eq!(world.entries(), 2);
    });
}

#[test]
fn a_restored_half_takes_nothing_of_an_ended_connection_along() {
    // The key of the lost half belongs to a connection that is over: that one goes, both halves.
    both(|world| {
        world.serve("vip2", 8, &["local"]);
        established(world);
        world.evict("tcp local:8080 > client:1");
        world.play(&[
            ("pod 10: tcp client:1 > vip2:80 S", "pod 11: tcp client:1 > local:8080, NEW of 8"),
            ("pod 11: tcp local:8080 > client:1 RA", "pod 10: tcp vip2:80 > client:1, REPLY of 8"),
            (
                "pod 10: tcp client:1 > vip:80 S",
                "pod 11: tcp client:1 > local:8080, ESTABLISHED of 7",
            ),
            DATA,
        ]);
        assert_eq!(world.entries(), 2);
    });
}
