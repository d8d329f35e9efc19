//! Input that means harm, and slips of the hand: outputs over inputs, names that give orders to a terminal.

mod common;

use std::fs;
use std::process::Command;

use common::{Ran, cluster, fixture, replay};
use tempfile::tempdir;

fn twinpath(arguments: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_twinpath")).args(arguments).output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        stdout: output.stdout,
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn no_output_is_written_over_an_input() {
    let folder = tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (capture, state, against) = (at("a.pcap"), at("a.yaml"), at("b.yaml"));
    fs::copy(fixture("captures/clusterip.pcap"), &capture).unwrap();
    fs::copy(cluster(), &state).unwrap();
    fs::copy(cluster(), &against).unwrap();
    let before = [&capture, &state, &against].map(|path| fs::read(path).unwrap());
    let then = format!("1={against}");
    let (base, dotted, named) = (at("a"), at("./a.pcap"), format!("node-a={capture}"));
    let other = at("b");
    let all: [&[&str]; 8] = [
        &["replay", &capture, "-f", &state, "-q", "-w", &dotted],
        &["replay", &named, "-f", &state, "-q", "-w", &capture],
        &["replay", &capture, "-f", &state, "-q", "--report", &state],
        &["replay", &capture, "-f", &state, "--then", &then, "-q", "--report", &against],
        &["diff", &capture, "-f", &state, "--against-seed", "2", "-w", &capture],
        &["diff", &capture, "-f", &state, "--against", &against, "-w", &against],
        &["diff", &capture, "-f", &state, "--against-seed", "2", "--minimize", &base],
        &["diff", &named, "-f", &against, "--against-seed", "2", "--minimize", &other],
    ];
    for arguments in all {
        let ran = twinpath(arguments);
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("over the input"), "{arguments:?}: {}", ran.stderr);
        let after = [&capture, &state, &against].map(|path| fs::read(path).unwrap());
        assert!(after == before, "{arguments:?}");
    }
    let page = at("page");
    let ran = replay(&[&capture, "-f", &state, "-q", "-w", &page, "--report", &page]);
    assert_eq!(ran.code, 2);
    assert!(!folder.path().join("page").exists());
    // A new file beside them, and one of an earlier run, are written.
    for _ in 0..2 {
        let ran = replay(&[&capture, "-f", &state, "-q", "-w", &at("out.pcapng")]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
}

/// Whether a terminal would do more with this than show it.
fn has_orders(text: &str) -> bool {
    text.chars().any(|letter| (letter.is_control() && letter != '\n') || letter == '\u{202e}')
}

#[test]
fn names_give_no_orders_to_a_terminal_or_a_page() {
    let folder = tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let evil = fs::read_to_string(cluster())
        .unwrap()
        .replace("name: web\n", "name: \"w\\e[2J\\n\\u202e\"\n")
        .replace("service-name: web\n", "service-name: \"w\\e[2J\\n\\u202e\"\n")
        .replace("node-a", "\"n\\e]0;x\\a\\n\"")
        .replace("web-a", "\"p\\r\\x9b1m\"");
    fs::write(at("evil.yaml"), evil).unwrap();
    let (capture, state) = (fixture("captures/clusterip.pcap"), at("evil.yaml"));
    let (page, stages) = (at("page.html"), at("out.pcapng"));
    let all: [&[&str]; 9] = [
        &["replay", &capture, "-f", &state],
        &["replay", &capture, "-f", &state, "-o", "wide", "--flows", "--services"],
        &["replay", &capture, "-f", &state, "-o", "json"],
        &["replay", &capture, "-f", &state, "-q", "--report", &page, "-w", &stages],
        &["replay", &capture, "-f", &state, "--at", "nowhere\x1b[2J\n"],
        &["explain", &capture, "-f", &state, "--packet", "1"],
        &["diff", &capture, "-f", &state, "--against-algorithm", "maglev"],
        &["get", "backends", "-f", &state, "-o", "wide"],
        &["replay", "nowhere\x1b[2J\n.pcap", "-f", &state],
    ];
    for arguments in all {
        let ran = twinpath(arguments);
        let text = ran.text() + &ran.stderr;
        assert!(!has_orders(&text), "{arguments:?}: {text:?}");
        assert!(text.contains(r"\u{1b}") || text.contains(r"\\u{1b}"), "{arguments:?}: {text}");
    }
    assert!(!has_orders(&fs::read_to_string(page).unwrap()));
    assert!(fs::read(stages).unwrap().windows(6).any(|bytes| bytes == br"\u{1b}"));

    let rules = "*nat\n-A KUBE-SERVICES -d 10.96.0.80/32 -p tcp -m comment --comment \"d/\x1b[31mweb:http \
                 cluster IP\" -m tcp --dport 80 -j KUBE-SVC-A\n-A KUBE-SVC-A -j KUBE-SEP-A\n\
                 -A KUBE-SEP-A -p tcp -j DNAT --to-destination 10.244.1.11:8080\nCOMMIT\n";
    fs::write(at("rules"), rules).unwrap();
    let ran = replay(&[&capture, "-f", &at("rules"), "-q", "--services"]);
    let text = ran.text() + &ran.stderr;
    assert!(text.contains("[31mweb") && !has_orders(&text), "{text:?}");
}

#[test]
fn a_dump_that_is_cut_behind_an_item_is_warned_of() {
    let folder = tempdir().unwrap();
    let whole = fs::read_to_string(cluster()).unwrap();
    let cut = whole.lines().take(635).collect::<Vec<_>>().join("\n");
    let path = folder.path().join("cut.yaml");
    fs::write(&path, cut).unwrap();
    let capture = fixture("captures/dns.pcap");
    let ran = replay(&[&capture, "-q", "-f", path.to_str().unwrap()]);
    assert!(ran.stderr.contains("cut.yaml: the list has no kind"), "{}", ran.stderr);
    assert!(!replay(&[&capture, "-q", "-f", &cluster()]).stderr.contains("no kind"));
}
