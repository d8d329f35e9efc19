//! What differs between the two ends of one packet.
//!
//! Of what differs, only that is told which nothing else explains: another backend is at another address,
//! on another node, maybe a hop further, and with other checksums, and all that is one difference.

use std::net::SocketAddr;

use twinpath_control::model::PortName;
use twinpath_control::tables::BackendName;
use twinpath_core::address::Address;
use twinpath_core::bytes::Be16;
use twinpath_core::drop_reason::DropReason;
use twinpath_core::parse::{Parsed, Transport, parse};
use twinpath_core::verdict::Status;
use twinpath_sim::cluster::Place;
use twinpath_sim::topology::{Owner, Topology};

use super::field::{Field, fields, is_sum, value};
use super::known::Known;
use super::side::View;
use crate::replay::outcome::Verdict;

/// A field that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which.
    pub field: Field,
    /// On the left.
    pub left: String,
    /// On the right.
    pub right: String,
    /// What kind of change it is, in words that are the same for all packets of one cause.
    pub says: String,
}

/// Said of a backend that the right side's cluster does not have, or has not ready.
pub const GONE: &str = "backend takes no packets right";
/// Said of one that only the right side's cluster has ready.
pub const NEW: &str = "backend takes packets only right";

/// Knows both clusters.
pub struct Judge {
    /// That of the left.
    pub left: Known,
    /// That of the right.
    pub right: Known,
    /// What nobody wants to hear of.
    pub ignored: Vec<Field>,
}

impl View<'_> {
    /// The service by the decision.
    pub fn service(&self) -> Option<&PortName> {
        self.names.services.get(&self.outcome.made?.decision.service)
    }

    /// The backend by the decision.
    pub fn backend(&self) -> Option<&BackendName> {
        self.names.backends.get(&self.outcome.made?.decision.backend)
    }

    /// Whether it got somewhere, as far as the world can tell.
    pub fn arrived(&self) -> bool {
        matches!(self.outcome.verdict, Verdict::Translated | Verdict::Forwarded)
            && self.outcome.sender.is_some()
    }

    /// Whether somebody received it, or the answer that its sender was given instead.
    fn ended(&self) -> bool {
        self.outcome.sender.is_some() && self.end.is_some_and(Place::is_end)
    }

    fn node(&self) -> Option<&str> {
        let node = self.outcome.made?.node;
        self.topology.nodes.get(node).map(|node| node.name.as_str())
    }

    fn status(&self) -> Option<Status> {
        self.outcome.made.map(|made| made.decision.status())
    }

    fn place(&self) -> Option<Spot<'_>> {
        self.end.map(|place| spot(place, self.topology))
    }
}

/// A place by name, so that places of two clusters can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spot<'a>(&'static str, &'a str, &'a str);

impl std::fmt::Display for Spot<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(kind, namespace, name) = self;
        match (namespace.is_empty(), name.is_empty()) {
            (_, true) => f.write_str(kind),
            (true, _) => write!(f, "{kind} {name}"),
            (false, _) => write!(f, "{kind} {namespace}/{name}"),
        }
    }
}

fn spot(place: Place, topology: &Topology) -> Spot<'_> {
    let node = |index: usize| topology.nodes.get(index).map_or("-", |node| node.name.as_str());
    let pod = |kind, index: usize| match topology.pods.get(index) {
        Some(pod) => Spot(kind, &pod.name.namespace, &pod.name.name),
        None => Spot(kind, "", "-"),
    };
    let client = |kind, index: usize| {
        Spot(kind, "", topology.clients.get(index).map_or("-", |client| client.name.as_str()))
    };
    match place {
        Place::PodOut(index) => pod("leaving pod", index),
        Place::PodIn(index) => pod("pod", index),
        Place::Wire(index) => Spot("link of node", "", node(index)),
        Place::Host(index) => Spot("node", "", node(index)),
        Place::Outside(index) => Spot("outside, by node", "", node(index)),
        Place::FromRouter(index) => Spot("from the router to node", "", node(index)),
        Place::Router => Spot("router", "", ""),
        Place::ClientOut(index) => client("leaving client", index),
        Place::ClientIn(index) => client("client", index),
    }
}

/// Bytes of an Ethernet frame that are its addresses: they say where, and that is compared by name.
const MACS: usize = 12;

impl Judge {
    /// What differs, the decisive field first; empty if nothing does. `sent` is the packet as captured.
    pub fn compare(
        &self,
        sent: Option<&Parsed>,
        left: &View<'_>,
        right: &View<'_>,
    ) -> Vec<Difference> {
        if is_same(left, right) {
            return Vec::new();
        }
        let mut found = self.all(sent, left, right);
        found.retain(|difference| !self.ignored.contains(&difference.field));
        found
    }

    /// The service that a packet has to do with on either side.
    pub fn service<'a>(
        &'a self,
        sent: Option<&Parsed>,
        left: &View<'a>,
        right: &View<'a>,
    ) -> Option<&'a PortName> {
        let decided =
            |view: &View<'a>| view.names.services.get(&view.outcome.made?.decision.service);
        decided(left)
            .or_else(|| decided(right))
            .or_else(|| self.left.service(&sent?.tuple, left.outcome.role))
            .or_else(|| self.right.service(&sent?.tuple, right.outcome.role))
    }

    fn all(&self, sent: Option<&Parsed>, left: &View<'_>, right: &View<'_>) -> Vec<Difference> {
        if left.blind || right.blind {
            return self.seen(sent, left, right);
        }
        let mut found = Vec::new();
        let (a, b) = (left.outcome, right.outcome);
        if a.verdict != b.verdict {
            let says = format!("{} left, {} right", ending(left), ending(right));
            put(&mut found, "verdict", a.verdict.name(), b.verdict.name(), says);
        }
        if a.reason != b.reason {
            let name = |reason: Option<DropReason>| reason.map_or("-", DropReason::name);
            let (a_name, b_name) = (name(a.reason), name(b.reason));
            // Beside a verdict that differs, it is part of what that says.
            let says = if a.verdict == b.verdict {
                format!("dropped by {a_name} left, by {b_name} right")
            } else {
                String::new()
            };
            put(&mut found, "drop_reason", a_name, b_name, says);
        }
        if !found.is_empty() || !left.arrived() || !right.arrived() {
            return found;
        }
        let other_backend = self.given(&mut found, left, right);
        if !other_backend {
            if left.node() != right.node() {
                let (a, b) = (left.node().unwrap_or("-"), right.node().unwrap_or("-"));
                put(&mut found, "node", a, b, "another node decides".into());
            }
            places(&mut found, left, right);
        }
        bytes(&mut found, sent, left, right, other_backend);
        if found.is_empty() && left.status() != right.status() {
            let name = |status: Option<Status>| status.map_or("-", Status::name);
            let (a, b) = (name(left.status()), name(right.status()));
            put(&mut found, "ct", a, b, format!("conntrack says {a} left, {b} right"));
        }
        found
    }

    /// The same where a world cannot tell what it decided: by what both have seen.
    fn seen(&self, sent: Option<&Parsed>, left: &View<'_>, right: &View<'_>) -> Vec<Difference> {
        let mut found = Vec::new();
        let (a, b) = (left.outcome, right.outcome);
        if left.ended() != right.ended() || a.sender.is_some() != b.sender.is_some() {
            let says = format!("{} left, {} right", ending(left), ending(right));
            put(&mut found, "verdict", a.verdict.name(), b.verdict.name(), says);
        } else if !left.ended() {
            if let (Some(a), Some(b)) = (a.reason, b.reason)
                && a != b
            {
                let says = format!("dropped by {} left, by {} right", a.name(), b.name());
                put(&mut found, "drop_reason", a.name(), b.name(), says);
            }
        } else {
            let told = left.service().is_some() && right.service().is_some();
            let other_backend = told && self.given(&mut found, left, right);
            if !other_backend {
                places(&mut found, left, right);
            }
            bytes(&mut found, sent, left, right, other_backend);
        }
        found
    }

    /// To whom it was given; whether to another backend.
    fn given(&self, found: &mut Vec<Difference>, left: &View<'_>, right: &View<'_>) -> bool {
        let text = |name: Option<&PortName>| name.map_or_else(|| "-".into(), ToString::to_string);
        if left.service() != right.service() {
            let (a, b) = (text(left.service()), text(right.service()));
            let says = format!("service {a} left, {b} right");
            put(found, "service", a, b, says);
        }
        match (left.backend(), right.backend()) {
            (Some(a), Some(b)) if key(a) != key(b) => {
                let says = self.another(left.service(), a, b);
                put(found, "backend", socket_of(a), socket_of(b), says);
                true
            }
            _ => false,
        }
    }

    /// Why a connection may be given another backend.
    fn another(
        &self,
        service: Option<&PortName>,
        left: &BackendName,
        right: &BackendName,
    ) -> String {
        let Some(service) = service else { return "another backend".into() };
        if !self.right.has(service, left) {
            GONE.into()
        } else if !self.left.has(service, right) {
            NEW.into()
        } else {
            "another of the backends that both sides have".into()
        }
    }
}

/// `DROPPED (SERVICE_BACKEND_NOT_FOUND)`.
fn ending(view: &View<'_>) -> String {
    let verdict = view.outcome.verdict.name();
    view.outcome
        .reason
        .map_or_else(|| verdict.to_owned(), |reason| format!("{verdict} ({})", reason.name()))
}

/// Whether there is nothing to find, which is so for most packets.
fn is_same(left: &View<'_>, right: &View<'_>) -> bool {
    let (a, b) = (left.outcome, right.outcome);
    let decided = (a.verdict, a.reason) == (b.verdict, b.reason)
        && left.service() == right.service()
        && left.backend().map(key) == right.backend().map(key);
    if !decided || !left.arrived() {
        return decided;
    }
    left.status() == right.status()
        && left.node() == right.node()
        && left.place() == right.place()
        && left.frame.bytes.get(MACS..) == right.frame.bytes.get(MACS..)
}

fn key(backend: &BackendName) -> (std::net::IpAddr, u16) {
    (backend.address, backend.port)
}

fn socket_of(backend: &BackendName) -> String {
    SocketAddr::new(backend.address, backend.port).to_string()
}

fn put(
    found: &mut Vec<Difference>,
    field: Field,
    left: impl Into<String>,
    right: impl Into<String>,
    says: String,
) {
    found.push(Difference { field, left: left.into(), right: right.into(), says });
}

/// Where the packet ended.
fn places(found: &mut Vec<Difference>, left: &View<'_>, right: &View<'_>) {
    let (a, b) = (left.place(), right.place());
    if a != b {
        let kind = |spot: Option<Spot<'_>>| spot.map_or("nowhere", |spot| spot.0);
        let says = if kind(a) == kind(b) {
            format!("it ends at another {}", kind(a))
        } else {
            format!("it ends at: {} left, {} right", kind(a), kind(b))
        };
        let name =
            |spot: Option<Spot<'_>>| spot.map_or_else(|| "-".into(), |spot| spot.to_string());
        put(found, "place", name(a), name(b), says);
    }
}

/// What the packets look like at their ends.
fn bytes(
    found: &mut Vec<Difference>,
    sent: Option<&Parsed>,
    left: &View<'_>,
    right: &View<'_>,
    other_backend: bool,
) {
    if left.frame.bytes.get(MACS..) == right.frame.bytes.get(MACS..) {
        return;
    }
    let (a, b) = match (parse(left.frame), parse(right.frame)) {
        (Ok(Some(a)), Ok(Some(b))) => (a, b),
        _ => {
            let length = |view: &View<'_>| format!("{} bytes", view.frame.bytes.len());
            return put(found, "payload", length(left), length(right), "payload differs".into());
        }
    };
    if !other_backend {
        ends(found, sent, (left, &a), (right, &b));
    }
    let before = found.len();
    let (in_left, in_right) = (fields(left.frame, &a), fields(right.frame, &b));
    let mut sums = Vec::new();
    let lengths = (left.frame.bytes.len(), right.frame.bytes.len());
    if lengths.0 != lengths.1 {
        let says = format!("{} bytes left, {} right", lengths.0, lengths.1);
        put(found, "length", lengths.0.to_string(), lengths.1.to_string(), says);
    }
    let get = |view: &View<'_>, range: std::ops::Range<usize>| {
        view.frame.bytes.get(range).unwrap_or_default().to_vec()
    };
    for (field, range) in &in_left {
        let other = in_right.iter().find(|(name, _)| name == field);
        let a = get(left, range.clone());
        let b = other.map(|(_, range)| get(right, range.clone())).unwrap_or_default();
        let hop = matches!(*field, "ip.ttl" | "ipv6.hlim");
        if a == b || (hop && other_backend) {
            continue;
        }
        let says = match (hop, a.first(), b.first()) {
            (true, Some(a), Some(b)) if a > b => format!("{field} is {} less right", a - b),
            (true, Some(a), Some(b)) => format!("{field} is {} less left", b - a),
            _ => format!("{field} differs"),
        };
        let difference =
            Difference { field, left: value(field, &a), right: value(field, &b), says };
        if is_sum(field) { sums.push(difference) } else { found.push(difference) }
    }
    // A sum differs where anything else does, which is no difference of its own.
    if found.len() == before && found.is_empty() {
        found.append(&mut sums);
    }
}

/// Addresses and ports, with what they are.
fn ends(
    found: &mut Vec<Difference>,
    sent: Option<&Parsed>,
    (left, a): (&View<'_>, &Parsed),
    (right, b): (&View<'_>, &Parsed),
) {
    let source = |parsed: &Parsed| (parsed.tuple.source, parsed.tuple.source_port);
    let destination = |parsed: &Parsed| (parsed.tuple.destination, parsed.tuple.destination_port);
    let mut end = |field, of: &dyn Fn(&Parsed) -> (Address, Be16)| {
        let (here, there) = (of(a), of(b));
        if here == there {
            return;
        }
        let as_sent = sent.map(of);
        let (a_class, b_class) =
            (class(here, as_sent, left.topology), class(there, as_sent, right.topology));
        let says = if a_class != b_class {
            format!("{field} is {a_class} left, {b_class} right")
        } else if here.0 == there.0 {
            format!("{field} is {a_class} with another port")
        } else {
            format!("{field} is {a_class}, another one")
        };
        put(found, field, text(here, a), text(there, b), says);
    };
    end("src", &source);
    end("dst", &destination);
}

/// Whose an address is.
fn class(end: (Address, Be16), sent: Option<(Address, Be16)>, topology: &Topology) -> &'static str {
    if sent == Some(end) {
        return "as sent";
    }
    match topology.owner(&end.0) {
        Some(Owner::Node(_)) => "a node's",
        Some(Owner::Pod(_)) => "a pod's",
        Some(Owner::Client(_)) => "a client's",
        Some(Owner::Router) => "the router's",
        None => "nobody's that is known",
    }
}

fn text((address, port): (Address, Be16), parsed: &Parsed) -> String {
    if matches!(parsed.transport, Transport::Tcp | Transport::Udp | Transport::Sctp) {
        SocketAddr::new(address.into(), port.get()).to_string()
    } else {
        address.to_string()
    }
}
