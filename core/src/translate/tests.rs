//! What the tests of the hooks do not show: the steps themselves, and writes that fail.

use std::cell::RefCell;

use super::*;
use crate::backend::{Backend, BackendState};
use crate::bytes::Pod;
use crate::checksum::Fix;
use crate::parse::parse;
use crate::seam::{At, Gap};
use crate::testing::{Frame, frame};
use crate::tuple::Tuple;
use crate::verdict::IfIndex;
use crate::wire::tcp::SYN;

/// A packet that notes what is done to it and can be written to so many times.
struct Noted {
    frame: Frame,
    writes_left: usize,
    steps: RefCell<Vec<&'static str>>,
}

impl Noted {
    fn write(&mut self, step: &'static str) -> Result<(), DropReason> {
        self.steps.get_mut().push(step);
        self.writes_left = self.writes_left.checked_sub(1).ok_or(DropReason::WriteError)?;
        Ok(())
    }
}

impl Packet for Noted {
    fn length(&self) -> usize {
        self.frame.length()
    }

    fn load<T: Pod>(&self, at: At) -> Result<T, DropReason> {
        self.steps.borrow_mut().push("load");
        self.frame.load(at)
    }

    fn store<T: Pod>(&mut self, at: At, value: T) -> Result<(), DropReason> {
        self.write("store")?;
        self.frame.store(at, value)
    }

    fn route(&mut self, device: IfIndex, to: &Tuple, link: &crate::conntrack::LinkCache) -> bool {
        self.frame.route(device, to, link)
    }

    fn grow(&mut self, gap: Gap, bytes: usize) -> Result<(), DropReason> {
        self.write("grow")?;
        self.frame.grow(gap, bytes)
    }

    fn shrink(&mut self, gap: Gap, bytes: usize) -> Result<(), DropReason> {
        self.write("shrink")?;
        self.frame.shrink(gap, bytes)
    }

    fn trim(&mut self, length: usize) -> Result<(), DropReason> {
        self.write("trim")?;
        self.frame.trim(length)
    }

    fn mend(&mut self, checksum: At, fix: Fix) -> Result<(), DropReason> {
        self.write("mend")?;
        self.frame.mend(checksum, fix)
    }
}

const CASES: [(&str, &str, &[&str]); 4] = [
    ("tcp 10.0.0.1:1 > 10.96.0.80:80", "10.0.0.2", &["store", "store", "mend"]),
    ("udp 10.0.0.1:1 > 10.96.0.80:80", "10.0.0.2", &["store", "store", "mend"]),
    ("tcp [fd00::1]:1 > [fd00::80]:80", "fd00::2", &["store", "store", "store", "mend"]),
    ("udp [fd00::1]:1 > [fd00::80]:80", "fd00::2", &["store", "store", "store", "mend"]),
];

/// A packet, what it is parsed as, and the half of a connection to a backend.
fn aimed(text: &str, backend: &str, writes: usize) -> (Noted, Parsed, Flow) {
    let frame = frame(text, SYN);
    let parsed = parse(&frame).unwrap().unwrap();
    let mut half = Flow::zeroed();
    half.begin(&parsed, Exit::pod(11), 0, 0);
    let address = backend.parse::<std::net::IpAddr>().unwrap().into();
    let protocol = parsed.tuple.protocol;
    half.aim(7, 1, &Backend::new(address, Be16::new(8080), protocol, BackendState::Active));
    half.settle(&parsed.tuple);
    (Noted { frame, writes_left: writes, steps: RefCell::default() }, parsed, half)
}

#[test]
fn nothing_is_read_again_and_the_checksum_comes_last() {
    for (text, backend, steps) in CASES {
        let (mut packet, parsed, half) = aimed(text, backend, 9);
        assert_eq!(translate(&mut packet, &parsed, &half, Exit::pod(11)), Ok(()));
        assert_eq!(packet.frame.checked(), half.to);
        assert_eq!(packet.steps.take(), steps, "{text}");
    }
}

#[test]
fn what_does_not_change_is_not_written() {
    for (text, backend, _) in CASES {
        let (mut packet, parsed, mut half) = aimed(text, backend, 0);
        assert_eq!(hop(&mut packet, &parsed, Exit::STACK), Ok(()));
        half.begin(&parsed, Exit::STACK, 0, 0);
        assert_eq!(translate(&mut packet, &parsed, &half, Exit::STACK), Ok(()));
        assert_eq!(packet.steps.take(), [""; 0]);
    }
}

#[test]
fn a_write_that_fails() {
    for (text, backend, steps) in CASES {
        for writes in 0..steps.len() {
            let (mut packet, parsed, half) = aimed(text, backend, writes);
            let result = translate(&mut packet, &parsed, &half, Exit::pod(11));
            assert_eq!(result, Err(DropReason::WriteError), "{text}: write {writes}");
        }
        let (mut packet, parsed, _) = aimed(text, backend, 0);
        assert_eq!(hop(&mut packet, &parsed, Exit::pod(11)), Err(DropReason::WriteError));
    }
}

#[test]
fn hops() {
    // C-10: 255 to 2 go down by one, 1 and 0 go no further, and the stack takes hops itself.
    let (_, parsed, _) = aimed(CASES[0].0, CASES[0].1, 0);
    for ttl in 0..=255 {
        let parsed = Parsed { ttl, ..parsed };
        let after = if ttl > 1 { Ok(ttl - 1) } else { Err(DropReason::TtlExceeded) };
        assert_eq!(ttl_after(&parsed, Exit::pod(11)), after);
        assert_eq!(ttl_after(&parsed, Exit::device(2)), after);
        assert_eq!(ttl_after(&parsed, Exit::STACK), Ok(ttl));
    }
}

#[test]
fn the_header_checksum_follows_every_ttl() {
    let text = CASES[0].0;
    for ttl in 2..=255_u8 {
        for id in [0_u16, 0xfffe, 0xffff, 0x1234] {
            let mut frame = frame(text, SYN);
            frame.0[22] = ttl;
            frame.0[18..20].copy_from_slice(&id.to_ne_bytes());
            frame.0[24..26].fill(0);
            let sum = !crate::checksum::sum(&frame.0[14..34]);
            frame.0[24..26].copy_from_slice(&sum.to_ne_bytes());
            let parsed = parse(&frame).unwrap().unwrap();
            assert_eq!(hop(&mut frame, &parsed, Exit::pod(11)), Ok(()));
            assert_eq!(frame.checked(), parsed.tuple);
            assert_eq!(frame.0[22], ttl - 1);
        }
    }
}
