//! The experiment with sockets: what processes see, at a number of services.

use twinpath_sim::world::WorldError;

use super::{Collected, MEASURES, Setting, Stage};
use crate::bench::lab::{Hook, Lab};
use crate::bench::live::Path;
use crate::bench::quantity::grouped;
use crate::bench::result::{Figure, Measure, Missing};
use crate::bench::run::{Broken, Experiment, Stop};
use crate::bench::subject::Subject;

/// All measures with sockets, at a number of services.
pub struct Sockets {
    services: u32,
    rivals: Vec<Subject>,
    settings: Vec<Setting>,
    stages: Vec<Stage>,
    // After the sockets that are in them.
    labs: Vec<Lab>,
    collected: Collected,
}

impl Sockets {
    /// Of these rivals, these measures; one way of packets where `quick`. `None` where none of the measures
    /// is made with sockets.
    pub fn new(
        services: u32,
        rivals: &[Subject],
        measures: &[Measure],
        quick: bool,
    ) -> Option<Self> {
        let paths = if quick { &PATHS[..1] } else { &PATHS[..] };
        let measures = MEASURES.into_iter().filter(|measure| measures.contains(measure));
        let settings: Vec<_> = measures
            .flat_map(|measure| paths.iter().map(move |path| Setting::new(measure, *path)))
            .collect();
        (!settings.is_empty()).then(|| Self {
            services,
            rivals: rivals.to_vec(),
            settings,
            stages: Vec::new(),
            labs: Vec::new(),
            collected: Collected::default(),
        })
    }

    /// Makes the labs, with sockets in them.
    fn open(&mut self, subject: Subject) -> Result<(), WorldError> {
        if subject == Subject::Bare {
            self.stages.push(Stage::with_sockets_translated(self.services)?);
            return Ok(());
        }
        let mut lab = Lab::new(subject, Hook::Tc, self.services)?;
        self.stages.push(Stage::new(&mut lab)?);
        self.labs.push(lab);
        Ok(())
    }
}

/// The ways of packets.
const PATHS: [Path; 2] = [Path::ClusterLocal, Path::NodePort];
/// The ports of a client are enough for so many rounds.
const ROUNDS: usize = 50;
/// Connections that netfilter remembers after a round on a path: some time goes by before they are forgotten.
const REMEMBERED: usize = 1_500;

impl Experiment for Sockets {
    fn name(&self) -> String {
        format!("sockets at {}", crate::bench::view::count(self.services, "service"))
    }

    fn prepare(&mut self, stop: &Stop) -> Result<Vec<Missing>, Broken> {
        let mut missing = Vec::new();
        let yardsticks = [Subject::Twinpath, Subject::Bare, Subject::Forward];
        for subject in yardsticks.into_iter().chain(self.rivals.clone()) {
            if stop.is_set() {
                return Err(Broken::Stopped);
            }
            match self.open(subject) {
                Ok(()) => {}
                // Without ours there is nothing to compare.
                Err(error) if subject == Subject::Twinpath => return Err(error.into()),
                Err(WorldError::Environment(why) | WorldError::Failed(why)) => {
                    let services = grouped(f64::from(self.services));
                    let what = format!("{subject} (sockets) at {services} services");
                    missing.push(Missing { what, why });
                }
            }
        }
        Ok(missing)
    }

    fn round(&mut self, number: usize, stop: &Stop) -> Result<(), Broken> {
        for setting in &self.settings {
            if stop.is_set() {
                return Err(Broken::Stopped);
            }
            self.collected.round(&mut self.stages, setting, number)?;
        }
        Ok(())
    }

    /// As many as there are ports for, and as netfilter can remember the connections of.
    fn rounds(&self) -> usize {
        let room = std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max");
        let room = room.ok().and_then(|room| room.trim().parse::<usize>().ok());
        let rounds = room.map_or(ROUNDS, |room| room / (REMEMBERED * PATHS.len()));
        rounds.clamp(1, ROUNDS)
    }

    fn figures(&mut self) -> Vec<Figure> {
        std::mem::take(&mut self.collected).figures()
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
