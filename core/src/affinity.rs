//! Session affinity: the backend that a client was given last.

use crate::address::Address;
use crate::backend::BackendId;
use crate::bytes::{Racy, pod};
use crate::seam::Nanos;
use crate::service::ServiceId;

pod! {
    /// Key of the affinity table, 24 bytes: a client of a service port.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
    pub struct Client {
        /// Its address.
        pub address: Address,
        /// The service port.
        pub service: ServiceId,
        pad: [u8; 4],
    }
}

impl Client {
    /// A client of a service port.
    #[inline(always)]
    pub const fn new(address: Address, service: ServiceId) -> Self {
        Self { address, service, pad: [0; 4] }
    }
}

pod! {
    /// Value of the affinity table, 16 bytes. Two CPUs may choose for one client at once; the last one
    /// stays, as if its packet had come later.
    #[derive(Clone, PartialEq, Debug)]
    pub struct Affinity {
        used: Racy<u64>,
        backend: Racy<u32>,
        pad: [u8; 4],
    }
}

impl Affinity {
    /// The client was given this backend now.
    #[inline(always)]
    pub const fn new(backend: BackendId, now: Nanos) -> Self {
        Self { used: Racy::new(now), backend: Racy::new(backend), pad: [0; 4] }
    }

    /// The backend, where the client was not idle for so many seconds. The instant at which they have
    /// passed is one too late.
    #[inline(always)]
    pub fn backend(&self, now: Nanos, seconds: u32) -> Option<BackendId> {
        let until = self.used.get().wrapping_add((seconds as Nanos).wrapping_mul(1_000_000_000));
        if now < until { Some(self.backend.get()) } else { None }
    }

    /// Whether it is this backend.
    #[inline(always)]
    pub fn is_of(&self, backend: BackendId) -> bool {
        self.backend.get() == backend
    }

    /// The backend that was given last, however long ago.
    #[inline(always)]
    pub fn last(&self) -> BackendId {
        self.backend.get()
    }

    /// When the client sent last.
    #[inline(always)]
    pub fn used(&self) -> Nanos {
        self.used.get()
    }

    /// The client sends now.
    #[inline(always)]
    pub fn touch(&self, now: Nanos) {
        self.used.set(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    #[test]
    fn for_so_many_seconds_after_the_last_use() {
        let affinity = Affinity::new(3, 5 * SECOND);
        for (now, expected) in [(5, Some(3)), (14, Some(3)), (15, None), (1 << 30, None)] {
            assert_eq!(affinity.backend(now * SECOND, 10), expected, "at {now} s");
        }
        assert_eq!(affinity.backend(15 * SECOND - 1, 10), Some(3));
        affinity.touch(15 * SECOND);
        assert_eq!(affinity.backend(25 * SECOND - 1, 10), Some(3));
        assert_eq!(affinity.backend(25 * SECOND, 10), None);
        // The longest that Kubernetes takes is a day; the longest of the type does not wrap either.
        assert_eq!(affinity.backend(15 * SECOND + 86_400 * SECOND - 1, 86_400), Some(3));
        assert_eq!(affinity.backend(1 << 61, u32::MAX), Some(3));
    }

    #[test]
    fn a_clock_that_is_behind_keeps_it() {
        assert_eq!(Affinity::new(3, 5 * SECOND).backend(5 * SECOND - 1, 10), Some(3));
    }
}
