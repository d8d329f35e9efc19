//! Programs are replaced under traffic, and not one packet is lost.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use twinpath_kernel::attach::Method;
use twinpath_kernel::veth::{Options, Stacks, Time, VethWorld};
use twinpath_sim::topology::Topology;

use crate::outside::{self, FAR, FRONT, Kind, LISTEN, client_host, pod_host};
use crate::sockets::{ECHO, datagrams, frontend, serve_udp};
use crate::support::{cluster, limits, pod, world};

/// How often the programs of all nodes are replaced.
const TIMES: usize = 1;

fn replace_under_traffic(method: Method) {
    let state = cluster();
    let topology = Topology::new(&state);
    let options = Options {
        limits: limits(),
        time: Time::Real,
        stacks: Stacks::Answering,
        method: Some(method),
        ..Options::default()
    };
    let Some(world) = world(&topology, &state, &options) else { return };
    for side in ["a", "b"] {
        serve_udp(&world, &format!("echo-{side}"), false);
    }
    // Enough sockets that both backends have some.
    let client = pod(&topology, "client");
    let sockets: Vec<_> = (0..8).map(|_| datagrams(&world, client, false, 0)).collect();
    replace(world, &sockets, frontend(ECHO, false, 7));
}

/// Replaces the programs of all nodes while sockets ask and are answered.
fn replace(mut world: VethWorld, sockets: &[UdpSocket], to: SocketAddr) {
    let done = AtomicBool::new(false);
    let (sent, lost) = thread::scope(|scope| {
        let traffic = scope.spawn(|| {
            let (mut sent, mut lost) = (0_u64, 0_u64);
            let mut room = [0; 16];
            while !done.load(Ordering::Relaxed) {
                for socket in sockets {
                    socket.send_to(&sent.to_ne_bytes(), to).unwrap();
                    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
                    let answered = socket.recv_from(&mut room);
                    let right = answered.is_ok_and(|(length, from)| {
                        from == to && room[..length] == sent.to_ne_bytes()
                    });
                    lost += u64::from(!right);
                    sent += 1;
                }
                thread::sleep(Duration::from_micros(200));
            }
            (sent, lost)
        });
        let start = Instant::now();
        let replaced = (0..TIMES).try_for_each(|_| {
            thread::sleep(Duration::from_millis(50));
            world.replace_programs()
        });
        eprintln!("replaced {TIMES} times in {:?}", start.elapsed());
        thread::sleep(Duration::from_millis(50));
        done.store(true, Ordering::Relaxed);
        replaced.unwrap();
        traffic.join().unwrap()
    });
    assert_eq!(lost, 0, "of {sent}");
    assert!(sent > 1_000, "{sent} sent");
    eprintln!("{sent} datagrams answered");
}

#[test]
fn replacing_links_loses_no_packet() {
    replace_under_traffic(Method::Tcx);
}

#[test]
fn replacing_filters_loses_no_packet() {
    replace_under_traffic(Method::Clsact);
}

/// From outside to a pod on the other node: most packets by XDP, the first of each socket and one a second
/// by every stage.
#[test]
fn replacing_programs_at_xdp_loses_no_packet() {
    let Some(world) = outside::open(Kind::XDP) else { return };
    let _asks = pod_host(&world, "web-b").serve(false, LISTEN);
    let client = client_host(&world, 0);
    let sockets: Vec<_> = (0..8).map(|_| client.udp(false, 0)).collect();
    let to = SocketAddr::new(outside::node(&world, FRONT, false), FAR);
    replace(world, &sockets, to);
}
