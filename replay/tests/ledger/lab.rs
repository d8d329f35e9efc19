//! A test at work: a world brought to where the test begins, packets sent through it, and what must hold for
//! them.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::OnceLock;

use twinpath_control::diff::Write;
use twinpath_control::model::State;
use twinpath_control::tables::{Dispatch, Mode};
use twinpath_core::conntrack::Flow;
use twinpath_core::seam::{Metric, Nanos};
use twinpath_core::state::Direction;
use twinpath_core::tuple::Tuple;
use twinpath_sim::cluster::Place;
use twinpath_sim::engine::{Engine, NodeIndex};
use twinpath_sim::frame::Frame;
use twinpath_sim::topology::Topology;
use twinpath_sim::world::{ModelWorld, Plan, Sender, Trace, World};

use super::cluster::{self, Service, Setup, client, node, pod};
use super::packet::{End, Ip, Packet, Proto};

pub(crate) type Check<T = ()> = Result<T, String>;

/// A world that can be begun anew and shows what is counted.
pub(crate) trait Bench: World {
    /// Empty tables, then those of the state.
    fn begin(&mut self, setup: &Setup, topology: Topology, state: &State);
    /// Forgets connections and counts.
    fn forget(&mut self, seed: u64);
    fn metrics(&mut self, node: NodeIndex) -> Vec<u64>;
    /// How many datagrams in fragments a node remembers.
    fn fragments(&mut self, node: NodeIndex) -> usize;
    fn write(&mut self, node: NodeIndex, write: &Write);
    /// From now on the router sends what is for this address to another node.
    fn reroute(&mut self, address: IpAddr, node: NodeIndex);
    /// Whether frames with partial checksums can be sent.
    fn takes_partial(&self) -> bool;
}

impl<E: Engine> Bench for ModelWorld<E> {
    fn begin(&mut self, setup: &Setup, topology: Topology, state: &State) {
        self.apply(&State::default()).expect("empty tables");
        self.cluster.topology = topology;
        self.plan = Plan::new(setup.options.clone());
        self.apply(state).expect("tables");
    }

    fn forget(&mut self, seed: u64) {
        self.cluster.engine.reset(seed).expect("a reset");
    }

    fn metrics(&mut self, node: NodeIndex) -> Vec<u64> {
        self.cluster.engine.metrics(node).expect("counters")
    }

    fn fragments(&mut self, node: NodeIndex) -> usize {
        self.cluster.engine.fragments(node).expect("fragments").len()
    }

    fn write(&mut self, node: NodeIndex, write: &Write) {
        self.cluster.engine.write(node, write).expect("a write");
    }

    fn reroute(&mut self, address: IpAddr, node: NodeIndex) {
        let router = self.cluster.topology.router.as_mut().expect("a router");
        router.routes.insert(address.into(), node);
    }

    fn takes_partial(&self) -> bool {
        let bytes = Packet::new(Proto::Udp, (node(1, true), 1), (node(2, true), 2), 0).frame();
        self.cluster.engine.takes(&Frame { bytes, partial: true })
    }
}

/// When tests begin.
const START: Nanos = 1_000_000_000_000;
const MILLISECOND: Nanos = 1_000_000;

/// Who sends or receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Pod(&'static str),
    Node(u8),
    Client(&'static str),
}

impl Who {
    pub(crate) fn address(self, v4: bool) -> IpAddr {
        match self {
            Self::Pod(name) => pod(name, v4),
            Self::Node(number) => node(number, v4),
            Self::Client(name) => client(name, v4),
        }
    }
}

/// A connection: who opens it, to where, and what its other end sees.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    pub way: &'static str,
    pub proto: Proto,
    pub v4: bool,
    pub opener: Who,
    pub from: End,
    pub to: End,
    pub server: Who,
    /// The opener as the server sees it, and the server.
    pub sees: End,
    pub target: End,
}

impl Path {
    /// A packet of the opener's, as it sends it.
    pub(crate) fn there(&self, flags: u8) -> Packet {
        Packet::new(self.proto, self.from, self.to, flags)
    }

    /// A packet of the server's, as it sends it.
    pub(crate) fn back(&self, flags: u8) -> Packet {
        Packet::new(self.proto, self.target, self.sees, flags).length(33)
    }

    /// The same connection from another port, which stays.
    pub(crate) fn port(&self, port: u16) -> Self {
        let mut other = self.clone();
        (other.from.1, other.sees.1) = (port, port);
        other
    }
}

/// A port that nodes keep when they translate.
pub(crate) const PORT: u16 = 40_000;

pub(crate) const FAMILIES: [bool; 2] = [true, false];

/// The ways that connections take: all of the services at once, and pods to the outside.
pub(crate) const WAYS: [&str; 8] = [
    "ClusterIP local",
    "ClusterIP remote",
    "NodePort local",
    "NodePort SNAT",
    "masquerade",
    "DSR option",
    "DSR IPIP",
    "DSR Geneve",
];

/// Those that change the opener's address.
pub(crate) const SNAT: [&str; 2] = ["NodePort SNAT", "masquerade"];

pub(crate) fn setup(way: &str) -> Setup {
    let mut setup = Setup::default();
    setup.options.masquerade = true;
    let dispatch = match way {
        "DSR option" => Dispatch::Option,
        "DSR IPIP" => Dispatch::Ipip,
        "DSR Geneve" => Dispatch::Geneve,
        _ => return setup,
    };
    (setup.options.mode, setup.options.dispatch) = (Mode::Dsr, dispatch);
    setup
}

/// The service of a protocol behind which there is one pod of node 1, or of node 2.
pub(crate) fn service(proto: Proto, server: &'static str) -> Service {
    let mut service = Service::new(proto, &[server]);
    service.number = match (proto, server) {
        (Proto::Tcp, "sa") => 1,
        (Proto::Tcp, _) => 2,
        (Proto::Udp, "sa") => 3,
        (Proto::Udp, _) => 4,
        (_, "sa") => 5,
        _ => 6,
    };
    let number = u16::from(service.number);
    if proto == Proto::Sctp {
        let port = 30_130 + number;
        (service.port, service.node_port, service.target) = (port, port, port);
    } else {
        service.node_port = 30_080 + number;
    }
    service
}

fn services() -> Vec<Service> {
    let protos = [Proto::Tcp, Proto::Udp, Proto::Sctp];
    protos.into_iter().flat_map(|proto| [service(proto, "sa"), service(proto, "sb")]).collect()
}

/// The cluster with none of the services, or with all of them.
fn states(none: bool) -> &'static State {
    static STATES: [OnceLock<State>; 2] = [const { OnceLock::new() }; 2];
    let services = if none { Vec::new() } else { services() };
    STATES[usize::from(none)].get_or_init(|| cluster::state(&services))
}

/// A connection by one of the ways.
pub(crate) fn path(way: &'static str, proto: Proto, v4: bool) -> Path {
    let server = if way.ends_with("local") { "sa" } else { "sb" };
    let (opener, ours, to, server, target) = if way == "masquerade" {
        let to = (client("x", v4), if proto == Proto::Echo { 0 } else { 53 });
        (Who::Pod("ca"), true, to, Who::Client("x"), to)
    } else {
        let service = service(proto, server);
        let target = service.target(server, v4);
        let (opener, to) = match way.split(' ').next() {
            Some("ClusterIP") => (Who::Pod("ca"), service.cluster(v4)),
            _ => (Who::Client("x"), service.at_node(1, v4)),
        };
        (opener, way.ends_with("SNAT"), to, Who::Pod(server), target)
    };
    let from = (opener.address(v4), PORT);
    let sees = if ours { (node(1, v4), PORT) } else { from };
    Path { way, proto, v4, opener, from, to, server, sees, target }
}

/// What tables hold, so that a test that begins with the same ones need not write them again; `None` where
/// they have changed since.
pub(crate) type Begun = Option<(Setup, String)>;

/// A world, and the time in it.
pub(crate) struct Lab<'a> {
    pub world: &'a mut dyn Bench,
    now: Nanos,
    begun: Begun,
    /// Of everything that was seen, to compare worlds by.
    digest: DefaultHasher,
}

/// What became of a packet.
pub(crate) struct Got {
    pub trace: Trace,
    /// By how much counters have grown, where that was looked at.
    pub counted: Option<BTreeMap<String, u64>>,
    /// Whether connections are the same as before; `false` where that was not looked at.
    pub unchanged: bool,
}

fn counter(number: u32) -> String {
    Metric(number).name().map_or_else(|| number.to_string(), str::to_owned)
}

impl Got {
    /// Where it ended, and as what, from the IP header on.
    pub(crate) fn last(&self) -> (Place, &[u8]) {
        let (place, frame) = self.trace.seen.last().expect("was seen where it was sent");
        (*place, frame.bytes.get(14..).unwrap_or_default())
    }

    pub(crate) fn fail<T>(&self, what: impl std::fmt::Display) -> Check<T> {
        let mut text = format!("{what}:");
        for (place, frame) in &self.trace.seen {
            let hex: String =
                frame.bytes.iter().skip(14).take(96).map(|b| format!("{b:02x}")).collect();
            text += &format!("\n      {place:?} {hex}");
        }
        Err(text + &format!("\n      {:?} counted: {:?}", self.trace.fate, self.counted))
    }

    pub(crate) fn check(&self, right: bool, what: &str) -> Check {
        if right { Ok(()) } else { self.fail(what) }
    }

    /// It ended at this place as these bytes and no others, but for its time to live, which some way has
    /// brought down.
    pub(crate) fn arrives(&self, place: Place, as_: &impl Ip) -> Check<u8> {
        let (at, bytes) = self.last();
        if at != place || self.trace.seen.len() < 2 {
            return self.fail(format!("not at {place:?}"));
        }
        let ttl = ttl_of(bytes);
        let wanted = as_.ip(ttl);
        if bytes != wanted {
            let hex: String = wanted.iter().take(96).map(|b| format!("{b:02x}")).collect();
            return self.fail(format!("not as {hex}"));
        }
        Ok(ttl)
    }

    /// It was dropped, for this reason and counted once, and changed no connection; nobody got anything.
    pub(crate) fn dropped(&self, reason: &str) -> Check {
        self.counts(reason)?;
        self.check(self.unchanged, "a dropped packet changed connections")?;
        self.check(!self.is_anywhere(), "was dropped and arrived")
    }

    /// One drop is counted, and this is why.
    pub(crate) fn counts(&self, reason: &str) -> Check {
        let drops: Vec<_> =
            self.counted.iter().flatten().filter(|(name, _)| is_drop(name)).collect();
        let right = matches!(drops[..], [(name, 1)] if name == reason);
        self.check(right, &format!("not counted once as {reason}"))
    }

    /// Whether somebody got something.
    pub(crate) fn is_anywhere(&self) -> bool {
        self.trace.seen.iter().skip(1).any(|(place, _)| place.is_end())
    }
}

fn is_drop(name: &str) -> bool {
    twinpath_core::drop_reason::DropReason::ALL.iter().any(|reason| reason.name() == name)
}

pub(crate) const fn ttl_of(ip: &[u8]) -> u8 {
    if ip[0] >> 4 == 4 { ip[8] } else { ip[7] }
}

/// Ports of a packet without IPv4 options and extension headers.
pub(crate) fn ports_of(ip: &[u8]) -> (u16, u16) {
    let at = if ip[0] >> 4 == 4 { 20 } else { 40 };
    (u16::from_be_bytes([ip[at], ip[at + 1]]), u16::from_be_bytes([ip[at + 2], ip[at + 3]]))
}

/// Source address of a packet.
pub(crate) fn source_of(ip: &[u8]) -> IpAddr {
    if ip[0] >> 4 == 4 {
        IpAddr::from(<[u8; 4]>::try_from(&ip[12..16]).expect("four bytes"))
    } else {
        IpAddr::from(<[u8; 16]>::try_from(&ip[8..24]).expect("sixteen bytes"))
    }
}

impl<'a> Lab<'a> {
    pub(crate) fn new(world: &'a mut dyn Bench, begun: Begun) -> Self {
        Self { world, now: START, begun, digest: DefaultHasher::new() }
    }

    /// The digest, and what tables hold.
    pub(crate) fn end(self) -> (u64, Begun) {
        (self.digest.finish(), self.begun)
    }

    /// Begins anew, with the services of every way.
    pub(crate) fn begin(&mut self, way: &str) {
        self.begin_with(&setup(way), &services());
    }

    /// Begins anew.
    pub(crate) fn begin_with(&mut self, setup: &Setup, services: &[Service]) {
        let wanted = (setup.clone(), format!("{services:?}"));
        if self.begun.as_ref() != Some(&wanted) {
            let topology = setup.topology();
            if services.is_empty() || wanted.1 == format!("{:?}", self::services()) {
                // Read once, since it takes as long as a test.
                self.world.begin(setup, topology, states(services.is_empty()));
            } else {
                self.world.begin(setup, topology, &cluster::state(services));
            }
            self.begun = Some(wanted);
        }
        self.world.forget(setup.seed);
        self.now = START;
        self.wait(0);
    }

    /// Begins anew with a state of the cluster that is not made of services alone.
    pub(crate) fn begin_state(&mut self, setup: &Setup, state: &State) {
        self.begun = None;
        self.world.begin(setup, setup.topology(), state);
        self.world.forget(setup.seed);
        self.now = START;
        self.wait(0);
    }

    /// The control plane learns of other services. The next test begins with empty tables.
    pub(crate) fn apply(&mut self, services: &[Service]) {
        self.begun = None;
        self.world.apply(&cluster::state(services)).expect("tables");
    }

    /// Something else than services was changed: the next test begins with empty tables.
    pub(crate) fn spoil(&mut self) -> &mut dyn Bench {
        self.begun = None;
        self.world
    }

    /// Milliseconds pass.
    pub(crate) fn wait(&mut self, milliseconds: u64) {
        self.now += milliseconds * MILLISECOND;
        self.world.set_time(self.now).expect("time");
    }

    fn pod(&self, name: &str) -> usize {
        self.world.topology().pod(name).expect("a pod")
    }

    fn sender(&self, who: Who) -> Sender {
        match who {
            Who::Pod(name) => Sender::Pod(self.pod(name)),
            Who::Node(number) => Sender::Node(usize::from(number) - 1),
            Who::Client(name) => Sender::Client(usize::from(name == "y")),
        }
    }

    /// Where somebody receives.
    pub(crate) fn place(&self, who: Who) -> Place {
        match who {
            Who::Pod(name) => Place::PodIn(self.pod(name)),
            Who::Node(number) => Place::Host(usize::from(number) - 1),
            Who::Client(name) => Place::ClientIn(usize::from(name == "y")),
        }
    }

    /// What all nodes have counted.
    fn counters(&mut self) -> BTreeMap<u32, u64> {
        let mut counters: BTreeMap<u32, u64> = BTreeMap::new();
        for node in 0..3 {
            for (number, count) in self.world.metrics(node).into_iter().enumerate() {
                *counters.entry(number as u32).or_default() += count;
            }
        }
        counters
    }

    /// The connections of all nodes.
    pub(crate) fn tables(&mut self) -> Vec<Vec<(Tuple, Flow)>> {
        (0..3).map(|node| self.flows(node)).collect()
    }

    /// The halves of connections on a node.
    pub(crate) fn flows(&mut self, node: NodeIndex) -> Vec<(Tuple, Flow)> {
        self.world.conntrack(node).expect("connections")
    }

    /// Evicts the halves of this direction from a node's table; how many there were.
    pub(crate) fn lose(&mut self, node: NodeIndex, direction: Direction) -> usize {
        let mut lost = 0;
        for (key, flow) in self.flows(node) {
            if flow.direction() == direction {
                assert!(self.world.evict(node, &key).expect("eviction"), "was there");
                lost += 1;
            }
        }
        lost
    }

    /// Somebody sends a frame, and nothing else is looked at: for many.
    pub(crate) fn pass(&mut self, who: Who, bytes: Vec<u8>) -> Trace {
        let trace = self.world.send_from(self.sender(who), &Frame::new(bytes)).expect("a world");
        self.note(&trace);
        trace
    }

    fn note(&mut self, trace: &Trace) {
        for (place, frame) in &trace.seen {
            place.hash(&mut self.digest);
            frame.bytes.hash(&mut self.digest);
        }
    }

    /// Somebody sends.
    pub(crate) fn send(&mut self, who: Who, packet: &impl Ip) -> Got {
        let trace = self.pass(who, packet.frame());
        Got { trace, counted: None, unchanged: false }
    }

    /// The same with so many hops.
    pub(crate) fn send_ttl(&mut self, who: Who, packet: &impl Ip, ttl: u8) -> Got {
        let trace = self.pass(who, super::packet::frame(&packet.ip(ttl)));
        Got { trace, counted: None, unchanged: false }
    }

    /// The same, with a look at counters and connections before and after.
    pub(crate) fn watch(&mut self, who: Who, packet: &impl Ip) -> Got {
        self.watch_frame(who, packet.frame())
    }

    pub(crate) fn watch_frame(&mut self, who: Who, bytes: Vec<u8>) -> Got {
        let (counters, tables) = (self.counters(), self.tables());
        let trace = self.pass(who, bytes);
        let grown =
            self.counters().into_iter().map(|(n, count)| (counter(n), count - counters[&n]));
        let counted = grown.filter(|(_, by)| *by != 0).collect();
        let unchanged = tables == self.tables();
        Got { trace, counted: Some(counted), unchanged }
    }

    /// The opener sends this; it reaches the server with the ends that it is to see.
    pub(crate) fn there(&mut self, path: &Path, packet: &Packet) -> Check<Got> {
        let got = self.send(path.opener, packet);
        got.arrives(self.place(path.server), &packet.between(path.sees, path.target))?;
        Ok(got)
    }

    /// The server sends this; it reaches the opener from where that sent to.
    pub(crate) fn back(&mut self, path: &Path, packet: &Packet) -> Check<Got> {
        let got = self.send(path.server, packet);
        got.arrives(self.place(path.opener), &packet.between(path.to, path.from))?;
        Ok(got)
    }

    /// The opener sends the first packet; the connection with the port that it was given.
    pub(crate) fn open(&mut self, path: &Path) -> Check<Path> {
        let got = self.send(path.opener, &path.there(path.proto.flags()[0]));
        let (place, bytes) = got.last();
        if place != self.place(path.server) {
            return got.fail("did not arrive");
        }
        let mut opened = path.clone();
        opened.sees.1 = if path.proto == Proto::Echo {
            let at = if path.v4 { 24 } else { 44 };
            u16::from_be_bytes([bytes[at], bytes[at + 1]])
        } else {
            ports_of(bytes).0
        };
        let sent = path.there(path.proto.flags()[0]);
        got.arrives(place, &sent.between(opened.sees, opened.target))?;
        Ok(opened)
    }

    /// A connection is opened, answered, and goes on in both directions; with the port that it was given.
    pub(crate) fn talk(&mut self, path: &Path) -> Check<Path> {
        let [_, answer, on] = path.proto.flags();
        let path = self.open(path)?;
        self.back(&path, &path.back(answer))?;
        self.there(&path, &path.there(on))?;
        self.back(&path, &path.back(on))?;
        Ok(path)
    }
}

/// See [`Lab::talk`].
pub(crate) fn talk(lab: &mut Lab<'_>, path: &Path) -> Check<Path> {
    lab.talk(path)
}

/// See [`Lab::open`].
pub(crate) fn open(lab: &mut Lab<'_>, path: &Path) -> Check<Path> {
    lab.open(path)
}

/// Runs a check on each of these ways, in both families, from an empty conntrack table each.
pub(crate) fn each(
    lab: &mut Lab<'_>,
    ways: &[&'static str],
    protos: &[Proto],
    run: impl Fn(&mut Lab<'_>, &Path) -> Check,
) -> Check {
    for way in ways {
        for v4 in FAMILIES {
            for proto in protos {
                lab.begin(way);
                let path = path(way, *proto, v4);
                let family = if v4 { "IPv4" } else { "IPv6" };
                run(lab, &path).map_err(|why| format!("{family} {} {way}: {why}", proto.name()))?;
            }
        }
    }
    Ok(())
}

pub(crate) fn fail<T>(what: impl Into<String>) -> Check<T> {
    Err(what.into())
}

/// Fails unless this holds.
pub(crate) fn is(right: bool, what: impl Into<String>) -> Check {
    if right { Ok(()) } else { Err(what.into()) }
}
