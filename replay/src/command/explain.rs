//! `twinpath explain`.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::{Args, ColorChoice, ValueEnum};
use twinpath_control::tables::Names;
use twinpath_sim::frame::Frame;

use super::captures::CaptureArguments;
use super::setup::{ClusterArguments, Setup};
use crate::explain::pick::{Ends, Pick, is_packet, typed};
use crate::explain::stage::SpyStage;
use crate::explain::story::Story;
use crate::explain::text::Look;
use crate::explain::{json, text};
use crate::failure::{Ending, Failure};
use crate::replay::Replay;
use crate::replay::feed::Captured;
use crate::worlds::{Kind, Stage};

const EXAMPLES: &str = "\
Examples:
  twinpath explain -f cluster.yaml incident.pcap --packet 9
      Every step of the ninth packet's way, after the eight before it.

  twinpath explain -f cluster.yaml incident.pcap --flow 10.244.1.10:40000-10.96.0.80:80/tcp --all
      All packets of a flow, both ways; without --all its first.

  twinpath explain -f cluster.yaml 'tcp 10.244.1.10:4321 > 10.96.0.80:80 S ttl 3 len 100 df'
      A packet that nobody has sent. Also udp, icmp (an echo request), and IPv6 in brackets; behind a
      capture's name, as if it came next.

  twinpath explain -f cluster.yaml incident.pcap --packet 9 -o json | jq -r '.steps[]?.text'

Exit codes: 0 fine; 2 wrong usage, unreadable input or no such packet; 70 a bug.";

/// Say why the datapath does what it does with one packet
///
/// Shows each lookup and each decision on the packet's way through the cluster, the line of the source that
/// drops it, why endpoints of the service were not eligible, and what kube-proxy would have done. The
/// packets before it in the capture are replayed first, so that connections are as they were.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// Captures, `-` for standard input; or a packet, such as 'tcp 10.0.1.5:4321 > 10.96.0.10:53 S'
    #[arg(required = true, value_name = "CAPTURE|PACKET")]
    inputs: Vec<String>,
    #[command(flatten)]
    cluster: ClusterArguments,
    #[command(flatten)]
    reading: CaptureArguments,
    /// The packet with this number, from 1, as `replay` counts them
    #[arg(long, value_name = "N", conflicts_with = "flow", value_parser = clap::value_parser!(u64).range(1..))]
    packet: Option<u64>,
    /// The first packet of this flow: SOURCE:PORT-DESTINATION:PORT/PROTOCOL
    #[arg(long, value_name = "FLOW", value_parser = Ends::parse)]
    flow: Option<Ends>,
    /// All packets of the flow
    #[arg(long, requires = "flow")]
    all: bool,
    /// What to send the packets through; only the simulator lets its tables be watched
    #[arg(long, value_enum, default_value_t = Kind::Sim)]
    world: Kind,
    /// Form of the output
    #[arg(short = 'o', long, value_enum, default_value_t = Form::Text)]
    output: Form,
    /// Every lookup, and what stands in each entry
    #[arg(short, long)]
    verbose: bool,
    /// Colour in the text
    #[arg(long, value_enum, default_value_t = ColorChoice::Auto, value_name = "WHEN")]
    color: ColorChoice,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people.
    Text,
    /// JSON lines, for programs; the last one is the summary.
    Json,
}

/// What is asked for, of the captures or behind them.
enum Wanted {
    Picked(Pick),
    Typed(Frame),
}

/// Explains.
pub fn run(arguments: &Arguments) -> Result<Ending, Failure> {
    if arguments.world != Kind::Sim {
        return Err(Failure::Usage(format!(
            "--world {}: its tables cannot be watched packet by packet; use --world sim",
            arguments.world.name()
        )));
    }
    let (captures, wanted) = wanted(arguments)?;
    if captures.is_empty() && arguments.cluster.states.is_empty() {
        return Err(Failure::Usage(
            "a packet alone needs a cluster: give -f STATE, or a capture before it".into(),
        ));
    }
    let setup = Setup::new(&arguments.cluster, &captures, &arguments.reading, Kind::Sim)?;
    let options = setup.options.clone();
    let maglev_size = options.maglev_size.get();
    let stage = SpyStage::new(setup.topology(), &setup.cluster.state, options, setup.seed);
    let (replay, names) = setup.replay(stage.map_err(|error| setup.refused(error))?)?;
    let output: Box<dyn Write> = Box::new(BufWriter::new(io::stdout()));
    let look = Look { colour: colour(arguments.color), verbose: arguments.verbose };
    let mut teller = Teller {
        setup: &setup,
        names,
        maglev_size,
        replay,
        output,
        look,
        form: arguments.output,
        told: 0,
    };
    teller.captures(&wanted)?;
    if let Wanted::Typed(frame) = &wanted {
        teller.typed(frame)?;
    }
    teller.end()
}

fn colour(choice: ColorChoice) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => {
            anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never
        }
    }
}

/// Which of the arguments are captures, and what is asked for.
fn wanted(arguments: &Arguments) -> Result<(Vec<PathBuf>, Wanted), Failure> {
    let (packets, captures): (Vec<&String>, Vec<&String>) =
        arguments.inputs.iter().partition(|input| is_packet(input));
    let captures: Vec<PathBuf> = captures.into_iter().map(PathBuf::from).collect();
    let picked = match (arguments.packet, arguments.flow, arguments.all) {
        (Some(number), ..) => Some(Pick::Number(number)),
        (None, Some(ends), true) => Some(Pick::All(ends)),
        (None, Some(ends), false) => Some(Pick::First(ends)),
        (None, None, _) => None,
    };
    let wanted = match (packets.as_slice(), picked) {
        ([], Some(pick)) => Wanted::Picked(pick),
        ([packet], None) => Wanted::Typed(typed(packet).map_err(Failure::Usage)?),
        ([], None) => {
            return Err(Failure::Usage(
                "which packet? give --packet N, --flow FLOW, or a packet such as \
                 'tcp 10.0.1.5:4321 > 10.96.0.10:53 S'"
                    .into(),
            ));
        }
        ([_], Some(_)) => {
            return Err(Failure::Usage(
                "give either a packet, or --packet or --flow, and not both".into(),
            ));
        }
        (more, _) => {
            return Err(Failure::Usage(format!("{} packets are given; give one", more.len())));
        }
    };
    if captures.is_empty() && matches!(wanted, Wanted::Picked(_)) {
        return Err(Failure::Usage("give the capture that the packet is in".into()));
    }
    Ok((captures, wanted))
}

struct Teller<'a> {
    setup: &'a Setup,
    names: Names,
    maglev_size: u32,
    replay: Replay<SpyStage>,
    output: Box<dyn Write>,
    look: Look,
    form: Form,
    told: u64,
}

impl Teller<'_> {
    /// Replays the captures as far as need be, and tells of what is picked.
    fn captures(&mut self, wanted: &Wanted) -> Result<(), Failure> {
        let mut feed = self.setup.inputs.open()?;
        let (mut frame, mut room) = (Frame::default(), Frame::default());
        while let Some(packet) = feed.next()? {
            let number = self.replay.totals.packets.saturating_add(1);
            let pick = match wanted {
                Wanted::Picked(pick) if pick.wants(number, &packet, &mut room) => pick,
                _ => {
                    self.replay.packet(&packet, &mut frame, &mut ())?;
                    continue;
                }
            };
            self.tell(&packet, Some(number), &mut frame)?;
            if !pick.is_all() {
                return Ok(());
            }
        }
        match wanted {
            Wanted::Picked(pick) if self.told == 0 => Err(self.missing(*pick)),
            _ => Ok(()),
        }
    }

    fn missing(&self, pick: Pick) -> Failure {
        let paths = self.setup.inputs.paths().iter().map(|path| path.display().to_string());
        let names = paths.collect::<Vec<_>>().join(", ");
        let count = self.replay.totals.packets;
        let s = if count == 1 { "" } else { "s" };
        Failure::Usage(match pick {
            Pick::Number(number) => {
                format!("{names}: there is no packet {number}, only {count} packet{s}")
            }
            _ => format!(
                "{names}: no packet of that flow among {count} packet{s}; \
                 `twinpath replay` lists them"
            ),
        })
    }

    fn typed(&mut self, frame: &Frame) -> Result<(), Failure> {
        let original_len = u32::try_from(frame.bytes.len()).unwrap_or(u32::MAX);
        // Time stands still behind the captures.
        let packet = Captured { data: &frame.bytes, original_len, ..Captured::default() };
        self.tell(&packet, None, &mut Frame::default())
    }

    /// Sends a packet and says why what becomes of it becomes of it.
    fn tell(
        &mut self,
        packet: &Captured<'_>,
        number: Option<u64>,
        frame: &mut Frame,
    ) -> Result<(), Failure> {
        let mut captured = Frame::default();
        packet.fill(&mut captured);
        let mut log = self.replay.stage.log();
        self.replay.stage.spy(true);
        self.replay.packet(packet, frame, &mut log)?;
        self.replay.stage.spy(false);
        let story = Story {
            number,
            now: self.replay.stage.now(),
            captured,
            have: packet.data.len(),
            broken: packet.broken.map(ToString::to_string),
            outcome: self.replay.outcome,
            events: log.take(),
            topology: self.replay.stage.topology(),
            state: self.replay.stage.state(),
            names: &self.names,
            maglev_size: self.maglev_size,
        };
        let written = match self.form {
            Form::Json => json::write(&mut *self.output, &story),
            Form::Text => {
                let gap = if self.told > 0 { writeln!(self.output) } else { Ok(()) };
                gap.and_then(|()| text::write(&mut *self.output, &story, self.look))
            }
        };
        self.told = self.told.saturating_add(1);
        written.map_err(Failure::Output)
    }

    fn end(&mut self) -> Result<Ending, Failure> {
        let (told, seed) = (self.told, self.setup.seed);
        let source = &self.setup.cluster.source;
        let written = match self.form {
            Form::Json => json::summary(&mut *self.output, told, true, seed, source),
            Form::Text => Ok(()),
        };
        written.and_then(|()| self.output.flush()).map_err(Failure::Output)?;
        Ok(Ending::Fine)
    }
}
