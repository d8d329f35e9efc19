//! Captures inside gzip (RFC 1952) and zstd (RFC 8878), decompressed while they are read.
//!
//! Both formats are chains of members or frames, each of which is decompressed in turn. Memory is what the window
//! of the format takes: 32 KiB in gzip, what the frame asks for in zstd, up to [`MAX_WINDOW`].

use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use flate2::bufread::GzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// Largest zstd window that is granted, in bytes: what `zstd -d` grants without `--memory`.
const MAX_WINDOW: u64 = 128 << 20;

/// A format that is decompressed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Gzip,
    Zstd,
}

impl Packing {
    /// The format of a file that starts so.
    pub(super) fn of(head: &[u8]) -> Option<Self> {
        match head {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            // A skippable frame, such as seekable files and pzstd put first.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The word for messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// How far a compressed stream was read, and how it ended: shared with whoever reads what comes out of it.
#[derive(Debug, Default)]
pub(super) struct Progress {
    consumed: AtomicU64,
    ended: AtomicBool,
    cut: AtomicBool,
    trailing: AtomicBool,
}

impl Progress {
    /// Bytes of the compressed file that are done with.
    pub(super) fn consumed(&self) -> u64 {
        self.consumed.load(Ordering::Relaxed)
    }

    /// Whether the file ended inside a member or frame.
    pub(super) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    /// Whether something that is no member or frame stands behind the last one.
    pub(super) fn has_trailing(&self) -> bool {
        self.trailing.load(Ordering::Relaxed)
    }
}

type Source = BufReader<Box<dyn Read + Send>>;

/// The compressed bytes, counted.
struct Counted {
    source: Source,
    progress: Arc<Progress>,
}

impl Counted {
    fn is_at_end(&mut self) -> io::Result<bool> {
        Ok(self.fill_buf()?.is_empty())
    }
}

impl BufRead for Counted {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let bytes = loop {
            match self.source.fill_buf() {
                Ok(_) => break self.source.buffer(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        };
        if bytes.is_empty() {
            self.progress.ended.store(true, Ordering::Relaxed);
        }
        Ok(bytes)
    }

    fn consume(&mut self, n: usize) {
        self.source.consume(n);
        self.progress.consumed.fetch_add(n as u64, Ordering::Relaxed);
    }
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let n = bytes.len().min(buffer.len());
        buffer[..n].copy_from_slice(&bytes[..n]);
        self.consume(n);
        Ok(n)
    }
}

/// What is being read.
enum State {
    /// The start of a member or frame.
    Between(Counted, Box<FrameDecoder>),
    Gzip(Box<GzDecoder<Counted>>),
    Zstd(Counted, Box<FrameDecoder>),
    Ended,
}

/// Decompressed bytes.
pub(super) struct Unpacked {
    packing: Packing,
    state: State,
    progress: Arc<Progress>,
}

impl Unpacked {
    /// What is in `source`, which starts with the magic of `packing`.
    pub(super) fn new(packing: Packing, source: Box<dyn Read + Send>) -> Self {
        let progress = Arc::new(Progress::default());
        let source = BufReader::with_capacity(64 * 1024, source);
        let mut decoder = Box::new(FrameDecoder::new());
        decoder.set_max_window_size(MAX_WINDOW);
        let counted = Counted { source, progress: progress.clone() };
        Self { packing, state: State::Between(counted, decoder), progress }
    }

    pub(super) fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }

    /// Begins the next member or frame, or ends.
    fn begin(&self, mut source: Counted, mut decoder: Box<FrameDecoder>) -> io::Result<State> {
        if source.is_at_end()? {
            return Ok(State::Ended);
        }
        let start = source.progress.consumed();
        if self.packing == Packing::Gzip {
            if start > 0 && source.fill_buf()?.first() != Some(&0x1f) {
                return Ok(self.trailing());
            }
            return Ok(State::Gzip(Box::new(GzDecoder::new(source))));
        }
        match decoder.init(&mut source) {
            Ok(()) => {}
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length,
                ..
            })) => {
                let length = u64::from(length);
                if io::copy(&mut (&mut source).take(length), &mut io::sink())? < length {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                return Ok(State::Between(source, decoder));
            }
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::BadMagicNumber(
                _,
            ))) if start > 0 => return Ok(self.trailing()),
            Err(FrameDecoderError::WindowSizeTooBig { requested, .. }) => {
                return Err(broken(format!(
                    "its window of {} MiB is over the limit of {} MiB; decompress first with zstd -dc --long=31",
                    requested >> 20,
                    MAX_WINDOW >> 20
                )));
            }
            Err(error) => return Err(broken(error)),
        }
        Ok(State::Zstd(source, decoder))
    }

    fn trailing(&self) -> State {
        self.progress.trailing.store(true, Ordering::Relaxed);
        State::Ended
    }

    fn step(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match &mut self.state {
            State::Ended => return Ok(Some(0)),
            State::Between(..) => {}
            State::Gzip(member) => match member.read(buffer)? {
                0 => {}
                n => return Ok(Some(n)),
            },
            State::Zstd(source, decoder) => {
                while decoder.can_collect() == 0 && !decoder.is_finished() {
                    let one = BlockDecodingStrategy::UptoBlocks(1);
                    decoder.decode_blocks(&mut *source, one).map_err(broken)?;
                }
                match decoder.read(buffer)? {
                    0 => {}
                    n => return Ok(Some(n)),
                }
            }
        }
        self.state = match std::mem::replace(&mut self.state, State::Ended) {
            State::Ended => State::Ended,
            State::Between(source, decoder) => self.begin(source, decoder)?,
            // A decoder that has not begun holds no memory to speak of.
            State::Gzip(member) => State::Between(member.into_inner(), Box::default()),
            State::Zstd(source, decoder) => State::Between(source, decoder),
        };
        Ok(None)
    }
}

impl Read for Unpacked {
    /// A cut stream ends there, and its progress says so. A broken one is an error of kind `InvalidData`.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match self.step(buffer) {
                Ok(Some(n)) => return Ok(n),
                Ok(None) => {}
                Err(error) => {
                    self.state = State::Ended;
                    // Whoever asked for more than there was did so because the stream was not at its end.
                    if self.progress.ended.load(Ordering::Relaxed) {
                        self.progress.cut.store(true, Ordering::Relaxed);
                        return Ok(0);
                    }
                    return Err(kept_or_broken(error));
                }
            }
        }
    }
}

/// An error of the system stays what it is; one of a decoder says that the stream is broken.
fn kept_or_broken(error: io::Error) -> io::Error {
    let decoders = [
        ErrorKind::InvalidInput,
        ErrorKind::InvalidData,
        ErrorKind::UnexpectedEof,
        ErrorKind::Other,
    ];
    let of_system = error.raw_os_error().is_some();
    if of_system || !decoders.contains(&error.kind()) { error } else { broken(error) }
}

fn broken(cause: impl std::fmt::Display) -> io::Error {
    let line: String =
        cause.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    io::Error::new(ErrorKind::InvalidData, line)
}

#[cfg(test)]
mod tests;
