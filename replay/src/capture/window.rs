//! A sliding window over a byte stream.

use std::io::{self, ErrorKind, Read};

/// Bytes held at first. Two of them fit a usual level 2 cache; a record that is longer makes the window grow.
const START_SIZE: usize = 128 * 1024;

/// The part of a stream that was read and not yet taken. Memory does not depend on the stream's length.
pub(super) struct Window {
    source: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    /// `start <= end <= buffer.len()`: the bytes read and not yet taken.
    start: usize,
    end: usize,
    /// Stream offset of `buffer[0]`, in bytes.
    base: u64,
}

impl Window {
    pub(super) fn new(source: Box<dyn Read + Send>) -> Self {
        Self { source, buffer: vec![0; START_SIZE], start: 0, end: 0, base: 0 }
    }

    /// The stream with the bytes at hand put back.
    pub(super) fn into_source(mut self) -> Box<dyn Read + Send> {
        self.buffer.truncate(self.end);
        self.buffer.drain(..self.start);
        Box::new(io::Cursor::new(self.buffer).chain(self.source))
    }

    /// The bytes at hand.
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Stream offset of the first byte at hand, in bytes.
    pub(super) fn offset(&self) -> u64 {
        self.base + self.start as u64
    }

    /// Reads until `wanted` bytes are at hand and no further, so that a live stream is not held back. False when the
    /// stream ends first.
    #[inline]
    pub(super) fn fill(&mut self, wanted: usize) -> io::Result<bool> {
        if self.end - self.start >= wanted { Ok(true) } else { self.read_more(wanted) }
    }

    #[cold]
    fn read_more(&mut self, wanted: usize) -> io::Result<bool> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.base += self.start as u64;
        self.end -= self.start;
        self.start = 0;
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        }
        while self.end < wanted {
            let room = &mut self.buffer[self.end..];
            match self.source.read(room) {
                Ok(0) => return Ok(false),
                Ok(n) => self.end += n.min(room.len()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Takes the next `n` bytes, or what is at hand of them.
    #[inline]
    pub(super) fn take(&mut self, n: usize) -> &[u8] {
        let taken = self.start..self.end.min(self.start.saturating_add(n));
        self.start = taken.end;
        &self.buffer[taken]
    }

    /// Drops the next `n` bytes without keeping them, however many; returns how many there were.
    pub(super) fn skip(&mut self, n: u64) -> io::Result<u64> {
        let mut left = n;
        while left > 0 && self.fill(1)? {
            let step = usize::try_from(left).unwrap_or(usize::MAX);
            left -= self.take(step).len() as u64;
        }
        Ok(n - left)
    }
}

impl std::fmt::Debug for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Window").field("offset", &self.offset()).finish_non_exhaustive()
    }
}
