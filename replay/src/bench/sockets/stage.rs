//! A lab with sockets in it.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use twinpath_kernel::cgroup::BareSockets;
use twinpath_kernel::veth::cpu;
use twinpath_kernel::veth::netns::Namespace;
use twinpath_sim::world::WorldError;

use super::Setting;
use super::client::{Road, Round, Seen};
use super::ports::Ports;
use super::server::Server;
use super::translated::{of_cgroup, translated};
use crate::bench::cluster::{self, CLIENT, FAR_ADDRESS, LOCAL, OUTSIDE, POD_PORT, REMOTE};
use crate::bench::lab::{Hook, Lab, UPLINK, failed};
use crate::bench::live::Path;
use crate::bench::result::Measure;
use crate::bench::subject::Subject;

/// A lab with sockets in it.
pub struct Stage {
    /// Whose it is.
    pub subject: Subject,
    /// Where it translates: `tc` or `socket`.
    pub hook: &'static str,
    /// How many services there are.
    pub services: u32,
    clients: [(Ipv4Addr, Namespace); 2],
    tcp: [Ports; 2],
    udp: [Ports; 2],
    local: Vec<Server>,
    remote: Vec<Server>,
    bare: Option<BareSockets>,
    _lab: Option<Lab>,
}

impl Stage {
    /// Opens sockets in a lab, in which no live frames are sent while these are there: its connections are
    /// forgotten.
    pub fn new(lab: &mut Lab) -> Result<Self, WorldError> {
        lab.rest();
        lab.forget()?;
        // All that is beyond the node is one namespace: the other node is reached as the router is.
        lab.node.ip(&format!(
            "neigh replace {FAR_ADDRESS} lladdr {} dev {UPLINK} nud permanent\n",
            lab.link()?.2.map(|byte| format!("{byte:02x}")).join(":")
        ))?;
        let open = |namespaces: [&Namespace; 2], addresses: [Ipv4Addr; 2]| {
            let both = namespaces.into_iter().zip(addresses);
            both.map(|(namespace, address)| Server::new(namespace, address, POD_PORT)).collect()
        };
        let local: Result<Vec<_>, WorldError> = open(lab.backends.each_ref(), LOCAL);
        let remote: Result<Vec<_>, WorldError> = open([&lab.router, &lab.router], REMOTE);
        Ok(Self {
            subject: lab.subject,
            hook: lab.hook.name(),
            services: lab.services,
            clients: [(CLIENT, lab.client.try_clone()?), (OUTSIDE, lab.router.try_clone()?)],
            tcp: [Ports::new(), Ports::new()],
            udp: [Ports::new(), Ports::new()],
            local: local?,
            remote: remote?,
            bare: None,
            _lab: None,
        })
    }

    /// A lab of its own in which the client's sockets are translated, and packets only forwarded.
    pub fn with_sockets_translated(services: u32) -> Result<Self, WorldError> {
        let mut lab = Lab::new(Subject::Forward, Hook::Tc, services)?;
        let mut stage = Self::new(&mut lab)?;
        stage.subject = Subject::Bare;
        stage.hook = "socket";
        stage.bare = Some(translated(&cluster::state(services)).map_err(of_cgroup)?);
        stage._lab = Some(lab);
        Ok(stage)
    }

    /// Opens one connection, and has one datagram answered: how the ends see each other.
    pub fn look(&mut self, path: Path) -> Result<Seen, WorldError> {
        let place = usize::from(path.is_from_outside());
        let ([tcp], [udp]) = (take(&mut self.tcp, place)?, take(&mut self.udp, place)?);
        self.run(path, |road| road.look(tcp, udp))
    }

    /// One round. It lasts as long as the setting says, and is done then or fails.
    pub(super) fn measure(&mut self, setting: &Setting) -> Result<Round, WorldError> {
        let Setting { measure, path, connections, time } = *setting;
        let place = usize::from(path.is_from_outside());
        match measure {
            Measure::FirstPacket => {
                let ports = pool(&mut self.udp, place)?.take(connections)?;
                self.run(path, |road| road.first_packets(&ports))
            }
            Measure::Connect => {
                let ports = pool(&mut self.tcp, place)?.take(connections)?;
                self.run(path, |road| road.connects(&ports))
            }
            Measure::ConnectRate => {
                let ports = pool(&mut self.tcp, place)?.take(connections)?;
                self.run(path, |road| road.connect_rate(&ports))
            }
            Measure::RoundTrip => {
                let [port] = take(&mut self.tcp, place)?;
                self.run(path, |road| road.round_trips(port, time))
            }
            Measure::Throughput => {
                let [port] = take(&mut self.tcp, place)?;
                self.run(path, |road| road.throughput(port, time))
            }
            other => Err(failed(format!("{other:?} is not measured with sockets"))),
        }
    }

    /// Does something on a client's thread, which is on one CPU and in the control group, if there is one.
    fn run<T: Send>(
        &self,
        path: Path,
        job: impl FnOnce(&Road<'_>) -> io::Result<T> + Send,
    ) -> Result<T, WorldError> {
        let outside = path.is_from_outside();
        let (source, namespace) = &self.clients[usize::from(outside)];
        let servers = if path == Path::ClusterLocal { &self.local } else { &self.remote };
        let port = path.port();
        let to = match self.subject {
            Subject::Forward => SocketAddrV4::new(port.served_by()[0], POD_PORT),
            _ if outside => port.node(),
            _ => port.cluster(),
        };
        let group = self.bare.as_ref().map(BareSockets::group);
        let road = Road { source: *source, to, servers };
        let done = namespace.run(|| {
            cpu::stay_on_one().map_err(failed)?;
            if let Some(group) = group {
                group.enter().map_err(of_cgroup)?;
            }
            job(&road).map_err(|error| {
                failed(format!(
                    "{} with {} services, {} to {to}: {error}",
                    self.subject,
                    self.services,
                    path.name()
                ))
            })
        });
        done?
    }

    /// The folder of the control group, where there is one.
    pub fn group(&self) -> Option<&std::path::Path> {
        self.bare.as_ref().map(|bare| bare.group().path())
    }
}

fn pool(pools: &mut [Ports; 2], place: usize) -> Result<&mut Ports, WorldError> {
    pools.get_mut(place).ok_or_else(|| failed("no such client"))
}

fn take(pools: &mut [Ports; 2], place: usize) -> Result<[u16; 1], WorldError> {
    let port = pool(pools, place)?.take(1)?;
    port.try_into().map_err(|_| failed("no port"))
}
