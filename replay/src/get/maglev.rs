//! Who has which share of a service's Maglev table, and what moves when a backend goes.

use std::collections::BTreeMap;

use serde::Serialize;
use twinpath_control::maglev::{Size, table};
use twinpath_core::backend::{Backend, BackendId};
use twinpath_core::service::{Algorithm, Scope, flag};

use super::print::Row;
use super::services::masters;
use super::{Filter, NodeView, View, protocol, socket};

/// A backend's part of a slice.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MaglevRow {
    /// Whose tables.
    pub node: String,
    /// The service port.
    pub service: String,
    /// Which slice of the table.
    pub slice: u32,
    /// The frontends that choose by it, with their scopes.
    pub frontends: Vec<String>,
    /// The traffic policy by which its backends were chosen.
    pub policy: &'static str,
    /// The backend's number.
    pub id: BackendId,
    /// Where it listens.
    pub backend: String,
    /// Its slots.
    pub slots: u32,
    /// All slots.
    pub size: u32,
    /// Its share, from 0 to 1.
    pub share: f64,
    /// How many slots would change hands if it went: its own, and those of others; `None` where that was
    /// not asked.
    pub moves: Option<Moves>,
}

/// Slots that change hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Moves {
    /// Those of the backend that goes.
    pub own: u32,
    /// Those of backends that stay.
    pub others: u32,
}

/// All of a node, by slice and backend number. What would move takes a new table for each backend, so it
/// is only worked out where the filter names a service.
pub fn rows(view: &View, node: &NodeView, filter: &Filter) -> Vec<MaglevRow> {
    let config = &node.tables.config;
    let Ok(size) = Size::new(config.maglev_size) else { return Vec::new() };
    let mut slices: BTreeMap<u32, (u32, bool, Vec<String>)> = BTreeMap::new();
    for (key, master) in masters(node) {
        let by_maglev = master.algorithm == Algorithm::Maglev as u8 && master.count > 0;
        if !by_maglev || !filter.takes_id(view, master.id) {
            continue;
        }
        let scope = if key.scope() == Scope::Internal { "/i" } else { "" };
        let at = format!("{}/{}{scope}", socket(key.address, key.port), protocol(key.protocol));
        let entry = slices.entry(master.maglev);
        entry.or_insert((master.id, master.has(flag::LOCAL), Vec::new())).2.push(at);
    }
    let mut rows = Vec::new();
    for (slice, (service, is_local, frontends)) in slices {
        let start = slice as usize * size.get() as usize;
        let entries =
            node.tables.maglev.get(start..start + size.get() as usize).unwrap_or_default();
        let mut counts: BTreeMap<BackendId, u32> = BTreeMap::new();
        for id in entries {
            *counts.entry(*id).or_default() += 1;
        }
        let ids: Vec<BackendId> = counts.keys().copied().collect();
        for (id, slots) in &counts {
            rows.push(MaglevRow {
                node: node.name.clone(),
                service: view.service(service),
                slice,
                frontends: frontends.clone(),
                policy: if is_local { "Local" } else { "Cluster" },
                id: *id,
                backend: view.backend(*id),
                slots: *slots,
                size: size.get(),
                share: f64::from(*slots) / f64::from(size.get()),
                moves: filter
                    .service
                    .is_some()
                    .then(|| without(node, entries, &ids, *id, size, config.hash_seed)),
            });
        }
    }
    rows
}

/// What moves when one of the backends goes.
fn without(
    node: &NodeView,
    entries: &[BackendId],
    ids: &[BackendId],
    gone: BackendId,
    size: Size,
    seed: u32,
) -> Moves {
    let left: Vec<BackendId> = ids.iter().copied().filter(|id| *id != gone).collect();
    let names: Vec<String> =
        left.iter().map(|id| node.tables.backends.get(id).map(name).unwrap_or_default()).collect();
    let after = table(&names, size, seed);
    let mut moves = Moves { own: 0, others: 0 };
    for (slot, before) in entries.iter().enumerate() {
        let now = after.get(slot).and_then(|index| left.get(*index));
        if *before == gone {
            moves.own += 1;
        } else if now != Some(before) {
            moves.others += 1;
        }
    }
    moves
}

/// The name from which a backend's permutation is made.
fn name(backend: &Backend) -> String {
    let address = std::net::IpAddr::from(backend.address);
    format!("{address}:{}/{}", backend.port.get(), protocol(backend.protocol))
}

impl Row for MaglevRow {
    const TYPE: &'static str = "maglev";
    const HEAD: &'static [(&'static str, bool)] = &[
        ("SLICE", false),
        ("SERVICE", false),
        ("POLICY", false),
        ("BACKEND", false),
        ("SLOTS", false),
        ("SHARE", false),
        ("IF-GONE", false),
        ("FRONTENDS", true),
    ];

    fn lines(&self) -> Vec<Vec<String>> {
        let moves = match self.moves {
            Some(Moves { own, others }) => {
                let all = own + others;
                let percent = 100.0 * f64::from(all) / f64::from(self.size);
                format!("{all} slots move ({percent:.1} %): its {own}, and {others} of others")
            }
            None => "see --service".into(),
        };
        vec![vec![
            self.slice.to_string(),
            self.service.clone(),
            self.policy.to_owned(),
            self.backend.clone(),
            format!("{}/{}", self.slots, self.size),
            format!("{:.1} %", 100.0 * self.share),
            moves,
            self.frontends.join(","),
        ]]
    }
}
