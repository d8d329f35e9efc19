use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use etherparse::PacketBuilder;
use serde_json::Value;
use twinpath_control::model::{
    Endpoint, Frontend, FrontendKind, Node, PortName, Protocol, ServicePort, State,
};
use twinpath_control::objects::ObjectName;
use twinpath_control::tables::Options;
use twinpath_core::service::Algorithm;
use twinpath_sim::frame::Frame;
use twinpath_sim::topology::Topology;

use super::*;
use crate::capture::{LinkError, LinkType};
use crate::cluster::{Change, Cluster};
use crate::moment::Moment;
use crate::replay::feed::Captured;
use crate::replay::{At, Replay};
use crate::report::books::Books;
use crate::report::html::check::{alone, elements, words};
use crate::worlds::{Stage, simulator};

/// A packet: when, its bytes, how long it was, and what is wrong with it.
struct One {
    time: u64,
    bytes: Vec<u8>,
    length: u32,
    broken: Option<LinkError>,
}

/// 2026-01-01 00:00:00 UTC.
const START: u64 = 1_767_225_600_000_000_000;
const MILLI: u64 = 1_000_000;

fn at(milli: u64, bytes: Vec<u8>) -> One {
    One { time: START + milli * MILLI, length: bytes.len() as u32, bytes, broken: None }
}

fn packet(from: &str, to: &str, is_tcp: bool) -> Vec<u8> {
    let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
    let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let ip = match (from.ip(), to.ip()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => link.ipv4(a.octets(), b.octets(), 64),
        (IpAddr::V6(a), IpAddr::V6(b)) => link.ipv6(a.octets(), b.octets(), 64),
        _ => panic!("two families"),
    };
    let mut bytes = Vec::new();
    if is_tcp {
        ip.tcp(from.port(), to.port(), 1, 1_000).syn().write(&mut bytes, b"").unwrap();
    } else {
        ip.udp(from.port(), to.port()).write(&mut bytes, b"hello").unwrap();
    }
    bytes
}

fn name(namespace: &str, name: &str, port: &str) -> PortName {
    PortName {
        service: ObjectName::new(namespace, name),
        port: port.into(),
        protocol: Protocol::Tcp,
    }
}

fn service(address: &str, port: u16, endpoints: Vec<Endpoint>) -> ServicePort {
    let frontend =
        Frontend { kind: FrontendKind::ClusterIp, address: address.parse().unwrap(), port };
    ServicePort { port, frontends: vec![frontend], endpoints, ..ServicePort::default() }
}

fn endpoint(address: &str, ready: bool) -> Endpoint {
    Endpoint {
        ready,
        node: Some("node-1".into()),
        pod: Some(ObjectName::new("default", &format!("pod-{address}"))),
        ..Endpoint::new(address.parse().unwrap(), 8_080)
    }
}

/// Two backends of `web`, and three of `api` that are not ready.
fn small() -> Cluster {
    let mut state = State::default();
    for node in ["node-1", "node-2"] {
        state.nodes.insert(node.into(), Node::default());
    }
    let web = ["10.244.1.11", "10.244.1.12"].map(|address| endpoint(address, true));
    let api = ["10.244.1.21", "10.244.1.22"].map(|address| endpoint(address, false));
    state.services.insert(name("default", "web", "http"), service("10.96.0.80", 80, web.into()));
    state.services.insert(name("default", "api", ""), service("10.96.0.11", 443, api.into()));
    with_pods(state)
}

fn with_pods(mut state: State) -> Cluster {
    let all: Vec<Endpoint> =
        state.services.values().flat_map(|port| port.endpoints.clone()).collect();
    for endpoint in all {
        let pod = twinpath_control::model::Pod {
            name: endpoint.pod.clone().unwrap(),
            addresses: vec![endpoint.address],
            node: endpoint.node.clone().unwrap(),
            host_network: false,
        };
        state.pods.insert(pod.name.clone(), pod);
    }
    Cluster {
        state,
        source: "test.yaml".into(),
        changes: Vec::new(),
        derived: false,
        notes: Vec::new(),
        options: Options::default(),
    }
}

/// The page of these packets.
fn page_of(cluster: &Cluster, packets: &[One], options: &Options, complete: bool) -> String {
    let topology = Topology::new(&cluster.everything());
    let mut stage = simulator(topology, &cluster.state, options.clone(), 1).unwrap();
    let mut names = Stage::names(&mut stage, &cluster.state);
    for change in &cluster.changes {
        names.services.extend(Stage::names(&mut stage, &change.state).services);
    }
    let context = Context::new(names, cluster, 1, "sim");
    let mut replay = Replay::new(stage, cluster, At::default());
    let mut gather = Gather::new(cluster, &context.names, options, &["0.5=after.yaml".into()]);
    let mut frame = Frame::default();
    for One { time, bytes, length, broken } in packets {
        let captured = Captured {
            timestamp: *time,
            data: bytes,
            original_len: *length,
            broken: broken.as_ref(),
            ..Captured::default()
        };
        replay.packet(&captured, &mut frame, &mut ()).unwrap();
        gather.packet(&replay, replay.totals.packets, &captured);
    }
    gather.end(&replay);
    let run = Run {
        totals: &replay.totals,
        flows: replay.flows(),
        shown: None,
        books: &Books::default(),
        complete,
        paths: &[],
    };
    let page = Page {
        context: &context,
        run: &run,
        gather: &gather,
        states: &[],
        command: "twinpath replay 'a <b>.pcap'",
        explain: Some("twinpath explain 'a <b>.pcap'"),
        warnings: &["warning: a <b>.pcap is cut".to_owned()],
    };
    let html = page.html();
    assert_eq!(html, page.html());
    elements(&html);
    alone(&html);
    html
}

fn incident() -> Vec<One> {
    let mut packets = Vec::new();
    for n in 0..40 {
        packets.push(at(
            n * 20,
            packet(&format!("10.244.1.101:{}", 30_000 + n), "10.96.0.80:80", true),
        ));
    }
    for n in 0..3 {
        packets.push(at(
            400 + n,
            packet(&format!("10.244.1.101:{}", 40_000 + n), "10.96.0.11:443", true),
        ));
    }
    packets.push(at(500, packet("10.244.1.101:50000", "10.96.0.80:81", true)));
    packets.push(at(501, packet("10.96.0.80:80", "10.244.1.102:1000", true)));
    let mut cut = at(502, packet("10.244.1.101:30000", "10.96.0.80:80", true));
    cut.length += 100;
    packets.push(cut);
    let mut arp = vec![0xff; 12];
    arp.extend([8, 6]);
    arp.extend([0; 28]);
    packets.push(at(503, arp));
    packets
        .push(One { broken: Some(LinkError::Unsupported(LinkType(105))), ..at(504, Vec::new()) });
    packets.push(at(100, packet("10.244.1.101:30000", "10.96.0.80:80", true)));
    packets
}

#[test]
fn a_small_page_reads_as_it_should() {
    let page = page_of(&small(), &incident(), &Options::default(), true);
    insta::assert_snapshot!(words(&page).replace(env!("CARGO_PKG_VERSION"), "VERSION"));
}

#[test]
fn the_parts_are_in_the_order_in_which_they_are_asked_for() {
    let page = page_of(&small(), &incident(), &Options::default(), true);
    let mut last = 0;
    for part in ["inputs", "time", "drops", "shares", "moved", "tables", "unknown"] {
        let at = page.find(&format!("<section id=\"{part}\">")).unwrap();
        assert!(at > last, "{part}");
        last = at;
    }
    assert!(page.contains("href=\"#packet-41\"") && page.contains("id=\"packet-41\""));
    let data = page.split_once("id=\"data\">").unwrap().1.split_once("</script>").unwrap().0;
    let data: Value = serde_json::from_str(data).unwrap();
    assert_eq!((&data["packets"], &data["drops"][0]["first"]), (&49.into(), &41.into()));
    assert_eq!(data["command"], "twinpath replay 'a <b>.pcap'");
}

#[test]
fn one_packet_and_no_service_have_a_page() {
    let none = with_pods(State::default());
    let nodes = {
        let mut state = State::default();
        state.nodes.insert("node-1".into(), Node::default());
        with_pods(state)
    };
    let options = Options::default();
    let said = words(&page_of(&none, &[], &options, true));
    assert!(said.contains("No packet was replayed."), "{said}");
    let one = [at(0, packet("10.0.0.1:1", "10.0.0.2:2", true))];
    let said = words(&page_of(&nodes, &one, &options, true));
    assert!(said.contains("1 packet: none was dropped; 1 forwarded as they were."), "{said}");
    assert!(said.contains("No connection was given to a backend."), "{said}");
    let said = words(&page_of(&small(), &incident()[40..41], &options, false));
    assert!(
        said.contains("1 packet: 1 dropped because default/api has no ready endpoint."),
        "{said}"
    );
    assert!(said.contains("all of this is about the first 1 packet."), "{said}");
}

#[test]
fn names_are_text_and_not_markup_however_they_read() {
    let evil = "</script><img onerror=alert(1)>\"'&";
    let mut cluster = small();
    let port = cluster.state.services.remove(&name("default", "web", "http")).unwrap();
    cluster.state.services.insert(name(evil, &"x".repeat(300), evil), port);
    cluster.source = evil.into();
    let packets = incident();
    let options = Options::default();
    let text = words(&page_of(&cluster, &packets, &options, true));
    assert!(text.contains("&lt;img onerror=alert(1)&gt;"), "{text}");
}

#[test]
fn ten_thousand_services_are_cut_at_a_number_that_is_said() {
    let mut cluster = small();
    let endpoints = ["10.244.1.11", "10.244.1.12"].map(|address| endpoint(address, true));
    let mut packets = Vec::new();
    for n in 0..10_000_u32 {
        let address = format!("10.97.{}.{}", n / 250, n % 250 + 1);
        let ready = if n % 2 == 0 { endpoints.to_vec() } else { Vec::new() };
        cluster
            .state
            .services
            .insert(name("many", &format!("s{n}"), ""), service(&address, 80, ready));
        if n < 1_000 {
            let from = format!("10.244.1.101:{}", 1_024 + n);
            packets.push(at(u64::from(n), packet(&from, &format!("{address}:80"), true)));
        }
    }
    let page = page_of(&cluster, &packets, &Options::default(), true);
    assert!(page.len() < 400_000, "{}", page.len());
    let said = words(&page);
    assert!(said.contains("and 476 more services, with fewer connections"), "{said}");
    assert!(said.contains("and 450 more pairs of a reason and a service"), "{said}");
    assert!(said.contains("10,002 service ports"), "{said}");
}

#[test]
fn times_without_order_and_ipv6_are_shown() {
    let mut state = small().state;
    let ready = ["fd00:10:244::11", "fd00:10:244::12"].map(|address| endpoint(address, true));
    state.services.insert(name("default", "six", ""), service("fd00:10:96::1", 80, ready.into()));
    let cluster = with_pods(state);
    let client = Ipv6Addr::new(0xfd00, 0x10, 0x244, 0, 0, 0, 0, 0x101);
    let times = [5, 0, u64::MAX, 3_600_000_000_000, 1];
    let packets: Vec<One> = times
        .iter()
        .enumerate()
        .map(|(n, time)| {
            let from = SocketAddr::new(client.into(), 2_000 + n as u16).to_string();
            One { time: *time, ..at(0, packet(&from, "[fd00:10:96::1]:80", true)) }
        })
        .collect();
    let said = words(&page_of(&cluster, &packets, &Options::default(), true));
    assert!(said.contains("5 packets: none was dropped; 5 translated."), "{said}");
    assert!(said.contains("IPv6 conntrack, entries per node"), "{said}");
    assert!(said.contains("packets with a time before that of an earlier one"), "{said}");
    assert!(said.contains("[fd00:10:244::11]:8080"), "{said}");
}

#[test]
fn a_change_of_the_cluster_is_counted_into_what_is_expected() {
    let mut cluster = small();
    let mut after = cluster.state.clone();
    let web = after.services.get_mut(&name("default", "web", "http")).unwrap();
    web.endpoints.pop();
    let late = cluster.state.clone();
    cluster.changes = vec![
        Change { at: Moment::After(500 * MILLI), state: after },
        Change { at: Moment::After(1_000_000 * MILLI), state: late },
    ];
    let options = Options::default();
    let packets: Vec<One> = (0..1_000)
        .map(|n| at(n, packet(&format!("10.244.1.101:{}", 20_000 + n), "10.96.0.80:80", true)))
        .collect();
    let page = page_of(&cluster, &packets, &options, true);
    let said = words(&page);
    assert!(said.contains("1: the cluster changes (--then 0.5=after.yaml)"), "{said}");
    assert!(said.contains("lies behind the last packet"), "{said}");
    assert!(said.contains("which backends could be chosen differs"), "{said}");
    assert!(said.contains("Of 2 backends, all are within their 95 % bands."), "{said}");
    // 500 among two, 500 for the one that is left.
    let data = page.split_once("id=\"data\">").unwrap().1.split_once("</script>").unwrap().0;
    let data: Value = serde_json::from_str(data).unwrap();
    let expected: Vec<f64> = data["shares"][0]["backends"]
        .as_array()
        .unwrap()
        .iter()
        .map(|backend| backend["expected"].as_f64().unwrap())
        .collect();
    assert_eq!(expected, [750.0, 250.0]);
}

#[test]
fn maglev_is_expected_to_share_as_its_table_does_and_affinity_as_nobody_knows() {
    let mut cluster = small();
    let options = Options { algorithm: Algorithm::Maglev, ..Options::default() };
    let packets = incident();
    let page = page_of(&cluster, &packets, &options, true);
    let said = words(&page);
    assert!(said.contains("by Maglev, in proportion to the entries of its table"), "{said}");
    let data = page.split_once("id=\"data\">").unwrap().1.split_once("</script>").unwrap().0;
    let data: Value = serde_json::from_str(data).unwrap();
    let expected = |n: usize| data["shares"][0]["backends"][n]["expected"].as_f64().unwrap();
    // 1021 entries cannot be halved.
    let ends = [expected(0), expected(1)].map(|part| (part / 40.0 * 1_021.0).round() as u32);
    assert_eq!((ends.iter().sum::<u32>(), ends.contains(&510)), (1_021, true), "{ends:?}");
    let web = cluster.state.services.get_mut(&name("default", "web", "http")).unwrap();
    web.affinity = Some(10_800);
    let said = words(&page_of(&cluster, &packets, &options, true));
    assert!(said.contains("it has client affinity"), "{said}");
    assert!(said.contains("For no service is it known what share"), "{said}");
}

#[test]
fn what_chance_alone_would_not_do_is_named() {
    use std::collections::BTreeMap;
    use twinpath_control::model::Client;

    let cluster = small();
    let options = Options::default();
    let topology = Topology::new(&cluster.state);
    let mut stage = simulator(topology, &cluster.state, options.clone(), 1).unwrap();
    let names = Stage::names(&mut stage, &cluster.state);
    let (service, _) =
        names.services.iter().find(|(_, known)| known.service.name == "web").unwrap();
    let backends: Vec<u32> = names.backends.keys().copied().collect();
    let mut gather = Gather::new(&cluster, &names, &options, &[]);
    gather.end(&Replay::new(stage, &cluster, At::default()));
    let group = gather::Group {
        service: *service,
        epoch: 0,
        node: 0,
        frontend: FrontendKind::ClusterIp,
        client: Client::Internal,
        is_ipv4: true,
    };
    gather.groups.insert(group, 100);
    for (first, out, far) in [(50, false, false), (39, true, false), (20, true, true)] {
        let counts = BTreeMap::from([
            ((*service, backends[0]), first),
            ((*service, backends[1]), 100 - first),
        ]);
        let all = shares::shares(&gather, &counts);
        assert_eq!((all.len(), all[0].connections), (1, 100));
        for share in &all[0].backends {
            assert_eq!((share.is_out(), share.is_far), (out, far), "{first}: {share:?}");
            assert_eq!(share.band.unwrap().expected, 50.0);
        }
    }
    // One that was given everything: the other is there, with nothing.
    let all = shares::shares(&gather, &BTreeMap::from([((*service, backends[0]), 100)]));
    assert_eq!(all[0].backends.len(), 2);
    assert!(all[0].backends.iter().all(|share| share.is_far));
    // Not all connections are told of: nothing is expected.
    let all = shares::shares(&gather, &BTreeMap::from([((*service, backends[0]), 101)]));
    assert!(all[0].backends.iter().all(|share| share.band.is_none() && !share.is_far));
}
