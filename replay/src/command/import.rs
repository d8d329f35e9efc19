//! `twinpath import`.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use twinpath_control::import::{Format, NODE};
use twinpath_control::model::State;
use twinpath_control::problem::Severity;
use twinpath_control::write;

use super::setup::say;
use crate::cluster::load::{DUMP, Gathered};
use crate::failure::{Ending, Failure};

const EXAMPLES: &str = "\
Examples:
  iptables-save | twinpath import iptables-save - > cluster.yaml
      The services of a kube-proxy node, where there is no kubectl.

  twinpath import sysdump cilium-sysdump-20260115-090000.zip | twinpath replay incident.pcap -f -
      -f takes any of these files itself, too: import shows what is made of them.

Exit codes: 0 fine; 2 wrong usage or unreadable input; 4 no service was found; 70 a bug.";

/// Say what another system's dump means, as Kubernetes objects
///
/// The cluster's state goes to standard output, for -f. What was understood, assumed, and not
/// understood goes to standard error.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// What the file is
    #[arg(value_enum, value_name = "KIND")]
    kind: Kind,
    /// The dump, `-` for standard input; may be gzip or zstd
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Form of the output
    #[arg(short = 'o', long, value_enum, default_value_t = Form::Yaml)]
    output: Form,
    /// The name of the node that rules were taken on, which they do not say
    #[arg(long, value_name = "NODE", default_value = NODE)]
    node: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Output of iptables-save, ip6tables-save, or both, of a node with kube-proxy.
    IptablesSave,
    /// Output of `ipvsadm -Sn` of a node with kube-proxy.
    Ipvs,
    /// Zip archive or folder of `cilium sysdump`, or any other dumps of objects.
    Sysdump,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// One list, as of `kubectl get -o yaml`.
    Yaml,
    /// One list, as of `kubectl get -o json`.
    Json,
}

/// Imports.
pub fn run(arguments: &Arguments) -> Result<Ending, Failure> {
    let (state, notes) = match arguments.kind {
        Kind::IptablesSave => rules(arguments, Format::IptablesSave)?,
        Kind::Ipvs => rules(arguments, Format::Ipvs)?,
        Kind::Sysdump => objects(arguments)?,
    };
    notes.iter().for_each(|note| say(note));
    for line in write::unsaid(&state) {
        say(&format!("warning: not in the output: {line}"));
    }
    let text = match arguments.output {
        Form::Yaml => write::yaml(&state),
        Form::Json => write::json(&state),
    };
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes()).and_then(|()| output.flush()).map_err(Failure::Output)?;
    Ok(if state.services.is_empty() { Ending::Nothing } else { Ending::Fine })
}

fn rules(arguments: &Arguments, format: Format) -> Result<(State, Vec<String>), Failure> {
    let (mut texts, mut notes) = (Vec::new(), Vec::new());
    Gathered::texts(&arguments.file, &mut notes, &mut |name, bytes| {
        match String::from_utf8(bytes) {
            Ok(text) => texts.push((name.to_owned(), text)),
            Err(_) => {
                return Err(Failure::Usage(format!(
                    "{name}: this is not text; give the output of the command itself"
                )));
            }
        }
        Ok(())
    })?;
    let mut state = State::default();
    for (name, text) in texts {
        let mut imported = format.import(&name, &text, &arguments.node);
        state = imported.state();
        notes.append(&mut imported.notes);
    }
    Ok((state, notes))
}

fn objects(arguments: &Arguments) -> Result<(State, Vec<String>), Failure> {
    let mut gathered = Gathered::read(std::slice::from_ref(&arguments.file))?;
    let (state, problems) = gathered.state();
    let mut notes = gathered.notes;
    let objects = &gathered.objects;
    let ends: usize = state.services.values().map(|port| port.endpoints.len()).sum();
    notes.push(format!(
        "{} Services with {} ports that are served, {ends} endpoints of them, {} Nodes, {} Pods",
        objects.services.len(),
        state.services.len(),
        objects.nodes.len(),
        objects.pods.len(),
    ));
    for (kind, count) in &objects.ignored {
        notes.push(format!("ignored: {count} of kind {kind}"));
    }
    for problem in &problems {
        let left_out = if problem.severity == Severity::Error { "left out: " } else { "" };
        notes.push(format!("{}: {left_out}{problem}", problem.severity.name()));
    }
    if objects.services.is_empty() {
        notes.push(format!("no service was found; dump with: {DUMP}"));
    }
    Ok((state, notes))
}
