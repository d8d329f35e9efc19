//! Every frontend of one service, from everywhere, under all policies: kube-proxy's rules, written down
//! once more and apart from those of the control plane.

use super::row::Row;

const SOURCES: [&str; 3] = ["pa", "node-a", "client"];
const FRONTENDS: [(&str, &str); 5] = [
    ("cluster address", "svc1:80"),
    ("node port here", "node-a:30080"),
    ("node port of the other node", "node-b:30080"),
    ("external address", "ext1:80"),
    ("load balancer", "lb1:80"),
];
const ENDPOINTS: [&[&str]; 4] = [&["a1", "b1"], &["b1"], &["a1"], &[]];

/// Rows for each policy, source, frontend and set of endpoints.
pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for external in ["Cluster", "Local"] {
        for internal in ["Cluster", "Local"] {
            for (kind, to) in FRONTENDS {
                for from in SOURCES {
                    rows.extend(ENDPOINTS.map(|endpoints| {
                        let case = Case { external, internal, to, from, endpoints };
                        Row {
                            name: format!(
                                "etp={external} itp={internal} {from} to {kind}, endpoints {}",
                                endpoints.join(" ")
                            ),
                            services: vec![format!(
                                "svc=1 port=tcp:80:8080:30080 lb=lb1 ext=ext1 etp={external} \
                                 itp={internal} eps={}",
                                endpoints.join(",")
                            )],
                            from,
                            to: format!("tcp {to}"),
                            kube_proxy: case.kube_proxy(),
                            differs: case.differs(),
                        }
                    }));
                }
            }
        }
    }
    rows
}

struct Case {
    external: &'static str,
    internal: &'static str,
    to: &'static str,
    from: &'static str,
    endpoints: &'static [&'static str],
}

impl Case {
    fn is_cluster_address(&self) -> bool {
        self.to.starts_with("svc")
    }

    /// The letter of the node on which kube-proxy translates.
    fn entry(&self) -> char {
        if self.to.starts_with("node-b") { 'b' } else { 'a' }
    }

    /// What kube-proxy does.
    fn kube_proxy(&self) -> String {
        let is_pod = self.from == "pa";
        // A packet of a node that its own kube-proxy translates.
        let is_of_entry = self.from == "node-a" && self.entry() == 'a';
        let (local, masquerades) = if self.is_cluster_address() {
            (self.internal == "Local", !is_pod)
        } else if self.external == "Cluster" {
            (false, true)
        } else if is_pod || is_of_entry {
            // Spared the way through a node that would turn them down.
            (false, !is_pod)
        } else {
            (true, false)
        };
        self.served(local, |_| masquerades)
    }

    /// Where it is something else here.
    fn differs(&self) -> Option<(u32, String)> {
        let all_own = || self.served(false, |_| false);
        let (number, here) = match self.from {
            "client" if self.is_cluster_address() => (29, "DROP".to_owned()),
            _ if self.is_cluster_address() => return None,
            "client" if self.external == "Cluster" => {
                (25, self.served(false, |endpoint| !endpoint.starts_with(self.entry())))
            }
            "client" => return None,
            "node-a" if self.to.starts_with("node-a") => (30, "PASS".to_owned()),
            _ if self.entry() == 'b' => (26, all_own()),
            _ => (31, all_own()),
        };
        (here != self.kube_proxy()).then_some((number, here))
    }

    /// The endpoints, all or those of the node that translates, each with whether it sees a node.
    fn served(&self, local: bool, masquerades: impl Fn(&str) -> bool) -> String {
        let counts = |endpoint: &&&str| !local || endpoint.starts_with(self.entry());
        let shown = |endpoint: &&str| {
            let mark = if masquerades(endpoint) || self.from == "node-a" { "*" } else { "" };
            format!("{endpoint}:8080{mark}")
        };
        let reached: Vec<String> = self.endpoints.iter().filter(counts).map(shown).collect();
        match (reached.is_empty(), self.endpoints.is_empty()) {
            (false, _) => reached.join(" "),
            (true, false) => "DROP".into(),
            (true, true) => "REJECT".into(),
        }
    }
}
