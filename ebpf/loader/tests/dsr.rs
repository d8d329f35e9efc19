//! Direct server return in the simulator and in the kernel: the same tables and packets, one node that
//! balances and one with the backend. Decision, bytes and connections must be the same.

use etherparse::PacketBuilder;
use twinpath_control::diff::Write;
use twinpath_core::address::Address;
use twinpath_core::backend::{Backend, BackendState};
use twinpath_core::bytes::Be16;
use twinpath_core::checksum::sum;
use twinpath_core::endpoint::Endpoint;
use twinpath_core::hook::Hook;
use twinpath_core::seam::{Config, Nanos};
use twinpath_core::service::{Algorithm, Forwarding, Scope, Service, ServiceKey};
use twinpath_core::tuple::Tuple;
use twinpath_core::verdict::{Decision, Verdict};
use twinpath_core::wire::{TCP, UDP};
use twinpath_kernel::test_run::TestRunEngine;
use twinpath_kernel::testing::skip;
use twinpath_sim::engine::{Engine, SimEngine};
use twinpath_sim::frame::Frame;
use twinpath_sim::node::Limits;

const BALANCER: usize = 0;
const BACKEND: usize = 1;
const UPLINK: u32 = 2;
const POD: u32 = 11;
const SECOND: Nanos = 1_000_000_000;
const MTU: u32 = 1_500;

const SYN: u8 = 2;
const ACK: u8 = 16;
const RST: u8 = 4;

/// Addresses of one family: client, frontend, backend, the two nodes.
struct Family {
    v4: bool,
    client: &'static str,
    frontend: &'static str,
    backend: &'static str,
    nodes: [&'static str; 2],
}

const FAMILIES: [Family; 2] = [
    Family {
        v4: true,
        client: "203.0.113.7",
        frontend: "198.51.100.80",
        backend: "10.244.2.11",
        nodes: ["192.168.0.11", "192.168.0.12"],
    },
    Family {
        v4: false,
        client: "2001:db8:7::7",
        frontend: "2001:db8:80::80",
        backend: "fd00:244:2::11",
        nodes: ["fd00:192:168::11", "fd00:192:168::12"],
    },
];

fn address(text: &str) -> Address {
    Address::from(text.parse::<std::net::IpAddr>().expect("an address"))
}

/// What both nodes have, but for what is whose.
fn tables(node: usize, mode: Forwarding) -> Vec<Write> {
    let mut writes = Vec::new();
    let mut config = Config {
        epoch: 1,
        maglev_size: 7,
        uplink: UPLINK,
        mtu: MTU,
        hash_seed: 99,
        ..Config::default()
    };
    let mut id = 0;
    for family in &FAMILIES {
        let own = address(family.nodes[node]);
        if family.v4 {
            config.address4 = own;
        } else {
            config.address6 = own;
        }
        for (i, name) in family.nodes.iter().enumerate() {
            let endpoint = if i == node { Endpoint::HOST } else { Endpoint::NODE };
            writes.push(Write::Endpoint(address(name), Some(endpoint)));
        }
        let backend = address(family.backend);
        if node == BACKEND {
            writes.push(Write::Endpoint(backend, Some(Endpoint::pod(POD))));
        }
        for protocol in [TCP, UDP] {
            id += 1;
            let value = Backend::new(backend, Be16::new(8080), protocol, BackendState::Active);
            writes.push(Write::Backend(id, Some(value)));
            for (frontend, port) in
                [(address(family.frontend), 80), (Address::any(family.v4), 30_080)]
            {
                let key = ServiceKey::frontend(frontend, Be16::new(port), protocol)
                    .seen_from(Scope::External);
                let mut master = Service::master(100 + id, 1, Algorithm::Random, 0);
                master.forwarding = mode as u8;
                writes.push(Write::Service(key, Some(master)));
                writes.push(Write::Service(key.slot(1), Some(Service::slot(id))));
                let end = Tuple::new(protocol, backend, Be16::new(0), frontend, Be16::new(port));
                writes.push(Write::Termination(end, Some(id)));
            }
        }
        let entry = Service::master(0, 0, Algorithm::Random, 0);
        writes.push(Write::Service(ServiceKey::address(address(family.frontend)), Some(entry)));
    }
    writes.push(Write::Config(config));
    writes
}

/// Both worlds.
struct Twins {
    sim: SimEngine,
    kernel: TestRunEngine,
    now: Nanos,
    steps: u32,
}

impl Twins {
    fn start(&mut self, mode: Forwarding) {
        self.sim.reset(5).expect("the simulator");
        self.kernel.reset(5).expect("the kernel");
        for node in [BALANCER, BACKEND] {
            for write in tables(node, mode) {
                self.sim.write(node, &write).expect("the simulator");
                self.kernel.write(node, &write).expect("the kernel");
            }
        }
        self.now = 1_000 * SECOND;
        self.wait(0);
    }

    fn wait(&mut self, nanos: Nanos) {
        self.now += nanos;
        self.sim.set_time(self.now).expect("the simulator");
        self.kernel.set_time(self.now).expect("the kernel");
    }

    /// Hands a frame to a hook in both worlds.
    fn hand(&mut self, node: usize, hook: Hook, frame: &mut Frame, what: &str) -> Decision {
        let device = if hook == Hook::FromPod { POD } else { UPLINK };
        let mut twin = frame.clone();
        let ours = self.sim.run(node, hook, device, frame).expect("the simulator");
        let theirs = self.kernel.run(node, hook, device, &mut twin).expect("the kernel");
        assert_eq!(ours, theirs, "{what}: decision");
        assert_eq!(frame.bytes, twin.bytes, "{what}: bytes");
        let connections = self.sim.conntrack(node).expect("the simulator");
        assert_eq!(
            connections,
            self.kernel.conntrack(node).expect("the kernel"),
            "{what}: connections"
        );
        self.steps += 1;
        ours
    }
}

/// A packet with right checksums.
fn packet(ends: [(&str, u16); 2], flags: Option<u8>, payload: &[u8]) -> Frame {
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]);
    let [(source, sport), (destination, dport)] = ends;
    let builder = match (source.parse(), destination.parse()) {
        (Ok(std::net::IpAddr::V4(s)), Ok(std::net::IpAddr::V4(d))) => {
            builder.ipv4(s.octets(), d.octets(), 64)
        }
        (Ok(std::net::IpAddr::V6(s)), Ok(std::net::IpAddr::V6(d))) => {
            builder.ipv6(s.octets(), d.octets(), 64)
        }
        other => panic!("{other:?}"),
    };
    let mut bytes = Vec::new();
    match flags {
        None => builder.udp(sport, dport).write(&mut bytes, payload).expect("a packet"),
        Some(flags) => {
            let mut step = builder.tcp(sport, dport, 1, 1024);
            if flags & SYN != 0 {
                step = step.syn();
            }
            if flags & ACK != 0 {
                step = step.ack(2);
            }
            if flags & RST != 0 {
                step = step.rst();
            }
            step.write(&mut bytes, payload).expect("a packet");
        }
    }
    Frame::new(bytes)
}

/// The IPv4 packet with so many bytes of options that say nothing.
fn with_options(frame: &Frame, count: usize) -> Frame {
    let mut bytes = frame.bytes.clone();
    bytes.splice(34..34, std::iter::repeat_n(1, count));
    bytes[14] += (count / 4) as u8;
    let total = u16::from_be_bytes([bytes[16], bytes[17]]) + count as u16;
    bytes[16..18].copy_from_slice(&total.to_be_bytes());
    bytes[24..26].fill(0);
    let field = !sum(&bytes[14..34 + count]);
    bytes[24..26].copy_from_slice(&field.to_ne_bytes());
    Frame::new(bytes)
}

/// A request all the way; returns the frame as the backend gets it.
fn request(twins: &mut Twins, mut frame: Frame, what: &str) -> Option<Frame> {
    let sent = frame.bytes.len();
    let decision = twins.hand(BALANCER, Hook::FromNetdev, &mut frame, what);
    if decision.reason().is_some() {
        return None;
    }
    assert_eq!(decision.verdict(), Verdict::Forward(UPLINK), "{what}");
    let wire = frame.bytes.len();
    let decision = twins.hand(BACKEND, Hook::FromNetdev, &mut frame, what);
    assert_eq!(decision.verdict(), Verdict::Deliver(POD), "{what}, {sent} and {wire} bytes");
    assert_eq!(frame.bytes.len(), sent, "{what}");
    Some(frame)
}

fn play(twins: &mut Twins, mode: Forwarding, family: &Family) {
    twins.start(mode);
    let client = (family.client, 40_000);
    let (frontend, node_port) = ((family.frontend, 80), (family.nodes[BALANCER], 30_080));
    let backend = (family.backend, 8080);
    let name = |text: &str| format!("{mode:?}, IPv{}: {text}", if family.v4 { 4 } else { 6 });

    for (step, flags) in [SYN, ACK, ACK, ACK, RST].into_iter().enumerate() {
        let what = name(&format!("TCP {step}"));
        request(twins, packet([client, frontend], Some(flags), b"hello"), &what);
        let mut answer = packet([backend, client], Some(ACK), b"answer");
        let decision = twins.hand(BACKEND, Hook::FromPod, &mut answer, &what);
        assert_eq!(decision.verdict(), Verdict::Forward(UPLINK), "{what}");
        let source: &[u8] = if family.v4 { &answer.bytes[26..30] } else { &answer.bytes[22..38] };
        let octets = address(family.frontend).octets();
        assert!(octets.ends_with(source), "{what}: the answer's source");
        twins.wait(SECOND * u64::from(step >= 2));
    }
    let (headers, overhead) =
        (if family.v4 { 28 } else { 48 }, twinpath_core::dsr::overhead(mode, family.v4));
    let most = MTU as usize - headers - overhead;
    for length in (0..most).step_by(97).chain([1, 2, 3, most, most + 1]) {
        let what = name(&format!("UDP with {length} bytes"));
        let payload: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
        let sent = packet([(family.client, 5000), node_port], None, &payload);
        let arrived = request(twins, sent, &what);
        assert_eq!(arrived.is_some(), length <= most, "{what}");
    }
    if family.v4 {
        for count in (4..=40).step_by(4) {
            let what = name(&format!("{count} bytes of options"));
            let plain = packet([(family.client, 6000 + count as u16), frontend], Some(SYN), b"");
            let mut sent = with_options(&plain, count);
            twins.hand(BALANCER, Hook::FromNetdev, &mut sent, &what);
            twins.hand(BACKEND, Hook::FromNetdev, &mut sent, &what);
        }
    }
    // Cut at the backend's node, and what names no frontend.
    let mut wire = packet([(family.client, 7000), frontend], None, b"some payload");
    twins.hand(BALANCER, Hook::FromNetdev, &mut wire, &name("to be cut"));
    for length in 54..wire.bytes.len() {
        let mut cut = Frame::new(wire.bytes[..length].to_vec());
        if twins.kernel.takes(&cut) {
            twins.hand(BACKEND, Hook::FromNetdev, &mut cut, &name(&format!("cut to {length}")));
        }
    }
    for at in 14..wire.bytes.len().min(14 + overhead + 48) {
        let mut changed = wire.clone();
        changed.bytes[at] ^= 0x11;
        let what = name(&format!("byte {at} changed"));
        twins.hand(BACKEND, Hook::FromNetdev, &mut changed, &what);
    }
}

#[test]
fn both_worlds_wrap_and_unwrap_alike() {
    let limits = Limits { conntrack: 4_096, services: 256, backends: 64, ..Limits::default() };
    let kernel = match TestRunEngine::new(2, &limits, 5) {
        Ok(kernel) => kernel,
        Err(error) => return skip("direct server return, twins", &error.to_string()),
    };
    let sim = SimEngine::new(2, &limits, 5);
    let mut twins = Twins { sim, kernel, now: 0, steps: 0 };
    for mode in [Forwarding::DsrOption, Forwarding::DsrIpip, Forwarding::DsrGeneve] {
        for family in &FAMILIES {
            play(&mut twins, mode, family);
        }
    }
    assert!(twins.steps > 900, "{} steps", twins.steps);
}
