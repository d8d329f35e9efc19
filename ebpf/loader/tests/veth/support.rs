//! The cluster, the worlds, and a simulator beside a world.

use std::net::IpAddr;
use std::path::Path;

use twinpath_control::model::State;
use twinpath_control::problem::Severity;
use twinpath_control::read::{Objects, read};
use twinpath_kernel::testing::skip;
use twinpath_kernel::veth::{Options, VethWorld};
use twinpath_sim::cluster::{Fate, Place};
use twinpath_sim::engine::SimEngine;
use twinpath_sim::frame::Frame;
use twinpath_sim::node::Limits;
use twinpath_sim::topology::{PodIndex, Topology};
use twinpath_sim::world::{ModelWorld, Trace, World, WorldError};

/// The seed of all dice.
pub(crate) const SEED: u64 = 7;

/// Small tables, which are quickly read.
pub(crate) fn limits() -> Limits {
    Limits { conntrack: 1024, ..Limits::default() }
}

/// The recorded cluster: two nodes, a client, and two backends for each of three services.
pub(crate) fn cluster() -> State {
    cluster_with(Objects::default())
}

/// The same with more objects.
pub(crate) fn cluster_with(more: Objects) -> State {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/clusters/two-nodes.yaml");
    let bytes = std::fs::read(path).unwrap();
    let mut objects = read("two-nodes.yaml", &bytes).unwrap();
    objects.merge(more);
    let (state, problems) = State::new(&objects);
    let is_right = problems.iter().all(|problem| problem.severity == Severity::Warning);
    assert!(is_right, "{problems:?}");
    state
}

/// The world that a test needs, its tables filled; `None` where this machine cannot have it.
pub(crate) fn world(topology: &Topology, state: &State, options: &Options) -> Option<VethWorld> {
    match VethWorld::new(topology.clone(), options) {
        Ok(mut world) => {
            world.apply(state).unwrap();
            Some(world)
        }
        Err(WorldError::Environment(why)) => {
            let test = std::thread::current();
            skip(&format!("veth, {}", test.name().unwrap_or("a test")), &why);
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// The simulator with the same tables and dice.
pub(crate) fn simulator(
    topology: &Topology,
    state: &State,
    options: &Options,
) -> ModelWorld<SimEngine> {
    let engine = SimEngine::new(topology.nodes.len(), &options.limits, SEED);
    let mut sim = ModelWorld::new("sim", topology.clone(), engine, options.tables.clone());
    sim.apply(state).unwrap();
    sim
}

/// A pod by name.
pub(crate) fn pod(topology: &Topology, name: &str) -> PodIndex {
    topology.pods.iter().position(|pod| pod.name.name == name).unwrap()
}

/// A pod's address of a family.
pub(crate) fn address(topology: &Topology, pod: PodIndex, v6: bool) -> IpAddr {
    *topology.pods[pod].addresses.iter().find(|ip| ip.is_ipv6() == v6).unwrap()
}

/// The simulator and the kernel's world, given the same packets.
pub(crate) struct Twins {
    pub(crate) sim: ModelWorld<SimEngine>,
    pub(crate) veth: VethWorld,
    /// How many frames both have seen.
    pub(crate) frames: usize,
    /// How many packets were sent.
    pub(crate) packets: usize,
}

impl Twins {
    /// Two worlds of the recorded cluster.
    pub(crate) fn new(options: &Options) -> Option<Self> {
        Self::of(&cluster(), options)
    }

    /// Two worlds of a cluster.
    pub(crate) fn of(state: &State, options: &Options) -> Option<Self> {
        let topology = Topology::new(state);
        let veth = world(&topology, state, options)?;
        let sim = simulator(&topology, state, options);
        Some(Self { sim, veth, frames: 0, packets: 0 })
    }

    pub(crate) fn topology(&self) -> &Topology {
        &self.sim.cluster.topology
    }

    pub(crate) fn each(&mut self) -> [&mut dyn World; 2] {
        [&mut self.sim, &mut self.veth]
    }

    /// Sends a packet in both worlds; what is seen and remembered must be equal.
    pub(crate) fn send(&mut self, what: &str, pod: PodIndex, frame: &Frame) -> Trace {
        let sim = self.sim.send(pod, frame).unwrap();
        let veth = self.veth.send(pod, frame).unwrap();
        let mut expected = sim.seen.clone();
        expected.retain(|(place, _)| is_visible(*place, frame));
        let shown = |seen: &[(Place, Frame)]| {
            seen.iter()
                .map(|(place, frame)| format!("{place:?} {:02x?} {}", frame.bytes, frame.partial))
                .collect::<Vec<_>>()
                .join("\n")
        };
        assert!(
            expected == veth.seen,
            "{what}: {:?}\nsimulator\n{}\nkernel\n{}",
            sim.fate,
            shown(&expected),
            shown(&veth.seen),
        );
        let fate = sim.fate.filter(|fate| match fate {
            Fate::Arrived(place) => is_visible(*place, frame),
            _ => false,
        });
        assert_eq!(fate, veth.fate, "{what}");
        for node in 0..self.topology().nodes.len() {
            let sim = self.sim.conntrack(node).unwrap();
            let veth = self.veth.conntrack(node).unwrap();
            assert_eq!(sim, veth, "{what}: the connections of node {node}");
        }
        self.frames += expected.len();
        self.packets += 1;
        sim
    }
}

/// Whether a world of devices can see a frame there: none leads out of the cluster, and of what a node
/// has for itself only IP shows.
fn is_visible(place: Place, sent: &Frame) -> bool {
    match place {
        Place::Outside(_) => false,
        Place::Host(_) => matches!(sent.bytes.get(12..14), Some([0x08, 0x00] | [0x86, 0xdd])),
        _ => true,
    }
}
