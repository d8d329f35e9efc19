//! A row at work: packets sent through a world, and what must hold for each of them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use twinpath_control::model::State;
use twinpath_core::conntrack::Flow;
use twinpath_core::seam::{Metric, Nanos};
use twinpath_core::state::Direction;
use twinpath_core::tuple::Tuple;
use twinpath_sim::cluster::Place;
use twinpath_sim::engine::{Engine, NodeIndex};
use twinpath_sim::frame::Frame;
use twinpath_sim::world::{ModelWorld, Sender, Trace, World};

use super::cluster::{Service, is_cluster_ip, is_pod, state};
use super::packet::{Complaint, End, Packet, Proto};
use super::reader::{Seen, read};

pub(crate) type Check<T = ()> = Result<T, String>;

/// A world that also shows its counters.
pub(crate) trait Bench: World {
    fn metrics(&mut self, node: NodeIndex) -> Vec<u64>;
    /// From now on the router sends what is for this address to another node.
    fn reroute(&mut self, address: IpAddr, node: NodeIndex);
}

impl<E: Engine> Bench for ModelWorld<E> {
    fn metrics(&mut self, node: NodeIndex) -> Vec<u64> {
        self.cluster.engine.metrics(node).expect("counters")
    }

    fn reroute(&mut self, address: IpAddr, node: NodeIndex) {
        let router = self.cluster.topology.router.as_mut().expect("a router");
        router.routes.insert(address.into(), node);
    }
}

/// When rows begin.
const START: Nanos = 1_000_000_000_000;
const SECOND: Nanos = 1_000_000_000;

type Table = Vec<(Tuple, Flow)>;

pub(crate) struct Lab<'a> {
    pub world: &'a mut dyn Bench,
    pub traces: Vec<Trace>,
    now: Nanos,
    counters: BTreeMap<u32, u64>,
    tables: Vec<Table>,
}

/// What became of a packet.
pub(crate) struct Got {
    /// As it was sent.
    pub sent: Seen,
    /// Where it was seen.
    pub path: Vec<(Place, Seen)>,
    /// By how much counters have grown.
    pub counted: BTreeMap<u32, u64>,
    /// Whether connections are the same as before.
    pub unchanged: bool,
}

impl Got {
    fn text(&self) -> String {
        let path =
            self.path.iter().map(|(place, seen)| format!("\n      {place:?} {}", seen.text()));
        let counted: Vec<String> =
            self.counted.iter().map(|(n, by)| format!("{}+{by}", counter(*n))).collect();
        path.collect::<String>() + "\n      counted: " + &counted.join(" ")
    }

    pub(crate) fn fail<T>(&self, what: impl std::fmt::Display) -> Check<T> {
        Err(format!("{what}:{}", self.text()))
    }

    pub(crate) fn check(&self, right: bool, what: &str) -> Check {
        if right { Ok(()) } else { self.fail(what) }
    }

    pub(crate) fn last(&self) -> &Seen {
        &self.path.last().expect("was seen where it was sent").1
    }

    fn drops(&self) -> Vec<(u32, u64)> {
        self.counted.iter().filter(|(n, _)| **n < 256).map(|(n, by)| (*n, *by)).collect()
    }

    /// It reached this place, and nothing was dropped.
    pub(crate) fn at(&self, place: Place) -> Check<&Seen> {
        self.check(self.drops().is_empty(), "something is counted as dropped")?;
        let (last, seen) = self.path.last().expect("was seen where it was sent");
        let moved = self.path.len() > 1;
        if moved && *last == place { Ok(seen) } else { self.fail(format!("not at {place:?}")) }
    }

    /// It reached this place with these ends and is otherwise what was sent.
    pub(crate) fn arrives(&self, place: Place, from: End, to: End) -> Check<&Seen> {
        let seen = self.at(place)?;
        let any = (from.0, if from.1 == ANY { seen.ports.0 } else { from.1 });
        let ends = seen.ends().unwrap_or((any, to));
        if ends != (any, to) {
            return self.fail(format!("ends are not {any:?} > {to:?}"));
        }
        let sent = &self.sent;
        self.check(seen.number == sent.number && seen.flags == sent.flags, "protocol or flags")?;
        self.check(seen.payload == sent.payload, "payload")?;
        self.check(seen.options == sent.options, "options or extension headers")?;
        self.check(seen.fragment == sent.fragment, "fragment")?;
        self.check(seen.unsummed == sent.unsummed, "a checksum came or went")?;
        Ok(seen)
    }

    fn dropped_once(&self, reason: &str) -> Check {
        let drops = self.drops();
        let right = matches!(drops[..], [(n, 1)] if counter(n) == reason);
        if right { Ok(()) } else { self.fail(format!("not counted once as {reason}")) }
    }

    /// It was dropped for this reason, and left nothing behind.
    pub(crate) fn dropped(&self, reason: &str) -> Check {
        self.dropped_once(reason)?;
        self.check(self.unchanged, "a dropped packet changed connections")?;
        let arrived = self.path.iter().skip(1).any(|(place, _)| place.is_end());
        self.check(!arrived, "was dropped and arrived")?;
        self.check(!self.counted.contains_key(&Metric::ANSWERED.0), "was answered")
    }

    /// It was dropped for this reason, its sender was told so with this error, which quotes what it sent,
    /// and nothing was left behind.
    pub(crate) fn refused(&self, reason: &str, place: Place, complaint: Complaint) -> Check<&Seen> {
        self.dropped_once(reason)?;
        self.check(self.unchanged, "a refused packet changed connections")?;
        self.complained(place, complaint)
    }

    /// Its sender was told with this error, which quotes what it sent.
    pub(crate) fn complained(&self, place: Place, complaint: Complaint) -> Check<&Seen> {
        let (last, seen) = self.path.last().expect("was seen where it was sent");
        self.check(*last == place, "the sender was not told")?;
        let v4 = self.sent.from.is_some_and(|address| address.is_ipv4());
        let Some((kind, mtu, quote)) = &seen.error else { return self.fail("no error") };
        self.check(*kind == complaint.code(v4), "another error")?;
        if let Complaint::TooBig(wanted) = complaint {
            self.check(*mtu == wanted, "another MTU")?;
        }
        // The hops that it took before are the only difference.
        let mut sent = self.sent.packet.clone();
        let ttl = if v4 { vec![8, 10, 11] } else { vec![7] };
        let least = if v4 { 548.min(sent.len()) } else { 1232.min(sent.len()) };
        self.check(quote.len() == least, "quoted length")?;
        for at in ttl {
            sent[at] = quote[at];
        }
        self.check(sent[..least] == quote[..], "quotes something else")?;
        Ok(seen)
    }
}

/// A port that a node may choose.
pub(crate) const ANY: u16 = 0xfffe;

pub(crate) fn counter(number: u32) -> String {
    Metric(number).name().map_or_else(|| number.to_string(), str::to_owned)
}

/// A connection from a client to a frontend and on to a backend.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    pub proto: Proto,
    pub sender: Sender,
    pub from: End,
    pub to: End,
    pub pod: &'static str,
    /// The ends as the backend sees them.
    pub sees: End,
    pub target: End,
}

impl<'a> Lab<'a> {
    pub(crate) fn new(world: &'a mut dyn Bench) -> Self {
        let mut lab = Self {
            world,
            traces: Vec::new(),
            now: START,
            counters: BTreeMap::new(),
            tables: Vec::new(),
        };
        lab.wait(0);
        lab.counters = lab.count();
        lab.tables = lab.dump();
        lab
    }

    pub(crate) fn wait(&mut self, seconds: u64) {
        self.now += seconds * SECOND;
        self.world.set_time(self.now).expect("time");
    }

    pub(crate) fn apply(&mut self, services: &[Service]) {
        let state: State = state(services);
        self.world.apply(&state).expect("tables");
    }

    pub(crate) fn pod(&self, name: &str) -> usize {
        self.world.topology().pod(name).expect("a pod")
    }

    pub(crate) fn pod_in(&self, name: &str) -> Place {
        Place::PodIn(self.pod(name))
    }

    fn count(&mut self) -> BTreeMap<u32, u64> {
        let mut all: BTreeMap<u32, u64> = BTreeMap::new();
        for node in 0..3 {
            for (number, count) in self.world.metrics(node).into_iter().enumerate() {
                *all.entry(number as u32).or_default() += count;
            }
        }
        all
    }

    fn dump(&mut self) -> Vec<Table> {
        (0..3).map(|node| self.world.conntrack(node).expect("connections")).collect()
    }

    /// How many halves of connections each node has.
    pub(crate) fn halves(&self) -> [usize; 3] {
        [0, 1, 2].map(|node| self.tables[node].len())
    }

    /// Evicts the halves of these directions from a node's table.
    pub(crate) fn lose(&mut self, node: NodeIndex, directions: &[Direction]) {
        for (key, flow) in self.tables[node].clone() {
            if directions.contains(&flow.direction()) {
                assert!(self.world.evict(node, &key).expect("eviction"), "was there");
            }
        }
        self.tables = self.dump();
    }

    pub(crate) fn packet(&mut self, sender: Sender, packet: &Packet) -> Check<Got> {
        self.frame(sender, &packet.bytes())
    }

    /// Somebody sends a frame. What must hold for every packet is looked at here.
    pub(crate) fn frame(&mut self, sender: Sender, bytes: &[u8]) -> Check<Got> {
        let sent = read(bytes).map_err(|why| format!("the row's own packet: {why}"))?;
        let trace =
            self.world.send_from(sender, &Frame::new(bytes.to_vec())).map_err(|e| e.to_string())?;
        let (counters, tables) = (self.count(), self.dump());
        let counted = counters
            .iter()
            .map(|(n, count)| (*n, count - self.counters[n]))
            .filter(|(_, by)| *by != 0)
            .collect();
        let unchanged = tables == self.tables;
        (self.counters, self.tables) = (counters, tables);
        let mut got = Got { sent, path: Vec::new(), counted, unchanged };
        for (place, frame) in &trace.seen {
            match read(&frame.bytes) {
                Ok(seen) => got.path.push((*place, seen)),
                Err(why) => return got.fail(format!("at {place:?}: {why}: {:02x?}", frame.bytes)),
            }
        }
        self.traces.push(trace);
        everywhere(&got)?;
        Ok(got)
    }

    /// The opener's side sends.
    pub(crate) fn there(&mut self, path: &Path, flags: u8) -> Check<Seen> {
        let packet = Packet::new(path.proto, path.from, path.to, flags);
        self.there_with(path, &packet)
    }

    pub(crate) fn there_with(&mut self, path: &Path, packet: &Packet) -> Check<Seen> {
        let place = self.pod_in(path.pod);
        let got = self.packet(path.sender, packet)?;
        Ok(got.arrives(place, path.sees, path.target)?.clone())
    }

    /// The backend answers what it saw.
    pub(crate) fn back(&mut self, path: &Path, seen: &Seen, flags: u8) -> Check<Got> {
        let (from, to) = seen.ends().ok_or("no ends")?;
        let packet = Packet::new(path.proto, to, from, flags).length(33);
        self.back_with(path, &packet)
    }

    pub(crate) fn back_with(&mut self, path: &Path, packet: &Packet) -> Check<Got> {
        let pod = self.pod(path.pod);
        let got = self.packet(Sender::Pod(pod), packet)?;
        got.arrives(end_of(path.sender), path.to, path.from)?;
        Ok(got)
    }

    /// A connection is opened, answered, and goes on in both directions.
    pub(crate) fn talk(&mut self, path: &Path) -> Check<Seen> {
        let [open, answer, on] = path.proto.flags();
        let seen = self.there(path, open)?;
        self.back(path, &seen, answer)?;
        let again = self.there(path, on)?;
        if again.ends() != seen.ends() {
            return Err(format!("the backend sees {:?} and then {:?}", seen.ends(), again.ends()));
        }
        self.back(path, &seen, on)?;
        Ok(seen)
    }

    pub(crate) fn halves_are(&self, wanted: [usize; 3]) -> Check {
        let halves = self.halves();
        if halves == wanted {
            return Ok(());
        }
        Err(format!("halves of connections: {halves:?} and not {wanted:?}: {:?}", self.tables))
    }
}

/// Where a sender receives.
pub(crate) fn end_of(sender: Sender) -> Place {
    match sender {
        Sender::Pod(pod) => Place::PodIn(pod),
        Sender::Node(node) => Place::Host(node),
        Sender::Client(client) => Place::ClientIn(client),
    }
}

fn innermost(seen: &Seen) -> &Seen {
    seen.inner.as_deref().map_or(seen, innermost)
}

/// What holds for every packet at every place; its checksums are right, or it had not been read.
fn everywhere(got: &Got) -> Check {
    for (place, seen) in &got.path {
        let to_service = seen.to.is_some_and(is_cluster_ip);
        got.check(
            !(to_service && matches!(place, Place::Wire(_))),
            "a service address between nodes",
        )?;
        let from_pod = seen.from.is_some_and(is_pod);
        got.check(!(from_pod && matches!(place, Place::ClientIn(_))), "a pod's address outside")?;
    }
    for pair in got.path.windows(2) {
        let (before, after) = (innermost(&pair[0].1), innermost(&pair[1].1));
        let echoes =
            |seen: &Seen| matches!(seen.number, 1 | 58) && seen.ports.0 == 0 && seen.ports.1 != 0;
        let made =
            after.error.is_some() != before.error.is_some() || echoes(after) != echoes(before);
        // Each router on the way takes one hop, nodes among them; nobody takes one of what it sends itself.
        let cost = match (pair[0].0, pair[1].0) {
            (Place::Host(_), _) | (_, Place::Host(_) | Place::Router) => 0,
            _ => 1,
        };
        let right = if made { after.ttl == 64 } else { after.ttl + cost == before.ttl };
        got.check(right, &format!("hops between {:?} and {:?}", pair[0].0, pair[1].0))?;
    }
    Ok(())
}
