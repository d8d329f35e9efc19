//! The scenarios of the repository: snapshots of what the simulator shows, and the other worlds.

use std::path::{Path, PathBuf};

use twinpath::scenario::{Detail, Report, Scenario, run, world};
use twinpath::worlds::Kind;
use twinpath_kernel::testing::skip;
use twinpath_sim::world::WorldError;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/scenarios")
}

/// Every scenario of the repository, by name.
fn scenarios() -> Vec<(String, Scenario)> {
    let mut all: Vec<(String, Scenario)> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, Scenario::read(&path).unwrap())
        })
        .collect();
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    assert!(all.len() >= 10, "{} scenarios", all.len());
    all
}

fn report(kind: Kind, scenario: &Scenario, detail: Detail) -> Result<Report, WorldError> {
    let mut world = world(kind, scenario)?;
    run(scenario, world.as_mut(), detail)
}

#[test]
fn the_simulator_shows_what_the_snapshots_show() {
    let mut unmet = Vec::new();
    for (name, scenario) in scenarios() {
        let report = report(Kind::Sim, &scenario, Detail::Everything).unwrap();
        insta::with_settings!({
            snapshot_path => folder(),
            prepend_module_to_snapshot => false,
            omit_expression => true,
            description => scenario.title.clone(),
        }, {
            insta::assert_snapshot!(name.as_str(), report.text);
        });
        unmet.extend(report.unmet.into_iter().map(|what| format!("{name}: {what}")));
    }
    assert_eq!(unmet, [""; 0]);
}

/// Another world shows the same, as far as it can tell.
fn agree(kind: Kind, detail: Detail) {
    for (name, scenario) in scenarios() {
        let sim = report(Kind::Sim, &scenario, detail).unwrap();
        let other = match report(kind, &scenario, detail) {
            Err(WorldError::Environment(why)) => {
                return skip(&format!("scenarios in {}", kind.name()), &why);
            }
            other => other.unwrap(),
        };
        assert_eq!(sim.text, other.text, "{name} in {}", kind.name());
        assert_eq!(other.unmet, [""; 0], "{name} in {}", kind.name());
    }
}

#[test]
fn test_runs_show_the_same() {
    agree(Kind::TestRun, Detail::Everything);
}

#[test]
fn namespaces_show_the_same_frames() {
    agree(Kind::Veth, Detail::Frames);
}

/// What stands in a snapshot file, without its head.
fn snapshot(name: &str) -> String {
    let text = std::fs::read_to_string(folder().join(format!("{name}.snap"))).unwrap();
    text.splitn(3, "---\n").nth(2).unwrap().trim_end().to_owned()
}

#[test]
fn the_tour_shows_the_snapshots() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/tour.md");
    let mut tour = std::fs::read_to_string(&path).unwrap();
    let mut shown = 0;
    let blocks: Vec<(String, String)> = tour
        .split("<!-- scenario: ")
        .skip(1)
        .map(|part| {
            let (name, rest) = part.split_once(" -->\n```text\n").unwrap();
            (name.to_owned(), rest.split("\n```").next().unwrap().to_owned())
        })
        .collect();
    for (name, block) in blocks {
        let snapshot = snapshot(&name);
        if std::env::var_os("TWINPATH_BLESS").is_some() {
            let head = format!("<!-- scenario: {name} -->\n```text\n");
            tour = tour.replace(&format!("{head}{block}\n```"), &format!("{head}{snapshot}\n```"));
        } else {
            assert_eq!(block, snapshot, "{name}; TWINPATH_BLESS=1 writes it anew");
        }
        shown += 1;
    }
    assert_eq!(shown, 5);
    if std::env::var_os("TWINPATH_BLESS").is_some() {
        std::fs::write(path, tour).unwrap();
    }
}
