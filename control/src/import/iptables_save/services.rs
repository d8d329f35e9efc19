//! Services from chains.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::Rest;
use super::dump::{Dump, Role, is_even, is_general};
use super::line::Rule;
use crate::import::build::{Cluster, Port, Service, add as add_once};
use crate::model::{Protocol, Range};
use crate::objects::ObjectName;

/// The longest affinity, in seconds.
const MAX_AFFINITY: u32 = 86_400;

/// What names a port: its service, its own name, its protocol.
type Key = (ObjectName, String, Protocol);

/// Adds the services of one run of `iptables-save`.
pub(super) fn add(dump: &Dump, cluster: &mut Cluster, rest: &mut Rest) {
    let mut reader =
        Reader { dump, cluster, rest, is_ipv6: dump.is_ipv6(), entries: BTreeMap::new() };
    for (chain, rules) in dump.chains() {
        match chain {
            "KUBE-SERVICES" | "KUBE-EXTERNAL-SERVICES" | "KUBE-NODEPORTS" => {
                rules.iter().for_each(|rule| reader.entry(rule));
            }
            _ if is_general(chain) || Role::of(chain).is_some() => {}
            _ => reader.rest.unknown.extend(rules.iter().map(|rule| rule.line)),
        }
    }
    let entries = std::mem::take(&mut reader.entries);
    let mut reached = BTreeSet::new();
    for (key, chains) in &entries {
        reached.extend(reader.follow(key, chains));
    }
    // Chains that were left behind when their service went.
    for (chain, _) in dump.chains() {
        let role = Role::of(chain);
        if role.is_some_and(|role| role != Role::Endpoint) && !reached.contains(chain) {
            reader.rest.unused.insert(chain.to_owned());
        }
    }
}

struct Reader<'a> {
    dump: &'a Dump,
    cluster: &'a mut Cluster,
    rest: &'a mut Rest,
    is_ipv6: bool,
    /// The chains that a port is entered by.
    entries: BTreeMap<Key, BTreeSet<String>>,
}

impl Reader<'_> {
    fn service(&mut self, key: &Key) -> &mut Service {
        self.cluster.services.entry(key.0.clone()).or_default()
    }

    fn port(&mut self, key: &Key) -> &mut Port {
        let is_ipv6 = self.is_ipv6;
        let ports = &mut self.service(key).ports;
        let new = || Port { is_ipv6, ..Port::default() };
        ports.entry((key.1.clone(), key.2)).or_insert_with(new)
    }

    /// A rule of a chain that all services share.
    fn entry(&mut self, rule: &Rule) {
        let unneeded = ["KUBE-NODEPORTS", "RETURN"].contains(&rule.target.as_str());
        if rule.target == "KUBE-MARK-MASQ" {
            return self.pods(rule);
        }
        if !(unneeded || self.frontend(rule).is_some()) {
            self.rest.unknown.insert(rule.line);
        }
    }

    /// A place where a service is reached; `None` if that is not understood.
    fn frontend(&mut self, rule: &Rule) -> Option<()> {
        let role = Role::of(&rule.target);
        let ends = ["REJECT", "DROP"].contains(&rule.target.as_str());
        let number = rule.port.filter(|number| *number != 0)?;
        let key = key(rule)?;
        if rule.target == "ACCEPT" && rule.comment.contains("health check") {
            let named = name(&rule.comment)?.0;
            self.cluster.services.entry(named).or_default().health_check = Some(number);
            return Some(());
        }
        if !ends && role.is_none_or(|role| role == Role::Endpoint) {
            return None;
        }
        let is_node_port = rule.chain == "KUBE-NODEPORTS" || rule.destination.is_none();
        if is_node_port {
            self.port(&key).node_port = Some(number);
        } else {
            self.address(rule, &key, number, role)?;
        }
        if ends {
            let local = rule.comment.contains("no local endpoints") || rule.target == "DROP";
            if local {
                let is_ipv6 = self.is_ipv6;
                self.port(&key).only_elsewhere.insert(is_ipv6);
            }
            let service = self.service(&key);
            if rule.chain == "KUBE-SERVICES" && !is_node_port {
                service.internal_local |= local;
            } else {
                service.external_local |= local;
            }
        } else {
            self.entries.entry(key).or_default().insert(rule.target.clone());
        }
        Some(())
    }

    /// A frontend with an address.
    fn address(&mut self, rule: &Rule, key: &Key, number: u16, role: Option<Role>) -> Option<()> {
        let range = rule.destination?;
        if range != Range::of(range.address) {
            return None;
        }
        let address = range.address.to_canonical();
        self.port(key).number = Some(number);
        let what = rule.comment.split_once(char::is_whitespace).map_or("", |(_, what)| what.trim());
        let service = self.service(key);
        let of_family = |ip: &std::net::IpAddr| ip.is_ipv4() == address.is_ipv4();
        let known = service.cluster.iter().find(|ip| of_family(ip)).copied();
        let by_chain = rule.chain == "KUBE-SERVICES" && known.is_none_or(|known| known == address);
        let is_cluster = match what {
            "cluster IP" => true,
            "external IP" | "loadbalancer IP" => false,
            _ => by_chain && matches!(role, None | Some(Role::Cluster | Role::Local)),
        };
        if is_cluster {
            if matches!(role, Some(Role::Local)) {
                service.internal_local = true;
            }
            add_once(&mut service.cluster, address);
        } else if what == "loadbalancer IP" || role == Some(Role::Firewall) {
            service.external.retain(|other| *other != address);
            add_once(&mut service.balanced, address);
        } else if !service.balanced.contains(&address) && !service.cluster.contains(&address) {
            add_once(&mut service.external, address);
        }
        Some(())
    }

    /// `! -s 10.244.0.0/16 ... -j KUBE-MARK-MASQ`: what comes from elsewhere than from pods.
    fn pods(&mut self, rule: &Rule) {
        if let Some((range, true)) = rule.source {
            self.cluster.pod_ranges.insert(range);
        }
    }

    /// Goes through the chains of a port. Gives those that it has met.
    fn follow(&mut self, key: &Key, chains: &BTreeSet<String>) -> BTreeSet<String> {
        let dump = self.dump;
        let (mut cluster, mut local) = (BTreeSet::new(), BTreeSet::new());
        let mut met: BTreeSet<String> = BTreeSet::new();
        let mut ahead: Vec<String> = chains.iter().cloned().collect();
        let (mut is_kept, mut is_broken) = (false, false);
        while let Some(chain) = ahead.pop() {
            let Some(role) = Role::of(&chain).filter(|_| !met.contains(&chain)) else { continue };
            met.insert(chain.clone());
            let Some(rules) = dump.chain(&chain) else {
                // A chain for outside may be empty: of the Local policy and no endpoint here.
                is_broken |= role == Role::Cluster;
                continue;
            };
            self.chain(key, role, &chain);
            is_kept |= role == Role::ExternalLocal || role == Role::Local;
            for end in self.ends(key, &chain) {
                let found = if role == Role::Cluster { &mut cluster } else { &mut local };
                found.insert(end);
            }
            let jumps = rules.iter().map(|rule| &rule.target);
            ahead.extend(
                jumps
                    .filter(|target| Role::of(target).is_some_and(|role| role != Role::Endpoint))
                    .cloned(),
            );
        }
        if is_broken {
            let of = met.iter().filter(|name| dump.chain(name).is_none());
            self.rest.missing.extend(of.cloned());
        }
        let service = self.service(key);
        is_kept |= service.external_local || service.internal_local;
        if is_kept {
            self.cluster.here.extend(local.iter().map(SocketAddr::ip));
            let others = cluster.iter().map(SocketAddr::ip);
            let here: BTreeSet<_> = local.iter().map(SocketAddr::ip).collect();
            self.cluster.elsewhere.extend(others.filter(|ip| !here.contains(ip)));
        }
        // What the node has and the cluster has not drains: others are ready.
        let ready = |end: &SocketAddr| cluster.is_empty() || cluster.contains(end);
        let ends = cluster.iter().chain(&local).map(|end| (*end, ready(end)));
        self.port(key).endpoints.extend(ends);
        met
    }

    /// What a chain says beside its endpoints.
    fn chain(&mut self, key: &Key, role: Role, chain: &str) {
        let rules = self.dump.chain(chain).unwrap_or_default();
        let balanced: Vec<_> = self.service(key).balanced.clone();
        for rule in rules {
            match role {
                _ if rule.target == "KUBE-MARK-MASQ" => self.pods(rule),
                Role::Firewall if Role::of(&rule.target).is_some() => {
                    // The addresses themselves are there for who is on the node.
                    let own = |range: &Range| balanced.iter().any(|ip| Range::of(*ip) == *range);
                    let range = rule.source.filter(|(range, not)| !not && !own(range));
                    if let Some((range, _)) = range {
                        add_once(&mut self.service(key).ranges, range);
                    }
                }
                _ => {}
            }
            let kept = rule.from_node || Role::of(&rule.target) == Some(Role::Local);
            if role == Role::ExternalLocal || (role == Role::External && kept) {
                self.service(key).external_local = true;
            }
        }
    }

    /// The endpoints that a chain chooses among.
    fn ends(&mut self, key: &Key, chain: &str) -> Vec<SocketAddr> {
        let (sticky, choices) = self.dump.choices(chain);
        if let Some(seconds) = sticky.iter().find_map(|rule| rule.recent) {
            self.service(key).affinity = Some(seconds.clamp(1, MAX_AFFINITY));
        }
        if !is_even(&choices) {
            self.rest.uneven.insert(shown(key));
        }
        let mut ends = Vec::new();
        for rule in sticky.into_iter().chain(choices) {
            match self.dump.endpoint(rule).filter(|end| end.port() != 0) {
                Some(end) => ends.push(SocketAddr::new(end.ip().to_canonical(), end.port())),
                None => {
                    self.rest.lost.insert(rule.target.clone());
                }
            }
        }
        ends
    }
}

fn shown((service, port, protocol): &Key) -> String {
    format!("{service}:{port}/{protocol}")
}

/// Whose rule it is: by its comment, or else by the hash in the name of the chain that it jumps to.
fn key(rule: &Rule) -> Option<Key> {
    let protocol = rule.protocol?;
    if let Some((service, port)) = name(&rule.comment) {
        return Some((service, port, protocol));
    }
    Role::of(&rule.target)?;
    let hash = rule.target.rsplit('-').next().unwrap_or_default().to_ascii_lowercase();
    let service = ObjectName::new("default", &format!("service-{hash}"));
    Some((service, String::new(), protocol))
}

/// `default/web:http cluster IP`; older versions have a colon though the port has no name.
fn name(comment: &str) -> Option<(ObjectName, String)> {
    let word = comment.split_whitespace().next()?;
    let (namespace, rest) = word.split_once('/')?;
    let (service, port) = rest.split_once(':').unwrap_or((rest, ""));
    if namespace.is_empty() || service.is_empty() {
        return None;
    }
    Some((ObjectName::new(namespace, service), port.to_owned()))
}
