use proptest::prelude::*;

use super::*;
use crate::import::NODE;
use crate::model::{FrontendKind, ServiceKind};
use crate::rules::{endpoints::Served, ipvs::rules};
use crate::write::tests::small;

fn read(text: &str) -> (Vec<String>, Vec<String>) {
    let mut imported = import("dump", text, NODE);
    let state = imported.state();
    let lines = state.services.iter().map(|(name, port)| {
        let frontends: Vec<_> = port
            .frontends
            .iter()
            .map(|f| format!("{:?} {}:{}", f.kind, f.address, f.port))
            .collect();
        let ends: Vec<_> = port
            .endpoints
            .iter()
            .map(|e| {
                format!("{}:{}{}", e.address, e.port, if e.is_draining() { " drains" } else { "" })
            })
            .collect();
        let seconds = port.affinity.map_or(String::new(), |seconds| format!(" {seconds} s"));
        format!("{name} [{}] -> [{}]{seconds}", frontends.join(", "), ends.join(", "))
    });
    (lines.collect(), imported.notes)
}

const TEXT: &str = "\
-A -t 10.96.0.1:443 -s rr -p 10800
-a -t 10.96.0.1:443 -r 192.168.0.1:6443 -m -w 1
-A -t 10.96.0.10:80 -s rr
-a -t 10.96.0.10:80 -r 10.244.1.11:8080 -m -w 1
-a -t 10.96.0.10:80 -r 10.244.2.11:8080 -m -w 0
-A -t 192.168.0.1:30080 -s rr
-a -t 192.168.0.1:30080 -r 10.244.1.11:8080 -m -w 1
-a -t 192.168.0.1:30080 -r 10.244.2.11:8080 -m -w 0
-A -t 127.0.0.1:30080 -s rr
-a -t 127.0.0.1:30080 -r 10.244.1.11:8080 -m -w 1
-a -t 127.0.0.1:30080 -r 10.244.2.11:8080 -m -w 0
-A -t 198.51.100.1:80 -s rr
-a -t 198.51.100.1:80 -r 10.244.1.11:8080 -m -w 1
-a -t 198.51.100.1:80 -r 10.244.2.11:8080 -m -w 0
-A -t 192.168.0.1:30099 -s rr
-A -u [fd00:96::a]:53 -s rr
-a -u [fd00:96::a]:53 -r [fd00:244::5]:53 -m -w 1
-A --sctp-service 10.96.0.12:5000 -s wlc -p
-a --sctp-service 10.96.0.12:5000 -r 10.244.1.12:5000 -m -w 1 -x 0 -y 0
-a --sctp-service 10.96.0.12:5000 -r 10.244.1.13:5000 -g -w 3
";

#[test]
fn servers_of_a_node() {
    let (ports, notes) = read(TEXT);
    assert_eq!(
        ports,
        [
            "default/node-port-30099:tcp-30099/TCP [ClusterIp 198.18.0.1:30099, NodePort 0.0.0.0:30099] -> []",
            "default/service-10-96-0-1:tcp-443/TCP [ClusterIp 10.96.0.1:443] -> [192.168.0.1:6443] 10800 s",
            "default/service-10-96-0-10:tcp-80/TCP [ClusterIp 10.96.0.10:80, ExternalIp 198.51.100.1:80, \
             NodePort 0.0.0.0:30080] -> [10.244.1.11:8080, 10.244.2.11:8080 drains]",
            "default/service-10-96-0-12:sctp-5000/SCTP [ClusterIp 10.96.0.12:5000] -> \
             [10.244.1.12:5000, 10.244.1.13:5000] 300 s",
            "default/service-fd00-96--a:udp-53/UDP [ClusterIp fd00:96::a:53] -> [fd00:244::5:53]",
        ]
    );
    assert_eq!(
        notes,
        [
            "virtual servers of IPVS: 8 virtual servers with 6 real servers",
            "taken for: 5 services with 5 ports, 6 endpoints; 1 service without endpoints",
            "virtual servers have no names and no kinds: services are named after their addresses; addresses \
             with no ports but those from 30000 to 32767 are taken for those of the node, which is called \
             this-node",
            "30099/TCP: the service of the node port is not to be told from its real servers, so it has one \
             of its own",
            "default/node-port-30099: the cluster address is made up (198.18.0.0/15, 2001:2::/48): there is \
             no rule for it",
            "default/node-port-30099:tcp-30099: the service's port is taken from its node port: there is no \
             rule for it",
            "schedulers other than rr (wlc): connections are spread evenly here",
            "real servers of one virtual server have different weights: connections are spread evenly here",
            "1 real server by direct routing or a tunnel: taken as if addresses were translated",
        ]
    );
}

#[test]
fn what_is_not_understood_is_said() {
    let (ports, notes) = read(
        "-A -t kubernetes:https -s rr\n-A -f 7 -s rr\n-a -t 10.0.0.1:80 -r 10.0.0.2:80 -m -w 1\nx\n",
    );
    assert_eq!(ports, [""; 0]);
    assert_eq!(
        notes[3..],
        [
            "ignored: 1 line of firewall marks, which are not services",
            "ignored: 1 real server whose virtual server is not in the text",
            "not understood: 2 lines, the first is line 1; give the output of `ipvsadm -Sn`, with -n, so that \
             it has numbers",
            "no virtual server was found; give the output of `ipvsadm -Sn`",
        ]
    );
}

proptest! {
    /// Every frontend of our own servers is one again, with the same endpoints.
    #[test]
    fn our_own_servers_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let state = small(&bytes, true);
        let text = rules(&state, "a", true).servers + &rules(&state, "a", false).servers;
        let mut imported = import("servers", &text, "a");
        let found = imported.state();
        let notes = imported.notes.join("\n");
        prop_assert!(!notes.contains("understood") && !notes.contains("left out"), "{notes}\n{text}");
        for v4 in [true, false] {
            for served in Served::all(&state, "a", v4) {
                if served.port.kind == ServiceKind::HostPort {
                    continue;
                }
                for address in served.addresses(FrontendKind::ClusterIp, v4) {
                    let at = (address, served.port.port, served.key.protocol);
                    let port = found.services.iter().find_map(|(name, port)| {
                        let is = |f: &crate::model::Frontend| (f.address, f.port, name.protocol) == at;
                        port.frontends.iter().any(is).then_some(port)
                    });
                    let ends: Vec<_> = port.unwrap().endpoints.iter().map(|e| (e.address, e.port)).collect();
                    let all: Vec<_> = served.internal().iter().map(|e| (e.address, e.port)).collect();
                    prop_assert_eq!(ends, all, "{}", text);
                }
            }
        }
    }

    #[test]
    fn cut_anywhere(at in 0..TEXT.len(), length in 0..80_usize) {
        let (head, tail) = TEXT.split_at(at);
        let text = format!("{head}{}", tail.get(length..).unwrap_or_default());
        import("cut", &text, NODE).state();
    }

    #[test]
    fn garbage(text in "(-A |-a |-t |-u |-r |-w |-p |10[.]0[.]0[.]1:[0-9]{0,5} |\\[::1\\]:3[01]000 |\\PC|\n){0,60}") {
        import("garbage", &text, NODE).state();
    }
}
