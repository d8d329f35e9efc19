//! Nanoseconds per live frame, for development: `live SERVICES ROUNDS FRAMES [SUBJECT...]`.

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
        let is_named = |name: &String| name == subject.name();
        if named.is_empty() || named.iter().any(is_named) {
            let begin = Instant::now();
            labs.push(Lab::new(subject, hook, services)?);
            eprintln!("{subject} at {}: ready in {:.1?}", hook.name(), begin.elapsed());
        }
    }
    for measure in [Measure::Established, Measure::NewFlow, Measure::ProgramTime] {
        for path in Path::ALL {
            for flows in [1, 50_000] {
                if measure == Measure::NewFlow && flows == 1 {
                    continue;
                }
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
