//! Nanoseconds per live frame, for development: `live SERVICES ROUNDS FRAMES [NAME...]`, a name being that of
//! a subject, a path or a measure (`established`, `new-flow`, `program-time`, `churn`). Where none of a kind
//! is given, all are taken.

use std::time::Instant;

use twinpath::bench::lab::{Hook, Lab};
use twinpath::bench::live::{self, Path, Setting};
use twinpath::bench::result::Measure;
use twinpath::bench::subject::Subject;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u32| -> Result<u32, std::num::ParseIntError> {
        arguments.next().map_or(Ok(default), |text| text.parse())
    };
    let (services, rounds, frames) = (number(10)?, number(5)?, number(500_000)?);
    let named: Vec<String> = arguments.collect();
    live::prepare()?;
    let mut labs = Vec::new();
    for (subject, hook) in [
        (Subject::Twinpath, Hook::Tc),
        (Subject::Bare, Hook::Tc),
        (Subject::Forward, Hook::Tc),
        (Subject::IptablesLegacy, Hook::Tc),
        (Subject::IptablesNft, Hook::Tc),
        (Subject::Nftables, Hook::Tc),
        (Subject::Twinpath, Hook::Xdp),
        (Subject::Bare, Hook::Xdp),
    ] {
        let subjects = Subject::ALL.map(Subject::name);
        if is_wanted(&named, subject.name(), &subjects) {
            let begin = Instant::now();
            labs.push(Lab::new(subject, hook, services)?);
            eprintln!("{subject} at {}: ready in {:.1?}", hook.name(), begin.elapsed());
        }
    }
    let measures = [
        (Measure::Established, "established"),
        (Measure::NewFlow, "new-flow"),
        (Measure::ProgramTime, "program-time"),
        (Measure::Churn, "churn"),
    ];
    for (measure, name) in measures {
        if !is_wanted(&named, name, &measures.map(|(_, name)| name)) {
            continue;
        }
        for path in Path::ALL {
            if !is_wanted(&named, path.name(), &Path::ALL.map(Path::name)) {
                continue;
            }
            for flows in [if measure == Measure::NewFlow { 5_000 } else { 1 }, 50_000] {
                let setting = Setting { measure, path, flows, frames };
                let mut figures = Vec::new();
                for turn in 0..rounds {
                    live::round(&mut labs, &setting, turn as usize, &mut figures)?;
                }
                let mut first = None;
                for figure in &figures {
                    let mut sorted = figure.samples.clone();
                    sorted.sort_by(f64::total_cmp);
                    let median = sorted[sorted.len() / 2];
                    let first = *first.get_or_insert(median);
                    println!(
                        "{measure:?} {:<17} {:<4} {flows:>5} {:<16} min {:>8.1} median {median:>8.1} {:>6.2}",
                        figure.path,
                        figure.hook,
                        figure.subject,
                        sorted[0],
                        median / first
                    );
                }
            }
        }
    }
    Ok(())
}

/// Whether a name is given, or none of its kind.
fn is_wanted(named: &[String], name: &str, kind: &[&str]) -> bool {
    let of_kind = |given: &&String| kind.contains(&given.as_str());
    named.iter().any(|given| given == name) || !named.iter().any(|given| of_kind(&given))
}
