//! The rules of kube-proxy's iptables mode, as text for `iptables-restore` and `ip6tables-restore`.
//!
//! Three texts, as kube-proxy writes them: [`rules`] for a node that has none, [`resync`] for one that has
//! some, and [`update`] where it knows which services have changed. The last two are for `--noflush
//! --counters`, and write all chains that belong to no single service in any case: with them the chain that
//! all new connections go through, which has a rule for each service.
//!
//! Left out are the counters of `nfacct`, which kube-proxy leaves out, too, where a kernel has none.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use crate::model::{Endpoint, FrontendKind, PortName, Range, State, TrafficPolicy};

use super::endpoints::{Served, changed, contains, digest, pod_range};

/// The mark of packets that leave with the node's address.
const MARK: &str = "0x4000/0x4000";
/// With more endpoints than this, chains of single services have no comments.
const LARGE: usize = 1000;

/// The rules of a node for one family, from nothing: jumps from the built-in chains included.
pub fn rules(state: &State, node: &str, v4: bool) -> String {
    let mut tables = Tables::new(state, node, v4);
    tables.jumps(v4);
    tables.fill(state, node, None);
    tables.text(
        ":INPUT ACCEPT\n:FORWARD ACCEPT\n:OUTPUT ACCEPT\n:KUBE-FIREWALL -\n",
        ":PREROUTING ACCEPT\n:INPUT ACCEPT\n:OUTPUT ACCEPT\n:POSTROUTING ACCEPT\n",
    )
}

/// All rules once more, over those that are there.
pub fn resync(state: &State, node: &str, v4: bool) -> String {
    let mut tables = Tables::new(state, node, v4);
    tables.fill(state, node, None);
    tables.text("", "")
}

/// What turns the rules of `old` into those of `new`: the shared chains as a whole, and of single services
/// those that differ. Chains that are no longer used stay until [`sweep`].
///
/// Whether chains have comments is not changed by it: that needs a [`resync`].
pub fn update(old: &State, new: &State, node: &str, v4: bool) -> String {
    let mut tables = Tables::new(new, node, v4);
    tables.fill(new, node, Some(&changed(old, new)));
    tables.text("", "")
}

/// Takes out the chains that `old` had and `new` has not, which kube-proxy does some time after an update;
/// empty if there are none.
pub fn sweep(old: &State, new: &State, node: &str, v4: bool) -> String {
    let only = changed(old, new);
    let chains = |state: &State| {
        let mut tables = Tables::new(state, node, v4);
        tables.fill(state, node, Some(&only));
        let names = tables.nat_chains.lines().filter_map(|line| line.strip_prefix(':'));
        let names = names.filter_map(|line| line.split(' ').next());
        names.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let (old, new) = (chains(old), chains(new));
    let gone: Vec<_> = old.difference(&new).collect();
    if gone.is_empty() {
        return String::new();
    }
    // Emptied first, all of them, since they jump to one another.
    let flushed: String = gone.iter().map(|name| format!(":{name} - [0:0]\n")).collect();
    let deleted: String = gone.iter().map(|name| format!("-X {name}\n")).collect();
    format!("*nat\n{flushed}{deleted}COMMIT\n")
}

/// Rules of the tables `filter` and `nat`, while they are written.
struct Tables {
    v4: bool,
    pods: Option<Range>,
    own: Vec<IpAddr>,
    /// Whether chains of single services have comments.
    commented: bool,
    filter: String,
    nat_chains: String,
    nat: String,
    /// Whether what is written now is left out: the chains of a service that has not changed.
    quiet: bool,
}

impl Tables {
    fn new(state: &State, node: &str, v4: bool) -> Self {
        let ports = state.services.values();
        let endpoints =
            ports.flat_map(|port| &port.endpoints).filter(|e| e.address.is_ipv4() == v4);
        let info = state.nodes.get(node);
        Self {
            v4,
            pods: pod_range(state, v4),
            own: info.map(|node| node.all_addresses().collect()).unwrap_or_default(),
            commented: endpoints.count() <= LARGE,
            filter: String::new(),
            nat_chains: String::new(),
            nat: String::new(),
            quiet: false,
        }
    }

    /// The text, with these chains declared first.
    fn text(&self, filter_chains: &str, nat_chains: &str) -> String {
        format!(
            "*filter\n{filter_chains}:KUBE-SERVICES - [0:0]\n:KUBE-EXTERNAL-SERVICES - [0:0]\n\
             :KUBE-FORWARD - [0:0]\n:KUBE-NODEPORTS - [0:0]\n:KUBE-PROXY-FIREWALL - [0:0]\n{}COMMIT\n\
             *nat\n{nat_chains}:KUBE-SERVICES - [0:0]\n:KUBE-NODEPORTS - [0:0]\n\
             :KUBE-POSTROUTING - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n{}{}COMMIT\n",
            self.filter, self.nat_chains, self.nat
        )
    }

    fn filter(&mut self, rule: &str) {
        let _ = writeln!(self.filter, "-A {rule}");
    }

    /// A rule of a chain that all services share.
    fn nat(&mut self, rule: &str) {
        let _ = writeln!(self.nat, "-A {rule}");
    }

    /// A rule of a chain of one service.
    fn own(&mut self, rule: &str) {
        if !self.quiet {
            self.nat(rule);
        }
    }

    fn chain(&mut self, name: &str) {
        if !self.quiet {
            let _ = writeln!(self.nat_chains, ":{name} - [0:0]");
        }
    }

    /// A comment in the chain of one service, with a space behind it.
    fn comment(&self, text: &str) -> String {
        if self.commented { format!("{} ", comment(text)) } else { String::new() }
    }

    /// From the built-in chains to those of kube-proxy, and the rule of the kubelet.
    fn jumps(&mut self, v4: bool) {
        let new = "-m conntrack --ctstate NEW";
        let firewall = comment("kubernetes load balancer firewall");
        let external = comment("kubernetes externally-visible service portals");
        let portals = comment("kubernetes service portals");
        for hook in ["INPUT", "FORWARD", "OUTPUT"] {
            self.filter(&format!("{hook} {new} {firewall} -j KUBE-PROXY-FIREWALL"));
        }
        let health = comment("kubernetes health check service ports");
        self.filter(&format!("INPUT {health} -j KUBE-NODEPORTS"));
        let forward = comment("kubernetes forwarding rules");
        self.filter(&format!("FORWARD {forward} -j KUBE-FORWARD"));
        for hook in ["FORWARD", "OUTPUT"] {
            self.filter(&format!("{hook} {new} {portals} -j KUBE-SERVICES"));
        }
        for hook in ["INPUT", "FORWARD"] {
            self.filter(&format!("{hook} {new} {external} -j KUBE-EXTERNAL-SERVICES"));
        }
        self.filter("INPUT -j KUBE-FIREWALL");
        self.filter("OUTPUT -j KUBE-FIREWALL");
        if v4 {
            self.filter(&format!(
                "KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 {} -m conntrack \
                 ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP",
                comment("block incoming localnet connections")
            ));
        }
        for hook in ["PREROUTING", "OUTPUT"] {
            self.nat(&format!("{hook} {portals} -j KUBE-SERVICES"));
        }
        let postrouting = comment("kubernetes postrouting rules");
        self.nat(&format!("POSTROUTING {postrouting} -j KUBE-POSTROUTING"));
    }

    /// All chains of kube-proxy; of single services only `only`, if that is given.
    fn fill(&mut self, state: &State, node: &str, only: Option<&BTreeSet<&PortName>>) {
        self.nat(&format!("KUBE-POSTROUTING -m mark ! --mark {MARK} -j RETURN"));
        self.nat("KUBE-POSTROUTING -j MARK --xor-mark 0x4000");
        let snat = comment("kubernetes service traffic requiring SNAT");
        self.nat(&format!("KUBE-POSTROUTING {snat} -j MASQUERADE --random-fully"));
        self.nat("KUBE-MARK-MASQ -j MARK --or-mark 0x4000");
        for served in Served::all(state, node, self.v4) {
            self.quiet = only.is_some_and(|only| !only.contains(served.key));
            self.serve(&served);
        }
        self.quiet = false;
        // After all services: node ports are looked at last.
        self.nat(&format!(
            "KUBE-SERVICES {} -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS",
            comment("kubernetes service nodeports; NOTE: this must be the last rule in this chain")
        ));
        self.filter("KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP");
        let forward = comment("kubernetes forwarding rules");
        self.filter(&format!("KUBE-FORWARD {forward} -m mark --mark {MARK} -j ACCEPT"));
        let established = comment("kubernetes forwarding conntrack rule");
        self.filter(&format!(
            "KUBE-FORWARD {established} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
        ));
    }

    /// A port of a service.
    fn serve(&mut self, served: &Served<'_>) {
        let Served { name, protocol, port, .. } = served;
        let cluster_ips: Vec<_> = served.addresses(FrontendKind::ClusterIp, self.v4).collect();
        if cluster_ips.is_empty() {
            return; // not of this family
        }
        let [svc, svl, ext] = ["SVC", "SVL", "EXT"].map(|kind| chain(kind, served));
        let is_internal_local = port.internal_policy == TrafficPolicy::Local;
        let internal = if is_internal_local { &svl } else { &svc };
        let at = |address: &IpAddr, what: &str| {
            let (to, note) = (Range::of(*address), comment(&format!("{name} {what}")));
            format!("{note} -m {protocol} -p {protocol} -d {to} --dport {}", port.port)
        };
        let (target, lack) = if served.is_dead() {
            ("REJECT", "has no endpoints")
        } else {
            ("DROP", "has no local endpoints")
        };

        for address in &cluster_ips {
            if served.internal().is_empty() {
                self.filter(&format!("KUBE-SERVICES {} -j {target}", at(address, lack)));
            } else {
                self.nat(&format!("KUBE-SERVICES {} -j {internal}", at(address, "cluster IP")));
            }
        }
        let ranges = served.ranges(self.v4);
        let firewall = chain("FW", served);
        let balanced_to = if ranges.is_empty() { &ext } else { &firewall };
        let balanced: Vec<_> = served.addresses(FrontendKind::LoadBalancer, self.v4).collect();
        let external = served.addresses(FrontendKind::ExternalIp, self.v4);
        let external = external.map(|address| (address, "external IP", &ext));
        let all = balanced.iter().map(|address| (*address, "loadbalancer IP", balanced_to));
        for (address, what, to) in external.chain(all) {
            if !served.is_dead() {
                self.nat(&format!("KUBE-SERVICES {} -j {to}", at(&address, what)));
                if to == &firewall {
                    let not = at(&address, &format!("traffic not accepted by {firewall}"));
                    self.filter(&format!("KUBE-PROXY-FIREWALL {not} -j DROP"));
                }
            }
            if served.external().is_empty() {
                let dead = at(&address, lack);
                self.filter(&format!("KUBE-EXTERNAL-SERVICES {dead} -j {target}"));
            }
        }
        if let Some(number) = port.node_port {
            let at = format!("-m {protocol} -p {protocol} --dport {number}");
            if !served.is_dead() {
                self.nat(&format!("KUBE-NODEPORTS {} {at} -j {ext}", comment(name)));
            }
            if served.external().is_empty() {
                let (here, note) =
                    ("-m addrtype --dst-type LOCAL", comment(&format!("{name} {lack}")));
                self.filter(&format!("KUBE-EXTERNAL-SERVICES {note} {here} {at} -j {target}"));
            }
        }
        if let (Some(number), true) = (port.health_check_port, served.is_local()) {
            let note = comment(&format!("{name} health check node port"));
            self.filter(&format!("KUBE-NODEPORTS {note} -m tcp -p tcp --dport {number} -j ACCEPT"));
        }
        if served.is_dead() {
            return;
        }
        if served.uses_cluster() {
            self.chain(&svc);
        }
        if served.uses_local() {
            self.chain(&svl);
        }
        if let (Some(pods), false) = (self.pods, served.internal().is_empty()) {
            for address in &cluster_ips {
                let at = at(address, "cluster IP");
                self.own(&format!("{internal} {at} ! -s {pods} -j KUBE-MARK-MASQ"));
            }
        }
        if served.is_external() {
            self.external(served, &svc, &svl, &ext);
        }
        if !ranges.is_empty() {
            self.firewall(served, &firewall, &ext, &ranges, &balanced);
        }
        if served.uses_cluster() {
            self.balance(&svc, &served.cluster, served);
        }
        if served.uses_local() {
            self.balance(&svl, &served.local, served);
        }
        for endpoint in served.used() {
            self.endpoint(endpoint, served);
        }
    }

    /// What comes from outside, or to an address for those outside.
    fn external(&mut self, served: &Served<'_>, svc: &str, svl: &str, ext: &str) {
        let name = &served.name;
        let what = |verb: &str| comment(&format!("{verb} for {name} external destinations"));
        self.chain(ext);
        if !served.is_local() {
            self.own(&format!("{ext} {} -j KUBE-MARK-MASQ", what("masquerade traffic")));
            self.own(&format!("{ext} -j {svc}"));
            return;
        }
        if let Some(pods) = self.pods {
            self.own(&format!("{ext} {} -s {pods} -j {svc}", what("pod traffic")));
        }
        let own = "-m addrtype --src-type LOCAL";
        self.own(&format!("{ext} {} {own} -j KUBE-MARK-MASQ", what("masquerade LOCAL traffic")));
        self.own(&format!("{ext} {} {own} -j {svc}", what("route LOCAL traffic")));
        if !served.local.is_empty() {
            self.own(&format!("{ext} -j {svl}"));
        }
    }

    /// Who may use the addresses of the load balancer.
    fn firewall(
        &mut self,
        served: &Served<'_>,
        firewall: &str,
        ext: &str,
        ranges: &[Range],
        balanced: &[IpAddr],
    ) {
        self.chain(firewall);
        let note = comment(&format!("{} loadbalancer IP", served.name));
        for range in ranges {
            self.own(&format!("{firewall} {note} -s {range} -j {ext}"));
        }
        if self.own.iter().any(|ip| ranges.iter().any(|range| contains(range, *ip))) {
            for address in balanced {
                self.own(&format!("{firewall} {note} -s {} -j {ext}", Range::of(*address)));
            }
        }
    }

    /// The choice among endpoints.
    fn balance(&mut self, from: &str, endpoints: &[&Endpoint], served: &Served<'_>) {
        let note =
            |endpoint: &Endpoint| self.comment(&format!("{} -> {}", served.name, end(endpoint)));
        let mut rules = Vec::new();
        if let Some(seconds) = served.port.affinity {
            rules.extend(endpoints.iter().map(|endpoint| {
                let (sep, note) = (sep(served, endpoint), note(endpoint));
                format!(
                    "{from} {note}-m recent --name {sep} --rcheck --seconds {seconds} --reap -j {sep}"
                )
            }));
        }
        for (index, endpoint) in endpoints.iter().enumerate() {
            let (left, sep, note) =
                (endpoints.len() - index, sep(served, endpoint), note(endpoint));
            rules.push(if left > 1 {
                let chance = 1.0 / left as f64;
                format!(
                    "{from} {note}-m statistic --mode random --probability {chance:.10} -j {sep}"
                )
            } else {
                format!("{from} {note}-j {sep}")
            });
        }
        rules.iter().for_each(|rule| self.own(rule));
    }

    /// One endpoint: masquerade what it sends to itself, and translate.
    fn endpoint(&mut self, endpoint: &Endpoint, served: &Served<'_>) {
        let (sep, protocol, note) =
            (sep(served, endpoint), served.protocol, self.comment(&served.name));
        self.chain(&sep);
        self.own(&format!("{sep} {note}-s {} -j KUBE-MARK-MASQ", Range::of(endpoint.address)));
        let set = match served.port.affinity {
            Some(_) => format!("-m recent --name {sep} --set "),
            None => String::new(),
        };
        let to = end(endpoint);
        self.own(&format!(
            "{sep} {note}{set}-m {protocol} -p {protocol} -j DNAT --to-destination {to}"
        ));
    }
}

fn comment(text: &str) -> String {
    format!("-m comment --comment \"{text}\"")
}

fn end(endpoint: &Endpoint) -> SocketAddr {
    SocketAddr::new(endpoint.address, endpoint.port)
}

fn sep(served: &Served<'_>, endpoint: &Endpoint) -> String {
    format!("KUBE-SEP-{:016X}", digest(&(served.key, end(endpoint))))
}

/// The name of a chain of a service: what kind it is, and a hash of what it is for.
fn chain(kind: &str, served: &Served<'_>) -> String {
    format!("KUBE-{kind}-{:016X}", digest(served.key))
}
