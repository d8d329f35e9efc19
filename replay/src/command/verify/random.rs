//! Random scripts on the command line.

use std::io::{self, IsTerminal};
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use twinpath_kernel::test_run::TestRunEngine;
use twinpath_sim::engine::SimEngine;
use twinpath_sim::world::WorldError;

use super::checks::{End, grouped};
use super::{LIMITS, engines, print};
use crate::failure::Failure;
use crate::verify::{Random, Runner, Scenario, SpecRun, TwinError};
use crate::worlds::Kind;

/// Steps of the longest script.
const STEPS: usize = 120;

/// What is asked of random scripts.
pub(super) struct Ask<'a> {
    /// Packets to compare at least.
    pub(super) packets: u64,
    /// What the scripts are drawn from.
    pub(super) seed: u64,
    /// Where a failing script is saved.
    pub(super) save: &'a Path,
    /// Whether to say what the packets met.
    pub(super) verbose: bool,
}

/// Random scripts through the simulator and the programs in this kernel, on tables that evict or not.
pub(super) fn twin(ask: &Ask<'_>, small: bool) -> Result<End, Failure> {
    if ask.packets == 0 {
        return Ok(nothing());
    }
    let (mut twin, _pinned) = engines(small)?;
    ask.run(&mut twin)
}

/// Random scripts in a world, judged by the reference.
pub(super) fn spec(ask: &Ask<'_>, kind: Kind) -> Result<End, Failure> {
    if ask.packets == 0 {
        return Ok(nothing());
    }
    in_world(kind, ask)
}

/// A script that was saved.
pub(super) struct Again<'a>(pub(super) &'a Scenario);

/// What an oracle is asked.
pub(super) trait Question {
    /// Asks it.
    fn put<R: Runner>(self, oracle: &mut R) -> Result<End, Failure>;
}

impl Question for &Ask<'_> {
    fn put<R: Runner>(self, oracle: &mut R) -> Result<End, Failure> {
        self.run(oracle)
    }
}

impl Question for Again<'_> {
    fn put<R: Runner>(self, oracle: &mut R) -> Result<End, Failure> {
        again(oracle, self.0)
    }
}

/// Asks the spec about a world.
pub(super) fn in_world(kind: Kind, question: impl Question) -> Result<End, Failure> {
    match kind {
        Kind::Sim => question.put(&mut SpecRun::new(SimEngine::new(1, &LIMITS, 0))),
        _ => {
            let engine = TestRunEngine::new(1, &LIMITS, 0)
                .map_err(|error| WorldError::Environment(format!("verify: {error}")))?;
            question.put(&mut SpecRun::new(engine))
        }
    }
}

/// Runs one script.
pub(super) fn again<R: Runner>(oracle: &mut R, script: &Scenario) -> Result<End, Failure> {
    Ok(match oracle.run(script).map_err(broken)? {
        Some(difference) => End::Failed(vec![difference.to_string()], None),
        None if oracle.packets() == 0 => {
            End::Skipped("it has no packet that this world can be given".into())
        }
        None => End::Passed(format!("{} packets", grouped(oracle.packets()))),
    })
}

fn nothing() -> End {
    End::Skipped("no packets were asked for".into())
}

impl Ask<'_> {
    fn run<R: Runner>(&self, oracle: &mut R) -> Result<End, Failure> {
        let random = Random { packets: self.packets, steps: STEPS, seed: self.seed };
        let bar = progress(R::NAME, self.packets);
        let outcome = random.run(oracle, |packets| bar.set_position(packets)).map_err(broken)?;
        bar.finish_and_clear();
        if self.verbose {
            print(&outcome.coverage.to_string())?;
        }
        let packets = grouped(outcome.packets);
        let Some(failure) = &outcome.failure else {
            return Ok(End::Passed(format!("{packets} packets")));
        };
        let folder = failure.save(self.save).map_err(|cause| unwritable(self.save, cause))?;
        let problem = format!("after {packets} packets, {}", failure.difference);
        Ok(End::Failed(vec![problem], Some(folder)))
    }
}

/// A failure cannot be saved.
pub(super) fn unwritable(save: &Path, cause: io::Error) -> Failure {
    Failure::File {
        name: save.display().to_string(),
        cause,
        advice: "give --save a folder that can be written",
    }
}

/// A bar on the terminal, where there is one.
fn progress(name: &'static str, packets: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{prefix:<10} {wide_bar} {pos}/{len} packets, {eta} left");
    ProgressBar::new(packets)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_prefix(name)
}

fn broken(error: TwinError) -> Failure {
    Failure::World(WorldError::Failed(error.to_string()))
}
