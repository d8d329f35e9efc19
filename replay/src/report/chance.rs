//! What share of a service's connections a backend should have, and how far chance takes it from that.

/// The spread of a count that is left to chance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Band {
    /// Its mean.
    pub expected: f64,
    /// Below this it is in no more than half of the cases that may lie outside.
    pub low: u64,
    /// Above this, too.
    pub high: u64,
}

impl Band {
    /// Whether a count is outside.
    pub const fn excludes(&self, count: u64) -> bool {
        count < self.low || count > self.high
    }
}

/// How much of the time a count may be outside of its band by chance: of 95 % bands, 0.05.
pub const OUTSIDE: f64 = 0.05;

/// Beyond so many connections the normal approximation takes the place of the sum: it is off by far less
/// than a connection in a thousand then.
const LARGE: u64 = 50_000_000;

/// The 95 % band of the connections that one of so many equal backends is given.
pub fn equal(connections: u64, backends: usize) -> Band {
    band(connections, 1.0 / backends.max(1) as f64, OUTSIDE)
}

/// The band of how many of `n` independent connections are given to a backend that each is given to with
/// probability `p`, so that no more than `outside` of the time the count is beyond either end, half of it at
/// each.
///
/// The ends are the exact quantiles of the binomial distribution: the smallest counts whose cumulated
/// probability reaches `outside / 2` and `1 - outside / 2`.
pub fn band(n: u64, p: f64, outside: f64) -> Band {
    let p = p.clamp(0.0, 1.0);
    let expected = n as f64 * p;
    if n == 0 || p == 0.0 || p == 1.0 {
        let count = if p == 1.0 { n } else { 0 };
        return Band { expected, low: count, high: count };
    }
    if n > LARGE {
        return normal(expected, expected * (1.0 - p), n, outside);
    }
    let (first, terms) = weights(n, p);
    let total: f64 = terms.iter().sum();
    let at = |part: f64| {
        let (mut sum, mut place) = (0.0, 0_u64);
        for term in &terms {
            sum += term;
            // Sums of many terms are right to about this much.
            if sum >= part * total * (1.0 - 1e-12) {
                break;
            }
            place = place.saturating_add(1);
        }
        first.saturating_add(place).min(n)
    };
    Band { expected, low: at(outside / 2.0), high: at(1.0 - outside / 2.0) }
}

/// The same for a sum of several such counts, by the normal approximation with that mean and variance; of
/// no more than `n`.
pub fn normal(expected: f64, variance: f64, n: u64, outside: f64) -> Band {
    let reach = quantile(1.0 - outside / 2.0) * variance.max(0.0).sqrt();
    // A whole number is reached where half a step before it is.
    let low = (expected - reach - 0.5).ceil().max(0.0) as u64;
    let high = ((expected + reach - 0.5).ceil().max(0.0) as u64).min(n);
    Band { expected, low: low.min(high), high }
}

/// Probabilities of counts in proportion to that of the most likely one, and the count of the first. What
/// is too small to count is left out.
fn weights(n: u64, p: f64) -> (u64, Vec<f64>) {
    const SMALL: f64 = 1e-20;
    let mode = (((n as f64 + 1.0) * p) as u64).min(n);
    let odds = p / (1.0 - p);
    let mut terms = vec![1.0];
    let (mut count, mut term) = (mode, 1.0);
    while count > 0 && term > SMALL {
        // P(k - 1) / P(k) = k / (n - k + 1) / odds
        term *= count as f64 / (n.saturating_sub(count) as f64 + 1.0) / odds;
        count = count.saturating_sub(1);
        terms.push(term);
    }
    terms.reverse();
    let first = count;
    (count, term) = (mode, 1.0);
    while count < n && term > SMALL {
        term *= n.saturating_sub(count) as f64 / (count as f64 + 1.0) * odds;
        count = count.saturating_add(1);
        terms.push(term);
    }
    (first, terms)
}

/// The quantile of the standard normal distribution, by halving: right to about 1e-7.
fn quantile(part: f64) -> f64 {
    let (mut low, mut high) = (-10.0, 10.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if cumulated(middle) < part {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

/// The cumulated standard normal distribution (Abramowitz and Stegun, 26.2.17: off by less than 7.5e-8).
fn cumulated(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * x.abs());
    let terms = [1.330_274_429, -1.821_255_978, 1.781_477_937, -0.356_563_782, 0.319_381_530];
    let sum = terms.iter().fold(0.0, |sum, term| (sum + term) * t);
    let beyond = (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt() * sum;
    if x < 0.0 { beyond } else { 1.0 - beyond }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(band: Band) -> (u64, u64) {
        (band.low, band.high)
    }

    #[test]
    fn ends_are_the_quantiles_of_the_binomial_distribution() {
        // Summed in fractions, without rounding.
        for (n, backends, expected) in [
            (1, 2, (0, 1)),
            (5, 2, (0, 5)),
            (10, 2, (2, 8)),
            (10, 3, (1, 6)),
            (100, 2, (40, 60)),
            (100, 10, (5, 16)),
            (1000, 3, (304, 363)),
            (500, 200, (0, 6)),
            (40, 7, (2, 10)),
        ] {
            assert_eq!(ends(equal(n, backends)), expected, "{n} over {backends}");
        }
        assert_eq!(ends(band(100, 0.5, 0.001)), (34, 66));
    }

    #[test]
    fn what_is_certain_has_no_band() {
        assert_eq!(band(0, 0.5, OUTSIDE), Band { expected: 0.0, low: 0, high: 0 });
        assert_eq!(band(9, 1.0, OUTSIDE), Band { expected: 9.0, low: 9, high: 9 });
        assert_eq!(equal(7, 1), Band { expected: 7.0, low: 7, high: 7 });
        assert_eq!(equal(7, 0), equal(7, 1));
        assert_eq!(band(7, 0.0, OUTSIDE), Band { expected: 0.0, low: 0, high: 0 });
    }

    #[test]
    fn the_approximation_is_near_where_numbers_are_large() {
        for (n, p) in [(1_000_000_u64, 0.5), (5_000_000, 0.01), (40_000_000, 1.0 / 3.0)] {
            let exact = band(n, p, OUTSIDE);
            let near = normal(n as f64 * p, n as f64 * p * (1.0 - p), n, OUTSIDE);
            assert!(exact.low.abs_diff(near.low) <= 1, "{exact:?} {near:?}");
            assert!(exact.high.abs_diff(near.high) <= 1, "{exact:?} {near:?}");
        }
        let huge = band(u64::MAX, 0.5, OUTSIDE);
        assert!(huge.low < huge.high && huge.expected > 9e18);
    }

    #[test]
    fn a_band_excludes_what_is_beyond_its_ends() {
        let band = equal(100, 2);
        assert!(!band.excludes(40) && !band.excludes(60));
        assert!(band.excludes(39) && band.excludes(61));
    }
}
