//! The maps, and how the core's tables stand on them.
//!
//! A table is a type without size that names its map, so no map pointer crosses memory. The sizes are
//! defaults; the loader sets others.

use aya_ebpf::bindings::{BPF_ANY, BPF_F_NO_PREALLOC, BPF_NOEXIST};
use aya_ebpf::helpers::generated::bpf_map_lookup_elem;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray};
use twinpath_core::address::Address;
use twinpath_core::affinity::{Affinity, Client};
use twinpath_core::backend::{Backend, BackendId};
use twinpath_core::conntrack::Flow;
use twinpath_core::endpoint::Endpoint;
use twinpath_core::fault::{self, Fault, Operation, Which};
use twinpath_core::fragment::{Datagram, Ports};
use twinpath_core::hook::Work;
use twinpath_core::limit::Bucket;
use twinpath_core::range::RangeKey;
use twinpath_core::seam::{
    self, Config, InsertError, Lookup, Maps, Metric, Node, Put, RESERVED_WORDS, Room, Table,
};
use twinpath_core::service::{Member, Service, ServiceKey};
use twinpath_core::tuple::{Tuple, Tuple4};

use crate::host::{Clock, Kernel, is_verified};

#[map]
static SERVICES: HashMap<ServiceKey, Service> = HashMap::with_max_entries(65_536, 0);
#[map]
static BACKENDS: HashMap<BackendId, Backend> = HashMap::with_max_entries(65_536, 0);
#[map]
static MAGLEV: Array<BackendId> = Array::with_max_entries(65_536, 0);
#[map]
static ENDPOINTS: HashMap<Address, Endpoint> = HashMap::with_max_entries(4_096, 0);
#[map]
static CONFIG: Array<Config> = Array::with_max_entries(1, 0);
#[map]
static MEMBERS: HashMap<Member, u32> = HashMap::with_max_entries(65_536, 0);
/// As bytes: the library has its own type for keys of such maps.
#[map]
static RANGES: LpmTrie<[u8; 20], u32> = LpmTrie::with_max_entries(65_536, BPF_F_NO_PREALLOC);
#[map]
static TERMINATIONS: HashMap<Tuple, BackendId> = HashMap::with_max_entries(65_536, 0);
#[map]
static RESERVED: Array<u64> = Array::with_max_entries(RESERVED_WORDS as u32, 0);
#[map]
static LIMITS: Array<BucketWords> = Array::with_max_entries(seam::LIMITS as u32, 0);
#[map]
static AFFINITIES: LruHashMap<Client, AffinityWords> = LruHashMap::with_max_entries(65_536, 0);
#[map]
static FRAGMENTS: LruHashMap<Datagram, Ports> = LruHashMap::with_max_entries(8_192, 0);
/// IPv4 connections. The value is a [`Flow`]; as words, since a static must be `Sync`.
#[map]
static CONNTRACK4: LruHashMap<Tuple4, FlowWords> = LruHashMap::with_max_entries(131_072, 0);
/// IPv6 connections.
#[map]
static CONNTRACK6: LruHashMap<Tuple, FlowWords> = LruHashMap::with_max_entries(131_072, 0);
/// See [`Clock`].
#[map]
pub(crate) static CLOCK: Array<Clock> = Array::with_max_entries(1, 0);
/// See [`Metric`].
#[map]
pub(crate) static METRICS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Metric::SLOTS, 0);

/// What a verifier makes go wrong, by [`Which::slot`].
#[map]
static FAULTS: Array<Fault> = Array::with_max_entries(fault::SLOTS, 0);

type FlowWords = [u64; size_of::<Flow>() / 8];
type BucketWords = [u64; size_of::<Bucket>() / 8];
type AffinityWords = [u64; size_of::<Affinity>() / 8];

/// The tables of the node that the program runs on, for the fast road or the slow one; `None` before the control plane has written its
/// configuration.
#[inline(always)]
pub(crate) fn node<const SLOW: bool>() -> Option<KernelNode<SLOW>> {
    let config = CONFIG.get(0)?;
    Some(Node {
        services: Services,
        backends: Backends,
        maglev: Maglev,
        members: Members,
        endpoints: Endpoints,
        ranges: Ranges,
        terminations: Terminations,
        reserved: Reserved,
        limits: Limits,
        conntrack: Conntrack,
        affinities: Affinities,
        fragments: Fragments,
        host: Kernel,
        config,
    })
}

/// A node whose tables are the maps.
pub(crate) type KernelNode<const SLOW: bool> = Node<KernelMaps<SLOW>>;

/// Names the types below.
pub(crate) enum KernelMaps<const SLOW: bool> {}

impl<const SLOW: bool> Maps for KernelMaps<SLOW> {
    type Services = Services;
    type Backends = Backends;
    type Maglev = Maglev;
    type Members = Members;
    type Endpoints = Endpoints;
    type Ranges = Ranges;
    type Terminations = Terminations;
    type Reserved = Reserved;
    type Limits = Limits;
    type Conntrack = Conntrack<SLOW>;
    type Affinities = Affinities;
    type Fragments = Fragments;
    type Host = Kernel;
    type Config = &'static Config;
}

/// A map as a table that is read. Where the value is shared between CPUs the map has it as words, since a
/// static must be `Sync`.
macro_rules! lookup {
    ($name:ident: $map:ident, $key:ty => $value:ty) => {
        #[doc = concat!("The map `", stringify!($map), "`.")]
        pub(crate) struct $name;

        impl Lookup<$key, $value> for $name {
            #[inline(always)]
            fn get(&self, key: &$key) -> Option<&$value> {
                // SAFETY: the element may be recycled by the control plane while it is read, which the
                // seam's contract says; its bytes are valid whatever they are.
                $map.get_ptr(*key).map(|value| unsafe { &*value.cast::<$value>() })
            }
        }
    };
}

/// The fault that is to come of an operation. None to a production run, and the kernel's verifier removes the
/// branch.
#[inline(always)]
fn fault(which: Which, operation: Operation) -> Option<&'static mut Fault> {
    if !is_verified() {
        return None;
    }
    // SAFETY: the pointer is to a live array element; a verified run is on one CPU.
    FAULTS.get_ptr_mut(which.slot(operation)).map(|fault| unsafe { &mut *fault })
}

#[inline(always)]
fn strikes(which: Which, operation: Operation) -> bool {
    fault(which, operation).is_some_and(Fault::strikes)
}

#[inline(always)]
fn refusal(which: Which, put: Put) -> Option<InsertError> {
    fault(which, Operation::Insert)?.refuses(put)
}

/// A map as a table that is written, too. Only the slow road has such.
macro_rules! table {
    ($name:ident: $map:ident, $key:ty => $value:ty as $words:ty) => {
        #[doc = concat!("The map `", stringify!($map), "`.")]
        pub(crate) struct $name;

        impl Lookup<$key, $value> for $name {
            #[inline(always)]
            fn get(&self, key: &$key) -> Option<&$value> {
                if strikes(Which::$name, Operation::Lookup) {
                    let _ = $map.remove(key);
                    return None;
                }
                // SAFETY: as of the tables that are only read.
                $map.get_ptr(*key).map(|value| unsafe { &*value.cast::<$value>() })
            }
        }

        impl Table<$key, $value> for $name {
            #[inline(always)]
            fn insert(&mut self, key: &$key, value: &$value, put: Put) -> Result<(), InsertError> {
                if let Some(error) = refusal(Which::$name, put) {
                    return Err(error);
                }
                const { assert!(size_of::<$value>() == size_of::<$words>()) };
                // SAFETY: the value is as large as its words and as strictly aligned.
                let words = unsafe { &*(&raw const *value).cast::<$words>() };
                outcome($map.insert(key, words, flags(put)))
            }

            #[inline(always)]
            fn remove(&mut self, key: &$key) -> bool {
                !strikes(Which::$name, Operation::Remove) && $map.remove(key).is_ok()
            }
        }
    };
}

lookup!(Services: SERVICES, ServiceKey => Service);
lookup!(Backends: BACKENDS, BackendId => Backend);
lookup!(Maglev: MAGLEV, u32 => BackendId);
lookup!(Members: MEMBERS, Member => u32);
lookup!(Endpoints: ENDPOINTS, Address => Endpoint);
lookup!(Terminations: TERMINATIONS, Tuple => BackendId);
lookup!(Reserved: RESERVED, u32 => u64);
lookup!(Limits: LIMITS, u32 => Bucket);
table!(Affinities: AFFINITIES, Client => Affinity as AffinityWords);
table!(Fragments: FRAGMENTS, Datagram => Ports as Ports);

/// The map `RANGES`.
pub(crate) struct Ranges;

impl Lookup<RangeKey, u32> for Ranges {
    #[inline(always)]
    fn get(&self, key: &RangeKey) -> Option<&u32> {
        // SAFETY: a plain helper call with a key of the map's size, and the value is only read. The
        // library's own lookup would copy the key to the stack once more.
        unsafe {
            bpf_map_lookup_elem((&raw const RANGES).cast_mut().cast(), (&raw const *key).cast())
                .cast::<u32>()
                .as_ref()
        }
    }
}

const fn flags(put: Put) -> u64 {
    match put {
        Put::New => BPF_NOEXIST as u64,
        Put::Any => BPF_ANY as u64,
    }
}

fn outcome(result: Result<(), impl Into<i64>>) -> Result<(), InsertError> {
    result.map_err(|error| match error.into() as i32 {
        EEXIST => InsertError::Exists,
        _ => InsertError::Full,
    })
}

/// The maps `CONNTRACK4` and `CONNTRACK6` as one table. On the slow road what is done to it may go wrong.
pub(crate) struct Conntrack<const SLOW: bool>;

impl<const SLOW: bool> Lookup<Tuple, Flow> for Conntrack<SLOW> {
    #[inline(always)]
    fn get(&self, key: &Tuple) -> Option<&Flow> {
        if SLOW && strikes(Which::Conntrack, Operation::Lookup) {
            let _ = if key.is_v4() {
                CONNTRACK4.remove(Tuple4::from(key))
            } else {
                CONNTRACK6.remove(key)
            };
            return None;
        }
        let words = if key.is_v4() {
            CONNTRACK4.get_ptr(Tuple4::from(key))
        } else {
            CONNTRACK6.get_ptr(*key)
        };
        // SAFETY: the value was written as a `Flow`, has its size, and map values are 8-byte aligned.
        words.map(|words| unsafe { &*words.cast::<Flow>() })
    }
}

impl<const SLOW: bool> Table<Tuple, Flow> for Conntrack<SLOW> {
    #[inline(never)]
    fn insert(&mut self, key: &Tuple, value: &Flow, put: Put) -> Result<(), InsertError> {
        if let Some(error) = refusal(Which::Conntrack, put) {
            return Err(error);
        }
        // SAFETY: a `Flow` is as large as its words and as strictly aligned.
        let words = unsafe { &*(&raw const *value).cast::<FlowWords>() };
        outcome(if key.is_v4() {
            CONNTRACK4.insert(Tuple4::from(key), words, flags(put))
        } else {
            CONNTRACK6.insert(key, words, flags(put))
        })
    }

    #[inline(never)]
    fn remove(&mut self, key: &Tuple) -> bool {
        if strikes(Which::Conntrack, Operation::Remove) {
            return false;
        }
        if key.is_v4() {
            CONNTRACK4.remove(Tuple4::from(key)).is_ok()
        } else {
            CONNTRACK6.remove(key).is_ok()
        }
    }
}

/// `-EEXIST` of `errno.h`.
const EEXIST: i32 = -17;

/// The slow road's room: one per CPU. A tc program runs to its end before another runs on its CPU.
#[map]
static WORK: PerCpuArray<WorkWords> = PerCpuArray::with_max_entries(1, 0);

type WorkWords = [u64; size_of::<Work>().div_ceil(8)];

/// The map `WORK`.
pub(crate) struct WorkRoom;

impl Room for WorkRoom {
    #[inline(always)]
    fn work(&mut self) -> Option<&mut Work> {
        // SAFETY: the element is as large as `Work` and 8-byte aligned, and nothing else runs on it. The core
        // writes `parsed` and `arrival` before it reads them; the zeroes of a new map are values of the rest.
        WORK.get_ptr_mut(0).map(|work| unsafe { &mut *work.cast::<Work>() })
    }
}
