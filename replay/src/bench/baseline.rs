//! A run that is kept, to compare later ones with.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::quantity::digits;
use super::result::{Figure, Results, VERSION};
use super::stats::{Change, Verdict, change};
use super::subject::Subject;
use super::view;

/// Changes of less than so many percent are noise.
pub const NOISE: f64 = 2.0;

/// Why a baseline cannot be kept or found.
#[derive(Debug, Error)]
pub enum BaselineError {
    /// It is neither a name nor a path.
    #[error(
        "{0:?} names no baseline; use letters, digits, '.', '_' and '-', or a path with a '/' or '.json' in it"
    )]
    Name(String),
    /// There is no folder for names.
    #[error("no folder for baseline {0:?}: neither XDG_STATE_HOME nor HOME is set; give a path")]
    Homeless(String),
    /// There is none of this name.
    #[error("no baseline {name:?} at {path}; one is made by --save-baseline {name}")]
    Absent {
        /// As given.
        name: String,
        /// Where it was looked for.
        path: String,
    },
    /// The file cannot be read or written.
    #[error("{path}: {cause}")]
    File {
        /// Its name.
        path: String,
        /// What the system said.
        cause: io::Error,
    },
    /// The file holds something else.
    #[error("{path} is no baseline of this version: {cause}")]
    Content {
        /// Its name.
        path: String,
        /// What is wrong.
        cause: String,
    },
}

/// The file of a baseline: a path, where there is a `/` in it or it ends in `.json`, and otherwise a name in
/// `$XDG_STATE_HOME/twinpath/bench` (`~/.local/state/twinpath/bench`).
pub fn path(name: &str) -> Result<PathBuf, BaselineError> {
    let variable =
        |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = variable("XDG_STATE_HOME")
        .filter(|folder| folder.is_absolute())
        .or_else(|| Some(variable("HOME")?.join(".local/state")));
    path_in(home.as_deref(), name)
}

fn path_in(state: Option<&Path>, name: &str) -> Result<PathBuf, BaselineError> {
    if name.contains('/') || name.ends_with(".json") {
        return Ok(name.into());
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
        return Err(BaselineError::Name(name.to_owned()));
    }
    let state = state.ok_or_else(|| BaselineError::Homeless(name.to_owned()))?;
    Ok(state.join("twinpath/bench").join(format!("{name}.json")))
}

/// Keeps a run under a name; what was there under it is gone. Returns the file.
pub fn save(name: &str, results: &Results) -> Result<PathBuf, BaselineError> {
    let path = path(name)?;
    let file = |cause| BaselineError::File { path: path.display().to_string(), cause };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(file)?;
    }
    let mut text = serde_json::to_string_pretty(results).map_err(|error| file(error.into()))?;
    text.push('\n');
    std::fs::write(&path, text).map_err(file)?;
    Ok(path)
}

/// The run that was kept under a name.
pub fn load(name: &str) -> Result<Results, BaselineError> {
    let path = path(name)?;
    let shown = path.display().to_string();
    let text = std::fs::read(&path).map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => {
            BaselineError::Absent { name: name.to_owned(), path: shown.clone() }
        }
        _ => BaselineError::File { path: shown.clone(), cause },
    })?;
    let content = |cause: String| BaselineError::Content { path: shown.clone(), cause };
    let results: Results =
        serde_json::from_slice(&text).map_err(|error| content(error.to_string()))?;
    if results.v != VERSION {
        return Err(content(format!("its layout is {}, not {VERSION}", results.v)));
    }
    Ok(results)
}

/// A figure beside the baseline's.
#[derive(Debug)]
pub struct Compared<'a> {
    /// The figure of this run.
    pub now: &'a Figure,
    /// That of the baseline.
    pub before: &'a Figure,
    /// What became of it.
    pub change: Change,
}

impl Compared<'_> {
    /// The setting in words: `clusterip-local, tc, 1 flow, 1,000 services`.
    pub fn setting(&self) -> String {
        let Figure { path, hook, services, flows, .. } = self.now;
        view::setting(path, hook, *flows, *services)
    }
}

/// A run beside a baseline.
#[derive(Debug)]
pub struct Comparison<'a> {
    /// As it was named.
    pub name: &'a str,
    /// The figures that both have.
    pub figures: Vec<Compared<'a>>,
    /// What makes the comparison doubtful, in words: another processor, another kernel.
    pub doubts: Vec<String>,
}

/// Compares a run with a baseline, figure by figure.
pub fn compare<'a>(name: &'a str, before: &'a Results, now: &'a Results) -> Comparison<'a> {
    let find = |now: &'a Figure| {
        let before = before.figures.iter().find(|before| same(before, now))?;
        let change = change(now.unit.is_rate(), &before.samples, &now.samples, NOISE)?;
        Some(Compared { now, before, change })
    };
    let (then, here) = (&before.machine, &now.machine);
    let mut doubts = Vec::new();
    for (what, then, here) in [
        ("processor", &then.processor, &here.processor),
        ("kernel", &then.kernel, &here.kernel),
        ("governor", &then.governor, &here.governor),
    ] {
        if then != here {
            doubts.push(format!("the baseline's {what} is {then:?}, this one's {here:?}"));
        }
    }
    if !before.complete {
        doubts.push("the baseline is of a run that was stopped".into());
    }
    Comparison { name, figures: now.figures.iter().filter_map(find).collect(), doubts }
}

/// Whether two figures are of the same quantity, subject and setting.
fn same(left: &Figure, right: &Figure) -> bool {
    let key = |figure: &Figure| {
        (figure.measure, figure.unit, figure.subject, figure.services, figure.flows)
    };
    key(left) == key(right) && left.path == right.path && left.hook == right.hook
}

impl Comparison<'_> {
    /// How many are better, worse and neither, in a sentence.
    pub fn sum(&self) -> String {
        let count =
            |verdict| self.figures.iter().filter(|one| one.change.verdict == verdict).count();
        let [same, better, worse] = [Verdict::Same, Verdict::Better, Verdict::Worse].map(count);
        let words = Verdict::Same.words();
        if self.figures.is_empty() {
            return format!("Baseline {} has none of this run's figures.", self.name);
        }
        let all = self.figures.len();
        if same == all {
            return format!("Since baseline {}: {words} in any of {all} figures.", self.name);
        }
        format!(
            "Since baseline {}: {better} better, {worse} worse, {words} in {same} of {all} figures.",
            self.name
        )
    }

    /// Whether one of twinpath's own figures is worse.
    pub fn is_regression(&self) -> bool {
        self.figures
            .iter()
            .any(|one| one.now.subject == Subject::Twinpath && one.change.verdict == Verdict::Worse)
    }
}

impl Change {
    /// `no change detected (-0.80 %, between -3.10 and +1.20 %)`.
    pub fn words(&self) -> String {
        let sign = |value: f64| format!("{}{}", if value > 0.0 { "+" } else { "" }, digits(value));
        let (low, high) = (sign(self.interval.low), sign(self.interval.high));
        let percent = sign(self.percent);
        format!("{} ({percent} %, between {low} and {high} %)", self.verdict.words())
    }
}

#[cfg(test)]
#[path = "baseline/tests.rs"]
mod tests;
