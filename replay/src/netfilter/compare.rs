//! What became of a step's packets in both worlds: the same, or what differs.
//!
//! Free to choose are the endpoint, and the address and port under which it sees the client where that is not
//! the client's own. A connection's first packet fixes them as pairs of names; from then on one world's packets,
//! with the names replaced, must be the other's, byte for byte, their checksums equally far from right.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::exchange::End;
use super::view::{Names, View};

/// What an endpoint sees as the client's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seen {
    /// The client's own, and its port.
    Own,
    /// The client's own, and another port.
    OtherPort,
    /// A node's.
    Node,
    /// The one for what a pod sends to itself.
    Hairpin,
    /// None of these.
    Foreign,
}

/// What becomes of a packet, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It arrives nowhere, without a word.
    Dropped,
    /// Its sender is told that it went nowhere.
    Refused,
    /// Somebody gets it as it was sent.
    Passed,
    /// Somebody gets it, translated.
    Delivered,
}

/// A difference between the worlds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// What becomes of a packet: in twinpath, by netfilter.
    Fate(Fate, Fate),
    /// A segment of TCP in a capture that twinpath delivers and rules call invalid: its flags, and whether it is
    /// the first of its connection.
    Invalid(u8, bool),
    /// Under which address the endpoint sees the client.
    Source(Seen, Seen),
    /// In whose name a packet is refused.
    Refuser(IpAddr, IpAddr),
    /// A checksum: how far it is from right.
    Checksum,
    /// The hops that are left: in twinpath, by netfilter.
    Hops(u16, u16),
    /// Who an ICMP error comes from: in twinpath, by netfilter.
    Reporter(IpAddr, IpAddr),
    /// The identification of an IPv6 datagram in fragments.
    Identification,
    /// Bytes, from this one of the IP packet on.
    Bytes(usize),
    /// How many packets arrive.
    Count(usize, usize),
    /// Who gets it.
    Place,
    /// The first frame on the way, from its link header on, that only one world has, in each.
    Way(String, String),
    /// The endpoints that are ever chosen: those that one world alone chose.
    Endpoints(String),
    /// Connections that share one port of a client, and how many of them their endpoint can tell apart: in
    /// twinpath, by netfilter.
    Clash(usize, usize),
    /// A checksum that is wrong though all that was sent was right.
    Broken,
    /// The name of a connection's end changed on the way.
    Unstable,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// What an address is to a connection.
pub fn seen(client: SocketAddr, seen: SocketAddr, is_node: impl Fn(IpAddr) -> bool) -> Seen {
    let hairpin: [IpAddr; 2] =
        [[169, 254, 42, 1].into(), [0xfd2a, 0x5dc8, 0x7e31, 0, 0, 0, 0, 0x2a01].into()];
    // Rules masquerade what a node sends, too, to the address that it has: the port is free then.
    if seen == client || (seen.ip() == client.ip() && is_node(client.ip())) {
        Seen::Own
    } else if is_node(seen.ip()) {
        Seen::Node
    } else if seen.ip() == client.ip() {
        Seen::OtherPort
    } else if hairpin.contains(&seen.ip()) {
        Seen::Hairpin
    } else {
        Seen::Foreign
    }
}

/// What became of a packet that was sent to `to` from `from`.
pub fn fate(ends: &[End], from: SocketAddr, to: SocketAddr) -> Fate {
    let Some(End { view, .. }) = ends.first() else { return Fate::Dropped };
    if view.quote().is_some() && view.destination.ip() == from.ip() {
        Fate::Refused
    } else if (view.source, view.destination) == (from, to) {
        Fate::Passed
    } else {
        Fate::Delivered
    }
}

/// Whether two packets are the same but for names.
pub fn same(twin: &View, netfilter: &View, names: &Names) -> Result<(), Difference> {
    if names.is_identity() && twin.bytes == netfilter.bytes {
        return Ok(());
    }
    let ((a, sums), (mut b, there)) = (twin.normal(&Names::default()), netfilter.normal(names));
    if a.len() != b.len() {
        return Err(Difference::Bytes(a.len().min(b.len())));
    }
    // An error's source, once all else is the same.
    let source = if twin.source.is_ipv4() { 12..16 } else { 8..24 };
    let is_error = twin.quote().is_some() && netfilter.quote().is_some();
    let reporters = a.get(source.clone()) != b.get(source.clone());
    if let (true, Some(from), Some(to)) = (is_error, a.get(source.clone()), b.get_mut(source)) {
        to.copy_from_slice(from);
    }
    if let Some(place) = a.iter().zip(&b).position(|(a, b)| a != b) {
        return Err(Difference::Bytes(place));
    }
    let hops = |sums: &[Option<u16>]| sums.first().copied().flatten().unwrap_or(0);
    if hops(&sums) != hops(&there) {
        return Err(Difference::Hops(hops(&sums), hops(&there)));
    }
    if sums != there {
        return Err(Difference::Checksum);
    }
    let identification = |view: &View| view.fragment.map(|(identification, ..)| identification);
    if identification(twin) != identification(netfilter) {
        return Err(Difference::Identification);
    }
    if is_error && reporters {
        return Err(Difference::Reporter(twin.source.ip(), netfilter.source.ip()));
    }
    if names.is_identity() {
        let place = twin.bytes.iter().zip(&netfilter.bytes).position(|(a, b)| a != b);
        return place.map_or(Ok(()), |place| Err(Difference::Bytes(place)));
    }
    Ok(())
}

/// Whether two refusals say the same: type, code, to whom and about what. The rest of such a packet is the
/// business of who makes it. The name in which it is made is compared last.
pub fn same_refusal(twin: &View, netfilter: &View) -> Result<(), Difference> {
    let (Some((kind, code, about)), Some((kind_there, code_there, about_there))) =
        (twin.quote(), netfilter.quote())
    else {
        return Err(Difference::Bytes(0));
    };
    if (kind, code) != (kind_there, code_there) || twin.destination != netfilter.destination {
        return Err(Difference::Bytes(twin.l4));
    }
    if !twin.is_right() || !netfilter.is_right() {
        return Err(Difference::Broken);
    }
    let least = if twin.source.is_ipv4() { 28 } else { 48 };
    let common = about.len().min(about_there.len());
    // Hops are taken at different places of the way; and so the header's checksum.
    let free = if twin.source.is_ipv4() { vec![8, 10, 11] } else { vec![7] };
    let differs =
        |place: &usize| !free.contains(place) && about.get(*place) != about_there.get(*place);
    if let Some(place) = (0..common.max(least)).find(differs) {
        return Err(Difference::Bytes(twin.l4 + 8 + place));
    }
    if twin.source.ip() != netfilter.source.ip() {
        return Err(Difference::Refuser(twin.source.ip(), netfilter.source.ip()));
    }
    Ok(())
}
