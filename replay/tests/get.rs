//! `twinpath get` as a command: tables of a dump and of what a capture leaves, in every form.

mod common;

use std::process::{Command, Output};

use common::{capture, cluster, fixture, tcp, udp, violation};
use serde_json::Value;
use tempfile::tempdir;

const CLIENT: [u8; 4] = [10, 244, 1, 10];
const WEB: [u8; 4] = [10, 96, 0, 80];
const ECHO: [u8; 4] = [10, 96, 0, 7];

fn get(arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_twinpath")).arg("get").args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// A connection that got to its end, one that did not, and a datagram.
fn packets() -> Vec<Vec<u8>> {
    let (open, half) = ((CLIENT, 40_000), (CLIENT, 40_001));
    let web = (WEB, 80);
    vec![
        tcp(open, web, 64, 2),
        tcp(web, open, 63, 18),
        tcp(open, web, 64, 16),
        tcp(half, web, 64, 2),
        udp((CLIENT, 5_000), (ECHO, 7), 64, b"hello"),
    ]
}

/// Which backend is chosen is the dice's.
fn masked(text: &str) -> String {
    ["10.244.1.11", "10.244.2.11", "10.244.1.13", "10.244.2.13"]
        .into_iter()
        .fold(text.to_owned(), |text, backend| text.replace(backend, "A-BACKEND"))
}

#[test]
fn connections_that_a_capture_leaves() {
    let folder = tempdir().unwrap();
    let file = capture(folder.path(), "c.pcap", &packets());
    let state = cluster();
    let (code, text, _) =
        get(&["conntrack", &file, "-f", &state, "-o", "conntrack", "--node", "node-a"]);
    assert_eq!(code, 0);
    insta::assert_snapshot!(masked(&text), @r"
udp      17 121 src=10.244.1.10 dst=10.96.0.7 sport=5000 dport=7 [UNREPLIED] src=A-BACKEND dst=10.244.1.10 sport=7007 dport=5000 mark=0 use=1
tcp      6 7440 ESTABLISHED src=10.244.1.10 dst=10.96.0.80 sport=40000 dport=80 src=A-BACKEND dst=10.244.1.10 sport=8080 dport=40000 [ASSURED] mark=0 use=1
tcp      6 240 SYN_SENT src=10.244.1.10 dst=10.96.0.80 sport=40001 dport=80 [UNREPLIED] src=A-BACKEND dst=10.244.1.10 sport=8080 dport=40001 mark=0 use=1
");
    let (_, text, _) =
        get(&["nat", &file, "-f", &state, "--service", "default/echo", "--no-headers"]);
    assert_eq!(text.lines().filter(|line| line.starts_with("node-a ")).count(), 2, "{text}");
    assert!(text.contains("10.244.1.10:5000 > 10.96.0.7:7 "), "{text}");
}

#[test]
fn every_line_of_json_is_as_the_schema_says() {
    let schema: Value = serde_json::from_str(include_str!("../schema/get.schema.json")).unwrap();
    let folder = tempdir().unwrap();
    let file = capture(folder.path(), "c.pcap", &packets());
    let state = cluster();
    let mut rows = 0;
    for table in [
        "services",
        "backends",
        "lb",
        "maglev",
        "conntrack",
        "nat",
        "affinity",
        "policy",
        "fragments",
        "endpoints",
    ] {
        let service: &[&str] = if table == "maglev" { &["--service", "default/web"] } else { &[] };
        let base = [table, &file, "-f", &state, "-o", "json", "--algorithm", "maglev"];
        let (code, text, _) = get(&[&base[..], service].concat());
        assert!(matches!(code, 0 | 4), "{table}: {code}");
        for line in text.lines() {
            let value: Value = serde_json::from_str(line).unwrap();
            assert_eq!(violation(&schema, &schema, &value, "$"), None, "{line}");
            rows += 1;
        }
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!((&last["type"], &last["table"]), (&"summary".into(), &table.into()));
        assert_eq!(last["rows"], text.lines().count() - 1);
    }
    assert!(rows > 60, "{rows}");
}

#[test]
fn filters_and_forms() {
    let state = cluster();
    let (_, all, note) = get(&["services", "-f", &state, "-A", "-o", "name"]);
    assert_eq!(all, "service/default/echo\nservice/default/web\nservice/kube-system/kube-dns\n");
    assert_eq!(note, "twinpath: tables of node-a; --node shows another's\n");
    let (_, some, _) = get(&["svc", "-f", &state, "-n", "kube-system", "-o", "name"]);
    assert_eq!(some, "service/kube-system/kube-dns\n");
    let (_, echo, _) = get(&["services", "-f", &state, "--service", "default/echo", "-o", "ipvs"]);
    assert!(
        echo.starts_with(
            "-A -u 10.96.0.7:7 -s rr\n-a -u 10.96.0.7:7 -r 10.244.1.13:7007 -m -w 1\n"
        ),
        "{echo}"
    );
}

#[test]
fn later_states_count_when_their_time_has_come() {
    let folder = tempdir().unwrap();
    let file = capture(folder.path(), "c.pcap", &packets());
    let empty =
        common::write(folder.path(), "empty.yaml", b"kind: Node\nmetadata: {name: node-a}\n");
    let services = |at: &str| {
        let then = format!("{at}={empty}");
        let (code, ..) = get(&["services", &file, "-f", &cluster(), "--then", &then]);
        code
    };
    assert_eq!(services("0.002"), 4, "no services are left");
    assert_eq!(services("10"), 0);
}

#[test]
fn how_it_ends() {
    let state = cluster();
    for (arguments, code, words) in [
        (&["conntrack"][..], 3, "no datapath runs on this machine"),
        (&["conntrack", "-f", &state], 4, "give a capture"),
        (&["maglev", "-f", &state], 4, "--algorithm maglev"),
        (&["services", "-f", &state, "--node", "x"], 2, "the nodes are: node-a, node-b"),
        (&["lb", "-f", &state, "-o", "name"], 2, "-o name: there is no such form of lb"),
        (&["services", "-f", &state, "-o", "conntrack"], 2, "there is no such form"),
        (&["services", "-f", &state, "--service", "web"], 2, "NAMESPACE/NAME"),
        (&["services", "-f", &state, "--then", "1=x"], 2, "--then is a time of a capture"),
        (&["services", "-f", &state, "-n", "a", "-A"], 2, "cannot be used with"),
        (&["services", &fixture("README.md"), "-f", &state], 2, "not a capture"),
    ] {
        let (found, _, text) = get(arguments);
        assert_eq!(found, code, "{arguments:?}: {text}");
        assert!(text.contains(words), "{arguments:?}: {text}");
    }
}
