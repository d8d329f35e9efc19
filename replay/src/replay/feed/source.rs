//! Where packets come from: `FILE`, `NODE=FILE`, and what the clock of each is off.

use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::moment::span;

/// A capture that is named: its file, and the node on which it was taken, if that was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The node; empty where it was not said.
    pub node: String,
    /// The file; `-` for standard input.
    pub path: PathBuf,
    /// Nanoseconds to add to its times.
    pub offset: i64,
}

impl Source {
    /// Of `FILE` or `NODE=FILE`. A path that exists is one, whatever is in its name.
    pub fn new(named: &Path) -> Self {
        let (mut node, mut path) = (String::new(), named.to_owned());
        if let Some((before, after)) = named.to_str().and_then(|text| text.split_once('='))
            && !before.is_empty()
            && !before.contains('/')
            && !after.is_empty()
            && !named.exists()
        {
            (node, path) = (before.to_owned(), PathBuf::from(after));
        }
        Self { node, path, offset: 0 }
    }

    /// Whether it is standard input.
    pub fn is_stdin(&self) -> bool {
        self.path.as_os_str() == "-"
    }

    /// What messages and `--offset` call it: the node, or else the file's name.
    pub fn label(&self) -> String {
        if self.node.is_empty() { self.file_name() } else { self.node.clone() }
    }

    fn file_name(&self) -> String {
        let name = self.path.file_name().unwrap_or(self.path.as_os_str());
        name.to_string_lossy().into_owned()
    }
}

/// Gives the captures the offsets of `--offset NAME=LENGTH`, by node, path or file name.
pub(super) fn set_offsets(sources: &mut [Source], offsets: &[String]) -> Result<(), Failure> {
    for text in offsets {
        let usage = |what: String| Err(Failure::Usage(format!("--offset {text}: {what}")));
        // A file may have the sign in its name; a length of time has not.
        let Some((name, length)) = text.rsplit_once('=') else {
            return usage("expected NAME=LENGTH, such as node2=+3ms or node2.pcap=-0.5s".into());
        };
        let length = match span(length) {
            Ok(length) => length,
            Err(what) => return usage(what),
        };
        let mut found = 0;
        for source in &mut *sources {
            if source.node == name
                || source.path.to_str() == Some(name)
                || source.file_name() == name
            {
                source.offset = length;
                found += 1;
            }
        }
        if found == 0 {
            let known: Vec<String> = sources.iter().take(8).map(Source::label).collect();
            return usage(format!("no capture is called {name}; these are: {}", known.join(", ")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_and_files() {
        let folder = tempfile::tempdir().unwrap();
        let odd = folder.path().join("a=b.pcap");
        std::fs::write(&odd, b"").unwrap();
        let odd = odd.to_str().unwrap();
        for (named, node, path) in [
            ("a.pcap", "", "a.pcap"),
            ("node1=a.pcap", "node1", "a.pcap"),
            ("node1=/tmp/x=y.pcap", "node1", "/tmp/x=y.pcap"),
            ("node1=-", "node1", "-"),
            ("-", "", "-"),
            ("./node1=a.pcap", "", "./node1=a.pcap"),
            ("=a.pcap", "", "=a.pcap"),
            ("node1=", "", "node1="),
            (odd, "", odd),
        ] {
            let source = Source::new(Path::new(named));
            assert_eq!((&*source.node, &*source.path), (node, Path::new(path)), "{named}");
        }
    }

    #[test]
    fn offsets() {
        let named = ["node1=/x/a.pcap", "/x/b.pcap", "node3=c=d.pcap"];
        let new = || named.map(|named| Source::new(Path::new(named)));
        for (offset, expected) in [
            ("node1=+3ms", [3_000_000, 0, 0]),
            ("a.pcap=-1s", [-1_000_000_000, 0, 0]),
            ("/x/b.pcap=2us", [0, 2_000, 0]),
            ("b.pcap=2us", [0, 2_000, 0]),
            ("c=d.pcap=1ns", [0, 0, 1]),
        ] {
            let mut sources = new();
            set_offsets(&mut sources, &[offset.to_owned()]).unwrap();
            assert_eq!(sources.map(|source| source.offset), expected, "{offset}");
        }
        for (offset, expected) in [
            (
                "node2=1ms",
                "--offset node2=1ms: no capture is called node2; these are: node1, b.pcap, node3",
            ),
            ("node1", "--offset node1: expected NAME=LENGTH"),
            ("node1=3", "--offset node1=3: expected a length of time with its unit"),
        ] {
            let error = set_offsets(&mut new(), &[offset.to_owned()]).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
