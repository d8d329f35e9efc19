//! One packet and all that is known of it.

use std::net::IpAddr;

use twinpath_control::model::{
    Client, Frontend, FrontendKind, PortName, ServicePort, State, TrafficPolicy,
};
use twinpath_control::tables::Names;
use twinpath_core::drop_reason::DropReason;
use twinpath_core::hook::{Answer, Hook, Stage};
use twinpath_core::parse::{Parsed, parse};
use twinpath_core::service::{Scope, Service, ServiceKey};
use twinpath_core::verdict::Status;
use twinpath_sim::cluster::{Fate, Place};
use twinpath_sim::engine::NodeIndex;
use twinpath_sim::frame::Frame;
use twinpath_sim::topology::{Owner, Topology};

use super::log::{Entry, Event};
use super::sites::{self, Site};
use crate::replay::outcome::Outcome;

/// One packet, what became of it, and what was noted on its way.
pub struct Story<'a> {
    /// Its number in the captures, from 1; `None` of one that was typed.
    pub number: Option<u64>,
    /// When it was sent, in nanoseconds.
    pub now: u64,
    /// The packet as captured or typed.
    pub captured: Frame,
    /// How many of its bytes the capture has.
    pub have: usize,
    /// Why it was not replayed at all.
    pub broken: Option<String>,
    /// What became of it.
    pub outcome: Outcome,
    /// What was noted.
    pub events: Vec<Event>,
    /// Who is where.
    pub topology: &'a Topology,
    /// The cluster.
    pub state: &'a State,
    /// What numbers stand for.
    pub names: &'a Names,
    /// Entries of a Maglev slice.
    pub maglev_size: u32,
}

/// The service that a packet has to do with.
#[derive(Clone, Copy, Debug)]
pub struct Used<'a> {
    /// Its name.
    pub name: &'a PortName,
    /// What it is.
    pub port: &'a ServicePort,
    /// The entry of its frontend; `None` where a connection or nothing but the packet told.
    pub entry: Option<(ServiceKey, Service)>,
    /// What makes the address a frontend.
    pub kind: Option<FrontendKind>,
    /// Where the client is.
    pub client: Client,
    /// The node that balances.
    pub node: NodeIndex,
    /// Whether the frontend is of IPv4.
    pub v4: bool,
}

impl Used<'_> {
    /// The traffic policy that holds.
    pub fn policy(&self) -> Option<TrafficPolicy> {
        self.port.policy(self.kind?, self.client)
    }
}

/// Where and why a packet went no further.
#[derive(Clone, Debug)]
pub struct Dropped {
    /// The node,
    pub node: NodeIndex,
    /// the hook,
    pub hook: Hook,
    /// and the stage; `None` for the fast road.
    pub stage: Option<Stage>,
    /// Why.
    pub reason: DropReason,
    /// What its sender is told; nothing, where it is dropped all the same.
    pub answer: Answer,
    /// The lines of the core that can have given it up.
    pub sites: Vec<Site>,
}

impl<'a> Story<'a> {
    /// The packet as it was sent; as captured where it was not.
    pub fn sent(&self) -> &Frame {
        let seen = self.events.iter().find_map(|event| match event {
            Event::Seen(_, frame) => Some(frame),
            _ => None,
        });
        seen.unwrap_or(&self.captured)
    }

    /// Its headers as it was sent.
    pub fn parsed(&self) -> Option<Parsed> {
        parse(self.sent()).ok().flatten()
    }

    /// What became of it in the cluster.
    pub fn fate(&self) -> Option<Fate> {
        self.events.iter().rev().find_map(|event| match event {
            Event::Ended(fate) => Some(*fate),
            _ => None,
        })
    }

    /// What conntrack knew of it, where its outcome was decided.
    pub fn status(&self) -> Status {
        self.outcome.made.map_or(Status::Untracked, |made| made.decision.status())
    }

    /// The name of a node.
    pub fn node(&self, node: NodeIndex) -> &'a str {
        self.topology.nodes.get(node).map_or("-", |node| &node.name)
    }

    /// Who has an address: `pod default/web-a on node-a`.
    pub fn owner(&self, address: IpAddr) -> Option<String> {
        Some(match self.topology.owner(&address.into())? {
            Owner::Pod(pod) => {
                let pod = self.topology.pods.get(pod)?;
                format!("pod {} on {}", pod.name, self.node(pod.node))
            }
            Owner::Node(node) => self.node(node).to_owned(),
            Owner::Client(client) => {
                format!("client {}", self.topology.clients.get(client)?.name)
            }
            Owner::Router => "the router".into(),
        })
    }

    /// A place in words.
    pub fn place(&self, place: Place) -> String {
        let pod = |pod: twinpath_sim::topology::PodIndex| {
            self.topology.pods.get(pod).map_or_else(
                || "a pod".into(),
                |pod| format!("pod {} on {}", pod.name, self.node(pod.node)),
            )
        };
        let client = |client: twinpath_sim::topology::ClientIndex| {
            let info = self.topology.clients.get(client);
            info.map_or_else(|| "a client".into(), |client| format!("client {}", client.name))
        };
        match place {
            Place::PodOut(index) => format!("sent by {}", pod(index)),
            Place::PodIn(index) => format!("arrives at {}", pod(index)),
            Place::ClientOut(index) => format!("sent by {}", client(index)),
            Place::ClientIn(index) => format!("arrives at {}", client(index)),
            Place::Wire(node) => format!("on the link, from {}", self.node(node)),
            Place::Host(node) => format!("in the stack of {}", self.node(node)),
            Place::Outside(node) => format!("leaves the cluster from {}", self.node(node)),
            Place::FromRouter(node) => {
                format!("on the link, from the router to {}", self.node(node))
            }
            Place::Router => "in the router".into(),
        }
    }

    /// The first frontend that it was found to go to, or else the service of its connection, or else what
    /// the cluster has at its destination.
    pub fn used(&self) -> Option<Used<'a>> {
        let mut at = (0, Hook::FromPod);
        for event in &self.events {
            match event {
                Event::Hook(node, hook, ..) => at = (*node, *hook),
                Event::Looked(Entry::Service(key, Some(value)))
                    if key.slot == 0 && key.protocol != 0 =>
                {
                    let client = match key.scope() {
                        Scope::Internal => Client::Internal,
                        Scope::External => Client::External,
                    };
                    let mut used = self.of_number(value.id, at.0, client)?;
                    used.entry = Some((*key, *value));
                    used.kind = kind(used.port, key.address.into(), key.port.get());
                    used.v4 = key.address.is_v4();
                    return Some(used);
                }
                _ => {}
            }
        }
        if let Some(made) = self.outcome.made.filter(|made| made.decision.service != 0) {
            let client = match made.hook.scope() {
                Scope::Internal => Client::Internal,
                Scope::External => Client::External,
            };
            return self.of_number(made.decision.service, made.node, client);
        }
        None
    }

    fn of_number(&self, id: u32, node: NodeIndex, client: Client) -> Option<Used<'a>> {
        let name = self.names.services.get(&id)?;
        let port = self.state.services.get(name)?;
        let v4 = self.parsed().is_none_or(|parsed| parsed.tuple.is_v4());
        Some(Used { name, port, entry: None, kind: None, client, node, v4 })
    }

    /// Where it was dropped, if a hook did.
    pub fn dropped(&self) -> Option<Dropped> {
        let (mut start, mut stage) = (0, None);
        let mut refused = None;
        for (i, event) in self.events.iter().enumerate() {
            match event {
                Event::Hook(..) => (start, stage, refused) = (i, None, None),
                Event::Stage(Stage::Answer) => {}
                Event::Stage(next) => stage = Some(*next),
                // What follows is the making of the answer.
                Event::Refused(answer, _) => refused = Some((*answer, i)),
                Event::Decided(node, hook, decision) => {
                    let Some(reason) = decision.reason() else { continue };
                    let answered =
                        matches!(decision.verdict(), twinpath_core::verdict::Verdict::Reject(_));
                    let end = refused.map_or(i, |(_, end)| end);
                    let drop = sites::Drop {
                        hook: *hook,
                        stage,
                        reason,
                        answer: refused.map_or(Answer::None, |(answer, _)| answer),
                        v4: family(self.sent()),
                        protocol: protocol(self.sent()),
                        events: self.events.get(start..end).unwrap_or_default(),
                    };
                    let answer = if answered { drop.answer } else { Answer::None };
                    let (node, hook, sites) = (*node, *hook, drop.sites());
                    return Some(Dropped { node, hook, stage, reason, answer, sites });
                }
                _ => {}
            }
        }
        None
    }
}

/// What makes an address and port a frontend of a service's port.
pub fn kind(port: &ServicePort, address: IpAddr, number: u16) -> Option<FrontendKind> {
    let same = |frontend: &&Frontend| frontend.port == number && frontend.address == address;
    port.frontends.iter().find(same).map(|frontend| frontend.kind)
}

/// Whether an untagged frame has IPv4 in it, or else IPv6.
fn family(frame: &Frame) -> Option<bool> {
    match frame.bytes.get(12..14)? {
        [0x08, 0x00] => Some(true),
        [0x86, 0xdd] => Some(false),
        _ => None,
    }
}

/// The protocol that the IP header of an untagged frame names.
fn protocol(frame: &Frame) -> Option<u8> {
    frame.bytes.get(if family(frame)? { 23 } else { 20 }).copied()
}

#[cfg(test)]
mod tests;
