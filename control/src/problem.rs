//! What is wrong with the objects that were given, said so that it can be mended.

use std::fmt;
use std::sync::Arc;

use crate::objects::ObjectName;

/// How much a [`Problem`] matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Nothing is wrong; something was left out that a reader may look for.
    Note,
    /// Served, but perhaps not as was meant.
    Warning,
    /// The object, or the part of it that is named, cannot be used and was left out.
    Error,
}

impl Severity {
    /// The word for messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Something about one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How much it matters.
    pub severity: Severity,
    /// The file that the object came from.
    pub file: Arc<str>,
    /// The object's kind, such as `Service`.
    pub kind: &'static str,
    /// Its name; empty where the problem is that of the whole input.
    pub object: ObjectName,
    /// What is wrong and what to do about it, one line.
    pub text: String,
}

impl fmt::Display for Problem {
    /// One line: `cluster.yaml: Service default/web: port 0 is out of 1..65535`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.is_empty() {
            write!(f, "{}: ", self.file)?;
        }
        if !self.object.name.is_empty() {
            write!(f, "{} {}: ", self.kind, self.object)?;
        }
        f.write_str(&self.text)
    }
}
