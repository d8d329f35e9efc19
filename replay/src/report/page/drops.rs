//! Why packets were dropped, and on their way to which service.

use std::cmp::Reverse;
use std::fmt::Write as _;

use super::gather::Kind;
use super::{Page, more, paragraph, words};
use crate::replay::outcome::Verdict;
use crate::report::html::{cards, escape};

/// Most rows.
const ROWS: usize = 50;
/// Most of them whose first packet has a command.
const COMMANDS: usize = 12;

pub(super) fn content(page: &Page<'_>) -> String {
    let dropped = page.run.totals.with(Verdict::Dropped);
    if dropped == 0 {
        return paragraph("No packet was dropped.");
    }
    let mut rows: Vec<_> = page.gather.drops.iter().collect();
    rows.sort_by_key(|(cell, kind)| (Reverse(kind.count), **cell));
    let most = rows.first().map_or(1, |(_, kind)| kind.count.max(1));
    let cells = rows.iter().take(ROWS).enumerate().map(|(place, ((reason, service), kind))| {
        let name = service.map_or_else(|| "no service".into(), |id| page.service(id));
        let because = words::because_of(page.gather, *reason, *service);
        vec![
            words::grouped(kind.count),
            bar(kind.count as f64 / most as f64),
            format!("<code>{}</code><br/><small>{}</small>", reason.name(), escape(&because)),
            escape(&name),
            first(kind, place < COMMANDS),
        ]
    });
    let heads = ["Packets", "", "Reason", "Service", "First packet"];
    let mut table = cards(&heads, Some(0), &cells.collect::<Vec<_>>());
    table += &more(rows.len(), ROWS, "more pairs of a reason and a service");
    table += "<h3>To see why, step by step</h3>\n<ul class=\"commands\">\n";
    for ((reason, _), kind) in rows.iter().take(COMMANDS) {
        let _ = writeln!(
            table,
            "<li id=\"packet-{}\">packet {}, <small>{}</small><code>{}</code></li>",
            kind.first,
            words::grouped(kind.first),
            reason.name(),
            escape(&page.explained(kind.first))
        );
    }
    table + "</ul>\n"
}

fn first(kind: &Kind, has_command: bool) -> String {
    let number = format!("#{}", kind.first);
    let number = if has_command {
        format!("<a href=\"#packet-{}\">{number}</a>", kind.first)
    } else {
        number
    };
    format!("{number}<br/><small>{}</small>", escape(&kind.words))
}

fn bar(part: f64) -> String {
    format!(
        "<svg class=\"spark s3\" viewBox=\"0 0 100 12\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
         <rect class=\"bar\" width=\"{:.1}\" height=\"12\"/></svg>",
        (part * 100.0).max(1.0)
    )
}
