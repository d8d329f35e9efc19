//! What can be wrong with a capture: one line each, that says what, where and what to do.

use std::io;

use thiserror::Error;

use super::compressed::Packing;

/// Why a capture cannot be read, or cannot be read further.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// The file cannot be opened.
    #[error("{name}: {}", opening(.cause))]
    Open {
        /// File name as given.
        name: String,
        /// What the system said.
        cause: io::Error,
    },
    /// The system failed while the file was read.
    #[error("{name}: reading failed at byte {offset}: {cause}")]
    Read {
        /// File name as given.
        name: String,
        /// Bytes from the start of the file.
        offset: u64,
        /// What the system said.
        cause: io::Error,
    },
    /// A compressed file that cannot be decompressed, or not further.
    #[error(
        "{name}: the {format} stream is broken at byte {offset}: {what}; copy the file again, {}",
        keep(*.packet)
    )]
    Stream {
        /// File name as given.
        name: String,
        /// `gzip` or `zstd`.
        format: &'static str,
        /// Number of the packet that cannot be read, from 1.
        packet: u64,
        /// Bytes from the start of the compressed file.
        offset: u64,
        /// What is wrong with it.
        what: String,
    },
    /// No byte at all.
    #[error(
        "{name}: empty, so there is no capture in it; if tcpdump is still writing, let it end or give it -U"
    )]
    Empty {
        /// File name as given.
        name: String,
    },
    /// A known format that is not read here.
    #[error("{name}: {what}; {advice}")]
    Foreign {
        /// File name as given.
        name: String,
        /// What the file is.
        what: &'static str,
        /// How to make a readable file of it.
        advice: String,
    },
    /// Neither pcap nor pcapng, nor anything else that is known.
    #[error(
        "{name}: not a capture: it starts with {start}; pcap or pcapng is expected, as `tcpdump -w` writes it"
    )]
    Unknown {
        /// File name as given.
        name: String,
        /// The first bytes, in hex and as text.
        start: String,
    },
    /// A pcap whose file header cannot be used.
    #[error("{name}: file header: {what}; nothing can be read, so make the capture again")]
    Header {
        /// File name as given.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// The bytes break the format. Packets already returned are sound.
    #[error("{name}: packet {packet} at byte {offset}: {what}; the file is damaged from here on, {}", keep(*.packet))]
    Corrupt {
        /// File name as given.
        name: String,
        /// Number of the packet that cannot be read, from 1.
        packet: u64,
        /// Bytes from the start of the file to its record.
        offset: u64,
        /// What is wrong with it.
        what: String,
    },
}

fn opening(cause: &io::Error) -> String {
    match cause.kind() {
        io::ErrorKind::NotFound => "no such file; check the path".into(),
        io::ErrorKind::IsADirectory => "is a directory; name the capture files in it".into(),
        io::ErrorKind::PermissionDenied => {
            "permission denied; captures written by root need a chmod or chown".into()
        }
        _ => format!("cannot be opened: {cause}"),
    }
}

fn keep(packet: u64) -> String {
    match packet.saturating_sub(1) {
        0 => "nothing before it can be used".into(),
        1 => "packet 1 is sound".into(),
        sound => format!("packets 1 to {sound} are sound"),
    }
}

/// Known file formats that are not read: first bytes, what they are, and what to do (`{}` stands for the file name).
const FOREIGN: &[(&[u8], &str, &str)] = &[
    (b"\xfd7zXZ\0", "compressed with xz", "decompress it first: xz -dc {} | twinpath replay -"),
    (
        b"\x04\x22\x4d\x18",
        "compressed with lz4",
        "decompress it first: lz4 -dc {} | twinpath replay -",
    ),
    (b"BZh", "compressed with bzip2", "decompress it first: bzip2 -dc {} | twinpath replay -"),
    (b"PK\x03\x04", "a zip archive", "unpack it first: unzip {}"),
    (b"\xa1\xb2\xcd\x34", MODIFIED, TO_PCAPNG),
    (b"\x34\xcd\xb2\xa1", MODIFIED, TO_PCAPNG),
    (b"snoop\0\0\0", "a snoop capture", TO_PCAPNG),
    (b"GMBU", "a Microsoft Network Monitor capture", TO_PCAPNG),
];
const MODIFIED: &str = "a modified pcap (magic a1b2cd34, records with extra fields)";
const TO_PCAPNG: &str = "convert it first: editcap -F pcapng {} converted.pcapng";

/// The error for a compressed file whose content starts with `head` and is neither pcap nor pcapng.
pub(super) fn not_a_capture_inside(
    name: &str,
    format: &'static str,
    is_cut: bool,
    head: &[u8],
) -> CaptureError {
    let name = name.to_owned();
    let foreign = |what, advice: &str| {
        let (name, advice) = (name.clone(), advice.into());
        CaptureError::Foreign { name, what, advice }
    };
    match head {
        [] if is_cut => foreign("compressed, and cut before its first byte", "copy the file again"),
        [] => foreign("compressed, and empty inside", "make the capture again"),
        _ if Packing::of(head).is_some() => {
            foreign("compressed twice", "decompress it once: gzip -dc or zstd -dc")
        }
        _ => match not_a_capture(&format!("{name} ({format})"), head) {
            CaptureError::Foreign { name, what, .. } => CaptureError::Foreign {
                name,
                what,
                advice: "decompress both and make a pcap or pcapng of what is inside".into(),
            },
            other => other,
        },
    }
}

/// The error for a file that starts with `head` and is neither pcap nor pcapng.
pub(super) fn not_a_capture(name: &str, head: &[u8]) -> CaptureError {
    let name = name.to_owned();
    if head.is_empty() {
        return CaptureError::Empty { name };
    }
    if let Some((_, what, advice)) = FOREIGN.iter().find(|(magic, ..)| head.starts_with(magic)) {
        let advice = advice.replace("{}", &name);
        return CaptureError::Foreign { name, what, advice };
    }
    let shown = &head[..head.len().min(8)];
    let hex: Vec<String> = shown.iter().map(|byte| format!("{byte:02x}")).collect();
    CaptureError::Unknown {
        name,
        start: format!("{} (\"{}\")", hex.join(" "), shown.escape_ascii()),
    }
}
