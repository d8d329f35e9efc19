//! Packets of one or several captures, in the order of time.

use std::fs::File;
use std::io::{self, Seek};
use std::path::{Path, PathBuf};

use twinpath_sim::frame::Frame;

use crate::capture::{Capture, CaptureError, LinkError, Record, to_ethernet};
use crate::failure::Failure;

/// A packet as captured, from the Ethernet header on.
#[derive(Clone, Copy, Debug)]
pub struct Captured<'a> {
    /// Nanoseconds since 1970-01-01 00:00:00 UTC.
    pub timestamp: u64,
    /// The captured bytes; empty where `broken` says why.
    pub data: &'a [u8],
    /// Length of the whole frame in bytes, at least `data.len()`.
    pub original_len: u32,
    /// Why there is no Ethernet frame.
    pub broken: Option<&'a LinkError>,
}

/// Longest frame that a packet cut by the capture is filled up to.
const MAX_FRAME: usize = 262_144;

impl Captured<'_> {
    /// Puts the packet into a frame, with zeroes for what the capture cut off.
    #[inline]
    pub fn fill(&self, frame: &mut Frame) {
        frame.set(self.data);
        let length = (self.original_len as usize).min(MAX_FRAME);
        if length > frame.bytes.len() {
            frame.bytes.resize(length, 0);
        }
    }
}

/// Where captures are read from, as often as need be.
#[derive(Debug)]
pub struct Inputs {
    paths: Vec<PathBuf>,
    /// Standard input, if it is among them and was stored.
    spool: Option<File>,
}

impl Inputs {
    /// Inputs by name, `-` being standard input. Where they will be read `twice`, standard input is
    /// stored in a temporary file.
    pub fn new(paths: &[PathBuf], twice: bool) -> Result<Self, Failure> {
        let stdin = paths.iter().filter(|path| *path == "-").count();
        if stdin > 1 {
            return Err(Failure::Usage("standard input is named twice; name it once".into()));
        }
        let spool = (stdin == 1 && twice).then(spool).transpose()?;
        Ok(Self { paths: paths.to_vec(), spool })
    }

    /// Opens all of them, from the start.
    pub fn open(&self) -> Result<Feed, Failure> {
        let captures: Result<Vec<_>, _> = self.paths.iter().map(|path| self.one(path)).collect();
        let mut captures = captures?;
        Ok(match (captures.pop(), captures.is_empty()) {
            (Some(only), true) => Feed::Single { capture: only, buffer: Vec::new(), error: None },
            (last, _) => Feed::merge(captures.into_iter().chain(last)),
        })
    }

    /// The names, as given.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    fn one(&self, path: &Path) -> Result<Capture, Failure> {
        match &self.spool {
            Some(file) if path == "-" => {
                let mut file = file.try_clone().map_err(spooling)?;
                file.rewind().map_err(spooling)?;
                Ok(Capture::new("standard input", Box::new(file))?)
            }
            _ => Ok(Capture::open(path)?),
        }
    }
}

fn spool() -> Result<File, Failure> {
    let mut file = tempfile::tempfile().map_err(spooling)?;
    io::copy(&mut io::stdin().lock(), &mut file).map_err(spooling)?;
    Ok(file)
}

fn spooling(cause: io::Error) -> Failure {
    Failure::File {
        name: "standard input".into(),
        cause,
        advice: "without -f it is read twice and so stored in the temporary directory; \
                 set TMPDIR, or give a file",
    }
}

/// Captures that are being read.
#[derive(Debug)]
pub enum Feed {
    /// One: its packets are borrowed.
    Single {
        /// It.
        capture: Capture,
        /// For frames with a made-up link header.
        buffer: Vec<u8>,
        /// Why the packet returned last has no frame.
        error: Option<LinkError>,
    },
    /// Several: their next packets are copied, to compare their times.
    Merge {
        /// They, each with its next packet.
        heads: Vec<Head>,
        /// The packet returned last.
        current: Next,
    },
}

/// A capture and its next packet.
#[derive(Debug)]
pub struct Head {
    capture: Capture,
    next: Next,
    state: State,
}

/// A copy of a packet.
#[derive(Debug, Default)]
pub struct Next {
    timestamp: u64,
    data: Vec<u8>,
    original_len: u32,
    broken: Option<LinkError>,
}

#[derive(Debug)]
enum State {
    Ready,
    Ended,
    Failed(CaptureError),
}

impl Feed {
    fn merge(captures: impl Iterator<Item = Capture>) -> Self {
        let heads = captures.map(|capture| {
            let mut head = Head { capture, next: Next::default(), state: State::Ended };
            head.advance();
            head
        });
        Self::Merge { heads: heads.collect(), current: Next::default() }
    }

    /// The next packet by time; of those of the same time, that of the file named first.
    #[inline]
    #[expect(clippy::should_implement_trait, reason = "the packet borrows from the feed")]
    pub fn next(&mut self) -> Result<Option<Captured<'_>>, CaptureError> {
        match self {
            Self::Single { capture, buffer, error } => {
                // Borrowed and not moved out, so that the record need not be copied.
                let next = capture.next();
                match &next {
                    Ok(Some(record)) => Ok(Some(captured(record, buffer, error))),
                    Ok(None) => Ok(None),
                    Err(_) => next.map(|_| None),
                }
            }
            Self::Merge { heads, current } => next_of(heads, current),
        }
    }

    /// The captures.
    pub fn captures(&self) -> impl Iterator<Item = &Capture> {
        let (single, heads) = match self {
            Self::Single { capture, .. } => (Some(capture), [].as_slice()),
            Self::Merge { heads, .. } => (None, heads.as_slice()),
        };
        single.into_iter().chain(heads.iter().map(|head| &head.capture))
    }
}

#[inline]
fn captured<'a>(
    record: &Record<'a>,
    buffer: &'a mut Vec<u8>,
    error: &'a mut Option<LinkError>,
) -> Captured<'a> {
    let timestamp = record.timestamp;
    match to_ethernet(record, buffer) {
        Ok(frame) => {
            Captured { timestamp, data: frame.data, original_len: frame.original_len, broken: None }
        }
        Err(cause) => {
            let broken = Some(&*error.insert(cause));
            Captured { timestamp, data: &[], original_len: record.original_len, broken }
        }
    }
}

fn next_of<'a>(
    heads: &mut [Head],
    current: &'a mut Next,
) -> Result<Option<Captured<'a>>, CaptureError> {
    if let Some(head) = heads.iter_mut().find(|head| matches!(head.state, State::Failed(_)))
        && let State::Failed(error) = std::mem::replace(&mut head.state, State::Ended)
    {
        return Err(error);
    }
    let ready = heads.iter_mut().filter(|head| matches!(head.state, State::Ready));
    let Some(first) = ready.min_by_key(|head| head.next.timestamp) else { return Ok(None) };
    std::mem::swap(current, &mut first.next);
    first.advance();
    Ok(Some(Captured {
        timestamp: current.timestamp,
        data: &current.data,
        original_len: current.original_len,
        broken: current.broken.as_ref(),
    }))
}

impl Head {
    fn advance(&mut self) {
        let (mut buffer, mut error) = (Vec::new(), None);
        self.state = match self.capture.next() {
            Ok(None) => State::Ended,
            Err(error) => State::Failed(error),
            Ok(Some(record)) => {
                let packet = captured(&record, &mut buffer, &mut error);
                self.next.timestamp = packet.timestamp;
                self.next.original_len = packet.original_len;
                self.next.broken = packet.broken.copied();
                self.next.data.clear();
                self.next.data.extend_from_slice(packet.data);
                State::Ready
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_cut_off_is_filled_up_and_nothing_is_taken_away() {
        let large = vec![7; MAX_FRAME + 20]; // a packet of the largest size, with a header made up for it
        for (data, original_len, length) in [
            (&large[..60], 60, 60),
            (&large[..60], 1_514, 1_514),
            (&large[..60], u32::MAX, MAX_FRAME),
            (&large[..], u32::MAX, MAX_FRAME + 20),
        ] {
            let mut frame = Frame::default();
            Captured { timestamp: 0, data, original_len, broken: None }.fill(&mut frame);
            assert_eq!(frame.bytes.len(), length);
            assert!(frame.bytes.starts_with(data));
            assert!(frame.bytes[data.len()..].iter().all(|byte| *byte == 0));
        }
    }
}
