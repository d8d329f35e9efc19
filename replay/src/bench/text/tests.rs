use super::super::baseline::compare;
use super::super::result::{Measure, Unit};
use super::super::samples::{figure, results};
use super::super::subject::Subject;
use super::*;

#[test]
fn a_report_of_everything() {
    insta::assert_snapshot!(report(&results(), None));
}

#[test]
fn a_run_that_was_stopped_says_so() {
    let mut few = results();
    few.complete = false;
    few.figures.retain(|figure| figure.measure == Measure::ConnectRate);
    few.figures.iter_mut().for_each(|figure| figure.samples.truncate(3));
    insta::assert_snapshot!(report(&few, None));
}

#[test]
fn nothing_to_compare_is_no_victory() {
    let mut none = results();
    none.figures.truncate(1);
    let text = report(&none, None);
    assert!(text.starts_with("Nothing was compared"), "{text}");
}

#[test]
fn whoever_is_better_than_twinpath_is_named() {
    let what = (Measure::Connect, "clusterip-local", "");
    let mut results = results();
    results.figures = vec![
        figure(what, Subject::Twinpath, (1, 0), Unit::Nanoseconds, 20.0),
        figure(what, Subject::Ipvs, (1, 0), Unit::Nanoseconds, 10.0),
    ];
    let text = report(&results, None);
    assert!(
        text.starts_with("Beside twinpath, a TCP connect takes 0.50 times as long with ipvs"),
        "{text}"
    );
    let (_, nothing) = text.split_once("where it gains nothing\n").unwrap();
    assert!(
        nothing.starts_with("  a TCP connect: clusterip-local, 1 service: ipvs 0.50x (0."),
        "{text}"
    );
}

#[test]
fn what_changed_since_a_baseline_comes_after_the_result() {
    let (before, mut now) = (results(), results());
    let same = report(&now, Some(&compare("main", &before, &now)));
    assert!(same.contains("\nSince baseline main: no change detected in any of "), "{same}");
    now.figures[0].samples.iter_mut().for_each(|sample| *sample *= 2.0);
    let text = report(&now, Some(&compare("main", &before, &now)));
    let (_, text) = text.split_once("\n\n").unwrap();
    let (block, _) = text.split_once("\n\n").unwrap();
    assert!(
        block.starts_with("Since baseline main: 0 better, 1 worse, no change detected in "),
        "{block}"
    );
    let line = "a packet of an established connection: clusterip-local, tc, 1 flow, 1 service: twinpath: worse (+100 %,";
    assert!(block.replace("\n    ", " ").contains(line), "{block}");
}
