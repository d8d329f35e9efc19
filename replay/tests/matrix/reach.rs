//! Who reaches whom through which frontend, and who does not.

use twinpath_core::service::Algorithm;
use twinpath_sim::cluster::Place;

use super::cluster::{
    Health, Service, Setup, balancer, cluster_ip, external_ip, hairpin, node, pod,
};
use super::lab::{ANY, end_of};
use super::packet::{Complaint, Packet, Proto, RST};
use super::rows::{FAMILIES, PORT, Row, Who, family, path};

pub(crate) fn rows(rows: &mut Vec<Row>) {
    for v4 in FAMILIES {
        for proto in Proto::SERVED {
            inside(rows, proto, v4);
            outside(rows, proto, v4);
            nobody(rows, proto, v4);
            ranges(rows, proto, v4);
            closed(rows, proto, v4);
        }
        echoes(rows, v4);
    }
}

/// A cluster address, from pods and nodes.
fn inside(rows: &mut Vec<Row>, proto: Proto, v4: bool) {
    let ways = [
        ("local pod", Who::Pod("ca"), "sa", [2, 0, 0]),
        ("remote pod", Who::Pod("ca"), "sb", [2, 2, 0]),
        ("third node's pod", Who::Pod("cc"), "sb", [0, 2, 2]),
        ("node to local pod", Who::Node(1), "sa", [2, 0, 0]),
        ("node to remote pod", Who::Node(1), "sb", [2, 2, 0]),
        ("hairpin", Who::Pod("sa"), "sa", [2, 0, 0]),
    ];
    for (way, who, server, halves) in ways {
        for (at, name) in
            ["ClusterIP", "LoadBalancer", "ExternalIP", "NodePort"].into_iter().enumerate()
        {
            let service = Service::new(proto, &[server]);
            let shared = service.clone();
            let name = format!("{} {} {name}: {way}", family(v4), proto.name());
            let known = matches!(who, Who::Node(_)) && at == 3;
            let row = Row::new(name, &Setup::default(), &[&service], move |lab| {
                let to = [
                    shared.cluster(v4),
                    shared.balancer(v4),
                    shared.external(v4),
                    shared.at_node(1, v4),
                ][at];
                let sees = (way == "hairpin").then(|| (hairpin(v4), PORT));
                let path = path(lab, (proto, v4), who, &shared, to, server, sees);
                lab.talk(&path)?;
                lab.halves_are(halves)
            });
            let why = "what a node sends to its own address stays on its loopback device, where no hook is";
            rows.push(Row { known: known.then_some(why), ..row });
        }
    }
    let two = Service::new(proto, &["sa", "sb"]);
    let name = format!(
        "{} {} ClusterIP: every backend is given, and each connection stays",
        family(v4),
        proto.name()
    );
    rows.push(Row::new(name, &Setup::default(), &[&two], {
        let two = two.clone();
        move |lab| {
            let mut given = [0, 0];
            for port in 0..24 {
                let mut way =
                    path(lab, (proto, v4), Who::Pod("ca"), &two, two.cluster(v4), "sa", None);
                way.from.1 += port;
                way.sees.1 += port;
                let got = lab
                    .packet(way.sender, &Packet::new(proto, way.from, way.to, proto.flags()[0]))?;
                let chosen = usize::from(got.last().to == Some(pod("sb", v4)));
                given[chosen] += 1;
                way.pod = ["sa", "sb"][chosen];
                way.target = two.target(way.pod, v4);
                lab.talk(&way)?;
            }
            if given.contains(&0) { Err(format!("given {given:?}")) } else { Ok(()) }
        }
    }));
}

/// Clients outside, by the node's own address as source where the backend is elsewhere.
fn outside(rows: &mut Vec<Row>, proto: Proto, v4: bool) {
    for (place, server, sees, halves) in
        [("local", "sa", None, [2, 0, 0]), ("remote", "sb", Some((node(1, v4), PORT)), [2, 2, 0])]
    {
        for algorithm in [Algorithm::Maglev, Algorithm::Random] {
            for xdp in [false, true] {
                for (at, kind) in ["NodePort", "LoadBalancer", "ExternalIP"].into_iter().enumerate()
                {
                    let mut setup = Setup { xdp, ..Setup::default() };
                    setup.options.external_algorithm = algorithm;
                    let service = Service::new(proto, &[server]);
                    let shared = service.clone();
                    let name = format!(
                        "{} {} {kind}: from outside to a {place} pod, {algorithm:?}, xdp {xdp}",
                        family(v4),
                        proto.name()
                    );
                    rows.push(Row::new(name, &setup, &[&service], move |lab| {
                        let to =
                            [shared.at_node(1, v4), shared.balancer(v4), shared.external(v4)][at];
                        let path =
                            path(lab, (proto, v4), Who::Client("x"), &shared, to, server, sees);
                        lab.talk(&path)?;
                        lab.halves_are(halves)
                    }));
                }
            }
        }
    }
    if proto == Proto::Sctp {
        let mut service = Service::new(proto, &["sb"]);
        service.target = 9;
        let name = format!("{} SCTP NodePort: another port cannot be had", family(v4));
        let shared = service.clone();
        rows.push(Row::new(name, &Setup::default(), &[&service], move |lab| {
            let path = path(
                lab,
                (proto, v4),
                Who::Client("x"),
                &shared,
                shared.at_node(1, v4),
                "sb",
                None,
            );
            let got = lab.packet(path.sender, &Packet::new(proto, path.from, path.to, 0))?;
            got.dropped("ERROR_WHILE_CORRECTING_L4_CHECKSUM")
        }));
        return;
    }
    let service = Service::new(proto, &["sb"]);
    let name =
        format!("{} {} NodePort: a low port gets one of the node's", family(v4), proto.name());
    rows.push(Row::new(name, &Setup::default(), &[&service.clone()], move |lab| {
        let sees = Some((node(1, v4), ANY));
        let mut path =
            path(lab, (proto, v4), Who::Client("x"), &service, service.at_node(1, v4), "sb", sees);
        path.from.1 = 1234;
        let seen = lab.talk(&path)?;
        if seen.ports.0 >= 32_768 { Ok(()) } else { Err(format!("port {}", seen.ports.0)) }
    }));
}

/// No backend, a port that no service has, an address that none has.
fn nobody(rows: &mut Vec<Row>, proto: Proto, v4: bool) {
    let none = Service::new(proto, &[]);
    let open = proto.flags()[0];
    let clients = [Who::Pod("ca"), Who::Client("x"), Who::Node(1)];
    for who in clients {
        for (at, kind) in
            ["ClusterIP", "NodePort", "LoadBalancer", "ExternalIP"].into_iter().enumerate()
        {
            let service = none.clone();
            let name = format!("{} {} {kind}: no backend for {who:?}", family(v4), proto.name());
            rows.push(Row::new(name, &Setup::default(), &[&none], move |lab| {
                let to = [
                    service.cluster(v4),
                    service.at_node(1, v4),
                    service.balancer(v4),
                    service.external(v4),
                ][at];
                let sender = who.sender(lab);
                if matches!(who, Who::Node(_)) && kind == "NodePort" {
                    // Its own stack has it.
                    let got =
                        lab.packet(sender, &Packet::new(proto, (who.address(v4), PORT), to, open))?;
                    return got.check(got.path.len() == 1, "left the node");
                }
                let got =
                    lab.packet(sender, &Packet::new(proto, (who.address(v4), PORT), to, open))?;
                if matches!(who, Who::Client(_)) && kind == "ClusterIP" {
                    return got.dropped("IS_CLUSTER_IP");
                }
                let error = got.refused(
                    "SERVICE_BACKEND_NOT_FOUND",
                    end_of(sender),
                    Complaint::PortUnreachable,
                )?;
                got.check(error.from == Some(to.0), "not from the frontend")
            }));
        }
    }
    for who in clients {
        for (at, kind) in ["ClusterIP", "LoadBalancer", "ExternalIP"].into_iter().enumerate() {
            let service = Service::new(proto, &["sa", "sb"]);
            let name = format!("{} {} {kind}: unknown port for {who:?}", family(v4), proto.name());
            rows.push(Row::new(name, &Setup::default(), &[&service], move |lab| {
                let to = ([cluster_ip(1, v4), balancer(v4), external_ip(v4)][at], 4321);
                let sender = who.sender(lab);
                let got =
                    lab.packet(sender, &Packet::new(proto, (who.address(v4), PORT), to, open))?;
                let error = got.refused(
                    "SERVICE_PORT_NOT_FOUND",
                    end_of(sender),
                    Complaint::PortUnreachable,
                )?;
                got.check(error.from == Some(to.0), "not from the frontend")
            }));
        }
        let service = Service::new(proto, &["sa", "sb"]);
        let name = format!(
            "{} {}: a service address that no service has, for {who:?}",
            family(v4),
            proto.name()
        );
        rows.push(Row::new(name, &Setup::default(), &[&service], move |lab| {
            let (sender, to) = (who.sender(lab), (cluster_ip(99, v4), 80));
            let got = lab.packet(sender, &Packet::new(proto, (who.address(v4), PORT), to, open))?;
            got.dropped("SERVICE_ADDRESS_NOT_FOUND")
        }));
    }
    if proto == Proto::Tcp {
        let service = Service::new(proto, &["sa"]);
        let shared = service.clone();
        let name = format!("{} TCP ClusterIP: a reset without connection", family(v4));
        rows.push(Row::new(name, &Setup::default(), &[&service], move |lab| {
            let sender = Who::Pod("ca").sender(lab);
            let packet = Packet::new(proto, (pod("ca", v4), PORT), shared.cluster(v4), RST);
            lab.packet(sender, &packet)?.dropped("CT_CANNOT_CREATE_ENTRY_FROM_PACKET")
        }));
    }
    // Where all that is left is going, it is better than nothing.
    let mut going = Service::new(proto, &["sa"]);
    going.backends[0].1 = Health::Terminating;
    for who in [Who::Pod("ca"), Who::Client("x")] {
        let service = going.clone();
        let name =
            format!("{} {}: the only backend terminates, for {who:?}", family(v4), proto.name());
        rows.push(Row::new(name, &Setup::default(), &[&going], move |lab| {
            let to = if matches!(who, Who::Pod(_)) {
                service.cluster(v4)
            } else {
                service.at_node(1, v4)
            };
            lab.talk(&path(lab, (proto, v4), who, &service, to, "sa", None)).map(|_| ())
        }));
    }
}

/// Source ranges.
fn ranges(rows: &mut Vec<Row>, proto: Proto, v4: bool) {
    for (server, sees) in [("sa", None), ("sb", Some((node(1, v4), PORT)))] {
        let mut service = Service::new(proto, &[server]);
        service.spec = "loadBalancerSourceRanges: [203.0.113.0/28, '2001:db8:113::/124'],".into();
        for (who, allowed) in [("x", true), ("y", false)] {
            for (at, kind) in ["LoadBalancer", "NodePort", "ExternalIP"].into_iter().enumerate() {
                let shared = service.clone();
                let name =
                    format!("{} {} {kind}: ranges, {who} to {server}", family(v4), proto.name());
                rows.push(Row::new(name, &Setup::default(), &[&service], move |lab| {
                    let to = [shared.balancer(v4), shared.at_node(1, v4), shared.external(v4)][at];
                    let path = path(lab, (proto, v4), Who::Client(who), &shared, to, server, sees);
                    if allowed || kind != "LoadBalancer" {
                        return lab.talk(&path).map(|_| ());
                    }
                    let got = lab.packet(
                        path.sender,
                        &Packet::new(proto, path.from, to, proto.flags()[0]),
                    )?;
                    got.dropped("DENIED_BY_LB_SRC_RANGE_CHECK")
                }));
            }
        }
    }
}

/// A cluster address is none outside.
fn closed(rows: &mut Vec<Row>, proto: Proto, v4: bool) {
    let service = Service::new(proto, &["sa", "sb"]);
    for xdp in [false, true] {
        let shared = service.clone();
        let name = format!("{} {} ClusterIP: from outside, xdp {xdp}", family(v4), proto.name());
        rows.push(Row::new(name, &Setup { xdp, ..Setup::default() }, &[&service], move |lab| {
            let sender = Who::Client("x").sender(lab);
            let from = (Who::Client("x").address(v4), PORT);
            for flags in proto.flags() {
                lab.packet(sender, &Packet::new(proto, from, shared.cluster(v4), flags))?
                    .dropped("IS_CLUSTER_IP")?;
            }
            Ok(())
        }));
    }
}

/// Echoes: a frontend's address answers by itself, a node's is the node's, and a pod's goes there.
fn echoes(rows: &mut Vec<Row>, v4: bool) {
    let proto = Proto::Echo;
    let service = Service::new(Proto::Tcp, &["sa", "sb"]);
    for who in [Who::Pod("ca"), Who::Node(2), Who::Client("x")] {
        for (at, kind) in ["ClusterIP", "LoadBalancer", "ExternalIP"].into_iter().enumerate() {
            let name = format!("{} ICMP {kind}: echo from {who:?}", family(v4));
            rows.push(Row::new(name, &Setup::default(), &[&service], move |lab| {
                let to = [cluster_ip(1, v4), balancer(v4), external_ip(v4)][at];
                let (sender, from) = (who.sender(lab), who.address(v4));
                let got = lab.packet(sender, &Packet::new(proto, (from, 77), (to, 0), 0))?;
                let seen = got.at(end_of(sender))?;
                got.check(seen.ends() == Some(((to, 0), (from, 77))), "not the answer")?;
                got.check(seen.payload == got.sent.payload, "payload")?;
                // To a node's own stack the answer comes as from outside, and is a packet like any other.
                let is_node = matches!(who, Who::Node(_));
                got.check(got.unchanged || is_node, "an echo is no connection here")
            }));
        }
    }
    for (who, server, halves) in
        [("ca", "sa", [2, 0, 0]), ("ca", "sb", [2, 2, 0]), ("cc", "sb", [0, 2, 2])]
    {
        let name = format!("{} ICMP: echo from {who} to {server}", family(v4));
        rows.push(Row::new(name, &Setup::default(), &[&service], move |lab| {
            let mut way = path(
                lab,
                (proto, v4),
                Who::Pod(who),
                &Service::new(Proto::Tcp, &[]),
                (pod(server, v4), 0),
                server,
                None,
            );
            way.target.1 = 0;
            lab.talk(&way)?;
            lab.halves_are(halves)
        }));
    }
    let name = format!("{} ICMP NodePort: an echo is the node's", family(v4));
    rows.push(Row::new(name, &Setup::default(), &[&service], move |lab| {
        let (sender, from) = (Who::Client("x").sender(lab), Who::Client("x").address(v4));
        let got = lab.packet(sender, &Packet::new(proto, (from, 77), (node(1, v4), 0), 0))?;
        got.arrives(Place::Host(0), (from, 77), (node(1, v4), 0)).map(|_| ())
    }));
    let name = format!("{} ICMP: a service address that no service has", family(v4));
    rows.push(Row::new(name, &Setup::default(), &[&service], move |lab| {
        let sender = Who::Pod("ca").sender(lab);
        let got = lab
            .packet(sender, &Packet::new(proto, (pod("ca", v4), 77), (cluster_ip(99, v4), 0), 0))?;
        got.dropped("SERVICE_ADDRESS_NOT_FOUND")
    }));
}
