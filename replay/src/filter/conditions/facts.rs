//! What conditions are about: a packet before and after its translation, and who has to do with it.

use std::net::IpAddr;

use twinpath_control::objects::ObjectName;
use twinpath_core::parse::{Parsed, Transport, parse};
use twinpath_core::tuple::Tuple;
use twinpath_sim::frame::Frame;
use twinpath_sim::topology::Owner;

use crate::replay::flows::Role;
use crate::replay::outcome::Verdict;
use crate::report::{Context, Seen, table};
use crate::worlds::Sender;

/// A packet's tuples, and where to look further.
pub(super) struct Facts<'a> {
    pub(super) seen: &'a Seen<'a>,
    context: &'a Context<'a>,
    /// As captured, as it was sent, and as it was seen last.
    tuples: [Option<Tuple>; 3],
    /// Whether there are ports in them.
    ported: bool,
    sent: Option<Parsed>,
}

impl<'a> Facts<'a> {
    pub(super) fn new(context: &'a Context<'a>, seen: &'a Seen<'a>) -> Self {
        let mut frame = Frame::default();
        seen.packet.fill(&mut frame);
        let captured = parse(&frame).ok().flatten();
        let sent = seen.sent();
        // Of a packet that was refused, the last is the answer to its sender, and no form of it.
        let refused = |last: &Parsed| {
            let back = sent.is_some_and(|sent| sent.tuple.source == last.tuple.destination);
            back && seen.outcome.verdict == Verdict::Dropped
        };
        let last = seen.last().filter(|last| !refused(last));
        let ported = captured.is_some_and(|parsed| {
            matches!(parsed.transport, Transport::Tcp | Transport::Udp | Transport::Sctp)
        });
        let tuples = [&captured, &sent, &last].map(|parsed| parsed.map(|parsed| parsed.tuple));
        Self { seen, context, tuples, ported, sent }
    }

    fn tuples(&self) -> impl Iterator<Item = &Tuple> {
        self.tuples.iter().flatten()
    }

    /// All addresses of an end, before and after translation.
    pub(super) fn addresses(&self, destination: bool) -> impl Iterator<Item = IpAddr> {
        self.tuples().map(
            move |tuple| {
                if destination { tuple.destination.into() } else { tuple.source.into() }
            },
        )
    }

    /// All ports of an end.
    pub(super) fn ports(&self, destination: bool) -> impl Iterator<Item = u16> {
        self.tuples().filter(|_| self.ported).map(move |tuple| {
            if destination { tuple.destination_port.get() } else { tuple.source_port.get() }
        })
    }

    pub(super) fn protocol(&self) -> Option<u8> {
        self.tuples().next().map(|tuple| tuple.protocol)
    }

    /// The pods that send or receive it, or have one of its addresses.
    pub(super) fn pods(&self, destination: bool) -> impl Iterator<Item = &ObjectName> {
        let topology = self.seen.topology;
        let sender = match self.seen.outcome.sender {
            Some(Sender::Pod(pod)) if !destination => Some(pod),
            _ => None,
        };
        let owners = self.addresses(destination).filter_map(|address| {
            match topology.owner(&address.into()) {
                Some(Owner::Pod(pod)) => Some(pod),
                _ => None,
            }
        });
        sender.into_iter().chain(owners).filter_map(|pod| Some(&topology.pods.get(pod)?.name))
    }

    /// The service that it comes from or goes to.
    pub(super) fn service(&self, destination: bool) -> Option<&ObjectName> {
        let there = matches!(self.seen.outcome.role, Some(Role::Request));
        if there != destination {
            return None;
        }
        table::service(self.context, self.seen, self.sent.as_ref()).map(|name| &name.service)
    }

    /// The nodes that it was sent from, and that decided about it.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &str> {
        let topology = self.seen.topology;
        let sender = match self.seen.outcome.sender {
            Some(Sender::Pod(pod)) => topology.pods.get(pod).map(|pod| pod.node),
            Some(Sender::Node(node)) => Some(node),
            Some(Sender::Client(_)) | None => None,
        };
        let decided = self.seen.outcome.made.map(|made| made.node);
        sender.into_iter().chain(decided).map(|node| self.seen.node(node))
    }
}
