//! Rounds, and the figures that come of them.

use twinpath_sim::world::WorldError;

use super::client::Round;
use super::{Setting, Stage};
use crate::bench::result::Figure;

/// Figures in the making.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    figures: Vec<(Figure, Vec<u32>)>,
}

/// The quantiles that are told of latencies.
const QUANTILES: [f64; 7] = [0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0];

impl Collected {
    /// Measures every stage that has the path once, beginning with the `turn`-th, and adds a sample to the
    /// figure of each. All stages have the same number of services.
    pub fn round(
        &mut self,
        stages: &mut [Stage],
        setting: &Setting,
        turn: usize,
    ) -> Result<(), WorldError> {
        let count = stages.len().max(1);
        let mut measured = Vec::new();
        for place in 0..stages.len() {
            let place = (place + turn) % count;
            if let Some(stage) = stages.get_mut(place).filter(|stage| setting.is_of(stage)) {
                measured.push((place, stage.measure(setting)?));
            }
        }
        // In the order of stages, and only once all are there: places in samples are rounds.
        measured.sort_by_key(|(place, _)| *place);
        for (place, Round { value, times }) in measured {
            let Some(stage) = stages.get(place) else { continue };
            let (figure, all) = self.figure(stage, setting);
            figure.samples.push(value);
            all.extend(times);
        }
        Ok(())
    }

    fn figure(&mut self, stage: &Stage, setting: &Setting) -> &mut (Figure, Vec<u32>) {
        let new = Figure {
            measure: setting.measure,
            path: setting.path.name().to_owned(),
            hook: stage.hook.to_owned(),
            subject: stage.subject,
            services: stage.services,
            flows: 0,
            unit: setting.unit(),
            samples: Vec::new(),
            quantiles: Vec::new(),
        };
        let same = |(other, _): &(Figure, Vec<u32>)| {
            let key = |figure: &Figure| {
                (figure.measure, figure.subject, figure.services, figure.hook.clone())
            };
            key(other) == key(&new) && other.path == new.path
        };
        let place = self.figures.iter().position(same).unwrap_or_else(|| {
            self.figures.push((new, Vec::new()));
            self.figures.len() - 1
        });
        &mut self.figures[place]
    }

    /// The figures, with quantiles of the latencies of all rounds.
    pub fn figures(self) -> Vec<Figure> {
        let quantiles = |times: &mut Vec<u32>| {
            times.sort_unstable();
            let last = times.len().checked_sub(1)?;
            let value = |quantile: f64| {
                let place = (quantile * last as f64).round() as usize;
                times.get(place).map(|time| (quantile, f64::from(*time)))
            };
            Some(QUANTILES.into_iter().filter_map(value).collect())
        };
        let with = |(figure, mut times): (Figure, Vec<u32>)| {
            let quantiles = quantiles(&mut times).unwrap_or_default();
            Figure { quantiles, ..figure }
        };
        self.figures.into_iter().map(with).collect()
    }
}
