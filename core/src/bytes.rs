//! Plain data: what may be copied to and from packets and maps as bytes.
//!
//! The only file of the core with `unsafe`. Keys and values of maps are compared byte by byte by the
//! kernel, so a type is [`Pod`] only when every one of its bytes belongs to a field.

use core::cell::UnsafeCell;
use core::mem::{MaybeUninit, size_of};

/// A type that is nothing but its bytes.
///
/// # Safety
/// Any bit pattern is a value, there is no padding, no pointer and no `Drop`.
pub unsafe trait Pod: Sized + 'static {
    /// The value whose bytes are all zero.
    #[inline(always)]
    fn zeroed() -> Self {
        // SAFETY: any bit pattern is a value of a `Pod` type.
        unsafe { MaybeUninit::zeroed().assume_init() }
    }

    /// The bytes of the value, in memory order.
    #[inline(always)]
    fn as_bytes(&self) -> &[u8] {
        // SAFETY: a `Pod` type has no padding, so all its bytes are initialised.
        unsafe { core::slice::from_raw_parts((&raw const *self).cast(), size_of::<Self>()) }
    }

    /// The value at the front of `bytes`; `None` where they are too few. Needs no alignment.
    #[inline(always)]
    fn read_from(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..size_of::<Self>())?;
        // SAFETY: the length was checked, the read is unaligned, any bit pattern is a value.
        Some(unsafe { bytes.as_ptr().cast::<Self>().read_unaligned() })
    }
}

// SAFETY: integers have no padding and any bit pattern is a value.
unsafe impl Pod for u8 {}
// SAFETY: as above.
unsafe impl Pod for u16 {}
// SAFETY: as above.
unsafe impl Pod for u32 {}
// SAFETY: as above.
unsafe impl Pod for u64 {}
// SAFETY: an array of `Pod` has no padding between its items.
unsafe impl<T: Pod, const N: usize> Pod for [T; N] {}

/// Declares a `repr(C)` struct and checks, at compile time, that it is [`Pod`]: every field is, and
/// their sizes add up to its size.
macro_rules! pod {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$fmeta:meta])* $vis:vis $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[repr(C)]
        pub struct $name { $($(#[$fmeta])* $vis $field: $type,)* }

        const _: () = {
            const fn is_pod<T: $crate::bytes::Pod>() -> usize { size_of::<T>() }
            assert!(size_of::<$name>() == 0 $(+ is_pod::<$type>())*, "padding");
        };

        #[allow(unsafe_code)]
        // SAFETY: every field is `Pod` and there is no padding, as asserted above.
        unsafe impl $crate::bytes::Pod for $name {}
    };
}
pub(crate) use pod;

/// A 16-bit number in network byte order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Be16(u16);

// SAFETY: transparent over `u16`.
unsafe impl Pod for Be16 {}

impl Be16 {
    /// From host order.
    #[inline(always)]
    pub const fn new(value: u16) -> Self {
        Self(value.to_be())
    }

    /// In host order.
    #[inline(always)]
    pub const fn get(self) -> u16 {
        u16::from_be(self.0)
    }

    /// As it lies in memory, for checksum arithmetic (which does not care about byte order).
    #[inline(always)]
    pub const fn raw(self) -> u16 {
        self.0
    }

    /// From the value as it lies in memory.
    #[inline(always)]
    pub const fn from_raw(raw: u16) -> Self {
        Self(raw)
    }
}

impl core::fmt::Debug for Be16 {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.get().fmt(f)
    }
}

/// A field that several CPUs read and write without a lock.
///
/// The kernel shares map values between CPUs and the BPF target has no 32-bit atomics, so reads and
/// writes are volatile and a lost update is accepted; each user of the type says why that is fine.
#[repr(transparent)]
pub struct Racy<T>(UnsafeCell<T>);

// SAFETY: transparent over a `Pod` type.
unsafe impl<T: Pod + Copy> Pod for Racy<T> {}

impl<T: Pod + Copy> Racy<T> {
    /// A field with this value.
    #[inline(always)]
    pub const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// The value now.
    #[inline(always)]
    pub fn get(&self) -> T {
        // SAFETY: the pointer is valid and aligned, and no reference to the inside is ever given out.
        unsafe { self.0.get().read_volatile() }
    }

    /// Puts a value in.
    #[inline(always)]
    pub fn set(&self, value: T) {
        // SAFETY: as in `get`.
        unsafe { self.0.get().write_volatile(value) }
    }
}

impl<T: Pod + Copy> Clone for Racy<T> {
    #[inline(always)]
    fn clone(&self) -> Self {
        Self::new(self.get())
    }
}

impl<T: Pod + Copy + PartialEq> PartialEq for Racy<T> {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl<T: Pod + Copy + core::fmt::Debug> core::fmt::Debug for Racy<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.get().fmt(f)
    }
}
