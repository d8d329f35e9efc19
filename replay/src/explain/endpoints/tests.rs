//! Each endpoint has its reason.

use twinpath_control::model::Endpoint;

use super::*;

fn endpoint(last: u8, ready: bool, serving: bool, terminating: bool, node: &str) -> Endpoint {
    Endpoint {
        ready,
        serving,
        terminating,
        node: (!node.is_empty()).then(|| node.to_owned()),
        ..Endpoint::new([10, 244, 1, last].into(), 8080)
    }
}

fn standings(endpoints: Vec<Endpoint>, policy: TrafficPolicy, v4: bool) -> Vec<Standing> {
    let port = ServicePort { endpoints, ..ServicePort::default() };
    let place = Place { node: "node-a", zone: Some("a") };
    judge(&port, policy, v4, &place).into_iter().map(|(_, standing)| standing).collect()
}

#[test]
fn every_reason() {
    use TrafficPolicy::{Cluster, Local};
    let ready = || endpoint(1, true, true, false, "node-a");
    let away = || endpoint(2, true, true, false, "node-b");
    let sick = || endpoint(3, false, false, false, "node-a");
    let gone = || endpoint(4, false, false, true, "node-a");
    let draining = || endpoint(5, false, true, true, "node-a");
    let lost = || endpoint(6, true, true, false, "");
    let zone = |name: &str, zone: &str| Endpoint {
        for_zones: vec![zone.to_owned()],
        ..if name == "a" { ready() } else { away() }
    };
    let node = |name: &str| Endpoint {
        for_nodes: vec![name.to_owned()],
        ..if name == "node-a" { ready() } else { away() }
    };
    for (endpoints, policy, expected) in [
        (
            vec![ready(), away(), sick()],
            Cluster,
            vec![Standing::Eligible, Standing::Eligible, Standing::NotReady],
        ),
        (
            vec![ready(), gone(), draining()],
            Cluster,
            vec![Standing::Eligible, Standing::Gone, Standing::Draining],
        ),
        (vec![sick(), draining()], Cluster, vec![Standing::NotReady, Standing::LastResort]),
        (
            vec![ready(), away(), lost()],
            Local,
            vec![Standing::Eligible, Standing::OtherNode, Standing::UnknownNode],
        ),
        (
            vec![zone("a", "a"), zone("b", "b")],
            Cluster,
            vec![Standing::Eligible, Standing::HintZone],
        ),
        (
            vec![node("node-a"), node("node-b")],
            Cluster,
            vec![Standing::Eligible, Standing::HintNode],
        ),
    ] {
        assert_eq!(standings(endpoints.clone(), policy, true), expected, "{endpoints:?}");
    }
    assert_eq!(standings(vec![ready()], Cluster, false), [Standing::OtherFamily]);
}

#[test]
fn words_name_what_differs() {
    let place = Place { node: "node-a", zone: Some("a") };
    let away = endpoint(2, true, true, false, "node-b");
    assert_eq!(
        words(&away, Standing::OtherNode, &place),
        "on node-b, and the traffic policy is Local"
    );
    let zoned = Endpoint { for_zones: vec!["b".into()], ..away.clone() };
    assert_eq!(
        words(&zoned, Standing::HintZone, &place),
        "meant for zone b (topology hint), not a"
    );
    assert_eq!(title(&away), "10.244.1.2:8080  (no pod)");
}
