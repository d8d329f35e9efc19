//! One packet of a capture, and how the two formats report where it is.

use std::io;
use std::ops::Range;

use super::LinkType;

/// Longest packet that is believed, in bytes: what libpcap and Wireshark hold for the limit too.
pub(super) const MAX_CAPTURED: u32 = 262_144;

/// One packet as captured. The bytes live in the reader's buffer until the next call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Number of the packet in the file, from 1, as Wireshark counts.
    pub number: u64,
    /// Nanoseconds since 1970-01-01 00:00:00 UTC.
    pub timestamp: u64,
    /// Index of the interface in [`Capture::interfaces`](super::Capture::interfaces).
    pub interface: u32,
    /// Its name (`eth0`), or empty.
    pub interface_name: &'a str,
    /// What the bytes start with.
    pub link: LinkType,
    /// The captured bytes.
    pub data: &'a [u8],
    /// Length of the packet on the wire in bytes, at least `data.len()`; larger when the capture cut it (`-s 96`).
    pub original_len: u32,
    /// The packet's comment, if it has one in UTF-8; several, one per line.
    pub comment: Option<&'a str>,
}

/// Where a record lies, in bytes from the start of the window.
pub(super) struct Located {
    pub(super) timestamp: u64,
    pub(super) interface: u32,
    pub(super) link: LinkType,
    pub(super) original_len: u32,
    pub(super) data: Range<usize>,
    /// Bytes of the whole record.
    pub(super) length: usize,
}

/// Why there is no next record. The reader adds the file's name and the place.
pub(super) enum Fault {
    Io(io::Error),
    /// The file ends inside the record that starts at this byte.
    Cut(u64),
    Corrupt(String),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

#[cold]
pub(super) fn too_long(captured: u32) -> Fault {
    Fault::Corrupt(format!("captured length {captured} is over the limit of {MAX_CAPTURED} bytes"))
}
