//! Packets and what becomes of them as text, the same for both families.
//!
//! A packet: `pod 10: tcp client:40000 > vip:80 S` has come from the pod behind device 10, or by the
//! node's device (`netdev:`, before the kernel has it `xdp:`), or is on its way to a pod (`stack:`) or
//! out of the node (`node:`) by way of the stack. Flags are letters; then may follow `ttl 1` and, for a
//! part of a datagram, `first 7`, `middle 7` or `last 7` with its identification. An echo request has
//! its identifier as source port, a reply as destination port, the other one is zero.
//!
//! What becomes of it: where it goes and how, its status and service, or the name of the reason why it
//! was dropped. `client:?a` is a port that the node draws; from there on `?a` stands for it.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use crate::address::Address;
use crate::backend::{Backend, BackendId, BackendState};
use crate::bytes::Be16;
use crate::checksum;
use crate::endpoint::Endpoint;
use crate::hook::{Answer, Hook, Work, handle};
use crate::parse::parse;
use crate::seam::{Metric, Node, Packet};
use crate::service::{Algorithm, Member, Scope, Service, ServiceId, ServiceKey};
use crate::testing::{Frame, TestMaps, UPLINK, frame, frame_with, node, tuple};
use crate::tuple::Tuple;
use crate::verdict::{Decision, Verdict};
use crate::wire::{SCTP, TCP, UDP, tcp};

/// The names that scripts use for addresses. `local` and `remote` are the backends of the service on
/// `vip`; the other frontends, `vip2`, `lb` and `lb2`, must be given a service by the test. `node` is
/// this node, `node2` another one, `any` a node port's address.
pub(super) struct Family {
    pub(super) v4: bool,
    names: [(&'static str, &'static str); 16],
    first_backend: BackendId,
}

pub(super) static V4: Family = Family {
    v4: true,
    names: [
        ("client", "10.244.1.10"),
        ("vip", "10.96.0.80"),
        ("vip2", "10.96.0.81"),
        ("local", "10.244.1.11"),
        ("remote", "10.244.2.11"),
        ("host", "192.168.0.1"),
        ("far", "198.51.100.9"),
        ("group", "224.0.0.251"),
        ("node", "192.168.0.11"),
        ("node2", "192.168.0.12"),
        ("outside", "203.0.113.7"),
        ("remote2", "10.244.2.12"),
        ("lb", "203.0.113.80"),
        ("lb2", "203.0.113.81"),
        ("hairpin", "169.254.42.1"),
        ("any", "0.0.0.0"),
    ],
    first_backend: 1,
};

pub(super) static V6: Family = Family {
    v4: false,
    names: [
        ("client", "fd00:244:1::10"),
        ("vip", "fd00:96::80"),
        ("vip2", "fd00:96::81"),
        ("local", "fd00:244:1::11"),
        ("remote", "fd00:244:2::11"),
        ("host", "fd00:192:168::1"),
        ("far", "2001:db8::9"),
        ("group", "ff02::fb"),
        ("node", "fd00:192:168::11"),
        ("node2", "fd00:192:168::12"),
        ("outside", "2001:db8:7::7"),
        ("remote2", "fd00:244:2::12"),
        ("lb", "2001:db8:80::80"),
        ("lb2", "2001:db8:80::81"),
        ("hairpin", "fd00:42::1"),
        ("any", "::"),
    ],
    first_backend: 3,
};

impl Family {
    /// An address as it stands before a port.
    fn host(&self, name: &str) -> String {
        let (_, address) = self.names.iter().find(|(n, _)| *n == name).expect(name);
        if self.v4 { (*address).to_string() } else { format!("[{address}]") }
    }

    pub(super) fn end(&self, name: &str, port: u16) -> SocketAddr {
        format!("{}:{port}", self.host(name)).parse().unwrap()
    }

    /// `tcp client:1 > vip:80` with addresses in place of names.
    pub(super) fn spell(&self, text: &str) -> String {
        let word = |word: &str| match word.split_once(':') {
            Some((name, port)) => format!("{}:{port}", self.host(name)),
            None => word.to_string(),
        };
        text.split(' ').map(word).collect::<Vec<_>>().join(" ")
    }

    /// The same the other way.
    pub(super) fn name(&self, tuple: &Tuple) -> String {
        let mut text = format!("{tuple:?}");
        for (number, name) in
            [("proto 1 ", "echo "), ("proto 58 ", "echo "), ("proto 132 ", "sctp ")]
        {
            text = text.replace(number, name);
        }
        for (name, _) in self.names {
            text = text.replace(&format!(" {}:", self.host(name)), &format!(" {name}:"));
        }
        text
    }
}

/// Backends beside `local` and `remote`: `node` is one on this node's own network, `client` is the client.
const EXTRA: [&str; 3] = ["remote2", "node", "client"];

/// Draws that make a service with both backends choose one.
pub(super) const LOCAL: u32 = 0;
pub(super) const REMOTE: u32 = 0x8000_0000;

pub(super) const SECOND: u64 = 1_000_000_000;

/// A node with packets going through it.
pub(super) struct World {
    pub(super) node: Node<TestMaps>,
    pub(super) family: &'static Family,
    pub(super) work: Work,
    ports: HashMap<char, u16>,
}

/// Runs a script in both families.
pub(super) fn both(script: impl Fn(&mut World)) {
    for family in [&V4, &V6] {
        println!("IPv{}", if family.v4 { 4 } else { 6 });
        script(&mut World::new(family));
    }
}

impl World {
    pub(super) fn new(family: &'static Family) -> Self {
        let mut node = node();
        let address = |name| Address::from(family.end(name, 0).ip());
        node.config.address4 = V4.end("node", 0).ip().into();
        node.config.address6 = V6.end("node", 0).ip().into();
        node.endpoints.entries.insert(address("node"), Endpoint::HOST);
        node.endpoints.entries.insert(address("node2"), Endpoint::NODE);
        for (i, name) in (1..).zip(EXTRA) {
            let backend = Backend::new(address(name), Be16::new(8080), TCP, BackendState::Active);
            node.backends.entries.insert(family.first_backend + 10 * i, backend);
        }
        Self { node, family, work: Work::default(), ports: HashMap::new() }
    }

    /// The address that a name stands for.
    pub(super) fn address(&self, name: &str) -> Address {
        self.family.end(name, 0).ip().into()
    }

    /// Plays packets, each with what must become of it.
    #[track_caller]
    pub(super) fn play(&mut self, script: &[(&str, &str)]) {
        for (packet, expected) in script {
            let sent = self.send(&self.with_ports(packet));
            let mut expected = self.with_ports(expected);
            if let Some((start, rest)) = expected.split_once('?') {
                let (variable, rest) = (rest.chars().next().unwrap(), &rest[1..]);
                let port = sent.strip_prefix(start).and_then(|sent| sent.strip_suffix(rest));
                if let Some(port) = port.and_then(|port| port.parse().ok()) {
                    let config = &self.node.config;
                    assert!((config.ports_first..=config.ports_last).contains(&port), "{sent}");
                    self.ports.insert(variable, port);
                    expected = self.with_ports(&expected);
                }
            }
            assert_eq!(sent, expected, "{packet}");
        }
    }

    /// The text with ports in place of their names.
    fn with_ports(&self, text: &str) -> String {
        let with = |text: String, (name, port): (&char, &u16)| {
            text.replace(&format!("?{name}"), &port.to_string())
        };
        self.ports.iter().fold(text.to_string(), with)
    }

    /// Takes the names of ports back.
    pub(super) fn forget_ports(&mut self) {
        self.ports.clear();
    }

    /// The port that a script has named.
    pub(super) fn port(&self, name: char) -> u16 {
        self.ports[&name]
    }

    /// Plays packets on another road: the next new connection goes where `draw` says.
    #[track_caller]
    pub(super) fn play_drawing(&mut self, draws: &[u32], script: &[(&str, &str)]) {
        self.node.host.draws = draws.to_vec();
        self.play(script);
        assert_eq!(self.node.host.draws, [], "draws are left over");
    }

    /// Sends a packet and says what became of it. Every frame that leaves is compared, whole, with one
    /// that was built for the tuple it has, so checksums are right and no other byte was touched.
    #[track_caller]
    pub(super) fn send(&mut self, packet: &str) -> String {
        let (way, packet) = packet.split_once(": ").unwrap();
        let (text, flags, ttl, part) = self.read(packet);
        let mut frame = with_ttl(&build(&text, flags, part), ttl);
        let sent = frame.clone();
        let decision = self.hand(way, &mut frame);
        let (to, hops) = match decision.verdict() {
            Verdict::Drop(reason) => {
                assert_eq!(frame, sent, "what is dropped is not touched");
                return reason.name().to_string();
            }
            Verdict::Reject(reason) => return format!("rejected: {}", reason.name()),
            Verdict::Answer => return "answered".to_string(),
            Verdict::Pass => ("stack".to_string(), 0),
            // To its own packets the node is no router.
            Verdict::Deliver(device) => (format!("pod {device}"), u8::from(way != "node")),
            Verdict::Forward(UPLINK) => ("netdev".to_string(), u8::from(way != "node")),
            Verdict::Forward(device) => panic!("device {device}"),
        };
        let left = match part {
            None => frame.checked(),
            Some(_) => parse(&frame).unwrap().unwrap().tuple,
        };
        let name = self.family.name(&left);
        let built = build(&self.family.spell(&name), flags, part);
        assert_eq!(frame, with_ttl(&built, ttl - hops), "{packet}");
        let status = decision.status().name();
        match decision.service {
            0 => format!("{to}: {name}, {status}"),
            service => {
                let backend = self.node.backends.entries.get(&decision.backend);
                assert!(
                    backend.is_none_or(|b| [left.source, left.destination].contains(&b.address)
                        || tuple(&text).source == b.address),
                    "{packet}: backend {}",
                    decision.backend
                );
                format!("{to}: {name}, {status} of {service}")
            }
        }
    }

    /// `tcp a:1 > b:2 SA ttl 3` as text with addresses, flags, time to live.
    fn read(&self, packet: &str) -> (String, u8, u8, Option<(Piece, u16)>) {
        let words: Vec<&str> = packet.split(' ').collect();
        let (ends, rest) = words.split_at(4);
        let ttl = rest.iter().position(|w| *w == "ttl");
        let pieces = [("first", Piece::First), ("middle", Piece::Middle), ("last", Piece::Last)];
        let mut part = None;
        for (name, piece) in pieces {
            if let Some(at) = rest.iter().position(|w| *w == name) {
                part = Some((at, piece, rest[at + 1].parse().unwrap()));
            }
        }
        let options = ttl.into_iter().chain(part.map(|(at, ..)| at)).min();
        let letters = rest[..options.unwrap_or(rest.len())].concat();
        let flags = letters.chars().fold(0, |flags, letter| {
            flags
                | match letter {
                    'S' => tcp::SYN,
                    'A' => tcp::ACK,
                    'F' => tcp::FIN,
                    'R' => tcp::RST,
                    other => panic!("flag {other}"),
                }
        });
        (
            self.family.spell(&ends.join(" ")),
            flags,
            ttl.map_or(64, |i| rest[i + 1].parse().unwrap()),
            part.map(|(_, piece, id)| (piece, id)),
        )
    }

    /// Hands a frame to a hook. A frame that is dropped must not leave an entry.
    #[track_caller]
    pub(super) fn hand(&mut self, way: &str, frame: &mut impl Packet) -> Decision {
        let before: HashSet<Tuple> = self.node.conntrack.entries.keys().copied().collect();
        let (node, work) = (&mut self.node, &mut self.work);
        let decision = match way.split_once(' ').unwrap_or((way, "")) {
            ("pod", device) => handle(frame, node, work, Hook::FromPod, device.parse().unwrap()),
            ("stack", device) => {
                handle(frame, node, work, Hook::ToPod, device.parse().unwrap_or(11))
            }
            ("netdev", _) => handle(frame, node, work, Hook::FromNetdev, UPLINK),
            ("node", _) => handle(frame, node, work, Hook::ToNetdev, UPLINK),
            ("xdp", _) => handle(frame, node, work, Hook::Xdp, UPLINK),
            other => panic!("{other:?}"),
        };
        if let Some(reason) = decision.reason() {
            let added = self.node.conntrack.entries.keys().find(|key| !before.contains(key));
            assert_eq!(added, None, "left by a packet that was dropped: {reason:?}");
        }
        decision
    }

    /// The entries of the connection table.
    pub(super) fn entries(&self) -> usize {
        self.node.conntrack.entries.len()
    }

    pub(super) fn counted(&self, metric: Metric) -> u32 {
        self.node.host.counted(metric)
    }

    pub(super) fn wait(&mut self, nanos: u64) {
        self.node.host.now += nanos;
    }

    /// Takes the half under this key out of the table, as eviction would.
    pub(super) fn evict(&mut self, key: &str) {
        let key = tuple(&self.family.spell(key));
        self.node.conntrack.entries.remove(&key).expect("an entry to evict");
    }

    /// The number of the backend at a name.
    pub(super) fn backend(&self, name: &str) -> BackendId {
        let extra = EXTRA.iter().position(|extra| *extra == name);
        let of_service = u32::from(name == "remote");
        self.family.first_backend + extra.map_or(of_service, |i| 10 * (i as u32 + 1))
    }

    /// What the sender of the last packet on the slow road is to be told.
    pub(super) fn answer(&self) -> Answer {
        self.work.answer
    }

    /// Gives a frontend's port 80 a service with these backends for new connections of the cluster.
    pub(super) fn serve(&mut self, name: &str, id: ServiceId, backends: &[&str]) {
        self.expose((name, 80), Scope::Internal, id, backends, |_| {});
    }

    /// Gives a frontend, an address and a port, a service with these backends for new connections of a
    /// scope, in every protocol; `change` says what else its master entry has.
    pub(super) fn expose(
        &mut self,
        (name, port): (&str, u16),
        scope: Scope,
        id: ServiceId,
        backends: &[&str],
        change: impl Fn(&mut Service),
    ) {
        let address = self.address(name);
        let ids: Vec<BackendId> = backends.iter().map(|name| self.backend(name)).collect();
        let services = &mut self.node.services.entries;
        let members = &mut self.node.members.entries;
        let table = &self.node.backends.entries;
        let of_family =
            |id| table.get(&id).is_some_and(|b: &Backend| b.address.is_v4() == address.is_v4());
        for (member, bits) in &mut *members {
            if member.service == id && of_family(member.backend) {
                *bits &= !scope.bit();
            }
        }
        let mut master = Service::master(id, ids.len() as u16, Algorithm::Random, 0);
        change(&mut master);
        for backend in &ids {
            let member = Member { service: id, backend: *backend };
            *members.entry(member).or_insert(0) |= master.members(scope);
        }
        for protocol in [TCP, UDP, SCTP] {
            let key = ServiceKey::frontend(address, Be16::new(port), protocol).seen_from(scope);
            services.insert(key, master);
            for (slot, backend) in (1..).zip(&ids) {
                services.insert(key.slot(slot), Service::slot(*backend));
            }
        }
        if name != "any" {
            let entry = Service::master(0, 0, Algorithm::Random, 0);
            services.insert(ServiceKey::address(address), entry);
        }
        self.node.config.epoch += 1;
    }

    /// Takes the service of a frontend away, with the frontend.
    pub(super) fn withdraw(&mut self, name: &str) {
        let address = self.family.end(name, 80).ip().into();
        self.node.services.entries.retain(|key, _| key.address != address);
        self.node.config.epoch += 1;
    }

    /// Removes a backend.
    pub(super) fn remove(&mut self, name: &str) {
        let backend = self.backend(name);
        self.node.backends.entries.remove(&backend);
        self.node.members.entries.retain(|member, _| member.backend != backend);
        self.node.config.epoch += 1;
    }

    /// Says that a backend is going.
    pub(super) fn terminate(&mut self, name: &str) {
        let id = self.backend(name);
        let backend: &mut Backend = self.node.backends.entries.get_mut(&id).unwrap();
        backend.state = BackendState::Terminating as u8;
        self.node.members.entries.retain(|member, _| member.backend != id);
        self.node.config.epoch += 1;
    }
}

/// A part of a datagram.
#[derive(Clone, Copy, Debug)]
pub(super) enum Piece {
    First,
    Middle,
    Last,
}

/// A frame, or a part of one with a payload long enough for three.
pub(super) fn build(text: &str, flags: u8, part: Option<(Piece, u16)>) -> Frame {
    let Some((piece, id)) = part else { return frame(text, flags) };
    let whole = frame_with(text, flags, &[0x5a; 40]).0;
    let v4 = whole[12] == 0x08;
    let l4 = if v4 { 34 } else { 54 };
    let (from, to, more) = match piece {
        Piece::First => (0, 24, 1),
        Piece::Middle => (24, 40, 1),
        Piece::Last => (40, whole.len() - l4, 0),
    };
    let mut bytes = [&whole[..l4], &whole[l4 + from..l4 + to]].concat();
    if v4 {
        bytes[16..18].copy_from_slice(&((20 + to - from) as u16).to_be_bytes());
        bytes[18..20].copy_from_slice(&id.to_be_bytes());
        bytes[20..22].copy_from_slice(&((from as u16 / 8) | more << 13).to_be_bytes());
    } else {
        bytes[18..20].copy_from_slice(&((8 + to - from) as u16).to_be_bytes());
        let [high, low] = (from as u16 | more).to_be_bytes();
        let [a, b] = id.to_be_bytes();
        let header = [bytes[20], 0, high, low, 0, 0, a, b];
        bytes[20] = 44;
        bytes.splice(54..54, header);
    }
    with_ttl(&Frame(bytes), 64)
}

/// The frame with another time to live, its checksum made anew.
pub(super) fn with_ttl(frame: &Frame, ttl: u8) -> Frame {
    let mut bytes = frame.0.clone();
    if bytes[12..14] == [0x08, 0x00] {
        bytes[22] = ttl;
        bytes[24..26].fill(0);
        let sum = !checksum::sum(&bytes[14..34]);
        bytes[24..26].copy_from_slice(&sum.to_ne_bytes());
    } else {
        bytes[21] = ttl;
    }
    Frame(bytes)
}
