//! Backend shares as charts.

use super::shares::{Share, Shares};
use super::{Page, more, paragraph, words};
use crate::bench::quantity::digits;
use crate::report::html::chart::{Counted, counted};
use crate::report::html::{escape, list};

/// Most services with a chart.
const SERVICES: usize = 24;
/// Most bars of a chart.
const BARS: usize = 16;
/// Most outliers that are named.
const OUTLIERS: usize = 20;

pub(super) fn content(page: &Page<'_>, all: &[Shares]) -> String {
    if all.is_empty() {
        return paragraph("No connection was given to a backend.");
    }
    let mut text = outliers(page, all);
    text += "<p class=\"soft\">Bars are connections; the box is where 95 of 100 replays with other seeds \
             would leave them (binomial: exact, and the normal approximation where the choice was not always \
             among the same), the thick line what is expected. Requests that were \
             dropped are not among them.</p>\n<div class=\"charts\">\n";
    for (place, shares) in all.iter().take(SERVICES).enumerate() {
        text += &figure(page, shares, place + 1);
    }
    text + "</div>\n" + &more(all.len(), SERVICES, "more services, with fewer connections")
}

fn figure(page: &Page<'_>, shares: &Shares, number: usize) -> String {
    let mut backends: Vec<&Share> = shares.backends.iter().collect();
    if backends.len() > BARS {
        // Those that are most of note, and of the others the first.
        backends.sort_by_key(|share| (!share.is_far, !share.is_out(), share.backend));
    }
    let bars: Vec<Counted> =
        backends.iter().take(BARS).map(|share| bar(page, shares, share)).collect();
    let name = page.service(shares.service);
    let of = words::count(shares.connections, "connection");
    let title = format!("{name}: {of}");
    let said: Vec<String> = bars.iter().map(|bar| format!("{} {}", bar.name, bar.shown)).collect();
    let description = format!("{}. {}", said.join("; "), shares.how);
    let hidden = backends.len().saturating_sub(BARS);
    let hidden = if hidden > 0 {
        format!("<p class=\"soft\">and {} more backends</p>\n", words::grouped(hidden as u64))
    } else {
        String::new()
    };
    format!(
        "<figure>\n<figcaption><b>{}</b>{}; {}</figcaption>\n{}{hidden}</figure>\n",
        escape(&name),
        escape(&of),
        escape(&shares.how),
        counted(&format!("share{number}"), &title, &description, &bars)
    )
}

fn bar(page: &Page<'_>, shares: &Shares, share: &Share) -> Counted {
    let part = 100.0 * share.connections as f64 / shares.connections.max(1) as f64;
    let mark = match (share.is_far, share.is_out()) {
        (true, _) => " !",
        (false, true) => " \u{b7}",
        (false, false) => "",
    };
    Counted {
        name: page.backend(share.backend),
        class: if share.is_far { 3 } else { 0 },
        count: share.connections as f64,
        band: share.band.map(|band| (band.expected, band.low as f64, band.high as f64)),
        shown: format!("{} ({part:.0} %){mark}", words::grouped(share.connections)),
    }
}

/// Which backends are outside of their bands, and how many would be by chance.
fn outliers(page: &Page<'_>, all: &[Shares]) -> String {
    let judged: usize = all.iter().map(Shares::judged).sum();
    if judged == 0 {
        return paragraph(
            "For no service is it known what share of its connections a backend should have.",
        );
    }
    let out: Vec<(&Shares, &Share)> = all
        .iter()
        .flat_map(|shares| shares.backends.iter().map(move |share| (shares, share)))
        .filter(|(_, share)| share.is_out())
        .collect();
    let far = out.iter().filter(|(_, share)| share.is_far).count();
    let mut of = words::count(judged as u64, "backend");
    let services = all.iter().filter(|shares| shares.judged() > 0).count();
    if services < all.len() {
        of += &format!(
            " of {} of {} (of the others nothing is expected, or it was not worked out)",
            words::grouped(services as u64),
            words::count(all.len() as u64, "service"),
        );
    }
    if out.is_empty() {
        return paragraph(&format!("Of {of}, all are within their 95 % bands."));
    }
    let beyond = match far {
        0 => "None of them is farther off than chance takes one of so many.".to_owned(),
        far => format!(
            "{}, marked !, farther off than chance takes one of so many.",
            if far == 1 {
                "One is".to_owned()
            } else {
                format!("{} are", words::grouped(far as u64))
            }
        ),
    };
    let mut text = paragraph(&format!(
        "Of {of}, {} outside of the 95 % band, marked \u{b7}, where chance alone puts up to one in twenty. {beyond}",
        if out.len() == 1 {
            "one is".to_owned()
        } else {
            format!("{} are", words::grouped(out.len() as u64))
        },
    ));
    let mut ordered = out.clone();
    ordered.sort_by_key(|(_, share)| !share.is_far);
    text += &list(ordered.iter().take(OUTLIERS).filter_map(|(shares, share)| {
        let band = share.band?;
        Some(format!(
            "{} of {}: {} where {} are expected ({} to {}){}",
            page.backend(share.backend),
            page.service(shares.service),
            words::grouped(share.connections),
            digits(band.expected),
            words::grouped(band.low),
            words::grouped(band.high),
            if share.is_far { " !" } else { "" }
        ))
    }));
    text + &more(out.len(), OUTLIERS, "more")
}
