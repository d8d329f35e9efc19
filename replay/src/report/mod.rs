//! What became of the packets, for people, for programs, and for Wireshark.

pub mod books;
pub mod chance;
pub mod flows;
pub mod html;
pub mod hubble;
pub mod jobs;
pub mod json;
pub mod lines;
pub mod page;
pub mod progress;
pub mod recorder;
pub mod save;
pub mod services;
pub mod serving;
pub mod share;
pub mod stages;
pub mod table;

use std::io;
use std::path::PathBuf;

use twinpath_control::model::State;
use twinpath_control::tables::{BackendName, Names};
use twinpath_core::parse::{Parsed, parse};
use twinpath_sim::topology::Topology;

use crate::cluster::Cluster;
use crate::replay::feed::Captured;
use crate::replay::outcome::{Outcome, Totals, Verdict};
use books::Books;
use recorder::Recorder;
use serving::Serving;

/// What all packets have in common.
pub struct Context<'a> {
    /// What numbers stand for.
    pub names: Names,
    /// The cluster.
    pub state: &'a State,
    /// Where it comes from.
    pub source: &'a str,
    /// The seed.
    pub seed: u64,
    /// The world's name.
    pub world: &'static str,
    /// Who serves where.
    pub serving: Serving,
}

/// A packet and what became of it.
pub struct Seen<'a> {
    /// Who is where.
    pub topology: &'a Topology,
    /// Its number, from 1.
    pub number: u64,
    /// As captured.
    pub packet: &'a Captured<'a>,
    /// What became of it.
    pub outcome: &'a Outcome,
    /// Where it was seen.
    pub recorder: &'a Recorder,
}

impl Seen<'_> {
    /// Its headers as it was sent, or else as captured; `None` where they cannot be read.
    pub fn sent(&self) -> Option<Parsed> {
        if let Some((_, frame)) = self.recorder.seen().first() {
            return parse(frame).ok().flatten();
        }
        let mut frame = twinpath_sim::frame::Frame::new(self.packet.data.to_vec());
        let length = self.packet.original_len as usize;
        if length > frame.bytes.len() && length <= 65_535 + 64 {
            frame.bytes.resize(length, 0);
        }
        parse(&frame).ok().flatten()
    }

    /// Its headers where it was seen last.
    pub fn last(&self) -> Option<Parsed> {
        self.recorder.seen().last().and_then(|(_, frame)| parse(frame).ok().flatten())
    }

    /// The name of a node.
    pub fn node(&self, node: usize) -> &str {
        self.topology.nodes.get(node).map_or("-", |node| &node.name)
    }
}

impl<'a> Context<'a> {
    /// Of a replay of a cluster.
    pub fn new(names: Names, cluster: &'a Cluster, seed: u64, world: &'static str) -> Self {
        let serving = Serving::new(cluster, &names);
        Self { names, state: &cluster.state, source: &cluster.source, seed, world, serving }
    }

    /// The backend that a packet was given or comes from.
    pub fn backend(&self, outcome: &Outcome) -> Option<(u32, &BackendName)> {
        let id = outcome.made.map(|made| made.decision.backend).filter(|id| *id != 0)?;
        Some((id, self.names.backends.get(&id)?))
    }
}

/// The end of a run.
pub struct Run<'a> {
    /// What became of the packets.
    pub totals: &'a Totals,
    /// How many flows they belong to.
    pub flows: usize,
    /// What became of those that are shown, where that is not all.
    pub shown: Option<Shown>,
    /// The sums that were asked for.
    pub books: &'a Books,
    /// Whether the whole input was read.
    pub complete: bool,
    /// The captures, as named.
    pub paths: &'a [PathBuf],
}

/// What became of the packets that are shown: by [`Verdict`], in the order of [`Verdict::ALL`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Shown([u64; 4]);

impl Shown {
    /// Counts one more.
    pub fn count(&mut self, verdict: Verdict) {
        if let Some(count) = self.0.get_mut(verdict as usize) {
            *count = count.saturating_add(1);
        }
    }

    /// How many had this verdict.
    pub fn with(&self, verdict: Verdict) -> u64 {
        self.0.get(verdict as usize).copied().unwrap_or_default()
    }

    /// How many there are.
    pub fn packets(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// A form of output.
pub trait Report {
    /// The time of the first packet of the input in nanoseconds, whether it is shown or not.
    fn begin(&mut self, _timestamp: u64) {}
    /// A packet's line.
    fn packet(&mut self, context: &Context<'_>, seen: &Seen<'_>) -> io::Result<()>;
    /// Goes on behind lines of others: there is no head, and `first` is the time of the input's first packet.
    fn resume(&mut self, first: u64) {
        self.begin(first);
    }
    /// Lines of packets that another report of this form made.
    fn lines(&mut self, lines: &[u8]) -> io::Result<()>;
    /// The last lines.
    fn summary(&mut self, context: &Context<'_>, run: &Run<'_>) -> io::Result<()>;
}
