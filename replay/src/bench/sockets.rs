//! Measurements with real sockets: what a process sees of its way to a service.
//!
//! One thread on one CPU has the sockets of client and server, and nobody waits at them: what a call starts
//! is carried through both stacks and everything in between before the call returns. So figures are the
//! work of both ends and of the way, and not how soon a scheduler wakes somebody up, which is the same for
//! all and far larger. Client ports are never used twice in a lab, since a port that was used meets the
//! connection that is remembered of it.
//!
//! Translation at sockets is measured beside all others in the same rounds, as [`Subject::Bare`] at the hook
//! `socket`: bare programs at `connect` and `sendmsg`, then plain forwarding.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::time::Duration;

use twinpath_control::model::State;
use twinpath_kernel::cgroup::{BareSockets, CgroupError};
use twinpath_kernel::veth::cpu;
use twinpath_kernel::veth::netns::Namespace;
use twinpath_sim::world::WorldError;

use self::client::{Road, Round};
use self::server::Server;
use super::cluster::{self, CLIENT, FAR_ADDRESS, LOCAL, OUTSIDE, POD_PORT, REMOTE};
use super::lab::{Hook, Lab, UPLINK, failed};
use super::live::Path;
use super::result::{Figure, Measure, Unit};
use super::subject::Subject;

pub use self::client::Seen;

mod client;
mod server;

/// The ports of clients, by turns of protocols. Node ports are none of them, since what goes out with the
/// node's address would have to change them.
const PORTS: [RangeInclusive<u16>; 2] = [1_024..=29_999, 32_768..=65_535];

/// What is measured in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// [`Measure::FirstPacket`], [`Measure::Connect`], [`Measure::ConnectRate`], [`Measure::RoundTrip`] or
    /// [`Measure::Throughput`].
    pub measure: Measure,
    /// Which way packets go.
    pub path: Path,
    /// How many connections are opened, or first datagrams sent, each from a port of its own. A lab has
    /// 61,744 ports for each protocol and client.
    pub connections: u16,
    /// How long a connection is used, where one is.
    pub time: Duration,
}

impl Setting {
    /// The measurements that are made here.
    pub const MEASURES: [Measure; 5] = [
        Measure::FirstPacket,
        Measure::Connect,
        Measure::ConnectRate,
        Measure::RoundTrip,
        Measure::Throughput,
    ];

    /// A round of a twentieth of a second or less.
    pub const fn new(measure: Measure, path: Path) -> Self {
        Self { measure, path, connections: 500, time: Duration::from_millis(50) }
    }

    const fn unit(&self) -> Unit {
        match self.measure {
            Measure::ConnectRate => Unit::PerSecond,
            Measure::Throughput => Unit::BitsPerSecond,
            _ => Unit::Nanoseconds,
        }
    }

    /// Whether this can be measured of a subject. From outside there is no way without a service, since one
    /// namespace is all that is beyond the node; and nobody there who answers directly.
    fn is_of(&self, stage: &Stage) -> bool {
        let bare = matches!(stage.subject, Subject::Forward | Subject::Bare);
        let path = match self.path {
            Path::ClusterLocal | Path::ClusterRemote => true,
            Path::NodePort => !bare,
            Path::Direct => false,
        };
        path && Self::MEASURES.contains(&self.measure)
    }
}

/// The ports of a client that were not used yet.
#[derive(Debug)]
struct Ports(Vec<u16>);

impl Ports {
    fn new() -> Self {
        Self(PORTS.into_iter().flatten().rev().collect())
    }

    fn take(&mut self, count: u16) -> Result<Vec<u16>, WorldError> {
        match self.0.len().checked_sub(count.into()) {
            Some(rest) => Ok(self.0.split_off(rest).into_iter().rev().collect()),
            None => Err(WorldError::Failed("all ports of a client have been used".to_owned())),
        }
    }
}

/// A lab with sockets in it.
pub struct Stage {
    /// Whose it is.
    pub subject: Subject,
    hook: &'static str,
    services: u32,
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
    fn measure(&mut self, setting: &Setting) -> Result<Round, WorldError> {
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
        job: impl FnOnce(&Road<'_>) -> std::io::Result<T> + Send,
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

/// Bare programs for all frontends at cluster addresses, each with its first endpoint behind it.
fn translated(state: &State) -> Result<BareSockets, CgroupError> {
    let ports = state.services.iter().flat_map(|(name, port)| {
        port.frontends.iter().filter_map(move |frontend| {
            let (IpAddr::V4(address), Some(endpoint)) = (frontend.address, port.endpoints.first())
            else {
                return None;
            };
            let SocketAddr::V4(to) = SocketAddr::new(endpoint.address, endpoint.port) else {
                return None;
            };
            let from = SocketAddrV4::new(address, frontend.port);
            (!address.is_unspecified()).then_some((from, name.protocol.number(), to))
        })
    });
    let ports: Vec<_> = ports.collect();
    let mut bare = BareSockets::new(u32::try_from(ports.len()).unwrap_or(u32::MAX))?;
    for (from, protocol, to) in ports {
        bare.serve(from, protocol, to)?;
    }
    Ok(bare)
}

fn of_cgroup(error: CgroupError) -> WorldError {
    match error {
        CgroupError::NotMounted | CgroupError::File { .. } | CgroupError::NoObject => {
            WorldError::Environment(error.to_string())
        }
        error => failed(error),
    }
}

/// Figures in the making.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    figures: Vec<(Figure, Vec<u32>)>,
}

/// The quantiles that are told of latencies.
const QUANTILES: [f64; 7] = [0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0];

impl Collected {
    /// Measures every stage that has the path once, beginning with the `turn`-th, and adds a sample to the
    /// figure of each. All stages have the same number of services.
    pub fn round(
        &mut self,
        stages: &mut [Stage],
        setting: &Setting,
        turn: usize,
    ) -> Result<(), WorldError> {
        let count = stages.len().max(1);
        for place in 0..stages.len() {
            let Some(stage) = stages.get_mut((place + turn) % count) else { continue };
            if !setting.is_of(stage) {
                continue;
            }
            let Round { value, times } = stage.measure(setting)?;
            let (figure, all) = self.figure(stage, setting);
            figure.samples.push(value);
            all.extend(times);
        }
        Ok(())
    }

    fn figure(&mut self, stage: &Stage, setting: &Setting) -> &mut (Figure, Vec<u32>) {
        let new = Figure {
            measure: setting.measure,
            path: setting.path.name().to_owned(),
            hook: stage.hook.to_owned(),
            subject: stage.subject,
            services: stage.services,
            flows: 0,
            unit: setting.unit(),
            samples: Vec::new(),
            quantiles: Vec::new(),
        };
        let same = |(other, _): &(Figure, Vec<u32>)| {
            let key = |figure: &Figure| {
                (figure.measure, figure.subject, figure.services, figure.hook.clone())
            };
            key(other) == key(&new) && other.path == new.path
        };
        let place = self.figures.iter().position(same).unwrap_or_else(|| {
            self.figures.push((new, Vec::new()));
            self.figures.len() - 1
        });
        &mut self.figures[place]
    }

    /// The figures, with quantiles of the latencies of all rounds.
    pub fn figures(self) -> Vec<Figure> {
        let quantiles = |times: &mut Vec<u32>| {
            times.sort_unstable();
            let last = times.len().checked_sub(1)?;
            let value = |quantile: f64| {
                let place = (quantile * last as f64).round() as usize;
                times.get(place).map(|time| (quantile, f64::from(*time)))
            };
            Some(QUANTILES.into_iter().filter_map(value).collect())
        };
        let with = |(figure, mut times): (Figure, Vec<u32>)| {
            let quantiles = quantiles(&mut times).unwrap_or_default();
            Figure { quantiles, ..figure }
        };
        self.figures.into_iter().map(with).collect()
    }
}
