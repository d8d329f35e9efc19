//! The shape of rules. That the kernel takes them, and does by them what it should, is tested where there are
//! namespaces.

use crate::model::{Endpoint, State};
use crate::read::read;

use super::{iptables, ipvs, nftables};

const NODE: &str = "node-a";

fn state() -> State {
    let objects = read(
        "state.yaml",
        b"
kind: ServiceCIDR
metadata: { name: kubernetes }
spec: { cidrs: [10.96.0.0/16] }
---
kind: Node
metadata: { name: node-a }
spec: { podCIDRs: [10.244.1.0/24] }
status: { addresses: [{ type: InternalIP, address: 192.168.0.1 }] }
---
kind: Service
metadata: { name: web }
spec:
  type: LoadBalancer
  clusterIPs: [10.96.0.10]
  externalIPs: [198.51.100.1]
  loadBalancerSourceRanges: [203.0.113.0/24]
  ports: [{ name: http, port: 80, nodePort: 30080 }]
status: { loadBalancer: { ingress: [{ ip: 198.51.100.2 }] } }
---
kind: EndpointSlice
metadata: { name: web, labels: { kubernetes.io/service-name: web } }
addressType: IPv4
ports: [{ name: http, port: 8080 }]
endpoints:
- { addresses: [10.244.1.11], nodeName: node-a }
- { addresses: [10.244.2.11], nodeName: node-b }
---
kind: Service
metadata: { name: dns }
spec:
  clusterIPs: [10.96.0.11]
  sessionAffinity: ClientIP
  ports: [{ port: 53, protocol: UDP }]
---
kind: EndpointSlice
metadata: { name: dns, labels: { kubernetes.io/service-name: dns } }
addressType: IPv4
ports: [{ port: 5353, protocol: UDP }]
endpoints: [{ addresses: [10.244.2.12], nodeName: node-b }]
",
    );
    State::new(&objects.unwrap()).0
}

/// The state with another endpoint of `web`.
fn changed(state: &State) -> State {
    let mut state = state.clone();
    let web = state.services.values_mut().find(|port| port.port == 80).unwrap();
    let first = Endpoint::new([10, 244, 2, 99].into(), 8080);
    web.endpoints[0] = Endpoint { node: Some("node-b".into()), ..first };
    state
}

#[track_caller]
fn has(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|other| other == *line), "{line}\nis not in\n{text}");
    }
}

#[test]
fn ipvs_servers_sets_and_addresses() {
    let texts = ipvs::rules(&state(), NODE, true);
    assert_eq!(
        texts.servers,
        "\
-A -t 10.96.0.10:80 -s rr
-a -t 10.96.0.10:80 -r 10.244.1.11:8080 -m -w 1
-a -t 10.96.0.10:80 -r 10.244.2.11:8080 -m -w 1
-A -t 192.168.0.1:30080 -s rr
-a -t 192.168.0.1:30080 -r 10.244.1.11:8080 -m -w 1
-a -t 192.168.0.1:30080 -r 10.244.2.11:8080 -m -w 1
-A -t 198.51.100.1:80 -s rr
-a -t 198.51.100.1:80 -r 10.244.1.11:8080 -m -w 1
-a -t 198.51.100.1:80 -r 10.244.2.11:8080 -m -w 1
-A -t 198.51.100.2:80 -s rr
-a -t 198.51.100.2:80 -r 10.244.1.11:8080 -m -w 1
-a -t 198.51.100.2:80 -r 10.244.2.11:8080 -m -w 1
-A -u 10.96.0.11:53 -s rr -p 10800
-a -u 10.96.0.11:53 -r 10.244.2.12:5353 -m -w 1
"
    );
    assert_eq!(
        texts.addresses,
        "\
link add kube-ipvs0 type dummy
addr add 10.96.0.10/32 dev kube-ipvs0
addr add 10.96.0.11/32 dev kube-ipvs0
addr add 198.51.100.1/32 dev kube-ipvs0
addr add 198.51.100.2/32 dev kube-ipvs0
"
    );
    has(
        &texts.sets,
        &[
            "create KUBE-CLUSTER-IP hash:ip,port family inet hashsize 1024 maxelem 65536",
            "create KUBE-NODE-PORT-TCP bitmap:port range 0-65535",
            "add KUBE-CLUSTER-IP 10.96.0.10,tcp:80",
            "add KUBE-CLUSTER-IP 10.96.0.11,udp:53",
            "add KUBE-LOOP-BACK 10.244.1.11,tcp:8080,10.244.1.11",
            "add KUBE-NODE-PORT-TCP 30080",
            "add KUBE-LOAD-BALANCER 198.51.100.2,tcp:80",
            "add KUBE-LOAD-BALANCER-SOURCE-CIDR 198.51.100.2,tcp:80,203.0.113.0/24",
            "add KUBE-EXTERNAL-IP 198.51.100.1,tcp:80",
        ],
    );
    has(
        &texts.rules,
        &[
            "-A KUBE-SERVICES ! -s 10.244.1.0/24 -m comment --comment \"Kubernetes service cluster ip + \
             port for masquerade purpose\" -m set --match-set KUBE-CLUSTER-IP dst,dst -j KUBE-MARK-MASQ",
            "-A KUBE-NODE-PORT -p tcp -m set --match-set KUBE-NODE-PORT-TCP dst -j KUBE-MARK-MASQ",
        ],
    );
}

#[test]
fn ipvs_is_told_of_what_has_changed_alone() {
    let old = state();
    let new = changed(&old);
    let texts = ipvs::update(&old, &new, NODE, true);
    assert_eq!(texts.servers.lines().count(), 8, "{}", texts.servers);
    has(
        &texts.servers,
        &[
            "-a -t 10.96.0.10:80 -r 10.244.2.99:8080 -m -w 1",
            "-d -t 10.96.0.10:80 -r 10.244.1.11:8080",
        ],
    );
    assert_eq!(texts.sets, "del KUBE-LOOP-BACK 10.244.1.11,tcp:8080,10.244.1.11\n");
    assert_eq!(texts.addresses, "");
    assert!(!texts.rules.contains("KUBE-LOOP-BACK"), "its set is empty");
    assert_eq!(ipvs::update(&old, &old, NODE, true), ipvs::Texts::default());
    assert_eq!(ipvs::update(&old, &old, NODE, false), ipvs::Texts::default());

    let texts = ipvs::update(&State { services: [].into(), ..old.clone() }, &old, NODE, true);
    let full = ipvs::rules(&old, NODE, true);
    assert_eq!(texts.servers, full.servers);
    assert!(full.sets.ends_with(&texts.sets));
    assert!(full.rules.ends_with(&texts.rules));
    let texts = ipvs::update(&old, &State { services: [].into(), ..old.clone() }, NODE, true);
    has(&texts.servers, &["-D -t 10.96.0.10:80"]);
    has(&texts.addresses, &["addr del 198.51.100.2/32 dev kube-ipvs0"]);
}

#[test]
fn iptables_has_comments_unless_the_cluster_is_large() {
    let mut state = state();
    let small = iptables::rules(&state, NODE, true);
    assert!(small.contains("--comment \"default/web:http cluster IP\" -m tcp -p tcp"), "{small}");
    assert!(small.contains("\"default/web:http -> 10.244.1.11:8080\" -m statistic"), "{small}");
    let dns = state.services.values_mut().find(|port| port.port == 53).unwrap();
    let one = |number: u16| Endpoint::new([10, 244, 3, number as u8].into(), 1000 + number);
    dns.endpoints.extend((0..1000).map(one));
    let large = iptables::rules(&state, NODE, true);
    assert!(large.contains("--comment \"default/web:http cluster IP\" -m tcp -p tcp"));
    assert!(!large.contains(" -> "), "no comments in chains of services");
}

#[test]
fn iptables_rewrites_shared_chains_and_those_that_have_changed() {
    let old = state();
    let update = iptables::update(&old, &changed(&old), NODE, true);
    assert!(update.contains("default/dns cluster IP"), "{update}");
    assert!(!update.contains("default/dns -> "), "{update}");
    assert!(update.contains("default/web:http -> 10.244.2.99:8080"), "{update}");
    assert!(!update.contains("PREROUTING"), "{update}");
    let sweep = iptables::sweep(&old, &changed(&old), NODE, true);
    let [table, flushed, deleted, commit] = sweep.lines().collect::<Vec<_>>()[..] else {
        panic!("{sweep}");
    };
    assert_eq!((table, commit), ("*nat", "COMMIT"));
    let name = deleted.strip_prefix("-X ").unwrap();
    assert!(name.starts_with("KUBE-SEP-") && !name.contains(' '), "{name}");
    assert_eq!(flushed, format!(":{name} - [0:0]"));
    assert_eq!(iptables::sweep(&old, &old, NODE, true), "");
}

#[test]
fn nftables_is_told_of_what_has_changed_alone() {
    let old = state();
    let update = nftables::update(&old, &changed(&old), NODE);
    assert!(!update.contains("dns"), "{update}");
    assert!(!update.contains("service-ips"), "the elements stay: {update}");
    assert!(update.contains("dnat to 10.244.2.99:8080"), "{update}");
    assert!(update.contains("flush chain ip kube-proxy endpoint-"), "{update}");
    let sweep = nftables::sweep(&old, &changed(&old), NODE);
    assert_eq!(sweep.lines().count(), 1, "{sweep}");
    assert_eq!(nftables::update(&old, &old, NODE), "");
    let none = State { services: [].into(), ..old.clone() };
    let update = nftables::update(&old, &none, NODE);
    has(&update, &["delete element ip kube-proxy cluster-ips { 10.96.0.11 }"]);
}

#[test]
fn names_say_nothing_to_who_reads_rules() {
    let mut state = state();
    let (mut name, port) = state.services.pop_last().unwrap();
    name.port = "a\"\n-j ACCEPT; {".into();
    state.services.insert(name, port);
    for text in [iptables::rules(&state, NODE, true), nftables::rules(&state, NODE)] {
        assert!(!text.contains("a\"\n-j"), "{text}");
        assert!(text.contains("a__-j_ACCEPT___"), "{text}");
    }
}
