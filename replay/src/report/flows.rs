//! The sums of each flow.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;
use twinpath_control::model::PortName;
use twinpath_core::backend::BackendId;
use twinpath_core::drop_reason::DropReason;
use twinpath_core::parse::{Parsed, Transport, parse};
use twinpath_core::tuple::Tuple;
use twinpath_core::wire::tcp;
use twinpath_sim::frame::Frame;
use twinpath_sim::map::WordMap;

use super::{Context, Seen, json, table};
use crate::replay::flows::Role;
use crate::replay::outcome::Verdict;

/// Most flows that are kept; of the packets of all others, only the number.
const MAX_FLOWS: usize = 1_000_000;

/// Flows in the order of their first packets, as captured: the client's view.
#[derive(Debug, Default)]
pub struct Flows {
    flows: Vec<Flow>,
    /// By the tuple of the side that opened.
    places: WordMap<Tuple, usize>,
    /// Services by the numbers that flows have.
    services: Vec<PortName>,
    numbers: BTreeMap<PortName, u32>,
    /// Packets of flows beyond the most.
    beyond: u64,
    frame: Frame,
}

#[derive(Debug)]
struct Flow {
    tuple: Tuple,
    transport: Transport,
    service: Option<u32>,
    backend: BackendId,
    /// From the side that opened, and back.
    packets: [u64; 2],
    bytes: [u64; 2],
    verdicts: [u64; 4],
    reason: Option<DropReason>,
    first: u64,
    last: u64,
    /// See [`SYN`] and those behind it.
    handshake: u8,
}

/// What was seen of a TCP handshake: each step counts after the one before it only.
const SYN: u8 = 1;
const SYN_ACK: u8 = 2;
const ACK: u8 = 4;

impl Flows {
    /// Adds a packet.
    pub(super) fn count(&mut self, context: &Context<'_>, seen: &Seen<'_>) {
        seen.packet.fill(&mut self.frame);
        let Ok(Some(parsed)) = parse(&self.frame) else { return };
        let Some((place, back)) = self.place(&parsed, seen) else {
            self.beyond = self.beyond.saturating_add(1);
            return;
        };
        let known = self.flows.get(place).is_some_and(|flow| flow.service.is_some());
        let service = if known { None } else { self.service(context, seen) };
        let Some(flow) = self.flows.get_mut(place) else { return };
        flow.service = flow.service.or(service);
        let outcome = seen.outcome;
        if let Some(made) = outcome.made.filter(|made| made.decision.backend != 0) {
            flow.backend = made.decision.backend;
        }
        let [packets, bytes] = [&mut flow.packets, &mut flow.bytes].map(|ends| {
            let [forth, return_] = ends;
            if back { return_ } else { forth }
        });
        *packets = packets.saturating_add(1);
        *bytes = bytes.saturating_add(u64::from(seen.packet.original_len));
        if let Some(count) = flow.verdicts.get_mut(outcome.verdict as usize) {
            *count = count.saturating_add(1);
        }
        flow.reason = flow.reason.or(outcome.reason);
        flow.first = flow.first.min(seen.packet.timestamp);
        flow.last = flow.last.max(seen.packet.timestamp);
        flow.handshake |= step(flow.handshake, &parsed, back);
    }

    /// Where the flow of a packet is, a new place if need be, and whether the packet goes back.
    fn place(&mut self, parsed: &Parsed, seen: &Seen<'_>) -> Option<(usize, bool)> {
        let (tuple, reverse) = (parsed.tuple, parsed.tuple.reverse());
        if let Some(place) = self.places.get(&tuple) {
            return Some((*place, false));
        }
        if let Some(place) = self.places.get(&reverse) {
            return Some((*place, true));
        }
        if self.flows.len() >= MAX_FLOWS {
            return None;
        }
        let answers = parsed.transport == Transport::Tcp
            && parsed.flags & (tcp::SYN | tcp::ACK) == tcp::SYN | tcp::ACK;
        let back = answers || matches!(seen.outcome.role, Some(Role::Reply | Role::Orphan));
        let tuple = if back { reverse } else { tuple };
        let place = self.flows.len();
        self.places.insert(tuple, place);
        self.flows.push(Flow {
            tuple,
            transport: parsed.transport,
            service: None,
            backend: 0,
            packets: [0; 2],
            bytes: [0; 2],
            verdicts: [0; 4],
            reason: None,
            first: seen.packet.timestamp,
            last: seen.packet.timestamp,
            handshake: 0,
        });
        Some((place, back))
    }

    fn service(&mut self, context: &Context<'_>, seen: &Seen<'_>) -> Option<u32> {
        let name = table::service(context, seen, seen.sent().as_ref())?;
        if let Some(number) = self.numbers.get(name) {
            return Some(*number);
        }
        let number = u32::try_from(self.services.len()).ok()?;
        self.services.push(name.clone());
        self.numbers.insert(name.clone(), number);
        Some(number)
    }

    fn name(&self, flow: &Flow) -> Option<&PortName> {
        self.services.get(flow.service? as usize)
    }

    /// A line for each.
    pub(super) fn table(
        &self,
        context: &Context<'_>,
        output: &mut dyn Write,
        heads: bool,
    ) -> io::Result<()> {
        if heads {
            writeln!(
                output,
                "{:<44}  {:<20}  {:<20}  {:<11}  {:<15}  {:<10}  {:<10}  {:<10}  VERDICTS",
                "FLOW", "SERVICE", "BACKEND", "PACKETS", "BYTES", "START", "DURATION", "HANDSHAKE"
            )?;
        }
        let start = self.flows.iter().map(|flow| flow.first).min().unwrap_or_default();
        for flow in &self.flows {
            let service =
                self.name(flow).map_or_else(|| "-".into(), |name| name.service.to_string());
            let backend = context.names.backends.get(&flow.backend);
            let backend = backend.map_or_else(|| "-".into(), table::backend_words);
            let way = |[forth, back]: [u64; 2]| format!("{forth} / {back}");
            writeln!(
                output,
                "{:<44}  {service:<20}  {backend:<20}  {:<11}  {:<15}  {:<10}  {:<10}  {:<10}  {}",
                table::tuple_words(&flow.tuple, flow.transport, ""),
                way(flow.packets),
                way(flow.bytes),
                table::relative(flow.first, start),
                table::relative(flow.last, flow.first),
                handshake(flow).unwrap_or("-"),
                verdicts(flow),
            )?;
        }
        Ok(())
    }

    /// A JSON line for each.
    pub(super) fn lines(&self, context: &Context<'_>, output: &mut dyn Write) -> io::Result<()> {
        for flow in &self.flows {
            let ends = json::ends_of(&flow.tuple, flow.transport);
            let line = Line {
                v: json::VERSION,
                kind: "flow",
                src: ends.src,
                dst: ends.dst,
                proto: json::protocol(flow.tuple.protocol),
                service: self.name(flow).and_then(|name| json::service_named(context, name)),
                backend: json::backend_of(context, flow.backend),
                packets: flow.packets.into(),
                bytes: flow.bytes.into(),
                verdicts: Verdict::ALL
                    .iter()
                    .zip(flow.verdicts)
                    .map(|(verdict, count)| (verdict.name(), count))
                    .collect(),
                drop_reason_desc: flow.reason.map(DropReason::name),
                first: json::rfc3339(flow.first),
                last: json::rfc3339(flow.last),
                handshake: handshake(flow),
            };
            serde_json::to_writer(&mut *output, &line)?;
            output.write_all(b"\n")?;
        }
        Ok(())
    }

    /// What is to be said of flows that were too many to be kept.
    pub fn left_out(&self) -> Option<String> {
        (self.beyond > 0).then(|| {
            format!(
                "--flows: only the first {MAX_FLOWS} flows are kept; {} of others in no line",
                table::plural(self.beyond, "packet")
            )
        })
    }
}

/// The step of a handshake that a packet is.
const fn step(before: u8, parsed: &Parsed, back: bool) -> u8 {
    if !matches!(parsed.transport, Transport::Tcp) {
        return 0;
    }
    match (parsed.flags & (tcp::SYN | tcp::ACK), back) {
        (tcp::SYN, false) => SYN,
        (tcp::ACK, false) if before & SYN_ACK != 0 => ACK,
        (flags, true) if flags == tcp::SYN | tcp::ACK && before & SYN != 0 => SYN_ACK,
        _ => 0,
    }
}

/// How far it came; `None` where no beginning was captured.
const fn handshake(flow: &Flow) -> Option<&'static str> {
    match flow.handshake {
        0 => None,
        SYN => Some("UNANSWERED"),
        steps if steps & ACK == 0 => Some("HALF-OPEN"),
        _ => Some("COMPLETE"),
    }
}

/// `5 translated, 1 dropped (TTL_EXCEEDED)`.
fn verdicts(flow: &Flow) -> String {
    let counts = Verdict::ALL.iter().zip(flow.verdicts).filter(|(_, count)| *count > 0);
    let texts: Vec<String> = counts
        .map(|(verdict, count)| format!("{count} {}", verdict.name().to_ascii_lowercase()))
        .collect();
    let reason = flow.reason.map(|reason| format!(" ({})", reason.name()));
    format!("{}{}", texts.join(", "), reason.unwrap_or_default())
}

#[derive(Serialize)]
struct Line<'a> {
    v: u8,
    #[serde(rename = "type")]
    kind: &'static str,
    src: String,
    dst: String,
    proto: String,
    service: Option<json::Service<'a>>,
    backend: Option<json::Backend<'a>>,
    packets: Ways,
    bytes: Ways,
    verdicts: BTreeMap<&'static str, u64>,
    drop_reason_desc: Option<&'static str>,
    first: String,
    last: String,
    handshake: Option<&'static str>,
}

#[derive(Serialize)]
struct Ways {
    forward: u64,
    back: u64,
}

impl From<[u64; 2]> for Ways {
    fn from([forward, back]: [u64; 2]) -> Self {
        Self { forward, back }
    }
}
