//! Counts as bars, each with the band in which chance would leave it.

use std::fmt::Write as _;

use super::{Placed, Scale, WIDTH, escape, open};

/// Room at the right of bars for the counts.
const COUNTS: f64 = 96.0;
/// Height of a bar with its name above it.
const STEP: f64 = 42.0;
/// Letters of a name that have room.
const LETTERS: usize = 58;

/// A count.
pub struct Counted {
    /// Of what.
    pub name: String,
    /// Which colour, 0 to 7.
    pub class: usize,
    /// How many.
    pub count: f64,
    /// What is expected, and the ends of the band.
    pub band: Option<(f64, f64, f64)>,
    /// The count in words.
    pub shown: String,
}

/// A chart of counts, one below the other, each under its name.
pub fn counted(id: &str, title: &str, description: &str, all: &[Counted]) -> String {
    let values = all.iter().flat_map(|one| {
        let (expected, _, high) = one.band.unwrap_or_default();
        [one.count, expected, high]
    });
    let x = Placed::new(Scale::Linear, values, (1.0, WIDTH - COUNTS));
    let mut text = open(id, title, description, STEP * all.len() as f64 + 4.0);
    for (place, one) in all.iter().enumerate() {
        let top = STEP * place as f64;
        let (bar, class) = (top + 21.0, one.class);
        let end = x.at(one.count);
        let _ = write!(
            text,
            "<text class=\"label\" x=\"1\" y=\"{:.1}\">{}</text>\
             <g class=\"s{class}\"><rect class=\"bar\" x=\"1\" y=\"{bar:.1}\" width=\"{:.1}\" height=\"14\"/></g>",
            top + 13.0,
            escape(&cut(&one.name)),
            (end - 1.0).max(0.5)
        );
        let mut right = end;
        if let Some((expected, low, high)) = one.band {
            let (expected, low, high) = (x.at(expected), x.at(low), x.at(high));
            let _ = write!(
                text,
                "<rect class=\"band\" x=\"{low:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"20\"/>\
                 <line class=\"expected\" x1=\"{expected:.1}\" x2=\"{expected:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>",
                bar - 3.0,
                (high - low).max(1.0),
                bar - 3.0,
                bar + 17.0
            );
            right = right.max(high);
        }
        let _ = writeln!(
            text,
            "<text class=\"value\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            right + 7.0,
            bar + 11.0,
            escape(&one.shown)
        );
    }
    text + "</svg>\n"
}

/// A name that has room.
fn cut(name: &str) -> String {
    if name.chars().count() <= LETTERS {
        return name.to_owned();
    }
    name.chars().take(LETTERS - 1).chain(['\u{2026}']).collect()
}
