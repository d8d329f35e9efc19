//! Random scenarios until enough packets were compared, shrinking the first that fails.

use std::cell::{Cell, RefCell};

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use twinpath_core::hash;

use super::{Coverage, Difference, Runner, Scenario, TwinError, strategy};

/// How much to run.
#[derive(Clone, Copy, Debug)]
pub struct Random {
    /// Packets to compare at least.
    pub packets: u64,
    /// Steps of the longest scenario.
    pub steps: usize,
    /// What all scenarios are drawn from.
    pub seed: u64,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// Packets compared, up to the first difference: those of the search for a smaller scenario do not
    /// count.
    pub packets: u64,
    /// What happened, and how often.
    pub coverage: Coverage,
    /// The smallest scenario found on which the engines differ.
    pub failure: Option<Failure>,
}

/// A scenario and the difference that it shows.
#[derive(Debug)]
pub struct Failure {
    /// The scenario.
    pub scenario: Scenario,
    /// The difference.
    pub difference: Difference,
    /// Which oracle found it.
    pub oracle: &'static str,
    /// The packets of the scenario, up to the difference.
    pub packets: Vec<Vec<u8>>,
    /// The tables at the difference, for people.
    pub state: String,
}

impl Random {
    /// Runs. `progress` is told the packets compared so far, scenario by scenario.
    pub fn run<R: Runner>(
        &self,
        runner: &mut R,
        mut progress: impl FnMut(u64),
    ) -> Result<Outcome, TwinError> {
        let target = runner.packets().saturating_add(self.packets);
        let oracle = RefCell::new(runner);
        let broken = RefCell::new(None);
        let compared = Cell::new(None);
        let mut round = 0;
        let mut failing = None;
        while failing.is_none() && oracle.borrow().packets() < target {
            let config = Config {
                cases: 16,
                failure_persistence: None,
                max_shrink_iters: 4_000,
                ..Config::default()
            };
            let mut runner = TestRunner::new_with_rng(config, rng(self.seed, round));
            let small = oracle.borrow().small();
            let scenarios = strategy::scenario(self.steps).prop_map(move |mut scenario| {
                scenario.setup.small = small;
                scenario
            });
            let result = runner.run(&scenarios, |scenario| {
                let result = oracle.borrow_mut().run(&scenario);
                if !matches!(result, Ok(None)) && compared.get().is_none() {
                    compared.set(Some(oracle.borrow().packets()));
                }
                match result {
                    Ok(None) => Ok(()),
                    Ok(Some(difference)) => Err(TestCaseError::fail(difference.to_string())),
                    Err(error) => {
                        let text = error.to_string();
                        *broken.borrow_mut() = Some(error);
                        Err(TestCaseError::fail(text))
                    }
                }
            });
            if let Err(TestError::Fail(_, scenario)) = result {
                failing = Some(scenario);
            }
            progress(oracle.borrow().packets());
            round += 1;
        }
        let oracle = oracle.into_inner();
        let packets = compared.get().unwrap_or_else(|| oracle.packets());
        let failure = match failing {
            None => None,
            // Once more, for the difference of the smallest.
            Some(scenario) => match oracle.run(&scenario)? {
                Some(difference) => Some(Failure {
                    scenario,
                    difference,
                    oracle: R::NAME,
                    packets: oracle.sent().to_vec(),
                    state: oracle.tables()?,
                }),
                None => return Err(broken.into_inner().unwrap_or_else(TwinError::unsteady)),
            },
        };
        Ok(Outcome { packets, coverage: oracle.coverage().clone(), failure })
    }
}

/// The generator of a round, from 16 bytes of the random sequence with this seed. A quick one: every
/// packet takes dozens of numbers.
fn rng(seed: u64, round: u64) -> TestRng {
    let bytes: Vec<u8> =
        (0..4).flat_map(|i| hash::random(seed ^ round << 32, i).to_ne_bytes()).collect();
    TestRng::from_seed(RngAlgorithm::XorShift, &bytes)
}
