//! The cluster of the rows, and names for all that is in it.
//!
//! | name | what |
//! |---|---|
//! | `node-a`, `node-b` | the nodes, by their internal addresses; the servers on their own network |
//! | `node-a.ext` | an external address of `node-a` |
//! | `pa`, `pb` | a pod on each node that serves nothing |
//! | `a1` to `a4`, `b1`, `b2` | pods that serve |
//! | `client`, `stranger` | outside, behind a router |
//! | `svc1` to `svc9` | cluster addresses; `svc200` is nobody's |
//! | `lb1`, `lb2`, `ext1` | of load balancers and external ones, which the router sends to `node-a` |

use std::net::IpAddr;

use twinpath::scenario::Scenario;
use twinpath_control::model::State;
use twinpath_control::problem::Severity;
use twinpath_control::read::read;

/// The pods with devices of their own, by node.
pub(crate) const PODS: [(&str, char); 8] = [
    ("pa", 'a'),
    ("a1", 'a'),
    ("a2", 'a'),
    ("a3", 'a'),
    ("a4", 'a'),
    ("pb", 'b'),
    ("b1", 'b'),
    ("b2", 'b'),
];

/// The nodes' names, each that of the server on its network, too.
pub(crate) const NODES: [&str; 2] = ["node-a", "node-b"];

/// The address that a name stands for.
pub(crate) fn address(name: &str, family: u8) -> IpAddr {
    let number = |prefix: &str| name.strip_prefix(prefix)?.parse::<u16>().ok();
    let (v4, v6) = if let Some(n) = number("svc") {
        ([10, 96, 0, n as u8], [0xfd00, 0x10, 0x96, 0, 0, 0, 0, n])
    } else if let Some(n) = number("lb") {
        ([198, 51, 100, n as u8], [0x2001, 0xdb8, 1, 0, 0, 0, 0, n])
    } else if let Some(n) = number("ext") {
        ([198, 51, 100, 100 + n as u8], [0x2001, 0xdb8, 1, 0, 0, 0, 1, n])
    } else if let Some(n) = NODES.iter().position(|node| *node == name) {
        let n = n as u16 + 1;
        ([192, 168, 0, n as u8], [0xfd00, 0x192, 0x168, 0, 0, 0, 0, n])
    } else if let Some(n) = PODS.iter().position(|pod| pod.0 == name) {
        let (node, n) = (if PODS[n].1 == 'a' { 1 } else { 2 }, n as u16 + 10);
        ([10, 244, node as u8, n as u8], [0xfd00, 0x10, 0x244, node, 0, 0, 0, n])
    } else {
        match name {
            "node-a.ext" => ([192, 0, 2, 1], [0x2001, 0xdb8, 2, 0, 0, 0, 0, 1]),
            "client" => ([100, 64, 1, 1], [0x2001, 0xdb8, 3, 0, 0, 0, 0, 1]),
            "stranger" => ([100, 64, 2, 1], [0x2001, 0xdb8, 4, 0, 0, 0, 0, 1]),
            _ => panic!("{name}: nobody's name"),
        }
    };
    if family == 4 { v4.into() } else { v6.into() }
}

/// Both addresses of a name, as a YAML list.
fn both(name: &str) -> String {
    format!("['{}', '{}']", address(name, 4), address(name, 6))
}

/// Nodes, pods and the range of cluster addresses, as Kubernetes has them.
fn objects() -> String {
    let mut text = "apiVersion: networking.k8s.io/v1\nkind: ServiceCIDR\n\
        metadata: {name: kubernetes}\nspec: {cidrs: [10.96.0.0/16, 'fd00:10:96::/112']}\n"
        .to_owned();
    for (index, node) in NODES.into_iter().enumerate() {
        let n = index + 1;
        let address_of = |kind: &str, name: &str, family| {
            format!("{{type: {kind}, address: '{}'}}", address(name, family))
        };
        let mut addresses: Vec<String> =
            [4, 6].into_iter().map(|family| address_of("InternalIP", node, family)).collect();
        if index == 0 {
            addresses.extend([4, 6].map(|family| address_of("ExternalIP", "node-a.ext", family)));
        }
        text += &format!(
            "---\napiVersion: v1\nkind: Node\nmetadata: {{name: {node}}}\n\
             spec: {{podCIDRs: [10.244.{n}.0/24, 'fd00:10:244:{n}::/64']}}\n\
             status: {{addresses: [{}]}}\n",
            addresses.join(", ")
        );
        text += &pod(&format!("host-{node}"), node, node, true);
    }
    for (name, node) in PODS {
        text += &pod(name, name, &format!("node-{node}"), false);
    }
    text
}

fn pod(name: &str, addresses: &str, node: &str, host_network: bool) -> String {
    let ips = [4, 6].map(|family| format!("{{ip: '{}'}}", address(addresses, family)));
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: default}}\n\
         spec: {{nodeName: {node}, hostNetwork: {host_network}}}\n\
         status: {{phase: Running, podIPs: [{}]}}\n",
        ips.join(", ")
    )
}

/// The cluster without services, and with clients; `xdp` says whether uplinks have that hook, too.
pub(crate) fn scenario(xdp: bool) -> Scenario {
    let indented = |text: String| text.replace('\n', "\n  ");
    let routes: Vec<String> = ["lb1", "lb2", "ext1", "svc1"]
        .into_iter()
        .flat_map(|name| [4, 6].map(|family| format!("'{}': node-a", address(name, family))))
        .collect();
    let text = format!(
        "scenario: rows\nclients:\n  client: {{addresses: {}}}\n  stranger: {{addresses: {}}}\n\
         router: {{routes: {{{}}}}}\noptions: {{xdp: {xdp}}}\nsteps: []\nobjects: |\n  {}\n",
        both("client"),
        both("stranger"),
        routes.join(", "),
        indented(objects()),
    );
    Scenario::parse("rows", &text, ".".as_ref()).unwrap()
}

/// The cluster with these services.
///
/// One is words: `svc=1`, its cluster address; `port=tcp:80:8080:30080`, a port with its target and its
/// node port, which may be missing; `lb=lb1,lb2`; `ext=ext1`; `ranges=client,node-a`, who may use the load
/// balancer; `etp=Local` and `itp=Local`; `eps=a1,b1`, its endpoints: `a1!` terminates and serves, `a1-`
/// terminates and does not serve, `a1?` is not ready.
pub(crate) fn state(services: &[String]) -> State {
    let text = services.iter().fold(objects(), |text, line| text + &service(line));
    let objects = read("rows", text.as_bytes()).unwrap();
    let (state, problems) = State::new(&objects);
    let wrong: Vec<_> = problems.iter().filter(|p| p.severity == Severity::Error).collect();
    assert!(wrong.is_empty(), "{services:?}: {wrong:?}");
    state
}

fn service(line: &str) -> String {
    let words: Vec<(&str, &str)> =
        line.split_whitespace().map(|word| word.split_once('=').expect(line)).collect();
    let one = |key: &str| words.iter().find(|word| word.0 == key).map(|word| word.1);
    let list = |key: &str| one(key).unwrap_or("").split(',').filter(|item| !item.is_empty());
    let number = one("svc").expect(line);
    let (mut ports, mut targets, mut has_node_port) = (Vec::new(), Vec::new(), false);
    for (_, port) in words.iter().filter(|word| word.0 == "port") {
        let parts: Vec<&str> = port.split(':').collect();
        let (protocol, name) = (parts[0].to_uppercase(), format!("{}-{}", parts[0], parts[1]));
        let node_port = parts.get(3).map_or(String::new(), |port| format!(", nodePort: {port}"));
        has_node_port |= !node_port.is_empty();
        ports.push(format!(
            "{{name: {name}, protocol: {protocol}, port: {}, targetPort: {}{node_port}}}",
            parts[1], parts[2]
        ));
        targets.push(format!("{{name: {name}, protocol: {protocol}, port: {}}}", parts[2]));
    }
    let kind = match (one("lb"), has_node_port) {
        (Some(_), _) => "LoadBalancer",
        (None, true) => "NodePort",
        (None, false) => "ClusterIP",
    };
    let every = |key: &str, shown: fn(IpAddr) -> String| {
        let items: Vec<String> =
            list(key).flat_map(|name| [4, 6].map(|family| shown(address(name, family)))).collect();
        items.join(", ")
    };
    let ranges = every("ranges", |a| format!("'{a}/{}'", if a.is_ipv4() { 32 } else { 128 }));
    let mut text = format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{number}, namespace: default}}\n\
         spec:\n  type: {kind}\n  clusterIPs: {}\n  ipFamilies: [IPv4, IPv6]\n  \
         externalIPs: [{}]\n  loadBalancerSourceRanges: [{ranges}]\n  \
         externalTrafficPolicy: {}\n  internalTrafficPolicy: {}\n  ports: [{}]\n\
         status: {{loadBalancer: {{ingress: [{}]}}}}\n",
        both(&format!("svc{number}")),
        every("ext", |a| format!("'{a}'")),
        one("etp").unwrap_or("Cluster"),
        one("itp").unwrap_or("Cluster"),
        ports.join(", "),
        every("lb", |a| format!("{{ip: '{a}'}}")),
    );
    for family in [4, 6] {
        let endpoints: Vec<String> = list("eps").map(|name| endpoint(name, family)).collect();
        text += &format!(
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  \
             name: s{number}-{family}\n  namespace: default\n  \
             labels: {{kubernetes.io/service-name: s{number}}}\naddressType: IPv{family}\n\
             ports: [{}]\nendpoints: [{}]\n",
            targets.join(", "),
            endpoints.join(", ")
        );
    }
    text
}

fn endpoint(text: &str, family: u8) -> String {
    let name = text.trim_end_matches(['!', '-', '?']);
    let (ready, serving, terminating) = match text.strip_prefix(name) {
        Some("!") => (false, true, true),
        Some("-") => (false, false, true),
        Some("?") => (false, false, false),
        _ => (true, true, false),
    };
    let pod = if NODES.contains(&name) { format!("host-{name}") } else { name.to_owned() };
    let node = if NODES.contains(&name) { name.to_owned() } else { format!("node-{}", &name[..1]) };
    format!(
        "{{addresses: ['{}'], conditions: {{ready: {ready}, serving: {serving}, \
         terminating: {terminating}}}, nodeName: {node}, \
         targetRef: {{kind: Pod, namespace: default, name: {pod}}}}}",
        address(name, family)
    )
}
