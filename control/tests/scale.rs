//! A large cluster: 10,000 services with two endpoints each, from bytes to writes.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use twinpath_control::diff::diff;
use twinpath_control::maglev::Size;
use twinpath_control::model::{Pod, State};
use twinpath_control::read::read;
use twinpath_control::tables::{Desired, Devices, Options, Planner};
use twinpath_core::service::Algorithm;

const SERVICES: usize = 10_000;

struct NoDevices;

impl Devices for NoDevices {
    fn pod(&self, _node: &str, _pod: &Pod) -> Option<u32> {
        None
    }

    fn uplink(&self, _node: &str) -> u32 {
        2
    }
}

/// What `kubectl get svc,endpointslices -A -o json` prints; one backend is `last`.
fn dump(last: u8) -> String {
    let mut items = Vec::new();
    for number in 0..SERVICES {
        let (high, low) = (number / 250, number % 250 + 1);
        let metadata = format!(
            r#""creationTimestamp":"2026-11-01T10:00:00Z","generation":1,"namespace":"ns-{}","resourceVersion":"{number}","uid":"00000000-0000-4000-8000-{number:012}""#,
            number % 100
        );
        items.push(format!(
            r#"{{"apiVersion":"v1","kind":"Service","metadata":{{"labels":{{"app":"app-{number}"}},"name":"app-{number}",{metadata}}},"spec":{{"clusterIP":"10.96.{high}.{low}","clusterIPs":["10.96.{high}.{low}"],"internalTrafficPolicy":"Cluster","ipFamilies":["IPv4"],"ipFamilyPolicy":"SingleStack","ports":[{{"name":"http","port":80,"protocol":"TCP","targetPort":8080}}],"selector":{{"app":"app-{number}"}},"sessionAffinity":"None","type":"ClusterIP"}},"status":{{"loadBalancer":{{}}}}}}"#
        ));
        let mut endpoints = String::new();
        for (index, net) in [244, 245].into_iter().enumerate() {
            let low = if number == 0 && index == 1 { usize::from(last) } else { low };
            let comma = if index == 0 { "" } else { "," };
            let _ = write!(
                endpoints,
                r#"{comma}{{"addresses":["10.{net}.{high}.{low}"],"conditions":{{"ready":true,"serving":true,"terminating":false}},"nodeName":"node-{}","targetRef":{{"kind":"Pod","name":"app-{number}-{index}","namespace":"ns-{}"}}}}"#,
                number % 50,
                number % 100
            );
        }
        items.push(format!(
            r#"{{"addressType":"IPv4","apiVersion":"discovery.k8s.io/v1","endpoints":[{endpoints}],"kind":"EndpointSlice","metadata":{{"labels":{{"kubernetes.io/service-name":"app-{number}"}},"name":"app-{number}-x","ownerReferences":[{{"apiVersion":"v1","kind":"Service","name":"app-{number}"}}],{metadata}}},"ports":[{{"name":"http","port":8080,"protocol":"TCP"}}]}}"#
        ));
    }
    format!(r#"{{"apiVersion":"v1","items":[{}],"kind":"List","metadata":{{}}}}"#, items.join(","))
}

#[test]
fn ten_thousand_services() {
    let (before, after) = (dump(1), dump(254));
    let mut planner = Planner::default();
    let mut from = Desired::default();
    let mut total = Duration::ZERO;
    for (what, text, algorithm, expected) in [
        ("from nothing", &before, Algorithm::Random, 80_002),
        ("one endpoint changes", &after, Algorithm::Random, 6),
        ("nothing changes", &after, Algorithm::Random, 0),
        ("all by Maglev", &after, Algorithm::Maglev, 1 + SERVICES * (1 + 31)),
    ] {
        let start = Instant::now();
        let mut last = start;
        let mut lap = || {
            let lap = last.elapsed();
            last = Instant::now();
            lap
        };
        let objects = read("dump.json", text.as_bytes()).unwrap();
        let reading = lap();
        let (state, problems) = State::new(&objects);
        let checking = lap();
        assert_eq!(problems, []);
        assert_eq!(state.services.len(), SERVICES);
        let options =
            Options { algorithm, maglev_size: Size::new(31).unwrap(), ..Options::default() };
        let to = planner.plan(&state, "node-1", &NoDevices, &options);
        let planning = lap();
        let writes = diff(&from, &to);
        let diffing = lap();
        println!(
            "{what}, {:.1} MB: read {reading:?}, check {checking:?}, plan {planning:?}, \
             diff {diffing:?}, {} writes",
            text.len() as f64 / 1e6,
            writes.len()
        );
        // At first: service, address, two slots, two backends and two members each, the size of Maglev
        // slices, the epoch.
        assert_eq!(writes.len(), expected, "{what}");
        assert_eq!(to.backends.len(), 2 * SERVICES);
        from = to;
        from.config.epoch = 0;
        total += start.elapsed();
    }
    // Far more than a slow machine needs without optimisation, far less than quadratic work would.
    assert!(total < Duration::from_secs(60), "{total:?}");
}
