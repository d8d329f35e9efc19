//! Random scripts on the command line.

use std::io::{self, IsTerminal};
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use twinpath_sim::world::WorldError;

use super::checks::{End, grouped};
use super::{engines, print};
use crate::failure::Failure;
use crate::verify::{Outcome, Random, TwinError};

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
        return Ok(End::Skipped("no packets were asked for".into()));
    }
    let (mut twin, _pinned) = engines(small)?;
    let random = Random { packets: ask.packets, steps: STEPS, seed: ask.seed };
    let bar = progress("twin", ask.packets);
    let outcome = random.run(&mut twin, |packets| bar.set_position(packets)).map_err(broken)?;
    bar.finish_and_clear();
    end(ask, &outcome)
}

fn end(ask: &Ask<'_>, outcome: &Outcome) -> Result<End, Failure> {
    if ask.verbose {
        print(&outcome.coverage.to_string())?;
    }
    let packets = grouped(outcome.packets);
    let Some(failure) = &outcome.failure else {
        return Ok(End::Passed(format!("{packets} packets")));
    };
    let folder = failure.save(ask.save).map_err(|cause| Failure::File {
        name: ask.save.display().to_string(),
        cause,
        advice: "give --save a folder that can be written",
    })?;
    let problem = format!("after {packets} packets, {}", failure.difference);
    Ok(End::Failed(vec![problem], Some(folder)))
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

pub(super) fn broken(error: TwinError) -> Failure {
    Failure::World(WorldError::Failed(error.to_string()))
}
