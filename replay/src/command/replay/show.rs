//! Sends all packets and says what became of them.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use clap::ColorChoice;
use twinpath_control::tables::Names;
use twinpath_sim::frame::Frame;

use super::pass::Pass;
use super::{Arguments, FailOn, Form, hint};
use crate::capture::LinkError;
use crate::command::setup::{self, Job, Setup, say};
use crate::command::shell::typed;
use crate::failure::{Ending, Failure};
use crate::filter::Filter;
use crate::replay::Replay;
use crate::replay::feed::Feed;
use crate::replay::foresee::Foresight;
use crate::replay::hints::Hints;
use crate::replay::outcome::{Totals, Verdict};
use crate::report::books::Books;
use crate::report::flows::Flows;
use crate::report::hubble::Hubble;
use crate::report::jobs::Jobs;
use crate::report::json::Json;
use crate::report::lines::Lines;
use crate::report::page::{Gather, Page};
use crate::report::progress::Progress;
use crate::report::recorder::Recorder;
use crate::report::save;
use crate::report::stages::Stages;
use crate::report::table::{Look, Table};
use crate::report::{Context, Report, Run, Seen, Shown};
use crate::worlds::Stage;

/// The job.
pub(super) struct Show<'a> {
    pub(super) arguments: &'a Arguments,
    pub(super) setup: &'a Setup,
    /// As named.
    pub(super) captures: &'a [PathBuf],
    pub(super) filter: Filter,
    /// Set by Ctrl-C.
    pub(super) stop: &'a AtomicBool,
}

/// Where packets that are shown go.
struct Sinks<'a> {
    arguments: &'a Arguments,
    report: Box<dyn Report>,
    stages: Option<(&'a Path, Stages)>,
    books: Books,
    shown: Shown,
}

impl Job for Show<'_> {
    type Output = Ending;

    fn run<S: Stage>(self, mut replay: Replay<S>, names: Names) -> Result<Ending, Failure> {
        let Self { arguments, setup, captures, filter, stop } = self;
        let mut feed = setup.inputs.open()?;
        let context = Context::new(names, &setup.cluster, setup.seed, setup.world.name());
        let colour = colour(arguments);
        let make = |output| reporter(arguments, colour, output, None);
        let mut sinks = Sinks::new(arguments, &context, colour)?;
        let mut recorder = Recorder::default();
        let then = &arguments.cluster.then;
        let gather = || Gather::new(&setup.cluster, &context.names, &setup.options, then);
        let mut pass = Pass {
            number: 0,
            limit: arguments.count.unwrap_or(u64::MAX),
            stop,
            first_drop: None,
            broken: None,
            hints: Hints::new(&setup.cluster.state),
            gather: arguments.report.is_some().then(gather),
            progress: Progress::new(&feed, arguments.quiet),
            frame: Frame::default(),
            foresight: Foresight::default(),
        };
        let ended = if !sinks.any() && filter.is_empty() {
            pass.quietly(&mut replay, &mut feed)?
        } else {
            std::thread::scope(|scope| {
                let mut jobs = Jobs::new(scope, arguments.jobs, &context, &make);
                let mut each = || {
                    while !pass.is_over() {
                        pass.foresight.step(&replay, || feed.ahead());
                        let next = feed.next();
                        let packet = match &next {
                            Ok(Some(packet)) => packet,
                            Ok(None) => break,
                            Err(_) => return Ok(next.map(drop)),
                        };
                        if pass.number == 0 {
                            sinks.report.begin(packet.timestamp);
                            jobs.begin(packet.timestamp);
                        }
                        if !filter.takes(packet.data, packet.original_len) {
                            if arguments.only {
                                pass.number = pass.number.wrapping_add(1);
                            } else {
                                pass.unseen(&mut replay, packet)?;
                            }
                            pass.progress.step(pass.number, &feed);
                            continue;
                        }
                        recorder.clear();
                        let (different, moved) =
                            (replay.totals.differences.len(), replay.totals.moves.len());
                        replay.packet(packet, &mut pass.frame, &mut recorder)?;
                        pass.note(&replay, packet);
                        let number = pass.number;
                        if let Some((at, _)) = replay.totals.differences.get_mut(different) {
                            *at = number; // with --only, not all are counted there
                        }
                        if let Some(to) = replay.totals.moves.get_mut(moved) {
                            to.packet = number;
                        }
                        let seen = Seen {
                            topology: replay.stage.topology(),
                            number,
                            packet,
                            outcome: &replay.outcome,
                            recorder: &recorder,
                        };
                        if filter.shows(&context, &seen) {
                            if sinks.packet(&context, &seen)? {
                                let packet = (number, packet, &replay.outcome);
                                let topology = replay.stage.topology();
                                jobs.packet(&mut *sinks.report, topology, packet, &mut recorder)
                                    .map_err(Failure::Output)?;
                            }
                            if replay.outcome.verdict == Verdict::Dropped {
                                pass.first_drop = pass.first_drop.or(Some(number));
                            }
                        }
                        pass.progress.step(number, &feed);
                    }
                    Ok(Ok(()))
                };
                let ended: Result<_, Failure> = each();
                // What was replayed before something went wrong is shown.
                let finished = jobs.finish(&mut *sinks.report, replay.stage.topology());
                let ended = ended?;
                finished.map_err(Failure::Output)?;
                Ok::<_, Failure>(ended)
            })?
        };
        let Pass { number, first_drop, broken, hints, mut gather, mut progress, .. } = pass;
        progress.end();
        sinks.end_stages()?;
        if let Some(gather) = &mut gather {
            gather.end(&replay);
        }
        let stopped = stop.load(Ordering::Relaxed);
        if stopped {
            say(&format!("stopped by a signal after {number} packets"));
        }
        warn(setup, &feed, &hints, &replay.totals, broken)?;
        let (totals, shown) = (&replay.totals, sinks.shown);
        let run = Run {
            totals,
            flows: replay.flows(),
            shown: (!filter.is_empty()).then_some(shown),
            books: &sinks.books,
            complete: ended.is_ok() && !stopped,
            paths: setup.inputs.paths(),
        };
        // Files first: standard output may be closed.
        if let (Some(path), Some(gather)) = (&arguments.report, &gather) {
            let mut warnings = feed.notes();
            warnings.extend(hints.notes());
            warnings.extend(ended.as_ref().err().map(|error| format!("error: {error}")));
            warnings.extend(setup.cluster.notes.iter().cloned());
            let explain = hint::command(captures, arguments);
            let page = Page {
                context: &context,
                run: &run,
                gather,
                states: &arguments.cluster.files(),
                command: &typed(),
                explain: explain.as_deref(),
                warnings: &warnings,
            };
            save::save(path, &page.html()).map_err(|cause| saving(path, cause))?;
        }
        sinks.report.summary(&context, &run).map_err(Failure::Output)?;
        ended?;
        if stopped {
            return Ok(Ending::Interrupted);
        }
        if let Some(text) = sinks.books.flows.as_ref().and_then(Flows::left_out) {
            say(&format!("warning: {text}"));
        }
        if let Some(hint) = first_drop.and_then(|number| hint::explain(captures, arguments, number))
        {
            say(&hint);
        }
        let count = |verdict| match run.shown {
            Some(shown) => shown.with(verdict),
            None => totals.with(verdict),
        };
        let failed = arguments.fail_on.iter().any(|what| match what {
            FailOn::Drop => count(Verdict::Dropped) > 0,
            FailOn::Unmatched => count(Verdict::Unmatched) > 0,
            FailOn::Difference => totals.different > 0,
        });
        Ok(if totals.different > 0 || failed {
            Ending::Different
        } else if number == 0 || run.shown.is_some_and(|shown| shown.packets() == 0) {
            Ending::Nothing
        } else {
            Ending::Fine
        })
    }
}

impl<'a> Sinks<'a> {
    fn new(arguments: &'a Arguments, context: &Context<'_>, colour: bool) -> Result<Self, Failure> {
        let stages = match &arguments.write {
            Some(path) => Some((path.as_path(), stages(path, context)?)),
            None => None,
        };
        let books = Books {
            flows: arguments.flows.then(Default::default),
            services: arguments.services.then(Default::default),
        };
        let last = arguments.last.map(|last| last as usize);
        let report = reporter(arguments, colour, output(arguments), last);
        Ok(Self { arguments, report, stages, books, shown: Shown::default() })
    }

    /// Whether anything is wanted but the summary.
    const fn any(&self) -> bool {
        !self.arguments.quiet || self.stages.is_some() || !self.books.is_empty()
    }

    /// Counts and writes a packet, but for its line; whether it has one.
    fn packet(&mut self, context: &Context<'_>, seen: &Seen<'_>) -> Result<bool, Failure> {
        let listed = self.arguments.first.is_none_or(|first| self.shown.packets() < first);
        self.shown.count(seen.outcome.verdict);
        self.books.count(context, seen);
        if let Some((path, stages)) = &mut self.stages {
            stages.packet(context, seen).map_err(|cause| writing(path, cause))?;
        }
        Ok(!self.arguments.quiet && listed)
    }

    fn end_stages(&mut self) -> Result<(), Failure> {
        match self.stages.take() {
            Some((path, stages)) => stages.finish().map_err(|cause| writing(path, cause)),
            None => Ok(()),
        }
    }
}

/// Says what was odd about the input; an error where none of it could be replayed.
fn warn(
    setup: &Setup,
    feed: &Feed,
    hints: &Hints,
    totals: &Totals,
    broken: Option<LinkError>,
) -> Result<(), Failure> {
    for note in feed.notes().iter().chain(&hints.notes()) {
        say(note);
    }
    if let Some(cause) = broken {
        if totals.packets == totals.broken {
            let name = setup.inputs.paths().first().map(|path| path.display().to_string());
            return Err(Failure::Link { name: name.unwrap_or_default(), cause });
        }
        say(&format!("warning: {} packets were not replayed; the first: {cause}", totals.broken));
    }
    for (number, difference) in &totals.differences {
        say(&format!("packet {number}: reply: {difference}"));
    }
    Ok(())
}

fn colour(arguments: &Arguments) -> bool {
    match arguments.color {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => {
            anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never
        }
    }
}

fn output(arguments: &Arguments) -> Box<dyn Write> {
    if arguments.write.as_ref().is_some_and(|path| path == "-") {
        Box::new(io::stderr())
    } else if io::stdout().is_terminal() {
        Box::new(io::stdout())
    } else {
        Box::new(BufWriter::with_capacity(64 * 1024, io::stdout()))
    }
}

fn reporter(
    arguments: &Arguments,
    colour: bool,
    output: Box<dyn Write>,
    last: Option<usize>,
) -> Box<dyn Report> {
    let lines = Lines::new(output, last);
    let look = |wide| Look { wide, colour, heads: !arguments.no_headers };
    match arguments.output {
        Form::Table => Box::new(Table::new(lines, look(false))),
        Form::Wide => Box::new(Table::new(lines, look(true))),
        Form::Json => Box::new(Json::new(lines)),
        Form::Hubble => Box::new(Hubble::new(lines)),
    }
}

fn stages(path: &Path, context: &Context<'_>) -> Result<Stages, Failure> {
    let output: Box<dyn Write> = if path == "-" {
        Box::new(io::stdout())
    } else {
        Box::new(File::create(path).map_err(|cause| writing(path, cause))?)
    };
    Stages::new(Box::new(BufWriter::new(output)), context).map_err(|cause| writing(path, cause))
}

/// What went wrong with the page.
pub(super) fn saving(path: &Path, cause: io::Error) -> Failure {
    setup::writing(path, cause, "give --report a file that can be written")
}

fn writing(path: &Path, cause: io::Error) -> Failure {
    setup::writing(path, cause, "give -w a file that can be written")
}
