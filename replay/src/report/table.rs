//! The table for people, and the summary below it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use twinpath_control::model::PortName;
use twinpath_control::tables::BackendName;
use twinpath_core::parse::{Parsed, Transport};
use twinpath_core::tuple::Tuple;
use twinpath_core::verdict::Status;
use twinpath_core::wire::tcp;

use super::lines::Lines;
use super::{Context, Report, Run, Seen};
use crate::replay::flows::Role;
use crate::replay::outcome::Verdict;

/// A line per packet.
pub struct Table {
    lines: Lines,
    look: Look,
    /// Time of the first packet of the input, in nanoseconds.
    first: Option<u64>,
    /// Whether there was a line, and so the heads.
    begun: bool,
    line: String,
}

/// How a table looks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    /// With nodes, backends, lengths and numbers.
    pub wide: bool,
    /// With colours.
    pub colour: bool,
    /// With the names of the columns.
    pub heads: bool,
}

/// Least widths of the columns, in characters. A longer cell pushes the rest of its line.
const NUMBER: usize = 5;
const TIME: usize = 10;
const VERDICT: usize = 10;
const PACKET: usize = 44;
const SERVICE: usize = 20;

impl Table {
    /// A table of these lines.
    pub const fn new(lines: Lines, look: Look) -> Self {
        Self { lines, look, first: None, begun: false, line: String::new() }
    }

    fn head(&mut self) -> io::Result<()> {
        let output = self.lines.before();
        write!(
            output,
            "{:<NUMBER$}  {:<TIME$}  {:<VERDICT$}  {:<PACKET$}  {:<SERVICE$}  ",
            "#", "TIME", "VERDICT", "PACKET", "SERVICE"
        )?;
        if self.look.wide {
            write!(output, "{:<16}  {:<24}  {:>6}  {:<9}  ", "NODE", "BACKEND", "LENGTH", "IDS")?;
        }
        writeln!(output, "CHANGE")
    }
}

impl Report for Table {
    fn begin(&mut self, timestamp: u64) {
        self.first = Some(timestamp);
    }

    fn packet(&mut self, context: &Context<'_>, seen: &Seen<'_>) -> io::Result<()> {
        if !self.begun && self.look.heads {
            self.head()?;
        }
        self.begun = true;
        let first = *self.first.get_or_insert(seen.packet.timestamp);
        let sent = seen.sent();
        let outcome = seen.outcome;
        let time = relative(seen.packet.timestamp, first);
        let packet = packet_words(sent.as_ref(), seen);
        let service = service(context, seen, sent.as_ref());
        let service = service.map_or_else(|| "-".into(), |name| name.service.to_string());
        let (on, off) =
            if self.look.colour { style(outcome.verdict) } else { ("".into(), "".into()) };
        let line = &mut self.line;
        line.clear();
        let written = write!(
            line,
            "{:<NUMBER$}  {time:<TIME$}  {on}{:<VERDICT$}{off}  {packet:<PACKET$}  {service:<SERVICE$}  ",
            seen.number,
            outcome.verdict.name(),
        );
        written.map_err(io::Error::other)?;
        if self.look.wide {
            wide(line, context, seen).map_err(io::Error::other)?;
        }
        change(line, seen, sent.as_ref()).map_err(io::Error::other)?;
        line.truncate(line.trim_end().len());
        if let Some(comment) = seen.packet.comment.filter(|_| self.look.wide) {
            line.push_str("  # ");
            // It is somebody else's text: a line of its own, or a command to the terminal, it must not become.
            line.extend(comment.chars().map(|c| if c.is_control() { ' ' } else { c }));
        }
        line.push('\n');
        self.lines.put(line.as_bytes())
    }

    fn resume(&mut self, first: u64) {
        self.first = Some(first);
        self.begun = true;
    }

    fn lines(&mut self, lines: &[u8]) -> io::Result<()> {
        self.lines.put_all(lines)
    }

    fn summary(&mut self, context: &Context<'_>, run: &Run<'_>) -> io::Result<()> {
        let output = self.lines.rest()?;
        if self.begun {
            writeln!(output)?;
        }
        run.books.tables(context, output, self.look.heads)?;
        summary(output, context, run)?;
        output.flush()
    }
}

/// Seconds since the first packet; before it, in merged or unordered captures, less than zero.
pub(super) fn relative(timestamp: u64, first: u64) -> String {
    let (sign, gap) =
        if timestamp < first { ("-", first - timestamp) } else { ("", timestamp - first) };
    let micros = gap / 1_000;
    format!("{sign}{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

fn style(verdict: Verdict) -> (String, String) {
    let colour = match verdict {
        Verdict::Translated => AnsiColor::Green,
        Verdict::Forwarded => return (String::new(), String::new()),
        Verdict::Dropped => AnsiColor::Red,
        Verdict::Unmatched => AnsiColor::Yellow,
    };
    let style = Style::new().fg_color(Some(colour.into()));
    (style.render().to_string(), style.render_reset().to_string())
}

/// `10.0.0.1:40000 > 10.96.0.10:80 tcp S`.
pub(crate) fn packet_words(parsed: Option<&Parsed>, seen: &Seen<'_>) -> String {
    if let Some(error) = seen.packet.broken {
        return match error {
            crate::capture::LinkError::Unsupported(link) => format!("link type {link}"),
            other => other.to_string(),
        };
    }
    let Some(parsed) = parsed else {
        let ethertype = seen.packet.data.get(12..14).and_then(|bytes| bytes.first_chunk());
        return match (seen.outcome.reason, ethertype) {
            (None, Some([a, b])) => format!("ethertype 0x{a:02x}{b:02x}"),
            _ => "unreadable".into(),
        };
    };
    tuple_words(&parsed.tuple, parsed.transport, &flags(parsed.flags))
}

/// The same of a tuple; `flags` are those of TCP.
pub(super) fn tuple_words(tuple: &Tuple, transport: Transport, flags: &str) -> String {
    match transport {
        Transport::Tcp if flags.is_empty() => format!("{} tcp", ends(tuple)),
        Transport::Tcp => format!("{} tcp {flags}", ends(tuple)),
        Transport::Udp => format!("{} udp", ends(tuple)),
        Transport::Sctp => format!("{} sctp", ends(tuple)),
        Transport::Echo | Transport::IcmpError | Transport::Icmp => {
            format!("{} > {} icmp", tuple.source, tuple.destination)
        }
        Transport::Fragment => format!("{} > {} fragment", tuple.source, tuple.destination),
        Transport::Other => {
            format!("{} > {} proto {}", tuple.source, tuple.destination, tuple.protocol)
        }
    }
}

fn ends(tuple: &Tuple) -> String {
    let source = std::net::SocketAddr::new(tuple.source.into(), tuple.source_port.get());
    let destination =
        std::net::SocketAddr::new(tuple.destination.into(), tuple.destination_port.get());
    format!("{source} > {destination}")
}

/// The letters that people know: `SA` is SYN and ACK.
pub(super) fn flags(flags: u8) -> String {
    let letters = [
        (tcp::SYN, 'S'),
        (tcp::FIN, 'F'),
        (tcp::RST, 'R'),
        (0x08, 'P'),
        (tcp::ACK, 'A'),
        (0x20, 'U'),
        (0x40, 'E'),
        (0x80, 'C'),
    ];
    letters.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, letter)| letter).collect()
}

/// The service that a packet goes to or comes from, whether or not it got there.
pub(crate) fn service<'a>(
    context: &'a Context<'_>,
    seen: &Seen<'_>,
    sent: Option<&Parsed>,
) -> Option<&'a PortName> {
    let made = seen.outcome.made.map(|made| made.decision.service).filter(|id| *id != 0);
    if let Some(id) = made {
        return context.names.services.get(&id);
    }
    // A dropped packet's decision does not name the service, and one that was not sent has none.
    let tuple = &sent?.tuple;
    let (address, port) = match seen.outcome.role? {
        Role::Request => (tuple.destination, tuple.destination_port),
        Role::Reply | Role::Orphan => (tuple.source, tuple.source_port),
        Role::Plain => return None,
    };
    let id = context.serving.at(address.into(), port.get(), tuple.protocol)?;
    context.names.services.get(&id)
}

/// `dst 10.244.1.11:8080  ct NEW`.
fn change(line: &mut String, seen: &Seen<'_>, sent: Option<&Parsed>) -> std::fmt::Result {
    let outcome = seen.outcome;
    match outcome.verdict {
        Verdict::Dropped => {
            line.push_str(outcome.reason.map_or("-", |reason| reason.name()));
        }
        Verdict::Unmatched => line.push_str("reply without a known request"),
        Verdict::Translated => {
            if let (Some(sent), Some(last)) = (sent, seen.last()) {
                let (before, after) = (&sent.tuple, &last.tuple);
                let socket = |address: twinpath_core::address::Address, port: u16| match port {
                    0 => address.to_string(),
                    _ => std::net::SocketAddr::new(address.into(), port).to_string(),
                };
                if (before.source, before.source_port) != (after.source, after.source_port) {
                    write!(line, "src {}  ", socket(after.source, after.source_port.get()))?;
                }
                if (before.destination, before.destination_port)
                    != (after.destination, after.destination_port)
                {
                    write!(
                        line,
                        "dst {}  ",
                        socket(after.destination, after.destination_port.get())
                    )?;
                }
            }
            status(line, seen)?;
        }
        Verdict::Forwarded => status(line, seen)?,
    }
    if let Some(difference) = &outcome.difference {
        write!(line, "  DIFFERS: {difference}")?;
    }
    Ok(())
}

fn status(line: &mut String, seen: &Seen<'_>) -> std::fmt::Result {
    match seen.outcome.made.map(|made| made.decision.status()) {
        None | Some(Status::Untracked) => line.write_str("-"),
        Some(status) => write!(line, "ct {}", status.name()),
    }
}

fn wide(line: &mut String, context: &Context<'_>, seen: &Seen<'_>) -> std::fmt::Result {
    let node = seen.outcome.made.map_or("-", |made| seen.node(made.node));
    let backend = context.backend(seen.outcome);
    let name = backend.map_or_else(
        || "-".into(),
        |(_, backend)| {
            backend.pod.as_ref().map_or_else(|| backend.address.to_string(), ToString::to_string)
        },
    );
    let ids = seen.outcome.made.map_or_else(
        || "-".into(),
        |made| format!("{}/{}", made.decision.service, made.decision.backend),
    );
    write!(line, "{node:<16}  {name:<24}  {:>6}  {ids:<9}  ", seen.packet.original_len)
}

/// `3 812`, for reading.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

pub(crate) fn plural(count: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(count), if count == 1 { "" } else { "s" })
}

/// `5 translated, 1 dropped`. The drops come last, with room for their reasons behind them.
fn words(count: impl Fn(Verdict) -> u64) -> String {
    let order = [Verdict::Translated, Verdict::Forwarded, Verdict::Unmatched, Verdict::Dropped];
    let texts = order.into_iter().filter(|verdict| count(*verdict) > 0).map(|verdict| {
        format!("{} {}", grouped(count(verdict)), verdict.name().to_ascii_lowercase())
    });
    texts.collect::<Vec<_>>().join(", ")
}

pub(super) fn summary(
    output: &mut dyn Write,
    context: &Context<'_>,
    run: &Run<'_>,
) -> io::Result<()> {
    let totals = run.totals;
    let verdicts = words(|verdict| totals.with(verdict));
    let drops: Vec<String> = totals
        .drops
        .iter()
        .map(|(reason, count)| format!("{} {}", grouped(*count), reason.name()))
        .collect();
    write!(output, "{}, {}", plural(totals.packets, "packet"), plural(run.flows as u64, "flow"))?;
    if !verdicts.is_empty() {
        write!(output, ": {verdicts}")?;
    }
    if !drops.is_empty() {
        write!(output, " ({})", drops.join(", "))?;
    }
    writeln!(output)?;
    if let Some(shown) = &run.shown {
        let (some, all) = (grouped(shown.packets()), plural(totals.packets, "packet"));
        let verdicts = words(|verdict| shown.with(verdict));
        let verdicts = if verdicts.is_empty() { verdicts } else { format!(": {verdicts}") };
        writeln!(output, "shown {some} of {all}{verdicts}")?;
    }
    if totals.checked > 0 {
        let equal = totals.checked - totals.different;
        write!(output, "replies: {} checked, {} equal", grouped(totals.checked), grouped(equal))?;
        if totals.different > 0 {
            write!(output, ", {} DIFFERENT", grouped(totals.different))?;
        }
        writeln!(output)?;
    }
    shares(output, context, run)?;
    let backends: usize = context.names.backends.len();
    writeln!(
        output,
        "world {}, seed {}, cluster {} ({}, {}){}",
        context.world,
        context.seed,
        context.source,
        plural(context.state.services.len() as u64, "service port"),
        plural(backends as u64, "backend"),
        if run.complete { "" } else { ", INCOMPLETE" },
    )
}

/// `web-a 10.244.1.11`, or the socket where no pod is known.
pub(super) fn backend_words(name: &BackendName) -> String {
    name.pod.as_ref().map_or_else(
        || std::net::SocketAddr::new(name.address, name.port).to_string(),
        |pod| format!("{} {}", pod.name, name.address),
    )
}

/// Most services and backends that the shares are shown of.
const SHARES: usize = 8;

/// How a service's connections were shared out: `default/web:http  web-a 5, web-b 7`.
fn shares(output: &mut dyn Write, context: &Context<'_>, run: &Run<'_>) -> io::Result<()> {
    let mut services: BTreeMap<u32, Vec<(u64, String)>> = BTreeMap::new();
    for ((service, backend), count) in &run.totals.shares {
        let name = context.names.backends.get(backend);
        let name = name.map_or_else(|| backend.to_string(), backend_words);
        services.entry(*service).or_default().push((*count, name));
    }
    let more = services.len().saturating_sub(SHARES);
    for (service, backends) in services.iter().take(SHARES) {
        let name = context.names.services.get(service);
        let name = name.map_or_else(|| service.to_string(), ToString::to_string);
        let texts: Vec<String> = backends
            .iter()
            .take(SHARES)
            .map(|(count, name)| format!("{} to {name}", grouped(*count)))
            .collect();
        let rest = backends.len().saturating_sub(SHARES);
        let rest = if rest > 0 { format!(", and {rest} more backends") } else { String::new() };
        writeln!(output, "  {name:<24}  connections: {}{rest}", texts.join(", "))?;
    }
    if more > 0 {
        writeln!(output, "  and {more} more services")?;
    }
    Ok(())
}
