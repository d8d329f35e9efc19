//! What kube-proxy would have written for a node, from the same state of the cluster as our own tables: to
//! carry the same traffic through both, and to measure both.
//!
//! | for | see |
//! |---|---|
//! | which endpoints rules send to | [`endpoints`] |
//! | its iptables mode | [`iptables`] |
//! | its nftables mode | [`nftables`] |
//! | its IPVS mode | [`ipvs`] |

pub mod endpoints;
pub mod iptables;
pub mod ipvs;
pub mod nftables;

#[cfg(test)]
mod tests;
