//! The rung of whole ways: live frames through a node, made and counted inside the kernel.
//!
//! What making and counting a frame costs is in every row, and so is the way of the frame between devices:
//! rows `harness` are frames that are counted where they would enter the node.

use std::net::SocketAddrV4;
use std::thread::sleep;
use std::time::Duration;

use twinpath::bench::cluster::{self, CLIENT, OUTSIDE, POD_PORT, SERVICE_ADDRESS};
use twinpath::bench::frame::{Ends, Step, tcp};
use twinpath::bench::lab::{Hook, Lab, UPLINK};
use twinpath::bench::live::{self, Path, Setting};
use twinpath::bench::result::Measure;
use twinpath::bench::rival::Rival;
use twinpath::bench::subject::Subject;
use twinpath_benches::gauge::{Row, SERVICES};
use twinpath_benches::run::Failure;
use twinpath_kernel::live::{Entry, Generator, Sinks, Template};
use twinpath_sim::topology::UPLINK as UPLINK_NUMBER;

/// Flows among which packets are spread.
const FLOWS: u16 = 500;
/// Frames per figure, of connections that are there.
const FRAMES: u32 = 4_000;
/// How often a figure is taken; the least counts. What the kernel has to make before it can go on is in
/// the first alone.
const ROUNDS: u32 = 2;
/// After so long IPVS, whose connections cannot be flushed, has forgotten those that were only opened. An
/// idle guest's clock leaps.
const FORGOTTEN: Duration = Duration::from_secs(100);

const LABS: [(Subject, Hook); 8] = [
    (Subject::Bare, Hook::Tc),
    (Subject::Bare, Hook::Xdp),
    (Subject::Forward, Hook::Tc),
    (Subject::Twinpath, Hook::Tc),
    (Subject::Twinpath, Hook::Xdp),
    (Subject::IptablesLegacy, Hook::Tc),
    (Subject::Nftables, Hook::Tc),
    (Subject::Ipvs, Hook::Tc),
];

/// Measures all rows, one subject after the other: here nothing else is going on.
pub(crate) fn measure(rows: &mut Vec<Row>) -> Result<(), Failure> {
    live::prepare()?;
    harness(rows)?;
    for (subject, hook) in LABS {
        ways(subject.name(), lab(subject, hook)?, &Path::ALL, rows)?;
    }
    // IPVS without the rules that kube-proxy has beside it, and so without connection tracking. One of the
    // rules gives packets from outside their source.
    let alone = lab(Subject::Ipvs, Hook::Tc)?;
    alone.node.feed("nft", "nftables", &["-f", "-"], "flush ruleset\n")?;
    ways("ipvs-alone", alone, &[Path::ClusterLocal, Path::ClusterRemote], rows)
}

fn ways(name: &str, mut lab: Lab, paths: &[Path], rows: &mut Vec<Row>) -> Result<(), Failure> {
    for &path in paths {
        for (measure, state) in [(Measure::NewFlow, "new"), (Measure::Established, "established")] {
            let setting = Setting { measure, path, flows: FLOWS, frames: FRAMES };
            if !setting.is_of(&lab) {
                continue;
            }
            let mut least = f64::INFINITY;
            for round in 0..ROUNDS {
                if lab.subject == Subject::Ipvs && measure == Measure::NewFlow && round > 0 {
                    sleep(FORGOTTEN);
                }
                least = least.min(setting.measure(&mut lab)?);
            }
            let path = format!("live/{}/{}", lab.hook.name(), path.name());
            rows.push(Row::new(name, &path, state, least as u64));
        }
    }
    Ok(())
}

/// Rows of frames that no subject sees: counted where they are received, as a packet or still as a frame.
fn harness(rows: &mut Vec<Row>) -> Result<(), Failure> {
    let lab = Lab::new(Subject::Forward, Hook::Tc, SERVICES)?;
    let (node, _, router) = lab.link()?;
    let pod = lab.pod(CLIENT)?;
    let to = SocketAddrV4::new(SERVICE_ADDRESS, POD_PORT);
    let inside = Ends { from: CLIENT, to, from_mac: pod.mac, to_mac: pod.gateway };
    let outside = Ends { from: OUTSIDE, to, from_mac: router, to_mac: node };
    let device = format!("pod{}", pod.device);
    for (path, ends, counted_at, hook, from, entry) in [
        ("from-pod", inside, &*device, Hook::Tc, &*lab.node, Entry::Received(pod.device)),
        ("from-netdev", outside, UPLINK, Hook::Tc, &lab.router, Entry::Sent(UPLINK_NUMBER)),
        ("from-netdev", outside, UPLINK, Hook::Xdp, &lab.router, Entry::Sent(UPLINK_NUMBER)),
    ] {
        let mut sinks = Sinks::new()?;
        lab.node.run(|| match hook {
            Hook::Tc => sinks.add_tc(counted_at),
            Hook::Xdp => sinks.add_xdp(counted_at),
        })??;
        let template = Template { frame: tcp(&ends, Step::Established), flows: FLOWS };
        let mut generator = Generator::new()?;
        let mut least = f64::INFINITY;
        for _ in 0..ROUNDS {
            sinks.expect(POD_PORT, false)?;
            let took = from.run(|| generator.send(&template, entry, FRAMES))?;
            least = least.min(took?);
            let (_, arrived) = sinks.arrived(&[])?;
            if arrived != u64::from(FRAMES) {
                return Err(format!("harness, {path}: {arrived} of {FRAMES} frames").into());
            }
        }
        let path = format!("live/{}/{path}", hook.name());
        rows.push(Row::new("harness", &path, "established", least as u64));
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
