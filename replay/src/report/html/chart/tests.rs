use super::super::check::elements;
use super::*;

fn whole(svg: &str) -> Vec<String> {
    elements(&format!("<!DOCTYPE html><p>{svg}</p>"))
}

fn lines(limit: Option<(f64, String)>) -> String {
    let point = |x: f64| Point { x, y: 10.0 * x, range: None };
    Lines {
        id: "t".into(),
        title: "entries".into(),
        description: "many".into(),
        x: Axis { scale: Scale::Linear, label: "s", shown: &|x| x.to_string() },
        y: Axis { scale: Scale::Linear, label: "", shown: &|y| y.to_string() },
        series: vec![Series {
            name: "a",
            class: 0,
            points: (0..5).map(|n| point(n.into())).collect(),
        }],
        marked: false,
        limit,
    }
    .svg()
}

#[test]
fn a_limit_is_a_line_that_the_chart_reaches_up_to() {
    let without = lines(None);
    assert!(!without.contains("class=\"limit\"") && !without.contains("class=\"mark\""));
    assert!(without.contains(">40</text>") && !without.contains(">100</text>"));
    let with = lines(Some((100.0, "limit 100 <&>".into())));
    whole(&with);
    assert!(with.contains(">100</text>") && with.contains("limit 100 &lt;&amp;&gt;"));
    // At the height of its tick.
    let height = |text: &str, what: &str| {
        let tag = text.split(what).nth(1).unwrap().split('>').next().unwrap().to_owned();
        tag.split("y1=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    };
    let last = with.rsplit("class=\"grid\"").next().unwrap();
    assert_eq!(
        height(&with, "class=\"limit\""),
        height(&format!("class=\"grid\"{last}"), "grid\"")
    );
}

fn columns(layers: Vec<Layer>, marks: Vec<bool>, span: f64) -> String {
    Columns {
        id: "c".into(),
        title: "packets <over> time".into(),
        description: "all".into(),
        label: "seconds".into(),
        span,
        before: 0.0,
        shown: &|y| y.to_string(),
        layers,
        marks,
        mark: "drops",
        moments: vec![Moment { at: 1.0, name: "1".into() }],
    }
    .svg()
}

#[test]
fn layers_lie_on_each_other_and_marks_above_their_columns() {
    let layer = |class, heights: &[f64]| Layer { class, heights: heights.to_vec() };
    let chart =
        columns(vec![layer(5, &[10.0, 0.0]), layer(3, &[10.0, 5.0])], vec![false, true], 2.0);
    whole(&chart);
    let path = |class: &str| {
        let group = chart.split(&format!("<g class=\"{class}\"><path")).nth(1).unwrap();
        group.split("d=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    };
    assert_eq!(path("s5").matches('M').count(), 1, "nothing is no column");
    assert_eq!(path("s3").matches('M').count(), 2);
    let top = path("s5").split('V').nth(1).unwrap().split('h').next().unwrap().to_owned();
    let foot = path("s3").split(['M', 'V']).nth(1).unwrap().split(' ').nth(1).unwrap().to_owned();
    assert_eq!(top, foot);
    let marks = chart.rsplit("<g class=\"s3\">").next().unwrap();
    assert!(marks.contains("M246.0 13h180.00v7") && marks.contains(">drops</text>"), "{marks}");
}

#[test]
fn a_chart_of_nothing_is_one() {
    for chart in [columns(Vec::new(), Vec::new(), 0.0), counted("n", "t", "d", &[])] {
        whole(&chart);
        assert!(!chart.contains("NaN") && !chart.contains("inf"), "{chart}");
    }
}

#[test]
fn a_band_lies_around_what_is_expected() {
    let one = |name: &str, count, band| Counted {
        name: name.into(),
        class: 0,
        count,
        band,
        shown: format!("{count} <"),
    };
    let long = "\u{e9}".repeat(300);
    let all = [one("a<b>", 52.0, Some((50.0, 40.0, 60.0))), one(&long, 48.0, None)];
    let chart = counted("b", "shares", "all", &all);
    whole(&chart);
    assert_eq!(chart.matches("class=\"band\"").count(), 1);
    assert!(chart.contains("a&lt;b&gt;") && chart.contains("52 &lt;"));
    assert!(!chart.contains(&long) && chart.contains("\u{e9}\u{2026}"));
    let number = |text: &str| text.split('"').nth(1).unwrap().parse::<f64>().unwrap();
    let after = |what: &str| chart.split(what).nth(1).unwrap().to_owned();
    let low = number(&after("class=\"band\" x="));
    let width = number(after("class=\"band\" x=").split("width=").nth(1).unwrap());
    let middle = number(&after("class=\"expected\" x1="));
    assert!((low + width / 2.0 - middle).abs() < 0.2, "{low} {width} {middle}");
}
