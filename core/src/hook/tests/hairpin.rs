//! A pod that its service sends back to itself (RFC 4787, REQ-9).

use super::script::{World, both};
use crate::hook::Answer;

fn hairpin(world: &mut World) {
    let address = world.address("hairpin");
    if world.family.v4 {
        world.node.config.hairpin4 = address;
    } else {
        world.node.config.hairpin6 = address;
    }
    world.serve("vip", 7, &["client"]);
}

#[test]
fn it_sees_another_address_than_its_own() {
    both(|world| {
        hairpin(world);
        for p in ["tcp", "udp"] {
            let [syn, syn_ack, ack] = if p == "tcp" { [" S", " SA", " A"] } else { [""; 3] };
            let ask = format!("pod 10: {p} client:1 > vip:80");
            let answer = format!("pod 10: {p} client:8080 > hairpin:1");
            let answered = format!("pod 10: {p} vip:80 > client:1, REPLY of 7");
            let asked = format!("pod 10: {p} hairpin:1 > client:8080");
            world.play(&[
                (&(ask.clone() + syn), &format!("{asked}, NEW of 7")),
                (&(answer.clone() + syn_ack), &answered),
                (&(ask + ack), &format!("{asked}, ESTABLISHED of 7")),
                (&(answer + ack), &answered),
            ]);
        }
        assert_eq!(world.entries(), 4);
    });
}

#[test]
fn another_pod_is_not_disguised() {
    both(|world| {
        hairpin(world);
        world.play(&[
            ("pod 11: udp local:1 > vip:80", "pod 10: udp local:1 > client:8080, NEW of 7"),
            ("pod 10: udp client:8080 > local:1", "pod 11: udp vip:80 > local:1, REPLY of 7"),
        ]);
    });
}

#[test]
fn by_two_frontends_from_one_port() {
    both(|world| {
        hairpin(world);
        world.serve("vip2", 8, &["client"]);
        world.play(&[
            ("pod 10: udp client:1 > vip:80", "pod 10: udp hairpin:1 > client:8080, NEW of 7"),
            ("pod 10: udp client:1 > vip2:80", "pod 10: udp hairpin:?a > client:8080, NEW of 8"),
            ("pod 10: udp client:8080 > hairpin:1", "pod 10: udp vip:80 > client:1, REPLY of 7"),
            ("pod 10: udp client:8080 > hairpin:?a", "pod 10: udp vip2:80 > client:1, REPLY of 8"),
        ]);
    });
}

#[test]
fn without_an_address_it_is_dropped() {
    both(|world| {
        world.serve("vip", 7, &["client"]);
        world.play(&[("pod 10: udp client:1 > vip:80", "NO_HAIRPIN_ADDRESS")]);
        assert_eq!(world.answer(), Answer::None);
    });
}

#[test]
fn a_node_that_is_its_own_backend_sends_nothing_out() {
    both(|world| {
        world.serve("vip", 7, &["node"]);
        world.play(&[
            ("node: udp node:1 > vip:80", "NO_HAIRPIN_ADDRESS"),
            ("pod 10: udp client:1 > vip:80", "stack: udp client:1 > node:8080, NEW of 7"),
        ]);
    });
    // Nor where there would be an address for it to see: nothing could turn the packet round.
    both(|world| {
        hairpin(world);
        world.serve("vip", 7, &["node"]);
        world.play(&[
            ("node: udp node:1 > vip:80", "NO_HAIRPIN_ADDRESS"),
            ("node: udp host:1 > vip:80", "NO_HAIRPIN_ADDRESS"),
        ]);
        assert_eq!(world.entries(), 0);
    });
}
