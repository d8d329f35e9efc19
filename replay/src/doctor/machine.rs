//! What the machine says of itself.

use std::fs;
use std::process::{Command, Stdio};

use serde::Serialize;

/// Something that engines depend on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// What.
    pub name: &'static str,
    /// How it is here.
    pub value: String,
}

/// The capabilities that engines ask for, with their numbers (include/uapi/linux/capability.h).
const CAPABILITIES: [(&str, u32); 5] =
    [("NET_ADMIN", 12), ("NET_RAW", 13), ("SYS_ADMIN", 21), ("PERFMON", 38), ("BPF", 39)];

/// All that is looked at.
pub fn facts() -> Vec<Fact> {
    let fact = |name, value: String| Fact { name, value };
    vec![
        fact("kernel", or(text("/proc/sys/kernel/osrelease"), "not known")),
        fact("architecture", std::env::consts::ARCH.to_owned()),
        fact("programs", programs()),
        fact("capabilities", capabilities(&text("/proc/self/status"))),
        fact("btf", btf()),
        fact("bpf jit", jit(&text("/proc/sys/net/core/bpf_jit_enable")).to_owned()),
        fact(
            "unprivileged bpf",
            unprivileged(&text("/proc/sys/kernel/unprivileged_bpf_disabled")).to_owned(),
        ),
        fact("locked memory", locked(&text("/proc/self/limits"))),
        fact("cgroup v2", or(cgroup2(&text("/proc/self/mounts")), "not mounted")),
        fact("user namespaces", or(text("/proc/sys/user/max_user_namespaces"), "none")),
        fact(
            "wireshark",
            or(version("tshark"), "tshark not found: files of -w can be read elsewhere"),
        ),
    ]
}

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn or(text: String, other: &str) -> String {
    if text.is_empty() { other.to_owned() } else { text }
}

fn programs() -> String {
    match twinpath_kernel::object::bytes() {
        Some(bytes) => format!("in this binary, {} bytes", bytes.len()),
        None => "not in this binary".to_owned(),
    }
}

/// Those that the process has, of those that count.
fn capabilities(status: &str) -> String {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    let held: Vec<&str> = CAPABILITIES
        .iter()
        .filter(|(_, bit)| bits >> bit & 1 == 1)
        .map(|(name, _)| *name)
        .collect();
    if held.is_empty() {
        let names: Vec<&str> = CAPABILITIES.iter().map(|(name, _)| *name).collect();
        return format!("none of {}", names.join(", "));
    }
    held.join(", ")
}

fn btf() -> String {
    match fs::metadata("/sys/kernel/btf/vmlinux") {
        Ok(file) => format!("/sys/kernel/btf/vmlinux, {} bytes", file.len()),
        Err(_) => "none (CONFIG_DEBUG_INFO_BTF); not needed".to_owned(),
    }
}

fn jit(value: &str) -> &'static str {
    match value {
        "0" => "off: programs are interpreted; sysctl net.core.bpf_jit_enable=1",
        "1" => "on",
        "2" => "on, with debugging output",
        // Kernels that always compile do not have the parameter.
        _ => "on, or not readable for this user",
    }
}

fn unprivileged(value: &str) -> &'static str {
    match value {
        "0" => "allowed",
        "1" => "forbidden until the next boot",
        "2" => "forbidden",
        _ => "not known",
    }
}

/// The soft limit. Since Linux 5.11 maps are charged to the control group instead.
fn locked(limits: &str) -> String {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"));
    let soft = line.and_then(|line| line.split_whitespace().next()).unwrap_or("not known");
    match soft {
        "unlimited" | "not known" => soft.to_owned(),
        bytes => format!("{bytes} bytes; kernels before 5.11 count maps"),
    }
}

/// Where the unified hierarchy is mounted.
fn cgroup2(mounts: &str) -> String {
    let mut fields = mounts.lines().map(|line| line.split(' '));
    let mount = fields.find_map(|mut line| match (line.nth(1), line.next()) {
        (Some(path), Some("cgroup2")) => Some(path.to_owned()),
        _ => None,
    });
    mount.unwrap_or_default()
}

/// The first line of what a tool says of its version; empty where it is not there.
pub(super) fn version(tool: &str) -> String {
    let ran =
        Command::new(tool).arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output();
    let text = ran.map(|ran| String::from_utf8_lossy(&ran.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_files_of_proc_say() {
        assert_eq!(
            capabilities("Name:\tx\nCapEff:\t000001ffffffffff\n"),
            "NET_ADMIN, NET_RAW, SYS_ADMIN, PERFMON, BPF"
        );
        assert_eq!(capabilities("CapEff:\t0000008000001000\n"), "NET_ADMIN, BPF");
        assert!(capabilities("CapEff:\t0000000000000000\n").starts_with("none of NET_ADMIN"));
        assert!(capabilities("").starts_with("none of"));
        assert_eq!(
            locked("Max locked memory         8388608   8388608   bytes\n"),
            "8388608 bytes; kernels before 5.11 count maps"
        );
        assert_eq!(locked("Max locked memory         unlimited unlimited bytes\n"), "unlimited");
        assert_eq!(locked(""), "not known");
        let mounts = "proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(cgroup2(mounts), "/sys/fs/cgroup/unified");
        assert_eq!(cgroup2("proc /proc proc rw 0 0\n"), "");
    }
}
