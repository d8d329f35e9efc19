//! The report of a replay as a page: one file, to be sent to whoever was not there.
//!
//! [`Gather`] is told of every packet, [`Page`] is what it becomes. The same input and seed give the same
//! page.

mod data;
mod drops;
mod gather;
mod line;
mod moved;
mod occupancy;
mod shares;
mod split;
#[cfg(test)]
mod tests;
mod timeline;
mod unknown;
mod words;

use std::path::{Path, PathBuf};

pub use gather::Gather;

use super::html::{self, escape, section, terms};
use super::json::sha256;
use super::{Context, Run};

/// All that the page is made of.
pub struct Page<'a> {
    /// What packets have in common.
    pub context: &'a Context<'a>,
    /// How the run ended.
    pub run: &'a Run<'a>,
    /// What the packets have shown.
    pub gather: &'a Gather<'a>,
    /// The dumps that the cluster was read from, those of later states included.
    pub states: &'a [PathBuf],
    /// The command that was typed.
    pub command: &'a str,
    /// The command that explains a packet, but for its number; `None` where the input is gone.
    pub explain: Option<&'a str>,
    /// What was said of the captures and of the cluster.
    pub warnings: &'a [String],
}

impl Page<'_> {
    /// The page.
    pub fn html(&self) -> String {
        let shares = shares::shares(self.gather, &self.run.totals.shares);
        let mut body = self.banner(&shares);
        body += &section("inputs", "What was replayed", &self.inputs());
        body += &section("time", "When", &timeline::content(self));
        body += &section("drops", "Drops by reason and service", &drops::content(self));
        body +=
            &section("shares", "How connections were shared out", &split::content(self, &shares));
        body +=
            &section("moved", "Connections that were given another backend", &moved::content(self));
        body += &section("tables", "How full the tables were", &occupancy::content(self));
        body +=
            &section("unknown", "What is not known, or was not looked at", &unknown::content(self));
        body += "<p class=\"soft\">The numbers of this page are in the element <code>data</code> of its \
                 source, as JSON.</p>\n";
        html::page("twinpath: a replay", &body, &data::data(self, &shares))
    }

    fn banner(&self, shares: &[shares::Shares]) -> String {
        let totals = self.run.totals;
        let mut text = format!(
            "<h1>twinpath: what became of the packets</h1>\n<p class=\"lead\">{}</p>\n",
            escape(&words::verdict(totals, self.gather))
        );
        if !self.run.complete {
            text += &format!(
                "<p class=\"warn\">The run ended before the captures did: all of this is about the first {}.</p>\n",
                escape(&words::count(totals.packets, "packet"))
            );
        }
        let far: Vec<String> = shares
            .iter()
            .filter(|shares| shares.backends.iter().any(|share| share.is_far))
            .map(|shares| self.service(shares.service))
            .collect();
        if !far.is_empty() {
            text += &format!(
                "<p><a href=\"#shares\">Connections were shared out as chance alone would not</a>: {}.</p>\n",
                escape(&some(&far, 5))
            );
        }
        text + &unknown::banner(self)
    }

    fn inputs(&self) -> String {
        let context = self.context;
        let hashed = |path: &Path| match sha256(path) {
            Some(hash) => format!("{}\nsha256 {hash}", path.display()),
            None => format!("{}\nnot kept: no hash", path.display()),
        };
        let mut rows = Vec::new();
        for (kind, paths) in [("Capture", self.run.paths), ("Cluster", self.states)] {
            for (place, path) in paths.iter().enumerate() {
                if paths.iter().position(|other| other == path) == Some(place) {
                    rows.push(vec![kind.to_owned(), html::lines(&hashed(path))]);
                }
            }
        }
        let (services, nodes) = (context.state.services.len(), context.state.nodes.len());
        let cluster = format!(
            "{}: {}, {}, {}",
            context.source,
            words::count(services as u64, "service port"),
            words::count(context.names.backends.len() as u64, "backend"),
            words::count(nodes as u64, "node")
        );
        let files = html::cards(&["", "File"], None, &rows);
        let first = self.gather.first.map_or_else(String::new, super::json::rfc3339);
        files
            + &terms(&[
                ("Cluster", cluster),
                (
                    "Packets",
                    format!(
                        "{} in {}",
                        words::grouped(self.run.totals.packets),
                        words::count(self.run.flows as u64, "flow")
                    ),
                ),
                ("First packet", first),
                ("World", context.world.to_owned()),
                ("Seed", context.seed.to_string()),
                ("Version", format!("twinpath {}", env!("CARGO_PKG_VERSION"))),
            ])
            + &format!(
                "<p class=\"command\">To do it again: <code>{}</code></p>\n",
                escape(self.command)
            )
    }

    /// A service's name.
    fn service(&self, id: u32) -> String {
        let name = self.context.names.services.get(&id);
        name.map_or_else(|| format!("service {id}"), ToString::to_string)
    }

    /// A backend's name: pod and address, as far as they are known.
    fn backend(&self, id: u32) -> String {
        let Some(name) = self.context.names.backends.get(&id) else {
            return format!("backend {id}");
        };
        let socket = std::net::SocketAddr::new(name.address, name.port);
        name.pod.as_ref().map_or_else(|| socket.to_string(), |pod| format!("{} {socket}", pod.name))
    }

    /// The command that explains a packet.
    fn explained(&self, number: u64) -> String {
        match self.explain {
            Some(command) => format!("{command} --packet {number}"),
            None => format!("keep the capture in a file, for explain --packet {number}"),
        }
    }
}

/// The first few of some, and how many there are beside.
fn some(all: &[String], shown: usize) -> String {
    let first: Vec<&str> = all.iter().take(shown).map(String::as_str).collect();
    match all.len().saturating_sub(shown) {
        0 => first.join(", "),
        more => format!("{} and {} more", first.join(", "), words::grouped(more as u64)),
    }
}

/// A paragraph of text.
fn paragraph(text: &str) -> String {
    format!("<p>{}</p>\n", escape(text))
}

/// How many are not shown; nothing where all are.
fn more(all: usize, shown: usize, what: &str) -> String {
    match all.saturating_sub(shown) {
        0 => String::new(),
        more => {
            format!("<p class=\"soft\">and {} {}</p>\n", words::grouped(more as u64), escape(what))
        }
    }
}
