//! Scenario files on the command line.

use twinpath_core::conntrack::Flow;
use twinpath_core::tuple::Tuple;
use twinpath_sim::world::{World, WorldError};

use super::print;
use crate::failure::{Ending, Failure};
use crate::scenario::{Detail, Report, Scenario, run as run_in, world};
use crate::worlds::Kind;

/// The conntrack tables of all nodes.
type Tables = Vec<Vec<(Tuple, Flow)>>;

/// Runs scenarios in the simulator and in other worlds, which must show the same. A world that this
/// machine lacks is left out, unless it was asked for.
pub(super) fn run(
    scenarios: &[(String, Scenario)],
    asked: Option<Kind>,
    verbose: bool,
) -> Result<Ending, Failure> {
    let kinds = match asked {
        Some(kind) => vec![kind],
        None => vec![Kind::Sim, Kind::TestRun, Kind::Veth],
    };
    let (mut packets, mut bad) = (0, 0);
    for (name, scenario) in scenarios {
        let (expected, tables) = in_world(Kind::Sim, scenario, Detail::Everything)?;
        if verbose {
            print(&format!("{}\n{}", scenario.title, expected.text))?;
        }
        for kind in &kinds {
            let detail = if *kind == Kind::Veth { Detail::Frames } else { Detail::Everything };
            let (report, other) = match in_world(*kind, scenario, detail) {
                Err(WorldError::Environment(why)) if asked.is_none() => {
                    print(&format!("{name}: {} not run: {why}\n", kind.name()))?;
                    continue;
                }
                result => result?,
            };
            packets += report.packets;
            let mut problems = report.unmet.clone();
            if detail == Detail::Everything {
                problems.extend(first_difference(&expected.text, &report.text));
            } else {
                let (seen, _) = in_world(Kind::Sim, scenario, detail)?;
                problems.extend(first_difference(&seen.text, &report.text));
            }
            if tables != other {
                problems.push("the conntrack tables at the end are not the simulator's".into());
            }
            bad += usize::from(!problems.is_empty());
            if problems.is_empty() {
                print(&format!(
                    "{name}: {}: {} packets as expected\n",
                    kind.name(),
                    report.packets
                ))?;
            }
            for problem in problems {
                print(&format!("{name}: {}: {problem}\n", kind.name()))?;
            }
        }
    }
    Ok(match (packets, bad) {
        (0, 0) => Ending::Nothing,
        (_, 0) => Ending::Fine,
        _ => Ending::Different,
    })
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
