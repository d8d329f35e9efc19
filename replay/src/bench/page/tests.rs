use serde_json::Value;

use super::super::baseline::compare;
use super::super::gauge;
use super::super::result::{Measure, Missing, Unit};
use super::super::samples::{GAUGE, figure, results};
use super::super::subject::Subject;
use super::*;
use crate::report::html::check::elements;

#[test]
fn a_page_is_well_formed_small_and_needs_nothing_else() {
    let page = page(&results(), None);
    let elements = elements(&page);
    assert!(elements.iter().filter(|name| *name == "svg").count() > 15);
    assert!(page.len() < 1 << 20, "{}", page.len());
    for outside in ["http:", "https:", "src=", "url(", "@import", "<link"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert_eq!(elements.iter().filter(|name| *name == "script").count(), 1);
    assert_eq!(page, super::page(&results(), None), "the same results, the same page");
}

#[test]
fn every_part_that_a_reader_may_ask_for_is_there() {
    let page = page(&results(), None);
    let parts = [
        "machine",
        "latency",
        "throughput",
        "cost",
        "programming",
        "memory",
        "connections",
        "nothing",
        "missing",
        "figures",
        "method",
        "limits",
    ];
    let mut last = 0;
    for part in parts {
        let at = page.find(&format!("<section id=\"{part}\">"));
        let at = at.unwrap_or_else(|| panic!("{part} is missing"));
        assert!(at > last, "{part} is out of order");
        last = at;
    }
    let lead = page.split_once("<p class=\"lead\">").unwrap().1.split_once("</p>").unwrap().0;
    assert!(lead.contains("2.86 times as long with iptables-legacy (2.74 to 3.00)"), "{lead}");
    for words in [
        "<th scope=\"col\" class=\"number\">P99.9</th>",
        "prefers-color-scheme: dark",
        "@media print",
        "spectre_v2: Retpolines",
        "performance",
        "iptables v1.8.9",
        "M/s</text>",
        "Gbit/s",
        "twinpath bench --services 1,100,10000",
        "2026-01-01 00:00 UTC",
        "no network card",
        "ipvs: the kernel has no module ip_vs",
    ] {
        assert!(page.contains(words), "{words}");
    }
    assert!(!page.contains("id=\"baseline\""));
}

#[test]
fn a_yardstick_alone_is_no_chart() {
    let connect = |hook, subject| {
        let what = (Measure::Connect, "clusterip-local", hook);
        figure(what, subject, (1, 0), Unit::Nanoseconds, 20.0)
    };
    let mut results = results();
    results.figures = vec![connect("tc", Subject::Twinpath), connect("socket", Subject::Bare)];
    results.figures.iter_mut().for_each(|figure| figure.quantiles = vec![(0.5, 2.0), (0.9, 3.0)]);
    let page = page(&results, None);
    let captions = |hook: &str| page.matches(&format!("</b>clusterip-local, {hook}")).count();
    assert_eq!((captions("tc"), captions("socket")), (1, 0));
    assert!(page.contains("clusterip-local, socket, 1 service"));
}

#[test]
fn what_a_guest_counted_has_a_section() {
    let mut results = results();
    assert!(!page(&results, None).contains("<section id=\"instructions\">"));
    results.guest = gauge::guest(GAUGE, &Measure::ALL);
    let page = page(&results, None);
    elements(&page);
    let section = page.split_once("<section id=\"instructions\">").unwrap().1;
    let section = section.split_once("</section>").unwrap().0;
    for words in ["kernel 6.12.0-test", "ebpf/gauge.sh", "5,000 instructions", "2.50x"] {
        assert!(section.contains(words), "{words}: {section}");
    }
    assert!(!section.contains("0 services"), "{section}");
}

#[test]
fn the_numbers_are_in_the_page() {
    let page = page(&results(), None);
    let data = page.split_once("<script type=\"application/json\" id=\"data\">").unwrap().1;
    let data = data.split_once("</script>").unwrap().0;
    assert!(serde_json::from_str::<Results>(data).unwrap() == results());
}

#[test]
fn what_is_text_stays_text() {
    let mut results = results();
    let evil = "</script><img src=x onerror=alert(1)> & \"quoted\" 'once'";
    results.command = evil.into();
    results.machine.processor = evil.into();
    results.missing.push(Missing { what: evil.into(), why: evil.into() });
    results.figures.iter_mut().for_each(|figure| figure.path = evil.into());
    let page = page(&results, None);
    elements(&page);
    assert!(!page.contains("<img"));
    assert!(page.contains(
        "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt; &amp; &quot;quoted&quot; &#39;once&#39;"
    ));
    let data = page.split_once("id=\"data\">").unwrap().1.split_once("</script>").unwrap().0;
    let data: Value = serde_json::from_str(data).unwrap();
    assert_eq!(data["command"], evil);
}

#[test]
fn every_chart_says_in_words_what_it_shows() {
    let page = page(&results(), None);
    let charts = page.matches("role=\"img\"").count();
    assert!(charts > 10);
    for id in 1..=charts {
        for part in ["t", "d"] {
            assert_eq!(page.matches(&format!(" id=\"chart{id}-{part}\"")).count(), 1, "{id}{part}");
        }
    }
    assert!(!page.contains("NaN") && !page.contains("inf\""));
}

#[test]
fn a_baseline_has_a_part_of_its_own() {
    let (before, mut now) = (results(), results());
    let same = page(&now, Some(&compare("main", &before, &now)));
    elements(&same);
    assert!(same.contains("<section id=\"baseline\">") && same.contains("no change detected"));
    assert!(!same.contains("<td>worse</td>") && !same.contains(">worse<"));
    now.figures[0].samples.iter_mut().for_each(|sample| *sample *= 2.0);
    now.machine.kernel = "6.12.0".into();
    let worse = page(&now, Some(&compare("main", &before, &now)));
    assert!(
        worse.contains(">worse<") && worse.contains("kernel is &quot;6.18.44&quot;"),
        "{worse}"
    );
}

#[test]
fn a_run_without_figures_has_a_page() {
    let empty = page(&Results::default(), None);
    elements(&empty);
    assert!(empty.contains("Nothing was compared") && empty.contains("The run ended before"));
}
