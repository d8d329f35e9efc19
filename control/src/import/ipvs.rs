//! Virtual servers, as `ipvsadm -Sn` prints them.
//!
//! They have neither names nor kinds, so:
//!
//! | a virtual server | is taken for |
//! |---|---|
//! | on an address that has only ports of 30000 to 32767 | a node port, the address being one of the node |
//! | on a public address, with what one private address has | an external address of that service |
//! | on any other address | a port of the service that has this cluster address, and is named after it |
//!
//! A node port belongs to the service whose port has the same real servers, if there is one such. A real
//! server of weight 0 drains.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::build::{Cluster, Port, Service, add};
use super::{Imported, count, some};
use crate::model::Protocol;
use crate::objects::ObjectName;

mod line;

pub(super) use line::is_service;
use line::{Line, Real, Virtual};

/// Where clusters take node ports from.
const NODE_PORTS: std::ops::RangeInclusive<u16> = 30_000..=32_767;

/// Where a virtual server is.
type At = (Protocol, SocketAddr);

/// A virtual server.
#[derive(Clone, Debug, Default, PartialEq)]
struct Server {
    /// The seconds of affinity.
    affinity: Option<u32>,
    /// Its real servers, with weights.
    reals: BTreeMap<SocketAddr, u32>,
}

/// What was read beside servers.
#[derive(Debug, Default)]
struct Rest {
    broken: Vec<usize>,
    marks: usize,
    schedulers: BTreeSet<String>,
    direct: usize,
    weighted: bool,
    orphans: usize,
}

/// Reads the virtual servers of a node of this name. `file` is the name of the text.
pub fn import(file: &str, text: &str, node: &str) -> Imported {
    let mut rest = Rest::default();
    let servers = servers(text, &mut rest);
    let reals: BTreeSet<_> = servers.values().flat_map(|server| server.reals.keys()).collect();
    let mut notes = vec![format!(
        "virtual servers of IPVS: {} with {}",
        count(servers.len(), "virtual server"),
        count(reals.len(), "real server"),
    )];
    let mut cluster = Cluster::default();
    let alone = sort(&servers, &mut cluster);
    notes.push(format!("taken for: {}", cluster.counts()));
    notes.push(format!(
        "virtual servers have no names and no kinds: services are named after their addresses; addresses \
         with no ports but those from {} to {} are taken for those of the node, which is called {node}",
        NODE_PORTS.start(),
        NODE_PORTS.end(),
    ));
    if !alone.is_empty() {
        notes.push(format!(
            "{}: the service of the node port is not to be told from its real servers, so it has one of its own",
            some(&alone)
        ));
    }
    let objects = cluster.objects(file, node, &mut notes);
    notes.extend(rest.notes());
    if servers.is_empty() {
        notes.push("no virtual server was found; give the output of `ipvsadm -Sn`".into());
    }
    Imported { objects, notes }
}

fn servers(text: &str, rest: &mut Rest) -> BTreeMap<At, Server> {
    let mut servers: BTreeMap<At, Server> = BTreeMap::new();
    for (number, text) in (1_usize..).zip(text.lines()) {
        let text = text.trim().trim_start_matches('\u{feff}');
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        match line::line(text) {
            None => rest.broken.push(number),
            Some(Line::Mark) => rest.marks = rest.marks.saturating_add(1),
            Some(Line::Virtual(Virtual { at, scheduler, affinity })) => {
                servers.entry(at).or_default().affinity = affinity;
                rest.schedulers.extend(scheduler.filter(|name| name != "rr"));
            }
            Some(Line::Real(Real { at, to, weight, is_masqueraded })) => {
                let Some(server) = servers.get_mut(&at) else {
                    rest.orphans = rest.orphans.saturating_add(1);
                    continue;
                };
                server.reals.insert(to, weight);
                let others = server.reals.values().filter(|other| **other != 0);
                rest.weighted |= weight != 0 && others.clone().any(|other| *other != weight);
                rest.direct = rest.direct.saturating_add(usize::from(!is_masqueraded));
            }
        }
    }
    servers
}

/// Puts servers where they belong. Gives the node ports that have a service of their own.
fn sort(servers: &BTreeMap<At, Server>, cluster: &mut Cluster) -> BTreeSet<String> {
    let mut by_address: BTreeMap<IpAddr, BTreeMap<(Protocol, u16), &Server>> = BTreeMap::new();
    for ((protocol, end), server) in servers {
        by_address.entry(end.ip()).or_default().insert((*protocol, end.port()), server);
    }
    let of_node = |ports: &BTreeMap<(Protocol, u16), &Server>| {
        ports.keys().all(|(_, port)| NODE_PORTS.contains(port))
    };
    let (nodes, others): (Vec<_>, Vec<_>) =
        by_address.iter().partition(|(_, ports)| of_node(ports));
    for (address, ports) in &others {
        let same = |(other, others): &&(&IpAddr, &BTreeMap<_, _>)| {
            is_private(**other)
                && other.is_ipv4() == address.is_ipv4()
                && others == ports
                && ports.values().all(|server| !server.reals.is_empty())
        };
        let mut owners = others.iter().filter(same).map(|(owner, _)| **owner);
        let owner = owners.next().filter(|_| owners.next().is_none());
        if is_private(**address) {
            let service = cluster.services.entry(name(**address)).or_default();
            add(&mut service.cluster, **address);
            fill(service, ports);
        } else {
            let service = cluster.services.entry(name(owner.unwrap_or(**address))).or_default();
            add(&mut service.external, **address);
            fill(service, ports);
        }
    }
    let mut alone = BTreeSet::new();
    for (address, ports) in nodes {
        if !address.is_loopback() {
            cluster.node_addresses.insert(*address);
        }
        for ((protocol, number), server) in ports {
            node_port(cluster, (*protocol, *number), server, address.is_ipv6(), &mut alone);
        }
    }
    alone
}

fn node_port(
    cluster: &mut Cluster,
    (protocol, number): (Protocol, u16),
    server: &Server,
    is_ipv6: bool,
    alone: &mut BTreeSet<String>,
) {
    let ends: BTreeMap<SocketAddr, bool> = ends(server).collect();
    let mut found = Vec::new();
    for (name, service) in &cluster.services {
        for ((port_name, other), port) in &service.ports {
            if *other == protocol && port.endpoints == ends && !ends.is_empty() {
                found.push((name.clone(), port_name.clone(), port.node_port));
            }
        }
    }
    // On another address of the node it was met before.
    if found.iter().any(|(_, _, known)| *known == Some(number)) {
        return;
    }
    let name = ObjectName::new("default", &format!("node-port-{number}"));
    let (name, port_name) = match found.as_slice() {
        [(name, port_name, None)] => (name.clone(), port_name.clone()),
        _ => {
            alone.insert(format!("{number}/{protocol}"));
            (name, port_name(protocol, number))
        }
    };
    let service = cluster.services.entry(name).or_default();
    let new = || Port { is_ipv6, ..Port::default() };
    let port = service.ports.entry((port_name, protocol)).or_insert_with(new);
    port.node_port = Some(number);
    port.endpoints.extend(ends);
    service.affinity = service.affinity.or(server.affinity);
}

fn fill(service: &mut Service, ports: &BTreeMap<(Protocol, u16), &Server>) {
    for ((protocol, number), server) in ports {
        let port = service.ports.entry((port_name(*protocol, *number), *protocol)).or_default();
        port.number = Some(*number);
        port.endpoints.extend(ends(server));
        service.affinity = service.affinity.or(server.affinity);
    }
}

fn ends(server: &Server) -> impl Iterator<Item = (SocketAddr, bool)> {
    server.reals.iter().map(|(end, weight)| (*end, *weight > 0))
}

/// `service-10-96-0-10`.
fn name(address: IpAddr) -> ObjectName {
    let text = address.to_string().replace(['.', ':'], "-");
    ObjectName::new("default", &format!("service-{text}"))
}

/// `tcp-80`.
fn port_name(protocol: Protocol, number: u16) -> String {
    format!("{}-{number}", protocol.to_string().to_ascii_lowercase())
}

/// Whether an address is used within a network only.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            // Also those shared by a provider's customers (RFC 6598).
            ip.is_private() || ip.is_link_local() || (first == 100 && second & 0xc0 == 64)
        }
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

impl Rest {
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if !self.schedulers.is_empty() {
            notes.push(format!(
                "schedulers other than rr ({}): connections are spread evenly here",
                some(&self.schedulers)
            ));
        }
        if self.weighted {
            notes.push("real servers of one virtual server have different weights: connections are spread evenly here".into());
        }
        if self.direct > 0 {
            let servers = count(self.direct, "real server");
            notes.push(format!(
                "{servers} by direct routing or a tunnel: taken as if addresses were translated"
            ));
        }
        if self.marks > 0 {
            notes.push(format!(
                "ignored: {} of firewall marks, which are not services",
                count(self.marks, "line")
            ));
        }
        if self.orphans > 0 {
            notes.push(format!(
                "ignored: {} whose virtual server is not in the text",
                count(self.orphans, "real server")
            ));
        }
        if let Some(first) = self.broken.first() {
            let lines = count(self.broken.len(), "line");
            notes.push(format!("not understood: {lines}, the first is line {first}; give the output of `ipvsadm -Sn`, with -n, so that it has numbers"));
        }
        notes
    }
}

#[cfg(test)]
mod tests;
