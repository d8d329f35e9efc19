//! The rules of kube-proxy's iptables mode, as `iptables-save` and `ip6tables-save` print them, of any of its
//! versions.
//!
//! | rules | say |
//! |---|---|
//! | `KUBE-SERVICES`, in `nat` | the addresses of services, and by their comments which kind each is |
//! | `KUBE-NODEPORTS` | node ports; in `filter`, ports of health checks |
//! | `KUBE-SVC-`, `KUBE-SVL-` | the endpoints of the cluster, and of the node; affinity; the range of pods |
//! | `KUBE-EXT-`, `KUBE-XLB-` (older) | the external policy |
//! | `KUBE-FW-` | source ranges |
//! | `KUBE-SEP-` | an endpoint |
//! | `REJECT` and `DROP` in `KUBE-SERVICES`, `KUBE-EXTERNAL-SERVICES` | services without endpoints |
//!
//! Rules of a node do not say its name, its addresses, nor where endpoints run, but for those that a Local
//! policy keeps to the node. Endpoints that are not ready are not there at all.

use std::collections::{BTreeMap, BTreeSet};

use self::dump::Dump;
use self::line::rule;
use super::build::Cluster;
use super::{Imported, count, some};

mod dump;
mod line;
mod services;

/// What was not used.
#[derive(Debug, Default)]
struct Rest {
    /// Rules of chains that are not kube-proxy's, by the first word of the chain's name.
    foreign: BTreeMap<String, usize>,
    /// Lines that are cut, or no rules.
    broken: Vec<usize>,
    /// Rules of kube-proxy that say nothing that is known here.
    unknown: BTreeSet<usize>,
    /// Endpoints whose address is not to be seen.
    lost: BTreeSet<String>,
    /// Ports whose endpoints have not the same share.
    uneven: BTreeSet<String>,
    /// Chains that are jumped to and are not there.
    missing: BTreeSet<String>,
    /// Chains of services that nothing jumps to.
    unused: BTreeSet<String>,
}

/// Reads the rules of a node of this name. `file` is the name of the text.
pub fn import(file: &str, text: &str, node: &str) -> Imported {
    let mut rest = Rest::default();
    let (dumps, cut) = dumps(text, &mut rest);
    let rules: usize = dumps.iter().map(Dump::rules).sum();
    let mut cluster = Cluster::default();
    for dump in &dumps {
        services::add(dump, &mut cluster, &mut rest);
    }
    let mut notes = vec![format!(
        "iptables rules of kube-proxy: {}, from {}",
        cluster.counts(),
        count(rules, "rule")
    )];
    match cluster.pod_ranges.iter().map(ToString::to_string).collect::<Vec<_>>() {
        ranges if ranges.is_empty() => {}
        ranges => notes.push(format!(
            "pods are taken to be in {}, the cluster range of kube-proxy",
            ranges.join(", ")
        )),
    }
    let assumed = format!(
        "rules do not name their node, which is called {node} here, nor its addresses, nor where endpoints run{}",
        if cluster.elsewhere.is_empty() {
            ""
        } else {
            ", but for those of services with a Local policy"
        },
    );
    notes.push(assumed);
    let objects = cluster.objects(file, node, &mut notes);
    notes.extend(rest.notes());
    if let Some(table) = cut {
        notes.push(format!(
            "the text is cut: no COMMIT after *{table}; take it once more with `iptables-save`"
        ));
    }
    if objects.services.is_empty() {
        notes.push("no service was found; give the whole output of `iptables-save` of a node with kube-proxy in its iptables mode, or `ipvsadm -Sn` where it is in its IPVS mode".into());
    }
    Imported { objects, notes }
}

/// Rules by chain, apart for every run of `iptables-save`: chains of both families have the same names. And
/// the table that has no end.
fn dumps(text: &str, rest: &mut Rest) -> (Vec<Dump>, Option<String>) {
    let mut dumps = vec![Dump::default()];
    let mut table: Option<String> = None;
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim().trim_start_matches('\u{feff}');
        if let Some(name) = line.strip_prefix('*') {
            // Of one run every table is there once.
            if !seen.insert(name.to_owned()) {
                seen = [name.to_owned()].into();
                dumps.push(Dump::default());
            }
            table = Some(name.to_owned());
            continue;
        }
        if line == "COMMIT" {
            table = None;
            continue;
        }
        let skipped = ["#", ":", "-N ", "-P "].iter().any(|start| line.starts_with(start));
        if line.is_empty() || skipped {
            continue;
        }
        // `[12:3456] -A ...`, with the counters of packets and bytes.
        let body = match line.strip_prefix('[').and_then(|line| line.split_once("] ")) {
            Some((_, body)) => body,
            None => line,
        };
        let parsed = if body.starts_with("-A ") { rule(body, number) } else { None };
        let Some(rule) = parsed else {
            rest.broken.push(number);
            continue;
        };
        if !rule.chain.starts_with("KUBE-") {
            // Those that jump to kube-proxy's chains are its own.
            if rule.target.starts_with("KUBE-") {
                continue;
            }
            *rest.foreign.entry(first_word(&rule.chain)).or_default() += 1;
            continue;
        }
        if let Some(dump) = dumps.last_mut() {
            dump.add(rule);
        }
    }
    (dumps, table)
}

/// `cali` of `cali-FORWARD`.
fn first_word(chain: &str) -> String {
    chain.split(['-', '_', ':']).next().unwrap_or_default().to_owned()
}

impl Rest {
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if !self.uneven.is_empty() {
            notes.push(format!(
                "{}: the rules do not give every endpoint the same share (1/n, 1/(n-1), ...), which is what is taken from here on",
                some(&self.uneven)
            ));
        }
        if !self.lost.is_empty() {
            notes.push(format!(
                "{}: no address in the DNAT rule, so {} left out",
                some(&self.lost),
                count(self.lost.len(), "endpoint")
            ));
        }
        if !self.missing.is_empty() {
            notes.push(format!("{}: jumped to, and not in the text", some(&self.missing)));
        }
        if !self.unused.is_empty() {
            notes.push(format!("ignored: chains that nothing jumps to: {}", some(&self.unused)));
        }
        if !self.unknown.is_empty() {
            let first = self.unknown.first().copied().unwrap_or_default();
            let rules = count(self.unknown.len(), "rule");
            notes.push(format!(
                "not understood: {rules} of kube-proxy's chains, the first in line {first}"
            ));
        }
        if let Some(first) = self.broken.first() {
            let lines = count(self.broken.len(), "line");
            notes.push(format!(
                "not understood: {lines} that are no whole rules, the first is line {first}"
            ));
        }
        if !self.foreign.is_empty() {
            let all: usize = self.foreign.values().sum();
            let each: Vec<_> = self.foreign.iter().map(|(name, n)| format!("{name} {n}")).collect();
            let rules = count(all, "rule");
            notes.push(format!(
                "ignored: {rules} of chains that are not kube-proxy's: {}",
                some(&each)
            ));
        }
        notes
    }
}

#[cfg(test)]
mod tests;
