//! The compiled programs.

include!(concat!(env!("OUT_DIR"), "/object.rs"));

/// The object file with the programs, as `ebpf/build.sh` made it; `None` where it was not built.
pub fn bytes() -> Option<&'static [u8]> {
    OBJECT.filter(|object| !object.is_empty())
}

/// The object file with the yardsticks of the benches (`benches/bare`); `None` where it was not built.
pub fn bare() -> Option<&'static [u8]> {
    BARE.filter(|object| !object.is_empty())
}

/// The table of the instruction gauge (`ebpf/programs/gauge.txt`); empty where this crate was packaged
/// without it.
pub const fn gauge() -> &'static str {
    GAUGE
}

/// What to say to a user who needs the programs and has none.
pub const MISSING: &str = "this binary was built without the kernel programs: run ebpf/build.sh (it installs what it needs) and build again";
