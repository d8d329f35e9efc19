//! What chance alone does to the share of a backend.

use super::chance::{Band, OUTSIDE, band};

/// The highest variance up to which the band is counted out; beyond, the normal distribution is the
/// same to the last packet or two, and counting would take seconds.
const COUNTED: f64 = 1e6;
/// What a normal distribution has on each side of 95 in 100, in standard deviations.
const DEVIATIONS: f64 = 1.959_963_984_540_054;

/// Connections that a backend is expected to be given, and the band that 95 in 100 such backends stay
/// in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expected {
    /// The mean.
    pub mean: f64,
    /// The lower end of the band, itself in it.
    pub low: u64,
    /// The upper end, in it too.
    pub high: u64,
}

/// Of so many connections, each of which picks this backend with its probability: groups of
/// connections that have the same.
pub fn expected(groups: &[(u64, f64)]) -> Expected {
    let mean: f64 = groups.iter().map(|(count, p)| *count as f64 * p).sum();
    let variance: f64 = groups.iter().map(|(count, p)| *count as f64 * p * (1.0 - p)).sum();
    let total: u64 = groups.iter().map(|(count, _)| count).sum();
    let (low, high) = match groups {
        [(count, p)] if variance <= COUNTED => binomial(*count, *p),
        _ => {
            let reach = DEVIATIONS * variance.sqrt();
            ((mean - reach).floor().max(0.0) as u64, ((mean + reach).ceil() as u64).min(total))
        }
    };
    Expected { mean, low, high }
}

/// The 2.5th and the 97.5th percentile of a binomial distribution.
fn binomial(trials: u64, p: f64) -> (u64, u64) {
    let Band { low, high, .. } = band(trials, p, OUTSIDE);
    (low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_are_those_of_the_binomial_distribution() {
        // As scipy.stats.binom.ppf([0.025, 0.975], n, p) has them.
        for (trials, p, low, high) in [
            (0, 0.5, 0, 0),
            (1, 0.5, 0, 1),
            (10, 0.5, 2, 8),
            (100, 0.5, 40, 60),
            (100, 0.1, 5, 16),
            (12, 1.0 / 3.0, 1, 7),
            (7, 1.0, 7, 7),
            (7, 0.0, 0, 0),
            (1_000, 0.25, 223, 277),
            (1_000_000, 0.5, 499_020, 500_980),
        ] {
            let found = expected(&[(trials, p)]);
            assert_eq!((found.low, found.high), (low, high), "{trials} {p}");
            assert_eq!(found.mean, trials as f64 * p);
        }
    }

    #[test]
    fn groups_add_up_and_large_numbers_take_no_time() {
        let found = expected(&[(100, 0.5), (300, 0.1)]);
        assert_eq!((found.mean, found.low, found.high), (80.0, 65, 95));
        let found = expected(&[(1 << 40, 0.5)]);
        assert!(found.low < 1 << 39 && found.high > 1 << 39);
        // Certain ones move nothing but the mean.
        let found = expected(&[(10, 1.0), (5, 0.0)]);
        assert_eq!((found.low, found.high), (10, 10));
    }
}
