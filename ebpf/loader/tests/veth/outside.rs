//! A cluster with clients outside, and what their sockets and those of pods do.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use twinpath_control::model::State;
use twinpath_control::read::read;
use twinpath_control::tables::{self, Mode};
use twinpath_core::address::Address;
use twinpath_kernel::attach::Method;
use twinpath_kernel::veth::netns::Namespace;
use twinpath_kernel::veth::{Options, Stacks, Time, VethWorld};
use twinpath_sim::topology::{Attached, Topology};
use twinpath_sim::world::World as _;

use crate::support::{address, cluster_with, limits, pod, world};

/// The node that the clients ask, of two.
pub(crate) const FRONT: usize = 0;
/// The other one, with the pods that are far from it.
pub(crate) const BACK: usize = 1;

/// Node ports, TCP and UDP alike: of a pod on the other node, of one on this node that only its own node
/// serves, and of nobody.
pub(crate) const FAR: u16 = 31_000;
pub(crate) const NEAR: u16 = 31_010;
pub(crate) const NOBODY: u16 = 31_020;
/// Where pods listen.
pub(crate) const LISTEN: u16 = 9_000;
/// A load balancer's addresses, which the router has for the first node. Its port is 80.
pub(crate) const BALANCER: [&str; 2] = ["198.51.100.80", "2001:db8:51::80"];
const CLIENTS: [[&str; 2]; 2] =
    [["203.0.113.7", "2001:db8:7::7"], ["203.0.113.8", "2001:db8:7::8"]];
/// The second client's link takes no longer packets.
pub(crate) const NARROW: u32 = 1_300;

const PATIENCE: Option<Duration> = Some(Duration::from_secs(5));

/// What differs between clusters.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) xdp: bool,
    pub(crate) mode: Mode,
    pub(crate) method: Option<Method>,
    pub(crate) time: Time,
    /// Of the link between nodes. 0 for what it is, but the nodes are not told.
    pub(crate) mtu: u32,
}

impl Kind {
    pub(crate) const XDP: Self =
        Self { xdp: true, mode: Mode::Snat, method: None, time: Time::Real, mtu: 1_500 };

    pub(crate) const fn tc(method: Method) -> Self {
        Self { xdp: false, method: Some(method), ..Self::XDP }
    }
}

pub(crate) fn state() -> State {
    let mut objects = String::new();
    for (number, (name, port, pod, more)) in [
        ("far", FAR, Some("web-b"), "type: NodePort"),
        ("near", NEAR, Some("echo-a"), "{type: NodePort, externalTrafficPolicy: Local}"),
        ("nobody", NOBODY, None, "type: NodePort"),
        ("balancer", 31_030, Some("web-b"), "type: LoadBalancer"),
    ]
    .into_iter()
    .enumerate()
    {
        let more = more.trim_matches(['{', '}']).replace(", ", "\n  ");
        let [v4, v6] = BALANCER;
        let status = match name {
            "balancer" => format!("{{loadBalancer: {{ingress: [{{ip: {v4}}}, {{ip: '{v6}'}}]}}}}"),
            _ => "{}".to_owned(),
        };
        let _ = write!(
            objects,
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: default}}\nspec:\n  {more}\n  \
             ipFamilyPolicy: RequireDualStack\n  ipFamilies: [IPv4, IPv6]\n  \
             clusterIP: 10.96.1.{number}\n  clusterIPs: [10.96.1.{number}, 'fd00:10:96::1:{number}']\n  ports:\n  \
             - {{name: t, protocol: TCP, port: 80, targetPort: {LISTEN}, nodePort: {port}}}\n  \
             - {{name: u, protocol: UDP, port: 80, targetPort: {LISTEN}, nodePort: {port}}}\n\
             status: {status}\n---\n"
        );
        let Some(pod) = pod else { continue };
        let addresses = match pod {
            "web-b" => ["10.244.2.11", "fd00:10:244:2::11"],
            _ => ["10.244.1.13", "fd00:10:244:1::13"],
        };
        let node = if pod == "web-b" { "node-b" } else { "node-a" };
        for (family, address) in ["IPv4", "IPv6"].into_iter().zip(addresses) {
            let _ = write!(
                objects,
                "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {name}-{}\n  \
                 namespace: default\n  labels: {{kubernetes.io/service-name: {name}}}\naddressType: {family}\n\
                 ports: [{{name: t, protocol: TCP, port: {LISTEN}}}, {{name: u, protocol: UDP, port: {LISTEN}}}]\n\
                 endpoints:\n- addresses: ['{address}']\n  \
                 conditions: {{ready: true, serving: true, terminating: false}}\n  nodeName: {node}\n  \
                 targetRef: {{kind: Pod, namespace: default, name: {pod}}}\n---\n",
                family.to_lowercase()
            );
        }
    }
    cluster_with(read("services", objects.as_bytes()).unwrap())
}

pub(crate) fn options(kind: Kind) -> Options {
    Options {
        limits: limits(),
        tables: tables::Options {
            masquerade: true,
            mark: 0x0200_0000,
            mode: kind.mode,
            ..tables::Options::default()
        },
        time: kind.time,
        stacks: Stacks::Answering,
        method: kind.method,
        ..Options::default()
    }
}

/// The cluster, answering; `None` where this machine cannot have it.
pub(crate) fn open(kind: Kind) -> Option<VethWorld> {
    let state = state();
    let mut topology = Topology::new(&state);
    topology.mtu = kind.mtu;
    topology.attached = Attached { xdp: kind.xdp, to_netdev: true };
    let routes = BALANCER.map(|text| (Address::from(ip(text)), FRONT));
    topology.add_router(vec![ip("203.0.113.1"), ip("2001:db8:ffff::1")]).routes = routes.into();
    for (addresses, mtu) in CLIENTS.into_iter().zip([0, NARROW]) {
        topology.add_client(format!("client {mtu}"), addresses.map(ip).to_vec(), mtu);
    }
    world(&topology, &state, &options(kind))
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The address of a node.
pub(crate) fn node(world: &VethWorld, node: usize, v6: bool) -> IpAddr {
    *world.topology().nodes[node].addresses.iter().find(|ip| ip.is_ipv6() == v6).unwrap()
}

/// The address of a client.
pub(crate) fn client(client: usize, v6: bool) -> IpAddr {
    ip(CLIENTS[client][usize::from(v6)])
}

/// A stack with sockets.
pub(crate) struct Host<'a> {
    pub(crate) namespace: &'a Namespace,
    pub(crate) addresses: [IpAddr; 2],
}

pub(crate) fn client_host(world: &VethWorld, number: usize) -> Host<'_> {
    Host { namespace: world.client(number).unwrap(), addresses: CLIENTS[number].map(ip) }
}

pub(crate) fn pod_host<'a>(world: &'a VethWorld, name: &str) -> Host<'a> {
    let topology = world.topology();
    let number = pod(topology, name);
    Host {
        namespace: world.pod(number).unwrap(),
        addresses: [false, true].map(|v6| address(topology, number, v6)),
    }
}

impl Host<'_> {
    /// A socket for datagrams.
    pub(crate) fn udp(&self, v6: bool, port: u16) -> UdpSocket {
        let local = (self.addresses[usize::from(v6)], port);
        let socket = self.namespace.run(|| UdpSocket::bind(local)).unwrap().unwrap();
        socket.set_read_timeout(PATIENCE).unwrap();
        socket
    }

    /// A connection.
    pub(crate) fn tcp(&self, to: SocketAddr) -> std::io::Result<TcpStream> {
        let stream =
            self.namespace.run(|| TcpStream::connect_timeout(&to, PATIENCE.unwrap())).unwrap();
        stream.inspect(|stream| {
            stream.set_read_timeout(PATIENCE).unwrap();
            stream.set_write_timeout(PATIENCE).unwrap();
        })
    }

    /// Sends everything back, TCP and UDP; tells who asked.
    pub(crate) fn serve(&self, v6: bool, port: u16) -> Receiver<IpAddr> {
        let (asked, asks) = channel();
        let local = (self.addresses[usize::from(v6)], port);
        let listener = self.namespace.run(|| TcpListener::bind(local)).unwrap().unwrap();
        let tell = asked.clone();
        thread::spawn(move || {
            while let Ok((mut stream, from)) = listener.accept() {
                let _ = tell.send(from.ip());
                thread::spawn(move || {
                    let mut room = [0; 8_192];
                    while let Ok(length @ 1..) = stream.read(&mut room) {
                        if stream.write_all(&room[..length]).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        let socket = self.udp(v6, port);
        socket.set_read_timeout(None).unwrap();
        thread::spawn(move || {
            let mut room = [0; 65_536];
            while let Ok((length, from)) = socket.recv_from(&mut room) {
                let _ = asked.send(from.ip());
                let _ = socket.send_to(&room[..length], from);
            }
        });
        asks
    }

    /// One connection with data both ways at a time.
    pub(crate) fn tcp_round_trip(&self, to: SocketAddr, length: usize) {
        let data: Vec<u8> = (0..length).map(|i| (i * 31 / 7) as u8).collect();
        let mut stream = self.tcp(to).unwrap_or_else(|error| panic!("{to}: {error}"));
        assert_eq!(stream.peer_addr().unwrap(), to);
        let mut half = stream.try_clone().unwrap();
        let sent = data.clone();
        let writer = thread::spawn(move || {
            half.write_all(&sent).unwrap();
            half.shutdown(Shutdown::Write).unwrap();
        });
        let mut back = Vec::new();
        let read = stream.read_to_end(&mut back);
        assert!(read.is_ok() && back == data, "{} of {length} from {to}: {read:?}", back.len());
        writer.join().unwrap();
    }

    /// One datagram that is answered.
    pub(crate) fn udp_round_trip(&self, socket: &UdpSocket, to: SocketAddr, length: usize) {
        let data: Vec<u8> = (0..length).map(|i| (i * 31 / 7) as u8).collect();
        socket.send_to(&data, to).unwrap();
        let mut room = vec![0; 65_536];
        let answer = socket.recv_from(&mut room);
        let (got, from) = answer.unwrap_or_else(|error| panic!("{length} bytes, {to}: {error}"));
        assert_eq!(from, to);
        assert!(room[..got] == data, "{got} of {length}");
    }
}
