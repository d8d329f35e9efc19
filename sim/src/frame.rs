//! A packet in userspace.

use twinpath_core::bytes::{Be16, Pod};
use twinpath_core::checksum::Fix;
use twinpath_core::conntrack::LinkCache;
use twinpath_core::drop_reason::DropReason;
use twinpath_core::seam::{At, Gap, Packet};
use twinpath_core::tuple::Tuple;
use twinpath_core::verdict::IfIndex;
use twinpath_core::wire::{ethernet, ipv4, ipv6};

/// Bytes from the Ethernet header on, and whether the transport checksum among them is complete.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Frame {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The kernel's `CHECKSUM_PARTIAL`: the field holds only the sum of the pseudo-header, and the
    /// device or the kernel will complete it.
    pub partial: bool,
}

impl Frame {
    /// A frame with a complete checksum, or with a wrong one.
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, partial: false }
    }

    /// Replaces the bytes, keeping the memory. The checksum counts as complete.
    ///
    /// Behind the Ethernet header in pieces of 32 bytes, so that no address or port lies in two of them: a
    /// processor that reads across two writes waits until both are in the cache, and with them for all that
    /// it does before, such as fetching the last packet's connection from memory.
    #[inline(always)]
    pub fn set(&mut self, bytes: &[u8]) {
        self.bytes.clear();
        self.partial = false;
        let (Some((link, rest)), true) = (bytes.split_first_chunk::<14>(), bytes.len() <= 256)
        else {
            self.bytes.extend_from_slice(bytes);
            return;
        };
        self.bytes.extend_from_slice(link);
        let (pieces, tail) = rest.as_chunks::<32>();
        for piece in pieces {
            self.bytes.extend_from_slice(piece);
        }
        self.bytes.extend_from_slice(tail);
    }
}

impl Frame {
    /// Where a gap is. As in the kernel, there is none in a frame with tags.
    fn gap(&self, gap: Gap) -> Option<usize> {
        let ethertype: Be16 = self.load(At(ethernet::ETHERTYPE)).ok()?;
        let fixed = match ethertype {
            ethernet::IPV4 => ipv4::MIN_LENGTH,
            ethernet::IPV6 => ipv6::LENGTH,
            _ => return None,
        };
        let at = ethernet::LENGTH + if matches!(gap, Gap::Network) { fixed } else { 0 };
        (at <= self.bytes.len()).then_some(at)
    }
}

impl Packet for Frame {
    #[inline(always)]
    fn length(&self) -> usize {
        self.bytes.len()
    }

    #[inline(always)]
    fn load<T: Pod>(&self, at: At) -> Result<T, DropReason> {
        self.bytes.get(at.0..).and_then(T::read_from).ok_or(DropReason::InvalidPacket)
    }

    #[inline(always)]
    fn store<T: Pod>(&mut self, at: At, value: T) -> Result<(), DropReason> {
        let bytes = value.as_bytes();
        let place = self.bytes.get_mut(at.0..at.0 + bytes.len()).ok_or(DropReason::WriteError)?;
        place.copy_from_slice(bytes);
        Ok(())
    }

    #[inline(always)]
    fn route(&mut self, _: IfIndex, _: &Tuple, _: &LinkCache) -> bool {
        true
    }

    fn grow(&mut self, gap: Gap, bytes: usize) -> Result<(), DropReason> {
        let at = self.gap(gap).ok_or(DropReason::WriteError)?;
        self.bytes.splice(at..at, std::iter::repeat_n(0, bytes));
        Ok(())
    }

    fn shrink(&mut self, gap: Gap, bytes: usize) -> Result<(), DropReason> {
        let at = self.gap(gap).ok_or(DropReason::WriteError)?;
        if self.bytes.len() < at + bytes {
            return Err(DropReason::WriteError);
        }
        self.bytes.drain(at..at + bytes);
        Ok(())
    }

    fn trim(&mut self, length: usize) -> Result<(), DropReason> {
        if length > self.bytes.len() {
            return Err(DropReason::WriteError);
        }
        self.bytes.truncate(length);
        Ok(())
    }

    #[inline(always)]
    fn mend(&mut self, checksum: At, fix: Fix) -> Result<(), DropReason> {
        let field: u16 = self.load(checksum).map_err(|_| DropReason::WriteError)?;
        let field = if self.partial { fix.apply_partial(field) } else { fix.apply(field) };
        self.store(checksum, field)
    }
}
