//! What the arguments say, in words: of both sides, and as command lines.

use twinpath_control::tables::{Dispatch, Mode, Options};
use twinpath_core::service::Algorithm;

use super::Arguments;
use crate::command::setup::{Choice, ClusterArguments, Forwarding, Setup};
use crate::command::shell::{path, quoted, value};
use crate::diff::table::Words;

impl Arguments {
    /// The command line that these arguments are.
    pub(super) fn command(&self) -> String {
        let mut words = vec!["twinpath".to_owned(), "diff".to_owned()];
        words.extend(self.captures.iter().map(|capture| path(capture)));
        words.extend(self.cluster.typed());
        for against in &self.against {
            words.extend(["--against".to_owned(), path(against)]);
        }
        if !self.worlds.is_empty() {
            let names: Vec<_> = self.worlds.iter().map(|kind| kind.name()).collect();
            words.extend(["--worlds".to_owned(), names.join(",")]);
        }
        let mut option = |name: &str, given: Option<String>| {
            words.extend(given.map(|given| format!("{name} {given}")));
        };
        option("--against-algorithm", self.against_algorithm.map(value));
        option("--against-mode", self.against_mode.map(value));
        option("--against-seed", self.against_seed.map(|seed| seed.to_string()));
        option("--against-mtu", self.against_mtu.map(|mtu| mtu.to_string()));
        for field in &self.ignore {
            option("--ignore", Some(quoted(field)));
        }
        words.join(" ")
    }
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
    explain.extend(arguments.captures.iter().map(|capture| path(capture)));
    explain.extend(arguments.reading.typed());
    explain.extend(of.typed());
    let mut side = format!(
        "{}, cluster {}, {}, {}, seed {}",
        setup.world.name(),
        setup.cluster.source,
        value(algorithm(&setup.options)),
        value(mode(&setup.options)),
        setup.seed
    );
    if setup.mtu != 0 {
        side.push_str(&format!(", mtu {}", setup.mtu));
    }
    Words { side, explain: explain.join(" ") }
}
