use serde_json::Value;

use super::super::baseline::compare;
use super::super::gauge;
use super::super::result::Measure;
use super::super::samples::{GAUGE, results};
use super::*;

fn parsed(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_figure_and_gap_has_a_line_and_the_summary_is_last() {
    let results = results();
    let all = parsed(&lines(&results, None));
    assert!(all.iter().all(|line| line["v"] == 1));
    let of = |kind: &str| all.iter().filter(|line| line["type"] == kind).collect::<Vec<_>>();
    assert_eq!(of("figure").len(), results.figures.len());
    assert_eq!(of("missing").len(), 1);
    assert_eq!(all.len(), results.figures.len() + 2);
    let summary = all.last().unwrap();
    assert_eq!((&summary["type"], &summary["complete"]), (&"summary".into(), &true.into()));
    assert_eq!(summary["figures"], results.figures.len());
    assert_eq!(
        (&summary["regression"], &summary["machine"]["kernel"]),
        (&Value::Null, &"6.18.44".into())
    );
    let rival = of("figure").into_iter().find(|line| line["subject"] == "iptables-legacy").unwrap();
    let ratio = rival["ratio"]["value"].as_f64().unwrap();
    assert!((2.8..2.95).contains(&ratio) && rival["ratio"]["by"] == "bootstrap", "{rival}");
    assert_eq!(of("figure")[0]["ratio"], Value::Null);
}

#[test]
fn changes_since_a_baseline_have_lines() {
    let (before, mut now) = (results(), results());
    now.figures[0].samples.iter_mut().for_each(|sample| *sample *= 2.0);
    let all = parsed(&lines(&now, Some(&compare("main", &before, &now))));
    let changes: Vec<_> = all.iter().filter(|line| line["type"] == "change").collect();
    assert_eq!(changes.len(), now.figures.len());
    assert_eq!(
        (&changes[0]["verdict"], &changes[0]["baseline"]),
        (&"worse".into(), &"main".into())
    );
    assert_eq!(changes[1]["verdict"], "no change detected");
    assert_eq!(all.last().unwrap()["regression"], true);
}

#[test]
fn what_a_guest_counted_is_in_instructions() {
    let mut results = results();
    results.guest = gauge::guest(GAUGE, &[Measure::Established]);
    let all = parsed(&lines(&results, None));
    let counted: Vec<_> = all.iter().filter(|line| line["unit"] == "instructions").collect();
    let of = |place: usize| (&counted[place]["subject"], &counted[place]["ratio"]["value"]);
    assert_eq!(counted.len(), 2);
    assert_eq!(of(0), (&"twinpath".into(), &Value::Null));
    assert_eq!(of(1), (&"ipvs".into(), &2.5.into()));
    let summary = all.last().unwrap();
    assert_eq!(summary["figures"], results.figures.len() + 2);
    assert_eq!(summary["guest"]["kernel"], "6.12.0-test");
}
