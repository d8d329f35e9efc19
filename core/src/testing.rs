//! What the tests of this crate share: packets written as text, and a node of plain maps.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::SocketAddr;

use crate::address::Address;
use crate::affinity::{Affinity, Client};
use crate::backend::{Backend, BackendId, BackendState};
use crate::bytes::{Be16, Pod};
use crate::checksum::{self, Fix};
use crate::conntrack::{Flow, LinkCache};
use crate::drop_reason::DropReason;
use crate::endpoint::Endpoint;
use crate::fragment::{Datagram, Ports};
use crate::hook::{Arrival, Hook, Work};
use crate::limit::Bucket;
use crate::parse::{Parsed, Transport};
use crate::range::RangeKey;
use crate::seam::{
    At, Config, Gap, Host, InsertError, Lookup, Maps, Metric, Nanos, Node, Packet, Put, Table,
};
use crate::service::{Algorithm, Member, Scope, Service, ServiceKey};
use crate::tuple::Tuple;
use crate::verdict::{Exit, IfIndex};
use crate::wire::{self, tcp};

/// `tcp 10.0.0.1:1 > 10.0.0.2:2` as a tuple.
pub(crate) fn tuple(text: &str) -> Tuple {
    let mut words = text.split(' ');
    let protocol = match words.next() {
        Some("tcp") => wire::TCP,
        Some("udp") => wire::UDP,
        Some("sctp") => wire::SCTP,
        Some("echo") => wire::ICMP, // of its family, see below
        other => panic!("protocol {other:?}"),
    };
    let mut end = || -> SocketAddr { words.next().unwrap().parse().unwrap() };
    let source = end();
    let mut rest = text.split(" > ");
    let destination: SocketAddr = rest.nth(1).unwrap().parse().unwrap();
    let protocol = match protocol {
        wire::ICMP if source.is_ipv6() => wire::ICMPV6,
        protocol => protocol,
    };
    Tuple::new(
        protocol,
        source.ip().into(),
        Be16::new(source.port()),
        destination.ip().into(),
        Be16::new(destination.port()),
    )
}

/// A parsed packet with this tuple.
pub(crate) fn packet(text: &str, flags: u8) -> Parsed {
    let tuple = tuple(text);
    let transport = match tuple.protocol {
        wire::TCP => Transport::Tcp,
        wire::UDP => Transport::Udp,
        wire::SCTP => Transport::Sctp,
        _ => Transport::Echo,
    };
    Parsed { tuple, l3: At(14), l4: At(34), transport, flags, ttl: 64, ..Parsed::default() }
}

/// A frame with right checksums.
pub(crate) fn frame(text: &str, flags: u8) -> Frame {
    frame_with(text, flags, b"payload")
}

/// The same with another payload. Of an echo, the port that is not zero is the identifier: the source's
/// of a request, the destination's of a reply.
pub(crate) fn frame_with(text: &str, flags: u8, payload: &[u8]) -> Frame {
    let tuple = tuple(text);
    let source = std::net::IpAddr::from(tuple.source);
    let (sport, dport) = (tuple.source_port.get(), tuple.destination_port.get());
    let builder = etherparse::PacketBuilder::ethernet2([2; 6], [4; 6]);
    let builder = match (source, std::net::IpAddr::from(tuple.destination)) {
        (std::net::IpAddr::V4(s), std::net::IpAddr::V4(d)) => {
            builder.ipv4(s.octets(), d.octets(), 64)
        }
        (std::net::IpAddr::V6(s), std::net::IpAddr::V6(d)) => {
            builder.ipv6(s.octets(), d.octets(), 64)
        }
        _ => panic!("mixed families"),
    };
    let mut bytes = Vec::new();
    if tuple.protocol == wire::TCP {
        let mut step = builder.tcp(sport, dport, 1, 1024);
        if flags & tcp::SYN != 0 {
            step = step.syn();
        }
        if flags & tcp::FIN != 0 {
            step = step.fin();
        }
        if flags & tcp::RST != 0 {
            step = step.rst();
        }
        if flags & tcp::ACK != 0 {
            step = step.ack(2);
        }
        step.write(&mut bytes, payload).unwrap();
    } else if tuple.protocol == wire::SCTP {
        let mut message = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
        message.extend([1, 2, 3, 4, 0, 0, 0, 0]); // verification tag, checksum
        message.extend(payload);
        let sum = crc32c(&message).to_le_bytes();
        message[8..12].copy_from_slice(&sum);
        builder.write(&mut bytes, etherparse::IpNumber::SCTP, &message).unwrap();
    } else if tuple.protocol == wire::UDP {
        builder.udp(sport, dport).write(&mut bytes, payload).unwrap();
    } else {
        let result = match (tuple.is_v4(), sport) {
            (true, 0) => builder.icmpv4_echo_reply(dport, 1).write(&mut bytes, payload),
            (true, id) => builder.icmpv4_echo_request(id, 1).write(&mut bytes, payload),
            (false, 0) => builder.icmpv6_echo_reply(dport, 1).write(&mut bytes, payload),
            (false, id) => builder.icmpv6_echo_request(id, 1).write(&mut bytes, payload),
        };
        result.unwrap();
    }
    Frame(bytes)
}

/// The checksum of SCTP (RFC 9260, appendix A), bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
    }
    !crc
}

/// A packet in a vector, its checksum complete.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Frame(pub(crate) Vec<u8>);

impl Packet for Frame {
    fn length(&self) -> usize {
        self.0.len()
    }

    fn load<T: Pod>(&self, at: At) -> Result<T, DropReason> {
        self.0.get(at.0..).and_then(T::read_from).ok_or(DropReason::InvalidPacket)
    }

    fn store<T: Pod>(&mut self, at: At, value: T) -> Result<(), DropReason> {
        let bytes = value.as_bytes();
        let place = self.0.get_mut(at.0..at.0 + bytes.len()).ok_or(DropReason::WriteError)?;
        place.copy_from_slice(bytes);
        Ok(())
    }

    fn route(&mut self, _: IfIndex, _: &Tuple, _: &LinkCache) -> bool {
        true
    }

    fn grow(&mut self, gap: Gap, bytes: usize) -> Result<(), DropReason> {
        let at = self.gap(gap);
        self.0.splice(at..at, std::iter::repeat_n(0, bytes));
        Ok(())
    }

    fn shrink(&mut self, gap: Gap, bytes: usize) -> Result<(), DropReason> {
        let at = self.gap(gap);
        self.0.drain(at..at + bytes);
        Ok(())
    }

    fn trim(&mut self, length: usize) -> Result<(), DropReason> {
        self.0.truncate(length);
        Ok(())
    }

    fn mend(&mut self, checksum: At, fix: Fix) -> Result<(), DropReason> {
        let field: u16 = self.load(checksum)?;
        self.store(checksum, fix.apply(field))
    }
}

impl Frame {
    fn gap(&self, gap: Gap) -> usize {
        match (gap, self.0[12]) {
            (Gap::Link, _) => 14,
            (Gap::Network, 0x08) => 34,
            (Gap::Network, _) => 54,
        }
    }

    /// The tuple, once the headers and both checksums have been found right by full recomputation.
    pub(crate) fn checked(&self) -> Tuple {
        let parsed = crate::parse::parse(self).unwrap().unwrap();
        let (l3, l4) = (parsed.l3.0, parsed.l4.0);
        if parsed.tuple.is_v4() {
            assert_eq!(checksum::sum(&self.0[l3..l3 + 20]), 0xffff, "IPv4 header checksum");
        }
        if parsed.tuple.protocol == wire::SCTP {
            let mut message = self.0[l4..].to_vec();
            message[8..12].fill(0);
            let sum = crc32c(&message).to_le_bytes();
            assert_eq!(self.0[l4 + 8..l4 + 12], sum, "checksum of SCTP");
            return parsed.tuple;
        }
        if parsed.tuple.protocol == wire::ICMP {
            assert_eq!(checksum::sum(&self.0[l4..]), 0xffff, "checksum of ICMP");
            return parsed.tuple;
        }
        let mut pseudo = Vec::new();
        let address = if parsed.tuple.is_v4() { 12..20 } else { 8..40 };
        pseudo.extend(&self.0[l3..][address]);
        pseudo.extend(((self.0.len() - l4) as u32).to_be_bytes());
        pseudo.extend([0, 0, 0, parsed.tuple.protocol]);
        pseudo.extend(&self.0[l4..]);
        assert_eq!(checksum::sum(&pseudo), 0xffff, "transport checksum");
        parsed.tuple
    }
}

/// A map with room for so many entries, which counts what is done with it.
pub(crate) struct Map<K, V> {
    pub(crate) entries: HashMap<K, V>,
    pub(crate) room: usize,
    pub(crate) reads: Cell<u32>,
    pub(crate) writes: u32,
}

impl<K: Pod + Eq + std::hash::Hash, V: Pod> Lookup<K, V> for Map<K, V> {
    fn get(&self, key: &K) -> Option<&V> {
        self.reads.set(self.reads.get() + 1);
        self.entries.get(key)
    }
}

impl<K: Pod + Eq + std::hash::Hash + Copy, V: Pod + Clone> Table<K, V> for Map<K, V> {
    fn insert(&mut self, key: &K, value: &V, put: Put) -> Result<(), InsertError> {
        self.writes += 1;
        let taken = self.entries.contains_key(key);
        if taken && put == Put::New {
            return Err(InsertError::Exists);
        }
        if !taken && self.entries.len() >= self.room {
            return Err(InsertError::Full);
        }
        self.entries.insert(*key, value.clone());
        Ok(())
    }

    fn remove(&mut self, key: &K) -> bool {
        self.writes += 1;
        self.entries.remove(key).is_some()
    }
}

/// A host whose clock and dice the test sets.
#[derive(Default)]
pub(crate) struct TestHost {
    pub(crate) now: Nanos,
    pub(crate) draws: Vec<u32>,
    pub(crate) counts: HashMap<u32, u32>,
}

impl Host for TestHost {
    fn now(&self) -> Nanos {
        self.now
    }

    /// The numbers given, then zero.
    fn random(&mut self) -> u32 {
        if self.draws.is_empty() { 0 } else { self.draws.remove(0) }
    }

    fn count(&mut self, metric: Metric) {
        *self.counts.entry(metric.0).or_default() += 1;
    }
}

impl TestHost {
    pub(crate) fn counted(&self, metric: Metric) -> u32 {
        self.counts.get(&metric.0).copied().unwrap_or(0)
    }
}

/// What the slow road works on, for a packet that has come from the pod behind device 10.
pub(crate) fn work(parsed: Parsed, now: Nanos) -> Work {
    let arrival = Arrival { hook: Hook::FromPod, back: Exit::pod(10), now };
    Work { parsed, arrival, ..Work::default() }
}

/// Ranges, each looked at.
#[derive(Default)]
pub(crate) struct Ranges(pub(crate) Vec<RangeKey>);

impl Lookup<RangeKey, u32> for Ranges {
    fn get(&self, key: &RangeKey) -> Option<&u32> {
        self.0.iter().any(|range| range.contains(key)).then_some(&1)
    }
}

/// Names the types above.
pub(crate) enum TestMaps {}

impl Maps for TestMaps {
    type Services = Map<ServiceKey, Service>;
    type Backends = Map<BackendId, Backend>;
    type Maglev = Map<u32, BackendId>;
    type Members = Map<Member, u32>;
    type Endpoints = Map<Address, Endpoint>;
    type Ranges = Ranges;
    type Terminations = Map<Tuple, BackendId>;
    type Reserved = Map<u32, u64>;
    type Limits = Map<u32, Bucket>;
    type Conntrack = Map<Tuple, Flow>;
    type Affinities = Map<Client, Affinity>;
    type Fragments = Map<Datagram, Ports>;
    type Config = Box<Config>;
    type Host = TestHost;
}

pub(crate) fn map<K, V>() -> Map<K, V> {
    Map { entries: HashMap::new(), room: 1000, reads: Cell::new(0), writes: 0 }
}

/// The device that faces the other nodes.
pub(crate) const UPLINK: u32 = 2;

/// A node with service 7 on 10.96.0.80:80 and [fd00:96::80]:80, TCP and UDP. Backends 1 and 3 (here,
/// behind device 11) are 10.244.1.11:8080 and its IPv6 twin, 2 and 4 (elsewhere) 10.244.2.11:8080 and
/// its. The client pod 10.244.1.10 is behind device 10.
pub(crate) fn node() -> Node<TestMaps> {
    let mut node: Node<TestMaps> = Node {
        services: map(),
        backends: map(),
        maglev: map(),
        members: map(),
        endpoints: map(),
        ranges: Ranges::default(),
        terminations: map(),
        reserved: map(),
        limits: map(),
        conntrack: map(),
        affinities: map(),
        fragments: map(),
        host: TestHost { now: 1_000_000_000_000, ..TestHost::default() },
        config: Box::new(Config { epoch: 1, maglev_size: 7, uplink: UPLINK, ..Config::default() }),
    };
    let address = |text: &str| Address::from(text.parse::<std::net::IpAddr>().unwrap());
    let families = [
        ("10.96.0.80", "10.244.1.10", ["10.244.1.11", "10.244.2.11"], 1),
        ("fd00:96::80", "fd00:244:1::10", ["fd00:244:1::11", "fd00:244:2::11"], 3),
    ];
    for (vip, client, backends, first) in families {
        for protocol in [wire::TCP, wire::UDP] {
            let key = ServiceKey::frontend(address(vip), Be16::new(80), protocol);
            node.services.entries.insert(key, Service::master(7, 2, Algorithm::Random, 0));
            for (i, backend) in backends.iter().enumerate() {
                let id = first + i as u32;
                node.services.entries.insert(key.slot(i as u16 + 1), Service::slot(id));
                let member = Member { service: 7, backend: id };
                let bits = Scope::Internal.bit() | Member::CLUSTER;
                node.members.entries.insert(member, bits);
                node.backends.entries.insert(
                    id,
                    Backend::new(address(backend), Be16::new(8080), protocol, BackendState::Active),
                );
            }
        }
        node.services
            .entries
            .insert(ServiceKey::address(address(vip)), Service::master(0, 0, Algorithm::Random, 0));
        node.endpoints.entries.insert(address(client), Endpoint::pod(10));
        node.endpoints.entries.insert(address(backends[0]), Endpoint::pod(11));
    }
    node
}
