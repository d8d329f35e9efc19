//! The programs. Each is a hook of the core with a packet, a node and an answer in kernel form.
#![no_std]
#![no_main]
// The macros that make a function a program write another one around it, public and without docs.
#![allow(missing_docs, unreachable_pub)]

mod host;
mod maps;
mod skb;

use aya_ebpf::bindings::{TC_ACT_OK, TC_ACT_SHOT};
use aya_ebpf::helpers::{bpf_redirect_neigh, bpf_redirect_peer};
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use twinpath_core::hook;
use twinpath_core::verdict::Decision;

use crate::maps::{WorkRoom, node};
use crate::skb::Skb;

/// tc ingress of a pod's host-side device.
#[classifier]
pub fn from_pod(context: TcContext) -> i32 {
    let Some(mut node) = node() else { return TC_ACT_OK };
    let mut skb = Skb(context.skb.skb);
    let device = skb.ingress();
    let decision = hook::from_pod(&mut skb, &mut node, &mut WorkRoom, device);
    answer(&skb, &decision)
}

/// tc egress of a pod's host-side device.
#[classifier]
pub fn to_pod(context: TcContext) -> i32 {
    let Some(mut node) = node() else { return TC_ACT_OK };
    let mut skb = Skb(context.skb.skb);
    let decision = hook::to_pod(&mut skb, &mut node, &mut WorkRoom);
    answer(&skb, &decision)
}

/// tc ingress of the node's device.
#[classifier]
pub fn from_netdev(context: TcContext) -> i32 {
    let Some(mut node) = node() else { return TC_ACT_OK };
    let mut skb = Skb(context.skb.skb);
    let device = skb.ingress();
    let decision = hook::from_netdev(&mut skb, &mut node, &mut WorkRoom, device);
    answer(&skb, &decision)
}

/// The verdict as a tc action.
#[inline(always)]
fn answer(skb: &Skb, decision: &Decision) -> i32 {
    if host::is_verified() {
        skb.report(decision);
    }
    decision.act(
        TC_ACT_OK,
        TC_ACT_SHOT,
        // SAFETY: plain helper calls; the kernel checks the device.
        |device| unsafe { bpf_redirect_peer(device, 0) as i32 },
        // SAFETY: as above; a null next hop tells the kernel to look it up.
        |device| unsafe { bpf_redirect_neigh(device, core::ptr::null_mut(), 0, 0) as i32 },
    )
}

/// The core has no panic path. Were one left, this loop would make the program fail to load.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Some helpers are for GPL-compatible programs only; the source is MIT OR Apache-2.0.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
