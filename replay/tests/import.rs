//! Dumps other than those of kubectl, at the command line.

mod common;

use std::io::{Cursor, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Ran, capture, fixture, replay, tcp, udp, write};
use tempfile::tempdir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

const POD: [u8; 4] = [10, 217, 0, 9];
const DNS: [u8; 4] = [10, 96, 0, 10];
const S: u8 = 2;

fn import(arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_twinpath"));
    let output = command.arg("import").args(arguments).stdin(Stdio::null()).output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        stdout: output.stdout,
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn zipped(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// The verdict and the change of every packet of a table.
fn verdicts(ran: &Ran) -> Vec<String> {
    let text = ran.text();
    let lines = text.lines().skip(1).take_while(|line| !line.is_empty());
    lines.map(|line| line.split_whitespace().skip(2).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn the_rules_of_a_real_node() {
    let dump = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/data/iptables-save-kube-proxy.txt");
    let Some(dump) = dump.exists().then(|| dump.to_str().unwrap()) else {
        return twinpath_kernel::testing::skip("a real iptables-save", "../shared/data absent");
    };
    let ran = import(&["iptables-save", dump]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(ran.text().matches("kind: Service\n").count(), 102);
    let expected = "102 services with 104 ports, 5 endpoints; 100 services without endpoints, from 138 rules\n";
    assert!(ran.stderr.contains(expected), "{}", ran.stderr);
    assert!(!ran.stderr.contains("not understood"), "{}", ran.stderr);

    let folder = tempdir().unwrap();
    let yaml = write(folder.path(), "cluster.yaml", &ran.stdout);
    let json = write(
        folder.path(),
        "cluster.json",
        &import(&["iptables-save", dump, "-o", "json"]).stdout,
    );
    let dead = [10, 108, 154, 23];
    let frames = [
        udp((POD, 5000), (DNS, 53), 64, b"query"),
        tcp((POD, 5001), (DNS, 53), 64, S),
        tcp((POD, 5002), (DNS, 9153), 64, S),
        tcp((POD, 5003), ([10, 96, 0, 1], 443), 64, S),
        tcp((POD, 5004), (dead, 80), 64, S),
    ];
    let file = capture(folder.path(), "calls.pcap", &frames);
    let direct = replay(&[&file, "-f", dump]);
    assert_eq!(direct.code, 0, "{}", direct.stderr);
    let shown = verdicts(&direct);
    let is = |line: &str, verdict: &str, service: &str, port: &str| {
        line.starts_with(verdict) && line.contains(service) && line.contains(port)
    };
    assert!(is(&shown[0], "TRANSLATED", "kube-system/kube-dns", ":53 ct NEW"), "{shown:#?}");
    assert!(is(&shown[1], "TRANSLATED", "kube-system/kube-dns", ":53 ct NEW"), "{shown:#?}");
    assert!(is(&shown[2], "TRANSLATED", "kube-system/kube-dns", ":9153 ct NEW"), "{shown:#?}");
    assert!(is(&shown[3], "TRANSLATED", "default/kubernetes", "192.168.1.125:6443"), "{shown:#?}");
    assert!(is(&shown[4], "DROPPED", "default/nginx-1", ""), "{shown:#?}");
    for imported in [yaml, json] {
        assert_eq!(verdicts(&replay(&[&file, "-f", &imported])), shown);
    }
}

#[test]
fn the_servers_of_ipvs() {
    let folder = tempdir().unwrap();
    let text = b"-A -u 10.96.0.10:53 -s rr\n-a -u 10.96.0.10:53 -r 10.217.0.71:5353 -m -w 1\n";
    let dump = write(folder.path(), "ipvs.txt", text);
    let file = capture(folder.path(), "calls.pcap", &[udp((POD, 5000), (DNS, 53), 64, b"query")]);
    let ran = import(&["ipvs", &dump]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let yaml = write(folder.path(), "cluster.yaml", &ran.stdout);
    for state in [dump, yaml] {
        let ran = replay(&[&file, "-f", &state]);
        assert_eq!(
            verdicts(&ran),
            [
                "TRANSLATED 10.217.0.9:5000 > 10.96.0.10:53 udp default/service-10-96-0-10 dst 10.217.0.71:5353 ct NEW"
            ]
        );
    }
    let none = write(folder.path(), "none.txt", b"IP Virtual Server version 1.2.1\n");
    let ran = import(&["ipvs", &none]);
    assert_eq!(ran.code, 4);
    assert!(ran.stderr.contains("no virtual server was found"), "{}", ran.stderr);
}

/// Rules do not say where endpoints run, and more than a node has room for must not all be on one.
#[test]
fn more_endpoints_of_unknown_place_than_fit_on_a_node() {
    let folder = tempdir().unwrap();
    let mut text = String::new();
    for i in 0..1_500 {
        let (high, low) = (i / 250, i % 250 + 1);
        let server = format!("-u 10.96.{high}.{low}:53");
        text += &format!("-A {server} -s rr\n");
        for pod in 1..=3 {
            text += &format!("-a {server} -r 10.{pod}.{high}.{low}:5353 -m -w 1\n");
        }
    }
    let dump = write(folder.path(), "ipvs.txt", text.as_bytes());
    let query = udp((POD, 5000), ([10, 96, 5, 9], 53), 64, b"query");
    let file = capture(folder.path(), "calls.pcap", &[query]);
    let ran = replay(&[&file, "-f", &dump, "-q"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.text().starts_with("1 packet, 1 flow: 1 translated\n"), "{}", ran.text());
    let note = "twinpath: 4500 endpoints have no node in the dump: the first 2000 are on this-node, \
                the others on made-up nodes this-node-more-1 and so on\n";
    assert!(ran.stderr.contains(note), "{}", ran.stderr);
}

/// A pipe hands over what its writer has written, which may be a single byte.
#[test]
fn archives_from_a_pipe_in_pieces() {
    let folder = tempdir().unwrap();
    let query = udp((POD, 5000), (DNS, 53), 64, b"query");
    let file = capture(folder.path(), "calls.pcap", &[query]);
    let dump = zipped(&[("a.yaml", &std::fs::read(fixture("clusters/two-nodes.yaml")).unwrap())]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_twinpath"));
    command.args(["replay", &file, "-f", "-", "-q"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(&dump[..1]).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    input.write_all(&dump[1..]).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{errors}");
}

#[test]
fn a_sysdump() {
    let folder = tempdir().unwrap();
    let cluster = std::fs::read(fixture("clusters/two-nodes.yaml")).unwrap();
    let map = b"kind: ConfigMap\ndata: {bpf-lb-algorithm: maglev, bpf-lb-mode: dsr}\n";
    let bytes = zipped(&[
        ("s/k8s-services-20260115-090000.yaml", &cluster),
        ("s/cilium-configmap-20260115-090000.yaml", map),
        ("s/k8s-secrets-20260115-090000.yaml", b"{"),
    ]);
    let dump = write(folder.path(), "sysdump.zip", &bytes);
    let call = |port| tcp(([10, 244, 1, 10], port), ([10, 96, 0, 80], 80), 64, S);
    let frames: Vec<_> = (40_000..40_020).map(call).collect();
    let file = capture(folder.path(), "calls.pcap", &frames);
    let ran = replay(&[&file, "-f", &dump]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("a sysdump of Cilium: 2 of its files are read, 1 have nothing"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("algorithm maglev, mode dsr; flags come before it"),
        "{}",
        ran.stderr
    );
    let maglev =
        replay(&[&file, "-f", &fixture("clusters/two-nodes.yaml"), "--algorithm", "maglev"]);
    assert_eq!(verdicts(&ran), verdicts(&maglev));
    let random = replay(&[&file, "-f", &dump, "--algorithm", "random"]);
    assert_ne!(verdicts(&random), verdicts(&maglev), "flags come before what a sysdump says");

    let ran = import(&["sysdump", &dump]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let yaml = write(folder.path(), "cluster.yaml", &ran.stdout);
    let again = replay(&[&file, "-f", &yaml, "--algorithm", "maglev"]);
    assert_eq!((again.code, verdicts(&again)), (0, verdicts(&maglev)), "{}", again.stderr);
}

#[test]
fn a_local_policy_and_no_nodes() {
    let folder = tempdir().unwrap();
    let file = capture(folder.path(), "calls.pcap", &[udp((POD, 5000), (DNS, 53), 64, b"query")]);
    let text = "
kind: Service
metadata: {name: web}
spec: {type: NodePort, clusterIP: 10.96.0.10, externalTrafficPolicy: Local, ports: [{port: 53, protocol: UDP, nodePort: 30053}]}
---
kind: EndpointSlice
metadata: {name: web, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: 5353, protocol: UDP}]
endpoints: [{addresses: [10.217.0.71]}, {addresses: [10.217.0.72]NODE}]
";
    let without = write(folder.path(), "a.yaml", text.replace("NODE", "").as_bytes());
    let ran = replay(&[&file, "-f", &without]);
    assert_eq!(ran.code, 2);
    assert_eq!(
        ran.stderr,
        format!(
            "twinpath: {without}: where endpoints run is not said, which decides here (default/web: \
             externalTrafficPolicy: Local): missing are the nodeName of endpoints (10.217.0.71:5353 of \
             default/web, 10.217.0.72:5353 of default/web) and all Nodes; dump them with: kubectl get \
             endpointslices,nodes -A -o yaml\n"
        )
    );
    let half =
        write(folder.path(), "b.yaml", text.replace("NODE", ", nodeName: node-b").as_bytes());
    let ran = replay(&[&file, "-f", &half]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for part in [
        "endpoints without nodeName count as being on no node, and so get nothing by a Local policy: \
         10.217.0.71:5353 of default/web; dump them with: kubectl get endpointslices -A -o yaml\n",
        "no Nodes, which decide here (default/web: externalTrafficPolicy: Local): missing are the \
         addresses of node-b, and all nodes without endpoints; dump them with: kubectl get nodes -o yaml\n",
    ] {
        assert!(ran.stderr.contains(part), "{}", ran.stderr);
    }
}
