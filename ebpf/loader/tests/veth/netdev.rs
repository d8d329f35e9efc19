//! Real connections from outside and to it through the programs at tc.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::Duration;

use twinpath_control::tables::Mode;
use twinpath_core::checksum::sum;
use twinpath_core::parse::{Transport, parse};
use twinpath_kernel::attach::Method;
use twinpath_kernel::veth::VethWorld;
use twinpath_sim::cluster::Place;
use twinpath_sim::world::World as _;

use crate::outside::{
    BACK, BALANCER, FAR, FRONT, Host, Kind, LISTEN, NEAR, NOBODY, client, client_host, ip, node,
    open, pod_host,
};

/// From outside to pods and from pods to outside, whatever the way that programs are attached.
fn both_ways(kind: Kind) {
    let Some(world) = open(kind) else { return };
    for v6 in [false, true] {
        let asks = pod_host(&world, "web-b").serve(v6, LISTEN);
        let near_asks = pod_host(&world, "echo-a").serve(v6, LISTEN);
        let outside = client_host(&world, 0);
        let front = node(&world, FRONT, v6);
        let balancer = ip(BALANCER[usize::from(v6)]);

        let seen = if kind.mode == Mode::Snat { front } else { client(0, v6) };
        for to in [(front, FAR), (balancer, 80)] {
            if kind.mode != Mode::Snat {
                learn(&outside, to.into());
            }
            reached(&outside, to.into(), 100_000);
            assert_eq!(asks.try_iter().collect::<Vec<_>>(), [seen; 4], "{to:?}");
        }
        let to = SocketAddr::new(front, NEAR);
        reached(&outside, to, 100_000);
        assert_eq!(near_asks.try_iter().collect::<Vec<_>>(), [client(0, v6); 4], "{to}");

        refused(&outside, v6, (front, NOBODY).into());
        ping(&outside, v6, balancer, 56);
        egress(&world, v6);
        hairpin(&world, v6);
    }
}

/// TCP both ways, and datagrams: some, and one in fragments.
fn reached(outside: &Host<'_>, to: SocketAddr, length: usize) {
    outside.tcp_round_trip(to, length);
    let socket = outside.udp(to.is_ipv6(), 0);
    for length in [1, 1_000, 4_000] {
        outside.udp_round_trip(&socket, to, length);
    }
}

/// The first of the long fragments that a client sends has no room for what the backend's node is to be
/// told, and the client learns how long they may be.
fn learn(outside: &Host<'_>, to: SocketAddr) {
    let socket = outside.udp(to.is_ipv6(), 0);
    socket.send_to(&[0; 4_000], to).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert!(socket.recv(&mut [0; 8]).is_err());
}

/// What nobody serves is refused at once.
fn refused(outside: &Host<'_>, v6: bool, to: SocketAddr) {
    let error = outside.tcp(to).map(|_| ()).map_err(|error| error.kind());
    assert_eq!(error, Err(ErrorKind::ConnectionRefused), "{to}");
    let socket = outside.udp(v6, 0);
    socket.connect(to).unwrap();
    socket.send(b"anybody?").unwrap();
    let error = socket.recv(&mut [0; 8]).map_err(|error| error.kind());
    assert_eq!(error, Err(ErrorKind::ConnectionRefused), "{to}");
}

/// A pod without a public address reaches a server outside, which sees its node; even by `ping`.
fn egress(world: &VethWorld, v6: bool) {
    let asks = client_host(world, 0).serve(v6, 9_100);
    let to = SocketAddr::new(client(0, v6), 9_100);
    for (name, number) in [("client", FRONT), ("echo-b", BACK)] {
        let pod = pod_host(world, name);
        reached(&pod, to, 100_000);
        let seen = node(world, number, v6);
        assert_eq!(asks.try_iter().collect::<Vec<_>>(), [seen; 4], "{name}");
        ping(&pod, v6, to.ip(), 56);
    }
}

/// A pod reaches itself by its service.
fn hairpin(world: &VethWorld, v6: bool) {
    let pod = pod_host(world, "web-b");
    reached(&pod, (ip(["10.96.1.0", "fd00:10:96::1:0"][usize::from(v6)]), 80).into(), 100_000);
}

/// An ICMP echo that is answered by the address asked.
fn ping(from: &Host<'_>, v6: bool, to: std::net::IpAddr, length: usize) {
    let (family, protocol, kinds) = match v6 {
        false => (libc::AF_INET, libc::IPPROTO_ICMP, [8, 0]),
        true => (libc::AF_INET6, libc::IPPROTO_ICMPV6, [128, 129]),
    };
    // SAFETY: a plain system call.
    let open = || unsafe { libc::socket(family, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
    let file = from.namespace.run(open).unwrap();
    assert!(file >= 0);
    // SAFETY: the descriptor is new and nobody else's. A raw socket sends and receives as one for datagrams.
    let socket = unsafe { UdpSocket::from(OwnedFd::from_raw_fd(file)) };
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut message = vec![kinds[0], 0, 0, 0, 0x12, 0x34, 0, 1];
    message.resize(8 + length, 0xa5);
    let right = (!sum(&message)).to_ne_bytes();
    message[2..4].copy_from_slice(&right);
    socket.send_to(&message, SocketAddr::new(to, 0)).unwrap();
    let mut room = [0; 2_048];
    loop {
        let (_, source) = socket.recv_from(&mut room).unwrap_or_else(|e| panic!("{to}: {e}"));
        let header = if v6 { 0 } else { 20 };
        if room[header] == kinds[1] && source.ip() == to {
            assert_eq!(room[header + 4..header + 8 + length], message[4..]);
            return;
        }
    }
}

#[test]
fn links_carry_what_comes_from_outside_and_goes_there() {
    both_ways(Kind::tc(Method::Tcx));
}

#[test]
fn filters_carry_what_comes_from_outside_and_goes_there() {
    both_ways(Kind::tc(Method::Clsact));
}

#[test]
fn links_carry_what_is_answered_directly() {
    both_ways(Kind { mode: Mode::Dsr, ..Kind::tc(Method::Tcx) });
}

#[test]
fn xdp_and_links_carry_the_same() {
    both_ways(Kind::XDP);
}

/// A link behind the router takes smaller packets than the cluster's: the router says so to the frontend's
/// address, and the pod that sends learns it.
#[test]
fn a_pod_learns_of_a_narrow_link_behind_the_frontend() {
    for kind in [Kind::tc(Method::Tcx), Kind { mode: Mode::Dsr, ..Kind::tc(Method::Tcx) }] {
        let Some(mut world) = open(kind) else { return };
        for v6 in [false, true] {
            for (name, port) in [("web-b", FAR), ("echo-a", NEAR)] {
                let pod = pod_host(&world, name);
                let _asks = pod.serve(v6, LISTEN);
                let outside = client_host(&world, 1);
                // So that it offers to take more than its link does.
                outside.namespace.ip("link set eth0 mtu 1500\n").unwrap();
                let mut stream = outside.tcp((node(&world, FRONT, v6), port).into()).unwrap();
                // What is sent there fits, and comes back in one piece that does not.
                let piece = [7; 500];
                let mut back = [0; 500];
                for _ in 0..200 {
                    stream.write_all(&piece).unwrap();
                }
                for i in 0..200 {
                    let read = stream.read_exact(&mut back);
                    read.unwrap_or_else(|e| panic!("{name} {:?} {v6}: {i}: {e}", kind.mode));
                    assert_eq!(back, piece);
                }
                drop(stream);
                let number = crate::support::pod(world.topology(), name);
                let told = world.take_frames().unwrap().into_iter().any(|sighting| {
                    let parsed = parse(&sighting.frame).unwrap().unwrap();
                    sighting.place == Place::PodIn(number)
                        && parsed.transport == Transport::IcmpError
                });
                assert!(told, "{name} {:?} {v6}", kind.mode);
            }
        }
    }
}
