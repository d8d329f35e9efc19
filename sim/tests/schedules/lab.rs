//! A node, CPUs that work on it, and a log of what became of every packet.

use std::sync::{Arc, Mutex};

use twinpath_core::conntrack::{Flow, is_pair};
use twinpath_core::state::Direction;
use twinpath_core::tuple::Tuple;
use twinpath_core::verdict::{Decision, Verdict};

use crate::cluster::{self, Family};
use crate::node::{Cpu, Tables};
use crate::packet::{Piece, checked, frame};
use crate::points::Points;

/// What a CPU does.
#[derive(Clone, Copy)]
pub(crate) enum Do {
    /// Meets a packet with this tuple and these flags.
    Packet(&'static str, &'static str),
    /// Meets part of a datagram.
    Fragment(&'static str, Piece),
    /// Meets the answer to the last packet with this tuple that was sent on, if one was.
    Reply(&'static str, &'static str),
    /// Takes the half with this key away, as an eviction would.
    Evict(&'static str),
    /// Takes the other half of that connection away.
    EvictTwin(&'static str),
    /// Takes away any half, the scheduler says which.
    EvictAny,
    /// Lets so many seconds pass.
    Pass(u64),
    /// From now on no insert finds room, or each does.
    Full(bool),
    /// What the control plane does.
    Change(fn(&Lab)),
}

/// A packet and what became of it.
#[derive(Clone, Copy)]
pub(crate) struct Seen {
    /// The CPU.
    pub(crate) cpu: usize,
    /// With which tuple it came.
    pub(crate) sent: Tuple,
    /// What was decided.
    pub(crate) decision: Decision,
    /// With which tuple it left, if it did.
    pub(crate) left: Option<Tuple>,
    /// Whether it was all of a datagram.
    pub(crate) whole: bool,
}

/// A node in the middle of a run.
pub(crate) struct Lab {
    pub(crate) family: Family,
    pub(crate) tables: Tables,
    pub(crate) points: Arc<Points>,
    log: Mutex<Vec<Seen>>,
}

impl Lab {
    /// A node as [`cluster`] describes it.
    pub(crate) fn new(family: Family, points: Points) -> Self {
        let points = Arc::new(points);
        let tables = Tables::new(&points);
        cluster::fill(&tables, family);
        Self { family, tables, points, log: Mutex::default() }
    }

    /// A CPU with dice of its own, the first draws given.
    pub(crate) fn cpu(&self, number: usize, draws: &[u32]) -> Cpu {
        Cpu::new(&self.tables, number as u64, draws)
    }

    /// What became of the packets so far.
    pub(crate) fn log(&self) -> Vec<Seen> {
        self.log.lock().unwrap().clone()
    }

    /// Something that a CPU does.
    pub(crate) fn act(&self, number: usize, cpu: &mut Cpu, action: &Do) {
        match action {
            Do::Packet(text, flags) => {
                self.send(number, cpu, &self.family.tuple(text), flags, Piece::Whole);
            }
            Do::Fragment(text, piece) => {
                self.send(number, cpu, &self.family.tuple(text), "", *piece);
            }
            Do::Reply(text, flags) => {
                let sent = self.family.tuple(text);
                let answered = |seen: &&Seen| seen.sent == sent && seen.left.is_some();
                let left =
                    self.log.lock().unwrap().iter().rfind(answered).and_then(|seen| seen.left);
                if let Some(left) = left {
                    self.points.note("reply");
                    self.send(number, cpu, &left.reverse(), flags, Piece::Whole);
                }
            }
            Do::Evict(text) => self.evict(Some(self.family.tuple(text))),
            Do::EvictTwin(text) => {
                let key = self.family.tuple(text);
                self.evict(self.tables.conntrack.peek(&key).map(|flow| flow.twin_key(&key)));
            }
            Do::EvictAny => {
                let keys = self.tables.conntrack.keys();
                if !keys.is_empty() {
                    use shuttle::rand::Rng;
                    let number = shuttle::rand::thread_rng().gen_range(0..keys.len());
                    self.evict(keys.get(number).copied());
                }
            }
            Do::Pass(seconds) => self.tables.pass(seconds * 1_000_000_000),
            Do::Full(full) => self.points.set_full(*full),
            Do::Change(change) => change(self),
        }
    }

    fn evict(&self, key: Option<Tuple>) {
        self.points.switch();
        self.points.evicted(key.is_some_and(|key| self.tables.conntrack.take(&key)));
        self.points.switch();
    }

    /// Lets a CPU meet a packet, and checks what may be said of it alone.
    pub(crate) fn send(
        &self,
        number: usize,
        cpu: &mut Cpu,
        sent: &Tuple,
        flags: &str,
        piece: Piece,
    ) -> Seen {
        let mut frame = frame(sent, flags, piece);
        let (hook, device) = self.family.sender(&sent.source);
        let decision = cpu.run(hook, device, &mut frame);
        self.points.note(decision.status().name());
        let parsed = checked(&frame);
        let left = match decision.verdict() {
            Verdict::Pass | Verdict::Deliver(_) | Verdict::Forward(_) => Some(parsed.tuple),
            Verdict::Drop(_) | Verdict::Reject(_) | Verdict::Answer => None,
        };
        let seen = Seen { cpu: number, sent: *sent, decision, left, whole: piece == Piece::Whole };
        self.log.lock().unwrap().push(seen);
        seen
    }

    /// The halves of connections, by key.
    pub(crate) fn halves(&self) -> Vec<(Tuple, Flow)> {
        let keys = self.tables.conntrack.keys();
        let half = |key| self.tables.conntrack.peek(&key).map(|flow| (key, flow.clone()));
        keys.into_iter().filter_map(half).collect()
    }

    /// Whether a half has its twin.
    pub(crate) fn is_paired(&self, key: &Tuple, half: &Flow) -> bool {
        let twin_key = half.twin_key(key);
        self.tables.conntrack.peek(&twin_key).is_some_and(|twin| {
            is_pair(twin, &twin_key, half, key) && twin.direction() != half.direction()
        })
    }

    /// The log and the table, for people.
    pub(crate) fn tell(&self) -> String {
        let mut text = String::new();
        for seen in self.log() {
            let left = seen.left.map_or_else(|| "-".to_owned(), |left| self.family.spell(&left));
            let sent = self.family.spell(&seen.sent);
            let (verdict, status) = (seen.decision.verdict(), seen.decision.status());
            text += &format!("  cpu {}: {sent}  ->  {left}  {verdict:?} {status:?}\n", seen.cpu);
        }
        for (key, half) in self.halves() {
            let side = if half.direction() == Direction::Original { "original" } else { "reply" };
            let alone = if self.is_paired(&key, &half) { "" } else { ", alone" };
            let (key, to) = (self.family.spell(&key), self.family.spell(&half.to));
            text += &format!("  {side} {key}  =>  {to}, {:?}{alone}\n", half.phase());
        }
        text
    }
}
