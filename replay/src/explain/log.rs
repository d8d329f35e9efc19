//! What is noted of one packet's way, in order.

use std::cell::RefCell;
use std::rc::Rc;

use twinpath_core::address::Address;
use twinpath_core::affinity::{Affinity, Client};
use twinpath_core::backend::{Backend, BackendId};
use twinpath_core::bytes::Pod;
use twinpath_core::conntrack::Flow;
use twinpath_core::drop_reason::DropReason;
use twinpath_core::endpoint::Endpoint;
use twinpath_core::fragment::{Datagram, Ports};
use twinpath_core::hook::{Answer, Hook, Stage};
use twinpath_core::limit::Bucket;
use twinpath_core::range::RangeKey;
use twinpath_core::seam::{InsertError, Metric, Put};
use twinpath_core::service::{Member, Service, ServiceKey};
use twinpath_core::tuple::{Tuple, Tuple4};
use twinpath_core::verdict::{Decision, IfIndex};
use twinpath_sim::cluster::{Fate, Place};
use twinpath_sim::engine::NodeIndex;
use twinpath_sim::frame::Frame;

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The packet was seen at a place.
    Seen(Place, Frame),
    /// A hook of a node met it like this, by a device: the fast road begins.
    Hook(NodeIndex, Hook, IfIndex, Frame),
    /// The slow road went on with this stage.
    Stage(Stage),
    /// A table was asked.
    Looked(Entry),
    /// A table was written to; the entry's value is what was put in.
    Inserted(Entry, Put, Result<(), InsertError>),
    /// An entry was taken out; whether it was there.
    Removed(Entry, bool),
    /// The dice gave a number.
    Drawn(u32),
    /// A counter went up.
    Counted(Metric),
    /// A stage gave up for a reason; the sender is to be told so.
    Refused(Answer, DropReason),
    /// The hook was done with it, and left it like this.
    Left(Frame),
    /// The hook decided.
    Decided(NodeIndex, Hook, Decision),
    /// What became of the packet.
    Ended(Fate),
}

/// A table's entry as it was met: its key, and the value if there was one.
#[derive(Clone, Debug)]
pub enum Entry {
    /// Of `SERVICES`.
    Service(ServiceKey, Option<Service>),
    /// Of `BACKENDS`.
    Backend(BackendId, Option<Backend>),
    /// Of `MAGLEV`.
    Maglev(u32, Option<BackendId>),
    /// Of `MEMBERS`.
    Member(Member, Option<u32>),
    /// Of `ENDPOINTS`.
    Endpoint(Address, Option<Endpoint>),
    /// Of `RANGES`.
    Range(RangeKey, Option<u32>),
    /// Of `TERMINATIONS`.
    Termination(Tuple, Option<BackendId>),
    /// Of `RESERVED`.
    Reserved(u32, Option<u64>),
    /// Of `LIMITS`.
    Limit(u32, Option<Bucket>),
    /// Of `CONNTRACK4` or `CONNTRACK6`.
    Flow(Tuple, Option<Flow>),
    /// Of `AFFINITIES`.
    Affinity(Client, Option<Affinity>),
    /// Of `FRAGMENTS`.
    Fragment(Datagram, Option<Ports>),
}

impl Entry {
    /// The table, as docs/architecture.md and the programs name it.
    pub const fn map(&self) -> &'static str {
        match self {
            Self::Service(..) => "SERVICES",
            Self::Backend(..) => "BACKENDS",
            Self::Maglev(..) => "MAGLEV",
            Self::Member(..) => "MEMBERS",
            Self::Endpoint(..) => "ENDPOINTS",
            Self::Range(..) => "RANGES",
            Self::Termination(..) => "TERMINATIONS",
            Self::Reserved(..) => "RESERVED",
            Self::Limit(..) => "LIMITS",
            Self::Flow(key, _) if key.is_v4() => "CONNTRACK4",
            Self::Flow(..) => "CONNTRACK6",
            Self::Affinity(..) => "AFFINITIES",
            Self::Fragment(..) => "FRAGMENTS",
        }
    }

    /// Whether there was a value.
    pub const fn is_there(&self) -> bool {
        match self {
            Self::Service(_, value) => value.is_some(),
            Self::Backend(_, value) => value.is_some(),
            Self::Maglev(_, value) => value.is_some(),
            Self::Member(_, value) => value.is_some(),
            Self::Endpoint(_, value) => value.is_some(),
            Self::Range(_, value) => value.is_some(),
            Self::Termination(_, value) => value.is_some(),
            Self::Reserved(_, value) => value.is_some(),
            Self::Limit(_, value) => value.is_some(),
            Self::Flow(_, value) => value.is_some(),
            Self::Affinity(_, value) => value.is_some(),
            Self::Fragment(_, value) => value.is_some(),
        }
    }

    /// The bytes of the key, as the kernel's map has them.
    pub fn key_bytes(&self) -> Vec<u8> {
        match self {
            Self::Service(key, _) => key.as_bytes().to_vec(),
            Self::Backend(key, _)
            | Self::Maglev(key, _)
            | Self::Reserved(key, _)
            | Self::Limit(key, _) => key.as_bytes().to_vec(),
            Self::Member(key, _) => key.as_bytes().to_vec(),
            Self::Endpoint(key, _) => key.as_bytes().to_vec(),
            Self::Range(key, _) => key.as_bytes().to_vec(),
            Self::Flow(key, _) if key.is_v4() => Tuple4::from(key).as_bytes().to_vec(),
            Self::Termination(key, _) | Self::Flow(key, _) => key.as_bytes().to_vec(),
            Self::Affinity(key, _) => key.as_bytes().to_vec(),
            Self::Fragment(key, _) => key.as_bytes().to_vec(),
        }
    }
}

/// The notes of a packet, which all who watch it share.
#[derive(Clone, Debug, Default)]
pub struct Log(Rc<RefCell<Vec<Event>>>);

impl Log {
    /// Notes something.
    pub fn note(&self, event: Event) {
        // Nobody holds the notes while another note is made.
        if let Ok(mut events) = self.0.try_borrow_mut() {
            events.push(event);
        }
    }

    /// All notes; from then on there are none.
    pub fn take(&self) -> Vec<Event> {
        self.0.try_borrow_mut().map(|mut events| std::mem::take(&mut *events)).unwrap_or_default()
    }
}
