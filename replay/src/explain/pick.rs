//! Which packets are asked for, as people write them.

use std::net::{IpAddr, SocketAddr};

use twinpath_core::parse::parse;
use twinpath_core::tuple::Tuple;
use twinpath_core::wire;
use twinpath_sim::frame::Frame;

use crate::replay::feed::Captured;
use crate::scenario::Packet;

/// The packets that are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// The packet with this number, from 1.
    Number(u64),
    /// The first packet of a flow,
    First(Ends),
    /// or all its packets, of both directions.
    All(Ends),
}

/// Both ends of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    source: (IpAddr, u16),
    destination: (IpAddr, u16),
    protocol: u8,
}

impl Ends {
    /// Reads `10.0.0.1:40000-10.96.0.10:80/tcp`, `[fd00::1]:40000-[fd00::2]:53/udp`,
    /// `10.0.0.1-10.96.0.10/icmp`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let form = "write SOURCE:PORT-DESTINATION:PORT/tcp (or udp, sctp; icmp without ports), IPv6 \
                    in brackets";
        let (ends, name) = text
            .rsplit_once('/')
            .ok_or_else(|| format!("{text:?}: the protocol is missing; {form}"))?;
        let (source, destination) = ends
            .split_once('-')
            .ok_or_else(|| format!("{text:?}: there is no `-` between the ends; {form}"))?;
        let number = match name {
            "tcp" => wire::TCP,
            "udp" => wire::UDP,
            "sctp" => wire::SCTP,
            "icmp" | "icmpv6" => wire::ICMP,
            other => return Err(format!("{text:?}: {other:?} is no protocol; {form}")),
        };
        let icmp = number == wire::ICMP;
        let end = |end: &str| {
            let bad = || {
                format!(
                    "{text:?}: {end:?} is no address{}; {form}",
                    if icmp { "" } else { " and port" }
                )
            };
            if icmp {
                let bare = end.trim_start_matches('[').trim_end_matches(']');
                return bare.parse().map(|address: IpAddr| (address, 0)).map_err(|_| bad());
            }
            let end: SocketAddr = end.parse().map_err(|_| bad())?;
            Ok((end.ip(), end.port()))
        };
        let (source, destination) = (end(source)?, end(destination)?);
        if source.0.is_ipv4() != destination.0.is_ipv4() {
            return Err(format!("{text:?}: the ends are of two families"));
        }
        let protocol = if icmp && source.0.is_ipv6() { wire::ICMPV6 } else { number };
        Ok(Self { source, destination, protocol })
    }

    /// Whether a packet with this tuple is of the flow, in either direction.
    pub fn has(&self, tuple: &Tuple) -> bool {
        let end = |address, port: twinpath_core::bytes::Be16| {
            let icmp = matches!(self.protocol, wire::ICMP | wire::ICMPV6);
            (IpAddr::from(address), if icmp { 0 } else { port.get() })
        };
        let source = end(tuple.source, tuple.source_port);
        let destination = end(tuple.destination, tuple.destination_port);
        tuple.protocol == self.protocol
            && ((source, destination) == (self.source, self.destination)
                || (destination, source) == (self.source, self.destination))
    }
}

impl Pick {
    /// Whether a packet is asked for. `number` is its number; `room` is used again and again.
    pub fn wants(&self, number: u64, packet: &Captured<'_>, room: &mut Frame) -> bool {
        let ends = match self {
            Self::Number(wanted) => return *wanted == number,
            Self::First(ends) | Self::All(ends) => ends,
        };
        if packet.broken.is_some() {
            return false;
        }
        packet.fill(room);
        matches!(parse(room), Ok(Some(parsed)) if ends.has(&parsed.tuple))
    }

    /// Whether there may be more behind the first.
    pub const fn is_all(&self) -> bool {
        matches!(self, Self::All(_))
    }
}

/// Whether an argument looks like a packet and not like a file.
pub fn is_packet(text: &str) -> bool {
    let first = text.split_whitespace().next().unwrap_or_default();
    text.trim().contains(char::is_whitespace)
        && (matches!(first, "tcp" | "udp" | "icmp" | "sctp") || text.contains(" > "))
}

/// A typed packet: `tcp 10.0.1.5:4321 > 10.96.0.10:53 S ttl 3 len 100 df`. TCP without flags is a SYN.
pub fn typed(text: &str) -> Result<Frame, String> {
    let mut df = false;
    let mut words: Vec<String> = Vec::new();
    let mut flags = false;
    let mut all = text.split_whitespace().peekable();
    let icmp = all.peek() == Some(&"icmp");
    while let Some(word) = all.next() {
        match word {
            "df" => df = true,
            // As explanations write it.
            "echo" | "request" if icmp => {}
            "ttl" | "len" => {
                words.push(word.to_owned());
                words.extend(all.next().map(str::to_owned));
            }
            _ if icmp => words.push(word.replace(['[', ']'], "")),
            _ => {
                flags |= words.len() == 4;
                words.push(word.to_owned());
            }
        }
    }
    if words.first().is_some_and(|word| word == "tcp") && words.len() >= 4 && !flags {
        words.push("S".into());
    }
    if words.len() > 2 && words.get(2).is_none_or(|word| word != ">") {
        return Err(format!(
            "{text:?}: `>` is missing behind {:?}; write `tcp SOURCE:PORT > DESTINATION:PORT`",
            words.get(1).map_or("", String::as_str)
        ));
    }
    let packet = Packet::parse(&words.join(" "))?;
    let mut frame = packet.frame();
    if !df {
        may_be_cut(&mut frame);
    }
    Ok(frame)
}

/// Takes the flag away that forbids fragments (RFC 791, 3.1). IPv6 has none.
fn may_be_cut(frame: &mut Frame) {
    use twinpath_core::checksum::sum;
    if frame.bytes.get(12..14) != Some(&[0x08, 0x00]) {
        return;
    }
    let Some(header) = frame.bytes.get_mut(14..34) else { return };
    if let Some(flags) = header.get_mut(6) {
        *flags &= !0x40;
    }
    header[10..12].fill(0);
    let field = !sum(header);
    header[10..12].copy_from_slice(&field.to_ne_bytes());
}

#[cfg(test)]
mod tests;
