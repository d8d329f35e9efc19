//! The cluster that packets are sent through: read from dumps, or derived from the capture.

mod archive;
mod configuration;
pub mod derive;
pub mod load;
mod policies;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use twinpath_control::model::{Endpoint, Node, Pod, State};
use twinpath_control::objects::ObjectName;
use twinpath_control::tables::Options;

use crate::failure::Failure;
use crate::moment::Moment;

/// A cluster, ready for a world.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// The cluster.
    pub state: State,
    /// Where it comes from: `clusters/two-nodes.yaml`, or `derived from the capture`.
    pub source: String,
    /// What becomes of it later, in the order of time.
    pub changes: Vec<Change>,
    /// Whether it is derived: then a port of a server that is no service is plain traffic.
    pub derived: bool,
    /// How it is configured, where the dump says so: flags come before it.
    pub options: Options,
    /// Lines for the user about what was made up or may be wrong.
    pub notes: Vec<String>,
}

/// From some time on the cluster is another.
#[derive(Clone, Debug)]
pub struct Change {
    /// From when.
    pub at: Moment,
    /// What it is then.
    pub state: State,
}

impl Cluster {
    /// Reads `TIME=STATE`, and has it change to that state then.
    pub fn then(&mut self, text: &str) -> Result<(), Failure> {
        let (time, path) = text.split_once('=').ok_or_else(|| {
            Failure::Usage(format!("--then {text}: give TIME=STATE, such as 2.5=after.yaml"))
        })?;
        let at: Moment = time.parse().map_err(|error| {
            Failure::Usage(format!("--then {text}: {time:?} is no time: {error}"))
        })?;
        let Self { state, notes, .. } = load::load(&[path.into()])?;
        self.notes.extend(notes);
        self.source.push_str(&format!(", from {at} on {path}"));
        self.changes.push(Change { at, state });
        Ok(())
    }

    /// All that ever is in it: who is where, in a world that lives through the changes.
    pub fn everything(&self) -> State {
        let mut all = self.state.clone();
        for Change { state, .. } in &self.changes {
            for (name, node) in &state.nodes {
                all.nodes.entry(name.clone()).or_insert_with(|| node.clone());
            }
            for (name, pod) in &state.pods {
                all.pods.entry(name.clone()).or_insert_with(|| pod.clone());
            }
        }
        all
    }
}

/// How many endpoints of unknown place are put on one node. A node's endpoint table has 4,096 entries, and real
/// nodes have a few hundred pods.
const CROWD: usize = 2_000;

/// Adds what the simulation needs and a dump may lack: a node, and a pod behind every endpoint, since
/// only pods have devices to receive packets by. What was added is said in the notes.
fn complete(state: &mut State, notes: &mut Vec<String>) {
    let served = state.services.values().any(|port| !port.endpoints.is_empty());
    if state.nodes.is_empty() {
        state.nodes.insert("node-1".into(), Node::default());
        if served {
            notes.push(
                "no nodes in the dump: everything is on a made-up node-1; add `kubectl get nodes`"
                    .into(),
            );
        }
    }
    let Some(first) = state.nodes.keys().next().cloned() else { return };
    let owned: BTreeSet<IpAddr> = state
        .pods
        .values()
        .flat_map(|pod| &pod.addresses)
        .chain(state.nodes.values().flat_map(|node| &node.addresses))
        .copied()
        .collect();
    let endpoints = state.services.iter().flat_map(|(name, port)| {
        port.endpoints.iter().map(|endpoint| (name.service.namespace.clone(), endpoint))
    });
    let mut placeless: BTreeMap<IpAddr, usize> = BTreeMap::new();
    let missing: Vec<Pod> = endpoints
        .filter(|(_, endpoint)| !owned.contains(&endpoint.address))
        .map(|(namespace, endpoint)| {
            let place = match endpoint.node {
                Some(_) => 0,
                None => {
                    let next = placeless.len();
                    *placeless.entry(endpoint.address).or_insert(next) / CROWD
                }
            };
            let place = match place {
                0 => first.clone(),
                // Sorts behind it, so the first node stays the first.
                more => format!("{first}-more-{more}"),
            };
            pod_of(&namespace, endpoint, &place)
        })
        .collect();
    if placeless.len() > CROWD {
        notes.push(format!(
            "{} endpoints have no node in the dump: the first {CROWD} are on {first}, the others on made-up nodes {first}-more-1 and so on",
            placeless.len()
        ));
    }
    for pod in missing {
        if !state.nodes.contains_key(&pod.node) {
            state.nodes.insert(pod.node.clone(), Node::default());
        }
        state.pods.entry(pod.name.clone()).or_insert(pod);
    }
}

fn pod_of(namespace: &str, endpoint: &Endpoint, first: &str) -> Pod {
    Pod {
        name: ObjectName::new(namespace, &format!("endpoint-{}", endpoint.address)),
        addresses: vec![endpoint.address],
        node: endpoint.node.clone().unwrap_or_else(|| first.to_owned()),
        host_network: false,
    }
}
