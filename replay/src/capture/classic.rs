//! The classic pcap format: one header for the file, then records of 16 bytes and the packet.

use pcap_file::pcap::{PcapParser, RawPcapPacket};
use pcap_file::{Endianness, PcapError, TsResolution};

use super::record::{Fault, Located, MAX_CAPTURED, too_long};
use super::window::Window;
use super::{Interface, LinkType};

/// Bytes of the file header.
const FILE_HEADER: usize = 24;
/// Bytes of a record's header: seconds, fraction, captured length, original length, 32 bits each.
pub(super) const RECORD_HEADER: usize = 16;

/// Whether a file that starts so is a classic pcap.
pub(super) fn is_magic(head: &[u8]) -> bool {
    matches!(head, [0xa1, 0xb2, 0xc3, 0xd4, ..] | [0xd4, 0xc3, 0xb2, 0xa1, ..])
        || matches!(head, [0xa1, 0xb2, 0x3c, 0x4d, ..] | [0x4d, 0x3c, 0xb2, 0xa1, ..])
}

/// Reads records with pcap-file's parser on our own window.
///
/// pcap-file's reader is not used: it returns the same error for ever when the last record is cut, cannot say where
/// in the file it is, and refuses whole `-s 96` captures in `next_packet`. Its `snaplen` is ignored here on purpose:
/// files with 0 and files whose records exceed it are common and harmless.
#[derive(Debug)]
pub(super) struct Classic {
    parser: PcapParser,
    link: LinkType,
    /// Nanoseconds in one unit of the fraction.
    fraction: u64,
}

impl Classic {
    /// Takes the file header from the window.
    pub(super) fn new(window: &mut Window) -> Result<(Self, Interface), Fault> {
        if !window.fill(FILE_HEADER)? {
            let have = window.bytes().len();
            return Err(Fault::Corrupt(format!("{have} of its {FILE_HEADER} bytes are there")));
        }
        let (_, parser) = PcapParser::new(window.take(FILE_HEADER))
            .map_err(|error| Fault::Corrupt(error.to_string()))?;
        let header = parser.header();
        if header.version_major != 2 {
            let (major, minor) = (header.version_major, header.version_minor);
            return Err(Fault::Corrupt(format!(
                "pcap version {major}.{minor}, but only 2.x is known"
            )));
        }
        // The upper six bits tell the length of a frame check sequence, if any.
        let link = LinkType(u32::from(header.datalink) & 0x03ff_ffff);
        let fraction = match header.ts_resolution {
            TsResolution::MicroSecond => 1_000,
            TsResolution::NanoSecond => 1,
        };
        Ok((Self { parser, link, fraction }, Interface { name: String::new(), link }))
    }

    /// Finds the next record in the window; `None` at the end of the file.
    #[inline]
    pub(super) fn locate(&mut self, window: &mut Window) -> Result<Option<Located>, Fault> {
        loop {
            match self.parser.next_raw_packet(window.bytes()) {
                Ok((_, raw)) => return self.located(&raw).map(Some),
                Err(PcapError::IncompleteBuffer) => {
                    if !self.fill_record(window)? {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(Fault::Corrupt(error.to_string())),
            }
        }
    }

    /// Time, original length and length of the record, if these bytes hold the whole of it: the road
    /// that all records but the last of every window take.
    #[inline(always)]
    pub(super) fn at_hand(&self, bytes: &[u8]) -> Option<(u64, u32, usize)> {
        let (header, rest) = bytes.split_first_chunk::<RECORD_HEADER>()?;
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *header;
        let words = [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]];
        let [seconds, fraction, captured, original] = match self.parser.header().endianness {
            Endianness::Little => words.map(u32::from_le_bytes),
            Endianness::Big => words.map(u32::from_be_bytes),
        };
        if captured > MAX_CAPTURED || captured as usize > rest.len() {
            return None;
        }
        let timestamp = u64::from(seconds) * 1_000_000_000 + u64::from(fraction) * self.fraction;
        Some((timestamp, original, RECORD_HEADER + captured as usize))
    }

    /// What the records of the file start with.
    pub(super) fn link(&self) -> LinkType {
        self.link
    }

    #[inline]
    fn located(&self, raw: &RawPcapPacket<'_>) -> Result<Located, Fault> {
        // Also when the window happens to hold so many bytes already.
        if raw.incl_len > MAX_CAPTURED {
            return Err(too_long(raw.incl_len));
        }
        let end = RECORD_HEADER + raw.incl_len as usize;
        Ok(Located {
            timestamp: u64::from(raw.ts_sec) * 1_000_000_000
                + u64::from(raw.ts_frac) * self.fraction,
            interface: 0,
            link: self.link,
            original_len: raw.orig_len,
            data: RECORD_HEADER..end,
            length: end,
        })
    }

    /// Reads on until the next record is whole. False at the end of the file.
    ///
    /// The length is judged before the bytes are asked for, so that a damaged one costs no memory.
    #[cold]
    fn fill_record(&self, window: &mut Window) -> Result<bool, Fault> {
        if !window.fill(RECORD_HEADER)? {
            return if window.bytes().is_empty() {
                Ok(false)
            } else {
                Err(Fault::Cut(window.offset()))
            };
        }
        let length = match (self.parser.header().endianness, window.bytes().get(8..12)) {
            (Endianness::Little, Some(&[a, b, c, d])) => u32::from_le_bytes([a, b, c, d]),
            (Endianness::Big, Some(&[a, b, c, d])) => u32::from_be_bytes([a, b, c, d]),
            _ => return Err(Fault::Cut(window.offset())),
        };
        if length > MAX_CAPTURED {
            return Err(too_long(length));
        }
        if window.fill(RECORD_HEADER + length as usize)? {
            Ok(true)
        } else {
            Err(Fault::Cut(window.offset()))
        }
    }
}

#[cfg(test)]
mod tests;
