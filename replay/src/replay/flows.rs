//! What a replay knows of the flows of a capture: who sends them, and which backend they were given.

use twinpath_core::backend::BackendId;
use twinpath_core::tuple::{Tuple, Tuple4};
use twinpath_sim::map::WordMap;

use super::reply::Given;
use crate::worlds::Sender;

/// A flow's number, from 0, in the order of their first packets.
pub type FlowIndex = usize;

/// What a packet is, seen from the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sent to a frontend.
    Request,
    /// Received from a frontend, by the sender of the request.
    Reply,
    /// Received from a frontend, and no request was seen.
    Orphan,
    /// No service has to do with it.
    Plain,
}

/// One direction of a flow.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// What its packets are.
    pub role: Role,
    /// See [`super::partial::pseudo`].
    pub pseudo: u16,
    /// The flow.
    pub flow: FlowIndex,
    /// Who sends its packets; not used for replies, which the backend sends.
    pub sender: Sender,
}

/// Both directions.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// Who sends the requests and receives the replies: a pod, or a client outside.
    pub client: Option<Sender>,
    /// The backend, as who answers.
    pub given: Option<Given>,
    /// The backend's number.
    pub backend: BackendId,
}

/// All flows so far.
#[derive(Debug, Default)]
pub struct Flows {
    /// By the two words of [`short`]: every packet is looked up here.
    v4: WordMap<Tuple4, Entry>,
    v6: WordMap<Tuple, Entry>,
    flows: Vec<Flow>,
}

impl Flows {
    /// The direction with this tuple.
    #[inline(always)]
    pub fn get(&self, tuple: &Tuple) -> Option<Entry> {
        if tuple.is_v4() { self.v4.get(&Tuple4::from(tuple)) } else { self.v6.get(tuple) }.copied()
    }

    /// The direction with this tuple of IPv4.
    #[inline(always)]
    pub fn get4(&self, tuple: &Tuple4) -> Option<Entry> {
        self.v4.get(tuple).copied()
    }

    /// The number of the flow that the tuple belongs to in either direction, a new one if need be.
    pub fn number(&mut self, tuple: &Tuple) -> FlowIndex {
        let known = self.get(tuple).or_else(|| self.get(&tuple.reverse()));
        known.map_or_else(
            || {
                self.flows.push(Flow { client: None, given: None, backend: 0 });
                self.flows.len().saturating_sub(1)
            },
            |entry| entry.flow,
        )
    }

    /// Puts a direction in.
    pub fn put(&mut self, tuple: Tuple, entry: Entry) {
        if tuple.is_v4() {
            self.v4.insert(Tuple4::from(&tuple), entry);
        } else {
            self.v6.insert(tuple, entry);
        }
    }

    /// A flow.
    #[inline]
    pub fn flow(&self, flow: FlowIndex) -> Option<&Flow> {
        self.flows.get(flow)
    }

    /// A flow, to change.
    pub fn flow_mut(&mut self, flow: FlowIndex) -> Option<&mut Flow> {
        self.flows.get_mut(flow)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }
}
