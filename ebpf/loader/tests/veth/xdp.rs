//! Real connections from outside with the XDP program in the driver: what it takes, and what it leaves to tc.

use std::net::SocketAddr;

use aya::programs::XdpMode;
use aya::sys::{Stats, enable_stats};
use twinpath_control::tables::Mode;
use twinpath_core::hook::Hook;
use twinpath_kernel::veth::VethWorld;

use crate::outside::{BACK, FAR, FRONT, Kind, LISTEN, client, client_host, node, open, pod_host};

/// How often a node's programs met a packet from outside: at XDP, and of those at tc.
fn met(world: &VethWorld, node: usize) -> [u64; 2] {
    [Hook::Xdp, Hook::FromNetdev].map(|hook| world.runs(node, hook).unwrap())
}

/// Does something; how many packets it was at XDP of each node, and how many of those were left to tc.
fn counted(world: &VethWorld, job: impl FnOnce()) -> [[u64; 2]; 2] {
    let before = [FRONT, BACK].map(|node| met(world, node));
    job();
    let after = [FRONT, BACK].map(|node| met(world, node));
    [FRONT, BACK].map(|node| [0, 1].map(|i| after[node][i] - before[node][i]))
}

fn node_port_of_a_far_pod(mode: Mode) {
    let Some(world) = open(Kind { mode, ..Kind::XDP }) else { return };
    for node in [FRONT, BACK] {
        assert_eq!(world.xdp_mode(node), Some(XdpMode::Driver));
    }
    let _stats = enable_stats(Stats::RunTime).unwrap();
    for v6 in [false, true] {
        let asks = pod_host(&world, "web-b").serve(v6, LISTEN);
        let outside = client_host(&world, 0);
        let seen = match mode {
            Mode::Snat => node(&world, FRONT, v6),
            _ => client(0, v6),
        };
        let to = SocketAddr::new(node(&world, FRONT, v6), FAR);

        let tcp = counted(&world, || outside.tcp_round_trip(to, 300_000));
        eprintln!("{mode:?} {to} tcp: at XDP and at tc, by node: {tcp:?}");
        assert_eq!(asks.recv().unwrap(), seen);
        let [[met, left], [far_met, far_left]] = tcp;
        assert!(left >= 2 && met > 100 && left * 10 < met, "{left} of {met} left to tc");
        assert!(far_met > 100 && far_left == far_met, "{far_left} of {far_met} left to tc");

        let socket = outside.udp(v6, 0);
        let udp = counted(&world, || {
            for length in (0..200).chain([1_400]) {
                outside.udp_round_trip(&socket, to, length);
            }
        });
        eprintln!("{mode:?} {to} udp: at XDP and at tc, by node: {udp:?}");
        assert!(asks.try_iter().all(|from| from == seen));
        let [[met, left], _] = udp;
        match mode {
            Mode::Snat => assert!(left >= 2 && met >= 402 && left * 10 < met, "{left} of {met}"),
            // Every datagram tells the other node of the frontend, for which tc makes room. What else is met is the
            // end of the TCP connection, late on a busy machine.
            _ => assert!((201..=met).contains(&left) && met < 211, "{left} of {met}"),
        }
    }
}

#[test]
fn xdp_carries_connections_by_the_nodes_address() {
    node_port_of_a_far_pod(Mode::Snat);
}

#[test]
fn xdp_carries_connections_that_are_answered_directly() {
    node_port_of_a_far_pod(Mode::Dsr);
}
