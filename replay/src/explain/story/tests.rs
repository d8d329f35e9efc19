//! Whatever the packet and the cluster, there is something to say, and it is the outcome's.

use std::path::PathBuf;
use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::prelude::*;
use twinpath_control::tables::Options;

use super::*;
use crate::cluster::Cluster;
use crate::cluster::load::load;
use crate::explain::pick::typed;
use crate::explain::stage::SpyStage;
use crate::explain::text::{self, Look};
use crate::explain::{json, kube_proxy::kube_proxy, why::why};
use crate::replay::feed::Captured;
use crate::replay::{At, Replay};

/// Addresses of everything that there is in the cluster, and of what there is not.
const ENDS: [&str; 20] = [
    "10.244.1.10:4000",
    "10.244.1.11:8080",
    "10.244.2.11:8080",
    "10.96.0.80:80",
    "10.96.0.81:80",
    "10.96.0.82:80",
    "10.96.0.83:80",
    "203.0.113.83:80",
    "198.51.100.9:4001",
    "192.0.2.9:4001",
    "192.168.0.1:30084",
    "192.168.0.2:30083",
    "192.168.0.1:4000",
    "10.96.0.85:80",
    "10.96.0.86:80",
    "10.96.0.87:80",
    "10.96.0.88:80",
    "10.96.0.99:80",
    "10.96.0.53:53",
    "8.8.8.8:53",
];
const ENDS6: [&str; 5] = [
    "[fd00:10:244:1::10]:4000",
    "[fd00:10:244:2::11]:8080",
    "[fd00:10:96::80]:80",
    "[fd00:192:168::1]:30083",
    "[2001:db8::9]:53",
];
const FLAGS: [&str; 7] = ["S", "SA", "A", "FA", "R", "SF", "PA"];

static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/clusters/reasons.yaml");
    load(&[path]).unwrap()
});

fn packet() -> impl Strategy<Value = Vec<u8>> {
    let four = (0..ENDS.len(), 0..ENDS.len()).prop_map(|(a, b)| (ENDS[a], ENDS[b]));
    let six = (0..ENDS6.len(), 0..ENDS6.len()).prop_map(|(a, b)| (ENDS6[a], ENDS6[b]));
    let ends = prop_oneof![4 => four, 1 => six];
    let damage = vec((0..80_usize, any::<u8>()), 0..4);
    let harmless = prop_oneof![2 => Just(Vec::new()), 1 => damage];
    let cut = prop_oneof![6 => Just(usize::MAX), 1 => 0..60_usize];
    (ends, 0..3_u8, 0..FLAGS.len(), prop_oneof![5 => Just(64_u8), 1 => 0..3_u8], harmless, cut)
        .prop_map(|((source, destination), protocol, flags, ttl, damage, cut)| {
            let host = |end: &str| end.rsplit_once(':').unwrap().0.replace(['[', ']'], "");
            let text = match protocol {
                0 => format!("tcp {source} > {destination} {} ttl {ttl}", FLAGS[flags]),
                1 => format!("udp {source} > {destination} ttl {ttl} len 9"),
                _ => format!("icmp {} > {} ttl {ttl}", host(source), host(destination)),
            };
            let mut bytes = typed(&text).unwrap().bytes;
            for (at, byte) in damage {
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
            bytes.truncate(cut);
            bytes
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn any_packets_in_any_cluster(
        packets in vec(packet(), 1..12),
        endpoints in vec(0..4_u8, 40),
        policies in vec(any::<(bool, bool)>(), 10),
        mtu in prop_oneof![2 => Just(0_u32), 1 => Just(50)],
    ) {
        let mut cluster = CLUSTER.clone();
        let mut bits = endpoints.iter().cycle();
        for (port, (external, internal)) in cluster.state.services.values_mut().zip(&policies) {
            let policy = |local: bool| if local { TrafficPolicy::Local } else { TrafficPolicy::Cluster };
            (port.external_policy, port.internal_policy) = (policy(*external), policy(*internal));
            for endpoint in &mut port.endpoints {
                let bits = bits.next().unwrap();
                endpoint.ready = *bits == 0;
                endpoint.serving = *bits < 3;
                endpoint.terminating = *bits > 1;
            }
        }
        let options = Options::default();
        let maglev_size = options.maglev_size.get();
        let mut topology = Topology::new(&cluster.state);
        topology.mtu = mtu;
        let mut stage = SpyStage::new(topology, &cluster.state, options, 1).unwrap();
        let names = crate::worlds::Stage::names(&mut stage, &cluster.state);
        let mut replay = Replay::new(stage, &cluster, At::default());
        replay.stage.spy(true);
        for data in &packets {
            let original_len = data.len() as u32;
            let packet = Captured { timestamp: 1, data, original_len, ..Captured::default() };
            let mut log = replay.stage.log();
            replay.packet(&packet, &mut Frame::default(), &mut log).unwrap();
            let story = Story {
                number: Some(replay.totals.packets),
                now: 1,
                captured: Frame::new(data.clone()),
                have: data.len(),
                broken: None,
                outcome: replay.outcome,
                events: log.take(),
                topology: crate::worlds::Stage::topology(&replay.stage),
                state: replay.stage.state(),
                names: &names,
                maglev_size,
            };
            let mut output = Vec::new();
            text::write(&mut output, &story, Look { colour: true, verbose: true }).unwrap();
            json::write(&mut output, &story).unwrap();
            prop_assert!(!why(&story).is_empty());
            // What a hook has dropped has a place in the sources, and that reason.
            if let Some(Fate::Dropped(node, hook, reason)) = story.fate() {
                let dropped = story.dropped().unwrap();
                prop_assert_eq!((dropped.node, dropped.hook, dropped.reason), (node, hook, reason));
                prop_assert!(!dropped.sites.is_empty());
            }
            // Where there is no endpoint, kube-proxy refuses or drops just as the datapath does.
            if let (Some(DropReason::ServiceBackendNotFound), Some(said)) =
                (story.outcome.reason, kube_proxy(&story))
            {
                let answered = story.dropped().is_some_and(|d| d.answer != Answer::None);
                let expected = if answered { "reject" } else { "drop" };
                if !said.deviations.contains(&26) && !said.deviations.contains(&5)
                    && !said.deviations.contains(&39)
                {
                    prop_assert_eq!(said.verdict, expected, "{}", text_of(&story));
                }
            }
        }
    }
}

fn text_of(story: &Story<'_>) -> String {
    let mut output = Vec::new();
    text::write(&mut output, story, Look::default()).unwrap();
    String::from_utf8(output).unwrap()
}
