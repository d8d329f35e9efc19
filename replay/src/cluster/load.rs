//! The cluster of `kubectl` dumps.

use std::io::Read;
use std::path::{Path, PathBuf};

use twinpath_control::model::State;
use twinpath_control::problem::Severity;
use twinpath_control::read::{Objects, read};

use super::{Cluster, complete};
use crate::failure::Failure;

/// What to run to get a dump with all that is needed.
pub const DUMP: &str = "kubectl get services,endpointslices,nodes,pods -A -o yaml";

/// Reads dumps, `-` being standard input, and merges them.
pub fn load(paths: &[PathBuf]) -> Result<Cluster, Failure> {
    let mut objects = Objects::default();
    for path in paths {
        let (name, bytes) = bytes_of(path)?;
        objects.merge(read(&name, &bytes)?);
    }
    let (mut state, problems) = State::new(&objects);
    let mut notes = Vec::new();
    let mut errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
    if let Some(first) = errors.next() {
        let more = match errors.count() {
            0 => String::new(),
            1 => " (and 1 more error)".into(),
            more => format!(" (and {more} more errors)"),
        };
        return Err(Failure::Usage(format!("{first}{more}")));
    }
    for problem in &problems {
        notes.push(format!("{}: {problem}", problem.severity.name()));
    }
    if objects.services.is_empty() {
        let names: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
        notes.push(format!(
            "warning: {}: no service, so nothing will be translated; dump with: {DUMP}",
            names.join(", ")
        ));
    }
    complete(&mut state, &mut notes);
    let names: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    Ok(Cluster { state, source: names.join(", "), changes: Vec::new(), derived: false, notes })
}

fn bytes_of(path: &Path) -> Result<(String, Vec<u8>), Failure> {
    let mut bytes = Vec::new();
    if path == "-" {
        let name = "standard input".to_owned();
        return match std::io::stdin().read_to_end(&mut bytes) {
            Ok(_) => Ok((name, bytes)),
            Err(cause) => Err(Failure::File { name, cause, advice: "name a file instead" }),
        };
    }
    let name = path.display().to_string();
    match std::fs::read(path) {
        Ok(bytes) => Ok((name, bytes)),
        Err(cause) => Err(Failure::File {
            name,
            cause,
            advice: "give a file with the output of `kubectl get ... -o yaml` to -f",
        }),
    }
}
