//! The experiment with changes of the cluster: what it takes to load a node, to change something, to bring
//! everything up to date, and the memory of it, at a number of services.

use std::time::Duration;

use super::programming::Programming;
use super::result::{Figure, Measure, Missing};
use super::run::{Broken, Experiment, Stop};
use super::subject::Subject;

/// Measures of loading, of changes, and of bringing everything up to date: what each kind of round has.
const LOADS: [Measure; 3] =
    [Measure::Load, Measure::MemoryPerService, Measure::MemoryPerConnection];
const CHANGES: [Measure; 2] = [Measure::AddService, Measure::ChangeEndpoint];
const RESYNCS: [Measure; 1] = [Measure::Resync];
/// The measures that this is about.
pub const MEASURES: [Measure; 6] = [
    Measure::Load,
    Measure::AddService,
    Measure::ChangeEndpoint,
    Measure::Resync,
    Measure::MemoryPerService,
    Measure::MemoryPerConnection,
];
/// From so many services on, rules take seconds.
const MANY: u32 = 5_000;

/// All subjects whose tables are changed, at a number of services.
pub struct Updates {
    services: u32,
    subjects: Vec<Subject>,
    measures: Vec<Measure>,
    longest: Duration,
    programming: Option<Programming>,
}

impl Updates {
    /// Of twinpath and these rivals, whose tools have so long; `None` where none of the measures is of
    /// changes.
    pub fn new(
        services: u32,
        rivals: &[Subject],
        measures: &[Measure],
        longest: Duration,
    ) -> Option<Self> {
        let measures: Vec<Measure> =
            MEASURES.into_iter().filter(|measure| measures.contains(measure)).collect();
        let subjects = [&[Subject::Twinpath], rivals].concat();
        let programming = None;
        (!measures.is_empty()).then_some(Self {
            services,
            subjects,
            measures,
            longest,
            programming,
        })
    }

    fn place(&self, missing: &mut [Missing]) {
        for gap in missing {
            gap.what = format!("{} at {}", gap.what, super::view::count(self.services, "service"));
        }
    }

    fn asks(&self, kind: &[Measure]) -> bool {
        self.measures.iter().any(|measure| kind.contains(measure))
    }
}

impl Experiment for Updates {
    fn name(&self) -> String {
        format!("changes at {}", super::view::count(self.services, "service"))
    }

    fn prepare(&mut self, _: &Stop) -> Result<Vec<Missing>, Broken> {
        let (programming, mut missing) =
            Programming::new(self.services, &self.subjects, self.longest)?;
        self.place(&mut missing);
        self.programming = Some(programming);
        Ok(missing)
    }

    fn round(&mut self, _: usize, stop: &Stop) -> Result<(), Broken> {
        let asks = [&LOADS[..], &CHANGES, &RESYNCS].map(|kind| self.asks(kind));
        let Some(programming) = &mut self.programming else { return Ok(()) };
        let all = [Programming::loads, Programming::changes, Programming::resyncs];
        for (round, _) in all.into_iter().zip(asks).filter(|(_, asked)| *asked) {
            if stop.is_set() {
                return Err(Broken::Stopped);
            }
            round(programming)?;
        }
        Ok(())
    }

    fn rounds(&self) -> usize {
        if self.services >= MANY { 5 } else { usize::MAX }
    }

    fn gaps(&self) -> Vec<Missing> {
        let mut missing = self.programming.as_ref().map_or_else(Vec::new, Programming::gaps);
        self.place(&mut missing);
        missing
    }

    fn figures(&mut self) -> Vec<Figure> {
        let all = self.programming.take().map_or_else(Vec::new, Programming::into_figures);
        all.into_iter().filter(|figure| self.measures.contains(&figure.measure)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::rival::LONGEST;

    #[test]
    fn a_round_has_a_sample_of_everyone_and_of_nothing_that_was_not_asked_for() {
        assert!(Updates::new(1, &[], &[Measure::Established], LONGEST).is_none());
        let asked = [Measure::Load, Measure::AddService];
        let mut updates = Updates::new(2, &[Subject::IptablesLegacy], &asked, LONGEST).unwrap();
        match updates.prepare(&Stop::default()) {
            Err(Broken::Lacks(why)) => {
                return twinpath_kernel::testing::skip("changes of the comparison", &why);
            }
            Ok(missing) if !missing.is_empty() => {
                return twinpath_kernel::testing::skip(
                    "changes of the comparison",
                    &missing[0].why,
                );
            }
            result => assert_eq!(result.unwrap(), []),
        }
        updates.round(0, &Stop::default()).unwrap();
        let figures = updates.figures();
        let mut found: Vec<_> =
            figures.iter().map(|figure| (figure.measure, figure.subject)).collect();
        found.sort();
        let subjects = [Subject::Twinpath, Subject::IptablesLegacy];
        let expected = [Measure::Load, Measure::AddService]
            .into_iter()
            .flat_map(|measure| subjects.map(|subject| (measure, subject)));
        assert_eq!(found, expected.collect::<Vec<_>>());
        assert!(figures.iter().all(|figure| figure.samples.len() == 1 && figure.samples[0] > 0.0));
    }

    #[test]
    fn a_rival_that_is_too_slow_is_a_gap_and_the_others_go_on() {
        let asked = [Measure::Load, Measure::AddService];
        let subjects = [Subject::IptablesLegacy];
        let mut updates = Updates::new(2, &subjects, &asked, Duration::ZERO).unwrap();
        match updates.prepare(&Stop::default()) {
            Ok(missing) if missing.is_empty() => {}
            _ => {
                return twinpath_kernel::testing::skip("rivals that are too slow", "no rules here");
            }
        }
        for number in 0..2 {
            updates.round(number, &Stop::default()).unwrap();
        }
        let gaps = updates.gaps();
        let what: Vec<&str> = gaps.iter().map(|gap| gap.what.as_str()).collect();
        let expected =
            ["loading", "changes"].map(|kind| format!("iptables-legacy, {kind} at 2 services"));
        assert_eq!(what, expected);
        assert!(gaps[0].why.contains("took longer than 0 s"), "{gaps:?}");
        let figures = updates.figures();
        let samples = figures.iter().map(|figure| (figure.subject, figure.samples.len()));
        assert_eq!(samples.collect::<Vec<_>>(), [(Subject::Twinpath, 2); 2]);
    }
}
