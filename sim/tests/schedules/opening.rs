//! Connections that open at the same time.

use crate::explore::{Case, explore};
use crate::lab::Do::{Evict, EvictAny, EvictTwin, Full, Packet, Reply};
use crate::laws::Faith;

const A: &str = "tcp client:1 > vip:80";
const B: &str = "tcp client:1 > vip2:80";
const U: &str = "udp client:1 > vip:80";

#[test]
fn a_syn_and_its_retransmission() {
    // The dice of the two CPUs say different backends.
    explore(&Case {
        name: "opening::a_syn_and_its_retransmission",
        cpus: &[&[Packet(A, "S"), Reply(A, "SA")], &[Packet(A, "S"), Reply(A, "SA")]],
        flows: &[A],
        reach: &["exists", "reply"],
        also: |lab| assert_eq!(lab.points.counts()["CT_OPENED"], 1, "{}", lab.tell()),
        ..Case::NEW
    });
}

#[test]
fn a_syn_and_its_retransmission_in_every_order() {
    explore(&Case {
        name: "opening::a_syn_and_its_retransmission_in_every_order",
        cpus: &[&[Packet(A, "S")], &[Packet(A, "S")]],
        flows: &[A],
        reach: &["exists", "all"],
        schedules: 1,
        all: 50_000,
        ..Case::NEW
    });
}

#[test]
fn to_the_same_backend() {
    explore(&Case {
        name: "opening::to_the_same_backend",
        cpus: &[&[Packet(A, "S"), Reply(A, "SA")], &[Packet(A, "S"), Reply(A, "SA")]],
        draws: &[&[0], &[0]],
        flows: &[A],
        reach: &["exists", "reply"],
        also: |lab| assert_eq!(lab.points.counts()["CT_OPENED"], 1, "{}", lab.tell()),
        ..Case::NEW
    });
}

#[test]
fn datagrams_on_three_cpus() {
    explore(&Case {
        name: "opening::datagrams_on_three_cpus",
        cpus: &[&[Packet(U, ""), Packet(U, "")], &[Packet(U, "")], &[Packet(U, ""), Reply(U, "")]],
        flows: &[U],
        reach: &["exists", "reply"],
        also: |lab| assert_eq!(lab.points.counts()["CT_OPENED"], 1, "{}", lab.tell()),
        ..Case::NEW
    });
}

#[test]
fn two_frontends_of_one_backend() {
    explore(&Case {
        name: "opening::two_frontends_of_one_backend",
        cpus: &[&[Packet(A, "S"), Reply(A, "SA")], &[Packet(B, "S"), Reply(B, "SA")]],
        flows: &[A, B],
        reach: &["exists", "reply"],
        ..Case::NEW
    });
}

#[test]
fn by_the_frontend_and_directly() {
    const DIRECT: &str = "tcp client:1 > local:8080";
    explore(&Case {
        name: "opening::by_the_frontend_and_directly",
        cpus: &[&[Packet(B, "S"), Reply(B, "SA")], &[Packet(DIRECT, "S"), Reply(DIRECT, "SA")]],
        flows: &[B, DIRECT],
        reach: &["exists", "reply"],
        ..Case::NEW
    });
}

#[test]
fn two_clients_and_one_source_port() {
    // Both leave with the node's address, and their draws are the same.
    const FIRST: &str = "udp outside:40000 > lb:80";
    const SECOND: &str = "udp outside2:40000 > lb:80";
    const THIRD: &str = "udp outside:40000 > lb2:80";
    explore(&Case {
        name: "opening::two_clients_and_one_source_port",
        cpus: &[
            &[Packet(FIRST, ""), Reply(FIRST, "")],
            &[Packet(SECOND, ""), Reply(SECOND, "")],
            &[Packet(THIRD, ""), Reply(THIRD, "")],
        ],
        draws: &[&[5, 5], &[5, 5], &[5, 5]],
        flows: &[FIRST, SECOND, THIRD],
        reach: &["exists", "reply"],
        ..Case::NEW
    });
}

#[test]
fn any_half_goes_meanwhile() {
    explore(&Case {
        name: "opening::any_half_goes_meanwhile",
        cpus: &[
            &[Packet(A, "S"), Reply(A, "SA")],
            &[Packet(B, "S"), Reply(B, "SA")],
            &[EvictAny, EvictAny],
        ],
        flows: &[A, B],
        faith: Faith::Mends,
        reach: &["exists", "reply", "evicted", "alone"],
        schedules: 600,
        ..Case::NEW
    });
}

#[test]
fn either_half_goes_meanwhile() {
    explore(&Case {
        name: "opening::either_half_goes_meanwhile",
        cpus: &[&[Packet(A, "S"), Reply(A, "SA"), Packet(A, "A")], &[Evict(A)], &[EvictTwin(A)]],
        flows: &[A],
        faith: Faith::Mends,
        reach: &["reply", "evicted"],
        ..Case::NEW
    });
}

#[test]
fn the_first_one_loses_its_half_while_the_second_opens() {
    explore(&Case {
        name: "opening::the_first_one_loses_its_half_while_the_second_opens",
        cpus: &[&[Packet(A, "S")], &[Packet(A, "S")], &[Evict(A), EvictTwin(A)]],
        flows: &[A],
        faith: Faith::Mends,
        reach: &["exists", "evicted"],
        ..Case::NEW
    });
}

#[test]
fn no_room_from_some_moment_on() {
    // K-8: what was there goes on, and what comes is refused or is there.
    const OLD: &str = "tcp client2:9 > vip:80";
    explore(&Case {
        name: "opening::no_room_from_some_moment_on",
        before: &[Packet(OLD, "S"), Reply(OLD, "SA"), Packet(OLD, "A")],
        cpus: &[
            &[Packet(A, "S"), Reply(A, "SA"), Packet(OLD, "A")],
            &[Packet(A, "S"), Reply(OLD, "A")],
            &[Full(true)],
        ],
        flows: &[OLD],
        reach: &["full", "CT_MAP_INSERTION_FAILED", "exists"],
        ..Case::NEW
    });
}
