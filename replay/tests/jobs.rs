//! `--jobs`: the bytes of the output are those of one.

mod common;

use std::path::Path;

use common::{capture, cluster, fixture, ipv4, replay, tcp, udp, write};
use tempfile::tempdir;

/// A node port with affinity, a service without endpoints, a plain one; two nodes.
const CLUSTER: &str = "
kind: Node
metadata: {name: n1}
status: {addresses: [{type: InternalIP, address: 192.168.0.1}]}
---
kind: Node
metadata: {name: n2}
status: {addresses: [{type: InternalIP, address: 192.168.0.2}]}
---
kind: Pod
metadata: {name: client}
spec: {nodeName: n1}
status: {podIPs: [{ip: 10.244.1.10}]}
---
kind: Pod
metadata: {name: a}
spec: {nodeName: n1}
status: {podIPs: [{ip: 10.244.1.11}]}
---
kind: Pod
metadata: {name: b}
spec: {nodeName: n2}
status: {podIPs: [{ip: 10.244.2.11}]}
---
kind: Service
metadata: {name: web}
spec: {type: NodePort, clusterIP: 10.96.0.80, sessionAffinity: ClientIP, ports: [{port: 80, nodePort: 30080}]}
---
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
ports: [{port: 8080}]
endpoints:
- {addresses: [10.244.1.11], nodeName: n1, targetRef: {kind: Pod, name: a}}
- {addresses: [10.244.2.11], nodeName: n2, targetRef: {kind: Pod, name: b}}
---
kind: Service
metadata: {name: empty}
spec: {type: ClusterIP, clusterIP: 10.96.0.81, ports: [{port: 80}]}
---
kind: Service
metadata: {name: dns}
spec: {type: ClusterIP, clusterIP: 10.96.0.10, ports: [{port: 53, protocol: UDP}]}
---
kind: EndpointSlice
metadata: {name: dns-1, labels: {kubernetes.io/service-name: dns}}
ports: [{port: 53, protocol: UDP}]
endpoints:
- {addresses: [10.244.1.11], nodeName: n1, targetRef: {kind: Pod, name: a}}
- {addresses: [10.244.2.11], nodeName: n2, targetRef: {kind: Pod, name: b}}
";

const WEB: [u8; 4] = [10, 96, 0, 80];
const EMPTY: [u8; 4] = [10, 96, 0, 81];
const DNS: [u8; 4] = [10, 96, 0, 10];
const NODE: [u8; 4] = [192, 168, 0, 1];
const POD: [u8; 4] = [10, 244, 1, 11];

/// Connections, replies, hairpins, echoes, fragments, rejects and rubbish of clients old and new. More
/// packets than a few batches hold, of lengths that fill some by bytes.
fn mixed(seed: u32, count: u32) -> Vec<Vec<u8>> {
    let packet = |number: u32| {
        let roll = (number ^ seed.wrapping_mul(0x85eb_ca6b)).wrapping_mul(0x9e37_79b9) >> 12;
        let (kind, who, port) = (roll % 16, (roll >> 4) % 200, 40_000 + ((roll >> 12) % 50) as u16);
        let known = [10, 244, 1, 10];
        let stranger = [10, 244, 9, who as u8];
        let outside = [203, 0, 113, who as u8];
        match kind {
            0..4 => tcp((known, port), (WEB, 80), 64, 2),
            4 => tcp((WEB, 80), (known, port), 63, 18),
            5 => tcp((stranger, port), (WEB, 80), 64, 2),
            6 => tcp((outside, port), (NODE, 30_080), 60, 2),
            7 => tcp((NODE, 30_080), (outside, port), 60, 16),
            8 => udp((known, port), (DNS, 53), 64, &vec![7; (roll % 1_400) as usize]),
            9 => udp((DNS, 53), (known, port), 63, b"answer"),
            10 => tcp((known, port), (EMPTY, 80), 64, 2),
            11 => tcp((POD, port), (WEB, 80), 64, 2),
            12 => ipv4((known, POD), 64, 1, vec![8, 0, 0, 0, 0, 1, 0, 1], Some(2)),
            13 => {
                let mut first = udp((known, port), (DNS, 53), 64, &[7; 64]);
                first[20] = 0x20; // more fragments
                first
            }
            14 => tcp((stranger, port), ([10, 244, 2, 11], 8080), 1, 16),
            _ => vec![roll as u8; 60],
        }
    };
    (0..count).map(packet).collect()
}

/// Runs with one thread and with more, in all forms and as pcapng.
fn same(folder: &Path, arguments: &[&str]) {
    let run = |jobs: &str, form: &[&str]| {
        let stages = folder.join("stages.pcapng");
        let mut all = arguments.to_vec();
        all.extend(["--jobs", jobs, "-w", stages.to_str().unwrap()]);
        all.extend(form);
        let ran = replay(&all);
        (ran.code, ran.stderr, ran.stdout, std::fs::read(stages).unwrap_or_default())
    };
    for form in [&["-o", "table"][..], &["-o", "wide", "--color", "always"], &["-o", "json"]] {
        let one = run("1", form);
        for jobs in ["2", "7"] {
            assert!(run(jobs, form) == one, "{arguments:?} {form:?} with {jobs} jobs");
        }
    }
}

#[test]
fn mixed_traffic() {
    let folder = tempdir().unwrap();
    let cluster = write(folder.path(), "cluster.yaml", CLUSTER.as_bytes());
    for seed in [1, 2] {
        let file = capture(folder.path(), "mixed.pcap", &mixed(seed, 1_200));
        let one = replay(&[&file, "-f", &cluster]);
        for part in ["TRANSLATED", "FORWARDED", "UNMATCHED", "DROPPED", "30080"] {
            assert!(one.text().contains(part), "{part}: {}", one.stderr);
        }
        same(folder.path(), &[&file, "-f", &cluster]);
    }
}

#[test]
fn recorded_traffic() {
    let folder = tempdir().unwrap();
    same(folder.path(), &[&fixture("captures/offload.pcap"), "-f", &cluster()]);
    same(folder.path(), &[&fixture("captures/clusterip.pcap"), "-c", "300"]);
}

#[test]
fn damaged_files() {
    let folder = tempdir().unwrap();
    let frames = mixed(5, 1_500);
    let whole = std::fs::read(capture(folder.path(), "whole.pcap", &frames)).unwrap();
    let cut = write(folder.path(), "cut.pcap", &whole[..whole.len() * 2 / 3]);
    let text = |file: &str, jobs: &str| {
        let ran = replay(&[file, "-f", &cluster(), "-j", jobs]);
        (ran.code, ran.text(), ran.stderr)
    };
    assert_eq!(text(&cut, "3"), text(&cut, "1"));
    let mut damaged = whole;
    let at = damaged.len() / 2;
    damaged[at..].fill(0xff);
    let damaged = write(folder.path(), "damaged.pcap", &damaged);
    let one = text(&damaged, "1");
    assert_eq!(text(&damaged, "3"), one);
    assert_eq!(one.0, 2, "{}", one.2);
}
