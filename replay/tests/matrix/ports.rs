//! Source ports: what the node chooses, what collides, and what a node's own address is used for.

use twinpath_sim::cluster::Place;

use super::cluster::{Service, Setup, client, node, pod};
use super::lab::{ANY, Check, Lab, Path};
use super::packet::{Packet, Proto};
use super::rows::{FAMILIES, PORT, Row, Way, Who, family, path};

pub(crate) fn rows(rows: &mut Vec<Row>) {
    for v4 in FAMILIES {
        for proto in Proto::SERVED {
            two_clients(rows, proto, v4);
            two_frontends(rows, proto, v4);
        }
        for proto in Proto::PORTS {
            exhausted(rows, proto, v4);
        }
        for proto in Proto::ALL {
            masquerade(rows, proto, v4);
        }
    }
}

const CANNOT: &str = "ERROR_WHILE_CORRECTING_L4_CHECKSUM";

/// A connection whose client port is this.
fn with_port(mut path: Path, port: u16) -> Path {
    path.from.1 = port;
    path
}

/// Few ports, and more connections than ports.
fn exhausted(rows: &mut Vec<Row>, proto: Proto, v4: bool) {
    let mut setup = Setup::default();
    setup.options.snat_ports = 50_000..=50_003;
    for service_ports in [false, true] {
        let mut setup = setup.clone();
        if service_ports {
            setup.options.reserved_ports = vec![50_001..=50_001];
        }
        let free = if service_ports { 3 } else { 4 };
        let service = Service::new(proto, &["sb"]);
        let name =
            format!("{} {} NodePort SNAT: {free} ports and no more", family(v4), proto.name());
        rows.push(Row::new(name, &setup, &[&service.clone()], move |lab| {
            let sees = Some((node(1, v4), ANY));
            let way = path(
                lab,
                (proto, v4),
                Who::Client("x"),
                &service,
                service.at_node(1, v4),
                "sb",
                sees,
            );
            let [open, answer, on] = proto.flags();
            let mut given = Vec::new();
            for port in 0..free {
                let path = with_port(way.clone(), 1000 + port);
                let seen = lab.talk(&path)?;
                if !(50_000..=50_003).contains(&seen.ports.0)
                    || (service_ports && seen.ports.0 == 50_001)
                {
                    return Err(format!("port {}", seen.ports.0));
                }
                given.push((path, seen));
            }
            let ports: std::collections::BTreeSet<u16> =
                given.iter().map(|(_, seen)| seen.ports.0).collect();
            if ports.len() != usize::from(free) {
                return Err(format!("one port twice: {ports:?}"));
            }
            let more = with_port(way, 2000);
            for _ in 0..3 {
                let got = lab.packet(more.sender, &Packet::new(proto, more.from, more.to, open))?;
                got.dropped("NO_MAPPING_FOR_NAT_MASQUERADE")?;
            }
            // Who has one keeps it.
            for (path, seen) in &given {
                lab.there(path, on)?;
                lab.back(path, seen, answer)?;
            }
            // Another backend port, or the other client, is another matter only by its own tuple.
            lab.wait(3 * 3600);
            lab.talk(&more).map(|_| ())
        }));
    }
}

/// Two clients with one port.
fn two_clients(rows: &mut Vec<Row>, proto: Proto, v4: bool) {
    let service = Service::new(proto, &["sb"]);
    let name = format!("{} {} NodePort SNAT: two clients with one port", family(v4), proto.name());
    rows.push(Row::new(name, &Setup::default(), &[&service.clone()], move |lab| {
        let to = service.at_node(1, v4);
        let one =
            path(lab, (proto, v4), Who::Client("x"), &service, to, "sb", Some((node(1, v4), PORT)));
        let other =
            path(lab, (proto, v4), Who::Client("y"), &service, to, "sb", Some((node(1, v4), ANY)));
        let first = lab.talk(&one)?;
        if proto == Proto::Sctp {
            return lab
                .packet(other.sender, &Packet::new(proto, other.from, to, 0))?
                .dropped(CANNOT);
        }
        let second = lab.talk(&other)?;
        apart(lab, (&one, &other), (&first, &second))
    }));
}

/// Two connections do not mix, now or later.
fn apart(
    lab: &mut Lab<'_>,
    (one, other): (&Path, &Path),
    (first, second): (&super::reader::Seen, &super::reader::Seen),
) -> Check {
    if first.ends() == second.ends() {
        return Err(format!("both are {:?}", first.ends()));
    }
    let on = one.proto.flags()[2];
    lab.back(one, first, on)?;
    lab.back(other, second, on)?;
    lab.there(one, on)?;
    lab.there(other, on).map(|_| ())
}

/// One client port through two frontends of one backend.
fn two_frontends(rows: &mut Vec<Row>, proto: Proto, v4: bool) {
    for way in Way::all() {
        let (one, mut two) =
            (Service::new(proto, &[way.server]), Service::new(proto, &[way.server]));
        two.number = 2;
        two.node_port += 1;
        if proto != Proto::Sctp {
            two.port += 1;
        }
        let name =
            format!("{} {} {}: one port through two frontends", family(v4), proto.name(), way.name);
        let setup = way.setup.clone();
        let row = Row::new(name, &setup, &[&one.clone(), &two.clone()], move |lab| {
            let a = way.path(lab, &one, v4);
            let mut b = way.path(lab, &two, v4);
            let first = lab.talk(&a)?;
            // The second is told apart by its port; from outside, and elsewhere, by the node's address, too.
            b.sees.1 = ANY;
            if way.is_direct() {
                b.sees.0 = node(1, v4);
            }
            // Its second node port is not the backend's port, which SCTP's checksum would have to follow.
            if proto == Proto::Sctp {
                let got = lab.packet(b.sender, &Packet::new(proto, b.from, b.to, 0))?;
                return got.dropped(CANNOT);
            }
            let second = lab.talk(&b)?;
            apart(lab, (&a, &b), (&first, &second))
        });
        rows.push(row);
    }
}

/// What pods send out of the cluster.
fn masquerade(rows: &mut Vec<Row>, proto: Proto, v4: bool) {
    let mut setup = Setup::default();
    setup.options.masquerade = true;
    let port = if proto == Proto::Echo { 0 } else { 443 };
    // From a pod to a client outside: the client is the one who answers.
    let out = move |lab: &mut Lab<'_>,
                    name: &'static str,
                    own: u16,
                    sees: u16,
                    flags: u8|
          -> Check<u16> {
        let sender = Who::Pod(name).sender(lab);
        let packet = Packet::new(proto, (pod(name, v4), own), (client("x", v4), port), flags);
        let got = lab.packet(sender, &packet)?;
        let from = (node(1, v4), sees);
        Ok(got.arrives(Place::ClientIn(0), from, (client("x", v4), port))?.ports.0)
    };
    let back =
        move |lab: &mut Lab<'_>, name: &'static str, own: u16, seen: u16, flags: u8| -> Check {
            let (from, to) = ((client("x", v4), port), (node(1, v4), seen));
            let got =
                lab.packet(Who::Client("x").sender(lab), &Packet::new(proto, from, to, flags))?;
            got.arrives(lab.pod_in(name), from, (pod(name, v4), own)).map(|_| ())
        };
    let title = |what: &str| format!("{} {} masquerade: {what}", family(v4), proto.name());
    rows.push(Row::new(title("out and back"), &setup, &[], move |lab| {
        let [open, answer, on] = proto.flags();
        let seen = out(lab, "ca", PORT, PORT, open)?;
        back(lab, "ca", PORT, seen, answer)?;
        out(lab, "ca", PORT, PORT, on)?;
        back(lab, "ca", PORT, seen, on)?;
        lab.halves_are([2, 0, 0])
    }));
    rows.push(Row::new(title("two pods with one port"), &setup, &[], move |lab| {
        let [open, answer, _] = proto.flags();
        let one = out(lab, "ca", PORT, PORT, open)?;
        if proto == Proto::Sctp {
            let packet = Packet::new(proto, (pod("sa", v4), PORT), (client("x", v4), port), 0);
            return lab.packet(Who::Pod("sa").sender(lab), &packet)?.dropped(CANNOT);
        }
        let other = out(lab, "sa", PORT, ANY, open)?;
        if one == other {
            return Err(format!("both have {one}"));
        }
        back(lab, "ca", PORT, one, answer)?;
        back(lab, "sa", PORT, other, answer)
    }));
    if proto == Proto::Tcp || proto == Proto::Udp {
        rows.push(Row::new(title("a low port"), &setup, &[], move |lab| {
            let [open, answer, _] = proto.flags();
            let seen = out(lab, "ca", 1234, ANY, open)?;
            back(lab, "ca", 1234, seen, answer)?;
            if seen >= 32_768 { Ok(()) } else { Err(format!("port {seen}")) }
        }));
    }
    rows.push(Row::new(title("nobody else gets in"), &setup, &[], move |lab| {
        let [open, answer, _] = proto.flags();
        let seen = out(lab, "ca", PORT, PORT, open)?;
        let (from, to) = ((client("y", v4), port), (node(1, v4), seen));
        let got =
            lab.packet(Who::Client("y").sender(lab), &Packet::new(proto, from, to, answer))?;
        got.arrives(Place::Host(0), from, to).map(|_| ())
    }));
    for (name, to) in [("another node's pod", pod("sb", v4)), ("another node", node(2, v4))] {
        rows.push(Row::new(title(&format!("not to {name}")), &setup, &[], move |lab| {
            let open = proto.flags()[0];
            let (from, to) = ((pod("ca", v4), PORT), (to, port));
            let got =
                lab.packet(Who::Pod("ca").sender(lab), &Packet::new(proto, from, to, open))?;
            let place = if name == "another node" { Place::Host(1) } else { lab.pod_in("sb") };
            got.arrives(place, from, to).map(|_| ())
        }));
    }
    // Without, it goes as it is, and nobody outside knows the way back.
    rows.push(Row::new(title("switched off"), &Setup::default(), &[], move |lab| {
        let open = proto.flags()[0];
        let packet = Packet::new(proto, (pod("ca", v4), PORT), (node(3, v4), port), open);
        let got = lab.packet(Who::Pod("ca").sender(lab), &packet)?;
        got.arrives(Place::Host(2), packet.from, packet.to).map(|_| ())
    }));
}
