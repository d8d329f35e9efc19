//! The ICMP that nodes make themselves: RFC 792, 1122, 1812, 4443 and 4884. And what of NAT64 is there.

use std::net::IpAddr;

use super::cluster::{cluster_ip, node, pod};
use super::entry::{Differs, Entry, tests};
use super::lab::{Check, FAMILIES, Got, Lab, PORT, Path, Who, each, is, service, setup};
use super::packet::{Ip, Message, PORT as UNREACHABLE, Packet, Proto, SYN, TIME, TOO_BIG, frame};

pub(crate) const ROWS: &[Entry] = &[
    Entry {
        id: "M-1",
        statement: "No error is sent about an error, a later fragment, what was sent to many, or what has no single sender.",
        differs: Differs::Beside(
            21,
            "nor about frames with tags, and what another node has translated",
        ),
        tests: tests![no_error_about],
    },
    Entry {
        id: "M-2",
        statement: "An error quotes the IP header and 8 bytes at least: as much as fits into 576 bytes in IPv4, into 1280 in IPv6.",
        differs: Differs::No,
        tests: tests![quoted_lengths],
    },
    Entry {
        id: "M-3",
        statement: "An error has an IP header of its own: no fragment, 64 hops, right checksums, and from the address that the packet was sent to, or the node's where a time to live ended.",
        differs: Differs::No,
        tests: tests![headers_of_errors],
    },
    Entry {
        id: "M-4",
        statement: "Errors are limited in their rate; what goes without one is counted.",
        differs: Differs::Beside(
            4,
            "100 a second of each kind and node, 1,000 at once; Linux limits per peer",
        ),
        tests: tests![rate_of_errors],
    },
    Entry {
        id: "M-5",
        statement: "An error quotes the packet as the client sent it, before any translation, wherever on its way it ended.",
        differs: Differs::No,
        tests: tests![quotes_are_the_clients],
    },
];

pub(crate) const NAT64: &[Entry] = &[
    Entry {
        id: "X-1",
        statement: "The tables and timers of stateful NAT64.",
        differs: Differs::NotApplicable("No service has backends of the other family."),
        tests: &[],
    },
    Entry {
        id: "X-2",
        statement: "The MTU in a packet too big changes by the difference of the headers.",
        differs: Differs::NotApplicable("As X-1."),
        tests: &[],
    },
    Entry {
        id: "X-3",
        statement: "An ICMP error without all of the IP header that it is about is dropped, at whatever length it ends.",
        differs: Differs::No,
        tests: tests![errors_about_nothing],
    },
    Entry {
        id: "X-4",
        statement: "A UDP checksum of 0 from IPv4 is computed for IPv6.",
        differs: Differs::NotApplicable("As X-1."),
        tests: &[],
    },
];

/// A packet from a pod to a port that no service has.
fn unknown(v4: bool) -> Packet {
    Packet::new(Proto::Udp, (pod("ca", v4), PORT), (cluster_ip(1, v4), 4_321), 0)
}

/// The error about it comes back.
fn told(
    lab: &Lab<'_>,
    got: &Got,
    who: Who,
    packet: &[u8],
    from: IpAddr,
    kind: [(u8, u8); 2],
) -> Check {
    let most = if from.is_ipv4() { 548 } else { 1_232 };
    let quoted = &packet[..packet.len().min(most)];
    let mut error = Message::error(kind, from, who.address(from.is_ipv4()), quoted);
    error.rest = [0; 4];
    let ttl = got.arrives(lab.place(who), &error)?;
    got.check(ttl == 64, "hops")
}

/// It is dropped for this reason, and nobody is told.
fn silent(lab: &mut Lab<'_>, who: Who, bytes: &[u8], reason: &str) -> Check {
    let got = lab.watch_frame(who, frame(bytes));
    got.dropped(reason)?;
    let counted = got.counted.as_ref().is_some_and(|counted| counted.contains_key("ANSWERED"));
    got.check(!counted, "answered")
}

fn no_error_about(lab: &mut Lab<'_>) -> Check<String> {
    for v4 in FAMILIES {
        lab.begin("ClusterIP remote");
        let ca = Who::Pod("ca");
        // That there would be errors otherwise.
        let plain = unknown(v4);
        let got = lab.send(ca, &plain);
        told(lab, &got, ca, &plain.ip(64), plain.to.0, UNREACHABLE)?;
        let away = Packet::new(Proto::Udp, plain.from, (pod("sa", v4), 9), 0);
        let got = lab.send_ttl(ca, &away, 1);
        told(lab, &got, ca, &away.ip(1), node(1, v4), TIME)?;
        // An error, without a hop left and to a port that is none.
        for kind in [UNREACHABLE, TIME, TOO_BIG] {
            let quoted = Packet::new(Proto::Udp, away.to, away.from, 0).ip(60);
            let error = Message::error(kind, plain.from.0, away.to.0, &quoted);
            silent(lab, ca, &error.ip(1), "TTL_EXCEEDED")?;
            let quoted = Packet::new(Proto::Udp, plain.to, plain.from, 0).ip(60);
            let error = Message::error(kind, plain.from.0, plain.to.0, &quoted);
            silent(lab, ca, &error.ip(64), "SERVICE_PORT_NOT_FOUND")?;
        }
        // A later fragment.
        let [first, later] = Packet { id: 99, ..away.clone().length(200) }.fragments(80);
        lab.send(ca, &first);
        silent(lab, ca, &later.ip(1), "TTL_EXCEEDED")?;
        let [first, later] = Packet { id: 98, ..plain.clone().length(200) }.fragments(80);
        lab.send(ca, &first);
        silent(lab, ca, &later, "SERVICE_PORT_NOT_FOUND")?;
        // From nobody, or from many.
        let sources: &[&str] = if v4 {
            &["0.0.0.0", "224.0.0.1", "239.1.2.3", "255.255.255.255", "127.0.0.1"]
        } else {
            &["::", "ff02::1", "ff0e::5", "::1"]
        };
        for source in sources {
            let source: IpAddr = source.parse().map_err(|_| "an address")?;
            let packet = plain.between((source, PORT), plain.to);
            silent(lab, ca, &packet.ip(64), "SERVICE_PORT_NOT_FOUND")?;
            let packet = away.between((source, PORT), away.to);
            silent(lab, ca, &packet.ip(1), "TTL_EXCEEDED")?;
        }
        // To many.
        let many: &[&str] = if v4 { &["224.0.0.251", "255.255.255.255"] } else { &["ff02::fb"] };
        for to in many {
            let to: IpAddr = to.parse().map_err(|_| "an address")?;
            let packet = plain.between(plain.from, (to, 5_353));
            let got = lab.watch_frame(ca, frame(&packet.ip(1)));
            let counted =
                got.counted.as_ref().is_some_and(|counted| counted.contains_key("ANSWERED"));
            got.check(!counted && got.last().0 != lab.place(ca), "answered")?;
        }
    }
    Ok(String::new())
}

fn quoted_lengths(lab: &mut Lab<'_>) -> Check<String> {
    for v4 in FAMILIES {
        lab.begin("ClusterIP local");
        let most = if v4 { 548 - 28 } else { 1_232 - 48 };
        for length in [0, 1, 7, 8, 63, 64, 65, most - 1, most, most + 1, 1_400] {
            let packet = unknown(v4).length(length);
            let got = lab.send(Who::Pod("ca"), &packet);
            told(lab, &got, Who::Pod("ca"), &packet.ip(64), packet.to.0, UNREACHABLE)?;
        }
        // With options, or extension headers, which are part of what is quoted.
        let mut packet = unknown(v4).length(40);
        if v4 {
            packet.options = vec![1; 40];
        } else {
            packet.extensions = vec![(60, vec![0, 1, 4, 0, 0, 0, 0])];
        }
        let got = lab.send(Who::Pod("ca"), &packet);
        told(lab, &got, Who::Pod("ca"), &packet.ip(64), packet.to.0, UNREACHABLE)?;
    }
    Ok(String::new())
}

fn headers_of_errors(lab: &mut Lab<'_>) -> Check<String> {
    for v4 in FAMILIES {
        for proto in [Proto::Udp, Proto::Tcp] {
            let open = proto.flags()[0];
            let mut empty = service(proto, "sa");
            empty.number = 1;
            empty.backends.clear();
            lab.begin_with(&setup("ClusterIP local"), &[empty.clone()]);
            let ca = Who::Pod("ca");
            // What the packet looks like does not show in the error's own header.
            for (id, may_cut) in [(0, true), (0xffff, false), (0x1234, true)] {
                for to in [
                    empty.cluster(v4),
                    empty.at_node(1, v4),
                    empty.external(v4),
                    empty.balancer(v4),
                ] {
                    let mut packet = Packet::new(proto, (ca.address(v4), PORT), to, open);
                    (packet.id, packet.may_cut) = (id, may_cut);
                    let got = lab.send(ca, &packet);
                    told(lab, &got, ca, &packet.ip(64), to.0, UNREACHABLE)?;
                }
                let away = Packet::new(proto, (ca.address(v4), PORT), (pod("sa", v4), 9), open);
                let got = lab.send_ttl(ca, &away, 1);
                told(lab, &got, ca, &away.ip(1), node(1, v4), TIME)?;
            }
        }
    }
    Ok(String::new())
}

fn rate_of_errors(lab: &mut Lab<'_>) -> Check<String> {
    for v4 in FAMILIES {
        lab.begin("ClusterIP local");
        let ca = Who::Pod("ca");
        let bytes = unknown(v4).frame();
        let burst = |lab: &mut Lab<'_>, number: usize| {
            let place = lab.place(ca);
            let answered = |lab: &mut Lab<'_>| {
                lab.pass(ca, bytes.clone()).seen.last().is_some_and(|(at, _)| *at == place)
            };
            (0..number).filter(|_| answered(lab)).count()
        };
        is(burst(lab, 1_100) == 1_000, "a thousand at once")?;
        lab.watch(ca, &unknown(v4)).dropped("SERVICE_PORT_NOT_FOUND")?;
        let got = lab.watch(ca, &unknown(v4));
        let limited =
            got.counted.as_ref().is_some_and(|counted| counted.get("ANSWER_LIMITED") == Some(&1));
        got.check(limited, "not counted")?;
        // Another kind has a limit of its own.
        let away = Packet::new(Proto::Udp, (pod("ca", v4), PORT), (pod("sa", v4), 9), 0);
        let got = lab.send_ttl(ca, &away, 1);
        told(lab, &got, ca, &away.ip(1), node(1, v4), TIME)?;
        lab.wait(1_000);
        is(burst(lab, 150) == 100, "a hundred a second")?;
        lab.wait(10);
        is(burst(lab, 3) == 1, "one in ten milliseconds")?;
    }
    Ok(String::new())
}

fn quotes_are_the_clients(lab: &mut Lab<'_>) -> Check<String> {
    // Where the node that translates has no hop left, and where the backend's node has none.
    each(lab, &["NodePort local", "NodePort SNAT"], &[Proto::Udp, Proto::Tcp], |lab, path| {
        let client = path.opener;
        for flags in [path.proto.flags()[0], path.proto.flags()[2]] {
            lab.talk(path)?;
            let packet = path.there(flags);
            let got = lab.send_ttl(client, &packet, 2);
            arrives_from(lab, &got, path, node(1, path.v4), &packet.ip(1))?;
            if path.way == "NodePort SNAT" {
                let got = lab.send_ttl(client, &packet, 3);
                arrives_from(lab, &got, path, node(2, path.v4), &packet.ip(1))?;
            }
        }
        Ok(())
    })?;
    // A service without backends.
    for v4 in FAMILIES {
        let mut empty = service(Proto::Tcp, "sa");
        empty.backends.clear();
        lab.begin_with(&setup("NodePort local"), &[empty.clone()]);
        let client = Who::Client("x");
        let packet = Packet::new(Proto::Tcp, (client.address(v4), PORT), empty.at_node(1, v4), SYN);
        let got = lab.send(client, &packet);
        let error = Message::error(UNREACHABLE, packet.to.0, packet.from.0, &packet.ip(63));
        got.arrives(lab.place(client), &error)?;
    }
    // One too long to be wrapped.
    each(lab, &["DSR option", "DSR IPIP", "DSR Geneve"], &[Proto::Tcp], |lab, path| {
        let packet = path.there(SYN).length(if path.v4 { 1_460 } else { 1_440 });
        let got = lab.send(path.opener, &packet);
        let mut quoted = packet.ip(63);
        quoted.truncate(if path.v4 { 548 } else { 1_232 });
        let mut error = Message::error(TOO_BIG, path.to.0, path.from.0, &quoted);
        let (_, bytes) = got.last();
        let at = if path.v4 { 24 } else { 44 };
        error.rest.copy_from_slice(&bytes[at..at + 4]);
        got.arrives(lab.place(path.opener), &error).map(|_| ())
    })?;
    Ok(String::new())
}

fn arrives_from(lab: &Lab<'_>, got: &Got, path: &Path, from: IpAddr, quoted: &[u8]) -> Check {
    let error = Message::error(TIME, from, path.from.0, quoted);
    got.arrives(lab.place(path.opener), &error).map(|_| ())
}

fn errors_about_nothing(lab: &mut Lab<'_>) -> Check<String> {
    each(lab, &["ClusterIP remote", "NodePort SNAT", "masquerade"], &[Proto::Udp], |lab, path| {
        lab.talk(path)?;
        let quoted = path.there(0).between(path.sees, path.target).ip(60);
        let header = if path.v4 { 20 } else { 40 };
        for kind in [TOO_BIG, UNREACHABLE, TIME] {
            for length in 0..header {
                let error = Message::error(kind, path.target.0, path.sees.0, &quoted[..length]);
                lab.watch(path.server, &error).dropped("INVALID_PACKET_DROPPED")?;
            }
            // A header and no ports: about no connection that could be told.
            for length in [header, header + 1, header + 3] {
                let error = Message::error(kind, path.target.0, path.sees.0, &quoted[..length]);
                let got = lab.watch(path.server, &error);
                got.check(got.unchanged, "changed connections")?;
                got.check(
                    got.last().0 != lab.place(path.opener) || path.way == "ClusterIP remote",
                    "arrived",
                )?;
            }
        }
        // Not all of the ICMP header, either; a client's would be the router's to drop.
        if path.way == "masquerade" {
            return Ok(());
        }
        let whole = Message::error(UNREACHABLE, path.target.0, path.sees.0, &quoted);
        let piece = Packet::new(Proto::Echo, (whole.from, 0), (whole.to, 0), 0);
        for length in 0..8 {
            let cut = piece.piece(&whole.ip(64)[header..header + length], None, 64);
            lab.watch(path.server, &cut).dropped("CT_TRUNCATED_OR_INVALID_HEADER")?;
        }
        Ok(())
    })?;
    Ok(String::new())
}
