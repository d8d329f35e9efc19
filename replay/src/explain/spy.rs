//! A node whose tables note what they are asked.

use std::marker::PhantomData;

use twinpath_core::bytes::Pod;
use twinpath_core::seam::{
    Config, Host, InsertError, Lookup, Maps, Metric, Nanos, Node, Put, Table,
};
use twinpath_sim::node::{SimHost, SimMaps, SimNode};

use super::log::{Entry, Event, Log};

/// A table that is borrowed for one packet.
pub struct Spy<'a, T, K, V> {
    table: &'a mut T,
    log: &'a Log,
    entry: fn(K, Option<V>) -> Entry,
}

impl<T: Lookup<K, V>, K: Pod + Copy, V: Pod + Clone> Lookup<K, V> for Spy<'_, T, K, V> {
    fn get(&self, key: &K) -> Option<&V> {
        let found = self.table.get(key);
        self.log.note(Event::Looked((self.entry)(*key, found.cloned())));
        found
    }
}

impl<T: Table<K, V>, K: Pod + Copy, V: Pod + Clone> Table<K, V> for Spy<'_, T, K, V> {
    fn insert(&mut self, key: &K, value: &V, put: Put) -> Result<(), InsertError> {
        let result = self.table.insert(key, value, put);
        let entry = (self.entry)(*key, Some(value.clone()));
        self.log.note(Event::Inserted(entry, put, result));
        result
    }

    fn remove(&mut self, key: &K) -> bool {
        let removed = self.table.remove(key);
        self.log.note(Event::Removed((self.entry)(*key, None), removed));
        removed
    }
}

/// A host that is borrowed for one packet.
pub struct SpyHost<'a> {
    host: &'a mut SimHost,
    log: &'a Log,
}

impl Host for SpyHost<'_> {
    fn now(&self) -> Nanos {
        self.host.now()
    }

    fn random(&mut self) -> u32 {
        let number = self.host.random();
        self.log.note(Event::Drawn(number));
        number
    }

    fn count(&mut self, metric: Metric) {
        self.host.count(metric);
        self.log.note(Event::Counted(metric));
    }
}

/// Names the spies on the simulator's tables.
pub struct SpyMaps<'a>(PhantomData<&'a ()>);

type SpyOn<'a, T, K, V> = Spy<'a, T, K, V>;

macro_rules! spies {
    ($($name:ident $field:ident: $key:ty => $value:ty, $entry:ident;)*) => {
        impl<'a> Maps for SpyMaps<'a> {
            $(type $name = SpyOn<'a, <SimMaps as Maps>::$name, $key, $value>;)*
            type Config = &'a Config;
            type Host = SpyHost<'a>;
        }

        /// A node's tables, borrowed for one packet.
        pub fn spied<'a>(node: &'a mut SimNode, log: &'a Log) -> Node<SpyMaps<'a>> {
            let node = &mut node.0;
            Node {
                $($field: Spy { table: &mut node.$field, log, entry: Entry::$entry },)*
                host: SpyHost { host: &mut node.host, log },
                config: &node.config,
            }
        }
    };
}

use twinpath_core::address::Address;
use twinpath_core::affinity::{Affinity, Client};
use twinpath_core::backend::{Backend, BackendId};
use twinpath_core::conntrack::Flow;
use twinpath_core::endpoint::Endpoint;
use twinpath_core::fragment::{Datagram, Ports};
use twinpath_core::limit::Bucket;
use twinpath_core::range::RangeKey;
use twinpath_core::service::{Member, Service, ServiceKey};
use twinpath_core::tuple::Tuple;

spies! {
    Services services: ServiceKey => Service, Service;
    Backends backends: BackendId => Backend, Backend;
    Maglev maglev: u32 => BackendId, Maglev;
    Members members: Member => u32, Member;
    Endpoints endpoints: Address => Endpoint, Endpoint;
    Ranges ranges: RangeKey => u32, Range;
    Terminations terminations: Tuple => BackendId, Termination;
    Reserved reserved: u32 => u64, Reserved;
    Limits limits: u32 => Bucket, Limit;
    Conntrack conntrack: Tuple => Flow, Flow;
    Affinities affinities: Client => Affinity, Affinity;
    Fragments fragments: Datagram => Ports, Fragment;
}
