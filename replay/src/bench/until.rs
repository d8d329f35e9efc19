//! How long it takes from a change of a service until a packet goes where it should by then.
//!
//! The measured service has one endpoint, which is exchanged for another. A client sends a datagram about
//! every tenth of a millisecond all the while, after a tenth of a second every thousandth of the time that
//! has gone by, each from a port of its own, so that each is a new connection. The sample is the time from
//! when the change is begun to when the first of them has come to the socket of the new endpoint.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::{SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use twinpath_control::keeper::{Change, Keeper};
use twinpath_control::model::State;
use twinpath_control::read::Objects;
use twinpath_kernel::veth::netns::Namespace;
use twinpath_sim::world::WorldError;

use super::cluster::{self, CLIENT, LOCAL, NODE, POD_PORT, Port};
use super::datapath::{Datapath, options};
use super::lab::{Lab, failed};
use super::result::{Figure, Measure, Unit};
use super::rival::{Job, Rival};
use super::subject::Subject;

/// The pause between two datagrams, at least.
const PAUSE: Duration = Duration::from_micros(50);
/// How many pauses the time since the first datagram has: what takes seconds would fill netfilter's table.
const PARTS: u32 = 1_000;
/// How long a packet is waited for when nothing more happens.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often whoever waits looks whether it is to go on.
const LOOK: Duration = Duration::from_millis(50);

/// The measurement, for labs with so many services.
pub struct Until {
    services: u32,
    objects: Objects,
    /// As labs have it, and with the first or the second endpoint of the service alone.
    states: [State; 3],
    /// The slice that makes the difference.
    slices: [Vec<Change>; 3],
    /// Of our labs, by the names of their hooks.
    keepers: BTreeMap<&'static str, Keeper>,
    jobs: BTreeMap<Subject, Jobs>,
    figures: Vec<Figure>,
    round: usize,
    longest: Duration,
    /// The next port of the client.
    port: u16,
}

/// What is done with the rules of a rival.
struct Jobs {
    /// To one endpoint.
    before: Job,
    /// To the other one.
    change: Job,
    /// To both, and to what was there before.
    after: [Job; 2],
}

impl Until {
    /// Nothing measured yet. A rival's tool has so long.
    pub fn new(services: u32, longest: Duration) -> Self {
        let objects = cluster::objects(services);
        let [first, second] = LOCAL;
        let slices = [&[first, second][..], &[first], &[second]].map(cluster::local_served_by);
        let states = slices.clone().map(|slice| {
            let mut objects = objects.clone();
            objects.merge(slice);
            State::new(&objects).0
        });
        Self {
            services,
            objects,
            slices: slices.map(Change::all),
            states,
            keepers: BTreeMap::new(),
            jobs: BTreeMap::new(),
            figures: Vec::new(),
            round: 0,
            longest,
            port: 1_024,
        }
    }

    /// Each lab once, beginning with another one each time. Labs that have no services are passed over, and
    /// all of them are left as they were. A rival that is too slow is told in [`Lab::given_up`] and not asked
    /// again.
    pub fn round(&mut self, labs: &mut [Lab]) -> Result<(), WorldError> {
        let count = labs.len();
        let first = self.round;
        self.round += 1;
        for place in 0..count {
            let Some(lab) = labs.get_mut((first + place) % count) else { continue };
            if lab.services != self.services {
                return Err(failed("a lab with another number of services"));
            }
            if matches!(lab.subject, Subject::Bare | Subject::Forward) || !lab.given_up.is_empty() {
                continue;
            }
            // No port is to meet a connection that was its own before.
            lab.forget()?;
            match self.once(lab) {
                Ok(took) => self.push(lab, took),
                Err(WorldError::Environment(why)) if lab.is_rival() => {
                    lab.given_up.push((Measure::UntilFirstPacket, why));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// What was measured.
    pub fn into_figures(self) -> Vec<Figure> {
        self.figures
    }

    fn once(&mut self, lab: &mut Lab) -> Result<Duration, WorldError> {
        let [state, first, second] = &self.states;
        let port = &mut self.port;
        let Lab { datapath, node, client, backends, topology, subject, hook, .. } = lab;
        if let Datapath::Twinpath(ours) = datapath {
            let keeper = match self.keepers.entry(hook.name()) {
                Entry::Occupied(keeper) => keeper.into_mut(),
                Entry::Vacant(place) => {
                    let mut keeper = Keeper::new(NODE, options());
                    let Ok(_) = keeper.load(self.objects.clone(), topology, &mut Vec::new());
                    let held = ours.tables.held().map_err(failed)?;
                    keeper.resync(held, topology, &mut ours.tables).map_err(failed)?;
                    place.insert(keeper)
                }
            };
            let [both, first, second] = self.slices.clone();
            let mut to = |slice| {
                keeper.change(slice, topology, &mut ours.tables).map(|_| ()).map_err(failed)
            };
            to(first)?;
            let took = until(client, backends, port, || to(second))?;
            to(both)?;
            return Ok(took);
        }
        let jobs = match self.jobs.entry(*subject) {
            Entry::Occupied(jobs) => jobs.into_mut(),
            Entry::Vacant(place) => {
                let rival = Rival::new(*subject).map_err(|missing| failed(missing.why))?;
                let rival = rival.within(self.longest);
                place.insert(Jobs {
                    before: rival.update(state, first, NODE),
                    change: rival.update(first, second, NODE),
                    after: [rival.update(second, state, NODE), rival.sweep(second, state, NODE)],
                })
            }
        };
        jobs.before.run(node)?;
        let took = until(client, backends, port, || {
            jobs.change.run(node).map(|_| ()).map_err(WorldError::from)
        })?;
        for job in &jobs.after {
            job.run(node)?;
        }
        Ok(took)
    }

    fn push(&mut self, lab: &Lab, took: Duration) {
        let value = took.as_nanos() as f64;
        let is_it =
            |figure: &&mut Figure| figure.subject == lab.subject && figure.hook == lab.hook.name();
        if let Some(figure) = self.figures.iter_mut().find(is_it) {
            figure.samples.push(value);
            return;
        }
        self.figures.push(Figure {
            measure: Measure::UntilFirstPacket,
            path: String::new(),
            hook: lab.hook.name().to_owned(),
            subject: lab.subject,
            services: self.services,
            flows: 0,
            unit: Unit::Nanoseconds,
            samples: vec![value],
            quantiles: Vec::new(),
        });
    }
}

/// Makes a change by which the second pod takes the place of the first; how long it is from the beginning of
/// the change until it gets its first packet.
fn until(
    client: &Namespace,
    pods: &[Namespace; 2],
    port: &mut u16,
    change: impl FnOnce() -> Result<(), WorldError>,
) -> Result<Duration, WorldError> {
    let [old, new] = pods;
    let open = |pod: &Namespace, address| -> Result<UdpSocket, WorldError> {
        pod.run(|| UdpSocket::bind(SocketAddrV4::new(address, POD_PORT)))?.map_err(failed)
    };
    let [first, second] = LOCAL;
    let (old, new) = (open(old, first)?, &open(new, second)?);
    old.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    let is_done = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| client.run(|| send(port, is_done)));
        let measured = || -> Result<Duration, WorldError> {
            // Packets go, and to the pod that is there before.
            old.recv(&mut [0; 1]).map_err(|error| failed(format!("no packet at all: {error}")))?;
            new.set_nonblocking(true).map_err(failed)?;
            if new.recv(&mut [0; 1]).is_ok() {
                return Err(failed("a packet went to the new endpoint before the change"));
            }
            new.set_nonblocking(false).map_err(failed)?;
            new.set_read_timeout(Some(LOOK)).map_err(failed)?;
            let (arrives, arrived) = mpsc::channel();
            scope.spawn(move || {
                while !is_done.load(Ordering::Relaxed) {
                    if new.recv(&mut [0; 1]).is_ok() {
                        let _ = arrives.send(Instant::now()); // nobody waits after a failure
                        return;
                    }
                }
            });
            let begun = Instant::now();
            change()?;
            let arrived = arrived.recv_timeout(PATIENCE);
            let arrived = arrived.map_err(|_| failed("no packet came to the new endpoint"))?;
            Ok(arrived.saturating_duration_since(begun))
        };
        let took = measured();
        is_done.store(true, Ordering::Relaxed);
        sender.join().map_err(|_| failed("the sender failed"))??;
        took
    })
}

/// Sends datagrams to the service, each from the next port.
fn send(port: &mut u16, is_done: &AtomicBool) {
    let begun = Instant::now();
    while !is_done.load(Ordering::Relaxed) {
        // What a refused or dropped datagram says to its socket does not matter: others follow.
        if let Ok(socket) = UdpSocket::bind(SocketAddrV4::new(CLIENT, *port)) {
            let _ = socket.send_to(b"?", Port::Local.cluster());
        }
        *port = port.checked_add(1).unwrap_or(1_024);
        std::thread::sleep(PAUSE.max(begun.elapsed() / PARTS));
    }
}
