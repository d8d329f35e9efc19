//! Connections of captures, to be sent again between other ends.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;

use twinpath_sim::world::WorldError;

use super::exchange::{From, Step, What};
use super::view::View;
use crate::capture::{Capture, to_ethernet};

/// A connection.
#[derive(Clone, Debug)]
pub struct Flow {
    /// The capture, and the connection's ends there.
    pub name: String,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: &'static str,
    /// The family.
    pub v4: bool,
    /// Its packets.
    pub steps: Vec<Step>,
}

/// The largest packet that is sent: the links' own size.
const LARGEST: usize = 1_480;

/// The connections of all captures of a folder, the first so many packets of each.
pub fn folder(path: &Path, most: usize) -> Result<Vec<Flow>, WorldError> {
    let mut names: Vec<_> = std::fs::read_dir(path)
        .map_err(|error| WorldError::Failed(format!("{}: {error}", path.display())))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let kind = path.extension().and_then(|kind| kind.to_str());
            matches!(kind, Some("pcap" | "pcapng" | "cap"))
        })
        .collect();
    names.sort();
    let mut flows = Vec::new();
    for name in names {
        flows.extend(read(&name, most)?);
    }
    Ok(flows)
}

/// The connections of a capture, as far as it can be read, each up to its first fragment and the first packet
/// that no link takes. Left out are packets that are not whole or not a connection's, and tagged ones.
pub fn read(path: &Path, most: usize) -> Result<Vec<Flow>, WorldError> {
    let mut capture = Capture::open(path)
        .map_err(|error| WorldError::Failed(format!("{}: {error}", path.display())))?;
    let mut flows: BTreeMap<(u8, SocketAddr, SocketAddr), Flow> = BTreeMap::new();
    let (mut order, mut buffer, mut cut_off) = (Vec::new(), Vec::new(), BTreeSet::new());
    for _ in 0..most {
        let Ok(Some(record)) = capture.next() else { break };
        let Ok(frame) = to_ethernet(&record, &mut buffer) else { continue };
        let (Some(kind), Some(packet)) = (frame.data.get(12..14), frame.data.get(14..)) else {
            continue;
        };
        if !matches!(kind, [0x08, 0x00] | [0x86, 0xdd]) {
            continue;
        }
        let Some(view) = View::new(packet).and_then(|view| View::new(packet.get(..view.said()?)?))
        else {
            continue;
        };
        let protocol = match view.protocol {
            6 => "tcp",
            17 => "udp",
            132 => "sctp",
            _ => continue,
        };
        if view.source.port() == 0 {
            continue;
        }
        let (there, back) = (
            (view.protocol, view.source, view.destination),
            (view.protocol, view.destination, view.source),
        );
        let (key, from) =
            if flows.contains_key(&back) { (back, From::Server) } else { (there, From::Client) };
        let flow = flows.entry(key).or_insert_with(|| {
            order.push(key);
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            Flow {
                name: format!("{} {} > {}", name.unwrap_or_default(), key.1, key.2),
                protocol,
                v4: key.1.is_ipv4(),
                steps: Vec::new(),
            }
        });
        // What follows on a packet that is left out would be one too many for who counts bytes.
        cut_off.extend((view.fragment.is_some() || view.bytes.len() > LARGEST).then_some(key));
        if cut_off.contains(&key) {
            continue;
        }
        let opens = flow.steps.is_empty();
        flow.steps.push(Step { from, what: What::Captured(view.bytes), opens });
    }
    let flows = order.iter().filter_map(|key| flows.remove(key));
    Ok(flows.filter(|flow| !flow.steps.is_empty()).collect())
}
