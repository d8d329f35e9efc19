//! The rules of kube-proxy's iptables mode, as text for `iptables-restore` and `ip6tables-restore`.

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

use crate::model::{Endpoint, FrontendKind, Range, State, TrafficPolicy};

use super::endpoints::{Served, contains, pod_range};

/// The mark of packets that leave with the node's address.
const MARK: &str = "0x4000/0x4000";

/// Rules of the tables `filter` and `nat`.
#[derive(Default)]
struct Tables {
    filter: String,
    nat_chains: String,
    nat: String,
}

/// The rules of a node for one family.
pub fn rules(state: &State, node: &str, v4: bool) -> String {
    let mut tables = Tables::default();
    tables.begin(v4);
    let pods = pod_range(state, v4);
    let own: Vec<IpAddr> =
        state.nodes.get(node).map(|node| node.all_addresses().collect()).unwrap_or_default();
    for served in Served::all(state, node, v4) {
        tables.serve(&served, v4, pods.as_ref(), &own);
    }
    // After all services: node ports are looked at last.
    tables.nat("KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS");
    format!(
        "*filter\n:INPUT ACCEPT\n:FORWARD ACCEPT\n:OUTPUT ACCEPT\n:KUBE-SERVICES -\n\
         :KUBE-EXTERNAL-SERVICES -\n:KUBE-FORWARD -\n:KUBE-FIREWALL -\n:KUBE-PROXY-FIREWALL -\n\
         {}COMMIT\n*nat\n:PREROUTING ACCEPT\n:INPUT ACCEPT\n:OUTPUT ACCEPT\n:POSTROUTING ACCEPT\n\
         :KUBE-SERVICES -\n:KUBE-NODEPORTS -\n:KUBE-MARK-MASQ -\n:KUBE-POSTROUTING -\n{}{}COMMIT\n",
        tables.filter, tables.nat_chains, tables.nat
    )
}

impl Tables {
    fn filter(&mut self, rule: &str) {
        let _ = writeln!(self.filter, "-A {rule}");
    }

    fn nat(&mut self, rule: &str) {
        let _ = writeln!(self.nat, "-A {rule}");
    }

    fn chain(&mut self, name: &str) {
        let _ = writeln!(self.nat_chains, ":{name} -");
    }

    /// What does not depend on services.
    fn begin(&mut self, v4: bool) {
        for hook in ["INPUT", "FORWARD", "OUTPUT"] {
            self.filter(&format!("{hook} -m conntrack --ctstate NEW -j KUBE-PROXY-FIREWALL"));
        }
        self.filter("FORWARD -j KUBE-FORWARD");
        for hook in ["FORWARD", "OUTPUT"] {
            self.filter(&format!("{hook} -m conntrack --ctstate NEW -j KUBE-SERVICES"));
        }
        for hook in ["INPUT", "FORWARD"] {
            self.filter(&format!("{hook} -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES"));
        }
        self.filter("INPUT -j KUBE-FIREWALL");
        self.filter("OUTPUT -j KUBE-FIREWALL");
        if v4 {
            self.filter(
                "KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m conntrack \
                 ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP",
            );
        }
        self.filter("KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP");
        self.filter(&format!("KUBE-FORWARD -m mark --mark {MARK} -j ACCEPT"));
        self.filter("KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT");
        self.nat("PREROUTING -j KUBE-SERVICES");
        self.nat("OUTPUT -j KUBE-SERVICES");
        self.nat("POSTROUTING -j KUBE-POSTROUTING");
        self.nat("KUBE-MARK-MASQ -j MARK --or-mark 0x4000");
        self.nat(&format!("KUBE-POSTROUTING -m mark ! --mark {MARK} -j RETURN"));
        self.nat("KUBE-POSTROUTING -j MARK --xor-mark 0x4000");
        self.nat("KUBE-POSTROUTING -j MASQUERADE --random-fully");
    }

    /// A port of a service.
    fn serve(&mut self, served: &Served<'_>, v4: bool, pods: Option<&Range>, own: &[IpAddr]) {
        let Served { name, protocol, port, .. } = served;
        let kinds = |kind| served.addresses(kind, v4).collect::<Vec<_>>();
        let cluster_ips = kinds(FrontendKind::ClusterIp);
        if cluster_ips.is_empty() {
            return; // not of this family
        }
        let (svc, svl) = (chain("SVC", name, protocol), chain("SVL", name, protocol));
        let ext = chain("EXT", name, protocol);
        let is_internal_local = served.port.internal_policy == TrafficPolicy::Local;
        let internal = if is_internal_local { &svl } else { &svc };
        let at = |address: &IpAddr| {
            format!("-d {} -p {protocol} -m {protocol} --dport {}", host(*address), port.port)
        };
        let target = if served.is_dead() { "REJECT" } else { "DROP" };

        for address in &cluster_ips {
            let at = at(address);
            if served.internal().is_empty() {
                self.filter(&format!("KUBE-SERVICES {at} -j {target}"));
            } else {
                self.nat(&format!("KUBE-SERVICES {at} -j {internal}"));
            }
        }
        let balanced = kinds(FrontendKind::LoadBalancer);
        let closed = !served.port.source_ranges.is_empty() && !served.ranges(v4).is_empty();
        let firewall = chain("FW", name, protocol);
        let external = kinds(FrontendKind::ExternalIp).into_iter().map(|address| (address, &ext));
        let balanced_to = if closed { &firewall } else { &ext };
        let balanced = balanced.iter().map(|address| (*address, balanced_to));
        for (address, to) in external.chain(balanced) {
            let at = at(&address);
            if !served.is_dead() {
                self.nat(&format!("KUBE-SERVICES {at} -j {to}"));
                if to == &firewall {
                    self.filter(&format!("KUBE-PROXY-FIREWALL {at} -j DROP"));
                }
            }
            if served.external().is_empty() {
                self.filter(&format!("KUBE-EXTERNAL-SERVICES {at} -j {target}"));
            }
        }
        if let Some(number) = port.node_port {
            let at = format!("-p {protocol} -m {protocol} --dport {number}");
            if !served.is_dead() {
                self.nat(&format!("KUBE-NODEPORTS {at} -j {ext}"));
            }
            if served.external().is_empty() {
                let here = "-m addrtype --dst-type LOCAL";
                self.filter(&format!("KUBE-EXTERNAL-SERVICES {here} {at} -j {target}"));
            }
        }
        if served.is_dead() {
            return;
        }
        if closed {
            self.chain(&firewall);
            let ranges = served.ranges(v4);
            for range in &ranges {
                self.nat(&format!("{firewall} -s {range} -j {ext}"));
            }
            if own.iter().any(|ip| ranges.iter().any(|range| contains(range, *ip))) {
                for address in kinds(FrontendKind::LoadBalancer) {
                    self.nat(&format!("{firewall} -s {} -j {ext}", host(address)));
                }
            }
        }
        self.chain(&svc);
        self.chain(&svl);
        if let (Some(pods), false) = (pods, served.internal().is_empty()) {
            for address in &cluster_ips {
                self.nat(&format!("{internal} ! -s {pods} {} -j KUBE-MARK-MASQ", at(address)));
            }
        }
        if served.is_external() {
            self.chain(&ext);
            if served.is_local() {
                if let Some(pods) = pods {
                    self.nat(&format!("{ext} -s {pods} -j {svc}"));
                }
                self.nat(&format!("{ext} -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ"));
                self.nat(&format!("{ext} -m addrtype --src-type LOCAL -j {svc}"));
                if !served.local.is_empty() {
                    self.nat(&format!("{ext} -j {svl}"));
                }
            } else {
                self.nat(&format!("{ext} -j KUBE-MARK-MASQ"));
                self.nat(&format!("{ext} -j {svc}"));
            }
        }
        self.balance(&svc, &served.cluster, served);
        self.balance(&svl, &served.local, served);
        let mut done = Vec::new();
        for endpoint in served.cluster.iter().chain(&served.local) {
            let sep = sep(served, endpoint);
            if !done.contains(&sep) {
                self.endpoint(&sep, endpoint, served);
                done.push(sep);
            }
        }
    }

    /// The choice among endpoints.
    fn balance(&mut self, from: &str, endpoints: &[&Endpoint], served: &Served<'_>) {
        if let Some(seconds) = served.port.affinity {
            for endpoint in endpoints {
                let sep = sep(served, endpoint);
                self.nat(&format!(
                    "{from} -m recent --name {sep} --rcheck --seconds {seconds} --reap -j {sep}"
                ));
            }
        }
        for (index, endpoint) in endpoints.iter().enumerate() {
            let (left, sep) = (endpoints.len() - index, sep(served, endpoint));
            if left > 1 {
                let chance = 1.0 / left as f64;
                self.nat(&format!(
                    "{from} -m statistic --mode random --probability {chance:.10} -j {sep}"
                ));
            } else {
                self.nat(&format!("{from} -j {sep}"));
            }
        }
    }

    /// One endpoint: masquerade what it sends to itself, and translate.
    fn endpoint(&mut self, sep: &str, endpoint: &Endpoint, served: &Served<'_>) {
        self.chain(sep);
        let protocol = served.protocol;
        self.nat(&format!("{sep} -s {} -j KUBE-MARK-MASQ", host(endpoint.address)));
        let set = match served.port.affinity {
            Some(_) => format!("-m recent --name {sep} --set "),
            None => String::new(),
        };
        let to = SocketAddr::new(endpoint.address, endpoint.port);
        self.nat(&format!("{sep} -p {protocol} {set}-m {protocol} -j DNAT --to-destination {to}"));
    }
}

fn sep(served: &Served<'_>, endpoint: &Endpoint) -> String {
    let to = SocketAddr::new(endpoint.address, endpoint.port);
    chain("SEP", &format!("{}{to}", served.name), served.protocol)
}

/// The name of a chain: what kind it is, and a hash of what it is for.
fn chain(kind: &str, name: &str, protocol: &str) -> String {
    let mut hasher = DefaultHasher::new();
    (name, protocol).hash(&mut hasher);
    format!("KUBE-{kind}-{:016X}", hasher.finish())
}

/// An address as a range of one.
fn host(address: IpAddr) -> Range {
    Range::of(address)
}
