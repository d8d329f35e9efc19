//! The maps, and how the core's tables stand on them.
//!
//! A table is a type without size that names its map, so no map pointer crosses memory. The sizes are
//! defaults; the loader sets others.

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray};
use twinpath_core::address::Address;
use twinpath_core::backend::{Backend, BackendId};
use twinpath_core::conntrack::Flow;
use twinpath_core::endpoint::Endpoint;
use twinpath_core::hook::Work;
use twinpath_core::seam::{Config, InsertError, Lookup, Maps, Metric, Node, Put, Room, Table};
use twinpath_core::service::{Service, ServiceKey};
use twinpath_core::tuple::{Tuple, Tuple4};

use crate::host::{Clock, Kernel};

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

type FlowWords = [u64; size_of::<Flow>() / 8];

/// The tables of the node that the program runs on; `None` before the control plane has written its
/// configuration.
#[inline(always)]
pub(crate) fn node() -> Option<Node<KernelMaps>> {
    let config = *CONFIG.get(0)?;
    Some(Node {
        services: Services,
        backends: Backends,
        maglev: Maglev,
        endpoints: Endpoints,
        conntrack: Conntrack,
        host: Kernel,
        config,
    })
}

/// Names the types below.
pub(crate) enum KernelMaps {}

impl Maps for KernelMaps {
    type Services = Services;
    type Backends = Backends;
    type Maglev = Maglev;
    type Endpoints = Endpoints;
    type Conntrack = Conntrack;
    type Host = Kernel;
}

macro_rules! lookup {
    ($name:ident: $map:ident, $key:ty => $value:ty) => {
        #[doc = concat!("The map `", stringify!($map), "`.")]
        pub(crate) struct $name;

        impl Lookup<$key, $value> for $name {
            #[inline(always)]
            fn get(&self, key: &$key) -> Option<&$value> {
                // SAFETY: the element may be recycled by the control plane while it is read, which the
                // seam's contract says; its bytes are valid whatever they are.
                $map.get_ptr(*key).map(|value| unsafe { &*value })
            }
        }
    };
}

lookup!(Services: SERVICES, ServiceKey => Service);
lookup!(Backends: BACKENDS, BackendId => Backend);
lookup!(Maglev: MAGLEV, u32 => BackendId);
lookup!(Endpoints: ENDPOINTS, Address => Endpoint);

/// The maps `CONNTRACK4` and `CONNTRACK6` as one table.
pub(crate) struct Conntrack;

impl Lookup<Tuple, Flow> for Conntrack {
    #[inline(always)]
    fn get(&self, key: &Tuple) -> Option<&Flow> {
        let words = if key.is_v4() {
            CONNTRACK4.get_ptr(Tuple4::from(key))
        } else {
            CONNTRACK6.get_ptr(*key)
        };
        // SAFETY: the value was written as a `Flow`, has its size, and map values are 8-byte aligned.
        words.map(|words| unsafe { &*words.cast::<Flow>() })
    }
}

impl Table<Tuple, Flow> for Conntrack {
    #[inline(never)]
    fn insert(&mut self, key: &Tuple, value: &Flow, put: Put) -> Result<(), InsertError> {
        let flags = u64::from(match put {
            Put::New => BPF_NOEXIST,
            Put::Any => BPF_ANY,
        });
        // SAFETY: a `Flow` is as large as its words and as strictly aligned.
        let words = unsafe { &*(&raw const *value).cast::<FlowWords>() };
        let result = if key.is_v4() {
            CONNTRACK4.insert(Tuple4::from(key), words, flags)
        } else {
            CONNTRACK6.insert(key, words, flags)
        };
        result.map_err(|error| match error as i32 {
            EEXIST => InsertError::Exists,
            _ => InsertError::Full,
        })
    }

    #[inline(never)]
    fn remove(&mut self, key: &Tuple) -> bool {
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
