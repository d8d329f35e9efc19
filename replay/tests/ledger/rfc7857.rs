//! RFC 7857: updates to the requirements of the other three.

use std::collections::BTreeSet;

use super::cluster::node;
use super::entry::{Differs, Entry, tests};
use super::lab::{
    Check, FAMILIES, Lab, PORT, Path, SNAT, WAYS, Who, each, is, path, setup, source_of,
};
use super::packet::{
    ACK, FIN_ACK, Ip, Message, PORT as UNREACHABLE, Packet, Proto, RST, RST_ACK, SYN, SYN_ACK,
};
use super::udp::{SLACK, expires, is_alive, outside};

pub(crate) const ROWS: &[Entry] = &[
    Entry {
        id: "P-1",
        statement: "A TCP connection counts as established when both ends have spoken and no sooner, and opening and closing have timers of their own.",
        differs: Differs::No,
        tests: tests![states_of_tcp],
    },
    Entry {
        id: "P-2",
        statement: "A reset that belongs to a connection is translated and sent on, and the connection is kept for 4 minutes more.",
        differs: Differs::Beside(8, "Linux: 10 s"),
        tests: tests![reset_and_four_minutes],
    },
    Entry {
        id: "P-3",
        statement: "Two connections may have one external port where their destinations differ, and only there.",
        differs: Differs::No,
        tests: tests![one_port_for_two_destinations],
    },
    Entry {
        id: "P-4",
        statement: "Ports of TCP and UDP, and identifiers of ICMP, do not get in each other's way.",
        differs: Differs::No,
        tests: tests![one_port_for_two_protocols],
    },
    Entry {
        id: "P-5",
        statement: "An ICMP error or a reset that goes out as an answer does not refresh the mapping.",
        differs: Differs::Instead(
            47,
            "errors do not; a reset does, as any packet of a connection that closes",
        ),
        tests: tests![what_does_not_refresh],
    },
    Entry {
        id: "P-6",
        statement: "Source ports can be had at random (RFC 6056).",
        differs: Differs::Beside(
            23,
            "where the opener's own port does not stay, each try is a draw from the whole range",
        ),
        tests: tests![ports_are_drawn],
    },
    Entry {
        id: "P-7",
        statement: "No two datagrams in fragments have one source, destination, protocol and identification after translation, within their lifetime; whole ones (DF) may have any.",
        differs: Differs::Instead(28, "the identification stays as it was sent"),
        tests: tests![identification_of_fragments],
    },
    Entry {
        id: "P-8",
        statement: "An echo request from inside to an external address is answered, with changed ports too.",
        differs: Differs::Instead(
            19,
            "a frontend's address answers itself, and a node's own stack for the node's address; neither has a mapping to hairpin",
        ),
        tests: tests![echoes_to_external_addresses],
    },
];

const TCP: &[Proto] = &[Proto::Tcp];

/// Packets in turn: of the opener, and of the server.
fn play(lab: &mut Lab<'_>, path: &Path, steps: &[(bool, u8)]) -> Check {
    for (there, flags) in steps {
        if *there {
            lab.there(path, &path.there(*flags))?;
        } else {
            lab.back(path, &path.back(*flags))?;
        }
    }
    Ok(())
}

fn states_of_tcp(lab: &mut Lab<'_>) -> Check<String> {
    let (long, short) = (7_440_000 + SLACK, 240_000 + SLACK);
    let cases: [(u64, &[(bool, u8)]); 6] = [
        // One end alone makes no connection, however much it sends.
        (short, &[(true, SYN), (true, ACK), (true, ACK)]),
        (short, &[(true, SYN), (false, SYN_ACK), (false, ACK), (false, ACK)]),
        (short, &[(true, SYN), (false, SYN_ACK), (true, SYN)]),
        (long, &[(true, SYN), (false, SYN_ACK), (true, ACK), (false, FIN_ACK), (true, ACK)]),
        (short, &[(true, SYN), (false, SYN_ACK), (true, ACK), (false, FIN_ACK), (true, FIN_ACK)]),
        // A closed one that is opened again begins anew.
        (
            short,
            &[
                (true, SYN),
                (false, SYN_ACK),
                (true, ACK),
                (false, FIN_ACK),
                (true, FIN_ACK),
                (true, SYN),
            ],
        ),
    ];
    each(lab, &["ClusterIP local", "NodePort SNAT", "masquerade"], TCP, |lab, path| {
        for (number, (time, steps)) in cases.iter().enumerate() {
            let result = expires(lab, path, *time, |lab, path| {
                play(lab, path, steps)?;
                Ok(path.clone())
            });
            result.map_err(|why| format!("case {number}: {why}"))?;
        }
        Ok(())
    })?;
    Ok(String::new())
}

fn reset_and_four_minutes(lab: &mut Lab<'_>) -> Check<String> {
    each(lab, &WAYS[..5], TCP, |lab, path| {
        for reset in [(true, RST), (true, RST_ACK), (false, RST), (false, RST_ACK)] {
            expires(lab, path, 240_000 + SLACK, |lab, path| {
                lab.talk(path)?;
                // Long before, so that the time counts from the reset.
                lab.wait(3_600_000);
                play(lab, path, &[reset])?;
                Ok(path.clone())
            })?;
        }
        Ok(())
    })?;
    Ok(String::new())
}

fn one_port_for_two_destinations(lab: &mut Lab<'_>) -> Check<String> {
    for proto in [Proto::Udp, Proto::Tcp] {
        for v4 in FAMILIES {
            lab.begin("masquerade");
            let mut seen = BTreeSet::new();
            let mut paths = Vec::new();
            for pod in ["ca", "sa"] {
                for end in [("x", 53), ("y", 53), ("x", 54)] {
                    let path = lab.talk(&outside(proto, v4, (pod, PORT), end))?;
                    is(
                        pod != "ca" || path.sees.1 == PORT,
                        "not one port for different destinations",
                    )?;
                    is(seen.insert((path.sees, path.target)), "one port for one destination")?;
                    paths.push(path);
                }
            }
            for path in &paths {
                lab.back(path, &path.back(proto.flags()[2]))?;
            }
        }
    }
    Ok(String::new())
}

fn one_port_for_two_protocols(lab: &mut Lab<'_>) -> Check<String> {
    for v4 in FAMILIES {
        lab.begin("masquerade");
        let paths = [
            outside(Proto::Tcp, v4, ("ca", PORT), ("x", 53)),
            outside(Proto::Udp, v4, ("sa", PORT), ("x", 53)),
            outside(Proto::Echo, v4, ("sa2", PORT), ("x", 0)),
        ];
        for path in &paths {
            is(lab.talk(path)?.sees.1 == PORT, "the port of another protocol")?;
        }
        for path in &paths {
            lab.back(path, &path.back(path.proto.flags()[2]))?;
        }
        // The end of one is not that of the other.
        play(lab, &paths[0], &[(true, RST)])?;
        lab.wait(240_000 + SLACK);
        is(!is_alive(lab, &paths[0])?, "alive after its end")?;
        for path in &paths[1..] {
            lab.talk(path)?;
        }
    }
    Ok(String::new())
}

fn what_does_not_refresh(lab: &mut Lab<'_>) -> Check<String> {
    each(lab, &["masquerade"], &[Proto::Udp, Proto::Tcp], |lab, path| {
        lab.talk(path)?;
        let time = if path.proto == Proto::Tcp { 7_440_000 } else { 120_000 };
        lab.wait(time);
        // In answer to what came in last.
        let quoted = path.back(path.proto.flags()[2]).between(path.to, path.from).ip(60);
        let error = Message::error(UNREACHABLE, path.from.0, path.to.0, &quoted);
        let got = lab.send(path.opener, &error);
        got.check(got.last().0 == lab.place(path.server), "not sent on")?;
        lab.wait(SLACK);
        is(!is_alive(lab, path)?, "an error has refreshed it")
    })?;
    // What happens instead with resets.
    each(lab, &["masquerade"], TCP, |lab, path| {
        lab.talk(path)?;
        for _ in 0..3 {
            play(lab, path, &[(true, RST)])?;
            lab.wait(200_000);
        }
        is(is_alive(lab, path)?, "a reset no longer refreshes: say so in the row")
    })?;
    Ok(String::new())
}

fn ports_are_drawn(lab: &mut Lab<'_>) -> Check<String> {
    for way in SNAT {
        for v4 in FAMILIES {
            let mut runs = Vec::new();
            for seed in [7, 8] {
                let mut setup = setup(way);
                setup.seed = seed;
                lab.begin_with(&setup, &[super::lab::service(Proto::Udp, "sb")]);
                let path = path(way, Proto::Udp, v4);
                let ports: Vec<u16> = (0..64)
                    .map(|number| lab.open(&path.port(1_000 + number)).map(|path| path.sees.1))
                    .collect::<Check<_>>()?;
                let quarters: BTreeSet<u16> =
                    ports.iter().map(|port| (port - 32_768) / 8_192).collect();
                is(
                    quarters.len() == 4,
                    format!("{way}: a quarter of the range is left out: {ports:?}"),
                )?;
                let steps: BTreeSet<i32> =
                    ports.windows(2).map(|two| i32::from(two[1]) - i32::from(two[0])).collect();
                is(steps.len() > 60, format!("{way}: ports follow a pattern: {ports:?}"))?;
                runs.push(ports);
            }
            is(runs[0] != runs[1], "the same ports from another seed")?;
        }
    }
    Ok(String::new())
}

fn identification_of_fragments(lab: &mut Lab<'_>) -> Check<String> {
    lab.begin("masquerade");
    let mut seen = BTreeSet::new();
    for pod in ["ca", "sa"] {
        let path = outside(Proto::Udp, true, (pod, 5_000), ("x", 53));
        let path = lab.talk(&path)?;
        // Whole and not to be cut: any identification does.
        for id in [0, 0x7777] {
            let mut whole = path.there(0);
            whole.id = id;
            lab.there(&path, &whole)?;
        }
        let mut cut = path.there(0).length(600);
        cut.id = 0x7777;
        for (piece, out) in
            cut.fragments(200).iter().zip(cut.between(path.sees, path.target).fragments(200))
        {
            let got = lab.send(path.opener, piece);
            got.arrives(lab.place(path.server), &out)?;
            let (_, bytes) = got.last();
            seen.insert((source_of(bytes), [bytes[4], bytes[5]]));
        }
    }
    let same = seen == BTreeSet::from([(node(1, true), [0x77, 0x77])]);
    is(same, format!("identifications no longer stay: say so in the row: {seen:?}"))?;
    Ok("two pods' datagrams with one identification leave with one".into())
}

fn echoes_to_external_addresses(lab: &mut Lab<'_>) -> Check<String> {
    for v4 in FAMILIES {
        lab.begin("ClusterIP local");
        let service = super::cluster::Service::new(Proto::Tcp, &["sa"]);
        for address in
            [service.cluster(v4).0, super::cluster::external_ip(v4), super::cluster::balancer(v4)]
        {
            let pod = path("ClusterIP local", Proto::Tcp, v4);
            let ask = Packet::new(Proto::Echo, (pod.from.0, 77), (address, 0), 0);
            let answer = Packet::new(Proto::Echo, (address, 0), (pod.from.0, 77), 0);
            let got = lab.send(pod.opener, &ask);
            let (place, bytes) = got.last();
            got.check(place == lab.place(pod.opener), "not answered")?;
            // The reply has the identifier on the other side, and what else the request had.
            let mut answer = answer.between((address, 0), (pod.from.0, 77));
            answer.id = ask.id;
            got.check(source_of(bytes) == address, "by another")?;
            got.arrives(place, &answer)?;
        }
        let to_node = path("ClusterIP local", Proto::Tcp, v4);
        for number in [1, 2] {
            let ask = Packet::new(Proto::Echo, (to_node.from.0, 78), (node(number, v4), 0), 0);
            lab.send(to_node.opener, &ask).arrives(lab.place(Who::Node(number)), &ask)?;
            let reply = Packet::new(Proto::Echo, (node(number, v4), 0), (to_node.from.0, 78), 0);
            lab.send(Who::Node(number), &reply).arrives(lab.place(to_node.opener), &reply)?;
        }
    }
    Ok(String::new())
}
