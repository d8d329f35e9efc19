//! The spec oracle: a small, slow reference of what a service load balancer owes, and laws that hold for
//! every packet.
//!
//! Written from the requirements on NAT (RFC 4787, 5382, 5508, 7857, 1624 and their kin), from the rules of
//! Kubernetes and from `docs/deviations.md`, and not from the core, of which it takes nothing but the types
//! in which an engine tells what it did. It is a relation and no second datapath: given the cluster, the
//! connections so far, a packet, a hook, what was decided and what came out, is this among what may happen?
//! What is free (the backend, a source port) it learns from the first packet of a connection, and holds
//! the datapath to it afterwards.
//!
//! | part | says |
//! |---|---|
//! | [`wire`] | what a packet is, and how wrong its checksums are |
//! | [`rules`] | what Kubernetes says of the cluster: frontends, who is eligible, who is where |
//! | [`flow`] | connections, and how long they live |
//! | [`judge`] | the relation, packet by packet |
//! | [`open`] | which packets go on with a connection, which open one, and where to |
//! | [`told`] | what another node tells by an option or a tunnel |
//! | [`expect`] | what a packet looks like when it leaves |
//! | [`laws`] | what holds for every packet, whatever it is |
//! | [`run`] | scenarios through one engine |

mod expect;
mod flow;
mod judge;
mod laws;
mod open;
mod rules;
mod run;
mod told;
mod wire;

use std::collections::BTreeMap;
use std::net::IpAddr;

use twinpath_control::model::PortName;
use twinpath_core::seam::Nanos;

pub use run::SpecRun;

use self::flow::Flows;
use self::rules::Rules;
use self::wire::{End, Five, Kind};
use super::Coverage;

/// What a consistent choice may depend on: the service port, the client, the frontend's address and who is
/// eligible.
type ChoiceKey = (PortName, End, IpAddr, Vec<End>);

/// What is the same in all fragments of a datagram: both ends, identification and protocol.
type Datagram = (End, End, u32, u8);

/// What the reference knows.
struct Model {
    rules: Rules,
    flows: Flows,
    now: Nanos,
    /// First fragments, what they carried, and when they came.
    fragments: BTreeMap<Datagram, (Five, Kind, Nanos)>,
    affinities: BTreeMap<(PortName, IpAddr), (End, Nanos)>,
    choices: BTreeMap<ChoiceKey, End>,
    /// How many packets of each kind were answered.
    answered: BTreeMap<u32, u64>,
    coverage: Coverage,
}

impl Model {
    fn new(rules: Rules, now: Nanos) -> Self {
        Self {
            rules,
            flows: Flows::default(),
            now,
            fragments: BTreeMap::new(),
            affinities: BTreeMap::new(),
            choices: BTreeMap::new(),
            answered: BTreeMap::new(),
            coverage: Coverage::default(),
        }
    }

    fn saw(&mut self, what: &str) {
        self.coverage.count_if(true, what);
    }
}
