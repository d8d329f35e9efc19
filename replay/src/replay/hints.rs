//! What is odd about a capture as a whole, said once at the end: taken behind the translation, before the checksums,
//! with packets that no wire has seen, inside tunnels, or cut.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use twinpath_control::model::{PortName, State};
use twinpath_core::parse::{Parsed, parse};
use twinpath_sim::frame::Frame;

use super::feed::Captured;
use super::feed::decap::is_tunnel;
use super::partial::{is_partial, pseudo};

/// Longest frame of an ordinary network: 1500 bytes, Ethernet header, VLAN tag.
const ORDINARY: u32 = 1_518;

/// An address, port and protocol.
type Socket = (IpAddr, u16, u8);

/// Flows to a service's frontends and, past them, to its backends.
#[derive(Clone, Debug, Default)]
struct Flows {
    to_frontends: u64,
    to_backends: u64,
    /// The first flow to a backend: number and words of its first packet.
    example: Option<(u64, String)>,
}

/// Watches the packets of a replay. The work is done at the first packet of a flow.
#[derive(Debug)]
pub struct Hints {
    frontends: HashMap<Socket, usize>,
    backends: HashMap<Socket, usize>,
    services: Vec<PortName>,
    found: BTreeMap<usize, Flows>,
    packets: u64,
    flows: usize,
    frame: Frame,
    /// Flows whose first packet has an unfinished checksum.
    partial: u64,
    /// Flows that carry packets of others: VXLAN, Geneve, IP in IP.
    tunnels: u64,
    long: u64,
    longest: u32,
    cut: u64,
    /// Captured bytes of the shortest and longest cut packet.
    cut_to: (usize, usize),
}

impl Hints {
    /// For a capture of this cluster.
    pub fn new(state: &State) -> Self {
        let (mut frontends, mut backends) = (HashMap::new(), HashMap::new());
        let mut services = Vec::new();
        for (name, port) in &state.services {
            let (index, protocol) = (services.len(), name.protocol.number());
            for frontend in &port.frontends {
                frontends.entry((frontend.address, frontend.port, protocol)).or_insert(index);
            }
            for endpoint in &port.endpoints {
                backends.entry((endpoint.address, endpoint.port, protocol)).or_insert(index);
            }
            services.push(name.clone());
        }
        Self {
            frontends,
            backends,
            services,
            found: BTreeMap::new(),
            packets: 0,
            flows: 0,
            frame: Frame::default(),
            partial: 0,
            tunnels: 0,
            long: 0,
            longest: 0,
            cut: 0,
            cut_to: (usize::MAX, 0),
        }
    }

    /// Looks at a packet, after which so many flows are known.
    #[inline]
    pub fn packet(&mut self, packet: &Captured<'_>, flows: usize) {
        self.packets = self.packets.wrapping_add(1);
        let captured = packet.data.len();
        if packet.original_len > ORDINARY || captured < packet.original_len as usize {
            self.odd_length(packet);
        }
        if flows != self.flows {
            self.flows = flows;
            self.opening(packet);
        }
    }

    #[cold]
    fn odd_length(&mut self, packet: &Captured<'_>) {
        if packet.broken.is_some() {
            return;
        }
        if packet.original_len > ORDINARY {
            self.long = self.long.wrapping_add(1);
            self.longest = self.longest.max(packet.original_len);
        }
        let captured = packet.data.len();
        if captured < packet.original_len as usize {
            self.cut = self.cut.wrapping_add(1);
            self.cut_to = (self.cut_to.0.min(captured), self.cut_to.1.max(captured));
        }
    }

    #[cold]
    fn opening(&mut self, packet: &Captured<'_>) {
        let mut frame = std::mem::take(&mut self.frame);
        packet.fill(&mut frame);
        if let Ok(Some(parsed)) = parse(&frame) {
            let partial = is_partial(&frame.bytes, packet.data.len(), &parsed, pseudo(&parsed));
            self.partial = self.partial.wrapping_add(u64::from(partial));
            self.tunnels = self.tunnels.wrapping_add(u64::from(is_tunnel(packet.data)));
            self.flow(&parsed);
        }
        self.frame = frame;
    }

    fn flow(&mut self, parsed: &Parsed) {
        let tuple = &parsed.tuple;
        let source = (tuple.source.into(), tuple.source_port.get(), tuple.protocol);
        let destination = (tuple.destination.into(), tuple.destination_port.get(), tuple.protocol);
        // A capture may begin in the middle of a flow, with what the server sends.
        let either = |sockets: &HashMap<Socket, usize>| {
            sockets.get(&destination).or_else(|| sockets.get(&source)).copied()
        };
        if let Some(service) = either(&self.frontends) {
            let flows = self.found.entry(service).or_default();
            flows.to_frontends = flows.to_frontends.wrapping_add(1);
        } else if let Some(service) = either(&self.backends) {
            let number = self.packets;
            let flows = self.found.entry(service).or_default();
            flows.to_backends = flows.to_backends.wrapping_add(1);
            flows.example.get_or_insert_with(|| {
                let socket = |(address, port, _)| std::net::SocketAddr::new(address, port);
                (number, format!("{} > {}", socket(source), socket(destination)))
            });
        }
    }

    /// Lines for the user.
    pub fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = self.translated().into_iter().collect();
        let (packets, flows) = (self.packets, self.flows);
        if self.partial > 0 {
            notes.push(format!(
                "note: {} of {flows} flows begin with an unfinished checksum: the capture is from before a device that \
                 does this work (checksum offload); such checksums are finished on the way and not taken for errors",
                self.partial
            ));
        }
        if self.tunnels > 0 {
            notes.push(format!(
                "note: {} of {flows} flows are tunnels (VXLAN, Geneve, IP in IP), replayed as such; --decap auto replays \
                 what they carry",
                self.tunnels
            ));
        }
        if self.long > 0 {
            notes.push(format!(
                "note: {} of {packets} packets are longer than {ORDINARY} bytes, the longest {}: segmentation offload \
                 (GSO, GRO) or jumbo frames; each is replayed as one packet",
                self.long, self.longest
            ));
        }
        if self.cut > 0 {
            let (least, most) = self.cut_to;
            let range =
                if least == most { least.to_string() } else { format!("{least} to {most}") };
            notes.push(format!(
                "note: {} of {packets} packets are cut by the capture to {range} bytes (`tcpdump -s`): what is missing \
                 is replayed as zeroes, and their checksums are not judged",
                self.cut
            ));
        }
        notes
    }

    /// Whether clients send to backends what they should send to frontends.
    fn translated(&self) -> Option<String> {
        let past = |flows: &&Flows| {
            flows.to_backends > 0 && flows.to_frontends.saturating_mul(10) <= flows.to_backends
        };
        let services: Vec<_> = self.found.iter().filter(|(_, flows)| past(flows)).collect();
        let to_backends: u64 = services.iter().map(|(_, flows)| flows.to_backends).sum();
        // Some go there by themselves, as a kubelet to its API server: they do not tell of the capture.
        let to_frontends: u64 = self.found.values().map(|flows| flows.to_frontends).sum();
        if to_frontends >= to_backends {
            return None;
        }
        let most = services
            .iter()
            .max_by_key(|(index, flows)| (flows.to_backends, std::cmp::Reverse(**index)));
        let (index, flows) = most?;
        let name = &self.services.get(**index)?.service;
        let (number, words) = flows.example.as_ref()?;
        let others = match services.len() {
            1 => String::new(),
            more => format!(" and {} more", more.saturating_sub(1)),
        };
        Some(format!(
            "note: the capture looks taken after translation: {to_backends} of {} flows go straight to backends of \
             {name}{others}, such as packet {number}, {words}; capture at the client's side to see what the services do",
            self.flows
        ))
    }
}

#[cfg(test)]
mod tests;
