//! Programs in the kernel, run on single packets (`BPF_PROG_TEST_RUN`).

use aya::Ebpf;
use aya::programs::{Program, TestRun, TestRunOptions};

/// Anything that went wrong: nobody tells the cases apart.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What a program at tc returns that leaves the packet to the kernel (`TC_ACT_OK`).
pub const PASS: u32 = 0;
/// What a program at tc returns that sends the packet on (`TC_ACT_REDIRECT`).
pub const REDIRECT: u32 = 7;
/// What a program at XDP returns that leaves the packet to the kernel.
pub const XDP_PASS: u32 = 2;
/// What a program at XDP returns that sends the packet back out of its device.
pub const XDP_TX: u32 = 3;

/// What a run was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// What the program returned.
    pub returned: u32,
    /// How long it took, in nanoseconds, as the kernel measured it.
    pub nanos: u64,
}

/// Runs a program, which must be loaded, on a packet that comes by this device. At XDP the device must
/// be there, with its number, in the calling thread's namespace.
pub fn once(set: &mut Ebpf, name: &str, device: u32, packet: &[u8]) -> Result<Run, Failure> {
    let program = set.program_mut(name).ok_or("the object has no such program")?;
    let mut options = TestRunOptions::new();
    options.data_in = Some(packet);
    // `struct __sk_buff` and `struct xdp_md`, with `ingress_ifindex`; and, of the latter, `data_end`.
    let mut skb = [0_u8; 192];
    skb[36..40].copy_from_slice(&device.to_ne_bytes());
    let mut frame = [0_u8; 24];
    frame[4..8].copy_from_slice(&u32::try_from(packet.len())?.to_ne_bytes());
    frame[12..16].copy_from_slice(&device.to_ne_bytes());
    let result = match program {
        Program::SchedClassifier(program) => {
            options.ctx_in = Some(&skb);
            program.test_run(options)?
        }
        Program::Xdp(program) => {
            options.ctx_in = Some(&frame);
            program.test_run(options)?
        }
        _ => return Err("a program of another kind".into()),
    };
    Ok(Run { returned: result.return_value, nanos: u64::try_from(result.duration.as_nanos())? })
}

/// The same where the program must return this: one that does not do its work is soon done.
/// Nanoseconds.
pub fn expect(
    set: &mut Ebpf,
    name: &str,
    device: u32,
    packet: &[u8],
    returns: u32,
) -> Result<u64, Failure> {
    let Run { returned, nanos } = once(set, name, device, packet)?;
    if returned != returns {
        let text = format!("{name} returned {returned} instead of {returns} for {packet:02x?}");
        return Err(text.into());
    }
    Ok(nanos)
}

/// Loads these programs of the object with the yardsticks.
pub fn load_bare(names: &[&str]) -> Result<Ebpf, Failure> {
    let object = twinpath_kernel::object::bare().ok_or(twinpath_kernel::object::MISSING)?;
    let mut bare = aya::EbpfLoader::new().load(object)?;
    for name in names {
        match bare.program_mut(name).ok_or("the object has no such program")? {
            Program::SchedClassifier(program) => program.load()?,
            Program::Xdp(program) => program.load()?,
            _ => return Err("a program of another kind".into()),
        }
    }
    Ok(bare)
}
