//! Direct server return: two nodes in one test, the one that chooses the backend and the backend's own.

use super::script::{Family, Piece, SECOND, V4, V6, World, build, with_ttl};
use crate::address::Address;
use crate::bytes::Be16;
use crate::drop_reason::DropReason;
use crate::dsr::overhead;
use crate::endpoint::Endpoint;
use crate::hook::Answer;
use crate::service::{Algorithm, Forwarding, Scope};
use crate::testing::{Frame, UPLINK, frame_with};
use crate::tuple::Tuple;
use crate::verdict::{Status, Verdict};
use crate::wire::{TCP, UDP, tcp};

mod foreign;
mod length;
mod state;

const MODES: [Forwarding; 3] = [Forwarding::DsrOption, Forwarding::DsrIpip, Forwarding::DsrGeneve];
const SYN: u8 = tcp::SYN;
const SYN_ACK: u8 = tcp::SYN | tcp::ACK;
const ACK: u8 = tcp::ACK;
const RST: u8 = tcp::RST;

/// The frontends: a load balancer's address, another with the same backends, and a node port.
const FRONTENDS: [(&str, u16); 3] = [("lb", 80), ("lb2", 80), ("any", 30_080)];

/// Two nodes: one that clients come to, `node`, and `node2`, where the backend `remote` is behind
/// device 11.
struct Pair {
    lb: World,
    backend: World,
    mode: Forwarding,
}

/// Runs a test in every way of telling, in both families.
fn every(test: impl Fn(&mut Pair)) {
    for mode in MODES {
        for family in [&V4, &V6] {
            println!("{mode:?}, IPv{}", if family.v4 { 4 } else { 6 });
            test(&mut Pair::new(mode, family));
        }
    }
}

fn expose(world: &mut World, mode: Forwarding) {
    for (frontend, id) in FRONTENDS.into_iter().zip(20..) {
        world.expose(frontend, Scope::External, id, &["remote"], |service| {
            service.forwarding = mode as u8;
            service.algorithm = Algorithm::Maglev as u8;
        });
    }
    let id = world.backend("remote");
    for index in 0..world.node.config.maglev_size {
        world.node.maglev.entries.insert(index, id);
    }
}

/// A node that clients come to.
fn balancer(mode: Forwarding, family: &'static Family) -> World {
    let mut world = World::new(family);
    expose(&mut world, mode);
    world
}

impl Pair {
    fn new(mode: Forwarding, family: &'static Family) -> Self {
        let (lb, mut backend) = (balancer(mode, family), World::new(family));
        expose(&mut backend, mode);
        let remote = backend.address("remote");
        let id = backend.backend("remote");
        backend.node.config.address4 = V4.end("node2", 0).ip().into();
        backend.node.config.address6 = V6.end("node2", 0).ip().into();
        for (name, endpoint) in
            [("node", Endpoint::NODE), ("node2", Endpoint::HOST), ("remote", Endpoint::pod(11))]
        {
            let address = backend.address(name);
            backend.node.endpoints.entries.insert(address, endpoint);
        }
        for (name, port) in FRONTENDS {
            for protocol in [TCP, UDP] {
                let end = (backend.address(name), Be16::new(port));
                let key = Tuple::new(protocol, remote, Be16::new(0), end.0, end.1);
                backend.node.terminations.entries.insert(key, id);
            }
        }
        Self { lb, backend, mode }
    }

    fn overhead(&self) -> usize {
        overhead(self.mode, self.lb.family.v4)
    }

    fn frame(&self, text: &str, flags: u8) -> Frame {
        build(&self.lb.family.spell(text), flags, None)
    }

    /// A client's packet at the first node; what that node puts on the wire.
    #[track_caller]
    fn balance(&mut self, frame: &Frame) -> (Frame, Status) {
        let mut frame = frame.clone();
        let decision = self.lb.hand("netdev", &mut frame);
        assert_eq!(decision.verdict(), Verdict::Forward(UPLINK));
        (frame, decision.status())
    }

    /// What the backend gets of what is on the wire.
    #[track_caller]
    fn deliver(&mut self, wire: &Frame) -> Frame {
        let mut frame = wire.clone();
        let decision = self.backend.hand("netdev", &mut frame);
        assert_eq!(decision.verdict(), Verdict::Deliver(11));
        frame
    }

    /// A client's packet to a frontend, all the way; by how much it is longer on the wire.
    #[track_caller]
    fn request(&mut self, frontend: &str, text: &str, flags: u8) -> usize {
        let sent = self.frame(&text.replace("FRONTEND", frontend), flags);
        let (wire, _) = self.balance(&sent);
        let expected = self.frame(&text.replace("FRONTEND", "remote:8080"), flags);
        assert_eq!(self.deliver(&wire), with_ttl(&expected, 62), "{frontend}: {text}");
        wire.0.len() - sent.0.len()
    }

    /// A packet of the backend to a client, all the way: it leaves under the frontend's name.
    #[track_caller]
    fn reply(&mut self, frontend: &str, text: &str, flags: u8) {
        let mut frame = self.frame(&text.replace("FRONTEND", "remote:8080"), flags);
        let decision = self.backend.hand("pod 11", &mut frame);
        assert_eq!(decision.verdict(), Verdict::Forward(UPLINK));
        assert_eq!(decision.status(), Status::Reply);
        let expected = self.frame(&text.replace("FRONTEND", frontend), flags);
        assert_eq!(frame, with_ttl(&expected, 63), "{frontend}: {text}");
    }
}

#[test]
fn a_connection_from_beginning_to_end() {
    every(|pair| {
        for frontend in ["lb:80", "node:30080"] {
            let (there, back) = ("tcp outside:40000 > FRONTEND", "tcp FRONTEND > outside:40000");
            assert_eq!(pair.request(frontend, there, SYN), pair.overhead());
            pair.reply(frontend, back, SYN_ACK);
            // Again, since the SYN or the answer to it may have been lost.
            assert_eq!(pair.request(frontend, there, SYN), pair.overhead());
            let always = if pair.mode == Forwarding::DsrIpip { pair.overhead() } else { 0 };
            // The first ACK moves the connection on at the first node, the next tells it nothing new.
            pair.request(frontend, there, ACK);
            assert_eq!(pair.request(frontend, there, ACK), always);
            pair.reply(frontend, back, ACK);
            pair.lb.wait(SECOND);
            assert_eq!(pair.request(frontend, there, ACK), pair.overhead(), "once a second");
            assert_eq!(pair.request(frontend, there, ACK), always);
            pair.reply(frontend, back, RST);
            pair.request(frontend, there, RST);
            pair.reply(frontend, back, ACK);
            assert_eq!((pair.lb.entries(), pair.backend.entries()), (2, 2));
            // The same client by another frontend would be the same connection at the backend.
            (pair.lb, pair.backend) = {
                let fresh = Pair::new(pair.mode, pair.lb.family);
                (fresh.lb, fresh.backend)
            };
        }
    });
}

#[test]
fn every_datagram_tells() {
    every(|pair| {
        for _ in 0..3 {
            for frontend in ["lb:80", "node:30080"] {
                let client = if frontend == "lb:80" { 5000 } else { 5001 };
                let there = format!("udp outside:{client} > FRONTEND");
                assert_eq!(pair.request(frontend, &there, 0), pair.overhead());
                pair.reply(frontend, &format!("udp FRONTEND > outside:{client}"), 0);
            }
        }
    });
}

#[test]
fn fragments_follow_the_first() {
    every(|pair| {
        let id = 77;
        let part = |pair: &Pair, end: &str, piece, ttl| {
            let text = pair.lb.family.spell(&format!("udp outside:5000 > {end}"));
            with_ttl(&build(&text, 0, Some((piece, id))), ttl)
        };
        for piece in [Piece::First, Piece::Middle, Piece::Last] {
            let sent = part(pair, "lb:80", piece, 64);
            let (wire, _) = pair.balance(&sent);
            let told = matches!(piece, Piece::First) || pair.mode == Forwarding::DsrIpip;
            let more = if told { pair.overhead() } else { 0 };
            assert_eq!(wire.0.len() - sent.0.len(), more, "{piece:?}");
            assert_eq!(pair.deliver(&wire), part(pair, "remote:8080", piece, 62), "{piece:?}");
        }
        pair.reply("lb:80", "udp FRONTEND > outside:5000", 0);
        // One whose first part did not come is not sent astray.
        let text = pair.lb.family.spell("udp outside:5000 > lb:80");
        let mut late = build(&text, 0, Some((Piece::Last, id + 1)));
        let decision = pair.lb.hand("netdev", &mut late);
        assert_eq!(decision.verdict(), Verdict::Drop(DropReason::FragmentNotFound));
    });
}

/// Later fragments tell nothing, and are not asked whether the backend is still fit: another node chose it.
#[test]
fn a_change_of_the_tables_between_two_fragments() {
    every(|pair| {
        for piece in [Piece::First, Piece::Middle, Piece::Last] {
            let text = pair.lb.family.spell("udp outside:5000 > lb:80");
            let (wire, _) = pair.balance(&build(&text, 0, Some((piece, 77))));
            pair.deliver(&wire);
            pair.backend.node.config.epoch += 1;
        }
        assert_eq!(pair.backend.entries(), 2);
        pair.reply("lb:80", "udp FRONTEND > outside:5000", 0);
    });
}

#[test]
fn a_backend_that_is_its_node() {
    every(|pair| {
        let remote = pair.backend.address("remote");
        pair.backend.node.endpoints.entries.insert(remote, Endpoint::HOST);
        let (mut wire, _) = pair.balance(&pair.frame("tcp outside:40000 > lb:80", SYN));
        let decision = pair.backend.hand("netdev", &mut wire);
        assert_eq!(decision.verdict(), Verdict::Pass);
        assert_eq!(wire, with_ttl(&pair.frame("tcp outside:40000 > remote:8080", SYN), 63));
        let mut answer = pair.frame("tcp remote:8080 > outside:40000", SYN_ACK);
        let decision = pair.backend.hand("node", &mut answer);
        assert_eq!(decision.verdict(), Verdict::Forward(UPLINK));
        assert_eq!(answer, pair.frame("tcp lb:80 > outside:40000", SYN_ACK));
    });
}
