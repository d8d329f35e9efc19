//! `twinpath replay --report`: the page as a file.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use common::{capture, cluster, replay, tcp};
use serde_json::Value;
use tempfile::tempdir;

const CLIENT: [u8; 4] = [10, 244, 1, 10];
const WEB: [u8; 4] = [10, 96, 0, 80];

fn packets() -> Vec<Vec<u8>> {
    let mut packets: Vec<Vec<u8>> =
        (0..20).map(|n| tcp((CLIENT, 40_000 + n), (WEB, 80), 64, 2)).collect();
    packets.push(tcp((CLIENT, 40_000), (WEB, 81), 64, 2));
    packets
}

#[test]
fn the_page_comes_with_any_output_and_is_the_same_every_time() {
    let folder = tempdir().unwrap();
    let file = capture(folder.path(), "a file.pcap", &packets());
    let page = folder.path().join("page.html").display().to_string();
    let cluster = cluster();
    let mut outputs = Vec::new();
    for output in [&["-o", "json"][..], &["-q"], &["-q"], &[]] {
        let common = [file.as_str(), "-f", &cluster, "--seed", "7"];
        let plain = replay(&[&common[..], output].concat());
        let ran = replay(&[&common[..], output, &["--report", &page]].concat());
        assert_eq!((ran.code, ran.stderr.as_str()), (0, plain.stderr.as_str()));
        assert_eq!(ran.stdout, plain.stdout, "the page is none of the other output's business");
        let text = std::fs::read_to_string(&page).unwrap();
        assert!(text.len() < 1 << 20);
        outputs.push(text);
    }
    assert_eq!(outputs[1], outputs[2]);
    // But for the command that was typed, whatever the output.
    let rest = |text: &str| {
        let (head, tail) = text.split_once("<p class=\"command\">").unwrap();
        let body = tail.split_once("</main>").unwrap().0.split_once("</p>").unwrap().1;
        head.to_owned() + body
    };
    assert!(outputs.iter().all(|text| rest(text) == rest(&outputs[0])));
    let text = &outputs[0];
    for words in [
        "21 packets: 1 dropped because no service is on that port of its address.",
        "SERVICE_PORT_NOT_FOUND",
        "a file.pcap",
        "prefers-color-scheme: dark",
        "default/web:http/TCP",
    ] {
        assert!(text.contains(words), "{words}");
    }
    let explain =
        format!("twinpath explain -f {cluster} --seed 7 &#39;{file}&#39; --packet 21</code>");
    assert!(text.contains(&explain), "{explain}");
    // As `sha256sum` has it.
    let sum = Command::new("sha256sum").arg(&file).output().unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap();
    assert!(text.contains(&format!("sha256 {}", sum.split_whitespace().next().unwrap())));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left behind");
}

#[test]
fn a_page_that_cannot_be_written_is_said_before_anything_is_done() {
    let folder = tempdir().unwrap();
    let file = capture(folder.path(), "one.pcap", &packets());
    for nowhere in ["/nowhere/page.html", "/"] {
        let ran = replay(&[&file, "-f", &cluster(), "--report", nowhere]);
        assert_eq!((ran.code, ran.stdout.len()), (2, 0));
        assert!(
            ran.stderr.contains("give --report a file that can be written")
                && ran.stderr.lines().count() == 1,
            "{}",
            ran.stderr
        );
    }
}

#[test]
fn an_unreadable_capture_leaves_no_page_and_one_that_is_cut_an_incomplete_one() {
    let folder = tempdir().unwrap();
    let page = folder.path().join("page.html");
    let garbage = common::write(folder.path(), "garbage.pcap", b"no capture at all");
    let name = page.display().to_string();
    let ran = replay(&[&garbage, "-f", &cluster(), "-q", "--report", &name]);
    assert_eq!((ran.code, page.exists()), (2, false), "{}", ran.stderr);
    let whole = std::fs::read(capture(folder.path(), "one.pcap", &packets())).unwrap();
    // Behind a few packets, a record that is longer than any can be.
    let mut broken = whole[..24 + 3 * (16 + 54)].to_vec();
    broken.extend([0xff; 64]);
    let broken = common::write(folder.path(), "broken.pcap", &broken);
    let ran = replay(&[&broken, "-f", &cluster(), "-q", "--report", &name]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    let text = std::fs::read_to_string(&page).unwrap();
    assert!(text.contains("all of this is about the first 3 packets."), "{}", ran.stderr);
    assert!(text.contains("error: "));
}

#[test]
fn a_signal_ends_a_replay_with_what_was_done_until_then() {
    let folder = tempdir().unwrap();
    let file = capture(folder.path(), "one.pcap", &packets());
    let bytes = std::fs::read(file).unwrap();
    let page = folder.path().join("page.html");
    let mut child = Command::new(env!("CARGO_BIN_EXE_twinpath"))
        .args(["replay", "-", "-o", "json", "-f", &cluster(), "--report"])
        .arg(&page)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    // Packets enough for its output to be flushed at least once: then it is in the middle of them.
    let (head, records) = bytes.split_at(24);
    input.write_all(head).unwrap();
    let packet = first(records);
    let writer = std::thread::spawn(move || {
        // Until nobody reads any more.
        while input.write_all(&packet.repeat(100)).is_ok() {}
    });
    output.read_line(&mut String::new()).unwrap();
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let lines: Vec<String> = output.lines().map(Result::unwrap).collect();
    let ran = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert_eq!(ran.status.code(), Some(130), "{ran:?}");
    let summary: Value = serde_json::from_str(lines.last().unwrap()).unwrap();
    assert_eq!((&summary["type"], &summary["complete"]), (&"summary".into(), &false.into()));
    assert_eq!(summary["packets"], lines.len(), "the first line was read before");
    let said = String::from_utf8(ran.stderr).unwrap();
    let expected = format!("twinpath: stopped by a signal after {} packets\n", summary["packets"]);
    assert!(said.contains(&expected), "{said}");
    let page = std::fs::read_to_string(&page).unwrap();
    assert!(page.contains("The run ended before the captures did"));
}

/// The first of a capture's records.
fn first(records: &[u8]) -> Vec<u8> {
    let length = u32::from_le_bytes(records[8..12].try_into().unwrap()) as usize;
    records[..16 + length].to_vec()
}
