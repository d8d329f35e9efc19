//! The machine that was measured on, as far as it can be found out.

use std::fs;
use std::process::Command;

use super::result::Machine;

/// Programs that take part, and how each is asked for its version.
const TOOLS: [(&str, &str); 6] = [
    ("iptables-legacy", "--version"),
    ("iptables-nft", "--version"),
    ("nft", "--version"),
    ("ipvsadm", "--version"),
    ("ip", "-V"),
    ("ethtool", "--version"),
];

/// This machine. What cannot be found out is left empty.
pub fn card() -> Machine {
    let cpus = text("/proc/cpuinfo");
    let model = field(&cpus, "model name").or_else(|| field(&cpus, "Processor"));
    let mut versions = vec![("twinpath".to_owned(), env!("CARGO_PKG_VERSION").to_owned())];
    versions.extend(
        TOOLS.into_iter().filter_map(|(tool, ask)| Some((tool.to_owned(), version(tool, ask)?))),
    );
    let mut notes = Vec::new();
    if field(&cpus, "flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor"))
    {
        notes.push("a virtual machine".to_owned());
    }
    match text("/proc/sys/net/core/bpf_jit_enable").as_str() {
        "" | "1" => (),
        other => notes.push(format!("net.core.bpf_jit_enable is {other}")),
    }
    if let Some(compiler) = twinpath_kernel::object::bytes().and_then(compiler) {
        notes.push(format!("programs compiled by {compiler}"));
    }
    if cfg!(debug_assertions) {
        notes.push("a debug build of twinpath: what it does outside the kernel is slow".to_owned());
    }
    let load = text("/proc/loadavg");
    if let Some(load) = load.split(' ').next() {
        notes.push(format!("load average {load} when it began"));
    }
    Machine {
        processor: model.unwrap_or_default(),
        processors: std::thread::available_parallelism().map_or(0, |n| n.get() as u32),
        governor: text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        kernel: text("/proc/sys/kernel/osrelease"),
        mitigations: mitigations(),
        versions,
        notes,
    }
}

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// The value of the first line `name : value`.
fn field(text: &str, name: &str) -> Option<String> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let mut values = lines.filter(|(key, _)| key.trim() == name);
    values.next().map(|(_, value)| value.trim().to_owned())
}

/// What is in force against flaws that the processor has.
fn mitigations() -> Vec<String> {
    let Ok(folder) = fs::read_dir("/sys/devices/system/cpu/vulnerabilities") else {
        return Vec::new();
    };
    let mut found: Vec<String> = folder
        .flatten()
        .filter_map(|file| {
            let value = fs::read_to_string(file.path()).ok()?;
            let value = value.trim();
            let inforce = value.strip_prefix("Mitigation: ");
            let inforce =
                inforce.or_else(|| Some(value).filter(|text| text.starts_with("Vulnerable")));
            Some(format!("{}: {}", file.file_name().display(), inforce?))
        })
        .collect();
    found.sort();
    found
}

/// The first line of what a tool says of itself, without its own name.
fn version(tool: &str, ask: &str) -> Option<String> {
    let output =
        Command::new(tool).arg(ask).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next()?.trim();
    let line = line.split_once(' ').map_or(line, |(_, version)| version);
    Some(line.to_owned()).filter(|line| !line.is_empty())
}

/// The compiler that an object names in its debug information: `rustc version 1.95.0 (...)`.
fn compiler(object: &[u8]) -> Option<String> {
    let start = b"rustc version ";
    let at = object.windows(start.len()).position(|window| window == start)?;
    let text = object.get(at..)?;
    let end = text.iter().position(|byte| *byte == 0 || !byte.is_ascii())?;
    let text = std::str::from_utf8(text.get(..end)?).ok()?;
    // The producer has all of it in parentheses once more.
    Some(text.split_once("))").map_or_else(|| text.to_owned(), |(text, _)| format!("{text})")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_compilers_and_this_kernel_are_found() {
        let cpus = "processor\t: 0\nmodel name\t: A CPU: fast\nmodel name\t: B\nflags\t\t: fpu hypervisor\n";
        assert_eq!(field(cpus, "model name").as_deref(), Some("A CPU: fast"));
        assert_eq!(field(cpus, "model"), None);
        let object = b"\x7fELF..clang LLVM (rustc version 1.97.0 (abc 2026-01-01))\0rest";
        assert_eq!(compiler(object).as_deref(), Some("rustc version 1.97.0 (abc 2026-01-01)"));
        assert_eq!(compiler(b"\x7fELF"), None);
        let card = card();
        assert!(!card.kernel.is_empty() && card.processors > 0);
        assert_eq!(card.versions[0].0, "twinpath");
    }
}
