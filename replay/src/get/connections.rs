//! Connections, as the datapath holds them: two halves each.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;
use twinpath_core::conntrack::Flow;
use twinpath_core::seam::Nanos;
use twinpath_core::state::{Direction, Phase};
use twinpath_core::tuple::Tuple;
use twinpath_core::wire;

use super::print::{Row, or_none};
use super::{Filter, NodeView, View, protocol, socket};

const SECOND: Nanos = 1_000_000_000;

/// A half of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HalfRow {
    /// Whose table.
    pub node: String,
    /// The protocol.
    pub proto: String,
    /// `original` or `reply`.
    pub direction: &'static str,
    /// The source of the packets that it is for.
    pub src: SocketAddr,
    /// Their destination.
    pub dst: SocketAddr,
    /// The source that they leave with.
    pub to_src: SocketAddr,
    /// The destination that they leave with.
    pub to_dst: SocketAddr,
    /// `OPENING`, `ESTABLISHED`, `CLOSING`, `DATAGRAMS`.
    pub state: &'static str,
    /// Whether an answer was seen.
    pub replied: bool,
    /// Whether the opener went on after the answer.
    pub assured: bool,
    /// Whether another node translated the original direction (DSR).
    pub direct: bool,
    /// For how many seconds it still counts; 0 where it no longer does.
    pub expires: u64,
    /// The service that chose the backend.
    pub service: Option<String>,
    /// The backend.
    pub backend: Option<String>,
}

/// All of a node, by key.
pub fn rows(view: &View, node: &NodeView, filter: &Filter) -> Vec<HalfRow> {
    let shown = node.conntrack.iter().filter(|(_, flow)| filter.takes_id(view, flow.service));
    shown.map(|(key, flow)| row(view, node, key, flow)).collect()
}

fn row(view: &View, node: &NodeView, key: &Tuple, flow: &Flow) -> HalfRow {
    let state = flow.state();
    let to = leaves_with(key, flow);
    HalfRow {
        node: node.name.clone(),
        proto: protocol(key.protocol),
        direction: match flow.direction() {
            Direction::Original => "original",
            Direction::Reply => "reply",
        },
        src: socket(key.source, key.source_port),
        dst: socket(key.destination, key.destination_port),
        to_src: socket(to.source, to.source_port),
        to_dst: socket(to.destination, to.destination_port),
        state: flow.phase().name(),
        replied: state.is_answered(),
        assured: state.is_assured(),
        direct: flow.is_direct(),
        expires: left(view, flow),
        service: Some(view.service(flow.service)).filter(|name| !name.is_empty()),
        backend: Some(view.backend(flow.backend)).filter(|name| !name.is_empty()),
    }
}

/// The tuple that packets leave with: of a half that only notes another one, their own.
const fn leaves_with(key: &Tuple, flow: &Flow) -> Tuple {
    if flow.translates() { flow.to } else { *key }
}

fn left(view: &View, flow: &Flow) -> u64 {
    flow.expires().saturating_sub(view.now) / SECOND
}

impl HalfRow {
    fn flags(&self) -> String {
        let words = [
            (!self.replied, "UNREPLIED"),
            (self.assured, "ASSURED"),
            (self.direct, "DIRECT"),
            (self.expires == 0, "EXPIRED"),
        ];
        let set: Vec<&str> =
            words.into_iter().filter(|(set, _)| *set).map(|(_, word)| word).collect();
        set.join(",")
    }
}

impl Row for HalfRow {
    const TYPE: &'static str = "conntrack";
    const HEAD: &'static [(&'static str, bool)] = &[
        ("NODE", false),
        ("PROTO", false),
        ("DIR", false),
        ("PACKETS", false),
        ("LEAVE AS", false),
        ("STATE", false),
        ("FLAGS", true),
        ("EXPIRES", false),
        ("SERVICE", false),
        ("BACKEND", true),
    ];

    fn lines(&self) -> Vec<Vec<String>> {
        let same = (self.src, self.dst) == (self.to_src, self.to_dst);
        let to = if same { "-".to_owned() } else { format!("{} > {}", self.to_src, self.to_dst) };
        vec![vec![
            self.node.clone(),
            self.proto.clone(),
            self.direction.to_owned(),
            format!("{} > {}", self.src, self.dst),
            to,
            self.state.to_owned(),
            or_none(self.flags()),
            format!("{}s", self.expires),
            or_none(self.service.clone().unwrap_or_default()),
            or_none(self.backend.clone().unwrap_or_default()),
        ]]
    }
}

/// What a half translates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NatRow {
    /// Whose table.
    pub node: String,
    /// The protocol.
    pub proto: String,
    /// `original` or `reply`.
    pub direction: &'static str,
    /// The source of the packets that it is for.
    pub src: SocketAddr,
    /// Their destination.
    pub dst: SocketAddr,
    /// What is written over the source.
    pub xlate_src: Option<SocketAddr>,
    /// What is written over the destination.
    pub xlate_dst: Option<SocketAddr>,
    /// The service that chose the backend.
    pub service: Option<String>,
}

/// The halves of a node that translate, by key.
pub fn nat(view: &View, node: &NodeView, filter: &Filter) -> Vec<NatRow> {
    let halves = rows(view, node, filter).into_iter();
    let translates = |half: &HalfRow| (half.src, half.dst) != (half.to_src, half.to_dst);
    let nat = |half: HalfRow| NatRow {
        xlate_src: (half.src != half.to_src).then_some(half.to_src),
        xlate_dst: (half.dst != half.to_dst).then_some(half.to_dst),
        node: half.node,
        proto: half.proto,
        direction: half.direction,
        src: half.src,
        dst: half.dst,
        service: half.service,
    };
    halves.filter(translates).map(nat).collect()
}

impl Row for NatRow {
    const TYPE: &'static str = "nat";
    const HEAD: &'static [(&'static str, bool)] = &[
        ("NODE", false),
        ("PROTO", false),
        ("DIR", false),
        ("PACKETS", false),
        ("XLATE_SRC", false),
        ("XLATE_DST", false),
        ("SERVICE", true),
    ];

    fn lines(&self) -> Vec<Vec<String>> {
        let to = |to: Option<SocketAddr>| to.map_or_else(|| "-".to_owned(), |to| to.to_string());
        vec![vec![
            self.node.clone(),
            self.proto.clone(),
            self.direction.to_owned(),
            format!("{} > {}", self.src, self.dst),
            to(self.xlate_src),
            to(self.xlate_dst),
            or_none(self.service.clone().unwrap_or_default()),
        ]]
    }
}

/// Connections as `conntrack -L` would print them, token by token: original tuple, reply tuple. A half whose
/// twin is gone stands for both. Those that have expired are left out.
pub fn conntrack(output: &mut impl Write, view: &View, filter: &Filter) -> io::Result<()> {
    for node in &view.nodes {
        let mut shown: BTreeSet<Tuple> = BTreeSet::new();
        for (key, flow) in &node.conntrack {
            if !filter.takes_id(view, flow.service) || flow.expires() <= view.now {
                continue;
            }
            let twin = flow.twin_key(key);
            let (original, reply) = match flow.direction() {
                Direction::Original => (*key, twin),
                Direction::Reply => (twin, *key),
            };
            if shown.insert(original) {
                writeln!(output, "{}", line(view, &original, &reply, flow))?;
            }
        }
    }
    Ok(())
}

fn line(view: &View, original: &Tuple, reply: &Tuple, flow: &Flow) -> String {
    let number = original.protocol;
    let name = match number {
        wire::TCP => "tcp",
        wire::UDP => "udp",
        wire::SCTP => "sctp",
        wire::ICMP => "icmp",
        wire::ICMPV6 => "icmpv6",
        _ => "unknown",
    };
    let state = flow.state();
    let words = match number {
        wire::TCP => match flow.phase() {
            Phase::Closing if state.is_reset() => "CLOSE ",
            Phase::Closing => "TIME_WAIT ",
            _ if state.is_done(Direction::Original) => "FIN_WAIT ",
            _ if state.is_done(Direction::Reply) => "CLOSE_WAIT ",
            Phase::Established => "ESTABLISHED ",
            _ if state.is_answered() => "SYN_RECV ",
            _ => "SYN_SENT ",
        },
        wire::SCTP if flow.phase() == Phase::Established => "ESTABLISHED ",
        wire::SCTP => "COOKIE_WAIT ",
        _ => "",
    };
    let unreplied = if state.is_answered() { "" } else { "[UNREPLIED] " };
    let assured = if state.is_assured() { "[ASSURED] " } else { "" };
    format!(
        "{name:<8} {number} {} {words}{}{unreplied}{}{assured}mark=0 use=1",
        left(view, flow),
        tuple(original, true),
        tuple(reply, false),
    )
}

fn tuple(tuple: &Tuple, is_original: bool) -> String {
    let (from, to) = (IpAddr::from(tuple.source), IpAddr::from(tuple.destination));
    let (source, destination) = (tuple.source_port.get(), tuple.destination_port.get());
    let ends = format!("src={from} dst={to}");
    let echo = match (tuple.protocol, is_original) {
        (wire::ICMP, true) => Some(8),
        (wire::ICMP, false) => Some(0),
        (wire::ICMPV6, true) => Some(128),
        (wire::ICMPV6, false) => Some(129),
        _ => None,
    };
    match echo {
        // The identifier is on the side of the one who asked.
        Some(kind) => format!("{ends} type={kind} code=0 id={} ", source.max(destination)),
        None => format!("{ends} sport={source} dport={destination} "),
    }
}
