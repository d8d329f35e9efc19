//! The harness of the comparison: every subject carries every packet of every path, and nothing is left.
//! How fast anything is, is not tested.

use std::collections::BTreeSet;

use twinpath::bench::lab::{Hook, Lab};
use twinpath::bench::live::{self, Path, Setting};
use twinpath::bench::result::Measure;
use twinpath::bench::subject::Subject;
use twinpath_kernel::testing::skip;
use twinpath_sim::world::WorldError;

const LABS: [(Subject, Hook); 8] = [
    (Subject::Twinpath, Hook::Tc),
    (Subject::Twinpath, Hook::Xdp),
    (Subject::Bare, Hook::Tc),
    (Subject::Bare, Hook::Xdp),
    (Subject::Forward, Hook::Tc),
    (Subject::IptablesLegacy, Hook::Tc),
    (Subject::IptablesNft, Hook::Tc),
    (Subject::Nftables, Hook::Tc),
];

/// Makes labs with three services, all at once; `None` where this machine cannot have them.
fn labs(name: &str, of: &[(Subject, Hook)]) -> Option<Vec<Lab>> {
    let made: Result<Vec<Lab>, WorldError> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            of.iter().map(|&(who, hook)| scope.spawn(move || Lab::new(who, hook, 3))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    match made {
        Ok(labs) => Some(labs),
        Err(WorldError::Environment(why)) => {
            skip(name, &why);
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// The network namespaces that this process has open.
fn held() -> BTreeSet<String> {
    std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .map(|target| target.display().to_string())
        .filter(|target| target.starts_with("net:["))
        .collect()
}

#[test]
fn live_frames() {
    let before = held();
    every_path_of_every_subject();
    lost_frames_are_an_error();
    assert_eq!(held(), before);
}

fn every_path_of_every_subject() {
    let Some(mut labs) = labs("bench, live frames", &LABS) else { return };
    live::prepare().unwrap();
    let every = Path::ALL
        .into_iter()
        .flat_map(|path| [(Measure::Established, path), (Measure::NewFlow, path)]);
    let some = [Measure::ProgramTime, Measure::Churn].map(|measure| (measure, Path::ClusterLocal));
    for (turn, (measure, path)) in every.chain(some).enumerate() {
        let mut figures = Vec::new();
        let setting = Setting { measure, path, flows: 500, frames: 2_000 };
        live::round(&mut labs, &setting, turn, &mut figures).unwrap();
        let expected = labs.iter().filter(|lab| setting.is_of(lab)).count();
        assert!(expected > 0, "{setting:?}");
        assert_eq!(figures.len(), expected, "{setting:?}");
        for figure in figures {
            assert!(matches!(figure.samples[..], [sample] if sample > 0.0), "{figure:?}");
        }
    }
}

/// A figure of packets that did not arrive would be a good one.
fn lost_frames_are_an_error() {
    let Some(mut labs) = labs("bench, lost frames", &[(Subject::Forward, Hook::Tc)]) else {
        return;
    };
    labs[0].node.ip("link set pod11 down\n").unwrap();
    let path = Path::ClusterLocal;
    let setting = Setting { measure: Measure::Established, path, flows: 1, frames: 2_000 };
    let error = live::round(&mut labs, &setting, 0, &mut Vec::new()).unwrap_err().to_string();
    assert!(error.contains("forward") && error.contains("clusterip-local"), "{error}");
    assert!(error.contains("0 of"), "{error}");
}
