//! Lengths: of packets, of headers, of links.

use proptest::prelude::*;

use super::*;
use crate::checksum::Fix;
use crate::hook::{Hook, handle};
use crate::seam::{At, Gap, Packet};
use crate::verdict::IfIndex;

const MTU: u32 = 1_500;

/// Every length that fits, and the first that does not.
#[test]
fn up_to_the_links_own() {
    every(|pair| {
        pair.lb.node.config.mtu = MTU;
        let headers = if pair.lb.family.v4 { 20 + 8 } else { 40 + 8 };
        let most = MTU as usize - headers - pair.overhead();
        let text = |end: &str| format!("udp outside:5000 > {end}");
        for length in 0..=most {
            let payload: Vec<u8> = (0..length).map(|i| (i * 7 % 251) as u8).collect();
            let spelled = |end: &str| pair.lb.family.spell(&text(end));
            let sent = frame_with(&spelled("lb:80"), 0, &payload);
            let expected = with_ttl(&frame_with(&spelled("remote:8080"), 0, &payload), 62);
            let (wire, _) = pair.balance(&sent);
            assert_eq!(wire.0.len(), sent.0.len() + pair.overhead());
            assert!(wire.0.len() <= 14 + MTU as usize);
            assert_eq!(pair.deliver(&wire), expected);
        }
        for known in [true, false] {
            if !known {
                pair.lb.node.conntrack.entries.clear();
            }
            let before = pair.lb.entries();
            let spelled = pair.lb.family.spell(&text("lb:80"));
            let mut sent = frame_with(&spelled, 0, &vec![1; most + 1]);
            let decision = pair.lb.hand("netdev", &mut sent);
            assert_eq!(decision.reason(), Some(DropReason::FragmentationNeeded));
            assert_eq!(pair.lb.answer(), Answer::TooBig);
            assert_eq!(pair.lb.work.mtu as usize, MTU as usize - pair.overhead());
            assert_eq!(pair.lb.entries(), before);
        }
    });
}

/// A TCP packet that need not tell goes without where it would be too long.
#[test]
fn a_full_segment_need_not_tell() {
    every(|pair| {
        pair.lb.node.config.mtu = MTU;
        pair.request("lb:80", "tcp outside:40000 > FRONTEND", SYN);
        pair.lb.wait(SECOND);
        let headers = if pair.lb.family.v4 { 20 + 20 } else { 40 + 20 };
        let spelled = |end: &str| pair.lb.family.spell(&format!("tcp outside:40000 > {end}"));
        let payload = vec![3; MTU as usize - headers];
        let mut sent = frame_with(&spelled("lb:80"), ACK, &payload);
        let expected = frame_with(&spelled("remote:8080"), ACK, &payload);
        let decision = pair.lb.hand("netdev", &mut sent);
        if pair.mode == Forwarding::DsrIpip {
            assert_eq!(decision.reason(), Some(DropReason::FragmentationNeeded));
        } else {
            assert_eq!(decision.verdict(), Verdict::Forward(UPLINK));
            assert_eq!(sent, with_ttl(&expected, 63));
        }
        // At a node that does not know the connection, it must.
        pair.lb = balancer(pair.mode, pair.lb.family);
        pair.lb.node.config.mtu = MTU;
        let decision = pair.lb.hand("netdev", &mut frame_with(&spelled("lb:80"), ACK, &payload));
        assert_eq!(decision.reason(), Some(DropReason::FragmentationNeeded));
        let mut long = frame_with(&spelled("lb:80"), SYN, &payload);
        let decision = pair.lb.hand("netdev", &mut long);
        assert_eq!(decision.reason(), Some(DropReason::FragmentationNeeded));
    });
}

/// The frame with more between its IP header and what follows: IPv4 options, or an IPv6 header of this
/// kind.
fn with_more(frame: &Frame, bytes: usize, kind: u8) -> Frame {
    let mut frame = frame.0.clone();
    if frame[12] == 0x08 {
        frame.splice(34..34, std::iter::repeat_n(1, bytes));
        frame[14] += (bytes / 4) as u8;
        let total = u16::from_be_bytes([frame[16], frame[17]]) + bytes as u16;
        frame[16..18].copy_from_slice(&total.to_be_bytes());
        frame[24..26].fill(0);
        let sum = !crate::checksum::sum(&frame[14..34 + bytes]);
        frame[24..26].copy_from_slice(&sum.to_ne_bytes());
    } else {
        let mut header = vec![frame[20], (bytes / 8 - 1) as u8, 1, (bytes - 4) as u8];
        header.resize(bytes, 0);
        frame.splice(54..54, header);
        frame[20] = kind;
        let payload = u16::from_be_bytes([frame[18], frame[19]]) + bytes as u16;
        frame[18..20].copy_from_slice(&payload.to_be_bytes());
    }
    Frame(frame)
}

#[test]
fn headers_that_are_long_already() {
    every(|pair| {
        let v4 = pair.lb.family.v4;
        for bytes in (8..=40).step_by(8) {
            for kind in if v4 { vec![0] } else { vec![60, 0] } {
                let mut fresh = Pair::new(pair.mode, pair.lb.family);
                let sent = fresh.frame("tcp outside:40000 > lb:80", SYN);
                let (wire, _) = fresh.balance(&with_more(&sent, bytes, kind));
                let full = if v4 { bytes > 32 } else { kind == 0 };
                if full && pair.mode == Forwarding::DsrOption {
                    // It comes back through this node, which then need not tell anybody.
                    let left = crate::parse::parse(&wire).unwrap().unwrap().tuple;
                    assert_eq!(left.source, fresh.lb.address("node"));
                    continue;
                }
                assert_eq!(wire.0.len(), sent.0.len() + bytes + fresh.overhead());
                let plain = with_ttl(&fresh.frame("tcp outside:40000 > remote:8080", SYN), 62);
                assert_eq!(fresh.deliver(&wire), with_more(&plain, bytes, kind), "{bytes} {kind}");
                fresh.reply("lb:80", "tcp FRONTEND > outside:40000", SYN_ACK);
            }
        }
    });
}

/// A datagram of a connection that tells by options, whose header has no room for one.
#[test]
fn a_full_header_in_the_middle() {
    for family in [&V4, &V6] {
        let mut pair = Pair::new(Forwarding::DsrOption, family);
        pair.request("lb:80", "udp outside:5000 > FRONTEND", 0);
        let mut full = with_more(&pair.frame("udp outside:5000 > lb:80", 0), 40, 0);
        let decision = pair.lb.hand("netdev", &mut full);
        assert_eq!(decision.verdict(), Verdict::Drop(DropReason::InvalidPacket));
    }
}

/// A packet that will be cut into pieces of so many bytes.
struct Super(Frame, usize);

impl Packet for Super {
    fn length(&self) -> usize {
        self.0.length()
    }
    fn load<T: crate::bytes::Pod>(&self, at: At) -> Result<T, DropReason> {
        self.0.load(at)
    }
    fn store<T: crate::bytes::Pod>(&mut self, at: At, value: T) -> Result<(), DropReason> {
        self.0.store(at, value)
    }
    fn route(&mut self, device: IfIndex, to: &Tuple, link: &crate::conntrack::LinkCache) -> bool {
        self.0.route(device, to, link)
    }
    fn grow(&mut self, gap: Gap, bytes: usize) -> Result<(), DropReason> {
        self.0.grow(gap, bytes)
    }
    fn segment(&self) -> usize {
        self.1
    }
    fn shrink(&mut self, gap: Gap, bytes: usize) -> Result<(), DropReason> {
        self.0.shrink(gap, bytes)
    }
    fn trim(&mut self, length: usize) -> Result<(), DropReason> {
        self.0.trim(length)
    }
    fn mend(&mut self, checksum: At, fix: Fix) -> Result<(), DropReason> {
        self.0.mend(checksum, fix)
    }
}

/// What counts is how long the pieces are.
#[test]
fn super_packets() {
    every(|pair| {
        pair.lb.node.config.mtu = MTU;
        let headers = if pair.lb.family.v4 { 20 + 20 } else { 40 + 20 };
        let fits = MTU as usize - headers - pair.overhead();
        // The last is as long as its length field can say.
        for (segment, payload, goes) in
            [(fits, 30_000, true), (fits + 1, 30_000, false), (fits, 0xffff - headers, false)]
        {
            pair.lb.node.conntrack.entries.clear();
            let text = pair.lb.family.spell("tcp outside:40000 > lb:80");
            let mut packet = Super(frame_with(&text, ACK, &vec![9; payload]), segment);
            let (node, work) = (&mut pair.lb.node, &mut pair.lb.work);
            let decision = handle(&mut packet, node, work, Hook::FromNetdev, UPLINK);
            let expected = (!goes).then_some(DropReason::FragmentationNeeded);
            assert_eq!(decision.reason(), expected, "{segment} {payload}");
        }
    });
}

proptest! {
    /// Whatever is in the packet, wrapping and unwrapping leaves it as translating it does.
    #[test]
    fn unwrapping_undoes_wrapping(
        mode in 0..3_usize,
        v4 in any::<bool>(),
        udp in any::<bool>(),
        port in 1..=u16::MAX,
        tos in any::<u8>(),
        id in any::<u16>(),
        payload in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let family = if v4 { &V4 } else { &V6 };
        let mut pair = Pair::new(MODES[mode], family);
        let protocol = if udp { "udp" } else { "tcp" };
        let make = |end: &str, ttl| {
            let text = family.spell(&format!("{protocol} outside:{port} > {end}"));
            let mut frame = frame_with(&text, SYN, &payload);
            if v4 {
                frame.0[15] = tos;
                frame.0[18..20].copy_from_slice(&id.to_be_bytes());
            } else {
                frame.0[14] = 0x60 | tos >> 4;
                frame.0[15] = tos << 4;
            }
            with_ttl(&frame, ttl)
        };
        let (wire, _) = pair.balance(&make("lb:80", 64));
        prop_assert_eq!(pair.deliver(&wire), make("remote:8080", 62));
    }
}

/// What a link fills a frame up with is none of the packet's length.
#[test]
fn padding_does_not_count() {
    every(|pair| {
        let mut sent = pair.frame("udp outside:40000 > lb:80", 0);
        pair.lb.node.config.mtu = (sent.0.len() - 14 + pair.overhead()) as u32;
        sent.0.extend([0; 20]);
        pair.balance(&sent);
        pair.lb.node.config.mtu -= 1;
        assert!(matches!(
            pair.lb.hand("netdev", &mut sent).verdict(),
            Verdict::Drop(_) | Verdict::Reject(_)
        ));
    });
}
