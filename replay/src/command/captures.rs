//! How captures are read: the arguments that all commands with captures have in common.

use clap::{Args, ValueEnum};

use super::shell;
use crate::moment::Moment;
use crate::replay::feed::Reading;

/// How captures are read.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Captures")]
pub struct CaptureArguments {
    /// Set the clock of a capture right, by its node or file: node2=+3ms is added to all its times; may be repeated
    ///
    /// Units are ns, us, ms and s. Where several captures have packets in common, the offset that they show is said on
    /// standard error.
    #[arg(long = "offset", value_name = "NODE=TIME")]
    pub offsets: Vec<String>,
    /// Drop copies of a packet that were captured at another interface or node within 10 ms
    ///
    /// Copies have the same addresses, ports, IP identification, TCP numbers, length and payload, as `tcpdump -i any`
    /// and captures of several nodes show them. A packet that was translated on its way is not a copy.
    #[arg(long)]
    pub dedup: bool,
    /// Leave out packets before this time: RFC 3339, or after the first packet, such as +2.5s
    #[arg(long, value_name = "TIME")]
    pub since: Option<Moment>,
    /// Leave out packets from this time on: RFC 3339, or after the first packet, such as +2.5s
    #[arg(long, value_name = "TIME")]
    pub until: Option<Moment>,
    /// Take tunnel headers off: VXLAN, Geneve, IP in IP; one header, the outer
    #[arg(long, value_enum, default_value_t = Decap::None, value_name = "WHICH")]
    pub decap: Decap,
}

/// Which tunnel headers are taken off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Decap {
    /// Those that are there.
    Auto,
    /// None: packets are as captured.
    #[default]
    None,
}

impl CaptureArguments {
    /// These arguments as they are typed, but for times.
    pub fn typed(&self) -> Vec<String> {
        let offset = |offset: &String| format!("--offset {}", shell::quoted(offset));
        let mut words: Vec<String> = self.offsets.iter().map(offset).collect();
        words.extend((self.decap == Decap::Auto).then(|| "--decap auto".to_owned()));
        words.extend(self.dedup.then(|| "--dedup".to_owned()));
        words
    }

    /// What the reader is told.
    pub fn reading(&self) -> Reading {
        Reading {
            offsets: self.offsets.clone(),
            dedup: self.dedup,
            since: self.since,
            until: self.until,
            decap: self.decap == Decap::Auto,
        }
    }
}
