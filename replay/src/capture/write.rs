//! Writing: a pcapng with an interface per stage, and a plain pcap for reproductions.
//!
//! Both write many small pieces: hand them a [`std::io::BufWriter`] when the output is a file.

use std::borrow::Cow;
use std::io::{self, Write};

use pcap_file::pcap::{PcapHeader, PcapWriter, RawPcapPacket};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::pcapng::blocks::{ENHANCED_PACKET_BLOCK, RawBlock};
use pcap_file::pcapng::{PcapNgBlock, PcapNgWriter};
use pcap_file::{DataLink, Endianness, PcapError, TsResolution};

use super::Direction;
use super::record::MAX_CAPTURED;

/// Longest option value that is written, in bytes: the length has 16 bits, and the value is padded to 4.
const MAX_OPTION: usize = 65_532;

// Option codes of an enhanced packet block (pcapng draft, section 4.3).
const COMMENT: u16 = 1;
const FLAGS: u16 = 2;
const PACKET_ID: u16 = 5;
const VERDICT: u16 = 7;
/// First byte of a verdict option: an eBPF program at tc returned what follows, in 64 bits.
const VERDICT_TC: u8 = 1;

/// What is written beside a packet's bytes. The default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketOptions<'a> {
    /// Shown by Wireshark above the packet; cut at 65 532 bytes.
    pub comment: Option<&'a str>,
    /// The same on every copy of a packet: `frame.packet_id` in Wireshark.
    pub packet_id: Option<u64>,
    /// What the program at tc returned, a `TC_ACT_` value: `frame.verdict.ebpf_tc` in Wireshark.
    pub verdict: Option<u64>,
    /// Which way the packet went.
    pub direction: Option<Direction>,
}

/// Writes a pcapng, little-endian, with one interface per stage of a packet's way (`node1/in`, `node1/sim`).
///
/// All interfaces are Ethernet, in nanoseconds, with one snap length: tcpdump reads no file where they differ.
pub struct StageWriter<W: Write> {
    writer: PcapNgWriter<W>,
    stages: Vec<String>,
    /// Body of the block being written, kept for its capacity.
    body: Vec<u8>,
}

impl<W: Write> StageWriter<W> {
    /// Writes the section header, with `comment` (seed, command line), and the interfaces of the stages known now.
    pub fn new(writer: W, stages: &[&str], comment: &str) -> io::Result<Self> {
        let mut options = vec![SectionHeaderOption::UserApplication(Cow::Borrowed("twinpath"))];
        if !comment.is_empty() {
            options.insert(0, SectionHeaderOption::Comment(Cow::Owned(fit(comment).to_owned())));
        }
        let section =
            SectionHeaderBlock { endianness: Endianness::Little, options, ..Default::default() };
        let writer = PcapNgWriter::with_section_header(writer, section).map_err(io_error)?;
        let mut stages_written = Self { writer, stages: Vec::new(), body: Vec::new() };
        for stage in stages {
            stages_written.stage(stage)?;
        }
        Ok(stages_written)
    }

    /// The number of the stage of this name; adds the stage when it is new.
    pub fn stage(&mut self, name: &str) -> io::Result<u32> {
        if let Some(index) = self.stages.iter().position(|stage| stage == name) {
            return Ok(index as u32);
        }
        // The resolution must be said: without it times count as microseconds, and those written here are nanoseconds.
        let options = vec![
            InterfaceDescriptionOption::IfName(Cow::Borrowed(fit(name))),
            InterfaceDescriptionOption::IfTsResol(9),
        ];
        let interface = InterfaceDescriptionBlock {
            linktype: DataLink::ETHERNET,
            snaplen: MAX_CAPTURED,
            options,
        };
        self.writer.write_block(&interface.into_block()).map_err(io_error)?;
        self.stages.push(name.to_owned());
        Ok((self.stages.len() - 1) as u32)
    }

    /// Writes a copy of a packet. `timestamp` is in nanoseconds since the epoch; `original_len` is the whole frame's
    /// length in bytes. At most 262 144 bytes of `data` are written.
    pub fn write(
        &mut self,
        stage: u32,
        timestamp: u64,
        data: &[u8],
        original_len: u32,
        options: &PacketOptions<'_>,
    ) -> io::Result<()> {
        if stage as usize >= self.stages.len() {
            let text =
                format!("stage {stage} is not one of the {} of this file", self.stages.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let kept = &data[..data.len().min(MAX_CAPTURED as usize)];
        // By hand: pcap-file 2.0.0 keeps the options that carry packet ids and verdicts in a private module.
        let body = &mut self.body;
        body.clear();
        for word in [
            stage,
            (timestamp >> 32) as u32,
            timestamp as u32,
            kept.len() as u32,
            original_len.max(data.len() as u32),
        ] {
            body.extend_from_slice(&word.to_le_bytes());
        }
        body.extend_from_slice(kept);
        pad(body);
        put_options(body, options);
        let length = (body.len() + 12) as u32;
        let block = RawBlock {
            type_: ENHANCED_PACKET_BLOCK,
            initial_len: length,
            body: Cow::Borrowed(body),
            trailer_len: length,
        };
        self.writer.write_raw_block(&block).map_err(io_error)?;
        Ok(())
    }

    /// Flushes, and hands the output back.
    pub fn finish(self) -> io::Result<W> {
        let mut writer = self.writer.into_inner();
        writer.flush()?;
        Ok(writer)
    }
}

fn put_options(body: &mut Vec<u8>, options: &PacketOptions<'_>) {
    let before = body.len();
    if let Some(comment) = options.comment {
        put(body, COMMENT, &[fit(comment).as_bytes()]);
    }
    if let Some(direction) = options.direction {
        let flags: u32 = match direction {
            Direction::Inbound => 1,
            Direction::Outbound => 2,
        };
        put(body, FLAGS, &[&flags.to_le_bytes()]);
    }
    if let Some(id) = options.packet_id {
        put(body, PACKET_ID, &[&id.to_le_bytes()]);
    }
    if let Some(verdict) = options.verdict {
        put(body, VERDICT, &[&[VERDICT_TC], &verdict.to_le_bytes()]);
    }
    if body.len() > before {
        body.extend_from_slice(&[0; 4]); // opt_endofopt
    }
}

/// Appends one option. The parts of its value are at most [`MAX_OPTION`] bytes together.
fn put(body: &mut Vec<u8>, code: u16, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    body.extend_from_slice(&code.to_le_bytes());
    body.extend_from_slice(&(length as u16).to_le_bytes());
    parts.iter().for_each(|part| body.extend_from_slice(part));
    pad(body);
}

/// Fills up to 32 bits; everything before is a multiple of them.
fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

/// The text, cut at a character so that it fits an option.
fn fit(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_OPTION)]
}

fn io_error(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    }
}

/// Fraction of a second that a classic pcap counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Read by every tool; time is rounded down.
    Micro,
    /// Keeps the time as it is.
    Nano,
}

/// Writes a classic pcap of Ethernet frames, little-endian.
pub struct ClassicWriter<W: Write> {
    writer: PcapWriter<W>,
    precision: Precision,
}

impl<W: Write> ClassicWriter<W> {
    /// Writes the file header.
    pub fn new(writer: W, precision: Precision) -> io::Result<Self> {
        let ts_resolution = match precision {
            Precision::Micro => TsResolution::MicroSecond,
            Precision::Nano => TsResolution::NanoSecond,
        };
        let header = PcapHeader {
            snaplen: MAX_CAPTURED,
            datalink: DataLink::ETHERNET,
            ts_resolution,
            endianness: Endianness::Little,
            ..PcapHeader::default()
        };
        Ok(Self { writer: PcapWriter::with_header(writer, header).map_err(io_error)?, precision })
    }

    /// Writes a packet. `timestamp` is in nanoseconds since the epoch and must lie before February 2106;
    /// `original_len` is the whole frame's length in bytes. At most 262 144 bytes of `data` are written.
    pub fn write(&mut self, timestamp: u64, data: &[u8], original_len: u32) -> io::Result<()> {
        let Ok(ts_sec) = u32::try_from(timestamp / 1_000_000_000) else {
            let text = format!(
                "time {timestamp} ns is beyond the 32-bit seconds of a pcap; write a pcapng"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        };
        let nanoseconds = (timestamp % 1_000_000_000) as u32;
        let ts_frac = match self.precision {
            Precision::Micro => nanoseconds / 1_000,
            Precision::Nano => nanoseconds,
        };
        let kept = &data[..data.len().min(MAX_CAPTURED as usize)];
        // Raw, because pcap-file's checked form refuses packets that are longer than the snap length.
        let packet = RawPcapPacket {
            ts_sec,
            ts_frac,
            incl_len: kept.len() as u32,
            orig_len: original_len.max(data.len() as u32),
            data: Cow::Borrowed(kept),
        };
        self.writer.write_raw_packet(&packet).map_err(io_error)?;
        Ok(())
    }

    /// Flushes, and hands the output back.
    pub fn finish(self) -> io::Result<W> {
        let mut writer = self.writer.into_writer();
        writer.flush()?;
        Ok(writer)
    }
}

#[cfg(test)]
mod tests;
