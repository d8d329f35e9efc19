//! `twinpath verify` as a command: what it prints and leaves behind, and how it ends.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::tempdir;
use twinpath::capture::Capture;

fn verify(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_twinpath")).arg("verify").args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn scenario() -> String {
    format!("{}/../fixtures/scenarios/hairpin-pod.yaml", env!("CARGO_MANIFEST_DIR"))
}

/// A scenario that expects what does not happen, in a folder.
fn disappointed(folder: &Path) -> String {
    let text = std::fs::read_to_string(scenario()).unwrap();
    let clusters = format!("{}/../fixtures/clusters/", env!("CARGO_MANIFEST_DIR"));
    let (head, expectation) = text.split_once("expect:").unwrap();
    let (_, rest) = expectation.split_once('\n').unwrap_or((expectation, ""));
    let text = format!("{head}expect: {{drop: NO_SUCH_REASON}}\n{rest}");
    let path = folder.join("disappointed.yaml");
    std::fs::write(&path, text.replace("../clusters/", &clusters)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_line_for_every_check_and_their_sum() {
    let ran = verify(&["--world", "sim", &scenario()]);
    assert_eq!(ran.status.code(), Some(0));
    let expected = format!(
        "passed   scenario   sim       {}: 2 packets\n1 passed, 0 failed, 0 skipped, seed 1\n",
        scenario()
    );
    assert_eq!(text(&ran), expected);
}

#[test]
fn the_spec_judges_random_scripts_without_privileges() {
    let ran = verify(&["--oracle", "spec", "--world", "sim", "--cases", "1000", "--seed", "3"]);
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    let shown = text(&ran);
    assert!(shown.starts_with("passed   spec       sim       random scripts: 1,"), "{shown}");
    assert!(shown.ends_with("1 passed, 0 failed, 0 skipped, seed 3\n"), "{shown}");
    let again = verify(&["--oracle", "spec", "--world", "sim", "--cases", "1000", "--seed", "3"]);
    assert_eq!(text(&again), shown, "one seed, one run");
}

#[test]
fn a_failure_leaves_all_that_it_takes_to_see_it_once_more() {
    let folder = tempdir().unwrap();
    let [save, junit] =
        ["failures", "junit.xml"].map(|name| folder.path().join(name).to_str().unwrap().to_owned());
    let file = disappointed(folder.path());
    let arguments = ["--world", "sim", "--save", &save, "--junit-file", &junit, &file, &scenario()];
    let ran = verify(&arguments);
    assert_eq!(ran.status.code(), Some(1), "{ran:?}");
    let shown = text(&ran);
    assert!(
        shown.contains("FAILED   scenario   sim") && shown.contains("NO_SUCH_REASON"),
        "{shown}"
    );
    assert!(shown.ends_with("1 passed, 1 failed, 0 skipped, seed 1\n"), "{shown}");
    let xml = std::fs::read_to_string(junit).unwrap();
    assert!(xml.contains("tests=\"2\"") && xml.contains("failures=\"1\""), "{xml}");

    let left = Path::new(&save).join("scenario-disappointed-sim");
    assert!(shown.contains(left.to_str().unwrap()), "{shown}");
    let mut packets = Capture::open(&left.join("packets.pcap")).unwrap();
    assert!(packets.next().unwrap().is_some());
    assert!(std::fs::read_to_string(left.join("sim.txt")).unwrap().contains("conntrack"));
    let advice = std::fs::read_to_string(left.join("README.txt")).unwrap();
    assert!(advice.contains("twinpath verify"), "{advice}");
    // The folder stands alone.
    std::fs::remove_file(file).unwrap();
    let again = verify(&["--world", "sim", "--save", &save, left.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again).contains("NO_SUCH_REASON"));
}

#[test]
fn what_cannot_be_done_is_one_line_and_the_right_code() {
    let folder = tempdir().unwrap();
    let missing = folder.path().join("none.yaml").to_str().unwrap().to_owned();
    let bad_file = folder.path().join("bad.yaml").to_str().unwrap().to_owned();
    std::fs::write(&bad_file, "scenario: x\nsteps: 3\n").unwrap();
    let no_folder = folder.path().join("none/junit.xml").to_str().unwrap().to_owned();
    let cases: [(&[&str], i32); 6] = [
        (&[&missing], 2),
        (&[&bad_file], 2),
        (&["--world", "moon"], 2),
        (&["--world", "sim", "--junit-file", &no_folder, &scenario()], 2),
        (&["--oracle", "moon"], 2),
        (&["--oracle", "spec", "--world", "sim", "--cases", "0"], 4),
    ];
    // Clap's own messages have more lines.
    for (arguments, code) in cases {
        let ran = verify(arguments);
        assert_eq!(ran.status.code(), Some(code), "{arguments:?}: {ran:?}");
        let error = String::from_utf8(ran.stderr).unwrap();
        if code == 2 && !arguments.contains(&"moon") {
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }
}
