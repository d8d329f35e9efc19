//! Packets, places and decisions in words.
//!
//! Packets are read by hand and not with the core's own parser, so that a mistake there shows.

use std::fmt::Write as _;
use std::net::IpAddr;

use twinpath_control::tables::Names;
use twinpath_core::verdict::{Decision, Status, Verdict};
use twinpath_sim::cluster::{Fate, Place};
use twinpath_sim::frame::Frame;
use twinpath_sim::topology::{Neighbour, Topology};

use super::packet::FLAGS;

/// A frame's packet: `tcp 10.0.0.1:1 > 10.0.0.2:80 S ttl 64 len 3`, with what it carries in `[...]`.
pub fn packet_text(frame: &[u8]) -> String {
    match frame.get(12..14) {
        Some([0x08, 0x00] | [0x86, 0xdd]) => ip(frame.get(14..).unwrap_or_default())
            .unwrap_or_else(|| format!("unreadable, {} bytes", frame.len())),
        Some([a, b]) => format!("ethertype {a:02x}{b:02x}, {} bytes", frame.len()),
        _ => format!("{} bytes", frame.len()),
    }
}

/// What the header of an IP packet says.
struct Header {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    ttl: u8,
    /// Where the transport header is.
    length: usize,
    /// The length of the packet.
    total: usize,
    /// Bytes of options or extension headers.
    options: usize,
    /// Whether it is a fragment that has no transport header.
    later: bool,
}

fn header(packet: &[u8]) -> Option<Header> {
    let word = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    match packet.first()? >> 4 {
        4 => {
            let length = usize::from(packet.first()? & 15) * 4;
            Some(Header {
                source: IpAddr::from(*packet.get(12..16)?.first_chunk::<4>()?),
                destination: IpAddr::from(*packet.get(16..20)?.first_chunk::<4>()?),
                protocol: *packet.get(9)?,
                ttl: *packet.get(8)?,
                length,
                total: word(2)?.into(),
                options: length.checked_sub(20)?,
                later: word(6)? & 0x1fff != 0,
            })
        }
        6 => {
            let (mut protocol, mut at, mut later) = (*packet.get(6)?, 40, false);
            while let 0 | 43 | 44 | 60 = protocol {
                let next = *packet.get(at)?;
                let length =
                    if protocol == 44 { 8 } else { (usize::from(*packet.get(at + 1)?) + 1) * 8 };
                later |= protocol == 44 && word(at + 2)? >> 3 != 0;
                (protocol, at) = (next, at + length);
            }
            Some(Header {
                source: IpAddr::from(*packet.get(8..24)?.first_chunk::<16>()?),
                destination: IpAddr::from(*packet.get(24..40)?.first_chunk::<16>()?),
                protocol,
                ttl: *packet.get(7)?,
                length: at,
                total: 40 + usize::from(word(4)?),
                options: at - 40,
                later,
            })
        }
        _ => None,
    }
}

fn ip(packet: &[u8]) -> Option<String> {
    let header = header(packet)?;
    let rest = packet.get(header.length..)?;
    let payload = header.total.saturating_sub(header.length);
    let mut text = ends(&header, rest)?;
    let mut carried = payload;
    let mut inner = None;
    match header.protocol {
        6 if !header.later => {
            let flags = *rest.get(13)?;
            text.push(' ');
            text.extend((0..8).filter(|bit| flags >> bit & 1 == 1).map(|bit| FLAGS[bit]));
            carried = payload.saturating_sub(usize::from(*rest.get(12)? >> 4) * 4);
        }
        17 if !header.later => {
            carried = payload.saturating_sub(8);
            if rest.get(2..4)? == 6081_u16.to_be_bytes() {
                // RFC 8926: a fixed header of 8 bytes, options in words, then what its type says.
                let options = usize::from(*rest.get(8)? & 0x3f) * 4;
                let link = if rest.get(10..12)? == [0x65, 0x58] { 14 } else { 0 };
                inner = rest.get(16 + options + link..).and_then(ip);
                let _ = write!(text, " geneve, {options} bytes of options");
            }
        }
        4 | 41 => inner = ip(rest),
        1 | 58 if !header.later => {
            carried = 0;
            let word = u16::from_be_bytes([*rest.get(6)?, *rest.get(7)?]);
            let (what, quotes) = match (header.protocol, *rest.first()?, *rest.get(1)?) {
                (1, 8, _) | (58, 128, _) => ("echo request".to_owned(), false),
                (1, 0, _) | (58, 129, _) => ("echo reply".to_owned(), false),
                (1, 3, 3) | (58, 1, 4) => ("port unreachable".to_owned(), true),
                (1, 3, 4) => (format!("fragmentation needed, mtu {word}"), true),
                (58, 2, _) => (format!("packet too big, mtu {word}"), true),
                (1, 11, _) | (58, 3, _) => ("time exceeded".to_owned(), true),
                (1, 3, code) => (format!("unreachable, code {code}"), true),
                (58, 1, code) => (format!("unreachable, code {code}"), true),
                (_, kind, code) => (format!("type {kind} code {code}"), false),
            };
            let _ = write!(text, " {what}");
            if quotes {
                let quoted = rest.get(8..)?;
                let about = self::header(quoted)
                    .and_then(|header| ends(&header, quoted.get(header.length..)?));
                let _ = write!(text, " about {}", about.as_deref().unwrap_or("something"));
            }
        }
        _ => {}
    }
    let _ = write!(text, " ttl {}", header.ttl);
    if header.options > 0 {
        let _ = write!(text, " options {}", header.options);
    }
    if header.later {
        text.push_str(" later fragment");
    }
    match inner {
        Some(inner) => {
            let _ = write!(text, " [{inner}]");
        }
        None if carried > 0 => {
            let _ = write!(text, " len {carried}");
        }
        None => {}
    }
    Some(text)
}

/// The protocol and both ends; the ports from the first four bytes behind the header.
fn ends(header: &Header, rest: &[u8]) -> Option<String> {
    let (source, destination) = (header.source, header.destination);
    let name = match header.protocol {
        1 => "icmp",
        4 | 41 => "ipip",
        6 => "tcp",
        17 => "udp",
        58 => "icmpv6",
        132 => "sctp",
        other => return Some(format!("protocol {other} {source} > {destination}")),
    };
    if !matches!(header.protocol, 6 | 17 | 132) || header.later {
        return Some(format!("{name} {source} > {destination}"));
    }
    let port = |at: usize| Some(u16::from_be_bytes([*rest.get(at)?, *rest.get(at + 1)?]));
    let end = |address, port| std::net::SocketAddr::new(address, port);
    Some(format!("{name} {} > {}", end(source, port(0)?), end(destination, port(2)?)))
}

/// Where a frame was seen: `client >`, `node-a > node-b`, `> default/nginx`.
pub(super) fn place_text(topology: &Topology, place: Place, frame: &Frame) -> String {
    let next = || match frame.bytes.first_chunk::<6>().and_then(|mac| topology.neighbour(*mac)) {
        Some(Neighbour::Node(next)) => node(topology, next),
        Some(Neighbour::Router) => "router",
        None => "nobody",
    };
    match place {
        Place::PodOut(_) | Place::ClientOut(_) => format!("{} >", name(topology, place)),
        Place::PodIn(_) | Place::ClientIn(_) | Place::Router => {
            format!("> {}", name(topology, place))
        }
        Place::Wire(from) => format!("{} > {}", node(topology, from), next()),
        Place::FromRouter(to) => format!("router > {}", node(topology, to)),
        Place::Host(_) | Place::Outside(_) => name(topology, place),
    }
}

/// Who is at a place, as `from` and `at` of a scenario name them.
pub(super) fn name(topology: &Topology, place: Place) -> String {
    match place {
        Place::PodOut(pod) | Place::PodIn(pod) => {
            topology.pods.get(pod).map_or_else(|| "-".into(), |info| info.name.to_string())
        }
        Place::ClientOut(client) | Place::ClientIn(client) => {
            topology.clients.get(client).map_or("-", |info| &info.name).to_owned()
        }
        Place::Host(index) | Place::Wire(index) | Place::FromRouter(index) => {
            node(topology, index).to_owned()
        }
        Place::Outside(index) => format!("outside of {}", node(topology, index)),
        Place::Router => "router".to_owned(),
    }
}

pub(super) fn node(topology: &Topology, index: usize) -> &str {
    topology.nodes.get(index).map_or("-", |info| &info.name)
}

/// `FORWARD NEW default/nginx:http/TCP to 1.1.1.1:80`.
pub(super) fn decision_text(names: &Names, decision: &Decision) -> String {
    let mut text = match decision.verdict() {
        Verdict::Pass => "PASS".to_owned(),
        Verdict::Drop(reason) => format!("DROP {}", reason.name()),
        Verdict::Deliver(device) => format!("DELIVER to device {device}"),
        Verdict::Forward(_) => "FORWARD".to_owned(),
        Verdict::Reject(reason) => format!("REJECT {}", reason.name()),
        Verdict::Answer => "ANSWER".to_owned(),
    };
    if decision.status() != Status::Untracked {
        let _ = write!(text, ", {}", decision.status().name());
    }
    if let Some(service) = names.services.get(&decision.service) {
        let _ = write!(text, ", {service}");
    }
    if let Some(backend) = names.backends.get(&decision.backend) {
        let _ = write!(text, " by {}", std::net::SocketAddr::new(backend.address, backend.port));
    }
    text
}

/// What became of a packet where the last line does not say it.
pub(super) fn fate_text(topology: &Topology, fate: Fate) -> Option<String> {
    let at = |place| name(topology, place);
    match fate {
        Fate::Arrived(_) | Fate::Dropped(..) => None,
        Fate::Expired(place) => Some(format!("no hop left at {}", at(place))),
        Fate::Refused(place) => Some(format!("wrong checksum at {}", at(place))),
        Fate::TooBig(place) => Some(format!("too long to leave {}", at(place))),
        Fate::NoRoute(place) => Some(format!("no way from {}", at(place))),
        Fate::Looped(index) => Some(format!("round in circles by {}", node(topology, index))),
    }
}
