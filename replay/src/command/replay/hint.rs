//! What to do next: the command that explains the first packet that was dropped.

use std::path::PathBuf;

use clap::ValueEnum;

use super::Arguments;
use crate::command::captures::Decap;
use crate::command::shell::quoted;

/// `next: twinpath explain -f cluster.yaml incident.pcap --packet 9`; `None` where an input is standard
/// input and so gone, or where packets are counted from a time on.
pub(super) fn explain(captures: &[PathBuf], arguments: &Arguments, number: u64) -> Option<String> {
    Some(format!("next: {} --packet {number}", command(captures, arguments)?))
}

/// The same command, but for the number.
pub(super) fn command(captures: &[PathBuf], arguments: &Arguments) -> Option<String> {
    let (cluster, reading) = (&arguments.cluster, &arguments.reading);
    let is_stdin = |path: &PathBuf| path == "-" || path.to_string_lossy().ends_with("=-");
    if cluster.states.iter().chain(captures).any(is_stdin)
        || reading.since.is_some()
        || reading.until.is_some()
    {
        return None;
    }
    let mut words = vec!["twinpath explain".to_owned()];
    let mut option = |name: &str, value: String| words.extend([name.to_owned(), value]);
    for state in &cluster.states {
        option("-f", quoted(&state.display().to_string()));
    }
    for then in &cluster.then {
        option("--then", quoted(then));
    }
    if let Some(at) = &cluster.at {
        option("--at", quoted(at));
    }
    if cluster.seed != 1 {
        option("--seed", cluster.seed.to_string());
    }
    if let Some(algorithm) = &cluster.algorithm {
        option("--algorithm", name(algorithm));
    }
    if let Some(mode) = &cluster.mode {
        option("--mode", name(mode));
    }
    if let Some(ports) = &cluster.snat_ports {
        option("--snat-ports", format!("{}-{}", ports.start(), ports.end()));
    }
    if cluster.mtu != 0 {
        option("--mtu", cluster.mtu.to_string());
    }
    for offset in &reading.offsets {
        option("--offset", quoted(offset));
    }
    if reading.decap == Decap::Auto {
        option("--decap", "auto".into());
    }
    if reading.dedup {
        words.push("--dedup".into());
    }
    words.extend(captures.iter().map(|path| quoted(&path.display().to_string())));
    Some(words.join(" "))
}

fn name(value: &impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}
