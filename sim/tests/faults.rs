//! A write that fails, or an entry that goes between two lookups, costs a packet at most: K-7 and K-8 at
//! every operation that a packet of a connection makes, whatever is left of the connection.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};
use twinpath_control::diff::Write;
use twinpath_core::address::Address;
use twinpath_core::backend::{Backend, BackendState};
use twinpath_core::bytes::Be16;
use twinpath_core::conntrack::Flow;
use twinpath_core::endpoint::Endpoint;
use twinpath_core::fault::{Kind, Which};
use twinpath_core::hook::Hook;
use twinpath_core::seam::Config;
use twinpath_core::service::{Algorithm, Member, Scope, Service, ServiceKey};
use twinpath_core::tuple::Tuple;
use twinpath_core::verdict::Verdict;
use twinpath_core::wire;
use twinpath_sim::engine::{Engine, SimEngine};
use twinpath_sim::frame::Frame;
use twinpath_sim::node::Limits;

const CLIENT: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 244, 1, 10), 40_000);
const BACKEND: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 244, 1, 11), 8_080);
const FRONTEND: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 96, 0, 80), 80);
const CLIENT_DEVICE: u32 = 10;
const BACKEND_DEVICE: u32 = 11;

fn address(ip: Ipv4Addr) -> Address {
    std::net::IpAddr::from(ip).into()
}

/// A node with the two pods and the service.
fn node() -> SimEngine {
    let backend =
        Backend::new(address(BACKEND.0), Be16::new(BACKEND.1), wire::TCP, BackendState::Active);
    let both = Scope::ALL.into_iter().fold(0, |bits, scope| bits | scope.bit());
    let mut writes = vec![
        Write::Endpoint(address(CLIENT.0), Some(Endpoint::pod(CLIENT_DEVICE))),
        Write::Endpoint(address(BACKEND.0), Some(Endpoint::pod(BACKEND_DEVICE))),
        Write::Backend(1, Some(backend)),
        Write::Member(Member { service: 7, backend: 1 }, Some(both)),
        Write::Config(Config { epoch: 1, maglev_size: 7, ..Config::default() }),
    ];
    for scope in Scope::ALL {
        let key = ServiceKey::frontend(address(FRONTEND.0), Be16::new(FRONTEND.1), wire::TCP);
        let key = key.seen_from(scope);
        writes.push(Write::Service(key, Some(Service::master(7, 1, Algorithm::Random, 0))));
        writes.push(Write::Service(key.slot(1), Some(Service::slot(1))));
    }
    let mut engine = SimEngine::new(1, &Limits::default(), 1);
    for write in &writes {
        engine.write(0, write).unwrap();
    }
    engine.set_time(1_000_000_000_000).unwrap();
    engine
}

type End = (Ipv4Addr, u16);

/// Sends a segment by a pod's device; where it goes, and between which ends.
fn send(engine: &mut SimEngine, from: End, to: End, flags: &str) -> (Verdict, End, End) {
    let device = if from.0 == CLIENT.0 { CLIENT_DEVICE } else { BACKEND_DEVICE };
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4(from.0.octets(), to.0.octets(), 64)
        .tcp(from.1, to.1, 1, 1_000);
    let builder = match flags {
        "syn" => builder.syn(),
        "syn ack" => builder.syn().ack(1),
        "rst" => builder.rst().ack(1),
        _ => builder.ack(1),
    };
    let mut bytes = Vec::new();
    builder.write(&mut bytes, &[]).unwrap();
    let mut frame = Frame::new(bytes);
    let decision = engine.run(0, Hook::FromPod, device, &mut frame).unwrap();
    let packet = SlicedPacket::from_ethernet(&frame.bytes).unwrap();
    let Some(etherparse::NetSlice::Ipv4(ip)) = &packet.net else { panic!("{frame:?}") };
    let ports = match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => (tcp.source_port(), tcp.destination_port()),
        _ => (0, 0), // an answer
    };
    let header = ip.header();
    (decision.verdict(), (header.source_addr(), ports.0), (header.destination_addr(), ports.1))
}

/// What there is of the connection when the fault comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Nothing,
    Both,
    Original,
    Reply,
    /// Both, but reset: the next SYN opens it anew.
    Closed,
}

fn halves(engine: &mut SimEngine) -> Vec<(Tuple, Flow)> {
    engine.conntrack(0).unwrap()
}

fn prepare(engine: &mut SimEngine, left: Left) {
    if left == Left::Nothing {
        return;
    }
    send(engine, CLIENT, FRONTEND, "syn");
    send(engine, BACKEND, CLIENT, "syn ack");
    send(engine, CLIENT, FRONTEND, "ack");
    let lost = match left {
        Left::Original => Some(CLIENT.0), // where the other half's packets go to
        Left::Reply => Some(FRONTEND.0),
        Left::Closed => {
            send(engine, CLIENT, FRONTEND, "rst");
            None
        }
        _ => None,
    };
    for (key, _) in halves(engine) {
        if lost.is_some_and(|ip| key.destination == address(ip)) {
            assert!(engine.evict(0, &key).unwrap());
        }
    }
    // The fast road knows no more what is current.
    engine.set_time(1_002_000_000_000).unwrap();
}

const TRANSLATED: (Verdict, End, End) = (Verdict::Deliver(BACKEND_DEVICE), CLIENT, BACKEND);
const ANSWERED: (Verdict, End, End) = (Verdict::Deliver(CLIENT_DEVICE), FRONTEND, CLIENT);

/// One case; whether the fault struck.
fn check(left: Left, by_client: bool, kind: Kind, after: u32) -> bool {
    let case = format!("{left:?}, packet of the client {by_client}, {kind:?} after {after}");
    let mut engine = node();
    prepare(&mut engine, left);
    let before = halves(&mut engine).len();
    engine.fault(0, Which::Conntrack, kind, after).unwrap();
    let flags = if matches!(left, Left::Nothing | Left::Closed) { "syn" } else { "ack" };
    let seen = if by_client {
        send(&mut engine, CLIENT, FRONTEND, flags)
    } else {
        send(&mut engine, BACKEND, CLIENT, "ack")
    };
    let slot = Which::Conntrack.slot(kind.operation()) as usize;
    if engine.faults(0).unwrap()[slot].is_set() {
        return false;
    }
    let dropped = matches!(seen.0, Verdict::Drop(_));
    let expected = if by_client { TRANSLATED } else { ANSWERED };
    // An answer whose half is gone says nothing of the frontend; the client's next packet mends that.
    let lost = kind == Kind::Evicted && !by_client;
    assert!(dropped || lost || seen == expected, "{case}: {seen:?}");
    // Only what finds no room may go no further, and never the answer of a connection.
    assert!(!dropped || (kind == Kind::Full && by_client), "{case}: {seen:?}");
    // What is dropped leaves no state, and every half is one of this connection.
    let now = halves(&mut engine);
    assert!(!dropped || now.len() <= before, "{case}: {now:?}");
    let lone = now.iter().all(|(key, flow)| {
        let twin = flow.twin_key(key);
        now.iter().all(|(other, half)| *other != twin || half.twin_key(other) == *key)
    });
    assert!(lone || lost, "{case}: halves of two connections: {now:?}");

    // Foreign traffic: where nothing came of it, the client may talk to the backend itself.
    if left == Left::Nothing && dropped {
        let mut other = node();
        std::mem::swap(&mut other, &mut engine);
        assert_eq!(send(&mut other, CLIENT, BACKEND, "syn"), TRANSLATED, "{case}");
        let direct = (Verdict::Deliver(CLIENT_DEVICE), BACKEND, CLIENT);
        assert_eq!(send(&mut other, BACKEND, CLIENT, "syn ack"), direct, "{case}");
        return true;
    }
    // The connection goes on: first with what was there, then with all of it.
    if matches!(left, Left::Both | Left::Reply) && kind != Kind::Evicted {
        assert_eq!(send(&mut engine, BACKEND, CLIENT, "ack"), ANSWERED, "{case}: K-8");
    }
    // A half that could not be put back is put back with the next refresh.
    engine.set_time(1_004_000_000_000).unwrap();
    assert_eq!(send(&mut engine, CLIENT, FRONTEND, flags), TRANSLATED, "{case}: next");
    assert_eq!(send(&mut engine, BACKEND, CLIENT, "ack"), ANSWERED, "{case}: answer");
    assert_eq!(halves(&mut engine).len(), 2, "{case}");
    true
}

#[test]
fn k_7_and_k_8_hold_at_every_operation() {
    let mut struck = BTreeMap::new();
    let clients = [Left::Nothing, Left::Both, Left::Original, Left::Reply, Left::Closed];
    // Without the answer's own half there is no connection to go on.
    let backends = [Left::Both, Left::Reply];
    let cases =
        clients.map(|left| (left, true)).into_iter().chain(backends.map(|left| (left, false)));
    for (left, by_client) in cases {
        for kind in [Kind::Full, Kind::Exists, Kind::Evicted, Kind::Stays] {
            for after in 0..12 {
                if check(left, by_client, kind, after) {
                    *struck.entry((format!("{kind:?}"), by_client)).or_insert(0) += 1;
                }
            }
        }
    }
    println!("{struck:?}");
    for kind in [Kind::Full, Kind::Exists, Kind::Evicted, Kind::Stays] {
        assert!(struck.contains_key(&(format!("{kind:?}"), true)), "{kind:?}: {struck:?}");
    }
    assert!(struck.contains_key(&("Full".to_owned(), false)), "{struck:?}");
}
