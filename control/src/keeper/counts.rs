//! How many ports add what several may add to the tables.

use std::collections::{BTreeMap, HashMap};

use twinpath_core::address::Address;
use twinpath_core::backend::{Backend, BackendId, BackendState};

use crate::tables::{Desired, Options, Part, address_entry};

/// How many ports add what several may add to the tables.
#[derive(Debug, Default)]
pub(super) struct Counts {
    backends: HashMap<BackendId, Uses>,
    addresses: HashMap<Address, u32>,
    /// By port; those that the options reserve have one more.
    ports: Vec<u32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Uses {
    all: u32,
    active: u32,
}

impl Counts {
    pub(super) fn new(options: &Options) -> Self {
        let mut counts = Self { ports: vec![0; 1 << 16], ..Self::default() };
        for port in options.reserved_ports.iter().cloned().flatten() {
            change(counts.ports.get_mut(usize::from(port)), 1);
        }
        counts
    }

    pub(super) fn add(&mut self, part: &Part) {
        self.change(part, 1);
    }

    pub(super) fn remove(&mut self, part: &Part) {
        self.change(part, -1);
    }

    fn change(&mut self, part: &Part, by: i32) {
        for (id, backend) in &part.backends {
            let uses = self.backends.entry(*id).or_default();
            change(Some(&mut uses.all), by);
            change(backend.is_active().then_some(&mut uses.active), by);
        }
        for address in &part.addresses {
            change(Some(self.addresses.entry(*address).or_default()), by);
        }
        for port in &part.ports {
            change(self.ports.get_mut(usize::from(*port)), by);
        }
    }

    /// What of a part others may add, too: as it is in the tables, and as it shall be by these counts.
    pub(super) fn compare(
        &mut self,
        part: &Part,
        tables: &Desired,
        from: &mut Desired,
        to: &mut Desired,
        words: &mut BTreeMap<u32, (u64, u64)>,
    ) {
        for (id, backend) in &part.backends {
            from.backends.extend(tables.backends.get(id).map(|old| (*id, *old)));
            let uses = self.backends.get(id).copied().unwrap_or_default();
            let state =
                if uses.active > 0 { BackendState::Active } else { BackendState::Terminating };
            let new = Backend::new(backend.address, backend.port, backend.protocol, state);
            to.backends.extend((uses.all > 0).then_some((*id, new)));
            if uses.all == 0 {
                self.backends.remove(id);
            }
        }
        for address in &part.addresses {
            let (key, entry) = address_entry(*address);
            from.services.extend(tables.services.get(&key).map(|old| (key, *old)));
            let is_used = self.addresses.get(address).is_some_and(|count| *count > 0);
            to.services.extend(is_used.then_some((key, entry)));
            if !is_used {
                self.addresses.remove(address);
            }
        }
        for port in &part.ports {
            let (place, bit) = (port / 64, 1_u64 << (port % 64));
            let old = tables.reserved.get(usize::from(place)).copied().unwrap_or(0);
            let (_, new) = words.entry(u32::from(place)).or_insert((old, old));
            let is_used = self.ports.get(usize::from(*port)).is_some_and(|count| *count > 0);
            *new = if is_used { *new | bit } else { *new & !bit };
        }
    }
}

fn change(count: Option<&mut u32>, by: i32) {
    if let Some(count) = count {
        *count = count.saturating_add_signed(by);
    }
}
