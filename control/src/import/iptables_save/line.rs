//! Lines of `iptables-save`.

use std::net::IpAddr;

use crate::model::{Protocol, Range};

/// What a rule says, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rule {
    /// The line, from 1.
    pub(super) line: usize,
    pub(super) chain: String,
    /// What it jumps to.
    pub(super) target: String,
    /// A range of sources, and whether it is all others that are meant.
    pub(super) source: Option<(Range, bool)>,
    pub(super) destination: Option<Range>,
    pub(super) protocol: Option<Protocol>,
    /// The destination port.
    pub(super) port: Option<u16>,
    pub(super) comment: String,
    /// Of a DNAT.
    pub(super) to: Option<String>,
    /// Of a choice by chance.
    pub(super) probability: Option<f64>,
    /// Whether it is for who has been there lately, and within how many seconds.
    pub(super) recent: Option<u32>,
    /// Whether it is for sources that are addresses of the node.
    pub(super) from_node: bool,
}

/// A rule, without its counters: `-A CHAIN ...`. `None` if this is none, or one that is cut.
pub(super) fn rule(text: &str, line: usize) -> Option<Rule> {
    let mut rule = Rule { line, ..Rule::default() };
    let words = words(text)?;
    let mut words = words.iter().map(String::as_str);
    let mut not = false;
    let (mut rcheck, mut seconds) = (false, None);
    while let Some(word) = words.next() {
        if word == "!" {
            not = true;
            continue;
        }
        match word {
            "-A" | "--append" => rule.chain = words.next()?.to_owned(),
            "-j" | "--jump" | "-g" | "--goto" => rule.target = words.next()?.to_owned(),
            "-s" | "--source" => rule.source = Some((range(words.next()?)?, not)),
            "-d" | "--destination" if !not => rule.destination = Some(range(words.next()?)?),
            "-p" | "--protocol" => rule.protocol = protocol(words.next()?),
            "--dport" | "--destination-port" if !not => rule.port = words.next()?.parse().ok(),
            "--comment" => rule.comment = words.next()?.to_owned(),
            "--to-destination" => rule.to = Some(words.next()?.to_owned()),
            "--probability" => rule.probability = Some(words.next()?.parse().ok()?),
            "--rcheck" | "--update" => rcheck = true,
            "--seconds" => seconds = Some(words.next()?.parse().ok()?),
            "--src-type" => rule.from_node = words.next()? == "LOCAL" && !not,
            // Of all others, words that follow are their values.
            _ => {}
        }
        not = false;
    }
    rule.recent = seconds.filter(|_| rcheck);
    (!rule.chain.is_empty()).then_some(rule)
}

/// The words of a line; those in quotes may have spaces, and `\` before what is meant as it is.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let (mut word, mut started, mut quoted) = (String::new(), false, false);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                (quoted, started) = (!quoted, true);
            }
            '\\' if quoted => word.push(chars.next()?),
            c if c.is_whitespace() && !quoted => {
                if started {
                    words.push(std::mem::take(&mut word));
                }
                started = false;
            }
            c => {
                started = true;
                word.push(c);
            }
        }
    }
    if started {
        words.push(word);
    }
    (!quoted).then_some(words)
}

fn range(text: &str) -> Option<Range> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let whole = Range::of(address.parse::<IpAddr>().ok()?);
    let Some(length) = length else { return Some(whole) };
    let length = match length.parse::<u8>() {
        Ok(length) => length,
        // A mask, as old versions print it.
        Err(_) => match length.parse::<IpAddr>().ok()? {
            IpAddr::V4(mask) => u8::try_from(mask.to_bits().leading_ones()).ok()?,
            IpAddr::V6(mask) => u8::try_from(mask.to_bits().leading_ones()).ok()?,
        },
    };
    (length <= whole.length).then_some(Range { length, ..whole })
}

fn protocol(text: &str) -> Option<Protocol> {
    match text {
        "tcp" | "6" => Some(Protocol::Tcp),
        "udp" | "17" => Some(Protocol::Udp),
        "sctp" | "132" => Some(Protocol::Sctp),
        _ => None,
    }
}
