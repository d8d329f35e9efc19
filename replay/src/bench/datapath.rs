//! What carries a subject's packets.

use twinpath_control::diff::{Target, Write};
use twinpath_control::model::State;
use twinpath_control::tables::Options;
use twinpath_core::hook::Hook as Program;
use twinpath_kernel::attach::{Attachment, Method};
use twinpath_kernel::live::{Bare, LiveError, run_time};
use twinpath_kernel::load::{self, LoadError, Programs, load};
use twinpath_kernel::tables::KernelTables;
use twinpath_kernel::veth::netns::Namespace;
use twinpath_sim::node::Limits;
use twinpath_sim::topology::Topology;
use twinpath_sim::world::{Plan, WorldError};

use super::cluster::NODE;
use super::frame::MAX_FLOWS;
use super::lab::{Hook, UPLINK, failed};
use super::rival::Rival;
use super::subject::Subject;

/// The mark of packets that hooks are done with.
const MARK: u32 = 0x0200_0000;

/// What carries a subject's packets.
pub enum Datapath {
    /// Our programs, with all hooks of a node.
    Twinpath(Box<Twinpath>),
    /// The bare programs, which are attached and filled for each way of packets.
    Bare(Box<Bare>),
    /// The node's stack, with rules or without.
    Stack,
}

/// Our programs and their tables.
pub struct Twinpath {
    // Before the programs: a field's drop comes in this order.
    _attachments: Vec<Attachment>,
    programs: Programs,
    /// The tables.
    pub tables: KernelTables,
    /// What is in them, and what a change of the cluster makes of that.
    pub plan: Plan,
}

impl Datapath {
    pub(super) fn new(
        subject: Subject,
        hook: Hook,
        state: &State,
        topology: &Topology,
        node: &Namespace,
    ) -> Result<Self, WorldError> {
        match subject {
            Subject::Twinpath => {
                let twinpath = Twinpath::new(hook, state, topology, node)?;
                Ok(Self::Twinpath(Box::new(twinpath)))
            }
            Subject::Bare => {
                let bare = Bare::new(6 * u32::from(MAX_FLOWS)).map_err(of_live)?;
                Ok(Self::Bare(Box::new(bare)))
            }
            Subject::Forward => Ok(Self::Stack),
            Subject::IptablesLegacy | Subject::IptablesNft | Subject::Nftables => {
                let rival = Rival::new(subject).map_err(|missing| {
                    WorldError::Environment(format!("{}: {}", missing.what, missing.why))
                })?;
                rival.set_up(state, NODE).run(node)?;
                Ok(Self::Stack)
            }
            Subject::Ipvs | Subject::IpvsAlone => {
                Err(WorldError::Environment("ipvs is measured in a guest of its own".into()))
            }
        }
    }
}

impl Twinpath {
    fn new(
        hook: Hook,
        state: &State,
        topology: &Topology,
        node: &Namespace,
    ) -> Result<Self, WorldError> {
        let mut plan = Plan::new(options());
        let writes = plan.writes(state, NODE, topology);
        let limits = limits(&writes);
        let options = load::Options { limits, verified: false, attached: true };
        let mut programs = load(&options).map_err(of_load)?;
        let mut tables = KernelTables::new(&mut programs, &limits).map_err(of_load)?;
        tables.write_all(&writes).map_err(|failure| failed(failure.error))?;
        let mut hooks =
            vec![(Program::FromNetdev, UPLINK.to_owned()), (Program::ToNetdev, UPLINK.to_owned())];
        if hook == Hook::Xdp {
            hooks.push((Program::Xdp, UPLINK.to_owned()));
        }
        for pod in topology.pods.iter().filter(|pod| topology.node(NODE) == Some(pod.node)) {
            for program in [Program::FromPod, Program::ToPod] {
                hooks.push((program, format!("pod{}", pod.device)));
            }
        }
        let method = Method::of_this_kernel();
        let attach = || {
            hooks
                .iter()
                .map(|(program, device)| Attachment::new(&mut programs, *program, device, method))
                .collect::<Result<Vec<_>, _>>()
        };
        let attachments = node.run(attach)?.map_err(failed)?;
        Ok(Self { _attachments: attachments, programs, tables, plan })
    }

    /// How long the programs of hooks have run in all while the kernel kept count, with what they called,
    /// in nanoseconds.
    pub fn run_time(&self) -> Result<u64, LiveError> {
        Program::ALL.into_iter().map(|hook| run_time(&self.programs, hook.program())).sum()
    }
}

/// What the state of the cluster does not say.
pub(super) fn options() -> Options {
    Options { mark: MARK, ..Options::default() }
}

/// Sizes with room for as much again as is written, and for as many connections as by default.
fn limits(writes: &[Write]) -> Limits {
    let count = |is: fn(&Write) -> bool| 1_024 + 2 * writes.iter().filter(|w| is(w)).count();
    Limits {
        services: count(|write| matches!(write, Write::Service(..))),
        // The members of services have as many entries.
        backends: count(|write| matches!(write, Write::Member(..)))
            .max(count(|write| matches!(write, Write::Backend(..)))),
        ..Limits::default()
    }
}

fn of_load(error: LoadError) -> WorldError {
    match error {
        LoadError::NoObject | LoadError::NotPermitted => WorldError::Environment(error.to_string()),
        error => failed(error),
    }
}

pub(super) fn of_live(error: LiveError) -> WorldError {
    match error {
        LiveError::NoObject => WorldError::Environment(error.to_string()),
        error => failed(error),
    }
}
