//! Plays packetdrill scripts with something between the two ends.
//!
//! packetdrill itself injects at a device of the machine whose stack it tests. Here the ends are in two
//! namespaces, and what is between them is tested: system calls are made in one, segments are sent and
//! expected in the other, which must have no address, so that no stack answers. Commands of the script run in
//! the namespace between them.
//!
//! It knows the part of the language that the kernel's conntrack scripts use, compares flags, numbers,
//! lengths, addresses and checksums, but not windows, options and times. A command that failed is named, and
//! the rest is played all the same. So is a segment that the script does not have, which is no failure as
//! long as the script's own comes: the kernel runs these scripts with `--non_fatal packet`.
//!
//! Exit codes: 0 everything was as the script says; 1 something was not; 2 usage or unreadable input.

mod local;
mod remote;
mod script;

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use nix::sched::{CloneFlags, setns};

use self::local::Local;
use self::remote::{Link, Remote};
use self::script::{Action, Event, When};

/// Plays a packetdrill script with something between the two ends.
#[derive(Parser)]
struct Options {
    /// The network namespace in which system calls are made, as `ip netns` names it
    #[arg(long, value_name = "NAME")]
    local: String,
    /// The one between the ends, in which commands are run
    #[arg(long, value_name = "NAME")]
    middle: String,
    /// The one in which segments are sent and expected
    #[arg(long, value_name = "NAME")]
    remote: String,
    /// Its device
    #[arg(long, value_name = "DEVICE")]
    device: String,
    /// The link address of this device
    #[arg(long, value_name = "MAC", value_parser = mac)]
    mac: Mac,
    /// That of the device at the other end of its link
    #[arg(long, value_name = "MAC", value_parser = mac)]
    gateway: Mac,
    /// The remote end: its address, and its port where it is the one who opens or is known to all
    #[arg(long, value_name = "ADDRESS:PORT")]
    address: SocketAddr,
    /// Where the local end listens
    #[arg(long, value_name = "ADDRESS:PORT")]
    listens: SocketAddr,
    /// Where the remote end sends to reach it
    #[arg(long, value_name = "ADDRESS:PORT")]
    frontend: SocketAddr,
    /// Where the local end connects to reach the remote one
    #[arg(long, value_name = "ADDRESS:PORT")]
    connects: SocketAddr,
    /// Commands with this word in them are left out; may be given several times
    #[arg(long, value_name = "WORD")]
    without: Vec<String>,
    /// The script
    script: PathBuf,
}

/// A link address.
#[derive(Clone, Copy)]
struct Mac([u8; 6]);

fn mac(text: &str) -> Result<Mac, String> {
    let bytes: Result<Vec<u8>, _> =
        text.trim().split(':').map(|byte| u8::from_str_radix(byte, 16)).collect();
    let bytes = bytes.ok().and_then(|bytes| bytes.try_into().ok());
    bytes.map(Mac).ok_or_else(|| format!("{text} is no link address"))
}

fn main() -> ExitCode {
    let options = Options::parse();
    let text = std::fs::read_to_string(&options.script).map_err(|error| error.to_string());
    let events = match text.and_then(|text| script::read(&text)) {
        Ok(events) => events,
        Err(why) => {
            eprintln!("drill: {}: {why}", options.script.display());
            return ExitCode::from(2);
        }
    };
    match play(&options, &events) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(why) => {
            println!("failed: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Plays the events; how many commands failed. Fails where the script cannot go on.
fn play(options: &Options, events: &[Event]) -> Result<usize, String> {
    let mut remote = within(&options.remote, || {
        let device = nix::net::if_::if_nametoindex(options.device.as_str())
            .map_err(|error| format!("{}: {error}", options.device))?;
        let link = Link {
            mac: options.mac.0,
            gateway: options.gateway.0,
            address: options.address,
            frontend: options.frontend,
        };
        Remote::new(device, link).map_err(|error| error.to_string())
    })?;
    let mut local = Local::new(options.listens, options.connects);
    let start = Instant::now();
    let mut last = start;
    let mut failed = 0;
    for event in events {
        let due = match event.when {
            When::After(time) => last + time,
            When::At(time) => start + time,
        };
        if !matches!(event.action, Action::Expect(_)) {
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        let at = |why: String| format!("line {}: {why}", event.line);
        match &event.action {
            Action::Run(command) if options.without.iter().any(|word| command.contains(word)) => {
                println!("left out: {}", at(command.clone()));
            }
            Action::Run(command) => {
                // What the last segment did to a table is there once it has come through.
                thread::sleep(Duration::from_millis(20));
                if let Err(why) = run(&options.middle, command) {
                    failed += 1;
                    println!("failed: {}", at(format!("{why}: {command}")));
                }
            }
            Action::Call { name, arguments, result } => {
                within(&options.local, || local.call(name, arguments, *result))
                    .map_err(|why| at(format!("{name}: {why}")))?;
            }
            Action::Inject(segment) => remote.inject(segment).map_err(at)?,
            Action::Expect(segment) => {
                while let Some(other) = remote.expect(segment).map_err(at)? {
                    println!("unexpected: {}", at(other));
                }
            }
        }
        last = Instant::now();
    }
    Ok(failed)
}

/// Runs a command of the script.
fn run(namespace: &str, command: &str) -> Result<(), String> {
    let status = within(namespace, || {
        Command::new("bash").args(["-c", command]).status().map_err(|error| error.to_string())
    })?;
    if status.success() { Ok(()) } else { Err(status.to_string()) }
}

/// Does something on a thread of its own in a namespace.
fn within<T: Send>(
    namespace: &str,
    job: impl FnOnce() -> Result<T, String> + Send,
) -> Result<T, String> {
    let path = Path::new("/run/netns").join(namespace);
    let there = File::open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    thread::scope(|scope| {
        let done = scope.spawn(|| {
            setns(there, CloneFlags::CLONE_NEWNET).map_err(|error| error.to_string())?;
            job()
        });
        done.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
