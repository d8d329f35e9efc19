//! Clients outside the cluster and frontends for them: node ports, external addresses, load balancers.

use super::script::{World, both};
use crate::hook::Answer;
use crate::range::{RangeKey, SERVICE_RANGE};
use crate::seam::Metric;
use crate::service::{Scope, flag};

/// A service for both scopes on `lb:80`, and on the node port 30080.
fn expose(world: &mut World, backends: &[&str]) {
    for scope in Scope::ALL {
        world.expose(("lb", 80), scope, 9, backends, |_| {});
        world.expose(("any", 30080), scope, 10, backends, |_| {});
    }
}

#[test]
fn a_local_backend_sees_the_client() {
    for (frontend, service) in [("lb:80", 9), ("node:30080", 10)] {
        both(|world| {
            expose(world, &["local"]);
            for p in ["tcp", "udp"] {
                let [syn, syn_ack, ack] = if p == "tcp" { [" S", " SA", " A"] } else { [""; 3] };
                let to = format!("netdev: {p} outside:50 > {frontend}");
                let back = format!("pod 11: {p} local:8080 > outside:50");
                let there = format!("pod 11: {p} outside:50 > local:8080");
                let left = format!("netdev: {p} {frontend} > outside:50, REPLY of {service}");
                world.play(&[
                    (&(to.clone() + syn), &format!("{there}, NEW of {service}")),
                    (&(back.clone() + syn_ack), &left),
                    (&(to + ack), &format!("{there}, ESTABLISHED of {service}")),
                    (&(back + ack), &left),
                ]);
            }
        });
    }
}

#[test]
fn a_remote_backend_sees_this_node() {
    for (frontend, service) in [("lb:80", 9), ("node:30080", 10)] {
        both(|world| {
            expose(world, &["remote"]);
            for p in ["tcp", "udp"] {
                let [syn, syn_ack, ack] = if p == "tcp" { [" S", " SA", " A"] } else { [""; 3] };
                let to = format!("netdev: {p} outside:50000 > {frontend}");
                let back = format!("netdev: {p} remote:8080 > node:50000");
                let there = format!("netdev: {p} node:50000 > remote:8080");
                let left = format!("netdev: {p} {frontend} > outside:50000, REPLY of {service}");
                world.play(&[
                    (&(to.clone() + syn), &format!("{there}, NEW of {service}")),
                    (&(back.clone() + syn_ack), &left),
                    (&(to + ack), &format!("{there}, ESTABLISHED of {service}")),
                    (&(back + ack), &left),
                ]);
            }
            assert_eq!(world.entries(), 4);
        });
    }
}

#[test]
fn without_an_uplink_the_way_back_is_the_device_it_came_by() {
    both(|world| {
        expose(world, &["remote"]);
        world.node.config.uplink = 0;
        world.play(&[
            ("netdev: udp outside:50000 > lb:80", "netdev: udp node:50000 > remote:8080, NEW of 9"),
            (
                "netdev: udp remote:8080 > node:50000",
                "netdev: udp lb:80 > outside:50000, REPLY of 9",
            ),
        ]);
    });
}

#[test]
fn without_an_address_nothing_is_sent_on() {
    both(|world| {
        expose(world, &["remote"]);
        world.node.config.address4 = crate::address::Address::UNSPECIFIED;
        world.node.config.address6 = crate::address::Address::UNSPECIFIED;
        world.play(&[("netdev: udp outside:50000 > lb:80", "NO_MAPPING_FOR_NAT_MASQUERADE")]);
    });
}

#[test]
fn a_host_network_backend_answers_under_its_frontend() {
    both(|world| {
        expose(world, &["node"]);
        world.play(&[
            ("netdev: tcp outside:50 > lb:80 S", "stack: tcp outside:50 > node:8080, NEW of 9"),
            ("node: tcp node:8080 > outside:50 SA", "netdev: tcp lb:80 > outside:50, REPLY of 9"),
            (
                "netdev: tcp outside:50 > lb:80 A",
                "stack: tcp outside:50 > node:8080, ESTABLISHED of 9",
            ),
            ("node: tcp node:8080 > outside:50 A", "netdev: tcp lb:80 > outside:50, REPLY of 9"),
        ]);
    });
}

#[test]
fn each_scope_has_its_own_backends() {
    // externalTrafficPolicy and internalTrafficPolicy in all four combinations; a policy that is Local
    // leaves only this node's backends.
    for etp in [&["local", "remote"][..], &["local"]] {
        for itp in [&["local", "remote"][..], &["local"]] {
            both(|world| {
                world.expose(("lb", 80), Scope::External, 9, etp, |_| {});
                world.expose(("lb", 80), Scope::Internal, 9, itp, |_| {});
                // The last slot of each.
                world.node.host.draws = vec![u32::MAX];
                let outside = world.send("netdev: udp outside:50000 > lb:80");
                assert_eq!(outside.contains("remote"), etp.len() == 2, "{outside}");
                world.node.host.draws = vec![u32::MAX];
                let inside = world.send("pod 10: udp client:1 > lb:80");
                assert_eq!(inside.contains("remote"), itp.len() == 2, "{inside}");
                // Another epoch does not move what is fit in its own scope.
                world.node.config.epoch += 1;
                world.node.host.draws = vec![0; 4];
                let later = world.send("netdev: udp outside:50000 > lb:80");
                assert_eq!(later, outside.replace("NEW", "ESTABLISHED"));
                let later = world.send("pod 10: udp client:1 > lb:80");
                assert_eq!(later, inside.replace("NEW", "ESTABLISHED"));
            });
        }
    }
}

#[test]
fn a_backend_that_left_one_scope_stays_in_the_other() {
    both(|world| {
        expose(world, &["local", "remote"]);
        world.play_drawing(
            &[0, 0],
            &[
                ("netdev: udp outside:50 > lb:80", "pod 11: udp outside:50 > local:8080, NEW of 9"),
                ("pod 10: udp client:50 > lb:80", "pod 11: udp client:50 > local:8080, NEW of 9"),
            ],
        );
        world.expose(("lb", 80), Scope::External, 9, &["remote"], |_| {});
        world.play(&[
            ("netdev: udp outside:50 > lb:80", "netdev: udp node:?a > remote:8080, REOPENED of 9"),
            (
                "pod 10: udp client:50 > lb:80",
                "pod 11: udp client:50 > local:8080, ESTABLISHED of 9",
            ),
        ]);
    });
}

#[test]
fn backends_elsewhere_or_nowhere() {
    // A sender is told only where there is none at all.
    for (flags, answer) in [(flag::ELSEWHERE, Answer::None), (0, Answer::PortUnreachable)] {
        both(|world| {
            world.expose(("lb", 80), Scope::External, 9, &[], |master| master.flags |= flags);
            world.expose(("lb", 80), Scope::Internal, 9, &["local"], |_| {});
            world.play(&[
                ("netdev: tcp outside:50 > lb:80 S", "SERVICE_BACKEND_NOT_FOUND"),
                ("netdev: udp outside:50 > lb:80", "SERVICE_BACKEND_NOT_FOUND"),
            ]);
            assert_eq!(world.answer(), answer);
            world.play(&[(
                "pod 10: tcp client:1 > lb:80 S",
                "pod 11: tcp client:1 > local:8080, NEW of 9",
            )]);
        });
    }
}

#[test]
fn source_ranges() {
    both(|world| {
        let ranges = |master: &mut crate::service::Service| master.flags |= flag::SOURCE_RANGES;
        world.expose(("lb", 80), Scope::External, 9, &["local"], ranges);
        world.expose(("lb2", 80), Scope::External, 8, &["local"], |_| {});
        let denied = "DENIED_BY_LB_SRC_RANGE_CHECK";
        world.play(&[("netdev: udp outside:1 > lb:80", denied)]);
        assert_eq!(world.answer(), Answer::None);
        let (address, length) = (world.address("outside"), if world.family.v4 { 24 } else { 64 });
        world.node.ranges.0.push(RangeKey::range(8, address, length)); // another service's
        world.play(&[("netdev: udp outside:1 > lb:80", denied)]);
        world.node.ranges.0.push(RangeKey::range(9, address, length));
        world.play(&[
            ("netdev: udp outside:1 > lb:80", "pod 11: udp outside:1 > local:8080, NEW of 9"),
            ("netdev: udp far:1 > lb:80", denied),
            ("netdev: udp far:1 > lb2:80", "pod 11: udp far:1 > local:8080, NEW of 8"),
        ]);
    });
}

#[test]
fn addresses_that_are_for_the_cluster_or_for_nobody() {
    both(|world| {
        let (address, length) = (world.address("vip2"), if world.family.v4 { 24 } else { 112 });
        world.node.ranges.0.push(RangeKey::range(SERVICE_RANGE, address, length));
        for (packet, reason, answer) in [
            ("netdev: tcp outside:1 > vip:80 S", "IS_CLUSTER_IP", Answer::None),
            ("netdev: tcp outside:1 > vip:81 S", "SERVICE_PORT_NOT_FOUND", Answer::PortUnreachable),
            ("netdev: tcp outside:1 > vip2:80 S", "SERVICE_ADDRESS_NOT_FOUND", Answer::None),
            ("pod 10: udp client:1 > vip2:80", "SERVICE_ADDRESS_NOT_FOUND", Answer::None),
            ("node: udp node:1 > vip2:80", "SERVICE_ADDRESS_NOT_FOUND", Answer::None),
        ] {
            world.play(&[(packet, reason)]);
            assert_eq!(world.answer(), answer, "{packet}");
        }
        let reasons = [
            crate::drop_reason::DropReason::IsClusterIp,
            crate::drop_reason::DropReason::ServiceAddressNotFound,
        ];
        assert_eq!(reasons.map(|reason| world.counted(Metric::drop(reason))), [1, 3]);
    });
}

#[test]
fn node_ports_of_this_node_and_another() {
    both(|world| {
        expose(world, &["local"]);
        world.play(&[
            // From inside, every node's port is as good as this one's.
            ("pod 10: udp client:1 > node:30080", "pod 11: udp client:1 > local:8080, NEW of 10"),
            ("pod 10: udp client:2 > node2:30080", "pod 11: udp client:2 > local:8080, NEW of 10"),
            (
                "pod 11: udp local:8080 > client:2",
                "pod 10: udp node2:30080 > client:2, REPLY of 10",
            ),
            ("node: udp node:3 > node2:30080", "pod 11: udp node:3 > local:8080, NEW of 10"),
            // From outside, what goes to another node only passes by.
            ("netdev: udp outside:1 > node2:30080", "stack: udp outside:1 > node2:30080, NEW"),
            ("netdev: udp outside:1 > node:30080", "pod 11: udp outside:1 > local:8080, NEW of 10"),
            // A node port is no port of a pod, and other ports are the node's own.
            ("netdev: udp outside:1 > local:30080", "pod 11: udp outside:1 > local:30080, NEW"),
            ("pod 10: udp client:4 > far:30080", "stack: udp client:4 > far:30080, NEW"),
            ("netdev: udp outside:1 > node:30081", "stack: udp outside:1 > node:30081, NEW"),
            ("pod 10: udp client:5 > node:30081", "stack: udp client:5 > node:30081, NEW"),
        ]);
    });
}

#[test]
fn a_frontend_on_a_node_s_address_goes_before_node_ports() {
    // externalIPs may name a node's address.
    both(|world| {
        expose(world, &["local"]);
        world.expose(("node", 30080), Scope::External, 8, &["remote"], |_| {});
        world.play(&[
            (
                "netdev: udp outside:50000 > node:30080",
                "netdev: udp node:50000 > remote:8080, NEW of 8",
            ),
            ("pod 10: udp client:1 > node:30080", "pod 11: udp client:1 > local:8080, NEW of 10"),
        ]);
    });
}

#[test]
fn the_node_itself_is_a_client() {
    both(|world| {
        world.serve("vip", 7, &["local", "remote"]);
        world.play_drawing(
            &[0, u32::MAX],
            &[
                (
                    "node: tcp node:40000 > vip:80 S",
                    "pod 11: tcp node:40000 > local:8080, NEW of 7",
                ),
                (
                    "pod 11: tcp local:8080 > node:40000 SA",
                    "stack: tcp vip:80 > node:40000, REPLY of 7",
                ),
                (
                    "node: tcp node:40000 > vip:80 A",
                    "pod 11: tcp node:40000 > local:8080, ESTABLISHED of 7",
                ),
                (
                    "node: tcp node:40001 > vip:80 S",
                    "netdev: tcp node:40001 > remote:8080, NEW of 7",
                ),
                (
                    "netdev: tcp remote:8080 > node:40001 SA",
                    "stack: tcp vip:80 > node:40001, REPLY of 7",
                ),
                (
                    "node: tcp node:40001 > vip:80 A",
                    "netdev: tcp node:40001 > remote:8080, ESTABLISHED of 7",
                ),
                // Its port is its own, whatever range others are given.
                ("node: udp node:5 > far:53", "stack: udp node:5 > far:53, NEW"),
                ("netdev: udp far:53 > node:5", "stack: udp far:53 > node:5, REPLY"),
                ("node: tcp node:40002 > vip:81 S", "SERVICE_PORT_NOT_FOUND"),
            ],
        );
    });
}

#[test]
fn a_client_that_comes_by_a_pod_uses_the_inner_scope() {
    both(|world| {
        world.expose(("lb", 80), Scope::External, 9, &["remote"], |_| {});
        world.play(&[("pod 10: udp client:1 > lb:80", "SERVICE_PORT_NOT_FOUND")]);
        world.expose(("lb", 80), Scope::Internal, 9, &["remote"], |_| {});
        // No masquerade from inside: a pod's address is known everywhere.
        world.play(&[
            ("pod 10: udp client:1 > lb:80", "netdev: udp client:1 > remote:8080, NEW of 9"),
            ("netdev: udp remote:8080 > client:1", "pod 10: udp lb:80 > client:1, REPLY of 9"),
        ]);
    });
}

#[test]
fn what_came_round_by_the_stack_leaves_as_it_is() {
    // The way to a remote backend is the stack's: the packet meets its own reply tuple at the device.
    both(|world| {
        world.node.config.uplink = 0;
        world.serve("vip", 7, &["remote"]);
        world.play(&[
            ("pod 10: tcp client:1 > vip:80 S", "stack: tcp client:1 > remote:8080, NEW of 7"),
            ("node: tcp client:1 > remote:8080 S", "stack: tcp client:1 > remote:8080, UNTRACKED"),
            ("netdev: tcp remote:8080 > client:1 SA", "pod 10: tcp vip:80 > client:1, REPLY of 7"),
        ]);
        assert_eq!(world.entries(), 2);
    });
}
