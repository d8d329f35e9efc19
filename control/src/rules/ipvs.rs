//! kube-proxy's IPVS mode, as text for the tools that write the same into the kernel: `ip`, `ipset`,
//! `iptables-restore` and `ipvsadm`.
//!
//! Every frontend is a virtual server with the endpoints as real servers behind it. IPVS sees only what comes
//! in for the node itself, so all frontend addresses are on a device, [`DEVICE`]. What is masqueraded is
//! found by a few rules that look into sets of addresses, whatever the number of services.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use crate::model::{Endpoint, FrontendKind, Range, State};

use super::endpoints::{Served, contains, pod_range};

/// The device with all frontend addresses.
pub const DEVICE: &str = "kube-ipvs0";

/// The kernel parameters that it sets: paths under `/proc/sys/net`, and values. IPVS asks conntrack, which
/// masquerading needs, and nobody but the node answers for the addresses of its device.
pub const PARAMETERS: [(&str, &str); 8] = [
    ("ipv4/vs/conntrack", "1"),
    ("ipv4/vs/conn_reuse_mode", "0"),
    ("ipv4/vs/expire_nodest_conn", "1"),
    ("ipv4/vs/expire_quiescent_template", "1"),
    ("ipv4/ip_forward", "1"),
    ("ipv4/conf/all/arp_ignore", "1"),
    ("ipv4/conf/all/arp_announce", "2"),
    ("ipv4/conf/all/route_localnet", "1"),
];

/// What one node is given, in the order in which it has to be done. Texts are empty where nothing is to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    /// For `ip -batch -`: the device and its addresses.
    pub addresses: String,
    /// For `ipset -exist restore`.
    pub sets: String,
    /// For `iptables-restore --noflush` and `ip6tables-restore --noflush`.
    pub rules: String,
    /// For `ipvsadm -R`.
    pub servers: String,
}

/// All of a family, for a node that has nothing.
pub fn rules(state: &State, node: &str, v4: bool) -> Texts {
    let contents = Contents::new(state, node, v4);
    let empty = Contents { pods: contents.pods, ..Contents::empty(v4) };
    let mut sets = String::new();
    for (name, kind) in SETS {
        let family = if v4 { "inet" } else { "inet6" };
        let _ = match kind {
            "bitmap:port" => writeln!(sets, "create {} {kind} range 0-65535", full(name, v4)),
            kind => writeln!(
                sets,
                "create {} {kind} family {family} hashsize 1024 maxelem 65536",
                full(name, v4)
            ),
        };
    }
    Texts {
        addresses: format!("link add {DEVICE} type dummy\n{}", contents.addresses_since(&empty)),
        sets: sets + &contents.sets_since(&empty),
        rules: contents.jumps() + &contents.rules(),
        servers: contents.servers_since(&empty),
    }
}

/// What turns one state into another: the lines for what differs, and the rules as a whole, which are the
/// same number for any number of services, where they differ.
///
/// Real servers are taken out at once. kube-proxy first gives those of TCP no more connections, and takes
/// them out when they have none.
pub fn update(old: &State, new: &State, node: &str, v4: bool) -> Texts {
    let (old, new) = (Contents::new(old, node, v4), Contents::new(new, node, v4));
    Texts {
        addresses: new.addresses_since(&old),
        sets: new.sets_since(&old),
        rules: if old.rules() == new.rules() { String::new() } else { new.rules() },
        servers: new.servers_since(&old),
    }
}

/// Everything once more over what is there. kube-proxy reads the servers and addresses that are there and
/// writes those that are not, so where nothing is missing only the sets and the rules are written.
pub fn resync(state: &State, node: &str, v4: bool) -> Texts {
    let contents = Contents::new(state, node, v4);
    let sets = contents.sets_since(&Contents::empty(v4));
    Texts { sets, rules: contents.rules(), ..Texts::default() }
}

/// The sets, and what their entries are.
const SETS: [(&str, &str); 17] = [
    ("KUBE-LOOP-BACK", "hash:ip,port,ip"),
    ("KUBE-CLUSTER-IP", "hash:ip,port"),
    ("KUBE-EXTERNAL-IP", "hash:ip,port"),
    ("KUBE-EXTERNAL-IP-LOCAL", "hash:ip,port"),
    ("KUBE-LOAD-BALANCER", "hash:ip,port"),
    ("KUBE-LOAD-BALANCER-LOCAL", "hash:ip,port"),
    ("KUBE-LOAD-BALANCER-FW", "hash:ip,port"),
    ("KUBE-LOAD-BALANCER-SOURCE-IP", "hash:ip,port,ip"),
    ("KUBE-LOAD-BALANCER-SOURCE-CIDR", "hash:ip,port,net"),
    ("KUBE-NODE-PORT-TCP", "bitmap:port"),
    ("KUBE-NODE-PORT-LOCAL-TCP", "bitmap:port"),
    ("KUBE-NODE-PORT-UDP", "bitmap:port"),
    ("KUBE-NODE-PORT-LOCAL-UDP", "bitmap:port"),
    ("KUBE-NODE-PORT-SCTP-HASH", "hash:ip,port"),
    ("KUBE-NODE-PORT-LOCAL-SCTP-HASH", "hash:ip,port"),
    ("KUBE-HEALTH-CHECK-NODE-PORT", "bitmap:port"),
    ("KUBE-IPVS-IPS", "hash:ip"),
];

/// The name of a set of a family: at most 31 bytes, as the kernel has it.
fn full(name: &str, v4: bool) -> String {
    if v4 {
        name.to_owned()
    } else {
        name.replacen("KUBE-", "KUBE-6-", 1).chars().take(31).collect()
    }
}

/// A virtual server: protocol and frontend.
type Server = (&'static str, SocketAddr);

/// What the kernel holds.
struct Contents {
    v4: bool,
    pods: Option<Range>,
    /// The seconds of affinity, and the real servers.
    servers: BTreeMap<Server, (Option<u32>, BTreeSet<SocketAddr>)>,
    /// On the device.
    addresses: BTreeSet<IpAddr>,
    /// Sets with their entries.
    entries: BTreeSet<(&'static str, String)>,
}

impl Contents {
    const fn empty(v4: bool) -> Self {
        Self {
            v4,
            pods: None,
            servers: BTreeMap::new(),
            addresses: BTreeSet::new(),
            entries: BTreeSet::new(),
        }
    }

    fn new(state: &State, node: &str, v4: bool) -> Self {
        let mut contents = Self { pods: pod_range(state, v4), ..Self::empty(v4) };
        let info = state.nodes.get(node);
        let own: Vec<IpAddr> = info
            .map(|node| node.all_addresses().filter(|ip| ip.is_ipv4() == v4).collect())
            .unwrap_or_default();
        for served in Served::all(state, node, v4) {
            contents.serve(&served, &own);
        }
        contents
    }

    /// A port of a service.
    fn serve(&mut self, served: &Served<'_>, own: &[IpAddr]) {
        let (port, protocol) = (served.port.port, served.protocol);
        let at = |address: IpAddr| format!("{address},{protocol}:{port}");
        let cluster_ips: Vec<_> = served.addresses(FrontendKind::ClusterIp, self.v4).collect();
        if cluster_ips.is_empty() {
            return; // not of this family
        }
        for endpoint in &served.local {
            let (address, number) = (endpoint.address, endpoint.port);
            self.entry("KUBE-LOOP-BACK", format!("{address},{protocol}:{number},{address}"));
        }
        for address in cluster_ips {
            self.entry("KUBE-CLUSTER-IP", at(address));
            self.frontend(served, address, served.internal());
        }
        for address in served.addresses(FrontendKind::ExternalIp, self.v4) {
            let local = served.is_local();
            let set = if local { "KUBE-EXTERNAL-IP-LOCAL" } else { "KUBE-EXTERNAL-IP" };
            self.entry(set, at(address));
            self.frontend(served, address, served.external());
        }
        let ranges = served.ranges(self.v4);
        for address in served.addresses(FrontendKind::LoadBalancer, self.v4) {
            self.entry("KUBE-LOAD-BALANCER", at(address));
            if served.is_local() {
                self.entry("KUBE-LOAD-BALANCER-LOCAL", at(address));
            }
            if !ranges.is_empty() {
                self.entry("KUBE-LOAD-BALANCER-FW", at(address));
            }
            for range in &ranges {
                let entry = format!("{},{range}", at(address));
                self.entry("KUBE-LOAD-BALANCER-SOURCE-CIDR", entry);
            }
            if own.iter().any(|ip| ranges.iter().any(|range| contains(range, *ip))) {
                let entry = format!("{},{address}", at(address));
                self.entry("KUBE-LOAD-BALANCER-SOURCE-IP", entry);
            }
            self.frontend(served, address, served.external());
        }
        if let Some(number) = served.port.node_port {
            self.node_port(served, number, own);
        }
        if let (Some(number), true) = (served.port.health_check_port, served.is_local()) {
            self.entry("KUBE-HEALTH-CHECK-NODE-PORT", number.to_string());
        }
    }

    fn node_port(&mut self, served: &Served<'_>, number: u16, own: &[IpAddr]) {
        let (all, local) = match served.protocol {
            "tcp" => ("KUBE-NODE-PORT-TCP", "KUBE-NODE-PORT-LOCAL-TCP"),
            "udp" => ("KUBE-NODE-PORT-UDP", "KUBE-NODE-PORT-LOCAL-UDP"),
            _ => ("KUBE-NODE-PORT-SCTP-HASH", "KUBE-NODE-PORT-LOCAL-SCTP-HASH"),
        };
        for set in [Some(all), served.is_local().then_some(local)].into_iter().flatten() {
            if served.protocol == "sctp" {
                own.iter().for_each(|address| self.entry(set, format!("{address},sctp:{number}")));
            } else {
                self.entry(set, number.to_string());
            }
        }
        for address in own {
            self.server(served, SocketAddr::new(*address, number), served.external());
        }
    }

    fn entry(&mut self, set: &'static str, entry: String) {
        self.entries.insert((set, entry));
    }

    /// A frontend that is an address of the device.
    fn frontend(&mut self, served: &Served<'_>, address: IpAddr, endpoints: &[&Endpoint]) {
        self.addresses.insert(address);
        self.entry("KUBE-IPVS-IPS", address.to_string());
        self.server(served, SocketAddr::new(address, served.port.port), endpoints);
    }

    fn server(&mut self, served: &Served<'_>, at: SocketAddr, endpoints: &[&Endpoint]) {
        let ends = endpoints.iter().map(|e| SocketAddr::new(e.address, e.port)).collect();
        self.servers.insert((served.protocol, at), (served.port.affinity, ends));
    }

    fn addresses_since(&self, old: &Self) -> String {
        let length = if self.v4 { 32 } else { 128 };
        let line = |verb, address| format!("addr {verb} {address}/{length} dev {DEVICE}\n");
        let gone = old.addresses.difference(&self.addresses).map(|address| line("del", address));
        gone.chain(self.addresses.difference(&old.addresses).map(|address| line("add", address)))
            .collect()
    }

    fn sets_since(&self, old: &Self) -> String {
        let line = |verb, (set, entry): &(&str, String)| {
            format!("{verb} {} {entry}\n", full(set, self.v4))
        };
        let gone = old.entries.difference(&self.entries).map(|entry| line("del", entry));
        gone.chain(self.entries.difference(&old.entries).map(|entry| line("add", entry))).collect()
    }

    fn servers_since(&self, old: &Self) -> String {
        let mut text = String::new();
        for server in old.servers.keys().filter(|server| !self.servers.contains_key(*server)) {
            let _ = writeln!(text, "-D {}", name(server));
        }
        for (server, (affinity, ends)) in &self.servers {
            let (at, before) = (name(server), old.servers.get(server));
            let verb = match before {
                None => "-A",
                Some((seconds, _)) if seconds != affinity => "-E",
                Some(_) => "",
            };
            if !verb.is_empty() {
                let persistent = affinity.map(|seconds| format!(" -p {seconds}"));
                let _ = writeln!(text, "{verb} {at} -s rr{}", persistent.unwrap_or_default());
            }
            let none = BTreeSet::new();
            let before = before.map_or(&none, |(_, ends)| ends);
            for end in ends.difference(before) {
                let _ = writeln!(text, "-a {at} -r {end} -m -w 1");
            }
            for end in before.difference(ends) {
                let _ = writeln!(text, "-d {at} -r {end}");
            }
        }
        text
    }

    /// From the built-in chains to those of kube-proxy.
    fn jumps(&self) -> String {
        let filter = [
            ("INPUT", "kubernetes ipvs access filter", "KUBE-IPVS-FILTER"),
            ("INPUT", "kube-proxy firewall rules", "KUBE-PROXY-FIREWALL"),
            ("INPUT", "kubernetes health check rules", "KUBE-NODE-PORT"),
            ("FORWARD", "kube-proxy firewall rules", "KUBE-PROXY-FIREWALL"),
            ("FORWARD", "kubernetes forwarding rules", "KUBE-FORWARD"),
        ];
        let nat = [
            ("PREROUTING", "kubernetes service portals", "KUBE-SERVICES"),
            ("OUTPUT", "kubernetes service portals", "KUBE-SERVICES"),
            ("POSTROUTING", "kubernetes postrouting rules", "KUBE-POSTROUTING"),
        ];
        let table = |name: &str, jumps: &[(&str, &str, &str)]| {
            let targets: BTreeSet<_> = jumps.iter().map(|(_, _, to)| to).collect();
            let chains: String = targets.iter().map(|to| format!(":{to} - [0:0]\n")).collect();
            let rules = jumps.iter().map(|(from, what, to)| {
                format!("-A {from} -m comment --comment \"{what}\" -j {to}\n")
            });
            format!("*{name}\n{chains}{}COMMIT\n", rules.collect::<String>())
        };
        table("filter", &filter) + &table("nat", &nat)
    }

    /// A rule for each set that has entries, in kube-proxy's order.
    fn rules(&self) -> String {
        let has = |set: &str| self.entries.iter().any(|(name, _)| *name == set);
        let of =
            |set: &str, sides: &str| format!("-m set --match-set {} {sides}", full(set, self.v4));
        let note = |text: &str| format!("-m comment --comment \"{text}\"");
        let mut nat: Vec<String> = Vec::new();
        if has("KUBE-LOOP-BACK") {
            nat.push(format!(
                "KUBE-POSTROUTING {} {} -j MASQUERADE",
                note("Kubernetes endpoints dst ip:port, source ip for solving hairpin purpose"),
                of("KUBE-LOOP-BACK", "dst,dst,src")
            ));
        }
        nat.push("KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN".into());
        nat.push("KUBE-POSTROUTING -j MARK --xor-mark 0x4000".into());
        let snat = note("kubernetes service traffic requiring SNAT");
        nat.push(format!("KUBE-POSTROUTING {snat} -j MASQUERADE --random-fully"));
        nat.push("KUBE-MARK-MASQ -j MARK --or-mark 0x4000".into());
        let loopback = if self.v4 { "127.0.0.0/8" } else { "::1/128" };
        nat.push(format!("KUBE-SERVICES -s {loopback} -j RETURN"));
        if has("KUBE-LOAD-BALANCER") {
            let lb = of("KUBE-LOAD-BALANCER", "dst,dst");
            let what = note("Kubernetes service lb portal");
            nat.push(format!("KUBE-SERVICES {what} {lb} -j KUBE-LOAD-BALANCER"));
        }
        if has("KUBE-CLUSTER-IP") {
            let from = self.pods.map(|pods| format!("! -s {pods} ")).unwrap_or_default();
            nat.push(format!(
                "KUBE-SERVICES {from}{} {} -j KUBE-MARK-MASQ",
                note("Kubernetes service cluster ip + port for masquerade purpose"),
                of("KUBE-CLUSTER-IP", "dst,dst")
            ));
        }
        let what = note("Kubernetes service external ip + port for masquerade and filter purpose");
        if has("KUBE-EXTERNAL-IP") {
            let external = of("KUBE-EXTERNAL-IP", "dst,dst");
            nat.push(format!("KUBE-SERVICES {what} {external} -j KUBE-MARK-MASQ"));
        }
        for set in ["KUBE-EXTERNAL-IP", "KUBE-EXTERNAL-IP-LOCAL"] {
            if has(set) {
                let external = of(set, "dst,dst");
                nat.push(format!(
                    "KUBE-SERVICES {what} {external} -m physdev ! --physdev-is-in -m addrtype \
                     ! --src-type LOCAL -j ACCEPT"
                ));
                nat.push(format!(
                    "KUBE-SERVICES {what} {external} -m addrtype --dst-type LOCAL -j ACCEPT"
                ));
            }
        }
        nat.push("KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODE-PORT".into());
        for set in ["KUBE-CLUSTER-IP", "KUBE-LOAD-BALANCER"] {
            if has(set) {
                nat.push(format!("KUBE-SERVICES {} -j ACCEPT", of(set, "dst,dst")));
            }
        }
        for (protocol, local, all, sides) in [
            ("tcp", "KUBE-NODE-PORT-LOCAL-TCP", "KUBE-NODE-PORT-TCP", "dst"),
            ("udp", "KUBE-NODE-PORT-LOCAL-UDP", "KUBE-NODE-PORT-UDP", "dst"),
            ("sctp", "KUBE-NODE-PORT-LOCAL-SCTP-HASH", "KUBE-NODE-PORT-SCTP-HASH", "dst,dst"),
        ] {
            for (set, target) in [(local, "RETURN"), (all, "KUBE-MARK-MASQ")] {
                if has(set) {
                    nat.push(format!(
                        "KUBE-NODE-PORT -p {protocol} {} -j {target}",
                        of(set, sides)
                    ));
                }
            }
        }
        if has("KUBE-LOAD-BALANCER-LOCAL") {
            let local = of("KUBE-LOAD-BALANCER-LOCAL", "dst,dst");
            nat.push(format!("KUBE-LOAD-BALANCER {local} -j RETURN"));
        }
        nat.push("KUBE-LOAD-BALANCER -j KUBE-MARK-MASQ".into());

        let mut filter = vec![
            "KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT".to_owned(),
            "KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT".into(),
        ];
        if has("KUBE-LOAD-BALANCER-FW") {
            let closed = of("KUBE-LOAD-BALANCER-FW", "dst,dst");
            filter.push(format!("KUBE-PROXY-FIREWALL {closed} -j KUBE-SOURCE-RANGES-FIREWALL"));
        }
        for (set, sides) in [
            ("KUBE-LOAD-BALANCER-SOURCE-CIDR", "dst,dst,src"),
            ("KUBE-LOAD-BALANCER-SOURCE-IP", "dst,dst,src"),
        ] {
            if has(set) {
                filter.push(format!("KUBE-SOURCE-RANGES-FIREWALL {} -j RETURN", of(set, sides)));
            }
        }
        filter.push("KUBE-SOURCE-RANGES-FIREWALL -j DROP".into());
        if has("KUBE-HEALTH-CHECK-NODE-PORT") {
            let health = of("KUBE-HEALTH-CHECK-NODE-PORT", "dst");
            filter.push(format!("KUBE-NODE-PORT {health} -j ACCEPT"));
        }
        for (set, sides) in [
            ("KUBE-LOAD-BALANCER", "dst,dst"),
            ("KUBE-CLUSTER-IP", "dst,dst"),
            ("KUBE-EXTERNAL-IP", "dst,dst"),
            ("KUBE-EXTERNAL-IP-LOCAL", "dst,dst"),
            ("KUBE-HEALTH-CHECK-NODE-PORT", "dst"),
        ] {
            filter.push(format!("KUBE-IPVS-FILTER {} -j RETURN", of(set, sides)));
        }
        let ips = of("KUBE-IPVS-IPS", "dst");
        filter.push(format!("KUBE-IPVS-FILTER -m conntrack --ctstate NEW {ips} -j REJECT"));
        table(
            "filter",
            &[
                "KUBE-FORWARD",
                "KUBE-NODE-PORT",
                "KUBE-PROXY-FIREWALL",
                "KUBE-SOURCE-RANGES-FIREWALL",
                "KUBE-IPVS-FILTER",
            ],
            &filter,
        ) + &table(
            "nat",
            &[
                "KUBE-SERVICES",
                "KUBE-POSTROUTING",
                "KUBE-NODE-PORT",
                "KUBE-LOAD-BALANCER",
                "KUBE-MARK-MASQ",
            ],
            &nat,
        )
    }
}

/// A table with all rules of these chains.
fn table(name: &str, chains: &[&str], rules: &[String]) -> String {
    let chains: String = chains.iter().map(|chain| format!(":{chain} - [0:0]\n")).collect();
    let rules: String = rules.iter().map(|rule| format!("-A {rule}\n")).collect();
    format!("*{name}\n{chains}{rules}COMMIT\n")
}

/// A virtual server as an option of `ipvsadm`.
fn name((protocol, at): &Server) -> String {
    match *protocol {
        "tcp" => format!("-t {at}"),
        "udp" => format!("-u {at}"),
        _ => format!("--sctp-service {at}"),
    }
}
