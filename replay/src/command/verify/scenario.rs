//! Scenario files on the command line.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use twinpath_core::conntrack::Flow;
use twinpath_core::tuple::Tuple;
use twinpath_sim::world::{World, WorldError};

use super::checks::{Checks, End, grouped};
use super::random::unwritable;
use super::{Arguments, print};
use crate::failure::Failure;
use crate::scenario::{Detail, Report, Scenario, run as run_in, world};
use crate::verify::write_packets;
use crate::worlds::Kind;

/// The conntrack tables of all nodes.
type Tables = Vec<Vec<(Tuple, Flow)>>;

/// Runs a scenario in the simulator and in other worlds, which must show the same. A world that this
/// machine lacks is left out, unless it was asked for.
pub(super) fn run(
    checks: &mut Checks<impl Write>,
    (name, scenario): (&str, &Scenario),
    arguments: &Arguments,
) -> Result<(), Failure> {
    let kinds = match arguments.world {
        Some(kind) => vec![kind],
        None => vec![Kind::Sim, Kind::TestRun, Kind::Veth],
    };
    let (expected, tables) = in_world(Kind::Sim, scenario, Detail::Everything)?;
    if arguments.verbose {
        print(&format!("{}\n{}", scenario.title, expected.text))?;
    }
    for kind in kinds {
        let asked = arguments.world.is_some();
        checks.run(("scenario", kind.name()), name, asked, || {
            let detail = if kind == Kind::Veth { Detail::Frames } else { Detail::Everything };
            let (report, other) = in_world(kind, scenario, detail)?;
            let mut problems = report.unmet.clone();
            let seen = match detail {
                Detail::Everything => expected.text.clone(),
                Detail::Frames => in_world(Kind::Sim, scenario, detail)?.0.text,
            };
            problems.extend(first_difference(&seen, &report.text));
            if tables != other {
                problems.push("the conntrack tables at the end are not the simulator's".into());
            }
            if problems.is_empty() {
                return Ok(match report.sent.len() {
                    0 => End::Skipped("it sends no packets".into()),
                    packets => End::Passed(format!("{} packets", grouped(packets as u64))),
                });
            }
            let found = Found { name, kind, seen, report, tables: [&tables, &other] };
            let save = &arguments.save;
            let folder = found.save(save, &problems).map_err(|cause| unwritable(save, cause))?;
            Ok(End::Failed(problems, Some(folder)))
        })?;
    }
    Ok(())
}

fn in_world(
    kind: Kind,
    scenario: &Scenario,
    detail: Detail,
) -> Result<(Report, Tables), WorldError> {
    let mut world: Box<dyn World> = world(kind, scenario)?;
    let report = run_in(scenario, world.as_mut(), detail)?;
    let nodes = world.topology().nodes.len();
    let tables = (0..nodes).map(|node| world.conntrack(node)).collect::<Result<_, _>>()?;
    Ok((report, tables))
}

/// A scenario that did not go as it should in a world.
struct Found<'a> {
    /// The scenario's file.
    name: &'a str,
    kind: Kind,
    /// What the simulator shows of it, as far as this world can.
    seen: String,
    report: Report,
    /// Of the simulator, and of the world.
    tables: [&'a Tables; 2],
}

impl Found<'_> {
    /// Leaves a folder behind, and says which: the scenario, the packets that were sent, what the simulator
    /// and the world show, their conntrack tables, and the command.
    fn save(&self, folder: &Path, problems: &[String]) -> io::Result<PathBuf> {
        let stem = Path::new(self.name).file_stem().unwrap_or_default().to_string_lossy();
        let folder = folder.join(format!("scenario-{stem}-{}", self.kind.name()));
        std::fs::create_dir_all(&folder)?;
        Scenario::copy(Path::new(self.name), &folder)?;
        write_packets(&folder.join("packets.pcap"), &self.report.sent)?;
        let shown = [("sim", &self.seen), (self.kind.name(), &self.report.text)];
        for ((world, text), tables) in shown.into_iter().zip(self.tables) {
            let mut text = text.clone();
            for (node, table) in tables.iter().enumerate() {
                for (key, flow) in table {
                    text += &format!("node {node} conntrack {key}: {flow:?}\n");
                }
            }
            // Where the world is the simulator, expectations were not met, and there is one text.
            std::fs::write(folder.join(format!("{world}.txt")), text)?;
        }
        let world = self.kind.name();
        let text = format!(
            "{}\n\nonce more: twinpath verify --world {world} {}\n",
            problems.join("\n"),
            folder.display()
        );
        std::fs::write(folder.join("README.txt"), text)?;
        Ok(folder)
    }
}

/// The first line in which a world shows something else than the simulator.
fn first_difference(expected: &str, shown: &str) -> Option<String> {
    let (mut expected, mut shown) = (expected.lines(), shown.lines());
    loop {
        match (expected.next(), shown.next()) {
            (None, None) => return None,
            (a, b) if a == b => {}
            (a, b) => {
                let [a, b] = [a, b].map(|line| line.map_or("nothing", str::trim));
                return Some(format!("shows `{b}` where the simulator shows `{a}`"));
            }
        }
    }
}
