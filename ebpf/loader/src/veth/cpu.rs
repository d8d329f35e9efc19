//! One CPU, for order.
//!
//! A pair of devices queues each packet on the CPU that sent it. With two CPUs, a connection's packets
//! overtake each other, and what draws from the virtual dice first is chance.

use std::io;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Keeps the calling thread, and those that it starts from now on, on one CPU.
pub fn stay_on_one() -> io::Result<()> {
    let this_thread = Pid::from_raw(0);
    let allowed = sched_getaffinity(this_thread)?;
    let first = (0..CpuSet::count()).find(|cpu| allowed.is_set(*cpu).unwrap_or(false));
    let mut one = CpuSet::new();
    one.set(first.unwrap_or(0))?;
    Ok(sched_setaffinity(this_thread, &one)?)
}

/// Moves the calling thread, and those that it starts from now on, to the CPUs where it may not be as yet.
/// Where there is none it stays.
pub fn go_elsewhere() -> io::Result<()> {
    let this_thread = Pid::from_raw(0);
    let here = sched_getaffinity(this_thread)?;
    let mut others = CpuSet::new();
    for cpu in (0..CpuSet::count()).filter(|cpu| !here.is_set(*cpu).unwrap_or(true)) {
        others.set(cpu)?;
    }
    match sched_setaffinity(this_thread, &others) {
        Err(nix::errno::Errno::EINVAL) => Ok(()),
        result => Ok(result?),
    }
}
