use std::net::IpAddr;

use proptest::prelude::*;
use twinpath_core::service::flag;

use super::*;
use crate::maglev::Size;
use crate::model::{
    self, Frontend, FrontendKind, Pod, PortName, Protocol, ServiceKind, ServicePort, State,
};
use crate::objects::ObjectName;
use crate::tables::{Devices, Dispatch, Options, Planner};

/// What [`diff`] promises of the tables after each write.
pub(crate) fn check(tables: &Desired, from: &Desired, to: &Desired) -> Result<(), String> {
    let size = tables.config.maglev_size;
    let missing = |id: &u32| *id != 0 && !tables.backends.contains_key(id);
    if let Some(index) = tables.maglev.iter().position(missing) {
        return Err(format!("entry {index} names a backend that is not there"));
    }
    if let Some((key, id)) = tables.terminations.iter().find(|(_, id)| missing(id)) {
        return Err(format!("{key:?} ends at backend {id}"));
    }
    for (key, service) in &tables.services {
        if is_slot(key) && missing(&service.backend) {
            return Err(format!("{key:?} names backend {}", service.backend));
        }
        if !is_master(key) {
            continue;
        }
        // Before and after, as far as this frontend was there or will be.
        let sides = || [from, to].into_iter().filter(|side| side.services.contains_key(key));
        let address = ServiceKey::address(key.address);
        if sides().all(|side| side.services.contains_key(&address))
            && !tables.services.contains_key(&address)
        {
            return Err(format!("{key:?}: its address has no entry"));
        }
        let bit = 1 << key.scope;
        let is_member = |backend: u32| {
            let member = Member { service: service.id, backend };
            tables.members.get(&member).is_some_and(|bits| bits & bit != 0)
        };
        for slot in 1..=service.count {
            let Some(found) = tables.services.get(&key.slot(slot)) else {
                return Err(format!("{key:?} counts {} and has no slot {slot}", service.count));
            };
            if !is_member(found.backend) {
                return Err(format!("{key:?}: backend {} is no member", found.backend));
            }
            if !tables.backends[&found.backend].is_active() {
                return Err(format!("{key:?}: backend {} is not active", found.backend));
            }
        }
        let own = |id: u32| {
            sides().any(|desired| {
                (1..=u16::MAX)
                    .map_while(|slot| desired.services.get(&key.slot(slot)))
                    .any(|slot| slot.backend == id)
            })
        };
        let start = service.maglev * size;
        for index in (start..start + size).filter(|_| is_maglev(service) && service.count > 0) {
            let id = tables.maglev.get(index as usize).copied().unwrap_or(0);
            if !own(id) || !is_member(id) {
                return Err(format!("{key:?} reads {id} in slice {}", service.maglev));
            }
        }
        let restricted = |service: &Service| service.has(flag::SOURCE_RANGES);
        if !restricted(service) && sides().all(|side| restricted(&side.services[key])) {
            return Err(format!("{key:?} is open to everybody"));
        }
        if restricted(service) {
            let owned = |side: &Desired| -> BTreeSet<RangeKey> {
                side.ranges.keys().filter(|range| range.owner == service.id).copied().collect()
            };
            let now = owned(tables);
            if !now.is_superset(&owned(from)) && !now.is_superset(&owned(to)) {
                return Err(format!("{key:?} lacks ranges"));
            }
        }
        let port = key.port.get();
        let reserved = |side: &Desired| {
            let word = side.reserved.get(usize::from(port / 64)).copied().unwrap_or(0);
            word >> (port % 64) & 1 != 0
        };
        if sides().all(reserved) && !reserved(tables) {
            return Err(format!("{key:?}: its port is not reserved"));
        }
    }
    let known = |range: &RangeKey| [from, to].iter().any(|side| side.ranges.contains_key(range));
    if !tables.ranges.keys().all(known) {
        return Err("a range of neither before nor after".to_owned());
    }
    Ok(())
}

/// Goes from one to the other, checking on the way.
fn walk(from: &Desired, to: &Desired) -> Result<(Desired, Vec<Write>), String> {
    let writes = diff(from, to);
    let mut tables = from.clone();
    for (index, write) in writes.iter().enumerate() {
        let Ok(()) = tables.write(write);
        check(&tables, from, to)
            .map_err(|text| format!("{text}, after {:?}", &writes[..=index]))?;
        let is_last = index + 1 == writes.len();
        let raised = tables.config.epoch != from.config.epoch;
        if raised != is_last {
            return Err(format!("epoch {} after write {index}", tables.config.epoch));
        }
    }
    let epoch = from.config.epoch.wrapping_add(u32::from(!writes.is_empty()));
    let expected = Desired { config: Config { epoch, ..to.config }, ..to.clone() };
    if tables != expected {
        return Err(format!("{tables:?} is not {expected:?}"));
    }
    Ok((tables, writes))
}

struct Numbered;

impl Devices for Numbered {
    fn pod(&self, _node: &str, pod: &Pod) -> Option<u32> {
        let number = pod.name.name.parse().unwrap_or(0_u32);
        (number % 5 != 4).then_some(10 + number)
    }

    fn uplink(&self, node: &str) -> u32 {
        u32::from(node == "b") + 1
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A service: its number, whether it has an IPv6 address too, and its endpoints, each with the last
/// byte of its addresses and its state: 0 for ready, 1 for draining, 2 for neither.
fn service(
    number: u8,
    v6: bool,
    algorithm: Option<Algorithm>,
    endpoints: &[(u8, u8)],
) -> (PortName, ServicePort) {
    let name = PortName {
        service: ObjectName::new("default", &format!("s{number}")),
        port: String::new(),
        protocol: Protocol::Tcp,
    };
    let frontend = |address| Frontend { kind: FrontendKind::ClusterIp, address, port: 80 };
    let mut frontends = vec![frontend(ip(&format!("10.96.0.{}", number % 4)))];
    frontends[0].port += u16::from(number);
    if v6 {
        frontends.push(frontend(ip(&format!("fd00:96::{number}"))));
    }
    let mut all = Vec::new();
    for (address, state) in endpoints {
        for prefix in ["10.244.0.", "fd00:244::"] {
            all.push(model::Endpoint {
                ready: *state == 0,
                serving: *state < 2,
                terminating: *state > 0,
                node: Some(if address % 3 == 0 { "b" } else { "a" }.to_owned()),
                ..model::Endpoint::new(ip(&format!("{prefix}{address}")), 8080)
            });
        }
    }
    let port = ServicePort {
        kind: ServiceKind::ClusterIp,
        port: 80,
        target: model::Target::Number(8080),
        frontends,
        algorithm,
        endpoints: all,
        ..ServicePort::default()
    };
    (name, port)
}

/// Makes more of a service: the bits say what.
fn shape(number: u8, bits: u16, port: &mut ServicePort) {
    let has = |bit: u16| bits >> bit & 1 != 0;
    let which = |bit: u16| usize::from(has(bit));
    let node_port = 30_000 + u16::from(number % 3);
    // Which services may fight for.
    let kinds = [
        (has(0), FrontendKind::NodePort, "0.0.0.0", node_port),
        (has(1), FrontendKind::NodePort, "::", node_port),
        (has(2), FrontendKind::LoadBalancer, ["192.0.2.1", "192.0.2.2"][which(3)], 80),
        // Of which one is sometimes that of a node.
        (has(4), FrontendKind::ExternalIp, ["192.168.0.2", "192.0.2.1"][which(5)], 80),
        (has(6), FrontendKind::HostPort, ["0.0.0.0", "127.0.0.1"][which(7)], 8080),
    ];
    let more = kinds.into_iter().filter(|(is, ..)| *is);
    port.frontends.extend(more.map(|(_, kind, text, port)| Frontend {
        kind,
        address: ip(text),
        port,
    }));
    let policy =
        |bit| if has(bit) { model::TrafficPolicy::Local } else { model::TrafficPolicy::Cluster };
    port.external_policy = policy(8);
    port.internal_policy = policy(9);
    port.affinity = has(10).then_some(60);
    let range = |last: u8| model::Range { address: ip(&format!("203.0.113.{last}")), length: 28 };
    port.source_ranges.extend(has(11).then(|| range(1)));
    port.source_ranges.extend(has(12).then(|| range(17)));
    port.forwarding = has(13).then_some(model::ForwardingMode::Dsr);
    for endpoint in port.endpoints.iter_mut().filter(|_| has(14)) {
        endpoint.for_nodes = endpoint.node.iter().cloned().collect();
    }
    port.node = has(15).then(|| "a".to_owned());
}

fn pod(number: u8) -> (ObjectName, Pod) {
    let name = ObjectName::new("default", &number.to_string());
    let addresses = vec![ip(&format!("10.244.0.{number}")), ip(&format!("fd00:244::{number}"))];
    let node = if number.is_multiple_of(3) { "b" } else { "a" }.to_owned();
    (name.clone(), Pod { name, addresses, node, host_network: number % 7 == 6 })
}

fn nodes() -> impl Strategy<Value = BTreeMap<String, model::Node>> {
    (any::<bool>(), any::<bool>()).prop_map(|(ranges, second)| {
        let node = |last: u8| model::Node {
            addresses: vec![ip(&format!("192.168.0.{last}")), ip(&format!("fd00:192::{last}"))],
            pod_ranges: ranges
                .then(|| model::Range { address: ip("10.244.0.0"), length: 24 })
                .into_iter()
                .collect(),
            ..model::Node::default()
        };
        let second = second.then(|| ("b".to_owned(), node(2)));
        [("a".to_owned(), node(1))].into_iter().chain(second).collect()
    })
}

fn states() -> impl Strategy<Value = State> {
    let algorithm = prop_oneof![
        Just(None),
        Just(Some(Algorithm::Random)),
        Just(Some(Algorithm::Maglev)),
        Just(Some(Algorithm::Maglev))
    ];
    let endpoints = proptest::collection::btree_map(0_u8..8, 0_u8..3, 0..5);
    // Nothing, all but a port for one node, anything.
    let bits = prop_oneof![Just(0), any::<u16>().prop_map(|bits| bits & 0x7fff), any::<u16>()];
    let services =
        proptest::collection::btree_map(0_u8..6, (any::<bool>(), algorithm, endpoints, bits), 0..5);
    let pods = proptest::collection::btree_set(0_u8..8, 0..6);
    (services, pods, nodes()).prop_map(|(services, pods, nodes)| {
        let mut taken = BTreeSet::new();
        let services = services.into_iter().map(|(number, (v6, algorithm, endpoints, bits))| {
            let endpoints: Vec<(u8, u8)> = endpoints.into_iter().collect();
            let (name, mut port) = service(number, v6, algorithm, &endpoints);
            shape(number, bits, &mut port);
            port.frontends.retain(|f| taken.insert((f.address, f.port)));
            (name, port)
        });
        State {
            services: services.collect(),
            pods: pods.into_iter().map(pod).collect(),
            nodes,
            ..State::default()
        }
    })
}

fn options() -> impl Strategy<Value = Options> {
    let size = prop_oneof![4 => Just(11), 1 => Just(7)];
    let algorithm = || prop_oneof![Just(Algorithm::Random), Just(Algorithm::Maglev)];
    let dispatch = prop_oneof![Just(Dispatch::Ipip), Just(Dispatch::Option)];
    (size, algorithm(), algorithm(), 0_u32..2, dispatch).prop_map(
        |(size, algorithm, external_algorithm, hash_seed, dispatch)| Options {
            algorithm,
            external_algorithm,
            maglev_size: Size::new(size).unwrap(),
            hash_seed,
            dispatch,
            ..Options::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    /// Two nodes with one planner, each at its own pace through states of its own.
    #[test]
    fn every_write_leaves_tables_that_can_be_used(
        steps in proptest::collection::vec((any::<bool>(), states(), options()), 1..8),
        epoch in prop_oneof![Just(0), Just(u32::MAX)],
    ) {
        let mut planner = Planner::default();
        let mut nodes = [Desired::default(), Desired::default()];
        nodes[0].config.epoch = epoch;
        for (second, state, options) in &steps {
            let tables = &mut nodes[usize::from(*second)];
            let name = if *second { "b" } else { "a" };
            let to = planner.plan(state, name, &Numbered, options);
            match walk(tables, &to) {
                Ok((new, _)) => *tables = new,
                Err(text) => prop_assert!(false, "{}", text),
            }
            prop_assert_eq!(diff(tables, &to), vec![]);
        }
    }
}

/// Plans of two states by one planner.
fn plans(states: &[(State, Options)]) -> Vec<Desired> {
    let mut planner = Planner::default();
    states.iter().map(|(state, options)| planner.plan(state, "a", &Numbered, options)).collect()
}

fn state(services: &[(PortName, ServicePort)]) -> State {
    State { services: services.iter().cloned().collect(), ..State::default() }
}

const MAGLEV: Option<Algorithm> = Some(Algorithm::Maglev);

#[test]
fn a_slice_changes_hands_behind_its_old_owner() {
    // Slice 0 is that of the first service, then that of the second.
    let old = state(&[service(1, false, MAGLEV, &[(1, 0), (2, 0)])]);
    let new = state(&[service(2, false, MAGLEV, &[(3, 0), (4, 0)])]);
    let options = Options::default();
    let plans = plans(&[(old, options.clone()), (new, options)]);
    let (_, writes) = walk(&plans[0], &plans[1]).unwrap();
    let first = writes.iter().position(|write| matches!(write, Write::Maglev(..))).unwrap();
    let gone = writes
        .iter()
        .position(|write| matches!(write, Write::Service(key, None) if is_master(key)));
    assert!(gone.unwrap() < first);
}

#[test]
fn two_services_that_swap_slices_choose_at_random_meanwhile() {
    let one = service(1, false, MAGLEV, &[(1, 0), (2, 0)]);
    let two = service(2, false, MAGLEV, &[(3, 0), (4, 0)]);
    let both = state(&[one.clone(), two.clone()]);
    let options = Options::default();
    let mut planner = Planner::default();
    let mut plan = |state: &State| planner.plan(state, "a", &Numbered, &options);
    let before = plan(&both);
    plan(&state(&[two]));
    plan(&state(&[]));
    plan(&state(&[service(2, false, MAGLEV, &[(3, 0), (4, 0)])]));
    let after = plan(&both);
    assert_ne!(before.services, after.services);
    let (_, writes) = walk(&before, &after).unwrap();
    let random = |write: &&Write| matches!(write, Write::Service(_, Some(master)) if master.count == 2 && !is_maglev(master));
    assert_eq!(writes.iter().filter(random).count(), 2);
}

#[test]
fn a_backend_passes_from_one_scope_to_the_other() {
    // At first backend 1 serves the cluster, then, draining, only clients outside, since nobody else is on
    // its node.
    let old = service(1, false, None, &[(1, 0)]);
    let mut new = service(1, false, None, &[(1, 1), (3, 0)]);
    shape(1, 1 | 1 << 8, &mut new.1);
    let options = Options::default();
    let plans = plans(&[(state(&[old]), options.clone()), (state(&[new]), options)]);
    let bits = |plan: &Desired| plan.members[&Member { service: 1, backend: 1 }];
    assert_eq!((bits(&plans[0]), bits(&plans[1])), (1 | Member::CLUSTER, 2 | Member::LOCAL));
    walk(&plans[0], &plans[1]).unwrap();
    walk(&plans[1], &plans[0]).unwrap();
}

#[test]
fn another_size_of_the_maglev_table() {
    let cluster =
        state(&[service(1, true, MAGLEV, &[(1, 0)]), service(2, true, MAGLEV, &[(2, 0)])]);
    let sized = |size| Options { maglev_size: Size::new(size).unwrap(), ..Options::default() };
    let plans = plans(&[(cluster.clone(), sized(251)), (cluster, sized(11))]);
    walk(&plans[0], &plans[1]).unwrap();
    walk(&plans[1], &plans[0]).unwrap();
}

#[test]
fn the_order_of_a_small_change() {
    // Backend 2 starts to drain, backend 3 comes.
    let old = state(&[service(1, false, None, &[(1, 0), (2, 0)])]);
    let new = state(&[service(1, false, None, &[(2, 1), (3, 0)])]);
    let options = Options::default();
    let plans = plans(&[(old, options.clone()), (new, options)]);
    let (_, writes) = walk(&plans[0], &plans[1]).unwrap();
    let shown: Vec<String> = writes
        .iter()
        .map(|write| match write {
            Write::Backend(id, Some(backend)) => format!("backend {id} state {}", backend.state),
            Write::Backend(id, None) => format!("no backend {id}"),
            Write::Service(key, Some(service)) if is_slot(key) => {
                format!("slot {} is {}", key.slot, service.backend)
            }
            Write::Service(key, None) if is_slot(key) => format!("no slot {}", key.slot),
            Write::Service(_, Some(service)) => format!("count {}", service.count),
            Write::Member(member, Some(_)) => format!("member {}", member.backend),
            Write::Member(member, None) => format!("no member {}", member.backend),
            Write::Config(config) => format!("epoch {}", config.epoch),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(
        shown,
        [
            "backend 3 state 0",
            "member 3",
            "slot 1 is 3",
            "count 1",
            "no slot 2",
            "no member 1",
            "no member 2",
            "backend 2 state 1",
            "no backend 1",
            "epoch 1"
        ]
    );
}

#[test]
fn a_write_that_fails_stops_the_rest() {
    struct Broken(u32);
    impl Target for Broken {
        type Error = u32;
        fn write(&mut self, _: &Write) -> Result<(), u32> {
            self.0 += 1;
            if self.0 == 2 { Err(self.0) } else { Ok(()) }
        }
    }
    let mut target = Broken(0);
    assert_eq!(apply(&mut target, &[Write::Maglev(0, 0); 3]), Err(2));
    assert_eq!(target.0, 2);
}

#[test]
fn the_last_backend_goes() {
    let old = state(&[service(1, true, MAGLEV, &[(1, 0)])]);
    let new = state(&[service(1, true, MAGLEV, &[])]);
    let options = Options::default();
    let plans = plans(&[(old, options.clone()), (new, options)]);
    walk(&plans[0], &plans[1]).unwrap();
    walk(&plans[1], &plans[0]).unwrap();
    assert_eq!(diff(&plans[1], &plans[1]), vec![]);
}
