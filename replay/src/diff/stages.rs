//! The pcapng of what differs: both ways of every packet that does, each stage an interface.

use std::io::{self, Write};

use super::cause::Found;
use super::compare::Difference;
use super::side::View;
use crate::capture::{PacketOptions, StageWriter};
use crate::replay::feed::Captured;
use crate::report::stages::name;

/// Such a file.
pub struct Stages {
    writer: StageWriter<Box<dyn Write>>,
}

impl Stages {
    /// Writes the head of the file, with a comment about the run.
    pub fn new(output: Box<dyn Write>, comment: &str) -> io::Result<Self> {
        Ok(Self { writer: StageWriter::new(output, &[], comment)? })
    }

    /// Writes a packet: on `left/...` and `right/...` where each side has seen it, or as captured on
    /// `left/unsent` where nobody could send it.
    pub fn packet(
        &mut self,
        number: u64,
        packet: &Captured<'_>,
        cause: (&str, Found),
        differences: &[Difference],
        sides: [&View<'_>; 2],
    ) -> io::Result<()> {
        let (letter, found) = cause;
        let mut comment = format!("#{number} [{letter}]");
        if let Some(first) = found.follows {
            comment.push_str(&format!(" as packet {first}"));
        }
        for one in differences {
            comment.push_str(&format!(", {}: {} -> {}", one.field, one.left, one.right));
        }
        let options = PacketOptions {
            comment: Some(&comment),
            packet_id: Some(number),
            verdict: None,
            direction: None,
        };
        for (side, view) in ["left", "right"].into_iter().zip(sides) {
            let seen = view.recorder.seen();
            if seen.is_empty() {
                let stage = self.writer.stage(&format!("{side}/unsent"))?;
                let (time, length) = (packet.timestamp, packet.original_len);
                self.writer.write(stage, time, packet.data, length, &options)?;
            }
            for (place, frame) in seen {
                let stage = format!("{side}/{}", name(*place, view.topology));
                let stage = self.writer.stage(&stage)?;
                let length = u32::try_from(frame.bytes.len()).unwrap_or(u32::MAX);
                self.writer.write(stage, packet.timestamp, &frame.bytes, length, &options)?;
            }
        }
        Ok(())
    }

    /// Writes what is left.
    pub fn finish(self) -> io::Result<()> {
        self.writer.finish().map(drop)
    }
}
