//! Loading the programs.

use aya::maps::{MapData, ProgramArray};
use aya::programs::{Program, ProgramError, SchedClassifier, Xdp};
use aya::{Ebpf, EbpfLoader};
use twinpath_core::hook::{Hook, Stage};
use twinpath_sim::node::Limits;

use crate::object;

/// How the programs are loaded.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Sizes of the maps. The eviction policy is the kernel's own.
    pub limits: Limits,
    /// Virtual time, seeded dice, and decisions reported in the packet's scratch words.
    pub verified: bool,
    /// Whether the programs of a verified run are attached: then the kernel's tables are asked for
    /// neighbours at XDP, which there are none of in a test run.
    pub attached: bool,
}

/// Why the programs are not there to run.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// They were not built.
    #[error("{}", object::MISSING)]
    NoObject,
    /// The user may not load programs.
    #[error("loading programs needs root (CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON): run as root")]
    NotPermitted,
    /// The kernel refused the maps or the object.
    #[error("the kernel did not take the maps: {0}")]
    Maps(#[from] aya::EbpfError),
    /// The kernel refused a program.
    #[error("the kernel did not take the program {name}: {error}")]
    Program {
        /// Which program.
        name: &'static str,
        /// What the kernel said.
        error: String,
    },
    /// A map or program of the object is not the one that was expected.
    #[error("the object has no {0}, or another kind of it: build it again with ebpf/build.sh")]
    Unexpected(&'static str),
}

/// A loaded set of programs, with their maps. The slow road is there as long as this is.
pub struct Programs {
    ebpf: Ebpf,
    /// The kernel empties the array when nobody holds it.
    #[allow(dead_code)]
    stages: ProgramArray<MapData>,
}

impl std::ops::Deref for Programs {
    type Target = Ebpf;
    fn deref(&self) -> &Ebpf {
        &self.ebpf
    }
}

impl std::ops::DerefMut for Programs {
    fn deref_mut(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }
}

/// Loads the programs and their maps; one set of maps per call.
pub fn load(options: &Options) -> Result<Programs, LoadError> {
    let mut ebpf = open(options)?;
    for hook in Hook::ALL {
        load_program(&mut ebpf, hook.program())?;
    }
    let mut stages = match ebpf.take_map("STAGES") {
        Some(map) => ProgramArray::try_from(map).map_err(|_| LoadError::Unexpected("STAGES"))?,
        None => return Err(LoadError::Unexpected("STAGES")),
    };
    for stage in Stage::ALL {
        load_program(&mut ebpf, stage.program())?;
        set_stage(&ebpf, &mut stages, stage)?;
    }
    Ok(Programs { ebpf, stages })
}

impl Programs {
    /// Loads the programs of all stages once more, on the same maps, and puts each in the place of the one
    /// that was there.
    pub fn replace_stages(&mut self) -> Result<(), LoadError> {
        let Self { ebpf, stages } = self;
        for stage in Stage::ALL {
            load_again(ebpf, stage.program())?;
            set_stage(ebpf, stages, stage)?;
        }
        Ok(())
    }
}

/// Puts the program of a stage where the others find it.
fn set_stage(
    ebpf: &Ebpf,
    stages: &mut ProgramArray<MapData>,
    stage: Stage,
) -> Result<(), LoadError> {
    let name = stage.program();
    let fd = ebpf.program(name).ok_or(LoadError::Unexpected(name))?.fd();
    let failed = |error: String| LoadError::Program { name, error };
    let fd = fd.map_err(|error| failed(describe(&error)))?;
    stages.set(stage as u32, fd, 0).map_err(|error| failed(error.to_string()))
}

/// Makes the maps and sets the programs' constants, but gives the kernel no program yet.
pub fn open(options: &Options) -> Result<Ebpf, LoadError> {
    let object = object::bytes().ok_or(LoadError::NoObject)?;
    // SAFETY: a plain system call.
    if unsafe { libc::geteuid() } != 0 {
        return Err(LoadError::NotPermitted);
    }
    let size = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).max(1);
    let limits = &options.limits;
    let verified = match (options.verified, options.attached) {
        (false, _) => 0_u32,
        (true, false) => 1,
        (true, true) => 2,
    };
    let tick = tick();
    // `INITIAL_JIFFIES` of include/linux/jiffies.h: five minutes before a 32-bit counter wraps.
    let at_boot = u64::from((300 * (1_000_000_000 / tick) as u32).wrapping_neg());
    let ebpf = EbpfLoader::new()
        .override_global("VERIFIED", &verified, true)
        .override_global("TICK", &tick, true)
        .override_global("TICKS_AT_BOOT", &at_boot, true)
        .map_max_entries("SERVICES", size(limits.services))
        .map_max_entries("BACKENDS", size(limits.backends))
        .map_max_entries("MAGLEV", size(limits.maglev))
        .map_max_entries("ENDPOINTS", size(limits.endpoints))
        .map_max_entries("MEMBERS", size(limits.backends))
        .map_max_entries("RANGES", size(limits.ranges))
        .map_max_entries("TERMINATIONS", size(limits.backends))
        .map_max_entries("AFFINITIES", size(limits.affinities))
        .map_max_entries("FRAGMENTS", size(limits.fragments))
        .map_max_entries("CONNTRACK4", size(limits.conntrack))
        .map_max_entries("CONNTRACK6", size(limits.conntrack))
        .load(object)?;
    Ok(ebpf)
}

fn load_program(ebpf: &mut Ebpf, name: &'static str) -> Result<(), LoadError> {
    let program = ebpf.program_mut(name).ok_or(LoadError::Unexpected(name))?;
    match program {
        Program::SchedClassifier(program) => program.load(),
        Program::Xdp(program) => program.load(),
        _ => return Err(LoadError::Unexpected(name)),
    }
    .map_err(|error| LoadError::Program { name, error: describe(&error) })
}

/// Nanoseconds in a tick of the kernel's timer: the resolution of its coarse clock.
fn tick() -> u64 {
    let mut resolution = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live value.
    let result = unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &raw mut resolution) };
    match u64::try_from(resolution.tv_nsec) {
        Ok(tick) if result == 0 && tick > 0 => tick,
        _ => 4_000_000, // a kernel of 250 Hz, as most are
    }
}

/// Loads the program of a hook once more, on the same maps. Links that others hold stay with the program
/// that was there before.
pub fn reload(ebpf: &mut Ebpf, hook: Hook) -> Result<(), LoadError> {
    load_again(ebpf, hook.program())
}

fn load_again(ebpf: &mut Ebpf, name: &'static str) -> Result<(), LoadError> {
    let failed = |error: ProgramError| LoadError::Program { name, error: describe(&error) };
    match ebpf.program_mut(name) {
        Some(Program::SchedClassifier(program)) => program.unload(),
        Some(Program::Xdp(program)) => program.unload(),
        _ => return Err(LoadError::Unexpected(name)),
    }
    .map_err(failed)?;
    load_program(ebpf, name)
}

/// The XDP program.
pub fn xdp(ebpf: &mut Ebpf) -> Result<&mut Xdp, LoadError> {
    let name = Hook::Xdp.program();
    ebpf.program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or(LoadError::Unexpected(name))
}

/// The program of a hook at tc.
pub fn program(ebpf: &mut Ebpf, hook: Hook) -> Result<&mut SchedClassifier, LoadError> {
    let name = hook.program();
    ebpf.program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or(LoadError::Unexpected(name))
}

/// Why the kernel refused a program: the last lines of the verifier's log are what says so.
pub fn describe(error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            let lines: Vec<&str> = log.lines().collect();
            format!("{io_error}\n{}", lines[lines.len().saturating_sub(20)..].join("\n"))
        }
        other => other.to_string(),
    }
}
