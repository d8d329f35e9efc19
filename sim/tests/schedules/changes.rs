//! The control plane changes its tables, and time passes, in the middle of packets.

use twinpath_core::service::Scope;

use crate::cluster::{next_epoch, serve};
use crate::explore::{Case, explore};
use crate::lab::Do::{self, Change, Packet, Pass, Reply};
use crate::lab::Lab;
use crate::laws::Faith;

const A: &str = "tcp client:1 > vip:80";
const U: &str = "udp client:1 > vip:80";
const NEW: &str = "udp client:2 > vip:80";

/// `vip:80` loses `local`.
fn local_goes(lab: &Lab) {
    serve(&lab.tables, lab.family, ("vip", 80), 7, Scope::Internal, &["local2"], |_| {});
    lab.points.switch();
    next_epoch(&lab.tables, lab.family);
}

/// And has it again, in another place.
fn local_comes(lab: &Lab) {
    serve(&lab.tables, lab.family, ("vip", 80), 7, Scope::Internal, &["local2", "local"], |_| {});
    lab.points.switch();
    next_epoch(&lab.tables, lab.family);
}

/// An epoch in which nothing changes for these connections.
fn epoch(lab: &Lab) {
    next_epoch(&lab.tables, lab.family);
}

#[test]
fn a_backend_goes_while_its_datagrams_pass() {
    // K-2: what comes after the change is for the other one.
    explore(&Case {
        name: "changes::a_backend_goes_while_its_datagrams_pass",
        before: &[Packet(U, ""), Reply(U, "")],
        cpus: &[&[Packet(U, ""), Reply(U, "")], &[Packet(NEW, "")], &[Change(local_goes)]],
        changes: true,
        flows: &[U, NEW],
        faith: Faith::Mends,
        reach: &["REOPENED", "ESTABLISHED"],
        all: 500,
        also: |lab| {
            let mut cpu = lab.cpu(50, &[]);
            for text in [U, NEW] {
                lab.act(50, &mut cpu, &Packet(text, ""));
            }
            let local2 = lab.family.address("local2");
            for seen in lab.log().iter().filter(|seen| seen.cpu == 50) {
                let left = seen.left.map(|left| left.destination);
                assert_eq!(left, Some(local2), "K-2\n{}", lab.tell());
            }
        },
        ..Case::NEW
    });
}

#[test]
fn a_backend_goes_while_its_connection_passes() {
    // K-1: an established TCP connection stays where it is.
    explore(&Case {
        name: "changes::a_backend_goes_while_its_connection_passes",
        before: &[Packet(A, "S"), Reply(A, "SA"), Packet(A, "A")],
        cpus: &[&[Packet(A, "A"), Reply(A, "A")], &[Change(local_goes), Change(local_comes)]],
        changes: true,
        flows: &[A],
        reach: &["ESTABLISHED", "REPLY"],
        all: 500,
        ..Case::NEW
    });
}

#[test]
fn an_epoch_while_a_connection_opens() {
    explore(&Case {
        name: "changes::an_epoch_while_a_connection_opens",
        cpus: &[&[Packet(U, ""), Reply(U, "")], &[Packet(U, ""), Reply(U, "")], &[Change(epoch)]],
        changes: true,
        flows: &[U],
        reach: &["exists"],
        all: 500,
        ..Case::NEW
    });
}

#[test]
fn backends_come_and_go_while_connections_open() {
    explore(&Case {
        name: "changes::backends_come_and_go_while_connections_open",
        cpus: &[
            &[Packet(A, "S"), Reply(A, "SA"), Packet(A, "A")],
            &[Packet(NEW, ""), Reply(NEW, "")],
            &[Change(local_goes), Change(local_comes)],
        ],
        changes: true,
        flows: &[A, NEW],
        faith: Faith::Mends,
        reach: &["NEW", "reply"],
        all: 500,
        ..Case::NEW
    });
}

const LONG: &[Do] = &[Pass(1), Pass(119), Pass(1), Pass(7_500)];

#[test]
fn the_clock_jumps_between_looks() {
    explore(&Case {
        name: "changes::the_clock_jumps_between_looks",
        before: &[Packet(U, ""), Reply(U, "")],
        cpus: &[&[Packet(U, ""), Reply(U, "")], &[Packet(U, ""), Reply(U, "")], LONG],
        flows: &[U],
        faith: Faith::Mends,
        reach: &["REOPENED", "ESTABLISHED", "REPLY"],
        ..Case::NEW
    });
}
