//! Scenarios, and the files that they are kept in.

use std::path::Path;

use serde::{Deserialize, Serialize};
use twinpath_core::fault::{Kind, Which};
use twinpath_core::hook::Hook;

use super::PacketSpec;
use super::services::SERVICE_COUNT;
use super::setup::Setup;

/// A script for one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scenario {
    /// The version of this format: 1.
    pub v: u32,
    /// The seed of the node's dice.
    pub seed: u64,
    /// How the node is set up.
    #[serde(default)]
    pub setup: Setup,
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
    /// A service port gets other endpoints: two bits for each of the pods that can serve it, 2 to 5 for
    /// most (0 none, 1 ready, 2 terminating, 3 not ready).
    Endpoints(u8, u8),
    /// A service port gets another [`policy`](super::policy).
    Policy(u8, u8),
    /// An entry of the conntrack table is gone, as if evicted: the n-th, modulo their number.
    Evict(u16),
    /// An operation of the datapath on a table will go wrong, after so many of its kind that go well.
    Fault(TableName, FaultName, u8),
}

/// A table that the datapath writes, in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TableName {
    /// [`Which::Conntrack`].
    Conntrack,
    /// [`Which::Affinities`].
    Affinities,
    /// [`Which::Fragments`].
    Fragments,
}

/// How an operation goes wrong, in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultName {
    /// [`Kind::Full`].
    Full,
    /// [`Kind::Exists`].
    Exists,
    /// [`Kind::Evicted`].
    Evicted,
    /// [`Kind::Stays`].
    Stays,
}

impl From<TableName> for Which {
    fn from(name: TableName) -> Self {
        match name {
            TableName::Conntrack => Self::Conntrack,
            TableName::Affinities => Self::Affinities,
            TableName::Fragments => Self::Fragments,
        }
    }
}

impl From<FaultName> for Kind {
    fn from(name: FaultName) -> Self {
        match name {
            FaultName::Full => Self::Full,
            FaultName::Exists => Self::Exists,
            FaultName::Evicted => Self::Evicted,
            FaultName::Stays => Self::Stays,
        }
    }
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
    /// [`Hook::ToNetdev`].
    ToNetdev,
    /// [`Hook::Xdp`].
    Xdp,
}

impl From<HookName> for Hook {
    fn from(name: HookName) -> Self {
        match name {
            HookName::FromPod => Self::FromPod,
            HookName::ToPod => Self::ToPod,
            HookName::FromNetdev => Self::FromNetdev,
            HookName::ToNetdev => Self::ToNetdev,
            HookName::Xdp => Self::Xdp,
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
    pub const fn new(seed: u64, setup: Setup, steps: Vec<Step>) -> Self {
        Self { v: 1, seed, setup, steps }
    }

    /// Reads one from a file.
    pub fn read(path: &Path) -> Result<Self, ScenarioError> {
        let name = path.display().to_string();
        let text = std::fs::read(path).map_err(|error| ScenarioError::File(name.clone(), error))?;
        Self::parse(&name, &text)
    }

    /// Reads one from what is in a file.
    pub fn parse(name: &str, text: &[u8]) -> Result<Self, ScenarioError> {
        let name = name.to_owned();
        let scenario: Self = serde_json::from_slice(text)
            .map_err(|error| ScenarioError::Form(name.clone(), error))?;
        if scenario.v != 1 {
            return Err(ScenarioError::Version(name, scenario.v));
        }
        for (number, step) in scenario.steps.iter().enumerate() {
            if matches!(step, Step::Endpoints(service, _) | Step::Policy(service, _) if *service >= SERVICE_COUNT)
            {
                return Err(ScenarioError::Service(name, number + 1));
            }
        }
        Ok(scenario)
    }

    /// Writes it to a file, a step a line.
    pub fn write(&self, path: &Path) -> Result<(), ScenarioError> {
        let name = path.display().to_string();
        let form = |error| ScenarioError::Form(name.clone(), error);
        let setup = serde_json::to_string(&self.setup).map_err(form)?;
        let mut text =
            format!("{{\"v\":{},\"seed\":{},\"setup\":{setup},\"steps\":[", self.v, self.seed);
        for (i, step) in self.steps.iter().enumerate() {
            text += if i == 0 { "\n" } else { ",\n" };
            text += &serde_json::to_string(step).map_err(form)?;
        }
        text += "\n]}\n";
        std::fs::write(path, text).map_err(|error| ScenarioError::File(name.clone(), error))
    }
}

#[cfg(test)]
mod tests {
    use proptest::strategy::{Strategy, ValueTree};
    use proptest::test_runner::TestRunner;

    use super::*;
    use crate::verify::{Protocol, Sender, Target, strategy};

    #[test]
    fn a_file_from_before_setups_and_senders_still_reads() {
        let text = br#"{"v":1,"seed":7,"steps":[
{"packet":["from-pod",10,{"family":4,"from":0,"to":{"service":1},"protocol":{"udp":true},"port":40000,"payload":3,"ttl":64,"tags":0,"options":0,"fragment":null,"damage":[]}]},
{"endpoints":[1,85]},
{"evict":3}
]}"#;
        let scenario: Scenario = serde_json::from_slice(text).unwrap();
        assert_eq!(scenario.setup, Setup::default());
        let Step::Packet(HookName::FromPod, 10, spec) = &scenario.steps[0] else {
            panic!("{:?}", scenario.steps[0]);
        };
        assert_eq!((spec.sender, spec.to), (Sender::Pod, Target::Service(1)));
        assert_eq!((spec.protocol, spec.marked), (Protocol::Udp(true), false));
        assert_eq!((spec.quote, spec.wrap), (None, None));
        assert_eq!(scenario.steps[1..], [Step::Endpoints(1, 85), Step::Evict(3)]);
    }

    #[test]
    fn what_is_saved_reads_as_it_was() {
        let path = std::env::temp_dir().join(format!("twin-{}.json", std::process::id()));
        let mut runner = TestRunner::deterministic();
        for _ in 0..20 {
            let scenario = strategy::scenario(40).new_tree(&mut runner).unwrap().current();
            scenario.write(&path).unwrap();
            assert_eq!(Scenario::read(&path).unwrap(), scenario);
        }
        std::fs::remove_file(&path).unwrap();
    }
}
