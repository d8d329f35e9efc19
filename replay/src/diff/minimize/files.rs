//! The files of a reproduction.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use twinpath_control::write::yaml;

use super::Reduced;
use crate::capture::{ClassicWriter, Precision};
use crate::cluster::Cluster;
use crate::command::setup::writing;
use crate::failure::Failure;
use crate::report::table::plural;

/// What was written, and how small it is.
#[derive(Clone, Debug)]
pub struct Minimal {
    /// The cause that it shows.
    pub cause: String,
    /// Packets.
    pub packets: usize,
    /// Ports of services, of the larger cluster.
    pub services: usize,
    /// Their endpoints.
    pub endpoints: usize,
    /// What was written.
    pub files: Vec<String>,
    /// The command that shows the difference again.
    pub command: String,
    /// Runs that it took.
    pub probes: u32,
    /// Whether more runs might have made it smaller.
    pub exhausted: bool,
}

impl Minimal {
    /// `smallest reproduction of [B]: 1 packet, 1 service port, 2 endpoints -> min.pcap, min.yaml`.
    pub fn says(&self) -> String {
        let plural = |count: usize, what| plural(count as u64, what);
        let more = if self.exhausted { "; more --probes may make it smaller" } else { "" };
        format!(
            "smallest reproduction of [{}]: {}, {}, {} -> {} ({}{more})",
            self.cause,
            plural(self.packets, "packet"),
            plural(self.services, "service port"),
            plural(self.endpoints, "endpoint"),
            self.files.join(", "),
            plural(self.probes as usize, "run"),
        )
    }
}

/// How the files of a reproduction are named.
#[derive(Clone, Debug)]
pub struct Names {
    /// The capture.
    pub capture: PathBuf,
    /// The clusters of both sides, one file if they are the same.
    pub states: [PathBuf; 2],
    /// For each side, its later states that are left: which, and the file.
    pub then: [Vec<(usize, PathBuf)>; 2],
}

fn base(out: &Path) -> String {
    let text = out.display().to_string();
    text.strip_suffix(".pcap").map_or(text.clone(), str::to_owned)
}

/// All that [`write()`] may write, where the left side has so many later states.
pub fn possible(out: &Path, later: usize) -> Vec<PathBuf> {
    let base = base(out);
    let mut names = vec![format!("{base}.pcap")];
    for side in ["", "-against"] {
        names.push(format!("{base}{side}.yaml"));
        names.extend((1..=later).map(|place| format!("{base}{side}-then-{place}.yaml")));
    }
    names.into_iter().map(PathBuf::from).collect()
}

/// Writes `OUT.pcap`, `OUT.yaml`, `OUT-then-1.yaml`, and those of the right side as `OUT-against.yaml`
/// where it has a cluster of its own.
pub fn write(reduced: &Reduced, out: &Path, one_cluster: bool) -> Result<Names, Failure> {
    const ADVICE: &str = "give --minimize a name in a folder that can be written";
    let base = base(out);
    let capture = PathBuf::from(format!("{base}.pcap"));
    pcap(reduced, &capture).map_err(|cause| writing(&capture, cause, ADVICE))?;
    let mut states = Vec::new();
    let mut then = Vec::new();
    let endings = if one_cluster { ["", ""] } else { ["", "-against"] };
    for ((cluster, changes), ending) in reduced.clusters.iter().zip(&reduced.changes).zip(endings) {
        let put = |name: String, state| {
            let path = PathBuf::from(name);
            fs::write(&path, yaml(state)).map_err(|cause| writing(&path, cause, ADVICE))?;
            Ok::<_, Failure>(path)
        };
        states.push(put(format!("{base}{ending}.yaml"), &cluster.state)?);
        let later = changes.iter().zip(&cluster.changes).enumerate();
        let later = later.map(|(place, (number, change))| {
            let name = format!("{base}{ending}-then-{}.yaml", place.saturating_add(1));
            Ok((*number, put(name, &change.state)?))
        });
        then.push(later.collect::<Result<Vec<_>, Failure>>()?);
    }
    let pair = |mut all: Vec<PathBuf>| {
        let right = all.pop().unwrap_or_default();
        [all.pop().unwrap_or_default(), right]
    };
    let right = then.pop().unwrap_or_default();
    let left = then.pop().unwrap_or_default();
    Ok(Names { capture, states: pair(states), then: [left, right] })
}

impl Names {
    /// All of them, each once.
    pub fn all(&self) -> Vec<String> {
        let later = self.then.iter().flatten().map(|(_, path)| path);
        let mut names: Vec<String> = Vec::new();
        for path in std::iter::once(&self.capture).chain(&self.states).chain(later) {
            let name = path.display().to_string();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

impl Reduced {
    /// How small it is.
    pub fn minimal(&self, cause: &str, names: &Names, command: String) -> Minimal {
        let most =
            |count: fn(&Cluster) -> usize| self.clusters.iter().map(count).max().unwrap_or(0);
        Minimal {
            cause: cause.to_owned(),
            packets: self.packets.len(),
            services: most(|cluster| cluster.state.services.len()),
            endpoints: most(|cluster| {
                cluster.state.services.values().map(|port| port.endpoints.len()).sum()
            }),
            files: names.all(),
            command,
            probes: self.probes,
            exhausted: self.exhausted,
        }
    }
}

fn pcap(reduced: &Reduced, path: &Path) -> io::Result<()> {
    let file = BufWriter::new(File::create(path)?);
    let mut writer = ClassicWriter::new(file, Precision::Nano)?;
    for packet in &reduced.packets {
        writer.write(packet.timestamp, &packet.data, packet.original_len)?;
    }
    writer.finish().map(drop)
}
