//! The rows of the comparison: who opens which connection, and what is sent on it.

use super::craft::{Body, Checksum};
use super::exchange::{From, Segment, Step, Trouble, What};
use super::lab::{Front, Service};

/// What is sent on a row's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A connection from its beginning to its end.
    Whole,
    /// TCP: packets again, a half-close, a reset, and the same ports once more.
    Flags,
    /// TCP: what belongs to no connection.
    Stray,
    /// ICMP errors from both ends and from routers on the way.
    Errors,
    /// Datagrams in fragments.
    Fragments,
    /// UDP without checksum.
    NoChecksum,
    /// A checksum that is wrong.
    WrongChecksum,
    /// IP options, and headers of IPv6 that say nothing.
    Options,
    /// Payloads of all kinds of lengths.
    Lengths,
    /// The same port of a client to one endpoint by two frontends, and to the endpoint itself.
    Clash,
    /// TCP: a segment far out of its window.
    Window,
    /// A connection of a capture.
    Captured,
    /// Connections of one client, which get the same endpoint.
    Affinity,
}

/// A row.
#[derive(Clone, Debug)]
pub struct Case {
    /// What is sent.
    pub kind: Kind,
    /// The service.
    pub service: Service,
    /// Where it is reached.
    pub front: Front,
    /// Who opens the connection.
    pub from: &'static str,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: &'static str,
    /// The family.
    pub v4: bool,
}

impl Case {
    /// Whether a pod opens it.
    pub fn is_pod(&self) -> bool {
        self.is_inside() && self.from != "node-a"
    }

    /// Whether a pod or a node opens it.
    pub fn is_inside(&self) -> bool {
        self.from != "client"
    }

    /// Whether it goes to a node port of a node that is not the sender's.
    pub fn is_far_node_port(&self) -> bool {
        let other = if self.from.contains('b') { Front::NodeA } else { Front::NodeB };
        self.front == other
    }

    /// For people.
    pub fn text(&self) -> String {
        let policy = |local| if local { "Local" } else { "Cluster" };
        let Service { number, external_local, internal_local, endpoints, .. } = &self.service;
        format!(
            "{:?}: IPv{} {} from {} to {:?} of s{number} (etp {}, itp {}, endpoints {endpoints:?})",
            self.kind,
            if self.v4 { 4 } else { 6 },
            self.protocol,
            self.from,
            self.front,
            policy(*external_local),
            policy(*internal_local),
        )
    }
}

const SENDERS: [&str; 5] = ["pa", "a1", "pb", "node-a", "client"];

/// Rows: all of them, or fewer of UDP and SCTP, which are treated as TCP is.
pub fn all(services: &[Service], whole: bool) -> Vec<Case> {
    let mut rows = Vec::new();
    for service in services.iter().filter(|service| !service.affinity) {
        for front in Front::ALL {
            for from in SENDERS {
                for protocol in ["tcp", "udp", "sctp"] {
                    let (one, of) = match protocol {
                        "udp" => (0, 2),
                        "sctp" => (1, 3),
                        _ => (0, 1),
                    };
                    if !whole && service.number % of != one {
                        continue;
                    }
                    for v4 in [true, false] {
                        let service = service.clone();
                        rows.push(Case { kind: Kind::Whole, service, front, from, protocol, v4 });
                    }
                }
            }
        }
    }
    rows.extend(special(services));
    for service in services {
        let kind = if service.affinity { Kind::Affinity } else { Kind::Clash };
        if !service.affinity && service.number != CLASHING[0] {
            continue;
        }
        for (from, fronts) in [("pa", Front::ALL), ("pb", Front::ALL), ("client", Front::ALL)] {
            for front in fronts {
                if kind == Kind::Clash && (front != Front::Cluster || from == "client") {
                    continue;
                }
                for protocol in ["tcp", "udp"] {
                    for v4 in [true, false] {
                        let service = service.clone();
                        rows.push(Case { kind, service, front, from, protocol, v4 });
                    }
                }
            }
        }
    }
    rows
}

/// Services with one endpoint, which is the same.
pub const CLASHING: [u16; 2] = [3, 15];

/// Rows of the other kinds, at some services.
fn special(services: &[Service]) -> Vec<Case> {
    let mut rows = Vec::new();
    let kinds: [(Kind, &[&'static str]); 9] = [
        (Kind::Flags, &["tcp"]),
        (Kind::Stray, &["tcp"]),
        (Kind::Window, &["tcp"]),
        (Kind::Errors, &["tcp", "udp", "sctp"]),
        (Kind::Fragments, &["udp"]),
        (Kind::NoChecksum, &["udp"]),
        (Kind::WrongChecksum, &["tcp", "udp"]),
        (Kind::Options, &["tcp", "udp"]),
        (Kind::Lengths, &["tcp", "udp"]),
    ];
    for service in services.iter().filter(|service| [1, 2, 3].contains(&service.number)) {
        for (kind, protocols) in kinds {
            for front in [Front::Cluster, Front::Balancer] {
                for from in ["pa", "a1", "client", "node-a"] {
                    // A stack puts fragments together before anybody sees them, and that of a node in the
                    // model does not send what cannot be taken apart.
                    if from == "node-a" && matches!(kind, Kind::Fragments | Kind::Stray) {
                        continue;
                    }
                    for protocol in protocols {
                        for v4 in [true, false] {
                            let service = service.clone();
                            rows.push(Case { kind, service, front, from, protocol, v4 });
                        }
                    }
                }
            }
        }
    }
    rows
}

const CLIENT: u32 = 1_000;
/// Of the second connection on the same ports.
const CLIENT_AGAIN: u32 = 91_000;
const SERVER: u32 = 700_000;
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

fn step(from: From, body: Body, payload: usize) -> Step {
    Step { from, what: What::Packet(Segment::new(body, payload)), opens: false }
}

/// A segment of TCP, its numbers counted from the beginning of the connection.
fn tcp(from: From, flags: u8, sequence: u32, acknowledged: u32, payload: usize) -> Step {
    let (own, other) = match from {
        From::Client => (CLIENT, SERVER),
        From::Server => (SERVER, CLIENT),
    };
    let acknowledgement = if flags & ACK == 0 { 0 } else { other + acknowledged };
    step(from, Body::Tcp(flags, own + sequence, acknowledgement), payload)
}

/// The beginning of a connection.
pub fn opening(protocol: &str) -> Vec<Step> {
    use From::{Client, Server};
    match protocol {
        "tcp" => vec![
            tcp(Client, SYN, 0, 0, 0),
            tcp(Server, SYN | ACK, 0, 1, 0),
            tcp(Client, ACK, 1, 1, 0),
        ],
        "udp" => vec![step(Client, Body::Udp, 20), step(Server, Body::Udp, 31)],
        _ => vec![
            step(Client, Body::Sctp(0, 1, 0x11), 0),
            step(Server, Body::Sctp(0x11, 2, 0x22), 0),
            step(Client, Body::Sctp(0x22, 10, 0), 0),
            step(Server, Body::Sctp(0x11, 11, 0), 0),
        ],
    }
}

/// The beginning of a row's connection, marked as such.
pub fn opening_of(case: &Case) -> Vec<Step> {
    let mut steps = opening(case.protocol);
    if let Some(first) = steps.first_mut() {
        first.opens = true;
    }
    steps
}

/// The packets of a row.
pub fn script(case: &Case) -> Vec<Step> {
    use From::{Client, Server};
    let mut steps = opening(case.protocol);
    let next = |from, payload| match case.protocol {
        "tcp" => tcp(from, ACK, 1, 1, payload),
        _ => step(from, Body::Udp, payload),
    };
    let packet = |step: Step, change: &dyn Fn(&mut Segment)| {
        let Step { from, what, opens } = step;
        match what {
            What::Packet(mut segment) => {
                change(&mut segment);
                Step { from, what: What::Packet(segment), opens }
            }
            what => Step { from, what, opens },
        }
    };
    match (case.kind, case.protocol) {
        (Kind::Whole, "tcp") => steps.extend([
            tcp(Client, ACK, 1, 1, 100),
            tcp(Server, ACK, 1, 101, 200),
            tcp(Client, FIN | ACK, 101, 201, 0),
            tcp(Server, FIN | ACK, 201, 102, 0),
            tcp(Client, ACK, 102, 202, 0),
        ]),
        (Kind::Whole, "udp") => {
            steps.extend([step(Client, Body::Udp, 0), step(Server, Body::Udp, 1)]);
        }
        (Kind::Flags, _) => {
            steps = vec![
                tcp(Client, SYN, 0, 0, 0),
                tcp(Client, SYN, 0, 0, 0),
                tcp(Server, SYN | ACK, 0, 1, 0),
                tcp(Server, SYN | ACK, 0, 1, 0),
                tcp(Client, ACK, 1, 1, 0),
                tcp(Client, ACK | 8, 1, 1, 10),
                tcp(Client, ACK | 8, 1, 1, 10),
                tcp(Client, FIN | ACK, 11, 1, 0),
                tcp(Server, ACK, 1, 12, 50),
                tcp(Client, ACK, 12, 51, 0),
                tcp(Server, FIN | ACK, 51, 12, 0),
                tcp(Client, ACK, 12, 52, 0),
                // The same ports once more, and a reset.
                tcp(Client, SYN, CLIENT_AGAIN - CLIENT, 0, 0),
                tcp(Server, SYN | ACK, 90_000, 90_001, 0),
                tcp(Client, ACK, 90_001, 90_001, 0),
                tcp(Client, RST, 90_001, 0, 0),
            ];
        }
        (Kind::Stray, _) => {
            steps = vec![
                tcp(Client, 0, 0, 0, 0),
                tcp(Client, SYN | FIN, 0, 0, 0),
                tcp(Client, FIN | 8 | 32, 0, 0, 0),
                tcp(Client, SYN | RST, 0, 0, 0),
                tcp(Client, SYN | ACK, 0, 1, 0),
                tcp(Client, FIN | ACK, 0, 1, 0),
            ];
        }
        (Kind::Window, _) => steps.push(tcp(Client, ACK, 5_000_000, 1, 10)),
        (Kind::Errors, protocol) => {
            for (trouble, keep, router) in [
                (Trouble::Port, 8, false),
                (Trouble::TooBig, 8, true),
                (Trouble::Time, 28, true),
                (Trouble::TooBig, 64, true),
            ] {
                for from in [Client, Server] {
                    steps.push(Step {
                        from,
                        what: What::Error(trouble, keep, router),
                        opens: false,
                    });
                }
            }
            if protocol != "sctp" {
                steps.extend([next(Client, 5), next(Server, 5)]);
            }
        }
        (Kind::Fragments, _) => {
            for (payload, size) in [(600, 512), (1500, 504), (24, 8)] {
                for from in [Client, Server] {
                    let segment = Segment::new(Body::Udp, payload);
                    steps.push(Step { from, what: What::Fragments(segment, size), opens: false });
                }
            }
            // Also as the first that is seen of a connection.
            let first = Segment::new(Body::Udp, 900);
            steps.insert(0, Step { from: Client, what: What::Fragments(first, 400), opens: false });
        }
        (Kind::NoChecksum, _) => {
            let zero = |segment: &mut Segment| segment.checksum = Checksum::Zero;
            // Only IPv4 has that (RFC 8200, 8.1).
            if case.v4 {
                steps = steps.into_iter().map(|step| packet(step, &zero)).collect();
                steps.extend([packet(next(Client, 9), &zero), packet(next(Server, 10), &zero)]);
            }
        }
        (Kind::WrongChecksum, _) => {
            let wrong = |segment: &mut Segment| segment.checksum = Checksum::Wrong;
            steps.extend([packet(next(Client, 9), &wrong), packet(next(Server, 10), &wrong)]);
        }
        (Kind::Options, _) => {
            let options = |segment: &mut Segment| {
                segment.options = true;
                segment.ttl = 17;
            };
            steps = steps.into_iter().map(|step| packet(step, &options)).collect();
        }
        (Kind::Lengths, _) => {
            for payload in (0..24).chain([1_399, 1_400]) {
                steps.extend([next(Client, payload), next(Server, payload + 1)]);
            }
        }
        _ => {}
    }
    for (number, step) in steps.iter_mut().enumerate() {
        step.opens = (number == 0 && case.kind != Kind::Stray) || is_syn_again(step);
    }
    steps
}

/// Whether a packet begins a second connection on the ports of the first.
const fn is_syn_again(step: &Step) -> bool {
    matches!(&step.what, What::Packet(Segment { body: Body::Tcp(SYN, CLIENT_AGAIN, _), .. }))
}
