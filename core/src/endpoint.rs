//! The endpoint table: whose address is whose, as far as this node cares.

use crate::bytes::pod;
use crate::verdict::{Exit, IfIndex};

pod! {
    /// Value of the endpoint table, 8 bytes; the key is the [`Address`](crate::address::Address). It has
    /// the pods of this node and the addresses of all nodes.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Endpoint {
        /// The host-side device of a pod of this node; else 0.
        pub device: IfIndex,
        /// A [`Kind`].
        kind: u32,
    }
}

/// What has an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Kind {
    /// A pod of this node.
    Pod = 0,
    /// This node.
    Host = 1,
    /// Another node.
    Node = 2,
}

impl Endpoint {
    /// An address of this node.
    pub const HOST: Self = Self { device: 0, kind: Kind::Host as u32 };
    /// An address of another node.
    pub const NODE: Self = Self { device: 0, kind: Kind::Node as u32 };

    /// The address of a pod behind this device.
    #[inline(always)]
    pub const fn pod(device: IfIndex) -> Self {
        Self { device, kind: Kind::Pod as u32 }
    }

    /// What has the address.
    #[inline(always)]
    pub const fn kind(&self) -> Kind {
        match self.kind {
            1 => Kind::Host,
            2 => Kind::Node,
            _ => Kind::Pod,
        }
    }

    /// Whether it is on this node.
    #[inline(always)]
    pub const fn is_here(&self) -> bool {
        self.kind != Kind::Node as u32
    }

    /// How packets reach it from here, where another node is reached by this device; 0 leaves the way
    /// there to the stack.
    #[inline(always)]
    pub const fn exit(&self, uplink: IfIndex) -> Exit {
        match self.kind() {
            Kind::Pod => Exit::pod(self.device),
            Kind::Node if uplink != 0 => Exit::device(uplink),
            Kind::Host | Kind::Node => Exit::STACK,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_there() {
        for (endpoint, kind, here, exits) in [
            (Endpoint::pod(5), Kind::Pod, true, [Exit::pod(5), Exit::pod(5)]),
            (Endpoint::HOST, Kind::Host, true, [Exit::STACK, Exit::STACK]),
            (Endpoint::NODE, Kind::Node, false, [Exit::STACK, Exit::device(2)]),
        ] {
            assert_eq!((endpoint.kind(), endpoint.is_here()), (kind, here));
            assert_eq!([0, 2].map(|uplink| endpoint.exit(uplink)), exits, "{kind:?}");
        }
    }
}
