//! Entries of tables in words.

use std::fmt::Write as _;
use std::net::SocketAddr;

use twinpath_control::tables::Names;
use twinpath_core::affinity::Affinity;
use twinpath_core::backend::BackendId;
use twinpath_core::conntrack::Flow;
use twinpath_core::endpoint::Kind;
use twinpath_core::fragment::Datagram;
use twinpath_core::range::{NOT_MASQUERADED, RangeKey, SERVICE_RANGE};
use twinpath_core::seam::Nanos;
use twinpath_core::service::{Algorithm, Forwarding, Scope, Service, ServiceId, ServiceKey, flag};
use twinpath_core::state::{Direction, Phase};
use twinpath_core::tuple::Tuple;
use twinpath_core::verdict::{Exit, Verdict};
use twinpath_core::wire;

use super::log::Entry;

/// The name of a protocol, or its number.
pub fn protocol(number: u8) -> String {
    match number {
        wire::TCP => "tcp".into(),
        wire::UDP => "udp".into(),
        wire::SCTP => "sctp".into(),
        wire::ICMP => "icmp".into(),
        wire::ICMPV6 => "icmpv6".into(),
        other => format!("proto {other}"),
    }
}

/// A tuple as a packet on the command line is written.
pub fn tuple(tuple: &Tuple) -> String {
    let end = |address, port| SocketAddr::new(address, port);
    let source = end(tuple.source.into(), tuple.source_port.get());
    let destination = end(tuple.destination.into(), tuple.destination_port.get());
    format!("{} {source} > {destination}", protocol(tuple.protocol))
}

/// What a service's number stands for.
pub fn service(names: &Names, id: ServiceId) -> String {
    names.services.get(&id).map_or_else(|| format!("service {id}"), ToString::to_string)
}

/// What a backend's number stands for: `10.244.1.11:8080 (pod default/web-a on node-a)`.
pub fn backend(names: &Names, id: BackendId) -> String {
    let Some(name) = names.backends.get(&id) else { return format!("backend {id}") };
    let end = SocketAddr::new(name.address, name.port);
    match (&name.pod, &name.node) {
        (Some(pod), Some(node)) => format!("{end} (pod {pod} on {node})"),
        (Some(pod), None) => format!("{end} (pod {pod})"),
        (None, Some(node)) => format!("{end} (on {node})"),
        (None, None) => end.to_string(),
    }
}

/// The frontend of a key: `10.96.0.80:80/tcp`, of a node port `node port 30080/tcp`.
pub fn frontend(key: &ServiceKey) -> String {
    let protocol = protocol(key.protocol);
    let address: std::net::IpAddr = key.address.into();
    if address.is_unspecified() {
        return format!("node port {}/{protocol}", key.port.get());
    }
    format!("{}/{protocol}", SocketAddr::new(address, key.port.get()))
}

/// The key of an entry.
pub fn key(entry: &Entry) -> String {
    match entry {
        Entry::Service(key, _) if key.protocol == 0 => format!("{}, any port", key.address),
        Entry::Service(key, _) => {
            let address: std::net::IpAddr = key.address.into();
            let end = SocketAddr::new(address, key.port.get());
            let scope = match key.scope() {
                Scope::Internal => "internal",
                Scope::External => "external",
            };
            format!("{end}/{} {scope} slot {}", protocol(key.protocol), key.slot)
        }
        Entry::Backend(id, _) => id.to_string(),
        Entry::Maglev(index, _) => index.to_string(),
        Entry::Member(member, _) => {
            format!("service {} backend {}", member.service, member.backend)
        }
        Entry::Endpoint(address, _) => address.to_string(),
        Entry::Range(range, _) => format!("{} {}", owner(range), range.address),
        Entry::Termination(key, _) | Entry::Flow(key, _) => tuple(key),
        Entry::Reserved(index, _) => {
            let first = index.saturating_mul(64);
            format!("{index} (ports {first} to {})", first.saturating_add(63))
        }
        Entry::Limit(slot, _) => slot.to_string(),
        Entry::Affinity(client, _) => format!("{} service {}", client.address, client.service),
        Entry::Fragment(datagram, _) => format!(
            "{} > {} {} id 0x{:x}",
            datagram.source,
            datagram.destination,
            protocol(datagram.protocol),
            identification(datagram)
        ),
    }
}

/// The identification in host order; it is kept as it lies in memory, that of IPv4 in the first two bytes.
fn identification(datagram: &Datagram) -> u32 {
    if datagram.source.is_v4() {
        u16::from_be((datagram.id & 0xffff) as u16).into()
    } else {
        u32::from_be(datagram.id)
    }
}

fn owner(range: &RangeKey) -> String {
    match range.owner {
        NOT_MASQUERADED => "not masqueraded:".into(),
        SERVICE_RANGE => "service ranges:".into(),
        id => format!("ranges of service {id}:"),
    }
}

/// The value of an entry; `None` where there is none.
pub fn value(entry: &Entry, names: &Names, now: Nanos) -> Option<String> {
    Some(match entry {
        Entry::Service(key, value) => {
            let value = value.as_ref()?;
            match (key.protocol, key.slot) {
                (0, _) => "services live on this address".into(),
                (_, 0) => master(names, value),
                _ => format!("backend {}: {}", value.backend, backend(names, value.backend)),
            }
        }
        Entry::Backend(id, value) => {
            let value = value.as_ref()?;
            let state = if value.is_active() { "active" } else { "terminating" };
            format!("{}, {state}", backend(names, *id))
        }
        Entry::Maglev(_, id) | Entry::Termination(_, id) => {
            let id = (*id)?;
            format!("backend {id}: {}", backend(names, id))
        }
        Entry::Member(_, bits) => members((*bits)?),
        Entry::Endpoint(_, value) => {
            let value = value.as_ref()?;
            match value.kind() {
                Kind::Pod => format!("a pod of this node, behind device {}", value.device),
                Kind::Host => "this node".into(),
                Kind::Node => "another node".into(),
            }
        }
        Entry::Range(_, value) => {
            (*value)?;
            "within".into()
        }
        Entry::Reserved(_, word) => format!("0x{:016x}", (*word)?),
        Entry::Limit(_, value) => {
            value.as_ref()?;
            "a token bucket".into()
        }
        Entry::Flow(key, value) => flow(names, key, value.as_ref()?, now),
        Entry::Affinity(_, value) => {
            let id = affine(value.as_ref()?)?;
            format!("backend {id}: {}", backend(names, id))
        }
        Entry::Fragment(_, value) => {
            let value = value.as_ref()?;
            format!("ports {} > {}", value.source.get(), value.destination.get())
        }
    })
}

/// The backend of an affinity entry, however old it is.
fn affine(affinity: &Affinity) -> Option<BackendId> {
    affinity.backend(0, u32::MAX)
}

fn members(bits: u32) -> String {
    let words = [
        (Scope::Internal.bit(), "internal"),
        (Scope::External.bit(), "external"),
        (twinpath_core::service::Member::CLUSTER, "policy Cluster"),
        (twinpath_core::service::Member::LOCAL, "policy Local"),
    ];
    let found: Vec<&str> =
        words.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, word)| *word).collect();
    if found.is_empty() { "nothing".into() } else { found.join(", ") }
}

/// A master entry: `default/web:http/TCP, id 3, 2 backends, random`.
fn master(names: &Names, value: &Service) -> String {
    let mut text = format!("{}, id {}, ", service(names, value.id), value.id);
    let _ = match value.count {
        1 => write!(text, "1 backend"),
        count => write!(text, "{count} backends"),
    };
    if value.algorithm == Algorithm::Maglev as u8 {
        let _ = write!(text, ", Maglev slice {}", value.maglev);
    } else {
        text.push_str(", random");
    }
    match Forwarding::of(value) {
        Forwarding::Snat => {}
        Forwarding::DsrOption => text.push_str(", DSR by option"),
        Forwarding::DsrIpip => text.push_str(", DSR by IP in IP"),
        Forwarding::DsrGeneve => text.push_str(", DSR by Geneve"),
    }
    if value.affinity != 0 {
        let _ = write!(text, ", affinity {} s", value.affinity);
    }
    for (bit, word) in [
        (flag::SOURCE_RANGES, "source ranges"),
        (flag::LOCAL, "policy Local"),
        (flag::ELSEWHERE, "endpoints elsewhere"),
    ] {
        if value.has(bit) {
            let _ = write!(text, ", {word}");
        }
    }
    text
}

/// A way out of the node.
pub fn exit(exit: Exit) -> String {
    match exit.verdict() {
        Verdict::Deliver(device) => format!("to the pod behind device {device}"),
        Verdict::Forward(device) => format!("out by device {device}"),
        _ => "by the stack".into(),
    }
}

/// A half of a connection.
fn flow(names: &Names, key: &Tuple, flow: &Flow, now: Nanos) -> String {
    let direction = match flow.direction() {
        Direction::Original => "original",
        Direction::Reply => "reply",
    };
    let phase = match flow.phase() {
        Phase::Opening => "opening",
        Phase::Established => "established",
        Phase::Closing => "closing",
        Phase::Datagrams => "datagrams",
    };
    let mut text = format!("{direction}, {phase}, ");
    if flow.is_direct() {
        text.push_str("translated by another node (DSR), ");
    } else if flow.to == *key {
        text.push_str("as it is, ");
    } else {
        let _ = write!(text, "to {}, ", tuple(&flow.to));
    }
    text.push_str(&exit(flow.exit()));
    if flow.service != 0 {
        let _ = write!(text, ", {}", service(names, flow.service));
    }
    match flow.expires().checked_sub(now) {
        Some(left) if left > 0 => {
            let _ = write!(text, ", {} s left", left / 1_000_000_000);
        }
        _ => text.push_str(", expired"),
    }
    text
}
