//! Time, randomness and counters: the kernel's, or virtual ones under a verifier.

use aya_ebpf::helpers::{bpf_get_prandom_u32, generated::bpf_jiffies64};
use twinpath_core::hash;
use twinpath_core::seam::{Host, Metric, Nanos};

use crate::maps::{CLOCK, METRICS};

/// Set by the loader, before the program is loaded, to run on virtual time and seeded randomness: to
/// [`TEST_RUN`], or to another number where the program is attached. A constant to the kernel's verifier, which removes the branch not taken.
#[unsafe(no_mangle)]
static VERIFIED: u32 = 0;

/// Nanoseconds in a tick of the kernel's timer; set by the loader, which can ask for it.
#[unsafe(no_mangle)]
static TICK: u64 = 4_000_000;

/// What the kernel's tick counter was at boot; set by the loader.
#[unsafe(no_mangle)]
static TICKS_AT_BOOT: u64 = 0;

/// The number for a test run, which has no devices.
const TEST_RUN: u32 = 1;

/// Whether this is a verified run.
#[inline(always)]
pub(crate) fn is_verified() -> bool {
    // SAFETY: a read of a static. Volatile, because the loader changes it after compilation.
    unsafe { core::ptr::read_volatile(&raw const VERIFIED) != 0 }
}

/// Whether this is a verified run that nothing leaves.
#[inline(always)]
pub(crate) fn is_test_run() -> bool {
    // SAFETY: as above.
    unsafe { core::ptr::read_volatile(&raw const VERIFIED) == TEST_RUN }
}

/// The virtual clock and dice of a verified run.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Clock {
    /// The time.
    pub now: Nanos,
    /// The seed of the random sequence.
    pub seed: u64,
    /// How many numbers were drawn.
    pub drawn: u64,
}

/// The kernel as a [`Host`].
pub(crate) struct Kernel;

impl Host for Kernel {
    #[inline(always)]
    fn now(&self) -> Nanos {
        if is_verified() {
            return CLOCK.get(0).map_or(0, |clock| clock.now);
        }
        // A tick is coarse, but timeouts are in seconds, and the kernel inlines this helper to a load where a
        // clock costs a tenth of the whole fast road.
        // SAFETY: plain reads of statics, volatile as above, and a plain helper call.
        unsafe {
            let tick = core::ptr::read_volatile(&raw const TICK);
            let at_boot = core::ptr::read_volatile(&raw const TICKS_AT_BOOT);
            bpf_jiffies64().wrapping_sub(at_boot).wrapping_mul(tick)
        }
    }

    #[inline(always)]
    fn random(&mut self) -> u32 {
        if is_verified() {
            let Some(clock) = CLOCK.get_ptr_mut(0) else { return 0 };
            // SAFETY: the pointer is to a live array element; a verified run is on one CPU.
            let clock = unsafe { &mut *clock };
            let number = hash::random(clock.seed, clock.drawn);
            clock.drawn = clock.drawn.wrapping_add(1);
            return number;
        }
        // SAFETY: a plain helper call.
        unsafe { bpf_get_prandom_u32() }
    }

    #[inline(always)]
    fn count(&mut self, metric: Metric) {
        if let Some(slot) = METRICS.get_ptr_mut(metric.0) {
            // SAFETY: the pointer is to this CPU's element, which nothing else writes.
            unsafe { *slot = (*slot).wrapping_add(1) };
        }
    }
}
