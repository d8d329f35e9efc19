//! The comparison without free choices: twinpath's decisions become rules of nftables, one element of a map per
//! connection, and then every packet must be the same everywhere, byte for byte.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use twinpath_sim::cluster::Place;
use twinpath_sim::engine::NodeIndex;
use twinpath_sim::world::WorldError;

use super::compare::{Difference, same};
use super::exchange::{End, From, Side, Step, What};
use super::lab::{Lab, address};
use super::rows::{self, Case, Kind};
use super::run::{FIRST_PORT, LAST_PORT, Options, Report, shown};
use super::view::Names;
use super::world::{NetfilterWorld, Rules};

/// A connection through twinpath, and what came of each step.
struct Recorded<'a> {
    case: &'a Case,
    ends: (SocketAddr, SocketAddr),
    /// Who served it: the client as it sees it, and itself.
    server: (SocketAddr, SocketAddr),
    /// The node that decided.
    node: NodeIndex,
    steps: Vec<(Step, Sighted)>,
}

/// Where a step's packets ended, and where they were seen.
type Sighted = (Vec<End>, Vec<(Place, Vec<u8>)>);

/// Compares rows that twinpath delivers with rules that decide as it has.
pub fn rows(options: &Options) -> Result<Report, WorldError> {
    let lab = Lab::new()?;
    let all = rows::all(&lab.services, options.whole);
    let skip = usize::try_from(options.seed).unwrap_or(0) % options.one_in.max(1);
    let chosen = all.iter().skip(skip).step_by(options.one_in.max(1));
    let recorded = record(&lab, options.seed, chosen)?;
    let mut world = NetfilterWorld::new(lab.topology.clone(), Rules::Nftables)?;
    for node in 0..lab.topology.nodes.len() {
        world.nft(node, &table(&recorded, node))?;
    }
    let mut report = Report::default();
    for connection in &recorded {
        report.rows += 1;
        let mut met = BTreeSet::new();
        compare(&lab, connection, &mut world, &mut report, &mut met)?;
        for number in met {
            *report.accepted.entry(number).or_default() += 1;
        }
    }
    Ok(report)
}

/// Sends rows through the simulator.
fn record<'a>(
    lab: &Lab,
    seed: u64,
    cases: impl Iterator<Item = &'a Case>,
) -> Result<Vec<Recorded<'a>>, WorldError> {
    let mut twin = lab.simulator(seed)?;
    let mut recorded = Vec::new();
    let mut port = FIRST_PORT;
    // Rows of several connections are about choices.
    let one = |case: &&Case| !matches!(case.kind, Kind::Clash | Kind::Affinity);
    for (number, case) in (1..).zip(cases.filter(one)) {
        port = if port >= LAST_PORT { FIRST_PORT } else { port + 1 };
        twinpath_sim::world::World::set_time(&mut twin, number * 50_000_000)?;
        let client = SocketAddr::new(address(case.from, case.v4), port);
        let ends = (client, case.front.end(&case.service, case.protocol, case.v4));
        let Some(sender) = lab.sender(case.from) else { continue };
        let mut side = Side::new(&mut twin, sender, ends);
        let (mut steps, mut server) = (Vec::new(), None);
        for step in rows::script(case) {
            let Some(found) = side.send(&step)? else { break };
            server = server.or(side.server());
            if side.server() != server {
                break; // a second connection on these ports, which went elsewhere
            }
            steps.push((step, (found, side.seen.clone())));
        }
        // What was left as it was is nobody's decision.
        let Some(server) = server.filter(|server| *server != (ends.0, ends.1)) else { continue };
        let node = match case.from {
            "pb" => lab.topology.node("node-b"),
            "client" if case.front == super::lab::Front::NodeB => lab.topology.node("node-b"),
            _ => lab.topology.node("node-a"),
        };
        let Some(node) = node else { continue };
        recorded.push(Recorded { case, ends, server, node, steps });
    }
    Ok(recorded)
}

/// The rules of a node: its decisions, and no others.
fn table(recorded: &[Recorded<'_>], node: NodeIndex) -> String {
    let mut text = String::new();
    for (family, kind, v4) in [("ip", "ipv4_addr", true), ("ip6", "ipv6_addr", false)] {
        let (mut to, mut from) = (Vec::new(), Vec::new());
        let own = recorded.iter().filter(|one| one.node == node && one.case.v4 == v4);
        for Recorded { case, ends: (client, front), server: (seen, server), .. } in own {
            let pair = |a: &SocketAddr, b: &SocketAddr| {
                let protocol = case.protocol;
                format!("{} . {} . {protocol} . {} . {}", a.ip(), a.port(), b.ip(), b.port())
            };
            let value = |end: &SocketAddr| format!("{} . {}", end.ip(), end.port());
            to.push(format!("{} : {}", pair(client, front), value(server)));
            from.push(format!("{} : {}", pair(client, server), value(seen)));
        }
        let map = |name: &str, elements: &[String]| {
            let elements = match elements {
                [] => String::new(),
                some => format!("    elements = {{\n      {}\n    }}\n", some.join(",\n      ")),
            };
            format!(
                "  map {name} {{\n    type {kind} . inet_service . inet_proto . {kind} . inet_service \
                 : {kind} . inet_service\n{elements}  }}\n"
            )
        };
        let key = format!("{family} saddr . th sport . meta l4proto . {family} daddr . th dport");
        text += &format!(
            "table {family} decisions {{\n{}{}\
             \x20 chain in {{\n    type nat hook prerouting priority -100\n    dnat {family} to {key} map @to\n  }}\n\
             \x20 chain own {{\n    type nat hook output priority -100\n    dnat {family} to {key} map @to\n  }}\n\
             \x20 chain out {{\n    type nat hook postrouting priority 100\n    snat {family} to {key} map @from\n  }}\n\
             \x20 chain pass {{\n    type filter hook forward priority 0\n    ct state invalid drop\n  }}\n}}\n",
            map("to", &to),
            map("from", &from),
        );
    }
    text
}

/// Sends a connection's packets through rules, and compares.
fn compare(
    lab: &Lab,
    connection: &Recorded<'_>,
    world: &mut NetfilterWorld,
    report: &mut Report,
    met: &mut BTreeSet<u32>,
) -> Result<(), WorldError> {
    let Recorded { case, ends, steps, .. } = connection;
    let Some(sender) = lab.sender(case.from) else { return Ok(()) };
    let mut side = Side::new(world, sender, *ends);
    for (number, (step, (there, seen))) in steps.iter().enumerate() {
        let found = side.send(step)?.unwrap_or_default();
        let result = equal(connection, step, there, &found, seen, &side.seen);
        if let Err(difference) = result {
            let fine = report.judge(Rules::Nftables, case, &difference, met, || {
                let (text, total) = (shown(step, there, &found, Rules::Nftables), steps.len());
                format!("  with twinpath's decision, step {} of {total}\n{text}", number + 1)
            });
            if !fine {
                break;
            }
        }
    }
    report.packets += side.sent.len();
    Ok(())
}

/// Whether the packets of a step are the same at every place.
fn equal(
    connection: &Recorded<'_>,
    step: &Step,
    there: &[End],
    here: &[End],
    seen_there: &[(Place, Vec<u8>)],
    seen_here: &[(Place, Vec<u8>)],
) -> Result<(), Difference> {
    use super::compare::Fate::{Delivered, Dropped, Passed};
    if there.len() != here.len() {
        let fate = |ends: &[End]| if ends.is_empty() { Dropped } else { Delivered };
        return match (fate(there), fate(here)) {
            (a, b) if a != b => Err(Difference::Fate(a, b)),
            _ => Err(Difference::Count(there.len(), here.len())),
        };
    }
    let (seen, own) = connection.server;
    for (a, b) in there.iter().zip(here) {
        let untouched = step.from == From::Server
            && (b.view.source, b.view.destination) == (own, seen)
            && a.view.source != own;
        if a.place != b.place || untouched {
            return Err(Difference::Fate(Delivered, Passed));
        }
        same(&a.view, &b.view, &Names::default())?;
    }
    // What ends nowhere may do so anywhere; and where datagrams are put together, their fragments are
    // overwritten in the buffers that sockets have yet to show.
    if there.is_empty() || matches!(step.what, What::Fragments(..)) {
        return Ok(());
    }
    // Between nodes, whole frames with their link addresses. At a device of a pod these do not matter, and
    // twinpath leaves them as they are.
    let ordered = |seen: &[(Place, Vec<u8>)]| {
        let mut seen: Vec<(Place, Vec<u8>)> = seen
            .iter()
            .map(|(place, bytes)| match place {
                place if place.is_end() => (*place, bytes.get(14..).unwrap_or_default().to_vec()),
                _ => (*place, bytes.clone()),
            })
            .collect();
        seen.sort();
        seen
    };
    let (there, here) = (ordered(seen_there), ordered(seen_here));
    if there == here {
        return Ok(());
    }
    let only = |one: &[(Place, Vec<u8>)], other: &[(Place, Vec<u8>)]| {
        let first = one.iter().find(|frame| !other.contains(frame));
        first.map_or("none".to_owned(), |(place, bytes)| {
            let hex: String = bytes.iter().take(64).map(|byte| format!("{byte:02x}")).collect();
            format!("{place:?} {hex}")
        })
    };
    Err(Difference::Way(only(&there, &here), only(&here, &there)))
}
