//! The chains of kube-proxy.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::line::Rule;

/// The chains of one run of `iptables-save`, of all its tables: those that have the same name in two of them
/// are told apart by what their rules do.
#[derive(Debug, Default)]
pub(super) struct Dump {
    chains: BTreeMap<String, Vec<Rule>>,
}

/// What a chain is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Chooses an endpoint of the cluster.
    Cluster,
    /// Chooses an endpoint of the node.
    Local,
    /// For who comes from outside.
    External,
    /// The same in older versions, of services with the Local policy; chooses an endpoint of the node, too.
    ExternalLocal,
    /// Lets through who may use the load balancer.
    Firewall,
    /// Is an endpoint.
    Endpoint,
}

impl Role {
    /// What its name says.
    pub(super) fn of(chain: &str) -> Option<Self> {
        [
            ("KUBE-SVC-", Self::Cluster),
            ("KUBE-SVL-", Self::Local),
            ("KUBE-EXT-", Self::External),
            ("KUBE-XLB-", Self::ExternalLocal),
            ("KUBE-FW-", Self::Firewall),
            ("KUBE-SEP-", Self::Endpoint),
        ]
        .into_iter()
        .find_map(|(start, role)| chain.starts_with(start).then_some(role))
    }
}

/// The chains that say nothing of services.
pub(super) fn is_general(chain: &str) -> bool {
    [
        "KUBE-MARK-MASQ",
        "KUBE-MARK-DROP",
        "KUBE-POSTROUTING",
        "KUBE-FORWARD",
        "KUBE-FIREWALL",
        "KUBE-PROXY-FIREWALL",
        "KUBE-PROXY-CANARY",
        "KUBE-KUBELET-CANARY",
        "KUBE-IPTABLES-HINT",
    ]
    .contains(&chain)
}

impl Dump {
    pub(super) fn add(&mut self, rule: Rule) {
        self.chains.entry(rule.chain.clone()).or_default().push(rule);
    }

    pub(super) fn rules(&self) -> usize {
        self.chains.values().map(Vec::len).sum()
    }

    pub(super) fn chains(&self) -> impl Iterator<Item = (&str, &[Rule])> {
        self.chains.iter().map(|(name, rules)| (name.as_str(), rules.as_slice()))
    }

    /// The rules of a chain; `None` if it has none.
    pub(super) fn chain(&self, name: &str) -> Option<&[Rule]> {
        self.chains.get(name).map(Vec::as_slice)
    }

    /// Whether its addresses are of IPv6.
    pub(super) fn is_ipv6(&self) -> bool {
        let rules = || self.chains.values().flatten();
        let found = rules().find_map(|rule| {
            let range = rule.destination.or(rule.source.map(|(range, _)| range))?;
            Some(range.address.is_ipv6())
        });
        found.unwrap_or(false)
    }

    /// Where a chain of an endpoint sends to; `jump` is the rule that jumps to it.
    pub(super) fn endpoint(&self, jump: &Rule) -> Option<SocketAddr> {
        let rules = self.chain(&jump.target).unwrap_or_default();
        let to = rules.iter().find_map(|rule| rule.to.as_deref()?.parse().ok());
        // Some versions print `--to-destination :0` for rules of the other variant of iptables.
        to.or_else(|| jump.comment.rsplit_once(" -> ")?.1.parse().ok())
    }

    /// The rules of a chain by which it chooses: those that follow from affinity, and all others.
    pub(super) fn choices(&self, chain: &str) -> (Vec<&Rule>, Vec<&Rule>) {
        let rules = self.chain(chain).unwrap_or_default().iter();
        let jumps = rules.filter(|rule| Role::of(&rule.target) == Some(Role::Endpoint));
        jumps.partition(|rule| rule.recent.is_some())
    }
}

/// Whether rules give each endpoint the same share: 1/n, 1/(n-1), and so on to the last, for all the rest.
pub(super) fn is_even(choices: &[&Rule]) -> bool {
    choices.iter().rev().zip(1_u32..).all(|(rule, left)| {
        let chance = rule.probability.unwrap_or(1.0);
        // Older versions write five digits.
        (chance - 1.0 / f64::from(left)).abs() < 1.1e-5
    })
}
