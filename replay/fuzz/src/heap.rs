//! How much memory a function takes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static USED: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, which counts for each thread.
pub struct Counted;

fn count(change: isize) {
    let used = USED.get().wrapping_add(change);
    USED.set(used);
    PEAK.set(PEAK.get().max(used));
}

// SAFETY: every call goes to the system's allocator as it came; counting does not allocate, since the
// counters need neither a lazy start nor an end.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(place, layout, size) }
    }
}

/// What a function gives, after which it must not have held more bytes at once than `cap` says, beyond
/// what was there before. Needs [`Counted`] as the allocator of the program: else nothing is counted.
pub fn capped<T>(cap: usize, function: impl FnOnce() -> T) -> T {
    let before = USED.get();
    let outer = PEAK.replace(before);
    let value = function();
    let peak = PEAK.replace(PEAK.get().max(outer)) - before;
    assert!(peak <= cap as isize, "{peak} bytes of memory at once, where {cap} should do");
    value
}
