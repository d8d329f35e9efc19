//! The built binary: what it prints, and how it ends.

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{capture, cluster, fixture, ipv4, replay, replay_with, tcp, udp, violation, write};
use serde_json::Value;
use tempfile::tempdir;
use twinpath::capture::Capture;

const CLIENT: [u8; 4] = [10, 244, 1, 10];
const STRANGER: [u8; 4] = [10, 244, 9, 9];
const WEB: [u8; 4] = [10, 96, 0, 80];
const ECHO: [u8; 4] = [10, 96, 0, 7];
const S: u8 = 2;
const SA: u8 = 18;
const A: u8 = 16;
const R: u8 = 4;

/// One packet of every kind. Random with seed 1 puts the first connection on the node of the client.
fn kinds() -> Vec<Vec<u8>> {
    let arp = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1, 8, 6], &[0; 28]].concat();
    vec![
        tcp((CLIENT, 40_000), (WEB, 80), 64, S),
        tcp((WEB, 80), (CLIENT, 40_000), 63, SA),
        tcp((CLIENT, 40_000), (WEB, 80), 64, A),
        tcp((WEB, 80), (CLIENT, 41_111), 63, A),
        tcp((CLIENT, 40_001), (WEB, 81), 64, S),
        tcp((CLIENT, 40_002), (WEB, 80), 64, R),
        udp((STRANGER, 5_000), (ECHO, 7), 64, b"hello"),
        udp((ECHO, 7), (STRANGER, 5_000), 62, b"hello"),
        udp((CLIENT, 5_000), ([10, 244, 2, 11], 9), 1, b""),
        ipv4((CLIENT, [10, 244, 2, 11]), 64, 1, vec![8, 0, 0, 0, 0, 1, 0, 1], Some(2)),
        arp,
        tcp((CLIENT, 40_000), (WEB, 80), 64, S | 1),
    ]
}

#[test]
fn a_table_of_every_kind_of_packet() {
    let folder = tempdir().unwrap();
    let file = capture(folder.path(), "kinds.pcap", &kinds());
    let cluster = fixture("clusters/two-nodes.json");
    let ran = replay(&[&file, "-f", &cluster]);
    let next = format!("twinpath: next: twinpath explain -f {cluster} {file} --packet 5\n");
    assert_eq!((ran.code, ran.stderr.as_str()), (0, next.as_str()), "{}", ran.text());
    let text = ran.text().replace(&cluster, "CLUSTER");
    insta::assert_snapshot!(text, @r###"
#      TIME        VERDICT     PACKET                                        SERVICE               CHANGE
1      0.000000    TRANSLATED  10.244.1.10:40000 > 10.96.0.80:80 tcp S       default/web           dst 10.244.1.11:8080  ct NEW
2      0.001000    TRANSLATED  10.244.1.11:8080 > 10.244.1.10:40000 tcp SA   default/web           src 10.96.0.80:80  ct REPLY
3      0.002000    TRANSLATED  10.244.1.10:40000 > 10.96.0.80:80 tcp A       default/web           dst 10.244.1.11:8080  ct ESTABLISHED
4      0.003000    UNMATCHED   10.96.0.80:80 > 10.244.1.10:41111 tcp A       default/web           reply without a known request
5      0.004000    DROPPED     10.244.1.10:40001 > 10.96.0.80:81 tcp S       -                     SERVICE_PORT_NOT_FOUND
6      0.005000    DROPPED     10.244.1.10:40002 > 10.96.0.80:80 tcp R       default/web           CT_CANNOT_CREATE_ENTRY_FROM_PACKET
7      0.006000    TRANSLATED  10.244.9.9:5000 > 10.96.0.7:7 udp             default/echo          dst 10.244.2.13:7007  ct NEW
8      0.007000    TRANSLATED  10.244.2.13:7007 > 10.244.9.9:5000 udp        default/echo          src 10.96.0.7:7  ct REPLY
9      0.008000    DROPPED     10.244.1.10:5000 > 10.244.2.11:9 udp          -                     TTL_EXCEEDED
10     0.009000    FORWARDED   10.244.1.10 > 10.244.2.11 icmp                -                     ct NEW
11     0.010000    FORWARDED   ethertype 0x0806                              -                     -
12     0.011000    DROPPED     unreadable                                    -                     CT_TRUNCATED_OR_INVALID_HEADER

12 packets, 7 flows: 5 translated, 2 forwarded, 1 unmatched, 4 dropped (1 SERVICE_PORT_NOT_FOUND, 1 CT_TRUNCATED_OR_INVALID_HEADER, 1 CT_CANNOT_CREATE_ENTRY_FROM_PACKET, 1 TTL_EXCEEDED)
replies: 2 checked, 2 equal
  default/echo:echo/UDP     connections: 1 to echo-b 10.244.2.13
  default/web:http/TCP      connections: 1 to web-a 10.244.1.11
world sim, seed 1, cluster CLUSTER (4 service ports, 16 backends)
"###);
}

#[test]
fn a_reply_that_does_not_arrive_as_captured_is_reported() {
    let folder = tempdir().unwrap();
    let mut frames = kinds()[..2].to_vec();
    // Somebody on the way has changed the window without mending anything: it comes through as it is.
    frames[1][48] ^= 1;
    let file = capture(folder.path(), "odd.pcap", &frames);
    assert_eq!(replay(&[&file, "-f", &cluster()]).code, 0);
    // A TCP reply with flags that no TCP sends, which the client's capture shows it received.
    frames[1] = tcp((WEB, 80), (CLIENT, 40_000), 63, SA);
    frames.push(tcp((WEB, 80), (CLIENT, 40_000), 255, A));
    let file = capture(folder.path(), "far.pcap", &frames);
    let ran = replay(&[&file, "-f", &cluster(), "-q"]);
    assert_eq!(ran.code, 1, "{}", ran.text());
    let line = "twinpath: packet 3: reply: ip.ttl, byte 8 from the IP header on: captured 0xff, arrives as 0xfe\n";
    assert_eq!(ran.stderr, line);
    assert!(ran.text().contains("replies: 2 checked, 1 equal, 1 DIFFERENT"), "{}", ran.text());
}

#[test]
fn unusable_inputs_end_with_2_and_one_line() {
    let folder = tempdir().unwrap();
    let good = capture(folder.path(), "good.pcap", &kinds());
    let bytes = std::fs::read(&good).unwrap();
    let put = |name: &str, bytes: &[u8]| write(folder.path(), name, bytes);
    let mut token_ring = bytes.clone();
    token_ring[20] = 6;
    let mut damaged = bytes.clone();
    damaged[24 + 8..24 + 12].copy_from_slice(&[0xff; 4]);
    let empty = put("empty", b"");
    let random = put("random", b"\x07random bytes of no format at all");
    let ring = put("ring.pcap", &token_ring);
    let bad = put("damaged.pcap", &damaged);
    let yaml = put("broken.yaml", b"kind: [Service\n  x: }");
    let portless = put(
        "portless.yaml",
        b"kind: Service\nmetadata: {name: web}\nspec: {clusterIP: 10.96.0.10, ports: [{port: 0}]}\n",
    );
    let state = cluster();
    let absent = folder.path().join("absent.pcap").to_str().unwrap().to_owned();
    let cases: &[(&[&str], &str)] = &[
        (&[&absent], "absent.pcap: no such file, and not a filter expression either: position 1: "),
        (&[&empty], "empty: empty, so there is no capture in it"),
        (&[&random], "random: not a capture"),
        (&[&ring], "ring.pcap: link type 6 (Token Ring) cannot be replayed"),
        (&[&bad, "-f", &state], "damaged.pcap: packet 1 at byte 24: captured length"),
        (&[&good, "-f", &yaml], "broken.yaml: "),
        (&[&good, "-f", &portless], "portless.yaml: Service default/web: "),
        (&[&good, "-f", &absent], "absent.pcap: No such file"),
        (
            &[&good, "--at", "mars"],
            "--at mars: there is no node mars; the nodes are: node-1, node-2",
        ),
        (&[&good, "-f", &state, "--at", "node-a/x"], "--at node-a/x: there is no pod x"),
        (&["-", "-f", "-"], "standard input is named both"),
        (&[&good, "-w", "-"], "-w - and the output of packets both go to standard output"),
        (&[&good, "-q", "-w", "/nonexistent/x"], "/nonexistent/x: No such file"),
    ];
    for (arguments, expected) in cases {
        let ran = replay(arguments);
        assert_eq!(ran.code, 2, "{arguments:?}: {}{}", ran.stderr, ran.text());
        let line = ran.stderr.lines().rfind(|line| !line.contains("note: ")).unwrap_or_default();
        assert!(line.starts_with("twinpath: ") && line.contains(expected), "{arguments:?}: {line}");
        let lines = ran.stderr.lines().filter(|line| !line.contains("note: ")).count();
        assert_eq!(lines, 1, "{arguments:?}: {}", ran.stderr);
    }
    assert_eq!(replay(&[]).code, 2, "no capture named");
    assert_eq!(replay(&[&good, "--no-such-option"]).code, 2);
}

#[test]
fn what_a_world_lacks_ends_with_3() {
    // As an ordinary user there are no programs; as root, a test run takes no unfinished checksums and
    // namespaces have their number.
    let offload = fixture("captures/offload.pcap");
    let ran = replay(&[&offload, "-f", &cluster(), "--world", "test-run", "-q"]);
    assert_eq!((ran.code, ran.stderr.lines().count()), (3, 1), "{}", ran.stderr);
    let folder = tempdir().unwrap();
    let many: Vec<Vec<u8>> = (0..200_u8).map(|i| ping([10, 9, 8, i])).collect();
    let crowd = capture(folder.path(), "crowd.pcap", &many);
    let ran = replay(&[&crowd, "-f", &cluster(), "--world", "veth"]);
    assert_eq!((ran.code, ran.stderr.lines().count()), (3, 1), "{}", ran.stderr);
    assert!(ran.stderr.contains("--world veth"), "{}", ran.stderr);
}

/// An echo request from this address.
fn ping(source: [u8; 4]) -> Vec<u8> {
    let mut bytes =
        vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0];
    bytes.extend(source);
    bytes.extend([10, 244, 1, 11, 8, 0, 0xf7, 0xff, 0, 0, 0, 0]);
    bytes
}

#[test]
fn nothing_replayed_ends_with_4() {
    let folder = tempdir().unwrap();
    let file = capture(folder.path(), "none.pcap", &[]);
    assert_eq!(replay(&[&file]).code, 4);
    assert_eq!(replay(&[&fixture("captures/dns.pcap"), "-c", "0"]).code, 4);
}

#[test]
fn a_cut_file_is_replayed_up_to_the_cut() {
    let folder = tempdir().unwrap();
    let file = capture(folder.path(), "whole.pcap", &kinds());
    let bytes = std::fs::read(file).unwrap();
    let cut = write(folder.path(), "cut.pcap", &bytes[..bytes.len() - 5]);
    let ran = replay(&[&cut, "-f", &cluster(), "-q"]);
    assert_eq!(ran.code, 0);
    assert!(ran.stderr.contains("cut.pcap: cut after packet 11"), "{}", ran.stderr);
    assert!(ran.text().starts_with("11 packets"), "{}", ran.text());
}

#[test]
fn a_damaged_file_counts_up_to_the_damage_and_is_not_complete() {
    let folder = tempdir().unwrap();
    let file = capture(folder.path(), "whole.pcap", &kinds());
    let mut bytes = std::fs::read(file).unwrap();
    let second = 24 + 16 + kinds()[0].len();
    bytes[second + 8..second + 12].copy_from_slice(&[0xff; 4]);
    let damaged = write(folder.path(), "damaged.pcap", &bytes);
    let ran = replay(&[&damaged, "-f", &cluster(), "-o", "json"]);
    assert_eq!(ran.code, 2);
    let summary: Value = serde_json::from_str(ran.text().lines().last().unwrap()).unwrap();
    assert_eq!((&summary["complete"], &summary["packets"]), (&false.into(), &1.into()));
}

#[test]
fn the_same_input_and_seed_give_the_same_bytes() {
    let folder = tempdir().unwrap();
    let (clusterip, state) = (fixture("captures/clusterip.pcap"), cluster());
    let out = folder.path().join("out.pcapng").to_str().unwrap().to_owned();
    for form in ["table", "wide", "json"] {
        for file in [vec!["-f", state.as_str()], vec![]] {
            let arguments =
                [&[clusterip.as_str(), "-o", form, "-w", out.as_str()][..], &file[..]].concat();
            let run = || {
                let ran = replay(&arguments);
                assert_eq!(ran.code, 0, "{}", ran.stderr);
                (ran.stdout, std::fs::read(&out).unwrap())
            };
            assert_eq!(run(), run(), "{form}");
        }
    }
    // Without the summary, which names the seed.
    let with = |seed: &str| {
        let text = replay(&[&clusterip, "-f", &state, "--seed", seed]).text();
        text.split("\n\n").next().map(str::to_owned)
    };
    assert_ne!(with("1"), with("2"));
    assert_eq!(with("7"), with("7"));
}

#[test]
fn standard_input_is_a_capture_or_a_cluster() {
    let (file, state) = (fixture("captures/dns.pcap"), cluster());
    let bytes = std::fs::read(&file).unwrap();
    let named = |ran: common::Ran| ran.text().replace(&state, "-").replace("standard input", "-");
    assert_eq!(
        named(replay_with(&["-", "-f", &state], Some(&bytes))),
        named(replay(&[&file, "-f", &state]))
    );
    // Read twice, since the cluster is derived from it.
    assert_eq!(named(replay_with(&["-"], Some(&bytes))), named(replay(&[&file])));
    let yaml = std::fs::read(&state).unwrap();
    assert_eq!(
        named(replay_with(&[&file, "-f", "-"], Some(&yaml))),
        named(replay(&[&file, "-f", &state]))
    );
}

#[test]
fn several_captures_are_merged_by_time() {
    let folder = tempdir().unwrap();
    let all = kinds();
    let whole = capture(folder.path(), "whole.pcap", &all);
    // The same frames at the same times, in two files.
    let bytes = std::fs::read(&whole).unwrap();
    let (mut odd, mut even) = (bytes[..24].to_vec(), bytes[..24].to_vec());
    let mut at = 24;
    for (number, frame) in all.iter().enumerate() {
        let record = &bytes[at..at + 16 + frame.len()];
        if number % 2 == 0 { &mut even } else { &mut odd }.extend_from_slice(record);
        at += record.len();
    }
    let (odd, even) =
        (write(folder.path(), "odd.pcap", &odd), write(folder.path(), "even.pcap", &even));
    assert_eq!(
        replay(&[&odd, &even, "-f", &cluster()]).text(),
        replay(&[&whole, "-f", &cluster()]).text()
    );
}

#[test]
fn every_line_of_json_is_as_the_schema_says() {
    let folder = tempdir().unwrap();
    let text = include_str!("../schema/replay.schema.json");
    let schema: Value = serde_json::from_str(text).unwrap();
    let kinds = capture(folder.path(), "kinds.pcap", &kinds());
    let clusterip = fixture("captures/clusterip.pcap");
    for file in [kinds.as_str(), clusterip.as_str()] {
        for state in [vec!["-f".to_owned(), cluster()], vec![]] {
            let mut arguments = vec![file, "-o", "json"];
            arguments.extend(state.iter().map(String::as_str));
            let ran = replay(&arguments);
            let lines: Vec<Value> =
                ran.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            for line in &lines {
                assert_eq!(violation(&schema, &schema, line, "$"), None, "{line}");
            }
            let (summary, packets) = lines.split_last().unwrap();
            assert_eq!(summary["type"], "summary");
            assert!(packets.iter().all(|line| line["type"] == "packet"));
            assert_eq!(summary["packets"], packets.len());
            let sum = |name: &str| packets.iter().filter(|line| line["verdict"] == name).count();
            for (verdict, count) in summary["verdicts"].as_object().unwrap() {
                assert_eq!(*count, sum(verdict), "{verdict}");
            }
            let hash = summary["inputs"][0]["sha256"].as_str().unwrap();
            assert_eq!(hash.len(), 64);
        }
    }
    // The checker itself finds what is wrong.
    for wrong in
        [r#"{"v":1,"type":"summary"}"#, r#"{"v":2}"#, "[]", r#"{"v":1,"type":"packet","x":1}"#]
    {
        let wrong: Value = serde_json::from_str(wrong).unwrap();
        assert_ne!(violation(&schema, &schema, &wrong, "$"), None, "{wrong}");
    }
}

#[test]
fn stages_have_every_packet_under_its_number() {
    let folder = tempdir().unwrap();
    let file = capture(folder.path(), "kinds.pcap", &kinds());
    let out = folder.path().join("out.pcapng");
    let ran = replay(&[&file, "-f", &cluster(), "-q", "-w", out.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let mut written = Capture::open(&out).unwrap();
    let mut stages: BTreeMap<u64, Vec<(u32, String)>> = BTreeMap::new();
    while let Some(record) = written.next().unwrap() {
        let comment = record.comment.unwrap();
        let id = comment.split(' ').next().unwrap().strip_prefix('#').unwrap();
        stages.entry(id.parse().unwrap()).or_default().push((record.interface, comment.to_owned()));
    }
    let name = |index: u32| written.interfaces()[index as usize].name.clone();
    let way = |n: u64| stages[&n].iter().map(|(index, _)| name(*index)).collect::<Vec<_>>();
    assert_eq!(stages.len(), kinds().len());
    assert_eq!(way(1), ["node-a/default/client/out", "node-a/default/web-a/in"]);
    assert_eq!(way(2), ["node-a/default/web-a/out", "node-a/default/client/in"]);
    assert_eq!(way(4), ["unsent"]);
    // Refused: the answer goes back.
    assert_eq!(way(5), ["node-a/default/client/out", "node-a/default/client/in"]);
    let stranger = "node-a/capture/client-10.244.9.9";
    assert_eq!(
        way(7),
        [format!("{stranger}/out"), "node-a/wire".into(), "node-b/default/echo-b/in".into()]
    );
    assert_eq!(
        way(8),
        ["node-b/default/echo-b/out".into(), "node-b/wire".into(), format!("{stranger}/in")]
    );
    assert_eq!(way(11), ["node-a/capture/client/out", "node-a/host"]);
    assert!(stages[&5][0].1.starts_with("#5 DROPPED 10.244.1.10:40001 > 10.96.0.80:81 tcp S"));
    assert!(stages[&5][0].1.contains("SERVICE_PORT_NOT_FOUND (1)"), "{:?}", stages[&5]);
    // To standard output, too.
    let piped = replay(&[&file, "-f", &cluster(), "-q", "-w", "-"]);
    assert!(piped.stdout == std::fs::read(&out).unwrap());
}

#[test]
fn a_closed_pipe_is_no_failure() {
    use std::process::{Command, Stdio};
    let file = fixture("captures/clusterip.pcap");
    for form in ["table", "json"] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_twinpath"))
            .args(["replay", &file, "-f", &cluster(), "-o", form])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), stderr.as_str()), (Some(0), ""), "{form}");
    }
}

#[test]
fn colour_is_for_terminals_and_for_those_who_ask() {
    let file = fixture("captures/dns.pcap");
    assert!(!replay(&[&file]).stdout.contains(&0x1b));
    assert!(replay(&[&file, "--color", "always"]).stdout.contains(&0x1b));
    assert!(!replay(&[&file, "--color", "never"]).stdout.contains(&0x1b));
}

/// Public captures that lie beside the workspace; they are not part of the repository.
#[test]
fn public_captures_end_well_and_every_packet_has_a_verdict() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        return twinpath_kernel::testing::skip(
            "public captures, replay",
            "../shared/captures absent",
        );
    };
    let mut files = 0;
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !name.contains("cap") {
            continue;
        }
        let mut capture = Capture::open(&path).unwrap();
        let mut packets = 0;
        while capture.next().unwrap().is_some() {
            packets += 1;
        }
        for state in [vec![], vec!["-f".to_owned(), cluster()]] {
            let mut arguments = vec![path.to_str().unwrap(), "-o", "json"];
            arguments.extend(state.iter().map(String::as_str));
            let ran = replay(&arguments);
            // All replies of all of them arrive as captured.
            assert_eq!(ran.code, 0, "{name}: {}", ran.stderr);
            let text = ran.text();
            let summary: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
            let verdicts = summary["verdicts"].as_object().unwrap();
            let total: u64 = verdicts.values().map(|count| count.as_u64().unwrap()).sum();
            assert_eq!((total, text.lines().count()), (packets, packets as usize + 1), "{name}");
            assert_eq!(summary["complete"], true, "{name}");
        }
        files += 1;
    }
    assert!(files >= 20, "only {files} captures");
}

/// The API server of a cluster is on the host's network: a service of addresses of nodes.
#[test]
fn backends_on_the_network_of_a_node_answer_from_there() {
    const API: [u8; 4] = [10, 96, 0, 1];
    let folder = tempdir().unwrap();
    for (node, address, ttl) in [("node-a", "192.168.0.1", 64), ("node-b", "192.168.0.2", 63)] {
        let state = format!(
            r#"{{"kind": "List", "items": [
            {{"kind": "Service", "metadata": {{"name": "kubernetes"}}, "spec": {{"clusterIP": "10.96.0.1", "ports": [{{"port": 443}}]}}}},
            {{"kind": "EndpointSlice", "addressType": "IPv4", "ports": [{{"port": 6443, "protocol": "TCP"}}],
              "metadata": {{"name": "kubernetes", "labels": {{"kubernetes.io/service-name": "kubernetes"}}}},
              "endpoints": [{{"addresses": ["{address}"], "nodeName": "{node}"}}]}},
            {{"kind": "Node", "metadata": {{"name": "node-a"}}, "status": {{"addresses": [{{"type": "InternalIP", "address": "192.168.0.1"}}]}}}},
            {{"kind": "Node", "metadata": {{"name": "node-b"}}, "status": {{"addresses": [{{"type": "InternalIP", "address": "192.168.0.2"}}]}}}}
            ]}}"#
        );
        let state = write(folder.path(), "api.json", state.as_bytes());
        let frames = [
            tcp((CLIENT, 40_000), (API, 443), 64, S),
            tcp((API, 443), (CLIENT, 40_000), ttl, SA),
            tcp((CLIENT, 40_000), (API, 443), 64, A),
        ];
        let file = capture(folder.path(), "api.pcap", &frames);
        let ran = replay(&[&file, "-f", &state, "-o", "json", "--at", "node-a"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{node}: {}", ran.text());
        let lines: Vec<Value> =
            ran.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[1]["in"]["src"], format!("{address}:6443"), "{node}");
        assert_eq!(lines[1]["out"]["src"], "10.96.0.1:443", "{node}");
        assert_eq!(lines[3]["replies"]["equal"], 1, "{node}");
        assert_eq!(lines[3]["verdicts"]["TRANSLATED"], 3, "{node}");
    }
}
