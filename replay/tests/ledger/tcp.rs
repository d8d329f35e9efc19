//! RFC 5382: NAT behavioural requirements for TCP.

use std::collections::BTreeSet;

use twinpath_sim::cluster::Place;

use super::cluster::client;
use super::entry::{Differs, Entry, tests};
use super::lab::{
    Check, FAMILIES, Lab, PORT, Path, SNAT, WAYS, Who, each, is, path, ports_of, service, setup,
};
use super::packet::{
    ACK, FIN_ACK, Ip, Message, PORT as UNREACHABLE, Packet, Proto, RST, RST_ACK, SYN, SYN_ACK,
};
use super::udp::{SLACK, expires, filtering, hairpins, icmp_storm, mapping, outside, payloads};

pub(crate) const ROWS: &[Entry] = &[
    Entry {
        id: "T-1",
        statement: "What one internal address and port sends to different destinations leaves with one external address and port.",
        differs: Differs::Instead(
            24,
            "the address is always the same one; a port from the node's range is kept while nobody else has it towards \
             the same destination; for a port out of it, one is drawn for each connection",
        ),
        tests: tests![mapping_of_tcp],
    },
    Entry {
        id: "T-2",
        statement: "Every sequence of RFC 793 passes: three-way handshake, split handshakes of 4 and 5 packets, simultaneous open (SNAT), half close, reset, data on SYN, SYN sent again, a tuple in TIME-WAIT used again with a higher sequence number.",
        differs: Differs::No,
        tests: tests![
            three_way_handshake,
            split_handshakes,
            half_close,
            resets,
            data_on_syn_and_syn_again,
            time_wait_used_again,
            simultaneous_open,
        ],
    },
    Entry {
        id: "T-3",
        statement: "What comes unasked to an external port from another address or port is not delivered inside.",
        differs: Differs::No,
        tests: tests![filtering_of_tcp],
    },
    Entry {
        id: "T-4",
        statement: "A SYN that nobody asked for is not answered for 6 seconds, and not at all if the inside opens the same connection meanwhile.",
        differs: Differs::Instead(
            45,
            "the node's own stack gets it, and answers as it does; an opening from inside has the tuple all the same, and \
             the next SYN from outside",
        ),
        tests: tests![unsolicited_syn],
    },
    Entry {
        id: "T-5",
        statement: "An idle connection is kept for 2 hours and 4 minutes, one that opens or closes for 4 minutes: alive until the last millisecond, and then gone.",
        differs: Differs::Beside(8, "Linux: 5 days; 120 s, and 10 s after a reset"),
        tests: tests![timers_of_tcp],
    },
    Entry {
        id: "T-6",
        statement: "Payloads are not changed, whatever they say.",
        differs: Differs::No,
        tests: tests![payloads_of_tcp],
    },
    Entry {
        id: "T-7",
        statement: "No two connections share an external port towards one destination; without a free one, new connections fail and those that are there go on.",
        differs: Differs::No,
        tests: tests![no_port_twice],
    },
    Entry {
        id: "T-8",
        statement: "A pod reaches itself by its own service.",
        differs: Differs::Beside(
            32,
            "it sees an address that is for this alone; kube-proxy: its node's",
        ),
        tests: tests![hairpin_of_tcp],
    },
    Entry {
        id: "T-9",
        statement: "An ICMP error of type 3 reaches whoever's packet it is about, translated.",
        differs: Differs::No,
        tests: tests![unreachable_for_the_right_host],
    },
    Entry {
        id: "T-10",
        statement: "No ICMP message ends a connection or shortens its time.",
        differs: Differs::No,
        tests: tests![icmp_leaves_tcp_alone],
    },
];

const TCP: &[Proto] = &[Proto::Tcp];

fn mapping_of_tcp(lab: &mut Lab<'_>) -> Check<String> {
    mapping(lab, Proto::Tcp)
}

/// Who sends which flags.
enum Step {
    There(u8),
    Back(u8),
}

use Step::{Back, There};

/// Packets in turn; each arrives, with nothing changed but its ends.
fn play(lab: &mut Lab<'_>, path: &Path, steps: &[Step]) -> Check {
    for (number, step) in steps.iter().enumerate() {
        let length = if number.is_multiple_of(2) { 0 } else { 11 * number };
        let result = match step {
            There(flags) => lab.there(path, &path.there(*flags).length(length)),
            Back(flags) => lab.back(path, &path.back(*flags).length(length)),
        };
        result.map_err(|why| format!("packet {}: {why}", number + 1))?;
    }
    Ok(())
}

/// The connection is one that is kept for long.
fn is_established(lab: &mut Lab<'_>, path: &Path) -> Check {
    play(lab, path, &[There(ACK), Back(ACK)])?;
    lab.wait(7_440_000);
    play(lab, path, &[Back(ACK), There(ACK)])
}

/// Each of these opens a connection, on each way.
fn sequences(lab: &mut Lab<'_>, sequences: &[&[Step]]) -> Check<String> {
    each(lab, &WAYS, TCP, |lab, path| {
        for steps in sequences {
            lab.begin(path.way);
            play(lab, path, steps)?;
            is_established(lab, path)?;
        }
        Ok(())
    })?;
    Ok(String::new())
}

fn three_way_handshake(lab: &mut Lab<'_>) -> Check<String> {
    let close = [
        There(SYN),
        Back(SYN_ACK),
        There(ACK),
        There(ACK),
        Back(ACK),
        There(FIN_ACK),
        Back(FIN_ACK),
        There(ACK),
        Back(ACK),
    ];
    each(lab, &WAYS, TCP, |lab, path| {
        play(lab, path, &[There(SYN), Back(SYN_ACK), There(ACK)])?;
        is_established(lab, path)?;
        lab.begin(path.way);
        play(lab, path, &close)
    })?;
    Ok(String::new())
}

fn split_handshakes(lab: &mut Lab<'_>) -> Check<String> {
    let four: &[Step] = &[There(SYN), Back(SYN), There(SYN_ACK), Back(ACK), There(ACK)];
    let five: &[Step] = &[There(SYN), Back(ACK), Back(SYN), There(SYN_ACK), Back(ACK), There(ACK)];
    sequences(lab, &[four, five])
}

fn half_close(lab: &mut Lab<'_>) -> Check<String> {
    let open = [There(SYN), Back(SYN_ACK), There(ACK)];
    let ends = [[There(FIN_ACK), Back(ACK)], [Back(FIN_ACK), There(ACK)]];
    each(lab, &WAYS, TCP, |lab, path| {
        for end in &ends {
            lab.begin(path.way);
            play(lab, path, &open)?;
            play(lab, path, end)?;
            // The other end goes on for as long as it likes.
            for _ in 0..2 {
                is_established(lab, path)?;
            }
            play(lab, path, &[Back(FIN_ACK), There(FIN_ACK), Back(ACK), There(ACK)])?;
        }
        Ok(())
    })?;
    Ok(String::new())
}

fn resets(lab: &mut Lab<'_>) -> Check<String> {
    let cases: [&[Step]; 5] = [
        &[There(SYN), Back(RST_ACK)],
        &[There(SYN), There(RST)],
        &[There(SYN), Back(SYN_ACK), There(RST)],
        &[There(SYN), Back(SYN_ACK), There(ACK), There(RST)],
        &[There(SYN), Back(SYN_ACK), There(ACK), Back(RST), There(ACK), Back(RST)],
    ];
    each(lab, &WAYS, TCP, |lab, path| {
        for steps in cases {
            lab.begin(path.way);
            play(lab, path, steps)?;
            // And the same tuple again, at once.
            play(lab, path, &[There(SYN), Back(SYN_ACK), There(ACK)])?;
            is_established(lab, path)?;
        }
        Ok(())
    })?;
    Ok(String::new())
}

fn data_on_syn_and_syn_again(lab: &mut Lab<'_>) -> Check<String> {
    each(lab, &WAYS, TCP, |lab, path| {
        lab.there(path, &path.there(SYN).length(1_200))?;
        lab.there(path, &path.there(SYN).length(1_200))?;
        lab.wait(3_000);
        lab.there(path, &path.there(SYN))?;
        play(lab, path, &[Back(SYN_ACK), Back(SYN_ACK), There(SYN), Back(SYN_ACK), There(ACK)])?;
        is_established(lab, path)
    })?;
    Ok(String::new())
}

fn time_wait_used_again(lab: &mut Lab<'_>) -> Check<String> {
    each(lab, &WAYS, TCP, |lab, path| {
        for round in 1..4_u32 {
            let mut syn = path.there(SYN);
            syn.sequence = round * 0x1000_0000;
            lab.there(path, &syn)?;
            play(
                lab,
                path,
                &[Back(SYN_ACK), There(ACK), Back(FIN_ACK), There(FIN_ACK), Back(ACK)],
            )?;
            lab.wait(u64::from(round - 1) * 1_000);
        }
        // The last one is no longer one that closes.
        play(lab, path, &[There(SYN), Back(SYN_ACK), There(ACK)])?;
        is_established(lab, path)
    })?;
    Ok(String::new())
}

fn simultaneous_open(lab: &mut Lab<'_>) -> Check<String> {
    each(lab, &SNAT, TCP, |lab, path| {
        play(
            lab,
            path,
            &[There(SYN), Back(SYN), There(SYN_ACK), Back(SYN_ACK), There(ACK), Back(ACK)],
        )?;
        is_established(lab, path)
    })?;
    Ok(String::new())
}

fn filtering_of_tcp(lab: &mut Lab<'_>) -> Check<String> {
    filtering(lab, Proto::Tcp)
}

fn unsolicited_syn(lab: &mut Lab<'_>) -> Check<String> {
    for v4 in FAMILIES {
        lab.begin("masquerade");
        let path = outside(Proto::Tcp, v4, ("ca", PORT), ("x", 53));
        let syn = Packet::new(Proto::Tcp, path.target, path.sees, SYN);
        for _ in 0..2 {
            let got = lab.send(path.server, &syn);
            got.arrives(Place::Host(0), &syn)?;
            lab.wait(3_000);
        }
        // The inside opens the same connection.
        lab.there(&path, &path.there(SYN))?;
        lab.back(&path, &syn.between(path.target, path.sees))?;
        play(lab, &path, &[There(SYN_ACK), Back(SYN_ACK), There(ACK), Back(ACK)])?;
        is_established(lab, &path)?;
    }
    Ok(String::new())
}

fn timers_of_tcp(lab: &mut Lab<'_>) -> Check<String> {
    const LONG: u64 = 7_440_000 + SLACK;
    const SHORT: u64 = 240_000 + SLACK;
    let cases: [(u64, &[Step]); 7] = [
        (SHORT, &[There(SYN)]),
        (SHORT, &[There(SYN), Back(SYN_ACK)]),
        (LONG, &[There(SYN), Back(SYN_ACK), There(ACK)]),
        (LONG, &[There(SYN), Back(SYN_ACK), There(ACK), There(FIN_ACK), Back(ACK)]),
        (
            SHORT,
            &[There(SYN), Back(SYN_ACK), There(ACK), There(FIN_ACK), Back(FIN_ACK), There(ACK)],
        ),
        (SHORT, &[There(SYN), Back(SYN_ACK), There(ACK), Back(RST)]),
        (SHORT, &[There(SYN), Back(RST_ACK)]),
    ];
    each(lab, &["ClusterIP remote", "NodePort SNAT", "masquerade"], TCP, |lab, path| {
        for (number, (time, steps)) in cases.iter().enumerate() {
            let result = expires(lab, path, *time, |lab, path| {
                play(lab, path, steps)?;
                Ok(path.clone())
            });
            result.map_err(|why| format!("case {number}: {why}"))?;
        }
        Ok(())
    })?;
    Ok("7440 s and 240 s, and the second that is the timers' grain".into())
}

fn payloads_of_tcp(lab: &mut Lab<'_>) -> Check<String> {
    payloads(lab, Proto::Tcp)
}

fn no_port_twice(lab: &mut Lab<'_>) -> Check<String> {
    let mut few = setup("NodePort SNAT");
    few.options.snat_ports = 50_000..=50_003;
    for way in SNAT {
        for v4 in FAMILIES {
            lab.begin_with(&few, &[service(Proto::Tcp, "sb")]);
            let path = path(way, Proto::Tcp, v4);
            let opened: Vec<Path> =
                (0..4).map(|n| lab.talk(&path.port(1_000 + n))).collect::<Check<_>>()?;
            let ports: BTreeSet<u16> = opened.iter().map(|path| path.sees.1).collect();
            is(ports == (50_000..=50_003).collect(), format!("{way}: {ports:?}"))?;
            let more = path.port(2_000);
            lab.watch(more.opener, &more.there(SYN)).dropped("NO_MAPPING_FOR_NAT_MASQUERADE")?;
            for path in &opened {
                play(lab, path, &[There(ACK), Back(ACK)])?;
            }
            // When one has ended, there is one again.
            play(lab, &opened[2], &[There(FIN_ACK), Back(FIN_ACK), There(ACK)])?;
            lab.wait(240_000 + SLACK);
            is(lab.talk(&more)?.sees.1 == opened[2].sees.1, "not the port that is free again")?;
        }
    }
    Ok(String::new())
}

fn hairpin_of_tcp(lab: &mut Lab<'_>) -> Check<String> {
    hairpins(lab, Proto::Tcp)
}

fn unreachable_for_the_right_host(lab: &mut Lab<'_>) -> Check<String> {
    for v4 in FAMILIES {
        for way in SNAT {
            lab.begin(way);
            let one = path(way, Proto::Tcp, v4);
            let mut two = one.clone();
            (two.opener, two.from.0) = match way {
                "masquerade" => (Who::Pod("sa"), super::cluster::pod("sa", v4)),
                _ => (Who::Client("y"), client("y", v4)),
            };
            let paths = [lab.talk(&one)?, lab.talk(&two)?];
            for path in &paths {
                let seen = path.there(ACK).between(path.sees, path.target).ip(61);
                is(ports_of(&seen).0 == path.sees.1, "ports")?;
                let error = Message::error(UNREACHABLE, path.target.0, path.sees.0, &seen);
                let sent = path.there(ACK).ip(61);
                let told = Message::error(UNREACHABLE, path.to.0, path.from.0, &sent);
                lab.send(path.server, &error).arrives(lab.place(path.opener), &told)?;
            }
        }
    }
    Ok(String::new())
}

fn icmp_leaves_tcp_alone(lab: &mut Lab<'_>) -> Check<String> {
    each(lab, &["ClusterIP remote", "NodePort SNAT", "masquerade"], TCP, |lab, path| {
        expires(lab, path, 7_440_000 + SLACK, |lab, path| {
            lab.talk(path)?;
            lab.wait(60_000);
            if path.from.1 == PORT {
                icmp_storm(lab, path)?;
            }
            play(lab, path, &[There(ACK), Back(ACK)])?;
            Ok(path.clone())
        })
    })?;
    Ok(String::new())
}
