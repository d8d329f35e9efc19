//! Connections that end, while their tuples are used again.

use crate::explore::{Case, explore};
use crate::lab::Do::{self, Evict, Packet, Pass, Reply};
use crate::laws::Faith;

const A: &str = "tcp client:1 > vip2:80";
const B: &str = "tcp client:1 > vip:80";
const U: &str = "udp client:1 > vip2:80";

const ESTABLISHED: &[Do] = &[Packet(A, "S"), Reply(A, "SA"), Packet(A, "A")];
const CLOSED: &[Do] =
    &[Packet(A, "S"), Reply(A, "SA"), Packet(A, "A"), Packet(A, "FA"), Reply(A, "FA")];

#[test]
fn both_ends_close_while_data_passes() {
    explore(&Case {
        name: "closing::both_ends_close_while_data_passes",
        before: ESTABLISHED,
        cpus: &[&[Packet(A, "FA")], &[Reply(A, "FA")], &[Packet(A, "A"), Reply(A, "A")]],
        flows: &[A],
        reach: &["reply"],
        ..Case::NEW
    });
}

#[test]
fn a_reset_and_data() {
    explore(&Case {
        name: "closing::a_reset_and_data",
        before: ESTABLISHED,
        cpus: &[&[Reply(A, "R")], &[Packet(A, "A")], &[Reply(A, "A")]],
        flows: &[A],
        reach: &["reply"],
        ..Case::NEW
    });
}

#[test]
fn a_new_connection_and_the_last_packet_of_the_old_one() {
    explore(&Case {
        name: "closing::a_new_connection_and_the_last_packet_of_the_old_one",
        before: CLOSED,
        cpus: &[&[Packet(A, "S")], &[Reply(A, "A")]],
        flows: &[A],
        faith: Faith::Mends,
        reach: &["REOPENED", "reply"],
        ..Case::NEW
    });
}

#[test]
fn a_new_connection_and_its_retransmission() {
    explore(&Case {
        name: "closing::a_new_connection_and_its_retransmission",
        before: CLOSED,
        cpus: &[&[Packet(A, "S")], &[Packet(A, "S")]],
        flows: &[A],
        faith: Faith::Mends,
        reach: &["REOPENED"],
        ..Case::NEW
    });
}

#[test]
fn another_connection_takes_the_tuple_of_one_that_is_over() {
    explore(&Case {
        name: "closing::another_connection_takes_the_tuple_of_one_that_is_over",
        before: CLOSED,
        cpus: &[&[Packet(B, "S"), Reply(B, "SA")], &[Packet(A, "S"), Reply(A, "SA")]],
        draws: &[&[0, 7], &[0, 9]],
        flows: &[A, B],
        faith: Faith::Mends,
        reach: &["REOPENED", "NEW", "reply"],
        ..Case::NEW
    });
}

#[test]
fn a_half_comes_back_while_its_key_is_taken() {
    // The first one has lost its reply half, and brings it back when the second one takes its key.
    const FRESH: &str = "tcp client:1 > vip:80";
    explore(&Case {
        name: "closing::a_half_comes_back_while_its_key_is_taken",
        before: &[Packet(A, "S"), Reply(A, "SA"), Packet(A, "A"), Pass(2), Do::EvictTwin(A)],
        cpus: &[&[Packet(A, "A")], &[Packet(FRESH, "S"), Reply(FRESH, "SA")]],
        draws: &[&[0, 7], &[0, 9]],
        flows: &[A, FRESH],
        faith: Faith::Mends,
        reach: &["exists", "CT_RESTORED"],
        ..Case::NEW
    });
}

#[test]
fn both_directions_bring_back_what_is_lost() {
    explore(&Case {
        name: "closing::both_directions_bring_back_what_is_lost",
        before: &[Packet(U, ""), Reply(U, ""), Pass(2), Evict(U)],
        cpus: &[&[Reply(U, "")], &[Packet(U, "")]],
        flows: &[U],
        faith: Faith::Mends,
        reach: &["evicted", "CT_RESTORED"],
        ..Case::NEW
    });
}

#[test]
fn idle_for_too_long_on_two_cpus() {
    // Its timeout has passed when both directions speak again.
    explore(&Case {
        name: "closing::idle_for_too_long_on_two_cpus",
        before: &[Packet(U, ""), Reply(U, "")],
        cpus: &[&[Packet(U, "")], &[Packet(U, "")], &[Pass(121)]],
        flows: &[U],
        faith: Faith::Mends,
        reach: &["REOPENED", "ESTABLISHED"],
        ..Case::NEW
    });
}
