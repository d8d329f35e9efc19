//! `twinpath diff` as a command.

mod common;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{capture, fixture, tcp, udp, violation, write};
use serde_json::Value;
use tempfile::{TempDir, tempdir};
use twinpath_kernel::testing::skip;

const CLIENT: [u8; 4] = [198, 51, 100, 7];
const NODE_A: [u8; 4] = [192, 168, 0, 1];
const WEB: [u8; 4] = [10, 96, 0, 80];
const ECHO: [u8; 4] = [10, 96, 0, 7];
const POD: [u8; 4] = [10, 244, 1, 10];
const S: u8 = 2;

struct Ran {
    code: i32,
    text: String,
    stderr: String,
}

impl Ran {
    fn lines(&self) -> Vec<Value> {
        self.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn of(&self, kind: &str) -> Vec<Value> {
        self.lines().into_iter().filter(|line| line["type"] == kind).collect()
    }

    fn summary(&self) -> Value {
        self.lines().pop().unwrap()
    }
}

/// Runs `twinpath diff` in a folder.
fn diff(folder: &TempDir, arguments: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_twinpath"))
        .arg("diff")
        .args(arguments)
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Ran {
        code: output.status.code().unwrap(),
        text: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A folder with the recorded capture `c.pcap` and its cluster `a.json`, and with `b.json`, which has only
/// those endpoints that are `kept`.
fn folder(kept: impl Fn(&str) -> bool) -> TempDir {
    let folder = tempdir().unwrap();
    std::fs::copy(fixture("captures/clusterip.pcap"), folder.path().join("c.pcap")).unwrap();
    let text = std::fs::read_to_string(fixture("clusters/two-nodes.json")).unwrap();
    std::fs::write(folder.path().join("a.json"), &text).unwrap();
    let mut dump: Value = serde_json::from_str(&text).unwrap();
    for object in dump["items"].as_array_mut().unwrap() {
        if let Some(ends) = object.get_mut("endpoints").and_then(Value::as_array_mut) {
            ends.retain(|end| kept(end["addresses"][0].as_str().unwrap()));
        }
    }
    std::fs::write(folder.path().join("b.json"), dump.to_string()).unwrap();
    folder
}

/// All endpoints of one application: `11` is that of web, `12` of dns, `13` of echo.
fn of_application(address: &str, application: &str) -> bool {
    address.ends_with(&format!(".{application}")) || address.ends_with(&format!("::{application}"))
}

#[test]
fn a_cluster_does_not_differ_from_itself() {
    let folder = folder(|_| true);
    let ran = diff(&folder, &["c.pcap", "-f", "a.json", "--against", "b.json"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{}", ran.text);
    assert!(ran.text.starts_with("no difference in 386 packets, 63 flows\n"), "{}", ran.text);
    let ran = diff(&folder, &["c.pcap", "-f", "a.json", "--against", "b.json", "-o", "json"]);
    assert_eq!(ran.lines().len(), 1);
    assert_eq!(ran.summary()["clusters_differ"], Value::Array(vec![]));
    // Nor does one that was made up.
    let ran = diff(&folder, &["c.pcap", "--worlds", "sim,sim"]);
    assert_eq!(ran.code, 0, "{}{}", ran.text, ran.stderr);
}

#[test]
fn one_endpoint_less() {
    let folder = folder(|address| address != "10.244.1.13");
    let ran = diff(&folder, &["c.pcap", "-f", "a.json", "--against", "b.json"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (1, ""));
    insta::assert_snapshot!("one_endpoint_less", ran.text);
    let ran = diff(&folder, &["c.pcap", "-f", "a.json", "--against", "b.json", "-o", "json"]);
    let causes = ran.of("cause");
    let gone = &causes[0];
    assert_eq!(gone["says"], "backend 10.244.1.13:7007 takes no packets right");
    assert_eq!(gone["service"], "default/echo:echo/UDP");
    assert_eq!(gone["fields"], serde_json::json!(["backend"]));
    let summary = ran.summary();
    let moved = &summary["moved"].as_array().unwrap()[0];
    assert_eq!(moved["service"], "default/echo:echo/UDP");
    assert_eq!(moved["least"], gone["flows"], "those of the backend that is gone");
    assert_eq!(summary["different"], ran.of("diff").len());
    // The other way round, it is one more.
    let ran = diff(&folder, &["c.pcap", "-f", "b.json", "--against", "a.json", "-o", "json"]);
    let says = "backend 10.244.1.13:7007 takes packets only right";
    assert!(ran.of("cause").iter().any(|cause| cause["says"] == says), "{}", ran.text);
}

#[test]
fn drops_are_gained_and_lost() {
    let folder = folder(|address| !of_application(address, "13"));
    let ran = diff(&folder, &["c.pcap", "-f", "a.json", "--against", "b.json", "-o", "json"]);
    assert_eq!(ran.code, 1);
    let causes = ran.of("cause");
    let says = "TRANSLATED left, DROPPED (SERVICE_BACKEND_NOT_FOUND) right";
    assert_eq!(causes[0]["says"], says);
    assert_eq!(causes[0]["fields"], serde_json::json!(["verdict", "drop_reason"]));
    let summary = ran.summary();
    let right = &summary["right"]["drops"]["SERVICE_BACKEND_NOT_FOUND"];
    assert_eq!(&summary["drops_only_right"]["SERVICE_BACKEND_NOT_FOUND"], right);
    assert!(right.as_u64().unwrap() > 30, "{right}");
    assert_eq!(summary["drops_only_left"], serde_json::json!({}));
    let back = diff(&folder, &["c.pcap", "-f", "b.json", "--against", "a.json", "-o", "json"]);
    assert_eq!(&back.summary()["drops_only_left"]["SERVICE_BACKEND_NOT_FOUND"], right);
    // All packets of a flow are one fact: replies without a request follow from it.
    let follows: u64 = causes.iter().map(|cause| cause["follows"].as_u64().unwrap()).sum();
    let (packets, flows) = (&summary["different"], summary["different_flows"].as_u64().unwrap());
    assert_eq!(packets.as_u64().unwrap() - follows, flows);
    let later = ran.of("diff").into_iter().find(|line| !line["follows"].is_null()).unwrap();
    assert!(later["follows"].as_u64() < later["n"].as_u64(), "{later}");
}

#[test]
fn algorithms_and_seeds() {
    let folder = folder(|_| true);
    let base = ["c.pcap", "-f", "a.json", "-o", "json"];
    let ran = |more: &[&str]| diff(&folder, &[&base, more].concat());
    let maglev = ran(&["--against-algorithm", "maglev"]);
    assert_eq!(maglev.code, 1);
    let says = "another of the backends that both sides have";
    assert!(maglev.of("cause").iter().all(|cause| cause["says"] == says), "{}", maglev.text);
    assert_eq!(maglev.summary()["right"]["algorithm"], "maglev");
    assert_eq!(maglev.summary()["moved"][0]["least"], 0);
    assert_eq!(ran(&["--algorithm", "maglev", "--against-algorithm", "maglev"]).code, 0);
    assert_eq!(ran(&["--against-seed", "1"]).code, 0);
    assert_eq!(ran(&["--against-seed", "2"]).code, 1);
    // Who knows of that can leave it out.
    let ignoring = ran(&["--against-algorithm", "maglev", "--ignore", "backend"]);
    assert_eq!((ignoring.code, ignoring.lines().len()), (0, 1), "{}", ignoring.text);
    assert_ne!(ignoring.summary()["moved"][0]["moved"], 0);
}

const BALANCED: &str = "
apiVersion: v1
kind: Service
metadata: {name: nginx, namespace: default}
spec:
  type: NodePort
  clusterIP: 3.3.3.3
  clusterIPs: [3.3.3.3]
  ports: [{name: http, protocol: TCP, port: 80, targetPort: 80, nodePort: 31000}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: nginx-1, namespace: default, labels: {kubernetes.io/service-name: nginx}}
addressType: IPv4
ports: [{name: http, protocol: TCP, port: 80}]
endpoints:
- addresses: [1.1.1.1]
  conditions: {ready: true, serving: true, terminating: false}
  nodeName: node-b
  targetRef: {kind: Pod, namespace: default, name: nginx}
";

/// A client outside that talks to a port of a node, and a backend on another node.
fn node_port() -> TempDir {
    let folder = tempdir().unwrap();
    let mut long = tcp((CLIENT, 40_000), (NODE_A, 31_000), 58, 24);
    long = common::ipv4((CLIENT, NODE_A), 58, 6, [&long[34..], &[7; 1_400]].concat(), None);
    let packets = [
        tcp((CLIENT, 40_000), (NODE_A, 31_000), 58, S),
        tcp((NODE_A, 31_000), (CLIENT, 40_000), 51, 18),
        long,
        tcp((CLIENT, 40_000), (NODE_A, 31_000), 58, 16),
    ];
    capture(folder.path(), "outside.pcap", &packets);
    write(folder.path(), "service.yaml", BALANCED.as_bytes());
    std::fs::copy(fixture("clusters/talk.yaml"), folder.path().join("nodes.yaml")).unwrap();
    folder
}

#[test]
fn source_translation_and_direct_return() {
    let folder = node_port();
    let base = ["outside.pcap", "-f", "nodes.yaml", "-f", "service.yaml"];
    let modes = ["--against-mode", "dsr-ipip"];
    let ran = diff(&folder, &[&base[..], &modes, &["-o", "json"]].concat());
    assert_eq!((ran.code, ran.stderr.as_str()), (1, ""));
    let causes = ran.of("cause");
    assert_eq!(causes.len(), 1, "{}", ran.text);
    assert_eq!(causes[0]["says"], "src is a node's left, as sent right");
    assert_eq!(causes[0]["packets"], 4, "the reply's way follows from it");
    assert_eq!(ran.of("diff")[1]["field"], "node");
    let first = &ran.of("diff")[0];
    assert_eq!(first["left"]["value"], "192.168.0.1:40000");
    assert_eq!(first["right"]["value"], "198.51.100.7:40000");

    // A tunnel takes 20 bytes, which a link may not have. That is worse, and so a cause of its own.
    let ran = diff(&folder, &[&base[..], &modes, &["--mtu", "1450"]].concat());
    insta::assert_snapshot!("direct_return_and_mtu", ran.text);
    let alone = ["--against-mtu", "1000", "-o", "json"];
    let ran = diff(&folder, &[&base[..], &alone].concat());
    assert_eq!(ran.of("cause").len(), 1, "{}", ran.text);
    assert_eq!(ran.of("cause")[0]["first"]["n"], 3);
}

/// Compares worlds, unless this machine has not got one.
fn worlds_agree(worlds: &str, file: &str, cluster: &str) {
    let folder = tempdir().unwrap();
    let (file, cluster) = (fixture(file), fixture(cluster));
    let ran = diff(&folder, &[&file, "-f", &cluster, "--worlds", worlds]);
    if ran.code == 3 {
        return skip(&format!("diff --worlds {worlds}"), ran.stderr.trim());
    }
    assert_eq!(ran.code, 0, "{file}: {}{}", ran.text, ran.stderr);
    assert!(ran.text.starts_with("no difference in "), "{}", ran.text);
}

#[test]
fn the_simulator_and_test_runs() {
    let cluster = "clusters/two-nodes.yaml";
    worlds_agree("sim,test-run", "captures/clusterip.pcap", cluster);
    worlds_agree("test-run,sim", "captures/dns.pcap", cluster);
}

#[test]
fn the_simulator_and_namespaces() {
    let cluster = "clusters/two-nodes.yaml";
    worlds_agree("sim,veth", "captures/clusterip-small.pcapng", cluster);
    // Namespaces show that a packet was answered, and not by which decision.
    let incident = |name: &str| format!("incidents/{name}");
    let client = incident("1-no-endpoints/client.pcap");
    worlds_agree("veth,sim", &client, &incident("1-no-endpoints/cluster.yaml"));
    let node = incident("6-path-mtu/node-a.pcap");
    worlds_agree("sim,veth", &node, &incident("6-path-mtu/cluster.yaml"));
}

#[test]
fn the_smallest_reproduction() {
    let folder = folder(|address| !of_application(address, "13") && address != "10.244.1.11");
    let base = ["c.pcap", "-f", "a.json", "--against", "b.json", "-o", "json"];
    let all = diff(&folder, &base).of("cause");
    let dropped = all.iter().find(|cause| cause["fields"][0] == "verdict").unwrap();
    assert_ne!(dropped["cause"], "A");
    let name = dropped["cause"].as_str().unwrap().to_lowercase();
    let ran = diff(&folder, &[&base[..], &["--minimize", "min.pcap", "--cause", &name]].concat());
    assert_eq!((ran.code, ran.stderr.as_str()), (1, ""));
    let minimal = &ran.summary()["minimal"];
    let files = serde_json::json!(["min.pcap", "min.yaml", "min-against.yaml"]);
    assert_eq!(minimal["files"], files);
    assert_eq!((&minimal["packets"], &minimal["services"]), (&1.into(), &1.into()), "{minimal}");
    assert_eq!(minimal["endpoints"], 1, "one that the left has: {minimal}");
    assert_eq!(minimal["command"], "twinpath diff min.pcap -f min.yaml --against min-against.yaml");
    assert_eq!(ran.of("cause").len(), all.len(), "the output is that of the whole capture");

    let again = diff(
        &folder,
        &["min.pcap", "-f", "min.yaml", "--against", "min-against.yaml", "-o", "json"],
    );
    let causes = again.of("cause");
    assert_eq!((again.code, causes.len()), (1, 1));
    assert_eq!(causes[0]["says"], dropped["says"]);
    assert_eq!(again.summary()["packets"], 1);
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    let before = (read("min.pcap"), read("min.yaml"), read("min-against.yaml"));
    diff(&folder, &[&base[..], &["--minimize", "min", "--cause", &name]].concat());
    assert_eq!(before, (read("min.pcap"), read("min.yaml"), read("min-against.yaml")));
}

#[test]
fn a_reproduction_keeps_the_packets_that_it_takes() {
    // The long packet is dropped only behind the handshake that makes it part of a connection.
    let folder = node_port();
    let ran = diff(
        &folder,
        &[
            "outside.pcap",
            "-f",
            "nodes.yaml",
            "-f",
            "service.yaml",
            "--against-mode",
            "dsr-ipip",
            "--mtu",
            "1450",
            "--minimize",
            "min",
            "--cause",
            "B",
            "-o",
            "json",
        ],
    );
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let minimal = &ran.summary()["minimal"];
    assert_eq!(minimal["files"], serde_json::json!(["min.pcap", "min.yaml"]), "{minimal}");
    let again = diff(
        &folder,
        &["min.pcap", "-f", "min.yaml", "--against-mode", "dsr-ipip", "--mtu", "1450"],
    );
    assert_eq!(again.code, 1, "{}", again.text);
    assert!(again.text.contains("FRAGMENTATION_NEEDED"), "{}", again.text);
    let none = diff(
        &folder,
        &[
            "outside.pcap",
            "-f",
            "nodes.yaml",
            "-f",
            "service.yaml",
            "--worlds",
            "sim,sim",
            "--minimize",
            "other",
        ],
    );
    assert_eq!(none.code, 0);
    assert!(none.stderr.contains("nothing differs"), "{}", none.stderr);
    assert!(!folder.path().join("other.pcap").exists());
}

#[test]
fn a_change_during_the_capture_is_kept_where_it_is_the_cause() {
    let folder = tempdir().unwrap();
    let packets: Vec<_> = (0..10).map(|_| udp((POD, 40_000), (ECHO, 7), 64, b"hello")).collect();
    capture(folder.path(), "echo.pcap", &packets);
    let text = std::fs::read_to_string(fixture("clusters/two-nodes.json")).unwrap();
    write(folder.path(), "a.json", text.as_bytes());
    let mut dump: Value = serde_json::from_str(&text).unwrap();
    dump["items"].as_array_mut().unwrap().retain(|one| one["kind"] != "EndpointSlice");
    write(folder.path(), "none.json", dump.to_string().as_bytes());
    let arguments =
        ["echo.pcap", "-f", "a.json", "--then", "3.5ms=none.json", "--against", "a.json"];
    let ran = diff(&folder, &[&arguments[..], &["-o", "json", "--minimize", "min"]].concat());
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert_eq!(ran.summary()["drops_only_left"]["SERVICE_BACKEND_NOT_FOUND"], 6);
    assert_eq!(ran.of("cause")[0]["first"]["n"], 5);
    let minimal = &ran.summary()["minimal"];
    assert_eq!(minimal["packets"], 2, "one to begin the time with: {minimal}");
    let command = minimal["command"].as_str().unwrap();
    let words: Vec<&str> = command.split(' ').skip(2).collect();
    assert!(words.contains(&"3.5ms=min-then-1.yaml"), "{command}");
    assert_eq!(diff(&folder, &words).code, 1, "{command}");
}

#[test]
fn every_line_of_json_is_as_the_schema_says() {
    let schema: Value = serde_json::from_str(include_str!("../schema/diff.schema.json")).unwrap();
    let folder = folder(|address| !of_application(address, "13") && address != "10.244.1.11");
    let base = ["c.pcap", "-f", "a.json", "-o", "json"];
    for more in [
        &["--against", "b.json", "--minimize", "min"][..],
        &["--against-algorithm", "maglev"],
        &["--worlds", "sim,sim"],
    ] {
        let ran = diff(&folder, &[&base[..], more].concat());
        let lines = ran.lines();
        for line in &lines {
            assert_eq!(violation(&schema, &schema, line, "$"), None, "{line}");
        }
        let kinds: Vec<_> = lines.iter().map(|line| line["type"].as_str().unwrap()).collect();
        let mut sorted = kinds.clone();
        sorted.sort_by_key(|kind| ["diff", "cause", "summary"].iter().position(|one| one == kind));
        assert_eq!(kinds, sorted);
        assert_eq!(kinds.iter().filter(|kind| **kind == "summary").count(), 1);
    }
}

#[test]
fn both_ways_of_what_differs_are_written() {
    let folder = folder(|address| address != "10.244.1.11");
    let ran = diff(&folder, &["c.pcap", "-f", "a.json", "--against", "b.json", "-w", "out.pcapng"]);
    assert_eq!(ran.code, 1);
    let bytes = std::fs::read(folder.path().join("out.pcapng")).unwrap();
    let has = |text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
    for text in [
        "left/node-a/default/web-a/in",
        "right/node-b/default/web-b/in",
        "#1 [A], backend: 10.244.1.11:8080 -> 10.244.2.11:8080",
        "#2 [A] as packet 1",
    ] {
        assert!(has(text), "{text}");
    }
    let mut written = twinpath::capture::Capture::open(&folder.path().join("out.pcapng")).unwrap();
    let mut count = 0;
    while written.next().unwrap().is_some() {
        count += 1;
    }
    assert!(count > 20, "{count}");
}

#[test]
fn what_makes_no_sense_is_said_in_one_line() {
    let folder = folder(|_| true);
    write(folder.path(), "empty.pcap", &capture_of_nothing(folder.path()));
    for (arguments, code, part) in [
        (&["c.pcap", "--against", "b.json"][..], 2, "--filename"),
        (&["c.pcap", "-f", "a.json", "--worlds", "sim"], 2, "nothing to compare it with"),
        (&["c.pcap", "-f", "a.json", "--worlds", "sim,sim,sim"], 2, "name two"),
        (&["c.pcap", "-f", "a.json", "--ignore", "color"], 2, "no such field; there are: verdict"),
        (&["c.pcap", "-f", "a.json", "--worlds", "sim,sim", "-w", "-"], 2, "give -w a file"),
        (
            &["-", "-f", "a.json", "--worlds", "sim,sim", "--minimize", "m"],
            2,
            "reads the capture again",
        ),
        (&["-", "-f", "a.json", "--against", "-"], 2, "standard input is named"),
        (&["c.pcap", "-f", "a.json", "--against", "none.json"], 2, "none.json"),
        (&["none.pcap", "-f", "a.json", "--against", "b.json"], 2, "none.pcap"),
        (
            &["c.pcap", "-f", "a.json", "--against-seed", "2", "--minimize", "m", "--cause", "ZZ"],
            2,
            "the causes are A to ",
        ),
        (
            &["c.pcap", "-f", "a.json", "--against-seed", "2", "--minimize", "no/such/m"],
            2,
            "no/such/m.pcap",
        ),
        (&["empty.pcap", "-f", "a.json", "--against", "b.json"], 4, ""),
    ] {
        let ran = diff(&folder, arguments);
        assert_eq!(ran.code, code, "{arguments:?}: {}{}", ran.text, ran.stderr);
        assert!(ran.stderr.contains(part), "{arguments:?}: {}", ran.stderr);
        assert!(
            ran.stderr.starts_with("twinpath: ") || ran.stderr.is_empty() || part == "--filename",
            "{}",
            ran.stderr
        );
    }
    let web = tcp((POD, 40_000), (WEB, 80), 64, S);
    capture(folder.path(), "one.pcap", &[web]);
    let ran = diff(&folder, &["one.pcap", "-f", "a.json", "--against", "b.json", "-c", "1"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

fn capture_of_nothing(folder: &Path) -> Vec<u8> {
    std::fs::read(capture(folder, "nothing.pcap", &[])).unwrap()
}

#[test]
fn a_signal_ends_a_comparison_with_what_was_done_until_then() {
    let folder = tempdir().unwrap();
    let packet = udp(([10, 244, 1, 10], 40_000), ([10, 96, 0, 7], 7), 64, b"hello");
    let bytes = std::fs::read(capture(folder.path(), "one.pcap", &[packet])).unwrap();
    let two = fixture("clusters/two-nodes.yaml");
    let mut child = Command::new(env!("CARGO_BIN_EXE_twinpath"))
        .args(["diff", "-", "-o", "json", "-f", &two, "--against", &two])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let (head, record) = bytes.split_at(24);
    input.write_all(head).unwrap();
    // More than pipes and buffers hold: then it is in the middle of them.
    for _ in 0..100 {
        input.write_all(&record.repeat(200)).unwrap();
    }
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    while input.write_all(record).is_ok() {}
    drop(input);
    let ran = child.wait_with_output().unwrap();
    assert_eq!(ran.status.code(), Some(130), "{ran:?}");
    let text = String::from_utf8(ran.stdout).unwrap();
    let summary: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((&summary["type"], &summary["complete"]), (&"summary".into(), &false.into()));
    assert!(String::from_utf8(ran.stderr).unwrap().contains("stopped by a signal after"));
}
