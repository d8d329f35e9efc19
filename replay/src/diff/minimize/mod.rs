//! The smallest capture and cluster that still show a difference of one cause.
//!
//! First the packets: one that differs by itself, or those of a flow, or else all up to the first. Then the clusters,
//! both sides alike: changes, services, endpoints, pods, nodes. Then the packets again, and last what
//! they carry. Each step keeps what a fresh run in the same two worlds still finds the cause in.

mod cut;
mod ddmin;
mod files;

use twinpath_core::parse::{Transport, parse};
use twinpath_core::tuple::Tuple;
use twinpath_sim::frame::Frame;
use twinpath_sim::world::WorldError;

use super::cause::Cause;
use super::field::Field;
use super::side::both;
use super::{Comparison, flow_of};
use crate::cluster::Cluster;
use crate::command::setup::Setup;
use crate::failure::Failure;
use crate::replay::feed::{Captured, Place};
use cut::{Cut, Item, Kind, candidates};
use ddmin::ddmin;
pub use files::{Minimal, Names, possible, write};

/// Most bytes of packets that are kept at a time.
const MAX_BYTES: usize = 256 << 20;

/// A packet of the capture.
#[derive(Clone, Debug)]
struct Kept {
    timestamp: u64,
    data: Vec<u8>,
    original_len: u32,
    flow: Option<Tuple>,
}

/// What is being made smaller.
pub struct Task<'a> {
    /// The left side.
    pub left: &'a mut Setup,
    /// The right side.
    pub right: &'a mut Setup,
    /// The cause that must stay.
    pub cause: &'a Cause,
    /// Fields that do not count.
    pub ignored: &'a [Field],
    /// Most runs.
    pub limit: u32,
}

/// What is left.
pub struct Reduced {
    packets: Vec<Kept>,
    clusters: [Cluster; 2],
    /// For each side, which of its later states are left.
    changes: [Vec<usize>; 2],
    /// Runs that it took.
    probes: u32,
    /// Whether more runs might have made it smaller.
    exhausted: bool,
}

struct Search<'a> {
    task: Task<'a>,
    originals: [Cluster; 2],
    cut: Cut,
    probes: u32,
}

/// Makes it smaller. The cause must have been found in the inputs of the left side.
pub fn minimize(task: Task<'_>) -> Result<Reduced, Failure> {
    let mut originals = [task.left.cluster.clone(), task.right.cluster.clone()];
    for cluster in &mut originals {
        // As it will be when it is read from a file.
        cluster.derived = false;
    }
    let mut search = Search { task, originals, cut: Cut::default(), probes: 0 };
    search.apply(&Cut::default());
    let packets = search.first_packets()?;
    search.guess(&packets)?;
    let packets = search.fewer(packets, true)?;
    let packets = search.fewer(packets, false)?;
    for kind in Kind::ALL {
        // Clients that a world must know beforehand are at nodes by number.
        if kind != Kind::Nodes || search.task.left.strangers.is_empty() {
            search.smaller(kind, &packets)?;
        }
    }
    let packets = search.fewer(packets, false)?;
    let packets = search.shorter(packets)?;
    let cut = search.cut.clone();
    search.apply(&cut);
    let changes = [0, 1].map(|side| {
        let count = search.originals.get(side).map_or(0, |cluster| cluster.changes.len());
        (0..count).filter(|change| search.cut.keeps(side, *change)).collect()
    });
    let clusters = [search.task.left.cluster.clone(), search.task.right.cluster.clone()];
    let exhausted = search.probes >= search.task.limit;
    Ok(Reduced { packets, clusters, changes, probes: search.probes, exhausted })
}

impl Search<'_> {
    fn apply(&mut self, cut: &Cut) {
        let [left, right] = &self.originals;
        self.task.left.cluster = cut.of(0, left);
        self.task.right.cluster = cut.of(1, right);
    }

    /// Whether the cause is found in these packets, with the clusters as they are.
    fn shows<'k>(&mut self, packets: impl IntoIterator<Item = &'k Kept>) -> Result<bool, Failure> {
        let mut packets = packets.into_iter().peekable();
        if packets.peek().is_none() || self.probes >= self.task.limit {
            return Ok(false);
        }
        self.probes += 1;
        let Task { left, right, cause, ignored, .. } = &self.task;
        let mut comparison = Comparison::new(left, right, ignored);
        let found = both(left, right, false, |left, right| {
            for packet in packets {
                let found = comparison.packet(&packet.captured(), left, right)?;
                let all = comparison.causes.all();
                if found.and_then(|found| all.get(found.cause)).is_some_and(|c| c.key == cause.key)
                {
                    return Ok(true);
                }
            }
            Ok(false)
        });
        match found {
            // A cluster that lacks what an argument or a world needs shows nothing. That there is no such
            // world, the first run says.
            Err(Failure::World(WorldError::Environment(_))) if self.probes > 1 => Ok(false),
            Err(Failure::Usage(_) | Failure::World(WorldError::Failed(_))) => Ok(false),
            other => other,
        }
    }

    /// The packets of the first flow that differs, if they suffice, or all up to its packet.
    fn first_packets(&mut self) -> Result<Vec<Kept>, Failure> {
        let first = self.task.cause.first.number;
        let examples = self.task.cause.examples.clone();
        let last = examples.last().copied().unwrap_or(first);
        let packets = self.read(last, |number, _| examples.contains(&number))?;
        // Of each of them, since what a packet draws goes by its number, which will be another.
        for packet in &packets {
            if self.shows([packet])? {
                return Ok(vec![packet.clone()]);
            }
        }
        let flow = packets.first().and_then(|packet| packet.flow);
        if flow.is_some() {
            let packets = self.read(first, |_, packet| packet.flow == flow)?;
            if packets.len() > 1 && self.shows(&packets)? {
                return Ok(packets);
            }
        }
        let packets = self.read(first, |_, _| true)?;
        if self.shows(&packets)? {
            return Ok(packets);
        }
        let derived = self.task.left.inputs.paths().first();
        Err(Failure::Usage(format!(
            "--minimize: cause {} is not found again in the packets up to {first} of {}; \
             if no -f was given, the cluster is not written as one that was derived: give -f",
            self.task.cause.name,
            derived.map_or_else(String::new, |path| path.display().to_string())
        )))
    }

    fn read(&self, last: u64, wanted: impl Fn(u64, &Kept) -> bool) -> Result<Vec<Kept>, Failure> {
        let mut feed = self.task.left.inputs.open()?;
        let (mut packets, mut bytes) = (Vec::new(), 0_usize);
        let mut frame = Frame::default();
        let mut number = 0_u64;
        while number < last
            && let Some(packet) = feed.next()?
        {
            number += 1;
            if packet.broken.is_some() {
                continue;
            }
            packet.fill(&mut frame);
            let parsed = parse(&frame).ok().flatten();
            let kept = Kept {
                timestamp: packet.timestamp,
                data: packet.data.to_vec(),
                original_len: packet.original_len,
                flow: parsed.map(|parsed| flow_of(&parsed.tuple)),
            };
            if wanted(number, &kept) {
                bytes = bytes.saturating_add(kept.data.len());
                packets.push(kept);
            }
            if bytes > MAX_BYTES {
                return Err(Failure::Usage(format!(
                    "--minimize: more than {} MiB before packet {last} would have to be kept; \
                     cut the capture first, as with `editcap -A TIME`",
                    MAX_BYTES >> 20
                )));
            }
        }
        Ok(packets)
    }

    /// Only the service of the cause, which is most often right and makes all that follows quick.
    fn guess(&mut self, packets: &[Kept]) -> Result<(), Failure> {
        let Some(service) = self.task.cause.service.clone() else { return Ok(()) };
        let [left, right] = &self.originals;
        let all = candidates(Kind::Services, [left, right]);
        let others = all.into_iter().filter(|item| *item != Item::Service(service.clone()));
        let cut = self.cut.and(others);
        self.attempt(cut, packets).map(drop)
    }

    /// Leaves more out, if the cause is still found.
    fn attempt(&mut self, cut: Cut, packets: &[Kept]) -> Result<bool, Failure> {
        self.apply(&cut);
        let shows = self.shows(packets)?;
        if shows {
            self.cut = cut;
        } else {
            let cut = self.cut.clone();
            self.apply(&cut);
        }
        Ok(shows)
    }

    /// Leaves out what can be of one kind of thing.
    fn smaller(&mut self, kind: Kind, packets: &[Kept]) -> Result<(), Failure> {
        let items = candidates(kind, [&self.task.left.cluster, &self.task.right.cluster]);
        let base = self.cut.clone();
        ddmin(&items, |kept| {
            let out = items.iter().filter(|item| kept.binary_search(item).is_err());
            self.attempt(base.and(out.cloned()), packets)
        })
        .map(drop)
    }

    /// Leaves out packets, those of a flow together or each by itself.
    fn fewer(&mut self, packets: Vec<Kept>, by_flow: bool) -> Result<Vec<Kept>, Failure> {
        let mut groups: Vec<(Option<Tuple>, Vec<usize>)> = Vec::new();
        let mut known = std::collections::BTreeMap::new();
        for (index, packet) in packets.iter().enumerate() {
            match packet.flow.filter(|_| by_flow).and_then(|flow| known.get(&flow).copied()) {
                Some(group) => {
                    if let Some((_, members)) = groups.get_mut::<usize>(group) {
                        members.push(index);
                    }
                }
                None => {
                    if let Some(flow) = packet.flow {
                        known.insert(flow, groups.len());
                    }
                    groups.push((packet.flow, vec![index]));
                }
            }
        }
        let members = |kept: &[(Option<Tuple>, Vec<usize>)]| {
            let mut indexes: Vec<usize> =
                kept.iter().flat_map(|(_, members)| members.iter().copied()).collect();
            indexes.sort_unstable();
            indexes
        };
        let kept = ddmin(&groups, |kept| {
            self.shows(members(kept).into_iter().filter_map(|index| packets.get(index)))
        })?;
        Ok(members(&kept).into_iter().filter_map(|index| packets.get(index).cloned()).collect())
    }

    /// Cuts off what the packets carry, as a capture with a short snap length would have.
    fn shorter(&mut self, packets: Vec<Kept>) -> Result<Vec<Kept>, Failure> {
        let short: Vec<Kept> = packets.iter().map(Kept::headers).collect();
        let longer = |(a, b): (&Kept, &Kept)| a.data.len() > b.data.len();
        if !packets.iter().zip(&short).any(longer) || self.shows(&short)? {
            return Ok(short);
        }
        let mut current = packets;
        for (index, short) in short.into_iter().enumerate() {
            let Some(place) = current.get_mut(index) else { break };
            let before = std::mem::replace(place, short);
            if !self.shows(&current)?
                && let Some(place) = current.get_mut(index)
            {
                *place = before;
            }
        }
        Ok(current)
    }
}

impl Kept {
    fn captured(&self) -> Captured<'_> {
        Captured {
            timestamp: self.timestamp,
            data: &self.data,
            original_len: self.original_len,
            broken: None,
            comment: None,
            interface: "",
            node: "",
            place: Place::default(),
        }
    }

    /// The packet up to the end of its transport header.
    fn headers(&self) -> Self {
        let mut short = self.clone();
        let mut frame = Frame::default();
        self.captured().fill(&mut frame);
        if let Ok(Some(parsed)) = parse(&frame) {
            let length = match parsed.transport {
                Transport::Tcp => {
                    let words = frame.bytes.get(parsed.l4.0.saturating_add(12));
                    words.map_or(20, |byte| usize::from(byte >> 4).saturating_mul(4))
                }
                Transport::Udp => 8,
                _ => return short,
            };
            short.data.truncate(parsed.l4.0.saturating_add(length));
        }
        short
    }
}
