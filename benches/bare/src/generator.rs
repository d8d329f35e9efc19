//! Frames for the comparison, made in the kernel so that no sender's time is in what is measured.
//!
//! A live run (`BPF_F_TEST_XDP_LIVE_FRAMES`) uses its pages again without putting back what was in them,
//! and those who carried a frame have changed it: so all of it is written each time.

use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_PASS};
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::bpf_redirect;
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::{Array, PerCpuArray};
use aya_ebpf::programs::XdpContext;

/// What is sent.
#[repr(C)]
struct Template {
    /// The frame of flow 0: Ethernet, IPv4 without options, TCP or UDP, checksums right.
    frame: [u64; 8],
    /// How many flows: number n has a source port that is higher by n.
    flows: u32,
    /// The device to send by; 0 to be received by the one that the run was given.
    device: u32,
}

#[map]
static TEMPLATE: Array<Template> = Array::with_max_entries(1, 0);
/// The flow of the next frame.
#[map]
static FLOW: PerCpuArray<u32> = PerCpuArray::with_max_entries(1, 0);

const LENGTH: usize = 64;
const TCP: u8 = 6;

/// Makes a frame and sends it off.
#[xdp]
pub fn generate(context: XdpContext) -> u32 {
    made(context.ctx).unwrap_or(XDP_ABORTED)
}

#[inline(always)]
fn made(context: *mut xdp_md) -> Option<u32> {
    // SAFETY: the context is valid for the run of the program.
    let (start, end) = unsafe {
        (
            core::ptr::read_volatile(&raw const (*context).data) as usize,
            core::ptr::read_volatile(&raw const (*context).data_end) as usize,
        )
    };
    if start + LENGTH > end {
        return None;
    }
    let template = TEMPLATE.get(0)?;
    let next = FLOW.get_ptr_mut(0)?;
    // SAFETY: the pointer is to this CPU's own number; 64 bytes of the frame are there.
    unsafe {
        let flow = *next;
        *next = if flow + 1 >= template.flows { 0 } else { flow + 1 };
        let words = start as *mut u64;
        let mut at = 0;
        while at < 8 {
            words.add(at).write(template.frame[at]);
            at += 1;
        }
        let frame = start as *mut u8;
        let port = frame.add(34).cast::<u16>();
        *port = (u16::from_be(*port).wrapping_add(flow as u16)).to_be();
        let checksum = if *frame.add(23) == TCP { frame.add(50) } else { frame.add(40) };
        let checksum = checksum.cast::<u16>();
        let sum = u32::from(!u16::from_be(*checksum)) + (flow & 0xffff);
        let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
        // Zero would say that there is none (RFC 768).
        *checksum = if sum == 0 { 0xffff } else { sum.to_be() };
        Some(match template.device {
            0 => XDP_PASS,
            device => bpf_redirect(device, 0) as u32,
        })
    }
}
