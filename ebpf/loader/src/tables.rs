//! A node's tables in kernel maps.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use aya::Ebpf;
use aya::maps::{Array, HashMap, IterableMap, Map, MapData, MapError, PerCpuArray};
use twinpath_control::diff::{Failed, Target, Write};
use twinpath_control::tables::Desired;
use twinpath_core::address::Address;
use twinpath_core::affinity::{Affinity, Client};
use twinpath_core::bytes::Pod;
use twinpath_core::conntrack::Flow;
use twinpath_core::fault::Fault;
use twinpath_core::fragment::{Datagram, Ports};
use twinpath_core::limit::Bucket;
use twinpath_core::seam::{Config, Nanos};
use twinpath_core::service::{Member, Service, ServiceKey};
use twinpath_core::tuple::{Tuple, Tuple4};
use twinpath_core::{backend::Backend, endpoint::Endpoint};

use twinpath_sim::node::Limits;

use crate::load::LoadError;
use crate::sys::Entries;

/// Room for the bytes of a key or a value: to the library, entries are bytes.
macro_rules! bytes_of {
    ($type:ty) => {
        [u8; size_of::<$type>()]
    };
}

/// The bytes of a key or a value.
fn bytes<T: Pod, const N: usize>(value: &T) -> [u8; N] {
    const { assert!(N == size_of::<T>()) };
    <[u8; N]>::read_from(value.as_bytes()).unwrap_or([0; N])
}

/// The maps of one loaded set of programs.
pub struct KernelTables {
    services: HashMap<MapData, bytes_of!(ServiceKey), bytes_of!(Service)>,
    backends: HashMap<MapData, u32, bytes_of!(Backend)>,
    maglev: Array<MapData, u32>,
    members: HashMap<MapData, bytes_of!(Member), u32>,
    endpoints: HashMap<MapData, bytes_of!(Address), bytes_of!(Endpoint)>,
    ranges: MapData,
    terminations: HashMap<MapData, bytes_of!(Tuple), u32>,
    reserved: Array<MapData, u64>,
    limits: Array<MapData, bytes_of!(Bucket)>,
    affinities: Small,
    fragments: Small,
    config: Array<MapData, bytes_of!(Config)>,
    clock: Array<MapData, [u64; 3]>,
    faults: Array<MapData, bytes_of!(Fault)>,
    report: Array<MapData, [u32; 5]>,
    metrics: PerCpuArray<MapData, u64>,
    conntrack4: Connections,
    conntrack6: Connections,
}

/// One of the two conntrack maps.
struct Connections {
    map: MapData,
    entries: Entries,
}

impl Connections {
    fn new(
        ebpf: &mut Ebpf,
        name: &'static str,
        key: usize,
        room: usize,
    ) -> Result<Self, LoadError> {
        let Some(Map::LruHashMap(map)) = ebpf.take_map(name) else {
            return Err(LoadError::Unexpected(name));
        };
        // An object of an older build would be read as something else.
        let size = map.info().ok().and_then(|info| usize::try_from(info.value_size()).ok());
        if size.is_some_and(|size| size != size_of::<Flow>()) {
            return Err(LoadError::Unexpected(name));
        }
        Ok(Self { map, entries: Entries::new(key, size_of::<Flow>(), room) })
    }

    fn read(&mut self) -> Result<Vec<(Tuple, Flow)>, TableError> {
        self.entries.read(self.map.fd().as_fd()).map_err(TableError::Batch)?;
        let mut all: Vec<(Tuple, Flow)> = self
            .entries
            .iter()
            .filter_map(|(key, value)| Some((tuple(key)?, Flow::read_from(value)?)))
            .collect();
        all.sort_by_key(|(key, _)| *key);
        Ok(all)
    }

    fn clear(&mut self) -> Result<(), TableError> {
        self.entries.renew(self.map.fd().as_fd()).map_err(TableError::Batch)
    }
}

/// A map that only the datapath writes, and a verifier reads as a whole.
struct Small {
    map: MapData,
    entries: Entries,
}

impl Small {
    fn new<K: Pod, V: Pod>(
        ebpf: &mut Ebpf,
        name: &'static str,
        room: usize,
    ) -> Result<Self, LoadError> {
        let Some(Map::LruHashMap(map)) = ebpf.take_map(name) else {
            return Err(LoadError::Unexpected(name));
        };
        Ok(Self { map, entries: Entries::new(size_of::<K>(), size_of::<V>(), room) })
    }

    fn read<K: Pod + Ord, V: Pod>(&mut self) -> Result<Vec<(K, V)>, TableError> {
        self.entries.read(self.map.fd().as_fd()).map_err(TableError::Batch)?;
        let mut all: Vec<(K, V)> = self
            .entries
            .iter()
            .filter_map(|(key, value)| Some((K::read_from(key)?, V::read_from(value)?)))
            .collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(all)
    }

    fn clear(&mut self) -> Result<(), TableError> {
        self.entries.renew(self.map.fd().as_fd()).map_err(TableError::Batch)
    }
}

/// What went wrong with a map.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The kernel refused a write.
    #[error("{what}: {error}")]
    Write {
        /// The write.
        what: String,
        /// What the kernel said.
        error: MapError,
    },
    /// Reading or emptying a conntrack map failed.
    #[error("a conntrack map cannot be read: {0}")]
    Batch(std::io::Error),
    /// Reading another map failed.
    #[error("a map cannot be read: {0}")]
    Read(#[from] MapError),
}

impl KernelTables {
    /// Takes the maps of a loaded object, which were given these sizes.
    pub fn new(ebpf: &mut Ebpf, limits: &Limits) -> Result<Self, LoadError> {
        let room = limits.conntrack;
        fn take<T: TryFrom<Map>>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, LoadError> {
            let map = ebpf.take_map(name).ok_or(LoadError::Unexpected(name))?;
            T::try_from(map).map_err(|_| LoadError::Unexpected(name))
        }
        Ok(Self {
            services: take(ebpf, "SERVICES")?,
            backends: take(ebpf, "BACKENDS")?,
            maglev: take(ebpf, "MAGLEV")?,
            members: take(ebpf, "MEMBERS")?,
            endpoints: take(ebpf, "ENDPOINTS")?,
            ranges: match ebpf.take_map("RANGES") {
                Some(Map::LpmTrie(map)) => map,
                _ => return Err(LoadError::Unexpected("RANGES")),
            },
            terminations: take(ebpf, "TERMINATIONS")?,
            reserved: take(ebpf, "RESERVED")?,
            limits: take(ebpf, "LIMITS")?,
            affinities: Small::new::<Client, Affinity>(ebpf, "AFFINITIES", limits.affinities)?,
            fragments: Small::new::<Datagram, Ports>(ebpf, "FRAGMENTS", limits.fragments)?,
            config: take(ebpf, "CONFIG")?,
            clock: take(ebpf, "CLOCK")?,
            faults: take(ebpf, "FAULTS")?,
            report: take(ebpf, "REPORT")?,
            metrics: take(ebpf, "METRICS")?,
            conntrack4: Connections::new(ebpf, "CONNTRACK4", size_of::<Tuple4>(), room)?,
            conntrack6: Connections::new(ebpf, "CONNTRACK6", size_of::<Tuple>(), room)?,
        })
    }

    /// What the tables hold of what the control plane writes: where a [difference](twinpath_control::diff) or
    /// a [keeper](twinpath_control::keeper) starts from, if nobody knows.
    pub fn held(&self) -> Result<Desired, TableError> {
        let config = self.config.get(&0, 0)?;
        let mut held = Desired {
            services: all(self.services.map())?,
            backends: all(self.backends.map())?,
            members: all(self.members.map())?,
            endpoints: all(self.endpoints.map())?,
            ranges: all(&self.ranges)?,
            terminations: all(self.terminations.map())?,
            maglev: all::<u32, u32>(self.maglev.map())?.into_values().collect(),
            reserved: all::<u32, u64>(self.reserved.map())?.into_values().collect(),
            config: Config::read_from(&config).unwrap_or_default(),
        };
        let used = held.maglev.iter().rposition(|id| *id != 0).map_or(0, |last| last + 1);
        held.maglev.truncate(used);
        let used = held.reserved.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1);
        held.reserved.truncate(used);
        Ok(held)
    }

    /// The conntrack table, by key, IPv4 first.
    pub fn conntrack(&mut self) -> Result<Vec<(Tuple, Flow)>, TableError> {
        let mut all = self.conntrack4.read()?;
        all.extend(self.conntrack6.read()?);
        Ok(all)
    }

    /// Who is given which backend again, by key.
    pub fn affinities(&mut self) -> Result<Vec<(Client, Affinity)>, TableError> {
        self.affinities.read()
    }

    /// The ports of datagrams in fragments, by key.
    pub fn fragments(&mut self) -> Result<Vec<(Datagram, Ports)>, TableError> {
        self.fragments.read()
    }

    /// The rate limits.
    pub fn limits(&self) -> Result<Vec<Bucket>, TableError> {
        let slots = 0..self.limits.len();
        slots
            .map(|slot| {
                Ok(Bucket::read_from(&self.limits.get(&slot, 0)?).unwrap_or(Bucket::zeroed()))
            })
            .collect()
    }

    /// Forgets all that the datapath has written: connections, affinities, fragments, rate limits.
    pub fn clear(&mut self) -> Result<(), TableError> {
        self.conntrack4.clear()?;
        self.conntrack6.clear()?;
        self.affinities.clear()?;
        self.fragments.clear()?;
        for slot in 0..self.limits.len() {
            self.limits.set(slot, bytes(&Bucket::zeroed()), 0)?;
        }
        Ok(())
    }

    /// Puts one half of a connection in.
    pub fn insert(&mut self, key: &Tuple, flow: &Flow) -> Result<(), TableError> {
        let (map, bytes) = self.place(key);
        crate::sys::update(map.fd().as_fd(), &bytes, flow.as_bytes()).map_err(TableError::Batch)
    }

    /// Removes one half of a connection; whether it was there.
    pub fn remove(&mut self, key: &Tuple) -> Result<bool, TableError> {
        let (map, bytes) = self.place(key);
        crate::sys::delete(map.fd().as_fd(), &bytes).map_err(TableError::Batch)
    }

    /// The map of a key, and its bytes there.
    fn place(&self, key: &Tuple) -> (&MapData, Vec<u8>) {
        if key.is_v4() {
            (&self.conntrack4.map, Tuple4::from(key).as_bytes().to_vec())
        } else {
            (&self.conntrack6.map, key.as_bytes().to_vec())
        }
    }

    /// Sets the fault of a [slot](twinpath_core::fault::Which::slot), for a verified run.
    pub fn set_fault(&mut self, slot: u32, fault: &Fault) -> Result<(), TableError> {
        Ok(self.faults.set(slot, bytes(fault), 0)?)
    }

    /// The faults that are still to come, by slot.
    pub fn faults(&self) -> Result<Vec<Fault>, TableError> {
        let slots = 0..self.faults.len();
        let read = |slot| Ok(Fault::read_from(&self.faults.get(&slot, 0)?).unwrap_or_default());
        slots.map(read).collect()
    }

    /// Sets the virtual clock and dice.
    pub fn set_clock(&mut self, now: Nanos, seed: u64, drawn: u64) -> Result<(), TableError> {
        Ok(self.clock.set(0, [now, seed, drawn], 0)?)
    }

    /// What the last test run of the XDP program decided, in words.
    pub fn report(&self) -> Result<[u32; 5], TableError> {
        Ok(self.report.get(&0, 0)?)
    }

    /// How many numbers were drawn from the virtual dice.
    pub fn drawn(&self) -> Result<u64, TableError> {
        let [_, _, drawn] = self.clock.get(&0, 0)?;
        Ok(drawn)
    }

    /// The counters, summed over CPUs.
    pub fn metrics(&self) -> Result<Vec<u64>, TableError> {
        (0..self.metrics.len()).map(|slot| Ok(self.metrics.get(&slot, 0)?.iter().sum())).collect()
    }

    /// Sets the counters to zero.
    pub fn clear_metrics(&mut self) -> Result<(), TableError> {
        for slot in 0..self.metrics.len() {
            let zeroes = self.metrics.get(&slot, 0)?;
            if zeroes.iter().any(|count| *count != 0) {
                let zeroes = zeroes.iter().map(|_| 0).collect::<Vec<u64>>();
                let zeroes =
                    aya::maps::PerCpuValues::try_from(zeroes).map_err(TableError::Batch)?;
                self.metrics.set(slot, zeroes, 0)?;
            }
        }
        Ok(())
    }
}

/// A run of writes to one map, as flat bytes.
#[derive(Default)]
struct Run {
    kind: Option<std::mem::Discriminant<Write>>,
    keys: Vec<u8>,
    values: Vec<u8>,
    count: u32,
}

impl Run {
    /// Adds the write, if it puts an entry into the map that the run is for.
    fn take(&mut self, write: &Write) -> bool {
        let kind = std::mem::discriminant(write);
        if *self.kind.get_or_insert(kind) != kind {
            return false;
        }
        match write {
            Write::Backend(id, Some(backend)) => self.push(&id.to_ne_bytes(), backend.as_bytes()),
            Write::Service(key, Some(service)) => self.push(key.as_bytes(), service.as_bytes()),
            Write::Member(member, Some(scopes)) => {
                self.push(member.as_bytes(), &scopes.to_ne_bytes());
            }
            Write::Endpoint(address, Some(endpoint)) => {
                self.push(address.as_bytes(), endpoint.as_bytes());
            }
            Write::Termination(key, Some(id)) => self.push(key.as_bytes(), &id.to_ne_bytes()),
            Write::Maglev(index, id) => self.push(&index.to_ne_bytes(), &id.to_ne_bytes()),
            _ => return false,
        }
        true
    }

    fn push(&mut self, key: &[u8], value: &[u8]) {
        self.keys.extend_from_slice(key);
        self.values.extend_from_slice(value);
        self.count += 1;
    }
}

/// The shortest run that is written at once: below, one call after the other takes no longer.
const SHORTEST_RUN: usize = 8;

impl KernelTables {
    /// Does the writes at the beginning, as far as they put entries into one map, at once: how many there
    /// are, and how many were done. `None` where the kernel has no such call.
    fn write_run(&self, writes: &[Write]) -> (usize, Option<usize>) {
        let map = match writes.first() {
            Some(Write::Backend(..)) => self.backends.map(),
            Some(Write::Service(..)) => self.services.map(),
            Some(Write::Member(..)) => self.members.map(),
            Some(Write::Endpoint(..)) => self.endpoints.map(),
            Some(Write::Termination(..)) => self.terminations.map(),
            Some(Write::Maglev(..)) => self.maglev.map(),
            Some(Write::Range(..) | Write::Reserved(..) | Write::Config(_)) | None => {
                return (1, None);
            }
        };
        let mut run = Run::default();
        let length = writes.iter().take_while(|write| run.take(write)).count();
        if length < SHORTEST_RUN {
            return (length.max(1), None);
        }
        let done = crate::sys::update_batch(map.fd().as_fd(), &run.keys, &run.values, run.count);
        (length, done.ok().map(|done| done as usize))
    }
}

impl Target for KernelTables {
    type Error = TableError;

    /// Runs of entries that go into one map are written by one system call (`BPF_MAP_UPDATE_BATCH`), which
    /// puts them in one after the other, in order. Where one is refused, the call says how many are in, and
    /// that one is written by itself, to learn why.
    fn write_all(&mut self, writes: &[Write]) -> Result<(), Failed<TableError>> {
        let mut done = 0;
        while let Some(rest) = writes.get(done..).filter(|rest| !rest.is_empty()) {
            let (length, written) = self.write_run(rest);
            done += written.unwrap_or(0);
            let single = match written {
                None => length,
                Some(written) => usize::from(written < length),
            };
            for write in writes.iter().skip(done).take(single) {
                self.write(write).map_err(|error| Failed { done, error })?;
                done += 1;
            }
        }
        Ok(())
    }

    fn write(&mut self, write: &Write) -> Result<(), TableError> {
        let result = match write {
            Write::Backend(id, Some(backend)) => self.backends.insert(id, bytes(backend), 0),
            Write::Backend(id, None) => self.backends.remove(id),
            Write::Service(key, Some(service)) => {
                self.services.insert(bytes(key), bytes(service), 0)
            }
            Write::Service(key, None) => self.services.remove(&bytes(key)),
            Write::Maglev(index, id) => self.maglev.set(*index, *id, 0),
            Write::Endpoint(address, Some(endpoint)) => {
                self.endpoints.insert(bytes(address), bytes(endpoint), 0)
            }
            Write::Endpoint(address, None) => self.endpoints.remove(&bytes(address)),
            Write::Member(member, Some(scopes)) => self.members.insert(bytes(member), scopes, 0),
            Write::Member(member, None) => self.members.remove(&bytes(member)),
            Write::Range(key, value) => {
                let (map, key) = (self.ranges.fd().as_fd(), key.as_bytes());
                return match value {
                    Some(value) => crate::sys::update(map, key, &value.to_ne_bytes()),
                    None => crate::sys::delete(map, key).map(|_| ()),
                }
                .map_err(TableError::Batch);
            }
            Write::Termination(key, Some(id)) => self.terminations.insert(bytes(key), id, 0),
            Write::Termination(key, None) => self.terminations.remove(&bytes(key)),
            Write::Reserved(index, word) => self.reserved.set(*index, *word, 0),
            Write::Config(config) => self.config.set(0, bytes(config), 0),
        };
        match result {
            // To remove what is not there is no failure, in the simulator as here.
            Err(MapError::KeyNotFound) => Ok(()),
            Err(error) => Err(TableError::Write { what: format!("{write:?}"), error }),
            Ok(()) => Ok(()),
        }
    }
}

/// All entries of a map.
fn all<K: Pod + Ord, V: Pod>(map: &MapData) -> Result<BTreeMap<K, V>, TableError> {
    let room = map.info()?.max_entries() as usize;
    let mut entries = Entries::new(size_of::<K>(), size_of::<V>(), room);
    entries.read(map.fd().as_fd()).map_err(TableError::Batch)?;
    let read = |(key, value)| Some((K::read_from(key)?, V::read_from(value)?));
    Ok(entries.iter().filter_map(read).collect())
}

fn tuple(key: &[u8]) -> Option<Tuple> {
    if key.len() == size_of::<Tuple>() {
        return Tuple::read_from(key);
    }
    Tuple4::read_from(key).as_ref().map(Tuple::from)
}
