//! The router, and what it tells those whose packets go no further: the ICMP errors of RFC 792,
//! RFC 1812 and RFC 4443.

use twinpath_core::address::Address;
use twinpath_core::checksum::sum;
use twinpath_core::parse::{Parsed, Part, Transport, parse};
use twinpath_core::seam::Packet;
use twinpath_core::wire::{ethernet, ipv4, ipv6};

use crate::cluster::{
    Fate, Place, Step, Watch, arrive, enter, is_header_right, set_macs, take_hop, take_off_padding,
};
use crate::engine::NodeIndex;
use crate::frame::Frame;
use crate::topology::{ClientIndex, Owner, Topology};

/// What a router says of a packet that it does not send on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Complaint {
    /// It has no hop left.
    TimeExceeded,
    /// It is longer than this, in bytes from the IP header on.
    TooBig(u32),
}

/// Where the router sends a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// To a client.
    Client(ClientIndex),
    /// To a node.
    Node(NodeIndex),
    /// It is for the router itself.
    Here,
}

/// Where the router sends packets to an address; `None` where it knows no way.
pub(crate) fn way(topology: &Topology, destination: &Address) -> Option<Way> {
    let router = topology.router.as_ref()?;
    match topology.owner(destination) {
        Some(Owner::Client(client)) => Some(Way::Client(client)),
        Some(Owner::Node(node)) => Some(Way::Node(node)),
        Some(Owner::Router) => Some(Way::Here),
        Some(Owner::Pod(pod)) if router.knows_pods => {
            topology.pods.get(pod).map(|info| Way::Node(info.node))
        }
        Some(Owner::Pod(_)) | None => router.routes.get(destination).copied().map(Way::Node),
    }
}

/// Whether a packet that is too long for a link must not be cut there.
pub(crate) fn is_whole(frame: &Frame, parsed: &Parsed) -> bool {
    /// The flag "don't fragment" and its place in the IPv4 header.
    const DONT_FRAGMENT: u8 = 0x40;
    const FLAGS: usize = 6;
    !parsed.tuple.is_v4()
        || frame.bytes.get(parsed.l3.0 + FLAGS).is_some_and(|byte| byte & DONT_FRAGMENT != 0)
}

/// The length of an IP packet in bytes, as its header has it.
pub(crate) fn length(frame: &Frame, parsed: &Parsed) -> usize {
    if parsed.tuple.is_v4() {
        frame.load(parsed.l3).map_or(0, |header: ipv4::Header| header.total_length.get().into())
    } else {
        let header = frame.load(parsed.l3);
        header.map_or(0, |h: ipv6::Header| ipv6::LENGTH + usize::from(h.payload_length.get()))
    }
}

/// The hops and the traffic class that a router's own errors leave with.
const TTL: u8 = 64;
const CLASS: u8 = 0xc0;

/// The error that tells a packet's sender, from a router with this address. `None` where no error may be
/// sent: about an error, or a later fragment (RFC 1812, 4.3.2.7; RFC 4443, 2.4 e).
pub fn complain(
    frame: &Frame,
    parsed: &Parsed,
    from: &Address,
    complaint: Complaint,
) -> Option<Vec<u8>> {
    let later = matches!(parsed.part, Part::Later);
    if later || matches!(parsed.transport, Transport::IcmpError | Transport::Fragment) {
        return None;
    }
    let quoted = frame.bytes.get(parsed.l3.0..)?;
    let to = &parsed.tuple.source;
    let mut bytes = frame.bytes.get(..ethernet::LENGTH)?.to_vec();
    bytes.get_mut(ethernet::ETHERTYPE..)?.copy_from_slice(if parsed.tuple.is_v4() {
        &[0x08, 0x00]
    } else {
        &[0x86, 0xdd]
    });
    if parsed.tuple.is_v4() {
        // RFC 1812, 4.3.2.3: as much as fits into 576 bytes.
        let quoted = quoted.get(..quoted.len().min(576 - 28))?;
        let (kind, code, mtu) = match complaint {
            Complaint::TimeExceeded => (11, 0, 0),
            Complaint::TooBig(mtu) => (3, 4, u16::try_from(mtu).unwrap_or(u16::MAX)),
        };
        let mut message = vec![kind, code, 0, 0, 0, 0];
        message.extend(mtu.to_be_bytes());
        message.extend(quoted);
        put_sum(&mut message, 2, &[]);
        let total = u16::try_from(ipv4::MIN_LENGTH + message.len()).ok()?;
        let mut header = vec![0x45, CLASS];
        header.extend(total.to_be_bytes());
        header.extend([0, 0, 0, 0, TTL, 1, 0, 0]);
        header.extend(from.low().to_ne_bytes());
        header.extend(to.low().to_ne_bytes());
        put_sum(&mut header, 10, &[]);
        bytes.extend(header);
        bytes.extend(message);
    } else {
        // RFC 4443, 2.4 c: as much as fits into the smallest MTU of IPv6.
        let quoted = quoted.get(..quoted.len().min(1280 - 48))?;
        let (kind, mtu) = match complaint {
            Complaint::TimeExceeded => (3, 0),
            Complaint::TooBig(mtu) => (2, mtu),
        };
        let mut message = vec![kind, 0, 0, 0];
        message.extend(mtu.to_be_bytes());
        message.extend(quoted);
        let length = u16::try_from(message.len()).ok()?;
        let mut header = vec![0x60, 0, 0, 0];
        header.extend(length.to_be_bytes());
        header.extend([58, TTL]);
        for address in [from, to] {
            header.extend(address.words().iter().flat_map(|word| word.to_ne_bytes()));
        }
        let mut pseudo = header.get(8..)?.to_vec();
        pseudo.extend([0, 0]);
        pseudo.extend(length.to_be_bytes());
        pseudo.extend([0, 0, 0, 58]);
        put_sum(&mut message, 2, &pseudo);
        bytes.extend(header);
        bytes.extend(message);
    }
    Some(bytes)
}

/// Writes the checksum of a message and what is summed with it.
fn put_sum(message: &mut [u8], at: usize, pseudo: &[u8]) {
    let all = [pseudo, message].concat();
    if let Some(field) = message.get_mut(at..at + 2) {
        field.copy_from_slice(&(!sum(&all)).to_ne_bytes());
    }
}

/// The address of a family that a router speaks from.
pub(crate) fn voice(topology: &Topology, is_v4: bool) -> Option<Address> {
    let router = topology.router.as_ref()?;
    let address = router.addresses.iter().find(|address| address.is_ipv4() == is_v4)?;
    Some((*address).into())
}

/// The router receives a packet.
#[inline(never)]
pub(crate) fn cross<W: Watch>(topology: &Topology, frame: &mut Frame, watch: &mut W) -> Step {
    let here = Place::Router;
    let Ok(Some(parsed)) = parse(frame) else { return Step::End(Fate::Refused(here)) };
    let destination = &parsed.tuple.destination;
    if destination.is_link_scope() {
        return Step::End(arrive(here, frame, watch));
    }
    let Some(way) = way(topology, destination) else { return Step::End(Fate::NoRoute(here)) };
    if way == Way::Here {
        return Step::End(arrive(here, frame, watch));
    }
    if !is_header_right(frame, &parsed) {
        return Step::End(Fate::Refused(here));
    }
    let mtu = match way {
        Way::Client(client) => topology.clients.get(client).map_or(0, |client| client.mtu),
        _ => topology.mtu,
    };
    let (fate, complaint) = if parsed.ttl <= 1 {
        (Fate::Expired(here), Complaint::TimeExceeded)
    } else if mtu != 0 && length(frame, &parsed) > mtu as usize {
        (Fate::TooBig(here), Complaint::TooBig(mtu))
    } else {
        take_off_padding(frame, &parsed);
        take_hop(frame, parsed.l3, parsed.tuple.is_v4(), parsed.ttl, parsed.checksum);
        return send(topology, way, frame, watch);
    };
    // One that may be cut would be; its fragments are not followed.
    if matches!(complaint, Complaint::TooBig(_)) && !is_whole(frame, &parsed) {
        return Step::End(fate);
    }
    let answer = voice(topology, parsed.tuple.is_v4())
        .and_then(|from| complain(frame, &parsed, &from, complaint));
    match (answer, self::way(topology, &parsed.tuple.source)) {
        (Some(bytes), Some(way)) => {
            *frame = Frame::new(bytes);
            send(topology, way, frame, watch)
        }
        _ => Step::End(fate),
    }
}

/// The router sends a packet.
fn send<W: Watch>(topology: &Topology, way: Way, frame: &mut Frame, watch: &mut W) -> Step {
    match way {
        Way::Here => Step::End(arrive(Place::Router, frame, watch)),
        Way::Client(client) => {
            if let Some(info) = topology.clients.get(client) {
                set_macs(frame, info.mac, info.gateway);
            }
            Step::End(arrive(Place::ClientIn(client), frame, watch))
        }
        Way::Node(node) => {
            if let (Some(info), Some(router)) = (topology.nodes.get(node), &topology.router) {
                set_macs(frame, info.mac, router.mac);
            }
            watch.at(Place::FromRouter(node), frame);
            enter(topology, node)
        }
    }
}
