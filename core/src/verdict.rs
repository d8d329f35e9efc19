//! What is to be done with a packet.

use crate::backend::BackendId;
use crate::drop_reason::DropReason;
use crate::service::ServiceId;

/// A device of the node: its kernel ifindex.
pub type IfIndex = u32;

/// What a hook does with the packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// On to the node's own stack, which routes it.
    Pass,
    /// Gone, for this reason.
    Drop(DropReason),
    /// To the pod behind this host-side device, as if the pod's device had received it.
    Deliver(IfIndex),
    /// Out of this device, with the link addresses that the neighbour table has.
    Forward(IfIndex),
    /// Gone, for this reason, and its sender is told so: the packet has become an ICMP error, which goes
    /// back the way the packet came, its link addresses swapped.
    Reject(DropReason),
    /// The packet has become its own answer (an echo reply), which goes back in the same way.
    Answer,
}

/// How packets of one direction of a connection leave a node; the part of a [`Verdict`] that a
/// conntrack entry remembers. Plain words, for the reason that [`Decision`] is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    kind: u32,
    device: IfIndex,
}

impl Exit {
    /// Through the node's stack.
    pub const STACK: Self = Self { kind: PASS, device: 0 };

    /// To the pod behind this host-side device.
    #[inline(always)]
    pub const fn pod(device: IfIndex) -> Self {
        Self { kind: DELIVER, device }
    }

    /// Out of this device of the node.
    #[inline(always)]
    pub const fn device(device: IfIndex) -> Self {
        Self { kind: FORWARD, device }
    }

    /// The same way for a packet of the node's own, to which the node is no router.
    #[inline(always)]
    pub const fn of_own(self) -> Self {
        Self { kind: self.kind | OWN, ..self }
    }

    /// From what [`Self::pack`] gave.
    #[inline(always)]
    pub const fn unpack(kind: u8, device: IfIndex) -> Self {
        Self { kind: kind as u32, device }
    }

    /// As an entry keeps it.
    #[inline(always)]
    pub const fn pack(self) -> (u8, IfIndex) {
        ((self.kind & KIND) as u8, self.device)
    }

    /// The verdict that sends a packet this way.
    #[inline(always)]
    pub const fn verdict(self) -> Verdict {
        match self.kind & KIND {
            DELIVER => Verdict::Deliver(self.device),
            FORWARD => Verdict::Forward(self.device),
            _ => Verdict::Pass,
        }
    }

    /// Whether it is a device of the node.
    #[inline(always)]
    pub const fn is_device(self) -> bool {
        self.kind & KIND == FORWARD
    }

    /// The device, a pod's or the node's; 0 for the stack.
    #[inline(always)]
    pub const fn device_number(self) -> IfIndex {
        self.device
    }

    /// Whether the packet crosses this node as a router, which costs one hop of its time to live.
    /// The stack takes that hop itself.
    #[inline(always)]
    pub const fn is_hop(self) -> bool {
        self.kind != PASS && self.kind & OWN == 0
    }
}

impl core::fmt::Debug for Exit {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.verdict() {
            Verdict::Deliver(device) => write!(f, "Pod({device})"),
            Verdict::Forward(device) => write!(f, "Device({device})"),
            _ => f.write_str("Stack"),
        }
    }
}

/// What conntrack knew of the packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum Status {
    /// Nothing: the packet is not tracked.
    #[default]
    Untracked = 0,
    /// It opened a connection.
    New = 1,
    /// It belongs to a connection, in the direction of its opener.
    Established = 2,
    /// It answers.
    Reply = 3,
    /// It opened a connection anew with a tuple whose old one was closed, expired or lost its backend.
    Reopened = 4,
}

impl Status {
    /// The word for tables and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Untracked => "UNTRACKED",
            Self::New => "NEW",
            Self::Established => "ESTABLISHED",
            Self::Reply => "REPLY",
            Self::Reopened => "REOPENED",
        }
    }
}

/// A verdict and how it came about. Plain words inside, each always set: an enum with a payload that
/// only some variants have is a half-written register to the kernel's verifier.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    kind: u32,
    detail: u32,
    status: u32,
    /// The service that the packet belongs to, 0 for none.
    pub service: ServiceId,
    /// The backend that it was given, 0 for none.
    pub backend: BackendId,
}

/// The part of an exit that says the way.
const KIND: u32 = 0xff;
/// The part that says: the node sends it itself.
const OWN: u32 = 0x100;

const PASS: u32 = 0;
const DROP: u32 = 1;
const DELIVER: u32 = 2;
const FORWARD: u32 = 3;
const REJECT: u32 = 4;
const ANSWER: u32 = 5;
const UNDECIDED: u32 = 6;

impl Decision {
    /// A decision about a packet of a connection.
    #[inline(always)]
    pub const fn new(
        verdict: Verdict,
        status: Status,
        service: ServiceId,
        backend: BackendId,
    ) -> Self {
        let (kind, detail) = match verdict {
            Verdict::Pass => (PASS, 0),
            Verdict::Drop(reason) => (DROP, reason as u32),
            Verdict::Deliver(device) => (DELIVER, device),
            Verdict::Forward(device) => (FORWARD, device),
            Verdict::Reject(reason) => (REJECT, reason as u32),
            Verdict::Answer => (ANSWER, 0),
        };
        Self { kind, detail, status: status as u32, service, backend }
    }

    /// A decision about a packet of a connection that leaves.
    #[inline(always)]
    pub const fn leaving(
        exit: Exit,
        status: Status,
        service: ServiceId,
        backend: BackendId,
    ) -> Self {
        Self {
            kind: exit.kind & KIND,
            detail: exit.device,
            status: status as u32,
            service,
            backend,
        }
    }

    /// A decision about a packet that belongs to no connection.
    #[inline(always)]
    pub const fn untracked(verdict: Verdict) -> Self {
        Self::new(verdict, Status::Untracked, 0, 0)
    }

    /// Not taken yet: the slow road has to take it.
    #[inline(always)]
    pub(crate) const fn undecided() -> Self {
        Self { kind: UNDECIDED, detail: 0, status: 0, service: 0, backend: 0 }
    }

    /// Whether the slow road has to take it. No other part of the decision means anything then.
    #[inline(always)]
    pub const fn is_undecided(&self) -> bool {
        self.kind == UNDECIDED
    }

    /// What to do.
    #[inline(always)]
    pub fn verdict(&self) -> Verdict {
        match (self.kind, self.reason()) {
            (DELIVER, _) => Verdict::Deliver(self.detail),
            (FORWARD, _) => Verdict::Forward(self.detail),
            (DROP, Some(reason)) => Verdict::Drop(reason),
            (REJECT, Some(reason)) => Verdict::Reject(reason),
            (ANSWER, _) => Verdict::Answer,
            _ => Verdict::Pass,
        }
    }

    /// Why the packet is gone, answered or not.
    pub fn reason(&self) -> Option<DropReason> {
        match self.kind {
            DROP | REJECT => u8::try_from(self.detail).ok().and_then(DropReason::from_number),
            _ => None,
        }
    }

    /// What conntrack knew.
    pub const fn status(&self) -> Status {
        match self.status {
            1 => Status::New,
            2 => Status::Established,
            3 => Status::Reply,
            4 => Status::Reopened,
            _ => Status::Untracked,
        }
    }

    /// As five words, the form in which a program in the kernel reports a decision to a test: the kind
    /// of verdict, its drop reason or device, status, service, backend.
    #[inline(always)]
    pub const fn to_words(&self) -> [u32; 5] {
        [self.kind, self.detail, self.status, self.service, self.backend]
    }

    /// The reverse of [`Self::to_words`]; `None` for words that no decision gives.
    pub fn from_words(words: [u32; 5]) -> Option<Self> {
        let [kind, detail, status, service, backend] = words;
        let decision = Self { kind, detail, status, service, backend };
        let again = Self::new(decision.verdict(), decision.status(), service, backend);
        (again == decision).then_some(decision)
    }

    /// The action of a hook, where the platform redirects as it is told: `deliver` and `forward` are what
    /// it does with a device, `back` how it sends a packet back. Kept apart from [`Self::verdict`], which
    /// names the drop reason.
    #[inline(always)]
    pub fn act<T>(
        &self,
        pass: T,
        drop: T,
        deliver: impl FnOnce(IfIndex) -> T,
        forward: impl FnOnce(IfIndex) -> T,
        back: impl FnOnce() -> T,
    ) -> T {
        match self.kind {
            DROP => drop,
            DELIVER => deliver(self.detail),
            FORWARD => forward(self.detail),
            REJECT | ANSWER => back(),
            _ => pass,
        }
    }
}

impl core::fmt::Debug for Decision {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Decision")
            .field("verdict", &self.verdict())
            .field("status", &self.status())
            .field("service", &self.service)
            .field("backend", &self.backend)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REASON: DropReason = DropReason::TtlExceeded;
    const VERDICTS: [Verdict; 6] = [
        Verdict::Pass,
        Verdict::Drop(REASON),
        Verdict::Deliver(5),
        Verdict::Forward(6),
        Verdict::Reject(REASON),
        Verdict::Answer,
    ];
    const STATUSES: [Status; 5] =
        [Status::Untracked, Status::New, Status::Established, Status::Reply, Status::Reopened];

    #[test]
    fn a_decision_keeps_what_it_was_made_of() {
        for verdict in VERDICTS {
            for status in STATUSES {
                let decision = Decision::new(verdict, status, 7, 8);
                assert_eq!((decision.verdict(), decision.status()), (verdict, status));
                assert_eq!((decision.service, decision.backend), (7, 8));
                let is_gone = matches!(verdict, Verdict::Drop(_) | Verdict::Reject(_));
                assert_eq!(decision.reason(), is_gone.then_some(REASON));
                assert!(!decision.is_undecided());
                assert_eq!(Decision::from_words(decision.to_words()), Some(decision));
            }
            assert_eq!(
                Decision::untracked(verdict),
                Decision::new(verdict, Status::Untracked, 0, 0)
            );
        }
        assert!(Decision::undecided().is_undecided());
    }

    #[test]
    fn words_that_no_decision_gives() {
        for words in [
            Decision::undecided().to_words(),
            [PASS, 1, 0, 0, 0],
            [DROP, 0, 0, 0, 0],
            [REJECT, 99, 0, 0, 0],
            [ANSWER, 1, 0, 0, 0],
            [PASS, 0, 5, 0, 0],
        ] {
            assert_eq!(Decision::from_words(words), None, "{words:?}");
        }
    }

    #[test]
    fn each_verdict_has_its_action() {
        let acted = VERDICTS.map(|verdict| {
            let decision = Decision::untracked(verdict);
            decision.act(
                "pass".to_owned(),
                "drop".to_owned(),
                |device| format!("deliver {device}"),
                |device| format!("forward {device}"),
                || "back".to_owned(),
            )
        });
        assert_eq!(acted, ["pass", "drop", "deliver 5", "forward 6", "back", "back"]);
    }

    #[test]
    fn exits() {
        for (exit, verdict, device, is_device) in [
            (Exit::STACK, Verdict::Pass, 0, false),
            (Exit::pod(5), Verdict::Deliver(5), 5, false),
            (Exit::device(6), Verdict::Forward(6), 6, true),
        ] {
            for own in [exit, exit.of_own()] {
                assert_eq!(own.verdict(), verdict);
                assert_eq!((own.device_number(), own.is_device()), (device, is_device));
                assert_eq!(own.is_hop(), own == exit && exit != Exit::STACK, "{own:?}");
                // Whose packet it was is not kept.
                let (kind, number) = own.pack();
                assert_eq!(Exit::unpack(kind, number), exit);
                let decision = Decision::leaving(own, Status::Reply, 7, 8);
                assert_eq!(decision, Decision::new(verdict, Status::Reply, 7, 8));
            }
        }
    }
}
