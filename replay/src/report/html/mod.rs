//! Pages that are one file: no script, no network, light and dark, for screen and paper.
//!
//! What is given as text is escaped here; what is called `body` or returned by [`chart`] is markup.

pub mod chart;
#[cfg(test)]
pub(crate) mod check;

use std::fmt::Write as _;

use serde::Serialize;
use twinpath_control::plain::is_order;

/// How all pages look. What a subject or a verdict looks like is a class `s0` to `s7`: a colour, to which
/// charts add dashes and markers.
const STYLE: &str = include_str!("style.css");

/// Text as markup.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            '\n' | '\t' => escaped.push(letter),
            // No page may have them, not even as references.
            _ if is_order(letter) => escaped.push('\u{fffd}'),
            _ => escaped.push(letter),
        }
    }
    escaped
}

/// A whole page. `data` is embedded as JSON under the id `data`, for whoever wants the numbers.
pub fn page(title: &str, body: &str, data: &impl Serialize) -> String {
    let title = escape(title);
    // No text in JSON may end the element; "\u003c" is the same character in a string.
    let data = serde_json::to_string(data).unwrap_or_default().replace('<', "\\u003c");
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta name=\"color-scheme\" content=\"light dark\"/>\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n\
         <script type=\"application/json\" id=\"data\">{data}</script>\n</body>\n</html>\n"
    )
}

/// A part of a page under a head; nothing where it has no content.
pub fn section(id: &str, head: &str, content: &str) -> String {
    if content.is_empty() {
        return String::new();
    }
    format!("<section id=\"{id}\">\n<h2>{}</h2>\n{content}</section>\n", escape(head))
}

/// A table of text; the first `names` columns are names, the others numbers. A cell with a second line of
/// less weight has it after a newline.
pub fn table(heads: &[&str], names: usize, rows: &[Vec<String>]) -> String {
    let mut text = String::from("<div class=\"scroll\"><table>\n<thead><tr>");
    let class = |place: usize| if place < names { "" } else { " class=\"number\"" };
    for (place, head) in heads.iter().enumerate() {
        let _ = write!(text, "<th scope=\"col\"{}>{}</th>", class(place), escape(head));
    }
    text += "</tr></thead>\n<tbody>\n";
    for row in rows {
        text += "<tr>";
        for (place, cell) in row.iter().enumerate() {
            let _ = write!(text, "<td{}>{}</td>", class(place), lines(cell));
        }
        text += "</tr>\n";
    }
    text + "</tbody>\n</table></div>\n"
}

/// A table whose rows become blocks where there is no room for columns. Cells are markup, and may wrap;
/// those of the column `packets` are numbers of packets.
pub fn cards(heads: &[&str], packets: Option<usize>, rows: &[Vec<String>]) -> String {
    let mut text = String::from("<div class=\"scroll wrap\"><table>\n<thead><tr>");
    let class =
        |place: usize| if Some(place) == packets { " class=\"number packets\"" } else { "" };
    for (place, head) in heads.iter().enumerate() {
        let _ = write!(text, "<th scope=\"col\"{}>{}</th>", class(place), escape(head));
    }
    text += "</tr></thead>\n<tbody>\n";
    for row in rows {
        text += "<tr>";
        for (place, cell) in row.iter().enumerate() {
            let _ = write!(text, "<td{}>{cell}</td>", class(place));
        }
        text += "</tr>\n";
    }
    text + "</tbody>\n</table></div>\n"
}

/// Text with a second line of less weight after a newline, as markup.
pub fn lines(text: &str) -> String {
    match text.split_once('\n') {
        Some((first, second)) => format!("{}<br/><small>{}</small>", escape(first), escape(second)),
        None => escape(text),
    }
}

/// Terms and what they mean here; those without a meaning are left out.
pub fn terms(pairs: &[(&str, String)]) -> String {
    let mut text = String::from("<dl>\n");
    for (term, meaning) in pairs.iter().filter(|(_, meaning)| !meaning.is_empty()) {
        let _ = writeln!(text, "<dt>{}</dt><dd>{}</dd>", escape(term), escape(meaning));
    }
    text + "</dl>\n"
}

/// A list of lines.
pub fn list(lines: impl IntoIterator<Item = String>) -> String {
    let items: String =
        lines.into_iter().map(|line| format!("<li>{}</li>\n", escape(&line))).collect();
    if items.is_empty() { items } else { format!("<ul>\n{items}</ul>\n") }
}

/// What is shown only when asked for.
pub fn details(head: &str, content: &str) -> String {
    format!("<details><summary>{}</summary>\n{content}</details>\n", escape(head))
}
