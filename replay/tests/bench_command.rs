//! `twinpath bench` as a command: how it ends, and that its lines are as the schema says.

mod common;

use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use common::violation;
use serde_json::Value;
use tempfile::tempdir;

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_twinpath"));
    command.arg("bench").args(arguments);
    command
}

fn bench(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_measured() {
    let folder = tempdir().unwrap();
    let nowhere = folder.path().join("no/page.html").display().to_string();
    let absent = folder.path().join("absent.json").display().to_string();
    let broken = folder.path().join("broken.json").display().to_string();
    std::fs::write(&broken, "[]").unwrap();
    let cases: [(&[&str], &str); 11] = [
        (&["--against", "netfilter"], "netfilter is none of iptables-legacy"),
        (&["--against", "twinpath"], "twinpath is none of iptables-legacy"),
        (&["--services", "0"], "1..=100000"),
        (&["--services", "1,two"], "two"),
        (&["--rounds", "0"], "1..=10000"),
        (&["--only", "speed"], "speed is none of established, new-flow"),
        (&["--fail-on", "regression"], "--baseline"),
        (&["--baseline", &absent], "one is made by --save-baseline"),
        (&["--baseline", &broken], "is no baseline of this version"),
        (&["--save-baseline", "a b"], "\"a b\" names no baseline"),
        (&["--report", &nowhere], "give --report a file that can be written"),
    ];
    for (arguments, expected) in cases {
        let ran = bench(arguments);
        assert_eq!(ran.status.code(), Some(2), "{arguments:?}: {ran:?}");
        assert!(stderr(&ran).contains(expected), "{arguments:?}: {}", stderr(&ran));
        assert!(ran.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_baseline_without_a_home_is_refused_with_advice() {
    let ran = command(&["--baseline", "main"])
        .env_remove("HOME")
        .env_remove("XDG_STATE_HOME")
        .output()
        .unwrap();
    assert_eq!(ran.status.code(), Some(2));
    let told = "twinpath: no folder for baseline \"main\": neither XDG_STATE_HOME nor HOME is set; give a path\n";
    assert_eq!(stderr(&ran), told);
}

/// Why nothing can be measured here, if so.
fn lacks(ran: &Output) -> Option<String> {
    (ran.status.code() == Some(3)).then(|| stderr(ran))
}

#[test]
fn without_privileges_or_programs_it_says_what_is_lacking() {
    // An ordinary user, where the tests are run by root.
    let mut command = command(&["--quick"]);
    // Its own folder there belongs to the process's user.
    if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
        command.uid(65_534).gid(65_534);
    }
    let ran = match command.output() {
        // The binary lies where others must not look.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return twinpath_kernel::testing::skip(
                "bench of an ordinary user",
                "binary unreadable",
            );
        }
        ran => ran.unwrap(),
    };
    assert_eq!(ran.status.code(), Some(3), "{ran:?}");
    assert_eq!(stderr(&ran).lines().count(), 1, "{}", stderr(&ran));
    assert!(ran.stdout.is_empty());
}

const SMALL: [&str; 8] =
    ["--only", "add-service", "--services", "1", "--rounds", "2", "--quick", "--quiet"];

#[test]
fn a_small_run_ends_well_and_a_signal_ends_one_with_what_was_measured() {
    let folder = tempdir().unwrap();
    let [page, kept] =
        ["page.html", "kept.json"].map(|name| folder.path().join(name).display().to_string());
    let against = ["--against", "iptables-legacy", "-o", "json"];
    let files = ["--report", &page, "--save-baseline", &kept];
    let ran = bench(&[&SMALL[..], &against, &files].concat());
    if let Some(why) = lacks(&ran) {
        return twinpath_kernel::testing::skip("bench, a small run", &why);
    }
    assert_eq!((ran.status.code(), stderr(&ran).as_str()), (Some(0), ""), "{ran:?}");
    let lines = checked(&ran.stdout);
    let (summary, lines) = lines.split_last().unwrap();
    assert_eq!((&summary["type"], &summary["complete"]), (&"summary".into(), &true.into()));
    let of = |subject: &str| lines.iter().filter(|line| line["subject"] == subject).count();
    assert!(of("twinpath") > 0 && of("iptables-legacy") > 0 && of("nftables") == 0);
    assert!(lines.iter().all(|line| line["samples"].as_array().unwrap().len() == 2));
    let page = std::fs::read_to_string(&page).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("iptables-legacy"));

    let long = ["--only", "add-service", "--services", "1", "--rounds", "10000", "-v"];
    let kept = ["--baseline", &kept];
    let mut child = command(&[&long[..], &against, &kept].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // From here on it measures.
    let mut told = BufReader::new(child.stderr.take().unwrap());
    told.read_line(&mut String::new()).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let ran = child.wait_with_output().unwrap();
    assert_eq!(ran.status.code(), Some(130), "{ran:?}");
    let lines = checked(&ran.stdout);
    let summary = lines.last().unwrap();
    assert_eq!((&summary["type"], &summary["complete"]), (&"summary".into(), &false.into()));
    assert!(lines.iter().any(|line| line["why"] == "stopped"));
    assert_eq!(summary["regression"], false);
}

/// Lines that are as the schema says.
fn checked(text: &[u8]) -> Vec<Value> {
    let schema: Value = serde_json::from_str(include_str!("../schema/bench.schema.json")).unwrap();
    let text = String::from_utf8(text.to_vec()).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in &lines {
        assert_eq!(violation(&schema, &schema, line, "$"), None, "{line}");
    }
    lines
}
