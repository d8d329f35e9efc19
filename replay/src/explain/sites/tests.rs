//! The table is that of the sources.

use std::fmt::Write as _;
use std::path::Path;

use super::*;

/// The sources of the core, but for tests and what only names reasons.
fn sources(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    let mut entries: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            if name != "tests" {
                sources(&path, files);
            }
        } else if !["tests.rs", "testing.rs", "drop_reason.rs", "verdict.rs", "seam.rs"]
            .contains(&name)
        {
            files.push(path);
        }
    }
}

fn made(root: &Path) -> String {
    let (mut files, mut text) = (Vec::new(), String::new());
    sources(&root.join("core/src"), &mut files);
    for path in files {
        let file = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        let source = std::fs::read_to_string(&path).unwrap();
        let mut function = "-".to_owned();
        for (number, line) in source.lines().enumerate() {
            let code = line.trim();
            if code.starts_with("#[cfg(test)]") {
                break;
            }
            if code.starts_with("//") || code.starts_with("use ") || code.starts_with("reason:") {
                continue;
            }
            if let Some((_, rest)) = code.split_once("fn ") {
                let end = rest.find(['<', '(']).unwrap_or(rest.len());
                function = rest[..end].to_owned();
            }
            let mut rest = code;
            while let Some((_, after)) = rest.split_once("DropReason::") {
                let end = after.find(|c: char| !c.is_alphanumeric() && c != '_');
                let name = &after[..end.unwrap_or(after.len())];
                if DropReason::ALL.iter().any(|reason| format!("{reason:?}") == name) {
                    writeln!(text, "{file} {} {function} {name}", number + 1).unwrap();
                }
                rest = after;
            }
        }
    }
    text
}

#[test]
fn the_table_is_that_of_the_sources() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    if !root.join("core/src").exists() {
        eprintln!("skipped: the core's sources are not at hand");
        return;
    }
    let text = made(root);
    if std::env::var_os("TWINPATH_BLESS").is_some() {
        std::fs::write(root.join("replay/src/explain/sites.txt"), &text).unwrap();
        return;
    }
    assert_eq!(SITES, text, "TWINPATH_BLESS=1 cargo test -p twinpath --lib explain::sites");
}

#[test]
fn every_reason_has_a_site() {
    for reason in DropReason::ALL {
        // The platform's own, which the core only passes on.
        if reason == DropReason::WriteError {
            continue;
        }
        assert_ne!(of_reason(reason).count(), 0, "{reason:?}");
    }
}
