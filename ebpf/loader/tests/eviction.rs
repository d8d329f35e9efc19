//! The model of the kernel's LRU map against the kernel's: random inserts, replacements, removals and
//! lookups, from user space and from a program, on one CPU. Every answer is compared, and what is left.
//!
//! `TWINPATH_OPERATIONS` (10,000 per size) and `TWINPATH_SEED` (1) set how much is run and on what.

use std::env;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use twinpath_core::hash;
use twinpath_core::seam::{InsertError, Lookup, Put, Table};
use twinpath_kernel::eviction::{Pinned, lru, measure};
use twinpath_kernel::sys::Entries;
use twinpath_kernel::testing::skip;
use twinpath_sim::map::{Eviction, LruModel};

/// Sizes of maps: powers of two and not, below, at and above those where a batch is full.
const SIZES: [u32; 9] = [1, 2, 16, 61, 100, 256, 512, 1_000, 4_096];

fn number(name: &str, default: u64) -> u64 {
    env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|e| panic!("{name}={text}: {e}")))
}

const MAP_LOOKUP: libc::c_long = 1;
const MAP_UPDATE: libc::c_long = 2;
const MAP_DELETE: libc::c_long = 3;
const PROG_LOAD: libc::c_long = 5;
const TEST_RUN: libc::c_long = 10;
const SCHED_CLS: u64 = 3;

/// The system call with an attribute of 64-bit words.
fn bpf<const N: usize>(command: libc::c_long, words: &mut [u64; N]) -> Result<i64, i32> {
    // SAFETY: the callers' attributes point to what lives for the call.
    match unsafe { libc::syscall(libc::SYS_bpf, command, words.as_mut_ptr(), 8 * N) } {
        -1 => Err(io::Error::last_os_error().raw_os_error().unwrap_or(0)),
        result => Ok(result),
    }
}

/// What is done to a map. The number is what the program below knows it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Lookup = 0,
    Remove = 1,
    InsertAny = 2,
    InsertNew = 3,
}

/// A map in the kernel, and a program that does to it what a packet says.
struct Kernel {
    map: OwnedFd,
    program: OwnedFd,
    entries: Entries,
}

impl Kernel {
    fn new(size: u32) -> Self {
        let map = lru(4, 4, size).expect("a map");
        let program = program(&map);
        Self { map, program, entries: Entries::new(4, 4, size as usize) }
    }

    /// As user space does it; the error, 0 for none.
    fn do_outside(&self, deed: Deed, key: u32) -> i32 {
        let mut value = key;
        let mut element =
            [self.map.as_raw_fd() as u64, (&raw const key) as u64, (&raw mut value) as u64, 0];
        let command = match deed {
            Deed::Lookup => MAP_LOOKUP,
            Deed::Remove => {
                element[2] = 0;
                MAP_DELETE
            }
            Deed::InsertAny => MAP_UPDATE,
            Deed::InsertNew => {
                element[3] = 1; // BPF_NOEXIST
                MAP_UPDATE
            }
        };
        bpf(command, &mut element).err().unwrap_or(0)
    }

    /// As a program does it.
    fn do_by_program(&self, deed: Deed, key: u32) -> i32 {
        let mut packet = [0_u8; 22];
        packet[14..18].copy_from_slice(&key.to_ne_bytes());
        packet[18..].copy_from_slice(&(deed as u32).to_ne_bytes());
        let sizes = packet.len() as u64;
        let (fd, packet) = (self.program.as_raw_fd() as u64, packet.as_ptr() as u64);
        let mut run = [fd, sizes, packet, 0, 0];
        bpf(TEST_RUN, &mut run).expect("a test run");
        -((run[0] >> 32) as i32)
    }

    /// Makes the map new, from where that is hardest: the CPU asked for free nodes when all that could go was
    /// in use, and got one, not a batch.
    fn renew(&mut self, size: u32) {
        let mut next = u32::MAX;
        let mut insert = |kernel: &mut Self| {
            next -= 1;
            kernel.do_outside(Deed::InsertNew, next);
            kernel.left().len() as u32
        };
        let hard = (0..200).any(|round| {
            for _ in 0..round % 8 {
                insert(self);
            }
            while insert(self) < size {}
            for key in self.left() {
                self.do_by_program(Deed::Lookup, key);
            }
            insert(self) == size
        });
        assert!(hard, "{size} entries");
        self.entries.renew(self.map.as_fd()).expect("an empty map");
    }

    fn left(&mut self) -> Vec<u32> {
        self.entries.read(self.map.as_fd()).expect("the map's entries");
        let key = |bytes: &[u8]| u32::from_ne_bytes(bytes.try_into().expect("4 bytes"));
        let mut keys: Vec<u32> = self.entries.iter().map(|(bytes, _)| key(bytes)).collect();
        keys.sort_unstable();
        keys
    }
}

/// One instruction: opcode, registers, offset, immediate.
fn code(opcode: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> u64 {
    let [o0, o1] = offset.to_ne_bytes();
    let [i0, i1, i2, i3] = immediate.to_ne_bytes();
    u64::from_ne_bytes([opcode, source << 4 | destination, o0, o1, i0, i1, i2, i3])
}

fn program(map: &OwnedFd) -> OwnedFd {
    const MOVE: u8 = 0xbf;
    const MOVE_NUMBER: u8 = 0xb7;
    const ADD: u8 = 0x07;
    const CALL: u8 = 0x85;
    const EXIT: u8 = 0x95;
    const IF_IS: u8 = 0x15;
    const IF_ABOVE: u8 = 0x25;
    let codes = [
        // Key and deed from behind the Ethernet header to the stack.
        code(MOVE_NUMBER, 2, 0, 0, 14),
        code(MOVE, 3, 10, 0, 0),
        code(ADD, 3, 0, 0, -8),
        code(MOVE_NUMBER, 4, 0, 0, 8),
        code(CALL, 0, 0, 0, 26), // bpf_skb_load_bytes
        code(0x18, 1, 1, 0, map.as_raw_fd()),
        0,
        code(MOVE, 2, 10, 0, 0),
        code(ADD, 2, 0, 0, -8),
        code(0x61, 5, 10, -4, 0),
        code(IF_IS, 5, 0, 5, 1),
        code(IF_ABOVE, 5, 0, 6, 1),
        // Lookup: -ENOENT where there is none.
        code(CALL, 0, 0, 0, 1),
        code(IF_IS, 0, 0, 8, 0),
        code(MOVE_NUMBER, 0, 0, 0, 0),
        code(EXIT, 0, 0, 0, 0),
        // Removal.
        code(CALL, 0, 0, 0, 3),
        code(EXIT, 0, 0, 0, 0),
        // Insert; the deed less two are the flags.
        code(MOVE, 4, 5, 0, 0),
        code(ADD, 4, 0, 0, -2),
        code(MOVE, 3, 2, 0, 0),
        code(0x05, 0, 0, 2, 0),
        code(MOVE_NUMBER, 0, 0, 0, -2),
        code(EXIT, 0, 0, 0, 0),
        code(CALL, 0, 0, 0, 2),
        code(EXIT, 0, 0, 0, 0),
    ];
    let license = c"Dual MIT/GPL";
    let mut log = vec![0_u8; 1 << 16];
    let mut load = [
        SCHED_CLS | (codes.len() as u64) << 32,
        codes.as_ptr() as u64,
        license.as_ptr() as u64,
        1 | (log.len() as u64) << 32,
        log.as_mut_ptr() as u64,
        0,
    ];
    match bpf(PROG_LOAD, &mut load) {
        // SAFETY: the kernel has just given out this number.
        Ok(fd) => unsafe { OwnedFd::from_raw_fd(fd as i32) },
        Err(error) => panic!("{error}: {}", String::from_utf8_lossy(&log)),
    }
}

fn modelled(map: &mut LruModel<u32, u32>, deed: Deed, key: u32, by_program: bool) -> i32 {
    let inserted = match deed {
        Deed::Lookup => {
            let found = if by_program { map.get(&key) } else { map.peek(&key) };
            return if found.is_some() { 0 } else { libc::ENOENT };
        }
        Deed::Remove => return if map.remove(&key) { 0 } else { libc::ENOENT },
        Deed::InsertAny => map.insert(&key, &key, Put::Any),
        Deed::InsertNew => map.insert(&key, &key, Put::New),
    };
    match inserted {
        Ok(()) => 0,
        Err(InsertError::Exists) => libc::EEXIST,
        Err(InsertError::Full) => libc::ENOMEM,
    }
}

/// A random sequence that changes its mood, so that lists run dry, fill up, and fill up with what was used.
struct Dice {
    seed: u64,
    drawn: u64,
}

impl Dice {
    fn below(&mut self, limit: u32) -> u32 {
        self.drawn += 1;
        hash::scale(hash::random(self.seed, self.drawn), limit)
    }
}

/// Compares a new map, or one that was made so; how many entries were evicted.
fn compare(kernel: &mut Kernel, size: u32, policy: Eviction, operations: u64, seed: u64) -> u64 {
    let mut model = LruModel::new(size as usize, policy);
    let mut dice = Dice { seed: seed ^ u64::from(size) << 32, drawn: 0 };
    let every = u64::from(size / 16).max(1);
    let (mut mood, mut keys) = ([1, 1, 1, 1], 2 * size);
    for n in 0..operations {
        if dice.below(2 * size + 50) == 0 {
            mood = [dice.below(12), dice.below(3), dice.below(4), 1 + dice.below(6)];
            keys = (1 + dice.below(4)) * size;
        }
        let deeds = [Deed::Lookup, Deed::Remove, Deed::InsertAny, Deed::InsertNew];
        let mut draw = dice.below(mood.iter().sum());
        let mut deed = Deed::InsertNew;
        for (weight, kind) in mood.iter().zip(deeds) {
            if draw < *weight {
                deed = kind;
                break;
            }
            draw -= weight;
        }
        let (key, by_program) = (dice.below(keys), dice.below(3) > 0);
        let real =
            if by_program { kernel.do_by_program(deed, key) } else { kernel.do_outside(deed, key) };
        let said = modelled(&mut model, deed, key, by_program);
        let place =
            format!("{size} entries, operation {n}: {deed:?} {key} by program {by_program}");
        assert_eq!(real, said, "{place}");
        if n % every == 0 || n + 1 == operations {
            let mut left: Vec<u32> = model.iter().map(|(key, _)| *key).collect();
            left.sort_unstable();
            assert_eq!(kernel.left(), left, "{place}");
        }
    }
    model.evicted()
}

#[test]
fn the_model_gives_up_what_the_kernel_does() {
    let policy = match measure() {
        Ok(policy) => policy,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return skip("eviction", "making maps needs root");
        }
        Err(error) => panic!("{error}"),
    };
    let _pinned = Pinned::here().expect("the thread's CPU");
    let (operations, seed) = (number("TWINPATH_OPERATIONS", 10_000), number("TWINPATH_SEED", 1));
    for size in SIZES {
        // So many that each map is full several times.
        let operations = operations.max(8 * u64::from(size));
        let mut kernel = Kernel::new(size);
        let evicted = compare(&mut kernel, size, policy, operations, seed);
        println!("{policy:?}: {size} entries, {operations} operations, {evicted} evicted");
        assert!(evicted > 100 || operations < 10_000, "{size} entries: {evicted} evicted");
        if size <= 16 {
            kernel.renew(size);
            compare(&mut kernel, size, policy, operations / 10, seed + 1);
        }
    }
}
