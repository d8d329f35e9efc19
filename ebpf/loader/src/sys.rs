//! The system calls that the loader library lacks: reading and emptying a map in one call, and maps without
//! an object.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `BPF_MAP_CREATE` of `include/uapi/linux/bpf.h`.
const MAP_CREATE: libc::c_long = 0;
/// `BPF_MAP_TYPE_LRU_HASH`.
pub const LRU_HASH: u32 = 9;

/// Makes a map of this type.
pub fn create(kind: u32, key_size: u32, value_size: u32, max_entries: u32) -> io::Result<OwnedFd> {
    let mut attributes = [kind, key_size, value_size, max_entries, 0];
    let size = size_of_val(&attributes);
    // SAFETY: the attribute has the first members of `union bpf_attr`; the kernel takes the others as zero.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, MAP_CREATE, &raw mut attributes, size) };
    let fd = i32::try_from(fd).unwrap_or(-1);
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given out this number, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `BPF_MAP_LOOKUP_BATCH` of `include/uapi/linux/bpf.h` (Linux 5.6).
const LOOKUP_BATCH: libc::c_long = 24;
/// `BPF_MAP_LOOKUP_AND_DELETE_BATCH`.
const LOOKUP_AND_DELETE_BATCH: libc::c_long = 25;

/// The `batch` member of `union bpf_attr`.
#[repr(C)]
#[derive(Default)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// The most free nodes of an LRU map that a CPU takes at once (`LOCAL_FREE_TARGET` of
/// `kernel/bpf/bpf_lru_list.c`).
const BATCH: u32 = 128;

/// A map's entries as flat bytes, in no particular order.
pub struct Entries {
    keys: Vec<u8>,
    values: Vec<u8>,
    key_size: usize,
    value_size: usize,
    capacity: usize,
    count: usize,
}

impl Entries {
    /// Room for all entries of a map with these sizes. Reused from call to call.
    pub fn new(key_size: usize, value_size: usize, capacity: usize) -> Self {
        Self {
            keys: vec![0; key_size * capacity],
            values: vec![0; value_size * capacity],
            key_size,
            value_size,
            capacity,
            count: 0,
        }
    }

    /// Reads all entries of the map.
    pub fn read(&mut self, map: BorrowedFd<'_>) -> io::Result<()> {
        self.batch(map, LOOKUP_BATCH)
    }

    /// Removes all entries of the map.
    pub fn drain(&mut self, map: BorrowedFd<'_>) -> io::Result<()> {
        self.batch(map, LOOKUP_AND_DELETE_BATCH)
    }

    /// Brings an LRU map to where it evicts as a new one does, if all inserts are made on this CPU. Free nodes
    /// are on the map's list or on the CPU's, and how many are here decides when the CPU takes more. A new
    /// map's CPU takes a batch with its first insert; so does this one after as many inserts as the
    /// largest batch has, and once they are removed they stay with it.
    pub fn renew(&mut self, map: BorrowedFd<'_>) -> io::Result<()> {
        self.drain(map)?;
        fill(map, self.key_size, self.value_size, BATCH + 1)?;
        self.drain(map)
    }

    /// What was read last.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.keys.chunks(self.key_size).zip(self.values.chunks(self.value_size)).take(self.count)
    }

    fn batch(&mut self, map: BorrowedFd<'_>, command: libc::c_long) -> io::Result<()> {
        self.count = 0;
        // Of a hash map a number, of others the key that was read last.
        let mut cursor = vec![0_u8; self.key_size.max(4)];
        let mut first = true;
        while self.count < self.capacity {
            let room = self.capacity - self.count;
            let mut batch = Batch {
                in_batch: if first { 0 } else { cursor.as_ptr() as u64 },
                out_batch: cursor.as_mut_ptr() as u64,
                keys: self.keys[self.count * self.key_size..].as_mut_ptr() as u64,
                values: self.values[self.count * self.value_size..].as_mut_ptr() as u64,
                count: u32::try_from(room).unwrap_or(u32::MAX),
                map_fd: u32::try_from(map.as_raw_fd()).unwrap_or(u32::MAX),
                ..Batch::default()
            };
            // SAFETY: the attribute points to buffers with room for `count` keys and values.
            let result = unsafe {
                libc::syscall(libc::SYS_bpf, command, &raw mut batch, size_of::<Batch>())
            };
            let error = io::Error::last_os_error();
            let done = result == -1 && error.raw_os_error() == Some(libc::ENOENT);
            if result == -1 && !done {
                return Err(error);
            }
            self.count += batch.count as usize;
            if done {
                break;
            }
            first = false;
        }
        Ok(())
    }
}

/// `BPF_MAP_UPDATE_BATCH`.
const UPDATE_BATCH: libc::c_long = 26;

/// Puts so many entries in, under keys that begin with their numbers and are zero else, as are the values.
/// Keys have four bytes at least.
pub fn fill(map: BorrowedFd<'_>, key_size: usize, value_size: usize, count: u32) -> io::Result<()> {
    let mut keys = vec![0_u8; key_size * count as usize];
    for (key, number) in keys.chunks_mut(key_size).zip(0..count) {
        for (byte, value) in key.iter_mut().zip(u32::to_ne_bytes(number)) {
            *byte = value;
        }
    }
    let values = vec![0_u8; value_size * count as usize];
    match update_batch(map, &keys, &values, count)? {
        done if done == count => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}

/// Puts so many entries in, in this order, whether or not their keys are taken; how many are in. If that is
/// fewer than all, the next one was refused; why, the same entry alone tells.
pub fn update_batch(
    map: BorrowedFd<'_>,
    keys: &[u8],
    values: &[u8],
    count: u32,
) -> io::Result<u32> {
    let mut batch = Batch {
        keys: keys.as_ptr() as u64,
        values: values.as_ptr() as u64,
        count,
        map_fd: u32::try_from(map.as_raw_fd()).unwrap_or(u32::MAX),
        ..Batch::default()
    };
    // SAFETY: the attribute points to so many keys and values, which the callers see to.
    match unsafe { libc::syscall(libc::SYS_bpf, UPDATE_BATCH, &raw mut batch, size_of::<Batch>()) }
    {
        0 => Ok(count),
        // The kernel says how many it has done.
        _ if batch.count < count => Ok(batch.count),
        _ => Err(io::Error::last_os_error()),
    }
}

/// `BPF_MAP_UPDATE_ELEM`.
const UPDATE_ELEM: libc::c_long = 2;
/// `BPF_MAP_DELETE_ELEM`.
const DELETE_ELEM: libc::c_long = 3;

/// The members of `union bpf_attr` for one element.
#[repr(C)]
struct Element {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Puts one entry in, whether or not the key is taken.
pub fn update(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> io::Result<()> {
    element(map, UPDATE_ELEM, key, value.as_ptr() as u64)
}

/// Removes one entry; whether it was there.
pub fn delete(map: BorrowedFd<'_>, key: &[u8]) -> io::Result<bool> {
    match element(map, DELETE_ELEM, key, 0) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

fn element(map: BorrowedFd<'_>, command: libc::c_long, key: &[u8], value: u64) -> io::Result<()> {
    let mut element = Element {
        map_fd: u32::try_from(map.as_raw_fd()).unwrap_or(u32::MAX),
        pad: 0,
        key: key.as_ptr() as u64,
        value,
        flags: 0,
    };
    // SAFETY: key and value are as long as the map's, which the callers see to.
    match unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut element, size_of::<Element>()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
