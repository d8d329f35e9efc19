//! Live frames: a program makes them inside the kernel and they go their way from there, as if a driver
//! had received them (`BPF_F_TEST_XDP_LIVE_FRAMES`, Linux 5.18). All of it is done on one CPU before the
//! call returns, and the kernel says how long a frame took.
//!
//! | for | see |
//! |---|---|
//! | sending | [`Generator`] |
//! | counting what arrives | [`Sinks`] |
//! | the bare programs in the way of frames | [`Bare`] |

use std::collections::HashMap as Numbers;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use aya::maps::{Array, Map, MapData, MapError, PerCpuArray, PerCpuValues};
use aya::programs::links::LinkError;
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::xdp::XdpLink;
use aya::programs::{
    LinkOrder, ProgramError, SchedClassifier, TcAttachType, TestRun, TestRunAttrs, TestRunOptions,
    Xdp, XdpMode,
};
use aya::sys::Stats;
use aya::{Ebpf, EbpfLoader};
use twinpath_core::bytes::Pod;
use twinpath_core::checksum::Deltas;
use twinpath_core::tuple::Tuple;
use twinpath_core::verdict::IfIndex;

use crate::load::describe;
use crate::{object, sys};

/// The length of a frame in bytes.
pub const LENGTH: usize = 64;

/// How many frames the kernel makes before it hands them on: a pair of devices queues 256.
const BATCH: u32 = 64;

/// What went wrong with live frames.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// The programs were not built.
    #[error("{}", object::MISSING)]
    NoObject,
    /// The object has no such map or program.
    #[error("the object has no {0}, or another kind of it: build it again with ebpf/build.sh")]
    Unexpected(&'static str),
    /// The kernel refused the object.
    #[error("the kernel did not take the maps of the yardstick: {0}")]
    Maps(#[from] aya::EbpfError),
    /// The kernel refused a program.
    #[error("{what} {name}: {error}")]
    Program {
        /// What was tried.
        what: &'static str,
        /// The program.
        name: &'static str,
        /// What the kernel said.
        error: String,
    },
    /// A map failed.
    #[error("a map of the yardstick: {0}")]
    Map(#[from] MapError),
    /// An entry could not be written.
    #[error("an entry of the yardstick: {0}")]
    Entry(#[from] io::Error),
}

/// Loads the object, with maps of one entry where they are not used.
fn open(flows: u32) -> Result<Ebpf, LiveError> {
    let object = object::bare().ok_or(LiveError::NoObject)?;
    let ebpf = EbpfLoader::new()
        .map_max_entries("BARE16", flows)
        .map_max_entries("BARE40", 1)
        .map_max_entries("BARE_NAT", flows)
        .load(object)?;
    Ok(ebpf)
}

fn take<T: TryFrom<Map>>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, LiveError> {
    let map = ebpf.take_map(name).ok_or(LiveError::Unexpected(name))?;
    T::try_from(map).map_err(|_| LiveError::Unexpected(name))
}

fn failed<E: Into<ProgramError>>(
    what: &'static str,
    name: &'static str,
) -> impl Fn(E) -> LiveError {
    move |error| LiveError::Program { what, name, error: describe(&error.into()) }
}

fn load_tc(ebpf: &mut Ebpf, name: &'static str) -> Result<(), LiveError> {
    at_tc(ebpf, name)?.load().map_err(failed("loading", name))
}

fn load_xdp(ebpf: &mut Ebpf, name: &'static str) -> Result<(), LiveError> {
    at_xdp(ebpf, name)?.load().map_err(failed("loading", name))
}

fn at_tc<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut SchedClassifier, LiveError> {
    let program = ebpf.program_mut(name).and_then(|program| program.try_into().ok());
    program.ok_or(LiveError::Unexpected(name))
}

fn at_xdp<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Xdp, LiveError> {
    let program = ebpf.program_mut(name).and_then(|program| program.try_into().ok());
    program.ok_or(LiveError::Unexpected(name))
}

/// A program at a device, until it is dropped.
enum Link {
    Tc(#[allow(dead_code)] SchedClassifierLink),
    Xdp(#[allow(dead_code)] XdpLink),
}

/// Attaches a program to the ingress of a device of the calling thread's namespace.
fn attach_tc(ebpf: &mut Ebpf, name: &'static str, device: &str) -> Result<Link, LiveError> {
    let program = at_tc(ebpf, name)?;
    let options = TcAttachOptions::TcxOrder(LinkOrder::default());
    let id = program
        .attach_with_options(device, TcAttachType::Ingress, options)
        .map_err(failed("attaching", name))?;
    program.take_link(id).map(Link::Tc).map_err(failed("attaching", name))
}

/// The same at XDP, in the driver.
fn attach_xdp(ebpf: &mut Ebpf, name: &'static str, device: &str) -> Result<Link, LiveError> {
    let program = at_xdp(ebpf, name)?;
    let id = program.attach(device, XdpMode::Driver).map_err(failed("attaching", name))?;
    program.take_link(id).map(Link::Xdp).map_err(failed("attaching", name))
}

/// What a generator sends.
#[derive(Clone, Copy, Debug)]
pub struct Template {
    /// The frame of the first flow: Ethernet, IPv4 without options, TCP or UDP, checksums right.
    pub frame: [u8; LENGTH],
    /// How many flows, which take turns. Each has a source port that is by one higher than that of the
    /// one before it.
    pub flows: u16,
}

/// How frames begin their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A device of the calling thread's namespace has received them, and no program at XDP has seen them.
    Received(IfIndex),
    /// A device of the calling thread's namespace sends them. At the other end of a pair they arrive only
    /// where that has a program at XDP or puts packets together (GRO), and are lost without a word else.
    Sent(IfIndex),
}

/// Makes frames.
pub struct Generator {
    ebpf: Ebpf,
    template: Array<MapData, [u8; 72]>,
    flow: PerCpuArray<MapData, u32>,
}

impl Generator {
    const PROGRAM: &str = "generate";

    /// Loads the program.
    pub fn new() -> Result<Self, LiveError> {
        let mut ebpf = open(1)?;
        load_xdp(&mut ebpf, Self::PROGRAM)?;
        let template = take(&mut ebpf, "TEMPLATE")?;
        let flow = take(&mut ebpf, "FLOW")?;
        Ok(Self { ebpf, template, flow })
    }

    /// Sends so many frames, beginning with the first flow; nanoseconds per frame, in whole numbers.
    /// What the kernel does before and after all of them is not in it.
    pub fn send(
        &mut self,
        template: &Template,
        entry: Entry,
        count: u32,
    ) -> Result<f64, LiveError> {
        let (device, to) = match entry {
            Entry::Received(device) => (device, 0),
            Entry::Sent(device) => (device, device),
        };
        let mut bytes = [0; 72];
        let fields = template.frame.iter().copied();
        let fields = fields.chain(u32::from(template.flows).to_ne_bytes()).chain(to.to_ne_bytes());
        bytes.iter_mut().zip(fields).for_each(|(place, byte)| *place = byte);
        self.template.set(0, bytes, 0)?;
        let zeroes = self.flow.get(&0, 0)?.iter().map(|_| 0).collect::<Vec<u32>>();
        self.flow.set(0, PerCpuValues::try_from(zeroes)?, 0)?;

        // `struct xdp_md`: where the frame ends, and the device.
        let mut context = [0_u8; 24];
        let fields = [0, LENGTH as u32, 0, device, 0, 0];
        for (place, field) in context.chunks_mut(4).zip(fields) {
            place.copy_from_slice(&field.to_ne_bytes());
        }
        let mut options = TestRunOptions::new();
        options.data_in = Some(&template.frame);
        options.ctx_in = Some(&context);
        options.repeat = count;
        options.attrs = TestRunAttrs::new().xdp_live_frames(BATCH);
        let result = at_xdp(&mut self.ebpf, Self::PROGRAM)?.test_run(options);
        let result = result.map_err(failed("running", Self::PROGRAM))?;
        Ok(result.duration.as_nanos() as f64)
    }
}

/// Counts frames where they arrive, at devices with numbers below 16, and drops them. Nothing gets past.
pub struct Sinks {
    ebpf: Ebpf,
    rule: Array<MapData, [u8; 4]>,
    arrived: PerCpuArray<MapData, u64>,
    links: Vec<Link>,
}

impl Sinks {
    /// Loads the programs.
    pub fn new() -> Result<Self, LiveError> {
        let mut ebpf = open(1)?;
        load_tc(&mut ebpf, "sink_tc")?;
        load_xdp(&mut ebpf, "sink_xdp")?;
        let rule = take(&mut ebpf, "RULE")?;
        let arrived = take(&mut ebpf, "ARRIVED")?;
        Ok(Self { ebpf, rule, arrived, links: Vec::new() })
    }

    /// Puts one at tc of a device of the calling thread's namespace.
    pub fn add_tc(&mut self, device: &str) -> Result<(), LiveError> {
        let link = attach_tc(&mut self.ebpf, "sink_tc", device)?;
        self.links.push(link);
        Ok(())
    }

    /// Puts one at XDP of a device of the calling thread's namespace.
    pub fn add_xdp(&mut self, device: &str) -> Result<(), LiveError> {
        let link = attach_xdp(&mut self.ebpf, "sink_xdp", device)?;
        self.links.push(link);
        Ok(())
    }

    /// From now on, frames to this port count, from zero; and they are sent back with both ends exchanged
    /// if they are to be answered.
    pub fn expect(&mut self, port: u16, answer: bool) -> Result<(), LiveError> {
        let ([a, b], [c, d]) = (port.to_be_bytes(), u16::from(answer).to_ne_bytes());
        self.rule.set(0, [a, b, c, d], 0)?;
        for device in 0..self.arrived.len() {
            let zeroes = self.arrived.get(&device, 0)?.iter().map(|_| 0).collect::<Vec<u64>>();
            self.arrived.set(device, PerCpuValues::try_from(zeroes)?, 0)?;
        }
        Ok(())
    }

    /// How many frames have arrived at devices with these numbers, and how many at all.
    pub fn arrived(&self, devices: &[IfIndex]) -> Result<(u64, u64), LiveError> {
        let (mut there, mut all) = (0, 0);
        for device in 0..self.arrived.len() {
            let count: u64 = self.arrived.get(&device, 0)?.iter().sum();
            all += count;
            there += if devices.contains(&device) { count } else { 0 };
        }
        Ok((there, all))
    }
}

/// Where a bare program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// At tc; gives packets a new destination and delivers them to a pod.
    Deliver,
    /// At tc; gives packets new ends and sends them on.
    Forward,
    /// At XDP; gives packets new ends and sends them back.
    Return,
}

impl Place {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Deliver, Self::Forward, Self::Return];

    const fn program(self) -> &'static str {
        match self {
            Self::Deliver => "bare16",
            Self::Forward => "bare_nat",
            Self::Return => "bare_xdp",
        }
    }
}

/// The bare programs, and what they translate.
pub struct Bare {
    links: Numbers<(Place, String), Link>,
    ebpf: Ebpf,
    deliver: MapData,
    nat: MapData,
}

impl Bare {
    /// Loads the programs, for so many flows.
    pub fn new(flows: u32) -> Result<Self, LiveError> {
        let mut ebpf = open(flows)?;
        load_tc(&mut ebpf, Place::Deliver.program())?;
        load_tc(&mut ebpf, Place::Forward.program())?;
        load_xdp(&mut ebpf, Place::Return.program())?;
        let mut map = |name| match ebpf.take_map(name) {
            Some(Map::LruHashMap(map)) => Ok(map),
            _ => Err(LiveError::Unexpected(name)),
        };
        let (deliver, nat) = (map("BARE16")?, map("BARE_NAT")?);
        Ok(Self { links: Numbers::new(), ebpf, deliver, nat })
    }

    /// Attaches one to a device of the calling thread's namespace, in the place of the one there.
    pub fn attach(&mut self, place: Place, device: &str) -> Result<(), LiveError> {
        let is_xdp = place == Place::Return;
        self.links.retain(|(other, at), _| at != device || is_xdp != (*other == Place::Return));
        let link = match is_xdp {
            true => attach_xdp(&mut self.ebpf, place.program(), device)?,
            false => attach_tc(&mut self.ebpf, place.program(), device)?,
        };
        self.links.insert((place, device.to_owned()), link);
        Ok(())
    }

    /// Takes all of them off.
    pub fn detach(&mut self) {
        self.links.clear();
    }

    /// Makes packets with one tuple, of IPv4, leave with another by a device.
    pub fn translate(
        &mut self,
        place: Place,
        from: &Tuple,
        to: &Tuple,
        device: IfIndex,
    ) -> Result<(), LiveError> {
        let deltas = Deltas::between(from, to);
        let ports = |tuple: &Tuple| {
            let ([a, b], [c, d]) =
                (tuple.source_port.get().to_be_bytes(), tuple.destination_port.get().to_be_bytes());
            [a, b, c, d]
        };
        let key = [
            &from.source.low().to_ne_bytes()[..],
            &from.destination.low().to_ne_bytes(),
            &ports(from),
            &u32::from(from.protocol).to_ne_bytes(),
        ]
        .concat();
        let device = device.to_ne_bytes();
        let (addresses, port_deltas) = (deltas.addresses.0, deltas.ports.0);
        let destination = to.destination.low().to_ne_bytes();
        let (map, value) = match place {
            Place::Deliver => {
                let port = to.destination_port.get().to_be_bytes();
                let deltas = [addresses.as_bytes(), port_deltas.as_bytes()].concat();
                (&self.deliver, [&destination[..], &port, &deltas, &[0, 0], &device].concat())
            }
            Place::Forward | Place::Return => {
                let source = to.source.low().to_ne_bytes();
                let ends = [source, destination, ports(to)].concat();
                let deltas = [addresses.as_bytes(), port_deltas.as_bytes()].concat();
                (&self.nat, [&ends[..], &deltas, &device].concat())
            }
        };
        Ok(sys::update(map.fd().as_fd(), &key, &value)?)
    }

    /// How long the programs have run in all while the kernel kept count, in nanoseconds.
    pub fn run_time(&self) -> Result<u64, LiveError> {
        Place::ALL.into_iter().map(Place::program).map(|name| run_time(&self.ebpf, name)).sum()
    }
}

/// Makes the kernel count the time of programs, of all that are loaded, until what is returned is closed.
pub fn count_time() -> Result<OwnedFd, LiveError> {
    aya::sys::enable_stats(Stats::RunTime).map_err(|error| LiveError::Program {
        what: "counting the time of",
        name: "programs",
        error: error.to_string(),
    })
}

/// How long a program has run while the kernel kept count ([`count_time`]), in nanoseconds.
pub fn run_time(ebpf: &Ebpf, name: &'static str) -> Result<u64, LiveError> {
    let program = ebpf.program(name).ok_or(LiveError::Unexpected(name))?;
    let info = program.info().map_err(failed("reading", name))?;
    Ok(u64::try_from(info.run_time().as_nanos()).unwrap_or(u64::MAX))
}

impl From<LinkError> for LiveError {
    fn from(error: LinkError) -> Self {
        Self::Program { what: "detaching", name: "a program", error: error.to_string() }
    }
}
