//! What nodes tell load balancers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::State;
use crate::objects::ObjectName;

/// What a node tells on a health-check port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// Of which service.
    pub service: ObjectName,
    /// How many addresses on this node are ready on some port of the service. Those that are going do
    /// not count, though they take connections where nobody else does: the load balancer should look
    /// for another node in time.
    pub local_ready: usize,
}

impl HealthCheck {
    /// The status of the HTTP answer: 200 where clients are served, else 503.
    pub const fn status(&self) -> u16 {
        if self.local_ready > 0 { 200 } else { 503 }
    }
}

impl State {
    /// What this node tells on each health-check port, host order.
    pub fn health_checks(&self, node: &str) -> BTreeMap<u16, HealthCheck> {
        let mut ready: BTreeMap<u16, (&ObjectName, BTreeSet<IpAddr>)> = BTreeMap::new();
        for (name, port) in &self.services {
            let Some(number) = port.health_check_port else { continue };
            let (_, addresses) = ready.entry(number).or_insert((&name.service, BTreeSet::new()));
            let here = port.endpoints.iter().filter(|e| e.ready && e.is_on(node));
            addresses.extend(here.map(|e| e.address));
        }
        let check = |(service, addresses): (&ObjectName, BTreeSet<IpAddr>)| HealthCheck {
            service: service.clone(),
            local_ready: addresses.len(),
        };
        ready.into_iter().map(|(number, found)| (number, check(found))).collect()
    }
}
