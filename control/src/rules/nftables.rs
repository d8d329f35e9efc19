//! The rules of kube-proxy's nftables mode, as text for `nft -f`: one transaction each.
//!
//! Three texts, as with iptables: [`rules`] for a node whatever it has, [`resync`] for one that has some of
//! them, and [`update`] with the elements and chains of those services alone that have changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use crate::model::{Endpoint, FrontendKind, PortName, Range, State, TrafficPolicy};

use super::endpoints::{Served, changed, contains, digest, pod_range};

/// The rules of a node for both families. They replace those that were there.
pub fn rules(state: &State, node: &str) -> String {
    in_both(|v4| {
        let table = Table::new(state, node, v4, None);
        let family = table.family;
        let mut text = format!(
            "add table {family} kube-proxy\ndelete table {family} kube-proxy\n\
             add table {family} kube-proxy\n"
        );
        table.base(&mut text, state, node);
        table.load(&mut text);
        text
    })
}

/// The rules in transactions of at most `services` ports of services each, the first of which makes an
/// empty table. kube-proxy has one transaction; a kernel may take several in less time.
pub fn in_steps(state: &State, node: &str, services: usize) -> Vec<String> {
    let mut steps = vec![rules(&State { services: BTreeMap::new(), ..state.clone() }, node)];
    let names: Vec<_> = state.services.keys().collect();
    for some in names.chunks(services.max(1)) {
        let only: BTreeSet<_> = some.iter().copied().collect();
        steps.push(in_both(|v4| {
            let mut text = String::new();
            Table::new(state, node, v4, Some(&only)).load(&mut text);
            text
        }));
    }
    steps
}

/// All rules once more, over those that are there: every chain is emptied and filled again, elements stay.
pub fn resync(state: &State, node: &str) -> String {
    in_both(|v4| {
        let mut text = String::new();
        let table = Table::new(state, node, v4, None);
        table.base(&mut text, state, node);
        table.load(&mut text);
        text
    })
}

/// What turns the rules of `old` into those of `new`. Chains that are no longer used are emptied and stay
/// until [`sweep`], as do their sets.
pub fn update(old: &State, new: &State, node: &str) -> String {
    let only = changed(old, new);
    let same = old.nodes == new.nodes && old.service_ranges == new.service_ranges;
    in_both(|v4| {
        let before = Table::new(old, node, v4, Some(&only));
        let after = Table::new(new, node, v4, Some(&only));
        let mut text = String::new();
        if !same {
            after.base(&mut text, new, node);
        }
        let family = after.family;
        for ((map, key), value) in &before.elements {
            if after.elements.get(&(*map, key.clone())) != Some(value) {
                let _ = writeln!(text, "delete element {family} kube-proxy {map} {{ {key} }}");
            }
        }
        let gone = before.cluster_ips.difference(&after.cluster_ips);
        let gone: BTreeSet<_> = gone.copied().collect();
        for address in unused(gone, new) {
            let _ =
                writeln!(text, "delete element {family} kube-proxy cluster-ips {{ {address} }}");
        }
        let kept =
            |key: &(&'static str, String), value: &String| before.elements.get(key) == Some(value);
        after.chains(&mut text);
        for name in before.chains.keys().filter(|name| !after.chains.contains_key(*name)) {
            let _ = writeln!(text, "flush chain {family} kube-proxy {name}");
        }
        after.fill(&mut text, kept);
        text
    })
}

/// Takes out the chains and sets that `old` had and `new` has not, which kube-proxy does some time after an
/// update, since a kernel may still see the element that named a chain; empty if there are none.
pub fn sweep(old: &State, new: &State, node: &str) -> String {
    let only = changed(old, new);
    in_both(|v4| {
        let before = Table::new(old, node, v4, Some(&only));
        let after = Table::new(new, node, v4, Some(&only));
        let mut text = String::new();
        for name in before.chains.keys().filter(|name| !after.chains.contains_key(*name)) {
            let _ = writeln!(text, "delete chain {} kube-proxy {name}", after.family);
        }
        for name in before.sets.keys().filter(|name| !after.sets.contains_key(*name)) {
            let _ = writeln!(text, "delete set {} kube-proxy {name}", after.family);
        }
        text
    })
}

fn in_both(text: impl FnMut(bool) -> String) -> String {
    [true, false].map(text).concat()
}

/// Those cluster addresses that no service of a state has: ports of one service share them.
fn unused(mut addresses: BTreeSet<IpAddr>, state: &State) -> BTreeSet<IpAddr> {
    if !addresses.is_empty() {
        for frontend in state.services.values().flat_map(|port| &port.frontends) {
            if frontend.kind == FrontendKind::ClusterIp {
                addresses.remove(&frontend.address);
            }
        }
    }
    addresses
}

/// The part of a family's table that depends on services.
struct Table {
    /// `ip` or `ip6`.
    family: &'static str,
    v4: bool,
    pods: Option<Range>,
    own: Vec<IpAddr>,
    /// Rules of chains of services and of endpoints.
    chains: BTreeMap<String, Vec<String>>,
    /// Sets of clients, and the seconds for which they stay.
    sets: BTreeMap<String, u32>,
    /// Elements of maps: a comment, if they have one, and the verdict.
    elements: BTreeMap<(&'static str, String), String>,
    cluster_ips: BTreeSet<IpAddr>,
}

impl Table {
    fn new(state: &State, node: &str, v4: bool, only: Option<&BTreeSet<&PortName>>) -> Self {
        let info = state.nodes.get(node);
        let mut table = Self {
            family: if v4 { "ip" } else { "ip6" },
            v4,
            pods: pod_range(state, v4),
            own: info.map(|node| node.all_addresses().collect()).unwrap_or_default(),
            chains: BTreeMap::new(),
            sets: BTreeMap::new(),
            elements: BTreeMap::new(),
            cluster_ips: BTreeSet::new(),
        };
        for served in Served::all(state, node, v4) {
            if only.is_none_or(|only| only.contains(served.key)) {
                table.serve(&served);
            }
        }
        table
    }

    /// A port of a service.
    fn serve(&mut self, served: &Served<'_>) {
        let Served { name, protocol, port, .. } = served;
        let (family, v4) = (self.family, self.v4);
        let kinds = |kind| served.addresses(kind, v4).collect::<Vec<_>>();
        let cluster_ips = kinds(FrontendKind::ClusterIp);
        if cluster_ips.is_empty() {
            return; // not of this family
        }
        self.cluster_ips.extend(&cluster_ips);
        let title = title(served);
        let names = ["service", "local", "external", "firewall"];
        let [svc, svl, ext, firewall] = names.map(|kind| format!("{kind}-{title}"));
        let is_internal_local = port.internal_policy == TrafficPolicy::Local;
        let internal = if is_internal_local { &svl } else { &svc };
        let at = |address: &IpAddr| format!("{address} . {protocol} . {}", port.port);
        let dead = if served.is_dead() { "goto reject-chain" } else { "drop" };
        let dead = format!("comment \"{name}\" : {dead}");
        let to = |chain: &str| format!(": goto {chain}");

        for address in &cluster_ips {
            if served.internal().is_empty() {
                self.element("no-endpoint-services", at(address), &dead);
            } else {
                self.element("service-ips", at(address), &to(internal));
            }
        }
        let balanced = kinds(FrontendKind::LoadBalancer);
        for address in kinds(FrontendKind::ExternalIp).iter().chain(&balanced) {
            if !served.is_dead() {
                self.element("service-ips", at(address), &to(&ext));
            }
            if served.external().is_empty() {
                self.element("no-endpoint-services", at(address), &dead);
            }
        }
        let mut ranges = served.ranges(v4);
        if !ranges.is_empty() {
            let element = format!("comment \"{name}\" {}", to(&firewall));
            for address in &balanced {
                self.element("firewall-ips", at(address), &element);
            }
            if self.own.iter().any(|ip| ranges.iter().any(|range| contains(range, *ip))) {
                ranges.extend(balanced.iter().map(|address| Range::of(*address)));
            }
            let ranges: Vec<String> = ranges.iter().map(ToString::to_string).collect();
            let rule = format!("{family} saddr != {{ {} }} drop", ranges.join(", "));
            self.chains.insert(firewall, vec![rule]);
        }
        if let Some(number) = port.node_port {
            let at = format!("{protocol} . {number}");
            if !served.is_dead() {
                self.element("service-nodeports", at.clone(), &to(&ext));
            }
            if served.external().is_empty() {
                self.element("no-endpoint-nodeports", at, &dead);
            }
        }
        if served.is_dead() {
            return;
        }
        for endpoint in served.used() {
            self.endpoint(&title, endpoint, served);
        }
        let masquerades: Vec<String> = match self.pods {
            Some(pods) if !served.internal().is_empty() => cluster_ips
                .iter()
                .map(|address| {
                    format!(
                        "{family} daddr {address} {protocol} dport {} {family} saddr != {pods} \
                         jump mark-for-masquerade",
                        port.port
                    )
                })
                .collect(),
            _ => Vec::new(),
        };
        for (name, is_used, endpoints) in [
            (&svc, served.uses_cluster(), &served.cluster),
            (&svl, served.uses_local(), &served.local),
        ] {
            if is_used {
                let mut rules = if name == internal { masquerades.clone() } else { Vec::new() };
                rules.extend(self.balance(&title, endpoints, served));
                self.chains.insert(name.clone(), rules);
            }
        }
        if !served.is_external() {
            return;
        }
        let mut rules = Vec::new();
        if served.is_local() {
            if let Some(pods) = self.pods {
                rules.push(format!("{family} saddr {pods} goto {svc}"));
            }
            rules.push("fib saddr type local jump mark-for-masquerade".to_owned());
            rules.push(format!("fib saddr type local goto {svc}"));
            if !served.local.is_empty() {
                rules.push(format!("goto {svl}"));
            }
        } else {
            rules.extend(["jump mark-for-masquerade".to_owned(), format!("goto {svc}")]);
        }
        self.chains.insert(ext, rules);
    }

    /// The choice among endpoints.
    fn balance(&self, title: &str, endpoints: &[&Endpoint], served: &Served<'_>) -> Vec<String> {
        let mut rules = Vec::new();
        if served.port.affinity.is_some() {
            rules.extend(endpoints.iter().map(|endpoint| {
                let ends = ends(title, endpoint);
                format!("{} saddr @affinity-{ends} goto endpoint-{ends}", self.family)
            }));
        }
        if !endpoints.is_empty() {
            let choices: Vec<String> = endpoints
                .iter()
                .enumerate()
                .map(|(index, endpoint)| {
                    format!("{index} : goto endpoint-{}", ends(title, endpoint))
                })
                .collect();
            let (count, choices) = (endpoints.len(), choices.join(", "));
            rules.push(format!("numgen random mod {count} vmap {{ {choices} }}"));
        }
        rules
    }

    /// One endpoint: masquerade what it sends to itself, and translate.
    fn endpoint(&mut self, title: &str, endpoint: &Endpoint, served: &Served<'_>) {
        let (family, ends) = (self.family, ends(title, endpoint));
        let mut rules =
            vec![format!("{family} saddr {} jump mark-for-masquerade", endpoint.address)];
        if let Some(seconds) = served.port.affinity {
            self.sets.insert(format!("affinity-{ends}"), seconds);
            rules.push(format!("update @affinity-{ends} {{ {family} saddr }}"));
        }
        let to = SocketAddr::new(endpoint.address, endpoint.port);
        rules.push(format!("meta l4proto {} dnat to {to}", served.protocol));
        self.chains.insert(format!("endpoint-{ends}"), rules);
    }

    fn element(&mut self, map: &'static str, key: String, value: &str) {
        self.elements.insert((map, key), value.to_owned());
    }

    /// All services: chains before the elements and rules that name them.
    fn load(&self, text: &mut String) {
        self.chains(text);
        self.fill(text, |_, _| false);
    }

    /// The chains and sets, empty.
    fn chains(&self, text: &mut String) {
        let family = self.family;
        let kind = if self.v4 { "ipv4_addr" } else { "ipv6_addr" };
        for (name, seconds) in &self.sets {
            let _ = writeln!(
                text,
                "add set {family} kube-proxy {name} {{ type {kind} ; flags dynamic,timeout ; \
                 timeout {seconds}s ; }}"
            );
        }
        for name in self.chains.keys() {
            let _ = writeln!(
                text,
                "add chain {family} kube-proxy {name}\nflush chain {family} kube-proxy {name}"
            );
        }
    }

    /// The rules of the chains, and the elements that are not there yet.
    fn fill(&self, text: &mut String, is_there: impl Fn(&(&'static str, String), &String) -> bool) {
        let family = self.family;
        for (name, rules) in &self.chains {
            for rule in rules {
                let _ = writeln!(text, "add rule {family} kube-proxy {name} {rule}");
            }
        }
        for (key, value) in &self.elements {
            if !is_there(key, value) {
                let (map, key) = key;
                let _ = writeln!(text, "add element {family} kube-proxy {map} {{ {key} {value} }}");
            }
        }
        for address in &self.cluster_ips {
            let _ = writeln!(text, "add element {family} kube-proxy cluster-ips {{ {address} }}");
        }
    }

    /// What is there without any service.
    fn base(&self, text: &mut String, state: &State, node: &str) {
        let family = self.family;
        let address = if self.v4 { "ipv4_addr" } else { "ipv6_addr" };
        let (frontend, port) =
            (format!("{address} . inet_proto . inet_service"), "inet_proto . inet_service");
        for (name, kind, comment) in [
            ("cluster-ips", address, "Active ClusterIPs"),
            ("nodeport-ips", address, "IPs that accept NodePort traffic"),
        ] {
            let _ = writeln!(
                text,
                "add set {family} kube-proxy {name} {{ type {kind} ; comment \"{comment}\" ; }}"
            );
        }
        for (name, kind, comment) in [
            ("service-ips", frontend.as_str(), "ClusterIP, ExternalIP and LoadBalancer IP traffic"),
            ("service-nodeports", port, "NodePort traffic"),
            (
                "no-endpoint-services",
                &frontend,
                "vmap to drop or reject packets to services with no endpoints",
            ),
            (
                "no-endpoint-nodeports",
                port,
                "vmap to drop or reject packets to service nodeports with no endpoints",
            ),
            (
                "firewall-ips",
                &frontend,
                "destinations that are subject to LoadBalancerSourceRanges",
            ),
        ] {
            let _ = writeln!(
                text,
                "add map {family} kube-proxy {name} {{ type {kind} : verdict ; comment \"{comment}\" ; }}"
            );
        }
        let here = format!("{family} daddr @nodeport-ips meta l4proto . th dport");
        let there = format!("{family} daddr . meta l4proto . th dport");
        let mut cluster_ips = vec![format!(
            "{family} daddr @cluster-ips reject comment \"Reject traffic to invalid ports of ClusterIPs\""
        )];
        let ranges = state.service_ranges.iter().filter(|range| range.address.is_ipv4() == self.v4);
        let ranges: Vec<String> = ranges.map(ToString::to_string).collect();
        if !ranges.is_empty() {
            cluster_ips.push(format!(
                "{family} daddr {{ {} }} drop comment \"Drop traffic to unallocated ClusterIPs\"",
                ranges.join(", ")
            ));
        }
        let new = |chain: &str| format!("ct state new jump {chain}");
        let hooked = |kind: &str, hook: &str, priority: i32| {
            format!(" {{ type {kind} hook {hook} priority {priority} ; }}")
        };
        let none = String::new;
        let chains: [(&str, String, Vec<String>); 16] = [
            ("mark-for-masquerade", none(), vec!["mark set mark or 0x4000".into()]),
            (
                "masquerading",
                none(),
                vec![
                    "mark and 0x4000 == 0 return".into(),
                    "mark set mark xor 0x4000".into(),
                    "masquerade fully-random".into(),
                ],
            ),
            ("reject-chain", none(), vec!["reject".into()]),
            ("cluster-ips-check", none(), cluster_ips),
            ("firewall-check", none(), vec![format!("{there} vmap @firewall-ips")]),
            (
                "service-endpoints-check",
                none(),
                vec![format!("{there} vmap @no-endpoint-services")],
            ),
            (
                "nodeport-endpoints-check",
                none(),
                vec![format!("{here} vmap @no-endpoint-nodeports")],
            ),
            (
                "services",
                none(),
                vec![
                    format!("{there} vmap @service-ips"),
                    format!("{here} vmap @service-nodeports"),
                ],
            ),
            (
                "filter-prerouting-pre-dnat",
                hooked("filter", "prerouting", -110),
                vec![new("firewall-check")],
            ),
            (
                "filter-output-pre-dnat",
                hooked("filter", "output", -110),
                vec![new("firewall-check")],
            ),
            (
                "filter-output-post-dnat",
                hooked("filter", "output", -90),
                vec![new("service-endpoints-check"), new("cluster-ips-check")],
            ),
            (
                "filter-input",
                hooked("filter", "input", 0),
                vec![new("nodeport-endpoints-check"), new("service-endpoints-check")],
            ),
            (
                "filter-forward",
                hooked("filter", "forward", 0),
                vec![
                    "ct state invalid drop".into(),
                    new("service-endpoints-check"),
                    new("cluster-ips-check"),
                ],
            ),
            ("nat-prerouting", hooked("nat", "prerouting", -100), vec!["jump services".into()]),
            ("nat-output", hooked("nat", "output", -100), vec!["jump services".into()]),
            (
                "nat-postrouting",
                hooked("nat", "postrouting", 100),
                vec!["jump masquerading".into()],
            ),
        ];
        for (name, hook, _) in &chains {
            let _ = writeln!(
                text,
                "add chain {family} kube-proxy {name}{hook}\nflush chain {family} kube-proxy {name}"
            );
        }
        for (name, _, rules) in &chains {
            for rule in rules {
                let _ = writeln!(text, "add rule {family} kube-proxy {name} {rule}");
            }
        }
        let info = state.nodes.get(node);
        let primary =
            info.and_then(|node| node.addresses.iter().find(|ip| ip.is_ipv4() == self.v4));
        if let Some(address) = primary {
            let _ = writeln!(text, "add element {family} kube-proxy nodeport-ips {{ {address} }}");
        }
    }
}

/// What names of chains of a service end in: `2QRHZV4L-default/web/tcp/http`, as much as fits.
fn title(served: &Served<'_>) -> String {
    let Served { name, protocol, key, .. } = served;
    let (service, port) = name.split_once(':').unwrap_or((name, ""));
    let title = format!("{:08X}-{service}/{protocol}/{port}", digest(key) as u32);
    title.chars().filter(|c| *c != ':').take(70).collect()
}

/// What names of chains and sets of an endpoint end in.
fn ends(title: &str, endpoint: &Endpoint) -> String {
    let address = endpoint.address.to_string().replace(':', ".");
    format!("{title}__{address}/{}", endpoint.port)
}
