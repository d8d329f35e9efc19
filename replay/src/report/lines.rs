//! Lines of output: written as they come, or only the last of them.

use std::collections::VecDeque;
use std::io::{self, Write};

/// A writer of whole lines.
pub struct Lines {
    output: Box<dyn Write>,
    /// How many lines are kept until the end, and they.
    kept: Option<(usize, VecDeque<Vec<u8>>)>,
}

impl Lines {
    /// Lines on `output`; only the `last` ones if that is given.
    pub fn new(output: Box<dyn Write>, last: Option<usize>) -> Self {
        Self { output, kept: last.map(|last| (last, VecDeque::new())) }
    }

    /// A line that may be forgotten for later ones, with its end.
    pub fn put(&mut self, line: &[u8]) -> io::Result<()> {
        let Some((last, kept)) = &mut self.kept else { return self.output.write_all(line) };
        // The oldest one's memory serves again.
        let mut slot = if kept.len() >= *last { kept.pop_front() } else { Some(Vec::new()) };
        if let Some(mut slot) = slot.take().filter(|_| *last > 0) {
            slot.clear();
            slot.extend_from_slice(line);
            kept.push_back(slot);
        }
        Ok(())
    }

    /// Lines that others made.
    pub fn put_all(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.kept.is_none() {
            return self.output.write_all(lines);
        }
        lines.split_inclusive(|byte| *byte == b'\n').try_for_each(|line| self.put(line))
    }

    /// The writer behind them, once the lines that were kept are written.
    pub fn rest(&mut self) -> io::Result<&mut dyn Write> {
        if let Some((_, kept)) = self.kept.take() {
            for line in kept {
                self.output.write_all(&line)?;
            }
        }
        Ok(&mut *self.output)
    }

    /// The writer behind them, for what comes before all lines.
    pub fn before(&mut self) -> &mut dyn Write {
        &mut *self.output
    }
}
