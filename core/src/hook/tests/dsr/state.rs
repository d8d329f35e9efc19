//! What happens to connections when state is lost, on either node.

use super::*;

const THERE: &str = "tcp outside:40000 > FRONTEND";
const BACK: &str = "tcp FRONTEND > outside:40000";

fn open(pair: &mut Pair) {
    pair.request("lb:80", THERE, SYN);
    pair.reply("lb:80", BACK, SYN_ACK);
    pair.request("lb:80", THERE, ACK);
}

/// Another node gets the client's packets, as after a change of routes: it chooses the same backend, and
/// tells it.
#[test]
fn another_node_takes_over() {
    every(|pair| {
        open(pair);
        pair.lb = balancer(pair.mode, pair.lb.family);
        assert_eq!(pair.request("lb:80", THERE, ACK), pair.overhead());
        pair.reply("lb:80", BACK, ACK);
        assert_eq!(pair.backend.entries(), 2);
        pair.lb = balancer(pair.mode, pair.lb.family);
        assert_eq!(pair.request("lb:80", THERE, RST), pair.overhead());
        pair.reply("lb:80", BACK, RST);
    });
}

#[test]
fn the_backends_node_loses_a_half() {
    every(|pair| {
        let (original, reply) = if pair.mode == Forwarding::DsrIpip {
            ("tcp outside:40000 > lb:80", "tcp remote:8080 > outside:40000")
        } else {
            ("tcp outside:40000 > remote:8080", "tcp remote:8080 > outside:40000")
        };
        for half in [original, reply] {
            open(pair);
            pair.backend.evict(half);
            pair.backend.wait(SECOND);
            if half == reply && pair.mode == Forwarding::DsrIpip {
                // As with a service's backend on the client's node: the client's next packet restores it.
                pair.request("lb:80", THERE, ACK);
            }
            pair.reply("lb:80", BACK, ACK);
            pair.request("lb:80", THERE, ACK);
            assert_eq!(pair.backend.entries(), 2, "{half}");
        }
    });
}

/// All that is lost is back with the next packet that tells, which is within a second.
#[test]
fn the_backends_node_loses_all() {
    every(|pair| {
        open(pair);
        pair.backend.node.conntrack.entries.clear();
        pair.request("lb:80", THERE, ACK);
        pair.lb.wait(SECOND);
        assert_eq!(pair.request("lb:80", THERE, ACK), pair.overhead());
        pair.reply("lb:80", BACK, ACK);
        assert_eq!(pair.backend.entries(), 2);
    });
}

/// What of a connection the backend's node takes a told packet for.
fn status(pair: &mut Pair, frontend: &str, flags: u8) -> Status {
    let (mut wire, _) =
        pair.balance(&pair.frame(&format!("tcp outside:40000 > {frontend}"), flags));
    pair.backend.hand("netdev", &mut wire).status()
}

#[test]
fn what_is_told_again_is_the_same_connection() {
    every(|pair| {
        assert_eq!(status(pair, "lb:80", SYN), Status::New);
        assert_eq!(status(pair, "lb:80", SYN), Status::Established);
        pair.reply("lb:80", BACK, SYN_ACK);
        assert_eq!(status(pair, "lb:80", SYN), Status::Established);
        pair.lb = balancer(pair.mode, pair.lb.family);
        assert_eq!(status(pair, "lb:80", ACK), Status::Established);
        if pair.mode == Forwarding::DsrIpip {
            return; // another frontend's has another tuple
        }
        // The middle of a connection does not change whose it is; a SYN may.
        for world in [&mut pair.lb, &mut pair.backend] {
            world.expose(("lb", 81), Scope::External, 30, &["remote"], |service| {
                service.forwarding = pair.mode as u8;
                service.algorithm = Algorithm::Maglev as u8;
            });
        }
        for frontend in ["lb2:80", "lb:81"] {
            pair.lb.node.conntrack.entries.clear();
            assert_eq!(status(pair, frontend, ACK), Status::Established);
            pair.reply("lb:80", BACK, ACK);
        }
        pair.lb.node.conntrack.entries.clear();
        assert_eq!(status(pair, "lb:81", SYN), Status::Reopened);
        pair.reply("lb:81", BACK, SYN_ACK);
    });
}

/// Whether its backend is still fit is for the node to ask that chose it.
#[test]
fn a_datagram_that_tells_nothing_is_of_the_connection_that_has_its_tuple() {
    every(|pair| {
        if pair.mode == Forwarding::DsrIpip {
            return; // what comes without the tunnel has another tuple
        }
        pair.request("lb:80", "udp outside:40000 > FRONTEND", 0);
        pair.backend.node.config.epoch += 1;
        let mut bare = pair.frame("udp outside:40000 > remote:8080", 0);
        let decision = pair.backend.hand("netdev", &mut bare);
        assert_eq!(decision.status(), Status::Established);
        pair.reply("lb:80", "udp FRONTEND > outside:40000", 0);
    });
}

/// A client that uses its port again for another frontend of the same backend.
#[test]
fn a_syn_by_another_frontend() {
    every(|pair| {
        if pair.mode == Forwarding::DsrIpip {
            return; // each has a reply tuple of its own: the end of the tunnel translates
        }
        open(pair);
        // Another node, or this one would see that the reply tuple is taken.
        pair.lb = balancer(pair.mode, pair.lb.family);
        pair.request("lb2:80", THERE, SYN);
        pair.reply("lb2:80", BACK, SYN_ACK);
        pair.request("lb2:80", THERE, ACK);
        pair.reply("lb2:80", BACK, RST);
    });
}

/// Where the reply tuple is taken at the first node, the second connection comes back through it.
#[test]
fn two_frontends_at_one_node() {
    every(|pair| {
        open(pair);
        let (wire, status) = pair.balance(&pair.frame("tcp outside:40000 > lb2:80", SYN));
        assert_eq!(status, Status::New);
        let tuple = wire.checked();
        assert_eq!(tuple.source, pair.lb.address("node"));
        assert_eq!(tuple.destination, pair.lb.address("remote"));
    });
}

/// The node's own address is in front of that one's port then, so it must be one that the node can spare.
#[test]
fn two_frontends_at_one_node_and_a_port_that_the_node_needs() {
    every(|pair| {
        for port in [1_000, 40_000] {
            pair.lb.node.reserved.entries.insert(40_000 >> 6, 1 << (40_000 & 63));
            let client = format!("tcp outside:{port} >");
            pair.balance(&pair.frame(&format!("{client} lb:80"), SYN));
            let (wire, _) = pair.balance(&pair.frame(&format!("{client} lb2:80"), SYN));
            let tuple = wire.checked();
            assert_eq!(tuple.source, pair.lb.address("node"));
            assert_ne!(tuple.source_port.get(), port);
            assert!(tuple.source_port.get() >= pair.lb.node.config.ports_first);
        }
    });
}

/// The first node sees no answers, and yet keeps an open connection for as long as it keeps others.
#[test]
fn an_idle_connection_is_kept() {
    every(|pair| {
        open(pair);
        pair.request("lb:80", THERE, ACK);
        pair.lb.wait(3_600 * SECOND);
        let (_, status) = pair.balance(&pair.frame("tcp outside:40000 > lb:80", ACK));
        assert_eq!(status, Status::Established);
    });
}
