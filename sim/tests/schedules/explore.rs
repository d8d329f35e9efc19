//! Runs a case under many schedules.
//!
//! `TWINPATH_SCHEDULES` multiplies how many; `TWINPATH_SEED` is the seed of the random ones;
//! `TWINPATH_SCHEDULE`, with a schedule that a failure has printed, plays that one.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex};

use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, Runner};

use crate::cluster::Family;
use crate::lab::{Do, Lab};
use crate::laws::{self, Faith};
use crate::points::{Counts, Points};

/// Something that happens on several CPUs at once.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    /// Its name, that of its test.
    pub(crate) name: &'static str,
    /// What happened before, one after the other.
    pub(crate) before: &'static [Do],
    /// What each CPU does.
    pub(crate) cpus: &'static [&'static [Do]],
    /// The first draws of each CPU's dice.
    pub(crate) draws: &'static [&'static [u32]],
    /// Whether the control plane's tables change meanwhile.
    pub(crate) changes: bool,
    /// The connections that have to go on afterwards.
    pub(crate) flows: &'static [&'static str],
    /// How much is asked.
    pub(crate) faith: Faith,
    /// What has to have happened in one schedule at least; `all`: that there is no schedule more.
    pub(crate) reach: &'static [&'static str],
    /// How many schedules of each random kind.
    pub(crate) schedules: usize,
    /// How many schedules at most in the search of all of them.
    pub(crate) all: usize,
    /// What must hold beside the laws.
    pub(crate) also: fn(&Lab),
}

impl Case {
    /// What most cases have in common.
    pub(crate) const NEW: Self = Self {
        name: "",
        before: &[],
        cpus: &[],
        draws: &[&[0, 7], &[0x8000_0000, 9]],
        changes: false,
        flows: &[],
        faith: Faith::Strict,
        reach: &[],
        schedules: 200,
        all: 1_000,
        also: |_| {},
    };
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// How many times more is explored than by default.
pub(crate) fn times() -> usize {
    number("TWINPATH_SCHEDULES", 1).max(1) as usize
}

/// Explores a case.
pub(crate) fn explore(case: &Case) {
    if let Ok(schedule) = std::env::var("TWINPATH_SCHEDULE") {
        let (family, schedule) = schedule.split_once(':').expect("v4: or v6: and a schedule");
        let family = if family == "v6" { Family::V6 } else { Family::V4 };
        match schedule.strip_prefix("seed ") {
            Some(seed) => {
                let seed = seed.parse().expect("the number of a seed");
                run(case, family, RandomScheduler::new_from_seed(seed, 1), &Arc::default())
            }
            None => run(case, family, ReplayScheduler::new_from_encoded(schedule), &Arc::default()),
        };
        return;
    }
    let counts = Arc::new(Mutex::new(Counts::new()));
    let times = times();
    let seed = number("TWINPATH_SEED", 0x7715);
    let schedules = case.schedules * times;
    let mut total = 0;
    for family in [Family::V4, Family::V6] {
        total += run(case, family, RandomScheduler::new_from_seed(seed, schedules), &counts);
        for depth in [2, 4] {
            let pct = PctScheduler::new_from_seed(seed, depth, schedules / 2 + 1);
            total += run(case, family, pct, &counts);
        }
    }
    let most = case.all * times;
    let found = run(case, Family::V4, DfsScheduler::new(Some(most), true), &counts);
    let all = if found < most { " (all there are)" } else { "" };
    let mut counts = counts.lock().unwrap();
    if found < most {
        counts.insert("all".to_owned(), found as u64);
    }
    println!("{}: {total} schedules drawn, {found} in order{all}; {counts:?}", case.name);
    for what in case.reach {
        assert!(counts.contains_key(*what), "{}: never reached {what:?}; {counts:?}", case.name);
    }
}

/// Runs a case under a scheduler; how many schedules there were comes out.
fn run<S: Scheduler + 'static>(
    case: &Case,
    family: Family,
    scheduler: S,
    counts: &Arc<Mutex<Counts>>,
) -> usize {
    let (case, name, counts) = (*case, case.name, counts.clone());
    let mut config = Config::new();
    config.stack_size = 0x4_0000;
    let runner = Runner::new(scheduler, config);
    let result = catch_unwind(AssertUnwindSafe(|| {
        runner.run(move || {
            let seen = once(&case, family);
            let mut counts = counts.lock().unwrap();
            for (what, count) in seen {
                *counts.entry(what).or_default() += count;
            }
        })
    }));
    result.unwrap_or_else(|panic| {
        let family = if family == Family::V4 { "v4" } else { "v6" };
        eprintln!(
            "to play the schedule above again, or `seed ` and the seed in its place:\n  \
             TWINPATH_SCHEDULE='{family}:SCHEDULE' cargo test -p twinpath-sim --test schedules -- --exact --nocapture {name}"
        );
        resume_unwind(panic)
    })
}

/// A case under the current schedule.
fn once(case: &Case, family: Family) -> Counts {
    let passes = |action: &Do| matches!(action, Do::Pass(_));
    let clock = case.cpus.iter().any(|actions| actions.iter().any(passes));
    let lab = Arc::new(Lab::new(family, Points::scheduled(case.changes, clock)));
    let mut first = lab.cpu(0, &[0]);
    for action in case.before {
        lab.act(0, &mut first, action);
    }
    lab.points.set_quiet(false);
    let (draws, run) = (case.draws, |lab: &Lab, number: usize, actions: &[Do], draws: &[u32]| {
        let mut cpu = lab.cpu(number, draws);
        for action in actions {
            lab.act(number, &mut cpu, action);
        }
    });
    let draws = |number: usize| draws.get(number - 1).copied().unwrap_or_default();
    let mut cpus = (1..).zip(case.cpus.iter().copied());
    // The first one runs here: one thread less for the scheduler to choose from.
    let first = cpus.next();
    let others: Vec<_> = cpus
        .map(|(number, actions)| {
            let (lab, draws) = (lab.clone(), draws(number));
            shuttle::thread::spawn(move || run(&lab, number, actions, draws))
        })
        .collect();
    if let Some((number, actions)) = first {
        run(&lab, number, actions, draws(number));
    }
    for other in others {
        other.join().unwrap();
    }
    lab.points.set_quiet(true);
    (case.also)(&lab);
    laws::check(&lab, case.flows, case.faith);
    lab.points.counts()
}
