//! Packets that a node's devices have put together before the programs see them (GRO).

use std::collections::BTreeMap;

use twinpath_core::parse::{Transport, parse};
use twinpath_kernel::veth::devices::UPLINK_NAME;
use twinpath_kernel::veth::{Options, Stacks, Time, cpu, driver};
use twinpath_sim::cluster::Place;
use twinpath_sim::frame::Frame;
use twinpath_sim::topology::Topology;
use twinpath_sim::world::World;

use crate::sockets::{BULK, WEB, ends, frontend, serve_tcp, settle, tcp_round_trip};
use crate::support::{SEED, cluster, limits, pod, simulator, world};

/// The longest frame that a pod sends here: none is left for the kernel to cut.
const LONGEST: usize = 1_514;

/// What each connection carried past each place, by its addresses and ports there.
type Carried = BTreeMap<(Place, Vec<u8>), Vec<u8>>;

fn carry(carried: &mut Carried, place: Place, frame: &Frame) {
    let parsed = parse(frame).unwrap().unwrap();
    let Transport::Tcp = parsed.transport else { return };
    let header = usize::from(frame.bytes[parsed.l4.0 + 12] >> 4) * 4;
    let data = &frame.bytes[parsed.l4.0 + header..];
    carried.entry((place, ends(frame).to_vec())).or_default().extend(data);
}

/// Pods send packets that fit the link, with complete checksums, and their node's devices put them together:
/// the programs translate what is longer than the link takes, and the next device gets the pieces.
#[test]
fn what_devices_put_together_is_translated_as_its_pieces() {
    let state = cluster();
    let topology = Topology::new(&state);
    let options = Options {
        limits: limits(),
        time: Time::Virtual(SEED),
        stacks: Stacks::Answering,
        ..Options::default()
    };
    let Some(mut world) = world(&topology, &state, &options) else { return };
    world.set_time(5_000_000_000).unwrap();
    cpu::stay_on_one().unwrap();
    for (index, info) in topology.pods.iter().enumerate() {
        let pod = world.pod(index).unwrap();
        pod.run(|| driver::complete_checksums("eth0")).unwrap().unwrap();
        let node = world.node(info.node).unwrap();
        node.run(|| driver::put_together(&format!("pod{}", info.device))).unwrap().unwrap();
    }
    for node in 0..topology.nodes.len() {
        let namespace = world.node(node).unwrap();
        namespace.run(|| driver::put_together(UPLINK_NAME)).unwrap().unwrap();
    }
    for v6 in [false, true] {
        for side in ["a", "b"] {
            serve_tcp(&world, &format!("web-{side}"), v6);
        }
    }
    let client = pod(&topology, "client");
    let mut frames = Vec::new();
    for _ in 0..4 {
        for v6 in [false, true] {
            tcp_round_trip(&world, client, frontend(WEB, v6, 80), BULK);
        }
        frames.extend(world.take_frames().unwrap());
    }
    frames.extend(settle(&mut world));

    let mut sim = simulator(&topology, &state, &options);
    sim.set_time(5_000_000_000).unwrap();
    let (mut expected, mut captured) = (Carried::new(), Carried::new());
    let mut together = 0;
    for sighting in &frames {
        carry(&mut captured, sighting.place, &sighting.frame);
        let length = sighting.frame.bytes.len();
        if let Place::PodOut(pod) = sighting.place {
            assert!(length <= LONGEST && !sighting.frame.partial, "{length} bytes");
            for (place, frame) in sim.send(pod, &sighting.frame).unwrap().seen {
                carry(&mut expected, place, &frame);
            }
        } else {
            together += usize::from(length > LONGEST);
        }
    }
    assert!(together > 20, "{together} frames were put together");
    assert!(captured.values().map(Vec::len).sum::<usize>() > 16 * BULK);
    let lengths = |carried: &Carried| carried.values().map(Vec::len).collect::<Vec<_>>();
    assert!(expected == captured, "{:?} {:?}", lengths(&expected), lengths(&captured));
    for node in 0..topology.nodes.len() {
        assert_eq!(sim.conntrack(node).unwrap(), world.conntrack(node).unwrap(), "node {node}");
    }
    eprintln!("{} frames, {together} of them put together", frames.len());
}
