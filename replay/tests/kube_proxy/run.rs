//! Sends the packets of a row through worlds.

use std::collections::BTreeSet;
use std::net::IpAddr;

use twinpath::netfilter::craft::crc32c;
use twinpath::verify::{Ends, PacketSpec, Protocol, Target};
use twinpath_core::parse::parse;
use twinpath_sim::cluster::{Fate, Place};
use twinpath_sim::frame::Frame;
use twinpath_sim::topology::Topology;
use twinpath_sim::world::{Sender, Trace, World};

use super::cluster::{NODES, PODS, address, state};
use super::row::Row;

/// How often a request is sent that endpoints answer, and how often where not all were seen by then.
pub(crate) const TRIES: usize = 24;
const MOST_TRIES: usize = 96;

/// How often a request is sent that nobody answers.
const FEW_TRIES: usize = 3;

/// The headers in front of the transport.
const fn headers(family: u8) -> usize {
    if family == 4 { 34 } else { 54 }
}

/// Worlds that see the same; the first one is the model of the others.
pub(crate) struct Bench {
    pub(crate) worlds: Vec<Box<dyn World>>,
    /// How often to send what is answered, at least.
    pub(crate) tries: usize,
    /// Whether the node refuses in its own name, as netfilter does.
    pub(crate) node_refuses: bool,
    now: u64,
    port: u16,
}

/// What a packet carries.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Request,
    Answer,
    Next,
}

impl Bench {
    pub(crate) fn new(worlds: Vec<Box<dyn World>>, tries: usize) -> Self {
        Self { worlds, tries, node_refuses: false, now: 0, port: 20_000 }
    }

    /// Whether the row holds in one family; or else what happens.
    pub(crate) fn check(&mut self, row: &Row, family: u8) -> Result<(), String> {
        let outcome = self.outcomes(row, family);
        self.forget()?;
        outcome
    }

    /// Takes all connections out of the tables, which must be the same wherever the model of what lies
    /// between the hooks is; so that no table is ever full, and rows have nothing to do with each other.
    fn forget(&mut self) -> Result<(), String> {
        for node in 0..NODES.len() {
            let mut first: Option<Vec<_>> = None;
            for world in &mut self.worlds {
                let name = world.name();
                let failed = |error| format!("{name}: {error}");
                let table = world.conntrack(node).map_err(failed)?;
                for (key, _) in &table {
                    world.evict(node, key).map_err(failed)?;
                }
                match &first {
                    Some(model) if name != "veth" && *model != table => {
                        return Err(format!("connections of node {node}: {model:?}, {table:?}"));
                    }
                    Some(_) => {}
                    None => first = Some(table),
                }
            }
        }
        Ok(())
    }

    fn outcomes(&mut self, row: &Row, family: u8) -> Result<(), String> {
        let state = state(&row.services);
        self.now += 1_000_000_000; // so that refusals are not too many for a second
        for world in &mut self.worlds {
            world.apply(&state).map_err(|error| error.to_string())?;
            world.set_time(self.now).map_err(|error| error.to_string())?;
        }
        let expected: BTreeSet<&str> = row.expected().split(' ').collect();
        let is_served = expected.iter().any(|word| word.contains(':'));
        let mut seen = BTreeSet::new();
        for tried in 0..MOST_TRIES {
            let all = seen.len() == expected.len();
            if tried >= if is_served { self.tries } else { FEW_TRIES } && (all || !is_served) {
                break;
            }
            let outcome = self.connect(row, family)?;
            if !expected.contains(outcome.as_str()) {
                return Err(format!("{outcome} and not {}", row.expected()));
            }
            seen.insert(outcome);
        }
        if seen.len() == expected.len() {
            return Ok(());
        }
        Err(format!("only {seen:?} of {}", row.expected()))
    }

    /// Opens a connection: a request, its answer and what follows; the text of what became of it.
    fn connect(&mut self, row: &Row, family: u8) -> Result<String, String> {
        self.port = if self.port >= 60_000 { 20_000 } else { self.port + 1 };
        let (from, under) = row.from.split_once('@').unwrap_or((row.from, row.from));
        let topology = self.worlds[0].topology();
        let sender = sender(topology, from);
        let (protocol, to) = row.to.split_once(' ').ok_or("TO: give a protocol and an end")?;
        let (to, port) = to.rsplit_once(':').ok_or("TO: give a port")?;
        let port = port.parse().map_err(|_| "TO: no number")?;
        let ends = Ends {
            source: (address(under, family), self.port),
            destination: (address(to, family), port),
        };
        let request = frame(protocol, &ends, Part::Request);
        let trace = self.send(sender, &request)?;
        let Some((place, frame_there)) = arrived(&trace) else { return Ok(lost(&trace)) };
        if is_refusal(&frame_there, &ends, self.node_refuses) {
            let back = receiver(place);
            return if back == Some(sender) {
                Ok("REJECT".into())
            } else {
                Ok(format!("{place:?}"))
            };
        }
        let there = tuple(&frame_there).ok_or("what arrived is broken")?;
        if there.destination == ends.destination {
            let untouched = there.source == ends.source;
            return Ok(if untouched { "PASS".into() } else { format!("{there:?}") });
        }
        let Some(server) = receiver(place) else { return Ok(format!("arrives at {place:?}")) };
        let outcome = self.endpoint(place, &there, &ends, family)?;

        let answer = frame(protocol, &turned(&there), Part::Answer);
        let trace = self.send(server, &answer)?;
        let (place, back) =
            arrived(&trace).ok_or_else(|| format!("the answer: {}", lost(&trace)))?;
        let back = tuple(&back).ok_or("the answer is broken")?;
        let wanted = turned(&ends);
        if receiver(place) != Some(sender)
            || (back.source, back.destination) != (wanted.source, wanted.destination)
        {
            return Err(format!("the answer of {outcome} is {back:?} at {place:?}"));
        }
        let trace = self.send(sender, &frame(protocol, &ends, Part::Next))?;
        let next = arrived(&trace).and_then(|(_, frame)| tuple(&frame));
        match next {
            Some(next) if (next.source, next.destination) == (there.source, there.destination) => {
                Ok(outcome)
            }
            _ => Err(format!("after the answer of {outcome}: {next:?}, {}", lost(&trace))),
        }
    }

    /// The text of the endpoint at a place that sees a request with these ends.
    fn endpoint(
        &self,
        place: Place,
        there: &Ends,
        sent: &Ends,
        family: u8,
    ) -> Result<String, String> {
        let topology = self.worlds[0].topology();
        let name = match place {
            Place::PodIn(pod) => topology.pods[pod].name.name.clone(),
            Place::Host(node) => topology.nodes[node].name.clone(),
            other => return Err(format!("arrives at {other:?}")),
        };
        if there.destination.0 != address(&name, family) {
            return Err(format!("{name} gets what is for {:?}", there.destination));
        }
        let hairpin: [IpAddr; 2] =
            [[169, 254, 42, 1].into(), [0xfd2a, 0x5dc8, 0x7e31, 0, 0, 0, 0, 0x2a01].into()];
        let mark = match there.source.0 {
            seen if NODES.iter().any(|node| address(node, family) == seen) => "*",
            seen if hairpin.contains(&seen) => "~",
            seen if seen == sent.source.0 => "",
            seen => return Err(format!("{name} sees {seen}")),
        };
        Ok(format!("{name}:{}{mark}", there.destination.1))
    }

    /// Sends a packet in every world, which must all show the same of it.
    fn send(&mut self, sender: Sender, frame: &Frame) -> Result<Trace, String> {
        let mut first: Option<Trace> = None;
        for world in &mut self.worlds {
            let (name, trace) = (world.name(), world.send_from(sender, frame));
            let trace = trace.map_err(|error| format!("{name}: {error}"))?;
            let Some(model) = &first else {
                first = Some(trace);
                continue;
            };
            let same =
                if name == "veth" { frames_agree(sender, model, &trace) } else { *model == trace };
            if !same {
                return Err(format!("{}, and in {name}: {}", shown(model), shown(&trace)));
            }
        }
        first.ok_or_else(|| "no world".to_owned())
    }
}

/// Whether namespaces have shown what the model has: frames at devices, and nothing of what goes on in a
/// node. Stacks that have just been made say now and then which groups they are members of.
fn frames_agree(sender: Sender, model: &Trace, shown: &Trace) -> bool {
    let inside = matches!(sender, Sender::Node(_));
    let is_ours =
        |frame: &Frame| tuple(frame).is_some_and(|ends| !ends.destination.0.is_multicast());
    let shown = shown.seen.iter().filter(|(_, frame)| is_ours(frame));
    model.seen.iter().skip(usize::from(inside)).eq(shown)
}

/// What a trace comes to, in a line.
fn shown(trace: &Trace) -> String {
    let seen: Vec<String> = trace
        .seen
        .iter()
        .map(|(place, frame)| match tuple(frame) {
            Some(Ends { source, destination }) => format!("{place:?} {source:?} {destination:?}"),
            None => format!("{place:?}"),
        })
        .collect();
    format!("{} {:?} {:?}", seen.join(", "), trace.decisions, trace.fate)
}

/// Who has a name.
fn sender(topology: &Topology, name: &str) -> Sender {
    let pod = || PODS.iter().any(|pod| pod.0 == name).then(|| topology.pod(name)).flatten();
    topology
        .client(name)
        .map(Sender::Client)
        .or_else(|| topology.node(name).map(Sender::Node))
        .or_else(|| pod().map(Sender::Pod))
        .unwrap_or_else(|| panic!("{name} sends nothing"))
}

/// Who answers what arrives at a place.
const fn receiver(place: Place) -> Option<Sender> {
    match place {
        Place::PodIn(pod) => Some(Sender::Pod(pod)),
        Place::Host(node) => Some(Sender::Node(node)),
        Place::ClientIn(client) => Some(Sender::Client(client)),
        _ => None,
    }
}

/// Where a packet arrived, and as what.
fn arrived(trace: &Trace) -> Option<(Place, Frame)> {
    let (place, frame) = trace.seen.last()?;
    (trace.fate == Some(Fate::Arrived(*place))).then(|| (*place, frame.clone()))
}

/// What became of a packet that did not arrive. Where a world cannot tell it was dropped.
fn lost(trace: &Trace) -> String {
    match trace.fate {
        Some(Fate::Dropped(..)) | None => "DROP".into(),
        Some(other) => format!("{other:?}"),
    }
}

fn tuple(frame: &Frame) -> Option<Ends> {
    let tuple = parse(frame).ok()??.tuple;
    Some(Ends {
        source: (tuple.source.into(), tuple.source_port.get()),
        destination: (tuple.destination.into(), tuple.destination_port.get()),
    })
}

const fn turned(ends: &Ends) -> Ends {
    Ends { source: ends.destination, destination: ends.source }
}

/// Whether a frame says to the sender of a packet with these ends that its port is unreachable, in the
/// name of the address that it was sent to (RFC 792; RFC 4443, 3.1), or of anybody.
fn is_refusal(frame: &Frame, sent: &Ends, by_anybody: bool) -> bool {
    let family = if sent.source.0.is_ipv4() { 4 } else { 6 };
    let (at, protocol, message) = if family == 4 { (23, 1, [3, 3]) } else { (20, 58, [1, 4]) };
    let l4 = headers(family);
    // The quoted packet's ports, behind its own header.
    let ports = l4 + 8 + l4 - 14;
    let quoted = [sent.source.1.to_be_bytes(), sent.destination.1.to_be_bytes()].concat();
    let addresses = |ends: &Ends| {
        [ends.source.0, ends.destination.0]
            .map(|ip| match ip {
                IpAddr::V4(ip) => ip.octets().to_vec(),
                IpAddr::V6(ip) => ip.octets().to_vec(),
            })
            .concat()
    };
    let (outer, inner) = (addresses(&turned(sent)), addresses(sent));
    let has = |at: usize, wanted: &[u8]| frame.bytes.get(at..at + wanted.len()) == Some(wanted);
    let half = if by_anybody { outer.len() / 2 } else { 0 };
    has(at, &[protocol])
        && has(l4, &message)
        && has(l4 - outer.len() + half, &outer[half..])
        && has(ports - inner.len(), &inner)
        && has(ports, &quoted)
}

/// A packet of a connection by `tcp`, `udp` or `sctp`. Its link addresses are those that the sender's
/// device writes.
fn frame(protocol: &str, ends: &Ends, part: Part) -> Frame {
    let family = if ends.source.0.is_ipv4() { 4 } else { 6 };
    let carried = match (protocol, part) {
        ("tcp", Part::Request) => Protocol::Tcp(0x02),
        ("tcp", Part::Answer) => Protocol::Tcp(0x12),
        ("tcp", Part::Next) => Protocol::Tcp(0x10),
        ("udp", _) => Protocol::Udp(true),
        ("sctp", _) => Protocol::Other(132),
        other => panic!("{}: no protocol of these rows", other.0),
    };
    let spec = PacketSpec {
        port: ends.source.1,
        payload: if protocol == "sctp" { 32 } else { 20 },
        ttl: 64,
        ..PacketSpec::new(family, Target::Outside, carried)
    };
    let mut bytes = spec.bytes(ends);
    if protocol == "sctp" {
        // Ports, the tag of the one whom it is for, the checksum, and a chunk of 20 bytes, INIT and INIT ACK
        // with the sender's tag (RFC 9260, 3): netfilter looks at all of it.
        let (l4, kind) = (headers(family), [1, 2, 10][part as usize]);
        let (tag, own): ([u8; 4], [u8; 4]) =
            [([0; 4], [1; 4]), ([1; 4], [2; 4]), ([2; 4], [0; 4])][part as usize];
        bytes[l4 + 4..l4 + 8].copy_from_slice(&tag);
        bytes[l4 + 16..l4 + 20].copy_from_slice(&own);
        bytes[l4..l4 + 2].copy_from_slice(&ends.source.1.to_be_bytes());
        bytes[l4 + 2..l4 + 4].copy_from_slice(&ends.destination.1.to_be_bytes());
        bytes[l4 + 12..l4 + 16].copy_from_slice(&[kind, 0, 0, 20]);
        bytes[l4 + 8..l4 + 12].fill(0);
        let checksum = crc32c(&bytes[l4..]);
        bytes[l4 + 8..l4 + 12].copy_from_slice(&checksum.to_le_bytes());
    }
    Frame::new(bytes)
}
