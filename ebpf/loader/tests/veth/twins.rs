//! Real connections from outside, captured at every device. The simulator, given what clients and pods sent,
//! says what every other device saw.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use twinpath_control::tables::Mode;
use twinpath_core::conntrack::Flow;
use twinpath_core::parse::parse;
use twinpath_core::tuple::Tuple;
use twinpath_kernel::veth::watch::Sighting;
use twinpath_kernel::veth::{Time, cpu};
use twinpath_sim::cluster::Place;
use twinpath_sim::frame::Frame;
use twinpath_sim::world::{Sender, World};

use crate::outside::{
    FAR, FRONT, Kind, LISTEN, NEAR, client_host, node, open, options, pod_host, state,
};
use crate::support::{SEED, simulator};

const NOW: u64 = 5_000_000_000;

fn captured(kind: Kind) {
    let kind = Kind { time: Time::Virtual(SEED), ..kind };
    cpu::stay_on_one().unwrap();
    let Some(mut world) = open(kind) else { return };
    world.set_time(NOW).unwrap();
    for v6 in [false, true] {
        for name in ["web-b", "echo-a"] {
            let _ = pod_host(&world, name).serve(v6, LISTEN);
        }
        let outside = client_host(&world, 0);
        for port in [FAR, NEAR] {
            let to = SocketAddr::new(node(&world, FRONT, v6), port);
            outside.tcp_round_trip(to, 60_000);
            let socket = outside.udp(v6, 0);
            for length in [0, 1, 2, 511, 1_200] {
                outside.udp_round_trip(&socket, to, length);
            }
        }
    }
    thread::sleep(Duration::from_millis(300));
    let frames = world.take_frames().unwrap();

    let mut sim = simulator(world.topology(), &state(), &options(kind));
    sim.set_time(NOW).unwrap();
    let (mut seen, mut said) = (BTreeMap::new(), BTreeMap::new());
    // Both ends send at once, so the order is that of each direction by itself.
    let note = |all: &mut BTreeMap<(Place, Tuple), Vec<Frame>>, place, frame: &Frame| {
        let tuple = parse(frame).unwrap().unwrap().tuple;
        all.entry((place, tuple)).or_default().push(frame.clone());
    };
    for Sighting { place, frame, .. } in &frames {
        note(&mut seen, *place, frame);
        let sender = match *place {
            Place::PodOut(pod) => Sender::Pod(pod),
            Place::ClientOut(client) => Sender::Client(client),
            _ => continue,
        };
        for (place, frame) in &sim.send_from(sender, frame).unwrap().seen {
            note(&mut said, *place, frame);
        }
    }
    // What XDP sends waits for the end of its batch, and what it leaves to tc may overtake it.
    if kind.xdp {
        for frames in seen.values_mut().chain(said.values_mut()) {
            frames.sort_by(|a, b| a.bytes.cmp(&b.bytes));
        }
    }
    for (place, seen) in &seen {
        let said = said.get(place).map_or(&[][..], Vec::as_slice);
        for (i, (a, b)) in said.iter().zip(seen).enumerate() {
            let shown = |frame: &Frame| format!("{} {:02x?}", frame.partial, frame.bytes);
            assert!(a == b, "{place:?}, frame {i}\nsimulator {}\nkernel {}", shown(a), shown(b));
        }
        assert_eq!(said.len(), seen.len(), "{place:?}");
    }
    assert_eq!(said.len(), seen.len());
    for node in 0..world.topology().nodes.len() {
        assert_eq!(known(&mut sim, node), known(&mut world, node), "node {node}");
    }
    let partial = frames.iter().filter(|sighting| sighting.frame.partial).count();
    assert!(frames.len() > 500, "{} frames", frames.len());
    eprintln!("{} frames equal, {partial} with partial checksums", frames.len());
}

/// The connections that a node knows, but for the link addresses that only the kernel notes.
fn known(world: &mut dyn World, node: usize) -> Vec<(Tuple, Flow)> {
    let all = world.conntrack(node).unwrap();
    all.iter().for_each(|(_, flow)| flow.link().set(0));
    all
}

#[test]
fn xdp_is_captured_as_the_simulator_says() {
    captured(Kind::XDP);
}

#[test]
fn direct_answers_are_captured_as_the_simulator_says() {
    captured(Kind { mode: Mode::Dsr, ..Kind::XDP });
}

#[test]
fn packets_from_outside_are_captured_as_the_simulator_says() {
    // The simulator does not cut what is longer than the link takes.
    captured(Kind { xdp: false, mtu: 0, ..Kind::XDP });
}
