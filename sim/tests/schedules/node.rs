//! A node's tables, and CPUs that run the core on them.

use std::cell::Cell;
use std::sync::Arc;

use twinpath_core::address::Address;
use twinpath_core::affinity::{Affinity, Client};
use twinpath_core::backend::{Backend, BackendId};
use twinpath_core::conntrack::Flow;
use twinpath_core::endpoint::Endpoint;
use twinpath_core::fragment::{Datagram, Ports};
use twinpath_core::hash;
use twinpath_core::hook::{Hook, Work, handle};
use twinpath_core::limit::Bucket;
use twinpath_core::seam::{Host, LIMITS, Maps, Metric, Nanos, Node};
use twinpath_core::service::{Member, Service, ServiceKey};
use twinpath_core::tuple::Tuple;
use twinpath_core::verdict::{Decision, IfIndex};
use twinpath_sim::frame::Frame;

use crate::points::{Op, Points};
use crate::tables::{Map, NoRanges, SharedConfig};

/// Handles to all tables.
pub(crate) struct Tables {
    pub(crate) points: Arc<Points>,
    pub(crate) services: Map<ServiceKey, Service>,
    pub(crate) backends: Map<BackendId, Backend>,
    pub(crate) maglev: Map<u32, BackendId>,
    pub(crate) members: Map<Member, u32>,
    pub(crate) endpoints: Map<Address, Endpoint>,
    pub(crate) terminations: Map<Tuple, BackendId>,
    pub(crate) reserved: Map<u32, u64>,
    pub(crate) limits: Map<u32, Bucket>,
    pub(crate) conntrack: Map<Tuple, Flow>,
    pub(crate) affinities: Map<Client, Affinity>,
    pub(crate) fragments: Map<Datagram, Ports>,
    pub(crate) config: SharedConfig,
    pub(crate) clock: Map<u32, Cell<Nanos>>,
}

/// When everything begins.
const START: Nanos = 1_000_000_000_000;

impl Tables {
    /// Empty tables.
    pub(crate) fn new(points: &Arc<Points>) -> Self {
        let tables = Self {
            points: points.clone(),
            services: Map::read(points),
            backends: Map::read(points),
            maglev: Map::read(points),
            members: Map::read(points),
            endpoints: Map::read(points),
            terminations: Map::read(points),
            reserved: Map::read(points),
            limits: Map::written(points),
            conntrack: Map::written(points),
            affinities: Map::written(points),
            fragments: Map::written(points),
            config: SharedConfig(Map::read(points)),
            clock: Map::read(points),
        };
        tables.clock.put(0, Cell::new(START));
        for slot in 0..LIMITS as u32 {
            tables.limits.put(slot, twinpath_core::bytes::Pod::zeroed());
        }
        tables
    }

    /// The time.
    pub(crate) fn now(&self) -> Nanos {
        self.clock.peek(&0).map_or(0, Cell::get).wrapping_add(self.points.jumped())
    }

    /// Lets time pass.
    pub(crate) fn pass(&self, time: Nanos) {
        if let Some(clock) = self.clock.peek(&0) {
            clock.set(clock.get().wrapping_add(time));
        }
    }

    fn node(&self, number: u64, draws: &[u32]) -> Node<SharedMaps> {
        Node {
            services: self.services.clone(),
            backends: self.backends.clone(),
            maglev: self.maglev.clone(),
            members: self.members.clone(),
            endpoints: self.endpoints.clone(),
            ranges: NoRanges,
            terminations: self.terminations.clone(),
            reserved: self.reserved.clone(),
            limits: self.limits.clone(),
            conntrack: self.conntrack.clone(),
            affinities: self.affinities.clone(),
            fragments: self.fragments.clone(),
            host: CpuHost {
                tables: self.clone(),
                looks: Cell::new(0),
                number,
                drawn: 0,
                draws: draws.to_vec(),
            },
            config: SharedConfig(self.config.0.clone()),
        }
    }
}

impl Clone for Tables {
    fn clone(&self) -> Self {
        Self {
            points: self.points.clone(),
            services: self.services.clone(),
            backends: self.backends.clone(),
            maglev: self.maglev.clone(),
            members: self.members.clone(),
            endpoints: self.endpoints.clone(),
            terminations: self.terminations.clone(),
            reserved: self.reserved.clone(),
            limits: self.limits.clone(),
            conntrack: self.conntrack.clone(),
            affinities: self.affinities.clone(),
            fragments: self.fragments.clone(),
            config: SharedConfig(self.config.0.clone()),
            clock: self.clock.clone(),
        }
    }
}

/// A CPU's clock, dice and counters.
pub(crate) struct CpuHost {
    tables: Tables,
    looks: Cell<u32>,
    number: u64,
    drawn: u64,
    draws: Vec<u32>,
}

impl Host for CpuHost {
    fn now(&self) -> Nanos {
        self.looks.set(self.looks.get() + 1);
        self.tables.points.at(Op::Clock);
        self.tables.now()
    }

    /// The numbers given, then a random sequence of the CPU's own.
    fn random(&mut self) -> u32 {
        self.drawn += 1;
        match self.draws.get(self.drawn as usize - 1) {
            Some(draw) => *draw,
            None => hash::random(self.number, self.drawn),
        }
    }

    fn count(&mut self, metric: Metric) {
        self.tables.points.note(metric.name().unwrap_or("?"));
    }
}

/// Names the types above.
pub(crate) enum SharedMaps {}

impl Maps for SharedMaps {
    type Services = Map<ServiceKey, Service>;
    type Backends = Map<BackendId, Backend>;
    type Maglev = Map<u32, BackendId>;
    type Members = Map<Member, u32>;
    type Endpoints = Map<Address, Endpoint>;
    type Ranges = NoRanges;
    type Terminations = Map<Tuple, BackendId>;
    type Reserved = Map<u32, u64>;
    type Limits = Map<u32, Bucket>;
    type Conntrack = Map<Tuple, Flow>;
    type Affinities = Map<Client, Affinity>;
    type Fragments = Map<Datagram, Ports>;
    type Config = SharedConfig;
    type Host = CpuHost;
}

/// A CPU: handles to the tables, dice and working memory of its own.
pub(crate) struct Cpu {
    node: Node<SharedMaps>,
    work: Work,
}

impl Cpu {
    /// A CPU whose dice begin with these draws.
    pub(crate) fn new(tables: &Tables, number: u64, draws: &[u32]) -> Self {
        Self { node: tables.node(number, draws), work: Work::default() }
    }

    /// Runs a hook on a packet.
    pub(crate) fn run(&mut self, hook: Hook, device: IfIndex, frame: &mut Frame) -> Decision {
        self.node.host.looks.set(0);
        let decision = handle(frame, &mut self.node, &mut self.work, hook, device);
        assert!(self.node.host.looks.get() <= 1, "one look at the clock for each packet");
        decision
    }
}
