use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use twinpath_kernel::testing::skip;

use super::*;
use crate::bench::cluster::{CLIENT, LOCAL, NODE_ADDRESS, POD_PORT, Port, REMOTE};
use crate::bench::result::Unit;
use crate::bench::sockets::Seen;

/// An experiment with everything of ours and one rival, from the first connection until nothing is left.
#[test]
fn sockets_reach_the_service_and_are_measured() {
    let rivals = [Subject::IptablesLegacy];
    let mut sockets = Sockets::new(3, &rivals, &MEASURES, false).unwrap();
    match sockets.prepare(&Stop::default()) {
        Ok(missing) => assert_eq!(missing, []),
        Err(Broken::Lacks(why)) => return skip("sockets of the comparison", &why),
        Err(error) => panic!("{error}"),
    }
    let group = stage(&mut sockets, Subject::Bare).group().unwrap().to_owned();
    assert!(group.exists());
    ends_see_what_they_should(&mut sockets);
    every_measure_has_a_sample_of_everyone(&mut sockets);
    drop(sockets);
    assert!(!group.exists());
}

fn stage(sockets: &mut Sockets, subject: Subject) -> &mut Stage {
    sockets.stages.iter_mut().find(|stage| stage.subject == subject).unwrap()
}

fn all(addresses: [std::net::Ipv4Addr; 2]) -> BTreeSet<SocketAddr> {
    addresses.into_iter().map(|address| (address, POD_PORT).into()).collect()
}

/// Each subject's way is the one that its name says, as far as the ends can tell.
fn ends_see_what_they_should(sockets: &mut Sockets) {
    let client = IpAddr::from(CLIENT);
    for (path, port, pods) in
        [(Path::ClusterLocal, Port::Local, LOCAL), (Path::ClusterRemote, Port::Remote, REMOTE)]
    {
        let service = SocketAddr::from(port.cluster());
        for subject in [Subject::Twinpath, Subject::IptablesLegacy] {
            let stage = stage(sockets, subject);
            let seen: Vec<Seen> = (0..32).map(|_| stage.look(path).unwrap()).collect();
            // The client knows no pod, the server no service, and both pods have served.
            for Seen { peer, answered, client: from, asked, .. } in &seen {
                assert_eq!((*peer, *answered), (service, service), "{subject}");
                assert_eq!((from.ip(), asked.ip()), (client, client), "{subject}");
            }
            let servers: BTreeSet<usize> = seen.iter().map(|seen| seen.server).collect();
            assert_eq!(servers.len(), 2, "{subject}");
        }
        // Without translation the client asks a pod itself.
        let seen = stage(sockets, Subject::Forward).look(path).unwrap();
        assert!(all(pods).contains(&seen.peer) && seen.peer == seen.answered, "{seen:?}");
        // A translated socket is connected with a pod, and reads datagrams as the service's.
        let seen = stage(sockets, Subject::Bare).look(path).unwrap();
        assert!(all(pods).contains(&seen.peer) && seen.answered == service, "{seen:?}");
        assert_eq!((seen.client.ip(), seen.asked.ip()), (client, client));
    }
    for subject in [Subject::Twinpath, Subject::IptablesLegacy] {
        let seen = stage(sockets, subject).look(Path::NodePort).unwrap();
        assert_eq!(seen.peer, SocketAddr::from(Port::Remote.node()), "{subject}");
        assert_eq!(seen.client.ip(), IpAddr::from(NODE_ADDRESS), "{subject}");
    }
}

/// Every measure of every subject gives a value in each round, and latencies have quantiles.
fn every_measure_has_a_sample_of_everyone(sockets: &mut Sockets) {
    for setting in &mut sockets.settings {
        setting.connections = 70;
        setting.time = Duration::from_millis(2);
    }
    for number in 0..2 {
        sockets.round(number, &Stop::default()).unwrap();
    }
    let figures = sockets.figures();
    // Five measures; four subjects on the one path and two on the other.
    assert_eq!(figures.len(), 5 * (4 + 2));
    for figure in &figures {
        assert_eq!(figure.samples.len(), 2, "{figure:?}");
        assert!(figure.samples.iter().all(|sample| *sample > 0.0), "{figure:?}");
        assert_eq!(figure.hook == "socket", figure.subject == Subject::Bare);
        let rising = figure.quantiles.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1);
        assert!(rising && figure.quantiles.is_empty() != (figure.unit == Unit::Nanoseconds));
    }
}

/// A port that was used is never used again, since the one that remembers it would be asked.
#[test]
fn ports_are_used_once() {
    let mut ports = super::super::ports::Ports::new();
    let mut used = BTreeSet::new();
    while let Ok(some) = ports.take(100) {
        assert!(
            some.into_iter().all(|port| used.insert(port) && !(30_000..=32_767).contains(&port))
        );
    }
    assert!(used.len() > 61_600);
    assert!(ports.take(100).is_err() && ports.take(1).is_ok());
}

#[test]
fn only_what_is_asked_for_is_measured() {
    let count = |measures: &[Measure], quick| {
        Sockets::new(1, &[], measures, quick).map_or(0, |sockets| sockets.settings.len())
    };
    assert_eq!(count(&[Measure::Load, Measure::Established], false), 0);
    assert_eq!(count(&[Measure::Connect], false), 2);
    assert_eq!(count(&Measure::ALL, true), 5);
}

/// A run that is to end does not begin another measurement.
#[test]
fn a_stop_is_heeded() {
    let flag = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let mut sockets = Sockets::new(1, &[], &Measure::ALL, true).unwrap();
    let stop = Stop::new(flag);
    assert!(matches!(sockets.prepare(&stop), Err(Broken::Stopped)));
    assert!(matches!(sockets.round(0, &stop), Err(Broken::Stopped)));
}
