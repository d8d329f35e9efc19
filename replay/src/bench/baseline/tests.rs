use tempfile::tempdir;

use super::super::samples::results;
use super::*;

#[test]
fn a_name_is_in_the_state_folder_and_a_path_is_a_path() {
    let of = |name| path_in(Some(Path::new("/state")), name).map(|path| path.display().to_string());
    assert_eq!(of("main-2").unwrap(), "/state/twinpath/bench/main-2.json");
    assert_eq!(of("main.json").unwrap(), "main.json");
    assert_eq!(of("./main").unwrap(), "./main");
    for wrong in ["", ".", "..", "a b", "\u{e9}"] {
        assert!(matches!(of(wrong), Err(BaselineError::Name(_))), "{wrong}");
    }
    assert!(matches!(path_in(None, "main"), Err(BaselineError::Homeless(_))));
    assert!(path_in(None, "a/b").is_ok());
}

#[test]
fn what_is_kept_is_found_again() {
    let folder = tempdir().unwrap();
    let name = folder.path().join("new/kept").to_str().unwrap().to_owned();
    let error = load(&name).unwrap_err();
    assert!(matches!(error, BaselineError::Absent { .. }), "{error}");
    save(&name, &results()).unwrap();
    assert!(load(&name).unwrap() == results());
    for (text, cause) in [("{", "EOF"), ("{\"v\": 1}", "missing field")] {
        std::fs::write(&name, text).unwrap();
        let error = load(&name).unwrap_err().to_string();
        assert!(
            error.contains("is no baseline of this version") && error.contains(cause),
            "{error}"
        );
        assert_eq!(error.lines().count(), 1);
    }
    let newer = Results { v: VERSION + 1, ..results() };
    save(&name, &newer).unwrap();
    assert!(load(&name).unwrap_err().to_string().ends_with("its layout is 2, not 1"));
}

#[test]
fn only_twinpaths_own_figures_are_regressions() {
    let before = results();
    let slower = |subject: Subject| {
        let mut now = results();
        let all = now.figures.iter_mut().filter(|figure| figure.subject == subject);
        all.flat_map(|figure| &mut figure.samples).for_each(|sample| *sample *= 1.5);
        now
    };
    let same = compare("main", &before, &before);
    assert_eq!(same.figures.len(), before.figures.len());
    assert!(same.doubts.is_empty() && !same.is_regression());
    assert!(same.figures.iter().all(|one| one.change.verdict == Verdict::Same));
    assert!(compare("main", &before, &slower(Subject::Twinpath)).is_regression());
    assert!(!compare("main", &before, &slower(Subject::Nftables)).is_regression());
}

#[test]
fn figures_of_other_settings_are_not_compared_and_other_machines_are_named() {
    let before = results();
    let mut now = results();
    now.figures.iter_mut().for_each(|figure| figure.services += 1);
    now.machine.kernel = "6.12.0".into();
    let found = compare("main", &before, &now);
    assert!(found.figures.is_empty());
    assert_eq!(found.doubts, [r#"the baseline's kernel is "6.18.44", this one's "6.12.0""#]);
}

#[test]
fn changes_in_words() {
    let change = change(false, &[100.0; 8], &[130.0; 8], NOISE).unwrap();
    assert_eq!(change.words(), "worse (+30.0 %, between +30.0 and +30.0 %)");
}
