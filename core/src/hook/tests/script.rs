//! Packets and what becomes of them as text, the same for both families.
//!
//! A packet: `pod 10: tcp client:40000 > vip:80 S` has come from the pod behind device 10, or by the
//! node's device (`netdev:`), or is on its way to a pod by way of the stack (`stack:`). Flags are
//! letters; `ttl 1` may follow. What becomes of it: where it goes and how, its status and service, or
//! the name of the reason why it was dropped.

use std::collections::HashSet;
use std::net::SocketAddr;

use crate::backend::{Backend, BackendId, BackendState};
use crate::bytes::Be16;
use crate::checksum;
use crate::hook::{Hook, Work, handle};
use crate::seam::{Metric, Node};
use crate::service::{Algorithm, Member, Scope, Service, ServiceId, ServiceKey};
use crate::testing::{Frame, TestMaps, UPLINK, frame, node, tuple};
use crate::tuple::Tuple;
use crate::verdict::{Decision, Verdict};
use crate::wire::{TCP, UDP, tcp};

/// The names that scripts use for addresses. `local` and `remote` are the backends of the service on
/// `vip`; `vip2` is a second frontend, which a test must give a service.
pub(super) struct Family {
    pub(super) v4: bool,
    names: [(&'static str, &'static str); 8],
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
    fn name(&self, tuple: &Tuple) -> String {
        let mut text = format!("{tuple:?}");
        for (name, _) in self.names {
            text = text.replace(&format!(" {}:", self.host(name)), &format!(" {name}:"));
        }
        text
    }
}

/// Draws that make a service with both backends choose one.
pub(super) const LOCAL: u32 = 0;
pub(super) const REMOTE: u32 = 0x8000_0000;

pub(super) const SECOND: u64 = 1_000_000_000;

/// A node with packets going through it.
pub(super) struct World {
    pub(super) node: Node<TestMaps>,
    pub(super) family: &'static Family,
    work: Work,
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
        Self { node: node(), family, work: Work::default() }
    }

    /// Plays packets, each with what must become of it.
    #[track_caller]
    pub(super) fn play(&mut self, script: &[(&str, &str)]) {
        for (packet, expected) in script {
            assert_eq!(self.send(packet), *expected, "{packet}");
        }
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
        let (text, flags, ttl) = self.read(packet);
        let mut frame = with_ttl(&frame(&text, flags), ttl);
        let decision = self.hand(way, &mut frame);
        let (to, hops) = match decision.verdict() {
            Verdict::Drop(reason) => return reason.name().to_string(),
            Verdict::Reject(reason) => return format!("rejected: {}", reason.name()),
            Verdict::Answer => return "answered".to_string(),
            Verdict::Pass => ("stack".to_string(), 0),
            Verdict::Deliver(device) => (format!("pod {device}"), 1),
            Verdict::Forward(UPLINK) => ("netdev".to_string(), 1),
            Verdict::Forward(device) => panic!("device {device}"),
        };
        let left = frame.checked();
        let name = self.family.name(&left);
        let built = crate::testing::frame(&self.family.spell(&name), flags);
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
    fn read(&self, packet: &str) -> (String, u8, u8) {
        let words: Vec<&str> = packet.split(' ').collect();
        let (ends, rest) = words.split_at(4);
        let ttl = rest.iter().position(|w| *w == "ttl");
        let letters = rest[..ttl.unwrap_or(rest.len())].concat();
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
        )
    }

    /// Hands a frame to a hook. A frame that is dropped must not leave an entry.
    #[track_caller]
    pub(super) fn hand(&mut self, way: &str, frame: &mut Frame) -> Decision {
        let before: HashSet<Tuple> = self.node.conntrack.entries.keys().copied().collect();
        let (node, work) = (&mut self.node, &mut self.work);
        let decision = match way.split_once(' ').unwrap_or((way, "")) {
            ("pod", device) => handle(frame, node, work, Hook::FromPod, device.parse().unwrap()),
            ("stack", device) => {
                handle(frame, node, work, Hook::ToPod, device.parse().unwrap_or(11))
            }
            ("netdev", _) => handle(frame, node, work, Hook::FromNetdev, UPLINK),
            ("node", _) => handle(frame, node, work, Hook::ToNetdev, UPLINK),
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

    /// The number of the backend at `local` or `remote`.
    pub(super) fn backend(&self, name: &str) -> BackendId {
        self.family.first_backend + u32::from(name == "remote")
    }

    /// Gives a frontend a service with these backends for new connections, TCP and UDP.
    pub(super) fn serve(&mut self, name: &str, id: ServiceId, backends: &[&str]) {
        let address = self.family.end(name, 80).ip().into();
        let services = &mut self.node.services.entries;
        let members = &mut self.node.members.entries;
        let family = self.family.first_backend;
        members.retain(|m, _| m.service != id || !(family..family + 2).contains(&m.backend));
        for protocol in [TCP, UDP] {
            let key = ServiceKey::frontend(address, Be16::new(80), protocol);
            let master = Service::master(id, backends.len() as u16, Algorithm::Random, 0);
            services.insert(key, master);
            for (slot, backend) in (1..).zip(backends) {
                let backend = family + u32::from(*backend == "remote");
                services.insert(key.slot(slot), Service::slot(backend));
                members.insert(Member { service: id, backend }, Scope::Internal.bit());
            }
        }
        services.insert(ServiceKey::address(address), Service::master(0, 0, Algorithm::Random, 0));
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
