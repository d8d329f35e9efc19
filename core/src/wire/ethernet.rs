//! Ethernet II and 802.1Q (IEEE 802.3, 802.1Q, 802.1ad).

use crate::bytes::{Be16, pod};

/// Length of an Ethernet header without tags.
pub const LENGTH: usize = 14;
/// Offset of the EtherType.
pub const ETHERTYPE: usize = 12;
/// EtherType of IPv4.
pub const IPV4: Be16 = Be16::new(0x0800);
/// EtherType of IPv6.
pub const IPV6: Be16 = Be16::new(0x86dd);
/// EtherType of an 802.1Q tag.
pub const VLAN: Be16 = Be16::new(0x8100);
/// EtherType of an outer 802.1ad tag.
pub const PROVIDER_VLAN: Be16 = Be16::new(0x88a8);

pod! {
    /// An 802.1Q tag behind its EtherType.
    #[derive(Clone, Copy, Debug)]
    pub struct Tag {
        /// Priority, drop eligibility and VLAN number.
        pub control: Be16,
        /// What follows.
        pub ethertype: Be16,
    }
}

/// Length of a tag.
pub const TAG_LENGTH: usize = 4;
