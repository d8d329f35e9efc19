//! What the two sides come to: flows given to other backends, drops that only one of them has.

use std::collections::BTreeMap;

use twinpath_control::model::PortName;
use twinpath_core::drop_reason::DropReason;
use twinpath_core::verdict::Status;

use super::compare::Judge;
use super::side::View;
use crate::replay::flows::Role;

/// Counts of both sides together.
#[derive(Debug, Default)]
pub struct Tally {
    /// Packets dropped only on the right, by reason.
    pub gained: BTreeMap<DropReason, u64>,
    /// Packets dropped only on the left, by reason.
    pub lost: BTreeMap<DropReason, u64>,
    services: BTreeMap<PortName, Flows>,
}

#[derive(Debug, Default)]
struct Flows {
    /// Given a backend by both sides.
    all: u64,
    /// Given another one by the right.
    moved: u64,
    /// By the backend of the left.
    of: BTreeMap<std::net::SocketAddr, u64>,
}

/// How the flows of a service moved from the left to the right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved<'a> {
    /// The service.
    pub service: &'a PortName,
    /// Flows that both sides gave a backend.
    pub flows: u64,
    /// Those that the right gave another one.
    pub moved: u64,
    /// The fewest that had to move: those whose backend is gone, or, if that is more, the share of
    /// backends that are new.
    pub least: u64,
}

impl Tally {
    /// Counts a packet.
    pub(super) fn count(&mut self, left: &View<'_>, right: &View<'_>) {
        match (left.outcome.reason, right.outcome.reason) {
            (None, Some(reason)) => *self.gained.entry(reason).or_default() += 1,
            (Some(reason), None) => *self.lost.entry(reason).or_default() += 1,
            _ => {}
        }
        let Some(made) = left.outcome.made else { return };
        if left.outcome.role != Some(Role::Request)
            || !matches!(made.decision.status(), Status::New | Status::Reopened)
        {
            return;
        }
        let (Some(service), Some(a), Some(b)) = (left.service(), left.backend(), right.backend())
        else {
            return;
        };
        if !self.services.contains_key(service) {
            self.services.insert(service.clone(), Flows::default());
        }
        let Some(flows) = self.services.get_mut(service) else { return };
        flows.all = flows.all.wrapping_add(1);
        let socket = std::net::SocketAddr::new(a.address, a.port);
        *flows.of.entry(socket).or_default() += 1;
        if (a.address, a.port) != (b.address, b.port) {
            flows.moved = flows.moved.wrapping_add(1);
        }
    }

    /// By service, those with flows.
    pub(super) fn moved(&self, judge: &Judge) -> Vec<Moved<'_>> {
        let moved = self.services.iter().map(|(service, flows)| {
            let (left, right) = (judge.left.backends(service), judge.right.backends(service));
            let gone = flows
                .of
                .iter()
                .filter(|(backend, _)| right.is_some_and(|right| !right.contains(backend)));
            let gone: u64 = gone.map(|(_, count)| count).sum();
            let new = match (left, right) {
                (Some(left), Some(right)) => {
                    let new = right.difference(left).count() as u64;
                    flows.all.saturating_mul(new) / (right.len().max(1) as u64)
                }
                _ => 0,
            };
            Moved { service, flows: flows.all, moved: flows.moved, least: gone.max(new) }
        });
        moved.collect()
    }
}
