//! What a packet that comes again, too late, or with no hop left does to a connection.

use super::script::{LOCAL, REMOTE, SECOND, World, both};
use crate::conntrack::REFRESH;

/// A packet and what becomes of it.
type Played = (&'static str, &'static str);

const SYN: Played =
    ("pod 10: tcp client:1 > vip:80 S", "pod 11: tcp client:1 > local:8080, NEW of 7");
const SYN_ACK: Played =
    ("pod 11: tcp local:8080 > client:1 SA", "pod 10: tcp vip:80 > client:1, REPLY of 7");
const ACK: Played =
    ("pod 10: tcp client:1 > vip:80 A", "pod 11: tcp client:1 > local:8080, ESTABLISHED of 7");
const FIN: Played =
    ("pod 10: tcp client:1 > vip:80 FA", "pod 11: tcp client:1 > local:8080, ESTABLISHED of 7");
const FIN_BACK: Played =
    ("pod 11: tcp local:8080 > client:1 FA", "pod 10: tcp vip:80 > client:1, REPLY of 7");
const RST: Played =
    ("pod 10: tcp client:1 > vip:80 R", "pod 11: tcp client:1 > local:8080, ESTABLISHED of 7");
const RST_BACK: Played =
    ("pod 11: tcp local:8080 > client:1 RA", "pod 10: tcp vip:80 > client:1, REPLY of 7");
const UDP: Played =
    ("pod 10: udp client:1 > vip:80", "pod 11: udp client:1 > local:8080, NEW of 7");
const UDP_BACK: Played =
    ("pod 11: udp local:8080 > client:1", "pod 10: udp vip:80 > client:1, REPLY of 7");
const UDP_AGAIN: Played =
    ("pod 10: udp client:1 > vip:80", "pod 11: udp client:1 > local:8080, ESTABLISHED of 7");

#[test]
fn a_syn_sent_again_keeps_the_backend() {
    // K-1, T-2: whatever the dice would say, and in every state but a closed one.
    let cases: [&[Played]; 5] = [
        &[SYN],
        &[SYN, SYN_ACK],
        &[SYN, SYN_ACK, ACK],
        &[SYN, SYN_ACK, ACK, FIN],
        &[SYN, SYN_ACK, ACK, FIN_BACK],
    ];
    for script in cases {
        both(|world| {
            world.play_drawing(&[LOCAL], script);
            world.node.host.draws = vec![REMOTE; 4];
            world.play(&[
                (SYN.0, ACK.1),
                (UDP_BACK.0, "pod 10: udp local:8080 > client:1, NEW"),
                ACK,
            ]);
        });
    }
}

#[test]
fn a_syn_after_the_end_chooses_anew() {
    // T-2 and RFC 9293, 3.6.1: both FINs or a RST, from either side.
    let cases: [&[Played]; 5] = [
        &[SYN, SYN_ACK, ACK, FIN, FIN_BACK, ACK],
        &[SYN, SYN_ACK, ACK, FIN_BACK, FIN],
        &[SYN, SYN_ACK, ACK, RST],
        &[SYN, SYN_ACK, ACK, RST_BACK],
        &[SYN, RST_BACK],
    ];
    for script in cases {
        both(|world| {
            world.play_drawing(&[LOCAL], script);
            world.play_drawing(
                &[REMOTE],
                &[
                    (SYN.0, "netdev: tcp client:1 > remote:8080, REOPENED of 7"),
                    (
                        "netdev: tcp remote:8080 > client:1 SA",
                        "pod 10: tcp vip:80 > client:1, REPLY of 7",
                    ),
                ],
            );
            assert_eq!(world.entries(), 2, "the old connection is gone, both halves");
            // And nothing that was noted of it is left: this one is not closed.
            world.play(&[(SYN.0, "netdev: tcp client:1 > remote:8080, ESTABLISHED of 7")]);
        });
    }
}

#[test]
fn a_reset_is_translated_and_what_follows_it_too() {
    // P-2.
    both(|world| {
        world.play_drawing(&[LOCAL], &[SYN, SYN_ACK, ACK, RST, RST_BACK, FIN_BACK, ACK]);
    });
}

/// Plays a script and waits so long; then whether the connection is still there, by a packet of it.
#[track_caller]
fn survives(script: &[Played], wait: u64, probe: Played) {
    both(|world| {
        world.play_drawing(&[LOCAL], script);
        world.wait(wait);
        world.node.host.draws = vec![REMOTE];
        world.play(&[probe]);
    });
}

const OVER: &str = "netdev: tcp client:1 > remote:8080, REOPENED of 7";
const UDP_OVER: &str = "netdev: udp client:1 > remote:8080, REOPENED of 7";

#[test]
fn expiry_to_the_nanosecond() {
    // T-5, P-1, U-5: at the timeout a connection is there, and gone by the end of the refresh interval.
    let minutes = |n: u64| n * 60 * SECOND;
    let cases: [(&str, &[Played], u64, Played, &str); 8] = [
        ("opening", &[SYN], minutes(4), ACK, OVER),
        ("answered", &[SYN, SYN_ACK], minutes(4), ACK, OVER),
        ("established", &[SYN, SYN_ACK, ACK], minutes(124), ACK, OVER),
        ("half closed", &[SYN, SYN_ACK, ACK, FIN], minutes(124), ACK, OVER),
        ("closed", &[SYN, SYN_ACK, ACK, FIN, FIN_BACK], minutes(4), ACK, OVER),
        ("reset", &[SYN, SYN_ACK, ACK, RST], minutes(4), ACK, OVER),
        ("datagrams", &[UDP], minutes(2), UDP_AGAIN, UDP_OVER),
        ("datagrams both ways", &[UDP, UDP_BACK], minutes(2), UDP_AGAIN, UDP_OVER),
    ];
    for (name, script, timeout, probe, over) in cases {
        println!("{name}");
        survives(script, timeout, probe);
        survives(script, timeout + REFRESH - 1, probe);
        survives(script, timeout + REFRESH, (probe.0, over));
    }
}

#[test]
fn no_packet_s_timeout_is_shorter_than_it_says() {
    // U-5, U-6: packets that cost no write count too, in either direction.
    both(|world| {
        world.play_drawing(&[LOCAL], &[UDP, UDP_BACK]);
        for packet in [UDP_AGAIN, UDP_BACK] {
            for last in [0, REFRESH - 1, REFRESH, 3 * REFRESH / 2] {
                world.wait(last);
                world.play(&[packet]);
                world.wait(120 * SECOND);
                world.play(&[UDP_AGAIN]);
            }
        }
    });
}

#[test]
fn either_direction_keeps_both_halves() {
    both(|world| {
        world.play_drawing(&[LOCAL], &[UDP, UDP_BACK]);
        for _ in 0..5 {
            world.wait(100 * SECOND);
            world.play(&[UDP_BACK]);
        }
        world.play(&[UDP_AGAIN]);
    });
}

#[test]
fn no_hop_left() {
    // C-10: dropped, before it leaves a trace.
    both(|world| {
        for packet in [
            "tcp client:1 > vip:80 S ttl 1",
            "udp client:1 > vip:80 ttl 0",
            "tcp client:1 > local:9 S ttl 1",
        ] {
            world.play(&[(&format!("pod 10: {packet}"), "TTL_EXCEEDED")]);
        }
        assert_eq!(world.entries(), 0);
        // By the stack, which takes the hop and judges it.
        world.play(&[("pod 10: udp client:1 > far:53 ttl 1", "stack: udp client:1 > far:53, NEW")]);
        world.play_drawing(
            &[LOCAL],
            &[(
                "pod 10: udp client:1 > vip:80 ttl 2",
                "pod 11: udp client:1 > local:8080, NEW of 7",
            )],
        );
    });
}

#[test]
fn no_hop_left_in_a_connection() {
    let keep = |world: &mut World, ttl: &str| {
        world.play_drawing(&[LOCAL], &[UDP, UDP_BACK]);
        let entries = world.node.conntrack.entries.clone();
        for wait in [0, REFRESH, 100 * SECOND] {
            world.wait(wait);
            for packet in ["pod 10: udp client:1 > vip:80", "pod 11: udp local:8080 > client:1"] {
                world.play(&[(&format!("{packet} ttl {ttl}"), "TTL_EXCEEDED")]);
            }
        }
        assert_eq!(world.node.conntrack.entries, entries, "not refreshed");
    };
    both(|world| keep(world, "1"));
    both(|world| keep(world, "0"));
}
