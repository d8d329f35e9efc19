use proptest::prelude::*;

use super::*;

fn close(left: f64, right: f64) -> bool {
    (left - right).abs() < 1e-9
}

#[test]
fn quantiles_of_known_samples() {
    let samples = [40.0, 10.0, 30.0, 20.0];
    let values = [0.0, 0.25, 0.5, 0.75, 1.0].map(|q| quantile(&samples, q).unwrap());
    assert_eq!(values, [10.0, 17.5, 25.0, 32.5, 40.0]);
    let Spread { min, low, median, high, max } = spread(&samples).unwrap();
    assert_eq!([min, low, median, high, max], values);
    assert_eq!(super::median(&[3.0, 1.0, 2.0]), Some(2.0));
    assert_eq!(super::median(&[f64::NAN, 1.0, f64::INFINITY]), Some(1.0));
    assert_eq!((super::median(&[]), spread(&[]), quantile(&[f64::NAN], 0.5)), (None, None, None));
}

#[test]
fn a_ratio_is_above_1_where_ours_is_better() {
    let cost = ratio(false, &[100.0, 200.0, 100.0], &[300.0, 500.0, 200.0]).unwrap();
    assert_eq!((cost.value, cost.rounds), (2.5, 3));
    assert_eq!(cost.interval, Interval { low: 2.0, high: 3.0, by: By::Extremes });
    let rate = ratio(true, &[300.0, 500.0, 200.0], &[100.0, 200.0, 100.0]).unwrap();
    assert_eq!(rate, cost);
}

/// A machine that slows down by half in the middle of the run: medians apart would be much less sure.
#[test]
fn a_ratio_is_made_round_by_round() {
    let slow = |round: usize| if round < 10 { 1.0 } else { 2.0 };
    let ours: Vec<f64> = (0..20).map(|round| 100.0 * slow(round)).collect();
    let theirs: Vec<f64> = (0..20).map(|round| 290.0 * slow(round)).collect();
    let found = ratio(false, &ours, &theirs).unwrap();
    assert!(close(found.value, 2.9), "{found:?}");
    assert!(close(found.interval.low, 2.9) && close(found.interval.high, 2.9), "{found:?}");
    assert_eq!(found.interval.by, By::Bootstrap);
}

#[test]
fn rounds_that_one_of_both_lacks_are_left_out() {
    let found = ratio(false, &[100.0, 0.0, f64::NAN, 100.0], &[200.0, 200.0, 200.0]).unwrap();
    assert_eq!((found.value, found.rounds), (2.0, 1));
    assert_eq!(ratio(false, &[0.0], &[1.0]), None);
    assert_eq!(ratio(false, &[], &[1.0]), None);
}

/// Of 10 equal steps the bootstrap's interval of the median is known from the order statistics: the true
/// one is from the 2nd to the 9th.
#[test]
fn the_bootstrap_is_as_wide_as_order_statistics_say() {
    let theirs: Vec<f64> = (1..=10).map(|step| f64::from(step) + 10.0).collect();
    let Interval { low, high, by } = ratio(false, &[1.0; 10], &theirs).unwrap().interval;
    assert_eq!(by, By::Bootstrap);
    assert!((12.0..=14.0).contains(&low) && (17.0..=19.0).contains(&high), "{low} {high}");
}

#[test]
fn changes_are_told_only_where_there_are_some() {
    let before: Vec<f64> = (0..10).map(|round| 100.0 + f64::from(round % 5)).collect();
    let times = |factor: f64| before.iter().map(|value| value * factor).collect::<Vec<_>>();
    let verdict = |rate, now: &[f64]| change(rate, &before, now, 2.0).unwrap().verdict;
    assert_eq!(verdict(false, &before), Verdict::Same);
    assert_eq!(verdict(false, &times(1.3)), Verdict::Worse);
    assert_eq!(verdict(false, &times(0.7)), Verdict::Better);
    assert_eq!(verdict(true, &times(1.3)), Verdict::Better);
    assert_eq!(verdict(true, &times(0.7)), Verdict::Worse);
    // Sure, and too little to matter.
    let sure = change(false, &[100.0; 10], &[101.5; 10], 2.0).unwrap();
    assert!(close(sure.percent, 1.5) && sure.interval.low > 0.0, "{sure:?}");
    assert_eq!(sure.verdict, Verdict::Same);
    // Much, and not sure: three rounds that overlap.
    let unsure = change(false, &[100.0, 110.0, 150.0], &[140.0, 160.0, 180.0], 2.0).unwrap();
    assert!(unsure.percent > 40.0 && unsure.interval.low < 0.0, "{unsure:?}");
    assert_eq!((unsure.verdict, unsure.interval.by), (Verdict::Same, By::Extremes));
    assert_eq!(Verdict::Same.words(), "no change detected");
    assert_eq!(change(false, &[], &before, 2.0), None);
    assert_eq!(change(false, &[0.0], &before, 2.0), None);
}

fn samples() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(1.0..1e9_f64, 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_five_numbers_rise_and_are_among_the_samples(samples in samples()) {
        let Spread { min, low, median, high, max } = spread(&samples).unwrap();
        prop_assert!(min <= low && low <= median && median <= high && high <= max);
        prop_assert!(samples.contains(&min) && samples.contains(&max));
    }

    #[test]
    fn a_ratio_lies_in_its_interval_and_within_the_rounds(pairs in prop::collection::vec((1.0..1e9_f64, 1.0..1e9_f64), 1..30)) {
        let (ours, theirs): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
        let found = ratio(false, &ours, &theirs).unwrap();
        let ratios: Vec<f64> = ours.iter().zip(&theirs).map(|(ours, theirs)| theirs / ours).collect();
        let all = spread(&ratios).unwrap();
        let Interval { low, high, by } = found.interval;
        prop_assert!(all.min <= low && low <= found.value && found.value <= high && high <= all.max);
        prop_assert_eq!(by == By::Extremes, ratios.len() < ENOUGH);
        // The same samples, the same interval.
        prop_assert_eq!(ratio(false, &ours, &theirs).unwrap(), found);
    }

    /// A machine twice as fast has the same ratios.
    #[test]
    fn a_ratio_does_not_depend_on_the_machine(samples in samples(), factor in 1.0..8.0_f64) {
        let theirs: Vec<f64> = samples.iter().map(|value| value * factor).collect();
        let found = ratio(false, &samples, &theirs).unwrap();
        prop_assert!((found.value / factor - 1.0).abs() < 1e-9);
        prop_assert!(found.interval.high / found.interval.low < 1.0 + 1e-9);
    }

    /// What is the same as before is never called changed.
    #[test]
    fn no_change_where_there_is_none(samples in samples()) {
        prop_assert_eq!(change(false, &samples, &samples, 2.0).unwrap().verdict, Verdict::Same);
    }
}
