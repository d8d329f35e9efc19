//! Packets written as text: `tcp 10.0.0.1:4321 > 10.0.0.2:80 S ttl 3 len 100`.

use std::net::{IpAddr, SocketAddr};

use twinpath_sim::frame::Frame;

use crate::verify::{Ends, PacketSpec, Protocol, Target};

/// A packet, by text or by bytes.
#[derive(Clone, Debug)]
pub enum Packet {
    /// What and who.
    Built {
        /// `tcp`, `udp` or `icmp`.
        protocol: Transport,
        /// Both ends.
        ends: Ends,
        /// The rest.
        words: Words,
    },
    /// The bytes from the Ethernet header on.
    Raw(Vec<u8>),
}

/// The protocols that can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// An echo request.
    Icmp,
}

/// What follows the ends of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    /// TCP flags.
    pub flags: u8,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// Length of the payload in bytes.
    pub length: u16,
}

/// The letters of TCP flags, by bit.
pub(super) const FLAGS: [char; 8] = ['F', 'S', 'R', 'P', 'A', 'U', 'E', 'C'];

/// What fits behind the headers of IPv4 and TCP.
const MAX_LENGTH: u16 = 65_535 - 20 - 20;

impl Words {
    /// Reads `SA ttl 3 len 100`, in any order.
    pub fn parse<'a>(words: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let mut parsed = Self { flags: 0, ttl: 64, length: 0 };
        let mut words = words;
        while let Some(word) = words.next() {
            let mut number = || {
                let next = words.next().unwrap_or_default();
                next.parse::<u16>().map_err(|_| format!("{word} {next}: no number up to 65535"))
            };
            match word {
                "ttl" => {
                    parsed.ttl = u8::try_from(number()?).map_err(|_| "ttl: at most 255")?;
                }
                "len" => {
                    parsed.length = number()?;
                    if parsed.length > MAX_LENGTH {
                        return Err(format!(
                            "len: at most {MAX_LENGTH}, an IP packet's 65535 less its headers"
                        ));
                    }
                }
                flags => {
                    for letter in flags.chars() {
                        let bit = FLAGS.iter().position(|flag| *flag == letter);
                        let bit = bit.ok_or_else(|| {
                            format!("{flags}: give TCP flags (FSRPAUEC), ttl N or len N")
                        })?;
                        parsed.flags |= 1 << bit;
                    }
                }
            }
        }
        Ok(parsed)
    }
}

impl Packet {
    /// Reads a packet.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let protocol = match words.next() {
            Some("tcp") => Transport::Tcp,
            Some("udp") => Transport::Udp,
            Some("icmp") => Transport::Icmp,
            _ => return Err(format!("{text:?}: begin with tcp, udp or icmp")),
        };
        let mut end = || {
            let word = words.next().unwrap_or_default();
            let bad = |_| format!("{text:?}: {word:?} is no address and port");
            if protocol == Transport::Icmp {
                return word.parse().map(|address: IpAddr| (address, 0)).map_err(bad);
            }
            let end: Result<SocketAddr, _> = word.parse();
            end.map(|end| (end.ip(), end.port())).map_err(bad)
        };
        let source = end()?;
        let arrow = words.next();
        let mut end = || {
            let word = words.next().unwrap_or_default();
            let bad = |_| format!("{text:?}: {word:?} is no address and port");
            if protocol == Transport::Icmp {
                return word.parse().map(|address: IpAddr| (address, 0)).map_err(bad);
            }
            let end: Result<SocketAddr, _> = word.parse();
            end.map(|end| (end.ip(), end.port())).map_err(bad)
        };
        let destination = end()?;
        if arrow != Some(">") || source.0.is_ipv4() != destination.0.is_ipv4() {
            return Err(format!("{text:?}: write `SOURCE > DESTINATION`, of one family"));
        }
        let words = Words::parse(words)?;
        Ok(Self::Built { protocol, ends: Ends { source, destination }, words })
    }

    /// Reads the bytes of a frame, from the Ethernet header on.
    pub fn from_hex(text: &str) -> Result<Self, String> {
        let digits: Vec<u32> = text
            .chars()
            .filter(|c| !c.is_whitespace())
            .map(|c| c.to_digit(16).ok_or_else(|| format!("hex: {c:?} is no digit")))
            .collect::<Result<_, _>>()?;
        let (pairs, rest) = digits.as_chunks::<2>();
        if !rest.is_empty() || pairs.len() < 14 {
            return Err("hex: give a whole frame, two digits a byte".into());
        }
        Ok(Self::Raw(pairs.iter().map(|[a, b]| (a << 4 | b) as u8).collect()))
    }

    /// Its bytes. The link addresses are those that the sender's device writes.
    pub fn frame(&self) -> Frame {
        match self {
            Self::Raw(bytes) => Frame::new(bytes.clone()),
            Self::Built { protocol, ends, words } => {
                let v4 = ends.source.0.is_ipv4();
                let protocol = match protocol {
                    Transport::Tcp => Protocol::Tcp(words.flags),
                    Transport::Udp => Protocol::Udp(true),
                    Transport::Icmp => Protocol::Icmp(if v4 { 8 } else { 128 }),
                };
                let family = if v4 { 4 } else { 6 };
                let spec = PacketSpec {
                    port: ends.source.1,
                    payload: words.length,
                    ttl: words.ttl,
                    ..PacketSpec::new(family, Target::Outside, protocol)
                };
                Frame::new(spec.bytes(ends))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::packet_text;

    /// A packet's text, built and read again.
    fn again(text: &str) -> String {
        packet_text(&Packet::parse(text).unwrap().frame().bytes)
    }

    #[test]
    fn text_to_bytes_and_back() {
        for text in [
            "tcp 10.0.0.1:4321 > 10.0.0.2:80 SA ttl 3 len 100",
            "udp 10.0.0.1:4321 > 10.0.0.2:53 ttl 64 len 1",
            "tcp [fd00::1]:4321 > [fd00::2]:80 FPA ttl 255",
            "icmp 10.0.0.1 > 10.0.0.2 echo request ttl 64",
        ] {
            let asked = text.replace(" echo request", "");
            assert_eq!(again(&asked), text);
        }
    }

    #[test]
    fn what_is_no_packet_says_why() {
        for (text, what) in [
            ("sctp 10.0.0.1:1 > 10.0.0.2:2", "begin with"),
            ("tcp 10.0.0.1 > 10.0.0.2:2", "no address and port"),
            ("tcp 10.0.0.1:1 < 10.0.0.2:2", "SOURCE > DESTINATION"),
            ("tcp 10.0.0.1:1 > [fd00::2]:2", "of one family"),
            ("tcp 10.0.0.1:1 > 10.0.0.2:2 X", "TCP flags"),
            ("tcp 10.0.0.1:1 > 10.0.0.2:2 ttl 256", "at most 255"),
            ("tcp 10.0.0.1:1 > 10.0.0.2:2 len", "no number"),
            ("udp 10.0.0.1:1 > 10.0.0.2:2 len 65535", "len: at most 65495"),
            ("udp 10.0.0.1:1 > 10.0.0.2:2 len 65536", "no number up to 65535"),
        ] {
            let error = Packet::parse(text).unwrap_err();
            assert!(error.contains(what), "{text}: {error}");
        }
        assert!(Packet::from_hex("02 7").is_err());
        assert!(Packet::from_hex("zz").is_err());
    }
}
