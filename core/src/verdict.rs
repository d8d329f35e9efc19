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
}

/// How packets of one direction of a connection leave a node; the part of a [`Verdict`] that a
/// conntrack entry remembers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// Through the node's stack.
    Stack,
    /// To the pod behind this host-side device.
    Pod(IfIndex),
    /// Out of this device of the node.
    Device(IfIndex),
}

impl Exit {
    /// The verdict that sends a packet this way.
    #[inline(always)]
    pub const fn verdict(self) -> Verdict {
        match self {
            Self::Stack => Verdict::Pass,
            Self::Pod(device) => Verdict::Deliver(device),
            Self::Device(device) => Verdict::Forward(device),
        }
    }

    /// Whether the packet crosses this node as a router, which costs one hop of its time to live.
    /// The stack takes that hop itself.
    #[inline(always)]
    pub const fn is_hop(self) -> bool {
        !matches!(self, Self::Stack)
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

/// A verdict and how it came about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decision {
    /// What to do.
    pub verdict: Verdict,
    /// What conntrack knew.
    pub status: Status,
    /// The service that the packet belongs to, 0 for none.
    pub service: ServiceId,
    /// The backend that it was given, 0 for none.
    pub backend: BackendId,
}

impl Decision {
    /// A decision about a packet that belongs to no connection.
    #[inline(always)]
    pub const fn untracked(verdict: Verdict) -> Self {
        Self { verdict, status: Status::Untracked, service: 0, backend: 0 }
    }

    /// As five words, the form in which a program in the kernel reports a decision to a test.
    #[inline(always)]
    pub const fn to_words(&self) -> [u32; 5] {
        let (kind, detail) = match self.verdict {
            Verdict::Pass => (0, 0),
            Verdict::Drop(reason) => (1, reason as u32),
            Verdict::Deliver(device) => (2, device),
            Verdict::Forward(device) => (3, device),
        };
        [kind, detail, self.status as u32, self.service, self.backend]
    }

    /// The reverse of [`Self::to_words`]; `None` for words that no decision gives.
    pub fn from_words(words: [u32; 5]) -> Option<Self> {
        let [kind, detail, status, service, backend] = words;
        let verdict = match kind {
            0 => Verdict::Pass,
            1 => Verdict::Drop(DropReason::from_number(u8::try_from(detail).ok()?)?),
            2 => Verdict::Deliver(detail),
            3 => Verdict::Forward(detail),
            _ => return None,
        };
        let status = match status {
            0 => Status::Untracked,
            1 => Status::New,
            2 => Status::Established,
            3 => Status::Reply,
            4 => Status::Reopened,
            _ => return None,
        };
        Some(Self { verdict, status, service, backend })
    }
}
