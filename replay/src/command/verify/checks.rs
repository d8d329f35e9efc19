//! What a run checked: a line each on standard output, and JUnit's XML for CI.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use twinpath_sim::world::WorldError;

use crate::failure::{Ending, Failure};

/// How a check ended.
#[derive(Debug)]
pub(super) enum End {
    /// As it should; how much was compared.
    Passed(String),
    /// Not; what is wrong, a line each, and the folder or file that shows it once more.
    Failed(Vec<String>, Option<PathBuf>),
    /// It did not run, and why.
    Skipped(String),
}

/// One check.
#[derive(Debug)]
struct Check {
    oracle: &'static str,
    world: &'static str,
    name: String,
    time: Duration,
    end: End,
}

/// All checks of a run, in order.
pub(super) struct Checks<W> {
    done: Vec<Check>,
    /// Where each is told as it ends.
    out: W,
}

impl<W: Write> Checks<W> {
    /// None yet.
    pub(super) const fn new(out: W) -> Self {
        Self { done: Vec::new(), out }
    }

    /// Runs a check, and prints how it ended. A world that this machine lacks is no failure unless it was
    /// asked for by name.
    pub(super) fn run(
        &mut self,
        (oracle, world): (&'static str, &'static str),
        name: impl Into<String>,
        asked: bool,
        check: impl FnOnce() -> Result<End, Failure>,
    ) -> Result<(), Failure> {
        let start = Instant::now();
        let end = match check() {
            Err(Failure::World(WorldError::Environment(why))) if !asked => End::Skipped(why),
            result => result?,
        };
        let check = Check { oracle, world, name: name.into(), time: start.elapsed(), end };
        self.print(&check.text())?;
        self.done.push(check);
        Ok(())
    }

    /// Tells something besides.
    pub(super) fn print(&mut self, text: &str) -> Result<(), Failure> {
        self.out.write_all(text.as_bytes()).map_err(Failure::Output)
    }

    fn count(&self, which: impl Fn(&End) -> bool) -> usize {
        self.done.iter().filter(|check| which(&check.end)).count()
    }

    /// How many failed.
    pub(super) fn failed(&self) -> usize {
        self.count(|end| matches!(end, End::Failed(..)))
    }

    /// Prints the sum of it all, and says how the command ends.
    pub(super) fn finish(&mut self, seed: u64) -> Result<Ending, Failure> {
        let passed = self.count(|end| matches!(end, End::Passed(_)));
        let skipped = self.count(|end| matches!(end, End::Skipped(_)));
        let failed = self.failed();
        self.print(&format!("{passed} passed, {failed} failed, {skipped} skipped, seed {seed}\n"))?;
        Ok(match (passed, failed) {
            (0, 0) => Ending::Nothing,
            (_, 0) => Ending::Fine,
            _ => Ending::Different,
        })
    }

    /// Writes JUnit's XML: a suite per oracle, a test case per check.
    pub(super) fn write_junit(&self, path: &Path) -> Result<(), Failure> {
        let mut report = Report::new("twinpath verify");
        let mut oracles: Vec<&str> = self.done.iter().map(|check| check.oracle).collect();
        oracles.dedup();
        for oracle in oracles {
            let mut suite = TestSuite::new(oracle);
            suite.add_test_cases(
                self.done.iter().filter(|check| check.oracle == oracle).map(Check::test_case),
            );
            report.add_test_suite(suite);
        }
        let file = |cause| Failure::File {
            name: path.display().to_string(),
            cause,
            advice: "give --junit-file a file that can be written",
        };
        let text = report.to_string().map_err(|error| file(std::io::Error::other(error)))?;
        std::fs::write(path, text).map_err(file)
    }
}

impl Check {
    /// `passed  twin       test-run  random scripts: 200,294 packets`, and for a failure what it shows and
    /// where it is kept.
    fn text(&self) -> String {
        let (status, detail) = match &self.end {
            End::Passed(detail) => ("passed", detail.clone()),
            End::Failed(problems, _) => ("FAILED", problems.join("\n  ")),
            End::Skipped(why) => ("skipped", why.clone()),
        };
        let Self { oracle, world, name, .. } = self;
        let mut text = format!("{status:<8} {oracle:<10} {world:<9} {name}: {detail}\n");
        if let End::Failed(_, Some(again)) = &self.end {
            text += &format!("  once more: {}\n", command_for(again));
        }
        text
    }

    fn test_case(&self) -> TestCase {
        let status = match &self.end {
            End::Passed(_) => TestCaseStatus::success(),
            End::Skipped(why) => {
                let mut status = TestCaseStatus::skipped();
                status.set_message(why.clone());
                status
            }
            End::Failed(problems, again) => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_message(problems.first().cloned().unwrap_or_default());
                let again = again.iter().map(|path| format!("once more: {}\n", command_for(path)));
                let lines = problems.iter().map(|line| format!("{line}\n"));
                status.set_description(lines.chain(again).collect::<String>());
                status
            }
        };
        let mut case = TestCase::new(self.name.clone(), status);
        case.set_classname(format!("{}.{}", self.oracle, self.world)).set_time(self.time);
        if let End::Passed(detail) = &self.end {
            case.set_system_out(detail.clone());
        }
        case
    }
}

/// The command that runs a saved failure once more.
fn command_for(path: &Path) -> String {
    format!("twinpath verify {}", path.display())
}

/// A number with a comma after every third digit.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i != 0 && i % 3 == first {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_in_groups() {
        let shown = [0, 999, 1_000, 22_333, 4_444_000].map(grouped);
        assert_eq!(shown, ["0", "999", "1,000", "22,333", "4,444,000"]);
    }

    fn checks() -> Checks<Vec<u8>> {
        let mut checks = Checks::new(Vec::new());
        let mut run =
            |world, name: &str, asked, end| checks.run(("twin", world), name, asked, || end);
        run("test-run", "one", true, Ok(End::Passed("3 packets".into()))).unwrap();
        let problems = vec!["step 3: bytes".into(), "more <of> it".into()];
        run("test-run", "two", true, Ok(End::Failed(problems, Some("failures/x".into())))).unwrap();
        let missing = || Failure::World(WorldError::Environment("needs root".into()));
        run("veth", "three", false, Err(missing())).unwrap();
        assert!(run("veth", "three", true, Err(missing())).is_err());
        checks
    }

    #[test]
    fn a_world_that_lacks_is_a_failure_only_where_it_was_asked_for() {
        let mut checks = checks();
        assert_eq!(checks.done.len(), 3);
        assert!(matches!(&checks.done[2].end, End::Skipped(why) if why == "needs root"));
        assert_eq!(checks.finish(7).unwrap(), Ending::Different);
        let text = String::from_utf8(checks.out).unwrap();
        assert!(
            text.starts_with("passed   twin       test-run  one: 3 packets\nFAILED   twin"),
            "{text}"
        );
        assert!(text.ends_with("1 passed, 1 failed, 1 skipped, seed 7\n"), "{text}");
        assert_eq!(Checks::new(Vec::new()).finish(7).unwrap(), Ending::Nothing);
    }

    #[test]
    fn junit_has_every_check_with_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("junit.xml");
        checks().write_junit(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let report = Report::deserialize(text.as_bytes()).unwrap();
        assert_eq!((report.tests, report.failures, report.errors), (3, 1, 0));
        assert_eq!(report.test_suites.len(), 1);
        for part in
            ["<testsuite name=\"twin\"", "once more: twinpath verify failures/x", "needs root"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
        let bad = folder.path().join("none/junit.xml");
        assert!(matches!(checks().write_junit(&bad), Err(Failure::File { .. })));
    }
}
