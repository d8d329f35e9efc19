//! Bytes of small captures for tests, built field by field so that no writer under test is trusted.

use super::{Capture, CaptureError, Record};

/// Byte order of a file that is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Little,
    Big,
}

impl End {
    pub(super) fn u16(self, value: u16) -> [u8; 2] {
        if self == Self::Little { value.to_le_bytes() } else { value.to_be_bytes() }
    }

    pub(super) fn u32(self, value: u32) -> [u8; 4] {
        if self == Self::Little { value.to_le_bytes() } else { value.to_be_bytes() }
    }

    fn words(self, words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| self.u32(*word)).collect()
    }
}

pub(super) const MICRO: u32 = 0xa1b2_c3d4;
pub(super) const NANO: u32 = 0xa1b2_3c4d;

/// A classic pcap of records given as seconds, fraction, original length, data.
pub(super) fn classic(
    end: End,
    magic: u32,
    snaplen: u32,
    link: u32,
    records: &[(u32, u32, u32, &[u8])],
) -> Vec<u8> {
    let mut file = end.u32(magic).to_vec();
    file.extend([end.u16(2), end.u16(4)].concat());
    file.extend(end.words(&[0, 0, snaplen, link]));
    for (seconds, fraction, original, data) in records {
        file.extend(end.words(&[*seconds, *fraction, data.len() as u32, *original]));
        file.extend(*data);
    }
    file
}

pub(super) fn block(end: End, kind: u32, body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    body.resize(body.len().next_multiple_of(4), 0);
    let length = end.u32(body.len() as u32 + 12);
    [&end.u32(kind)[..], &length, &body, &length].concat()
}

pub(super) fn options(end: End, options: &[(u16, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (code, value) in options {
        bytes.extend([end.u16(*code), end.u16(value.len() as u16)].concat());
        bytes.extend(*value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    if !options.is_empty() {
        bytes.extend([0; 4]);
    }
    bytes
}

/// Section header block, of unknown section length.
pub(super) fn shb(end: End) -> Vec<u8> {
    let mut body = end.u32(0x1a2b_3c4d).to_vec();
    body.extend([end.u16(1), end.u16(0)].concat());
    body.extend([0xff; 8]);
    block(end, 0x0a0d_0d0a, &body)
}

/// Interface description block.
pub(super) fn idb(end: End, link: u16, snaplen: u32, values: &[(u16, &[u8])]) -> Vec<u8> {
    let body = [&end.u16(link)[..], &[0; 2], &end.u32(snaplen), &options(end, values)].concat();
    block(end, 1, &body)
}

/// Enhanced packet block.
pub(super) fn epb(
    end: End,
    port: u32,
    units: u64,
    original: u32,
    data: &[u8],
    values: &[(u16, &[u8])],
) -> Vec<u8> {
    let mut body =
        end.words(&[port, (units >> 32) as u32, units as u32, data.len() as u32, original]);
    body.extend(data);
    body.resize(body.len().next_multiple_of(4), 0);
    body.extend(options(end, values));
    block(end, 6, &body)
}

/// Simple packet block.
pub(super) fn spb(end: End, original: u32, data: &[u8]) -> Vec<u8> {
    block(end, 3, &[&end.u32(original)[..], data].concat())
}

/// Obsolete packet block.
pub(super) fn pb(end: End, port: u16, units: u64, original: u32, data: &[u8]) -> Vec<u8> {
    let mut body = [end.u16(port), end.u16(0)].concat();
    body.extend(end.words(&[(units >> 32) as u32, units as u32, data.len() as u32, original]));
    body.extend(data);
    block(end, 2, &body)
}

/// A [`Record`] that owns its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) time: u64,
    pub(super) interface: u32,
    pub(super) link: u32,
    pub(super) original: u32,
    pub(super) data: Vec<u8>,
    pub(super) comment: Option<String>,
}

impl From<Record<'_>> for Packet {
    fn from(record: Record<'_>) -> Self {
        Self {
            time: record.timestamp,
            interface: record.interface,
            link: record.link.0,
            original: record.original_len,
            data: record.data.to_vec(),
            comment: record.comment.map(str::to_owned),
        }
    }
}

/// An Ethernet packet on interface 0.
pub(super) fn packet(time: u64, original: u32, data: &[u8]) -> Packet {
    Packet { time, interface: 0, link: 1, original, data: data.to_vec(), comment: None }
}

/// What reading a file gave.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) packets: Vec<Packet>,
    pub(super) warnings: Vec<String>,
    pub(super) error: Option<String>,
    /// Names of the interfaces.
    pub(super) names: Vec<String>,
    pub(super) bytes_read: u64,
}

/// A source that gives a few bytes at a time and is interrupted now and then, as pipes are.
struct Trickle(std::io::Cursor<Vec<u8>>, usize);

impl std::io::Read for Trickle {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.1 += 1;
        if self.1.is_multiple_of(3) {
            return Err(std::io::ErrorKind::Interrupted.into());
        }
        let n = buffer.len().min(self.1 % 11 + 1);
        self.0.read(&mut buffer[..n])
    }
}

/// Reads a whole file called `t.pcap`, in one piece and in small ones, which must not matter.
pub(super) fn read(file: &[u8]) -> Outcome {
    let whole = collect(Capture::new("t.pcap", Box::new(std::io::Cursor::new(file.to_vec()))));
    let pieces =
        collect(Capture::new("t.pcap", Box::new(Trickle(std::io::Cursor::new(file.to_vec()), 0))));
    assert_eq!(format!("{whole:?}"), format!("{pieces:?}"));
    whole
}

fn collect(capture: Result<Capture, CaptureError>) -> Outcome {
    let mut outcome =
        Outcome { packets: vec![], warnings: vec![], error: None, names: vec![], bytes_read: 0 };
    let mut capture = match capture {
        Ok(capture) => capture,
        Err(error) => return Outcome { error: Some(error.to_string()), ..outcome },
    };
    loop {
        match capture.next() {
            Ok(Some(record)) => {
                assert_eq!(record.number, outcome.packets.len() as u64 + 1);
                outcome.packets.push(record.into());
            }
            Ok(None) => break,
            Err(error) => outcome.error = Some(error.to_string()),
        }
    }
    assert!(capture.next().unwrap().is_none(), "the end is final");
    outcome.warnings = capture.warnings().to_vec();
    outcome.names = capture.interfaces().iter().map(|interface| interface.name.clone()).collect();
    outcome.bytes_read = capture.bytes_read();
    outcome
}
