//! Which service has which slice of the Maglev table, and what is in it.

use std::collections::{BTreeMap, BTreeSet};

use twinpath_core::backend::BackendId;
use twinpath_core::service::ServiceId;

use super::part::place;
use super::{BackendKey, Options};
use crate::maglev::{self, Size};
use crate::model::TrafficPolicy;

/// A service port, whether the slice is that of its IPv4 backends, and the policy by which they were
/// chosen.
pub(crate) type SliceOwner = (ServiceId, bool, TrafficPolicy);

/// The slices in use. A service keeps its slices while it chooses by Maglev.
#[derive(Clone, Debug, Default)]
pub(super) struct Slices {
    owners: BTreeMap<SliceOwner, Slice>,
    /// Below the highest that is taken.
    free: BTreeSet<u32>,
}

/// A slice. Its contents are kept, since they are the same for most nodes and seldom change.
#[derive(Clone, Debug)]
pub(super) struct Slice {
    /// Its place in the table, in slices.
    pub(super) index: u32,
    made_from: (Vec<BackendId>, Size, u32),
    /// As many as the size says, or none.
    pub(super) entries: Vec<BackendId>,
}

impl Slices {
    /// Frees a slice, if it is one's.
    pub(super) fn release(&mut self, owner: &SliceOwner) {
        let slice = self.owners.remove(owner);
        self.free.extend(slice.map(|slice| slice.index));
    }

    /// A slice that was filled.
    pub(super) fn get(&self, owner: &SliceOwner) -> Option<&Slice> {
        self.owners.get(owner)
    }

    /// Frees the slices of all others.
    pub(super) fn retain(&mut self, live: &BTreeSet<SliceOwner>) {
        let free = &mut self.free;
        self.owners.retain(|owner, slice| {
            let keep = live.contains(owner);
            if !keep {
                free.insert(slice.index);
            }
            keep
        });
    }

    /// Fills the slice of a service with these backends; which slice it is.
    pub(super) fn fill(
        &mut self,
        owner: SliceOwner,
        backends: &[(BackendId, BackendKey)],
        options: &Options,
    ) -> u32 {
        let Self { owners, free } = self;
        let next = owners.len() + free.len();
        let slice = owners.entry(owner).or_insert_with(|| {
            let index = free.pop_first().unwrap_or(next as u32);
            let made_from = (Vec::new(), options.maglev_size, options.hash_seed);
            Slice { index, made_from, entries: Vec::new() }
        });
        let ids = backends.iter().map(|(id, _)| *id).collect();
        let made_from = (ids, options.maglev_size, options.hash_seed);
        if slice.made_from != made_from {
            slice.entries = entries(backends, options);
            slice.made_from = made_from;
        }
        slice.index
    }
}

impl Slice {
    /// Puts the slice in its place in the whole table.
    pub(super) fn copy_to(&self, table: &mut Vec<BackendId>, size: Size) {
        if self.entries.is_empty() {
            return;
        }
        let place = place(self.index, size);
        if table.len() < place.end {
            table.resize(place.end, 0);
        }
        if let Some(place) = table.get_mut(place) {
            place.copy_from_slice(&self.entries);
        }
    }
}

fn entries(backends: &[(BackendId, BackendKey)], options: &Options) -> Vec<BackendId> {
    let names: Vec<String> = backends
        .iter()
        .map(|(_, (address, port, protocol))| format!("{address}:{port}/{protocol}"))
        .collect();
    maglev::table(&names, options.maglev_size, options.hash_seed)
        .into_iter()
        .filter_map(|index| backends.get(index).map(|(id, _)| *id))
        .collect()
}
