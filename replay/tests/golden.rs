//! What Linux netfilter made of the recorded traffic, byte for byte.
//!
//! The captures of `fixtures/captures` show a cluster from a client's device and, at the same time,
//! from its backends' devices, with kube-proxy's rules in between. Here the client side is replayed,
//! the simulator's dice are loaded so that each flow gets the backend that netfilter gave it, and what
//! arrives at the backend's pod, or is sent by it, must be what was captured there.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

use twinpath::capture::{Capture, to_ethernet};
use twinpath::cluster::load::load;
use twinpath::replay::feed::Captured;
use twinpath::replay::flows::Role;
use twinpath::replay::outcome::Verdict;
use twinpath::replay::{At, Replay};
use twinpath::report::recorder::Recorder;
use twinpath::worlds::simulator;
use twinpath_control::tables::Options;
use twinpath_core::hash;
use twinpath_core::parse::{Parsed, parse};
use twinpath_core::seam::Lookup;
use twinpath_core::service::ServiceKey;
use twinpath_core::tuple::Tuple;
use twinpath_sim::cluster::Place;
use twinpath_sim::engine::SimEngine;
use twinpath_sim::frame::Frame;
use twinpath_sim::topology::Topology;
use twinpath_sim::world::ModelWorld;

const PODS: [&str; 6] = ["web-a", "web-b", "dns-a", "dns-b", "echo-a", "echo-b"];

fn fixture(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(path)
}

/// Time and bytes of every packet.
fn packets(name: &str) -> Vec<(u64, Vec<u8>)> {
    let mut capture = Capture::open(&fixture(&format!("captures/{name}"))).unwrap();
    let (mut all, mut buffer) = (Vec::new(), Vec::new());
    while let Some(record) = capture.next().unwrap() {
        let frame = to_ethernet(&record, &mut buffer).unwrap();
        assert_eq!(frame.data.len(), frame.original_len as usize, "{name} is whole");
        all.push((record.timestamp, frame.data.to_vec()));
    }
    all
}

fn parsed(bytes: &[u8]) -> Parsed {
    parse(&Frame::new(bytes.to_vec())).unwrap().unwrap()
}

/// The backend sides: what each pod received and sent, in order, from the IP header on.
#[derive(Default)]
struct Golden {
    packets: BTreeMap<Tuple, VecDeque<Vec<u8>>>,
}

impl Golden {
    fn read(set: &str) -> Self {
        let mut golden = Self::default();
        for pod in PODS {
            let name = format!("{set}.{pod}.pcap");
            if !fixture(&format!("captures/{name}")).exists() {
                continue;
            }
            for (_, bytes) in packets(&name) {
                let headers = parsed(&bytes);
                let packet = bytes[headers.l3.0..].to_vec();
                golden.packets.entry(headers.tuple).or_default().push_back(packet);
            }
        }
        golden
    }

    fn left(&self) -> usize {
        self.packets.values().map(VecDeque::len).sum()
    }

    fn next(&mut self, tuple: &Tuple) -> Option<Vec<u8>> {
        self.packets.get_mut(tuple)?.pop_front()
    }
}

/// Loads the dice for a flow's first packet.
fn inject(replay: &mut Replay<ModelWorld<SimEngine>>, golden: &Golden, tuple: &Tuple) {
    let client = replay.stage.cluster.topology.node("node-a").unwrap();
    let node = replay.stage.cluster.engine.node_mut(client).unwrap();
    let key = ServiceKey::frontend(tuple.destination, tuple.destination_port, tuple.protocol);
    let count = node.0.services.get(&key).unwrap().count;
    let mut wanted = None;
    for slot in 0..count {
        let id = node.0.services.get(&key.slot(slot + 1)).unwrap().backend;
        let backend = node.0.backends.get(&id).unwrap();
        let there = tuple.to(backend.address, backend.port);
        if golden.packets.get(&there).is_some_and(|packets| !packets.is_empty()) {
            assert_eq!(wanted, None, "{tuple}: two backends have this flow");
            wanted = Some(slot);
        }
    }
    let slot = wanted.unwrap_or_else(|| panic!("{tuple}: on no backend side"));
    let number = ((u64::from(slot) << 32) / u64::from(count) + 1) as u32;
    assert_eq!(hash::scale(number, count.into()), u32::from(slot));
    assert!(node.0.host.forced.is_empty(), "the number before was not drawn");
    node.0.host.forced.push_back(number);
}

/// Replays a client side against its backend sides; requests and replies compared.
fn compare(set: &str, partial: bool) -> (usize, usize) {
    let cluster = load(&[fixture("clusters/two-nodes.yaml")]).unwrap();
    let world =
        simulator(Topology::new(&cluster.state), &cluster.state, Options::default(), 1).unwrap();
    let mut replay = Replay::new(world, &cluster, At::default());
    let mut golden = Golden::read(set);
    let (mut frame, mut recorder) = (Frame::default(), Recorder::default());
    let mut known = std::collections::BTreeSet::new();
    let (mut requests, mut replies) = (0, 0);
    let side = packets(&format!("{set}.pcap"));
    assert_eq!(golden.left(), side.len(), "both sides have the same packets");
    for (number, (timestamp, bytes)) in side.iter().enumerate() {
        let tuple = parsed(bytes).tuple;
        if !known.contains(&tuple.reverse()) && known.insert(tuple) {
            inject(&mut replay, &golden, &tuple);
        }
        let captured = Captured {
            timestamp: *timestamp,
            data: bytes,
            original_len: bytes.len() as u32,
            ..Captured::default()
        };
        recorder.clear();
        replay.packet(&captured, &mut frame, &mut recorder).unwrap();
        let outcome = replay.outcome;
        let what = format!("{set}.pcap, packet {}, {tuple}", number + 1);
        assert_eq!(outcome.verdict, Verdict::Translated, "{what}");
        assert_eq!(outcome.difference, None, "{what}");
        // The backend's end of the way, and the client's.
        let (backend, client) = match outcome.role {
            Some(Role::Request) => {
                requests += 1;
                (recorder.seen().last().unwrap(), recorder.seen().first().unwrap())
            }
            Some(Role::Reply) => {
                replies += 1;
                (recorder.seen().first().unwrap(), recorder.seen().last().unwrap())
            }
            role => panic!("{what}: {role:?}"),
        };
        assert!(matches!(backend.0, Place::PodIn(_) | Place::PodOut(_)), "{what}: {:?}", backend.0);
        assert_eq!((backend.1.partial, client.1.partial), (partial, partial), "{what}");
        let headers = parsed(&backend.1.bytes);
        let expected = golden.next(&headers.tuple);
        let expected =
            expected.unwrap_or_else(|| panic!("{what}: netfilter had no {}", headers.tuple));
        assert_eq!(backend.1.bytes[headers.l3.0..], expected, "{what}: the backend's side");
        assert_eq!(
            client.1.bytes[headers.l3.0..],
            bytes[headers.l3.0..],
            "{what}: the client's side"
        );
    }
    assert_eq!(golden.left(), 0, "every packet of the backends was met");
    assert_eq!(requests + replies, side.len());
    assert_eq!(replay.totals.checked as usize, replies);
    assert_eq!(replay.totals.different, 0);
    (requests, replies)
}

#[test]
fn clusterip_is_what_netfilter_made_of_it() {
    let (requests, replies) = compare("clusterip", false);
    eprintln!("clusterip: {requests} requests and {replies} replies equal");
    assert!(requests > 100 && replies > 100);
}

#[test]
fn partial_checksums_are_what_netfilter_made_of_them() {
    let (requests, replies) = compare("offload", true);
    eprintln!("offload: {requests} requests and {replies} replies equal");
    assert!(requests > 20 && replies > 20);
}
