//! Several threads that make the lines of packets, which is dearer than to replay them.
//!
//! Packets are replayed in their order by one thread, since a connection's packets, and what connections
//! share on a node, depend on each other. What is said of a packet depends on nothing but the packet. So
//! packets are handed in batches to the threads in turn, and their lines are written in the same turn: the
//! output is that of one thread, byte for byte.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Scope;

use twinpath_sim::topology::Topology;

use super::recorder::Recorder;
use super::{Context, Report, Seen};
use crate::capture::LinkError;
use crate::replay::feed::{Captured, Place};
use crate::replay::outcome::Outcome;

/// Most packets of a batch.
const PACKETS: usize = 256;

/// Bytes of captured packets from which on a batch is full.
const BYTES: usize = 128 * 1024;

/// A packet longer than this makes a batch whose memory is given back and not used again.
const LONG: usize = 2_048;

/// Batches that a thread has at a time: one to work on, one that waits.
const AT_ONCE: usize = 2;

/// A copy of what [`Seen`] borrows.
#[derive(Default)]
struct Item {
    number: u64,
    timestamp: u64,
    data: Vec<u8>,
    original_len: u32,
    broken: Option<LinkError>,
    comment: Option<String>,
    interface: String,
    node: String,
    place: Place,
    outcome: Outcome,
    recorder: Recorder,
}

impl Item {
    fn set(&mut self, packet: &Captured<'_>) {
        self.timestamp = packet.timestamp;
        self.data.clear();
        self.data.extend_from_slice(packet.data);
        self.original_len = packet.original_len;
        self.broken = packet.broken.copied();
        self.comment = packet.comment.map(str::to_owned);
        for (own, given) in [(&mut self.interface, packet.interface), (&mut self.node, packet.node)]
        {
            if own != given {
                own.clear();
                own.push_str(given);
            }
        }
        self.place = packet.place;
    }

    fn packet(&self) -> Captured<'_> {
        Captured {
            timestamp: self.timestamp,
            data: &self.data,
            original_len: self.original_len,
            broken: self.broken.as_ref(),
            comment: self.comment.as_deref(),
            interface: &self.interface,
            node: &self.node,
            place: self.place,
        }
    }
}

/// Packets in a row.
#[derive(Default)]
struct Batch {
    /// Those beyond `used` are room for more.
    items: Vec<Item>,
    used: usize,
    bytes: usize,
    has_long: bool,
    topology: Option<Arc<Topology>>,
    /// Their lines.
    text: Vec<u8>,
    failure: Option<io::Error>,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.used >= PACKETS || self.bytes >= BYTES
    }

    fn clear(&mut self) {
        (self.used, self.bytes) = (0, 0);
        self.text.clear();
        self.failure = None;
    }

    /// Takes a packet in. What was seen of it is swapped against memory for the next.
    fn push(
        &mut self,
        number: u64,
        packet: &Captured<'_>,
        outcome: Outcome,
        recorder: Recorder,
    ) -> Recorder {
        self.bytes = self.bytes.saturating_add(packet.data.len());
        self.has_long |= packet.data.len() > LONG || packet.original_len as usize > LONG;
        if self.used == self.items.len() {
            self.items.push(Item::default());
        }
        let place = self.items.get_mut(self.used);
        self.used = self.used.saturating_add(1);
        let Some(item) = place else { return recorder };
        item.set(packet);
        (item.number, item.outcome) = (number, outcome);
        std::mem::replace(&mut item.recorder, recorder)
    }

    /// Makes the lines.
    fn run(&mut self, context: &Context<'_>, report: &mut dyn Report) -> io::Result<()> {
        let Some(topology) = &self.topology else { return Ok(()) };
        for item in self.items.iter().take(self.used) {
            let packet = item.packet();
            let (outcome, recorder, number) = (&item.outcome, &item.recorder, item.number);
            report
                .packet(context, &Seen { topology, number, packet: &packet, outcome, recorder })?;
        }
        Ok(())
    }
}

/// A thread, as its employer sees it.
struct Worker {
    to: SyncSender<Batch>,
    from: Receiver<Batch>,
}

/// Makes a report on an output.
type Make<'a> = dyn Fn(Box<dyn Write>) -> Box<dyn Report> + Sync + 'a;

/// The threads, and what they have not done yet.
pub struct Jobs<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    count: usize,
    context: &'env Context<'env>,
    make: &'env Make<'env>,
    /// None before the second packet.
    workers: Vec<Worker>,
    /// Time of the input's first packet.
    first: u64,
    /// Whether a line was written, and so the head.
    begun: bool,
    /// The batch that is being filled.
    batch: Batch,
    /// The workers of the batches that are out, in the order of their packets.
    out: VecDeque<usize>,
    next: usize,
    spare: Vec<Batch>,
    topology: Arc<Topology>,
}

impl<'scope, 'env> Jobs<'scope, 'env> {
    /// So many threads, each with a report of its own from `make`; of one, there is none but the caller's.
    pub fn new(
        scope: &'scope Scope<'scope, 'env>,
        count: u16,
        context: &'env Context<'env>,
        make: &'env Make<'env>,
    ) -> Self {
        Self {
            scope,
            count: count.into(),
            context,
            make,
            workers: Vec::new(),
            first: 0,
            begun: false,
            batch: Batch::default(),
            out: VecDeque::new(),
            next: 0,
            spare: Vec::new(),
            topology: Arc::default(),
        }
    }

    /// The time of the input's first packet.
    pub const fn begin(&mut self, first: u64) {
        self.first = first;
    }

    fn worker(&self) -> Worker {
        let (to, batches) = sync_channel::<Batch>(AT_ONCE);
        let (done, from) = sync_channel(AT_ONCE);
        let (context, make, first) = (self.context, self.make, self.first);
        self.scope.spawn(move || {
            let text = Shared::default();
            let mut report = make(Box::new(text.clone()));
            report.resume(first);
            for mut batch in batches {
                text.0.replace(std::mem::take(&mut batch.text));
                batch.failure = batch.run(context, &mut *report).err();
                batch.text = text.0.take();
                if done.send(batch).is_err() {
                    return;
                }
            }
        });
        Worker { to, from }
    }

    /// Hands a packet over, whose line is written to `report` in its turn. `recorder` has what was seen of
    /// the packet, and afterwards room for the next.
    pub fn packet(
        &mut self,
        report: &mut dyn Report,
        topology: &Topology,
        (number, packet, outcome): (u64, &Captured<'_>, &Outcome),
        recorder: &mut Recorder,
    ) -> io::Result<()> {
        let alone = Seen { topology, number, packet, outcome, recorder };
        // The first line, too: above it there may be a head.
        if !std::mem::replace(&mut self.begun, true) || self.count < 2 {
            return report.packet(self.context, &alone);
        }
        if self.workers.is_empty() {
            self.workers = (0..self.count).map(|_| self.worker()).collect();
        }
        let taken = std::mem::take(recorder);
        *recorder = self.batch.push(number, packet, *outcome, taken);
        if self.batch.is_full() { self.hand_over(report, topology) } else { Ok(()) }
    }

    /// Waits for all lines and writes them.
    pub fn finish(mut self, report: &mut dyn Report, topology: &Topology) -> io::Result<()> {
        self.hand_over(report, topology)?;
        while !self.out.is_empty() {
            self.collect(report)?;
        }
        Ok(())
    }

    fn hand_over(&mut self, report: &mut dyn Report, topology: &Topology) -> io::Result<()> {
        if self.batch.used == 0 {
            return Ok(());
        }
        // Who is there is only ever added to, so packets of the batch may see those who came after them.
        let counts = |topology: &Topology| (topology.pods.len(), topology.clients.len());
        if counts(&self.topology) != counts(topology) || self.topology.nodes.is_empty() {
            self.topology = Arc::new(topology.clone());
        }
        if self.out.len() >= self.workers.len().saturating_mul(AT_ONCE) {
            self.collect(report)?;
        }
        let empty = self.spare.pop().unwrap_or_default();
        let mut batch = std::mem::replace(&mut self.batch, empty);
        batch.topology = Some(Arc::clone(&self.topology));
        let worker = self.workers.get(self.next).ok_or_else(gone)?;
        worker.to.send(batch).map_err(|_| gone())?;
        self.out.push_back(self.next);
        self.next = self.next.wrapping_add(1) % self.workers.len().max(1);
        Ok(())
    }

    /// Writes the lines of the batch whose turn it is.
    fn collect(&mut self, report: &mut dyn Report) -> io::Result<()> {
        let Some(worker) = self.out.pop_front() else { return Ok(()) };
        let worker = self.workers.get(worker).ok_or_else(gone)?;
        let mut batch = worker.from.recv().map_err(|_| gone())?;
        report.lines(&batch.text)?;
        if let Some(failure) = batch.failure.take() {
            return Err(failure);
        }
        if !batch.has_long {
            batch.clear();
            self.spare.push(batch);
        }
        Ok(())
    }
}

#[cold]
fn gone() -> io::Error {
    io::Error::other("a thread that makes lines has ended")
}

/// What a thread's report writes to.
#[derive(Clone, Default)]
struct Shared(Rc<RefCell<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
