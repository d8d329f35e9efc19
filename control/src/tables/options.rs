//! What the state of the cluster does not say.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use twinpath_core::service::{Algorithm, Forwarding};

use crate::maglev::Size;
use crate::model::{ForwardingMode, Protocol, Range, ServicePort};

/// What the state of the cluster does not say. The same on all nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How a backend is chosen at a cluster address where the service does not say.
    pub algorithm: Algorithm,
    /// The same at addresses that clients outside reach, too.
    pub external_algorithm: Algorithm,
    /// Entries of a slice of the Maglev table.
    pub maglev_size: Size,
    /// Seed of the Maglev tables and of the hash that indexes them.
    pub hash_seed: u32,
    /// How packets from outside reach backends on other nodes where the service does not say.
    pub mode: Mode,
    /// How the node of a backend is told of the frontend, in direct server return.
    pub dispatch: Dispatch,
    /// Whether what pods send out of the cluster leaves with the node's address.
    pub masquerade: bool,
    /// Where pods keep their own address nevertheless, beside the ranges of pods and the nodes.
    pub non_masquerade: Vec<Range>,
    /// The ports that a source port is changed to.
    pub snat_ports: RangeInclusive<u16>,
    /// Those among them that it is not changed to, beside node ports and host ports.
    pub reserved_ports: Vec<RangeInclusive<u16>>,
    /// The address under which a pod sees itself, where its service sends it back to it; unspecified to
    /// drop such connections.
    pub hairpin4: Ipv4Addr,
    /// The same in IPv6.
    pub hairpin6: Ipv6Addr,
    /// The mark of packets that are done with, which hooks further on let pass; 0 for none.
    pub mark: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::Random,
            external_algorithm: Algorithm::Maglev,
            maglev_size: Size::default(),
            hash_seed: 0,
            mode: Mode::default(),
            dispatch: Dispatch::default(),
            masquerade: false,
            non_masquerade: Vec::new(),
            snat_ports: 32_768..=65_535,
            reserved_ports: Vec::new(),
            // Link-local (RFC 3927), and unique local (RFC 4193) since a link-local one has a scope.
            hairpin4: Ipv4Addr::new(169, 254, 42, 1),
            hairpin6: Ipv6Addr::new(0xfd2a, 0x5dc8, 0x7e31, 0, 0, 0, 0, 0x2a01),
            mark: 0,
        }
    }
}

/// How packets from outside reach backends on other nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// With the source address of the node.
    #[default]
    Snat,
    /// With their own (direct server return).
    Dsr,
    /// TCP with its own, all else with the node's.
    Hybrid,
}

/// How the node of a backend is told of the frontend, in direct server return.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dispatch {
    /// By an IPv4 option or an IPv6 destination option.
    #[default]
    Option,
    /// By a tunnel (RFC 2003, RFC 2473) with the packet as the client sent it.
    Ipip,
    /// By an option of a Geneve tunnel (RFC 8926).
    Geneve,
}

impl Options {
    /// How packets from outside reach backends of this port on other nodes.
    pub const fn forwarding(&self, port: &ServicePort, protocol: Protocol) -> Forwarding {
        let is_dsr = match (port.forwarding, self.mode) {
            (Some(ForwardingMode::Snat), _) | (None, Mode::Snat) => false,
            (Some(ForwardingMode::Dsr), _) | (None, Mode::Dsr) => true,
            (None, Mode::Hybrid) => matches!(protocol, Protocol::Tcp),
        };
        match self.dispatch {
            _ if !is_dsr => Forwarding::Snat,
            Dispatch::Option => Forwarding::DsrOption,
            Dispatch::Ipip => Forwarding::DsrIpip,
            Dispatch::Geneve => Forwarding::DsrGeneve,
        }
    }
}
