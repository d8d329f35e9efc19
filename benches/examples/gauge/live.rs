//! The rung of whole ways: live frames through a node, made and counted inside the kernel.
//!
//! What making and counting a frame costs is in every row, and so is the way of the frame between devices.

use std::time::Duration;

use twinpath::bench::cluster;
use twinpath::bench::lab::{Hook, Lab};
use twinpath::bench::live::{self, Path, Setting};
use twinpath::bench::result::Measure;
use twinpath::bench::rival::Rival;
use twinpath::bench::subject::Subject;
use twinpath_benches::gauge::Row;
use twinpath_benches::run::Failure;

/// Services in the cluster.
const SERVICES: u32 = 100;
/// Flows among which packets are spread.
const FLOWS: u16 = 500;
/// Frames per figure, of connections that are there.
const FRAMES: u32 = 4_000;
/// After so long IPVS has forgotten what is still. An idle guest's clock leaps.
const LONG: Duration = Duration::from_secs(2_000);

const LABS: [(Subject, Hook); 9] = [
    (Subject::Bare, Hook::Tc),
    (Subject::Bare, Hook::Xdp),
    (Subject::Forward, Hook::Tc),
    (Subject::Twinpath, Hook::Tc),
    (Subject::Twinpath, Hook::Xdp),
    (Subject::Ipvs, Hook::Tc),
    (Subject::Nftables, Hook::Tc),
    (Subject::IptablesLegacy, Hook::Tc),
    (Subject::IptablesNft, Hook::Tc),
];

/// Measures all rows, one subject after the other: here nothing else is going on.
pub(crate) fn measure(rows: &mut Vec<Row>) -> Result<(), Failure> {
    live::prepare()?;
    for (subject, hook) in LABS {
        let mut lab = lab(subject, hook)?;
        for path in Path::ALL {
            for (measure, state) in
                [(Measure::NewFlow, "new"), (Measure::Established, "established")]
            {
                let setting = Setting { measure, path, flows: FLOWS, frames: FRAMES };
                if !setting.is_of(&lab) {
                    continue;
                }
                // What the kernel has to make before it can go on is in the first figure, not in the second.
                let mut least = f64::INFINITY;
                for _ in 0..2 {
                    if subject == Subject::Ipvs && measure == Measure::NewFlow {
                        std::thread::sleep(LONG);
                    }
                    least = least.min(setting.measure(&mut lab)?);
                }
                let path = format!("live/{}/{}", hook.name(), path.name());
                rows.push(Row::new(subject.name(), &path, state, least as u64));
            }
        }
    }
    Ok(())
}

fn lab(subject: Subject, hook: Hook) -> Result<Lab, Failure> {
    if subject != Subject::Ipvs {
        return Ok(Lab::new(subject, hook, SERVICES)?);
    }
    let mut lab = Lab::new(Subject::Forward, hook, SERVICES)?;
    let rival = Rival::new(subject).map_err(|missing| missing.why)?;
    rival.set_up(&cluster::state(SERVICES), cluster::NODE).run(&lab.node)?;
    lab.node.set(&[("netfilter/nf_conntrack_checksum", "0")])?;
    lab.subject = subject;
    Ok(lab)
}
