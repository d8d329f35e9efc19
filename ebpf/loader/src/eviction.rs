//! How this machine's LRU maps evict, and what it takes that a model can follow them.
//!
//! The kernel's choice depends on which CPU made which insert. So whoever compares pins the thread that
//! runs the programs ([`Pinned`]), and asks the machine for the one number that kernels differ in
//! ([`measure`]). `docs/eviction.md` says what holds then.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, OwnedFd};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use twinpath_sim::map::Eviction;

use crate::sys::{self, Entries};

/// The calling thread stays on the CPU that it is on until it drops this.
#[derive(Debug)]
pub struct Pinned(CpuSet, PhantomData<*const ()>);

impl Pinned {
    /// Pins the calling thread.
    pub fn here() -> io::Result<Self> {
        let before = sched_getaffinity(Pid::from_raw(0))?;
        let mut one = CpuSet::new();
        // SAFETY: a plain system call.
        let cpu = usize::try_from(unsafe { libc::sched_getcpu() });
        one.set(cpu.map_err(io::Error::other)?)?;
        sched_setaffinity(Pid::from_raw(0), &one)?;
        Ok(Self(before, PhantomData))
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // As it was; should a CPU have gone meanwhile, it stays.
        let _ = sched_setaffinity(Pid::from_raw(0), &self.0);
    }
}

/// The entries of the map that is measured.
const ROOM: u32 = 128;

/// The policy of this machine's kernel: fills a map and counts what the first insert too many costs.
///
/// # Errors
/// Where maps cannot be made, or the kernel evicts as none that is known.
pub fn measure() -> io::Result<Eviction> {
    let _pinned = Pinned::here()?;
    let cpus = u32::try_from(aya::util::nr_cpus().map_err(|(_, error)| error)?)
        .map_err(io::Error::other)?;
    let map = lru(4, 4, ROOM)?;
    for key in 0..=ROOM {
        sys::update(map.as_fd(), &key.to_ne_bytes(), &[0; 4])?;
    }
    let mut entries = Entries::new(4, 4, ROOM as usize);
    entries.read(map.as_fd())?;
    let batch = (ROOM as usize + 1).saturating_sub(entries.iter().count());
    [0, cpus]
        .into_iter()
        .map(|cpus| Eviction::Kernel { cpus })
        .find(|policy| policy.batch(ROOM as usize) == batch)
        .ok_or_else(|| {
            io::Error::other(format!(
                "a map of {ROOM} evicted {batch} at once on a machine of {cpus} CPUs"
            ))
        })
}

/// An LRU map, of the kind that the programs have.
pub fn lru(key_size: u32, value_size: u32, max_entries: u32) -> io::Result<OwnedFd> {
    sys::create(sys::LRU_HASH, key_size, value_size, max_entries)
}
