//! Connections over time: affinity, backends that go, tuples used again, and lost entries.

use twinpath_core::service::Algorithm;
use twinpath_core::state::Direction;

use super::cluster::{Health, Service, Setup};
use super::lab::{Check, Lab, end_of};
use super::packet::{ACK, Complaint, End, FIN_ACK, Packet, Proto, RST, SYN, SYN_ACK};
use super::rows::{FAMILIES, PORT, Row, Way, Who, family};

pub(crate) fn rows(rows: &mut Vec<Row>) {
    for v4 in FAMILIES {
        for proto in Proto::SERVED {
            affinity(rows, proto, v4);
            going(rows, proto, v4);
            lost(rows, proto, v4);
        }
        reopened(rows, v4);
    }
}

/// Sends a packet to a service; the pod that receives it.
fn given(
    lab: &mut Lab<'_>,
    service: &Service,
    v4: bool,
    who: Who,
    to: End,
    (port, flags): (u16, u8),
) -> Check<&'static str> {
    let packet = Packet::new(service.proto, (who.address(v4), port), to, flags);
    let got = lab.packet(who.sender(lab), &packet)?;
    for (name, _) in &service.backends {
        if got.path.last().is_some_and(|(place, _)| *place == lab.pod_in(name)) {
            got.check(got.last().to == Some(service.target(name, v4).0), "not for its receiver")?;
            return Ok(name);
        }
    }
    got.fail("at no backend")
}

fn same(a: &str, b: &str, what: &str) -> Check {
    if a == b { Ok(()) } else { Err(format!("{what}: {a} and then {b}")) }
}

fn affinity(rows: &mut Vec<Row>, proto: Proto, v4: bool) {
    let mut service = Service::new(proto, &["sa", "sb", "sc"]);
    service.spec =
        "sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}},"
            .into();
    let mut random = Setup::default();
    random.options.external_algorithm = Algorithm::Random;
    let open = proto.flags()[0];
    for (setup, who, kind) in [
        (Setup::default(), Who::Pod("ca"), "ClusterIP"),
        (random, Who::Client("x"), "NodePort"),
        (Setup::default(), Who::Client("x"), "NodePort by Maglev"),
    ] {
        let mut add = |what: &str, run: fn(&mut Lab<'_>, &Service, bool, Who, End, u8) -> Check| {
            let service = service.clone();
            let name = format!("{} {} {kind}: affinity, {what}", family(v4), proto.name());
            rows.push(Row::new(name, &setup, &[&service.clone()], move |lab| {
                let to =
                    if kind == "ClusterIP" { service.cluster(v4) } else { service.at_node(1, v4) };
                run(lab, &service, v4, who, to, open)
            }));
        };
        add("hit until the last second", |lab, service, v4, who, to, open| {
            let first = given(lab, service, v4, who, to, (PORT, open))?;
            for port in 1..12 {
                lab.wait(59);
                same(
                    first,
                    given(lab, service, v4, who, to, (PORT + port, open))?,
                    "within its time",
                )?;
            }
            Ok(())
        });
        if kind != "NodePort by Maglev" {
            add("over with its last second", |lab, service, v4, who, to, open| {
                let mut seen = std::collections::BTreeSet::new();
                for port in 0..24 {
                    seen.insert(given(lab, service, v4, who, to, (PORT + port, open))?);
                    lab.wait(60);
                }
                if seen.len() == 3 { Ok(()) } else { Err(format!("only {seen:?}")) }
            });
        }
        add("the backend is removed", |lab, service, v4, who, to, open| {
            let first = given(lab, service, v4, who, to, (PORT, open))?;
            let mut less = service.clone();
            less.backends.retain(|(name, _)| *name != first);
            lab.apply(&[less]);
            let second = given(lab, service, v4, who, to, (PORT + 1, open))?;
            if second == first {
                return Err("given what is no backend any more".into());
            }
            lab.apply(std::slice::from_ref(service));
            for port in 2..8 {
                same(
                    second,
                    given(lab, service, v4, who, to, (PORT + port, open))?,
                    "after its return",
                )?;
            }
            Ok(())
        });
    }
}

/// Backends that terminate, and that are removed.
fn going(rows: &mut Vec<Row>, proto: Proto, v4: bool) {
    let service = Service::new(proto, &["sa", "sb"]);
    for (who, kind) in [(Who::Pod("ca"), "ClusterIP"), (Who::Client("x"), "NodePort")] {
        for (how, removed, all) in [
            ("terminates", false, false),
            ("is removed", true, false),
            ("terminates, as do all", false, true),
            ("is removed, as are all", true, true),
        ] {
            let service = service.clone();
            let name = format!("{} {} {kind}: a backend {how}", family(v4), proto.name());
            rows.push(Row::new(name, &Setup::default(), &[&service.clone()], move |lab| {
                let to =
                    if kind == "ClusterIP" { service.cluster(v4) } else { service.at_node(1, v4) };
                let [open, _, on] = proto.flags();
                let first = given(lab, &service, v4, who, to, (PORT, open))?;
                given(lab, &service, v4, who, to, (PORT, on))?;
                let mut now = service.clone();
                let goes = |name: &str| all || name == first;
                if removed {
                    now.backends.retain(|(name, _)| !goes(name));
                } else {
                    for (_, health) in now.backends.iter_mut().filter(|(name, _)| goes(name)) {
                        *health = Health::Terminating;
                    }
                }
                lab.apply(&[now]);
                // New ones.
                for port in 1..9 {
                    if removed && all {
                        let from = (who.address(v4), PORT + port);
                        let got =
                            lab.packet(who.sender(lab), &Packet::new(proto, from, to, open))?;
                        let place = end_of(who.sender(lab));
                        got.refused(
                            "SERVICE_BACKEND_NOT_FOUND",
                            place,
                            Complaint::PortUnreachable,
                        )?;
                        continue;
                    }
                    let next = given(lab, &service, v4, who, to, (PORT + port, open))?;
                    if !all && next == first {
                        return Err("a new connection to what goes".into());
                    }
                }
                // The old one: datagrams move at once, the rest stays (deviations 1 and 2).
                if removed && all && proto == Proto::Udp {
                    let got = lab.packet(
                        who.sender(lab),
                        &Packet::new(proto, (who.address(v4), PORT), to, on),
                    )?;
                    let place = end_of(who.sender(lab));
                    return got.complained(place, Complaint::PortUnreachable).map(|_| ());
                }
                let then = given(lab, &service, v4, who, to, (PORT, on))?;
                let moves = proto == Proto::Udp && !all;
                if (then == first) == moves {
                    Err(format!("{first} and then {then}"))
                } else {
                    Ok(())
                }
            }));
        }
    }
}

/// A tuple used again.
fn reopened(rows: &mut Vec<Row>, v4: bool) {
    let endings: [(&str, &[(bool, u8)]); 5] = [
        ("after one FIN", &[(true, FIN_ACK)]),
        ("after the other FIN", &[(false, FIN_ACK)]),
        ("after both FIN", &[(true, FIN_ACK), (false, FIN_ACK), (true, ACK)]),
        ("after RST", &[(true, RST)]),
        ("after RST by the backend", &[(false, RST)]),
    ];
    for way in Way::all() {
        for (when, ending) in endings {
            let halves = way.halves;
            rows.push(way.row((Proto::Tcp, v4), &format!("SYN {when}"), move |lab, path| {
                let seen = lab.talk(path)?;
                for (client, flags) in ending {
                    if *client {
                        lab.there(path, *flags)?;
                    } else {
                        lab.back(path, &seen, *flags)?;
                    }
                }
                lab.talk(path)?;
                lab.halves_are(halves)
            }));
        }
    }
    // To which backend.
    for (when, ending, stays) in [
        ("one FIN", endings[0].1, true),
        ("both FIN", endings[2].1, false),
        ("RST", endings[3].1, false),
    ] {
        let service = Service::new(Proto::Tcp, &["sa", "sb"]);
        let name = format!("{} TCP ClusterIP: the backend of a SYN after {when}", family(v4));
        rows.push(Row::new(name, &Setup::default(), &[&service.clone()], move |lab| {
            let (who, to) = (Who::Pod("ca"), service.cluster(v4));
            let mut seen = std::collections::BTreeSet::new();
            for _ in 0..16 {
                let first = given(lab, &service, v4, who, to, (PORT, SYN))?;
                seen.insert(first);
                let answer = |lab: &mut Lab<'_>, flags| {
                    let pod = lab.pod(first);
                    let from = service.target(first, v4);
                    let packet = Packet::new(Proto::Tcp, from, (who.address(v4), PORT), flags);
                    let got = lab.packet(twinpath_sim::world::Sender::Pod(pod), &packet)?;
                    got.arrives(lab.pod_in("ca"), to, (who.address(v4), PORT)).map(|_| ())
                };
                answer(lab, SYN_ACK)?;
                same(first, given(lab, &service, v4, who, to, (PORT, ACK))?, "in the middle")?;
                for (client, flags) in ending.iter().copied() {
                    if client {
                        same(
                            first,
                            given(lab, &service, v4, who, to, (PORT, flags))?,
                            "at the end",
                        )?;
                    } else {
                        answer(lab, flags)?;
                    }
                }
            }
            if (seen.len() == 1) == stays { Ok(()) } else { Err(format!("{seen:?}")) }
        }));
    }
}

/// Halves of connections that were evicted.
fn lost(rows: &mut Vec<Row>, proto: Proto, v4: bool) {
    for way in Way::all() {
        for node in [0, 1] {
            if way.halves[node] == 0 {
                continue;
            }
            for (what, halves) in [
                ("the original half", &[Direction::Original][..]),
                ("the reply half", &[Direction::Reply]),
                ("both halves", &[Direction::Original, Direction::Reply]),
            ] {
                let after = way.halves;
                let on = proto.flags()[2];
                let name = format!("n{} loses {what}, the client goes on", node + 1);
                rows.push(way.row((proto, v4), &name, move |lab, path| {
                    let seen = lab.talk(path)?;
                    lab.lose(node, halves);
                    // The record of the last packet is renewed after a second, and a half restored with it.
                    lab.wait(2);
                    lab.there(path, on)?;
                    lab.back(path, &seen, on)?;
                    lab.there(path, on)?;
                    lab.halves_are(after)
                }));
                if halves.len() == 1 && halves[0] == Direction::Original {
                    let name = format!("n{} loses {what}, the backend goes on", node + 1);
                    rows.push(way.row((proto, v4), &name, move |lab, path| {
                        let seen = lab.talk(path)?;
                        lab.lose(node, halves);
                        lab.wait(2);
                        lab.back(path, &seen, on)?;
                        lab.there(path, on)?;
                        lab.back(path, &seen, on)?;
                        lab.halves_are(after)
                    }));
                }
            }
        }
    }
}
