//! The numbers of the page, for programs.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Page;
use super::shares::Shares;
use crate::replay::outcome::Verdict;

/// Most drops and most services.
const MOST: usize = 500;

#[derive(Serialize)]
pub(super) struct Data {
    v: u8,
    complete: bool,
    packets: u64,
    flows: usize,
    verdicts: BTreeMap<&'static str, u64>,
    seed: u64,
    world: &'static str,
    twinpath: &'static str,
    command: String,
    line: Columns,
    drops: Vec<Drop>,
    shares: Vec<Service>,
    moved: u64,
    tables: Vec<Table>,
    evicted: Option<u64>,
}

/// Columns of time.
#[derive(Serialize)]
struct Columns {
    start_ns: u64,
    width_ns: u64,
    /// By verdict.
    packets: BTreeMap<&'static str, Vec<u64>>,
}

#[derive(Serialize)]
struct Drop {
    drop_reason_desc: &'static str,
    service: Option<String>,
    packets: u64,
    first: u64,
}

#[derive(Serialize)]
struct Service {
    service: String,
    connections: u64,
    backends: Vec<Backend>,
}

#[derive(Serialize)]
struct Backend {
    backend: String,
    connections: u64,
    expected: Option<f64>,
    low: Option<u64>,
    high: Option<u64>,
}

#[derive(Serialize)]
struct Table {
    node: String,
    conntrack_v4: usize,
    conntrack_v6: usize,
    affinities: usize,
    fragments: usize,
}

pub(super) fn data(page: &Page<'_>, shares: &[Shares]) -> Data {
    let (gather, totals) = (page.gather, page.run.totals);
    let line = gather.line.to_show(super::timeline::COLUMNS);
    let spans = line.dense();
    let of = |verdict: Verdict| -> Vec<u64> {
        let place = verdict as usize;
        spans.iter().map(|span| span.verdicts.get(place).copied().unwrap_or_default()).collect()
    };
    let mut drops: Vec<Drop> = gather
        .drops
        .iter()
        .map(|((reason, service), kind)| Drop {
            drop_reason_desc: reason.name(),
            service: service.map(|id| page.service(id)),
            packets: kind.count,
            first: kind.first,
        })
        .collect();
    drops.sort_by_key(|drop| std::cmp::Reverse(drop.packets));
    drops.truncate(MOST);
    // Not more bars than services may have in all, so that the page stays small.
    let mut room = MOST;
    let shares = shares.iter().take_while(|shares| {
        room = room.saturating_sub(shares.backends.len());
        room > 0
    });
    let tables = gather.tables.most.iter().take(MOST).map(|(node, most)| {
        let [conntrack_v4, conntrack_v6, affinities, fragments] = *most;
        let node = gather.nodes.get(*node).cloned().unwrap_or_default();
        Table { node, conntrack_v4, conntrack_v6, affinities, fragments }
    });
    Data {
        v: 1,
        complete: page.run.complete,
        packets: totals.packets,
        flows: page.run.flows,
        verdicts: Verdict::ALL.iter().map(|v| (v.name(), totals.with(*v))).collect(),
        seed: page.context.seed,
        world: page.context.world,
        twinpath: env!("CARGO_PKG_VERSION"),
        command: page.command.to_owned(),
        line: Columns {
            start_ns: line.start(),
            width_ns: line.width(),
            packets: Verdict::ALL.iter().map(|v| (v.name(), of(*v))).collect(),
        },
        drops,
        shares: shares.map(|shares| service(page, shares)).collect(),
        moved: totals.moved,
        tables: tables.collect(),
        evicted: gather.tables.known.then_some(gather.tables.evicted),
    }
}

fn service(page: &Page<'_>, shares: &Shares) -> Service {
    let backends = shares.backends.iter().map(|share| Backend {
        backend: page.backend(share.backend),
        connections: share.connections,
        expected: share.band.map(|band| band.expected),
        low: share.band.map(|band| band.low),
        high: share.band.map(|band| band.high),
    });
    Service {
        service: page.service(shares.service),
        connections: shares.connections,
        backends: backends.collect(),
    }
}
