use super::super::baseline::compare;
use super::super::gauge;
use super::super::result::{Measure, Unit};
use super::super::samples::{GAUGE, figure, results};
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
    let line = "\n  a TCP connect: clusterip-local, 1 service: ipvs 0.50x (0.";
    assert!(nothing.starts_with("  1 of 1 comparison of 10 rounds: ") && nothing.contains(line));
}

#[test]
fn what_a_guest_counted_is_a_part_of_its_own() {
    let mut results = results();
    let without = report(&results, None);
    results.guest = gauge::guest(GAUGE, &Measure::ALL);
    let text = report(&results, None);
    let (before, rest) =
        text.split_once("\ninstructions per packet, in an emulated guest\n").unwrap();
    let (guest, after) = rest.split_once("\nwhere it gains nothing").unwrap();
    assert_eq!(format!("{before}\nwhere it gains nothing{after}"), without);
    assert!(guest.contains("kernel 6.12.0-test;") && guest.contains("ebpf/gauge.sh"), "{guest}");
    let rows: Vec<&str> = guest.lines().filter(|line| line.contains("clusterip-local")).collect();
    let expected = [
        "  clusterip-local  tc    2,000     5,000  2.50x",
        "  clusterip-local  tc    4,000     9,000  2.25x",
    ];
    assert_eq!(rows, expected, "{guest}");
}

#[test]
fn of_two_rounds_there_are_numbers_and_no_verdict() {
    let mut few = results();
    few.figures.retain(|figure| figure.measure == Measure::Established);
    few.figures.iter_mut().for_each(|figure| figure.samples.truncate(2));
    let text = report(&few, None).replace('\n', " ").replace("   ", " ");
    let begin = "A packet of an established connection: iptables-legacy 2.91x and";
    assert!(text.starts_with(begin) && text.contains("of 2 rounds: too few for a"), "{text}");
    let (_, nothing) = text.split_once("where it gains nothing").unwrap();
    assert!(nothing.starts_with(" No verdict: 18 comparisons of fewer than 3 rounds"), "{text}");
    assert!(!text.contains("surely") && !text.contains("times as long"), "{text}");
}

#[test]
fn what_is_at_sockets_is_compared_with_ours_at_tc_and_nobody_else_is_there() {
    let connect = |hook, subject, value| {
        let what = (Measure::Connect, "clusterip-local", hook);
        figure(what, subject, (1, 0), Unit::Nanoseconds, value)
    };
    let mut results = results();
    results.figures = vec![
        connect("tc", Subject::Twinpath, 20.0),
        connect("socket", Subject::Bare, 10.0),
        connect("tc", Subject::Nftables, 40.0),
    ];
    let text = report(&results, None);
    let row = text.lines().find(|line| line.contains(" socket ")).unwrap();
    let cells: Vec<&str> = row.split("  ").filter(|cell| !cell.is_empty()).map(str::trim).collect();
    assert_eq!(cells[..5], ["clusterip-local", "socket", "1", "-", "10.0 ns"], "{row}");
    assert!(cells[5].starts_with("0.50x (") && cells[6] == "-", "{row}");
    assert!(text.contains("its ratios are to twinpath at tc"), "{text}");
    assert!(text.contains("  0 of ") || text.contains("Nowhere among 1 comparison of"), "{text}");
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
