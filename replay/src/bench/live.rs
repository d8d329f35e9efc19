//! Live measurements: frames that a program makes, carried by a subject, counted where they arrive.
//!
//! What is told is the kernel's own time for a frame, from when it is made until it is counted, all of it
//! on one CPU. So what making and counting cost is in every figure, the same for all.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use twinpath_core::address::Address;
use twinpath_core::bytes::Be16;
use twinpath_core::tuple::Tuple;
use twinpath_core::verdict::IfIndex;
use twinpath_core::wire::TCP;
use twinpath_kernel::live::{Entry, Generator, Place, Sinks, Template, count_time};
use twinpath_kernel::veth::{conntrack, cpu};
use twinpath_sim::topology::UPLINK as UPLINK_NUMBER;
use twinpath_sim::world::WorldError;

use super::churn::Changes;
use super::cluster::{self, CLIENT, NODE_ADDRESS, OUTSIDE, POD_PORT, Port};
use super::datapath::{Datapath, of_live};
use super::frame::{Ends, FIRST_PORT, MAX_FLOWS, Step, tcp};
use super::lab::{Hook, Lab, UPLINK, failed};
use super::result::{Figure, Measure, Unit};
use super::subject::Subject;

/// Which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Path {
    /// From a pod to a cluster address, to a pod of the same node.
    ClusterLocal,
    /// From a pod to a cluster address, to a pod of another node.
    ClusterRemote,
    /// From outside to a node port, to a pod of another node, with the node's address.
    NodePort,
    /// The same, with the client's own address (DSR).
    Direct,
}

impl Path {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::ClusterLocal, Self::ClusterRemote, Self::NodePort, Self::Direct];

    /// The name in figures.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClusterLocal => "clusterip-local",
            Self::ClusterRemote => "clusterip-remote",
            Self::NodePort => "nodeport-snat",
            Self::Direct => "dsr",
        }
    }

    /// Whether packets come from outside: the only ones that are ever seen at XDP.
    pub const fn is_from_outside(self) -> bool {
        matches!(self, Self::NodePort | Self::Direct)
    }

    /// Whether a subject has this path at all, at a hook. Rules know no direct return; nothing but
    /// programs is at XDP.
    pub const fn is_of(self, subject: Subject, hook: Hook) -> bool {
        let programs = matches!(subject, Subject::Twinpath | Subject::Bare);
        match (self, hook) {
            (Self::Direct, Hook::Tc) => programs || matches!(subject, Subject::Forward),
            (Self::NodePort | Self::Direct, Hook::Xdp) => programs,
            (_, Hook::Xdp) => false,
            (_, Hook::Tc) => true,
        }
    }

    pub(super) const fn port(self) -> Port {
        match self {
            Self::ClusterLocal => Port::Local,
            Self::ClusterRemote | Self::NodePort => Port::Remote,
            Self::Direct => Port::Direct,
        }
    }
}

/// What is measured in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// [`Measure::Established`], [`Measure::NewFlow`], [`Measure::ProgramTime`] or [`Measure::Churn`].
    pub measure: Measure,
    /// Which way packets go.
    pub path: Path,
    /// The flows among which they are spread, at most [`MAX_FLOWS`]. Of new flows, how many: each has one
    /// packet.
    pub flows: u16,
    /// How many frames, where they are of connections that are there.
    pub frames: u32,
}

/// The connections of a lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    path: Path,
    flows: u16,
}

/// The one generator: it belongs to no subject.
fn generator() -> Result<&'static Mutex<Generator>, WorldError> {
    static GENERATOR: OnceLock<Mutex<Generator>> = OnceLock::new();
    if let Some(generator) = GENERATOR.get() {
        return Ok(generator);
    }
    let new = Generator::new().map_err(of_live)?;
    Ok(GENERATOR.get_or_init(|| Mutex::new(new)))
}

/// Measures every lab that has the path once, beginning with the `turn`-th, and adds a sample to the
/// figure of each, which is made where it is not there yet. All labs have the same number of services. A
/// rival whose measurement cannot be made here is told in [`Lab::given_up`] and not asked again.
///
/// Keep the calling thread on one CPU ([`cpu::stay_on_one`]): see [`prepare`].
pub fn round(
    labs: &mut [Lab],
    setting: &Setting,
    turn: usize,
    figures: &mut Vec<Figure>,
) -> Result<(), WorldError> {
    let count = labs.len().max(1);
    for place in 0..labs.len() {
        let Some(lab) = labs.get_mut((place + turn) % count) else { continue };
        if !setting.is_of(lab) {
            continue;
        }
        let sample = match setting.measure(lab) {
            // A rival that is too slow, or that lacks something: the others go on.
            Err(WorldError::Environment(why)) if lab.is_rival() => {
                lab.given_up.push((setting.measure, why));
                continue;
            }
            sample => sample?,
        };
        let figure = setting.figure(lab);
        let same = |other: &&mut Figure| {
            Figure { samples: Vec::new(), quantiles: Vec::new(), ..(**other).clone() } == figure
        };
        match figures.iter_mut().find(same) {
            Some(figure) => figure.samples.push(sample),
            None => figures.push(Figure { samples: vec![sample], ..figure }),
        }
    }
    Ok(())
}

/// Brings the calling thread to one CPU, on which all of a live measurement then is.
pub fn prepare() -> Result<(), WorldError> {
    cpu::stay_on_one().map_err(failed)
}

impl Setting {
    /// Whether a lab can be measured so.
    pub fn is_of(&self, lab: &Lab) -> bool {
        let programs = matches!(lab.subject, Subject::Twinpath | Subject::Bare);
        self.path.is_of(lab.subject, lab.hook)
            && !lab.given_up.iter().any(|(measure, _)| *measure == self.measure)
            && match self.measure {
                Measure::Established => true,
                // The bare programs keep no connections, and plain forwarding knows none.
                Measure::NewFlow => !matches!(lab.subject, Subject::Bare | Subject::Forward),
                Measure::ProgramTime => programs,
                Measure::Churn => Changes::are_of(lab.subject),
                _ => false,
            }
    }

    /// The figure of a lab in this setting, without samples.
    pub fn figure(&self, lab: &Lab) -> Figure {
        Figure {
            measure: self.measure,
            path: self.path.name().to_owned(),
            hook: lab.hook.name().to_owned(),
            subject: lab.subject,
            services: lab.services,
            flows: self.flows.into(),
            unit: Unit::Nanoseconds,
            samples: Vec::new(),
            quantiles: Vec::new(),
        }
    }

    /// One sample: nanoseconds per frame.
    pub fn measure(&self, lab: &mut Lab) -> Result<f64, WorldError> {
        let flows = self.flows.clamp(1, MAX_FLOWS);
        lab.check_room(flows)?;
        lab.attach_sinks()?;
        if self.measure == Measure::NewFlow {
            lab.ready(self.path, flows)?;
            lab.forget()?;
            return lab.send(self.path, flows, Step::Open, flows.into(), false);
        }
        lab.open(self.path, flows)?;
        // Nothing that was put off while others were measured is to be in the figure.
        lab.send(self.path, flows, Step::Established, u32::from(flows).max(1_000), false)?;
        match self.measure {
            Measure::ProgramTime => {}
            Measure::Churn => {
                let mut changes = Changes::of(lab)?;
                let during = |lab: &mut Lab| {
                    lab.send(self.path, flows, Step::Established, self.frames, false)
                };
                let sample = changes.while_at_it(lab, during);
                changes.end(lab);
                return sample;
            }
            _ => return lab.send(self.path, flows, Step::Established, self.frames, false),
        }
        let _counting = count_time().map_err(of_live)?;
        let before = lab.run_time()?;
        lab.send(self.path, flows, Step::Established, self.frames, false)?;
        Ok((lab.run_time()? - before) as f64 / f64::from(self.frames.max(1)))
    }
}

impl Lab {
    /// Puts sinks where frames arrive.
    fn attach_sinks(&mut self) -> Result<(), WorldError> {
        if self.sinks.is_some() {
            return Ok(());
        }
        let mut sinks = Sinks::new().map_err(of_live)?;
        for pod in [&self.client, &self.backends[0], &self.backends[1]] {
            pod.run(|| sinks.add_tc("eth0"))?.map_err(of_live)?;
        }
        let at_xdp = self.hook == Hook::Xdp;
        self.router
            .run(|| if at_xdp { sinks.add_xdp(UPLINK) } else { sinks.add_tc(UPLINK) })?
            .map_err(of_live)?;
        self.sinks = Some(sinks);
        Ok(())
    }

    /// Whether the kernel keeps that many connections: it drops what opens one more.
    fn check_room(&self, flows: u16) -> Result<(), WorldError> {
        let is_rules = matches!(self.datapath, Datapath::Stack) && self.subject != Subject::Forward;
        let path = "/proc/sys/net/nf_conntrack_max";
        let most =
            std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u32>().ok());
        match most {
            Some(most) if is_rules && most < 2 * u32::from(flows) => {
                Err(WorldError::Environment(format!(
                    "the kernel keeps {most} connections of netfilter and {} may be needed: \
                     run `sysctl net.nf_conntrack_max=262144`",
                    2 * u32::from(flows)
                )))
            }
            _ => Ok(()),
        }
    }

    /// Opens connections, or goes on with those that are open.
    fn open(&mut self, path: Path, flows: u16) -> Result<(), WorldError> {
        let opened = Opened { path, flows };
        if self.opened == Some(opened) {
            return Ok(());
        }
        self.ready(path, flows)?;
        self.forget()?;
        if matches!(self.subject, Subject::Bare | Subject::Forward) {
            self.opened = Some(opened);
            return Ok(());
        }
        self.send(path, flows, Step::Open, flows.into(), true)?;
        self.send(path, flows, Step::Established, flows.into(), false)?;
        self.opened = Some(opened);
        Ok(())
    }

    /// Forgets all connections.
    pub(super) fn forget(&mut self) -> Result<(), WorldError> {
        self.opened = None;
        match (&mut self.datapath, self.subject) {
            (Datapath::Twinpath(twinpath), _) => twinpath.tables.clear().map_err(failed),
            (Datapath::Bare(_), _) | (_, Subject::Forward) => Ok(()),
            (Datapath::Stack, _) => self.node.run(conntrack::flush)?.map_err(failed),
        }
    }

    /// Gives the bare programs what they need for a path.
    fn ready(&mut self, path: Path, flows: u16) -> Result<(), WorldError> {
        let ends = self.ends(path)?;
        let local = self.pod(cluster::LOCAL[0])?.device;
        let source = self.pod(CLIENT)?.device;
        let Datapath::Bare(bare) = &mut self.datapath else { return Ok(()) };
        let place = match (path, self.hook) {
            (Path::ClusterLocal, _) => Place::Deliver,
            (_, Hook::Xdp) => Place::Return,
            _ => Place::Forward,
        };
        bare.detach();
        let device =
            if path.is_from_outside() { UPLINK.to_owned() } else { format!("pod{source}") };
        self.node.run(|| bare.attach(place, &device))?.map_err(of_live)?;
        let backend = path.port().served_by()[0];
        for flow in 0..flows {
            let port = Be16::new(FIRST_PORT + flow);
            let address = |address: Ipv4Addr| Address::v4(address.octets());
            let new_source = if path == Path::NodePort { NODE_ADDRESS } else { ends.from };
            let [from, to] =
                [(ends.from, ends.to), (new_source, SocketAddrV4::new(backend, POD_PORT))].map(
                    |(from, to)| {
                        let to_port = Be16::new(to.port());
                        Tuple::new(TCP, address(from), port, address(*to.ip()), to_port)
                    },
                );
            let out = if place == Place::Deliver { local } else { UPLINK_NUMBER };
            bare.translate(place, &from, &to, out).map_err(of_live)?;
        }
        Ok(())
    }

    /// Between whom a path's packets go as they are sent.
    fn ends(&self, path: Path) -> Result<Ends, WorldError> {
        let (node, _, router) = self.link()?;
        let mut to =
            if path.is_from_outside() { path.port().node() } else { path.port().cluster() };
        if self.subject == Subject::Forward {
            to = SocketAddrV4::new(path.port().served_by()[0], POD_PORT);
        }
        if path.is_from_outside() {
            return Ok(Ends { from: OUTSIDE, to, from_mac: router, to_mac: node });
        }
        let pod = self.pod(CLIENT)?;
        Ok(Ends { from: CLIENT, to, from_mac: pod.mac, to_mac: pod.gateway })
    }

    /// Sends frames; nanoseconds for each. An error where not all of them arrive.
    fn send(
        &mut self,
        path: Path,
        flows: u16,
        step: Step,
        frames: u32,
        answered: bool,
    ) -> Result<f64, WorldError> {
        let template = Template { frame: tcp(&self.ends(path)?, step), flows };
        let (namespace, entry) = if path.is_from_outside() {
            (&self.router, Entry::Sent(UPLINK_NUMBER))
        } else {
            (&*self.node, Entry::Received(self.pod(CLIENT)?.device))
        };
        let ends: Vec<IfIndex> = match path {
            Path::ClusterLocal => cluster::LOCAL
                .into_iter()
                .map(|address| self.pod(address).map(|pod| pod.device))
                .collect::<Result<_, _>>()?,
            _ => vec![UPLINK_NUMBER],
        };
        let sinks = self.sinks.as_mut().ok_or_else(|| failed("no sinks"))?;
        sinks.expect(POD_PORT, answered).map_err(of_live)?;
        let generator = generator()?;
        let send = || {
            let mut generator = generator.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            generator.send(&template, entry, frames)
        };
        let took = namespace.run(send)?.map_err(of_live)?;
        let until = Instant::now() + Duration::from_millis(500);
        loop {
            let (there, arrived) = sinks.arrived(&ends).map_err(of_live)?;
            if (there, arrived) == (frames.into(), frames.into()) {
                return Ok(took);
            }
            if Instant::now() > until || arrived > u64::from(frames) {
                return Err(failed(format!(
                    "{} with {} services, {} at {}: {there} of {frames} frames arrived, and {} \
                     elsewhere ({step:?}, {flows} flows)",
                    self.subject,
                    self.services,
                    path.name(),
                    self.hook.name(),
                    arrived - there,
                )));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// How long the subject's programs have run while the kernel kept count, in nanoseconds.
    fn run_time(&self) -> Result<u64, WorldError> {
        match &self.datapath {
            Datapath::Twinpath(twinpath) => twinpath.run_time(),
            Datapath::Bare(bare) => bare.run_time(),
            Datapath::Stack => Ok(0),
        }
        .map_err(of_live)
    }
}
