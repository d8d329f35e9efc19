//! The rules of kube-proxy's nftables mode, as text for `nft -f`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use crate::model::{Endpoint, FrontendKind, Range, State, TrafficPolicy};

use super::endpoints::{Served, contains, pod_range};

/// The table of one family, while it is written.
struct Table {
    /// `ip` or `ip6`.
    family: &'static str,
    v4: bool,
    pods: Option<Range>,
    own: Vec<IpAddr>,
    chains: String,
    sets: String,
    service_ips: Vec<String>,
    service_nodeports: Vec<String>,
    dead_services: Vec<String>,
    dead_nodeports: Vec<String>,
    firewall_ips: Vec<String>,
    cluster_ips: BTreeSet<IpAddr>,
}

/// The rules of a node for both families. They replace those that were there.
pub fn rules(state: &State, node: &str) -> String {
    [true, false].map(|v4| family(state, node, v4)).concat()
}

fn family(state: &State, node: &str, v4: bool) -> String {
    let info = state.nodes.get(node);
    let mut table = Table {
        family: if v4 { "ip" } else { "ip6" },
        v4,
        pods: pod_range(state, v4),
        own: info.map(|node| node.all_addresses().collect()).unwrap_or_default(),
        chains: String::new(),
        sets: String::new(),
        service_ips: Vec::new(),
        service_nodeports: Vec::new(),
        dead_services: Vec::new(),
        dead_nodeports: Vec::new(),
        firewall_ips: Vec::new(),
        cluster_ips: BTreeSet::new(),
    };
    for served in Served::all(state, node, v4) {
        table.serve(&served);
    }
    let primary = info.and_then(|node| node.addresses.iter().find(|ip| ip.is_ipv4() == v4));
    let ranges: Vec<Range> = state
        .service_ranges
        .iter()
        .filter(|range| range.address.is_ipv4() == v4)
        .copied()
        .collect();
    table.text(primary.copied(), &ranges)
}

impl Table {
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
        let title = format!("{}/{protocol}/{}", name.replace(':', "/"), port.port);
        let title = title.replace("//", "/");
        let names = ["service", "local", "external", "firewall"];
        let [svc, svl, ext, firewall] = names.map(|kind| format!("{kind}-{title}"));
        let is_internal_local = port.internal_policy == TrafficPolicy::Local;
        let internal = if is_internal_local { &svl } else { &svc };
        let at = |address: &IpAddr| format!("{address} . {protocol} . {}", port.port);
        let dead = if served.is_dead() { "goto reject-chain" } else { "drop" };

        for address in &cluster_ips {
            if served.internal().is_empty() {
                self.dead_services.push(format!("{} : {dead}", at(address)));
            } else {
                self.service_ips.push(format!("{} : goto {internal}", at(address)));
            }
        }
        let balanced = kinds(FrontendKind::LoadBalancer);
        for address in kinds(FrontendKind::ExternalIp).iter().chain(&balanced) {
            if !served.is_dead() {
                self.service_ips.push(format!("{} : goto {ext}", at(address)));
            }
            if served.external().is_empty() {
                self.dead_services.push(format!("{} : {dead}", at(address)));
            }
        }
        let mut ranges = served.ranges(v4);
        if !ranges.is_empty() {
            for address in &balanced {
                self.firewall_ips.push(format!("{} : goto {firewall}", at(address)));
            }
            if self.own.iter().any(|ip| ranges.iter().any(|range| contains(range, *ip))) {
                ranges.extend(balanced.iter().map(|address| Range::of(*address)));
            }
            let ranges: Vec<String> = ranges.iter().map(ToString::to_string).collect();
            let rule = format!("{family} saddr != {{ {} }} drop", ranges.join(", "));
            self.chain(&firewall, &[rule]);
        }
        if let Some(number) = port.node_port {
            let at = format!("{protocol} . {number}");
            if !served.is_dead() {
                self.service_nodeports.push(format!("{at} : goto {ext}"));
            }
            if served.external().is_empty() {
                self.dead_nodeports.push(format!("{at} : {dead}"));
            }
        }
        if served.is_dead() {
            return;
        }
        let mut done = BTreeSet::new();
        for endpoint in served.cluster.iter().chain(&served.local) {
            if done.insert(chain_of(&title, endpoint)) {
                self.endpoint(&title, endpoint, served);
            }
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
        for (name, endpoints) in [(&svc, &served.cluster), (&svl, &served.local)] {
            let mut rules = if name == internal { masquerades.clone() } else { Vec::new() };
            rules.extend(self.balance(&title, endpoints, served));
            self.chain(name, &rules);
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
        self.chain(&ext, &rules);
    }

    /// The choice among endpoints.
    fn balance(&self, title: &str, endpoints: &[&Endpoint], served: &Served<'_>) -> Vec<String> {
        let mut rules = Vec::new();
        if served.port.affinity.is_some() {
            rules.extend(endpoints.iter().map(|endpoint| {
                let chain = chain_of(title, endpoint);
                format!("{} saddr @affinity-{chain} goto {chain}", self.family)
            }));
        }
        if !endpoints.is_empty() {
            let choices: Vec<String> = endpoints
                .iter()
                .enumerate()
                .map(|(index, endpoint)| format!("{index} : goto {}", chain_of(title, endpoint)))
                .collect();
            let (count, choices) = (endpoints.len(), choices.join(", "));
            rules.push(format!("numgen random mod {count} vmap {{ {choices} }}"));
        }
        rules
    }

    /// One endpoint: masquerade what it sends to itself, and translate.
    fn endpoint(&mut self, title: &str, endpoint: &Endpoint, served: &Served<'_>) {
        let (family, chain) = (self.family, chain_of(title, endpoint));
        let mut rules =
            vec![format!("{family} saddr {} jump mark-for-masquerade", endpoint.address)];
        if let Some(seconds) = served.port.affinity {
            let kind = if self.v4 { "ipv4_addr" } else { "ipv6_addr" };
            let _ = write!(
                self.sets,
                "  set affinity-{chain} {{\n    type {kind}\n    flags dynamic,timeout\n    \
                 timeout {seconds}s\n  }}\n",
            );
            rules.push(format!("update @affinity-{chain} {{ {family} saddr }}"));
        }
        let to = SocketAddr::new(endpoint.address, endpoint.port);
        rules.push(format!("meta l4proto {} dnat to {to}", served.protocol));
        self.chain(&chain, &rules);
    }

    fn chain(&mut self, name: &str, rules: &[String]) {
        let _ = write!(self.chains, "  chain {name} {{\n    {}\n  }}\n", rules.join("\n    "));
    }

    fn map(&self, name: &str, kind: &str, elements: &[String]) -> String {
        if elements.is_empty() {
            return format!("  map {name} {{\n    type {kind} : verdict\n  }}\n");
        }
        let elements = elements.join(",\n      ");
        format!(
            "  map {name} {{\n    type {kind} : verdict\n    elements = {{\n      {elements}\n    }}\n  }}\n"
        )
    }

    /// The whole table.
    fn text(&self, node: Option<IpAddr>, service_ranges: &[Range]) -> String {
        let (family, chains, sets) = (self.family, &self.chains, &self.sets);
        let address = if self.v4 { "ipv4_addr" } else { "ipv6_addr" };
        let (frontend, port) =
            (format!("{address} . inet_proto . inet_service"), "inet_proto . inet_service");
        let maps = [
            self.map("service-ips", &frontend, &self.service_ips),
            self.map("service-nodeports", port, &self.service_nodeports),
            self.map("no-endpoint-services", &frontend, &self.dead_services),
            self.map("no-endpoint-nodeports", port, &self.dead_nodeports),
            self.map("firewall-ips", &frontend, &self.firewall_ips),
        ]
        .concat();
        let set = |name: &str, elements: &[String]| {
            let elements = match elements {
                [] => String::new(),
                elements => format!("    elements = {{ {} }}\n", elements.join(", ")),
            };
            format!("  set {name} {{\n    type {address}\n{elements}  }}\n")
        };
        let texts = |all: &mut dyn Iterator<Item = IpAddr>| -> Vec<String> {
            all.map(|address| address.to_string()).collect()
        };
        let cluster_ips = set("cluster-ips", &texts(&mut self.cluster_ips.iter().copied()));
        let node_ips = set("nodeport-ips", &texts(&mut node.into_iter()));
        let unallocated: String = service_ranges
            .iter()
            .map(|range| format!("    {family} daddr {range} drop\n"))
            .collect();
        let here = format!("{family} daddr @nodeport-ips meta l4proto . th dport");
        let there = format!("{family} daddr . meta l4proto . th dport");
        format!(
            "table {family} kube-proxy {{\n}}\ndelete table {family} kube-proxy\n\
             table {family} kube-proxy {{\n{cluster_ips}{node_ips}{sets}\
             \x20 chain mark-for-masquerade {{\n    mark set mark or 0x4000\n  }}\n\
             \x20 chain reject-chain {{\n    reject\n  }}\n{chains}{maps}\
             \x20 chain firewall-check {{\n    {there} vmap @firewall-ips\n  }}\n\
             \x20 chain service-endpoints-check {{\n    {there} vmap @no-endpoint-services\n  }}\n\
             \x20 chain nodeport-endpoints-check {{\n    {here} vmap @no-endpoint-nodeports\n  }}\n\
             \x20 chain cluster-ips-check {{\n    {family} daddr @cluster-ips reject\n{unallocated}  }}\n\
             \x20 chain services {{\n    {there} vmap @service-ips\n    {here} vmap @service-nodeports\n  }}\n\
             \x20 chain masquerading {{\n    mark and 0x4000 == 0 return\n    mark set mark xor 0x4000\n    \
             masquerade fully-random\n  }}\n\
             \x20 chain filter-prerouting-pre-dnat {{\n    type filter hook prerouting priority -110\n    \
             ct state new jump firewall-check\n  }}\n\
             \x20 chain filter-output-pre-dnat {{\n    type filter hook output priority -110\n    \
             ct state new jump firewall-check\n  }}\n\
             \x20 chain filter-output-post-dnat {{\n    type filter hook output priority -90\n    \
             ct state new jump service-endpoints-check\n    ct state new jump cluster-ips-check\n  }}\n\
             \x20 chain filter-input {{\n    type filter hook input priority 0\n    \
             ct state new jump nodeport-endpoints-check\n    ct state new jump service-endpoints-check\n  }}\n\
             \x20 chain filter-forward {{\n    type filter hook forward priority 0\n    \
             ct state invalid drop\n    ct state new jump service-endpoints-check\n    \
             ct state new jump cluster-ips-check\n  }}\n\
             \x20 chain nat-prerouting {{\n    type nat hook prerouting priority -100\n    jump services\n  }}\n\
             \x20 chain nat-output {{\n    type nat hook output priority -100\n    jump services\n  }}\n\
             \x20 chain nat-postrouting {{\n    type nat hook postrouting priority 100\n    \
             jump masquerading\n  }}\n}}\n",
        )
    }
}

/// The name of an endpoint's chain.
fn chain_of(title: &str, endpoint: &Endpoint) -> String {
    let address = endpoint.address.to_string().replace(':', ".");
    format!("endpoint-{title}/{address}/{}", endpoint.port)
}
