//! The comparison: rows through the simulator and through rules, and what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::SocketAddr;

use twinpath_sim::world::{World, WorldError};

use super::capture::Flow;
use super::compare::{Difference, Fate, fate, same, same_refusal, seen};
use super::craft::Checksum;
use super::deviations::{self, Deviation};
use super::exchange::{End, From, Segment, Side, Step, What};
use super::lab::{Front, Lab, address};
use super::rows::{self, Case, Kind};
use super::view::{Names, View};
use super::world::{NetfilterWorld, Rules};

/// How often a connection is opened until both worlds have chosen the same endpoints.
const MOST_TRIES: usize = 64;

/// The client ports of rows, which count up.
pub(super) const FIRST_PORT: u16 = 10_000;
pub(super) const LAST_PORT: u16 = 29_999;

/// What is compared.
#[derive(Clone, Debug)]
pub struct Options {
    /// By which rules.
    pub rules: Rules,
    /// Whether all rows are compared, and not fewer of UDP and SCTP.
    pub whole: bool,
    /// One row in so many, beginning with the seed's; 1 for all of them.
    pub one_in: usize,
    /// What the simulator's dice are made from.
    pub seed: u64,
}

/// What came of a comparison.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Rows that were compared.
    pub rows: usize,
    /// Packets that were sent in each world.
    pub packets: usize,
    /// Rows in which a deviation was met, by its number.
    pub accepted: BTreeMap<u32, usize>,
    /// What differs and should not, each a text of some lines.
    pub failures: Vec<String>,
    /// The packets that were sent to twinpath on the connections of failures.
    pub sent: Vec<Vec<u8>>,
    /// Deviations that no row has met.
    pub unused: Vec<(u32, &'static str)>,
}

impl Report {
    /// Accepts a difference that is meant, or reports it. Whether it is meant.
    pub(super) fn judge(
        &mut self,
        rules: Rules,
        case: &Case,
        difference: &Difference,
        met: &mut BTreeSet<u32>,
        text: impl FnOnce() -> String,
    ) -> bool {
        let found = deviations::ALL.iter().find(|deviation| {
            deviation.rules.is_none_or(|only| only == rules) && (deviation.is_it)(case, difference)
        });
        if let Some(deviation) = found {
            met.insert(deviation.number);
            return true;
        }
        self.failures.push(format!("{}\n  {difference}\n{}", case.text(), text()));
        false
    }

    /// Whether nothing is wrong.
    pub fn is_fine(&self) -> bool {
        self.failures.is_empty() && self.unused.is_empty()
    }
}

/// Compares rows through the simulator and through rules.
pub fn rows(options: &Options) -> Result<Report, WorldError> {
    let lab = Lab::new()?;
    let mut twin = lab.simulator(options.seed)?;
    let mut netfilter = NetfilterWorld::new(lab.topology.clone(), options.rules)?;
    netfilter.apply(&lab.state)?;
    let mut run = Run::new(&lab, &mut twin, &mut netfilter, options.rules);
    let skip = usize::try_from(options.seed).unwrap_or(0) % options.one_in.max(1);
    let all = rows::all(&lab.services, options.whole);
    for case in all.iter().skip(skip).step_by(options.one_in.max(1)) {
        run.row(case)?;
    }
    let mut report = run.report;
    if options.one_in <= 1 {
        let rules =
            |deviation: &&Deviation| deviation.rules.is_none_or(|rules| rules == options.rules);
        report.unused = deviations::ALL
            .iter()
            .filter(rules)
            .filter(|deviation| !report.accepted.contains_key(&deviation.number))
            .map(|deviation| (deviation.number, deviation.what))
            .collect();
    }
    Ok(report)
}

/// Compares the connections of captures, each at the one or the other of two services.
pub fn captured(options: &Options, flows: &[Flow]) -> Result<Report, WorldError> {
    let lab = Lab::new()?;
    let mut twin = lab.simulator(options.seed)?;
    let mut netfilter = NetfilterWorld::new(lab.topology.clone(), options.rules)?;
    netfilter.apply(&lab.state)?;
    let mut run = Run::new(&lab, &mut twin, &mut netfilter, options.rules);
    for (number, flow) in flows.iter().enumerate() {
        // One endpoint on the node for a pod, and one on the other node for a client outside.
        let (place, from, front) = if number % 2 == 0 {
            (3, "pa", Front::Cluster)
        } else {
            (2, "client", Front::Balancer)
        };
        let service = lab.services.iter().find(|service| service.number == place).cloned();
        let Some(service) = service else { continue };
        let Flow { protocol, v4, .. } = *flow;
        // Where devices were to complete checksums, a capture has wrong ones.
        let is_right = flow.steps.iter().all(all_right);
        let kind = if is_right { Kind::Captured } else { Kind::WrongChecksum };
        let case = Case { kind, service, front, from, protocol, v4 };
        run.report.rows += 1;
        let mut met = BTreeSet::new();
        let before = run.report.failures.len();
        run.connect(&case, &flow.steps, &mut met, &mut BTreeSet::new())?;
        for failure in run.report.failures.iter_mut().skip(before) {
            *failure = format!("{}: {failure}", flow.name);
        }
        for number in met {
            *run.report.accepted.entry(number).or_default() += 1;
        }
    }
    Ok(run.report)
}

/// A run.
struct Run<'a> {
    lab: &'a Lab,
    twin: &'a mut dyn World,
    netfilter: &'a mut dyn World,
    rules: Rules,
    report: Report,
    port: u16,
    now: u64,
    /// Under which name the endpoint of the last connection saw its client, in each world.
    seen: [Option<SocketAddr>; 2],
}

impl<'a> Run<'a> {
    /// A run in which nothing was sent.
    fn new(
        lab: &'a Lab,
        twin: &'a mut dyn World,
        netfilter: &'a mut dyn World,
        rules: Rules,
    ) -> Self {
        let report = Report::default();
        Self { lab, twin, netfilter, rules, report, port: FIRST_PORT, now: 0, seen: [None; 2] }
    }

    /// Opens connections until both worlds have chosen the same endpoints, and has sent the row's packets to
    /// each of them in both.
    fn row(&mut self, case: &Case) -> Result<(), WorldError> {
        self.report.rows += 1;
        match case.kind {
            Kind::Clash => return self.clash(case),
            Kind::Affinity => return self.affinity(case),
            _ => {}
        }
        let rules = self.rules;
        let (mut twin, mut netfilter) = (BTreeSet::new(), BTreeSet::new());
        let (mut met, mut done) = (BTreeSet::new(), BTreeSet::new());
        let script = rows::script(case);
        for _ in 0..MOST_TRIES {
            let before = self.report.failures.len();
            let opened = self.connect(case, &script, &mut met, &mut done)?;
            if self.report.failures.len() > before {
                return Ok(());
            }
            let Some([a, b]) = opened else { break };
            twin.insert(a);
            netfilter.insert(b);
            if twin == netfilter && twin.is_subset(&done) {
                break;
            }
        }
        if twin != netfilter {
            let text = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(" ");
            let (here, there) = (text(&twin), text(&netfilter));
            let what = format!("{here} here, {there} by {}", self.rules.name());
            let difference = Difference::Endpoints(what);
            self.report.judge(rules, case, &difference, &mut met, String::new);
        }
        for number in met {
            *self.report.accepted.entry(number).or_default() += 1;
        }
        Ok(())
    }

    /// Connections from one port of a client to one endpoint, by two frontends and by its own address: the
    /// endpoint must see different ports, and each answer come back as it should.
    fn clash(&mut self, case: &Case) -> Result<(), WorldError> {
        let mut met = BTreeSet::new();
        let port = self.port;
        let [_, other] = rows::CLASHING;
        let other = self.lab.services.iter().find(|service| service.number == other);
        let other = other.cloned().unwrap_or_else(|| case.service.clone());
        let second = Case { service: other, ..case.clone() };
        let direct = Case { front: Front::Direct, ..case.clone() };
        let mut clients = [BTreeSet::new(), BTreeSet::new()];
        for case in [case, &second, &direct] {
            self.port = port;
            let steps = rows::opening_of(case);
            self.connect(case, &steps, &mut met, &mut BTreeSet::new())?;
            for (all, seen) in clients.iter_mut().zip(self.seen) {
                all.extend(seen);
            }
        }
        if clients.iter().any(|seen| seen.len() != 3) {
            let difference = Difference::Clash(clients[0].len(), clients[1].len());
            self.report.judge(self.rules, case, &difference, &mut met, String::new);
        }
        for number in met {
            *self.report.accepted.entry(number).or_default() += 1;
        }
        Ok(())
    }

    /// Connections of one client, each of which must get the endpoint of the first.
    fn affinity(&mut self, case: &Case) -> Result<(), WorldError> {
        let (mut met, mut first) = (BTreeSet::new(), None);
        let steps = rows::opening_of(case);
        for _ in 0..8 {
            let done = &mut BTreeSet::new();
            let opened = self.connect(case, steps.get(..1).unwrap_or_default(), &mut met, done)?;
            let Some(opened) = opened else { break };
            let before = first.get_or_insert_with(|| opened.clone());
            if *before != opened {
                let what = format!("{before:?}, and then {opened:?}");
                let difference = Difference::Endpoints(what);
                self.report.judge(self.rules, case, &difference, &mut met, String::new);
            }
        }
        for number in met {
            *self.report.accepted.entry(number).or_default() += 1;
        }
        Ok(())
    }

    /// Opens a connection in both worlds and, where they have chosen the same endpoint and it is not `done`,
    /// sends the steps on it. What the first packet came to, in twinpath and by netfilter: the endpoint, or
    /// what else; `None` where there is nothing more to learn.
    fn connect(
        &mut self,
        case: &Case,
        steps: &[Step],
        met: &mut BTreeSet<u32>,
        done: &mut BTreeSet<String>,
    ) -> Result<Option<[String; 2]>, WorldError> {
        self.port = if self.port >= LAST_PORT { FIRST_PORT } else { self.port + 1 };
        // So that refusals are not too many for a second.
        self.now += 50_000_000;
        self.twin.set_time(self.now)?;
        let client = SocketAddr::new(address(case.from, case.v4), self.port);
        let front = case.front.end(&case.service, case.protocol, case.v4);
        let Some(sender) = self.lab.sender(case.from) else { return Ok(None) };
        let mut names = Names::default();
        let mut opened = None;
        let mut twin = Side::new(self.twin, sender, (client, front));
        let mut netfilter = Side::new(self.netfilter, sender, (client, front));
        let mut differences: Vec<(usize, Difference, String)> = Vec::new();
        for (number, step) in steps.iter().enumerate() {
            let both = (twin.send(step)?, netfilter.send(step)?);
            let (Some(a), Some(b)) = both else {
                if both.0.is_some() != both.1.is_some() {
                    differences.push((
                        number,
                        Difference::Place,
                        "only one world has the packet".into(),
                    ));
                }
                break;
            };
            let sent = |side: &Side<'_>| match (step.from, side.server()) {
                (From::Server, Some((client, own))) => (own, client),
                _ => (client, front),
            };
            let fate_of = |side: &Side<'_>, ends: &[End]| {
                let (from, to) = sent(side);
                match fate(ends, from, to) {
                    // Of a pod that is its own client.
                    Fate::Refused if matches!(step.what, What::Error(..)) => Fate::Delivered,
                    fate => fate,
                }
            };
            let (fate_a, fate_b) = (fate_of(&twin, &a), fate_of(&netfilter, &b));
            let text = || {
                let servers = [twin.server(), netfilter.server()].map(|ends| {
                    ends.map_or("nobody".to_owned(), |(client, own)| format!("{own} sees {client}"))
                });
                let [here, there] = servers;
                format!("{}  served: {here}; by rules: {there}\n", shown(step, &a, &b, self.rules))
            };
            if step.opens {
                let is_node =
                    |ip| self.lab.topology.nodes.iter().any(|node| node.addresses.contains(&ip));
                let outcome = |fate: Fate, ends: &[End]| match (fate, ends.first()) {
                    (Fate::Delivered, Some(end)) => end.view.destination.to_string(),
                    (fate, _) => format!("{fate:?}"),
                };
                let outcomes = [outcome(fate_a, &a), outcome(fate_b, &b)];
                let both_serve = (fate_a, fate_b) == (Fate::Delivered, Fate::Delivered);
                let same_endpoint = outcomes[0] == outcomes[1];
                let is_new = number > 0 || same_endpoint && done.insert(outcomes[0].clone());
                opened.get_or_insert(outcomes);
                if both_serve && !(same_endpoint && is_new) {
                    break;
                }
                if let (Some((seen_a, own_a)), Some((seen_b, own_b))) =
                    (twin.server(), netfilter.server())
                    && fate_a == fate_b
                {
                    names.pairs = vec![(own_b, own_a), (seen_b, seen_a)];
                    let (seen_a, seen_b) =
                        (seen(client, seen_a, is_node), seen(client, seen_b, is_node));
                    if seen_a != seen_b {
                        differences.push((number, Difference::Source(seen_a, seen_b), text()));
                    }
                }
            }
            if fate_a != fate_b {
                let mut difference = Difference::Fate(fate_a, fate_b);
                if let (Kind::Captured, What::Captured(bytes)) = (case.kind, &step.what)
                    && (fate_a, fate_b) == (Fate::Delivered, Fate::Dropped)
                    && let Some(flags) = View::new(bytes).and_then(|view| view.flags())
                {
                    difference = Difference::Invalid(flags, step.opens);
                }
                differences.push((number, difference, text()));
                if step.opens {
                    opened = None;
                    break;
                }
                continue;
            }
            if a.len() != b.len() {
                differences.push((number, Difference::Count(a.len(), b.len()), text()));
                continue;
            }
            for (end_a, end_b) in a.iter().zip(&b) {
                let result = if fate_a == Fate::Refused && step.from == From::Client {
                    same_refusal(&end_a.view, &end_b.view)
                } else {
                    same(&end_a.view, &end_b.view, &names)
                        .and_then(|()| stable(step, end_a, end_b, &twin, &netfilter))
                };
                let result = result.and_then(|()| {
                    let was_right = all_right(step);
                    let broken = was_right && !(end_a.view.is_right() && end_b.view.is_right());
                    if broken { Err(Difference::Broken) } else { Ok(()) }
                });
                if let Err(difference) = result {
                    differences.push((number, difference, text()));
                }
            }
            if step.opens && fate_a != Fate::Delivered {
                break;
            }
        }
        self.report.packets += twin.sent.len();
        let sent = std::mem::take(&mut twin.sent);
        self.seen = [twin.server(), netfilter.server()].map(|ends| ends.map(|(client, _)| client));
        let mut fine = true;
        for (number, difference, text) in differences {
            fine = self.report.judge(self.rules, case, &difference, met, || {
                format!("  step {} of {}\n{text}", number + 1, steps.len())
            });
            if !fine {
                break; // what follows from it says nothing new
            }
        }
        if !fine {
            self.report.sent.extend(sent);
        }
        Ok(opened.filter(|_| fine))
    }
}

/// Whether a packet for one of the connection's ends arrived there.
fn stable(
    step: &Step,
    a: &End,
    b: &End,
    twin: &Side<'_>,
    netfilter: &Side<'_>,
) -> Result<(), Difference> {
    // Fragments without ports and errors have their names compared with the bytes.
    if a.view.source.port() == 0 || step.from == From::Server {
        return if step.from == From::Server && a.place != b.place {
            Err(Difference::Place)
        } else {
            Ok(())
        };
    }
    let is_stable = |end: &End, side: &Side<'_>| {
        side.server()
            .is_none_or(|(client, own)| (end.view.source, end.view.destination) == (client, own))
    };
    let stable = is_stable(a, twin) && is_stable(b, netfilter);
    if stable { Ok(()) } else { Err(Difference::Unstable) }
}

/// Whether a step's packets are right when they are sent.
fn all_right(step: &Step) -> bool {
    match &step.what {
        What::Packet(Segment { checksum, .. }) | What::Fragments(Segment { checksum, .. }, _) => {
            matches!(checksum, Checksum::Right)
        }
        What::Error(..) => true,
        What::Captured(bytes) => View::new(bytes).is_some_and(|view| view.is_right()),
    }
}

/// Packets before and after, decoded.
pub(super) fn shown(step: &Step, a: &[End], b: &[End], rules: Rules) -> String {
    let mut text =
        format!("  sent by the {:?}: {:?}\n", step.from, step.what).replace("Packet(Segment ", "(");
    for (name, ends) in [("twinpath", a), (rules.name(), b)] {
        if ends.is_empty() {
            let _ = writeln!(text, "  {name}: nothing");
        }
        for End { place, view } in ends {
            let _ = writeln!(text, "  {name}: at {place:?} {}", view.text());
            let bytes: String =
                view.bytes.iter().take(96).map(|byte| format!("{byte:02x}")).collect();
            let _ = writeln!(text, "    {bytes}");
        }
    }
    text
}
