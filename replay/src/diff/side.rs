//! One of the two worlds of a comparison, whichever kind it is.

use twinpath_control::tables::Names;
use twinpath_core::hook::Hook;
use twinpath_core::verdict::Decision;
use twinpath_sim::cluster::{Place, Watch};
use twinpath_sim::engine::NodeIndex;
use twinpath_sim::frame::Frame;
use twinpath_sim::topology::Topology;
use twinpath_sim::world::WorldError;

use crate::command::setup::{Job, Setup};
use crate::failure::Failure;
use crate::replay::Replay;
use crate::replay::feed::Captured;
use crate::replay::outcome::{Outcome, Totals};
use crate::report::recorder::Recorder;
use crate::worlds::{Kind, Stage};

/// A replay that goes on packet by packet.
pub trait Side {
    /// Replays a packet.
    fn step(&mut self, packet: &Captured<'_>) -> Result<(), WorldError>;
    /// What became of the last one, and of all.
    fn view(&self) -> View<'_>;
}

/// What became of a packet on one side.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// Who is where.
    pub topology: &'a Topology,
    /// What numbers stand for.
    pub names: &'a Names,
    /// What became of it.
    pub outcome: &'a Outcome,
    /// Whether the world shows packets and not decisions, so that one cannot be told from another with the
    /// same end.
    pub blind: bool,
    /// What it looked like at its end.
    pub frame: &'a Frame,
    /// Where it was seen last; `None` where it was not sent.
    pub end: Option<Place>,
    /// Where it was seen; empty where nobody asked for that.
    pub recorder: &'a Recorder,
    /// What became of all so far.
    pub totals: &'a Totals,
    /// How many flows there were so far.
    pub flows: usize,
}

/// Sees where a packet was last, and all of its way if that is asked for.
#[derive(Default)]
struct Eyes {
    end: Option<Place>,
    recorder: Recorder,
    recording: bool,
}

impl Watch for Eyes {
    fn at(&mut self, place: Place, frame: &Frame) {
        self.end = Some(place);
        if self.recording {
            self.recorder.at(place, frame);
        }
    }

    fn decided(&mut self, node: NodeIndex, hook: Hook, decision: &Decision) {
        if self.recording {
            self.recorder.decided(node, hook, decision);
        }
    }
}

struct Lane<S> {
    replay: Replay<S>,
    names: Names,
    frame: Frame,
    eyes: Eyes,
}

impl<S: Stage> Lane<S> {
    fn new(replay: Replay<S>, names: Names, recording: bool) -> Self {
        let eyes = Eyes { recording, ..Eyes::default() };
        Self { replay, names, frame: Frame::default(), eyes }
    }
}

impl<S: Stage> Side for Lane<S> {
    fn step(&mut self, packet: &Captured<'_>) -> Result<(), WorldError> {
        self.eyes.end = None;
        self.eyes.recorder.clear();
        self.replay.packet(packet, &mut self.frame, &mut self.eyes)
    }

    fn view(&self) -> View<'_> {
        View {
            topology: self.replay.stage.topology(),
            names: &self.names,
            outcome: &self.replay.outcome,
            blind: self.replay.stage.name() == Kind::Veth.name(),
            frame: &self.frame,
            end: self.eyes.end,
            recorder: &self.eyes.recorder,
            totals: &self.replay.totals,
            flows: self.replay.flows(),
        }
    }
}

/// Makes both worlds, and does something with them. `recording` has them remember each packet's way.
pub fn both<T>(
    left: &Setup,
    right: &Setup,
    recording: bool,
    work: impl FnOnce(&mut dyn Side, &mut dyn Side) -> Result<T, Failure>,
) -> Result<T, Failure> {
    left.run(Left { right, recording, work })
}

struct Left<'a, F> {
    right: &'a Setup,
    recording: bool,
    work: F,
}

impl<T, F: FnOnce(&mut dyn Side, &mut dyn Side) -> Result<T, Failure>> Job for Left<'_, F> {
    type Output = T;

    fn run<S: Stage>(self, replay: Replay<S>, names: Names) -> Result<T, Failure> {
        let Left { right, recording, work } = self;
        let mut left = Lane::new(replay, names, recording);
        right.run(Right { left: &mut left, recording, work })
    }
}

struct Right<'a, F> {
    left: &'a mut dyn Side,
    recording: bool,
    work: F,
}

impl<T, F: FnOnce(&mut dyn Side, &mut dyn Side) -> Result<T, Failure>> Job for Right<'_, F> {
    type Output = T;

    fn run<S: Stage>(self, replay: Replay<S>, names: Names) -> Result<T, Failure> {
        let mut right = Lane::new(replay, names, self.recording);
        (self.work)(self.left, &mut right)
    }
}
