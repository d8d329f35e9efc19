//! The experiment with a service whose endpoint is exchanged for another: how soon packets follow, at a
//! number of services.

use std::time::Duration;

use twinpath_sim::world::WorldError;

use super::lab::{Hook, Lab};
use super::result::{Figure, Measure, Missing};
use super::run::{Broken, Experiment, Stop};
use super::subject::Subject;
use super::until::Until;
use super::view::count;

/// The measures that this is about.
pub const MEASURES: [Measure; 1] = [Measure::UntilFirstPacket];

/// All subjects that have services, at a number of them.
pub struct Exchange {
    services: u32,
    rivals: Vec<Subject>,
    longest: Duration,
    labs: Vec<Lab>,
    until: Option<Until>,
}

impl Exchange {
    /// Of these rivals, whose tools have so long; `None` where the measure is not asked for.
    pub fn new(
        services: u32,
        rivals: &[Subject],
        measures: &[Measure],
        longest: Duration,
    ) -> Option<Self> {
        let rivals = rivals.to_vec();
        let asked = measures.iter().any(|measure| MEASURES.contains(measure));
        asked.then(|| Self { services, rivals, longest, labs: Vec::new(), until: None })
    }

    fn gap(&self, subject: Subject, why: String) -> Missing {
        let (measure, services) =
            (Measure::UntilFirstPacket.name(), count(self.services, "service"));
        Missing { what: format!("{subject}, {measure} at {services}"), why }
    }
}

impl Experiment for Exchange {
    fn name(&self) -> String {
        format!("from change to packet at {}", count(self.services, "service"))
    }

    fn prepare(&mut self, stop: &Stop) -> Result<Vec<Missing>, Broken> {
        let mut missing = Vec::new();
        let subjects = [&[Subject::Twinpath], &self.rivals[..]].concat();
        for subject in subjects {
            if stop.is_set() {
                return Err(Broken::Stopped);
            }
            match Lab::new(subject, Hook::Tc, self.services) {
                Ok(lab) => self.labs.push(lab),
                // Without ours there is nothing to compare.
                Err(error) if subject == Subject::Twinpath => return Err(error.into()),
                Err(WorldError::Environment(why) | WorldError::Failed(why)) => {
                    missing.push(self.gap(subject, why));
                }
            }
        }
        self.until = Some(Until::new(self.services, self.longest));
        Ok(missing)
    }

    fn round(&mut self, _: usize, _: &Stop) -> Result<(), Broken> {
        let until = self.until.as_mut();
        until.map_or(Ok(()), |until| until.round(&mut self.labs)).map_err(Broken::from)
    }

    fn gaps(&self) -> Vec<Missing> {
        let given_up =
            self.labs.iter().flat_map(|lab| lab.given_up.iter().map(|gap| (lab.subject, gap)));
        given_up.map(|(subject, (_, why))| self.gap(subject, why.clone())).collect()
    }

    fn figures(&mut self) -> Vec<Figure> {
        self.until.take().map_or_else(Vec::new, Until::into_figures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_follow_a_change_of_everyone_and_one_that_is_too_slow_is_a_gap() {
        let asked = [Measure::UntilFirstPacket];
        let subjects = [Subject::IptablesLegacy];
        assert!(Exchange::new(1, &subjects, &[Measure::Load], Duration::MAX).is_none());
        for (longest, expected) in [
            (Duration::from_secs(60), &[Subject::Twinpath, Subject::IptablesLegacy][..]),
            (Duration::ZERO, &[Subject::Twinpath]),
        ] {
            let mut exchange = Exchange::new(2, &subjects, &asked, longest).unwrap();
            match exchange.prepare(&Stop::default()) {
                Ok(missing) if missing.is_empty() => {}
                Ok(_) | Err(Broken::Lacks(_)) => {
                    return twinpath_kernel::testing::skip(
                        "from change to packet",
                        "no rules here",
                    );
                }
                Err(error) => panic!("{error}"),
            }
            for number in 0..2 {
                exchange.round(number, &Stop::default()).unwrap();
            }
            assert_eq!(exchange.gaps().len(), 2 - expected.len(), "{:?}", exchange.gaps());
            let figures = exchange.figures();
            let subjects: Vec<Subject> = figures.iter().map(|figure| figure.subject).collect();
            assert_eq!(subjects, expected);
            let two = |figure: &Figure| matches!(figure.samples[..], [a, b] if a > 0.0 && b > 0.0);
            assert!(figures.iter().all(two), "{figures:?}");
        }
    }
}
