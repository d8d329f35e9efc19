//! How a service's connections were shared out among its backends, and how they should have been.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;

use twinpath_control::maglev;
use twinpath_control::model::{FrontendKind, Protocol, ServicePort};
use twinpath_control::tables::Names;
use twinpath_core::backend::BackendId;
use twinpath_core::service::{Algorithm, ServiceId};

use super::gather::{Gather, Group};
use crate::report::chance::{Band, OUTSIDE, band, normal};

/// Most services whose expected shares are worked out: those with the most connections.
const MAX_SERVICES: usize = 200;

/// A service's connections.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shares {
    /// Which service.
    pub service: ServiceId,
    /// How many.
    pub connections: u64,
    /// By backend; those that were given none, and could have been, are among them.
    pub backends: Vec<Share>,
    /// What is expected, in words; or why nothing is.
    pub how: String,
}

/// A backend's connections.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Share {
    /// Which backend.
    pub backend: BackendId,
    /// How many.
    pub connections: u64,
    /// What chance alone would have given it, in 95 of 100 cases.
    pub band: Option<Band>,
    /// Whether it is so far off that chance alone would not bring it there, though it brings one of twenty
    /// backends out of its band.
    pub is_far: bool,
}

impl Share {
    /// Whether it is outside of its band.
    pub(super) fn is_out(&self) -> bool {
        self.band.is_some_and(|band| band.excludes(self.connections))
    }
}

/// The services by their connections, most first. Those beyond the ones whose expectation is worked out
/// have none.
pub(super) fn shares(
    gather: &Gather<'_>,
    counts: &BTreeMap<(ServiceId, BackendId), u64>,
) -> Vec<Shares> {
    let mut services: BTreeMap<ServiceId, BTreeMap<BackendId, u64>> = BTreeMap::new();
    for ((service, backend), count) in counts {
        services.entry(*service).or_default().insert(*backend, *count);
    }
    let mut groups: BTreeMap<ServiceId, Vec<(Group, u64)>> = BTreeMap::new();
    for (group, count) in &gather.groups {
        groups.entry(group.service).or_default().push((*group, *count));
    }
    let mut order: Vec<(u64, ServiceId)> =
        services.iter().map(|(service, backends)| (backends.values().sum(), *service)).collect();
    order.sort_by_key(|(count, service)| (std::cmp::Reverse(*count), *service));
    let backends = backends(gather.names);
    let mut all: Vec<(Shares, Option<Chances>)> = Vec::new();
    for (connections, service) in order {
        let counts = services.remove(&service).unwrap_or_default();
        let groups = groups.remove(&service).unwrap_or_default();
        let chances = if all.len() < MAX_SERVICES {
            Chances::of(gather, &backends, &groups, connections)
        } else {
            Err("not worked out: it is among the services with the fewest connections".to_owned())
        };
        all.push(compared(service, connections, &counts, chances));
    }
    let judged: usize = all.iter().map(|(shares, _)| shares.judged()).sum();
    let far = OUTSIDE / judged.max(1) as f64;
    for (shares, chances) in &mut all {
        let Some(chances) = chances else { continue };
        for share in &mut shares.backends {
            share.is_far = chances.band(share.backend, far).excludes(share.connections);
        }
    }
    all.into_iter().map(|(shares, _)| shares).collect()
}

impl Shares {
    /// How many of its backends have a band.
    pub(super) fn judged(&self) -> usize {
        self.backends.iter().filter(|share| share.band.is_some()).count()
    }
}

fn compared(
    service: ServiceId,
    connections: u64,
    counts: &BTreeMap<BackendId, u64>,
    chances: Result<Chances, String>,
) -> (Shares, Option<Chances>) {
    let (chances, how) = match chances {
        Ok(chances) => {
            let how = chances.how.clone();
            (Some(chances), how)
        }
        Err(why) => (None, why),
    };
    let possible = chances.iter().flat_map(|chances| chances.of.keys());
    let all: BTreeSet<BackendId> = counts.keys().chain(possible).copied().collect();
    let share = |backend: BackendId| Share {
        backend,
        connections: counts.get(&backend).copied().unwrap_or_default(),
        band: chances.as_ref().map(|chances| chances.band(backend, OUTSIDE)),
        is_far: false,
    };
    let backends = all.into_iter().map(share).collect();
    (Shares { service, connections, backends, how }, chances)
}

/// Backends by what makes them the same.
type Backends = HashMap<(SocketAddr, Protocol), BackendId>;

fn backends(names: &Names) -> Backends {
    let key = |name: &twinpath_control::tables::BackendName| {
        (SocketAddr::new(name.address, name.port), name.protocol)
    };
    names.backends.iter().map(|(id, name)| (key(name), *id)).collect()
}

/// With which probability so many connections were given to a backend.
struct Chances {
    of: BTreeMap<BackendId, Vec<(u64, f64)>>,
    connections: u64,
    how: String,
}

impl Chances {
    fn of(
        gather: &Gather<'_>,
        backends: &Backends,
        groups: &[(Group, u64)],
        connections: u64,
    ) -> Result<Self, String> {
        let told: u64 = groups.iter().map(|(_, count)| count).sum();
        if told != connections {
            return Err("it is not known among which backends each connection could choose".into());
        }
        let mut of: BTreeMap<BackendId, Vec<(u64, f64)>> = BTreeMap::new();
        let (mut ways, mut sets) = (BTreeSet::new(), BTreeSet::new());
        for (group, count) in groups {
            let name = gather.names.services.get(&group.service);
            let port = name.and_then(|name| gather.state(group.epoch)?.services.get(name));
            let (Some(name), Some(port)) = (name, port) else {
                return Err("the service is not in the cluster's state".into());
            };
            if port.affinity.is_some() {
                return Err(
                    "it has client affinity: connections of one client go together, so that \
                            no share is expected of their number"
                        .into(),
                );
            }
            let (chances, way) = chances(gather, port, name.protocol, group)
                .ok_or("it is not known where its connections were balanced")?;
            ways.insert(way);
            let mut set = BTreeSet::new();
            for (address, chance) in chances {
                let Some(id) = backends.get(&(address, name.protocol)) else {
                    return Err("a backend of it has no number".into());
                };
                set.insert(*id);
                of.entry(*id).or_default().push((*count, chance));
            }
            sets.insert(set);
        }
        let mut how = ways.into_iter().collect::<Vec<_>>().join("; ");
        if sets.len() > 1 {
            how += "; which backends could be chosen differs by node, client or time, and is counted in";
        }
        Ok(Self { of, connections, how })
    }

    /// The band of a backend's connections. Exact where all of them had the same chance, which those that
    /// had none do not change.
    fn band(&self, backend: BackendId, outside: f64) -> Band {
        let parts = self.of.get(&backend).map_or(&[][..], Vec::as_slice);
        let n: u64 = parts.iter().map(|(count, _)| count).sum();
        let Some((_, first)) = parts.first() else { return band(self.connections, 0.0, outside) };
        if parts.iter().all(|(_, chance)| (chance - first).abs() < 1e-12) {
            return band(n, *first, outside);
        }
        let sum = |of: fn(f64) -> f64| -> f64 {
            parts.iter().map(|(count, chance)| *count as f64 * of(*chance)).sum()
        };
        normal(sum(|chance| chance), sum(|chance| chance * (1.0 - chance)), n, outside)
    }
}

/// The backends of a group with their chances, and how one is chosen.
fn chances(
    gather: &Gather<'_>,
    port: &ServicePort,
    protocol: Protocol,
    group: &Group,
) -> Option<(Vec<(SocketAddr, f64)>, &'static str)> {
    let state = gather.state(group.epoch)?;
    let node = gather.nodes.get(group.node)?;
    let policy = port.policy(group.frontend, group.client)?;
    let eligible = port.eligible(policy, group.is_ipv4, &state.place(node)).endpoints;
    let sockets: Vec<SocketAddr> =
        eligible.iter().map(|endpoint| SocketAddr::new(endpoint.address, endpoint.port)).collect();
    let options = &gather.options;
    let algorithm = match group.frontend {
        FrontendKind::HostPort => Algorithm::Random,
        FrontendKind::ClusterIp => port.algorithm.unwrap_or(options.algorithm),
        _ => port.algorithm.unwrap_or(options.external_algorithm),
    };
    if algorithm == Algorithm::Random {
        let chance = 1.0 / sockets.len().max(1) as f64;
        let way = "any backend at random, all equally likely";
        return Some((sockets.into_iter().map(|socket| (socket, chance)).collect(), way));
    }
    let names: Vec<String> =
        sockets.iter().map(|at| format!("{}:{}/{protocol}", at.ip(), at.port())).collect();
    let table = maglev::table(&names, options.maglev_size, options.hash_seed);
    let mut entries = vec![0_u64; sockets.len()];
    for index in &table {
        if let Some(count) = entries.get_mut(*index) {
            *count = count.wrapping_add(1);
        }
    }
    let of = table.len().max(1) as f64;
    let with = sockets.into_iter().zip(entries).map(|(at, count)| (at, count as f64 / of));
    Some((with.collect(), "by Maglev, in proportion to the entries of its table"))
}
