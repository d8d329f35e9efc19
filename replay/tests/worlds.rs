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
