//! The worlds that packets can be replayed through, by their names on the command line.

pub mod veth;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use twinpath_control::diff::Write;
use twinpath_control::model::State;
use twinpath_control::objects::ObjectName;
use twinpath_control::tables::{Names, Options};
use twinpath_core::address::Address;
use twinpath_core::endpoint::Endpoint;
use twinpath_core::seam::Nanos;
use twinpath_core::tuple::Tuple4;
use twinpath_kernel::test_run::TestRunEngine;
use twinpath_sim::cluster::{Fate, Watch};
use twinpath_sim::engine::{Engine, NodeIndex, SimEngine};
use twinpath_sim::frame::Frame;
use twinpath_sim::node::{Fill, Limits};
use twinpath_sim::topology::{ClientIndex, PodIndex, Topology};
pub use twinpath_sim::world::Sender;
use twinpath_sim::world::{ModelWorld, World, WorldError};

/// A world's name on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// The simulator: in process, no privileges, the same answer every time.
    Sim,
    /// The kernel programs through `BPF_PROG_TEST_RUN`.
    TestRun,
    /// The kernel programs, attached in network namespaces of their own.
    Veth,
}

impl Kind {
    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sim => "sim",
            Self::TestRun => "test-run",
            Self::Veth => "veth",
        }
    }
}

/// Where a made-up router speaks from: addresses for documentation (RFC 5737, RFC 3849).
const ROUTER: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 254)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 0xfe)),
];

/// Adds a client outside, the router in front of it, and what the router must know to send to `frontend`
/// by way of `node`.
pub fn add_outside(
    topology: &mut Topology,
    client: IpAddr,
    frontend: IpAddr,
    node: NodeIndex,
) -> ClientIndex {
    if topology.router.is_none() {
        let free = |address: &IpAddr| topology.owner(&Address::from(*address)).is_none();
        let addresses = ROUTER.into_iter().filter(free).collect();
        topology.add_router(addresses);
    }
    let address = Address::from(frontend);
    if topology.owner(&address).is_none()
        && let Some(router) = &mut topology.router
    {
        router.routes.entry(address).or_insert(node);
    }
    let mtu = topology.mtu;
    topology.add_client(format!("client-{client}"), vec![client], mtu)
}

/// What a replay needs of a world.
pub trait Stage {
    /// Its name on the command line.
    fn name(&self) -> &'static str;
    /// Who is where.
    fn topology(&self) -> &Topology;
    /// What the numbers in decisions stand for.
    fn names(&mut self, state: &State) -> Names;
    /// Brings the tables of all nodes to a state of the cluster.
    fn apply(&mut self, state: &State) -> Result<(), WorldError>;
    /// Adds a pod that only the capture knows, without an address where it has none.
    fn add_client(
        &mut self,
        node: NodeIndex,
        address: Option<IpAddr>,
    ) -> Result<PodIndex, WorldError>;
    /// Adds a client outside the cluster behind its router, with that and what the router must know to
    /// send to `frontend` by way of `node`; `None` where the world has no outside.
    fn add_outside(
        &mut self,
        client: IpAddr,
        frontend: IpAddr,
        node: NodeIndex,
    ) -> Result<Option<ClientIndex>, WorldError>;
    /// Gives a pod one more address.
    fn add_address(&mut self, pod: PodIndex, address: IpAddr) -> Result<(), WorldError>;
    /// Sets the time and the number of the packet that comes next, from 1, by which the dice start anew: what
    /// it draws does not depend on the packets before it.
    fn turn(&mut self, now: Nanos, packet: u64) -> Result<(), WorldError>;
    /// Looks where [`send`](Self::send) will look for a packet with this tuple, so that memory is there by
    /// then. Nothing changes.
    #[inline]
    fn foresee(&self, _: Sender, _: &Tuple4) {}
    /// How full a node's tables are, where the world can tell.
    fn fill(&self, _: NodeIndex) -> Option<Fill> {
        None
    }
    /// Sends a packet, which is left as it was at its end; `None` where the world cannot tell what
    /// became of it.
    fn send<W: Watch>(
        &mut self,
        sender: Sender,
        frame: &mut Frame,
        watch: &mut W,
    ) -> Result<Option<Fate>, WorldError>;
}

/// The simulator with a cluster's state applied. The topology may have more in it than the state.
pub fn simulator(
    topology: Topology,
    state: &State,
    options: Options,
    seed: u64,
) -> Result<ModelWorld<SimEngine>, WorldError> {
    let engine = SimEngine::new(topology.nodes.len(), &Limits::default(), seed);
    model(Kind::Sim, state, topology, engine, options)
}

/// Test runs of the programs in this kernel, with a cluster's state applied.
pub fn test_runs(
    topology: Topology,
    state: &State,
    options: Options,
    seed: u64,
) -> Result<ModelWorld<TestRunEngine>, WorldError> {
    let engine = TestRunEngine::new(topology.nodes.len(), &Limits::default(), seed)
        .map_err(|error| WorldError::Environment(format!("--world test-run: {error}")))?;
    model(Kind::TestRun, state, topology, engine, options)
}

fn model<E: Engine>(
    kind: Kind,
    state: &State,
    topology: Topology,
    engine: E,
    options: Options,
) -> Result<ModelWorld<E>, WorldError> {
    let mut world = ModelWorld::new(kind.name(), topology, engine, options);
    World::apply(&mut world, state)?;
    Ok(world)
}

fn failed(error: impl std::fmt::Display) -> WorldError {
    WorldError::Failed(error.to_string())
}

impl<E: Engine> Stage for ModelWorld<E> {
    fn name(&self) -> &'static str {
        World::name(self)
    }

    #[inline]
    fn topology(&self) -> &Topology {
        &self.cluster.topology
    }

    fn names(&mut self, state: &State) -> Names {
        World::names(self, state)
    }

    fn apply(&mut self, state: &State) -> Result<(), WorldError> {
        World::apply(self, state)
    }

    fn add_client(
        &mut self,
        node: NodeIndex,
        address: Option<IpAddr>,
    ) -> Result<PodIndex, WorldError> {
        let topology = &mut self.cluster.topology;
        let name = address.map_or_else(|| "client".into(), |address| format!("client-{address}"));
        let pod = topology.add_pod(
            ObjectName::new("capture", &name),
            node,
            address.into_iter().collect(),
        );
        if let (Some(address), Some(info)) = (address, topology.pods.get(pod)) {
            // The control plane would have told the node of its pod.
            let endpoint = Endpoint::pod(info.device);
            let write = Write::Endpoint(Address::from(address), Some(endpoint));
            self.cluster.engine.write(node, &write).map_err(failed)?;
        }
        Ok(pod)
    }

    fn add_outside(
        &mut self,
        client: IpAddr,
        frontend: IpAddr,
        node: NodeIndex,
    ) -> Result<Option<ClientIndex>, WorldError> {
        Ok(Some(add_outside(&mut self.cluster.topology, client, frontend, node)))
    }

    fn add_address(&mut self, pod: PodIndex, address: IpAddr) -> Result<(), WorldError> {
        self.cluster.topology.add_address(pod, address);
        Ok(())
    }

    fn fill(&self, node: NodeIndex) -> Option<Fill> {
        self.cluster.engine.fill(node)
    }

    #[inline]
    fn turn(&mut self, now: Nanos, packet: u64) -> Result<(), WorldError> {
        self.cluster.engine.turn(now, packet).map_err(failed)
    }

    #[inline(always)]
    fn foresee(&self, sender: Sender, tuple: &Tuple4) {
        let node = match sender {
            Sender::Pod(pod) => self.cluster.topology.pods.get(pod).map(|pod| pod.node),
            Sender::Node(_) | Sender::Client(_) => None,
        };
        if let Some(node) = node {
            self.cluster.engine.foresee(node, tuple);
        }
    }

    #[inline(always)]
    fn send<W: Watch>(
        &mut self,
        sender: Sender,
        frame: &mut Frame,
        watch: &mut W,
    ) -> Result<Option<Fate>, WorldError> {
        if !self.cluster.engine.takes(frame) {
            return Err(WorldError::Environment(format!(
                "--world {}: a frame of {} bytes{} cannot be given to it; use --world sim",
                World::name(self),
                frame.bytes.len(),
                if frame.partial { " with an unfinished checksum" } else { "" }
            )));
        }
        match sender {
            Sender::Pod(pod) => self.cluster.send(pod, frame, watch),
            Sender::Node(node) => self.cluster.send_from_node(node, frame, watch),
            Sender::Client(client) => self.cluster.send_from_client(client, frame, watch),
        }
        .map(Some)
        .map_err(failed)
    }
}
