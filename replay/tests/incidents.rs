//! The incidents are a tutorial: every command on their pages is run, and must print what stands there.
//! `TWINPATH_BLESS=1` writes the pages anew.

use std::path::{Path, PathBuf};
use std::process::Command;

const PROMPT: &str = "$ ";
const OPEN: &str = "```console";
const CLOSE: &str = "```";

fn pages() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/incidents");
    let entries = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut pages: Vec<PathBuf> =
        entries.map(|entry| entry.join("README.md")).filter(|page| page.exists()).collect();
    pages.sort();
    pages
}

/// Runs a command as a shell in the page's folder would, `twinpath` being the one that was built.
/// A command that ends with `# exits with N` does so; all others end well.
fn run(command: &str, folder: &Path) -> String {
    let binary = Path::new(env!("CARGO_BIN_EXE_twinpath"));
    let path = format!(
        "{}:{}",
        binary.parent().unwrap().display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let expected = command.split_once("# exits with ").map_or("0", |(_, code)| code.trim());
    let output = Command::new("sh")
        .args(["-c", command])
        .current_dir(folder)
        .env("PATH", path)
        .env("NO_COLOR", "1")
        .env("LC_ALL", "C.UTF-8")
        .env_remove("CLICOLOR_FORCE")
        .output()
        .unwrap();
    let (text, said) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code().unwrap().to_string(), expected, "{command}\n{text}{said}");
    text
}

/// The page with the output of every command as it is.
fn renew(page: &str, folder: &Path) -> (String, usize) {
    let (mut text, mut commands, mut inside) = (String::new(), 0, false);
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if line == CLOSE {
            inside = false;
        }
        // What stands in a block beside commands is what they printed the last time.
        if !inside || line.starts_with(PROMPT) {
            text.push_str(line);
            text.push('\n');
        }
        inside |= line == OPEN;
        if let Some(first) = line.strip_prefix(PROMPT).filter(|_| inside) {
            let mut command = first.to_owned();
            while let Some(start) = command.strip_suffix('\\') {
                let next = lines.next().unwrap_or_default();
                text.push_str(next);
                text.push('\n');
                command = format!("{start}{}", next.strip_prefix("> ").unwrap_or(next));
            }
            text.push_str(run(&command, folder).trim_end());
            text.push('\n');
            commands += 1;
        }
    }
    (text, commands)
}

#[test]
fn every_page_shows_what_its_commands_print() {
    let pages = pages();
    assert_eq!(pages.len(), 6, "{pages:?}");
    for page in pages {
        let old = std::fs::read_to_string(&page).unwrap();
        let (new, commands) = renew(&old, page.parent().unwrap());
        assert!(commands >= 3, "{}: {commands} commands", page.display());
        if std::env::var_os("TWINPATH_BLESS").is_some() {
            std::fs::write(&page, new).unwrap();
            continue;
        }
        let name = page.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap_or(&page).display();
        for (number, (was, is)) in old.lines().zip(new.lines()).enumerate() {
            assert_eq!(was, is, "{name}:{}; TWINPATH_BLESS=1 writes it anew", number + 1);
        }
        assert_eq!(old.lines().count(), new.lines().count(), "{name}");
    }
}
