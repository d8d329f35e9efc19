//! Columns over time, in layers one on the other.

use std::fmt::Write as _;

use super::{BOTTOM, NUMBERS, Placed, Scale, WIDTH, escape, open};

/// Where columns may begin, below the row of marks.
const HIGHEST: f64 = 22.0;
const RIGHT: f64 = WIDTH - 14.0;

/// A part of all columns.
pub struct Layer {
    /// Which colour, 0 to 7.
    pub class: usize,
    /// How high it is in each column.
    pub heights: Vec<f64>,
}

/// A point in time that something changed at.
pub struct Moment {
    /// Where it is, in columns from the left.
    pub at: f64,
    /// What it is called, shortly.
    pub name: String,
}

/// A chart of columns; `id` is unique in the page.
pub struct Columns<'a> {
    /// Of the elements that say what it is.
    pub id: String,
    /// What it shows, in a line.
    pub title: String,
    /// In words, what can be seen in it.
    pub description: String,
    /// What lies below the time axis.
    pub label: String,
    /// How much time all columns take together, in the unit of the axis.
    pub span: f64,
    /// How much of it lies before the zero of the axis.
    pub before: f64,
    /// How heights are written.
    pub shown: &'a dyn Fn(f64) -> String,
    /// From the lowest up; all of the same length.
    pub layers: Vec<Layer>,
    /// Which columns have a mark above them.
    pub marks: Vec<bool>,
    /// What the marks are.
    pub mark: &'a str,
    /// Lines from top to bottom.
    pub moments: Vec<Moment>,
}

impl Columns<'_> {
    /// The chart.
    pub fn svg(&self) -> String {
        let many = self.marks.len().max(1);
        let width = (RIGHT - NUMBERS) / many as f64;
        let sums =
            |n: usize| -> f64 { self.layers.iter().filter_map(|layer| layer.heights.get(n)).sum() };
        let y = Placed::new(Scale::Linear, (0..many).map(sums), (BOTTOM, HIGHEST));
        let mut text = open(&self.id, &self.title, &self.description, BOTTOM + 40.0);
        for tick in y.ticks() {
            let at = y.at(tick);
            let _ = writeln!(
                text,
                "<line class=\"grid\" x1=\"{NUMBERS}\" x2=\"{RIGHT}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                NUMBERS - 5.0,
                at + 4.0,
                escape(&(self.shown)(tick))
            );
        }
        let mut below = vec![0.0; many];
        for Layer { class, heights } in &self.layers {
            let mut path = String::new();
            for (n, (below, height)) in below.iter_mut().zip(heights).enumerate() {
                let (low, high) = (y.at(*below), y.at(*below + height));
                *below += height;
                if *height > 0.0 {
                    let left = NUMBERS + n as f64 * width;
                    // What is there is seen, however little it is; and no light falls between columns.
                    let _ = write!(
                        path,
                        "M{left:.2} {low:.1}V{:.1}h{:.2}V{low:.1}z",
                        high.min(low - 0.5),
                        width + 0.4
                    );
                }
            }
            if !path.is_empty() {
                let _ =
                    writeln!(text, "<g class=\"s{class}\"><path class=\"bar\" d=\"{path}\"/></g>");
            }
        }
        text += &self.marked(width);
        let _ = writeln!(
            text,
            "<line class=\"axis\" x1=\"{NUMBERS}\" x2=\"{RIGHT}\" y1=\"{BOTTOM}\" y2=\"{BOTTOM}\"/>"
        );
        text += &self.times();
        for Moment { at, name } in &self.moments {
            let x = NUMBERS + at.clamp(0.0, many as f64) * width;
            let _ = writeln!(
                text,
                "<line class=\"moment\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"14\" y2=\"{BOTTOM}\"/>\
                 <text class=\"value\" x=\"{x:.1}\" y=\"11\" text-anchor=\"middle\">{}</text>",
                escape(name)
            );
        }
        text + "</svg>\n"
    }

    /// The row of marks; nothing where there are none.
    fn marked(&self, width: f64) -> String {
        let mut path = String::new();
        for n in self.marks.iter().enumerate().filter_map(|(n, marked)| marked.then_some(n)) {
            // As wide as its column, and never too narrow to be seen.
            let (left, width) = (NUMBERS + n as f64 * width, width.max(2.0));
            let _ = write!(path, "M{:.1} 13h{width:.2}v7h-{width:.2}z", left.min(RIGHT - width));
        }
        if path.is_empty() {
            return path;
        }
        format!(
            "<g class=\"s3\"><path class=\"bar\" d=\"{path}\"/></g>\
             <text class=\"name s3\" x=\"{:.1}\" y=\"20\" text-anchor=\"end\">{}</text>\n",
            NUMBERS - 5.0,
            escape(self.mark)
        )
    }

    fn times(&self) -> String {
        let ends = (-self.before, self.span - self.before);
        let x = Placed { scale: Scale::Linear, ends, picture: (NUMBERS, RIGHT) };
        let ticks = if self.span > 0.0 { x.ticks() } else { Vec::new() };
        let mut text = String::new();
        for tick in ticks {
            let at = x.at(tick);
            let _ = writeln!(
                text,
                "<line class=\"axis\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{BOTTOM}\" y2=\"{:.1}\"/>\
                 <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                BOTTOM + 4.0,
                BOTTOM + 17.0,
                short(tick)
            );
        }
        let _ = writeln!(
            text,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            f64::midpoint(NUMBERS, RIGHT),
            BOTTOM + 34.0,
            escape(&self.label)
        );
        text
    }
}

/// A number without zeroes at its end.
fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
