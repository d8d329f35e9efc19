//! Connections as the reference knows them, each kept by a clock of its own.

use std::collections::BTreeMap;

use twinpath_control::model::PortName;
use twinpath_core::seam::Nanos;
use twinpath_core::verdict::IfIndex;

use super::rules::Way;
use super::wire::{End, Five, SCTP, TCP, View};

/// How packets leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Exit {
    Stack,
    Pod(IfIndex),
    Device(IfIndex),
}

/// Whether a connection still counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Life {
    Sure,
    /// Within the second by which a datapath may be late.
    Perhaps,
    Over,
}

/// A connection: of the two of each field, the first is for what its opener sends, the second for the
/// answers.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    /// What packets come with.
    pub(super) key: [Five; 2],
    /// What packets leave with.
    pub(super) leaves: [Five; 2],
    /// Another node translated what the opener sends.
    pub(super) direct: bool,
    pub(super) service: Option<PortName>,
    pub(super) backend: Option<End>,
    /// How its packets tell another node of the frontend.
    pub(super) way: Way,
    /// `None` where a half was lost since, and nobody has told yet.
    pub(super) exit: [Option<Exit>; 2],
    /// When the last packet came, as each half has it.
    pub(super) last: [Nanos; 2],
    /// The version of the cluster that it was last found fit in.
    pub(super) version: u64,
    replied: bool,
    assured: bool,
    done: [bool; 2],
    reset: bool,
    /// Its halves do not say the same of its state, since one was made from the other alone.
    pub(super) uneven: bool,
}

const SECOND: Nanos = 1_000_000_000;
/// RFC 4787, REQ-5 (U-5); RFC 5382, REQ-5 (T-5).
const DATAGRAMS: Nanos = 120 * SECOND;
const TRANSITORY: Nanos = 240 * SECOND;
const ESTABLISHED: Nanos = 7_440 * SECOND;
/// By how much a datapath may keep a connection longer than it has to.
pub(super) const GRACE: Nanos = SECOND;

impl Flow {
    /// One that a packet opens now.
    pub(super) fn new(packet: &View, key: [Five; 2], leaves: [Five; 2], now: Nanos) -> Self {
        let mut flow = Self {
            key,
            leaves,
            direct: false,
            service: None,
            backend: None,
            way: Way::Snat,
            exit: [None, None],
            last: [now; 2],
            version: 0,
            replied: false,
            assured: false,
            done: [false; 2],
            reset: false,
            uneven: false,
        };
        flow.learn(packet, 0);
        flow
    }

    /// What a packet says of the state.
    pub(super) fn learn(&mut self, packet: &View, direction: usize) {
        let flags = packet.flags();
        if direction == 1 {
            self.replied = true;
        } else if self.replied && flags & 2 == 0 {
            self.assured = true;
        }
        if flags & 1 != 0 {
            self.done[direction] = true;
        }
        self.reset |= flags & 4 != 0;
    }

    /// Nothing is known of its state; `answered` where answers go another way, so that what the opener
    /// sends has to stand for them.
    pub(super) const fn forget(&mut self, answered: bool) {
        (self.replied, self.assured, self.done, self.reset) = (answered, false, [false; 2], false);
    }

    /// Both ends are done, or one has torn it down.
    pub(super) fn is_closing(&self) -> bool {
        self.key[0].protocol == TCP && (self.reset || self.done == [true; 2])
    }

    /// How long it may be idle at least.
    pub(super) fn timeout(&self) -> Nanos {
        match self.key[0].protocol {
            TCP if !self.is_closing() && self.assured => ESTABLISHED,
            SCTP if self.assured => ESTABLISHED,
            TCP | SCTP => TRANSITORY,
            _ => DATAGRAMS,
        }
    }

    pub(super) fn life(&self, direction: usize, now: Nanos) -> Life {
        let idle = now.saturating_sub(self.last[direction]);
        let (least, most) = match (self.uneven, self.key[0].protocol) {
            (true, TCP | SCTP) => (TRANSITORY, ESTABLISHED),
            _ => (self.timeout(), self.timeout()),
        };
        match idle {
            _ if idle <= least => Life::Sure,
            _ if idle >= most + GRACE => Life::Over,
            _ => Life::Perhaps,
        }
    }

    /// Whether it gives way where another connection needs its tuple: nobody has answered it, and it has
    /// neither service nor translation.
    pub(super) fn yields(&self, direction: usize) -> bool {
        direction == 0
            && self.service.is_none()
            && !self.direct
            && !self.replied
            && self.key[0] == self.leaves[0]
    }

    /// Whether packets leave with another tuple than they came with.
    pub(super) fn translates(&self, direction: usize) -> bool {
        let applied = if self.direct { direction == 1 } else { self.way != Way::Ipip };
        applied && self.key[direction] != self.leaves[direction]
    }
}

/// All of them, by the tuples of the halves that are there.
#[derive(Default)]
pub(super) struct Flows {
    all: BTreeMap<u64, Flow>,
    table: BTreeMap<Five, (u64, usize)>,
    next: u64,
}

impl Flows {
    /// The connection that a packet with this tuple is of, with its number and the direction.
    pub(super) fn find(&self, key: &Five) -> Option<(u64, usize, &Flow)> {
        let (number, direction) = self.table.get(key)?;
        Some((*number, *direction, self.all.get(number)?))
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Flow> {
        self.all.get_mut(&number)
    }

    /// Puts one in, with both halves.
    pub(super) fn add(&mut self, flow: Flow) {
        self.next += 1;
        // Who talks to itself has one half, its own.
        for (direction, key) in flow.key.iter().enumerate().rev() {
            self.table.insert(*key, (self.next, direction));
        }
        self.all.insert(self.next, flow);
        self.sweep();
    }

    /// Puts a half back.
    pub(super) fn restore(&mut self, number: u64, direction: usize) {
        if let Some(flow) = self.all.get(&number) {
            self.table.insert(flow.key[direction], (number, direction));
        }
        self.sweep();
    }

    /// Takes a half out, as an eviction does.
    pub(super) fn evict(&mut self, key: &Five) {
        if let Some((number, direction)) = self.table.remove(key)
            && let Some(flow) = self.all.get_mut(&number)
        {
            flow.exit[direction] = None;
        }
        self.sweep();
    }

    /// Takes out the halves that are there.
    pub(super) fn close(&mut self, number: u64) {
        self.table.retain(|_, (owner, _)| *owner != number);
        self.all.remove(&number);
    }

    fn sweep(&mut self) {
        let table = &self.table;
        self.all.retain(|number, flow| {
            flow.key.iter().any(|key| table.get(key).is_some_and(|(owner, _)| owner == number))
        });
    }

    /// Whether a half is there.
    pub(super) fn has(&self, number: u64, direction: usize) -> bool {
        let Some(flow) = self.all.get(&number) else { return false };
        self.table.get(&flow.key[direction]).is_some_and(|(owner, _)| *owner == number)
    }

    /// What a table of the halves would say: what comes with which tuple, and leaves with which.
    pub(super) fn halves(&self) -> BTreeMap<Five, Five> {
        let leaves = |(number, direction): &(u64, usize)| {
            self.all.get(number).map(|flow| flow.leaves[*direction])
        };
        self.table.iter().filter_map(|(key, half)| Some((*key, leaves(half)?))).collect()
    }

    /// Every connection both halves of which are there.
    pub(super) fn whole(&self) -> impl Iterator<Item = &Flow> {
        let all = self.all.iter();
        all.filter(|(number, _)| self.has(**number, 0) && self.has(**number, 1))
            .map(|(_, flow)| flow)
    }
}
