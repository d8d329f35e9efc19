use proptest::prelude::*;
use serde_json::{Value, json};
use twinpath_core::service::Algorithm;

use super::*;
use crate::diff::tests::check;
use crate::maglev::Size;
use crate::model::Range;
use crate::tables::{Dispatch, Mode};

mod cases;

/// The device of a pod follows from its name; some have none.
struct ByNumber;

impl Devices for ByNumber {
    fn pod(&self, _node: &str, pod: &model::Pod) -> Option<u32> {
        let last = u32::from(pod.name.name.bytes().last()?);
        (last % 5 != 4).then_some(last)
    }

    fn uplink(&self, _node: &str) -> u32 {
        2
    }
}

fn object<T: serde::de::DeserializeOwned>(value: Value) -> Object<T> {
    Object { file: "f".into(), value: serde_json::from_value(value).unwrap() }
}

fn pick<T: Copy>(list: &[T], number: u32) -> T {
    list[number as usize % list.len()]
}

/// Bits of a random number, taken one by one.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32 % bound
    }

    /// Once in so many times.
    fn once_in(&mut self, times: u32) -> bool {
        self.below(times) == 0
    }
}

fn service(number: u32, dice: &mut Dice) -> Value {
    let name = format!("s{number}");
    // Mostly its own address, sometimes one that others want, too.
    let own = format!("10.96.0.{number}");
    let address = if dice.once_in(6) { "10.96.0.99".to_owned() } else { own };
    let mut addresses = vec![address];
    if dice.once_in(2) {
        addresses.push(format!("fd00:96::{number}"));
    }
    let kind = pick(&["ClusterIP", "ClusterIP", "NodePort", "LoadBalancer"], dice.below(4));
    let ports: Vec<Value> = (0..1 + dice.below(2))
        .map(|index| {
            let node_port = if dice.once_in(4) { 30_001 } else { 30_100 + number * 2 + index };
            json!({
                "name": format!("p{index}"),
                "port": if dice.once_in(5) { 80 } else { 8000 + index },
                "protocol": pick(&["TCP", "TCP", "UDP"], dice.below(3)),
                "nodePort": (kind != "ClusterIP").then_some(node_port),
            })
        })
        .collect();
    let policy = |dice: &mut Dice| pick(&["Cluster", "Local"], dice.below(2));
    let mut spec = json!({
        "type": kind,
        "clusterIPs": addresses,
        "ports": ports,
        "internalTrafficPolicy": policy(dice),
        "externalTrafficPolicy": policy(dice),
        "publishNotReadyAddresses": dice.once_in(8),
    });
    if dice.once_in(5) {
        // One of them is a node's.
        spec["externalIPs"] =
            json!([pick(&["192.0.2.9", "192.168.0.1", "192.168.0.2"], dice.below(3))]);
    }
    if kind == "LoadBalancer" && dice.once_in(2) {
        spec["healthCheckNodePort"] = json!(pick(&[32_000, 32_001, 30_001], dice.below(3)));
        spec["loadBalancerSourceRanges"] = json!(["203.0.113.0/28"]);
    }
    if dice.once_in(12) {
        spec["clusterIPs"] = json!(["None"]);
    }
    let mut annotations = json!({});
    if dice.once_in(2) {
        annotations["twinpath.dev/algorithm"] = json!(pick(&["random", "maglev"], dice.below(2)));
    }
    if dice.once_in(3) {
        annotations["twinpath.dev/forwarding-mode"] = json!(pick(&["snat", "dsr"], dice.below(2)));
    }
    json!({
        "metadata": {"name": name, "annotations": annotations},
        "spec": spec,
        "status": {"loadBalancer": {"ingress": [{"ip": format!("198.51.100.{}", dice.below(3))}]}},
    })
}

fn slice(number: u32, dice: &mut Dice) -> Value {
    let endpoints: Vec<Value> = (0..dice.below(4))
        .map(|_| {
            let pod = dice.below(8);
            let family = pick(&["10.244.0.", "fd00:244::"], dice.below(2));
            // Sometimes one that is on the network of its node.
            let address = if dice.once_in(8) { "192.168.0.1".to_owned() } else { format!("{family}{pod}") };
            let mut endpoint = json!({
                "addresses": [address],
                "conditions": {"ready": !dice.once_in(3), "serving": true, "terminating": dice.once_in(2)},
            });
            if !dice.once_in(6) {
                endpoint["nodeName"] = json!(pick(&["a", "b", "c"], pod));
                endpoint["targetRef"] = json!({"kind": "Pod", "name": format!("pod{pod}")});
            }
            if dice.once_in(3) {
                endpoint["hints"] = json!({"forZones": [{"name": pick(&["x", "y"], dice.below(2))}]});
            }
            endpoint
        })
        .collect();
    let ports: Vec<Value> = ["p0", "p1"]
        .iter()
        .map(|name| json!({"name": name, "port": 8080 + dice.below(2), "protocol": pick(&["TCP", "UDP"], dice.below(3) / 2)}))
        .collect();
    let service = if dice.once_in(8) { dice.below(5) } else { number % 5 };
    json!({
        "metadata": {"name": format!("e{number}"), "labels": {"kubernetes.io/service-name": format!("s{service}")}},
        "endpoints": endpoints,
        "ports": ports,
    })
}

fn endpoints(number: u32, dice: &mut Dice) -> Value {
    json!({
        "metadata": {"name": format!("s{number}")},
        "subsets": [{
            "addresses": [{"ip": format!("10.244.0.{}", dice.below(8)), "nodeName": "a",
                "targetRef": {"kind": "Pod", "name": "pod9"}}],
            "ports": [{"name": "p0", "port": 8080}],
        }],
    })
}

fn pod(number: u32, dice: &mut Dice) -> Value {
    let host_port = dice.once_in(6);
    // One of them has the name of a service.
    let name = if number == 0 { "s0".to_owned() } else { format!("pod{number}") };
    json!({
        "metadata": {"name": name},
        "spec": {
            "nodeName": pick(&["a", "b", "c", ""], dice.below(4)),
            "hostNetwork": dice.once_in(6),
            "containers": [{"ports": [{"containerPort": 8080,
                "hostPort": host_port.then(|| pick(&[8080, 30_001], dice.below(2)))}]}],
        },
        "status": {
            "phase": pick(&["Running", "Running", "Running", "Failed"], dice.below(4)),
            "podIPs": [{"ip": format!("10.244.{}.{number}", dice.below(2))}, {"ip": format!("fd00:244::{number}")}],
        },
    })
}

fn node(number: u32, dice: &mut Dice) -> Value {
    json!({
        "metadata": {"name": pick(&["a", "b", "c"], number),
            "labels": {"topology.kubernetes.io/zone": pick(&["x", "y"], dice.below(2))}},
        "spec": {"podCIDRs": if dice.once_in(2) { vec!["10.244.0.0/24"] } else { vec![] }},
        "status": {"addresses": [{"type": "InternalIP", "address": format!("192.168.0.{}", 1 + number)}]},
    })
}

fn change(dice: &mut Dice) -> Change {
    let gone = dice.once_in(4);
    let name = |name: String| ObjectName::new("default", &name);
    fn put<T: serde::de::DeserializeOwned>(gone: bool, value: Value) -> Option<Object<T>> {
        (!gone).then(|| object(value))
    }
    match dice.below(20) {
        0..8 => {
            let number = dice.below(5);
            Change::Service(name(format!("s{number}")), put(gone, service(number, dice)))
        }
        8..14 => {
            let number = dice.below(8);
            Change::EndpointSlice(name(format!("e{number}")), put(gone, slice(number, dice)))
        }
        14..15 => {
            let number = dice.below(5);
            Change::Endpoints(name(format!("s{number}")), put(gone, endpoints(number, dice)))
        }
        15..18 => {
            let number = dice.below(8);
            let value = pod(number, dice);
            let name = name(value["metadata"]["name"].as_str().unwrap_or_default().to_owned());
            Change::Pod(name, put(gone, value))
        }
        18..19 => {
            let number = dice.below(3);
            let name = ObjectName::new("", pick(&["a", "b", "c"], number));
            Change::Node(name, put(gone, node(number, dice)))
        }
        _ => {
            let cidr = json!({"metadata": {"name": "k"}, "spec": {"cidrs": ["10.96.0.0/16"]}});
            Change::ServiceCidr(ObjectName::new("", "k"), put(gone, cidr))
        }
    }
}

/// The same, in objects that nobody keeps tables of.
fn apply(objects: &mut Objects, change: Change) {
    match change {
        Change::Service(name, new) => drop(put(&mut objects.services, &name, new)),
        Change::EndpointSlice(name, new) => drop(put(&mut objects.slices, &name, new)),
        Change::Endpoints(name, new) => drop(put(&mut objects.endpoints, &name, new)),
        Change::Node(name, new) => drop(put(&mut objects.nodes, &name, new)),
        Change::Pod(name, new) => drop(put(&mut objects.pods, &name, new)),
        Change::ServiceCidr(name, new) => drop(put(&mut objects.service_cidrs, &name, new)),
    }
}

fn options() -> impl Strategy<Value = Options> {
    let algorithm = || prop_oneof![Just(Algorithm::Random), Just(Algorithm::Maglev)];
    let mode = prop_oneof![Just(Mode::Snat), Just(Mode::Dsr)];
    let dispatch = prop_oneof![Just(Dispatch::Ipip), Just(Dispatch::Option)];
    (algorithm(), algorithm(), mode, dispatch, any::<bool>()).prop_map(
        |(algorithm, external_algorithm, mode, dispatch, masquerade)| Options {
            algorithm,
            external_algorithm,
            mode,
            dispatch,
            masquerade,
            maglev_size: Size::new(7).unwrap(),
            reserved_ports: vec![30_000..=30_001, 8080..=8080],
            non_masquerade: vec![Range { address: [10, 244, 1, 1].into(), length: 32 }],
            ..Options::default()
        },
    )
}

/// Goes through changes with a keeper, and with whole plans beside; how many were made by parts.
fn walk(options: &Options, steps: &[Vec<Change>]) -> Result<usize, String> {
    let mut by_parts = 0;
    let mut keeper = Keeper::new("a", options.clone());
    let (mut planner, mut objects) = (Planner::default(), Objects::default());
    let (mut tables, mut expected) = (Desired::default(), Desired::default());
    for step in steps {
        let before = tables.clone();
        let Ok(update) = keeper.change(step.clone(), &ByNumber, &mut tables);
        by_parts += usize::from(!update.whole);

        step.iter().for_each(|change| apply(&mut objects, change.clone()));
        let (state, _) = State::new(&objects);
        let wanted = planner.plan(&state, "a", &ByNumber, options);
        let writes = diff(&expected, &wanted);
        let Ok(()) = crate::diff::apply(&mut expected, &writes);
        if update.writes != writes {
            return Err(format!("{:?} instead of {writes:?}, by {step:?}", update.writes));
        }
        if tables != expected || keeper.tables() != &expected {
            return Err(format!("{tables:?} instead of {expected:?}"));
        }
        let mut between = before.clone();
        for write in &update.writes {
            let Ok(()) = between.write(write);
            check(&between, &before, &wanted)?;
        }
        if keeper.names() != planner.names(&state) {
            return Err("the numbers stand for something else".to_owned());
        }
    }
    Ok(by_parts)
}

fn steps(seed: u64) -> Vec<Vec<Change>> {
    let mut dice = Dice(seed);
    let mut step = |_| (0..1 + dice.below(3)).map(|_| change(&mut dice)).collect();
    (0..30).map(&mut step).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    /// The same writes in the same order as whole plans give.
    #[test]
    fn parts_are_as_the_whole(options in options(), seed in any::<u64>()) {
        if let Err(text) = walk(&options, &steps(seed)) {
            prop_assert!(false, "{}", text);
        }
    }
}

#[test]
fn most_changes_are_made_by_parts() {
    let options = Options { maglev_size: Size::new(7).unwrap(), ..Options::default() };
    let made: usize = (0..20).map(|seed| walk(&options, &steps(seed)).unwrap()).sum();
    assert!(made > 20 * 30 / 3, "{made}");
}
