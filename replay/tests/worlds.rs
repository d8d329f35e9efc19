//! The same captures through every world give the same output, byte for byte.

use std::path::Path;
use std::process::{Command, Output};

use twinpath_kernel::testing::skip;

fn replay(capture: &str, world: &str) -> Output {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures");
    Command::new(env!("CARGO_BIN_EXE_twinpath"))
        .args(["replay", "-o", "json", "--world", world, "-f"])
        .arg(fixtures.join("clusters/two-nodes.yaml"))
        .arg(fixtures.join("captures").join(capture))
        .output()
        .expect("the command runs")
}

/// Replays a capture through the simulator and another world.
fn agree(capture: &str, world: &str) {
    let other = replay(capture, world);
    if other.status.code() == Some(3) {
        return skip(
            &format!("replay --world {world}"),
            String::from_utf8_lossy(&other.stderr).trim(),
        );
    }
    assert!(other.status.success(), "{}", String::from_utf8_lossy(&other.stderr));
    let text = |output: &Output, world: &str| -> Vec<String> {
        let text = String::from_utf8_lossy(&output.stdout)
            .replace(&format!("\"world\":\"{world}\""), "\"world\":\"_\"");
        text.lines().map(str::to_owned).collect()
    };
    let (sim, other) = (text(&replay(capture, "sim"), "sim"), text(&other, world));
    assert!(sim.len() > 20, "{} lines", sim.len());
    for (sim, other) in sim.iter().zip(&other) {
        assert_eq!(sim, other, "{capture}: sim and {world}");
    }
    assert_eq!(sim.len(), other.len());
}

#[test]
fn test_runs_agree() {
    agree("clusterip.pcap", "test-run");
}

#[test]
fn namespaces_agree() {
    agree("clusterip.pcap", "veth");
}

#[test]
fn namespaces_agree_on_unfinished_checksums_and_super_packets() {
    agree("offload.pcap", "veth");
}

/// An incident of the repository: its folder, the capture, and how it is replayed.
const INCIDENTS: [(&str, &[&str]); 6] = [
    ("1-no-endpoints", &["client.pcap", "-f", "cluster.yaml"]),
    ("2-port-exhaustion", &["node-a.pcap", "-f", "cluster.yaml", "--snat-ports", "61000-61127"]),
    ("3-dsr-mtu", &["client.pcap", "-f", "cluster.yaml", "--mode", "dsr-ipip", "--mtu", "1500"]),
    ("4-backend-removed", &["node-a.pcap", "-f", "before.yaml", "--then", "2.5=after.yaml"]),
    ("5-local-policy", &["prober.pcap", "-f", "cluster.yaml"]),
    ("6-path-mtu", &["node-a.pcap", "-f", "cluster.yaml"]),
];

fn incident(folder: &str, arguments: &[&str], world: &str) -> Output {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/incidents");
    Command::new(env!("CARGO_BIN_EXE_twinpath"))
        .args(["replay", "-o", "json", "--world", world])
        .args(arguments)
        .current_dir(fixtures.join(folder))
        .output()
        .expect("the command runs")
}

/// Clients outside, changes of the cluster, full ports, links that are too short.
#[test]
fn test_runs_agree_on_incidents() {
    for (folder, arguments) in INCIDENTS {
        let (sim, other) =
            (incident(folder, arguments, "sim"), incident(folder, arguments, "test-run"));
        if other.status.code() == Some(3) {
            return skip(
                "incidents, --world test-run",
                String::from_utf8_lossy(&other.stderr).trim(),
            );
        }
        let text = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
        let other = text(&other).replace("\"world\":\"test-run\"", "\"world\":\"sim\"");
        for (sim, other) in text(&sim).lines().zip(other.lines()) {
            assert_eq!(sim, other, "{folder}");
        }
        assert_eq!(text(&sim).lines().count(), other.lines().count(), "{folder}");
    }
}

/// A real router, and clients behind it: the verdicts are those of the simulator.
#[test]
fn namespaces_agree_on_clients_outside() {
    let (folder, arguments) = INCIDENTS[4];
    let (sim, other) = (incident(folder, arguments, "sim"), incident(folder, arguments, "veth"));
    if other.status.code() == Some(3) {
        return skip("incidents, --world veth", String::from_utf8_lossy(&other.stderr).trim());
    }
    let verdicts = |output: &Output| -> Vec<(String, String)> {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let lines = lines.filter(|line: &serde_json::Value| line["type"] == "packet");
        lines.map(|line| (line["verdict"].to_string(), line["out"].to_string())).collect()
    };
    assert_eq!(verdicts(&sim).len(), 48);
    assert_eq!(verdicts(&sim), verdicts(&other));
}
