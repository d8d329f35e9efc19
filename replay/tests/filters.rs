//! Which packets `replay` shows, and its sums over them.

mod common;

use common::{Ran, capture, cluster, fixture, ipv4, replay, tcp, udp, violation, write};
use serde_json::Value;
use tempfile::{TempDir, tempdir};

const CLIENT: [u8; 4] = [10, 244, 1, 10];
const WEB: [u8; 4] = [10, 96, 0, 80];
const ECHO: [u8; 4] = [10, 96, 0, 7];
const S: u8 = 2;
const SA: u8 = 18;
const A: u8 = 16;

/// A connection to a service, one of UDP, a drop, a reply of nothing, and a packet past all services.
fn frames() -> Vec<Vec<u8>> {
    vec![
        tcp((CLIENT, 40_000), (WEB, 80), 64, S),
        tcp((WEB, 80), (CLIENT, 40_000), 63, SA),
        tcp((CLIENT, 40_000), (WEB, 80), 64, A),
        udp((CLIENT, 5_000), (ECHO, 7), 64, b"hello"),
        udp((ECHO, 7), (CLIENT, 5_000), 63, b"hello"),
        tcp((CLIENT, 40_001), (WEB, 81), 64, S),
        tcp((WEB, 80), (CLIENT, 41_111), 63, A),
        ipv4((CLIENT, [10, 244, 2, 11]), 64, 1, vec![8, 0, 0, 0, 0, 1, 0, 1], Some(2)),
        tcp((CLIENT, 40_002), (WEB, 80), 64, 4),
    ]
}

fn file() -> (TempDir, String) {
    let folder = tempdir().unwrap();
    let file = capture(folder.path(), "a.pcap", &frames());
    (folder, file)
}

/// The numbers of the packets that are shown.
fn numbers(arguments: &[&str]) -> (Ran, Vec<u64>) {
    let (_folder, file) = file();
    let cluster = cluster();
    let all = [&[file.as_str(), "-f", &cluster, "-o", "json"], arguments].concat();
    let ran = replay(&all);
    let lines: Vec<Value> =
        ran.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let numbers: Vec<u64> = lines.iter().filter_map(|line| line["n"].as_u64()).collect();
    if let Some(summary) = lines.last().filter(|_| !arguments.contains(&"--first")) {
        assert_eq!(summary["shown"], numbers.len(), "{arguments:?}");
    }
    (ran, numbers)
}

#[test]
fn packets_are_shown_as_the_filters_say() {
    // With seed 1, the connection to web goes to 10.244.1.11 and that to echo to the other node.
    let cases: &[(&[&str], &[u64])] = &[
        (&[], &[1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (&["tcp", "port", "80"], &[1, 2, 3, 7, 9]),
        (&["tcp port 80 and", "tcp[tcpflags] & tcp-syn != 0"], &[1, 2]),
        (&["udp or icmp"], &[4, 5, 8]),
        (&["--ip", "10.96.0.7"], &[4, 5]),
        (&["--to-ip", "10.96.0.0/16"], &[1, 3, 4, 6, 9]),
        // After and before its translation.
        (&["--to-ip", "10.244.1.11"], &[1, 3]),
        (&["--from-ip", "10.244.1.11"], &[2]),
        (&["--from-ip", "10.96.0.80"], &[2, 7]),
        (&["--ip", "10.244.2.11", "--ip", "10.96.0.7"], &[4, 5, 8]),
        (&["--ip", "2001:db8::/32"], &[]),
        (&["--from-pod", "default/web-"], &[2]),
        (&["--to-pod", "web"], &[1, 3, 8]),
        (&["--pod", "kube-system/"], &[]),
        (&["--pod", "default/client"], &[1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (&["--service", "default/web"], &[1, 2, 3, 7, 9]),
        (&["--to-service", "web"], &[1, 3, 9]),
        (&["--from-service", "default/"], &[2, 5, 7]),
        (&["--port", "8080"], &[1, 2, 3]),
        (&["--from-port", "80"], &[2, 7]),
        (&["--to-port", "80", "--to-port", "7"], &[1, 3, 4, 9]),
        (&["--protocol", "udp", "--protocol", "icmp"], &[4, 5, 8]),
        (&["--verdict", "dropped"], &[6, 9]),
        (&["--drop-reason-desc", "SERVICE_PORT_NOT_FOUND"], &[6]),
        (&["--verdict", "UNMATCHED", "--verdict", "FORWARDED"], &[7, 8]),
        (&["--node", "node-b"], &[5]),
        (&["--not", "--protocol", "tcp"], &[4, 5, 8]),
        (&["--service", "web", "--not", "--verdict", "translated"], &[7, 9]),
        (&["--not", "--verdict", "dropped", "--port", "80"], &[1, 2, 3, 7]),
        (&["tcp", "--verdict", "dropped", "--to-port", "81"], &[6]),
        (&["--first", "2"], &[1, 2]),
        (&["--last", "2"], &[8, 9]),
        (&["tcp", "--last", "1"], &[9]),
        (&["tcp", "--first", "4"], &[1, 2, 3, 6]),
    ];
    for (arguments, expected) in cases {
        if arguments.contains(&"--last") {
            continue; // the summary counts what is kept no longer
        }
        let (ran, found) = numbers(arguments);
        assert_eq!(&found, expected, "{arguments:?}: {}", ran.stderr);
        assert_eq!(ran.code, if expected.is_empty() { 4 } else { 0 }, "{arguments:?}");
    }
}

#[test]
fn the_last_ones_are_kept() {
    let (_folder, file) = file();
    let cluster = cluster();
    for (last, expected) in [("2", 2), ("0", 0), ("100", 9)] {
        let ran = replay(&[&file, "-f", &cluster, "-o", "json", "--last", last]);
        let text = ran.text();
        assert_eq!(text.lines().count(), expected + 1, "{text}");
        let table = replay(&[&file, "-f", &cluster, "--last", last, "--no-headers"]).text();
        let all = replay(&[&file, "-f", &cluster, "--no-headers"]).text();
        let tail: Vec<&str> = all.lines().take(9).skip(9 - expected).collect();
        assert_eq!(table.lines().take(expected).collect::<Vec<_>>(), tail);
    }
    assert_eq!(replay(&[&file, "--last", "1", "--first", "1"]).code, 2);
    assert_eq!(replay(&[&file, "--last", "1000001"]).code, 2);
}

#[test]
fn what_is_not_shown_is_replayed_all_the_same_unless_only_is_said() {
    let (_folder, file) = file();
    let cluster = cluster();
    let expression = "src host 10.96.0.80";
    // The reply has its request, though that is not shown.
    let ran = replay(&[&file, "-f", &cluster, expression]);
    assert!(ran.text().contains("2      0.001000    TRANSLATED"), "{}", ran.text());
    assert!(ran.text().contains("9 packets, 6 flows"), "{}", ran.text());
    assert!(ran.text().contains("shown 2 of 9 packets: 1 translated, 1 unmatched\n"));
    let ran = replay(&[&file, "-f", &cluster, expression, "--only"]);
    assert!(ran.text().contains("2      0.001000    UNMATCHED"), "{}", ran.text());
    assert!(ran.text().contains("shown 2 of 2 packets: 2 unmatched\n"), "{}", ran.text());
    let ran = replay(&[&file, "-f", &cluster, "--only"]);
    assert_eq!((ran.code, ran.stderr.lines().count()), (2, 1), "{}", ran.stderr);
    assert!(ran.stderr.contains("--only is about a filter expression"), "{}", ran.stderr);
}

#[test]
fn differences_keep_their_packet_numbers() {
    let folder = tempdir().unwrap();
    let mut frames = frames();
    frames.truncate(2);
    frames.insert(0, udp((CLIENT, 5_000), (ECHO, 7), 64, b"hello"));
    frames.push(tcp((WEB, 80), (CLIENT, 40_000), 255, A));
    let file = capture(folder.path(), "far.pcap", &frames);
    for more in [&["tcp"][..], &["tcp", "--only"], &["udp"], &[]] {
        let cluster = cluster();
        let ran = replay(&[&[file.as_str(), "-f", &cluster], more].concat());
        assert!(ran.stderr.contains("twinpath: packet 4: reply: "), "{more:?}: {}", ran.stderr);
        assert_eq!(ran.code, 1);
    }
}

#[test]
fn fail_on_is_about_packets_that_are_shown() {
    let (_folder, file) = file();
    let cluster = cluster();
    for (arguments, code) in [
        (&["--fail-on", "difference"][..], 0),
        (&["--fail-on", "drop"], 1),
        (&["--fail-on", "unmatched"], 1),
        (&["--fail-on", "difference", "--fail-on", "drop"], 1),
        (&["--fail-on", "drop", "udp"], 0),
        (&["--fail-on", "drop", "udp", "-q"], 0),
        (&["--fail-on", "drop", "-q"], 1),
        (&["--fail-on", "drop", "--to-port", "81"], 1),
        (&["--fail-on", "drop", "--to-port", "82"], 4),
    ] {
        let ran = replay(&[&[file.as_str(), "-f", &cluster], arguments].concat());
        assert_eq!(ran.code, code, "{arguments:?}: {}", ran.stderr);
    }
}

#[test]
fn a_dropped_packet_has_a_command_that_explains_it() {
    let (folder, file) = file();
    let cluster = cluster();
    let ran = replay(&[&file, "-q", "-f", &cluster, "--algorithm", "maglev", "--seed", "7"]);
    let line = format!(
        "twinpath: next: twinpath explain -f {cluster} --seed 7 --algorithm maglev {file} --packet 6\n"
    );
    assert_eq!(ran.stderr, line);
    assert!(replay(&[&file, "-f", &cluster, "--port", "80"]).stderr.ends_with("--packet 9\n"));
    assert_eq!(replay(&[&file, "-f", &cluster, "udp"]).stderr, "");
    let spaced = folder.path().join("my file.pcap").to_str().unwrap().to_owned();
    std::fs::copy(&file, &spaced).unwrap();
    assert!(replay(&[&spaced, "-f", &cluster]).stderr.contains(&format!("'{spaced}' --packet 6")));
    let bytes = std::fs::read(&file).unwrap();
    assert_eq!(common::replay_with(&["-", "-f", &cluster], Some(&bytes)).stderr, "");
}

#[test]
fn captures_and_an_expression_are_told_apart() {
    let (folder, file) = file();
    let cluster = cluster();
    let absent = folder.path().join("absent.pcap").to_str().unwrap().to_owned();
    let cases: &[(&[&str], &str)] = &[
        (&[&absent], "absent.pcap: no such file, and not a filter expression either: position 1: "),
        (
            &[&file, &absent, "tcp"],
            "absent.pcap: no such file, and not a filter expression either: position 1: ",
        ),
        (
            &[&file, "tcp", "prot", "80"],
            "filter expression `tcp prot 80`: position 5: expected `and`, `or` or the end, found `prot`",
        ),
        (
            &["tcp port 80"],
            "no capture is named: tcp port 80: no such file; `tcp port 80` is a filter",
        ),
        (&[&file, "tcp", &file], "comes before it"),
        (&[&file, "-o", "hubble", "--flows"], "-o hubble has lines of packets alone"),
    ];
    for (arguments, expected) in cases {
        let ran = replay(&[*arguments, &["-f", &cluster]].concat());
        assert_eq!((ran.code, ran.stderr.lines().count()), (2, 1), "{}", ran.stderr);
        assert!(ran.stderr.starts_with("twinpath: "), "{}", ran.stderr);
        assert!(ran.stderr.contains(expected), "{arguments:?}: {}", ran.stderr);
    }
    for wrong in [&["--ip", "x"][..], &["--not"], &["--verdict", "LOST"]] {
        assert_eq!(replay(&[&[file.as_str()], wrong].concat()).code, 2, "{wrong:?}");
    }
    let two = replay(&[&file, &file, "tcp", "port", "80", "-f", &cluster]);
    assert!(two.text().contains("of 18 packets"), "{}{}", two.text(), two.stderr);
}

#[test]
fn flows_and_services_are_summed_up() {
    let (_folder, file) = file();
    let ran = replay(&[&file, "-f", &cluster(), "-q", "--flows", "--services"]);
    let text = ran.text().replace(&cluster(), "CLUSTER");
    insta::assert_snapshot!(text, @r"
FLOW                                          SERVICE               BACKEND               PACKETS      BYTES            START       DURATION    HANDSHAKE   VERDICTS
10.244.1.10:40000 > 10.96.0.80:80 tcp         default/web           web-a 10.244.1.11     2 / 1        108 / 54         0.000000    0.002000    COMPLETE    3 translated
10.244.1.10:5000 > 10.96.0.7:7 udp            default/echo          echo-b 10.244.2.13    1 / 1        47 / 47          0.003000    0.001000    -           2 translated
10.244.1.10:40001 > 10.96.0.80:81 tcp         -                     -                     1 / 0        54 / 0           0.005000    0.000000    UNANSWERED  1 dropped (SERVICE_PORT_NOT_FOUND)
10.244.1.10:41111 > 10.96.0.80:80 tcp         default/web           -                     0 / 1        0 / 54           0.006000    0.000000    -           1 unmatched
10.244.1.10 > 10.244.2.11 icmp                -                     -                     1 / 0        42 / 0           0.007000    0.000000    -           1 forwarded
10.244.1.10:40002 > 10.96.0.80:80 tcp         default/web           -                     1 / 0        54 / 0           0.008000    0.000000    -           1 dropped (CT_CANNOT_CREATE_ENTRY_FROM_PACKET)

SERVICE                       REQUESTS   REPLIES  CONNECTIONS  DROPPED  REASONS
default/echo:echo/UDP                1         1            1        0  -
default/web:http/TCP                 3         2            1        1  1 CT_CANNOT_CREATE_ENTRY_FROM_PACKET

SERVICE                       BACKEND                               CONNECTIONS   SHARE  EXPECTED  95% BAND
default/echo:echo/UDP         echo-a 10.244.1.13                              0    0.0%     50.0%  0-1
default/echo:echo/UDP         echo-b 10.244.2.13                              1  100.0%     50.0%  0-1
default/web:http/TCP          web-a 10.244.1.11                               1  100.0%     50.0%  0-1
default/web:http/TCP          web-b 10.244.2.11                               0    0.0%     50.0%  0-1

9 packets, 6 flows: 5 translated, 1 forwarded, 1 unmatched, 2 dropped (1 SERVICE_PORT_NOT_FOUND, 1 CT_CANNOT_CREATE_ENTRY_FROM_PACKET)
replies: 2 checked, 2 equal
  default/echo:echo/UDP     connections: 1 to echo-b 10.244.2.13
  default/web:http/TCP      connections: 1 to web-a 10.244.1.11
world sim, seed 1, cluster CLUSTER (4 service ports, 16 backends)
");
}

#[test]
fn sums_in_json_are_as_the_schema_says_and_agree_with_the_summary() {
    let schema: Value = serde_json::from_str(include_str!("../schema/replay.schema.json")).unwrap();
    let (_folder, file) = file();
    for capture in [file, fixture("captures/clusterip.pcap")] {
        for more in [&[][..], &["tcp"], &["-q"]] {
            let cluster = cluster();
            let options = [capture.as_str(), "-f", &cluster, "-o", "json", "--flows", "--services"];
            let ran = replay(&[&options[..], more].concat());
            let lines: Vec<Value> =
                ran.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            for line in &lines {
                assert_eq!(violation(&schema, &schema, line, "$"), None, "{line}");
            }
            let of = |kind: &'static str| lines.iter().filter(move |line| line["type"] == kind);
            let summary = lines.last().unwrap();
            let sum = |verdict: &str| -> u64 {
                of("flow").map(|flow| flow["verdicts"][verdict].as_u64().unwrap()).sum()
            };
            let all = ["TRANSLATED", "FORWARDED", "DROPPED", "UNMATCHED"];
            let total: u64 = all.iter().map(|verdict| sum(verdict)).sum();
            assert_eq!(summary["shown"], total);
            if more == ["tcp"] {
                assert!(of("flow").all(|flow| flow["proto"] == "TCP"));
                continue;
            }
            assert_eq!(summary["flows"], of("flow").count());
            for verdict in all {
                assert_eq!(summary["verdicts"][verdict], sum(verdict), "{verdict}");
            }
            let connections = |list: &Value| -> u64 {
                list.as_array().unwrap().iter().map(|x| x["connections"].as_u64().unwrap()).sum()
            };
            let given: u64 = of("service").map(|line| connections(&line["backends"])).sum();
            assert_eq!(given, connections(&summary["shares"]));
            for service in of("service") {
                let backends = service["backends"].as_array().unwrap();
                let expected = |part: &Value| part["expected"]["share"].as_f64().unwrap_or(0.0);
                let whole: f64 = backends.iter().map(expected).sum();
                if service["connections"] != 0 {
                    assert!((whole - 1.0).abs() < 1e-9, "{service}");
                }
            }
        }
    }
}

#[test]
fn hubble_has_what_it_takes() {
    let (_folder, file) = file();
    let ran = replay(&[&file, "-f", &cluster(), "-o", "hubble"]);
    let lines: Vec<Value> =
        ran.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 9);
    assert!(ran.stderr.contains("9 packets, 6 flows"), "{}", ran.stderr);
    insta::assert_snapshot!(ran.text().lines().next().unwrap(), @r#"{"flow":{"time":"2026-01-01T00:00:00.000000000Z","verdict":"TRANSLATED","IP":{"source":"10.244.1.10","destination":"10.96.0.80","ipVersion":"IPv4"},"l4":{"TCP":{"source_port":40000,"destination_port":80,"flags":{"SYN":true}}},"source":{"namespace":"default","pod_name":"client"},"destination":{"namespace":"default","pod_name":"web-a"},"Type":"L3_L4","node_name":"node-a","destination_service":{"name":"web","namespace":"default"},"traffic_direction":"EGRESS","is_reply":false,"Summary":"TCP Flags: SYN"},"node_name":"node-a","time":"2026-01-01T00:00:00.000000000Z"}"#);
    let flow = |n: usize| &lines[n - 1]["flow"];
    for (n, verdict, reply) in [
        (1, "TRANSLATED", Value::from(false)),
        (2, "TRANSLATED", true.into()),
        (6, "DROPPED", false.into()),
        (7, "VERDICT_UNKNOWN", true.into()),
        (8, "FORWARDED", false.into()),
    ] {
        assert_eq!(flow(n)["verdict"], verdict, "{n}");
        if n != 6 {
            assert_eq!(flow(n)["is_reply"], reply, "{n}");
        }
    }
    assert_eq!(flow(2)["source"]["pod_name"], "web-a");
    assert_eq!(flow(2)["source_service"]["name"], "web");
    assert_eq!(flow(1)["destination"]["pod_name"], "web-a");
    assert_eq!(flow(4)["l4"]["UDP"]["destination_port"], 7);
    assert_eq!(flow(8)["l4"]["ICMPv4"]["type"], 8);
    // A reason of our own is none of Hubble's, and one of Hubble's is.
    assert_eq!(flow(6)["drop_reason_desc"], "DROP_REASON_UNKNOWN");
    assert_eq!(flow(6)["Summary"], "TCP Flags: SYN; SERVICE_PORT_NOT_FOUND");
    assert_eq!(flow(9)["drop_reason_desc"], "CT_CANNOT_CREATE_ENTRY_FROM_PACKET");
    for line in &lines {
        assert_eq!(line["time"], line["flow"]["time"]);
    }
}

#[test]
fn stages_are_of_the_packets_that_are_shown() {
    let (folder, file) = file();
    let out = folder.path().join("out.pcapng").to_str().unwrap().to_owned();
    replay(&[&file, "-f", &cluster(), "-q", "-w", &out, "--verdict", "dropped"]);
    let mut written = twinpath::capture::Capture::open(out.as_ref()).unwrap();
    let mut numbers = Vec::new();
    while let Some(record) = written.next().unwrap() {
        numbers.push(record.comment.unwrap().split(' ').next().unwrap().to_owned());
    }
    numbers.dedup();
    assert_eq!(numbers, ["#6", "#9"]);
}

#[test]
fn a_service_whose_clients_stay_has_no_band() {
    let folder = tempdir().unwrap();
    let text = std::fs::read_to_string(fixture("clusters/two-nodes.yaml")).unwrap();
    let affine = text.replace("sessionAffinity: None", "sessionAffinity: ClientIP");
    let state = write(folder.path(), "affine.yaml", affine.as_bytes());
    let file = fixture("captures/dns.pcap");
    let ran = replay(&[&file, "-f", &state, "-q", "--services"]);
    assert!(ran.text().contains("clients stay with their backend"), "{}{}", ran.text(), ran.stderr);
}
