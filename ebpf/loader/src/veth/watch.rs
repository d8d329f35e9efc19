//! The places of a cluster where frames are seen, and what is seen there.

use std::ffi::CString;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use twinpath_core::parse::{Transport, parse};
use twinpath_core::seam::{At, Packet};
use twinpath_core::wire::ethernet;
use twinpath_sim::cluster::Place;
use twinpath_sim::engine::NodeIndex;
use twinpath_sim::frame::Frame;
use twinpath_sim::topology::{ClientIndex, Neighbour, Owner, PodIndex, Topology, UPLINK};

use crate::veth::devices::{Namespaces, port_name};
use crate::veth::netns::NamespaceError;
use crate::veth::tap::{EVERYTHING, PacketSocket, Room, Seen};

/// A frame that was seen on its way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sighting {
    /// When, in nanoseconds of the wall clock.
    pub time: u64,
    /// Where.
    pub place: Place,
    /// What it looked like.
    pub frame: Frame,
}

/// Where a socket looks.
#[derive(Clone, Copy, Debug)]
enum Spot {
    /// At a pod's device, both ways.
    Pod(PodIndex),
    /// At a node's uplink; only what leaves counts.
    Uplink(NodeIndex),
    /// At the bridge's port of a node; only what enters counts. What an XDP program sends shows nowhere before.
    Port(NodeIndex),
    /// At a client's device, both ways.
    Client(ClientIndex),
    /// At the router's device towards the nodes; only what leaves counts.
    Router,
    /// At the entry to the router's stack; only what is for the router itself counts.
    RouterStack,
    /// At the entry to a node's stack, behind the hooks; only what is for the node itself counts.
    Stack(NodeIndex),
}

/// A socket at every place.
pub struct Watchers {
    sockets: Vec<(Spot, PacketSocket)>,
    room: Room,
}

impl Watchers {
    /// Starts to watch.
    pub fn new(namespaces: &Namespaces) -> Result<Self, NamespaceError> {
        let failed = NamespaceError::Namespace;
        let mut sockets = Vec::new();
        for (pod, namespace) in namespaces.pods.iter().enumerate() {
            let socket = namespace.run(|| {
                let device = device_number(c"eth0")?;
                PacketSocket::listen(device, EVERYTHING)
            })?;
            sockets.push((Spot::Pod(pod), socket.map_err(failed)?));
        }
        for (client, namespace) in namespaces.clients.iter().enumerate() {
            let socket = namespace.run(|| {
                let device = device_number(c"eth0")?;
                PacketSocket::listen(device, EVERYTHING)
            })?;
            sockets.push((Spot::Client(client), socket.map_err(failed)?));
        }
        if let Some(router) = &namespaces.router {
            let uplink = router.run(|| PacketSocket::listen(UPLINK, EVERYTHING))?;
            sockets.push((Spot::Router, uplink.map_err(failed)?));
            for ethertype in [ethernet::IPV4, ethernet::IPV6] {
                let stack = router.run(|| PacketSocket::listen(0, ethertype.get()))?;
                sockets.push((Spot::RouterStack, stack.map_err(failed)?));
            }
        }
        for (node, namespace) in namespaces.nodes.iter().enumerate() {
            let (spot, uplink) = match &namespaces.bridge {
                Some(bridge) => (Spot::Port(node), bridge.run(|| listen_at_port(node))?),
                None => {
                    let uplink = namespace.run(|| PacketSocket::listen(UPLINK, EVERYTHING))?;
                    (Spot::Uplink(node), uplink)
                }
            };
            sockets.push((spot, uplink.map_err(failed)?));
            for ethertype in [ethernet::IPV4, ethernet::IPV6] {
                let stack = namespace.run(|| PacketSocket::listen(0, ethertype.get()))?;
                sockets.push((Spot::Stack(node), stack.map_err(failed)?));
            }
        }
        Ok(Self { sockets, room: Room::default() })
    }

    /// Takes all that was seen so far, in no particular order of places.
    pub fn take(&mut self, topology: &Topology, mut each: impl FnMut(Sighting)) -> io::Result<()> {
        let Self { sockets, room } = self;
        for (spot, socket) in sockets {
            while let Some(seen) = socket.receive(room)? {
                if let Some(sighting) = sighting(*spot, &seen, topology) {
                    each(sighting);
                }
            }
        }
        Ok(())
    }

    /// Waits until something is seen; whether it was, in time.
    pub fn wait(&self, until: Instant) -> io::Result<bool> {
        let left = until.saturating_duration_since(Instant::now());
        // Rounded up: what is left of a millisecond must not become a busy loop.
        let left = left.checked_add(Duration::from_micros(999)).unwrap_or(left);
        let mut files: Vec<PollFd<'_>> = self
            .sockets
            .iter()
            .map(|(_, socket)| PollFd::new(socket.as_fd(), PollFlags::POLLIN))
            .collect();
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut files, timeout) {
            Ok(count) => Ok(count > 0),
            Err(nix::errno::Errno::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// How many frames were lost for want of room since this was asked last.
    pub fn lost(&self) -> io::Result<u32> {
        self.sockets.iter().map(|(_, socket)| socket.lost()).sum()
    }
}

/// Sees the frames at the port of a node, on a thread in the bridge's namespace.
fn listen_at_port(node: NodeIndex) -> io::Result<PacketSocket> {
    let name = CString::new(port_name(node)).map_err(io::Error::other)?;
    PacketSocket::listen(device_number(&name)?, EVERYTHING)
}

/// What a frame that a socket saw amounts to; `None` where it counts for nothing at this place.
fn sighting(spot: Spot, seen: &Seen<'_>, topology: &Topology) -> Option<Sighting> {
    let place = match spot {
        Spot::Pod(pod) if seen.outgoing => Place::PodOut(pod),
        Spot::Pod(pod) => Place::PodIn(pod),
        Spot::Client(client) if seen.outgoing => Place::ClientOut(client),
        Spot::Client(client) => Place::ClientIn(client),
        Spot::Uplink(node) if seen.outgoing => Place::Wire(node),
        Spot::Port(node) if !seen.outgoing => Place::Wire(node),
        Spot::Uplink(_) | Spot::Port(_) => return None,
        Spot::Router if seen.outgoing => {
            match topology.neighbour(*seen.bytes.first_chunk::<6>()?)? {
                Neighbour::Node(node) => Place::FromRouter(node),
                Neighbour::Router => return None,
            }
        }
        Spot::Router => return None,
        Spot::RouterStack => Place::Router,
        Spot::Stack(node) => Place::Host(node),
    };
    let frame = Frame { bytes: seen.bytes.to_vec(), partial: seen.partial };
    let stack = match place {
        Place::Host(node) => Some(Owner::Node(node)),
        Place::Router => Some(Owner::Router),
        _ => None,
    };
    if stack.is_some()
        && let Ok(Some(parsed)) = parse(&frame)
    {
        let destination = &parsed.tuple.destination;
        if topology.owner(destination) != stack && !destination.is_link_scope() {
            return None;
        }
    }
    Some(Sighting { time: seen.time, place, frame })
}

/// Whether a frame is of the protocols by which stacks find and question their neighbours: ARP, IGMP, and
/// ICMPv6 for neighbours, routers and multicast groups.
pub fn is_housekeeping(frame: &Frame) -> bool {
    /// `ETH_P_ARP`.
    const ARP: [u8; 2] = [0x08, 0x06];
    const IGMP: u8 = 2;
    if frame.bytes.get(ethernet::ETHERTYPE..ethernet::LENGTH) == Some(&ARP) {
        return true;
    }
    let Ok(Some(parsed)) = parse(frame) else { return false };
    if parsed.tuple.is_v4() && parsed.tuple.protocol == IGMP {
        return true;
    }
    if parsed.transport != Transport::Icmp || parsed.tuple.is_v4() {
        return false;
    }
    let kind: Result<[u8; 2], _> = frame.load(At(parsed.l4.0));
    matches!(kind, Ok([130..=137 | 143, _]))
}

/// The number of a device of the calling thread's namespace.
pub fn device_number(name: &std::ffi::CStr) -> io::Result<u32> {
    // SAFETY: the name ends with a zero.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        number => Ok(number),
    }
}
