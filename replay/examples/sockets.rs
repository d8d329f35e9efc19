//! What real sockets see of their way, for development: `sockets SERVICES ROUNDS [SUBJECT...]`, where
//! translation at sockets is `bare`.

use std::time::Instant;

use twinpath::bench::lab::{Hook, Lab};
use twinpath::bench::live::Path;
use twinpath::bench::sockets::{Collected, MEASURES, Setting, Stage};
use twinpath::bench::subject::Subject;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u32| -> Result<u32, std::num::ParseIntError> {
        arguments.next().map_or(Ok(default), |text| text.parse())
    };
    let (services, rounds) = (number(10)?, number(20)?);
    let named: Vec<String> = arguments.collect();
    // Those without labs of their own beside them, so that they outlive what is opened in them.
    let (mut labs, mut stages) = (Vec::new(), Vec::new());
    for subject in Subject::ALL {
        let is_named = |name: &String| name == subject.name();
        if subject == Subject::Ipvs || !(named.is_empty() || named.iter().any(is_named)) {
            continue;
        }
        let begin = Instant::now();
        if subject == Subject::Bare {
            stages.push(Stage::with_sockets_translated(services)?);
        } else {
            let mut lab = Lab::new(subject, Hook::Tc, services)?;
            stages.push(Stage::new(&mut lab)?);
            labs.push(lab);
        }
        eprintln!("{subject}: ready in {:.1?}", begin.elapsed());
    }
    for path in [Path::ClusterLocal, Path::ClusterRemote, Path::NodePort] {
        for measure in MEASURES {
            let begin = Instant::now();
            let setting = Setting::new(measure, path);
            let mut collected = Collected::default();
            for turn in 0..rounds {
                collected.round(&mut stages, &setting, turn as usize)?;
            }
            let mut first = None;
            for figure in collected.figures() {
                let mut sorted = figure.samples.clone();
                sorted.sort_by(f64::total_cmp);
                let at = |part: usize| sorted[(sorted.len() - 1) * part / 4];
                let first = first.get_or_insert_with(|| figure.samples.clone());
                let mut ratios: Vec<f64> =
                    figure.samples.iter().zip(first).map(|(own, first)| *own / *first).collect();
                ratios.sort_by(f64::total_cmp);
                let ratio = |part: usize| ratios[(ratios.len() - 1) * part / 4];
                let quantiles: Vec<String> =
                    figure.quantiles.iter().map(|(q, value)| format!("{q}:{value}")).collect();
                println!(
                    "{measure:?} {:<16} {:<6} {:<15} {:>6} median {:>12.0} quartiles {:>12.0} {:>12.0}   \
                     ratio {:.2} quartiles {:.2} {:.2}  {}",
                    figure.path,
                    figure.hook,
                    figure.subject,
                    figure.services,
                    at(2),
                    at(1),
                    at(3),
                    ratio(2),
                    ratio(1),
                    ratio(3),
                    quantiles.join(" ")
                );
            }
            eprintln!("{measure:?} over {}: {:.1?}", path.name(), begin.elapsed());
        }
    }
    Ok(())
}
