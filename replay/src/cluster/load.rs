//! The cluster of dumps: of `kubectl`, of Cilium, and of what other proxies have on a node.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use twinpath_control::import::{Format, NODE};
use twinpath_control::model::State;
use twinpath_control::plain::plain;
use twinpath_control::problem::{Problem, Severity};
use twinpath_control::read::{Objects, read};
use twinpath_control::tables::Options;

use super::archive::{Reader, is_configuration};
use super::{Cluster, complete, configuration, policies};
use crate::failure::Failure;

/// What to run to get a dump with all that is needed.
pub const DUMP: &str = "kubectl get services,endpointslices,nodes,pods -A -o yaml";

/// Takes a name and a text.
pub type Take<'a> = dyn FnMut(&str, Vec<u8>) -> Result<(), Failure> + 'a;

/// What dumps have.
#[derive(Clone, Debug, Default)]
pub struct Gathered {
    /// Their objects.
    pub objects: Objects,
    /// The configuration that they tell of, or the defaults.
    pub options: Options,
    /// Lines for the user.
    pub notes: Vec<String>,
    /// The names of those that are no objects but rules. What is wrong with them is nobody's mistake.
    pub rules: BTreeSet<String>,
}

impl Gathered {
    /// Reads files, folders and archives, `-` being standard input, and merges them.
    pub fn read<P: AsRef<Path>>(paths: &[P]) -> Result<Self, Failure> {
        let (mut gathered, mut notes) = (Self::default(), Vec::new());
        let mut take = |name: &str, bytes: Vec<u8>| gathered.add(name, &bytes);
        let mut reader = Reader::new(&mut take, &mut notes);
        paths.iter().try_for_each(|path| reader.path(path.as_ref()))?;
        notes.append(&mut gathered.notes);
        notes.extend(gathered.objects.unfinished.iter().map(|file| {
            format!(
                "warning: {file}: the list has no kind, which kubectl writes behind its items: if the file is cut, \
                 what is missing is not there for the packets, so dump it again"
            )
        }));
        gathered.notes = notes;
        Ok(gathered)
    }

    /// Gives the texts of a file, a folder or an archive to `take`, one by one, with their names.
    pub fn texts(path: &Path, notes: &mut Vec<String>, take: &mut Take<'_>) -> Result<(), Failure> {
        Reader::new(take, notes).path(path)
    }

    fn add(&mut self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        let text = std::str::from_utf8(bytes).ok();
        if let Some(text) = text.filter(|_| is_configuration(name)) {
            self.notes.extend(configuration::apply(name, text, &mut self.options));
            return Ok(());
        }
        match text.and_then(|text| Some((Format::of(text)?, text))) {
            Some((format, text)) => self.import(format, name, text),
            None => self.objects.merge(read(name, bytes)?),
        }
        Ok(())
    }

    /// Adds the rules of a node.
    fn import(&mut self, format: Format, name: &str, text: &str) {
        let imported = format.import(name, text, NODE);
        self.notes.extend(imported.notes.iter().map(|note| format!("{name}: {note}")));
        self.objects.merge(imported.objects);
        self.rules.insert(name.to_owned());
    }

    /// The state, and what is wrong with the objects that were given as such.
    pub fn state(&mut self) -> (State, Vec<Problem>) {
        let (state, mut problems) = State::new(&self.objects);
        problems.retain(|problem| {
            let is_given = !self.rules.contains(problem.file.as_ref());
            if !is_given && problem.severity == Severity::Error {
                self.notes.push(format!("left out: {problem}"));
            }
            is_given
        });
        (state, problems)
    }
}

/// Reads dumps, `-` being standard input, and merges them.
pub fn load(paths: &[PathBuf]) -> Result<Cluster, Failure> {
    let mut gathered = Gathered::read(paths)?;
    let (mut state, problems) = gathered.state();
    let Gathered { objects, options, mut notes, .. } = gathered;
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
    let names: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    let source = plain(&names.join(", ")).into_owned();
    if objects.services.is_empty() {
        notes.push(format!(
            "warning: {source}: no service, so nothing will be translated; dump with: {DUMP}"
        ));
    }
    notes.extend(policies::check(&source, &state, !objects.nodes.is_empty())?);
    complete(&mut state, &mut notes);
    Ok(Cluster { state, source, changes: Vec::new(), derived: false, options, notes })
}
