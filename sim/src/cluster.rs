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
use crate::topology::{Mac, Owner, PodIndex, Topology, UPLINK};

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
    /// Leaving this node for an address outside the cluster.
    Outside(NodeIndex),
}

/// What became of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It reached this place.
    Arrived(Place),
    /// A hook dropped it.
    Dropped(NodeIndex, Hook, DropReason),
    /// A node's stack dropped it, having no hop left to take.
    Expired(NodeIndex),
    /// A node's stack dropped it, the checksum of its IPv4 header being wrong.
    Refused(NodeIndex),
}

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
        loop {
            let decision = self.engine.run(node, hook, device, frame)?;
            watch.decided(node, hook, &decision);
            let step = match decision.verdict() {
                Verdict::Drop(reason) => Step::End(Fate::Dropped(node, hook, reason)),
                Verdict::Reject(_) | Verdict::Answer => self.back(node, hook, device, frame, watch),
                // The kernel's bpf_redirect_peer leaves the link addresses as they came.
                Verdict::Deliver(device) => Step::End(self.deliver(node, device, frame, watch)),
                Verdict::Forward(_) => self.wire(node, frame, watch),
                Verdict::Pass => match hook {
                    Hook::ToPod => Step::End(self.deliver(node, device, frame, watch)),
                    Hook::FromPod | Hook::FromNetdev => self.stack(node, frame, watch),
                    Hook::ToNetdev => self.wire(node, frame, watch),
                    Hook::Xdp => Step::Hook(node, Hook::FromNetdev, device),
                },
            };
            (node, hook, device) = match step {
                Step::Hook(node, hook, device) => (node, hook, device),
                Step::End(fate) => return Ok(fate),
            };
        }
    }

    /// An answer goes back by the way the packet came: on the link, to the node that sent it.
    fn back<W: Watch>(
        &self,
        node: NodeIndex,
        hook: Hook,
        device: IfIndex,
        frame: &Frame,
        watch: &mut W,
    ) -> Step {
        match hook {
            Hook::FromPod => Step::End(self.deliver(node, device, frame, watch)),
            Hook::ToPod | Hook::ToNetdev => Step::End(arrive(Place::Host(node), frame, watch)),
            Hook::FromNetdev | Hook::Xdp => {
                let to = frame.bytes.get(..6);
                match self.topology.nodes.iter().position(|info| to == Some(&info.mac[..])) {
                    Some(sender) if sender != node => {
                        watch.at(Place::Wire(node), frame);
                        Step::Hook(sender, Hook::FromNetdev, UPLINK)
                    }
                    _ => Step::End(arrive(Place::Outside(node), frame, watch)),
                }
            }
        }
    }

    /// A packet enters the pod behind a device.
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
            return Step::End(Fate::Refused(node));
        }
        if parsed.ttl <= 1 {
            return Step::End(Fate::Expired(node));
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
                _ => self.wire(node, frame, watch),
            },
            Some(Owner::Node(_)) => self.wire(node, frame, watch),
            None => Step::End(arrive(Place::Outside(node), frame, watch)),
        }
    }

    /// A packet leaves a node by the device that faces the others.
    #[inline]
    fn wire<W: Watch>(&self, node: NodeIndex, frame: &mut Frame, watch: &mut W) -> Step {
        let owner = destination(frame).and_then(|address| self.topology.owner(&address));
        let next = match owner {
            Some(Owner::Pod(pod)) => self.topology.pods.get(pod).map(|info| info.node),
            Some(Owner::Node(other)) => Some(other),
            None => None,
        };
        let Some(next) = next.filter(|next| *next != node) else {
            return Step::End(arrive(Place::Outside(node), frame, watch));
        };
        if let (Some(from), Some(to)) =
            (self.topology.nodes.get(node), self.topology.nodes.get(next))
        {
            set_macs(frame, to.mac, from.mac);
        }
        watch.at(Place::Wire(node), frame);
        Step::Hook(next, Hook::FromNetdev, UPLINK)
    }
}

/// Where a packet comes next.
enum Step {
    /// To this hook of this node, by this device.
    Hook(NodeIndex, Hook, IfIndex),
    /// Nowhere.
    End(Fate),
}

#[inline(always)]
fn arrive<W: Watch>(place: Place, frame: &Frame, watch: &mut W) -> Fate {
    watch.at(place, frame);
    Fate::Arrived(place)
}

#[inline(always)]
fn set_macs(frame: &mut Frame, destination: Mac, source: Mac) {
    if let Some(macs) = frame.bytes.get_mut(..12) {
        macs[..6].copy_from_slice(&destination);
        macs[6..].copy_from_slice(&source);
    }
}

/// Whether the checksum of an IPv4 header is right. Hooks leave it as wrong as it came; stacks look.
fn is_header_right(frame: &Frame, parsed: &Parsed) -> bool {
    if !parsed.tuple.is_v4() {
        return true;
    }
    let Ok(header) = frame.load::<ipv4::Header>(parsed.l3) else { return false };
    let end = parsed.l3.0 + (usize::from(header.version_and_length & 0x0f) << 2);
    frame.bytes.get(parsed.l3.0..end).is_some_and(|header| sum(header) == 0xffff)
}

/// Takes off what stands behind the IP packet in its frame, as stacks do on receipt.
fn take_off_padding(frame: &mut Frame, parsed: &Parsed) {
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
fn take_hop(frame: &mut Frame, l3: At, is_v4: bool, ttl: u8, checksum: Be16) {
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
