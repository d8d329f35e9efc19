//! The reader: finds the format out by the first bytes and adds names and places to what goes wrong.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use super::aside::Aside;
use super::blocks::{self, Blocks};
use super::classic::{self, Classic};
use super::compressed::{Packing, Progress, Unpacked};
use super::error::{not_a_capture, not_a_capture_inside};
use super::record::Fault;
use super::window::Window;
use super::{CaptureError, LinkType, Record};

/// An interface of a capture. A classic pcap has one, without a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Name as the capture gives it (`eth0`), or empty.
    pub name: String,
    /// Link type of its packets.
    pub link: LinkType,
}

#[derive(Debug)]
enum Format {
    Classic(Classic),
    Blocks(Blocks),
}

/// A capture that is being read, in constant memory.
#[derive(Debug)]
pub struct Capture {
    name: String,
    window: Window,
    format: Format,
    interfaces: Vec<Interface>,
    /// Packets returned.
    packets: u64,
    length: Option<u64>,
    /// Of a compressed file: how, and how far it is read.
    packed: Option<(Packing, Arc<Progress>)>,
    warnings: Vec<String>,
    /// Set at the end of the file and at the first error: nothing is returned after it.
    ended: bool,
}

impl Capture {
    /// Opens a file, or standard input for `-`. Formats are told apart by content.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        if path == "-" {
            return Self::new("standard input", Box::new(io::stdin()));
        }
        let name = path.display().to_string();
        let opened = File::open(path).and_then(|file| {
            let about = file.metadata()?;
            // Opening a directory succeeds; only reading it would fail.
            if about.is_dir() { Err(io::ErrorKind::IsADirectory.into()) } else { Ok((file, about)) }
        });
        let (file, about) =
            opened.map_err(|cause| CaptureError::Open { name: name.clone(), cause })?;
        let mut capture = Self::new(name, Box::new(file))?;
        capture.length = about.is_file().then_some(about.len());
        Ok(capture)
    }

    /// Reads from any stream, plain or compressed. `name` is what messages call it. No extra buffering is needed.
    pub fn new(
        name: impl Into<String>,
        source: Box<dyn Read + Send>,
    ) -> Result<Self, CaptureError> {
        let (name, mut window) = (name.into(), Window::new(source));
        // The longest first bytes that are known are eight; a shorter file is judged by what it has.
        if let Err(cause) = window.fill(8) {
            return Err(CaptureError::Read { name, offset: window.offset(), cause });
        }
        let packed = match Packing::of(window.bytes()) {
            None => None,
            Some(packing) => {
                let unpacked = Unpacked::new(packing, window.into_source());
                let progress = unpacked.progress();
                let packed = Some((packing, progress));
                let begun = Aside::new(unpacked).and_then(|source| {
                    let mut inside = Window::new(Box::new(source));
                    inside.fill(8).map(|_| inside)
                });
                window = match begun {
                    Ok(inside) => inside,
                    Err(cause) => return Err(failed(name, &packed, 1, 0, cause)),
                };
                packed
            }
        };
        let mut interfaces = Vec::new();
        let format = if classic::is_magic(window.bytes()) {
            match Classic::new(&mut window) {
                Ok((classic, interface)) => {
                    interfaces.push(interface);
                    Format::Classic(classic)
                }
                Err(fault) => return Err(at_start(name, &packed, fault)),
            }
        } else if blocks::is_magic(window.bytes()) {
            Format::Blocks(Blocks::new())
        } else {
            return Err(match &packed {
                None => not_a_capture(&name, window.bytes()),
                Some((packing, progress)) => {
                    not_a_capture_inside(&name, packing.name(), progress.is_cut(), window.bytes())
                }
            });
        };
        let (packets, length, warnings) = (0, None, Vec::new());
        let ended = false;
        Ok(Self { name, window, format, interfaces, packets, length, packed, warnings, ended })
    }

    /// The next packet, or `None` at the end. A file that ends inside a record ends there, with a warning. After an
    /// error there are no more packets.
    #[inline]
    #[expect(
        clippy::should_implement_trait,
        reason = "the record borrows from the reader, an iterator's cannot"
    )]
    pub fn next(&mut self) -> Result<Option<Record<'_>>, CaptureError> {
        if self.ended {
            return Ok(None);
        }
        if let Format::Classic(classic) = &self.format
            && let Some((timestamp, original_len, length)) = classic.at_hand(self.window.bytes())
        {
            self.packets += 1;
            let link = classic.link();
            let data = self.window.take(length).get(classic::RECORD_HEADER..).unwrap_or_default();
            return Ok(Some(Record {
                number: self.packets,
                timestamp,
                interface: 0,
                interface_name: "",
                link,
                data,
                original_len: original_len.max(data.len() as u32),
                comment: None,
            }));
        }
        self.next_located()
    }

    /// The packets that come next, as far as they are at hand already and follow each other without more.
    #[inline]
    pub fn ahead(&self) -> impl Iterator<Item = &[u8]> {
        let mut bytes = self.window.bytes();
        let classic = match &self.format {
            Format::Classic(classic) if classic.link() == LinkType::ETHERNET => Some(classic),
            _ => None,
        };
        std::iter::from_fn(move || {
            let (_, _, length) = classic?.at_hand(bytes)?;
            let (record, rest) = bytes.split_at_checked(length)?;
            bytes = rest;
            record.get(classic::RECORD_HEADER..)
        })
    }

    fn next_located(&mut self) -> Result<Option<Record<'_>>, CaptureError> {
        let found = match &mut self.format {
            Format::Classic(classic) => classic.locate(&mut self.window),
            Format::Blocks(blocks) => blocks.locate(&mut self.window, &mut self.interfaces),
        };
        match found {
            Ok(Some(located)) => {
                self.packets += 1;
                let bytes = self.window.take(located.length);
                let data = bytes.get(located.data).unwrap_or_default();
                let comment = match &self.format {
                    Format::Blocks(blocks) if !blocks.comments.is_empty() => {
                        Some(&*blocks.comments)
                    }
                    _ => None,
                };
                Ok(Some(Record {
                    number: self.packets,
                    timestamp: located.timestamp,
                    interface: located.interface,
                    interface_name: name_of(&self.interfaces, located.interface),
                    link: located.link,
                    data,
                    original_len: located.original_len.max(data.len() as u32),
                    comment,
                }))
            }
            Ok(None) => self.end(None),
            Err(fault) => self.end(Some(fault)),
        }
    }

    /// Notes what is to be said about the whole file, and gives the fault its place.
    #[cold]
    fn end(&mut self, fault: Option<Fault>) -> Result<Option<Record<'_>>, CaptureError> {
        self.ended = true;
        let (name, packets) = (&self.name, self.packets);
        if let Format::Blocks(Blocks { timeless, unknown, first_unknown, .. }) = self.format {
            if unknown > 0 {
                let text = format!(
                    "{name}: {unknown} blocks of unknown type passed over, the first {first_unknown:#x}"
                );
                self.warnings.push(text);
            }
            if timeless > 0 {
                self.warnings.push(format!(
                    "{name}: {timeless} packets without a time got the time of the one before"
                ));
            }
        }
        let offset = self.window.offset();
        // Places inside a compressed file are those of what is in it.
        let inside = match &self.packed {
            Some((packing, _)) => format!("{name} ({})", packing.name()),
            None => name.clone(),
        };
        let result = match fault {
            None => Ok(None),
            Some(Fault::Cut(start)) => {
                let left = offset + self.window.bytes().len() as u64 - start;
                self.warnings.push(format!(
                    "{inside}: cut after packet {packets}: {left} bytes of an incomplete record at byte {start} ignored"
                ));
                Ok(None)
            }
            Some(Fault::Io(cause)) => {
                Err(failed(name.clone(), &self.packed, packets + 1, offset, cause))
            }
            Some(Fault::Corrupt(what)) => {
                Err(CaptureError::Corrupt { name: inside, packet: packets + 1, offset, what })
            }
        };
        if let Some((packing, progress)) = &self.packed {
            let (format, at) = (packing.name(), progress.consumed());
            if progress.is_cut() {
                self.warnings.push(format!(
                    "{name}: the {format} stream is cut at byte {at}; the packets up to there count"
                ));
            }
            if progress.has_trailing() {
                self.warnings.push(format!(
                    "{name}: what follows the {format} stream at byte {at} is ignored"
                ));
            }
        }
        result
    }

    /// What messages call the capture.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Interfaces seen so far, over all sections of the file.
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// Lines about packets or blocks that were left out. Complete once [`next`](Self::next) has returned `None` or an
    /// error.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Bytes of the file that are done with; of a compressed one those that were decompressed.
    pub fn bytes_read(&self) -> u64 {
        match &self.packed {
            Some((_, progress)) => progress.consumed(),
            None => self.window.offset(),
        }
    }

    /// Length of the file in bytes; unknown for a pipe.
    pub fn length(&self) -> Option<u64> {
        self.length
    }
}

/// The name of an interface.
#[inline]
fn name_of(interfaces: &[Interface], number: u32) -> &str {
    interfaces.get(number as usize).map_or("", |interface| &interface.name)
}

/// Reading failed: the system did, or a compressed stream is broken. `packet` is the one that was to be read.
fn failed(
    name: String,
    packed: &Option<(Packing, Arc<Progress>)>,
    packet: u64,
    offset: u64,
    cause: io::Error,
) -> CaptureError {
    let Some((packing, progress)) = packed else {
        return CaptureError::Read { name, offset, cause };
    };
    let offset = progress.consumed();
    if cause.kind() != io::ErrorKind::InvalidData {
        return CaptureError::Read { name, offset, cause };
    }
    let (format, what) = (packing.name(), cause.to_string());
    CaptureError::Stream { name, format, packet, offset, what }
}

/// A fault in the file header.
fn at_start(name: String, packed: &Option<(Packing, Arc<Progress>)>, fault: Fault) -> CaptureError {
    match fault {
        Fault::Io(cause) => failed(name, packed, 1, 0, cause),
        Fault::Corrupt(what) => CaptureError::Header { name, what },
        Fault::Cut(_) => CaptureError::Header { name, what: "cut".into() },
    }
}
