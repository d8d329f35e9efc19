//! What a node's tables say of one port of a service.

use std::collections::BTreeSet;
use std::net::IpAddr;

use twinpath_core::address::Address;
use twinpath_core::backend::{BackendId, BackendState};
use twinpath_core::bytes::Be16;
use twinpath_core::service::{
    Algorithm, Forwarding, Member, Scope, Service, ServiceId, ServiceKey, flag,
};
use twinpath_core::tuple::Tuple;

use super::infrastructure::key as range_key;
use super::part::Part;
use super::slices::SliceOwner;
use super::{BackendKey, Options, Planner, Site, entry, key, number};
use crate::model::{
    Client, Frontend, FrontendKind, PortName, ServicePort, TrafficPolicy, unspecified,
};

/// The backends that take new connections under a policy.
#[derive(Default)]
struct List {
    backends: Vec<(BackendId, BackendKey)>,
    only_elsewhere: bool,
    /// Where its slice of the Maglev table is, if it has one.
    slice: u32,
}

/// The lists of a port in one family.
#[derive(Default)]
struct Lists {
    cluster: List,
    local: List,
}

impl Lists {
    const fn of(&self, policy: TrafficPolicy) -> &List {
        match policy {
            TrafficPolicy::Cluster => &self.cluster,
            TrafficPolicy::Local => &self.local,
        }
    }

    const fn of_mut(&mut self, policy: TrafficPolicy) -> &mut List {
        match policy {
            TrafficPolicy::Cluster => &mut self.cluster,
            TrafficPolicy::Local => &mut self.local,
        }
    }
}

/// How a backend is chosen at a frontend.
fn algorithm(port: &ServicePort, kind: FrontendKind, options: &Options) -> Algorithm {
    match kind {
        // There is one.
        FrontendKind::HostPort => Algorithm::Random,
        FrontendKind::ClusterIp => port.algorithm.unwrap_or(options.algorithm),
        _ => port.algorithm.unwrap_or(options.external_algorithm),
    }
}

/// The frontends of one family with the scopes that they have, and the policy that holds there.
fn scopes(
    port: &ServicePort,
    is_ipv4: bool,
) -> impl Iterator<Item = (&Frontend, Scope, TrafficPolicy)> {
    let family = port.frontends.iter().filter(move |f| f.address.is_ipv4() == is_ipv4);
    family.flat_map(move |frontend| {
        Scope::ALL.into_iter().filter_map(move |scope| {
            let client = match scope {
                Scope::Internal => Client::Internal,
                Scope::External => Client::External,
            };
            Some((frontend, scope, port.policy(frontend.kind, client)?))
        })
    })
}

/// The policies under which a port chooses by Maglev, in one family.
fn by_maglev(port: &ServicePort, is_ipv4: bool, options: &Options) -> BTreeSet<TrafficPolicy> {
    scopes(port, is_ipv4)
        .filter(|(frontend, ..)| algorithm(port, frontend.kind, options) == Algorithm::Maglev)
        .map(|(.., policy)| policy)
        .collect()
}

/// The slices of the Maglev table that a port has.
pub(super) fn slices(
    id: ServiceId,
    port: &ServicePort,
    options: &Options,
) -> impl Iterator<Item = SliceOwner> {
    [true, false].into_iter().flat_map(move |is_ipv4| {
        by_maglev(port, is_ipv4, options).into_iter().map(move |policy| (id, is_ipv4, policy))
    })
}

impl Planner {
    /// What one port of a service adds to the tables. Slices of the Maglev table are filled here, too.
    pub(crate) fn part(
        &mut self,
        part: &mut Part,
        site: &Site<'_>,
        name: &PortName,
        port: &ServicePort,
    ) {
        part.clear();
        for is_ipv4 in [true, false] {
            self.family(part, site, name, port, is_ipv4);
        }
        reserved(part, site, port);
        part.settle();
    }

    /// The same in one address family.
    fn family(
        &mut self,
        part: &mut Part,
        site: &Site<'_>,
        name: &PortName,
        port: &ServicePort,
        is_ipv4: bool,
    ) {
        let policies: BTreeSet<TrafficPolicy> =
            scopes(port, is_ipv4).map(|(.., policy)| policy).collect();
        if policies.is_empty() {
            return;
        }
        let id = number(&mut self.services, name);
        let lists = self.lists(part, site, name, port, is_ipv4, &policies);
        let lists = self.with_slices(lists, part, site, id, port, is_ipv4);
        let protocol = name.protocol.number();
        let forwarding = site.options.forwarding(port, name.protocol);

        for (frontend, scope, policy) in scopes(port, is_ipv4) {
            let list = lists.of(policy);
            let mut master = master(id, port, frontend, scope, list, forwarding, site.options);
            if policy == TrafficPolicy::Local {
                master.flags |= flag::LOCAL;
            }
            let member = |backend| Member { service: id, backend };
            let members = list.backends.iter().map(|(backend, _)| member(*backend));
            part.members.extend(members.map(|member| (member, master.members(scope))));
            for address in addresses(frontend, site) {
                let key = Address::from(address);
                let key = ServiceKey::frontend(key, Be16::new(frontend.port), protocol);
                let key = key.seen_from(scope);
                part.services.push((key, master));
                for (slot, (backend, _)) in (1..=u16::MAX).zip(&list.backends) {
                    part.services.push((key.slot(slot), Service::slot(*backend)));
                }
                if !is_of_a_node(address, site) {
                    part.addresses.push(Address::from(address));
                }
            }
        }
        if port.frontends.iter().any(|f| f.kind == FrontendKind::LoadBalancer) {
            part.ranges.extend(port.source_ranges.iter().map(|range| range_key(id, range)));
        }
        if forwarding == Forwarding::DsrIpip {
            self.terminations(part, site, name, port, is_ipv4);
        }
    }

    /// Its backends, and which of them take new connections.
    fn lists(
        &mut self,
        part: &mut Part,
        site: &Site<'_>,
        name: &PortName,
        port: &ServicePort,
        is_ipv4: bool,
        policies: &BTreeSet<TrafficPolicy>,
    ) -> Lists {
        let family = || port.endpoints.iter().filter(|e| e.address.is_ipv4() == is_ipv4);
        for endpoint in family().filter(|e| e.ready || e.is_draining()) {
            let key = key(endpoint, name.protocol);
            let id = number(&mut self.backends, &key);
            // Of one that drains another service may say that it is active.
            let state =
                if endpoint.ready { BackendState::Active } else { BackendState::Terminating };
            part.backends.push((id, entry(&key, state)));
        }
        let mut lists = Lists::default();
        for policy in policies {
            let eligible = port.eligible(*policy, is_ipv4, &site.place);
            let list = lists.of_mut(*policy);
            list.only_elsewhere = eligible.only_elsewhere;
            for endpoint in eligible.endpoints.into_iter().take(usize::from(u16::MAX)) {
                let key = key(endpoint, name.protocol);
                let id = number(&mut self.backends, &key);
                part.backends.push((id, entry(&key, BackendState::Active)));
                list.backends.push((id, key));
            }
        }
        lists
    }

    /// The lists with their slices. Where both have the same backends they share one.
    fn with_slices(
        &mut self,
        mut lists: Lists,
        part: &mut Part,
        site: &Site<'_>,
        id: ServiceId,
        port: &ServicePort,
        is_ipv4: bool,
    ) -> Lists {
        let policies = by_maglev(port, is_ipv4, site.options);
        let shared = policies.len() > 1 && lists.cluster.backends == lists.local.backends;
        for policy in policies {
            if shared && policy == TrafficPolicy::Local {
                lists.local.slice = lists.cluster.slice;
                continue;
            }
            let list = lists.of_mut(policy);
            let owner = (id, is_ipv4, policy);
            list.slice = self.slices.fill(owner, &list.backends, site.options);
            part.slices.push(owner);
        }
        lists
    }

    /// The backends of this node by what a tunnel tells: the address that it ends at, and the frontend. That
    /// of a node port has the unspecified address, as in the service table.
    fn terminations(
        &mut self,
        part: &mut Part,
        site: &Site<'_>,
        name: &PortName,
        port: &ServicePort,
        is_ipv4: bool,
    ) {
        let external = scopes(port, is_ipv4).filter(|(frontend, scope, _)| {
            *scope == Scope::External && frontend.kind != FrontendKind::HostPort
        });
        let ends: Vec<(IpAddr, u16)> =
            external.map(|(frontend, ..)| (frontend.address, frontend.port)).collect();
        let here = || {
            let here = port.endpoints.iter().filter(|e| e.is_on(site.node));
            here.filter(|e| e.address.is_ipv4() == is_ipv4)
        };
        // Of two backends with one address, one that is ready.
        for endpoint in here().filter(|e| e.ready).chain(here().filter(|e| e.is_draining())) {
            let backend = number(&mut self.backends, &key(endpoint, name.protocol));
            for (address, port) in &ends {
                let tuple = Tuple::new(
                    name.protocol.number(),
                    Address::from(endpoint.address),
                    Be16::new(0),
                    Address::from(*address),
                    Be16::new(*port),
                );
                part.terminations.push((tuple, backend));
            }
        }
    }
}

/// The ports on which the node is reached because of a port of a service.
fn reserved(part: &mut Part, site: &Site<'_>, port: &ServicePort) {
    part.ports.extend(port.health_check_port);
    for frontend in &port.frontends {
        let is_own = match frontend.kind {
            FrontendKind::NodePort | FrontendKind::HostPort => true,
            _ => site.addresses.own.contains(&frontend.address),
        };
        part.ports.extend(is_own.then_some(frontend.port));
    }
}

fn master(
    id: ServiceId,
    port: &ServicePort,
    frontend: &Frontend,
    scope: Scope,
    list: &List,
    forwarding: Forwarding,
    options: &Options,
) -> Service {
    let algorithm = algorithm(port, frontend.kind, options);
    let slice = if algorithm == Algorithm::Maglev { list.slice } else { 0 };
    let count = (0..=u16::MAX).nth(list.backends.len()).unwrap_or(u16::MAX);
    let has_ranges = frontend.kind == FrontendKind::LoadBalancer && !port.source_ranges.is_empty();
    let ranges = if has_ranges { flag::SOURCE_RANGES } else { 0 };
    let elsewhere = if list.only_elsewhere { flag::ELSEWHERE } else { 0 };
    let is_forwarded = scope == Scope::External && frontend.kind != FrontendKind::HostPort;
    let mut master = Service::master(id, count, algorithm, slice);
    master.affinity = port.affinity.unwrap_or(0);
    master.flags = ranges | elsewhere;
    master.forwarding = if is_forwarded { forwarding } else { Forwarding::Snat } as u8;
    master
}

/// The addresses under which a frontend is in the table.
fn addresses(frontend: &Frontend, site: &Site<'_>) -> Vec<IpAddr> {
    let is_ipv4 = frontend.address.is_ipv4();
    match frontend.kind {
        FrontendKind::HostPort if frontend.address == unspecified(is_ipv4) => site
            .addresses
            .own
            .iter()
            .filter(|address| address.is_ipv4() == is_ipv4)
            .copied()
            .collect(),
        _ => vec![frontend.address],
    }
}

/// Whether packets to this address on other ports are those of a node.
fn is_of_a_node(address: IpAddr, site: &Site<'_>) -> bool {
    address.is_unspecified() || address.is_loopback() || site.addresses.nodes.contains(&address)
}
