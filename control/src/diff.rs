//! From tables as they are to tables as they should be, one write at a time.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use twinpath_core::address::Address;
use twinpath_core::backend::{Backend, BackendId};
use twinpath_core::endpoint::Endpoint;
use twinpath_core::range::RangeKey;
use twinpath_core::seam::Config;
use twinpath_core::service::{Algorithm, Member, Service, ServiceKey};
use twinpath_core::tuple::Tuple;

use crate::tables::Desired;

/// A change of one entry of one table; `None` takes it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// A backend.
    Backend(BackendId, Option<Backend>),
    /// A frontend in a scope, a slot, or the entry of an address.
    Service(ServiceKey, Option<Service>),
    /// A member of a service, with the bits of the scopes and policies in which it has a slot.
    Member(Member, Option<u32>),
    /// An entry of the Maglev table, by its index in the whole table; backend 0 is none.
    Maglev(u32, BackendId),
    /// An address of the node.
    Endpoint(Address, Option<Endpoint>),
    /// A range of addresses.
    Range(RangeKey, Option<u32>),
    /// A backend by the address that a tunnel ends at and the frontend.
    Termination(Tuple, Option<BackendId>),
    /// 64 ports that may be reserved, by their place.
    Reserved(u32, u64),
    /// The configuration, as a whole.
    Config(Config),
}

impl Write {
    /// The name of the table that it is a write to.
    pub const fn table(&self) -> &'static str {
        match self {
            Self::Backend(..) => "BACKENDS",
            Self::Service(..) => "SERVICES",
            Self::Member(..) => "MEMBERS",
            Self::Maglev(..) => "MAGLEV",
            Self::Endpoint(..) => "ENDPOINTS",
            Self::Range(..) => "RANGES",
            Self::Termination(..) => "TERMINATIONS",
            Self::Reserved(..) => "RESERVED",
            Self::Config(_) => "CONFIG",
        }
    }
}

/// Tables that can be written: the simulator's, the kernel's, or a [`Desired`].
pub trait Target {
    /// Why a write failed.
    type Error;
    /// Does one write. Doing it twice is the same as doing it once.
    fn write(&mut self, write: &Write) -> Result<(), Self::Error>;

    /// Does all writes, in order; stops at the first that fails. A target that can do many at once does
    /// them in the same order.
    fn write_all(&mut self, writes: &[Write]) -> Result<(), Failed<Self::Error>> {
        for (done, write) in writes.iter().enumerate() {
            self.write(write).map_err(|error| Failed { done, error })?;
        }
        Ok(())
    }
}

/// A write failed, and those after it were not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed<E> {
    /// How many writes were done before it.
    pub done: usize,
    /// Why it failed.
    pub error: E,
}

/// Only lists what would be written.
impl Target for Vec<Write> {
    type Error = Infallible;

    fn write(&mut self, write: &Write) -> Result<(), Infallible> {
        self.push(*write);
        Ok(())
    }
}

/// Does all writes, in order; stops at the first that fails. Packets may be handled between any two of
/// them: see [`diff`].
///
/// After a failure the tables hold what the writes before it made of them, which is safe but not what
/// was wanted. To go on, take the difference from that.
pub fn apply<T: Target>(target: &mut T, writes: &[Write]) -> Result<(), T::Error> {
    target.write_all(writes).map_err(|failed| failed.error)
}

impl Target for Desired {
    type Error = Infallible;

    fn write(&mut self, write: &Write) -> Result<(), Infallible> {
        match *write {
            Write::Backend(id, value) => put(&mut self.backends, id, value),
            Write::Service(key, value) => put(&mut self.services, key, value),
            Write::Member(member, value) => put(&mut self.members, member, value),
            Write::Endpoint(address, value) => put(&mut self.endpoints, address, value),
            Write::Range(key, value) => put(&mut self.ranges, key, value),
            Write::Termination(key, value) => put(&mut self.terminations, key, value),
            Write::Reserved(index, word) => {
                let index = index as usize;
                if index >= self.reserved.len() {
                    self.reserved.resize(index + 1, 0);
                }
                if let Some(place) = self.reserved.get_mut(index) {
                    *place = word;
                }
                let used =
                    self.reserved.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1);
                self.reserved.truncate(used);
            }
            Write::Config(config) => self.config = config,
            Write::Maglev(index, backend) => {
                let index = index as usize;
                if index >= self.maglev.len() {
                    self.maglev.resize(index + 1, 0);
                }
                if let Some(entry) = self.maglev.get_mut(index) {
                    *entry = backend;
                }
                let used = self.maglev.iter().rposition(|id| *id != 0).map_or(0, |last| last + 1);
                self.maglev.truncate(used);
            }
        }
        Ok(())
    }
}

fn put<K: Ord, V>(table: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => table.insert(key, value),
        None => table.remove(&key),
    };
}

/// The writes that turn `from` into `to`; none where they agree, whatever their epochs. The last one
/// sets the epoch to that of `from` and one, so that connections look at their backends again.
///
/// Packets are handled while the writes are done, so after each of them
/// - every slot, every entry of the Maglev table and every termination names a backend that is there, or
///   none, and the slots that a frontend counts name active ones,
/// - every frontend has the slots that it counts, and their backends are members of its service in its
///   scope,
/// - no frontend reads a slice of the Maglev table that belongs to another service, or to other backends,
/// - an address with frontends has its entry, unless it is a node's,
/// - a frontend is restricted to source ranges, and has all of them, before it is there, and every range
///   that is there is one of before or after,
/// - a port on which the node is reached is reserved.
///
/// A frontend that passes from one service to another is none in between.
pub fn diff(from: &Desired, to: &Desired) -> Vec<Write> {
    let entries = from.maglev.len().max(to.maglev.len());
    let entry = |table: &Desired, index: usize| table.maglev.get(index).copied().unwrap_or(0);
    let entries = (0..entries).zip(0_u32..).filter_map(|(index, at)| {
        let new = entry(to, index);
        (entry(from, index) != new).then_some((at, new))
    });
    let word = |table: &Desired, index: usize| table.reserved.get(index).copied().unwrap_or(0);
    let places = (0..from.reserved.len().max(to.reserved.len())).zip(0_u32..);
    let words = places.map(|(index, at)| (at, word(from, index), word(to, index)));
    ordered(from, to, entries, &words.collect::<Vec<_>>())
}

/// The same of tables that have some entries only, those that change among them; but for the Maglev table,
/// of which there are the entries that change, and for reserved ports, of which there are words with their
/// places, before and after.
pub(crate) fn ordered(
    from: &Desired,
    to: &Desired,
    entries: impl Iterator<Item = (u32, BackendId)>,
    words: &[(u32, u64, u64)],
) -> Vec<Write> {
    let config = Config { epoch: from.config.epoch, ..to.config };
    let resized = from.config.maglev_size != to.config.maglev_size;
    let backends = changes(&from.backends, &to.backends, false);
    let members = changes(&from.members, &to.members, false);
    let endpoints = changes(&from.endpoints, &to.endpoints, false);
    let terminations = changes(&from.terminations, &to.terminations, false);
    let ranges = changes(&from.ranges, &to.ranges, false);
    // Slices move where their size changes, those of services that are the same, too.
    let services = changes(&from.services, &to.services, resized);
    let mut writes = Vec::with_capacity(
        backends.len() + members.len() + endpoints.len() + services.len() + services.len() / 8,
    );

    // What others will refer to. A backend that starts to drain does so at the end, when no slot is
    // left that names it. An endpoint goes in before the frontends, since a connection remembers the way.
    for (id, backend) in backends.iter().filter_map(Change::put) {
        if backend.is_active() || !from.backends.contains_key(id) {
            writes.push(Write::Backend(*id, Some(*backend)));
        }
    }
    for (member, scopes) in members.iter().filter_map(Change::put) {
        // What a member loses it loses at the end, when no slot is left that names it.
        let kept = from.members.get(member).copied().unwrap_or(0);
        if scopes | kept != kept {
            writes.push(Write::Member(*member, Some(scopes | kept)));
        }
    }
    for (address, endpoint) in endpoints.iter().filter_map(Change::put) {
        writes.push(Write::Endpoint(*address, Some(*endpoint)));
    }
    for (key, backend) in terminations.iter().filter_map(Change::put) {
        writes.push(Write::Termination(*key, Some(*backend)));
    }
    for (key, value) in ranges.iter().filter_map(Change::put) {
        writes.push(Write::Range(*key, Some(*value)));
    }
    for (at, old, new) in words {
        if old | new != *old {
            writes.push(Write::Reserved(*at, old | new));
        }
    }

    // Frontends that go or become another service's, since slots and members are those of one service.
    // And frontends that leave their slice: those choose at random in the meantime, for which their
    // slots are all there.
    let mut meantime = BTreeSet::new();
    for Change { key, old, new } in services.iter().filter(|change| is_master(change.key)) {
        match (old, new) {
            (None, _) => {}
            (Some(_), None) => writes.push(Write::Service(**key, None)),
            (Some(old), Some(new)) if new.id != old.id => {
                writes.push(Write::Service(**key, None));
                meantime.insert(**key);
            }
            (Some(old), Some(new)) => {
                let reads = old.count > 0 && is_maglev(old);
                let goes_on =
                    new.count > 0 && is_maglev(new) && new.maglev == old.maglev && !resized;
                if reads && !goes_on {
                    let random = without_slice(old);
                    writes.push(Write::Service(**key, Some(random)));
                    meantime.insert(**key);
                }
            }
        }
    }

    let slots = services.iter().filter(|change| is_slot(change.key) && change.differs());
    for (key, slot) in slots.filter_map(Change::put) {
        writes.push(Write::Service(*key, Some(*slot)));
    }
    writes.extend(entries.map(|(at, backend)| Write::Maglev(at, backend)));
    if resized {
        writes.push(Write::Config(config));
    }

    // What refers to it. The entry of an address sorts before the frontends on it.
    for change in services.iter().filter(|change| !is_slot(change.key)) {
        if let Some((key, new)) = change.put()
            && (change.differs() || meantime.contains(key))
        {
            writes.push(Write::Service(*key, Some(*new)));
        }
    }

    // What nothing refers to any more.
    for key in services.iter().filter_map(Change::removed).filter(|key| !is_master(key)) {
        writes.push(Write::Service(*key, None));
    }
    for (member, scopes) in members.iter().filter_map(Change::put) {
        if from.members.get(member).is_some_and(|kept| scopes | kept != *scopes) {
            writes.push(Write::Member(*member, Some(*scopes)));
        }
    }
    for member in members.iter().filter_map(Change::removed) {
        writes.push(Write::Member(*member, None));
    }
    for key in ranges.iter().filter_map(Change::removed) {
        writes.push(Write::Range(*key, None));
    }
    for key in terminations.iter().filter_map(Change::removed) {
        writes.push(Write::Termination(*key, None));
    }
    for (at, old, new) in words {
        if old & !new != 0 {
            writes.push(Write::Reserved(*at, *new));
        }
    }
    for address in endpoints.iter().filter_map(Change::removed) {
        writes.push(Write::Endpoint(*address, None));
    }
    for (id, backend) in backends.iter().filter_map(Change::put) {
        if !backend.is_active() && from.backends.contains_key(id) {
            writes.push(Write::Backend(*id, Some(*backend)));
        }
    }
    for id in backends.iter().filter_map(Change::removed) {
        writes.push(Write::Backend(*id, None));
    }

    if !writes.is_empty() || from.config != config {
        writes.push(Write::Config(Config { epoch: config.epoch.wrapping_add(1), ..config }));
    }
    writes
}

/// An entry of a table before and after.
struct Change<'a, K, V> {
    key: &'a K,
    old: Option<&'a V>,
    new: Option<&'a V>,
}

impl<'a, K, V: PartialEq> Change<'a, K, V> {
    fn differs(&self) -> bool {
        self.old != self.new
    }

    /// The entry as it shall be.
    fn put(&self) -> Option<(&'a K, &'a V)> {
        Some((self.key, self.new?))
    }

    /// The key of one that shall not be there any more.
    fn removed(&self) -> Option<&'a K> {
        self.new.is_none().then_some(self.key)
    }
}

/// The entries that differ, or all, by key: one walk along both tables.
fn changes<'a, K: Ord, V: PartialEq>(
    from: &'a BTreeMap<K, V>,
    to: &'a BTreeMap<K, V>,
    all: bool,
) -> Vec<Change<'a, K, V>> {
    let (mut from, mut to) = (from.iter().peekable(), to.iter().peekable());
    let mut found = Vec::new();
    loop {
        let order = match (from.peek(), to.peek()) {
            (None, None) => return found,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((old, _)), Some((new, _))) => old.cmp(new),
        };
        let old = if order.is_le() { from.next() } else { None };
        let new = if order.is_ge() { to.next() } else { None };
        let Some((key, _)) = old.or(new) else { return found };
        let change =
            Change { key, old: old.map(|(_, value)| value), new: new.map(|(_, value)| value) };
        if all || change.differs() {
            found.push(change);
        }
    }
}

const fn is_slot(key: &ServiceKey) -> bool {
    key.slot != 0
}

/// Whether this is a frontend; not a slot, not the entry of an address.
const fn is_master(key: &ServiceKey) -> bool {
    key.slot == 0 && key.protocol != 0
}

const fn is_maglev(service: &Service) -> bool {
    service.algorithm == Algorithm::Maglev as u8
}

/// The same frontend, its backends chosen at random.
const fn without_slice(frontend: &Service) -> Service {
    let mut random = *frontend;
    random.algorithm = Algorithm::Random as u8;
    random.maglev = 0;
    random
}

#[cfg(test)]
pub(crate) mod tests;
