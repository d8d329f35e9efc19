//! `twinpath explain`: what it says, and how it ends.

mod common;

use std::process::Command;

use common::{Ran, capture, fixture, ipv4, tcp, udp, violation};
use serde_json::Value;
use tempfile::tempdir;

fn explain(arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_twinpath"));
    command.arg("explain").args(arguments).env_remove("CLICOLOR_FORCE");
    let output = command.output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        stdout: output.stdout,
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn reasons() -> String {
    fixture("clusters/reasons.yaml")
}

/// The explanation of a typed packet.
fn typed(packet: &str) -> String {
    let ran = explain(&["-f", &reasons(), packet]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{packet}: {}", ran.text());
    ran.text()
}

/// Typed packets, by the names of their snapshots.
const TYPED: [(&str, &str); 20] = [
    ("opened", "tcp 10.244.1.10:4000 > 10.96.0.80:80 S"),
    ("no_endpoints", "tcp 10.244.1.10:4000 > 10.96.0.81:80 S"),
    ("not_ready", "tcp 10.244.1.10:4000 > 10.96.0.82:80 S"),
    ("source_range_out", "tcp 192.0.2.9:4000 > 203.0.113.83:80 S"),
    ("source_range_in", "tcp 198.51.100.9:4000 > 203.0.113.83:80 S"),
    ("external_local", "tcp 198.51.100.9:4000 > 192.168.0.1:30084 S"),
    ("internal_local", "tcp 10.244.1.10:4000 > 10.96.0.88:80 S"),
    ("hairpin", "tcp 10.244.1.10:4000 > 10.96.0.85:80 S"),
    ("zones", "tcp 10.244.1.10:4000 > 10.96.0.86:80 S"),
    ("affinity_and_maglev", "tcp 10.244.1.10:4000 > 10.96.0.87:80 S"),
    ("last_hop", "tcp 10.244.1.10:4000 > 10.96.0.80:80 S ttl 1"),
    ("udp_to_another_node", "udp 10.244.1.10:4000 > 10.96.0.53:53 len 30"),
    ("ipv6", "tcp [fd00:10:244:1::10]:4000 > [fd00:10:96::80]:80 S"),
    ("echo", "icmp 10.244.1.10 > 10.96.0.80"),
    ("another_port", "tcp 10.244.1.10:4000 > 10.96.0.80:81 S"),
    ("nobodys_address", "tcp 10.244.1.10:4000 > 10.96.0.99:80 S"),
    ("reset", "tcp 10.244.1.10:4000 > 10.96.0.80:80 R"),
    ("orphan", "tcp 10.96.0.80:80 > 10.244.1.10:4000 SA"),
    ("no_service", "udp 10.244.1.10:4000 > 8.8.8.8:53"),
    ("flags_that_none_sends", "tcp 10.244.1.10:4000 > 10.96.0.80:80 SF"),
];

#[test]
fn typed_packets() {
    for (name, packet) in TYPED {
        insta::assert_snapshot!(name, typed(packet));
    }
}

/// What is said of kube-proxy.
fn of_kube_proxy(arguments: &[&str]) -> String {
    let ran = explain(arguments);
    let text = ran.text();
    let line = text.lines().find_map(|line| line.strip_prefix("kube-proxy:"));
    line.unwrap_or_else(|| panic!("{arguments:?}: {text}{}", ran.stderr)).to_owned()
}

#[test]
fn kube_proxy_differs_only_where_a_row_is_about_the_packet() {
    // Row 25 is about backends of the node itself; elsewhere both masquerade.
    let elsewhere = fixture("incidents/2-port-exhaustion/cluster.yaml");
    let node_port = "tcp 198.51.100.18:20010 > 192.168.10.11:30080 S";
    let said = of_kube_proxy(&["-f", &elsewhere, node_port]);
    assert!(said.contains("MASQUERADE") && !said.contains("row"), "{said}");
    // A link that is too short is too short for kube-proxy's node, and no matter of DSR.
    let long = "udp 10.244.1.10:4000 > 10.96.0.53:53 len 90";
    let said = of_kube_proxy(&["-f", &reasons(), "--mtu", "68", long]);
    assert!(said.contains("too long for the link") && !said.contains("DSR"), "{said}");
    // In IPVS mode, the node has the addresses of services itself.
    let said = of_kube_proxy(&["-f", &reasons(), "tcp 10.244.1.10:4000 > 10.96.0.80:81 S"]);
    assert!(said.contains("IPVS mode: REJECT"), "{said}");
}

const CLIENT: [u8; 4] = [10, 244, 1, 10];
const WEB: [u8; 4] = [10, 96, 0, 80];
const DNS: [u8; 4] = [10, 96, 0, 53];

/// An ICMP message with its checksum.
fn summed(mut message: Vec<u8>) -> Vec<u8> {
    let words = message.chunks(2).map(|b| u32::from(b[0]) << 8 | u32::from(b[1]));
    let sum: u32 = words.sum();
    let field = !(((sum & 0xffff) + (sum >> 16)) as u16);
    message[2..4].copy_from_slice(&field.to_be_bytes());
    message
}

/// A connection, its answer, a datagram in fragments, and an ICMP error.
fn frames() -> Vec<Vec<u8>> {
    let later = |mut frame: Vec<u8>, word: u16| {
        frame[20..22].copy_from_slice(&word.to_be_bytes());
        frame[24..26].fill(0);
        let sum: u32 =
            frame[14..34].chunks(2).map(|b| u32::from(b[0]) << 8 | u32::from(b[1])).sum();
        let sum = !(((sum & 0xffff) + (sum >> 16)) as u16);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame
    };
    let request = tcp((CLIENT, 40_000), (WEB, 80), 64, 2);
    let datagram = udp((CLIENT, 5_000), (DNS, 53), 64, &[7; 24]);
    let rest = ipv4((CLIENT, DNS), 64, 17, vec![7; 16], None);
    // From a router on the way: the client's packet was too long.
    let quote =
        [&[3, 4, 0, 0, 0, 0, 5, 120][..], &tcp((WEB, 80), (CLIENT, 40_000), 60, 16)[14..42]];
    vec![
        request,
        tcp((WEB, 80), (CLIENT, 40_000), 63, 18),
        tcp((CLIENT, 40_000), (WEB, 80), 64, 16),
        later(datagram, 0x2000),
        later(rest.clone(), 4),
        later(ipv4((CLIENT, DNS), 64, 17, vec![7; 16], None), 9),
        ipv4((CLIENT, WEB), 64, 1, summed(quote.concat()), None),
        [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1, 8, 6], &[0; 28]].concat(),
        tcp((CLIENT, 40_001), (WEB, 80), 64, 2)[..40].to_vec(),
    ]
}

#[test]
fn packets_of_a_capture() {
    let folder = tempdir().unwrap();
    let file = capture(folder.path(), "kinds.pcap", &frames());
    for (number, name) in [
        ("2", "reply"),
        ("3", "established"),
        ("4", "first_fragment"),
        ("5", "later_fragment"),
        ("7", "icmp_error"),
        ("8", "arp"),
        ("9", "cut"),
    ] {
        let ran = explain(&["-f", &reasons(), &file, "--packet", number]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{}", ran.text());
        insta::assert_snapshot!(name, ran.text());
    }
    // A later fragment, before which nothing came.
    let file = capture(folder.path(), "late.pcap", &frames()[5..6]);
    let ran = explain(&["-f", &reasons(), &file, "--packet", "1"]);
    insta::assert_snapshot!("lost_fragment", ran.text());
}

#[test]
fn a_flow_is_its_first_packet_or_all() {
    let folder = tempdir().unwrap();
    let file = capture(folder.path(), "kinds.pcap", &frames());
    let flow = "10.244.1.10:40000-10.96.0.80:80/tcp";
    let heads = |text: String| -> Vec<String> {
        let heads = text.lines().filter(|line| line.starts_with("packet "));
        heads.map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")).collect()
    };
    let ran = explain(&["-f", &reasons(), &file, "--flow", flow]);
    assert_eq!(heads(ran.text()), ["packet 1"]);
    let ran = explain(&["-f", &reasons(), &file, "--flow", flow, "--all"]);
    assert_eq!(heads(ran.text()), ["packet 1", "packet 2", "packet 3"]);
}

#[test]
fn a_typed_packet_comes_behind_the_capture() {
    let folder = tempdir().unwrap();
    let file = capture(folder.path(), "kinds.pcap", &frames());
    let ran = explain(&["-f", &reasons(), &file, "tcp 10.244.1.10:40000 > 10.96.0.80:80 A len 9"]);
    assert!(ran.text().contains("ct ESTABLISHED"), "{}", ran.text());
    // Derived from the capture, the cluster knows the frontend, too.
    let ran = explain(&[&file, "tcp 10.244.1.10:40000 > 10.96.0.80:80 A len 9"]);
    assert!(ran.text().contains("ct ESTABLISHED"), "{} {}", ran.text(), ran.stderr);
}

#[test]
fn json_follows_its_schema() {
    let schema: Value =
        serde_json::from_str(include_str!("../schema/explain.schema.json")).unwrap();
    let folder = tempdir().unwrap();
    let file = capture(folder.path(), "kinds.pcap", &frames());
    let mut runs: Vec<Vec<String>> =
        TYPED.iter().map(|(_, packet)| vec![(*packet).to_owned()]).collect();
    runs.extend((1..=9).map(|number| vec![file.clone(), "--packet".into(), number.to_string()]));
    for run in runs {
        let mut arguments = vec!["-o".to_owned(), "json".into(), "-f".into(), reasons()];
        arguments.extend(run.clone());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let ran = explain(&arguments);
        assert_eq!(ran.code, 0, "{run:?}: {}", ran.stderr);
        let lines: Vec<Value> =
            ran.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2, "{run:?}");
        for line in &lines {
            assert_eq!(violation(&schema, &schema, line, "line"), None, "{run:?}");
        }
        assert_eq!(lines[1]["type"], "summary");
        if lines[0]["verdict"] == "DROPPED" {
            assert!(!lines[0]["drop"]["sites"].as_array().unwrap().is_empty(), "{run:?}");
        }
    }
}

#[test]
fn bad_input_is_one_line() {
    let folder = tempdir().unwrap();
    let file = capture(folder.path(), "kinds.pcap", &frames());
    let cluster = reasons();
    for (arguments, what) in [
        (vec![&*file, "--packet", "5000"], "there is no packet 5000, only 9 packets"),
        (
            vec![&*file, "--flow", "1.1.1.1:1-2.2.2.2:2/tcp"],
            "no packet of that flow among 9 packets",
        ),
        (vec![&*file], "which packet?"),
        (vec!["--packet", "1", "tcp 1.1.1.1:1 > 2.2.2.2:2"], "and not both"),
        (vec!["tcp 1.1.1.1:1 2.2.2.2:2"], "`>` is missing behind \"1.1.1.1:1\""),
        (vec!["tcp 1.1.1.1:1 > 2.2.2.2"], "\"2.2.2.2\" is no address and port"),
        (vec!["gre 1.1.1.1 > 2.2.2.2"], "begin with tcp, udp or icmp"),
        (vec!["tcp 1.1.1.1:1 > 2.2.2.2:2 Q"], "Q: give TCP flags"),
        (vec![&*file, "--packet", "1", "--world", "veth"], "use --world sim"),
        (vec!["absent.pcap", "--packet", "1"], "absent.pcap"),
    ] {
        let mut all = vec!["-f", &*cluster];
        all.extend(&arguments);
        let ran = explain(&all);
        assert_eq!((ran.code, ran.text().as_str()), (2, ""), "{arguments:?}");
        assert!(ran.stderr.contains(what), "{arguments:?}: {}", ran.stderr);
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
        assert!(ran.stderr.starts_with("twinpath: "), "{}", ran.stderr);
    }
    let ran = explain(&["tcp 1.1.1.1:1 > 2.2.2.2:2"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("needs a cluster"), "{}", ran.stderr);
}
