//! What a service load balancer owes without an RFC's asking.

use std::collections::BTreeSet;

use twinpath_core::state::Direction;
use twinpath_sim::cluster::Place;

use super::cluster::{Health, Service, cluster_ip, is_cluster_ip, is_pod, node, pod};
use super::entry::{Differs, Entry, tests};
use super::lab::{
    Check, FAMILIES, Got, Lab, PORT, Path, WAYS, Who, each, is, path, service, setup, source_of,
};
use super::packet::{
    ACK, FIN_ACK, Ip, Message, PORT as UNREACHABLE, Packet, Proto, RST, SYN, SYN_ACK,
};
use super::udp::outside;

pub(crate) const ROWS: &[Entry] = &[
    Entry {
        id: "K-1",
        statement: "A connection keeps its backend as long as it lives, through every change of endpoints that keeps that backend.",
        differs: Differs::No,
        tests: tests![backends_stay],
    },
    Entry {
        id: "K-2",
        statement: "When its backend is removed, UDP moves with the next datagram; TCP stays, and only a SYN chooses again; without any endpoint the sender is told.",
        differs: Differs::Beside(1, "as kube-proxy; Cilium moves TCP, too"),
        tests: tests![backends_go],
    },
    Entry {
        id: "K-3",
        statement: "No packet leaves a node untranslated for a frontend, and no client outside sees a pod's address.",
        differs: Differs::Instead(
            49,
            "true of TCP, UDP, SCTP, echoes and errors; what else pods send out of the cluster keeps their address",
        ),
        tests: tests![nothing_leaves_untranslated],
    },
    Entry {
        id: "K-4",
        statement: "With `externalTrafficPolicy: Local`, clients outside reach backends of the node alone, under their own address; where there are none, packets are dropped.",
        differs: Differs::Beside(26, "it is not for pods and nodes"),
        tests: tests![local_policy],
    },
    Entry {
        id: "K-5",
        statement: "What conntrack can make nothing of is dropped or translated, never sent on untranslated; a backend's packet of a connection that is forgotten counts as one of its own, and leaves as such.",
        differs: Differs::Beside(
            5,
            "a reset to a frontend is dropped; kube-proxy sends it to a random backend",
        ),
        tests: tests![invalid_packets],
    },
    Entry {
        id: "K-6",
        statement: "With DSR the client sees the frontend as the source of every packet: of resets, in the middle of a connection, and after another node has taken over.",
        differs: Differs::Beside(16, "a node that has lost its state has it back within a second"),
        tests: tests![direct_answers],
    },
    Entry {
        id: "K-7",
        statement: "The two halves of a connection come and go as a pair; one that is lost is restored by the next packet of the other, and one whose place was taken is reaped.",
        differs: Differs::No,
        tests: tests![halves_are_a_pair],
    },
    Entry {
        id: "K-8",
        statement: "With any table full, connections that are there go on.",
        differs: Differs::No,
        tests: tests![full_tables],
    },
];

const PROTOS: &[Proto] = &[Proto::Udp, Proto::Tcp];

/// A service with these pods behind it.
fn served_by(proto: Proto, backends: &[&'static str]) -> Service {
    Service { backends: Service::new(proto, backends).backends, ..service(proto, "sa") }
}

/// The pod of a service that gets a packet.
fn given(
    lab: &mut Lab<'_>,
    service: &Service,
    (who, port): (Who, u16),
    to: super::packet::End,
    flags: u8,
) -> Check<&'static str> {
    let v4 = to.0.is_ipv4();
    let packet = Packet::new(service.proto, (who.address(v4), port), to, flags);
    let got = lab.send(who, &packet);
    for name in ["sa", "sa2", "sb", "sb2", "sc"] {
        if got.last().0 == lab.place(Who::Pod(name)) {
            let sees = super::lab::ports_of(got.last().1).0;
            let seen = packet.between((source_of(got.last().1), sees), service.target(name, v4));
            got.arrives(lab.place(Who::Pod(name)), &seen)?;
            return Ok(name);
        }
    }
    got.fail("at no backend")
}

/// Who opens connections, and to where.
fn openers(service: &Service, v4: bool) -> [(Who, super::packet::End); 2] {
    [(Who::Pod("ca"), service.cluster(v4)), (Who::Client("x"), service.at_node(1, v4))]
}

fn backends_stay(lab: &mut Lab<'_>) -> Check<String> {
    for v4 in FAMILIES {
        for proto in PROTOS {
            let [open, _, on] = proto.flags();
            let all = served_by(*proto, &["sa", "sb", "sc"]);
            for (who, to) in openers(&all, v4) {
                lab.begin_with(&setup("ClusterIP local"), std::slice::from_ref(&all));
                let mut given_to = Vec::new();
                for port in PORT..PORT + 12 {
                    given_to.push((port, given(lab, &all, (who, port), to, open)?));
                    given(lab, &all, (who, port), to, on)?;
                }
                let used: BTreeSet<_> = given_to.iter().map(|(_, pod)| *pod).collect();
                is(used.len() == 3, format!("only {used:?}"))?;
                // More backends, fewer, others, and the same again.
                for backends in [
                    &["sa", "sa2", "sb", "sb2", "sc"][..],
                    &["sb", "sa"],
                    &["sa", "sb2"],
                    &["sa"],
                    &["sb", "sc", "sa"],
                ] {
                    lab.apply(&[served_by(*proto, backends)]);
                    lab.wait(1_500);
                    for (port, first) in given_to.iter().filter(|(_, pod)| backends.contains(pod)) {
                        // A datagram whose backend was away has moved meanwhile.
                        if *first != "sa" && *proto == Proto::Udp {
                            continue;
                        }
                        let now = given(lab, &all, (who, *port), to, on)?;
                        is(now == *first, format!("{first} and then {now}"))?;
                    }
                }
            }
        }
    }
    Ok(String::new())
}

fn backends_go(lab: &mut Lab<'_>) -> Check<String> {
    for v4 in FAMILIES {
        for proto in PROTOS {
            let [open, answer, on] = proto.flags();
            let all = served_by(*proto, &["sa", "sb"]);
            for (who, to) in openers(&all, v4) {
                for terminates in [false, true] {
                    lab.begin_with(&setup("ClusterIP local"), std::slice::from_ref(&all));
                    let first = given(lab, &all, (who, PORT), to, open)?;
                    let other = if first == "sa" { "sb" } else { "sa" };
                    let target = (Who::Pod(first), all.target(first, v4));
                    let sees = if first == "sb" && who == Who::Client("x") {
                        node(1, v4)
                    } else {
                        who.address(v4)
                    };
                    let back = |flags| Packet::new(*proto, target.1, (sees, PORT), flags);
                    lab.send(target.0, &back(answer));
                    given(lab, &all, (who, PORT), to, on)?;
                    let mut less = all.clone();
                    if terminates {
                        for (name, health) in &mut less.backends {
                            *health =
                                if *name == first { Health::Terminating } else { Health::Ready };
                        }
                    } else {
                        less.backends.retain(|(name, _)| *name == other);
                    }
                    lab.apply(&[less.clone()]);
                    let now = given(lab, &all, (who, PORT), to, on)?;
                    let wanted = if *proto == Proto::Udp { other } else { first };
                    is(now == wanted, format!("{first} is gone, and {now} gets what goes on"))?;
                    if *proto == Proto::Tcp {
                        // Both directions go on, and a new connection goes elsewhere, by the old tuple or a new one.
                        let got = lab.send(target.0, &back(ACK));
                        let there = Packet::new(*proto, to, (who.address(v4), PORT), ACK);
                        got.arrives(lab.place(who), &there)?;
                        is(
                            given(lab, &all, (who, PORT), to, SYN)? == other || terminates,
                            "SYN to what is gone",
                        )?;
                    }
                    for port in PORT + 1..PORT + 6 {
                        is(
                            given(lab, &all, (who, port), to, open)? == other,
                            "new ones to what is gone",
                        )?;
                    }
                    // Nobody is left: who sends is told, and not left to wait.
                    less.backends.clear();
                    lab.apply(&[less]);
                    for port in [PORT + 20, PORT + 1] {
                        if port == PORT + 1 && *proto == Proto::Tcp {
                            continue; // what goes on, as above
                        }
                        let packet = Packet::new(*proto, (who.address(v4), port), to, open);
                        let got = lab.watch(who, &packet);
                        got.counts("SERVICE_BACKEND_NOT_FOUND")?;
                        let hops = if who == Who::Pod("ca") { 64 } else { 63 };
                        let error =
                            Message::error(UNREACHABLE, to.0, packet.from.0, &packet.ip(hops));
                        got.arrives(lab.place(who), &error)?;
                    }
                }
            }
        }
    }
    Ok(String::new())
}

/// What holds for every packet at every place.
fn clean(got: &Got) -> Check {
    for (place, frame) in &got.trace.seen {
        let ip = &frame.bytes[14..];
        let to = destination_of(ip);
        let wire = matches!(place, Place::Wire(_));
        got.check(!(wire && is_cluster_ip(to)), "a frontend's address between nodes")?;
        let inside = is_pod(source_of(ip));
        got.check(!(inside && matches!(place, Place::ClientIn(_))), "a pod's address outside")?;
    }
    Ok(())
}

fn destination_of(ip: &[u8]) -> std::net::IpAddr {
    if ip[0] >> 4 == 4 {
        <[u8; 4]>::try_from(&ip[16..20]).expect("four bytes").into()
    } else {
        <[u8; 16]>::try_from(&ip[24..40]).expect("sixteen bytes").into()
    }
}

fn nothing_leaves_untranslated(lab: &mut Lab<'_>) -> Check<String> {
    for v4 in FAMILIES {
        for proto in [Proto::Udp, Proto::Tcp, Proto::Sctp] {
            lab.begin("ClusterIP local");
            // Every kind of packet to a frontend, an unknown port of one, and an address of the range without one.
            let flags = [SYN, SYN_ACK, ACK, FIN_ACK, RST];
            for flags in &flags[..if proto == Proto::Tcp { 5 } else { 1 }] {
                for who in [Who::Pod("ca"), Who::Pod("sb"), Who::Node(1), Who::Client("x")] {
                    for to in [
                        service(proto, "sb").cluster(v4),
                        (cluster_ip(1, v4), 4_321),
                        (cluster_ip(99, v4), 80),
                    ] {
                        for length in [0, 64] {
                            let packet = Packet::new(proto, (who.address(v4), PORT), to, *flags)
                                .length(length);
                            clean(&lab.send(who, &packet))?;
                        }
                        let [first, later] =
                            Packet::new(proto, (who.address(v4), PORT), to, *flags)
                                .length(96)
                                .fragments(64);
                        clean(&lab.send(who, &later))?;
                        clean(&lab.send(who, &first))?;
                        clean(&lab.send(who, &later))?;
                    }
                }
            }
            // Pods to the outside, from every kind of port; answers, and errors about them.
            if proto != Proto::Sctp {
                for port in [7, PORT] {
                    let path = lab.talk(&outside(proto, v4, ("ca", port), ("x", 53)))?;
                    let error = |from, quoted: &Packet| {
                        Message::error(UNREACHABLE, from, path.to.0, &quoted.ip(60))
                    };
                    let seen = path.back(0).between(path.to, path.from);
                    clean(&lab.send(path.opener, &error(path.from.0, &seen)))?;
                }
            }
            clean(
                &lab.send(Who::Pod("ca"), &outside(Proto::Echo, v4, ("ca", 1), ("x", 0)).there(0)),
            )?;
        }
        // What else there is keeps its address.
        let timestamp = Message {
            from: pod("ca", v4),
            to: super::cluster::client("x", v4),
            kind: if v4 { 13 } else { 200 },
            code: 0,
            rest: [0, 1, 0, 1],
            body: vec![0; 12],
            off: 0,
        };
        let got = lab.send(Who::Pod("ca"), &timestamp);
        got.arrives(lab.place(Who::Client("x")), &timestamp).map_err(|why| {
            format!("no longer sent under the pod's address: say so in the row: {why}")
        })?;
    }
    Ok(String::new())
}

fn local_policy(lab: &mut Lab<'_>) -> Check<String> {
    for v4 in FAMILIES {
        for proto in PROTOS {
            let [open, ..] = proto.flags();
            let mut local = served_by(*proto, &["sa", "sb", "sb2"]);
            local.number = 1;
            local.spec = "externalTrafficPolicy: Local,".into();
            lab.begin_with(&setup("NodePort local"), &[local.clone()]);
            let client = Who::Client("x");
            for (number, allowed) in [(1, &["sa"][..]), (2, &["sb", "sb2"][..])] {
                for port in PORT..PORT + 8 {
                    let to = local.at_node(number, v4);
                    let packet = Packet::new(*proto, (client.address(v4), port), to, open);
                    let got = lab.send(client, &packet);
                    let name =
                        allowed.iter().find(|name| got.last().0 == lab.place(Who::Pod(name)));
                    let Some(name) = name else { return got.fail("not at a backend of the node") };
                    // Under its own address.
                    got.arrives(
                        lab.place(Who::Pod(name)),
                        &packet.between(packet.from, local.target(name, v4)),
                    )?;
                }
            }
            let packet =
                Packet::new(*proto, (client.address(v4), PORT), local.at_node(3, v4), open);
            lab.watch(client, &packet).dropped("SERVICE_BACKEND_NOT_FOUND")?;
            // For the cluster there is no such policy.
            let pods: BTreeSet<_> = (PORT..PORT + 16)
                .map(|port| given(lab, &local, (Who::Pod("ca"), port), local.cluster(v4), open))
                .collect::<Check<_>>()?;
            is(pods.len() == 3, format!("{pods:?}"))?;
        }
    }
    Ok(String::new())
}

fn invalid_packets(lab: &mut Lab<'_>) -> Check<String> {
    for way in ["ClusterIP local", "ClusterIP remote", "NodePort SNAT"] {
        for v4 in FAMILIES {
            lab.begin(way);
            let path = path(way, Proto::Tcp, v4);
            // A reset without a connection: to a random backend's choice, dropped; where all nodes choose alike, sent there.
            let reset = lab.watch(path.opener, &path.there(RST));
            match path.opener {
                Who::Pod(_) => reset.dropped("CT_CANNOT_CREATE_ENTRY_FROM_PACKET")?,
                _ => reset
                    .arrives(
                        lab.place(path.server),
                        &path.there(RST).between(path.sees, path.target),
                    )
                    .map(|_| ())?,
            }
            // Out of any window, old, or the first that is seen: translated all the same.
            lab.begin(way);
            lab.there(&path, &path.there(ACK))?;
            lab.talk(&path)?;
            for sequence in [0, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
                for flags in [ACK, SYN_ACK, FIN_ACK] {
                    let mut packet = path.there(flags);
                    packet.sequence = sequence;
                    lab.there(&path, &packet)?;
                    let mut packet = path.back(flags);
                    packet.sequence = sequence;
                    lab.back(&path, &packet)?;
                }
            }
            // Flags that no TCP sends, wrong lengths. Those of a client would be the router's to drop.
            let outside = matches!(path.opener, Who::Client(_));
            for flags in [0, SYN | FIN_ACK, SYN | RST, FIN_ACK & !ACK, FIN_ACK | RST] {
                if !outside {
                    lab.watch(path.opener, &path.there(flags))
                        .dropped("CT_TRUNCATED_OR_INVALID_HEADER")?;
                }
                lab.watch(path.server, &path.back(flags))
                    .dropped("CT_TRUNCATED_OR_INVALID_HEADER")?;
            }
            let at = if v4 { 32 } else { 52 };
            for offset in [0, 4, 15] {
                let mut bytes = path.back(ACK).with(&[]).ip(64);
                bytes[at] = offset << 4;
                lab.watch(path.server, &bytes).dropped("CT_TRUNCATED_OR_INVALID_HEADER")?;
            }
            // The connection has taken no harm.
            lab.talk(&path)?;
        }
    }
    // A connection that is forgotten: what its backend still sends is neither the frontend's nor a pod's outside.
    each(lab, &["NodePort local", "NodePort SNAT"], PROTOS, |lab, path| {
        lab.talk(path)?;
        lab.wait(10 * 3_600_000);
        let got = lab.send(path.server, &path.back(path.proto.flags()[2]));
        let (place, bytes) = got.last();
        if path.way == "NodePort SNAT" {
            return got.check(place == Place::Host(0), "not with the node that translated");
        }
        got.check(place == lab.place(path.opener), "not with the client")?;
        let source = (source_of(bytes), super::lab::ports_of(bytes).0);
        got.check(source.0 == node(1, path.v4) && source != path.to, "not as the node's own")
    })?;
    Ok(String::new())
}

fn direct_answers(lab: &mut Lab<'_>) -> Check<String> {
    each(lab, &WAYS[5..], PROTOS, |lab, path| {
        // Every kind of packet, at once and after a while.
        let flags: &[u8] =
            if path.proto == Proto::Tcp { &[SYN_ACK, ACK, FIN_ACK, RST] } else { &[0] };
        for flags in flags {
            lab.begin(path.way);
            lab.there(path, &path.there(path.proto.flags()[0]))?;
            lab.back(path, &path.back(*flags))?;
            lab.back(path, &path.back(*flags))?;
        }
        lab.begin(path.way);
        lab.talk(path)?;
        for _ in 0..3 {
            lab.wait(70_000);
            lab.there(path, &path.there(path.proto.flags()[2]))?;
            lab.back(path, &path.back(path.proto.flags()[2]))?;
        }
        // The backend's node loses its state: it has it back with the client's next packets.
        for direction in [Direction::Original, Direction::Reply] {
            lab.lose(1, direction);
        }
        lab.wait(1_000);
        let on = path.proto.flags()[2];
        lab.there(path, &path.there(on))?;
        lab.back(path, &path.back(on))?;
        // Another node than the first receives what the client sends.
        lab.lose(0, Direction::Original);
        lab.lose(0, Direction::Reply);
        lab.there(path, &path.there(on))?;
        lab.back(path, &path.back(on)).map(|_| ())
    })?;
    // A load balancer's address moves to another node.
    for way in &WAYS[5..] {
        for v4 in FAMILIES {
            for proto in PROTOS {
                let mut service = served_by(*proto, &["sb"]);
                service.number = 1;
                lab.begin_with(&setup(way), &[service.clone()]);
                let mut path = path(way, *proto, v4);
                (path.to, path.target) = (service.balancer(v4), service.target("sb", v4));
                lab.talk(&path)?;
                lab.spoil().reroute(path.to.0, 2);
                lab.wait(1_000);
                let on = proto.flags()[2];
                for _ in 0..2 {
                    lab.there(&path, &path.there(on))?;
                    lab.back(&path, &path.back(on))?;
                }
                if *proto == Proto::Tcp {
                    lab.back(&path, &path.back(RST))?;
                }
            }
        }
    }
    Ok(String::new())
}

fn halves_are_a_pair(lab: &mut Lab<'_>) -> Check<String> {
    each(lab, &WAYS[..5], PROTOS, |lab, path| {
        let on = path.proto.flags()[2];
        lab.talk(path)?;
        for node in 0..2 {
            for direction in [Direction::Original, Direction::Reply] {
                let both = lab.flows(node).len();
                is(both == 0 || both == 2, format!("{both} halves on node {}", node + 1))?;
                if both == 0 {
                    continue;
                }
                is(lab.lose(node, direction) == 1, "one half of each")?;
                // A packet of the half that is left, and then one of the other.
                if direction == Direction::Original {
                    lab.wait(1_000);
                    lab.back(path, &path.back(on))?;
                    lab.there(path, &path.there(on))?;
                } else {
                    lab.wait(1_000);
                    lab.there(path, &path.there(on))?;
                    lab.back(path, &path.back(on))?;
                }
                is(lab.flows(node).len() == 2, "not restored")?;
            }
        }
        // Both end together.
        if path.proto == Proto::Tcp {
            lab.back(path, &path.back(RST))?;
            for node in 0..2 {
                let states: BTreeSet<_> =
                    lab.flows(node).iter().map(|(_, flow)| flow.state().0).collect();
                is(states.len() <= 1, "halves that differ in their state")?;
            }
        }
        Ok(())
    })?;
    // A half is left alone, and its twin's place is taken by another connection: it does not catch what is that one's.
    for v4 in FAMILIES {
        for proto in PROTOS {
            lab.begin("masquerade");
            let [open, _, on] = proto.flags();
            let one = lab.talk(&outside(*proto, v4, ("ca", PORT), ("x", 53)))?;
            lab.lose(0, Direction::Reply);
            let two = lab.talk(&outside(*proto, v4, ("sa", PORT), ("x", 53)))?;
            is(two.sees == one.sees, "the place is free")?;
            lab.wait(1_000);
            // Whose half was left gets a port of its own, and each its own answers.
            let got = lab.send(one.opener, &one.there(on));
            let sees = super::lab::ports_of(got.last().1).0;
            got.check(sees != two.sees.1, "one tuple for two")?;
            let one = Path { sees: (one.sees.0, sees), ..one };
            lab.there(&one, &one.there(open))?;
            for path in [&one, &two] {
                lab.back(path, &path.back(on))?;
            }
        }
    }
    Ok(String::new())
}

fn full_tables(lab: &mut Lab<'_>) -> Check<String> {
    // More connections than there is room for, by far, and one that goes on among them.
    for way in ["ClusterIP remote", "NodePort SNAT"] {
        for proto in PROTOS {
            lab.begin(way);
            let path = path(way, *proto, true);
            let [open, _, on] = proto.flags();
            lab.talk(&path)?;
            for number in 0..1_500_u16 {
                let mut other = path.there(open);
                other.from.1 = 41_000 + number;
                lab.pass(path.opener, other.frame());
                if number % 50 == 0 {
                    lab.there(&path, &path.there(on))?;
                    lab.back(&path, &path.back(on))?;
                }
            }
            let halves = lab.flows(0).len();
            is(halves <= 1_024, format!("{halves} halves in a table for 1024"))?;
        }
    }
    // Affinity, fragments and answers: of each more than there is room for.
    let mut sticky = served_by(Proto::Udp, &["sa"]);
    sticky.spec = "sessionAffinity: ClientIP,".into();
    lab.begin_with(&setup("ClusterIP local"), &[sticky.clone()]);
    let mut path = path("ClusterIP local", Proto::Udp, true);
    path.to = sticky.cluster(true);
    path.target = sticky.target("sa", true);
    lab.talk(&path)?;
    for number in 0..1_200_u16 {
        let mut first = path.there(0).length(64);
        first.id = number;
        lab.pass(path.opener, super::packet::frame(&first.fragments(40)[0]));
        let mut refused = path.there(0);
        refused.to.1 = 4_321;
        lab.pass(path.opener, refused.frame());
        let mut client = path.there(0);
        client.from.0 = [10, 243, (number >> 8) as u8, number as u8].into();
        lab.pass(path.opener, client.frame());
        if number % 100 == 0 {
            lab.there(&path, &path.there(0))?;
            lab.back(&path, &path.back(0))?;
        }
    }
    Ok(String::new())
}
