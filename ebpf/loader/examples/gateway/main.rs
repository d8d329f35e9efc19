//! Attaches the programs to devices that somebody else has made, in a network namespace that somebody
//! else has set up, and stays until told to go.
//!
//! ```text
//! gateway -f STATE.yaml --netns NAME --pod 10.0.1.2=veth1 --uplink veth0 --masquerade
//! ```
//!
//! The state is what `kubectl get nodes,pods,services,endpointslices -o yaml` prints; whose node this is
//! says `--node` where there are several. When everything is attached and the tables are written, it prints
//! `ready`. It ends when its standard input is closed, or with SIGINT, SIGTERM or SIGHUP, and leaves
//! nothing attached. `--control` makes a socket for commands; see [`control`].
//!
//! Exit codes: 0 ended as told; 1 the kernel refused something; 2 usage or unreadable input; 3 no programs
//! or no root.

mod control;
mod node;

use std::fs::File;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use self::control::Control;
use self::node::Gateway;

/// Where `ip netns` keeps its namespaces.
const NAMED: &str = "/run/netns";

/// Attaches the programs to devices that are there already, and stays until told to go.
#[derive(Parser)]
struct Options {
    /// A file with Kubernetes objects, JSON or YAML; may be given several times
    #[arg(short = 'f', long = "file", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The node of the state that this is; not needed where there is one
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// The network namespace with the devices, by name or path; by default the one it is started in
    #[arg(long, value_name = "NAME|PATH")]
    netns: Option<PathBuf>,
    /// On which device the pod with an address is; may be given several times
    #[arg(long = "pod", value_name = "ADDRESS=DEVICE", value_parser = pod)]
    pods: Vec<(IpAddr, String)>,
    /// The device that faces other nodes and what is outside
    #[arg(long, value_name = "DEVICE")]
    uplink: Option<String>,
    /// What pods send out of the cluster leaves with the node's address
    #[arg(long, requires = "uplink")]
    masquerade: bool,
    /// A program at XDP of the uplink, too
    #[arg(long, requires = "uplink")]
    xdp: bool,
    /// A program at the egress of the uplink, too, and this mark on packets that are done with
    #[arg(long, value_name = "MARK", requires = "uplink")]
    mark: Option<u32>,
    /// A socket for commands
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
}

fn pod(text: &str) -> Result<(IpAddr, String), String> {
    let (address, device) = text.split_once('=').ok_or("this is not ADDRESS=DEVICE")?;
    let address = address.parse().map_err(|_| format!("{address} is no address"))?;
    if device.is_empty() {
        return Err("the device has no name".to_owned());
    }
    Ok((address, device.to_owned()))
}

/// Why it did not come up, or did not stay.
#[derive(Debug)]
enum Problem {
    /// What was given cannot be used.
    Input(String),
    /// This is not the place to run.
    Environment(String),
    /// The kernel refused.
    Kernel(String),
}

fn main() -> ExitCode {
    let options = Options::parse();
    let (code, why) = match run(&options) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Problem::Kernel(why)) => (1, why),
        Err(Problem::Input(why)) => (2, why),
        Err(Problem::Environment(why)) => (3, why),
    };
    eprintln!("gateway: {why}");
    ExitCode::from(code)
}

fn run(options: &Options) -> Result<(), Problem> {
    // Before anything is attached, so that a signal finds somebody who cleans up.
    let signals = signals().map_err(|error| Problem::Kernel(format!("signals: {error}")))?;
    if let Some(name) = &options.netns {
        enter(name)?;
    }
    let mut gateway = Gateway::new(options)?;
    let control = options.control.as_deref().map(Control::new).transpose()?;
    println!("ready");
    let _ = io::stdout().flush(); // closed, it leaves nobody to tell
    let served = serve(&mut gateway, control.as_ref(), &signals);
    gateway.detach()?;
    served
}

/// Moves this process into a namespace.
fn enter(name: &Path) -> Result<(), Problem> {
    let path = match name.components().count() {
        1 => Path::new(NAMED).join(name),
        _ => name.to_owned(),
    };
    let failed = |error: io::Error| {
        Problem::Input(format!("{} is no network namespace: {error}", path.display()))
    };
    let file = File::open(&path).map_err(failed)?;
    setns(file, CloneFlags::CLONE_NEWNET).map_err(|error| failed(error.into()))
}

/// The signals that end it, as something to wait for.
fn signals() -> nix::Result<SignalFd> {
    let ends = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];
    let ends = ends.into_iter().collect::<SigSet>();
    ends.thread_block()?;
    SignalFd::with_flags(&ends, SfdFlags::SFD_CLOEXEC)
}

/// Answers commands until it is told to go.
fn serve(
    gateway: &mut Gateway,
    control: Option<&Control>,
    signals: &SignalFd,
) -> Result<(), Problem> {
    let stdin = io::stdin();
    let waiting = |error: io::Error| Problem::Kernel(format!("waiting: {error}"));
    loop {
        let mut files = vec![
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(stdin.as_fd(), PollFlags::POLLIN),
        ];
        files.extend(control.map(|control| PollFd::new(control.as_fd(), PollFlags::POLLIN)));
        poll(&mut files, PollTimeout::NONE).map_err(|error| waiting(error.into()))?;
        let ready: Vec<bool> = files.iter().map(|file| file.any() == Some(true)).collect();
        if ready.first() == Some(&true) {
            return Ok(());
        }
        if ready.get(1) == Some(&true) && is_closed(&stdin).map_err(waiting)? {
            return Ok(());
        }
        if let (Some(control), Some(true)) = (control, ready.get(2)) {
            control.answer(gateway);
        }
    }
}

/// Whether nothing will come any more; what did come is of no interest.
fn is_closed(stdin: &io::Stdin) -> io::Result<bool> {
    let mut buffer = [0_u8; 4_096];
    Ok(nix::unistd::read(stdin, &mut buffer)? == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_given_with_their_devices() {
        assert_eq!(pod("fd00::2=veth1"), Ok(("fd00::2".parse().unwrap(), "veth1".to_owned())));
        for text in ["10.0.0.1", "10.0.0=veth1", "10.0.0.1="] {
            assert!(pod(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_masquerades_has_a_device_to_do_it_at() {
        assert!(Options::try_parse_from(["gateway", "-f", "x", "--masquerade"]).is_err());
        assert!(Options::try_parse_from(["gateway"]).is_err());
    }
}
