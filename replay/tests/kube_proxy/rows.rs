//! The rows: what kube-proxy's own packet flow tests look at, and what they leave to others.

use super::row::{Row, same};

/// All rows but those of the matrix.
pub(crate) fn rows() -> Vec<Row> {
    [
        no_endpoints(),
        cluster_addresses(),
        load_balancers(),
        node_ports(),
        internal_policy(),
        terminating_local(),
        terminating_cluster(),
        masquerade(),
        host_network(),
    ]
    .concat()
}

fn no_endpoints() -> Vec<Row> {
    let none = &["svc=1 port=tcp:80:8080:30080 lb=lb1 ext=ext1 eps="];
    let elsewhere = &["svc=1 port=tcp:80:8080:30080 lb=lb1 ext=ext1 etp=Local eps=b1"];
    let unready = &["svc=1 port=udp:53:5353 eps=a1?,b1?,a2-"];
    vec![
        same("none, pod to cluster address", none, "pa", "tcp svc1:80", "REJECT"),
        same("none, node to cluster address", none, "node-a", "tcp svc1:80", "REJECT"),
        same("none, client to external address", none, "client", "tcp ext1:80", "REJECT"),
        same("none, pod to node port", none, "pa", "tcp node-a:30080", "REJECT"),
        same("none, client to node port", none, "client", "tcp node-a:30080", "REJECT"),
        same("none, pod to load balancer", none, "pa", "tcp lb1:80", "REJECT"),
        same("none, client to load balancer", none, "client", "tcp lb1:80", "REJECT"),
        same("none that is usable, UDP", unready, "pa", "udp svc1:53", "REJECT"),
        same("only elsewhere, client", elsewhere, "client", "tcp lb1:80", "DROP"),
        same(
            "only elsewhere, client to node port",
            elsewhere,
            "client",
            "tcp node-a:30080",
            "DROP",
        ),
    ]
}

fn cluster_addresses() -> Vec<Row> {
    let two = &["svc=1 port=tcp:80:80 eps=a1", "svc=2 port=tcp:443:8443 eps=a1,b1"];
    let shared = &["svc=3 port=tcp:80:80 port=sctp:80:80 eps=a1,b1"];
    vec![
        same("simple", two, "pa", "tcp svc1:80", "a1:80"),
        same("simple, pod elsewhere", two, "pb", "tcp svc1:80", "a1:80"),
        same("simple, node", two, "node-a", "tcp svc1:80", "a1:80*"),
        same("simple, node elsewhere", two, "node-b", "tcp svc1:80", "a1:80*"),
        same("hairpin", two, "a1", "tcp svc1:80", "a1:80*").but(32, "a1:80~"),
        same("two endpoints, another port", two, "pa", "tcp svc2:443", "a1:8443 b1:8443"),
        same("two endpoints, one of them asks", two, "a1", "tcp svc2:443", "a1:8443* b1:8443")
            .but(32, "a1:8443~ b1:8443"),
        same("TCP and SCTP on one port: TCP", shared, "pa", "tcp svc3:80", "a1:80 b1:80"),
        same("TCP and SCTP on one port: SCTP", shared, "pa", "sctp svc3:80", "a1:80 b1:80"),
        same("UDP is not TCP", shared, "pa", "udp svc3:80", "REJECT"),
        same("another service's port", two, "pa", "tcp svc1:443", "REJECT"),
        same("the target's port is none of the service", two, "pa", "tcp svc2:8443", "REJECT"),
        same("nobody's cluster address", two, "pa", "tcp svc200:80", "DROP"),
        same("an endpoint by its own address", two, "pa", "tcp b1:8443", "PASS"),
        same("a node by its own address", two, "pa", "tcp node-b:80", "PASS"),
        same("the world outside", two, "pa", "tcp client:80", "PASS"),
    ]
}

fn load_balancers() -> Vec<Row> {
    let open = &["svc=1 port=tcp:80:8080:30080 lb=lb1,lb2 eps=b1"];
    let closed = &["svc=1 port=tcp:80:8080:30080 lb=lb1,lb2 ext=ext1 ranges=client,node-a eps=b1"];
    let pods = &["svc=1 port=tcp:80:8080:30080 lb=lb1 ranges=pa eps=b1"];
    let nobody = &["svc=1 port=tcp:80:8080:30080 lb=lb1 ranges=client eps="];
    vec![
        same("cluster address", closed, "pa", "tcp svc1:80", "b1:8080"),
        same("open to all", open, "stranger", "tcp lb1:80", "b1:8080*"),
        same("open to all, second address", open, "stranger", "tcp lb2:80", "b1:8080*"),
        same("allowed client", closed, "client", "tcp lb1:80", "b1:8080*"),
        same("allowed client, second address", closed, "client", "tcp lb2:80", "b1:8080*"),
        same("other client", closed, "stranger", "tcp lb1:80", "DROP"),
        same("other client, second address", closed, "stranger", "tcp lb2:80", "DROP"),
        same("node ports are open", closed, "stranger", "tcp node-a:30080", "b1:8080*"),
        same("external addresses are open", closed, "stranger", "tcp ext1:80", "b1:8080*"),
        same("pod out of the ranges", closed, "pa", "tcp lb1:80", "DROP"),
        same("pod in the ranges", pods, "pa", "tcp lb1:80", "b1:8080*").but(31, "b1:8080"),
        same("pod out of the ranges to node port", closed, "pb", "tcp node-b:30080", "b1:8080*")
            .but(31, "b1:8080"),
        same("node in the ranges", closed, "node-a", "tcp lb1:80", "b1:8080*"),
        same("node out of the ranges", closed, "node-b", "tcp lb1:80", "DROP"),
        same(
            "node in the ranges by the balancer's name",
            closed,
            "node-a@lb1",
            "tcp lb1:80",
            "b1:8080*",
        )
        .but(33, "DROP"),
        same("other port of a balancer", open, "client", "tcp lb1:443", "PASS").but(3, "REJECT"),
        same("no endpoint, allowed", nobody, "client", "tcp lb1:80", "REJECT"),
    ]
}

fn node_ports() -> Vec<Row> {
    let node_port = &["svc=1 port=tcp:80:8080:30080 port=udp:80:8080:30081 eps=a1,b1"];
    vec![
        same("client to node port", node_port, "client", "tcp node-a:30080", "a1:8080* b1:8080*")
            .but(25, "a1:8080 b1:8080*"),
        same(
            "client to node port, other node",
            node_port,
            "client",
            "tcp node-b:30080",
            "a1:8080* b1:8080*",
        )
        .but(25, "a1:8080* b1:8080"),
        same(
            "client to node port, UDP",
            node_port,
            "client",
            "udp node-a:30081",
            "a1:8080* b1:8080*",
        )
        .but(25, "a1:8080 b1:8080*"),
        same(
            "client to node port at external address",
            node_port,
            "client",
            "tcp node-a.ext:30080",
            "PASS",
        )
        .but(11, "a1:8080 b1:8080*"),
        same("no node port", node_port, "client", "tcp node-a:30082", "PASS"),
        same("node port of UDP is not of TCP", node_port, "client", "tcp node-a:30081", "PASS"),
        same("service port is no node port", node_port, "client", "tcp node-a:80", "PASS"),
        same(
            "node port is none at the cluster address",
            node_port,
            "pa",
            "tcp svc1:30080",
            "REJECT",
        ),
    ]
}

fn internal_policy() -> Vec<Row> {
    let cluster = &["svc=1 port=tcp:80:8080 itp=Cluster eps=a1,b1,b2"];
    let local = &["svc=1 port=tcp:80:8080 itp=Local eps=a1,b1,b2"];
    let elsewhere = &["svc=1 port=tcp:80:8080 itp=Local eps=b1,b2"];
    let removed = &["svc=1 port=tcp:80:8080 itp=Local eps="];
    vec![
        same("itp Cluster", cluster, "pa", "tcp svc1:80", "a1:8080 b1:8080 b2:8080"),
        same("itp Local, one here", local, "pa", "tcp svc1:80", "a1:8080"),
        same("itp Local, two here", local, "pb", "tcp svc1:80", "b1:8080 b2:8080"),
        same("itp Local, node", local, "node-a", "tcp svc1:80", "a1:8080*"),
        same("itp Local, none here", elsewhere, "pa", "tcp svc1:80", "DROP"),
        same("itp Local, none here, node", elsewhere, "node-a", "tcp svc1:80", "DROP"),
        same("itp Local, all removed", removed, "pa", "tcp svc1:80", "REJECT"),
    ]
}

/// Endpoints that terminate where the external policy is Local.
fn terminating_local() -> Vec<Row> {
    let rows = |what: &str, endpoints: &str, cluster: &str, client: &str| {
        let service = format!("svc=1 port=tcp:80:8080:30080 lb=lb1 etp=Local eps={endpoints}");
        let services = &[service.as_str()];
        vec![
            same(
                &format!("{what}: pod to cluster address"),
                services,
                "pa",
                "tcp svc1:80",
                cluster,
            ),
            same(&format!("{what}: pod to balancer"), services, "pa", "tcp lb1:80", cluster),
            same(&format!("{what}: client to balancer"), services, "client", "tcp lb1:80", client),
            same(&format!("{what}: to node port"), services, "client", "tcp node-a:30080", client),
        ]
    };
    [
        rows(
            "etp Local, some ready everywhere",
            "a1,a2,a3!,a4-,b1",
            "a1:8080 a2:8080 b1:8080",
            "a1:8080 a2:8080",
        ),
        rows("etp Local, here all terminate", "a1!,a2!,a3-,b1", "b1:8080", "a1:8080 a2:8080"),
        rows("etp Local, here none serves", "a1-,a2?,b1", "b1:8080", "DROP"),
        rows("etp Local, all terminate", "a1!,a2-,b1!", "a1:8080 b1:8080", "a1:8080"),
        rows("etp Local, elsewhere they terminate", "a1-,b1!", "b1:8080", "DROP"),
        rows("etp Local, none serves", "a1-,a2?,b1-", "REJECT", "REJECT"),
    ]
    .concat()
}

/// Endpoints that terminate where both policies are Cluster, and where the internal one is Local.
fn terminating_cluster() -> Vec<Row> {
    let rows = |what: &str, endpoints: &str, cluster: &str, client: &str, masqueraded: &str| {
        let service = format!("svc=1 port=tcp:80:8080:30080 lb=lb1 eps={endpoints}");
        let services = &[service.as_str()];
        let of_client = |name: &str, to: &str| {
            let row = same(&format!("{what}: {name}"), services, "client", to, masqueraded);
            if client == masqueraded { row } else { row.but(25, client) }
        };
        vec![
            same(
                &format!("{what}: pod to cluster address"),
                services,
                "pa",
                "tcp svc1:80",
                cluster,
            ),
            of_client("client to balancer", "tcp lb1:80"),
            of_client("client to node port", "tcp node-a:30080"),
        ]
    };
    let internal = |what: &str, endpoints: &str, here: &str| {
        let service = format!("svc=1 port=tcp:80:8080 itp=Local eps={endpoints}");
        same(what, &[service.as_str()], "pa", "tcp svc1:80", here)
    };
    [
        rows(
            "etp Cluster, some ready",
            "a1,a2!,a3-,b1",
            "a1:8080 b1:8080",
            "a1:8080 b1:8080*",
            "a1:8080* b1:8080*",
        ),
        rows("etp Cluster, ready elsewhere alone", "a1!,a2-,b1", "b1:8080", "b1:8080*", "b1:8080*"),
        rows(
            "etp Cluster, all terminate",
            "a1!,a2-,a3?,b1!",
            "a1:8080 b1:8080",
            "a1:8080 b1:8080*",
            "a1:8080* b1:8080*",
        ),
        rows("etp Cluster, none serves", "a1-,a2?,b1-", "REJECT", "REJECT", "REJECT"),
        vec![
            internal("itp Local, here all terminate", "a1!,a2-,b1", "a1:8080"),
            internal("itp Local, elsewhere they terminate", "a1-,b1!", "DROP"),
            internal("itp Local, none serves", "a1-,b1?", "REJECT"),
        ],
    ]
    .concat()
}

/// Whose address endpoints see, beside the matrix.
fn masquerade() -> Vec<Row> {
    let here = &["svc=1 port=udp:80:8080:30080 lb=lb1 ext=ext1 eps=a1"];
    let local = &["svc=1 port=udp:80:8080:30080 lb=lb1 ext=ext1 etp=Local eps=a1"];
    let hidden = &["svc=1 port=udp:80:8080:30080 lb=lb1 ext=ext1 etp=Local eps=a1,b1"];
    vec![
        same("pod elsewhere, cluster address", here, "pb", "udp svc1:80", "a1:8080"),
        same("pod elsewhere, balancer", here, "pb", "udp lb1:80", "a1:8080*").but(31, "a1:8080"),
        same("pod elsewhere, node port there", here, "pb", "udp node-a:30080", "a1:8080*")
            .but(26, "a1:8080"),
        same("pod elsewhere, node port here", here, "pb", "udp node-b:30080", "a1:8080*")
            .but(31, "a1:8080"),
        same("etp Local: pod elsewhere, balancer", local, "pb", "udp lb1:80", "a1:8080"),
        same("etp Local: pod elsewhere, node port", local, "pb", "udp node-b:30080", "a1:8080"),
        same("etp Local: node elsewhere, balancer", local, "node-b", "udp lb1:80", "a1:8080*"),
        same("etp Local: client", local, "client", "udp lb1:80", "a1:8080"),
        same("etp Local: client by another node", local, "client", "udp node-b:30080", "DROP"),
        same("etp Local: hairpin", local, "a1", "udp lb1:80", "a1:8080*").but(32, "a1:8080~"),
        same("etp Local: client, one is elsewhere", hidden, "client", "udp ext1:80", "a1:8080"),
    ]
}

/// Endpoints on the network of their nodes.
fn host_network() -> Vec<Row> {
    let both = &["svc=1 port=tcp:80:8080:30080 lb=lb1 eps=node-a,node-b"];
    let internal = &["svc=1 port=tcp:80:8080 itp=Local eps=node-a,node-b"];
    let external = &["svc=1 port=tcp:80:8080:30080 lb=lb1 etp=Local eps=node-a"];
    vec![
        same("hosts, pod", both, "pa", "tcp svc1:80", "node-a:8080 node-b:8080"),
        same("hosts, itp Local, pod", internal, "pa", "tcp svc1:80", "node-a:8080"),
        same("hosts, itp Local, pod elsewhere", internal, "pb", "tcp svc1:80", "node-b:8080"),
        // What is for the node itself never leaves it, where its address would change.
        same("hosts, client", both, "client", "tcp lb1:80", "node-a:8080 node-b:8080*"),
        same("hosts, etp Local, client", external, "client", "tcp lb1:80", "node-a:8080"),
        same("hosts, etp Local, by another node", external, "client", "tcp node-b:30080", "DROP"),
        same("hosts, node elsewhere", external, "node-b", "tcp svc1:80", "node-a:8080*"),
        same(
            "hosts, node to its node port",
            external,
            "node-a",
            "tcp node-a:30080",
            "node-a:8080*",
        )
        .but(30, "PASS"),
        same("hosts, node to itself", internal, "node-a", "tcp svc1:80", "node-a:8080*")
            .but(30, "DROP"),
    ]
}
