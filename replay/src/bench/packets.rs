//! The experiment with packets that programs make: what established and new ones cost, at a number of
//! services.

use twinpath_sim::world::WorldError;

use super::lab::{Hook, Lab};
use super::live::{self, Path, Setting};
use super::quantity::grouped;
use super::result::{Figure, Measure, Missing};
use super::run::{Broken, Experiment, Stop};
use super::subject::Subject;

/// The measures that this is about.
pub const MEASURES: [Measure; 4] =
    [Measure::Established, Measure::NewFlow, Measure::ProgramTime, Measure::Churn];
/// Flows: one that stays in every cache, and more than caches hold.
const FLOWS: [u16; 2] = [1, 50_000];

/// All ways of packets through all subjects, at a number of services.
pub struct Packets {
    services: u32,
    rivals: Vec<Subject>,
    settings: Vec<Setting>,
    labs: Vec<Lab>,
    figures: Vec<Figure>,
}

impl Packets {
    /// Of these rivals, these measures, with so many frames a sample; few paths and flows where `quick`.
    /// `None` where none of the measures is of packets.
    pub fn new(
        services: u32,
        rivals: &[Subject],
        measures: &[Measure],
        frames: u32,
        quick: bool,
    ) -> Option<Self> {
        let mut settings = Vec::new();
        for measure in MEASURES.into_iter().filter(|measure| measures.contains(measure)) {
            for path in Path::ALL {
                for flows in FLOWS {
                    let setting = Setting { measure, path, flows, frames };
                    if is_of_interest(&setting, quick) {
                        settings.push(setting);
                    }
                }
            }
        }
        (!settings.is_empty()).then(|| Self {
            services,
            rivals: rivals.to_vec(),
            settings,
            labs: Vec::new(),
            figures: Vec::new(),
        })
    }
}

/// Whether a setting says more than the others. New flows are always many. Time in programs and the cost of
/// churn are the same question on every path.
fn is_of_interest(setting: &Setting, quick: bool) -> bool {
    let Setting { measure, path, flows, .. } = *setting;
    let one = flows == 1;
    match measure {
        Measure::Established => path == Path::ClusterLocal || (one && !quick),
        Measure::NewFlow => !one && (path == Path::ClusterLocal || !quick),
        Measure::ProgramTime => one && (path == Path::ClusterLocal || !quick),
        _ => one && path == Path::ClusterLocal,
    }
}

impl Experiment for Packets {
    fn name(&self) -> String {
        format!("packets at {}", super::view::count(self.services, "service"))
    }

    fn prepare(&mut self, stop: &Stop) -> Result<Vec<Missing>, Broken> {
        live::prepare()?;
        let mut missing = Vec::new();
        let programs = [
            (Subject::Twinpath, Hook::Tc),
            (Subject::Twinpath, Hook::Xdp),
            (Subject::Bare, Hook::Tc),
            (Subject::Bare, Hook::Xdp),
            (Subject::Forward, Hook::Tc),
        ];
        let rivals = self.rivals.iter().map(|rival| (*rival, Hook::Tc));
        for (subject, hook) in programs.into_iter().chain(rivals) {
            if stop.is_set() {
                return Err(Broken::Stopped);
            }
            match Lab::new(subject, hook, self.services) {
                Ok(lab) => self.labs.push(lab),
                // Without ours there is nothing to compare.
                Err(error) if subject == Subject::Twinpath => return Err(error.into()),
                Err(WorldError::Environment(why) | WorldError::Failed(why)) => {
                    let services = grouped(f64::from(self.services));
                    let what = format!("{subject} ({}) at {services} services", hook.name());
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
            live::round(&mut self.labs, setting, number, &mut self.figures)?;
        }
        Ok(())
    }

    fn gaps(&self) -> Vec<Missing> {
        let of = |lab: &Lab| {
            let (subject, services) = (lab.subject, super::view::count(lab.services, "service"));
            let gap = move |(measure, why): &(Measure, String)| Missing {
                what: format!("{subject}, {} at {services}", measure.name()),
                why: why.clone(),
            };
            lab.given_up.iter().map(gap).collect::<Vec<_>>()
        };
        self.labs.iter().flat_map(of).collect()
    }

    fn figures(&mut self) -> Vec<Figure> {
        std::mem::take(&mut self.figures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_asked_for_is_measured_and_quick_is_less() {
        let count = |measures: &[Measure], quick| {
            Packets::new(1, &[], measures, 1, quick).map_or(0, |packets| packets.settings.len())
        };
        assert_eq!(count(&[Measure::Load, Measure::Connect], false), 0);
        assert_eq!(count(&[Measure::Established], false), 5);
        assert_eq!(count(&[Measure::Established], true), 2);
        assert_eq!(count(&[Measure::NewFlow, Measure::Load], false), 4);
        assert_eq!(count(&Measure::ALL, true), 5);
    }

    /// The least that there is: a round, whose samples are of all subjects, and nothing left behind.
    #[test]
    fn a_round_has_a_sample_of_everyone() {
        let subjects = [Subject::IptablesLegacy];
        let mut packets = Packets::new(1, &subjects, &[Measure::Established], 1_000, true).unwrap();
        let stop = Stop::default();
        match packets.prepare(&stop) {
            Err(Broken::Lacks(why)) => {
                return twinpath_kernel::testing::skip("packets of the comparison", &why);
            }
            result => assert_eq!(result.unwrap(), []),
        }
        packets.round(0, &stop).unwrap();
        let figures = packets.figures();
        for subject in [Subject::Twinpath, Subject::Bare, Subject::Forward, subjects[0]] {
            let mut ours = figures.iter().filter(|figure| figure.subject == subject);
            assert!(ours.any(|figure| figure.samples.len() == 1), "{subject}");
        }
        assert!(figures.iter().all(|figure| figure.samples[0] > 0.0));
    }
}
