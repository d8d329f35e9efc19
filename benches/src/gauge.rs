//! The table of the instruction gauge: how many instructions a packet costs, by subject and path.
//!
//! As text, a head of lines that begin with `#`, and a row per line: subject, path, state, instructions.

use std::fmt;
use std::str::FromStr;

use crate::run::Failure;

/// By how much a row may be more than the committed one.
const LIMIT: f64 = 0.03;
/// By how much two runs of the same programs on the same kernel may differ.
const AGREEMENT: f64 = 0.01;
/// Whose rows are held to the limit.
const OURS: &str = "twinpath";
/// Whose rows others are divided by where the kernels are not the same.
const YARDSTICK: &str = "bare";

/// Services in the cluster of rows `live/…`.
pub const SERVICES: u32 = 100;

/// Instructions per packet, of every row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// The kernel's release.
    pub kernel: String,
    /// What the programs were built with.
    pub compiler: String,
    /// In the order of measuring.
    pub rows: Vec<Row>,
}

/// What a packet costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Whose row: `twinpath`, `bare`, `ipvs`, ...
    pub subject: String,
    /// The way: `run/from-pod/clusterip/v4`, from the general to the special.
    pub path: String,
    /// `established`, `new`, ...
    pub state: String,
    /// Instructions per packet.
    pub count: u64,
}

impl Row {
    /// A row.
    pub fn new(subject: &str, path: &str, state: &str, count: u64) -> Self {
        Self { subject: subject.into(), path: path.into(), state: state.into(), count }
    }

    fn is_same(&self, other: &Self) -> bool {
        self.subject == other.subject && self.path == other.path && self.state == other.state
    }

    fn name(&self) -> String {
        format!("{} {} {}", self.subject, self.path, self.state)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, path, state, count } = self;
        write!(f, "{subject:<16} {path:<38} {state:<12} {count:>12}")
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# kernel: {}", self.kernel)?;
        writeln!(f, "# programs: {}", self.compiler)?;
        writeln!(
            f,
            "# Instructions per packet in an emulated guest; `ebpf/gauge.sh --bless` writes this."
        )?;
        writeln!(
            f,
            "# live/...: {SERVICES} services of two endpoints each; the harness is in every row."
        )?;
        writeln!(f, "{:<16} {:<38} {:<12} {:>12}", "subject", "path", "state", "instructions")?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{row}"))
    }
}

impl FromStr for Table {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let mut table = Self::default();
        for line in text.lines() {
            if let Some(kernel) = line.strip_prefix("# kernel: ") {
                kernel.clone_into(&mut table.kernel);
            } else if let Some(compiler) = line.strip_prefix("# programs: ") {
                compiler.clone_into(&mut table.compiler);
            } else if !(line.starts_with('#') || line.starts_with("subject ")) {
                let fields: Vec<&str> = line.split_whitespace().collect();
                let [subject, path, state, count] = fields[..] else {
                    return Err(format!("not a row of the gauge: {line}").into());
                };
                table.rows.push(Row::new(subject, path, state, count.parse()?));
            }
        }
        Ok(table)
    }
}

/// What became of a committed table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// For people.
    pub lines: Vec<String>,
    /// How many rows are over the limit, missing or not committed.
    pub failed: usize,
    /// Whether nothing can be said, the programs being of another compiler.
    pub foreign: bool,
}

impl Table {
    /// Compares what was measured with this table, as committed. On another kernel, what counts is each
    /// row's ratio to the bare program's that shares most of its path, of the same boot.
    pub fn compare(&self, measured: &Self) -> Comparison {
        let mut all =
            Comparison { foreign: self.compiler != measured.compiler, ..Default::default() };
        if all.foreign {
            let Self { compiler, .. } = self;
            all.lines.push(format!(
                "the table is of other programs ({compiler}): nothing is held to it"
            ));
        }
        let absolute = self.kernel == measured.kernel;
        if !absolute {
            all.lines.push(format!(
                "the table is of {}, this is {}: ratios to the bare programs are compared",
                self.kernel, measured.kernel
            ));
        }
        let mut better = 0_usize;
        for row in &measured.rows {
            let ours = row.subject == OURS;
            let Some(committed) = self.find(row) else {
                all.lines.push(format!(
                    "{}: {}, and not in the table: bless",
                    row.name(),
                    row.count
                ));
                all.failed += usize::from(ours);
                continue;
            };
            let divided = |table: &Self, row: &Row| match table.yardstick(row) {
                Some(bare) if !absolute => row.count as f64 / bare.count as f64,
                _ => row.count as f64,
            };
            // Rows of others on another kernel are the other kernel's.
            if !(absolute || ours) {
                continue;
            }
            let change = divided(measured, row) / divided(self, committed) - 1.0;
            let counts = format!("{:+.1} %, {} -> {}", 100.0 * change, committed.count, row.count);
            if change > LIMIT {
                let what = if ours { "FAILED" } else { "note" };
                all.lines.push(format!("{what}: {}: {counts}", row.name()));
                all.failed += usize::from(ours);
            } else if change < -LIMIT {
                all.lines.push(format!("{}: {counts}: bless", row.name()));
                better += 1;
            }
        }
        for row in self.rows.iter().filter(|row| measured.find(row).is_none()) {
            all.lines.push(format!("FAILED: {}: not measured", row.name()));
            all.failed += 1;
        }
        all.lines.push(format!(
            "{} rows: {} failed, {better} better by more than {} %",
            measured.rows.len(),
            all.failed,
            100.0 * LIMIT
        ));
        if all.foreign {
            all.failed = 0;
        }
        all
    }

    /// The rows in which two runs do not agree.
    pub fn disagreements(&self, other: &Self) -> Comparison {
        let mut all = Comparison::default();
        let mut largest = (0.0, String::new());
        for row in &self.rows {
            let (a, b) = match other.find(row) {
                Some(again) => (row.count as f64, again.count as f64),
                None => (row.count as f64, f64::INFINITY),
            };
            let difference = (a - b).abs() / a.min(b);
            if difference > largest.0 {
                largest = (difference, format!(" ({}: {a} and {b})", row.name()));
            }
            if difference > AGREEMENT {
                all.lines.push(format!("FAILED: {}: {a}, and then {b}", row.name()));
                all.failed += 1;
            }
        }
        all.lines.push(format!(
            "two boots, {} rows: {} further apart than {} %, the largest difference {:.2} %{}",
            self.rows.len(),
            all.failed,
            100.0 * AGREEMENT,
            100.0 * largest.0,
            largest.1
        ));
        all
    }

    fn find(&self, row: &Row) -> Option<&Row> {
        self.rows.iter().find(|other| other.is_same(row))
    }

    /// The bare program's row on the way that is most like this row's.
    fn yardstick(&self, row: &Row) -> Option<&Row> {
        let shared = |other: &Row| {
            let parts = other.path.split('/').zip(row.path.split('/'));
            parts.take_while(|(a, b)| a == b).count()
        };
        let bare = self.rows.iter().filter(|other| other.subject == YARDSTICK);
        // Of several, the first.
        bare.rev().max_by_key(|other| shared(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(kernel: &str, counts: [u64; 4]) -> Table {
        let [bare, bare_xdp, ours, theirs] = counts;
        Table {
            kernel: kernel.into(),
            compiler: "c".into(),
            rows: vec![
                Row::new("bare", "run/tc", "established", bare),
                Row::new("bare", "run/xdp", "established", bare_xdp),
                Row::new("twinpath", "run/xdp/v4", "established", ours),
                Row::new("ipvs", "live/tc", "established", theirs),
            ],
        }
    }

    #[test]
    fn text_and_back() {
        let table = table("6.12.1", [1, 2, 3, 4_000_000]);
        assert_eq!(table.to_string().parse::<Table>().unwrap(), table);
        assert!("bare run/tc established".parse::<Table>().is_err());
    }

    #[test]
    fn only_our_rows_are_held_to_the_limit() {
        let committed = table("a", [100, 200, 1_000, 5_000]);
        for (counts, failed, lines) in [
            ([100, 200, 1_029, 5_000], 0, 1),
            ([100, 200, 1_031, 5_000], 1, 2),
            ([100, 200, 960, 5_000], 0, 2), // better: to be blessed
            ([100, 200, 1_000, 6_000], 0, 2),
        ] {
            let all = committed.compare(&table("a", counts));
            assert_eq!((all.failed, all.lines.len()), (failed, lines), "{all:?}");
        }
    }

    /// With a bare program that is a tenth dearer there, so may ours be; the one of the same hook.
    #[test]
    fn on_another_kernel_ratios_count() {
        let committed = table("a", [100, 200, 1_000, 5_000]);
        for (counts, failed) in [
            ([100, 220, 1_100, 9_000], 0),
            ([100, 220, 1_140, 9_000], 1),
            ([110, 200, 1_100, 5_000], 1),
        ] {
            let all = committed.compare(&table("b", counts));
            assert_eq!(all.failed, failed, "{all:?}");
            assert!(all.lines[0].contains("ratios"), "{all:?}");
        }
    }

    #[test]
    fn rows_come_and_go_by_blessing_alone() {
        let committed = table("a", [100, 200, 1_000, 5_000]);
        let mut measured = committed.clone();
        measured.rows[2].path = "run/xdp/v6".into();
        assert_eq!(committed.compare(&measured).failed, 2);
    }

    #[test]
    fn other_programs_are_not_held_to_it() {
        let committed = table("a", [100, 200, 1_000, 5_000]);
        let mut measured = table("a", [100, 200, 2_000, 5_000]);
        measured.compiler = "d".into();
        let all = committed.compare(&measured);
        assert!(all.foreign && all.failed == 0, "{all:?}");
    }

    #[test]
    fn two_boots_agree_or_not() {
        let first = table("a", [100, 200, 1_000, 5_000]);
        assert_eq!(first.disagreements(&table("a", [100, 200, 1_009, 4_960])).failed, 0);
        assert_eq!(first.disagreements(&table("a", [100, 200, 1_011, 4_940])).failed, 2);
        let mut less = first.clone();
        less.rows.pop();
        assert_eq!(first.disagreements(&less).failed, 1);
    }
}
