//! Connections that went on to another backend.

use std::net::SocketAddr;

use super::{Page, more, paragraph, words};
use crate::report::html;

/// Most rows.
const ROWS: usize = 50;

pub(super) fn content(page: &Page<'_>) -> String {
    let totals = page.run.totals;
    if totals.moved == 0 {
        return paragraph("None: every connection stayed with the backend that it was given.");
    }
    let socket = |address, port| SocketAddr::new(std::net::IpAddr::from(address), port).to_string();
    let rows: Vec<Vec<String>> = totals
        .moves
        .iter()
        .take(ROWS)
        .map(|one| {
            let tuple = &one.tuple;
            vec![
                format!("#{}", one.packet),
                format!(
                    "{}\n> {}",
                    socket(tuple.source, tuple.source_port.get()),
                    socket(tuple.destination, tuple.destination_port.get())
                ),
                page.service(one.service),
                page.backend(one.from).replacen(' ', "\n", 1),
                page.backend(one.to).replacen(' ', "\n", 1),
            ]
        })
        .collect();
    let heads = ["From packet", "Connection", "Service", "Had", "Has"];
    let first = totals.moves.first().map_or_else(String::new, |one| {
        format!(
            "<p class=\"command\">Why: <code>{}</code></p>\n",
            html::escape(&page.explained(one.packet))
        )
    });
    paragraph(&format!(
        "{} sent elsewhere while they lasted. Whoever answers there knows nothing of what was said before.",
        if totals.moved == 1 {
            "One connection was".to_owned()
        } else {
            format!("{} connections were", words::grouped(totals.moved))
        }
    )) + &html::table(&heads, 5, &rows)
        + &more(usize::try_from(totals.moved).unwrap_or(usize::MAX), rows.len(), "more connections")
        + &first
}
