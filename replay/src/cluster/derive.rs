//! A cluster derived from a capture, for those who have no dump: every server in it becomes a service.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use twinpath_control::model::{
    Endpoint, Frontend, FrontendKind, Node, Pod, PortName, Protocol, ServiceKind, ServicePort,
    State, Target,
};
use twinpath_control::objects::ObjectName;
use twinpath_control::tables::Options;
use twinpath_core::address::Address;
use twinpath_core::parse::{Parsed, Transport, parse};
use twinpath_core::tuple::Tuple;
use twinpath_core::wire::tcp;
use twinpath_sim::frame::Frame;
use twinpath_sim::map::WordMap;

use super::Cluster;
use crate::failure::Failure;
use crate::replay::feed::Feed;

/// Nodes, and backends of every service: one on each.
pub const NODES: usize = 3;
/// The namespace of derived services.
pub const NAMESPACE: &str = "derived";
/// Most servers and most services; the tables of a node have no room for many more.
const MAX_SERVERS: usize = 1_024;
const MAX_SERVICES: usize = 4_096;

/// IPv4 ranges that nobody's traffic should be in: for benchmarks (RFC 2544), shared (RFC 6598), and
/// reserved (RFC 1112). The first /16 that the capture has no address in is taken.
const RANGES_V4: [[u8; 2]; 4] = [[198, 18], [198, 19], [100, 127], [240, 18]];
/// IPv6 likewise: for documentation (RFC 3849), for benchmarks (RFC 5180), unique local (RFC 4193).
const RANGES_V6: [[u16; 3]; 3] = [[0x2001, 0xdb8, 0x7477], [0x2001, 0x2, 0], [0xfd74, 0x7477, 0]];

/// An address, port and protocol that serves.
type Server = (IpAddr, Protocol, u16);

/// What is known of which side of a flow serves.
#[derive(Clone, Copy)]
struct Side {
    /// The destination of the flow's first packet does, and not its source.
    destination: bool,
    /// A handshake has told.
    sure: bool,
}

/// Reads captures to their ends and makes a cluster in which every server that they show is a
/// service with three backends, and everybody else a client.
///
/// The server is the one who is sent a TCP SYN or answers one; else the side with the only port
/// below 1024; else, in TCP, the one with the lower port, and in UDP the one that was sent to first.
pub fn derive(feed: &mut Feed) -> Result<Cluster, Failure> {
    let mut flows: WordMap<Tuple, Side> = WordMap::default();
    let mut order: Vec<Tuple> = Vec::new();
    let mut addresses: BTreeSet<Address> = BTreeSet::new();
    let mut frame = Frame::default();
    // What is wrong with the file is for the replay to say, which comes to the same place.
    while let Ok(Some(packet)) = feed.next() {
        packet.fill(&mut frame);
        let Ok(Some(parsed)) = parse(&frame) else { continue };
        let tuple = parsed.tuple;
        if flows.get(&tuple).is_some_and(|side| side.sure || parsed.flags & tcp::SYN == 0) {
            continue;
        }
        addresses.extend([tuple.source, tuple.destination]);
        note(&mut flows, &mut order, &parsed);
    }
    let mut servers: Vec<Server> = Vec::new();
    let mut known = BTreeSet::new();
    for tuple in &order {
        let Some(side) = flows.get(tuple) else { continue };
        let (address, port) = if side.destination {
            (tuple.destination, tuple.destination_port.get())
        } else {
            (tuple.source, tuple.source_port.get())
        };
        let protocol =
            if tuple.protocol == Protocol::Tcp.number() { Protocol::Tcp } else { Protocol::Udp };
        let server = (IpAddr::from(address), protocol, port);
        if port != 0 && !address.is_link_scope() && known.insert(server) {
            servers.push(server);
        }
    }
    Ok(cluster(&servers, &addresses))
}

/// Learns from a packet which side of its flow serves.
fn note(flows: &mut WordMap<Tuple, Side>, order: &mut Vec<Tuple>, parsed: &Parsed) {
    if !matches!(parsed.transport, Transport::Tcp | Transport::Udp) {
        return;
    }
    let tuple = parsed.tuple;
    let handshake = match parsed.flags & (tcp::SYN | tcp::ACK) {
        tcp::SYN => Some(true),
        flags if flags == tcp::SYN | tcp::ACK => Some(false),
        _ => None,
    };
    let reverse = tuple.reverse();
    if let Some(side) = flows.get_mut(&reverse) {
        if let Some(destination) = handshake.filter(|_| !side.sure) {
            *side = Side { destination: !destination, sure: true };
        }
        return;
    }
    let (source, destination) = (tuple.source_port.get(), tuple.destination_port.get());
    let guess = match (source < 1024, destination < 1024) {
        (true, false) => false,
        (false, true) => true,
        _ if matches!(parsed.transport, Transport::Udp) => true,
        _ => destination <= source,
    };
    let side = Side { destination: handshake.unwrap_or(guess), sure: handshake.is_some() };
    if flows.insert(tuple, side).is_none() {
        order.push(tuple);
    }
}

fn cluster(servers: &[Server], addresses: &BTreeSet<Address>) -> Cluster {
    let mut state = State::default();
    let nodes: Vec<String> = (1..=NODES).map(|i| format!("node-{i}")).collect();
    for name in &nodes {
        state.nodes.insert(name.clone(), Node::default());
    }
    let ranges = Ranges::free_of(addresses);
    let mut places: BTreeMap<IpAddr, usize> = BTreeMap::new();
    let mut left_out = 0_usize;
    for (address, protocol, port) in servers {
        let next = places.len();
        let full = state.services.len() >= MAX_SERVICES;
        if full || (next >= MAX_SERVERS && !places.contains_key(address)) {
            left_out = left_out.wrapping_add(1);
            continue;
        }
        let place = *places.entry(*address).or_insert(next);
        let endpoints = nodes.iter().enumerate().map(|(node, name)| {
            let backend = ranges.address(address.is_ipv4(), place, node);
            let pod = ObjectName::new(NAMESPACE, &format!("server-{}-{}", place + 1, letter(node)));
            state.pods.entry(pod.clone()).or_insert_with(|| Pod {
                name: pod.clone(),
                addresses: vec![backend],
                node: name.clone(),
                host_network: false,
            });
            Endpoint { node: Some(name.clone()), pod: Some(pod), ..Endpoint::new(backend, *port) }
        });
        let service = ServicePort {
            kind: ServiceKind::ClusterIp,
            port: *port,
            target: Target::Number(*port),
            frontends: vec![Frontend {
                kind: FrontendKind::ClusterIp,
                address: *address,
                port: *port,
            }],
            endpoints: endpoints.collect(),
            ..ServicePort::default()
        };
        let name = PortName {
            service: ObjectName::new(NAMESPACE, &address.to_string()),
            port: port.to_string(),
            protocol: *protocol,
        };
        state.services.insert(name, service);
    }
    let notes = vec![note_of(&state, &ranges, left_out)];
    Cluster {
        state,
        source: "derived from the capture".into(),
        changes: Vec::new(),
        derived: true,
        options: Options::default(),
        notes,
    }
}

fn note_of(state: &State, ranges: &Ranges, left_out: usize) -> String {
    let count = state.services.len();
    let [a, b] = ranges.v4;
    let [c, d, e] = ranges.v6;
    let left_out = match left_out {
        0 => String::new(),
        more => format!(" ({more} more servers were left out and are plain traffic)"),
    };
    format!(
        "note: no -f, so the cluster is derived from the capture: {count} service{}{left_out}, each with {NODES} \
         backends on {NODES} nodes, in {a}.{b}.0.0/16 and {c:x}:{d:x}:{e:x}::/48; clients are pods on node-1",
        if count == 1 { "" } else { "s" },
    )
}

fn letter(node: usize) -> char {
    ['a', 'b', 'c'].get(node).copied().unwrap_or('x')
}

/// Where made-up addresses come from.
struct Ranges {
    v4: [u8; 2],
    v6: [u16; 3],
}

impl Ranges {
    /// Ranges with none of these addresses in them, or the last ones that there are to try.
    fn free_of(addresses: &BTreeSet<Address>) -> Self {
        let used: BTreeSet<IpAddr> = addresses.iter().map(|address| (*address).into()).collect();
        let mut ranges = Self { v4: RANGES_V4[0], v6: RANGES_V6[0] };
        for v4 in RANGES_V4 {
            ranges.v4 = v4;
            let start = Ipv4Addr::new(v4[0], v4[1], 0, 0);
            let end = Ipv4Addr::new(v4[0], v4[1], 255, 255);
            if used.range(IpAddr::from(start)..=IpAddr::from(end)).next().is_none() {
                break;
            }
        }
        for v6 in RANGES_V6 {
            ranges.v6 = v6;
            let [a, b, c] = v6;
            let start = Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0);
            let end = Ipv6Addr::new(a, b, c, !0, !0, !0, !0, !0);
            if used.range(IpAddr::from(start)..=IpAddr::from(end)).next().is_none() {
                break;
            }
        }
        ranges
    }

    /// The address of the backend of a server on a node.
    fn address(&self, is_ipv4: bool, place: usize, node: usize) -> IpAddr {
        let number = place.saturating_mul(16).saturating_add(node).saturating_add(1) as u16;
        let [high, low] = number.to_be_bytes();
        if is_ipv4 {
            let [a, b] = self.v4;
            Ipv4Addr::new(a, b, high, low).into()
        } else {
            let [a, b, c] = self.v6;
            Ipv6Addr::new(a, b, c, 0, 0, 0, 0, number).into()
        }
    }
}

#[cfg(test)]
mod tests;
