//! Where the frames of the comparison end: they are counted and dropped, or answered.

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_TX};
use aya_ebpf::bindings::{__sk_buff, TC_ACT_SHOT, xdp_md};
use aya_ebpf::helpers::bpf_redirect;
use aya_ebpf::macros::{classifier, map, xdp};
use aya_ebpf::maps::{Array, PerCpuArray};
use aya_ebpf::programs::{TcContext, XdpContext};

/// What counts as arrived.
#[repr(C)]
struct Rule {
    /// The destination port, network order.
    port: u16,
    /// Whether it is sent back with its ends exchanged.
    answer: u16,
}

#[map]
static RULE: Array<Rule> = Array::with_max_entries(1, 0);
const TCP: u8 = 6;
const SYN: u8 = 2;
const ACK: u8 = 16;

/// How many frames have arrived, by the number of the device.
#[map]
static ARRIVED: PerCpuArray<u64> = PerCpuArray::with_max_entries(16, 0);

/// At tc.
#[classifier]
pub fn sink_tc(context: TcContext) -> i32 {
    let skb = context.skb.skb;
    if !at_tc(skb) {
        return TC_ACT_SHOT;
    }
    // SAFETY: the context is valid for the run of the program; the kernel checks the device.
    unsafe { bpf_redirect((*skb).ifindex, 0) as i32 }
}

/// At XDP.
#[xdp]
pub fn sink_xdp(context: XdpContext) -> u32 {
    if at_xdp(context.ctx) { XDP_TX } else { XDP_DROP }
}

#[inline(always)]
fn at_tc(skb: *mut __sk_buff) -> bool {
    // SAFETY: the context is valid for the run of the program.
    let (start, end) = unsafe {
        (
            core::ptr::read_volatile(&raw const (*skb).data) as usize,
            core::ptr::read_volatile(&raw const (*skb).data_end) as usize,
        )
    };
    // SAFETY: as above.
    take(start, end, unsafe { (*skb).ifindex }).is_some()
}

#[inline(always)]
fn at_xdp(context: *mut xdp_md) -> bool {
    // SAFETY: as above.
    let (start, end) = unsafe {
        (
            core::ptr::read_volatile(&raw const (*context).data) as usize,
            core::ptr::read_volatile(&raw const (*context).data_end) as usize,
        )
    };
    // SAFETY: as above.
    take(start, end, unsafe { (*context).ingress_ifindex }).is_some()
}

/// Counts a frame that has arrived; whether it is to be sent back, for which it is then ready.
#[inline(always)]
fn take(start: usize, end: usize, device: u32) -> Option<()> {
    if start + 54 > end {
        return None;
    }
    let frame = start as *mut u8;
    let rule = RULE.get(0)?;
    // SAFETY: 54 bytes are there, and the counter is this CPU's own.
    unsafe {
        let words = frame.cast::<u16>();
        if *words.add(6) != 0x0800_u16.to_be() {
            return None;
        }
        // Options are an even number of words, which a packet of a direct return has two of.
        let header = (*frame.add(14) & 15) as usize * 4;
        let ports = start + 14 + header;
        if ports + 4 > end || *((ports + 2) as *const u16) != rule.port {
            return None;
        }
        *ARRIVED.get_ptr_mut(device)? += 1;
        if rule.answer == 0 || header != 20 {
            return None;
        }
        let mut at = 0;
        while at < 3 {
            exchange(words.add(at), words.add(at + 3));
            at += 1;
        }
        exchange(words.add(13), words.add(15));
        exchange(words.add(14), words.add(16));
        exchange(words.add(17), words.add(18));
        if *frame.add(23) == TCP && *frame.add(47) & SYN != 0 {
            accept(frame);
        }
    }
    Some(())
}

/// Makes the first packet of a TCP connection, its ends exchanged, the second one (RFC 9293, 3.5).
///
/// # Safety
/// 54 bytes must be there.
#[inline(always)]
unsafe fn accept(frame: *mut u8) {
    // SAFETY: by the contract. The answerer begins to count where the opener did.
    unsafe {
        let next = u32::from_be(*frame.add(38).cast::<u32>()).wrapping_add(1);
        *frame.add(42).cast::<u32>() = next.to_be();
        *frame.add(47) |= ACK;
        let checksum = frame.add(50).cast::<u16>();
        let sum = u32::from(!u16::from_be(*checksum));
        let sum = sum + (next >> 16) + (next & 0xffff) + u32::from(ACK);
        let sum = (sum & 0xffff) + (sum >> 16);
        *checksum = (!((sum & 0xffff) + (sum >> 16)) as u16).to_be();
    }
}

/// # Safety
/// Both must be in the frame.
#[inline(always)]
unsafe fn exchange(a: *mut u16, b: *mut u16) {
    // SAFETY: by the contract.
    unsafe {
        let kept = *a;
        *a = *b;
        *b = kept;
    }
}
