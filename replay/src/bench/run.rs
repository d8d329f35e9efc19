//! The order of measuring: rounds that take the subjects in turn, and an end that leaves nothing behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use twinpath_sim::world::WorldError;

use super::result::{Figure, Missing};

/// Whether the run is to end early, as after Ctrl-C. Cheap to copy and to ask.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// One that the flag says; whoever sets it ends the run.
    pub const fn new(flag: Arc<AtomicBool>) -> Self {
        Self(flag)
    }

    /// Whether it is time.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why an experiment cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The machine lacks something; the others may still run.
    #[error("{0}")]
    Lacks(String),
    /// What it measured is not what it should have been: packets lost, rules refused.
    #[error("{0}")]
    Failed(String),
    /// It was told to stop, and did.
    #[error("stopped")]
    Stopped,
}

impl From<WorldError> for Broken {
    fn from(error: WorldError) -> Self {
        match error {
            WorldError::Environment(why) => Self::Lacks(why),
            WorldError::Failed(why) => Self::Failed(why),
        }
    }
}

/// Some figures that are measured in the same rounds: those of all subjects in a setting, or in several that
/// share their namespaces.
pub trait Experiment {
    /// What it is, in a few words: `packets at 1,000 services`.
    fn name(&self) -> String;

    /// Makes what rounds need: namespaces, rules, programs. Returns what it cannot measure, and why. Whatever
    /// it made is gone when the experiment is dropped.
    fn prepare(&mut self, stop: &Stop) -> Result<Vec<Missing>, Broken>;

    /// One round: a sample of every figure, or of none, the subjects in turn. `number` counts from 0; whoever
    /// begins rotates by it (see [`turn`]).
    fn round(&mut self, number: usize, stop: &Stop) -> Result<(), Broken>;

    /// Rounds that it is worth at most: what takes minutes and does not vary is not done ten times.
    fn rounds(&self) -> usize {
        usize::MAX
    }

    /// What it gave up while measuring, and why. Asked for before the figures.
    fn gaps(&self) -> Vec<Missing> {
        Vec::new()
    }

    /// What was measured in all rounds.
    fn figures(&mut self) -> Vec<Figure>;
}

/// The order of a round: all of them, from another one on in each round.
pub fn turn<T>(all: &[T], number: usize) -> impl Iterator<Item = &T> {
    let first = number.checked_rem(all.len()).unwrap_or(0);
    all.iter().cycle().skip(first).take(all.len())
}

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At<'a> {
    /// The experiment, by its name.
    pub experiment: &'a str,
    /// Rounds of all experiments that are done.
    pub done: usize,
    /// Rounds that there are.
    pub of: usize,
}

/// What a run measured.
#[derive(Debug, Default)]
pub struct Measured {
    /// The figures, in the order of measuring.
    pub figures: Vec<Figure>,
    /// What was not measured, and why.
    pub missing: Vec<Missing>,
    /// Whether no experiment broke or was stopped.
    pub complete: bool,
    /// Whether one broke of itself: what it measured was not what it should have been.
    pub broken: bool,
    /// How long it took, in seconds.
    pub took: f64,
}

/// Runs the experiments one after the other, each for `rounds` rounds. One that breaks is told of among what
/// is missing, and the rounds that it did count; the others run all the same. Each is dropped, and all that
/// it made removed, before the next one begins.
pub fn run(
    experiments: Vec<Box<dyn Experiment + '_>>,
    rounds: usize,
    stop: &Stop,
    mut tell: impl FnMut(At<'_>),
) -> Measured {
    let began = Instant::now();
    let mut measured = Measured { complete: true, ..Measured::default() };
    let of = experiments.iter().map(|experiment| rounds.min(experiment.rounds())).sum();
    let mut done = 0;
    for mut experiment in experiments {
        let name = experiment.name();
        let ours = rounds.min(experiment.rounds());
        tell(At { experiment: &name, done, of });
        let mut step = |number| tell(At { experiment: &name, done: done + number, of });
        let ended = one(experiment.as_mut(), ours, stop, &mut measured, &mut step);
        done += ours;
        measured.missing.extend(experiment.gaps());
        measured
            .figures
            .extend(experiment.figures().into_iter().filter(|figure| !figure.samples.is_empty()));
        let why = match ended {
            Ok(()) => continue,
            // What a signal breaks, such as a command that got it too, is stopped and not broken.
            Err(_) if stop.is_set() => Broken::Stopped.to_string(),
            Err(Broken::Lacks(what)) => {
                measured.missing.push(Missing { what: name, why: what });
                continue;
            }
            Err(broken) => {
                measured.broken = true;
                broken.to_string()
            }
        };
        measured.complete = false;
        measured.missing.push(Missing { what: name, why });
    }
    measured.took = began.elapsed().as_secs_f64();
    measured
}

fn one(
    experiment: &mut dyn Experiment,
    rounds: usize,
    stop: &Stop,
    measured: &mut Measured,
    step: &mut dyn FnMut(usize),
) -> Result<(), Broken> {
    let go_on = || if stop.is_set() { Err(Broken::Stopped) } else { Ok(()) };
    go_on()?;
    measured.missing.extend(experiment.prepare(stop)?);
    for number in 0..rounds {
        go_on()?;
        experiment.round(number, stop)?;
        step(number + 1);
    }
    Ok(())
}

#[cfg(test)]
#[path = "run/tests.rs"]
mod tests;
