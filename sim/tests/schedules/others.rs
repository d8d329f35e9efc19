//! The tables beside conntrack: fragments, affinity, rate limits.

use twinpath_core::affinity::Client;
use twinpath_core::limit::BURST;

use crate::explore::{Case, explore};
use crate::lab::Do::{self, Fragment, Packet};
use crate::laws::Faith;
use crate::packet::Piece::{First, Last};

const U: &str = "udp client:1 > vip:80";
const STICKY: [&str; 3] =
    ["udp client:1 > vip:82", "udp client:2 > vip:82", "udp client:3 > vip:82"];

#[test]
fn two_parts_of_a_datagram() {
    // U-14: the second goes where the first goes, or nowhere.
    explore(&Case {
        name: "others::two_parts_of_a_datagram",
        cpus: &[&[Fragment(U, First)], &[Fragment(U, Last)], &[Packet(U, "")]],
        flows: &[U],
        reach: &["exists", "FIRST_LOGICAL_DATAGRAM_FRAGMENT_NOT_FOUND"],
        also: |lab| {
            let log = lab.log();
            let to: Vec<_> =
                log.iter().filter_map(|seen| seen.left).map(|left| left.destination).collect();
            assert!(to.windows(2).all(|two| two[0] == two[1]), "{}", lab.tell());
        },
        ..Case::NEW
    });
}

#[test]
fn connections_of_one_client_with_affinity() {
    // Several may be given different backends at once; what comes later is given the last one's.
    explore(&Case {
        name: "others::connections_of_one_client_with_affinity",
        cpus: &[&[Packet(STICKY[0], "")], &[Packet(STICKY[1], "")], &[Packet(STICKY[0], "")]],
        flows: &[STICKY[0], STICKY[1]],
        reach: &["exists"],
        also: |lab| {
            let client = Client::new(lab.family.address("client"), 12);
            let affinity = lab.tables.affinities.peek(&client);
            let backend = affinity.and_then(|affinity| affinity.backend(lab.tables.now(), 600));
            assert!(matches!(backend, Some(1 | 2)), "{backend:?}");
            let before = lab.log();
            let mut cpu = lab.cpu(50, &[]);
            lab.act(50, &mut cpu, &Packet(STICKY[2], ""));
            let later = lab.log()[before.len()];
            assert_eq!(Some(later.decision.backend), backend, "{}", lab.tell());
            let known = before.iter().any(|seen| Some(seen.decision.backend) == backend);
            // One that lost the race for its connection may have left its choice.
            assert!(known || lab.points.counts().contains_key("exists"), "{}", lab.tell());
        },
        ..Case::NEW
    });
}

const REFUSED: Do = Packet("udp client:1 > vip:99", "");

#[test]
fn answers_on_three_cpus() {
    // A lost update lets a packet too many through, for each CPU but one and no more.
    explore(&Case {
        name: "others::answers_on_three_cpus",
        cpus: &[&[REFUSED, REFUSED], &[REFUSED, REFUSED], &[REFUSED, REFUSED]],
        faith: Faith::Mends,
        reach: &["ANSWERED", "ANSWER_LIMITED"],
        before: &[Do::Change(|lab| {
            // Only two tokens are left.
            let bucket = twinpath_core::seam::Lookup::get(&lab.tables.limits, &0).unwrap();
            for _ in 2..BURST {
                bucket.take(lab.tables.now());
            }
        })],
        also: |lab| {
            let answered = lab.points.counts()["ANSWERED"];
            assert!((2..=4).contains(&answered), "{answered} answers for two tokens");
        },
        ..Case::NEW
    });
}
