//! The frames of live measurements.

use std::net::{Ipv4Addr, SocketAddrV4};

use twinpath_core::checksum;
use twinpath_core::wire::{TCP, tcp};
use twinpath_kernel::live::LENGTH;
use twinpath_sim::topology::Mac;

/// The source port of the first flow. That of none is a port of a service or a pod, so that an answer is
/// never taken for a request.
pub const FIRST_PORT: u16 = 10_000;

/// Most flows that fit behind it.
pub const MAX_FLOWS: u16 = 55_000;

/// The sequence number of each flow's first byte.
const FIRST_BYTE: u32 = 1_000;

/// Which packet of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The first.
    Open,
    /// Any after the handshake, without payload.
    Established,
}

/// Both ends of the first flow, and the link that its packets are sent on.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// The opener's address; its port is [`FIRST_PORT`].
    pub from: Ipv4Addr,
    /// What it sends to.
    pub to: SocketAddrV4,
    /// The link address of the sender.
    pub from_mac: Mac,
    /// The link address of the receiver.
    pub to_mac: Mac,
}

/// A TCP packet as a frame of the smallest size.
pub fn tcp(ends: &Ends, step: Step) -> [u8; LENGTH] {
    let (flags, sequence, acknowledged) = match step {
        Step::Open => (tcp::SYN, FIRST_BYTE, 0),
        Step::Established => (tcp::ACK, FIRST_BYTE + 1, FIRST_BYTE + 1),
    };
    let addresses = [ends.from.octets(), ends.to.ip().octets()].concat();
    let mut segment = [FIRST_PORT.to_be_bytes(), ends.to.port().to_be_bytes()].concat();
    segment.extend(sequence.to_be_bytes());
    segment.extend(acknowledged.to_be_bytes());
    segment.extend([0x50, flags, 0x40, 0]); // a window of 16 KiB
    let pseudo = [&addresses[..], &[0, TCP, 0, 20], &segment].concat();
    segment.extend((!checksum::sum(&pseudo)).to_ne_bytes());
    segment.extend([0, 0]);

    let mut start = vec![0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, TCP];
    let header = [&start[..], &addresses].concat();
    start.extend((!checksum::sum(&header)).to_ne_bytes());
    let link = [&ends.to_mac[..], &ends.from_mac, &[0x08, 0x00]].concat();
    let bytes = [link, start, addresses, segment].concat();
    let mut frame = [0; LENGTH];
    frame.iter_mut().zip(bytes).for_each(|(place, byte)| *place = byte);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_right() {
        let ends = Ends {
            from: [10, 244, 1, 10].into(),
            to: SocketAddrV4::new([10, 111, 0, 1].into(), 80),
            from_mac: [2; 6],
            to_mac: [4; 6],
        };
        for step in [Step::Open, Step::Established] {
            let frame = tcp(&ends, step);
            let pseudo = [&frame[26..34], &[0, TCP, 0, 20], &frame[34..54]].concat();
            assert_eq!(checksum::sum(&pseudo), 0xffff, "{step:?}");
            assert_eq!(checksum::sum(&frame[14..34]), 0xffff, "{step:?}");
        }
    }
}
