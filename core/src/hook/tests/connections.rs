//! Connections as they should go, byte by byte.

use super::script::{LOCAL, REMOTE, V4, World, both, with_ttl};
use crate::checksum;
use crate::testing::{Frame, frame};
use crate::verdict::Verdict;
use crate::wire::tcp;

#[test]
fn tcp_to_a_local_backend() {
    // T-2, K-3, U-10, C-1, C-10.
    both(|world| {
        world.play_drawing(
            &[LOCAL],
            &[
                ("pod 10: tcp client:1 > vip:80 S", "pod 11: tcp client:1 > local:8080, NEW of 7"),
                (
                    "pod 11: tcp local:8080 > client:1 SA",
                    "pod 10: tcp vip:80 > client:1, REPLY of 7",
                ),
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
                    "pod 11: tcp local:8080 > client:1 FA",
                    "pod 10: tcp vip:80 > client:1, REPLY of 7",
                ),
                (
                    "pod 10: tcp client:1 > vip:80 A",
                    "pod 11: tcp client:1 > local:8080, ESTABLISHED of 7",
                ),
            ],
        );
        assert_eq!(world.entries(), 2);
    });
}

#[test]
fn tcp_to_a_remote_backend() {
    both(|world| {
        world.play_drawing(
            &[REMOTE],
            &[
                ("pod 10: tcp client:1 > vip:80 S", "netdev: tcp client:1 > remote:8080, NEW of 7"),
                (
                    "netdev: tcp remote:8080 > client:1 SA",
                    "pod 10: tcp vip:80 > client:1, REPLY of 7",
                ),
                (
                    "pod 10: tcp client:1 > vip:80 A",
                    "netdev: tcp client:1 > remote:8080, ESTABLISHED of 7",
                ),
                (
                    "netdev: tcp remote:8080 > client:1 RA",
                    "pod 10: tcp vip:80 > client:1, REPLY of 7",
                ),
            ],
        );
    });
}

#[test]
fn udp() {
    both(|world| {
        world.play_drawing(
            &[REMOTE, LOCAL],
            &[
                ("pod 10: udp client:1 > vip:80", "netdev: udp client:1 > remote:8080, NEW of 7"),
                ("pod 10: udp client:2 > vip:80", "pod 11: udp client:2 > local:8080, NEW of 7"),
                ("netdev: udp remote:8080 > client:1", "pod 10: udp vip:80 > client:1, REPLY of 7"),
                ("pod 11: udp local:8080 > client:2", "pod 10: udp vip:80 > client:2, REPLY of 7"),
                (
                    "pod 10: udp client:1 > vip:80",
                    "netdev: udp client:1 > remote:8080, ESTABLISHED of 7",
                ),
            ],
        );
    });
}

#[test]
fn at_the_backend_s_node() {
    // What another node translated comes in plain, and its answer goes back by the way it came.
    both(|world| {
        world.play(&[
            ("netdev: tcp far:1 > local:8080 S", "pod 11: tcp far:1 > local:8080, NEW"),
            ("pod 11: tcp local:8080 > far:1 SA", "netdev: tcp local:8080 > far:1, REPLY"),
            ("netdev: tcp far:1 > local:8080 A", "pod 11: tcp far:1 > local:8080, ESTABLISHED"),
        ]);
    });
}

#[test]
fn what_is_no_service_goes_where_it_says() {
    both(|world| {
        world.play(&[
            ("pod 10: tcp client:1 > local:9 S", "pod 11: tcp client:1 > local:9, NEW"),
            ("pod 11: tcp local:9 > client:1 SA", "pod 10: tcp local:9 > client:1, REPLY"),
            ("pod 10: udp client:1 > far:53", "stack: udp client:1 > far:53, NEW"),
            ("netdev: udp far:53 > client:1", "pod 10: udp far:53 > client:1, REPLY"),
            ("stack: tcp host:1 > client:22 S", "stack: tcp host:1 > client:22, NEW"),
            ("pod 10: tcp client:22 > host:1 SA", "stack: tcp client:22 > host:1, REPLY"),
            ("netdev: tcp far:1 > host:22 S", "stack: tcp far:1 > host:22, NEW"),
        ]);
    });
}

#[test]
fn a_reply_by_the_stack_is_translated_and_never_redirected() {
    both(|world| {
        world.play_drawing(
            &[LOCAL],
            &[
                ("pod 10: tcp client:1 > vip:80 S", "pod 11: tcp client:1 > local:8080, NEW of 7"),
                ("stack: tcp local:8080 > client:1 SA", "stack: tcp vip:80 > client:1, REPLY of 7"),
                ("stack: tcp local:8080 > client:1 A", "stack: tcp vip:80 > client:1, REPLY of 7"),
            ],
        );
    });
}

#[test]
fn what_has_come_round_by_the_stack_is_not_tracked_again() {
    both(|world| {
        world.node.config.uplink = 0;
        world.play_drawing(
            &[REMOTE],
            &[
                ("pod 10: tcp client:1 > vip:80 S", "stack: tcp client:1 > remote:8080, NEW of 7"),
                (
                    "stack: tcp client:1 > remote:8080 S",
                    "stack: tcp client:1 > remote:8080, UNTRACKED",
                ),
                (
                    "netdev: tcp remote:8080 > client:1 SA",
                    "pod 10: tcp vip:80 > client:1, REPLY of 7",
                ),
            ],
        );
        assert_eq!(world.entries(), 2);
    });
}

#[test]
fn a_cluster_ip_is_for_the_cluster() {
    both(|world| {
        world.play(&[
            ("netdev: udp far:1 > vip:80", "IS_CLUSTER_IP"),
            ("netdev: udp far:1 > vip:81", "SERVICE_PORT_NOT_FOUND"),
            // What the stack sends to a pod was translated where it came from.
            ("stack: udp host:1 > vip:80", "stack: udp host:1 > vip:80, NEW"),
        ]);
    });
}

/// Swaps source and destination, addresses and ports, in place.
fn swap(frame: &Frame) -> Frame {
    let mut bytes = frame.0.clone();
    let (addresses, size, l4) =
        if bytes[12..14] == [0x08, 0x00] { (26, 4, 34) } else { (22, 16, 54) };
    let (a, b) = bytes[addresses..].split_at_mut(size);
    a.swap_with_slice(&mut b[..size]);
    let (a, b) = bytes[l4..].split_at_mut(2);
    a.swap_with_slice(&mut b[..2]);
    Frame(bytes)
}

#[test]
fn reply_of_forward_is_the_identity() {
    // C-14. A swap leaves the checksums right, so an echo of what the backend got is a reply.
    both(|world| {
        for (draw, back) in [(LOCAL, "pod 11"), (REMOTE, "netdev")] {
            for protocol in ["tcp", "udp"] {
                for port in (1..60_000).step_by(997) {
                    world.node.host.draws = vec![draw];
                    let text = format!("{protocol} client:{port} > vip:80");
                    let sent = frame(&world.family.spell(&text), tcp::SYN);
                    let mut there = sent.clone();
                    world.hand("pod 10", &mut there);
                    let mut back_again = swap(&there);
                    assert_eq!(world.hand(back, &mut back_again).verdict(), Verdict::Deliver(10));
                    assert_eq!(back_again, with_ttl(&swap(&sent), 62), "{text}");
                    world.node.conntrack.entries.clear();
                }
            }
        }
    });
}

/// The transport checksum's place in frames of this test.
fn checksum_at(world: &World, offset: usize) -> usize {
    offset + if world.family.v4 { 34 } else { 54 }
}

#[test]
fn no_udp_checksum_stays_none() {
    // C-3, and C-5: received in IPv6 it is handed on as it is.
    both(|world| {
        let at = checksum_at(world, 6);
        let mut sent = frame(&world.family.spell("udp client:1 > vip:80"), 0);
        sent.0[at..at + 2].fill(0);
        let mut there = sent.clone();
        world.hand("pod 10", &mut there);
        assert_eq!(there.0[at..at + 2], [0, 0]);
        let mut back = swap(&there);
        world.hand("pod 11", &mut back);
        assert_eq!(back, with_ttl(&swap(&sent), 62));
    });
}

#[test]
fn a_wrong_checksum_stays_equally_wrong() {
    // C-6: the difference to the right one, in one's complement, is kept.
    both(|world| {
        for (protocol, offset) in [("tcp", 16), ("udp", 6)] {
            let at = checksum_at(world, offset);
            let field =
                |frame: &Frame| u32::from(u16::from_be_bytes([frame.0[at], frame.0[at + 1]]));
            let right =
                frame(&world.family.spell(&format!("{protocol} client:1 > vip:80")), tcp::SYN);
            let mut wrong = right.clone();
            wrong.0[at] ^= 0x55;
            wrong.0[at + 1] ^= 0xaa;
            let error = (65535 + field(&wrong) - field(&right)) % 65535;
            let (mut right, mut wrong) = (right, wrong);
            world.hand("pod 10", &mut right);
            world.hand("pod 10", &mut wrong);
            assert_eq!((65535 + field(&wrong) - field(&right)) % 65535, error, "{protocol}");
        }
    });
}

#[test]
fn an_established_packet_costs_one_lookup_and_no_write() {
    both(|world| {
        world.play_drawing(
            &[REMOTE],
            &[
                ("pod 10: tcp client:1 > vip:80 S", "netdev: tcp client:1 > remote:8080, NEW of 7"),
                (
                    "netdev: tcp remote:8080 > client:1 SA",
                    "pod 10: tcp vip:80 > client:1, REPLY of 7",
                ),
                (
                    "pod 10: tcp client:1 > vip:80 A",
                    "netdev: tcp client:1 > remote:8080, ESTABLISHED of 7",
                ),
            ],
        );
        let entries = world.node.conntrack.entries.clone();
        let counts = world.node.host.counts.clone();
        let lookups = |world: &World| {
            let node = &world.node;
            [&node.services.reads, &node.endpoints.reads].map(std::cell::Cell::get)
        };
        let others = lookups(world);
        for packet in ["pod 10: tcp client:1 > vip:80 A", "netdev: tcp remote:8080 > client:1 A"] {
            let (reads, writes) = (world.node.conntrack.reads.get(), world.node.conntrack.writes);
            world.send(packet);
            assert_eq!(world.node.conntrack.reads.get(), reads + 1, "{packet}");
            assert_eq!(world.node.conntrack.writes, writes, "{packet}");
        }
        assert_eq!(lookups(world), others);
        assert_eq!(world.node.conntrack.entries, entries);
        assert_eq!(world.node.host.counts, counts);
    });
}

#[test]
fn an_ethernet_tag_and_ip_options_are_left_alone() {
    let plain = frame(&V4.spell("tcp client:1 > vip:80"), tcp::SYN);
    let mut bytes = plain.0.clone();
    bytes.splice(34..34, [1, 1, 1, 1]); // four no-operations
    bytes[14] = 0x46;
    bytes[17] += 4;
    bytes[24..26].fill(0);
    let sum = !checksum::sum(&bytes[14..38]);
    bytes[24..26].copy_from_slice(&sum.to_ne_bytes());
    bytes.splice(12..12, [0x81, 0x00, 0x00, 0x64]);
    let mut there = Frame(bytes.clone());
    let mut world = World::new(&V4);
    assert_eq!(world.hand("pod 10", &mut there).verdict(), Verdict::Deliver(11));
    let mut expected = plain.clone();
    world.hand("pod 10", &mut expected);
    assert_eq!(there.0[..18], bytes[..18]);
    assert_eq!(there.0[30..38], expected.0[26..34], "addresses");
    assert_eq!(checksum::sum(&there.0[18..42]), 0xffff, "header checksum, options and all");
    assert_eq!(there.0[38..42], [1, 1, 1, 1]);
    assert_eq!(there.0[42..], expected.0[34..], "from the ports on");
}
