//! The lists by which the kernel's LRU map decides what to give up, as one CPU sees them.
//!
//! An entry stands on one of three lists. A new one waits on its CPU's own (`pending`). When the CPU has no
//! free node left it takes as many at once as [`batch`] says: what waits goes to the common lists, those
//! turn a little, and what free nodes do not cover is taken from the oldest on `inactive` that nobody has
//! used since they came there. Free nodes are all alike, so here they are counts.

/// The most free nodes that a CPU takes at once, and the entries that one turn of a list looks at.
const MOST: usize = 128;

/// How many free nodes a CPU takes at once from a map of this size.
///
/// Half of the map is shared out among the CPUs that a machine can have (`cpus`), so that what they hold back
/// leaves the other half. Before Linux 6.16, and what was ported back of it, it was 128 whatever the size;
/// `cpus` is 0 for that.
pub(super) fn batch(max_entries: usize, cpus: u32) -> usize {
    match max_entries.checked_div(cpus as usize) {
        Some(share) => (share / 2).clamp(1, MOST),
        None => MOST,
    }
}

/// No node: where a list ends. Also where the turning of `inactive` begins anew.
const END: u32 = u32::MAX;

/// A list that an entry can stand on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Pending,
    Active,
    Inactive,
}

#[derive(Clone, Debug)]
struct Node {
    /// The hash under which the map finds the entry.
    hash: u64,
    /// The neighbour that came later.
    newer: u32,
    /// The neighbour that came earlier.
    older: u32,
    place: Place,
}

#[derive(Clone, Debug)]
struct List {
    newest: u32,
    oldest: u32,
    length: usize,
}

/// The entries of the map, as the lists need them: each is found by its hash and its node.
pub(super) trait Entries {
    /// Whether the entry was used since it last changed its place; from now on it was not.
    fn take_use(&self, hash: u64, node: u32) -> bool;
    /// The entry goes.
    fn evict(&mut self, hash: u64, node: u32);
}

/// The lists of one map.
#[derive(Clone, Debug)]
pub(super) struct Lists {
    nodes: Vec<Node>,
    /// Nodes of `nodes` that stand on no list.
    unused: Vec<u32>,
    lists: [List; 3],
    /// Where on `inactive` the next turn begins.
    turn: u32,
    /// Free nodes of the map,
    free: usize,
    /// and those that this CPU has taken from them.
    local: usize,
    batch: usize,
}

impl Lists {
    /// The lists of an empty map.
    pub(super) fn new(max_entries: usize, cpus: u32) -> Self {
        let empty = List { newest: END, oldest: END, length: 0 };
        Self {
            nodes: Vec::new(),
            unused: Vec::new(),
            lists: [empty.clone(), empty.clone(), empty],
            turn: END,
            free: max_entries,
            local: 0,
            batch: batch(max_entries, cpus),
        }
    }

    /// A node for a new entry under this hash, to which others may have to give way.
    pub(super) fn take(&mut self, entries: &mut impl Entries, hash: u64) -> Option<u32> {
        if self.local == 0 {
            self.refill(entries);
        }
        self.local = self.local.checked_sub(1)?;
        let node = Node { hash, newer: END, older: END, place: Place::Pending };
        let number = match self.unused.pop() {
            Some(number) => number,
            None => u32::try_from(self.nodes.len()).ok()?,
        };
        match self.nodes.get_mut(number as usize) {
            Some(place) => *place = node,
            None => self.nodes.push(node),
        }
        self.link(number, Place::Pending);
        Some(number)
    }

    /// The node of an entry that is no more, or never came to be. One that still waits stays with the CPU.
    pub(super) fn give_back(&mut self, node: u32) {
        match self.unlink(node) {
            Some(Place::Pending) => self.local += 1,
            Some(Place::Active | Place::Inactive) => self.free += 1,
            None => return,
        }
        self.unused.push(node);
    }

    fn refill(&mut self, entries: &mut impl Entries) {
        while let Some(node) = self.oldest(Place::Pending) {
            self.sort(entries, node);
        }
        if self.list(Place::Inactive).length < self.list(Place::Active).length {
            self.turn_active(entries);
        }
        self.turn_inactive(entries);
        let at_hand = self.free.min(self.batch);
        self.free -= at_hand;
        self.local += at_hand;
        if at_hand < self.batch {
            self.shrink(entries, self.batch - at_hand);
        }
    }

    /// Puts a node where its use says, in front.
    fn sort(&mut self, entries: &impl Entries, node: u32) -> bool {
        let used = entries.take_use(self.hash(node), node);
        self.unlink(node);
        self.link(node, if used { Place::Active } else { Place::Inactive });
        used
    }

    /// Of the oldest active entries those go to `inactive` that were not used; the others begin anew.
    fn turn_active(&mut self, entries: &impl Entries) {
        // Those that are put in front meanwhile are not met again.
        let count = self.list(Place::Active).length.min(MOST);
        for _ in 0..count {
            if let Some(node) = self.oldest(Place::Active) {
                self.sort(entries, node);
            }
        }
    }

    /// Of the inactive entries those go to `active` that were used, some of them a turn, from the oldest to
    /// the newest and round again.
    fn turn_inactive(&mut self, entries: &impl Entries) {
        if self.list(Place::Inactive).length == 0 {
            return;
        }
        // The one that the last turn ended at, or the oldest after all of them were met.
        let last = match self.older(self.turn) {
            END => self.older(END),
            last => last,
        };
        let mut current = self.turn;
        let mut next = END;
        let mut looked_at = 0;
        while looked_at < MOST {
            if current == END {
                current = self.newer(END);
                if current == END {
                    break;
                }
                continue;
            }
            next = self.newer(current);
            self.promote(entries, current);
            if current == last {
                break;
            }
            current = next;
            looked_at += 1;
        }
        self.turn = next;
    }

    /// Moves an inactive entry to `active` if it was used.
    fn promote(&mut self, entries: &impl Entries, node: u32) -> bool {
        let used = entries.take_use(self.hash(node), node);
        if used {
            self.unlink(node);
            self.link(node, Place::Active);
        }
        used
    }

    /// Evicts so many of the oldest inactive entries, or fewer, but one at least: if all that it looks at
    /// were used, the oldest goes all the same.
    fn shrink(&mut self, entries: &mut impl Entries, wanted: usize) {
        let mut evicted = 0;
        for _ in 0..MOST {
            let Some(node) = self.oldest(Place::Inactive) else { break };
            if !self.promote(entries, node) {
                self.evict(entries, node);
                evicted += 1;
                if evicted == wanted {
                    break;
                }
            }
        }
        if evicted > 0 {
            return;
        }
        let oldest = self.oldest(Place::Inactive).or_else(|| self.oldest(Place::Active));
        if let Some(node) = oldest {
            self.evict(entries, node);
        }
    }

    fn evict(&mut self, entries: &mut impl Entries, node: u32) {
        entries.evict(self.hash(node), node);
        self.unlink(node);
        self.unused.push(node);
        self.local += 1;
    }

    const fn list(&self, place: Place) -> &List {
        let [pending, active, inactive] = &self.lists;
        match place {
            Place::Pending => pending,
            Place::Active => active,
            Place::Inactive => inactive,
        }
    }

    const fn list_mut(&mut self, place: Place) -> &mut List {
        let [pending, active, inactive] = &mut self.lists;
        match place {
            Place::Pending => pending,
            Place::Active => active,
            Place::Inactive => inactive,
        }
    }

    fn oldest(&self, place: Place) -> Option<u32> {
        Some(self.list(place).oldest).filter(|node| *node != END)
    }

    fn hash(&self, node: u32) -> u64 {
        self.nodes.get(node as usize).map_or(0, |node| node.hash)
    }

    /// The next in the ring of inactive entries, which has one place that is no entry.
    fn newer(&self, node: u32) -> u32 {
        match self.nodes.get(node as usize) {
            Some(node) => node.newer,
            None => self.list(Place::Inactive).oldest,
        }
    }

    fn older(&self, node: u32) -> u32 {
        match self.nodes.get(node as usize) {
            Some(node) => node.older,
            None => self.list(Place::Inactive).newest,
        }
    }

    /// Takes a node off its list; which one it was.
    fn unlink(&mut self, number: u32) -> Option<Place> {
        let Node { newer, older, place, .. } = *self.nodes.get(number as usize)?;
        if self.turn == number {
            self.turn = newer;
        }
        match self.nodes.get_mut(newer as usize) {
            Some(node) => node.older = older,
            None => self.list_mut(place).newest = older,
        }
        match self.nodes.get_mut(older as usize) {
            Some(node) => node.newer = newer,
            None => self.list_mut(place).oldest = newer,
        }
        self.list_mut(place).length -= 1;
        Some(place)
    }

    /// Puts a node in front of a list.
    fn link(&mut self, number: u32, place: Place) {
        let older = self.list(place).newest;
        if let Some(node) = self.nodes.get_mut(number as usize) {
            node.newer = END;
            node.older = older;
            node.place = place;
        }
        match self.nodes.get_mut(older as usize) {
            Some(node) => node.newer = number,
            None => self.list_mut(place).oldest = number,
        }
        let list = self.list_mut(place);
        list.newest = number;
        list.length += 1;
    }
}
