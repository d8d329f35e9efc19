//! What looks wrapped and is not ours, or not whole.

use super::*;
use crate::fragment::Ports;

/// What the first node sends, of a SYN or a datagram.
fn wrapped(pair: &mut Pair, protocol: &str) -> Frame {
    let flags = if protocol == "tcp" { SYN } else { 0 };
    pair.balance(&pair.frame(&format!("{protocol} outside:40000 > lb:80"), flags)).0
}

/// A frontend that is not reached in this way here, or no frontend at all: the packet is another's, and
/// goes on as it came but for the hop.
#[test]
fn what_names_no_such_frontend_is_left() {
    every(|pair| {
        for protocol in ["tcp", "udp"] {
            for other in [None, Some(Forwarding::Snat)] {
                let mut fresh = Pair::new(pair.mode, pair.lb.family);
                let wire = wrapped(&mut fresh, protocol);
                let lb = fresh.backend.address("lb");
                let services = &mut fresh.backend.node.services.entries;
                match other {
                    None => services.retain(|key, _| key.address != lb),
                    Some(mode) => {
                        services.values_mut().for_each(|service| service.forwarding = mode as u8);
                    }
                }
                let expected = with_ttl_of(&wire, wire_ttl(&wire) - 1);
                assert_eq!(fresh.deliver(&wire), expected, "{protocol} {other:?}");
            }
        }
    });
}

fn wire_ttl(frame: &Frame) -> u8 {
    if frame.0[12] == 0x08 { frame.0[22] } else { frame.0[21] }
}

/// As [`with_ttl`], with whatever options.
fn with_ttl_of(frame: &Frame, ttl: u8) -> Frame {
    let mut bytes = frame.0.clone();
    if bytes[12] == 0x08 {
        let end = 14 + usize::from(bytes[14] & 15) * 4;
        bytes[22] = ttl;
        bytes[24..26].fill(0);
        let sum = !crate::checksum::sum(&bytes[14..end]);
        bytes[24..26].copy_from_slice(&sum.to_ne_bytes());
    } else {
        bytes[21] = ttl;
    }
    Frame(bytes)
}

/// Who sends from a pod is not trusted to tell anything: it could answer in a frontend's name.
#[test]
fn what_a_pod_wraps_is_left() {
    every(|pair| {
        for protocol in ["tcp", "udp"] {
            let wire = wrapped(pair, protocol);
            let mut left = wire.clone();
            let decision = pair.backend.hand("pod 10", &mut left);
            assert_eq!(decision.verdict(), Verdict::Deliver(11));
            assert_eq!(left, with_ttl_of(&wire, wire_ttl(&wire) - 1), "{protocol}");
            let entries = &pair.backend.node.conntrack.entries;
            assert!(entries.values().all(|half| !half.is_direct() && half.service == 0));
        }
    });
}

/// A byte here and there makes it something else, which is nobody's business here.
#[test]
fn what_is_wrapped_in_another_way_is_left() {
    every(|pair| {
        let v4 = pair.lb.family.v4;
        let (l4, geneve) = if v4 { (34, 42) } else { (54, 62) };
        let changes: &[(&str, usize, u8)] = match (pair.mode, v4) {
            (Forwarding::DsrOption, true) => &[("another option", 34, 0x9b)],
            (Forwarding::DsrOption, false) => &[("hop-by-hop options", 20, 0)],
            (Forwarding::DsrIpip, true) => &[("GRE", 23, 47), ("the first fragment", 20, 0x20)],
            (Forwarding::DsrIpip, false) => &[("GRE", 20, 47)],
            _ => &[
                ("another port", l4 + 3, 0xc2),
                ("another version", geneve, 0x80),
                ("no frame in it", geneve + 2, 0),
                ("another network", geneve + 6, 1),
                ("another class", geneve + 8, 1),
            ],
        };
        for (what, at, byte) in changes {
            let mut pair = Pair::new(pair.mode, pair.lb.family);
            let mut wire = wrapped(&mut pair, "udp");
            assert_ne!(wire.0[*at], *byte, "{what}");
            wire.0[*at] = *byte;
            let ttl = wire_ttl(&wire);
            let wire = with_ttl_of(&wire, ttl);
            assert_eq!(pair.deliver(&wire), with_ttl_of(&wire, ttl - 1), "{what}");
        }
    });
}

/// A later fragment has no ports, by which a tunnel's backend is found. One that comes before its first, or long
/// after it, goes nowhere, unless it is for no frontend and so another's.
#[test]
fn a_later_fragment_in_a_tunnel_without_its_first() {
    every(|pair| {
        if pair.mode != Forwarding::DsrIpip {
            return;
        }
        for frontend in ["lb:80", "node:30080"] {
            let mut pair = Pair::new(pair.mode, pair.lb.family);
            let text = pair.lb.family.spell(&format!("udp outside:5000 > {frontend}"));
            let (first, _) = pair.balance(&build(&text, 0, Some((Piece::First, 77))));
            let (later, _) = pair.balance(&build(&text, 0, Some((Piece::Last, 77))));
            let lost = Verdict::Drop(DropReason::FragmentNotFound);
            assert_eq!(pair.backend.hand("netdev", &mut later.clone()).verdict(), lost);
            pair.deliver(&first);
            pair.backend.wait(Ports::TIMEOUT - 1);
            assert!(pair.deliver(&later).0.len() < later.0.len());
            pair.backend.wait(1);
            assert_eq!(pair.backend.hand("netdev", &mut later.clone()).verdict(), lost);
        }
        let text = pair.lb.family.spell("udp outside:5000 > lb:80");
        pair.balance(&build(&text, 0, Some((Piece::First, 77))));
        let (later, _) = pair.balance(&build(&text, 0, Some((Piece::Last, 77))));
        let lb = pair.backend.address("lb");
        pair.backend.node.services.entries.retain(|key, _| key.address != lb);
        assert_eq!(pair.deliver(&later), with_ttl_of(&later, wire_ttl(&later) - 1));
    });
}

/// A tunnel of this node's, with a frame in it that is not of the family that it says.
#[test]
fn what_is_within_must_be_of_the_same_family() {
    every(|pair| {
        if pair.mode != Forwarding::DsrGeneve {
            return;
        }
        let mut wire = wrapped(pair, "udp");
        let ethertype = 14 + pair.overhead() - 2;
        assert!(matches!(wire.0[ethertype..][..2], [0x08, 0x00] | [0x86, 0xdd]));
        wire.0[ethertype] ^= 0x40;
        let decision = pair.backend.hand("netdev", &mut wire);
        assert_eq!(decision.verdict(), Verdict::Drop(DropReason::InvalidPacket));
    });
}

/// To a pod that is not here nothing is taken off.
#[test]
fn what_passes_by_is_left() {
    every(|pair| {
        let wire = wrapped(pair, "tcp");
        let remote = pair.backend.address("remote");
        pair.backend.node.endpoints.entries.remove(&remote);
        let mut frame = wire.clone();
        pair.backend.hand("netdev", &mut frame);
        assert_eq!(frame.0.len(), wire.0.len());
    });
}

/// A tunnel that was left alone once must not have become a connection that the fast road finds.
#[test]
fn a_service_that_comes_late() {
    every(|pair| {
        let services = pair.backend.node.services.entries.drain().collect::<Vec<_>>();
        let wire = wrapped(pair, "udp");
        pair.deliver(&wire);
        pair.backend.node.services.entries.extend(services);
        let expected = pair.frame("udp outside:40000 > remote:8080", 0);
        assert_eq!(pair.deliver(&wire), with_ttl(&expected, 62));
    });
}

/// Cut anywhere, or with any byte of its headers changed, a packet is dropped, left or taken; a pod gets
/// none with our option on it that names a frontend of ours, and nothing comes to a halt.
#[test]
fn cut_and_changed() {
    every(|pair| {
        for protocol in ["tcp", "udp"] {
            let wire = wrapped(pair, protocol);
            for length in 14..wire.0.len() {
                let mut cut = Frame(wire.0[..length].to_vec());
                let mut fresh = Pair::new(pair.mode, pair.lb.family);
                let decision = fresh.backend.hand("netdev", &mut cut);
                assert!(decision.reason().is_some(), "{length} of {}", wire.0.len());
            }
            for at in 12..wire.0.len().min(14 + pair.overhead() + 60) {
                for bit in 0..8 {
                    let mut changed = wire.clone();
                    changed.0[at] ^= 1 << bit;
                    Pair::new(pair.mode, pair.lb.family).backend.hand("netdev", &mut changed);
                }
            }
        }
    });
}

/// What is in a Geneve packet must be for the one that it came to.
#[test]
fn a_tunnel_that_ends_elsewhere() {
    for family in [&V4, &V6] {
        let mut pair = Pair::new(Forwarding::DsrGeneve, family);
        let mut wire = wrapped(&mut pair, "udp");
        let inner = 14 + pair.overhead();
        let last = inner + if family.v4 { 19 } else { 39 };
        wire.0[last] ^= 1;
        let decision = pair.backend.hand("netdev", &mut wire);
        assert_eq!(decision.verdict(), Verdict::Drop(DropReason::InvalidPacket));
    }
}

/// Frames with tags cannot grow, so their connections come back through the first node.
#[test]
fn tags() {
    every(|pair| {
        let mut frame = pair.frame("tcp outside:40000 > lb:80", SYN);
        frame.0.splice(12..12, [0x81, 0, 0, 5]);
        let (wire, _) = pair.balance(&frame);
        let left = crate::parse::parse(&wire).unwrap().unwrap().tuple;
        assert_eq!(left.source, pair.lb.address("node"));
    });
}

/// A node without an address cannot be the beginning of a tunnel.
#[test]
fn no_address_for_a_tunnel() {
    every(|pair| {
        pair.lb.node.config.address4 = Address::UNSPECIFIED;
        pair.lb.node.config.address6 = Address::UNSPECIFIED;
        let mut frame = pair.frame("tcp outside:40000 > lb:80", SYN);
        let decision = pair.lb.hand("netdev", &mut frame);
        match pair.mode {
            Forwarding::DsrOption => assert_eq!(decision.verdict(), Verdict::Forward(UPLINK)),
            _ => assert_eq!(decision.verdict(), Verdict::Drop(DropReason::NoMappingForNat)),
        }
    });
}
