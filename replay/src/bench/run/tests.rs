use std::cell::RefCell;

use super::super::result::{Measure, Unit};
use super::super::samples::figure;
use super::super::subject::Subject;
use super::*;

/// What an experiment does in a round: number of the round, in.
type Act<'a> = Box<dyn Fn(usize) -> Result<(), Broken> + 'a>;

/// Two subjects, whose samples are the number of the round and who was when in it; and a log.
struct Fake<'a> {
    name: &'static str,
    act: Act<'a>,
    rounds: usize,
    log: &'a RefCell<Vec<String>>,
    figures: Vec<Figure>,
}

impl<'a> Fake<'a> {
    fn new(name: &'static str, log: &'a RefCell<Vec<String>>, act: Act<'a>) -> Box<Self> {
        let figures = [Subject::Twinpath, Subject::Nftables].map(|subject| {
            let what = (Measure::Established, name, "");
            let mut empty = figure(what, subject, (1, 1), Unit::Nanoseconds, 0.0);
            empty.samples.clear();
            empty
        });
        Box::new(Self { name, act, rounds: usize::MAX, log, figures: figures.into() })
    }

    fn tell(&self, what: &str) {
        self.log.borrow_mut().push(format!("{} {what}", self.name));
    }
}

impl Experiment for Fake<'_> {
    fn name(&self) -> String {
        self.name.into()
    }

    fn prepare(&mut self, _: &Stop) -> Result<Vec<Missing>, Broken> {
        self.tell("prepare");
        Ok(vec![Missing { what: format!("ipvs in {}", self.name), why: "no module".into() }])
    }

    fn round(&mut self, number: usize, _: &Stop) -> Result<(), Broken> {
        (self.act)(number)?;
        let order: Vec<usize> = turn(&[0, 1], number).copied().collect();
        self.tell(&format!("round {number}: {order:?}"));
        for place in order {
            self.figures[place].samples.push(number as f64);
        }
        Ok(())
    }

    fn rounds(&self) -> usize {
        self.rounds
    }

    fn figures(&mut self) -> Vec<Figure> {
        std::mem::take(&mut self.figures)
    }
}

impl Drop for Fake<'_> {
    fn drop(&mut self) {
        self.tell("gone");
    }
}

fn fine<'a>() -> Act<'a> {
    Box::new(|_| Ok(()))
}

#[test]
fn rounds_take_the_subjects_in_turn_and_each_experiment_is_gone_before_the_next() {
    let log = RefCell::new(Vec::new());
    let mut few = Fake::new("few", &log, fine());
    few.rounds = 1;
    let mut steps = Vec::new();
    let experiments: Vec<Box<dyn Experiment>> = vec![Fake::new("one", &log, fine()), few];
    let measured = run(experiments, 3, &Stop::default(), |at| {
        steps.push((at.experiment.to_owned(), at.done, at.of));
    });
    let expected = [
        "one prepare",
        "one round 0: [0, 1]",
        "one round 1: [1, 0]",
        "one round 2: [0, 1]",
        "one gone",
        "few prepare",
        "few round 0: [0, 1]",
        "few gone",
    ];
    assert_eq!(*log.borrow(), expected);
    let samples: Vec<_> = measured.figures.iter().map(|figure| figure.samples.len()).collect();
    assert_eq!((samples, measured.complete), (vec![3, 3, 1, 1], true));
    assert_eq!(measured.missing.len(), 2);
    let dones: Vec<_> = steps.iter().map(|(_, done, of)| (*done, *of)).collect();
    assert_eq!(dones, [(0, 4), (1, 4), (2, 4), (3, 4), (3, 4), (4, 4)]);
}

#[test]
fn a_stop_keeps_the_rounds_that_were_done_and_begins_nothing_more() {
    let (log, flag) = (RefCell::new(Vec::new()), Arc::new(AtomicBool::new(false)));
    let act = |number| {
        if number == 1 {
            flag.store(true, Ordering::Relaxed);
        }
        Ok(())
    };
    let experiments: Vec<Box<dyn Experiment>> =
        vec![Fake::new("one", &log, Box::new(act)), Fake::new("two", &log, fine())];
    let measured = run(experiments, 5, &Stop::new(flag.clone()), |_| ());
    let expected =
        ["one prepare", "one round 0: [0, 1]", "one round 1: [1, 0]", "one gone", "two gone"];
    assert_eq!(*log.borrow(), expected);
    assert!(!measured.complete && !measured.broken);
    assert_eq!(measured.figures.len(), 2);
    assert!(measured.figures.iter().all(|figure| figure.samples == [0.0, 1.0]));
    let stopped: Vec<_> = measured.missing.iter().filter(|gap| gap.why == "stopped").collect();
    assert_eq!(stopped.len(), 2);
}

#[test]
fn an_experiment_that_breaks_is_told_and_the_others_run() {
    let (log, flag) = (RefCell::new(Vec::new()), Arc::new(AtomicBool::new(false)));
    let lost = |number| match number {
        0 => Ok(()),
        _ => Err(Broken::Failed("3 of 1,000 packets were lost".into())),
    };
    let lacks = |_| Err(WorldError::Environment("no ipvsadm".into()).into());
    let experiments: Vec<Box<dyn Experiment>> = vec![
        Fake::new("one", &log, Box::new(lost)),
        Fake::new("two", &log, Box::new(lacks)),
        Fake::new("three", &log, fine()),
    ];
    let measured = run(experiments, 2, &Stop::new(flag.clone()), |_| ());
    assert!(!measured.complete && measured.broken);
    let why = |what: &str| {
        let gap = measured.missing.iter().find(|gap| gap.what == what);
        gap.map(|gap| gap.why.as_str())
    };
    assert_eq!(why("one"), Some("3 of 1,000 packets were lost"));
    assert_eq!((why("two"), why("three")), (Some("no ipvsadm"), None));
    let paths: Vec<_> = measured.figures.iter().map(|figure| figure.path.as_str()).collect();
    assert_eq!(paths, ["one", "one", "three", "three"]);
    // A command that dies of the same signal is no finding of its own.
    let dies = |_| {
        flag.store(true, Ordering::Relaxed);
        Err(Broken::Failed("iptables-restore: signal 2".into()))
    };
    let experiments: Vec<Box<dyn Experiment>> = vec![Fake::new("one", &log, Box::new(dies))];
    let measured = run(experiments, 2, &Stop::new(flag.clone()), |_| ());
    assert_eq!(measured.missing.last().map(|gap| gap.why.as_str()), Some("stopped"));
}

#[test]
fn a_turn_begins_with_another_one_each_time() {
    let turns: Vec<Vec<char>> =
        (0..4).map(|number| turn(&['a', 'b', 'c'], number).copied().collect()).collect();
    assert_eq!(turns, [['a', 'b', 'c'], ['b', 'c', 'a'], ['c', 'a', 'b'], ['a', 'b', 'c']]);
    assert_eq!(turn(&[0; 0], 3).count(), 0);
}
