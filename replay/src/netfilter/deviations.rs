//! The differences that are meant: which, in which cases, under which number of `docs/deviations.md`.
//!
//! There is no other way for a difference to be accepted, and a rule here that is never used in a whole run is
//! a failure, too.

use std::net::IpAddr;

use super::compare::{Difference, Fate, Seen};
use super::exchange::ROUTERS;
use super::lab::Front;
use super::rows::{Case, Kind};
use super::world::Rules;

/// A rule: the number of the deviation, what it says, and the cases.
pub struct Deviation {
    /// Its number in `docs/deviations.md`.
    pub number: u32,
    /// What it is, in a few words.
    pub what: &'static str,
    /// The rules that it differs from; both without any.
    pub rules: Option<Rules>,
    /// Whether it is this difference in this case.
    pub is_it: fn(&Case, &Difference) -> bool,
}

/// All of them.
pub const ALL: &[Deviation] = &[
    Deviation {
        number: 25,
        what: "a backend on the node sees the client's own address",
        rules: None,
        is_it: |case, difference| {
            case.from == "client"
                && case.front != Front::Cluster
                && !case.service.external_local
                && *difference == Difference::Source(Seen::Own, Seen::Node)
        },
    },
    Deviation {
        number: 26,
        what: "node ports of the other node are translated here, and not masqueraded",
        rules: None,
        is_it: |case, difference| {
            case.is_inside()
                && case.is_far_node_port()
                && match difference {
                    Difference::Source(Seen::Own, Seen::Node | Seen::Hairpin) => true,
                    // That node gives others its own endpoints alone, and has none.
                    Difference::Fate(Fate::Delivered, Fate::Dropped) => case.service.external_local,
                    Difference::Endpoints(_) => case.service.external_local,
                    // It does not see the answer of a pod on the sender's node.
                    Difference::Fate(Fate::Delivered, Fate::Passed) => case.service.external_local,
                    // There and back again is further.
                    Difference::Hops(here, there) => here > there,
                    _ => false,
                }
        },
    },
    Deviation {
        number: 29,
        what: "cluster addresses are not served to clients outside",
        rules: None,
        is_it: |case, difference| {
            case.from == "client"
                && case.front == Front::Cluster
                && matches!(
                    difference,
                    Difference::Fate(Fate::Dropped, Fate::Delivered | Fate::Refused)
                )
        },
    },
    Deviation {
        number: 30,
        what: "a node's own node ports are left to its stack",
        rules: None,
        is_it: |case, difference| {
            case.from == "node-a"
                && case.front == Front::NodeA
                && matches!(difference, Difference::Fate(Fate::Passed, _))
        },
    },
    Deviation {
        number: 31,
        what: "a pod keeps its address at external frontends",
        rules: None,
        is_it: |case, difference| {
            case.is_pod()
                && case.front != Front::Cluster
                && !case.is_far_node_port()
                && !case.service.external_local
                && *difference == Difference::Source(Seen::Own, Seen::Node)
        },
    },
    Deviation {
        number: 32,
        what: "a pod that its service sends back to itself sees an address for that",
        rules: None,
        is_it: |case, difference| {
            case.is_pod() && *difference == Difference::Source(Seen::Hairpin, Seen::Node)
        },
    },
    Deviation {
        number: 35,
        what: "a packet is refused in the name of the frontend",
        rules: None,
        is_it: |_, difference| matches!(difference, Difference::Refuser(..)),
    },
    Deviation {
        number: 37,
        what: "SCTP to a frontend with another port than its endpoints' is dropped",
        rules: None,
        is_it: |case, difference| {
            case.protocol == "sctp"
                && matches!(case.front, Front::NodeA | Front::NodeB)
                && *difference == Difference::Fate(Fate::Dropped, Fate::Delivered)
        },
    },
    Deviation {
        number: 36,
        what: "a packet with a wrong checksum is translated, and its checksum stays wrong",
        rules: None,
        is_it: |case, difference| {
            case.kind == Kind::WrongChecksum
                && matches!(
                    difference,
                    // An answer that is not translated back comes to the node under whose name it went.
                    Difference::Fate(Fate::Delivered, Fate::Dropped | Fate::Passed)
                )
        },
    },
    Deviation {
        number: 38,
        what: "IPv6 fragments keep their identification",
        rules: None,
        is_it: |case, difference| {
            case.kind == Kind::Fragments && !case.v4 && *difference == Difference::Identification
        },
    },
    Deviation {
        number: 40,
        what: "an ICMP error of a router keeps the router's address",
        rules: None,
        is_it: |case, difference| {
            case.kind == Kind::Errors
                && matches!(difference, Difference::Reporter(here, _) if is_router(*here))
        },
    },
    Deviation {
        number: 41,
        what: "the checksum of a quoted SCTP packet stays; rules write that of the quoted part",
        rules: None,
        is_it: |case, difference| {
            case.kind == Kind::Errors
                && case.protocol == "sctp"
                && *difference == Difference::Checksum
        },
    },
    Deviation {
        number: 43,
        what: "the windows of TCP are not followed",
        rules: None,
        is_it: |case, difference| match case.kind {
            Kind::Window => *difference == Difference::Fate(Fate::Delivered, Fate::Dropped),
            Kind::Captured => matches!(difference, Difference::Invalid(_, false)),
            _ => false,
        },
    },
    Deviation {
        number: 42,
        what: "external frontends without endpoints are refused to nodes, too",
        rules: Some(Rules::Iptables),
        is_it: |case, difference| {
            case.from == "node-a"
                && case.service.endpoints.is_empty()
                && matches!(case.front, Front::External | Front::Balancer)
                && *difference == Difference::Fate(Fate::Refused, Fate::Dropped)
        },
    },
    Deviation {
        number: 39,
        what: "a TCP SYN with ACK, or FIN, to a frontend opens a connection",
        rules: None,
        is_it: |case, difference| match case.kind {
            Kind::Stray => *difference == Difference::Fate(Fate::Delivered, Fate::Dropped),
            Kind::Captured => matches!(difference, Difference::Invalid(0x11 | 0x12, true)),
            _ => false,
        },
    },
];

/// Whether an address is that of the routers that rows have errors from.
fn is_router(address: IpAddr) -> bool {
    ROUTERS.contains(&address)
}
