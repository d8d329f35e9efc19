//! What maps take of the kernel's memory.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};

use aya::Ebpf;
use aya::maps::Map;

/// A map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapMemory {
    /// Its name in the object.
    pub name: String,
    /// The entries that it has room for.
    pub room: u64,
    /// The bytes that it takes, as the kernel counts them (`memlock` of its file descriptor): all of them
    /// from the beginning, but for maps that grow (`BPF_F_NO_PREALLOC`).
    pub bytes: u64,
}

impl MapMemory {
    /// The bytes for one entry, with what the map has besides shared out among all.
    pub fn per_entry(&self) -> f64 {
        self.bytes as f64 / self.room.max(1) as f64
    }
}

/// The maps of an object that nobody has taken yet, by name. What cannot be asked is left out.
pub fn maps(ebpf: &Ebpf) -> Vec<MapMemory> {
    let mut all: Vec<MapMemory> = ebpf
        .maps()
        .filter_map(|(name, map)| {
            let (Map::Array(data)
            | Map::HashMap(data)
            | Map::LruHashMap(data)
            | Map::LpmTrie(data)
            | Map::PerCpuArray(data)) = map
            else {
                return None;
            };
            let path = format!("/proc/self/fdinfo/{}", data.fd().as_fd().as_raw_fd());
            let text = fs::read_to_string(path).ok()?;
            let field = |name: &str| -> Option<u64> {
                text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
            };
            Some(MapMemory {
                name: name.to_owned(),
                room: field("max_entries:")?,
                bytes: field("memlock:")?,
            })
        })
        .collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}
