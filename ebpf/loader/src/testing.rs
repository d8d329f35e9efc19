//! For tests that need what a machine may lack.

use std::io::Write;

/// Says that a check does not run here, and why: on standard error, and in the file that
/// `TWINPATH_SKIPPED` names, from which `ci.sh` lists it. Where it should run, which is as root with
/// `CI=true`, unless what it needs is said to be absent, it panics instead.
///
/// # Panics
/// See above.
pub fn skip(name: &str, why: &str) {
    eprintln!("skipped: {name}: {why}");
    if let Some(path) = std::env::var_os("TWINPATH_SKIPPED") {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
        let written = file.and_then(|mut file| writeln!(file, "{name}: {why}"));
        written.unwrap_or_else(|error| eprintln!("the list of skipped checks: {error}"));
    }
    // SAFETY: a plain system call.
    let root = unsafe { libc::geteuid() } == 0;
    let strict = root && std::env::var_os("CI").is_some_and(|ci| ci == "true");
    assert!(!strict || why.contains("absent"), "{name}: {why}");
}
