//! Linux netfilter on the command line.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use twinpath_sim::world::WorldError;

use super::checks::{Checks, End, grouped};
use super::random::unwritable;
use super::{Arguments, print};
use crate::failure::Failure;
use crate::netfilter::lab::{Service, objects};
use crate::netfilter::run::{self, Options, Report};
use crate::netfilter::world::Rules;
use crate::netfilter::{capture, inject};
use crate::verify::write_packets;

/// The name of the oracle.
const ORACLE: &str = "netfilter";

/// How many packets of a capture are looked at.
const PACKETS: usize = 100_000;

/// How many failures are shown; all of them are saved.
const SHOWN: usize = 5;

fn options(rules: Rules, arguments: &Arguments) -> Options {
    Options { rules, whole: true, one_in: 1, seed: arguments.seed }
}

/// The rows of services, policies, endpoints and clients, by both kinds of rules, and with twinpath's decisions
/// as rules.
pub(super) fn rows(
    checks: &mut Checks<impl Write>,
    must: bool,
    arguments: &Arguments,
) -> Result<(), Failure> {
    for rules in Rules::ALL {
        let options = options(rules, arguments);
        let check = || end(run::rows(&options)?, ("rows", rules), arguments);
        checks.run((ORACLE, rules.name()), "services, policies and clients", must, check)?;
    }
    let options = options(Rules::Nftables, arguments);
    let check = || end(inject::rows(&options)?, ("decisions", Rules::Nftables), arguments);
    checks.run((ORACLE, "nftables"), "twinpath's decisions as rules", must, check)
}

/// The connections of captures by both kinds of rules.
pub(super) fn captures(
    checks: &mut Checks<impl Write>,
    captures: &[PathBuf],
    arguments: &Arguments,
) -> Result<(), Failure> {
    for path in captures {
        let name = path.display().to_string();
        let flows = capture::read(path, PACKETS).map_err(|error| match error {
            WorldError::Failed(text) => Failure::Usage(text),
            error => Failure::World(error),
        })?;
        for rules in Rules::ALL {
            let check = || {
                if flows.is_empty() {
                    return Ok(End::Skipped("it has no whole packet of TCP, UDP or SCTP".into()));
                }
                let stem = path.file_stem().unwrap_or_default().to_string_lossy();
                let report = run::captured(&options(rules, arguments), &flows)?;
                end(report, (&stem, rules), arguments)
            };
            checks.run((ORACLE, rules.name()), &name, true, check)?;
        }
    }
    Ok(())
}

fn end(
    report: Report,
    (name, rules): (&str, Rules),
    arguments: &Arguments,
) -> Result<End, Failure> {
    if arguments.verbose {
        for (number, count) in &report.accepted {
            print(&format!("{count:>10}  differ as deviation {number} says\n"))?;
        }
    }
    if report.is_fine() {
        let [rows, packets] = [report.rows, report.packets].map(|n| grouped(n as u64));
        return Ok(End::Passed(format!("{rows} connections, {packets} packets")));
    }
    let unused = report.unused.iter();
    let unused = unused.map(|(number, what)| format!("deviation {number} was not met: {what}"));
    let problems: Vec<String> = report.failures.iter().cloned().chain(unused).collect();
    let save = &arguments.save;
    let folder = save.join(format!("netfilter-{name}-{}", rules.name()));
    leave(&folder, &report, &problems, arguments).map_err(|cause| unwritable(save, cause))?;
    let mut shown: Vec<String> = problems.iter().take(SHOWN).cloned().collect();
    if problems.len() > SHOWN {
        shown.push(format!("and {} more", problems.len() - SHOWN));
    }
    shown.push(format!("all of it is in {}", folder.display()));
    Ok(End::Failed(shown, None))
}

/// Leaves what went wrong, the packets of it, the cluster, and the command in a folder.
fn leave(
    folder: &Path,
    report: &Report,
    problems: &[String],
    arguments: &Arguments,
) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    write_packets(&folder.join("packets.pcap"), &report.sent)?;
    std::fs::write(folder.join("cluster.yaml"), objects(&Service::all()))?;
    let seed = arguments.seed;
    let files = arguments.scenarios.iter().map(|path| format!(" {}", path.display()));
    let command =
        format!("twinpath verify --oracle netfilter --seed {seed}{}", files.collect::<String>());
    let text = format!("{}\n\nonce more: {command}\n", problems.join("\n"));
    std::fs::write(folder.join("README.txt"), text)
}
