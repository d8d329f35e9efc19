//! Clients outside, the router, and the order of hooks at uplinks, on nodes whose tables are empty.

use twinpath_control::model::{Node, Pod, State};
use twinpath_control::objects::ObjectName;
use twinpath_core::hook::Hook;
use twinpath_sim::cluster::{Cluster, Fate, Place};
use twinpath_sim::engine::SimEngine;
use twinpath_sim::frame::Frame;
use twinpath_sim::node::Limits;
use twinpath_sim::topology::{Attached, Topology};
use twinpath_sim::world::{Sender, Trace};

const CLIENT: [u8; 4] = [10, 100, 1, 1];
const NODE_A: [u8; 4] = [192, 168, 0, 1];
const NODE_B: [u8; 4] = [192, 168, 0, 2];
const POD: [u8; 4] = [10, 244, 2, 1];
const VIP: [u8; 4] = [198, 51, 100, 7];
const NOBODY: [u8; 4] = [198, 51, 100, 99];
const ROUTER: [u8; 4] = [203, 0, 113, 1];

fn cluster(change: impl FnOnce(&mut Topology)) -> Cluster<SimEngine> {
    let mut state = State::default();
    for (name, address) in [("node-a", NODE_A), ("node-b", NODE_B)] {
        let node = Node { addresses: vec![address.into()], ..Node::default() };
        state.nodes.insert(name.into(), node);
    }
    let name = ObjectName::new("default", "pod");
    let pod = Pod {
        name: name.clone(),
        addresses: vec![POD.into()],
        node: "node-b".into(),
        host_network: false,
    };
    state.pods.insert(name, pod);
    let mut topology = Topology::new(&state);
    topology.add_router(vec![ROUTER.into()]);
    topology.add_client("client".into(), vec![CLIENT.into()], 1_400);
    change(&mut topology);
    let engine = SimEngine::new(topology.nodes.len(), &Limits::default(), 1);
    Cluster { topology, engine }
}

fn sum(bytes: &[u8]) -> u16 {
    let words =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let sum: u32 = words.sum();
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// A datagram without a checksum of its own.
fn udp(from: [u8; 4], to: [u8; 4], ttl: u8, length: usize, dont_fragment: bool) -> Frame {
    let total = (28 + length) as u16;
    let mut ip = vec![0x45, 0];
    ip.extend(total.to_be_bytes());
    ip.extend([0, 1, u8::from(dont_fragment) << 6, 0, ttl, 17, 0, 0]);
    ip.extend([from, to].concat());
    let field = !sum(&ip);
    ip[10..12].copy_from_slice(&field.to_be_bytes());
    let mut bytes = vec![0; 12];
    bytes.extend([0x08, 0x00]);
    bytes.extend(ip);
    bytes.extend([0xea, 0x60, 0, 53]);
    bytes.extend(((8 + length) as u16).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(vec![7; length]);
    Frame::new(bytes)
}

fn send(cluster: &mut Cluster<SimEngine>, sender: Sender, frame: &Frame) -> (Trace, Fate) {
    let mut trace = Trace::default();
    let fate = cluster.send_from(sender, &mut frame.clone(), &mut trace).unwrap();
    (trace, fate)
}

fn places(trace: &Trace) -> Vec<Place> {
    trace.seen.iter().map(|(place, _)| *place).collect()
}

fn hooks(trace: &Trace) -> Vec<(usize, Hook)> {
    trace.decisions.iter().map(|(node, hook, _)| (*node, *hook)).collect()
}

#[test]
fn a_client_reaches_nodes_and_what_is_routed_to_them_but_no_pods() {
    for (to, way) in [
        (NODE_A, Some((0, Place::Host(0)))),
        (NODE_B, Some((1, Place::Host(1)))),
        (POD, None),
        (NOBODY, None),
    ] {
        let mut cluster = cluster(|_| {});
        let (trace, fate) = send(&mut cluster, Sender::Client(0), &udp(CLIENT, to, 64, 9, true));
        match way {
            Some((node, end)) => {
                let expected = [Place::ClientOut(0), Place::FromRouter(node), end];
                assert_eq!((places(&trace), fate), (expected.to_vec(), Fate::Arrived(end)));
                assert_eq!(hooks(&trace), [(node, Hook::FromNetdev)]);
                assert_eq!(trace.seen[1].1.bytes[22], 63);
                assert_eq!(trace.seen[1].1.bytes[..6], cluster.topology.nodes[node].mac);
            }
            None => assert_eq!(fate, Fate::NoRoute(Place::Router)),
        }
    }
    let mut told = cluster(|topology| {
        let router = topology.router.as_mut().unwrap();
        router.routes.insert(std::net::IpAddr::from(VIP).into(), 1);
        router.knows_pods = true;
    });
    for to in [VIP, POD] {
        let (trace, _) = send(&mut told, Sender::Client(0), &udp(CLIENT, to, 64, 9, true));
        assert_eq!(places(&trace)[1], Place::FromRouter(1), "{to:?}");
    }
}

#[test]
fn what_no_node_wants_goes_round_until_its_hops_run_out_or_we_look_away() {
    let routed = |topology: &mut Topology| {
        let router = topology.router.as_mut().unwrap();
        router.routes.insert(std::net::IpAddr::from(VIP).into(), 0);
    };
    let (_, fate) = send(&mut cluster(routed), Sender::Client(0), &udp(CLIENT, VIP, 255, 9, true));
    assert_eq!(fate, Fate::Looped(0));
    let (_, fate) = send(&mut cluster(routed), Sender::Client(0), &udp(CLIENT, VIP, 8, 9, true));
    assert_eq!(fate, Fate::Expired(Place::Host(0)));
}

#[test]
fn pods_and_nodes_reach_clients_by_the_router() {
    for sender in [Sender::Pod(0), Sender::Node(1)] {
        let (from, hops) = if sender == Sender::Pod(0) { (POD, 2) } else { (NODE_B, 1) };
        let mut cluster = cluster(|_| {});
        let (trace, fate) = send(&mut cluster, sender, &udp(from, CLIENT, 64, 9, true));
        assert_eq!(fate, Fate::Arrived(Place::ClientIn(0)));
        assert_eq!(places(&trace)[1..], [Place::Wire(1), Place::ClientIn(0)]);
        let (_, arrived) = trace.seen.last().unwrap();
        assert_eq!(arrived.bytes[22], 64 - hops);
        assert_eq!(sum(&arrived.bytes[14..34]), 0xffff);
        let info = &cluster.topology.clients[0];
        assert_eq!(arrived.bytes[..12], [info.mac, info.gateway].concat());
    }
}

#[test]
fn the_router_says_what_it_does_not_send_on() {
    let mut cluster = cluster(|topology| topology.router.as_mut().unwrap().knows_pods = true);
    let long = udp(POD, CLIENT, 64, 1_373, true);
    for (frame, kind, code, mtu) in
        [(&long, 3, 4, 1_400_u16), (&udp(POD, CLIENT, 2, 9, true), 11, 0, 0)]
    {
        let (trace, fate) = send(&mut cluster, Sender::Pod(0), frame);
        assert_eq!(places(&trace)[..3], [Place::PodOut(0), Place::Wire(1), Place::FromRouter(1)]);
        assert!(!matches!(fate, Fate::TooBig(_) | Fate::Expired(_)), "{fate:?}");
        let (sent, error) = (&trace.seen[1].1.bytes, &trace.seen[2].1.bytes);
        assert_eq!(error[26..34], [ROUTER, POD].concat());
        assert_eq!(error[34..36], [kind, code]);
        assert_eq!(error[40..42], mtu.to_be_bytes());
        assert_eq!((sum(&error[14..34]), sum(&error[34..])), (0xffff, 0xffff));
        // What is quoted is the packet as it came, up to 576 bytes of error in all.
        let quoted = (sent.len() - 14).min(548);
        assert_eq!(error[42..], sent[14..14 + quoted]);
    }
    // One that fits, and one that may be cut, of which the pieces are not followed.
    let (_, fate) = send(&mut cluster, Sender::Pod(0), &udp(POD, CLIENT, 64, 1_372, true));
    assert_eq!(fate, Fate::Arrived(Place::ClientIn(0)));
    let (_, fate) = send(&mut cluster, Sender::Pod(0), &udp(POD, CLIENT, 64, 1_373, false));
    assert_eq!(fate, Fate::TooBig(Place::Router));
}

#[test]
fn uplinks_take_no_longer_packets_than_their_mtu() {
    let mut cluster = cluster(|topology| topology.mtu = 1_000);
    let (trace, fate) = send(&mut cluster, Sender::Pod(0), &udp(POD, NODE_A, 64, 973, true));
    assert_eq!((places(&trace).len(), fate), (1, Fate::TooBig(Place::Wire(1))));
    let (_, fate) = send(&mut cluster, Sender::Pod(0), &udp(POD, NODE_A, 64, 972, true));
    assert_eq!(fate, Fate::Arrived(Place::Host(0)));
}

#[test]
fn hooks_at_uplinks_come_in_the_order_of_the_kernel() {
    let attached = Attached { xdp: true, to_netdev: true };
    let mut cluster = cluster(|topology| topology.attached = attached);
    let (trace, fate) = send(&mut cluster, Sender::Node(1), &udp(NODE_B, NODE_A, 64, 9, true));
    assert_eq!(fate, Fate::Arrived(Place::Host(0)));
    assert_eq!(hooks(&trace), [(1, Hook::ToNetdev), (0, Hook::Xdp), (0, Hook::FromNetdev)]);
    assert_eq!(trace.decided_after, [1, 2, 2]);
}
