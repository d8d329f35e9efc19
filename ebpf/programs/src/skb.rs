//! A packet in the kernel at a tc hook.

use aya_ebpf::bindings::bpf_adj_room_mode::{BPF_ADJ_ROOM_MAC, BPF_ADJ_ROOM_NET};
use aya_ebpf::bindings::{
    __sk_buff, BPF_ADJ_ROOM_ENCAP_L2_SHIFT, BPF_F_ADJ_ROOM_ENCAP_L2_ETH,
    BPF_F_ADJ_ROOM_ENCAP_L3_IPV4, BPF_F_ADJ_ROOM_ENCAP_L3_IPV6, BPF_F_ADJ_ROOM_ENCAP_L4_UDP,
    BPF_F_ADJ_ROOM_FIXED_GSO, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR,
};
use aya_ebpf::helpers::generated::{
    bpf_l4_csum_replace, bpf_skb_adjust_room, bpf_skb_change_tail, bpf_skb_pull_data,
};
use twinpath_core::bytes::Pod;
use twinpath_core::checksum::{Delta, Fix};
use twinpath_core::conntrack::LinkCache;
use twinpath_core::drop_reason::DropReason;
use twinpath_core::hook::Work;
use twinpath_core::parse::parse;
use twinpath_core::seam::{At, Gap, Packet, Room, Tunnel};
use twinpath_core::tuple::Tuple;
use twinpath_core::verdict::{Decision, IfIndex};

use crate::maps::WorkRoom;
use twinpath_core::wire::ethernet;

/// The kernel's socket buffer. Packet pointers are taken anew for every access, because helpers make
/// old ones void.
pub(crate) struct Skb(pub(crate) *mut __sk_buff);

impl Skb {
    /// The device that the packet has come by.
    #[inline(always)]
    pub(crate) fn ingress(&self) -> IfIndex {
        // Volatile, since the kernel's verifier refuses a pointer into the context that was computed, to
        // one field or another.
        // SAFETY: the context is valid for the run of the program.
        unsafe { core::ptr::read_volatile(&raw const (*self.0).ingress_ifindex) }
    }

    /// The device that the packet is at.
    #[inline(always)]
    pub(crate) fn device(&self) -> IfIndex {
        // SAFETY: as above.
        unsafe { core::ptr::read_volatile(&raw const (*self.0).ifindex) }
    }

    /// Whether the packet carries this mark; none is on no packet.
    #[inline(always)]
    pub(crate) fn has_mark(&self, mark: u32) -> bool {
        // SAFETY: as above.
        mark != 0 && unsafe { (*self.0).mark } & mark == mark
    }

    /// Adds a mark to those that the packet has.
    #[inline(always)]
    pub(crate) fn set_mark(&self, mark: u32) {
        // SAFETY: as above; the mark may be written at tc hooks.
        unsafe { (*self.0).mark |= mark }
    }

    /// Leaves the decision where a test run finds it: in the scratch words of the packet.
    #[inline(always)]
    pub(crate) fn report(&self, decision: &Decision) {
        // SAFETY: as above; the scratch words may be written at tc hooks.
        unsafe { (*self.0).cb = decision.to_words() };
    }

    /// A pointer to the bytes from `at`, `size` of them proven to be there.
    #[inline(always)]
    fn at(&self, at: At, size: usize) -> Option<*mut u8> {
        let at = at.0 & (At::LIMIT - 1); // the verifier wants to see a bound
        if let Some(start) = self.linear(at, size) {
            return Some(start);
        }
        // The header lies in a fragment page of the buffer, or beyond the end.
        if !pull(self.0, at + size) {
            return None;
        }
        self.linear(at, size)
    }

    #[inline(always)]
    fn linear(&self, at: usize, size: usize) -> Option<*mut u8> {
        // Volatile, so that the compiler does not keep half a pointer: these are 32-bit fields that the
        // kernel turns into loads of 64-bit pointers.
        // SAFETY: as above.
        let (data, end) = unsafe {
            (
                core::ptr::read_volatile(&raw const (*self.0).data) as usize,
                core::ptr::read_volatile(&raw const (*self.0).data_end) as usize,
            )
        };
        // In sight of the addition: Linux 6.1 loses a bound that was set before, where the compiler puts the
        // number on the stack in between.
        let mut at = at;
        // SAFETY: an `and` of a register.
        unsafe { core::arch::asm!("{0} &= {1}", inout(reg) at, const At::LIMIT - 1) };
        let start = data + at;
        // For one byte the comparison becomes `start < end`, from which the verifier learns nothing. No
        // header ends with the byte that the core asks for, so asking for two is the same.
        let size = if size < 2 { 2 } else { size };
        if start + size > end { None } else { Some(start as *mut u8) }
    }
}

/// Makes the first `length` bytes of the packet directly accessible; whether they are there.
#[inline(never)]
fn pull(skb: *mut __sk_buff, length: usize) -> bool {
    // SAFETY: the context is valid for the run of the program.
    unsafe { length <= (*skb).len as usize && bpf_skb_pull_data(skb, length as u32) == 0 }
}

/// Changes the length of the packet at a gap.
#[inline(never)]
fn adjust(skb: *mut __sk_buff, gap: Gap, bytes: i32) -> Result<(), DropReason> {
    let mode = match gap {
        Gap::Link => BPF_ADJ_ROOM_MAC,
        Gap::Network => BPF_ADJ_ROOM_NET,
    };
    adjust_with(skb, mode, bytes, 0)
}

/// The pieces that a packet will be cut into keep their payload: the core has seen to it that they fit, and
/// without this flag the kernel refuses datagrams.
#[inline(always)]
fn adjust_with(skb: *mut __sk_buff, mode: u32, bytes: i32, flags: u64) -> Result<(), DropReason> {
    let flags = flags | u64::from(BPF_F_ADJ_ROOM_FIXED_GSO);
    // SAFETY: a plain helper call.
    match unsafe { bpf_skb_adjust_room(skb, bytes, mode, flags) } {
        0 => Ok(()),
        _ => Err(DropReason::WriteError),
    }
}

/// Makes room for the headers of a tunnel. The flags say where the inner headers begin and what is in front of
/// them, for hardware and software that cuts the packet into pieces or completes its checksum.
#[inline(never)]
fn wrap(skb: *mut __sk_buff, tunnel: Tunnel, bytes: i32) -> Result<(), DropReason> {
    let family = match tunnel.is_v4 {
        true => u64::from(BPF_F_ADJ_ROOM_ENCAP_L3_IPV4),
        false => u64::from(BPF_F_ADJ_ROOM_ENCAP_L3_IPV6),
    };
    let udp = u64::from(BPF_F_ADJ_ROOM_ENCAP_L4_UDP | BPF_F_ADJ_ROOM_ENCAP_L2_ETH)
        | (ethernet::LENGTH as u64) << BPF_ADJ_ROOM_ENCAP_L2_SHIFT;
    let flags = if tunnel.is_udp { family | udp } else { family };
    adjust_with(skb, BPF_ADJ_ROOM_MAC, bytes, flags)
}

/// Not IP.
const FOREIGN: u32 = 0;
/// Parsed. Larger numbers are 256 and a drop reason.
const PARSED: u32 = 1;

/// Parses a packet into the slow road's room. Exported, which makes it a function that the kernel's verifier
/// checks by itself (Linux 5.6, "global functions").
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn parse_skb(skb: *mut __sk_buff) -> u32 {
    let mut room = WorkRoom;
    let Some(work) = room.work() else { return FOREIGN };
    match parse(&Skb(skb)) {
        Ok(Some(parsed)) => {
            work.parsed = parsed;
            PARSED
        }
        Ok(None) => FOREIGN,
        Err(reason) => 256 | reason as u32,
    }
}

impl Packet for Skb {
    #[inline(always)]
    fn length(&self) -> usize {
        // SAFETY: as above.
        unsafe { (*self.0).len as usize }
    }

    #[inline(always)]
    fn load<T: Pod>(&self, at: At) -> Result<T, DropReason> {
        let start = self.at(at, size_of::<T>()).ok_or(DropReason::InvalidPacket)?;
        // SAFETY: the bytes are there, and any bit pattern is a value. Alignment is the kernel's affair:
        // its verifier refuses the program where the machine needs it, and a read that is declared
        // unaligned would be compiled to single bytes.
        Ok(unsafe { start.cast::<T>().read() })
    }

    #[inline(always)]
    fn store<T: Pod>(&mut self, at: At, value: T) -> Result<(), DropReason> {
        let start = self.at(at, size_of::<T>()).ok_or(DropReason::WriteError)?;
        // SAFETY: as in `load`.
        unsafe { start.cast::<T>().write(value) };
        Ok(())
    }

    /// Apart, so that the verifier looks at it once and not wherever it is called.
    #[inline(always)]
    fn parse(&self, _: &mut Work) -> Result<bool, DropReason> {
        match parse_skb(self.0) {
            FOREIGN => Ok(false),
            PARSED => Ok(true),
            reason => {
                Err(DropReason::from_number((reason & 0xff) as u8)
                    .unwrap_or(DropReason::InvalidPacket))
            }
        }
    }

    /// The kernel finds the neighbour when it sends the packet.
    #[inline(always)]
    fn route(&mut self, _: IfIndex, _: &Tuple, _: &LinkCache) -> bool {
        true
    }

    #[inline(always)]
    fn grow(&mut self, gap: Gap, bytes: usize) -> Result<(), DropReason> {
        adjust(self.0, gap, bytes as i32)
    }

    #[inline(always)]
    fn encapsulate(&mut self, tunnel: Tunnel, bytes: usize) -> Result<(), DropReason> {
        wrap(self.0, tunnel, bytes as i32)
    }

    #[inline(always)]
    fn segment(&self) -> usize {
        // SAFETY: as above.
        unsafe { (*self.0).gso_size as usize }
    }

    #[inline(always)]
    fn shrink(&mut self, gap: Gap, bytes: usize) -> Result<(), DropReason> {
        adjust(self.0, gap, (bytes as i32).wrapping_neg())
    }

    #[inline(always)]
    fn trim(&mut self, length: usize) -> Result<(), DropReason> {
        // SAFETY: a plain helper call.
        match unsafe { bpf_skb_change_tail(self.0, length as u32, 0) } {
            0 => Ok(()),
            _ => Err(DropReason::WriteError),
        }
    }

    /// By the kernel's helper: only the kernel knows whether the checksum is partial.
    #[inline(always)]
    fn mend(&mut self, checksum: At, fix: Fix) -> Result<(), DropReason> {
        let udp = if fix.udp { u64::from(BPF_F_MARK_MANGLED_0) } else { 0 };
        let steps = [(fix.addresses, u64::from(BPF_F_PSEUDO_HDR)), (fix.ports, 0)];
        for (Delta(delta), flags) in steps {
            if delta == 0 {
                continue;
            }
            let at = checksum.0 as u32;
            // SAFETY: a plain helper call; size 0 in the flags says that `to` is a difference.
            if unsafe { bpf_l4_csum_replace(self.0, at, 0, u64::from(delta), flags | udp) } != 0 {
                return Err(DropReason::WriteError);
            }
        }
        Ok(())
    }
}
