//! What the arguments say, in words: of both sides, and as command lines.

use clap::ValueEnum;
use twinpath_control::tables::{Dispatch, Mode, Options};
use twinpath_core::service::Algorithm;

use super::Arguments;
use crate::command::captures::Decap;
use crate::command::setup::{Choice, ClusterArguments, Forwarding, Setup};
use crate::command::shell::quoted;
use crate::diff::table::Words;

impl Arguments {
    /// The command line that these arguments are.
    pub(super) fn command(&self) -> String {
        let mut words = vec!["twinpath".to_owned(), "diff".to_owned()];
        words.extend(self.captures.iter().map(|path| quoted(&path.display().to_string())));
        said(&mut words, &self.cluster);
        for path in &self.against {
            words.extend(["--against".to_owned(), quoted(&path.display().to_string())]);
        }
        if !self.worlds.is_empty() {
            let names: Vec<_> = self.worlds.iter().map(|kind| kind.name()).collect();
            words.extend(["--worlds".to_owned(), names.join(",")]);
        }
        let mut option = |name: &str, value: Option<String>| {
            words.extend(value.map(|value| format!("{name} {value}")));
        };
        option("--against-algorithm", self.against_algorithm.map(name_of));
        option("--against-mode", self.against_mode.map(name_of));
        option("--against-seed", self.against_seed.map(|seed| seed.to_string()));
        option("--against-mtu", self.against_mtu.map(|mtu| mtu.to_string()));
        for field in &self.ignore {
            option("--ignore", Some(quoted(field)));
        }
        words.join(" ")
    }
}

/// What of a cluster's arguments is not as it is without them.
fn said(words: &mut Vec<String>, of: &ClusterArguments) {
    for path in &of.states {
        words.extend(["-f".to_owned(), quoted(&path.display().to_string())]);
    }
    for change in &of.then {
        words.extend(["--then".to_owned(), quoted(change)]);
    }
    let mut option = |name: &str, value: Option<String>| {
        words.extend(value.map(|value| format!("{name} {value}")));
    };
    option("--at", of.at.as_deref().map(quoted));
    option("--seed", (of.seed != 1).then(|| of.seed.to_string()));
    option("--algorithm", of.algorithm.map(name_of));
    option("--mode", of.mode.map(name_of));
    let ports = of.snat_ports.as_ref();
    option("--snat-ports", ports.map(|ports| format!("{}-{}", ports.start(), ports.end())));
    option("--mtu", (of.mtu != 0).then(|| of.mtu.to_string()));
}

pub(super) fn name_of(value: impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

/// How backends are chosen, by the arguments or by what the dump says.
pub(super) const fn algorithm(options: &Options) -> Choice {
    match options.algorithm {
        Algorithm::Random => Choice::Random,
        Algorithm::Maglev => Choice::Maglev,
    }
}

/// How packets are forwarded, likewise.
pub(super) const fn mode(options: &Options) -> Forwarding {
    match (options.mode, options.dispatch) {
        (Mode::Snat, _) => Forwarding::Snat,
        (Mode::Hybrid, _) => Forwarding::Hybrid,
        (Mode::Dsr, Dispatch::Option) => Forwarding::DsrOpt,
        (Mode::Dsr, Dispatch::Ipip) => Forwarding::DsrIpip,
        (Mode::Dsr, Dispatch::Geneve) => Forwarding::DsrGeneve,
    }
}

/// What a side is, and how to look further.
pub(super) fn words(arguments: &Arguments, setup: &Setup, of: &ClusterArguments) -> Words {
    let mut explain = vec!["twinpath explain".to_owned()];
    explain.extend(arguments.captures.iter().map(|path| quoted(&path.display().to_string())));
    let reading = &arguments.reading;
    explain.extend(reading.offsets.iter().map(|offset| format!("--offset {}", quoted(offset))));
    explain.extend(reading.dedup.then(|| "--dedup".to_owned()));
    explain.extend((reading.decap == Decap::Auto).then(|| "--decap auto".to_owned()));
    said(&mut explain, of);
    let mut side = format!(
        "{}, cluster {}, {}, {}, seed {}",
        setup.world.name(),
        setup.cluster.source,
        name_of(algorithm(&setup.options)),
        name_of(mode(&setup.options)),
        setup.seed
    );
    if setup.mtu != 0 {
        side.push_str(&format!(", mtu {}", setup.mtu));
    }
    Words { side, explain: explain.join(" ") }
}
