//! RFC 5508: NAT behavioural requirements for ICMP.

use std::net::IpAddr;

use twinpath_control::diff::Write;
use twinpath_control::tables::Planner;
use twinpath_core::seam::option;
use twinpath_sim::cluster::Place;

use super::cluster::{cluster_ip, hairpin, node, pod, router, state};
use super::entry::{Differs, Entry, tests};
use super::lab::{Check, FAMILIES, Lab, PORT, Path, WAYS, Who, each, is, path, service, setup};
use super::packet::{Ip, Message, PORT as UNREACHABLE, Packet, Proto, Sum, TIME, TOO_BIG};
use super::udp::{SLACK, expires, is_alive, outside};

pub(crate) const ROWS: &[Entry] = &[
    Entry {
        id: "I-1",
        statement: "Echoes pass with a changed source; the identifier outside does not depend on the destination.",
        differs: Differs::Instead(
            24,
            "the identifier stays while nobody else has it towards the same destination; then one is drawn, for that \
             destination alone",
        ),
        tests: tests![echoes_to_the_outside],
    },
    Entry {
        id: "I-2",
        statement: "The mapping of an idle echo is kept for 60 seconds at least: alive until the last millisecond, and then gone.",
        differs: Differs::Beside(8, "twice as long, as UDP; Linux: 30 s"),
        tests: tests![timer_of_echoes],
    },
    Entry {
        id: "I-3",
        statement: "An ICMP error whose own checksum is wrong is dropped silently.",
        differs: Differs::Instead(
            46,
            "it is translated and stays as wrong as it was, so that its receiver drops it",
        ),
        tests: tests![errors_with_a_wrong_checksum],
    },
    Entry {
        id: "I-3a",
        statement: "An error that quotes a packet with a wrong IPv4 header checksum is dropped.",
        differs: Differs::No,
        tests: tests![quotes_with_a_wrong_header],
    },
    Entry {
        id: "I-3b",
        statement: "IPv4 options and IPv6 extension headers of a quoted packet are skipped on the way to its ports.",
        differs: Differs::No,
        tests: tests![quotes_with_options],
    },
    Entry {
        id: "I-3c",
        statement: "The transport checksum of a quoted packet is not judged, but follows the addresses and ports where it is there.",
        differs: Differs::No,
        tests: tests![quotes_with_a_wrong_checksum],
    },
    Entry {
        id: "I-3d",
        statement: "Padding and extensions behind a quoted packet (RFC 4884) stay as they are, and so does the length that tells them apart.",
        differs: Differs::No,
        tests: tests![quotes_with_extensions],
    },
    Entry {
        id: "I-4",
        statement: "An error from outside is given back the quoted packet as it was sent, and goes to its sender, with type and code as they were; one about no connection reaches nobody inside.",
        differs: Differs::No,
        tests: tests![errors_from_outside],
    },
    Entry {
        id: "I-5",
        statement: "An error from a backend's side quotes the packet as the client sent it, and comes from the frontend or a node, never from a pod's own address.",
        differs: Differs::No,
        tests: tests![errors_from_the_backend],
    },
    Entry {
        id: "I-6",
        statement: "Errors neither refresh a connection nor end it.",
        differs: Differs::No,
        tests: tests![errors_tell_a_connection_nothing],
    },
    Entry {
        id: "I-7",
        statement: "Errors between a pod and itself, by its own service, are translated too.",
        differs: Differs::No,
        tests: tests![hairpinned_errors],
    },
    Entry {
        id: "I-8",
        statement: "Where no connection can be made (no port is left, the source is not let in), the packet is dropped and counted, and nothing is left behind.",
        differs: Differs::No,
        tests: tests![no_connection_to_be_had],
    },
    Entry {
        id: "I-9",
        statement: "The ICMP that nodes make themselves can be switched off (a flag of a node's configuration table, which no option of the command line sets yet); packets are dropped and counted all the same.",
        differs: Differs::No,
        tests: tests![silence],
    },
    Entry {
        id: "I-10",
        statement: "The types that the Internet needs are sent on: unreachable, too big, time exceeded, echo and its reply.",
        differs: Differs::No,
        tests: tests![needed_types],
    },
    Entry {
        id: "I-11",
        statement: "Other types of ICMP are sent on untouched.",
        differs: Differs::No,
        tests: tests![other_types],
    },
    Entry {
        id: "I-12",
        statement: "The checksum of an error is right after what it quotes was rewritten; in ICMPv6 its pseudo-header is in it.",
        differs: Differs::No,
        tests: tests![checksums_of_errors],
    },
    Entry {
        id: "I-13",
        statement: "An error that quotes eight bytes behind the IP header (RFC 792), without a TCP checksum, is translated as any.",
        differs: Differs::No,
        tests: tests![short_quotes],
    },
];

const PROTOS: &[Proto] = &[Proto::Udp, Proto::Tcp];

/// An error: who sends it and to whom it goes, as it is sent, and as it is to arrive.
struct Told {
    sender: Who,
    receiver: Who,
    sent: Message,
    arrives: Message,
}

/// A change of what is quoted.
type Cut = fn(Vec<u8>) -> Vec<u8>;

/// From the server, about this packet of the opener's.
fn about_there(path: &Path, kind: [(u8, u8); 2], packet: &Packet, cut: Cut) -> Told {
    let (seen, was) = (packet.between(path.sees, path.target).ip(60), packet.ip(60));
    Told {
        sender: path.server,
        receiver: path.opener,
        sent: Message::error(kind, path.target.0, path.sees.0, &cut(seen)),
        arrives: Message::error(kind, path.to.0, path.from.0, &cut(was)),
    }
}

/// From the opener, about this packet of the server's.
fn about_back(path: &Path, kind: [(u8, u8); 2], packet: &Packet, cut: Cut) -> Told {
    let (seen, was) = (packet.between(path.to, path.from).ip(60), packet.ip(60));
    Told {
        sender: path.opener,
        receiver: path.server,
        sent: Message::error(kind, path.from.0, path.to.0, &cut(seen)),
        arrives: Message::error(kind, path.sees.0, path.target.0, &cut(was)),
    }
}

const ALL: Cut = |quoted| quoted;

/// Both of them, about packets that are not plain in this way.
fn both(path: &Path, kind: [(u8, u8); 2], odd: impl Fn(&mut Packet), cut: Cut) -> [Told; 2] {
    let on = path.proto.flags()[2];
    let (mut there, mut back) = (path.there(on), path.back(on));
    odd(&mut there);
    odd(&mut back);
    [about_there(path, kind, &there, cut), about_back(path, kind, &back, cut)]
}

fn arrives(lab: &mut Lab<'_>, told: &Told) -> Check {
    lab.send(told.sender, &told.sent).arrives(lab.place(told.receiver), &told.arrives).map(|_| ())
}

fn echoes_to_the_outside(lab: &mut Lab<'_>) -> Check<String> {
    for v4 in FAMILIES {
        lab.begin("masquerade");
        for end in ["x", "y"] {
            for id in [0, 1, 7, PORT] {
                let seen = lab.talk(&outside(Proto::Echo, v4, ("ca", id), (end, 0)))?.sees;
                is(seen == (node(1, v4), id), format!("{id} became {seen:?}"))?;
            }
        }
        // Another pod with the same identifier.
        let second = lab.talk(&outside(Proto::Echo, v4, ("sa", 7), ("x", 0)))?;
        is(second.sees.1 != 7, "one identifier for two")?;
        let first = outside(Proto::Echo, v4, ("ca", 7), ("x", 0));
        lab.back(&first, &first.back(0))?;
        lab.back(&second, &second.back(0))?;
        let third = lab.talk(&outside(Proto::Echo, v4, ("sa", 7), ("y", 0)));
        is(third?.sees.1 != 7, "one identifier for two")?;
    }
    Ok("endpoint-independent, but for an identifier that another pod has towards the same destination".into())
}

fn timer_of_echoes(lab: &mut Lab<'_>) -> Check<String> {
    each(lab, &["masquerade"], &[Proto::Echo], |lab, path| {
        expires(lab, path, 120_000 + SLACK, super::lab::talk)
    })?;
    Ok("120 s and the second that is the timers' grain".into())
}

fn errors_with_a_wrong_checksum(lab: &mut Lab<'_>) -> Check<String> {
    each(lab, &["ClusterIP remote", "NodePort SNAT", "masquerade"], PROTOS, |lab, path| {
        lab.talk(path)?;
        for kind in [TOO_BIG, UNREACHABLE] {
            for mut told in both(path, kind, |_| {}, ALL) {
                (told.sent.off, told.arrives.off) = (0x1111, 0x1111);
                arrives(lab, &told)?;
            }
        }
        Ok(())
    })?;
    Ok(String::new())
}

fn quotes_with_a_wrong_header(lab: &mut Lab<'_>) -> Check<String> {
    each(lab, &WAYS, PROTOS, |lab, path| {
        if !path.v4 {
            return Ok(());
        }
        lab.talk(path)?;
        for told in both(
            path,
            UNREACHABLE,
            |_| {},
            |mut quoted| {
                quoted[11] ^= 1;
                quoted
            },
        ) {
            lab.watch(told.sender, &told.sent).dropped("INVALID_PACKET_DROPPED")?;
        }
        Ok(())
    })?;
    Ok(String::new())
}

fn quotes_with_options(lab: &mut Lab<'_>) -> Check<String> {
    each(lab, &WAYS, PROTOS, |lab, path| {
        lab.talk(path)?;
        for words in [1, 2, 10] {
            for told in both(
                path,
                UNREACHABLE,
                |packet| {
                    if packet.v4() {
                        packet.options = vec![1; 4 * words];
                    } else {
                        // Hop-by-hop, destination options, and a whole datagram in a fragment header.
                        let padding = vec![0, 1, 4, 0, 0, 0, 0];
                        packet.extensions =
                            vec![(0, padding.clone()), (60, padding), (44, vec![0; 7])];
                        packet.extensions.truncate(words);
                    }
                },
                ALL,
            ) {
                arrives(lab, &told)?;
            }
        }
        Ok(())
    })?;
    Ok(String::new())
}

fn quotes_with_a_wrong_checksum(lab: &mut Lab<'_>) -> Check<String> {
    each(lab, &WAYS, PROTOS, |lab, path| {
        lab.talk(path)?;
        for sum in [Sum::Off(0x1234), Sum::Off(0xfedc), Sum::Zero] {
            if sum == Sum::Zero && (path.proto == Proto::Tcp || !path.v4) {
                continue;
            }
            for told in both(path, TIME, |packet| packet.sum = sum, ALL) {
                arrives(lab, &told)?;
            }
        }
        Ok(())
    })?;
    Ok(String::new())
}

fn quotes_with_extensions(lab: &mut Lab<'_>) -> Check<String> {
    // A length of 128 bytes, then an extension header and an object with an MPLS label (RFC 4950).
    fn extended(mut quoted: Vec<u8>) -> Vec<u8> {
        quoted.resize(128, 0);
        quoted.extend([0x20, 0, 0xab, 0xcd, 0, 8, 1, 1, 0x12, 0x34, 0x51, 0x40]);
        quoted
    }
    each(lab, &WAYS, PROTOS, |lab, path| {
        lab.talk(path)?;
        for kind in [UNREACHABLE, TIME] {
            for mut told in both(path, kind, |_| {}, extended) {
                let rest = if path.v4 { [0, 32, 0, 0] } else { [16, 0, 0, 0] };
                (told.sent.rest, told.arrives.rest) = (rest, rest);
                arrives(lab, &told)?;
            }
        }
        Ok(())
    })?;
    Ok(String::new())
}

fn errors_from_outside(lab: &mut Lab<'_>) -> Check<String> {
    each(lab, &["NodePort local", "NodePort SNAT", "masquerade"], PROTOS, |lab, path| {
        lab.talk(path)?;
        let on = path.proto.flags()[2];
        let codes = if path.v4 {
            [(3, 1), (3, 4), (3, 13), (11, 1), (12, 0)]
        } else {
            [(1, 0), (2, 0), (1, 1), (3, 1), (4, 1)]
        };
        for code in codes {
            let kind = [code; 2];
            // From whom the connection is with, and from a router on the way.
            for from_router in [false, true] {
                let mut told = if path.way == "masquerade" {
                    about_there(path, kind, &path.there(on), ALL)
                } else {
                    about_back(path, kind, &path.back(on), ALL)
                };
                if from_router {
                    told.sender = Who::Client("y");
                    (told.sent.from, told.arrives.from) = (router(path.v4), router(path.v4));
                }
                arrives(lab, &told)?;
            }
        }
        // About no connection.
        let mut stranger = path.clone();
        (stranger.from.1, stranger.sees.1) = (50_001, 50_001);
        let told = if path.way == "masquerade" {
            about_there(&stranger, UNREACHABLE, &stranger.there(on), ALL)
        } else {
            about_back(&stranger, UNREACHABLE, &stranger.back(on), ALL)
        };
        let got = lab.watch(told.sender, &told.sent);
        got.check(got.unchanged, "changed connections")?;
        got.arrives(Place::Host(0), &told.sent).map(|_| ())
    })?;
    Ok(String::new())
}

fn errors_from_the_backend(lab: &mut Lab<'_>) -> Check<String> {
    each(lab, &WAYS, PROTOS, |lab, path| {
        if path.way == "masquerade" {
            return Ok(());
        }
        lab.talk(path)?;
        let on = path.proto.flags()[2];
        for kind in [TOO_BIG, UNREACHABLE, TIME] {
            arrives(lab, &about_there(path, kind, &path.there(on), ALL))?;
            if matches!(path.way, "ClusterIP remote" | "NodePort SNAT") {
                let mut told = about_there(path, kind, &path.there(on), ALL);
                told.sender = Who::Node(2);
                (told.sent.from, told.arrives.from) = (node(2, path.v4), node(2, path.v4));
                arrives(lab, &told)?;
            }
        }
        Ok(())
    })?;
    Ok(String::new())
}

fn errors_tell_a_connection_nothing(lab: &mut Lab<'_>) -> Check<String> {
    let protos = [Proto::Udp, Proto::Tcp, Proto::Echo];
    each(lab, &["masquerade"], &protos, |lab, path| {
        let time = if path.proto == Proto::Tcp { 7_440_000 } else { 120_000 };
        lab.talk(path)?;
        lab.wait(time);
        let before = lab.tables();
        for told in both(path, UNREACHABLE, |_| {}, ALL) {
            arrives(lab, &told)?;
        }
        is(lab.tables() == before, "changed")?;
        lab.wait(SLACK - 1);
        for told in both(path, UNREACHABLE, |_| {}, ALL) {
            arrives(lab, &told)?;
        }
        lab.wait(1);
        is(!is_alive(lab, path)?, "refreshed")
    })?;
    Ok(String::new())
}

fn hairpinned_errors(lab: &mut Lab<'_>) -> Check<String> {
    for v4 in FAMILIES {
        for proto in [Proto::Udp, Proto::Tcp] {
            lab.begin("ClusterIP local");
            let mut path = path("ClusterIP local", proto, v4);
            (path.opener, path.from.0, path.sees) =
                (Who::Pod("sa"), pod("sa", v4), (hairpin(v4), PORT));
            lab.talk(&path)?;
            for kind in [TOO_BIG, UNREACHABLE, TIME] {
                for told in both(&path, kind, |_| {}, ALL) {
                    arrives(lab, &told)?;
                }
            }
        }
    }
    Ok(String::new())
}

fn no_connection_to_be_had(lab: &mut Lab<'_>) -> Check<String> {
    for v4 in FAMILIES {
        for proto in [Proto::Udp, Proto::Tcp, Proto::Echo] {
            let open = proto.flags()[0];
            let mut few = setup("masquerade");
            few.options.snat_ports = 50_000..=50_000;
            lab.begin_with(&few, &[]);
            // The first has the only port, or the identifier that the second has, too; the third finds none.
            let end = ("x", if proto == Proto::Echo { 0 } else { 53 });
            let [a, b, c] = ["ca", "sa", "sa2"].map(|pod| outside(proto, v4, (pod, 50_000), end));
            let a = lab.talk(&a)?;
            let refused = if proto == Proto::Echo { &c } else { &b };
            if proto == Proto::Echo {
                lab.pass(b.opener, b.there(open).frame());
            }
            let got = lab.watch(refused.opener, &refused.there(open));
            got.dropped("NO_MAPPING_FOR_NAT_MASQUERADE")?;
            lab.there(&a, &a.there(proto.flags()[2]))?;
        }
        for proto in [Proto::Udp, Proto::Tcp] {
            let mut closed = service(proto, "sa");
            closed.number = 1;
            closed.spec = "loadBalancerSourceRanges: [198.51.100.0/24, '2001:db8:51::/48'],".into();
            lab.begin_with(&setup("NodePort local"), &[closed.clone()]);
            let from = (Who::Client("x").address(v4), PORT);
            let packet = Packet::new(proto, from, closed.balancer(v4), proto.flags()[0]);
            lab.watch(Who::Client("x"), &packet).dropped("DENIED_BY_LB_SRC_RANGE_CHECK")?;
        }
    }
    Ok(String::new())
}

fn silence(lab: &mut Lab<'_>) -> Check<String> {
    lab.begin("ClusterIP local");
    let setup = setup("ClusterIP local");
    let (topology, state) = (setup.topology(), state(&[]));
    let mut config = Planner::default().plan(&state, "n1", &topology, &setup.options).config;
    config.epoch = 77;
    for silent in [false, true] {
        config.options |= if silent { option::SILENT } else { 0 };
        lab.spoil().write(0, &Write::Config(config));
        for v4 in FAMILIES {
            let from = (pod("ca", v4), PORT);
            let mut short = path("ClusterIP local", Proto::Udp, v4).there(0).ip(1);
            let unknown = Packet::new(Proto::Udp, from, (cluster_ip(1, v4), 4_321), 0).ip(64);
            for (packet, reason) in
                [(&mut short, "TTL_EXCEEDED"), (&mut unknown.clone(), "SERVICE_PORT_NOT_FOUND")]
            {
                let got = lab.watch_frame(Who::Pod("ca"), super::packet::frame(packet));
                got.counts(reason)?;
                got.check(got.is_anywhere() != silent, "answered, or not")?;
            }
        }
    }
    Ok(String::new())
}

fn needed_types(lab: &mut Lab<'_>) -> Check<String> {
    // Between a pod and the outside, in both directions, and between pods.
    each(lab, &["masquerade", "ClusterIP remote"], PROTOS, |lab, path| {
        lab.talk(path)?;
        for kind in [TOO_BIG, UNREACHABLE, TIME] {
            for told in both(path, kind, |_| {}, ALL) {
                arrives(lab, &told)?;
            }
        }
        Ok(())
    })?;
    for v4 in FAMILIES {
        lab.begin("masquerade");
        lab.talk(&outside(Proto::Echo, v4, ("ca", 9), ("x", 0)))?;
        let mut pods = path("masquerade", Proto::Echo, v4);
        (pods.to, pods.server) = ((pod("sb", v4), 0), Who::Pod("sb"));
        (pods.sees, pods.target) = (pods.from, pods.to);
        lab.talk(&pods)?;
    }
    Ok(String::new())
}

fn other_types(lab: &mut Lab<'_>) -> Check<String> {
    for v4 in FAMILIES {
        lab.begin("ClusterIP remote");
        // Timestamp and address mask with their replies; those of mobile IPv6, experiments.
        let kinds: &[u8] = if v4 { &[13, 14, 17, 18, 40, 200, 253] } else { &[144, 145, 200, 253] };
        for kind in kinds {
            for (from, to) in [
                (Who::Pod("ca"), Who::Pod("sb")),
                (Who::Pod("sb"), Who::Pod("sa")),
                (Who::Pod("ca"), Who::Node(2)),
                (Who::Client("x"), Who::Node(1)),
            ] {
                let (source, target): (IpAddr, IpAddr) = (from.address(v4), to.address(v4));
                let message = Message {
                    from: source,
                    to: target,
                    kind: *kind,
                    code: 0,
                    rest: [1, 2, 0, 1],
                    body: vec![5; 12],
                    off: 0,
                };
                let got = lab.watch(from, &message);
                got.arrives(lab.place(to), &message)?;
                got.check(got.unchanged, "made a connection")?;
            }
        }
    }
    Ok(String::new())
}

fn checksums_of_errors(lab: &mut Lab<'_>) -> Check<String> {
    let mut number = 0x9e37_79b9_u32;
    let mut bytes = Vec::new();
    for _ in 0..64 * 64 {
        number ^= number << 13;
        number ^= number >> 17;
        number ^= number << 5;
        bytes.push(number as u8);
    }
    each(lab, &WAYS, PROTOS, |lab, path| {
        lab.talk(path)?;
        for payload in bytes.chunks(64).take(12) {
            for told in both(path, UNREACHABLE, |packet| packet.payload = payload.to_vec(), ALL) {
                arrives(lab, &told)?;
            }
        }
        Ok(())
    })?;
    Ok(String::new())
}

fn short_quotes(lab: &mut Lab<'_>) -> Check<String> {
    each(lab, &WAYS, PROTOS, |lab, path| {
        lab.talk(path)?;
        for kind in [TOO_BIG, UNREACHABLE, TIME] {
            let cut: Cut = |mut quoted| {
                quoted.truncate(if quoted[0] >> 4 == 4 { 28 } else { 48 });
                quoted
            };
            for told in both(path, kind, |_| {}, cut) {
                arrives(lab, &told)?;
            }
        }
        Ok(())
    })?;
    Ok(String::new())
}
