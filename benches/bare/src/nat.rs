//! The yardstick north-south, at tc and XDP: one lookup, and a rewrite of both ends.

use aya_ebpf::bindings::xdp_action::{XDP_PASS, XDP_TX};
use aya_ebpf::bindings::{__sk_buff, BPF_F_PSEUDO_HDR, TC_ACT_OK, xdp_md};
use aya_ebpf::helpers::bpf_redirect_neigh;
use aya_ebpf::helpers::generated::bpf_l4_csum_replace;
use aya_ebpf::macros::{classifier, map, xdp};
use aya_ebpf::maps::LruHashMap;
use aya_ebpf::programs::{TcContext, XdpContext};

use crate::Key16;

/// What an entry says: both ends, what they do to the checksums, and the way out.
#[repr(C)]
struct Entry {
    source: u32,
    destination: u32,
    ports: u32,
    addresses_delta: u16,
    ports_delta: u16,
    device: u32,
}

#[map]
static BARE_NAT: LruHashMap<Key16, Entry> = LruHashMap::with_max_entries(131_072, 0);

/// At tc, by the kernel's helper for the transport checksum.
#[classifier]
pub fn bare_nat(context: TcContext) -> i32 {
    at_tc(context.skb.skb).unwrap_or(TC_ACT_OK)
}

/// At XDP, by arithmetic, back out of the device.
#[xdp]
pub fn bare_xdp(context: XdpContext) -> u32 {
    at_xdp(context.ctx).unwrap_or(XDP_PASS)
}

/// Nothing at all, at XDP.
#[xdp]
pub fn empty_xdp(_: XdpContext) -> u32 {
    XDP_PASS
}

#[inline(always)]
fn at_tc(skb: *mut __sk_buff) -> Option<i32> {
    // SAFETY: the context is valid for the run of the program.
    let (data, end) = unsafe {
        (
            core::ptr::read_volatile(&raw const (*skb).data) as usize,
            core::ptr::read_volatile(&raw const (*skb).data_end) as usize,
        )
    };
    let (data, entry) = found(data, end)?;
    // SAFETY: 54 bytes are there.
    unsafe {
        rewrite(data, entry);
        let pseudo = u64::from(BPF_F_PSEUDO_HDR);
        bpf_l4_csum_replace(skb, 50, 0, u64::from(entry.addresses_delta), pseudo);
        bpf_l4_csum_replace(skb, 50, 0, u64::from(entry.ports_delta), 0);
        Some(bpf_redirect_neigh(entry.device, core::ptr::null_mut(), 0, 0) as i32)
    }
}

#[inline(always)]
fn at_xdp(context: *mut xdp_md) -> Option<u32> {
    // SAFETY: the context is valid for the run of the program.
    let (data, end) = unsafe {
        (
            core::ptr::read_volatile(&raw const (*context).data) as usize,
            core::ptr::read_volatile(&raw const (*context).data_end) as usize,
        )
    };
    let (data, entry) = found(data, end)?;
    // SAFETY: 54 bytes are there.
    unsafe {
        rewrite(data, entry);
        let field = data.add(50).cast::<u16>();
        let delta = u32::from(entry.addresses_delta) + u32::from(entry.ports_delta);
        *field = changed(*field, delta);
    }
    Some(XDP_TX)
}

/// The packet and its entry, 54 bytes of the packet being there.
#[inline(always)]
fn found(data: usize, end: usize) -> Option<(*mut u8, &'static Entry)> {
    if data + 54 > end {
        return None;
    }
    let data = data as *mut u8;
    // SAFETY: 54 bytes are there, and the entry is a live map value.
    unsafe {
        if *data.add(12).cast::<u16>() != 0x0800_u16.to_be() || *data.add(14) != 0x45 {
            return None;
        }
        let key = Key16 {
            source: *data.add(26).cast(),
            destination: *data.add(30).cast(),
            ports: *data.add(34).cast(),
            protocol: u32::from(*data.add(23)),
        };
        Some((data, &*BARE_NAT.get_ptr(key)?))
    }
}

/// # Safety
/// 54 bytes must be there.
#[inline(always)]
unsafe fn rewrite(data: *mut u8, entry: &Entry) {
    // SAFETY: by the contract.
    unsafe {
        let field = data.add(24).cast::<u16>();
        *field = changed(*field, u32::from(entry.addresses_delta));
        *data.add(26).cast::<u32>() = entry.source;
        *data.add(30).cast::<u32>() = entry.destination;
        *data.add(34).cast::<u32>() = entry.ports;
    }
}

/// A checksum field after a change.
#[inline(always)]
fn changed(field: u16, delta: u32) -> u16 {
    let sum = u32::from(!field) + delta;
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}
