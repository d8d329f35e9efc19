//! The hook in front of the stack: known connections that leave by a device, and nothing else.

use super::script::{REMOTE, SECOND, World, both};
use crate::service::Scope;
use crate::testing::frame;
use crate::verdict::{Decision, Verdict};
use crate::wire::tcp;

/// A connection from outside to a remote backend, both ends there, and the node port's.
fn established(world: &mut World) {
    world.expose(("lb", 80), Scope::External, 9, &["local", "remote"], |_| {});
    world.play_drawing(
        &[REMOTE],
        &[
            (
                "netdev: tcp outside:50000 > lb:80 S",
                "netdev: tcp node:50000 > remote:8080, NEW of 9",
            ),
            (
                "netdev: tcp remote:8080 > node:50000 SA",
                "netdev: tcp lb:80 > outside:50000, REPLY of 9",
            ),
            (
                "netdev: tcp outside:50000 > lb:80 A",
                "netdev: tcp node:50000 > remote:8080, ESTABLISHED of 9",
            ),
        ],
    );
}

/// Nothing is done with the packet, and nothing is written or counted.
#[track_caller]
fn passes(world: &mut World, text: &str, flags: u8, change: impl Fn(&mut Vec<u8>)) {
    let mut sent = frame(&world.family.spell(text), flags);
    change(&mut sent.0);
    let before = (world.node.conntrack.entries.clone(), world.node.host.counts.clone());
    let mut left = sent.clone();
    assert_eq!(world.hand("xdp", &mut left), Decision::untracked(Verdict::Pass), "{text}");
    assert_eq!(left, sent, "{text}");
    assert_eq!((&world.node.conntrack.entries, &world.node.host.counts), (&before.0, &before.1));
    assert!(world.node.fragments.entries.is_empty());
}

#[test]
fn both_directions_to_a_remote_backend() {
    both(|world| {
        established(world);
        let writes = world.node.conntrack.writes;
        world.play(&[
            (
                "xdp: tcp outside:50000 > lb:80 A",
                "netdev: tcp node:50000 > remote:8080, ESTABLISHED of 9",
            ),
            (
                "xdp: tcp remote:8080 > node:50000 A",
                "netdev: tcp lb:80 > outside:50000, REPLY of 9",
            ),
        ]);
        assert_eq!(world.node.conntrack.writes, writes);
    });
}

#[test]
fn what_tells_something_new_passes() {
    both(|world| {
        established(world);
        let to = "tcp outside:50000 > lb:80";
        for flags in [tcp::SYN, tcp::FIN | tcp::ACK, tcp::RST] {
            passes(world, to, flags, |_| {});
        }
        passes(world, "tcp outside:50001 > lb:80", tcp::SYN, |_| {});
        passes(world, "tcp far:1 > far:2", tcp::ACK, |_| {});
        world.node.config.epoch += 1;
        passes(world, to, tcp::ACK, |_| {});
        world.node.config.epoch -= 1;
        world.wait(SECOND);
        passes(world, to, tcp::ACK, |_| {});
        // The hook behind it brings the connection up to date, and the next packet is forwarded here.
        world.play(&[
            (
                "netdev: tcp outside:50000 > lb:80 A",
                "netdev: tcp node:50000 > remote:8080, ESTABLISHED of 9",
            ),
            (
                "xdp: tcp outside:50000 > lb:80 A",
                "netdev: tcp node:50000 > remote:8080, ESTABLISHED of 9",
            ),
        ]);
    });
}

#[test]
fn what_goes_to_a_pod_or_to_the_node_passes() {
    both(|world| {
        world.expose(("lb", 80), Scope::External, 9, &["local"], |_| {});
        world.play(&[
            ("netdev: udp outside:5 > lb:80", "pod 11: udp outside:5 > local:8080, NEW of 9"),
            ("netdev: udp outside:5 > node:53", "stack: udp outside:5 > node:53, NEW"),
        ]);
        passes(world, "udp outside:5 > lb:80", 0, |_| {});
        passes(world, "udp outside:5 > node:53", 0, |_| {});
    });
}

#[test]
fn what_it_cannot_judge_passes() {
    both(|world| {
        established(world);
        let v4 = world.family.v4;
        let to = "tcp outside:50000 > lb:80";
        passes(world, to, tcp::ACK, |bytes| bytes[if v4 { 22 } else { 21 }] = 1);
        passes(world, to, tcp::ACK, |bytes| bytes[12] = 0x07); // no IP
        passes(world, to, tcp::ACK, |bytes| bytes.truncate(40)); // cut
        passes(world, to, tcp::SYN | tcp::FIN, |_| {});
        // IP options, an extension header.
        passes(world, to, tcp::ACK, |bytes| {
            if v4 {
                bytes[14] = 0x46;
                bytes[17] += 4;
                bytes.splice(34..34, [1, 1, 1, 1]);
            } else {
                bytes[19] += 8;
                bytes[20] = 60;
                bytes.splice(54..54, [6, 0, 1, 4, 0, 0, 0, 0]);
            }
        });
        // A first fragment.
        passes(world, to, tcp::ACK, |bytes| {
            if v4 {
                bytes[20] |= 0x20;
            } else {
                bytes[19] += 8;
                bytes[20] = 44;
                bytes.splice(54..54, [6, 0, 0, 1, 0, 0, 0, 7]);
            }
        });
    });
}

#[test]
fn sctp_and_echoes_pass() {
    both(|world| {
        world.expose(("lb", 8080), Scope::External, 9, &["remote"], |_| {});
        world.play(&[(
            "netdev: sctp outside:5 > lb:8080",
            "netdev: sctp node:5 > remote:8080, NEW of 9",
        )]);
        passes(world, "sctp outside:5 > lb:8080", 0, |_| {});
        passes(world, "echo outside:5 > node:0", 0, |_| {});
    });
}
