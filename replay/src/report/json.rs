//! JSON lines for programs: an object per packet, the summary last. `schema/replay.schema.json` says
//! what is in them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::Path;

use serde::Serialize;
use sha2::{Digest, Sha256};
use twinpath_control::model::PortName;
use twinpath_core::address::Address;
use twinpath_core::parse::{Parsed, Transport};
use twinpath_core::tuple::Tuple;
use twinpath_core::verdict::Status;

use super::lines::Lines;
use super::{Context, Report, Run, Seen, Shown, table};
use crate::replay::flows::Role;
use crate::replay::outcome::{Outcome, Verdict};
use crate::worlds::Sender;

/// The version of the format: a field that is there keeps its name, type and meaning.
pub(super) const VERSION: u8 = 1;

/// JSON lines.
pub struct Json {
    lines: Lines,
    line: Vec<u8>,
}

impl Json {
    /// Packets as these lines, the summary behind them.
    pub const fn new(lines: Lines) -> Self {
        Self { lines, line: Vec::new() }
    }
}

#[derive(Serialize)]
struct PacketLine<'a> {
    v: u8,
    #[serde(rename = "type")]
    kind: &'static str,
    n: u64,
    ts: String,
    node: Option<&'a str>,
    world: &'static str,
    id: String,
    #[serde(rename = "in")]
    sent: Headers<'a>,
    out: Option<Ends>,
    verdict: &'static str,
    drop_reason_desc: Option<&'static str>,
    drop_reason: Option<u8>,
    hook: Option<&'static str>,
    service: Option<Service<'a>>,
    backend: Option<Backend<'a>>,
    nat: Option<Nat>,
    ct: Option<Conntrack>,
    reply: Option<Reply>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<&'a str>,
}

#[derive(Serialize)]
struct Headers<'a> {
    src: Option<String>,
    dst: Option<String>,
    proto: Option<String>,
    flags: Vec<&'static str>,
    len: u32,
    pod: Option<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    iface: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ifindex: Option<u32>,
    #[serde(skip_serializing_if = "str::is_empty")]
    node: &'a str,
}

#[derive(Serialize)]
pub(super) struct Ends {
    pub(super) src: String,
    pub(super) dst: String,
}

#[derive(Serialize)]
pub(super) struct Service<'a> {
    namespace: &'a str,
    name: &'a str,
    port: &'a str,
    #[serde(rename = "type")]
    kind: Option<&'static str>,
    id: Option<u32>,
}

#[derive(Serialize)]
pub(super) struct Backend<'a> {
    address: String,
    namespace: Option<&'a str>,
    pod: Option<&'a str>,
    node: Option<&'a str>,
    id: u32,
}

#[derive(Serialize)]
struct Nat {
    src: Option<String>,
    dst: Option<String>,
}

#[derive(Serialize)]
struct Conntrack {
    status: &'static str,
    created: bool,
}

#[derive(Serialize)]
struct Reply {
    checked: bool,
    equal: bool,
    difference: Option<String>,
}

#[derive(Serialize)]
struct SummaryLine<'a> {
    v: u8,
    #[serde(rename = "type")]
    kind: &'static str,
    complete: bool,
    packets: u64,
    shown: u64,
    flows: usize,
    verdicts: BTreeMap<&'static str, u64>,
    drops: BTreeMap<&'static str, u64>,
    replies: Replies,
    shares: Vec<Share<'a>>,
    seed: u64,
    world: &'static str,
    cluster: Cluster<'a>,
    inputs: Vec<Input>,
    twinpath: &'static str,
}

#[derive(Serialize)]
struct Replies {
    checked: u64,
    equal: u64,
    different: u64,
}

#[derive(Serialize)]
struct Share<'a> {
    service: Service<'a>,
    backend: Backend<'a>,
    connections: u64,
}

#[derive(Serialize)]
struct Cluster<'a> {
    source: &'a str,
    services: usize,
    backends: usize,
    nodes: usize,
}

#[derive(Serialize)]
struct Input {
    path: String,
    sha256: Option<String>,
}

impl Report for Json {
    fn packet(&mut self, context: &Context<'_>, seen: &Seen<'_>) -> io::Result<()> {
        let sent = seen.sent();
        let outcome = seen.outcome;
        let made = outcome.made;
        let line = PacketLine {
            v: VERSION,
            kind: "packet",
            n: seen.number,
            ts: rfc3339(seen.packet.timestamp),
            node: made.map(|made| seen.node(made.node)),
            world: context.world,
            id: seen.number.to_string(),
            sent: headers(seen, sent.as_ref()),
            out: arrived(seen),
            verdict: outcome.verdict.name(),
            drop_reason_desc: outcome.reason.map(twinpath_core::drop_reason::DropReason::name),
            drop_reason: outcome.reason.map(|reason| reason as u8),
            hook: made.map(|made| made.hook.name()),
            service: service(context, seen, sent.as_ref()),
            backend: backend(context, outcome),
            nat: nat(seen, sent.as_ref()),
            ct: made.map(|made| Conntrack {
                status: made.decision.status().name(),
                created: matches!(made.decision.status(), Status::New | Status::Reopened),
            }),
            reply: reply(outcome),
            comment: seen.packet.comment,
        };
        self.line.clear();
        serde_json::to_writer(&mut self.line, &line)?;
        self.line.push(b'\n');
        self.lines.put(&self.line)
    }

    fn lines(&mut self, lines: &[u8]) -> io::Result<()> {
        self.lines.put_all(lines)
    }

    fn summary(&mut self, context: &Context<'_>, run: &Run<'_>) -> io::Result<()> {
        let totals = run.totals;
        let shares = totals.shares.iter().filter_map(|((service, backend), connections)| {
            Some(Share {
                service: service_of(context, *service)?,
                backend: backend_of(context, *backend)?,
                connections: *connections,
            })
        });
        let inputs = run
            .paths
            .iter()
            .map(|path| Input { path: path.display().to_string(), sha256: sha256(path) });
        let line = SummaryLine {
            v: VERSION,
            kind: "summary",
            complete: run.complete,
            packets: totals.packets,
            shown: run.shown.as_ref().map_or(totals.packets, Shown::packets),
            flows: run.flows,
            verdicts: Verdict::ALL.iter().map(|v| (v.name(), totals.with(*v))).collect(),
            drops: totals.drops.iter().map(|(reason, n)| (reason.name(), *n)).collect(),
            replies: Replies {
                checked: totals.checked,
                equal: totals.checked.saturating_sub(totals.different),
                different: totals.different,
            },
            shares: shares.collect(),
            seed: context.seed,
            world: context.world,
            cluster: Cluster {
                source: context.source,
                services: context.state.services.len(),
                backends: context.names.backends.len(),
                nodes: context.state.nodes.len(),
            },
            inputs: inputs.collect(),
            twinpath: env!("CARGO_PKG_VERSION"),
        };
        let output = self.lines.rest()?;
        run.books.lines(context, output)?;
        serde_json::to_writer(&mut *output, &line)?;
        output.write_all(b"\n")?;
        output.flush()
    }
}

fn headers<'a>(seen: &Seen<'a>, sent: Option<&Parsed>) -> Headers<'a> {
    let ends = sent.map(ends);
    Headers {
        src: ends.as_ref().map(|ends| ends.src.clone()),
        dst: ends.map(|ends| ends.dst),
        proto: sent.map(|parsed| protocol(parsed.tuple.protocol)),
        flags: sent.map_or_else(Vec::new, |parsed| flags(parsed.flags)),
        len: seen.packet.original_len,
        pod: match seen.outcome.sender {
            Some(Sender::Pod(pod)) => seen.topology.pods.get(pod).map(|info| info.name.to_string()),
            _ => None,
        },
        iface: seen.packet.interface,
        ifindex: seen.packet.place.ifindex,
        node: seen.packet.node,
    }
}

/// What became of source and destination; `None` where the packet did not arrive.
fn arrived(seen: &Seen<'_>) -> Option<Ends> {
    let arrived = matches!(seen.outcome.verdict, Verdict::Translated | Verdict::Forwarded);
    seen.last().filter(|_| arrived).as_ref().map(ends)
}

/// Addresses, with ports where the protocol has them.
fn ends(parsed: &Parsed) -> Ends {
    ends_of(&parsed.tuple, parsed.transport)
}

pub(super) fn ends_of(tuple: &Tuple, transport: Transport) -> Ends {
    let Tuple { source, destination, source_port, destination_port, .. } = *tuple;
    let ported = matches!(transport, Transport::Tcp | Transport::Udp);
    let text = |address: Address, port: u16| {
        if ported { SocketAddr::new(address.into(), port).to_string() } else { address.to_string() }
    };
    Ends { src: text(source, source_port.get()), dst: text(destination, destination_port.get()) }
}

pub(super) fn protocol(number: u8) -> String {
    match number {
        1 => "ICMPv4".into(),
        6 => "TCP".into(),
        17 => "UDP".into(),
        58 => "ICMPv6".into(),
        132 => "SCTP".into(),
        other => other.to_string(),
    }
}

pub(super) fn flags(flags: u8) -> Vec<&'static str> {
    let names = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
    names.into_iter().enumerate().filter(|(bit, _)| flags >> bit & 1 != 0).map(|(_, n)| n).collect()
}

fn service<'a>(
    context: &'a Context<'_>,
    seen: &Seen<'_>,
    sent: Option<&Parsed>,
) -> Option<Service<'a>> {
    service_named(context, table::service(context, seen, sent)?)
}

pub(super) fn service_named<'a>(context: &'a Context<'_>, name: &PortName) -> Option<Service<'a>> {
    service_of(context, context.serving.id(name)?)
}

fn service_of<'a>(context: &'a Context<'_>, id: u32) -> Option<Service<'a>> {
    let name = context.names.services.get(&id)?;
    Some(Service {
        namespace: &name.service.namespace,
        name: &name.service.name,
        port: &name.port,
        kind: context.state.services.get(name).map(|port| port.kind.name()),
        id: Some(id),
    })
}

fn backend<'a>(context: &'a Context<'_>, outcome: &Outcome) -> Option<Backend<'a>> {
    context.backend(outcome).and_then(|(id, _)| backend_of(context, id))
}

pub(super) fn backend_of<'a>(context: &'a Context<'_>, id: u32) -> Option<Backend<'a>> {
    let name = context.names.backends.get(&id)?;
    Some(Backend {
        address: SocketAddr::new(name.address, name.port).to_string(),
        namespace: name.pod.as_ref().map(|pod| pod.namespace.as_str()),
        pod: name.pod.as_ref().map(|pod| pod.name.as_str()),
        node: name.node.as_deref(),
        id,
    })
}

/// What the datapath wrote over addresses and ports.
fn nat(seen: &Seen<'_>, sent: Option<&Parsed>) -> Option<Nat> {
    if seen.outcome.verdict != Verdict::Translated {
        return None;
    }
    let (before, after) = (ends(sent?), ends(&seen.last()?));
    Some(Nat {
        src: (before.src != after.src).then_some(after.src),
        dst: (before.dst != after.dst).then_some(after.dst),
    })
}

fn reply(outcome: &Outcome) -> Option<Reply> {
    let checked = outcome.sender.is_some();
    matches!(outcome.role, Some(Role::Reply | Role::Orphan)).then(|| Reply {
        checked,
        equal: checked && outcome.difference.is_none(),
        difference: outcome.difference.as_ref().map(ToString::to_string),
    })
}

/// The hash of a file; none of standard input, which is gone, nor of what is no file.
pub(super) fn sha256(path: &Path) -> Option<String> {
    if path == "-" || !path.metadata().ok()?.is_file() {
        return None;
    }
    let mut file = File::open(path).ok()?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer).ok()? {
            0 => break,
            n => hash.update(buffer.get(..n)?),
        }
    }
    Some(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// `2026-11-22T10:00:00.731004000Z` of nanoseconds since the epoch.
///
/// Days to a date as in Howard Hinnant's "chrono-Compatible Low-Level Date Algorithms".
pub(crate) fn rfc3339(timestamp: u64) -> String {
    let (seconds, nanos) = (timestamp / 1_000_000_000, timestamp % 1_000_000_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468; // days since 0000-03-01
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_date() {
        // As `date -u -d @N` prints them.
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (951_868_800, "2000-03-01T00:00:00"),
            (1_709_164_800, "2024-02-29T00:00:00"),
            (1_735_689_599, "2024-12-31T23:59:59"),
            (4_107_542_400, "2100-03-01T00:00:00"),
        ] {
            assert_eq!(rfc3339(seconds * 1_000_000_000 + 42), format!("{text}.000000042Z"));
        }
    }
}
