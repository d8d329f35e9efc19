//! The endpoint table: which addresses live on this node, and behind which device.

use crate::bytes::pod;
use crate::verdict::{Exit, IfIndex};

pod! {
    /// Value of the endpoint table, 4 bytes; the key is the [`Address`](crate::address::Address).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Endpoint {
        /// The host-side device of the pod; 0 for an address of the node itself.
        pub device: IfIndex,
    }
}

impl Endpoint {
    /// An address of the node itself.
    pub const HOST: Self = Self { device: 0 };

    /// How packets reach it.
    #[inline(always)]
    pub const fn exit(&self) -> Exit {
        if self.device == 0 { Exit::Stack } else { Exit::Pod(self.device) }
    }
}
