//! Real connections through the frontends, captured at every device. The simulator, given what each pod
//! sent, says what every other device saw.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::Duration;

use twinpath_kernel::attach::Method;
use twinpath_kernel::veth::watch::Sighting;
use twinpath_kernel::veth::{Options, Stacks, Time, VethWorld, cpu};
use twinpath_sim::cluster::Place;
use twinpath_sim::frame::Frame;
use twinpath_sim::topology::{PodIndex, Topology};
use twinpath_sim::world::World;

use crate::support::{SEED, address, cluster, limits, pod, simulator, world};

pub(crate) const WEB: [&str; 2] = ["10.96.0.80", "fd00:10:96::80"];
pub(crate) const ECHO: [&str; 2] = ["10.96.0.7", "fd00:10:96::7"];

/// How long a socket waits before a test fails.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(5));

/// Bytes that a TCP connection carries each way.
pub(crate) const BULK: usize = 200_000;

pub(crate) fn frontend(addresses: [&str; 2], v6: bool, port: u16) -> SocketAddr {
    SocketAddr::new(addresses[usize::from(v6)].parse().unwrap(), port)
}

/// A connection of a pod.
fn connect(world: &VethWorld, pod: PodIndex, to: SocketAddr) -> TcpStream {
    let stream = world.pod(pod).unwrap().run(|| TcpStream::connect_timeout(&to, PATIENCE.unwrap()));
    let stream = stream.unwrap().unwrap();
    stream.set_read_timeout(PATIENCE).unwrap();
    stream.set_write_timeout(PATIENCE).unwrap();
    stream
}

/// A datagram socket of a pod, at its own address.
pub(crate) fn datagrams(world: &VethWorld, pod: PodIndex, v6: bool, port: u16) -> UdpSocket {
    let local = address(world.topology(), pod, v6);
    let socket = world.pod(pod).unwrap().run(|| UdpSocket::bind((local, port))).unwrap().unwrap();
    socket.set_read_timeout(PATIENCE).unwrap();
    socket
}

/// Sends back what a connection brings, once it has brought all.
pub(crate) fn serve_tcp(world: &VethWorld, name: &str, v6: bool) {
    let pod = pod(world.topology(), name);
    let local = address(world.topology(), pod, v6);
    let listener = world.pod(pod).unwrap().run(|| TcpListener::bind((local, 8080)));
    let listener = listener.unwrap().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut all = Vec::new();
            if stream.read_to_end(&mut all).is_ok() {
                let _ = stream.write_all(&all);
            }
        }
    });
}

/// Sends every datagram back.
pub(crate) fn serve_udp(world: &VethWorld, name: &str, v6: bool) {
    let socket = datagrams(world, pod(world.topology(), name), v6, 7007);
    socket.set_read_timeout(None).unwrap();
    thread::spawn(move || {
        let mut room = [0; 65_536];
        while let Ok((length, from)) = socket.recv_from(&mut room) {
            let _ = socket.send_to(&room[..length], from);
        }
    });
}

/// Everything that was seen until a quarter of a second went by in silence.
pub(crate) fn settle(world: &mut VethWorld) -> Vec<Sighting> {
    let mut all = Vec::new();
    loop {
        let new = world.take_frames().unwrap();
        if new.is_empty() {
            return all;
        }
        all.extend(new);
        thread::sleep(Duration::from_millis(250));
    }
}

/// One connection with data both ways.
pub(crate) fn tcp_round_trip(world: &VethWorld, client: PodIndex, to: SocketAddr, length: usize) {
    let data: Vec<u8> = (0..length).map(|i| (i * 31 / 7) as u8).collect();
    let mut stream = connect(world, client, to);
    assert_eq!(stream.peer_addr().unwrap(), to);
    stream.write_all(&data).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    assert!(back == data, "{} bytes of {length} came back from {to}", back.len());
}

/// Datagrams of several sizes from one socket, each answered by the frontend.
fn udp_round_trip(world: &VethWorld, client: PodIndex, to: SocketAddr) {
    let socket = datagrams(world, client, to.is_ipv6(), 0);
    let mut room = [0; 65_536];
    for size in [0, 1, 2, 511, 512, 1_200, 1_452] {
        let data = vec![size as u8; size];
        socket.send_to(&data, to).unwrap();
        let (length, from) = socket.recv_from(&mut room).unwrap();
        assert_eq!(from, to);
        assert_eq!(room[..length], data);
    }
    // One send that is three datagrams: the kernel carries them as one frame.
    socket.connect(to).unwrap();
    assert_eq!(socket.peer_addr().unwrap(), to);
    let segment: libc::c_int = 500;
    // SAFETY: the option (`UDP_SEGMENT`) takes an `int`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw const segment).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    assert_eq!(result, 0);
    socket.send(&[7; 1_500]).unwrap();
    for _ in 0..3 {
        assert_eq!(socket.recv(&mut room).unwrap(), 500);
    }
}

/// Who sent frames to the client's node, of those pods.
fn senders(frames: &[Sighting], topology: &Topology, names: [&str; 2]) -> BTreeSet<PodIndex> {
    let wanted = names.map(|name| pod(topology, name));
    frames
        .iter()
        .filter_map(|sighting| match sighting.place {
            Place::PodOut(pod) if wanted.contains(&pod) => Some(pod),
            _ => None,
        })
        .collect()
}

/// Says what all other devices see, given what pods send, and compares. Returns how many frames of
/// how many bytes were equal, by place, and the largest.
fn compare(world: &mut VethWorld, frames: &[Sighting], options: &Options) -> usize {
    let state = cluster();
    let topology = world.topology().clone();
    let mut sim = simulator(&topology, &state, options);
    sim.set_time(5_000_000_000).unwrap();
    let mut expected: BTreeMap<Place, Vec<Frame>> = BTreeMap::new();
    let mut captured: BTreeMap<Place, Vec<Frame>> = BTreeMap::new();
    for sighting in frames {
        captured.entry(sighting.place).or_default().push(sighting.frame.clone());
        if let Place::PodOut(pod) = sighting.place {
            for (place, frame) in sim.send(pod, &sighting.frame).unwrap().seen {
                expected.entry(place).or_default().push(frame);
            }
        }
    }
    // Pods send at the same time, so only the frames of one sender to one receiver have an order.
    for frames in expected.values_mut().chain(captured.values_mut()) {
        frames.sort_by(|a, b| ends(a).cmp(ends(b)));
    }
    for (place, captured) in &captured {
        let expected = expected.get(place).map_or(&[][..], Vec::as_slice);
        for (i, (a, b)) in expected.iter().zip(captured).enumerate() {
            let head =
                |frame: &Frame| format!("{:02x?}", &frame.bytes[..frame.bytes.len().min(80)]);
            assert!(
                a == b,
                "{place:?}, frame {i}: simulator {} {} {}, kernel {} {} {}",
                a.bytes.len(),
                a.partial,
                head(a),
                b.bytes.len(),
                b.partial,
                head(b)
            );
        }
        assert_eq!(expected.len(), captured.len(), "{place:?}");
    }
    assert_eq!(expected.len(), captured.len());
    for node in 0..topology.nodes.len() {
        assert_eq!(sim.conntrack(node).unwrap(), world.conntrack(node).unwrap(), "node {node}");
    }
    captured.values().map(Vec::len).sum()
}

/// The bytes of a frame's addresses and ports, where there are no options.
pub(crate) fn ends(frame: &Frame) -> &[u8] {
    let place = if frame.bytes.get(12) == Some(&0x08) { 26..38 } else { 22..58 };
    frame.bytes.get(place).unwrap_or_default()
}

/// Connections through the frontends in a world whose programs are attached in one of two ways.
fn connections(method: Method, rounds: usize) {
    let state = cluster();
    let topology = Topology::new(&state);
    let options = Options {
        limits: limits(),
        time: Time::Virtual(SEED),
        stacks: Stacks::Answering,
        method: Some(method),
        ..Options::default()
    };
    let Some(mut world) = world(&topology, &state, &options) else { return };
    world.set_time(5_000_000_000).unwrap();
    cpu::stay_on_one().unwrap();
    for v6 in [false, true] {
        for side in ["a", "b"] {
            serve_tcp(&world, &format!("web-{side}"), v6);
            serve_udp(&world, &format!("echo-{side}"), v6);
        }
    }
    let client = pod(&topology, "client");
    let mut frames = Vec::new();
    for _ in 0..rounds {
        for v6 in [false, true] {
            tcp_round_trip(&world, client, frontend(WEB, v6, 80), BULK);
            tcp_round_trip(&world, client, frontend(WEB, v6, 80), 1);
            udp_round_trip(&world, client, frontend(ECHO, v6, 7));
        }
        frames.extend(world.take_frames().unwrap());
    }
    frames.extend(settle(&mut world));
    for names in [["web-a", "web-b"], ["echo-a", "echo-b"]] {
        let hit = senders(&frames, &topology, names);
        assert!(hit.len() == 2 || rounds < 4, "backends used: {hit:?} of {names:?}");
    }
    let equal = compare(&mut world, &frames, &options);
    assert_eq!(equal, frames.len());
    assert!(equal > 100 * rounds, "{equal} frames");
    let count = |wanted: &dyn Fn(&Frame) -> bool| {
        frames.iter().filter(|sighting| wanted(&sighting.frame)).count()
    };
    let (partial, large) =
        (count(&|frame| frame.partial), count(&|frame| frame.bytes.len() > 1_514));
    assert!(partial > 50 * rounds && large > 4 * rounds, "{partial} partial, {large} large");
    eprintln!("{method:?}: {equal} frames equal, {partial} with partial checksums, {large} large");
}

#[test]
fn connections_are_captured_as_the_simulator_says() {
    connections(Method::Tcx, 6);
}

#[test]
fn connections_pass_programs_that_are_filters() {
    connections(Method::Clsact, 1);
}

/// The kernel's clock and dice, as in production.
#[test]
fn connections_pass_on_real_time() {
    let state = cluster();
    let topology = Topology::new(&state);
    let options = Options {
        limits: limits(),
        time: Time::Real,
        stacks: Stacks::Answering,
        ..Options::default()
    };
    let Some(mut world) = world(&topology, &state, &options) else { return };
    let client = pod(&topology, "client");
    for v6 in [false, true] {
        for side in ["a", "b"] {
            serve_tcp(&world, &format!("web-{side}"), v6);
            serve_udp(&world, &format!("echo-{side}"), v6);
        }
        for _ in 0..20 {
            tcp_round_trip(&world, client, frontend(WEB, v6, 80), 10_000);
            udp_round_trip(&world, client, frontend(ECHO, v6, 7));
        }
    }
    let frames = settle(&mut world);
    for names in [["web-a", "web-b"], ["echo-a", "echo-b"]] {
        assert_eq!(senders(&frames, &topology, names).len(), 2, "{names:?}");
    }
    // No pod has seen an address that is not its own or its client's: the frontend's stays here.
    let frontends: Vec<IpAddr> =
        [WEB, ECHO].concat().iter().map(|text| text.parse().unwrap()).collect();
    for sighting in &frames {
        let parsed = twinpath_core::parse::parse(&sighting.frame).unwrap().unwrap();
        let ends = [parsed.tuple.source, parsed.tuple.destination].map(IpAddr::from);
        let at_client =
            matches!(sighting.place, Place::PodIn(pod) | Place::PodOut(pod) if pod == client);
        assert_eq!(ends.iter().any(|ip| frontends.contains(ip)), at_client, "{sighting:?}");
    }
}

/// What nobody serves is refused at once, by the frontend that the client asked.
#[test]
fn sockets_are_told_that_nobody_listens() {
    let state = cluster();
    let topology = Topology::new(&state);
    let options = Options {
        limits: limits(),
        time: Time::Real,
        stacks: Stacks::Answering,
        ..Options::default()
    };
    let Some(world) = world(&topology, &state, &options) else { return };
    let client = pod(&topology, "client");
    for v6 in [false, true] {
        let to = frontend(WEB, v6, 81);
        let refused = world
            .pod(client)
            .unwrap()
            .run(|| TcpStream::connect_timeout(&to, PATIENCE.unwrap()))
            .unwrap();
        let refused = refused.map_err(|error| error.kind()).err();
        assert_eq!(refused, Some(std::io::ErrorKind::ConnectionRefused), "{to}");
        let socket = datagrams(&world, client, v6, 31_000);
        socket.connect(to).unwrap();
        socket.send(b"anybody?").unwrap();
        let refused = socket.recv(&mut [0; 8]).map_err(|error| error.kind()).err();
        assert_eq!(refused, Some(std::io::ErrorKind::ConnectionRefused), "{to}");
    }
}
