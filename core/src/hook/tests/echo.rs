//! Echo requests and replies, tracked by their identifier (RFC 5508).

use super::script::{SECOND, World, both};
use crate::range::{NOT_MASQUERADED, RangeKey};
use crate::seam::option;

fn masquerade(world: &mut World) {
    world.node.config.options |= option::MASQUERADE;
    let key = RangeKey::range(NOT_MASQUERADED, world.address("remote"), 16);
    world.node.ranges.0.push(key);
}

#[test]
fn there_and_back() {
    both(|world| {
        world.play(&[
            ("pod 10: echo client:7 > local:0", "pod 11: echo client:7 > local:0, NEW"),
            ("pod 11: echo local:0 > client:7", "pod 10: echo local:0 > client:7, REPLY"),
            ("pod 10: echo client:7 > local:0", "pod 11: echo client:7 > local:0, ESTABLISHED"),
            ("netdev: echo far:9 > local:0", "pod 11: echo far:9 > local:0, NEW"),
            ("pod 11: echo local:0 > far:9", "netdev: echo local:0 > far:9, REPLY"),
        ]);
        assert_eq!(world.entries(), 4);
    });
}

#[test]
fn masqueraded_its_identifier_stays_where_it_can() {
    both(|world| {
        masquerade(world);
        world.play(&[
            ("pod 10: echo client:7 > far:0", "netdev: echo node:7 > far:0, NEW"),
            ("netdev: echo far:0 > node:7", "pod 10: echo far:0 > client:7, REPLY"),
            ("pod 11: echo local:7 > far:0", "netdev: echo node:?a > far:0, NEW"),
            ("netdev: echo far:0 > node:?a", "pod 11: echo far:0 > local:7, REPLY"),
            ("pod 10: echo client:7 > far:0", "netdev: echo node:7 > far:0, ESTABLISHED"),
            ("pod 11: echo local:7 > far:0", "netdev: echo node:?a > far:0, ESTABLISHED"),
            ("pod 11: echo local:7 > outside:0", "netdev: echo node:7 > outside:0, NEW"),
        ]);
    });
}

#[test]
fn masqueraded_a_reply_that_nobody_asked_for_keeps_the_asker_s_identifier() {
    both(|world| {
        masquerade(world);
        world.play(&[
            ("pod 10: echo client:0 > far:7", "netdev: echo node:0 > far:7, NEW"),
            ("pod 11: echo local:0 > far:7", "CT_TUPLE_CONFLICT"),
            ("pod 11: echo local:0 > far:8", "netdev: echo node:0 > far:8, NEW"),
        ]);
    });
}

#[test]
fn an_identifier_of_zero_is_one_like_any_other() {
    both(|world| {
        masquerade(world);
        world.play(&[
            ("pod 10: echo client:5 > far:0", "netdev: echo node:5 > far:0, NEW"),
            ("node: echo node:0 > far:0", "stack: echo node:0 > far:0, NEW"),
        ]);
        let zero = crate::testing::frame(&world.family.spell("echo client:1 > far:0"), 0);
        // A request with the identifier zero: the same, its checksum made to fit.
        let mut sent = zero.clone();
        let at = if world.family.v4 { 34 } else { 54 };
        sent.0[at + 5] = 0;
        let sum = u16::from_be_bytes([sent.0[at + 2], sent.0[at + 3]]);
        sent.0[at + 2..at + 4].copy_from_slice(&sum.checked_add(1).unwrap().to_be_bytes());
        sent.checked();
        world.hand("pod 10", &mut sent);
        let left = sent.checked();
        assert!(left.source_port.get() >= 32_768, "{left:?}");
        assert_eq!(left.source, world.address("node"));
    });
}

#[test]
fn expires_as_datagrams_do() {
    both(|world| {
        let ask = "pod 10: echo client:7 > local:0";
        world.play(&[(ask, "pod 11: echo client:7 > local:0, NEW")]);
        world.wait(120 * SECOND);
        world.play(&[(ask, "pod 11: echo client:7 > local:0, ESTABLISHED")]);
        world.wait(121 * SECOND);
        world.play(&[(ask, "pod 11: echo client:7 > local:0, REOPENED")]);
    });
}

#[test]
fn no_hop_left() {
    both(|world| {
        world.play(&[("pod 10: echo client:7 > local:0 ttl 1", "TTL_EXCEEDED")]);
        assert_eq!(world.entries(), 0);
    });
}
