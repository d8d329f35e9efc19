//! Scenarios, and the files that they are kept in.

use std::path::Path;

use serde::{Deserialize, Serialize};
use twinpath_core::hook::Hook;

use super::PacketSpec;
use super::cluster::SERVICE_COUNT;

/// A script for one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scenario {
    /// The version of this format: 1.
    pub v: u32,
    /// The seed of the node's dice.
    pub seed: u64,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// A packet meets a hook, having come by this device.
    Packet(HookName, u32, PacketSpec),
    /// Time passes, in milliseconds.
    Wait(u64),
    /// A service port gets other endpoints: two bits for each of the pods 2 to 5 (0 none, 1 ready,
    /// 2 terminating, 3 not ready).
    Endpoints(u8, u8),
    /// An entry of the conntrack table is gone, as if evicted: the n-th, modulo their number.
    Evict(u16),
}

/// A hook, in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HookName {
    /// [`Hook::FromPod`].
    FromPod,
    /// [`Hook::ToPod`].
    ToPod,
    /// [`Hook::FromNetdev`].
    FromNetdev,
}

impl From<HookName> for Hook {
    fn from(name: HookName) -> Self {
        match name {
            HookName::FromPod => Self::FromPod,
            HookName::ToPod => Self::ToPod,
            HookName::FromNetdev => Self::FromNetdev,
        }
    }
}

/// Why a scenario file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// It cannot be read or written.
    #[error("{0}: {1}")]
    File(String, std::io::Error),
    /// It is not a scenario.
    #[error("{0}: not a scenario: {1}")]
    Form(String, serde_json::Error),
    /// It is one of another version.
    #[error("{0}: scenario version {1}; this program reads version 1")]
    Version(String, u32),
    /// It asks for what the little cluster does not have.
    #[error("{0}: step {1}: there are service ports 0 to {last}", last = SERVICE_COUNT - 1)]
    Service(String, usize),
}

impl Scenario {
    /// A scenario with these steps.
    pub const fn new(seed: u64, steps: Vec<Step>) -> Self {
        Self { v: 1, seed, steps }
    }

    /// Reads one from a file.
    pub fn read(path: &Path) -> Result<Self, ScenarioError> {
        let name = path.display().to_string();
        let text = std::fs::read(path).map_err(|error| ScenarioError::File(name.clone(), error))?;
        let scenario: Self = serde_json::from_slice(&text)
            .map_err(|error| ScenarioError::Form(name.clone(), error))?;
        if scenario.v != 1 {
            return Err(ScenarioError::Version(name, scenario.v));
        }
        for (number, step) in scenario.steps.iter().enumerate() {
            if matches!(step, Step::Endpoints(service, _) if *service >= SERVICE_COUNT) {
                return Err(ScenarioError::Service(name, number + 1));
            }
        }
        Ok(scenario)
    }

    /// Writes it to a file, a step a line.
    pub fn write(&self, path: &Path) -> Result<(), ScenarioError> {
        let name = path.display().to_string();
        let form = |error| ScenarioError::Form(name.clone(), error);
        let mut text = format!("{{\"v\":{},\"seed\":{},\"steps\":[", self.v, self.seed);
        for (i, step) in self.steps.iter().enumerate() {
            text += if i == 0 { "\n" } else { ",\n" };
            text += &serde_json::to_string(step).map_err(form)?;
        }
        text += "\n]}\n";
        std::fs::write(path, text).map_err(|error| ScenarioError::File(name.clone(), error))
    }
}
