//! A world without programs: network namespaces with kube-proxy's rules.

use std::io;
use std::time::{Duration, Instant};

use twinpath_control::model::State;
use twinpath_control::rules::{iptables, nftables};
use twinpath_control::tables::Names;
use twinpath_core::conntrack::Flow;
use twinpath_core::parse::parse;
use twinpath_core::seam::Nanos;
use twinpath_core::tuple::Tuple;
use twinpath_kernel::veth::Stacks;
use twinpath_kernel::veth::cpu::stay_on_one;
use twinpath_kernel::veth::devices::Namespaces;
use twinpath_kernel::veth::log::LogSocket;
use twinpath_kernel::veth::netns::Namespace;
use twinpath_kernel::veth::send::{Senders, is_refusal};
use twinpath_kernel::veth::tap::{EVERYTHING, PacketSocket, Room};
use twinpath_kernel::veth::watch::{Sighting, Watchers, device_number, is_housekeeping};
use twinpath_sim::cluster::{Fate, Place};
use twinpath_sim::engine::NodeIndex;
use twinpath_sim::frame::Frame;
use twinpath_sim::topology::Topology;
use twinpath_sim::world::{Sender, Trace, World, WorldError};

/// Which rules a world has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rules {
    /// Those of kube-proxy's iptables mode, by the machine's own `iptables-restore`.
    Iptables,
    /// Those of its nftables mode.
    Nftables,
}

impl Rules {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Iptables, Self::Nftables];

    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Iptables => "iptables",
            Self::Nftables => "nftables",
        }
    }
}

/// The group to which packets for a node itself are logged.
const GROUP: u16 = 7;

/// Behind all other rules of the input hook, conntrack's own included, which therefore must be there
/// later: what is for the node is shown, and goes no further.
const SHOW: &str = "table inet shown {\n  chain input {\n    \
    type filter hook input priority 2147483647\n    log group 7\n    drop\n  }\n}\n";

/// Parameters of a node: refusals are not limited, and a connection is kept for so long that no test
/// outlives it.
const NODE: [(&str, &str); 5] = [
    ("ipv4/icmp_ratelimit", "0"),
    ("ipv6/icmp/ratelimit", "0"),
    ("ipv4/icmp_msgs_per_sec", "1000000"),
    ("ipv4/icmp_msgs_burst", "1000000"),
    ("ipv4/fwmark_reflect", "0"),
];

/// The protocol of markers: one for experiments (RFC 3692).
const MARKER: u8 = 253;

/// How long a marker is waited for. It is lost only where the machine is broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// Markers behind each packet, one after the other: more hops together than a packet and its answer have.
const MARKERS: u32 = 3;

/// Nodes, pods and clients in network namespaces, with rules at the nodes.
pub struct NetfilterWorld {
    rules: Rules,
    topology: Topology,
    senders: Senders,
    logs: Vec<LogSocket>,
    watchers: Watchers,
    /// Where markers arrive.
    finish: PacketSocket,
    room: Room,
    namespaces: Namespaces,
    marked: u32,
    /// What the rules were made from last.
    applied: Option<State>,
}

impl NetfilterWorld {
    /// Makes the namespaces and devices of a cluster; rules come with [`World::apply`]. The calling
    /// thread stays on one CPU from now on, so that packets keep their order.
    pub fn new(topology: Topology, rules: Rules) -> Result<Self, WorldError> {
        stay_on_one().map_err(failed)?;
        let namespaces = Namespaces::new(&topology, Stacks::Silent)?;
        let mut logs = Vec::new();
        for (info, node) in topology.nodes.iter().zip(&namespaces.nodes) {
            node.set(&NODE)?;
            // Rules know a node by the addresses of its devices; silent nodes have routes alone.
            let commands: String = info
                .addresses
                .iter()
                .map(|address| {
                    let (length, more) = if address.is_ipv4() { (32, "") } else { (128, " nodad") };
                    format!(
                        "route del blackhole {address}/{length}\n\
                         addr add {address}/{length} dev eth0{more}\n"
                    )
                })
                .collect();
            node.ip(&commands)?;
            node.feed("nft", "nftables", &["-f", "-"], SHOW)?;
            let log = node.run(|| LogSocket::listen(GROUP))?;
            logs.push(log.map_err(failed)?);
        }
        let senders = Senders::new(&namespaces)?;
        let watchers = Watchers::new(&namespaces)?;
        let last = namespaces.pods.last().ok_or_else(|| failed("a cluster without pods"))?;
        let listen = || PacketSocket::listen(device_number(c"eth0")?, EVERYTHING);
        let finish = last.run(listen)?.map_err(failed)?;
        Ok(Self {
            rules,
            topology,
            senders,
            logs,
            watchers,
            finish,
            room: Room::default(),
            namespaces,
            marked: 0,
            applied: None,
        })
    }

    /// The namespace of a node.
    pub fn node(&self, node: NodeIndex) -> Option<&Namespace> {
        self.namespaces.nodes.get(node)
    }

    /// Loads rules of nft into a node, beside those of the cluster.
    pub fn nft(&self, node: NodeIndex, text: &str) -> Result<(), WorldError> {
        let namespace = self.node(node).ok_or_else(|| failed("no such node"))?;
        namespace.feed("nft", "nftables", &["-f", "-"], text).map_err(WorldError::from)
    }

    /// Takes what was seen since this was called last, in the order of places.
    fn take(&mut self) -> Result<Vec<(u64, Place, Frame)>, WorldError> {
        let Self { watchers, topology, logs, .. } = self;
        let mut seen = Vec::new();
        let each = |Sighting { time, place, frame }| {
            // At a stack's entry nothing is translated yet: the log has what passes.
            let counts = !matches!(place, Place::Host(_));
            if counts && marker_of(&frame).is_none() && !is_housekeeping(&frame) {
                seen.push((time, place, frame));
            }
        };
        watchers.take(topology, each).map_err(failed)?;
        for (node, log) in logs.iter_mut().enumerate() {
            log.take(|packet| {
                let v4 = packet.first().is_some_and(|byte| byte >> 4 == 4);
                let ethertype: [u8; 2] = if v4 { [0x08, 0x00] } else { [0x86, 0xdd] };
                let frame = Frame::new([&[0; 12], ethertype.as_slice(), packet].concat());
                if !is_housekeeping(&frame) {
                    seen.push((u64::MAX, Place::Host(node), frame));
                }
            })
            .map_err(failed)?;
        }
        match watchers.lost().map_err(failed)? {
            0 => Ok(seen),
            lost => Err(failed(format!("{lost} frames came faster than they were read"))),
        }
    }

    /// Sends markers behind a packet and waits for each. They go from the first pod to the last; one CPU
    /// carries all packets in turn, so what has not been seen then never comes.
    fn settle(&mut self) -> Result<(), WorldError> {
        for _ in 0..MARKERS {
            self.marked = self.marked.wrapping_add(1);
            let frame = self.marker()?;
            let socket = self.senders.pod(0).ok_or_else(|| failed("a cluster without pods"))?;
            socket.send(&frame).map_err(failed)?;
            let until = Instant::now() + PATIENCE;
            while !self.has_finished()? {
                if Instant::now() > until {
                    return Err(failed("a marker packet has not arrived"));
                }
                std::thread::sleep(Duration::from_micros(100));
            }
        }
        Ok(())
    }

    /// Whether the last marker has arrived.
    fn has_finished(&mut self) -> Result<bool, WorldError> {
        let Self { finish, room, marked, .. } = self;
        let mut finished = false;
        while let Some(seen) = finish.receive(room).map_err(failed)? {
            finished |= marker_of(&Frame::new(seen.bytes.to_vec())) == Some(*marked);
        }
        Ok(finished)
    }

    /// A packet from the first pod to the last.
    fn marker(&self) -> Result<Frame, WorldError> {
        let ends = self.topology.pods.first().zip(self.topology.pods.last());
        let (from, to) = ends.ok_or_else(|| failed("a cluster without pods"))?;
        let v4 = |addresses: &[std::net::IpAddr]| {
            addresses.iter().find_map(|ip| match ip {
                std::net::IpAddr::V4(ip) => Some(ip.octets()),
                std::net::IpAddr::V6(_) => None,
            })
        };
        let (Some(source), Some(destination)) = (v4(&from.addresses), v4(&to.addresses)) else {
            return Err(failed("a cluster without IPv4"));
        };
        let mut bytes = [from.gateway.as_slice(), &from.mac, &[0x08, 0x00]].concat();
        let mut header = [0x45, 0, 0, 24, 0, 0, 0x40, 0, 64, MARKER, 0, 0].to_vec();
        header.extend_from_slice(&source);
        header.extend_from_slice(&destination);
        let sum = !super::craft::sum(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(&self.marked.to_be_bytes());
        Ok(Frame::new(bytes))
    }

    /// A packet and all that came of it.
    fn inject(&mut self, sender: Sender, frame: &Frame) -> Result<Trace, WorldError> {
        let mut trace = Trace::default();
        match self.senders.send(&self.topology, sender, frame) {
            None => return Ok(trace),
            Some(Ok(())) => {}
            // Rules that drop what a node sends say so to its socket.
            Some(Err(error)) if is_refusal(&error) || is_forbidden(&error) => {}
            Some(Err(error)) => return Err(failed(error)),
        }
        self.settle()?;
        let mut seen = self.take()?;
        seen.sort_by_key(|(time, place, _)| match place {
            Place::PodOut(_) | Place::ClientOut(_) => (0, 0),
            place if place.is_end() => (2, 0),
            _ => (1, *time),
        });
        trace.seen = seen.into_iter().map(|(_, place, frame)| (place, frame)).collect();
        let last = trace.seen.last().filter(|(place, _)| place.is_end());
        trace.fate = last.map(|(place, _)| Fate::Arrived(*place));
        Ok(trace)
    }
}

impl World for NetfilterWorld {
    fn name(&self) -> &'static str {
        self.rules.name()
    }

    /// Loads the rules of a state, and forgets what rules remember between connections. Connections stay.
    fn apply(&mut self, state: &State) -> Result<(), WorldError> {
        if self.applied.as_ref() == Some(state) {
            return Ok(());
        }
        for (info, node) in self.topology.nodes.iter().zip(&self.namespaces.nodes) {
            match self.rules {
                Rules::Nftables => {
                    let text = nftables::rules(state, &info.name);
                    node.feed("nft", "nftables", &["-f", "-"], &text)?;
                }
                Rules::Iptables => {
                    for (program, v4) in [("iptables-restore", true), ("ip6tables-restore", false)]
                    {
                        let text = iptables::rules(state, &info.name, v4);
                        node.feed(program, "iptables", &[], &text)?;
                    }
                }
            }
        }
        self.applied = Some(state.clone());
        Ok(())
    }

    fn names(&mut self, _: &State) -> Names {
        Names::default()
    }

    fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Time is the kernel's own.
    fn set_time(&mut self, _: Nanos) -> Result<(), WorldError> {
        Ok(())
    }

    fn send_from(&mut self, sender: Sender, frame: &Frame) -> Result<Trace, WorldError> {
        self.inject(sender, frame)
    }

    /// Conntrack is the kernel's, and not in our form.
    fn conntrack(&mut self, _: NodeIndex) -> Result<Vec<(Tuple, Flow)>, WorldError> {
        Ok(Vec::new())
    }

    fn evict(&mut self, _: NodeIndex, _: &Tuple) -> Result<bool, WorldError> {
        Ok(false)
    }
}

/// The number of a marker.
fn marker_of(frame: &Frame) -> Option<u32> {
    let tuple = parse(frame).ok()??.tuple;
    if !tuple.is_v4() || tuple.protocol != MARKER {
        return None;
    }
    frame.bytes.get(34..38)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// Whether rules do not let a socket send a packet (`EPERM`).
fn is_forbidden(error: &io::Error) -> bool {
    error.raw_os_error() == Some(1)
}

fn failed(error: impl std::fmt::Display) -> WorldError {
    WorldError::Failed(error.to_string())
}
