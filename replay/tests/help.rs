//! What the command says of itself: help, manual pages, completions, schemas, versions, this machine.

mod common;

use std::process::{Command, Output};

use common::violation;
use serde_json::Value;
use tempfile::tempdir;

fn run(program: &str, arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = Command::new(program).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn twinpath(arguments: &[&str]) -> (i32, String, String) {
    run(env!("CARGO_BIN_EXE_twinpath"), arguments)
}

#[test]
fn every_verb_has_examples_and_names_its_exit_codes() {
    let mut verbs = 0;
    for verb in twinpath::command::command().get_subcommands() {
        let name = verb.get_name();
        let text = verb.get_after_long_help().map(ToString::to_string).unwrap_or_default();
        assert!(text.starts_with("Examples:\n"), "{name}: {text}");
        assert!(text.contains(&format!("twinpath {name}")), "{name}: {text}");
        let (_, codes) =
            text.split_once("Exit codes: ").unwrap_or_else(|| panic!("{name}: {text}"));
        for code in ["0 ", "2 ", "70 "] {
            assert!(codes.contains(code), "{name}: {code}: {codes}");
        }
        assert!(verb.get_about().is_some(), "{name}");
        let long = verb.get_long_about().map(ToString::to_string).unwrap_or_default();
        assert!(!format!("{long}{text}").contains('\\'), "{name}: an escape is printed: {long}");
        for argument in verb.get_arguments().filter(|argument| argument.get_id() != "help") {
            assert!(argument.get_help().is_some(), "{name}: {}", argument.get_id());
        }
        verbs += 1;
    }
    assert!(verbs >= 8, "{verbs}");
}

#[test]
fn completions_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let (code, text, _) = twinpath(&["completions", shell]);
        assert_eq!(code, 0, "{shell}");
        for word in ["twinpath", "replay", "filename"] {
            assert!(text.contains(word), "{shell}: {word}");
        }
    }
    assert_eq!(twinpath(&["completions", "tcsh"]).0, 2);
}

#[test]
fn a_manual_page_for_every_verb() {
    let folder = tempdir().unwrap();
    let pages = folder.path().join("new/man1");
    let (code, ..) = twinpath(&["man", "-o", pages.to_str().unwrap()]);
    assert_eq!(code, 0);
    for verb in twinpath::command::command().get_subcommands() {
        let page = std::fs::read_to_string(pages.join(format!("twinpath-{}.1", verb.get_name())));
        let page = page.unwrap();
        assert!(page.contains("Exit codes"), "{}", verb.get_name());
        assert_eq!(twinpath(&["man", verb.get_name()]).1, page);
    }
    assert_eq!(twinpath(&["man"]).1, std::fs::read_to_string(pages.join("twinpath.1")).unwrap());
    let (code, _, text) = twinpath(&["man", "nonesuch"]);
    assert_eq!(code, 2);
    assert!(text.contains("there is no verb nonesuch; the verbs are: replay,"), "{text}");
    let file = folder.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let (code, _, text) = twinpath(&["man", "-o", file.to_str().unwrap()]);
    assert_eq!(code, 2, "{text}");
}

#[test]
fn schemas_by_name() {
    let (_, list, _) = twinpath(&["schema"]);
    assert!(list.contains("replay    A line of `twinpath replay -o json`\n"), "{list}");
    let (code, text, _) = twinpath(&["schema", "packet"]);
    assert_eq!((code, text.as_str()), (0, include_str!("../schema/replay.schema.json")));
    assert_eq!(twinpath(&["schema", "nonesuch"]).0, 2);
}

#[test]
fn as_a_plugin_of_kubectl_it_says_so() {
    let folder = tempdir().unwrap();
    let link = folder.path().join("kubectl-twinpath");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_twinpath"), &link).unwrap();
    let (code, text, _) = run(link.to_str().unwrap(), &["get", "--help"]);
    assert_eq!(code, 0);
    assert!(text.contains("Usage: kubectl twinpath get "), "{text}");
    assert!(text.contains("\n  kubectl twinpath get services -f cluster.yaml\n"), "{text}");
    assert!(!text.contains("kubectl kubectl"), "{text}");
    assert!(twinpath(&["get", "--help"]).1.contains("Usage: twinpath get "));
}

#[test]
fn versions_short_and_long() {
    let short = format!("twinpath {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(twinpath(&["-V"]).1, short);
    let (code, long, _) = twinpath(&["--version"]);
    assert_eq!(code, 0);
    assert!(long.starts_with(&short), "{long}");
    assert!(long.contains("\ncommit ") && long.contains("\nkernel programs "), "{long}");
}

#[test]
fn the_doctor_finds_the_simulator_everywhere() {
    let schema: Value = serde_json::from_str(include_str!("../schema/doctor.schema.json")).unwrap();
    let (code, text, _) = twinpath(&["doctor", "-o", "json", "--need", "sim", "--only"]);
    assert_eq!(code, 0, "{text}");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in &lines {
        assert_eq!(violation(&schema, &schema, line, "$"), None, "{line}");
    }
    assert_eq!((&lines[0]["engine"], &lines[0]["usable"]), (&"sim".into(), &true.into()));
    assert_eq!(lines.last().unwrap()["usable"], serde_json::json!(["sim"]));
    assert!(lines.iter().any(|line| line["name"] == "capabilities"));
}

/// Without the right to do anything, as an ordinary user has none: a table, and 3 where more is needed.
#[test]
fn the_doctor_of_an_ordinary_user() {
    let (tried, ..) = run("setpriv", &["--version"]);
    let root = std::fs::metadata("/proc/self")
        .is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    if tried != 0 || !root {
        return; // whoever is no ordinary user cannot become one without it, and others are one
    }
    let folder = tempdir().unwrap();
    let copy = folder.path().join("twinpath");
    std::fs::copy(env!("CARGO_BIN_EXE_twinpath"), &copy).unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let copy = copy.to_str().unwrap();
    let user = [
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
        "--bounding-set",
        "-all",
        copy,
        "doctor",
    ];
    let (code, text, _) = run("setpriv", &user);
    assert_eq!(code, 0, "{text}");
    let row = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(row("sim ").contains(" yes "), "{text}");
    for engine in ["test-run ", "veth ", "xdp ", "netfilter ", "bench ", "nftables "] {
        assert!(row(engine).contains(" no "), "{text}");
    }
    assert!(row("capabilities").contains("none of"), "{text}");
    let (code, _, errors) = run("setpriv", &[&user[..], &["--need", "veth", "--only"]].concat());
    assert_eq!(code, 3);
    assert_eq!(errors, "twinpath: --need: veth cannot be used here; the table says what to do\n");
}
