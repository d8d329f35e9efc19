//! What pods send out of the cluster leaves with the node's address.

use super::script::{World, both};
use crate::address::Address;
use crate::drop_reason::DropReason;
use crate::range::{NOT_MASQUERADED, RangeKey};
use crate::seam::option;

fn on(world: &mut World) {
    world.node.config.options |= option::MASQUERADE;
    let (address, length) = (world.address("remote"), if world.family.v4 { 16 } else { 48 });
    world.node.ranges.0.push(RangeKey::range(NOT_MASQUERADED, address, length));
}

#[test]
fn out_and_back() {
    both(|world| {
        on(world);
        world.play(&[
            ("pod 10: tcp client:40000 > far:443 S", "netdev: tcp node:40000 > far:443, NEW"),
            ("netdev: tcp far:443 > node:40000 SA", "pod 10: tcp far:443 > client:40000, REPLY"),
            (
                "pod 10: tcp client:40000 > far:443 A",
                "netdev: tcp node:40000 > far:443, ESTABLISHED",
            ),
            ("pod 10: udp client:40000 > far:53", "netdev: udp node:40000 > far:53, NEW"),
            ("netdev: udp far:53 > node:40000", "pod 10: udp far:53 > client:40000, REPLY"),
        ]);
    });
}

#[test]
fn to_a_backend_outside() {
    both(|world| {
        // No range is kept, so the backend counts as one out of the cluster.
        world.node.config.options |= option::MASQUERADE;
        world.serve("vip", 7, &["remote"]);
        world.play(&[
            (
                "pod 10: tcp client:40000 > vip:80 S",
                "netdev: tcp node:40000 > remote:8080, NEW of 7",
            ),
            (
                "netdev: tcp remote:8080 > node:40000 SA",
                "pod 10: tcp vip:80 > client:40000, REPLY of 7",
            ),
            // The same server by its own address, on the same port.
            ("pod 10: tcp client:40000 > remote:8080 S", "netdev: tcp node:?a > remote:8080, NEW"),
        ]);
    });
}

#[test]
fn what_keeps_its_address() {
    both(|world| {
        on(world);
        world.serve("vip", 7, &["remote"]);
        let cases = [
            ("pod 10: udp client:1 > local:9", "pod 11: udp client:1 > local:9, NEW"),
            ("pod 10: udp client:1 > remote2:9", "stack: udp client:1 > remote2:9, NEW"),
            ("pod 10: udp client:1 > node:9", "stack: udp client:1 > node:9, NEW"),
            ("pod 10: udp client:1 > node2:9", "stack: udp client:1 > node2:9, NEW"),
            ("pod 10: udp client:1 > vip:80", "netdev: udp client:1 > remote:8080, NEW of 7"),
            ("node: udp host:1 > far:53", "stack: udp host:1 > far:53, NEW"),
            ("stack: udp far:1 > local:9", "stack: udp far:1 > local:9, NEW"),
            ("netdev: udp far:2 > local:9", "pod 11: udp far:2 > local:9, NEW"),
            ("netdev: udp far:2 > outside:9", "stack: udp far:2 > outside:9, NEW"),
            // Answers to those who came from outside.
            ("pod 11: udp local:9 > far:2", "netdev: udp local:9 > far:2, REPLY"),
        ];
        world.play(&cases);
    });
}

#[test]
fn switched_off_or_without_what_it_needs() {
    let plain = [("pod 10: udp client:40000 > far:53", "stack: udp client:40000 > far:53, NEW")];
    both(|world| world.play(&plain));
    both(|world| {
        on(world);
        world.node.config.uplink = 0;
        world.play(&plain);
    });
    both(|world| {
        on(world);
        (world.node.config.address4, world.node.config.address6) =
            (Address::UNSPECIFIED, Address::UNSPECIFIED);
        world.play(&plain);
    });
}

#[test]
fn pods_of_one_port() {
    // RFC 5382, REQ-1 and RFC 4787: two pods, one port, one server; and the node's own connection.
    both(|world| {
        on(world);
        world.play(&[
            ("pod 10: tcp client:40000 > far:443 S", "netdev: tcp node:40000 > far:443, NEW"),
            ("pod 11: tcp local:40000 > far:443 S", "netdev: tcp node:?a > far:443, NEW"),
            ("node: tcp node:40000 > far:443 S", "stack: tcp node:?b > far:443, NEW"),
            ("netdev: tcp far:443 > node:40000 SA", "pod 10: tcp far:443 > client:40000, REPLY"),
            ("netdev: tcp far:443 > node:?a SA", "pod 11: tcp far:443 > local:40000, REPLY"),
            ("netdev: tcp far:443 > node:?b SA", "stack: tcp far:443 > node:40000, REPLY"),
            ("pod 11: tcp local:40000 > far:443 A", "netdev: tcp node:?a > far:443, ESTABLISHED"),
            // Another server is another tuple.
            ("pod 11: tcp local:40000 > far:80 S", "netdev: tcp node:40000 > far:80, NEW"),
            ("pod 11: udp local:40000 > far:443", "netdev: udp node:40000 > far:443, NEW"),
        ]);
    });
}

#[test]
fn no_hop_left() {
    both(|world| {
        on(world);
        world.play(&[("pod 10: tcp client:40000 > far:443 S ttl 1", "TTL_EXCEEDED")]);
        assert_eq!(world.counted(crate::seam::Metric::drop(DropReason::TtlExceeded)), 1);
        assert_eq!(world.entries(), 0);
    });
}
