//! SCTP, whose checksum does not cover the addresses and cannot follow a change of ports.

use super::script::{SECOND, World, both};
use crate::service::Scope;

fn expose(world: &mut World, backends: &[&str]) {
    for scope in Scope::ALL {
        world.expose(("lb", 8080), scope, 9, backends, |_| {});
        world.expose(("lb", 80), scope, 8, backends, |_| {});
    }
}

#[test]
fn addresses_change_and_ports_stay() {
    both(|world| {
        expose(world, &["local"]);
        world.play(&[
            ("pod 10: sctp client:1 > lb:8080", "pod 11: sctp client:1 > local:8080, NEW of 9"),
            ("pod 11: sctp local:8080 > client:1", "pod 10: sctp lb:8080 > client:1, REPLY of 9"),
            (
                "pod 10: sctp client:1 > lb:8080",
                "pod 11: sctp client:1 > local:8080, ESTABLISHED of 9",
            ),
            ("netdev: sctp outside:1 > lb:8080", "pod 11: sctp outside:1 > local:8080, NEW of 9"),
            ("pod 11: sctp local:8080 > outside:1", "netdev: sctp lb:8080 > outside:1, REPLY of 9"),
        ]);
    });
}

#[test]
fn a_port_that_would_have_to_change() {
    both(|world| {
        expose(world, &["local"]);
        let cannot = "ERROR_WHILE_CORRECTING_L4_CHECKSUM";
        world.play(&[
            ("pod 10: sctp client:1 > lb:80", cannot),
            // The same port by two ways: the second one would need another.
            ("pod 10: sctp client:1 > local:8080", "pod 11: sctp client:1 > local:8080, NEW"),
            ("pod 11: sctp local:8080 > client:1", "pod 10: sctp local:8080 > client:1, REPLY"),
            ("pod 10: sctp client:1 > lb:8080", cannot),
        ]);
        assert_eq!(world.entries(), 2);
    });
}

#[test]
fn a_remote_backend_is_reached_with_the_client_s_port() {
    both(|world| {
        expose(world, &["remote"]);
        world.play(&[
            ("netdev: sctp outside:50 > lb:8080", "netdev: sctp node:50 > remote:8080, NEW of 9"),
            ("netdev: sctp remote:8080 > node:50", "netdev: sctp lb:8080 > outside:50, REPLY of 9"),
            ("netdev: sctp far:50 > lb:8080", "ERROR_WHILE_CORRECTING_L4_CHECKSUM"),
            ("netdev: sctp far:51 > lb:8080", "netdev: sctp node:51 > remote:8080, NEW of 9"),
        ]);
    });
}

#[test]
fn it_is_kept_as_long_as_tcp() {
    // RFC 8540 leaves the time to the middlebox: that of TCP, before and after both ends were seen.
    let ask = "pod 10: sctp client:1 > local:9";
    let answer = "pod 11: sctp local:9 > client:1";
    let minutes = |n: u64| n * 60 * SECOND;
    let cases: [(&[&str], u64); 3] =
        [(&[ask], minutes(4)), (&[ask, answer], minutes(4)), (&[ask, answer, ask], minutes(124))];
    for (script, timeout) in cases {
        for (idle, status) in
            [(timeout + SECOND - 1, "ESTABLISHED"), (timeout + SECOND, "REOPENED")]
        {
            both(|world| {
                for packet in script {
                    world.send(packet);
                }
                world.wait(idle);
                world.play(&[(ask, &format!("pod 11: sctp client:1 > local:9, {status}"))]);
            });
        }
    }
}
