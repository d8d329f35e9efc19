//! The yardstick of a tc hook: programs that do one lookup and one rewrite, and nothing else.
//!
//! No VLAN, no options, no IPv6, no state, no timeouts, no counters. What they do write, they write as
//! the real program does: addresses and ports directly, the transport checksum by the kernel's helper.
#![no_std]
#![no_main]
// The macros that make a function a program write another one around it, public and without docs.
#![allow(missing_docs, unreachable_pub)]

mod generator;
mod nat;
mod sink;
mod socket;

use aya_ebpf::bindings::{__sk_buff, BPF_F_PSEUDO_HDR, TC_ACT_OK};
use aya_ebpf::helpers::bpf_redirect_peer;
use aya_ebpf::helpers::generated::bpf_l4_csum_replace;
use aya_ebpf::macros::{classifier, map};
use aya_ebpf::maps::LruHashMap;
use aya_ebpf::programs::TcContext;

/// What an entry says: where to, and what that does to the checksums.
#[repr(C)]
struct Entry {
    destination: u32,
    port: u16,
    addresses: u16,
    ports: u16,
    pad: u16,
    device: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Key16 {
    pub(crate) source: u32,
    pub(crate) destination: u32,
    pub(crate) ports: u32,
    pub(crate) protocol: u32,
}

/// The same tuple with both addresses in IPv6 form.
#[repr(C)]
#[derive(Clone, Copy)]
struct Key40 {
    source: [u64; 2],
    destination: [u64; 2],
    ports: u32,
    protocol: u32,
}

#[map]
static BARE16: LruHashMap<Key16, Entry> = LruHashMap::with_max_entries(131_072, 0);
#[map]
static BARE40: LruHashMap<Key40, Entry> = LruHashMap::with_max_entries(131_072, 0);

/// Nothing at all.
#[classifier]
pub fn empty(_: TcContext) -> i32 {
    TC_ACT_OK
}

/// One lookup with a key of 16 bytes, and the rewrite.
#[classifier]
pub fn bare16(context: TcContext) -> i32 {
    bare(context.skb.skb, |key| BARE16.get_ptr(key)).unwrap_or(TC_ACT_OK)
}

/// The same with a key of 40 bytes.
#[classifier]
pub fn bare40(context: TcContext) -> i32 {
    bare(context.skb.skb, |key| BARE40.get_ptr(widened(key))).unwrap_or(TC_ACT_OK)
}

/// Only the lookup with a key of 16 bytes: leaves the packet as it is, so that it can be repeated.
#[classifier]
pub fn lookup16(context: TcContext) -> i32 {
    key_of(context.skb.skb).map_or(TC_ACT_OK, |key| BARE16.get_ptr(key).is_some() as i32)
}

/// Only the lookup with a key of 40 bytes.
#[classifier]
pub fn lookup40(context: TcContext) -> i32 {
    key_of(context.skb.skb).map_or(TC_ACT_OK, |key| BARE40.get_ptr(widened(key)).is_some() as i32)
}

#[inline(always)]
fn widened(key: Key16) -> Key40 {
    const MAPPED: u64 = u64::from_ne_bytes([0, 0, 0xff, 0xff, 0, 0, 0, 0]);
    let mapped = |address: u32| [0, MAPPED | (u64::from(address) << 32)];
    Key40 {
        source: mapped(key.source),
        destination: mapped(key.destination),
        ports: key.ports,
        protocol: key.protocol,
    }
}

/// The start of the packet, 54 bytes of which are there.
#[inline(always)]
fn start(skb: *mut __sk_buff) -> Option<*mut u8> {
    // SAFETY: the context is valid for the run of the program.
    let (data, end) = unsafe {
        (
            core::ptr::read_volatile(&raw const (*skb).data) as usize,
            core::ptr::read_volatile(&raw const (*skb).data_end) as usize,
        )
    };
    if data + 54 > end { None } else { Some(data as *mut u8) }
}

#[inline(always)]
fn key_of(skb: *mut __sk_buff) -> Option<Key16> {
    let data = start(skb)?;
    // SAFETY: 54 bytes are there.
    unsafe {
        if *data.add(12).cast::<u16>() != 0x0800_u16.to_be() || *data.add(14) != 0x45 {
            return None;
        }
        Some(Key16 {
            source: *data.add(26).cast(),
            destination: *data.add(30).cast(),
            ports: *data.add(34).cast(),
            protocol: u32::from(*data.add(23)),
        })
    }
}

#[inline(always)]
fn bare(skb: *mut __sk_buff, lookup: impl FnOnce(Key16) -> Option<*const Entry>) -> Option<i32> {
    let entry = lookup(key_of(skb)?)?;
    let data = start(skb)?;
    // SAFETY: 54 bytes are there, and the entry is a live map value.
    unsafe {
        let entry = &*entry;
        let sum = u32::from(!*data.add(24).cast::<u16>()) + u32::from(entry.addresses);
        *data.add(24).cast::<u16>() = !((sum & 0xffff) + (sum >> 16)) as u16;
        *data.add(30).cast::<u32>() = entry.destination;
        *data.add(36).cast::<u16>() = entry.port;
        let pseudo = u64::from(BPF_F_PSEUDO_HDR);
        bpf_l4_csum_replace(skb, 50, 0, u64::from(entry.addresses), pseudo);
        if entry.ports != 0 {
            bpf_l4_csum_replace(skb, 50, 0, u64::from(entry.ports), 0);
        }
        Some(bpf_redirect_peer(entry.device, 0) as i32)
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Some helpers are for GPL-compatible programs only; the source is MIT OR Apache-2.0.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
