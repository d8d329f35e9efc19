//! What it takes to bring a node up to date: all services loaded, one added, one endpoint changed, everything
//! brought up to date once more, and the memory of it all.
//!
//! A sample is one operation. Rules: the time of kube-proxy's tools with texts that were made before, so
//! without what kube-proxy itself takes to make them. twinpath: with all the planning, to the last write of
//! a map; a load from the state of the cluster, as the texts are made from it, a change and a resync from
//! the objects. Neither counts how changes come from the API server.

use std::time::{Duration, Instant};

use twinpath_control::diff::{Target, Write};
use twinpath_control::keeper::{Change, Keeper};
use twinpath_control::model::State;
use twinpath_control::read::Objects;
use twinpath_control::tables::{Desired, Options};
use twinpath_kernel::load::{self, LoadError};
use twinpath_kernel::memory::{MapMemory, maps};
use twinpath_kernel::tables::KernelTables;
use twinpath_kernel::veth::netns::{Namespace, NamespaceError};
use twinpath_sim::node::Limits;
use twinpath_sim::topology::Topology;
use twinpath_sim::world::{Plan, WorldError};

use super::cluster::{self, NODE};
use super::memory;
use super::result::{Figure, Measure, Missing, Unit};
use super::rival::{Job, Rival};
use super::subject::Subject;

/// With fewer services than this, what other processes do to the kernel's memory is more than what rules
/// do.
const ENOUGH: u32 = 100;

/// All subjects with the same services. Each of its functions is a round: every subject once, and each
/// round begins with another.
pub struct Programming {
    services: u32,
    /// The cluster, the same with a service more, and with another endpoint in the place of one.
    states: [State; 3],
    /// The objects of the cluster.
    objects: Objects,
    /// What is changed: there, and back.
    changes: [(Measure, [Vec<Change>; 2]); 2],
    sides: Vec<Side>,
    figures: Vec<Figure>,
    round: usize,
    /// What a rival is too slow for, and why: it is not tried again.
    given_up: Vec<(Subject, Kind, String)>,
}

/// What is done in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Load,
    Change,
    Resync,
}

enum Side {
    Rules(Box<Rules>),
    Ours(Box<Ours>),
}

/// A rival in a namespace, and what is done there.
struct Rules {
    rival: Rival,
    node: Namespace,
    load: Job,
    resync: Job,
    /// There and back, for the service and for the endpoint.
    changes: [(Measure, Job, Vec<Job>); 2],
}

/// Our tables, without programs: they change nothing about the cost of writing.
struct Ours {
    tables: KernelTables,
    keeper: Keeper,
    topology: Topology,
    limits: Limits,
}

impl Programming {
    /// All of these subjects that are there, each with so many services loaded, and why the others are not.
    /// A rival's tool that takes longer than `longest` is ended.
    pub fn new(
        services: u32,
        subjects: &[Subject],
        longest: Duration,
    ) -> Result<(Self, Vec<Missing>), WorldError> {
        let objects = cluster::objects(services);
        let added = cluster::other(services + 1);
        let [before, after] = cluster::moved(services);
        let with = |other: &Objects| {
            let mut objects = objects.clone();
            objects.merge(other.clone());
            State::new(&objects).0
        };
        let states = [State::new(&objects).0, with(&added), with(&after)];
        let gone = Change::none(&added);
        let changes = [
            (Measure::AddService, [Change::all(added), gone]),
            (Measure::ChangeEndpoint, [after, before].map(Change::all)),
        ];
        let mut all = Self {
            services,
            states,
            objects,
            changes,
            sides: Vec::new(),
            figures: Vec::new(),
            round: 0,
            given_up: Vec::new(),
        };
        let mut missing = Vec::new();
        for subject in subjects {
            match subject {
                Subject::Twinpath => match all.ours() {
                    Ok(ours) => all.sides.push(Side::Ours(Box::new(ours))),
                    Err(why) => missing.push(Missing { what: "twinpath".to_owned(), why }),
                },
                Subject::Bare | Subject::Forward => {}
                subject => match Rival::new(*subject) {
                    Ok(rival) => match all.rules(rival.within(longest)) {
                        Ok(rules) => all.sides.push(Side::Rules(Box::new(rules))),
                        Err(WorldError::Environment(why)) => {
                            missing.push(Missing { what: subject.name().to_owned(), why });
                        }
                        Err(error) => return Err(error),
                    },
                    Err(why) => missing.push(why),
                },
            }
        }
        Ok((all, missing))
    }

    /// The cluster as it is between rounds.
    pub const fn state(&self) -> &State {
        let [state, ..] = &self.states;
        state
    }

    fn rules(&self, rival: Rival) -> Result<Rules, WorldError> {
        let [state, more, moved] = &self.states;
        let node = Namespace::new()?;
        rival.set_up(state, NODE).run(&node)?;
        let change = |measure, new| {
            let back = vec![rival.update(new, state, NODE), rival.sweep(new, state, NODE)];
            let there = rival.update(state, new, NODE);
            // What a change leaves to be swept away is swept away before the way back.
            let swept = rival.sweep(state, new, NODE);
            (measure, there, [vec![swept], back].concat())
        };
        let changes = [change(Measure::AddService, more), change(Measure::ChangeEndpoint, moved)];
        let load = rival.load(state, NODE);
        Ok(Rules { rival, node, load, resync: rival.resync(state, NODE), changes })
    }

    fn ours(&self) -> Result<Ours, String> {
        let state = self.state();
        let topology = Topology::new(state);
        let writes = Plan::new(Options::default()).writes(state, NODE, &topology);
        let limits = limits(&writes);
        let (mut tables, _) = open(limits).map_err(|error| error.to_string())?;
        let mut keeper = Keeper::new(NODE, Options::default());
        let loaded = keeper.load(self.objects.clone(), &topology, &mut tables);
        loaded.map_err(|error| error.to_string())?;
        Ok(Ours { tables, keeper, topology, limits })
    }

    /// All services into a node that has none, and the memory that they take. Of rules: see [`memory`]; of
    /// twinpath: what the maps take for the entries that a service has, as the kernel counts it. Those are
    /// taken when the maps are made, whatever is in them.
    pub fn loads(&mut self) -> Result<(), WorldError> {
        let services = f64::from(self.services);
        for index in self.turns(Kind::Load) {
            let (samples, subject) = match self.sides.get(index) {
                None => continue,
                Some(Side::Rules(rules)) => {
                    let node = Namespace::new()?;
                    let subject = rules.rival.subject();
                    let (took, bytes) = memory::taken(|| rules.load.run(&node));
                    let Some(took) = in_time(&mut self.given_up, (subject, Kind::Load), took)?
                    else {
                        continue;
                    };
                    // At once, so that the next one does not find it going away.
                    rules.rival.clear().run(&node)?;
                    let bytes = bytes.filter(|_| self.services >= ENOUGH);
                    let service = bytes.map(|bytes| (Measure::MemoryPerService, bytes / services));
                    let connection = memory::per_connection(subject);
                    let connection = connection.map(|bytes| (Measure::MemoryPerConnection, bytes));
                    let bytes = service.into_iter().chain(connection);
                    let mut samples = vec![time(Measure::Load, took)];
                    samples.extend(bytes.map(|(measure, bytes)| (measure, Unit::Bytes, bytes)));
                    (samples, subject)
                }
                Some(Side::Ours(ours)) => {
                    let (mut tables, maps) = open(ours.limits).map_err(failed)?;
                    let mut plan = Plan::new(Options::default());
                    let begun = Instant::now();
                    let writes = plan.writes(self.state(), NODE, &ours.topology);
                    tables.write_all(&writes).map_err(|failure| failed(failure.error))?;
                    let took = begun.elapsed();
                    let bytes = bytes(&maps, &writes) / services;
                    let bytes = (Measure::MemoryPerService, Unit::Bytes, bytes);
                    let connection = per_connection(&maps);
                    let connection = (Measure::MemoryPerConnection, Unit::Bytes, connection);
                    (vec![time(Measure::Load, took), bytes, connection], Subject::Twinpath)
                }
            };
            self.push(subject, samples);
        }
        Ok(())
    }

    /// One service added, and one endpoint of one service changed. In between all is as before.
    pub fn changes(&mut self) -> Result<(), WorldError> {
        for index in self.turns(Kind::Change) {
            let (subject, samples) = match self.sides.get_mut(index) {
                None => continue,
                Some(Side::Rules(rules)) => {
                    let (subject, samples) = (rules.rival.subject(), rules.changed());
                    match in_time(&mut self.given_up, (subject, Kind::Change), samples)? {
                        Some(samples) => (subject, samples),
                        None => continue,
                    }
                }
                Some(Side::Ours(ours)) => {
                    let mut samples = Vec::new();
                    for (measure, [there, back]) in &self.changes {
                        samples.push(time(*measure, ours.change(there)?));
                        ours.change(back)?;
                    }
                    (Subject::Twinpath, samples)
                }
            };
            self.push(subject, samples);
        }
        Ok(())
    }

    /// Everything once more over what is there. twinpath plans all anew and writes every entry again.
    pub fn resyncs(&mut self) -> Result<(), WorldError> {
        for index in self.turns(Kind::Resync) {
            let (subject, took) = match self.sides.get_mut(index) {
                None => continue,
                Some(Side::Rules(rules)) => {
                    let (subject, took) = (rules.rival.subject(), rules.resync.run(&rules.node));
                    match in_time(&mut self.given_up, (subject, Kind::Resync), took)? {
                        Some(took) => (subject, took),
                        None => continue,
                    }
                }
                Some(Side::Ours(ours)) => {
                    let Ours { tables, keeper, topology, .. } = &mut **ours;
                    let begun = Instant::now();
                    keeper.resync(Desired::default(), topology, tables).map_err(failed)?;
                    (Subject::Twinpath, begun.elapsed())
                }
            };
            self.push(subject, vec![time(Measure::Resync, took)]);
        }
        Ok(())
    }

    /// What rivals were too slow for.
    pub fn gaps(&self) -> Vec<Missing> {
        let gap = |(subject, kind, why): &(Subject, Kind, String)| Missing {
            what: format!("{subject}, {}", kind.name()),
            why: why.clone(),
        };
        self.given_up.iter().map(gap).collect()
    }

    /// What was measured.
    pub fn into_figures(self) -> Vec<Figure> {
        self.figures
    }

    /// The order of a round: all that were not too slow for it.
    fn turns(&mut self, kind: Kind) -> Vec<usize> {
        let count = self.sides.len();
        let first = self.round;
        self.round += 1;
        let turns = (0..count).map(|place| (first + place) % count);
        let given_up = |index: &usize| {
            let subject = self.sides.get(*index).map(Side::subject);
            self.given_up.iter().any(|(who, what, _)| (Some(*who), *what) == (subject, kind))
        };
        turns.filter(|index| !given_up(index)).collect()
    }

    fn push(&mut self, subject: Subject, samples: Vec<Sample>) {
        for (measure, unit, value) in samples {
            let is_it =
                |figure: &&mut Figure| (figure.measure, figure.subject) == (measure, subject);
            if let Some(figure) = self.figures.iter_mut().find(is_it) {
                figure.samples.push(value);
                continue;
            }
            self.figures.push(Figure {
                measure,
                path: String::new(),
                hook: String::new(),
                subject,
                services: self.services,
                flows: 0,
                unit,
                samples: vec![value],
                quantiles: Vec::new(),
            });
        }
    }
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Load => "loading",
            Self::Change => "changes",
            Self::Resync => "resync",
        }
    }
}

impl Side {
    const fn subject(&self) -> Subject {
        match self {
            Self::Rules(rules) => rules.rival.subject(),
            Self::Ours(_) => Subject::Twinpath,
        }
    }
}

impl Rules {
    /// Each change there and back; how long it was there.
    fn changed(&self) -> Result<Vec<Sample>, NamespaceError> {
        let mut samples = Vec::new();
        for (measure, there, back) in &self.changes {
            samples.push(time(*measure, there.run(&self.node)?));
            for job in back {
                job.run(&self.node)?;
            }
        }
        Ok(samples)
    }
}

/// What a rival has done; nothing where its tool took too long, which it will not be asked for again.
fn in_time<T>(
    given_up: &mut Vec<(Subject, Kind, String)>,
    (subject, kind): (Subject, Kind),
    done: Result<T, NamespaceError>,
) -> Result<Option<T>, WorldError> {
    match done {
        Err(error @ NamespaceError::TooLong { .. }) => {
            given_up.push((subject, kind, error.to_string()));
            Ok(None)
        }
        done => Ok(Some(done?)),
    }
}

type Sample = (Measure, Unit, f64);

fn time(measure: Measure, took: Duration) -> Sample {
    (measure, Unit::Nanoseconds, took.as_nanos() as f64)
}

impl Ours {
    /// Brings the maps to what the objects say after these changes; how long it took.
    fn change(&mut self, changes: &[Change]) -> Result<Duration, WorldError> {
        let changes = changes.to_vec();
        let begun = Instant::now();
        self.keeper.change(changes, &self.topology, &mut self.tables).map_err(failed)?;
        Ok(begun.elapsed())
    }
}

/// Maps of these sizes, and what they take.
fn open(limits: Limits) -> Result<(KernelTables, Vec<MapMemory>), LoadError> {
    let mut ebpf = load::open(&load::Options { limits, ..load::Options::default() })?;
    let maps = maps(&ebpf);
    Ok((KernelTables::new(&mut ebpf, &limits)?, maps))
}

/// Sizes with room for what is written and half as much again.
fn limits(writes: &[Write]) -> Limits {
    let count = |is: fn(&Write) -> bool| {
        let entries = writes.iter().filter(|write| is(write)).count();
        1_024 + entries + entries / 2
    };
    let members = count(|write| matches!(write, Write::Member(..)));
    let backends = count(|write| matches!(write, Write::Backend(..)));
    Limits {
        services: count(|write| matches!(write, Write::Service(..))),
        backends: members.max(backends),
        ..Limits::default()
    }
}

/// What the maps take for the entries that were written for services.
fn bytes(maps: &[MapMemory], writes: &[Write]) -> f64 {
    let map =
        |name: &str| maps.iter().find(|map| map.name == name).map_or(0.0, MapMemory::per_entry);
    let each = |write: &Write| match write {
        Write::Service(..) => map("SERVICES"),
        Write::Backend(..) => map("BACKENDS"),
        Write::Member(..) => map("MEMBERS"),
        Write::Maglev(..) => map("MAGLEV"),
        Write::Range(..) => map("RANGES"),
        Write::Termination(..) => map("TERMINATIONS"),
        _ => 0.0,
    };
    writes.iter().map(each).sum()
}

/// Both halves of a connection.
fn per_connection(maps: &[MapMemory]) -> f64 {
    let map = maps.iter().find(|map| map.name == "CONNTRACK4");
    2.0 * map.map_or(0.0, MapMemory::per_entry)
}

fn failed(error: impl std::fmt::Display) -> WorldError {
    WorldError::Failed(error.to_string())
}
