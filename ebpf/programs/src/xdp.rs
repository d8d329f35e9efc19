//! A packet in the kernel at the XDP hook, and the program there.

use core::arch::asm;

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::bindings::{BPF_FIB_LKUP_RET_SUCCESS, bpf_fib_lookup as FibLookup, xdp_md};
use aya_ebpf::helpers::bpf_redirect;
use aya_ebpf::helpers::generated::bpf_fib_lookup;
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::Array;
use aya_ebpf::programs::XdpContext;
use twinpath_core::bytes::Pod;
use twinpath_core::checksum::Fix;
use twinpath_core::conntrack::LinkCache;
use twinpath_core::drop_reason::DropReason;
use twinpath_core::hook;
use twinpath_core::seam::{At, Gap, Packet};
use twinpath_core::tuple::Tuple;
use twinpath_core::verdict::IfIndex;

use crate::host::{is_test_run, is_verified};
use crate::maps::node;

/// Where a test run finds the decision: this hook's packets have no scratch words.
#[map]
static REPORT: Array<[u32; 5]> = Array::with_max_entries(1, 0);

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// XDP at the node's device.
#[xdp]
pub fn xdp_from_netdev(context: XdpContext) -> u32 {
    let Some(mut node) = node::<false>() else { return XDP_PASS };
    let mut frame = Frame { context: context.ctx, out: 0 };
    let decision = hook::express(&mut frame, &mut node);
    if is_verified()
        && let Some(report) = REPORT.get_ptr_mut(0)
    {
        // SAFETY: the pointer is to a live array element; a verified run is on one CPU.
        unsafe { *report = decision.to_words() };
    }
    let out = frame.out;
    decision.act(
        XDP_PASS,
        XDP_DROP,
        |_| XDP_PASS,
        |_| match out {
            0 => XDP_TX,
            // SAFETY: a plain helper call; the kernel checks the device.
            device => unsafe { bpf_redirect(device, 0) as u32 },
        },
        || XDP_PASS,
    )
}

/// The frame as the driver received it.
struct Frame {
    context: *mut xdp_md,
    /// The device to leave by, where it is not the one that the frame came by.
    out: IfIndex,
}

impl Frame {
    /// A pointer to the bytes from `at`, `size` of them proven to be there.
    #[inline(always)]
    fn at(&self, at: At, size: usize) -> Option<*mut u8> {
        let at = at.0 & (At::LIMIT - 1); // the verifier wants to see a bound
        let (data, end) = self.bounds();
        let start = data + at;
        let size = if size < 2 { 2 } else { size };
        if start + size > end { None } else { Some(start as *mut u8) }
    }

    /// Where the frame begins and ends. Nothing that this program calls moves it, so the compiler may keep
    /// both; by assembly, since it would take what it reads for 32-bit numbers and cut pointers off.
    #[inline(always)]
    fn bounds(&self) -> (usize, usize) {
        let (data, end): (usize, usize);
        // SAFETY: the context is valid for the run of the program; the members are the first two.
        unsafe {
            asm!("{0} = *(u32 *)({1} + 0)", out(reg) data, in(reg) self.context, options(pure, nomem));
            asm!("{0} = *(u32 *)({1} + 4)", out(reg) end, in(reg) self.context, options(pure, nomem));
        }
        (data, end)
    }
}

/// A link address in halves of its words, as frames have them aligned.
type Mac = [u16; 3];

#[inline(always)]
const fn halves([a, b, c, d, e, f]: [u8; 6]) -> Mac {
    [u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d]), u16::from_ne_bytes([e, f])]
}

/// In a word that is not zero, whatever the address.
#[inline(always)]
const fn pack([a, b, c]: Mac) -> u64 {
    1 << 48 | (c as u64) << 32 | (b as u64) << 16 | a as u64
}

#[inline(always)]
const fn unpack(word: u64) -> Mac {
    [word as u16, (word >> 16) as u16, (word >> 32) as u16]
}

impl Frame {
    /// What the kernel would do with a packet of this tuple that it has to forward.
    #[inline(always)]
    fn ask(&self, device: IfIndex, to: &Tuple) -> Option<FibLookup> {
        // SAFETY: a plain structure of numbers.
        let mut lookup: FibLookup = unsafe { core::mem::zeroed() };
        lookup.l4_protocol = to.protocol;
        lookup.ifindex = device;
        if to.is_v4() {
            lookup.family = AF_INET;
            lookup.__bindgen_anon_3.ipv4_src = to.source.low();
            lookup.__bindgen_anon_4.ipv4_dst = to.destination.low();
        } else {
            lookup.family = AF_INET6;
            lookup.__bindgen_anon_3.ipv6_src = to.source.words();
            lookup.__bindgen_anon_4.ipv6_dst = to.destination.words();
        }
        let size = size_of::<FibLookup>() as i32;
        // SAFETY: a plain helper call with a structure of the size given.
        let result = unsafe { bpf_fib_lookup(self.context.cast(), &raw mut lookup, size, 0) };
        (result == i64::from(BPF_FIB_LKUP_RET_SUCCESS)).then_some(lookup)
    }

    /// Writes the link addresses.
    #[inline(always)]
    fn leave(&mut self, to: Mac, from: Mac) -> bool {
        self.store(At(0), to).is_ok() && self.store(At(6), from).is_ok()
    }
}

impl Packet for Frame {
    #[inline(always)]
    fn length(&self) -> usize {
        // SAFETY: as above.
        unsafe {
            let data = core::ptr::read_volatile(&raw const (*self.context).data) as usize;
            let end = core::ptr::read_volatile(&raw const (*self.context).data_end) as usize;
            end - data
        }
    }

    #[inline(always)]
    fn load<T: Pod>(&self, at: At) -> Result<T, DropReason> {
        let start = self.at(at, size_of::<T>()).ok_or(DropReason::InvalidPacket)?;
        // SAFETY: the bytes are there, and any bit pattern is a value.
        Ok(unsafe { start.cast::<T>().read() })
    }

    #[inline(always)]
    fn store<T: Pod>(&mut self, at: At, value: T) -> Result<(), DropReason> {
        let start = self.at(at, size_of::<T>()).ok_or(DropReason::WriteError)?;
        // SAFETY: as in `load`.
        unsafe { start.cast::<T>().write(value) };
        Ok(())
    }

    /// By arithmetic: a frame from a wire has its checksum complete.
    #[inline(always)]
    fn mend(&mut self, checksum: At, fix: Fix) -> Result<(), DropReason> {
        let field: u16 = self.load(checksum)?;
        self.store(checksum, fix.apply(field))
    }

    /// Asks the kernel's tables for the neighbour, and writes its link address. Asking costs three times
    /// what all else does, so the answer is noted where the frame goes back by the device it came by:
    /// then it leaves with the address that it came to.
    #[inline(always)]
    fn route(&mut self, device: IfIndex, to: &Tuple, link: &LinkCache) -> bool {
        if is_test_run() {
            return true; // it has no neighbours
        }
        // SAFETY: the context is valid for the run of the program.
        let back = device == unsafe { (*self.context).ingress_ifindex };
        let known = link.get();
        if back && known != 0 {
            let Ok(own) = self.load::<Mac>(At(0)) else { return false };
            return self.leave(unpack(known), own);
        }
        let Some(found) = self.ask(device, to) else { return false };
        let (to, from) = (halves(found.dmac), halves(found.smac));
        if back && found.ifindex == device {
            link.set(pack(to));
        } else {
            self.out = found.ifindex;
        }
        self.leave(to, from)
    }

    // Only the fast road runs here, which leaves lengths as they are.

    #[inline(always)]
    fn grow(&mut self, _: Gap, _: usize) -> Result<(), DropReason> {
        Err(DropReason::WriteError)
    }

    #[inline(always)]
    fn shrink(&mut self, _: Gap, _: usize) -> Result<(), DropReason> {
        Err(DropReason::WriteError)
    }

    #[inline(always)]
    fn trim(&mut self, _: usize) -> Result<(), DropReason> {
        Err(DropReason::WriteError)
    }
}
