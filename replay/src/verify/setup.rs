//! How the node under test is set up in a scenario.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use twinpath_control::maglev::Size;
use twinpath_control::tables::{Dispatch, Mode, Options};
use twinpath_sim::map::Eviction;
use twinpath_sim::node::Limits;

use crate::command::verify::LIMITS;

/// The options of a scenario, beside those that all scenarios share. The default is what a scenario has
/// that says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Setup {
    /// What pods send out of the cluster leaves with the node's address.
    pub masquerade: bool,
    /// The first and the last port that a source port is changed to; `None` for the usual ones.
    pub ports: Option<(u16, u16)>,
    /// The first and the last of those among them that are reserved.
    pub reserved: Option<(u16, u16)>,
    /// No address for pods that are their own backends.
    pub no_hairpin: bool,
    /// The way to other nodes is left to the stack.
    pub no_uplink: bool,
    /// The mark of packets that are done with; 0 for none.
    pub mark: u32,
    /// The largest IP packet that the node's device takes; 0 for no limit.
    pub mtu: u32,
    /// How packets from outside get to other nodes: the n-th of [`Way::ALL`].
    pub way: u8,
    /// The tables that evict are so small that they do ([`small`](super::small)).
    pub small: bool,
}

/// How packets from outside get to backends on other nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Where a service says nothing.
    pub mode: Mode,
    /// In direct server return.
    pub dispatch: Dispatch,
}

impl Way {
    const fn new(mode: Mode, dispatch: Dispatch) -> Self {
        Self { mode, dispatch }
    }

    /// All that scenario files can name: new ones go to the end.
    pub const ALL: [Self; 7] = [
        Self::new(Mode::Snat, Dispatch::Option),
        Self::new(Mode::Dsr, Dispatch::Option),
        Self::new(Mode::Hybrid, Dispatch::Option),
        Self::new(Mode::Dsr, Dispatch::Ipip),
        Self::new(Mode::Hybrid, Dispatch::Ipip),
        Self::new(Mode::Dsr, Dispatch::Geneve),
        Self::new(Mode::Hybrid, Dispatch::Geneve),
    ];

    /// Those that random scenarios draw from, by number.
    pub const DRAWN: &[u8] = &[0, 0, 0, 1, 2, 3, 4, 5, 6];
}

/// Room for a script in which tables evict all the time: for connections in twelve halves, three of which go
/// at once on a machine with two CPUs, and for two clients and two datagrams, which go one by one.
pub const fn small(eviction: Eviction) -> Limits {
    Limits { conntrack: 12, affinities: 2, fragments: 2, eviction, ..LIMITS }
}

impl Setup {
    /// The options of the control plane.
    pub fn options(&self) -> Options {
        let [usual, ..] = Way::ALL;
        let way = Way::ALL.get(usize::from(self.way)).copied().unwrap_or(usual);
        let default = Options::default();
        Options {
            // Small, since every change of endpoints writes it anew.
            maglev_size: Size::new(251).unwrap_or_default(),
            mode: way.mode,
            dispatch: way.dispatch,
            masquerade: self.masquerade,
            snat_ports: self.ports.map_or(default.snat_ports, |(first, last)| first..=last),
            reserved_ports: self.reserved.map(|(first, last)| first..=last).into_iter().collect(),
            hairpin4: if self.no_hairpin { Ipv4Addr::UNSPECIFIED } else { default.hairpin4 },
            hairpin6: if self.no_hairpin { Ipv6Addr::UNSPECIFIED } else { default.hairpin6 },
            mark: self.mark,
            ..Options::default()
        }
    }
}
