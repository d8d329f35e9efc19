//! Medians, their spread, and how sure a ratio of two is.
//!
//! A figure's samples are one per round, and rounds take the subjects in turn, so that what slows a machine
//! down for seconds slows all of them. A comparison within a run is therefore made round by round
//! ([`ratio`]); one with an earlier run ([`change`]) cannot be.

/// Rounds from which on an interval is drawn by resampling. With fewer it is that from the least to the
/// greatest, which holds the true median with a probability of 1 - 2^(1 - n): 94 % of 5 rounds, 98 % of 7.
pub const ENOUGH: usize = 8;
/// Resamples of a bootstrap.
const RESAMPLES: usize = 1_000;
/// What resamples are drawn from: the same samples give the same interval.
const SEED: u64 = 0x7477_696e_7061_7468;

/// The value below which a part `q` (0 to 1) of the samples lies, straight lines between them; `None` of
/// nothing.
pub fn quantile(samples: &[f64], q: f64) -> Option<f64> {
    Some(of_sorted(&sorted(samples), q)).filter(|value| value.is_finite())
}

/// The middle one; `None` of nothing.
pub fn median(samples: &[f64]) -> Option<f64> {
    quantile(samples, 0.5)
}

/// Samples in five numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The least.
    pub min: f64,
    /// A quarter is below.
    pub low: f64,
    /// Half is below.
    pub median: f64,
    /// A quarter is above.
    pub high: f64,
    /// The greatest.
    pub max: f64,
}

/// The samples in five numbers; `None` of nothing.
pub fn spread(samples: &[f64]) -> Option<Spread> {
    let sorted = sorted(samples);
    let (min, max) = (*sorted.first()?, *sorted.last()?);
    let [low, median, high] = [0.25, 0.5, 0.75].map(|q| of_sorted(&sorted, q));
    Some(Spread { min, low, median, high, max })
}

/// Where a value lies: 19 times of 20 by [`By::Bootstrap`], less surely by [`By::Extremes`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Not below.
    pub low: f64,
    /// Not above.
    pub high: f64,
    /// How it was found.
    pub by: By,
}

/// How an interval was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// From the least to the greatest of the rounds: fewer than [`ENOUGH`] of them.
    Extremes,
    /// 95 % of the medians of resampled rounds.
    Bootstrap,
}

impl By {
    /// Its name in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Extremes => "extremes",
            Self::Bootstrap => "bootstrap",
        }
    }
}

/// By which factor one subject is better than another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// The median of the rounds' ratios.
    pub value: f64,
    /// Where it lies.
    pub interval: Interval,
    /// How many rounds both have.
    pub rounds: usize,
}

/// By which factor `ours` is better than `theirs`, round by round: above 1 where ours is better. Of what
/// costs (`rate` is false) it is theirs over ours, of rates ours over theirs.
///
/// Rounds in which one of them is missing, nothing or no number are left out; `None` where no round is left.
pub fn ratio(rate: bool, ours: &[f64], theirs: &[f64]) -> Option<Ratio> {
    let pairs = ours.iter().zip(theirs).filter(|(ours, theirs)| **ours > 0.0 && **theirs > 0.0);
    let ratios = pairs.map(|(ours, theirs)| if rate { ours / theirs } else { theirs / ours });
    let ratios: Vec<f64> = ratios.filter(|ratio| ratio.is_finite()).collect();
    let value = median(&ratios)?;
    let interval = if ratios.len() < ENOUGH {
        let Spread { min, max, .. } = spread(&ratios)?;
        Interval { low: min, high: max, by: By::Extremes }
    } else {
        let mut resampled = Resampled::new(&ratios, SEED);
        bootstrap(|| resampled.median())
    };
    Some(Ratio { value, interval, rounds: ratios.len() })
}

/// What became of a figure since a baseline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// In percent of the baseline's median.
    pub percent: f64,
    /// Where it lies, in percent.
    pub interval: Interval,
    /// In words.
    pub verdict: Verdict,
}

/// Whether something changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Neither better nor worse by more than noise.
    Same,
    /// Better.
    Better,
    /// Worse.
    Worse,
}

impl Verdict {
    /// As it is said.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Same => "no change detected",
            Self::Better => "better",
            Self::Worse => "worse",
        }
    }
}

/// How a figure differs from a baseline's, which is of other rounds: medians are resampled apart. Of fewer
/// than [`ENOUGH`] rounds the interval is from the least over the greatest to the greatest over the least.
/// There is no change where the interval holds 0, or where the change is below `noise`, in percent.
pub fn change(rate: bool, before: &[f64], now: &[f64], noise: f64) -> Option<Change> {
    let [before, now] = [before, now].map(sorted);
    let percent = |now: f64, before: f64| (now / before - 1.0) * 100.0;
    let (first, last) = (spread(&before)?, spread(&now)?);
    let value = percent(last.median, first.median);
    if first.min <= 0.0 || !value.is_finite() {
        return None;
    }
    let interval = if before.len().min(now.len()) < ENOUGH {
        let (low, high) = (percent(last.min, first.max), percent(last.max, first.min));
        Interval { low, high, by: By::Extremes }
    } else {
        let (mut now, mut before) = (Resampled::new(&now, SEED), Resampled::new(&before, !SEED));
        bootstrap(|| percent(now.median(), before.median()))
    };
    let same = (interval.low <= 0.0 && interval.high >= 0.0) || value.abs() < noise;
    let verdict = match (same, (value > 0.0) == rate) {
        (true, _) => Verdict::Same,
        (false, true) => Verdict::Better,
        (false, false) => Verdict::Worse,
    };
    Some(Change { percent: value, interval, verdict })
}

fn bootstrap(mut once: impl FnMut() -> f64) -> Interval {
    let medians = sorted(&(0..RESAMPLES).map(|_| once()).collect::<Vec<_>>());
    let [low, high] = [0.025, 0.975].map(|q| of_sorted(&medians, q));
    Interval { low, high, by: By::Bootstrap }
}

/// As many of some samples, each drawn from all of them, again and again.
struct Resampled<'a> {
    samples: &'a [f64],
    drawn: Vec<f64>,
    random: Random,
}

impl<'a> Resampled<'a> {
    fn new(samples: &'a [f64], seed: u64) -> Self {
        Self { samples, drawn: samples.to_vec(), random: Random(seed) }
    }

    fn median(&mut self) -> f64 {
        for drawn in &mut self.drawn {
            let place = self.random.below(self.samples.len());
            *drawn = self.samples.get(place).copied().unwrap_or(f64::NAN);
        }
        self.drawn.sort_unstable_by(f64::total_cmp);
        of_sorted(&self.drawn, 0.5)
    }
}

/// The numbers among them, rising.
fn sorted(samples: &[f64]) -> Vec<f64> {
    let mut sorted: Vec<f64> = samples.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// No number of nothing.
fn of_sorted(sorted: &[f64], q: f64) -> f64 {
    let place = sorted.len().saturating_sub(1) as f64 * q.clamp(0.0, 1.0);
    let at = |place: f64| sorted.get(place as usize).copied().unwrap_or(f64::NAN);
    let (below, above) = (at(place.floor()), at(place.ceil()));
    below + (above - below) * place.fract()
}

/// `SplitMix64` (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^= word >> 31;
        ((u128::from(word) * bound as u128) >> 64) as usize
    }
}

#[cfg(test)]
#[path = "stats/tests.rs"]
mod tests;
