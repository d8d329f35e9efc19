//! Causes: ten thousand equal differences are one fact.

use std::collections::{BTreeMap, HashMap};

use twinpath_control::model::PortName;
use twinpath_core::tuple::Tuple;
use twinpath_sim::map::WordMap;

use super::compare::{Difference, GONE, NEW};
use super::field::Field;

/// Most causes that are told apart; packets of any other belong to one last cause.
const MAX_CAUSES: usize = 1_000;
/// Most kinds of values that are counted in a cause.
const MAX_PAIRS: usize = 1_000;
/// Most packets of a cause whose numbers are kept.
const MAX_EXAMPLES: usize = 16;

/// A set of differences that have the same reason, as far as can be seen.
#[derive(Clone, Debug)]
pub struct Cause {
    /// `A`, `B`, ... `Z`, `AA`, in the order of their first packets.
    pub name: String,
    /// What tells it from others.
    pub key: String,
    /// The service that it is about.
    pub service: Option<PortName>,
    /// What differs, in words.
    pub says: String,
    /// The fields that differ, the decisive one first.
    pub fields: Vec<Field>,
    /// How many packets differ by it, those that follow included.
    pub packets: u64,
    /// How many of them only go on as the first packet of their flow began.
    pub follows: u64,
    /// How many flows began to differ by it.
    pub flows: u64,
    /// The first packet.
    pub first: Example,
    /// The numbers of the first packets that do not follow from others.
    pub examples: Vec<u64>,
    /// The values of the decisive field, left and right, and how many flows or packets have them.
    pub pairs: BTreeMap<(String, String), u64>,
}

/// A packet that differs.
#[derive(Clone, Debug)]
pub struct Example {
    /// Its number, from 1.
    pub number: u64,
    /// What it is: `10.244.1.10:20804 > 10.96.0.80:80 tcp S`.
    pub words: String,
    /// What differs of it.
    pub differences: Vec<Difference>,
    /// What became of it on the left, in a line.
    pub left: String,
    /// The same on the right.
    pub right: String,
}

/// To which cause a packet belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The cause, by its place in [`Causes::all`].
    pub cause: usize,
    /// The first packet of its flow that differs, if that is another one.
    pub follows: Option<u64>,
}

/// All causes so far.
#[derive(Debug, Default)]
pub struct Causes {
    causes: Vec<Cause>,
    by_key: HashMap<String, usize>,
    /// Flows that differ, under the tuple of the first packet: by which causes, and since which packets.
    flows: WordMap<Tuple, Vec<(usize, u64)>>,
    /// Packets that differ.
    pub packets: u64,
}

/// Most causes that are told apart in one flow; packets of more of them count for the first.
const MAX_PER_FLOW: usize = 8;
/// Fields by what they decide in a flow: whether it arrives, at whom, by which way.
const RANKS: [&[Field]; 3] =
    [&["verdict", "drop_reason"], &["service", "backend"], &["node", "place", "src", "dst"]];

/// The rank of a field; 3 where nothing follows from it.
fn rank(field: Option<&Field>) -> usize {
    let found = field.and_then(|field| RANKS.iter().position(|fields| fields.contains(field)));
    found.unwrap_or(RANKS.len())
}

/// What there is to say of a packet that differs.
pub struct Case<'a> {
    /// Its number.
    pub number: u64,
    /// Its addresses, if they can be read.
    pub tuple: Option<&'a Tuple>,
    /// Whether it begins a connection, so that nothing before it decides.
    pub opens: bool,
    /// Its service.
    pub service: Option<&'a PortName>,
    /// What differs.
    pub differences: Vec<Difference>,
}

impl Cause {
    /// What differs, in words, with the backend where it is the only one.
    pub fn title(&self) -> String {
        let mut backends: Vec<&String> = match self.says.as_str() {
            GONE => self.pairs.keys().map(|(left, _)| left).collect(),
            NEW => self.pairs.keys().map(|(_, right)| right).collect(),
            _ => return self.says.clone(),
        };
        backends.sort_unstable();
        backends.dedup();
        match backends.as_slice() {
            [only] => self.says.replacen("backend", &format!("backend {only}"), 1),
            _ => self.says.clone(),
        }
    }
}

impl Causes {
    /// In the order of their first packets.
    pub fn all(&self) -> &[Cause] {
        &self.causes
    }

    /// How many flows differ.
    pub fn flows(&self) -> usize {
        self.flows.len()
    }

    /// Puts a packet to its cause. `example` says what it looks like where it is the first of one.
    pub fn add(
        &mut self,
        case: Case<'_>,
        example: impl FnOnce(Vec<Difference>) -> Example,
    ) -> Option<Found> {
        let first = case.differences.first()?;
        self.packets = self.packets.wrapping_add(1);
        let key = key(&case);
        let earlier =
            case.tuple.and_then(|tuple| self.earlier(tuple, &key, rank(Some(&first.field))));
        if let Some((cause, since)) = earlier.filter(|_| !case.opens)
            && let Some(earlier) = self.causes.get_mut(cause)
        {
            earlier.packets = earlier.packets.wrapping_add(1);
            earlier.follows = earlier.follows.wrapping_add(1);
            return Some(Found { cause, follows: Some(since) });
        }
        let pair = (first.left.clone(), first.right.clone());
        let (number, tuple) = (case.number, case.tuple);
        let index = self.number(key, case, example);
        let begins = tuple.is_some_and(|tuple| self.begin(tuple, index, number));
        let cause = self.causes.get_mut(index)?;
        cause.packets = cause.packets.wrapping_add(1);
        cause.flows = cause.flows.wrapping_add(u64::from(begins));
        if cause.examples.len() < MAX_EXAMPLES {
            cause.examples.push(number);
        }
        if cause.pairs.len() < MAX_PAIRS || cause.pairs.contains_key(&pair) {
            *cause.pairs.entry(pair).or_default() += 1;
        }
        Some(Found { cause: index, follows: None })
    }

    /// The cause that a packet of a flow follows from: the same one, or else what decides as much or more,
    /// and of that what decides least.
    fn earlier(&self, tuple: &Tuple, key: &str, rank_here: usize) -> Option<(usize, u64)> {
        let known = self.flows.get(tuple).or_else(|| self.flows.get(&tuple.reverse()))?;
        let cause = |entry: &&(usize, u64)| self.causes.get(entry.0);
        if let Some(same) = known.iter().find(|entry| cause(entry).is_some_and(|c| c.key == key)) {
            return Some(*same);
        }
        let rank_of = |entry: &&(usize, u64)| rank(cause(entry).and_then(|c| c.fields.first()));
        let deciding = known
            .iter()
            .filter(|entry| rank_of(entry) < RANKS.len() && rank_of(entry) <= rank_here)
            .max_by_key(|entry| rank_of(entry));
        deciding.or_else(|| known.first().filter(|_| known.len() >= MAX_PER_FLOW)).copied()
    }

    /// Notes that a flow differs by a cause; whether that is new.
    fn begin(&mut self, tuple: &Tuple, cause: usize, number: u64) -> bool {
        let known = if self.flows.contains_key(tuple) { *tuple } else { tuple.reverse() };
        let entries = match self.flows.get_mut(&known) {
            Some(entries) => entries,
            None => self.flows.entry(*tuple).or_default(),
        };
        let new = !entries.iter().any(|(known, _)| *known == cause);
        if new && entries.len() < MAX_PER_FLOW {
            entries.push((cause, number));
        }
        new
    }

    fn number(
        &mut self,
        key: String,
        case: Case<'_>,
        example: impl FnOnce(Vec<Difference>) -> Example,
    ) -> usize {
        if let Some(index) = self.by_key.get(&key) {
            return *index;
        }
        let full = self.causes.len() >= MAX_CAUSES;
        let index = self.causes.len();
        if full && index > MAX_CAUSES {
            return MAX_CAUSES;
        }
        let fields = case.differences.iter().map(|difference| difference.field).collect();
        let says = says(&case.differences);
        let (key, says, service) = if full {
            ("other".into(), "all other differences".into(), None)
        } else {
            (key, says, case.service.cloned())
        };
        self.by_key.insert(key.clone(), index);
        self.causes.push(Cause {
            name: name(index),
            key,
            service,
            says,
            fields,
            packets: 0,
            follows: 0,
            flows: 0,
            first: example(case.differences),
            examples: Vec::new(),
            pairs: BTreeMap::new(),
        });
        index
    }
}

fn key(case: &Case<'_>) -> String {
    let service = case.service.map(ToString::to_string).unwrap_or_default();
    let fields = case.differences.iter().map(|one| format!("{}={}", one.field, one.says));
    format!("{service}|{}", fields.collect::<Vec<_>>().join("|"))
}

fn says(differences: &[Difference]) -> String {
    let said: Vec<&str> =
        differences.iter().map(|one| one.says.as_str()).filter(|says| !says.is_empty()).collect();
    if said.is_empty() {
        return differences
            .first()
            .map_or_else(String::new, |one| format!("{} differs", one.field));
    }
    said.join("; ")
}

/// `A` to `Z`, then `AA`.
fn name(index: usize) -> String {
    let mut letters = Vec::new();
    let mut rest = index.saturating_add(1);
    while rest > 0 {
        rest -= 1;
        letters.push(char::from(b'A' + (rest % 26) as u8));
        rest /= 26;
    }
    letters.iter().rev().collect()
}

#[cfg(test)]
mod tests;
