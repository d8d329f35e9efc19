//! The GitHub Action's scripts, run as a job runs them, with files of a made-up job.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{capture, cluster, fixture, tcp};
use tempfile::{TempDir, tempdir};

/// A job: a folder to work in, and what the action says.
struct Job {
    folder: TempDir,
    code: i32,
    log: String,
    summary: String,
    outputs: String,
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs the action's script with inputs; `twinpath` is this program.
fn job(twinpath: &Path, inputs: &[(&str, &str)]) -> Job {
    let folder = tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("bin")).unwrap();
    fs::create_dir(path("work")).unwrap();
    std::os::unix::fs::symlink(twinpath, path("bin/twinpath")).unwrap();
    let search = format!("{}:{}", path("bin").display(), std::env::var("PATH").unwrap());
    let mut command = Command::new(repository().join(".github/action/run.sh"));
    command.current_dir(path("work")).env("PATH", search).env("INPUT_OUTPUT", path("out"));
    command.env("GITHUB_STEP_SUMMARY", path("summary")).env("GITHUB_OUTPUT", path("outputs"));
    for (name, value) in inputs {
        command.env(format!("INPUT_{name}"), value);
    }
    let Output { status, stdout, stderr } = command.output().unwrap();
    let log = String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap();
    let read = |name: &str| fs::read_to_string(path(name)).unwrap_or_default();
    let (summary, outputs) = (read("summary"), read("outputs"));
    Job { folder, code: status.code().unwrap(), log, summary, outputs }
}

fn twinpath() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_twinpath"))
}

/// Whether what the script needs is here; hosted runners have it.
fn has_jq() -> bool {
    let has = Command::new("jq").arg("--version").output().is_ok();
    if !has {
        twinpath_kernel::testing::skip("the action's summary", "jq is absent here");
    }
    has
}

#[test]
fn a_capture_without_a_fault() {
    if !has_jq() {
        return;
    }
    let state = cluster();
    let pattern = fixture("captures/clusterip.p*p");
    let inputs =
        [("CAPTURES", pattern.as_str()), ("STATE", &state), ("FAIL_ON", "diff,drop,unmatched")];
    let job = job(twinpath(), &inputs);
    assert_eq!((job.code, job.outputs.as_str()), (0, "result=same\nexit-code=0\n"), "{}", job.log);
    for line in [
        "## twinpath replay: same\n",
        "| TRANSLATED | 386 |\n",
        "| default/web:http | web-a 10.244.1.11:8080 |",
    ] {
        assert!(job.summary.contains(line), "{line}: {}", job.summary);
    }
    assert!(!job.log.contains("::"), "{}", job.log);
    assert!(job.folder.path().join("out/stages.pcapng").metadata().unwrap().len() > 100_000);
}

#[test]
fn drops_are_warnings_or_fail_the_job() {
    if !has_jq() {
        return;
    }
    let folder = tempdir().unwrap();
    let closed = tcp(([10, 244, 1, 10], 40_000), ([10, 96, 0, 80], 81), 64, 2);
    let file = capture(folder.path(), "a.pcap", &[closed]);
    let state = cluster();
    let inputs = [("CAPTURES", file.as_str()), ("STATE", &state)];
    let warned = job(twinpath(), &inputs);
    let words = "title=twinpath::1 packets dropped: 1 SERVICE_PORT_NOT_FOUND\n";
    assert_eq!((warned.code, warned.outputs.as_str()), (0, "result=drop\nexit-code=0\n"));
    assert!(warned.log.contains(&format!("::warning {words}")), "{}", warned.log);
    assert!(warned.summary.contains("| SERVICE_PORT_NOT_FOUND | 1 |\n"), "{}", warned.summary);
    let failed = job(twinpath(), &[&inputs[..], &[("FAIL_ON", "unmatched,drop")]].concat());
    assert_eq!(failed.code, 1);
    assert!(failed.log.contains(&format!("::error {words}")), "{}", failed.log);
}

#[test]
fn inputs_are_data_and_never_commands() {
    if !has_jq() {
        return;
    }
    let state = cluster();
    for capture in
        ["$(touch pwned)", "`touch pwned`", "a; touch pwned", "-w\n--version", "a%0A::error::x"]
    {
        for name in ["CAPTURES", "STATE", "ARGUMENTS"] {
            let mut inputs = vec![("CAPTURES", "absent.pcap"), ("STATE", state.as_str())];
            inputs.push((name, capture));
            let job = job(twinpath(), &inputs);
            assert_eq!(job.outputs.lines().count(), 2, "{name}={capture}: {}", job.outputs);
            assert_ne!(job.code, 0, "{name}={capture}: {}", job.log);
            assert!(!job.folder.path().join("work/pwned").exists(), "{name}={capture}");
            let forged = job.log.lines().any(|line| line.starts_with("::error::"));
            assert!(!forged, "{name}={capture}: {}", job.log);
        }
    }
    // A name is no option, and no more than one line of the log.
    let option = job(twinpath(), &[("CAPTURES", "--version"), ("STATE", &state)]);
    assert_eq!(option.code, 2, "{}", option.log);
    let lines = job(twinpath(), &[("CAPTURES", "a%0A::error::x"), ("STATE", &state)]);
    assert!(lines.log.contains("::error title=twinpath::twinpath: a%250A::"), "{}", lines.log);
    let odd = job(twinpath(), &[("CAPTURES", "x"), ("COMMAND", "bench")]);
    assert_eq!((odd.code, odd.outputs.as_str()), (2, "result=error\nexit-code=2\n"));
    assert_eq!(job(twinpath(), &[("CAPTURES", " \n ")]).code, 2);
}

/// How a program that does this and that ends in the action.
fn pretend(script: &str, inputs: &[(&str, &str)]) -> Job {
    let folder = tempdir().unwrap();
    let program = folder.path().join("program");
    fs::write(&program, format!("#!/bin/sh\n[ \"$2\" = --help ] && exit 0\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    job(&program, &[&[("CAPTURES", "a.pcap")], inputs].concat())
}

#[test]
fn every_exit_code_has_a_result() {
    if !has_jq() {
        return;
    }
    let lacks = "echo 'twinpath: no CAP_BPF' >&2; exit 3";
    let neutral = pretend(lacks, &[]);
    assert_eq!((neutral.code, neutral.outputs.as_str()), (0, "result=skipped\nexit-code=3\n"));
    assert!(
        neutral.log.contains("::notice title=twinpath::skipped: twinpath: no CAP_BPF\n"),
        "{}",
        neutral.log
    );
    assert_eq!(pretend(lacks, &[("ON_MISSING", "fail")]).code, 3);
    let bug = pretend("echo 'twinpath: bug' >&2; exit 70", &[]);
    assert_eq!((bug.code, bug.outputs.as_str()), (70, "result=error\nexit-code=70\n"));
    assert_eq!(pretend("exit 4", &[]).outputs, "result=nothing\nexit-code=4\n");
    let differs = "echo '1 cause, ``` <b>2 packets'; exit 1";
    let diff = pretend(differs, &[("COMMAND", "diff"), ("AGAINST", "b.yaml")]);
    assert_eq!((diff.code, diff.outputs.as_str()), (1, "result=diff\nexit-code=1\n"));
    assert!(
        diff.summary.contains("\n```text\n1 cause,  <b>2 packets\n\n```\n"),
        "{}",
        diff.summary
    );
    assert_eq!(pretend(differs, &[("COMMAND", "diff"), ("FAIL_ON", "never")]).code, 0);
}

/// A misspelt word would let every job pass; blanks and line ends are how people write lists.
#[test]
fn what_fails_a_job_is_read_with_care() {
    if !has_jq() {
        return;
    }
    let summary = r#"echo '{"type":"summary","packets":1,"flows":1,"verdicts":{"DROPPED":1},"drops":{"X":1},"#;
    let rest = r#""replies":{"checked":0,"different":0},"shares":[],"inputs":[],"cluster":{"source":"s"}}'"#;
    let drops = format!("{summary}{rest}");
    for words in ["drop", "diff,drop", "diff, drop", "diff,\n  drop\n", "drop ,unmatched"] {
        assert_eq!(pretend(&drops, &[("FAIL_ON", words)]).code, 1, "{words:?}");
    }
    for words in ["never", "diff", "unmatched, diff"] {
        assert_eq!(pretend(&drops, &[("FAIL_ON", words)]).code, 0, "{words:?}");
    }
    for words in ["drops", "diff drop", "diff,,drop", "Drop", "diff;drop"] {
        let refused = pretend(&drops, &[("FAIL_ON", words)]);
        assert_eq!(refused.code, 2, "{words:?}");
        assert!(refused.log.contains("::error title=twinpath::fail-on: "), "{}", refused.log);
    }
    assert_eq!(pretend("exit 3", &[("ON_MISSING", "Neutral")]).code, 2);
}

#[test]
fn no_script_has_an_input_in_its_text() {
    let text = fs::read_to_string(repository().join("action.yml")).unwrap();
    let action: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
    let mut scripts = 0;
    for step in action["runs"]["steps"].as_array().unwrap() {
        let Some(script) = step["run"].as_str() else { continue };
        assert!(!script.contains("${{"), "{script}");
        scripts += 1;
        // What it runs is there, and every input that it reads is handed to it.
        let file = script.trim_matches('"').replace("$GITHUB_ACTION_PATH/", "");
        let body = fs::read_to_string(repository().join(file)).unwrap();
        let words = body.split(|c: char| !c.is_ascii_uppercase() && c != '_');
        for name in words.filter(|word| word.starts_with("INPUT_")) {
            assert!(step["env"][name].is_string(), "{name}");
        }
    }
    assert_eq!(scripts, 2);
}
