//! A packet's way through a cluster: hooks, stacks and links.
//!
//! Of the kernel around the hooks only that is modelled which a packet shows: where it goes next, its
//! link addresses, and the hop that forwarding takes. Links carry packets at once and in order.

use twinpath_core::address::Address;
use twinpath_core::bytes::Be16;
use twinpath_core::checksum::{Delta, sum};
use twinpath_core::drop_reason::DropReason;
use twinpath_core::hook::Hook;
use twinpath_core::parse::{Parsed, parse};
use twinpath_core::seam::{At, Packet};
use twinpath_core::verdict::{Decision, IfIndex, Verdict};
use twinpath_core::wire::{ethernet, ipv4, ipv6};

use crate::engine::{Engine, NodeIndex};
use crate::frame::Frame;
use crate::outside::{cross, length};
use crate::topology::{ClientIndex, Mac, Neighbour, Owner, PodIndex, Topology, UPLINK};

/// A place where a packet can be seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub enum Place {
    /// Leaving a pod, as the pod sent it.
    PodOut(PodIndex),
    /// On the link, as it left this node.
    Wire(NodeIndex),
    /// Entering a pod, as the pod receives it.
    PodIn(PodIndex),
    /// In the stack of this node, for the node itself.
    Host(NodeIndex),
    /// Leaving this node for an address outside the cluster, where there is no router.
    Outside(NodeIndex),
    /// On the link, as the router sent it to this node.
    FromRouter(NodeIndex),
    /// In the router.
    Router,
    /// Leaving a client outside, as the client sent it.
    ClientOut(ClientIndex),
    /// Reaching a client outside.
    ClientIn(ClientIndex),
}

impl Place {
    /// Whether a packet goes no further from here.
    pub const fn is_end(self) -> bool {
        matches!(
            self,
            Self::PodIn(_) | Self::Host(_) | Self::Outside(_) | Self::Router | Self::ClientIn(_)
        )
    }
}

/// What became of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It reached this place.
    Arrived(Place),
    /// A hook dropped it.
    Dropped(NodeIndex, Hook, DropReason),
    /// A stack dropped it, having no hop left to take: that of a node, or the router's.
    Expired(Place),
    /// A stack dropped it, the checksum of its IPv4 header being wrong.
    Refused(Place),
    /// It was too long to go on from here, and nobody was told.
    TooBig(Place),
    /// Nobody here knows the way to its destination.
    NoRoute(Place),
    /// It was going round in circles, of which this node is part.
    Looped(NodeIndex),
}

/// More hooks than any packet meets that gets anywhere.
const MAX_HOOKS: u32 = 64;

/// Sees a packet on its way.
pub trait Watch {
    /// The packet is at this place now.
    fn at(&mut self, place: Place, frame: &Frame);
    /// A hook decided.
    fn decided(&mut self, node: NodeIndex, hook: Hook, decision: &Decision);
}

/// Does not look.
impl Watch for () {
    #[inline(always)]
    fn at(&mut self, _: Place, _: &Frame) {}
    #[inline(always)]
    fn decided(&mut self, _: NodeIndex, _: Hook, _: &Decision) {}
}

/// Nodes with their pods, each node's hooks run by an engine.
pub struct Cluster<E> {
    /// Who is where.
    pub topology: Topology,
    /// What runs the hooks.
    pub engine: E,
}

impl<E: Engine> Cluster<E> {
    /// A pod sends a packet. Its link addresses become those of the pod's device and its gateway.
    #[inline]
    pub fn send<W: Watch>(
        &mut self,
        pod: PodIndex,
        frame: &mut Frame,
        watch: &mut W,
    ) -> Result<Fate, E::Error> {
        let (node, device, mac, gateway) = match self.topology.pods.get(pod) {
            Some(info) => (info.node, info.device, info.mac, info.gateway),
            None => return Ok(Fate::Arrived(Place::PodOut(pod))),
        };
        set_macs(frame, gateway, mac);
        watch.at(Place::PodOut(pod), frame);
        self.hook(node, Hook::FromPod, device, frame, watch)
    }

    /// A node itself sends a packet: by its stack alone, which takes no hop of its own packets.
    #[inline(never)]
    pub fn send_from_node<W: Watch>(
        &mut self,
        node: NodeIndex,
        frame: &mut Frame,
        watch: &mut W,
    ) -> Result<Fate, E::Error> {
        let host = Place::Host(node);
        let Ok(Some(parsed)) = parse(frame) else { return Ok(arrive(host, frame, watch)) };
        watch.at(host, frame);
        let step = match self.topology.owner(&parsed.tuple.destination) {
            Some(Owner::Node(own)) if own == node => return Ok(Fate::Arrived(host)),
            owner => self.route(node, owner, frame, watch),
        };
        self.go_on(step, frame, watch)
    }

    /// A client outside sends a packet. Its link addresses become those of the client's device and the
    /// router's.
    #[inline(never)]
    pub fn send_from_client<W: Watch>(
        &mut self,
        client: ClientIndex,
        frame: &mut Frame,
        watch: &mut W,
    ) -> Result<Fate, E::Error> {
        let place = Place::ClientOut(client);
        let Some(info) = self.topology.clients.get(client) else { return Ok(Fate::Arrived(place)) };
        set_macs(frame, info.gateway, info.mac);
        watch.at(place, frame);
        let step = cross(&self.topology, frame, watch);
        self.go_on(step, frame, watch)
    }

    fn go_on<W: Watch>(
        &mut self,
        step: Step,
        frame: &mut Frame,
        watch: &mut W,
    ) -> Result<Fate, E::Error> {
        match step {
            Step::Hook(node, hook, device) => self.hook(node, hook, device, frame, watch),
            Step::End(fate) => Ok(fate),
        }
    }

    /// Runs a hook and follows the packet from there, hook after hook: a loop, so that the hooks become
    /// part of it and their decisions stay in registers. Part of its callers in turn, since a fate that
    /// was written in parts and is then copied whole makes a processor wait.
    #[inline(always)]
    fn hook<W: Watch>(
        &mut self,
        mut node: NodeIndex,
        mut hook: Hook,
        mut device: IfIndex,
        frame: &mut Frame,
        watch: &mut W,
    ) -> Result<Fate, E::Error> {
        for _ in 0..MAX_HOOKS {
            let decision = self.engine.run(node, hook, device, frame)?;
            watch.decided(node, hook, &decision);
            let step = match decision.verdict() {
                Verdict::Drop(reason) => Step::End(Fate::Dropped(node, hook, reason)),
                Verdict::Reject(_) | Verdict::Answer => self.back(node, hook, device, frame, watch),
                Verdict::Deliver(device) => {
                    if matches!(hook, Hook::ToNetdev) {
                        self.resolve(node, device, frame);
                    }
                    Step::End(self.deliver(node, device, frame, watch))
                }
                Verdict::Forward(_) => self.wire(node, frame, watch),
                Verdict::Pass => match hook {
                    Hook::ToPod => Step::End(self.deliver(node, device, frame, watch)),
                    Hook::FromPod | Hook::FromNetdev => self.stack(node, frame, watch),
                    Hook::ToNetdev => self.link(node, frame, watch),
                    Hook::Xdp => Step::Hook(node, Hook::FromNetdev, device),
                },
            };
            (node, hook, device) = match step {
                Step::Hook(node, hook, device) => (node, hook, device),
                Step::End(fate) => return Ok(fate),
            };
        }
        Ok(Fate::Looped(node))
    }

    /// An answer goes back by the way the packet came, with the link addresses that it has.
    #[cold]
    fn back<W: Watch>(
        &self,
        node: NodeIndex,
        hook: Hook,
        device: IfIndex,
        frame: &mut Frame,
        watch: &mut W,
    ) -> Step {
        match hook {
            Hook::FromPod => Step::End(self.deliver(node, device, frame, watch)),
            // The device seems to receive it (`BPF_F_INGRESS`).
            Hook::ToPod => Step::Hook(node, Hook::FromPod, device),
            Hook::ToNetdev => Step::Hook(node, Hook::FromNetdev, UPLINK),
            Hook::FromNetdev | Hook::Xdp => self.link(node, frame, watch),
        }
    }

    /// A packet is on the link between the nodes as it is: whose link address it has receives it.
    fn link<W: Watch>(&self, node: NodeIndex, frame: &mut Frame, watch: &mut W) -> Step {
        let to = frame.bytes.first_chunk::<6>().and_then(|mac| self.topology.neighbour(*mac));
        let Some(to) = to else {
            return Step::End(arrive(Place::Outside(node), frame, watch));
        };
        if self.topology.mtu != 0 && self.is_too_long(frame) {
            return Step::End(Fate::TooBig(Place::Wire(node)));
        }
        watch.at(Place::Wire(node), frame);
        match to {
            Neighbour::Node(next) => enter(&self.topology, next),
            Neighbour::Router => cross(&self.topology, frame, watch),
        }
    }

    /// The stack writes the link addresses towards the pod behind a device.
    #[cold]
    fn resolve(&self, node: NodeIndex, device: IfIndex, frame: &mut Frame) {
        let pod = self.topology.pod_behind(node, device);
        if let Some(info) = pod.and_then(|pod| self.topology.pods.get(pod)) {
            set_macs(frame, info.mac, info.gateway);
        }
    }

    /// A packet enters the pod behind a device. Its link addresses stay as they are, as the kernel's
    /// `bpf_redirect_peer` leaves them.
    #[inline(always)]
    fn deliver<W: Watch>(
        &self,
        node: NodeIndex,
        device: IfIndex,
        frame: &Frame,
        watch: &mut W,
    ) -> Fate {
        match self.topology.pod_behind(node, device) {
            Some(pod) => arrive(Place::PodIn(pod), frame, watch),
            None => arrive(Place::Outside(node), frame, watch),
        }
    }

    /// The node's stack routes a packet.
    #[inline(never)]
    fn stack<W: Watch>(&self, node: NodeIndex, frame: &mut Frame, watch: &mut W) -> Step {
        let host = Place::Host(node);
        let Ok(Some(parsed)) = parse(frame) else {
            return Step::End(arrive(host, frame, watch));
        };
        let destination = parsed.tuple.destination;
        if destination.is_link_scope() {
            return Step::End(arrive(host, frame, watch));
        }
        let owner = self.topology.owner(&destination);
        if owner == Some(Owner::Node(node)) {
            return Step::End(arrive(host, frame, watch));
        }
        if !is_header_right(frame, &parsed) {
            return Step::End(Fate::Refused(host));
        }
        if parsed.ttl <= 1 {
            return Step::End(Fate::Expired(host));
        }
        take_off_padding(frame, &parsed);
        take_hop(frame, parsed.l3, parsed.tuple.is_v4(), parsed.ttl, parsed.checksum);
        self.route(node, owner, frame, watch)
    }

    /// A packet leaves a node's stack for an address that is not the node's own.
    fn route<W: Watch>(
        &self,
        node: NodeIndex,
        owner: Option<Owner>,
        frame: &mut Frame,
        watch: &mut W,
    ) -> Step {
        match owner {
            Some(Owner::Pod(pod)) => match self.topology.pods.get(pod) {
                Some(info) if info.node == node => {
                    set_macs(frame, info.mac, info.gateway);
                    Step::Hook(node, Hook::ToPod, info.device)
                }
                _ => self.leave(node, frame, watch),
            },
            Some(_) => self.leave(node, frame, watch),
            None if self.topology.router.is_some() => self.leave(node, frame, watch),
            None => Step::End(arrive(Place::Outside(node), frame, watch)),
        }
    }

    /// The stack sends a packet by the device that faces the others.
    fn leave<W: Watch>(&self, node: NodeIndex, frame: &mut Frame, watch: &mut W) -> Step {
        if self.topology.attached.to_netdev {
            // The hook does not change where the stack has sent it.
            self.address(node, frame);
            return Step::Hook(node, Hook::ToNetdev, UPLINK);
        }
        self.wire(node, frame, watch)
    }

    /// Writes the link addresses towards the next hop of a packet that leaves a node; the node that is
    /// it, or else the router.
    #[inline]
    fn address(&self, node: NodeIndex, frame: &mut Frame) -> Option<NodeIndex> {
        let owner = destination(frame).and_then(|address| self.topology.owner(&address));
        let next = match owner {
            Some(Owner::Pod(pod)) => self.topology.pods.get(pod).map(|info| info.node),
            Some(Owner::Node(other)) => Some(other),
            Some(Owner::Client(_) | Owner::Router) | None => None,
        };
        let next = next.filter(|next| *next != node);
        let to = match next {
            Some(next) => self.topology.nodes.get(next).map(|info| info.mac),
            None => self.topology.router.as_ref().map(|router| router.mac),
        };
        if let (Some(from), Some(to)) = (self.topology.nodes.get(node), to) {
            set_macs(frame, to, from.mac);
        }
        next
    }

    /// A packet leaves a node by the device that faces the others.
    #[inline]
    fn wire<W: Watch>(&self, node: NodeIndex, frame: &mut Frame, watch: &mut W) -> Step {
        if self.topology.mtu != 0 && self.is_too_long(frame) {
            return Step::End(Fate::TooBig(Place::Wire(node)));
        }
        let Some(next) = self.address(node, frame) else {
            return self.out(node, frame, watch);
        };
        watch.at(Place::Wire(node), frame);
        enter(&self.topology, next)
    }

    /// A packet leaves a node for the router.
    #[inline(never)]
    fn out<W: Watch>(&self, node: NodeIndex, frame: &mut Frame, watch: &mut W) -> Step {
        if self.topology.router.is_none() {
            return Step::End(arrive(Place::Outside(node), frame, watch));
        }
        watch.at(Place::Wire(node), frame);
        cross(&self.topology, frame, watch)
    }

    #[cold]
    fn is_too_long(&self, frame: &Frame) -> bool {
        match parse(frame) {
            Ok(Some(parsed)) => length(frame, &parsed) > self.topology.mtu as usize,
            _ => false,
        }
    }
}

/// A packet reaches the uplink of a node.
#[inline(always)]
pub(crate) const fn enter(topology: &Topology, node: NodeIndex) -> Step {
    let hook = if topology.attached.xdp { Hook::Xdp } else { Hook::FromNetdev };
    Step::Hook(node, hook, UPLINK)
}

/// Where a packet comes next.
pub(crate) enum Step {
    /// To this hook of this node, by this device.
    Hook(NodeIndex, Hook, IfIndex),
    /// Nowhere.
    End(Fate),
}

#[inline(always)]
pub(crate) fn arrive<W: Watch>(place: Place, frame: &Frame, watch: &mut W) -> Fate {
    watch.at(place, frame);
    Fate::Arrived(place)
}

#[inline(always)]
pub(crate) fn set_macs(frame: &mut Frame, destination: Mac, source: Mac) {
    if let Some(macs) = frame.bytes.get_mut(..12) {
        macs[..6].copy_from_slice(&destination);
        macs[6..].copy_from_slice(&source);
    }
}

/// Whether the checksum of an IPv4 header is right. Hooks leave it as wrong as it came; stacks look.
pub(crate) fn is_header_right(frame: &Frame, parsed: &Parsed) -> bool {
    if !parsed.tuple.is_v4() {
        return true;
    }
    let Ok(header) = frame.load::<ipv4::Header>(parsed.l3) else { return false };
    let end = parsed.l3.0 + (usize::from(header.version_and_length & 0x0f) << 2);
    frame.bytes.get(parsed.l3.0..end).is_some_and(|header| sum(header) == 0xffff)
}

/// Takes off what stands behind the IP packet in its frame, as stacks do on receipt.
pub(crate) fn take_off_padding(frame: &mut Frame, parsed: &Parsed) {
    let length = if parsed.tuple.is_v4() {
        frame.load(parsed.l3).map_or(0, |header: ipv4::Header| header.total_length.get().into())
    } else {
        match frame.load(parsed.l3).map_or(0, |header: ipv6::Header| header.payload_length.get()) {
            0 if frame.bytes.len() > 0xffff => 0,
            payload => ipv6::LENGTH + usize::from(payload),
        }
    };
    // Length 0 stands for a super-packet too long for its length field.
    if length != 0 {
        frame.bytes.truncate(parsed.l3.0 + length);
    }
}

/// Where an IP packet goes that a hook has found to be one.
#[inline]
fn destination(frame: &Frame) -> Option<Address> {
    let mut l3 = At(ethernet::LENGTH);
    loop {
        match frame.load(At(l3.0.wrapping_sub(2))).ok()? {
            ethernet::IPV4 => return frame.load(l3.plus(16)).ok().map(Address::v4),
            ethernet::IPV6 => return frame.load(l3.plus(24)).ok(),
            ethernet::VLAN | ethernet::PROVIDER_VLAN => l3 = l3.plus(ethernet::TAG_LENGTH),
            _ => return None,
        }
    }
}

/// One hop less, as the stack's forwarding takes it.
pub(crate) fn take_hop(frame: &mut Frame, l3: At, is_v4: bool, ttl: u8, checksum: Be16) {
    let less = ttl.saturating_sub(1);
    // The parser has seen the whole header, so the stores cannot fail.
    if is_v4 {
        let change =
            Delta::NONE.of_word(u16::from_ne_bytes([ttl, 0]), u16::from_ne_bytes([less, 0]));
        let _ = frame.store(l3.plus(ipv4::TTL), less);
        let _ = frame.store(l3.plus(ipv4::TTL + 2), change.apply(checksum.raw()));
    } else {
        let _ = frame.store(l3.plus(ipv6::HOP_LIMIT), less);
    }
}
