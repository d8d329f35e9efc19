//! Packets whose transport checksum is partial, as a host leaves them for a device to complete: only the sum of
//! the pseudo-header stands in the field. Once completed, everything must be right.

use super::script::{World, both};
use crate::bytes::Pod;
use crate::checksum::{self, Fix};
use crate::conntrack::LinkCache;
use crate::drop_reason::DropReason;
use crate::limit::Bucket;
use crate::parse::parse;
use crate::seam::{At, Gap, LIMITS, Packet};
use crate::testing::{Frame, frame_with};
use crate::tuple::Tuple;
use crate::verdict::{IfIndex, Verdict};
use crate::wire::{TCP, tcp, udp};

/// A frame with a partial checksum.
struct Partial {
    frame: Frame,
    /// Where the sum begins, from the end of the frame: what is put in front moves it.
    start: usize,
    /// Where the field is behind that.
    field: usize,
}

impl Partial {
    /// Leaves the checksum of a frame to a device.
    fn new(mut frame: Frame) -> Self {
        let parsed = parse(&frame).unwrap().unwrap();
        let l4 = parsed.l4.0;
        let field = if parsed.tuple.protocol == TCP { tcp::CHECKSUM } else { udp::CHECKSUM };
        let sum = pseudo(&frame);
        frame.0[l4 + field..][..2].copy_from_slice(&sum.to_ne_bytes());
        let start = frame.0.len() - l4;
        Self { frame, start, field }
    }

    /// The frame as a device sends it.
    fn complete(mut self) -> Frame {
        let l4 = self.frame.0.len() - self.start;
        let sum = !checksum::sum(&self.frame.0[l4..]);
        self.frame.0[l4 + self.field..][..2].copy_from_slice(&sum.to_ne_bytes());
        self.frame
    }
}

/// The sum of a frame's pseudo-header.
fn pseudo(frame: &Frame) -> u16 {
    let parsed = parse(frame).unwrap().unwrap();
    let addresses = if parsed.tuple.is_v4() { 12..20 } else { 8..40 };
    let mut bytes = frame.0[parsed.l3.0..][addresses].to_vec();
    bytes.extend(((frame.0.len() - parsed.l4.0) as u32).to_be_bytes());
    bytes.extend([0, 0, 0, parsed.tuple.protocol]);
    checksum::sum(&bytes)
}

impl Packet for Partial {
    fn length(&self) -> usize {
        self.frame.length()
    }

    fn load<T: Pod>(&self, at: At) -> Result<T, DropReason> {
        self.frame.load(at)
    }

    fn store<T: Pod>(&mut self, at: At, value: T) -> Result<(), DropReason> {
        self.frame.store(at, value)
    }

    fn route(&mut self, device: IfIndex, to: &Tuple, link: &LinkCache) -> bool {
        self.frame.route(device, to, link)
    }

    fn grow(&mut self, gap: Gap, bytes: usize) -> Result<(), DropReason> {
        self.frame.grow(gap, bytes)
    }

    fn shrink(&mut self, gap: Gap, bytes: usize) -> Result<(), DropReason> {
        self.frame.shrink(gap, bytes)
    }

    fn trim(&mut self, length: usize) -> Result<(), DropReason> {
        self.start -= self.frame.length() - length;
        self.frame.trim(length)
    }

    fn mend(&mut self, checksum: At, fix: Fix) -> Result<(), DropReason> {
        let field: u16 = self.load(checksum)?;
        self.store(checksum, fix.apply_partial(field))
    }
}

const FLAGS: u8 = tcp::SYN;

#[test]
fn what_is_translated_is_right_once_it_is_completed() {
    both(|world: &mut World| {
        // Ports of all sizes: they are no part of the field.
        for port in [1, 80, 0x7fff, 0x8000, 0xfffe] {
            for protocol in ["tcp", "udp"] {
                for (way, text) in [
                    ("pod 10", format!("{protocol} client:{port} > vip:80")),
                    ("pod 11", format!("{protocol} local:8080 > client:{port}")),
                ] {
                    let flags = if way == "pod 10" { FLAGS } else { FLAGS | tcp::ACK };
                    let sent = frame_with(&world.family.spell(&text), flags, b"odd");
                    assert_eq!(Partial::new(sent.clone()).complete(), sent, "the test itself");
                    let mut packet = Partial::new(sent.clone());
                    let decision = world.hand(way, &mut packet);
                    assert!(matches!(decision.verdict(), Verdict::Deliver(_)), "{text}");
                    let left = packet.complete();
                    assert_ne!(left.checked(), parse(&sent).unwrap().unwrap().tuple, "{text}");
                }
            }
        }
    });
}

#[test]
fn an_error_about_one_is_right_once_what_it_quotes_is_completed() {
    both(|world: &mut World| {
        for slot in 0..LIMITS as u32 {
            world.node.limits.entries.insert(slot, Bucket::zeroed());
        }
        for protocol in ["tcp", "udp"] {
            for payload in [0, 1, 30, 1_500] {
                let text = world.family.spell(&format!("{protocol} client:1000 > vip:81"));
                let sent = frame_with(&text, FLAGS, &vec![0xa7; payload]);
                let mut packet = Partial::new(sent);
                let decision = world.hand("pod 10", &mut packet);
                assert!(matches!(decision.verdict(), Verdict::Reject(_)), "{text}");
                packet.complete().checked();
            }
        }
    });
}
