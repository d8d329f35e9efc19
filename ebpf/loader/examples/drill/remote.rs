//! The remote end: segments on a device, with no stack behind them.
//!
//! A script's numbers become those on the wire as packetdrill has it: those of a SYN are absolute, all
//! others count from the initial sequence number of their sender, which is the script's own for the remote
//! end, and what was seen for the local one. Time stamps that are echoed are moved as far as the first
//! one seen is from the script's.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use etherparse::{
    IpHeaders, NetSlice, PacketBuilder, PacketBuilderStep, SlicedPacket, TcpHeader,
    TcpOptionElement, TransportSlice,
};
use twinpath_kernel::veth::tap::{EVERYTHING, PacketSocket, Room};
use twinpath_sim::frame::Frame;

use crate::script::{Segment, TcpOption};

/// How long a segment is waited for: as long as one that was lost takes to come again, and more.
const PATIENCE: Duration = Duration::from_millis(4_000);

/// Who is who on the remote end's link.
#[derive(Clone, Copy)]
pub(crate) struct Link {
    pub(crate) mac: [u8; 6],
    pub(crate) gateway: [u8; 6],
    /// The remote end.
    pub(crate) address: SocketAddr,
    /// Where the local end is reached when it listens.
    pub(crate) frontend: SocketAddr,
}

/// What was agreed on by the first segments.
#[derive(Default)]
struct Numbers {
    /// The initial sequence numbers: in the script, on the wire.
    local: Option<(u32, u32)>,
    remote: Option<(u32, u32)>,
    /// The first time stamp of the local end: in the script, on the wire.
    stamp: Option<(u32, u32)>,
}

/// What a script's number is counted from on the wire.
fn base(numbers: Option<(u32, u32)>, is_syn: bool) -> u32 {
    match (numbers, is_syn) {
        (Some((script, wire)), true) => wire.wrapping_sub(script),
        (Some((_, wire)), false) => wire,
        (None, _) => 0,
    }
}

pub(crate) struct Remote {
    link: Link,
    sender: PacketSocket,
    listener: PacketSocket,
    room: Room,
    /// As the remote end knows the local one.
    peer: SocketAddr,
    numbers: Numbers,
}

impl Remote {
    /// On a device of the calling thread's namespace.
    pub(crate) fn new(device: u32, link: Link) -> io::Result<Self> {
        Ok(Self {
            sender: PacketSocket::sender(device)?,
            listener: PacketSocket::listen(device, EVERYTHING)?,
            room: Room::default(),
            peer: link.frontend,
            numbers: Numbers::default(),
            link,
        })
    }

    /// Sends a segment.
    pub(crate) fn inject(&mut self, segment: &Segment) -> Result<(), String> {
        let is_syn = segment.has('S');
        if is_syn && self.numbers.remote.is_none() {
            self.numbers.remote = Some((segment.sequence, segment.sequence));
        }
        let mut tcp = TcpHeader::new(
            self.link.address.port(),
            self.peer.port(),
            segment.sequence.wrapping_add(base(self.numbers.remote, is_syn)),
            segment.window,
        );
        if let Some(acknowledgment) = segment.acknowledgment {
            tcp.acknowledgment_number =
                acknowledgment.wrapping_add(base(self.numbers.local, is_syn));
        }
        (tcp.syn, tcp.fin, tcp.rst) = (is_syn, segment.has('F'), segment.has('R'));
        (tcp.psh, tcp.ack) = (segment.has('P'), segment.has('.'));
        let options: Vec<_> = segment.options.iter().map(|option| self.option(*option)).collect();
        tcp.set_options(&options).map_err(|error| error.to_string())?;
        let payload = vec![0x61; segment.length as usize];
        let ethernet = PacketBuilder::ethernet2(self.link.mac, self.link.gateway);
        let ip: PacketBuilderStep<IpHeaders> = match (self.link.address.ip(), self.peer.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => ethernet.ipv4(from.octets(), to.octets(), 64),
            (IpAddr::V6(from), IpAddr::V6(to)) => ethernet.ipv6(from.octets(), to.octets(), 64),
            _ => return Err("addresses of two families".to_owned()),
        };
        let mut bytes = Vec::new();
        ip.tcp_header(tcp).write(&mut bytes, &payload).map_err(|error| error.to_string())?;
        self.sender.send(&Frame::new(bytes)).map_err(|error| error.to_string())
    }

    fn option(&self, option: TcpOption) -> TcpOptionElement {
        match option {
            TcpOption::MaximumSegment(size) => TcpOptionElement::MaximumSegmentSize(size),
            TcpOption::Nop => TcpOptionElement::Noop,
            TcpOption::SackPermitted => TcpOptionElement::SelectiveAcknowledgementPermitted,
            TcpOption::WindowScale(shift) => TcpOptionElement::WindowScale(shift),
            TcpOption::Timestamps(value, echo) => {
                let moved =
                    self.numbers.stamp.map_or(0, |(script, wire)| wire.wrapping_sub(script));
                let echo = if echo == 0 { 0 } else { echo.wrapping_add(moved) };
                TcpOptionElement::Timestamp(value, echo)
            }
        }
    }

    /// Waits for the next segment; what is wrong with it where it is not this one.
    pub(crate) fn expect(&mut self, segment: &Segment) -> Result<Option<String>, String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let mut heard = None;
            if let Some(seen) =
                self.listener.receive(&mut self.room).map_err(|error| error.to_string())?
            {
                if !seen.outgoing {
                    heard = parse(seen.bytes, seen.partial)?;
                }
            } else if Instant::now() > until {
                return Err("nothing came".to_owned());
            } else {
                std::thread::sleep(Duration::from_millis(1));
            }
            if let Some(heard) = heard.filter(|heard| heard.to == self.link.address) {
                return Ok(self.compare(segment, &heard).err());
            }
        }
    }

    fn compare(&mut self, wanted: &Segment, heard: &Heard) -> Result<(), String> {
        let is_syn = wanted.has('S');
        if is_syn && heard.tcp.syn && self.numbers.local.is_none() {
            self.numbers.local = Some((wanted.sequence, heard.tcp.sequence_number));
            if !wanted.has('.') {
                self.peer = heard.from; // the local end opens: under this name it is known here
            }
        }
        let wanted_stamp = wanted.options.iter().find_map(|option| match option {
            TcpOption::Timestamps(value, _) => Some(*value),
            _ => None,
        });
        if let (Some(script), Some(wire), None) = (wanted_stamp, heard.stamp, self.numbers.stamp) {
            self.numbers.stamp = Some((script, wire));
        }
        if heard.from != self.peer {
            return Err(format!("from {} and not {}", heard.from, self.peer));
        }
        if !heard.checksum_holds {
            return Err("with a wrong checksum".to_owned());
        }
        let found = Segment {
            flags: flags(&heard.tcp),
            sequence: heard.tcp.sequence_number.wrapping_sub(base(self.numbers.local, is_syn)),
            length: heard.length,
            acknowledgment: heard.tcp.ack.then(|| {
                heard.tcp.acknowledgment_number.wrapping_sub(base(self.numbers.remote, is_syn))
            }),
            ..Segment::default()
        };
        // Window and options are between the ends, which no hook touches.
        let wanted = Segment { window: 0, options: Vec::new(), ..wanted.clone() };
        if found == wanted { Ok(()) } else { Err(format!("{found:?} came and not {wanted:?}")) }
    }
}

/// A segment that arrived.
struct Heard {
    from: SocketAddr,
    to: SocketAddr,
    tcp: TcpHeader,
    stamp: Option<u32>,
    length: u32,
    checksum_holds: bool,
}

/// The segment in a frame; nothing where there is none.
fn parse(bytes: &[u8], partial: bool) -> Result<Option<Heard>, String> {
    let packet = SlicedPacket::from_ethernet(bytes).map_err(|error| error.to_string())?;
    let Some(TransportSlice::Tcp(slice)) = packet.transport else { return Ok(None) };
    let tcp = slice.to_header();
    let (from, to, checksum) = match &packet.net {
        Some(NetSlice::Ipv4(ip)) => {
            let (from, to) = (ip.header().source_addr(), ip.header().destination_addr());
            let sum = slice.calc_checksum_ipv4(from.octets(), to.octets());
            (from.into(), to.into(), sum.map_err(|error| error.to_string())?)
        }
        Some(NetSlice::Ipv6(ip)) => {
            let (from, to) = (ip.header().source_addr(), ip.header().destination_addr());
            let sum = slice.calc_checksum_ipv6(from.octets(), to.octets());
            (from.into(), to.into(), sum.map_err(|error| error.to_string())?)
        }
        _ => return Ok(None),
    };
    let stamp = tcp.options_iterator().find_map(|option| match option {
        Ok(TcpOptionElement::Timestamp(value, _)) => Some(value),
        _ => None,
    });
    let (from, to): (IpAddr, IpAddr) = (from, to);
    Ok(Some(Heard {
        from: SocketAddr::new(from, tcp.source_port),
        to: SocketAddr::new(to, tcp.destination_port),
        stamp,
        length: slice.payload().len() as u32,
        // A partial one is completed by the device that sends the packet to a wire.
        checksum_holds: partial || checksum == tcp.checksum,
        tcp,
    }))
}

/// The letters of a segment's flags, in the order that scripts have them.
fn flags(tcp: &TcpHeader) -> String {
    let all = [(tcp.syn, 'S'), (tcp.fin, 'F'), (tcp.rst, 'R'), (tcp.psh, 'P'), (tcp.ack, '.')];
    all.into_iter().filter_map(|(is_set, letter)| is_set.then_some(letter)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_syn_are_absolute_and_others_relative() {
        let numbers = Some((100, 5_000));
        assert_eq!(100_u32.wrapping_add(base(numbers, true)), 5_000);
        assert_eq!(1_u32.wrapping_add(base(numbers, false)), 5_001);
        assert_eq!(base(None, false), 0);
    }
}
