//! JSON lines as `hubble observe --input-file` takes them: a `GetFlowsResponse` in the JSON form of
//! protobuf, a packet each. There is no summary among them; it goes to standard error.

use std::io;

use serde::Serialize;
use twinpath_control::model::PortName;
use twinpath_core::drop_reason::DropReason;
use twinpath_core::hook::Hook;
use twinpath_core::parse::{Parsed, Transport};
use twinpath_core::verdict::Status;
use twinpath_sim::topology::Owner;

use super::lines::Lines;
use super::{Context, Report, Run, Seen, json, table};
use crate::replay::flows::Role;
use crate::replay::outcome::Verdict;
use crate::worlds::Sender;

/// Hubble's lines.
pub struct Hubble {
    lines: Lines,
    line: Vec<u8>,
}

impl Hubble {
    /// Packets as these lines.
    pub const fn new(lines: Lines) -> Self {
        Self { lines, line: Vec::new() }
    }
}

/// What a field is that says nothing is left out, as protobuf does.
#[derive(Serialize)]
struct Line<'a> {
    flow: Flow<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_name: Option<&'a str>,
    time: &'a str,
}

#[derive(Serialize)]
struct Flow<'a> {
    time: &'a str,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    drop_reason: Option<u8>,
    #[serde(rename = "IP", skip_serializing_if = "Option::is_none")]
    ip: Option<Ip>,
    #[serde(skip_serializing_if = "Option::is_none")]
    l4: Option<L4>,
    source: End<'a>,
    destination: End<'a>,
    #[serde(rename = "Type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_service: Option<Service<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination_service: Option<Service<'a>>,
    traffic_direction: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    drop_reason_desc: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_reply: Option<bool>,
    #[serde(rename = "Summary")]
    summary: String,
}

#[derive(Serialize)]
struct Ip {
    source: String,
    destination: String,
    #[serde(rename = "ipVersion")]
    version: &'static str,
}

#[derive(Serialize)]
enum L4 {
    #[serde(rename = "TCP")]
    Tcp {
        source_port: u16,
        destination_port: u16,
        flags: serde_json::Map<String, serde_json::Value>,
    },
    #[serde(rename = "UDP")]
    Udp { source_port: u16, destination_port: u16 },
    #[serde(rename = "SCTP")]
    Sctp { source_port: u16, destination_port: u16 },
    #[serde(rename = "ICMPv4")]
    Icmp4 {
        #[serde(rename = "type")]
        kind: u8,
        code: u8,
    },
    #[serde(rename = "ICMPv6")]
    Icmp6 {
        #[serde(rename = "type")]
        kind: u8,
        code: u8,
    },
}

#[derive(Default, Serialize)]
struct End<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod_name: Option<&'a str>,
}

#[derive(Serialize)]
struct Service<'a> {
    name: &'a str,
    namespace: &'a str,
}

impl Report for Hubble {
    fn packet(&mut self, context: &Context<'_>, seen: &Seen<'_>) -> io::Result<()> {
        let (sent, outcome) = (seen.sent(), seen.outcome);
        let time = json::rfc3339(seen.packet.timestamp);
        let node_name = node(seen);
        let there = matches!(outcome.role, Some(Role::Request));
        let service = table::service(context, seen, sent.as_ref());
        let (source, destination) = pods(seen, sent.as_ref());
        let line = Line {
            flow: Flow {
                time: &time,
                verdict: match outcome.verdict {
                    // Hubble has no word for what nobody sent.
                    Verdict::Unmatched => "VERDICT_UNKNOWN",
                    other => other.name(),
                },
                drop_reason: outcome.reason.map(|reason| reason as u8),
                ip: sent.as_ref().map(ip),
                l4: sent.as_ref().and_then(|parsed| l4(parsed, seen)),
                source,
                destination,
                kind: "L3_L4",
                node_name,
                source_service: service.filter(|_| !there).map(named),
                destination_service: service.filter(|_| there).map(named),
                traffic_direction: match outcome.made.map(|made| made.hook) {
                    Some(Hook::FromPod) => "EGRESS",
                    Some(Hook::ToPod | Hook::FromNetdev | Hook::Xdp) => "INGRESS",
                    Some(Hook::ToNetdev) => "EGRESS",
                    None => "TRAFFIC_DIRECTION_UNKNOWN",
                },
                drop_reason_desc: outcome.reason.map(reason),
                is_reply: is_reply(seen),
                summary: summary(sent.as_ref(), seen),
            },
            node_name,
            time: &time,
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
        self.lines.rest()?.flush()?;
        table::summary(&mut io::stderr(), context, run)
    }
}

/// The reason by its name in Hubble's list; it takes no other. Ours stand in the summary too.
const fn reason(reason: DropReason) -> &'static str {
    match reason {
        DropReason::IsClusterIp => "IS_A_CLUSTERIP",
        DropReason::ServicePortNotFound
        | DropReason::ConntrackTupleConflict
        | DropReason::ServiceAddressNotFound
        | DropReason::NoHairpinAddress
        | DropReason::FragmentationNeeded => "DROP_REASON_UNKNOWN",
        known => known.name(),
    }
}

/// The node that decided, or else that it was sent from.
fn node<'a>(seen: &'a Seen<'_>) -> Option<&'a str> {
    let sender = match seen.outcome.sender {
        Some(Sender::Pod(pod)) => seen.topology.pods.get(pod).map(|pod| pod.node),
        Some(Sender::Node(node)) => Some(node),
        _ => None,
    };
    seen.outcome.made.map(|made| made.node).or(sender).map(|node| seen.node(node))
}

/// Who sent it, and who has it or should have.
fn pods<'a>(seen: &Seen<'a>, sent: Option<&Parsed>) -> (End<'a>, End<'a>) {
    let topology = seen.topology;
    let end = |pod: Option<usize>| match pod.and_then(|pod| topology.pods.get(pod)) {
        Some(pod) => End { namespace: Some(&pod.name.namespace), pod_name: Some(&pod.name.name) },
        None => End::default(),
    };
    let sender = match seen.outcome.sender {
        Some(Sender::Pod(pod)) => Some(pod),
        _ => None,
    };
    let last = seen.last().filter(|_| seen.outcome.verdict != Verdict::Dropped);
    let to = last.as_ref().or(sent).map(|parsed| parsed.tuple.destination);
    let receiver = match to.and_then(|to| topology.owner(&to)) {
        Some(Owner::Pod(pod)) => Some(pod),
        _ => None,
    };
    (end(sender), end(receiver))
}

fn named(name: &PortName) -> Service<'_> {
    Service { name: &name.service.name, namespace: &name.service.namespace }
}

fn ip(parsed: &Parsed) -> Ip {
    let tuple = &parsed.tuple;
    Ip {
        source: tuple.source.to_string(),
        destination: tuple.destination.to_string(),
        version: if tuple.is_v4() { "IPv4" } else { "IPv6" },
    }
}

fn l4(parsed: &Parsed, seen: &Seen<'_>) -> Option<L4> {
    let tuple = &parsed.tuple;
    let (source_port, destination_port) = (tuple.source_port.get(), tuple.destination_port.get());
    Some(match parsed.transport {
        Transport::Tcp => {
            let flags = json::flags(parsed.flags).into_iter();
            let flags = flags.map(|name| (name.to_owned(), true.into())).collect();
            L4::Tcp { source_port, destination_port, flags }
        }
        Transport::Udp => L4::Udp { source_port, destination_port },
        Transport::Sctp => L4::Sctp { source_port, destination_port },
        Transport::Echo | Transport::IcmpError | Transport::Icmp => {
            let [kind, code] = *seen.packet.data.get(parsed.l4.0..)?.first_chunk()?;
            if tuple.is_v4() { L4::Icmp4 { kind, code } } else { L4::Icmp6 { kind, code } }
        }
        Transport::Fragment | Transport::Other => return None,
    })
}

fn is_reply(seen: &Seen<'_>) -> Option<bool> {
    let status = seen.outcome.made.map(|made| made.decision.status());
    match (seen.outcome.role?, status) {
        (Role::Reply | Role::Orphan, _) | (_, Some(Status::Reply)) => Some(true),
        (Role::Request, _) | (_, Some(Status::New | Status::Established | Status::Reopened)) => {
            Some(false)
        }
        (Role::Plain, _) => None,
    }
}

/// `TCP Flags: SYN`.
fn summary(sent: Option<&Parsed>, seen: &Seen<'_>) -> String {
    let what = match sent {
        Some(parsed) if parsed.transport == Transport::Tcp => {
            format!("TCP Flags: {}", json::flags(parsed.flags).join(", "))
        }
        Some(parsed) => json::protocol(parsed.tuple.protocol),
        None => table::packet_words(None, seen),
    };
    match seen.outcome.reason {
        Some(reason) => format!("{what}; {}", reason.name()),
        None => what,
    }
}
