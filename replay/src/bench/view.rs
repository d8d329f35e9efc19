//! Figures in tables: what the reports show, whatever they look like.

use super::lab::Hook;
use super::quantity::{digits, grouped};
use super::result::{Figure, Measure, Results, Unit};
use super::stats::{Ratio, Spread, ratio, spread};
use super::subject::Subject;

/// Below this factor twinpath gains nothing.
pub const GAIN: f64 = 1.05;
/// With fewer rounds than this there are numbers and no verdicts.
pub const FEW: usize = 3;

/// All figures of a measure.
#[derive(Debug)]
pub struct Table<'a> {
    /// What was measured.
    pub measure: Measure,
    /// In what.
    pub unit: Unit,
    /// Whose figures there are: the columns.
    pub subjects: Vec<Subject>,
    /// A row per setting.
    pub rows: Vec<Row<'a>>,
}

/// A setting: where packets go and what is there.
#[derive(Debug)]
pub struct Row<'a> {
    /// Which way packets go; empty where none go.
    pub path: &'a str,
    /// Where programs do it; empty where that is no question.
    pub hook: &'a str,
    /// The services that are there.
    pub services: u32,
    /// The flows among which packets are spread; 0 where that says nothing.
    pub flows: u32,
    /// What each subject has, in the order of the columns.
    pub cells: Vec<Option<Cell<'a>>>,
}

/// What was measured of a subject in a setting.
#[derive(Debug)]
pub struct Cell<'a> {
    /// All of it.
    pub figure: &'a Figure,
    /// The samples in five numbers.
    pub spread: Spread,
    /// By which factor twinpath is better, of the same rounds; `None` of twinpath itself.
    pub ratio: Option<Ratio>,
}

/// A table per measure and unit that there are figures of, in the order of [`Measure::ALL`].
pub fn tables(figures: &[Figure]) -> Vec<Table<'_>> {
    let mut tables = Vec::new();
    for measure in Measure::ALL {
        let mut units: Vec<Unit> = of(figures, measure).map(|figure| figure.unit).collect();
        units.sort();
        units.dedup();
        tables.extend(units.into_iter().filter_map(|unit| table(figures, measure, unit)));
    }
    tables
}

fn of(figures: &[Figure], measure: Measure) -> impl Iterator<Item = &Figure> {
    figures.iter().filter(move |figure| figure.measure == measure)
}

fn table(figures: &[Figure], measure: Measure, unit: Unit) -> Option<Table<'_>> {
    let figures: Vec<&Figure> = of(figures, measure)
        .filter(|figure| figure.unit == unit && spread(&figure.samples).is_some())
        .collect();
    let has = |subject: &Subject| figures.iter().any(|figure| figure.subject == *subject);
    let subjects: Vec<Subject> = Subject::ALL.into_iter().filter(has).collect();
    let mut settings: Vec<(&str, u32, u32)> = Vec::new();
    for figure in &figures {
        let setting = (figure.path.as_str(), figure.flows, figure.services);
        if !settings.contains(&setting) {
            settings.push(setting);
        }
    }
    // Paths in the order of measuring; within each by flows and services.
    let paths: Vec<&str> = settings.iter().map(|(path, ..)| *path).collect();
    let first = |path: &str| paths.iter().position(|known| *known == path);
    settings.sort_by_key(|(path, flows, services)| (first(path), *flows, *services));
    let mut rows = Vec::new();
    for setting in settings {
        let here =
            |figure: &&&Figure| (figure.path.as_str(), figure.flows, figure.services) == setting;
        let here: Vec<&Figure> = figures.iter().filter(here).copied().collect();
        let placed = here.iter().filter(|figure| is_placed(figure.subject));
        let mut hooks: Vec<&str> = placed.map(|figure| figure.hook.as_str()).collect();
        hooks.retain(|hook| !hook.is_empty());
        hooks.sort_unstable();
        hooks.dedup();
        if hooks.is_empty() {
            hooks.push("");
        }
        // The stack's are beside every place of ours.
        rows.extend(hooks.into_iter().map(|hook| row(setting, hook, &here, &subjects)));
    }
    rows.sort_by_key(|row: &Row<'_>| (first(row.path), row.hook, row.flows, row.services));
    (!rows.is_empty()).then_some(Table { measure, unit, subjects, rows })
}

/// Whether it matters where a subject translates: the stack has one place, whatever it is called.
const fn is_placed(subject: Subject) -> bool {
    matches!(subject, Subject::Twinpath | Subject::Bare)
}

fn row<'a>(
    (path, flows, services): (&'a str, u32, u32),
    hook: &'a str,
    here: &[&'a Figure],
    subjects: &[Subject],
) -> Row<'a> {
    let find = |subject: Subject| {
        here.iter().copied().find(|figure| {
            let placed = is_placed(subject) && !figure.hook.is_empty();
            figure.subject == subject && (!placed || figure.hook == hook)
        })
    };
    // What is beside ours and at a place where we have nothing is compared with ours at tc, and alone: the
    // stack's are beside ours.
    let here_too = find(Subject::Twinpath);
    let elsewhere = || {
        let ours = here.iter().filter(|figure| figure.subject == Subject::Twinpath);
        ours.copied().find(|figure| figure.hook == Hook::Tc.name())
    };
    let is_alone = here_too.is_none() && elsewhere().is_some();
    let ours = here_too.or_else(elsewhere);
    let cells = subjects.iter().map(|subject| {
        let figure = find(*subject).filter(|_| !is_alone || is_placed(*subject))?;
        let ours = ours.filter(|_| *subject != Subject::Twinpath);
        let ratio =
            ours.and_then(|ours| ratio(figure.unit.is_rate(), &ours.samples, &figure.samples));
        Some(Cell { figure, spread: spread(&figure.samples)?, ratio })
    });
    Row { path, hook, services, flows, cells: cells.collect() }
}

impl Row<'_> {
    /// The setting in words: `clusterip-local, tc, 1 flow, 1,000 services`.
    pub fn setting(&self) -> String {
        setting(self.path, self.hook, self.flows, self.services)
    }
}

/// A setting in words.
pub fn setting(path: &str, hook: &str, flows: u32, services: u32) -> String {
    let mut parts: Vec<String> =
        [path, hook].into_iter().filter(|part| !part.is_empty()).map(str::to_owned).collect();
    if flows > 0 {
        parts.push(count(flows, "flow"));
    }
    if services > 0 {
        parts.push(count(services, "service"));
    }
    parts.join(", ")
}

/// `1 flow`, `50,000 flows`.
pub fn count(count: u32, what: &str) -> String {
    format!("{} {what}{}", grouped(f64::from(count)), if count == 1 { "" } else { "s" })
}

impl Ratio {
    /// `2.85x`.
    pub fn short(&self) -> String {
        format!("{}x", digits(self.value))
    }

    /// `2.60 to 3.01`.
    pub fn range(&self) -> String {
        format!("{} to {}", digits(self.interval.low), digits(self.interval.high))
    }

    /// Whether twinpath gains nothing here, or not surely.
    pub fn is_no_gain(&self) -> bool {
        self.interval.low <= GAIN
    }

    /// Whether there are enough rounds for a verdict.
    pub const fn is_decided(&self) -> bool {
        self.rounds >= FEW
    }

    /// `2.85 times as long with nftables (2.60 to 3.01)`, and for rates `twinpath does 2.85 times what
    /// nftables does (2.60 to 3.01)`.
    fn words(&self, unit: Unit, rival: Subject) -> String {
        let (factor, range) = (digits(self.value), self.range());
        let same = self.interval.low <= 1.0 && self.interval.high >= 1.0;
        match (unit.is_rate(), same) {
            (false, true) => {
                format!("the same with {rival}, as far as can be told ({range} times)")
            }
            (true, true) => format!("{rival} does the same, as far as can be told ({range} times)"),
            (false, false) => {
                let much = match unit {
                    Unit::Nanoseconds => "long",
                    Unit::Instructions => "many instructions",
                    _ => "much",
                };
                format!("{factor} times as {much} with {rival} ({range})")
            }
            (true, false) => format!("twinpath does {factor} times what {rival} does ({range})"),
        }
    }
}

/// The result in one sentence or two, with its uncertainty: per packet or, where packets were not measured,
/// of whatever was measured first; at the most services at which there is something to compare.
pub fn headline(results: &Results, tables: &[Table<'_>]) -> String {
    let compared = |table: &&Table<'_>| table.rows.iter().any(|row| compared(row).next().is_some());
    let main = [Measure::Established, Measure::NewFlow];
    let mut told: Vec<&Table<'_>> =
        tables.iter().filter(|table| main.contains(&table.measure)).filter(compared).collect();
    if told.is_empty() {
        told.extend(tables.iter().find(compared));
    }
    let mut text: String = told.iter().filter_map(|table| sentence(table)).collect();
    if text.is_empty() {
        text =
            "Nothing was compared: twinpath and another subject were not measured in one setting. "
                .into();
    }
    if !results.complete {
        text += "The run is incomplete. ";
    }
    text.trim_end().to_owned()
}

fn compared<'a>(row: &'a Row<'_>) -> impl Iterator<Item = (Subject, Ratio)> + 'a {
    let cells = row.cells.iter().flatten();
    let rivals = cells.filter(|cell| Subject::RIVALS.contains(&cell.figure.subject));
    rivals.filter_map(|cell| Some((cell.figure.subject, cell.ratio?)))
}

fn sentence(table: &Table<'_>) -> Option<String> {
    let most = table.rows.iter().filter(|row| compared(row).next().is_some());
    // The first of the paths, at the most services.
    let row = most.rev().max_by_key(|row| row.services)?;
    let rivals: Vec<(Subject, Ratio)> = compared(row).collect();
    let rounds = rivals.iter().map(|(_, ratio)| ratio.rounds);
    let rounds = (rounds.clone().min()?, rounds.max()?);
    let title = table.measure.title();
    let capital = format!("{}{}", title.get(..1)?.to_uppercase(), title.get(1..)?);
    let setting = format!("at {}, of {}", row.setting(), words_of(rounds));
    let is_decided = rounds.0 >= FEW;
    let words = |(rival, ratio): &(Subject, Ratio)| match is_decided {
        true => ratio.words(table.unit, *rival),
        false => format!("{rival} {}", ratio.short()),
    };
    let rivals: Vec<String> = rivals.iter().map(words).collect();
    let (last, others) = rivals.split_last()?;
    let rivals =
        if others.is_empty() { last.clone() } else { format!("{} and {last}", others.join(", ")) };
    Some(if !is_decided {
        format!("{capital}: {rivals}, {setting}: too few for a verdict. ")
    } else if table.unit.is_rate() {
        format!("{capital}: {rivals}, {setting}. ")
    } else {
        format!("Beside twinpath, {title} takes {rivals}, {setting}. ")
    })
}

/// `1 round`, `5 to 8 rounds`.
fn words_of((least, most): (usize, usize)) -> String {
    match (least, most) {
        (1, 1) => "1 round".into(),
        _ if least == most => format!("{most} rounds"),
        _ => format!("{least} to {most} rounds"),
    }
}

/// Where twinpath gains nothing.
#[derive(Debug)]
pub struct Nothing {
    /// What was measured, and in which setting.
    pub what: String,
    /// Beside whom.
    pub rival: Subject,
    /// How it compares.
    pub ratio: Ratio,
}

/// What comparisons with rivals say of gains.
#[derive(Debug)]
pub struct Gains {
    /// Those with enough rounds in which twinpath is not surely better by more than [`GAIN`].
    pub nothing: Vec<Nothing>,
    /// Of how many.
    pub decided: usize,
    /// Comparisons with fewer rounds than [`FEW`].
    pub undecided: usize,
    /// The least and the most rounds of those that are decided.
    rounds: (usize, usize),
}

/// Where twinpath gains nothing, and among how many comparisons.
pub fn gains(tables: &[Table<'_>]) -> Gains {
    let mut gains =
        Gains { nothing: Vec::new(), decided: 0, undecided: 0, rounds: (usize::MAX, 0) };
    for table in tables {
        for row in &table.rows {
            for (rival, ratio) in compared(row) {
                if !ratio.is_decided() {
                    gains.undecided += 1;
                    continue;
                }
                gains.decided += 1;
                gains.rounds = (gains.rounds.0.min(ratio.rounds), gains.rounds.1.max(ratio.rounds));
                if ratio.is_no_gain() {
                    let what = format!("{}: {}", table.measure.title(), row.setting());
                    gains.nothing.push(Nothing { what, rival, ratio });
                }
            }
        }
    }
    gains
}

impl Gains {
    /// What comes before the list.
    pub fn words(&self) -> String {
        let comparisons = |count: usize| {
            let s = if count == 1 { "" } else { "s" };
            format!("{} comparison{s}", grouped(count as f64))
        };
        let all = format!("{} of {}", comparisons(self.decided), words_of(self.rounds));
        let percent = (GAIN - 1.0) * 100.0;
        let fewer = format!("fewer than {FEW} rounds");
        match (self.decided, self.undecided) {
            (0, 0) => "Nothing was compared.".to_owned(),
            (0, open) => format!("No verdict: {} of {fewer} and no others.", comparisons(open)),
            (_, open) => {
                let mut words = match self.nothing.len() {
                    0 => format!("Nowhere among {all}: every ratio is surely above {GAIN}."),
                    some => format!(
                        "{some} of {all}: twinpath is not surely better by more than {percent:.0} %; \
                         below 1 the other one is better."
                    ),
                };
                if open > 0 {
                    words += &format!(" No verdict on {open} more, of {fewer}.");
                }
                words
            }
        }
    }
}

/// How it was measured, a line each.
pub fn method(results: &Results) -> Vec<String> {
    let rounds = results.figures.iter().map(|figure| figure.samples.len());
    let rounds = words_of((rounds.clone().min().unwrap_or(0), rounds.max().unwrap_or(0)));
    let has = |is: &dyn Fn(&Figure) -> bool| results.figures.iter().any(is);
    let of = |measures: &[Measure]| has(&|figure| measures.contains(&figure.measure));
    let mut lines = vec![
        format!(
            "Every figure is the median of {rounds}; each round takes all subjects in turn, in another order, through the same packets and the same sink."
        ),
        format!(
            "A ratio is the median of the rounds' ratios; above 1 twinpath is better. Its range is of resampled rounds and holds it 19 times of 20; of fewer than {} rounds it is from the least to the greatest, which is less sure (3 rounds: 3 times of 4; 1 round: nothing).",
            super::stats::ENOUGH
        ),
        "All of it ran on one machine over veth devices in network namespaces: what a network card adds or takes off is in none of the figures.".to_owned(),
    ];
    if has(&|figure| Subject::RIVALS.contains(&figure.subject)) {
        lines.push(
            "Where there are rules, netfilter leaves checksums alone (nf_conntrack_checksum=0), as behind a network card that has verified them: in the rules' favour.".into(),
        );
    }
    if of(&super::sockets::MEASURES) {
        lines.push(
            "With real sockets, one thread on one processor has both ends, and a value is the median of a round's calls: the work of both stacks and of the way between them, without the time in which somebody is woken up. No port of a client is used twice.".into(),
        );
    }
    if has(&|figure| figure.hook == "socket") {
        lines.push(
            "The hook socket is bare programs at connect and sendmsg, which rewrite the address before there is a packet, and then plain forwarding; its ratios are to twinpath at tc.".into(),
        );
    }
    if of(&super::updates::MEASURES) || of(&super::exchange::MEASURES) {
        lines.push(
            "The time of rules is that of kube-proxy's tools and of the kernel, with texts made beforehand, which kube-proxy has to make as well: in the rules' favour. twinpath's has all the planning in it: a load from the state of the cluster, a change and a resync from the objects.".into(),
        );
    }
    lines
}
