//! Charts as inline SVG, each with a title and a description for whoever cannot see it.
//!
//! Series are told apart by colour, dashes and markers together, and named where their line ends.

mod bands;
mod columns;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use super::escape;
pub use bands::{Counted, counted};
pub use columns::{Columns, Layer, Moment};

/// Width of all charts, in units of their own; text has 12, so that they can be read from 360 pixels on.
const WIDTH: f64 = 440.0;
/// Room for names at the right of lines.
const NAMES: f64 = 124.0;
/// Room for numbers at the left of lines.
const NUMBERS: f64 = 66.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 214.0;
/// Where bars begin, right of their names.
const BARS: f64 = 122.0;
/// Least distance of two names, one above the other.
const APART: f64 = 14.0;

/// Where a value lies on an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// In proportion, from 0.
    Linear,
    /// By its logarithm.
    Log,
    /// Of parts of a whole, by how little is left: 0.9, 0.99 and 0.999 are equally far apart.
    Nines,
}

impl Scale {
    fn place(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Log => value.max(f64::MIN_POSITIVE).log10(),
            Self::Nines => -(1.0 - value).max(1e-9).log10(),
        }
    }
}

/// An axis.
pub struct Axis<'a> {
    /// How values are placed.
    pub scale: Scale,
    /// What they are of.
    pub label: &'a str,
    /// How they are written.
    pub shown: &'a dyn Fn(f64) -> String,
}

/// A point, with the least and the greatest that were measured.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// On the horizontal axis.
    pub x: f64,
    /// On the vertical one.
    pub y: f64,
    /// What whiskers reach to.
    pub range: Option<(f64, f64)>,
}

/// A line.
pub struct Series<'a> {
    /// Whose.
    pub name: &'a str,
    /// Which colour, dashes and marker, 0 to 6.
    pub class: usize,
    /// From left to right.
    pub points: Vec<Point>,
}

/// A chart of lines; `id` is unique in the page.
pub struct Lines<'a> {
    /// Of the elements that say what it is.
    pub id: String,
    /// What it shows, in a line.
    pub title: String,
    /// In words, what can be seen in it.
    pub description: String,
    /// From left to right.
    pub x: Axis<'a>,
    /// From below.
    pub y: Axis<'a>,
    /// The lines.
    pub series: Vec<Series<'a>>,
    /// Whether points are marked. Those of lines with many of them are not.
    pub marked: bool,
    /// A height that lines cannot pass, and what it is.
    pub limit: Option<(f64, String)>,
}

/// An axis with its ends, and where it lies on the picture.
struct Placed {
    scale: Scale,
    ends: (f64, f64),
    picture: (f64, f64),
}

impl Placed {
    fn new(scale: Scale, values: impl Iterator<Item = f64>, picture: (f64, f64)) -> Self {
        let places = values.filter(|value| value.is_finite()).map(|value| scale.place(value));
        let (mut low, mut high) = places
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), one| {
                (low.min(one), high.max(one))
            });
        match scale {
            Scale::Linear => (low, high) = (0.0, high * 1.06),
            Scale::Nines => low = 0.0,
            Scale::Log => {
                let more = (high - low) * 0.04;
                (low, high) = (low - more, high + more);
            }
        }
        if !low.is_finite() || !high.is_finite() {
            (low, high) = (0.0, 1.0);
        }
        if high - low < 1e-9 {
            (low, high) = (low - 0.5, high + 0.5);
        }
        Self { scale, ends: (low, high), picture }
    }

    fn at(&self, value: f64) -> f64 {
        let part = (self.scale.place(value) - self.ends.0) / (self.ends.1 - self.ends.0);
        self.picture.0 + part.clamp(0.0, 1.0) * (self.picture.1 - self.picture.0)
    }

    /// Round values within the ends.
    fn ticks(&self) -> Vec<f64> {
        let (low, high) = self.ends;
        let within = |value: &f64| {
            let place = self.scale.place(*value);
            place >= low - 1e-9 && place <= high + 1e-9
        };
        match self.scale {
            Scale::Nines => {
                [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999].into_iter().filter(within).collect()
            }
            Scale::Linear => {
                let rough = (high - low) / 5.0;
                let size = 10_f64.powf(rough.log10().floor());
                let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|step| step * size >= rough);
                let step = step.unwrap_or(10.0) * size;
                (0..=10).map(|n| f64::from(n) * step).filter(within).collect()
            }
            Scale::Log => {
                let decades = high - low;
                let leaps: &[f64] = if decades < 2.3 { &[1.0, 2.0, 5.0] } else { &[1.0] };
                let every = (decades / 5.0).ceil().max(1.0) as i32;
                let first = low.floor() as i32;
                let powers = (first..=high.ceil() as i32).filter(|power| power % every == 0);
                powers
                    .flat_map(|power| leaps.iter().map(move |leap| leap * 10_f64.powi(power)))
                    .filter(within)
                    .collect()
            }
        }
    }
}

impl Lines<'_> {
    /// The chart.
    pub fn svg(&self) -> String {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let right = if self.named() { WIDTH - NAMES } else { WIDTH - 14.0 };
        let x = Placed::new(self.x.scale, points().map(|point| point.x), (NUMBERS + 6.0, right));
        let heights = points().flat_map(|point| {
            let (low, high) = point.range.unwrap_or((point.y, point.y));
            [low, point.y, high]
        });
        let heights = heights.chain(self.limit.iter().map(|(limit, _)| *limit));
        let y = Placed::new(self.y.scale, heights, (BOTTOM, TOP));
        let height = BOTTOM + 40.0;
        let mut text = open(&self.id, &self.title, &self.description, height);
        for tick in y.ticks() {
            let at = y.at(tick);
            let _ = writeln!(
                text,
                "<line class=\"grid\" x1=\"{NUMBERS}\" x2=\"{right:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                NUMBERS - 5.0,
                at + 4.0,
                escape(&(self.y.shown)(tick))
            );
        }
        let _ = writeln!(
            text,
            "<line class=\"axis\" x1=\"{NUMBERS}\" x2=\"{right:.1}\" y1=\"{BOTTOM}\" y2=\"{BOTTOM}\"/>"
        );
        let mut last = f64::NEG_INFINITY;
        for tick in x.ticks() {
            let (at, shown) = (x.at(tick), (self.x.shown)(tick));
            // What would run into the one before it is left out.
            let half = shown.chars().count() as f64 * 3.4;
            if at - half < last {
                continue;
            }
            last = at + half + 4.0;
            let _ = writeln!(
                text,
                "<line class=\"axis\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{BOTTOM}\" y2=\"{:.1}\"/>\
                 <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                BOTTOM + 4.0,
                BOTTOM + 17.0,
                escape(&shown)
            );
        }
        let _ = writeln!(
            text,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            f64::midpoint(NUMBERS, right),
            BOTTOM + 34.0,
            escape(self.x.label)
        );
        if let Some((limit, name)) = &self.limit {
            let at = y.at(*limit);
            let _ = writeln!(
                text,
                "<line class=\"limit\" x1=\"{NUMBERS}\" x2=\"{right:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text class=\"name s3\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                NUMBERS + 6.0,
                at + 14.0,
                escape(name)
            );
        }
        for series in &self.series {
            text += &curve(series, &x, &y, self.marked);
        }
        if self.named() {
            text += &self.names(&x, &y);
        }
        text + "</svg>\n"
    }

    /// Whether lines are named where they end: those that all end at the top cannot be.
    fn named(&self) -> bool {
        self.y.scale != Scale::Nines
    }

    /// The names at the lines' ends, moved apart where they would overlap.
    fn names(&self, x: &Placed, y: &Placed) -> String {
        let ends = self.series.iter().filter_map(|series| Some((series, series.points.last()?)));
        let mut names: Vec<(f64, f64, f64, &Series<'_>)> =
            ends.map(|(series, end)| (y.at(end.y), y.at(end.y), x.at(end.x), series)).collect();
        names.sort_by(|left, right| left.0.total_cmp(&right.0));
        // Down where they are too close, then up from the floor.
        let mut above = TOP - APART + 2.0;
        for name in &mut names {
            name.0 = name.0.max(above + APART);
            above = name.0;
        }
        let mut below = BOTTOM + APART - 2.0;
        for name in names.iter_mut().rev() {
            name.0 = name.0.min(below - APART);
            below = name.0;
        }
        let mut text = String::new();
        let left = WIDTH - NAMES + 14.0;
        for (at, end, from, Series { name, class, .. }) in names {
            let _ = writeln!(
                text,
                "<path class=\"leader\" d=\"M{:.1} {end:.1}L{:.1} {at:.1}\"/>\
                 <text class=\"name s{class}\" x=\"{left:.1}\" y=\"{:.1}\">{}</text>",
                from + 5.0,
                left - 3.0,
                at + 4.0,
                escape(name)
            );
        }
        text
    }
}

fn curve(series: &Series<'_>, x: &Placed, y: &Placed, marked: bool) -> String {
    let class = series.class;
    let places: Vec<(f64, f64)> =
        series.points.iter().map(|point| (x.at(point.x), y.at(point.y))).collect();
    let line: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
    let mut text = format!(
        "<g class=\"s{class}\"><path class=\"curve\"{} d=\"M{}\"/>",
        dashes(class),
        line.join("L")
    );
    for (point, (at, _)) in series.points.iter().zip(&places) {
        if let Some((low, high)) = point.range {
            let (low, high) = (y.at(low), y.at(high));
            let _ = write!(
                text,
                "<path class=\"whisker\" d=\"M{:.1} {low:.1}h6m-3 0V{high:.1}m-3 0h6\"/>",
                at - 3.0
            );
        }
    }
    for (x, y) in places.into_iter().filter(|_| marked) {
        text += &marker(class, x, y);
    }
    text + "</g>\n"
}

/// The dashes of a class.
fn dashes(class: usize) -> String {
    let pattern = ["", "2 3", "8 3 2 3", "7 3", "3 2", "10 3 2 3 2 3", "12 4"];
    match pattern.get(class % 7) {
        Some(&"") | None => String::new(),
        Some(pattern) => format!(" stroke-dasharray=\"{pattern}\""),
    }
}

/// The marker of a class.
fn marker(class: usize, x: f64, y: f64) -> String {
    let shape = match class % 7 {
        0 => return format!("<circle class=\"mark\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>"),
        1 => "m-3 -3h6v6h-6z",
        2 => "m-4.5 -1.5h3v-3h3v3h3v3h-3v3h-3v-3h-3z",
        3 => "m0 -5l4.6 8h-9.2z",
        4 => "m0 5l4.6 -8h-9.2z",
        5 => "m0 -5l5 5l-5 5l-5 -5z",
        _ => "m-4 -4h8v8h-8z",
    };
    format!("<path class=\"mark\" d=\"M{x:.1} {y:.1}{shape}\"/>")
}

/// What lines look like and whose they are, for a chart that cannot name them.
pub fn legend<'a>(series: impl IntoIterator<Item = (&'a str, usize)>) -> String {
    let (mut text, mut x, mut y) = (String::new(), 0.0, 12.0);
    for (name, class) in series {
        let width = 42.0 + name.chars().count() as f64 * 7.0 + 14.0;
        if x > 0.0 && x + width > WIDTH {
            (x, y) = (0.0, y + 18.0);
        }
        let _ = writeln!(
            text,
            "<g class=\"s{class}\"><path class=\"curve\"{} d=\"M{x:.1} {y:.1}h34\"/>{}\
             <text class=\"name s{class}\" x=\"{:.1}\" y=\"{:.1}\">{}</text></g>",
            dashes(class),
            marker(class, x + 17.0, y),
            x + 40.0,
            y + 4.0,
            escape(name)
        );
        x += width;
    }
    format!("<svg viewBox=\"0 0 {WIDTH} {:.0}\" aria-hidden=\"true\">\n{text}</svg>\n", y + 10.0)
}

/// A bar.
pub struct Bar<'a> {
    /// Whose.
    pub name: &'a str,
    /// Which colour, 0 to 6.
    pub class: usize,
    /// How long.
    pub value: f64,
    /// What whiskers reach to.
    pub range: (f64, f64),
    /// The value in words.
    pub shown: String,
}

/// A chart of bars, one below the other, named at the left, with their values at the right. On a
/// logarithmic scale there is no length to compare: a marker takes the bar's place.
pub fn bars(id: &str, title: &str, description: &str, scale: Scale, bars: &[Bar<'_>]) -> String {
    const STEP: f64 = 26.0;
    let height = STEP * bars.len() as f64 + 8.0;
    let values = bars.iter().flat_map(|bar| [bar.value, bar.range.0, bar.range.1]);
    let x = Placed::new(scale, values, (BARS, WIDTH - 146.0));
    let mut text = open(id, title, description, height);
    let _ = writeln!(
        text,
        "<line class=\"axis\" x1=\"{BARS}\" x2=\"{BARS}\" y1=\"0\" y2=\"{:.1}\"/>",
        height - 4.0
    );
    for (place, bar) in bars.iter().enumerate() {
        let middle = STEP * place as f64 + STEP / 2.0;
        let Bar { name, class, value, range, shown } = bar;
        let (end, low, high) = (x.at(*value), x.at(range.0), x.at(range.1));
        let _ = write!(
            text,
            "<text class=\"name s{class}\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            BARS - 6.0,
            middle + 4.0,
            escape(name)
        );
        if scale == Scale::Linear {
            let _ = write!(
                text,
                "<g class=\"s{class}\"><rect class=\"bar\" x=\"{BARS}\" y=\"{:.1}\" width=\"{:.1}\" height=\"14\"/></g>\
                 <path class=\"whisker over\" d=\"M{low:.1} {:.1}v6m0 -3H{high:.1}m0 -3v6\"/>",
                middle - 7.0,
                (end - BARS).max(0.5),
                middle - 3.0
            );
        } else {
            let _ = write!(
                text,
                "<path class=\"leader\" d=\"M{BARS} {middle:.1}H{end:.1}\"/><g class=\"s{class}\">\
                 <path class=\"whisker\" d=\"M{low:.1} {:.1}v8m0 -4H{high:.1}m0 -4v8\"/>{}</g>",
                middle - 4.0,
                marker(*class, end, middle)
            );
        }
        let _ = writeln!(
            text,
            "<text class=\"value\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            end.max(high) + 7.0,
            middle + 4.0,
            escape(shown)
        );
    }
    text + "</svg>\n"
}

fn open(id: &str, title: &str, description: &str, height: f64) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\">\n\
         <title id=\"{id}-t\">{}</title>\n<desc id=\"{id}-d\">{}</desc>\n",
        escape(title),
        escape(description)
    )
}
