//! The slow road: stages, each of which leaves what the next one needs in [`Work`].
//!
//! In the kernel each stage is a program of its own, reached by a tail call: it has all of the stack,
//! and the verifier looks at it alone. In the simulator it is a function.

use super::{Hook, answer, classify, connect, dropped, open, related, unwrap, wrap};
use crate::address::Address;
use crate::backend::BackendId;
use crate::bytes::{Be16, Pod};
use crate::conntrack::Flow;
use crate::drop_reason::DropReason;
use crate::parse::Parsed;
use crate::seam::{Maps, Nanos, Node, Packet, Room};
use crate::service::ServiceId;
use crate::tuple::Tuple;
use crate::verdict::{Decision, Exit, Status, Verdict};

/// A stage, or the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Stage {
    /// Says what a packet is and where it goes next.
    Classify = 0,
    /// Finds the packet's connection or opens one, and sends it on.
    Connect = 1,
    /// Sends a packet on with the half of its connection in [`Work::half`].
    Send = 2,
    /// Translates an ICMP error and the packet that it quotes.
    Related = 3,
    /// Takes off what another node has wrapped a packet in.
    Unwrap = 4,
    /// Tells the backend's node of the frontend.
    Wrap = 5,
    /// Makes a packet the answer to itself.
    Answer = 6,
    /// Chooses where a new connection goes.
    Open = 7,
    /// Makes the tuples of a new connection its own.
    Reserve = 8,
    /// Writes a new connection and sends its packet on.
    Commit = 9,
    /// What the first two find out and the choice, for a plain packet of no connection.
    Plain = 10,
    /// The decision is in [`Work::decision`].
    Done = 11,
}

impl Stage {
    /// Where the slow road begins.
    pub const FIRST: Self = Self::Classify;

    /// Every stage but the end.
    pub const ALL: [Self; 11] = [
        Self::Classify,
        Self::Connect,
        Self::Send,
        Self::Related,
        Self::Unwrap,
        Self::Wrap,
        Self::Answer,
        Self::Open,
        Self::Reserve,
        Self::Commit,
        Self::Plain,
    ];

    /// The name of the program that is this stage in the kernel, at tc.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Classify => "classify",
            Self::Connect => "connect",
            Self::Send => "send",
            Self::Related => "related",
            Self::Unwrap => "unwrap",
            Self::Wrap => "wrap",
            Self::Answer => "answer",
            Self::Open => "open",
            Self::Reserve => "reserve",
            Self::Commit => "commit",
            Self::Plain => "plain",
            Self::Done => "done",
        }
    }

    /// From its number; the end for what is none.
    #[inline(always)]
    pub const fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Classify,
            1 => Self::Connect,
            2 => Self::Send,
            3 => Self::Related,
            4 => Self::Unwrap,
            5 => Self::Wrap,
            6 => Self::Answer,
            7 => Self::Open,
            8 => Self::Reserve,
            9 => Self::Commit,
            10 => Self::Plain,
            _ => Self::Done,
        }
    }
}

/// How a packet got here.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Where it is met.
    pub hook: Hook,
    /// How an answer leaves: by the way this packet came.
    pub back: Exit,
    /// When.
    pub now: Nanos,
}

/// What the sender of a packet that goes no further is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Answer {
    /// Nothing.
    None = 0,
    /// Nobody listens on this port: ICMP destination unreachable, port unreachable.
    PortUnreachable = 1,
    /// Time to live or hop limit ran out.
    TimeExceeded = 2,
    /// The packet is longer than [`Work::mtu`]: ICMP fragmentation needed, ICMPv6 packet too big.
    TooBig = 3,
    /// What it asked for, an echo.
    Echo = 4,
}

/// What the slow road works on. A kernel program has 512 bytes of stack for all its frames, so there
/// this lies in a per-CPU map element.
pub struct Work {
    /// The packet.
    pub parsed: Parsed,
    /// How it got here.
    pub arrival: Arrival,
    /// The half of its connection.
    pub half: Flow,
    /// The key of the other half.
    pub twin_key: Tuple,
    /// What conntrack knew of it.
    pub status: Status,
    /// What came of it.
    pub decision: Decision,
    /// The number of the stage to begin with.
    pub next: u32,
    /// What its sender is to be told, if it goes no further.
    pub answer: Answer,
    /// Why it goes no further.
    pub reason: DropReason,
    /// The longest packet that could have gone further, in bytes from the IP header on.
    pub mtu: u32,
    /// How often another CPU took a tuple.
    pub races: u32,
    /// How many source ports were tried, the opener's own among them.
    pub tries: u32,
    /// What the ports that are tried are drawn with.
    pub draw: u32,
    /// How long the packet is on the wire, in bytes from the IP header on: that of the longest piece where
    /// it will be cut into several.
    pub size: u32,
    /// How long its length field says that it is, from the IP header on.
    pub total: u32,
    /// Whether an option finds no place in its header.
    pub crammed: bool,
    /// Told by another node: the frontend that the packet was sent to, unspecified where it was not
    /// told; its port; its service.
    pub frontend: Address,
    /// See [`Self::frontend`].
    pub frontend_port: Be16,
    /// See [`Self::frontend`].
    pub frontend_service: ServiceId,
    /// Told by the end of a tunnel: the backend that the packet is for; 0 where it was not told.
    pub chosen: BackendId,
    /// Whether the client is to keep the backend of this connection (`sessionAffinity`).
    pub sticky: bool,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            parsed: Parsed::default(),
            arrival: Arrival { hook: Hook::FromPod, back: Exit::STACK, now: 0 },
            half: Flow::zeroed(),
            twin_key: Tuple::zeroed(),
            status: Status::Untracked,
            decision: Decision::untracked(Verdict::Pass),
            next: Stage::FIRST as u32,
            answer: Answer::None,
            reason: DropReason::InvalidPacket,
            mtu: 0,
            races: 0,
            tries: 0,
            draw: 0,
            size: 0,
            total: 0,
            crammed: false,
            frontend: Address::UNSPECIFIED,
            frontend_port: Be16::new(0),
            frontend_service: 0,
            chosen: 0,
            sticky: false,
        }
    }
}

impl Room for Work {
    #[inline(always)]
    fn work(&mut self) -> Option<&mut Work> {
        Some(self)
    }
}

impl Work {
    /// Forgets the packet before.
    #[inline(always)]
    pub(super) const fn begin(&mut self) {
        self.decision = Decision::untracked(Verdict::Pass);
        self.answer = Answer::None;
        self.frontend = Address::UNSPECIFIED;
        self.chosen = 0;
        self.races = 0;
    }

    /// What is left to choose of an exit at the packet's hook.
    #[inline(always)]
    pub(super) const fn exit(&self, exit: Exit) -> Exit {
        self.arrival.hook.settled(exit)
    }

    /// Says why the packet goes no further, and that its sender is to be told.
    #[inline(always)]
    pub(crate) const fn refuse(&mut self, answer: Answer, reason: DropReason) -> DropReason {
        self.answer = answer;
        reason
    }
}

/// One stage; the next one comes out.
#[inline(always)]
pub fn run<P: Packet, M: Maps>(
    packet: &mut P,
    node: &mut Node<M>,
    work: &mut Work,
    stage: Stage,
) -> Stage {
    let result = match stage {
        Stage::Classify => classify::classify(packet, node, work),
        Stage::Connect => connect::connect(packet, node, work),
        Stage::Send => connect::resume(packet, node, work),
        Stage::Related => related::related(packet, node, work),
        Stage::Unwrap => unwrap::unwrap(packet, node, work),
        Stage::Wrap => wrap::wrap(packet, node, work),
        Stage::Answer => answer::answer(packet, node, work),
        Stage::Open => open::open(packet, node, work),
        Stage::Reserve => open::reserve(packet, node, work),
        Stage::Commit => open::commit(packet, node, work),
        Stage::Plain => open::plain(packet, node, work),
        Stage::Done => Ok(Stage::Done),
    };
    match result {
        Ok(next) => next,
        Err(reason) if !matches!((work.answer, stage), (Answer::None, _) | (_, Stage::Answer)) => {
            work.reason = reason;
            Stage::Answer
        }
        Err(reason) => {
            work.decision = dropped(node, reason);
            Stage::Done
        }
    }
}

/// More stages than any packet goes through.
const MAX_STAGES: usize = 48;

/// Every stage from the one that [`Work::next`] names.
#[inline(never)]
pub fn finish<P: Packet, M: Maps>(packet: &mut P, node: &mut Node<M>, work: &mut Work) -> Decision {
    let mut stage = Stage::from_number(work.next);
    for _ in 0..MAX_STAGES {
        if matches!(stage, Stage::Done) {
            return work.decision;
        }
        stage = run(packet, node, work, stage);
    }
    dropped(node, DropReason::MissedTailCall)
}
