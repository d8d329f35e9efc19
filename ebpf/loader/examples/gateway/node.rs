//! The node: its state, its tables and what is attached.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;

use twinpath_control::diff::{Target as _, diff};
use twinpath_control::model::{Pod, State};
use twinpath_control::problem::Severity;
use twinpath_control::read::{Objects, read};
use twinpath_control::tables::{self, Desired, Devices, Planner};
use twinpath_core::drop_reason::DropReason;
use twinpath_core::hook::Hook;
use twinpath_core::verdict::IfIndex;
use twinpath_kernel::attach::{Attachment, Method};
use twinpath_kernel::load::{self, LoadError, Programs, load};
use twinpath_kernel::tables::{KernelTables, TableError};
use twinpath_sim::node::Limits;

use crate::{Options, Problem};

/// The devices, by what they are for.
struct Wiring {
    pods: BTreeMap<IpAddr, IfIndex>,
    uplink: IfIndex,
}

impl Devices for Wiring {
    fn pod(&self, _node: &str, pod: &Pod) -> Option<IfIndex> {
        pod.addresses.iter().find_map(|address| self.pods.get(address).copied())
    }

    fn uplink(&self, _node: &str) -> IfIndex {
        self.uplink
    }
}

/// A node whose programs are attached.
pub(crate) struct Gateway {
    // Before the programs: a field's drop comes in this order.
    attachments: Vec<Attachment>,
    _programs: Programs,
    tables: KernelTables,
    files: Vec<PathBuf>,
    name: Option<String>,
    wiring: Wiring,
    planner: Planner,
    options: tables::Options,
    current: Desired,
}

impl Gateway {
    /// Loads the programs, writes the tables, and attaches.
    pub(crate) fn new(options: &Options) -> Result<Self, Problem> {
        let wiring = Wiring {
            pods: options
                .pods
                .iter()
                .map(|(address, device)| Ok((*address, number(device)?)))
                .collect::<Result<_, Problem>>()?,
            uplink: options.uplink.as_deref().map_or(Ok(0), number)?,
        };
        let state = state(&options.files)?;
        let limits = Limits::default();
        let mut programs = load(&load::Options { limits, ..load::Options::default() })?;
        let tables = KernelTables::new(&mut programs, &limits)?;
        let mut gateway = Self {
            attachments: Vec::new(),
            tables,
            _programs: programs,
            files: options.files.clone(),
            name: options.node.clone(),
            wiring,
            planner: Planner::default(),
            options: tables::Options {
                masquerade: options.masquerade,
                mark: options.mark.unwrap_or(0),
                ..tables::Options::default()
            },
            current: Desired::default(),
        };
        gateway.write(&state)?;
        // Last: what passes meanwhile is the stack's.
        gateway.attach(options)?;
        Ok(gateway)
    }

    fn attach(&mut self, options: &Options) -> Result<(), Problem> {
        let method = Method::of_this_kernel();
        let mut wanted: Vec<(Hook, &str)> = Vec::new();
        for device in
            options.pods.iter().map(|(_, device)| device.as_str()).collect::<BTreeSet<_>>()
        {
            wanted.extend([(Hook::FromPod, device), (Hook::ToPod, device)]);
        }
        if let Some(uplink) = options.uplink.as_deref() {
            wanted.push((Hook::FromNetdev, uplink));
            wanted.extend(options.mark.map(|_| (Hook::ToNetdev, uplink)));
            wanted.extend(options.xdp.then_some((Hook::Xdp, uplink)));
        }
        if wanted.is_empty() {
            return Err(Problem::Input("there is no device to attach to: --pod, --uplink".into()));
        }
        for (hook, device) in wanted {
            match Attachment::new(&mut self._programs, hook, device, method) {
                Ok(attachment) => self.attachments.push(attachment),
                Err(error) => {
                    let then = self.take_off().err().map(|why| format!("; then {why}"));
                    return Err(Problem::Kernel(format!("{error}{}", then.unwrap_or_default())));
                }
            }
        }
        Ok(())
    }

    /// Brings the tables to what the files say now; how many entries were written.
    pub(crate) fn apply(&mut self) -> Result<usize, Problem> {
        let state = state(&self.files)?;
        self.write(&state)
    }

    fn write(&mut self, state: &State) -> Result<usize, Problem> {
        let node = match (&self.name, state.nodes.keys().collect::<Vec<_>>().as_slice()) {
            (Some(name), nodes) if nodes.contains(&name) => name.clone(),
            (Some(name), _) => {
                return Err(Problem::Input(format!("the state has no node {name}")));
            }
            (None, [only]) => (*only).clone(),
            (None, nodes) => {
                let many = format!("the state has {} nodes: say which, with --node", nodes.len());
                return Err(Problem::Input(many));
            }
        };
        let desired = self.planner.plan(state, &node, &self.wiring, &self.options);
        let writes = diff(&self.current, &desired);
        for write in &writes {
            self.tables.write(write)?;
            match self.current.write(write) {
                Ok(()) => {}
                Err(never) => match never {},
            }
        }
        Ok(writes.len())
    }

    /// The halves of connections, one per line.
    pub(crate) fn conntrack(&mut self) -> Result<String, Problem> {
        let mut lines = String::new();
        for (key, flow) in self.tables.conntrack()? {
            let _ = writeln!(
                lines,
                "{:?} {} {:#04x} {key} as {}",
                flow.direction(),
                flow.phase().name(),
                flow.state().0,
                flow.to,
            );
        }
        Ok(lines)
    }

    /// Forgets all connections.
    pub(crate) fn flush(&mut self) -> Result<(), Problem> {
        Ok(self.tables.clear()?)
    }

    /// How many packets were dropped, by reason.
    pub(crate) fn drops(&self) -> Result<String, Problem> {
        let counts = self.tables.metrics()?;
        let mut lines = String::new();
        for reason in DropReason::ALL {
            let slot = reason as usize;
            if let Some(count) = counts.get(slot).filter(|count| **count != 0) {
                let _ = writeln!(lines, "{} {count}", reason.name());
            }
        }
        Ok(lines)
    }

    /// Takes the programs off.
    pub(crate) fn detach(mut self) -> Result<(), Problem> {
        self.take_off().map_err(Problem::Kernel)
    }

    /// Takes off all that can be.
    fn take_off(&mut self) -> Result<(), String> {
        let mut problems = Vec::new();
        for attachment in self.attachments.drain(..) {
            problems.extend(attachment.detach().err().map(|error| error.to_string()));
        }
        if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
    }
}

impl From<LoadError> for Problem {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::NoObject | LoadError::NotPermitted => Self::Environment(error.to_string()),
            _ => Self::Kernel(error.to_string()),
        }
    }
}

impl From<TableError> for Problem {
    fn from(error: TableError) -> Self {
        Self::Kernel(error.to_string())
    }
}

/// What the files say. An object that cannot be used is left out, and named on standard error.
fn state(files: &[PathBuf]) -> Result<State, Problem> {
    let mut objects = Objects::default();
    for file in files {
        let name = file.display().to_string();
        let bytes = std::fs::read(file)
            .map_err(|error| Problem::Input(format!("{name} cannot be read: {error}")))?;
        let read = read(&name, &bytes).map_err(|error| Problem::Input(error.to_string()))?;
        objects.merge(read);
    }
    let (state, problems) = State::new(&objects);
    for problem in problems.iter().filter(|problem| problem.severity > Severity::Note) {
        eprintln!("gateway: {problem}");
    }
    Ok(state)
}

/// The number of a device of this namespace.
fn number(device: &str) -> Result<IfIndex, Problem> {
    let name = CString::new(device)
        .map_err(|_| Problem::Input("a device's name has a zero byte".to_owned()))?;
    // SAFETY: the name ends with a zero byte.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(Problem::Input(format!("there is no device {device} in the namespace"))),
        number => Ok(number),
    }
}
