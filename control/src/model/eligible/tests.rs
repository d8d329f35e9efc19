use super::*;
use crate::model::TrafficPolicy::{Cluster, Local};

/// An endpoint from words: its last byte, its state (`r`eady, `d`raining, `t`erminating without serving,
/// `n`ot ready), its node, and hints: `z:east`, `n:a`. A `6` before the byte makes it IPv6.
fn endpoint(text: &str) -> Endpoint {
    let mut words = text.split(' ');
    let (last, state) = (words.next().unwrap(), words.next().unwrap());
    let address = match last.strip_prefix('6') {
        Some(last) => format!("fd00::{last}"),
        None => format!("10.0.0.{last}"),
    };
    let mut endpoint = Endpoint {
        ready: state == "r",
        serving: matches!(state, "r" | "d"),
        terminating: matches!(state, "d" | "t"),
        node: words.next().filter(|node| *node != "-").map(str::to_owned),
        ..Endpoint::new(address.parse().unwrap(), 80)
    };
    for word in words {
        let (kind, name) = word.split_once(':').unwrap();
        let hints = if kind == "z" { &mut endpoint.for_zones } else { &mut endpoint.for_nodes };
        hints.push(name.to_owned());
    }
    endpoint
}

fn port(endpoints: &[&str]) -> ServicePort {
    let endpoints = endpoints.iter().map(|text| endpoint(text)).collect();
    ServicePort { endpoints, ..ServicePort::default() }
}

const HERE: Place<'_> = Place { node: "a", zone: Some("east") };

/// The last bytes of the eligible addresses; `drop` or `reject` where there are none.
fn eligible(port: &ServicePort, policy: TrafficPolicy, is_ipv4: bool, place: &Place<'_>) -> String {
    let found = port.eligible(policy, is_ipv4, place);
    let last = |e: &&Endpoint| {
        let text = e.address.to_string();
        text.rsplit(['.', ':']).next().unwrap_or_default().to_owned()
    };
    match (found.endpoints.is_empty(), found.only_elsewhere) {
        (true, true) => "drop".to_owned(),
        (true, false) => "reject".to_owned(),
        (false, false) => found.endpoints.iter().map(last).collect::<Vec<_>>().join(" "),
        (false, true) => "both".to_owned(),
    }
}

#[test]
fn conditions() {
    // Each: the endpoints, who is eligible on node a under Cluster, and under Local.
    let cases: &[(&[&str], &str, &str)] = &[
        (&[], "reject", "reject"),
        (&["1 n a"], "reject", "reject"),
        (&["1 t a", "2 t b"], "reject", "reject"),
        (&["1 r a", "2 r b"], "1 2", "1"),
        (&["2 r b"], "2", "drop"),
        (&["1 n a", "2 r b"], "2", "drop"),
        // Those that are going only where nobody is ready: in the cluster, or on the node.
        (&["1 d a", "2 r b"], "2", "1"),
        (&["1 d a", "2 r a"], "2", "2"),
        (&["1 d a", "2 d b"], "1 2", "1"),
        (&["2 d b"], "2", "drop"),
        (&["1 t a", "2 d b"], "2", "drop"),
        (&["1 n a", "2 t b"], "reject", "reject"),
        // Where it runs is not known.
        (&["1 r -"], "1", "drop"),
        // Of the other family.
        (&["61 r a"], "reject", "reject"),
        (&["1 d b", "61 r a"], "1", "drop"),
    ];
    for (endpoints, cluster, local) in cases {
        let port = port(endpoints);
        assert_eq!(eligible(&port, Cluster, true, &HERE), *cluster, "{endpoints:?} Cluster");
        assert_eq!(eligible(&port, Local, true, &HERE), *local, "{endpoints:?} Local");
    }
    let both = port(&["1 r a", "62 r a", "63 r b"]);
    assert_eq!(eligible(&both, Cluster, false, &HERE), "2 3");
    assert_eq!(eligible(&both, Local, false, &HERE), "2");
}

#[test]
fn hints() {
    let nowhere = Place { zone: None, ..HERE };
    let elsewhere = Place { node: "x", zone: Some("north") };
    // Each: the endpoints; who is eligible on node a in zone east, there without a zone, and on node x
    // in zone north.
    let cases: &[(&[&str], &str, &str, &str)] = &[
        (&["1 r a z:east", "2 r b z:west"], "1", "1 2", "1 2"),
        (&["1 r a z:west", "2 r b z:west z:east"], "2", "1 2", "1 2"),
        // One ready endpoint without a hint, and none counts; the others do not matter.
        (&["1 r a z:east", "2 r b"], "1 2", "1 2", "1 2"),
        (&["1 r a z:east", "2 n b", "3 d c", "4 r b z:west"], "1", "1 4", "1 4"),
        (&["1 r a z:west", "2 r b z:west"], "1 2", "1 2", "1 2"),
        // Those for the node come before those for the zone.
        (&["1 r a n:a z:east", "2 r b n:b z:east"], "1", "1", "1 2"),
        (&["1 r c n:c z:east", "2 r b n:b z:west"], "1", "1 2", "1 2"),
        (&["1 r a n:a z:west", "2 r b z:east"], "2", "1 2", "1 2"),
        // Nobody is ready: hints do not hold for those that are going.
        (&["1 d a z:west", "2 d b z:east"], "1 2", "1 2", "1 2"),
        // The preferred ones are of one family.
        (&["1 r a z:west", "62 r b z:east"], "1", "1", "1"),
    ];
    for (endpoints, here, no_zone, other) in cases {
        let port = port(endpoints);
        assert_eq!(eligible(&port, Cluster, true, &HERE), *here, "{endpoints:?}");
        assert_eq!(eligible(&port, Cluster, true, &nowhere), *no_zone, "{endpoints:?} no zone");
        assert_eq!(eligible(&port, Cluster, true, &elsewhere), *other, "{endpoints:?} elsewhere");
    }
    // They do not hold for Local.
    let port = port(&["1 r a z:west", "2 r b z:east"]);
    assert_eq!(eligible(&port, Local, true, &HERE), "1");
}

#[test]
fn which_policy_holds() {
    use FrontendKind::{ClusterIp, ExternalIp, HostPort, LoadBalancer, NodePort};
    for external in [Cluster, Local] {
        for internal in [Cluster, Local] {
            let port = ServicePort {
                external_policy: external,
                internal_policy: internal,
                ..ServicePort::default()
            };
            let case = format!("{external:?} {internal:?}");
            assert_eq!(port.policy(ClusterIp, Client::Internal), Some(internal), "{case}");
            assert_eq!(port.policy(ClusterIp, Client::External), None, "{case}");
            for kind in [NodePort, ExternalIp, LoadBalancer] {
                assert_eq!(port.policy(kind, Client::Internal), Some(Cluster), "{case}");
                assert_eq!(port.policy(kind, Client::External), Some(external), "{case}");
            }
            for client in [Client::Internal, Client::External] {
                assert_eq!(port.policy(HostPort, client), Some(Cluster), "{case}");
            }
        }
    }
}

#[test]
fn the_place_of_a_node() {
    let mut state = State::default();
    let node = crate::model::Node { zone: Some("east".to_owned()), ..Default::default() };
    state.nodes.insert("a".to_owned(), node);
    assert_eq!(state.place("a"), HERE);
    assert_eq!(state.place("b"), Place { node: "b", zone: None });
}
