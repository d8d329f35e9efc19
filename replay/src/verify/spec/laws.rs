//! Laws that hold for every packet, whatever the relation says of it.

use std::net::IpAddr;

use twinpath_core::affinity::{Affinity, Client};
use twinpath_core::fragment::{Datagram, Ports};
use twinpath_core::hook::Hook;
use twinpath_core::limit::Bucket;
use twinpath_core::verdict::{Decision, IfIndex, Status, Verdict};
use twinpath_sim::engine::Engine;
use twinpath_sim::topology::UPLINK;

use super::Model;
use super::flow::{Flow, Life};
use super::rules::Way;
use super::wire::{Five, Kind, Part, Read, TCP, UDP, checksum, octets, put, read, seal4, word};
use crate::verify::TwinError;
use crate::verify::cluster::device_of;
use crate::verify::twin::failed;

/// What the datapath writes beside conntrack.
#[derive(Clone, PartialEq, Default)]
pub(super) struct Written {
    affinities: Vec<(Client, Affinity)>,
    fragments: Vec<(Datagram, Ports)>,
    limits: Vec<Bucket>,
}

impl Written {
    pub(super) fn of(engine: &mut impl Engine) -> Result<Self, TwinError> {
        Ok(Self {
            affinities: engine.affinities(0).map_err(failed)?,
            fragments: engine.fragments(0).map_err(failed)?,
            limits: engine.limits(0).map_err(failed)?,
        })
    }

    /// Whether a packet left nothing behind beside conntrack but what it may:
    ///
    /// - the ports of a first fragment, whatever becomes of it, so that later ones meet the same fate;
    /// - the affinity of a client whose packet opened a connection;
    /// - a token, where it was answered or not answered for want of one.
    pub(super) fn law(
        &self,
        before: &Self,
        sent: &[u8],
        decision: &Decision,
    ) -> Result<(), String> {
        let opened = matches!(decision.status(), Status::New | Status::Reopened);
        if self.affinities != before.affinities && !opened {
            return Err("an affinity changed, and no connection was opened".into());
        }
        let tunnelled = matches!(read(sent), Read::Ip(view) if view.kind == Kind::Other || view.kind == Kind::Udp);
        let first = matches!(read(sent), Read::Ip(view) if view.part == Part::First);
        if self.fragments != before.fragments && !first && !tunnelled {
            return Err("fragments were noted of what is none".into());
        }
        let refused =
            matches!(decision.verdict(), Verdict::Reject(_) | Verdict::Answer | Verdict::Drop(_));
        if self.limits != before.limits && !refused {
            return Err("a token was taken, and nobody was answered".into());
        }
        Ok(())
    }
}

/// Where a packet from this address comes in.
fn comes_by(source: IpAddr) -> (Hook, IfIndex) {
    match device_of(source) {
        Some(device) => (Hook::FromPod, device),
        None => (Hook::FromNetdev, UPLINK),
    }
}

/// A packet in the middle of a connection, and where it comes in.
pub(super) struct Probe {
    pub(super) hook: Hook,
    pub(super) device: IfIndex,
    pub(super) bytes: Vec<u8>,
}

impl Probe {
    fn new(bytes: Vec<u8>, five: &Five) -> Self {
        let (hook, device) = comes_by(five.source.0);
        Self { hook, device, bytes }
    }
}

impl Model {
    /// Connections that a round trip can be made over: forward, and the same packet back.
    pub(super) fn to_probe(&self) -> Vec<Flow> {
        let usable = |flow: &&Flow| {
            matches!(flow.key[0].protocol, TCP | UDP)
                && !flow.direct
                && flow.way == Way::Snat
                && !flow.is_closing()
                && flow.key[0] != flow.key[1]
                && flow.leaves[0].destination.1 != 6081
                && (0..2).all(|d| flow.life(d, self.now) == Life::Sure)
        };
        self.flows.whole().filter(usable).take(3).cloned().collect()
    }
}

/// A packet of a connection's opener.
pub(super) fn forth(flow: &Flow) -> Probe {
    let five = flow.key[0];
    let mut segment = Vec::new();
    segment.extend(five.source.1.to_be_bytes());
    segment.extend(five.destination.1.to_be_bytes());
    let at = if five.protocol == TCP {
        segment.extend([0, 0, 0, 9, 0, 0, 0, 7, 0x50, 0x18, 4, 0, 0, 0, 0, 0]);
        16
    } else {
        segment.extend([0, 13, 0, 0]);
        6
    };
    segment.extend([1, 2, 3, 4, 5]);
    let mut pseudo = octets(five.source.0);
    pseudo.extend(octets(five.destination.0));
    pseudo.extend([0, five.protocol]);
    pseudo.extend((segment.len() as u16).to_be_bytes());
    let padded = [pseudo, segment.clone()].concat();
    // A right sum is never zero here, so there is one form of the checksum.
    put(&mut segment, at, &checksum(&padded, 0).to_be_bytes());
    let v4 = five.is_v4();
    let mut frame = vec![2, 0x74, 2, 0, 0, 1, 2, 0x74, 1, 0, 0, 1];
    if v4 {
        frame.extend([8, 0, 0x45, 0]);
        frame.extend(((segment.len() + 20) as u16).to_be_bytes());
        frame.extend([0, 1, 0x40, 0, 64, five.protocol, 0, 0]);
    } else {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend((segment.len() as u16).to_be_bytes());
        frame.extend([five.protocol, 64]);
    }
    frame.extend(octets(five.source.0));
    frame.extend(octets(five.destination.0));
    if v4 {
        seal4(&mut frame, 14, 0);
    }
    frame.extend(segment);
    Probe::new(frame, &five)
}

/// The same packet sent back to where it came from: the ends change places, which no sum notices.
pub(super) fn back(bytes: &[u8]) -> Option<Probe> {
    let Read::Ip(view) = read(bytes) else { return None };
    let five = view.five.reverse();
    let mut frame = bytes.to_vec();
    let at = view.l3 + if five.is_v4() { 12 } else { 8 };
    put(&mut frame, at, &octets(five.source.0));
    put(&mut frame, at + octets(five.source.0).len(), &octets(five.destination.0));
    put(&mut frame, view.l4, &five.source.1.to_be_bytes());
    put(&mut frame, view.l4 + 2, &five.destination.1.to_be_bytes());
    Some(Probe::new(frame, &five))
}

/// Whether a packet that went forth and came back is what it was, its ends in each other's places: every
/// byte but time to live and the zero form of checksums (C-14).
pub(super) fn is_identity(sent: &[u8], returned: &[u8]) -> Result<(), String> {
    let (Some(wanted), Read::Ip(view)) = (back(sent), read(sent)) else { return Ok(()) };
    let mut wanted = wanted.bytes;
    let mut found = returned.to_vec();
    for frame in [&mut wanted, &mut found] {
        if view.five.is_v4() {
            put(frame, view.l3 + 8, &[0]);
            seal4(frame, view.l3, 0);
        } else {
            put(frame, view.l3 + 7, &[0]);
        }
        if let Some(at) = view.checksum_at()
            && word(frame, at) == Some(0xffff)
        {
            put(frame, at, &[0, 0]);
        }
    }
    if wanted == found {
        return Ok(());
    }
    Err(format!("there and back is not the identity (C-14): {found:02x?} instead of {wanted:02x?}"))
}
