//! What holds for every packet at every hook, whatever it is and whatever was before.

use etherparse::checksum::Sum16BitWords;
use etherparse::{IpNumber, IpSlice, SlicedPacket};
use twinpath_control::diff::Write;
use twinpath_core::affinity::{Affinity, Client};
use twinpath_core::conntrack::Flow;
use twinpath_core::drop_reason::DropReason;
use twinpath_core::fault::{Fault, Kind, Which};
use twinpath_core::fragment::{Datagram, Ports};
use twinpath_core::hook::Hook;
use twinpath_core::limit::Bucket;
use twinpath_core::seam::Nanos;
use twinpath_core::tuple::Tuple;
use twinpath_core::verdict::{Decision, IfIndex, Verdict};
use twinpath_sim::engine::{Engine, NodeIndex, SimEngine, SimError};
use twinpath_sim::frame::Frame;
use twinpath_sim::node::Limits;

/// Most bytes that are put in front of a packet.
const MOST_GROWTH: usize = 128;
/// The longest packet that is made anew, with its link header and tags.
const LONGEST_ANSWER: usize = 1_300;
/// Most numbers that are drawn for a packet: a backend, and the tries for a source port.
const MOST_DRAWN: u64 = 160;

/// An engine that panics where a packet breaks a law:
/// - where every checksum was right, and the packet is not dropped, every one is;
/// - a packet that is dropped or refused opens no connection;
/// - exactly the reason of the decision is counted;
/// - the early hook has not touched what it lets pass;
/// - packets grow by what is put in front, tables up to their size, and the dice are thrown as often as
///   there are tries.
pub struct Lawful {
    engine: SimEngine,
    limits: Limits,
}

/// What is known before a packet and after it.
struct Snapshot {
    keys: Vec<Tuple>,
    drops: Vec<u64>,
    drawn: u64,
}

impl Lawful {
    /// An engine with tables of these sizes.
    pub const fn new(engine: SimEngine, limits: Limits) -> Self {
        Self { engine, limits }
    }

    fn snapshot(&mut self, node: NodeIndex) -> Result<Snapshot, SimError> {
        let keys = self.engine.conntrack(node)?.into_iter().map(|(key, _)| key).collect();
        let metrics = self.engine.metrics(node)?;
        let count = |reason| metrics.get(reason as usize).copied().unwrap_or(0);
        let drops = DropReason::ALL.into_iter().map(count).collect();
        Ok(Snapshot { keys, drops, drawn: self.engine.drawn(node)? })
    }

    fn watched(
        &mut self,
        node: NodeIndex,
        hook: Hook,
        frame: &mut Frame,
        run: impl FnOnce(&mut SimEngine, &mut Frame) -> Result<Decision, SimError>,
    ) -> Result<Decision, SimError> {
        let sent = frame.clone();
        let before = self.snapshot(node)?;
        let decision = run(&mut self.engine, frame)?;
        let after = self.snapshot(node)?;
        let verdict = decision.verdict();
        let about = || {
            format!("{} {decision:?}\n  {:02x?}\n  {:02x?}", hook.name(), sent.bytes, frame.bytes)
        };
        let is_gone = matches!(verdict, Verdict::Drop(_));
        if !is_gone && checksums(&sent.bytes) == Some(true) {
            assert_ne!(checksums(&frame.bytes), Some(false), "checksums: {}", about());
        }
        if is_gone || matches!(verdict, Verdict::Reject(_)) {
            let opened = after.keys.iter().find(|key| !before.keys.contains(key));
            assert_eq!(opened, None, "connection of a dropped packet: {}", about());
        }
        for (reason, (was, is)) in DropReason::ALL.iter().zip(before.drops.iter().zip(&after.drops))
        {
            let count = u64::from(decision.reason() == Some(*reason));
            assert_eq!(is - was, count, "{}: {}", reason.name(), about());
        }
        if hook == Hook::Xdp && verdict == Verdict::Pass {
            assert_eq!(sent, *frame, "touched: {}", about());
        }
        let most = LONGEST_ANSWER.max(sent.bytes.len() + MOST_GROWTH);
        assert!(frame.bytes.len() <= most, "grown: {}", about());
        assert!(after.drawn - before.drawn <= MOST_DRAWN, "dice: {}", about());
        self.sizes(node)?;
        Ok(decision)
    }

    fn sizes(&mut self, node: NodeIndex) -> Result<(), SimError> {
        let (v4, v6): (Vec<_>, Vec<_>) =
            self.engine.conntrack(node)?.into_iter().partition(|(key, _)| key.is_v4());
        assert!(v4.len().max(v6.len()) <= self.limits.conntrack, "conntrack");
        assert!(self.engine.affinities(node)?.len() <= self.limits.affinities, "affinities");
        assert!(self.engine.fragments(node)?.len() <= self.limits.fragments, "fragments");
        Ok(())
    }
}

impl Engine for Lawful {
    type Error = SimError;

    fn nodes(&self) -> usize {
        self.engine.nodes()
    }

    fn set_time(&mut self, now: Nanos) -> Result<(), SimError> {
        self.engine.set_time(now)
    }

    fn turn(&mut self, now: Nanos, packet: u64) -> Result<(), SimError> {
        self.engine.turn(now, packet)
    }

    fn write(&mut self, node: NodeIndex, write: &Write) -> Result<(), SimError> {
        self.engine.write(node, write)
    }

    fn run(
        &mut self,
        node: NodeIndex,
        hook: Hook,
        device: IfIndex,
        frame: &mut Frame,
    ) -> Result<Decision, SimError> {
        self.watched(node, hook, frame, |engine, frame| engine.run(node, hook, device, frame))
    }

    fn run_marked(
        &mut self,
        node: NodeIndex,
        hook: Hook,
        device: IfIndex,
        frame: &mut Frame,
    ) -> Result<Decision, SimError> {
        self.watched(node, hook, frame, |engine, frame| {
            engine.run_marked(node, hook, device, frame)
        })
    }

    fn conntrack(&mut self, node: NodeIndex) -> Result<Vec<(Tuple, Flow)>, SimError> {
        self.engine.conntrack(node)
    }

    fn affinities(&mut self, node: NodeIndex) -> Result<Vec<(Client, Affinity)>, SimError> {
        self.engine.affinities(node)
    }

    fn fragments(&mut self, node: NodeIndex) -> Result<Vec<(Datagram, Ports)>, SimError> {
        self.engine.fragments(node)
    }

    fn limits(&mut self, node: NodeIndex) -> Result<Vec<Bucket>, SimError> {
        self.engine.limits(node)
    }

    fn drawn(&mut self, node: NodeIndex) -> Result<u64, SimError> {
        self.engine.drawn(node)
    }

    fn metrics(&mut self, node: NodeIndex) -> Result<Vec<u64>, SimError> {
        self.engine.metrics(node)
    }

    fn evict(&mut self, node: NodeIndex, key: &Tuple) -> Result<bool, SimError> {
        self.engine.evict(node, key)
    }

    fn fault(
        &mut self,
        node: NodeIndex,
        which: Which,
        kind: Kind,
        after: u32,
    ) -> Result<(), SimError> {
        self.engine.fault(node, which, kind, after)
    }

    fn faults(&mut self, node: NodeIndex) -> Result<Vec<Fault>, SimError> {
        self.engine.faults(node)
    }

    fn reset(&mut self, seed: u64) -> Result<(), SimError> {
        self.engine.reset(seed)
    }
}

/// Whether every checksum of a frame is right, those in tunnels and in what ICMP errors quote included;
/// `None` where not all of it can be told.
pub fn checksums(frame: &[u8]) -> Option<bool> {
    let sliced = SlicedPacket::from_ethernet(frame).ok()?;
    let ip = match sliced.net? {
        etherparse::NetSlice::Ipv4(ip) => IpSlice::Ipv4(ip),
        etherparse::NetSlice::Ipv6(ip) => IpSlice::Ipv6(ip),
        _ => return None,
    };
    packet(&ip, 0)
}

/// The same for an IP packet, this deep in others.
fn packet(ip: &IpSlice<'_>, depth: u8) -> Option<bool> {
    if depth > 3 {
        return None;
    }
    let (mut pseudo, options) = match ip {
        IpSlice::Ipv4(ip) => {
            let header = ip.header();
            if sum(Sum16BitWords::new(), header.slice()) != 0xffff {
                return Some(false);
            }
            let pseudo =
                Sum16BitWords::new().add_4bytes(header.source()).add_4bytes(header.destination());
            (pseudo, ip.extensions().auth.is_some())
        }
        IpSlice::Ipv6(ip) => {
            let header = ip.header();
            let pseudo =
                Sum16BitWords::new().add_16bytes(header.source()).add_16bytes(header.destination());
            // Behind these, the addresses of the pseudo-header or the bytes are not those that are seen.
            let hidden = ip.extensions().clone().into_iter().any(|extension| {
                use etherparse::Ipv6ExtensionSlice::{Authentication, Routing};
                matches!(extension, Authentication(_) | Routing(_))
            });
            (pseudo, hidden)
        }
    };
    let body = ip.payload();
    if options || body.fragmented {
        return None;
    }
    let bytes = body.payload;
    let length = u32::try_from(bytes.len()).ok()?;
    let number = body.ip_number;
    pseudo = pseudo.add_4bytes(length.to_be_bytes()).add_2bytes([0, number.0]);
    match number {
        IpNumber::TCP => (bytes.len() >= 20).then(|| sum(pseudo, bytes) == 0xffff),
        IpNumber::UDP => {
            let [_, _, d0, d1, l0, l1, c0, c1, rest @ ..] = bytes else { return None };
            // What a shorter length leaves over is no part of the datagram.
            if usize::from(u16::from_be_bytes([*l0, *l1])) != bytes.len() {
                return None;
            }
            if [*c0, *c1] != [0, 0] && sum(pseudo, bytes) != 0xffff {
                return Some(false);
            }
            if [*d0, *d1] == 6081_u16.to_be_bytes() { geneve(rest, depth) } else { Some(true) }
        }
        IpNumber::ICMP => match bytes {
            [_, _, _, _, _, _, _, _, ..] if sum(Sum16BitWords::new(), bytes) != 0xffff => {
                Some(false)
            }
            [3 | 4 | 5 | 11 | 12, _, _, _, _, _, _, _, quote @ ..] => quoted(quote, depth),
            [_, _, _, _, _, _, _, _, ..] => Some(true),
            _ => None,
        },
        IpNumber::IPV6_ICMP => match bytes {
            [_, _, _, _, _, _, _, _, ..] if sum(pseudo, bytes) != 0xffff => Some(false),
            [1..=4, _, _, _, _, _, _, _, quote @ ..] => quoted(quote, depth),
            [_, _, _, _, _, _, _, _, ..] => Some(true),
            _ => None,
        },
        IpNumber::IPV4 | IpNumber::IPV6 => packet(&IpSlice::from_slice(bytes).ok()?, depth + 1),
        _ => Some(true),
    }
}

/// What is in a Geneve tunnel.
fn geneve(bytes: &[u8], depth: u8) -> Option<bool> {
    let [first, _, 0x65, 0x58, _, _, _, _, rest @ ..] = bytes else { return None };
    let inner = rest.get(usize::from(first & 0x3f) * 4..)?;
    let sliced = etherparse::Ethernet2Slice::from_slice_without_fcs(inner).ok()?;
    packet(&IpSlice::from_slice(sliced.payload().payload).ok()?, depth + 1)
}

/// What an ICMP error quotes: all of a packet, or the IP header and no more than can be told.
fn quoted(bytes: &[u8], depth: u8) -> Option<bool> {
    match bytes.first()? >> 4 {
        4 => {
            let header = etherparse::Ipv4HeaderSlice::from_slice(bytes).ok()?;
            if sum(Sum16BitWords::new(), header.slice()) != 0xffff {
                return Some(false);
            }
            if usize::from(header.total_len()) != bytes.len() {
                return Some(true);
            }
        }
        6 => {
            let header = etherparse::Ipv6HeaderSlice::from_slice(bytes).ok()?;
            if usize::from(header.payload_length()) + 40 != bytes.len() {
                return Some(true);
            }
        }
        _ => return None,
    }
    packet(&IpSlice::from_slice(bytes).ok()?, depth + 1)
}

/// The sum of these words, folded; `0xffff` where a checksum is among them and right.
fn sum(before: Sum16BitWords, bytes: &[u8]) -> u16 {
    !before.add_slice(bytes).ones_complement()
}
