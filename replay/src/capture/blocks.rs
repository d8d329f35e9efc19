//! The pcapng format: sections of blocks, each block with its type and length.
//!
//! Blocks are framed here and not by pcap-file. Its parser reads every interface option strictly and refuses sound
//! files for it (any `if_tzone`, a comment that is not UTF-8), reports a malformed block like one that needs more
//! bytes, holds skipped blocks whole in memory, and takes all timestamps for nanoseconds.

use super::clock::Clock;
use super::record::{Fault, Located, MAX_CAPTURED, too_long};
use super::window::Window;
use super::{Interface, LinkType};

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;
/// Blocks that are known to hold no packet: name resolution, interface statistics, systemd journal, decryption
/// secrets, custom (may be copied, may not). They are passed over in silence.
const NO_PACKET: [u32; 6] = [4, 5, 9, 10, 0x0bad, 0x4000_0bad];

/// Bytes of a block's type and length.
const BLOCK_HEADER: usize = 8;
/// Bytes of a block with an empty body: header, and the length once more at its end.
const EMPTY_BLOCK: u32 = 12;
/// Longest block that is held in memory, in bytes. A packet of the longest length with its options fits.
const MAX_BLOCK: u32 = 1 << 20;
/// Most interfaces in a file; real ones have a few, so more is damage that would eat memory.
const MAX_INTERFACES: usize = 65_536;
/// Longest interface name that is kept, in bytes; the kernel's are at most 15.
const MAX_NAME: usize = 255;

/// Whether a file that starts so is a pcapng.
pub(super) fn is_magic(head: &[u8]) -> bool {
    head.starts_with(&SECTION_HEADER.to_be_bytes())
}

#[derive(Clone, Copy, Debug)]
enum Order {
    Little,
    Big,
}

impl Order {
    #[inline]
    fn u16(self, bytes: &[u8], at: usize) -> Option<u16> {
        let bytes = bytes.get(at..)?.first_chunk()?;
        Some(match self {
            Self::Little => u16::from_le_bytes(*bytes),
            Self::Big => u16::from_be_bytes(*bytes),
        })
    }

    #[inline]
    fn u32(self, bytes: &[u8], at: usize) -> Option<u32> {
        let bytes = bytes.get(at..)?.first_chunk()?;
        Some(match self {
            Self::Little => u32::from_le_bytes(*bytes),
            Self::Big => u32::from_be_bytes(*bytes),
        })
    }
}

/// What a packet block needs of its interface.
#[derive(Clone, Copy, Debug)]
struct Port {
    link: LinkType,
    snaplen: u32,
    clock: Clock,
}

/// Reads blocks, keeping what the current section says.
#[derive(Debug)]
pub(super) struct Blocks {
    order: Order,
    /// The current section's interfaces.
    ports: Vec<Port>,
    /// Interfaces of the sections before.
    ports_before: usize,
    /// Time of the packet before, for those that have none.
    last_time: u64,
    /// The comments of the packet located last, one per line.
    pub(super) comments: String,
    /// Packets without a time.
    pub(super) timeless: u64,
    /// Blocks of unknown type that were passed over, and the first one's type.
    pub(super) unknown: u64,
    pub(super) first_unknown: u32,
}

impl Blocks {
    pub(super) fn new() -> Self {
        Self {
            order: Order::Little,
            ports: Vec::new(),
            ports_before: 0,
            last_time: 0,
            comments: String::new(),
            timeless: 0,
            unknown: 0,
            first_unknown: 0,
        }
    }

    /// Finds the next packet in the window, taking the blocks before it; `None` at the end of the file.
    pub(super) fn locate(
        &mut self,
        window: &mut Window,
        interfaces: &mut Vec<Interface>,
    ) -> Result<Option<Located>, Fault> {
        loop {
            let Some((kind, length)) = self.next_block(window)? else { return Ok(None) };
            match kind {
                SECTION_HEADER => {
                    self.section(block(window, length)?)?;
                }
                INTERFACE_DESCRIPTION => {
                    let interface = self.interface(block(window, length)?)?;
                    interfaces.push(interface);
                }
                ENHANCED_PACKET | PACKET | SIMPLE_PACKET => {
                    let block = block(window, length)?;
                    return match kind {
                        ENHANCED_PACKET => self.packet(block, self.order.u32(block, 8)).map(Some),
                        PACKET => {
                            self.packet(block, self.order.u16(block, 8).map(u32::from)).map(Some)
                        }
                        _ => self.simple_packet(block).map(Some),
                    };
                }
                _ => {
                    if !NO_PACKET.contains(&kind) {
                        self.first_unknown =
                            if self.unknown == 0 { kind } else { self.first_unknown };
                        self.unknown += 1;
                    }
                    let start = window.offset();
                    if window.skip(u64::from(length))? < u64::from(length) {
                        return Err(Fault::Cut(start));
                    }
                    continue;
                }
            }
            window.take(length as usize);
        }
    }

    /// Type and whole length of the next block; the length is judged before its bytes are asked for.
    #[inline]
    fn next_block(&mut self, window: &mut Window) -> Result<Option<(u32, u32)>, Fault> {
        if !window.fill(BLOCK_HEADER)? {
            return if window.bytes().is_empty() {
                Ok(None)
            } else {
                Err(Fault::Cut(window.offset()))
            };
        }
        // The type of a section header reads the same in both orders; its magic tells the order of what follows.
        if is_magic(window.bytes()) {
            if !window.fill(BLOCK_HEADER + 4)? {
                return Err(Fault::Cut(window.offset()));
            }
            self.order = match window.bytes().get(8..12) {
                Some([0x1a, 0x2b, 0x3c, 0x4d]) => Order::Big,
                Some([0x4d, 0x3c, 0x2b, 0x1a]) => Order::Little,
                _ => {
                    return Err(Fault::Corrupt(
                        "section header without the byte order magic 1a2b3c4d".into(),
                    ));
                }
            };
        }
        let bytes = window.bytes();
        let (Some(kind), Some(length)) = (self.order.u32(bytes, 0), self.order.u32(bytes, 4))
        else {
            return Err(Fault::Cut(window.offset()));
        };
        if length < EMPTY_BLOCK || length % 4 != 0 {
            return Err(Fault::Corrupt(format!(
                "block length {length} is not a multiple of 4 from 12 on"
            )));
        }
        Ok(Some((kind, length)))
    }

    fn section(&mut self, block: &[u8]) -> Result<(), Fault> {
        let (Some(major), Some(minor)) = (self.order.u16(block, 12), self.order.u16(block, 14))
        else {
            return Err(short("section header"));
        };
        if major != 1 {
            return Err(Fault::Corrupt(format!(
                "pcapng version {major}.{minor}, but only 1.x is known"
            )));
        }
        self.ports_before += self.ports.len();
        self.ports.clear();
        Ok(())
    }

    fn interface(&mut self, block: &[u8]) -> Result<Interface, Fault> {
        let (Some(link), Some(snaplen)) = (self.order.u16(block, 8), self.order.u32(block, 12))
        else {
            return Err(short("interface description"));
        };
        if self.ports_before + self.ports.len() >= MAX_INTERFACES {
            return Err(Fault::Corrupt(format!("more than {MAX_INTERFACES} interfaces")));
        }
        let link = LinkType(u32::from(link));
        let (mut name, mut resolution, mut offset) = (String::new(), Clock::MICROSECONDS, 0);
        let mut at = 16;
        while let Some((code, value)) = option(self.order, block, &mut at) {
            let value = &block[value];
            match (code, value) {
                (2, _) => {
                    name =
                        String::from_utf8_lossy(&value[..value.len().min(MAX_NAME)]).into_owned();
                }
                (9, [byte, ..]) => resolution = *byte,
                (14, _) => {
                    offset = match (self.order, value.first_chunk()) {
                        (Order::Little, Some(bytes)) => i64::from_le_bytes(*bytes),
                        (Order::Big, Some(bytes)) => i64::from_be_bytes(*bytes),
                        (_, None) => 0,
                    }
                }
                _ => {}
            }
        }
        self.ports.push(Port { link, snaplen, clock: Clock::new(resolution, offset) });
        Ok(Interface { name, link })
    }

    /// An enhanced packet block or its obsolete ancestor: they differ in the size of the interface number only.
    #[inline]
    fn packet(&mut self, block: &[u8], interface: Option<u32>) -> Result<Located, Fault> {
        let number = |at| self.order.u32(block, at);
        let (Some(id), Some(high), Some(low), Some(captured), Some(original_len)) =
            (interface, number(12), number(16), number(20), number(24))
        else {
            return Err(short("packet"));
        };
        let (port, interface) = self.port(id)?;
        let data = packet_bytes(block, 28, captured)?;
        self.comments.clear();
        let mut at = data.end.next_multiple_of(4);
        if at + 4 < block.len() {
            while let Some((code, value)) = option(self.order, block, &mut at) {
                // One that is not UTF-8 costs only itself.
                if code == 1
                    && let Ok(comment) = str::from_utf8(&block[value])
                    && !comment.is_empty()
                {
                    if !self.comments.is_empty() {
                        self.comments.push('\n');
                    }
                    self.comments.push_str(comment);
                }
            }
        }
        let timestamp = port.clock.nanoseconds(u64::from(high) << 32 | u64::from(low));
        self.last_time = timestamp;
        Ok(Located {
            timestamp,
            interface,
            link: port.link,
            original_len,
            data,
            length: block.len(),
        })
    }

    /// A simple packet block: interface 0, and neither a time nor a captured length of its own.
    fn simple_packet(&mut self, block: &[u8]) -> Result<Located, Fault> {
        let Some(original_len) = self.order.u32(block, 8) else {
            return Err(short("simple packet"));
        };
        let (port, interface) = self.port(0)?;
        // The body is padded to 32 bits, so the length must come from what was captured at most.
        let limit = if port.snaplen == 0 { u32::MAX } else { port.snaplen };
        let data = packet_bytes(block, 12, original_len.min(limit))?;
        self.timeless += 1;
        self.comments.clear();
        Ok(Located {
            timestamp: self.last_time,
            interface,
            link: port.link,
            original_len,
            data,
            length: block.len(),
        })
    }

    /// The interface a packet names, and its number in the file.
    #[inline]
    fn port(&self, id: u32) -> Result<(Port, u32), Fault> {
        match self.ports.get(id as usize) {
            Some(port) => Ok((*port, id + self.ports_before as u32)),
            None => Err(Fault::Corrupt(format!(
                "it names interface {id}, but {} are described",
                self.ports.len()
            ))),
        }
    }
}

/// The whole block at the start of the window, with header and trailing length.
#[inline]
fn block(window: &mut Window, length: u32) -> Result<&[u8], Fault> {
    if length > MAX_BLOCK {
        return Err(Fault::Corrupt(format!(
            "block length {length} is over the limit of {MAX_BLOCK} bytes"
        )));
    }
    let length = length as usize;
    if !window.fill(length)? {
        return Err(Fault::Cut(window.offset()));
    }
    let block = &window.bytes()[..length];
    // Equal in either byte order when equal at all.
    if block[4..8] != block[length - 4..] {
        return Err(Fault::Corrupt("the block's two lengths differ".into()));
    }
    Ok(block)
}

/// Where the packet's bytes lie in its block.
#[inline]
fn packet_bytes(
    block: &[u8],
    start: usize,
    captured: u32,
) -> Result<std::ops::Range<usize>, Fault> {
    if captured > MAX_CAPTURED {
        return Err(too_long(captured));
    }
    let end = start + captured as usize;
    // The trailing length follows.
    if end + 4 > block.len() {
        return Err(Fault::Corrupt(format!(
            "captured length {captured} exceeds its block of {}",
            block.len()
        )));
    }
    Ok(start..end)
}

/// Code and place of the option at `at`, which moves on; `None` at the end of the list or when it is malformed, since
/// an option is never worth a packet.
#[inline]
fn option(order: Order, block: &[u8], at: &mut usize) -> Option<(u16, std::ops::Range<usize>)> {
    let code = order.u16(block, *at)?;
    let start = *at + 4;
    let end = start + usize::from(order.u16(block, *at + 2)?);
    if code == 0 || end + 4 > block.len() {
        return None;
    }
    *at = end.next_multiple_of(4);
    Some((code, start..end))
}

#[cold]
fn short(what: &str) -> Fault {
    Fault::Corrupt(format!("{what} block too short for its fields"))
}

#[cfg(test)]
mod tests;
