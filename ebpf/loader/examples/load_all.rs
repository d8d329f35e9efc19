//! Loads and attaches every program of the object on the kernel that this runs on, each as what its
//! section says, and prints a line for each. `ebpf/guest.sh` runs it on several kernels.
//!
//! A program is attached to a device, control group or namespace of this run alone, and taken off
//! again. Whether programs do to packets what the simulator does is for `twinpath verify` to tell.
//!
//! Exit codes: 0 all of them; 1 some not, with the end of the verifier's log; 3 no programs or no root.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;
use std::{fs, process};

use aya::Ebpf;
use aya::programs::cgroup_skb::CgroupSkbAttachType;
use aya::programs::tc::{self, NlOptions, TcAttachOptions};
use aya::programs::{
    CgroupAttachMode, LinkOrder, Program, ProgramError, TcAttachType, TestRun, TestRunOptions,
    XdpMode,
};
use twinpath_core::hook::Hook;
use twinpath_kernel::attach::{Attachment, Method};
use twinpath_kernel::load::{LoadError, Options, describe, open};
use twinpath_kernel::veth::netns::Namespace;

/// Devices of the namespace: the ends of one pair.
const DEVICE: &str = "load0";
const PEER: &str = "load1";

fn main() -> ExitCode {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    match run(release) {
        Ok((all, 0)) if all > 0 => {
            println!("all {all} programs loaded on {release}");
            ExitCode::SUCCESS
        }
        Ok((all, failed)) => {
            println!("{failed} of {all} programs failed on {release}");
            ExitCode::FAILURE
        }
        Err(Problem::Environment(why)) => {
            eprintln!("load_all: {why}");
            ExitCode::from(3)
        }
        Err(Problem::Failed(why)) => {
            println!("no programs loaded on {release}: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Why nothing is said about single programs.
enum Problem {
    /// This is not the place to try.
    Environment(String),
    /// The kernel refused.
    Failed(String),
}

impl From<LoadError> for Problem {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::NoObject | LoadError::NotPermitted => Self::Environment(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// How many programs there are, and with how many something went wrong.
fn run(release: &str) -> Result<(usize, usize), Problem> {
    let mut ebpf = open(&Options::default())?;
    let site = Site::new().map_err(Problem::Failed)?;
    let mut names: Vec<String> = ebpf.programs().map(|(name, _)| name.to_owned()).collect();
    names.sort_unstable();
    let mut failed = 0;
    for name in &names {
        say(&format!("{name:<24} "));
        match attempt(&mut ebpf, name, &site) {
            Ok(()) => println!(),
            Err(why) => {
                failed += 1;
                println!("FAILED on {release}: {why}");
            }
        }
    }
    Ok((names.len(), failed))
}

/// Prints at once, so that it shows how far this came should it be stopped: an old verifier in an emulated
/// guest takes a minute to refuse a program and say why.
fn say(text: &str) {
    print!("{text}");
    // Standard output that is closed leaves nobody to tell.
    let _ = io::stdout().flush();
}

/// Loads one program, runs and attaches it, and says how that goes.
fn attempt(ebpf: &mut Ebpf, name: &str, site: &Site) -> Result<(), String> {
    let program = ebpf.program_mut(name).ok_or("it is gone")?;
    say(&format!("{:?}: ", program.prog_type()));
    say(&load_program(program)?);
    say(", ");
    say(&pace(program).map_err(|error| format!("test run: {error}"))?);
    say(", ");
    say(&site.attach(ebpf, name).map_err(|why| format!("attaching: {why}"))?);
    Ok(())
}

/// Loads a program and says what that took.
fn load_program(program: &mut Program) -> Result<String, String> {
    let start = Instant::now();
    give_to_kernel(program)?;
    let took = start.elapsed().as_millis();
    let info = program.info().map_err(|error| error.to_string())?;
    let verified = info
        .verified_instruction_count()
        .map_or_else(|| "? instructions".to_owned(), |count| format!("{count} instructions"));
    Ok(format!("{verified} verified in {took} ms"))
}

/// Loads a program as what its section says.
fn give_to_kernel(program: &mut Program) -> Result<(), String> {
    macro_rules! load {
        ($($kind:ident)*) => {
            match program {
                $(Program::$kind(program) => program.load(),)*
                // These are loaded for one place in the kernel, which the section does not name.
                _ => return Err(format!("load_all cannot load a {:?}", program.prog_type())),
            }
        };
    }
    let result = load!(
        SchedClassifier Xdp CgroupSkb CgroupSock CgroupSockAddr CgroupSockopt CgroupSysctl
        CgroupDevice SockOps SkLookup SocketFilter SkMsg SkSkb FlowDissector KProbe TracePoint
        RawTracePoint PerfEvent
    );
    result.map_err(|error| describe(&error))
}

/// Nanoseconds per run on a packet that no program has business with.
fn pace(program: &Program) -> Result<String, ProgramError> {
    let mut arp = [0_u8; 60];
    arp[..6].fill(0xff);
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    let mut options = TestRunOptions::new();
    options.data_in = Some(&arp);
    options.repeat = 1_000;
    let result = match program {
        Program::SchedClassifier(program) => program.test_run(options)?,
        Program::Xdp(program) => program.test_run(options)?,
        _ => return Ok("not run".to_owned()),
    };
    Ok(format!("{} ns a run", result.duration.as_nanos()))
}

/// What programs are attached to. Dropping it leaves nothing behind.
struct Site {
    /// With the devices; the calling thread is in it.
    namespace: Namespace,
    method: Method,
}

impl Site {
    fn new() -> Result<Self, String> {
        let namespace = Namespace::new().map_err(|error| error.to_string())?;
        namespace
            .ip(&format!("link add {DEVICE} type veth peer name {PEER}\nlink set {DEVICE} up\nlink set {PEER} up\n"))
            .and_then(|()| namespace.enter())
            .map_err(|error| error.to_string())?;
        let method = Method::of_this_kernel();
        if method == Method::Clsact {
            // For programs that are no hook; a hook's attachment sees to it by itself.
            tc::qdisc_add_clsact(PEER).map_err(|error| error.to_string())?;
        }
        Ok(Self { namespace, method })
    }

    /// Attaches a loaded program where programs of its kind belong, and takes it off again.
    fn attach(&self, ebpf: &mut Ebpf, name: &str) -> Result<String, String> {
        let program = ebpf.program_mut(name).ok_or("it is gone")?;
        let hook = Hook::ALL.into_iter().find(|hook| hook.program() == name);
        if let (Some(hook), Program::SchedClassifier(_)) = (hook, &program) {
            let attachment = Attachment::new(ebpf, hook, DEVICE, self.method);
            let done = attachment.and_then(Attachment::detach);
            return done
                .map(|()| format!("attached ({:?})", self.method))
                .map_err(|e| e.to_string());
        }
        self.attach_other(program)
    }

    fn attach_other(&self, program: &mut Program) -> Result<String, String> {
        let text = |error: ProgramError| error.to_string();
        macro_rules! to_cgroup {
            ($program:ident $(, $side:expr)?) => {{
                let cgroup = Cgroup::new()?;
                let file = cgroup.open()?;
                let id = $program.attach(&file $(, $side)?, CgroupAttachMode::Single).map_err(text)?;
                $program.detach(id).map_err(text)?;
                "attached (control group)".to_owned()
            }};
        }
        Ok(match program {
            Program::SchedClassifier(program) => {
                let options = match self.method {
                    Method::Tcx => TcAttachOptions::TcxOrder(LinkOrder::default()),
                    Method::Clsact => TcAttachOptions::Netlink(NlOptions::default()),
                };
                let id = program
                    .attach_with_options(PEER, TcAttachType::Ingress, options)
                    .map_err(text)?;
                program.detach(id).map_err(text)?;
                format!("attached ({:?})", self.method)
            }
            Program::Xdp(program) => {
                let id = program.attach(PEER, XdpMode::Driver).map_err(text)?;
                program.detach(id).map_err(text)?;
                "attached (native)".to_owned()
            }
            Program::SkLookup(program) => {
                let namespace = File::open(self.namespace.path()).map_err(|e| e.to_string())?;
                let id = program.attach(&namespace).map_err(text)?;
                program.detach(id).map_err(text)?;
                "attached (namespace)".to_owned()
            }
            Program::CgroupSkb(program) => to_cgroup!(program, CgroupSkbAttachType::Ingress),
            Program::CgroupSock(program) => to_cgroup!(program),
            Program::CgroupSockAddr(program) => to_cgroup!(program),
            Program::CgroupSockopt(program) => to_cgroup!(program),
            Program::CgroupSysctl(program) => to_cgroup!(program),
            Program::CgroupDevice(program) => to_cgroup!(program),
            Program::SockOps(program) => to_cgroup!(program),
            _ => "not attached".to_owned(),
        })
    }
}

/// A control group of this run, without processes.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new() -> Result<Self, String> {
        let mounts = fs::read_to_string("/proc/mounts").map_err(|error| error.to_string())?;
        let root = mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .find(|fields| fields.get(2) == Some(&"cgroup2"))
            .and_then(|fields| fields.get(1).map(PathBuf::from))
            .ok_or("no cgroup2 file system is mounted")?;
        let path = root.join(format!("twinpath-load-{}", process::id()));
        fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }

    fn open(&self) -> Result<File, String> {
        File::open(&self.0).map_err(|error| format!("{}: {error}", self.0.display()))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.0) {
            eprintln!("load_all: {} stays behind: {error}", self.0.display());
        }
    }
}
