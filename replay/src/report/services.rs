//! The sums of each service, and how its connections were shared out.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::IpAddr;

use serde::Serialize;
use twinpath_control::model::{Client, PortName, Protocol, ServicePort};
use twinpath_core::backend::BackendId;
use twinpath_core::drop_reason::DropReason;
use twinpath_core::parse::{Parsed, parse};
use twinpath_core::verdict::Status;
use twinpath_sim::frame::Frame;

use super::share::{Expected, expected};
use super::{Context, Seen, json, table};
use crate::replay::flows::Role;
use crate::replay::outcome::{Made, Verdict};
use crate::worlds::Sender;

/// Service ports, by name.
#[derive(Debug, Default)]
pub struct Services {
    services: BTreeMap<PortName, Service>,
    frame: Frame,
}

#[derive(Debug, Default)]
struct Service {
    requests: u64,
    replies: u64,
    connections: u64,
    drops: BTreeMap<DropReason, u64>,
    backends: BTreeMap<BackendId, u64>,
    /// Connections by who they could be given to, which depends on where they come from.
    groups: BTreeMap<Group, u64>,
}

/// What decides who may be given a connection: the node that balances it, the frontend that it came to,
/// and whether its client is outside.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    node: usize,
    /// The node's name; the order is that of the numbers.
    name: String,
    frontend: (IpAddr, u16),
    outside: bool,
}

/// A backend's part.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// The backend.
    pub backend: BackendId,
    /// How many connections it was given.
    pub connections: u64,
    /// How many of all.
    pub share: f64,
    /// What was to be expected if every backend that may is as likely; `None` where clients stay with
    /// their backend, which makes connections depend on each other.
    pub expected: Option<Expected>,
}

impl Services {
    /// Adds a packet.
    pub(super) fn count(&mut self, context: &Context<'_>, seen: &Seen<'_>) {
        let outcome = seen.outcome;
        let request = match outcome.role {
            Some(Role::Request) => true,
            Some(Role::Reply | Role::Orphan) => false,
            Some(Role::Plain) | None => return,
        };
        let Some(name) = table::service(context, seen, seen.sent().as_ref()) else { return };
        if !self.services.contains_key(name) {
            self.services.insert(name.clone(), Service::default());
        }
        let Some(service) = self.services.get_mut(name) else { return };
        let ways = if request { &mut service.requests } else { &mut service.replies };
        *ways = ways.saturating_add(1);
        if let Some(reason) = outcome.reason {
            *service.drops.entry(reason).or_default() += 1;
        }
        let Some(made) = outcome.made.filter(|made| opens(made) && request) else { return };
        if outcome.verdict == Verdict::Dropped {
            return;
        }
        service.connections = service.connections.saturating_add(1);
        *service.backends.entry(made.decision.backend).or_default() += 1;
        seen.packet.fill(&mut self.frame);
        if let Ok(Some(parsed)) = parse(&self.frame) {
            *service.groups.entry(group(&made, &parsed, seen)).or_default() += 1;
        }
    }

    /// How the connections of a service were shared out, those that were given none included.
    fn shares(context: &Context<'_>, ids: &Ids, name: &PortName, service: &Service) -> Vec<Share> {
        let port = context.state.services.get(name);
        let affine = port.is_none_or(|port| port.affinity.is_some());
        // Who could be given the connections of each group, and how likely each.
        let mut chances: BTreeMap<BackendId, Vec<(u64, f64)>> = BTreeMap::new();
        for (group, count) in &service.groups {
            let ids =
                port.map(|port| eligible(context, ids, name, port, group)).unwrap_or_default();
            let p = 1.0 / ids.len().max(1) as f64;
            for id in ids {
                let groups = chances.entry(id).or_default();
                match groups.iter_mut().find(|(_, known)| *known == p) {
                    Some((all, _)) => *all += count,
                    None => groups.push((*count, p)),
                }
            }
        }
        let mut ids: Vec<BackendId> = service.backends.keys().copied().collect();
        ids.extend(chances.keys().filter(|id| !service.backends.contains_key(id)));
        ids.sort_unstable();
        let shares = ids.into_iter().map(|backend| {
            let connections = service.backends.get(&backend).copied().unwrap_or_default();
            let groups = chances.get(&backend).map(Vec::as_slice).unwrap_or_default();
            Share {
                backend,
                connections,
                share: connections as f64 / service.connections.max(1) as f64,
                expected: (!affine).then(|| expected(groups)),
            }
        });
        shares.collect()
    }

    /// A line for each, and one for each of their backends.
    pub(super) fn table(
        &self,
        context: &Context<'_>,
        output: &mut dyn Write,
        heads: bool,
    ) -> io::Result<()> {
        if heads {
            writeln!(
                output,
                "{:<28}  {:>8}  {:>8}  {:>11}  {:>7}  REASONS",
                "SERVICE", "REQUESTS", "REPLIES", "CONNECTIONS", "DROPPED"
            )?;
        }
        for (name, service) in &self.services {
            let reasons: Vec<String> =
                service.drops.iter().map(|(reason, n)| format!("{n} {}", reason.name())).collect();
            writeln!(
                output,
                "{:<28}  {:>8}  {:>8}  {:>11}  {:>7}  {}",
                name.to_string(),
                service.requests,
                service.replies,
                service.connections,
                service.drops.values().sum::<u64>(),
                if reasons.is_empty() { "-".into() } else { reasons.join(", ") },
            )?;
        }
        if self.services.values().all(|service| service.connections == 0) {
            return Ok(());
        }
        writeln!(output)?;
        if heads {
            writeln!(
                output,
                "{:<28}  {:<36}  {:>11}  {:>6}  {:>8}  95% BAND",
                "SERVICE", "BACKEND", "CONNECTIONS", "SHARE", "EXPECTED"
            )?;
        }
        let ids = ids(context);
        for (name, service) in &self.services {
            for share in Self::shares(context, &ids, name, service) {
                let backend = context.names.backends.get(&share.backend);
                let backend =
                    backend.map_or_else(|| share.backend.to_string(), table::backend_words);
                write!(
                    output,
                    "{:<28}  {backend:<36}  {:>11}  {:>5.1}%  ",
                    name.to_string(),
                    share.connections,
                    share.share * 100.0
                )?;
                match share.expected {
                    None => writeln!(output, "{:>8}  - (clients stay with their backend)", "-")?,
                    Some(expected) => {
                        let part = expected.mean / service.connections.max(1) as f64 * 100.0;
                        let (low, high) = (expected.low, expected.high);
                        let outside = !(low..=high).contains(&share.connections);
                        let mark = if outside { "  OUTSIDE" } else { "" };
                        writeln!(output, "{part:>7.1}%  {low}-{high}{mark}")?;
                    }
                }
            }
        }
        Ok(())
    }

    /// A JSON line for each.
    pub(super) fn lines(&self, context: &Context<'_>, output: &mut dyn Write) -> io::Result<()> {
        let ids = ids(context);
        for (name, service) in &self.services {
            let connections = service.connections.max(1) as f64;
            let backends =
                Self::shares(context, &ids, name, service).into_iter().filter_map(|share| {
                    Some(Part {
                        backend: json::backend_of(context, share.backend)?,
                        connections: share.connections,
                        share: share.share,
                        expected: share.expected.map(|expected| Band {
                            share: expected.mean / connections,
                            low: expected.low,
                            high: expected.high,
                        }),
                    })
                });
            let line = Line {
                v: json::VERSION,
                kind: "service",
                service: json::service_named(context, name),
                requests: service.requests,
                replies: service.replies,
                connections: service.connections,
                drops: service.drops.iter().map(|(reason, n)| (reason.name(), *n)).collect(),
                backends: backends.collect(),
            };
            serde_json::to_writer(&mut *output, &line)?;
            output.write_all(b"\n")?;
        }
        Ok(())
    }
}

/// Whether a connection was given to a backend by this.
fn opens(made: &Made) -> bool {
    made.decision.service != 0
        && made.decision.backend != 0
        && matches!(made.decision.status(), Status::New | Status::Reopened)
}

fn group(made: &Made, parsed: &Parsed, seen: &Seen<'_>) -> Group {
    let tuple = &parsed.tuple;
    Group {
        node: made.node,
        name: seen.node(made.node).to_owned(),
        frontend: (tuple.destination.into(), tuple.destination_port.get()),
        outside: matches!(seen.outcome.sender, Some(Sender::Client(_))),
    }
}

/// Backends' numbers by their sockets.
type Ids = BTreeMap<(IpAddr, u16, Protocol), BackendId>;

fn ids(context: &Context<'_>) -> Ids {
    let backends = context.names.backends.iter();
    backends.map(|(id, known)| ((known.address, known.port, known.protocol), *id)).collect()
}

/// The backends that a connection could be given.
fn eligible(
    context: &Context<'_>,
    ids: &Ids,
    name: &PortName,
    port: &ServicePort,
    group: &Group,
) -> Vec<BackendId> {
    let (address, number) = group.frontend;
    let frontend = port.frontends.iter().find(|frontend| {
        frontend.port == number
            && (frontend.address == address || frontend.address.is_unspecified())
    });
    let client = if group.outside { Client::External } else { Client::Internal };
    let Some(policy) = frontend.and_then(|frontend| port.policy(frontend.kind, client)) else {
        return Vec::new();
    };
    let place = context.state.place(&group.name);
    let eligible = port.eligible(policy, address.is_ipv4(), &place);
    let endpoints = eligible.endpoints.iter();
    endpoints
        .filter_map(|endpoint| ids.get(&(endpoint.address, endpoint.port, name.protocol)).copied())
        .collect()
}

#[derive(Serialize)]
struct Line<'a> {
    v: u8,
    #[serde(rename = "type")]
    kind: &'static str,
    service: Option<json::Service<'a>>,
    requests: u64,
    replies: u64,
    connections: u64,
    drops: BTreeMap<&'static str, u64>,
    backends: Vec<Part<'a>>,
}

#[derive(Serialize)]
struct Part<'a> {
    backend: json::Backend<'a>,
    connections: u64,
    share: f64,
    expected: Option<Band>,
}

#[derive(Serialize)]
struct Band {
    share: f64,
    low: u64,
    high: u64,
}
