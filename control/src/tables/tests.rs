use twinpath_core::service::Algorithm;

use super::*;
use crate::maglev::Size;
use crate::read::read;

mod kinds;
mod node;

/// Devices of a node by the order of pods' names; none for a pod whose name begins with `x`.
struct ByName;

impl Devices for ByName {
    fn pod(&self, node: &str, pod: &Pod) -> Option<IfIndex> {
        assert_eq!(pod.node, node);
        assert!(!pod.host_network);
        let first = pod.name.name.bytes().next()?;
        (first != b'x').then(|| u32::from(first))
    }

    fn uplink(&self, node: &str) -> IfIndex {
        if node == "a" { 2 } else { 3 }
    }
}

/// A cluster of services, each `name address port` and, if need be, its algorithm; with endpoints, each
/// an address and the first letter of its state: ready, draining, or not ready.
fn state(services: &[(&str, &[&str])]) -> State {
    let mut text = String::new();
    for (service, endpoints) in services {
        let mut words = service.split(' ');
        let (name, address) = (words.next().unwrap(), words.next().unwrap());
        let (port, rest) = (words.next().unwrap(), words.next());
        let algorithm = rest.unwrap_or("random");
        text += &format!(
            "kind: Service\nmetadata: {{name: {name}, annotations: {{twinpath.dev/algorithm: {algorithm}}}}}\n\
             spec: {{clusterIPs: [{address}, 'fd00::{port}'], ports: [{{port: {port}}}]}}\n---\n\
             kind: EndpointSlice\nmetadata: {{name: {name}, labels: {{kubernetes.io/service-name: {name}}}}}\n\
             ports: [{{port: 8080}}]\nendpoints:\n"
        );
        for endpoint in *endpoints {
            let (address, state) = endpoint.split_at(endpoint.len() - 1);
            text += &format!(
                "- {{addresses: ['{address}'], conditions: {{ready: {}, serving: {}, terminating: {}}}}}\n",
                state == "r",
                state != "n",
                state == "d"
            );
        }
        text += "---\n";
    }
    let (state, problems) = State::new(&read("f", text.as_bytes()).unwrap());
    assert_eq!(problems, []);
    state
}

fn address(text: &str) -> Address {
    Address::from(text.parse::<IpAddr>().unwrap())
}

fn frontend(text: &str, port: u16) -> ServiceKey {
    ServiceKey::frontend(address(text), Be16::new(port), 6)
}

/// The numbers of the backends in the slots of a frontend.
fn slots(desired: &Desired, key: ServiceKey) -> Vec<BackendId> {
    let master = desired.services[&key];
    let slots: Vec<u32> = (1..=u16::MAX)
        .map_while(|slot| desired.services.get(&key.slot(slot)))
        .map(|slot| slot.backend)
        .collect();
    assert_eq!(slots.len(), usize::from(master.count));
    slots
}

/// The backends as `number address state`.
fn backends(desired: &Desired) -> Vec<String> {
    let shown = |(id, b): (&u32, &Backend)| {
        format!("{id} {} {}", b.address, if b.is_active() { "active" } else { "terminating" })
    };
    desired.backends.iter().map(shown).collect()
}

fn plan(planner: &mut Planner, state: &State) -> Desired {
    planner.plan(state, "a", &ByName, &Options::default())
}

#[test]
fn a_whole_plan() {
    let state = state(&[("web 10.96.0.1 80", &["10.0.0.2r", "10.0.0.1r", "fd00:1::1r"])]);
    let options = Options { hash_seed: 7, ..Options::default() };
    let desired = Planner::default().plan(&state, "a", &ByName, &options);
    let backend = |ip, state| Backend::new(address(ip), Be16::new(8080), 6, state);
    let marker = Service::master(0, 0, Algorithm::Random, 0);
    let (v4, v6) = (frontend("10.96.0.1", 80), frontend("fd00::80", 80));
    let expected = Desired {
        services: [
            (ServiceKey::address(address("10.96.0.1")), marker),
            (v4, Service::master(1, 2, Algorithm::Random, 0)),
            (v4.slot(1), Service::slot(1)),
            (v4.slot(2), Service::slot(2)),
            (ServiceKey::address(address("fd00::80")), marker),
            (v6, Service::master(1, 1, Algorithm::Random, 0)),
            (v6.slot(1), Service::slot(3)),
        ]
        .into(),
        backends: [
            (1, backend("10.0.0.1", BackendState::Active)),
            (2, backend("10.0.0.2", BackendState::Active)),
            (3, backend("fd00:1::1", BackendState::Active)),
        ]
        .into(),
        maglev: vec![],
        endpoints: BTreeMap::new(),
        members: [1, 2, 3].into_iter().map(|backend| (Member { service: 1, backend }, 5)).collect(),
        config: Config {
            maglev_size: 1021,
            hash_seed: 7,
            uplink: 2,
            hairpin4: address("169.254.42.1"),
            hairpin6: address("fd2a:5dc8:7e31::2a01"),
            ..Config::default()
        },
        ..Desired::default()
    };
    assert_eq!(desired, expected);
}

#[test]
fn which_endpoints_are_backends() {
    let key = frontend("10.96.0.1", 80);
    // Each: its name, the endpoints, the numbers in the slots, all backends.
    type Case<'a> = (&'a str, &'a [&'a str], &'a [u32], &'a [&'a str]);
    let cases: &[Case<'_>] = &[
        ("ready", &["10.0.0.1r"], &[1], &["1 10.0.0.1 active"]),
        ("not ready", &["10.0.0.1n"], &[], &[]),
        (
            "one drains",
            &["10.0.0.1d", "10.0.0.2r"],
            &[2],
            &["1 10.0.0.1 terminating", "2 10.0.0.2 active"],
        ),
        ("the last one drains", &["10.0.0.1d", "10.0.0.2n"], &[1], &["1 10.0.0.1 active"]),
        (
            "the last one of its family drains",
            &["10.0.0.1d", "fd00:1::1r"],
            &[1],
            &["1 10.0.0.1 active", "2 fd00:1::1 active"],
        ),
    ];
    for (case, endpoints, slotted, all) in cases {
        let desired = plan(&mut Planner::default(), &state(&[("web 10.96.0.1 80", endpoints)]));
        assert_eq!(slots(&desired, key), *slotted, "{case}");
        assert_eq!(backends(&desired), *all, "{case}");
    }
}

#[test]
fn a_shared_backend_is_active_where_a_service_needs_it() {
    for order in [["w", "x"], ["x", "w"]] {
        // It drains in both services, and one of them has nobody else.
        let (one, two) =
            (format!("{} 10.96.0.1 80", order[0]), format!("{} 10.96.0.2 81", order[1]));
        let state = state(&[(&one, &["10.0.0.1d"]), (&two, &["10.0.0.1d", "10.0.0.2r"])]);
        let desired = plan(&mut Planner::default(), &state);
        assert!(desired.backends.values().all(Backend::is_active));
        assert_eq!(desired.backends.len(), 2);
    }
}

#[test]
fn numbers_stay_and_are_never_another_ones() {
    let mut planner = Planner::default();
    let (web, dns) = (frontend("10.96.0.1", 80), frontend("10.96.0.2", 81));
    let ids = |desired: &Desired, key| (desired.services[&key].id, slots(desired, key));

    let one: (&str, &[&str]) = ("web 10.96.0.1 80", &["10.0.0.1r", "10.0.0.2r"]);
    let first = plan(&mut planner, &state(&[one]));
    assert_eq!(ids(&first, web), (1, vec![1, 2]));

    let two: (&str, &[&str]) = ("dns 10.96.0.2 81", &["10.0.0.2r", "10.0.0.3r"]);
    let second = plan(&mut planner, &state(&[two]));
    assert_eq!(ids(&second, dns), (2, vec![2, 3]));
    assert_eq!(backends(&second), ["2 10.0.0.2 active", "3 10.0.0.3 active"]);

    let third = plan(&mut planner, &state(&[one, two]));
    assert_eq!(ids(&third, web), (1, vec![1, 2]));
    assert_eq!(ids(&third, dns), (2, vec![2, 3]));
    assert_eq!(first, plan(&mut planner, &state(&[one])));
}

#[test]
fn slices_of_the_maglev_table() {
    let mut planner = Planner::default();
    let size = Size::new(11).unwrap();
    let options = Options { maglev_size: size, ..Options::default() };
    let mut plan =
        |services: &[(&str, &[&str])]| planner.plan(&state(services), "a", &ByName, &options);
    let slice = |desired: &Desired, key| {
        let master = desired.services[&key];
        assert_eq!(master.algorithm, Algorithm::Maglev as u8);
        master.maglev
    };
    let (a, b, c) = (frontend("10.96.0.1", 1), frontend("10.96.0.2", 2), frontend("10.96.0.3", 3));
    let one: (&str, &[&str]) = ("a 10.96.0.1 1 maglev", &["10.0.0.1r", "fd00:1::1r"]);
    let two: (&str, &[&str]) = ("b 10.96.0.2 2 maglev", &["10.0.0.2r", "10.0.0.3r", "10.0.0.4d"]);
    let three: (&str, &[&str]) = ("c 10.96.0.3 3 maglev", &["10.0.0.5r"]);

    let first = plan(&[one, two]);
    let own = |d: &Desired, index: u32| {
        let start = index as usize * 11;
        d.maglev[start..start + 11].iter().copied().collect::<BTreeSet<u32>>()
    };
    assert_eq!(own(&first, slice(&first, a)), BTreeSet::from([1]));
    assert_eq!(own(&first, slice(&first, frontend("fd00::1", 1))), BTreeSet::from([2]));
    assert_eq!(own(&first, slice(&first, b)), BTreeSet::from([3, 4]));

    // What is free is used again, and nobody moves.
    let second = plan(&[two, three]);
    assert_eq!(slice(&second, b), slice(&first, b));
    assert_eq!(slice(&second, c), slice(&first, a));
    assert_eq!(own(&second, slice(&second, c)), BTreeSet::from([6]));

    // The table ends with the last entry in use.
    assert!(plan(&[]).maglev.is_empty());
}

#[test]
fn the_same_maglev_table_whatever_the_history() {
    let options = Options { algorithm: Algorithm::Maglev, ..Options::default() };
    let services: (&str, &[&str]) =
        ("a 10.96.0.1 1 maglev", &["10.0.0.1r", "10.0.0.2r", "10.0.0.3r"]);
    let addresses = |planner: &mut Planner| {
        let desired = planner.plan(&state(&[services]), "a", &ByName, &options);
        let backend = |id| desired.backends[id].address;
        desired.maglev.iter().map(backend).collect::<Vec<Address>>()
    };
    let mut other = Planner::default();
    other.plan(
        &state(&[("a 10.96.0.1 1 maglev", &["10.0.0.3r", "10.0.0.9r"])]),
        "a",
        &ByName,
        &options,
    );
    assert_eq!(addresses(&mut other), addresses(&mut Planner::default()));
}

#[test]
fn names_are_those_of_the_plan() {
    let endpoints = ["10.0.0.1r", "10.0.0.2d", "10.0.0.3n", "fd00:1::1r"];
    let mut state = state(&[("web 10.96.0.1 80", &endpoints)]);
    for port in state.services.values_mut() {
        port.frontends.retain(|frontend| frontend.address.is_ipv4());
    }
    let (mut before, mut after) = (Planner::default(), Planner::default());
    let early = before.names(&state);
    let desired = plan(&mut after, &state);
    let names = after.names(&state);
    assert_eq!(early, names);
    assert_eq!(names.services[&1].to_string(), "default/web/TCP");
    assert!(names.backends.keys().eq(desired.backends.keys()));
    assert_eq!(names.backends.len(), 2);
    assert_eq!(names.backends[&2].address, "10.0.0.2".parse::<IpAddr>().unwrap());
}
