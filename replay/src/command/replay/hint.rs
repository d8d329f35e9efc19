//! What to do next: the command that explains the first packet that was dropped.

use std::path::PathBuf;

use super::Arguments;
use crate::command::shell::path;

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
    words.extend(cluster.typed());
    words.extend(reading.typed());
    words.extend(captures.iter().map(|capture| path(capture)));
    Some(words.join(" "))
}
