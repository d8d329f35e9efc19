//! Packets as a scenario describes them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use twinpath_core::conntrack::Flow;
use twinpath_core::hook::Hook;
use twinpath_core::tuple::Tuple;
use twinpath_core::verdict::IfIndex;
use twinpath_sim::topology::UPLINK;

use super::cluster::{client_address, device_of, node_address, pod_address};
use super::services::{cluster_address, frontend_address};

mod bytes;

/// A packet: who sends what to whom, and what is odd about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacketSpec {
    /// 4 or 6.
    pub family: u8,
    /// What sends it,
    #[serde(default, skip_serializing_if = "Sender::is_pod")]
    pub sender: Sender,
    /// and which of them.
    pub from: u8,
    /// Where it goes.
    pub to: Target,
    /// What it carries.
    pub protocol: Protocol,
    /// The sender's port.
    pub port: u16,
    /// Length of the payload in bytes.
    pub payload: u16,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// 802.1Q tags.
    #[serde(default)]
    pub tags: u8,
    /// IPv4: option words. IPv6: the protocol numbers of extension headers, one bit each (see
    /// `EXTENSIONS`).
    #[serde(default)]
    pub options: u8,
    /// The fragment offset in units of 8 bytes, and whether more follow. The identification is the port.
    #[serde(default)]
    pub fragment: Option<(u16, bool)>,
    /// It is an ICMP error about this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<Quote>,
    /// It looks as if another node had told this one of a frontend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrap: Option<Wrap>,
    /// It carries the mark of packets that another hook is done with.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub marked: bool,
    /// What is broken about the bytes.
    #[serde(default)]
    pub damage: Vec<Damage>,
}

/// What sends a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sender {
    /// A pod.
    #[default]
    Pod,
    /// One of four clients outside the cluster.
    Client,
    /// A node, from one of its addresses: 0 and 1 of the one under test, 2 of the other.
    Node,
}

impl Sender {
    const fn is_pod(&self) -> bool {
        matches!(self, Self::Pod)
    }
}

/// The destination of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// The first frontend of a service port.
    Service(u8),
    /// The address of a service, and this port.
    ServiceAddress(u8, u16),
    /// The n-th frontend of a service port, those on nodes for each of their addresses.
    Frontend(u8, u8),
    /// A pod, and this port.
    Pod(u8, u16),
    /// A node's address, by the number of [`Sender::Node`], and this port.
    Node(u8, u16),
    /// The other end of an entry of the conntrack table: the packet that the entry is for, whatever
    /// `from`, `port` and `family` say.
    Entry(u16),
    /// The same with the protocol of the entry, at the hook where its packets come if that is known.
    Half(u16),
    /// An address of the service range that no service has.
    Unallocated,
    /// Somewhere outside the cluster.
    Outside,
    /// A group.
    Multicast,
}

/// The transport of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// TCP with these flags.
    Tcp(u8),
    /// UDP, with or without a checksum.
    Udp(bool),
    /// SCTP.
    Sctp,
    /// An echo request, or an answer to one, with the asker's port as identifier.
    Echo(bool),
    /// An error of ICMP or ICMPv6: unreachable, time exceeded, too big, parameter problem.
    Error(u8),
    /// ICMP or ICMPv6 of this type.
    Icmp(u8),
    /// Another protocol.
    Other(u8),
}

/// What an ICMP error is about: a packet of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    /// The entry of the conntrack table that the packet left with: the n-th, modulo their number.
    pub entry: u16,
    /// Or it never left: it is quoted as it came.
    #[serde(default)]
    pub untouched: bool,
    /// A router sends the error and not the end of the connection.
    #[serde(default)]
    pub router: bool,
    /// How many bytes behind its IP header are quoted at most.
    pub keep: u8,
    /// Its `options`.
    #[serde(default)]
    pub options: u8,
}

/// What another node might have wrapped a packet in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wrap {
    /// An option that names the n-th frontend of a service port.
    Option(u8, u8),
    /// A tunnel of IP in IP to a pod.
    Ipip(u8),
    /// A Geneve tunnel to a pod with an option that names the n-th frontend of a service port.
    Geneve(u8, u8, u8),
}

/// A way to break a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Damage {
    /// Cut to this length.
    Cut(u16),
    /// Another byte at this offset.
    Byte(u16, u8),
    /// Bytes appended behind the packet.
    Padding(u8),
}

/// Both ends, as they stand in the packet.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// Source address and port.
    pub source: (IpAddr, u16),
    /// Destination address and port.
    pub destination: (IpAddr, u16),
}

impl From<&Tuple> for Ends {
    fn from(key: &Tuple) -> Self {
        Self {
            source: (key.source.into(), key.source_port.get()),
            destination: (key.destination.into(), key.destination_port.get()),
        }
    }
}

impl Ends {
    const fn family(&self) -> u8 {
        if self.source.0.is_ipv4() { 4 } else { 6 }
    }
}

/// A packet as a hook meets it.
pub(super) struct Met {
    pub(super) hook: Hook,
    pub(super) device: IfIndex,
    pub(super) marked: bool,
    pub(super) bytes: Vec<u8>,
}

impl PacketSpec {
    /// A packet of pod 0 with nothing odd about it.
    pub const fn new(family: u8, to: Target, protocol: Protocol) -> Self {
        Self {
            family,
            sender: Sender::Pod,
            from: 0,
            to,
            protocol,
            port: 40_000,
            payload: 0,
            ttl: 64,
            tags: 0,
            options: 0,
            fragment: None,
            quote: None,
            wrap: None,
            marked: false,
            damage: Vec::new(),
        }
    }

    /// The frame with these ends.
    pub fn bytes(&self, ends: &Ends) -> Vec<u8> {
        let payload: Vec<u8> = (0..self.payload).map(|i| (i as u8).wrapping_mul(7)).collect();
        self.frame(ends, &payload)
    }

    /// The packet, with the conntrack table as it is; `None` where the table has not what it is about.
    pub(super) fn meet(&self, hook: Hook, device: IfIndex, table: &[(Tuple, Flow)]) -> Option<Met> {
        let met = |(hook, device), bytes| Some(Met { hook, device, marked: self.marked, bytes });
        if let Some(quote) = &self.quote {
            let (key, flow) = pick(table, quote.entry)?;
            let about = if quote.untouched { key } else { &flow.to };
            let (ends, quoted) = self.error_about(quote, about);
            let spec = Self { family: ends.family(), ..self.clone() };
            return met(natural(hook, device, ends.source.0), spec.frame(&ends, &quoted));
        }
        match self.to {
            Target::Half(n) | Target::Entry(n) => {
                let (key, _) = pick(table, n)?;
                let ends = Ends::from(key);
                let mut spec = Self { family: ends.family(), ..self.clone() };
                let mut place = (hook, device);
                if matches!(self.to, Target::Half(_)) {
                    spec.protocol = self.protocol.of(key);
                    place = natural(hook, device, ends.source.0);
                }
                met(place, spec.bytes(&ends))
            }
            _ => met((hook, device), self.bytes(&self.ends())),
        }
    }

    /// The ends, where they do not depend on the conntrack table.
    fn ends(&self) -> Ends {
        let source = match self.sender {
            Sender::Pod => pod_address(self.from, self.family),
            Sender::Client => client_address(self.from, self.family),
            Sender::Node => node_address(self.from, self.family),
        };
        let destination = match self.to {
            Target::Service(service) => frontend_address(service, 0, self.family),
            Target::ServiceAddress(service, port) => {
                (frontend_address(service, 0, self.family).0, port)
            }
            Target::Frontend(service, n) => frontend_address(service, n, self.family),
            Target::Pod(pod, port) => (pod_address(pod, self.family), port),
            Target::Node(node, port) => (node_address(node, self.family), port),
            Target::Unallocated => (cluster_address(200, self.family), 80),
            Target::Multicast if self.family == 4 => ([224, 0, 0, 251].into(), 5353),
            Target::Multicast => ([0xff02, 0, 0, 0, 0, 0, 0, 0xfb].into(), 5353),
            Target::Outside | Target::Entry(_) | Target::Half(_) => {
                (client_address(0, self.family), 443)
            }
        };
        // An answer to an echo has the identifier on the side of the one who asked.
        match self.protocol {
            Protocol::Echo(true) => {
                Ends { source: (source, self.port), destination: (destination.0, 0) }
            }
            Protocol::Echo(false) => {
                Ends { source: (source, 0), destination: (destination.0, self.port) }
            }
            _ => Ends { source: (source, self.port), destination },
        }
    }

    /// The ends of an error about a packet with this tuple, and the packet as it is quoted.
    fn error_about(&self, quote: &Quote, about: &Tuple) -> (Ends, Vec<u8>) {
        let ends = Ends::from(about);
        let family = ends.family();
        let inner = Self {
            family,
            protocol: Protocol::Tcp(0x10).of(about),
            ttl: 61,
            options: quote.options,
            fragment: None,
            wrap: None,
            ..self.clone()
        };
        let mut quoted = inner.network(&ends, &inner.segment(&ends, &[7; 24]));
        quoted.truncate(inner.header_length(&ends) + usize::from(quote.keep));
        let source = if !quote.router {
            ends.destination.0
        } else if family == 4 {
            [192, 0, 2, 1].into()
        } else {
            [0x2001, 0xdb8, 2, 0, 0, 0, 0, 1].into()
        };
        (Ends { source: (source, 0), destination: (ends.source.0, 0) }, quoted)
    }
}

impl Protocol {
    /// This, or what the packets of an entry under this key carry.
    const fn of(self, key: &Tuple) -> Self {
        match (key.protocol, self) {
            (6, Self::Tcp(_)) | (17, Self::Udp(_)) | (132, Self::Sctp) => self,
            (6, _) => Self::Tcp(0x10),
            (17, _) => Self::Udp(true),
            (132, _) => Self::Sctp,
            (1 | 58, _) => Self::Echo(key.source_port.get() != 0),
            (other, _) => Self::Other(other),
        }
    }
}

/// Where a packet from this address comes in.
fn natural(hook: Hook, device: IfIndex, source: IpAddr) -> (Hook, IfIndex) {
    match (hook, device_of(source)) {
        (Hook::ToPod | Hook::ToNetdev, _) => (hook, device),
        (_, Some(device)) => (Hook::FromPod, device),
        (Hook::FromPod, None) => (Hook::FromNetdev, UPLINK),
        (_, None) => (hook, device),
    }
}

/// An entry: the n-th, modulo their number.
pub(super) fn pick(table: &[(Tuple, Flow)], n: u16) -> Option<&(Tuple, Flow)> {
    table.get(usize::from(n).checked_rem(table.len())?)
}
