//! One node's tables, clock and dice.

use std::cell::Cell;

use twinpath_control::diff::{Target, Write};
use twinpath_core::address::Address;
use twinpath_core::affinity::{Affinity, Client};
use twinpath_core::backend::{Backend, BackendId};
use twinpath_core::bytes::Pod;
use twinpath_core::conntrack::Flow;
use twinpath_core::endpoint::Endpoint;
use twinpath_core::fault::{Fault, Operation, Which};
use twinpath_core::fragment::{Datagram, Ports};
use twinpath_core::hash;
use twinpath_core::limit::Bucket;
use twinpath_core::seam::{
    Config, Host, InsertError, LIMITS, Lookup, Maps, Metric, Nanos, Node, Put, RESERVED_WORDS,
    Table,
};
use twinpath_core::service::{Member, Service, ServiceKey};
use twinpath_core::tuple::{Tuple, Tuple4};

use crate::map::{ArrayModel, Eviction, Faulty, HashModel, LruModel, RangeModel};

/// How large a node's tables are, and how its conntrack evicts.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Entries in the service table, slots included.
    pub services: usize,
    /// Entries in the backend table.
    pub backends: usize,
    /// Entries in all Maglev slices together.
    pub maglev: usize,
    /// Entries in the endpoint table.
    pub endpoints: usize,
    /// Halves of connections, per family.
    pub conntrack: usize,
    /// Entries of the range table.
    pub ranges: usize,
    /// Clients whose affinity is remembered.
    pub affinities: usize,
    /// Datagrams in fragments.
    pub fragments: usize,
    /// What conntrack does when it is full.
    pub eviction: Eviction,
}

impl Default for Limits {
    /// The sizes that the programs have.
    fn default() -> Self {
        Self {
            services: 65_536,
            backends: 65_536,
            maglev: 1_048_576,
            endpoints: 4_096,
            ranges: 65_536,
            conntrack: 131_072,
            affinities: 65_536,
            fragments: 8_192,
            eviction: Eviction::KERNEL,
        }
    }
}

/// The clock, the dice and the counters of a node.
#[derive(Clone)]
pub struct SimHost {
    /// The time.
    pub now: Nanos,
    /// The seed of the random sequence.
    pub seed: u64,
    /// The packet whose turn it is, 0 where there are no turns (see
    /// [`Engine::turn`](crate::engine::Engine::turn)).
    pub packet: u64,
    /// The packet that drew last,
    drawer: u64,
    /// and how many numbers.
    drawn: u64,
    /// The counters, by [`Metric`].
    pub metrics: Vec<u64>,
    /// Numbers that are drawn before those of the sequence.
    pub forced: std::collections::VecDeque<u32>,
}

impl SimHost {
    /// How many numbers were drawn when it was this packet's turn.
    pub const fn drawn_for(&self, packet: u64) -> u64 {
        if self.drawer == packet { self.drawn } else { 0 }
    }

    /// Starts the dice anew, with no turns.
    pub const fn restart(&mut self) {
        (self.packet, self.drawer, self.drawn) = (0, 0, 0);
    }
}

impl Host for SimHost {
    #[inline(always)]
    fn now(&self) -> Nanos {
        self.now
    }

    fn random(&mut self) -> u32 {
        if let Some(number) = self.forced.pop_front() {
            return number;
        }
        if self.drawer != self.packet {
            (self.drawer, self.drawn) = (self.packet, 0);
        }
        let number = hash::random(hash::seed_of(self.seed, self.packet), self.drawn);
        self.drawn = self.drawn.wrapping_add(1);
        number
    }

    fn count(&mut self, metric: Metric) {
        if let Some(slot) = self.metrics.get_mut(metric.0 as usize) {
            *slot += 1;
        }
    }
}

/// How full a table is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Entries in it, those that have run out and were not met again included.
    pub entries: usize,
    /// Entries that there is room for.
    pub limit: usize,
}

/// How full those tables of a node are that the datapath itself writes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fill {
    /// Halves of IPv4 connections.
    pub conntrack4: Used,
    /// Halves of IPv6 connections.
    pub conntrack6: Used,
    /// Clients whose affinity is remembered.
    pub affinities: Used,
    /// Datagrams in fragments.
    pub fragments: Used,
    /// Entries of all of these that were evicted so far, to make room.
    pub evicted: u64,
}

fn used<K: Pod + Eq + Copy, V: Pod + Clone>(table: &LruModel<K, V>) -> Used {
    Used { entries: table.len(), limit: table.max_entries() }
}

/// Conntrack: a map per family, as in the kernel.
#[derive(Clone)]
pub struct SimConntrack {
    v4: LruModel<Tuple4, Flow>,
    v6: LruModel<Tuple, Flow>,
}

impl SimConntrack {
    /// All halves, by key, IPv4 first.
    pub fn dump(&self) -> Vec<(Tuple, Flow)> {
        let mut all: Vec<(Tuple, Flow)> =
            self.v4.iter().map(|(key, flow)| (Tuple::from(key), flow.clone())).collect();
        all.sort_by_key(|(key, _)| *key);
        all.extend(self.v6.dump());
        all
    }

    /// How many halves there are.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many halves were evicted so far.
    pub const fn evicted(&self) -> u64 {
        self.v4.evicted() + self.v6.evicted()
    }

    /// Brings a half into the cache, and counts as no use.
    #[inline(always)]
    pub fn foresee(&self, key: &Tuple4) {
        self.v4.foresee(key);
    }

    /// Forgets every connection.
    pub fn clear(&mut self) {
        self.v4.clear();
        self.v6.clear();
    }
}

impl Lookup<Tuple, Flow> for SimConntrack {
    #[inline(always)]
    fn get(&self, key: &Tuple) -> Option<&Flow> {
        if key.is_v4() { self.v4.get(&Tuple4::from(key)) } else { self.v6.get(key) }
    }
}

impl Table<Tuple, Flow> for SimConntrack {
    fn insert(&mut self, key: &Tuple, value: &Flow, put: Put) -> Result<(), InsertError> {
        if key.is_v4() {
            self.v4.insert(&Tuple4::from(key), value, put)
        } else {
            self.v6.insert(key, value, put)
        }
    }

    fn remove(&mut self, key: &Tuple) -> bool {
        if key.is_v4() { self.v4.remove(&Tuple4::from(key)) } else { self.v6.remove(key) }
    }
}

/// Names the models above.
pub enum SimMaps {}

impl Maps for SimMaps {
    type Services = HashModel<ServiceKey, Service>;
    type Backends = HashModel<BackendId, Backend>;
    type Maglev = ArrayModel<BackendId>;
    type Members = HashModel<Member, u32>;
    type Endpoints = HashModel<Address, Endpoint>;
    type Ranges = RangeModel;
    type Terminations = HashModel<Tuple, BackendId>;
    type Reserved = ArrayModel<u64>;
    type Limits = ArrayModel<Bucket>;
    type Conntrack = Faulty<Tuple, SimConntrack>;
    type Affinities = Faulty<Client, LruModel<Client, Affinity>>;
    type Fragments = Faulty<Datagram, LruModel<Datagram, Ports>>;
    type Host = SimHost;
    type Config = Box<Config>;
}

/// A node in the simulator.
pub struct SimNode(pub Node<SimMaps>);

impl SimNode {
    /// A node with empty tables.
    pub fn new(limits: &Limits, seed: u64) -> Self {
        Self(Node {
            services: HashModel::new(limits.services),
            backends: HashModel::new(limits.backends),
            maglev: ArrayModel::new(limits.maglev),
            members: HashModel::new(limits.backends),
            endpoints: HashModel::new(limits.endpoints),
            ranges: RangeModel::new(limits.ranges),
            terminations: HashModel::new(limits.backends),
            reserved: ArrayModel::new(RESERVED_WORDS),
            limits: ArrayModel::new(LIMITS),
            affinities: Faulty::new(LruModel::new(limits.affinities, limits.eviction)),
            fragments: Faulty::new(LruModel::new(limits.fragments, limits.eviction)),
            conntrack: Faulty::new(SimConntrack {
                v4: LruModel::new(limits.conntrack, limits.eviction),
                v6: LruModel::new(limits.conntrack, limits.eviction),
            }),
            host: SimHost {
                now: 0,
                seed,
                packet: 0,
                drawer: 0,
                drawn: 0,
                metrics: vec![0; Metric::SLOTS as usize],
                forced: std::collections::VecDeque::new(),
            },
            config: Box::default(),
        })
    }

    /// How full its tables are.
    pub fn fill(&self) -> Fill {
        let Node { conntrack, affinities, fragments, .. } = &self.0;
        Fill {
            conntrack4: used(&conntrack.v4),
            conntrack6: used(&conntrack.v6),
            affinities: used(affinities),
            fragments: used(fragments),
            evicted: conntrack.evicted() + affinities.evicted() + fragments.evicted(),
        }
    }
}

impl SimNode {
    /// The fault that is to come of an operation on a table.
    pub fn fault(&self, which: Which, operation: Operation) -> &Cell<Fault> {
        match which {
            Which::Conntrack => self.0.conntrack.fault(operation),
            Which::Affinities => self.0.affinities.fault(operation),
            Which::Fragments => self.0.fragments.fault(operation),
        }
    }

    /// From now on faults strike, or no more.
    pub(crate) fn arm(&mut self, armed: bool) {
        self.0.conntrack.arm(armed);
        self.0.affinities.arm(armed);
        self.0.fragments.arm(armed);
    }
}

impl Target for SimNode {
    type Error = InsertError;

    fn write(&mut self, write: &Write) -> Result<(), InsertError> {
        let node = &mut self.0;
        match write {
            Write::Backend(id, Some(backend)) => node.backends.put(id, *backend),
            Write::Backend(id, None) => {
                node.backends.take(id);
                Ok(())
            }
            Write::Service(key, Some(service)) => node.services.put(key, *service),
            Write::Service(key, None) => {
                node.services.take(key);
                Ok(())
            }
            Write::Member(member, Some(scopes)) => node.members.put(member, *scopes),
            Write::Member(member, None) => {
                node.members.take(member);
                Ok(())
            }
            Write::Range(key, Some(value)) => node.ranges.put(key, *value),
            Write::Range(key, None) => {
                node.ranges.take(key);
                Ok(())
            }
            Write::Termination(key, Some(id)) => node.terminations.put(key, *id),
            Write::Termination(key, None) => {
                node.terminations.take(key);
                Ok(())
            }
            Write::Reserved(index, word) => node.reserved.put(*index, *word),
            Write::Maglev(index, id) => node.maglev.put(*index, *id),
            Write::Endpoint(address, Some(endpoint)) => node.endpoints.put(address, *endpoint),
            Write::Endpoint(address, None) => {
                node.endpoints.take(address);
                Ok(())
            }
            Write::Config(config) => {
                *node.config = *config;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_packet_draws_does_not_depend_on_what_others_drew() {
        let limits = Limits { maglev: 1, ..Limits::default() };
        let draws = |turns: &[(u64, usize)]| {
            let mut host = SimNode::new(&limits, 7).0.host;
            let mut drawn = Vec::new();
            for (packet, count) in turns {
                host.packet = *packet;
                drawn = (0..*count).map(|_| host.random()).collect();
                assert_eq!(host.drawn_for(*packet), *count as u64);
            }
            drawn
        };
        let alone = draws(&[(5, 3)]);
        assert_eq!(draws(&[(1, 1), (4, 7), (5, 3)]), alone);
        assert_ne!(draws(&[(4, 3)]), alone);
        assert_ne!(draws(&[(0, 3)]), alone);
    }
}
