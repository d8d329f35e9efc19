//! What another proxy has on a node, as Kubernetes objects: for who has no dump of the cluster itself.
//!
//! | text of | see |
//! |---|---|
//! | `iptables-save`, `ip6tables-save`, or both, one behind the other | [`iptables_save`] |
//! | `ipvsadm -Sn` | [`ipvs`] |
//!
//! Rules say less than the objects that they were made from. What they do not say, what was made up for it,
//! and what in them was not understood, is in [`Imported::notes`].

use crate::model::State;
use crate::plain::is_order;
use crate::problem::Severity;
use crate::read::Objects;

mod build;
pub mod iptables_save;
pub mod ipvs;

/// The name of the node whose rules were read, which rules do not say.
pub const NODE: &str = "this-node";
/// The node that stands for all others.
pub const OTHERS: &str = "other-nodes";

/// What was understood.
#[derive(Clone, Debug, Default)]
pub struct Imported {
    /// Services, EndpointSlices, and nodes: as many as there is something to say of.
    pub objects: Objects,
    /// One line each: first what was understood, then what was assumed, then what was not understood.
    pub notes: Vec<String>,
}

impl Imported {
    /// The state that the objects stand for. What is wrong with them is added to the notes.
    pub fn state(&mut self) -> State {
        let (state, problems) = State::new(&self.objects);
        for problem in problems.iter().filter(|problem| problem.severity == Severity::Error) {
            self.notes.push(format!("left out: {problem}"));
        }
        state
    }
}

/// What a text is, by what it begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Of `iptables-save` or `ip6tables-save`, or of `iptables -t nat -S`.
    IptablesSave,
    /// Of `ipvsadm -Sn`.
    Ipvs,
}

impl Format {
    /// `None` if it is neither.
    pub fn of(text: &str) -> Option<Self> {
        let text = text.trim_start_matches('\u{feff}');
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let saved = |line: &str| {
            ["iptables-save", "ip6tables-save", "iptables-nft-save"]
                .iter()
                .any(|name| line.contains(name))
        };
        let first = loop {
            match lines.next() {
                Some(line) if line.starts_with('#') && saved(line) => {
                    return Some(Self::IptablesSave);
                }
                Some(line) if line.starts_with('#') => {}
                other => break other?,
            }
        };
        let word = |n| first.split_whitespace().nth(n).unwrap_or_default();
        let table = |name| ["nat", "filter", "mangle", "raw", "security"].contains(&name);
        match word(0) {
            "-A" | "-a" if ipvs::is_service(word(1)) => Some(Self::Ipvs),
            "-A" | "-N" | "-P" if !word(1).is_empty() => Some(Self::IptablesSave),
            name if name.strip_prefix('*').is_some_and(table) => Some(Self::IptablesSave),
            name if name.starts_with(":KUBE-") => Some(Self::IptablesSave),
            _ => None,
        }
    }

    /// What the text means. `file` is its name, and `node` that of the node it was taken on.
    pub fn import(self, file: &str, text: &str, node: &str) -> Imported {
        // Comments of rules become names, which are shown.
        let is_odd = |letter| is_order(letter) && !['\n', '\r', '\t'].contains(&letter);
        let text = text.replace(is_odd, "\u{fffd}");
        match self {
            Self::IptablesSave => iptables_save::import(file, &text, node),
            Self::Ipvs => ipvs::import(file, &text, node),
        }
    }
}

/// `1 service`, `2 services`.
fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// The first of some names, and how many more there are.
fn some<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    let mut names = names.into_iter();
    let first: Vec<&str> = names.by_ref().take(5).map(String::as_str).collect();
    match names.count() {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}
