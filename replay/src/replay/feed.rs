//! Packets of one or several captures, in the order of time.
//!
//! [`Inputs`] is the door by which all commands take their captures: what [`Reading`] asks for (clocks set right, copies
//! dropped, a span of time, tunnels taken off) is done behind it.

mod clocks;
mod copies;
pub(super) mod decap;
mod identity;
pub mod source;

use std::fs::File;
use std::io::{self, Seek};
use std::path::{Path, PathBuf};

use twinpath_sim::frame::Frame;

use crate::capture::{Capture, CaptureError, Direction, LinkError, LinkType, Record, to_ethernet};
use crate::failure::Failure;
use crate::moment::{self, Moment};
use clocks::Clocks;
use copies::{Copies, Sample};
use source::Source;

/// A packet as captured, from the Ethernet header on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Captured<'a> {
    /// Nanoseconds since 1970-01-01 00:00:00 UTC.
    pub timestamp: u64,
    /// The captured bytes; empty where `broken` says why.
    pub data: &'a [u8],
    /// Length of the whole frame in bytes, at least `data.len()`.
    pub original_len: u32,
    /// Why there is no Ethernet frame.
    pub broken: Option<&'a LinkError>,
    /// The comment that the capture has on it.
    pub comment: Option<&'a str>,
    /// Name of the interface where it was captured; empty where the capture does not say.
    pub interface: &'a str,
    /// The node where it was captured; empty where nobody said.
    pub node: &'a str,
    /// Where it was captured, in numbers.
    pub place: Place,
}

/// Where a packet was captured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Number of the capture, from 0, in the order of their names.
    pub capture: u32,
    /// Number of the interface in the capture, from 0.
    pub interface: u32,
    /// Number of the interface in the kernel, where the link type tells (Linux cooked v2).
    pub ifindex: Option<u32>,
    /// Which way it went there, where the link type tells (Linux cooked).
    pub direction: Option<Direction>,
    /// Whether packets of the same place are of the same interface; not so in the first cooked format.
    pub is_known: bool,
}

/// How captures are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// What to add to the times of captures: `NAME=LENGTH`, by node, path or file name.
    pub offsets: Vec<String>,
    /// Drop packets that were seen at another place within the last 10 ms.
    pub dedup: bool,
    /// Leave out what was captured before.
    pub since: Option<Moment>,
    /// Leave out what was captured then or later.
    pub until: Option<Moment>,
    /// Take off one tunnel header.
    pub decap: bool,
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
    sources: Vec<Source>,
    paths: Vec<PathBuf>,
    reading: Reading,
    /// Standard input, if it is among them and was stored.
    spool: Option<File>,
}

impl Inputs {
    /// Inputs by name, `FILE` or `NODE=FILE`, `-` being standard input. Where they will be read `twice`, standard
    /// input is stored in a temporary file.
    pub fn new(names: &[PathBuf], reading: &Reading, twice: bool) -> Result<Self, Failure> {
        let mut sources: Vec<Source> = names.iter().map(|name| Source::new(name)).collect();
        let stdin = sources.iter().filter(|source| source.is_stdin()).count();
        if stdin > 1 {
            return Err(Failure::Usage("standard input is named twice; name it once".into()));
        }
        source::set_offsets(&mut sources, &reading.offsets)?;
        let spool = (stdin == 1 && twice).then(spool).transpose()?;
        let paths = sources.iter().map(|source| source.path.clone()).collect();
        Ok(Self { sources, paths, reading: reading.clone(), spool })
    }

    /// Opens all of them, from the start.
    pub fn open(&self) -> Result<Feed, Failure> {
        let captures: Result<Vec<_>, _> = self.paths.iter().map(|path| self.one(path)).collect();
        let mut captures = captures?;
        let plain = Reading { offsets: Vec::new(), ..self.reading.clone() } == Reading::default();
        let untouched = plain && self.sources.iter().all(|source| source.offset == 0);
        if untouched
            && captures.len() == 1
            && let Some(capture) = captures.pop()
        {
            return Ok(Feed(Kind::Single(Single::new(capture, &self.sources))));
        }
        Ok(Feed(Kind::Merge(Box::new(Merge::new(captures, &self.sources, &self.reading)))))
    }

    /// The files, as named.
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
pub struct Feed(Kind);

#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one feed, and the larger variant is the fast one"
)]
enum Kind {
    Single(Single),
    Merge(Box<Merge>),
}

/// One capture, read as it is: its packets are borrowed.
#[derive(Debug)]
struct Single {
    capture: Capture,
    node: String,
    /// For frames with a made-up link header.
    buffer: Vec<u8>,
    /// Why the packet returned last has no frame.
    error: Option<LinkError>,
    /// Of a capture that may have packets of several interfaces.
    sample: Option<Box<Sample>>,
}

/// Several captures, or one that is not read as it is: their next packets are copied, to compare their times.
#[derive(Debug)]
struct Merge {
    /// They, each with its next packet.
    heads: Vec<Head>,
    /// The packet returned last.
    current: Next,
    sieve: Sieve,
}

/// A capture and its next packet.
#[derive(Debug)]
struct Head {
    capture: Capture,
    /// Its number, from 0.
    number: u32,
    source: Source,
    decap: bool,
    next: Next,
    state: State,
    /// For frames with a made-up link header.
    buffer: Vec<u8>,
}

/// A copy of a packet.
#[derive(Debug, Default)]
struct Next {
    timestamp: u64,
    data: Vec<u8>,
    original_len: u32,
    broken: Option<LinkError>,
    comment: Option<String>,
    interface: String,
    place: Place,
}

#[derive(Debug)]
enum State {
    Ready,
    Ended,
    Failed(CaptureError),
}

impl Feed {
    /// The next packet by time; of those of the same time, that of the file named first.
    #[inline]
    #[expect(clippy::should_implement_trait, reason = "the packet borrows from the feed")]
    pub fn next(&mut self) -> Result<Option<Captured<'_>>, CaptureError> {
        match &mut self.0 {
            Kind::Single(Single { capture, node, buffer, error, sample }) => {
                // Borrowed and not moved out, so that the record need not be copied.
                let next = capture.next();
                match &next {
                    Ok(Some(record)) => {
                        let packet = captured(record, buffer, error, 0, node);
                        if let Some(sample) = sample {
                            sample.look(&packet);
                        }
                        Ok(Some(packet))
                    }
                    Ok(None) => Ok(None),
                    Err(_) => next.map(|_| None),
                }
            }
            Kind::Merge(merge) => merge.next(),
        }
    }

    /// Frames that come next, where they are at hand: none of several captures.
    #[inline]
    pub fn ahead(&self) -> impl Iterator<Item = &[u8]> {
        let single = match &self.0 {
            Kind::Single(single) => Some(&single.capture),
            Kind::Merge(_) => None,
        };
        single.into_iter().flat_map(Capture::ahead)
    }

    /// The captures.
    pub fn captures(&self) -> impl Iterator<Item = &Capture> {
        let (single, heads) = match &self.0 {
            Kind::Single(single) => (Some(&single.capture), [].as_slice()),
            Kind::Merge(merge) => (None, merge.heads.as_slice()),
        };
        single.into_iter().chain(heads.iter().map(|head| &head.capture))
    }

    /// Lines for the user about the captures: what was left out of them, and what looks odd. Complete at the end.
    pub fn notes(&self) -> Vec<String> {
        let warnings = self.captures().flat_map(Capture::warnings);
        let mut notes: Vec<String> = warnings.map(|text| format!("warning: {text}")).collect();
        match &self.0 {
            Kind::Single(single) => {
                notes.extend(single.sample.as_ref().and_then(|sample| sample.note()));
            }
            Kind::Merge(merge) => merge.notes(&mut notes),
        }
        notes
    }
}

impl Single {
    fn new(capture: Capture, sources: &[Source]) -> Self {
        // A classic capture has one interface; only a cooked one is of several devices.
        let cooked = |link| matches!(link, LinkType::LINUX_SLL | LinkType::LINUX_SLL2);
        let one_place =
            capture.interfaces().first().is_some_and(|interface| !cooked(interface.link));
        Self {
            capture,
            node: sources.first().map(|source| source.node.clone()).unwrap_or_default(),
            buffer: Vec::new(),
            error: None,
            sample: (!one_place).then(Box::default),
        }
    }
}

#[inline]
fn captured<'a>(
    record: &Record<'a>,
    buffer: &'a mut Vec<u8>,
    error: &'a mut Option<LinkError>,
    capture: u32,
    node: &'a str,
) -> Captured<'a> {
    let place = Place {
        capture,
        interface: record.interface,
        is_known: record.link != LinkType::LINUX_SLL,
        ..Place::default()
    };
    let packet = Captured {
        timestamp: record.timestamp,
        comment: record.comment,
        interface: record.interface_name,
        node,
        place,
        ..Captured::default()
    };
    match to_ethernet(record, buffer) {
        Ok(frame) => Captured {
            data: frame.data,
            original_len: frame.original_len,
            place: Place { ifindex: frame.ifindex, direction: frame.direction, ..place },
            ..packet
        },
        Err(cause) => {
            let broken = Some(&*error.insert(cause));
            Captured { original_len: record.original_len, broken, ..packet }
        }
    }
}

impl Merge {
    fn new(captures: Vec<Capture>, sources: &[Source], reading: &Reading) -> Self {
        let heads =
            captures.into_iter().zip(sources).enumerate().map(|(number, (capture, source))| {
                let mut head = Head {
                    capture,
                    // There are not more captures than the system opens files.
                    number: number as u32,
                    source: source.clone(),
                    decap: reading.decap,
                    next: Next::default(),
                    state: State::Ended,
                    buffer: Vec::new(),
                };
                head.advance();
                head
            });
        let heads: Vec<Head> = heads.collect();
        let sieve = Sieve::new(heads.len(), reading);
        Self { heads, current: Next::default(), sieve }
    }

    fn next(&mut self) -> Result<Option<Captured<'_>>, CaptureError> {
        loop {
            if let Some(head) =
                self.heads.iter_mut().find(|head| matches!(head.state, State::Failed(_)))
                && let State::Failed(error) = std::mem::replace(&mut head.state, State::Ended)
            {
                return Err(error);
            }
            let ready = self.heads.iter_mut().filter(|head| matches!(head.state, State::Ready));
            let Some(first) = ready.min_by_key(|head| head.next.timestamp) else {
                return Ok(None);
            };
            std::mem::swap(&mut self.current, &mut first.next);
            first.advance();
            match self.sieve.judge(&self.current.view("")) {
                Judgement::Keep => break,
                Judgement::LeaveOut => {}
                Judgement::End => return Ok(None),
            }
        }
        let number = self.current.place.capture as usize;
        let node = self.heads.get(number).map_or("", |head| &head.source.node);
        Ok(Some(self.current.view(node)))
    }

    fn notes(&self, notes: &mut Vec<String>) {
        let sieve = &self.sieve;
        if let Some(copies) = &sieve.copies {
            notes.push(format!("note: {} copies of packets dropped (--dedup)", copies.found));
        }
        notes.extend(sieve.sample.as_ref().and_then(Sample::note));
        notes.extend(sieve.nothing_left());
        let late = sieve.clocks.as_ref().map(Clocks::late).unwrap_or_default();
        for (head, late) in self.heads.iter().zip(late) {
            let Some((late, packets)) = late else { continue };
            let (label, size) = (head.source.label(), moment::words(late.saturating_abs()));
            let way = if late > 0 { "late" } else { "early" };
            let offset = moment::words(head.source.offset.saturating_sub(late));
            let first = self.heads.first().map(|head| head.source.label()).unwrap_or_default();
            let sign = if offset.starts_with('-') { "" } else { "+" };
            notes.push(format!(
                "note: {label} looks {size} {way} against {first}, by {packets} packets that are in two captures; \
                 --offset {label}={sign}{offset} corrects it"
            ));
        }
    }
}

impl Next {
    fn view<'a>(&'a self, node: &'a str) -> Captured<'a> {
        Captured {
            timestamp: self.timestamp,
            data: &self.data,
            original_len: self.original_len,
            broken: self.broken.as_ref(),
            comment: self.comment.as_deref(),
            interface: &self.interface,
            node,
            place: self.place,
        }
    }
}

impl Head {
    fn advance(&mut self) {
        let mut error = None;
        let number = self.number;
        self.state = match self.capture.next() {
            Ok(None) => State::Ended,
            Err(error) => State::Failed(error),
            Ok(Some(record)) => {
                let packet = captured(&record, &mut self.buffer, &mut error, number, "");
                let next = &mut self.next;
                next.timestamp = packet.timestamp.saturating_add_signed(self.source.offset);
                next.original_len = packet.original_len;
                next.broken = packet.broken.copied();
                next.data.clear();
                next.data.extend_from_slice(packet.data);
                next.comment = packet.comment.map(str::to_owned);
                next.interface.clear();
                next.interface.push_str(packet.interface);
                next.place = packet.place;
                if self.decap {
                    decap::take_off(&mut next.data, &mut next.original_len);
                }
                State::Ready
            }
        };
    }
}

/// What becomes of a packet of a merge.
enum Judgement {
    Keep,
    LeaveOut,
    /// It and all that follow are left out.
    End,
}

/// Packets may come so many nanoseconds late: when one is that far behind `--until`, no other is waited for.
const PATIENCE: u64 = 10_000_000_000;

/// What is left out of a merge, and what is noted of the rest.
#[derive(Debug)]
struct Sieve {
    since: Option<Moment>,
    until: Option<Moment>,
    copies: Option<Copies>,
    sample: Option<Sample>,
    clocks: Option<Clocks>,
    first: Option<u64>,
    last: u64,
    kept: bool,
}

impl Sieve {
    fn new(captures: usize, reading: &Reading) -> Self {
        Self {
            since: reading.since,
            until: reading.until,
            copies: reading.dedup.then(Copies::default),
            sample: (!reading.dedup).then(Sample::default),
            clocks: (captures > 1).then(|| Clocks::new(captures)),
            first: None,
            last: 0,
            kept: false,
        }
    }

    fn judge(&mut self, packet: &Captured<'_>) -> Judgement {
        let now = packet.timestamp;
        let first = *self.first.get_or_insert(now);
        self.last = self.last.max(now);
        if let Some(until) = self.until.map(|until| until.nanoseconds(first))
            && now >= until
        {
            let end = now >= until.saturating_add(PATIENCE);
            return if end { Judgement::End } else { Judgement::LeaveOut };
        }
        if self.since.is_some_and(|since| now < since.nanoseconds(first)) {
            return Judgement::LeaveOut;
        }
        if let Some(clocks) = &mut self.clocks {
            clocks.look(packet);
        }
        if let Some(sample) = &mut self.sample {
            sample.look(packet);
        }
        if self.copies.as_mut().is_some_and(|copies| copies.is_copy(packet)) {
            return Judgement::LeaveOut;
        }
        self.kept = true;
        Judgement::Keep
    }

    /// Why there is no packet, if --since and --until are the reason.
    fn nothing_left(&self) -> Option<String> {
        let first = self.first.filter(|_| !self.kept)?;
        let time = crate::report::json::rfc3339;
        Some(format!(
            "warning: no packet between --since and --until: those that were read are from {} to {}",
            time(first),
            time(self.last)
        ))
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
            Captured { data, original_len, ..Captured::default() }.fill(&mut frame);
            assert_eq!(frame.bytes.len(), length);
            assert!(frame.bytes.starts_with(data));
            assert!(frame.bytes[data.len()..].iter().all(|byte| *byte == 0));
        }
    }
}
