//! `sessionAffinity: ClientIP`: a client keeps its backend from one connection to the next.

use super::script::{LOCAL, REMOTE, SECOND, World, both};
use crate::service::{Algorithm, Member, Scope, Service, flag};

const TIMEOUT: u32 = 60;

/// Both backends and affinity, for a frontend and a service.
fn expose(world: &mut World, name: &str, service: u32, backends: &[&str]) {
    for scope in Scope::ALL {
        world.expose((name, 80), scope, service, backends, |master| master.affinity = TIMEOUT);
    }
}

/// The backend of a client's next connection, where the dice would say `draw`.
fn next(world: &mut World, client: &str, port: u16, frontend: &str, draw: u32) -> &'static str {
    world.node.host.draws = vec![draw];
    let way = match client {
        "client" => "pod 10",
        "local" => "pod 11",
        _ => "netdev",
    };
    let sent = world.send(&format!("{way}: udp {client}:{port} > {frontend}:80"));
    assert!(sent.contains("NEW"), "{sent}");
    if sent.contains("> local:") { "local" } else { "remote" }
}

#[test]
fn the_same_client_the_same_backend() {
    both(|world| {
        expose(world, "lb", 9, &["local", "remote"]);
        for port in 1..10 {
            assert_eq!(
                next(world, "client", port, "lb", if port == 1 { REMOTE } else { LOCAL }),
                "remote"
            );
            assert_eq!(
                next(world, "outside", port, "lb", if port == 1 { LOCAL } else { REMOTE }),
                "local"
            );
        }
        assert_eq!(world.node.affinities.entries.len(), 2);
    });
}

#[test]
fn without_it_the_dice_say() {
    both(|world| {
        world.serve("lb", 9, &["local", "remote"]);
        assert_eq!(next(world, "client", 1, "lb", REMOTE), "remote");
        assert_eq!(next(world, "client", 2, "lb", LOCAL), "local");
        assert!(world.node.affinities.entries.is_empty());
    });
}

#[test]
fn the_last_second_does_not_count() {
    let timeout = u64::from(TIMEOUT) * SECOND;
    for (idle, expected) in [(timeout - 1, "remote"), (timeout, "local")] {
        both(|world| {
            expose(world, "lb", 9, &["local", "remote"]);
            assert_eq!(next(world, "client", 1, "lb", REMOTE), "remote");
            world.wait(idle);
            assert_eq!(next(world, "client", 2, "lb", LOCAL), expected, "after {idle} ns");
            // Each new connection counts from anew.
            world.wait(timeout - 1);
            let other = if expected == "local" { REMOTE } else { LOCAL };
            assert_eq!(next(world, "client", 3, "lb", other), expected);
        });
    }
}

#[test]
fn a_backend_that_is_gone_or_not_for_this_scope() {
    both(|world| {
        expose(world, "lb", 9, &["local", "remote"]);
        assert_eq!(next(world, "client", 1, "lb", REMOTE), "remote");
        world.terminate("remote");
        expose(world, "lb", 9, &["local"]);
        assert_eq!(next(world, "client", 2, "lb", LOCAL), "local");
        // And it stays there when the other one is back.
        expose(world, "lb", 9, &["local", "remote"]);
        assert_eq!(next(world, "client", 3, "lb", REMOTE), "local");
    });
    both(|world| {
        expose(world, "lb", 9, &["local", "remote"]);
        assert_eq!(next(world, "outside", 1, "lb", REMOTE), "remote");
        world
            .expose(("lb", 80), Scope::External, 9, &["local"], |master| master.affinity = TIMEOUT);
        assert_eq!(next(world, "outside", 2, "lb", LOCAL), "local");
    });
}

#[test]
fn a_backend_that_the_policy_of_the_frontend_leaves_out() {
    // As at a cluster address under `internalTrafficPolicy: Local`, beside a node port under `Cluster`.
    both(|world| {
        expose(world, "lb", 9, &["local", "remote"]);
        world.expose(("vip2", 80), Scope::Internal, 9, &["local"], |master| {
            master.affinity = TIMEOUT;
            master.flags = flag::LOCAL;
        });
        let bits = [("local", 0b1111), ("remote", 0b0111)];
        for (name, bits) in bits {
            let member = Member { service: 9, backend: world.backend(name) };
            world.node.members.entries.insert(member, bits);
        }
        assert_eq!(next(world, "client", 1, "lb", REMOTE), "remote");
        assert_eq!(next(world, "client", 2, "vip2", LOCAL), "local");
        // What it got then it keeps.
        assert_eq!(next(world, "client", 3, "lb", REMOTE), "local");
    });
    // And one that is going, whom only `Local` still takes.
    both(|world| {
        expose(world, "lb", 9, &["remote"]);
        world.expose(("vip2", 80), Scope::Internal, 9, &["local"], |master| {
            master.affinity = TIMEOUT;
            master.flags = flag::LOCAL;
        });
        let member = |name| Member { service: 9, backend: world.backend(name) };
        let (local, remote) = (member("local"), member("remote"));
        world.node.members.entries.extend([(local, 0b1001), (remote, 0b0111)]);
        assert_eq!(next(world, "client", 1, "vip2", LOCAL), "local");
        assert_eq!(next(world, "client", 2, "lb", LOCAL), "remote");
    });
}

#[test]
fn a_packet_that_goes_no_further_leaves_none() {
    both(|world| {
        expose(world, "lb", 9, &["local", "remote"]);
        for sent in ["tcp client:1 > lb:80 R", "udp client:1 > lb:80 ttl 1"] {
            let came = world.send(&format!("pod 10: {sent}"));
            assert!(!came.contains("NEW"), "{came}");
            assert!(world.node.affinities.entries.is_empty(), "{sent}");
        }
        assert_eq!(next(world, "client", 1, "lb", REMOTE), "remote");
        let was = world.node.affinities.entries.clone();
        world.wait(SECOND);
        for sent in ["tcp client:2 > lb:80 R", "udp client:2 > lb:80 ttl 1"] {
            world.send(&format!("pod 10: {sent}"));
        }
        assert_eq!(world.node.affinities.entries, was);
    });
}

#[test]
fn each_service_port_has_its_own() {
    both(|world| {
        expose(world, "lb", 9, &["local", "remote"]);
        expose(world, "lb2", 8, &["local", "remote"]);
        assert_eq!(next(world, "client", 1, "lb", REMOTE), "remote");
        assert_eq!(next(world, "client", 2, "lb2", LOCAL), "local");
        assert_eq!(next(world, "client", 3, "lb", LOCAL), "remote");
        // Frontends of one service port share it.
        expose(world, "vip2", 9, &["local", "remote"]);
        assert_eq!(next(world, "client", 4, "vip2", LOCAL), "remote");
    });
}

#[test]
fn a_full_table_costs_only_the_affinity() {
    both(|world| {
        expose(world, "lb", 9, &["local", "remote"]);
        world.node.affinities.room = 0;
        assert_eq!(next(world, "client", 1, "lb", REMOTE), "remote");
        assert_eq!(next(world, "client", 2, "lb", LOCAL), "local");
    });
}

#[test]
fn maglev_leaves_the_client_s_port_out() {
    // All nodes give a client the same backend, without telling each other.
    let by_maglev = |master: &mut Service| master.algorithm = Algorithm::Maglev as u8;
    for (affinity, one) in [(TIMEOUT, true), (0, false)] {
        both(|world| {
            let ids = [world.backend("local"), world.backend("remote")];
            let slice = (0..7).map(|i| (i, ids[i as usize % 2]));
            world.node.maglev.entries.extend(slice);
            world.expose(("lb", 80), Scope::External, 9, &["local", "remote"], |master| {
                by_maglev(master);
                master.affinity = affinity;
            });
            let backends: Vec<_> = (1..40)
                .map(|port| {
                    world.node.affinities.entries.clear(); // another node
                    next(world, "outside", port, "lb", 0)
                })
                .collect();
            assert_eq!(backends.iter().all(|b| *b == backends[0]), one, "{backends:?}");
        });
    }
}
