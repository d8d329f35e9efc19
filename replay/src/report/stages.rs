//! The pcapng with an interface per stage.

use std::io::{self, Write};

use twinpath_sim::cluster::Place;
use twinpath_sim::map::WordMap;
use twinpath_sim::topology::Topology;

use super::table::packet_words;
use super::{Context, Seen};
use crate::capture::{Direction, PacketOptions, StageWriter};
use crate::replay::outcome::Verdict;

/// `TC_ACT_OK` and `TC_ACT_SHOT`.
const OK: u64 = 0;
const SHOT: u64 = 2;

/// Every stage of every packet's way.
pub struct Stages {
    writer: StageWriter<Box<dyn Write>>,
    numbers: WordMap<Place, u32>,
}

impl Stages {
    /// Writes the head of the file.
    pub fn new(output: Box<dyn Write>, context: &Context<'_>) -> io::Result<Self> {
        let comment = format!(
            "twinpath {} replay, world {}, seed {}, cluster {}",
            env!("CARGO_PKG_VERSION"),
            context.world,
            context.seed,
            context.source
        );
        Ok(Self { writer: StageWriter::new(output, &[], &comment)?, numbers: WordMap::default() })
    }

    /// Writes a packet at every place where it was seen. The last of them is where it arrived, or from
    /// where it was dropped. One that nobody could send is on the stage `unsent`.
    pub fn packet(&mut self, context: &Context<'_>, seen: &Seen<'_>) -> io::Result<()> {
        let comment = comment(context, seen);
        let dropped = seen.outcome.verdict == Verdict::Dropped;
        let mut options = PacketOptions {
            comment: Some(&comment),
            packet_id: Some(seen.number),
            verdict: None,
            direction: None,
        };
        let timestamp = seen.packet.timestamp;
        let places = seen.recorder.seen();
        if places.is_empty() {
            let stage = self.writer.stage("unsent")?;
            let packet = seen.packet;
            return self.writer.write(stage, timestamp, packet.data, packet.original_len, &options);
        }
        for (index, (place, frame)) in places.iter().enumerate() {
            let number = match self.numbers.get(place) {
                Some(number) => *number,
                None => {
                    let number = self.writer.stage(&name(*place, seen.topology))?;
                    self.numbers.insert(*place, number);
                    number
                }
            };
            let last = index + 1 == places.len();
            options.verdict = last.then_some(if dropped { SHOT } else { OK });
            options.direction = Some(match place {
                Place::PodIn(_) | Place::Host(_) | Place::Router | Place::ClientIn(_) => {
                    Direction::Inbound
                }
                _ => Direction::Outbound,
            });
            let length = u32::try_from(frame.bytes.len()).unwrap_or(u32::MAX);
            self.writer.write(number, timestamp, &frame.bytes, length, &options)?;
        }
        Ok(())
    }

    /// Writes what is left.
    pub fn finish(self) -> io::Result<()> {
        self.writer.finish().map(drop)
    }
}

/// `#5 TRANSLATED 10.244.1.10:20804 > 10.96.0.80:80 tcp S: default/web:http/TCP to default/web-a`.
fn comment(context: &Context<'_>, seen: &Seen<'_>) -> String {
    let sent = seen.sent();
    let outcome = seen.outcome;
    let packet = packet_words(sent.as_ref(), seen);
    let mut text = format!("#{} {} {packet}", seen.number, outcome.verdict.name());
    if let Some(service) = super::table::service(context, seen, sent.as_ref()) {
        text.push_str(&format!(", service {service}"));
    }
    if let Some((_, backend)) = context.backend(outcome) {
        let address = std::net::SocketAddr::new(backend.address, backend.port);
        text.push_str(&format!(", backend {address}"));
        if let Some(pod) = &backend.pod {
            text.push_str(&format!(" ({pod})"));
        }
    }
    if let Some(reason) = outcome.reason {
        text.push_str(&format!(", {} ({})", reason.name(), reason as u8));
    }
    if let Some(made) = outcome.made {
        let status = made.decision.status().name();
        text.push_str(&format!(", {} on {}, ct {status}", made.hook.name(), seen.node(made.node)));
    }
    if let Some(difference) = &outcome.difference {
        text.push_str(&format!(", reply differs: {difference}"));
    }
    if let Some(theirs) = seen.packet.comment {
        text.push_str(" | ");
        text.push_str(theirs);
    }
    text
}

/// `node-a/default/client/out`, `node-a/wire`.
pub(crate) fn name(place: Place, topology: &Topology) -> String {
    let node = |node: usize| topology.nodes.get(node).map_or("-", |node| node.name.as_str());
    let pod = |pod: usize, way: &str| match topology.pods.get(pod) {
        Some(info) => format!("{}/{}/{way}", node(info.node), info.name),
        None => format!("pod-{pod}/{way}"),
    };
    let client = |client: usize, way: &str| match topology.clients.get(client) {
        Some(info) => format!("{}/{way}", info.name),
        None => format!("client-{client}/{way}"),
    };
    match place {
        Place::PodOut(index) => pod(index, "out"),
        Place::PodIn(index) => pod(index, "in"),
        Place::Wire(index) => format!("{}/wire", node(index)),
        Place::Host(index) => format!("{}/host", node(index)),
        Place::Outside(index) => format!("{}/outside", node(index)),
        Place::FromRouter(index) => format!("router/{}", node(index)),
        Place::Router => "router/in".to_owned(),
        Place::ClientOut(index) => client(index, "out"),
        Place::ClientIn(index) => client(index, "in"),
    }
}
