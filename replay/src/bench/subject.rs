//! Who is compared.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A way of carrying packets to services, or the least that carrying costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// Our programs.
    Twinpath,
    /// The bare programs of the same hooks: one lookup and one rewrite. The limit of what programs can do.
    Bare,
    /// The kernel's forwarding from end to end, no service and no rules in between.
    Forward,
    /// kube-proxy's iptables mode, by the kernel's older tables.
    IptablesLegacy,
    /// kube-proxy's iptables mode, by the iptables that writes to nf_tables.
    IptablesNft,
    /// kube-proxy's nftables mode.
    Nftables,
    /// kube-proxy's IPVS mode.
    Ipvs,
    /// IPVS without the rules and sets that kube-proxy has beside it, as no node runs it: counted in the
    /// guest alone.
    IpvsAlone,
}

impl Subject {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 8] = [
        Self::Twinpath,
        Self::Bare,
        Self::Forward,
        Self::IptablesLegacy,
        Self::IptablesNft,
        Self::Nftables,
        Self::Ipvs,
        Self::IpvsAlone,
    ];
    /// Those that can be asked for: what twinpath is compared with.
    pub const RIVALS: [Self; 4] =
        [Self::IptablesLegacy, Self::IptablesNft, Self::Nftables, Self::Ipvs];

    /// The name on the command line and in all output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Twinpath => "twinpath",
            Self::Bare => "bare",
            Self::Forward => "forward",
            Self::IptablesLegacy => "iptables-legacy",
            Self::IptablesNft => "iptables-nft",
            Self::Nftables => "nftables",
            Self::Ipvs => "ipvs",
            Self::IpvsAlone => "ipvs-alone",
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// No subject has this name.
#[derive(Debug, thiserror::Error)]
#[error("{0} is none of iptables-legacy, iptables-nft, nftables and ipvs")]
pub struct UnknownSubject(String);

impl FromStr for Subject {
    type Err = UnknownSubject;

    fn from_str(name: &str) -> Result<Self, UnknownSubject> {
        let known = Self::RIVALS.into_iter().find(|subject| subject.name() == name);
        known.ok_or_else(|| UnknownSubject(name.to_owned()))
    }
}
