//! A connection's packets, sent through both worlds: each side answers what it has seen in its world.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use twinpath_sim::cluster::{Fate, Place};
use twinpath_sim::world::{Sender, World, WorldError};

use super::craft::{Body, Checksum, Packet, moved};
use super::view::View;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// Who opened the connection.
    Client,
    /// Who got its first packet.
    Server,
}

/// A step of a script.
#[derive(Clone, Debug)]
pub struct Step {
    /// Who sends.
    pub from: From,
    /// What.
    pub what: What,
    /// Whether it opens the connection, for the first time or once more on the same ports.
    pub opens: bool,
}

/// What is sent.
#[derive(Clone, Debug)]
pub enum What {
    /// A packet.
    Packet(Segment),
    /// A datagram in fragments with so many bytes each.
    Fragments(Segment, usize),
    /// An ICMP error about the packet that the sender has seen last: its kind, how many bytes of the packet it
    /// quotes, and whether a router says so, under an address of its own.
    Error(Trouble, usize, bool),
    /// A packet of a capture, from its IP header on, between other ends.
    Captured(Vec<u8>),
}

/// Who reports errors from somewhere on the way.
pub const ROUTERS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 77)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 7)),
];

/// What an ICMP error says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The port is unreachable.
    Port,
    /// The packet is too big.
    TooBig,
    /// Its hops are used up.
    Time,
}

/// A packet but for its ends.
#[derive(Clone, Debug)]
pub struct Segment {
    /// What it carries.
    pub body: Body,
    /// Bytes behind the transport header.
    pub payload: usize,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// What stands in the checksum's place.
    pub checksum: Checksum,
    /// With IP options.
    pub options: bool,
}

impl Segment {
    /// One with nothing odd about it.
    pub const fn new(body: Body, payload: usize) -> Self {
        Self { body, payload, ttl: 64, checksum: Checksum::Right, options: false }
    }
}

/// A packet where it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Where.
    pub place: Place,
    /// As what.
    pub view: View,
}

/// A connection in one world.
pub struct Side<'a> {
    world: &'a mut dyn World,
    client: Sender,
    /// The client's end, and the frontend's.
    ends: (SocketAddr, SocketAddr),
    /// Who got the first packet, the client as it sees it, and itself.
    server: Option<(Sender, SocketAddr, SocketAddr)>,
    /// What each has seen last.
    at_server: Option<View>,
    at_client: Option<View>,
    identification: u16,
    /// The packets that were sent, with link headers.
    pub sent: Vec<Vec<u8>>,
    /// Where the last step's packets were seen, and as what.
    pub seen: Vec<(Place, Vec<u8>)>,
}

impl<'a> Side<'a> {
    /// A connection that nothing was sent on.
    pub fn new(world: &'a mut dyn World, client: Sender, ends: (SocketAddr, SocketAddr)) -> Self {
        Self {
            world,
            client,
            ends,
            server: None,
            at_server: None,
            at_client: None,
            identification: ends.0.port(),
            sent: Vec::new(),
            seen: Vec::new(),
        }
    }

    /// Who serves it: the client as it sees it, and itself.
    pub fn server(&self) -> Option<(SocketAddr, SocketAddr)> {
        self.server.map(|(_, client, server)| (client, server))
    }

    /// Sends a step's packets; where they ended, in order. `None` where there is nobody to send, or nothing to
    /// send it about.
    pub fn send(&mut self, step: &Step) -> Result<Option<Vec<End>>, WorldError> {
        if step.opens {
            (self.server, self.at_server, self.at_client) = (None, None, None);
        }
        let (sender, source, destination) = match (step.from, self.server) {
            (From::Client, _) => (self.client, self.ends.0, self.ends.1),
            (From::Server, Some((sender, client, server))) => (sender, server, client),
            (From::Server, None) => return Ok(None),
        };
        self.identification = self.identification.wrapping_add(1);
        let build = |segment: &Segment| Packet {
            payload: segment.payload,
            ttl: segment.ttl,
            checksum: segment.checksum,
            options: segment.options,
            identification: self.identification,
            ..Packet::new(source, destination, segment.body.clone())
        };
        let frames = match &step.what {
            What::Packet(segment) => vec![build(segment).frame()],
            What::Captured(bytes) => moved(bytes, source, destination).into_iter().collect(),
            What::Fragments(segment, size) => build(segment).fragments(*size),
            What::Error(trouble, keep, by_router) => {
                let about = match step.from {
                    From::Client => &self.at_client,
                    From::Server => &self.at_server,
                };
                let Some(about) = about else { return Ok(None) };
                let quote = about.bytes.get(..about.bytes.len().min(about.l4 + keep));
                let v4 = source.is_ipv4();
                let (kind, code, word) = match (trouble, v4) {
                    (Trouble::Port, true) => (3, 3, 0),
                    (Trouble::Port, false) => (1, 4, 0),
                    (Trouble::TooBig, true) => (3, 4, 1280),
                    (Trouble::TooBig, false) => (2, 0, 1280),
                    (Trouble::Time, true) => (11, 0, 0),
                    (Trouble::Time, false) => (3, 0, 0),
                };
                let body = Body::Error(kind, code, word, quote.unwrap_or_default().to_vec());
                let [router4, router6] = ROUTERS;
                let router = if v4 { router4 } else { router6 };
                let source =
                    if *by_router { SocketAddr::new(router, 0) } else { about.destination };
                let mut packet = Packet::new(source, about.source, body);
                packet.identification = self.identification;
                vec![packet.frame()]
            }
        };
        let mut ends = Vec::new();
        self.seen.clear();
        for frame in frames {
            self.sent.push(frame.bytes.clone());
            let trace = self.world.send_from(sender, &frame)?;
            // What a node sends is shown by some worlds before anything has happened to it.
            let arrived = matches!(trace.fate, Some(Fate::Arrived(_)));
            let inside = matches!(sender, Sender::Node(_)) && !(arrived && trace.seen.len() == 1);
            for (number, (place, frame)) in trace.seen.iter().enumerate() {
                let is_start = number == 0 && inside && receiver(*place) == Some(sender);
                if !is_start {
                    self.seen.push((*place, frame.bytes.clone()));
                }
                if is_start || receiver(*place).is_none() {
                    continue;
                }
                if let Some(view) = View::new(frame.bytes.get(14..).unwrap_or_default()) {
                    ends.push(End { place: *place, view });
                }
            }
        }
        for End { place, view } in &ends {
            let who = receiver(*place);
            if self.server.is_none()
                && let Some(who) = who
                && view.quote().is_none()
                && step.from == From::Client
            {
                self.server = Some((who, view.source, view.destination));
            }
            let is_server = self.server.is_some_and(|(server, _, own)| {
                Some(server) == who && (own.ip() == view.destination.ip())
            });
            if view.quote().is_some() {
                continue; // nobody says anything about errors (RFC 1122, 3.2.2)
            }
            if step.from == From::Client && is_server {
                self.at_server = Some(view.clone());
            } else {
                self.at_client = Some(view.clone());
            }
        }
        Ok(Some(ends))
    }
}

/// Who gets what arrives at a place.
pub const fn receiver(place: Place) -> Option<Sender> {
    match place {
        Place::PodIn(pod) => Some(Sender::Pod(pod)),
        Place::Host(node) => Some(Sender::Node(node)),
        Place::ClientIn(client) => Some(Sender::Client(client)),
        _ => None,
    }
}
