//! What the page cannot speak of. Never hidden: a verdict on what was not seen is none.

use super::gather::Kind;
use super::{Page, paragraph, words};
use crate::replay::outcome::Verdict;
use crate::report::html::{cards, escape, lines, list};

pub(super) fn content(page: &Page<'_>) -> String {
    let (unknown, totals) = (&page.gather.unknown, page.run.totals);
    let mut rows = Vec::new();
    let mut row = |kind: &Kind, what: &str, why: &str| {
        if kind.count > 0 {
            let first = if kind.words.is_empty() {
                format!("#{}", kind.first)
            } else {
                format!("#{}\n{}", kind.first, kind.words)
            };
            let what = format!("{what}\n{why}");
            rows.push(vec![words::grouped(kind.count), lines(&what), lines(&first)]);
        }
    };
    row(
        &unknown.unmatched,
        "replies without a known request",
        "no backend can be told to send them, so they were not sent",
    );
    row(
        &unknown.broken,
        "packets that have no Ethernet form",
        "counted as forwarded, and no datapath has seen them",
    );
    row(
        &unknown.unreadable,
        "packets with headers that cannot be read",
        "dropped, or passed to the stack, as the datapath does with them",
    );
    row(
        &unknown.truncated,
        "packets that the capture cut",
        "zeroes stand for what is missing: headers are right, payloads and checksums over them are not looked at",
    );
    for (ethertype, kind) in &unknown.not_ip {
        let what = match ethertype {
            0 => "other packets that are no IP".to_owned(),
            0x0806 => "ARP packets".to_owned(),
            other => format!("packets of ethertype 0x{other:04x}"),
        };
        row(kind, &what, "no IP: the datapath lets them pass");
    }
    row(
        &unknown.early,
        "packets with a time before that of an earlier one",
        "the clock of the world does not go back: they are taken for as late as what came before",
    );
    let mut text = String::new();
    if !rows.is_empty() {
        text += &cards(&["Packets", "What", "First"], Some(0), &rows);
    }
    if totals.different > 0 {
        text += "<h3>Replies that did not arrive as captured</h3>\n";
        let shown = totals.differences.len() as u64;
        text +=
            &list(totals.differences.iter().map(|(n, difference)| format!("#{n}: {difference}")));
        if totals.different > shown {
            text += &paragraph(&format!("and {} more", words::grouped(totals.different - shown)));
        }
    } else if totals.checked > 0 {
        text += &paragraph(&format!(
            "{} sent by their backends and compared with the capture: all equal.",
            if totals.checked == 1 {
                "One reply was".into()
            } else {
                format!("{} replies were", words::grouped(totals.checked))
            }
        ));
    }
    if !page.warnings.is_empty() {
        text += "<h3>What was said of the input</h3>\n";
        text += &list(page.warnings.iter().cloned());
    }
    if text.is_empty() {
        text += &paragraph("Nothing: every packet was whole, readable and sent.");
    }
    text
}

/// The same in a line, for the top of the page.
pub(super) fn banner(page: &Page<'_>) -> String {
    let unknown = &page.gather.unknown;
    let parts: Vec<String> = [
        (page.run.totals.with(Verdict::Unmatched), "without a known request"),
        (unknown.broken.count, "without an Ethernet form"),
        (unknown.unreadable.count, "unreadable"),
        (unknown.truncated.count, "cut by the capture"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{} {what}", words::grouped(count)))
    .collect();
    if parts.is_empty() {
        return String::new();
    }
    format!(
        "<p class=\"soft\">Of the packets: {}; <a href=\"#unknown\">what that means</a>.</p>\n",
        escape(&parts.join(", "))
    )
}
