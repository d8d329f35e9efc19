//! A cluster that changes while a capture is replayed.

mod common;

use common::{capture, fixture, replay, udp};
use serde_json::Value;
use tempfile::tempdir;

const CLIENT: [u8; 4] = [10, 244, 1, 10];
const ECHO: [u8; 4] = [10, 96, 0, 7];

/// Ten datagrams of one client, a millisecond apart, and where they arrive.
fn destinations(then: &[&str]) -> (Vec<String>, String) {
    let folder = tempdir().unwrap();
    let packets: Vec<_> = (0..10).map(|_| udp((CLIENT, 40_000), (ECHO, 7), 64, b"hello")).collect();
    let file = capture(folder.path(), "echo.pcap", &packets);
    let cluster = fixture("clusters/two-nodes.json");
    let mut arguments = vec![file.as_str(), "-f", &cluster, "-o", "json"];
    arguments.extend(then);
    let ran = replay(&arguments);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let lines: Vec<Value> =
        ran.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let packets = lines.iter().filter(|line| line["type"] == "packet");
    let to = packets.map(|line| line["out"]["dst"].as_str().unwrap_or("-").to_owned());
    (to.collect(), lines.last().unwrap()["cluster"]["source"].as_str().unwrap().to_owned())
}

/// The cluster without the backend that is given to the client at first.
fn without(address: &str, folder: &std::path::Path) -> String {
    let text = std::fs::read_to_string(fixture("clusters/two-nodes.json")).unwrap();
    let mut dump: Value = serde_json::from_str(&text).unwrap();
    for object in dump["items"].as_array_mut().unwrap() {
        if let Some(endpoints) = object.get_mut("endpoints").and_then(Value::as_array_mut) {
            endpoints.retain(|endpoint| endpoint["addresses"][0] != address);
        }
    }
    let path = folder.join("after.json");
    std::fs::write(&path, dump.to_string()).unwrap();
    path.display().to_string()
}

#[test]
fn datagrams_move_on_when_their_backend_is_gone() {
    let folder = tempdir().unwrap();
    let (before, _) = destinations(&[]);
    let first = before[0].clone();
    assert!(before.iter().all(|to| *to == first), "{before:?}");
    let after = without(first.split(':').next().unwrap(), folder.path());
    let then = format!("3.5ms={after}");
    let (changed, source) = destinations(&["--then", &then]);
    assert!(changed[..4].iter().all(|to| *to == first), "{changed:?}");
    assert!(changed[4..].iter().all(|to| *to != first && *to != "-"), "{changed:?}");
    assert!(source.ends_with(&format!(", from 3.5ms on {after}")), "{source}");
}

#[test]
fn what_is_no_change_is_said() {
    let folder = tempdir().unwrap();
    let file = capture(folder.path(), "one.pcap", &[udp((CLIENT, 1), (ECHO, 7), 64, b"")]);
    let cluster = fixture("clusters/two-nodes.json");
    for (then, said) in [
        ("after.yaml", "--then after.yaml: give TIME=STATE"),
        ("soon=after.yaml", "--then soon=after.yaml: \"soon\" is no time"),
        ("1=/absent.yaml", "/absent.yaml: No such file"),
    ] {
        let ran = replay(&[&file, "-f", &cluster, "--then", then]);
        assert_eq!((ran.code, ran.stdout.len()), (2, 0));
        assert!(ran.stderr.contains(said) && ran.stderr.lines().count() == 1, "{}", ran.stderr);
    }
}
