//! What one port of a service adds to a node's tables.

use twinpath_core::address::Address;
use twinpath_core::backend::{Backend, BackendId};
use twinpath_core::range::RangeKey;
use twinpath_core::service::{Algorithm, Member, Service, ServiceKey};
use twinpath_core::tuple::Tuple;

use super::Desired;
use super::slices::SliceOwner;
use crate::maglev::Size;

/// What one port of a service adds to a node's tables, each table's entries by key.
///
/// Frontends, members, ranges, terminations and slices are its own. Backends, the entries of addresses and
/// reserved ports are there for as long as some port adds them; a backend is active if any says so.
#[derive(Clone, Debug, Default)]
pub(crate) struct Part {
    /// Frontends and their slots.
    pub(crate) services: Vec<(ServiceKey, Service)>,
    /// Those whose address has an entry of its own.
    pub(crate) addresses: Vec<Address>,
    pub(crate) backends: Vec<(BackendId, Backend)>,
    pub(crate) members: Vec<(Member, u32)>,
    pub(crate) ranges: Vec<RangeKey>,
    pub(crate) terminations: Vec<(Tuple, BackendId)>,
    /// Ports that are reserved, host order.
    pub(crate) ports: Vec<u16>,
    pub(crate) slices: Vec<SliceOwner>,
}

impl Part {
    /// Forgets all, but for the room.
    pub(super) fn clear(&mut self) {
        let Self { services, addresses, backends, members, ranges, terminations, ports, slices } =
            self;
        services.clear();
        addresses.clear();
        backends.clear();
        members.clear();
        ranges.clear();
        terminations.clear();
        ports.clear();
        slices.clear();
    }

    /// Makes one entry of those with one key.
    pub(super) fn settle(&mut self) {
        self.services.sort_by_key(|(key, _)| *key);
        self.services.dedup_by(|(later, value), (key, kept)| {
            let same = later == key;
            if same {
                *kept = *value;
            }
            same
        });
        settle(&mut self.addresses);
        // Active ones first.
        self.backends.sort_unstable_by_key(|(id, backend)| (*id, backend.state));
        self.backends.dedup_by_key(|(id, _)| *id);
        self.members.sort_unstable_by_key(|(member, _)| *member);
        self.members.dedup_by(|(later, more), (member, bits)| {
            let same = later == member;
            if same {
                *bits |= *more;
            }
            same
        });
        settle(&mut self.ranges);
        // Those that were found first.
        self.terminations.sort_by_key(|(tuple, _)| *tuple);
        self.terminations.dedup_by_key(|(tuple, _)| *tuple);
        settle(&mut self.ports);
    }
}

fn settle<T: Ord>(list: &mut Vec<T>) {
    list.sort_unstable();
    list.dedup();
}

/// The entry of an address with frontends.
pub(crate) fn address_entry(address: Address) -> (ServiceKey, Service) {
    (ServiceKey::address(address), Service::master(0, 0, Algorithm::Random, 0))
}

/// The parts of all ports, put together.
#[derive(Default)]
pub(super) struct Sum {
    services: Vec<(ServiceKey, Service)>,
    addresses: Vec<Address>,
    backends: Vec<(BackendId, Backend)>,
    members: Vec<(Member, u32)>,
    ranges: Vec<(RangeKey, u32)>,
    terminations: Vec<(Tuple, BackendId)>,
}

impl Sum {
    pub(super) fn add(&mut self, part: &Part, reserved: &mut Vec<u64>) {
        self.services.extend_from_slice(&part.services);
        self.addresses.extend_from_slice(&part.addresses);
        self.backends.extend_from_slice(&part.backends);
        self.members.extend_from_slice(&part.members);
        self.ranges.extend(part.ranges.iter().map(|range| (*range, 1)));
        self.terminations.extend_from_slice(&part.terminations);
        for port in &part.ports {
            reserve(reserved, *port);
        }
    }

    /// Puts it into tables that have the rest. Maps are made from sorted lists at once, which takes far
    /// less than entry by entry.
    pub(super) fn put_into(mut self, desired: &mut Desired) {
        settle(&mut self.addresses);
        self.services.extend(self.addresses.into_iter().map(address_entry));
        desired.services = self.services.into_iter().collect();
        self.backends.sort_unstable_by_key(|(id, backend)| (*id, backend.state));
        self.backends.dedup_by_key(|(id, _)| *id);
        desired.backends = self.backends.into_iter().collect();
        desired.members = self.members.into_iter().collect();
        desired.ranges.extend(self.ranges);
        desired.terminations = self.terminations.into_iter().collect();
    }
}

/// Sets the bit of a port.
pub(super) fn reserve(words: &mut Vec<u64>, port: u16) {
    let index = usize::from(port / 64);
    words.resize(words.len().max(index + 1), 0);
    if let Some(word) = words.get_mut(index) {
        *word |= 1_u64 << (port % 64);
    }
}

/// Where a slice is in the whole table.
pub(crate) const fn place(slice: u32, size: Size) -> std::ops::Range<usize> {
    let start = slice as usize * size.get() as usize;
    start..start + size.get() as usize
}
