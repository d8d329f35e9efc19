//! The kernel's own memory, as `/proc` shows it.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use super::subject::Subject;

/// What of `/proc/meminfo` rules are kept in: slabs, where nf_tables and IPVS have what they allocate;
/// `vmalloc`, where the blobs of the older iptables are; and memory per CPU, where counters are.
const KINDS: [&str; 3] = ["SUnreclaim:", "VmallocUsed:", "Percpu:"];

/// How long the kernel is left alone between two looks: what was freed goes back after a grace period.
const GRACE: Duration = Duration::from_millis(100);
/// How many bytes may come or go between two looks when nothing more goes back.
const STILL: f64 = 65_536.0;
/// How often the kernel is looked at before its memory counts as never still.
const LOOKS: usize = 20;

/// What a job adds to the kernel's memory, in bytes, at least 0: what slabs, `vmalloc` and memory per CPU
/// have more after it than before. Other processes change the same numbers, so it takes the median of
/// several, and many services. `None` where `/proc/meminfo` does not say.
pub fn taken<T>(job: impl FnOnce() -> T) -> (T, Option<f64>) {
    let before = still();
    let result = job();
    let bytes = before.zip(still()).map(|(before, after)| (after - before).max(0.0));
    (result, bytes)
}

/// The bytes when they no longer change.
fn still() -> Option<f64> {
    let now = || fs::read_to_string("/proc/meminfo").ok().map(|text| sum(&text));
    let mut last = now()?;
    for _ in 0..LOOKS {
        sleep(GRACE);
        let next = now()?;
        if (next - last).abs() < STILL {
            return Some(next);
        }
        last = next;
    }
    Some(last)
}

/// The bytes of all [`KINDS`].
fn sum(meminfo: &str) -> f64 {
    let kilobytes = |line: &str| -> Option<f64> {
        let rest = KINDS.iter().find_map(|kind| line.strip_prefix(kind))?;
        rest.trim().strip_suffix("kB")?.trim().parse().ok()
    };
    1024.0 * meminfo.lines().filter_map(kilobytes).sum::<f64>()
}

/// What a connection takes of a rival's kernel, in bytes: the share of an entry of `nf_conntrack` in its
/// slab, and with IPVS one of its own connections beside it. Extensions of an entry (translation,
/// accounting) are allocated apart and not counted, so that the figure is a lower bound. `None` where
/// `/proc/slabinfo` does not say.
pub fn per_connection(subject: Subject) -> Option<f64> {
    let slabs = fs::read_to_string("/proc/slabinfo").ok()?;
    let conntrack = object(&slabs, "nf_conntrack")?;
    if subject == Subject::Ipvs {
        Some(conntrack + object(&slabs, "ip_vs_conn")?)
    } else {
        Some(conntrack)
    }
}

/// The bytes of a slab of this name for each object in it.
fn object(slabs: &str, name: &str) -> Option<f64> {
    let line = slabs.lines().find(|line| line.split_whitespace().next() == Some(name))?;
    let field = |place: usize| line.split_whitespace().nth(place)?.parse::<f64>().ok();
    // name, active objects, objects, size, objects per slab, pages per slab.
    Some(field(5)? * 4096.0 / field(4)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_proc() {
        let text = "MemFree: 7 kB\nSUnreclaim:      12 kB\nVmallocUsed: 4 kB\nVmallocTotal: 9 kB\n\
            Percpu:    1 kB\nPercpuX: 3\n";
        assert_eq!(sum(text), 17.0 * 1024.0);
        let slabs = "slabinfo - version: 2.1\n\
            nf_conntrack_x 1 1 1 1 1\n\
            nf_conntrack   96    96    256   16    1 : tunables    0    0    0 : slabdata      6      6      0\n";
        assert_eq!(object(slabs, "nf_conntrack"), Some(256.0));
        assert_eq!(object(slabs, "ip_vs_conn"), None);
    }
}
