//! What runs scenarios and says what is wrong: an oracle with what it looks at.

use twinpath_sim::engine::Engine;

use super::{Coverage, Difference, Scenario, Twin, TwinError};

/// An oracle with the engines that it looks at.
pub trait Runner {
    /// Its name.
    const NAME: &'static str;

    /// Runs a scenario from empty connections; the first thing that is wrong, if there is one.
    fn run(&mut self, scenario: &Scenario) -> Result<Option<Difference>, TwinError>;
    /// The tables as they are now, for people.
    fn tables(&mut self) -> Result<String, TwinError>;
    /// Packets looked at so far.
    fn packets(&self) -> u64;
    /// Whether the scenarios must be such for [small](super::small) tables.
    fn small(&self) -> bool {
        false
    }
    /// What happened so far, and how often.
    fn coverage(&self) -> &Coverage;
    /// The packets of the last run, as they went in.
    fn sent(&self) -> &[Vec<u8>];
}

impl<A: Engine, B: Engine> Runner for Twin<A, B> {
    const NAME: &'static str = "twin";

    fn run(&mut self, scenario: &Scenario) -> Result<Option<Difference>, TwinError> {
        Self::run(self, scenario)
    }

    fn tables(&mut self) -> Result<String, TwinError> {
        Self::tables(self)
    }

    fn packets(&self) -> u64 {
        self.packets
    }

    fn small(&self) -> bool {
        self.small
    }

    fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    fn sent(&self) -> &[Vec<u8>] {
        &self.sent
    }
}
