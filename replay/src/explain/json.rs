//! The explanation for programs: a line per packet, the summary last. `schema/explain.schema.json` says
//! what is in them.

use std::io::{self, Write};

use serde::Serialize;

use super::endpoints::judge;
use super::kube_proxy::kube_proxy;
use super::steps::steps;
use super::story::Story;
use super::why::{see, why};

/// The version of the format: a field that is there keeps its name, type and meaning.
const VERSION: u8 = 1;

#[derive(Serialize)]
struct Line<'a> {
    v: u8,
    #[serde(rename = "type")]
    kind: &'static str,
    n: Option<u64>,
    packet: String,
    verdict: &'static str,
    replayed: bool,
    drop_reason_desc: Option<&'static str>,
    drop_reason: Option<u8>,
    drop: Option<Drop<'a>>,
    service: Option<Service<'a>>,
    endpoints: Vec<Endpoint<'a>>,
    steps: Vec<Step<'a>>,
    why: String,
    kube_proxy: Option<KubeProxy>,
    see: Vec<String>,
}

#[derive(Serialize)]
struct Drop<'a> {
    node: &'a str,
    hook: &'static str,
    stage: Option<&'static str>,
    sites: Vec<String>,
    answered: bool,
}

#[derive(Serialize)]
struct Service<'a> {
    namespace: &'a str,
    name: &'a str,
    port: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
}

#[derive(Serialize)]
struct Endpoint<'a> {
    address: String,
    pod: Option<String>,
    node: Option<&'a str>,
    eligible: bool,
    standing: &'static str,
}

#[derive(Serialize)]
struct Step<'a> {
    s: usize,
    what: &'static str,
    text: String,
    node: Option<&'a str>,
    hook: Option<&'static str>,
    stage: Option<&'static str>,
    map: Option<&'static str>,
    operation: Option<&'static str>,
    key: Option<String>,
    key_hex: Option<String>,
    value: Option<String>,
    details: Vec<String>,
}

#[derive(Serialize)]
struct KubeProxy {
    verdict: &'static str,
    text: String,
    deviations: Vec<u8>,
}

#[derive(Serialize)]
struct Summary<'a> {
    v: u8,
    #[serde(rename = "type")]
    kind: &'static str,
    complete: bool,
    explained: u64,
    seed: u64,
    world: &'static str,
    cluster: &'a str,
    twinpath: &'static str,
}

fn line(output: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *output, value)?;
    output.write_all(b"\n")
}

/// The line of a packet.
pub fn write(output: &mut dyn Write, story: &Story<'_>) -> io::Result<()> {
    let used = story.used();
    let dropped = story.dropped();
    let mut endpoints = Vec::new();
    if let Some((used, policy)) = used.and_then(|used| Some((used, used.policy()?))) {
        let place = story.state.place(story.node(used.node));
        for (endpoint, standing) in judge(used.port, policy, used.v4, &place) {
            endpoints.push(Endpoint {
                address: std::net::SocketAddr::new(endpoint.address, endpoint.port).to_string(),
                pod: endpoint.pod.as_ref().map(ToString::to_string),
                node: endpoint.node.as_deref(),
                eligible: standing.is_eligible(),
                standing: standing.name(),
            });
        }
    }
    let steps = steps(story).into_iter().enumerate().map(|(i, step)| Step {
        s: i.saturating_add(1),
        what: step.what,
        text: step.text,
        node: step.at.map(|(node, _)| story.node(node)),
        hook: step.at.map(|(_, hook)| hook.name()),
        stage: step.stage,
        map: step.map,
        operation: step.operation,
        key: step.key,
        key_hex: step.key_bytes.map(|bytes| bytes.iter().map(|b| format!("{b:02x}")).collect()),
        value: step.value,
        details: step.details,
    });
    let packet = match &story.broken {
        Some(why) => why.clone(),
        None => crate::scenario::packet_text(&story.captured.bytes),
    };
    line(
        output,
        &Line {
            v: VERSION,
            kind: "explain",
            n: story.number,
            packet,
            verdict: story.outcome.verdict.name(),
            replayed: story.broken.is_none(),
            drop_reason_desc: story
                .outcome
                .reason
                .map(twinpath_core::drop_reason::DropReason::name),
            drop_reason: story.outcome.reason.map(|reason| reason as u8),
            drop: dropped.as_ref().map(|dropped| Drop {
                node: story.node(dropped.node),
                hook: dropped.hook.name(),
                stage: dropped.stage.map(twinpath_core::hook::Stage::program),
                sites: dropped.sites.iter().map(ToString::to_string).collect(),
                answered: dropped.answer != twinpath_core::hook::Answer::None,
            }),
            service: used.map(|used| Service {
                namespace: &used.name.service.namespace,
                name: &used.name.service.name,
                port: &used.name.port,
                kind: used.port.kind.name(),
            }),
            endpoints,
            steps: steps.collect(),
            why: why(story),
            kube_proxy: kube_proxy(story).map(|said| KubeProxy {
                verdict: said.verdict,
                text: said.text,
                deviations: said.deviations,
            }),
            see: see(story),
        },
    )
}

/// The last line.
pub fn summary(
    output: &mut dyn Write,
    explained: u64,
    complete: bool,
    seed: u64,
    cluster: &str,
) -> io::Result<()> {
    let (kind, world) = ("summary", "sim");
    let twinpath = env!("CARGO_PKG_VERSION");
    line(output, &Summary { v: VERSION, kind, complete, explained, seed, world, cluster, twinpath })
}
