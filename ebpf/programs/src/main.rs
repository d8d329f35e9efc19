//! The programs. Each is a hook of the core with a packet, a node and an answer in kernel form.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
// The macros that make a function a program write another one around it, public and without docs.
#![allow(missing_docs, unreachable_pub)]

mod host;
mod maps;
mod skb;
mod xdp;

use aya_ebpf::bindings::{BPF_F_INGRESS, TC_ACT_OK, TC_ACT_SHOT};
use aya_ebpf::helpers::{bpf_redirect, bpf_redirect_neigh, bpf_redirect_peer};
use aya_ebpf::macros::{classifier, map};
use aya_ebpf::maps::ProgramArray;
use aya_ebpf::programs::TcContext;
use twinpath_core::drop_reason::DropReason;
use twinpath_core::hook::{self, Hook, Stage};
use twinpath_core::seam::{Host, Metric, Room};
use twinpath_core::verdict::{Decision, Verdict};

use crate::maps::{KernelNode, WorkRoom, node};
use crate::skb::Skb;

/// The programs of the slow road, by the number of their stage.
#[map]
static STAGES: ProgramArray = ProgramArray::with_max_entries(16, 0);

/// tc ingress of a pod's host-side device.
#[classifier]
pub fn from_pod(context: TcContext) -> i32 {
    enter(&context, Hook::FromPod)
}

/// tc egress of a pod's host-side device.
#[classifier]
pub fn to_pod(context: TcContext) -> i32 {
    enter(&context, Hook::ToPod)
}

/// tc ingress of the node's device.
#[classifier]
pub fn from_netdev(context: TcContext) -> i32 {
    enter(&context, Hook::FromNetdev)
}

/// tc egress of the node's device.
#[classifier]
pub fn to_netdev(context: TcContext) -> i32 {
    enter(&context, Hook::ToNetdev)
}

/// [`Stage::Classify`].
#[classifier]
pub fn classify(context: TcContext) -> i32 {
    go_on(&context, Stage::Classify)
}

/// [`Stage::Connect`].
#[classifier]
pub fn connect(context: TcContext) -> i32 {
    go_on(&context, Stage::Connect)
}

/// [`Stage::Send`].
#[classifier]
pub fn send(context: TcContext) -> i32 {
    go_on(&context, Stage::Send)
}

/// [`Stage::Related`].
#[classifier]
pub fn related(context: TcContext) -> i32 {
    go_on(&context, Stage::Related)
}

/// [`Stage::Unwrap`].
#[classifier]
pub fn unwrap(context: TcContext) -> i32 {
    go_on(&context, Stage::Unwrap)
}

/// [`Stage::Wrap`].
#[classifier]
pub fn wrap(context: TcContext) -> i32 {
    go_on(&context, Stage::Wrap)
}

/// [`Stage::Answer`].
#[classifier]
pub fn answer(context: TcContext) -> i32 {
    go_on(&context, Stage::Answer)
}

/// [`Stage::Open`].
#[classifier]
pub fn open(context: TcContext) -> i32 {
    go_on(&context, Stage::Open)
}

/// [`Stage::Reserve`].
#[classifier]
pub fn reserve(context: TcContext) -> i32 {
    go_on(&context, Stage::Reserve)
}

/// [`Stage::Commit`].
#[classifier]
pub fn commit(context: TcContext) -> i32 {
    go_on(&context, Stage::Commit)
}

/// [`Stage::Plain`].
#[classifier]
pub fn plain(context: TcContext) -> i32 {
    go_on(&context, Stage::Plain)
}

/// A hook: the fast road, and the way to the slow one.
#[inline(always)]
fn enter(context: &TcContext, hook: Hook) -> i32 {
    let Some(mut node) = node::<false>() else { return TC_ACT_OK };
    let mut skb = Skb(context.skb.skb);
    let egress = is_egress(hook);
    if egress && skb.has_mark(node.config.mark) {
        return TC_ACT_OK; // another hook of this node is done with it
    }
    let device = if egress { skb.device() } else { skb.ingress() };
    let decision = hook::start(&mut skb, &mut node, &mut WorkRoom, hook, device);
    if decision.is_undecided() {
        let stage = WorkRoom.work().map_or(Stage::Done as u32, |work| work.next);
        return jump(context, &mut node, stage);
    }
    act(&skb, &node, &decision, hook)
}

/// A stage of the slow road, and the way to the next.
#[inline(always)]
fn go_on(context: &TcContext, stage: Stage) -> i32 {
    let Some(mut node) = node::<true>() else { return TC_ACT_OK };
    let mut room = WorkRoom;
    let Some(work) = room.work() else { return TC_ACT_OK };
    let mut skb = Skb(context.skb.skb);
    let next = hook::run(&mut skb, &mut node, work, stage);
    if !matches!(next, Stage::Done) {
        return jump(context, &mut node, next as u32);
    }
    act(&skb, &node, &work.decision, work.arrival.hook)
}

/// Leaves this program for that of a stage. Comes back only where there is none.
#[inline(always)]
fn jump<const SLOW: bool>(context: &TcContext, node: &mut KernelNode<SLOW>, stage: u32) -> i32 {
    // SAFETY: the context is that of this program, as the kernel's verifier checks.
    let _ = unsafe { STAGES.tail_call(context, stage) };
    node.host.count(Metric::drop(DropReason::MissedTailCall));
    let decision = Decision::untracked(Verdict::Drop(DropReason::MissedTailCall));
    act(&Skb(context.skb.skb), node, &decision, Hook::FromPod)
}

/// The verdict as a tc action.
#[inline(always)]
fn act<const SLOW: bool>(
    skb: &Skb,
    node: &KernelNode<SLOW>,
    decision: &Decision,
    hook: Hook,
) -> i32 {
    if host::is_verified() {
        skb.report(decision);
    }
    let mark = node.config.mark;
    decision.act(
        TC_ACT_OK,
        TC_ACT_SHOT,
        // On its way out a packet cannot enter the pod's side of the pair, so it goes by ours.
        |device| {
            if is_egress(hook) {
                skb.set_mark(mark);
                // SAFETY: plain helper calls; the kernel checks the device, and a null next hop tells it to
                // look that up.
                return unsafe { bpf_redirect_neigh(device, core::ptr::null_mut(), 0, 0) as i32 };
            }
            // SAFETY: as above.
            unsafe { bpf_redirect_peer(device, 0) as i32 }
        },
        |device| {
            skb.set_mark(mark);
            // SAFETY: as above; a null next hop tells the kernel to look it up.
            unsafe { bpf_redirect_neigh(device, core::ptr::null_mut(), 0, 0) as i32 }
        },
        || {
            if matches!(hook, Hook::FromPod) {
                // Straight to the pod: the hook that watches what the stack sends there is none of its business.
                // SAFETY: as above.
                return unsafe { bpf_redirect_peer(skb.ingress(), 0) as i32 };
            }
            skb.set_mark(mark);
            let (device, ingress) = (skb.device(), skb.ingress());
            let (device, flags) =
                if is_egress(hook) { (device, u64::from(BPF_F_INGRESS)) } else { (ingress, 0) };
            // SAFETY: as above.
            unsafe { bpf_redirect(device, flags) as i32 }
        },
    )
}

const fn is_egress(hook: Hook) -> bool {
    matches!(hook, Hook::ToPod | Hook::ToNetdev)
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
