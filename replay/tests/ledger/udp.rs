//! RFC 4787: NAT behavioural requirements for unicast UDP.

use std::collections::BTreeSet;
use std::net::IpAddr;

use twinpath_control::diff::Write;
use twinpath_sim::cluster::Place;

use super::cluster::{Service, client, hairpin, node, pod, state};
use super::entry::{Differs, Entry, tests};
use super::lab::{
    Check, FAMILIES, Lab, PORT, Path, SNAT, WAYS, Who, each, fail, is, path, ports_of, service,
    setup, source_of,
};
use super::packet::{self, Ip, Message, PORT as UNREACHABLE, Packet, Proto, TIME, TOO_BIG};

pub(crate) const ROWS: &[Entry] = &[
    Entry {
        id: "U-1",
        statement: "What one internal address and port sends to different destinations leaves with one external address and port.",
        differs: Differs::Instead(
            24,
            "the address is always the same one; a port from the node's range is kept while nobody else has it towards \
             the same destination; for a port out of it, one is drawn for each connection",
        ),
        tests: tests![mapping_of_udp],
    },
    Entry {
        id: "U-2",
        statement: "Where a node has several addresses, an internal address always leaves with the same one of them.",
        differs: Differs::No,
        tests: tests![one_of_several_addresses],
    },
    Entry {
        id: "U-3",
        statement: "No two live connections have the same addresses and ports outside, and every answer reaches whom it is for.",
        differs: Differs::No,
        tests: tests![two_inside_with_one_port, by_the_service_and_past_it],
    },
    Entry {
        id: "U-3a",
        statement: "Where a port is changed, one below 1024 becomes one below 1024, and one from 1024 on stays there.",
        differs: Differs::Instead(
            24,
            "every changed port is from the node's range, which is all above 1023",
        ),
        tests: tests![ports_below_1024],
    },
    Entry {
        id: "U-3b",
        statement: "An external port is never one that the node owns: of a service, of a process, or of the range that processes are given.",
        differs: Differs::Instead(
            44,
            "never a node port, a host port, or one that `reserved_ports` names; one that a process uses may be, and \
             then tuples tell whose a packet is",
        ),
        tests: tests![ports_of_the_node],
    },
    Entry {
        id: "U-4",
        statement: "An even port becomes an even one, and an odd one an odd one.",
        differs: Differs::NotApplicable(
            "Optional since RFC 7857, and for RTP without `a=rtcp`, which services do not see.",
        ),
        tests: &[],
    },
    Entry {
        id: "U-5",
        statement: "An idle UDP mapping is kept for 120 seconds at least: alive until the last millisecond, and then gone.",
        differs: Differs::Beside(8, "Linux: 30 s, and 120 s after an answer"),
        tests: tests![timer_of_udp],
    },
    Entry {
        id: "U-6",
        statement: "What goes out refreshes a mapping; so does what comes in, always.",
        differs: Differs::No,
        tests: tests![either_direction_refreshes],
    },
    Entry {
        id: "U-7",
        statement: "Internal and external addresses may overlap.",
        differs: Differs::NotApplicable(
            "Kubernetes asks for ranges of pods, nodes and services that do not.",
        ),
        tests: &[],
    },
    Entry {
        id: "U-8",
        statement: "What comes unasked to an external port from another address or port is not delivered inside.",
        differs: Differs::No,
        tests: tests![filtering_of_udp],
    },
    Entry {
        id: "U-9",
        statement: "A pod reaches itself by its own service and gets the answer from the frontend; the source it sees is an external address and port.",
        differs: Differs::Instead(
            32,
            "the source it sees is an address that is for this alone, with the port that was sent from",
        ),
        tests: tests![hairpin_of_udp],
    },
    Entry {
        id: "U-10",
        statement: "Payloads are not changed, whatever they say: SIP, FTP and STUN bodies with addresses in them.",
        differs: Differs::No,
        tests: tests![payloads_of_udp],
    },
    Entry {
        id: "U-11",
        statement: "Mapping and filtering do not change with load or time.",
        differs: Differs::Instead(
            24,
            "a port is kept where it is free towards the destination, so whether it is depends on who else sends there; \
             filtering never changes",
        ),
        tests: tests![the_same_under_load],
    },
    Entry {
        id: "U-12",
        statement: "No ICMP message, of whatever type, removes or shortens a mapping.",
        differs: Differs::No,
        tests: tests![icmp_leaves_udp_alone],
    },
    Entry {
        id: "U-13",
        statement: "A packet that is too long once it is wrapped (DSR) is refused, if it may not be cut, with ICMP and the MTU that holds; else it is cut.",
        differs: Differs::Instead(15, "refused whether or not it may be cut"),
        tests: tests![too_long_to_be_wrapped],
    },
    Entry {
        id: "U-14",
        statement: "Fragments of a datagram reach one backend in whatever order, ports change in the first one alone, and what is remembered is bounded.",
        differs: Differs::Instead(
            22,
            "one that comes before the first is dropped and counted; in order, all arrive",
        ),
        tests: tests![fragments_of_udp, fragments_are_bounded],
    },
];

/// A connection from a pod of node 1 to a client outside.
pub(super) fn outside(
    proto: Proto,
    v4: bool,
    (inside, port): (&'static str, u16),
    (outside, to): (&'static str, u16),
) -> Path {
    let mut path = path("masquerade", proto, v4);
    path.opener = Who::Pod(inside);
    path.from = (pod(inside, v4), port);
    path.to = (client(outside, v4), to);
    (path.server, path.target) = (Who::Client(outside), path.to);
    path.sees = (node(1, v4), port);
    path
}

/// The class of RFC 4787, section 4.1, by what (x, 53), (y, 53) and (x, 54) see.
fn class<T: PartialEq>([a, b, c]: [T; 3]) -> &'static str {
    if a == b && a == c {
        "endpoint-independent"
    } else if a == c {
        "address-dependent"
    } else {
        "address- and port-dependent"
    }
}

const ENDS: [(&str, u16); 3] = [("x", 53), ("y", 53), ("x", 54)];

/// The class of mapping from a port, in both families.
fn mapping_from(lab: &mut Lab<'_>, proto: Proto, port: u16) -> Check<&'static str> {
    let mut classes = BTreeSet::new();
    for v4 in FAMILIES {
        lab.begin("masquerade");
        let mut seen = Vec::new();
        for end in ENDS {
            let opened = lab.talk(&outside(proto, v4, ("ca", port), end))?;
            is(opened.sees.0 == node(1, v4), "another address")?;
            // The same connection stays where it is.
            lab.there(&opened, &opened.there(proto.flags()[2]))?;
            seen.push(opened.sees);
        }
        let seen: [_; 3] = seen.try_into().map_err(|_| "three ends")?;
        classes.insert(class(seen));
    }
    let classes: Vec<_> = classes.into_iter().collect();
    if let [one] = classes[..] { Ok(one) } else { fail(format!("families differ: {classes:?}")) }
}

/// What U-1 and T-1 measure.
pub(super) fn mapping(lab: &mut Lab<'_>, proto: Proto) -> Check<String> {
    let (kept, drawn) = (mapping_from(lab, proto, PORT)?, mapping_from(lab, proto, 5_000)?);
    is(kept == "endpoint-independent", "a free port of the range is not kept")?;
    is(drawn == "address- and port-dependent", "a port out of the range is not drawn anew")?;
    Ok(format!("{kept} mapping from ports 32768 to 65535, {drawn} from others"))
}

fn mapping_of_udp(lab: &mut Lab<'_>) -> Check<String> {
    mapping(lab, Proto::Udp)
}

fn one_of_several_addresses(lab: &mut Lab<'_>) -> Check<String> {
    for v4 in FAMILIES {
        let mut state = state(&[]);
        let own = state.nodes.get_mut("n1").ok_or("a node")?;
        own.addresses.extend([
            node(201, true),
            node(202, true),
            node(201, false),
            node(202, false),
        ]);
        lab.begin_state(&setup("masquerade"), &state);
        let mut seen = BTreeSet::new();
        for port in 0..40 {
            for end in ENDS {
                let path = outside(Proto::Udp, v4, ("ca", 1_000 + 1_000 * port), end);
                let got = lab.send(path.opener, &path.there(0));
                let (place, bytes) = got.last();
                got.check(place == lab.place(path.server), "did not arrive")?;
                seen.insert(source_of(bytes));
            }
        }
        is(seen == BTreeSet::from([node(1, v4)]), format!("{seen:?}"))?;
    }
    Ok(String::new())
}

/// Two connections that do not mix.
fn apart(lab: &mut Lab<'_>, one: &Path, other: &Path) -> Check {
    is((one.sees, one.target) != (other.sees, other.target), format!("both are {:?}", one.sees))?;
    for _ in 0..2 {
        for path in [one, other] {
            let on = path.proto.flags()[2];
            lab.there(path, &path.there(on))?;
            lab.back(path, &path.back(on))?;
        }
    }
    Ok(())
}

fn two_inside_with_one_port(lab: &mut Lab<'_>) -> Check<String> {
    for proto in [Proto::Udp, Proto::Tcp, Proto::Echo] {
        for v4 in FAMILIES {
            lab.begin("masquerade");
            let end = ("x", if proto == Proto::Echo { 0 } else { 53 });
            let [one, two] = ["ca", "sa"].map(|pod| outside(proto, v4, (pod, PORT), end));
            let (one, two) = (lab.talk(&one)?, lab.talk(&two)?);
            apart(lab, &one, &two)?;
            if proto == Proto::Echo {
                continue;
            }
            lab.begin("NodePort SNAT");
            let one = path("NodePort SNAT", proto, v4);
            let mut two = one.clone();
            (two.opener, two.from.0) = (Who::Client("y"), client("y", v4));
            let (one, two) = (lab.talk(&one)?, lab.talk(&two)?);
            apart(lab, &one, &two)?;
        }
    }
    Ok(String::new())
}

/// A pod speaks with one server by its service and past it, from one port: to the server it is one tuple.
fn by_the_service_and_past_it(lab: &mut Lab<'_>) -> Check<String> {
    for way in ["ClusterIP local", "ClusterIP remote"] {
        for v4 in FAMILIES {
            for proto in [Proto::Udp, Proto::Tcp] {
                for first in [true, false] {
                    lab.begin(way);
                    let served = path(way, proto, v4);
                    let mut past = served.clone();
                    past.to = past.target;
                    let [a, b] = if first { [&served, &past] } else { [&past, &served] };
                    let (a, b) = (lab.talk(a)?, lab.talk(b)?);
                    apart(lab, &a, &b)?;
                }
            }
        }
    }
    Ok(String::new())
}

fn ports_below_1024(lab: &mut Lab<'_>) -> Check<String> {
    each(lab, &SNAT, &[Proto::Udp], |lab, path| {
        for port in [7, 500, 1_023, 1_024, 5_353, 32_767] {
            let opened = lab.talk(&path.port(port))?;
            is(opened.sees.1 >= 32_768, format!("{port} became {}", opened.sees.1))?;
        }
        for port in [32_768, PORT, 65_535] {
            is(lab.talk(&path.port(port))?.sees.1 == port, format!("{port} did not stay"))?;
        }
        Ok(())
    })?;
    Ok(String::new())
}

fn ports_of_the_node(lab: &mut Lab<'_>) -> Check<String> {
    // Of services, though the range is told to be there.
    let mut low = setup("NodePort SNAT");
    low.options.snat_ports = 30_080..=30_103;
    low.options.reserved_ports = vec![30_090..=30_095];
    let services = [service(Proto::Udp, "sa"), service(Proto::Udp, "sb")];
    let owned: BTreeSet<u16> =
        (30_090..=30_095).chain(services.iter().map(|s| s.node_port)).collect();
    for way in SNAT {
        for v4 in FAMILIES {
            lab.begin_with(&low, &services);
            let mut seen = BTreeSet::new();
            // As many as there are, each from a port that is the node's.
            for number in 0..24 - owned.len() as u16 {
                let own = *owned.iter().nth(usize::from(number) % owned.len()).ok_or("owned")?;
                let mut path = path(way, Proto::Udp, v4).port(own + 1_000 * (number / 8));
                path.from.1 = if number < owned.len() as u16 { own } else { 1_000 + number };
                seen.insert(lab.open(&path)?.sees.1);
            }
            is(seen.is_disjoint(&owned), format!("{way}: {seen:?}"))?;
            is(seen.len() == 24 - owned.len(), format!("{way}: {} ports", seen.len()))?;
        }
    }
    // What options ask for is in no state.
    for number in 0..3 {
        lab.spoil().write(number, &Write::Reserved(30_090 / 64, 0));
    }
    // A process of the node has the port that a client's connection has there, towards the same backend.
    for v4 in FAMILIES {
        for proto in [Proto::Udp, Proto::Tcp] {
            lab.begin("NodePort SNAT");
            let theirs = lab.talk(&path("NodePort SNAT", proto, v4))?;
            is(theirs.sees == (node(1, v4), PORT), "not in the node's place")?;
            let mut own = theirs.clone();
            (own.opener, own.from, own.to) = (Who::Node(1), theirs.sees, theirs.target);
            let own = lab.talk(&own)?;
            apart(lab, &theirs, &own)?;
        }
    }
    Ok(String::new())
}

/// Whether the server's packet still reaches the opener; else it is the node's, or under its own name.
pub(super) fn is_alive(lab: &mut Lab<'_>, path: &Path) -> Check<bool> {
    let packet = path.back(path.proto.flags()[2]);
    let got = lab.send(path.server, &packet);
    let (place, bytes) = got.last();
    if got.arrives(lab.place(path.opener), &packet.between(path.to, path.from)).is_ok() {
        return Ok(true);
    }
    let stranger = place == Place::Host(0) || (source_of(bytes), ports_of(bytes).0) != path.to;
    got.check(stranger, "half translated")?;
    Ok(false)
}

/// A connection, made so far by `prepare`, is kept for so many milliseconds and no more.
pub(super) fn expires(
    lab: &mut Lab<'_>,
    path: &Path,
    milliseconds: u64,
    prepare: impl Fn(&mut Lab<'_>, &Path) -> Check<Path>,
) -> Check {
    for (port, after, alive) in [(PORT, milliseconds - 1, true), (PORT + 1, milliseconds, false)] {
        let path =
            prepare(lab, &if path.proto == Proto::Echo { path.clone() } else { path.port(port) })?;
        lab.wait(after);
        if is_alive(lab, &path)? != alive {
            return fail(format!("{} after {after} ms", if alive { "gone" } else { "alive" }));
        }
        // What the last packet has left must not count for the next one.
        lab.wait(10 * 3_600_000);
    }
    Ok(())
}

/// The idle time that is added to every timer, since the record of the last packet may be as old.
pub(super) const SLACK: u64 = 1_000;

fn timer_of_udp(lab: &mut Lab<'_>) -> Check<String> {
    each(lab, &WAYS[..5], &[Proto::Udp], |lab, path| {
        expires(lab, path, 120_000 + SLACK, super::lab::talk)?;
        expires(lab, path, 120_000 + SLACK, super::lab::open)
    })?;
    Ok("120 s and the second that is the timers' grain, answered or not".into())
}

fn either_direction_refreshes(lab: &mut Lab<'_>) -> Check<String> {
    each(lab, &WAYS[..5], &[Proto::Udp], |lab, path| {
        let path = lab.talk(path)?;
        for inbound in [false, true] {
            for _ in 0..4 {
                lab.wait(100_000);
                if inbound {
                    lab.back(&path, &path.back(0))?;
                } else {
                    lab.there(&path, &path.there(0))?;
                }
            }
        }
        lab.wait(100_000);
        lab.back(&path, &path.back(0)).map(|_| ())
    })?;
    Ok(String::new())
}

/// From whom else an external port takes what.
pub(super) fn filtering(lab: &mut Lab<'_>, proto: Proto) -> Check<String> {
    let mut delivered = [false; 3];
    for v4 in FAMILIES {
        lab.begin("masquerade");
        let path = lab.talk(&outside(proto, v4, ("ca", PORT), ("x", 53)))?;
        for (end, delivered) in ENDS.iter().zip(&mut delivered) {
            let from = (client(end.0, v4), end.1);
            let [open, answer, on] = proto.flags();
            for flags in [answer, on, open] {
                if *end == ENDS[0] && proto == Proto::Tcp && flags == open {
                    continue;
                }
                let packet = Packet::new(proto, from, path.sees, flags);
                let got = lab.send(Who::Client(end.0), &packet);
                let inside =
                    got.trace.seen.iter().any(|(place, _)| matches!(place, Place::PodIn(_)));
                *delivered |= inside;
                if !inside {
                    // As anything else that is for the node itself.
                    got.arrives(Place::Host(0), &packet)?;
                }
            }
        }
        lab.there(&path, &path.there(proto.flags()[2]))?;
        lab.back(&path, &path.back(proto.flags()[2]))?;
    }
    is(delivered == [true, false, false], format!("delivered: {delivered:?}"))?;
    Ok("address- and port-dependent filtering; the rest is for the node's own stack".into())
}

fn filtering_of_udp(lab: &mut Lab<'_>) -> Check<String> {
    filtering(lab, Proto::Udp)
}

/// A pod by its own service and back.
pub(super) fn hairpins(lab: &mut Lab<'_>, proto: Proto) -> Check<String> {
    for v4 in FAMILIES {
        let service = service(proto, "sa");
        for to in [service.cluster(v4), service.at_node(1, v4), service.at_node(2, v4)] {
            lab.begin("ClusterIP local");
            let mut path = path("ClusterIP local", proto, v4);
            (path.opener, path.from.0, path.to) = (Who::Pod("sa"), pod("sa", v4), to);
            path.sees = (hairpin(v4), PORT);
            let opened = lab.talk(&path)?;
            is(opened.sees == path.sees, format!("sees {:?}", opened.sees))?;
        }
    }
    Ok(String::new())
}

fn hairpin_of_udp(lab: &mut Lab<'_>) -> Check<String> {
    hairpins(lab, Proto::Udp)
}

/// Bodies that an application gateway would change.
fn bodies(path: &Path) -> Vec<(u16, Vec<u8>)> {
    let address = path.from.0;
    let octets: Vec<u8> = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let comma = octets.iter().map(u8::to_string).collect::<Vec<_>>().join(",");
    let mut stun = vec![0x01, 0x01, 0, 12, 0x21, 0x12, 0xa4, 0x42];
    stun.extend([7; 12]);
    stun.extend([0, 1, 0, 8, 0, 1]);
    stun.extend(path.from.1.to_be_bytes());
    stun.extend(&octets);
    let port = path.from.1;
    vec![
        (21, format!("PORT {comma},{},{}\r\n", port >> 8, port & 0xff).into_bytes()),
        (21, format!("227 Entering Passive Mode ({comma},156,64)\r\n").into_bytes()),
        (
            5060,
            format!("INVITE sip:a@b SIP/2.0\r\nContact: <sip:c@{address}:{port}>\r\n\r\nc=IN IP4 {address}\r\n")
                .into_bytes(),
        ),
        (3478, stun),
        (69, b"\0\x01file\0octet\0".to_vec()),
        (9, Vec::new()),
    ]
}

/// Payloads pass unchanged to and from the ports that application gateways look at.
pub(super) fn payloads(lab: &mut Lab<'_>, proto: Proto) -> Check<String> {
    let [open, answer, on] = proto.flags();
    let some = bodies(&outside(proto, true, ("ca", PORT), ("x", 53)));
    let served: Vec<Service> = (11..)
        .zip(&some)
        .map(|(number, (port, _))| Service {
            number,
            port: *port,
            target: *port,
            node_port: 30_200 + u16::from(number),
            ..service(proto, "sb")
        })
        .collect();
    lab.begin_with(&setup("NodePort SNAT"), &served);
    for v4 in FAMILIES {
        let plain = outside(proto, v4, ("ca", PORT), ("x", 53));
        for (index, (port, body)) in bodies(&plain).into_iter().enumerate() {
            let out = outside(proto, v4, ("ca", PORT + index as u16), ("x", port));
            let mut through =
                super::lab::path("NodePort SNAT", proto, v4).port(PORT + index as u16);
            (through.to, through.target) =
                (served[index].at_node(1, v4), served[index].target("sb", v4));
            for path in [out, through] {
                lab.there(&path, &path.there(open).with(&body))?;
                lab.back(&path, &path.back(answer).with(&body))?;
                lab.there(&path, &path.there(on).with(&body))?;
                lab.back(&path, &path.back(on).with(&body))?;
            }
        }
    }
    Ok(String::new())
}

fn payloads_of_udp(lab: &mut Lab<'_>) -> Check<String> {
    payloads(lab, Proto::Udp)
}

fn the_same_under_load(lab: &mut Lab<'_>) -> Check<String> {
    for v4 in FAMILIES {
        lab.begin("masquerade");
        let one = outside(Proto::Udp, v4, ("ca", PORT), ("x", 53));
        // Others to the same place, from everywhere in the range.
        for number in 0..150_u16 {
            let port = 32_768 + 200 * number;
            lab.pass(
                Who::Pod("sa"),
                outside(Proto::Udp, v4, ("sa", port), ("x", 53)).there(0).frame(),
            );
        }
        for wait in [0, 1_500, 119_000] {
            lab.wait(wait);
            is(lab.talk(&one)?.sees.1 == PORT, "a free port is not kept under load")?;
        }
        // Taken towards one destination, free towards another.
        let taken = outside(Proto::Udp, v4, ("sa", PORT), ("x", 53));
        let taken = lab.talk(&taken)?;
        is(taken.sees.1 != PORT, "one port for two")?;
        let other = lab.talk(&outside(Proto::Udp, v4, ("sa", PORT), ("y", 53)))?;
        is(other.sees.1 == PORT, "free towards another destination, and not kept")?;
        // And nobody else gets in.
        for port in [PORT, taken.sees.1] {
            let packet = Packet::new(Proto::Udp, (client("y", v4), 54), (node(1, v4), port), 0);
            lab.send(Who::Client("y"), &packet).arrives(Place::Host(0), &packet)?;
        }
    }
    Ok(String::new())
}

/// Errors and other messages about what the server has received, and about what the opener has.
pub(super) fn icmp_storm(lab: &mut Lab<'_>, path: &Path) -> Check {
    let on = path.proto.flags()[2];
    let inner = path.there(on).between(path.sees, path.target).ip(60);
    let outer = path.back(on).between(path.to, path.from).ip(60);
    let kinds: Vec<(u8, u8)> = if path.v4 {
        let codes = (0..16).map(|code| (3, code));
        codes
            .chain((1..=255).filter(|kind| *kind != 3 && *kind != 8).map(|kind| (kind, 0)))
            .collect()
    } else {
        // Not the neighbours' own, which are for the link.
        (1..=127).chain(142..=255).map(|kind| (kind, 0)).collect()
    };
    let before = lab.tables();
    for (kind, code) in kinds {
        for (who, source, to, quoted) in [
            (path.server, path.target.0, path.sees.0, &inner),
            (path.opener, path.from.0, path.to.0, &outer),
        ] {
            let rest = [0, 0, 5, 0];
            let message =
                Message { from: source, to, kind, code, rest, body: quoted.clone(), off: 0 };
            lab.send(who, &message);
        }
    }
    is(lab.tables() == before, "ICMP changed connections")
}

fn icmp_leaves_udp_alone(lab: &mut Lab<'_>) -> Check<String> {
    each(lab, &["ClusterIP remote", "NodePort SNAT", "masquerade"], &[Proto::Udp], |lab, path| {
        expires(lab, path, 120_000 + SLACK, |lab, path| {
            let path = lab.talk(path)?;
            lab.wait(60_000);
            // As many as tell of all: the first connection gets every type.
            if path.from.1 == PORT {
                icmp_storm(lab, &path)?;
            }
            lab.there(&path, &path.there(0))?;
            Ok(path)
        })
    })?;
    // They do not refresh it, either.
    each(lab, &["masquerade"], &[Proto::Udp], |lab, path| {
        let opened = lab.talk(path)?;
        lab.wait(120_000);
        for kind in [TOO_BIG, UNREACHABLE, TIME] {
            let quoted = path.there(0).between(opened.sees, opened.target).ip(60);
            lab.send(path.server, &Message::error(kind, path.target.0, opened.sees.0, &quoted));
        }
        lab.wait(SLACK);
        is(!is_alive(lab, &opened)?, "refreshed by ICMP")
    })?;
    Ok(String::new())
}

fn too_long_to_be_wrapped(lab: &mut Lab<'_>) -> Check<String> {
    each(lab, &WAYS[5..], &[Proto::Udp, Proto::Tcp], |lab, path| {
        let headers = if path.v4 { 20 } else { 40 } + if path.proto == Proto::Tcp { 20 } else { 8 };
        let open = path.proto.flags()[0];
        let overhead = match (path.way, path.v4) {
            ("DSR option", true) => 8,
            ("DSR option", false) => 24,
            ("DSR IPIP", true) => 20,
            ("DSR IPIP", false) => 40,
            (_, true) => 20 + 8 + 8 + 12 + 14,
            (_, false) => 40 + 8 + 8 + 24 + 14,
        };
        let mtu = 1_500 - overhead;
        for may_cut in [false, true] {
            let mut packet = path.there(open).length(mtu - headers + 1);
            packet.may_cut = may_cut;
            let got = lab.watch(path.opener, &packet);
            got.counts("FRAGMENTATION_NEEDED")?;
            got.check(got.unchanged, "what is refused changed connections")?;
            let mut quoted = packet.ip(63);
            quoted.truncate(if path.v4 { 548 } else { 1_232 });
            let mut error = Message::error(TOO_BIG, path.to.0, path.from.0, &quoted);
            error.rest[2..].copy_from_slice(&(mtu as u16).to_be_bytes());
            got.arrives(lab.place(path.opener), &error)?;
        }
        // And what it says holds.
        lab.there(path, &path.there(open).length(mtu - headers)).map(|_| ())
    })?;
    Ok(String::new())
}

fn fragments_of_udp(lab: &mut Lab<'_>) -> Check<String> {
    each(lab, &WAYS, &[Proto::Udp, Proto::Tcp], |lab, path| {
        let open = path.proto.flags()[0];
        let place = lab.place(path.server);
        let whole = path.there(open).length(700);
        let [first, later] = whole.fragments(400);
        let [first_out, later_out] = whole.between(path.sees, path.target).fragments(400);
        // In order, as the first packet of a connection and as one of its later ones.
        for _ in 0..2 {
            lab.send(path.opener, &first).arrives(place, &first_out)?;
            lab.send(path.opener, &later).arrives(place, &later_out)?;
        }
        // The last one first: dropped, or for the node itself, never to a backend; then in order again.
        let mut again = whole.clone();
        again.id += 1;
        let [first, later] = again.fragments(400);
        let [first_out, later_out] = again.between(path.sees, path.target).fragments(400);
        let early = lab.watch(path.opener, &later);
        let inside = early.trace.seen.iter().any(|(place, _)| matches!(place, Place::PodIn(_)));
        early.check(!inside, "a backend got it")?;
        if matches!(path.opener, Who::Client(_)) {
            early.arrives(Place::Host(0), &later)?;
        } else {
            early.dropped("FIRST_LOGICAL_DATAGRAM_FRAGMENT_NOT_FOUND")?;
        }
        lab.send(path.opener, &first).arrives(place, &first_out)?;
        lab.send(path.opener, &later).arrives(place, &later_out).map(|_| ())
    })?;
    // Backends to choose from, and still one for all pieces.
    for v4 in FAMILIES {
        let mut many = service(Proto::Udp, "sa");
        many.backends = Service::new(Proto::Udp, &["sa", "sb", "sc"]).backends;
        lab.begin_with(&setup("ClusterIP local"), &[many.clone()]);
        let mut places = BTreeSet::new();
        for number in 0..24 {
            let mut packet =
                Packet::new(Proto::Udp, (pod("ca", v4), PORT + number), many.cluster(v4), 0)
                    .length(600);
            packet.id = number;
            let ends = packet.fragments(200).map(|piece| lab.send(Who::Pod("ca"), &piece).last().0);
            is(ends[0] == ends[1], format!("{ends:?}"))?;
            places.insert(ends[0]);
        }
        is(places.len() == 3, format!("{places:?}"))?;
    }
    Ok(String::new())
}

fn fragments_are_bounded(lab: &mut Lab<'_>) -> Check<String> {
    lab.begin("ClusterIP local");
    let path = path("ClusterIP local", Proto::Udp, true);
    for id in 0..3_000 {
        let mut packet = path.there(0).length(64);
        packet.id = id;
        lab.pass(path.opener, packet::frame(&packet.fragments(40)[0]));
    }
    let remembered = lab.world.fragments(0);
    is((1..=1_024).contains(&remembered), format!("{remembered} datagrams in a table for 1024"))?;
    // The last ones are among them.
    let mut packet = path.there(0).length(64);
    packet.id = 2_999;
    let [_, later] = packet.between(path.sees, path.target).fragments(40);
    lab.send(path.opener, &packet.fragments(40)[1]).arrives(lab.place(path.server), &later)?;
    Ok(String::new())
}
